"""What payment providers have sent: table, queries and row mapping. It belongs to no project."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import CheckConstraint, Index, PrimaryKeyConstraint, Table, UniqueConstraint, select
from sqlalchemy import update as changing

from neruba_core.instants import Instant
from neruba_core.payments.model import EventState, ProviderEvent
from neruba_core.storage.sql.bulk import insert_new
from neruba_core.storage.sql.codec import instant, instant_or_none, micros, micros_or_none, row_of
from neruba_core.storage.sql.columns import METADATA, one_of, small, text, whole
from neruba_core.storage.sql.payment_shapes import next_due
from neruba_core.storage.sql.queries import Query, given
from neruba_core.storage.sql.statements import SqlStore, below

EVENTS = Table(
    "neruba_provider_events",
    METADATA,
    text("id"),
    text("provider"),
    text("event_id"),
    text("type"),
    text("subject_id", optional=True),
    text("payload"),
    whole("received_at"),
    text("state"),
    small("tries"),
    whole("due_at", optional=True),
    whole("ended_at", optional=True),
    text("failure", optional=True),
    text("project_id", optional=True),
    text("payment_id", optional=True),
    PrimaryKeyConstraint("id", name="neruba_provider_events_pk"),
    UniqueConstraint("provider", "event_id", name="neruba_provider_events_event_uq"),
    one_of("state", EventState, "neruba_provider_events_state_ck"),
    CheckConstraint("(state = 'pending') = (due_at IS NOT NULL)", name="neruba_provider_events_due_ck"),
    Index("neruba_provider_events_due_ix", "due_at"),
    Index("neruba_provider_events_state_ix", "state", "id"),
)

_ADD_EVENT = insert_new(EVENTS, "provider", "event_id")

_E = EVENTS.c
_EVENT = Query(select(EVENTS).where(_E.id == given("event_id")))
_DUE_EVENTS = Query(
    select(EVENTS).where(_E.due_at <= given("now")).order_by(_E.due_at, _E.id).limit(given("most"))
)
_NEXT_DUE = next_due(EVENTS)


@frozen
class SqlProviderEvents(SqlStore):
    """The part of ``PaymentStore`` that is about what providers tell."""

    def add_event(self, event: ProviderEvent) -> bool:
        return self._statements.write(_ADD_EVENT, [row_of(event, _ADD_EVENT.columns)]) == 1

    def event(self, event_id: str) -> ProviderEvent | None:
        row = self._statements.ask_one(_EVENT, event_id=event_id)
        return None if row is None else _event(row)

    def put_event(self, event: ProviderEvent, *, tries: int) -> bool:
        query = (
            changing(EVENTS)
            .where(_E.id == event.id, _E.tries == tries)
            .values(
                state=event.state.value,
                tries=event.tries,
                due_at=micros_or_none(event.due_at),
                ended_at=micros_or_none(event.ended_at),
                failure=event.failure,
                project_id=event.project_id,
                payment_id=event.payment_id,
            )
        )
        return self._statements.change(query) == 1

    def due_events(self, now: Instant, *, limit: int) -> Sequence[ProviderEvent]:
        return [_event(row) for row in self._statements.ask(_DUE_EVENTS, now=micros(now), most=limit)]

    def next_due_event(self, after: Instant) -> Instant | None:
        return instant_or_none(self._statements.ask_one(_NEXT_DUE, after=micros(after))[0])

    def events(
        self, *, limit: int, before: str | None, state: EventState | None = None
    ) -> Sequence[ProviderEvent]:
        query = select(EVENTS).where(*below(_E.id, before))
        if state is not None:
            query = query.where(_E.state == state.value)
        return [_event(row) for row in self._statements.rows(query.order_by(_E.id.desc()).limit(limit))]


def _event(row: Any) -> ProviderEvent:
    event_id, provider, their_id, type_, subject_id, payload, received_at, state, *rest = row
    tries, due_at, ended_at, failure, project_id, payment_id = rest
    return ProviderEvent(
        event_id,
        provider,
        their_id,
        type_,
        subject_id,
        payload,
        instant(received_at),
        EventState(state),
        tries,
        instant_or_none(due_at),
        instant_or_none(ended_at),
        failure,
        project_id,
        payment_id,
    )
