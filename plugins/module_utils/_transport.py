# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP to the service: one request, safely repeated where that is safe, with one clear error otherwise.

What is safe (DESIGN.md, Faults): GET and PUT; any request answered 429; a connection that never opened.
A POST, PATCH or DELETE whose answer was lost raises L(AnswerLost), for the caller to look what it did.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from random import random as system_random
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.community.paperspace.plugins.module_utils._connection import Connection
from ansible_collections.community.paperspace.plugins.module_utils._errors import (
    AnswerLost,
    Busy,
    InvalidAnswer,
    NotFound,
    NotOpened,
    PaperspaceError,
    RateLimited,
    Refused,
    SendAgain,
    Stopped,
    Unauthorized,
)
from ansible_collections.community.paperspace.plugins.module_utils._pace import (
    LONGEST_RETRY_AFTER,
    Pace,
    Places,
    backoff,
    retry_after,
    service_time,
)
from ansible_collections.community.paperspace.plugins.module_utils._shown import shown
from ansible_collections.community.paperspace.plugins.module_utils._version import VERSION

try:
    import requests
    import urllib3
    from requests.adapters import HTTPAdapter

    HAS_REQUESTS = True
except ImportError:
    HAS_REQUESTS = False

USER_AGENT = f"ansible-community.paperspace/{VERSION}"
LARGEST_BODY = 16 * 1024 * 1024
_UNREADABLE = object()
_SAFE_METHODS = frozenset({"GET", "PUT"})
_REFUSALS: dict[int, type[Refused]] = {401: Unauthorized, 403: Unauthorized, 404: NotFound, 409: Busy, 429: RateLimited}
# The server gave up on the request, or the client was thought gone: either way it may have been carried out.
_OUTCOME_UNKNOWN = frozenset({408, 499})
# The contract's codes of errors that are more than refusals.
_STATUS_OF_CODE = {
    "UNAUTHORIZED": 401,
    "FORBIDDEN": 403,
    "NOT_FOUND": 404,
    "TIMEOUT": 408,
    "CONFLICT": 409,
    "TOO_MANY_REQUESTS": 429,
    "CLIENT_CLOSED_REQUEST": 499,
    "INTERNAL_SERVER_ERROR": 500,
}


@dataclass(frozen=True)
class Answer:
    """One HTTP answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @cached_property
    def content(self) -> Any:
        """The body's JSON, or _UNREADABLE."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return _UNREADABLE


def open_session(connection: Connection) -> requests.Session:
    """One pooled session for the task. Proxies and CA bundles come from the environment, as usual with requests."""
    session = requests.Session()
    adapter = HTTPAdapter(pool_connections=1, pool_maxsize=connection.concurrency, max_retries=0)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


