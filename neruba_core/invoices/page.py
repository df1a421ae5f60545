"""An invoice as its reader sees it: every word and figure of the page, laid out by nobody yet.

HTML and PDF come from the same ``InvoicePage``, so they cannot disagree. It follows from the invoice alone,
never from the clock or from what the project has become since: the same invoice gives the same page at any
later time.

Amounts of lines and totals all show the same number of decimals, as many as the finest of them needs and
at least those of the currency, so that a reader can add up a column by hand. Only the amount due is a whole
number of minor units.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import attrs
from attrs import frozen

from neruba_core import money
from neruba_core.currencies import currency_of
from neruba_core.instants import Instant, Period, zone
from neruba_core.invoices.model import Invoice, InvoiceKind, InvoiceState, Line, LineKind
from neruba_core.invoices.workings import MINUS, TIMES, amount_text, reading, spelled, sum_text
from neruba_core.pricing.exact import units

DASH = "\N{EN DASH}"

_TITLES = {
    InvoiceKind.INVOICE: "Invoice",
    InvoiceKind.SUPPLEMENTARY: "Supplementary invoice",
    InvoiceKind.CREDIT_NOTE: "Credit note",
}
_BLOCKERS = {
    "usage.unpriced": "Usage without a price: set a price for the metric, or declare the metric free.",
}
_FINE_PRINT = (
    "Every figure follows from recorded usage, the prices in force and the ledger, and can be explained line "
    "by line. Amounts are exact to six decimals; only the amount due is rounded. Days and times are those of "
    "{timezone}."
)
_MICROSECOND = timedelta(microseconds=1)
_MIDNIGHT = (0, 0, 0, 0)
# Not strftime's: those follow the locale of the process.
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)


@frozen
class PageLine:
    """One row of the table. *steps* is the arithmetic behind the amount, *drawn* what credit paid of it
    before, empty where nothing was."""

    id: str
    description: str
    service: str
    steps: tuple[str, ...]
    quantity: str
    amount: str
    drawn: str = ""


@frozen
class Fact:
    """A name and what it is; *strong* where the eye should fall on it."""

    name: str
    value: str
    strong: bool = False


@frozen
class State:
    """How the document stands, in words, and their tone: ``good``, ``open``, ``warn`` or ``plain``."""

    words: str
    tone: str


@frozen
class InvoicePage:
    """See the module. *title* names the document, *heading* the period that it is about; *watermark* is
    empty on a document that counts."""

    title: str
    heading: str
    watermark: str
    state: State
    billed_to: str
    project_id: str
    period: str
    facts: tuple[Fact, ...]
    lines: tuple[PageLine, ...]
    totals: tuple[Fact, ...]
    due_label: str
    due: str
    currency: str
    notes: tuple[str, ...]
    blockers: tuple[str, ...]
    proof: tuple[Fact, ...]
    fine_print: str
    issued_at: Instant

    @property
    def draws(self) -> bool:
        """Whether any line was paid for by credit before."""
        return any(line.drawn for line in self.lines)


def invoice_page(invoice: Invoice) -> InvoicePage:
    """The page of *invoice*, whose days are those of its time zone."""
    places, timezone = _places(invoice), invoice.timezone
    return InvoicePage(
        title=_title(invoice),
        heading=_month(invoice.period),
        watermark=_watermark(invoice),
        state=_state(invoice, timezone),
        billed_to=invoice.project_name,
        project_id=invoice.project_id,
        period=_span(invoice.span, timezone),
        facts=tuple(_facts(invoice, timezone)),
        lines=tuple(
            _line(line, invoice, timezone, places) for line in invoice.lines if line.kind is not LineKind.TAX
        ),
        totals=tuple(_totals(invoice, places)),
        # Nobody shall pay what is void.
        due_label="Was due" if invoice.state is InvoiceState.VOID else "Amount due",
        due=f"{invoice.currency} {_minor(invoice.amount_due_micros, invoice.currency)}",
        currency=invoice.currency,
        notes=tuple(_notes(invoice)),
        blockers=tuple(_BLOCKERS.get(blocker, blocker) for blocker in invoice.blockers),
        proof=tuple(_proof(invoice)),
        fine_print=_FINE_PRINT.format(timezone=timezone),
        issued_at=invoice.finalized_at or invoice.created_at,
    )


def as_issued(invoice: Invoice) -> Invoice:
    """*invoice* as it was on the day of issue, whatever has been paid since."""
    return attrs.evolve(invoice, state=InvoiceState.FINALIZED, paid_micros=0)


# --- the head ---------------------------------------------------------------------------------


def _title(invoice: Invoice) -> str:
    title = _TITLES[invoice.kind]
    return title if invoice.number is None else f"{title} {invoice.number}"


def _watermark(invoice: Invoice) -> str:
    marks = {InvoiceState.DRAFT: "Draft", InvoiceState.VOID: "Void"}
    return marks.get(invoice.state, "")


def _month(period: str) -> str:
    year, _, number = period.partition("-")
    return f"{_MONTHS[int(number) - 1]} {year}"


def _state(invoice: Invoice, timezone: str) -> State:
    match invoice.state:
        case InvoiceState.DRAFT:
            return State("Draft: not a bill yet, and it may still change", "warn")
        case InvoiceState.VOID:
            when = "" if invoice.voided_at is None else f" since {_day(invoice.voided_at, timezone)}"
            reason = f": {invoice.void_reason}" if invoice.void_reason else ""
            return State(f"Void{when}{reason}", "warn")
        case InvoiceState.PAID:
            return State("Paid", "good")
        case InvoiceState.FINALIZED if invoice.open_micros > 0:
            return State("Payment due", "open")
        case InvoiceState.FINALIZED:
            return State("Nothing to pay", "good")


def _facts(invoice: Invoice, timezone: str) -> Iterator[Fact]:
    if invoice.number is not None:
        yield Fact("Number", str(invoice.number))
    if invoice.finalized_at is None:
        yield Fact("Drafted", _day(invoice.created_at, timezone))
    else:
        yield Fact("Issued", _day(invoice.finalized_at, timezone))
    yield Fact("Period", _span(invoice.span, timezone))
    yield Fact("Reference", invoice.id)


# --- lines ------------------------------------------------------------------------------------


def _line(line: Line, invoice: Invoice, timezone: str, places: int) -> PageLine:
    return PageLine(
        id=line.id,
        description=line.description,
        service=_service(line, invoice, timezone),
        steps=tuple(_steps(line)),
        quantity="" if line.quantity_micros is None else spelled(units(line.quantity_micros)),
        amount=amount_text(line.amount_micros, places),
        drawn=amount_text(line.already_drawn_micros, places) if line.already_drawn_micros else "",
    )


def _service(line: Line, invoice: Invoice, timezone: str) -> str:
    """The service period, where it is not simply the invoice's."""
    return "" if line.service == invoice.span else _span(line.service, timezone)


