"""Connections to the open internet only, checked at the socket.

A page may name any address as that of a picture: ``http://169.254.169.254/`` of a cloud's metadata service,
``http://localhost:9200/``, or a name of its own whose answer changes between the check and the connect. A check of
names is not enough, because literal addresses are never looked up. So the check stands where every connection passes:
in the factory that makes its socket, which is given the very address that will be connected to.

An address is global when the IANA registries say so *and* it embeds no other address: 6to4, Teredo, NAT64 and
IPv4-compatible IPv6 are refused, IPv4-mapped IPv6 is judged as the IPv4 that it is. Costs some microseconds.

Sources: IANA special-purpose address registries (RFC 6890); RFC 6052, 8215 (NAT64), 3056 (6to4), 4380 (Teredo).
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Callable
from typing import Any

AddressRule = Callable[[str], bool]
"""Whether an IP address, as ``getaddrinfo`` writes it, may be connected to."""

_NOT_GLOBAL_V4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "192.0.0.0/24",  # protocol assignments; a cloud has its metadata at .192, and no picture is served from .9
            "192.88.99.0/24",  # 6to4 relays
            "168.63.129.16/32",  # Azure's platform services, on an address that looks public
        ),
    )
)

_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
"""The only block of IPv6 from which global unicast addresses are given out."""

_NOT_GLOBAL_V6 = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/32",  # Teredo
            "2002::/16",  # 6to4
            "3fff::/20",  # documentation; older Pythons do not know it
        ),
    )
)

REFUSED = "the address is not global"
"""Stands in the message of every refusal, also where a connector joins several errors into one."""


class AddressRefusedError(OSError):
    """A connection was asked for that must not be made. An ``OSError``, so that a connector tries the next address."""


def is_global_address(address: str) -> bool:
    """Whether an IP address belongs to the open internet. What is no IP address does not."""
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
    """A ``socket_factory`` for a connector: sockets for allowed addresses, ``AddressRefusedError`` for all others.

    Args:
        is_allowed: another rule than ``is_global_address`` is for tests, which have a server on this machine only.
    """

    def make_socket(address_info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = address_info
        if not is_allowed(address[0]):
            raise AddressRefusedError(errno.EACCES, REFUSED)
        return socket.socket(family=family, type=kind, proto=protocol)

    return make_socket
