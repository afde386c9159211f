# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes in and out of the service: requests, responses, API errors, and answers that never come."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

API_PREFIX = "/v1"

CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_SUPPORTED",
    408: "TIMEOUT",
    409: "CONFLICT",
    412: "PRECONDITION_FAILED",
    413: "PAYLOAD_TOO_LARGE",
    429: "TOO_MANY_REQUESTS",
    499: "CLIENT_CLOSED_REQUEST",
    500: "INTERNAL_SERVER_ERROR",
}
"""The code that goes with a status, as the contract's ErrorBody lists them."""


@dataclass(frozen=True)
class Request:
    """One HTTP request. The path is as sent (percent-encoded), with or without the leading /v1."""

    method: str
    path: str
    query: Iterable[tuple[str, str]] | Mapping[str, str] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def __post_init__(self) -> None:
        query = self.query.items() if isinstance(self.query, Mapping) else self.query
        object.__setattr__(self, "query", [(name, str(value)) for name, value in query])
        object.__setattr__(self, "headers", {name.lower(): value for name, value in self.headers.items()})
        if self.path == API_PREFIX or self.path.startswith(API_PREFIX + "/"):
            object.__setattr__(self, "path", self.path[len(API_PREFIX) :])

    @property
    def query_pairs(self) -> list[tuple[str, str]]:
        return list(self.query)  # type: ignore[arg-type]  # a list of pairs since __post_init__

    def readable_body(self) -> Any:
        """The JSON of the body, or its text where it is none, or None where there is no body."""
        if not self.body:
            return None
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return self.body.decode("utf-8", "replace")


@dataclass(frozen=True)
class Response:
    status: int
    headers: dict[str, str]
    body: bytes
    delay_seconds: float = 0.0
    """How long the transport has to hold the answer back. The work is done by then."""

    def json(self) -> Any:
        return json.loads(self.body)


def json_response(status: int, content: Any, headers: Mapping[str, str] | None = None) -> Response:
    body = json.dumps(content, separators=(",", ":")).encode()
    return Response(status, {"content-type": "application/json", **(headers or {})}, body)


class ApiError(Exception):
    """A refusal by the service; becomes an ErrorBody."""

    def __init__(
        self, status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code or CODES[status]
        self.message = message
        self.headers = headers

    def response(self) -> Response:
        return json_response(self.status, {"code": self.code, "message": self.message}, self.headers)


class NoAnswer(Exception):
    """The client gets no whole HTTP answer. Transports turn this into what a real network does."""

    delay_seconds: float = 0.0


class LostAnswer(NoAnswer):
    """The connection is dropped: before the answer, or within the body of `partial` when that is given."""

    def __init__(self, partial: Response | None = None) -> None:
        super().__init__("the connection is dropped without a whole answer")
        self.partial = partial


class AnswerTimeout(NoAnswer):
    """The connection stays open and nothing comes."""


class ConnectionRefused(NoAnswer):
    """The connection never opens: refused, or in silence until the connect timeout. The request does not arrive, so it
    is not in the log."""

    def __init__(self, timeout: bool = False) -> None:
        super().__init__("the connection never opens")
        self.timeout = timeout
