"""What becomes of a delivery after an attempt: pure decisions.

The schedule is that of the Standard Webhooks specification. An endpoint that says 410, or that has only
failed for five days, is disabled, and what waits for it is given up.
"""

from __future__ import annotations

from datetime import timedelta

from attrs import evolve, frozen

from neruba_core.instants import Instant
from neruba_core.outbox.model import Delivery, DeliveryAttempt, DeliveryState, Endpoint

_SECOND, _MINUTE, _HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)

RETRIES = (
    5 * _SECOND,
    5 * _MINUTE,
    30 * _MINUTE,
    2 * _HOUR,
    5 * _HOUR,
    10 * _HOUR,
    14 * _HOUR,
    20 * _HOUR,
    24 * _HOUR,
)
"""How long to wait after the first attempt, the second and so on; after the last one it is given up."""

JITTER = 0.2
"""By which part of itself a wait may be longer, so that what failed together does not return together."""

DISABLED_AFTER = timedelta(days=5)
ATTEMPTS_KEPT = 30
GONE = 410


@frozen
class Judged:
    """What an attempt came to; *disabled* says why the endpoint is disabled by it, if it is."""

    delivery: Delivery
    endpoint: Endpoint
    disabled: str | None = None


def succeeded(attempt: DeliveryAttempt) -> bool:
    """Whether the endpoint took the message: any 2xx says so, and nothing else, not even a redirect."""
    return attempt.status is not None and 200 <= attempt.status < 300


def judge(
    delivery: Delivery,
    endpoint: Endpoint,
    attempt: DeliveryAttempt,
    *,
    jitter: float,
    wait: timedelta = timedelta(0),
) -> Judged:
    """The delivery and its endpoint after *attempt*.

    *jitter* is from 0 to 1; *wait* is what the endpoint asked for, which is granted up to a day.
    """
    tried = evolve(
        delivery,
        tried=delivery.tried + 1,
        claim=None,
        attempts=(*delivery.attempts, attempt)[-ATTEMPTS_KEPT:],
    )
    if succeeded(attempt):
        # A disabled endpoint that takes what somebody sent by hand is back.
        well = evolve(endpoint, failing_since=None, disabled_at=None, disabled_reason=None)
        return Judged(_ended(tried, DeliveryState.DELIVERED, attempt.at), well)
    failing = evolve(endpoint, failing_since=endpoint.failing_since or attempt.at)
    disabled = None if endpoint.disabled_at is not None else _why_disable(failing, attempt)
    if disabled is not None:
        failing = evolve(failing, disabled_at=attempt.at, disabled_reason=disabled)
    again = again_at(tried.tried, attempt.at, jitter, wait)
    if again is None or failing.disabled_at is not None:
        return Judged(_ended(tried, DeliveryState.DEAD, attempt.at), failing, disabled)
    return Judged(evolve(tried, due_at=again), failing)


def again_at(tried: int, at: Instant, jitter: float, wait: timedelta = timedelta(0)) -> Instant | None:
    """When to try again after *tried* attempts, the last of them *at*; ``None``: never."""
    if tried > len(RETRIES):
        return None
    longest = RETRIES[-1]
    return at + max(RETRIES[tried - 1] * (1 + JITTER * jitter), min(wait, longest))


def anew(delivery: Delivery, at: Instant) -> Delivery:
    """The delivery begun again by hand: due at once, with the whole schedule before it."""
    return evolve(
        delivery, state=DeliveryState.PENDING, tried=0, due_at=at, ended_at=None, by_hand=True, claim=None
    )


def _why_disable(failing: Endpoint, attempt: DeliveryAttempt) -> str | None:
    if attempt.status == GONE:
        return "it answered 410 Gone"
    if failing.failing_since is not None and attempt.at - failing.failing_since >= DISABLED_AFTER:
        return f"it has failed for {DISABLED_AFTER.days} days"
    return None


def _ended(delivery: Delivery, state: DeliveryState, at: Instant) -> Delivery:
    return evolve(delivery, state=state, ended_at=at)
