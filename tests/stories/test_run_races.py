"""Billing runs that race, are killed, or crash at any call: each project's period is billed once, and alike.

What a process did by the system's clock is compared without its instants and the random ids of run records;
everything else is the same to the byte as where nothing went wrong.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from neruba_core import Neruba
from neruba_core.errors import StorageUnavailable
from neruba_core.instants import Instant, month
from neruba_core.pricing.model import Tier
from neruba_core.storage.memory import MemoryStorage
from neruba_core.storage.port import Storage
from neruba_core.storage.sql import SqlStorage
from neruba_core.testing.builders import Rehearsal
from neruba_core.testing.clock import SettableClock
from neruba_core.testing.failing import failing
from neruba_core.testing.postgres import PostgresDatabases
from tests.stories.year import all_invoices, text_of

pytestmark = pytest.mark.torture

PROJECTS = 20
KILLS, TORTURE_KILLS = 5, 20
RACES, TORTURE_RACES = 1, 20
FIRST = datetime(2022, 1, 1, tzinfo=UTC)
"""Long ago, so that instants of the system's clock are told from those of the story."""

KINDS = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]


# --- processes --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_two_schedulers_bill_each_period_once(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, torture: bool
) -> None:
    """
    Two processes that begin at the same time; numbers have no gaps, and all is as if there had been one.
    """
    months = TORTURE_RACES if torture else RACES
    expected = undisturbed(months)
    with database(kind, request, tmp_path, months) as (url, neruba):
        for number in range(months):
            processes = [billing(url, name_of(number)) for _ in range(2)]
            assert [process.wait(120) for process in processes] == [0, 0]

        check(neruba, expected, months)


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_run_is_run_again_and_nobody_can_tell(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path, torture: bool
) -> None:
    """
    ``kill -9`` at a random moment of each month's run, then the same command once more.
    """
    months = 1 + (TORTURE_KILLS if torture else KILLS)
    expected = undisturbed(months)
    chance = random.Random(20261122)
    with database(kind, request, tmp_path, months) as (url, neruba):
        begun = time.monotonic()
        assert billing(url, name_of(0)).wait(120) == 0
        usual = time.monotonic() - begun
        for number in range(1, months):
            process = billing(url, name_of(number))
            time.sleep(usual * chance.uniform(0.4, 1.0))
            process.kill()
            process.wait(120)
            assert billing(url, name_of(number)).wait(120) == 0

        check(neruba, expected, months)


@contextmanager
def database(
    kind: str, request: pytest.FixtureRequest, folder: Path, months: int
) -> Iterator[tuple[str, Neruba]]:
    """
    The URL of a database in which the story has been told, and an engine over it.
    """
    server: PostgresDatabases | None = None
    url = f"sqlite:///{folder / 'billing.db'}"
    if kind == "postgresql":
        server = request.getfixturevalue("postgres_server")
        url = server.create_database(request.getfixturevalue("postgres_template"))
    storage = SqlStorage(url)
    storage.migrate()
    try:
        yield url, tell(storage, PROJECTS, months)
    finally:
        storage.close()
        if server is not None:
            server.drop_database(url)


