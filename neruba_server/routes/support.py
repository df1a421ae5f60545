"""What became of ingest, what a request did, who changed what; and the quarantine."""

from __future__ import annotations

from aiohttp import web

from neruba_core import Neruba
from neruba_core.idempotency.outcomes import Accepted, Deduplicated, Replayed
from neruba_core.usage.model import QuarantineState
from neruba_server import present
from neruba_server.routes.call import Answer, Call
from neruba_server.routes.query import page_of
from neruba_server.wire import support as wire
from neruba_server.wire.billing import usage_of


async def outcomes(call: Call) -> web.Response:
    query = call.query()
    found = await call.run(
        lambda neruba: neruba.audit.attempts(
            call.project,
            outcome=query.get("outcome"),
            metric_key=query.get("metricKey"),
            access_key_id=query.get("accessKeyId"),
            start=query.get("from"),
            end=query.get("to"),
            **page_of(query),
        )
    )
    items = tuple(wire.Attempt.of(attempt) for attempt in found.items)
    return present.json(wire.Attempts(items, found.next_cursor))


async def replay(call: Call) -> web.Response:
    sent = await call.read(wire.Nothing, optional=True)
    quarantine_id = call.path("quarantineId")

    def act(bound: Neruba) -> Answer:
        outcome = bound.usage.replay_quarantined(call.project, quarantine_id, origin=call.origin)
        assert isinstance(outcome, Accepted | Replayed | Deduplicated), "anything else is raised"
        status = 201 if isinstance(outcome, Accepted) else 200
        return Answer(usage_of(outcome.value), status, subject_id=outcome.value.id)

    return await call.once(sent, act)


async def discard(call: Call) -> web.Response:
    sent = await call.read(wire.Nothing, optional=True)
    quarantine_id = call.path("quarantineId")

    def act(bound: Neruba) -> Answer:
        waiting = bound.usage.discard_quarantined(call.project, quarantine_id, origin=call.origin)
        shown = wire.Discarded(waiting.id, QuarantineState.DISCARDED.value)
        return Answer(shown, 200, subject_id=waiting.id)

    return await call.once(sent, act)


async def requests(call: Call) -> web.Response:
    request_id = call.path("requestId")
    rows = await call.run(lambda neruba: neruba.audit.trail(call.project, request_id))
    return present.json(wire.Trails(tuple(wire.Trail.of(row) for row in rows)))


async def audit(call: Call) -> web.Response:
    page = page_of(call.query())
    found = await call.run(lambda neruba: neruba.audit.changes(call.project, **page))
    items = tuple(wire.Change.of(change) for change in found.items)
    return present.json(wire.Changes(items, found.next_cursor))
