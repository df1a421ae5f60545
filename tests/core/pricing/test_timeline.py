"""Which price rules when."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from neruba_core.instants import Instant, Period
from neruba_core.pricing.model import Price, Tariff, Unit
from neruba_core.pricing.timeline import Slice, slices


def day(number: int) -> Instant:
    """A day of March, or of April from 32 on."""
    return datetime(2026, 3 + number // 32, number % 32 + number // 32, tzinfo=UTC)


MARCH = Period(day(1), day(32))


def price(
    name: str, start: Instant, *, currency: str = "USD", project_id: str | None = "prj_a", version: int = 1
) -> Price:
    tariff = Tariff(Unit(Decimal(1)))
    return Price(project_id, name, "api_tokens", version, currency, tariff, start, start, "user:usr_a")


def cut(
    *own: Price,
    planned: tuple[tuple[Period, Price], ...] = (),
    shared: tuple[Price, ...] = (),
    additive: bool = True,
) -> tuple[Slice, ...]:
    return slices(MARCH, own=own, planned=planned, shared=shared, currency="USD", additive=additive)


def names(cut: tuple[Slice, ...]) -> list[tuple[int, str | None]]:
    """The day that each slice starts on, and the price that rules it."""
    return [(piece.span.start.day, piece.price.id if piece.price else None) for piece in cut]


def test_without_a_price_the_period_is_unpriced():
    """
    One slice, and no price for it.
    """
    assert cut() == (Slice(MARCH, None, Fraction(1)),)


def test_a_later_version_supersedes_from_its_instant_on():
    """
    What came into force before the period rules its beginning.
    """
    pieces = cut(
        price("old", datetime(2026, 1, 1, tzinfo=UTC)), price("new", day(11)), price("next", day(32))
    )

    assert names(pieces) == [(1, "old"), (11, "new")]
    assert [piece.share for piece in pieces] == [Fraction(10, 31), Fraction(21, 31)]


def test_a_version_from_the_periods_start_rules_all_of_it():
    """
    Periods are half-open: what begins at the start has begun.
    """
    assert names(cut(price("old", day(1)), price("new", day(1)))) == [(1, "new")]
    assert names(cut(price("old", datetime(2026, 1, 1, tzinfo=UTC)), price("new", day(1)))) == [(1, "new")]


def test_the_time_before_the_first_price_is_a_slice_without_one():
    """
    Its usage is unpriced, and shows as such.
    """
    assert names(cut(price("first", day(8)))) == [(1, None), (8, "first")]


def test_own_prices_come_before_the_plans_and_those_before_the_catalogues():
    """
    At each instant anew: a plan that ends leaves the catalogue's price.
    """
    pieces = cut(
        price("own", day(21)),
        planned=(
            (Period(day(6), day(11)), price("plan", day(1), project_id=None)),
            (Period(day(16), day(32)), price("other plan", day(1), project_id=None)),
        ),
        shared=(price("shared", day(1), project_id=None),),
    )

    assert names(pieces) == [(1, "shared"), (6, "plan"), (11, "shared"), (16, "other plan"), (21, "own")]


def test_a_change_that_does_not_rule_cuts_nothing():
    """
    A new catalogue price under a price of the project's own, or the same plan with other seats.
    """
    plan = price("plan", day(1), project_id=None)
    under = cut(price("own", day(1)), shared=(price("shared", day(9), project_id=None),))
    seats = cut(planned=((Period(day(1), day(9)), plan), (Period(day(9), day(32)), plan)))

    assert names(under) == [(1, "own")]
    assert names(seats) == [(1, "plan")]
    assert seats[0].share == 1


def test_another_version_of_a_plan_is_another_price():
    """
    Even under the same id.
    """
    pieces = cut(
        planned=(
            (Period(day(1), day(9)), price("plan", day(1), project_id=None, version=1)),
            (Period(day(9), day(32)), price("plan", day(1), project_id=None, version=2)),
        )
    )

    assert [piece.price.version for piece in pieces if piece.price] == [1, 2]


def test_prices_of_another_currency_do_not_apply():
    """
    Wherever they come from.
    """
    pieces = cut(
        price("own", day(1), currency="EUR"),
        planned=((MARCH, price("plan", day(1), currency="EUR")),),
        shared=(price("euro", day(3), currency="EUR"), price("dollar", day(5))),
    )

    assert names(pieces) == [(1, None), (5, "dollar")]


def test_what_cannot_be_added_up_has_one_price_a_period():
    """
    The one at its start; a new one starts with the next period.
    """
    pieces = cut(price("old", day(1)), price("new", day(11)), additive=False)

    assert pieces == (Slice(MARCH, price("old", day(1)), Fraction(1)),)


def test_the_first_price_ever_rules_what_cannot_be_added_up_at_once():
    """
    Or a gauge would be free in the month it was priced in.
    """
    pieces = cut(price("first", day(11)), price("second", day(20)), additive=False)

    assert names(pieces) == [(1, "first")]
    assert cut(additive=False) == (Slice(MARCH, None, Fraction(1)),)


spans = st.tuples(st.integers(1, 32), st.integers(1, 32)).map(sorted).filter(lambda span: span[0] < span[1])


@given(st.sets(st.integers(1, 32)), st.lists(spans, max_size=3), st.sets(st.integers(1, 32)))
def test_the_slices_cover_the_period_without_a_gap(own, planned, shared):
    """
    Neighbours share a bound and differ in price, and the shares add up to one.
    """
    pieces = cut(
        *(price(f"own{number}", day(number)) for number in sorted(own)),
        planned=tuple(
            (Period(day(start), day(end)), price(f"plan{start}", day(start))) for start, end in planned
        ),
        shared=tuple(price(f"shared{number}", day(number)) for number in sorted(shared)),
    )

    assert pieces[0].span.start == MARCH.start
    assert pieces[-1].span.end == MARCH.end
    assert sum(piece.share for piece in pieces) == 1
    for one, other in pairwise(pieces):
        assert one.span.end == other.span.start
        assert one.price != other.price
