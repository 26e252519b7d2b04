"""Made-up records for tests of the store, the report and the comparison. No figure here was ever measured.

``example.profile.json`` beside this file is a profile of the same kind.
"""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median, quantiles, stdev
from typing import Any

from espdeploy.records import (
    SCHEMA,
    Accuracy,
    CrossCheck,
    DeviceInfo,
    Distribution,
    EngineInfo,
    Finding,
    FrequencySensitivity,
    GpuFrequency,
    Launch,
    ModelInfo,
    Overhead,
    Power,
    Protocol,
    Record,
    SensitivityStep,
    Series,
    Thermal,
    Utilization,
)

_SAMPLE_PERIOD_S = 0.1
_FP16: dict[str, Any] = {"precision": "fp16", "precision_share_pct": {"fp16": 100.0}}


def raw_times(count: int, centre_ms: float, *, seed: int = 0, drift: float = 0.0, spike: float = 3.0) -> list[float]:
    """Skewed times around ``centre_ms``, some of them ``spike`` times as long, growing by ``drift`` to the end."""
    draw = random.Random(seed)  # noqa: S311
    times = []
    for index in range(count):
        base = centre_ms * (1 + drift * index / count) * (1 + abs(draw.gauss(0, 0.012)) + draw.gauss(0, 0.006))
        times.append(base * spike if draw.random() < 0.008 else base)
    return times


def summarised(times: list[float]) -> Distribution:
    cuts = quantiles(times, n=100, method="inclusive") if len(times) > 1 else [times[0]] * 99
    error = 1.96 * (stdev(times) if len(times) > 1 else 0.0) / len(times) ** 0.5
    return Distribution(
        mean=fmean(times),
        std=stdev(times) if len(times) > 1 else None,
        min=min(times),
        p50=median(times),
        p90=cuts[89] if len(times) >= 100 else None,
        p95=cuts[94] if len(times) >= 200 else None,
        p99=cuts[98] if len(times) >= 1000 else None,
        max=max(times),
        ci95=(fmean(times) - error, fmean(times) + error) if len(times) >= 5 else None,
    )


def latency_trace(times_ms: list[float]) -> Series:
    starts, now_s = [], 0.0
    for time_ms in times_ms:
        starts.append(now_s)
        now_s += time_ms / 1000
    return Series(t_s=starts, values=list(times_ms))


def usage_traces(length_s: float, *, seed: int = 0) -> dict[str, Series]:
    draw = random.Random(seed)  # noqa: S311
    t_s = [index * _SAMPLE_PERIOD_S for index in range(-3, max(2, int(length_s / _SAMPLE_PERIOD_S)))]

    def channel(centre: float, spread: float) -> Series:
        values: list[float | None] = [max(0.0, draw.gauss(centre, spread)) for _ in t_s]
        return Series(t_s=list(t_s), values=[None, *values[1:]])

    return {
        "cpu_pct": channel(54, 4),
        "process_cpu_pct": channel(196, 3),
        "memory_used_mb": channel(3120, 5),
        "process_rss_mb": channel(412, 1),
        "rapl_power_w": channel(23, 1.1),
        "rapl_energy_j": Series(t_s=list(t_s), values=[23.0 * max(t, 0) for t in t_s]),
    }


