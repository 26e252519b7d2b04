"""From what was observed in a benchmark to the record that is kept."""

from __future__ import annotations

import secrets
import sys
from dataclasses import dataclass

from espdeploy import __version__
from espdeploy.backends.registry import TAKES_MODULES
from espdeploy.bench import checks, energy, protocol, statistics
from espdeploy.bench.loop import Measurement
from espdeploy.devices.detect import Machine
from espdeploy.monitors.sampler import Sampler
from espdeploy.pipeline.measuring.sources import Sources
from espdeploy.pipeline.measuring.timing import Timed
from espdeploy.pipeline.measuring.verdicts import judged
from espdeploy.protocols import RunnerFacts
from espdeploy.records import (
    SCHEMA,
    Accuracy,
    DeviceInfo,
    EngineInfo,
    Finding,
    GpuFrequency,
    ModelInfo,
    Overhead,
    Power,
    Protocol,
    Record,
    Scalar,
    Series,
    Thermal,
    Utilization,
)
from espdeploy.specs import BenchSpec, DeviceProfile

_RANDOM_WEIGHTS = "random initialisation"


@dataclass(frozen=True, kw_only=True)
class ClockState:
    """What was asked of clocks and power mode, and what was set. ``locked`` is False where the clocks float."""

    requested_mhz: float | None = None
    set_mhz: float | None = None
    power_mode: str | None = None
    locked: bool = False
    sweep: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Observed:
    """Everything that was seen in one benchmark, and what it was seen of."""

    started: str
    profile: DeviceProfile
    machine: Machine
    spec: BenchSpec
    model: ModelInfo
    facts: RunnerFacts
    precision: str
    provenance: dict[str, Scalar]
    timed: Timed
    sampler: Sampler
    sources: Sources
    clocks: ClockState = ClockState()
    simulated: bool = False
    idle_before_w: float | None
    idle_after_w: float | None
    idle_util_pct: float | None
    thermal: Thermal
    accuracy: Accuracy | None
    command: str | None
    notes: tuple[str, ...]
    cell: str | None = None
    stopped: bool = False  # Ctrl-C came when every trial was done: this is kept, and nothing more is begun

    @property
    def measurement(self) -> Measurement:
        """Every trial."""
        return self.timed.measurement

    def mean(self, channel: str | None) -> float | None:
        """A channel's mean over the measured window; None without the channel, or without a value."""
        if channel is None:
            return None
        window = self.measurement
        return self.sampler.mean(channel, start_ns=window.window_start_ns, end_ns=window.window_end_ns)


def record_of(seen: Observed) -> Record:
    """The record, with every figure computed once, here."""
    measurement = seen.measurement
    batch = seen.model.input_shape[0]
    power, doubts = _power(seen, batch)
    utilization = _utilization(seen)
    thermal, verdicts = judged(seen)
    findings = [*checks.findings(_evidence(seen, utilization)), *doubts, *verdicts]
    return Record(
        schema=SCHEMA,
        id=secrets.token_hex(6),
        started=seen.started,
        espdeploy_version=__version__,
        notes=_notes(seen, thermal),
        model=seen.model,
        engine=_engine(seen),
        protocol=_protocol(seen, batch),
        device=_device(seen),
        latency_ms=statistics.summarise(measurement.times_ms),
        gpu_latency_ms=statistics.summarise(seen.timed.compute_ms) if seen.timed.compute_ms else None,
        fps=measurement.fps(batch=batch),
        trials=measurement.trials,
        warmup_trials=measurement.warmup.trials,
        steady=measurement.warmup.steady and not any(finding.code == "drift" for finding in findings),
        power=power,
        utilization=utilization,
        thermal=thermal,
        accuracy=seen.accuracy,
        findings=findings,
        traces=_traces(seen),
        overhead=Overhead(timer_us=seen.timed.timer_us, sampler_cpu_pct=seen.sampler.cpu_pct),
        command=seen.command,
        interrupted=measurement.interrupted,
        launch=seen.timed.launch,
        sweep=seen.clocks.sweep,
        cell=seen.cell,
    )


def _protocol(seen: Observed, batch: int) -> Protocol:
    way = seen.timed.way
    return protocol.build(
        seen.spec,
        threads=seen.facts.threads,
        batch=batch,
        transfers=way.transfers,
        cuda_graph=way.cuda_graph,
        spin_wait=way.spin_wait,
        clock=way.clock,
        warmup_rule=way.warmup_rule,
    )


def _engine(seen: Observed) -> EngineInfo:
    shares = seen.facts.precision_share_pct
    return EngineInfo(
        runtime=seen.facts.runtime,
        runtime_version=seen.facts.runtime_version,
        precision=seen.precision,
        precision_share_pct=dict(shares) if shares is not None else None,
        provenance=seen.provenance,
        sha256=seen.model.sha256,
        provider=seen.facts.provider,
    )


def _device(seen: Observed) -> DeviceInfo:
    profile, machine, clocks = seen.profile, seen.machine, seen.clocks
    return DeviceInfo(
        name=profile.name,
        gpu=profile.gpu.name if profile.gpu else None,
        cpu=machine.cpu_model,
        compute_capability=profile.gpu.compute_capability if profile.gpu else None,
        power_mode=clocks.power_mode,
        gpu_freq_mhz=GpuFrequency(
            requested=clocks.requested_mhz, set=clocks.set_mhz, mean=seen.mean(seen.sources.channel("gpu_freq"))
        ),
        driver=machine.nvidia_driver,
        l4t=machine.l4t,
        cpu_cores=machine.cores_available,
        memory_total_mb=machine.memory_total_mb,
        os=machine.os,
        python=machine.python,
        cpu_governor=machine.cpu_governor,
        simulated=seen.simulated,
    )


