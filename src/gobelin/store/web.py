"""Reads files on web servers by ``https://``: archives where they are published, such as Common Crawl's.

Plain ``http://`` is allowed only for this machine, because anybody on the way could change the data. Files are read by
ranges. Each request requires the entity tag from the opening of the file, so a change is noticed.

If a server is unavailable, busy (429, 5xx) or cuts a response, the request is repeated for ``SECONDS_OF_OUTAGE``, with
growing pauses, or after the time in ``Retry-After``. Common Crawl answers 403 to clients with too many requests. So
after a 403 the request is repeated too, with long pauses, because faster requests would prolong the block.
"""

from __future__ import annotations

import email.utils
import functools
import io
import os
import random
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, BinaryIO, NamedTuple
from urllib.parse import urljoin, urlsplit

from gobelin.errors import UserError
from gobelin.store.range_file import RangeFile

if TYPE_CHECKING:
    import requests

SECONDS_OF_OUTAGE = 600.0
"""Seconds for which a request is repeated while a file is being read."""

SECONDS_AT_FIRST = 60.0
"""The same when a file is opened for the first time; short, because a mistyped name should fail soon."""

MOST_READ_BYTES = 32 * 2**20
"""Bytes that one request asks for at most. Public servers limit the number of requests, so it is large."""

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 60.0
_REFUSED_PAUSE_SECONDS = 15.0
_SECONDS_TO_ANSWER = (10.0, 60.0)  # to connect; between two pieces of an answer
_MAX_WHOLE_BYTES = 512 * 2**20
_MAX_REDIRECTS = 5
_SECONDS_OF_GRACE = 60.0  # in which an answer may come as slowly as it likes
_LEAST_BYTES_A_SECOND = 1024
_BUSY = (408, 425, 429, 500, 502, 503, 504, 509)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class ChangedError(UserError):
    """A file has changed since the run began."""


class Facts(NamedTuple):
    """Facts about a file from the server's response."""

    size: int  # bytes
    tag: str  # its entity tag, or else when it was changed; "" where the server says neither


