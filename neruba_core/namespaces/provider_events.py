"""``neruba.provider_events``: what payment providers tell by themselves, kept first and booked afterwards."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from attrs import frozen

from neruba_core.audit.model import SYSTEM
from neruba_core.choices import choice
from neruba_core.context import Context
from neruba_core.errors import (
    PaymentInsideUnit,
    ProviderEventNotFound,
    ProviderUnavailable,
    ProviderUnknown,
    StorageError,
)
from neruba_core.instants import Instant, utc
from neruba_core.namespaces.desks import desk_of
from neruba_core.pages import DEFAULT_LIMIT, Page, limited, page, place_of
from neruba_core.payments import events
from neruba_core.payments.model import EventState, ProviderEvent
from neruba_core.payments.provider import Telling
from neruba_core.storage.port import UnitOfWork

log = logging.getLogger("neruba.payments")


@frozen
class ProviderEvents:
    """Reached as ``neruba.provider_events``. An event is a hint: what is booked is what the provider says of
    the payment when it is asked."""

    _context: Context

    def receive(self, provider: str, payload: bytes, signature: str | None) -> bool:
        """Keep what *provider* has sent, word by word; whether it was new. It is processed afterwards.

        Raises ``ProviderUnknown``, ``WebhookSecretUnset`` or ``SignatureInvalid``, and then nothing is kept.
        """
        context = self._context
        through = context.provider(provider)
        if not isinstance(through, Telling):
            raise ProviderUnknown(provider)
        told = through.read_event(payload, signature)
        at = context.clock()
        return context.write(
            lambda work: events.keep(work, provider, told, payload.decode(), at=at, ids=context.ids)
        )

    def process(self, *, at_most: int = 100) -> int:
        """Book what at most *at_most* events that are due are about, each payment once; how many events there
        were.

        For a scheduler, as ``payments.settle_pending`` is. What cannot be processed falls due again, later
        each time, and is ``dead`` in the end, unless it is the provider that does not answer. Raises
        ``PaymentInsideUnit``.
        """
        context = self._context
        if context.bound is not None:
            raise PaymentInsideUnit
        at = context.clock()
        claimed = context.write(lambda work: events.claim(work, at=at, limit=at_most))
        subjects: dict[tuple[str, str], list[ProviderEvent]] = {}
        for event in claimed:
            assert event.subject_id is not None, "what is about nothing is never due"
            subjects.setdefault((event.provider, event.subject_id), []).append(event)
        for (provider, subject_id), about in subjects.items():
            try:
                self._book(provider, subject_id, about)
            except StorageError:
                raise
            except Exception as error:
                failure, answered = _failure(error), not isinstance(error, ProviderUnavailable)
                log.warning("events about %s of %s are tried again: %s", subject_id, provider, failure)
                context.write(
                    lambda work, a=about, f=failure, k=answered: events.fail(  # type: ignore[misc]
                        work, a, f, at=at, answered=k
                    )
                )
        return len(claimed)

    def _book(self, provider: str, subject_id: str, about: Sequence[ProviderEvent]) -> None:
        context = self._context
        through = context.provider(provider)
        if not isinstance(through, Telling):
            raise ProviderUnknown(provider)
        report = through.report(subject_id)
        at = context.clock()

        def unit(work: UnitOfWork) -> None:
            found = report if report is not None and events.ours(work, provider, report) else None
            if found is not None:
                at_desk = desk_of(context, work, found.project_id, SYSTEM, at)
                events.book(at_desk, found)
                at_desk.close()
            events.end(work, about, found, at=at)

        context.write(unit)

    def waiting_since(self) -> Instant | None:
        """Since when an event has been due for ``process``; ``None`` if none is."""
        now = self._context.clock()
        due = self._context.read(lambda work: work.payments.due_events(now, limit=1))
        return due[0].due_at if due else None

    def next_due(self, after: Instant) -> Instant | None:
        """The first moment later than *after* at which an event falls due for ``process``."""
        moment = utc(after)
        return self._context.read(lambda work: work.payments.next_due_event(moment))

    def list(
        self,
        *,
        state: EventState | str | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> Page[ProviderEvent]:
        """What providers have sent, newest first, and only those of *state*; *limit* 1–200.

        Raises ``FormatInvalid``, ``CursorInvalid`` or ``CursorMismatch``.
        """
        most = limited(limit)
        wanted = None if state is None else choice(EventState, state, "a state of a provider's event")
        filters = ("provider_events", wanted)
        before = place_of(cursor, *filters)
        found = self._context.read(
            lambda work: work.payments.events(limit=most + 1, before=before, state=wanted)
        )
        return page(found, most, "id", *filters)

    def given_up(self) -> bool:
        """Whether any event is ``dead``, so that somebody has to look after it."""
        return bool(
            self._context.read(lambda work: work.payments.events(limit=1, before=None, state=EventState.DEAD))
        )

    def reprocess(self, event_id: str) -> ProviderEvent:
        """Have an event processed again as if it had just come, whatever became of it; nothing is booked
        twice by that.

        Raises ``ProviderEventNotFound``.
        """
        at = self._context.clock()

        def unit(work: UnitOfWork) -> ProviderEvent:
            found = work.payments.event(event_id)
            if found is None:
                raise ProviderEventNotFound(event_id)
            if found.subject_id is None:
                return found
            renewed = events.again(found, at)
            work.payments.put_event(renewed, tries=found.tries)
            return renewed

        return self._context.write(unit)


def _failure(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
