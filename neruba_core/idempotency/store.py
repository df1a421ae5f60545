"""What idempotency asks of storage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from neruba_core.idempotency.model import Answer


class IdempotencyStore(Protocol):
    """Stored answers by (scope, operation, key), unique for ever and never changed."""

    def held_elsewhere(self, keys: Iterable[tuple[str, str, str]]) -> set[tuple[str, str, str]]:
        """Try to take each (scope, operation, key) until the unit ends; return those that another
        unit in flight has taken. Never waits. A store with one writer at a time returns none."""

    def answers(self, scope_id: str, operation: str, keys: Iterable[str]) -> dict[str, Answer]:
        """The stored answers by key."""

    def add_answers(self, answers: Sequence[Answer]) -> None:
        """Insert; a key that is taken is the caller's fault and fails the unit."""


class HasIdempotency(Protocol):
    @property
    def idempotency(self) -> IdempotencyStore: ...
