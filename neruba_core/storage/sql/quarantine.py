"""Quarantined usage: table, queries and row mapping."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any

from attrs import frozen
from sqlalchemy import CheckConstraint, PrimaryKeyConstraint, Table, UniqueConstraint, select
from sqlalchemy import update as changing

from neruba_core.storage.sql.bulk import insert_new
from neruba_core.storage.sql.codec import dump_properties, instant, load_properties, micros
from neruba_core.storage.sql.columns import METADATA, binary, one_of, tenant, text, whole
from neruba_core.storage.sql.queries import Query, each, given
from neruba_core.storage.sql.statements import SqlStore
from neruba_core.usage.model import NewUsage, QuarantinedUsage, QuarantineState

QUARANTINED = Table(
    "neruba_quarantined",
    METADATA,
    text("project_id"),
    text("id"),
    text("metric_key"),
    whole("units_micros"),
    whole("timestamp"),
    text("idempotency_key"),
    text("event_id", optional=True),
    text("properties", optional=True),
    binary("fingerprint"),
    text("reason"),
    text("state"),
    whole("received_at"),
    text("actor"),
    text("request_id", optional=True),
    PrimaryKeyConstraint("project_id", "id", name="neruba_quarantined_pk"),
    UniqueConstraint(
        "project_id", "idempotency_key", "fingerprint", name="neruba_quarantined_fingerprint_uq"
    ),
    tenant("neruba_quarantined"),
    CheckConstraint("units_micros >= 0", name="neruba_quarantined_units_ck"),
    one_of("state", QuarantineState, "neruba_quarantined_state_ck"),
)

_WAITING = QuarantineState.WAITING.value

_ADD = insert_new(QUARANTINED, "project_id", "idempotency_key", "fingerprint")
_OF_PROJECT = select(QUARANTINED).where(QUARANTINED.c.project_id == given("project_id"))
_ALL = Query(_OF_PROJECT)
_BY_ID = Query(_OF_PROJECT.where(QUARANTINED.c.id == given("quarantine_id")))
_BY_FINGERPRINT = Query(
    _OF_PROJECT.where(
        QUARANTINED.c.idempotency_key == given("key"), QUARANTINED.c.fingerprint == given("fingerprint")
    )
)
_WAITING_BY_KEYS = Query(
    each(_OF_PROJECT.where(QUARANTINED.c.state == _WAITING), QUARANTINED.c.idempotency_key, "keys")
)


@frozen
class SqlQuarantine(SqlStore):
    """The part of ``UsageStore`` that keeps what could not be placed."""

    def quarantine(self, waiting: QuarantinedUsage) -> QuarantinedUsage:
        if self._statements.write(_ADD, [_quarantined_row(waiting)]) == 1:
            return waiting
        earlier = self._statements.ask_one(
            _BY_FINGERPRINT,
            project_id=waiting.project_id,
            key=waiting.event.idempotency_key,
            fingerprint=waiting.fingerprint,
        )
        return _quarantined(earlier)

    def quarantined(self, project_id: str, quarantine_id: str) -> QuarantinedUsage | None:
        row = self._statements.ask_one(_BY_ID, project_id=project_id, quarantine_id=quarantine_id)
        return None if row is None else _quarantined(row)

    def quarantined_by_keys(self, project_id: str, keys: Iterable[str]) -> Sequence[QuarantinedUsage]:
        rows = self._statements.ask(_WAITING_BY_KEYS, project_id=project_id, keys=set(keys))
        return sorted(map(_quarantined, rows), key=attrgetter("id"))

    def close_quarantined(self, project_id: str, quarantine_id: str, state: QuarantineState) -> bool:
        query = (
            changing(QUARANTINED)
            .where(QUARANTINED.c.project_id == project_id, QUARANTINED.c.id == quarantine_id)
            .where(QUARANTINED.c.state == _WAITING)
            .values(state=state.value)
        )
        return self._statements.change(query) == 1

    def _export_quarantine(self, project_id: str) -> Iterator[tuple[str, Any]]:
        rows = self._statements.ask(_ALL, project_id=project_id)
        yield from (("quarantined", _quarantined(row)) for row in rows)


def _quarantined_row(waiting: QuarantinedUsage) -> tuple[Any, ...]:
    event = waiting.event
    return (
        waiting.project_id,
        waiting.id,
        event.metric_key,
        event.units_micros,
        micros(event.timestamp),
        event.idempotency_key,
        event.event_id,
        dump_properties(event.properties),
        waiting.fingerprint,
        waiting.reason,
        waiting.state.value,
        micros(waiting.received_at),
        waiting.actor,
        waiting.request_id,
    )


def _quarantined(row: Any) -> QuarantinedUsage:
    project_id, row_id, metric_key, units, timestamp, key, event_id, properties, *rest = row
    fingerprint, reason, state, received_at, actor, request_id = rest
    return QuarantinedUsage(
        project_id,
        row_id,
        NewUsage(metric_key, units, instant(timestamp), key, event_id, load_properties(properties)),
        bytes(fingerprint),
        reason,
        QuarantineState(state),
        instant(received_at),
        actor,
        request_id,
    )
