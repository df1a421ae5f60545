"""``neruba.wallets``: granting credit, adjusting, reversing, and reading the wallet."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from neruba_core.audit.model import SYSTEM, Origin
from neruba_core.context import Context
from neruba_core.errors import StorageError
from neruba_core.idempotency.outcomes import Success, raised
from neruba_core.instants import EPOCH, Instant, maybe_utc, utc
from neruba_core.ledger.model import Transaction
from neruba_core.money import Amount
from neruba_core.tenancy.projects import existing
from neruba_core.wallets.credit import NewCredit
from neruba_core.wallets.expire import expire
from neruba_core.wallets.model import GrantKind
from neruba_core.wallets.orders import NewDebit, Order, credit_order, debit_order, reversal_order
from neruba_core.wallets.reverse import NewReversal
from neruba_core.wallets.settle import settle
from neruba_core.wallets.view import WalletView, wallet

EXPIRED_TOGETHER = 50
"""How many projects share a unit of work."""


@frozen
class Wallets:
    """Reached as ``neruba.wallets``; each call is one unit of work."""

    _context: Context

    def credit(
        self,
        project_id: str,
        *,
        amount: Amount,
        description: str,
        idempotency_key: str,
        kind: GrantKind | str | None = None,
        priority: int | None = None,
        expires_at: Instant | None = None,
        metric_keys: Sequence[str] | None = None,
        origin: Origin = SYSTEM,
    ) -> Success[Transaction]:
        """Grant credit at most once, for ever; an overdraft is repaid from it first.

        *kind* is promotional (default), paid or goodwill; a lower *priority* (default 50) is spent
        first. With *metric_keys*, 1 to 20, it pays for usage of these metrics only, and repays no overdraft.
        Raises ``Invalid`` refusals, ``ProjectNotFound``, ``ProjectArchived``, ``KeyReused``,
        ``ExpiryPassed`` or ``KeyInProgress``.
        """
        new = NewCredit.of(
            amount=amount,
            description=description,
            idempotency_key=idempotency_key,
            kind=kind,
            priority=priority,
            expires_at=expires_at,
            metric_keys=metric_keys,
        )
        return self._settle(credit_order(project_id, new, origin))

    def debit(
        self,
        project_id: str,
        *,
        amount: Amount,
        description: str,
        idempotency_key: str,
        origin: Origin = SYSTEM,
    ) -> Success[Transaction]:
        """Take credit away as a manual adjustment. Raises as ``neruba.charges.charge`` does."""
        new = NewDebit.of(amount=amount, description=description, idempotency_key=idempotency_key)
        return self._settle(debit_order(project_id, new, origin))

    def reverse(
        self,
        project_id: str,
        transaction_id: str,
        *,
        reason: str,
        idempotency_key: str,
        amount: Amount | None = None,
        origin: Origin = SYSTEM,
    ) -> Success[Transaction]:
        """Reverse a credit, debit or charge, in part or (without *amount*) whatever is left of it.

        Raises ``TransactionNotFound``, ``NotReversible``, ``ReversalExceedsOriginal``, and as ``credit``.
        """
        new = NewReversal.of(
            transaction_id=transaction_id, reason=reason, idempotency_key=idempotency_key, amount=amount
        )
        return self._settle(reversal_order(project_id, new, origin))

    def get(
        self, project_id: str, *, as_of: Instant | None = None, known_at: Instant | None = None
    ) -> WalletView:
        """The wallet now, or as of an instant (as it was known at another). Raises ``ProjectNotFound``."""
        at = self._context.clock()
        as_of, known_at = maybe_utc(as_of), maybe_utc(known_at)
        return self._context.read(
            lambda work: wallet(work, existing(work, project_id), at=at, as_of=as_of, known_at=known_at)
        )

    def expire_due(
        self, *, at_most: int = EXPIRED_TOGETHER, project_ids: Sequence[str] | None = None
    ) -> Sequence[Transaction]:
        """Post what has expired by now, and end the holds whose time is over, in at most *at_most* projects,
        those that have waited longest first, or in those of *project_ids*; the transactions.

        What is expired stopped counting at its instant; posting it changes no balance. For a scheduler to
        call, any number of them at once. A project that cannot be expired holds up no other of them, and its
        error is raised at the end.
        """
        context = self._context
        at = context.clock()
        due = project_ids
        if due is None:
            due = context.read(lambda work: work.ledger.heads_due(at, limit=at_most))
        if not due:
            return ()
        try:
            return self._expire(due)
        except StorageError:
            raise
        except Exception:
            posted: list[Transaction] = []
            troubles: list[Exception] = []
            for project_id in due:
                try:
                    posted += self._expire([project_id])
                except StorageError:
                    raise
                except Exception as trouble:
                    troubles.append(trouble)
            if troubles:
                raise troubles[0] from None
            return posted

    def due_since(self) -> Instant | None:
        """Since when something has waited for ``expire_due``; ``None`` where nothing does."""
        due = self.next_due(EPOCH)
        return due if due is not None and due <= self._context.clock() else None

    def next_due(self, after: Instant | None = None) -> Instant | None:
        """The first moment later than *after* (now) at which a grant or a hold of any project may expire."""
        moment = self._context.clock() if after is None else utc(after)
        return self._context.read(lambda work: work.ledger.next_head_due(moment))

    def _expire(self, project_ids: Sequence[str]) -> Sequence[Transaction]:
        context = self._context
        return context.write(
            lambda work: expire(work, project_ids, at=context.clock(), ids=context.ids, chart=context.chart)
        )

    def _settle(self, order: Order[Transaction]) -> Success[Transaction]:
        context = self._context
        outcomes = context.write(
            lambda work: settle(work, [order], at=context.clock(), ids=context.ids, chart=context.chart)
        )
        return raised(outcomes[0])
