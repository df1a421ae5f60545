"""What identity asks of storage. All of it is global: users and sessions belong to no project."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from neruba_core.identity.model import Session, Throttle, User
from neruba_core.instants import Instant


class IdentityStore(Protocol):
    """Users, sessions and throttles.

    Emails are unique, in their compared form. Token hashes are unique.
    """

    def add_user(self, user: User) -> bool:
        """Insert *user*; False, and nothing changed, where the email is taken."""

    def user(self, user_id: str) -> User | None: ...

    def user_by_email(self, email: str) -> User | None: ...

    def users(self, *, limit: int, before: str | None) -> Sequence[User]:
        """Users by descending id, below *before*."""

    def users_by_id(self, user_ids: Sequence[str]) -> dict[str, User]: ...

    def replace_user(self, user: User) -> None:
        """Overwrite the user of the same id (password, operator flag, disabling)."""

    def add_session(self, session: Session) -> None: ...

    def session_by_access(self, access_hash: str) -> Session | None: ...

    def session_by_refresh(self, refresh_hash: str) -> tuple[Session, bool] | None:
        """The session that this refresh token belongs or once belonged to, and whether it is spent."""

    def rotate(self, session: Session, *, spent_refresh_hash: str) -> bool:
        """Compare and set: overwrite the session whose current refresh hash is *spent_refresh_hash*
        and remember that hash as spent; False if another rotation came first, or its end did."""

    def end_session(self, session_id: str, at: Instant) -> None: ...

    def end_sessions_of(self, user_id: str, at: Instant) -> None: ...

    def throttle(self, subject: str) -> Throttle | None:
        """The throttle of *subject*. Whether there is one or not, the subject is locked until the unit
        ends: a second unit that asks for it waits."""

    def save_throttle(self, throttle: Throttle) -> None: ...

    def clear_throttle(self, subject: str) -> None: ...


class HasIdentity(Protocol):
    @property
    def identity(self) -> IdentityStore: ...
