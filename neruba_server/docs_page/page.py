"""Serving the documentation page: a few files, vendored, under a policy that lets in nothing else.

The files of swagger-ui (Apache-2.0, see ``swagger-ui/LICENSE``) are as published. The page asks no other
host for anything, and its scripts may come from here alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path

from aiohttp import web

HERE = Path(__file__).parent

FILES = {
    "swagger-ui.css": ("swagger-ui/swagger-ui.css", "text/css"),
    "swagger-ui-bundle.js": ("swagger-ui/swagger-ui-bundle.js", "text/javascript"),
    "favicon-32x32.png": ("swagger-ui/favicon-32x32.png", "image/png"),
    "start.js": ("start.js", "text/javascript"),
}

# swagger-ui styles elements in place and draws its icons from data: URLs; scripts get no such freedom.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


Finish = Callable[[web.Response, web.Request], web.Response]


def add_docs(app: web.Application, finish: Finish) -> list[str]:
    """Serve the page and its files, each response made complete by *finish*; gives their paths."""
    served = {"/docs": ("index.html", "text/html")}
    served.update((f"/docs/{name}", file) for name, file in FILES.items())
    for path, (file, content_type) in served.items():
        app.router.add_get(path, _serve(file, content_type, finish))
    return list(served)


def _serve(file: str, content_type: str, finish: Finish) -> Callable[[web.Request], Awaitable[web.Response]]:
    content = _content(file)

    async def serve(request: web.Request) -> web.Response:
        response = web.Response(body=content, content_type=content_type, charset=_charset(content_type))
        finish(response, request)
        response.headers["Content-Security-Policy"] = POLICY
        return response

    return serve


@cache
def _content(file: str) -> bytes:
    return (HERE / file).read_bytes()


def _charset(content_type: str) -> str | None:
    return "utf-8" if content_type.startswith("text/") else None
