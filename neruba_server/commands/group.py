"""A group of commands that turns what can be expected to fail into one line and a status."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

import rich_click as click
from click.exceptions import Exit
from rich_click import RichGroup

from neruba_core.errors import NerubaError
from neruba_server.settings import BadSetting

_INTERRUPTED = 130


class Commands(RichGroup):
    """A group that turns what can be expected to fail into one line and a status."""

    def main(self, *args: Any, **options: Any) -> NoReturn:
        try:
            status = super().main(*args, **{**options, "standalone_mode": False})
        except Exit as end:
            status = end.exit_code
        except click.UsageError as error:
            hint = f" (see {error.ctx.command_path} --help)" if error.ctx else ""
            status = complain(f"{error.format_message()}{hint}", error.exit_code)
        except click.ClickException as error:
            status = complain(error.format_message(), error.exit_code)
        except (click.Abort, KeyboardInterrupt):
            status = complain("interrupted", _INTERRUPTED)
        except BrokenPipeError:
            # Whoever read our output has seen enough. Nothing may be flushed into the pipe at exit either.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = 0
        except (NerubaError, BadSetting) as error:
            status = complain(str(error))
        sys.exit(status if isinstance(status, int) else 0)


def complain(text: str, status: int = 1) -> int:
    """Say on standard error what went wrong; gives the status back."""
    line = " ".join(text.split())
    click.echo(f"{click.style('neruba:', fg='red')} {line}", err=True)
    return status
