"""What wallets ask of storage."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from neruba_core.instants import Instant
from neruba_core.wallets.model import Grant, Hold, Lot


class WalletStore(Protocol):
    """Grants and holds. Grants are append-only: what remains of one is its ledger account's balance, and what
    is held of it stands on the same row. Holds are written under their project's locked head."""

    def add_grants(self, grants: Sequence[Grant]) -> None: ...

    def grants(self, project_id: str, grant_ids: Iterable[str]) -> dict[str, Grant]: ...

    def open_lots(self, project_ids: Sequence[str]) -> Sequence[Lot]:
        """The grants whose account holds anything, expired ones included, with what remains."""

    def grants_of(self, project_id: str) -> Sequence[Grant]:
        """Every grant of the project, by ascending id."""

    def add_holds(self, holds: Sequence[Hold]) -> None:
        """Insert. An id or event id that is taken fails the unit: it cannot happen under the head."""

    def close_holds(self, holds: Sequence[Hold]) -> None:
        """Write how open holds have ended: their state, what was captured, by what, and when."""

    def holds(self, project_id: str, hold_ids: Iterable[str]) -> dict[str, Hold]: ...

    def holds_by_event_ids(self, project_id: str, event_ids: Iterable[str]) -> dict[str, Hold]:
        """Holds by their event id."""

    def holds_expired(self, project_ids: Sequence[str], at: Instant) -> Sequence[Hold]:
        """The open holds that expire at or before *at*, by project and id."""

    def next_hold_expiry(self, project_id: str) -> Instant | None:
        """When the first of the project's open holds expires."""

    def holds_at(self, project_id: str, at: Instant) -> Sequence[Hold]:
        """The holds that were reserved at or before *at* and not closed at it, by id."""

    def open_holds(self, project_id: str) -> Sequence[Hold]:
        """The holds that are not closed, by id."""


class HasWallets(Protocol):
    @property
    def wallets(self) -> WalletStore: ...
