"""Running the server: one process, or several that share a port.

Whoever ends it gets an answer to everything that was taken: on SIGTERM or SIGINT nothing new is accepted,
requests under way are answered, queued writes are committed, and only then the process ends. A second
signal ends it at once.

With several workers this process serves nothing itself. It holds the port, starts the workers and watches
them: one that dies is started again, and where they keep dying all are stopped, since a deployment that
cannot stay up should be seen to be down.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import importlib.util
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.process import BaseProcess
from typing import Any

import structlog
from aiohttp import web

from neruba_core import Neruba
from neruba_core.errors import SchemaOutdated
from neruba_core.testing.clock import SettableClock
from neruba_server import logs
from neruba_server.settings import Settings, open_neruba

# Clients keep connections open between requests; ours close before a usual balancer's 60 s would surprise us.
KEEPALIVE_SECONDS = 75
# Together less than the 30 s after which an orchestrator usually kills, and each longer than any statement
# may run: for bodies that are still coming in, and then for answers that are still going out.
DRAIN_SECONDS = 10
SHUTDOWN_SECONDS = 15

_BACKLOG = 1024
_DEATHS = 5
_DEATHS_SECONDS = 60
_ON_PARENT_LOSS_SECONDS = 1
_DRAIN_LOOK_SECONDS = 0.02

Announce = Callable[[str], None]


class CannotServe(Exception):
    """The server cannot start or go on; the message says why and what to do."""


def serve(settings: Settings, announce: Announce) -> None:
    """Serve until a signal ends it; call *announce* with the address once requests are answered.

    An empty database is given its schema. Raises ``CannotServe``, ``SchemaOutdated`` for a database of an
    older release, or ``StorageUnavailable``.
    """
    if settings.workers > 1 and settings.on_sqlite:
        raise CannotServe(
            f"--workers {settings.workers} needs PostgreSQL: a SQLite file is written by one process at a "
            "time; use --workers 1 or --database postgresql://…"
        )
    if settings.workers > 1 and not hasattr(socket, "SO_REUSEPORT"):
        raise CannotServe("this system cannot share a port between processes; use --workers 1")
    if settings.workers > 1 and settings.test_clock is not None:
        raise CannotServe("a test clock is moved in one process; use --workers 1 with it")
    prepare_database(settings)
    # Taken alone first: with SO_REUSEPORT, a second server would quietly share the port of the first.
    listener = listen(settings)
    if settings.workers == 1:
        _serve_alone(settings, listener, announce)
    else:
        port = listener.getsockname()[1]
        listener.close()
        _Workers(settings, port, announce).run()


def prepare_database(settings: Settings) -> None:
    """Give an empty database its schema. One of an older release is its owner's to bring up to date."""
    from neruba_core.storage.sql import migrations
    from neruba_core.storage.sql.storage import SqlStorage

    storage = SqlStorage(settings.database_url)
    try:
        try:
            storage.check()
        except SchemaOutdated:
            with storage.engine.connect() as connection:
                if migrations.current(connection) != 0:
                    raise
            storage.migrate()
    finally:
        storage.close()


def listen(settings: Settings, *, shared: bool = False, port: int | None = None) -> socket.socket:
    """A socket bound to the address of *settings*, *shared* with other processes or not.

    Raises ``CannotServe`` where the address cannot be had.
    """
    wanted = settings.port if port is None else port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, wanted, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror:
        raise CannotServe(f"there is no address {settings.host!r} to listen on") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise CannotServe(_why_not(settings.host, wanted, error)) from None
    return listener


