"""A server that is killed at random moments under load loses nothing that it acknowledged.

``kill -9`` shows what a crash of the process does, not what a loss of power does: what the kernel has
taken survives it. Against power loss we rely on the databases' own flushing (SQLite ``synchronous=FULL``
in WAL mode, PostgreSQL ``fsync`` and ``synchronous_commit``), which the launcher and the adapter leave on.
"""

from __future__ import annotations

import http.client
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from attrs import define, field, frozen

from neruba_core import Neruba
from neruba_core.testing.postgres import PostgresDatabases

pytestmark = pytest.mark.torture

CLIENTS = 8
KILLS, TORTURE_KILLS = 20, 200
GRANTED_MICROS = 1_000_000 * 1_000_000
USAGE = '{"metricKey":"api_tokens","units":"1.5","timestamp":"2026-03-17T10:15:00Z"}'
CHARGE = '{"amount":"0.25","description":"GPU second"}'


@frozen
class Write:
    """A request, the same each time that it is sent."""

    path: str
    key: str
    body: str


@define
class Journal:
    """What clients know: the answers they got, and the writes whose fate they do not know."""

    answers: dict[Write, bytes] = field(factory=dict)
    unknown: set[Write] = field(factory=set)
    lock: threading.Lock = field(factory=threading.Lock)


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def test_killed_servers_lose_halve_and_double_nothing(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, torture: bool
) -> None:
    """
    Every acknowledged write is there once, every retry gets its bytes, and the books are whole.
    """
    url = _database_url(kind, request, tmp_path)
    neruba = Neruba.open(url)
    # Also where this fails: connections that nobody closes fail whatever test comes next.
    request.addfinalizer(neruba.close)
    project = neruba.projects.create(name="Killed")
    neruba.wallets.credit(project.id, amount="1000000", description="Start", idempotency_key="start")
    secret = neruba.access_keys.issue(project.id, name="K", scopes=["ingest:usage", "ingest:charge"]).secret
    chance = random.Random(20261122)
    journal = Journal()

    for turn in range(TORTURE_KILLS if torture else KILLS):
        with _serving(url) as server:
            _settle_unknown(journal, server.port, secret)
            _again(
                journal, server.port, secret, chance.sample(sorted(journal.answers, key=str), min(20, turn))
            )
            _load_until_killed(journal, server, secret, turn, chance.uniform(0.02, 0.4))
    with _serving(url) as server:
        _settle_unknown(journal, server.port, secret)

    usages = [write for write in journal.answers if write.path == "/ingest/usage"]
    charges = [write for write in journal.answers if write.path == "/ingest/charge"]
    (line,) = neruba.billing.overview(project.id).usage
    assert line.quantity.events == len(usages)
    assert line.quantity.units_micros == len(usages) * 1_500_000
    assert neruba.wallets.get(project.id).balance_micros == GRANTED_MICROS - len(charges) * 250_000
    assert neruba.audit.totals(project.id).accepted == len(journal.answers)
    swept = neruba.ledger.sweep(project.id)
    assert swept.faults == ()
    assert swept.transactions == len(charges) + 1
    assert len(usages) > KILLS
    assert len(charges) > KILLS


@frozen
class Server:
    """A running server of its own process."""

    port: int
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def _database_url(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if kind == "sqlite":
        return f"sqlite:///{tmp_path / 'killed.db'}"
    server: PostgresDatabases = request.getfixturevalue("durable_postgres_server")
    return server.create_database()


@contextmanager
def _serving(url: str) -> Iterator[Server]:
    """A server that is ready; killed at the end if it still lives."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "neruba_server", "serve", "--port", str(port), "--database", url]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NERUBA_")}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    try:
        _wait_until_ready(port, process)
        yield Server(port, process)
    finally:
        process.kill()
        process.wait()


def _wait_until_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended before it was ready"
        with suppress(OSError):
            if _ask(port, "GET", "/readyz", {}, None)[0] == 200:
                return
        time.sleep(0.05)
    raise AssertionError("the server is not ready after 30 s")


def _load_until_killed(journal: Journal, server: Server, secret: str, turn: int, seconds: float) -> None:
    clients = [
        threading.Thread(target=_client, args=(journal, server.port, secret, f"{turn}_{number}"))
        for number in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    time.sleep(seconds)
    server.kill()
    for client in clients:
        client.join()


def _client(journal: Journal, port: int, secret: str, name: str) -> None:
    """Send new writes until the server is gone."""
    for write in _writes(name):
        with journal.lock:
            journal.unknown.add(write)
        try:
            answer = _send(port, secret, write)
        except (OSError, http.client.HTTPException):
            return
        with journal.lock:
            journal.unknown.discard(write)
            journal.answers[write] = answer


def _writes(name: str) -> Iterator[Write]:
    number = 0
    while True:
        yield Write("/ingest/usage", f"usage_{name}_{number}", USAGE)
        yield Write("/ingest/charge", f"charge_{name}_{number}", CHARGE)
        number += 1


def _settle_unknown(journal: Journal, port: int, secret: str) -> None:
    """Do what a client does that got no answer: send the same again."""
    for write in sorted(journal.unknown, key=str):
        journal.answers[write] = _send(port, secret, write)
    journal.unknown.clear()


def _again(journal: Journal, port: int, secret: str, writes: list[Write]) -> None:
    for write in writes:
        assert _send(port, secret, write) == journal.answers[write], write


def _send(port: int, secret: str, write: Write) -> bytes:
    headers = {
        "x-api-key": secret,
        "Idempotency-Key": write.key,
        "Content-Type": "application/json",
    }
    status, body = _ask(port, "POST", write.path, headers, write.body)
    assert status == 201, body
    return body


def _ask(port: int, method: str, path: str, headers: dict[str, str], body: str | None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
