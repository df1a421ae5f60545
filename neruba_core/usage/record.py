"""Recording usage: many events at once, each judged alone.

An event's own row is its idempotency record, so ingest is one bulk insert that waits on no shared
row. What the insert reports as colliding, and what is not fit to be recorded, is then judged one by
one: key first, then event id, then fitness. A retry is therefore recognised even when the same event
would not be accepted any more.

An event that comes alone, as nearly all events are, is recorded without what a batch or special terms need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from datetime import timedelta
from functools import partial
from typing import Protocol, TypeAlias

from attrs import define, field, frozen

from neruba_core import instants
from neruba_core.audit.model import Attempt, Origin, Outcome
from neruba_core.audit.outcomes import OutcomeNotes, count_one
from neruba_core.audit.store import HasAudit
from neruba_core.brief import brief
from neruba_core.errors import (
    KeyReused,
    NerubaError,
    ProjectArchived,
    ProjectNotFound,
    StorageConflict,
    TimestampInFuture,
    TimestampTooOld,
    UsageConflict,
)
from neruba_core.idempotency.fingerprint import VERSION
from neruba_core.idempotency.outcomes import (
    Accepted,
    Conflict,
    Deduplicated,
    Quarantined,
    Rejected,
    Replayed,
)
from neruba_core.ids import Ids
from neruba_core.instants import Instant
from neruba_core.metering.catalogue import offered
from neruba_core.metering.contract import miss
from neruba_core.metering.model import Aggregation, Metric, SharedMetric
from neruba_core.metering.store import HasMetering
from neruba_core.outbox.emit import Telling
from neruba_core.outbox.model import MessageType
from neruba_core.tenancy.model import MetricPolicy, Project
from neruba_core.tenancy.store import HasTenancy
from neruba_core.usage.answer import render, render_held, render_quarantined
from neruba_core.usage.fingerprint import OPERATION, content, same_content, usage_fingerprint
from neruba_core.usage.held import LATE, hold_of
from neruba_core.usage.model import HoldKind, NewUsage, QuarantinedUsage, QuarantineState, UsageEvent
from neruba_core.usage.presumption import Presumption
from neruba_core.usage.store import HasUsage

AHEAD = timedelta(minutes=5)
"""How far ahead of our clock a sender's may be."""

Recorded: TypeAlias = (
    Accepted[UsageEvent]
    | Replayed[UsageEvent]
    | Deduplicated[UsageEvent]
    | Quarantined[QuarantinedUsage]
    | Conflict
    | Rejected
)


class RecordingWork(HasTenancy, HasMetering, HasUsage, HasAudit, Protocol):
    """What recording needs of a unit of work."""


class Draws(Protocol):
    """What pays for prepaid usage: under the locked heads of the projects that it was opened for."""

    def draw(self, event: UsageEvent, metric: Metric, origin: Origin) -> NerubaError | None:
        """Pay for an event that is about to be recorded, or say why that cannot be."""

    def write(self) -> None:
        """Write what was drawn."""


OpenDraws: TypeAlias = Callable[[Iterable[str]], Draws]
"""Locks the heads of projects and gives their ``Draws``."""

_Insert: TypeAlias = Callable[[Sequence[UsageEvent]], set[str] | None]


@brief
class Sent:
    """One event of one project, and the request it came in."""

    project_id: str
    new: NewUsage
    origin: Origin


@frozen
class _Miss:
    """An event that breaks the contract of a strict project."""

    reason: str


