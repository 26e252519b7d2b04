"""What INT8 costs in accuracy: by calibration algorithm, by what else than convolutions is in INT8, by runtime.

Beside it the kernels of which TensorRT-RTX makes an engine, which it lists without a GPU, and the data that they move.

ESPNet for CamVid at 480x360: 25 training frames calibrate, 51 validation frames judge. And, for want of more labelled
images, the agreement with FP32 of two Cityscapes networks on one frame of Frankfurt, calibrated on the CamVid frames.
Needs ESPDEPLOY_DATA.
"""

from __future__ import annotations

import math
import os
import re
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from common import write

SIZE = "480x360"
GPUS = ("SM75", "SM89", "SM120")  # compute capabilities 7.5, 8.9 and 12.0
BYTES = {"Float": 4, "Half": 2, "Int8": 1, "Bool": 1, "Int32": 4, "Int64": 8}
CITYSCAPES = {
    "espnet": ("weights/espnet/espnet_p_2_q_8.pth", "1024x512"),
    "espnetv2-seg": ("weights/espnetv2-seg/espnetv2_s_1.0_city_1024x512.pth", "1024x512"),
}


class Network:
    """An exported network, its images, and what was seen of its activations."""

    def __init__(self, name: str, weights: str, size: str, folder: Path) -> None:
        from espdeploy.export import inspect, load
        from espdeploy.pipeline.export import ExportRequest, export_model
        from espdeploy.protocols import no_progress
        from espdeploy.recipes import device_profile
        from espdeploy.specs import ImageSize, ModelSpec

        self.data = Path(os.environ["ESPDEPLOY_DATA"])
        width, height = map(int, size.split("x"))
        self.size = ImageSize(width=width, height=height)
        spec = ModelSpec(name=name, weights=self.data / weights)
        self.path = folder / f"{name}.onnx"
        export_model(ExportRequest(model=spec, profile=device_profile("cpu"), size=self.size), self.path, no_progress)
        self.model = load(self.path)
        self.card = inspect(self.model).card
        train = self.samples("camvid/train", None)
        from espdeploy.quantize.observe import observe

        self.seen = observe(self.path, ((each.name, {"input": each.image}) for each in train), threads=2)

    def samples(self, images: str, labels: str | None) -> list[Any]:
        from espdeploy.accuracy.datasets import ImageFolder, find_pairs

        found = find_pairs(self.data / "data" / images, None if labels is None else self.data / "data" / labels)
        return list(ImageFolder(found, preprocessing=self.card.preprocessing, size=self.size))

    def amax(self, method: str) -> dict[str, float]:
        from espdeploy.quantize.algorithms import amax

        return {name: amax(sketch, method) for name, sketch in self.seen.sketches.items()}

    def miou_pct(self, answer: Callable[[Any], Any], validation: Iterable[Any]) -> float:
        from espdeploy.accuracy.confusion import confusion_matrix, scores

        classes = self.card.classes
        counts = np.zeros((len(classes.names),) * 2, np.int64)
        for sample in validation:
            counts += confusion_matrix(
                sample.label.astype(np.int64), answer(sample.image).argmax(1)[0], classes, name=sample.name
            )
        return scores(counts, classes).miou_pct or 0.0


def in_onnxruntime(model: Any) -> Callable[[Any], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 2, 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda image: session.run(None, {"input": image})[0]


def in_openvino(model: Any, precision: str = "f32") -> Callable[[Any], Any]:
    import openvino

    core = openvino.Core()
    read = core.read_model(model.SerializeToString())
    request = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": precision}).create_infer_request()
    return lambda image: request.infer([image])[0].copy()


def kernels(model: Any, gpu: str) -> dict[str, object]:
    """How many kernels an engine has, how many Conv read INT8, and what all of them read and write, weights aside."""
    import tensorrt_rtx as trt

    messages: list[str] = []

    class Log(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: object, message: str) -> None:
            messages.append(message)

    builder = trt.Builder(log := Log())
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    assert trt.OnnxParser(network, log).parse(model.SerializeToString())
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, gpu), 0)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    assert builder.build_serialized_network(network, config) is not None
    listed = next(text for text in messages if text.startswith("Layers:"))
    lines = [line for line in listed.splitlines() if line.startswith("Name:")]
    moved = sum(
        math.prod(map(int, extents.split(","))) * BYTES[kind]
        for line in lines
        for part in re.findall(r"(?:Inputs|Outputs): (\[.*?\}\])", line)
        for extents, kind in re.findall(r"Dimensions: \[([\d,]+)\].*?Datatype: (\w+)", part)
    )
    convolutions = [line for line in lines if "LayerType: correlation" in line]
    return {
        "kernels": len(lines),
        "conv": len(convolutions),
        "conv_reading_int8": sum(bool(re.search(r"Inputs: \[ \{[^}]*Datatype: Int8", line)) for line in convolutions),
        "only_moving_data": sum(bool(re.match(r"Name: __myl_(Move|Tran)+_", line)) for line in lines),
        "moved_mb": round(moved / 1e6, 1),
    }


