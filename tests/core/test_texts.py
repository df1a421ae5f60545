"""What text and properties from outside may be."""

from __future__ import annotations

from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neruba_core import texts
from neruba_core.errors import FormatInvalid, KeyInvalid, PropertyInvalid, TextInvalid

NASTY = ["\x00", "\n", "\x1f", "\x7f", "\x85", "\x9f", "\u2028", "\u2029", "\ud800", "\udfff"]

anything = st.text(st.characters(codec=None, exclude_categories=()), max_size=40)
plain = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zl", "Zp")), min_size=1, max_size=40)


@given(plain.filter(lambda text: not text.isspace()))
def test_ordinary_text_passes_as_it_is(text):
    """
    In any script.
    """
    assert texts.clean(text) is text


@given(anything)
def test_text_is_kept_or_refused_and_the_refusal_can_be_shown(text):
    """
    What is kept can be encoded; what is not says so in words that can.
    """
    try:
        kept = texts.clean(text)
    except TextInvalid as refusal:
        str(refusal).encode()
    else:
        assert kept == text
        kept.encode()


@pytest.mark.parametrize("character", NASTY)
def test_control_characters_and_surrogates_are_refused(character):
    """
    They end up in logs, invoices and CSV files.
    """
    with pytest.raises(TextInvalid, match="control character or a lone surrogate"):
        texts.clean(f"a{character}b")
    with pytest.raises(TextInvalid, match="control character or a lone surrogate"):
        texts.clean_value(f"a{character}b")


@pytest.mark.parametrize("text", ["", " ", "\u3000", None, 1, b"bytes"])
def test_blank_text_and_other_types_are_refused(text):
    """
    A name that nobody can read names nothing.
    """
    with pytest.raises(TextInvalid):
        texts.clean(text)


def test_length_is_counted_in_bytes():
    """
    Up to the limit and no further.
    """
    assert texts.clean("é" * 512) == "é" * 512
    assert texts.clean_value("é" * 512) == "é" * 512
    with pytest.raises(TextInvalid, match="longer than 1024 bytes"):
        texts.clean("é" * 512 + "a")
    with pytest.raises(TextInvalid, match="longer than 1024 bytes"):
        texts.clean_value("a" * 1025)

    assert texts.event_id("e" * 255) == "e" * 255
    with pytest.raises(TextInvalid, match="longer than 255 bytes"):
        texts.event_id("e" * 256)


@pytest.mark.parametrize("key", ["!", "~", "a" * 255, "evt_2026_03_17_001", '"quoted"'])
def test_an_idempotency_key_is_visible_ascii(key):
    """
    One to 255 of it.
    """
    assert texts.idempotency_key(key) == key


@pytest.mark.parametrize("key", ["", " ", "a b", "a" * 256, "é", "a\n", "\x7f", "\ud800", None, 7])
def test_other_keys_are_refused(key):
    """
    What a header cannot carry, nobody should get used to.
    """
    with pytest.raises(KeyInvalid):
        texts.idempotency_key(key)


@pytest.mark.parametrize("key", ["a", "api_tokens", "gpu.h100:seconds", "7z", "a" * 128])
def test_a_metric_key_is_short_and_plain(key):
    """
    It becomes part of an account's name.
    """
    assert texts.metric_key(key) == key


@pytest.mark.parametrize("key", ["", "_a", "a b", "a/b", "a" * 129, "ä", "a\n", "\ud800", None, 7])
def test_other_metric_keys_are_refused(key):
    """
    With a message that can be shown.
    """
    with pytest.raises(FormatInvalid) as caught:
        texts.metric_key(key)

    str(caught.value).encode()


@pytest.mark.parametrize(
    ("address", "kept"),
    [("Ada@Example.com", "ada@example.com"), ("a.b+c@d-e.org", "a.b+c@d-e.org"), ("U\u0308@x.de", "ü@x.de")],
)
def test_an_email_is_compared_in_one_form(address, kept):
    """
    Lower case, composed.
    """
    assert texts.email(address) == kept


@pytest.mark.parametrize(
    "address", ["", "a", "@b", "a@", "a b@c", "a@b@c", "a@-b", "a\n@b", "\ud800@b", "a@" + "b" * 300, None, 7]
)
def test_other_emails_are_refused(address):
    """
    With a message that can be shown.
    """
    with pytest.raises(FormatInvalid) as caught:
        texts.email(address)

    str(caught.value).encode()


@given(
    st.dictionaries(
        plain.filter(lambda name: not name.isspace()),
        st.one_of(st.booleans(), st.integers(-(2**53) + 1, 2**53 - 1), plain, st.just("")),
        max_size=8,
    )
)
def test_strings_booleans_and_safe_integers_are_kept(values):
    """
    As a copy, so that what the caller does later changes nothing.
    """
    kept = texts.properties(MappingProxyType(values))

    assert kept == values
    assert kept is not values
    assert type(kept) is dict


@pytest.mark.parametrize(
    "values",
    [
        {"a": 1.5},
        {"a": None},
        {"a": [1]},
        {"a": {}},
        {"a": 2**53},
        {"a": -(2**53)},
        {"a": "\x00"},
        {"a": "\ud800"},
        {"a": "x" * 1025},
        {"\x00": 1},
        {"": 1},
        {"n" * 129: 1},
        {7: 1},
        {str(number): 1 for number in range(51)},
        {str(number): "x" * 1024 for number in range(8)},
        "text",
        [("a", 1)],
        7,
    ],
    ids=range(18),
)
def test_other_properties_are_refused(values):
    """
    What JSON implementations read differently, or what is too much of it.
    """
    with pytest.raises(PropertyInvalid) as caught:
        texts.properties(values)

    str(caught.value).encode()


def test_the_limits_of_properties_are_kept_to_the_last():
    """
    Fifty of them, eight KiB in all.
    """
    fifty = {str(number): number for number in range(50)}
    eight_kibibytes = {str(number): "x" * 1024 for number in range(7)}

    assert texts.properties(fifty) == fifty
    assert texts.properties(eight_kibibytes) == eight_kibibytes
    assert texts.properties({"a": 2**53 - 1, "b": -(2**53) + 1}) == {"a": 2**53 - 1, "b": -(2**53) + 1}
    assert texts.properties({}) == {}


@given(anything)
def test_anything_can_be_shown(text):
    """
    A refusal that repeats what it refuses can be sent as UTF-8.
    """
    assert len(texts.shown(text)) <= 40 * len("\\ud800")
    texts.shown(text).encode()
