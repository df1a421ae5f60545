"""What usage asks of storage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from neruba_core.instants import Instant
from neruba_core.texts import PropertyValue
from neruba_core.usage.model import (
    ActiveDay,
    HoldKind,
    LateHold,
    QuarantinedUsage,
    QuarantineState,
    Totals,
    UsageEvent,
    UsageVoid,
    Wanted,
)


class UsageStore(Protocol):
    """Usage events, append-only, unique by (project, idempotency key) and by (project, event id)."""

    def insert(self, events: Sequence[UsageEvent], *, presumed_new: bool = False) -> set[str] | None:
        """Insert the events that collide with none recorded, in one bulk statement.

        The events of one call never collide with each other. Waits for a competitor in flight.
        Returns ``None`` if all went in (the common case, kept cheap), else the ids that did.

        Of those *presumed_new* a store may say ``None`` before it knows. If one collides after all, the unit
        fails with ``StorageConflict``, by its commit at the latest.
        """

    def by_keys(self, project_id: str, keys: Iterable[str]) -> dict[str, UsageEvent]:
        """Recorded events by idempotency key."""

    def by_event_ids(self, project_id: str, event_ids: Iterable[str]) -> dict[str, UsageEvent]:
        """Recorded events by event id."""

    def event(self, project_id: str, usage_id: str) -> UsageEvent | None: ...

    def events(
        self,
        project_id: str,
        *,
        limit: int,
        before: str | None,
        metric_key: str | None = None,
        start: Instant | None = None,
        end: Instant | None = None,
    ) -> Sequence[UsageEvent]:
        """By descending id, below *before*; *start* and *end* bound ``timestamp`` as ``[start, end)``."""

    def add_void(self, void: UsageVoid) -> UsageVoid | None:
        """Insert and return None, or return the earlier void of the same event."""

    def voids(self, project_id: str, usage_ids: Iterable[str]) -> dict[str, UsageVoid]:
        """Voids by usage id."""

    # --- aggregates, over the unvoided events with ``timestamp`` in ``[start, end)`` ------------

    def totals(self, project_id: str, metric_key: str, start: Instant, end: Instant) -> Totals:
        """``totals_of`` of one."""

    def totals_of(self, wanted: Sequence[Wanted], *, raw: bool = False) -> Sequence[Totals]:
        """One for each of *wanted*, exact beyond 64 bits, with few statements for many; rollups serve the
        whole hours of UTC inside a span, raw events its edges and the tail that is not folded yet. *raw*
        asks for raw events alone, which gives the same or there is a fault in the rollups."""

    def distinct_of(self, wanted: Sequence[Wanted], property_name: str) -> Sequence[int]:
        """How many different values the property has, for each of *wanted*; events without it are left
        out, and ``1``, ``"1"`` and ``True`` differ."""

    def grouped_totals(
        self, wanted: Wanted, property_name: str, *, at_most: int
    ) -> Sequence[tuple[PropertyValue | None, Totals]]:
        """Totals by the property's value: first ``None`` for events without it, then ascending by the
        value's JSON text, *at_most* of them."""

    def grouped_distinct(
        self, wanted: Wanted, property_name: str, of: str, *, at_most: int
    ) -> Sequence[tuple[PropertyValue | None, int]]:
        """How many different values the property *of* has, by the value of *property_name* in the same
        order."""

    def active_days(
        self, project_ids: Iterable[str], *, start: Instant | None = None, end: Instant | None = None
    ) -> Sequence[ActiveDay]:
        """On which UTC days each metric has unvoided events with ``timestamp`` in ``[start, end)``, by
        project, metric and day."""

    # --- what has been recorded since ---------------------------------------------------------

    def mark(self) -> int:
        """A watermark: every event and void below it is visible to this unit and to all later ones, and
        whatever is recorded later lies at or above it. Some that are visible may lie above it too."""

    def changed_days(self, project_id: str, *, since: int, before: Instant) -> Sequence[ActiveDay]:
        """The days of events that were recorded or voided at or above the mark *since* and have
        ``timestamp`` < *before*; voided events included."""

    def fold(self, *, at_most: int) -> int:
        """Fold events and voids below the mark into rollups; how many were folded, at most about *at_most*,
        and 0 when all is done. Never doubles: what is folded and how far moves in one unit, and only one
        unit folds at a time (others return 0)."""

    def folds_due(self) -> bool:
        """Whether ``fold`` would find something to do."""

    def refold(self, project_id: str) -> None:
        """Forget the project's rollups: its totals come from raw events until they are folded anew."""

    # --- quarantine ---------------------------------------------------------------------------

    def quarantine(self, waiting: QuarantinedUsage) -> QuarantinedUsage:
        """Insert, or return the row of the same (project, key, fingerprint) as it is."""

    def quarantined(self, project_id: str, quarantine_id: str) -> QuarantinedUsage | None: ...

    def quarantined_by_keys(self, project_id: str, keys: Iterable[str]) -> Sequence[QuarantinedUsage]:
        """The waiting rows with any of these idempotency keys, by ascending id."""

    def close_quarantined(self, project_id: str, quarantine_id: str, state: QuarantineState) -> bool:
        """Compare and set: from ``waiting`` to *state*; False if it was not waiting."""

    # --- late usage that waits for support ----------------------------------------------------

    def hold(self, holds: Sequence[LateHold]) -> None:
        """Insert those whose (project, usage id, kind) is free, and leave the others alone."""

    def holds(self, project_ids: Iterable[str]) -> Sequence[LateHold]:
        """All holds of the projects, closed ones included, by project, usage id and kind."""

    def close_hold(self, project_id: str, usage_id: str, kind: HoldKind, state: QuarantineState) -> bool:
        """Compare and set: from ``waiting`` to *state*; False if it was not waiting."""


class HasUsage(Protocol):
    @property
    def usage(self) -> UsageStore: ...