def billing(url: str, period: str) -> subprocess.Popen[bytes]:
    """
    ``neruba billing run`` in a process of its own.
    """
    command = [sys.executable, "-m", "neruba_server", "billing", "run", "--period", period, "--json"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NERUBA_")}
    return subprocess.Popen([*command, "--database", url], stdout=subprocess.DEVNULL, env=environment)


def undisturbed(months: int) -> dict[str, str]:
    """
    The exports where one scheduler did everything, in memory.
    """
    neruba = tell(MemoryStorage(), PROJECTS, months)
    neruba.clock.set(datetime.now(UTC))
    for number in range(months):
        assert all(run.error is None for run in neruba.billing.run_all(name_of(number)))
    return {each.id: timeless(text_of(neruba, each.id)) for each in neruba.projects.list(limit=200).items}


def check(neruba: Neruba, expected: dict[str, str], months: int) -> None:
    for project_id, text in expected.items():
        assert timeless(text_of(neruba, project_id)) == text
        issued = all_invoices(neruba, project_id)
        assert [each.number for each in issued] == list(range(1, months + 1))
        assert neruba.ledger.sweep(project_id).balanced


def timeless(text: str) -> str:
    """
    An export without the system's instants, as text and in ids of run records.
    """
    text = re.sub(r"20(2[6-9]|[3-9]\d)-\d\d-\d\dT[\d:.]+Z", "now", text)
    return re.sub(r"run_[0-9a-f]{32}", "run", text)


# --- crashes at any call ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_crash_at_any_call_of_a_run_leaves_no_trace(kind: str, tmp_path: Path, torture: bool) -> None:
    """
    Two months, run again after the crash, come to the same bytes.
    """
    told = Told(kind, tmp_path)
    clock = SettableClock(month(name_of(1), "UTC").end + timedelta(days=9))

    def run(storage: Storage) -> None:
        neruba = Rehearsal(storage, clock=clock, seed=5)
        for number in range(2):
            assert all(each.error is None for each in neruba.billing.run_all(name_of(number)))

    counted = failing(told.again(), at=None)
    run(counted)
    expected = told.texts()
    # SQLite waits for the disk at every one.
    step = 1 if torture or kind == "memory" else 4
    for at in range(1, counted.calls + 1, step):
        storage = told.again()
        with pytest.raises(StorageUnavailable):
            run(failing(storage, at=at))
        run(storage)

        assert [timeless_runs(text) for text in told.texts()] == [timeless_runs(text) for text in expected]
    assert counted.calls > 40


def timeless_runs(text: str) -> str:
    """
    Two months are two commands: where only the second crashed, its retry draws other random ids.
    """
    return re.sub(r"run_[0-9a-f]{32}", "run", text)


class Told:
    """
    A story that can be had again and again as it was at its end.
    """

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.folder = kind, folder
        self.storage: Storage | None = None
        if kind == "sqlite":
            storage = SqlStorage(f"sqlite:///{folder / 'told.db'}")
            storage.migrate()
            tell(storage, 2, 2)
            storage.close()

    def again(self) -> Storage:
        if self.storage is not None:
            self.storage.close()
        if self.kind == "memory":
            self.storage = MemoryStorage()
            tell(self.storage, 2, 2)
        else:
            for file in self.folder.glob("copy.db*"):
                file.unlink()
            shutil.copy(self.folder / "told.db", self.folder / "copy.db")
            self.storage = SqlStorage(f"sqlite:///{self.folder / 'copy.db'}")
        return self.storage

    def texts(self) -> list[str]:
        assert self.storage is not None
        neruba = Neruba(self.storage)
        return [text_of(neruba, each.id) for each in neruba.projects.list().items]


# --- the story --------------------------------------------------------------------------------


def name_of(number: int) -> str:
    return f"{FIRST.year + number // 12}-{number % 12 + 1:02d}"


def tell(storage: Storage, projects: int, months: int) -> Rehearsal:
    """
    Months of usage, charges, a subscription and credit in each project, and nothing billed yet.
    """
    neruba = Rehearsal(storage, clock=SettableClock(FIRST), seed=42)
    neruba.plans.publish(
        key="team",
        name="Team",
        amount="30",
        minimum_commitment="12",
        prices=[{"metric_key": "calls", "model": "package", "package_size": "2", "package_amount": "3"}],
    )
    ids = [
        neruba.projects.create(name=f"Project {number}", credit_limit="50").id for number in range(projects)
    ]
    for number, project_id in enumerate(ids):
        neruba.metrics.declare(project_id, key="calls", aggregation="count")
        neruba.metrics.declare(project_id, key="tokens", aggregation="sum")
        tiers = [Tier.of("10", "1.5"), Tier.of(None, "0.3", "2")]
        neruba.prices.create(project_id, metric_key="tokens", model="graduated", tiers=tiers)
        neruba.projects.update(project_id, tax_rate="0.19")
        neruba.subscriptions.subscribe(project_id, plan_key="team", quantity=1 + number % 3)
    for number in range(months):
        start = month(name_of(number), "UTC").start
        neruba.clock.set(start + timedelta(days=20))
        for place, project_id in enumerate(ids):
            _use(neruba, project_id, start, number, place)
    return neruba


def _use(neruba: Neruba, project_id: str, start: Instant, number: int, place: int) -> None:
    neruba.usage.record_many(
        project_id,
        [
            {
                "metric_key": metric,
                "units": f"{place + 1}.{number}",
                "timestamp": start + timedelta(days=days),
                "idempotency_key": f"{metric}-{number}-{days}",
            }
            for metric, days in (("tokens", 2), ("tokens", 9), ("calls", 3))
        ],
    )
    if place % 2:
        neruba.charges.charge(
            project_id, amount="3.333333", description="GPU", idempotency_key=f"charge-{number}"
        )
    neruba.wallets.credit(
        project_id, amount=f"{place + 5}", description="credit", idempotency_key=f"credit-{number}"
    )
