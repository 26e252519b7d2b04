"""``espdeploy profile``: run the profiler that the GPU takes, apart from any timing, and read what it wrote."""

from __future__ import annotations

import contextlib
import re
import shlex
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from espdeploy.artifacts import check_replaceable, write_atomic
from espdeploy.backends.trtexec.argv import profile_argv
from espdeploy.backends.trtexec.find import find
from espdeploy.backends.trtexec.plan import ProfilePlan
from espdeploy.backends.trtexec.timing import profile_engine
from espdeploy.backends.trtexec.tool import Tool
from espdeploy.errors import EspdeployError, MissingCapability, ToolFailed, UsageError
from espdeploy.pipeline.building.builders import TRTEXEC as TRTEXEC_RUNTIME
from espdeploy.pipeline.building.builders import choose_builder
from espdeploy.pipeline.engine_files.opening import check_is_here, examine
from espdeploy.pipeline.engine_files.passport import read_passport
from espdeploy.pipeline.machine import is_simulated, system_root
from espdeploy.pipeline.measuring.request import Step
from espdeploy.pipeline.measuring.subject import opened
from espdeploy.pipeline.measuring.targets import Target, TargetRequest, resolve
from espdeploy.pipeline.profiling import commands, tools
from espdeploy.pipeline.profiling.commands import Below, Command
from espdeploy.pipeline.profiling.parse import parse_files
from espdeploy.protocols import Progress, SystemClock
from espdeploy.shell import Completed, run
from espdeploy.specs import BenchSpec

_KERNELS = re.compile(r"top:(?P<count>[1-9]\d{0,3})|(?P<word>all|none)")
_TIMEOUT_S = 3600.0
#: replaying each kernel takes dozens of runs of it: a few inferences say the same
_COUNTED_INFERENCES = 2
_APPLICATIONS_FAULT = ("application_failed", "application_killed", "gpu_failed")
_TAIL_LINES = 3
_NAMED_IN_PLAN, _BUILT_IN_PLAN = "NAMES_OF_THE_LONGEST", "ENGINE_BUILT_OF_IT"


@dataclass(frozen=True, kw_only=True)
class ProfileRequest:
    """What is to be profiled, by which tool, and where its files go.

    ``kernels`` is ``top:N`` (counters of the N that take longest), ``all`` or ``none``.
    """

    target: TargetRequest
    folder: Path
    tool: str | None = None
    kernels: str = "top:10"
    inferences: int = 20


@dataclass(frozen=True, kw_only=True)
class Profiled:
    """What the files tell with the keys of ``parse``, the commands that wrote them, and the files."""

    document: dict[str, Any]
    commands: tuple[str, ...]
    files: tuple[Path, ...]


def steps(request: ProfileRequest) -> list[Step]:
    """What would be done, with each command; nothing is run.

    Raises:
        UsageError, InputFileError, MissingCapability: as :func:`profile` finds out before it begins.
    """
    tool = _checked(request)
    engine = _engine(request)
    examine(engine, request.target.profile, request.target.precision)
    found = [Step(what=f"check that this machine is the {request.target.profile.name}, and open {engine}")]
    planned: Tool | None = None
    told = ""
    if tool == tools.TRTEXEC or _by_trtexec(request):
        planned, told = _planned_trtexec(request)
        if engine.suffix == ".onnx":
            found.append(Step(what="build an engine of it with trtexec, unless the cache has it"))
            engine = Path(_BUILT_IN_PLAN)
    if tool == tools.TRTEXEC and planned is not None:
        argv = profile_argv(planned, _layer_plan(request, engine))
        return [*found, Step(what=f"time each layer{told}", command=shlex.join(argv))]
    below = _below(request, tool=planned, path=engine)
    if tool != tools.NCU or request.kernels != "all":
        timing = tools.NSYS if tool == tools.NCU else tool
        command = commands.summary(timing, below, request.folder, program=timing)
        where = ", where nsys is here: it tells the longest kernels" if tool == tools.NCU else ""
        found.append(Step(what=command.what + where + told, command=shlex.join(command.argv)))
    if _counts(tool, request):
        named = (_NAMED_IN_PLAN,) if request.kernels != "all" else ()
        few = replace(below, inferences=_COUNTED_INFERENCES)
        command = commands.counters(tool, few, request.folder, kernels=named, program=tool)
        found.append(Step(what=command.what, command=shlex.join(command.argv)))
    return [*found, Step(what=f"read {request.folder}, as espdeploy parse does")]


