"""`espdeploy build` and `convert` in low precision: what is built, what is proven, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.conftest import Run, assert_contract_error

pytest.importorskip("openvino")
pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three pictures with smooth shades and edges, as a camera's have."""
    from PIL import Image

    folder = tmp_path / "images"
    folder.mkdir()
    rows, columns = np.mgrid[0:48, 0:64]
    for index in range(3):
        shade = (rows * 3 + columns * 2 + 40 * index) % 256
        pixels = np.stack([shade, 255 - shade, (columns > 20 + 10 * index) * 200], axis=-1).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


@pytest.fixture
def table(run: Run, small_onnx: Path, images: Path) -> Path:
    assert run("calibrate", small_onnx, "--data", images, "-o", "T.json").code == 0
    return Path("T.json").resolve()


def capabilities() -> list[str]:
    from espdeploy.backends.openvino import core as shared_core

    return [str(item) for item in shared_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")]


def test_int8_is_built_where_convolutions_really_run_in_int8(run: Run, small_onnx: Path, table: Path) -> None:
    ran = run("build", small_onnx, "--precision", "int8", "--calibration", table, "-o", "int8.onnx", "--json")
    assert ran.code == 0, ran
    document = ran.document
    assert document["precision"] == "int8"
    assert document["layers"]["convolution_precision_pct"]["int8"] > 90
    assert document["rms_error_pct"] < 25
    assert not document["performance_only"]
    # onnxruntime keeps such a graph in float; it must have been found out and not chosen
    refused = [item for item in document["tried"] if item["refused"]]
    assert any(item["runtime"] == "onnxruntime" and "int8" in item["refused"] for item in refused)
    record = run("bench", "int8.onnx", "--trials", 5, "--warmup-s", 0, "--results", "results", "--json").document
    assert record["engine"]["precision"] == "int8"
    assert record["engine"]["precision_share_pct"]["int8"] > 90
    assert record["engine"]["provenance"]["calibration"].startswith(("entropy", "mse", "percentile", "minmax"))


def test_an_int8_file_is_a_quarter_of_its_fp32_weights(run: Run, small_onnx: Path, table: Path) -> None:
    ran = run("convert", small_onnx, "--precision", "int8", "--calibration", table, "-o", "q.onnx", "--json")
    assert ran.code == 0, ran
    graph = onnx.load("q.onnx").graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    stored = {node.input[0] for node in graph.node if node.op_type == "DequantizeLinear"} & set(types)
    convolutions = [node for node in graph.node if node.op_type in ("Conv", "ConvTranspose")]
    assert len(stored) == len(convolutions) == ran.document["layers"]
    assert {types[name] for name in stored} == {onnx.TensorProto.INT8}


def test_bf16_is_built_or_refused_as_the_processor_can(run: Run, small_onnx: Path) -> None:
    ran = run("build", small_onnx, "--precision", "bf16", "-o", "bf16.onnx", "--json")
    if "BF16" in capabilities():
        assert ran.code == 0, ran
        assert ran.document["layers"]["convolution_precision_pct"]["bf16"] > 90
    else:
        assert ran.document["error"]["code"] == ran.code == 3
        assert "bf16" in ran.document["error"]["what"]


def test_fp16_is_built_or_refused_as_the_processor_can(run: Run, small_onnx: Path) -> None:
    ran = run("build", small_onnx, "--precision", "fp16", "-o", "fp16.onnx", "--json")
    if "FP16" in capabilities():
        assert ran.code == 0, ran
        assert ran.document["layers"]["convolution_precision_pct"]["fp16"] > 90
    else:
        assert ran.document["error"]["code"] == ran.code == 3
        assert "onnxruntime computes 0 %" in ran.document["error"]["why"]
        assert not Path("fp16.onnx").exists()


def test_an_fp16_graph_is_written_and_runs(run: Run, small_onnx: Path) -> None:
    ran = run("convert", small_onnx, "--precision", "fp16", "--json")
    assert ran.code == 0, ran
    assert ran.document["rms_error_pct"] < 1
    assert ran.document["argmax_agreement_pct"] > 99
    written = onnx.load(ran.document["output"])
    assert {value.type.tensor_type.elem_type for value in (*written.graph.input, *written.graph.output)} == {1}
    assert any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in written.graph.initializer)


def test_without_keep_io_inputs_and_outputs_are_fp16_too(run: Run, small_onnx: Path) -> None:
    ran = run("convert", small_onnx, "--precision", "fp16", "--no-keep-io", "-o", "half.onnx", "--json")
    assert ran.code == 0, ran
    written = onnx.load("half.onnx")
    assert {value.type.tensor_type.elem_type for value in (*written.graph.input, *written.graph.output)} == {10}


def test_every_way_that_was_tried_is_told_the_fastest_first(run: Run, small_onnx: Path) -> None:
    document = run("build", small_onnx, "--json").document
    times = [item["median_ms"] for item in document["tried"] if item["median_ms"] is not None]
    assert len(times) >= 2
    assert times == sorted(times)
    assert document["tried"][0]["runtime"] == document["runtime"]
    passport = json.loads(Path(document["engine"] + ".json").read_text())
    assert passport["tried"][0]["median_ms"] == times[0]


