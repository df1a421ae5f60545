"""What every part of the contract stands on."""

from __future__ import annotations

from typing import ClassVar

from neruba_core.testing.contract.units import MOMENT_SECONDS, PATIENCE_SECONDS


class Promises:
    """A part of the contract. Its tests take a ``storage`` fixture, which the adapter's author gives."""

    concurrent_writers: ClassVar[bool] = False
    """Whether two units may be writing at the same time, as on PostgreSQL. The promises are the same, but
    some can only be seen broken, and therefore only be tested, where this is so."""

    @property
    def moment_seconds(self) -> float:
        """How long to watch for an answer that comes at once, but only where two may write."""
        return PATIENCE_SECONDS if self.concurrent_writers else MOMENT_SECONDS
