"""``neruba.payments``: money in and out, and what else settles invoices."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import TypeVar

from attrs import evolve, frozen

from neruba_core import money
from neruba_core.audit.model import SYSTEM, Origin
from neruba_core.choices import choice
from neruba_core.context import Context
from neruba_core.errors import (
    PaymentInsideUnit,
    PaymentNotFound,
    ProviderEventNotFound,
    ProviderUnknown,
    StorageError,
)
from neruba_core.idempotency.fingerprint import Json
from neruba_core.idempotency.once import Made, once
from neruba_core.idempotency.outcomes import Accepted, Replayed, Success
from neruba_core.instants import Instant, utc
from neruba_core.money import Amount
from neruba_core.pages import DEFAULT_LIMIT, Page, limited, page, place_of
from neruba_core.payments import collect, events, methods, pay, refund, settling, top_up
from neruba_core.payments.correct import NewCorrection, correct
from neruba_core.payments.desk import Desk, desk
from neruba_core.payments.model import (
    MANUAL,
    Allocation,
    Correction,
    Dispute,
    EventState,
    Payment,
    PaymentMethod,
    PaymentStatus,
    ProviderEvent,
    Refund,
)
from neruba_core.payments.pay import NewPayment
from neruba_core.payments.provider import Answer, Telling
from neruba_core.payments.receivables import Receivables, receivables
from neruba_core.payments.refund import NewRefund
from neruba_core.schedule.model import MAX_PAUSE
from neruba_core.storage.port import UnitOfWork
from neruba_core.tenancy.model import Project
from neruba_core.tenancy.projects import existing
from neruba_core.wallets.view import wallet

log = logging.getLogger("neruba.payments")

T = TypeVar("T", Payment, Refund, Correction)


@frozen
class Payments:
    """Reached as ``neruba.payments``; each call is one unit of work."""

    _context: Context

    def pay(
        self,
        project_id: str,
        *,
        amount: Amount,
        idempotency_key: str,
        provider: str = MANUAL,
        invoice_id: str | None = None,
        reference: str | None = None,
        origin: Origin = SYSTEM,
    ) -> Success[Payment]:
        """Record money received, or have *provider* asked for it, at most once, for ever.

        It settles the invoice, then the oldest others that are open; the rest of it, and all of it where no
        invoice is named, is a paid grant. Another provider than ``manual`` is asked after the payment was
        committed, and the answer is how it stands then: ``succeeded``, ``failed``, or still ``pending``,
        which ``settle_pending`` finishes. Inside ``work()`` and ``join()`` nobody is asked: the payment is
        pending and due, and asked for by ``settle_pending`` or ``resolve`` once the unit is committed.

        Raises ``Invalid`` refusals, ``ProjectNotFound``, ``ProjectArchived``, ``InvoiceNotFound``,
        ``InvoiceNotIssued``, ``InvoiceSettled``, ``PaymentMethodMissing``, ``KeyReused`` or
        ``KeyInProgress``.
        """
        new = NewPayment.of(amount=amount, provider=provider, invoice_id=invoice_id, reference=reference)
        through = self._context.provider(new.provider)
        given = self._once(
            project_id,
            pay.OPERATION,
            f"/projects/{project_id}/payments",
            new.body(),
            idempotency_key,
            origin,
            lambda at_desk: pay.record(at_desk, new, through),
            lambda work, payment_id: _payment(work, project_id, payment_id),
        )
        if given.value.status is not PaymentStatus.PENDING or self._context.bound is not None:
            return given
        return type(given)(self.resolve(project_id, given.value.id, origin=origin))

    def resolve(self, project_id: str, payment_id: str, *, origin: Origin = SYSTEM) -> Payment:
        """Ask the provider of a pending payment how it stands, unless somebody else has just done so.

        Raises ``PaymentInsideUnit``, ``ProjectNotFound`` or ``PaymentNotFound``.
        """
        self._ask(
            project_id,
            origin,
            lambda at_desk: settling.begin(at_desk, payment_id),
            lambda at_desk, answer: settling.settle(at_desk, payment_id, answer),
        )
        return self.get(project_id, payment_id)

    def resolve_refund(self, project_id: str, refund_id: str, *, origin: Origin = SYSTEM) -> Refund:
        """Ask the provider of a pending refund how it stands, unless somebody else has just done so.

        Raises ``PaymentInsideUnit``, ``ProjectNotFound`` or ``RefundNotFound``.
        """
        self._ask(
            project_id,
            origin,
            lambda at_desk: settling.begin_refund(at_desk, refund_id),
            lambda at_desk, answer: settling.settle_refund(at_desk, refund_id, answer),
        )
        return self._context.read(lambda work: _refund(work, project_id, refund_id))

    def _ask(
        self,
        project_id: str,
        origin: Origin,
        begin: Callable[[Desk], settling.Begun | None],
        settle: Callable[[Desk, Answer], object],
    ) -> None:
        """Between two units of work, ask the provider and write what it said."""
        context = self._context
        if context.bound is not None:
            raise PaymentInsideUnit
        begun = context.write(lambda work: begin(self._desk(work, project_id, origin)))
        if begun is None:
            return
        answer = settling.asked(context.provider(begun.provider), begun, at=context.clock())
        if answer is None:
            return

        def unit(work: UnitOfWork) -> None:
            at_desk = self._desk(work, project_id, origin)
            settle(at_desk, answer)
            at_desk.close()

        context.write(unit)

    def settle_pending(self, *, at_most: int = 20) -> Sequence[Payment | Refund]:
        """Resolve at most *at_most* pending payments of all projects that are due, and as many refunds; what
        has become of them.

        For a scheduler to call every few seconds. Several may at once: each payment is taken by one of them.
        What goes wrong with one payment is logged and does not keep the others from being resolved. Raises
        ``PaymentInsideUnit``.
        """
        context = self._context
        if context.bound is not None:
            raise PaymentInsideUnit
        now = context.clock()

        def due(work: UnitOfWork) -> list[tuple[Callable[[str, str], Payment | Refund], str, str]]:
            payments = work.payments.due_payments(now, limit=at_most)
            refunds = work.payments.due_refunds(now, limit=at_most)
            return [
                *((self.resolve, *each) for each in payments),
                *((self.resolve_refund, *each) for each in refunds),
            ]

        resolved = []
        for resolve, project_id, row_id in context.read(due):
            try:
                resolved.append(resolve(project_id, row_id))
            except StorageError:
                raise
            except Exception:
                log.exception("%s could not be resolved and stays pending", row_id)
        return resolved

    def pending_since(self) -> Instant | None:
        """Since when a payment or refund has been due for ``settle_pending``; ``None`` if none is."""
        now = self._context.clock()

        def read(work: UnitOfWork) -> Instant | None:
            payments, refunds = (
                work.payments.due_payments(now, limit=1),
                work.payments.due_refunds(now, limit=1),
            )
            rows = [
                *(work.payments.payment(*each) for each in payments),
                *(work.payments.refund(*each) for each in refunds),
            ]
            return min(
                (row.due_at for row in rows if row is not None and row.due_at is not None), default=None
            )

        return self._context.read(read)

    def collect_due(self, *, at_most: int = 20) -> Sequence[Payment]:
        """Have at most *at_most* invoices that are open paid by their projects' payment methods; how the
        payments stand.

        For a scheduler, as ``settle_pending`` is; an invoice is collected at once, again after each of the
        dunning days, and is past due a day after the last. Raises ``PaymentInsideUnit``.
        """
        context = self._context
        if context.bound is not None:
            raise PaymentInsideUnit
        at = context.clock()
        due = context.read(lambda work: work.payments.collectable(at, limit=at_most))
        collected = []
        for project_id, invoice_id in due:
            try:
                payment = self._collect(project_id, invoice_id)
                if payment is not None:
                    collected.append(self.resolve(project_id, payment.id))
            except StorageError:
                raise
            except Exception as error:
                log.warning("invoice %s could not be collected: %s", invoice_id, error)
        return collected

    def _collect(self, project_id: str, invoice_id: str) -> Payment | None:
        context = self._context

        def unit(work: UnitOfWork) -> Payment | None:
            at_desk = self._desk(work, project_id, SYSTEM)
            method = work.payments.method(project_id)
            if method is None:
                return None
            through = context.provider(method.provider)
            payment = collect.collect(at_desk, invoice_id, through, context.dunning_days)
            at_desk.close()
            return payment

        return context.write(unit)

    # --- what providers tell ------------------------------------------------------------------

    def receive_event(self, provider: str, payload: bytes, signature: str | None) -> bool:
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

    def process_provider_events(self, *, at_most: int = 100) -> int:
        """Book what at most *at_most* events that are due are about, each payment once; how many events there
        were.

        For a scheduler, as ``settle_pending`` is. What cannot be processed falls due again, later each time,
        and is ``dead`` in the end. Raises ``PaymentInsideUnit``.
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
                self._process(provider, subject_id, about)
            except StorageError:
                raise
            except Exception as error:
                failure = f"{type(error).__name__}: {error}"
                log.warning("events about %s of %s are tried again: %s", subject_id, provider, failure)
                context.write(
                    lambda work, a=about, f=failure: events.fail(work, a, f, at=at)  # type: ignore[misc]
                )
        return len(claimed)

    def _process(self, provider: str, subject_id: str, about: Sequence[ProviderEvent]) -> None:
        context = self._context
        through = context.provider(provider)
        if not isinstance(through, Telling):
            raise ProviderUnknown(provider)
        report = through.report(subject_id)
        at = context.clock()

        def unit(work: UnitOfWork) -> None:
            found = report if report is not None and events.ours(work, provider, report) else None
            if found is not None:
                at_desk = self._desk(work, found.project_id, SYSTEM, at)
                events.book(at_desk, found)
                at_desk.close()
            events.end(work, about, found, at=at)

        context.write(unit)

    def events_since(self) -> Instant | None:
        """Since when an event has been due for ``process_provider_events``; ``None`` if none is."""
        now = self._context.clock()
        due = self._context.read(lambda work: work.payments.due_events(now, limit=1))
        return due[0].due_at if due else None

    def provider_events(
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

    def reprocess_event(self, event_id: str) -> ProviderEvent:
        """Have an event processed once more, whatever became of it; nothing is booked twice by that.

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

    def disputes(self, project_id: str, payment_id: str) -> Sequence[Dispute]:
        """What of a payment its payer's bank took back, oldest first. Raises ``ProjectNotFound`` or
        ``PaymentNotFound``."""

        def read(work: UnitOfWork) -> Sequence[Dispute]:
            _payment(work, existing(work, project_id).id, payment_id)
            return work.payments.disputes(project_id, payment_id)

        return self._context.read(read)

    def top_up_due(self, *, at_most: int = 20) -> Sequence[Payment]:
        """Top up, where less than its threshold is available, the wallets of at most *at_most* projects; the
        payments that were made, whatever has become of them.

        For a scheduler to call, any number of them at once: of a project there are never two top-ups under
        way, nor more in a month than its cap allows. One that cannot be made is logged, and tried again after
        the project's cool-down. Raises ``PaymentInsideUnit``.
        """
        context = self._context
        if context.bound is not None:
            raise PaymentInsideUnit
        at = context.clock()
        made: list[Payment] = []
        for project_id, _ in context.read(lambda work: work.ledger.heads_to_top_up(at, limit=at_most)):
            look_at: Instant | None = at + MAX_PAUSE
            try:
                payment, look_at = self._top_up(project_id, at)
                made += [] if payment is None else [payment]
            except StorageError:
                raise
            except Exception:
                log.exception("project %s could not be topped up", project_id)
            context.write(partial(_look_again, project_id=project_id, moment=look_at))
        return made

    def top_up_since(self) -> Instant | None:
        """Since when something has waited for ``top_up_due``; ``None`` where nothing does."""
        now = self._context.clock()
        due = self._context.read(lambda work: work.ledger.heads_to_top_up(now, limit=1))
        return due[0][1] if due else None

    def next_top_up(self, after: Instant) -> Instant | None:
        """The first moment later than *after* at which a project is looked at again."""
        return self._context.read(lambda work: work.ledger.next_top_up(utc(after)))

    def _top_up(self, project_id: str, at: Instant) -> tuple[Payment | None, Instant | None]:
        """The payment that was made, if any, and when to look again while there is too little."""

        def read(work: UnitOfWork) -> tuple[Project, str | None, top_up.Decided | None]:
            project = existing(work, project_id)
            wanted = project.top_up
            if wanted is None or project.archived_at is not None:
                return project, None, None
            if wallet(work, project, at=at).available_micros >= wanted.threshold_micros:
                return project, None, None
            method = work.payments.method(project_id)
            earlier = top_up.earlier_top_ups(work, project, at=at)
            decided = top_up.decide(project, wanted, earlier, at=at)
            return project, None if method is None else method.provider, decided

        project, provider, decided = self._context.read(read)
        if decided is None or project.top_up is None:
            return None, None
        if decided.number is None:
            return None, decided.look_at
        if provider is None:
            return None, at + timedelta(minutes=project.top_up.cool_down_minutes)
        paid = self.pay(
            project_id,
            amount=money.decimal(project.top_up.amount_micros),
            # Whoever else has decided the same pays the same, and that is done once.
            idempotency_key=f"neruba:top-up:{decided.number}",
            provider=provider,
            reference=f"{top_up.REFERENCE}{decided.number}",
        )
        return (None if isinstance(paid, Replayed) else paid.value), decided.look_at

    @property
    def asks_outside(self) -> bool:
        """Whether there is a provider that ``settle_pending`` may have to ask."""
        return any(not provider.immediate for provider in self._context.providers)

    # --- how a project pays -------------------------------------------------------------------

    def set_method(
        self,
        project_id: str,
        *,
        provider: str,
        customer: str,
        method: str | None = None,
        collects_invoices: bool = True,
        origin: Origin = SYSTEM,
    ) -> PaymentMethod:
        """Name the project's *customer* at *provider*, and the *method* there that pays, or ``None`` for the
        customer's usual one.

        Raises ``Invalid`` refusals, ``ProviderUnknown``, ``ProjectNotFound`` or ``ProjectArchived``.
        """
        new = methods.NewMethod.of(
            provider=provider, customer=customer, method=method, collects=collects_invoices
        )
        context = self._context
        if context.provider(new.provider).immediate:
            raise ProviderUnknown(new.provider)
        at = context.clock()
        return context.write(
            lambda work: methods.put_method(work, project_id, new, at=at, ids=context.ids, origin=origin)
        )

    def method(self, project_id: str) -> PaymentMethod:
        """How the project pays by itself. Raises ``ProjectNotFound`` or ``PaymentMethodNotFound``."""
        return self._context.read(lambda work: methods.method_of(work, existing(work, project_id).id))

    def remove_method(self, project_id: str, *, origin: Origin = SYSTEM) -> None:
        """Forget how the project pays. Raises ``ProjectNotFound`` or ``ProjectArchived``."""
        context, at = self._context, self._context.clock()
        context.write(
            lambda work: methods.remove_method(work, project_id, at=at, ids=context.ids, origin=origin)
        )

    def get(self, project_id: str, payment_id: str) -> Payment:
        """One payment. Raises ``ProjectNotFound`` or ``PaymentNotFound``."""

        def read(work: UnitOfWork) -> Payment:
            return _payment(work, existing(work, project_id).id, payment_id)

        return self._context.read(read)

    def list(
        self,
        project_id: str,
        *,
        status: PaymentStatus | str | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> Page[Payment]:
        """Payments, newest first, and only those of *status*; *limit* 1–200.

        Raises ``ProjectNotFound``, ``FormatInvalid``, ``CursorInvalid`` or ``CursorMismatch``.
        """
        most = limited(limit)
        wanted = None if status is None else choice(PaymentStatus, status, "a status of a payment")
        filters = ("payments", project_id, wanted)
        before = place_of(cursor, *filters)

        def read(work: UnitOfWork) -> Sequence[Payment]:
            existing(work, project_id)
            return work.payments.payments(project_id, limit=most + 1, before=before, status=wanted)

        return page(self._context.read(read), most, "id", *filters)

    def refund(
        self,
        project_id: str,
        payment_id: str,
        *,
        amount: Amount,
        reason: str,
        idempotency_key: str,
        origin: Origin = SYSTEM,
    ) -> Success[Refund]:
        """Give a payment back, in part or whole, at most once per key.

        What it granted is clawed back first, then the invoices that it paid last are open again. A provider
        is asked as in ``pay``; until it has paid out, the money is owed and the refund pending. Raises
        ``PaymentNotFound``, ``PaymentNotSucceeded``, ``RefundExceedsPayment``, and as ``pay``.
        """
        new = NewRefund.of(payment_id=payment_id, amount=amount, reason=reason)

        def act(at_desk: Desk) -> Refund:
            provider = refund.payment_of(at_desk, payment_id).provider
            return refund.refund(at_desk, new, self._context.provider(provider))

        given = self._once(
            project_id,
            refund.OPERATION,
            f"/projects/{project_id}/payments/{payment_id}/refund",
            new.body(),
            idempotency_key,
            origin,
            act,
            lambda work, refund_id: _refund(work, project_id, refund_id),
        )
        if given.value.status is not PaymentStatus.PENDING or self._context.bound is not None:
            return given
        return type(given)(self.resolve_refund(project_id, given.value.id, origin=origin))

    def refunds(self, project_id: str, payment_id: str) -> Sequence[Refund]:
        """What of a payment went back, oldest first. Raises ``ProjectNotFound`` or ``PaymentNotFound``."""

        def read(work: UnitOfWork) -> Sequence[Refund]:
            _payment(work, existing(work, project_id).id, payment_id)
            return work.payments.refunds(project_id, payment_id)

        return self._context.read(read)

    def allocations(self, project_id: str, payment_id: str) -> Sequence[Allocation]:
        """Which invoices a payment settled, and what refunds opened again. Raises ``ProjectNotFound`` or
        ``PaymentNotFound``."""

        def read(work: UnitOfWork) -> Sequence[Allocation]:
            _payment(work, existing(work, project_id).id, payment_id)
            return work.payments.allocations_of_payment(project_id, payment_id)

        return self._context.read(read)

    # --- receivables --------------------------------------------------------------------------

    def receivables(self, project_id: str) -> Receivables:
        """What is billed and not yet paid, by age. Raises ``ProjectNotFound``."""
        at = self._context.clock()
        return self._context.read(lambda work: receivables(work, existing(work, project_id), at=at))

    def credit_note(
        self,
        project_id: str,
        invoice_id: str,
        *,
        amount: Amount,
        reason: str,
        idempotency_key: str,
        origin: Origin = SYSTEM,
    ) -> Success[Correction]:
        """Take *amount*, tax included, off an issued invoice; what has been paid already becomes goodwill.

        Raises ``Invalid`` refusals, ``ProjectNotFound``, ``ProjectArchived``, ``InvoiceNotFound``,
        ``InvoiceNotIssued``, ``CreditNoteExceedsInvoice``, ``KeyReused`` or ``KeyInProgress``.
        """
        new = NewCorrection.credit_note(invoice_id=invoice_id, amount=amount, reason=reason)
        return self._correct(project_id, "credit-notes", new, idempotency_key, origin)

    def write_off(
        self,
        project_id: str,
        invoice_id: str,
        *,
        reason: str,
        idempotency_key: str,
        amount: Amount | None = None,
        origin: Origin = SYSTEM,
    ) -> Success[Correction]:
        """Give up what is open of an invoice, or *amount* of it.

        Raises ``InvoiceSettled``, ``WriteOffExceedsOpen``, and as ``credit_note``.
        """
        new = NewCorrection.write_off(invoice_id=invoice_id, amount=amount, reason=reason)
        return self._correct(project_id, "write-off", new, idempotency_key, origin)

    def corrections(self, project_id: str, invoice_id: str) -> Sequence[Correction]:
        """The credit notes and write-offs of an invoice, oldest first. Raises ``ProjectNotFound``."""
        return self._context.read(
            lambda work: work.payments.corrections(existing(work, project_id).id, invoice_id)
        )

    def _desk(self, work: UnitOfWork, project_id: str, origin: Origin, at: Instant | None = None) -> Desk:
        context = self._context
        return desk(
            work,
            project_id,
            at=at or context.clock(),
            ids=context.ids,
            chart=context.chart,
            origin=origin,
        )

    def _correct(
        self, project_id: str, route: str, new: NewCorrection, idempotency_key: str, origin: Origin
    ) -> Success[Correction]:
        def made(work: UnitOfWork, correction_id: str) -> Correction:
            found = work.payments.corrections(project_id, new.invoice_id)
            return next(each for each in found if each.id == correction_id)

        return self._once(
            project_id,
            new.kind.value,
            f"/projects/{project_id}/invoices/{new.invoice_id}/{route}",
            new.body(),
            idempotency_key,
            origin,
            lambda at_desk: correct(at_desk, new),
            made,
        )

    def _once(
        self,
        project_id: str,
        operation: str,
        path: str,
        body: dict[str, Json],
        idempotency_key: str,
        origin: Origin,
        act: Callable[[Desk], T],
        made: Callable[[UnitOfWork, str], T],
    ) -> Success[T]:
        """Do *act* at most once per key; what it made is read again by its id."""
        context = self._context
        at = context.clock()

        def unit(work: UnitOfWork) -> Success[T]:
            def first() -> Made:
                at_desk = self._desk(work, project_id, origin, at)
                subject_id = act(at_desk).id
                at_desk.close()
                return Made(subject_id, subject_id, subject_id)

            given = once(
                work,
                first,
                scope_id=project_id,
                operation=operation,
                path=path,
                body=body,
                idempotency_key=idempotency_key,
                request_id=origin.request_id,
                at=at,
            )
            subject = made(work, given.body)
            return Replayed(subject) if given.replayed else Accepted(subject)

        return context.write(unit)


def _payment(work: UnitOfWork, project_id: str, payment_id: str) -> Payment:
    found = work.payments.payment(project_id, payment_id)
    if found is None:
        raise PaymentNotFound(payment_id)
    return found


def _refund(work: UnitOfWork, project_id: str, refund_id: str) -> Refund:
    found = work.payments.refund(project_id, refund_id)
    assert found is not None, "refunds are never deleted"
    return found


def _look_again(work: UnitOfWork, *, project_id: str, moment: Instant | None) -> None:
    """Look at the project at *moment*, if there is still too little, or no more."""
    head = work.ledger.lock_heads([project_id])[project_id]
    if head.top_up_at is not None:
        work.ledger.write_heads([evolve(head, top_up_at=moment)])
