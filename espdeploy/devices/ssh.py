"""Commands on another machine through the system's OpenSSH: its configuration, its keys, nothing interactive.

``ESPDEPLOY_SSH`` names the command in place of ``ssh`` (``ssh -F FILE``, for example), as ``GIT_SSH_COMMAND`` does.
Sources of the texts that failures are told by: OpenSSH's ssh(1) and sshconnect.c.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import os
import re
import shlex
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from espdeploy.artifacts import sha256_of
from espdeploy.errors import EspdeployError, MissingCapability, ToolFailed, UsageError
from espdeploy.shell import Completed, run, tail

COMMAND = "ESPDEPLOY_SSH"
_CONNECT_S = 10
#: ssh gives up a connection that is silent for this many seconds times this many probes
_ALIVE_S, _ALIVE_PROBES = 5, 3
_SHORT_S = 60.0
_COPY_S = 3600.0
_SSH_FAILED = 255
_DAY_S = 86_400.0
#: what is fetched at once: it passes through memory as text
_MIB, _PIECE_MIB = 1 << 20, 16
_DESTINATION = re.compile(r"(?:ssh://)?[\w.%+-]+(?:@[\w.:%\[\]-]+)?(?::\d+)?")
_HOME_CACHE = '"${XDG_CACHE_HOME:-$HOME/.cache}"/espdeploy'

#: what ssh says -> what it means, and what mends it
_FAILURES = (
    (r"Permission denied|No supported authentication|Too many authentication", "refuses the key", "ssh-copy-id {host}"),
    (r"Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED|No \w+ host key is known",
     "has a host key that is not known here", "ssh {host} once by hand, and check the fingerprint it shows"),
    (r"Could not resolve hostname", "is a name that nothing resolves", "check the name, or add it to ~/.ssh/config"),
    (r"Connection refused", "accepts no SSH connections", "start its SSH server, or check the port in ~/.ssh/config"),
    (r"timed out|No route to host|Network is unreachable|Connection closed by|Connection reset|Broken pipe",
     "does not answer", "check that it is on and reachable: ping it, then ssh {host} true"),
)  # fmt: skip
_SSH_SAID = re.compile(r"ssh|kex_|mux_|client_|packet_|channel |Connection |Received |Disconnected |Bad |\S+@\S+: ")


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A connection that is open. Its commands share one connection; nothing asks for a password."""

    host: str
    options: tuple[str, ...]

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float = _DAY_S,
        env: Mapping[str, str] | None = None,
        heartbeat_s: float | None = None,
        on_line: Callable[[str], None] | None = None,
        on_error_line: Callable[[str], None] | None = None,
    ) -> Completed:
        """Run a program there, each argument quoted for the other side's shell.

        Raises:
            MissingCapability: the connection failed or broke; says why.
            ToolFailed: it took longer than ``timeout_s``.
        """
        named = [f"{name}={value}" for name, value in (env or {}).items()]
        return self.script(
            shlex.join([*(["env", *named] if named else []), *argv]) + "; exit $?",  # 255 stays ssh's own word
            timeout_s=timeout_s,
            heartbeat_s=heartbeat_s,
            on_line=on_line,
            on_error_line=on_error_line,
        )

    def script(
        self,
        text: str,
        *,
        timeout_s: float = _SHORT_S,
        heartbeat_s: float | None = None,
        on_line: Callable[[str], None] | None = None,
        on_error_line: Callable[[str], None] | None = None,
        upload: Path | None = None,
    ) -> Completed:
        """Run a line of POSIX shell there; ``upload`` is what it reads.

        Raises:
            MissingCapability, ToolFailed: as :meth:`run`.
        """
        argv = [*self.options, "--", self.host, f"exec sh -c {shlex.quote(text)}"]
        with contextlib.ExitStack() as stack:
            done = run(
                argv,
                timeout_s=timeout_s,
                check=False,
                stdin=stack.enter_context(upload.open("rb")) if upload else None,
                heartbeat_s=heartbeat_s,
                on_line=on_line,
                on_error_line=on_error_line,
            )
        if done.returncode == _SSH_FAILED:
            raise explain(self.host, done)
        return done

    def put(self, path: Path) -> str:
        """Copy a file into the other side's cache under its SHA-256, unless it is there; returns its path there.

        Raises:
            ToolFailed: it could not be written there, or did not arrive whole.
        """
        digest = sha256_of(path)
        folder = f"{_HOME_CACHE}/incoming/{digest[:16]}"
        name = shlex.quote(path.name)
        there = f'f={folder}/{name}; [ -f "$f" ] && sha256sum "$f" && printf "%s\\n" "$f"'
        answer = self.script(there).stdout.splitlines()
        if len(answer) == 2 and answer[0].lstrip("\\").startswith(digest):
            return answer[1]
        copy = (
            f'd={folder}; mkdir -p "$d" && t="$d"/.part.$$ && trap \'rm -f "$t"\' EXIT && cat > "$t" '
            f'&& sha256sum "$t" && mv "$t" "$d"/{name} && printf "%s\\n" "$d"/{name}'
        )
        done = self.script(copy, timeout_s=_COPY_S, upload=path)
        answer = done.stdout.splitlines()
        if done.returncode != 0 or len(answer) != 2 or not answer[0].lstrip("\\").startswith(digest):
            raise ToolFailed(
                f"{path} did not arrive whole on {self.host}",
                why=tail(done) or "its SHA-256 differs there",
                do=f"check the disk there: ssh {shlex.quote(self.host)} df -h",
            )
        return answer[1]

    def get(self, there: str, here: Path) -> str:
        """Copy a file from the other side to ``here``, piece by piece; returns the SHA-256 of what arrived.

        A piece that cannot be read there ends the copy: the caller compares the digest with the one told there.

        Raises:
            MissingCapability, ToolFailed: as :meth:`run`.
            OSError: it cannot be written here.
        """
        digest = hashlib.sha256()
        with here.open("wb") as stream:
            for number in itertools.count():
                read = f"dd if={shlex.quote(there)} bs={_MIB} skip={number * _PIECE_MIB} count={_PIECE_MIB} 2>/dev/null"
                piece = base64.b64decode(self.script(f"{read} | base64", timeout_s=_COPY_S).stdout)
                digest.update(piece)
                stream.write(piece)
                if len(piece) < _PIECE_MIB * _MIB:
                    break
            stream.flush()
            os.fsync(stream.fileno())
        return digest.hexdigest()

    def make_folder(self) -> str:
        """A fresh folder for results in the other side's cache; returns its path there."""
        done = self.script(f'd={_HOME_CACHE}/outgoing; mkdir -p "$d" && mktemp -d "$d"/XXXXXXXX')
        if done.returncode != 0:
            raise ToolFailed(f"cannot make a folder on {self.host}", why=tail(done), do="make room there")
        return done.stdout.strip()

    def remove(self, folder: str) -> None:
        """Remove a folder that :meth:`make_folder` made; where that fails, only room there is lost."""
        with contextlib.suppress(EspdeployError):
            self.script(f"rm -rf -- {shlex.quote(folder)}")


