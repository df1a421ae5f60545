"""The sequence against a running deployment.

Every run uses the same project and the same access rights, but idempotency keys of its own: a run that only
replayed what an earlier one wrote would hold on a server that can no longer write. What it writes it takes
back by reversals and a void, so the project's wallet and usage are as they were, however often it runs, and
no access key is left. Two runs at the same moment as the same user share a project and may see each other.
"""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any

from attrs import frozen
from rich.text import Text

from neruba_server.known_good.answers import Answer
from neruba_server.known_good.sequence import REQUEST_ID, aftermath, sequence, verify_plan
from neruba_server.known_good.show import Page, difference
from neruba_server.known_good.walk import Request, Walk, Walked


class NotVerifiable(Exception):
    """There is nothing at the address that could be verified; the message says why."""


@frozen
class Report:
    """What a run found."""

    base_url: str
    run: str
    project_id: str | None
    steps: tuple[Walked, ...]

    @property
    def held(self) -> bool:
        """Whether every check held."""
        return all(walked.held for walked in self.steps)

    @property
    def checks(self) -> int:
        """How many checks were made."""
        return sum(len(walked.verdicts) for walked in self.steps)

    @property
    def failures(self) -> int:
        """How many of them did not hold."""
        return sum(not verdict.held for walked in self.steps for verdict in walked.verdicts)

    def as_json(self) -> dict[str, Any]:
        """The report for machines; it holds no secret."""
        return {
            "url": self.base_url,
            "held": self.held,
            "checks": self.checks,
            "failures": self.failures,
            "runId": self.run,
            "projectId": self.project_id,
            "steps": [_step_as_json(walked) for walked in self.steps],
        }


def verify(base_url: str, email: str, password: str) -> Report:
    """Walk the sequence and its aftermath. Raises ``Unreachable`` or ``NotVerifiable``."""
    base_url = _address(base_url)
    run = secrets.token_hex(8)
    walk = Walk(base_url, proxies=not _local(base_url))
    _recognise(walk)
    steps: list[Walked] = []
    plan = verify_plan(email, password, run=run, at=datetime.now(UTC))
    for walked in walk.along((*sequence(plan), *aftermath())):
        steps.append(walked)
        if walked.step.name == "login" and not walked.held:
            raise NotVerifiable(f"{base_url} did not let {email} sign in: {_why(walked.answer)}")
    return Report(base_url, run, _project_id(walk), tuple(steps))


def show(report: Report, page: Page) -> None:
    """Print the checks, a line each; a step's title stands beside its first."""
    width = max(len(walked.step.title) for walked in report.steps)
    for walked in report.steps:
        title = walked.step.title
        request_id = None if walked.answer is None else walked.answer.header(REQUEST_ID)
        for verdict in walked.verdicts:
            mark, style = page.mark(verdict)
            line = Text.assemble((f"{mark}  ", style), (f"{title:<{width}}  ", "bold"), verdict.claim)
            if not verdict.held:
                named = f" (request {request_id})" if request_id else ""
                line.append(f": {difference(verdict)}{named}", "red")
            page.line(line)
            title = ""


def _recognise(walk: Walk) -> None:
    """Raise ``NotVerifiable`` unless what answers is a server of ours that is ready."""
    answer = walk.send(Request("GET", f"{walk.base_url}/readyz", {}, None))
    if 300 <= answer.status < 400:
        raise NotVerifiable(f"{walk.base_url} redirects to {answer.header('Location')}; verify that address")
    try:
        status, checks = answer.value("status"), answer.value("checks")
        if not isinstance(checks, dict) or answer.header(REQUEST_ID) is None:
            raise KeyError("checks")
    except KeyError:
        raise NotVerifiable(
            f"what answers at {walk.base_url} is not Neruba: GET /readyz gave {answer.status} {answer.reason}"
        ) from None
    if answer.status != 200:
        failing = ", ".join(f"{name} {state}" for name, state in checks.items() if state != "ok")
        raise NotVerifiable(f"{walk.base_url} is not ready ({status}): {failing}")


def _address(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise NotVerifiable(f"{url!r} is no address; give one such as https://billing.example.com")
    return url.rstrip("/")


def _local(url: str) -> bool:
    return any(url.startswith(f"http://{host}") for host in ("127.", "localhost", "[::1]"))


def _why(answer: Answer | None) -> str:
    if answer is None:
        return "no answer"
    try:
        return str(answer.value("detail"))
    except KeyError:
        return f"{answer.status} {answer.reason}"


def _project_id(walk: Walk) -> str | None:
    project = walk.told.get("project")
    if project is None or not isinstance(project.json, dict):
        return None
    return project.json.get("id") or project.json.get("projectId")


def _step_as_json(walked: Walked) -> dict[str, Any]:
    answer = walked.answer
    return {
        "name": walked.step.name,
        "method": walked.step.method,
        "path": walked.step.path,
        "status": None if answer is None else answer.status,
        "requestId": None if answer is None else answer.header(REQUEST_ID),
        "ms": None if answer is None else round(answer.seconds * 1000, 1),
        "checks": [
            {"claim": verdict.claim, "held": verdict.held}
            | ({} if verdict.held else {"difference": difference(verdict)})
            for verdict in walked.verdicts
        ],
    }
