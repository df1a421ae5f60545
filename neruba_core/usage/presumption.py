"""Whether events may be taken for new before the store has said so.

Nearly all events are new. Where they are presumed to be, a store may insert them without a look for each
and find out with the commit, together with all else that the unit writes; where one was not, the unit fails
with ``StorageConflict``, is undone and runs again, with care. A repeat seldom comes alone (a sender tries
all again, a queue is replayed), and such a unit costs two: so after one that met a repeat the next ones are
careful too.
"""

from __future__ import annotations

from attrs import define

CAREFUL_UNITS = 32
"""How many units look first after one that met a repeat."""


@define(eq=False)
class Presumption:
    """What the units of one façade presume. Threads share it: what they miss of each other costs a unit that
    runs again, and nothing else."""

    _careful: int = 0

    def holds(self) -> bool:
        """Whether the unit that asks may presume its events to be new; asked once by each."""
        if self._careful == 0:
            return True
        self._careful -= 1
        return False

    def fails(self) -> None:
        """A repeat was met, or may have been."""
        self._careful = CAREFUL_UNITS
