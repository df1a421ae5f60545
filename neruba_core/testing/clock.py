"""A clock that stands still until a test moves it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from neruba_core import instants
from neruba_core.instants import Instant

NOON = datetime(2026, 3, 17, 12, tzinfo=UTC)
"""When a test begins, unless it says otherwise: in the middle of a day in the middle of a month."""


class SettableClock:
    """Call it for the time; ``set`` and ``advance`` move it, backwards too, for real clocks do that."""

    def __init__(self, at: Instant = NOON) -> None:
        self._lock = threading.Lock()
        self._at = instants.utc(at)

    def __call__(self) -> Instant:
        return self._at

    def set(self, at: datetime | str) -> Instant:
        """Make it *at*: an aware ``datetime`` or RFC 3339 text such as ``"2026-04-01T00:00:00Z"``."""
        self._at = instants.parse(at) if isinstance(at, str) else instants.utc(at)
        return self._at

    def advance(self, by: timedelta | None = None, **spans: float) -> Instant:
        """Let time pass: ``advance(days=3, hours=1)``, or a whole ``timedelta``."""
        with self._lock:
            self._at += (by or timedelta()) + timedelta(**spans)
        return self._at

    def __repr__(self) -> str:
        return f"SettableClock({instants.text(self._at)})"
