"""A real server on loopback that can misbehave in every way that a download meets."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from espdeploy.weights.remote import Limits, RemoteFile

CONTENT = np.random.default_rng(0).bytes(300_000)
OTHER = np.random.default_rng(1).bytes(300_000)
PAGE = b"<!DOCTYPE html><html><body>Please sign in</body></html>"


@dataclass
class Behaviour:
    """What the server does next; tests change it while it runs."""

    content: bytes = CONTENT
    etag: str | None = '"one"'
    last_modified: str | None = None
    ranges: bool = True
    status: int = 200
    content_type: str = "application/octet-stream"
    redirect: str | None = None
    stop_after: int | None = None  # bytes of the body, then the connection ends
    hang_after: int | None = None  # bytes of the body, then nothing comes for a while
    drip_s: float | None = None  # between small pieces
    length: bool = True  # whether Content-Length is told
    wrong_range: bool = False
    refuses_ranges: bool = False  # with 416
    requests: list[dict[str, str]] = field(default_factory=list)


@dataclass
class Server:
    """The running server, and the file that it should be giving."""

    url: str
    behaviour: Behaviour

    @property
    def file(self) -> RemoteFile:
        return RemoteFile(
            name="net.pth", url=self.url, sha256=hashlib.sha256(CONTENT).hexdigest(), size_bytes=len(CONTENT)
        )


LIMITS = Limits(silence_s=5.0, loopback_http=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    behaviour: Behaviour
    released: threading.Event

    def do_GET(self) -> None:
        self.behaviour.requests.append(dict(self.headers.items()))
        self.close_connection = True
        if self.behaviour.redirect is not None:
            self._head(302, 0, {"Location": self.behaviour.redirect})
        elif self.behaviour.status != 200:
            self._head(self.behaviour.status, 0, {})
        elif self.behaviour.refuses_ranges and "Range" in self.headers:
            self._head(416, 0, {})
        else:
            self._answer()

    def _answer(self) -> None:
        start = self._start()
        body = self.behaviour.content[start:]
        headers = {}
        if start:
            told = start + 1 if self.behaviour.wrong_range else start
            last, total = len(self.behaviour.content) - 1, len(self.behaviour.content)
            headers["Content-Range"] = f"bytes {told}-{last}/{total}"
        self._head(206 if start else 200, len(body), headers)
        self._body(body)

    def _start(self) -> int:
        """Where the asked range begins, where it is to be honoured (RFC 9110, section 13.1.5)."""
        wanted, condition = self.headers.get("Range"), self.headers.get("If-Range")
        current = self.behaviour.etag or self.behaviour.last_modified
        if not self.behaviour.ranges or wanted is None or (condition is not None and condition != current):
            return 0
        return int(wanted.removeprefix("bytes=").removesuffix("-"))

    def _head(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        own = {"ETag": self.behaviour.etag, "Last-Modified": self.behaviour.last_modified}
        own["Content-Length"] = str(length) if self.behaviour.length else None
        for name, value in {
            "Content-Type": self.behaviour.content_type,
            **own,
            **headers,
            "Connection": "close",
        }.items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()

    def _body(self, body: bytes) -> None:
        if self.behaviour.drip_s is not None:
            for place in range(0, len(body), 1000):
                self.wfile.write(body[place : place + 1000])
                self.wfile.flush()
                time.sleep(self.behaviour.drip_s)
                if self.released.is_set():
                    return
        cut = self.behaviour.stop_after if self.behaviour.hang_after is None else self.behaviour.hang_after
        self.wfile.write(body[:cut])
        self.wfile.flush()
        if self.behaviour.hang_after is not None:
            self.released.wait(20)

    def log_message(self, *_: object) -> None:
        """Nothing: the tests read ``requests``."""


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that leaves early is what many of the tests are about."""


@pytest.fixture
def server() -> Iterator[Server]:
    behaviour, released = Behaviour(), threading.Event()
    running = _Quiet(("127.0.0.1", 0), type("Handler", (_Handler,), {"behaviour": behaviour, "released": released}))
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield Server(url=f"http://127.0.0.1:{running.server_port}/net.pth", behaviour=behaviour)
    finally:
        released.set()
        running.shutdown()
        running.server_close()
        thread.join()