def check_address(address: str) -> None:
    """Raises UserError unless gobelin may read from the address."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UserError(f"{address}: not the address of a file: {error}") from None
    if not host:
        raise UserError(f"{address}: not the address of a file: it names no host")
    if parts.username or parts.password:
        raise UserError(
            f"{parts.scheme}://...@{host}: the password in an address would appear in every output; leave it out"
        )
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise UserError(f"{address}: http is not read, because anybody on the way can change it; use https")


def check_not_local(source: str, address: str) -> None:
    """Raises UserError if a remote server names an address on this machine, whose services are not for others."""
    if urlsplit(address).hostname in _LOOPBACK and urlsplit(source).hostname not in _LOOPBACK:
        raise UserError(f"{source}: it names {address}, which is on this machine")


def path_of(address: str) -> str:
    """The path of an address on its server, "/..."; "" for an invalid address."""
    try:
        return urlsplit(address).path
    except ValueError:
        return ""


def beside(address: str, reference: str) -> str:
    """The address that ``reference`` in a list at ``address`` means. Raises UserError if it is invalid."""
    try:
        return urljoin(address, reference)
    except ValueError as error:
        raise UserError(f"{address}: it names {reference!r}, which is not an address: {error}") from None


def facts_of(address: str, seconds: float = SECONDS_AT_FIRST) -> Facts:
    """Size and tag of a file.

    Raises:
        OSError: as in ``read``.
    """
    return _ask(address, range(1), seconds, 1).facts


def read(address: str, seconds: float = SECONDS_AT_FIRST) -> bytes:
    """The content of a file.

    Raises:
        FileNotFoundError: there is no such file.
        PermissionError: the server refuses.
        OSError: the server is unavailable, or the file is too large for memory.
    """
    return _ask(address, None, seconds, _MAX_WHOLE_BYTES).content


def open_reader(address: str, tag: str | None = None) -> BinaryIO:
    """Opens the file for reading, with seek.

    Args:
        tag: required tag of the file.

    Raises:
        ChangedError: the file has another tag, now or later.
        OSError: as in ``read``.
    """
    facts = facts_of(address, SECONDS_OF_OUTAGE)
    if tag is not None and facts.tag != tag:
        raise _changed(address)

    def fetch(start: int, length: int) -> bytes:
        answer = _ask(address, range(start, start + length), SECONDS_OF_OUTAGE, length)
        if answer.facts != facts:
            raise _changed(address)
        return answer.content

    return io.BufferedReader(RangeFile(address, facts.size, fetch, MOST_READ_BYTES), 64 * 1024)


def _changed(address: str) -> ChangedError:
    return ChangedError(f"{address} has changed since it was looked at; give the command with its --input again")


class _Answer(NamedTuple):
    content: bytes
    facts: Facts


class _AgainError(Exception):
    """A request failed, and a retry may succeed."""

    def __init__(self, why: str, pause: float = 0.0) -> None:
        super().__init__(why)
        self.pause = pause  # seconds, at least


def _ask(address: str, wanted: range | None, seconds: float, max_bytes: int) -> _Answer:
    """The response to a request, which is retried for ``seconds`` while a retry may succeed.

    Args:
        wanted: bytes of the file; None: all.
    """
    check_address(address)
    end, pause = time.monotonic() + seconds, _FIRST_PAUSE_SECONDS
    while True:
        try:
            return _ask_once(address, wanted, max_bytes)
        except _AgainError as error:
            wait = max(error.pause, pause * random.uniform(0.5, 1.0))
            if time.monotonic() + wait > end:
                raise OSError(5, f"{error}, tried for {seconds:.0f} s", address) from None
            time.sleep(wait)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def _ask_once(address: str, wanted: range | None, max_bytes: int) -> _Answer:
    import requests
    import urllib3

    try:
        with _answer_to(address, wanted) as answer:
            _check_status(answer, address)
            facts, length = _facts(answer, address, wanted)
            if length > max_bytes:
                raise OSError(5, f"answers with {length:,} bytes, more than was asked for", address)
            return _Answer(_content(answer, length), facts)
    except (
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
        urllib3.exceptions.LocationValueError,
    ) as e:
        raise OSError(5, _short(e), address) from None
    except requests.exceptions.SSLError as error:
        raise OSError(5, f"no valid certificate: {_short(error)}", address) from None
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise _AgainError(_short(error)) from None


def _answer_to(address: str, wanted: range | None) -> requests.Response:
    """The response to a request, after all redirects. Each redirect is checked before it is followed: a remote server
    must not redirect to this machine, nor to an address that is not allowed."""
    headers = {"Accept-Encoding": "identity"}
    if wanted is not None:
        headers["Range"] = f"bytes={wanted.start}-{wanted.stop - 1}"
    session, step = _session(os.getpid()), address
    for _ in range(_MAX_REDIRECTS + 1):
        answer = session.get(step, headers=headers, stream=True, timeout=_SECONDS_TO_ANSWER, allow_redirects=False)
        if not answer.is_redirect:
            return answer
        target = answer.headers["Location"].encode("latin-1").decode("utf-8", "replace")
        answer.close()
        try:
            before, step = step, beside(step, target)
            check_address(step)
            check_not_local(before, step)
        except UserError as error:
            raise OSError(5, f"redirects where it may not: {error}", address) from None
    raise OSError(5, f"redirects more than {_MAX_REDIRECTS} times", address)


def _content(answer: requests.Response, length: int) -> bytes:
    """The bytes of a response as sent. A compressed file remains compressed, whatever ``Content-Encoding`` says."""
    content, start = bytearray(), time.monotonic()
    while part := answer.raw.read1(1 << 20, decode_content=False):
        content += part
        if len(content) > length:
            break
        seconds = time.monotonic() - start
        if seconds > _SECONDS_OF_GRACE and len(content) < seconds * _LEAST_BYTES_A_SECOND:
            raise _AgainError(f"only {len(content):,} bytes came in {seconds:.0f} s")
    if len(content) != length:
        raise _AgainError(f"the answer was cut after {len(content):,} of {length:,} bytes")
    return bytes(content)


def _check_status(answer: requests.Response, address: str) -> None:
    status = answer.status_code
    if status in (200, 206):
        return
    if status in (404, 410):
        raise FileNotFoundError(2, f"the server has no such file ({status})", address)
    if status in _BUSY:
        raise _AgainError(f"the server answers {status}", _seconds_asked_for(answer))
    if status == 403 and _means_slow_down(answer, address):
        raise _AgainError(
            "the server answers 403: too much was asked of it, and it may refuse all from here for a day",
            max(_REFUSED_PAUSE_SECONDS, _seconds_asked_for(answer)),
        )
    if status in (401, 403, 407, 451):
        raise PermissionError(13, f"the server refuses ({status})", address)
    raise OSError(5, f"the server answers {status}", address)


def _means_slow_down(answer: requests.Response, address: str) -> bool:
    host = urlsplit(address).hostname or ""
    if host == "commoncrawl.org" or host.endswith(".commoncrawl.org"):
        return True
    beginning = next(answer.iter_content(2048), b"")
    return b"SlowDown" in beginning or b"reduce your request rate" in beginning


def _seconds_asked_for(answer: requests.Response) -> float:
    """The pause in ``Retry-After``, which holds seconds or a date."""
    value = answer.headers.get("Retry-After", "")
    if value.isdecimal() and len(value) < 9:
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def _facts(answer: requests.Response, address: str, wanted: range | None) -> tuple[Facts, int]:
    """(the file's size and tag, bytes of this response).

    Raises:
        OSError: the server does not state the size, does not support ranges, or answers with another range.
    """
    tag = answer.headers.get("ETag", "").removeprefix("W/") or answer.headers.get("Last-Modified", "")
    length = _number(answer.headers.get("Content-Length"))
    if length is None:
        raise OSError(5, "the server does not state the length of the file", address)
    if answer.status_code == 206:
        part, _, whole = answer.headers.get("Content-Range", "").strip().removeprefix("bytes ").rpartition("/")
        size = _number(whole)
        if size is None:
            raise OSError(5, "the server does not state the length of the file", address)
        if wanted is None or _number(part.partition("-")[0]) != wanted.start:
            raise OSError(5, f"answers with another part of the file than was asked for ({part})", address)
        return Facts(size, tag), length
    if wanted is not None and length != 0:
        raise OSError(5, "the server does not answer with a part of the file (no range requests); download it", address)
    return Facts(length, tag), length


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() and len(text) < 19 else None


@functools.lru_cache(maxsize=1)
def _session(_: int) -> requests.Session:
    """The session of a process (its id is the key), because connections do not survive a fork. Proxies and certificates
    come from the environment."""
    import requests

    class Session(requests.Session):
        def get_redirect_target(self, resp: requests.Response) -> None:
            """Disables redirects in requests, which would read and decompress the whole response in memory."""

    session = Session()
    session.headers["User-Agent"] = f"gobelin/{version('gobelin')}"
    return session


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
