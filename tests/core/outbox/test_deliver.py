"""What becomes of deliveries, whatever endpoints answer and however late."""

from __future__ import annotations

from datetime import timedelta

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from neruba_core.outbox.deliver import (
    ATTEMPTS_KEPT,
    DISABLED_AFTER,
    JITTER,
    RETRIES,
    again_at,
    anew,
    judge,
    succeeded,
)
from neruba_core.outbox.model import Delivery, DeliveryAttempt, DeliveryState, Endpoint
from neruba_core.testing.clock import NOON

PENDING = Delivery(
    project_id="prj_1",
    id="dlv_1",
    endpoint_id="whe_1",
    message_id="msg_1",
    type="credit.granted",
    state=DeliveryState.PENDING,
    tried=0,
    due_at=NOON,
    created_at=NOON,
)
ENDPOINT = Endpoint(
    project_id="prj_1",
    id="whe_1",
    url="https://hooks.example.com/",
    message_types=(),
    salts=(),
    created_at=NOON,
    created_by="system",
)
STATUSES = st.one_of(st.none(), st.integers(100, 599))
WAITS = st.timedeltas(timedelta(0), timedelta(days=3))


def attempt(at, status) -> DeliveryAttempt:
    return DeliveryAttempt(at, 5, status, None if status else "there was no connection")


@given(
    st.lists(st.tuples(STATUSES, st.floats(0, 1), WAITS, st.timedeltas(timedelta(0), timedelta(days=1)))),
    st.booleans(),
)
def test_a_delivery_ends_and_says_how(answers, by_hand):
    """
    It is pending until the first success, or until it is given up, which it is after the schedule's last
    attempt at the latest; and it is never due before the wait that it was promised.
    """
    delivery, endpoint, at = evolve(PENDING, by_hand=by_hand), ENDPOINT, NOON
    for status, jitter, wait, late in answers:
        if delivery.state is not DeliveryState.PENDING:
            break
        at = max(at, delivery.due_at) + late
        made = attempt(at, status)
        before = delivery

        judged = judge(delivery, endpoint, made, jitter=jitter, wait=wait)

        delivery, endpoint = judged.delivery, judged.endpoint
        assert delivery.tried == before.tried + 1 <= len(RETRIES) + 1
        assert delivery.attempts[-1] == made
        assert (delivery.state is DeliveryState.DELIVERED) is succeeded(made)
        assert (delivery.ended_at is None) is (delivery.state is DeliveryState.PENDING)
        assert (endpoint.failing_since is None) is succeeded(made)
        if delivery.state is DeliveryState.PENDING:
            assert delivery.due_at - at >= max(RETRIES[before.tried], min(wait, RETRIES[-1]))
        if judged.disabled is not None:
            assert delivery.state is DeliveryState.DEAD
            assert endpoint.failing_since is not None
            assert status == 410 or at - endpoint.failing_since >= DISABLED_AFTER


@given(st.integers(1, len(RETRIES)), st.floats(0, 1), WAITS)
def test_waits_are_those_of_the_schedule(tried, jitter, wait):
    """
    A fifth longer at most, unless the endpoint asks for more, which is granted up to a day.
    """
    again = again_at(tried, NOON, jitter, wait)

    assert again is not None
    waited = again - NOON
    assert RETRIES[tried - 1] <= waited
    assert waited <= max(RETRIES[tried - 1] * (1 + JITTER), min(wait, RETRIES[-1]))


def test_after_the_last_wait_it_is_given_up():
    """
    Ten attempts in three days and some hours.
    """
    assert again_at(len(RETRIES) + 1, NOON, 0.0) is None
    assert timedelta(days=3) < sum(RETRIES, timedelta(0)) < timedelta(days=4)


def test_what_is_begun_anew_has_the_whole_schedule_before_it():
    """
    And keeps the history of what was tried before.
    """
    dead = evolve(PENDING, state=DeliveryState.DEAD, tried=10, ended_at=NOON, attempts=(attempt(NOON, 500),))

    again = anew(dead, NOON + timedelta(days=1))

    assert (again.state, again.tried, again.ended_at) == (DeliveryState.PENDING, 0, None)
    assert again.due_at == NOON + timedelta(days=1)
    assert again.message_id == dead.message_id
    assert again.attempts == dead.attempts


def test_only_so_many_attempts_are_kept():
    """
    The latest ones.
    """
    delivery, at = PENDING, NOON
    for number in range(ATTEMPTS_KEPT + 5):
        at = NOON + timedelta(seconds=number)
        delivery = anew(judge(delivery, ENDPOINT, attempt(at, 500), jitter=0).delivery, at)

    assert len(delivery.attempts) == ATTEMPTS_KEPT
    assert delivery.attempts[-1].at == at
