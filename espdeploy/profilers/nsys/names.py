"""Names of memory operations and of API calls, brought to one form over the releases."""

from __future__ import annotations

import re

#: of CUPTI's CUpti_ActivityMemcpyKind, and above 10 nsys' own for unified memory; in the export's column copyKind
COPY_KINDS = {
    1: "HtoD",
    2: "DtoH",
    3: "HtoA",
    4: "AtoH",
    5: "AtoA",
    6: "AtoD",
    7: "DtoA",
    8: "DtoD",
    9: "HtoH",
    10: "PtoP",
    11: "unified HtoD",
    12: "unified DtoH",
    13: "unified DtoD",
}
MEMSET = "memset"
_LONG = {"Host": "H", "Device": "D", "Array": "A", "Peer": "P"}
_LONG_FORM = re.compile(r"\b(Host|Device|Array|Peer)-to-(Host|Device|Array|Peer)\b")
_LAUNCH = re.compile(r"cu(?:da)?(?:Launch(?:Cooperative)?Kernel|GraphLaunch)")
_ABI = re.compile(r"_v\d{4}$")
_API = re.compile(r"cu(?:da)?[A-Z]")


def is_memory(name: str) -> bool:
    """Whether a row is of a copy, or of memory set to a value."""
    return name.startswith("[") and ("memcpy" in name or "memset" in name)


def memory(name: str) -> str:
    """``HtoD`` for ``[CUDA memcpy HtoD]`` and ``[CUDA memcpy Host-to-Device]``, ``memset``, ``unified DtoH``."""
    short = _LONG_FORM.sub(lambda found: f"{_LONG[found[1]]}to{_LONG[found[2]]}", name.strip("[] "))
    unified = "Unified" in short
    for word in ("CUDA ", "Unified ", "Memory ", "memcpy "):
        short = short.replace(word, "", 1)
    return f"unified {short}" if unified else short


def api(name: str) -> str:
    """An API call without the version that the runtime library sets behind it, as nsys shows it."""
    return _ABI.sub("", name)


def is_launch(name: str) -> bool:
    """Whether an API call launches kernels."""
    return _LAUNCH.match(name) is not None


def is_cuda_api(name: str) -> bool:
    """Whether a call is CUDA's: its table has the same columns as that of the operating system's calls."""
    return _API.match(name) is not None
