"""Sessions: one login, with one living access token and one living refresh token.

The access token is short-lived; the refresh token is exchanged for the next pair and then spent. A
spent refresh token that comes back has two holders, one of them a thief, and nobody can tell which:
so the whole session ends (RFC 9700, 4.14).
"""

from __future__ import annotations

from datetime import timedelta

from attrs import evolve

from neruba_core.errors import RefreshReused, SessionEnded
from neruba_core.identity.model import Session, Tokens, User
from neruba_core.identity.store import HasIdentity
from neruba_core.identity.tokens import digest, new_token
from neruba_core.ids import Ids
from neruba_core.instants import Instant

ACCESS_MINUTES = 30
REFRESH_LIFETIME = timedelta(days=30)


def open_session(work: HasIdentity, user: User, *, at: Instant, ids: Ids, access_minutes: int) -> Tokens:
    """Sign *user* in."""
    tokens = _new_tokens(user, ids, access_minutes)
    work.identity.add_session(
        Session(
            id=ids.new("ses"),
            user_id=user.id,
            access_hash=digest(tokens.access_token),
            access_expires_at=at + timedelta(minutes=access_minutes),
            refresh_hash=digest(tokens.refresh_token),
            refresh_expires_at=at + REFRESH_LIFETIME,
            created_at=at,
        )
    )
    return tokens


def refresh(
    work: HasIdentity, token: str, *, at: Instant, ids: Ids, access_minutes: int
) -> Tokens | SessionEnded:
    """Exchange a refresh token, or return the refusal: what it ends must be committed."""
    refresh_hash = digest(token)
    found = work.identity.session_by_refresh(refresh_hash)
    if found is None:
        return SessionEnded()
    session, spent = found
    user = work.identity.user(session.user_id)
    if session.ended_at is not None or user is None or user.disabled_at is not None:
        return SessionEnded()
    if not spent:
        if session.refresh_expires_at <= at:
            return SessionEnded()
        tokens = _new_tokens(user, ids, access_minutes)
        successor = evolve(
            session,
            access_hash=digest(tokens.access_token),
            access_expires_at=at + timedelta(minutes=access_minutes),
            refresh_hash=digest(tokens.refresh_token),
            refresh_expires_at=at + REFRESH_LIFETIME,
        )
        if work.identity.rotate(successor, spent_refresh_hash=refresh_hash):
            return tokens
    work.identity.end_session(session.id, at)
    return RefreshReused()


def authenticate(work: HasIdentity, access_token: str, *, at: Instant) -> tuple[User, Session]:
    """The user and session of a living access token. Raises ``SessionEnded``."""
    session = work.identity.session_by_access(digest(access_token))
    if session is None or session.ended_at is not None or session.access_expires_at <= at:
        raise SessionEnded
    user = work.identity.user(session.user_id)
    if user is None or user.disabled_at is not None:
        raise SessionEnded
    return user, session


def _new_tokens(user: User, ids: Ids, access_minutes: int) -> Tokens:
    return Tokens(
        user=user,
        access_token=new_token(ids.randomness),
        refresh_token=new_token(ids.randomness),
        expires_in_seconds=access_minutes * 60,
    )
