"""The same months on every store, and two schedulers on one database."""

from __future__ import annotations

import secrets
import threading

from neruba_core.pricing.model import Tier
from neruba_core.storage.memory.storage import MemoryStorage
from neruba_core.testing.builders import Rehearsal
from neruba_core.testing.clock import SettableClock
from tests.core.billing.stage import APRIL, DAY, GRACE, MARCH, MAY, Months, lines


def story(storage, seed: int) -> Months:
    """Three months of everything that is billed; stores may be shared, so *seed* makes it one of its own."""
    clock, team = SettableClock(MARCH + DAY), f"team-{seed}"
    acme = Months(Rehearsal(storage, clock=clock, seed=seed), credit_limit="1000")
    acme.set(timezone="Europe/Berlin", tax_rate="0.19")
    acme.price(model="graduated", tiers=[Tier.of("10", "1.5"), Tier.of(None, "0.3", "2")], minimum_amount="4")
    acme.billing.metrics.declare(acme.id, key="people", aggregation="unique", unique_property="who")
    acme.price("people", unit_amount="3")
    acme.billing.plans.publish(key=team, name="Team", amount="30", minimum_commitment="50")
    acme.billing.subscriptions.subscribe(acme.id, plan_key=team)
    first = acme.use("12.5", MARCH)
    for who in ("ann", "bob", "ann"):
        acme.use("1", MARCH + DAY, metric="people", properties={"who": who})
    acme.credit("20")
    charged = acme.charge("33.333333")
    acme.run()
    assert acme.run().run.unchanged
    acme.at(APRIL + 2 * GRACE)
    acme.bill()
    assert acme.run().run.unchanged
    acme.reverse(charged, "3")
    acme.use("7", MARCH)
    acme.void_usage(first)
    acme.use("1.000001", APRIL)
    acme.billing.subscriptions.subscribe(acme.id, plan_key=team, quantity=3)
    acme.at(MAY + 2 * GRACE)
    april = acme.bill("2026-04")
    acme.void(april)
    acme.use("5", APRIL)
    acme.bill("2026-04")
    acme.set(late_usage_policy="credit_note")
    late = acme.use("9", APRIL)
    billed = acme.bill("2026-04")
    acme.billing.receivables.credit_note(
        acme.id, billed.id, amount="1", reason="too much", idempotency_key="note"
    )
    acme.void_usage(late)
    acme.run("2026-04")
    acme.set(late_usage_policy="quarantine")
    acme.billing.usage.discard_quarantined(acme.id, acme.use("100", APRIL))
    acme.billing.usage.replay_quarantined(acme.id, acme.use("1", APRIL))
    acme.use("2", MAY)
    acme.run("2026-05")
    return acme


def test_every_store_has_the_same_months(storage):
    """
    To the byte, in every table.
    """
    seed = secrets.randbits(32)
    expected = story(MemoryStorage(), seed)

    acme = story(storage, seed)

    assert acme.state == expected.state
    assert acme.sweep.faults == ()
    listed = acme.billing.invoices.list(acme.id).items
    numbers = sorted(invoice.number for invoice in listed if invoice.number is not None)
    assert numbers == list(range(1, len(numbers) + 1))


def test_two_schedulers_bill_each_project_once(database):
    """
    Both try everything at once; each project gets one invoice, and everybody is told of the same one.
    """
    stages = Rehearsal(database, clock=SettableClock(MARCH + DAY), seed=secrets.randbits(32))
    projects = [Months(stages, credit_limit="100") for _ in range(12)]
    for number, each in enumerate(projects):
        each.price(unit_amount="2")
        each.use(str(number + 1))
        each.charge("1")
    projects[0].at(APRIL + GRACE)
    ids = [each.id for each in projects]
    answers: list[dict[str, str]] = []

    def bill(first: int) -> None:
        engine = Rehearsal(database, clock=stages.clock, seed=secrets.randbits(32))
        ran = list(engine.billing.run_all("2026-03", project_ids=ids[first:] + ids[:first]))
        answers.append({each.project_id: each.result.documents[0].id for each in ran if each.result})

    threads = [threading.Thread(target=bill, args=(first,)) for first in (0, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(answers) == 2
    assert answers[0] == answers[1]
    assert set(answers[0]) == set(ids)
    for number, each in enumerate(projects):
        (invoice,) = stages.invoices.list(each.id).items
        assert (invoice.number, lines(invoice)[0]) == (1, ("usage", "tokens", f"{2 * number + 2}.000000"))
        assert each.sweep.faults == ()