def _steps(line: Line) -> Iterator[str]:
    """The arithmetic, where the amount is more than one number; the rounding, where it changed anything."""
    included = Fraction(line.workings.get("included", "0"))
    if not line.workings.get("parts"):
        if included and not line.amount_micros:
            yield f"all of it is included: {spelled(included)} are free"
        return
    worked = reading(line)
    if included:
        yield f"included: {spelled(included)}"
    if "unitAmount" in line.workings:
        yield _fee(line)
    elif len(worked.addends) > 1 or worked.addends[0].rate is not None:
        for addend in worked.addends:
            yield (
                sum_text(addend) if addend.what == line.description else f"{addend.what}: {sum_text(addend)}"
            )
    if worked.rounding:
        exact = spelled(worked.exact)
        yield "rounded to six decimals" + ("" if "/" in exact else f" from {exact}")


def _fee(line: Line) -> str:
    """A recurring amount as people think of it: seats, the amount of one, the share of the period."""
    workings = line.workings
    seats, amount, share = (Fraction(workings[name]) for name in ("quantity", "unitAmount", "share"))
    sign = MINUS if share < 0 else ""
    whole = f"{sign}{spelled(seats)} {TIMES} {spelled(amount)}"
    return whole if share == 1 else f"{whole} {TIMES} {spelled(abs(share))} of the period"