@contextlib.contextmanager
def connected(host: str) -> Iterator[Remote]:
    """A connection to ``host``, proven by a command that does nothing.

    Raises:
        UsageError: ``host`` is no destination of ssh.
        MissingCapability: no ssh here, or the host does not answer, refuses the key, or is not known; says which.
    """
    check_destination(host)
    # a socket's path may have 104 characters at most on some systems, so not below TMPDIR
    with tempfile.TemporaryDirectory(prefix="esp-", dir="/tmp" if Path("/tmp").is_dir() else None) as folder:  # noqa: S108
        remote = Remote(host=host, options=(*_command(), *_options(Path(folder) / "s")))
        remote.script("exit 0")
        try:
            yield remote
        finally:
            with contextlib.suppress(EspdeployError):
                run([*remote.options, "-O", "exit", "--", host], timeout_s=_CONNECT_S, check=False)


def check_destination(host: str) -> None:
    """Refuse what ssh would take for an option or a command.

    Raises:
        UsageError: it is no ``HOST``, ``USER@HOST`` or alias of ~/.ssh/config.
    """
    if host.startswith("-") or _DESTINATION.fullmatch(host) is None:
        raise UsageError(f'"{host}" is no host', do="give --host USER@HOST, or a name from ~/.ssh/config")


def explain(host: str, done: Completed) -> MissingCapability:
    """What ssh's own failure means."""
    said = done.stderr
    for pattern, meaning, do in _FAILURES:
        if re.search(pattern, said):
            return MissingCapability(f"{host} {meaning}", why=tail(done), do=do.format(host=shlex.quote(host)))
    own = [line for line in said.splitlines() if _SSH_SAID.match(line)]  # the program's last words are there too
    why = " | ".join(own[-2:]) or "ssh ended without a word"
    return MissingCapability(f"the connection to {host} failed", why=why, do=f"ssh -v {shlex.quote(host)} true")


def _command() -> list[str]:
    return shlex.split(os.environ.get(COMMAND, "")) or ["ssh"]


def _options(control: Path) -> list[str]:
    """Nothing interactive, one shared connection, and a dead one noticed within seconds."""
    settings = {
        "BatchMode": "yes",
        "ConnectTimeout": _CONNECT_S,
        "ServerAliveInterval": _ALIVE_S,
        "ServerAliveCountMax": _ALIVE_PROBES,
        "ControlMaster": "auto",
        "ControlPath": control,
        "ControlPersist": 60,
        "ForwardX11": "no",
        "RequestTTY": "no",
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
