"""Answers leave together: what is written in one turn of the event loop is sent at its end.

The answers of a unit of work are given in one turn, with the work for each of them in between. Sent one by
one, each wakes its reader for itself, and on a small machine that costs more than the answer did; sent in a
row, they find the reader awake.
"""

from __future__ import annotations

import asyncio
from typing import Any

from attrs import define, field


@define(eq=False)
class Outbox:
    """The transports that something was written to in this turn of the event loop."""

    _waiting: list[Sending] = field(factory=list)

    def add(self, sending: Sending) -> None:
        """Send what *sending* holds at the end of this turn."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._send)
        self._waiting.append(sending)

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        for sending in waiting:
            sending.flush()


class Sending:
    """*transport*, but that what is written waits for the end of the turn, or for ``close``."""

    def __init__(self, transport: asyncio.Transport, outbox: Outbox) -> None:
        self._transport = transport
        self._outbox = outbox
        self._written: list[Any] = []
        # What is asked for with every request.
        self.is_closing = transport.is_closing
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: Any) -> None:
        """Send *data* at the end of the turn."""
        if not self._written:
            self._outbox.add(self)
        self._written.append(data)

    def writelines(self, parts: Any) -> None:
        """Send the *parts* at the end of the turn."""
        self.write(b"".join(parts))

    def write_eof(self) -> None:
        """Send what was written, and then the end."""
        self.flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Send what was written and close."""
        self.flush()
        self._transport.close()

    def flush(self) -> None:
        """Send what was written, unless the connection is gone."""
        written, self._written = self._written, []
        if written and not self._transport.is_closing():
            self._transport.write(written[0] if len(written) == 1 else b"".join(written))
