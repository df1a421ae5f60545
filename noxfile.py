"""The project's chores: `nox -l` lists them, `nox -s lint` runs one.

Sessions without a Python of their own use the environment that nox itself runs in, which is the one that
the README's test command makes: start them as ``.venv/bin/nox``.
"""

import sys
from pathlib import Path

import nox

PYTHONS = ["3.11", "3.12", "3.13"]
LOCK = "requirements/dev.txt"
BRANCH_COVERAGE_PERCENT = 95
# A worker that has done its half takes over from the other's.
TWO_WORKERS = ("-n", "2", "--dist", "worksteal")

nox.needs_version = ">=2024.10.9"
nox.options.sessions = ["lint", "types", "layers", "coverage", "docs", "examples"]
nox.options.reuse_existing_virtualenvs = True


def run(session: nox.Session, *command: str, env: dict[str, str] | None = None) -> None:
    """Run a Python module in the environment of nox itself."""
    session.run(sys.executable, "-m", *command, external=True, env=env)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Every test, on each Python that is supported and installed."""
    session.install("--no-deps", "--require-hashes", "-r", LOCK)
    session.install("--no-deps", "--no-build-isolation", "-e", ".")
    session.run("python", "-m", "pytest", *TWO_WORKERS, *session.posargs)


@nox.session(python=False)
def lint(session: nox.Session) -> None:
    """Ruff's rules and its format."""
    run(session, "ruff", "check", ".")
    run(session, "ruff", "format", "--check", ".")


@nox.session(python=False)
def types(session: nox.Session) -> None:
    """Strict types."""
    run(session, "mypy", "--strict")


@nox.session(python=False)
def layers(session: nox.Session) -> None:
    """Who may import whom."""
    session.run(str(Path(sys.executable).with_name("lint-imports")), "--no-logo", external=True)


@nox.session(python=False)
def coverage(session: nox.Session) -> None:
    """Branch coverage of neruba_core, by all tests together."""
    run(session, "coverage", "erase")
    run(session, "coverage", "run", "-m", "pytest", *TWO_WORKERS, *session.posargs)
    run(session, "coverage", "combine", "-q")
    run(session, "coverage", "report", f"--fail-under={BRANCH_COVERAGE_PERCENT}")


@nox.session(python=False)
def docs(session: nox.Session) -> None:
    """The pages, with warnings as errors, and every block in them run."""
    run(session, "sphinx", "-q", "-W", "--keep-going", "-b", "html", "docs", "docs/_build/html")
    run(session, "pytest", "docs", "-n", "2", "--dist", "loadfile")


@nox.session(python=False)
def examples(session: nox.Session) -> None:
    """The examples against their transcripts."""
    run(session, "pytest", "examples", *TWO_WORKERS)


@nox.session(python=False)
def bench(session: nox.Session) -> None:
    """Measure, each figure beside its ceiling of the same run. Leave the machine alone meanwhile."""
    options = ("-m", "bench", "-s", "-o", "faulthandler_timeout=0")
    run(session, "pytest", *options, "tests/bench", *session.posargs)


@nox.session(python=False)
def torture(session: nox.Session) -> None:
    """Kills, races and long state machines at their full sizes: hours, not minutes."""
    env = {"NERUBA_TORTURE": "full", "HYPOTHESIS_PROFILE": "torture"}
    run(session, "pytest", "-m", "torture", "-o", "faulthandler_timeout=0", *session.posargs, env=env)


@nox.session(python=False)
def mutants(session: nox.Session) -> None:
    """Break the code on purpose; a change that no test notices is a survivor to explain."""
    run(session, "mutmut", "run", *session.posargs)
    run(session, "mutmut", "results")


@nox.session(name="lowest-direct", python=PYTHONS[0])
def lowest_direct(session: nox.Session) -> None:
    """Every test on the oldest dependencies that pyproject.toml allows."""
    lowest = Path(session.create_tmp()) / "lowest.txt"
    session.install("uv")
    session.run(
        *("uv", "pip", "compile", "-q", "pyproject.toml", "--resolution", "lowest-direct"),
        *("--extra", "server", "--extra", "postgres", "--extra", "speed", "--extra", "pdf"),
        *("-o", str(lowest)),
    )
    session.run(
        *("uv", "pip", "install", "-q", "-e", ".[server,postgres,speed,pdf]", "--group", "test"),
        *("--constraint", str(lowest)),
    )
    session.run("python", "-m", "pytest", *TWO_WORKERS, *session.posargs)


@nox.session(venv_backend="virtualenv")
def lock(session: nox.Session) -> None:
    """Renew the locked development dependencies; pass ``-- --upgrade`` for newer ones."""
    session.install("uv")
    lines = Path(LOCK).read_text().splitlines(keepends=True)
    head = "".join(line for line in lines if line.startswith("#"))
    session.run(
        *("uv", "pip", "compile", "-q", "pyproject.toml", "--group", "dev", "--all-extras"),
        *("--universal", "--python-version", PYTHONS[0], "--generate-hashes", "--no-header"),
        *("-o", LOCK, *session.posargs),
    )
    Path(LOCK).write_text(head + Path(LOCK).read_text())
