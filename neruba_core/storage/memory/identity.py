"""Users, sessions and throttles in memory."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import define, evolve, field

from neruba_core.identity.model import Session, Throttle, User
from neruba_core.instants import Instant
from neruba_core.storage.memory.tables import EVERYONE, DuplicateKey, Table, Undo


@define(eq=False)
class IdentityTables:
    """A refresh hash leads to its session for ever: that is how its reuse is noticed."""

    users: Table[str, User] = field(factory=Table)
    by_email: dict[str, str] = field(factory=dict)
    sessions: dict[str, Session] = field(factory=dict)
    sessions_of: dict[str, list[str]] = field(factory=dict)
    by_access: dict[str, str] = field(factory=dict)
    by_refresh: dict[str, str] = field(factory=dict)
    throttles: dict[str, Throttle] = field(factory=dict)


@define(eq=False)
class MemoryIdentity:
    """``IdentityStore`` within one unit."""

    _tables: IdentityTables
    _undo: Undo

    def add_user(self, user: User) -> bool:
        if user.email in self._tables.by_email:
            return False
        self._tables.users.add(self._undo, EVERYONE, user.id, user)
        self._undo.put(self._tables.by_email, user.email, user.id)
        return True

    def user(self, user_id: str) -> User | None:
        return self._tables.users.get(EVERYONE, user_id)

    def user_by_email(self, email: str) -> User | None:
        user_id = self._tables.by_email.get(email)
        return None if user_id is None else self.user(user_id)

    def users(self, *, limit: int, before: str | None) -> Sequence[User]:
        return self._tables.users.page(EVERYONE, limit=limit, before=before)

    def users_by_id(self, user_ids: Sequence[str]) -> dict[str, User]:
        return self._tables.users.some(EVERYONE, user_ids)

    def replace_user(self, user: User) -> None:
        earlier = self.user(user.id)
        if earlier is None:
            return
        if earlier.email != user.email:
            if user.email in self._tables.by_email:
                raise DuplicateKey("the email is taken")
            self._undo.remove(self._tables.by_email, earlier.email)
            self._undo.put(self._tables.by_email, user.email, user.id)
        self._tables.users.replace(self._undo, EVERYONE, user.id, user)

    # --- sessions -----------------------------------------------------------------------------

    def add_session(self, session: Session) -> None:
        tables = self._tables
        taken = session.id in tables.sessions or session.access_hash in tables.by_access
        if taken or session.refresh_hash in tables.by_refresh:
            raise DuplicateKey("the session's id or a hash of it is taken")
        self._undo.put(tables.sessions, session.id, session)
        self._undo.put(tables.by_access, session.access_hash, session.id)
        self._undo.put(tables.by_refresh, session.refresh_hash, session.id)
        self._undo.push(tables.sessions_of, session.user_id, session.id)

    def session_by_access(self, access_hash: str) -> Session | None:
        session_id = self._tables.by_access.get(access_hash)
        return None if session_id is None else self._tables.sessions[session_id]

    def session_by_refresh(self, refresh_hash: str) -> tuple[Session, bool] | None:
        session_id = self._tables.by_refresh.get(refresh_hash)
        if session_id is None:
            return None
        session = self._tables.sessions[session_id]
        return session, session.refresh_hash != refresh_hash

    def rotate(self, session: Session, *, spent_refresh_hash: str) -> bool:
        tables = self._tables
        current = tables.sessions.get(session.id)
        if current is None or current.refresh_hash != spent_refresh_hash or current.ended_at is not None:
            return False
        if session.access_hash in tables.by_access or session.refresh_hash in tables.by_refresh:
            raise DuplicateKey("a hash of the session is taken")
        self._undo.remove(tables.by_access, current.access_hash)
        self._undo.put(tables.sessions, session.id, session)
        self._undo.put(tables.by_access, session.access_hash, session.id)
        self._undo.put(tables.by_refresh, session.refresh_hash, session.id)
        return True

    def end_session(self, session_id: str, at: Instant) -> None:
        session = self._tables.sessions.get(session_id)
        if session is not None and session.ended_at is None:
            self._undo.put(self._tables.sessions, session_id, evolve(session, ended_at=at))

    def end_sessions_of(self, user_id: str, at: Instant) -> None:
        for session_id in self._tables.sessions_of.get(user_id, ()):
            self.end_session(session_id, at)

    # --- throttles ----------------------------------------------------------------------------

    def throttle(self, subject: str) -> Throttle | None:
        return self._tables.throttles.get(subject)

    def save_throttle(self, throttle: Throttle) -> None:
        self._undo.put(self._tables.throttles, throttle.subject, throttle)

    def clear_throttle(self, subject: str) -> None:
        self._undo.remove(self._tables.throttles, subject)
