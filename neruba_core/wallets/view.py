"""A wallet as its readers see it, now or as of any instant.

What is expired stops counting at its instant, whether or not its expiry is posted yet. As of an
earlier instant, balances are re-derived from the entries effective until then; the credit limit is a
setting and always today's.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Protocol

from attrs import frozen

from neruba_core import money
from neruba_core.instants import Instant
from neruba_core.ledger.chart import OVERDRAFT
from neruba_core.ledger.store import HasLedger
from neruba_core.tenancy.model import Project
from neruba_core.wallets.model import GrantKind, Lot
from neruba_core.wallets.spending import spending_order
from neruba_core.wallets.store import HasWallets


class WalletWork(HasLedger, HasWallets, Protocol):
    """What reading a wallet needs of a unit of work."""


@frozen
class GrantView:
    """A grant that can still be spent."""

    id: str
    kind: GrantKind
    priority: int
    amount_micros: int
    remaining_micros: int
    expires_at: Instant | None

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
        """Unexpired credit less the overdraft, in units of the currency."""
        return money.decimal(self.balance_micros)

    @property
    def held(self) -> Decimal:
        """What is reserved, in units of the currency."""
        return money.decimal(self.held_micros)

    @property
    def available(self) -> Decimal:
        """What a charge may come to at most, in units of the currency."""
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
        return _view(
            project, work.wallets.open_lots([project.id]), head.overdraft_micros, head.held_micros, at
        )
    balances = work.ledger.balances(project.id, as_of=as_of, known_at=known_at)
    lots = [Lot(grant, -balances.get(grant.account, 0)) for grant in work.wallets.grants_of(project.id)]
    return _view(project, lots, balances.get(OVERDRAFT, 0), 0, as_of or at)


def _view(project: Project, lots: Iterable[Lot], overdraft: int, held: int, at: Instant) -> WalletView:
    spendable = sorted(
        (lot for lot in lots if lot.remaining_micros and not lot.expired(at)), key=spending_order
    )
    balance = sum(lot.remaining_micros for lot in spendable) - overdraft
    return WalletView(
        currency=project.currency,
        as_of=at,
        balance_micros=balance,
        held_micros=held,
        available_micros=balance - held + project.credit_limit_micros,
        credit_limit_micros=project.credit_limit_micros,
        grants=tuple(
            GrantView(
                lot.grant.id,
                lot.grant.kind,
                lot.grant.priority,
                lot.grant.amount_micros,
                lot.remaining_micros,
                lot.grant.expires_at,
            )
            for lot in spendable
        ),
    )
