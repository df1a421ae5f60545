"""What the server does in the background: note when keys were used, and do what the schedule has due."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from neruba_core import Neruba
from neruba_core.instants import Instant
from neruba_core.namespaces.jobs import Job
from neruba_server.auth import KeyRing

log = logging.getLogger("neruba.server")

TICK_SECONDS = 1.0
TOUCH_EVERY = timedelta(minutes=1)


class Ticker:
    """Tasks of the event loop whose work runs on a thread by *run*; without *jobs*, which others then do,
    only the uses of this process's keys are noted."""

    def __init__(
        self,
        neruba: Neruba,
        keys: KeyRing,
        run: Callable[[Callable[[], Any]], Any],
        *,
        jobs: Sequence[Job] = (),
    ) -> None:
        self._neruba = neruba
        self._keys = keys
        self._run = run
        self._touched: dict[str, Instant] = {}
        self._lanes = lanes(jobs)
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to tick."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._touch_on())]
        self._tasks += [loop.create_task(self._tick_on(lane)) for lane in self._lanes]

    async def stop(self) -> None:
        """Stop after the pieces of work in hand, having noted the last uses of keys."""
        if not self._tasks:
            return
        self._stopping = True
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._tasks = []
        with contextlib.suppress(Exception):
            await self.touch(every=timedelta(0))

    @property
    def alive(self) -> bool:
        """Whether the tasks run."""
        return bool(self._tasks) and not any(task.done() for task in self._tasks)

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

    def tick(self, jobs: Sequence[Job]) -> None:
        """Do what of *jobs* is due, until there is no more of it or the server stops."""
        for ran in self._neruba.schedule.tick(jobs, stopping=lambda: self._stopping):
            if ran.error is not None:
                log.warning("%s failed and will be tried again: %s", ran.name, ran.error)

    async def _touch_on(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            try:
                await self.touch()
            except Exception as error:
                log.warning("the last uses of keys will be noted later: %s", error)

    async def _tick_on(self, jobs: Sequence[Job]) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            try:
                await self._run(lambda: self.tick(jobs))
            except Exception as error:
                # The database may be gone for a while; what is due stays due.
                log.warning("background work failed and will be tried again: %s", error)


def lanes(jobs: Sequence[Job]) -> list[list[Job]]:
    """*jobs* as they can be done beside each other: a slow one holds up no other."""
    # A month's end may keep billing busy for a while, and a payment provider takes its time.
    found = [[job for job in jobs if not job.slow], *([job] for job in jobs if job.slow)]
    return [lane for lane in found if lane]
