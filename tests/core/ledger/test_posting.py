"""The one law of postings: debits equal credits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neruba_core.ledger.model import Posting
from neruba_core.ledger.posting import balanced, credit, debit

micros = st.integers(1, 10**15)


@given(st.lists(micros, min_size=1, max_size=6), st.lists(micros, max_size=6))
def test_what_balances_passes_and_what_does_not_is_our_defect(debits, credits):
    """
    An imbalance undoes the unit of work; there is no request that could cause one.
    """
    postings = [debit(f"a{n}", amount) for n, amount in enumerate(debits)]
    postings += [credit(f"b{n}", amount) for n, amount in enumerate(credits)]
    imbalance = sum(debits) - sum(credits)

    if imbalance:
        with pytest.raises(AssertionError, match=f"differ by {imbalance} micro-units"):
            balanced(postings)
        postings.append(credit("rest", imbalance) if imbalance > 0 else debit("rest", -imbalance))

    assert balanced(postings) == tuple(postings)


def test_empty_postings_are_left_out():
    """
    A grant that repays nothing leaves no trace of it.
    """
    kept = balanced([debit("c", 0), debit("a", 5), credit("d", 0), credit("b", 5), debit("e", 0)])

    assert kept == (Posting("a", 5, 0), Posting("b", 0, 5))


@pytest.mark.parametrize(
    "postings",
    [
        [Posting("a", -5, 0), Posting("b", 0, -5)],
        [Posting("a", 0, -5), Posting("b", 0, 5)],
        [Posting("a", -5, 0), Posting("b", 5, 0)],
        [Posting("a", 5, 5)],
        [Posting("a", 5, 5), Posting("b", 5, 0), Posting("c", 0, 5)],
    ],
    ids=range(5),
)
def test_a_posting_has_one_side_above_zero(postings):
    """
    Else two wrongs could make a balance.
    """
    with pytest.raises(AssertionError, match="one side, above zero"):
        balanced(postings)


@pytest.mark.parametrize("postings", [[], [debit("a", 0)]], ids=range(2))
def test_a_transaction_moves_something(postings):
    """
    One without postings would be a version without a reason.
    """
    with pytest.raises(AssertionError, match="differ by 0"):
        balanced(postings)
