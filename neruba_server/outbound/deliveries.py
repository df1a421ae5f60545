"""The loop that delivers messages: it takes what is due, sends it, and records in batches what came of it.

Endpoints do not wait for one another. Each has a share of the requests under way, a small one once it has
failed for a while, and whoever has the most room is served first; so one that is slow or dead holds up its
own messages alone. Whatever ends this process, a message is not lost: what was taken and not recorded is
sent again, under the same id, when its lease runs out.

Run it in ``serve`` or alone; any number may run at once, for each takes what the others have not.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TypeVar

from standardwebhooks import Webhook

from neruba_core import Neruba
from neruba_core.instants import Instant
from neruba_core.outbox.model import DeliveryAttempt, Endpoint
from neruba_core.outbox.rounds import Sent, Task
from neruba_server.outbound.posting import Answered, Poster

T = TypeVar("T")

log = logging.getLogger("neruba.server")

LEASE = timedelta(minutes=1)
"""Longer than any attempt may take, the wait for its record included."""
POLL_SECONDS = 0.5
GATHER_SECONDS = 0.02
"""How long answers are gathered, so that many are recorded in one unit of work."""
STOP_SECONDS = 5.0
MOST = 2_000
MOST_OF_ENDPOINT = 128
MOST_OF_FAILING = 2
"""How many messages are claimed at once: in all, for an endpoint, and for one that has failed for a while."""
AT_ONCE = 32
"""How many requests an endpoint gets at once. What is claimed besides is sent as soon as one is answered,
without a question to the database in between."""
GIVEN_BACK_BEFORE = timedelta(seconds=20)
"""What has not been sent so long before its lease runs out is left to whoever has the time."""
FAILING_AFTER = timedelta(seconds=30)
_THREADS = 2


class Deliveries:
    """See the module. *poster* is made from what the façade allows unless one is given."""

    def __init__(self, neruba: Neruba, *, poster: Poster | None = None) -> None:
        self._neruba = neruba
        self._poster = poster or Poster(loopback=neruba.webhooks.loopback)
        self._pool: ThreadPoolExecutor | None = None
        self._task: asyncio.Task[None] | None = None
        self._under_way: dict[asyncio.Task[None], Task] = {}
        self._of_endpoint: Counter[str] = Counter()
        self._gates: dict[str, asyncio.Semaphore] = {}
        self._left: list[Task] = []
        self._sent: list[Sent] = []
        self._news = asyncio.Event()
        self._stopping = False

    def start(self) -> None:
        """Begin to deliver; called in the event loop."""
        self._pool = ThreadPoolExecutor(_THREADS, "neruba-deliveries")
        self._stopping = False
        self._task = asyncio.get_running_loop().create_task(self._go_on())

    async def stop(self) -> None:
        """Take nothing more, wait a little for the answers that are due, record them, and give back the
        rest."""
        if self._task is None or self._pool is None:
            return
        self._stopping = True
        self._news.set()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._task = None
        self._pool.shutdown(wait=True)

    @property
    def alive(self) -> bool:
        """Whether the loop runs."""
        return self._task is not None and not self._task.done()

    # --- the loop -----------------------------------------------------------------------------

    async def _go_on(self) -> None:
        async with self._poster:
            try:
                while not self._stopping:
                    await self._rest(await self._round())
            finally:
                await self._end()

    async def _round(self) -> bool:
        """Record and take; whether anything was taken, so that there may be more."""
        self._news.clear()
        sent, left, most = list(self._sent), list(self._left), MOST - len(self._under_way)
        webhooks = self._neruba.webhooks
        try:
            if left:
                await self._run(lambda: webhooks.give_back(left))
            taken = await self._run(lambda: webhooks.go_round(sent, self._room, lease=LEASE, most=most))
        except Exception as error:
            # The database may be gone for a while; what is due stays due.
            log.warning("deliveries failed and will be tried again: %s", error)
            await asyncio.sleep(POLL_SECONDS)
            return False
        # Only now that they are written; more may have been added meanwhile.
        del self._sent[: len(sent)], self._left[: len(left)]
        for task in taken:
            self._begin(task)
        return bool(taken)

    async def _rest(self, more: bool) -> None:
        if more:
            await asyncio.sleep(GATHER_SECONDS)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(POLL_SECONDS):
                await self._news.wait()
        if self._sent and not self._stopping:
            await asyncio.sleep(GATHER_SECONDS)

    def _room(self, endpoint: Endpoint) -> int:
        most, since = MOST_OF_ENDPOINT, endpoint.failing_since
        if since is not None and self._neruba.now() - since >= FAILING_AFTER:
            most = MOST_OF_FAILING
        return most - self._of_endpoint[endpoint.id]

    def _begin(self, task: Task) -> None:
        self._of_endpoint[task.endpoint.id] += 1
        sending = asyncio.get_running_loop().create_task(self._send(task))
        self._under_way[sending] = task
        sending.add_done_callback(self._done)

    def _done(self, sending: asyncio.Task[None]) -> None:
        task = self._under_way.pop(sending)
        self._of_endpoint[task.endpoint.id] -= 1
        if not self._of_endpoint[task.endpoint.id]:
            del self._of_endpoint[task.endpoint.id]
            self._gates.pop(task.endpoint.id, None)
        self._news.set()

    async def _send(self, task: Task) -> None:
        gate = self._gates.setdefault(task.endpoint.id, asyncio.Semaphore(AT_ONCE))
        async with gate:
            if self._neruba.now() < task.delivery.due_at - GIVEN_BACK_BEFORE:
                await self._request(task)
            else:
                self._left.append(task)

    async def _request(self, task: Task) -> None:
        at = self._neruba.now()
        try:
            headers = headers_of(task, self._neruba.webhooks.secrets(task.endpoint), at)
            answer = await self._poster.post(task.endpoint.url, task.message.body.encode(), headers, at=at)
        except Exception:
            log.exception("delivery %s could not be sent", task.delivery.id)
            answer = Answered(0, error="the request could not be made")
        attempt = DeliveryAttempt(at, answer.milliseconds, answer.status, answer.error)
        self._sent.append(Sent(task, attempt, answer.wait))

    async def _end(self) -> None:
        """Let what is under way end, if it does soon; record it, and give back the rest."""
        if self._under_way:
            await asyncio.wait(list(self._under_way), timeout=STOP_SECONDS)
        left = dict(self._under_way)
        for sending in left:
            sending.cancel()
        if left:
            await asyncio.wait(list(left))
        try:
            if self._sent:
                await self._run(lambda: self._neruba.webhooks.record(self._sent))
            unsent = [*self._left, *left.values()]
            if unsent:
                await self._run(lambda: self._neruba.webhooks.give_back(unsent))
        except Exception as error:
            log.warning("what was sent last will be sent again: %s", error)

    async def _run(self, act: Callable[[], T]) -> T:
        assert self._pool is not None, "started"
        return await asyncio.get_running_loop().run_in_executor(self._pool, act)


def headers_of(task: Task, secrets: tuple[str, ...], at: Instant) -> dict[str, str]:
    """The headers of the Standard Webhooks specification, with a signature by each of *secrets*."""
    message = task.message
    signatures = [Webhook(secret).sign(message.id, at, message.body) for secret in secrets]
    return {
        "Content-Type": "application/json",
        "User-Agent": "neruba-webhooks",
        "webhook-id": message.id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
