"""A transaction as its readers see it, written once and kept.

The text is rendered when the transaction is booked and stored with it, so that a retry a year later
gets the same bytes whatever this module looks like by then.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from neruba_core import instants, money
from neruba_core.instants import Instant
from neruba_core.ledger.model import Posting, TransactionType
from neruba_core.texts import Properties

_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def render(
    *,
    project_id: str,
    transaction_id: str,
    type: TransactionType,
    amount_micros: int,
    balance_after_micros: int,
    description: str,
    event_id: str | None,
    metadata: Properties | None,
    grant_id: str | None,
    reverses: str | None,
    postings: Sequence[Posting],
    at: Instant,
) -> str:
    """The JSON text of a transaction, as ``GET …/transactions/{id}`` shows it."""
    text = money.text
    return _dumps(
        {
            "id": transaction_id,
            "projectId": project_id,
            "type": type.value,
            "amount": text(amount_micros),
            "balanceAfter": text(balance_after_micros),
            "description": description,
            "eventId": event_id,
            "metadata": None if metadata is None else dict(metadata),
            "grantId": grant_id,
            "reverses": reverses,
            "entries": [
                {"account": p.account, "debit": text(p.debit_micros), "credit": text(p.credit_micros)}
                for p in postings
            ],
            "createdAt": instants.text(at),
        }
    )
