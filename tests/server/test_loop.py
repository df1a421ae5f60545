"""The first loop over HTTP, and what a client sees when it repeats itself."""

from __future__ import annotations

from decimal import Decimal

from aiohttp import ClientSession

from neruba_core import Neruba
from tests.server.world import CHARGE, CREDIT, PASSWORD, USAGE, Client, World, served


async def test_the_whole_loop(neruba: Neruba):
    """
    Sign in, project, key, usage, credit, charge, overview: as the first page shows it.
    """
    neruba.users.add("owner@example.com", PASSWORD)
    async with served(neruba) as server, ClientSession() as session:
        client = Client(session, str(server.make_url("")).rstrip("/"))

        login = await client.ask(
            "POST", "/auth/login", json={"email": "owner@example.com", "password": PASSWORD}
        )
        person = {"Authorization": f"Bearer {login.json['accessToken']}"}
        project = await client.ask(
            "POST", "/projects", person, json={"name": "Acme Production", "externalKey": "acme-prod"}
        )
        project_id = project.json["id"]
        issued = await client.ask(
            "POST",
            f"/projects/{project_id}/access-keys",
            person,
            json={"name": "Usage ingest", "scopes": ["ingest:usage", "ingest:charge"]},
        )
        machine = {"x-api-key": issued.json["accessKey"]}
        first = await client.ask("POST", "/ingest/usage", machine, key="evt_1", json=USAGE)
        again = await client.ask("POST", "/ingest/usage", machine, key="evt_1", json=USAGE)
        await client.ask("POST", f"/projects/{project_id}/transactions/credit", person, key="c1", json=CREDIT)
        await client.ask("POST", "/ingest/charge", machine, key="ch1", json=CHARGE)
        overview = await client.ask("GET", f"/projects/{project_id}/billing/overview", person)

    assert project.status == issued.status == first.status == again.status == 201
    assert first.content == again.content
    assert overview.json["wallet"]["balance"] == "87.500000"
    assert overview.json["usage"] == [
        {
            "period": "2026-03",
            "metricKey": "api_tokens",
            "aggregation": "sum",
            "units": "1250.000000",
            "amount": None,
            "priced": False,
        }
    ]
    assert (overview.json["accrued"], overview.json["estimatedTotal"]) == ("0.000000", "12.500000")
    assert overview.json["invoices"] == {"open": 0, "due": "0.000000", "last": None}
    assert overview.json["ingest"] == {
        "accepted": 2,
        "replayed": 1,
        "deduped": 0,
        "conflict": 0,
        "quarantined": 0,
        "rejected": 0,
    }
    assert overview.json["ledger"]["balanced"] is True
    assert len(overview.json["recentTransactions"]) == 2


async def test_a_repeated_write_is_answered_with_the_same_bytes(world: World):
    """
    Usage, money and refused money: same status, same body, marked as a replay.
    """
    one = world.one
    writes = [
        ("/ingest/usage", one.usage_key, USAGE),
        ("/ingest/charge", one.charge_key, CHARGE),
        ("/ingest/charge", one.charge_key, {**CHARGE, "amount": "9999"}),
        (f"/projects/{one.id}/transactions/credit", one.finance, CREDIT),
        (f"/projects/{one.id}/transactions/debit", one.finance, CHARGE),
        (
            f"/projects/{one.id}/transactions/{one.ids['transactionId']}/reverse",
            one.finance,
            {"reason": "typo", "amount": "1"},
        ),
    ]
    for number, (path, who, body) in enumerate(writes):
        first = await world.ask("POST", path, who, key=f"same-{number}", json=body)
        again = await world.ask("POST", path, who, key=f'"same-{number}"', json=body)

        assert (again.status, again.content) == (first.status, first.content)
        assert again.headers["Idempotent-Replayed"] == "true"
        assert again.headers["Neruba-Outcome"] == "replayed"
        assert "Idempotent-Replayed" not in first.headers
        assert again.headers["X-Request-Id"] != first.headers["X-Request-Id"]


