"""What the images for Jetsons hold: read from the files, without Docker and without a network.

`make docker-check` fetches the pinned wheels, and `make arm64-check` runs them.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_sdist_filename, parse_wheel_filename

from espdeploy import recipes
from espdeploy.specs import DeviceProfile

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
DOCKERFILES = ("Dockerfile.l4t", "Dockerfile.jetpack")
#: tags of NVIDIA's registry that public projects build on; there is no l4t-base of r35.4.1, and no l4t-jetpack of r32
BASES = {
    "Dockerfile.l4t": {"nvcr.io/nvidia/l4t-base:r32.7.1"},
    "Dockerfile.jetpack": {"nvcr.io/nvidia/l4t-jetpack:r36.4.0"},
}
#: requirement file -> Python, minor of the board's glibc (Ubuntu 18.04 has 2.27, 22.04 has 2.35)
CORES = {"requirements-cp311.txt": ((3, 11), 27), "requirements-cp310.txt": ((3, 10), 35)}
EXTRAS = ("requirements-build.txt", "requirements-jtop4.txt", "requirements-jtop7.txt")
PIN = re.compile(r"# (?P<file>\S+)\n(?P<name>[a-z0-9-]+)==(?P<version>\S+) --hash=sha256:[0-9a-f]{64}\n")


def instructions(name: str) -> list[tuple[str, str]]:
    """Each instruction of a Dockerfile and its words, lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / name).read_text(encoding="utf-8"), flags=re.MULTILINE).replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in text.splitlines()) if word]


def pins(name: str) -> dict[str, tuple[str, str]]:
    """Of a requirement file: what is pinned -> its version, and the file that is meant."""
    text = (DOCKER / name).read_text(encoding="utf-8")
    found = {pin["name"]: (pin["version"], pin["file"]) for pin in PIN.finditer(text)}
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(lines) == len(found), "a line without its file or its SHA-256"
    return found


def takes(python: tuple[int, int], glibc_minor: int) -> set[Tag]:
    """The tags that pip takes on aarch64 with this Python and glibc (PEP 600; aarch64 wheels begin at glibc 2.17)."""
    platforms = [f"manylinux_2_{minor}_aarch64" for minor in range(glibc_minor, 16, -1)] + ["manylinux2014_aarch64"]
    abi = f"cp{python[0]}{python[1]}"
    return {*cpython_tags(python, [abi], platforms), *compatible_tags(python, abi, platforms)}


