"""The test clock: it stands still until it is moved, and what falls due on the way is run.

Only a server that was started with ``--test-clock`` has this route, and production never is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aiohttp import web

from neruba_core import Neruba, instants
from neruba_core.billing.results import ProjectRun
from neruba_core.instants import Instant
from neruba_core.namespaces.jobs import ALL, BILL, Job
from neruba_core.testing.clock import SettableClock
from neruba_server import present
from neruba_server.problems import ClockBackwards
from neruba_server.routes.call import Call
from neruba_server.wire import runs as wire


async def move(call: Call) -> web.Response:
    sent = await call.read(wire.ClockMove)
    clock = call.house.clock
    assert clock is not None, "the route is served with a test clock only"
    async with call.house.clock_moves:
        ran = await call.run(lambda neruba: list(moved(neruba, clock, sent.now)))
    runs = tuple(wire.DueRun.of(each) for each in ran)
    return present.json(wire.ClockMoved(sent.now, runs))


def moved(neruba: Neruba, clock: SettableClock, to: Instant) -> Iterator[ProjectRun]:
    """Move *clock* forward, from one due instant to the next, and do what falls due at each; the billing
    runs that were among it.

    Raises ``ClockBackwards``.
    """
    if to < clock():
        raise ClockBackwards(instants.text(clock()))
    others = tuple(job for job in ALL if job is not BILL)
    yield from _caught_up(neruba, others)
    while (due := neruba.schedule.next_after()) is not None and due <= to:
        clock.set(due)
        yield from _caught_up(neruba, others)
    clock.set(to)


def _caught_up(neruba: Neruba, others: Sequence[Job]) -> Iterator[ProjectRun]:
    neruba.schedule.catch_up(others)
    yield from neruba.billing.run_due()
