"""What launching kernels costs: from the call on the processor to the kernel's begin on the GPU.

Calls and kernels belong together by process and correlation id, as in ``nsys stats --report cuda_kern_exec_sum``. Of
long recordings a part is looked at, chosen by a hash of the id, so that no period of the network hides in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from espdeploy.profilers.nsys.database import Database

_LOOKED_AT = 100_000
_MOST = 4 * _LOOKED_AT
_KERNELS = "CUPTI_ACTIVITY_KIND_KERNEL"
_CALLS = "CUPTI_ACTIVITY_KIND_RUNTIME"
_SOUND = (
    "typeof(correlationId) = 'integer' AND typeof(start) = 'integer' AND typeof(\"end\") = 'integer'"
    ' AND start >= 0 AND "end" >= start AND correlationId > 0'
)


@dataclass(frozen=True, kw_only=True)
class Launches:
    """Medians over ``looked_at`` calls: the call itself, and from its begin to that of its first kernel."""

    looked_at: int
    call_us: float
    latency_us: float


def launches(database: Database, count: int) -> Launches | None:
    """Read them; None where calls or kernels are not told, or do not tell which belongs to which.

    Args:
        database: the export.
        count: how many kernels it has.

    Raises:
        InputFileError: the file is damaged.
    """
    if not all(database.has(table, "start", "end", "correlationId") for table in (_KERNELS, _CALLS)):
        return None
    mask = (1 << max(0, (count // _LOOKED_AT).bit_length())) - 1
    kernels, calls = _rows(database, _KERNELS, "globalPid", mask), _rows(database, _CALLS, "globalTid", mask)
    # of the kernels of one call, as a CUDA graph has them, the first
    kernels = kernels[np.lexsort((kernels["start"], kernels["key"]))]
    first = np.flatnonzero(np.append(True, kernels["key"][1:] != kernels["key"][:-1])[: kernels.size])
    kernels = kernels[first]
    calls = calls[np.argsort(calls["key"], kind="stable")]
    _, of_kernels, of_calls = np.intersect1d(kernels["key"], calls["key"], return_indices=True)
    kernels, calls = kernels[of_kernels], calls[of_calls]
    if not kernels.size:
        return None
    return Launches(
        looked_at=int(kernels.size),
        call_us=float(np.median(calls["end"] - calls["start"])) / 1e3,
        latency_us=float(np.median(np.maximum(kernels["start"] - calls["start"], 0))) / 1e3,
    )


def _rows(database: Database, table: str, process: str, mask: int) -> NDArray[np.void]:
    """Key, begin and end of the rows that the hash chooses; a process stands in the bits from 24 to 47."""
    told = process in database.tables[table]
    key = (
        f"(((ifnull({process}, 0) >> 24) & 16777215) << 32) | (correlationId & 4294967295)" if told else "correlationId"
    )
    # most rows end here: it stands first
    chosen = f"(((correlationId & 4294967295) * 40503) >> 8) & {mask} = 0"
    query = f'SELECT {key}, start, "end" FROM "{table}" WHERE {chosen} AND {_SOUND} LIMIT {_MOST}'  # noqa: S608 - our names
    kind = np.dtype([("key", np.int64), ("start", np.int64), ("end", np.int64)])
    return np.fromiter(database.rows(query), dtype=kind)
