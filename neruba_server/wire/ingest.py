"""Usage and charges as machines send them, and what they are answered."""

from __future__ import annotations

from typing import Annotated, Any

from attrs import frozen
from msgspec import Meta

from neruba_core import instants, money, texts
from neruba_core.charges.charge import NewCharge as CoreCharge
from neruba_core.errors import NerubaError
from neruba_core.idempotency.model import Outcome
from neruba_core.usage.model import NewUsage as CoreUsage
from neruba_core.usage.void import Voided
from neruba_core.wallets.holds import NewCapture as CoreCapture
from neruba_core.wallets.holds import NewHold as CoreHold
from neruba_core.wallets.model import HoldState
from neruba_server.wire import converter
from neruba_server.wire.kinds import (
    KINDS,
    Amount,
    IdempotencyKey,
    Key255,
    MetricKey,
    Moment,
    Money,
    Name,
    Properties,
    Units,
    as_text,
    wrong_type,
)
from neruba_server.wire.problem import Fault


@frozen
class NewUsage:
    """One usage event; ``eventId`` defaults to the idempotency key."""

    metric_key: MetricKey
    units: Units
    timestamp: Moment
    event_id: Key255 | None = None
    properties: Properties | None = None

    def under(self, idempotency_key: str) -> CoreUsage:
        """The event as the core takes it."""
        return CoreUsage(
            self.metric_key, self.units, self.timestamp, idempotency_key, self.event_id, self.properties
        )


def usage_under(idempotency_key: str, value: Any) -> CoreUsage:
    """The event that *value*, a request's JSON, asks for. Raises ``BodyInvalid`` with every fault.

    A machine sends thousands a second, nearly all of them faultless; those are read without cattrs.
    """
    if type(value) is dict and value.keys() <= _MEMBERS:
        event_id, properties = value.get("eventId"), value.get("properties")
        try:
            return CoreUsage(
                texts.metric_key(as_text(value["metricKey"])),
                money.parse_non_negative(as_text(value["units"])),
                instants.parse(as_text(value["timestamp"])),
                idempotency_key,
                None if event_id is None else _key255(event_id),
                None if properties is None else _properties(properties),
            )
        except (KeyError, NerubaError):
            pass
    return converter.read(NewUsage, value).under(idempotency_key)


_MEMBERS = {"metricKey", "units", "timestamp", "eventId", "properties"}
_key255 = KINDS["key255"].read


def _properties(value: Any) -> Properties:
    if type(value) is not dict:
        raise wrong_type("an object", value)
    texts.properties(value)
    return value


@frozen
class KeyedUsage:
    """One usage event of a batch, with the key that a single one carries in its header."""

    idempotency_key: IdempotencyKey
    metric_key: MetricKey
    units: Units
    timestamp: Moment
    event_id: Key255 | None = None
    properties: Properties | None = None

    def keyed(self) -> CoreUsage:
        """The event as the core takes it."""
        return CoreUsage(
            self.metric_key,
            self.units,
            self.timestamp,
            self.idempotency_key,
            self.event_id,
            self.properties,
        )


@frozen
class UsageBatch:
    """1 to 1,000 events, each judged alone."""

    events: Annotated[tuple[KeyedUsage, ...], Meta(min_length=1, max_length=1000)]


@frozen
class Usage:
    """A recorded usage event."""

    id: str
    project_id: str
    metric_key: str
    units: Money
    timestamp: Moment
    event_id: str
    properties: Properties
    received_at: Moment
    late: bool


@frozen
class Quarantined:
    """A strict project could not place the event; nothing is billed until support replays it."""

    id: str
    outcome: Outcome
    reason: str


@frozen
class Counts:
    """How many attempts ended as what."""

    accepted: int
    replayed: int
    deduped: int
    conflict: int
    quarantined: int
    rejected: int


@frozen
class BatchResult:
    """What became of the event at *index*."""

    index: int
    outcome: Outcome
    id: str | None = None
    code: str | None = None
    message: str | None = None
    errors: tuple[Fault, ...] | None = None


@frozen
class BatchResults:
    """One result for each event, in order."""

    counts: Counts
    results: tuple[BatchResult, ...]


@frozen
class NewCharge:
    """Money to take from the wallet for something that just happened."""

    amount: Amount
    description: Name
    event_id: Key255 | None = None
    metadata: Properties | None = None

    def under(self, idempotency_key: str) -> CoreCharge:
        """The charge as the core takes it."""
        return CoreCharge(self.amount, self.description, idempotency_key, self.event_id, self.metadata)


@frozen
class NewHold:
    """Credit to hold until ``expiresAt``, an hour from now unless said otherwise."""

    amount: Amount
    description: Name
    expires_at: Moment | None = None
    event_id: Key255 | None = None

    def under(self, idempotency_key: str) -> CoreHold:
        """The hold as the core takes it."""
        return CoreHold(self.amount, self.description, idempotency_key, self.expires_at, self.event_id)


@frozen
class NewCapture:
    """What to charge of a hold; without an amount all of it."""

    amount: Amount | None = None

    def under(self, idempotency_key: str, hold_id: str) -> CoreCapture:
        """The capture as the core takes it."""
        return CoreCapture(hold_id, idempotency_key, self.amount)


@frozen
class NewRelease:
    """A release says nothing but that it is one."""


@frozen
class Hold:
    """Held credit. ``available`` is what a charge could come to at that moment; ``transactionId`` names the
    charge that captured it."""

    id: str
    project_id: str
    amount: Money
    captured: Money
    state: HoldState
    description: str
    event_id: str
    expires_at: Moment
    available: Money
    transaction_id: str | None
    created_at: Moment


@frozen
class Reason:
    """Why a recorded event shall count no more."""

    reason: Name


@frozen
class Void:
    """The decision that an event counts no more."""

    id: str
    event_id: str
    reason: str
    voided_at: Moment

    @classmethod
    def of(cls, voided: Voided) -> Void:
        """The void as it is answered."""
        return cls(voided.event.id, voided.event.event_id, voided.void.reason, voided.void.voided_at)
