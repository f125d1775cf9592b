"""Allows connections to the public internet only, with a check at the socket.

A page may give any address for an image: ``http://169.254.169.254/`` of a cloud's metadata service,
``http://localhost:9200/``, or a host name whose address changes between the check and the connection. A check of names
is not enough, because literal addresses are never looked up. So the check is in the function that creates each socket,
which gets the very address of the connection.

An address is global if the IANA registries say so *and* it embeds no other address: 6to4, Teredo, NAT64 and
IPv4-compatible IPv6 are refused, and IPv4-mapped IPv6 is judged as the IPv4 address. Takes some microseconds.

Sources: IANA special-purpose address registries (RFC 6890); RFC 6052, 8215 (NAT64), 3056 (6to4), 4380 (Teredo).
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Callable
from typing import Any

AddressRule = Callable[[str], bool]
"""Whether an IP address, as ``getaddrinfo`` formats it, may be connected to."""

_NOT_GLOBAL_V4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "192.0.0.0/24",  # protocol assignments; a cloud has its metadata at .192, and .9 serves no images
            "192.88.99.0/24",  # 6to4 relays
            "168.63.129.16/32",  # Azure's platform services; the address looks public
        ),
    )
)

_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
"""The only block of IPv6 from which global unicast addresses are assigned."""

_NOT_GLOBAL_V6 = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/32",  # Teredo
            "2002::/16",  # 6to4
            "3fff::/20",  # documentation; unknown to older versions of Python
        ),
    )
)

REFUSED = "the address is not global"
"""Part of the message of each refusal, even if a connector joins several errors."""


class AddressRefusedError(OSError):
    """A connection that must not be made. An ``OSError``, so that a connector tries the next address."""


def is_global_address(address: str) -> bool:
    """Whether an IP address belongs to the public internet; False for other strings."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is None:
            in_block = parsed in _GLOBAL_V6 and not any(parsed in network for network in _NOT_GLOBAL_V6)
            return in_block and parsed.is_global and not parsed.is_multicast
        parsed = parsed.ipv4_mapped
    if any(parsed in network for network in _NOT_GLOBAL_V4):
        return False
    return parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


def guarded_socket_factory(is_allowed: AddressRule = is_global_address) -> Callable[[tuple[Any, ...]], socket.socket]:
    """A ``socket_factory`` for a connector: sockets for allowed addresses, ``AddressRefusedError`` for others.

    Args:
        is_allowed: only tests use another rule than ``is_global_address``, because their server is on this machine.
    """

    def make_socket(address_info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = address_info
        if not is_allowed(address[0]):
            raise AddressRefusedError(errno.EACCES, REFUSED)
        return socket.socket(family=family, type=kind, proto=protocol)

    return make_socket
