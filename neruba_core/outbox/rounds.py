"""Rounds of delivering: take what is due, send it, record what came of it.

Taking and recording are units of work; sending happens between them and holds nothing. Whoever dies in
between leaves a claim that runs out, after which the same message is sent again under the same id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Protocol

from attrs import evolve, frozen

from neruba_core.audit.changes import note_change
from neruba_core.audit.model import SYSTEM
from neruba_core.audit.store import HasAudit
from neruba_core.ids import Ids
from neruba_core.instants import Instant
from neruba_core.outbox.deliver import Judged, judge
from neruba_core.outbox.model import Delivery, DeliveryAttempt, DeliveryState, Endpoint, Message
from neruba_core.outbox.store import HasOutbox


class RoundWork(HasOutbox, HasAudit, Protocol):
    """What a round reads and writes."""


@frozen
class Task:
    """A claimed delivery, and all that it takes to send it."""

    delivery: Delivery
    endpoint: Endpoint
    message: Message


@frozen
class Sent:
    """A task that was tried. *wait* is what the endpoint asked for before the next attempt."""

    task: Task
    attempt: DeliveryAttempt
    wait: timedelta = timedelta(0)


def is_due(work: HasOutbox, room: Callable[[Endpoint], int], *, at: Instant) -> bool:
    """Whether there is something to take."""
    return any(room(endpoint) > 0 for endpoint in work.outbox.due_endpoints(at))


def take(
    work: HasOutbox,
    room: Callable[[Endpoint], int],
    *,
    most: int,
    claim: str,
    at: Instant,
    until: Instant,
) -> tuple[Task, ...]:
    """Claim what is due until *until*: *most* in all, and for each endpoint as much as there is *room* for;
    those with the most room, which wait for nothing, come first."""
    taken: list[tuple[Endpoint, Delivery]] = []
    due_now = [(room(endpoint), endpoint) for endpoint in work.outbox.due_endpoints(at)]
    for has_room, endpoint in sorted(due_now, key=lambda each: -each[0]):
        limit = min(has_room, most - len(taken))
        if limit > 0:
            due = work.outbox.claim(endpoint, claim, now=at, until=until, limit=limit)
            taken.extend((endpoint, delivery) for delivery in due)
    wanted: dict[str, set[str]] = {}
    for endpoint, delivery in taken:
        wanted.setdefault(endpoint.project_id, set()).add(delivery.message_id)
    messages = {
        project_id: work.outbox.messages(project_id, sorted(message_ids))
        for project_id, message_ids in sorted(wanted.items())
    }
    return tuple(
        Task(delivery, endpoint, messages[endpoint.project_id][delivery.message_id])
        for endpoint, delivery in taken
    )


def record(work: RoundWork, sent: Sequence[Sent], *, jitter: Callable[[], float], ids: Ids) -> int:
    """Write what came of each attempt; how many were heard. Those whose claim ran out, or whose endpoint was
    deleted meanwhile, are not: somebody else answers for them."""
    names = {(each.task.endpoint.project_id, each.task.endpoint.id) for each in sent}
    endpoints = dict(work.outbox.lock_endpoints(names))
    ours = work.outbox.still_claimed([each.task.delivery for each in sent])
    judged: dict[str, Judged] = {}
    changed: set[tuple[str, str]] = set()
    disabled: dict[tuple[str, str], tuple[str, Instant]] = {}
    for each in sent:
        delivery = each.task.delivery
        if delivery.id not in ours or delivery.id in judged:
            continue
        name = (delivery.project_id, delivery.endpoint_id)
        verdict = judge(delivery, endpoints[name], each.attempt, jitter=jitter(), wait=each.wait)
        judged[delivery.id] = verdict
        if verdict.endpoint != endpoints[name]:
            endpoints[name] = verdict.endpoint
            changed.add(name)
        if verdict.disabled is not None:
            disabled[name] = (verdict.disabled, each.attempt.at)
    work.outbox.replace_deliveries([verdict.delivery for verdict in judged.values()])
    for name in sorted(changed):
        work.outbox.replace_endpoint(endpoints[name])
        # Unless another attempt of the same round found it well.
        if name in disabled and endpoints[name].disabled_at is not None:
            reason, at = disabled[name]
            _give_up(work, endpoints[name], reason, at, ids)
    return len(judged)


def give_back(work: HasOutbox, tasks: Sequence[Task], *, at: Instant) -> None:
    """Have *tasks*, which were claimed and came to nothing, sent by another at once."""
    ours = work.outbox.still_claimed([task.delivery for task in tasks])
    work.outbox.replace_deliveries(
        [evolve(task.delivery, claim=None, due_at=at) for task in tasks if task.delivery.id in ours]
    )


def _give_up(work: RoundWork, endpoint: Endpoint, reason: str, at: Instant, ids: Ids) -> None:
    work.outbox.end_pending(endpoint.project_id, endpoint.id, DeliveryState.DEAD, at=at)
    note_change(
        work,
        endpoint.project_id,
        "webhook_endpoint.disabled",
        endpoint.id,
        {"reason": reason},
        at=at,
        ids=ids,
        origin=SYSTEM,
    )
