"""Billing from the command line: runs, explanations, and our totals against another system's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from attrs import define

from neruba_core import Neruba
from neruba_core.billing.assemble import assemble
from neruba_core.instants import parse

PERIOD = "2026-03"
HEADER = "project,metric,period,units,amount\n"
AGREED = "acme,storage,2026-03,100.000000,1.000000\nother,storage,2026-03,200,2\n"


@define
class Billed:
    """Two projects that used storage in March 2026, at 0.01 a unit."""

    database: str
    acme: str
    other: str

    @property
    def options(self) -> tuple[str, str]:
        return "--database", self.database


@pytest.fixture
def billed(neruba, tmp_path: Path, sqlite_template: Path) -> Billed:
    """
    In a database of their own.
    """
    database = f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'billing.db')}"
    with Neruba.open(database) as engine:
        ids = [_using(engine, name, units) for name, units in (("acme", "100"), ("other", "200"))]
    return Billed(database, *ids)


def _using(engine: Neruba, name: str, units: str) -> str:
    project = engine.projects.create(name=name.title(), external_key=name)
    engine.metrics.declare(project.id, key="storage")
    engine.prices.create(
        project.id,
        metric_key="storage",
        model="unit",
        unit_amount="0.01",
        effective_from=parse("2026-01-01T00:00:00Z"),
    )
    engine.usage.record(
        project.id,
        metric_key="storage",
        units=units,
        timestamp=parse("2026-03-17T10:15:00Z"),
        idempotency_key="one",
    )
    return project.id


def lines(result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


# --- runs -------------------------------------------------------------------------------------


def test_every_project_is_billed_and_told_in_a_line_of_its_own(neruba, billed):
    """
    The second time nothing changes.
    """
    first = neruba("billing", "run", "--period", PERIOD, "--json", *billed.options)
    second = neruba("billing", "run", "--period", PERIOD, "--json", *billed.options)

    told = {each["projectId"]: each for each in lines(first)}
    assert first.exit_code == second.exit_code == 0, first.output
    assert set(told) == {billed.acme, billed.other}
    assert told[billed.acme]["invoice"]["total"] == "1.000000"
    assert {each["invoice"]["state"] for each in told.values()} == {"finalized"}
    assert [each["unchanged"] for each in lines(second)] == [True, True]
    assert [each["invoice"] for each in lines(second)] == [each["invoice"] for each in lines(first)]


def test_a_dry_run_writes_nothing(neruba, billed):
    """
    It says what would be billed, and there is no invoice afterwards.
    """
    result = neruba("billing", "run", "--period", PERIOD, "--dry-run", *billed.options)

    assert result.exit_code == 0
    assert "2 of 2 projects would be billed." in result.stdout
    assert "USD 1.000000" in result.stdout
    with Neruba.open(billed.database) as engine:
        assert engine.invoices.list(billed.acme).items == ()


def test_one_project_can_be_billed_alone(neruba, billed):
    """
    As a draft, if that is asked for; and one that there is not is refused.
    """
    draft = neruba(
        "billing", "run", "--period", PERIOD, "--project", billed.acme, "--draft", "--json", *billed.options
    )
    unknown = neruba("billing", "run", "--period", PERIOD, "--project", "prj_0", *billed.options)

    (told,) = lines(draft)
    assert (told["projectId"], told["invoice"]["state"]) == (billed.acme, "draft")
    assert unknown.exit_code == 1
    assert unknown.stderr.count("\n") == 1
    assert "by its id (prj_…) or external key" in unknown.stderr


def test_a_project_is_named_by_its_external_key_too(neruba, billed):
    """
    As in files of usage.
    """
    run = ("billing", "run", "--period", PERIOD, "--json", *billed.options)
    (told,) = lines(neruba(*run, "--project", "acme"))

    assert told["projectId"] == billed.acme
    refused = neruba(*run, "--project", "nobody")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "there is no project 'nobody'" in refused.stderr


def test_a_project_that_cannot_be_billed_holds_up_no_other(neruba, billed, monkeypatch):
    """
    It is reported, and the exit status says so.
    """

    def failing(inputs, **options):
        if inputs.project.id == billed.acme:
            raise ArithmeticError("a defect")
        return assemble(inputs, **options)

    monkeypatch.setattr("neruba_core.billing.run.assemble", failing)

    result = neruba("billing", "run", "--period", PERIOD, "--json", *billed.options)

    told = {each["projectId"]: each for each in lines(result)}
    assert result.exit_code == 1
    assert told[billed.acme]["error"]["code"] == "server.error"
    assert told[billed.other]["invoice"]["total"] == "2.000000"
    assert "1 of 2 projects could not be billed" in result.stderr


@pytest.mark.parametrize(
    "options", [("--period", "March"), (), ("--period", PERIOD, "--draft", "--finalize")], ids=" ".join
)
def test_what_cannot_be_run_is_refused_in_one_line(neruba, billed, options):
    """
    Before anything is billed.
    """
    result = neruba("billing", "run", *options, *billed.options)

    assert result.exit_code != 0
    assert result.stderr.count("\n") == 1


# --- explanations -----------------------------------------------------------------------------


def test_an_invoice_is_explained_whatever_project_it_is_of(neruba, billed):
    """
    In words, or as the same JSON that HTTP answers; a line with its events.
    """
    neruba("billing", "run", "--period", PERIOD, *billed.options)
    with Neruba.open(billed.database) as engine:
        invoice = engine.invoices.list(billed.other).items[0]

    spoken = neruba("billing", "explain", invoice.id, *billed.options)
    told = neruba("billing", "explain", invoice.id, "--json", "--project", billed.other, *billed.options)
    line = neruba("billing", "explain", invoice.id, "--line", invoice.lines[0].id, *billed.options)
    unknown = neruba("billing", "explain", "inv_0", *billed.options)

    assert "all units: 200 × 0.01 = 2" in spoken.stdout
    assert json.loads(told.stdout)["invoice"]["id"] == invoice.id
    assert "200.000000  one" in line.stdout
    assert (unknown.exit_code, unknown.stderr.count("\n")) == (1, 1)


def test_an_invoice_is_named_by_its_number_too(neruba, billed):
    """
    With its project, since every project counts from 1.
    """
    neruba("billing", "run", "--period", PERIOD, *billed.options)

    numbered = neruba("billing", "explain", "1", "--project", "other", *billed.options)
    nowhere = neruba("billing", "explain", "1", *billed.options)
    missing = neruba("billing", "explain", "7", "--project", "other", *billed.options)

    assert "all units: 200 × 0.01 = 2" in numbered.stdout
    for refused, words in ((nowhere, "--project"), (missing, "its id (inv_…) or number")):
        assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
        assert words in refused.stderr


# --- reconciling ------------------------------------------------------------------------------


def compare(neruba, billed: Billed, content: str, *options: str):
    file = Path("theirs.csv")
    file.write_text(content, encoding="utf-8")
    return neruba("reconcile", str(file), *options, *billed.options)


def test_totals_that_agree_are_fine(neruba, billed):
    """
    By external key or by id, in any order of columns; before the run and after it.
    """
    before = compare(neruba, billed, HEADER + AGREED)
    neruba("billing", "run", "--period", PERIOD, *billed.options)
    after = compare(neruba, billed, HEADER + AGREED.replace("acme", billed.acme))
    turned = compare(
        neruba,
        billed,
        "\ufeffamount,units,period,metric,project\n1,100,2026-03,storage,acme\n2,,2026-03,storage,other\n",
    )

    assert [result.exit_code for result in (before, after, turned)] == [0, 0, 0], before.output + after.output
    assert "2 totals compared, 0 differences." in before.stdout


def test_every_difference_is_listed(neruba, billed):
    """
    Other units, another amount, and what only one side has.
    """
    result = compare(
        neruba,
        billed,
        HEADER + "acme,storage,2026-03,100.000001,1\nacme,traffic,2026-03,5,\n",
        "--json",
    )

    told = json.loads(result.stdout)
    found = [(each["what"], each["project"], each["metric"], each["line"]) for each in told["differences"]]
    assert result.exit_code == 1
    assert sorted(found, key=str) == sorted(
        [
            ("units", "acme", "storage", 2),
            ("missing here", "acme", "traffic", 3),
            ("missing there", "other", "storage", None),
        ],
        key=str,
    )
    assert told["compared"] == 3
    units = next(each for each in told["differences"] if each["what"] == "units")
    assert (units["ours"], units["theirs"]) == (
        {"units": "100.000000", "amount": "1.000000"},
        {"units": "100.000001", "amount": "1.000000"},
    )


def test_a_difference_can_be_read(neruba, billed):
    """
    With both sides and the line that it stands on.
    """
    result = compare(neruba, billed, HEADER + AGREED.replace("1.000000", "1.5"))

    assert "amount  acme  storage  2026-03  (line 2)" in result.stdout
    assert "ours    units 100.000000  amount 1.000000" in result.stdout
    assert "theirs  units 100.000000  amount 1.500000" in result.stdout
    assert "1 difference and 0 unreadable rows in theirs.csv" in result.stderr


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("nobody,storage,2026-03,1,1", "'nobody'"),
        ("acme,storage,March,1,1", "month"),
        ("acme,storage,2026-03,many,1", "many"),
        ("acme,storage,2026-03,1,0.0000001", "decimal places"),
        ("acme,,2026-03,1,1", "no metric"),
        ("acme,storage,2026-03,1", "columns"),
        ("acme,storage,2026-03,1,1,1", "columns"),
        ("acme,storage,2026-03,100,1", "repeats line 2"),
    ],
)
def test_a_row_that_cannot_be_read_is_named_by_its_line(neruba, billed, row, problem):
    """
    The others are compared all the same.
    """
    result = compare(neruba, billed, HEADER + AGREED + row + "\n")

    assert result.exit_code == 1
    assert "unreadable  line 4" in result.stdout
    assert problem in result.stdout
    assert "2 totals compared, 0 differences." in result.stdout


@pytest.mark.parametrize("content", ["", "project,metric\n", "a;b\n1;2\n"])
def test_a_file_of_another_kind_is_refused_in_one_line(neruba, billed, content):
    """
    With the column that it lacks.
    """
    result = compare(neruba, billed, content)

    assert result.exit_code == 1
    assert "has no column" in result.stderr
    assert result.stderr.count("\n") == 1


def test_bytes_that_are_no_text_are_refused_in_one_line(neruba, billed):
    """
    A spreadsheet saved in another encoding.
    """
    Path("theirs.csv").write_bytes(HEADER.encode() + b"acm\xe9,storage,2026-03,1,1\n")

    result = neruba("reconcile", "theirs.csv", *billed.options)

    assert result.exit_code == 1
    assert "UTF-8" in result.stderr


def test_usage_without_a_price_is_not_passed_over(neruba, billed):
    """
    Where nothing else is to be billed, there is no invoice that could say what keeps it back.
    """
    with Neruba.open(billed.database) as engine:
        free = engine.projects.create(name="Unpriced")
        at = parse("2026-03-17T10:15:00Z")
        engine.usage.record(free.id, metric_key="x", units=1, timestamp=at, idempotency_key="one")

    result = neruba("billing", "run", "--period", PERIOD, "--project", free.id, *billed.options)

    assert f"{free.id}  nothing to bill: 1 metric has usage, but no price" in result.stdout
    assert "0 of 1 projects billed; 1 has usage without a price: give it a price" in result.stdout

    every = neruba("billing", "run", "--period", PERIOD, *billed.options)
    ignored = neruba("billing", "run", "--period", PERIOD, "--ignore-unpriced", *billed.options)
    as_json = neruba("billing", "run", "--period", PERIOD, "--json", *billed.options)

    assert every.exit_code == 0
    assert every.stdout.endswith(
        "2 of 3 projects billed; 1 has usage without a price: give it a price, or declare the metric free.\n"
    )
    assert ignored.stdout.endswith("2 of 3 projects billed.\n")
    assert {each["projectId"]: each["unpriced"] for each in lines(as_json)} == {
        free.id: 1,
        billed.acme: 0,
        billed.other: 0,
    }