def profile(request: ProfileRequest, progress: Progress) -> Profiled:
    """Run the tool and read what it wrote; its files stay in the folder.

    Raises:
        UsageError: an unknown tool or bound of kernels, or a tool that does not fit the engine.
        MissingCapability: no GPU, no tool, no permission, or a GPU that the tool does not read.
        ToolFailed: the tool or what ran below it failed.
    """
    tool = _checked(request)
    check_is_here(request.target.profile)
    if tool != tools.TRTEXEC:
        tools.check_installed(tool)
    target = resolve(replace(request.target, cuda_graph=False), progress)
    _make_folder(request.folder)
    if tool == tools.TRTEXEC:
        return _layers(request, target, progress)
    path = target.path or _engine(request)
    done = _Runs(folder=request.folder, progress=progress)
    return _kernels(request, tool, _below(request, tool=target.tool, path=path), done)


def run_application(request: TargetRequest, inferences: int, progress: Progress) -> None:
    """What runs below a profiler: the target, inferred so often.

    Raises:
        EspdeployError: as opening and running do.
    """
    target = resolve(replace(request, cuda_graph=False), progress)
    spec = BenchSpec(trials=inferences, duration_min_s=0, warmup_min_s=0, warmup_max_s=0, idle_s=0, cuda_graph=False)
    with opened(request, target, SystemClock()) as subject:
        subject.time(spec, progress)


def _kernels(request: ProfileRequest, tool: str, below: Below, done: _Runs) -> Profiled:
    """Times first, then counters of the kernels that take longest."""
    files: list[Path] = []
    longest: tuple[str, ...] = ()
    if tool == tools.NCU:
        longest = _longest_by_nsys(request, below, done, files)
    else:
        files.append(done.do(tool, commands.summary(tool, below, request.folder, program=tool)))
        longest = _longest(parse_files([str(files[0])]), request.kernels)
    if _counts(tool, request):
        few = replace(below, inferences=_COUNTED_INFERENCES)
        command = commands.counters(tool, few, request.folder, kernels=longest, program=tool)
        files.append(done.do(tool, command, kept=files))
    document: dict[str, Any] = parse_files([str(path) for path in files])
    document["notes"] = [*document["notes"], *done.notes]
    return _profiled(document, done.commands, files)


def _longest_by_nsys(request: ProfileRequest, below: Below, done: _Runs, files: list[Path]) -> tuple[str, ...]:
    """ncu cannot know the longest kernels before it has counted them all: a timeline tells them, where nsys is here."""
    if request.kernels == "all":
        return ()
    try:
        tools.check_installed(tools.NSYS)
    except MissingCapability:
        done.notes.append("all kernels are counted: nsys, which would tell the longest, is not on this machine")
        return ()
    files.append(done.do(tools.NSYS, commands.summary(tools.NSYS, below, request.folder, program=tools.NSYS)))
    return _longest(parse_files([str(files[0])]), request.kernels)


def _layers(request: ProfileRequest, target: Target, progress: Progress) -> Profiled:
    if target.tool is None or target.path is None:
        raise UsageError(
            f"--tool trtexec does not profile what {request.target.profile.name} runs through another runtime",
            why="it times the layers of engines of TensorRT",
            do="add --runtime trtexec, or choose --tool nsys",
        )
    plan = _layer_plan(request, target.path)
    ran = profile_engine(target.tool, plan, progress)
    files = [path for path in (plan.profile_json, plan.layer_info) if path is not None]
    document = parse_files([str(path) for path in files])
    return _profiled(document, [shlex.join(ran.argv)], files)


def _profiled(document: dict[str, Any], run_commands: Sequence[str], files: Sequence[Path]) -> Profiled:
    simulated = {"simulated": True} if is_simulated() else {}
    told = {**document, "commands": list(run_commands), "raw_files": [str(path) for path in files], **simulated}
    return Profiled(document=told, commands=tuple(run_commands), files=tuple(files))


class _Runs:
    """The runs of the tool, each with its command kept, and its failure as one of our errors."""

    def __init__(self, *, folder: Path, progress: Progress) -> None:
        self.commands: list[str] = []
        self.notes: list[str] = []
        self._folder = folder
        self._progress = progress

    def do(self, tool: str, command: Command, kept: Sequence[Path] = ()) -> Path:
        """Run it; the file that it wrote.

        Raises:
            MissingCapability, ToolFailed: it measured nothing; what it says is read, and what mends it told.
        """
        self._progress(len(self.commands), None, f"{command.what} with {tool}")
        command.output.unlink(missing_ok=True)
        self.commands.append(shlex.join(command.argv))
        ran = run(command.argv, timeout_s=_TIMEOUT_S, check=False, env=commands.surroundings(command))
        output = command.output
        if not output.is_file():
            output = self._folder / f"{command.output.stem}.txt"
            write_atomic(output, f"{ran.stdout}\n{ran.stderr}".encode())
        _check(tool, output, ran, kept)
        return output


