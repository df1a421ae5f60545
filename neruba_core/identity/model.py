"""Who signs in: users, their sessions, and the brakes on guessing."""

from __future__ import annotations

from attrs import field, frozen

from neruba_core.instants import Instant


@frozen
class User:
    """A person. *email* is kept in the form it is compared by; *password_hash* is argon2id."""

    id: str
    email: str
    password_hash: str = field(repr=False)
    operator: bool
    created_at: Instant
    disabled_at: Instant | None = None


@frozen
class Session:
    """A login: one living access token and one living refresh token, known by their SHA-256 only."""

    id: str
    user_id: str
    access_hash: str
    access_expires_at: Instant
    refresh_hash: str
    refresh_expires_at: Instant
    created_at: Instant
    ended_at: Instant | None = None


@frozen
class Tokens:
    """The secrets of a session, held only long enough to hand them over."""

    user: User
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    expires_in_seconds: int


@frozen
class Throttle:
    """Failed attempts of one *subject* (an account or an address) and when the next is allowed."""

    subject: str
    failures: int
    blocked_until: Instant
    last_failure_at: Instant