def _power(seen: Observed, batch: int) -> tuple[Power | None, tuple[Finding, ...]]:
    source = seen.sources.power
    if source is None:
        return None, ()
    window = energy.Window(
        start_ns=seen.measurement.window_start_ns,
        end_ns=seen.measurement.window_end_ns,
        trials=seen.measurement.trials,
        batch=batch,
        idle_before_w=seen.idle_before_w,
        idle_after_w=seen.idle_after_w,
    )
    period_s = max(seen.spec.sample_period_s, source.period_s or 0)
    if source.energy_channel is not None:
        times_ns, energy_j = seen.sampler.readings(source.energy_channel)
        counted = energy.EnergyReadings(
            source=source.name, rails=source.rails, t_ns=times_ns, energy_j=energy_j, period_s=period_s
        )
        result = energy.from_counter(counted, window=window)
    else:
        # what was read outside is idle power or another load, and would be mixed in at both edges
        times_ns, power_w = seen.sampler.readings(source.power_channel, start_ns=window.start_ns, end_ns=window.end_ns)
        sampled = energy.PowerReadings(
            source=source.name, rails=source.rails, t_ns=times_ns, power_w=power_w, period_s=period_s
        )
        result = energy.from_power(sampled, window=window)
    return result.power, result.findings


def _utilization(seen: Observed) -> Utilization:
    mean = seen.mean
    return Utilization(
        cpu_pct=mean("cpu_pct"),
        gpu_pct=mean(seen.sources.channel("gpu_util")),
        memory_pct=mean("memory_pct"),
        memory_used_mb=mean("memory_used_mb"),
        process_cpu_pct=mean("process_cpu_pct"),
        process_rss_mb=mean("process_rss_mb"),
    )


def _evidence(seen: Observed, utilization: Utilization) -> checks.Evidence:
    swap_mb = [value for value in seen.sampler.readings("swap_used_mb")[1] if value is not None]
    return checks.Evidence(
        times_ms=seen.measurement.times_ms,
        warmup=seen.measurement.warmup,
        timer_overhead_us=seen.timed.timer_us,
        requested_trials=seen.spec.trials,
        interrupted=seen.measurement.interrupted,
        sampler_cpu_pct=seen.sampler.cpu_pct,
        cpu_pct=utilization.cpu_pct,
        process_cpu_pct=utilization.process_cpu_pct,
        cores=seen.machine.cores_online,
        cores_available=seen.machine.cores_available,
        threads=seen.facts.threads,
        cpu_governor=seen.machine.cpu_governor,
        jetson=seen.machine.is_jetson,
        on_battery=seen.machine.on_battery,
        memory_pct=utilization.memory_pct,
        swap_start_mb=swap_mb[0] if swap_mb else None,
        swap_end_mb=swap_mb[-1] if swap_mb else None,
        precision=seen.precision,
        precision_share_pct=seen.facts.precision_share_pct,
        performance_only=bool(seen.provenance.get("performance_only")),
    )


def _traces(seen: Observed) -> dict[str, Series]:
    """Every raw time, and every sampled channel over the measured window."""
    window = seen.measurement
    sampled = seen.sampler.series(
        zero_ns=window.window_start_ns, start_ns=window.window_start_ns, end_ns=window.window_end_ns
    )
    return {"latency_ms": window.trace(), **sampled}


def _notes(seen: Observed, thermal: Thermal) -> list[str]:
    """Why a value is missing, and what a reader must know before trusting the row."""
    notes = [*seen.notes, *seen.clocks.notes]
    if seen.simulated:
        notes.append("simulated: a stand-in took the machine's place (ESPDEPLOY_SYSTEM_ROOT), so no figure is real")
    if (seen.model.weights or "").startswith(_RANDOM_WEIGHTS):
        notes.append("the weights are random: speed is that of the network, its answers mean nothing")
    if seen.accuracy is None:
        notes.append(_no_accuracy(seen))
    if seen.facts.runtime not in TAKES_MODULES and "torch" in sys.modules:
        notes.append("process_rss_mb includes PyTorch, loaded for the export: bench the ONNX file to leave it out")
    if seen.sources.power_note:
        notes.append(seen.sources.power_note)
    if seen.profile.kind == "cpu":
        notes.append("gpu_latency_ms, gpu_pct and gpu_freq_mhz are null: nothing ran on a GPU")
    elif seen.sources.channel("gpu_freq") is None:
        notes.append("gpu_freq_mhz.mean is null: no source tells the GPU's clock here")
    if seen.facts.precision_share_pct is None:
        notes.append("precision_share_pct is null: the runtime does not tell, or the network has no convolution")
    if thermal.throttled is None:
        notes.append("throttled is null: no source tells throttle reasons or a locked clock here")
    return notes


def _no_accuracy(seen: Observed) -> str:
    if seen.facts.runtime in ("trtexec", "tensorrt_rtx"):
        return "accuracy was not evaluated: the tool that timed it gives no answers; eval the ONNX file or a Q/DQ graph"
    return "accuracy was not evaluated: give --data and --labels"
