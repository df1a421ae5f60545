"""Grants and holds in memory; what remains of a grant is read from the ledger's accounts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import define, field

from neruba_core.instants import Instant
from neruba_core.storage.memory.ledger import MemoryLedger
from neruba_core.storage.memory.tables import DuplicateKey, Table, Undo
from neruba_core.wallets.model import Grant, Hold, HoldState, Lot

_ACCOUNT = "wallet:"


@define(eq=False)
class WalletTables:
    """Grants and holds by project and id; *by_event_id* are ids of holds."""

    grants: Table[str, Grant] = field(factory=Table)
    holds: Table[str, Hold] = field(factory=Table)
    by_event_id: dict[tuple[str, str], str] = field(factory=dict)


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
                    lots.append(Lot(grant, -account.balance_micros, account.held_micros))
        return tuple(lots)

    def grants_of(self, project_id: str) -> Sequence[Grant]:
        return tuple(self._tables.grants.ascending(project_id))

    def add_holds(self, holds: Sequence[Hold]) -> None:
        for hold in holds:
            self._ledger.need_lock(hold.project_id)
            event = (hold.project_id, hold.event_id)
            if event in self._tables.by_event_id:
                raise DuplicateKey(f"{event!r} is taken")
            self._tables.holds.add(self._undo, hold.project_id, hold.id, hold)
            self._undo.put(self._tables.by_event_id, event, hold.id)

    def close_holds(self, holds: Sequence[Hold]) -> None:
        for hold in holds:
            self._ledger.need_lock(hold.project_id)
            kept = self._tables.holds.get(hold.project_id, hold.id)
            if kept is not None and kept.state is HoldState.HELD:
                self._tables.holds.put(self._undo, hold.project_id, hold.id, hold)

    def holds(self, project_id: str, hold_ids: Iterable[str]) -> dict[str, Hold]:
        return self._tables.holds.some(project_id, hold_ids)

    def holds_by_event_ids(self, project_id: str, event_ids: Iterable[str]) -> dict[str, Hold]:
        by_event_id = self._tables.by_event_id
        found = {
            event_id: by_event_id[project_id, event_id]
            for event_id in event_ids
            if (project_id, event_id) in by_event_id
        }
        holds = self._tables.holds.some(project_id, found.values())
        return {event_id: holds[hold_id] for event_id, hold_id in found.items()}

    def holds_expired(self, project_ids: Sequence[str], at: Instant) -> Sequence[Hold]:
        return tuple(
            hold
            for project_id in sorted(project_ids)
            for hold in self.open_holds(project_id)
            if hold.expires_at <= at
        )

    def next_hold_expiry(self, project_id: str) -> Instant | None:
        return min((hold.expires_at for hold in self.open_holds(project_id)), default=None)

    def holds_at(self, project_id: str, at: Instant) -> Sequence[Hold]:
        return tuple(
            hold
            for hold in self._tables.holds.ascending(project_id)
            if hold.created_at <= at < (hold.closed_at or hold.expires_at)
        )

    def open_holds(self, project_id: str) -> Sequence[Hold]:
        holds = self._tables.holds.ascending(project_id)
        return tuple(hold for hold in holds if hold.state is HoldState.HELD)
