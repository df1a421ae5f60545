"""Users, sessions and throttles: tables, queries and row mapping. All of it belongs to no project."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import CheckConstraint, Index, PrimaryKeyConstraint, Table, UniqueConstraint, delete, select
from sqlalchemy import update as changing

from neruba_core.identity.model import Session, Throttle, User
from neruba_core.instants import Instant
from neruba_core.storage.sql.bulk import insert, insert_new, upsert
from neruba_core.storage.sql.codec import instant, instant_or_none, micros, micros_or_none
from neruba_core.storage.sql.columns import METADATA, flag, reference, small, text, whole
from neruba_core.storage.sql.queries import Query, each, given
from neruba_core.storage.sql.statements import SqlStore, below

USERS = Table(
    "neruba_users",
    METADATA,
    text("id"),
    text("email"),
    text("password_hash"),
    flag("operator"),
    whole("created_at"),
    whole("disabled_at", optional=True),
    PrimaryKeyConstraint("id", name="neruba_users_pk"),
    UniqueConstraint("email", name="neruba_users_email_uq"),
)

SESSIONS = Table(
    "neruba_sessions",
    METADATA,
    text("id"),
    text("user_id"),
    text("access_hash"),
    whole("access_expires_at"),
    text("refresh_hash"),
    whole("refresh_expires_at"),
    whole("created_at"),
    whole("ended_at", optional=True),
    PrimaryKeyConstraint("id", name="neruba_sessions_pk"),
    UniqueConstraint("access_hash", name="neruba_sessions_access_uq"),
    UniqueConstraint("refresh_hash", name="neruba_sessions_refresh_uq"),
    reference("neruba_sessions_user_fk", ["user_id"], "neruba_users", ["id"]),
    Index("neruba_sessions_user_ix", "user_id"),
)

SPENT = Table(
    "neruba_spent_refresh_tokens",
    METADATA,
    text("refresh_hash"),
    text("session_id"),
    PrimaryKeyConstraint("refresh_hash", name="neruba_spent_refresh_tokens_pk"),
    reference("neruba_spent_refresh_tokens_session_fk", ["session_id"], "neruba_sessions", ["id"]),
)

THROTTLES = Table(
    "neruba_throttles",
    METADATA,
    text("subject"),
    small("failures"),
    whole("blocked_until"),
    whole("last_failure_at"),
    PrimaryKeyConstraint("subject", name="neruba_throttles_pk"),
    CheckConstraint("failures >= 0", name="neruba_throttles_failures_ck"),
)

_ADD_USER = insert_new(USERS, "email")
_ADD_SESSION = insert(SESSIONS)
_ADD_SPENT = insert(SPENT)
_SAVE_THROTTLE = upsert(THROTTLES, "failures", "blocked_until", "last_failure_at")

_USER = Query(select(USERS).where(USERS.c.id == given("user_id")))
_USER_BY_EMAIL = Query(select(USERS).where(USERS.c.email == given("email")))
_USERS = Query(each(select(USERS), USERS.c.id, "user_ids"))
_SESSION_BY_ACCESS = Query(select(SESSIONS).where(SESSIONS.c.access_hash == given("access_hash")))
_SESSION_BY_REFRESH = Query(select(SESSIONS).where(SESSIONS.c.refresh_hash == given("refresh_hash")))
_SESSION_BY_SPENT = Query(
    select(SESSIONS)
    .join(SPENT, SPENT.c.session_id == SESSIONS.c.id)
    .where(SPENT.c.refresh_hash == given("refresh_hash"))
)
_THROTTLE = Query(select(THROTTLES).where(THROTTLES.c.subject == given("subject")))


@frozen
class SqlIdentity(SqlStore):
    """``IdentityStore`` within one unit."""

    def add_user(self, user: User) -> bool:
        return self._statements.write(_ADD_USER, [_user_row(user)]) == 1

    def user(self, user_id: str) -> User | None:
        row = self._statements.ask_one(_USER, user_id=user_id)
        return None if row is None else _user(row)

    def user_by_email(self, email: str) -> User | None:
        row = self._statements.ask_one(_USER_BY_EMAIL, email=email)
        return None if row is None else _user(row)

    def users(self, *, limit: int, before: str | None) -> Sequence[User]:
        query = select(USERS).where(*below(USERS.c.id, before)).order_by(USERS.c.id.desc()).limit(limit)
        return [_user(row) for row in self._statements.rows(query)]

    def users_by_id(self, user_ids: Sequence[str]) -> dict[str, User]:
        return {row[0]: _user(row) for row in self._statements.ask(_USERS, user_ids=set(user_ids))}

    def replace_user(self, user: User) -> None:
        self._statements.change(_overwrite(USERS, _user_row(user)))

    # --- sessions -----------------------------------------------------------------------------

    def add_session(self, session: Session) -> None:
        self._statements.write(_ADD_SESSION, [_session_row(session)])

    def session_by_access(self, access_hash: str) -> Session | None:
        row = self._statements.ask_one(_SESSION_BY_ACCESS, access_hash=access_hash)
        return None if row is None else _session(row)

    def session_by_refresh(self, refresh_hash: str) -> tuple[Session, bool] | None:
        row = self._statements.ask_one(_SESSION_BY_REFRESH, refresh_hash=refresh_hash)
        if row is not None:
            return _session(row), False
        row = self._statements.ask_one(_SESSION_BY_SPENT, refresh_hash=refresh_hash)
        return None if row is None else (_session(row), True)

    def rotate(self, session: Session, *, spent_refresh_hash: str) -> bool:
        query = _overwrite(SESSIONS, _session_row(session)).where(
            SESSIONS.c.refresh_hash == spent_refresh_hash, SESSIONS.c.ended_at.is_(None)
        )
        if self._statements.change(query) == 0:
            return False
        self._statements.write(_ADD_SPENT, [(spent_refresh_hash, session.id)])
        return True

    def end_session(self, session_id: str, at: Instant) -> None:
        self._statements.change(_ending(at).where(SESSIONS.c.id == session_id))

    def end_sessions_of(self, user_id: str, at: Instant) -> None:
        self._statements.change(_ending(at).where(SESSIONS.c.user_id == user_id))

    # --- throttles ----------------------------------------------------------------------------

    def throttle(self, subject: str) -> Throttle | None:
        if self._statements.postgresql:
            # There may be no row to lock yet.
            lock = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
            self._statements.driver_rows(lock, (f"neruba throttle {subject}",))
        row = self._statements.ask_one(_THROTTLE, subject=subject)
        return None if row is None else Throttle(row[0], row[1], instant(row[2]), instant(row[3]))

    def save_throttle(self, throttle: Throttle) -> None:
        row = (
            throttle.subject,
            throttle.failures,
            micros(throttle.blocked_until),
            micros(throttle.last_failure_at),
        )
        self._statements.write(_SAVE_THROTTLE, [row])

    def clear_throttle(self, subject: str) -> None:
        self._statements.change(delete(THROTTLES).where(THROTTLES.c.subject == subject))


def _overwrite(table: Table, row: tuple[Any, ...]) -> Any:
    """Overwrite the row of the id that comes first in *row*."""
    names = [column.name for column in table.columns]
    return changing(table).where(table.c.id == row[0]).values(dict(zip(names[1:], row[1:], strict=True)))


def _ending(at: Instant) -> Any:
    return changing(SESSIONS).where(SESSIONS.c.ended_at.is_(None)).values(ended_at=micros(at))


def _user_row(user: User) -> tuple[Any, ...]:
    return (
        user.id,
        user.email,
        user.password_hash,
        user.operator,
        micros(user.created_at),
        micros_or_none(user.disabled_at),
    )


def _user(row: Any) -> User:
    user_id, email, password_hash, operator, created_at, disabled_at = row
    return User(
        user_id, email, password_hash, bool(operator), instant(created_at), instant_or_none(disabled_at)
    )


def _session_row(session: Session) -> tuple[Any, ...]:
    return (
        session.id,
        session.user_id,
        session.access_hash,
        micros(session.access_expires_at),
        session.refresh_hash,
        micros(session.refresh_expires_at),
        micros(session.created_at),
        micros_or_none(session.ended_at),
    )


def _session(row: Any) -> Session:
    session_id, user_id, access_hash, access_until, refresh_hash, refresh_until, created_at, ended_at = row
    return Session(
        session_id,
        user_id,
        access_hash,
        instant(access_until),
        refresh_hash,
        instant(refresh_until),
        instant(created_at),
        instant_or_none(ended_at),
    )
