"""Endpoints, messages and deliveries: tables, queries and row mapping.

What is due is found by indexes over the pending deliveries alone, so that neither a long history nor the
backlog of one dead endpoint makes looking for work slower.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from attrs import evolve, frozen
from sqlalchemy import CheckConstraint, Index, PrimaryKeyConstraint, Table, exists, select
from sqlalchemy import text as sql
from sqlalchemy import update as changing
from sqlalchemy.dialects import postgresql, sqlite

from neruba_core.instants import Instant
from neruba_core.outbox.model import (
    Delivery,
    DeliveryAttempt,
    DeliveryState,
    Endpoint,
    Message,
    MessageType,
    Salt,
)
from neruba_core.storage.sql.bulk import insert, update
from neruba_core.storage.sql.codec import (
    dump_enums,
    dump_nouns,
    instant,
    instant_or_none,
    load_enums,
    load_nouns,
    micros,
    micros_or_none,
)
from neruba_core.storage.sql.columns import METADATA, flag, one_of, reference, small, tenant, text, whole
from neruba_core.storage.sql.queries import Query, among, given
from neruba_core.storage.sql.statements import SqlStore, below

_LIVE = "deleted_at IS NULL AND disabled_at IS NULL"
_PENDING = "state = 'pending'"

ENDPOINTS = Table(
    "neruba_webhook_endpoints",
    METADATA,
    text("project_id"),
    text("id"),
    text("url"),
    text("message_types"),
    text("salts"),
    whole("created_at"),
    text("created_by"),
    whole("failing_since", optional=True),
    whole("disabled_at", optional=True),
    text("disabled_reason", optional=True),
    whole("deleted_at", optional=True),
    PrimaryKeyConstraint("project_id", "id", name="neruba_webhook_endpoints_pk"),
    tenant("neruba_webhook_endpoints"),
    # Asked in every unit that could tell somebody something.
    Index(
        "neruba_webhook_endpoints_live_ix",
        "project_id",
        "id",
        postgresql_where=sql(_LIVE),
        sqlite_where=sql(_LIVE),
    ),
)

MESSAGE_COUNTERS = Table(
    "neruba_message_counters",
    METADATA,
    text("project_id"),
    whole("last"),
    PrimaryKeyConstraint("project_id", name="neruba_message_counters_pk"),
    tenant("neruba_message_counters"),
)

MESSAGES = Table(
    "neruba_messages",
    METADATA,
    text("project_id"),
    text("id"),
    whole("sequence"),
    text("type"),
    text("body"),
    whole("created_at"),
    PrimaryKeyConstraint("project_id", "id", name="neruba_messages_pk"),
    tenant("neruba_messages"),
    CheckConstraint("sequence > 0", name="neruba_messages_sequence_ck"),
)

DELIVERIES = Table(
    "neruba_deliveries",
    METADATA,
    text("project_id"),
    text("id"),
    text("endpoint_id"),
    text("message_id"),
    text("type"),
    text("state"),
    small("tried"),
    whole("due_at"),
    whole("created_at"),
    whole("ended_at", optional=True),
    flag("by_hand"),
    text("claim", optional=True),
    text("attempts"),
    PrimaryKeyConstraint("project_id", "id", name="neruba_deliveries_pk"),
    tenant("neruba_deliveries"),
    reference(
        "neruba_deliveries_endpoint_fk",
        ["project_id", "endpoint_id"],
        "neruba_webhook_endpoints",
        ["project_id", "id"],
    ),
    reference(
        "neruba_deliveries_message_fk",
        ["project_id", "message_id"],
        "neruba_messages",
        ["project_id", "id"],
    ),
    one_of("state", DeliveryState, "neruba_deliveries_state_ck"),
    CheckConstraint("(state = 'pending') = (ended_at IS NULL)", name="neruba_deliveries_ended_ck"),
    Index("neruba_deliveries_endpoint_ix", "project_id", "endpoint_id", "id"),
    Index(
        "neruba_deliveries_due_ix",
        "endpoint_id",
        "due_at",
        "id",
        postgresql_where=sql(_PENDING),
        sqlite_where=sql(_PENDING),
    ),
)

_ADD_ENDPOINT = insert(ENDPOINTS)
_REPLACE_ENDPOINT = update(
    ENDPOINTS, "message_types", "salts", "failing_since", "disabled_at", "disabled_reason", "deleted_at"
)
_REPLACE_DELIVERIES = update(
    DELIVERIES, "state", "tried", "due_at", "ended_at", "by_hand", "claim", "attempts"
)
_ADD_MESSAGES = insert(MESSAGES)
_ADD_DELIVERIES = insert(DELIVERIES)

_ENDPOINT = Query(
    select(ENDPOINTS).where(ENDPOINTS.c.project_id == given("project_id"), ENDPOINTS.c.id == given("id"))
)
_LOCK_ENDPOINT = Query(
    select(ENDPOINTS)
    .where(ENDPOINTS.c.project_id == given("project_id"), ENDPOINTS.c.id == given("id"))
    .with_for_update(key_share=True)
)
_LISTENERS = Query(
    lambda on_postgresql: (
        select(ENDPOINTS)
        .where(among(on_postgresql, ENDPOINTS.c.project_id, "project_ids"), sql(_LIVE))
        .order_by(ENDPOINTS.c.project_id, ENDPOINTS.c.id)
    )
)
_LISTENING = Query(
    select(ENDPOINTS.c.project_id).where(sql(_LIVE)).distinct().order_by(ENDPOINTS.c.project_id)
)
_MESSAGES = Query(
    lambda on_postgresql: select(MESSAGES).where(
        MESSAGES.c.project_id == given("project_id"), among(on_postgresql, MESSAGES.c.id, "ids")
    )
)
_DELIVERY = Query(
    select(DELIVERIES).where(DELIVERIES.c.project_id == given("project_id"), DELIVERIES.c.id == given("id"))
)
# Locked in ascending order, or two units could wait in a circle.
_LOCK_CLAIMS = Query(
    lambda on_postgresql: (
        select(DELIVERIES.c.id, DELIVERIES.c.claim)
        .where(DELIVERIES.c.project_id == given("project_id"), among(on_postgresql, DELIVERIES.c.id, "ids"))
        .order_by(DELIVERIES.c.id)
        .with_for_update()
    )
)
# By endpoint id alone: ids are unique over all projects, and the index is ordered by them.
_OF_ENDPOINT = (DELIVERIES.c.endpoint_id == ENDPOINTS.c.id, DELIVERIES.c.project_id == ENDPOINTS.c.project_id)
_DUE_ENDPOINTS = Query(
    select(ENDPOINTS)
    .where(
        ENDPOINTS.c.deleted_at.is_(None),
        exists().where(
            *_OF_ENDPOINT, sql(f"neruba_deliveries.{_PENDING}"), DELIVERIES.c.due_at <= given("now")
        ),
    )
    .order_by(ENDPOINTS.c.id)
)
_WAITING = (
    select(DELIVERIES)
    .where(
        DELIVERIES.c.endpoint_id == given("endpoint_id"),
        DELIVERIES.c.project_id == given("project_id"),
        sql(_PENDING),
    )
    .order_by(DELIVERIES.c.due_at, DELIVERIES.c.id)
    .limit(given("at_most"))
)
_WAITING_FOR = Query(_WAITING)
_DUE = Query(_WAITING.where(DELIVERIES.c.due_at <= given("now")).with_for_update(skip_locked=True))
_CLAIM = Query(
    lambda on_postgresql: (
        changing(DELIVERIES)
        .where(DELIVERIES.c.project_id == given("in_project"), among(on_postgresql, DELIVERIES.c.id, "ids"))
        .values(claim=given("new_claim"), due_at=given("until"))
    )
)


def _take(on_postgresql: bool) -> Any:
    dialect: Any = postgresql if on_postgresql else sqlite
    new = dialect.insert(MESSAGE_COUNTERS).values(project_id=given("of_project"), last=given("how_many"))
    return new.on_conflict_do_update(
        index_elements=["project_id"], set_={"last": MESSAGE_COUNTERS.c.last + new.excluded.last}
    ).returning(MESSAGE_COUNTERS.c.last)


_TAKE = Query(_take)


@frozen
class SqlOutbox(SqlStore):
    """``OutboxStore`` within one unit."""

    def add_endpoint(self, endpoint: Endpoint) -> None:
        self._statements.write(_ADD_ENDPOINT, [_endpoint_row(endpoint)])

    def endpoint(self, project_id: str, endpoint_id: str) -> Endpoint | None:
        row = self._statements.ask_one(_ENDPOINT, project_id=project_id, id=endpoint_id)
        return None if row is None else _endpoint(row)

    def lock_endpoints(self, endpoints: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], Endpoint]:
        locked = {}
        for project_id, endpoint_id in sorted(set(endpoints)):
            row = self._statements.ask_one(_LOCK_ENDPOINT, project_id=project_id, id=endpoint_id)
            if row is not None:
                locked[project_id, endpoint_id] = _endpoint(row)
        return locked

    def endpoints(self, project_id: str, *, limit: int, before: str | None) -> Sequence[Endpoint]:
        query = (
            select(ENDPOINTS)
            .where(
                ENDPOINTS.c.project_id == project_id,
                ENDPOINTS.c.deleted_at.is_(None),
                *below(ENDPOINTS.c.id, before),
            )
            .order_by(ENDPOINTS.c.id.desc())
            .limit(limit)
        )
        return [_endpoint(row) for row in self._statements.rows(query)]

    def replace_endpoint(self, endpoint: Endpoint) -> None:
        row = (
            dump_enums(endpoint.message_types),
            dump_nouns(endpoint.salts),
            micros_or_none(endpoint.failing_since),
            micros_or_none(endpoint.disabled_at),
            endpoint.disabled_reason,
            micros_or_none(endpoint.deleted_at),
            endpoint.project_id,
            endpoint.id,
        )
        self._statements.write(_REPLACE_ENDPOINT, [row])

    def listeners(self, project_ids: Collection[str]) -> Mapping[str, Sequence[Endpoint]]:
        found: dict[str, list[Endpoint]] = {}
        for row in self._statements.ask(_LISTENERS, project_ids=list(project_ids)):
            found.setdefault(row[0], []).append(_endpoint(row))
        return found

    def listening_projects(self) -> Sequence[str]:
        return [row[0] for row in self._statements.ask(_LISTENING)]

    def take_sequences(self, counts: Mapping[str, int]) -> Mapping[str, int]:
        # In one order, or two units would wait for each other in a circle.
        taken = {}
        for project_id, count in sorted(counts.items()):
            (last,) = self._statements.ask_one(_TAKE, of_project=project_id, how_many=count)
            taken[project_id] = last - count + 1
        return taken

    def add_messages(self, messages: Sequence[Message]) -> None:
        self._statements.write(_ADD_MESSAGES, [_message_row(message) for message in messages])

    def messages(self, project_id: str, message_ids: Collection[str]) -> Mapping[str, Message]:
        rows = self._statements.ask(_MESSAGES, project_id=project_id, ids=list(message_ids))
        return {message.id: message for message in map(_message, rows)}

    def add_deliveries(self, deliveries: Sequence[Delivery]) -> None:
        self._statements.write(_ADD_DELIVERIES, [_delivery_row(delivery) for delivery in deliveries])

    def delivery(self, project_id: str, delivery_id: str) -> Delivery | None:
        row = self._statements.ask_one(_DELIVERY, project_id=project_id, id=delivery_id)
        return None if row is None else _delivery(row)

    def deliveries(
        self,
        project_id: str,
        *,
        limit: int,
        before: str | None,
        endpoint_id: str | None = None,
        state: DeliveryState | None = None,
    ) -> Sequence[Delivery]:
        query = select(DELIVERIES).where(
            DELIVERIES.c.project_id == project_id, *below(DELIVERIES.c.id, before)
        )
        if endpoint_id is not None:
            query = query.where(DELIVERIES.c.endpoint_id == endpoint_id)
        if state is not None:
            query = query.where(DELIVERIES.c.state == state.value)
        rows = self._statements.rows(query.order_by(DELIVERIES.c.id.desc()).limit(limit))
        return [_delivery(row) for row in rows]

    def still_claimed(self, deliveries: Sequence[Delivery]) -> Collection[str]:
        by_project: dict[str, dict[str, str | None]] = {}
        for delivery in deliveries:
            by_project.setdefault(delivery.project_id, {})[delivery.id] = delivery.claim
        return {
            delivery_id
            for project_id, claims in sorted(by_project.items())
            for delivery_id, claim in self._statements.ask(
                _LOCK_CLAIMS, project_id=project_id, ids=list(claims)
            )
            if claim == claims[delivery_id]
        }

    def replace_deliveries(self, deliveries: Sequence[Delivery]) -> None:
        rows = [_replaced_row(delivery) for delivery in deliveries]
        self._statements.write(_REPLACE_DELIVERIES, sorted(rows, key=lambda row: row[-2:]))

    def end_pending(self, project_id: str, endpoint_id: str, state: DeliveryState, *, at: Instant) -> int:
        query = (
            changing(DELIVERIES)
            .where(
                DELIVERIES.c.project_id == project_id,
                DELIVERIES.c.endpoint_id == endpoint_id,
                sql(_PENDING),
                DELIVERIES.c.by_hand.is_(False),
            )
            .values(state=state.value, ended_at=micros(at), claim=None)
        )
        return self._statements.change(query)

    def due_endpoints(self, now: Instant) -> Sequence[Endpoint]:
        return [_endpoint(row) for row in self._statements.ask(_DUE_ENDPOINTS, now=micros(now))]

    def pending(self, endpoint: Endpoint, *, limit: int) -> Sequence[Delivery]:
        rows = self._statements.ask(
            _WAITING_FOR, project_id=endpoint.project_id, endpoint_id=endpoint.id, at_most=limit
        )
        return [_delivery(row) for row in rows]

    def claim(
        self, endpoint: Endpoint, claim: str, *, now: Instant, until: Instant, limit: int
    ) -> Sequence[Delivery]:
        rows = self._statements.ask(
            _DUE,
            project_id=endpoint.project_id,
            endpoint_id=endpoint.id,
            now=micros(now),
            at_most=limit,
        )
        due = [_delivery(row) for row in rows]
        if due:
            self._statements.do(
                _CLAIM,
                in_project=endpoint.project_id,
                ids=[delivery.id for delivery in due],
                new_claim=claim,
                until=micros(until),
            )
        return [evolve(delivery, claim=claim, due_at=until) for delivery in due]

    def export(self, project_id: str) -> Iterator[tuple[str, Any]]:
        """The project's rows of these tables but the counter, which the messages tell."""
        for table, name, load in (
            (ENDPOINTS, "webhook_endpoints", _endpoint),
            (MESSAGES, "messages", _message),
            (DELIVERIES, "deliveries", _delivery),
        ):
            query = select(table).where(table.c.project_id == project_id)
            yield from ((name, load(row)) for row in self._statements.rows(query))


