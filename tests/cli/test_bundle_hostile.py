"""Bundles that nobody should trust: hostile members, cut and damaged tars, wrong manifests, facts and records."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.bundling import Member, good_bundle, members, plain, replaced, special, with_manifest, written
from tests.cli.conftest import Run, assert_contract_error

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

ESCAPED = "/tmp/espdeploy-escaped"  # noqa: S108 - the place that a hostile member names; nothing is written there


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, small_onnx: Path) -> bytes:
    """A bundle for this processor."""
    return good_bundle(small_onnx, tmp_path_factory.mktemp("bundle"))


def refused(run: Run, tmp_path: Path, told: str, command: str = "run-bundle") -> None:
    """The command refuses bad.tar with the contract's error, and writes nothing."""
    before = sorted(tmp_path.rglob("*"))
    assert_contract_error(run(command, "bad.tar"), 2, told, "bad.tar")
    assert sorted(tmp_path.rglob("*")) == before
    assert not Path(ESCAPED).exists()
    assert not (tmp_path.parent / "espdeploy-escaped").exists()


@pytest.mark.parametrize(
    ("member", "told"),
    [
        (plain(ESCAPED), "not a plain name"),
        (plain("../espdeploy-escaped"), "not a plain name"),
        (plain("a/../../espdeploy-escaped"), "not a plain name"),
        (plain("folder/file"), "not a plain name"),
        (plain(".hidden"), "not a plain name"),
        (plain("-rf"), "not a plain name"),
        (plain("a\nb"), "not a plain name"),
        (plain("n\u00e4me"), "not a plain name"),
        (plain("n" * 150), "no plain file"),  # a GNU header for the long name comes before it
        (plain("extra.onnx"), "not in its manifest"),
        (plain("small.onnx"), "twice"),
        (plain("manifest.json", b"{}"), "twice"),
        (special("link.onnx", tarfile.SYMTYPE, "/etc/passwd"), "no plain file"),
        (special("small.onnx", tarfile.SYMTYPE, "/etc/passwd"), "no plain file"),
        (special("hard.onnx", tarfile.LNKTYPE, "small.onnx"), "no plain file"),
        (special("zero", tarfile.CHRTYPE), "no plain file"),
        (special("disk", tarfile.BLKTYPE), "no plain file"),
        (special("pipe", tarfile.FIFOTYPE), "no plain file"),
        (special("folder", tarfile.DIRTYPE), "no plain file"),
        (special("sparse", tarfile.GNUTYPE_SPARSE), "no plain file"),
    ],
)
def test_members_that_no_bundle_has(run: Run, good: bytes, tmp_path: Path, member: Member, told: str) -> None:
    head, *rest = members(good)
    written(tmp_path / "bad.tar", [head, *rest, member])
    refused(run, tmp_path, told)
    written(tmp_path / "bad.tar", [head, member, *rest])
    # before the graph itself, one of its name is taken for it, and is not what the manifest says
    refused(run, tmp_path, "damaged" if member[0].name == "small.onnx" and told == "twice" else told)


def header(name: bytes, size_field: bytes, kind: bytes = b"0") -> bytes:
    """A tar header made by hand, with a right checksum."""
    block = bytearray(512)
    block[: len(name)] = name
    block[100:108], block[124:136], block[156:157] = b"0000644\0", size_field.ljust(12, b"\0"), kind
    block[257:265] = b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block)


@pytest.mark.parametrize(
    ("size_field", "told"),
    [
        (b"77777777777", "cut short"),  # 8 GiB
        (b"\x80" + b"\0" * 7 + b"\x7f\xff\xff\xff", "without a plain size"),  # base 256
        (b"\xff" * 12, "without a plain size"),  # -1: older releases of tarfile never end on it
        (b"\xff" * 10 + b"\xfe\0", "without a plain size"),  # -512
        (b"-0000001000", "without a plain size"),
        (b"12x", "without a plain size"),
        (b"", "without a plain size"),
    ],
)
def test_sizes_that_cannot_be_end_it_at_once(
    run: Run, good: bytes, tmp_path: Path, size_field: bytes, told: str
) -> None:
    end = good.index(b"small.onnx", good.index(b"ustar") + 600)
    for content in (header(b"manifest.json", size_field), good[:end] + header(b"small.onnx", size_field) + good[:512]):
        (tmp_path / "bad.tar").write_bytes(content)
        refused(run, tmp_path, told)


@pytest.mark.parametrize("kind", [b"x", b"g", b"L", b"K", b"S"])
def test_headers_that_change_what_follows_are_refused(run: Run, good: bytes, tmp_path: Path, kind: bytes) -> None:
    record = b"30 size=-9999999999999999999\n".ljust(512, b"\0")
    (tmp_path / "bad.tar").write_bytes(header(b"pax", b"00000000035", kind) + record + good)
    refused(run, tmp_path, "no plain file")


