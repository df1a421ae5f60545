"""Endpoints, messages and deliveries in memory."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from attrs import define, evolve, field

from neruba_core.instants import Instant
from neruba_core.outbox.model import Delivery, DeliveryState, Endpoint, Message
from neruba_core.storage.memory.tables import Table, Undo


@define(eq=False)
class OutboxTables:
    """All by project and id; *counters* by project."""

    endpoints: Table[str, Endpoint] = field(factory=Table)
    messages: Table[str, Message] = field(factory=Table)
    deliveries: Table[str, Delivery] = field(factory=Table)
    pending: dict[tuple[str, str], dict[str, Delivery]] = field(factory=dict)
    """The pending deliveries by project and endpoint, and then by id."""
    counters: dict[str, int] = field(factory=dict)


@define(eq=False)
class MemoryOutbox:
    """``OutboxStore`` within one unit."""

    _tables: OutboxTables
    _undo: Undo

    def add_endpoint(self, endpoint: Endpoint) -> None:
        self._tables.endpoints.add(self._undo, endpoint.project_id, endpoint.id, endpoint)

    def endpoint(self, project_id: str, endpoint_id: str) -> Endpoint | None:
        return self._tables.endpoints.get(project_id, endpoint_id)

    def lock_endpoints(self, endpoints: Iterable[tuple[str, str]]) -> Mapping[tuple[str, str], Endpoint]:
        found = {name: self.endpoint(*name) for name in endpoints}
        return {name: endpoint for name, endpoint in found.items() if endpoint is not None}

    def endpoints(self, project_id: str, *, limit: int, before: str | None) -> Sequence[Endpoint]:
        return self._tables.endpoints.page(
            project_id, limit=limit, before=before, wanted=lambda endpoint: endpoint.deleted_at is None
        )

    def replace_endpoint(self, endpoint: Endpoint) -> None:
        stored = self.endpoint(endpoint.project_id, endpoint.id)
        if stored is not None:
            kept = evolve(
                endpoint, url=stored.url, created_at=stored.created_at, created_by=stored.created_by
            )
            self._tables.endpoints.replace(self._undo, endpoint.project_id, endpoint.id, kept)

    def listeners(self, project_ids: Collection[str]) -> Mapping[str, Sequence[Endpoint]]:
        found = {
            project_id: [
                endpoint
                for endpoint in self._tables.endpoints.ascending(project_id)
                if endpoint.deleted_at is None and endpoint.disabled_at is None
            ]
            for project_id in project_ids
        }
        return {project_id: endpoints for project_id, endpoints in found.items() if endpoints}

    def listening_projects(self) -> Sequence[str]:
        return sorted(self.listeners(self._tables.endpoints.scopes()))

    def take_sequences(self, counts: Mapping[str, int]) -> Mapping[str, int]:
        taken = {}
        for project_id, count in counts.items():
            last = self._tables.counters.get(project_id, 0)
            self._undo.put(self._tables.counters, project_id, last + count)
            taken[project_id] = last + 1
        return taken

    def add_messages(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self._tables.messages.add(self._undo, message.project_id, message.id, message)

    def messages(self, project_id: str, message_ids: Collection[str]) -> Mapping[str, Message]:
        return self._tables.messages.some(project_id, message_ids)

    def add_deliveries(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            self._tables.deliveries.add(self._undo, delivery.project_id, delivery.id, delivery)
            self._keep_pending(delivery)

    def delivery(self, project_id: str, delivery_id: str) -> Delivery | None:
        return self._tables.deliveries.get(project_id, delivery_id)

    def deliveries(
        self,
        project_id: str,
        *,
        limit: int,
        before: str | None,
        endpoint_id: str | None = None,
        state: DeliveryState | None = None,
    ) -> Sequence[Delivery]:
        def wanted(delivery: Delivery) -> bool:
            return endpoint_id in (None, delivery.endpoint_id) and state in (None, delivery.state)

        return self._tables.deliveries.page(project_id, limit=limit, before=before, wanted=wanted)

    def still_claimed(self, deliveries: Sequence[Delivery]) -> Collection[str]:
        stored = ((each, self.delivery(each.project_id, each.id)) for each in deliveries)
        return {each.id for each, kept in stored if kept is not None and kept.claim == each.claim}

    def replace_deliveries(self, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            if self.delivery(delivery.project_id, delivery.id) is not None:
                self._put(delivery)

    def end_pending(self, project_id: str, endpoint_id: str, state: DeliveryState, *, at: Instant) -> int:
        waiting = [one for one in self._pending(project_id, endpoint_id) if not one.by_hand]
        for delivery in waiting:
            self._put(evolve(delivery, state=state, ended_at=at, claim=None))
        return len(waiting)

    def due_endpoints(self, now: Instant) -> Sequence[Endpoint]:
        found = []
        for (project_id, endpoint_id), pending in self._tables.pending.items():
            endpoint = self.endpoint(project_id, endpoint_id)
            if endpoint is None or endpoint.deleted_at is not None:
                continue
            if any(delivery.due_at <= now for delivery in pending.values()):
                found.append(endpoint)
        return sorted(found, key=lambda endpoint: endpoint.id)

    def pending(self, endpoint: Endpoint, *, limit: int) -> Sequence[Delivery]:
        waiting = self._pending(endpoint.project_id, endpoint.id)
        return sorted(waiting, key=lambda one: (one.due_at, one.id))[:limit]

    def claim(
        self, endpoint: Endpoint, claim: str, *, now: Instant, until: Instant, limit: int
    ) -> Sequence[Delivery]:
        due = sorted(
            (one for one in self._pending(endpoint.project_id, endpoint.id) if one.due_at <= now),
            key=lambda one: (one.due_at, one.id),
        )
        claimed = [evolve(one, claim=claim, due_at=until) for one in due[:limit]]
        for delivery in claimed:
            self._put(delivery)
        return claimed

    def _pending(self, project_id: str, endpoint_id: str) -> list[Delivery]:
        return list(self._tables.pending.get((project_id, endpoint_id), {}).values())

    def _put(self, delivery: Delivery) -> None:
        self._tables.deliveries.replace(self._undo, delivery.project_id, delivery.id, delivery)
        self._keep_pending(delivery)

    def _keep_pending(self, delivery: Delivery) -> None:
        name = (delivery.project_id, delivery.endpoint_id)
        pending = self._tables.pending.get(name)
        if pending is None:
            pending = {}
            self._undo.put(self._tables.pending, name, pending)
        if delivery.state is DeliveryState.PENDING:
            self._undo.put(pending, delivery.id, delivery)
        else:
            self._undo.remove(pending, delivery.id)
