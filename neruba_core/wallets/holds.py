"""Holding credit for a charge that is not known in full yet.

A hold reserves credit of certain grants, in spending order, and what they do not cover against the credit
limit. Nothing is posted: what is held stays in the balance and leaves what is available. Its capture charges
what was really spent, at most what is held, and frees the rest; it never fails for lack of credit, even where
a grant has expired meanwhile. A hold that is neither captured nor released in time frees itself: it counts no
more from that instant on, and is marked by the schedule or by the next command that does something.
"""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal

from attrs import frozen

from neruba_core import instants, money, texts
from neruba_core.errors import (
    ExpiryPassed,
    HoldClosed,
    HoldExceeded,
    HoldNotFound,
    InsufficientCredit,
)
from neruba_core.idempotency.fingerprint import canonical, quoted
from neruba_core.ids import Ids
from neruba_core.instants import Instant, utc
from neruba_core.ledger.chart import OVERDRAFT, WALLET
from neruba_core.ledger.model import TransactionType
from neruba_core.ledger.posting import balanced, credit, debit
from neruba_core.money import Amount
from neruba_core.wallets.book import Book, Decision
from neruba_core.wallets.model import Draw, Hold, HoldState
from neruba_core.wallets.spending import takes

LIFETIME = timedelta(hours=1)
"""How long credit is held where nothing else is said."""


@frozen
class NewHold:
    """A hold as it was asked for; ``None`` means that the field was left out."""

    amount_micros: int
    description: str
    idempotency_key: str
    expires_at: Instant | None = None
    event_id: str | None = None

    @classmethod
    def of(
        cls,
        *,
        amount: Amount,
        description: str,
        idempotency_key: str,
        expires_at: Instant | None = None,
        event_id: str | None = None,
    ) -> NewHold:
        """Check an embedder's values; raises ``Invalid`` refusals and ``KeyInvalid``."""
        return cls(
            amount_micros=money.parse_positive(amount),
            description=texts.clean(description),
            idempotency_key=texts.idempotency_key(idempotency_key),
            expires_at=None if expires_at is None else utc(expires_at),
            event_id=None if event_id is None else texts.event_id(event_id),
        )


@frozen
class NewCapture:
    """A capture as it was asked for; without an amount it takes all that is held."""

    hold_id: str
    idempotency_key: str
    amount_micros: int | None = None

    @classmethod
    def of(cls, *, hold_id: str, idempotency_key: str, amount: Amount | None = None) -> NewCapture:
        """Check an embedder's values; raises ``Invalid`` refusals and ``KeyInvalid``."""
        return cls(
            hold_id=hold_id,
            idempotency_key=texts.idempotency_key(idempotency_key),
            amount_micros=None if amount is None else money.parse_positive(amount),
        )


@frozen
class NewRelease:
    """A release as it was asked for."""

    hold_id: str
    idempotency_key: str

    @classmethod
    def of(cls, *, hold_id: str, idempotency_key: str) -> NewRelease:
        """Check an embedder's values; raises ``KeyInvalid``."""
        return cls(hold_id, texts.idempotency_key(idempotency_key))


@frozen
class HoldAnswer:
    """A hold as a command left it, or as it is: with what was available then, and the text that tells it."""

    hold: Hold
    available_micros: int
    body: str

    @property
    def id(self) -> str:
        """The hold's id."""
        return self.hold.id

    @property
    def available(self) -> Decimal:
        """What a charge could come to at most, in units of the currency."""
        return money.decimal(self.available_micros)

    @classmethod
    def kept(cls, hold: Hold, body: str) -> HoldAnswer:
        """The answer of the text *body*, which the hold's command was given."""
        return cls(hold, int(Decimal(json.loads(body)["available"]).scaleb(money.PLACES)), body)


def decide_hold(
    book: Book, new: NewHold, *, at: Instant, ids: Ids
) -> Hold | ExpiryPassed | InsufficientCredit:
    """Reserve the amount, or refuse it as a charge would be."""
    expires_at = at + LIFETIME if new.expires_at is None else new.expires_at
    if expires_at <= at:
        return ExpiryPassed(instants.text(expires_at))
    available = book.available_micros(at)
    if new.amount_micros > available:
        return InsufficientCredit(money.text(available))
    return Hold(
        project_id=book.project.id,
        id=ids.new("hld"),
        amount_micros=new.amount_micros,
        description=new.description,
        event_id=new.event_id or new.idempotency_key,
        idempotency_key=new.idempotency_key,
        draws=tuple(
            Draw(lot.grant.id, micros)
            for lot, micros in takes(book.in_spending_order(), new.amount_micros, at=at)
        ),
        expires_at=expires_at,
        created_at=at,
    )


def decide_capture(
    book: Book, new: NewCapture, *, at: Instant, ids: Ids
) -> Decision | HoldClosed | HoldExceeded | HoldNotFound:
    """Charge what was spent: the grants of the hold in their order, then, as far as the hold stood against
    the credit limit, other credit that is free, then the overdraft."""
    hold = _open(book, new.hold_id, at)
    if not isinstance(hold, Hold):
        return hold
    micros = hold.amount_micros if new.amount_micros is None else new.amount_micros
    if micros > hold.amount_micros:
        return HoldExceeded(hold.id, money.text(hold.amount_micros))
    transaction_id = ids.new("txn")
    drawn: dict[str, int] = {}
    missing = micros
    for draw in hold.draws:
        share = min(draw.micros, missing)
        if share:
            drawn[f"{WALLET}:{draw.grant_id}"] = share
            missing -= share
    for lot, taken in takes(book.in_spending_order(), missing, at=at):
        account = lot.grant.account
        drawn[account] = drawn.get(account, 0) + taken
        missing -= taken
    postings = [debit(account, share) for account, share in drawn.items()]
    if missing:
        postings.append(debit(OVERDRAFT, missing))
    return Decision(
        transaction_id=transaction_id,
        type=TransactionType.CHARGE,
        amount_micros=micros,
        description=hold.description,
        postings=balanced((*postings, credit(book.chart.charges, micros))),
        metadata={"holdId": hold.id},
        closes=hold.closed(HoldState.CAPTURED, at=at, captured_micros=micros, transaction_id=transaction_id),
    )


def decide_release(book: Book, new: NewRelease, *, at: Instant) -> Hold | HoldClosed | HoldNotFound:
    """Free all that is held; the hold as it is then."""
    hold = _open(book, new.hold_id, at)
    return hold.closed(HoldState.RELEASED, at=at) if isinstance(hold, Hold) else hold


def render(hold: Hold, *, available_micros: int, at: Instant) -> str:
    """The JSON text of a hold, as ``GET /ingest/holds/{id}`` shows it."""
    text = money.text
    return (
        f'{{"id":"{hold.id}","projectId":"{hold.project_id}","amount":"{text(hold.amount_micros)}",'
        f'"captured":"{text(hold.captured_micros)}","state":"{hold.at(at).state.value}",'
        f'"description":{quoted(hold.description)},"eventId":{quoted(hold.event_id)},'
        f'"expiresAt":"{instants.text(hold.expires_at)}","available":"{text(available_micros)}",'
        f'"transactionId":{canonical(hold.transaction_id)},"createdAt":"{instants.text(hold.created_at)}"}}'
    )


def _open(book: Book, hold_id: str, at: Instant) -> Hold | HoldClosed | HoldNotFound:
    hold = book.holds.get(hold_id)
    if hold is None:
        return HoldNotFound(hold_id)
    state = hold.at(at).state
    return hold if state is HoldState.HELD else HoldClosed(hold_id, state.value)
