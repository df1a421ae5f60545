"""``neruba.usage``: recording usage and reading it back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar

from attrs import frozen

from neruba_core import texts
from neruba_core.audit.model import SYSTEM, Origin
from neruba_core.audit.outcomes import Unreadable, note_unreadable
from neruba_core.billing.prepaid import Draws
from neruba_core.context import Context
from neruba_core.errors import FormatInvalid, KeyInvalid, NerubaError, UsageNotFound
from neruba_core.idempotency.outcomes import (
    Accepted,
    Deduplicated,
    Quarantined,
    Refusal,
    Rejected,
    Replayed,
)
from neruba_core.instants import Instant, Period, maybe_utc, utc
from neruba_core.money import Amount
from neruba_core.outbox.emit import Telling
from neruba_core.pages import DEFAULT_LIMIT, Page, limited, page, place_of
from neruba_core.storage.port import UnitOfWork
from neruba_core.tenancy.projects import existing
from neruba_core.texts import Properties
from neruba_core.usage import quarantine
from neruba_core.usage.aggregate import Quantity
from neruba_core.usage.fingerprint import OPERATION
from neruba_core.usage.groups import grouped
from neruba_core.usage.model import NewUsage, QuarantinedUsage, UsageEvent, UsageVoid
from neruba_core.usage.recompute import rollup_faults
from neruba_core.usage.record import Recorded, Sent, record
from neruba_core.usage.void import Voided, void

T = TypeVar("T")

Given: TypeAlias = (
    Accepted[UsageEvent] | Replayed[UsageEvent] | Deduplicated[UsageEvent] | Quarantined[QuarantinedUsage]
)


@frozen
class Usage:
    """Reached as ``neruba.usage``; each call is one unit of work."""

    _context: Context

    def record(
        self,
        project_id: str,
        *,
        metric_key: str,
        units: Amount,
        timestamp: Instant,
        idempotency_key: str,
        event_id: str | None = None,
        properties: Properties | None = None,
        origin: Origin = SYSTEM,
    ) -> Given:
        """Record one event at most once, for ever.

        *units* is decimal text, an int or a ``Decimal``, at least zero; *timestamp* an aware
        ``datetime`` at most five minutes ahead. Raises ``Invalid`` refusals, ``ProjectNotFound``,
        ``ProjectArchived``, ``KeyReused`` or ``UsageConflict``; the attempt is on record even then.
        """
        new = NewUsage.of(
            metric_key=metric_key,
            units=units,
            timestamp=timestamp,
            idempotency_key=idempotency_key,
            event_id=event_id,
            properties=properties,
        )
        context, sent = self._context, [Sent(project_id, new, origin)]
        return _unless_refused(context.write(lambda work: self._recorded(work, sent, context.clock()))[0])

    def record_many(
        self, project_id: str, events: Iterable[NewUsage | Mapping[str, Any]], *, origin: Origin = SYSTEM
    ) -> Sequence[Recorded]:
        """Record many events in one unit of work; one outcome each, in order, and none is raised.

        An event is a ``NewUsage`` or a mapping of the arguments of ``record``. One that is not even
        well-formed is ``Rejected`` at its place.
        """
        context = self._context
        commands = [_command(project_id, event, origin) for event in events]

        def run(work: UnitOfWork) -> Sequence[Recorded]:
            at = context.clock()
            sent = [command for command in commands if isinstance(command, Sent)]
            recorded = iter(self._recorded(work, sent, at))
            unreadable = [command for command in commands if isinstance(command, Unreadable)]
            if unreadable and work.tenancy.project(project_id) is not None:
                note_unreadable(work, unreadable, at=at, ids=context.ids)
            return [next(recorded) if isinstance(c, Sent) else Rejected(c.error) for c in commands]

        return context.write(run)

    def void(self, project_id: str, usage_id: str, *, reason: str, origin: Origin = SYSTEM) -> Voided:
        """Let an event count no more; again gives the first void.

        Raises ``TextInvalid``, ``ProjectNotFound``, ``ProjectArchived`` or ``UsageNotFound``.
        """
        at = self._context.clock()

        def voided(work: UnitOfWork, telling: Telling) -> Voided:
            return void(
                work,
                project_id,
                usage_id,
                reason,
                at=at,
                ids=self._context.ids,
                origin=origin,
                open_draws=partial(self._draws, work, at, telling),
            )

        return self._context.write(
            lambda work: self._telling(work, at, lambda telling: voided(work, telling))
        )

    def voids(self, project_id: str, usage_ids: Iterable[str]) -> dict[str, UsageVoid]:
        """The voids of the events, by usage id; events that still count are left out."""
        return self._context.read(lambda work: work.usage.voids(project_id, usage_ids))

    def get(self, project_id: str, usage_id: str) -> UsageEvent:
        """One event. Raises ``UsageNotFound``."""
        event = self._context.read(lambda work: work.usage.event(project_id, usage_id))
        if event is None:
            raise UsageNotFound(usage_id)
        return event

    def events(
        self,
        project_id: str,
        *,
        metric_key: str | None = None,
        start: Instant | None = None,
        end: Instant | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> Page[UsageEvent]:
        """Raw events, newest first; *start* and *end* bound the timestamp as ``[start, end)``."""
        most = limited(limit)
        start, end = maybe_utc(start), maybe_utc(end)
        filters = ("usage", project_id, metric_key, start, end)
        before = place_of(cursor, *filters)
        rows = self._context.read(
            lambda work: work.usage.events(
                existing(work, project_id).id,
                limit=most + 1,
                before=before,
                metric_key=metric_key,
                start=start,
                end=end,
            )
        )
        return page(rows, most, "id", *filters)

    def quantities(
        self,
        project_id: str,
        *,
        start: Instant,
        end: Instant,
        metric_key: str | None = None,
        group_by: str | None = None,
    ) -> Sequence[Quantity]:
        """Aggregated usage over ``[start, end)`` by metric; split, if asked, by ``hour``, ``day`` or
        ``month`` of the project's time zone, or else by the values of the property *group_by*. Raises
        ``FormatInvalid`` for an empty or too finely split range."""
        span = Period(utc(start), utc(end))
        if span.start >= span.end:
            raise FormatInvalid("a range whose start is before its end", f"{start} – {end}")
        key = None if metric_key is None else texts.metric_key(metric_key)
        return self._context.read(
            lambda work: grouped(work, existing(work, project_id), span, metric_key=key, group_by=group_by)
        )

    def fold(self, *, at_most: int = 10_000) -> int:
        """Fold about *at_most* events into the rollups that make reads fast; how many were folded, 0 when
        there is nothing left to do. Totals are right whether or not this is ever called; a server does it
        every second, and any number of processes may."""
        return self._context.write(lambda work: work.usage.fold(at_most=at_most))

    def folds_due(self) -> bool:
        """Whether ``fold`` would find something to do."""
        return self._context.read(lambda work: work.usage.folds_due())

    def refold(self, project_id: str) -> None:
        """Forget the project's rollups, to be folded anew; needed after a database was restored from a
        dump, or moved. Raises ``ProjectNotFound``."""
        self._context.write(lambda work: work.usage.refold(existing(work, project_id).id))

    def rollup_faults(self, project_id: str, *, days: int | None = None) -> Sequence[str]:
        """Where rollups differ from their raw events, in words; nowhere, if all is well. Looks at whole
        metrics, and by the hour at *days* days of each, chosen at random, or at all of them. Raises
        ``ProjectNotFound``."""
        chance = self._context.ids.chance()
        return self._context.read(
            lambda work: rollup_faults(work, existing(work, project_id).id, days=days, chance=chance)
        )

    def replay_quarantined(self, project_id: str, quarantine_id: str, *, origin: Origin = SYSTEM) -> Given:
        """Try a quarantined event again under its original key. Raises ``QuarantineNotFound``,
        ``QuarantineClosed`` or ``StillQuarantined``."""
        context = self._context
        at = context.clock()

        def replay(work: UnitOfWork, telling: Telling) -> Recorded:
            return quarantine.replay(
                work,
                existing(work, project_id).id,
                quarantine_id,
                at=at,
                ids=context.ids,
                origin=origin,
                open_draws=partial(self._draws, work, at, telling),
                telling=telling,
            )

        return _unless_refused(
            context.write(lambda work: self._telling(work, at, lambda telling: replay(work, telling)))
        )

    def discard_quarantined(
        self, project_id: str, quarantine_id: str, *, origin: Origin = SYSTEM
    ) -> QuarantinedUsage:
        """Give a quarantined event up. Raises ``QuarantineNotFound`` or ``QuarantineClosed``."""
        context = self._context
        at = context.clock()
        return context.write(
            lambda work: quarantine.discard(
                work, existing(work, project_id).id, quarantine_id, at=at, ids=context.ids, origin=origin
            )
        )

    def _recorded(self, work: UnitOfWork, sent: Sequence[Sent], at: Instant) -> Sequence[Recorded]:
        ids, telling = self._context.ids, Telling()
        open_draws = partial(self._draws, work, at, telling)
        presumption = self._context.presumption
        recorded = record(
            work, sent, at=at, ids=ids, open_draws=open_draws, telling=telling, presumption=presumption
        )
        telling.write(work, at=at, ids=ids)
        return recorded

    def _draws(self, work: UnitOfWork, at: Instant, telling: Telling, project_ids: Iterable[str]) -> Draws:
        context = self._context
        return Draws.open(work, project_ids, at=at, ids=context.ids, chart=context.chart, telling=telling)

    def _telling(self, work: UnitOfWork, at: Instant, act: Callable[[Telling], T]) -> T:
        """Do *act*, then tell the listeners of it."""
        telling = Telling()
        done = act(telling)
        telling.write(work, at=at, ids=self._context.ids)
        return done


def _command(project_id: str, event: NewUsage | Mapping[str, Any], origin: Origin) -> Sent | Unreadable:
    if isinstance(event, NewUsage):
        return Sent(project_id, event, origin)
    key = event.get("idempotency_key")
    try:
        return Sent(project_id, NewUsage.of(**event), origin)
    except NerubaError as error:
        return Unreadable(project_id, OPERATION, error, origin, _shown_key(key))
    except TypeError as error:
        # An argument too many or too few harms its neighbours no more than a bad value does.
        refusal = FormatInvalid("the arguments of usage.record", str(error))
        return Unreadable(project_id, OPERATION, refusal, origin, _shown_key(key))


def _shown_key(key: object) -> str | None:
    """The idempotency key of an event that could not be read, if at least that is one."""
    try:
        return texts.idempotency_key(key)  # type: ignore[arg-type]
    except KeyInvalid:
        return None


def _unless_refused(outcome: Recorded) -> Given:
    if isinstance(outcome, Refusal):
        raise outcome.error
    return outcome
