"""P1 and P3 over HTTP: 64 connections on one durable process, beside a server that does nothing.

Server and load each have a process, and a core of their own; on a machine with two cores PostgreSQL shares
them. Left to the kernel, which likes to wake a process on the core of the one that woke it, the load may run
behind the server instead of beside it while the other core is idle.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.bench.conftest import Database
from tests.bench.measure import report

pytestmark = pytest.mark.bench

CONNECTIONS = 64
SECONDS = 3
ROUNDS = 5
HERE = Path(__file__).parent
P1_TARGET = 0.35
P99_SECONDS = 0.050

USAGE = '{"metricKey":"api_tokens","units":"1250.000000","timestamp":"2026-03-17T10:15:00.000Z"}'
CHARGE = '{"amount":"0.000001","description":"GPU second"}'


def test_single_events_over_http_keep_pace_with_an_echo(fresh: Callable[[], Database]) -> None:
    """
    One event a request, each durable before it is answered.
    """
    database = fresh()
    key = _project_key(database)
    with _server(database) as port, _echo() as bare:
        ceilings, works = [], []
        for _ in range(ROUNDS + 1):
            ceilings.append(_load(bare, key, "/ingest/usage", USAGE))
            works.append(_load(port, key, "/ingest/usage", USAGE))

    ratio = _rate(works[1:]) / _rate(ceilings[1:])
    p99 = statistics.median(work["p99"] for work in works[1:])
    report(
        f"P1 {database.name}",
        f"{ratio:.2f} of a bare echo (target {P1_TARGET})",
        f"{_rate(works[1:]):.0f} events/s beside {_rate(ceilings[1:]):.0f}",
        f"p99 {p99 * 1e3:.0f} ms",
    )
    assert all(set(work["statuses"]) == {"201"} for work in works)
    assert ratio >= P1_TARGET


def test_charges_over_http_beat_one_call_each(fresh: Callable[[], Database]) -> None:
    """
    Sixty-four clients charge one wallet.
    """
    database = fresh()
    key = _project_key(database)
    with _server(database) as port:
        works = [_load(port, key, "/ingest/charge", CHARGE) for _ in range(ROUNDS + 1)]

    p99 = statistics.median(work["p99"] for work in works[1:])
    report(f"P3 HTTP {database.name}", f"{_rate(works[1:]):.0f} charges/s", f"p99 {p99 * 1e3:.0f} ms")
    assert all(set(work["statuses"]) == {"201"} for work in works)


def _rate(loads: list[dict[str, Any]]) -> float:
    return statistics.median(load["requests"] / load["seconds"] for load in loads)


def _project_key(database: Database) -> str:
    project = database.neruba.projects.create(name="Bench")
    database.neruba.wallets.credit(
        project.id, amount="1000000", description="Bench", idempotency_key="credit"
    )
    issued = database.neruba.access_keys.issue(
        project.id, name="Bench", scopes=["ingest:usage", "ingest:charge"]
    )
    return issued.secret


def _load(port: int, key: str, path: str, body: str) -> dict[str, Any]:
    head = [
        f"POST {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        f"x-api-key: {key}",
        "Idempotency-Key: evt_{n}",
        "Content-Type: application/json",
    ]
    command = [sys.executable, str(HERE / "load.py"), "127.0.0.1", str(port), str(CONNECTIONS), str(SECONDS)]
    done = subprocess.run(
        command,
        input=json.dumps({"head": head, "body": body}),
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=partial(_stay_on, -1),
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@contextmanager
def _server(database: Database) -> Iterator[int]:
    port = _free_port()
    command = [
        sys.executable,
        "-m",
        "neruba_server",
        "serve",
        "--port",
        str(port),
        "--database",
        database.url,
    ]
    with _running(command, port):
        yield port


@contextmanager
def _echo() -> Iterator[int]:
    port = _free_port()
    with _running([sys.executable, str(HERE / "echo.py"), str(port)], port):
        yield port


@contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NERUBA_")}
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        preexec_fn=partial(_stay_on, 0),
    )
    try:
        _wait_for(port, process)
        yield
    finally:
        process.terminate()
        process.wait(30)


def _stay_on(place: int) -> None:
    """Keep this process on one of our cores, counted from either end, where the system can do that."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[place]})


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended before it listened"
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the server does not listen")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
