"""Memory, SQLite and PostgreSQL live through the same histories and never differ."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

from neruba_core.storage.memory import MemoryStorage
from neruba_core.storage.port import Storage
from neruba_core.storage.sql import SqlStorage
from neruba_core.testing.machine import run_machine

EXAMPLES = 2_000 if os.environ.get("NERUBA_TORTURE") == "full" else 100
STEPS = 50


@pytest.mark.torture
@pytest.mark.postgres
def test_all_stores_live_the_same_life(postgres_url):
    """
    As the model foretells it, and byte-identical at the end.
    """
    sqlite, postgresql = SqlStorage("sqlite://"), SqlStorage(postgres_url)
    sqlite.migrate()

    def reused(store: Storage) -> Storage:
        return store

    run_machine(
        {"memory": MemoryStorage, "sqlite": lambda: reused(sqlite), "postgresql": lambda: reused(postgresql)},
        settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            suppress_health_check=list(HealthCheck),
        ),
    )

    sqlite.close()
    postgresql.close()
