"""One request to a server: https alone, few redirects, no page in a file's place, and errors that say what to do."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator, Mapping
from http.client import HTTPException, HTTPMessage, HTTPResponse
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from espdeploy.errors import EspdeployError, InputFileError, MissingCapability
from espdeploy.weights.remote import Job

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_PAGE_STARTS = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<script")
_PAGE_TYPES = ("text/html", "application/xhtml+xml")
_RANGE_NOT_SATISFIABLE = 416
_GONE = (404, 410)
_REDIRECTS_MAX = 5


class RangeRefused(Exception):
    """The server has no bytes from where we want to go on."""


@contextlib.contextmanager
def answer(job: Job, headers: Mapping[str, str]) -> Iterator[HTTPResponse]:
    """Ask for the file; the answer is 200 or 206 and no web page.

    Raises:
        RangeRefused: the server answers 416 to a range.
        InputFileError: the address holds no such file, is not secure, or leads to a page.
        MissingCapability: the server cannot be reached, or does not answer now.
    """
    _check_address(job.file.url, job)
    request = Request(job.file.url, headers={"Accept-Encoding": "identity", **headers})  # noqa: S310 - checked above
    try:
        response = _opener(job).open(request, timeout=job.limits.silence_s)
    except HTTPError as error:
        error.close()
        raise _refused(job, error) from error
    except (OSError, HTTPException) as error:
        raise unreachable(job, error) from error
    with response:
        if response.headers.get_content_type() in _PAGE_TYPES:
            raise page_instead(job)
        yield response


def is_page(start: bytes) -> bool:
    """Whether a file that starts so is a web page: servers name types wrongly."""
    return start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGE_STARTS)


def page_instead(job: Job) -> InputFileError:
    """A sign-in page, or a site's own way to say that there is nothing."""
    return InputFileError(
        f"{job.file.url} leads to a web page, not to {job.file.name}",
        why="the network asks to sign in first, or the file has moved",
        do=f"open the address in a browser; save the file as {job.final}: espdeploy finds it there",
    )


def unreachable(job: Job, error: Exception) -> MissingCapability:
    """No connection, or one that fails: the cause in the system's own words."""
    cause = error.reason if isinstance(error, URLError) else error
    host = urlsplit(job.file.url).hostname
    if isinstance(cause, TimeoutError):
        return MissingCapability(
            f"{host} has sent nothing for {job.limits.silence_s:g} s", why="the connection is slow", do=job.by_hand
        )
    if isinstance(cause, ssl.SSLCertVerificationError):
        return MissingCapability(
            f"{host} shows a certificate that this machine does not trust: {cause.verify_message}",
            why="the clock is wrong, the list of authorities is old, or something between reads the connection",
            do="sudo apt-get install --reinstall ca-certificates, or name your list with SSL_CERT_FILE",
        )
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return MissingCapability(
        f"cannot reach {host}: {text}", why="no connection to the internet, or a firewall between", do=job.by_hand
    )


class _Redirects(HTTPRedirectHandler):
    """Follows few redirects, and none to an address that is not secure."""

    max_redirections = _REDIRECTS_MAX

    def __init__(self, job: Job) -> None:
        self._job = job

    def redirect_request(  # noqa: PLR0917 - urllib's signature
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        """The next request; the SHA-256 decides what comes of it."""
        try:
            _check_address(newurl, self._job)
        except InputFileError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)

    http_error_308 = HTTPRedirectHandler.http_error_302  # Python 3.10 does not know it


def _opener(job: Job) -> OpenerDirector:
    """Handlers for what is allowed alone: no files, no FTP; proxies as the environment names them."""
    on_loopback = job.limits.loopback_http and urlsplit(job.file.url).hostname in _LOOPBACK
    handlers = [ProxyHandler({} if on_loopback else None), HTTPSHandler(), HTTPErrorProcessor()]
    if on_loopback:
        handlers.append(HTTPHandler())
    opener = OpenerDirector()
    for handler in (*handlers, HTTPDefaultErrorHandler(), _Redirects(job)):
        opener.add_handler(handler)
    return opener


def _check_address(url: str, job: Job) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and parts.hostname in _LOOPBACK and job.limits.loopback_http:
        return
    raise _not_secure(url, job)


def _not_secure(url: str, job: Job) -> InputFileError:
    redirected = "" if url == job.file.url else f"{job.file.url} redirects to "
    return InputFileError(
        f"{redirected}{url}, which is not https",
        why="files are fetched over secure connections alone; a network's sign-in page redirects so",
        do=job.by_hand,
    )


def _refused(job: Job, error: HTTPError) -> EspdeployError | RangeRefused:
    if error.code == _RANGE_NOT_SATISFIABLE:
        return RangeRefused()
    url = job.file.url
    if error.code in _GONE:
        return InputFileError(
            f"{url} is not there (HTTP {error.code})",
            why="the file was moved or withdrawn",
            do=f"find {job.file.name} with SHA-256 {job.file.sha256} elsewhere, and save it as {job.final}",
        )
    if 300 <= error.code < 400:
        target = error.headers.get("Location", "")
        if urlsplit(target).scheme not in ("", "http", "https"):  # urllib has refused it itself
            return _not_secure(target, job)
        return InputFileError(f"{url} redirects in a circle, or more than {_REDIRECTS_MAX} times", do=job.by_hand)
    return MissingCapability(
        f"{urlsplit(url).hostname} answers HTTP {error.code} {error.msg}".rstrip(),
        why="the server, or a proxy between, refuses for now",
        do=job.by_hand,
    )
