"""The build itself: in a thread of its own, so that Ctrl-C is heard at once and ends it cleanly.

Source: ``IProgressMonitor`` of the Python API, which TensorRT has since 8.6: a step that answers False ends the build.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from espdeploy.backends.tensorrt.api import Api
from espdeploy.protocols import Progress

_LOOK_EVERY_S = 0.05


@dataclass
class Phases:
    """The phases of the build that are under way, outermost first, with their steps; and whether it is to end."""

    cancelled: bool = False

    def __post_init__(self) -> None:
        self._under_way: dict[str, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def start(self, name: str, steps: int) -> None:
        """A phase begins."""
        with self._lock:
            self._under_way[name] = (0, steps)

    def step(self, name: str, done: int) -> bool:
        """A step of it is done; whether to go on."""
        with self._lock:
            self._under_way[name] = (done, self._under_way.get(name, (0, done))[1])
        return not self.cancelled

    def finish(self, name: str) -> None:
        """A phase is over."""
        with self._lock:
            self._under_way.pop(name, None)

    def tell(self, progress: Progress) -> None:
        """Pass the innermost phase on."""
        with self._lock:
            name, (done, total) = next(reversed(self._under_way.items()), ("building", (0, 0)))
        progress(done, total or None, name)


def run(api: Api, builder: Any, network: Any, config: Any, progress: Progress) -> Any:
    """The serialized engine, in NVIDIA's memory; None where the build failed (the log says why).

    Raises:
        KeyboardInterrupt: once the build has ended after Ctrl-C.
    """
    phases = Phases()
    config.progress_monitor = _monitor(api, phases)
    built: list[Any] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            built.append(builder.build_serialized_network(network, config))
        except BaseException as error:  # raised again in the thread that waits
            failed.append(error)

    thread = threading.Thread(target=work, name="tensorrt-build", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(_LOOK_EVERY_S)
            phases.tell(progress)
    except BaseException:
        phases.cancelled = True
        thread.join()
        raise
    finally:
        config.progress_monitor = None
    if failed:
        raise failed[0]
    return built[0]


def _monitor(api: Api, phases: Phases) -> Any:
    base: Any = api.module.IProgressMonitor

    class Monitor(base):  # type: ignore[misc]  # the module is not typed
        def __init__(self) -> None:
            base.__init__(self)  # TensorRT wants it called by name

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            phases.start(phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            return phases.step(phase_name, step + 1)

        def phase_finish(self, phase_name: str) -> None:
            phases.finish(phase_name)

    return Monitor()
