"""What late usage adds to a closed period, and what a credit note gives back of what it takes off.

Whoever credits by hand does not know what will be voided, and a void does not ask what was credited. So what
a period comes to now is compared with what was credited of it by hand and written off: what exceeds that was
given back already, and the note gives back that much less. It is not forgotten: the lines say so, and as the
next run compares with what was billed, the rest is taken off usage that arrives later still.

What prepaid usage had drawn is back in the wallet since the event was voided: a note tells of it in any case.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from fractions import Fraction

from attrs import evolve, frozen

from neruba_core.billing.inputs import LateUsage
from neruba_core.billing.late import OF_USAGE, Change
from neruba_core.invoices.credited import Credited
from neruba_core.invoices.model import InvoiceKind, LineKind
from neruba_core.pricing.exact import half_even, units


@frozen
class Apart:
    """The changes of a closed period, for documents of their own: what is *more*, and what is *less* as far
    as it is given back. The note's tax is that of its lines, unless *note_tax_micros* tell it."""

    more: tuple[Change, ...]
    less: tuple[Change, ...]
    rate: Decimal
    note_tax_micros: int | None = None


def apart(late: LateUsage, changes: Sequence[Change], rate: Decimal) -> Apart:
    """Tell the *changes* of a closed period apart, which are taxed at *rate*."""
    more = tuple(change for change in changes if change.amount_micros >= 0)
    less = tuple(change for change in changes if change.amount_micros < 0)
    more_micros, less_micros = _sum(more), -_sum(less)
    more_tax, less_tax = _tax(more_micros, rate), _tax(less_micros, rate)
    before = _credited(late).and_billed(more_micros + more_tax, more_tax)
    exact = before.billed_micros - before.noted_micros - less_micros - less_tax
    # Usage is worth nothing at least; what is below was rounded up, in the tax of one document after another.
    worth = max(exact, min(_others(late, rate), 0))
    given = max(before.corrected_micros - max(worth, 0), 0)
    if not less or not given:
        return Apart(more, less, rate, None if exact == worth else max(less_tax + exact - worth, 0))
    back = max(less_micros + less_tax + exact - worth - given, 0)
    tax = before.tax_share(back)
    kept = tuple(_kept(less, back - tax))
    return Apart(more, kept, rate, min(tax, max(back + _sum(kept), 0)))


def _credited(late: LateUsage) -> Credited:
    """What the period's own documents come to, and what others have adjusted of it."""
    own = [each for each in late.issued if each.period == late.period.name]
    credited = Credited.of(own, late.corrections)
    for other in late.issued:
        if other.period != late.period.name:
            adjusted = sum(
                line.amount_micros
                for line in other.lines
                if line.kind is LineKind.ADJUSTMENT and line.period == late.period.name
            )
            tax = _tax(adjusted, other.tax_rate)
            credited = credited.and_billed(adjusted + tax, tax)
    return credited


def _others(late: LateUsage, rate: Decimal) -> int:
    """What the lines of the period's own documents that are not about its usage come to, tax included."""
    micros = sum(
        line.amount_micros
        for each in late.issued
        if each.period == late.period.name and each.kind is not InvoiceKind.CREDIT_NOTE
        for line in each.lines
        if line.kind is not LineKind.TAX and not (line.kind in OF_USAGE and line.period == late.period.name)
    )
    return micros + _tax(micros, rate)


def _tax(micros: int, rate: Decimal) -> int:
    return half_even(units(micros) * Fraction(rate))


def _sum(changes: Sequence[Change]) -> int:
    return sum(change.amount_micros for change in changes)


def _kept(less: Sequence[Change], most_micros: int) -> Iterator[Change]:
    """The decreases so that they come to *most_micros* together, but for what the wallet has back already;
    without those that nothing is left of."""
    free = [min(max(change.drawn_micros, change.amount_micros), 0) - change.amount_micros for change in less]
    left = most_micros + _sum(less) + sum(free)
    for change, micros in zip(less, free, strict=True):
        share = min(micros, max(left, 0))
        left -= share
        kept = evolve(change, given_micros=micros - share)
        if kept.amount_micros or kept.drawn_micros:
            yield kept