def make(**changes: Any) -> Record:
    """A record of a plausible run on a laptop's CPU, with ``changes`` to its fields."""
    times = raw_times(240, 24.0)
    record = Record(
        schema=SCHEMA,
        id="0f3a9c41d2b7",
        started="2026-02-03T09:14:05+00:00",
        espdeploy_version="0.0-test",
        notes=[],
        model=model("espnet", 364_569),
        engine=engine(),
        protocol=protocol(),
        device=device(),
        latency_ms=summarised(times),
        gpu_latency_ms=None,
        fps=1000 / fmean(times),
        trials=len(times),
        warmup_trials=61,
        steady=True,
        power=None,
        utilization=Utilization(
            cpu_pct=54.2,
            gpu_pct=None,
            memory_pct=38.0,
            memory_used_mb=3121.0,
            process_cpu_pct=196.0,
            process_rss_mb=412.5,
        ),
        thermal=Thermal(start_c=51.0, end_c=63.0, throttled=False),
        accuracy=None,
        findings=[],
        traces={"latency_ms": latency_trace(times), **usage_traces(sum(times) / 1000)},
        overhead=Overhead(timer_us=0.21, sampler_cpu_pct=0.7),
        command="espdeploy bench --model espnet --device cpu --size 1024x512 --trials 240 --results results",
    )
    return replace(record, **changes)


def timed(times_ms: list[float], **changes: Any) -> Record:
    """A record of exactly these times."""
    traces = {"latency_ms": latency_trace(times_ms), **usage_traces(sum(times_ms) / 1000, seed=len(times_ms))}
    fields = {
        "latency_ms": summarised(times_ms),
        "fps": 1000 / fmean(times_ms),
        "trials": len(times_ms),
        "traces": traces,
    }
    return make(**(fields | changes))


def model(name: str, params: int | None, *, macs: int | None = 4_500_000_000, **changes: Any) -> ModelInfo:
    info = ModelInfo(
        name=name,
        params=params,
        macs=macs,
        size_mb=None if params is None else params * 4 / 1e6,
        input_shape=(1, 3, 512, 1024),
        sha256=hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest(),
        settings={"classes": 20},
        weights="espnet_p_2_q_3.pth",
    )
    return replace(info, **changes)


def engine(**changes: Any) -> EngineInfo:
    info = EngineInfo(
        runtime="openvino",
        runtime_version="2025.3.0",
        precision="fp32",
        precision_share_pct={"fp32": 100.0},
        provenance={"source": "espnet.onnx", "optimisation": "default"},
        sha256=hashlib.sha256(b"engine").hexdigest(),
        provider="CPU",
    )
    return replace(info, **changes)


def protocol(**changes: Any) -> Protocol:
    info = Protocol(
        id="v1-4be1c09a",
        warmup_s=1.0,
        min_trials=200,
        cuda_graph=None,
        spin_wait=None,
        transfers=None,
        threads=2,
        batch=1,
    )
    return replace(info, **changes)


def device(**changes: Any) -> DeviceInfo:
    info = DeviceInfo(
        name="cpu",
        gpu=None,
        cpu="Example CPU 5 1234U",
        cpu_cores=8,
        memory_total_mb=16_310.0,
        os="Linux 6.8",
        python="3.11.9",
        cpu_governor="performance",
    )
    return replace(info, **changes)


def power(mean_w: float, fps: float) -> Power:
    return Power(
        source="rapl",
        rails=["package-0"],
        mean_w=mean_w,
        max_w=mean_w * 1.12,
        ci95_w=(mean_w * 0.99, mean_w * 1.01),
        idle_before_w=7.4,
        idle_after_w=7.9,
        energy_per_inference_j=mean_w / fps,
        net_energy_per_inference_j=(mean_w - 7.6) / fps,
        samples=58,
        period_ms=100.0,
    )


