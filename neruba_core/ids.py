"""Identifiers that sort by time and say what they name.

An id is a prefix and 32 hexadecimal digits: 48 bits of milliseconds, 16 bits that count within the
millisecond, 64 random bits. Ids of one process ascend strictly; ids of many processes cannot
collide in practice. The count also makes the order of one batch reproducible. An id is a name, not
a secret, and never an order of commits: a lower id can commit later.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from random import Random

from attrs import define, field

from neruba_core.instants import Clock, now, to_micros

# One system call serves 2,048 ids; drawing eight bytes per id was the hottest line of ingest.
_BLOCK_BYTES = 16_384
_RANDOM_BYTES = 8


@define(eq=False)
class Ids:
    """A source of ids; *clock* and *randomness* are replaced in tests to make them repeatable."""

    clock: Clock = now
    randomness: Callable[[int], bytes] = os.urandom
    _lock: threading.Lock = field(factory=threading.Lock, init=False, repr=False)
    _next: int = field(default=0, init=False, repr=False)
    _chances: list[str] = field(factory=list, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        _SOURCES.add(self)

    def new(self, prefix: str) -> str:
        """A new id such as ``use_0195a3…``, greater than every id this source gave before."""
        with self._lock:
            return f"{prefix}_{self._take(1).to_bytes(8).hex()}{(self._chances or self._draw()).pop()}"

    def many(self, prefix: str, count: int) -> list[str]:
        """*count* new ascending ids, at a fraction of the cost of single ones."""
        if count == 1:
            return [self.new(prefix)]
        with self._lock:
            first = self._take(count)
            return [
                f"{prefix}_{number.to_bytes(8).hex()}{(self._chances or self._draw()).pop()}"
                for number in range(first, first + count)
            ]

    def chance(self) -> Random:
        """A generator for choices that are no secret, such as which rows to sample or how long to wait."""
        return Random(self.randomness(16))

    def _take(self, count: int) -> int:
        """The first of *count* numbers in a row: milliseconds, and 16 bits that count within them. Who counts
        further borrows the next millisecond rather than break the order."""
        first = to_micros(self.clock()) // 1000 << 16
        if first < self._next:
            first = self._next
        self._next = first + count
        return first

    def _draw(self) -> list[str]:
        """Randomness for many ids, to be taken from the end."""
        self._chances = self.randomness(_BLOCK_BYTES).hex("_", _RANDOM_BYTES).split("_")[::-1]
        return self._chances

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._chances = []


class Ahead(Ids):
    """A source for one unit of work that is going to need about *count* ids of *prefix*: these are made
    together, once the first of them is asked for."""

    def __init__(self, source: Ids, prefix: str, count: int) -> None:
        self._source = source
        self._prefix = prefix
        self._wanted = count
        self._ready: list[str] = []

    def new(self, prefix: str) -> str:
        if prefix != self._prefix:
            return self._source.new(prefix)
        if not self._ready:
            self._ready = self._source.many(prefix, self._wanted)[::-1]
            # What is needed beyond them comes one by one.
            self._wanted = 1
        return self._ready.pop()

    def many(self, prefix: str, count: int) -> list[str]:
        return self._source.many(prefix, count)

    def chance(self) -> Random:
        return self._source.chance()


# Weakly: what is registered for a fork stays registered for ever, and tests make thousands of sources.
_SOURCES: weakref.WeakSet[Ids] = weakref.WeakSet()


def _forget_all() -> None:
    # A forked worker must not hand out its parent's remaining randomness.
    for source in _SOURCES:
        source._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
