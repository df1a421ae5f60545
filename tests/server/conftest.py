"""A server over memory, and the world behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import cache

import pytest
from aiohttp import ClientSession

from neruba_core import Neruba
from neruba_core.identity import passwords
from tests.server.world import World, served, world_of


@pytest.fixture(autouse=True, scope="session")
def _guessing_is_judged_once() -> Iterator[None]:
    """
    Judging a password takes milliseconds, and every world has the same few.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_guesses", cache(passwords._guesses))
        yield


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """
    Two tenants on a server of their own, in memory.
    """
    neruba = Neruba.in_memory(password_effort="testing")
    async with served(neruba, expose_docs=True) as server, ClientSession() as session:
        yield await world_of(neruba, server, session)
