"""What commands have in common: options, examples, how they print and ask, and how they fail."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import rich_click as click

from neruba_core.errors import StorageError, StorageUnavailable
from neruba_server.settings import Settings, load


def fail(text: str) -> NoReturn:
    """End the command with one line on standard error and status 1."""
    raise click.ClickException(text)


def example(*lines: str) -> str:
    """The end of a help text that shows commands as they are typed."""
    # Paragraphs are what becomes lines of their own.
    return "\n\n".join([f"Example{'s' if len(lines) > 1 else ''}:", *(f"$ {line}" for line in lines)])


def database(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say which database it works on, and have a failure name it."""

    @functools.wraps(command)
    def naming(*args: Any, **options: Any) -> Any:
        try:
            return command(*args, **options)
        except StorageError as error:
            fail(_naming(load(options["config"], database_url=options["database_url"]), error))

    with_config = click.option(
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="TOML file with settings in a table [neruba].",
    )(naming)
    return click.option(
        "--database",
        "database_url",
        metavar="URL",
        help="sqlite:///file.db or postgresql://user@host/name.  [default: sqlite:///neruba.db]",
    )(with_config)


def _naming(settings: Settings, error: StorageError) -> str:
    """What failed, which database it was, and what can be done."""
    file = settings.sqlite_file
    if type(error) is not StorageUnavailable:
        return f"{settings.database}: {error}"
    if file is not None and not file.parent.is_dir():
        return (
            f"{settings.database}: {error.reason}: there is no directory {file.parent}; "
            "make it, or choose another with --database"
        )
    if file is None:
        return f"{settings.database}: {error}; see that it can be reached, or choose another with --database"
    return f"{settings.database}: {error}"


as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
password_stdin_option = click.option(
    "--password-stdin", is_flag=True, help="Read the password from the first line of standard input."
)


def print_json(value: object) -> None:
    """Print *value* as indented JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def ask_password(stdin: bool, *, confirm: bool = False) -> str:
    """A password from standard input or the terminal."""
    if stdin:
        line = sys.stdin.readline()
        if not line:
            fail("standard input holds no password")
        return line.rstrip("\r\n")
    if not sys.stdin.isatty():
        fail("there is no terminal to ask for a password on; use --password-stdin")
    return str(click.prompt("Password", hide_input=True, confirmation_prompt=confirm, err=True))


def need_existing_file(settings: Settings, needed: bool = True) -> None:
    """A look at a SQLite database must not make an empty one where the name was misspelt."""
    file = settings.sqlite_file
    if needed and file is not None and not file.exists():
        fail(f"there is no database {settings.database}; `neruba serve` or `neruba migrate` makes one")


def hint_to_add_users(settings: Settings) -> str:
    """How the first user is added to this database."""
    option = "" if settings.database_url == Settings().database_url else f" --database {settings.database}"
    return click.style(f"neruba users add you@example.com{option}", bold=True)
