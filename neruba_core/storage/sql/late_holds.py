"""Late usage that waits for support: table, queries and row mapping."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import PrimaryKeyConstraint, Table, select
from sqlalchemy import update as changing

from neruba_core.storage.sql.bulk import insert_new
from neruba_core.storage.sql.codec import instant, micros
from neruba_core.storage.sql.columns import METADATA, one_of, reference, tenant, text, whole
from neruba_core.storage.sql.queries import Query, among
from neruba_core.storage.sql.statements import SqlStore
from neruba_core.usage.model import HoldKind, LateHold, QuarantineState

HOLDS = Table(
    "neruba_late_holds",
    METADATA,
    text("project_id"),
    text("usage_id"),
    text("kind"),
    text("metric_key"),
    whole("timestamp"),
    text("state"),
    whole("held_at"),
    PrimaryKeyConstraint("project_id", "usage_id", "kind", name="neruba_late_holds_pk"),
    tenant("neruba_late_holds"),
    reference(
        "neruba_late_holds_event_fk", ["project_id", "usage_id"], "neruba_usage_events", ["project_id", "id"]
    ),
    one_of("kind", HoldKind, "neruba_late_holds_kind_ck"),
    one_of("state", QuarantineState, "neruba_late_holds_state_ck"),
)

_ADD = insert_new(HOLDS)
_HOLDS = Query(
    lambda postgresql: (
        select(HOLDS)
        .where(among(postgresql, HOLDS.c.project_id, "project_ids"))
        .order_by(HOLDS.c.project_id, HOLDS.c.usage_id, HOLDS.c.kind)
    )
)


class SqlLateHolds(SqlStore):
    """The part of ``UsageStore`` that holds late usage."""

    def hold(self, holds: Sequence[LateHold]) -> None:
        rows = [
            (
                hold.project_id,
                hold.usage_id,
                hold.kind.value,
                hold.metric_key,
                micros(hold.timestamp),
                hold.state.value,
                micros(hold.held_at),
            )
            for hold in holds
        ]
        self._statements.write(_ADD, sorted(rows))

    def holds(self, project_ids: Iterable[str]) -> Sequence[LateHold]:
        rows = self._statements.ask(_HOLDS, project_ids=set(project_ids))
        return [_hold(row) for row in rows]

    def close_hold(self, project_id: str, usage_id: str, kind: HoldKind, state: QuarantineState) -> bool:
        query = changing(HOLDS).where(
            HOLDS.c.project_id == project_id,
            HOLDS.c.usage_id == usage_id,
            HOLDS.c.kind == kind.value,
            HOLDS.c.state == QuarantineState.WAITING.value,
        )
        return self._statements.change(query.values(state=state.value)) == 1


def _hold(row: Any) -> LateHold:
    project_id, usage_id, kind, metric_key, timestamp, state, held_at = row
    return LateHold(
        project_id,
        usage_id,
        HoldKind(kind),
        metric_key,
        instant(timestamp),
        QuarantineState(state),
        instant(held_at),
    )
