"""What the server does in the background: note when keys were used, let old trail rows go, fold usage into
rollups, ask payment providers how payments stand, and where it is set to, bill what falls due."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from neruba_core import Neruba
from neruba_core.instants import Instant
from neruba_server.auth import KeyRing

log = logging.getLogger("neruba.server")

TICK_SECONDS = 1.0
TOUCH_EVERY = timedelta(minutes=1)
PRUNE_EVERY = timedelta(hours=1)
TRAIL_KEPT = timedelta(days=30)
BILL_SECONDS = 60.0
PAY_SECONDS = 1.0
FOLD_AT_MOST = 5000


class Ticker:
    """Tasks of the event loop whose work runs on a thread by *run*; one of them *bills*, or none does, and
    where there is a payment provider to ask, another one asks."""

    def __init__(
        self, neruba: Neruba, keys: KeyRing, run: Callable[[Callable[[], Any]], Any], *, bills: bool = False
    ) -> None:
        self._neruba = neruba
        self._keys = keys
        self._run = run
        self._touched: dict[str, Instant] = {}
        self._pruned_at: Instant | None = None
        self._bills = bills
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._billing: asyncio.Task[None] | None = None
        self._paying: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to tick."""
        loop = asyncio.get_running_loop()
        self._task = loop.create_task(self._tick_on())
        if self._bills:
            # Apart from the rest: a month's end may keep it busy for a while.
            self._billing = loop.create_task(self._bill_on())
        if self._neruba.payments.asks_outside:
            # Apart too: a provider takes its time.
            self._paying = loop.create_task(self._pay_on())

    async def stop(self) -> None:
        """Stop, having noted the last uses of keys."""
        if self._task is None:
            return
        self._stopping = True
        for task in filter(None, (self._task, self._billing, self._paying)):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._task = self._billing = self._paying = None
        with contextlib.suppress(Exception):
            await self.touch(every=timedelta(0))

    @property
    def alive(self) -> bool:
        """Whether the task runs."""
        return all(
            task is not None and not task.done()
            for task in (
                self._task,
                *((self._billing,) if self._bills else ()),
                *((self._paying,) if self._neruba.payments.asks_outside else ()),
            )
        )

    async def touch(self, *, every: timedelta = TOUCH_EVERY) -> None:
        """Note the last use of each key that was used, of each at most once in *every*."""
        now = self._neruba.now()
        due = {
            key_id: used
            for key_id, used in list(self._keys.used_at.items())
            if key_id not in self._touched or now - self._touched[key_id] >= every
        }
        if not due:
            return
        await self._run(lambda: self._neruba.access_keys.touch(due))
        for key_id, used in due.items():
            self._touched[key_id] = now
            if self._keys.used_at.get(key_id) == used:
                del self._keys.used_at[key_id]

    async def prune(self) -> None:
        """Delete trail rows that are older than they are kept, every now and then."""
        now = self._neruba.now()
        if self._pruned_at is not None and now - self._pruned_at < PRUNE_EVERY:
            return
        self._pruned_at = now
        await self._run(lambda: self._neruba.audit.prune(now - TRAIL_KEPT))

    async def fold(self) -> None:
        """Fold new usage into rollups, in pieces between which others get their turn."""
        while await self._run(lambda: self._neruba.usage.fold(at_most=FOLD_AT_MOST)) >= FOLD_AT_MOST:
            pass

    def bill(self) -> None:
        """Finalize what is due, a project at a time, until there is no more of it or the server stops."""
        for ended in self._neruba.billing.run_due():
            if ended.error is not None:
                log.warning(
                    "period %s of %s could not be billed: %s", ended.period, ended.project_id, ended.error
                )
            if self._stopping:
                return

    def pay(self) -> None:
        """Do what is due with payment providers."""
        self._neruba.payments.settle_pending()

    async def _pay_on(self) -> None:
        while True:
            try:
                await self._run(self.pay)
            except Exception as error:
                log.warning("payments could not be settled and will be tried again: %s", error)
            await asyncio.sleep(PAY_SECONDS)

    async def _bill_on(self) -> None:
        while True:
            try:
                await self._run(self.bill)
            except Exception as error:
                log.warning("billing failed and will be tried again: %s", error)
            await asyncio.sleep(BILL_SECONDS)

    async def _tick_on(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            try:
                await self.touch()
                await self.prune()
                await self.fold()
            except Exception as error:
                # The database may be gone for a while; what is due stays due.
                log.warning("background work failed and will be tried again: %s", error)
