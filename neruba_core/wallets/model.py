"""Grants, the credit lots of a wallet, and holds, which reserve some of it for a while.

What was drawn from a grant are the entries on its account; what a hold reserves of it is written on the hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import TypeAlias

from attrs import evolve, frozen

from neruba_core.brief import brief
from neruba_core.instants import Instant
from neruba_core.ledger.chart import Chart

_NEVER = datetime.max.replace(tzinfo=UTC)

Rank: TypeAlias = tuple[int, bool, Instant, bool, Instant, str]


class GrantKind(StrEnum):
    """Where a grant's credit came from; it decides the account against it and the spending order."""

    PROMOTIONAL = "promotional"
    PAID = "paid"
    GOODWILL = "goodwill"


def expires_to(chart: Chart, kind: GrantKind) -> str:
    """The account that expired credit goes to."""
    return {
        GrantKind.PROMOTIONAL: chart.promotions,
        GrantKind.GOODWILL: chart.goodwill,
        GrantKind.PAID: chart.breakage,
    }[kind]


@frozen
class Grant:
    """A lot of credit, immutable; what remains of it is the balance of ``wallet:{id}``.

    *succeeds* names the expired grant in whose place this one was opened, to give back what it had lost.
    Where there are *metric_keys* (sorted), it pays for usage of these metrics and for nothing else.
    """

    project_id: str
    id: str
    kind: GrantKind
    priority: int
    amount_micros: int
    effective_at: Instant
    expires_at: Instant | None
    transaction_id: str
    succeeds: str | None = None
    metric_keys: tuple[str, ...] = ()

    def pays_for(self, metric_key: str | None) -> bool:
        """Whether it may be spent on that metric; ``None`` is anything that is no usage."""
        return not self.metric_keys or metric_key in self.metric_keys

    @cached_property
    def account(self) -> str:
        """The ledger account that holds what remains of the grant."""
        return f"wallet:{self.id}"

    @cached_property
    def rank(self) -> Rank:
        """Its place among the grants of its wallet: the lower is spent first. See ``spending``."""
        return (
            self.priority,
            not self.metric_keys,
            self.expires_at or _NEVER,
            self.kind is GrantKind.PAID,
            self.effective_at,
            self.id,
        )


@brief
class Lot:
    """A grant, what remains of it, and how much of that open holds reserve."""

    grant: Grant
    remaining_micros: int
    held_micros: int = 0

    @property
    def free_micros(self) -> int:
        """What remains and is not held: all that may be taken from the grant."""
        return self.remaining_micros - self.held_micros

    def expired(self, at: Instant) -> bool:
        """Periods are half-open: a grant that expires now is gone."""
        return self.grant.expires_at is not None and self.grant.expires_at <= at

    def counted_micros(self, at: Instant) -> int:
        """What of the grant counts in the balance: all that remains, and once it has expired what is held."""
        return self.held_micros if self.expired(at) else self.remaining_micros


def scoped_micros(lots: Iterable[Lot], at: Instant, metric_key: str | None = None) -> int:
    """What there is of unexpired credit that pays for some metrics only; with *metric_key*, for that one. No
    hold ever holds any of it."""
    return sum(
        lot.free_micros
        for lot in lots
        if lot.grant.metric_keys
        and (metric_key is None or metric_key in lot.grant.metric_keys)
        and not lot.expired(at)
    )


class HoldState(StrEnum):
    """What has become of a hold; it leaves ``held`` once."""

    HELD = "held"
    CAPTURED = "captured"
    RELEASED = "released"
    EXPIRED = "expired"


@frozen
class Draw:
    """What a hold reserves of one grant."""

    grant_id: str
    micros: int


@frozen
class Hold:
    """Credit reserved for a charge that is not known in full yet.

    *draws* say of which grants it was taken, in spending order; what they do not cover stands against the
    credit limit. *captured_micros* and *transaction_id* tell what was charged in the end. It is its own
    record of its event: unique by (project, event id).
    """

    project_id: str
    id: str
    amount_micros: int
    description: str
    event_id: str
    idempotency_key: str
    draws: tuple[Draw, ...]
    expires_at: Instant
    created_at: Instant
    state: HoldState = HoldState.HELD
    captured_micros: int = 0
    transaction_id: str | None = None
    closed_at: Instant | None = None

    def at(self, moment: Instant) -> Hold:
        """The hold by the clock: what expires now is expired, whether or not that is written down yet."""
        if self.state is HoldState.HELD and self.expires_at <= moment:
            return self.closed(HoldState.EXPIRED, at=self.expires_at)
        return self

    def closed(
        self,
        state: HoldState,
        *,
        at: Instant,
        captured_micros: int = 0,
        transaction_id: str | None = None,
    ) -> Hold:
        """The hold as it is from *at* on."""
        return evolve(
            self,
            state=state,
            captured_micros=captured_micros,
            transaction_id=transaction_id,
            closed_at=at,
        )

    def opened(self) -> Hold:
        """The hold as it was when it was reserved."""
        return evolve(self, state=HoldState.HELD, captured_micros=0, transaction_id=None, closed_at=None)
