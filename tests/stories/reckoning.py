"""A second calculation of a year's billing, from raw events, declared prices and decisions alone.

It is written anew with ``Fraction`` and plain loops, without the product's arithmetic.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any

from attrs import frozen

from neruba_core.billing import periods
from neruba_core.instants import Instant
from neruba_core.invoices.model import Invoice, Line
from neruba_core.neruba import Neruba
from neruba_core.usage.model import UsageEvent
from tests.stories.year import END, METRICS, PLANS, Lived, Year, all_invoices

MICROS = 1_000_000
_MICROSECOND = timedelta(microseconds=1)


def half_even(exact: Fraction) -> int:
    """Units to micro-units, by looking at what is left over."""
    below, left = divmod(exact * MICROS, 1)
    up = left > Fraction(1, 2) or (left == Fraction(1, 2) and below % 2 == 1)
    return int(below) + up


# --- one document -----------------------------------------------------------------------------


def check_document(invoice: Invoice) -> None:
    """Its figures re-add by hand, from the workings of its lines to what is due."""
    for line in invoice.lines:
        _check_workings(line)
    net = sum(line.amount_micros - line.already_drawn_micros for line in invoice.lines)
    plain = [line.amount_micros for line in invoice.lines if line.kind != "tax"]
    tax = half_even(Fraction(sum(plain), MICROS) * Fraction(invoice.tax_rate))
    assert invoice.subtotal_micros == sum(plain)
    assert invoice.tax_micros == tax == sum(x.amount_micros for x in invoice.lines if x.kind == "tax")
    assert invoice.total_micros == invoice.subtotal_micros + tax
    exact = net - invoice.credit_applied_micros + invoice.overdraft_billed_micros
    exact += invoice.credit_granted_micros
    assert invoice.amount_due_micros == exact + invoice.rounding_micros
    assert invoice.amount_due_micros % 10_000 == 0
    assert abs(invoice.rounding_micros) <= 5_000
    if invoice.kind != "credit_note":
        assert invoice.amount_due_micros >= 0
        assert not (invoice.credit_granted_micros and invoice.amount_due_micros)
        half = abs(invoice.rounding_micros) == 5_000
        assert not half or invoice.amount_due_micros // 10_000 % 2 == 0


def _check_workings(line: Line) -> None:
    how = line.workings
    _check_sum(how)
    assert Fraction(how["amount"]) * MICROS == line.amount_micros
    for piece in how.get("slices", ()):
        _check_sum(piece)


def _check_sum(how: Mapping[str, Any]) -> None:
    parts = sum((Fraction(part["amount"]) for part in how["parts"]), Fraction(0))
    assert parts == Fraction(how["exact"]), how
    assert Fraction(how["exact"]) + Fraction(how["rounding"]) == Fraction(how["amount"]), how


# --- a year -----------------------------------------------------------------------------------


@frozen
class Span:
    """A billing period, and whether an invoice stands for it."""

    name: str
    start: Instant
    end: Instant
    invoiced: bool


@frozen
class Decided:
    """A plan (or none) from *at* on; *trial_ends_at* bounds the time in which it costs nothing."""

    at: Instant
    plan: str | None
    trial_ends_at: Instant | None


def check_year(year: Year, lived: Lived, neruba: Neruba) -> None:
    """What was billed over the year is what the raw events, prices and decisions come to."""
    documents = [each for each in all_invoices(neruba, lived.id) if each.state in ("finalized", "paid")]
    events = _events(neruba, lived)
    spans = _spans(neruba, lived, documents, min((each.timestamp for each in events), default=END))
    decisions = _decisions(neruba, lived)
    prices = _prices(year, lived, neruba)
    billed, drawn = _billed(documents)
    draws = _draws(neruba, lived, events, spans)
    project = neruba.projects.get(lived.id)
    for span in spans:
        total = 0
        for metric in METRICS:
            inside = [e for e in events if e.metric_key == metric and span.start <= e.timestamp < span.end]
            pieces = cut(span, metric, prices, decisions)
            rated = [_worth(metric, piece, inside, span) for piece in pieces]
            usage = sum(each[0] for each in rated)
            due = sum(sum(each) for each in rated) if span.invoiced or inside else 0
            assert billed[span.name, metric] == due, (span, metric, lived.id)
            assert drawn[span.name, metric] == draws[span.name, metric], (span, metric, lived.id)
            if project.billing_mode_at(span.start) == "prepaid" and metric in ("tokens", "calls"):
                assert draws[span.name, metric] == usage, (span, metric, lived.id)
            total += due
        if span.invoiced:
            missing = max(half_even(_committed(span, decisions)) - total, 0)
            assert billed[span.name, None] == missing, (span, lived.id)
    _check_money(neruba, lived, documents)


def _check_money(neruba: Neruba, lived: Lived, documents: Sequence[Invoice]) -> None:
    """Charges are billed once; what is receivable is what is due; the numbers have no gaps."""
    accounts = {
        each.account: each.debit_micros - each.credit_micros
        for each in neruba.ledger.trial_balance(lived.id).accounts
    }
    assert sum(accounts.values()) == 0
    charges = sum(line.amount_micros for each in documents for line in each.lines if line.kind == "charge")
    assert charges == -accounts.get("revenue:charges", 0)
    assert accounts.get("receivable", 0) == sum(each.amount_due_micros for each in documents)
    numbers = sorted(each.number for each in all_invoices(neruba, lived.id) if each.number is not None)
    assert numbers == list(range(1, len(numbers) + 1))
    assert neruba.ledger.sweep(lived.id).faults == ()


def _events(neruba: Neruba, lived: Lived) -> list[UsageEvent]:
    """Those that count."""
    found: list[UsageEvent] = []
    cursor = None
    while True:
        page = neruba.usage.events(lived.id, limit=200, cursor=cursor)
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    voided = neruba.usage.voids(lived.id, [each.id for each in found])
    return [each for each in found if each.id not in voided]


def _spans(neruba: Neruba, lived: Lived, documents: Sequence[Invoice], earliest: Instant) -> list[Span]:
    """The stored periods, and those before the first one back to *earliest*."""
    stored = neruba._context.read(lambda work: work.billing.periods([lived.id]))[lived.id]
    project = neruba.projects.get(lived.id)
    before = periods.covering(project, stored, earliest, stored[0].span.start)
    invoiced = {each.period for each in documents if each.kind == "invoice"}
    spans = [
        Span(row.name, row.span.start, row.span.end, row.name in invoiced)
        for row in (*(row for row in before if row.span.end <= stored[0].span.start), *stored)
    ]
    assert all(one.end == other.start for one, other in pairwise(spans))
    return spans


def _decisions(neruba: Neruba, lived: Lived) -> list[Decided]:
    keys = {plan.id: plan.key for plan in neruba.plans.list(limit=200).items}
    return [
        Decided(each.effective_at, None if each.plan_id is None else keys[each.plan_id], each.trial_ends_at)
        for each in neruba.subscriptions.decisions(lived.id)
    ]


def _billed(
    documents: Iterable[Invoice],
) -> tuple[Mapping[tuple[str, str | None], int], Mapping[tuple[str, str | None], int]]:
    """What lines of usage came to, and what had been drawn of it, by period and metric."""
    billed: dict[tuple[str, str | None], int] = defaultdict(int)
    drawn: dict[tuple[str, str | None], int] = defaultdict(int)
    for document in documents:
        for line in document.lines:
            if line.kind in ("usage", "minimum", "adjustment"):
                billed[line.period, line.metric_key] += line.amount_micros
                drawn[line.period, line.metric_key] += line.already_drawn_micros
    return billed, drawn


def _draws(
    neruba: Neruba, lived: Lived, events: Sequence[UsageEvent], spans: Sequence[Span]
) -> Mapping[tuple[str, str], int]:
    """What the wallet paid for usage as it came, by the ledger."""
    found: dict[tuple[str, str], int] = defaultdict(int)
    with neruba._context.storage.snapshot() as work:
        before = None
        while page := work.ledger.transactions(lived.id, limit=200, before=before):
            before = page[-1].place
            for transaction in page:
                if transaction.type != "usage":
                    continue
                assert transaction.metadata is not None
                event = work.usage.event(lived.id, str(transaction.metadata["usageId"]))
                assert event is not None
                (span,) = (s for s in spans if s.start <= event.timestamp < s.end)
                for entry in transaction.entries:
                    if entry.account.startswith("revenue:"):
                        micros = entry.credit_micros - entry.debit_micros
                        found[span.name, event.metric_key] += micros
    return found


# --- prices in time ---------------------------------------------------------------------------


@frozen
class Versions:
    """Declared prices by metric, each from a moment on: the project's own, and the catalogue's."""

    own: Mapping[str, Sequence[tuple[Instant, dict[str, Any]]]]
    shared: Mapping[str, Sequence[tuple[Instant, dict[str, Any]]]]


def _prices(year: Year, lived: Lived, neruba: Neruba) -> Versions:
    own: dict[str, list[tuple[Instant, dict[str, Any]]]] = defaultdict(list)
    cursor = None
    while True:
        page = neruba.prices.list(lived.id, limit=200, cursor=cursor)
        for price in page.items:
            declared = lived.own[price.metric_key, price.effective_from]
            own[price.metric_key].append((price.effective_from, declared))
        cursor = page.next_cursor
        if cursor is None:
            break
    shared: dict[str, list[tuple[Instant, dict[str, Any]]]] = defaultdict(list)
    for (metric, moment), tariff in year.shared.items():
        shared[metric].append((moment, tariff))
    return Versions(own, shared)


def in_force(
    metric: str, moment: Instant, prices: Versions, decisions: Sequence[Decided]
) -> tuple[Any, dict[str, Any]] | None:
    """The price of *metric* at *moment* and a name that tells it from others."""
    own = [each for each in prices.own.get(metric, ()) if each[0] <= moment]
    if own:
        start, price = max(own, key=lambda each: each[0])
        return ("own", start), price
    plan = _plan_at(decisions, moment)
    for price in PLANS[plan].get("prices", ()) if plan else ():
        if price["metric_key"] == metric:
            return ("plan", plan), {name: value for name, value in price.items() if name != "metric_key"}
    shared = [each for each in prices.shared.get(metric, ()) if each[0] <= moment]
    if shared:
        start, price = max(shared, key=lambda each: each[0])
        return ("shared", start), price
    return None


def _plan_at(decisions: Sequence[Decided], moment: Instant) -> str | None:
    plan = None
    for decided in decisions:
        if decided.at <= moment:
            plan = decided.plan
    return plan


@frozen
class Piece:
    start: Instant
    end: Instant
    price: dict[str, Any] | None
    share: Fraction


def cut(span: Span, metric: str, prices: Versions, decisions: Sequence[Decided]) -> list[Piece]:
    """Where the price of *metric* changes in *span*; only what adds up is cut."""
    moments = {at for at, _ in prices.own.get(metric, ())} | {at for at, _ in prices.shared.get(metric, ())}
    moments |= {decided.at for decided in decisions}
    bounds = sorted({span.start, *(at for at in moments if span.start < at < span.end)})
    if METRICS[metric]["aggregation"] not in ("sum", "count"):
        found = [in_force(metric, at, prices, decisions) for at in bounds]
        price = next((each[1] for each in found if each is not None), None)
        return [Piece(span.start, span.end, price, Fraction(1))]
    runs: list[tuple[Instant, Any, dict[str, Any] | None]] = []
    for at in bounds:
        found_here = in_force(metric, at, prices, decisions)
        name, price = found_here if found_here is not None else (None, None)
        if not runs or runs[-1][1] != name:
            runs.append((at, name, price))
    whole = (span.end - span.start) // _MICROSECOND
    ends = [at for at, _, _ in runs[1:]] + [span.end]
    return [
        Piece(start, end, price, Fraction((end - start) // _MICROSECOND, whole))
        for (start, _, price), end in zip(runs, ends, strict=True)
    ]


# --- what a piece is worth --------------------------------------------------------------------


def _worth(metric: str, piece: Piece, events: Sequence[UsageEvent], span: Span) -> tuple[int, int]:
    """The usage line and the minimum line of a piece."""
    if piece.price is None:
        return 0, 0
    price = piece.price
    quantity = _quantity(metric, [e for e in events if piece.start <= e.timestamp < piece.end])
    beyond = quantity - Fraction(price.get("included", "0")) * piece.share
    amount = _at_list_price(price, beyond) if beyond > 0 else Fraction(0)
    if "maximum_amount" in price:
        amount = min(amount, Fraction(price["maximum_amount"]) * piece.share)
    usage = half_even(amount)
    least = half_even(Fraction(price.get("minimum_amount", "0")) * piece.share)
    return usage, max(least - usage, 0)


def _quantity(metric: str, events: Sequence[UsageEvent]) -> Fraction:
    if not events:
        return Fraction(0)
    units = [event.units_micros for event in events]
    match METRICS[metric]["aggregation"]:
        case "sum":
            micros: int = sum(units)
        case "count":
            micros = len(units) * MICROS
        case "max":
            micros = max(units)
        case "min":
            micros = min(units)
        case "last":
            micros = max(events, key=lambda event: (event.timestamp, event.id)).units_micros
        case "avg":
            micros = half_even(Fraction(sum(units), len(units) * MICROS))
        case _:
            values = [(event.properties or {}).get("user") for event in events]
            micros = len({(type(value), value) for value in values if value is not None}) * MICROS
    return Fraction(micros, MICROS)


def _at_list_price(price: Mapping[str, Any], quantity: Fraction) -> Fraction:
    match price["model"]:
        case "unit":
            return quantity * Fraction(price["unit_amount"])
        case "package":
            return -(-quantity // Fraction(price["package_size"])) * Fraction(price["package_amount"])
        case "percentage":
            return quantity * Fraction(price["rate"]) + Fraction(price.get("fixed_amount", "0"))
    bounds = [Fraction(0), *(Fraction(upper or "1e99") for upper, _, _ in price["tiers"])]
    entered = [
        (lower, min(upper, quantity), one)
        for (lower, upper), one in zip(pairwise(bounds), price["tiers"], strict=True)
        if quantity > lower
    ]
    if price["model"] == "volume":
        entered = [(Fraction(0), quantity, entered[-1][2])]
    return sum(
        (
            (upper - lower) * Fraction(unit_amount) + Fraction(flat_amount or 0)
            for lower, upper, (_, unit_amount, flat_amount) in entered
        ),
        start=Fraction(0),
    )


def _committed(span: Span, decisions: Sequence[Decided]) -> Fraction:
    """The share of plans' commitments that falls on *span*; time on trial is free of it."""
    total = Fraction(0)
    whole = (span.end - span.start) // _MICROSECOND
    moments = {decided.at for decided in decisions}
    moments |= {decided.trial_ends_at for decided in decisions if decided.trial_ends_at is not None}
    bounds = sorted({span.start, span.end, *(at for at in moments if span.start < at < span.end)})
    for start, end in pairwise(bounds):
        plan, trial_ends_at = None, None
        for decided in decisions:
            if decided.at <= start:
                plan, trial_ends_at = decided.plan, decided.trial_ends_at
        if plan is not None and (trial_ends_at is None or start >= trial_ends_at):
            least = Fraction(PLANS[plan].get("minimum_commitment", "0"))
            total += least * Fraction((end - start) // _MICROSECOND, whole)
    return total
