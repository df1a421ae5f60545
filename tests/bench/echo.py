"""The ceiling of P1: an aiohttp app that parses the request's JSON and answers it, and does nothing else.

``python echo.py PORT``, on uvloop where that is installed, as ``neruba serve`` is.
"""

from __future__ import annotations

import sys

import orjson
from aiohttp import web


async def answer(request: web.Request) -> web.Response:
    """Parse the body and send it back."""
    body = orjson.loads(await request.read())
    return web.Response(body=orjson.dumps(body), status=201, content_type="application/json")


if __name__ == "__main__":
    try:
        import uvloop

        uvloop.install()
    except ImportError:
        pass
    app = web.Application()
    app.router.add_post("/ingest/usage", answer)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
