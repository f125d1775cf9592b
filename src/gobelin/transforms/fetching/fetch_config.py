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
    """What became of one image. Everything but ``OK`` leaves no bytes behind."""

    OK = "ok"  # fetched; whether it is a picture that can be used, the decisions say
    ROBOTS_DISALLOWED = "robots_disallowed"  # the host's robots.txt says no to us; not asked for
    ROBOTS_UNREACHABLE = "robots_unreachable"  # robots.txt answered 5xx or 429 or not in time, which means no
    OPTED_OUT = "opted_out"  # robots.txt or tdmrep.json of the host carry a directive of ``opt_outs``; not asked for
    BLOCKED_URL = "blocked_url"  # on the list of known files; not asked for
    NOT_GLOBAL_ADDRESS = "not_global_address"  # the host's address is not of the open internet; not connected to
    BAD_SCHEME = "bad_scheme"  # neither http nor https
    BAD_URL = "bad_url"  # no host, a host that is no name, a port other than 80 and 443, a user name, too long
    TOO_MANY_REDIRECTS = "too_many_redirects"  # more than ``max_redirects``
    REDIRECT_NOT_ALLOWED = "redirect_not_allowed"  # a redirect to what would be bad_scheme, bad_url or blocked_url
    HTTP_ERROR = "http_error"  # any status but 200, after the last try
    TIMEOUT = "timeout"  # not done within ``timeout_seconds``, at the last try
    TOO_SLOW = "too_slow"  # the body came below ``min_bytes_per_second``
    TOO_LARGE = "too_large"  # longer than ``extract.image.max_bytes``, announced or received
    DNS_ERROR = "dns_error"  # the host's name has no address
    CONNECTION_ERROR = "connection_error"  # refused, reset or closed without an answer
    TLS_ERROR = "tls_error"  # no valid certificate, no handshake
    CUT_SHORT = "cut_short"  # the body ended before its announced end
    BAD_RESPONSE = "bad_response"  # not HTTP, headers beyond all measure, a body that does not decode
    NOT_AN_IMAGE = "not_an_image"  # a page or something else, by its type and first bytes
    EMPTY = "empty"  # status 200 without a body
    HOST_UNREACHABLE = "host_unreachable"  # its host failed before; not asked for
    LIMIT_REACHED = "limit_reached"  # beyond ``max_images_per_host`` or ``max_host_seconds``; not asked for
    ERROR = "error"  # a fault of gobelin; ``detail`` has it


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FetchConfig:
    """Images that pages show and the archives lack are asked for on the web. Off unless a recipe turns it on.

    robots.txt is always obeyed, connections go to addresses of the open internet only, and there is no setting for
    either.
    """

    enabled: bool = False
    """Whether anything is fetched at all. Needs the extra ``gobelin[fetch]`` and a ``contact``."""

    contact: str = ""
    """Web page or mail address for people whose server is asked; it stands in the user agent. Must be yours."""

    num_candidates: int = 2
    """Addresses tried for one image, best first: each but the first only after the one before it failed."""

    opt_outs: tuple[str, ...] = ("ai-train=no", "train-ai=n", "tdm-reservation=1")
    """Directives of the host's robots.txt or tdmrep.json that keep an image from being asked for. An empty list asks
    all the same and leaves it to ``select``, which knows these signals and those of the image's own response."""

    timeout_seconds: float = 30.0
    """Time for one request, from the look-up of the name to the last byte."""

    connect_timeout_seconds: float = 10.0
    """Time for one connection attempt, part of ``timeout_seconds``."""

    min_bytes_per_second: int = 2048
    """Mean rate of a body below which a request is given up, once ``grace_seconds`` are over. A host that drips bytes
    would hold a connection otherwise until the time-out."""

    grace_seconds: float = 5.0
    """Time for which a body may come at any rate."""

    max_redirects: int = 5
    """Redirects followed for one image. Each is checked as the first address was."""

    max_tries: int = 3
    """Requests for one address of an image, retries included. Only 429, 5xx and time-outs are tried again."""

    retry_seconds: float = 2.0
    """Wait before the second try; doubled for each further one, with a jitter of half of it."""

    max_retry_after_seconds: float = 120.0
    """The longest ``Retry-After`` that is waited for. A host that asks for more is asked for nothing more."""

    host_delay_seconds: float = 1.0
    """From the beginning of one request to a host to that of the next. A longer ``Crawl-delay`` counts instead."""

    host_concurrency: int = 2
    """Requests to one host at a time."""

    concurrency: int = 16
    """Requests at a time in one worker; ``extract.image.max_bytes`` of memory each at worst."""

    max_failures_in_a_row: int = 5
    """Images of one host that may fail one after the other (no connection, time-out, 429, 5xx) before it is left."""

    max_images_per_host: int = 2000
    """Images asked for on one host."""

    max_host_seconds: float = 3600.0
    """Time spent on one host. Holds where a host asks for a long ``Crawl-delay``."""

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
        """Who asks: "gobelin/0.1.0 (+https://example.org/about)". Raises UserError where there is no contact."""
        if not self.contact:
            raise UserError(f"extract.fetch.{_CONTACT_WANTED}: --set extract.fetch.contact=...")
        return f"{AGENT}/{importlib.metadata.version('gobelin')} (+{self.contact})"


_CONTACT_WANTED = (
    "contact must be a web page (https://...) or a mail address of yours; it tells the owners of the servers that are "
    "asked whom to write to"
)

AGENT = "gobelin"
"""The product token by which robots.txt addresses us (RFC 9309, 2.2.1)."""
