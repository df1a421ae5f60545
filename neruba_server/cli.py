"""The command ``neruba``.

A command that fails for a reason that can be expected says so in one line on standard error and exits with
a status other than 0; a traceback is a defect of ours. What may be piped is printed as JSON with ``--json``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn

import rich_click as click
from click.exceptions import Exit
from rich_click import RichGroup

from neruba_core.errors import NerubaError, SchemaOutdated
from neruba_core.identity.model import User
from neruba_server.settings import BadSetting, Settings, load, open_neruba

_VERIFY_PASSWORD = "NERUBA_VERIFY_PASSWORD"
_INTERRUPTED = 130


class _Commands(RichGroup):
    """A group that turns what can be expected to fail into one line and a status."""

    def main(self, *args: Any, **options: Any) -> NoReturn:
        try:
            status = super().main(*args, **{**options, "standalone_mode": False})
        except Exit as end:
            status = end.exit_code
        except click.UsageError as error:
            hint = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
            status = _complain(f"{error.format_message()}{hint}", error.exit_code)
        except click.ClickException as error:
            status = _complain(error.format_message(), error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            status = _complain("interrupted", _INTERRUPTED)
        except BrokenPipeError:
            # Whoever read our output has seen enough. Nothing may be flushed into the pipe at exit either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = 0
        except (NerubaError, BadSetting) as error:
            status = _complain(str(error))
        sys.exit(status if isinstance(status, int) else 0)


def _complain(text: str, status: int = 1) -> int:
    line = " ".join(text.split())
    click.echo(f"{click.style('neruba:', fg='red')} {line}", err=True)
    return status


def _fail(text: str) -> NoReturn:
    raise click.ClickException(text)


def _example(*lines: str) -> str:
    # Paragraphs are what becomes lines of their own.
    return "\n\n".join([f"Example{'s' if len(lines) > 1 else ''}:", *(f"$ {line}" for line in lines)])


def _database(command: Callable[..., Any]) -> Callable[..., Any]:
    command = click.option(
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="TOML file with settings in a table [neruba].",
    )(command)
    return click.option(
        "--database",
        "database_url",
        metavar="URL",
        help="sqlite:///file.db or postgresql://user@host/name.  [default: sqlite:///neruba.db]",
    )(command)


_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_password_stdin = click.option(
    "--password-stdin", is_flag=True, help="Read the password from the first line of standard input."
)


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


@click.group(
    name="neruba",
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_example("neruba demo", "neruba users add owner@example.com", "neruba serve"),
)
@click.version_option(version("neruba"), prog_name="neruba")
@click.rich_config({"text_markup": "ansi", "style_option": "cyan", "style_command": "bold cyan"})
def main() -> None:
    """Billing that can be explained: usage, credits and charges over HTTP.

    Settings come from options, then from NERUBA_… variables, then from the file given as --config.
    """


# --- the server -------------------------------------------------------------------------------


@main.command(
    epilog=_example("neruba serve", "neruba serve --database postgresql://me@db/billing --workers 2")
)
@click.option("--host", metavar="ADDRESS", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", metavar="PORT", help="Port to listen on, 0 for a free one.  [default: 8080]")
@click.option("--workers", metavar="N", help="Processes that share the port; PostgreSQL only.  [default: 1]")
@_database
def serve(
    host: str | None, port: str | None, workers: str | None, database_url: str | None, config: Path | None
) -> None:
    """Serve the HTTP interface until a signal ends it.

    An empty database is given its schema. SIGTERM or Ctrl-C answers what was taken, then ends.
    """
    from neruba_server import serving

    settings = load(config, host=host, port=port, workers=workers, database_url=database_url)
    _warn_of_unknown_variables()
    try:
        serving.serve(settings, lambda address: _announce(settings, address))
    except serving.CannotServe as error:
        _fail(str(error))


def _announce(settings: Settings, address: str) -> None:
    with open_neruba(settings, migrate=False) as neruba:
        nobody = not neruba.users.list(1).items
    processes = f", {settings.workers} workers" if settings.workers > 1 else ""
    click.echo(f"Neruba answers at {click.style(address, bold=True)} ({settings.database}{processes})")
    if nobody:
        click.echo(f"There is no user yet: {_users_add(settings)}")
    elif settings.expose_docs:
        click.echo(f"The API is described at {address}/docs")
    click.echo("Ctrl-C ends it.")
    sys.stdout.flush()


def _users_add(settings: Settings) -> str:
    database = "" if settings.database_url == Settings().database_url else f" --database {settings.database}"
    return click.style(f"neruba users add you@example.com{database}", bold=True)


def _warn_of_unknown_variables() -> None:
    from neruba_server.settings import misspelt

    for name, meant in misspelt(os.environ).items():
        click.echo(
            f"{click.style('neruba:', fg='yellow')} {name} is no setting; did you mean {meant}?", err=True
        )


@main.command(
    epilog=_example("neruba migrate --database postgresql://me@db/billing", "neruba migrate --check")
)
@click.option(
    "--check", is_flag=True, help="Change nothing; exit with status 1 if the schema is not current."
)
@_json
@_database
def migrate(check: bool, as_json: bool, database_url: str | None, config: Path | None) -> None:
    """Bring the database's schema up to date.

    Several at once are safe, and one that is interrupted leaves the schema as it was.
    """
    settings = load(config, database_url=database_url)
    _need_existing_file(settings, check)
    current, problem = True, None
    try:
        open_neruba(settings, migrate=not check).close()
    except SchemaOutdated as error:
        current, problem = False, str(error)
    if as_json:
        _print_json({"database": settings.database, "current": current})
    elif current:
        click.echo(f"The schema of {settings.database} is current.")
    if problem:
        _fail(problem)


@main.command(epilog=_example("neruba openapi > openapi.json"))
def openapi() -> None:
    """Print the OpenAPI 3.1 document of the HTTP interface."""
    from neruba_server.openapi import document

    _print_json(document())


# --- users ------------------------------------------------------------------------------------


@main.group(epilog=_example("neruba users add owner@example.com", "neruba users list --json"))
def users() -> None:
    """Add and manage the people who may sign in."""


@users.command(
    epilog=_example("neruba users add owner@example.com", "neruba users add ops@example.com --operator")
)
@click.argument("email")
@click.option("--operator", is_flag=True, help="The deployment's own staff: owner of every project.")
@_password_stdin
@_json
@_database
def add(
    email: str,
    operator: bool,
    password_stdin: bool,
    as_json: bool,
    database_url: str | None,
    config: Path | None,
) -> None:
    """Add a user. The password is asked for, or read from standard input."""
    from neruba_server.serving import prepare_database

    settings = load(config, database_url=database_url)
    password = _password(password_stdin, confirm=True)
    prepare_database(settings)
    with open_neruba(settings, migrate=False) as neruba:
        user = neruba.users.add(email, password, operator=operator)
    _tell(user, "may sign in", as_json)


@users.command(name="list", epilog=_example("neruba users list", "neruba users list --json"))
@_json
@_database
def list_users(as_json: bool, database_url: str | None, config: Path | None) -> None:
    """List the users, newest first."""
    settings = load(config, database_url=database_url)
    _need_existing_file(settings)
    found: list[User] = []
    with open_neruba(settings, migrate=False) as neruba:
        cursor = None
        while True:
            page = neruba.users.list(200, cursor)
            found += page.items
            cursor = page.next_cursor
            if cursor is None:
                break
    if as_json:
        _print_json([_user_as_json(user) for user in found])
        return
    width = max((len(user.email) for user in found), default=0)
    for user in found:
        click.echo(
            f"{user.email:<{width}}  {_state(user):<8}  {user.id}  {user.created_at:%Y-%m-%d %H:%M} UTC"
        )
    if not found:
        click.echo(f"There is no user yet: {_users_add(settings)}")


@users.command(name="set-password", epilog=_example("neruba users set-password owner@example.com"))
@click.argument("email")
@_password_stdin
@_json
@_database
def set_password(
    email: str, password_stdin: bool, as_json: bool, database_url: str | None, config: Path | None
) -> None:
    """Give a user a new password and end their sessions."""
    settings = load(config, database_url=database_url)
    _need_existing_file(settings)
    password = _password(password_stdin, confirm=True)
    with open_neruba(settings, migrate=False) as neruba:
        user = neruba.users.set_password(email, password)
    _tell(user, "has a new password, and has to sign in again", as_json)


@users.command(epilog=_example("neruba users disable owner@example.com"))
@click.argument("email")
@_json
@_database
def disable(email: str, as_json: bool, database_url: str | None, config: Path | None) -> None:
    """Refuse a user's logins from now on and end their sessions."""
    settings = load(config, database_url=database_url)
    _need_existing_file(settings)
    with open_neruba(settings, migrate=False) as neruba:
        user = neruba.users.disable(email)
    _tell(user, "may not sign in any more", as_json)


