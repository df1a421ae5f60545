"""The credentials of a project's machines."""

from __future__ import annotations

from aiohttp import web

from neruba_core import Neruba
from neruba_server import present
from neruba_server.routes.call import Answer, Call
from neruba_server.routes.query import page_of
from neruba_server.wire import projects as wire


async def issue(call: Call) -> web.Response:
    sent = await call.read(wire.NewAccessKey)

    def act(bound: Neruba) -> Answer:
        issued = bound.access_keys.issue(
            call.project,
            name=sent.name,
            scopes=sent.scopes,
            expires_at=sent.expires_at,
            origin=call.origin,
        )
        return Answer(
            wire.IssuedAccessKey.of(issued, with_secret=True),
            keep=wire.IssuedAccessKey.of(issued, with_secret=False),
            subject_id=issued.key.id,
        )

    return await call.once(sent, act)


async def listed(call: Call) -> web.Response:
    page = page_of(call.query())
    found = await call.run(lambda neruba: neruba.access_keys.list(call.project, **page))
    items = tuple(wire.AccessKey.of(key) for key in found.items)
    return present.json(wire.AccessKeys(items, found.next_cursor))


async def revoke(call: Call) -> web.Response:
    key_id = call.path("keyId")
    await call.write(
        lambda bound: bound.access_keys.revoke(call.project, key_id, origin=call.origin), status=204
    )
    call.house.keys.forget(key_id)
    return present.empty()


async def rotate(call: Call) -> web.Response:
    sent = await call.read(wire.Rotation, optional=True)
    key_id = call.path("keyId")

    def act(bound: Neruba) -> Answer:
        issued = bound.access_keys.rotate(
            call.project, key_id, overlap_hours=sent.overlap_hours or 0, origin=call.origin
        )
        return Answer(
            wire.IssuedAccessKey.of(issued, with_secret=True),
            keep=wire.IssuedAccessKey.of(issued, with_secret=False),
            subject_id=issued.key.id,
        )

    response = await call.once(sent, act)
    call.house.keys.forget(key_id)
    return response
