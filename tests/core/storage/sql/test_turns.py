"""Turns are given in order of arrival, and none is lost."""

from __future__ import annotations

import threading
import time

import pytest

from neruba_core.errors import StorageBusy
from neruba_core.storage.sql.turns import Turns, turns_of


def test_turns_come_in_order_of_arrival():
    """
    Nobody overtakes, however fast he comes back.
    """
    turns, order, threads = Turns(), [], []

    def take(number: int) -> None:
        with turns.turn(10):
            order.append(number)

    with turns.turn(10):
        for number in range(5):
            threads.append(threading.Thread(target=take, args=(number,)))
            threads[-1].start()
            while len(turns._waiting) <= number:
                time.sleep(0.001)
    for thread in threads:
        thread.join()

    assert order == [0, 1, 2, 3, 4]


def test_who_gives_up_is_not_called():
    """
    The turn goes to the one behind.
    """
    turns = Turns()

    with turns.turn(1):
        with pytest.raises(StorageBusy, match=r"0\.01 seconds"), turns.turn(0.01):
            pass
    with turns.turn(0.01):
        pass


def test_an_interrupt_while_waiting_leaves_the_queue(monkeypatch):
    """
    Also where the turn came at that very moment: it is handed on.
    """
    turns = Turns()

    class Interrupted:
        def __init__(self) -> None:
            self._calls = 0

        def acquire(self, *_: object, **__: object) -> bool:
            self._calls += 1
            if self._calls > 1:
                raise KeyboardInterrupt
            return True

        def release(self) -> None:
            pass

    with turns.turn(1):
        with monkeypatch.context() as patch:
            patch.setattr("neruba_core.storage.sql.turns.threading.Lock", Interrupted)
            with pytest.raises(KeyboardInterrupt), turns.turn(1):
                pass
    with turns.turn(0.01):
        pass


def test_a_database_has_one_queue():
    """
    Two stores on one file in one process stand in the same one.
    """
    assert turns_of("/data/billing.db") is not turns_of("/data/other.db")
    kept = turns_of("/data/billing.db")
    assert turns_of("/data/billing.db") is kept
