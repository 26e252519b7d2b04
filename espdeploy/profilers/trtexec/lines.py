"""A line of the tool's log: how severe, and what it says.

trtexec writes ``[05/14/2022-02:21:17] [W] [TRT] …``, the Python API of TensorRT 8 and later ``[TRT] [W] …`` behind the
same time, and TensorRT 7's ``[TensorRT] ERROR: …``; wrappers and documentation leave the time out. TensorFlow passes
its messages on as ``… : W tensorflow/…/trt_logger.cc:34] DefaultLogger …``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_LINE = re.compile(
    r"(?:\[\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d\] ?)?"
    r"(?P<marks>(?:\[(?:TRT|TensorRT|TensorRT-RTX|[VIWEF])\] ?){0,3})"
    r"(?P<text>.*)",
    re.DOTALL,
)
_TENSORFLOW = re.compile(r".{0,60}: ([VIWEF]) tensorflow/\S{1,200}trt_logger\.cc:\d+\] (?:DefaultLogger )?")
_SEVERITY = re.compile(r"\[([VIWEF])\]")
_WORD = re.compile(r"(?P<word>VERBOSE|INFO|WARNING|ERROR|INTERNAL_ERROR): ?")
_OF_WORD = {"VERBOSE": "V", "INFO": "I", "WARNING": "W", "ERROR": "E", "INTERNAL_ERROR": "F"}
_CODE = re.compile(r"Error Code (\d{1,3})\b|^Error\[(\d{1,3})\]|^(\d{1,3}): ")
_LONGEST = 4000


@dataclass(frozen=True, kw_only=True)
class Line:
    """``severity`` is V, I, W, E or F, or empty where the line carries no mark."""

    severity: str
    text: str


def read_line(raw: str) -> Line:
    """The line without its marks; anything is a line."""
    line = raw.rstrip("\r\n")[:_LONGEST]
    if "\x1b" in line:
        line = _ANSI.sub("", line)
    passed_on = _TENSORFLOW.match(line) if "trt_logger.cc" in line else None
    if passed_on is not None:
        return Line(severity=passed_on[1], text=line[passed_on.end() :])
    match = _LINE.match(line)
    marks, text = (match["marks"], match["text"]) if match else ("", line)
    severity = _SEVERITY.search(marks)
    if severity is not None:
        return Line(severity=severity[1], text=text)
    word = _WORD.match(text)
    if word is not None and (marks or word["word"] == "ERROR"):
        return Line(severity=_OF_WORD[word["word"]], text=text[word.end() :])
    return Line(severity="", text=text)


def error_code(text: str) -> int | None:
    """TensorRT's ErrorCode (NvInferRuntimeBase.h): 1 is unspecified, 2 internal, 4 an invalid configuration, …"""
    match = _CODE.search(text)
    return int(next(group for group in match.groups() if group)) if match else None
