"""Files of Hugging Face's hub, where it may be out of reach.

``huggingface_hub`` tries each file six times with growing pauses before it looks into its cache: more than a minute on
a machine without a network. So one connection is tried first, for a few seconds.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator

WAIT_SECONDS = 5.0
"""After which the hub, or the proxy on the way to it, counts as out of reach."""


@contextlib.contextmanager
def hub_or_cache() -> Iterator[None]:
    """Where the hub does not answer, ``huggingface_hub`` takes files from its cache alone for the length of a block."""
    from huggingface_hub import constants

    given = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = given or not _answers(constants.ENDPOINT)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = given


def _answers(address: str) -> bool:
    """Whether a connection to the host of an address is made in time. Looking up its name counts, which has no time
    limit of its own."""
    answered = threading.Event()
    threading.Thread(target=_connect, args=(_first_stop(address), answered), daemon=True).start()
    return answered.wait(WAIT_SECONDS)


def _first_stop(address: str) -> urllib.parse.SplitResult:
    """The address of the proxy that the environment names for an address, or else the address."""
    parts = urllib.parse.urlsplit(address)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy is None or urllib.request.proxy_bypass(parts.hostname or ""):
        return parts
    return urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}")


def _connect(parts: urllib.parse.SplitResult, answered: threading.Event) -> None:
    port = parts.port or (443 if parts.scheme == "https" else 80)
    with contextlib.suppress(OSError), socket.create_connection((parts.hostname or "", port), WAIT_SECONDS):
        answered.set()
