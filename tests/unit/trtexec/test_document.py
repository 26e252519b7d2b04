"""What ``espdeploy parse`` says of the tool's files."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from espdeploy.profilers.trtexec.document import HEAD_CHARS, parse, recognise

GOLDEN = Path(__file__).with_name("golden")
TIMES = """[
  { "startInMs" : 1, "endInMs" : 2, "startComputeMs" : 300, "endComputeMs" : 310, "startOutMs" : 310, "endOutMs" : 311
  , "inMs" : 1, "computeMs" : 10, "outMs" : 1, "latencyMs" : 12, "endToEndMs" : 12 }
]
"""
PROFILE = """[
  { "count" : 4 }
, { "name" : "Conv_0", "timeMs" : 8, "averageMs" : 2, "percentage" : 100 }
]
"""
LAYERS = """{"Layers": [{
  "Name": "Conv_0",
  "LayerType": "CaskConvolution",
  "Inputs": [{"Name": "x", "Dimensions": [1], "Format/Datatype": "Row major linear FP32"}],
  "Outputs": [],
  "Weights": {"Type": "Half", "Count": 9}
}],
"Bindings": ["x", "y"]
}
"""
KEYS = {"kind", "version", "passed", "latency_ms", "gpu_compute_ms", "throughput_qps", "layers", "errors"}


def said(text: str) -> dict[str, Any]:
    document = parse(io.StringIO(text))
    assert document is not None
    assert document.keys() >= KEYS
    assert document["kind"] == "trtexec"
    return json.loads(json.dumps(document, allow_nan=False))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (TIMES, "times"),
        (PROFILE, "profile"),
        (LAYERS, "layers"),
        ("\ufeff\n" + LAYERS, "layers"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v8201] # trtexec", "log"),
        ("[03/14/2026-09:26:53] [E] [TRT] 3: no", "log"),
        ("[TensorRT] ERROR: no", "log"),
        ("", None),
        ("[]", None),
        ('[{"name": "a", "value": 1}]', None),
        ('{"Layers": "none"', "layers"),
        ("[I] starting", None),
        ("RAM 3964/7860MB (lfb 1x4MB) SWAP 0/3930MB", None),
    ],
)
def test_each_file_is_told_by_its_head(text: str, kind: str | None) -> None:
    assert recognise(text) == kind
    assert (parse(io.StringIO(text)) is None) == (kind is None)


def test_a_log_in_the_contracts_words() -> None:
    document = said(GOLDEN.joinpath("trt82.txt").read_text())
    assert document["version"] == "8.2.1"
    assert document["passed"] is True
    assert {"min", "max", "mean", "median", "p99"} <= document["latency_ms"].keys()
    assert {"min", "max", "mean", "median", "p99"} <= document["gpu_compute_ms"].keys()
    assert document["throughput_qps"] > 0
    assert {"name", "mean_ms", "time_pct"} <= document["layers"][0].keys()
    assert document["errors"] == []
    assert "runs" not in document


def test_of_several_runs_the_first_with_figures_is_told_and_all_are_there() -> None:
    good, refused = (GOLDEN.joinpath(name).read_text() for name in ("trt86.txt", "refused.txt"))
    document = said(f"{refused}\n{good}\n{refused}")
    assert document["passed"] is True
    assert [run["passed"] for run in document["runs"]] == [False, True, False]
    assert document["runs"][0]["errors"]
    assert "3 runs" in document["notes"][0]
    assert document["runs"][1]["latency_ms"] == document["latency_ms"]


def test_exports_tell_what_they_hold_and_nothing_else() -> None:
    times, profile, layers = said(TIMES), said(PROFILE), said(LAYERS)
    assert times["gpu_compute_ms"]["mean"] == 10
    assert times["latency_ms"]["p99"] == 12
    assert times["passed"] is None
    assert profile["layers"] == [{"name": "Conv_0", "mean_ms": 2, "time_pct": 100}]
    assert layers["layers"][0]["precision"] == "fp16"
    assert layers["convolution_precision_pct"] == {"fp16": 100}


def test_the_place_where_the_head_ends_does_not_show() -> None:
    text = GOLDEN.joinpath("trt86.txt").read_text()
    expected = said(text)
    for room in range(97, len(text), 97):
        assert said("x" * (HEAD_CHARS - room - 1) + "\n" + text) == expected
