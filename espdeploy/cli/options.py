"""Options that several commands share, each worded once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from espdeploy.errors import UsageError

DAY_S = 86_400  # a longer phase is a slip, and infinity one that never ends
_MOST_THREADS = 1024  # beyond it runtimes take minutes and gigabytes to start them, or are killed


def _model_names(incomplete: str) -> list[str]:
    from espdeploy.networks.registry import REGISTRY

    return [name for name in REGISTRY if name.startswith(incomplete)]


def _device_names(incomplete: str) -> list[str]:
    from espdeploy.recipes import device_profiles

    return [name for name in device_profiles() if name.startswith(incomplete)]


Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output and nothing else.")]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="A network of the zoo, package.module:factory, or an .onnx file.",
        autocompletion=_model_names,
    ),
]
OptionalModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        help="A network of the zoo, package.module:factory, or an .onnx file.",
        autocompletion=_model_names,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A hyper-parameter of the network, such as alpha3=3. Repeatable."),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        metavar="FILE",
        help="A checkpoint, or what `weights fetch` brought, by its name; settings are read off its tensors.",
    ),
]
Size = Annotated[
    str | None, typer.Option("--size", metavar="WxH", help="Input size as WIDTHxHEIGHT, such as 1024x512.")
]
Batch = Annotated[str, typer.Option("--batch", metavar="N|dynamic", help="Images per inference.")]
Opset = Annotated[
    int | None, typer.Option("--opset", metavar="N", help="ONNX opset; the device's own where not given.")
]
Device = Annotated[
    str,
    typer.Option("--device", metavar="NAME", help="A device of `espdeploy devices`.", autocompletion=_device_names),
]
Runtime = Annotated[
    str | None,
    typer.Option("--runtime", metavar="R", help="onnxruntime, openvino or torch; the device's first where not given."),
]
OptionalRuntime = Annotated[
    str | None,
    typer.Option("--runtime", metavar="R", help="onnxruntime or openvino; the one that is fastest here if not given."),
]
Precision = Annotated[str, typer.Option("--precision", metavar="P", help="fp32, fp16, bf16, int8 or mixed.")]
OptionalPrecision = Annotated[
    str | None,
    typer.Option("--precision", metavar="P", help="fp32, fp16, bf16, int8 or mixed; the engine's own where not given."),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads",
        min=1,
        max=_MOST_THREADS,
        help="CPU threads for inference; all that this process may use if not given.",
    ),
]
Engine = Annotated[Path | None, typer.Argument(metavar="ENGINE_OR_ONNX", help="An engine or an .onnx file.")]
Results = Annotated[Path, typer.Option("--results", metavar="DIR", help="Folder for the records.")]
DataFolder = Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Folder of images.")]
LabelFolder = Annotated[
    Path | None, typer.Option("--labels", metavar="DIR", help="Folder of label maps, named as the images are.")
]


def weights_from(given: Path | None) -> Path | None:
    """The file that ``--weights`` names, or the fetched one of that name where there is no such file here.

    Raises:
        InputFileError: it is the name of a released file that was not fetched yet.
    """
    from espdeploy.pipeline.weights import local

    return None if given is None else local(given)


def settings_from(items: list[str] | None) -> dict[str, str]:
    """``["alpha3=3"]`` as ``{"alpha3": "3"}``.

    Raises:
        UsageError: an item without ``=``, or the same key twice.
    """
    settings: dict[str, str] = {}
    for item in items or []:
        key, sign, value = item.partition("=")
        if not sign or not key.strip():
            raise UsageError(f'--set "{item}" is not KEY=VALUE', do="for example --set alpha3=3")
        if key.strip() in settings:
            raise UsageError(f"--set {key.strip()} is given twice", do="give it once")
        settings[key.strip()] = value.strip()
    return settings


def batch_from(text: str) -> int | None:
    """``4`` as 4 and ``dynamic`` as None.

    Raises:
        UsageError: neither.
    """
    if text == "dynamic":
        return None
    if not text.isdecimal() or int(text) == 0:
        raise UsageError(f'--batch "{text}" is neither a number above 0 nor "dynamic"')
    return int(text)
