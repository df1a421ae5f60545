"""Stored answers in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import define, field

from neruba_core.idempotency.model import Answer
from neruba_core.storage.memory.tables import Table, Undo


@define(eq=False)
class IdempotencyTables:
    """By scope, then by operation and key."""

    answers: Table[tuple[str, str], Answer] = field(factory=Table)


@define(eq=False)
class MemoryIdempotency:
    """``IdempotencyStore`` within one unit."""

    _tables: IdempotencyTables
    _undo: Undo

    def held_elsewhere(self, keys: Iterable[tuple[str, str, str]]) -> set[tuple[str, str, str]]:
        # One unit at a time: nothing is in flight elsewhere.
        return set()

    def answers(self, scope_id: str, operation: str, keys: Iterable[str]) -> dict[str, Answer]:
        found = self._tables.answers.some(scope_id, ((operation, key) for key in keys))
        return {key: answer for (_, key), answer in found.items()}

    def add_answers(self, answers: Sequence[Answer]) -> None:
        for answer in answers:
            place = (answer.operation, answer.idempotency_key)
            self._tables.answers.add(self._undo, answer.scope_id, place, answer)