@pytest.mark.parametrize("name", DOCKERFILES)
def test_an_image_starts_espdeploy_as_an_ordinary_user(name: str) -> None:
    last = dict(instructions(name))
    assert json.loads(last["ENTRYPOINT"]) == ["/opt/espdeploy/venv/bin/espdeploy"]
    assert int(last["USER"]) > 0
    assert "NVIDIA_VISIBLE_DEVICES=all" in last["ENV"]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_every_base_has_a_tag_that_exists(name: str) -> None:
    defaults = dict(re.findall(r"^ARG (\w+)=(\S+)$", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE))
    bases = [rest.split()[0] for word, rest in instructions(name) if word == "FROM"]
    assert {re.sub(r"\$\{(\w+)\}", lambda arg: defaults[arg[1]], base) for base in bases} == BASES[name]


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps ``path`` out: the last line that fits counts, a folder with all in it."""
    out = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.strip()
        if pattern and not pattern.startswith("#"):
            anywhere = pattern.removeprefix("!").replace("**/", "")
            parents = [path, *(str(one) for one in Path(path).parents)]
            names = [Path(one).name for one in parents] if "**/" in pattern else parents
            if any(Path(one).match(anywhere) and one.count("/") == anywhere.count("/") for one in names if one):
                out = not pattern.startswith("!")
    return out


@pytest.mark.parametrize("name", DOCKERFILES)
def test_what_an_image_copies_is_there_and_not_ignored(name: str) -> None:
    copied = [rest.split()[:-1] for word, rest in instructions(name) if word == "COPY" and "--from" not in rest]
    sources = [source for words in copied for source in words]
    assert {"espdeploy", "engines", "calibration", "docker", "pyproject.toml"} <= set(sources)
    assert [source for source in sources if not (ROOT / source).exists() or ignored(source)] == []


def test_the_context_is_small_and_holds_no_engine() -> None:
    for path in ("engines/build/x.engine", "calibration/cache/x.json", "tests/conftest.py", ".git/config", "x.onnx"):
        assert ignored(path), path
    for path in ("engines/tx2.toml", "espdeploy/cli/main.py", "espdeploy/report/templates", "docker/install.sh"):
        assert not ignored(path), path


@pytest.mark.parametrize("name", [*CORES, *EXTRAS])
def test_every_pin_names_the_file_that_it_hashes(name: str) -> None:
    for pinned, (version, file) in pins(name).items():
        split = parse_wheel_filename(file)[:2] if file.endswith(".whl") else parse_sdist_filename(file)
        assert (split[0], str(split[1])) == (canonicalize_name(pinned), version)


@pytest.mark.parametrize("name", [*CORES, *EXTRAS])
def test_every_wheel_fits_the_board(name: str) -> None:
    fitting = [takes(*CORES[name])] if name in CORES else [takes(*board) for board in CORES.values()]
    for _, file in pins(name).values():
        if file.endswith(".whl"):
            tags = parse_wheel_filename(file)[3]
            assert all(tags & board for board in fitting), file
        else:  # plain Python, which the build compiles
            assert file.startswith("jetson-stats-4.")


def project() -> dict[str, Any]:
    """What pyproject.toml says of the project."""
    said: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return said


def wanted(python: tuple[int, int]) -> Iterator[Requirement]:
    """What the project asks for on a board with this Python."""
    there = {"python_version": f"{python[0]}.{python[1]}", "platform_machine": "aarch64"}
    for line in project()["dependencies"]:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(dict(there)):
            yield requirement


@pytest.mark.parametrize("name", CORES)
def test_the_pins_satisfy_pyproject(name: str) -> None:
    found = pins(name)
    for requirement in wanted(CORES[name][0]):
        version, _ = found[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement} is pinned at {version}"
    assert not {"torch", "onnx", "onnxruntime"} & set(found), "a board builds from the graph that it is given"


def test_the_jtop_clients_are_those_of_the_extra() -> None:
    (asked,) = map(Requirement, project()["optional-dependencies"]["jetson"])
    for release in ("4", "7"):
        version, _ = pins(f"requirements-jtop{release}.txt")[asked.name]
        assert version.startswith(f"{release}.")
        assert asked.specifier.contains(version)


def install(tmp_path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """docker/install.sh, with no network command and no Python of its own choice in its PATH."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("sh", "dirname", "mkdir", "mktemp", "rm", "sha256sum", "tar"):
        (tools / tool).symlink_to(str(shutil.which(tool)))
    argv = ["/bin/sh", str(DOCKER / "install.sh"), str(tmp_path / "to")]
    environment = {"PATH": str(tools), "TMPDIR": str(tmp_path)} | environment
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("environment", "what"),
    [
        ({"ESPDEPLOY_JTOP": "5"}, "ESPDEPLOY_JTOP=5"),
        ({"ESPDEPLOY_PYTHON": "3.12"}, "ESPDEPLOY_PYTHON=3.12"),
        ({"ESPDEPLOY_PYTHON": "system"}, "no Python 3.10 or 3.11"),
        ({"ESPDEPLOY_PYTHON": "standalone"}, "could not be fetched"),
    ],
)
def test_installing_says_what_is_missing(environment: dict[str, str], what: str, tmp_path: Path) -> None:
    done = install(tmp_path, **environment)
    assert done.returncode == 2, done
    assert what in done.stderr
    assert "\ndo: " in done.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"to", "tools"}, "something was left behind"


def test_another_python_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "python.tar.gz"
    archive.write_bytes(b"another file")
    done = install(tmp_path, ESPDEPLOY_PYTHON="standalone", ESPDEPLOY_PYTHON_ARCHIVE=str(archive))
    assert done.returncode == 2, done
    assert f"{archive} is not the file whose SHA-256 stands in docker/python.env" in done.stderr
    assert list((tmp_path / "to").iterdir()) == []


def row(profile: DeviceProfile) -> str:
    """A board's line in docs/jetson.md."""
    gpu, peak, trt, jetpack, rails = profile.gpu, profile.peak, profile.tensorrt, profile.jetpack, profile.rails
    assert None not in (gpu, peak, trt, jetpack)
    total = "none" if rails is None else ", ".join(rails.total) or "sum of rails"
    cells = (
        profile.name,
        gpu.compute_capability,
        " ".join(profile.precisions),
        profile.opset,
        f"{peak.gpu_mhz:g}",
        f"{gpu.memory_mb:.0f}",
        total,
        f"{trt.oldest} to {trt.newest}",
        f"{jetpack.oldest} to {jetpack.newest}",
    )
    return f"| {' | '.join(map(str, cells))} |"


def test_the_table_of_boards_says_what_the_profiles_say() -> None:
    page = (ROOT / "docs/jetson.md").read_text(encoding="utf-8").splitlines()
    boards = [profile for profile in recipes.device_profiles().values() if profile.kind == "jetson"]
    assert [profile.name for profile in boards if row(profile) not in page] == []


def test_readme_and_page_start_the_container_alike() -> None:
    started = []
    for name in ("README.md", "docs/jetson.md"):
        text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
        started.append(next(line.split() for line in text.splitlines() if line.startswith("$ docker run")))
    assert started[0] == started[1]
    assert {"/run/jtop.sock:/run/jtop.sock", "/sys:/sys:ro", "video"} <= set(started[0])
