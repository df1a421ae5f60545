"""Users: adding, finding, giving a new password, disabling.

Whoever changes a password or is disabled is signed out everywhere in the same unit of work. The brakes
of an account (``throttle``) serve as its lock: a login that is being settled comes before or after, and
never slips through with the password that is being replaced.
"""

from __future__ import annotations

from attrs import evolve

from neruba_core.errors import EmailTaken, UserNotFound
from neruba_core.identity import throttle
from neruba_core.identity.model import User
from neruba_core.identity.store import HasIdentity
from neruba_core.ids import Ids
from neruba_core.instants import Instant
from neruba_core.pages import Page, limited, page, place_of


def add_user(
    work: HasIdentity, email: str, password_hash: str, *, operator: bool, at: Instant, ids: Ids
) -> User:
    """Add a user. Raises ``EmailTaken``."""
    user = User(id=ids.new("usr"), email=email, password_hash=password_hash, operator=operator, created_at=at)
    if not work.identity.add_user(user):
        raise EmailTaken(email)
    return user


def user_named(work: HasIdentity, email: str) -> User:
    """The user with this email. Raises ``UserNotFound``."""
    user = work.identity.user_by_email(email)
    if user is None:
        raise UserNotFound(email)
    return user


def user_of(work: HasIdentity, user_id: str) -> User:
    """The user of this id. Raises ``UserNotFound``."""
    user = work.identity.user(user_id)
    if user is None:
        raise UserNotFound(user_id)
    return user


def page_of_users(work: HasIdentity, *, limit: int, cursor: str | None) -> Page[User]:
    """Users, newest first."""
    rows = work.identity.users(limit=limited(limit) + 1, before=place_of(cursor, "users"))
    return page(rows, limit, "id", "users")


def held_user(work: HasIdentity, email: str) -> User:
    """The user with this email, whose logins wait until the unit ends. Raises ``UserNotFound``."""
    work.identity.throttle(throttle.account(email))
    return user_named(work, email)


def set_password(work: HasIdentity, held: User, password_hash: str, *, at: Instant) -> User:
    """Replace the password of a held user, end every session, and forget failed attempts at the old one."""
    changed = evolve(held, password_hash=password_hash)
    work.identity.replace_user(changed)
    work.identity.end_sessions_of(held.id, at)
    work.identity.clear_throttle(throttle.account(held.email))
    return changed


def disable(work: HasIdentity, held: User, *, at: Instant) -> User:
    """End every session of a held user and let none be opened again; the first moment of it stays."""
    if held.disabled_at is not None:
        return held
    disabled = evolve(held, disabled_at=at)
    work.identity.replace_user(disabled)
    work.identity.end_sessions_of(held.id, at)
    return disabled
