"""Whether events may be taken for new before the store has said so.

Nearly all events are new. Where they are presumed to be, a store may insert them without a look for each
and find out with the commit, together with all else that the unit writes; where one was not, the unit fails
with ``StorageConflict``, is undone and runs again, with care. That costs what dozens of right ones save, and
a repeat seldom comes alone (a sender tries all again, a queue is replayed): so after one the next units are
careful too, and the more of them, the sooner the last presumption had failed.
"""

from __future__ import annotations

import threading

from attrs import define, field

CAREFUL_UNITS = 32
"""How many units look first after one that met a repeat."""

MOST_CAREFUL_UNITS = 4_096

ENOUGH_UNITS = 256
"""How many units must have presumed rightly for a wrong one to count as the first."""


@define(eq=False)
class Presumption:
    """What the units of one façade presume. Its threads share it, but that a unit which failed runs again
    with care is each thread's own: no other can use that up."""

    _careful: int = 0
    _span: int = 0
    _right: int = 0
    _here: threading.local = field(factory=threading.local)

    def begins(self) -> None:
        """A unit of this thread begins, which has presumed nothing yet."""
        self._here.presumed = False

    def holds(self) -> bool:
        """Whether the unit that asks may presume its events to be new; asked at most once by each."""
        here = self._here
        looks = getattr(here, "failed", False) or self._careful > 0
        here.failed, here.presumed = False, not looks
        if looks:
            self._careful = max(self._careful - 1, 0)
        else:
            self._right += 1
        return not looks

    def met_repeat(self) -> None:
        """A unit that looked has met a repeat."""
        self._careful = max(self._span, CAREFUL_UNITS)

    def failed(self) -> bool:
        """This thread's unit has failed with a conflict, and the next that asks here is careful. Whether it
        had presumed anything."""
        here = self._here
        here.failed = True
        if here.presumed:
            again = self._right <= ENOUGH_UNITS
            self._span = min(2 * self._span, MOST_CAREFUL_UNITS) if again and self._span else CAREFUL_UNITS
            self._careful, self._right = self._span, 0
        return bool(here.presumed)
