"""espdeploy on the other side: found, of our version, in a virtual environment or in a container."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from espdeploy import __version__
from espdeploy.devices.ssh import Remote
from espdeploy.errors import MissingCapability
from espdeploy.shell import tail

_NOT_FOUND, _NOT_EXECUTABLE = 127, 126
_ASK_S = 120.0
_LIKELY = "--remote-espdeploy espdeploy/venv/bin/espdeploy"
#: what a container on a Jetson needs to measure: the GPU, the sensors, the clocks (root, and /sys as it is), how the
#: board is told, and a place for engines and for the clocks' journal that outlives it
_CONTAINER = (
    "docker", "run", "--rm", "-i", "--runtime", "nvidia", "--privileged", "--user", "0",
    "-v", "/sys:/sys", "-v", "/run:/run", "-v", "/etc/nv_tegra_release:/etc/nv_tegra_release:ro",
    "-v", "/usr/bin/tegrastats:/usr/bin/tegrastats:ro",
    "-v", "/usr/sbin/nvpmodel:/usr/sbin/nvpmodel:ro", "-v", "/etc/nvpmodel.conf:/etc/nvpmodel.conf:ro",
    "-v", "/var/lib/espdeploy:/var/lib/espdeploy", "-e", "ESPDEPLOY_CACHE=/var/lib/espdeploy/cache",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class There:
    """How espdeploy is started on the other side: a program there, or an image of a container."""

    program: str = "espdeploy"
    container: str | None = None

    def argv(self, arguments: Sequence[str], *, env: Mapping[str, str], folders: Sequence[str] = ()) -> list[str]:
        """The command there. A container sees ``folders`` under their own paths."""
        if self.container is None:
            program = self.program.removeprefix("~/")  # a command over SSH begins in the home folder
            return ["env", *(f"{name}={value}" for name, value in env.items()), program, *arguments]
        mounted = [word for folder in folders for word in ("-v", f"{folder}:{folder}")]
        named = [word for name, value in env.items() for word in ("-e", f"{name}={value}")]
        return [*_CONTAINER, *mounted, *named, self.container, *arguments]


def check_there(remote: Remote, there: There) -> None:
    """espdeploy runs on the other side, and is of our version: records and options of another may differ.

    Raises:
        MissingCapability: it is not there, does not start, or is of another version.
    """
    done = remote.run(there.argv(["--version"], env={}), timeout_s=_ASK_S)
    if done.returncode in (_NOT_FOUND, _NOT_EXECUTABLE):
        raise MissingCapability(
            f"{remote.host} has no {'docker' if there.container else there.program}",
            why="a command over SSH sees only what the other side's PATH has without a login",
            do="install it there (docs/jetson.md)"
            + ("" if there.container else ", or give its path in the home folder there: " + _LIKELY),
        )
    found = done.stdout.strip().removeprefix("espdeploy ")
    if done.returncode != 0 or not found:
        raise MissingCapability(f"espdeploy does not start on {remote.host}", why=tail(done), do=_install(remote.host))
    if found != __version__:
        raise MissingCapability(
            f"{remote.host} has espdeploy {found}, and this is {__version__}", do=_install(remote.host)
        )


def _install(host: str) -> str:
    return f"ssh {shlex.quote(host)} 'pip install espdeploy=={__version__}'"
