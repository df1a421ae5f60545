"""The people of a project."""

from __future__ import annotations

from aiohttp import web

from neruba_core import Neruba
from neruba_core.pages import DEFAULT_LIMIT
from neruba_core.tenancy.model import Role
from neruba_server import present
from neruba_server.routes.call import Answer, Call
from neruba_server.routes.slices import sliced
from neruba_server.wire import projects as wire


async def listed(call: Call) -> web.Response:
    query, project_id = call.query(), call.project
    members, invitations = await call.run(
        lambda neruba: (neruba.members.list(project_id), neruba.members.invitations(project_id))
    )
    page = sliced(
        members,
        "user_id",
        query.get("limit", DEFAULT_LIMIT),
        query.get("cursor"),
        "members",
        project_id,
    )
    return present.json(
        wire.Members(
            tuple(wire.Member.of(member) for member in page.items),
            page.next_cursor,
            tuple(wire.Invitation.of(invitation, None) for invitation in invitations),
        )
    )


async def add(call: Call) -> web.Response:
    sent = await call.read(wire.NewMember)
    by = call.person.role or Role.VIEWER

    def act(bound: Neruba) -> Answer:
        added = bound.members.add(call.project, email=sent.email, role=sent.role, by=by, origin=call.origin)
        shown, kept = wire.Added.of(added, with_token=True), wire.Added.of(added, with_token=False)
        return Answer(shown, keep=kept)

    return await call.once(sent, act)


async def change_role(call: Call) -> web.Response:
    sent = await call.read(wire.RoleChange)
    by, user_id = call.person.role or Role.VIEWER, call.path("userId")
    member = await call.write(
        lambda bound: bound.members.change_role(
            call.project, user_id, role=sent.role, by=by, origin=call.origin
        )
    )
    return present.json(wire.Member.of(member))


async def remove(call: Call) -> web.Response:
    by, user_id = call.person.role or Role.VIEWER, call.path("userId")
    await call.write(
        lambda bound: bound.members.remove(call.project, user_id, by=by, origin=call.origin), status=204
    )
    return present.empty()
