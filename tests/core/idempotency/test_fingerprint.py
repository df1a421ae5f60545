"""When two requests are the same request."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from neruba_core import instants, money
from neruba_core.idempotency.fingerprint import canonical, canonical_of_ascii_names, fingerprint
from neruba_core.usage.fingerprint import OPERATION, PATH, content, same_content, usage_fingerprint
from neruba_core.usage.model import NewUsage

text = st.text(st.characters(codec="utf-8"), max_size=12)
scalars = st.one_of(st.booleans(), st.integers(-(2**53) + 1, 2**53 - 1), text)
values = st.recursive(
    st.none() | scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)
bodies = st.dictionaries(text, values, max_size=6)
of_ascii_names = st.recursive(
    st.none() | scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(st.characters(codec="ascii"), max_size=12), inner, max_size=4)
    ),
    max_leaves=12,
)
events = st.builds(
    NewUsage,
    metric_key=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,20}", fullmatch=True),
    units_micros=st.integers(0, money.MAX_MICROS),
    timestamp=st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC)),
    idempotency_key=st.from_regex(r"[!-~]{1,20}", fullmatch=True),
    event_id=st.none() | text.filter(bool),
    properties=st.none() | st.dictionaries(text, scalars, max_size=4),
)


@given(values)
def test_canonical_text_is_that_of_rfc_8785(value):
    """
    Held against another implementation: names in UTF-16 order, escapes and all.
    """
    assert canonical(value).encode() == rfc8785.dumps(value)


@given(of_ascii_names)
def test_where_names_are_ascii_the_quick_way_gives_the_same_text(value):
    """
    Values may be any text; whatever is digested must not depend on which of the two was called.
    """
    assert canonical_of_ascii_names(value) == canonical(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"b": 1, "a": [True, False, None]}, '{"a":[true,false,null],"b":1}'),
        ({"\ufb33": 1, "\U0001f600": 2}, '{"\U0001f600":2,"\ufb33":1}'),
        ('"\\/\b\f\n\r\t\x01\x7f\u2028é', '"\\"\\\\/\\b\\f\\n\\r\\t\\u0001\x7f\u2028é"'),
        (MappingProxyType({"a": (1, 2)}), '{"a":[1,2]}'),
        ({}, "{}"),
        ([], "[]"),
        (-7, "-7"),
    ],
    ids=range(7),
)
def test_canonical_text_by_example(value, expected):
    """
    UTF-16 order puts an astral name before a high one; nothing is escaped that need not be.
    """
    assert canonical(value) == expected


@given(text, text, bodies)
def test_a_fingerprint_is_the_digest_of_operation_path_and_present_fields(operation, path, body):
    """
    Spelt out with the other implementation, so that it can be recomputed anywhere.
    """
    present = {name: value for name, value in body.items() if value is not None}
    expected = rfc8785.dumps({"operation": operation, "path": path, "body": present})

    assert fingerprint(operation, path, body) == hashlib.sha256(expected).digest()


@given(text, text, bodies, text)
def test_null_means_absent(operation, path, body, name):
    """
    At the top; inside a value null is a value.
    """
    without = {key: value for key, value in body.items() if key != name}

    assert fingerprint(operation, path, {**body, name: None}) == fingerprint(operation, path, without)


@given(bodies, st.randoms())
def test_the_order_of_fields_does_not_matter(body, random):
    """
    JSON objects have none.
    """
    names = list(body)
    random.shuffle(names)

    assert fingerprint("usage", "/", {name: body[name] for name in names}) == fingerprint("usage", "/", body)


@given(bodies, bodies)
def test_other_bodies_have_other_fingerprints(one, other):
    """
    As have other operations and paths.
    """
    same = canonical({n: v for n, v in one.items() if v is not None}) == canonical(
        {n: v for n, v in other.items() if v is not None}
    )

    assert (fingerprint("usage", "/a", one) == fingerprint("usage", "/a", other)) is same
    assert fingerprint("usage", "/a", one) != fingerprint("charge", "/a", one)
    assert fingerprint("usage", "/a", one) != fingerprint("usage", "/b", one)


def _body(new: NewUsage, event_id: str | None) -> dict:
    return {
        "metricKey": new.metric_key,
        "units": money.text(new.units_micros),
        "timestamp": instants.text(new.timestamp),
        "eventId": event_id,
        "properties": new.properties,
    }


@given(events)
def test_the_quick_fingerprint_of_usage_is_the_general_one(new):
    """
    Ingest writes the same text by hand.
    """
    body = _body(new, new.event_id)

    assert usage_fingerprint(new) == fingerprint(OPERATION, PATH, body)
    assert content(new) == canonical({name: value for name, value in body.items() if value is not None})


@given(events, st.none() | text.filter(bool))
def test_same_content_leaves_the_event_id_aside(new, event_id):
    """
    It was sent, or left out to default to the key: the thing that happened is the same.
    """
    recorded_event_id = new.idempotency_key if event_id is None else event_id
    recorded = fingerprint(OPERATION, PATH, _body(new, event_id))

    assert same_content(new, recorded, recorded_event_id)


@given(events, st.integers(1, 10**9))
def test_other_content_is_another_event(new, more):
    """
    One micro-unit is enough.
    """
    other = NewUsage(
        new.metric_key,
        (new.units_micros + more) % money.MAX_MICROS,
        new.timestamp,
        new.idempotency_key,
        new.event_id,
        new.properties,
    )

    assert not same_content(other, usage_fingerprint(new), new.event)


def _event(**changes) -> NewUsage:
    return NewUsage.of(
        **{
            "metric_key": "api_tokens",
            "units": "1.5",
            "timestamp": datetime(2026, 3, 17, 10, 15, tzinfo=UTC),
            "idempotency_key": "evt_1",
            **changes,
        }
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"units": "1.500000"},
        {"units": "01.5"},
        {"timestamp": datetime(2026, 3, 17, 12, 15, tzinfo=timezone(timedelta(hours=2)))},
        {"timestamp": instants.parse("2026-03-17T10:15:00.0+00:00")},
        {"idempotency_key": "evt_2"},
        {"event_id": None},
        {"properties": None},
    ],
    ids=range(7),
)
def test_two_spellings_of_one_request_are_the_same(changes):
    """
    "1.5" and "1.500000", …Z and …+02:00.
    """
    assert usage_fingerprint(_event(**changes)) == usage_fingerprint(_event())


@pytest.mark.parametrize(
    "changes",
    [
        {"units": "1.500001"},
        {"metric_key": "api_token"},
        {"timestamp": instants.parse("2026-03-17T10:15:00.000001Z")},
        {"event_id": "evt_1"},
        {"properties": {}},
        {"properties": {"a": 1}},
    ],
    ids=range(6),
)
def test_a_default_that_is_sent_is_another_request(changes):
    """
    Defaults are never added, or a later default would change what was said.
    """
    assert usage_fingerprint(_event(**changes)) != usage_fingerprint(_event())


def test_a_boolean_and_a_number_are_different_values():
    """
    To Python True is 1, to a sender it is not.
    """
    one, true, word = (usage_fingerprint(_event(properties={"a": value})) for value in (1, True, "1"))

    assert len({one, true, word}) == 3
