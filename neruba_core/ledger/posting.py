"""Postings, and the one law they obey: debits equal credits."""

from __future__ import annotations

from collections.abc import Iterable

from neruba_core.ledger.model import Posting


def debit(account: str, micros: int) -> Posting:
    """A posting of *micros* > 0 on the debit side of *account*."""
    return Posting(account, micros)


def credit(account: str, micros: int) -> Posting:
    """A posting of *micros* > 0 on the credit side of *account*."""
    return Posting(account, 0, micros)


def balanced(postings: Iterable[Posting]) -> tuple[Posting, ...]:
    """Return the postings without empty ones, having proved that they balance.

    An imbalance is a defect of ours, never of a request, so it is an ``AssertionError`` that undoes
    the unit of work.
    """
    kept = []
    imbalance = 0
    for posting in postings:
        debit_micros, credit_micros = posting.debit_micros, posting.credit_micros
        if debit_micros < 0 or credit_micros < 0 or (debit_micros and credit_micros):
            raise AssertionError(f"a posting has one side, above zero: {posting}")
        if debit_micros or credit_micros:
            imbalance += debit_micros - credit_micros
            kept.append(posting)
    if imbalance or not kept:
        raise AssertionError(f"debits and credits differ by {imbalance} micro-units: {kept}")
    return tuple(kept)
