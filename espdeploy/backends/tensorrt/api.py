"""One seam over ``tensorrt`` 10 and 11 and ``tensorrt_rtx``: which is there, and what each can do.

Sources: the Python bindings of TensorRT 10.13.3, 11.4.0 and TensorRT-RTX 1.7.1 themselves, NVIDIA's API references and
migration guides.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from types import ModuleType

from espdeploy import lazy
from espdeploy.backends.tensorrt.log import Log
from espdeploy.errors import MissingCapability, UsageError

TENSORRT, RTX = "tensorrt", "tensorrt-rtx"
#: runtime -> (Python package, extra that brings it)
_PACKAGES = {TENSORRT: ("tensorrt", "tensorrt"), RTX: ("tensorrt_rtx", "rtx")}


@dataclass(frozen=True, kw_only=True)
class Abilities:
    """What one release can do.

    precision_flags: builder flags that ask for a precision; without any the graph alone says it.
    calibrators: INT8 ranges from a calibration cache.
    compute_capabilities: builds for GPUs that are not there.
    dla: builds for a Jetson's deep learning accelerators.
    timing_cache: remembers which kernels were fastest here.
    levels: looks longer for fast kernels at a higher optimization level.
    runtime_cache: remembers kernels that were compiled where the engine runs.
    own_cuda_graphs: captures CUDA graphs itself, once asked to.
    weight_streaming: keeps weights in the machine's memory, not the GPU's.
    """

    precision_flags: tuple[str, ...] = ()
    calibrators: bool = False
    compute_capabilities: bool = False
    dla: bool = False
    timing_cache: bool = False
    levels: bool = False
    runtime_cache: bool = False
    own_cuda_graphs: bool = False
    weight_streaming: bool = False

    @property
    def typed_only(self) -> bool:
        """Whether the graph alone says the precision (strongly typed networks)."""
        return not self.precision_flags


_TENSORRT_11 = Abilities(dla=True, timing_cache=True, levels=True, weight_streaming=True)
_RTX_1_0 = Abilities(compute_capabilities=True, runtime_cache=True, weight_streaming=True)

#: runtime -> from which release on -> what it can do, oldest first
ABILITIES: dict[str, dict[tuple[int, ...], Abilities]] = {
    TENSORRT: {
        (10,): dataclasses.replace(_TENSORRT_11, precision_flags=("fp16", "int8", "bf16"), calibrators=True),
        (11,): _TENSORRT_11,
    },
    RTX: {
        (1, 0): _RTX_1_0,
        (1, 2): dataclasses.replace(_RTX_1_0, own_cuda_graphs=True),
    },
}


@dataclass(frozen=True, kw_only=True)
class Api:
    """A Python package of NVIDIA's that is loaded; ``log`` is where it speaks."""

    kind: str
    module: ModuleType
    version: tuple[int, ...]
    abilities: Abilities
    log: Log

    @property
    def major(self) -> int:
        """The first part of the version."""
        return self.version[0]

    @property
    def version_text(self) -> str:
        """As NVIDIA writes it: ``10.13.3.9``."""
        return ".".join(str(part) for part in self.version)

    @property
    def label(self) -> str:
        """Name and release, for people: ``TensorRT-RTX 1.7.1``."""
        name = "TensorRT-RTX" if self.kind == RTX else "TensorRT"
        return f"{name} {'.'.join(str(part) for part in self.version[:3])}"


@functools.cache
def load(kind: str) -> Api:
    """Load the package behind ``tensorrt`` or ``tensorrt-rtx``.

    Raises:
        UsageError: no such runtime.
        MissingCapability: the package is absent, does not load, or is older than TensorRT 10.
    """
    if kind not in _PACKAGES:
        raise UsageError(f'"{kind}" is no Python package of TensorRT', do=f"choose {TENSORRT} or {RTX}")
    name, extra = _PACKAGES[kind]
    module = lazy.require(name, extra=extra)
    version = tuple(int(part) for part in str(module.__version__).split(".") if part.isdigit())
    return Api(kind=kind, module=module, version=version, abilities=abilities_of(kind, version), log=Log(module))


def abilities_of(kind: str, version: tuple[int, ...]) -> Abilities:
    """What a release can do.

    Raises:
        MissingCapability: a release whose Python API espdeploy does not drive.
    """
    rows = ABILITIES[kind]
    fitting = [abilities for release, abilities in rows.items() if version >= release]
    if not fitting:
        oldest = ".".join(str(part) for part in min(rows))
        raise MissingCapability(
            f"the Python API of TensorRT {'.'.join(str(part) for part in version) or 'without a version'} is not used",
            why=f"espdeploy drives the one of {oldest} and newer; older releases it builds with trtexec",
            do="--runtime trtexec",
        )
    return fitting[-1]
