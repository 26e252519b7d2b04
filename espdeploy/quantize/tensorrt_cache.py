"""TensorRT's calibration cache: the text file that ``trtexec --int8 --calib=FILE`` reads for TensorRT 8 and 10.

The first line is ``TRT-<version code>-<algorithm>``; each other line is a tensor's name as the ONNX parser keeps it
(the names of the ONNX graph's inputs and node outputs), a colon, a space, and the scale as the hexadecimal digits of a
float32, highest byte first. Scale = amax / 127 (symmetric INT8). From TensorRT 10 on constants that are operands, such
as PReLU's slopes, have entries too (:func:`constant_ranges`). Source: caches that TensorRT 7.2.3, 8.5.1, 10.0.1, 10.3
and 10.10 wrote.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from espdeploy import lazy
from espdeploy.artifacts import write_atomic
from espdeploy.errors import InputFileError, UsageError
from espdeploy.onnx_graph import constants
from espdeploy.quantize.table import TensorRange

#: The algorithm of trtexec's calibrator, the one that reads a cache without images. TensorRT passes over a cache whose
#: header names another algorithm than its calibrator's, and then calibrates anew, with nothing; so this one is written
#: whichever method found the ranges. The method stands in espdeploy's own table.
ENTROPY_2 = "EntropyCalibration2"
#: what a tensor gets that was zero everywhere, where amax / 127 would be no scale: TensorRT wants scales above 0. Zeros
#: stay zeros under any scale; this one, amax 1, keeps the factors of fused layers far from overflow.
SCALE_OF_ZEROS = 1 / 127

#: the first release whose parser names a constant's tensor after it; before, the name counts layers
_CONSTANTS_NAMED_FROM = 100_000
#: operators whose constant inputs become layers of their own; convolutions and normalisations keep theirs as weights
_WITH_OPERANDS = ("PRelu", "Add", "Sub", "Mul", "Div", "Max", "Min", "Pow", "MatMul", "Gemm", "Concat", "Where")

_STEPS = 127
_SMALLEST_NORMAL = 2.0**-126
_HEADER = re.compile(r"TRT-(?P<code>\d{4,7})-(?P<algorithm>[A-Za-z0-9]+)")
_VALUE = re.compile(r"[0-9a-fA-F]{1,8}")
_VERSION = re.compile(r"(?P<major>\d{1,3})\.(?P<minor>\d{1,2})\.(?P<patch>\d{1,2})(?:\.\d+)?")
_CODE = re.compile(r"v?(?P<code>\d{4,7})")
_OLDEST, _NEW_CODES_FROM = 5, 10
_LONGEST_SHOWN = 60


@dataclass(frozen=True, kw_only=True)
class TensorRTCache:
    """A calibration cache: ``scales`` by tensor, in the file's order.

    ``version_code`` as :func:`version_code` makes it. A scale may be infinite (TensorRT writes ``7f800000`` for tensors
    that held infinity, such as attention masks) or 0 (for tensors that were zero everywhere).
    """

    version_code: int
    algorithm: str
    scales: dict[str, float]

    @property
    def header(self) -> str:
        """The first line."""
        return f"TRT-{self.version_code}-{self.algorithm}"

    @property
    def amax(self) -> dict[str, float]:
        """The magnitude that becomes 127, by tensor."""
        return {name: scale * _STEPS for name, scale in self.scales.items()}

    def to_bytes(self) -> bytes:
        """The file's content.

        Raises:
            UsageError: a name holds a line break, or a scale is negative, NaN or beyond float32.
        """
        lines = [self.header, *(f"{_checked_name(name)}: {_hex(name, scale)}" for name, scale in self.scales.items())]
        return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def version_code(version: str) -> int:
    """TensorRT's number for a release, as its headers and caches have it.

    Up to TensorRT 9: ``major * 1000 + minor * 100 + patch``, so 8.5.1 is 8501. From 10 on the major release counts
    10000: 10.3.0 is 100300. Source: NV_TENSORRT_VERSION in TensorRT's headers, and real caches. A code itself is taken
    too, as the first line of trtexec's output shows it (``TensorRT v8201``), and a build number (8.2.1.8) is dropped.

    Raises:
        UsageError: no such release can be.
    """
    code = _CODE.fullmatch(version.strip())
    if code is not None and int(code["code"]) >= _OLDEST * 1000:
        return int(code["code"])
    match = _VERSION.fullmatch(version.strip())
    if match is None or int(match["major"]) < _OLDEST:
        raise UsageError(
            f'"{version}" is no release of TensorRT',
            do="give its three numbers, such as 8.2.1 or 10.3.0; `trtexec --help` begins with them",
        )
    major, minor, patch = (int(match[part]) for part in ("major", "minor", "patch"))
    return major * (10_000 if major >= _NEW_CODES_FROM else 1000) + minor * 100 + patch


def scale_of(amax: float) -> float:
    """The scale for a magnitude: amax / 127 as float32, or :data:`SCALE_OF_ZEROS` where that would vanish."""
    scale = amax / _STEPS
    return SCALE_OF_ZEROS if 0 <= scale < _SMALLEST_NORMAL else scale


def names_constants(version_code: int) -> bool:
    """Whether a release's cache has entries for constants (:func:`constant_ranges`)."""
    return version_code >= _CONSTANTS_NAMED_FROM