def record(
    work: RecordingWork,
    sent: Sequence[Sent],
    *,
    at: Instant,
    ids: Ids,
    open_draws: OpenDraws,
    telling: Telling,
    supersede: bool = True,
    presumption: Presumption | None = None,
) -> list[Recorded]:
    """Record each of *sent* at most once; one outcome each, in order.

    With *supersede*, accepting an event closes what waits in quarantine under its key. *open_draws* is
    called where a project has prepaid usage. What there is to tell goes to *telling*, which the caller
    writes. As long as the *presumption* holds, events are taken for new, and the unit may fail with
    ``StorageConflict`` if one is not.

    ``Rejected`` holds ``ProjectNotFound``, ``ProjectArchived``, ``TimestampInFuture``, ``TimestampTooOld``
    or, for prepaid usage, ``InsufficientCredit``; ``Conflict`` holds ``KeyReused`` or ``UsageConflict``.
    """
    projects = work.tenancy.projects({one.project_id for one in sent})
    metrics: dict[str, dict[str, Metric]] | None = None
    insert = partial(_insert, work, presumption)
    if len(sent) == 1:
        one, project = sent[0], projects.get(sent[0].project_id)
        if project is not None and _is_plain(project):
            metrics = work.metering.metrics((project.id,))
            if one.new.metric_key in metrics[project.id] and _untimely(one.new, project, at) is None:
                return [_record_plain(work, one, project, insert, at=at, ids=ids)]
    recording = _Recording.open(work, sent, at, ids, open_draws, telling, projects, metrics)
    outcomes = recording.insert_new(insert)
    if len(outcomes) < len(sent):
        recording.judge_rest(outcomes)
    if recording.draws is not None:
        recording.draws.write()
    if supersede and recording.strict:
        recording.supersede(outcomes)
    if recording.holding:
        recording.hold_late(outcomes)
    recording.notes.write(work, ids)
    return [outcomes[index] for index in range(len(sent))]


def _is_plain(project: Project) -> bool:
    """Whether its usage is neither held to contracts, nor drawn as it arrives, nor kept waiting when late."""
    return not (project.metric_policy is MetricPolicy.STRICT or project.draws_usage or project.holds_late)


def _insert(work: HasUsage, presumption: Presumption | None, events: Sequence[UsageEvent]) -> set[str] | None:
    """Insert what may be new: None if all of it was, or is presumed to be; else the ids of what was."""
    presumed_new = presumption is not None and presumption.holds()
    inserted = work.usage.insert(events, presumed_new=presumed_new)
    if inserted is not None and presumption is not None:
        presumption.met_repeat()
    return inserted


def _record_plain(
    work: RecordingWork, one: Sent, project: Project, insert: _Insert, *, at: Instant, ids: Ids
) -> Recorded:
    """Record an event alone: of a plain project, of a metric that this knows, and not untimely."""
    event = _event(one, project, ids.new("use"), at)
    if insert([event]) is None:
        count_one(work, project.id, Outcome.ACCEPTED, ids)
        return Accepted(event)
    outcome = _met(work, one)
    notes = OutcomeNotes()
    _note(notes, one, outcome, at, ids)
    notes.write(work, ids)
    return outcome


def _untimely(new: NewUsage, project: Project, at: Instant) -> NerubaError | None:
    """Why nothing of that time can be recorded in the project now, if so."""
    if project.archived_at is not None:
        return ProjectArchived(project.id)
    if new.timestamp > at + AHEAD:
        return TimestampInFuture(instants.text(new.timestamp))
    days = project.max_backdate_days
    if days is not None and new.timestamp < at - timedelta(days=days):
        return TimestampTooOld(instants.text(new.timestamp), days)
    return None


def _event(one: Sent, project: Project, usage_id: str, at: Instant) -> UsageEvent:
    new = one.new
    # By place: by name, making one would cost twice as much, and there is one for every event.
    return UsageEvent(
        one.project_id,
        usage_id,
        new.metric_key,
        new.units_micros,
        new.timestamp,
        new.event,
        new.properties,
        new.idempotency_key,
        usage_fingerprint(new),
        VERSION,
        at,
        project.is_late(new.timestamp),
        one.origin.actor,
        one.origin.request_id,
    )


def _met(work: HasUsage, one: Sent) -> Recorded:
    """What an event is that the store would not insert: what it collides with can be read."""
    met = _Prior.read(work, [one]).verdict(one)
    assert met is not None, "what collides can be read"
    return met


def _firsts(sent: Sequence[Sent]) -> list[int]:
    """The places of those that share neither key nor event with one before them.

    The others are judged after that one, in their turn, even if that one itself cannot go in.
    """
    firsts: list[int] = []
    keys: set[tuple[str, str]] = set()
    names: set[tuple[str, str]] = set()
    for index, one in enumerate(sent):
        key, name = (one.project_id, one.new.idempotency_key), (one.project_id, one.new.event)
        if key not in keys and name not in names:
            firsts.append(index)
        keys.add(key)
        names.add(name)
    return firsts