def test_a_cut_bundle_is_damaged_wherever_it_was_cut(run: Run, good: bytes, tmp_path: Path) -> None:
    padding = len(good) - len(good.rstrip(b"\0"))
    last = len(good) - padding
    for size in sorted({1, 511, 512, 700, 1024, len(good) // 3, len(good) // 2, last - 300, last - 1}):
        (tmp_path / "bad.tar").write_bytes(good[:size])
        assert_contract_error(run("run-bundle", "bad.tar", "--dry-run"), 2, "bad.tar")
    (tmp_path / "bad.tar").write_bytes(good[: -(-last // 512) * 512])  # everything but the end marks is there
    assert run("run-bundle", "bad.tar", "--dry-run").code == 0


def test_one_wrong_bit_anywhere_in_a_file_is_found(run: Run, good: bytes, tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(good)) as tar:
        places = [
            item.offset_data + position
            for item in tar
            if item.name != "manifest.json"
            for position in (0, item.size // 2, item.size - 1)
        ]
    for place in places:
        damaged = bytearray(good)
        damaged[place] ^= 0x10
        (tmp_path / "bad.tar").write_bytes(damaged)
        assert_contract_error(run("run-bundle", "bad.tar", "--dry-run"), 2, "damaged", "SHA-256")


def test_a_file_that_is_missing_is_named(run: Run, good: bytes, tmp_path: Path) -> None:
    written(tmp_path / "bad.tar", [item for item in members(good) if item[0].name != "cpu.toml"])
    refused(run, tmp_path, "cpu.toml")


def set_files(**changes: object) -> Callable[[dict[str, Any]], object]:
    return lambda manifest: manifest["files"][0].update(changes)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda it: it.update(schema=2), "newer espdeploy"),
        (lambda it: it.update(schema=2, files="otherwise"), "newer espdeploy"),
        (lambda it: it.update(schema=0), "does not exist"),
        (lambda it: it.update(kind="other"), "does not exist"),
        (lambda it: it.update(device="../tx2"), "cannot be"),
        (lambda it: it.pop("recipe"), "no recipe"),
        (lambda it: it.pop("files"), "damaged manifest"),
        (lambda it: it.update(files=[]), "0 graphs"),
        (lambda it: it["files"].append(it["files"][0]), "different"),
        (lambda it: it["recipe"]["bench"].update(trials="many"), "damaged manifest"),
        (lambda it: it.update(device="tx2"), "holds the facts of cpu"),
        (set_files(name="../escaped"), "../escaped"),
        (set_files(name="/etc/passwd"), "/etc/passwd"),
        (set_files(file_name="../../escaped"), "escaped"),
        (set_files(sha256="0" * 64), "SHA-256"),
        (set_files(sha256="short"), "digest"),
        (set_files(size_bytes=-1), "bytes"),
        (set_files(size_bytes=10**13), "bytes"),
        (set_files(size_bytes=7), "7 in the manifest"),
        (set_files(role="device"), "0 graphs"),
    ],
)
def test_a_wrong_manifest(
    run: Run, good: bytes, tmp_path: Path, change: Callable[[dict[str, Any]], object], told: str
) -> None:
    written(tmp_path / "bad.tar", with_manifest(good, change))
    refused(run, tmp_path, told)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b"\xff", b'{"schema": 1, "kind": "bundle", "x": ' + b"[" * 9999, b"null"]
)
def test_a_manifest_that_is_none(run: Run, good: bytes, tmp_path: Path, content: bytes) -> None:
    (info, _), *rest = members(good)
    written(tmp_path / "bad.tar", [(info, content), *rest])
    refused(run, tmp_path, "manifest")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no bundle"),
        (b"\0" * 10_240, "no bundle"),
        (b"not a tar" * 1000, "no bundle"),
        (gzip.compress(b"x" * 10_000), "no bundle"),
    ],
    ids=["empty", "zeros", "text", "gzip"],
)
@pytest.mark.parametrize("command", ["run-bundle", "import"])
def test_what_is_no_tar(run: Run, tmp_path: Path, content: bytes, told: str, command: str) -> None:
    (tmp_path / "bad.tar").write_bytes(content)
    refused(run, tmp_path, told, command)


def test_what_is_no_file(run: Run, tmp_path: Path) -> None:
    assert_contract_error(run("run-bundle", "missing.tar"), 2, "missing.tar does not exist")
    assert_contract_error(run("import", tmp_path), 2, "is not a file")
    assert_contract_error(run("import", "/dev/zero"), 2, "is not a file")


