"""The arithmetic of the brakes on guessing."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neruba_core.identity import throttle
from neruba_core.identity.throttle import after_failure, remembered, wait_seconds, wait_seconds_after
from tests.core.identity.stage import NOON


@given(st.integers(0, 10**6))
def test_a_wait_never_shrinks_and_never_passes_fifteen_minutes(failures):
    """
    More failures never wait less, and no number of them locks anyone out for good.
    """
    now, next_time = wait_seconds_after(failures), wait_seconds_after(failures + 1)

    assert 0 <= now <= next_time <= 900


def test_waits_double_from_the_fifth_failure_on():
    """
    Four failures are free, the fifth costs a second.
    """
    waits = [wait_seconds_after(failures) for failures in range(17)]

    assert waits == [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]
    assert wait_seconds_after(throttle.MOST_FAILURES - 1) < wait_seconds_after(throttle.MOST_FAILURES) == 900


@given(st.lists(st.floats(0, 4000), max_size=40))
def test_guesses_are_slow_however_they_are_spaced(gaps):
    """
    Whoever guesses whenever allowed gets few guesses for the time it takes.
    """
    at, state, guesses = NOON, None, 0

    for gap in gaps:
        at += timedelta(seconds=gap)
        if wait_seconds(state, at) == 0:
            state = after_failure("account:x", state, at)
            guesses += 1

    # One failure is forgotten per quarter of an hour, and the waits alone take that long from 15 on.
    assert guesses <= throttle.MOST_FAILURES + (at - NOON) / throttle.FORGET_ONE_AFTER + 1


@given(st.integers(1, 200), st.timedeltas(timedelta(0), timedelta(days=2)))
def test_failures_are_forgotten_one_by_one(count, quiet):
    """
    What counts after a quiet time is what counted before less one for each quarter of an hour.
    """
    state = None
    for _ in range(count):
        state = after_failure("account:x", state, NOON)

    left = remembered(state, NOON + quiet)

    assert left == max(0, min(count, throttle.MOST_FAILURES) - int(quiet / throttle.FORGET_ONE_AFTER))


def test_a_wait_is_rounded_up_to_whole_seconds():
    """
    Whoever comes back after the seconds told is let in.
    """
    state = None
    for _ in range(6):
        state = after_failure("account:x", state, NOON)

    waits = [wait_seconds(state, NOON + timedelta(milliseconds=ms)) for ms in (0, 1, 1000, 1001, 1999, 2000)]

    assert waits == [2, 2, 1, 1, 1, 0]


def test_a_clock_set_back_does_not_lock_longer_than_the_longest_wait():
    """
    The wait told is never beyond 15 minutes, and nothing is forgotten backwards.
    """
    state = after_failure("account:x", None, NOON + timedelta(days=9))

    told = wait_seconds(state, NOON)

    assert told == 900
    assert remembered(state, NOON) == 1


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.7", "192.0.2.7", True),
        ("192.0.2.7", "192.0.2.8", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("unix:", "unix:", True),
        ("unix:a", "unix:b", False),
    ],
)
def test_an_address_stands_for_its_subscriber(one, other, same):
    """
    An IPv6 subscriber has 2⁶⁴ addresses and one set of brakes.
    """
    subjects = [throttle.subjects("ada@example.com", address) for address in (one, other)]

    assert (subjects[0] == subjects[1]) is same
    assert subjects[0][0] == throttle.account("ada@example.com")


def test_subjects_are_told_apart_and_do_not_show_what_was_typed():
    """
    The account and the address are two subjects, and neither can be read off the table.
    """
    account, address = throttle.subjects("192.0.2.7", "192.0.2.7")

    assert account != address
    assert "192" not in account.partition(":")[0] + address.partition(":")[0]
    assert throttle.subjects("ada@example.com", None) == (throttle.account("ada@example.com"),)
    assert "ada" not in throttle.account("ada@example.com")