async def test_a_refusal_for_lack_of_credit_outlives_a_top_up(world: World):
    """
    A late duplicate must not suddenly succeed; a new key may.
    """
    one = world.one
    body = {"amount": "80", "description": "GPU"}
    refused = await world.ask("POST", "/ingest/charge", one.charge_key, key="late", json=body)
    await world.ask("POST", f"/projects/{one.id}/transactions/credit", one.finance, key="up", json=CREDIT)

    again = await world.ask("POST", "/ingest/charge", one.charge_key, key="late", json=body)
    anew = await world.ask("POST", "/ingest/charge", one.charge_key, key="anew", json=body)

    assert refused.status == again.status == 402
    assert refused.content == again.content
    assert refused.json["available"] == "47.000000"
    assert refused.json["requestId"] == refused.headers["X-Request-Id"]
    assert anew.status == 201


async def test_credit_for_some_metrics_is_shown_as_such_and_no_charge_spends_it(world: World):
    """
    It is in the balance, and not in what is available; a retry may name its metrics in another order.
    """
    one = world.one
    path = f"/projects/{one.id}"
    before = (await world.ask("GET", f"{path}/wallet", one.finance)).json
    body = {**CREDIT, "metricKeys": ["tokens", "calls"]}
    made = await world.ask("POST", f"{path}/transactions/credit", one.finance, key="s", json=body)
    again = await world.ask(
        "POST",
        f"{path}/transactions/credit",
        one.finance,
        key="s",
        json={**CREDIT, "metricKeys": ["calls", "tokens"]},
    )

    after = (await world.ask("GET", f"{path}/wallet", one.finance)).json
    charge = {"amount": "80", "description": "GPU"}
    refused = await world.ask("POST", "/ingest/charge", one.charge_key, key="much", json=charge)

    assert (made.status, again.content) == (201, made.content)
    assert after["available"] == before["available"]
    assert Decimal(after["balance"]) == Decimal(before["balance"]) + Decimal(made.json["amount"])
    keys = {grant["id"]: grant["metricKeys"] for grant in after["grants"]}
    assert keys.pop(made.json["grantId"]) == ["calls", "tokens"]
    assert set(keys.values()) == {None}
    assert (refused.status, refused.json["available"]) == (402, before["available"])


async def test_usage_has_every_outcome_of_the_contract(world: World):
    """
    Accepted, replayed, deduped, conflict by key, conflict by event, quarantined, rejected.
    """
    one = world.one
    answers = {
        "accepted": await world.ask("POST", "/ingest/usage", one.usage_key, key="a", json=USAGE),
        "replayed": await world.ask("POST", "/ingest/usage", one.usage_key, key="a", json=USAGE),
        "deduped": await world.ask(
            "POST", "/ingest/usage", one.usage_key, key="b", json={**USAGE, "eventId": "a"}
        ),
        "key": await world.ask("POST", "/ingest/usage", one.usage_key, key="a", json={**USAGE, "units": "2"}),
        "event": await world.ask(
            "POST", "/ingest/usage", one.usage_key, key="c", json={**USAGE, "units": "2", "eventId": "a"}
        ),
    }
    await world.ask("PATCH", f"/projects/{one.id}", one.owner, json={"metricPolicy": "strict"})
    answers["quarantined"] = await world.ask(
        "POST", "/ingest/usage", one.usage_key, key="q", json={**USAGE, "metricKey": "nobody-knows"}
    )
    answers["rejected"] = await world.ask(
        "POST", "/ingest/usage", one.usage_key, key="f", json={**USAGE, "timestamp": "2999-01-01T00:00:00Z"}
    )

    assert {name: (a.status, a.headers["Neruba-Outcome"], a.code) for name, a in answers.items()} == {
        "accepted": (201, "accepted", None),
        "replayed": (201, "replayed", None),
        "deduped": (200, "deduped", None),
        "key": (422, "conflict", "idempotency.key_reused"),
        "event": (409, "conflict", "usage.event_conflict"),
        "quarantined": (202, "quarantined", None),
        "rejected": (422, "rejected", "usage.timestamp_in_future"),
    }
    assert answers["deduped"].json == answers["accepted"].json
    assert answers["rejected"].faults() == {("/timestamp", "usage.timestamp_in_future")}


