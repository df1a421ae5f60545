"""Billing logic in your own pytest: take the `billing` fixture, move its clock, look at the wallet.

Run it with `pytest examples/test_metered_feature.py`. The fixture comes with Neruba; nothing is configured.
"""

from datetime import timedelta

from neruba_core.errors import InsufficientCredit
from neruba_core.testing.builders import Rehearsal

PRICE_PER_MINUTE = 2


def start_trial(billing: Rehearsal, name: str) -> str:
    """Your own code: a new customer gets ten for two weeks."""
    project = billing.projects.create(name=name)
    billing.wallets.credit(
        project.id,
        amount="10",
        description="Trial",
        expires_at=billing.clock() + timedelta(days=14),
        idempotency_key="trial",
    )
    return project.id


def render(billing: Rehearsal, project_id: str, job_id: str, minutes: int) -> bool:
    """Your own code: charge for a job, and do it only if it was paid."""
    try:
        billing.charges.charge(
            project_id,
            amount=PRICE_PER_MINUTE * minutes,
            description=f"Rendering {job_id}",
            idempotency_key=job_id,
        )
    except InsufficientCredit:
        return False
    return True


def test_a_job_is_charged_once_however_often_it_is_retried(billing: Rehearsal) -> None:
    """
    The job's id is the idempotency key, so a retry costs nothing.
    """
    acme = start_trial(billing, "Acme")

    rendered = [render(billing, acme, "job_1", minutes=3) for _ in range(5)]

    assert all(rendered)
    assert billing.wallets.get(acme).balance == 4


def test_a_job_that_is_not_paid_is_not_done(billing: Rehearsal) -> None:
    """
    A refusal leaves the wallet as it was.
    """
    acme = start_trial(billing, "Acme")

    assert not render(billing, acme, "job_1", minutes=6)
    assert billing.wallets.get(acme).balance == 10


def test_a_trial_ends_after_two_weeks(billing: Rehearsal) -> None:
    """
    Credit stops counting at the instant of its expiry; no job has to run for that.
    """
    acme = start_trial(billing, "Acme")

    billing.clock.advance(days=14)

    assert not render(billing, acme, "job_1", minutes=1)
