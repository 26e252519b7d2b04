"""Whatever the tool wrote, with the keys of ``espdeploy parse``."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import IO

from espdeploy.profilers.trtexec.layer_info import LayerInfo, read_layer_info
from espdeploy.profilers.trtexec.layer_profile import read_profile
from espdeploy.profilers.trtexec.log import TrtexecLog, read_log
from espdeploy.profilers.trtexec.times import DEFAULT_WARMUP_MS, Times, read_times, summed_up
from espdeploy.profilers.trtexec.values import LayerProfile, Summary, Version

KIND = "trtexec"
#: how much of a file its kind is told by
HEAD_CHARS = 1 << 16
_LONGEST_LINE = 1 << 16
_JSON_KINDS = (
    ("layers", re.compile(r'\{\s*"Layers"\s*:')),
    ("times", re.compile(r'\[\s*\{[^{}]*"startComputeMs"\s*:')),
    ("profile", re.compile(r'\[\s*(?:\{\s*"count"\s*:|\{\s*"name"\s*:[^{}]*(?:\{[^{}]*\}[^{}]*)*"averageMs"\s*:)')),
)
_LOG = re.compile(
    r"&&&& (?:RUNNING|PASSED|FAILED) \S*(?:trtexec|tensorrt)|=== Performance summary ==="
    r"|\[(?:TRT|TensorRT)\] ?(?:\[[VIWEF]\]|(?:ERROR|WARNING|INFO):)|\[[VIWEF]\] ?\[TRT\]"
    r"|: [IWEF] tensorflow/\S*tensorrt/\S*trt_logger\.cc:\d+\]"
)


def recognise(head: str) -> str | None:
    """``log``, ``times``, ``profile`` or ``layers``, told by a file's first characters; None for anything else."""
    text = head.lstrip("\ufeff \t\r\n")
    if text[:1] in ("[", "{"):
        found = next((kind for kind, pattern in _JSON_KINDS if pattern.match(text)), None)
        if found is not None:
            return found
    return "log" if _LOG.search(head) else None


def parse(stream: IO[str], *, warmup_ms: float = DEFAULT_WARMUP_MS) -> dict[str, object] | None:
    """What a file tells, with the keys of ``parse``; None where the tool did not write it.

    Args:
        stream: the file's text; it need not be seekable.
        warmup_ms: of the run whose rows these are, where the file holds rows.
    """
    head = stream.read(HEAD_CHARS)
    kind = recognise(head)
    if kind is None:
        return None
    whole = _Rejoined(head, stream)
    if kind == "times":
        return of_times(read_times(whole, warmup_ms=warmup_ms), warmup_ms)
    if kind == "profile":
        return of_profile(read_profile(whole))
    if kind == "layers":
        return of_layer_info(read_layer_info(whole))
    return of_log(read_log(whole.lines()))


def of_log(log: TrtexecLog) -> dict[str, object]:
    """A log: the first run with figures, and all runs where there are several."""
    document = _of_run(log.told)
    if len(log.runs) > 1:
        document["runs"] = [_of_run(run) for run in log.runs]
        document["notes"] = [
            f'the log holds {len(log.runs)} runs; what stands outside "runs" is the first with figures'
        ]
    return document


def of_times(times: Times, warmup_ms: float) -> dict[str, object]:
    """The rows of a run."""
    notes = (
        [f"{times.warmup_dropped} rows of the warm-up ({warmup_ms:g} ms) are left out"] if times.warmup_dropped else []
    )
    if times.documents > 1:
        notes.append(f"the file holds {times.documents} runs; the first is read")
    compute, latency = summed_up(times.gpu_compute_ms), summed_up(times.latency_ms)
    return {
        **_blank(),
        "latency_ms": latency.document() if latency else None,
        "gpu_compute_ms": compute.document() if compute else None,
        "rows": int(times.gpu_compute_ms.size),
        "damaged": times.damaged,
        "notes": notes,
    }


def of_profile(profile: LayerProfile) -> dict[str, object]:
    """The times of layers."""
    return {
        **_blank(),
        "layers": _layers(profile),
        "iterations": profile.iterations,
        "damaged": profile.damaged,
    }


def of_layer_info(info: LayerInfo) -> dict[str, object]:
    """The layers of an engine, with what they are computed in."""
    told = "" if info.detailed else "the engine was built without --profilingVerbosity=detailed: names alone are known"
    return {
        **_blank(),
        "layers": [
            {"name": layer.name, "mean_ms": None, "time_pct": None, "type": layer.kind, "precision": layer.precision}
            for layer in info.layers
        ],
        "convolution_precision_pct": info.convolution_pct,
        "bindings": list(info.bindings),
        "damaged": info.damaged,
        "notes": [told] if told else [],
    }


def _of_run(run: Summary) -> dict[str, object]:
    return {
        "kind": KIND,
        "version": _dotted(run.version),
        "passed": run.passed,
        "latency_ms": run.latency.document() if run.latency else None,
        "gpu_compute_ms": run.gpu_compute.document() if run.gpu_compute else None,
        "enqueue_ms": run.enqueue.document() if run.enqueue else None,
        "throughput_qps": run.throughput_qps,
        "layers": _layers(run.profile),
        "errors": [{"code": error.code, "text": error.text} for error in run.errors],
        "warnings": list(run.warnings),
        "device": run.device,
        "compute_capability": run.compute_capability,
        "command": run.command,
    }


def _blank() -> dict[str, object]:
    """What a JSON export does not tell."""
    return {
        "kind": KIND,
        "version": None,
        "passed": None,
        "latency_ms": None,
        "gpu_compute_ms": None,
        "throughput_qps": None,
        "layers": [],
        "errors": [],
    }


def _layers(profile: LayerProfile | None) -> list[dict[str, object]]:
    return [
        {"name": layer.name, "mean_ms": layer.mean_ms, "time_pct": layer.time_pct}
        for layer in (profile.layers if profile else ())
    ]


def _dotted(version: Version | None) -> str | None:
    return ".".join(str(part) for part in version) if version else None


class _Rejoined:
    """A stream whose head was read already, whole again."""

    def __init__(self, head: str, rest: IO[str]) -> None:
        self._head = io.StringIO(head)
        self._rest = rest

    def read(self, size: int, /) -> str:
        return self._head.read(size) or self._rest.read(size)

    def lines(self) -> Iterator[str]:
        """Lines; those of megabytes in pieces."""
        while line := self._head.readline(_LONGEST_LINE) or self._rest.readline(_LONGEST_LINE):
            whole = line.endswith("\n") or len(line) == _LONGEST_LINE
            yield line if whole else line + self._rest.readline(_LONGEST_LINE)
