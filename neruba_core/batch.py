"""Many commands in one unit of work.

Writers that come one by one wait for each other's disk flush; writers that share a unit share the
flush. Each command keeps its own verdict, and a defect that one of them trips over does not reach its
neighbours: the batch is undone and run again one by one, and only the offender fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from neruba_core.audit.outcomes import Unreadable, note_unreadable
from neruba_core.billing.prepaid import Draws
from neruba_core.context import Context
from neruba_core.errors import StorageError
from neruba_core.idempotency.outcomes import Rejected
from neruba_core.outbox.emit import Telling
from neruba_core.storage.port import UnitOfWork
from neruba_core.usage.record import Recorded, Sent, record
from neruba_core.wallets.orders import Order
from neruba_core.wallets.settle import HoldSettled, Settled, settle

Command: TypeAlias = Sent | Order[Any] | Unreadable
Verdict: TypeAlias = Recorded | Settled | HoldSettled
Note: TypeAlias = Callable[[UnitOfWork, Sequence[tuple[Command, Verdict]]], None]
"""Called in the unit, after the verdicts and before the commit: writes what belongs to them."""


def execute(context: Context, commands: Sequence[Command], note: Note) -> list[Verdict | Exception]:
    """Run *commands* in one unit of work, in order per project; one verdict each, all committed.

    An unexpected exception takes the place of the verdict of the command that raised it. Refusals of
    storage (``StorageUnavailable``, ``StorageBusy``) are about all of them and are raised.
    """
    try:
        return list(_execute(context, commands, note))
    except StorageError:
        raise
    except Exception as defect:
        if len(commands) == 1:
            return [defect]
        return [verdict for command in commands for verdict in execute(context, [command], note)]


def _execute(context: Context, commands: Sequence[Command], note: Note) -> list[Verdict]:
    def run(work: UnitOfWork) -> list[Verdict]:
        at = context.clock()
        sent = [command for command in commands if isinstance(command, Sent)]
        orders = [command for command in commands if isinstance(command, Order)]
        unreadable = [command for command in commands if isinstance(command, Unreadable)]
        ids, chart, telling = context.ids, context.chart, Telling()

        def open_draws(project_ids: Iterable[str]) -> Draws:
            # With the heads of the orders: locked one after the other, two units could wait in a circle.
            locked = [*project_ids, *(order.project_id for order in orders)]
            return Draws.open(work, locked, at=at, ids=ids, chart=chart, telling=telling)

        recorded: Iterator[Recorded] = iter(())
        if sent:
            recorded = iter(
                record(
                    work,
                    sent,
                    at=at,
                    ids=ids,
                    open_draws=open_draws,
                    telling=telling,
                    presumption=context.presumption,
                )
            )
        settled = iter(settle(work, orders, at=at, ids=ids, chart=chart, telling=telling) if orders else ())
        if unreadable:
            note_unreadable(work, unreadable, at=at, ids=ids)
        verdicts: list[Verdict] = []
        for command in commands:
            match command:
                case Sent():
                    verdicts.append(next(recorded))
                case Order():
                    verdicts.append(next(settled))
                case Unreadable(error=error, origin=origin):
                    verdicts.append(Rejected(error, origin.request_id))
        telling.write(work, at=at, ids=ids)
        note(work, list(zip(commands, verdicts, strict=True)))
        return verdicts

    return context.write(run)
