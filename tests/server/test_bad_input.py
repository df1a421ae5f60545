"""What is refused, with which code, at which path; and that it changes nothing."""

from __future__ import annotations

import io
import json

import pytest

from tests.server.world import CHARGE, CREDIT, USAGE, World

JSON = {"Content-Type": "application/json"}
LATER = "2999-01-01T00:00:00Z"


def usage(**changes):
    return {**USAGE, **changes}


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        (usage(units=1250.0), {("/units", "amount.float")}),
        (usage(units=1250), {("/units", "amount.not_text")}),
        (usage(units=True), {("/units", "amount.not_text")}),
        (usage(units=None), {("/units", "amount.not_text")}),
        (usage(units="1e3"), {("/units", "amount.invalid")}),
        (usage(units="NaN"), {("/units", "amount.invalid")}),
        (usage(units=" 1"), {("/units", "amount.invalid")}),
        (usage(units="1,5"), {("/units", "amount.invalid")}),
        (usage(units="١"), {("/units", "amount.invalid")}),
        (usage(units="1.0000000"), {("/units", "amount.too_precise")}),
        (usage(units="9000000000000.000001"), {("/units", "amount.overflow")}),
        (usage(units="99999999999999999999999"), {("/units", "amount.overflow")}),
        (usage(units="-1"), {("/units", "amount.negative")}),
        (usage(timestamp="2026-03-17T10:15:00"), {("/timestamp", "instant.naive")}),
        (usage(timestamp="2026-03-17"), {("/timestamp", "instant.invalid")}),
        (usage(timestamp="2026-03-17T10:15:60Z"), {("/timestamp", "instant.invalid")}),
        (usage(timestamp="2026-02-30T10:15:00Z"), {("/timestamp", "instant.invalid")}),
        (usage(timestamp="2026-03-17T10:15:00.0000000Z"), {("/timestamp", "instant.too_precise")}),
        (usage(timestamp="1969-12-31T23:59:59Z"), {("/timestamp", "instant.invalid")}),
        (usage(timestamp=1742206500), {("/timestamp", "value.wrong_type")}),
        (usage(timestamp=LATER), {("/timestamp", "usage.timestamp_in_future")}),
        (usage(metricKey="two words"), {("/metricKey", "format.invalid")}),
        (usage(metricKey=""), {("/metricKey", "format.invalid")}),
        (usage(metricKey="x" * 129), {("/metricKey", "format.invalid")}),
        (usage(metricKey=["api_tokens"]), {("/metricKey", "value.wrong_type")}),
        (usage(eventId=""), {("/eventId", "text.invalid")}),
        (usage(eventId="x" * 256), {("/eventId", "text.invalid")}),
        (usage(eventId="a\u0000b"), {("/eventId", "text.invalid")}),
        (usage(eventId="a\u2028b"), {("/eventId", "text.invalid")}),
        (usage(eventId="a\ud800b"), {("/eventId", "text.invalid")}),
        (usage(properties={"p": 1.5}), {("/properties/p", "property.invalid")}),
        (usage(properties={"p": 2**53}), {("/properties/p", "property.invalid")}),
        (usage(properties={"p": 2**70}), {("/properties/p", "property.invalid")}),
        (usage(properties={"p": None}), {("/properties/p", "property.invalid")}),
        (usage(properties={"p": {"q": 1}}), {("/properties/p", "property.invalid")}),
        (usage(properties={"a/b~c": []}), {("/properties/a~1b~0c", "property.invalid")}),
        (usage(properties={str(n): n for n in range(51)}), {("/properties", "property.invalid")}),
        (
            usage(properties={str(n): "x" * 1000 for n in range(9)}),
            {("/properties", "property.invalid")},
        ),
        (usage(properties=[]), {("/properties", "value.wrong_type")}),
        (usage(colour="red"), {("/colour", "field.unknown")}),
        ([], {("", "value.wrong_type")}),
        (None, {("", "value.wrong_type")}),
        ("text", {("", "value.wrong_type")}),
        (
            {"units": 1.5, "timestamp": "now", "a": 1, "b": 2},
            {
                ("/metricKey", "field.missing"),
                ("/units", "amount.float"),
                ("/timestamp", "instant.invalid"),
                ("/a", "field.unknown"),
                ("/b", "field.unknown"),
            },
        ),
    ],
    ids=lambda value: json.dumps(value)[:60] if not isinstance(value, set) else "",
)
async def test_usage_that_cannot_be_taken_says_where_and_why(world: World, body, faults):
    """
    Every fault of a body is named, by its path, with its own code; and nothing is recorded.
    """
    before = world.state(world.one)

    answer = await world.ask(
        "POST", "/ingest/usage", world.one.usage_key, JSON, key="bad", data=json.dumps(body)
    )

    assert answer.status == 422
    assert answer.faults() == faults
    assert answer.headers["Neruba-Outcome"] == "rejected"
    assert world.state(world.one) == before


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"", 400, "body.malformed"),
        (b"{", 400, "body.malformed"),
        (b"{}x", 400, "body.malformed"),
        (b"\xff\xfe", 400, "body.malformed"),
        (b"\xef\xbb\xbf{}", 400, "body.malformed"),
        (b'{"units": NaN}', 400, "body.malformed"),
        (b'{"units": Infinity}', 400, "body.malformed"),
        (b'{"units": -Infinity}', 400, "body.malformed"),
        (b"{'units': 1}", 400, "body.malformed"),
        (b'{"units":"1","units":"2"}', 400, "body.malformed"),
        (b'{"units":"1","\\u0075nits":"2"}', 400, "body.malformed"),
        (b'{"properties":{"a":1,"a":1}}', 400, "body.malformed"),
        (b'{"a":' * 21 + b"1" + b"}" * 21, 400, "body.too_deep"),
        (b"[" * 100_000 + b"]" * 100_000, 400, "body.too_deep"),
        (b"[" * 100_000, 400, "body.too_deep"),
        (b'{"a":"' + b"x" * (1024 * 1024) + b'"}', 413, "body.too_large"),
    ],
    ids=lambda value: repr(value[:30]) if isinstance(value, bytes) else "",
)
async def test_bytes_that_are_no_request(world: World, data, status, code):
    """
    Malformed, ambiguous, too deep, too large: each its own answer, and the server goes on.
    """
    before = world.state(world.one)

    sent = io.BytesIO(data)
    answer = await world.ask("POST", "/ingest/usage", world.one.usage_key, JSON, key="bad", data=sent)
    next_one = await world.ask("POST", "/ingest/usage", world.one.usage_key, key="good", json=USAGE)

    assert (answer.status, answer.code) == (status, code)
    assert next_one.status == 201
    assert before != world.state(world.one)


