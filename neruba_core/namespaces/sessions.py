"""``neruba.sessions``: signing in, staying signed in, signing out.

A password is verified between two short units of work, never inside one: the first asks whether an
attempt is allowed, the second records how it ended. A wrong password is therefore counted, and the
count committed, although the call raises. In a façade that is bound to an open unit
(``neruba.work()``, ``neruba.join()``) both are parts of that unit, and are lost if the host rolls back.
"""

from __future__ import annotations

from attrs import frozen

from neruba_core.audit.model import SYSTEM, Origin
from neruba_core.context import Context
from neruba_core.errors import NerubaError
from neruba_core.identity import login, passwords, sessions, users
from neruba_core.identity.login import Claim, Proof
from neruba_core.identity.model import Session, Tokens, User
from neruba_core.storage.port import UnitOfWork
from neruba_core.tenancy import invitations, projects
from neruba_core.tenancy.model import Project, Role


@frozen
class Sessions:
    """Logins of people. *access_minutes* is how long an access token lives between refreshes."""

    _context: Context
    _access_minutes: int = sessions.ACCESS_MINUTES

    def login(self, email: str, password: str, address: str | None = None) -> Tokens:
        """Open a session. *address* is the client's network address, throttled beside the account.

        Raises ``FormatInvalid`` (email), ``InvalidCredentials`` (wrong password, unknown email or
        disabled user: the same answer after the same work) or ``LoginThrottled`` (``wait_seconds``).
        """
        context = self._context
        claim = self._claim(email, address)
        proof = self._prove(claim, password)

        def settle(work: UnitOfWork) -> Tokens | NerubaError:
            at = context.clock()
            user = login.settle(work, claim, proof, at=at)
            if isinstance(user, NerubaError):
                return user
            return self._opened(work, user)

        return _unless_refused(context.write(settle))

    def refresh(self, token: str) -> Tokens:
        """Exchange a refresh token for new tokens; the old ones stop working at once.

        Raises ``SessionEnded``, or ``RefreshReused`` where the token was exchanged before: that ends
        the whole session, since one of its two holders is a thief.
        """
        context = self._context
        return _unless_refused(
            context.write(
                lambda work: sessions.refresh(
                    work, token, at=context.clock(), ids=context.ids, access_minutes=self._access_minutes
                )
            )
        )

    def logout(self, session_id: str) -> None:
        """End the session, whose tokens stop working at once; an ended or unknown one is no error."""
        context = self._context
        context.write(lambda work: work.identity.end_session(session_id, context.clock()))

    def authenticate(self, access_token: str) -> tuple[User, Session]:
        """Who holds this access token. Raises ``SessionEnded``."""
        context = self._context
        return context.read(lambda work: sessions.authenticate(work, access_token, at=context.clock()))

    def change_password(self, user_id: str, current: str, new: str, address: str | None = None) -> None:
        """Replace the user's password, *current* being proof, and end every session of theirs.

        Raises ``UserNotFound``, ``PasswordUnfit``, ``InvalidCredentials`` or ``LoginThrottled``: guesses
        count as failed logins do.
        """
        context = self._context
        user = context.read(lambda work: users.user_of(work, user_id))
        fit = passwords.fit(new, user.email)
        claim = self._claim(user.email, address)
        proof = self._prove(claim, current)
        # Hash only for someone who knew the password, so that a guesser costs us one hash, not two.
        password_hash = self._hashed(fit) if proof.proven else ""

        def settle(work: UnitOfWork) -> NerubaError | None:
            at = context.clock()
            proven = login.settle(work, claim, proof, at=at)
            if isinstance(proven, NerubaError):
                return proven
            users.set_password(work, proven, password_hash, at=at)
            return None

        refusal = context.write(settle)
        if refusal is not None:
            raise refusal

    def accept_invitation(
        self, token: str, password: str, address: str | None = None, *, origin: Origin = SYSTEM
    ) -> Tokens:
        """Join the project that the invitation names, and open a session.

        Where the invited email has no user, one is made with *password*; where it has, *password* must
        be that user's. Raises ``InvitationInvalid``, ``PasswordUnfit``, ``InvalidCredentials``,
        ``LoginThrottled`` or ``ProjectArchived``.
        """
        context = self._context
        invitation, user = context.read(lambda work: invitations.invited(work, token, at=context.clock()))
        if user is not None:
            claim = self._claim(invitation.email, address)
            proof = self._prove(claim, password)

            def join(work: UnitOfWork) -> Tokens | NerubaError:
                at = context.clock()
                proven = login.settle(work, claim, proof, at=at)
                if isinstance(proven, NerubaError):
                    return proven
                invitations.accept(work, token, proven, at=at, ids=context.ids, origin=origin)
                return self._opened(work, proven)

            return _unless_refused(context.write(join))
        password_hash = self._hashed(passwords.fit(password, invitation.email))

        def found(work: UnitOfWork) -> Tokens:
            at = context.clock()
            added = users.add_user(
                work, invitation.email, password_hash, operator=False, at=at, ids=context.ids
            )
            invitations.accept(work, token, added, at=at, ids=context.ids, origin=origin)
            return self._opened(work, added)

        return context.write(found)

    def memberships(self, user_id: str) -> tuple[tuple[Project, Role], ...]:
        """The projects that the user is a member of, newest first, each with the user's role."""
        return self._context.read(lambda work: projects.memberships_of(work, user_id))

    def _claim(self, email: str, address: str | None) -> Claim:
        context = self._context
        return context.write(lambda work: login.claim(work, email, address, at=context.clock()))

    def _prove(self, claim: Claim, password: str) -> Proof:
        return login.prove(
            claim,
            password,
            effort=self._context.password_effort,
            randomness=self._context.ids.randomness,
        )

    def _opened(self, work: UnitOfWork, user: User) -> Tokens:
        return sessions.open_session(
            work, user, at=self._context.clock(), ids=self._context.ids, access_minutes=self._access_minutes
        )

    def _hashed(self, password: str) -> str:
        return passwords.hashed(
            password, effort=self._context.password_effort, randomness=self._context.ids.randomness
        )


def _unless_refused(outcome: Tokens | NerubaError) -> Tokens:
    """Raise a refusal only now that what belongs to it is committed."""
    if isinstance(outcome, NerubaError):
        raise outcome
    return outcome
