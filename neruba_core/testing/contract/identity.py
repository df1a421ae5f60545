"""Promises of ``IdentityStore``: unique emails and hashes, one rotation, throttles under lock."""

from __future__ import annotations

import pytest
from attrs import evolve

from neruba_core.identity.model import Session, Throttle, User
from neruba_core.storage.port import Storage, UnitOfWork
from neruba_core.testing.contract import samples
from neruba_core.testing.contract.base import Promises
from neruba_core.testing.contract.samples import MICROSECOND, NOW, later, new_id, person
from neruba_core.testing.contract.units import ANY_FAILURE, Rival, answer, read, start, together, waits, write


def signed_in(storage: Storage) -> Session:
    """Commit a new user with a session."""
    session = samples.session(person(storage))
    write(storage, lambda work: work.identity.add_session(session))
    return session


def rotation(session: Session) -> Session:
    """The session with new tokens."""
    return samples.session(session.user_id, id=session.id, created_at=session.created_at)


class Identity(Promises):
    """Users, sessions and throttles."""

    @pytest.mark.parametrize("disabled_at", [None, NOW + MICROSECOND])
    def test_a_user_comes_back_as_it_was_stored(self, storage: Storage, disabled_at: object) -> None:
        """
        By id, by email and by a list of ids, to the microsecond.
        """
        user = samples.user(operator=True, disabled_at=disabled_at)

        added = write(storage, lambda work: work.identity.add_user(user))

        with storage.snapshot() as work:
            assert added is True
            assert work.identity.user(user.id) == user
            assert work.identity.user_by_email(user.email) == user
            assert work.identity.users_by_id([user.id, "usr_nobody"]) == {user.id: user}

    def test_an_unknown_user_is_none(self, storage: Storage) -> None:
        """
        Nothing is found where nothing is.
        """
        with storage.snapshot() as work:
            assert work.identity.user("usr_nobody") is None
            assert work.identity.user_by_email("nobody@example.com") is None
            assert work.identity.users_by_id([]) == {}
            assert work.identity.session_by_access("no hash") is None
            assert work.identity.session_by_refresh("no hash") is None

    def test_an_email_is_taken_once(self, storage: Storage) -> None:
        """
        The second user of the same email is not stored, and the unit goes on.
        """
        first = samples.user()
        second = samples.user(email=first.email)
        write(storage, lambda work: work.identity.add_user(first))

        added = write(storage, lambda work: work.identity.add_user(second))

        with storage.snapshot() as work:
            assert added is False
            assert work.identity.user(second.id) is None
            assert work.identity.user_by_email(first.email) == first

    def test_of_many_who_want_an_email_one_gets_it(self, storage: Storage) -> None:
        """
        The unique key holds under a race.
        """
        email = f"{new_id('race')}@example.com"

        def register(user: User) -> bool:
            return write(storage, lambda work: work.identity.add_user(user))

        added = together(*(lambda: register(samples.user(email=email)) for _ in range(6)))

        assert sorted(added) == [False] * 5 + [True]

    def test_users_are_listed_newest_first(self, storage: Storage) -> None:
        """
        By descending id, strictly below ``before``, at most ``limit``.
        """
        users = [samples.user() for _ in range(4)]
        with storage.work() as work:
            for user in users:
                work.identity.add_user(user)

        with storage.snapshot() as work:
            first = work.identity.users(limit=2, before=None)
            second = work.identity.users(limit=2, before=users[2].id)

        assert list(first) == [users[3], users[2]]
        assert list(second) == [users[1], users[0]]

    def test_a_user_can_be_overwritten(self, storage: Storage) -> None:
        """
        Password, operator flag and disabling change; a user who is not there is not made.
        """
        user = samples.user()
        write(storage, lambda work: work.identity.add_user(user))
        changed = evolve(user, password_hash="$argon2id$new", operator=True, disabled_at=NOW)

        with storage.work() as work:
            work.identity.replace_user(changed)
            work.identity.replace_user(samples.user(id="usr_nobody"))

        with storage.snapshot() as work:
            assert work.identity.user(user.id) == work.identity.user_by_email(user.email) == changed
            assert work.identity.user("usr_nobody") is None

    def test_a_changed_email_is_the_only_one_that_counts(self, storage: Storage) -> None:
        """
        The earlier one is free for others; one that is taken fails the unit.
        """
        user, other = samples.user(), samples.user()
        newcomer = samples.user(email=user.email)
        with storage.work() as work:
            work.identity.add_user(user)
            work.identity.add_user(other)
        moved = evolve(user, email=f"new-{user.email}")

        with storage.work() as work:
            work.identity.replace_user(moved)
            added = work.identity.add_user(newcomer)
        with pytest.raises(ANY_FAILURE):
            write(storage, lambda work: work.identity.replace_user(evolve(moved, email=other.email)))

        with storage.snapshot() as work:
            assert added is True
            assert work.identity.user_by_email(moved.email) == moved
            assert work.identity.user_by_email(newcomer.email) == newcomer
            assert work.identity.user_by_email(other.email) == other

    # --- sessions -----------------------------------------------------------------------------

    def test_a_session_is_found_by_either_token(self, storage: Storage) -> None:
        """
        The access hash leads to it, and the refresh hash, which is not spent yet.
        """
        session = signed_in(storage)

        with storage.snapshot() as work:
            assert work.identity.session_by_access(session.access_hash) == session
            assert work.identity.session_by_refresh(session.refresh_hash) == (session, False)
            assert work.identity.session_by_access(session.refresh_hash) is None
            assert work.identity.session_by_refresh(session.access_hash) is None

    @pytest.mark.parametrize("taken", ["id", "access_hash", "refresh_hash"])
    def test_a_token_belongs_to_one_session(self, storage: Storage, taken: str) -> None:
        """
        A second session of the same id or hash fails the unit; so does a rotation onto one.
        """
        session = signed_in(storage)
        thief = samples.session(session.user_id, **{taken: getattr(session, taken)})
        victim = signed_in(storage)
        stolen = evolve(rotation(victim), access_hash=session.access_hash)

        with pytest.raises(ANY_FAILURE):
            write(storage, lambda work: work.identity.add_session(thief))
        with pytest.raises(ANY_FAILURE):
            write(storage, lambda work: work.identity.rotate(stolen, spent_refresh_hash=victim.refresh_hash))

        with storage.snapshot() as work:
            assert work.identity.session_by_access(session.access_hash) == session
            assert work.identity.session_by_refresh(session.refresh_hash) == (session, False)
            assert work.identity.session_by_refresh(victim.refresh_hash) == (victim, False)

    def test_a_rotation_replaces_both_tokens(self, storage: Storage) -> None:
        """
        The old access token opens nothing, the old refresh token is remembered as spent.
        """
        session = signed_in(storage)
        new = rotation(session)

        rotated = write(
            storage, lambda work: work.identity.rotate(new, spent_refresh_hash=session.refresh_hash)
        )

        with storage.snapshot() as work:
            assert rotated is True
            assert work.identity.session_by_access(session.access_hash) is None
            assert work.identity.session_by_access(new.access_hash) == new
            assert work.identity.session_by_refresh(new.refresh_hash) == (new, False)
            assert work.identity.session_by_refresh(session.refresh_hash) == (new, True)

    def test_a_spent_token_stays_spent(self, storage: Storage) -> None:
        """
        However many rotations ago it was the session's own.
        """
        first = signed_in(storage)
        second, third = rotation(first), rotation(first)
        with storage.work() as work:
            work.identity.rotate(second, spent_refresh_hash=first.refresh_hash)
            work.identity.rotate(third, spent_refresh_hash=second.refresh_hash)

        with storage.snapshot() as work:
            assert work.identity.session_by_refresh(first.refresh_hash) == (third, True)
            assert work.identity.session_by_refresh(second.refresh_hash) == (third, True)

    def test_a_spent_token_rotates_nothing(self, storage: Storage) -> None:
        """
        Compare and set: who comes second is told so, and the session stays the first one's.
        """
        session = signed_in(storage)
        first, second = rotation(session), rotation(session)
        write(storage, lambda work: work.identity.rotate(first, spent_refresh_hash=session.refresh_hash))

        rotated = write(
            storage, lambda work: work.identity.rotate(second, spent_refresh_hash=session.refresh_hash)
        )

        with storage.snapshot() as work:
            assert rotated is False
            assert work.identity.session_by_access(first.access_hash) == first
            assert work.identity.session_by_access(second.access_hash) is None
            assert work.identity.session_by_refresh(second.refresh_hash) is None

    def test_a_session_that_ended_is_not_rotated(self, storage: Storage) -> None:
        """
        A rotation that was decided before the end would bring the session back to life.
        """
        session = signed_in(storage)
        write(storage, lambda work: work.identity.end_session(session.id, NOW))

        rotated = write(
            storage,
            lambda work: work.identity.rotate(rotation(session), spent_refresh_hash=session.refresh_hash),
        )

        ended = read(storage, lambda work: work.identity.session_by_access(session.access_hash))
        assert rotated is False
        assert ended == evolve(session, ended_at=NOW)

    def test_of_many_rotations_at_once_one_wins(self, storage: Storage) -> None:
        """
        Two tabs refresh at the same moment; only one may get new tokens.
        """
        session = signed_in(storage)

        def rotate(new: Session) -> bool:
            return write(
                storage, lambda work: work.identity.rotate(new, spent_refresh_hash=session.refresh_hash)
            )

        rotated = together(*(lambda: rotate(rotation(session)) for _ in range(6)))

        assert sorted(rotated) == [False] * 5 + [True]

    def test_a_rotation_waits_for_the_one_in_flight(self, storage: Storage) -> None:
        """
        It reports a loss only once the other has committed, and wins if that was rolled back.
        """
        session = signed_in(storage)

        def rotate(work: UnitOfWork) -> bool:
            return work.identity.rotate(rotation(session), spent_refresh_hash=session.refresh_hash)

        with Rival(storage, rotate) as rival:
            ours = start(lambda: write(storage, rotate))
            waited = waits(ours)
            rival.roll_back()

        assert waited
        assert answer(ours) is True

    def test_ending_a_session_marks_it(self, storage: Storage) -> None:
        """
        It is still found, so that its end can be told.
        """
        session = signed_in(storage)

        write(storage, lambda work: work.identity.end_session(session.id, later(micros=1)))

        ended = evolve(session, ended_at=later(micros=1))
        with storage.snapshot() as work:
            assert work.identity.session_by_access(session.access_hash) == ended
            assert work.identity.session_by_refresh(session.refresh_hash) == (ended, False)

    def test_all_sessions_of_a_user_end_at_once(self, storage: Storage) -> None:
        """
        And nobody else's.
        """
        one, other = signed_in(storage), signed_in(storage)
        two = samples.session(one.user_id)
        write(storage, lambda work: work.identity.add_session(two))

        write(storage, lambda work: work.identity.end_sessions_of(one.user_id, NOW))

        with storage.snapshot() as work:
            found = [work.identity.session_by_access(session.access_hash) for session in (one, two, other)]
        assert found == [evolve(one, ended_at=NOW), evolve(two, ended_at=NOW), other]

    # --- throttles ----------------------------------------------------------------------------

    def test_a_throttle_is_kept_until_it_is_cleared(self, storage: Storage) -> None:
        """
        Saving inserts or overwrites; clearing what is not there is no fault.
        """
        subject = new_id("account:")
        once = Throttle(subject, 1, NOW, NOW)
        twice = Throttle(subject, 2, later(seconds=5), later(micros=1))

        with storage.work() as work:
            assert work.identity.throttle(subject) is None
            work.identity.clear_throttle(subject)
            work.identity.save_throttle(once)
            assert work.identity.throttle(subject) == once
            work.identity.save_throttle(twice)

        with storage.work() as work:
            assert work.identity.throttle(subject) == twice
            work.identity.clear_throttle(subject)
            assert work.identity.throttle(subject) is None

    @pytest.mark.parametrize("there_already", [True, False])
    def test_no_failure_is_lost_in_a_race(self, storage: Storage, there_already: bool) -> None:
        """
        Guesses that come at once count one by one, also the very first ones of a subject.
        """
        subject = new_id("address:")
        if there_already:
            write(storage, lambda work: work.identity.save_throttle(Throttle(subject, 0, NOW, NOW)))

        def fail() -> None:
            with storage.work() as work:
                throttle = work.identity.throttle(subject) or Throttle(subject, 0, NOW, NOW)
                work.identity.save_throttle(evolve(throttle, failures=throttle.failures + 1))

        together(*([fail] * 6))

        assert write(storage, lambda work: work.identity.throttle(subject)) == Throttle(subject, 6, NOW, NOW)
