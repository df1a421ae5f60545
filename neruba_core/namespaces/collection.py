"""``neruba.collection``: money that is fetched by itself, for open invoices and for wallets that run low."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from attrs import evolve, frozen

from neruba_core.audit.model import SYSTEM
from neruba_core.context import Context
from neruba_core.errors import PaymentInsideUnit, StorageError
from neruba_core.idempotency.outcomes import Replayed
from neruba_core.instants import Instant, utc
from neruba_core.ledger.model import Head
from neruba_core.namespaces.desks import desk_of
from neruba_core.namespaces.payments import Payments, recorded
from neruba_core.payments import collect, top_up
from neruba_core.payments.model import Payment
from neruba_core.payments.pay import NewPayment
from neruba_core.schedule.model import MAX_PAUSE
from neruba_core.storage.port import UnitOfWork
from neruba_core.tenancy.model import Project
from neruba_core.tenancy.projects import existing
from neruba_core.wallets.view import wallet

log = logging.getLogger("neruba.payments")


@frozen
class _Looked:
    """When to look at a project again, or ``None`` if that is not wanted while its head is *head*; and the
    payment that was made, if any."""

    again_at: Instant | None
    head: Head | None = None
    payment: Payment | None = None


@frozen
class Collection:
    """Reached as ``neruba.collection``; a scheduler calls it, any number of them at once."""

    _context: Context
    _payments: Payments

    def collect_due(self, *, at_most: int = 20) -> Sequence[Payment]:
        """Have at most *at_most* invoices that are open paid by their projects' payment methods; how the
        payments stand.

        For a scheduler, as ``settle_pending`` is; an invoice is collected at once, again after each of the
        dunning days, and is past due a day after the last. One that cannot be tried is logged, and left alone
        for an hour. Raises ``PaymentInsideUnit``.
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
                    collected.append(self._payments.resolve(project_id, payment.id))
            except StorageError:
                raise
            except Exception as error:
                log.warning("invoice %s could not be collected and is put off: %s", invoice_id, error)
                context.write(partial(collect.put_off, project_id=project_id, invoice_id=invoice_id, at=at))
        return collected

    def next_collection(self, after: Instant) -> Instant | None:
        """The first moment later than *after* at which an invoice is collected again, or is past due; what is
        open to be collected already is within a minute."""
        moment = utc(after)

        def read(work: UnitOfWork) -> Instant | None:
            if work.payments.collectable(moment, limit=1):
                return moment + collect.AT_ONCE
            return work.payments.next_collection(moment)

        return self._context.read(read)

    def _collect(self, project_id: str, invoice_id: str) -> Payment | None:
        context = self._context

        def unit(work: UnitOfWork) -> Payment | None:
            at_desk = desk_of(context, work, project_id, SYSTEM)
            method = work.payments.method(project_id)
            if method is None:
                return None
            through = context.provider(method.provider)
            payment = collect.collect(at_desk, invoice_id, through, context.dunning_days)
            at_desk.close()
            return payment

        return context.write(unit)

    def top_up_due(self, *, at_most: int = 20) -> Sequence[Payment]:
        """Top up, where less than its threshold is available, the wallets of at most *at_most* projects; the
        payments that were made, whatever has become of them.

        For a scheduler to call, any number of them at once: of a project there are never two top-ups under
        way, nor more in a month than its cap allows. One that is declined is tried again after the
        project's cool-down, then after twice as long, and so on up to a day; after one was refunded or
        disputed there are no more until the setting is made again. Raises ``PaymentInsideUnit``.
        """
        context = self._context
        if context.bound is not None:
            raise PaymentInsideUnit
        at = context.clock()
        made: list[Payment] = []
        for project_id, due_at in context.read(lambda work: work.ledger.heads_to_top_up(at, limit=at_most)):
            looked = _Looked(at + MAX_PAUSE)
            try:
                looked = self._top_up(project_id, at)
                made += [] if looked.payment is None else [looked.payment]
            except StorageError:
                raise
            except Exception:
                log.exception("project %s could not be topped up", project_id)
            context.write(partial(_look_again, project_id=project_id, looked=looked, due_at=due_at))
        return made

    def top_up_since(self) -> Instant | None:
        """Since when something has waited for ``top_up_due``; ``None`` where nothing does."""
        now = self._context.clock()
        due = self._context.read(lambda work: work.ledger.heads_to_top_up(now, limit=1))
        return due[0][1] if due else None

    def next_top_up(self, after: Instant) -> Instant | None:
        """The first moment later than *after* at which a project is looked at again."""
        return self._context.read(lambda work: work.ledger.next_top_up(utc(after)))

    def _top_up(self, project_id: str, at: Instant) -> _Looked:
        """Pay if it is time for it."""

        def read(work: UnitOfWork) -> tuple[Project, Head | None, str | None, top_up.Decided | None]:
            project, head = existing(work, project_id), work.ledger.head(project_id)
            wanted = project.top_up
            if wanted is None or project.archived_at is not None:
                return project, head, None, None
            if wallet(work, project, at=at).available_micros >= wanted.threshold_micros:
                return project, head, None, None
            method = work.payments.method(project_id)
            earlier = top_up.earlier_top_ups(work, project, at=at)
            stopped = top_up.is_stopped(work, wanted, earlier)
            decided = top_up.decide(project, wanted, earlier, stopped=stopped, at=at)
            return project, head, None if method is None else method.provider, decided

        project, head, provider, decided = self._context.read(read)
        if decided is None or project.top_up is None:
            return _Looked(None, head)
        if decided.number is None:
            return _Looked(decided.look_at)
        if provider is None:
            return _Looked(at + timedelta(minutes=project.top_up.cool_down_minutes))
        new = NewPayment(
            provider, project.top_up.amount_micros, reference=f"{top_up.REFERENCE}{decided.number}"
        )
        # Whoever else has decided the same pays the same, and that is done once.
        made = recorded(self._context, project_id, new, top_up.OPERATION, f"top-up:{decided.number}", SYSTEM)
        if isinstance(made, Replayed):
            return _Looked(decided.look_at)
        return _Looked(decided.look_at, payment=self._payments.resolve(project_id, made.value.id))


def _look_again(work: UnitOfWork, *, project_id: str, looked: _Looked, due_at: Instant) -> None:
    """Look at the project again when it was *looked* that it should be, or no more; unless it changed
    meanwhile, for then it was found by an earlier *due_at*, and the next look sees what is new."""
    head = work.ledger.lock_heads([project_id])[project_id]
    as_it_was = head == looked.head if looked.again_at is None else head.top_up_at == due_at
    if as_it_was and head.top_up_at is not None:
        work.ledger.write_heads([evolve(head, top_up_at=looked.again_at)])