def test_a_bundle_is_not_imported_and_results_are_not_run(run: Run, good: bytes, tmp_path: Path) -> None:
    (tmp_path / "cpu.tar").write_bytes(good)
    assert_contract_error(run("import", "cpu.tar"), 2, "a bundle to run", "espdeploy run-bundle cpu.tar")
    assert run("run-bundle", "cpu.tar", "-o", "r.tar").code == 0
    assert_contract_error(run("run-bundle", "r.tar"), 2, "the results of a bundle", "espdeploy import r.tar")


def toml(content: bytes) -> str:
    return next(text for info, text in members(content) if info.name == "cpu.toml").decode()


def test_facts_that_differ_from_those_here_are_used_and_told(run: Run, good: bytes, tmp_path: Path) -> None:
    changed = toml(good).replace("opset = 20", "opset = 19").encode()
    assert changed != toml(good).encode()
    written(tmp_path / "cpu.tar", replaced(good, "cpu.toml", changed))
    ran = run("run-bundle", "cpu.tar")
    assert ran.code == 0, ran
    assert "facts of cpu in the bundle differ" in ran.err


@pytest.mark.parametrize(
    ("addition", "told"),
    [
        ("\n[emc]\nmax_mhz = 1\ncap_paths = ['/etc/passwd']\n", "/etc/passwd"),
        ("\n[emc]\nmax_mhz = 1\nrate_paths = ['/sys/../etc/passwd']\n", "/etc/passwd"),
        ("\n[rails]\nsensor_paths = ['relative']\n", "relative"),
        ("\nunknown = 1\n", "unknown"),
        ("\n[[[\n", "cannot read"),
    ],
)
def test_facts_that_cannot_be_a_devices(run: Run, good: bytes, tmp_path: Path, addition: str, told: str) -> None:
    before, mark, after = toml(good).partition("\n[refused_precisions]")
    changed = before + addition + after if addition.startswith("\nunknown") else before + mark + after + addition
    written(tmp_path / "bad.tar", replaced(good, "cpu.toml", changed.encode()))
    ran = run("run-bundle", "bad.tar")
    assert_contract_error(ran, 2, told)


def test_a_graph_that_is_none_is_the_builds_error(run: Run, good: bytes, tmp_path: Path) -> None:
    written(tmp_path / "bad.tar", replaced(good, "small.onnx", b"no graph"))
    assert_contract_error(run("run-bundle", "bad.tar"), 2, "not a whole ONNX file")
    assert not Path("bad.results.tar").exists()


def test_results_with_something_else_than_records_leave_no_file(run: Run, good: bytes, tmp_path: Path) -> None:
    (tmp_path / "cpu.tar").write_bytes(good)
    assert run("run-bundle", "cpu.tar", "-o", "good.tar").code == 0
    results = (tmp_path / "good.tar").read_bytes()
    record = json.loads(next(text for info, text in members(results) if info.name == "record-0001.json"))
    elsewhere = json.dumps(record | {"device": record["device"] | {"name": "tx2"}}).encode()
    for content, told in ((b"{}", "not a record"), (b"", "empty"), (elsewhere, "was measured on tx2")):
        written(tmp_path / "bad.tar", replaced(results, "record-0001.json", content))
        refused(run, tmp_path, told, "import")
    written(tmp_path / "bad.tar", with_manifest(results, lambda it: it.update(files=it["files"][1:])))
    refused(run, tmp_path, "no record", "import")


def test_a_record_of_the_same_name_with_other_content_is_never_overwritten(
    run: Run, good: bytes, tmp_path: Path
) -> None:
    (tmp_path / "cpu.tar").write_bytes(good)
    assert run("run-bundle", "cpu.tar", "-o", "r.tar").code == 0
    first = run("import", "r.tar", "--json").document["records"][0]["file"]
    Path(first).write_text("mine")
    second = run("import", "r.tar", "--json").document["records"][0]["file"]
    assert second != first
    assert Path(first).read_text() == "mine"
    assert json.loads(Path(second).read_text())["device"]["name"] == "cpu"


def test_places_that_cannot_be_written_are_told_before_slow_work(run: Run, good: bytes, tmp_path: Path) -> None:
    (tmp_path / "cpu.tar").write_bytes(good)
    ran = run("run-bundle", "cpu.tar", "-o", tmp_path)
    assert_contract_error(ran, 2, "is a folder")
    assert "onnxruntime ..." not in ran.err
    (tmp_path / "file").write_text("")
    assert_contract_error(run("run-bundle", "cpu.tar", "-o", "file/r.tar"), 3, "cannot write")
    assert run("run-bundle", "cpu.tar", "-o", "r.tar").code == 0
    assert_contract_error(run("import", "r.tar", "--results", "file"), 3, "file")