def suite() -> list[Record]:
    """Six comparable records with power, a board that is simulated under another protocol, and a run cut short."""
    spread = Finding(
        code="drift",
        severity="warning",
        text="the last third of the trials took +6 % against the first third; likely heat or a falling clock",
        do="cool the device, or set a lower power mode, and measure again",
    )
    governor = Finding(
        code="cpu_governor",
        severity="info",
        text='the CPU governor is "powersave": clocks follow the load',
        do="sudo cpupower frequency-set -g performance",
    )
    rows = [
        ("espnet", 364_569, 4_500_000_000, "fp32", 24.0, 23.1),
        ("espnet", 364_569, 4_500_000_000, "int8", 11.6, 19.8),
        ("espnetv2", 1_250_000, 2_700_000_000, "fp32", 19.2, 22.4),
        ("espnetv2", 1_250_000, 2_700_000_000, "int8", 9.9, 20.1),
        ("enet", 363_000, 4_350_000_000, "fp32", 33.5, 24.0),
        ("erfnet", 2_070_000, 26_900_000_000, "fp32", 88.0, 25.2),
    ]
    records = []
    for index, (name, params, macs, precision, centre_ms, mean_w) in enumerate(rows):
        times = raw_times(240, centre_ms, seed=index, drift=0.06 if name == "erfnet" else 0.0)
        shares = {"fp32": 100.0} if precision == "fp32" else {"int8": 92.3, "fp32": 7.7}
        records.append(
            timed(
                times,
                id=f"0f3a9c41d2b{index}",
                started=f"2026-02-03T09:{14 + 4 * index}:05+00:00",
                model=model(name, params, macs=macs, weights=f"{name}.pth" if index < 4 else "random, seed 0"),
                engine=engine(precision=precision, precision_share_pct=shares),
                power=power(mean_w, 1000 / fmean(times)),
                accuracy=None
                if index > 3
                else Accuracy(metric="miou_pct", value=60.3 - index, reference_value=60.4, data="cityscapes/val"),
                findings=[governor, spread] if name == "erfnet" else [governor],
                steady=name != "erfnet",
                command=f"espdeploy bench --model {name} --device cpu --precision {precision} --results results",
            )
        )
    return [*records, _simulated(), _cut_short()]


def _simulated() -> Record:
    times = raw_times(1200, 8.0, seed=9)
    board = device(
        name="tx2",
        gpu="Example GPU",
        cpu="Example ARM CPU",
        compute_capability="6.2",
        power_mode="MAXN",
        gpu_freq_mhz=GpuFrequency(requested=824.0, set=854.25, mean=853.1),
        cpu_cores=6,
        simulated=True,
    )
    times_gpu = [time - 0.7 for time in times]
    return timed(
        times,
        id="51fb22",
        started="2026-02-03T10:00:00+00:00",
        device=board,
        protocol=protocol(id="v1-91f0aa37", threads=None, cuda_graph=True, spin_wait=False, transfers="excluded"),
        engine=engine(runtime="tensorrt", runtime_version="8.2.1", provider=None, **_FP16),
        gpu_latency_ms=summarised(times_gpu),
        power=power(9.4, 120.0),
    )


def _cut_short() -> Record:
    return timed(
        [24.4],
        id="77ab01",
        started="2026-02-03T10:05:00+00:00",
        interrupted=True,
        steady=False,
        notes=["interrupted after 1 of 200 trials", "power: /sys/class/powercap may not be read by this user"],
        findings=[
            Finding(
                code="interrupted",
                severity="error",
                text="the run was interrupted after 1 of 200 trials",
                do="run it again to the end",
            )
        ],
        command=None,
    )


#: frequency in MHz, latency in ms, power and idle power in W: time = 2.1 ms + 6.4 ms x 1300.5 MHz / clock
_TX2_STEPS = (
    (318.75, 28.21, 3.35, 1.62),
    (522.75, 18.02, 4.12, 1.68),
    (726.75, 13.55, 5.21, 1.77),
    (930.75, 11.04, 7.05, 1.90),
    (1300.5, 8.50, 12.4, 2.21),
)


def sweep() -> list[Record]:
    """A sweep of a simulated TX2 over five GPU frequencies, the first measured once more at its end."""
    pairs = [_sensitivity(low, high) for low, high in pairwise(_TX2_STEPS)]
    shared = FrequencySensitivity(pairs=pairs, span=_sensitivity(_TX2_STEPS[0], _TX2_STEPS[-1]))
    return [
        replace(_stop(_TX2_STEPS[step], seed=index), id=f"5eeb{index}", frequency_sensitivity=shared)
        for index, step in enumerate((4, 0, 3, 1, 2, 4))
    ]


