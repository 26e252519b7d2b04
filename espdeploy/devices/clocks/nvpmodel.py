"""Power modes by NVIDIA's ``nvpmodel``: which there are, which is active, and setting one.

Sources: the developer guide for Linux for Tegra (``nvpmodel -q``, ``nvpmodel -m ID``; a mode stays over a reboot), the
head of nvpmodel.conf itself for its format, and outputs of boards from L4T 27 to 36. Some modes ask on standard input
for a reboot, once the GPU was used: it is closed here, so that the tool gives up and says so.
"""

from __future__ import annotations

import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from espdeploy import shell
from espdeploy.devices.clocks.values import Mode
from espdeploy.devices.files import text_of
from espdeploy.errors import EspdeployError, MissingCapability, ToolFailed, UsageError, nearest
from espdeploy.specs import DeviceProfile

_QUERY_S = 15.0
_SET_S = 30.0
_HZ_PER_MHZ = 1_000_000
_ACTIVE = re.compile(r"^NV Power Mode\s*:\s*(?P<name>\S.*?)\s*\n\s*(?P<id>\d+)\s*$", re.MULTILINE)
_SECTION = re.compile(r"<\s*(?P<kind>[A-Z_]+)(?P<rest>[^>]*)>")
_FIELD = re.compile(r"(\w+)=(\S+)")
#: the GPU's upper limit in a mode: by name since L4T 28, by the file itself in L4T 27
_GPU_LIMIT = re.compile(r"(?:GPU\s+MAX_FREQ|/sys/\S*(?:gpu|gp10b|gm20b)\S*/max_freq)\s+(?P<hz>-?\d+)")
_PERMISSION = re.compile(r"permission denied|not permitted|must be root|run as root|: 13\b", re.IGNORECASE)
#: while another one runs (of an espdeploy that was killed), its writes would mix with ours
_OTHERS_S = 30.0
_LOOK_S = 0.1
_LOOKS = 2


@dataclass(frozen=True, kw_only=True)
class Modes:
    """The modes of a board, and the one that its configuration starts with; ``source`` is where they were read."""

    modes: tuple[Mode, ...]
    default: int | None = None
    source: str = ""

    def named(self, text: str) -> Mode:
        """The mode of that name, in any case, or of that number.

        Raises:
            UsageError: there is none.
        """
        for mode in self.modes:
            if text.strip().lower() in (mode.name.lower(), str(mode.id)):
                return mode
        known = ", ".join(str(mode) for mode in self.modes)
        close = nearest(text, [mode.name for mode in self.modes])
        raise UsageError(
            f'no power mode is called "{text}"',
            why=f"{close}; {known}" if close.startswith("did") else f"known: {known or 'none'}",
            do="give one of them to --power-mode, by name or number",
        )


def find_tool(root: Path) -> Path | None:
    """Where ``nvpmodel`` lies: on PATH, or where JetPack puts it; None where it is not."""
    on_path = shutil.which("nvpmodel")
    if on_path is not None:
        return Path(on_path)
    usual = root / "usr/sbin/nvpmodel"  # not on every user's PATH
    return usual if usual.is_file() else None


def modes_of(profile: DeviceProfile, root: Path) -> Modes:
    """The modes by the board's own configuration, or else by the profile."""
    path = root / "etc/nvpmodel.conf"
    own = read_configuration(text_of(path) or "")
    if own.modes:
        return Modes(modes=own.modes, default=own.default, source=str(path))
    known = tuple(Mode(id=mode.id, name=mode.name, gpu_max_mhz=mode.gpu_max_mhz) for mode in profile.power_modes)
    return Modes(modes=known, source=profile.source)


