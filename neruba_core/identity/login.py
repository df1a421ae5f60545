"""Proving that a password belongs to an email, in three steps.

``claim`` asks, in a short unit of work, whether an attempt is allowed and which hash to compare with.
``prove`` compares, outside any unit: argon2 takes tens of milliseconds, and a lock would wait for it.
``settle`` records, in another short unit, how it ended. The brakes are looked at again there, under
their lock: a hundred guesses sent at once all pass the first look, but only the first few get an
answer, and the rest are told to wait whether they were right or wrong.

A refusal is returned, not raised: the count of a failed attempt is committed with it.
"""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve, field, frozen

from neruba_core import texts
from neruba_core.errors import InvalidCredentials, LoginThrottled
from neruba_core.identity import passwords, throttle
from neruba_core.identity.model import User
from neruba_core.identity.store import HasIdentity
from neruba_core.instants import Instant


@frozen
class Claim:
    """Someone says to be *user*, or someone unknown; the attempt counts against *subjects*."""

    subjects: tuple[str, ...]
    user: User | None


@frozen
class Proof:
    """Whether the password was right, and its hash of today's cost where the stored one is outdated."""

    proven: bool
    renewed_hash: str | None = field(default=None, repr=False)


def claim(work: HasIdentity, email: str, address: str | None, *, at: Instant) -> Claim:
    """Begin an attempt. Raises ``FormatInvalid`` (email) or ``LoginThrottled``."""
    compared = texts.email(email)
    subjects = throttle.subjects(compared, address)
    wait_seconds = _wait_seconds(work, subjects, at)
    if wait_seconds:
        raise LoginThrottled(wait_seconds)
    return Claim(subjects, work.identity.user_by_email(compared))


def prove(attempt: Claim, password: str, *, effort: str, randomness: Callable[[int], bytes]) -> Proof:
    """Compare; the same work for a user, a disabled user and nobody."""
    user = attempt.user
    stored = None if user is None else user.password_hash
    if not passwords.matches(stored, password, effort=effort):
        return Proof(proven=False)
    if stored is not None and passwords.outdated(stored, effort=effort):
        return Proof(True, passwords.hashed(password, effort=effort, randomness=randomness))
    return Proof(proven=True)


def settle(
    work: HasIdentity, attempt: Claim, proof: Proof, *, at: Instant
) -> User | InvalidCredentials | LoginThrottled:
    """Record how the attempt ended: the user as of now, or the refusal to raise after the commit."""
    wait_seconds = _wait_seconds(work, attempt.subjects, at)
    if wait_seconds:
        return LoginThrottled(wait_seconds)
    user = _still_the_same(work, attempt) if proof.proven else None
    if user is None:
        for subject in attempt.subjects:
            work.identity.save_throttle(throttle.after_failure(subject, work.identity.throttle(subject), at))
        return InvalidCredentials()
    # Only the account is forgiven: one's own account must not buy guesses at those of others.
    work.identity.clear_throttle(attempt.subjects[0])
    if proof.renewed_hash is not None:
        user = evolve(user, password_hash=proof.renewed_hash)
        work.identity.replace_user(user)
    return user


def _still_the_same(work: HasIdentity, attempt: Claim) -> User | None:
    """The claimed user, unless disabled or given another password while argon2 was at work."""
    if attempt.user is None:
        return None
    user = work.identity.user(attempt.user.id)
    if user is None or user.disabled_at is not None or user.password_hash != attempt.user.password_hash:
        return None
    return user


def _wait_seconds(work: HasIdentity, subjects: tuple[str, ...], at: Instant) -> int:
    return max(throttle.wait_seconds(work.identity.throttle(subject), at) for subject in subjects)
