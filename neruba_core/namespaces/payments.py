"""``neruba.payments``: money in and out, and what else settles invoices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from attrs import frozen

from neruba_core.audit.model import SYSTEM, Origin
from neruba_core.choices import choice
from neruba_core.context import Context
from neruba_core.errors import PaymentNotFound
from neruba_core.idempotency.fingerprint import Json
from neruba_core.idempotency.once import Made, once
from neruba_core.idempotency.outcomes import Accepted, Replayed, Success
from neruba_core.money import Amount
from neruba_core.pages import DEFAULT_LIMIT, Page, limited, page, place_of
from neruba_core.payments import pay, refund
from neruba_core.payments.correct import NewCorrection, correct
from neruba_core.payments.desk import Desk, desk
from neruba_core.payments.model import MANUAL, Allocation, Correction, Payment, PaymentStatus, Refund
from neruba_core.payments.pay import NewPayment
from neruba_core.payments.receivables import Receivables, receivables
from neruba_core.payments.refund import NewRefund
from neruba_core.storage.port import UnitOfWork
from neruba_core.tenancy.projects import existing

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
        """Record money received, at most once, for ever.

        It settles the invoice, then the oldest others that are open; the rest of it, and all of it where no
        invoice is named, is a paid grant. Raises ``Invalid`` refusals, ``ProjectNotFound``,
        ``ProjectArchived``, ``InvoiceNotFound``, ``InvoiceNotIssued``, ``InvoiceSettled``, ``KeyReused`` or
        ``KeyInProgress``.
        """
        new = NewPayment.of(amount=amount, provider=provider, invoice_id=invoice_id, reference=reference)
        return self._once(
            project_id,
            pay.OPERATION,
            f"/projects/{project_id}/payments",
            new.body(),
            idempotency_key,
            origin,
            lambda at_desk: pay.record(at_desk, new),
            lambda work, payment_id: _payment(work, project_id, payment_id),
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

        What it granted is clawed back first, then the invoices that it paid last are open again. Raises
        ``PaymentNotFound``, ``PaymentNotSucceeded``, ``RefundExceedsPayment``, and as ``pay``.
        """
        new = NewRefund.of(payment_id=payment_id, amount=amount, reason=reason)

        def made(work: UnitOfWork, refund_id: str) -> Refund:
            found = work.payments.refunds(project_id, payment_id)
            return next(each for each in found if each.id == refund_id)

        return self._once(
            project_id,
            refund.OPERATION,
            f"/projects/{project_id}/payments/{payment_id}/refund",
            new.body(),
            idempotency_key,
            origin,
            lambda at_desk: refund.refund(at_desk, new),
            made,
        )

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
                at_desk = desk(work, project_id, at=at, ids=context.ids, chart=context.chart, origin=origin)
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