class Transport:
    """Sends requests. Clock (s), sleep (s), random (0 to 1) and session are injected."""

    def __init__(
        self,
        connection: Connection,
        *,
        session: requests.Session | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        random: Callable[[], float] = system_random,
    ) -> None:
        self._connection = connection
        self._session = open_session(connection) if session is None else session
        self._stopped = threading.Event()
        # Whoever waits to send is woken when nothing is to be sent any more.
        self._sleep: Callable[[float], object] = self._stopped.wait if sleep is time.sleep else sleep
        self._random = random
        self._clock = clock
        self._pace = Pace(clock, self._pause)
        # By thread: how often the request has been sent before, where SendAgain is to be raised.
        self._thread = threading.local()
        # As the last answer that tells it has it.
        self.service_time: datetime | None = None
        # By the clock: no request waits beyond it to be sent, or to be sent again.
        self.deadline = float("inf")
        # Polls do not go through the pool of whoever waits: the budget is kept here, where every request passes.
        self._places = Places(connection.concurrency)

    def stop(self) -> None:
        """Send nothing more, in no thread: C(send) raises Stopped, until C(go_on)."""
        self._stopped.set()

    def go_on(self) -> None:
        """Send again, for the next task."""
        self._stopped.clear()

    @contextmanager
    def without_waiting(self, attempt: int) -> Iterator[None]:
        """In this thread, raise SendAgain where C(send) would sleep. C(attempt): how often it was sent before."""
        self._thread.attempt = attempt
        try:
            yield
        finally:
            self._thread.attempt = None

    def send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int] | None = None,
        body: Mapping[str, Any] | None = None,
        retries: int | None = None,
    ) -> Any:
        """The JSON of the answer (an object, or null). C(retries) replaces the connection's own.

        Raises NotOpened, AnswerLost (InvalidAnswer among them), Refused (and its kinds), or DeadlinePassed when a
        limit on the rate of requests lets nothing be sent before the deadline; SendAgain in C(without_waiting); and
        Stopped after C(stop).
        """
        tries = self._connection.retries if retries is None else retries
        sent_before: int | None = getattr(self._thread, "attempt", None)
        attempt = sent_before or 0
        while True:
            sent = self._pace.wait_for_turn(self.deadline)
            try:
                with self._places:
                    self._check_stopped()
                    answer = self._exchange(method, path, query, body)
                error = self._error_in(method, path, answer)
                if not isinstance(error, RateLimited):
                    self._pace.answered()
                if error is None:
                    return self._content(method, path, answer)
                asked = retry_after(answer.headers)
            except (NotOpened, AnswerLost) as met:
                error, asked = met, None
            if asked is not None and isinstance(error, AnswerLost):
                error.retry_after = min(asked, LONGEST_RETRY_AFTER)
            if asked is not None and asked > LONGEST_RETRY_AFTER:
                if isinstance(error, RateLimited):
                    error.retry_after = asked
                    self._pace.slow_down(LONGEST_RETRY_AFTER, sent)
                raise error
            delay = backoff(attempt, self._random) if asked is None else asked
            if isinstance(error, RateLimited):
                # The others as well, even if this one is not sent again.
                self._pace.slow_down(delay, sent)
            if attempt >= tries or not _may_repeat(method, error) or self._clock() + delay >= self.deadline:
                raise error
            attempt += 1
            if isinstance(error, RateLimited):
                # The pace holds it back, with all others.
                continue
            if sent_before is not None:
                raise SendAgain(error, delay, attempt)
            self._pause(delay)

    def _pause(self, seconds: float) -> None:
        self._sleep(seconds)
        self._check_stopped()

    def _check_stopped(self) -> None:
        """Raises Stopped where nothing is to be sent any more."""
        if self._stopped.is_set():
            raise Stopped("The task was interrupted before this was sent.")

    def _exchange(
        self, method: str, path: str, query: Mapping[str, str | int] | None, body: Mapping[str, Any] | None
    ) -> Answer:
        """One request and its answer. Raises NotOpened or AnswerLost."""
        headers = {
            **self._session.headers,
            "Accept": "application/json",
            "User-Agent": USER_AGENT,
            "Authorization": f"Bearer {self._connection.api_key}",
        }
        if body is not None:
            headers["Content-Type"] = "application/json"
        data = None if body is None else json.dumps(body).encode()
        try:
            # Past Session.request, which would look for cookies, a .netrc entry instead of the key, and redirects.
            request = requests.Request(
                method, self._connection.api_url + path, headers=headers, params=query, data=data
            ).prepare()
            adapter = self._session.get_adapter(str(request.url))
            with adapter.send(request, timeout=self._connection.request_timeout, **self._settings) as response:
                self.service_time = service_time(response.headers) or self.service_time
                return Answer(response.status_code, response.headers, self._read(method, path, response))
        except (OSError, urllib3.exceptions.HTTPError) as error:
            # Every RequestException is an OSError; a missing CA bundle and an impossible host come as what they are.
            raise self._connection_error(method, path, error) from None

    @cached_property
    def _settings(self) -> dict[str, Any]:
        """How requests are sent, with the proxies and CA bundles that the environment names."""
        url = urlsplit(self._connection.api_url)
        # Clear text is for loopback only: a proxy of the environment must not get the key instead.
        proxies = {"no_proxy": url.hostname} if url.scheme == "http" and url.hostname else {}
        settings = self._session.merge_environment_settings(
            self._connection.api_url, proxies, stream=True, verify=self._connection.validate_certs, cert=None
        )
        return dict(settings)

    def _read(self, method: str, path: str, response: requests.Response) -> bytes:
        chunks: list[bytes] = []
        size = 0
        for chunk in response.iter_content(64 * 1024):
            size += len(chunk)
            if size > LARGEST_BODY:
                words, most = self.first_words([*chunks, chunk][0]), LARGEST_BODY // 1024 // 1024
                raise InvalidAnswer(
                    f"{method} {path}: answered {response.status_code}, larger than {most} MiB: {words}",
                    method=method,
                    path=path,
                    status=response.status_code,
                )
            chunks.append(chunk)
        return b"".join(chunks)

    def _connection_error(self, method: str, path: str, error: Exception) -> PaperspaceError:
        where = f"{method} {path} at {self._connection.api_url}"
        words = self._shown(_innermost(error), 200)
        # urllib3 1 compares the host's name itself, and says so in a way of its own.
        is_distrusted = "CERTIFICATE_VERIFY_FAILED" in str(error) or "CertificateError" in str(error)
        if isinstance(error, requests.exceptions.SSLError) and is_distrusted:
            return Refused(
                f"{where}: the server's certificate is not trusted; nothing was sent. "
                "Install the certificate authority, or set validate_certs to false.",
                method=method,
                path=path,
            )
        if _not_sendable(error):
            return Refused(
                f"{where}: nothing was sent ({words}). "
                "Check api_url, and the proxy and certificates that the environment names.",
                method=method,
                path=path,
            )
        if _never_opened(error):
            return NotOpened(
                f"{where}: no connection ({words}). Check api_url, the network and the proxy.",
                method=method,
                path=path,
            )
        if isinstance(error, requests.exceptions.Timeout):
            return AnswerLost(
                f"{where}: no answer within {self._connection.request_timeout:g} s (request_timeout).",
                method=method,
                path=path,
            )
        return AnswerLost(
            f"{where}: the connection broke before the answer was whole ({words}).",
            method=method,
            path=path,
        )

    def _error_in(self, method: str, path: str, answer: Answer) -> PaperspaceError | None:
        """What the answer complains of; None for a success whose body can be read."""
        status = answer.status
        content = answer.content
        if 300 <= status < 400:
            return Refused(
                f"{method} {path}: answered {status}, a redirect, and redirects are not followed. Check api_url.",
                method=method,
                path=path,
                status=status,
            )
        if content is _UNREADABLE:
            known: dict[str, Any] = {"method": method, "path": path, "status": status}
            words = self.first_words(answer.body)
            if status == 429:
                return RateLimited(f"{method} {path}: answered 429, too many requests: {words}", **known)
            if answer.body.lstrip().startswith(b"{"):
                return AnswerLost(f"{method} {path}: answered {status} with JSON that breaks off: {words}", **known)
            return InvalidAnswer(f"{method} {path}: answered {status} without JSON: {words}", **known)
        code, complaint = _complaint(content, is_success=200 <= status < 300)
        if 200 <= status < 300 and complaint is None:
            return None
        # An error all the same, under a 2xx too: then its code says which.
        meant = _STATUS_OF_CODE.get(code or "", status) if status < 300 else status
        kind: type[PaperspaceError] = Refused
        if meant >= 500 or meant in _OUTCOME_UNKNOWN:
            kind = AnswerLost
        elif meant in _REFUSALS:
            kind = _REFUSALS[meant]
        if kind is NotFound and not code:
            # What is not found counts as gone; that is for the service to say, and not for whatever stands before it.
            kind = InvalidAnswer
        code = self._shown(code, 60) if code else None
        said = self._shown(complaint or "", 500) or "no message"
        hint = " Check the API key." if kind is Unauthorized else ""
        return kind(
            f"{method} {path}: answered {status}{f' {code}' if code else ''}: {said}{hint}",
            method=method,
            path=path,
            status=status,
            code=code,
        )

    def _content(self, method: str, path: str, answer: Answer) -> Any:
        content = answer.content
        if self._connection.api_key.encode() in answer.body or b"\\" in answer.body:
            # Else it would stand wherever the answer goes: results, reports, caches. JSON may write it with escapes.
            try:
                content = _without(content, self._connection.api_key)
            except RecursionError:
                raise InvalidAnswer(
                    f"{method} {path}: the answer is nested too deeply.",
                    method=method,
                    path=path,
                    status=answer.status,
                ) from None
        if content is not None and not isinstance(content, dict):
            raise InvalidAnswer(
                f"{method} {path}: answered {answer.status} with a {type(content).__name__}, not an object: "
                f"{self.first_words(answer.body)}",
                method=method,
                path=path,
                status=answer.status,
            )
        return content

    def first_words(self, body: bytes) -> str:
        """What an answer begins with, fit for an error."""
        without_key = body.replace(self._connection.api_key.encode(), b"***")
        return self._shown(without_key[:2000].decode("utf-8", "replace"), 120) or "(empty)"

    def _shown(self, text: str, longest: int) -> str:
        """What somebody else wrote, fit for an error: without the key, on one line, and without control characters."""
        # The key first: cut in two it would not be found.
        return shown(text.replace(self._connection.api_key, "***"), longest)


