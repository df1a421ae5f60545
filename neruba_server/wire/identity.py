"""Signing in and out."""

from __future__ import annotations

from attrs import frozen

from neruba_core.identity.model import Tokens
from neruba_core.identity.model import User as CoreUser
from neruba_core.tenancy.model import Project, Role
from neruba_server.wire.kinds import Email, NewPassword, Password, Token


@frozen
class Login:
    """An email and its password."""

    email: Email
    password: Password


@frozen
class Refresh:
    """A refresh token, which works once."""

    refresh_token: Token


@frozen
class ChangePassword:
    """A new password, and the present one as proof."""

    current_password: Password
    new_password: NewPassword


@frozen
class AcceptInvitation:
    """The token of an invitation; the password is chosen now, or that of the user who exists."""

    token: Token
    password: NewPassword


@frozen
class User:
    """A person."""

    id: str
    email: str


@frozen
class SignedIn:
    """Tokens of a session. ``expiresIn`` is seconds."""

    access_token: str
    token_type: str
    expires_in: int
    refresh_token: str
    user: User

    @classmethod
    def of(cls, tokens: Tokens) -> SignedIn:
        """The tokens as they are handed over."""
        return cls(
            access_token=tokens.access_token,
            token_type="Bearer",
            expires_in=tokens.expires_in_seconds,
            refresh_token=tokens.refresh_token,
            user=User(tokens.user.id, tokens.user.email),
        )


@frozen
class MyProject:
    """A project that one is a member of."""

    id: str
    name: str
    role: Role


@frozen
class Me:
    """Who holds the access token."""

    id: str
    email: str
    projects: tuple[MyProject, ...]

    @classmethod
    def of(cls, user: CoreUser, memberships: tuple[tuple[Project, Role], ...]) -> Me:
        """The user, with projects newest first."""
        projects = tuple(MyProject(project.id, project.name, role) for project, role in memberships)
        return cls(user.id, user.email, projects)
