"""Downloads from a real server on loopback: whole, gone on with, and everything that a server can do wrong."""

from __future__ import annotations

import dataclasses
import fcntl
import resource
import signal
import socket
from pathlib import Path

import pytest

from espdeploy.errors import InputFileError, MissingCapability
from espdeploy.weights.download import fetch
from espdeploy.weights.remote import Fetched, Limits
from tests.unit.weights.conftest import CONTENT, LIMITS, OTHER, PAGE, Server


def get(server: Server, folder: Path, limits: Limits = LIMITS) -> Fetched:
    return fetch(server.file, folder, limits=limits)


def broken_off(server: Server, folder: Path, *, after: int) -> None:
    """A first attempt that ends early."""
    server.behaviour.stop_after = after
    with pytest.raises(InputFileError, match="cut short"):
        get(server, folder)
    server.behaviour.stop_after = None
    assert not (folder / "net.pth").exists()


def test_a_whole_file_comes_once_and_is_then_here(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "made" / "here"
    seen: list[tuple[int, int | None]] = []
    first = fetch(server.file, folder, limits=LIMITS, progress=lambda done, total, _: seen.append((done, total)))
    assert (first.path, first.cached, first.received_bytes) == (folder / "net.pth", False, len(CONTENT))
    assert first.path.read_bytes() == CONTENT
    assert seen[0] == (0, 300)
    assert seen[-1] == (300, 300)
    assert seen == sorted(seen)
    again = get(server, folder)
    assert again.cached
    assert len(server.behaviour.requests) == 1
    assert {path.name for path in folder.iterdir()} == {"net.pth"}


def test_a_damaged_file_under_the_name_is_replaced(server: Server, tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(OTHER)
    assert not get(server, tmp_path).cached
    assert (tmp_path / "net.pth").read_bytes() == CONTENT


@pytest.mark.parametrize("validator", ["etag", "last_modified"])
def test_a_broken_download_goes_on_where_it_ended(server: Server, tmp_path: Path, validator: str) -> None:
    if validator == "last_modified":
        server.behaviour.etag, server.behaviour.last_modified = None, "Mon, 01 Jul 2019 10:00:00 GMT"
    broken_off(server, tmp_path, after=120_000)
    done = get(server, tmp_path)
    assert done.path.read_bytes() == CONTENT
    assert (done.resumed_from_bytes, done.received_bytes) == (120_000, 180_000)
    asked = server.behaviour.requests[1]
    assert asked["Range"] == "bytes=120000-"
    assert asked["If-Range"] == (server.behaviour.etag or server.behaviour.last_modified)
    assert {path.name for path in tmp_path.iterdir()} == {"net.pth"}


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    broken_off(server, tmp_path, after=120_000)
    server.behaviour.ranges = False
    done = get(server, tmp_path)
    assert done.path.read_bytes() == CONTENT
    assert (done.resumed_from_bytes, done.received_bytes) == (0, len(CONTENT))


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_validator_nothing_is_glued(server: Server, tmp_path: Path, etag: str | None) -> None:
    server.behaviour.etag = etag
    broken_off(server, tmp_path, after=120_000)
    assert get(server, tmp_path).resumed_from_bytes == 0
    assert "Range" not in server.behaviour.requests[1]


def test_a_file_that_changed_between_attempts_is_not_glued(server: Server, tmp_path: Path) -> None:
    server.behaviour.content, server.behaviour.etag = OTHER, '"old"'
    broken_off(server, tmp_path, after=120_000)
    server.behaviour.content, server.behaviour.etag = CONTENT, '"new"'
    done = get(server, tmp_path)
    assert done.path.read_bytes() == CONTENT
    assert done.resumed_from_bytes == 0


def test_parts_that_do_not_fit_are_removed_and_the_next_attempt_starts_over(server: Server, tmp_path: Path) -> None:
    server.behaviour.content = OTHER
    broken_off(server, tmp_path, after=120_000)
    server.behaviour.content = CONTENT  # under the same tag: a server that does not keep its promise
    with pytest.raises(InputFileError) as caught:
        get(server, tmp_path)
    assert "two parts" in caught.value.what
    assert list(tmp_path.iterdir()) == []
    assert get(server, tmp_path).path.read_bytes() == CONTENT


@pytest.mark.parametrize("fault", ["wrong_range", "refuses_ranges"])
def test_a_wrong_or_refused_range_starts_over(server: Server, tmp_path: Path, fault: str) -> None:
    broken_off(server, tmp_path, after=120_000)
    setattr(server.behaviour, fault, True)
    done = get(server, tmp_path)
    assert done.path.read_bytes() == CONTENT
    assert done.resumed_from_bytes == 0
    assert [request.get("Range") for request in server.behaviour.requests] == [None, "bytes=120000-", None]


def test_a_whole_part_file_needs_no_server(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".net.pth.part").write_bytes(CONTENT)  # the process ended between the last byte and the renaming
    assert get(server, tmp_path).received_bytes == 0
    assert (tmp_path / "net.pth").read_bytes() == CONTENT
    assert not server.behaviour.requests


def test_a_wrong_checksum_is_not_kept(server: Server, tmp_path: Path) -> None:
    server.behaviour.content = OTHER
    with pytest.raises(InputFileError) as caught:
        get(server, tmp_path)
    assert caught.value.exit_code == 2
    assert server.file.sha256 in caught.value.why
    assert server.file.sha256 in caught.value.do
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("length", [True, False])
def test_a_file_that_is_too_long_stops_at_once(server: Server, tmp_path: Path, length: bool) -> None:
    server.behaviour.content, server.behaviour.length = CONTENT + b"x" * 50_000_000, length
    with pytest.raises(InputFileError, match="not the released") as caught:
        get(server, tmp_path)
    assert "300,000" in caught.value.why
    assert list(tmp_path.iterdir()) == []


def test_a_short_file_whose_length_is_told_is_another_one(server: Server, tmp_path: Path) -> None:
    server.behaviour.content = CONTENT[:-1]
    with pytest.raises(InputFileError, match="not the released"):
        get(server, tmp_path)


@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "application/octet-stream"])
def test_a_page_in_the_files_place_is_not_kept(server: Server, tmp_path: Path, content_type: str) -> None:
    # of the file's size, so that the page alone is what is noticed
    server.behaviour.content = PAGE.ljust(len(CONTENT))
    server.behaviour.content_type = content_type
    with pytest.raises(InputFileError) as caught:
        get(server, tmp_path)
    assert "web page" in caught.value.what
    assert str(tmp_path / "net.pth") in caught.value.do
    assert list(tmp_path.iterdir()) == []


