"""What a deployment sells."""

from __future__ import annotations

from aiohttp import web

from neruba_core import Neruba
from neruba_server import present
from neruba_server.routes.call import Answer, Call
from neruba_server.routes.query import page_of
from neruba_server.wire import plans as wire


async def publish(call: Call) -> web.Response:
    sent = await call.read(wire.NewPlan)
    new = sent.checked()

    def act(bound: Neruba) -> Answer:
        plan = bound.plans.add(new, origin=call.origin)
        return Answer(wire.Plan.of(plan), subject_id=plan.id)

    return await call.once(sent, act)


async def listed(call: Call) -> web.Response:
    page = page_of(call.query())
    found = await call.run(lambda neruba: neruba.plans.list(**page))
    items = tuple(wire.Plan.of(plan) for plan in found.items)
    return present.json(wire.Plans(items, found.next_cursor))


async def get(call: Call) -> web.Response:
    plan_id = call.path("planId")
    plan = await call.run(lambda neruba: neruba.plans.get(plan_id))
    return present.json(wire.Plan.of(plan))