def _endpoint_row(endpoint: Endpoint) -> tuple[Any, ...]:
    return (
        endpoint.project_id,
        endpoint.id,
        endpoint.url,
        dump_enums(endpoint.message_types),
        dump_nouns(endpoint.salts),
        micros(endpoint.created_at),
        endpoint.created_by,
        micros_or_none(endpoint.failing_since),
        micros_or_none(endpoint.disabled_at),
        endpoint.disabled_reason,
        micros_or_none(endpoint.deleted_at),
    )


def _endpoint(row: Any) -> Endpoint:
    project_id, endpoint_id, url, types, salts, created_at, created_by, failing, disabled, why, deleted = row
    return Endpoint(
        project_id,
        endpoint_id,
        url,
        load_enums(MessageType, types),
        load_nouns(Salt, salts),
        instant(created_at),
        created_by,
        instant_or_none(failing),
        instant_or_none(disabled),
        why,
        instant_or_none(deleted),
    )


def _message_row(message: Message) -> tuple[Any, ...]:
    return (
        message.project_id,
        message.id,
        message.sequence,
        message.type,
        message.body,
        micros(message.created_at),
    )


def _message(row: Any) -> Message:
    project_id, message_id, sequence, type, body, created_at = row
    return Message(project_id, message_id, sequence, type, body, instant(created_at))


