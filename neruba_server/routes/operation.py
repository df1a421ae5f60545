"""Whether the server lives and can work; its own description."""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web

from neruba_core.errors import NerubaError, SchemaOutdated
from neruba_core.schedule.model import JobState
from neruba_server import present
from neruba_server.routes.call import Call
from neruba_server.wire import support as wire

log = logging.getLogger("neruba.server")

CHECK_SECONDS = 5.0
CROWDED = 0.5


async def healthz(call: Call) -> web.Response:
    return present.json(wire.Alive("alive"))


async def readyz(call: Call) -> web.Response:
    house = call.house
    checks = await _database(call)
    checks["server"] = "shutting down" if house.stopping else "ok"
    unavailable = [name for name, found in checks.items() if found != "ok"]
    checks["writer"] = _writer(call)
    checks["background"] = "ok" if house.alive() else "stopped"
    checks["schedule"] = "unknown" if unavailable else await _schedule(call)
    checks["provider_events"] = "unknown" if unavailable else await _provider_events(call)
    checks["deliveries"] = "unknown" if unavailable else await _deliveries(call)
    if unavailable:
        return present.json(wire.Readiness("unavailable", checks), 503)
    degraded = any(found != "ok" for found in checks.values())
    return present.json(wire.Readiness("degraded" if degraded else "ready", checks))


async def openapi(call: Call) -> web.Response:
    return present.body(call.house.openapi)


async def _database(call: Call) -> dict[str, str]:
    try:
        await asyncio.wait_for(call.run(lambda neruba: neruba.check()), CHECK_SECONDS)
    except SchemaOutdated:
        return {"database": "ok", "schema": "outdated"}
    except (NerubaError, TimeoutError) as error:
        log.warning("not ready: %s", str(error) or "the database took too long to answer")
        return {"database": "unavailable", "schema": "unknown"}
    return {"database": "ok", "schema": "ok"}


async def _schedule(call: Call) -> str:
    """``ok``, or the jobs that are late, failing or stuck, by name; why is for the log and for operators."""
    jobs = call.house.settings.jobs
    try:
        found = await asyncio.wait_for(call.run(lambda neruba: neruba.schedule.status(jobs)), CHECK_SECONDS)
    except (NerubaError, TimeoutError):
        return "unknown"
    troubled: dict[str, list[str]] = {}
    for job in found:
        if job.state is not JobState.OK:
            troubled.setdefault(job.state.value, []).append(job.name)
    return "; ".join(f"{state}: {', '.join(names)}" for state, names in sorted(troubled.items())) or "ok"


async def _provider_events(call: Call) -> str:
    """``ok``, or that some were given up: which, and why, is for operators."""
    try:
        dead = await asyncio.wait_for(
            call.run(lambda neruba: neruba.provider_events.given_up()), CHECK_SECONDS
        )
    except (NerubaError, TimeoutError):
        return "unknown"
    return "dead" if dead else "ok"


async def _deliveries(call: Call) -> str:
    """``ok``, or that messages wait which nobody sends; an endpoint that does not answer is its owner's
    trouble and not ours."""
    try:
        late = await asyncio.wait_for(call.run(lambda neruba: neruba.webhooks.late()), CHECK_SECONDS)
    except (NerubaError, TimeoutError):
        return "unknown"
    return "late" if late else "ok"


def _writer(call: Call) -> str:
    writer = call.house.writer
    if not writer.alive:
        return "stopped"
    return "crowded" if writer.load > CROWDED else "ok"
