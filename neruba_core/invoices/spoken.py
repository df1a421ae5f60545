"""An explanation in words, as support can read it out.

Each sum stands on a line of its own, as in ``100 + 450 + 50 = 600``, and re-adds exactly: an amount that no
decimal can write is a fraction, with its decimal beside it after ``≈`` for the ear only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

from neruba_core import instants
from neruba_core.currencies import currency_of
from neruba_core.invoices.explain import EventExplained, Explanation, LineExplained
from neruba_core.invoices.model import Invoice, LineKind
from neruba_core.invoices.page import invoice_page
from neruba_core.invoices.workings import MINUS, TIMES, Addend, amount_text, plainly, spelled
from neruba_core.money import PLACES
from neruba_core.pages import Page
from neruba_core.pricing.exact import units

INDENT = "   "


def spoken(explanation: Explanation) -> str:
    """The explanation as text, a thought a line."""
    return "\n".join(line.rstrip() for line in _all(explanation)) + "\n"


def _all(explanation: Explanation) -> Iterator[str]:
    invoice = explanation.invoice
    shown = invoice_page(invoice)
    services = {line.id: line.service for line in shown.lines}
    yield f"{shown.title} for {invoice.project_name}, {shown.heading}: {shown.state.words.lower()}."
    yield f"{shown.due_label}: {shown.due}."
    yield from (f"It is kept in draft by {blocker}." for blocker in invoice.blockers)
    for each in explanation.lines:
        yield ""
        yield from _line(each, invoice, services.get(each.line.id) or shown.period)
    if explanation.events is not None:
        yield ""
        yield from _events(explanation.events)
        return
    yield ""
    yield from _totals(invoice)
    yield ""
    yield from _ledger(explanation)


# --- a line -----------------------------------------------------------------------------------


def _line(explained: LineExplained, invoice: Invoice, service: str) -> Iterator[str]:
    line = explained.line
    yield f"{explained.number}. {line.description}: {invoice.currency} {_money(line.amount_micros)}"
    yield f"{INDENT}For {service}, in period {line.period}; line {line.id}."
    if line.quantity_micros is not None:
        yield f"{INDENT}Quantity {spelled(units(line.quantity_micros))}{_from_events(line.events)}."
    yield from (f"{INDENT}{thought}" for thought in (*_price(line.workings), *_arithmetic(explained)))
    if line.already_drawn_micros:
        yield f"{INDENT}Credit paid {_money(line.already_drawn_micros)} of it before this invoice."
    yield f"{INDENT}It is booked to {line.account}."


def _arithmetic(explained: LineExplained) -> Iterator[str]:
    workings, worked = explained.line.workings, explained.reading
    yield from _included(workings)
    if workings.get("parts"):
        yield from (f"{addend.what}: {_sum(addend)}" for addend in worked.addends)
    if len(worked.addends) > 1:
        yield f"{_added(addend.amount for addend in worked.addends)} = {spelled(worked.exact)}"
    if worked.rounding:
        rounded = _money(explained.line.amount_micros)
        yield f"{spelled(worked.exact)} {_plus(worked.rounding)} = {rounded}, rounded half-even"


def _included(workings: dict[str, Any]) -> Iterator[str]:
    included = Fraction(workings.get("included", "0"))
    if not included:
        return
    quantity, counted = Fraction(workings["quantity"]), Fraction(workings["counted"])
    if counted:
        yield f"{spelled(quantity)} {MINUS} {spelled(included)} = {spelled(counted)} beyond what is included"
    else:
        yield f"All of it is included: {spelled(included)} are free."


def _from_events(count: int) -> str:
    if not count:
        return ""
    return f", from {count:,} event{'s' if count > 1 else ''}"


def _price(workings: dict[str, Any]) -> Iterator[str]:
    if "tariff" not in workings:
        return
    price = workings.get("price")
    name = f", price {price['id']} version {price['version']}" if price else ""
    share = Fraction(workings.get("share", "1"))
    part = "" if share == 1 else f", for {spelled(share)} of the period"
    yield f"Price model {workings['tariff']['model']}{name}{part}."


def _sum(addend: Addend) -> str:
    amount = _heard(addend.amount)
    if addend.rate is None or addend.quantity is None:
        return amount
    return f"{spelled(addend.quantity)} {TIMES} {spelled(addend.rate)} = {amount}"


# --- totals and ledger ------------------------------------------------------------------------


def _totals(invoice: Invoice) -> Iterator[str]:
    subtotal, tax = units(invoice.subtotal_micros), units(invoice.tax_micros)
    amounts = [units(line.amount_micros) for line in invoice.lines if line.kind is not LineKind.TAX]
    yield "Totals"
    if amounts:
        yield f"{INDENT}{_added(amounts)} = {plainly(subtotal)} subtotal"
    yield from (f"{INDENT}{thought}" for thought in _tax(invoice))
    yield f"{INDENT}{plainly(subtotal)} {_plus(tax)} = {_money(invoice.total_micros)} total"
    yield f"{INDENT}{_due(invoice)}"
    if invoice.rounding_micros:
        exact = _money(invoice.amount_due_micros - invoice.rounding_micros)
        yield f"{INDENT}The exact figure is {exact}; only the amount due is rounded, half-even."


def _tax(invoice: Invoice) -> Iterator[str]:
    subtotal, tax, rate = (
        units(invoice.subtotal_micros),
        units(invoice.tax_micros),
        Fraction(invoice.tax_rate),
    )
    if not rate:
        return
    due = subtotal * rate
    yield f"{plainly(subtotal)} {TIMES} {spelled(rate)} = {spelled(due)} tax"
    if due != tax:
        yield f"{spelled(due)} {_plus(tax - due)} = {plainly(tax)} tax, rounded half-even"


def _due(invoice: Invoice) -> str:
    """From the total to the amount due, in one sum."""
    terms = "".join(
        f" {_plus(units(micros))} {what}"
        for micros, what in (
            (-invoice.already_drawn_micros, "paid from credit before"),
            (-invoice.credit_applied_micros, "credit applied"),
            (invoice.overdraft_billed_micros, "overdraft billed"),
            (invoice.credit_granted_micros, "added to the credit"),
            (invoice.rounding_micros, "rounding"),
        )
        if micros
    )
    due = amount_text(invoice.amount_due_micros, currency_of(invoice.currency).exponent)
    return f"{_money(invoice.total_micros)}{terms} = {due} due"


def _ledger(explanation: Explanation) -> Iterator[str]:
    invoice = explanation.invoice
    if not explanation.postings:
        yield "Nothing is booked yet." if invoice.transaction_id is None else "Nothing was to be booked."
        return
    yield f"Ledger transaction {invoice.transaction_id}, booked upon version {invoice.ledger_version}"
    width = max(len(entry.account) for entry in explanation.postings)
    for entry in explanation.postings:
        side, micros = (
            ("debit", entry.debit_micros) if entry.debit_micros else ("credit", entry.credit_micros)
        )
        yield f"{INDENT}{entry.account:<{width}}  {side:<6}  {_money(micros)}"
    debits = [units(entry.debit_micros) for entry in explanation.postings if entry.debit_micros]
    credits_ = [units(entry.credit_micros) for entry in explanation.postings if entry.credit_micros]
    yield f"{INDENT}{_added(debits)} = {_added(credits_)}, debits and credits"
    for drawn in explanation.drawn:
        yield f"{INDENT}Drawn from {drawn.kind.value} grant {drawn.grant_id}: {_money(drawn.amount_micros)}."


def _events(events: Page[EventExplained]) -> Iterator[str]:
    yield "Events, newest first"
    yield from (f"{INDENT}{_event(each)}" for each in events.items)
    if not events.items:
        yield f"{INDENT}None: this line comes from no usage events."
    if events.next_cursor is not None:
        yield f"{INDENT}More with cursor {events.next_cursor}"


def _event(explained: EventExplained) -> str:
    event, notes = explained.event, []
    if explained.voided_at is not None:
        notes.append(f"voided {instants.text(explained.voided_at)}")
    if not explained.counted:
        notes.append("not counted")
    note = f"  ({', '.join(notes)})" if notes else ""
    return f"{instants.text(event.timestamp)}  {_money(event.units_micros)}  {event.event_id}{note}"


# --- numbers ----------------------------------------------------------------------------------


def _money(micros: int) -> str:
    return amount_text(micros, PLACES)


def _heard(value: Fraction) -> str:
    """*value* exactly, and where that is a fraction, about how much it is."""
    text = spelled(value)
    return f"{text} ≈ {plainly(Fraction(round(value * 10**PLACES), 10**PLACES))}" if "/" in text else text


def _added(amounts: Iterable[Fraction]) -> str:
    first, *rest = amounts
    return " ".join([spelled(first), *(_plus(each) for each in rest)])


def _plus(value: Fraction) -> str:
    return f"{MINUS} {spelled(-value)}" if value < 0 else f"+ {spelled(value)}"
