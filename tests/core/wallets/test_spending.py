"""Which credit is spent first, and how much of it."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from neruba_core.testing.builders import a_book, a_lot
from neruba_core.testing.clock import NOON
from neruba_core.wallets.model import GrantKind, Lot
from neruba_core.wallets.spending import spending_order, takes

DAY = timedelta(days=1)

remainders = st.integers(0, 10**12)
expiries = st.none() | st.integers(-3, 30).map(lambda days: NOON + days * DAY)


@st.composite
def lots(draw) -> list[Lot]:
    return [
        a_lot(
            draw(remainders),
            number,
            kind=draw(st.sampled_from(GrantKind)),
            priority=draw(st.integers(0, 3)),
            effective_at=NOON - draw(st.integers(0, 3)) * DAY,
            expires_at=draw(expiries),
        )
        for number in range(draw(st.integers(0, 8)))
    ]


@given(lots(), st.integers(0, 10**13))
def test_a_wallet_covers_the_debt_or_runs_dry(wallet, due):
    """
    However credit is sliced, there is no third way.
    """
    taken = list(takes(a_book(wallet).in_spending_order(), due, at=NOON))

    unexpired = [lot for lot in wallet if not lot.expired(NOON)]
    assert sum(micros for _, micros in taken) == min(due, sum(lot.remaining_micros for lot in unexpired))
    assert all(0 < micros <= lot.remaining_micros for lot, micros in taken)
    assert not any(lot.expired(NOON) for lot, _ in taken)


@given(lots(), st.randoms())
def test_the_order_of_reading_makes_no_difference(wallet, random):
    """
    Two stores, two orders of reading, one of spending.
    """
    shuffled = wallet.copy()
    random.shuffle(shuffled)

    assert list(a_book(shuffled).in_spending_order()) == list(a_book(wallet).in_spending_order())


@given(lots(), lots())
def test_what_is_opened_meanwhile_takes_its_place(wallet, opened):
    """
    A grant that is opened, or found empty and given back to, may be the next to be spent.
    """
    book = a_book(wallet)
    list(book.in_spending_order())
    for lot in opened:
        book.want(lot.grant)

    ordered = list(book.in_spending_order())

    assert ordered == sorted(ordered, key=spending_order)
    assert {lot.grant.id for lot in ordered} == {lot.grant.id for lot in [*wallet, *opened]}
    assert set(wallet) <= set(ordered)


@given(lots(), st.integers(0, 10**13))
def test_nothing_is_taken_while_better_credit_is_left(wallet, due):
    """
    Only the last grant that is drawn may keep something.
    """
    taken = list(takes(a_book(wallet).in_spending_order(), due, at=NOON))

    ranks = [spending_order(lot) for lot, _ in taken]
    assert ranks == sorted(ranks)
    assert all(micros == lot.remaining_micros for lot, micros in taken[:-1])


@given(lots())
def test_the_order_is_total(wallet):
    """
    No two grants rank the same.
    """
    ranks = [spending_order(lot) for lot in wallet]

    assert len(set(ranks)) == len(wallet)


def before(one: Lot, other: Lot) -> bool:
    return spending_order(one) < spending_order(other)


def test_priority_comes_first():
    """
    It is what finance says on purpose, so it outweighs everything else.
    """
    urgent = a_lot(1, 2, priority=10, kind=GrantKind.PAID)
    expiring = a_lot(1, 1, priority=11, expires_at=NOON + DAY, effective_at=NOON - DAY)

    assert before(urgent, expiring)


def test_then_what_expires_sooner():
    """
    What never expires can wait for ever, even if it is a gift.
    """
    soon = a_lot(1, 3, expires_at=NOON + DAY, kind=GrantKind.PAID)
    later = a_lot(1, 2, expires_at=NOON + 2 * DAY, effective_at=NOON - DAY)
    never = a_lot(1, 1, effective_at=NOON - 2 * DAY)

    assert before(soon, later)
    assert before(later, never)


def test_then_gifts_before_what_was_paid_for():
    """
    Promotional and goodwill credit are alike in this.
    """
    paid = a_lot(1, 1, kind=GrantKind.PAID, effective_at=NOON - DAY)
    gift = a_lot(1, 2, kind=GrantKind.GOODWILL)
    promotion = a_lot(1, 3, kind=GrantKind.PROMOTIONAL, effective_at=NOON + DAY)

    assert before(gift, paid)
    assert before(promotion, paid)
    assert before(gift, promotion)


def test_then_the_older_and_then_the_lower_id():
    """
    So that the order is the same everywhere.
    """
    older = a_lot(1, 3, effective_at=NOON - DAY)

    assert before(older, a_lot(1, 1))
    assert before(a_lot(1, 1), a_lot(1, 2))


def test_a_grant_that_expires_now_is_gone():
    """
    Periods are half-open.
    """
    now, later = a_lot(5, 1, expires_at=NOON), a_lot(5, 2, expires_at=NOON + timedelta(microseconds=1))

    taken = list(takes([now, later], 10, at=NOON))

    assert taken == [(later, 5)]


def test_nothing_due_takes_nothing():
    """
    And an empty grant gives nothing.
    """
    assert list(takes([a_lot(5)], 0, at=NOON)) == []
    assert [micros for _, micros in takes([a_lot(0), a_lot(5, 2)], 3, at=NOON)] == [3]
