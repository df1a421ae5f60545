"""Postings, and the one law they obey: debits equal credits."""

from __future__ import annotations

from collections.abc import Iterable

from neruba_core.ledger.model import Posting


def debit(account: str, micros: int) -> Posting:
    """A posting of *micros* > 0 on the debit side of *account*."""
    return Posting(account, debit_micros=micros)


def credit(account: str, micros: int) -> Posting:
    """A posting of *micros* > 0 on the credit side of *account*."""
    return Posting(account, credit_micros=micros)


def balanced(postings: Iterable[Posting]) -> tuple[Posting, ...]:
    """Return the postings without empty ones, having proved that they balance.

    An imbalance is a defect of ours, never of a request, so it is an ``AssertionError`` that undoes
    the unit of work.
    """
    kept = tuple(posting for posting in postings if posting.debit_micros or posting.credit_micros)
    imbalance = 0
    for posting in kept:
        if (
            posting.debit_micros < 0
            or posting.credit_micros < 0
            or (posting.debit_micros and posting.credit_micros)
        ):
            raise AssertionError(f"a posting has one side, above zero: {posting}")
        imbalance += posting.debit_micros - posting.credit_micros
    if imbalance or not kept:
        raise AssertionError(f"debits and credits differ by {imbalance} micro-units: {kept}")
    return kept
