# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A service that follows a script, put in at the place where requests would open a socket.

Everything above that place is the real thing: requests builds and sends the request, urllib3 reads the answer.
Each call has to be the next of the script, in method, path, query, body and headers, and the script has to be used up.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import RemoteDisconnected
from io import BytesIO
from socket import gaierror
from ssl import SSLCertVerificationError
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests
import urllib3
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3.exceptions import (
    ConnectTimeoutError,
    MaxRetryError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from ansible_collections.community.paperspace.plugins.module_utils._client import Client
from ansible_collections.community.paperspace.plugins.module_utils._connection import Connection
from ansible_collections.community.paperspace.plugins.module_utils._transport import USER_AGENT

KEY = "k3y-t0-n0b0dy-a1b2c3"
API_URL = "https://api.example.test/v1"


@dataclass(frozen=True)
class Answer:
    """What comes back: C(body) as JSON, unless it is bytes already."""

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)

    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


def fail(status: int, code: str = "CODE", message: str = "some words", **headers: str) -> Answer:
    """The service's own error body; C(Retry_After="5") becomes a header."""
    return Answer(
        status, {"code": code, "message": message}, {name.replace("_", "-"): value for name, value in headers.items()}
    )


@dataclass(frozen=True)
class Call:
    """One request that is expected, and its answer or the exception instead of one."""

    method: str
    path: str
    answer: Answer | Exception
    query: dict[str, str] = field(default_factory=dict)
    body: Any = None


class ScriptedService(BaseAdapter):
    """The adapter. C(seen) holds every request that was sent, as (method, path)."""

    def __init__(self, script: list[Call], *, timeout: float = 30.0, verify: bool = True) -> None:
        super().__init__()
        self.script = list(script)
        self.seen: list[tuple[str, str]] = []
        self.proxies: list[dict[str, str]] = []
        self._timeout = timeout
        self._verify = verify

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        assert request.method
        assert request.url
        parts = urlsplit(request.url)
        assert f"{parts.scheme}://{parts.netloc}/v1" == API_URL
        path = parts.path.removeprefix("/v1")
        self.seen.append((request.method, path))
        self.proxies.append(dict(proxies or {}))
        assert self.script, f"a request too many: {request.method} {path}"
        call = self.script.pop(0)
        assert (request.method, path) == (call.method, call.path)
        assert dict(parse_qsl(parts.query, keep_blank_values=True)) == call.query
        assert (stream, timeout, verify) == (True, self._timeout, self._verify)
        assert_headers(request, has_body=call.body is not None)
        assert (None if request.body is None else json.loads(request.body)) == call.body
        if isinstance(call.answer, Exception):
            raise call.answer
        return as_response(request, call.answer)

    def close(self) -> None:
        pass


def assert_headers(request: requests.PreparedRequest, *, has_body: bool) -> None:
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.headers["User-Agent"] == USER_AGENT
    assert request.headers["Accept"] == "application/json"
    # Pages of a large fleet are long, and worth packing.
    assert "gzip" in request.headers["Accept-Encoding"]
    assert request.headers.get("Content-Type") == ("application/json" if has_body else None)


def as_response(request: requests.PreparedRequest, answer: Answer) -> requests.Response:
    raw = urllib3.HTTPResponse(
        body=BytesIO(answer.content()),
        headers={"Content-Type": "application/json", **answer.headers},
        status=answer.status,
        preload_content=False,
        request_method=request.method,
    )
    return HTTPAdapter().build_response(request, raw)


class Time:
    """A clock that only moves when somebody sleeps; C(slept) holds every sleep."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@contextmanager
def scripted(
    *script: Call, time: Time | None = None, random: Callable[[], float] = lambda: 1.0, **options: Any
) -> Iterator[tuple[Client, ScriptedService]]:
    """A client whose requests have to be exactly these."""
    time = time or Time()
    connection = Connection(api_key=KEY, api_url=API_URL, **options)
    service = ScriptedService(list(script), timeout=connection.request_timeout, verify=connection.validate_certs)
    session = requests.Session()
    session.mount("https://", service)
    yield Client(connection, session=session, clock=time.clock, sleep=time.sleep, random=random), service
    assert service.script == [], "requests that were expected and not sent"


# What requests and urllib3 really raise; test_transport.py has real sockets for some of them.
_POOL = urllib3.HTTPSConnectionPool("api.example.test")


def _after_all_tries(reason: Exception) -> MaxRetryError:
    return MaxRetryError(_POOL, "/v1/snapshots", reason)


def _no_connection(cause: OSError) -> NewConnectionError:
    error = NewConnectionError(_POOL, f"Failed to establish a new connection: {cause}")  # type: ignore[arg-type]
    error.__cause__ = cause
    return error


def refused() -> Exception:
    reason = _no_connection(ConnectionRefusedError(111, "Connection refused"))
    return requests.exceptions.ConnectionError(_after_all_tries(reason))


def unknown_name() -> Exception:
    reason = _no_connection(gaierror(-2, "Name or service not known"))
    return requests.exceptions.ConnectionError(_after_all_tries(reason))


def connect_timeout() -> Exception:
    return requests.exceptions.ConnectTimeout(_after_all_tries(ConnectTimeoutError(_POOL, "timed out")))


def no_proxy() -> Exception:
    reason = _no_connection(ConnectionRefusedError(111, "Connection refused"))
    return requests.exceptions.ProxyError(_after_all_tries(ProxyError("Cannot connect to proxy.", reason)))


def tunnel_refused() -> Exception:
    reason = OSError("Tunnel connection failed: 403 Forbidden")
    return requests.exceptions.ProxyError(_after_all_tries(ProxyError("Unable to connect to proxy", reason)))


def dropped_behind_proxy() -> Exception:
    """With a proxy, urllib3 before 2.0 says "Cannot connect" of a connection that broke after the request was sent."""
    reason = RemoteDisconnected("Remote end closed connection without response")
    return requests.exceptions.ProxyError(_after_all_tries(ProxyError("Cannot connect to proxy.", reason)))


def read_timeout() -> Exception:
    return requests.exceptions.ReadTimeout(
        ReadTimeoutError(_POOL, "/v1/snapshots", "Read timed out. (read timeout=30.0)")
    )


def dropped() -> Exception:
    reason = RemoteDisconnected("Remote end closed connection without response")
    return requests.exceptions.ConnectionError(ProtocolError("Connection aborted.", reason))


def reset() -> Exception:
    reason = ConnectionResetError(104, "Connection reset by peer")
    return requests.exceptions.ConnectionError(ProtocolError("Connection aborted.", reason))


def bad_certificate() -> Exception:
    reason = SSLCertVerificationError(
        1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate"
    )
    return requests.exceptions.SSLError(_after_all_tries(SSLError(reason)))


def broken_tls() -> Exception:
    reason = OSError("[SSL: DECRYPTION_FAILED_OR_BAD_RECORD_MAC] decryption failed or bad record mac")
    return requests.exceptions.SSLError(_after_all_tries(SSLError(reason)))
