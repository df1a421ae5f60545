"""Signing in, and being kept from guessing."""

from __future__ import annotations

import threading

import pytest
from attrs import evolve

from neruba_core.context import Context
from neruba_core.errors import FormatInvalid, InvalidCredentials, LoginThrottled, SessionEnded
from neruba_core.identity import login, passwords
from neruba_core.identity.login import Claim, Proof
from neruba_core.namespaces.sessions import Sessions
from tests.core.identity.stage import ANOTHER, PASSWORD


def fail(stage, times=1, email="ada@example.com", address=None):
    for _ in range(times):
        with pytest.raises(InvalidCredentials):
            stage.sessions.login(email, "not the right password", address)


def test_the_right_password_opens_a_session(stage):
    """
    The tokens answer who they were given to, and say for how long.
    """
    ada = stage.user()

    tokens = stage.sessions.login("Ada@Example.com", PASSWORD)

    assert tokens.user == ada
    assert tokens.expires_in_seconds == 1800
    user, session = stage.sessions.authenticate(tokens.access_token)
    assert (user, session.user_id) == (ada, ada.id)


def test_tokens_hide_in_a_log(stage):
    """
    What prints a session, a user or a claim prints no secret.
    """
    stage.user()

    tokens = stage.sessions.login("ada@example.com", PASSWORD)

    assert tokens.access_token not in repr(tokens)
    assert tokens.refresh_token not in repr(tokens)
    assert "argon2" not in repr(tokens)


def test_a_wrong_password_and_an_unknown_email_are_told_alike(stage):
    """
    The answer does not tell who has a user here.
    """
    stage.user()

    with pytest.raises(InvalidCredentials) as wrong:
        stage.sessions.login("ada@example.com", ANOTHER)
    with pytest.raises(InvalidCredentials) as unknown:
        stage.sessions.login("nobody@example.com", ANOTHER)

    assert str(wrong.value) == str(unknown.value)
    assert wrong.value.facts() == unknown.value.facts()


def test_an_unknown_email_costs_as_much_work(stage, monkeypatch):
    """
    One verification runs either way, so the time does not tell either.
    """
    verified = []
    matches = passwords.matches

    def counted(kept, password, *, effort):
        verified.append(effort)
        return matches(kept, password, effort=effort)

    monkeypatch.setattr(passwords, "matches", counted)
    stage.user()

    fail(stage, email="ada@example.com")
    fail(stage, email="nobody@example.com")

    assert verified == ["testing", "testing"]


def test_what_is_no_email_is_refused_as_such(stage):
    """
    It is a mistake in a form, not a guess.
    """
    with pytest.raises(FormatInvalid):
        stage.sessions.login("ada at example", PASSWORD)


def test_five_failures_make_the_account_wait(stage):
    """
    A failed attempt is counted although the call raises; the right password has to wait too.
    """
    stage.user()
    fail(stage, 5)

    with pytest.raises(LoginThrottled) as refused:
        stage.sessions.login("ada@example.com", PASSWORD)

    assert refused.value.wait_seconds == 1
    stage.pass_by(seconds=1)
    assert stage.sessions.login("ada@example.com", PASSWORD)


def test_an_unknown_account_waits_just_the_same(stage):
    """
    Otherwise the brakes themselves would tell who has a user here.
    """
    fail(stage, 5, email="nobody@example.com")

    with pytest.raises(LoginThrottled):
        stage.sessions.login("nobody@example.com", PASSWORD)


def test_being_told_to_wait_does_not_lengthen_the_wait(stage):
    """
    Someone else's impatience cannot keep an account locked.
    """
    stage.user()
    fail(stage, 5)

    for _ in range(20):
        with pytest.raises(LoginThrottled):
            stage.sessions.login("ada@example.com", ANOTHER)

    stage.pass_by(seconds=1)
    assert stage.sessions.login("ada@example.com", PASSWORD)


def test_a_login_forgives_the_account_its_failures(stage):
    """
    Four slips before the right password leave no trace.
    """
    stage.user()
    fail(stage, 4)
    stage.sessions.login("ada@example.com", PASSWORD)

    fail(stage, 4)

    assert stage.sessions.login("ada@example.com", PASSWORD)


def test_an_address_that_tries_many_accounts_has_to_wait(stage):
    """
    Its own account does not buy it more guesses at those of others.
    """
    stage.user("mallory")
    for number in range(4):
        fail(stage, email=f"victim{number}@example.com", address="192.0.2.7")
    stage.sessions.login("mallory@example.com", PASSWORD, "192.0.2.7")
    fail(stage, email="victim4@example.com", address="192.0.2.7")

    with pytest.raises(LoginThrottled):
        stage.sessions.login("mallory@example.com", PASSWORD, "192.0.2.7")

    assert stage.sessions.login("mallory@example.com", PASSWORD, "192.0.2.8")


