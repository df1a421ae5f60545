"""What outbound messages ask of storage."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

from neruba_core.instants import Instant
from neruba_core.outbox.model import Delivery, DeliveryState, Endpoint, Message


class OutboxStore(Protocol):
    """Endpoints, messages and deliveries.

    Messages are only ever added. A delivery changes by compare-and-set of its claim, so that of two who
    send it one is heard.
    """

    def add_endpoint(self, endpoint: Endpoint) -> None: ...

    def endpoint(self, project_id: str, endpoint_id: str) -> Endpoint | None:
        """Deleted ones too."""

    def lock_endpoints(self, endpoints: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], Endpoint]:
        """Those of these project and endpoint ids that exist, deleted ones too, locked until the unit ends.
        Waits for whoever holds them."""

    def endpoints(self, project_id: str, *, limit: int, before: str | None) -> Sequence[Endpoint]:
        """Those that are not deleted, by descending id, below *before*."""

    def replace_endpoint(self, endpoint: Endpoint) -> None:
        """Overwrite all but the URL and the creation."""

    def listeners(self, project_ids: Collection[str]) -> Mapping[str, Sequence[Endpoint]]:
        """The endpoints of these projects that are neither deleted nor disabled, by project and ascending
        id; a project that has none is left out."""

    def listening_projects(self) -> Sequence[str]:
        """The ids of all projects with such endpoints, in ascending order."""

    def take_sequences(self, counts: Mapping[str, int]) -> Mapping[str, int]:
        """Reserve as many sequence numbers for each project; the first of them each. They ascend without
        gaps in the order of commits: another unit that asks for a project's waits until this one ends."""

    def add_messages(self, messages: Sequence[Message]) -> None: ...

    def messages(self, project_id: str, message_ids: Collection[str]) -> Mapping[str, Message]:
        """Those of these ids that exist, by id."""

    def add_deliveries(self, deliveries: Sequence[Delivery]) -> None: ...

    def delivery(self, project_id: str, delivery_id: str) -> Delivery | None: ...

    def deliveries(
        self,
        project_id: str,
        *,
        limit: int,
        before: str | None,
        endpoint_id: str | None = None,
        state: DeliveryState | None = None,
    ) -> Sequence[Delivery]:
        """By descending id, below *before*."""

    def still_claimed(self, deliveries: Sequence[Delivery]) -> Collection[str]:
        """The ids of those of *deliveries* whose stored claim is the one that they bear, locked until the
        unit ends."""

    def replace_deliveries(self, deliveries: Sequence[Delivery]) -> None:
        """Overwrite state, times, attempts and claims."""

    def end_pending(self, project_id: str, endpoint_id: str, state: DeliveryState, *, at: Instant) -> int:
        """Give all pending deliveries to the endpoint but those by hand *state*, and take their claims from
        them; how many."""

    def due_endpoints(self, now: Instant) -> Sequence[Endpoint]:
        """Those of all projects, not deleted, to which a pending delivery is due at *now*."""

    def pending(self, endpoint: Endpoint, *, limit: int) -> Sequence[Delivery]:
        """At most *limit* pending deliveries to the endpoint, soonest due first."""

    def claim(
        self, endpoint: Endpoint, claim: str, *, now: Instant, until: Instant, limit: int
    ) -> Sequence[Delivery]:
        """Take at most *limit* pending deliveries to the endpoint that are due at *now*, longest due first,
        as they are then: with this *claim* and due again at *until*. What a competitor in flight takes is
        left to it."""


class HasOutbox(Protocol):
    @property
    def outbox(self) -> OutboxStore: ...
