"""Grants in memory; what remains of a grant is read from the ledger's accounts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import define, field

from neruba_core.storage.memory.ledger import MemoryLedger
from neruba_core.storage.memory.tables import Table, Undo
from neruba_core.wallets.model import Grant, Lot

_ACCOUNT = "wallet:"


@define(eq=False)
class WalletTables:
    """Grants by project and id."""

    grants: Table[str, Grant] = field(factory=Table)


@define(eq=False)
class MemoryWallets:
    """``WalletStore`` within one unit."""

    _tables: WalletTables
    _undo: Undo
    _ledger: MemoryLedger

    def add_grants(self, grants: Sequence[Grant]) -> None:
        for grant in grants:
            self._tables.grants.add(self._undo, grant.project_id, grant.id, grant)

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
