"""Grants and draws in memory; what remains of a grant is read from the ledger's accounts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import define, field

from neruba_core.storage.memory.ledger import MemoryLedger
from neruba_core.storage.memory.tables import Table, Undo
from neruba_core.wallets.model import Draw, Grant, Lot

_ACCOUNT = "wallet:"


@define(eq=False)
class WalletTables:
    """Draws are by project, then by transaction and number; *draws_of* are the same by transaction."""

    grants: Table[str, Grant] = field(factory=Table)
    draws: Table[tuple[str, int], Draw] = field(factory=Table)
    draws_of: dict[tuple[str, str], list[Draw]] = field(factory=dict)


@define(eq=False)
class MemoryWallets:
    """``WalletStore`` within one unit."""

    _tables: WalletTables
    _undo: Undo
    _ledger: MemoryLedger

    def add_grants(self, grants: Sequence[Grant]) -> None:
        for grant in grants:
            self._tables.grants.add(self._undo, grant.project_id, grant.id, grant)

    def add_draws(self, draws: Sequence[Draw]) -> None:
        for draw in draws:
            place = (draw.transaction_id, draw.number)
            self._tables.draws.add(self._undo, draw.project_id, place, draw)
            self._undo.push(self._tables.draws_of, (draw.project_id, draw.transaction_id), draw)

    def grants(self, project_id: str, grant_ids: Iterable[str]) -> dict[str, Grant]:
        return self._tables.grants.some(project_id, grant_ids)

    def open_lots(self, project_ids: Sequence[str]) -> Sequence[Lot]:
        lots = []
        for project_id in project_ids:
            for account in self._ledger.held(project_id):
                grant = None
                if account.name.startswith(_ACCOUNT):
                    grant = self._tables.grants.get(project_id, account.name.removeprefix(_ACCOUNT))
                if grant is not None:
                    # Accounts are kept debit positive, and credit that we owe is a credit.
                    lots.append(Lot(grant, -account.balance_micros))
        return tuple(lots)

    def grants_of(self, project_id: str) -> Sequence[Grant]:
        return tuple(self._tables.grants.ascending(project_id))

    def draws_of(self, project_id: str, transaction_ids: Iterable[str]) -> Sequence[Draw]:
        draws: list[Draw] = []
        for transaction_id in sorted(set(transaction_ids)):
            drawn = self._tables.draws_of.get((project_id, transaction_id), ())
            draws += sorted(drawn, key=lambda draw: draw.number)
        return tuple(draws)
