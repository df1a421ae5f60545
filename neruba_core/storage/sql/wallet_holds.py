"""Holds of credit: table, queries and row mapping."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import CheckConstraint, Index, PrimaryKeyConstraint, Table, UniqueConstraint, func, select
from sqlalchemy import text as sql

from neruba_core.instants import Instant
from neruba_core.storage.sql.bulk import insert, update
from neruba_core.storage.sql.codec import dump, instant, instant_or_none, micros, micros_or_none
from neruba_core.storage.sql.columns import METADATA, one_of, tenant, text, whole
from neruba_core.storage.sql.queries import Query, among, each, given
from neruba_core.storage.sql.statements import SqlStore
from neruba_core.wallets.model import Draw, Hold, HoldState

_OPEN_ONLY = sql("state = 'held'")

WALLET_HOLDS = Table(
    "neruba_holds",
    METADATA,
    text("project_id"),
    text("id"),
    whole("amount_micros"),
    text("description"),
    text("event_id"),
    text("idempotency_key"),
    text("draws"),
    whole("expires_at"),
    whole("created_at"),
    text("state"),
    whole("captured_micros"),
    text("transaction_id", optional=True),
    whole("closed_at", optional=True),
    PrimaryKeyConstraint("project_id", "id", name="neruba_holds_pk"),
    UniqueConstraint("project_id", "event_id", name="neruba_holds_event_uq"),
    tenant("neruba_holds"),
    one_of("state", HoldState, "neruba_holds_state_ck"),
    CheckConstraint(
        "amount_micros > 0 AND captured_micros >= 0 AND captured_micros <= amount_micros",
        name="neruba_holds_amounts_ck",
    ),
    CheckConstraint("(state = 'held') = (closed_at IS NULL)", name="neruba_holds_closed_ck"),
    CheckConstraint("(state = 'captured') = (transaction_id IS NOT NULL)", name="neruba_holds_captured_ck"),
    Index(
        "neruba_holds_open_ix",
        "project_id",
        "expires_at",
        postgresql_where=_OPEN_ONLY,
        sqlite_where=_OPEN_ONLY,
    ),
    Index("neruba_holds_closed_ix", "project_id", "closed_at"),
)

_ADD = insert(WALLET_HOLDS)
_CLOSE = update(WALLET_HOLDS, "state", "captured_micros", "transaction_id", "closed_at")

_COLUMNS = WALLET_HOLDS.c
_OF_PROJECT = select(WALLET_HOLDS).where(_COLUMNS.project_id == given("project_id"))
# Written out, so that the planner knows the index.
_OPEN = sql("state = 'held'")
_HOLDS = Query(each(_OF_PROJECT, _COLUMNS.id, "hold_ids"))
_BY_EVENT_IDS = Query(each(_OF_PROJECT, _COLUMNS.event_id, "event_ids"))
_EXPIRED = Query(
    lambda postgresql: (
        select(WALLET_HOLDS)
        .where(
            among(postgresql, _COLUMNS.project_id, "project_ids"), _OPEN, _COLUMNS.expires_at <= given("at")
        )
        .order_by(_COLUMNS.project_id, _COLUMNS.id)
    )
)
_NEXT_EXPIRY = Query(
    select(func.min(_COLUMNS.expires_at)).where(_COLUMNS.project_id == given("project_id"), _OPEN)
)
_OPEN_AT = Query(
    _OF_PROJECT.where(_OPEN, _COLUMNS.created_at <= given("at"), _COLUMNS.expires_at > given("at"))
)
_CLOSED_AFTER = Query(_OF_PROJECT.where(_COLUMNS.closed_at > given("at"), _COLUMNS.created_at <= given("at")))
_OPEN_HOLDS = Query(_OF_PROJECT.where(_OPEN).order_by(_COLUMNS.id))
_ALL = Query(_OF_PROJECT.order_by(_COLUMNS.id))


class SqlWalletHolds(SqlStore):
    """The part of ``WalletStore`` that is about holds."""

    def add_holds(self, holds: Sequence[Hold]) -> None:
        rows = [
            (
                h.project_id,
                h.id,
                h.amount_micros,
                h.description,
                h.event_id,
                h.idempotency_key,
                dump([[draw.grant_id, draw.micros] for draw in h.draws]),
                micros(h.expires_at),
                micros(h.created_at),
                h.state.value,
                h.captured_micros,
                h.transaction_id,
                micros_or_none(h.closed_at),
            )
            for h in holds
        ]
        self._statements.write(_ADD, rows)

    def close_holds(self, holds: Sequence[Hold]) -> None:
        rows = [
            (
                h.state.value,
                h.captured_micros,
                h.transaction_id,
                micros_or_none(h.closed_at),
                h.project_id,
                h.id,
            )
            for h in holds
        ]
        self._statements.write(_CLOSE, rows)

    def holds(self, project_id: str, hold_ids: Iterable[str]) -> dict[str, Hold]:
        rows = self._statements.ask(_HOLDS, project_id=project_id, hold_ids=set(hold_ids))
        return {row[1]: _hold(row) for row in rows}

    def holds_by_event_ids(self, project_id: str, event_ids: Iterable[str]) -> dict[str, Hold]:
        rows = self._statements.ask(_BY_EVENT_IDS, project_id=project_id, event_ids=set(event_ids))
        return {row[4]: _hold(row) for row in rows}

    def holds_expired(self, project_ids: Sequence[str], at: Instant) -> Sequence[Hold]:
        rows = self._statements.ask(_EXPIRED, project_ids=list(project_ids), at=micros(at))
        return [_hold(row) for row in rows]

    def next_hold_expiry(self, project_id: str) -> Instant | None:
        row = self._statements.ask_one(_NEXT_EXPIRY, project_id=project_id)
        return instant_or_none(row[0])

    def holds_at(self, project_id: str, at: Instant) -> Sequence[Hold]:
        rows = [
            *self._statements.ask(_OPEN_AT, project_id=project_id, at=micros(at)),
            *self._statements.ask(_CLOSED_AFTER, project_id=project_id, at=micros(at)),
        ]
        return sorted(map(_hold, rows), key=lambda hold: hold.id)

    def open_holds(self, project_id: str) -> Sequence[Hold]:
        return [_hold(row) for row in self._statements.ask(_OPEN_HOLDS, project_id=project_id)]

    def _export_holds(self, project_id: str) -> Iterator[tuple[str, Any]]:
        yield from (("holds", _hold(row)) for row in self._statements.ask(_ALL, project_id=project_id))


def _hold(row: Any) -> Hold:
    (
        project_id,
        hold_id,
        amount_micros,
        description,
        event_id,
        idempotency_key,
        draws,
        expires_at,
        created_at,
        state,
        captured_micros,
        transaction_id,
        closed_at,
    ) = row
    return Hold(
        project_id=project_id,
        id=hold_id,
        amount_micros=amount_micros,
        description=description,
        event_id=event_id,
        idempotency_key=idempotency_key,
        draws=tuple(Draw(grant_id, drawn) for grant_id, drawn in json.loads(draws)),
        expires_at=instant(expires_at),
        created_at=instant(created_at),
        state=HoldState(state),
        captured_micros=captured_micros,
        transaction_id=transaction_id,
        closed_at=instant_or_none(closed_at),
    )
