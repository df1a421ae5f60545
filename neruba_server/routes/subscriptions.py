"""Which plan a project is on."""

from __future__ import annotations

from aiohttp import web

from neruba_core import Neruba
from neruba_core.pages import DEFAULT_LIMIT
from neruba_core.subscriptions.fees import in_force
from neruba_server import present
from neruba_server.routes.call import Answer, Call
from neruba_server.routes.slices import sliced
from neruba_server.wire import subscriptions as wire


async def decide(call: Call) -> web.Response:
    sent = await call.read(wire.NewDecision)
    wanted, effective = sent.wanted(), sent.when()
    if sent.quote:
        quoted = await call.run(
            lambda neruba: neruba.subscriptions.decide(
                call.project, wanted, effective, origin=call.origin, only_quote=True
            )
        )
        return present.json(wire.Decided.of(quoted, taken=False))

    def act(bound: Neruba) -> Answer:
        decided = bound.subscriptions.decide(call.project, wanted, effective, origin=call.origin)
        return Answer(wire.Decided.of(decided), subject_id=decided.decision.id)

    return await call.once(sent, act)


async def listed(call: Call) -> web.Response:
    query, project_id = call.query(), call.project
    decisions = await call.run(lambda neruba: neruba.subscriptions.decisions(project_id))
    page = sliced(
        decisions[::-1],
        "id",
        query.get("limit", DEFAULT_LIMIT),
        query.get("cursor"),
        "subscription",
        project_id,
    )
    current = in_force(decisions, call.neruba.now())
    return present.json(
        wire.Decisions(
            tuple(wire.Decision.of(decision) for decision in page.items),
            page.next_cursor,
            None if current is None else wire.Decision.of(current),
        )
    )
