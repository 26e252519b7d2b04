"""Figures of one profile: the kernels that take the time, what they are for, and how well they use the GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from espdeploy.report.charts.scale import drawable
from espdeploy.report.charts.shares import Share, Shares
from espdeploy.report.entries import SIMULATED
from espdeploy.report.parts import Column, Figure, Table, cells
from espdeploy.report.profiles import Kernel, Layer, Module, ProfileDocument
from espdeploy.report.text import DASH, number, plural, share, shorten

#: the paper's figure shows as many kernels
_TOP = 10
_MOST_ROWS = 60
_NAME_CHARS = 200
#: colours by category; the categories stand beside the bars in words too
_COLOURS = {
    "gemm": "c1",
    "convolution": "c3",
    "elementwise": "c5",
    "memory": "c2",
    "reduction": "c4",
    "normalisation": "c6",
    "pooling": "c7",
}
_OTHER = "c8"
_METRICS = {
    "warp_execution_efficiency": "Warp execution efficiency",
    "gld_efficiency": "Global load efficiency",
    "gst_efficiency": "Global store efficiency",
    "shared_efficiency": "Shared memory efficiency",
    "sm_efficiency": "SM efficiency",
    "achieved_occupancy": "Achieved occupancy",
    "branch_efficiency": "Branch efficiency",
}


def kernels(profile: ProfileDocument, anchor: str) -> Figure | None:
    """The ten kernels that take the longest, by their share of the time of all kernels."""
    timed = [kernel for kernel in profile.kernels if drawable(kernel.time_pct)]
    top = sorted(timed, key=lambda kernel: -(kernel.time_pct or 0.0))[:_TOP]
    if not top:
        return None
    rows = tuple(_kernel_row(kernel) for kernel in top)
    rest_pct = max(0.0, 100.0 - sum(row.pct for row in rows))
    more = len(profile.kernels) - len(top)
    rest = (
        f"{plural(more, 'other kernel')} {'takes' if more == 1 else 'take'} the remaining {number(rest_pct)} %."
        if more
        else ""
    )
    return _shares(
        profile,
        f"{anchor}-kernels",
        ("Top kernels", "share of the time of all kernels (%)"),
        rows,
        captions=("Percent of the time of all kernels, copies aside.", rest),
        numbers=_kernel_table(profile.kernels),
    )


def categories(profile: ProfileDocument, anchor: str) -> Figure | None:
    """What the time is spent on."""
    known = [(name, pct) for name, pct in profile.categories.items() if pct is not None and drawable(pct) and pct > 0]
    if not known:
        return None
    known.sort(key=lambda row: -row[1])
    rows = tuple(
        _share(name, pct, text=share(pct), colour=_COLOURS.get(name, _OTHER)) for name, pct in known[:_MOST_ROWS]
    )
    table = Table(
        caption="Share of the time of all kernels.",
        columns=(Column(head="Category", numeric=False), Column(head="Share", unit="%")),
        rows=tuple(cells((shorten(name, _NAME_CHARS), number(pct, 4))) for name, pct in known[:_MOST_ROWS]),
    )
    title = ("By what kernels do", "share of the time of all kernels (%)")
    return _shares(profile, f"{anchor}-categories", title, rows, captions=(_alignment(profile),), numbers=table)


def metrics(profile: ProfileDocument, anchor: str) -> Figure | None:
    """Efficiencies as means over kernels."""
    known = [
        (_METRICS.get(name, name), metric)
        for name in (*_METRICS, *(name for name in profile.metrics if name not in _METRICS))
        if (metric := profile.metrics.get(name)) is not None and drawable(metric.mean_pct)
    ]
    if not known:
        return None
    rows = tuple(
        _share(name, metric.mean_pct or 0.0, text=share(metric.mean_pct)) for name, metric in known[:_MOST_ROWS]
    )
    by = f"Means over kernels, weighted by {profile.weighted_by}." if profile.weighted_by else "Means over kernels."
    columns = (
        Column(head="Metric", numeric=False),
        Column(head="Kernel", numeric=False),
        Column(head="Mean", unit="%"),
        Column(head="Least", unit="%"),
        Column(head="Greatest", unit="%"),
    )
    shorts = {kernel.name: kernel.short_name or kernel.name for kernel in profile.kernels}
    lines = [
        cells((name, told, *(number(value, 4) for value in values)))
        for name, metric in known
        for told, values in (
            ("all", (metric.mean_pct, None, None)),
            *(
                (shorten(shorts.get(each.name, each.name), _NAME_CHARS), (each.mean_pct, each.min_pct, each.max_pct))
                for each in metric.per_kernel[:_TOP]
            ),
        )
    ]
    table = Table(
        caption=f"{by} Of each metric the first {_TOP} kernels.", columns=columns, rows=tuple(lines[: 2 * _MOST_ROWS])
    )
    return _shares(
        profile,
        f"{anchor}-metrics",
        ("Efficiency", "percent of the best possible"),
        rows,
        captions=(by, "nvprof's definitions, whichever tool counted."),
        numbers=table,
        whole=True,
    )


def layers(profile: ProfileDocument, anchor: str) -> Figure | None:
    """The ten layers that take the longest."""
    return _timed(
        profile, f"{anchor}-layers", ("Top layers", "layer"), [(layer.name, layer) for layer in profile.layers]
    )


def modules(profile: ProfileDocument, anchor: str) -> Figure | None:
    """The ten modules of the network that take the longest."""
    rows = [(module.module or "(none)", module) for module in profile.modules]
    return _timed(profile, f"{anchor}-modules", ("Top modules of the network", "module"), rows)


def _kernel_row(kernel: Kernel) -> Share:
    category = kernel.category or "unknown"
    pct = kernel.time_pct or 0.0
    return _share(
        kernel.short_name or kernel.name,
        pct,
        text=f"{share(pct)} · {shorten(category, 24)}",
        colour=_COLOURS.get(category, _OTHER),
        whole_name=kernel.name,
    )


def _share(name: str, pct: float, *, text: str, colour: str = "c1", whole_name: str = "") -> Share:
    told = f"{shorten(whole_name or name)}: {text}"
    return Share(name=shorten(name, _NAME_CHARS), pct=pct, text=text, told=told, colour=colour)


def _kernel_table(all_kernels: Sequence[Kernel]) -> Table:
    ordered = sorted(all_kernels, key=lambda kernel: -(kernel.time_pct or 0.0))[:_MOST_ROWS]
    columns = (
        Column(head="Kernel", numeric=False),
        Column(head="Category", numeric=False),
        Column(head="Calls"),
        Column(head="Total", unit="ms"),
        Column(head="Mean", unit="µs"),
        Column(head="Share", unit="%"),
    )
    rows = tuple(
        cells(
            (
                shorten(kernel.short_name or kernel.name, _NAME_CHARS),
                shorten(kernel.category or "unknown", 24),
                DASH if kernel.calls is None else f"{kernel.calls:,}",
                number(kernel.total_ms, 4),
                number(kernel.mean_us, 4),
                number(kernel.time_pct, 4),
            )
        )
        for kernel in ordered
    )
    what = (
        f"The first {_MOST_ROWS} of {len(all_kernels):,} kernels" if len(all_kernels) > _MOST_ROWS else "Every kernel"
    )
    return Table(caption=f"{what}, longest first.", columns=columns, rows=rows)


def _alignment(profile: ProfileDocument) -> str:
    pct = profile.memory_alignment_pct
    if pct is None:
        pct = profile.categories.get("memory")
    if pct is None:
        return ""
    return f"Memory alignment (kernels that move data or change its layout): {number(pct)} % of the time."


def _timed(
    profile: ProfileDocument, anchor: str, names: tuple[str, str], rows: Sequence[tuple[str, Layer | Module]]
) -> Figure | None:
    """Layers or modules with their times; ``names`` are of the figure and of one row."""
    timed = [(name, row) for name, row in rows if drawable(row.mean_ms) or drawable(row.time_pct)]
    whole_ms = sum(row.mean_ms or 0.0 for _, row in timed)
    shares = [(name, row, _pct(row, whole_ms)) for name, row in timed]
    shares.sort(key=lambda each: -each[2])
    if not shares:
        return None
    drawn = tuple(
        _share(name, pct, text=f"{number(row.mean_ms)} ms · {share(pct)}" if row.mean_ms is not None else share(pct))
        for name, row, pct in shares[:_TOP]
    )
    head = names[1].capitalize()
    columns = (Column(head=head, numeric=False), Column(head="Mean", unit="ms"), Column(head="Share", unit="%"))
    table = Table(
        caption=f"{head}s, longest first.",
        columns=columns,
        rows=tuple(
            cells((shorten(name, _NAME_CHARS), number(row.mean_ms, 4), number(pct, 4)))
            for name, row, pct in shares[:_MOST_ROWS]
        ),
    )
    more = len(shares) - len(drawn)
    captions = (
        f"Share of the time of all {names[1]}s.",
        f"{plural(more, f'other {names[1]}')} not drawn." if more else "",
    )
    axis = f"share of the time of all {names[1]}s (%)"
    return _shares(profile, anchor, (names[0], axis), drawn, captions=captions, numbers=table)


def _pct(row: Layer | Module, whole_ms: float) -> float:
    if row.time_pct is not None:
        return row.time_pct
    return 100 * (row.mean_ms or 0.0) / whole_ms if whole_ms > 0 else 0.0


def _shares(
    profile: ProfileDocument,
    anchor: str,
    titles: tuple[str, str],
    rows: tuple[Share, ...],
    *,
    captions: Sequence[str],
    numbers: Table,
    whole: bool = False,
) -> Figure:
    """``titles``: of the figure and of its axis."""
    told: Mapping[str, float] = {row.name: row.pct for row in rows[:3]}
    chart = Shares(
        title=titled(profile, titles[0]),
        description=", ".join(f"{name} {number(pct)} %" for name, pct in told.items()),
        x_title=titles[1],
        rows=rows,
        whole=whole,
        simulated=profile.simulated,
    )
    return Figure(
        anchor=anchor,
        chart=chart,
        captions=tuple(filter(None, captions)),
        numbers=numbers,
        name=titles[0],
    )


def titled(profile: ProfileDocument, what: str) -> str:
    """The title of a chart, with the warning that simulated figures carry."""
    mark = f"{SIMULATED} " if profile.simulated else ""
    return f"{what} of {mark}{shorten(profile.model or profile.file, 90)}"