async def test_a_voided_event_is_replayed_unchanged_and_says_so(world: World):
    """
    A void frees nothing; a resend learns of it from a header.
    """
    one = world.one
    first = await world.ask("POST", "/ingest/usage", one.usage_key, key="v", json=USAGE)
    path = f"/ingest/usage/{first.json['id']}/void"

    voided = await world.ask("POST", path, one.usage_key, json={"reason": "sent by a test"})
    once_more = await world.ask("POST", path, one.usage_key, json={"reason": "another"})
    again = await world.ask("POST", "/ingest/usage", one.usage_key, key="v", json=USAGE)
    twin = await world.ask("POST", "/ingest/usage", one.usage_key, key="w", json={**USAGE, "eventId": "v"})

    assert (voided.status, once_more.status) == (201, 200)
    assert voided.json == once_more.json
    assert again.content == first.content
    assert again.headers["Neruba-Voided-At"] == twin.headers["Neruba-Voided-At"] == voided.json["voidedAt"]
    assert "Neruba-Voided-At" not in first.headers


async def test_a_void_is_an_ingest_attempt_and_counted(world: World):
    """
    Done, done again, replayed, sent with another body, unreadable; what is not there is not counted.
    """
    one = world.one
    path = f"/ingest/usage/{one.ids['usageId']}/void"
    before = await outcomes(world)
    for body, key, expected in [
        ({"reason": "wrong"}, "v1", 201),
        ({"reason": "wrong"}, "v1", 201),
        ({"reason": "other"}, "v1", 422),
        ({"reason": "wrong"}, None, 200),
        ({"reason": ""}, None, 422),
    ]:
        headers = {} if key is None else {"Idempotency-Key": key}
        answer = await world.ask("POST", path, one.usage_key, json=body, headers=headers)
        assert answer.status == expected, answer.content
    missing = await world.ask("POST", "/ingest/usage/use_none/void", one.usage_key, json={"reason": "wrong"})
    assert missing.status == 404
    after = await outcomes(world)
    gained = {name: after[name] - before[name] for name in after if after[name] != before[name]}
    assert gained == {"accepted": 1, "replayed": 2, "conflict": 1, "rejected": 1}


async def outcomes(world: World) -> dict[str, int]:
    overview = await world.ask("GET", f"/projects/{world.one.id}/billing/overview", world.one.owner)
    counts: dict[str, int] = overview.json["ingest"]
    return counts


async def test_a_void_is_replayed_with_the_status_it_had(world: World):
    """
    Under its own key each call gets its own answer again.
    """
    path = f"/ingest/usage/{world.one.ids['usageId']}/void"
    statuses = [
        (await world.ask("POST", path, world.one.usage_key, key=key, json={"reason": "r"})).status
        for key in ("first", "second", "first", "second")
    ]
    assert statuses == [201, 200, 201, 200]


async def test_a_secret_is_shown_once_and_null_in_a_replay(world: World):
    """
    Whoever lost the answer rotates; a replay proves only that the key was made.
    """
    one = world.one
    body = {"name": "Usage ingest", "scopes": ["ingest:usage"]}
    first = await world.ask("POST", f"/projects/{one.id}/access-keys", one.owner, key="k", json=body)
    again = await world.ask("POST", f"/projects/{one.id}/access-keys", one.owner, key="k", json=body)
    other = await world.ask(
        "POST", f"/projects/{one.id}/access-keys", one.owner, key="k", json={**body, "name": "Other"}
    )

    assert first.json["accessKey"].startswith("nrb_test_")
    assert again.json == {**first.json, "accessKey": None}
    assert again.headers["Idempotent-Replayed"] == "true"
    assert (other.status, other.code) == (422, "idempotency.key_reused")
    assert other.headers["Neruba-Outcome"] == "conflict"


async def test_one_key_founds_one_project(world: World):
    """
    A client that retries after a timeout has one project, not two.
    """
    body = {"name": "Acme", "creditLimit": "5"}
    first = await world.ask("POST", "/projects", world.outsider, key="p", json=body)
    again = await world.ask(
        "POST", "/projects", world.outsider, key="p", json={**body, "creditLimit": "5.000000"}
    )
    listed = await world.ask("GET", "/projects", world.outsider)

    assert (first.status, again.status) == (201, 201)
    assert first.content == again.content
    assert [project["id"] for project in listed.json["items"]] == [first.json["id"]]


