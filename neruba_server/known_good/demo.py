"""The whole loop on a server of its own, which is gone afterwards.

The server is the one that ``neruba serve`` runs, in a process of its own, on a fresh SQLite database in a
temporary directory and a port that was free. Settings of the surroundings are left out, so the demo is the
same everywhere and touches nothing.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from neruba_core import Neruba
from neruba_server.known_good import sequence
from neruba_server.known_good.sequence import Plan, demo_plan
from neruba_server.known_good.show import Page
from neruba_server.known_good.walk import Walk, Walked
from neruba_server.settings import PREFIX

START_SECONDS = 20
STOP_SECONDS = 10


class ServerFailed(Exception):
    """The demo's server did not start; the message holds its last words."""


def demo(page: Page | None) -> tuple[Walk, list[Walked]]:
    """Walk the sequence against a server of its own, printing it on *page* if there is one.

    Raises ``ServerFailed`` or ``Unreachable``.
    """
    plan = demo_plan()
    with own_server(plan) as base_url:
        if page is not None:
            page.line("Neruba: the whole loop, over HTTP", "bold")
            page.line(f"A server of its own answers at {base_url} until the loop is through.", "dim")
        walk = Walk(base_url, proxies=False)
        steps = []
        for walked in walk.along(sequence.sequence(plan)):
            steps.append(walked)
            if page is not None:
                page.step(walked)
        return walk, steps


@contextlib.contextmanager
def own_server(plan: Plan) -> Iterator[str]:
    """A server on a fresh database that knows the user of *plan*; yields its address."""
    with tempfile.TemporaryDirectory(prefix="neruba-demo-") as directory:
        database = f"sqlite:///{directory}/demo.db"
        with Neruba.open(database) as neruba:
            neruba.users.add(plan.email, plan.password)
        log = Path(directory, "server.log")
        with log.open("wb") as written:
            server = subprocess.Popen(
                [sys.executable, "-m", "neruba_server", "serve", "--port", "0", "--database", database],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=written,
                env=_environment(),
                text=True,
            )
        try:
            yield _address(server, log)
        finally:
            _stop(server)


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return {**kept, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1"}


def _address(server: subprocess.Popen[str], log: Path) -> str:
    """The address in the first line that the server prints."""
    assert server.stdout is not None
    patience = threading.Timer(START_SECONDS, server.kill)
    patience.start()
    try:
        line = server.stdout.readline()
    finally:
        patience.cancel()
    words = [word for word in line.split() if word.startswith("http://")]
    if not words:
        server.wait()
        raise ServerFailed(f"the demo's server did not start: {_last_words(log)}")
    return words[0]


def _last_words(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else f"nothing was said within {START_SECONDS} s"


def _stop(server: subprocess.Popen[str]) -> None:
    server.terminate()
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    if server.stdout is not None:
        server.stdout.close()


def summary(walk: Walk) -> list[tuple[str, str]]:
    """The reconciled state, by name. Raises ``LookupError`` where the walk did not come that far."""
    told = walk.told
    plan = demo_plan()
    units = sequence.usage_of(told["overview"], plan.period)
    events = sum(event["eventId"] == plan.usage_key for event in told["events"].value("items"))
    counts = told["overview"].value("ingest")
    books, invoice = told["books"], told["run"].value("invoice")
    once = "1 event, although it was sent twice" if events == 1 else f"{events} events"
    attempts = ", ".join(f"{counts[name]} {name}" for name in ("accepted", "replayed", "conflict"))
    return [
        ("usage", f"{units} of {sequence.METRIC} in {once}"),
        ("attempts", attempts),
        ("invoice", _invoice(invoice)),
        ("wallet", f"{sequence.settled(told)} {told['wallet'].value('currency')}"),
        ("ledger", f"debits {books.value('debits')} = credits {books.value('credits')}"),
    ]


def _invoice(invoice: dict[str, Any]) -> str:
    sums = f"{invoice['total']} − {invoice['creditApplied']} from credit = {invoice['amountDue']} due"
    return f"number {invoice['number']}, {invoice['state']}: {sums}"
