"""Settings of fetching, and the fixed list of outcomes.

This module is separate from the code that fetches, so that a recipe can be read without the extra ``gobelin[fetch]``.
"""

from __future__ import annotations

import dataclasses
import enum
import importlib.metadata
import re

from gobelin.errors import UserError

_CONTACT = re.compile(r"(https?://[\w.-]+\.[\w-]+[^\s()<>\"]*|[\w.+-]+@[\w-]+(\.[\w-]+)+)", re.ASCII)


class FetchStatus(enum.StrEnum):
    """The outcome for one image. Only ``OK`` has bytes."""

    OK = "ok"  # fetched; decisions say whether it is a usable image
    ROBOTS_DISALLOWED = "robots_disallowed"  # the host's robots.txt disallows gobelin; not requested
    ROBOTS_UNREACHABLE = "robots_unreachable"  # robots.txt gave 5xx, 429 or no timely answer, which disallows all
    OPTED_OUT = "opted_out"  # the host's robots.txt or tdmrep.json has a directive of ``opt_outs``; not requested
    BLOCKED_URL = "blocked_url"  # on a block list; not requested
    NOT_GLOBAL_ADDRESS = "not_global_address"  # the host's address is not on the public internet; not connected to
    BAD_SCHEME = "bad_scheme"  # neither http nor https
    BAD_URL = "bad_url"  # no host, an invalid host, a port other than 80 and 443, a user name, too long
    TOO_MANY_REDIRECTS = "too_many_redirects"  # more than ``max_redirects``
    REDIRECT_NOT_ALLOWED = "redirect_not_allowed"  # a redirect to an address that is bad_scheme, bad_url or blocked_url
    HTTP_ERROR = "http_error"  # a status other than 200 at the last try
    TIMEOUT = "timeout"  # not finished within ``timeout_seconds`` at the last try
    TOO_SLOW = "too_slow"  # the body arrived at less than ``min_bytes_per_second``
    TOO_LARGE = "too_large"  # announced or received more than ``extract.image.max_bytes``
    DNS_ERROR = "dns_error"  # the host's name has no address
    CONNECTION_ERROR = "connection_error"  # refused, reset or closed without an answer
    TLS_ERROR = "tls_error"  # no valid certificate, no handshake
    CUT_SHORT = "cut_short"  # the body ended before its announced end
    BAD_RESPONSE = "bad_response"  # not HTTP, excessive headers, or a body that cannot be decoded
    NOT_AN_IMAGE = "not_an_image"  # a page or another kind of file, by its type and first bytes
    EMPTY = "empty"  # status 200 without a body
    HOST_UNREACHABLE = "host_unreachable"  # its host failed before; not requested
    LIMIT_REACHED = "limit_reached"  # beyond ``max_images_per_host`` or ``max_host_seconds``; not requested
    ERROR = "error"  # a defect of gobelin; see ``detail``


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FetchConfig:
    """Fetching of images that pages show but the archives lack. Off unless a recipe enables it.

    robots.txt is always obeyed, and connections go only to addresses of the public internet. No setting changes either.
    """

    enabled: bool = False
    """Whether anything is fetched. Needs the extra ``gobelin[fetch]`` and a ``contact``."""

    contact: str = ""
    """Web page or mail address for the owners of the servers. It is part of the user agent and must be yours."""

    num_candidates: int = 2
    """Maximum number of addresses that are tried for one image, best first. The next one is tried only after a
    failure."""

    opt_outs: tuple[str, ...] = ("ai-train=no", "train-ai=n", "tdm-reservation=1")
    """Directives in the host's robots.txt or tdmrep.json because of which an image is not requested. With an empty list
    it is requested, and ``select`` decides by these signals and those of the image's own response."""

    timeout_seconds: float = 30.0
    """Maximum time of one request, from the look-up of the name to the last byte."""

    connect_timeout_seconds: float = 10.0
    """Maximum time of one connection attempt, as part of ``timeout_seconds``."""

    min_bytes_per_second: int = 2048
    """Minimum mean rate of a body after ``grace_seconds``. Otherwise a host that drips bytes would occupy a connection
    until the time-out."""

    grace_seconds: float = 5.0
    """Time during which a body may arrive at any rate."""

    max_redirects: int = 5
    """Maximum number of redirects for one image. Each target is checked like the first address."""

    max_tries: int = 3
    """Maximum number of requests for one address of an image, including retries. Only 429, 5xx and time-outs are
    retried."""

    retry_seconds: float = 2.0
    """Pause before the second request; it doubles for each further one, with a jitter of up to half of it."""

    max_retry_after_seconds: float = 120.0
    """Maximum ``Retry-After``. A host that requests a longer pause is given up."""

    host_delay_seconds: float = 1.0
    """Minimum time between the beginnings of two requests to a host. A longer ``Crawl-delay`` replaces it."""

    host_concurrency: int = 2
    """Maximum number of parallel requests to one host."""

    concurrency: int = 16
    """Maximum number of parallel requests of one worker. In the worst case each takes ``extract.image.max_bytes`` of
    memory."""

    max_failures_in_a_row: int = 5
    """Number of consecutive images of one host that may fail (no connection, time-out, 429, 5xx) before the host is
    given up."""

    max_images_per_host: int = 2000
    """Maximum number of images that are requested from one host."""

    max_host_seconds: float = 3600.0
    """Maximum time spent on one host. It limits hosts with a long ``Crawl-delay``."""

    def __post_init__(self) -> None:
        if self.enabled and self.contact and not _CONTACT.fullmatch(self.contact):
            raise UserError(f"fetch.{_CONTACT_WANTED}, got {self.contact!r}")
        for name in ("num_candidates", "max_tries", "host_concurrency", "concurrency", "max_failures_in_a_row"):
            if getattr(self, name) < 1:
                raise UserError(f"fetch.{name} must be at least 1, got {getattr(self, name)}")
        for name in ("timeout_seconds", "connect_timeout_seconds", "max_host_seconds"):
            if getattr(self, name) <= 0:
                raise UserError(f"fetch.{name} must be above 0, got {getattr(self, name)}")
        for name in ("min_bytes_per_second", "grace_seconds", "max_redirects", "retry_seconds",
                     "max_retry_after_seconds", "host_delay_seconds", "max_images_per_host"):  # fmt: skip
            if getattr(self, name) < 0:
                raise UserError(f"fetch.{name} must not be negative, got {getattr(self, name)}")

    @property
    def user_agent(self) -> str:
        """The user agent: "gobelin/0.1.0 (+https://example.org/about)". Raises UserError if there is no contact."""
        if not self.contact:
            raise UserError(f"extract.fetch.{_CONTACT_WANTED}: --set extract.fetch.contact=...")
        return f"{AGENT}/{importlib.metadata.version('gobelin')} (+{self.contact})"


_CONTACT_WANTED = (
    "contact must be a web page (https://...) or a mail address of yours; it tells the owners of the servers whom to "
    "write to"
)

AGENT = "gobelin"
"""gobelin's product token in robots.txt (RFC 9309, 2.2.1)."""
