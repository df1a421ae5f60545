"""Writing messages: in the unit of work of what they tell of, so that both are true or neither.

Where nobody listens nothing is written, and the data are not even rendered. Whoever may emit many
messages in one unit collects them in a ``Telling`` and writes it once, at the unit's end: it takes one look,
the projects' counters stay locked for the least time, and no two units wait for them in a circle.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

from attrs import define, field, frozen

from neruba_core import instants
from neruba_core.idempotency.fingerprint import Json, canonical
from neruba_core.ids import Ids
from neruba_core.instants import Instant
from neruba_core.outbox.model import TEST_TYPE, Delivery, DeliveryState, Endpoint, Message, MessageType
from neruba_core.outbox.store import HasOutbox
from neruba_core.tenancy.model import Project

Data: TypeAlias = str | Mapping[str, Json] | Callable[[], str]
"""The resource as its route shows it: as JSON text, as values, or as a way to render the text."""


class EmittingWork(HasOutbox, Protocol):
    """What emitting needs of a unit of work."""


@frozen
class Happening:
    """Something to tell the listeners of a project."""

    project_id: str
    type: MessageType
    data: Data
    message_id: str | None = None
    """Given where the same thing must not be told of twice; otherwise a new one is made."""


@define
class Telling:
    """What a unit of work has to tell. A project that nobody listens to costs a look at its row, which the
    unit has read anyway."""

    happenings: list[Happening] = field(factory=list)

    def tell(self, project: Project, type: MessageType, data: Data) -> None:
        """Have the listeners of *project*, if there are any, told when everything is written."""
        if project.listens:
            self.happenings.append(Happening(project.id, type, data))

    def write(self, work: EmittingWork, *, at: Instant, ids: Ids) -> None:
        """Write the messages; the last thing in a unit, or nearly so."""
        if self.happenings:
            emit_all(work, self.happenings, at=at, ids=ids)
            self.happenings = []


def emit(
    work: EmittingWork, project_id: str, type: MessageType, data: Data, *, at: Instant, ids: Ids
) -> Message | None:
    """Tell those endpoints of the project that take messages of *type*; ``None`` if there are none."""
    messages = emit_all(work, [Happening(project_id, type, data)], at=at, ids=ids)
    return messages[0] if messages else None


def emit_all(
    work: EmittingWork, happenings: Sequence[Happening], *, at: Instant, ids: Ids
) -> tuple[Message, ...]:
    """Like ``emit``, for all that happened in a unit, in order; the messages that somebody listens to."""
    if not happenings:
        return ()
    listeners = work.outbox.listeners({happening.project_id for happening in happenings})
    heard: list[tuple[Happening, list[Endpoint]]] = []
    for happening in happenings:
        takers = [one for one in listeners.get(happening.project_id, ()) if one.takes(happening.type)]
        if takers:
            heard.append((happening, takers))
    if not heard:
        return ()
    counts: dict[str, int] = {}
    for happening, _ in heard:
        counts[happening.project_id] = counts.get(happening.project_id, 0) + 1
    sequences = dict(work.outbox.take_sequences(counts))
    messages: list[Message] = []
    deliveries: list[Delivery] = []
    for happening, takers in heard:
        project_id = happening.project_id
        sequence = sequences[project_id]
        sequences[project_id] += 1
        message_id = happening.message_id or ids.new("msg")
        data = _text(happening.data)
        message = _message(project_id, message_id, happening.type, sequence, data, at)
        messages.append(message)
        deliveries.extend(_delivery(message, endpoint, at, ids) for endpoint in takers)
    work.outbox.add_messages(messages)
    work.outbox.add_deliveries(deliveries)
    return tuple(messages)


def emit_test(work: EmittingWork, endpoint: Endpoint, *, at: Instant, ids: Ids) -> tuple[Message, Delivery]:
    """A message to *endpoint* alone, whatever it takes and even if it is disabled."""
    sequence = work.outbox.take_sequences({endpoint.project_id: 1})[endpoint.project_id]
    data = canonical({"endpointId": endpoint.id})
    message = _message(endpoint.project_id, ids.new("msg"), TEST_TYPE, sequence, data, at)
    delivery = _delivery(message, endpoint, at, ids, by_hand=True)
    work.outbox.add_messages([message])
    work.outbox.add_deliveries([delivery])
    return message, delivery


def _text(data: Data) -> str:
    if isinstance(data, str):
        return data
    return data() if callable(data) else canonical(data)


def _message(project_id: str, message_id: str, type: str, sequence: int, data: str, at: Instant) -> Message:
    body = f'{{"type":"{type}","timestamp":"{instants.text(at)}","sequence":{sequence},"data":{data}}}'
    return Message(project_id, message_id, sequence, type, body, at)


def _delivery(
    message: Message, endpoint: Endpoint, at: Instant, ids: Ids, *, by_hand: bool = False
) -> Delivery:
    return Delivery(
        project_id=message.project_id,
        id=ids.new("dlv"),
        endpoint_id=endpoint.id,
        message_id=message.id,
        type=message.type,
        state=DeliveryState.PENDING,
        tried=0,
        due_at=at,
        created_at=at,
        by_hand=by_hand,
    )
