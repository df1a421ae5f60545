"""Stored answers: table, queries and row mapping; and the keys of units in flight.

The table is global: a scope is a project, or a user who creates projects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import PrimaryKeyConstraint, Table, select

from neruba_core.idempotency.model import Answer
from neruba_core.storage.sql.arrays import pack
from neruba_core.storage.sql.bulk import insert
from neruba_core.storage.sql.codec import instant, micros
from neruba_core.storage.sql.columns import METADATA, binary, small, text, whole
from neruba_core.storage.sql.queries import Query, each, given
from neruba_core.storage.sql.statements import SqlStore

ANSWERS = Table(
    "neruba_answers",
    METADATA,
    text("scope_id"),
    text("operation"),
    text("idempotency_key"),
    binary("fingerprint"),
    small("fingerprint_version"),
    text("code", optional=True),
    text("body"),
    text("subject_id", optional=True),
    text("request_id", optional=True),
    whole("recorded_at"),
    PrimaryKeyConstraint("scope_id", "operation", "idempotency_key", name="neruba_answers_pk"),
)

_ADD = insert(ANSWERS)
_BY_KEYS = Query(
    each(
        select(ANSWERS).where(
            ANSWERS.c.scope_id == given("scope_id"), ANSWERS.c.operation == given("operation")
        ),
        ANSWERS.c.idempotency_key,
        "keys",
    )
)

# Locks by the hash of a key's text: two keys of one hash only cost a needless retry.
_TRY_LOCKS = """SELECT key FROM unnest(%b::text[]) AS keys(key)
    WHERE NOT pg_try_advisory_xact_lock(hashtextextended(key, 0))"""


@frozen
class SqlIdempotency(SqlStore):
    """``IdempotencyStore`` within one unit."""

    def held_elsewhere(self, keys: Iterable[tuple[str, str, str]]) -> set[tuple[str, str, str]]:
        if not self._statements.postgresql:
            # SQLite has one writer at a time.
            return set()
        wanted = {"\x1f".join(("neruba key", *key)): key for key in keys}
        if not wanted:
            return set()
        # In order, so that of two units with the same keys one gets all of them.
        refused = self._statements.driver_rows(_TRY_LOCKS, (pack("text", sorted(wanted)),))
        return {wanted[text] for (text,) in refused}

    def answers(self, scope_id: str, operation: str, keys: Iterable[str]) -> dict[str, Answer]:
        rows = self._statements.ask(_BY_KEYS, scope_id=scope_id, operation=operation, keys=set(keys))
        return {row[2]: _answer(row) for row in rows}

    def add_answers(self, answers: Sequence[Answer]) -> None:
        self._statements.write(_ADD, sorted(map(_answer_row, answers), key=_place))

    def export(self, project_id: str) -> Iterator[tuple[str, Any]]:
        """The answers in the scope of the project."""
        query = select(ANSWERS).where(ANSWERS.c.scope_id == project_id)
        yield from (("answers", _answer(row)) for row in self._statements.rows(query))


def _place(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return row[:3]


def _answer_row(answer: Answer) -> tuple[Any, ...]:
    return (
        answer.scope_id,
        answer.operation,
        answer.idempotency_key,
        answer.fingerprint,
        answer.fingerprint_version,
        answer.code,
        answer.body,
        answer.subject_id,
        answer.request_id,
        micros(answer.recorded_at),
    )


def _answer(row: Any) -> Answer:
    scope_id, operation, key, fingerprint, version, code, body, subject_id, request_id, recorded_at = row
    return Answer(
        scope_id,
        operation,
        key,
        bytes(fingerprint),
        version,
        code,
        body,
        subject_id,
        request_id,
        instant(recorded_at),
    )
