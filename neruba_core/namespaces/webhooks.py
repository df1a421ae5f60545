"""``neruba.webhooks``: telling others what happens in a project."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta

from attrs import frozen

from neruba_core.access.keys import overlap
from neruba_core.audit.model import SYSTEM, Origin
from neruba_core.choices import choice
from neruba_core.context import Context
from neruba_core.outbox import addresses, endpoints, expiring, rounds, signing
from neruba_core.outbox.endpoints import WithSecret
from neruba_core.outbox.model import Delivery, DeliveryState, Endpoint, MessageType
from neruba_core.outbox.rounds import Sent, Task
from neruba_core.pages import DEFAULT_LIMIT, Page
from neruba_core.schedule.model import LATE_AFTER
from neruba_core.storage.port import UnitOfWork


@frozen
class Webhooks:
    """Endpoints and deliveries. The secret of an endpoint is answered once, when it is made or replaced."""

    _context: Context

    def create(
        self,
        project_id: str,
        *,
        url: str,
        message_types: Iterable[MessageType | str] = (),
        origin: Origin = SYSTEM,
    ) -> WithSecret:
        """Send messages of these types, or of all, to *url* from now on.

        The URL is https and public; where keys are made for tests, http to this machine will do. Raises
        ``WebhookUrlRefused``, ``FormatInvalid``, ``ProjectNotFound``, ``ProjectArchived`` or
        ``WebhookEndpointLimit``.
        """
        context = self._context
        checked = addresses.checked_url(url, loopback=self.loopback)
        types = endpoints.types_of(message_types)
        salt = signing.salt(context.ids.randomness)
        made = context.write(
            lambda work: endpoints.create(
                work,
                project_id,
                url=checked,
                message_types=types,
                salt=salt,
                at=context.clock(),
                ids=context.ids,
                origin=origin,
            )
        )
        return self._with_secret(made)

    def list(self, project_id: str, limit: int = DEFAULT_LIMIT, cursor: str | None = None) -> Page[Endpoint]:
        """The project's endpoints without secrets, newest first; *limit* 1–200.

        Raises ``ProjectNotFound``, ``FormatInvalid``, ``CursorInvalid`` or ``CursorMismatch``.
        """
        return self._context.read(
            lambda work: endpoints.page_of_endpoints(work, project_id, limit=limit, cursor=cursor)
        )

    def delete(self, project_id: str, endpoint_id: str, *, origin: Origin = SYSTEM) -> None:
        """Send nothing more to the endpoint. Raises ``ProjectNotFound`` or ``WebhookEndpointNotFound``."""
        context = self._context
        context.write(
            lambda work: endpoints.delete(
                work, project_id, endpoint_id, at=context.clock(), ids=context.ids, origin=origin
            )
        )

    def rotate_secret(
        self, project_id: str, endpoint_id: str, *, overlap_hours: int = 24, origin: Origin = SYSTEM
    ) -> WithSecret:
        """Give the endpoint a new secret. For *overlap_hours* (0–168) messages are signed with both.

        Raises ``FormatInvalid``, ``ProjectNotFound``, ``ProjectArchived`` or ``WebhookEndpointNotFound``.
        """
        context = self._context
        hours = overlap(overlap_hours)
        salt = signing.salt(context.ids.randomness)
        rotated = context.write(
            lambda work: endpoints.rotate(
                work,
                project_id,
                endpoint_id,
                overlap_hours=hours,
                salt=salt,
                at=context.clock(),
                ids=context.ids,
                origin=origin,
            )
        )
        return self._with_secret(rotated)

    def test(self, project_id: str, endpoint_id: str, *, origin: Origin = SYSTEM) -> Delivery:
        """Send the endpoint a message of type ``webhook.test``; if a disabled one takes it, it is enabled.

        Raises ``ProjectNotFound``, ``ProjectArchived`` or ``WebhookEndpointNotFound``.
        """
        context = self._context
        return context.write(
            lambda work: endpoints.test(
                work, project_id, endpoint_id, at=context.clock(), ids=context.ids, origin=origin
            )
        )

    def deliveries(
        self,
        project_id: str,
        *,
        endpoint_id: str | None = None,
        state: DeliveryState | str | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> Page[Delivery]:
        """What became of messages, newest first, each with its latest attempts.

        Raises ``ProjectNotFound``, ``WebhookEndpointNotFound``, ``FormatInvalid``, ``CursorInvalid`` or
        ``CursorMismatch``.
        """
        wanted = None if state is None else choice(DeliveryState, state, "a state of deliveries")
        return self._context.read(
            lambda work: endpoints.page_of_deliveries(
                work, project_id, endpoint_id=endpoint_id, state=wanted, limit=limit, cursor=cursor
            )
        )

    def redeliver(
        self,
        project_id: str,
        delivery_id: str,
        *,
        endpoint_id: str | None = None,
        origin: Origin = SYSTEM,
    ) -> Delivery:
        """Send a message again, whatever became of it before; its id stays the same. With *endpoint_id*
        only if it was for that endpoint.

        Raises ``ProjectNotFound``, ``ProjectArchived``, ``WebhookDeliveryNotFound`` or, where its endpoint
        was deleted, ``WebhookEndpointNotFound``.
        """
        context = self._context
        return context.write(
            lambda work: endpoints.redeliver(
                work,
                project_id,
                delivery_id,
                endpoint_id=endpoint_id,
                at=context.clock(),
                ids=context.ids,
                origin=origin,
            )
        )

    # --- for whoever delivers -----------------------------------------------------------------

    @property
    def loopback(self) -> bool:
        """Whether messages may be sent to this machine itself."""
        return self._context.key_environment == "test"

    def take(
        self, room: Callable[[Endpoint], int], *, lease: timedelta, most: int = 1_000
    ) -> tuple[Task, ...]:
        """Claim what is due: *most* in all, and for each endpoint as much as there is *room* for.

        What is not recorded within *lease* may be taken, and sent, by another.
        """
        context = self._context
        at = context.clock()
        if not context.read(lambda work: rounds.is_due(work, room, at=at)):
            return ()
        claim = context.ids.new("clm")
        return context.write(
            lambda work: rounds.take(work, room, most=most, claim=claim, at=at, until=at + lease)
        )

    def go_round(
        self, sent: Sequence[Sent], room: Callable[[Endpoint], int], *, lease: timedelta, most: int
    ) -> tuple[Task, ...]:
        """``record``, then ``take``, in one unit of work: half the commits for whoever goes on and on."""
        if not sent:
            return self.take(room, lease=lease, most=most)
        context = self._context
        claim, jitter = context.ids.new("clm"), context.ids.chance().random

        def act(work: UnitOfWork) -> tuple[Task, ...]:
            rounds.record(work, sent, jitter=jitter, ids=context.ids)
            at = context.clock()
            return rounds.take(work, room, most=most, claim=claim, at=at, until=at + lease)

        return context.write(act)

    def give_back(self, tasks: Sequence[Task]) -> None:
        """Have tasks that came to nothing, since whoever took them ends, sent by another at once."""
        context = self._context
        context.write(lambda work: rounds.give_back(work, tasks, at=context.clock()))

    def record(self, sent: Sequence[Sent]) -> int:
        """Write what came of attempts, in one unit of work; how many of them still mattered."""
        context = self._context
        jitter = context.ids.chance().random
        return context.write(lambda work: rounds.record(work, sent, jitter=jitter, ids=context.ids))

    def secrets(self, endpoint: Endpoint) -> tuple[str, ...]:
        """What messages to the endpoint are signed with now, newest first."""
        context = self._context
        return tuple(
            signing.secret_of(context.pepper, endpoint.id, salt.value)
            for salt in endpoint.salts_at(context.clock())
        )

    def tell_of_expiring_keys(self) -> int:
        """Tell listeners of access keys that end within a week, once each; how many keys."""
        context = self._context
        return context.write(lambda work: expiring.tell(work, at=context.clock(), ids=context.ids))

    def late(self) -> bool:
        """Whether a message has waited for more than five minutes to be sent to an endpoint that takes what
        it is sent: then nobody sends, or not fast enough."""
        before = self._context.clock() - LATE_AFTER
        waited = self._context.read(lambda work: work.outbox.due_endpoints(before))
        return any(endpoint.failing_since is None for endpoint in waited)

    def _with_secret(self, endpoint: Endpoint) -> WithSecret:
        salt = endpoint.salts[0].value
        return WithSecret(endpoint, signing.secret_of(self._context.pepper, endpoint.id, salt))