async def test_equal_spellings_are_the_same_request(world: World):
    """
    ``1250`` and ``1250.000000``, ``Z`` and ``+00:00``, a null and a field left out.
    """
    one = world.one
    await world.ask("POST", "/ingest/usage", one.usage_key, key="s", json=USAGE)
    again = await world.ask(
        "POST",
        "/ingest/usage",
        one.usage_key,
        key="s",
        json={**USAGE, "units": "1250", "timestamp": "2026-03-17T11:15:00+01:00", "eventId": None},
    )
    assert again.headers["Neruba-Outcome"] == "replayed"


async def test_a_batch_judges_each_event_alone(world: World):
    """
    A bad event never harms its neighbours, in JSON and in NDJSON.
    """
    one = world.one
    events = [
        {"idempotencyKey": "b1", **USAGE},
        {"idempotencyKey": "b1", **USAGE},
        {"idempotencyKey": "b1", **USAGE, "units": "2"},
        {"idempotencyKey": "b2", **USAGE, "units": 1.5},
        {"idempotencyKey": "b3", **USAGE, "eventId": "b1"},
        "no event",
    ]
    batch = await world.ask("POST", "/ingest/usage/batch", one.usage_key, json={"events": events})
    lines = (
        b'{"idempotencyKey":"b1","metricKey":"api_tokens","units":"1250","timestamp":"2026-03-17T10:15:00Z"}'
    )
    again = await world.ask(
        "POST",
        "/ingest/usage/batch",
        one.usage_key,
        data=lines + b"\n{]\n\n" + b'{"a":"' + b"x" * 70_000 + b'"}\n',
        headers={"Content-Type": "application/x-ndjson"},
    )

    assert batch.status == again.status == 200
    assert [result["outcome"] for result in batch.json["results"]] == [
        "accepted",
        "replayed",
        "conflict",
        "rejected",
        "deduped",
        "rejected",
    ]
    assert batch.json["counts"] == {
        "accepted": 1,
        "replayed": 1,
        "deduped": 1,
        "conflict": 1,
        "quarantined": 0,
        "rejected": 2,
    }
    assert batch.json["results"][3]["errors"][0]["path"] == "/units"
    assert [result.get("code") for result in again.json["results"]] == [
        None,
        "body.malformed",
        "body.malformed",
        "body.too_large",
    ]


async def test_every_ingest_attempt_is_counted_once(world: World):
    """
    Unreadable bodies and missing keys too; the overview adds them up.
    """
    one = world.one
    before = (await world.ask("GET", f"/projects/{one.id}/billing/overview", one.owner)).json["ingest"]
    await world.ask("POST", "/ingest/usage", one.usage_key, key="n", data=b"{", headers=_JSON)
    await world.ask("POST", "/ingest/usage", one.usage_key, key="n", data=b"{}", headers=_JSON)
    await world.ask("POST", "/ingest/usage", one.usage_key, json=USAGE)
    await world.ask("POST", "/ingest/charge", one.charge_key, key="n", json={**CHARGE, "amount": "999"})
    await world.ask("POST", "/ingest/usage/batch", one.usage_key, json={"events": []})
    await world.ask("POST", "/ingest/usage", one.charge_key, key="n", json=USAGE)

    after = (await world.ask("GET", f"/projects/{one.id}/billing/overview", one.owner)).json["ingest"]
    listed = await world.ask("GET", f"/projects/{one.id}/ingest/outcomes?outcome=rejected", one.owner)

    assert after == {**before, "rejected": before["rejected"] + 5}
    assert [attempt["code"] for attempt in listed.json["items"]] == [
        "body.invalid",
        "wallet.insufficient_credit",
        "idempotency.key_missing",
        "body.invalid",
        "body.malformed",
    ]