def _sensitivity(low: tuple[float, ...], high: tuple[float, ...]) -> SensitivityStep:
    value = (1 - high[1] / low[1]) / (high[0] / low[0] - 1)
    return SensitivityStep(from_mhz=low[0], to_mhz=high[0], value=value, ci95=(value - 0.03, value + 0.03))


def _stop(step: tuple[float, ...], *, seed: int) -> Record:
    mhz, centre_ms, mean_w, idle_w = step
    times = raw_times(220, centre_ms * (1.012 if seed == 5 else 1.0), seed=seed, spike=1.2)
    fps = 1000 / fmean(times)
    rails = replace(
        power(mean_w, fps),
        source="ina3221",
        rails=["VDD_IN", "VDD_SYS_GPU", "VDD_SYS_CPU"],
        idle_before_w=idle_w,
        idle_after_w=idle_w + 0.08,
        net_energy_per_inference_j=(mean_w - idle_w) / fps,
        samples=200,
    )
    on_gpu = [time - 0.4 for time in times]
    board = device(
        name="tx2",
        gpu="GP10B (Pascal)",
        cpu="ARMv8 (6 cores)",
        compute_capability="6.2",
        power_mode="MAXN",
        gpu_freq_mhz=GpuFrequency(requested=round(mhz), set=mhz, mean=mhz - 0.6),
        cpu_cores=6,
        l4t="32.7.4",
        simulated=True,
    )
    return timed(
        times,
        started=f"2026-02-04T08:{10 + 3 * seed}:00+00:00",
        model=model("espnet", 364_569, weights="espnet_p_2_q_8.pth"),
        device=board,
        protocol=protocol(id="v1-tx2sweep", threads=None, cuda_graph=False, spin_wait=True, transfers="excluded"),
        engine=engine(runtime="trtexec", runtime_version="8.2.1", provider=None, **_FP16),
        gpu_latency_ms=summarised(on_gpu),
        launch=Launch(enqueue_p50_ms=1.9, enqueue_ratio=1.9 / median(on_gpu)),
        power=rails,
        sweep="9c2fd1",
    )


def on_gpu(**changes: Any) -> Record:
    """A run on a desktop's GPU at a floating clock, with launch figures and a cross-check."""
    times = raw_times(1200, 2.4, seed=3)
    fields = {
        "id": "d35c70",
        "started": "2026-02-05T07:30:00+00:00",
        "device": device(
            name="desktop",
            gpu="Example RTX 4070",
            compute_capability="8.9",
            driver="570.86",
            gpu_freq_mhz=GpuFrequency(mean=2475.3),
        ),
        "protocol": protocol(id="v1-desktop", threads=None, cuda_graph=True, spin_wait=True, transfers="included"),
        "engine": engine(runtime="tensorrt", runtime_version="10.9.0", provider=None, **_FP16),
        "gpu_latency_ms": summarised([time - 0.31 for time in times]),
        "launch": Launch(enqueue_p50_ms=0.21, enqueue_ratio=0.1, upload_p50_ms=0.16, download_p50_ms=0.05),
        "cross_check": CrossCheck(
            tool="trtexec", median_ms=2.11, own_median_ms=2.1, difference_pct=0.48, limit_pct=2.0, passed=True
        ),
        "power": replace(power(131.0, 410.0), source="nvml", rails=["board"], idle_before_w=14.0, idle_after_w=21.0),
    }
    return timed(times, **(fields | changes))


def profile_document(**changes: Any) -> dict[str, Any]:
    """What ``espdeploy profile`` writes of a run under nvprof on a simulated TX2, with ``changes`` to its keys."""
    return json.loads(Path(__file__).with_name("example.profile.json").read_text(encoding="utf-8")) | changes
