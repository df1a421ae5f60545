"""A transaction as its readers see it, written once and kept.

The text is rendered when the transaction is booked and stored with it, so that a retry a year later
gets the same bytes whatever this module looks like by then.
"""

from __future__ import annotations

from collections.abc import Sequence

from neruba_core import money
from neruba_core.idempotency.fingerprint import canonical, quoted
from neruba_core.ledger.model import Posting, TransactionType
from neruba_core.texts import Properties

_ZERO = money.text(0)


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
    created: str,
) -> str:
    """The JSON text of a transaction, as ``GET …/transactions/{id}`` shows it; *created* is text."""
    text = money.text
    amount = text(amount_micros)
    entries = ""
    for posting in postings:
        # One side is zero, and the other most often the whole amount.
        micros = posting.debit_micros or posting.credit_micros
        moved = amount if micros == amount_micros else text(micros)
        debit, credit = (moved, _ZERO) if posting.debit_micros else (_ZERO, moved)
        comma = "," if entries else ""
        entries += f'{comma}{{"account":{quoted(posting.account)},"debit":"{debit}","credit":"{credit}"}}'
    # Written out by hand: this is the widest text that a charge makes, and half its rendering time.
    return (
        f'{{"id":"{transaction_id}","projectId":"{project_id}","type":"{type}",'
        f'"amount":"{amount}","balanceAfter":"{text(balance_after_micros)}",'
        f'"description":{quoted(description)},"eventId":{"null" if event_id is None else quoted(event_id)},'
        f'"metadata":{"null" if metadata is None else canonical(metadata)},'
        f'"grantId":{"null" if grant_id is None else quoted(grant_id)},'
        f'"reverses":{"null" if reverses is None else quoted(reverses)},'
        f'"entries":[{entries}],"createdAt":"{created}"}}'
    )