@define
class _Recording:
    """The events of one unit while they are recorded."""

    work: RecordingWork
    sent: Sequence[Sent]
    at: Instant
    ids: Ids
    projects: dict[str, Project]
    metrics: dict[str, dict[str, Metric]]
    telling: Telling
    unknown: list[int]
    """Which events are of metrics that their projects do not know."""
    shared: dict[str, SharedMetric]
    """The catalogue's metrics of those keys."""
    draws: Draws | None = None
    drawing: Set[str] = frozenset()
    """The projects whose usage may have to be drawn: what *draws* was opened for."""
    strict: Set[str] = frozenset()
    """The projects whose metric policy is strict."""
    holding: Set[str] = frozenset()
    """The projects whose late usage waits for support."""
    declared: Set[tuple[str, str]] = frozenset()
    """The metrics that this unit has declared, by project and key."""
    refused: dict[int, Rejected] = field(factory=dict)
    notes: OutcomeNotes = field(factory=OutcomeNotes)

    @classmethod
    def open(
        cls,
        work: RecordingWork,
        sent: Sequence[Sent],
        at: Instant,
        ids: Ids,
        open_draws: OpenDraws,
        telling: Telling,
        projects: dict[str, Project],
        metrics: dict[str, dict[str, Metric]] | None,
    ) -> _Recording:
        drawing = {project.id for project in projects.values() if project.draws_usage}
        draws = None
        if drawing:
            draws = open_draws(drawing)
            # Settings may have changed while the heads were waited for.
            projects = work.tenancy.projects(projects)
        if metrics is None:
            metrics = work.metering.metrics(sorted(projects))
        unknown = [
            index
            for index, one in enumerate(sent)
            if one.project_id in metrics and one.new.metric_key not in metrics[one.project_id]
        ]
        shared = offered(work, {sent[index].new.metric_key for index in unknown}) if unknown else {}
        recording = cls(work, sent, at, ids, projects, metrics, telling, unknown, shared, draws, drawing)
        for project in projects.values():
            if project.metric_policy is MetricPolicy.STRICT:
                recording.strict |= {project.id}
            if project.holds_late:
                recording.holding |= {project.id}
        return recording

    def insert_new(self, insert: _Insert) -> dict[int, Recorded]:
        """Insert what is fit and new, in bulk; the outcomes of those, by index."""
        events: dict[int, UsageEvent] = {}
        new_ids = self.ids.many("use", len(self.sent))
        met = self._met_already() if self.unknown or self.drawing else ()
        for index in _firsts(self.sent):
            one = self.sent[index]
            if index not in met and self._fault(one) is None:
                events[index] = _event(one, self.projects[one.project_id], new_ids[index], self.at)
        if self.unknown:
            self._declare_on_sight(events.values())
        if self.draws is not None:
            self._draw(events)
        inserted = insert(list(events.values())) if events else None
        if inserted is not None:
            self._need_no_trace(event for event in events.values() if event.id not in inserted)
        outcomes: dict[int, Recorded] = {}
        accepted: dict[str, int] = {}
        for index, event in events.items():
            if inserted is None or event.id in inserted:
                outcomes[index] = Accepted(event)
                accepted[event.project_id] = accepted.get(event.project_id, 0) + 1
        for project_id, count in accepted.items():
            self.notes.count(project_id, Outcome.ACCEPTED, count)
        return outcomes

    def _draw(self, events: dict[int, UsageEvent]) -> None:
        """Pay for what is prepaid, in order; what cannot be paid is refused and left out of *events*."""
        for index, event in list(events.items()):
            origin = self.sent[index].origin
            error = self._pay(event, origin)
            if error is not None:
                self.refused[index] = Rejected(error, origin.request_id)
                del events[index]

    def _pay(self, event: UsageEvent, origin: Origin) -> NerubaError | None:
        if self.draws is None or event.project_id not in self.drawing:
            return None
        return self.draws.draw(event, self.metrics[event.project_id][event.metric_key], origin)

    def _need_no_trace(self, collided: Iterable[UsageEvent]) -> None:
        """An event that collides after all has been paid for twice if it is prepaid, and may have declared a
        metric that nobody uses: then the unit has to run again, and will find the other event first."""
        if any(
            event.project_id in self.drawing or (event.project_id, event.metric_key) in self.declared
            for event in collided
        ):
            raise StorageConflict("an event was recorded meanwhile")

    def _met_already(self) -> set[int]:
        """Which events of unknown metrics are recorded before, whatever came of it: a conflict, say, must
        not declare the metric that it names; and which prepaid ones are, for they must not be drawn again.
        Other events of known metrics need no such look."""
        drawn = [index for index, one in enumerate(self.sent) if one.project_id in self.drawing]
        asked = {*self.unknown, *drawn}
        prior = _Prior.read(self.work, [self.sent[index] for index in asked])
        return {index for index in asked if prior.verdict(self.sent[index]) is not None}

    def judge_rest(self, outcomes: dict[int, Recorded]) -> None:
        """Judge one by one whatever the bulk insert left out, adding to *outcomes*."""
        rest = [index for index in range(len(self.sent)) if index not in outcomes]
        prior = _Prior.read(self.work, [self.sent[index] for index in rest])
        for index in rest:
            one = self.sent[index]
            outcome = self.refused.get(index) or self._judge(one, prior)
            if isinstance(outcome, Accepted):
                prior.add(outcome.value)
            outcomes[index] = outcome
            if one.project_id in self.projects:
                _note(self.notes, one, outcome, self.at, self.ids)

    def hold_late(self, outcomes: Mapping[int, Recorded]) -> None:
        """Let late usage wait for support, where the project wants that."""
        held = [event for event in self._accepted(outcomes, self.holding) if event.late]
        if held:
            self.work.usage.hold([hold_of(event, HoldKind.EVENT, self.at) for event in held])
        for event in held:
            project = self.projects[event.project_id]
            self.telling.tell(project, MessageType.USAGE_QUARANTINED, partial(render_held, event, LATE))

    def supersede(self, outcomes: Mapping[int, Recorded]) -> None:
        """Close what waits in the quarantine of a strict project under a key that is now recorded."""
        keys: dict[str, set[str]] = {}
        for event in self._accepted(outcomes, self.strict):
            keys.setdefault(event.project_id, set()).add(event.idempotency_key)
        for project_id in sorted(keys):
            for waiting in self.work.usage.quarantined_by_keys(project_id, keys[project_id]):
                self.work.usage.close_quarantined(project_id, waiting.id, QuarantineState.SUPERSEDED)

    @staticmethod
    def _accepted(outcomes: Mapping[int, Recorded], project_ids: Set[str]) -> list[UsageEvent]:
        """The events of those projects that have been accepted."""
        accepted = [outcome.value for outcome in outcomes.values() if isinstance(outcome, Accepted)]
        return [event for event in accepted if event.project_id in project_ids]

    def _judge(self, one: Sent, prior: _Prior) -> Recorded:
        if one.project_id not in self.projects:
            return Rejected(ProjectNotFound(one.project_id))
        known = prior.verdict(one)
        if known is not None:
            return known
        fault = self._fault(one)
        if isinstance(fault, _Miss):
            return Quarantined(self._quarantine(one, fault.reason))
        if fault is not None:
            return Rejected(fault, one.origin.request_id)
        event = _event(one, self.projects[one.project_id], self.ids.new("use"), self.at)
        self._declare_on_sight([event])
        unpaid = self._pay(event, one.origin)
        if unpaid is not None:
            return Rejected(unpaid, one.origin.request_id)
        if self.work.usage.insert([event]) is None:
            return Accepted(event)
        self._need_no_trace([event])
        # Someone else's insert came between.
        return _met(self.work, one)

    def _fault(self, one: Sent) -> NerubaError | _Miss | None:
        """Why the event cannot be recorded now, if so."""
        project = self.projects.get(one.project_id)
        if project is None:
            return ProjectNotFound(one.project_id)
        new = one.new
        untimely = _untimely(new, project, self.at)
        if untimely is not None or project.id not in self.strict:
            return untimely
        reason = miss(self._metric(project.id, new.metric_key), project.metric_policy, new.properties)
        return None if reason is None else _Miss(reason)

    def _metric(self, project_id: str, key: str) -> Metric | None:
        """The project's metric, or the catalogue's as the project would have it."""
        metric = self.metrics.get(project_id, {}).get(key)
        if metric is None and key in self.shared:
            return self.shared[key].followed_by(project_id)
        return metric

    def _declare_on_sight(self, events: Iterable[UsageEvent]) -> None:
        """A project meets a new metric by its first event: the catalogue's, or in an open project one that
        sums until told otherwise."""
        unknown = {
            (event.project_id, event.metric_key)
            for event in events
            if event.metric_key not in self.metrics.get(event.project_id, {})
        }
        if not unknown:
            return
        declared = [
            self._metric(project_id, key)
            or Metric(project_id, key, Aggregation.SUM, None, None, False, (), True, self.at)
            for project_id, key in sorted(unknown)
        ]
        self.work.metering.add_metrics(declared)
        self.declared |= unknown
        for metric in declared:
            self.metrics.setdefault(metric.project_id, {})[metric.key] = metric

    def _quarantine(self, one: Sent, reason: str) -> QuarantinedUsage:
        new = QuarantinedUsage(
            project_id=one.project_id,
            id=self.ids.new("qua"),
            event=one.new,
            fingerprint=usage_fingerprint(one.new),
            reason=reason,
            state=QuarantineState.WAITING,
            received_at=self.at,
            actor=one.origin.actor,
            request_id=one.origin.request_id,
        )
        waiting = self.work.usage.quarantine(new)
        if waiting.id == new.id:
            # A resend finds the row that was told of.
            told = partial(render_quarantined, waiting)
            self.telling.tell(self.projects[one.project_id], MessageType.USAGE_QUARANTINED, told)
        return waiting


