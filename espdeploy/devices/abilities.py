"""What GPUs can compute in, by compute capability alone: the one table that profiles and GPUs present are held to.

Sources: NVIDIA's TensorRT support matrices (8.4: FP16 and INT8 down to 5.0; 10.x: bf16 and FP8), and TensorRT-RTX's
own builder, which a test asks for each of its targets.
"""

from __future__ import annotations

import re

_CAPABILITY = re.compile(r"(\d{1,2})\.(\d)")

Capability = tuple[int, int]

#: what TensorRT-RTX 1.7 builds for (``tensorrt_rtx.ComputeCapability``)
RTX_TARGETS: tuple[Capability, ...] = ((7, 5), (8, 0), (8, 6), (8, 9), (12, 0), (12, 1))

#: below a compute capability, the first TensorRT release that no longer has its kernels (release notes of 8.5.2 and
#: 10.5, support matrix of 10.1); a board's own TOML says more of a Jetson
TENSORRT_ENDS: tuple[tuple[Capability, str], ...] = (((6, 0), "9.0"), ((7, 0), "10.0"), ((7, 5), "10.5"))

#: where TensorRT's support matrix names no FP16: the hardware's rate for it is far below FP32's
_SLOW_FP16: tuple[Capability, ...] = ((5, 0), (5, 2), (6, 1))
_WITHOUT_DP4A: tuple[Capability, ...] = ((6, 0), (6, 2))
_DP4A_SINCE: Capability = (6, 1)
_BF16_SINCE: Capability = (8, 0)
_FP8_SINCE: Capability = (8, 9)


def capability_of(text: str) -> Capability | None:
    """``(8, 9)`` of ``8.9``; None where it is not written so."""
    match = _CAPABILITY.fullmatch(text.strip())
    return (int(match[1]), int(match[2])) if match else None


def capability_text(capability: Capability) -> str:
    """``8.9`` of ``(8, 9)``."""
    return f"{capability[0]}.{capability[1]}"


def lacks(precision: str, capability: Capability) -> str | None:
    """Why a GPU of that compute capability does not compute in that precision; None where it does."""
    of_it = f"its GPU (compute capability {capability_text(capability)})"
    if precision == "fp16" and (capability in _SLOW_FP16 or capability < (5, 0)):
        return f"{of_it} has no fast FP16 arithmetic, so TensorRT has no FP16 kernels for it"
    if precision == "int8" and (capability < _DP4A_SINCE or capability in _WITHOUT_DP4A):
        return f"{of_it} has no DP4A instruction, so TensorRT has no INT8 kernels for it"
    if precision == "mixed" and lacks("int8", capability):
        return f"mixed is INT8 in part, and {of_it} has no DP4A instruction for that"
    if precision == "bf16" and capability < _BF16_SINCE:
        return f"bf16 arithmetic came with compute capability 8.0; its GPU has {capability_text(capability)}"
    if precision == "fp8" and capability < _FP8_SINCE:
        return f"FP8 arithmetic came with compute capability 8.9; its GPU has {capability_text(capability)}"
    return None


def tensorrt_end(capability: Capability) -> str | None:
    """The first TensorRT release without kernels for that compute capability; None where there is none yet."""
    return next((release for below, release in TENSORRT_ENDS if capability < below), None)