def test_what_came_before_survives_a_sign_in_page(server: Server, tmp_path: Path) -> None:
    broken_off(server, tmp_path, after=120_000)
    server.behaviour.content_type = "text/html"
    with pytest.raises(InputFileError, match="web page"):
        get(server, tmp_path)
    server.behaviour.content_type = "application/octet-stream"
    assert get(server, tmp_path).resumed_from_bytes == 120_000


@pytest.mark.parametrize(
    ("status", "kind", "told"),
    [
        (404, InputFileError, "HTTP 404"),
        (410, InputFileError, "HTTP 410"),
        (403, MissingCapability, "HTTP 403"),
        (429, MissingCapability, "HTTP 429"),
        (503, MissingCapability, "HTTP 503"),
    ],
)
def test_a_refusal_names_the_status_and_what_to_do(
    server: Server, tmp_path: Path, status: int, kind: type[InputFileError | MissingCapability], told: str
) -> None:
    server.behaviour.status = status
    with pytest.raises(kind) as caught:
        get(server, tmp_path)
    assert told in caught.value.what
    assert str(tmp_path / "net.pth") in caught.value.do
    assert list(tmp_path.iterdir()) == []


def test_redirects_in_a_circle_end(server: Server, tmp_path: Path) -> None:
    server.behaviour.redirect = server.url
    with pytest.raises(InputFileError, match="circle"):
        get(server, tmp_path)
    assert 2 <= len(server.behaviour.requests) <= 6