def test_guesses_sent_at_once_are_braked_like_guesses_in_a_row(stage):
    """
    All pass the first look; those that end after the brakes are on learn nothing, right or wrong.
    """
    stage.user()
    claims = [
        stage.context.write(lambda work: login.claim(work, "ada@example.com", None, at=stage.at))
        for _ in range(10)
    ]
    proofs = [Proof(proven=False)] * 9 + [Proof(proven=True)]

    outcomes = [
        stage.context.write(lambda work, c=claim, p=proof: login.settle(work, c, p, at=stage.at))
        for claim, proof in zip(claims, proofs, strict=True)
    ]

    assert [type(outcome) for outcome in outcomes] == [InvalidCredentials] * 5 + [LoginThrottled] * 5


def test_right_passwords_sent_at_once_all_open_sessions(stage):
    """
    The brakes count failures, not attempts.
    """
    stage.user()
    opened = []

    def sign_in():
        opened.append(stage.sessions.login("ada@example.com", PASSWORD).access_token)

    threads = [threading.Thread(target=sign_in) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(opened)) == 12


def test_a_disabled_user_cannot_sign_in(stage):
    """
    The answer is that of a wrong password.
    """
    stage.user()
    stage.users.disable("ada@example.com")

    with pytest.raises(InvalidCredentials):
        stage.sessions.login("ada@example.com", PASSWORD)


def test_a_password_replaced_while_it_was_verified_opens_nothing(stage):
    """
    A login that began before the change and ends after it is too late.
    """
    stage.user()
    claim = stage.context.write(lambda work: login.claim(work, "ada@example.com", None, at=stage.at))
    stage.users.set_password("ada@example.com", ANOTHER)

    outcome = stage.context.write(lambda work: login.settle(work, claim, Proof(proven=True), at=stage.at))

    assert isinstance(outcome, InvalidCredentials)


def test_a_proof_without_a_user_is_no_proof(stage):
    """
    Whatever a caller claims to have proven about nobody, nobody is signed in.
    """
    nobody = Claim(("account:x",), None)

    outcome = stage.context.write(lambda work: login.settle(work, nobody, Proof(proven=True), at=stage.at))

    assert isinstance(outcome, InvalidCredentials)


def test_a_login_renews_a_hash_of_other_costs(stage):
    """
    Raising the cost of hashing reaches everyone who signs in, and the password stays.
    """
    before = stage.user()
    dearer = Sessions(evolve(stage.context, password_effort="standard"))

    dearer.login("ada@example.com", PASSWORD)

    after = stage.users.get("ada@example.com")
    assert "m=8,t=1" in before.password_hash
    assert "m=19456,t=2" in after.password_hash
    assert dearer.login("ada@example.com", PASSWORD).user == after


def test_argon2_never_runs_inside_a_unit_of_work(stage, monkeypatch):
    """
    A lock held through a hash would make everyone wait for one login.
    """
    running = threading.Lock()
    inside = []
    write, read = Context.write, Context.read

    def watched(act_of):
        def call(self, act):
            with running:
                return act_of(self, act)

        return call

    monkeypatch.setattr(Context, "write", watched(write))
    monkeypatch.setattr(Context, "read", watched(read))

    def observed(hashing):
        def call(*args, **kwargs):
            inside.append(running.locked())
            return hashing(*args, **kwargs)

        return call

    monkeypatch.setattr(passwords, "matches", observed(passwords.matches))
    monkeypatch.setattr(passwords, "hashed", observed(passwords.hashed))
    ada = stage.user()
    stage.sessions.login("ada@example.com", PASSWORD)
    fail(stage)
    stage.sessions.change_password(ada.id, PASSWORD, ANOTHER)
    stage.users.set_password("ada@example.com", PASSWORD)

    assert inside
    assert not any(inside)


def test_a_login_in_a_bound_facade_is_part_of_the_hosts_unit(stage):
    """
    What the host rolls back was never opened.
    """
    stage.user()

    def host():
        with stage.storage.work() as work:
            bound = Sessions(evolve(stage.context, bound=work))
            tokens.append(bound.login("ada@example.com", PASSWORD).access_token)
            assert bound.authenticate(tokens[0])
            raise RuntimeError("the host changed its mind")

    tokens: list[str] = []
    with pytest.raises(RuntimeError):
        host()

    with pytest.raises(SessionEnded):
        stage.sessions.authenticate(tokens[0])
