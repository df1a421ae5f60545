"""Which projects there are, and which one is meant: by its id, or by an external key that is its alone."""

from __future__ import annotations

from collections.abc import Iterator

from neruba_core import Neruba
from neruba_core.errors import ProjectNotFound
from neruba_core.tenancy.model import Project
from neruba_server.commands.options import fail

PAGE = 200


def projects(neruba: Neruba) -> Iterator[Project]:
    """All projects of the deployment, a page at a time."""
    cursor = None
    while True:
        page = neruba.projects.list(PAGE, cursor)
        yield from page.items
        cursor = page.next_cursor
        if cursor is None:
            return


def known_projects(neruba: Neruba) -> tuple[dict[str, str], dict[str, str]]:
    """Project ids by id and, where only one project has it, by external key; and how to call each."""
    known: dict[str, str] = {}
    names: dict[str, str] = {}
    twice = set()
    for project in projects(neruba):
        known[project.id] = project.id
        names[project.id] = project.external_key or project.id
        if project.external_key is not None:
            if project.external_key in known:
                twice.add(project.external_key)
            known[project.external_key] = project.id
    for key in twice:
        del known[key]
    return known, names


def the_project(neruba: Neruba, named: str) -> str:
    """The id of the project that is *named* by id or external key; ends the command where there is none."""
    try:
        return neruba.projects.get(named).id
    except ProjectNotFound:
        known, _ = known_projects(neruba)
    if named not in known:
        fail(not_known(named))
    return known[named]


def not_known(named: str) -> str:
    """What is said of a name that is no project's, or of several."""
    return (
        f"there is no project {named!r}, or more than one has that external key; "
        "name it by its id (prj_…) or external key"
    )
