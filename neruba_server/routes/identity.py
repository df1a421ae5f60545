"""Signing in, staying signed in, signing out."""

from __future__ import annotations

from aiohttp import web

from neruba_server import present
from neruba_server.auth import client_address
from neruba_server.routes.call import Call
from neruba_server.wire import identity as wire


async def login(call: Call) -> web.Response:
    sent = await call.read(wire.Login)
    address = client_address(call.request, call.house.trusted)
    tokens = await call.house.hash(lambda: call.house.sessions.login(sent.email, sent.password, address))
    return present.json(wire.SignedIn.of(tokens))


async def refresh(call: Call) -> web.Response:
    sent = await call.read(wire.Refresh)
    tokens = await call.house.run(lambda: call.house.sessions.refresh(sent.refresh_token))
    return present.json(wire.SignedIn.of(tokens))


async def logout(call: Call) -> web.Response:
    session_id = call.person.session.id
    await call.run(lambda neruba: neruba.sessions.logout(session_id))
    return present.empty()


async def change_password(call: Call) -> web.Response:
    sent = await call.read(wire.ChangePassword)
    address = client_address(call.request, call.house.trusted)
    await call.house.hash(
        lambda: call.house.sessions.change_password(
            call.person.user.id, sent.current_password, sent.new_password, address
        )
    )
    return present.empty()


async def me(call: Call) -> web.Response:
    user = call.person.user
    memberships = await call.run(lambda neruba: neruba.sessions.memberships(user.id))
    return present.json(wire.Me.of(user, memberships))


async def accept_invitation(call: Call) -> web.Response:
    sent = await call.read(wire.AcceptInvitation)
    address = client_address(call.request, call.house.trusted)
    tokens = await call.house.hash(
        lambda: call.house.sessions.accept_invitation(sent.token, sent.password, address, origin=call.origin)
    )
    return present.json(wire.SignedIn.of(tokens))
