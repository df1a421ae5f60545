"""A stage for tests: the namespaces over an empty memory store, a clock that tests move, seeded ids."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from neruba_core.context import Context
from neruba_core.identity.model import User
from neruba_core.ids import Ids
from neruba_core.instants import Instant
from neruba_core.namespaces.access_keys import AccessKeys
from neruba_core.namespaces.audit import Audit
from neruba_core.namespaces.catalogue import Catalogue
from neruba_core.namespaces.members import Members
from neruba_core.namespaces.metrics import Metrics
from neruba_core.namespaces.platform_keys import PlatformKeys
from neruba_core.namespaces.projects import Projects
from neruba_core.namespaces.sessions import Sessions
from neruba_core.namespaces.users import Users
from neruba_core.storage.memory.storage import MemoryStorage

NOON = datetime(2026, 3, 17, 12, tzinfo=UTC)
PASSWORD = "a heron by the quiet lake"
ANOTHER = "two kettles and a green door"


class Stage:
    def __init__(self) -> None:
        self.at: Instant = NOON
        self.storage = MemoryStorage()
        self.context = Context(
            storage=self.storage,
            clock=lambda: self.at,
            ids=Ids(clock=lambda: self.at, randomness=random.Random(7).randbytes),
            pepper=b"pepper of the tests",
            password_effort="testing",
        )
        self.users = Users(self.context)
        self.sessions = Sessions(self.context)
        self.projects = Projects(self.context)
        self.members = Members(self.context)
        self.access_keys = AccessKeys(self.context)
        self.platform_keys = PlatformKeys(self.context)
        self.metrics = Metrics(self.context)
        self.catalogue = Catalogue(self.context)
        self.audit = Audit(self.context)

    def pass_by(self, **spans: float) -> None:
        """Let time pass: ``pass_by(minutes=30)``."""
        self.at += timedelta(**spans)

    def user(self, name: str = "ada", *, operator: bool = False) -> User:
        return self.users.add(f"{name}@example.com", PASSWORD, operator)

    def actions(self, project_id: str) -> list[str]:
        """What the trail says was done to the project, oldest first."""
        return [change.action for change in reversed(self.audit.changes(project_id).items)]
