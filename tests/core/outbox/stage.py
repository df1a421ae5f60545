"""A project with an endpoint, and what has been written for it."""

from __future__ import annotations

import json
from typing import Any

from neruba_core.outbox.model import Delivery, DeliveryAttempt, Endpoint, Message
from neruba_core.outbox.rounds import Sent, Task
from neruba_core.testing.builders import Rehearsal
from tests.core.payments.stage import Till

URL = "https://hooks.example.com/neruba"


class Heard(Till):
    """One endpoint that takes everything."""

    def __init__(self, billing: Rehearsal, **details: Any) -> None:
        super().__init__(billing, **details)
        self.endpoint = self.listen()

    def listen(self, *types: str, url: str = URL) -> Endpoint:
        return self.billing.webhooks.create(self.id, url=url, message_types=types).endpoint

    def rows(self, table: str) -> list[Any]:
        with self.billing._context.storage.snapshot() as work:
            return [row for name, row in work.export(self.id) if name == table]

    @property
    def messages(self) -> list[Message]:
        return sorted(self.rows("messages"), key=lambda message: message.sequence)

    @property
    def deliveries(self) -> list[Delivery]:
        return sorted(self.rows("deliveries"), key=lambda delivery: delivery.id)

    def told(self, type: str | None = None) -> list[Any]:
        """The data of the messages, of one type or as pairs with their type."""
        bodies = [json.loads(message.body) for message in self.messages]
        if type is not None:
            return [body["data"] for body in bodies if body["type"] == type]
        return [(body["type"], body["data"]["id"]) for body in bodies]


def answered(task: Task, status: int, milliseconds: int = 5, wait: Any = None) -> Sent:
    """What comes of sending *task* when the endpoint answers so."""
    at = task.delivery.due_at
    attempt = DeliveryAttempt(at, milliseconds, status)
    return Sent(task, attempt) if wait is None else Sent(task, attempt, wait)
