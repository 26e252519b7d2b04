"""ESPNet at 1024x512 in FP16 on the GPU present: engines against PyTorch and ONNX Runtime, in one run, as ratios.

Peers: TensorRT and TensorRT-RTX engines through espdeploy and in the bare loop of `gpu_bare.py`; PyTorch eager in
channels-last, as one CUDA graph, and through torch.compile; ONNX Runtime's providers. All take and give FP32, on data
that stays on the GPU; each answers within the error of FP16 of the FP32 network on the CPU, or its time does not count.
They run in turns, forwards and backwards; a ratio is taken round by round. Beside the times stand what they mean: the
bytes that convolutions read and write in FP16 and the arithmetic they do, per second, and what this card copies and
multiplies at most, measured before and after.

    python benchmarks/gpu.py        exits 3 where there is no GPU
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from common import spread, write
from gpu_bare import PACKAGES, BareEngine

from espdeploy import export
from espdeploy.backends.onnxruntime_gpu import OnnxRuntimeCudaRunner
from espdeploy.backends.registry import TAKES_MODULES, open_runner
from espdeploy.backends.source import FileSource, ModuleSource, Source
from espdeploy.backends.tensorrt.build import build
from espdeploy.backends.tensorrt.plan import TensorRTPlan
from espdeploy.backends.torch_failures import torch_with_gpu
from espdeploy.devices.detect import detect
from espdeploy.errors import EspdeployError, MissingCapability
from espdeploy.networks.build import build as build_network
from espdeploy.parity import real_looking_inputs
from espdeploy.passes import apply, pipeline_for
from espdeploy.quantize.fp16 import to_fp16
from espdeploy.specs import ImageSize, ModelSpec, RunSpec

if TYPE_CHECKING:
    from onnx import ModelProto

ROUNDS = 20
CALLS = 60  # of each peer in a round
OPSET = 20
SIZE = ImageSize(width=1024, height=512)
LIMITS_RATIO = {"runner_to_bare": 1.02}
RELATIVE_ERROR = 2e-2
COPY_BYTES = 2**30
GEMM_SIDE = 8192
RUNTIMES = (
    "torch-cuda",
    "torch-cuda-graph",
    "torch-cuda-compile",
    "onnxruntime-cuda",
    "onnxruntime-tensorrt",
    "onnxruntime-rtx",
)


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Something that runs the network: ``times_ms(n)`` gives GPU and wall times of n calls; wall [] where not taken."""

    times_ms: Callable[[int], tuple[list[float], list[float]]]
    facts: dict[str, object]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The network as a module and as an FP16 file, one image, and the right answer to it."""

    module: ModuleSource
    fp16: Path
    image: np.ndarray
    answer: np.ndarray
    macs: int
    conv_bytes: int


def subject(folder: Path) -> Subject:
    network = build_network(ModelSpec(name="espnet"), size=SIZE)
    shape = (1, 3, SIZE.height, SIZE.width)
    source = ModuleSource(module=network.module, input_shape=shape, card=network.card)
    traced = export.trace(network.module, input_shape=shape, opset=OPSET, dynamic_batch=False)
    half = to_fp16(apply(traced, pipeline_for(simplify=True)).model).model
    path = folder / "espnet-fp16.onnx"
    path.write_bytes(half.SerializeToString())
    image = real_looking_inputs(shape, count=1, seed=0, preprocessing=network.card.preprocessing)[0]
    with open_runner(source, RunSpec(runtime="torch", threads=detect().cores_available or 1)) as runner:
        answer = next(iter(runner.infer({"input": image}).values()))
    return Subject(
        module=source,
        fp16=path,
        image=image,
        answer=answer,
        macs=int(network.card.macs),
        conv_bytes=convolution_bytes(half),
    )


def convolution_bytes(half: ModelProto) -> int:
    """What the convolutions of an FP16 graph read and write if nothing is fused: inputs, weights, outputs."""
    import onnx

    shaped = onnx.shape_inference.infer_shapes(half).graph
    infos = [*shaped.value_info, *shaped.input, *shaped.output]
    counts = {item.name: int(np.prod([d.dim_value for d in item.type.tensor_type.shape.dim])) for item in infos}
    counts |= {item.name: int(np.prod(item.dims)) for item in shaped.initializer}
    nodes = [node for node in shaped.node if node.op_type in ("Conv", "ConvTranspose")]
    return 2 * sum(counts[name] for node in nodes for name in (*node.input[:2], node.output[0]))


def runner_peer(runner: Any, of: Subject, stack: contextlib.ExitStack) -> Peer:
    stack.enter_context(runner)
    given = next(iter(runner.infer({runner.inputs[0].name: of.image}).values()))
    error = float(np.abs(given - of.answer).max() / np.abs(of.answer).max())
    if error > RELATIVE_ERROR:
        raise EspdeployError(f"its answers are wrong: relative error {error:.3g}")
    step = runner.steps({runner.inputs[0].name: of.image}, room=CALLS)

    def times_ms(calls: int) -> tuple[list[float], list[float]]:
        walls = []
        for _ in range(calls):
            begun = time.perf_counter()
            step()
            walls.append((time.perf_counter() - begun) * 1e3)
        return list(step.times().compute_ms[-calls:]), walls

    facts = runner.facts
    return Peer(
        times_ms=times_ms,
        facts={
            "runtime_version": facts.runtime_version,
            "provider": facts.provider,
            "cuda_graph": step.cuda_graph,
            "precision_share_pct": facts.precision_share_pct,
            "relative_error": error,
        },
    )


def engine_peers(kind: str, of: Subject, folder: Path, stack: contextlib.ExitStack) -> dict[str, Peer]:
    engine = folder / f"{kind}.engine"
    build(TensorRTPlan(onnx=of.fp16, engine=engine, precision="fp16", typed_graph=True), kind)
    spec = RunSpec(runtime=kind, precision="fp16", threads=1)
    ours = runner_peer(open_runner(FileSource(path=engine), spec), of, stack)
    bare = BareEngine(kind, engine, of.image)
    return {kind: ours, f"{kind} bare loop": Peer(times_ms=lambda calls: (bare.times_ms(calls), []), facts={})}


def all_peers(of: Subject, folder: Path, stack: contextlib.ExitStack) -> tuple[dict[str, Peer], dict[str, str]]:
    """What runs here, and why the rest does not."""
    found: dict[str, Peer] = {}
    absent: dict[str, str] = {}
    spec = RunSpec(runtime="onnxruntime-cuda", precision="fp16", threads=1)

    def runtime_peer(runtime: str) -> dict[str, Peer]:
        source: Source = of.module if runtime in TAKES_MODULES else FileSource(path=of.fp16)
        asked = RunSpec(runtime=runtime, precision="fp16", threads=1)
        return {runtime: runner_peer(open_runner(source, asked), of, stack)}

    def graph_peer() -> dict[str, Peer]:
        runner = OnnxRuntimeCudaRunner(FileSource(path=of.fp16), spec, cuda_graph=True)
        return {"onnxruntime-cuda graph": runner_peer(runner, of, stack)}

    ways: dict[str, Callable[[], dict[str, Peer]]] = {
        **{kind: (lambda kind=kind: engine_peers(kind, of, folder, stack)) for kind in PACKAGES},
        **{name: (lambda name=name: runtime_peer(name)) for name in RUNTIMES},
        "onnxruntime-cuda graph": graph_peer,
    }
    for name, way in ways.items():
        print(f"-- {name}", file=sys.stderr, flush=True)
        try:
            found |= way()
        except EspdeployError as error:
            absent[name] = f"{error.what}{'; ' if error.why else ''}{error.why}"
    return found, absent


def in_turns(peers: dict[str, Peer]) -> dict[str, list[tuple[float, float | None]]]:
    """The medians of each round, GPU and wall, after one round that does not count."""
    rounds: dict[str, list[tuple[float, float | None]]] = {name: [] for name in peers}
    for index in range(ROUNDS + 1):
        for name in list(peers) if index % 2 else list(peers)[::-1]:
            computed, walls = peers[name].times_ms(CALLS)
            rounds[name].append((statistics.median(computed), statistics.median(walls) if walls else None))
    return {name: kept[1:] for name, kept in rounds.items()}


def best_ms(torch: Any, call: Callable[[], object], calls: int = 20) -> float:
    call()
    events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(calls)]
    for before, after in events:
        before.record()
        call()
        after.record()
    torch.cuda.synchronize()
    return min(before.elapsed_time(after) for before, after in events)


def limits(torch: Any) -> dict[str, float]:
    """What this card copies and multiplies at most: memory read and written, and an FP16 product with FP32 sums."""
    copy_ms, gemm_ms = copying_ms(torch), multiplying_ms(torch)
    torch.cuda.empty_cache()
    return {"copy_gb_s": 2 * COPY_BYTES / copy_ms / 1e6, "gemm_tflop_s": 2 * GEMM_SIDE**3 / gemm_ms / 1e9}


def copying_ms(torch: Any) -> float:
    source = torch.empty(COPY_BYTES, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return best_ms(torch, lambda: target.copy_(source))


def multiplying_ms(torch: Any) -> float:
    left, right = (torch.randn(GEMM_SIDE, GEMM_SIDE, dtype=torch.float16, device="cuda") for _ in range(2))
    return best_ms(torch, lambda: left @ right)


def row(
    rounds: list[tuple[float, float | None]], base: list[tuple[float, float | None]], of: Subject, most: Any
) -> Any:
    gpu_ms = statistics.median(gpu for gpu, _ in rounds)
    walls = [wall for _, wall in rounds if wall is not None]
    gb_s, tflop_s = of.conv_bytes / gpu_ms / 1e6, 2 * of.macs / gpu_ms / 1e9
    return {
        "gpu_median_ms": gpu_ms,
        "wall_median_ms": statistics.median(walls) if walls else None,
        "ratio_to_base": spread([mine[0] / other[0] for mine, other in zip(rounds, base, strict=True)]),
        "convolutions_gb_s": gb_s,
        "convolutions_share_of_copy_pct": 100 * gb_s / most["copy_gb_s"],
        "arithmetic_tflop_s": tflop_s,
        "arithmetic_share_of_gemm_pct": 100 * tflop_s / most["gemm_tflop_s"],
    }


def card(torch: Any) -> dict[str, object]:
    properties = torch.cuda.get_device_properties(0)
    return {
        "name": properties.name,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "memory_mb": properties.total_memory / 1e6,
        "multiprocessors": properties.multi_processor_count,
        "torch_cuda": torch.version.cuda,
    }


def main() -> None:
    try:
        torch = torch_with_gpu()
    except MissingCapability as error:
        lines = [f"error: {error.what}", f"why: {error.why}", f"do: {error.do}"]
        print("\n".join(lines), file=sys.stderr)
        sys.exit(error.exit_code)
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        of = subject(Path(name))
        first = limits(torch)
        peers, absent = all_peers(of, Path(name), stack)
        rounds = in_turns(peers)
        last = limits(torch)
        most = {key: max(first[key], last[key]) for key in first}
        base = next(iter(rounds))
        figures: dict[str, Any] = {
            "limits_ratio": LIMITS_RATIO,
            "network": {"name": "espnet", "size": str(SIZE), "precision": "fp16", "macs": of.macs},
            "convolution_bytes": of.conv_bytes,
            "gpu": card(torch),
            "measured_limits": {"before": first, "after": last},
            "base": base,
            "peers": {name: row(rounds[name], rounds[base], of, most) | peers[name].facts for name in peers},
            "not_here": absent,
            "runner_to_bare": {
                kind: spread(
                    [ours[0] / bare[0] for ours, bare in zip(rounds[kind], rounds[f"{kind} bare loop"], strict=True)]
                )
                for kind in PACKAGES
                if kind in rounds
            },
        }
    write("gpu", figures)


if __name__ == "__main__":
    main()
