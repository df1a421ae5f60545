"""Collecting invoices: what is issued and open is asked for by itself, again after some days, and then no
more.

An invoice is collected once its project names a payment method that collects. The first attempt is made at
once, the others by the deployment's dunning days; a day after the last one the invoice is past due, and
nobody asks any more. While a payment for it is under way, or its payer's bank disputes one, the invoice is
left alone; and one that a refund has opened again is not collected any more, for what was given back must not
be taken again by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from attrs import evolve

from neruba_core import money
from neruba_core.audit.changes import note_change
from neruba_core.idempotency.fingerprint import Json
from neruba_core.instants import Instant
from neruba_core.invoices.model import Invoice
from neruba_core.ledger.store import HasLedger
from neruba_core.payments.desk import Desk
from neruba_core.payments.model import Collection, Payment
from neruba_core.payments.pay import NewPayment, record
from neruba_core.payments.provider import PaymentProvider
from neruba_core.payments.store import HasPayments

DUNNING_DAYS = (1, 3, 5, 7)
"""After how many days each further attempt is made, counted from the one before."""

VERDICT = timedelta(days=1)
"""How long after the last attempt an invoice that is open still is past due."""


AT_ONCE = timedelta(minutes=1)
"""How often is looked what there is to collect."""

PUT_OFF = timedelta(hours=1)
"""How long an invoice is left alone that cannot be tried, because its provider is not configured, say."""


class CollectionWork(HasLedger, HasPayments, Protocol):
    """What is read and written to put an invoice off."""


def collect(
    desk: Desk, invoice_id: str, provider: PaymentProvider, dunning_days: Sequence[int]
) -> Payment | None:
    """Write down the next payment for the invoice, if it is time for it; ``None`` if it is not, or if it was
    the last time."""
    if (desk.project.id, invoice_id) not in desk.work.payments.collectable(
        desk.at, project_id=desk.project.id, limit=1_000
    ):
        # Since it was found, it was paid, or somebody else has collected it.
        return None
    invoice = desk.issued(invoice_id)
    known = desk.work.payments.collection(desk.project.id, invoice_id)
    tries = 0 if known is None else known.tries
    if tries > len(dunning_days):
        _past_due(desk, invoice, tries)
        return None
    wait = timedelta(days=dunning_days[tries]) if tries < len(dunning_days) else VERDICT
    desk.work.payments.put_collection(
        Collection(desk.project.id, invoice_id, tries=tries + 1, due_at=desk.at + wait)
    )
    new = NewPayment(provider.name, invoice.open_micros, invoice_id, reference=f"Invoice {invoice.number}")
    return record(desk, new, provider)


def stop(desk: Desk, invoice_id: str) -> None:
    """Collect the invoice no more: it takes a person to ask for it."""
    known = desk.work.payments.collection(desk.project.id, invoice_id)
    tries = 0 if known is None else known.tries
    desk.work.payments.put_collection(Collection(desk.project.id, invoice_id, tries=tries, due_at=None))


def put_off(work: CollectionWork, project_id: str, invoice_id: str, *, at: Instant) -> None:
    """Leave an invoice that could not even be tried alone for a while, so that it keeps nobody else waiting;
    it does not count as a try."""
    work.ledger.lock_heads([project_id])
    known = work.payments.collection(project_id, invoice_id)
    if known is not None and (known.due_at is None or known.due_at > at):
        # Since it was found, somebody else has collected it.
        return
    tries = 0 if known is None else known.tries
    work.payments.put_collection(Collection(project_id, invoice_id, tries=tries, due_at=at + PUT_OFF))


def _past_due(desk: Desk, invoice: Invoice, tries: int) -> None:
    desk.work.payments.put_collection(Collection(desk.project.id, invoice.id, tries=tries, due_at=None))
    desk.work.invoices.set_state(evolve(invoice, past_due_at=desk.at))
    details: dict[str, Json] = {"tries": tries, "open": money.text(invoice.open_micros)}
    note_change(
        desk.work,
        desk.project.id,
        "invoice.past_due",
        invoice.id,
        details,
        at=desk.at,
        ids=desk.ids,
        origin=desk.origin,
    )