def _tell(user: User, what: str, as_json: bool) -> None:
    if as_json:
        _print_json(_user_as_json(user))
    else:
        click.echo(f"{click.style(user.email, bold=True)} {what} ({user.id}).")


def _user_as_json(user: User) -> dict[str, Any]:
    from neruba_core import instants

    return {
        "id": user.id,
        "email": user.email,
        "operator": user.operator,
        "disabled": user.disabled_at is not None,
        "createdAt": instants.text(user.created_at),
    }


def _state(user: User) -> str:
    if user.disabled_at is not None:
        return "disabled"
    return "operator" if user.operator else "user"


# --- the known-good sequence ------------------------------------------------------------------


@main.command(epilog=_example("neruba demo", "neruba demo --json"))
@_json
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
        _fail(str(error))
    verdicts = [verdict for walked in steps for verdict in walked.verdicts]
    held = sum(verdict.held for verdict in verdicts)
    try:
        state = own.summary(walk)
    except (LookupError, TypeError):
        state = []
    if as_json:
        _print_json({"held": held == len(verdicts), "checks": len(verdicts), "state": dict(state)})
    else:
        _conclude(page, state, held, len(verdicts), time.monotonic() - began)
    if held != len(verdicts):
        _fail(f"{len(verdicts) - held} of {len(verdicts)} checks did not hold")


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