def joins_by_kind(joined: Iterable[str]) -> dict[str, list[str]]:
    """ESPNet's Adds and Concats: inside a pyramid (hierarchical feature fusion), beside it, and Concats."""
    kinds: dict[str, list[str]] = {"hierarchical feature fusion": [], "residual": [], "concat": []}
    for name in joined:
        fusion = "hierarchical feature fusion" if ".pyramid/" in name else "residual"
        kinds["concat" if "Concat" in name else fusion].append(name)
    return kinds


def without_transpose(model: Any) -> list[str]:
    from espdeploy.quantize.qdq import quantizable

    return [name for name in quantizable(model) if "ConvTranspose" not in name]


def camvid(network: Network) -> dict[str, object]:
    from espdeploy.passes import apply
    from espdeploy.quantize.algorithms import METHODS
    from espdeploy.quantize.placement import PLACEMENTS
    from espdeploy.quantize.qdq import quantize

    validation = network.samples("camvid/val", "camvid/valannot")
    fp32, ranges = network.model, network.amax("mse")
    fp32_pct = network.miou_pct(in_onnxruntime(fp32), validation)

    def lost(model: Any, run: Callable[[Any], Callable[[Any], Any]] = in_onnxruntime) -> float:
        points = round(fp32_pct - network.miou_pct(run(model), validation), 3)
        print(points, flush=True)
        return points

    figures: dict[str, object] = {"images": len(validation), "calibrated_on": network.seen.images}
    figures["fp32_miou_pct"] = round(fp32_pct, 3)
    for placement in PLACEMENTS:
        figures[f"points_lost_{placement}"] = {
            method: lost(quantize(fp32, network.amax(method), placement=placement).model) for method in METHODS
        }
    kinds = joins_by_kind(quantize(fp32, ranges, placement="dense").joined)
    figures["points_lost_mse_convolutions_and"] = {
        kind: lost(quantize(fp32, ranges, placement="dense", joins=names).model) for kind, names in kinds.items()
    }
    plain = quantize(fp32, ranges, layers=without_transpose(fp32)).model
    figures["points_lost_mse_without_conv_transpose"] = lost(plain)
    model = quantize(fp32, ranges).model
    in_bf16 = lost(model, lambda each: in_openvino(each, "bf16"))
    figures["points_lost_mse_openvino"] = {"f32": lost(model, in_openvino), "bf16": in_bf16}
    split = apply(fp32, ["split-concat-conv"]).model
    figures["points_lost_mse_split_concat_conv"] = lost(quantize(split, ranges).model)  # it keeps the tensors' names
    return figures


def engines(network: Network) -> dict[str, object]:
    """What the files and TensorRT-RTX's engines of each placement look like."""
    from espdeploy.quantize.qdq import quantize

    ranges, fp32 = network.amax("mse"), network.model
    graphs = {
        "fp32": fp32,
        "convolutions": quantize(fp32, ranges).model,
        "without ConvTranspose": quantize(fp32, ranges, layers=without_transpose(fp32)).model,
        "dense": quantize(fp32, ranges, placement="dense").model,
    }
    figures: dict[str, object] = {"bytes": {name: len(graph.SerializeToString()) for name, graph in graphs.items()}}
    for gpu in GPUS:
        figures[gpu] = {name: kernels(graph, gpu) for name, graph in graphs.items()}
    return figures


def frankfurt(name: str, folder: Path) -> dict[str, object]:
    from espdeploy.quantize.qdq import quantize

    network = Network(name, *CITYSCAPES[name], folder)
    [sample] = network.samples("cityscapes", None)
    expected = in_onnxruntime(network.model)(sample.image).argmax(1)
    agreement = {}
    for method in ("minmax", "percentile", "mse"):
        model = quantize(network.model, network.amax(method)).model
        found = {"onnxruntime": in_onnxruntime(model), "openvino": in_openvino(model)}
        agreement[method] = {
            runtime: round(100 * float((answer(sample.image).argmax(1) == expected).mean()), 3)
            for runtime, answer in found.items()
        }
    return {"equal_classes_pct": agreement}


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        network = Network("espnet", "weights/espnet/espnet_p_2_q_8_camvid.pth", SIZE, folder)
        figures: dict[str, object] = {"limit_points_lost": 0.5, "camvid": camvid(network)}
        figures["tensorrt_rtx"] = engines(network)
        figures["cityscapes_frankfurt"] = {each: frankfurt(each, folder) for each in CITYSCAPES}
        write("int8_accuracy", figures)


if __name__ == "__main__":
    main()
