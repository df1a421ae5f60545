"""The façade: what an embedder holds.

``Neruba`` binds a store, a clock and a source of ids, and offers each slice as a namespace. A call on
a namespace is one unit of work; ``work()`` makes several calls one unit, and ``join()`` makes them part
of the host's own transaction.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self, TypeVar

import attrs

from neruba_core.batch import Command, Note, Verdict, execute
from neruba_core.context import Context
from neruba_core.idempotency.fingerprint import Json
from neruba_core.idempotency.once import Given, Made, once
from neruba_core.ids import Ids
from neruba_core.instants import Clock, Instant, now
from neruba_core.ledger.chart import DEFAULT, Chart
from neruba_core.namespaces.access_keys import AccessKeys
from neruba_core.namespaces.audit import Audit
from neruba_core.namespaces.billing import Billing
from neruba_core.namespaces.catalogue import Catalogue
from neruba_core.namespaces.charges import Charges
from neruba_core.namespaces.collection import Collection
from neruba_core.namespaces.holds import Holds
from neruba_core.namespaces.invoices import Invoices
from neruba_core.namespaces.ledger import Ledger
from neruba_core.namespaces.members import Members
from neruba_core.namespaces.metrics import Metrics
from neruba_core.namespaces.payments import Payments
from neruba_core.namespaces.plans import Plans
from neruba_core.namespaces.platform_keys import PlatformKeys
from neruba_core.namespaces.prices import Prices
from neruba_core.namespaces.projects import Projects
from neruba_core.namespaces.provider_events import ProviderEvents
from neruba_core.namespaces.receivables import Receivables
from neruba_core.namespaces.schedule import Schedule
from neruba_core.namespaces.sessions import Sessions
from neruba_core.namespaces.subscriptions import Subscriptions
from neruba_core.namespaces.usage import Usage
from neruba_core.namespaces.users import Users
from neruba_core.namespaces.wallets import Wallets
from neruba_core.namespaces.webhooks import Webhooks
from neruba_core.payments.collect import DUNNING_DAYS
from neruba_core.payments.provider import Manual, PaymentProvider
from neruba_core.storage.port import Storage, UnitOfWork

T = TypeVar("T")

_DEVELOPMENT_PEPPER = b"neruba development pepper"


class Neruba:
    """A billing engine over *storage*.

    *clock* and *ids* are replaced in tests. *pepper* keys the hashes of access keys: give the same
    bytes for as long as issued keys should work. *access_minutes* is how long a login's access token lives.
    *providers* are asked for payments, besides ``manual``, which is always there; an invoice that they could
    not collect is collected again after each of *dunning_days*.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        clock: Clock = now,
        ids: Ids | None = None,
        pepper: bytes = _DEVELOPMENT_PEPPER,
        password_effort: str = "standard",
        access_minutes: int = 30,
        key_environment: str = "test",
        chart: Chart = DEFAULT,
        providers: Sequence[PaymentProvider] = (),
        dunning_days: Sequence[int] = DUNNING_DAYS,
    ) -> None:
        self._bind(
            Context(
                storage=storage,
                clock=clock,
                ids=ids or Ids(clock=clock, randomness=os.urandom),
                pepper=pepper,
                password_effort=password_effort,
                access_minutes=access_minutes,
                key_environment=key_environment,
                chart=chart,
                providers=(Manual(), *providers),
                dunning_days=tuple(dunning_days),
            )
        )

    def _bind(self, context: Context) -> None:
        self._context = context
        self.users = Users(context)
        self.sessions = Sessions(context, context.access_minutes)
        self.projects = Projects(context)
        self.members = Members(context)
        self.access_keys = AccessKeys(context)
        self.platform_keys = PlatformKeys(context)
        self.metrics = Metrics(context)
        self.catalogue = Catalogue(context)
        self.prices = Prices(context)
        self.plans = Plans(context)
        self.subscriptions = Subscriptions(context)
        self.usage = Usage(context)
        self.charges = Charges(context)
        self.holds = Holds(context)
        self.wallets = Wallets(context)
        self.ledger = Ledger(context)
        self.billing = Billing(context)
        self.invoices = Invoices(context)
        self.payments = Payments(context)
        self.receivables = Receivables(context)
        self.collection = Collection(context, self.payments)
        self.provider_events = ProviderEvents(context)
        self.webhooks = Webhooks(context)
        self.audit = Audit(context)

    @classmethod
    def in_memory(cls, **options: Any) -> Neruba:
        """An engine that forgets everything when it is dropped: for tests and for trying things."""
        from neruba_core.storage.memory.storage import MemoryStorage

        return cls(MemoryStorage(), **options)

    @classmethod
    def open(cls, url: str, *, migrate: bool = True, **options: Any) -> Neruba:
        """An engine on the database at *url*, such as ``sqlite:///billing.db`` or ``postgresql://…``.

        With *migrate* the schema is created or brought up to date first; without it, and if it is not
        current, ``SchemaOutdated`` is raised. Raises ``StorageUnavailable`` where nothing answers.
        """
        from neruba_core.storage.sql.storage import SqlStorage

        storage = SqlStorage(url)
        if migrate:
            storage.migrate()
        storage.check()
        return cls(storage, **options)

    @contextmanager
    def work(self) -> Iterator[Neruba]:
        """Several calls as one unit of work: all of them are committed on a clean exit, or none.

        Inside another unit it is a part of that one, undone alone when an exception leaves it.
        """
        if self._context.bound is not None:
            with self._context.bound.savepoint():
                yield self
            return
        with self._context.storage.work() as work:
            yield self._within(work)

    @contextmanager
    def join(self, connection: Any) -> Iterator[Neruba]:
        """Take part in the host's own transaction on a SQLAlchemy ``Connection``.

        What is done here commits and rolls back with the host. A project whose money is touched stays
        locked until the host commits, so commit soon. Nothing is retried: a ``Retryable`` refusal is
        the host's to repeat. Raises ``NotJoinable`` where the host's isolation cannot carry it.
        """
        with self._context.storage.join(connection) as work:
            yield self._within(work)

    def unit(self, act: Callable[[Neruba], T]) -> T:
        """Run *act* on a façade bound to one unit of work, again if the database asks for it.

        Unlike ``work()``, this can repeat: a serialization failure or deadlock undoes everything that
        *act* did and runs it anew, at most three times in all.
        """
        return self._context.write(lambda work: act(self._within(work)))

    def execute(self, commands: Sequence[Command], *, note: Note = lambda work, verdicts: None) -> list[Any]:
        """Run many commands in one unit of work; see ``neruba_core.batch.execute``."""
        results: list[Verdict | Exception] = execute(self._context, commands, note)
        return results

    def once(
        self,
        act: Callable[[Neruba], Made],
        *,
        scope_id: str,
        operation: str,
        path: str,
        body: dict[str, Json],
        idempotency_key: str | None,
        request_id: str | None = None,
    ) -> Given:
        """Run *act* on a bound façade at most once per (scope, operation, key); see
        ``neruba_core.idempotency.once``."""
        return self._context.write(
            lambda work: once(
                work,
                lambda: act(self._within(work)),
                scope_id=scope_id,
                operation=operation,
                path=path,
                body=body,
                idempotency_key=idempotency_key,
                request_id=request_id,
                at=self._context.clock(),
            )
        )

    @property
    def schedule(self) -> Schedule:
        """Doing what falls due, and telling what will."""
        # Made anew: kept, it and the façade would hold each other.
        return Schedule(self._context, self)

    def now(self) -> Instant:
        """The time by this engine's clock."""
        return self._context.clock()

    def check(self) -> None:
        """Prove that the store answers and has the right schema, or raise ``StorageUnavailable`` or
        ``SchemaOutdated``."""
        self._context.storage.check()

    def close(self) -> None:
        """Give back what the store holds open."""
        self._context.storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _within(self, work: UnitOfWork) -> Neruba:
        bound = object.__new__(Neruba)
        # What it presumed would be found out with the commit, which is not its own.
        bound._bind(attrs.evolve(self._context, bound=work, presumption=None))
        return bound
