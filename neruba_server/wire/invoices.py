"""Invoices, and why they say what they say."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any

from attrs import frozen
from msgspec import Meta

from neruba_core.invoices.explain import EventExplained, LineExplained
from neruba_core.invoices.explain import Explanation as CoreExplanation
from neruba_core.invoices.model import Invoice as CoreInvoice
from neruba_core.invoices.model import InvoiceKind, InvoiceState, LineKind
from neruba_core.invoices.model import Line as CoreLine
from neruba_core.ledger.model import Entry
from neruba_core.pricing.exact import fraction_text
from neruba_core.wallets.model import GrantKind
from neruba_server.wire.kinds import Moment, Money, Rate
from neruba_server.wire.money import Posting
from neruba_server.wire.period import Period, period_of

Exact = Annotated[
    str,
    Meta(
        pattern=r"^-?[0-9]+(\.[0-9]+|/[0-9]+)?$",
        description="An exact number: a decimal, or a fraction such as 31/3 where no decimal is finite.",
    ),
]


@frozen
class InvoiceLine:
    """One line; ``alreadyDrawn`` is what credit paid of it before the invoice."""

    id: str
    kind: LineKind
    metric_key: str | None
    description: str
    quantity: Money | None
    model: str | None
    period: str
    service_period: Period
    amount: Money
    already_drawn: Money

    @classmethod
    def of(cls, line: CoreLine) -> InvoiceLine:
        """The line as people see it."""
        return cls(
            id=line.id,
            kind=line.kind,
            metric_key=line.metric_key,
            description=line.description,
            quantity=line.quantity_micros,
            model=line.model,
            period=line.period,
            service_period=period_of(line.service),
            amount=line.amount_micros,
            already_drawn=line.already_drawn_micros,
        )


@frozen
class LedgerHead:
    """How many transactions the ledger held when the invoice was finalized."""

    version: int


@frozen
class Invoice:
    """A document of a billing period.

    ``amountDue`` = ``total`` − ``alreadyDrawn`` − ``creditApplied`` + ``overdraftBilled`` +
    ``creditGranted`` + ``rounding``; of a draft all but the first two of these are previews.
    """

    id: str
    number: int | None
    kind: InvoiceKind
    project_id: str
    project_name: str
    period: str
    service_period: Period
    state: InvoiceState
    currency: str
    lines: tuple[InvoiceLine, ...]
    tax_rate: Rate
    subtotal: Money
    tax: Money
    total: Money
    already_drawn: Money
    credit_applied: Money
    overdraft_billed: Money
    credit_granted: Money
    rounding: Money
    amount_due: Money
    paid: Money
    blockers: tuple[str, ...]
    input_digest: str
    ledger_head: LedgerHead | None
    transaction_id: str | None
    created_at: Moment
    finalized_at: Moment | None
    voided_at: Moment | None
    void_reason: str | None
    past_due_at: Moment | None
    disputed: Money

    @classmethod
    def of(cls, invoice: CoreInvoice) -> Invoice:
        """The invoice as people see it."""
        return cls(
            id=invoice.id,
            number=invoice.number,
            kind=invoice.kind,
            project_id=invoice.project_id,
            project_name=invoice.project_name,
            period=invoice.period,
            service_period=period_of(invoice.span),
            state=invoice.state,
            currency=invoice.currency,
            lines=tuple(InvoiceLine.of(line) for line in invoice.lines),
            tax_rate=invoice.tax_rate,
            subtotal=invoice.subtotal_micros,
            tax=invoice.tax_micros,
            total=invoice.total_micros,
            already_drawn=invoice.already_drawn_micros,
            credit_applied=invoice.credit_applied_micros,
            overdraft_billed=invoice.overdraft_billed_micros,
            credit_granted=invoice.credit_granted_micros,
            rounding=invoice.rounding_micros,
            amount_due=invoice.amount_due_micros,
            paid=invoice.paid_micros,
            blockers=invoice.blockers,
            input_digest=invoice.input_digest,
            ledger_head=None if invoice.ledger_version is None else LedgerHead(invoice.ledger_version),
            transaction_id=invoice.transaction_id,
            created_at=invoice.created_at,
            finalized_at=invoice.finalized_at,
            voided_at=invoice.voided_at,
            void_reason=invoice.void_reason,
            past_due_at=invoice.past_due_at,
            disputed=invoice.disputed_micros,
        )


@frozen
class Invoices:
    """Invoices, the latest period first."""

    items: tuple[Invoice, ...]
    next_cursor: str | None


# --- explanations -----------------------------------------------------------------------------


@frozen
class Addend:
    """A part of an amount: ``quantity`` × ``rate`` = ``amount``, where there is a rate."""

    what: str
    quantity: Exact | None
    rate: Exact | None
    amount: Exact


@frozen
class ExplainedLine:
    """A line and its arithmetic: the amounts of ``parts`` add up to ``exact``, which with ``rounding`` is
    ``amount``. ``workings`` is what the run wrote down: price, share of the period, what is included."""

    number: int
    id: str
    kind: LineKind
    metric_key: str | None
    description: str
    period: str
    service_period: Period
    quantity: Money | None
    events: int
    model: str | None
    parts: tuple[Addend, ...]
    exact: Exact
    rounding: Exact
    amount: Money
    already_drawn: Money
    account: str
    workings: dict[str, Any]

    @classmethod
    def of(cls, explained: LineExplained) -> ExplainedLine:
        """The line as people see it explained."""
        line, worked = explained.line, explained.reading
        return cls(
            number=explained.number,
            id=line.id,
            kind=line.kind,
            metric_key=line.metric_key,
            description=line.description,
            period=line.period,
            service_period=period_of(line.service),
            quantity=line.quantity_micros,
            events=line.events,
            model=line.model,
            parts=tuple(
                Addend(each.what, _maybe(each.quantity), _maybe(each.rate), fraction_text(each.amount))
                for each in worked.addends
            ),
            exact=fraction_text(worked.exact),
            rounding=fraction_text(worked.rounding),
            amount=line.amount_micros,
            already_drawn=line.already_drawn_micros,
            account=line.account,
            workings=line.workings,
        )


@frozen
class DrawnGrant:
    """What finalization took out of a grant."""

    grant_id: str
    kind: GrantKind
    amount: Money


@frozen
class ExplainedEvent:
    """An event behind a line; ``counted`` tells whether the line's quantity includes it."""

    id: str
    event_id: str
    units: Money
    timestamp: Moment
    received_at: Moment
    late: bool
    voided_at: Moment | None
    counted: bool

    @classmethod
    def of(cls, explained: EventExplained) -> ExplainedEvent:
        """The event as people see it explained."""
        event = explained.event
        return cls(
            id=event.id,
            event_id=event.event_id,
            units=event.units_micros,
            timestamp=event.timestamp,
            received_at=event.received_at,
            late=event.late,
            voided_at=explained.voided_at,
            counted=explained.counted,
        )


