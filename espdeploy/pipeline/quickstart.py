"""``espdeploy quickstart``: the whole way once: export, build, benchmark, report."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from espdeploy import lazy
from espdeploy.backends.registry import RUNTIMES
from espdeploy.errors import MissingCapability
from espdeploy.pipeline.building.build import BuildRequest, build_engine
from espdeploy.pipeline.export import ExportRequest, export_model
from espdeploy.pipeline.measuring.bench import benchmark
from espdeploy.pipeline.measuring.request import Benched, BenchRequest
from espdeploy.pipeline.measuring.targets import TargetRequest
from espdeploy.pipeline.report import write_report
from espdeploy.protocols import Progress
from espdeploy.recipes import device_profile
from espdeploy.specs import BenchSpec, ModelSpec

_MODEL = "espnet"
_RUNTIMES = ("onnxruntime", "openvino")


@dataclass(frozen=True, kw_only=True)
class QuickstartDone:
    """The page to open, the network that was measured, and the records that the page draws."""

    report: Path
    onnx: Path
    benched: tuple[Benched, ...]


def run_quickstart(folder: Path, trials: int, progress: Progress) -> QuickstartDone:
    """Export ESPNet, build it for each runtime that is installed, measure each, and draw the report.

    Raises:
        MissingCapability: no runtime is installed, or ``folder`` cannot be written.
        EspdeployError: as each of the stages does.
    """
    installed = [name for name in _RUNTIMES if lazy.available(RUNTIMES[name][2])]
    if not installed:
        raise MissingCapability("no runtime is installed", do='pip install "espdeploy[export,cpu]"')
    profile = device_profile("cpu")
    onnx = folder / f"{_MODEL}.onnx"
    export_model(ExportRequest(model=ModelSpec(name=_MODEL), profile=profile), onnx, progress)
    benched: list[Benched] = []
    for runtime in installed:
        engine = folder / "engines" / f"{_MODEL}.{runtime}.onnx"
        build_engine(BuildRequest(onnx=onnx, profile=profile, precision="fp32", runtime=runtime), engine, progress)
        request = BenchRequest(
            target=TargetRequest(profile=profile, engine=engine),
            spec=BenchSpec(trials=trials),
            command=shlex.join(["espdeploy", "bench", str(engine), "--device", "cpu", "--trials", str(trials)]),
        )
        progress(0, trials, f"measuring in {runtime}")
        benched += benchmark(request, folder / "results", progress)
    report = write_report(folder / "results", folder / "report.html")
    return QuickstartDone(report=report.path, onnx=onnx, benched=tuple(benched))
