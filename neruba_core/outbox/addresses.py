"""Where messages may go: the public internet over https, and a developer's own machine.

An address is judged twice. The URL is when an endpoint is made, so that a mistake is seen at once; the
network address is before every connection, since a name can point anywhere by then.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

from neruba_core import texts
from neruba_core.errors import TextInvalid, WebhookUrlRefused

# Some programs take "127.1", "0x7f.1" or "2130706433" for an address: https://url.spec.whatwg.org/#ends-in-a-number-checker
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]+")

# They carry an IPv4 address in their last 32 bits, which a gateway on the way may unwrap.
_NAT64 = (ip_network("64:ff9b::/96"), ip_network("64:ff9b:1::/48"))


def checked_url(url: str, *, loopback: bool) -> str:
    """Return *url* if messages may be sent there: https, or with *loopback* http to this machine; with a
    host, without a user or fragment. Raises ``WebhookUrlRefused``."""
    expected = "an https URL of a public host" + (", or an http URL of this machine" if loopback else "")
    try:
        texts.clean(url)
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except (TextInvalid, ValueError):
        raise WebhookUrlRefused(expected, texts.shown(url, most=80)) from None
    if not host or not url.isascii() or " " in url or _has_more(parts) or not _may(parts, host, loopback):
        raise WebhookUrlRefused(expected, texts.shown(url, most=80))
    return url


def permitted(address: str, *, loopback: bool) -> bool:
    """Whether a connection to the network *address* may be made: global ones, and with *loopback* those of
    this machine. Addresses inside others (IPv4 in IPv6) count as what they stand for."""
    try:
        found = _unwrapped(ip_address(address.partition("%")[0]))
    except ValueError:
        return False
    if found.is_loopback:
        return loopback
    if isinstance(found, IPv6Address) and (found.is_site_local or found.teredo or found.sixtofour):
        return False
    return found.is_global and not (
        found.is_multicast or found.is_private or found.is_reserved or found.is_unspecified
    )


def is_this_machine(host: str) -> bool:
    """Whether *host* names this machine in plain words."""
    name = host.lower().removesuffix(".")
    # RFC 6761, section 6.3: so do all names below it.
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _has_more(parts: SplitResult) -> bool:
    return parts.username is not None or parts.password is not None or bool(parts.fragment)


def _may(parts: SplitResult, host: str, loopback: bool) -> bool:
    if is_this_machine(host):
        return loopback and parts.scheme in ("http", "https")
    try:
        literal = str(ip_address(host))
    except ValueError:
        # No name ends in a number, but what is no plain address may still be taken for one.
        return parts.scheme == "https" and not _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2])
    return parts.scheme == "https" and permitted(literal, loopback=False)


def _unwrapped(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if not isinstance(address, IPv6Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if any(address in network for network in _NAT64):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
