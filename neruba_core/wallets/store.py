"""What wallets ask of storage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from neruba_core.wallets.model import Grant, Lot


class WalletStore(Protocol):
    """Grants, append-only. What remains of a grant is its ledger account's balance."""

    def add_grants(self, grants: Sequence[Grant]) -> None: ...

    def grants(self, project_id: str, grant_ids: Iterable[str]) -> dict[str, Grant]: ...

    def open_lots(self, project_ids: Sequence[str]) -> Sequence[Lot]:
        """The grants whose account holds anything, expired ones included, with what remains."""

    def grants_of(self, project_id: str) -> Sequence[Grant]:
        """Every grant of the project, by ascending id."""


class HasWallets(Protocol):
    @property
    def wallets(self) -> WalletStore: ...
