"""Some of the damaged inputs of benchmarks/fuzz_parsers.py, made of our own texts and, where they are, of captures."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

#: what once ended in a crash, made by hand in the same form
SAMPLE = "AM 100/2000MB (lfb 4x4MB) SWAP 1/2000MB (cached 3MB) cpu [1%,2%,3%,4%]@408 EMC 1%@408 APE 25 GR3D 3%@76\n"
CRASHED = (
    f"R{SAMPLE}R-1{SAMPLE}",
    '[{"startComputeMs":300,"computeMs":1,"latencyMs":2},{"startComputeMs":301,"computeMs":1}]',
)
BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.mark.timeout(0)  # the script sets an alarm of its own for each input
def test_damage_ends_in_a_document_or_in_the_contracts_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    fuzz = importlib.import_module("fuzz_parsers")
    monkeypatch.setattr(fuzz, "LIMIT_S", 60.0)  # a hang is looked for, not a slow machine
    figures = fuzz.run(1500, seed=1)
    assert figures["failures"] == []
    assert set(fuzz.OWN) <= set(figures["became"])  # each kind is still recognised in some of them


@pytest.mark.parametrize("content", CRASHED)
def test_what_crashed_before_is_read(content: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    fuzz = importlib.import_module("fuzz_parsers")
    (tmp_path / "x").write_text(content)
    assert fuzz.attempt(tmp_path / "x", None) in fuzz.OWN
