"""The jobs of a deployment, each a bounded function on the façade that may run anywhere and twice.

What is added here runs in every server, in ``neruba ticker`` and in ``neruba.schedule.tick()``, is watched by
``/readyz``, and where it names moments, a clock that is moved by hand stops for it.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias

from neruba_core.instants import Instant
from neruba_core.payments.collect import AT_ONCE
from neruba_core.schedule import model

if TYPE_CHECKING:
    from neruba_core.neruba import Neruba

    Job: TypeAlias = model.Job[Neruba]
else:
    Job = model.Job

log = logging.getLogger("neruba.schedule")

TRAIL_KEPT = timedelta(days=30)
FOLD_AT_MOST = 5000
SETTLE_AT_MOST = 20
EVENTS_AT_MOST = 100
WHENEVER = timedelta(0)
"""Of a job that knows whether something waits for it: at every tick at which something does."""


def _fold(neruba: Neruba) -> bool:
    return neruba.usage.fold(at_most=FOLD_AT_MOST) >= FOLD_AT_MOST


def _unfolded(neruba: Neruba) -> Instant | None:
    return neruba.now() if neruba.usage.folds_due() else None


def _expire(neruba: Neruba) -> bool:
    neruba.wallets.expire_due()
    return neruba.wallets.due_since() is not None


def _unexpired(neruba: Neruba) -> Instant | None:
    return neruba.wallets.due_since()


def _next_expiry(neruba: Neruba, after: Instant) -> Instant | None:
    return neruba.wallets.next_due(after)


def _prune(neruba: Neruba) -> bool:
    neruba.audit.prune(neruba.now() - TRAIL_KEPT)
    return False


def _tell_of_keys(neruba: Neruba) -> bool:
    neruba.webhooks.tell_of_expiring_keys()
    return False


def _bill(neruba: Neruba) -> bool:
    for ended in neruba.billing.run_due():
        if ended.error is not None:
            # One project's trouble, and no failure of the job: the others were billed.
            log.warning(
                "period %s of %s could not be billed: %s", ended.period, ended.project_id, ended.error
            )
    return False


def _next_bill(neruba: Neruba, after: Instant) -> Instant | None:
    return neruba.billing.next_due(after)


def _settle_payments(neruba: Neruba) -> bool:
    return len(neruba.payments.settle_pending(at_most=SETTLE_AT_MOST)) >= SETTLE_AT_MOST


def _unsettled(neruba: Neruba) -> Instant | None:
    return neruba.payments.pending_since() if neruba.payments.asks_outside else None


def _next_asked(neruba: Neruba, after: Instant) -> Instant | None:
    return neruba.payments.next_pending(after) if neruba.payments.asks_outside else None


def _collect(neruba: Neruba) -> bool:
    if not neruba.payments.asks_outside:
        return False
    return len(neruba.collection.collect_due(at_most=SETTLE_AT_MOST)) >= SETTLE_AT_MOST


def _next_collection(neruba: Neruba, after: Instant) -> Instant | None:
    return neruba.collection.next_collection(after) if neruba.payments.asks_outside else None


def _process_events(neruba: Neruba) -> bool:
    return neruba.provider_events.process(at_most=EVENTS_AT_MOST) >= EVENTS_AT_MOST


def _unprocessed(neruba: Neruba) -> Instant | None:
    return neruba.provider_events.waiting_since() if neruba.payments.asks_outside else None


def _next_processed(neruba: Neruba, after: Instant) -> Instant | None:
    return neruba.provider_events.next_due(after) if neruba.payments.asks_outside else None


def _top_up(neruba: Neruba) -> bool:
    neruba.collection.top_up_due()
    return False


def _too_little(neruba: Neruba) -> Instant | None:
    return neruba.collection.top_up_since()


def _next_top_up(neruba: Neruba, after: Instant) -> Instant | None:
    return neruba.collection.next_top_up(after)


EXPIRE = Job("expire_credit", WHENEVER, _expire, waits=_unexpired, next_after=_next_expiry)
FOLD = Job("fold_usage", WHENEVER, _fold, waits=_unfolded)
PRUNE = Job("prune_trail", timedelta(hours=1), _prune)
TELL_OF_KEYS = Job("tell_of_expiring_keys", timedelta(hours=1), _tell_of_keys)
SETTLE_PAYMENTS = Job(
    "settle_payments",
    WHENEVER,
    _settle_payments,
    waits=_unsettled,
    next_after=_next_asked,
    slow=True,
    lease=timedelta(minutes=5),
)
COLLECT = Job(
    "collect_invoices",
    AT_ONCE,
    _collect,
    next_after=_next_collection,
    slow=True,
    lease=timedelta(minutes=5),
)
PROVIDER_EVENTS = Job(
    "provider_events",
    WHENEVER,
    _process_events,
    waits=_unprocessed,
    next_after=_next_processed,
    slow=True,
    lease=timedelta(minutes=5),
)
TOP_UP = Job(
    "top_up_wallets",
    WHENEVER,
    _top_up,
    waits=_too_little,
    next_after=_next_top_up,
    slow=True,
    lease=timedelta(minutes=5),
)
BILL = Job(
    "billing_runs",
    timedelta(minutes=1),
    _bill,
    next_after=_next_bill,
    slow=True,
    lease=timedelta(minutes=15),
)

JOBS: tuple[Job, ...] = (EXPIRE, FOLD, PRUNE, TELL_OF_KEYS, SETTLE_PAYMENTS, PROVIDER_EVENTS, COLLECT, TOP_UP)
"""What every deployment does."""

ALL: tuple[Job, ...] = (*JOBS, BILL)
"""And where periods are billed without anybody asking, this too."""
