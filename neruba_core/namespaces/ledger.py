"""``neruba.ledger``: transactions, entries, and the proof that they balance."""

from __future__ import annotations

from attrs import frozen

from neruba_core.context import Context
from neruba_core.errors import TransactionNotFound
from neruba_core.instants import Instant, maybe_utc
from neruba_core.ledger.model import Entry, Transaction, TransactionType
from neruba_core.ledger.sweep import Sweep
from neruba_core.ledger.trial_balance import TrialBalance, trial_balance
from neruba_core.pages import DEFAULT_LIMIT, Page, limited, page, place_of
from neruba_core.storage.port import UnitOfWork
from neruba_core.tenancy.projects import existing
from neruba_core.wallets.sweep import sweep


@frozen
class Ledger:
    """Reached as ``neruba.ledger``; only reads. Every call raises ``ProjectNotFound``."""

    _context: Context

    def transactions(
        self,
        project_id: str,
        *,
        type: TransactionType | None = None,
        start: Instant | None = None,
        end: Instant | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> Page[Transaction]:
        """Newest first; *start* and *end* bound the effective time as ``[start, end)``."""
        most = limited(limit)
        start, end = maybe_utc(start), maybe_utc(end)
        filters = ("transactions", project_id, type, start, end)
        before = place_of(cursor, *filters)
        rows = self._context.read(
            lambda work: work.ledger.transactions(
                existing(work, project_id).id, limit=most + 1, before=before, type=type, start=start, end=end
            )
        )
        return page(rows, most, "place", *filters)

    def transaction(self, project_id: str, transaction_id: str) -> Transaction:
        """One transaction. Raises ``TransactionNotFound``."""
        found = self._context.read(
            lambda work: work.ledger.transaction(existing(work, project_id).id, transaction_id)
        )
        if found is None:
            raise TransactionNotFound(transaction_id)
        return found

    def entries(
        self,
        project_id: str,
        *,
        account: str | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> Page[Entry]:
        """Entries with their account's running balance, newest first."""
        most = limited(limit)
        filters = ("entries", project_id, account)
        before = place_of(cursor, *filters)
        rows = self._context.read(
            lambda work: work.ledger.entries(
                existing(work, project_id).id, limit=most + 1, before=before, account=account
            )
        )
        return page(rows, most, "place", *filters)

    def trial_balance(
        self, project_id: str, *, as_of: Instant | None = None, known_at: Instant | None = None
    ) -> TrialBalance:
        """Every account that holds anything, now or as of an instant."""
        as_of, known_at = maybe_utc(as_of), maybe_utc(known_at)

        def read(work: UnitOfWork) -> TrialBalance:
            project = existing(work, project_id)
            if as_of is None and known_at is None:
                kept = {
                    account.name: account.balance_micros for account in work.ledger.accounts([project.id])
                }
                return trial_balance(kept, self._context.chart)
            derived = work.ledger.balances(project.id, as_of=as_of, known_at=known_at)
            return trial_balance(derived, self._context.chart)

        return self._context.read(read)

    def sweep(self, project_id: str) -> Sweep:
        """Re-derive heads, accounts and what is held, and name every difference; linear in the entries."""
        at = self._context.clock()
        return self._context.read(lambda work: sweep(work, existing(work, project_id).id, at=at))
