"""Many boards at once: cells go to the workers of a Dask cluster that have the device, one at a time on each.

A worker declares its device as a resource (``dask worker ADDRESS --resources "tx2=1" --nthreads 1``). Networks are
exported on this side; a worker gets the graph, measures, and sends the records back. A worker that dies costs the cell
that it was at, which another with the same device takes over (Dask hands it out again by itself).
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from espdeploy import __version__, lazy, store
from espdeploy.artifacts import write_atomic
from espdeploy.backends.registry import TAKES_MODULES
from espdeploy.errors import EspdeployError, Interrupted, MissingCapability, ToolFailed
from espdeploy.pipeline.engine_files.cache import engine_cache, writing_to_cache
from espdeploy.pipeline.measuring.bench import benchmark
from espdeploy.pipeline.measuring.targets import exported
from espdeploy.pipeline.sweeping.plan import check_files, request_of
from espdeploy.pipeline.sweeping.run import Outcome, Runner
from espdeploy.protocols import Progress, no_progress
from espdeploy.suites import Cell

_CONNECT_S = 20

#: what a worker sends back: the records as JSON, or what, why and do of an error with its class's name
Answer = dict[str, Any]


def on_cluster(address: str, results: Path, progress: Progress) -> Runner:
    """A runner that hands cells to a cluster.

    Args:
        address: of Dask's scheduler, as ``tcp://10.0.0.5:8786``.
        results: where records go, on this machine.
        progress: told of exports and of each cell.
    """

    def measure(left: Sequence[Cell], told: Callable[[Outcome], None]) -> None:
        distributed = lazy.require("distributed", extra="cluster")
        with _connected(distributed, address) as client:
            _check_devices(client, left)
            futures = {}
            for cell in left:
                try:
                    graph, name = _graph(cell, progress)
                except Interrupted:
                    raise
                except EspdeployError as error:
                    told(Outcome(cell=cell, error=error, measured=True))
                    continue
                future = client.submit(
                    measure_cell, cell, graph, name, __version__,
                    resources={cell.device: 1}, pure=False, key=f"espdeploy-{cell.id}", retries=0,
                )  # fmt: skip
                futures[future] = cell
            try:
                for future in distributed.as_completed(list(futures)):
                    told(_outcome(futures[future], future, results))
            finally:
                client.cancel(list(futures), force=True)

    return measure


def measure_cell(cell: Cell, graph: bytes | None, name: str, version: str) -> Answer:
    """Measure a cell on the machine that this runs on; runs in a worker."""
    if version != __version__:
        return _refusal(f"this worker has espdeploy {__version__}, and the sweep is of {version}")
    try:
        with tempfile.TemporaryDirectory(prefix="espdeploy-cell-") as folder:
            path = _kept(graph, name) if graph is not None else None
            benched = benchmark(request_of(cell, graph=path), Path(folder) / "results", no_progress)
            return {"records": [store.encode(item.record) for item in benched]}
    except EspdeployError as error:
        return {"error": {"class": type(error).__name__, "what": error.what, "why": error.why, "do": error.do}}


def _refusal(what: str) -> Answer:
    return {
        "error": {"class": "MissingCapability", "what": what, "why": "", "do": f"pip install espdeploy=={__version__}"}
    }


@contextlib.contextmanager
def _connected(distributed: Any, address: str) -> Iterator[Any]:
    try:
        client = distributed.Client(address, timeout=_CONNECT_S)
    except (OSError, ValueError) as error:
        raise MissingCapability(
            f"no scheduler answers at {address}",
            why=str(error),
            do="start one: dask scheduler; then give its address, such as --scheduler tcp://HOST:8786",
        ) from error
    try:
        yield client
    finally:
        client.close()


def _check_devices(client: Any, left: Sequence[Cell]) -> None:
    """Every device that cells need is a resource of some worker; else they would wait for ever.

    Raises:
        MissingCapability: one is nobody's.
    """
    workers = client.scheduler_info(n_workers=-1)["workers"]
    there = {name for worker in workers.values() for name, count in (worker.get("resources") or {}).items() if count}
    missing = sorted({cell.device for cell in left} - there)
    if missing:
        raise MissingCapability(
            f"no worker of the cluster has {', '.join(missing)}",
            why=f"{len(workers)} workers declare: {', '.join(sorted(there)) or 'nothing'}",
            do=f'on the board: dask worker ADDRESS --nthreads 1 --resources "{missing[0]}=1"',
        )


def _graph(cell: Cell, progress: Progress) -> tuple[bytes | None, str]:
    """The network as a graph, for a board needs neither PyTorch nor the weights; None for runtimes of PyTorch's own."""
    check_files(cell)
    request = request_of(cell).target
    if request.model is None or (cell.runtime or "") in TAKES_MODULES:
        return None, ""
    path = Path(request.model.name) if request.model.is_onnx else exported(request, progress)
    return path.read_bytes(), path.name


def _kept(graph: bytes, name: str) -> Path:
    """The graph in this machine's cache, under its content's hash, so that its engine is found there again."""
    path = engine_cache() / "cells" / hashlib.sha256(graph).hexdigest()[:16] / name
    if not path.is_file():
        with writing_to_cache():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, graph)
    return path


def _outcome(cell: Cell, future: Any, results: Path) -> Outcome:
    """What came back; a worker's death is told as what it is."""
    failure = future.exception()
    if failure is not None:
        return Outcome(
            cell=cell,
            error=ToolFailed(
                f"the workers that took {cell.label} died or failed",
                why=f"{type(failure).__name__}: {failure}",
                do=f"run the sweep again; if it happens again, run this cell on the board: {cell.id}",
            ),
            measured=True,
        )
    answer: Answer = future.result()
    if "error" in answer:
        told = answer["error"]
        kind = next((one for one in _errors() if one.__name__ == told["class"]), ToolFailed)
        return Outcome(cell=cell, error=kind(told["what"], why=told["why"], do=told["do"]), measured=True)
    records = tuple(store.decode(content) for content in answer["records"])
    for record in records:
        store.keep(record, results)
    return Outcome(cell=cell, records=records, measured=True)


def _errors() -> Iterator[type[EspdeployError]]:
    waiting = [EspdeployError]
    while waiting:
        kind = waiting.pop()
        yield kind
        waiting += kind.__subclasses__()
