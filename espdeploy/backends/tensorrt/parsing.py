"""ONNX files into NVIDIA's networks; what the parser refuses, with operator, node and what to do.

Source of the errors: ``OnnxParser.get_error`` and ``ParserError`` of the Python API; their texts are those of
ModelImporter.cpp and onnxOpCheckers.cpp of onnx-tensorrt.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from espdeploy.backends.tensorrt.api import Api
from espdeploy.backends.tensorrt.log import Messages
from espdeploy.errors import InputFileError

_MOST_NAMED = 3
_LONGEST_REASON = 160
_WRITES = re.compile(r'While parsing node number (\d+) \[\S+ -> "([^"]*)"')
_MISSING_FILE = re.compile(r"Failed to open file: (\S.*)")
_NESTED = re.compile(r"Error Code \d+: [\w ]+ \((?:\w+: )?(.*?)(?: In \w+ at /\S+)?\)$", re.MULTILINE)
_QUOTED = re.compile(r'"([^"]{8,})"\s*$')
_CONDITION = re.compile(r"^Assertion failed: (?:.*?\)|\S+(?: [!=<>]=? \S+| && \S+)*): (?=[A-Z])")
#: descriptions that only a developer of the parser can read: the operator is not there
_NOT_THERE = ("false", "plugin creator version 1 was not found", "Plugin not found")
_ELSEWHERE = "write it with other operators, or run the network with --runtime onnxruntime"
#: part of a reason -> what mends it
_ADVICE = {
    "has type Int32 but must have type": "leave biases out of the quantization (onnxruntime: QuantizeBias=False)",
    "zero point is not supported": "quantize symmetrically, as espdeploy build --precision int8 does",
    "to TensorRT data type": "give its inputs another type, such as float32",
    "Node input was not registered": "export the network again: the file lacks a tensor that the node reads",
    "broadcast dimensions must be conformable": "export the network again: the shapes in the file do not fit together",
}


def parse(api: Api, builder: Any, onnx: Path, messages: Messages, *, typed: bool) -> Any:
    """The network of an ONNX file; strongly typed where the release knows nothing else or ``typed`` asks for it.

    Raises:
        InputFileError: the parser refuses the file.
    """
    module = api.module
    strongly_typed = typed or api.abilities.typed_only
    flags = 1 << int(module.NetworkDefinitionCreationFlag.STRONGLY_TYPED) if strongly_typed else 0
    network = builder.create_network(flags)
    parser = module.OnnxParser(network, api.log.logger)
    if not parser.parse_from_file(str(onnx)):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        raise _refusal(api, onnx, errors, messages)
    if not network.num_outputs:
        raise InputFileError(f"{onnx} holds no network", why="it has no output", do="export it again")
    return network


def _refusal(api: Api, onnx: Path, errors: list[Any], messages: Messages) -> InputFileError:
    nodes = [error for error in errors if error.node_operator()]
    if not nodes:
        return _unreadable(api, onnx, errors, messages)
    outputs = {int(number): name for number, name in _WRITES.findall("\n".join(messages.errors))}
    first = nodes[0]
    rest = f" and {len(nodes) - 1} more" if len(nodes) > 1 else ""
    reason = reason_of(first.desc())
    reasons = [reason or f"{api.label} has no {first.node_operator()}"]
    reasons += [f"also {_named(error, outputs)}" for error in nodes[1:_MOST_NAMED]]
    return InputFileError(
        f"{api.label} cannot take {_named(first, outputs)}{rest} of {onnx}",
        why="; ".join(reasons),
        do=next((advice for part, advice in _ADVICE.items() if part in first.desc()), _ELSEWHERE),
    )


def _unreadable(api: Api, onnx: Path, errors: list[Any], messages: Messages) -> InputFileError:
    """The file as a whole is the trouble: weights that are not there, inputs of a strange type, no graph at all."""
    missing = _MISSING_FILE.search("\n".join(messages.errors))
    if missing is not None:
        return InputFileError(
            f"{api.label} cannot read {onnx}: it keeps weights in {missing[1]}, which cannot be opened",
            do=f"put that file beside {onnx.name}, or export the network again into one file",
        )
    said = [error.desc() for error in errors] or list(messages.errors)
    why = reason_of(said[0]) if said else ""
    do = next((advice for part, advice in _ADVICE.items() if part in why), "check that it is whole; export it again")
    return InputFileError(f"{api.label} cannot read {onnx}", why=why, do=do)


def _named(error: Any, outputs: dict[int, str]) -> str:
    """The operator with its node's name, or, where it has none, with the tensor that it writes."""
    name, output = error.node_name(), outputs.get(error.node(), "")
    where = f' (node "{name}")' if name else f' (the node that writes "{output}")' if output else ""
    return f"the operator {error.node_operator()}{where}"


def reason_of(text: str) -> str:
    """What an error's description says to people; empty where it says only that the operator is not there."""
    nested = _NESTED.search(text)
    if nested is not None:
        return nested[1].strip()[:_LONGEST_REASON]
    if text.strip() == "false" or any(part in text for part in _NOT_THERE[1:]):
        return ""
    quoted = _QUOTED.search(text)
    plain = quoted[1] if quoted else _CONDITION.sub("", text.strip().splitlines()[0] if text.strip() else "")
    return plain[:_LONGEST_REASON]
