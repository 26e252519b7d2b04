"""One or several profiles of a run with the keys of ``espdeploy parse``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from espdeploy.profilers import categories
from espdeploy.profilers.joining import joined
from espdeploy.profilers.metrics import StandardMetric, standard
from espdeploy.profilers.names import short_names
from espdeploy.profilers.values import Kernel, MemoryOperation, Profile

#: the tools, the one whose times are the run's first: ncu runs each kernel alone, several times over
_BEST_TIMES = ("nsys", "nvprof", "ncu")
_MOST_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one file holds; ``file`` is how it was named, ``variant`` which output of its tool it is."""

    file: str
    variant: str
    profile: Profile


@dataclass(frozen=True, kw_only=True)
class Joined:
    """The kernels of all parts, longest first, and for each part what its kernels' names are among them."""

    kernels: tuple[Kernel, ...]
    names: tuple[dict[str, str], ...]
    times_of: Part | None
    left_out: tuple[str, ...]


def document(parts: Sequence[Part]) -> dict[str, object]:
    """What the files of one run tell together.

    Percentages of kernels and categories are of the time of all kernels, without copies. Where no file holds times they
    are None. ``memory_alignment_pct`` is the share of kernels that move data or change its layout.

    Args:
        parts: one or more; files of several runs are not told apart.
    """
    together = _together(parts)
    names = short_names(kernel.name for kernel in together.kernels)
    lead = together.times_of or parts[0]
    total_ms = math.fsum(kernel.total_ms or 0.0 for kernel in together.kernels)
    shares = _shares(together.kernels, total_ms)
    metrics = _metrics(parts, together)
    doubts = _doubts(parts, together)
    told: dict[str, object] = {
        "kind": lead.profile.kind,
        "tool_version": lead.profile.tool_version,
        "device": lead.profile.device
        or next((p.profile.device for p in parts if p.profile.device and not doubts), None),
        "kernels": [_kernel(kernel, names[kernel.name], total_ms) for kernel in together.kernels],
        "kernel_time_ms": total_ms or None,
        "memops": [asdict(operation) for operation in _memops(parts)],
        "categories": shares.categories,
        "category_kinds": shares.kinds,
        "memory_alignment_pct": shares.categories[categories.MEMORY],
        "metrics": {name: metric.document() for name, metric in metrics.items()},
        "weighted_by": _weighted_by(metrics),
        "errors": [asdict(error) for error in dict.fromkeys(e for part in parts for e in part.profile.errors)],
        "skipped_lines": sum(part.profile.skipped_lines for part in parts),
        "files": [{"file": part.file, "kind": part.profile.kind, "variant": part.variant} for part in parts],
    }
    notes = [*doubts, *_notes(parts), *together.left_out]
    notes += [*_about_times(together, total_ms), *shares.notes]
    return {**told, **_extra([lead, *parts], told), "notes": notes}


def _together(parts: Sequence[Part]) -> Joined:
    """Join on names. A kernel's times are those of one file: the same launches may stand in all of them."""
    timed = [part for part in parts if any(kernel.total_ms is not None for kernel in part.profile.kernels)]
    best = min(timed, key=lambda part: _BEST_TIMES.index(part.profile.kind), default=None)
    kernels = {kernel.name: kernel for kernel in best.profile.kernels} if best else {}
    names: list[dict[str, str]] = []
    for part in parts:
        own = [kernel.name for kernel in part.profile.kernels] + [reading.kernel for reading in part.profile.readings]
        same = {name: name for name in own} if part is best else joined(kernels, own)
        names.append({name: same.get(name, name) for name in own})
        for kernel in part.profile.kernels:
            known = names[-1][kernel.name]
            kernels.setdefault(known, Kernel(name=known, calls=kernel.calls) if best else kernel)
    return Joined(
        kernels=tuple(sorted(kernels.values(), key=lambda kernel: (-(kernel.total_ms or 0.0), -kernel.calls))),
        names=tuple(names),
        times_of=best,
        left_out=tuple(f"times are those of {best.file}; {part.file} has others" for part in timed if part is not best)
        if best
        else (),
    )


def _kernel(kernel: Kernel, short_name: str, total_ms: float) -> dict[str, object]:
    known = kernel.total_ms is not None and total_ms > 0
    return {
        **asdict(kernel),
        "time_pct": 100 * (kernel.total_ms or 0.0) / total_ms if known else None,
        "short_name": short_name,
        "category": categories.category(kernel.name),
        "category_kind": categories.kind(kernel.name) or None,
    }


@dataclass(frozen=True, kw_only=True)
class _Shares:
    categories: dict[str, float | None]
    kinds: dict[str, dict[str, float]]
    notes: tuple[str, ...]