def test_made_up_ranges_mark_the_engine_wherever_it_is_shown(run: Run, small_onnx: Path) -> None:
    assert run("calibrate", small_onnx, "--allow-random-calibration", "-o", "random.json").code == 0
    ran = run("build", small_onnx, "--precision", "int8", "--calibration", "random.json", "-o", "r.onnx", "--json")
    assert ran.document["performance_only"] is True
    ran = run("bench", "r.onnx", "--trials", 5, "--warmup-s", 0, "--results", "results", "--json")
    assert "performance_only" in [finding["code"] for finding in ran.document["findings"]]
    assert run("report", "results", "-o", "report.html").code == 0
    assert "made-up data" in Path("report.html").read_text()


def test_int8_without_ranges_says_how_to_get_them(run: Run, small_onnx: Path) -> None:
    ran = run("build", small_onnx, "--precision", "int8")
    assert_contract_error(ran, 2, "int8 needs activation ranges", "espdeploy calibrate")


def test_a_table_of_another_network_is_refused(run: Run, small_onnx: Path, table: Path) -> None:
    other = onnx.load(str(small_onnx))
    weights = next(tensor for tensor in other.graph.initializer if len(tensor.dims) == 4)
    weights.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weights) * 2, weights.name))
    onnx.save(other, "other.onnx")
    ran = run("build", "other.onnx", "--precision", "int8", "--calibration", table)
    assert_contract_error(ran, 2, "another network", "espdeploy calibrate")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--precision", "fp32", "--calibration", "{table}"], "of no use to fp32"),
        (["--precision", "int8", "--calibration", "missing.json"], "missing.json does not exist"),
        (["--precision", "int8", "--calibration", "{table}", "--max-drop-pct", "1"], "--max-drop-pct"),
        (["--precision", "mixed", "--calibration", "{table}"], "--max-drop-pct and --data"),
        (["--precision", "int4"], "int4"),
        (["--precision", "bf16", "--runtime", "onnxruntime"], "onnxruntime has no bf16"),
    ],
)
def test_options_that_cannot_be_are_refused_before_slow_work(
    run: Run, small_onnx: Path, table: Path, options: list[str], told: str
) -> None:
    ran = run("build", small_onnx, *(item.format(table=table) for item in options))
    assert_contract_error(ran, 2, told)
    assert "onnxruntime ..." not in ran.err


def test_int8_for_a_board_without_it_is_refused_with_the_reason(run: Run, small_onnx: Path, table: Path) -> None:
    ran = run("build", small_onnx, "--device", "tx2", "--precision", "int8", "--calibration", table)
    assert_contract_error(ran, 3, "DP4A")


def test_a_quantized_graph_is_not_quantized_again(run: Run, small_onnx: Path, table: Path) -> None:
    assert run("convert", small_onnx, "--precision", "int8", "--calibration", table, "-o", "q.onnx").code == 0
    ran = run("build", "q.onnx", "--precision", "fp16")
    assert_contract_error(ran, 2, "int8 already")


def test_a_table_that_covers_no_layer_gives_no_int8_engine(run: Run, small_onnx: Path, table: Path) -> None:
    content: dict[str, Any] = json.loads(table.read_text())
    content["ranges"] = {name: {**item, "amax": 0.0} for name, item in content["ranges"].items()}
    Path("zero.json").write_text(json.dumps(content))
    ran = run("build", small_onnx, "--precision", "int8", "--calibration", "zero.json")
    assert_contract_error(ran, 2, "none of the", "layers can go to INT8")


def test_an_engine_keeps_the_precision_that_it_was_built_at(run: Run, small_onnx: Path, table: Path) -> None:
    assert run("build", small_onnx, "--precision", "int8", "--calibration", table, "-o", "int8.onnx").code == 0
    ran = run("bench", "int8.onnx", "--precision", "fp32", "--trials", 5, "--results", "results")
    assert_contract_error(ran, 2, "was built at int8", "leave --precision away")


def test_the_cache_tells_engines_of_different_tables_apart(run: Run, small_onnx: Path, images: Path) -> None:
    engines = []
    for method in ("minmax", "mse", "minmax"):
        assert run("calibrate", small_onnx, "--data", images, "--method", method, "-o", "T.json").code == 0
        ran = run("build", small_onnx, "--precision", "int8", "--calibration", "T.json", "--json")
        engines.append((ran.document["engine"], ran.document["cache"]))
    assert engines[0][0] != engines[1][0]
    assert [cache for _, cache in engines] == ["built", "built", "built"]  # a table carries when it was made
    again = run("build", small_onnx, "--precision", "int8", "--calibration", "T.json", "--json").document
    assert (again["engine"], again["cache"]) == (engines[2][0], "hit")


def test_a_graph_that_the_reference_cannot_run_is_built_by_who_can_and_says_that_it_is_not_proven(run: Run) -> None:
    """ONNX Runtime's CPU provider has no Relu for bf16 tensors; OpenVINO runs the graph."""
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]>
        net (float[1,3,8,8] x) => (float[1,3,8,8] y) { d = Cast <to = 16> (x) e = Relu (d) y = Cast <to = 1> (e) }"""
    )
    onnx.save(model, "bf16.onnx")
    ran = run("build", "bf16.onnx", "--json")
    assert ran.code == 0, ran
    assert ran.document["runtime"] == "openvino"
    assert ran.document["rms_error_pct"] is None
    assert any("cannot run this graph" in note for note in ran.document["notes"])