@define
class _Prior:
    """The recorded events that new ones may turn out to be."""

    by_key: dict[tuple[str, str], UsageEvent] = field(factory=dict)
    by_event: dict[tuple[str, str], UsageEvent] = field(factory=dict)

    @classmethod
    def read(cls, work: HasUsage, sent: Sequence[Sent]) -> _Prior:
        prior = cls()
        for project_id in sorted({one.project_id for one in sent}):
            group = [one.new for one in sent if one.project_id == project_id]
            for event in work.usage.by_keys(project_id, {new.idempotency_key for new in group}).values():
                prior.add(event)
            for event in work.usage.by_event_ids(project_id, {new.event for new in group}).values():
                prior.add(event)
        return prior

    def add(self, event: UsageEvent) -> None:
        self.by_key[event.project_id, event.idempotency_key] = event
        self.by_event[event.project_id, event.event_id] = event

    def verdict(self, one: Sent) -> Recorded | None:
        """What *one* is, if its key or event is recorded: key first, then event id."""
        new = one.new
        event = self.by_key.get((one.project_id, new.idempotency_key))
        if event is not None:
            if event.fingerprint == usage_fingerprint(new):
                return Replayed(event)
            return Conflict(KeyReused(new.idempotency_key), event.id, render(event))
        event = self.by_event.get((one.project_id, new.event))
        if event is not None:
            if same_content(new, event.fingerprint, event.event_id):
                return Deduplicated(event)
            return Conflict(UsageConflict(new.event), event.id, render(event))
        return None


