"""Responses whose bytes are all there: head and body leave in one step.

aiohttp sends every response as if its body were still coming, in a dozen awaited steps that together cost
as much as reading the request did. Nearly all of ours are a few hundred bytes of JSON for a client that keeps
its connection, and those are written here at once. All others go aiohttp's way, and so must whatever is not
plain: the bytes on the wire are the same either way, which a test compares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import rfc822_formatted_time

if TYPE_CHECKING:
    from aiohttp.web_request import BaseRequest


class Reply(web.Response):
    """A ``web.Response`` that is quick where it is plain."""

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """Send head and body, if that is all there is to it; else begin as aiohttp does."""
        body = self._body
        if self.prepared or type(body) is not bytes or not body or not self._plain_for(request):
            return await super().prepare(request)
        headers = self._headers
        headers[hdrs.CONTENT_LENGTH] = str(len(body))
        if hdrs.DATE not in headers:
            headers[hdrs.DATE] = rfc822_formatted_time()
        # What a host that mounts this application has to add.
        await request._prepare_hook(self)
        writer = request.writer
        await writer.write_headers(f"HTTP/1.1 {self._status} {self._reason}", headers)
        await writer.write_eof(body)
        self._keep_alive, self._eof_sent, self._body_length = True, True, writer.output_size
        return writer

    def _plain_for(self, request: BaseRequest) -> bool:
        """Whether neither the client nor the response asks for anything out of the ordinary."""
        headers = self._headers
        return (
            request.version == HttpVersion11
            and request.keep_alive
            and request.method != hdrs.METH_HEAD
            and self._keep_alive is None
            and self._status >= 200
            and self._status not in {204, 304}
            and not (self._chunked or self._compression or self._cookies)
            and hdrs.SERVER in headers
            and hdrs.CONTENT_TYPE in headers
            and hdrs.CONTENT_LENGTH not in headers
            and hdrs.TRANSFER_ENCODING not in headers
            and hdrs.CONNECTION not in headers
        )
