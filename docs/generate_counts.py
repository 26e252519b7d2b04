"""Writes espdeploy/networks/counted.py: our own count for every row of the papers' tables; needs PyTorch.

With --check it only says whether the committed counts are current.
"""

from __future__ import annotations

import sys
from pathlib import Path

from espdeploy.networks.counting import count_network
from espdeploy.networks.entry import NetworkEntry
from espdeploy.networks.published import counted_size, key
from espdeploy.networks.registry import REGISTRY, with_defaults

TARGET = Path(__file__).resolve().parent.parent / "espdeploy" / "networks" / "counted.py"
HEAD = '''"""Our own count, parameters and multiply-adds, for the settings and sizes that the papers print.

Written by docs/generate_counts.py; a test counts them anew.
"""

from __future__ import annotations

#: network -> "settings at size" -> (parameters, multiply-adds)
COUNTED: dict[str, dict[str, tuple[int, int | None]]] = {
'''


def fresh(network: NetworkEntry) -> dict[str, tuple[int, int | None]]:
    """Every printed row of a network, counted now."""
    counts = {}
    for row in network.published:
        found = count_network(network, with_defaults(network, row.settings), size=counted_size(network, row))
        counts[key(network, row)] = (found.params, found.macs)
    return counts


def module() -> str:
    """The text of the whole file."""
    lines = [HEAD]
    for network in REGISTRY.values():
        rows = fresh(network)
        if rows:
            lines.append(f'    "{network.name}": {{\n')
            for name, (params, macs) in rows.items():
                lines.append(f'        "{name}": ({params:_}, {macs if macs is None else format(macs, "_")}),\n')
            lines.append("    },\n")
    return "".join([*lines, "}\n"])


def main() -> int:
    """Write, or check."""
    text = module()
    if "--check" in sys.argv[1:]:
        return int(TARGET.read_text(encoding="utf-8") != text)
    TARGET.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
