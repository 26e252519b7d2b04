"""`bench --cross-check`: the tool's median beside ours, with a fake trtexec that always measures the same."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from espdeploy.bench.crosscheck import with_check
from espdeploy.errors import MissingCapability, UsageError
from espdeploy.pipeline.measuring.cross_check import check_against_tool, check_possible
from espdeploy.pipeline.measuring.observe import Watch
from espdeploy.pipeline.measuring.request import BenchRequest
from espdeploy.pipeline.measuring.targets import Target, TargetRequest
from espdeploy.protocols import SystemClock, no_progress
from espdeploy.recipes import device_profile
from espdeploy.records import Record
from espdeploy.shell import run
from espdeploy.specs import BenchSpec

FAKES = Path(__file__).parents[2] / "fakes" / "trtexec" / "install.py"
#: the median of what the fake tool writes: 10.00, 10.01 … 10.04 ms in turns
TOOL_MS = 10.02


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Target:
    spec = importlib.util.spec_from_file_location("fake_trtexec_install", FAKES)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    program = module.install(tmp_path / "bin", "10.3.0")
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    (tmp_path / "net.onnx").write_bytes(b"x")
    engine = tmp_path / "net.engine"
    run([str(program), f"--onnx={tmp_path / 'net.onnx'}", f"--saveEngine={engine}", "--skipInference"], timeout_s=60)
    return Target(name="net", sha256="0" * 64, provenance={}, precision="fp16", path=engine)


def _record(example_records: ModuleType, own_ms: float, runtime: str = "tensorrt") -> Record:
    record: Record = example_records.make()
    gpu = dataclasses.replace(record.latency_ms, p50=own_ms)
    engine = dataclasses.replace(record.engine, runtime=runtime)
    return dataclasses.replace(record, gpu_latency_ms=gpu, engine=engine)


def _request() -> BenchRequest:
    target = TargetRequest(profile=device_profile("desktop"))
    return BenchRequest(target=target, spec=BenchSpec(trials=20, duration_min_s=1, warmup_min_s=0.1), cross_check=True)


@pytest.mark.parametrize(("own_ms", "passed"), [(10.02, True), (10.2, True), (10.3, False), (9.7, False)])
def test_two_percent_is_the_limit(example_records: ModuleType, target: Target, own_ms: float, passed: bool) -> None:
    record = _record(example_records, own_ms)
    check = check_against_tool(_request(), target, record, Watch(SystemClock(), no_progress))
    assert check.median_ms == pytest.approx(TOOL_MS, abs=0.011)
    assert check.difference_pct == pytest.approx(abs(TOOL_MS / own_ms - 1) * 100, abs=0.15)
    assert check.passed is passed
    assert "10.3" in check.tool
    judged = with_check(record, check)
    assert judged.cross_check == check
    assert ("cross_check" in {finding.code for finding in judged.findings}) is not passed


def test_what_cannot_be_checked_is_refused_with_the_reason(example_records: ModuleType, target: Target) -> None:
    with pytest.raises(UsageError):
        check_possible(device_profile("cpu"))
    watch = Watch(SystemClock(), no_progress)
    with pytest.raises(MissingCapability, match="torch-cuda"):
        check_against_tool(_request(), target, _record(example_records, 10.0, "torch-cuda"), watch)
    without = dataclasses.replace(_record(example_records, 10.0), gpu_latency_ms=None)
    with pytest.raises(MissingCapability, match="no time on the GPU"):
        check_against_tool(_request(), target, without, watch)