async def test_a_request_can_be_retraced_by_its_id(world: World):
    """
    The trail names what it did, its replay, and its refusal.
    """
    one = world.one
    named = {"X-Request-Id": "retrace-me"}
    first = await world.ask("POST", "/ingest/usage", one.usage_key, named, key="t", json=USAGE)
    await world.ask("POST", "/ingest/usage", one.usage_key, named, key="t", json=USAGE)
    await world.ask("PATCH", f"/projects/{one.id}", one.owner, named, json={"nme": "x"})
    await world.ask("PATCH", f"/projects/{one.id}", one.owner, named, json={"name": "x"})

    trail = await world.ask("GET", f"/projects/{one.id}/requests/retrace-me", one.owner)

    assert first.headers["X-Request-Id"] == "retrace-me"
    assert [
        (row["method"], row["status"], row["outcome"], row["usageIds"]) for row in trail.json["items"]
    ] == [
        ("PATCH", 200, None, []),
        ("PATCH", 422, None, []),
        ("POST", 201, "replayed", [first.json["id"]]),
        ("POST", 201, "accepted", [first.json["id"]]),
    ]


async def test_support_replays_what_was_quarantined(world: World):
    """
    Once the metric is declared the event counts, under its original key.
    """
    one = world.one
    path = f"/projects/{one.id}/ingest/quarantine/{one.ids['quarantineId']}"

    replayed = await world.ask("POST", f"{path}/replay", one.owner)
    again = await world.ask("POST", f"{path}/replay", one.owner)
    discarded = await world.ask("POST", f"{path}/discard", one.owner)

    assert (replayed.status, replayed.json["metricKey"]) == (201, "unknown")
    assert (again.status, again.code) == (409, "quarantine.closed")
    assert (discarded.status, discarded.code) == (409, "quarantine.closed")


async def test_an_invitation_leads_into_the_project(world: World):
    """
    Someone unknown is invited, chooses a password, and is a member.
    """
    joined = await world.ask(
        "POST",
        "/auth/accept-invitation",
        json={"token": world.one.ids["invitation"], "password": PASSWORD},
    )
    me = await world.ask("GET", "/auth/me", {"Authorization": f"Bearer {joined.json['accessToken']}"})

    assert me.json["projects"] == [{"id": world.one.id, "name": "one", "role": "viewer"}]


async def test_sessions_end_when_they_should(world: World):
    """
    Refreshing rotates, reuse ends, logging out ends, a new password ends all.
    """
    sent = {"email": "viewer@one.example", "password": PASSWORD}
    first = (await world.ask("POST", "/auth/login", json=sent)).json
    second = (await world.ask("POST", "/auth/refresh", json={"refreshToken": first["refreshToken"]})).json
    reused = await world.ask("POST", "/auth/refresh", json={"refreshToken": first["refreshToken"]})
    ended = await world.ask("GET", "/auth/me", {"Authorization": f"Bearer {second['accessToken']}"})

    third = (await world.ask("POST", "/auth/login", json=sent)).json
    token = {"Authorization": f"Bearer {third['accessToken']}"}
    out = await world.ask("POST", "/auth/logout", token)
    after = await world.ask("GET", "/auth/me", token)

    changed = await world.ask(
        "POST",
        "/auth/password",
        world.outsider,
        json={"currentPassword": PASSWORD, "newPassword": "seven-herons-rise-2"},
    )
    gone = await world.ask("GET", "/auth/me", world.outsider)

    assert (reused.status, reused.code) == (401, "auth.refresh_reused")
    assert ended.status == after.status == gone.status == 401
    assert (out.status, changed.status) == (204, 204)


async def test_reads_go_page_by_page(world: World):
    """
    Every list can be read in small pages, without gaps or repeats.
    """
    one = world.one
    for number in range(5):
        await world.ask("POST", "/ingest/usage", one.usage_key, key=f"page-{number}", json=USAGE)
        await world.ask(
            "POST", f"/projects/{one.id}/transactions/credit", one.finance, key=f"{number}", json=CREDIT
        )
    for path in ("usage/events", "transactions", "ledger/entries", "audit", "members", "access-keys"):
        whole = (await world.ask("GET", f"/projects/{one.id}/{path}?limit=200", one.owner)).json["items"]
        pieces: list[object] = []
        cursor: str | None = ""
        while cursor is not None:
            answer = await world.ask("GET", f"/projects/{one.id}/{path}?limit=2{cursor}", one.owner)
            pieces += answer.json["items"]
            found = answer.json["nextCursor"]
            cursor = None if found is None else f"&cursor={found}"
        assert pieces == whole
        assert len(whole) > 2


_JSON = {"Content-Type": "application/json"}
