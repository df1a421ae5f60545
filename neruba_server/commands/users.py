"""Adding and managing the people who may sign in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from neruba_core.identity.model import User
from neruba_server.commands.options import (
    as_json_option,
    ask_password,
    database,
    example,
    hint_to_add_users,
    need_existing_file,
    password_stdin_option,
    print_json,
)
from neruba_server.settings import load, open_neruba


@click.group(epilog=example("neruba users add owner@example.com", "neruba users list --json"))
def users() -> None:
    """Add and manage the people who may sign in."""


@users.command(
    epilog=example("neruba users add owner@example.com", "neruba users add ops@example.com --operator")
)
@click.argument("email")
@click.option("--operator", is_flag=True, help="The deployment's own staff: owner of every project.")
@password_stdin_option
@as_json_option
@database
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
    password = ask_password(password_stdin, confirm=True)
    prepare_database(settings)
    with open_neruba(settings, migrate=False) as neruba:
        user = neruba.users.add(email, password, operator=operator)
    _tell(user, "may sign in", as_json)


@users.command(name="list", epilog=example("neruba users list", "neruba users list --json"))
@as_json_option
@database
def list_users(as_json: bool, database_url: str | None, config: Path | None) -> None:
    """List the users, newest first."""
    settings = load(config, database_url=database_url)
    need_existing_file(settings)
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
        print_json([_user_as_json(user) for user in found])
        return
    width = max((len(user.email) for user in found), default=0)
    for user in found:
        click.echo(
            f"{user.email:<{width}}  {_state(user):<8}  {user.id}  {user.created_at:%Y-%m-%d %H:%M} UTC"
        )
    if not found:
        click.echo(f"There is no user yet: {hint_to_add_users(settings)}")


@users.command(name="set-password", epilog=example("neruba users set-password owner@example.com"))
@click.argument("email")
@password_stdin_option
@as_json_option
@database
def set_password(
    email: str, password_stdin: bool, as_json: bool, database_url: str | None, config: Path | None
) -> None:
    """Give a user a new password and end their sessions."""
    settings = load(config, database_url=database_url)
    need_existing_file(settings)
    password = ask_password(password_stdin, confirm=True)
    with open_neruba(settings, migrate=False) as neruba:
        user = neruba.users.set_password(email, password)
    _tell(user, "has a new password, and has to sign in again", as_json)


@users.command(epilog=example("neruba users disable owner@example.com"))
@click.argument("email")
@as_json_option
@database
def disable(email: str, as_json: bool, database_url: str | None, config: Path | None) -> None:
    """Refuse a user's logins from now on and end their sessions."""
    settings = load(config, database_url=database_url)
    need_existing_file(settings)
    with open_neruba(settings, migrate=False) as neruba:
        user = neruba.users.disable(email)
    _tell(user, "may not sign in any more", as_json)


def _tell(user: User, what: str, as_json: bool) -> None:
    if as_json:
        print_json(_user_as_json(user))
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
