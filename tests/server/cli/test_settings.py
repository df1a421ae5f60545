"""Settings: where they come from, and what becomes of a bad one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neruba_server.settings import BadSetting, Settings, load, misspelt, open_neruba

PEPPER = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch):
    for name in list(os.environ):
        if name.startswith("NERUBA_"):
            monkeypatch.delenv(name)


def test_a_developer_needs_no_settings():
    """
    The defaults are those of a developer's machine.
    """
    assert load() == Settings()
    assert load().database_url == "sqlite:///neruba.db"
    assert (load().host, load().port, load().workers) == ("127.0.0.1", 8080, 1)
    assert not load().expose_docs


def test_options_win_over_variables_and_variables_over_the_file(monkeypatch, tmp_path):
    """
    The nearer to the person who starts it, the stronger.
    """
    config = tmp_path / "neruba.toml"
    config.write_text('[neruba]\nport = 1\nworkers = 2\nhost = "::1"\n')
    monkeypatch.setenv("NERUBA_PORT", "3")
    monkeypatch.setenv("NERUBA_WORKERS", "4")

    settings = load(config, port="5", workers=None)

    assert (settings.port, settings.workers, settings.host) == (5, 4, "::1")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("NERUBA_PORT", "eighty"),
        ("NERUBA_PORT", "65536"),
        ("NERUBA_PORT", ""),
        ("NERUBA_WORKERS", "0"),
        ("NERUBA_HOST", " "),
        ("NERUBA_ENVIRONMENT", "staging"),
        ("NERUBA_EXPOSE_DOCS", "maybe"),
        ("NERUBA_LOG_FORMAT", "xml"),
        ("NERUBA_BILLING_RUNS", "sometimes"),
        ("NERUBA_TEST_CLOCK", "tomorrow"),
        ("NERUBA_TEST_CLOCK", "2026-03-01T00:00:00"),
        ("NERUBA_ACCESS_TOKEN_MINUTES", "0"),
        ("NERUBA_OPERATORS_ONLY_CREATE_PROJECTS", "2"),
        ("NERUBA_TRUSTED_PROXIES", "10.0.0.0/8,localhost"),
        ("NERUBA_DATABASE_URL", "mysql://me@host/name"),
        ("NERUBA_DATABASE_URL", "postgresql+psycopg2://me@host/name"),
        ("NERUBA_DATABASE_URL", "postgresql://me@host:port/name"),
        ("NERUBA_KEY_PEPPER", "short"),
        ("NERUBA_KEY_PEPPER_FILE", "/nowhere/at/all"),
    ],
)
def test_a_bad_value_names_its_variable(monkeypatch, variable, value):
    """
    Whoever reads the one line knows what to mend.
    """
    monkeypatch.setenv(variable, value)

    with pytest.raises(BadSetting, match=f"^{variable} "):
        load()


def test_a_bad_value_in_the_file_names_the_file_and_the_line(tmp_path):
    """
    The variable would be the wrong place to look.
    """
    config = tmp_path / "neruba.toml"
    config.write_text("[neruba]\nport = true\n")

    with pytest.raises(BadSetting, match=r"neruba\.toml: port is True"):
        load(config)


@pytest.mark.parametrize("content", ["[neruba]\nprot = 1\n", "[neruba\n"])
def test_a_file_that_makes_no_sense_is_refused(tmp_path, content):
    """
    A misspelt name is not passed over in silence.
    """
    config = tmp_path / "neruba.toml"
    config.write_text(content)

    with pytest.raises(BadSetting, match=r"neruba\.toml"):
        load(config)


def test_a_missing_file_is_refused(tmp_path):
    """
    Falling back to defaults would serve another database than was meant.
    """
    with pytest.raises(BadSetting, match="is no file"):
        load(tmp_path / "nowhere.toml")


def test_production_needs_a_pepper_of_its_own(monkeypatch):
    """
    Keys that anyone with the source could forge are worse than no server.
    """
    monkeypatch.setenv("NERUBA_ENVIRONMENT", "production")

    with pytest.raises(BadSetting, match=r"^NERUBA_KEY_PEPPER is missing"):
        load()

    monkeypatch.setenv("NERUBA_KEY_PEPPER", PEPPER)
    assert load().production


def test_production_takes_the_time_as_it_is(monkeypatch):
    """
    A clock that people set is for tests alone.
    """
    monkeypatch.setenv("NERUBA_ENVIRONMENT", "production")
    monkeypatch.setenv("NERUBA_KEY_PEPPER", PEPPER)

    with pytest.raises(BadSetting, match="test-clock"):
        load(test_clock="2026-03-01T00:00:00Z")


def test_a_test_clock_runs_what_falls_due_by_its_moves_alone():
    """
    Otherwise billing goes by itself only where it is set to.
    """
    assert not load().bills_by_itself
    assert load(billing_runs="automatic").bills_by_itself
    assert not load(billing_runs="automatic", test_clock="2026-03-01T01:00:00+01:00").bills_by_itself


def test_the_pepper_may_come_from_a_file(monkeypatch, tmp_path):
    """
    Orchestrators mount secrets as files; the newline that editors add does not count.
    """
    file = tmp_path / "pepper"
    file.write_text(f"{PEPPER}\n")
    monkeypatch.setenv("NERUBA_ENVIRONMENT", "production")
    monkeypatch.setenv("NERUBA_KEY_PEPPER_FILE", str(file))

    assert load().key_pepper == PEPPER

    monkeypatch.setenv("NERUBA_KEY_PEPPER", PEPPER)
    with pytest.raises(BadSetting, match="both set"):
        load()


@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=4, max_size=15))
def test_no_message_quotes_a_secret(secret):
    """
    Errors end up in logs, and secrets must not.
    """
    secret = f"s3cret{secret}"
    for name, value in {"key_pepper": secret[:15], "database_url": f"oracle://me:{secret}@h/n"}.items():
        with pytest.raises(BadSetting) as refused:
            load(**{name: value})
        assert secret[:15] not in str(refused.value)


def test_secrets_are_not_shown():
    """
    Neither by repr nor by what is printed about the database.
    """
    settings = Settings(
        database_url="postgresql://me:hush@db.example.com:5433/billing?x=1",
        key_pepper=PEPPER,
        stripe_api_key="sk_live_hush",
        stripe_webhook_secret="whsec_hush",
    )

    assert "hush" not in repr(settings)
    assert PEPPER not in repr(settings)
    assert settings.database == "postgresql://me@db.example.com:5433/billing"


def test_stripe_is_there_once_it_has_a_key(tmp_path):
    """
    And invoices are collected again after the days that the deployment says.
    """
    url = f"sqlite:///{tmp_path / 'billing.db'}"
    without = open_neruba(Settings(database_url=url), migrate=True)
    given = Settings(database_url=url, stripe_api_key="sk_test_1 ", dunning_days="2, 4")
    having = open_neruba(given, migrate=False)

    assert (without.payments.asks_outside, having.payments.asks_outside) == (False, True)
    assert (without._context.dunning_days, having._context.dunning_days) == ((1, 3, 5, 7), (2, 4))
    without.close()
    having.close()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dunning_days", "1,0"),
        ("dunning_days", "1;2"),
        ("dunning_days", 3),
        ("stripe_api_key", "sk test"),
        ("stripe_api_base", "api.stripe.com"),
    ],
)
def test_what_stripe_cannot_be_told_stops_the_start(name, value):
    """
    With the name of what to mend.
    """
    with pytest.raises(BadSetting, match=name.replace("_", "-")):
        load(**{name: value})


def test_a_sqlite_file_is_known():
    """
    Commands that only look must not make it.
    """
    assert Settings().sqlite_file == Path("neruba.db")
    assert Settings(database_url="sqlite:////var/lib/x.db?mode=rw").sqlite_file == Path("/var/lib/x.db")
    assert Settings(database_url="sqlite://").sqlite_file is None
    assert Settings(database_url="postgresql://h/n").sqlite_file is None


def test_a_variable_that_is_nearly_right_is_pointed_out():
    """
    NERUBA_DATABASE_URI would otherwise leave the default in force without a word.
    """
    found = misspelt(
        ["NERUBA_DATABASE_URI", "NERUBA_TEST_DATABASE_URL", "NERUBA_PORT", "NERUBA_SERVICE_HOST", "PATH"]
    )

    assert found == {"NERUBA_DATABASE_URI": "NERUBA_DATABASE_URL"}
