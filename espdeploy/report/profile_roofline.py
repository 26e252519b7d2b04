"""The roofline of one profile: what its device allows, and what the run reached."""

from __future__ import annotations

from espdeploy.report.charts.roofline import Roofline
from espdeploy.report.charts.scale import drawable
from espdeploy.report.parts import Column, Figure, Table, cells
from espdeploy.report.profile_figures import titled
from espdeploy.report.profiles import ProfileDocument
from espdeploy.report.profiles import Roofline as Told
from espdeploy.report.text import number, shorten


def figure(profile: ProfileDocument, anchor: str) -> Figure | None:
    """The run under the roof of its device."""
    told = profile.roofline
    if told is None:
        return None
    peak, bandwidth, intensity = told.peak_gflops, told.memory_gb_s, told.flop_per_byte
    if peak is None or bandwidth is None or intensity is None or not all(map(_positive, (peak, bandwidth, intensity))):
        return None
    achieved = told.achieved_gflops if _positive(told.achieved_gflops) else None
    chart = Roofline(
        title=titled(profile, "Roofline"),
        description=f"Roof: {number(peak)} GFLOP/s of arithmetic, {number(bandwidth)} GB/s of memory.",
        peak_gflops=peak,
        bandwidth_gb_s=bandwidth,
        intensity=intensity,
        achieved_gflops=achieved,
        text=f"{number(intensity)} FLOP/byte, {number(achieved)} GFLOP/s",
        simulated=profile.simulated,
    )
    return Figure(
        anchor=f"{anchor}-roofline",
        chart=chart,
        captions=_roof_captions(chart, told),
        numbers=_roof_table(told),
        name="Roofline",
    )


def why_none(profile: ProfileDocument) -> str:
    """Why no roofline is drawn."""
    if profile.roofline is None:
        return "no roofline: it takes the network's ONNX file beside the engine, and a device whose peaks are known"
    told = profile.roofline
    needed = {
        "peak_gflops": told.peak_gflops,
        "bandwidth_gb_s": told.memory_gb_s,
        "intensity_flop_per_byte": told.flop_per_byte,
    }
    lacking = [name for name, value in needed.items() if not _positive(value)]
    return f"no roofline: {', '.join(lacking)} unknown"


def _positive(value: float | None) -> bool:
    return value is not None and value > 0 and drawable(value)


def _roof_captions(chart: Roofline, told: Told) -> tuple[str, ...]:
    side = "memory limits" if chart.intensity < chart.ridge else "arithmetic limits"
    captions = [
        f"At {number(chart.intensity)} FLOP/byte {side}.",
        f"{number(chart.attainable_gflops)} GFLOP/s can be reached (hollow mark).",
    ]
    if chart.achieved_gflops is not None:
        part = chart.achieved_gflops / chart.attainable_gflops * 100
        captions.append(f"This run reached {number(chart.achieved_gflops)} GFLOP/s, {number(part)} % of it.")
    else:
        captions.append("What the run reached is not known.")
    if told.bound:
        captions.append(f"Bound by {shorten(told.bound, 40)}.")
    captions.append("Both axes are logarithmic.")
    return tuple(captions)


def _roof_table(told: Told) -> Table:
    rows = (
        ("MACs", told.macs, ""),
        ("Bytes moved", told.bytes, "B"),
        ("Arithmetic intensity", told.flop_per_byte, "FLOP/byte"),
        ("Arithmetic, peak", told.peak_gflops, "GFLOP/s"),
        ("Memory, peak", told.memory_gb_s, "GB/s"),
        ("Attainable", told.attainable_gflops, "GFLOP/s"),
        ("Achieved", told.achieved_gflops, "GFLOP/s"),
    )
    columns = (Column(head="Quantity", numeric=False), Column(head="Value"), Column(head="Unit", numeric=False))
    return Table(
        caption="Roofline.",
        columns=columns,
        rows=tuple(cells((name, number(value, 4), unit)) for name, value, unit in rows),
    )
