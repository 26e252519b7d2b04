"""An ONNX file that TensorRT's parser refuses: which operator, which node, and what helps.

The parser's report has a form for each generation: up to 8.x ``While parsing node number 5 [Det -> "y"]:`` and the node
as protobuf text (``name: "…"``, ``op_type: "…"``); from 10 on ``Node name: …``; before it, where a plugin was looked
for, ``No importer registered for op: Det`` and ``could not find plugin: Det``. Sources: ModelImporter.cpp of
onnx-tensorrt at 8.0 to 10.x, and TensorRT-RTX 1.7, which was given such files.
"""

from __future__ import annotations

import re

from espdeploy.errors import EspdeployError, InputFileError

_PARSING = re.compile(r'While parsing node number \d+ \[(?P<op>[^\]\s]+)(?: -> "[^"]*")?')
_OPERATOR = re.compile(r'op_type: "(?P<op>[^"]+)"')
_PLUGIN = re.compile(r"(?:[Cc]ould not find plugin:?|Cannot find plugin:) (?P<op>[^\s,]+)")
_IMPORTER = re.compile(r"No importer registered for op: (?P<op>\w+)")
_NODE = re.compile(r'^(?:Node name: (?P<plain>.+)|name: "(?P<quoted>[^"]+)")\s*$', re.MULTILINE)
_REASON = re.compile(
    r"^\[\d+\] (?:Assertion failed: )?(?P<why>.+)$|In function \w+:\s*\n(?:\[\d+\] )?(?P<after>.+)$", re.MULTILINE
)
_REFUSED = re.compile(r"Failed to parse onnx file|Parsing model failed|UNSUPPORTED_NODE|failed to parse ONNX")
_UNREADABLE = re.compile(
    r"Could not open file|Failed to parse ONNX model from file|Error parsing message|invalid wire type"
)
#: what stands in for operators that networks of this field use
_INSTEAD = {"MaxUnpool": "the zoo's enet writes its unpooling with Where and DepthToSpace"}


def explain(text: str, *, network: str, who: str) -> EspdeployError | None:
    """The error for a network that the parser refused; None where the text tells of no such thing."""
    operator, node = operator_and_node(text)
    if operator is None and not _REFUSED.search(text):
        return None
    if operator is None:
        do = "check that the file is whole and an ONNX graph; export it again"
        unreadable = _UNREADABLE.search(text)
        return InputFileError(f"{who} cannot read {network}", why=unreadable[0] if unreadable else _reason(text), do=do)
    where = f' (node "{node}")' if node else ""
    hint = _INSTEAD.get(operator)
    return InputFileError(
        f"{who} cannot take the operator {operator}{where} of {network}",
        why=_reason(text),
        do=(f"{hint}; or " if hint else "")
        + "write it with other operators, choose a newer TensorRT, or run it with --runtime onnxruntime",
    )


def operator_and_node(text: str) -> tuple[str | None, str | None]:
    """The operator that was refused, and its node's name, where the parser gives them."""
    parsing = _PARSING.search(text)
    begin = parsing.start() if parsing else 0
    named = _NODE.search(text, begin)
    node = (named["plain"] or named["quoted"]).strip() if named else None
    for pattern in (_OPERATOR, _PLUGIN, _PARSING):
        match = pattern.search(text, begin if pattern is not _PLUGIN else 0)
        if match is not None:
            return match["op"], node
    refused = _IMPORTER.search(text) if _REFUSED.search(text) or "Plugin not found" in text else None
    return (refused["op"], node) if refused else (None, node)


def _reason(text: str) -> str:
    """What the parser says of it, without the C++ around it; empty where it says nothing a user can use."""
    for match in _REASON.finditer(text):
        why = (match["why"] or match["after"] or "").strip()
        why = re.sub(r'^creator && "|"$', "", why)
        if why and why not in ("false", "Invalid Node"):
            return why[:150]
    return ""
