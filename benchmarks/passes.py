"""What each graph pass gains in each runtime: graphs with and without it, run in turns on one thread.

For a pass that `build` adds for the runtime, the ratio is that of the graph with all of them to the graph with all but
this one; for one that it leaves out, that of the graph with it added to the graph without. Below 1 is faster. A ratio
is the median over rounds in which every graph runs once, in an order that rotates. What is measured is the processor
time that this process takes: on one thread that is the latency, less what other processes get in between.

    python benchmarks/passes.py [ROUNDS [NETWORK …]]
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from common import write

if TYPE_CHECKING:
    from onnx import ModelProto

ROUNDS = 25
THREADS = 1
BACKENDS = (("onnxruntime", "fp32"), ("openvino", "fp32"), ("openvino", "bf16"))
STOCK = "stock onnxruntime fp32"
#: those that one runtime or another gains by, in the order in which they run
FOR_RUNTIMES = ("split-resized-output", "pool-to-convolution", "spell-out-prelu", "align-channels", "split-output")
FOR_EXPORT = ("fold-norm-into-branches",)


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network of the zoo, the size of its image, and the released file whose weights it takes if that is here."""

    name: str
    width: int
    height: int
    weights: str | None = None


NETWORKS = {
    "espnet 1024x512": Network(name="espnet", width=1024, height=512, weights="espnet/espnet_p_2_q_8.pth"),
    "espnet 480x360": Network(name="espnet", width=480, height=360, weights="espnet/espnet_p_2_q_8_camvid.pth"),
    "espnet-c 1024x512": Network(name="espnet-c", width=1024, height=512),
    "espnetv2-seg 1024x512": Network(name="espnetv2-seg", width=1024, height=512),
    "enet 1024x512": Network(name="enet", width=1024, height=512),
    "erfnet 1024x512": Network(name="erfnet", width=1024, height=512),
    "espnetv2 224x224": Network(name="espnetv2", width=224, height=224),
    "shufflenetv1 224x224": Network(name="shufflenetv1", width=224, height=224),
}


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The graph that `export` writes, the one that it would write without FOR_EXPORT, and a photograph for it."""

    model: ModelProto
    older: ModelProto
    feed: dict[str, object]
    weights: str


def exported(network: Network) -> Exported:
    from espdeploy import export
    from espdeploy.networks.build import build
    from espdeploy.parity import real_looking_inputs
    from espdeploy.passes import apply, pipeline_for
    from espdeploy.specs import ImageSize, ModelSpec

    folder = os.environ.get("ESPDEPLOY_DATA")
    weights = Path(folder) / "weights" / network.weights if folder and network.weights else None
    size = ImageSize(width=network.width, height=network.height)
    built = build(ModelSpec(name=network.name, weights=weights), size=size)
    shape = (1, 3, network.height, network.width)
    traced = export.trace(built.module, input_shape=shape, opset=20, dynamic_batch=False)
    names = pipeline_for(simplify=True)
    return Exported(
        model=apply(traced, names).model,
        older=apply(traced, [name for name in names if name not in FOR_EXPORT]).model,
        feed={"input": real_looking_inputs(shape, 1, 0, built.card.preprocessing)[0]},
        weights=weights.name if weights else "fresh",
    )


def variants(graph: Exported, runtime: str, precision: str) -> dict[str, tuple[str, ...]]:
    """The passes of each graph to run: all that `build` adds, and for each pass that changes something, one toggled."""
    from espdeploy.passes import apply, pipeline_for_runtime

    chosen = pipeline_for_runtime(runtime, precision)
    found = {"exported": (), "all": tuple(name for name in FOR_RUNTIMES if name in chosen)}
    for name in FOR_RUNTIMES:
        if apply(graph.model, [name]).changed_by:
            found[name] = tuple(item for item in FOR_RUNTIMES if (item in chosen) != (item == name))
    return found


def opened(stack: contextlib.ExitStack, model: ModelProto, graph: Exported, spec: object) -> Callable[[], object]:
    import onnx

    from espdeploy.backends.registry import open_runner
    from espdeploy.backends.source import FileSource

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="espdeploy-passes-")))
    onnx.save(model, folder / "graph.onnx")
    runner = stack.enter_context(open_runner(FileSource(path=folder / "graph.onnx"), spec))  # type: ignore[arg-type]
    return runner.stepper(graph.feed)  # type: ignore[arg-type]


def timed_ms(steps: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of processor time of each graph in each round."""
    names = list(steps)
    for step in steps.values():
        step()
        step()
    taken: dict[str, list[float]] = {name: [] for name in names}
    for index in range(rounds):
        first = index % len(names)
        turns = names[first:] + names[:first]
        for name in turns if index % 2 else reversed(turns):
            started = time.process_time()
            steps[name]()
            taken[name].append((time.process_time() - started) * 1e3)
    return taken


def ratio(one: list[float], other: list[float]) -> dict[str, float]:
    """The median of the rounds' ratios, and the middle half of them."""
    lower, median, upper = statistics.quantiles((a / b for a, b in zip(one, other, strict=True)), n=4)
    return {"median": round(median, 4), "p25": round(lower, 4), "p75": round(upper, 4)}


def measure(graph: Exported, runtime: str, precision: str, rounds: int) -> dict[str, object]:
    from espdeploy.passes import apply
    from espdeploy.specs import RunSpec

    spec = RunSpec(runtime=runtime, precision=precision, threads=THREADS)
    passes = variants(graph, runtime, precision)
    with contextlib.ExitStack() as stack:
        steps = {name: opened(stack, apply(graph.model, names).model, graph, spec) for name, names in passes.items()}
        steps["older export"] = opened(stack, graph.older, graph, spec)
        stock = RunSpec(runtime="onnxruntime", precision="fp32", threads=THREADS)
        steps[STOCK] = opened(stack, graph.older, graph, stock)
        taken = timed_ms(steps, rounds)
    toggled = {name: names for name, names in passes.items() if name in FOR_RUNTIMES}
    added = {name: ratio(taken["all"], taken[name]) for name in toggled if name in passes["all"]}
    left_out = {name: ratio(taken[name], taken["all"]) for name in toggled if name not in passes["all"]}
    return {
        "exported_median_ms": statistics.median(taken["exported"]),
        "with_passes_median_ms": statistics.median(taken["all"]),
        "passes_that_build_adds": added,
        "passes_that_it_leaves_out": left_out,
        "fold-norm-into-branches, in export": ratio(taken["exported"], taken["older export"]),
        "all / exported": ratio(taken["all"], taken["exported"]),
        f"all / {STOCK}": ratio(taken["all"], taken[STOCK]),
    }


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    names = sys.argv[2:] or list(NETWORKS)
    figures: dict[str, object] = {"rounds": rounds, "threads": THREADS}
    for name in names:
        graph = exported(NETWORKS[name])
        row: dict[str, object] = {"weights": graph.weights}
        for runtime, precision in BACKENDS:
            print(f"{name}, {runtime} {precision}", file=sys.stderr, flush=True)
            row[f"{runtime} {precision}"] = measure(graph, runtime, precision, rounds)
        figures[name] = row
    write("passes", figures)


if __name__ == "__main__":
    main()
