"""Two engines of a network side by side: why the one is slower than the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from espdeploy.pipeline.profiling.targets import Timed
from espdeploy.profilers.layer_changes import LayerChanges, compared
from espdeploy.profilers.layer_names import COMPUTE, OVERHEAD
from espdeploy.profilers.layer_origins import Origin
from espdeploy.profilers.layers import Layers, laid_on
from espdeploy.profilers.network import Network

#: two engines of one network have most of their operators' names in common, whatever is fused
_SAME_NETWORK_PCT = 20.0
_WORDS = {
    "reformat": "changes of layout",
    "copy": "copies",
    "quantize": "changes between precisions",
    "shape": "changes of shape",
}


def side_by_side(
    runs: Sequence[Timed], network: Network | None, origins: Sequence[dict[str, Origin]]
) -> dict[str, Any]:
    """The comparison and its sentences, with the keys of ``explain --json``."""
    sides = [
        laid_on(run.layers, network, origins[index] if index < len(origins) else None)
        for index, run in enumerate(runs)
        if run.layers is not None
    ]
    base, new = sides
    changes = compared(base, new)
    return {
        "sentences": _sentences(changes, base, new),
        "comparison": {
            "base": runs[0].name,
            "new": runs[1].name,
            "base_ms": changes.base_ms,
            "new_ms": changes.new_ms,
            "change_ms": changes.new_ms - changes.base_ms,
            **{f"{verdict}_ms": changes.sum_ms(verdict) for verdict in ("slower", "faster", "inserted", "removed")},
            "kinds": _kinds(base, new),
            "modules": _modules(base, new),
            "changes": [change.document() for change in changes.changes],
        },
    }


def _kinds(base: Layers, new: Layers) -> list[dict[str, Any]]:
    return [
        {"kind": kind, "base_ms": base.by_kind_ms.get(kind, 0.0), "new_ms": new.by_kind_ms.get(kind, 0.0)}
        for kind in (COMPUTE, *OVERHEAD)
        if kind in base.by_kind_ms or kind in new.by_kind_ms
    ]


def _modules(base: Layers, new: Layers) -> list[dict[str, Any]]:
    before = {module.path: module.mean_ms for module in base.modules}
    return [
        {"module": module.path, "base_ms": before.get(module.path), "new_ms": module.mean_ms} for module in new.modules
    ]


def _sentences(changes: LayerChanges, base: Layers, new: Layers) -> list[str]:
    change_ms = changes.new_ms - changes.base_ms
    if not changes.base_ms:
        return ["The layers of the first profile have no times."]
    how = "slower" if change_ms > 0 else "faster"
    whole = (
        f"The second engine's layers take {changes.new_ms:.4g} ms, the first one's {changes.base_ms:.4g} ms: "
        f"{abs(change_ms):.3g} ms ({100 * abs(change_ms) / changes.base_ms:.1f} %) {how}."
    )
    common_pct = _common_pct(changes)
    if common_pct < _SAME_NETWORK_PCT:
        strange = (
            f"Only {common_pct:.0f} % of the time is of operators that both profiles name: they look like different "
            "networks, of which layers tell no reason."
        )
        return [strange, whole]
    found = [whole]
    computing = new.by_kind_ms.get(COMPUTE, 0.0) - base.by_kind_ms.get(COMPUTE, 0.0)
    found.append(f"Computing itself takes {_more(computing)}.")
    for kind, words in _WORDS.items():
        more = new.by_kind_ms.get(kind, 0.0) - base.by_kind_ms.get(kind, 0.0)
        if more:
            found.append(f"{words[0].upper()}{words[1:]} take {_more(more)}.")
    worst = next((one for one in changes.changes if one.change_ms > 0 and one.verdict == "slower"), None)
    if worst is not None:
        found.append(
            f"What got slower most: {' and '.join(worst.new[:2])}, from {worst.base_ms:.3g} to {worst.new_ms:.3g} ms."
        )
    return found


def _common_pct(changes: LayerChanges) -> float:
    """The share of the two profiles' time that is of groups of layers with both sides."""
    whole_ms = changes.base_ms + changes.new_ms
    common = (one.base_ms + one.new_ms for one in changes.changes if one.base and one.new)
    return 100 * math.fsum(common) / whole_ms if whole_ms else 0.0


def _more(ms: float) -> str:
    return f"{abs(ms):.3g} ms {'more' if ms > 0 else 'less'}"
