"""``neruba.users``: the people who may sign in. For the deployment's own staff and command line."""

from __future__ import annotations

from attrs import frozen

from neruba_core import texts
from neruba_core.context import Context
from neruba_core.identity import passwords, users
from neruba_core.identity.model import User
from neruba_core.pages import DEFAULT_LIMIT, Page


@frozen
class Users:
    """Users of the deployment. They belong to no project; memberships tie them to projects."""

    _context: Context

    def add(self, email: str, password: str, operator: bool = False) -> User:
        """Add a user; an *operator* is implicit owner of every project.

        Raises ``FormatInvalid`` (email), ``PasswordUnfit`` or ``EmailTaken``.
        """
        context = self._context
        address = texts.email(email)
        password_hash = self._hashed(password, address)
        return context.write(
            lambda work: users.add_user(
                work, address, password_hash, operator=operator, at=context.clock(), ids=context.ids
            )
        )

    def list(self, limit: int = DEFAULT_LIMIT, cursor: str | None = None) -> Page[User]:
        """Users, newest first; *limit* 1–200.

        Raises ``FormatInvalid``, ``CursorInvalid`` or ``CursorMismatch``.
        """
        return self._context.read(lambda work: users.page_of_users(work, limit=limit, cursor=cursor))

    def get(self, email: str) -> User:
        """The user with this email. Raises ``FormatInvalid`` or ``UserNotFound``."""
        address = texts.email(email)
        return self._context.read(lambda work: users.user_named(work, address))

    def set_password(self, email: str, password: str) -> User:
        """Give the user a new password and end every session of theirs.

        Raises ``FormatInvalid`` (email), ``PasswordUnfit`` or ``UserNotFound``.
        """
        context = self._context
        address = texts.email(email)
        password_hash = self._hashed(password, address)
        return context.write(
            lambda work: users.set_password(
                work, users.held_user(work, address), password_hash, at=context.clock()
            )
        )

    def disable(self, email: str) -> User:
        """End every session of the user and refuse logins from now on; twice is fine.

        Raises ``FormatInvalid`` (email) or ``UserNotFound``.
        """
        context = self._context
        address = texts.email(email)
        return context.write(
            lambda work: users.disable(work, users.held_user(work, address), at=context.clock())
        )

    def _hashed(self, password: str, email: str) -> str:
        # Outside any unit of work: hashing takes tens of milliseconds, and a lock would wait for it.
        fit = passwords.fit(password, email)
        context = self._context
        return passwords.hashed(fit, effort=context.password_effort, randomness=context.ids.randomness)