async def test_a_body_that_never_ends_is_cut_off(world: World):
    """
    Without a declared length the limit holds all the same.
    """

    async def endless():
        for _ in range(64):
            yield b'{"a":"' + b"x" * 65_536

    answer = await world.ask("POST", "/ingest/usage", world.one.usage_key, JSON, key="bad", data=endless())
    assert (answer.status, answer.code) == (413, "body.too_large")


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", "json", ""],
)
async def test_other_content_types_are_refused(world: World, kind):
    """
    A body is what its content type says; only JSON in UTF-8 is read.
    """
    answer = await world.ask(
        "POST",
        "/ingest/usage",
        world.one.usage_key,
        key="bad",
        data=json.dumps(USAGE).encode(),
        headers={"Content-Type": kind},
    )
    assert (answer.status, answer.code) == (415, "body.unsupported_type")


async def test_json_with_its_charset_is_json(world: World):
    """
    ``application/json; charset=utf-8`` is what many clients send.
    """
    answer = await world.ask(
        "POST",
        "/ingest/usage",
        world.one.usage_key,
        key="good",
        data=json.dumps(USAGE).encode(),
        headers={"Content-Type": "application/json; charset=UTF-8"},
    )
    assert answer.status == 201


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([], "idempotency.key_missing"),
        ([""], "idempotency.key_invalid"),
        (["two words"], "idempotency.key_invalid"),
        (["ключ"], "idempotency.key_invalid"),
        (["x" * 256], "idempotency.key_invalid"),
        (["a", "a"], "idempotency.key_invalid"),
        (['"unfinished'], "idempotency.key_invalid"),
        (['""'], "idempotency.key_invalid"),
        (['"a" b'], "idempotency.key_invalid"),
    ],
)
async def test_idempotency_keys_are_checked(world: World, lines, code):
    """
    One header line of 1 to 255 visible ASCII characters, on ingest and on money alike.
    """
    one = world.one
    headers = [("Idempotency-Key", line) for line in lines]
    before = world.state(one)
    for path, who, body in (
        ("/ingest/usage", one.usage_key, USAGE),
        ("/ingest/charge", one.charge_key, CHARGE),
        (f"/projects/{one.id}/transactions/credit", one.finance, CREDIT),
    ):
        answer = await world.ask("POST", path, who, json=body, headers=headers)
        assert (answer.status, answer.code) == (400, code)
    assert world.state(one) == before


