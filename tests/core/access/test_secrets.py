"""The text of an access key."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neruba_core.access import secrets
from neruba_core.errors import KeyRefused

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_- é"

BRANDS = {"key": "nrb", "pky": "nrp"}

key_ids = st.builds("{}_{:032x}".format, st.sampled_from(list(BRANDS)), st.integers(0, 2**128 - 1))
minted = st.builds(
    secrets.mint,
    key_ids,
    st.sampled_from(secrets.ENVIRONMENTS),
    st.just(b"pepper"),
    st.binary(min_size=32, max_size=32).map(lambda drawn: lambda count: drawn[:count]),
)


@given(key_ids, st.sampled_from(secrets.ENVIRONMENTS), st.binary(min_size=32, max_size=32))
def test_a_secret_names_its_key(key_id, environment, drawn):
    """
    Whatever is drawn, the text has one shape and leads back to the id, of a project's key or the platform's.
    """
    made = secrets.mint(key_id, environment, b"pepper", lambda count: drawn[:count])

    assert secrets.key_id_of(made.secret) == key_id
    assert secrets.is_platform(made.secret) is key_id.startswith("pky")
    assert re.fullmatch(rf"{BRANDS[key_id[:3]]}_{environment}_[0-9a-f]{{32}}_[0-9A-Za-z]{{49}}", made.secret)
    assert made.secret.startswith(made.prefix + "_")
    assert made.secret_hash == secrets.digest(made.secret, b"pepper")


@given(minted, st.data())
def test_any_single_typo_is_refused(made, data):
    """
    A CRC-32 notices every error of one character, wherever it is.
    """
    place = data.draw(st.integers(0, len(made.secret) - 1))
    wrong = data.draw(st.sampled_from(ALPHABET.replace(made.secret[place], "")))

    typo = made.secret[:place] + wrong + made.secret[place + 1 :]

    with pytest.raises(KeyRefused):
        secrets.key_id_of(typo)


@given(minted, st.data())
def test_two_neighbours_swapped_are_refused(made, data):
    """
    The other slip of a hand that copies.
    """
    swaps = [i for i in range(len(made.secret) - 1) if made.secret[i] != made.secret[i + 1]]
    i = data.draw(st.sampled_from(swaps))

    swapped = made.secret[:i] + made.secret[i + 1] + made.secret[i] + made.secret[i + 2 :]

    with pytest.raises(KeyRefused):
        secrets.key_id_of(swapped)


@given(minted, st.integers(0, 90))
def test_a_paste_cut_short_is_refused(made, length):
    """
    As is one with something behind it.
    """
    for wrong in (made.secret[:length], made.secret + "\n", made.secret + "x", " " + made.secret):
        with pytest.raises(KeyRefused):
            secrets.key_id_of(wrong)


@given(st.text())
def test_any_other_text_is_refused(text):
    """
    Nothing that a client may send breaks the check.
    """
    with pytest.raises(KeyRefused):
        secrets.key_id_of(text)


@given(minted)
def test_the_pepper_decides_the_hash(made):
    """
    A stolen table is of no use without it.
    """
    assert secrets.digest(made.secret, b"another") != made.secret_hash
    assert secrets.same(made.secret_hash, secrets.digest(made.secret, b"pepper"))
    assert not secrets.same(made.secret_hash, secrets.digest(made.secret + "x", b"pepper"))


@given(minted)
def test_a_secret_hides_in_a_log(made):
    """
    What prints a new key prints neither the secret nor its hash.
    """
    assert made.secret not in repr(made)
    assert made.secret_hash not in repr(made)
