"""A transaction as its readers see it.

A transaction stores which version of this renderer wrote its answer instead of the answer itself, so every
version stays here for ever: a retry a year later gets the same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from neruba_core import instants, money
from neruba_core.idempotency.fingerprint import canonical, quoted

if TYPE_CHECKING:
    from neruba_core.ledger.model import Transaction

RENDER_VERSION = 1
"""Of transactions that are booked now."""

_ZERO = money.text(0)


def render(transaction: Transaction) -> str:
    """The JSON text of a transaction, as ``GET …/transactions/{id}`` shows it."""
    assert transaction.render_version == 1, transaction.render_version
    text = money.text
    amount_micros = transaction.amount_micros
    amount = text(amount_micros)
    entries = ""
    for entry in transaction.entries:
        # One side is zero, and the other most often the whole amount.
        micros = entry.debit_micros or entry.credit_micros
        moved = amount if micros == amount_micros else text(micros)
        debit, credit = (moved, _ZERO) if entry.debit_micros else (_ZERO, moved)
        comma = "," if entries else ""
        entries += f'{comma}{{"account":{quoted(entry.account)},"debit":"{debit}","credit":"{credit}"}}'
    event_id, metadata = transaction.event_id, transaction.metadata
    grant_id, reverses = transaction.grant_id, transaction.reverses
    # Written out by hand: this is the widest text that a charge makes, and half its rendering time.
    return (
        f'{{"id":"{transaction.id}","projectId":"{transaction.project_id}","type":"{transaction.type}",'
        f'"amount":"{amount}","balanceAfter":"{text(transaction.balance_after_micros)}",'
        f'"description":{quoted(transaction.description)},'
        f'"eventId":{"null" if event_id is None else quoted(event_id)},'
        f'"metadata":{"null" if metadata is None else canonical(metadata)},'
        f'"grantId":{"null" if grant_id is None else quoted(grant_id)},'
        f'"reverses":{"null" if reverses is None else quoted(reverses)},'
        f'"entries":[{entries}],"createdAt":"{instants.text(transaction.recorded_at)}"}}'
    )
