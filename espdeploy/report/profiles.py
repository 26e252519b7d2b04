"""Profiles as ``espdeploy profile`` and ``parse --json`` write them: read with care, each part for itself.

A part that is missing or damaged is left out with a reason, and the others are shown: these files come from several
tools and versions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from espdeploy.errors import InputFileError

MAX_BYTES = 16 * 1_000_000
#: what ``parse`` writes of a GPU's run; other kinds (tegrastats, nvidia-smi) are no profile
KINDS = ("nvprof", "nsys", "ncu", "trtexec")
_HOW = "espdeploy profile ENGINE --device D, or espdeploy parse FILE --json > NAME.profile.json, writes one"
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """One kernel over all its launches; ``time_pct`` is its share of the time of all kernels."""

    name: str
    calls: int | None = None
    total_ms: float | None = None
    mean_us: float | None = None
    min_us: float | None = None
    max_us: float | None = None
    time_pct: float | None = None
    short_name: str | None = None
    category: str | None = None


@dataclass(frozen=True, kw_only=True)
class KernelMetric:
    """An efficiency of one kernel."""

    name: str
    calls: int | None = None
    mean_pct: float | None = None
    min_pct: float | None = None
    max_pct: float | None = None


@dataclass(frozen=True, kw_only=True)
class Metric:
    """An efficiency over the kernels that it was counted for."""

    mean_pct: float | None = None
    per_kernel: list[KernelMetric] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One layer of an engine."""

    name: str
    mean_ms: float | None = None
    time_pct: float | None = None
    kind: str | None = None


@dataclass(frozen=True, kw_only=True)
class Module:
    """A module of the network, with all layers that stand for it; ``overhead_ms`` is that of reformats among them."""

    module: str
    mean_ms: float | None = None
    time_pct: float | None = None
    overhead_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What limits the run, with the evidence and what usually helps."""

    text: str
    code: str = ""
    share_pct: float | None = None
    evidence: Any = None
    do: str | None = None


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """The run among the limits of its device; ``bound`` is ``memory`` or ``compute``.

    ``explain`` has shorter names for two of them: ``intensity`` and ``dram_gb_s``.
    """

    macs: float | None = None
    bytes: float | None = None
    intensity_flop_per_byte: float | None = None
    attainable_gflops: float | None = None
    achieved_gflops: float | None = None
    peak_gflops: float | None = None
    bandwidth_gb_s: float | None = None
    bound: str | None = None
    intensity: float | None = None
    dram_gb_s: float | None = None

    @property
    def flop_per_byte(self) -> float | None:
        """The arithmetic intensity, under either name."""
        return self.intensity if self.intensity_flop_per_byte is None else self.intensity_flop_per_byte

    @property
    def memory_gb_s(self) -> float | None:
        """The peak of memory traffic, under either name."""
        return self.dram_gb_s if self.bandwidth_gb_s is None else self.bandwidth_gb_s


@dataclass(frozen=True, kw_only=True)
class Times:
    """Times that trtexec summed up."""

    median: float | None = None
    mean: float | None = None
    min: float | None = None
    max: float | None = None
    p99: float | None = None


@dataclass(frozen=True, kw_only=True)
class Message:
    """A failure that the tool told of."""

    text: str
    code: str = ""
    do: str | None = None


@dataclass(frozen=True, kw_only=True)
class ProfileDocument:
    """One profile. ``damaged`` holds, by part, why it could not be read."""

    file: str
    kind: str
    version: str | None
    model: str | None
    engine: str | None
    device: str | None
    simulated: bool
    kernels: tuple[Kernel, ...]
    kernel_time_ms: float | None
    categories: Mapping[str, float | None]
    memory_alignment_pct: float | None
    metrics: Mapping[str, Metric]
    weighted_by: str | None
    layers: tuple[Layer, ...]
    modules: tuple[Module, ...]
    limits: tuple[Limit, ...]
    roofline: Roofline | None
    latency_ms: Times | None
    gpu_compute_ms: Times | None
    throughput_qps: float | None
    passed: bool | None
    errors: tuple[Message, ...]
    notes: tuple[str, ...]
    damaged: Mapping[str, str]


def decode(content: bytes, *, file: str) -> ProfileDocument:
    """Read one profile.

    Args:
        content: the whole file.
        file: what it is called on the page.

    Raises:
        InputFileError: no JSON object, or none of a kind that is a profile of a GPU.
    """
    try:
        told = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputFileError("not JSON text, or cut short", why=str(error) or "nested too deeply", do=_HOW) from error
    kind = told.get("kind") if isinstance(told, dict) else None
    if kind not in KINDS:
        raise InputFileError(f"not a profile: its kind is none of {', '.join(KINDS)}", do=_HOW)
    return _document(_Reader(told), kind=str(kind), file=file)


class _Reader:
    """The parts of a document, each converted for itself."""

    def __init__(self, told: dict[str, Any]) -> None:
        self._told = told
        self.damaged: dict[str, str] = {}

    def optional(self, key: str, kind: type[_T]) -> _T | None:
        """The part ``key``; None where it is absent or damaged."""
        value: Any = self._told
        for step in key.split("."):
            value = value.get(step) if isinstance(value, dict) else None
        if value is None:
            return None
        try:
            return msgspec.convert(value, kind)
        except (msgspec.ValidationError, RecursionError) as error:
            self.damaged[key] = str(error)
            return None

    def rows(self, key: str, kind: type[list[_T]]) -> tuple[_T, ...]:
        """The list ``key``, empty where it is absent or damaged."""
        return tuple(self.optional(key, kind) or ())

    def name(self, key: str) -> str | None:
        """A name, which some write as text and some as an object with one."""
        value = self._told.get(key)
        if isinstance(value, dict):
            value = value.get("name") or value.get("runtime")
        return value if isinstance(value, str) and value else None

    @property
    def simulated(self) -> bool:
        """Whether the run was, as the document says of itself or of its device."""
        device = self._told.get("device")
        return bool(self._told.get("simulated")) or (isinstance(device, dict) and bool(device.get("simulated")))


def _document(reader: _Reader, *, kind: str, file: str) -> ProfileDocument:
    optional, rows = reader.optional, reader.rows
    return ProfileDocument(
        file=file,
        kind=kind,
        version=optional("tool_version", str) or optional("version", str),
        model=reader.name("model"),
        engine=reader.name("engine"),
        device=reader.name("device"),
        simulated=reader.simulated,
        kernels=rows("kernels", list[Kernel]),
        kernel_time_ms=optional("kernel_time_ms", float),
        categories=optional("categories", dict[str, float | None]) or {},
        memory_alignment_pct=optional("memory_alignment_pct", float),
        metrics=optional("metrics", dict[str, Metric]) or {},
        weighted_by=optional("weighted_by", str),
        layers=rows("layers", list[Layer]) or rows("explanation.layers", list[Layer]),
        modules=rows("modules", list[Module]) or rows("explanation.modules", list[Module]),
        limits=rows("explanation.limits", list[Limit]),
        roofline=optional("explanation.roofline", Roofline),
        latency_ms=optional("latency_ms", Times),
        gpu_compute_ms=optional("gpu_compute_ms", Times),
        throughput_qps=optional("throughput_qps", float),
        passed=optional("passed", bool),
        errors=rows("errors", list[Message]),
        notes=rows("notes", list[str]),
        damaged=reader.damaged,
    )
