"""From the inputs of a run to the lines of its invoice.

Pure: a dry run, a draft, a final invoice and the overview's estimate all come from here, and so cannot
differ. Lines come in one order: usage by metric and time, each slice followed by its minimum, what is missing
to a plan's commitment, charges, subscription, adjustments, tax.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from fractions import Fraction

from attrs import field, frozen

from neruba_core import money
from neruba_core.billing.apart import Apart, apart
from neruba_core.billing.digest import digest
from neruba_core.billing.inputs import Inputs, LateUsage
from neruba_core.billing.late import COMMITMENT, Change, account_of, changes
from neruba_core.billing.lines import Pen, rated, sums
from neruba_core.billing.model import BillingPeriod
from neruba_core.invoices.ahead import billed_ahead
from neruba_core.invoices.model import Invoice, InvoiceKind, Line, LineKind
from neruba_core.ledger.chart import Chart
from neruba_core.ledger.model import Charged
from neruba_core.money import MICROS
from neruba_core.pricing.exact import fraction_text, half_even, micros_text, rate_text, units
from neruba_core.subscriptions.fees import commitment, fees
from neruba_core.tenancy.model import LateUsagePolicy

UNPRICED = "usage.unpriced"


@frozen
class Statement:
    """The lines of one document, tax included, and their sums. *original* is the invoice that a credit note
    is about."""

    kind: InvoiceKind
    period: BillingPeriod
    part: int
    tax_rate: Decimal
    lines: tuple[Line, ...]
    blockers: tuple[str, ...] = ()
    original: Invoice | None = None

    @property
    def tax_micros(self) -> int:
        return sum(line.amount_micros for line in self.lines if line.kind is LineKind.TAX)

    @property
    def subtotal_micros(self) -> int:
        return self.total_micros - self.tax_micros

    @property
    def total_micros(self) -> int:
        return sum(line.amount_micros for line in self.lines)

    @property
    def already_drawn_micros(self) -> int:
        return sum(line.already_drawn_micros for line in self.lines)


@frozen
class Assembled:
    """What the inputs come to: the period's *statement* (without lines where there is nothing to bill), and
    the documents of their own that *late* usage leads to."""

    statement: Statement
    late: tuple[Statement, ...]
    digest: str
    counts: dict[str, int] = field(hash=False)


def assemble(inputs: Inputs, *, chart: Chart, ignore_unpriced: bool = False) -> Assembled:
    """Make the lines of *inputs*."""
    in_next = inputs.project.late_usage_policy is not LateUsagePolicy.CREDIT_NOTE
    found: list[Change] = []
    late: list[Statement] = []
    note_taxes: dict[str, int] = {}
    for each in inputs.late:
        changed = tuple(changes(inputs.prices, each))
        if in_next:
            found += changed
            continue
        # What was taxed then is not taxed anew by a rate that came later.
        rate = inputs.project.tax_rate if each.invoice is None else each.invoice.tax_rate
        divided = apart(each, changed, rate)
        late += _documents_of(inputs, each, divided, chart)
        found += (*divided.more, *divided.less)
        if divided.note_tax_micros is not None:
            note_taxes[each.period.name] = divided.note_tax_micros
    unpriced = sorted(
        {
            usage.metric.key
            for usage in inputs.usage
            if usage.slice.price is None and usage.events and not usage.metric.free
        }
    )
    lines: tuple[Line, ...] = ()
    if not inputs.closed:
        pen = Pen(inputs.project.id, inputs.period, inputs.part)
        lines = (
            *_usage(inputs, pen, chart),
            *_charges(inputs, pen, chart),
            *_fees(inputs, pen, chart),
            *(change.line(pen, account_of(change, chart)) for change in found if in_next),
        )
    statement = _statement(
        inputs,
        InvoiceKind.INVOICE,
        inputs.period,
        inputs.part,
        lines,
        chart,
        blockers=(UNPRICED,) if unpriced and not ignore_unpriced else (),
    )
    return Assembled(
        statement=statement,
        late=tuple(late),
        digest=digest(inputs, found, note_taxes, ignore_unpriced=ignore_unpriced),
        counts={
            "events": sum(usage.events for usage in inputs.usage),
            "metrics": len({usage.metric.key for usage in inputs.usage if usage.events}),
            "unpriced": len(unpriced),
            "charges": sum(charged.reverses is None for charged in inputs.charged),
            "decisions": len(inputs.prices.decisions),
            "changes": len(found),
            "lines": len(statement.lines),
        },
    )


def _statement(
    inputs: Inputs,
    kind: InvoiceKind,
    period: BillingPeriod,
    part: int,
    lines: Sequence[Line],
    chart: Chart,
    *,
    blockers: tuple[str, ...] = (),
    original: Invoice | None = None,
    rate: Decimal | None = None,
    tax_micros: int | None = None,
) -> Statement:
    pen = Pen(inputs.project.id, period, part)
    rate = inputs.project.tax_rate if rate is None else rate
    taxed = (*lines, *_tax(lines, pen, rate, chart, tax_micros))
    return Statement(kind, period, part, rate, taxed, blockers, original)


# --- usage ------------------------------------------------------------------------------------


def _usage(inputs: Inputs, pen: Pen, chart: Chart) -> Iterator[Line]:
    total = 0
    for usage in inputs.usage:
        priced = rated(usage)
        if priced is None:
            continue
        key, span = usage.metric.key, usage.slice.span
        account, how = chart.usage_of(key), priced.workings()
        if usage.quantity_micros or usage.drawn_micros:
            yield pen.line(
                LineKind.USAGE,
                priced.rated.amount_micros,
                account=account,
                description=key,
                metric_key=key,
                service=span,
                quantity_micros=usage.quantity_micros,
                model=priced.model,
                already_drawn_micros=usage.drawn_micros,
                events=usage.events,
                how=how,
            )
        if priced.rated.minimum_line_micros:
            yield pen.line(
                LineKind.MINIMUM,
                priced.rated.minimum_line_micros,
                account=account,
                description=f"{key}, minimum",
                metric_key=key,
                service=span,
                how=_missing(how["minimum"], priced.rated.amount_micros, priced.rated.minimum_line_micros),
            )
        total += priced.amount_micros
    yield from _commitment(inputs, pen, chart, total)


def _commitment(inputs: Inputs, pen: Pen, chart: Chart, usage_micros: int) -> Iterator[Line]:
    prices = inputs.prices
    least = commitment(prices.decisions, prices.plans, inputs.period.span) if prices.decisions else None
    missing = 0 if least is None else half_even(least) - usage_micros
    if least is not None and missing > 0:
        yield pen.line(
            LineKind.MINIMUM,
            missing,
            account=chart.subscriptions,
            description="Minimum commitment",
            reference=COMMITMENT,
            how=_missing(fraction_text(least), usage_micros, missing),
        )


def _missing(least: str, amount_micros: int, missing_micros: int) -> dict[str, object]:
    """The workings of what is missing to a minimum: the rounded minimum less what there is."""
    exact = Fraction(least) - units(amount_micros)
    return {
        "parts": [
            {"what": "the least for this time", "amount": least},
            {"what": "billed as usage", "amount": micros_text(-amount_micros)},
        ],
        "exact": fraction_text(exact),
        "rounding": fraction_text(units(missing_micros) - exact),
        "amount": money.text(missing_micros),
    }


# --- charges ----------------------------------------------------------------------------------


def _charges(inputs: Inputs, pen: Pen, chart: Chart) -> Iterator[Line]:
    """The wallet has paid every charge when it was made, and got back every reversal."""
    own = {charged.id for charged in inputs.charged if charged.reverses is None}
    billed_before = [each for each in inputs.charged if each.reverses and each.reverses not in own]
    ours = [each for each in inputs.charged if each.id in own or each.reverses in own]
    yield from _charged(pen, chart, "Charges", "", ours, len(own))
    yield from _charged(
        pen, chart, "Reversed charges of earlier periods", "reversed", billed_before, len(billed_before)
    )


def _charged(
    pen: Pen, chart: Chart, description: str, reference: str, charged: Iterable[Charged], count: int
) -> Iterator[Line]:
    charged = list(charged)
    taken = sum(each.amount_micros for each in charged if each.reverses is None)
    returned = sum(each.amount_micros for each in charged if each.reverses is not None)
    reversals = [each.id for each in charged if each.reverses is not None]
    # A period that is run again says what it counts even if that is nothing in all: see ``inputs``.
    if taken == returned and not (reversals and pen.part > 1):
        return
    parts = [
        {"what": "charged", "amount": micros_text(taken)},
        {"what": "reversed", "amount": micros_text(-returned)},
    ]
    yield pen.line(
        LineKind.CHARGE,
        taken - returned,
        account=chart.charges,
        description=description,
        reference=reference,
        already_drawn_micros=taken - returned,
        events=count,
        how={
            **sums([part for part in parts if part["amount"] != "0"], taken - returned),
            **({"reversals": reversals} if reversals else {}),
        },
    )


# --- subscription -----------------------------------------------------------------------------


def _fees(inputs: Inputs, pen: Pen, chart: Chart) -> Iterator[Line]:
    prices, period, following = inputs.prices, inputs.period, inputs.following
    if not prices.decisions:
        return
    ahead = billed_ahead(() if inputs.previous is None else (inputs.previous,), period.name)
    for fee in fees(prices.decisions, prices.plans, period.span, following.span, ahead):
        if inputs.last and fee.span.start in following.span:
            continue
        yield pen.line(
            LineKind(fee.kind),
            fee.amount_micros,
            account=chart.subscriptions,
            description=fee.description,
            about=following.name if fee.span.start in following.span else None,
            service=fee.span,
            reference=fee.reference,
            quantity_micros=fee.quantity * MICROS,
            how=fee.workings,
        )


# --- late usage with documents of its own, and tax --------------------------------------------


def _documents_of(inputs: Inputs, late: LateUsage, divided: Apart, chart: Chart) -> Iterator[Statement]:
    """For a closed period what is due beyond what was billed, and then what was billed too much."""
    part = late.part
    if divided.more:
        pen = Pen(inputs.project.id, late.period, part)
        lines = [change.line(pen, account_of(change, chart)) for change in divided.more]
        yield _statement(
            inputs, InvoiceKind.SUPPLEMENTARY, late.period, part, lines, chart, rate=divided.rate
        )
        part += 1
    if divided.less:
        pen = Pen(inputs.project.id, late.period, part)
        lines = [change.line(pen, chart.credit_notes) for change in divided.less]
        tax = divided.note_tax_micros
        yield _statement(
            inputs,
            InvoiceKind.CREDIT_NOTE,
            late.period,
            part,
            lines,
            chart,
            original=late.invoice,
            rate=divided.rate,
            tax_micros=None if tax is None else -tax,
        )


def _tax(
    lines: Sequence[Line], pen: Pen, rate: Decimal, chart: Chart, tax_micros: int | None
) -> Iterator[Line]:
    subtotal = sum(line.amount_micros for line in lines)
    exact = units(subtotal) * Fraction(rate)
    tax = half_even(exact) if tax_micros is None else tax_micros
    if tax:
        yield pen.line(
            LineKind.TAX,
            tax,
            account=chart.tax,
            description=f"Tax {rate_text(rate * 100)} %",
            how={
                "parts": [
                    {
                        "what": "subtotal × tax rate",
                        "quantity": micros_text(subtotal),
                        "rate": rate_text(rate),
                        "amount": fraction_text(exact),
                    }
                ],
                "exact": fraction_text(exact),
                "rounding": fraction_text(units(tax) - exact),
                "amount": money.text(tax),
            },
        )
