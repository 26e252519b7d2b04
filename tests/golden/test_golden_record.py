"""A record that was written by schema 1 stays readable, with every value where the contract has it.

The file is a real record of `espdeploy quickstart`, its traces cut to five entries. It is never regenerated: a change
that cannot read it needs a new schema number and a reader for the old one.
"""

from __future__ import annotations

import json
from pathlib import Path

from espdeploy import store

GOLDEN = Path(__file__).parent / "record_schema_1.json"


def _missing(old: object, new: object, where: str = "") -> list[str]:
    """Places of ``old`` that ``new`` lacks or has with another value."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [place for key, value in old.items() for place in _missing(value, new.get(key), f"{where}/{key}")]
    return [] if old == new else [where]


def test_a_record_of_schema_1_is_read_and_written_back_whole() -> None:
    content = GOLDEN.read_bytes()
    written = json.loads(store.encode(store.decode(content)))
    assert _missing(json.loads(content), written) == []
