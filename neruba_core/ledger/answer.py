"""A transaction as its readers see it, written once and kept.

The text is rendered when the transaction is booked and stored with it, so that a retry a year later
gets the same bytes whatever this module looks like by then.
"""

from __future__ import annotations

from collections.abc import Sequence

from neruba_core import instants, money
from neruba_core.idempotency.fingerprint import canonical, quoted
from neruba_core.instants import Instant
from neruba_core.ledger.model import Posting, TransactionType
from neruba_core.texts import Properties


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
    entries = ",".join(
        [
            f'{{"account":{quoted(posting.account)},'
            f'"debit":"{text(posting.debit_micros)}","credit":"{text(posting.credit_micros)}"}}'
            for posting in postings
        ]
    )
    # Written out by hand: this is the widest text that a charge makes, and half its rendering time.
    return (
        f'{{"id":"{transaction_id}","projectId":"{project_id}","type":"{type.value}",'
        f'"amount":"{text(amount_micros)}","balanceAfter":"{text(balance_after_micros)}",'
        f'"description":{quoted(description)},"eventId":{canonical(event_id)},"metadata":{canonical(metadata)},'
        f'"grantId":{canonical(grant_id)},"reverses":{canonical(reverses)},'
        f'"entries":[{entries}],"createdAt":"{instants.text(at)}"}}'
    )
