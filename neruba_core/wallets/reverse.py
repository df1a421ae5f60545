"""Reversing a transaction, whole or in part.

Only credits, debits and charges can be reversed, together at most by their amount. The correction is
a new transaction, linked to the original; the original is never touched.
"""

from __future__ import annotations

from attrs import frozen

from neruba_core import money, texts
from neruba_core.errors import NotReversible, ReversalExceedsOriginal, TransactionNotFound
from neruba_core.ids import Ids
from neruba_core.instants import Instant
from neruba_core.ledger.model import TransactionType
from neruba_core.money import Amount
from neruba_core.wallets.book import Book, Decision
from neruba_core.wallets.credit import claw_back
from neruba_core.wallets.spend import give_back

_REVERSIBLE = {TransactionType.CREDIT, TransactionType.DEBIT, TransactionType.CHARGE}


@frozen
class NewReversal:
    """A reversal as it was asked for; without an amount it takes all that is left."""

    transaction_id: str
    reason: str
    idempotency_key: str
    amount_micros: int | None = None

    @classmethod
    def of(
        cls, *, transaction_id: str, reason: str, idempotency_key: str, amount: Amount | None = None
    ) -> NewReversal:
        """Check an embedder's values; raises ``Invalid`` refusals and ``KeyInvalid``."""
        return cls(
            transaction_id=transaction_id,
            reason=texts.clean(reason),
            idempotency_key=texts.idempotency_key(idempotency_key),
            amount_micros=None if amount is None else money.parse_positive(amount),
        )


def decide_reversal(
    book: Book, new: NewReversal, *, at: Instant, ids: Ids
) -> Decision | NotReversible | ReversalExceedsOriginal | TransactionNotFound:
    """Claw a credit back, or give a charge or debit back."""
    original = book.originals.get(new.transaction_id)
    if original is None:
        return TransactionNotFound(new.transaction_id)
    kind = original.transaction.type
    if kind not in _REVERSIBLE:
        return NotReversible(new.transaction_id, kind.value)
    micros = original.left_micros if new.amount_micros is None else new.amount_micros
    if micros == 0 or micros > original.left_micros:
        return ReversalExceedsOriginal(new.transaction_id, money.text(original.left_micros))
    if kind is TransactionType.CREDIT:
        return claw_back(book, original, micros, new.reason, at=at, ids=ids)
    source = book.chart.charges if kind is TransactionType.CHARGE else book.chart.adjustments
    return give_back(book, original, micros, new.reason, source=source, at=at, ids=ids)