def read_configuration(text: str) -> Modes:
    """What a nvpmodel.conf says: each mode's number, name and limit of the GPU clock, and the default mode."""
    modes: list[Mode] = []
    default: int | None = None
    inside = False
    for line in (line.strip() for line in text.splitlines()):
        section = _SECTION.match(line)  # the head's examples stand behind a #
        if section is not None:
            fields = dict(_FIELD.findall(section["rest"]))
            inside = section["kind"] == "POWER_MODEL" and fields.get("ID", "").isdecimal() and "NAME" in fields
            if inside:
                modes.append(Mode(id=int(fields["ID"]), name=fields["NAME"]))
            elif section["kind"] == "PM_CONFIG" and fields.get("DEFAULT", "").isdecimal():
                default = int(fields["DEFAULT"])
        elif inside and (limit := _GPU_LIMIT.match(line)) is not None:
            hz = int(limit["hz"])
            modes[-1] = Mode(id=modes[-1].id, name=modes[-1].name, gpu_max_mhz=hz / _HZ_PER_MHZ if hz > 0 else None)
    return Modes(modes=tuple(modes), default=default)


def read_active(text: str) -> Mode | None:
    """The mode that ``nvpmodel -q`` names, warnings and lines about the fan passed over; None where it names none."""
    match = _ACTIVE.search(text)
    return Mode(id=int(match["id"]), name=match["name"]) if match else None


def active(tool: Path) -> Mode | None:
    """The mode that is active now; None where the tool does not tell.

    Raises:
        MissingCapability: the tool cannot be started.
        ToolFailed: it does not end.
    """
    return read_active(shell.run([str(tool), "-q"], timeout_s=_QUERY_S, check=False).stdout)


def set_mode(tool: Path, mode: Mode) -> None:
    """Make ``mode`` the active one; nothing is started where it is already (the tool may ask for a reboot even then).

    Raises:
        MissingCapability: root is needed, or a reboot.
        ToolFailed: the tool failed, or the mode is another afterwards.
    """
    wait_for_others(tool)
    if (now := active(tool)) is not None and now.id == mode.id:
        return
    argv = [str(tool), "-m", str(mode.id)]
    done = shell.run(argv, timeout_s=_SET_S, check=False)
    now = active(tool)
    if now is None or now.id != mode.id:
        raise _not_set(mode, now, done)


def wait_for_others(tool: Path) -> None:
    """Let a nvpmodel end that already runs, as one may outlive its espdeploy; at most half a minute.

    Two looks have to agree: one that is just being started has no name yet.
    """
    deadline_s = time.monotonic() + _OTHERS_S
    quiet = 0
    while quiet < _LOOKS and time.monotonic() < deadline_s:
        quiet = 0 if _runs(tool) else quiet + 1
        if quiet < _LOOKS:
            time.sleep(_LOOK_S)


def command(tool: Path | None, mode: Mode) -> str:
    """What sets the mode by hand."""
    return f"{tool or 'nvpmodel'} -m {mode.id}"


def _not_set(mode: Mode, now: Mode | None, done: shell.Completed) -> EspdeployError:
    said = f"{done.stdout}\n{done.stderr}"
    if "reboot" in said.lower():
        return MissingCapability(
            f"power mode {mode} needs a reboot",
            why="nvpmodel cannot change to it once the GPU was used",
            do=f"sudo nvpmodel -m {mode.id}, answer YES, and repeat after the reboot",
        )
    if _PERMISSION.search(said):
        return MissingCapability(
            f"nvpmodel may not set power mode {mode}",
            why=_last_lines(done),
            do='run the same command as root: sudo "$(command -v espdeploy)" …; in a container, start it --privileged',
        )
    there = "no mode" if now is None else f"mode {now}"
    return ToolFailed(
        f"nvpmodel -m {mode.id} did not set power mode {mode}: {there} is active",
        why=_last_lines(done),
        do=f"sudo nvpmodel -m {mode.id} by hand shows why; espdeploy doctor lists the board's modes",
    )


def _last_lines(done: shell.Completed) -> str:
    return shell.tail(done) or f"it said nothing, exit code {done.returncode}"


def _runs(tool: Path) -> bool:
    """Whether a process of the tool's name has it in its command line, which is empty for a moment at the start."""
    for folder in Path("/proc").glob("[0-9]*"):
        if text_of(folder / "comm") == tool.name and not _has_ended(folder):
            words = (text_of(folder / "cmdline") or str(tool)).split("\n")
            if str(tool) in words:
                return True
    return False


def _has_ended(process: Path) -> bool:
    """Ended, and waiting to be collected: such a process has no command line either."""
    return (text_of(process / "stat") or ") Z").rpartition(")")[2].split()[:1] == ["Z"]