def address_of(listener: socket.socket) -> str:
    """Where a client on this machine reaches *listener*."""
    host, port = listener.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _why_not(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use; stop what listens there or choose another with --port"
    if error.errno == errno.EACCES:
        return f"port {port} needs more rights than this user has; choose one above 1023 with --port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"this machine has no address {host}; choose one of its own with --host"
    return f"cannot listen on {host}:{port}: {error.strerror}"


# --- one process ------------------------------------------------------------------------------


def _serve_alone(settings: Settings, listener: socket.socket, announce: Announce) -> None:
    logs.configure(settings)
    clock = None if settings.test_clock is None else SettableClock(settings.test_clock)
    with open_neruba(settings, migrate=False, clock=clock) as neruba, listener:
        address = address_of(listener)
        _run(lambda: _answer(neruba, settings, listener, lambda: announce(address), clock=clock))


def _run(main: Callable[[], Any]) -> None:
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if importlib.util.find_spec("uvloop") is not None:
        factory = importlib.import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


async def _answer(
    neruba: Neruba,
    settings: Settings,
    listener: socket.socket,
    ready: Callable[[], None],
    parent: BaseProcess | None = None,
    clock: SettableClock | None = None,
) -> None:
    """Answer requests on *listener* until a signal comes or the *parent* is gone."""
    from neruba_server.app import create_app
    from neruba_server.connections import Runner

    stopping = _stopping(parent)
    runner = Runner(
        create_app(neruba, settings, clock=clock),
        access_log_class=logs.access_log(settings),
        keepalive_timeout=KEEPALIVE_SECONDS,
        shutdown_timeout=SHUTDOWN_SECONDS,
    )
    try:
        await runner.setup()
        await web.SockSite(runner, listener, backlog=_BACKLOG).start()
        # What start-up made stays for good; the garbage collector need not look through it again.
        gc.collect()
        gc.freeze()
        ready()
        await stopping.wait()
        structlog.get_logger().info("stopping: answering what was taken")
        await _drained(runner)
    finally:
        await runner.cleanup()


async def _drained(runner: web.AppRunner) -> None:
    """Accept nothing new, and wait for the requests under way.

    aiohttp's own shutdown reads no further from any connection, so a request whose body is still coming
    in would never be answered.
    """
    for site in list(runner.sites):
        await site.stop()
    assert runner.server is not None
    under_way = {connection: _request_of(connection) for connection in runner.server.connections}
    deadline = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < deadline and any(
        request is not None and _request_of(connection) is request
        for connection, request in under_way.items()
    ):
        await asyncio.sleep(_DRAIN_LOOK_SECONDS)


def _request_of(connection: web.RequestHandler) -> object:
    # Private to aiohttp, and asked for at the end only; without it the wait is skipped.
    return getattr(connection, "_current_request", None)


def _stopping(parent: BaseProcess | None) -> asyncio.Event:
    """An event that is set by the first signal; the second ends the process where it stands."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()

    def stop() -> None:
        if stopping.is_set():
            os._exit(130)
        stopping.set()

    # A terminal sends SIGINT to a whole group of processes; workers leave it to their parent.
    for number in (signal.SIGTERM,) if parent else (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, stop)
        except NotImplementedError:  # Windows: KeyboardInterrupt ends the loop instead.
            break

    def look() -> None:
        if parent is not None and not parent.is_alive():
            stopping.set()
        else:
            loop.call_later(_ON_PARENT_LOSS_SECONDS, look)

    if parent is not None:
        look()
    return stopping


# --- several processes ------------------------------------------------------------------------


def _work(settings: Settings, port: int, ready: Connection) -> None:
    """What a worker does; it says over *ready* that it answers, or why it cannot."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logs.configure(settings)
    parent = multiprocessing.parent_process()
    try:
        listener = listen(settings, shared=True, port=port)
        neruba = open_neruba(settings, migrate=False)
    except Exception as error:
        ready.send(str(error))
        sys.exit(1)
    with neruba, listener:
        _run(lambda: _answer(neruba, settings, listener, lambda: ready.send(None), parent))


class _Workers:
    """The processes that share a port, and the watch over them."""

    def __init__(self, settings: Settings, port: int, announce: Announce) -> None:
        self._settings = settings
        self._port = port
        self._announce = announce
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[SpawnProcess] = []
        self._deaths: list[float] = []
        self._stopping = False
        self._log = structlog.get_logger()

    def run(self) -> None:
        logs.configure(self._settings)
        # Bound but not listening: nobody else can take the port while a worker is being replaced.
        with listen(self._settings, shared=True, port=self._port) as holder, self._signals() as woken:
            try:
                self._start_all()
                self._announce(address_of(holder))
                self._watch(woken)
            finally:
                self._stop_all()

    def _start_all(self) -> None:
        starting = [self._start() for _ in range(self._settings.workers)]
        for process, ready in starting:
            self._await_ready(process, ready)

    def _start(self) -> tuple[SpawnProcess, Connection]:
        ready, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(
            target=_work, args=(self._settings, self._port, theirs), name="neruba-worker", daemon=False
        )
        process.start()
        theirs.close()
        self._workers.append(process)
        return process, ready

    def _await_ready(self, process: SpawnProcess, ready: Connection) -> None:
        with ready:
            try:
                problem = ready.recv()
            except EOFError:
                problem = f"it ended with status {process.exitcode}"
        if problem is not None and not self._stopping:
            raise CannotServe(f"a worker could not start: {problem}")

    def _watch(self, woken: socket.socket) -> None:
        while not self._stopping:
            wait([*(process.sentinel for process in self._workers), woken])
            for process in [process for process in self._workers if not process.is_alive()]:
                self._workers.remove(process)
                if not self._stopping:
                    self._replace(process)

    def _replace(self, dead: SpawnProcess) -> None:
        now = time.monotonic()
        self._deaths = [moment for moment in self._deaths if moment > now - _DEATHS_SECONDS] + [now]
        ended = _ending(dead.exitcode)
        if len(self._deaths) >= _DEATHS:
            raise CannotServe(
                f"{len(self._deaths)} workers died within {_DEATHS_SECONDS} s, the last one {ended}; "
                "all were stopped, see the log above"
            )
        self._log.error("a worker died and is replaced", pid=dead.pid, ended=ended)
        self._await_ready(*self._start())

    def _stop_all(self) -> None:
        for process in self._workers:
            if process.is_alive():
                process.terminate()
        deadline = time.monotonic() + DRAIN_SECONDS + SHUTDOWN_SECONDS + 5
        for process in self._workers:
            process.join(max(0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()

    @contextlib.contextmanager
    def _signals(self) -> Any:
        """A socket that becomes readable when a signal arrives, since waiting on processes is not
        interrupted by one."""
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        signal.set_wakeup_fd(theirs.fileno())

        def stop(*_: object) -> None:
            if self._stopping:
                for process in self._workers:
                    process.kill()
                os._exit(130)
            self._stopping = True

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        try:
            yield ours
        finally:
            signal.set_wakeup_fd(-1)
            ours.close()
            theirs.close()


def _ending(status: int | None) -> str:
    if status is not None and status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"with status {status}"
