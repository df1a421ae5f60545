"""What every part of the façade shares: how to open a unit of work, the clock, the ids, the secrets.

A façade is either free, and each of its calls is a unit of work of its own, or bound to a unit that
is already open (``Neruba.work()``, ``Neruba.join()``), and each call is a savepoint of that unit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from attrs import field, frozen

from neruba_core.errors import ProviderUnknown, StorageConflict
from neruba_core.ids import Ids
from neruba_core.instants import Clock
from neruba_core.ledger.chart import DEFAULT, Chart
from neruba_core.payments.collect import DUNNING_DAYS
from neruba_core.payments.provider import Manual, PaymentProvider
from neruba_core.storage.port import Storage, UnitOfWork
from neruba_core.usage.presumption import Presumption

T = TypeVar("T")

_TRIES = 3


@frozen
class Context:
    """Shared by the namespaces of one façade. *bound* is the open unit it works in, if any."""

    storage: Storage
    clock: Clock
    ids: Ids
    pepper: bytes = field(repr=False)
    password_effort: str = "standard"
    access_minutes: int = 30
    key_environment: str = "test"
    chart: Chart = DEFAULT
    providers: tuple[PaymentProvider, ...] = (Manual(),)
    dunning_days: tuple[int, ...] = DUNNING_DAYS
    bound: UnitOfWork | None = None
    presumption: Presumption | None = field(factory=Presumption)
    """None where each unit is to look whether its events are new before it inserts them."""

    def provider(self, name: str) -> PaymentProvider:
        """The payment provider of that name. Raises ``ProviderUnknown``."""
        for provider in self.providers:
            if provider.name == name:
                return provider
        raise ProviderUnknown(name)

    def write(self, act: Callable[[UnitOfWork], T]) -> T:
        """Run *act* in a unit of work that has been committed when this returns.

        A serialization failure or deadlock undoes the unit and runs *act* again, at most three times in all,
        and once more where it had presumed its events to be new; inside a bound unit it is the host's to
        repeat, so it is raised at once.
        """
        if self.bound is not None:
            with self.bound.savepoint():
                return act(self.bound)
        tries = _TRIES
        while True:
            if self.presumption is not None:
                self.presumption.begins()
            try:
                with self.storage.work() as work:
                    return act(work)
            except StorageConflict:
                if self.presumption is not None and self.presumption.failed():
                    continue
                tries -= 1
                if tries == 0:
                    raise

    def read(self, act: Callable[[UnitOfWork], T]) -> T:
        """Run *act* against one consistent moment; inside a bound unit, against that unit."""
        if self.bound is not None:
            return act(self.bound)
        with self.storage.snapshot() as work:
            return act(work)
