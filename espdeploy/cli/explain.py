"""``espdeploy explain``: what limits a run, in a few sentences with figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from espdeploy import units
from espdeploy.cli import options
from espdeploy.cli.output import Column, Output

_LONGEST_NAME = 70
_LEAST_SHARE_PCT = 1.0
_MOST_MODULES = 20
_Rows = Sequence[Sequence[str]]


def explain(
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="TARGET…",
            help="Of one run: a record or a folder of them, the .onnx file, a layer profile, layer information or log "
            "of trtexec, what nsys, ncu or nvprof wrote. Two layer profiles are set side by side.",
        ),
    ],
    device: Annotated[
        str | None, typer.Option("--device", metavar="NAME", help="Whose limits count; a record names its own.")
    ] = None,
    precision: options.OptionalPrecision = None,
    gpu_mhz: Annotated[
        float | None, typer.Option("--gpu-mhz", min=1, help="The GPU's clock in the run; a record tells it.")
    ] = None,
    size: options.Size = None,
    top: Annotated[int, typer.Option("--top", metavar="N", min=1, help="Layers or changes in the table.")] = 10,
    json: options.Json = False,
) -> None:
    """Say what limits a run: launching, memory, arithmetic, divergence, changes of layout; and what usually helps.

    Each limit comes with its evidence, the one that explains most first. What the files do not tell is not guessed.
    """
    from espdeploy.pipeline.profiling.explain import ExplainRequest
    from espdeploy.pipeline.profiling.explain import explain as explained
    from espdeploy.specs import ImageSize

    request = ExplainRequest(
        targets=tuple(targets),
        device=device,
        precision=precision,
        gpu_mhz=gpu_mhz,
        size=ImageSize.parse(size) if size else None,
    )
    document = explained(request)
    output = Output(as_json=json)
    if json:
        output.json(document)
        return
    show(output, document, top)


def show(output: Output, document: Mapping[str, Any], top: int) -> None:
    """Sentences and tables on standard output, notes on standard error."""
    if document["simulated"]:
        output.line("SIMULATED: a stand-in's figures")
    if document["limits"]:
        _limits(output, document["limits"])
    else:
        for sentence in document["sentences"]:
            output.line(sentence)
    _roofline(output, document["roofline"])
    _comparison(output, document["comparison"], top)
    _layers(output, document["layers"], top)
    _modules(output, document["modules"])
    for note in document["notes"]:
        output.note(note)


def _limits(output: Output, limits: Sequence[Mapping[str, Any]]) -> None:
    for number, limit in enumerate(limits, start=1):
        output.line(f"{number}. {limit['text']}")
        output.line(f"   do: {limit['do']}")
    columns = [Column(head="limit"), Column(head="explains at most %", numeric=True)]
    output.table(columns, [[limit["code"], _figure(limit["share_pct"])] for limit in limits])


def _roofline(output: Output, roof: Mapping[str, Any] | None) -> None:
    if roof is None:
        return
    names = (
        "multiply-adds",
        "MB moved at least",
        "operations/byte",
        "attainable GFLOPS",
        "achieved GFLOPS",
        "bound by",
    )
    row = [
        units.count(roof["macs"]),
        units.significant(units.mb_from_bytes(roof["bytes"]), 4),
        f"{_figure(roof['intensity'])} (ridge {_figure(roof['ridge'])})",
        units.significant(roof["attainable_gflops"], 4),
        units.significant(roof["achieved_gflops"], 4),
        roof["bound"],
    ]
    output.table([Column(head=name, numeric=name != "bound by") for name in names], [row], title="roofline")


def _layers(output: Output, layers: Sequence[Mapping[str, Any]], top: int) -> None:
    longest = sorted(layers, key=lambda layer: -(layer["mean_ms"] or 0.0))[:top]
    rows = [
        [
            _cut(layer["name"]),
            layer["kind"],
            units.significant(layer["mean_ms"], 4),
            _figure(layer["time_pct"]),
            units.count(layer["macs"]) if layer["macs"] else "–",
            units.significant(layer["floor_ms"], 3),
            ", ".join(module or "the network itself" for module in layer["modules"][:3]),
        ]
        for layer in longest
    ]
    heads = ("layer", "kind", "*mean ms", "*share %", "*MACs", "*floor ms", "modules")
    _table(output, heads, rows, f"layers: the first {len(rows)} of {len(layers)}")


def _modules(output: Output, modules: Sequence[Mapping[str, Any]]) -> None:
    worth = [module for module in modules if (module["time_pct"] or 0.0) >= _LEAST_SHARE_PCT][:_MOST_MODULES]
    rows = [
        [
            "  " * module["module"].count(".") + (module["module"] or "the network itself"),
            units.significant(module["mean_ms"], 4),
            _figure(module["time_pct"]),
            units.significant(module["overhead_ms"], 3),
            units.count(module["macs"]),
        ]
        for module in worth
    ]
    heads = ("module, with all in it", "*mean ms", "*share %", "*overhead ms", "*MACs")
    _table(output, heads, rows, "modules of the network")


def _comparison(output: Output, comparison: Mapping[str, Any] | None, top: int) -> None:
    if comparison is None:
        return
    kinds = [[item["kind"], _ms(item["base_ms"]), _ms(item["new_ms"])] for item in comparison["kinds"]]
    _table(output, ("layers that", "*first ms", "*second ms"), kinds, f"{comparison['base']} and {comparison['new']}")
    changes = [
        [
            change["verdict"],
            change["kind"],
            _ms(change["base_ms"]),
            _ms(change["new_ms"]),
            f"{change['change_ms']:+.4g}",
            _cut(" | ".join(change["new"] or change["base"])),
        ]
        for change in comparison["changes"][:top]
        if change["change_ms"]
    ]
    heads = ("", "kind", "*first ms", "*second ms", "*change ms", "layers")
    _table(output, heads, changes, "what changed most")
    modules = [
        [module["module"] or "the network itself", _ms(module["base_ms"]), _ms(module["new_ms"])]
        for module in comparison["modules"]
    ]
    _table(output, ("module, with all in it", "*first ms", "*second ms"), modules, "modules of the network")


def _table(output: Output, heads: Sequence[str], rows: _Rows, title: str) -> None:
    """A head with ``*`` is of numbers; nothing is printed without rows."""
    if rows:
        columns = [Column(head=head.removeprefix("*"), numeric=head.startswith("*")) for head in heads]
        output.table(columns, rows, title=title)


def _ms(value: float | None) -> str:
    return units.significant(value, 4)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
