"""What is handed out of the ledger cannot be changed, whatever it was made of."""

from __future__ import annotations

import copy
import pickle

import attrs
import pytest
from attrs.exceptions import FrozenInstanceError

from neruba_core.ledger.model import Entry


def an_entry() -> Entry:
    return Entry("prj_1", 1, 0, "txn_1", "overdraft", 5, credit_micros=0, balance_after_micros=5)


def test_an_entry_that_is_made_cannot_be_changed() -> None:
    """
    The guard is on from the moment at which there is anybody to hold it off.
    """
    entry = an_entry()

    with pytest.raises(FrozenInstanceError):
        entry.debit_micros = 6  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del entry.debit_micros

    assert entry == an_entry()
    assert type(entry) is Entry


@pytest.mark.parametrize(
    "again",
    [
        copy.copy,
        copy.deepcopy,
        lambda entry: pickle.loads(pickle.dumps(entry)),
        lambda entry: attrs.evolve(entry, number=0),
    ],
)
def test_what_is_made_of_an_entry_is_one(again) -> None:
    """
    Copies and changed copies compare, hash and refuse as the first does.
    """
    other = again(an_entry())

    assert other == an_entry()
    assert hash(other) == hash(an_entry())
    with pytest.raises(FrozenInstanceError):
        other.number = 1


def test_an_entry_wants_what_its_attributes_are() -> None:
    """
    Neither more nor fewer values than there are attributes, and none twice.
    """
    with pytest.raises(TypeError, match="balance_after_micros"):
        Entry("prj_1", 1, 0, "txn_1", "overdraft", 5, 0)  # type: ignore[call-arg]
