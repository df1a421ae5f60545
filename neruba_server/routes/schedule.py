"""What falls due in a project, and whether the work for it is on time."""

from __future__ import annotations

from aiohttp import web

from neruba_server import present
from neruba_server.routes.call import Call
from neruba_server.wire import schedule as wire

AT_MOST = 50


async def schedule(call: Call) -> web.Response:
    at_most = call.query().get("limit", AT_MOST)
    agenda = await call.run(lambda neruba: neruba.schedule.of_project(call.project, limit=at_most))
    jobs = await call.run(lambda neruba: neruba.schedule.status(call.house.settings.jobs))
    return present.json(wire.Schedule.of(agenda, jobs))