@main.command(
    epilog=_example(
        "neruba verify --url https://billing.example.com --email me@example.com",
        "neruba verify --url http://127.0.0.1:8080 --email me@example.com --json",
    )
)
@click.option("--url", required=True, metavar="URL", help="Where the deployment answers.")
@click.option("--email", required=True, metavar="EMAIL", help="A user who may create projects.")
@_password_stdin
@_json
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
    password = password or _password(password_stdin)
    try:
        report = deployed.verify(url, email, password)
    except (Unreachable, deployed.NotVerifiable) as error:
        _fail(str(error))
    if as_json:
        _print_json(report.as_json())
    else:
        page = Page()
        deployed.show(report, page)
        page.line(f"{report.checks - report.failures} of {report.checks} checks held at {report.base_url}")
    if not report.held:
        _fail(f"{report.failures} of {report.checks} checks did not hold")


# --- asking -----------------------------------------------------------------------------------


def _password(stdin: bool, *, confirm: bool = False) -> str:
    if stdin:
        line = sys.stdin.readline()
        if not line:
            _fail("standard input holds no password")
        return line.rstrip("\r\n")
    if not sys.stdin.isatty():
        _fail("there is no terminal to ask for a password on; use --password-stdin")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=confirm, err=True))


def _need_existing_file(settings: Settings, needed: bool = True) -> None:
    """A look at a SQLite database must not make an empty one where the name was misspelt."""
    file = settings.sqlite_file
    if needed and file is not None and not file.exists():
        _fail(f"there is no database {settings.database}; `neruba serve` or `neruba migrate` makes one")
