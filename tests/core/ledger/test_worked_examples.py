"""The worked examples of the ledger's concept page, as far as nothing but credit and charges is needed."""

from __future__ import annotations

import pytest

from neruba_core import money
from neruba_core.errors import InsufficientCredit, ReversalExceedsOriginal
from neruba_core.testing.builders import Rehearsal
from neruba_core.testing.clock import NOON
from tests.core.ledger.stage import Books


@pytest.fixture
def books(billing: Rehearsal) -> Books:
    return Books(billing)


def test_a_charge_is_reversed_in_parts_and_no_further(books):
    """
    Limit 0; credit 100, charge 12.5; reverse 5, 7.5, 0.000001: balance 92.5, 100, refused.
    """
    books.credit("100")
    charge = books.charge("12.5")

    balances = [books.reverse(charge, part) and books.balance for part in ("5", "7.5")]
    with pytest.raises(ReversalExceedsOriginal) as refused:
        books.reverse(charge, "0.000001")

    assert balances == ["92.500000", "100.000000"]
    assert refused.value.left == "0.000000"


def test_the_grant_that_would_be_missed_least_is_spent_first(books):
    """
    G1 promotional 30, expires tomorrow; G2 paid 100; G3 goodwill 20, priority 10; charge 60.
    """
    g1 = books.credit("30", expires_at=books.in_days(1))
    g2 = books.credit("100", kind="paid")
    g3 = books.credit("20", kind="goodwill", priority=10)

    charge = books.charge("60")

    assert books.draws(charge) == [(g3, "20.000000"), (g1, "30.000000"), (g2, "10.000000")]
    assert books.remaining == {g2: "90.000000"}


def test_new_credit_repays_the_overdraft_first(books):
    """
    Limit 1000, no grant, charge 800: balance −800, available 200; credit 100: −700, nothing left of it.
    """
    books.limit("1000")
    books.charge("800")
    after_charge = (books.balance, books.available)

    books.credit("100")

    assert after_charge == ("-800.000000", "200.000000")
    assert (books.balance, books.available) == ("-700.000000", "300.000000")
    assert books.accounts["overdraft"] == money.parse("700")
    assert books.remaining == {}
    with pytest.raises(InsufficientCredit) as refused:
        books.charge("300.000001")
    assert refused.value.available == "300.000000"


def test_a_credit_that_was_spent_is_clawed_back_beyond_the_limit(books):
    """
    Credit 100, charge 60, reverse the credit: nothing left, overdraft 60, although the limit is 0.
    """
    credit = books.credit_transaction("100")
    books.charge("60")

    books.reverse(credit)

    assert books.remaining == {}
    assert books.accounts["overdraft"] == money.parse("60")
    assert (books.balance, books.available) == ("-60.000000", "-60.000000")


def test_an_expired_share_comes_back_with_the_lifetime_that_it_had_left(books):
    """
    Promotional 50, expires on day 10; charge 50 on day 4; reverse on day 12: a new 50 until day 18.
    """
    first = books.credit("50", expires_at=books.in_days(10))
    books.day(4)
    charge = books.charge("50")
    books.day(12)

    books.reverse(charge)

    (grant,) = books.wallet.grants
    assert grant.id != first
    assert (grant.kind, grant.remaining_micros) == ("promotional", money.parse("50"))
    assert grant.expires_at == books.in_days(18)
    assert grant.expires_at > NOON


def test_expired_credit_cannot_be_spent(books):
    """
    Whether or not its expiry is posted yet: it stops counting at its instant.
    """
    books.credit("30", expires_at=books.in_days(1))
    books.credit("5")
    before = books.balance

    books.day(1)

    assert (before, books.balance) == ("35.000000", "5.000000")
    with pytest.raises(InsufficientCredit) as refused:
        books.charge("5.000001")
    assert refused.value.available == "5.000000"
    assert books.sweep.balanced


def test_credit_that_paid_an_overdraft_comes_back_as_goodwill(books):
    """
    Limit 10, charge 10, credit 10, reverse the charge: its overdraft is repaid already, by that credit.
    """
    books.limit("10")
    charge = books.charge("10")
    books.credit("10", kind="paid", expires_at=books.in_days(1))

    books.reverse(charge)

    (grant,) = books.wallet.grants
    assert (grant.kind, grant.expires_at, grant.remaining_micros) == ("goodwill", None, money.parse("10"))


def test_a_clawed_back_credit_takes_its_own_remainder_then_other_grants(books):
    """
    In spending order, before anything is owed.
    """
    kept = books.credit("10")
    credit = books.credit_transaction("100", priority=1)
    books.charge("95")

    books.reverse(credit)

    assert books.remaining == {}
    assert books.accounts == {
        "overdraft": money.parse("85"),
        "promotions": money.parse("10"),
        "revenue:charges": -money.parse("95"),
    }
    assert kept


def test_the_expired_rest_of_a_credit_is_clawed_back_too(books):
    """
    It is the very credit that was never due, so nothing is owed for it.
    """
    credit = books.credit_transaction("100", expires_at=books.in_days(1))
    books.charge("30")
    books.day(2)

    books.reverse(credit)

    assert books.accounts["overdraft"] == money.parse("30")
    assert books.sweep.balanced


def test_a_debit_is_an_adjustment_within_the_limit(books):
    """
    Like a charge, towards another account, and reversed out of that.
    """
    books.credit("10")
    debit = books.debit("4")
    with pytest.raises(InsufficientCredit):
        books.debit("6.000001")

    in_between = books.accounts["adjustments"]
    books.reverse(debit)

    assert in_between == -money.parse("4")
    assert "adjustments" not in books.accounts
    assert books.balance == "10.000000"
