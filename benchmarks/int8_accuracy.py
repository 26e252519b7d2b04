"""What INT8 costs in accuracy: by calibration algorithm, by what else than convolutions is in INT8, by runtime.

ESPNet for CamVid at 480x360: 25 training frames calibrate, 51 validation frames judge. And, for want of more labelled
images, the agreement with FP32 of two Cityscapes networks on one frame of Frankfurt, calibrated on the CamVid frames.
Needs ESPDEPLOY_DATA.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from common import write

SIZE = "480x360"
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


def joins_by_kind(joined: Iterable[str]) -> dict[str, list[str]]:
    """ESPNet's Adds and Concats: inside a pyramid (hierarchical feature fusion), beside it, and Concats."""
    kinds: dict[str, list[str]] = {"hierarchical feature fusion": [], "residual": [], "concat": []}
    for name in joined:
        fusion = "hierarchical feature fusion" if ".pyramid/" in name else "residual"
        kinds["concat" if "Concat" in name else fusion].append(name)
    return kinds


def camvid(folder: Path) -> dict[str, object]:
    from espdeploy.passes import apply
    from espdeploy.quantize.algorithms import METHODS
    from espdeploy.quantize.placement import PLACEMENTS
    from espdeploy.quantize.qdq import quantizable, quantize

    network = Network("espnet", "weights/espnet/espnet_p_2_q_8_camvid.pth", SIZE, folder)
    validation = network.samples("camvid/val", "camvid/valannot")
    fp32_pct = network.miou_pct(in_onnxruntime(network.model), validation)

    def lost(model: Any, run: Callable[[Any], Callable[[Any], Any]] = in_onnxruntime) -> float:
        points = round(fp32_pct - network.miou_pct(run(model), validation), 3)
        print(points, flush=True)
        return points

    figures: dict[str, object] = {"images": len(validation), "calibrated_on": network.seen.images}
    figures["fp32_miou_pct"] = round(fp32_pct, 3)
    for placement in PLACEMENTS:
        figures[f"points_lost_{placement}"] = {
            method: lost(quantize(network.model, network.amax(method), placement=placement).model) for method in METHODS
        }
    ranges = network.amax("mse")
    kinds = joins_by_kind(quantize(network.model, ranges, placement="dense").joined)
    figures["points_lost_mse_convolutions_and"] = {
        kind: lost(quantize(network.model, ranges, placement="dense", joins=names).model)
        for kind, names in kinds.items()
    }
    plain = [name for name in quantizable(network.model) if "ConvTranspose" not in name]
    figures["points_lost_mse_without_conv_transpose"] = lost(quantize(network.model, ranges, layers=plain).model)
    model = quantize(network.model, ranges).model
    figures["points_lost_mse_openvino"] = {
        "f32": lost(model, in_openvino),
        "bf16": lost(model, lambda each: in_openvino(each, "bf16")),
    }
    split = apply(network.model, ["split-concat-conv"]).model
    split_ranges = ranges  # the pass keeps every tensor that a convolution still reads
    figures["points_lost_mse_split_concat_conv"] = lost(quantize(split, split_ranges).model)
    figures["bytes_fp32"] = len(network.model.SerializeToString())
    figures["bytes_int8"] = len(model.SerializeToString())
    return figures


def frankfurt(name: str, folder: Path) -> dict[str, object]:
    from espdeploy.quantize.qdq import quantize

    network = Network(name, *CITYSCAPES[name], folder)
    [sample] = network.samples("cityscapes", None)
    expected = in_onnxruntime(network.model)(sample.image).argmax(1)
    agreement = {}
    for method in ("minmax", "mse"):
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
        figures: dict[str, object] = {"limit_points_lost": 0.5, "camvid": camvid(folder)}
        figures["cityscapes_frankfurt"] = {network: frankfurt(network, folder) for network in CITYSCAPES}
        write("int8_accuracy", figures)


if __name__ == "__main__":
    main()