def operand_ranges(onnx: Path) -> dict[str, TensorRange]:
    """:func:`constant_ranges` of the releases that have them, for a table that any release may read."""
    return constant_ranges(onnx, version_code=_CONSTANTS_NAMED_FROM)


def constant_ranges(onnx: Path, *, version_code: int) -> dict[str, TensorRange]:
    """The ranges of the constants that TensorRT's parser makes layers of, under its names for them.

    Without a scale for its slopes a PReLU would be computed in another precision than INT8. The parser calls the tensor
    ``<constant>_output`` (cache of TensorRT 10.10; parser of TensorRT-RTX 1.7). Empty for releases before 10.
    """
    if not names_constants(version_code):
        return {}
    library = lazy.require("onnx", extra="export")
    graph = library.load(str(onnx)).graph
    fixed = constants(graph)
    known = {tensor.name: tensor for tensor in graph.initializer if tensor.name in fixed}
    operands = (name for node in graph.node if node.op_type in _WITH_OPERANDS for name in node.input if name in known)
    found: dict[str, TensorRange] = {}
    for name in dict.fromkeys(operands):
        values = library.numpy_helper.to_array(known[name])
        if values.dtype.kind == "f" and values.size:
            lowest, highest = float(values.min()), float(values.max())
            found[f"{name}_output"] = TensorRange(amax=max(-lowest, highest, 0.0), lowest=lowest, highest=highest)
    return found


def write_cache(
    ranges: Mapping[str, TensorRange], path: Path, *, version_code: int, algorithm: str = ENTROPY_2
) -> TensorRTCache:
    """Write a table's ranges as a cache, whole or not at all, and return what was written.

    Raises:
        UsageError: a name with a line break, a range that is no range, or a place that is no file.
        MissingCapability: the place cannot be written.
    """
    scales = {name: scale_of(item.amax) for name, item in ranges.items()}
    cache = TensorRTCache(version_code=version_code, algorithm=algorithm, scales=scales)
    write_atomic(path, cache.to_bytes())
    return cache


def read_cache(path: Path) -> TensorRTCache:
    """The cache in a file.

    Raises:
        InputFileError: missing, unreadable, without the header, with a line that is none, or a tensor named twice.
    """
    lines = _lines(path)
    header = _HEADER.fullmatch(lines[0].strip())
    if header is None:
        raise InputFileError(
            f"{path} is no TensorRT calibration cache",
            why=f'its first line is "{_shown(lines[0])}", not TRT-<version>-<algorithm>',
            do="espdeploy calibrate F.onnx --data DIR --trt-cache FILE writes one",
        )
    scales: dict[str, float] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        name, scale = _entry(line, f"line {number} of {path}")
        if name in scales:
            raise InputFileError(f'line {number} of {path} names the tensor "{name}" again', do=_MEND)
        scales[name] = scale
    return TensorRTCache(version_code=int(header["code"]), algorithm=header["algorithm"], scales=scales)


_MEND = "make the cache again, or remove the line"


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        what = f"{path} is not a file" if path.exists() else f"{path} does not exist"
        raise InputFileError(what, do="give a cache that TensorRT or espdeploy calibrate --trt-cache wrote")
    try:
        # only a newline ends a line: names may hold what Unicode takes for line breaks
        return path.read_bytes().decode("utf-8", "surrogateescape").split("\n")
    except OSError as error:
        raise InputFileError(f"cannot read {path}: {error.strerror}", do="check its permissions") from error


def _entry(line: str, where: str) -> tuple[str, float]:
    name, sign, digits = line.rpartition(": ")  # a name may hold a colon and a space itself
    if not sign or not name or not _VALUE.fullmatch(digits.strip()):
        raise InputFileError(
            f"{where} is damaged", why=f'"{_shown(line)}" is not `tensor: hexadecimal float32`', do=_MEND
        )
    (scale,) = struct.unpack(">f", bytes.fromhex(digits.strip().zfill(8)))
    if math.isnan(scale) or scale < 0:
        raise InputFileError(f'{where} gives "{name}" the scale {scale}', why="a scale is 0 or above", do=_MEND)
    return name, float(scale)


def _checked_name(name: str) -> str:
    if not name or "\n" in name:
        raise UsageError(
            f"the tensor name {name!r} cannot stand in a calibration cache",
            why="it is empty or holds a line break, and a cache has one tensor a line",
            do="rename it in the network, and calibrate that",
        )
    return name


def _hex(name: str, scale: float) -> str:
    try:
        digits = struct.pack(">f", scale).hex()
    except OverflowError:
        digits = ""
    if not digits or math.isnan(scale) or scale < 0:
        raise UsageError(f'the tensor "{name}" has the scale {scale}, which is none', do="calibrate it again")
    return digits


def _shown(line: str) -> str:
    text = line.strip().encode("ascii", "backslashreplace").decode()
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
