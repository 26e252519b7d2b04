"""Where in the network an operator stands, where the TorchScript exporter told half of it.

It notes the modules that were called as modules. A part that is called by a method of its own, as an encoder is by
``encoder.features(x)``, is missing there, so that one network would have two sets of names, one for each exporter.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from espdeploy.onnx_graph import scope_path

if TYPE_CHECKING:
    from onnx import ModelProto

#: a module that is called again is counted
_CALLED_AGAIN = re.compile(r"_\d+$")


def complete_paths(model: ModelProto, modules: Collection[str]) -> None:
    """Give the nodes of ``model`` the whole path of their module, in place.

    A path that several modules end in belongs to the part that other, unmistakable paths were found to lack.

    Args:
        model: as the TorchScript exporter wrote it.
        modules: the network's own names of its modules, as ``named_modules`` has them.
    """
    known = frozenset(modules)
    paths = {node.name: scope_path(node.name) for node in model.graph.node}
    found = {path: _ends_in(path, known) for path in set(paths.values()) if path}
    lacking = {_before(path, wholes[0]) for path, wholes in found.items() if len(wholes) == 1} - {""}
    for node in model.graph.node:
        path = paths[node.name]
        wholes = found.get(path, ())
        if len(wholes) > 1:
            wholes = [whole for whole in wholes if _before(path, whole) in lacking]
        if len(wholes) == 1 and wholes[0] != path:
            node.name = f"/{wholes[0]}/{node.name.rpartition('/')[2]}"


def _ends_in(path: str, known: Collection[str]) -> Sequence[str]:
    """The modules that ``path`` is, or else is the end of; of one that is called again too."""
    for told in (path, _CALLED_AGAIN.sub("", path)):
        if told in known:
            return [told]
        ends = [name for name in known if name.endswith(f".{told}")]
        if ends:
            return ends
    return []


def _before(path: str, whole: str) -> str:
    """What ``path`` lacks of ``whole``."""
    for told in (path, _CALLED_AGAIN.sub("", path)):
        if whole.endswith(told):
            return whole[: -len(told)].rstrip(".")
    return ""
