"""Scheduled work in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import rich_click as click
import structlog

from neruba_core import Neruba
from neruba_core.namespaces.jobs import Job
from neruba_core.namespaces.schedule import Ran
from neruba_server import logs
from neruba_server.commands.options import database, example, fail, need_existing_file
from neruba_server.settings import load, open_neruba

TICK_SECONDS = 1.0
_LOOK_SECONDS = 0.2


@click.command(epilog=example("neruba ticker --database postgresql://me@db/billing", "neruba ticker --once"))
@click.option(
    "--once", is_flag=True, help="Do what is due now, then end; exit with status 1 if any of it failed."
)
@database
def ticker(once: bool, database_url: str | None, config: Path | None) -> None:
    """Do what falls due: expiries, folding, billing where it is automatic, and the rest.

    `neruba serve` does this too, unless NERUBA_RUN_JOBS is false. Any number of both may run at once: each
    job is done by one of them at a time. SIGTERM or Ctrl-C ends it after the piece of work in hand.
    """
    from neruba_server.ticker import lanes

    settings = load(config, database_url=database_url)
    need_existing_file(settings)
    if settings.test_clock is not None:
        fail("a test clock is moved in the server, which does what falls due on the way")
    logs.configure(settings)
    with open_neruba(settings, migrate=False) as neruba, _stopping() as stopping:
        if once:
            _once(neruba, settings.jobs, stopping)
            return
        click.echo(f"Neruba does what falls due in {settings.database}. Ctrl-C ends it.")
        sys.stdout.flush()
        threads = [
            threading.Thread(target=_on, args=(neruba, lane, stopping), name="neruba-ticker")
            for lane in lanes(settings.jobs)
        ]
        if settings.send_webhooks:
            threads.append(threading.Thread(target=_deliver, args=(neruba, stopping), name="neruba-webhooks"))
        for thread in threads:
            thread.start()
        while not stopping():
            stopping.rest(TICK_SECONDS)
        for thread in threads:
            thread.join()


class Stopping:
    """Whether the process is to end. No ``threading.Event``: a signal that came while its lock is held could
    never set it."""

    def __init__(self) -> None:
        self._set = False

    def __call__(self) -> bool:
        return self._set

    def set(self) -> None:
        """End soon."""
        self._set = True

    def rest(self, seconds: float) -> None:
        """Sleep, but not much longer than it takes to be told to end."""
        until = time.monotonic() + seconds
        while not self._set and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)


def _once(neruba: Neruba, jobs: Sequence[Job], stopping: Stopping) -> None:
    ran = neruba.schedule.tick(jobs, stopping=stopping)
    for each in ran:
        told = "done" if each.error is None else click.style("failed", fg="red")
        click.echo(f"{each.name}  {told}{_why(each)}")
    if not ran:
        click.echo("Nothing is due.")
    failed = sum(each.error is not None for each in ran)
    if failed:
        fail(f"{failed} of {len(ran)} jobs failed")


def _why(ran: Ran) -> str:
    return "" if ran.error is None else f"  {type(ran.error).__name__}: {ran.error}"


def _deliver(neruba: Neruba, stopping: Stopping) -> None:
    from neruba_server.outbound.deliveries import Deliveries

    async def until_stopped() -> None:
        deliveries = Deliveries(neruba)
        deliveries.start()
        try:
            while not stopping():
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            await deliveries.stop()

    asyncio.run(until_stopped())


def _on(neruba: Neruba, jobs: Sequence[Job], stopping: Stopping) -> None:
    log = structlog.get_logger()
    while not stopping():
        try:
            for ran in neruba.schedule.tick(jobs, stopping=stopping):
                if ran.error is not None:
                    log.warning(f"{ran.name} failed and will be tried again", error=str(ran.error))
        except Exception as error:
            # The database may be gone for a while; what is due stays due.
            log.warning("scheduled work failed and will be tried again", error=str(error))
        stopping.rest(TICK_SECONDS)


@contextlib.contextmanager
def _stopping() -> Iterator[Stopping]:
    """What SIGTERM or SIGINT sets; the second of them ends the process where it stands."""
    stopping = Stopping()

    def stop(number: int, _: object) -> None:
        if stopping():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        stopping.set()

    kept = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopping
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
