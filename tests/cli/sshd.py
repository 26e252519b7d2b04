"""A real SSH server on loopback for tests, with keys of its own; nothing of the user's is read or written."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_START_S = 10
SSHD = shutil.which("sshd") or ("/usr/sbin/sshd" if Path("/usr/sbin/sshd").exists() else None)
MISSING = "no SSH server here (openssh-server), or no root to start it"
USABLE = SSHD is not None and shutil.which("ssh") is not None and os.geteuid() == 0


@dataclass(frozen=True)
class Server:
    """``board`` is a host of ``config``; ``process`` the listening server."""

    config: Path
    process: int
    host: str = "board"

    @property
    def environment(self) -> dict[str, str]:
        """What makes espdeploy use this server's configuration."""
        return {"ESPDEPLOY_SSH": f"ssh -F {self.config}"}


@contextlib.contextmanager
def serving(folder: Path, there: Mapping[str, str]) -> Iterator[Server]:
    """A server whose commands see the variables ``there``, and this virtual environment first on PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("host", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    port = _free_port()
    path = os.pathsep.join([there.get("PATH", ""), str(Path(sys.executable).parent), "/usr/bin", "/bin"])
    variables = " ".join(f'"{name}={value}"' for name, value in {**there, "PATH": path.strip(os.pathsep)}.items())
    (folder / "authorized").write_text((folder / "key.pub").read_text())
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n"
        "StrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        f"PidFile none\nMaxStartups 50\nSetEnv {variables}\n"
    )
    (folder / "config").write_text(
        f"Host board\n HostName 127.0.0.1\n Port {port}\n User root\n IdentityFile {folder}/key\n IdentitiesOnly yes\n"
        f" UserKnownHostsFile {folder}/known\n StrictHostKeyChecking yes\n GlobalKnownHostsFile /dev/null\n"
    )
    key = (folder / "host.pub").read_text().split()[:2]
    (folder / "known").write_text(f"[127.0.0.1]:{port} {' '.join(key)}\n")
    Path("/run/sshd").mkdir(exist_ok=True)
    server = subprocess.Popen([str(SSHD), "-D", "-e", "-f", folder / "sshd_config"], stderr=subprocess.PIPE)
    try:
        _wait(port, server)
        yield Server(config=folder / "config", process=server.pid)
    finally:
        server.terminate()
        server.wait(_START_S)
        assert server.stderr is not None
        server.stderr.close()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _wait(port: int, server: subprocess.Popen[bytes]) -> None:
    until_s = time.monotonic() + _START_S
    while time.monotonic() < until_s and server.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError("the SSH server did not start")
