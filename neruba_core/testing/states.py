"""What a project consists of at one moment, kept to see whether it has changed.

It is asked before and after every step of the state machines and every request at a door, so it must cost
little. Rows never change: a store that keeps them as objects hands the same ones out again, and the same
objects give the same text. Only where they are others is everything put in writing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import frozen

from neruba_core.neruba import Neruba
from neruba_core.storage.export import export


@frozen(eq=False, repr=False)
class State:
    """The rows of one project's export; equal where the canonical exports are, byte for byte."""

    project_id: str
    rows: list[tuple[str, Any]]

    @property
    def text(self) -> str:
        """The canonical export."""
        return "\n".join(export(self, self.project_id))

    @property
    def but_answers(self) -> State:
        """Without what is stored for a key, as a refusal for lack of credit is."""
        return State(self.project_id, [each for each in self.rows if each[0] != "answers"])

    def export(self, project_id: str) -> Iterator[tuple[str, Any]]:
        """The rows, as a unit of work has them."""
        yield from self.rows if project_id == self.project_id else ()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, State):
            return NotImplemented
        return self._of_the_same_rows(other) or self.text == other.text

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return self.text

    def _of_the_same_rows(self, other: State) -> bool:
        return len(self.rows) == len(other.rows) and all(
            table == another and row is twin
            for (table, row), (another, twin) in zip(self.rows, other.rows, strict=True)
        )


def state(neruba: Neruba, project_id: str) -> State:
    """What *project_id* consists of now."""
    with neruba._context.storage.snapshot() as work:
        return State(project_id, list(work.export(project_id)))
