"""What a deployment decides, read once and then fixed.

A setting comes from its ``NERUBA_…`` variable, or else from the table ``[neruba]`` of the file given as
``--config``, or else from its default. A value that cannot be used stops the start with one line that
names where it came from. Secrets are shown by nothing here: not by ``repr``, not by an error.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import typed_settings as ts
from attrs import field, frozen
from typed_settings.exceptions import ConfigFileLoadError, InvalidOptionsError
from typed_settings.loaders import DictLoader, Loader

from neruba_core import Neruba, instants
from neruba_core.errors import Invalid
from neruba_core.instants import Clock, Instant
from neruba_core.namespaces.jobs import ALL, JOBS, Job
from neruba_core.payments.collect import DUNNING_DAYS
from neruba_core.payments.stripe import StripeProvider

PREFIX = "NERUBA_"
SECTION = "neruba"
DEFAULT_DATABASE = "sqlite:///neruba.db"

_SCHEMES = {"sqlite", "sqlite+pysqlite", "postgresql", "postgres", "postgresql+psycopg"}

# An HMAC key shorter than this can be searched for by someone who has the table and one key of their own.
PEPPER_FEWEST_BYTES = 16


class BadSetting(Exception):
    """A setting that cannot be used; *name* is the variable, option or line of the file to mend."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name} {problem}")
        self.name = name
        self.problem = problem


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must not be empty")
    return value.strip()


def _database_url(value: object) -> str:
    url = _text(value)
    # Never quoted back: it may hold a password.
    if url.partition("://")[0] not in _SCHEMES or not _well_formed(url):
        raise ValueError("is no database URL; use sqlite:///file.db or postgresql://user@host/name")
    return url


def _well_formed(url: str) -> bool:
    try:
        return "://" in url and urlsplit(url).port != 0
    except ValueError:
        return False


def _whole(value: object, fewest: int, most: int) -> int:
    try:
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise ValueError
        number = int(value)
    except ValueError:
        number = fewest - 1
    if not fewest <= number <= most:
        raise ValueError(f"is {value!r}, but must be a whole number from {fewest} to {most}")
    return number


def _port(value: object) -> int:
    return _whole(value, 0, 65535)


def _workers(value: object) -> int:
    return _whole(value, 1, 256)


def _minutes(value: object) -> int:
    return _whole(value, 1, 24 * 60)


def _word(value: object, *words: str) -> str:
    if value not in words:
        raise ValueError(f"is {value!r}, but must be {' or '.join(words)}")
    return str(value)


def _environment(value: object) -> str:
    return _word(value, "development", "production")


def _log_format(value: object) -> str:
    return _word(value, "console", "json")


def _billing_runs(value: object) -> str:
    return _word(value, "manual", "automatic")


def _test_clock(value: object) -> Instant | None:
    if value in (None, ""):
        return None
    if isinstance(value, datetime):
        return value
    try:
        return instants.parse(str(value))
    except Invalid as error:
        raise ValueError(f"is no instant: {error}") from None


_SWITCH = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(("0", "false", "no", "off"), False)


def _switch(value: object) -> bool:
    found = _SWITCH.get(str(value).strip().lower())
    if found is None:
        raise ValueError(f"is {value!r}, but must be true or false")
    return found


