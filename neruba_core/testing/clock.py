"""A clock that stands still until a test moves it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from attrs import frozen

from neruba_core import instants
from neruba_core.instants import Instant

NOON = datetime(2026, 3, 17, 12, tzinfo=UTC)
"""When a test begins, unless it says otherwise: in the middle of a day in the middle of a month."""


@frozen
class Stops:
    """Where a clock stops on its way, and what is done there."""

    next_after: Callable[[Instant], Instant | None]
    act: Callable[[], object]


class SettableClock:
    """Call it for the time; ``set`` and ``advance`` move it, backwards too, for real clocks do that.

    On its way forward it stops wherever something falls due (see ``stop_for``), so that what is done there
    bears that time.
    """

    def __init__(self, at: Instant = NOON) -> None:
        self._lock = threading.RLock()
        self._at = instants.utc(at)
        self._stops: Stops | None = None

    def __call__(self) -> Instant:
        return self._at

    def set(self, at: datetime | str) -> Instant:
        """Make it *at*: an aware ``datetime`` or RFC 3339 text such as ``"2026-04-01T00:00:00Z"``."""
        return self._go(instants.parse(at) if isinstance(at, str) else instants.utc(at))

    def advance(self, by: timedelta | None = None, **spans: float) -> Instant:
        """Let time pass: ``advance(days=3, hours=1)``, or a whole ``timedelta``."""
        with self._lock:
            return self._go(self._at + (by or timedelta()) + timedelta(**spans))

    def stop_for(self, stops: Stops | None) -> None:
        """Stop from now on at each moment that *stops* names, and do there what it says."""
        self._stops = stops

    def _go(self, target: Instant) -> Instant:
        with self._lock:
            stops, self._stops = self._stops, None
            try:
                while stops is not None:
                    stop = stops.next_after(self._at)
                    if stop is None or stop > target:
                        break
                    self._at = stop
                    stops.act()
            finally:
                # None while it acts: whatever moves the clock then moves it plainly.
                self._stops = self._stops or stops
            self._at = target
        return self._at

    def __repr__(self) -> str:
        return f"SettableClock({instants.text(self._at)})"
