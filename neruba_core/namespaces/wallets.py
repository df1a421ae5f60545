"""``neruba.wallets``: granting credit, adjusting, reversing, and reading the wallet."""

from __future__ import annotations

from attrs import frozen

from neruba_core.audit.model import SYSTEM, Origin
from neruba_core.context import Context
from neruba_core.idempotency.outcomes import Success, raised
from neruba_core.instants import Instant, maybe_utc
from neruba_core.ledger.model import Transaction
from neruba_core.money import Amount
from neruba_core.tenancy.projects import existing
from neruba_core.wallets.credit import NewCredit
from neruba_core.wallets.model import GrantKind
from neruba_core.wallets.orders import NewDebit, Order, credit_order, debit_order, reversal_order
from neruba_core.wallets.reverse import NewReversal
from neruba_core.wallets.settle import settle
from neruba_core.wallets.view import WalletView, wallet


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
        origin: Origin = SYSTEM,
    ) -> Success[Transaction]:
        """Grant credit at most once, for ever; an overdraft is repaid from it first.

        *kind* is promotional (default), paid or goodwill; a lower *priority* (default 50) is spent
        first. Raises ``Invalid`` refusals, ``ProjectNotFound``, ``ProjectArchived``, ``KeyReused``,
        ``ExpiryPassed`` or ``KeyInProgress``.
        """
        new = NewCredit.of(
            amount=amount,
            description=description,
            idempotency_key=idempotency_key,
            kind=kind,
            priority=priority,
            expires_at=expires_at,
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

    def _settle(self, order: Order[Transaction]) -> Success[Transaction]:
        context = self._context
        outcomes = context.write(
            lambda work: settle(work, [order], at=context.clock(), ids=context.ids, chart=context.chart)
        )
        return raised(outcomes[0])
