"""What ``espdeploy parse`` read, for people: the same tables for every tool where they tell the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from espdeploy import units
from espdeploy.cli.output import Column, Output
from espdeploy.records import Finding

_BAR = 20
_EIGHTHS = "▏▎▍▌▋▊▉"
_FIGURES = ("min", "mean", "median", "p99", "max")
_LONGEST_LAYER = 80
_MOST_RUNS, _MOST_WARNINGS = 20, 3
_Document = Mapping[str, Any]
_Cells = list[list[str]]


def show(output: Output, document: _Document, top: int) -> None:
    """Tables of what a document holds on standard output; errors, findings and notes on standard error."""
    tables = (
        _kernels(output, document, top),
        _categories(output, document),
        _memory(output, document),
        _counters(output, document),
        _calls(output, document, top),
        _trtexec(output, document),
        _layers(output, document, top),
        _board(output, document),
        _gpus(output, document),
    )
    if not any(tables):
        output.line(f"{document['kind']}: nothing was measured")
    _messages(output, document)


def bar(share_pct: float | None) -> str:
    """A share as a bar of blocks, to an eighth of one; 100 % is 20 blocks."""
    eighths = round(max(0.0, min(share_pct or 0.0, 100.0)) / 100 * _BAR * 8)
    return "█" * (eighths // 8) + (_EIGHTHS[eighths % 8 - 1] if eighths % 8 else "")


def _kernels(output: Output, document: _Document, top: int) -> bool:
    kernels = document.get("kernels") or []
    rows = [
        [
            kernel["short_name"],
            kernel["category"],
            units.count(kernel["calls"]),
            units.significant(kernel["total_ms"], 4),
            units.significant(kernel["mean_us"], 4),
            _pct(kernel["time_pct"]),
            bar(kernel["time_pct"]),
        ]
        for kernel in kernels[:top]
    ]
    heads = ("kernel", "category", "*calls", "*total ms", "*mean µs", "*share %", "")
    where = " ".join(str(document[key]) for key in ("kind", "tool_version") if document.get(key))
    device = f" on {document['device']}" if document.get("device") else ""
    more = f", the first {top} of {len(kernels)}" if len(kernels) > top else ""
    return _table(output, heads, rows, f"{where}{device}: kernels{more}")


def _categories(output: Output, document: _Document) -> bool:
    shares = document.get("categories") or {}
    kinds = document.get("category_kinds") or {}
    rows = []
    for name, share in sorted(shares.items(), key=lambda item: -(item[1] or 0.0)):
        if share:
            rows.append([name, _pct(share), bar(share)])
            of_it = sorted(kinds.get(name, {}).items(), key=lambda item: -item[1])
            rows += [[f"  {kind}", _pct(part), bar(part)] for kind, part in of_it]
    shown = _table(output, ("category", "*share %", ""), rows, "what the time goes to")
    if rows:
        output.line(
            f"memory movement and layout changes: {_pct(document['memory_alignment_pct'])} % of the kernels' time"
        )
    return shown


def _memory(output: Output, document: _Document) -> bool:
    rows = [
        [
            operation["name"],
            units.count(operation["calls"]),
            units.significant(operation["total_ms"], 4),
            units.significant(operation["total_mb"], 4),
        ]
        for operation in document.get("memops") or []
    ]
    return _table(output, ("copy or set", "*calls", "*total ms", "*MB"), rows, "memory operations")


def _counters(output: Output, document: _Document) -> bool:
    rows = []
    for name, metric in (document.get("metrics") or {}).items():
        key = next(key for key in metric if key.startswith("mean_"))
        values = [kernel[key] for kernel in metric["per_kernel"] if kernel[key] is not None]
        least, greatest = (min(values), max(values)) if values else (None, None)
        rows.append(
            [
                f"{name} {_unit(key)}",
                units.significant(metric[key], 4),
                metric["weighted_by"],
                units.significant(least, 4),
                units.significant(greatest, 4),
                str(len(values)),
            ]
        )
    heads = ("counter", "*mean", "weighted by", "*least kernel", "*greatest kernel", "*kernels")
    return _table(output, heads, rows, "counters, as nvprof defines them")


def _calls(output: Output, document: _Document, top: int) -> bool:
    """Calls and ranges on the processor, where a file tells nothing of kernels: beside those they say little."""
    if document.get("kernels"):
        return False
    shown = False
    for key, head in (("api", "call of CUDA"), ("api_calls", "call of CUDA"), ("nvtx", "NVTX range")):
        calls = document.get(key) or []
        figures = [(one["name"], one["calls"], one["total_ms"], one["mean_us"]) for one in calls[:top]]
        rows = [
            [name, units.count(count), units.significant(total_ms, 4), units.significant(mean_us, 4)]
            for name, count, total_ms, mean_us in figures
        ]
        title = f"{document['kind']}: on the processor, the first {len(rows)} of {len(calls)}"
        shown |= _table(output, (head, "*calls", "*total ms", "*mean µs"), rows, title)
    return shown


def _verdict(output: Output, document: _Document) -> None:
    """Of a log; what trtexec exports beside it holds times of layers alone, and no verdict to miss."""
    passed = {True: "passed", False: "failed", None: "not told whether it passed"}[document["passed"]]
    if document["passed"] is not None or document["version"] or document["gpu_compute_ms"]:
        output.line(f"trtexec {document['version'] or ''}: {passed}".replace(" :", ":"))


def _trtexec(output: Output, document: _Document) -> bool:
    if document["kind"] != "trtexec":
        return False
    _verdict(output, document)
    names = {"latency_ms": "latency", "gpu_compute_ms": "GPU compute", "enqueue_ms": "enqueue"}
    rows = [
        [text, *(units.significant(document[key].get(figure), 4) for figure in _FIGURES)]
        for key, text in names.items()
        if document.get(key)
    ]
    _table(output, ("ms", *(f"*{figure}" for figure in _FIGURES)), rows, None)
    if document["throughput_qps"] is not None:
        output.line(f"throughput: {units.significant(document['throughput_qps'], 4)} queries/s")
    untimed = [layer for layer in document["layers"] if layer["mean_ms"] is None]
    if untimed:
        output.line(f"{len(untimed)} of {len(document['layers'])} layers are named without times")
    _runs(output, document)
    return True


def _runs(output: Output, document: _Document) -> None:
    """One line for each run of a log that holds several; above are the figures of the first."""
    rows = [
        [
            str(number),
            {True: "passed", False: "failed", None: ""}[run["passed"]],
            units.significant((run["gpu_compute_ms"] or {}).get("median"), 4),
            units.significant(run["throughput_qps"], 4),
            _cut(run["command"] or ""),
        ]
        for number, run in enumerate(document.get("runs") or [], start=1)
    ]
    heads = ("*run", "", "*median GPU ms", "*queries/s", "command")
    _table(output, heads, rows[:_MOST_RUNS], f"the first {len(rows[:_MOST_RUNS])} of {len(rows)} runs")


def _layers(output: Output, document: _Document, top: int) -> bool:
    layers = [layer for layer in document.get("layers") or [] if layer["mean_ms"] is not None]
    layers.sort(key=lambda layer: -layer["mean_ms"])
    rows = [
        [
            _cut(layer["name"]),
            units.significant(layer["mean_ms"], 4),
            _pct(layer["time_pct"]),
            bar(layer["time_pct"]),
        ]
        for layer in layers[:top]
    ]
    return _table(
        output, ("layer", "*mean ms", "*share %", ""), rows, f"layers: the first {len(rows)} of {len(layers)}"
    )


def _board(output: Output, document: _Document) -> bool:
    if document["kind"] != "tegrastats":
        return False
    rows = [
        [f"{name} {unit}", units.significant(value.get("mean"), 4), units.significant(value.get("max"), 4)]
        for name, unit, value in (
            ("GPU load", "%", document["gpu"]["util_pct"]),
            ("GPU clock", "MHz", document["gpu"]["freq_mhz"]),
            ("CPU load", "%", document["cpu"]["util_pct"]),
            ("cores online", "", document["cpu"]["cores_online"]),
            ("memory", "MB", {"mean": document["ram_mb"]["used_mean"], "max": document["ram_mb"]["used_max"]}),
            *((rail, "mW", power) for rail, power in document["rails_mw"].items()),
            *((zone, "°C", heat) for zone, heat in document["temps_c"].items()),
        )
        if value.get("mean") is not None
    ]
    samples = "1 sample" if document["samples"] == 1 else f"{document['samples']:,} samples"
    title = f"tegrastats: {samples} of {document['device_hint'] or 'a board that is not known'}"
    return _table(output, ("", "*mean", "*max"), rows, title)


def _gpus(output: Output, document: _Document) -> bool:
    rows = [
        [
            str(gpu["index"] if gpu["index"] is not None else ""),
            gpu["name"] or "",
            units.count(gpu["samples"]),
            units.significant(gpu["power_w"]["mean"], 4),
            units.significant(gpu["power_w"]["max"], 4),
            units.significant(gpu["util_pct"]["mean"], 4),
            units.significant(gpu["sm_clock_mhz"]["mean"], 4),
        ]
        for gpu in document.get("gpus") or []
    ]
    heads = ("GPU", "name", "*samples", "*mean W", "*max W", "*load %", "*SM MHz")
    return _table(output, heads, rows, "nvidia-smi")


def _messages(output: Output, document: _Document) -> None:
    told = document.get("errors") or []
    errors = []
    for at, error in enumerate(told):  # what is to be done about several at once is said once, after the last
        again = at + 1 < len(told) and told[at + 1]["do"] == error["do"]
        do = "" if again else error["do"]
        errors.append(Finding(code=str(error["code"]), severity="error", text=error["text"], do=do))
    found = [Finding(**finding) for finding in document.get("findings") or []]
    output.findings([*errors, *found])
    skipped = document.get("skipped_lines") or document.get("damaged")
    if skipped:
        output.note(f"{skipped:,} damaged {'line is' if skipped == 1 else 'lines are'} left out")
    warnings = document.get("warnings") or []
    for warning in warnings[:_MOST_WARNINGS]:
        output.note(f"warning of {document['kind']}: {warning}")
    if len(warnings) > _MOST_WARNINGS:
        output.note(f"and {len(warnings) - _MOST_WARNINGS} more warnings (--json has them)")
    for note in document.get("notes") or []:
        output.note(note)
    for name, metric in (document.get("metrics") or {}).items():
        for note in metric["notes"]:
            output.note(f"{name}: {note}")


def _table(output: Output, heads: Sequence[str], rows: _Cells, title: str | None) -> bool:
    """Whether there were rows; a head with ``*`` is of numbers."""
    if rows:
        columns = [Column(head=head.removeprefix("*"), numeric=head.startswith("*")) for head in heads]
        output.table(columns, rows, title=title)
    return bool(rows)


def _pct(share: float | None) -> str:
    return "–" if share is None else f"{share:.1f}"


def _unit(key: str) -> str:
    unit = key.removeprefix("mean_")
    return {"pct": "%", "gb_per_s": "GB/s"}.get(unit, unit)


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST_LAYER else f"{name[: _LONGEST_LAYER - 1]}…"