@pytest.mark.parametrize("target", ["http://example.invalid/net.pth", "file:///etc/passwd", "ftp://127.0.0.1/net.pth"])
def test_redirects_to_anything_but_https_are_refused(server: Server, tmp_path: Path, target: str) -> None:
    server.behaviour.redirect = target
    with pytest.raises(InputFileError, match="not https") as caught:
        get(server, tmp_path)
    assert target in caught.value.what


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/net.pth", "file:///etc/hostname", "http://example.invalid/x"])
def test_addresses_that_are_not_https_are_refused_unasked(server: Server, tmp_path: Path, url: str) -> None:
    with pytest.raises(InputFileError, match="not https"):
        fetch(dataclasses.replace(server.file, url=url), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_silent_server_is_left_and_the_start_is_kept(server: Server, tmp_path: Path) -> None:
    server.behaviour.hang_after = 100_000
    with pytest.raises(MissingCapability) as caught:
        get(server, tmp_path, Limits(silence_s=0.2, loopback_http=True))
    assert "0.10 of 0.30 MB" in caught.value.what
    assert "goes on from there" in caught.value.do
    server.behaviour.hang_after = None
    assert get(server, tmp_path).resumed_from_bytes == 100_000


def test_a_server_that_drips_is_left_in_time(server: Server, tmp_path: Path) -> None:
    server.behaviour.drip_s = 0.05
    with pytest.raises(MissingCapability, match="did not come in time"):
        get(server, tmp_path, Limits(total_s=0.3, loopback_http=True))
    assert (tmp_path / ".net.pth.part").stat().st_size < len(CONTENT)


def test_a_server_that_accepts_and_says_nothing(server: Server, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/net.pth"
        with pytest.raises(MissingCapability, match="has sent nothing"):
            fetch(dataclasses.replace(server.file, url=url), tmp_path, limits=Limits(silence_s=0.2, loopback_http=True))


def test_offline_says_what_to_do_by_hand(server: Server, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    file = dataclasses.replace(server.file, url=f"http://127.0.0.1:{port}/net.pth")
    with pytest.raises(MissingCapability) as caught:
        fetch(file, tmp_path, limits=LIMITS)
    assert caught.value.exit_code == 3
    assert "refused" in caught.value.what
    assert file.url in caught.value.do
    assert str(tmp_path / "net.pth") in caught.value.do
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_speak_http(server: Server, tmp_path: Path) -> None:
    import threading

    with socket.create_server(("127.0.0.1", 0)) as strange:

        def greet() -> None:
            connection, _ = strange.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"220 welcome\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        url = f"http://127.0.0.1:{strange.getsockname()[1]}/net.pth"
        with pytest.raises(MissingCapability, match="cannot reach"):
            fetch(dataclasses.replace(server.file, url=url), tmp_path, limits=LIMITS)
        thread.join()


def test_a_second_process_waits_its_turn(server: Server, tmp_path: Path) -> None:
    with (tmp_path / ".net.pth.part").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(MissingCapability, match="already"):
            get(server, tmp_path)
    assert not server.behaviour.requests
    assert get(server, tmp_path).path.read_bytes() == CONTENT


def test_a_disk_without_room_says_so_and_the_download_goes_on_later(server: Server, tmp_path: Path) -> None:
    # a limit on the size of files makes write() fail as a full disk does
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(MissingCapability, match="cannot write") as caught:
            get(server, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert "XDG_CACHE_HOME" in caught.value.do
    assert not (tmp_path / "net.pth").exists()
    assert get(server, tmp_path).resumed_from_bytes == 100_000


def test_a_folder_that_cannot_be_made(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(MissingCapability, match="cannot write"):
        get(server, tmp_path / "file" / "weights")
