"""The tool is found where it lies, is asked who it is, and something else under its name is told apart."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType

import pytest

from espdeploy.backends.trtexec import find as finding
from espdeploy.backends.trtexec.find import find
from espdeploy.backends.trtexec.tool import Tool, version_of_code
from espdeploy.errors import MissingCapability, UsageError

VERSIONS = {
    "8.2.1": (8, 2, 1),
    "8.5.2": (8, 5, 2),
    "8.6.1": (8, 6, 1),
    "10.3.0": (10, 3, 0),
    "11.1.0": (11, 1, 0),
    "rtx-1.7.1": (1, 7, 1),
}


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def search(root: Path, kind: str = "trtexec", **environ: str) -> Tool:
    return find(kind, root=root, environ={"PATH": "", **environ})


@pytest.mark.parametrize("release", VERSIONS)
def test_each_release_says_who_it_is(fake: ModuleType, tmp_path: Path, release: str) -> None:
    kind = "tensorrt_rtx" if release.startswith("rtx") else "trtexec"
    program = fake.install(tmp_path, release)
    tool = find(kind, program)
    assert (tool.path, tool.kind, tool.version) == (program, kind, VERSIONS[release])
    assert {"--onnx", "--saveEngine", "--exportTimes"} <= tool.options
    assert ("--fp16" in tool.options) == (not tool.typed)
    assert find(kind, tmp_path) == tool  # the folder will do


@pytest.mark.parametrize(
    "code", [(7103, "7.1.3"), (8003, "8.0.3"), (8601, "8.6.1"), (100001, "10.0.1"), (101601, "10.16.1")]
)
def test_codes_of_real_banners(code: tuple[int, str]) -> None:
    assert ".".join(str(part) for part in version_of_code(code[0])) == code[1]


def test_path_comes_before_the_usual_places(fake: ModuleType, tmp_path: Path) -> None:
    board = fake.install(tmp_path / "usr/src/tensorrt/bin", "8.2.1")
    assert search(tmp_path).path == board
    other = fake.install(tmp_path / "home/trt/bin", "10.3.0")
    assert search(tmp_path, TENSORRT_HOME=str(tmp_path / "home/trt")).path == other
    on_path = fake.install(tmp_path / "mine", "8.6.1")
    assert search(tmp_path, PATH=f"/nowhere{os.pathsep}{on_path.parent}").path == on_path


def test_of_unpacked_archives_the_newest_is_taken(fake: ModuleType, tmp_path: Path) -> None:
    fake.install(tmp_path / "opt/TensorRT-8.6.1.6/bin", "8.6.1")
    newest = fake.install(tmp_path / "opt/TensorRT-10.3.0.26/bin", "10.3.0")
    fake.install(tmp_path / "opt/TensorRT-RTX-1.7.1.116/bin", "rtx-1.7.1")
    assert search(tmp_path).path == newest
    assert search(tmp_path, "tensorrt_rtx").version == (1, 7, 1)


def test_nowhere_says_where_it_was_looked_for_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MissingCapability, match="trtexec is not on this machine") as caught:
        search(tmp_path)
    assert str(tmp_path / "usr/src/tensorrt/bin") in caught.value.why
    assert "pip install tensorrt" in caught.value.do
    with pytest.raises(MissingCapability, match="tensorrt_rtx is not on this machine") as caught:
        search(tmp_path, "tensorrt_rtx")
    assert "archive" in caught.value.do


def test_something_else_under_its_name_is_passed_over(fake: ModuleType, tmp_path: Path) -> None:
    wrong = script(tmp_path / "mine/trtexec", "echo 'My runner 1.0 --loadEngine'")
    right = fake.install(tmp_path / "usr/src/tensorrt/bin", "8.2.1")
    assert search(tmp_path, PATH=str(wrong.parent)).path == right
    with pytest.raises(MissingCapability, match="is not NVIDIA's trtexec") as caught:
        find("trtexec", wrong)
    assert "My runner 1.0" in caught.value.why


def test_alone_it_is_what_the_error_is_about(tmp_path: Path) -> None:
    wrong = script(tmp_path / "mine/trtexec", "exit 3")
    with pytest.raises(MissingCapability, match="is not NVIDIA's trtexec") as caught:
        search(tmp_path, PATH=str(wrong.parent))
    assert "nothing" in caught.value.why


def test_the_two_tools_are_told_apart(fake: ModuleType, tmp_path: Path) -> None:
    rtx_as_trtexec = fake.install(tmp_path / "a", "rtx-1.7.1", "trtexec")
    trtexec_as_rtx = fake.install(tmp_path / "b", "10.3.0", "tensorrt_rtx")
    with pytest.raises(MissingCapability, match=r"TensorRT-RTX 1\.7\.1, not trtexec"):
        find("trtexec", rtx_as_trtexec)
    with pytest.raises(MissingCapability, match=r"TensorRT 10\.3\.0, not tensorrt_rtx"):
        find("tensorrt_rtx", trtexec_as_rtx)


@pytest.mark.parametrize(
    ("banner", "release"),
    [("[TensorRT v8003] ", r"8\.0\.3"), ("[TensorRT v7103] ", r"7\.1\.3"), ("", "7 or older")],
)
def test_releases_before_8_2_are_refused_with_a_way_out(tmp_path: Path, banner: str, release: str) -> None:
    old = script(
        tmp_path / "trtexec",
        f"echo '&&&& RUNNING TensorRT.trtexec {banner}# trtexec --help'; echo '  --loadEngine=<file>'",
    )
    with pytest.raises(MissingCapability, match=f"TensorRT {release}, and espdeploy needs 8.2") as caught:
        find("trtexec", old)
    assert "JetPack 4.6.1" in caught.value.do


def test_a_missing_library_is_not_called_a_wrong_program(tmp_path: Path) -> None:
    lost = "libnvinfer.so.8: cannot open shared object file: No such file or directory"
    broken = script(tmp_path / "trtexec", f"echo 'trtexec: error while loading shared libraries: {lost}' >&2; exit 127")
    with pytest.raises(MissingCapability, match="a library of TensorRT is missing") as caught:
        find("trtexec", broken)
    assert "libnvinfer.so.8" in caught.value.why
    assert "LD_LIBRARY_PATH" in caught.value.do


def test_a_tool_that_does_not_answer_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "_HELP_TIMEOUT_S", 1)
    slow = script(tmp_path / "trtexec", "exec sleep 600")
    with pytest.raises(MissingCapability, match="does not answer to --help within 1 s"):
        find("trtexec", slow)


def test_a_program_of_another_processor_is_said(tmp_path: Path) -> None:
    foreign = tmp_path / "trtexec"
    foreign.write_bytes(b"\x7fELF" + b"\0" * 60)
    foreign.chmod(0o755)
    with pytest.raises(MissingCapability, match="Exec format error"):
        find("trtexec", foreign)


def test_a_path_that_is_not_there_and_a_kind_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(MissingCapability, match="No such file"):
        find("trtexec", tmp_path / "gone")
    with pytest.raises(UsageError, match="no tool of TensorRT"):
        find("nvcc")
