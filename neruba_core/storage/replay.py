"""Reading a canonical export back into a store: the other half of ``export``.

The store may be of any kind, and must not know the project yet. What the export names but does not hold has
to be there before: the users among its members, and the catalogue and plans that it is priced by. Rows go in
through the slices' stores, so that whatever a store promises is checked once more; another export then gives
the same bytes, and billing finds the same inputs.

Watermarks mean nothing in another database and start from zero: the next run looks once at everything that
was ever late, and finds it billed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeAlias

from attrs import evolve, field, frozen
from cattrs import Converter

from neruba_core import instants
from neruba_core.access.model import AccessKey
from neruba_core.audit.model import Change
from neruba_core.billing.model import BillingPeriod, Run
from neruba_core.idempotency.model import Answer
from neruba_core.invoices.model import Invoice, InvoiceState, KeptPdf
from neruba_core.ledger.model import Account, Head, Transaction
from neruba_core.metering.model import Metric
from neruba_core.outbox.model import Delivery, Endpoint, Message
from neruba_core.payments.model import (
    Allocation,
    Collection,
    Correction,
    Dispute,
    Payment,
    PaymentMethod,
    Refund,
)
from neruba_core.pricing.meters import Meter
from neruba_core.pricing.model import (
    Graduated,
    Package,
    Percentage,
    Price,
    PriceModel,
    Tariff,
    Terms,
    Unit,
    Volume,
)
from neruba_core.storage.port import UnitOfWork
from neruba_core.subscriptions.model import SubscriptionDecision
from neruba_core.tenancy.model import Invitation, Membership, Project
from neruba_core.texts import PropertyValue
from neruba_core.usage.model import LateHold, QuarantinedUsage, QuarantineState, UsageEvent, UsageVoid
from neruba_core.wallets.model import Grant, Hold, HoldState

Write: TypeAlias = Callable[[UnitOfWork, Sequence[Any]], object]


def restore(work: UnitOfWork, lines: Iterable[str]) -> None:
    """Write the rows of one project's export. Raises ``ValueError`` for a table that is not known; a row
    that is there already fails the unit."""
    rows: dict[str, list[Any]] = {}
    for line in lines:
        parsed = json.loads(line)
        if parsed["table"] not in _TABLES:
            raise ValueError(f"an export has no table {parsed['table']!r}")
        rows.setdefault(parsed["table"], []).append(parsed["row"])
    for name, table in _TABLES.items():
        found = [_converter.structure({**table.left_out, **row}, table.noun) for row in rows.get(name, ())]
        if found:
            table.write(work, found)


@frozen
class _Table:
    """What a row is, how rows are written, and what an export leaves out of them."""

    noun: type[Any]
    write: Write
    left_out: Mapping[str, Any] = field(factory=dict)


# --- writing ----------------------------------------------------------------------------------


def _each(write: Callable[[UnitOfWork, Any], object]) -> Write:
    """Rows that a store takes one at a time."""

    def write_all(work: UnitOfWork, rows: Sequence[Any]) -> None:
        for row in rows:
            write(work, row)

    return write_all


def _put_head(work: UnitOfWork, heads: Sequence[Head]) -> None:
    for head in heads:
        work.ledger.add_head(Head(head.project_id))
    work.ledger.lock_heads(sorted(head.project_id for head in heads))
    work.ledger.write_heads(heads)


def _put_quarantined(work: UnitOfWork, waiting: QuarantinedUsage) -> None:
    work.usage.quarantine(evolve(waiting, state=QuarantineState.WAITING))
    if waiting.state is not QuarantineState.WAITING:
        work.usage.close_quarantined(waiting.project_id, waiting.id, waiting.state)


def _put_late_hold(work: UnitOfWork, hold: LateHold) -> None:
    work.usage.hold([evolve(hold, state=QuarantineState.WAITING)])
    if hold.state is not QuarantineState.WAITING:
        work.usage.close_hold(hold.project_id, hold.usage_id, hold.kind, hold.state)


def _put_holds(work: UnitOfWork, holds: Sequence[Hold]) -> None:
    work.wallets.add_holds([hold.opened() for hold in holds])
    work.wallets.close_holds([hold for hold in holds if hold.state is not HoldState.HELD])


def _put_invoices(work: UnitOfWork, invoices: Sequence[Invoice]) -> None:
    issued = [invoice for invoice in invoices if invoice.state is not InvoiceState.DRAFT]
    work.invoices.put_drafts([invoice for invoice in invoices if invoice.state is InvoiceState.DRAFT])
    work.invoices.finalize(
        [
            evolve(invoice, state=InvoiceState.FINALIZED, voided_at=None, void_reason=None)
            for invoice in sorted(issued, key=lambda invoice: invoice.number or 0)
        ]
    )
    for invoice in issued:
        work.invoices.set_state(invoice)


_NO_CUTOFF = {"cutoff": 0}

# In an order in which whatever a row refers to is there before it.
_TABLES: Mapping[str, _Table] = {
    "projects": _Table(Project, _each(lambda work, row: work.tenancy.add_project(row))),
    "members": _Table(Membership, _each(lambda work, row: work.tenancy.put_member(row))),
    "invitations": _Table(Invitation, _each(lambda work, row: work.tenancy.add_invitation(row))),
    "access_keys": _Table(
        AccessKey, _each(lambda work, row: work.access.add_key(row)), {"last_used_at": None}
    ),
    "metrics": _Table(Metric, lambda work, rows: work.metering.add_metrics(rows)),
    "usage_events": _Table(UsageEvent, lambda work, rows: work.usage.insert(rows)),
    "usage_voids": _Table(UsageVoid, _each(lambda work, row: work.usage.add_void(row))),
    "quarantined": _Table(QuarantinedUsage, _each(_put_quarantined)),
    "late_holds": _Table(LateHold, _each(_put_late_hold)),
    "heads": _Table(Head, _put_head),
    "accounts": _Table(Account, lambda work, rows: work.ledger.write_accounts(rows)),
    "transactions": _Table(Transaction, lambda work, rows: work.ledger.append(rows)),
    "grants": _Table(Grant, lambda work, rows: work.wallets.add_grants(rows)),
    "holds": _Table(Hold, _put_holds),
    "prices": _Table(Price, _each(lambda work, row: work.pricing.add_price(row))),
    "meters": _Table(Meter, lambda work, rows: work.pricing.write_meters(rows)),
    "decisions": _Table(SubscriptionDecision, _each(lambda work, row: work.subscriptions.add_decision(row))),
    "periods": _Table(BillingPeriod, lambda work, rows: work.billing.put_periods(rows)),
    "invoices": _Table(Invoice, _put_invoices, _NO_CUTOFF),
    "pdfs": _Table(
        KeptPdf,
        _each(lambda work, row: work.invoices.keep_pdf(row.project_id, row.invoice_id, row.content)),
    ),
    "runs": _Table(Run, lambda work, rows: work.billing.add_runs(rows), _NO_CUTOFF),
    "payment_methods": _Table(PaymentMethod, _each(lambda work, row: work.payments.put_method(row))),
    "payments": _Table(Payment, _each(lambda work, row: work.payments.add_payment(row))),
    "refunds": _Table(Refund, _each(lambda work, row: work.payments.add_refund(row))),
    "allocations": _Table(Allocation, lambda work, rows: work.payments.add_allocations(rows)),
    "collections": _Table(Collection, _each(lambda work, row: work.payments.put_collection(row))),
    "disputes": _Table(Dispute, _each(lambda work, row: work.payments.add_dispute(row))),
    "corrections": _Table(Correction, _each(lambda work, row: work.payments.add_correction(row))),
    "webhook_endpoints": _Table(Endpoint, _each(lambda work, row: work.outbox.add_endpoint(row))),
    "messages": _Table(Message, lambda work, rows: work.outbox.add_messages(rows)),
    "deliveries": _Table(Delivery, lambda work, rows: work.outbox.add_deliveries(rows)),
    "answers": _Table(Answer, lambda work, rows: work.idempotency.add_answers(rows)),
    "changes": _Table(Change, lambda work, rows: work.audit.add_changes(rows)),
}

# --- reading ----------------------------------------------------------------------------------

_TERMS: Mapping[PriceModel, type[Terms]] = {
    PriceModel.UNIT: Unit,
    PriceModel.GRADUATED: Graduated,
    PriceModel.VOLUME: Volume,
    PriceModel.PACKAGE: Package,
    PriceModel.PERCENTAGE: Percentage,
}


def _tariff(value: Mapping[str, Any], _: Any) -> Tariff:
    return Tariff(
        terms=_converter.structure(value["terms"], _TERMS[PriceModel(value["model"])]),
        included_micros=value["included_micros"],
        minimum_micros=value["minimum_micros"],
        maximum_micros=value["maximum_micros"],
    )


_converter = Converter()
_converter.register_structure_hook(datetime, lambda value, _: instants.parse(value))
_converter.register_structure_hook(Decimal, lambda value, _: Decimal(value))
_converter.register_structure_hook(bytes, lambda value, _: bytes.fromhex(value))
_converter.register_structure_hook(PropertyValue, lambda value, _: value)
_converter.register_structure_hook(Tariff, _tariff)
