"""The command ``neruba``.

A command that fails for a reason that can be expected says so in one line on standard error and exits with
a status other than 0; a traceback is a defect of ours. What may be piped is printed as JSON with ``--json``.
"""

from __future__ import annotations

import os
from importlib.metadata import version

import rich_click as click

from neruba_server.commands.billing import billing
from neruba_server.commands.doctor import doctor
from neruba_server.commands.group import Commands
from neruba_server.commands.known_good import demo, verify
from neruba_server.commands.options import example
from neruba_server.commands.reconcile import reconcile
from neruba_server.commands.server import migrate, openapi, serve
from neruba_server.commands.ticker import ticker
from neruba_server.commands.usage import usage
from neruba_server.commands.users import users
from neruba_server.settings import misspelt


@click.group(
    name="neruba",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=example("neruba demo", "neruba users add owner@example.com", "neruba serve"),
)
@click.version_option(version("neruba"), prog_name="neruba")
@click.rich_config({"text_markup": "ansi", "style_option": "cyan", "style_command": "bold cyan"})
def main() -> None:
    """Billing that can be explained: usage, credits and charges over HTTP.

    Settings come from options, then from NERUBA_… variables, then from the file given as --config.
    """
    # Whatever the command: a setting that is not read may mean another database than was meant.
    for name, meant in misspelt(os.environ).items():
        click.echo(
            f"{click.style('neruba:', fg='yellow')} {name} is no setting; did you mean {meant}?", err=True
        )


for command in (serve, ticker, migrate, doctor, openapi, users, usage, billing, reconcile, demo, verify):
    main.add_command(command)
