"""Prepaid meters: how far a metric has counted in a slice of a period, and what has been drawn for it."""

from __future__ import annotations

from attrs import frozen

from neruba_core.instants import Instant


@frozen
class Meter:
    """Kept under the project's locked head, so that the next draw is the exact difference.

    *price_id* is the price that the slice is rated by; *drawn_micros* what was drawn for it less what was
    given back, which always equals the rate of *units_micros* without any minimum.
    """

    project_id: str
    metric_key: str
    start: Instant
    end: Instant
    price_id: str
    units_micros: int
    events: int
    drawn_micros: int
