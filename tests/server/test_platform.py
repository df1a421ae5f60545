"""Keys of the platform: a sign-up flow without a password, from the key to the project that pays."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from neruba_core.access.model import PlatformScope
from tests.server.world import CREDIT, PASSWORD, USAGE, World

NEW_PROJECT = {"name": "Acme Production", "externalKey": "acme", "ownerEmail": "ada@example.com"}


@pytest.fixture
def sign_up(world: World):
    return world.platform[PlatformScope.PROJECTS_WRITE]


async def test_a_backend_signs_a_customer_up(world: World, sign_up):
    """
    A project with its owner, a key for its machines and a plan; nobody has signed in yet.
    """
    world.neruba.plans.publish(key="pro", name="Pro", amount="29.00")

    project = await world.ask("POST", "/projects", sign_up, key="acme", json=NEW_PROJECT)
    path = f"/projects/{project.json['id']}"
    issued = await world.ask(
        "POST", f"{path}/access-keys", sign_up, json={"name": "Ingest", "scopes": ["ingest:usage"]}
    )
    decided = await world.ask("POST", f"{path}/subscription", sign_up, json={"planKey": "pro"})

    assert (project.status, issued.status, decided.status) == (201, 201, 201)
    invitation = project.json["owner"]["invitation"]
    assert (invitation["email"], invitation["role"]) == ("ada@example.com", "owner")
    machine = {"X-Api-Key": issued.json["accessKey"]}
    used = await world.ask("POST", "/ingest/usage", machine, key="u1", json=USAGE)
    assert (used.status, used.json["projectId"]) == (201, project.json["id"])
    accepted = await world.ask(
        "POST", "/auth/accept-invitation", json={"token": invitation["token"], "password": PASSWORD}
    )
    owner = {"Authorization": f"Bearer {accepted.json['accessToken']}"}
    seen = await world.ask("GET", path, owner)
    assert seen.json == {name: value for name, value in project.json.items() if name != "owner"}
    members = await world.ask("GET", f"{path}/members", owner)
    assert [(member["email"], member["role"]) for member in members.json["items"]] == [
        ("ada@example.com", "owner")
    ]


async def test_whoever_is_a_user_owns_the_project_at_once(world: World, sign_up):
    """
    There is nothing to invite them to.
    """
    email = "outsider@example.com"

    answer = await world.ask("POST", "/projects", sign_up, json={**NEW_PROJECT, "ownerEmail": email})

    owner = answer.json["owner"]
    assert owner["invitation"] is None
    assert (owner["member"]["email"], owner["member"]["role"]) == (email, "owner")
    assert (await world.ask("GET", f"/projects/{answer.json['id']}", world.outsider)).status == 200


async def test_a_retry_with_any_of_the_platforms_keys_is_a_replay(world: World, sign_up):
    """
    The token was shown once; rotating the key never breaks a retry.
    """
    first = await world.ask("POST", "/projects", sign_up, key="acme", json=NEW_PROJECT)
    listed = await world.ask("GET", "/access-keys", world.operator)
    key_id = next(key["id"] for key in listed.json["items"] if key["name"] == "projects:write")
    rotated = await world.ask("POST", f"/access-keys/{key_id}/rotate", world.operator)
    successor = {"X-Api-Key": rotated.json["accessKey"]}

    again = await world.ask("POST", "/projects", successor, key="acme", json=NEW_PROJECT)
    other = await world.ask("POST", "/projects", successor, key="acme", json={**NEW_PROJECT, "name": "B"})

    assert again.status == 201
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json["owner"]["invitation"]["token"] is None
    assert again.json["id"] == first.json["id"]
    assert (other.status, other.code) == (422, "idempotency.key_reused")


async def test_external_keys_are_the_deployments(world: World, sign_up):
    """
    The refusal names the project, so that an interrupted flow can go on with it; a person's are their own.
    """
    first = await world.ask("POST", "/projects", sign_up, json=NEW_PROJECT)

    again = await world.ask("POST", "/projects", sign_up, json={**NEW_PROJECT, "ownerEmail": "b@example.com"})
    own = await world.ask(
        "POST", "/projects", world.outsider, json={"name": "Mine", "externalKey": NEW_PROJECT["externalKey"]}
    )

    assert (again.status, again.code) == (409, "project.external_key_taken")
    assert again.json["projectId"] == first.json["id"]
    assert own.status == 201


async def test_only_the_platform_names_an_owner_and_it_must(world: World, sign_up):
    """
    Each fault is named; nothing is founded.
    """
    nobody = await world.ask("POST", "/projects", sign_up, json={"name": "Acme"})
    nonsense = await world.ask("POST", "/projects", sign_up, json={**NEW_PROJECT, "ownerEmail": "ada"})
    person = await world.ask("POST", "/projects", world.outsider, json=NEW_PROJECT)

    assert nobody.status == nonsense.status == person.status == 422
    assert nobody.faults() == {("/ownerEmail", "field.missing")}
    assert nonsense.faults() == {("/ownerEmail", "format.invalid")}
    assert person.faults() == {("/ownerEmail", "field.unknown")}
    assert (await world.ask("GET", "/projects", world.outsider)).json["items"] == []


async def test_the_trail_tells_which_key_it_was(world: World, sign_up):
    """
    In the audit of the new project, and among its requests.
    """
    key_id = next(key.id for key in world.neruba.platform_keys.list().items if key.name == "projects:write")

    answer = await world.ask("POST", "/projects", sign_up, json=NEW_PROJECT)

    path = f"/projects/{answer.json['id']}"
    changes = await world.ask("GET", f"{path}/audit", world.operator)
    assert {change["actor"] for change in changes.json["items"]} == {f"key:{key_id}"}
    request_id = answer.headers["X-Request-Id"]
    trail = await world.ask("GET", f"{path}/requests/{request_id}", world.operator)
    [row] = trail.json["items"]
    assert (row["method"], row["path"], row["principal"]) == ("POST", "/projects", f"key:{key_id}")


async def test_credit_and_billing_of_every_project_open_to_their_scopes(world: World):
    """
    A backend that sells credit, another that shows balances.
    """
    seller = world.platform[PlatformScope.CREDIT_WRITE]
    reader = world.platform[PlatformScope.READ_BILLING]
    for tenant in (world.one, world.other):
        path = f"/projects/{tenant.id}"
        before = await world.ask("GET", f"{path}/wallet", reader)

        granted = await world.ask("POST", f"{path}/transactions/credit", seller, key="c1", json=CREDIT)

        after = await world.ask("GET", f"{path}/wallet", reader)
        assert granted.status == 201
        assert Decimal(after.json["balance"]) - Decimal(before.json["balance"]) == 100


async def test_a_key_is_shown_once_and_listed_without_its_secret(world: World):
    """
    A replay does not show it again.
    """
    body = {"name": "Sign-up", "scopes": ["projects:write", "credit:write"]}

    first = await world.ask("POST", "/access-keys", world.operator, key="k1", json=body)
    again = await world.ask("POST", "/access-keys", world.operator, key="k1", json=body)
    listed = await world.ask("GET", "/access-keys?limit=1", world.operator)

    assert first.status == again.status == 201
    secret = first.json["accessKey"]
    assert again.json == {**first.json, "accessKey": None}
    assert secret.encode() not in listed.content
    [key] = listed.json["items"]
    assert (key["id"], key["scopes"]) == (first.json["id"], body["scopes"])
    assert secret.startswith(key["prefix"])
    assert listed.json["nextCursor"]


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({"name": "x", "scopes": []}, ("", "format.invalid")),
        ({"name": "x", "scopes": ["ingest:usage"]}, ("/scopes/0", "format.invalid")),
        ({"name": "", "scopes": ["projects:write"]}, ("/name", "text.invalid")),
        ({"name": "x", "scopes": ["projects:write"], "projectId": "p"}, ("/projectId", "field.unknown")),
        (
            {"name": "x", "scopes": ["read:billing"], "expiresAt": "2020-01-01T00:00:00Z"},
            ("", "format.invalid"),
        ),
    ],
)
async def test_a_key_that_makes_no_sense_is_refused(world: World, body: dict[str, Any], fault):
    """
    With the fault named, and none issued.
    """
    before = world.neruba.platform_keys.list()

    answer = await world.ask("POST", "/access-keys", world.operator, json=body)

    assert answer.status == 422
    path, code = fault
    assert (path, code) in answer.faults() or (not path and answer.code == code)
    assert world.neruba.platform_keys.list() == before


async def test_a_revoked_key_is_refused_at_once(world: World, sign_up):
    """
    In the process that revoked it there is no moment of grace; twice is fine.
    """
    key_id = next(key.id for key in world.neruba.platform_keys.list().items if key.name == "projects:write")
    before = await world.ask("POST", "/projects", sign_up, json=NEW_PROJECT)

    revoked = await world.ask("DELETE", f"/access-keys/{key_id}", world.operator)
    twice = await world.ask("DELETE", f"/access-keys/{key_id}", world.operator)
    after = await world.ask("POST", "/projects", sign_up, json={**NEW_PROJECT, "externalKey": "b"})

    assert (before.status, revoked.status, twice.status) == (201, 204, 204)
    assert (after.status, after.code) == (401, "access.key_refused")
    rotated = await world.ask("POST", f"/access-keys/{key_id}/rotate", world.operator, json={})
    assert (rotated.status, rotated.code) == (409, "access.key_ended")


async def test_a_platform_key_ingests_nothing(world: World, sign_up):
    """
    It belongs to no project, so there is none that it could be counted in.
    """
    answer = await world.ask("POST", "/ingest/usage", sign_up, key="u1", json=USAGE)

    assert (answer.status, answer.code) == (403, "access.scope_missing")
    assert json.loads(answer.content)["needed"] == "ingest:usage"
