"""Which passwords are fit, and how one is kept and compared."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neruba_core.errors import PasswordUnfit
from neruba_core.identity import passwords

randomness = random.Random(1).randbytes


def hashed(password: str, effort: str = "testing") -> str:
    return passwords.hashed(password, effort=effort, randomness=randomness)


@pytest.mark.parametrize(
    "password", ["strong-password", "correct horse battery", "Zwölf Bäume", "x8#kQ!v2Lm@9", "an owl " * 146]
)
def test_a_fit_password_is_taken_as_it_is(password):
    """
    Length is what counts: no character class is asked for.
    """
    assert passwords.fit(password) == password


@pytest.mark.parametrize(
    "password",
    [
        "passwordpassword",
        "123456789012",
        "qwertyuiop12",
        "Password123!",
        "aaaaaaaaaaaaaaaa",
        "administrator",
        "p@ssw0rdp@ssw0rd",
        "abcabcabcabcabcabc" * 20,
    ],
)
def test_a_common_password_is_refused(password):
    """
    Whatever is among an attacker's first million guesses is no password.
    """
    with pytest.raises(PasswordUnfit, match="guesser"):
        passwords.fit(password)


@pytest.mark.parametrize(
    ("password", "reason"), [("x8#kQ!v2Lm@", "only 11"), ("an owl " * 147, "1029 bytes")]
)
def test_a_password_of_the_wrong_length_is_refused(password, reason):
    """
    Bytes are counted, not characters.
    """
    with pytest.raises(PasswordUnfit, match=reason):
        passwords.fit(password)


def test_a_lone_surrogate_is_refused():
    """
    It cannot be encoded, so it could never be compared.
    """
    with pytest.raises(PasswordUnfit, match="surrogate"):
        passwords.fit("\ud800 a heron by the lake")


def test_a_password_made_of_ones_own_email_is_refused():
    """
    The email is the first thing that a guesser knows.
    """
    assert passwords.fit("zelda.q.harkness@example.com")

    with pytest.raises(PasswordUnfit):
        passwords.fit("zelda.q.harkness@example.com", "zelda.q.harkness@example.com")


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=60), st.text(st.characters(codec="utf-8"), max_size=60))
def test_only_the_password_itself_matches(chosen, typed):
    """
    A hash opens to what was hashed and to nothing else.
    """
    kept = hashed(chosen)

    assert passwords.matches(kept, chosen, effort="testing")
    assert passwords.matches(kept, typed, effort="testing") is (
        passwords._compared(chosen) == passwords._compared(typed)
    )


def test_an_accent_is_the_same_on_every_keyboard():
    """
    A letter and its accent may come as one character or as two.
    """
    kept = hashed("caf\u00e9 by the quiet lake")

    assert passwords.matches(kept, "cafe\u0301 by the quiet lake", effort="testing")


def test_nobody_has_a_password():
    """
    An unknown user's check runs argon2 to its end and says no.
    """
    assert not passwords.matches(None, "", effort="testing")
    assert not passwords.matches(None, "a heron by the quiet lake", effort="standard")


def test_what_no_one_could_have_chosen_is_compared_without_hashing_all_of_it():
    """
    A longer password shares no prefix trick with a chosen one of the longest length.
    """
    longest = "h" * 1024
    kept = hashed(longest)

    assert passwords.matches(kept, longest, effort="testing")
    assert not passwords.matches(kept, "h" * 5000, effort="testing")
    assert not passwords.matches(kept, "\ud800", effort="testing")


def test_a_hash_that_cannot_be_read_matches_nothing():
    """
    A damaged row refuses instead of failing.
    """
    assert not passwords.matches("not a hash", "a heron by the quiet lake", effort="testing")


def test_a_hash_made_with_other_costs_is_outdated():
    """
    A login with it is the chance to renew it.
    """
    cheap, dear = hashed("a heron by the quiet lake"), hashed("a heron by the quiet lake", "standard")

    assert passwords.outdated(cheap, effort="standard")
    assert not passwords.outdated(dear, effort="standard")
    assert "m=19456,t=2,p=1" in dear
    assert dear.startswith("$argon2id$v=19$")


def test_the_module_costs_nothing_until_a_password_comes():
    """
    An embedder with users of its own never loads argon2 or the word lists.
    """
    program = "import neruba_core.identity.passwords, sys; print({'argon2', 'zxcvbn'} & set(sys.modules))"

    seen = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert seen.stdout.strip() == "set()"
