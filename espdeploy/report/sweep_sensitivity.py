"""The sensitivity of one sweep to the GPU's frequency, as its records hold it."""

from __future__ import annotations

from collections.abc import Iterable

from espdeploy.records import SensitivityStep
from espdeploy.report.charts.scale import drawable
from espdeploy.report.charts.steps import Step, Steps
from espdeploy.report.parts import Column, Figure, Table, cells
from espdeploy.report.sweeps import Sweep
from espdeploy.report.text import DASH, mhz

FREQUENCY = "GPU frequency (MHz)"
_BEST = "if time were inversely proportional to the clock"


def figure(sweep: Sweep) -> Figure | None:
    """Each step and the whole span; None where the records hold none."""
    shared = sweep.sensitivity
    if shared is None or not all(map(_sound, (*shared.pairs, shared.span))) or not shared.pairs:
        return None
    chart = Steps(
        title=f"Sensitivity to GPU frequency of {sweep.title}",
        description=f"Over the whole span {told(shared.span)}.",
        x_title=FREQUENCY,
        y_title="% less time per % more frequency",
        steps=tuple(_step(pair) for pair in shared.pairs),
        span=_step(shared.span),
        best_name=_BEST,
        simulated=sweep.simulated,
    )
    return Figure(
        anchor=f"{sweep.anchor}-sensitivity",
        chart=chart,
        captions=(
            "Percentage change of the mean execution time over that of the GPU's clock, both from the lower clock.",
        ),
        numbers=_table(shared.pairs, shared.span),
        name="Sensitivity to GPU frequency",
    )


def told(step: SensitivityStep) -> str:
    """The value with its interval."""
    interval = f" ({step.ci95[0]:.3f} to {step.ci95[1]:.3f})" if step.ci95 else ""
    return f"{step.value:.3f}{interval}"


def _table(pairs: Iterable[SensitivityStep], span: SensitivityStep) -> Table:
    """Each step and the whole span, with intervals and with what a clock that decides alone would give."""
    columns = (
        Column(head="Step", numeric=False),
        Column(head="From", unit="MHz"),
        Column(head="To", unit="MHz"),
        Column(head="Sensitivity"),
        Column(head="95 % interval"),
        Column(head="At most", unit="time as 1/clock"),
    )
    steps = list(pairs)
    named = [*(("neighbours", pair) for pair in steps), *([("whole span", span)] if len(steps) > 1 else [])]
    rows = tuple(
        cells(
            (
                name,
                mhz(step.from_mhz),
                mhz(step.to_mhz),
                f"{step.value:.3f}",
                f"{step.ci95[0]:.3f} to {step.ci95[1]:.3f}" if step.ci95 else DASH,
                f"{_best(step):.3f}",
            )
        )
        for name, step in named
    )
    return Table(caption="Sensitivity to GPU frequency.", columns=columns, rows=rows)


def _best(step: SensitivityStep) -> float:
    """Time inversely proportional to the clock falls by 1 - f_low / f_high over a rise by f_high / f_low - 1."""
    return step.from_mhz / step.to_mhz


def _step(step: SensitivityStep) -> Step:
    return Step(
        start=step.from_mhz,
        end=step.to_mhz,
        value=step.value,
        text=f"{mhz(step.from_mhz)} to {mhz(step.to_mhz)} MHz: {told(step)}",
        label=f"{step.value:.2f}",
        best=_best(step),
        interval=step.ci95,
    )


def _sound(step: SensitivityStep) -> bool:
    numbers = (step.from_mhz, step.to_mhz, step.value, *(step.ci95 or ()))
    return all(map(drawable, numbers)) and 0 < step.from_mhz < step.to_mhz
