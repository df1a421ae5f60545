"""Memory, SQLite and PostgreSQL live through the same histories and never differ."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings

from neruba_core.storage.memory import MemoryStorage
from neruba_core.storage.port import Storage
from neruba_core.storage.sql import SqlStorage
from neruba_core.testing.machine import run_machine

STEPS = 50


@pytest.mark.torture
@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def test_a_database_lives_the_same_life_as_memory(kind, request, torture):
    """
    As the model foretells it, and byte-identical at the end; so the databases equal each other too.
    """
    url = "sqlite://" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    database = SqlStorage(url)
    database.migrate()
    stores: dict[str, Callable[[], Storage]] = {"memory": MemoryStorage, kind: lambda: database}

    run_machine(
        stores,
        settings(
            max_examples=2_000 if torture else 100,
            stateful_step_count=STEPS,
            suppress_health_check=list(HealthCheck),
        ),
        thorough=torture,
    )

    database.close()
