"""How a project is billed, as people see and change it."""

from __future__ import annotations

import pytest

from tests.server.world import World


async def test_a_new_project_is_billed_in_arrears(world: World):
    """
    Without tax, a day after the period, late usage on the next invoice.
    """
    shown = (await world.ask("GET", f"/projects/{world.one.id}", world.one.owner)).json

    terms = ("billingMode", "timezone", "termsInForce", "onEmpty", "lateUsagePolicy", "graceHours", "taxRate")
    assert {name: shown[name] for name in terms} == {
        "billingMode": "arrears",
        "timezone": "UTC",
        "termsInForce": None,
        "onEmpty": "refuse",
        "lateUsagePolicy": "adjust_next",
        "graceHours": 24,
        "taxRate": "0",
    }


async def test_a_change_of_terms_is_shown_with_what_is_in_force_until_then(world: World):
    """
    The project has usage, so it waits for the end of the present period.
    """
    path = f"/projects/{world.one.id}"

    changed = await world.ask(
        "PATCH", path, world.one.owner, json={"billingMode": "prepaid", "taxRate": "0.190"}
    )

    assert changed.status == 200
    assert (changed.json["billingMode"], changed.json["taxRate"]) == ("prepaid", "0.19")
    in_force = changed.json["termsInForce"]
    assert (in_force["billingMode"], in_force["timezone"]) == ("arrears", "UTC")
    assert in_force["until"].endswith("-01T00:00:00.000000Z")
    assert (await world.ask("GET", path, world.one.owner)).json == changed.json
    overview = await world.ask("GET", f"{path}/billing/overview", world.one.owner)
    assert overview.json["project"] == changed.json


async def test_terms_of_a_project_without_usage_change_at_once(world: World):
    """
    Nothing was counted by the old ones.
    """
    new = await world.ask("POST", "/projects", world.outsider, json={"name": "New"})

    changed = await world.ask(
        "PATCH",
        f"/projects/{new.json['id']}",
        world.outsider,
        json={"billingMode": "prepaid", "timezone": "Europe/Berlin"},
    )

    assert (changed.json["billingMode"], changed.json["timezone"]) == ("prepaid", "Europe/Berlin")
    assert changed.json["termsInForce"] is None


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("timezone", "Mars/Olympus", "format.invalid"),
        ("billingMode", "later", "format.invalid"),
        ("onEmpty", None, "value.wrong_type"),
        ("lateUsagePolicy", "forget", "format.invalid"),
        ("lowBalanceThreshold", "-1", "amount.negative"),
        ("graceHours", 2161, "format.invalid"),
        ("graceHours", "24", "value.wrong_type"),
        ("taxRate", "19", "format.invalid"),
        ("taxRate", 0.19, "amount.float"),
        ("taxRate", "0.0000000000001", "amount.too_precise"),
    ],
)
async def test_a_setting_that_makes_no_sense_is_pointed_at(world: World, field, value, code):
    """
    And nothing is changed.
    """
    before = world.state(world.one)

    answer = await world.ask("PATCH", f"/projects/{world.one.id}", world.one.owner, json={field: value})

    assert answer.status == 422
    assert answer.faults() == {(f"/{field}", code)}
    assert world.state(world.one) == before


async def test_topping_up_is_set_shown_and_taken_back(world: World):
    """
    What could never be paid is refused, and changes nothing.
    """
    path, owner = f"/projects/{world.one.id}", world.one.owner
    wanted = {"threshold": "5", "amount": "20", "monthlyCap": "100"}

    made = await world.ask("PATCH", path, owner, json={"topUp": wanted})
    nothing = await world.ask("PATCH", path, owner, json={"topUp": {**wanted, "threshold": "0"}})
    above = await world.ask("PATCH", path, owner, json={"topUp": {**wanted, "monthlyCap": "19"}})
    odd = await world.ask("PATCH", path, owner, json={"topUp": {**wanted, "amount": "20.001"}})
    shown = await world.ask("GET", path, owner)
    ended = await world.ask("PATCH", path, owner, json={"topUp": None})

    assert made.status == 200
    assert shown.json["topUp"] == {
        "threshold": "5.000000",
        "amount": "20.000000",
        "monthlyCap": "100.000000",
        "coolDownMinutes": 60,
    }
    assert nothing.faults() == {("/topUp/threshold", "amount.not_positive")}
    assert (above.status, above.code) == (422, "format.invalid")
    assert (odd.status, odd.code) == (422, "amount.not_payable")
    assert ended.json["topUp"] is None
