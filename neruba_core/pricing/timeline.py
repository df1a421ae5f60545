"""Which price rules when.

At any instant it is the project's own version in force, else its plan's price, else the catalogue's. A price
of another currency does not apply. What can be added up (``sum``, ``count``) is cut wherever another price
comes into force, and each slice is rated by itself; for the other aggregations the price at the period's
start rules the whole period, so a new one starts with the next.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import groupby, pairwise

from attrs import frozen

from neruba_core.instants import Instant, Period
from neruba_core.pricing import exact
from neruba_core.pricing.model import Price


@frozen
class Slice:
    """The part of a period that *price* rules; without one its usage is unpriced. *share* is its part of
    the whole period."""

    span: Period
    price: Price | None
    share: Fraction


def slices(
    period: Period,
    *,
    own: Sequence[Price],
    planned: Sequence[tuple[Period, Price]],
    shared: Sequence[Price],
    currency: str,
    additive: bool,
) -> tuple[Slice, ...]:
    """Cut *period* where the price of a metric changes; the slices cover it without a gap.

    *own* and *shared* are versions by ascending ``effective_from``; *planned* is when a plan's price holds.
    Where the metric is not *additive*, there is one slice: under the price at the period's start or, if
    there is none, the first that comes into force in the period.
    """
    own = [price for price in own if price.currency == currency]
    planned = [(span, price) for span, price in planned if price.currency == currency]
    shared = [price for price in shared if price.currency == currency]

    def in_force(moment: Instant) -> Price | None:
        return _latest(own, moment) or _of_plan(planned, moment) or _latest(shared, moment)

    changes = {price.effective_from for price in (*own, *shared)}
    changes.update(bound for span, _ in planned for bound in (span.start, span.end))
    inside = sorted(moment for moment in changes if period.start < moment < period.end)
    starts = [period.start, *inside]
    if not additive or not inside:
        ruling = next(filter(None, map(in_force, starts)), None)
        return (Slice(period, ruling, exact.WHOLE),)
    spans = (Period(start, end) for start, end in pairwise([*starts, period.end]))
    return tuple(
        Slice(span, price, exact.share(span, period))
        for span, price in _joined((span, in_force(span.start)) for span in spans)
    )


def _latest(versions: Sequence[Price], moment: Instant) -> Price | None:
    """The last of *versions* to have come into force by *moment*."""
    count = bisect_right(versions, moment, key=lambda price: price.effective_from)
    return versions[count - 1] if count else None


def _of_plan(planned: Iterable[tuple[Period, Price]], moment: Instant) -> Price | None:
    return next((price for span, price in planned if moment in span), None)


def _joined(
    ruled: Iterable[tuple[Period, Price | None]],
) -> Iterator[tuple[Period, Price | None]]:
    """Neighbours under the same price as one span: a change further down the order is none."""
    for _, neighbours in groupby(ruled, key=lambda piece: _identity(piece[1])):
        (first, price), *others = neighbours
        last, _ = others[-1] if others else (first, price)
        yield Period(first.start, last.end), price


def _identity(price: Price | None) -> tuple[str | None, str, int] | None:
    """What tells a price from others; a plan's version is presented anew for each decision."""
    return None if price is None else (price.project_id, price.id, price.version)
