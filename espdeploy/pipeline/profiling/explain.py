"""``espdeploy explain``: from records, profiles and the network to what limits the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from espdeploy.errors import UsageError
from espdeploy.pipeline.profiling.compare_layers import side_by_side
from espdeploy.pipeline.profiling.network import network_of
from espdeploy.pipeline.profiling.roof import Roofed, Setting, of_counters, of_network, under_roof
from espdeploy.pipeline.profiling.targets import Given, sorted_out
from espdeploy.profilers.evidence import Counted, Evidence, KernelShare
from espdeploy.profilers.explain import explained
from espdeploy.profilers.layer_names import is_made_up
from espdeploy.profilers.layers import Layers, laid_on
from espdeploy.profilers.network import Network
from espdeploy.recipes import device_profile
from espdeploy.specs import ImageSize

_PERCENT = "mean_pct"
_RATES = ("dram_read_throughput", "dram_write_throughput")
_RATE = "mean_gb_per_s"
_SIDES = 2
_MOST_ERRORS = 3
#: a file of another network matches hardly any layer
_FOREIGN_PCT = 50.0
_FOREIGN = "the ONNX file is left aside: no layer of the run names an operator of it"


@dataclass(frozen=True, kw_only=True)
class ExplainRequest:
    """What is to be explained, and what the files do not tell: device, precision, clock, and an open input's size.

    ``shares_pct`` is what the engine's convolutions compute in, which a mixed precision leaves open.
    """

    targets: tuple[str, ...]
    device: str | None = None
    precision: str | None = None
    shares_pct: Mapping[str, float] | None = None
    gpu_mhz: float | None = None
    size: ImageSize | None = None


def explain(request: ExplainRequest) -> dict[str, Any]:
    """The explanation with the keys of ``explain --json``; of two layer profiles, their comparison.

    Raises:
        UsageError: the files do not belong together, or an unknown device.
        InputFileError: a file that cannot be read, or of no kind that is known.
    """
    given = sorted_out(request.targets)
    network = _network(given, request)
    layered = given.with_layers
    if len(layered) > _SIDES:
        raise UsageError(
            f"{len(layered)} layer profiles are given",
            why="one is explained, or two are set side by side",
            do="give one or two",
        )
    if len(layered) == _SIDES:
        return {**_blank(), **side_by_side(layered, network, given.origins), "notes": list(given.notes)}
    return _one(given, network, request)


def _one(given: Given, network: Network | None, request: ExplainRequest) -> dict[str, Any]:
    layered = given.with_layers
    origins = given.origins[0] if given.origins else None
    layers = laid_on(layered[0].layers, network, origins) if layered and layered[0].layers is not None else None
    setting = _setting(given, request)
    time_ms = _time_ms(given, layers)
    foreign = _is_foreign(layers, network)
    roofed = _roofed(given, None if foreign else network, layers, (setting, time_ms))
    evidence = _evidence(given, layers, roofed, setting)
    told = explained(evidence)
    return {
        **_blank(),
        "simulated": given.record is not None and given.record.device.simulated,
        "limits": [limit.document() for limit in told.limits],
        "sentences": list(told.sentences),
        "roofline": roofed.roofline.document() if roofed.roofline is not None else None,
        "layers": [{**layer.document(), **under_roof(layer, roofed)} for layer in layers.layers] if layers else [],
        "layer_kinds_ms": dict(layers.by_kind_ms) if layers else {},
        "modules": [module.document() for module in layers.modules] if layers and not foreign else [],
        "notes": [
            *given.notes,
            *_about_runs(given),
            *((_FOREIGN,) if foreign else ()),
            *roofed.notes,
            *_assumed_precision(given, request, roofed, setting),
            *told.notes,
            *_about_layers(layers, time_ms),
        ],
    }


def _is_foreign(layers: Layers | None, network: Network | None) -> bool:
    """Whether the ONNX file is of another network: no layer names any of its operators, though names there are."""
    if layers is None or network is None or any(layer.nodes for layer in layers.layers):
        return False
    return any(not is_made_up(word) for layer in layers.layers for word in layer.words)


def _assumed_precision(given: Given, request: ExplainRequest, roofed: Roofed, setting: Setting) -> tuple[str, ...]:
    """Peaks and bytes rest on the precision: where only the graph tells it, the engine may have another."""
    if roofed.roofline is None or given.onnx is None or given.record is not None or request.precision is not None:
        return ()
    return (f"the roofline takes the run for {setting.precision}, as the ONNX file is (--precision says another)",)


def _about_runs(given: Given) -> list[str]:
    """What went wrong in the files themselves, and runs that are not looked at."""
    told = [(run.name, error) for run in given.runs for error in run.document.get("errors") or []]
    told += [("the profile", error) for error in (given.profiled or {}).get("errors") or []]
    notes = [f"{name} tells of a failure: {error['text']} (do: {error['do']})" for name, error in told[:_MOST_ERRORS]]
    timed = [run for run in given.runs if run.document.get("gpu_compute_ms")]
    if len(timed) > 1:
        others = ", ".join(run.name for run in timed[1:])
        notes.append(
            f"{timed[0].name} is explained, and not {others}: two runs are set side by side by the times of their "
            "layers (espdeploy profile --tool trtexec)"
        )
    return notes


def _blank() -> dict[str, Any]:
    return {
        "simulated": False,
        "limits": [],
        "sentences": [],
        "roofline": None,
        "layers": [],
        "layer_kinds_ms": {},
        "modules": [],
        "comparison": None,
    }


def _network(given: Given, request: ExplainRequest) -> Network | None:
    if given.onnx is None:
        return None
    shape: tuple[int, ...] | None = None
    if request.size is not None:
        shape = (1, 3, request.size.height, request.size.width)
    elif given.record is not None:
        shape = tuple(given.record.model.input_shape)
    return network_of(given.onnx, input_shape=shape)


def _setting(given: Given, request: ExplainRequest) -> Setting:
    record = given.record
    name = request.device or (record.device.name if record is not None else None)
    clock = record.device.gpu_freq_mhz if record is not None else None
    own = record.engine.precision if record is not None else None
    return Setting(
        profile=device_profile(name) if name is not None else None,
        precision=request.precision or own or (_declared(given.onnx) if given.onnx is not None else None),
        shares_pct=request.shares_pct or (record.engine.precision_share_pct if record is not None else None),
        gpu_mhz=request.gpu_mhz or (clock.mean or clock.set if clock is not None else None),
    )


def _declared(path: Path) -> str:
    from espdeploy.pipeline.engine_files.opening import declared_precision

    return declared_precision(path)


def _time_ms(given: Given, layers: Layers | None) -> float | None:
    """The time of an inference: as it was timed, else the sum over layers, which is longer."""
    record = given.record
    if record is not None:
        return record.gpu_latency_ms.p50 if record.gpu_latency_ms is not None else record.latency_ms.p50
    for run in given.runs:
        compute = run.document.get("gpu_compute_ms")
        if compute and compute.get("median"):
            return float(compute["median"])
    return layers.total_ms if layers is not None and layers.total_ms else None


def _roofed(given: Given, network: Network | None, layers: Layers | None, run: tuple[Setting, float | None]) -> Roofed:
    setting, time_ms = run
    if network is not None:
        return of_network(network, layers, setting, time_ms)
    rates = _rates_gb_s(given)
    record = given.record
    if record is not None and record.model.macs and rates is not None:
        return of_counters(record.model.macs * record.protocol.batch, rates, setting, time_ms)
    return Roofed(roofline=None, peaks=None, element_bytes=None, notes=())


def _rates_gb_s(given: Given) -> float | None:
    """Reading and writing together, where both were counted."""
    metrics = (given.profiled or {}).get("metrics") or {}
    rates = [metrics.get(name, {}).get(_RATE) for name in _RATES]
    return sum(rates) if None not in rates else None


def _evidence(given: Given, layers: Layers | None, roofed: Roofed, setting: Setting) -> Evidence:
    profiled = given.profiled or {}
    compute_ms, enqueue_ms, copies_ms = _launch(given)
    return Evidence(
        compute_ms=compute_ms,
        enqueue_ms=enqueue_ms,
        copies_ms=copies_ms,
        cuda_graph=given.record.protocol.cuda_graph if given.record is not None else None,
        idle_pct=profiled.get("idle_pct"),
        launches=profiled.get("launches"),
        roofline=roofed.roofline,
        layers=layers,
        kernels=_kernels(profiled),
        counters=_counters(profiled),
        precision=setting.precision,
    )


def _launch(given: Given) -> tuple[float | None, float | None, float | None]:
    """Medians of computing, launching and copying."""
    record = given.record
    if record is not None and record.launch is not None:
        launch = record.launch
        compute = record.gpu_latency_ms.p50 if record.gpu_latency_ms is not None else None
        copies = [value for value in (launch.upload_p50_ms, launch.download_p50_ms) if value is not None]
        return (
            compute or launch.enqueue_p50_ms / launch.enqueue_ratio,
            launch.enqueue_p50_ms,
            sum(copies) if copies else None,
        )
    for run in given.runs:
        medians = [_median(run.document.get(key)) for key in ("gpu_compute_ms", "enqueue_ms", "latency_ms")]
        if medians[0]:
            copies_ms = medians[2] - medians[0] if medians[2] is not None else None
            return medians[0], medians[1], copies_ms
    return None, None, None


def _median(figures: Any) -> float | None:
    return figures.get("median") if isinstance(figures, dict) else None


def _kernels(profiled: dict[str, Any]) -> tuple[KernelShare, ...]:
    return tuple(
        KernelShare(
            name=kernel["short_name"],
            category=kernel["category"],
            kind=kernel["category_kind"] or "",
            time_pct=kernel["time_pct"],
        )
        for kernel in profiled.get("kernels", ())
        if kernel["time_pct"] is not None
    )


def _counters(profiled: dict[str, Any]) -> dict[str, Counted] | None:
    shares = {kernel["name"]: kernel["time_pct"] for kernel in profiled.get("kernels", ())}
    names = {kernel["name"]: kernel["short_name"] for kernel in profiled.get("kernels", ())}
    found = {}
    for name, metric in (profiled.get("metrics") or {}).items():
        values = [one for one in metric["per_kernel"] if one.get(_PERCENT) is not None]
        if values:
            found[name] = Counted(
                mean_pct=metric.get(_PERCENT),
                kernels=tuple((names.get(v["name"], v["name"]), v[_PERCENT], shares.get(v["name"])) for v in values),
            )
    return found or None


def _about_layers(layers: Layers | None, time_ms: float | None) -> Sequence[str]:
    if layers is None:
        return ()
    notes = []
    if time_ms and layers.total_ms > 1.05 * time_ms:
        notes.append(
            f"layers add up to {layers.total_ms:.3g} ms, the network takes {time_ms:.3g} ms: timing each one costs time"
        )
    if layers.unmatched_pct:
        notes.append(f"{layers.unmatched_pct:.1f} % of the time is of layers whose operators are not known")
        if layers.unmatched_pct > _FOREIGN_PCT:
            notes.append("is the ONNX file the one that the engine was built of?")
    return notes
