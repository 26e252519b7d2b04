"""The JSON files that the tool exports: rows, layers, and damage of every kind."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from espdeploy.profilers.trtexec.elements import ElementReader
from espdeploy.profilers.trtexec.layer_info import read_layer_info
from espdeploy.profilers.trtexec.layer_profile import read_profile
from espdeploy.profilers.trtexec.times import read_times, summed_up


def row(at_ms: float, compute_ms: float) -> str:
    values = {"startEnqMs": at_ms - 2, "endEnqMs": at_ms - 1.5, "startComputeMs": at_ms, "computeMs": compute_ms}
    values |= {"h2dMs": 0.5, "d2hMs": 0.25, "latencyMs": compute_ms + 0.75}
    return "{ " + ", ".join(f'"{name}" : {value:g}' for name, value in values.items()) + " }"


def rows(*texts: str) -> io.StringIO:
    return io.StringIO("[\n  " + "\n, ".join(texts) + "\n]\n")


ROWS = [row(100, 30), row(150, 30), row(250, 10), row(260, 12), row(199, 99)]


def test_rows_of_the_warm_up_are_left_out_at_the_head_alone() -> None:
    """As trtexec itself counts: from the first inference on that began after the warm-up, whatever follows."""
    times = read_times(rows(*ROWS), warmup_ms=200)
    assert times.gpu_compute_ms.tolist() == [10, 12, 99]
    assert times.latency_ms.tolist() == [10.75, 12.75, 99.75]
    assert times.enqueue_ms.tolist() == [0.5, 0.5, 0.5]
    assert (times.warmup_dropped, times.damaged, times.documents) == (2, 0, 1)
    assert read_times(rows(*ROWS), warmup_ms=0).warmup_dropped == 0
    assert read_times(rows(*ROWS), warmup_ms=1000).gpu_compute_ms.size == 0


def test_7_names_its_transfers_in_and_out() -> None:
    old = row(250, 10).replace("h2dMs", "inMs").replace("d2hMs", "outMs")
    times = read_times(rows(old))
    assert (times.h2d_ms.tolist(), times.d2h_ms.tolist()) == ([0.5], [0.25])


def test_of_several_runs_in_one_file_the_first_is_read() -> None:
    both = rows(*ROWS).getvalue() + rows(row(300, 5)).getvalue()
    times = read_times(io.StringIO(both))
    assert (times.gpu_compute_ms.size, times.documents) == (3, 2)


@pytest.mark.parametrize(
    "bad",
    [
        '{ "startComputeMs" : , }',
        '{ "name" : "odd"quote" }',
        "{ broken",
        "{}",
        "[1]",
        '"text"',
        "7",
        '{"computeMs": 3}',
    ],
)
def test_a_damaged_row_costs_itself_alone(bad: str) -> None:
    times = read_times(rows(*ROWS[2:4], bad, *ROWS[2:4]))
    assert times.gpu_compute_ms.tolist() == [10, 12, 10, 12]
    assert times.damaged == 1


def test_a_file_cut_anywhere_gives_the_rows_before_the_cut() -> None:
    text = rows(*ROWS[2:4]).getvalue()
    for cut in range(len(text)):
        times = read_times(io.StringIO(text[:cut]))
        assert times.gpu_compute_ms.size == text[:cut].count("}")


def test_layout_means_nothing() -> None:
    values = json.loads(rows(*ROWS).getvalue())
    for text in (json.dumps(values), json.dumps(values, indent=4), json.dumps(values, separators=(",", ":"))):
        assert read_times(io.StringIO(text)).gpu_compute_ms.tolist() == [10, 12, 99]


def test_figures_that_json_has_not_are_unknown() -> None:
    text = '[\n  { "count" : 3 }\n, { "name" : "a nan b", "timeMs" : 3, "averageMs" : nan, "percentage" : -nan }\n'
    text += ', { "name" : "b", "timeMs" : inf, "averageMs" : 2, "percentage" : 100 }\n]\n'
    profile = read_profile(io.StringIO(text))
    assert [(layer.name, layer.mean_ms, layer.time_pct, layer.total_ms) for layer in profile.layers] == [
        ("a nan b", None, None, 3.0),
        ("b", 2.0, 100.0, None),
    ]
    assert (profile.iterations, profile.damaged) == (3, 0)


def test_names_may_hold_braces_quotes_and_commas() -> None:
    names = ["{ForeignNode[a...b]}", 'say "hi"', "a, b", "x] [y", "é\\n"]
    layers = [{"name": name, "averageMs": 1.0} for name in names]
    profile = read_profile(io.StringIO(json.dumps([{"count": 1}, *layers])))
    assert [layer.name for layer in profile.layers] == names


def test_percentiles_are_measured_values_as_the_tool_takes_them() -> None:
    """Of 127 values the 99th is the last but one; of 100 the last, as 1 - 0.99 falls short of 0.01 in float32."""
    for count, place in ((127, 125), (100, 99), (5, 4), (1, 0)):
        timing = summed_up(np.random.default_rng(count).permutation(count).astype(float))
        assert timing is not None
        assert timing.percentiles_ms[99.0] == place
    assert summed_up(np.empty(0)) is None


def layer(name: str, kind: str, **more: object) -> dict[str, object]:
    return {"Name": name, "LayerType": kind, **more}


def tensors(*formats: str) -> list[dict[str, str]]:
    return [{"Name": "t", "Format/Datatype": text} for text in formats]


def test_convolutions_are_counted_by_what_they_multiply_in() -> None:
    layers = [
        layer("a", "CaskConvolution", Inputs=tensors("Int8"), Weights={"Type": "Int8", "Count": 9}),
        layer("b", "CaskConvolution", Inputs=tensors("Channel major FP16 format where channel % 8 == 0")),
        layer("c", "CaskDeconvolution", Inputs=tensors("Row major linear FP32"), Weights={"Type": "Half", "Count": 9}),
        layer("__myl_CorrMulAdd_myl0_1", "kgen", Inputs=tensors("BFloat16", "Float")),
        layer("d", "PointWiseV2", Inputs=tensors("Float")),
        layer("{ForeignNode[x...y]}", "Myelin", Inputs=tensors("Half")),
    ]
    text = json.dumps({"Layers": layers, "Bindings": ["in", "out"]}, indent=2)
    info = read_layer_info(io.StringIO(text))
    assert info.convolution_pct == {"int8": 25.0, "fp16": 50.0, "bf16": 25.0}
    assert info.precisions["d"] == "fp32"
    assert info.bindings == ("in", "out")
    assert info.detailed


def test_a_convolution_that_does_not_tell_is_counted_as_unknown() -> None:
    layers = [layer("a", "CaskConvolution"), layer("b", "CaskConvolution", Inputs=tensors("Half"))]
    info = read_layer_info(io.StringIO(json.dumps({"Layers": layers})))
    assert info.convolution_pct == {"fp16": 50.0, "unknown": 50.0}


def test_names_alone_tell_no_precision() -> None:
    info = read_layer_info(io.StringIO('{"Layers": ["conv 1"\n,"relu"\n],\n"Bindings": ["x"]}'))
    assert [item.name for item in info.layers] == ["conv 1", "relu"]
    assert info.convolution_pct is None
    assert not info.detailed


def test_a_damaged_layer_costs_itself_alone() -> None:
    good = json.dumps(layer("a", "CaskConvolution", Inputs=tensors("Half")))
    info = read_layer_info(io.StringIO(f'{{"Layers": [{good}\n,7\n,{{"Name": "b"x" }}\n,{good}], "Bindings": []}}'))
    assert ([item.name for item in info.layers], info.damaged) == (["a", "a"], 2)


class Dripping:
    """A stream that gives a character at a time, and counts what it was asked for."""

    def __init__(self, text: str) -> None:
        self._text = io.StringIO(text)

    def read(self, size: int, /) -> str:
        return self._text.read(min(size, 1))


def test_pieces_of_any_size_read_the_same() -> None:
    text = rows(*ROWS).getvalue()
    assert read_times(Dripping(text)).gpu_compute_ms.tolist() == [10, 12, 99]


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=4)
    )
)
def test_any_json_array_is_read_as_json_reads_it(value: object) -> None:
    reader = ElementReader(io.StringIO(json.dumps([value, value])))
    found = [element.value for element in reader]
    assert reader.damaged == 0
    assert all(_same(one, value) for one in found)
    assert len(found) == 2


def _same(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(_same(a, b) for a, b in zip(one, other, strict=True))
    return one == other


@given(
    st.lists(
        st.sampled_from(['{"', '"}', "{", "}", "[", "]", '"', ",", ":", "\n", "nan", "\\", '"name"', "1"]), max_size=60
    )
)
def test_no_text_makes_it_fail_or_hang(pieces: list[str]) -> None:
    text = "".join(pieces)
    read_times(io.StringIO(text))
    read_profile(io.StringIO(text))
    read_layer_info(io.StringIO(text))


@pytest.mark.parametrize(
    "text", ["[" * 50_000, '[{"' * 30_000, "[" + '{"a' * 50_000, '{"Layers": [' * 20_000, "[" + "1" * 300_000]
)
def test_deep_and_endless_files_end(text: str) -> None:
    assert read_times(io.StringIO(text)).gpu_compute_ms.size == 0