def _check(tool: str, output: Path, ran: Completed, kept: Sequence[Path]) -> None:
    """Whether the run brought figures."""
    document: dict[str, Any] = {}
    with contextlib.suppress(EspdeployError):  # it wrote nothing that can be read
        document = parse_files([str(output)], None if output.suffix == ".sqlite" else tool)
    figures = document.get("kernels") or document.get("metrics")
    if figures and ran.returncode == 0:
        return
    errors = document.get("errors") or []
    where = f"; what was taken before is in {kept[0]}" if kept else ""
    if errors:
        kind = ToolFailed if errors[0]["code"] in _APPLICATIONS_FAULT else MissingCapability
        why = _tail(ran) if kind is ToolFailed else ""
        raise kind(f"{tool}: {errors[0]['text']}{where}", why=why, do=errors[0]["do"])
    what = "failed in spite of the figures that it wrote" if figures else "brought no figures"
    raise ToolFailed(
        f"{tool} {what} ({_ending(ran.returncode)}){where}",
        why=_tail(ran),
        do=f"run it by hand and see what it says: {shlex.join(ran.argv)}",
    )


def _ending(code: int) -> str:
    """How a process ended; a negative code is the signal that killed it."""
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    starved = ": the system may have been out of memory (sudo dmesg | tail)" if -code == signal.SIGKILL else ""
    return f"killed by {name}{starved}"


def _tail(ran: Completed) -> str:
    lines = [line.strip() for line in f"{ran.stdout}\n{ran.stderr}".splitlines() if line.strip()]
    return "; ".join(lines[-_TAIL_LINES:])


def _checked(request: ProfileRequest) -> str:
    """The tool, once nothing that can be told before speaks against it."""
    if _KERNELS.fullmatch(request.kernels) is None:
        raise UsageError(
            f"--kernels {request.kernels} is no choice of kernels", do="give top:N, such as top:10, all or none"
        )
    tool = tools.choose(request.target.profile, request.tool)
    if tool == tools.NCU and request.kernels == "none":
        raise UsageError("ncu takes counters alone, and --kernels none wants none", do="--tool nsys for times alone")
    for name in (f"{commands.SUMMARY}.csv", f"{commands.COUNTERS}.csv"):
        check_replaceable(request.folder / name)
    return tool


def _counts(tool: str, request: ProfileRequest) -> bool:
    return request.kernels != "none" and tools.reads_counters(tool, request.target.profile)


def _longest(document: dict[str, Any], kernels: str) -> tuple[str, ...]:
    """The kernels to count for; none stands for all."""
    match = _KERNELS.fullmatch(kernels)
    if match is None or match["count"] is None:
        return ()
    return tuple(kernel["name"] for kernel in document["kernels"][: int(match["count"])])


def _engine(request: ProfileRequest) -> Path:
    if request.target.engine is None:
        raise UsageError("there is nothing to profile", do="name an engine or an ONNX file")
    return request.target.engine


def _by_trtexec(request: ProfileRequest) -> bool:
    """Whether NVIDIA's tool runs the engine: as its passport says, or because the device has no other runtime."""
    engine = _engine(request)
    passport = read_passport(engine) if engine.exists() else None
    if passport is not None and request.target.runtime is None:
        return passport.runtime == TRTEXEC_RUNTIME
    try:
        return choose_builder(request.target.profile, request.target.runtime) == TRTEXEC_RUNTIME
    except MissingCapability:
        return False


def _trtexec() -> Tool:
    return find(tools.TRTEXEC, root=system_root())


def _planned_trtexec(request: ProfileRequest) -> tuple[Tool, str]:
    """The tool for a plan, and what a reader has to know of it: a plan may be made on another machine than the board.

    Raises:
        MissingCapability: it is not here, and which release the device takes is not known either.
    """
    try:
        return _trtexec(), ""
    except MissingCapability:
        known = request.target.profile.tensorrt
        if known is None:
            raise
        version = tuple(int(part) for part in known.newest.split("."))
        told = f" (as trtexec {known.newest} takes it; there is none on this machine)"
        return Tool(path=Path(TRTEXEC_RUNTIME), kind=TRTEXEC_RUNTIME, version=version), told


def _below(request: ProfileRequest, *, tool: Tool | None, path: Path) -> Below:
    target = request.target
    return Below(
        path=path,
        profile=target.profile,
        inferences=request.inferences,
        tool=tool,
        runtime=target.runtime,
        precision=target.precision if path == target.engine else None,
        size=target.size,
    )


def _layer_plan(request: ProfileRequest, engine: Path) -> ProfilePlan:
    folder = request.folder
    return ProfilePlan(
        engine=engine,
        profile_json=folder / "layers.json",
        layer_info=folder / "layer_info.json",
        duration_s=1,
        iterations=request.inferences,
    )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MissingCapability(
            f"{folder} cannot be made: {error.strerror}", do="choose another folder with -o DIR"
        ) from error