# --- totals -----------------------------------------------------------------------------------


def _totals(invoice: Invoice, places: int) -> Iterator[Fact]:
    yield Fact("Subtotal", amount_text(invoice.subtotal_micros, places))
    if invoice.tax_micros or invoice.tax_rate:
        percent = spelled(Fraction(invoice.tax_rate) * 100)
        yield Fact(f"Tax, {percent} %", amount_text(invoice.tax_micros, places))
    yield Fact("Total", amount_text(invoice.total_micros, places), strong=True)
    for name, micros in (
        ("Already paid from credit", -invoice.already_drawn_micros),
        ("Credit applied now", -invoice.credit_applied_micros),
        ("Overdraft billed", invoice.overdraft_billed_micros),
        ("Added to your credit", invoice.credit_granted_micros),
        ("Rounding", invoice.rounding_micros),
    ):
        if micros:
            yield Fact(name, amount_text(micros, places))


def _notes(invoice: Invoice) -> Iterator[str]:
    if invoice.already_drawn_micros:
        yield "Already paid from credit: what was taken from the wallet when the usage or charge arrived."
    if invoice.credit_granted_micros:
        yield "The total is below zero; the difference was added to your credit, and nothing is due."
    if invoice.state is InvoiceState.DRAFT:
        yield "Credit, overdraft and the amount due are previews; they are fixed when the invoice is issued."
    if invoice.paid_micros:
        paid, left = (
            _minor(micros, invoice.currency) for micros in (invoice.paid_micros, invoice.open_micros)
        )
        yield f"Paid so far: {invoice.currency} {paid}; left to pay: {invoice.currency} {left}."


def _proof(invoice: Invoice) -> Iterator[Fact]:
    if invoice.ledger_version is not None:
        yield Fact("Ledger head", str(invoice.ledger_version))
    if invoice.transaction_id is not None:
        yield Fact("Transaction", invoice.transaction_id)
    yield Fact("Input digest", invoice.input_digest)


# --- numbers and dates ------------------------------------------------------------------------


def _places(invoice: Invoice) -> int:
    """How many decimals every amount of the document shows."""
    amounts = [
        invoice.subtotal_micros,
        invoice.tax_micros,
        invoice.total_micros,
        invoice.already_drawn_micros,
        invoice.credit_applied_micros,
        invoice.overdraft_billed_micros,
        invoice.credit_granted_micros,
        invoice.rounding_micros,
        *(line.amount_micros for line in invoice.lines),
        *(line.already_drawn_micros for line in invoice.lines),
    ]
    finest = max(_decimals(money.decimal(micros)) for micros in amounts)
    return max(finest, currency_of(invoice.currency).exponent)


def _decimals(number: Decimal) -> int:
    return len(format(number.normalize(), "f").partition(".")[2])


def _minor(micros: int, currency: str) -> str:
    return amount_text(micros, currency_of(currency).exponent)


def _day(moment: Instant, timezone: str) -> str:
    local = moment.astimezone(zone(timezone))
    return f"{local.day} {_MONTHS[local.month - 1]} {local.year}"


def _span(span: Period, timezone: str) -> str:
    """The days of *span*, the last included; with times where it does not begin and end at midnight."""
    bounds = [moment.astimezone(zone(timezone)) for moment in (span.start, span.end)]
    clock = [(local.hour, local.minute, local.second, local.microsecond) for local in bounds]
    if clock == [_MIDNIGHT, _MIDNIGHT]:
        first, last = _day(span.start, timezone), _day(span.end - _MICROSECOND, timezone)
        return first if first == last else f"{first} {DASH} {last}"
    timespec = "%H:%M:%S" if any(time[2:] != (0, 0) for time in clock) else "%H:%M"
    start, end = (f"{_day(local, timezone)}, {local:{timespec}}" for local in bounds)
    return f"{start} {DASH} {end}"
