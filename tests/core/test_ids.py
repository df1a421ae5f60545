"""Ids: prefixed, ascending, and never the same twice."""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neruba_core import ids as module
from neruba_core.ids import Ahead, Ids
from neruba_core.testing.builders import seeded_ids
from neruba_core.testing.clock import NOON, SettableClock


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(-3_000, 3_000)), min_size=1, max_size=20))
def test_ids_ascend_whatever_the_clock_does(steps):
    """
    A clock that is set back makes no id smaller than one before.
    """
    clock = SettableClock()
    source = seeded_ids(clock)

    made = []
    for count, milliseconds in steps:
        made += source.many("use", count)
        clock.advance(milliseconds=milliseconds)

    assert made == sorted(set(made))


def test_an_id_says_what_it_names_and_when():
    """
    The prefix, 48 bits of milliseconds, a count, 64 random bits.
    """
    made = seeded_ids(SettableClock()).new("prj")

    assert re.fullmatch(r"prj_[0-9a-f]{32}", made)
    assert int(made[4:16], 16) == int(NOON.timestamp() * 1000)
    assert made[16:20] == "0000"


def test_a_later_millisecond_begins_a_new_count():
    """
    So ids of different sources sort by time.
    """
    clock = SettableClock()
    source = seeded_ids(clock)

    before = source.many("use", 3)[-1]
    clock.advance(milliseconds=1)
    after = source.new("use")

    assert before[16:20] == "0002"
    assert after[16:20] == "0000"
    assert int(after[4:16], 16) == int(before[4:16], 16) + 1


def test_a_full_millisecond_borrows_the_next():
    """
    More than 65,536 ids at one moment still ascend.
    """
    source = seeded_ids(SettableClock())

    made = source.many("use", 0x10000 + 2)

    assert made == sorted(set(made))
    assert made[0xFFFF][16:20] == "ffff"
    assert made[0x10000][16:20] == "0000"
    assert int(made[0x10000][4:16], 16) == int(made[0][4:16], 16) + 1


@given(st.lists(st.integers(1, 3_000), min_size=1, max_size=8), st.booleans())
def test_many_are_what_as_many_single_ones_would_be(counts, first_by_one):
    """
    Whatever ends in between: the block of randomness, or the millisecond.
    """
    together, one_by_one = seeded_ids(SettableClock()), seeded_ids(SettableClock())
    together._next = one_by_one._next = (int(NOON.timestamp() * 1000) << 16) + 0xFF00

    for count in counts:
        singles = [one_by_one.new("use") for _ in range(count)]
        first = [together.new("use")] if first_by_one else []
        assert [*first, *together.many("use", count - len(first))] == singles


def test_ids_made_ahead_are_those_of_the_source():
    """
    In the same order, of other kinds too, and no fewer than are asked for.
    """
    source, plain = seeded_ids(SettableClock()), seeded_ids(SettableClock())
    ahead = Ahead(source, "txn", 3)

    made = [ahead.new(prefix) for prefix in ("grt", "txn", "txn", "txn", "txn")]
    more = ahead.many("msg", 2)

    assert [*made, *more] == [plain.new(i[:3]) for i in (*made, *more)]
    assert ahead.chance().random() == plain.chance().random()


def test_nothing_is_made_ahead_that_nobody_asks_for():
    """
    A unit in which all is refused leaves the source as it was.
    """
    source = seeded_ids(SettableClock())

    Ahead(source, "txn", 100).new("msg")

    assert source.new("msg")[16:20] == "0001"


def test_many_threads_share_a_source():
    """
    No id twice, and each thread sees its own ascend.
    """
    source = Ids()

    def draw(_: int) -> list[str]:
        return [source.new("use") for _ in range(500)]

    with ThreadPoolExecutor(8) as threads:
        drawn = list(threads.map(draw, range(8)))

    assert len({made for own in drawn for made in own}) == 4_000
    assert all(own == sorted(own) for own in drawn)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_draws_randomness_of_its_own():
    """
    Parent and child stand in the same millisecond with the same count; only chance keeps them apart.
    """
    code = """
import os, sys
from neruba_core.ids import Ids
ids = Ids()
ids.new("use")
child = os.fork()
if child == 0:
    os.write(1, "".join(made[20:] for made in ids.many("use", 100)).encode() + b"\\n")
    os._exit(0)
os.waitpid(child, 0)
os.write(1, "".join(made[20:] for made in ids.many("use", 100)).encode())
"""

    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    child, parent = output.stdout.split("\n")
    assert len(child) == len(parent) == 1_600
    assert child != parent


def test_a_child_forgets_what_its_parent_had_drawn():
    """
    The rest of the parent's block is the parent's.
    """
    source, parent = seeded_ids(SettableClock()), seeded_ids(SettableClock())
    source.new("use")

    module._forget_all()
    made = source.new("use")

    assert made[16:20] == "0001"
    assert made[20:] not in {one[20:] for one in parent.many("use", 2_048)}


def test_a_source_that_is_dropped_is_gone():
    """
    Being ready for a fork keeps nothing alive.
    """
    gc.collect()
    before = len(module._SOURCES)

    for _ in range(100):
        Ids(clock=lambda: NOON + timedelta(1))
    gc.collect()

    assert len(module._SOURCES) <= before
