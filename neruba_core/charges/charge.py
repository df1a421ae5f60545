"""Charging a wallet in real time.

A charge draws the wallet's grants in spending order, then the overdraft up to the project's credit
limit, towards ``revenue:charges``; beyond that it is refused and the refusal is kept for its key. The
event id, which defaults to the idempotency key, keeps one business event from being charged twice
under two keys.
"""

from __future__ import annotations

from attrs import field

from neruba_core import money, texts
from neruba_core.audit.model import Origin
from neruba_core.brief import brief
from neruba_core.errors import ChargeConflict, NerubaError
from neruba_core.idempotency.fingerprint import canonical, quoted
from neruba_core.ids import Ids
from neruba_core.instants import Instant
from neruba_core.ledger.model import Transaction, TransactionType
from neruba_core.money import Amount
from neruba_core.texts import Properties
from neruba_core.wallets.book import Book, Decision
from neruba_core.wallets.orders import Kind, Order
from neruba_core.wallets.spend import spend

OPERATION = "charge"
PATH = "/ingest/charge"


@brief
class NewCharge:
    """A charge as it was sent; ``None`` means that the field was left out."""

    amount_micros: int
    description: str
    idempotency_key: str
    event_id: str | None = None
    metadata: Properties | None = field(default=None, hash=False)

    @classmethod
    def of(
        cls,
        *,
        amount: Amount,
        description: str,
        idempotency_key: str,
        event_id: str | None = None,
        metadata: Properties | None = None,
    ) -> NewCharge:
        """Check an embedder's values; raises ``Invalid`` refusals and ``KeyInvalid``."""
        return cls(
            amount_micros=money.parse_positive(amount),
            description=texts.clean(description),
            idempotency_key=texts.idempotency_key(idempotency_key),
            event_id=None if event_id is None else texts.event_id(event_id),
            metadata=None if metadata is None else texts.properties(metadata),
        )


def charge_order(project_id: str, new: NewCharge, origin: Origin) -> Order[Transaction]:
    """The order that settles *new* against the project's wallet."""
    key = new.idempotency_key
    return Order(_CHARGES, project_id, PATH, new, key, origin, new.event_id, new.event_id or key)


def _decide(new: NewCharge, book: Book, at: Instant, ids: Ids) -> Decision | NerubaError:
    return spend(
        book,
        new.amount_micros,
        towards=book.chart.charges,
        type=TransactionType.CHARGE,
        description=new.description,
        metadata=new.metadata,
        at=at,
        ids=ids,
    )


def _body(new: NewCharge, event_id: str | None) -> str:
    """The canonical body, written out by hand: charges are fingerprinted by the hundred."""
    event = "" if event_id is None else f',"eventId":{quoted(event_id)}'
    metadata = "" if new.metadata is None else f',"metadata":{canonical(new.metadata)}'
    amount, description = money.text(new.amount_micros), quoted(new.description)
    return f'{{"amount":"{amount}","description":{description}{event}{metadata}}}'


_CHARGES: Kind[Transaction] = Kind(
    OPERATION, _body, _decide, counted=True, keeps_refusal=True, conflict=ChargeConflict
)
