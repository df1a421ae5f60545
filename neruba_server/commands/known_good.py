"""The known-good sequence: shown on a server of its own, or walked against a deployment."""

from __future__ import annotations

import os
import time
from typing import Any

import rich_click as click

from neruba_server.commands.options import (
    as_json_option,
    ask_password,
    example,
    fail,
    password_stdin_option,
    print_json,
)

_VERIFY_PASSWORD = "NERUBA_VERIFY_PASSWORD"


@click.command(epilog=example("neruba demo", "neruba demo --json"))
@as_json_option
def demo(as_json: bool) -> None:
    """Watch the whole loop over HTTP, on a server of its own.

    Sign in, create a project, issue a scoped key, send usage and send it again, grant credit, charge, and
    read a billing state that explains itself. Each request is printed as a curl that can be copied.
    """
    from neruba_server.known_good import demo as own
    from neruba_server.known_good.show import Page
    from neruba_server.known_good.walk import Unreachable

    began = time.monotonic()
    page = Page()
    try:
        walk, steps = own.demo(None if as_json else page)
    except (own.ServerFailed, Unreachable) as error:
        fail(str(error))
    verdicts = [verdict for walked in steps for verdict in walked.verdicts]
    held = sum(verdict.held for verdict in verdicts)
    try:
        state = own.summary(walk)
    except (LookupError, TypeError):
        state = []
    if as_json:
        print_json({"held": held == len(verdicts), "checks": len(verdicts), "state": dict(state)})
    else:
        _conclude(page, state, held, len(verdicts), time.monotonic() - began)
    if held != len(verdicts):
        fail(f"{len(verdicts) - held} of {len(verdicts)} checks did not hold")


def _conclude(page: Any, state: list[tuple[str, str]], held: int, checks: int, seconds: float) -> None:
    from rich.text import Text

    page.line()
    page.line("What it came to", "bold")
    for name, value in state:
        page.line(Text.assemble((f"  {name:<10}", "cyan"), value))
    style = "bold green" if held == checks else "bold red"
    page.line(
        Text.assemble(("  checks    ", "cyan"), (f"{held} of {checks} held", style), f", in {seconds:.1f} s")
    )


@click.command(
    epilog=example(
        "neruba verify --url https://billing.example.com --email me@example.com",
        "neruba verify --url http://127.0.0.1:8080 --email me@example.com --json",
    )
)
@click.option("--url", required=True, metavar="URL", help="Where the deployment answers.")
@click.option("--email", required=True, metavar="EMAIL", help="A user who may create projects.")
@password_stdin_option
@as_json_option
def verify(url: str, email: str, password_stdin: bool, as_json: bool) -> None:
    """Walk the known-good sequence against a running deployment.

    It works in a project of its own (external key neruba-verify), which each run uses again. Each run's
    writes are new and are taken back at its end, so it may run as often as you like. The password comes
    from standard input, from NERUBA_VERIFY_PASSWORD, or is asked for. Exits with 0 only if every check held.
    """
    from neruba_server.known_good import verify as deployed
    from neruba_server.known_good.show import Page
    from neruba_server.known_good.walk import Unreachable

    password = os.environ.get(_VERIFY_PASSWORD, "") if not password_stdin else ""
    password = password or ask_password(password_stdin)
    try:
        report = deployed.verify(url, email, password)
    except (Unreachable, deployed.NotVerifiable) as error:
        fail(str(error))
    if as_json:
        print_json(report.as_json())
    else:
        page = Page()
        deployed.show(report, page)
        page.line(f"{report.checks - report.failures} of {report.checks} checks held at {report.base_url}")
    if not report.held:
        fail(f"{report.failures} of {report.checks} checks did not hold")
