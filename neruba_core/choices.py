"""Reading one of a few known words, as an embedder may give them: the enum's member or its text."""

from __future__ import annotations

from enum import Enum
from typing import TypeVar

from neruba_core.errors import FormatInvalid
from neruba_core.texts import shown

E = TypeVar("E", bound=Enum)


def choice(kind: type[E], value: E | str, noun: str) -> E:
    """The member of *kind* that *value* is or spells; else ``FormatInvalid``, which lists them all."""
    try:
        return kind(value)
    except ValueError:
        words = ", ".join(str(member.value) for member in kind)
        raise FormatInvalid(f"{noun} (one of {words})", shown(value, most=80)) from None
