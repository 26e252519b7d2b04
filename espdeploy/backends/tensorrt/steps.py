"""The timed step of an engine: events around one launch, and nothing else of Python's."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from espdeploy.backends.tensorrt.cuda import Session
from espdeploy.units import NS_PER_MS

#: how many calls are kept; an event takes a microsecond or two to make, and each call has two to four
DEFAULT_ROOM = 4096
_BYTES_PER_TIME = 8


@dataclass(frozen=True, kw_only=True)
class GpuTimes:
    """The last calls of a :class:`Steps`, oldest first.

    ``compute_ms`` is the time on the GPU between the events before and after the launch, ``enqueue_ms`` the processor's
    time in the launch itself. ``upload_ms`` and ``download_ms`` are None where the step copies nothing.
    """

    compute_ms: tuple[float, ...]
    enqueue_ms: tuple[float, ...]
    upload_ms: tuple[float, ...] | None = None
    download_ms: tuple[float, ...] | None = None


class Steps:
    """A call runs one inference and returns when it is done. Its events are made before the first call.

    Args:
        session: whose stream the work goes to.
        launch: puts the inference onto the stream.
        upload, download: put copies onto it, before and after; None for data that stays on the device.
        room: for how many calls times are kept; older ones are given up.
        cuda_graph: whether ``launch`` launches a graph, for the record.
    """

    def __init__(
        self,
        session: Session,
        launch: Callable[[], object],
        *,
        cuda_graph: bool,
        upload: Callable[[], object] | None = None,
        download: Callable[[], object] | None = None,
        room: int = DEFAULT_ROOM,
    ) -> None:
        self.cuda_graph = cuda_graph
        self._session = session
        self._launch, self._upload, self._download = launch, upload, download
        self._synchronize = session.synchronize
        self._room = room
        self._done = 0
        self._enqueue_ns = array("q", bytes(_BYTES_PER_TIME * room))
        points = 2 + (upload is not None) + (download is not None)
        self._events = [tuple(session.event() for _ in range(points)) for _ in range(room)]
        self._records = [tuple(session.recorder(event) for event in slot) for slot in self._events]

    def __call__(self) -> None:
        """Run one inference.

        Raises:
            ToolFailed: it failed on the GPU.
        """
        slot = self._done % self._room
        if self._upload is None and self._download is None:
            self._compute(slot)
        else:
            self._with_transfers(slot)
        self._done += 1

    def _compute(self, slot: int) -> None:
        before, after = self._records[slot]
        before()
        start_ns = time.perf_counter_ns()
        self._launch()
        end_ns = time.perf_counter_ns()
        after()
        self._synchronize()
        self._enqueue_ns[slot] = end_ns - start_ns

    def _with_transfers(self, slot: int) -> None:
        records = iter(self._records[slot])
        if self._upload is not None:
            next(records)()
            self._upload()
        next(records)()
        start_ns = time.perf_counter_ns()
        self._launch()
        end_ns = time.perf_counter_ns()
        next(records)()
        if self._download is not None:
            self._download()
            next(records)()
        self._synchronize()
        self._enqueue_ns[slot] = end_ns - start_ns

    def times(self) -> GpuTimes:
        """What the events and the clock say of the last calls."""
        kept = range(max(0, self._done - self._room), self._done)
        slots = [number % self._room for number in kept]
        compute = 0 if self._upload is None else 1
        return GpuTimes(
            compute_ms=self._between(slots, compute),
            enqueue_ms=tuple(self._enqueue_ns[slot] / NS_PER_MS for slot in slots),
            upload_ms=None if self._upload is None else self._between(slots, 0),
            download_ms=None if self._download is None else self._between(slots, compute + 1),
        )

    def _between(self, slots: Sequence[int], first: int) -> tuple[float, ...]:
        events = (self._events[slot] for slot in slots)
        return tuple(self._session.elapsed_ms(slot[first], slot[first + 1]) for slot in events)
