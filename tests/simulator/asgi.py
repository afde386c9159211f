# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service over real sockets: an ASGI app, and what it takes to drop connections as a network does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from .control import CONTROL_PREFIX, Control
from .messages import API_PREFIX, AnswerTimeout, ApiError, LostAnswer, NoAnswer, Request, Response
from .service import Service

TRANSPORT = "simulator.transport"
"""The ASGI extension under which a connection can be closed."""


class DroppableProtocol(H11Protocol):
    """Tells the app which connection a request came by, so that the app can drop it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        app = cast(ASGIApp, self.app)

        async def with_transport(scope: Scope, receive: Receive, send: Send) -> None:
            scope.setdefault("extensions", {})[TRANSPORT] = transport
            await app(scope, receive, send)

        self.app = with_transport


class ApiApp:
    """Everything below /v1. The work is done within the event loop: it is short, and only answers wait."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = self._service.settings.max_body_bytes
        body, too_large = await _read_body(receive, limit)
        request = Request(
            method=scope["method"],
            path=scope["raw_path"].decode("latin-1"),
            query=parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True),
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
            body=body,
        )
        try:
            response = self._service.handle(request)
        except NoAnswer as nothing:
            await _hold(nothing.delay_seconds, receive)
            await _drop(nothing, scope, receive, send)
            return
        except Exception:
            # The contract has a body for this too; the traceback still goes to the server's log.
            await _send(ApiError(500, "The simulator has a bug.").response(), send)
            raise
        await _hold(response.delay_seconds, receive)
        await _send(response, send, close=too_large)


async def _read_body(receive: Receive, limit: int) -> tuple[bytes, bool]:
    """The request's body, and whether it was cut off just above the limit."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > limit:
            return b"".join(chunks)[: limit + 1], True
        if not message.get("more_body", False):
            return b"".join(chunks), False


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _hold(seconds: float, receive: Receive) -> None:
    """Let the client wait, but no longer than it does."""
    if seconds:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(_disconnected(receive), seconds)


async def _send(response: Response, send: Send, close: bool = False) -> None:
    headers = {**response.headers, "content-length": str(len(response.body))}
    if close:
        headers["connection"] = "close"
    await send({"type": "http.response.start", "status": response.status, "headers": _encoded(headers)})
    await send({"type": "http.response.body", "body": response.body})


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]


async def _drop(nothing: NoAnswer, scope: Scope, receive: Receive, send: Send) -> None:
    if isinstance(nothing, LostAnswer) and nothing.partial is not None:
        partial = nothing.partial
        headers = _encoded({**partial.headers, "content-length": str(len(partial.body))})
        await send({"type": "http.response.start", "status": partial.status, "headers": headers})
        half = partial.body[: len(partial.body) // 2]
        await send({"type": "http.response.body", "body": half, "more_body": True})
    if not isinstance(nothing, AnswerTimeout):
        scope["extensions"][TRANSPORT].close()
    # The server takes an early return for a bug of the app and answers 500: stay until the connection is gone.
    await _disconnected(receive)


def build_app(service: Service, reset: Callable[[], Any] | None = None) -> ASGIApp:
    """The API below /v1 and the control endpoints below /control. `reset` stands in for the service's own."""
    api = ApiApp(service)
    control = Starlette(routes=[Mount(CONTROL_PREFIX, routes=Control(service, reset or service.reset).routes())])

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        # Not one of Starlette's routes: those match the decoded path, and an id with a line break matches none.
        is_api = scope["type"] == "http" and scope["raw_path"].startswith(API_PREFIX.encode() + b"/")
        await (api if is_api else control)(scope, receive, send)

    return app