def _delivery_row(delivery: Delivery) -> tuple[Any, ...]:
    return (
        delivery.project_id,
        delivery.id,
        delivery.endpoint_id,
        delivery.message_id,
        delivery.type,
        delivery.state.value,
        delivery.tried,
        micros(delivery.due_at),
        micros(delivery.created_at),
        micros_or_none(delivery.ended_at),
        delivery.by_hand,
        delivery.claim,
        dump_nouns(delivery.attempts),
    )


def _replaced_row(delivery: Delivery) -> tuple[Any, ...]:
    return (
        delivery.state.value,
        delivery.tried,
        micros(delivery.due_at),
        micros_or_none(delivery.ended_at),
        delivery.by_hand,
        delivery.claim,
        dump_nouns(delivery.attempts),
        delivery.project_id,
        delivery.id,
    )


def _delivery(row: Any) -> Delivery:
    project_id, delivery_id, endpoint_id, message_id, type, state, tried, due_at, created_at, *rest = row
    ended_at, by_hand, claim, attempts = rest
    return Delivery(
        project_id,
        delivery_id,
        endpoint_id,
        message_id,
        type,
        DeliveryState(state),
        tried,
        instant(due_at),
        instant(created_at),
        instant_or_none(ended_at),
        bool(by_hand),
        claim,
        load_nouns(DeliveryAttempt, attempts),
    )
