"""How bytes become JSON that can be trusted."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neruba_server.limits import MOST_LEVELS, parsed
from neruba_server.problems import BodyMalformed, BodyTooDeep

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)
TRICKY = st.text(alphabet='"\\:{}[], \nab', max_size=12)


def depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(VALUES, st.sampled_from([None, 1]), st.booleans())
def test_what_is_json_is_read_as_the_standard_library_reads_it(value, indent, ascii_only):
    """
    However it is spaced and escaped.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    assert parsed(text.encode()) == json.loads(text)


@given(st.dictionaries(TRICKY, TRICKY | st.dictionaries(TRICKY, TRICKY, max_size=3), max_size=5))
def test_text_that_looks_like_structure_is_still_text(value):
    """
    Quotes, colons and brackets within strings make no members.
    """
    assert parsed(json.dumps(value).encode()) == value


@given(st.dictionaries(TRICKY, TRICKY, min_size=1, max_size=4), st.data())
def test_a_member_named_twice_is_always_found(members, data):
    """
    At any place, at the top or within, and however its name is spelt.
    """
    again = data.draw(st.sampled_from(sorted(members)))
    pairs = [f"{json.dumps(name)} : {json.dumps(value)}" for name, value in members.items()]
    spelt = '"' + "".join(f"\\u{ord(letter):04x}" for letter in again) + '"'
    pairs.insert(data.draw(st.integers(0, len(pairs))), f"{spelt}: 1")
    text = "{" + ",".join(pairs) + "}"
    if data.draw(st.booleans()):
        text = f'{{"within": [{text}]}}'

    with pytest.raises(BodyMalformed):
        parsed(text.encode())


@given(st.integers(1, 60), st.sampled_from(["[", '{"a":']))
def test_depth_is_counted_exactly(levels, opening):
    """
    Twenty levels are read, the twenty-first is refused.
    """
    closing = "]" if opening == "[" else "}"
    inner = "" if opening == "[" else "1"
    text = opening * levels + inner + closing * levels
    if levels <= MOST_LEVELS:
        assert depth(parsed(text.encode())) == levels
    else:
        with pytest.raises(BodyTooDeep):
            parsed(text.encode())


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(content):
    """
    Nothing else ever comes out.
    """
    with contextlib.suppress(BodyMalformed, BodyTooDeep):
        parsed(content)