def _note(notes: OutcomeNotes, one: Sent, outcome: Recorded, at: Instant, ids: Ids) -> None:
    if isinstance(outcome, Accepted | Replayed):
        notes.count(one.project_id, outcome.name)
    else:
        notes.explain(_attempt(one, outcome, at, ids))


def _attempt(
    one: Sent,
    outcome: Deduplicated[UsageEvent] | Quarantined[QuarantinedUsage] | Conflict | Rejected,
    at: Instant,
    ids: Ids,
) -> Attempt:
    code: str | None = None
    message: str | None = None
    subject_id: str | None = None
    prior: str | None = None
    match outcome:
        case Deduplicated(event):
            subject_id, prior = event.id, render(event)
        case Quarantined(waiting):
            code, message, subject_id = "usage.quarantined", waiting.reason, waiting.id
        case Conflict(error, subject_id, prior):
            code, message = error.code, str(error)
        case Rejected(error):
            code, message = error.code, str(error)
    return Attempt(
        project_id=one.project_id,
        id=ids.new("att"),
        at=at,
        operation=OPERATION,
        outcome=outcome.name,
        code=code,
        message=message,
        request_id=one.origin.request_id,
        access_key_id=one.origin.access_key_id,
        idempotency_key=one.new.idempotency_key,
        event_id=one.new.event,
        metric_key=one.new.metric_key,
        subject_id=subject_id,
        content=content(one.new),
        prior=prior,
    )
