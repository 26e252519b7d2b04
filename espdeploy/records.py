"""What was measured: the record that `bench` writes, `report` draws and `compare` reads.

The field names are the public contract: add to them freely, never rename or drop one.
Units stand in the names; None means not measured, and ``notes`` says why.
"""

from __future__ import annotations

from dataclasses import dataclass, field

#: raised when a reader of the older schema could misread a newer record
SCHEMA = 1

Scalar = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """The network.

    ``params`` and ``macs`` (for one image at ``input_shape``) are plain counts; ``size_mb`` is what the
    parameters take as FP32.
    """

    name: str
    params: int | None
    macs: int | None
    size_mb: float | None
    input_shape: tuple[int, ...]
    sha256: str
    settings: dict[str, Scalar] = field(default_factory=dict)
    weights: str | None = None


@dataclass(frozen=True, kw_only=True)
class EngineInfo:
    """What ran. ``precision_share_pct`` is the share of convolution layers really computed in each precision."""

    runtime: str
    runtime_version: str
    precision: str
    precision_share_pct: dict[str, float] | None
    provenance: dict[str, Scalar]
    sha256: str
    provider: str | None = None


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How it was measured. Records with different ``id`` are never compared."""

    id: str
    warmup_s: float
    min_trials: int
    cuda_graph: bool | None
    spin_wait: bool | None
    transfers: str | None
    threads: int | None
    batch: int
    clock: str = "perf_counter_ns"
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class GpuFrequency:
    """Requested, set (the board's nearest step) and measured GPU clock."""

    requested: float | None = None
    set: float | None = None
    mean: float | None = None


@dataclass(frozen=True, kw_only=True)
class DeviceInfo:
    """The device profile's name and the machine that was found behind it."""

    name: str
    gpu: str | None
    cpu: str | None
    compute_capability: str | None = None
    power_mode: str | None = None
    gpu_freq_mhz: GpuFrequency = field(default_factory=GpuFrequency)
    driver: str | None = None
    l4t: str | None = None
    cpu_cores: int | None = None
    memory_total_mb: float | None = None
    os: str | None = None
    python: str | None = None
    cpu_governor: str | None = None
    simulated: bool = False


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """Summary of times in ms. A percentile that the number of trials cannot bear is None."""

    mean: float
    std: float | None
    min: float
    p50: float
    p90: float | None
    p95: float | None
    p99: float | None
    max: float
    ci95: tuple[float, float] | None  # bootstrap interval of the mean


@dataclass(frozen=True, kw_only=True)
class Power:
    """Power over the measured window. Energy is gross; net has the idle power taken off."""

    source: str
    rails: list[str]
    mean_w: float
    max_w: float | None
    ci95_w: tuple[float, float] | None
    idle_before_w: float | None
    idle_after_w: float | None
    energy_per_inference_j: float
    net_energy_per_inference_j: float | None
    samples: int
    period_ms: float


@dataclass(frozen=True, kw_only=True)
class Utilization:
    """Means over the measured phase, initialisation left out.

    ``cpu_pct`` is of the whole machine (0..100); ``process_cpu_pct`` of this process, in percent of one core.
    """

    cpu_pct: float | None
    gpu_pct: float | None
    memory_pct: float | None
    memory_used_mb: float | None
    process_cpu_pct: float | None = None
    process_rss_mb: float | None = None


@dataclass(frozen=True, kw_only=True)
class Thermal:
    """Temperature of the hottest zone before and after, and whether the device throttled (None: unknown)."""

    start_c: float | None
    end_c: float | None
    throttled: bool | None


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """What the engine's answers are worth. ``reference_value`` is the same metric of the reference engine."""

    metric: str
    value: float
    reference_value: float | None
    data: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A verdict that travels with the numbers. ``severity`` is ``info``, ``warning`` or ``error``."""

    code: str
    severity: str
    text: str
    do: str


@dataclass(frozen=True, kw_only=True)
class Overhead:
    """What measuring itself costs: one empty timed step (None: a tool's), and the sampler's share of one core."""

    timer_us: float | None
    sampler_cpu_pct: float | None


@dataclass(frozen=True, kw_only=True)
class Series:
    """A time series; ``t_s`` is 0 at the first measured trial. ``values`` may hold gaps (None)."""

    t_s: list[float]
    values: list[float | None]


@dataclass(frozen=True, kw_only=True)
class Launch:
    """Medians of the parts of an inference on a GPU: the processor's time in the launch, and copies where there are.

    ``enqueue_ratio`` is that launch over the GPU's time: above 0.8 the processor is what limits.
    """

    enqueue_p50_ms: float
    enqueue_ratio: float
    upload_p50_ms: float | None = None
    download_p50_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class SensitivityStep:
    """Percentage change in execution time over percentage change in GPU frequency, both from ``from_mhz``.

    Positive where a faster clock makes it faster; ``ci95`` is the 95 % interval.
    """

    from_mhz: float
    to_mhz: float
    value: float
    ci95: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True)
class FrequencySensitivity:
    """The sensitivity for neighbouring frequencies of one request, and over their whole span."""

    pairs: list[SensitivityStep]
    span: SensitivityStep


@dataclass(frozen=True, kw_only=True)
class CrossCheck:
    """The same engine timed by the other way: medians of the time on the GPU, and how far they are apart."""

    tool: str
    median_ms: float
    own_median_ms: float
    difference_pct: float
    limit_pct: float
    passed: bool


@dataclass(frozen=True, kw_only=True)
class Record:
    """One measurement."""

    schema: int
    id: str
    started: str
    espdeploy_version: str
    notes: list[str]
    model: ModelInfo
    engine: EngineInfo
    protocol: Protocol
    device: DeviceInfo
    latency_ms: Distribution
    gpu_latency_ms: Distribution | None
    fps: float
    trials: int
    warmup_trials: int
    steady: bool
    power: Power | None
    utilization: Utilization
    thermal: Thermal
    accuracy: Accuracy | None
    findings: list[Finding]
    traces: dict[str, Series]  # "latency_ms" holds every raw time, in order
    overhead: Overhead | None = None
    command: str | None = None  # reproduces the row
    interrupted: bool = False
    launch: Launch | None = None
    cross_check: CrossCheck | None = None
    cell: str | None = None  # of the suite that asked for it
    sweep: str | None = None  # shared by the records of one request over several frequencies
    frequency_sensitivity: FrequencySensitivity | None = None