@frozen
class Explanation:
    """Why an invoice says what it says. ``entries`` and ``drawn`` are there once it is issued; a page of
    ``events``, newest first, for the one line that was asked for."""

    invoice: Invoice
    lines: tuple[ExplainedLine, ...]
    entries: tuple[Posting, ...]
    drawn: tuple[DrawnGrant, ...]
    events: tuple[ExplainedEvent, ...] | None
    next_cursor: str | None

    @classmethod
    def of(cls, explanation: CoreExplanation) -> Explanation:
        """The explanation as people see it."""
        events = explanation.events
        return cls(
            invoice=Invoice.of(explanation.invoice),
            lines=tuple(ExplainedLine.of(line) for line in explanation.lines),
            entries=tuple(_posting(entry) for entry in explanation.postings),
            drawn=tuple(
                DrawnGrant(each.grant_id, each.kind, each.amount_micros) for each in explanation.drawn
            ),
            events=None if events is None else tuple(ExplainedEvent.of(each) for each in events.items),
            next_cursor=None if events is None else events.next_cursor,
        )


def _posting(entry: Entry) -> Posting:
    return Posting(entry.account, entry.debit_micros, entry.credit_micros)


def _maybe(value: Fraction | None) -> str | None:
    return None if value is None else fraction_text(value)
