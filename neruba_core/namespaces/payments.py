"""``neruba.payments``: money in and money back, by hand or through a provider."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from attrs import frozen

from neruba_core.audit.model import SYSTEM, Origin
from neruba_core.choices import choice
from neruba_core.context import Context
from neruba_core.errors import (
    PaymentInsideUnit,
    PaymentNotFound,
    ProviderUnknown,
    StorageError,
)
from neruba_core.idempotency.outcomes import Success
from neruba_core.instants import Instant, utc
from neruba_core.money import Amount
from neruba_core.namespaces.desks import at_most_once, desk_of
from neruba_core.pages import DEFAULT_LIMIT, Page, limited, page, place_of
from neruba_core.payments import methods, pay, refund, settling
from neruba_core.payments.desk import Desk
from neruba_core.payments.model import (
    MANUAL,
    Allocation,
    Correction,
    Dispute,
    Payment,
    PaymentMethod,
    PaymentStatus,
    Refund,
)
from neruba_core.payments.pay import NewPayment
from neruba_core.payments.provider import Answer
from neruba_core.payments.refund import NewRefund
from neruba_core.storage.port import UnitOfWork
from neruba_core.tenancy.projects import existing

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
        which ``settle_pending`` finishes. Money that was received for an invoice is recorded in an archived
        project too. Inside ``work()`` and ``join()`` nobody is asked: the payment is
        pending and due, and asked for by ``settle_pending`` or ``resolve`` once the unit is committed.

        Raises ``Invalid`` refusals, ``ProjectNotFound``, ``ProjectArchived``, ``InvoiceNotFound``,
        ``InvoiceNotIssued``, ``InvoiceSettled``, ``PaymentMethodMissing``, ``KeyReused`` or
        ``KeyInProgress``.
        """
        new = NewPayment.of(amount=amount, provider=provider, invoice_id=invoice_id, reference=reference)
        given = recorded(self._context, project_id, new, pay.OPERATION, idempotency_key, origin)
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
        begun = context.write(lambda work: begin(desk_of(context, work, project_id, origin)))
        if begun is None:
            return
        answer = settling.asked(context.provider(begun.provider), begun, at=context.clock())
        if answer is None:
            return

        def unit(work: UnitOfWork) -> None:
            at_desk = desk_of(context, work, project_id, origin)
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

    def next_pending(self, after: Instant) -> Instant | None:
        """The first moment later than *after* at which a pending payment or refund is asked for again."""
        moment = utc(after)

        def read(work: UnitOfWork) -> Instant | None:
            found = (work.payments.next_due_payment(moment), work.payments.next_due_refund(moment))
            return min((each for each in found if each is not None), default=None)

        return self._context.read(read)

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
        """Forget how the project pays, which may be archived. Raises ``ProjectNotFound``."""
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

        given = at_most_once(
            self._context,
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

    def disputes(self, project_id: str, payment_id: str) -> Sequence[Dispute]:
        """What of a payment its payer's bank took back, oldest first. Raises ``ProjectNotFound`` or
        ``PaymentNotFound``."""

        def read(work: UnitOfWork) -> Sequence[Dispute]:
            _payment(work, existing(work, project_id).id, payment_id)
            return work.payments.disputes(project_id, payment_id)

        return self._context.read(read)


def recorded(
    context: Context, project_id: str, new: NewPayment, operation: str, idempotency_key: str, origin: Origin
) -> Success[Payment]:
    """Write the payment down, at most once per key of *operation*; nobody is asked for it yet."""
    through = context.provider(new.provider)
    return at_most_once(
        context,
        project_id,
        operation,
        f"/projects/{project_id}/payments",
        new.body(),
        idempotency_key,
        origin,
        lambda at_desk: pay.record(at_desk, new, through),
        lambda work, payment_id: _payment(work, project_id, payment_id),
    )


def _payment(work: UnitOfWork, project_id: str, payment_id: str) -> Payment:
    found = work.payments.payment(project_id, payment_id)
    if found is None:
        raise PaymentNotFound(payment_id)
    return found


def _refund(work: UnitOfWork, project_id: str, refund_id: str) -> Refund:
    found = work.payments.refund(project_id, refund_id)
    assert found is not None, "refunds are never deleted"
    return found
