"""`espdeploy explain` as a user runs it: on an exported ESPNet, on records, and on profiles of real engines."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from espdeploy import store
from espdeploy.profilers.layers import laid_on
from espdeploy.profilers.trtexec.layer_profile import read_profile
from espdeploy.records import GpuFrequency, Launch
from tests.cli.conftest import Run, assert_contract_error

_REFORMAT = "Reformatting CopyNode for Input Tensor 0 to "


def write_profile(path: Path, layers: Mapping[str, float]) -> Path:
    total = sum(layers.values())
    rows = [
        f'{{ "name" : "{name}", "timeMs" : {10 * ms}, "averageMs" : {ms}, "percentage" : {100 * ms / total} }}'
        for name, ms in layers.items()
    ]
    path.write_text("[\n  " + "\n, ".join(['{ "count" : 10 }', *rows]) + "\n]\n")
    return path


def as_tensorrt_names_them(onnx: Path) -> dict[str, float]:
    """The layers that TensorRT 8 makes of the network, by its rules for names, with made-up times."""
    import onnx as package

    graph = package.load(onnx).graph
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    layers: dict[str, float] = {_REFORMAT + graph.node[0].name: 0.5}
    fused: set[str] = set()
    for number, node in enumerate(graph.node):
        if node.name in fused:
            continue
        after = readers.get(node.output[0], [])
        follows = len(after) == 1 and after[0].op_type in ("PRelu", "BatchNormalization") and node.op_type == "Conv"
        if node.op_type == "Concat":
            layers |= {f"{tensor} copy": 0.125 for tensor in node.input[:1]}
        elif follows:
            fused.add(after[0].name)
            layers[f"{node.name} + {after[0].name}"] = 1.0 + number
        elif node.op_type in ("Add", "PRelu"):
            layers[f"PWN({node.name})"] = 0.25
        else:
            layers[node.name] = 0.5
    return layers


def test_layers_of_an_exported_network_find_operators_and_modules(small_onnx: Path, tmp_path: Path, run: Run) -> None:
    import onnx

    layers = as_tensorrt_names_them(small_onnx)
    profile = write_profile(tmp_path / "layers.json", layers)
    told = run("explain", profile, small_onnx, "--device", "tx2", "--precision", "fp16", "--json").document
    assert all(layer["nodes"] for layer in told["layers"])
    graph = onnx.load(small_onnx).graph
    computed = {name for layer in told["layers"] if layer["kind"] == "compute" for name in layer["nodes"]}
    assert computed == {node.name for node in graph.node if node.op_type not in ("Concat", "Constant")}
    modules = {module["module"]: module for module in told["modules"]}
    assert {"stage2.0", "stage2.1", "stage3.0", "level1", "classifier"} <= set(modules)
    top = sum(module["mean_ms"] for path, module in modules.items() if "." not in path)
    assert top == pytest.approx(sum(layers.values()))
    card = json.loads(next(entry.value for entry in onnx.load(small_onnx).metadata_props if "card" in entry.key))
    assert told["roofline"]["macs"] == card["macs"]
    assert sum(module["macs"] for path, module in modules.items() if "." not in path) == card["macs"]
    assert told["layer_kinds_ms"]["reformat"] == 0.5
    # at half precision every byte halves, the counts do not
    full = run("explain", profile, small_onnx, "--device", "tx2", "--precision", "fp32", "--json").document
    assert full["roofline"]["bytes"] == 2 * told["roofline"]["bytes"]
    assert full["roofline"]["peak_gflops"] == pytest.approx(665.9)
    slow = run(
        "explain", profile, small_onnx, "--device", "tx2", "--precision", "fp32", "--gpu-mhz", "650.25", "--json"
    )
    assert slow.document["roofline"]["peak_gflops"] == pytest.approx(332.95)


def test_two_profiles_say_why_the_second_is_slower(small_onnx: Path, tmp_path: Path, run: Run) -> None:
    layers = as_tensorrt_names_them(small_onnx)
    first = write_profile(tmp_path / "fp16.json", layers)
    name = next(name for name in layers if " + " in name)
    slower = {**layers, name: layers[name] + 2, _REFORMAT + name: 1.5, "QuantizeLinear_3": 0.5}
    second = write_profile(tmp_path / "int8.json", slower)
    told = run("explain", first, second, small_onnx, "--json").document["comparison"]
    assert told["change_ms"] == pytest.approx(4.0)
    assert told["slower_ms"] == pytest.approx(2.0)
    assert told["inserted_ms"] == pytest.approx(2.0)
    assert [change["verdict"] for change in told["changes"][:3]] == ["slower", "inserted", "inserted"]
    shown = run("explain", first, second).out
    assert "4 ms" in shown
    assert "Changes of layout take 1.5 ms more" in shown


def _record(example_records: ModuleType, folder: Path) -> Path:
    record = example_records.make()
    device = dataclasses.replace(record.device, name="tx2", gpu_freq_mhz=GpuFrequency(set=1300.5, mean=1300.5))
    launch = Launch(enqueue_p50_ms=0.95 * record.latency_ms.p50, enqueue_ratio=0.95)
    made = dataclasses.replace(record, device=device, launch=launch, gpu_latency_ms=record.latency_ms)
    return store.append(made, folder)


def test_a_record_tells_that_launching_limits(example_records: ModuleType, tmp_path: Path, run: Run) -> None:
    path = _record(example_records, tmp_path / "results")
    for target in (path, tmp_path / "results"):
        told = run("explain", target, "--json").document
        assert told["limits"][0]["code"] == "launch_bound"
        assert told["limits"][0]["share_pct"] == pytest.approx(95.0)
        assert told["roofline"] is None
        assert any("counters" in note for note in told["notes"])
    assert "CUDA graph" in run("explain", path).out


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("nothing that is known\n", "nothing that can be explained"),
        ("", "empty"),
        ("RAM 1000/7854MB (lfb 1x4MB) CPU [1%@345,off,off,1%@345,1%@345,1%@345] GR3D_FREQ 0%@114\n" * 3, "tegrastats"),
    ],
)
def test_what_cannot_be_explained_is_refused(tmp_path: Path, run: Run, content: str, told: str) -> None:
    path = tmp_path / "given.txt"
    path.write_text(content)
    assert_contract_error(run("explain", path), 2, told)


def test_what_does_not_belong_together_is_refused(tmp_path: Path, run: Run) -> None:
    profiles = [write_profile(tmp_path / f"{number}.json", {"a": 1.0, "b": 2.0}) for number in range(3)]
    assert_contract_error(run("explain", *profiles), 2, "3 layer profiles")
    assert_contract_error(run("explain", tmp_path / "absent.json"), 2, "absent.json")
    assert_contract_error(run("explain", profiles[0], "--device", "tx3"), 2, "tx2")
    (tmp_path / "cut.onnx").write_bytes(b"\x08\x08\x12")
    assert_contract_error(run("explain", profiles[0], tmp_path / "cut.onnx", "--device", "tx2"), 2, "cut.onnx")


@pytest.mark.data
def test_names_of_a_real_engine_say_what_its_inspector_says(data_dir: Path, run: Run) -> None:
    """TensorRT 8.6: the kind read off each name is the type that the engine's own description gives."""
    folder = data_dir / "logs/trtexec"
    with (folder / "trt86_trex_resnet_fp16_a100_profile.json").open() as stream:
        laid = laid_on(read_profile(stream))
    graph = json.loads((folder / "trt86_trex_resnet_fp16_a100_graph.json").read_text())
    types = {layer["Name"]: layer["LayerType"] for layer in graph["Layers"]}
    assert {layer.name for layer in laid.layers} == set(types)
    for layer in laid.layers:
        if layer.kind == "reformat":
            assert types[layer.name] in ("Reformat", "NoOp")
        elif layer.kind == "compute":
            assert types[layer.name] not in ("Reformat", "NoOp")
    told = run("explain", folder / "trt86_trex_resnet_fp16_a100_profile.json", "--json").document
    assert "layout_changes" in {limit["code"] for limit in told["limits"]}
    same = run("explain", *[folder / "trt86_trex_resnet_fp16_a100_profile.json"], "--json").document
    assert same["comparison"] is None