def _without(value: Any, key: str) -> Any:
    """The JSON with stars for the key in every text and name of it."""
    if isinstance(value, str):
        return value.replace(key, "***")
    if isinstance(value, list):
        return [_without(item, key) for item in value]
    if isinstance(value, dict):
        return {name.replace(key, "***"): _without(item, key) for name, item in value.items()}
    return value


def _complaint(content: Any, *, is_success: bool) -> tuple[str | None, str | None]:
    """Code and message of an error body. A body of nothing else is an error even under a 2xx."""
    if not isinstance(content, dict) or not isinstance(content.get("message"), str):
        return None, None
    if is_success and set(content) - {"code", "message", "details", "issues"}:
        return None, None
    listed = content.get("issues")
    issues = listed if isinstance(listed, list) else []
    messages = [str(issue["message"]) for issue in issues if isinstance(issue, dict) and "message" in issue]
    return str(content.get("code") or "") or None, "; ".join([content["message"], *messages])


def _may_repeat(method: str, error: PaperspaceError) -> bool:
    if isinstance(error, (NotOpened, RateLimited)):
        return True
    if method not in _SAFE_METHODS or not isinstance(error, AnswerLost):
        return False
    # A page of HTML under a 2xx or 4xx is the wrong address or a block page, and stays so.
    return not (isinstance(error, InvalidAnswer) and error.status is not None and error.status < 500)


def _not_sendable(error: Exception) -> bool:
    """Whether requests did not even try: an address or a proxy that it cannot use, a CA bundle that is not there."""
    kinds = (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema, urllib3.exceptions.LocationValueError)
    return isinstance(error, kinds) or "Could not find a suitable TLS CA certificate bundle" in str(error)


def _never_opened(error: Exception) -> bool:
    """Whether requests and urllib3 say that no connection was made, so that nothing was sent."""
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return True
    reason = getattr(error.args[0], "reason", None) if error.args else None
    if isinstance(reason, urllib3.exceptions.ProxyError):
        # Before 2.0, urllib3 says so of every broken connection through a proxy: what broke it is what counts.
        reason = reason.original_error
        if "Tunnel connection failed" in str(reason):
            return True
    return isinstance(reason, (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError))


def _innermost(error: BaseException) -> str:
    """The last cause's own words: requests wraps them in two layers of representation."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner = getattr(error, "reason", None) or next(
            (arg for arg in error.args if isinstance(arg, BaseException)), None
        )
        error = inner if isinstance(inner, BaseException) else (error.__cause__ or error.__context__ or error)
    return str(error) or type(error).__name__
