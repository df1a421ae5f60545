"""The credentials of backends that work across projects."""

from __future__ import annotations

from aiohttp import web

from neruba_core import Neruba
from neruba_core.access.model import IssuedPlatformKey
from neruba_server import present
from neruba_server.routes.call import Answer, Call
from neruba_server.routes.query import page_of
from neruba_server.wire import projects as wire


async def issue(call: Call) -> web.Response:
    sent = await call.read(wire.NewPlatformKey)

    def act(bound: Neruba) -> Answer:
        return _shown_once(
            bound.platform_keys.issue(
                name=sent.name, scopes=sent.scopes, expires_at=sent.expires_at, origin=call.origin
            )
        )

    return await call.once(sent, act)


async def listed(call: Call) -> web.Response:
    page = page_of(call.query())
    found = await call.run(lambda neruba: neruba.platform_keys.list(**page))
    items = tuple(wire.PlatformKey.of(key) for key in found.items)
    return present.json(wire.PlatformKeys(items, found.next_cursor))


async def revoke(call: Call) -> web.Response:
    key_id = call.path("keyId")
    await call.write(lambda bound: bound.platform_keys.revoke(key_id))
    call.house.keys.forget(key_id)
    return present.empty()


async def rotate(call: Call) -> web.Response:
    sent = await call.read(wire.Rotation, optional=True)
    key_id = call.path("keyId")

    def act(bound: Neruba) -> Answer:
        return _shown_once(
            bound.platform_keys.rotate(key_id, overlap_hours=sent.overlap_hours or 0, origin=call.origin)
        )

    response = await call.once(sent, act)
    call.house.keys.forget(key_id)
    return response


def _shown_once(issued: IssuedPlatformKey) -> Answer:
    return Answer(
        wire.IssuedPlatformKey.of(issued, with_secret=True),
        keep=wire.IssuedPlatformKey.of(issued, with_secret=False),
        subject_id=issued.key.id,
    )