@pytest.mark.data
def test_a_real_profile_and_the_log_of_its_run_are_one(data_dir: Path, run: Run) -> None:
    """TensorRT 8.2 on a Nano: layers of the export, the times of the whole from the log's summary."""
    folder = data_dir / "logs/trtexec"
    log, profile = folder / "trt82_nano_yolov4tiny416_fp16_verbose.txt", folder / "trt82_nano_recordProfile.json"
    told = run("explain", log, profile, folder / "trt82_nano_recordLayer.json", "--json").document
    assert told["comparison"] is None
    names = json.loads((folder / "trt82_nano_recordLayer.json").read_text())["Layers"]
    assert [layer["name"] for layer in told["layers"]] == names
    alone = run("explain", profile, "--json").document
    moved = sum(layer["mean_ms"] for layer in alone["layers"] if layer["kind"] in ("reformat", "copy"))
    shown = [name for name in names if name.startswith("Reformatting") or name.endswith(" copy")]
    assert len(shown) == sum(layer["kind"] in ("reformat", "copy") for layer in alone["layers"])
    assert alone["layer_kinds_ms"]["reformat"] + alone["layer_kinds_ms"]["copy"] == pytest.approx(moved)


def test_an_onnx_file_of_another_network_gives_no_roofline(small_onnx: Path, tmp_path: Path, run: Run) -> None:
    foreign = write_profile(tmp_path / "layers.json", {"036_convolutional": 3.0, "res5c_branch2b + relu": 1.0})
    told = run("explain", foreign, small_onnx, "--device", "tx2", "--precision", "fp16", "--json").document
    assert told["roofline"] is None
    assert [limit["code"] for limit in told["limits"]] == ["one_layer"]
    assert any("the ONNX file is left aside" in note for note in told["notes"])


