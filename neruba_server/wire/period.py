"""Spans of time on the wire."""

from __future__ import annotations

from attrs import frozen

from neruba_core.instants import Period as CorePeriod
from neruba_server.wire.kinds import Moment


@frozen
class Period:
    """From ``start`` up to but not including ``end``."""

    start: Moment
    end: Moment


def period_of(span: CorePeriod) -> Period:
    """A span of time as people see it."""
    return Period(span.start, span.end)