async def test_a_quoted_key_is_the_bare_one(world: World):
    """
    The draft's quoted string and the bare form name the same write.
    """
    bare = await world.ask("POST", "/ingest/usage", world.one.usage_key, key="quoted", json=USAGE)
    quoted = await world.ask("POST", "/ingest/usage", world.one.usage_key, key='"quoted"', json=USAGE)
    assert quoted.content == bare.content


@pytest.mark.parametrize(
    ("path", "faults"),
    [
        ("transactions?limit=0", {("?limit", "format.invalid")}),
        ("transactions?limit=201", {("?limit", "format.invalid")}),
        ("transactions?limit=1.5", {("?limit", "format.invalid")}),
        ("transactions?limit=٣", {("?limit", "format.invalid")}),
        ("transactions?limit=1&limit=2", {("?limit", "query.repeated")}),
        ("transactions?colour=red", {("?colour", "query.unknown")}),
        ("transactions?type=gift", {("?type", "format.invalid")}),
        (
            "transactions?from=yesterday&to=2026-01-01T00:00:00",
            {("?from", "instant.invalid"), ("?to", "instant.naive")},
        ),
        ("wallet?asOf=2026", {("?asOf", "instant.invalid")}),
        ("billing/overview?period=2026-13", {("?period", "format.invalid")}),
        ("usage?metricKey=two%20words", {("?metricKey", "format.invalid")}),
        ("ledger/entries?account=%00", {("?account", "text.invalid")}),
        ("ingest/outcomes?outcome=lost", {("?outcome", "format.invalid")}),
    ],
)
async def test_queries_are_checked(world: World, path, faults):
    """
    Every faulty parameter is named; unknown ones too, for a filter that is misspelt must not be ignored.
    """
    answer = await world.ask("GET", f"/projects/{world.one.id}/{path}", world.one.owner)
    assert (answer.status, answer.code) == (422, "query.invalid")
    assert answer.faults() == faults


@pytest.mark.parametrize("cursor", ["x", "%00", "é", "W10=", "WzEsMl0=", "bnVsbA==", "e30="])
async def test_unreadable_cursors_are_refused(world: World, cursor):
    """
    What was not issued here is no cursor.
    """
    answer = await world.ask("GET", f"/projects/{world.one.id}/audit?cursor={cursor}", world.one.owner)
    assert (answer.status, answer.code) == (400, "cursor.invalid")


async def test_a_range_that_makes_no_sense_is_refused(world: World):
    """
    An end before its start, or a thousand pieces too many.
    """
    path = f"/projects/{world.one.id}/usage"
    turned = "?from=2026-03-02T00:00:00Z&to=2026-03-01T00:00:00Z"
    fine = "?from=2020-03-02T00:00:00Z&to=2026-03-01T00:00:00Z&groupBy=hour"
    for query in (turned, fine):
        answer = await world.ask("GET", path + query, world.one.owner)
        assert (answer.status, answer.code) == (422, "format.invalid")


@pytest.mark.parametrize("value", ["a%00b", "..%2F..%2Fetc", "%F0%9F%92%B8", "x" * 300, "%27%20OR%201=1"])
async def test_strange_ids_name_nothing(world: World, value):
    """
    An id that we never issue is not there, whatever it holds.
    """
    one = world.one
    for path in (
        f"/projects/{value}",
        f"/projects/{one.id}/transactions/{value}",
        f"/projects/{one.id}/requests/{value}",
    ):
        answer = await world.ask("GET", path, one.owner)
        assert answer.status == 404
    gone = await world.ask("DELETE", f"/projects/{one.id}/access-keys/{value}", one.owner)
    assert (gone.status, gone.code) == (404, "access.key_not_found")