def _secret(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text")
    if value and len(value.encode("utf-8", "surrogateescape")) < PEPPER_FEWEST_BYTES:
        raise ValueError(
            f"is shorter than {PEPPER_FEWEST_BYTES} bytes; `openssl rand -hex 32` makes a good one"
        )
    return value


def _days(value: object) -> tuple[int, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        raise ValueError(f"is {value!r}, but must be numbers of days such as 1,3,5,7")
    return tuple(
        _whole(part.strip() if isinstance(part, str) else part, 1, 90) for part in parts if part != ""
    )


def _token(value: object) -> str:
    if not isinstance(value, str) or any(character.isspace() for character in value.strip()):
        raise ValueError("must be text without spaces")
    return value.strip()


def _base_url(value: object) -> str:
    text = _text(value).rstrip("/")
    if text.partition("://")[0] not in ("http", "https") or not _well_formed(text):
        raise ValueError(f"is {text!r}, but must be a URL such as https://api.stripe.com")
    return text


def _path(value: object) -> Path | None:
    return None if value in (None, "") else Path(str(value))


def _networks(value: object) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        raise ValueError(f"is {value!r}, but must be networks such as 10.0.0.0/8, separated by commas")
    return tuple(_network(str(part).strip()) for part in parts if str(part).strip())


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise ValueError(f"holds {text!r}, which is no address or network such as 10.0.0.0/8") from None


@frozen
class Settings:
    """The settings of one server. Its defaults suit a developer's machine."""

    database_url: str = field(default=DEFAULT_DATABASE, converter=_database_url, repr=False)
    """``sqlite:///file.db`` or ``postgresql://user:password@host/name``."""
    host: str = field(default="127.0.0.1", converter=_text)
    """The address to listen on; ``0.0.0.0`` for every one."""
    port: int = field(default=8080, converter=_port)
    """The port to listen on; 0 takes a free one."""
    workers: int = field(default=1, converter=_workers)
    """How many processes share the port; more than one needs PostgreSQL."""
    environment: str = field(default="development", converter=_environment)
    """``production`` refuses to start with a default or missing secret, and issues ``live`` keys."""
    expose_docs: bool = field(default=False, converter=_switch)
    """Whether ``/openapi.json`` and ``/docs`` answer."""
    key_pepper: str = field(default="", converter=_secret, repr=False)
    """Keys the hashes of access keys. Keep it for as long as issued keys should work."""
    key_pepper_file: Path | None = field(default=None, converter=_path)
    """A file that holds the pepper, instead of the setting itself."""
    access_token_minutes: int = field(default=30, converter=_minutes)
    """How long an access token lives between refreshes."""
    operators_only_create_projects: bool = field(default=False, converter=_switch)
    """Whether ``POST /projects`` is for operators only."""
    log_format: str = field(default="console", converter=_log_format)
    """``json`` writes one object a line."""
    billing_runs: str = field(default="manual", converter=_billing_runs)
    """``automatic`` finalizes each period by itself once its grace is over; otherwise somebody runs it."""
    run_jobs: bool = field(default=True, converter=_switch)
    """Whether ``serve`` does what falls due; ``false`` where ``neruba ticker`` does it."""
    send_webhooks: bool = field(default=True, converter=_switch)
    """Whether ``serve`` and ``ticker`` send messages to webhook endpoints; ``false`` where others do."""
    stripe_api_key: str = field(default="", converter=_token, repr=False)
    """Stripe's secret or restricted key; with it, projects can pay through ``stripe``."""
    stripe_webhook_secret: str = field(default="", converter=_token, repr=False)
    """Signs what Stripe sends to ``POST /webhooks/stripe``; Stripe shows it with the endpoint."""
    stripe_api_base: str = field(default="https://api.stripe.com", converter=_base_url)
    """Where Stripe's API is; another one for tests."""
    dunning_days: tuple[int, ...] = field(default=DUNNING_DAYS, converter=_days)
    """After how many days each an invoice that could not be collected is collected again; then it is past
    due."""
    test_clock: Instant | None = field(default=None, converter=_test_clock)
    """For tests: the clock stands still at this instant until ``POST /test-clock`` moves it."""
    trusted_proxies: tuple[str, ...] = field(default=(), converter=_networks)
    """Networks whose ``X-Forwarded-For`` is believed; addresses are networks of one."""

    @property
    def production(self) -> bool:
        """Whether real money depends on this deployment."""
        return self.environment == "production"

    @property
    def bills_by_itself(self) -> bool:
        """Whether periods are billed without anybody asking; under a test clock its moves do that."""
        return self.billing_runs == "automatic" and self.test_clock is None

    @property
    def jobs(self) -> tuple[Job, ...]:
        """What this deployment does by itself when it falls due."""
        return ALL if self.bills_by_itself else JOBS

    @property
    def on_sqlite(self) -> bool:
        """Whether the database is a file of this machine, which one process writes."""
        return self.database_url.startswith("sqlite")

    @property
    def sqlite_file(self) -> Path | None:
        """The file of a SQLite database; ``None`` for one in memory or on a server."""
        name = self.database_url.partition("://")[2].partition("?")[0].removeprefix("/")
        return Path(name) if self.on_sqlite and name and name != ":memory:" else None

    @property
    def database(self) -> str:
        """The database's URL as it may be printed: without a password or options."""
        if self.on_sqlite:
            return self.database_url.partition("?")[0]
        url = urlsplit(self.database_url)
        user = f"{url.username}@" if url.username else ""
        port = f":{url.port}" if url.port else ""
        return f"{url.scheme}://{user}{url.hostname or ''}{port}{url.path}"


def load(config: Path | str | None = None, **options: object) -> Settings:
    """The settings of this process: *options* of the command line, then variables, then *config*.

    An option that is ``None`` was not given. Raises ``BadSetting``.
    """
    given = {name: value for name, value in options.items() if value is not None}
    return _with_secrets(_loaded(config, given))


def misspelt(environ: Iterable[str]) -> dict[str, str]:
    """Variables of *environ* that are no setting but look like one, with the one that may be meant."""
    known = [f"{PREFIX}{each.name.upper()}" for each in attrs.fields(Settings)]
    found = {}
    for name in environ:
        if name.startswith(PREFIX) and name not in known:
            likely = difflib.get_close_matches(name, known, n=1, cutoff=0.9)
            if likely:
                found[name] = likely[0]
    return found


def open_neruba(settings: Settings, *, migrate: bool, clock: Clock | None = None) -> Neruba:
    """The engine that *settings* describe, by *clock* or else the system's. Raises what ``Neruba.open``
    raises."""
    options: dict[str, Any] = {"key_environment": "live" if settings.production else "test"}
    if settings.key_pepper:
        options["pepper"] = settings.key_pepper.encode("utf-8", "surrogateescape")
    if clock is not None:
        options["clock"] = clock
    options["dunning_days"] = settings.dunning_days
    if settings.stripe_api_key:
        options["providers"] = [
            StripeProvider(
                settings.stripe_api_key,
                webhook_secret=settings.stripe_webhook_secret or None,
                api_base=settings.stripe_api_base,
            )
        ]
    return Neruba.open(settings.database_url, migrate=migrate, **options)


def _loaded(config: Path | str | None, given: Mapping[str, object]) -> Settings:
    def judge(settings_dict: dict[str, Any], settings_cls: type, options: Any) -> dict[str, Any]:
        # Here and not in typed-settings' own conversion, whose message would quote a secret.
        for name, value in settings_dict.items():
            _read(name, value, _option(name) if name in given else _source(name, config))
        return settings_dict

    if config is not None and not Path(config).is_file():
        raise BadSetting(str(config), "is no file")
    loaders: list[Loader] = [
        ts.FileLoader(formats={"*": ts.TomlFormat(SECTION)}, files=[] if config is None else [f"!{config}"]),
        ts.EnvLoader(prefix=PREFIX),
        DictLoader(dict(given)),
    ]
    try:
        return ts.load_settings(Settings, loaders, processors=[judge])
    except ConfigFileLoadError as error:
        raise BadSetting(str(config), f"cannot be read: {error}") from None
    except InvalidOptionsError as error:
        unknown = str(error).rpartition(": ")[2]
        raise BadSetting(str(config), f"holds what is no setting: {unknown}") from None


def _read(name: str, value: object, source: str) -> Any:
    converter: Callable[[object], Any] = attrs.fields_dict(Settings)[name].converter  # type: ignore[assignment]
    try:
        return converter(value)
    except ValueError as error:
        raise BadSetting(source, str(error)) from None


def _source(name: str, config: Path | str | None) -> str:
    """Where the value in force came from: variables win over the file."""
    variable = f"{PREFIX}{name.upper()}"
    return variable if variable in os.environ or config is None else f"{config}: {name}"


def _option(name: str) -> str:
    return "--database" if name == "database_url" else f"--{name.replace('_', '-')}"


def _with_secrets(settings: Settings) -> Settings:
    file = settings.key_pepper_file
    if file is not None:
        name = f"{PREFIX}KEY_PEPPER_FILE"
        if settings.key_pepper:
            raise BadSetting(name, f"and {PREFIX}KEY_PEPPER are both set; keep one of them")
        try:
            pepper = file.read_text().strip()
        except (OSError, UnicodeDecodeError):
            raise BadSetting(name, f"names {str(file)!r}, which cannot be read") from None
        if not pepper:
            raise BadSetting(name, f"names {str(file)!r}, which is empty")
        settings = attrs.evolve(settings, key_pepper=_read("key_pepper", pepper, name))
    if settings.production and settings.test_clock is not None:
        raise BadSetting(
            f"{PREFIX}TEST_CLOCK", "and --test-clock are for development; production takes the time as it is"
        )
    if settings.production and not settings.key_pepper:
        raise BadSetting(
            f"{PREFIX}KEY_PEPPER",
            "is missing, and production does not start without it; "
            f"set it, or {PREFIX}KEY_PEPPER_FILE, to a secret such as `openssl rand -hex 32` prints",
        )
    return settings
