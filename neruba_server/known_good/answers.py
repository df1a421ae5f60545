"""An answer as a check looks at it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from functools import cached_property
from typing import Any, TypeAlias

from attrs import define


@define(slots=False)
class Answer:
    """What came back for one request."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    content: bytes
    seconds: float

    def header(self, name: str) -> str | None:
        """The value of a header, whatever the case of its name."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @cached_property
    def json(self) -> Any:
        """The body, parsed; ``None`` where it is not JSON."""
        try:
            return json.loads(self.content)
        except ValueError:
            return None

    def value(self, path: str) -> Any:
        """The member at a dotted *path* such as ``wallet.balance``; ``KeyError`` where there is none."""
        value = self.json
        for name in path.split("."):
            if not isinstance(value, dict):
                raise KeyError(path)
            value = value[name]
        return value

    def money(self, path: str) -> Decimal:
        """The amount at *path*."""
        return Decimal(self.value(path))


Told: TypeAlias = Mapping[str, Answer]
"""The answers so far, by the name of their step."""
