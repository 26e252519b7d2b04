"""``espdeploy sensitivity``: what each layer costs in accuracy when it alone goes to a lower precision."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from espdeploy import lazy
from espdeploy.errors import MissingCapability, UsageError
from espdeploy.pipeline.building.judging import Judge, keep, opened
from espdeploy.pipeline.building.lower import table_for
from espdeploy.pipeline.building.lowering import Lowering, judged_by, lowering, read_network
from espdeploy.pipeline.building.ranking import Ranking, check_picture, write_picture
from espdeploy.pipeline.building.trusted_runtime import REFERENCE, Trusted, trusted_runtime
from espdeploy.pipeline.engine_files.opening import available_threads, check_precision
from espdeploy.protocols import Progress
from espdeploy.quantize.sensitivity import Effect, each_alone, ranked
from espdeploy.specs import DeviceProfile, RunSpec

PRECISIONS = ("int8", "fp16", "bf16")
#: runtimes that compute each precision as the graph says it
_RUNTIMES = {"int8": (REFERENCE, "openvino"), "fp16": (REFERENCE,), "bf16": (REFERENCE,)}
#: images that are judged by where the command does not say
USUAL_IMAGES = 12
_NAMES_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class SensitivityRequest:
    """Which network is examined, in which precision, on what, and where the picture goes."""

    onnx: Path
    data: Path
    labels: Path | None
    calibration: Path | None
    profile: DeviceProfile
    precision: str = "int8"
    limit: int | None = None
    runtime: str | None = None
    threads: int | None = None
    output: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """Each layer's effect alone, worst first, and the effect of all of them together.

    ``operators`` is by layer; ``left`` names layers that cannot go to the precision, with the reason.
    """

    onnx: Path
    precision: str
    runtime: str
    images: int
    images_available: int
    labelled: bool
    effects: dict[str, Effect]
    operators: Mapping[str, str]
    together: Effect
    left: Mapping[str, str]
    output: Path | None = None
    notes: tuple[str, ...] = ()

    def document(self) -> dict[str, object]:
        """As ``sensitivity --json`` prints it."""
        return {
            "output": None if self.output is None else str(self.output),
            "onnx": str(self.onnx),
            "precision": self.precision,
            "runtime": self.runtime,
            "images": self.images,
            "images_available": self.images_available,
            "labelled": self.labelled,
            "layers": [
                {"layer": layer, "operator": self.operators[layer], **_measures(effect)}
                for layer, effect in self.effects.items()
            ],
            "all_layers": _measures(self.together),
            "left": dict(self.left),
            "notes": list(self.notes),
        }

    def ranking(self) -> Ranking:
        """As it is drawn."""
        scored = "mIOU" if self.labelled else "agreement with FP32"
        return Ranking(
            network=self.onnx.name,
            precision=self.precision,
            labelled=self.labelled,
            rows=[(layer, self.operators[layer], effect) for layer, effect in self.effects.items()],
            together=self.together,
            measured=f"{len(self.effects)} layers, {scored} on {self.images} images, computed in {self.runtime}.",
            notes=self.notes,
        )


@dataclass(kw_only=True)
class _Trier:
    """Judges one graph after the other; a runtime that is fast but may go wrong is asked twice where it seems to."""

    judge: Judge
    lowering: Lowering
    trusted: Trusted
    threads: int
    together: Effect | None = None
    wrong: list[str] = field(default_factory=list)

    def all_layers(self) -> Effect:
        self.together = self._effect(self.lowering.layers, self.trusted.runtime)
        return self.together

    def alone(self, layer: str) -> Effect:
        found = self._effect([layer], self.trusted.runtime)
        if self.trusted.doubtful and self.together is not None and _worse(found, self.together):
            right = self._effect([layer], REFERENCE)
            if _worse(found, right):
                self.wrong.append(layer)
                return right
        return found

    def _effect(self, layers: Collection[str], runtime: str) -> Effect:
        spec = RunSpec(runtime=runtime, precision=opened_as(self.lowering.precision), threads=self.threads)
        with opened(self.lowering.graph(layers), spec) as runner:
            return self.judge.effect(runner)


def opened_as(precision: str) -> str:
    """The precision that a runtime is opened at; to FP16 and bf16 the graph itself rounds, in FP32."""
    return "mixed" if precision == "int8" else "fp32"


def measure(request: SensitivityRequest, progress: Progress) -> Sensitivity:
    """Bring one layer after the other to the lower precision and compare with FP32 on the same images.

    Raises:
        UsageError: an unknown precision or runtime, a table that is missing or of no use, too many images, or labels
            that cannot be used.
        InputFileError: an unusable network, table, image or label.
        MissingCapability: the device lacks the precision, a package is not installed, or the picture cannot be written.
    """
    _check(request)
    table = table_for(request.onnx, request.precision, request.calibration)
    progress(0, None, "reading the network")
    network = read_network(request.onnx, table)
    lower = lowering(network, request.precision, table)
    images = judged_by(network, request.data, request.labels)
    threads = request.threads or available_threads()
    with opened(network.model, RunSpec(runtime=_first(request), precision="fp32", threads=threads)) as reference:
        judge = keep(reference, images, limit=request.limit, usual=USUAL_IMAGES, progress=progress)
    progress(0, None, "choosing the runtime")
    trier = _Trier(
        judge=judge, lowering=lower, trusted=_trusted(request, lower, judge, threads=threads), threads=threads
    )
    together = trier.all_layers()
    effects = each_alone(lower.layers, trier.alone, progress)
    found = Sensitivity(
        onnx=request.onnx,
        precision=request.precision,
        runtime=trier.trusted.runtime,
        images=judge.images,
        images_available=len(images.pairs),
        labelled=images.classes is not None,
        effects={layer: effects[layer] for layer in ranked(effects)},
        operators=network.layers,
        together=together,
        left=lower.left,
        output=request.output,
        notes=_notes(request, trier, effects, available=len(images.pairs)),
    )
    if request.output is not None:
        write_picture(found.ranking(), request.output)
    return found


def _check(request: SensitivityRequest) -> None:
    """Refuse what cannot be had before any slow work."""
    if request.precision not in PRECISIONS:
        raise UsageError(
            f'no layer can go to "{request.precision}" alone',
            why="single layers are tried in the precisions below FP32",
            do=f"--precision {', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}",
        )
    if request.precision in request.profile.refused_precisions:
        check_precision(request.profile, request.precision)
    able = _RUNTIMES[request.precision]
    if request.runtime is not None and request.runtime not in able:
        raise UsageError(
            f'single layers in {request.precision} are not tried out in "{request.runtime}"',
            why="it would compute them in another precision" if request.runtime == "openvino" else "",
            do=f"--runtime {' or '.join(able)}",
        )
    check_picture(request.output)


def _first(request: SensitivityRequest) -> str:
    """The runtime that gives the FP32 answers."""
    if request.runtime is not None:
        return request.runtime
    here = next((name for name in _RUNTIMES[request.precision] if lazy.available(name)), None)
    if here is None:
        raise MissingCapability(
            f"no runtime that tries out {request.precision} is installed", do='pip install "espdeploy[cpu]"'
        )
    return here


def _trusted(request: SensitivityRequest, lower: Lowering, judge: Judge, *, threads: int) -> Trusted:
    if request.runtime is not None or request.precision != "int8":
        return Trusted(runtime=_first(request))
    whole = lower.graph(lower.layers)
    return trusted_runtime(lower.network.model, whole, judge.feed, images=judge.images, threads=threads)


def _worse(found: Effect, other: Effect) -> bool:
    """Whether one seems to lose clearly more than the other: twice the error of the outputs."""
    return found.error is not None and other.error is not None and found.error > 2 * other.error


def _notes(
    request: SensitivityRequest, trier: _Trier, effects: Mapping[str, Effect], *, available: int
) -> tuple[str, ...]:
    notes, judge = list(trier.trusted.notes), trier.judge
    if trier.wrong:
        notes.append(f"{trier.trusted.runtime} computes {_some(trier.wrong)} alone in INT8 wrongly: {REFERENCE} did it")
    if judge.images < available:
        more = "" if request.limit else "; --limit takes more"
        notes.append(f"{judge.images} of {available} images, evenly spread over their names{more}")
    table = trier.lowering.table
    if table is not None and table.random:
        notes.append("the calibration table is from made-up inputs: these losses are not those of real ranges")
    endless = [
        layer for layer, effect in effects.items() if effect.error is not None and not math.isfinite(effect.error)
    ]
    if endless:
        notes.append(f"the outputs are not finite with {_some(endless)} alone in {request.precision}")
    if request.precision != "int8":
        notes.append(f"{request.precision}: the numbers that a layer multiplies are rounded, its sums are in FP32")
    return tuple(notes)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more


def _measures(effect: Effect) -> dict[str, object]:
    return {
        "drop_pct": effect.drop_pct,
        "drop_ci95_pct": effect.drop_ci95_pct,
        "agreement_pct": effect.agreement_pct,
        "relative_error": effect.error,
    }
