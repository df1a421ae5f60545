"""Measuring a ratio on a machine that others use too.

A figure alone says little about shared hardware, so each work is measured beside its ceiling, turn by
turn in the same run, and the report is the ratio of their medians.
"""

from __future__ import annotations

import gc
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence

from attrs import frozen

ROUNDS = 5


@frozen
class Comparison:
    """Seconds of a ceiling and of the work beside it, round by round."""

    ceiling_seconds: Sequence[float]
    work_seconds: Sequence[float]

    @property
    def ratio(self) -> float:
        """The work's speed as a share of the ceiling's: 1.0 is as fast, 0.5 half as fast."""
        return statistics.median(self.ceiling_seconds) / statistics.median(self.work_seconds)


def compare(
    ceiling: Callable[[int], None], work: Callable[[int], None], *, rounds: int = ROUNDS
) -> Comparison:
    """Time *ceiling* and *work* by turns, after one unmeasured round of each."""
    # What the benchmark itself has prepared is no garbage of the work's, so nobody should look through it.
    gc.collect()
    gc.freeze()
    ceilings: list[float] = []
    works: list[float] = []
    for turn in range(rounds + 1):
        ceilings.append(seconds(ceiling, turn))
        works.append(seconds(work, turn))
    return Comparison(ceilings[1:], works[1:])


def seconds(act: Callable[[int], None], turn: int) -> float:
    """How long *act* takes."""
    start = time.perf_counter()
    act(turn)
    return time.perf_counter() - start


def flush_micros(directory: str) -> float:
    """The median time that this disk takes to make one 4 KiB write durable, in microseconds."""
    path = os.path.join(directory, "flush")
    file = os.open(path, os.O_CREAT | os.O_RDWR)
    try:
        taken = []
        for place in range(200):
            start = time.perf_counter()
            os.pwrite(file, b"x" * 4096, place * 4096)
            os.fdatasync(file)
            taken.append(time.perf_counter() - start)
        return statistics.median(taken) * 1e6
    finally:
        os.close(file)
        os.unlink(path)


def machine() -> str:
    """The machine in one line."""
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"


def report(name: str, *facts: str) -> None:
    """Print one result so that it stands out from pytest's own lines."""
    print(f"\n  {name}: {'; '.join(facts)}")