def test_profiles_of_two_networks_are_told_apart_from_two_engines_of_one(tmp_path: Path, run: Run) -> None:
    first = write_profile(tmp_path / "a.json", {"Conv_0": 3.0, "Conv_1": 1.0})
    other = write_profile(tmp_path / "b.json", {"dense_0": 2.0, "dense_1": 1.0})
    assert "different networks" in run("explain", first, other, "--json").document["sentences"][0]
    same = write_profile(tmp_path / "c.json", {"Conv_0 + Relu_0": 2.0, "Conv_1": 1.0})
    assert "different networks" not in " ".join(run("explain", first, same, "--json").document["sentences"])


def test_failures_and_runs_that_are_not_looked_at_are_named(tmp_path: Path, run: Run) -> None:
    failed = tmp_path / "failed.log"
    failed.write_text(
        "&&&& RUNNING TensorRT.trtexec [TensorRT v8201] # trtexec\n[05/14/2022-02:21:17] [E] [TRT] 10: Could not find "
        "any implementation for node conv1.\n&&&& FAILED TensorRT.trtexec [TensorRT v8201] # trtexec\n"
    )
    assert "Could not find any implementation" in " ".join(run("explain", failed, "--json").document["notes"])
    for name in ("one.log", "two.log"):
        (tmp_path / name).write_text(
            "&&&& RUNNING TensorRT.trtexec [TensorRT v8201] # trtexec\n[05/14/2022-02:21:17] [I] GPU Compute Time: "
            "min = 1 ms, max = 9 ms, mean = 3 ms, median = 2 ms, percentile(99%) = 8 ms\n&&&& PASSED TensorRT.trtexec\n"
        )
    notes = " ".join(run("explain", tmp_path / "one.log", tmp_path / "two.log", "--json").document["notes"])
    assert f"and not {tmp_path / 'two.log'}" in notes
