# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A way to the service for each of several controllers: it tells whose request is whose, and lets them begin together.

The service's own log does not tell controllers apart, and how long each of them takes to start is chance.
"""

from __future__ import annotations

import contextlib
import http.client
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

PATIENCE = 120.0


class Meeting:
    """A place that nobody leaves before all have come."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._there: set[int] = set()
        self._condition = threading.Condition()

    def attend(self, number: int) -> bool:
        """Wait for the others. Whether they came."""
        with self._condition:
            self._there.add(number)
            self._condition.notify_all()
            return self._condition.wait_for(lambda: len(self._there) == self._size, PATIENCE)


@dataclass(frozen=True)
class Call:
    """A request of one controller. Times are seconds, of one clock for all controllers."""

    method: str
    path: str
    came: float
    handed_on: float
    answered: float

    @property
    def is_write(self) -> bool:
        return self.method != "GET"


class Gateway(ThreadingHTTPServer):
    """Hands a controller's requests on to the service, and the first as well as the first change when all have theirs.

    C(meetings): for the first requests, and for the first changes.
    """

    daemon_threads = True

    def __init__(self, api_url: str, number: int, meetings: tuple[Meeting, Meeting]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.service = urlsplit(api_url)
        self.number = number
        self.meetings = meetings
        self.calls: list[Call] = []
        """In the order of their answers."""

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}{self.service.path}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that the client has closed is nothing to tell of."""


class _Handler(BaseHTTPRequestHandler):
    """One connection of a controller, with one of its own to the service."""

    server: Gateway
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        service = self.server.service
        self._upstream = http.client.HTTPConnection(str(service.hostname), service.port, timeout=PATIENCE)

    def finish(self) -> None:
        self._upstream.close()
        super().finish()

    def _hand_on(self) -> None:
        server, came = self.server, time.monotonic()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        first, first_write = server.meetings
        is_met = first.attend(server.number) and (self.command == "GET" or first_write.attend(server.number))
        if not is_met:
            # Whoever asked has given up by now.
            self.close_connection = True
            return
        handed_on = time.monotonic()
        self._upstream.request(self.command, self.path, body or None, dict(self.headers.items()))
        answer = self._upstream.getresponse()
        content = answer.read()
        path = urlsplit(self.path).path.removeprefix(server.service.path)
        server.calls.append(Call(self.command, path, came, handed_on, time.monotonic()))
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _hand_on  # noqa: N815  # the names that http.server asks for

    def log_message(self, *arguments: Any) -> None:
        """Nothing: the calls are kept."""


@contextlib.contextmanager
def gateways(api_url: str, count: int) -> Iterator[Sequence[Gateway]]:
    """One for each controller."""
    meetings = Meeting(count), Meeting(count)
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(Gateway(api_url, number, meetings)) for number in range(count)]
        for gateway in opened:
            threading.Thread(target=gateway.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
            stack.callback(gateway.shutdown)
        yield opened
