"""What every part of the contract stands on."""

from __future__ import annotations

from typing import ClassVar


class Promises:
    """A part of the contract. Its tests take a ``storage`` fixture, which the adapter's author gives."""

    concurrent_writers: ClassVar[bool] = False
    """Whether two units may be writing at the same time, as on PostgreSQL. The promises are the same, but
    some can only be seen broken, and therefore only be tested, where this is so."""