@pytest.mark.parametrize(
    ("path", "body", "faults"),
    [
        ("transactions/credit", {"amount": "0", "description": "x"}, {("/amount", "amount.not_positive")}),
        ("transactions/credit", {"amount": "-1", "description": ""}, None),
        ("transactions/credit", {**CREDIT, "kind": "gift"}, {("/kind", "format.invalid")}),
        ("transactions/credit", {**CREDIT, "priority": 1001}, {("/priority", "format.invalid")}),
        ("transactions/credit", {**CREDIT, "priority": 1.0}, {("/priority", "value.wrong_type")}),
        ("transactions/credit", {**CREDIT, "priority": True}, {("/priority", "value.wrong_type")}),
        (
            "transactions/credit",
            {**CREDIT, "expiresAt": "2020-01-01T00:00:00Z"},
            {("/expiresAt", "expiry.passed")},
        ),
        ("transactions/credit", {**CREDIT, "metricKeys": []}, {("/metricKeys", "format.invalid")}),
        ("transactions/credit", {**CREDIT, "metricKeys": "a"}, {("/metricKeys", "value.wrong_type")}),
        ("transactions/credit", {**CREDIT, "metricKeys": [1]}, {("/metricKeys", "value.wrong_type")}),
        ("transactions/credit", {**CREDIT, "metricKeys": ["a", "a"]}, {("/metricKeys", "format.invalid")}),
        ("transactions/credit", {**CREDIT, "metricKeys": ["a b"]}, {("/metricKeys", "format.invalid")}),
        ("transactions/debit", {**CHARGE, "kind": "paid"}, {("/kind", "field.unknown")}),
        (
            "members",
            {"email": "nobody", "role": "king"},
            {("/email", "format.invalid"), ("/role", "format.invalid")},
        ),
        ("access-keys", {"name": "x", "scopes": []}, None),
        ("access-keys", {"name": "x", "scopes": ["all"]}, {("/scopes/0", "format.invalid")}),
        ("metrics", {"key": "m", "aggregation": "unique"}, {("/uniqueProperty", "metric.invalid")}),
        (
            "metrics",
            {"key": "m", "properties": {"p": {"type": "date"}}},
            {("/properties/p/type", "format.invalid")},
        ),
        ("metrics", {"key": "m", "free": "yes"}, {("/free", "value.wrong_type")}),
    ],
    ids=lambda value: json.dumps(value)[:50] if not isinstance(value, set) else "",
)
async def test_people_are_told_as_well(world: World, path, body, faults):
    """
    The same care for what people send.
    """
    before = world.state(world.one)
    answer = await world.ask(
        "POST", f"/projects/{world.one.id}/{path}", world.one.owner, key="bad", json=body
    )
    assert answer.status == 422
    if faults is not None:
        assert answer.faults() == faults
    assert world.state(world.one) == before


async def test_a_failed_validation_does_not_burn_the_key(world: World):
    """
    Whoever corrects a request may send it under the same key.
    """
    bad = await world.ask("POST", "/ingest/usage", world.one.usage_key, key="again", json=usage(units="x"))
    good = await world.ask("POST", "/ingest/usage", world.one.usage_key, key="again", json=USAGE)
    assert (bad.status, good.status) == (422, 201)


async def test_sums_that_would_overflow_are_refused(world: World):
    """
    No sequence of credits leads beyond 64 bits.
    """
    path = f"/projects/{world.one.id}/transactions/credit"
    most = {"amount": "9000000000000", "description": "much"}
    first = await world.ask("POST", path, world.one.finance, key="1", json=most)
    second = await world.ask("POST", path, world.one.finance, key="2", json=most)
    assert first.status == 201
    assert (second.status, second.code) == (422, "amount.overflow")


async def test_an_archived_project_takes_no_writes(world: World):
    """
    It stays readable, and what takes access away still works.
    """
    one = world.one
    archived = await world.ask("POST", f"/projects/{one.id}/archive", one.owner)
    again = await world.ask("POST", f"/projects/{one.id}/archive", one.owner)
    usage_refused = await world.ask("POST", "/ingest/usage", one.usage_key, key="z", json=USAGE)
    credit = await world.ask(
        "POST", f"/projects/{one.id}/transactions/credit", one.finance, key="z", json=CREDIT
    )
    read = await world.ask("GET", f"/projects/{one.id}/billing/overview", one.owner)
    revoked = await world.ask("DELETE", f"/projects/{one.id}/access-keys/{one.ids['keyId']}", one.owner)

    assert (archived.status, again.status, read.status, revoked.status) == (200, 200, 200, 204)
    assert archived.json == again.json
    assert usage_refused.code == credit.code == "project.archived"
