"""What the server does in the background: note when keys were used, let old trail rows go."""

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


class Ticker:
    """One task of the event loop; its work runs on a thread by *run*."""

    def __init__(self, neruba: Neruba, keys: KeyRing, run: Callable[[Callable[[], Any]], Any]) -> None:
        self._neruba = neruba
        self._keys = keys
        self._run = run
        self._touched: dict[str, Instant] = {}
        self._pruned_at: Instant | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to tick."""
        self._task = asyncio.get_running_loop().create_task(self._tick_on())

    async def stop(self) -> None:
        """Stop, having noted the last uses of keys."""
        if self._task is None:
            return
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._task = None
        with contextlib.suppress(Exception):
            await self.touch(every=timedelta(0))

    @property
    def alive(self) -> bool:
        """Whether the task runs."""
        return self._task is not None and not self._task.done()

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

    async def _tick_on(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            try:
                await self.touch()
                await self.prune()
            except Exception as error:
                # The database may be gone for a while; what is due stays due.
                log.warning("background work failed and will be tried again: %s", error)
