"""The roofline of a run: what the network asks for, laid against what the device can do at the clock that it had."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from espdeploy.profilers.layers import Layer, Layers
from espdeploy.profilers.network import Network
from espdeploy.profilers.roofline import Peaks, Piece, Roofline, at_clock, of_pieces
from espdeploy.specs import DeviceProfile

_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2, "fp8": 1, "int8": 1}
_GFLOPS_PER_TOPS = 1000.0
MIXED = "mixed"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a run computed in, and on; ``shares_pct`` of ``mixed`` are of its convolutions. None: not known."""

    profile: DeviceProfile | None
    precision: str | None
    shares_pct: Mapping[str, float] | None = None
    gpu_mhz: float | None = None


@dataclass(frozen=True, kw_only=True)
class Roofed:
    """The roofline, None where something that it takes is not known; ``notes`` say what, and what was assumed."""

    roofline: Roofline | None
    peaks: Peaks | None
    element_bytes: float | None
    notes: tuple[str, ...]


def of_network(network: Network, layers: Layers | None, setting: Setting, time_ms: float | None) -> Roofed:
    """From the graph: every kernel reads its inputs and weights once, and writes its outputs once."""
    peaks, missing = peaks_of(setting)
    size, assumed = element_bytes(setting)
    if peaks is None or size is None:
        return Roofed(roofline=None, peaks=peaks, element_bytes=size, notes=(*missing, *assumed))
    pieces = list(_pieces(network, layers, size))
    unknown = [piece for piece in pieces if piece is None]
    known = [piece for piece in pieces if piece is not None]
    if unknown:
        note = f"no roofline: the shapes of {len(unknown)} kernels are not known (open extents: give --size)"
        return Roofed(roofline=None, peaks=peaks, element_bytes=size, notes=(note,))
    return Roofed(
        roofline=of_pieces(known, peaks, time_ms), peaks=peaks, element_bytes=size, notes=(*missing, *assumed)
    )


def of_counters(macs: int, dram_gb_s: float, setting: Setting, time_ms: float | None) -> Roofed:
    """From counters: the memory traffic was measured, so that its rate over the run gives the bytes of an inference."""
    peaks, notes = peaks_of(setting)
    if peaks is None or not time_ms:
        return Roofed(roofline=None, peaks=peaks, element_bytes=None, notes=notes)
    piece = Piece(name="all", macs=macs, bytes=dram_gb_s * time_ms * 1e6, time_ms=time_ms)
    return Roofed(roofline=of_pieces([piece], peaks, time_ms), peaks=peaks, element_bytes=None, notes=notes)


def under_roof(layer: Layer, roofed: Roofed) -> dict[str, object]:
    """Which limit a layer meets first, and the time that it lets the layer have; None where that is not known."""
    piece = _piece(layer.name, layer.macs, layer.elements, roofed.element_bytes)
    if piece is None or roofed.peaks is None:
        return {"bound": None, "floor_ms": None}
    floor_ms = piece.floor_ms(roofed.peaks)
    return {"bound": piece.bound(roofed.peaks) if floor_ms else None, "floor_ms": floor_ms}


def peaks_of(setting: Setting) -> tuple[Peaks | None, tuple[str, ...]]:
    """The device's limits for the precision, arithmetic scaled to the clock of the run."""
    profile = setting.profile
    if profile is None:
        return None, ("no roofline: the device is not named (--device NAME)",)
    peak = profile.peak
    gflops = _gflops(setting)
    if peak is None or gflops is None or peak.dram_gb_s is None:
        return None, (f"no roofline: what {profile.name} can do at most in {setting.precision} is not known",)
    clock = f"the GPU's clock is not known: peaks are those at {peak.gpu_mhz:g} MHz (--gpu-mhz says another)"
    notes = (clock,) if setting.gpu_mhz is None and peak.gpu_mhz is not None else ()
    scaled = at_clock(gflops, peak_mhz=peak.gpu_mhz, mhz=setting.gpu_mhz)
    return Peaks(gflops=scaled, dram_gb_s=peak.dram_gb_s), notes


def element_bytes(setting: Setting) -> tuple[float | None, tuple[str, ...]]:
    """How large a value is, of ``mixed`` on average."""
    if setting.precision in _BYTES:
        return float(_BYTES[setting.precision]), ()
    shares = {name: share for name, share in (setting.shares_pct or {}).items() if name in _BYTES and share > 0}
    if setting.precision == MIXED and shares:
        whole = sum(shares.values())
        return sum(_BYTES[name] * share for name, share in shares.items()) / whole, ()
    return None, (f"no roofline: how many bytes a value has in {setting.precision} is not known (--precision P)",)


def _gflops(setting: Setting) -> float | None:
    peak = setting.profile.peak if setting.profile is not None else None
    if peak is None:
        return None
    if setting.precision in ("fp16", "bf16"):
        return peak.fp16_gflops
    if setting.precision in ("int8", MIXED):
        return None if peak.int8_tops is None else peak.int8_tops * _GFLOPS_PER_TOPS
    return peak.fp32_gflops if setting.precision == "fp32" else None


def _pieces(network: Network, layers: Layers | None, size: float) -> Iterator[Piece | None]:
    """The engine's own layers where they cover the network's work, else what a runtime would fuse at least."""
    told = [layer for layer in layers.layers if layer.nodes and layer.macs is not None] if layers is not None else []
    covered = {name for layer in told for name in layer.nodes}
    working = {node.name for node in network.nodes if node.macs}
    if layers is not None and working <= covered:
        for layer in told:
            yield _piece(layer.name, layer.macs, layer.elements, size)
        return
    for group in network.kernels():
        macs = [network.by_name[name].macs for name in group]
        whole = sum(known for known in macs if known is not None) if None not in macs else None
        yield _piece(group[0], whole, network.traffic_elements(group), size)


def _piece(name: str, macs: int | None, elements: int | None, size: float | None) -> Piece | None:
    if macs is None or elements is None or size is None:
        return None
    return Piece(name=name, macs=macs, bytes=elements * size)
