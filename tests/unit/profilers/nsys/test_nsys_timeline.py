"""When a GPU was idle, against counting every moment."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from espdeploy.profilers.nsys.timeline import OutOfOrderError, Timeline, Work, merged, nearly_ordered

Rows = list[tuple[int, int, int, bool]]


def work(rows: Rows) -> Work:
    start, duration, device, kernel = np.array(rows, dtype=np.int64).reshape(-1, 4).T
    return Work(start_ns=start, end_ns=start + duration, device=device, kernel=kernel.astype(bool))


def brute_force(rows: Rows, device: int) -> tuple[int, int, int] | None:
    kernels = [(start, start + long) for start, long, on, kernel in rows if on == device and kernel]
    if not kernels:
        return None
    first, last = min(begin for begin, _ in kernels), max(end for _, end in kernels)
    busy = {moment for start, long, on, _ in rows if on == device for moment in range(start, start + long)}
    return last - first, sum(moment in busy for moment in range(first, last)), len(kernels)


@given(
    rows=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 12), st.integers(0, 1), st.booleans()), max_size=30),
    cut=st.integers(1, 9),
)
def test_idle_time_is_every_moment_in_which_nothing_ran(rows: Rows, cut: int) -> None:
    kernels = sorted(row for row in rows if row[3])
    others = sorted(row for row in rows if not row[3])

    def pieces(some: Rows) -> Iterator[Work]:
        return (work(some[at : at + cut]) for at in range(0, len(some), cut))

    timeline = Timeline()
    for piece in merged([nearly_ordered(pieces(kernels)), nearly_ordered(pieces(others))]):
        timeline.add(piece)
    found = {span.device: (span.span_ms * 1e6, span.busy_ms * 1e6, span.launches) for span in timeline.spans}
    told = {device: brute_force(rows, device) for device in (0, 1)}
    assert {device: tuple(map(round, values)) for device, values in found.items()} == {
        device: values for device, values in told.items() if values is not None
    }


def test_rows_out_of_order_are_refused_not_miscounted() -> None:
    timeline = Timeline()
    timeline.add(work([(50, 5, 0, True)]))
    with pytest.raises(OutOfOrderError):
        timeline.add(work([(10, 5, 0, True)]))
