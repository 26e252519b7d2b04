"""The language model through the commands: exported, measured, and refused where an image is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

SMALL = ("--set", "hidden=40", "--set", "layers=2", "--set", "classes=60", "--set", "seq_len=4")
FAST = ("--trials", "10", "--duration-s", "0", "--warmup-max-s", "0", "--results", "results", "--json")


def exported(run, *more: object) -> Path:
    ran = run("export", "--model", "eru", *SMALL, "-o", "eru.onnx", "--json", *more)
    assert ran.code == 0, ran.err
    assert ran.document["parity"]["max_rel_err"] <= 1e-4
    assert ran.document["parity"]["argmax_agreement_pct"] == 100.0
    return Path("eru.onnx")


@pytest.mark.parametrize(("batch", "opset"), [("1", "13"), ("dynamic", "20")])
def test_export_proves_parity_and_bench_feeds_words(run, batch: str, opset: str) -> None:
    path = exported(run, "--batch", batch, "--opset", opset)
    wanted = "2" if batch == "dynamic" else "1"
    ran = run("bench", path, *FAST, "--batch", wanted)
    assert ran.code == 0, ran.err
    assert ran.document["model"]["name"] == "eru"
    assert ran.document["model"]["input_shape"] == [int(wanted), 4]


def test_bench_by_name(run) -> None:
    ran = run("bench", "--model", "eru", *SMALL, *FAST)
    assert ran.code == 0, ran.err
    assert ran.document["model"]["settings"]["seq_len"] == 4


def test_what_needs_an_image_is_refused(run) -> None:
    path = exported(run, "--opset", "13")
    for arguments, told in (
        (("bench", path, "--size", "64x64"), "a text of a fixed number of tokens"),
        (("bench", path, "--batch", "3"), "--batch cannot change"),
        (("bench", "--model", "eru", "--size", "64x64"), "seq_len"),
        (("eval", path, "--data", "."), "3 inputs"),
    ):
        ran = run(*arguments)
        assert ran.code == 2, (arguments, ran)
        assert told in ran.err
