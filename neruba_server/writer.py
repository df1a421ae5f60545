"""The group-commit writer: concurrent writes share one unit of work, each with its own verdict.

Writers that come one by one wait for each other's disk flush. Here one thread takes whatever has come
while its last unit was written and answered, runs it as one unit, and answers all of it after the commit;
it never waits for a batch to fill. A refusal of storage is about the whole unit and answers all of it; a
defect answers only the command that met it.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from attrs import define, field

from neruba_core import Neruba
from neruba_core.audit.model import Trail
from neruba_core.batch import Command, Verdict
from neruba_core.errors import KeyInProgress, NerubaError, StorageBusy, StorageError, StorageUnavailable
from neruba_core.idempotency.outcomes import Deduplicated, Rejected, Replayed
from neruba_core.storage.port import UnitOfWork
from neruba_core.usage.model import UsageEvent
from neruba_server.problems import ShuttingDown

log = logging.getLogger("neruba.server")

MOST_COMMANDS = 500
"""How many commands share a unit before no more are taken; a submission is never split, so a large one may
exceed this."""

GATHER_SECONDS = 0.02
"""How long requests that keep arriving are read before the thread is woken all the same."""

MOST_QUEUED = 20_000
"""How many commands may wait; beyond that a client does better to come back."""

_REPEATED = (Replayed, Deduplicated)

KEY_WAIT_SECONDS = 2.0
KEY_RETRY_SECONDS = 0.02


Verdicts: TypeAlias = Sequence[Verdict | Exception]
"""What the commands of a submission came to, each; an exception where there is no verdict."""

Answer: TypeAlias = Callable[["Submission", Verdicts], None]
"""Called in the event loop, after the commit."""


@define(eq=False)
class Submission:
    """The commands of one request, and what is needed to note and answer it."""

    commands: Sequence[Command]
    request_id: str
    method: str
    path: str
    principal: str
    answer: Answer
    batch: bool = False
    voided_at: dict[str, Any] = field(factory=dict)
    """When the replayed or deduplicated events were voided, by usage id, if they were."""
    give_up_at: float = 0.0


class _StillHeld(StorageError):
    """Undoes a unit in which another unit in flight holds a key, so that nothing is counted yet.

    A refusal of storage, for those alone undo a whole unit; never seen by a client.
    """

    def __init__(self, submissions: list[Submission]) -> None:
        super().__init__("a key is held elsewhere")
        self.submissions = submissions


Answered: TypeAlias = tuple[Submission, Verdicts]

Noted: TypeAlias = tuple[Submission, Sequence[tuple[Command, Verdict]]]
"""A submission and what its commands came to: all of them, or one at a time."""

Rows: TypeAlias = Callable[[Sequence[Noted]], Sequence[Trail]]


class Writer:
    """One thread that writes. *rows* makes the trail rows of the submissions of a unit."""

    def __init__(self, neruba: Neruba, rows: Rows, *, most_queued: int = MOST_QUEUED) -> None:
        self._neruba = neruba
        self._rows = rows
        self._most_queued = most_queued
        self._queue: queue.SimpleQueue[list[Submission] | None] = queue.SimpleQueue()
        self._gathered: list[Submission] = []
        self._gathering_until = 0.0
        self._idle = True
        self._queued = 0
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to write; called in the event loop that submissions come from."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="neruba-writer", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Take nothing new, answer everything that was taken, and end."""
        if self._closed:
            return
        self._closed = True
        self._hand_over()
        self._queue.put(None)
        if self._thread is not None and self._loop is not None:
            await self._loop.run_in_executor(None, self._thread.join)
            # The answers were handed to the loop before the thread ended; let them be given.
            await asyncio.sleep(0)

    @property
    def load(self) -> float:
        """How full the queue is, from 0 to 1."""
        return self._queued / self._most_queued

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def submit(
        self,
        commands: Sequence[Command],
        *,
        request_id: str,
        method: str,
        path: str,
        principal: str,
        answer: Answer,
        batch: bool = False,
    ) -> None:
        """Queue the commands of one request, and *answer* them after the commit.

        Raises ``StorageBusy`` when the queue is full and ``ShuttingDown`` after ``stop``.
        """
        if self._closed or self._loop is None:
            raise ShuttingDown
        # A request larger than the whole queue still gets its turn when nothing else waits.
        if self._queued and self._queued + len(commands) > self._most_queued:
            raise StorageBusy("too many writes are waiting")
        self._queued += len(commands)
        self._gathered.append(Submission(commands, request_id, method, path, principal, answer, batch))
        if self._idle:
            self._begin_to_gather()

    def _begin_to_gather(self) -> None:
        assert self._loop is not None, "submissions come from the loop"
        self._idle = False
        self._gathering_until = self._loop.time() + GATHER_SECONDS
        self._loop.call_soon(self._gather, 0)

    def _gather(self, seen: int) -> None:
        """Hand over once a turn of the loop has brought nothing new.

        Requests that have arrived are read before the thread is woken, and a unit is answered before the
        next one begins. The loop has the interpreter while it reads and answers: a unit that began meanwhile
        would wait for it, and would be without those who are just being answered and come back at once. A
        request that comes alone is handed over at once.
        """
        assert self._loop is not None, "submissions come from the loop"
        gathered = len(self._gathered)
        if seen < gathered < MOST_COMMANDS and self._loop.time() < self._gathering_until:
            self._loop.call_soon(self._gather, gathered)
        elif gathered:
            self._hand_over()
        else:
            self._idle = True

    def _hand_over(self) -> None:
        while self._gathered:
            self._queue.put(self._gathered[:MOST_COMMANDS])
            del self._gathered[:MOST_COMMANDS]

    # --- the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        held: list[Submission] = []
        going = True
        while going or held:
            taken, going = self._take(held, going)
            held = []
            if taken:
                answers, held = self._write(taken)
                # Even if there are none: others wait for the end of this unit.
                self._answer(answers)
            if held:
                time.sleep(KEY_RETRY_SECONDS)

    def _take(self, held: list[Submission], going: bool) -> tuple[list[Submission], bool]:
        """What waits, at most ``MOST_COMMANDS`` commands of it; blocks only if nothing does."""
        taken = held
        commands = sum(len(submission.commands) for submission in held)
        while going and commands < MOST_COMMANDS:
            try:
                gathered = self._queue.get(block=not taken)
            except queue.Empty:
                break
            if gathered is None:
                # What was queued before the end is still served: it stands before it.
                return taken, False
            taken += gathered
            commands += sum(len(submission.commands) for submission in gathered)
        return taken, going

    def _write(self, taken: list[Submission]) -> tuple[list[Answered], list[Submission]]:
        """Run *taken* as one unit: its answers, and those that must try again because of a held key."""
        held: list[Submission] = []
        while taken:
            try:
                verdicts = self._execute(taken)
            except _StillHeld as still:
                waiting = {id(submission) for submission in still.submissions}
                held += still.submissions
                taken = [submission for submission in taken if id(submission) not in waiting]
                continue
            except Exception as error:
                if not isinstance(error, NerubaError):
                    log.exception("the writer failed")
                else:
                    log.warning("a unit of %d requests was refused: %s", len(taken), error)
                return [(submission, [error] * len(submission.commands)) for submission in taken], held
            answers: list[Answered] = []
            start = 0
            for submission in taken:
                end = start + len(submission.commands)
                answers.append((submission, verdicts[start:end]))
                start = end
            return answers, held
        return [], held

    def _execute(self, taken: list[Submission]) -> list[Verdict | Exception]:
        commands = [command for submission in taken for command in submission.commands]

        def note(work: UnitOfWork, verdicts: Sequence[tuple[Command, Verdict]]) -> None:
            self._note(work, verdicts, taken)

        try:
            return self._neruba.execute(commands, note=note)
        except StorageUnavailable:
            # Whether a commit went through may be unknown; every command is safe to run again.
            return self._neruba.execute(commands, note=note)

    def _note(
        self,
        work: UnitOfWork,
        verdicts: Sequence[tuple[Command, Verdict]],
        taken: Sequence[Submission],
    ) -> None:
        # Of all that was taken, or after a defect of one command alone.
        came_to = {id(command): verdict for command, verdict in verdicts}
        noted: list[Noted] = []
        repeated: dict[str, list[tuple[str, Submission]]] = {}
        held = []
        for submission in taken:
            own = [
                (command, came_to[id(command)]) for command in submission.commands if id(command) in came_to
            ]
            if own:
                noted.append((submission, own))
            for command, verdict in own:
                if isinstance(verdict, _REPEATED) and isinstance(verdict.value, UsageEvent):
                    repeated.setdefault(command.project_id, []).append((verdict.value.id, submission))
                elif isinstance(verdict, Rejected) and isinstance(verdict.error, KeyInProgress):
                    if self._may_wait(submission):
                        held.append(submission)
        if held:
            raise _StillHeld(held)
        for project_id, events in repeated.items():
            voids = work.usage.voids(project_id, [usage_id for usage_id, _ in events])
            for usage_id, submission in events:
                if usage_id in voids:
                    submission.voided_at[usage_id] = voids[usage_id].voided_at
        work.audit.add_trail(self._rows(noted))

    def _may_wait(self, submission: Submission) -> bool:
        now = time.monotonic()
        if not submission.give_up_at:
            submission.give_up_at = now + KEY_WAIT_SECONDS
        return now < submission.give_up_at

    def _answer(self, answers: list[Answered]) -> None:
        loop = self._loop
        assert loop is not None, "started"
        try:
            loop.call_soon_threadsafe(self._give, answers)
        except RuntimeError:
            log.warning("the event loop ended before %d requests were answered", len(answers))

    def _give(self, answers: list[Answered]) -> None:
        for submission, verdicts in answers:
            self._queued -= len(submission.commands)
            try:
                submission.answer(submission, verdicts)
            except Exception:
                # One request's trouble must not keep its neighbours from their answers.
                log.exception("request %s was not answered", submission.request_id)
        self._begin_to_gather()
