"""A wallet as its readers see it, now or as of any instant.

What is expired stops counting at its instant, whether or not its expiry is posted yet; so do holds. As of
an earlier instant, balances are re-derived from the entries effective until then, and what was held from the
holds; the credit limit is a setting and always today's.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Protocol

from attrs import evolve, frozen

from neruba_core import instants, money
from neruba_core.idempotency.fingerprint import canonical
from neruba_core.instants import Instant
from neruba_core.ledger.chart import OVERDRAFT
from neruba_core.ledger.store import HasLedger
from neruba_core.tenancy.model import Project
from neruba_core.wallets.model import GrantKind, Hold, Lot, scoped_micros
from neruba_core.wallets.spending import spending_order
from neruba_core.wallets.store import HasWallets


class WalletWork(HasLedger, HasWallets, Protocol):
    """What reading a wallet needs of a unit of work."""


@frozen
class GrantView:
    """A grant that can still be spent; where there are *metric_keys*, on usage of these only."""

    id: str
    kind: GrantKind
    priority: int
    amount_micros: int
    remaining_micros: int
    expires_at: Instant | None
    metric_keys: tuple[str, ...] = ()

    @property
    def amount(self) -> Decimal:
        """What was granted, in units of the currency."""
        return money.decimal(self.amount_micros)

    @property
    def remaining(self) -> Decimal:
        """What can still be spent, in units of the currency."""
        return money.decimal(self.remaining_micros)


@frozen
class WalletView:
    """What a project can spend. Amounts come as micro-units and as ``Decimal``."""

    currency: str
    as_of: Instant
    balance_micros: int
    held_micros: int
    available_micros: int
    credit_limit_micros: int
    grants: tuple[GrantView, ...]

    @property
    def balance(self) -> Decimal:
        """What counts of the grants, less the overdraft, in units of the currency."""
        return money.decimal(self.balance_micros)

    @property
    def held(self) -> Decimal:
        """What is reserved, in units of the currency."""
        return money.decimal(self.held_micros)

    @property
    def available(self) -> Decimal:
        """What a charge may come to at most, in units of the currency; without credit that pays for some
        metrics only."""
        return money.decimal(self.available_micros)

    @property
    def credit_limit(self) -> Decimal:
        """How far the balance may go below zero, in units of the currency."""
        return money.decimal(self.credit_limit_micros)


def wallet(
    work: WalletWork,
    project: Project,
    *,
    at: Instant,
    as_of: Instant | None = None,
    known_at: Instant | None = None,
) -> WalletView:
    """The wallet of *project* at *at*, or as of an earlier instant as it was known at *known_at*."""
    if as_of is None and known_at is None:
        head = work.ledger.head(project.id)
        assert head is not None, "every project has a head"
        lots = {lot.grant.id: lot for lot in work.wallets.open_lots([project.id])}
        held = head.held_micros
        if held and head.due_at is not None and head.due_at <= at:
            for hold in work.wallets.holds_expired([project.id], at):
                held -= hold.amount_micros
                _shift(lots, hold, -1)
        return viewed(project, lots.values(), head.overdraft_micros, held, at)
    moment = min(as_of or at, known_at or at)
    balances = work.ledger.balances(project.id, as_of=as_of, known_at=known_at)
    lots = {
        grant.id: Lot(grant, -balances.get(grant.account, 0)) for grant in work.wallets.grants_of(project.id)
    }
    holds = work.wallets.holds_at(project.id, moment)
    for hold in holds:
        _shift(lots, hold, 1)
    held = sum(hold.amount_micros for hold in holds)
    return viewed(project, lots.values(), balances.get(OVERDRAFT, 0), held, as_of or at)


def _shift(lots: dict[str, Lot], hold: Hold, sign: int) -> None:
    for draw in hold.draws:
        lot = lots[draw.grant_id]
        lots[draw.grant_id] = evolve(lot, held_micros=lot.held_micros + sign * draw.micros)


def viewed(project: Project, lots: Iterable[Lot], overdraft: int, held: int, at: Instant) -> WalletView:
    """The wallet that these *lots* make, less the *overdraft*."""
    open_lots = [lot for lot in lots if lot.remaining_micros]
    spendable = sorted((lot for lot in open_lots if not lot.expired(at)), key=spending_order)
    balance = sum(lot.counted_micros(at) for lot in open_lots) - overdraft
    common = balance - scoped_micros(open_lots, at)
    return WalletView(
        currency=project.currency,
        as_of=at,
        balance_micros=balance,
        held_micros=held,
        available_micros=common - held + project.credit_limit_micros,
        credit_limit_micros=project.credit_limit_micros,
        grants=tuple(
            GrantView(
                lot.grant.id,
                lot.grant.kind,
                lot.grant.priority,
                lot.grant.amount_micros,
                lot.remaining_micros,
                lot.grant.expires_at,
                lot.grant.metric_keys,
            )
            for lot in spendable
        ),
    )


def render_low(view: WalletView, threshold_micros: int | None) -> str:
    """The JSON text of a wallet in which less than the threshold is available, as its route shows it."""
    text = money.text
    return canonical(
        {
            "currency": view.currency,
            "asOf": instants.text(view.as_of),
            "balance": text(view.balance_micros),
            "held": text(view.held_micros),
            "available": text(view.available_micros),
            "creditLimit": text(view.credit_limit_micros),
            "grants": [
                {
                    "id": grant.id,
                    "kind": grant.kind.value,
                    "priority": grant.priority,
                    "amount": text(grant.amount_micros),
                    "remaining": text(grant.remaining_micros),
                    "expiresAt": None if grant.expires_at is None else instants.text(grant.expires_at),
                    "metricKeys": list(grant.metric_keys) or None,
                }
                for grant in view.grants
            ],
            "threshold": None if threshold_micros is None else text(threshold_micros),
        }
    )
