"""``espdeploy devices``: the device profiles, or one of them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated

import typer

from espdeploy.cli.options import Json
from espdeploy.cli.output import Column, Output
from espdeploy.specs import DeviceProfile, GpuFacts, PeakFacts, PowerMode, RailFacts

_WIDE_COLUMNS = 110  # from here on the table has room to say what each device is


def devices(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Show this device alone.")] = None,
    json: Json = False,
) -> None:
    """Devices that espdeploy knows: precisions, opset, GPU clocks, power modes."""
    from espdeploy.pipeline.capability import resolved_profile
    from espdeploy.recipes import device_profile, device_profiles

    output = Output(as_json=json)
    if name is not None:
        _show_one(output, resolved_profile(device_profile(name)))
        return
    profiles = [resolved_profile(profile) for profile in device_profiles().values()]
    if json:
        output.json([_document(profile) for profile in profiles])
    else:
        _show_all(output, profiles)


def _show_all(output: Output, profiles: list[DeviceProfile]) -> None:
    wide = not sys.stdout.isatty() or shutil.get_terminal_size().columns >= _WIDE_COLUMNS
    columns = [
        Column(head="device"),
        *([Column(head="what it is")] if wide else []),
        Column(head="precisions"),
        Column(head="SM"),
        Column(head="TensorRT"),
        Column(head="opset", numeric=True),
        Column(head="GPU MHz"),
    ]
    output.table(columns, [_row(profile, wide=wide) for profile in profiles])
    output.note("SM: compute capability; opset: of the ONNX files exported for it. More of one: espdeploy devices NAME")


def _row(profile: DeviceProfile, *, wide: bool) -> list[str]:
    clocks = profile.gpu.frequencies_mhz if profile.gpu else ()
    span = f"{clocks[0]:.0f}–{clocks[-1]:.0f}" if clocks else "–"
    return [
        profile.name,
        *([profile.description] if wide else []),
        " ".join(profile.precisions),
        profile.gpu.compute_capability if profile.gpu else "–",
        f"{profile.tensorrt.oldest}–{profile.tensorrt.newest}" if profile.tensorrt else "–",
        str(profile.opset),
        span,
    ]


def _show_one(output: Output, profile: DeviceProfile) -> None:
    if output.as_json:
        output.json(_document(profile))
        return
    rows = [
        ("device", f"{profile.name}: {profile.description}"),
        *([("also called", ", ".join(profile.aliases))] if profile.aliases else []),
        ("precisions", ", ".join(profile.precisions)),
        *((f"no {precision}", why) for precision, why in profile.refused_precisions.items()),
        ("runtimes", ", ".join(profile.runtimes)),
        *_software(profile),
        *(_gpu(profile.gpu) if profile.gpu else ()),
        *(_peak(profile.peak) if profile.peak else ()),
        *([("memory clock", f"up to {profile.emc.max_mhz:g} MHz")] if profile.emc else []),
        *_dla(profile),
        *((f"power mode {mode.id}", _mode(mode)) for mode in profile.power_modes),
        *(_rails(profile.rails) if profile.rails else ()),
        *(("note", note) for note in profile.notes),
        *(("from", source) for source in profile.sources),
        ("read from", profile.source),
    ]
    output.pairs(rows)


def _software(profile: DeviceProfile) -> Iterator[tuple[str, str]]:
    yield (
        "ONNX opset",
        f"{profile.opset} is exported" + (f", up to {profile.tensorrt.opset_max} is read" if profile.tensorrt else ""),
    )
    if profile.tensorrt:
        yield "TensorRT", str(profile.tensorrt) + "".join(f", without {gap}" for gap in profile.tensorrt.without)
    if profile.jetpack:
        yield "JetPack", f"{profile.jetpack} (L4T {profile.jetpack.l4t_oldest} to {profile.jetpack.l4t_newest})"


def _gpu(gpu: GpuFacts) -> Iterator[tuple[str, str]]:
    cores = "" if gpu.cuda_cores is None else f", {gpu.cuda_cores} CUDA cores"
    tensor_cores = f", {gpu.tensor_cores or 'no'} tensor cores" if gpu.tensor_cores is not None else ""
    yield "GPU", f"{gpu.name}, compute capability {gpu.compute_capability}{cores}{tensor_cores}"
    if gpu.memory_mb is not None:
        bus = f" on {gpu.memory_bus_bits} bits" if gpu.memory_bus_bits else ""
        yield "GPU memory", f"{gpu.memory_mb:,.0f} MB{bus}{', shared with the CPU' if gpu.memory_shared else ''}"
    if gpu.frequencies_mhz:
        yield "GPU MHz", " ".join(f"{mhz:g}" for mhz in gpu.frequencies_mhz)
    for path in gpu.frequency_paths:
        yield "GPU clock in", path


def _peak(peak: PeakFacts) -> Iterator[tuple[str, str]]:
    rates = {
        "FP32": None if peak.fp32_gflops is None else f"{peak.fp32_gflops:,.0f} GFLOPS",
        "FP16": None if peak.fp16_gflops is None else f"{peak.fp16_gflops:,.0f} GFLOPS",
        "INT8": None if peak.int8_tops is None else f"{peak.int8_tops:g} TOPS",
    }
    known = ", ".join(f"{name} {rate}" for name, rate in rates.items() if rate is not None)
    if known:
        yield "peak", known + (f" at {peak.gpu_mhz:g} MHz" if peak.gpu_mhz else "")
    if peak.dram_gb_s is not None:
        yield "memory traffic", f"{peak.dram_gb_s:g} GB/s at most"


def _dla(profile: DeviceProfile) -> Iterator[tuple[str, str]]:
    if profile.dla:
        able = "; ".join(str(versions) for versions in profile.dla.tensorrt)
        yield "DLA", f"{profile.dla.cores} cores, {' and '.join(profile.dla.precisions)}, by TensorRT {able}"


def _mode(mode: PowerMode) -> str:
    limits = [
        None if mode.gpu_max_mhz is None else f"GPU up to {mode.gpu_max_mhz:g} MHz",
        None if mode.gpu_tpcs is None else f"{mode.gpu_tpcs} TPCs",
        None if mode.cpu_cores is None else f"{mode.cpu_cores} CPU cores",
        None if mode.emc_max_mhz is None else f"memory up to {mode.emc_max_mhz:g} MHz",
    ]
    return ", ".join([mode.name, *(limit for limit in limits if limit is not None)])


def _rails(rails: RailFacts) -> Iterator[tuple[str, str]]:
    yield "power, total", " or ".join(rails.total) or f"the sum of {', '.join(rails.split)}"
    if rails.gpu:
        also = f" (feeds {' and '.join(rails.gpu_also_feeds)} too)" if rails.gpu_also_feeds else ""
        yield "power, GPU", f"{' or '.join(rails.gpu)}{also}"
    for path in rails.sensor_paths:
        yield "power sensor in", path


def _document(profile: DeviceProfile) -> dict[str, object]:
    return asdict(profile)
