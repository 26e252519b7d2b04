"""The tool that is there: which of the two, of which release, and how its command line is spelled.

Every rule here is one of NVIDIA's sources of trtexec at the release's tag (samples/common/sampleOptions.cpp, its parser
and its help) or of the documentation of ``tensorrt_rtx``; the release from which it holds stands beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

Version = tuple[int, ...]

TRTEXEC, TENSORRT_RTX = "trtexec", "tensorrt_rtx"
#: the first release whose command line espdeploy speaks; before it, layer information cannot be exported
OLDEST: Version = (8, 2)
#: from here on networks are strongly typed: no ``--fp16``, ``--int8``, ``--calib``, ``--best``
TYPED_FROM: Version = (11,)
#: from here on ``--stronglyTyped`` is offered beside the precision flags
TYPED_OFFERED_FROM: Version = (10,)
#: from here on ``--builderOptimizationLevel`` (0 to 5)
LEVELS_FROM: Version = (8, 6)

_MEMORY_POOLS_FROM: Version = (8, 4)
_RENAMED_FROM: Version = (8, 6)


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A tool that was asked who it is.

    ``version`` is (8, 2, 1) for 8.2.1, or TensorRT-RTX's own for ``tensorrt_rtx``, empty where that does not say it.
    ``options`` are those that its ``--help`` lists; empty where it was not asked.
    """

    path: Path
    kind: str
    version: Version
    options: frozenset[str] = frozenset()

    @property
    def label(self) -> str:
        """Name and release, for people: ``trtexec 8.2.1``."""
        return f"{self.kind} {dotted(self.version)}"

    @property
    def is_rtx(self) -> bool:
        """Whether it builds for TensorRT-RTX."""
        return self.kind == TENSORRT_RTX

    @property
    def typed(self) -> bool:
        """Whether the graph alone says the precision: TensorRT 11 and every TensorRT-RTX."""
        return self.is_rtx or self.version >= TYPED_FROM


@dataclass(frozen=True, kw_only=True)
class Switch:
    """Flags that turn something on, and off; nothing where the tool starts out so and has no flag to say it."""

    on: tuple[str, ...]
    off: tuple[str, ...]

    def flags(self, wanted: bool) -> tuple[str, ...]:
        """The flags for one position."""
        return self.on if wanted else self.off


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How one tool spells what the builders of argument lists need.

    ``workspace`` takes MiB. ``profile_apart`` asks for a profile run of its own where that is not so anyway.
    """

    workspace: str
    build_only: str
    streams: str
    cuda_graph: Switch
    spin_wait: Switch
    transfers: Switch
    profile_apart: tuple[str, ...]


def dialect(tool: Tool) -> Dialect:
    """How ``tool`` spells things.

    8.4 brings ``--memPoolSize`` and deprecates ``--workspace``; a bare number is MiB in both. 8.6 renames
    ``--buildOnly`` to ``--skipInference`` and ``--streams`` to ``--infStreams``. 11 turns CUDA graphs and spin-wait on
    and transfers off unless told otherwise, always profiles in a run of its own, and warns of the older flags.
    """
    renamed = tool.is_rtx or tool.version >= _RENAMED_FROM
    pools = tool.is_rtx or tool.version >= _MEMORY_POOLS_FROM
    fast = _has(tool, "--includeDataTransfers", since=TYPED_FROM)  # the option came with the other defaults
    return Dialect(
        workspace="--memPoolSize=workspace:{mib}" if pools else "--workspace={mib}",
        build_only="--skipInference" if renamed else "--buildOnly",
        streams="--infStreams" if renamed else "--streams",
        cuda_graph=_graph_of_rtx(tool) if tool.is_rtx else _graph_of_trtexec(on_by_default=fast),
        spin_wait=Switch(on=(), off=("--noSpinWait",)) if fast else Switch(on=("--useSpinWait",), off=()),
        transfers=Switch(on=("--includeDataTransfers",) if fast else (), off=() if fast else ("--noDataTransfers",)),
        profile_apart=() if fast else ("--separateProfileRun",),
    )


def _has(tool: Tool, option: str, *, since: Version) -> bool:
    """Whether the tool knows an option: its own help says, or, where it was not asked, its release."""
    if tool.options:
        return option in tool.options
    return tool.is_rtx or tool.version >= since


def _graph_of_trtexec(*, on_by_default: bool) -> Switch:
    return Switch(on=(), off=("--noCudaGraph",)) if on_by_default else Switch(on=("--useCudaGraph",), off=())


def _graph_of_rtx(tool: Tool) -> Switch:
    """TensorRT-RTX captures graphs itself since 1.2 (``--rtxCudaGraphStrategy``); before, as trtexec did."""
    if _has(tool, "--rtxCudaGraphStrategy", since=(1, 2)):
        return Switch(on=("--rtxCudaGraphStrategy=wholeGraph",), off=("--rtxCudaGraphStrategy=disable",))
    return Switch(on=("--useCudaGraph",), off=())


def version_of_code(code: int) -> Version:
    """The release behind NV_TENSORRT_VERSION: 8201 is 8.2.1, 100300 is 10.3.0, and 10701 is TensorRT-RTX 1.7.1.

    Up to TensorRT 9 the major release counts 1000, from 10 on 10000; TensorRT-RTX began with 10000. Sources: the
    headers of both, banners of trtexec 8.0 to 10.16, and ``getInferLibVersion`` of TensorRT-RTX 1.7.1.
    """
    major = code // (10_000 if code >= 10_000 else 1000)
    rest = code % (10_000 if code >= 10_000 else 1000)
    return (major, rest // 100, rest % 100)


def dotted(version: Version) -> str:
    """``8.2.1``; says so where the release is not known."""
    return ".".join(str(part) for part in version) or "of an unknown release"
