"""Some of the damaged inputs of benchmarks/fuzz_parsers.py, made of our own texts and, where they are, of captures."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.mark.timeout(0)  # the script sets an alarm of its own for each input
def test_damage_ends_in_a_document_or_in_the_contracts_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    fuzz = importlib.import_module("fuzz_parsers")
    monkeypatch.setattr(fuzz, "LIMIT_S", 60.0)  # a hang is looked for, not a slow machine
    figures = fuzz.run(1500, seed=1)
    assert figures["failures"] == []
    assert set(fuzz.OWN) <= set(figures["became"])  # each kind is still recognised in some of them
