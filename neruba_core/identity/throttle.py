"""Brakes on guessing passwords: five failures are free of waiting, then each wait doubles.

The fifth failure makes the next attempt wait 1 s, the sixth 2 s, and so on up to 15 minutes; there is
never a lock that only staff can open. One failure is forgotten for every 15 minutes without another,
which is the longest wait: a guesser who keeps on gains nothing, an honest person is forgiven.

Two subjects are throttled side by side: the account, so that many addresses cannot share the work on
one password, and the address, so that one address cannot try one password on many accounts.
"""

from __future__ import annotations

import hashlib
import ipaddress
from datetime import timedelta

from neruba_core.identity.model import Throttle
from neruba_core.instants import Instant

FREE_FAILURES = 5
LONGEST_WAIT_SECONDS = 15 * 60
FORGET_ONE_AFTER = timedelta(seconds=LONGEST_WAIT_SECONDS)

# The number of failures at which the wait is longest; counting on would only delay forgiveness.
MOST_FAILURES = FREE_FAILURES + (LONGEST_WAIT_SECONDS - 1).bit_length()

# One subscriber is given at least this much of IPv6 (RFC 6177), and may use any address of it.
_IPV6_SUBSCRIBER_BITS = 64


def wait_seconds_after(failures: int) -> int:
    """How long the next attempt waits after *failures*."""
    if failures < FREE_FAILURES:
        return 0
    return min(1 << min(failures - FREE_FAILURES, 30), LONGEST_WAIT_SECONDS)


def remembered(throttle: Throttle | None, at: Instant) -> int:
    """How many failures still count at *at*."""
    if throttle is None:
        return 0
    forgotten = max(0, (at - throttle.last_failure_at) // FORGET_ONE_AFTER)
    return max(0, throttle.failures - forgotten)


def after_failure(subject: str, throttle: Throttle | None, at: Instant) -> Throttle:
    """The throttle of *subject* once another attempt has failed at *at*."""
    failures = min(remembered(throttle, at) + 1, MOST_FAILURES)
    return Throttle(
        subject=subject,
        failures=failures,
        blocked_until=at + timedelta(seconds=wait_seconds_after(failures)),
        last_failure_at=at,
    )


def wait_seconds(throttle: Throttle | None, at: Instant) -> int:
    """Whole seconds until an attempt is allowed, rounded up; 0 means now."""
    if throttle is None or throttle.blocked_until <= at:
        return 0
    return min(-((at - throttle.blocked_until) // timedelta(seconds=1)), LONGEST_WAIT_SECONDS)


def account(email: str) -> str:
    """The subject that every attempt at the account of *email* counts against."""
    return _subject("account", email)


def subjects(email: str, address: str | None) -> tuple[str, ...]:
    """What an attempt counts against: the account first, always, or two units could deadlock."""
    return (account(email),) if address is None else (account(email), _subject("address", _network(address)))


def _network(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        # A socket path or a proxy's word for a client: still one subject.
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed), _IPV6_SUBSCRIBER_BITS), strict=False))


def _subject(kind: str, name: str) -> str:
    # A digest: people type all sorts of things into the email field, passwords among them.
    return f"{kind}:{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()}"
