"""``neruba.holds``: reserving credit for what is about to be spent."""

from __future__ import annotations

from attrs import frozen

from neruba_core.audit.model import SYSTEM, Origin
from neruba_core.context import Context
from neruba_core.errors import HoldNotFound
from neruba_core.idempotency.outcomes import Success, raised
from neruba_core.instants import Instant
from neruba_core.money import Amount
from neruba_core.storage.port import UnitOfWork
from neruba_core.tenancy.projects import existing
from neruba_core.wallets.holds import HoldAnswer, NewCapture, NewHold, NewRelease, render
from neruba_core.wallets.orders import Order, capture_order, hold_order, release_order
from neruba_core.wallets.settle import settle
from neruba_core.wallets.view import wallet


@frozen
class Holds:
    """Reached as ``neruba.holds``; each call is one unit of work."""

    _context: Context

    def reserve(
        self,
        project_id: str,
        *,
        amount: Amount,
        description: str,
        idempotency_key: str,
        expires_at: Instant | None = None,
        event_id: str | None = None,
        origin: Origin = SYSTEM,
    ) -> Success[HoldAnswer]:
        """Hold *amount* until *expires_at* (an hour from now), at most once, for ever.

        What is held stays in the balance and leaves what is available. Raises ``Invalid`` refusals,
        ``ProjectNotFound``, ``ProjectArchived``, ``KeyReused``, ``HoldConflict``, ``KeyInProgress``,
        ``ExpiryPassed``, or ``InsufficientCredit``, which is kept as that of a charge is.
        """
        new = NewHold.of(
            amount=amount,
            description=description,
            idempotency_key=idempotency_key,
            expires_at=expires_at,
            event_id=event_id,
        )
        return self._settle(hold_order(project_id, new, origin))

    def capture(
        self,
        project_id: str,
        hold_id: str,
        *,
        idempotency_key: str,
        amount: Amount | None = None,
        origin: Origin = SYSTEM,
    ) -> Success[HoldAnswer]:
        """Charge *amount* (all that is held) and free the rest; never refused for lack of credit.

        The charge is a transaction, named by the hold's ``transaction_id``. Raises ``HoldNotFound``,
        ``HoldClosed``, ``HoldExceeded``, and as ``reserve`` but for ``InsufficientCredit``.
        """
        new = NewCapture.of(hold_id=hold_id, idempotency_key=idempotency_key, amount=amount)
        return self._settle(capture_order(project_id, new, origin))

    def release(
        self, project_id: str, hold_id: str, *, idempotency_key: str, origin: Origin = SYSTEM
    ) -> Success[HoldAnswer]:
        """Free all that is held. Raises ``HoldNotFound``, ``HoldClosed``, and as ``capture``."""
        new = NewRelease.of(hold_id=hold_id, idempotency_key=idempotency_key)
        return self._settle(release_order(project_id, new, origin))

    def get(self, project_id: str, hold_id: str) -> HoldAnswer:
        """A hold as it is now, with what is available now. Raises ``ProjectNotFound`` or ``HoldNotFound``."""
        at = self._context.clock()

        def read(work: UnitOfWork) -> HoldAnswer:
            project = existing(work, project_id)
            hold = work.wallets.holds(project.id, [hold_id]).get(hold_id)
            if hold is None:
                raise HoldNotFound(hold_id)
            available = wallet(work, project, at=at).available_micros
            return HoldAnswer(hold.at(at), available, render(hold, available_micros=available, at=at))

        return self._context.read(read)

    def _settle(self, order: Order[HoldAnswer]) -> Success[HoldAnswer]:
        context = self._context
        outcomes = context.write(
            lambda work: settle(work, [order], at=context.clock(), ids=context.ids, chart=context.chart)
        )
        return raised(outcomes[0])
