"""Invoices and their lines.

All amounts are micro-units of the invoice's currency; only *amount_due_micros* is a whole number of the
currency's minor units. Amounts may be negative. A draft is recomputed freely; once it is finalized an
invoice never changes but for its state and for what has been paid.
"""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum
from typing import Any

from attrs import field, frozen

from neruba_core.instants import Instant, Period


class InvoiceState(StrEnum):
    """Where an invoice stands."""

    DRAFT = "draft"
    FINALIZED = "finalized"
    PAID = "paid"
    VOID = "void"


class InvoiceKind(StrEnum):
    """The period's invoice, or what late usage adds to or takes off one that was issued."""

    INVOICE = "invoice"
    SUPPLEMENTARY = "supplementary"
    CREDIT_NOTE = "credit_note"


class LineKind(StrEnum):
    """What a line is for."""

    USAGE = "usage"
    CHARGE = "charge"
    SUBSCRIPTION = "subscription"
    PRORATION = "proration"
    MINIMUM = "minimum"
    ADJUSTMENT = "adjustment"
    TAX = "tax"


@frozen
class Line:
    """One line. *id* is derived from what the line is about, so it is the same in every run.

    *period* names the billing period that *service* lies in. *account* is the ledger account that the amount
    goes to. *already_drawn_micros* is what the wallet has paid of it before. *workings* is how the amount
    came about, as plain JSON values with numbers as text: the price, its parts, the exact figure and the
    rounding; ``explain`` shows it as it is.
    """

    id: str
    kind: LineKind
    metric_key: str | None
    description: str
    quantity_micros: int | None
    model: str | None
    period: str
    service: Period
    account: str
    amount_micros: int
    already_drawn_micros: int = 0
    events: int = 0
    workings: dict[str, Any] = field(factory=dict, hash=False)


@frozen
class Invoice:
    """See the module. *part* counts the documents of one period from 1. *number* is given at finalization,
    without gaps per project. *ledger_version* is the head's version as finalization found it. *project_name*
    and *timezone* (the zone that the period was cut in) are the project's as they were when it was made.

    ``amount_due = total − already_drawn − credit_applied + overdraft_billed``, rounded half-even to the
    minor unit; *rounding_micros* is what rounding added. Where the exact figure is below zero, it was
    granted as credit (*credit_granted_micros*) and the amount due is zero.

    Of what was paid, *disputed_micros* were taken back by the payer's bank and are open again. *past_due_at*
    is when nobody had paid it however often it was collected.
    """

    project_id: str
    id: str
    kind: InvoiceKind
    period: str
    span: Period
    part: int
    number: int | None
    state: InvoiceState
    currency: str
    lines: tuple[Line, ...]
    tax_rate: Decimal
    subtotal_micros: int
    tax_micros: int
    total_micros: int
    already_drawn_micros: int
    credit_applied_micros: int
    overdraft_billed_micros: int
    credit_granted_micros: int
    rounding_micros: int
    amount_due_micros: int
    paid_micros: int
    blockers: tuple[str, ...]
    input_digest: str
    cutoff: int
    ledger_version: int | None
    transaction_id: str | None
    project_name: str
    timezone: str
    created_at: Instant
    finalized_at: Instant | None = None
    voided_at: Instant | None = None
    void_reason: str | None = None
    past_due_at: Instant | None = None
    disputed_micros: int = 0

    @property
    def periods(self) -> set[str]:
        """The names of the periods that it is about: its own, and those of its lines."""
        return {self.period} | {line.period for line in self.lines}

    @property
    def open_micros(self) -> int:
        """What is still to be paid."""
        if self.state is not InvoiceState.FINALIZED:
            return 0
        return self.amount_due_micros - self.paid_micros


@frozen
class KeptPdf:
    """An issued invoice's PDF, whose bytes are kept because no later release need make the same."""

    project_id: str
    invoice_id: str
    content: bytes
