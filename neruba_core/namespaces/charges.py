"""``neruba.charges``: taking money for something that just happened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import frozen

from neruba_core.audit.model import SYSTEM, Origin
from neruba_core.charges.charge import NewCharge, charge_order
from neruba_core.context import Context
from neruba_core.idempotency.outcomes import Success, raised
from neruba_core.ledger.model import Transaction
from neruba_core.money import Amount
from neruba_core.texts import Properties
from neruba_core.wallets.orders import Order
from neruba_core.wallets.settle import Settled, settle


@frozen
class Charges:
    """Reached as ``neruba.charges``; each call is one unit of work."""

    _context: Context

    def charge(
        self,
        project_id: str,
        *,
        amount: Amount,
        description: str,
        idempotency_key: str,
        event_id: str | None = None,
        metadata: Properties | None = None,
        origin: Origin = SYSTEM,
    ) -> Success[Transaction]:
        """Charge the wallet at most once, for ever.

        *amount* is decimal text, an int or a ``Decimal``, above zero. Raises ``Invalid`` refusals,
        ``ProjectNotFound``, ``ProjectArchived``, ``KeyReused``, ``ChargeConflict``, ``KeyInProgress``, or
        ``InsufficientCredit``, which is kept: the same key is refused again after a top-up.
        """
        new = NewCharge.of(
            amount=amount,
            description=description,
            idempotency_key=idempotency_key,
            event_id=event_id,
            metadata=metadata,
        )
        return raised(self._settle([charge_order(project_id, new, origin)])[0])

    def charge_many(
        self, project_id: str, charges: Iterable[NewCharge], *, origin: Origin = SYSTEM
    ) -> Sequence[Settled]:
        """Settle many charges in one unit of work, in order; one outcome each, and none is raised."""
        return self._settle([charge_order(project_id, new, origin) for new in charges])

    def _settle(self, orders: Sequence[Order[Transaction]]) -> Sequence[Settled]:
        context = self._context
        return context.write(
            lambda work: settle(work, orders, at=context.clock(), ids=context.ids, chart=context.chart)
        )
