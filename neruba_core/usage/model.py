"""Usage events: raw, immutable, and each its own idempotency record."""

from __future__ import annotations

from enum import StrEnum

from attrs import field, frozen

from neruba_core import money, texts
from neruba_core.brief import brief
from neruba_core.instants import Instant, utc
from neruba_core.money import Amount
from neruba_core.texts import Properties

RENDER_VERSION = 1
"""Which renderer of ``usage.answer`` writes an event's body; old versions are kept for ever."""


@brief
class NewUsage:
    """Usage as it was sent. ``None`` means that the sender left the field out."""

    metric_key: str
    units_micros: int
    timestamp: Instant
    idempotency_key: str
    event_id: str | None = None
    properties: Properties | None = None

    @classmethod
    def of(
        cls,
        *,
        metric_key: str,
        units: Amount,
        timestamp: Instant,
        idempotency_key: str,
        event_id: str | None = None,
        properties: Properties | None = None,
    ) -> NewUsage:
        """Check an embedder's values; raises ``Invalid`` refusals and ``KeyInvalid``."""
        return cls(
            texts.metric_key(metric_key),
            money.parse_non_negative(units),
            utc(timestamp),
            texts.idempotency_key(idempotency_key),
            None if event_id is None else texts.event_id(event_id),
            None if properties is None else texts.properties(properties),
        )

    @property
    def event(self) -> str:
        """The identity of the thing that happened: the event id, else the idempotency key."""
        return self.idempotency_key if self.event_id is None else self.event_id


@brief
class UsageEvent:
    """A recorded event. *late* tells that its period was invoiced when it arrived."""

    project_id: str
    id: str
    metric_key: str
    units_micros: int
    timestamp: Instant
    event_id: str
    properties: Properties | None = field(hash=False)
    idempotency_key: str
    fingerprint: bytes
    fingerprint_version: int
    received_at: Instant
    late: bool
    actor: str
    request_id: str | None
    render_version: int = RENDER_VERSION


@frozen
class UsageVoid:
    """The decision that an event counts no more; the event itself stays.

    *last_number* is that of the project's last document that had been issued by then, or 0: what was issued
    before the void counts the event, and no clock tells that of two things at one instant.
    """

    project_id: str
    usage_id: str
    reason: str
    voided_at: Instant
    actor: str
    last_number: int = 0


class QuarantineState(StrEnum):
    """Where a quarantined event stands; only ``waiting`` can still become usage."""

    WAITING = "waiting"
    REPLAYED = "replayed"
    DISCARDED = "discarded"
    SUPERSEDED = "superseded"


@frozen
class QuarantinedUsage:
    """Usage that a strict project could not place; unique by (project, key, fingerprint)."""

    project_id: str
    id: str
    event: NewUsage
    fingerprint: bytes
    reason: str
    state: QuarantineState
    received_at: Instant
    actor: str
    request_id: str | None


@frozen
class Totals:
    """What one metric's unvoided events of a period come to, before any aggregation is chosen.

    *sum_micros* may exceed 64 bits. *last_micros* is the units of the event with the latest
    timestamp, of equals the highest id. All but *count* and *sum_micros* are ``None`` without events.
    """

    count: int
    sum_micros: int
    max_micros: int | None
    min_micros: int | None
    last_micros: int | None


@frozen
class Wanted:
    """Which totals are asked for: one metric of one project over ``[start, end)``.

    Who takes only the count and the sum says *sums_only*: the other totals may then be missing.
    """

    project_id: str
    metric_key: str
    start: Instant
    end: Instant
    sums_only: bool = False


@brief
class ActiveDay:
    """A UTC day, by its first moment, on which a metric has unvoided events."""

    project_id: str
    metric_key: str
    day: Instant


class HoldKind(StrEnum):
    """What is held: that an event counts, or that it counts no more."""

    EVENT = "event"
    VOID = "void"


@frozen
class LateHold:
    """Late usage whose billing waits for support; unique by (project, usage id, kind).

    Until it is ``replayed``, a held event is left out where its period is billed again, and a held void is
    passed over; what was ``discarded`` stays so.
    """

    project_id: str
    usage_id: str
    kind: HoldKind
    metric_key: str
    timestamp: Instant
    state: QuarantineState
    held_at: Instant
