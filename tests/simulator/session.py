# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulator under a real `requests` session, without sockets.

    session = requests.Session()
    session.mount("http://", SimulatorAdapter(service))

Failures are the very exceptions that requests raises when the network does the same.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from http.client import RemoteDisconnected, responses
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPResponse
from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError, ProtocolError, ReadTimeoutError
from urllib3.util.timeout import Timeout

from .messages import AnswerTimeout, ConnectionRefused, LostAnswer, NoAnswer, Request, Response
from .service import Service


class SimulatorAdapter(HTTPAdapter):
    """Hands each request to the service. Delays and timeouts pass on the service's clock."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        self._service = service

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        address = urlsplit(str(request.url))
        pool = HTTPConnectionPool(address.hostname or "", address.port)
        connect_timeout, read_timeout = _timeouts(timeout)
        try:
            answer = self._service.handle(received(request))
        except ConnectionRefused as refused:
            raise self._not_connected(refused, request, pool, connect_timeout) from None
        except NoAnswer as nothing:
            self._fail(nothing, request, pool, read_timeout)
            if not isinstance(nothing, LostAnswer) or nothing.partial is None:
                raise AssertionError(f"{nothing!r} was to raise") from nothing
            return self._respond(request, nothing.partial, len(nothing.partial.body) // 2)
        self._pass(answer.delay_seconds, request, pool, read_timeout)
        return self._respond(request, answer, len(answer.body))

    def _not_connected(
        self,
        refused: ConnectionRefused,
        request: requests.PreparedRequest,
        pool: HTTPConnectionPool,
        connect_timeout: float | None,
    ) -> requests.exceptions.ConnectionError:
        connection = HTTPConnection(pool.host, pool.port)
        if refused.timeout:
            self._service.clock.sleep(connect_timeout or 0.0)
            silence = ConnectTimeoutError(
                connection, f"Connection to {pool.host} timed out. (connect timeout={connect_timeout})"
            )
            return requests.exceptions.ConnectTimeout(MaxRetryError(pool, request.path_url, silence), request=request)
        cause = NewConnectionError(connection, "Failed to establish a new connection: [Errno 111] Connection refused")
        return requests.exceptions.ConnectionError(MaxRetryError(pool, request.path_url, cause), request=request)

    def _fail(
        self,
        nothing: NoAnswer,
        request: requests.PreparedRequest,
        pool: HTTPConnectionPool,
        read_timeout: float | None,
    ) -> None:
        """Raise what requests raises; return only when a part of an answer is to come."""
        if isinstance(nothing, AnswerTimeout):
            self._pass(float("inf"), request, pool, read_timeout)
        self._pass(nothing.delay_seconds, request, pool, read_timeout)
        if not isinstance(nothing, LostAnswer) or nothing.partial is None:
            closed = RemoteDisconnected("Remote end closed connection without response")
            raise requests.exceptions.ConnectionError(ProtocolError("Connection aborted.", closed), request=request)

    def _pass(
        self, seconds: float, request: requests.PreparedRequest, pool: HTTPConnectionPool, read_timeout: float | None
    ) -> None:
        if read_timeout is not None and seconds > read_timeout:
            self._service.clock.sleep(read_timeout)
            message = f"Read timed out. (read timeout={read_timeout})"
            raise requests.exceptions.ReadTimeout(ReadTimeoutError(pool, request.path_url, message), request=request)
        if seconds == float("inf"):
            raise AssertionError(f"{request.method} {request.path_url} has no timeout and would wait for ever")
        if seconds:
            self._service.clock.sleep(seconds)

    def _respond(self, request: requests.PreparedRequest, answer: Response, sent_bytes: int) -> requests.Response:
        raw = HTTPResponse(
            body=io.BytesIO(answer.body[:sent_bytes]),
            headers={**answer.headers, "content-length": str(len(answer.body))},
            status=answer.status,
            reason=responses.get(answer.status, ""),
            preload_content=False,
            request_method=request.method,
            enforce_content_length=True,
        )
        return self.build_response(request, raw)


def received(request: requests.PreparedRequest) -> Request:
    """The request, as the service takes it."""
    address = urlsplit(str(request.url))
    body = request.body or b""
    return Request(
        method=str(request.method),
        path=address.path,
        query=parse_qsl(address.query, keep_blank_values=True),
        headers=dict(request.headers),
        body=body.encode() if isinstance(body, str) else bytes(body),
    )


def _timeouts(timeout: Any) -> tuple[float | None, float | None]:
    """For connecting and for reading, from all that requests takes as a timeout."""
    if isinstance(timeout, Timeout):
        return _seconds(timeout.connect_timeout), _seconds(timeout.read_timeout)
    if isinstance(timeout, tuple):
        return _seconds(timeout[0]), _seconds(timeout[1])
    return _seconds(timeout), _seconds(timeout)


def _seconds(given: Any) -> float | None:
    return None if given is None else float(given)
