"""A year of random billing, on every storage, with crashes: it adds up, to the micro-unit.

The same year is lived over memory and a database at once. Along the way a dry run, the overview and the
invoice that is then issued agree; in the end the books balance, and what was billed is what a second
calculation makes of the raw events.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from random import Random
from typing import Any

import pytest

from tests.conftest import TORTURE
from tests.stories.reckoning import check_document, check_year
from tests.stories.year import Lived, Year, fresh_storage, rendered

pytestmark = pytest.mark.torture

PROJECTS, TORTURE_PROJECTS = 5, 50
YEARS, TORTURE_YEARS = 1, 20


@pytest.mark.parametrize("number", range(1, (TORTURE_YEARS if TORTURE else YEARS) + 1))
@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def test_a_year_adds_up(kind: str, number: int, request: pytest.FixtureRequest) -> None:
    """
    Overview, dry run and invoice agree, reruns change nothing, and a database does what memory does.
    """
    # The same ones in CI every time, others in every torture.
    seed = Random().getrandbits(48) if TORTURE else number
    with (
        naming(seed),
        fresh_storage(request, "memory") as memory,
        fresh_storage(request, kind) as database,
    ):
        year = Year(
            {"memory": memory, kind: database},
            seed=seed,
            count=TORTURE_PROJECTS if TORTURE else PROJECTS,
            watch=watch,
        )

        year.live()
        year.settle()

        assert year.crashed > year.count
        for lived in year.projects:
            first, other = year.exports(lived).values()
            assert other == first
            for invoice in year.invoices(lived):
                check_document(invoice)
            check_year(year, lived, year.first)
            assert year.ask(partial(overview_of, lived.id)).accrued_micros == 0
        same_pages(year, year.projects[0])


@contextmanager
def naming(seed: int) -> Iterator[None]:
    """
    Whatever fails says by which seed it is lived again.
    """
    try:
        yield
    except BaseException as failure:
        failure.add_note(f"in the year of seed {seed}")
        raise


def watch(year: Year, lived: Lived, period: str) -> None:
    """
    What falls due now is foretold by a dry run and by the overview; once it is issued, it stays as it is.
    """
    foretold = year.ask(lambda neruba: neruba.billing.run(lived.id, period, dry_run=True))
    if isinstance(foretold, tuple):
        assert year.do(lambda neruba: neruba.billing.run(lived.id, period)) == foretold
        return
    overview = year.ask(lambda neruba: neruba.billing.overview(lived.id, period=period))
    lines = () if foretold.invoice is None else foretold.invoice.lines
    assert overview.estimated_total_micros == sum(line.amount_micros for line in lines)
    shown = {each.quantity.metric.key: each.amount_micros or 0 for each in overview.usage}
    assert sum(shown.values()) == sum(line.amount_micros for line in lines if line.kind == "usage")

    year.do(lambda neruba: neruba.billing.run(lived.id, period))

    for each in foretold.documents:
        issued = year.ask(partial(get, lived.id, each.id))
        assert issued.number is not None
        assert sums(issued) == sums(each)
        if each.id == getattr(foretold.invoice, "id", None):
            assert settlement(issued) == settlement(each)
    again = year.ask(lambda neruba: neruba.billing.run(lived.id, period))
    once_more = year.ask(lambda neruba: neruba.billing.run(lived.id, period))
    assert again.run.unchanged
    assert once_more == again
    if foretold.invoice is None:
        assert again.invoice is None
    else:
        assert again.invoice.id == foretold.invoice.id
        assert rendered(once_more.invoice) == rendered(again.invoice)
    assert all(engine.ledger.sweep(lived.id).balanced for engine in year.engines.values())


def get(project_id: str, invoice_id: str, neruba: Any) -> Any:
    return neruba.invoices.get(project_id, invoice_id)


def overview_of(project_id: str, neruba: Any) -> Any:
    return neruba.billing.overview(project_id)


def sums(invoice: Any) -> Any:
    """
    What inputs alone decide.
    """
    return (invoice.kind, invoice.lines, invoice.input_digest, invoice.subtotal_micros, invoice.total_micros)


def settlement(invoice: Any) -> Any:
    """
    What the wallet decides as well.
    """
    return (
        invoice.already_drawn_micros,
        invoice.credit_applied_micros,
        invoice.overdraft_billed_micros,
        invoice.credit_granted_micros,
        invoice.rounding_micros,
        invoice.amount_due_micros,
    )


def same_pages(year: Year, lived: Lived) -> None:
    """
    JSON and HTML of every invoice are the same whatever the storage, and at any later time.
    """
    for invoice in year.invoices(lived):
        texts = {
            (rendered(neruba.invoices.get(lived.id, invoice.id)), neruba.invoices.html(lived.id, invoice.id))
            for neruba in year.engines.values()
            for _ in range(2)
        }
        assert len(texts) == 1
