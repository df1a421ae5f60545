"""A server over memory, and the world behind it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from functools import cache
from pathlib import Path

import pytest
from aiohttp import ClientSession

from neruba_core import Neruba
from neruba_core.identity import passwords
from neruba_core.testing.postgres import PostgresDatabases
from neruba_core.testing.provider import RehearsedProvider
from tests.server.world import World, served, world_of


@pytest.fixture(autouse=True, scope="session")
def _guessing_is_judged_once() -> Iterator[None]:
    """
    Judging a password takes milliseconds, and every world has the same few.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_guesses", cache(passwords._guesses))
        yield


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def neruba(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Neruba]:
    """
    An engine on an empty database of each kind in turn.
    """
    if request.param == "sqlite":
        copied = shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "billing.db")
        with Neruba.open(f"sqlite:///{copied}", password_effort="testing") as engine:
            yield engine
        return
    databases: PostgresDatabases = request.getfixturevalue("postgres_server")
    url = databases.create_database(request.getfixturevalue("postgres_template"))
    with Neruba.open(url, password_effort="testing") as engine:
        yield engine
    databases.drop_database(url)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """
    Two tenants on a server of their own, in memory.
    """
    neruba = Neruba.in_memory(password_effort="testing", providers=(RehearsedProvider(),))
    async with served(neruba, expose_docs=True) as server, ClientSession() as session:
        yield await world_of(neruba, server, session)
