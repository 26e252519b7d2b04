"""The ranking of a network's layers by what they lose, as a picture or page in a file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from espdeploy import __version__
from espdeploy.artifacts import check_replaceable, utc_now, write_atomic
from espdeploy.errors import UsageError
from espdeploy.quantize.sensitivity import Effect
from espdeploy.report.charts.ranked import Ranked, Row
from espdeploy.report.parts import Column, Table, cells
from espdeploy.report.ranking import RankingPage, picture, render
from espdeploy.report.text import DASH

SUFFIXES = (".svg", ".html")


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Layers with their operators and effects, worst first, and what they were measured by."""

    network: str
    precision: str
    labelled: bool
    rows: Sequence[tuple[str, str, Effect]]
    together: Effect
    measured: str
    notes: tuple[str, ...]


def check_picture(path: Path | None) -> None:
    """Refuse a place that no picture can be written to, before any slow work; None asks for none.

    Raises:
        UsageError: neither an ``.svg`` nor an ``.html`` file, or no plain file.
        MissingCapability: its folder may not be written.
    """
    if path is None:
        return
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(
            f"{path} is neither an .svg nor an .html file", do=f"give a name such as {path.with_suffix('.svg')}"
        )
    check_replaceable(path)


def write_picture(ranking: Ranking, path: Path) -> None:
    """Write the ranking, as SVG alone or as HTML with its table by the file's suffix, at once or not at all.

    Raises:
        UsageError, MissingCapability: as :func:`check_picture`.
    """
    check_picture(path)
    page = _page(ranking)
    write_atomic(path, (picture(page) if path.suffix.lower() == ".svg" else render(page)).encode())


def points(value: float | None) -> str:
    """Points or percent to a thousandth, a dash where unknown."""
    return DASH if value is None or not math.isfinite(value) else f"{round(value, 3) + 0.0:.3f}"  # no "-0.000"


def interval(bounds: tuple[float, float] | None) -> str:
    """Both ends, a dash where unknown."""
    return DASH if bounds is None else f"{points(bounds[0])} … {points(bounds[1])}"


def error(value: float | None) -> str:
    """A relative error with two digits, a dash where unknown."""
    return DASH if value is None else "not finite" if not math.isfinite(value) else f"{value:.1e}"


def _page(ranking: Ranking) -> RankingPage:
    return RankingPage(
        chart=_chart(ranking),
        sentences=(ranking.measured, f"All layers together: {_told(ranking.together, labelled=ranking.labelled)}."),
        table=_table(ranking),
        notes=ranking.notes,
        generated=utc_now(),
        espdeploy_version=__version__,
    )


def _chart(ranking: Ranking) -> Ranked:
    lost = "mIOU lost" if ranking.labelled else "Pixels whose class changes"
    means = " Line: 95 % interval over images; hollow bars are those that it explains." if ranking.labelled else ""
    return Ranked(
        title=f"What each layer of {ranking.network} loses alone in {ranking.precision.upper()}",
        description=f"{lost} against FP32 where this layer alone is in the lower precision, worst first.{means} "
        "At the right: squared error of the outputs over their squared size.",
        x_title=f"{lost} ({'points' if ranking.labelled else '%'})",
        aside="output error",
        rows=tuple(
            Row(
                label=layer,
                value=effect.loss_pct,
                text=points(effect.loss_pct),
                interval=effect.drop_ci95_pct,
                aside=error(effect.error),
                hollow=effect.drop_ci95_pct is not None and effect.drop_ci95_pct[0] <= 0 <= effect.drop_ci95_pct[1],
            )
            for layer, _, effect in ranking.rows
        ),
    )


def _told(effect: Effect, *, labelled: bool) -> str:
    changed = f"{points(100 - effect.agreement_pct)} % of the pixels change, output error {error(effect.error)}"
    if not labelled:
        return changed
    between = f" ({interval(effect.drop_ci95_pct)})" if effect.drop_ci95_pct else ""
    return f"{points(effect.drop_pct)} points of mIOU lost{between}, {changed}"


def _table(ranking: Ranking) -> Table:
    columns = [Column(head="Layer", numeric=False), Column(head="Operator", numeric=False)]
    if ranking.labelled:
        columns += [Column(head="mIOU lost", unit="points"), Column(head="95 % interval", unit="points")]
    columns += [Column(head="Pixels that change", unit="%"), Column(head="Output error")]
    rows = []
    for layer, operator, effect in ranking.rows:
        texts = [layer, operator]
        if ranking.labelled:
            texts += [points(effect.drop_pct), interval(effect.drop_ci95_pct)]
        rows.append(cells([*texts, points(100 - effect.agreement_pct), error(effect.error)]))
    return Table(caption="Each layer alone, worst first.", columns=tuple(columns), rows=tuple(rows))
