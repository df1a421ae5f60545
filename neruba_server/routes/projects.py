"""Projects: founding, reading, changing, archiving."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from msgspec import UNSET

from neruba_core import Neruba, money
from neruba_core.errors import RoleMissing
from neruba_core.tenancy.model import Role
from neruba_server import present
from neruba_server.auth import Platform
from neruba_server.problems import BodyInvalid, Fault
from neruba_server.routes.call import Answer, Call
from neruba_server.routes.query import page_of
from neruba_server.wire import projects as wire
from neruba_server.wire.support import Nothing


async def create(call: Call) -> web.Response:
    if isinstance(call.principal, Platform):
        return await _create_for(call, await call.read(wire.NewProject))
    user = call.person.user
    if call.house.settings.operators_only_create_projects and not user.operator:
        raise RoleMissing("operator")
    sent = await call.read(wire.NewProject)
    if sent.owner_email is not None:
        raise BodyInvalid((Fault("/ownerEmail", "field.unknown", "only a platform key names the owner"),))

    def act(bound: Neruba) -> Answer:
        project = bound.projects.create(**_new(sent), owner=user.id, origin=call.origin)
        return Answer(wire.Project.of(project, call.neruba.now()), subject_id=project.id)

    return await call.once(sent, act, founds=True)


async def _create_for(call: Call, sent: wire.NewProject) -> web.Response:
    """Create a project of the platform, and make the user whom it names its owner, or invite them."""
    email = sent.owner_email
    if email is None:
        raise BodyInvalid((Fault("/ownerEmail", "field.missing", "a platform key names the owner"),))

    def act(bound: Neruba) -> Answer:
        project = bound.projects.create(**_new(sent), origin=call.origin)
        owner = bound.members.add(project.id, email=email, role=Role.OWNER, origin=call.origin)
        now = call.neruba.now()
        return Answer(
            wire.Founded.by_platform(project, now, owner, with_token=True),
            keep=wire.Founded.by_platform(project, now, owner, with_token=False),
            subject_id=project.id,
        )

    return await call.once(sent, act, founds=True)


async def listed(call: Call) -> web.Response:
    user, page = call.person.user, page_of(call.query())
    found = await call.run(
        lambda neruba: (
            neruba.projects.list(**page) if user.operator else neruba.projects.list_of(user.id, **page)
        )
    )
    items = tuple(wire.Project.of(project, call.neruba.now()) for project in found.items)
    return present.json(wire.Projects(items, found.next_cursor))


async def get(call: Call) -> web.Response:
    project = await call.run(lambda neruba: neruba.projects.get(call.project))
    return present.json(wire.Project.of(project, call.neruba.now()))


async def change(call: Call) -> web.Response:
    sent = await call.read(wire.ProjectChanges)
    changes = _given(sent)
    role = call.person.role or Role.VIEWER
    project = await call.write(
        lambda bound: bound.projects.update(call.project, role=role, origin=call.origin, **changes)
    )
    return present.json(wire.Project.of(project, call.neruba.now()))


async def archive(call: Call) -> web.Response:
    sent = await call.read(Nothing, optional=True)
    role = call.person.role or Role.VIEWER

    def act(bound: Neruba) -> Answer:
        project = bound.projects.archive(call.project, role=role, origin=call.origin)
        return Answer(wire.Project.of(project, call.neruba.now()), 200, subject_id=project.id)

    return await call.once(sent, act)


def _new(sent: wire.NewProject) -> dict[str, Any]:
    """What was sent of a new project, as the façade takes it."""
    return {
        "name": sent.name,
        "external_key": sent.external_key,
        "currency": "USD" if sent.currency is None else sent.currency,
        "credit_limit": money.decimal(sent.credit_limit or 0),
    }


def _given(sent: wire.ProjectChanges) -> dict[str, Any]:
    """What was sent, as the façade takes it."""
    changes: dict[str, Any] = {
        "name": sent.name,
        "credit_limit": UNSET if sent.credit_limit is UNSET else money.decimal(sent.credit_limit),
        "metric_policy": sent.metric_policy,
        "max_backdate_days": sent.max_backdate_days,
        "timezone": sent.timezone,
        "billing_mode": sent.billing_mode,
        "on_empty": sent.on_empty,
        "late_usage_policy": sent.late_usage_policy,
        "grace_hours": sent.grace_hours,
        "tax_rate": sent.tax_rate,
        "low_balance_threshold": sent.low_balance_threshold,
    }
    changes["top_up"] = sent.top_up
    if isinstance(sent.top_up, wire.TopUp):
        changes["top_up"] = {
            "threshold": money.decimal(sent.top_up.threshold),
            "amount": money.decimal(sent.top_up.amount),
            "monthly_cap": money.decimal(sent.top_up.monthly_cap),
            "cool_down_minutes": sent.top_up.cool_down_minutes,
        }
    if isinstance(sent.low_balance_threshold, int):
        changes["low_balance_threshold"] = money.decimal(sent.low_balance_threshold)
    return {name: value for name, value in changes.items() if value is not UNSET}