def _shares(kernels: Sequence[Kernel], total_ms: float) -> _Shares:
    """Percentages of the time of all kernels by category, and by the kinds of a category where it has some."""
    if not total_ms:
        return _Shares(categories=dict.fromkeys(categories.CATEGORIES), kinds={}, notes=())
    by_category: dict[str, list[float]] = {name: [] for name in categories.CATEGORIES}
    by_kind: dict[str, dict[str, float]] = {}
    unknown = []
    for kernel in kernels:
        category, kind = categories.category(kernel.name), categories.kind(kernel.name)
        share = 100 * (kernel.total_ms or 0.0) / total_ms
        by_category[category].append(share)
        if kind:
            kinds = by_kind.setdefault(category, {})
            kinds[kind] = kinds.get(kind, 0.0) + share
        elif category == categories.UNKNOWN and share:
            unknown.append(kernel.name)
    shares = {name: math.fsum(values) for name, values in by_category.items()}
    note = (
        f"{shares[categories.UNKNOWN]:.1f} % of the time is of kernels that no rule knows: {_named(unknown)}"
        if unknown
        else ""
    )
    return _Shares(categories={**shares}, kinds=by_kind, notes=(note,) if note else ())


def _named(names: list[str]) -> str:
    shorts = list(short_names(names[:_MOST_NAMED]).values())
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(shorts) + more


def _metrics(parts: Sequence[Part], together: Joined) -> dict[str, StandardMetric]:
    """The counters of all files, each under its kernel's name among those of all."""
    readings = [
        replace(reading, kernel=names[reading.kernel])
        for part, names in zip(parts, together.names, strict=True)
        for reading in part.profile.readings
    ]
    counted_in = [
        replace(kernel, name=names[kernel.name])
        for part, names in zip(parts, together.names, strict=True)
        if part is not together.times_of
        for kernel in part.profile.kernels
    ]
    return standard(readings, together.kernels, counted_in)


def _weighted_by(metrics: dict[str, StandardMetric]) -> str | None:
    """``time`` or ``calls``; ``mixed`` where metrics differ, since each is told with its own."""
    told = {metric.weighted_by for metric in metrics.values() if metric.mean is not None}
    return "mixed" if len(told) > 1 else next(iter(told), None)


def _memops(parts: Sequence[Part]) -> list[MemoryOperation]:
    """Those of the first file that has times of them; what it does not tell, such as sizes, from the others."""
    of_parts = [part.profile.memops for part in parts if part.profile.memops]
    of_parts.sort(key=lambda some: all(operation.total_ms is None for operation in some))
    found: dict[str, MemoryOperation] = {}
    for operation in (each for some in of_parts for each in some):
        known = found.get(operation.name)
        if known is None:
            found[operation.name] = operation
        elif known.calls == operation.calls:
            found[operation.name] = MemoryOperation(
                **{key: value if value is not None else asdict(operation)[key] for key, value in asdict(known).items()}
            )
    return sorted(found.values(), key=lambda operation: -(operation.total_ms or 0.0))


def _doubts(parts: Sequence[Part], together: Joined) -> list[str]:
    """What speaks against the files being of one run."""
    devices = {part.profile.device: part.file for part in reversed(parts) if part.profile.device}
    shortest = min(devices, key=len, default="")  # traces cut the names of devices
    found = []
    if any(not device.startswith(shortest) for device in devices):
        told = ", ".join(f"{file} of {device}" for device, file in reversed(devices.items()))
        found.append(f"these files are of different GPUs, thus of different runs: {told}")
    best = together.times_of
    if best is not None:
        timed = {kernel.name for kernel in best.profile.kernels}
        for part, names in zip(parts, together.names, strict=True):
            if names and timed.isdisjoint(names.values()):
                found.append(f"{part.file} and {best.file} have no kernel in common: are they of one run?")
    return found


def _notes(parts: Sequence[Part]) -> list[str]:
    if len(parts) == 1:
        return list(parts[0].profile.notes)
    return [f"{part.file}: {note}" for part in parts for note in part.profile.notes]


def _about_times(together: Joined, total_ms: float) -> list[str]:
    untimed = [kernel.name for kernel in together.kernels if kernel.total_ms is None]
    if not together.kernels or not untimed:
        return []
    if not total_ms:
        return ["no file holds times of kernels: their shares are not known"]
    return [f"{len(untimed)} kernels have no times, and no share: {_named(untimed)}"]


def _extra(parts: Sequence[Part], told: dict[str, object]) -> dict[str, object]:
    """What the profiles hold beside; of several files the first one's."""
    extra: dict[str, object] = {}
    for part in parts:
        extra = {**{key: value for key, value in part.profile.extra.items() if key not in told}, **extra}
    return extra
