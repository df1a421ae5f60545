"""The server against its own document: generated requests, good and bad, for every operation.

Every check of schemathesis: no 5xx, only documented statuses, headers, content types and bodies, bad data
refused, good data accepted, credentials asked for. The ids in paths are real, or nothing but 404 would be
seen; what is generated is all the rest.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import schemathesis
from aiohttp import ClientSession
from attrs import define
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode
from schemathesis.generation.stateful import run_state_machine_as_test
from schemathesis.specs.openapi.checks import negative_data_rejection

from neruba_core import Neruba
from neruba_server.auth import Anyone, Machines
from neruba_server.routes.route import Route
from neruba_server.routes.table import ROUTES
from tests.server.world import PASSWORD, World, served, stocked, world_of

EXAMPLES = 200 if os.environ.get("NERUBA_TORTURE") == "full" else 12


@define
class Live:
    """A server on a thread of its own, and the world behind it."""

    url: str
    world: World
    schema: Any

    def headers(self, route: Route) -> Mapping[str, str]:
        """Credentials that the route takes."""
        if isinstance(route.who, Anyone):
            return {}
        if isinstance(route.who, Machines):
            # The check that leaves credentials out knows them by the very name in the document.
            return {"x-api-key": self.world.one.machines[route.who.scope]["X-Api-Key"]}
        if route.operation in ("logout", "changePassword"):
            # These end the session that they come in.
            tokens = self.world.neruba.sessions.login("owner@one.example", PASSWORD)
            return {"Authorization": f"Bearer {tokens.access_token}"}
        return self.world.operator


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    """
    One server for all operations: what one of them leaves behind, the next one meets.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    neruba = Neruba.in_memory(password_effort="testing")

    async def start() -> tuple[Any, World]:
        server = served(neruba, expose_docs=True)
        await server.start_server()
        async with ClientSession() as session:
            return server, stocked(await world_of(neruba, server, session))

    server, world = asyncio.run_coroutine_threadsafe(start(), loop).result()
    schema = schemathesis.openapi.from_url(str(server.make_url("/openapi.json")))
    # A request that fits its schema may still be refused for the state of things, or for what no schema
    # can say (an instant in the future, a sum that is not covered, a cursor that nobody issued).
    accepted = schema.config.checks.positive_data_acceptance
    accepted.expected_statuses = ["2xx", "400", "401", "402", "403", "404", "409", "422", "429"]
    refused = schema.config.checks.negative_data_rejection
    refused.expected_statuses = ["400", "401", "402", "403", "404", "405", "409", "413", "415", "422", "429"]
    yield Live(str(server.make_url("")).rstrip("/"), world, schema)
    asyncio.run_coroutine_threadsafe(server.close(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


QUICK = settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.operation)
def test_generated_requests_find_no_mismatch(live: Live, route: Route, mode: GenerationMode):
    """
    Good data is taken, bad data is refused as the document says, nothing is a 5xx.
    """
    operation = live.schema.find_operation_by_id(route.operation)
    ids = {name: live.world.one.ids[name] for name in route.parameters}
    if mode is GenerationMode.NEGATIVE and not _can_be_wrong(route):
        return

    @QUICK
    @given(st.data())
    def ask(data: st.DataObject) -> None:
        case = data.draw(operation.as_strategy(mode, path_parameters=ids))
        # A bad event of a batch is refused at its place in an answer of 200.
        excluded = [negative_data_rejection] if route.operation == "recordUsageBatch" else []
        case.call_and_validate(base_url=live.url, headers=dict(live.headers(route)), excluded_checks=excluded)

    ask()


def test_sequences_of_requests_find_no_mismatch(live: Live):
    """
    What one request answers is put into the next, as far as the document links them.
    """
    machine = live.schema.as_state_machine()

    class Machine(machine):  # type: ignore[misc, valid-type]
        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            route = next(
                route for route in ROUTES if route.operation == case.operation.definition.raw["operationId"]
            )
            return {"base_url": live.url, "headers": dict(live.headers(route))}

    run_state_machine_as_test(
        Machine, settings=settings(QUICK, max_examples=max(EXAMPLES // 2, 5), stateful_step_count=6)
    )


def _can_be_wrong(route: Route) -> bool:
    """Whether there is anything in a request of the route that a schema could forbid."""
    return bool(route.request or route.query or route.idempotency.value != "none")
