"""Billing runs: one period of one project, as often as you like."""

from __future__ import annotations

from aiohttp import web

from neruba_core import Neruba
from neruba_server import present
from neruba_server.routes.call import Answer, Call
from neruba_server.routes.query import page_of
from neruba_server.wire import runs as wire


async def run(call: Call) -> web.Response:
    sent = await call.read(wire.NewRun)

    def act(bound: Neruba) -> Answer:
        result = bound.billing.run(
            call.project,
            sent.period,
            dry_run=bool(sent.dry_run),
            finalize=sent.finalize,
            ignore_unpriced=bool(sent.ignore_unpriced),
            origin=call.origin,
        )
        # Made is what was not there before; a dry run makes nothing, and an unchanged one nothing new.
        status = 200 if result.run.unchanged or result.run.dry_run else 201
        return Answer(wire.Run.of_result(result), status, subject_id=result.run.id)

    return await call.once(sent, act)


async def listed(call: Call) -> web.Response:
    query = call.query()
    found = await call.run(
        lambda neruba: neruba.billing.runs(call.project, period=query.get("period"), **page_of(query))
    )
    items = tuple(wire.RunRecord.of(each) for each in found.items)
    return present.json(wire.RunRecords(items, found.next_cursor))


async def get(call: Call) -> web.Response:
    run_id = call.path("runId")
    found = await call.run(lambda neruba: neruba.billing.get_run(call.project, run_id))
    return present.json(wire.RunRecord.of(found))
