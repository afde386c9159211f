# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path

import pytest
import requests
import urllib3
import yaml
from unit import fake_service
from unit.fake_service import KEY, Answer, Call, Time, fail, scripted

from ansible_collections.community.paperspace.plugins.module_utils import _transport
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
    Unauthorized,
)
from ansible_collections.community.paperspace.plugins.module_utils._transport import USER_AGENT, Transport, open_session

METHODS = ["GET", "PUT", "POST", "PATCH", "DELETE"]
SAFE_METHODS = {"GET", "PUT"}
HTML = b"<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head></html>"
FINE = Answer(200, {"fine": True})
TRUNCATED = Answer(200, b'{"fine": tr')
CUT_OFF = Answer(200, b'{"fine": true', {"Content-Length": "4000"})

NEVER_OPENED = {
    "refused": fake_service.refused,
    "unknown name": fake_service.unknown_name,
    "connect timeout": fake_service.connect_timeout,
    "no proxy": fake_service.no_proxy,
    "tunnel refused": fake_service.tunnel_refused,
}
ANSWER_LOST: dict[str, Callable[[], Exception | Answer]] = {
    "read timeout": fake_service.read_timeout,
    "dropped": fake_service.dropped,
    "reset": fake_service.reset,
    "dropped behind a proxy": fake_service.dropped_behind_proxy,
    "broken TLS": fake_service.broken_tls,
    "cut off": lambda: CUT_OFF,
    "truncated JSON": lambda: TRUNCATED,
    "500": lambda: fail(500, "INTERNAL_SERVER_ERROR"),
    "502 HTML": lambda: Answer(502, HTML),
    "503": lambda: fail(503, "UNAVAILABLE"),
    "504 empty": lambda: Answer(504, b""),
    "520 HTML": lambda: Answer(520, HTML),
    "524 HTML": lambda: Answer(524, HTML),
    "408": lambda: fail(408, "TIMEOUT"),
    "499": lambda: fail(499, "CLIENT_CLOSED_REQUEST"),
    "200 with a server error's body": lambda: fail(200, "INTERNAL_SERVER_ERROR"),
    "200 with a timeout's body": lambda: fail(200, "TIMEOUT"),
}
# Sent once, whatever the method: (answer, the kind of error).
FINAL: dict[str, tuple[Exception | Answer, type[PaperspaceError]]] = {
    "bad certificate": (fake_service.bad_certificate(), Refused),
    "redirect": (Answer(302, b"", {"Location": "https://elsewhere.test/"}), Refused),
    "permanent redirect": (Answer(308, HTML, {"Location": "/v2"}), Refused),
    "400": (fail(400, "BAD_REQUEST"), Refused),
    "401": (fail(401, "UNAUTHORIZED"), Unauthorized),
    "403": (fail(403, "FORBIDDEN"), Unauthorized),
    "404": (fail(404, "NOT_FOUND"), NotFound),
    "405": (fail(405, "METHOD_NOT_SUPPORTED"), Refused),
    "409": (fail(409, "CONFLICT"), Busy),
    "412": (fail(412, "PRECONDITION_FAILED"), Refused),
    "413": (fail(413, "PAYLOAD_TOO_LARGE"), Refused),
    "200 with an error's body": (fail(200, "BAD_REQUEST"), Refused),
    "200 with an error's body of a busy machine": (fail(200, "CONFLICT"), Busy),
    "200 with an error's body of what is gone": (fail(200, "NOT_FOUND"), NotFound),
    "200 HTML": (Answer(200, HTML), InvalidAnswer),
    "403 HTML": (Answer(403, HTML), InvalidAnswer),
    "404 HTML": (Answer(404, HTML), InvalidAnswer),
    # Only the service itself can say that something is not there.
    "404 without fields": (Answer(404, b"{}"), InvalidAnswer),
    "404 without a code": (Answer(404, {"message": "no Route matched"}), InvalidAnswer),
    "200 empty": (Answer(200, b""), InvalidAnswer),
    "204 empty": (Answer(204, b""), InvalidAnswer),
    "200 list": (Answer(200, b"[1, 2]"), InvalidAnswer),
    "200 text": (Answer(200, b'"fine"'), InvalidAnswer),
    "200 not UTF-8": (Answer(200, b"\xff\xfe\xfd"), InvalidAnswer),
    "200 nested without end": (Answer(200, b"[" * 200_000), InvalidAnswer),
    "200 number without end": (Answer(200, b"9" * 20_000), InvalidAnswer),
    "200 huge": (Answer(200, b" " * (_transport.LARGEST_BODY + 1)), InvalidAnswer),
}


def send(transport_of: object, method: str) -> object:
    return transport_of._transport.send(method, "/things", body=None if method == "GET" else {})  # type: ignore[attr-defined]


def call(method: str, answer: Answer | Exception) -> Call:
    return Call(method, "/things", answer, body=None if method == "GET" else {})


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("failure", NEVER_OPENED)
def test_what_never_left_is_sent_again_whatever_the_method(method: str, failure: str) -> None:
    time = Time()
    with scripted(call(method, NEVER_OPENED[failure]()), call(method, FINE), time=time) as (client, dummy):
        assert send(client, method) == {"fine": True}
    assert time.slept == [1.0]


@pytest.mark.parametrize("failure", NEVER_OPENED)
def test_what_never_opens_ends_after_all_retries(failure: str) -> None:
    script = [call("POST", NEVER_OPENED[failure]()) for dummy in range(3)]
    with (
        scripted(*script, retries=2) as (client, dummy),
        pytest.raises(NotOpened, match=r"POST /things at https://.*no connection"),
    ):
        send(client, "POST")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("failure", ANSWER_LOST)
def test_a_lost_answer_is_asked_for_again_only_where_that_is_safe(method: str, failure: str) -> None:
    if method in SAFE_METHODS:
        with scripted(call(method, ANSWER_LOST[failure]()), call(method, FINE)) as (client, dummy):
            assert send(client, method) == {"fine": True}
        return
    with scripted(call(method, ANSWER_LOST[failure]())) as (client, dummy), pytest.raises(AnswerLost) as caught:
        send(client, method)
    assert (caught.value.method, caught.value.path) == (method, "/things")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("failure", FINAL)
def test_what_would_be_the_same_again_is_sent_once(method: str, failure: str) -> None:
    answer, kind = FINAL[failure]
    with scripted(call(method, answer)) as (client, dummy), pytest.raises(PaperspaceError) as caught:
        send(client, method)
    assert caught.value.__class__ is kind
    assert (caught.value.method, caught.value.path) == (method, "/things")
    assert caught.value.status == (answer.status if isinstance(answer, Answer) else None)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("answer", [fail(429, "TOO_MANY_REQUESTS"), Answer(429, HTML), Answer(429, b"")])
def test_too_many_requests_is_sent_again_whatever_the_method(method: str, answer: Answer) -> None:
    time = Time()
    with scripted(call(method, answer), call(method, answer), call(method, FINE), time=time) as (client, dummy):
        assert send(client, method) == {"fine": True}
    assert time.slept == [1.0, 2.0]


def test_too_many_requests_to_the_end_is_an_error_of_its_own() -> None:
    script = [call("POST", fail(429, "TOO_MANY_REQUESTS", "slow down")) for dummy in range(9)]
    with (
        scripted(*script) as (client, dummy),
        pytest.raises(RateLimited, match="answered 429 TOO_MANY_REQUESTS: slow down") as caught,
    ):
        send(client, "POST")
    assert (caught.value.status, caught.value.code) == (429, "TOO_MANY_REQUESTS")


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(status: int) -> None:
    time = Time()
    with scripted(call("GET", fail(status, Retry_After="7")), call("GET", FINE), time=time) as (client, dummy):
        assert send(client, "GET") == {"fine": True}
    assert time.slept == [7.0]


def test_retry_after_as_a_date_counts_from_the_services_own_clock() -> None:
    time = Time()
    headers = {"Retry_After": "Wed, 21 Oct 2015 07:28:42 GMT", "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}
    with scripted(call("POST", fail(429, **headers)), call("POST", FINE), time=time) as (client, dummy):
        assert send(client, "POST") == {"fine": True}
    assert time.slept == [42.0]


@pytest.mark.parametrize("words", ["0", "soon", "-5", "", "Wed, 21 Oct 2015 07:27:00 GMT"])
def test_retry_after_that_says_nothing_leaves_the_backoff(words: str) -> None:
    time = Time()
    answer = fail(429, Retry_After=words, Date="Wed, 21 Oct 2015 07:28:00 GMT")
    with scripted(call("POST", answer), call("POST", FINE), time=time) as (client, dummy):
        assert send(client, "POST") == {"fine": True}
    assert time.slept == [1.0]


@pytest.mark.parametrize("words", ["901", "86400", "9" * 400])
def test_an_absurd_retry_after_is_not_waited_for(words: str) -> None:
    time = Time()
    script = call("GET", fail(429, Retry_After=words))
    with scripted(script, time=time) as (client, dummy), pytest.raises(RateLimited) as caught:
        send(client, "GET")
    assert time.slept == []
    assert caught.value.retry_after == float(words)


def test_backoff_grows_to_a_minute_and_has_full_jitter() -> None:
    time = Time()
    script = [call("GET", fail(500)) for dummy in range(8)]
    with scripted(*script, call("GET", FINE), time=time, random=lambda: 0.5) as (client, dummy):
        send(client, "GET")
    assert time.slept == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_no_retries_means_one_request() -> None:
    with scripted(call("GET", fail(500)), retries=0) as (client, dummy), pytest.raises(AnswerLost):
        send(client, "GET")


def test_retries_of_one_request_replace_those_of_the_connection() -> None:
    with scripted(call("GET", fail(500)), call("GET", fail(500))) as (client, dummy), pytest.raises(AnswerLost):
        client._transport.send("GET", "/things", retries=1)


def test_all_requests_slow_down_together() -> None:
    time = Time()
    script = [call("GET", fail(429, Retry_After="30")), Call("GET", "/others", FINE), call("GET", FINE)]
    with scripted(*script, time=time) as (client, dummy):
        transport = client._transport
        held = time.sleep

        def sleep_while_another_is_sent(seconds: float) -> None:
            # The second request begins while the first is held back: it has to wait as well.
            transport._pace._sleep = held
            assert transport.send("GET", "/others") == {"fine": True}

        transport._pace._sleep = sleep_while_another_is_sent
        assert transport.send("GET", "/things") == {"fine": True}
    assert time.slept == [30.0]


@pytest.mark.parametrize("status", [200, 201, 202, 299])
def test_any_2xx_is_success(status: int) -> None:
    with scripted(call("GET", Answer(status, {"fine": True}))) as (client, dummy):
        assert send(client, "GET") == {"fine": True}


def test_null_is_an_answer() -> None:
    with scripted(call("GET", Answer(200, b"null"))) as (client, dummy):
        assert send(client, "GET") is None


def test_a_2xx_with_just_code_and_message_is_an_error_but_not_when_it_is_a_resource() -> None:
    resource = {"id": "e1", "message": "an event may have one"}
    with scripted(call("GET", fail(200, "PARSE_ERROR", "bad")), call("GET", Answer(200, resource))) as (client, dummy):
        with pytest.raises(Refused, match="answered 200 PARSE_ERROR: bad"):
            send(client, "GET")
        assert send(client, "GET") == resource


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"code": "BAD_REQUEST", "message": "No.", "issues": [{"message": "name is long"}, {"message": "id is odd"}]},
         "BAD_REQUEST: No.; name is long; id is odd"),
        ({"code": "BAD_REQUEST", "message": "No.", "details": {"a": 1}}, "BAD_REQUEST: No."),
        ({"code": "BAD_REQUEST", "message": "No.", "requestId": "r1", "id": "x"}, "BAD_REQUEST: No."),
        ({"message": "No."}, "No."),
        ({"code": None, "message": "No.", "issues": None}, "No."),
        ({"code": "BAD_REQUEST", "message": "No.", "issues": 5}, "BAD_REQUEST: No."),
        ({"code": "BAD_REQUEST", "message": "No.", "issues": ["odd", {"message": 3}]}, "BAD_REQUEST: No.; 3"),
        ({"code": 7, "message": 8}, "no message"),
        ({}, "no message"),
        (None, "no message"),
        ([], "no message"),
    ],
)  # fmt: skip
def test_an_error_says_what_the_service_says(body: object, words: str) -> None:
    with (
        scripted(call("POST", Answer(400, json.dumps(body).encode()))) as (client, dummy),
        pytest.raises(Refused) as caught,
    ):
        send(client, "POST")
    assert str(caught.value).startswith("POST /things: answered 400")
    assert words in str(caught.value)


def test_html_shows_its_first_words_and_no_parsers_complaint() -> None:
    with scripted(call("GET", Answer(403, HTML))) as (client, dummy), pytest.raises(InvalidAnswer) as caught:
        send(client, "GET")
    assert "GET /things: answered 403 without JSON: <!DOCTYPE html> <html>" in str(caught.value)
    assert "Expecting value" not in str(caught.value)


def test_what_the_service_says_cannot_move_the_cursor_or_fill_the_screen() -> None:
    message = "\x1b[2Jcleared\r\nforged line\u202e" + "x" * 100_000
    script = [call("GET", fail(400, "\x1b[31mRED", message)), call("GET", Answer(403, b"<p>\x1b[2J" + b"y" * 5000))]
    with scripted(*script) as (client, dummy):
        for dummy in range(2):
            with pytest.raises(PaperspaceError) as caught:
                send(client, "GET")
            assert str(caught.value).isprintable()
            assert len(str(caught.value)) < 700


ECHOES: dict[str, Exception | Answer] = {
    "message": fail(401, "UNAUTHORIZED", f"unknown key {KEY}"),
    "code": fail(401, f"NO_{KEY}", "unknown key"),
    "issue": Answer(400, {"code": "X", "message": "m", "issues": [{"message": f"Bearer {KEY}"}]}),
    "HTML": Answer(403, f"<html>Bearer {KEY}</html>".encode()),
    "HTML after white space": Answer(403, b" " * (2000 - len(KEY) + 1) + KEY.encode()),
    "HTML at the cut": Answer(403, b"z" * (120 - len(KEY) + 1) + KEY.encode()),
    "long message": fail(400, "X", "z" * (400 - len(KEY) // 2) + KEY),
    "list": Answer(200, json.dumps([KEY]).encode()),
    "exception": requests.exceptions.ConnectionError(f"broken while sending Bearer {KEY}"),
    "long exception": requests.exceptions.ConnectionError("z" * (200 - len(KEY) + 1) + KEY),
}


@pytest.mark.parametrize("echo", ECHOES)
def test_the_key_is_in_no_error_even_if_the_service_echoes_it(echo: str) -> None:
    with scripted(call("POST", ECHOES[echo])) as (client, dummy), pytest.raises(PaperspaceError) as caught:
        send(client, "POST")
    shown = f"{caught.value!s} {caught.value!r} {caught.value.code}"
    assert not any(KEY[start : start + 8] in shown for start in range(len(KEY) - 7))


def test_the_key_is_in_no_answer_even_if_the_service_echoes_it() -> None:
    answer = {"items": [{"error": f"refused for {KEY}"}, [KEY]], "count": 2, "nextPage": None}
    with scripted(call("GET", Answer(200, answer))) as (client, dummy):
        assert send(client, "GET") == {"items": [{"error": "refused for ***"}, ["***"]], "count": 2, "nextPage": None}


def test_the_key_is_in_no_name_of_an_answer_and_not_there_with_escapes() -> None:
    escaped = "".join(f"\\u{ord(character):04x}" for character in KEY)
    body = f'{{"{KEY}": 1, "error": "{escaped}"}}'.encode()
    with scripted(call("GET", Answer(200, body))) as (client, dummy):
        assert send(client, "GET") == {"***": 1, "error": "***"}


def test_the_chain_of_an_error_is_cut_off_since_requests_words_may_hold_anything() -> None:
    with scripted(call("POST", fake_service.dropped())) as (client, dummy), pytest.raises(AnswerLost) as caught:
        send(client, "POST")
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (fake_service.refused(), "Connection refused"),
        (fake_service.unknown_name(), "Name or service not known"),
        (fake_service.read_timeout(), "no answer within 30 s (request_timeout)"),
        (fake_service.dropped(), "Remote end closed connection without response"),
        (fake_service.bad_certificate(), "set validate_certs to false"),
        (requests.exceptions.InvalidProxyURL("Please check proxy URL. It is malformed"), "Please check proxy URL"),
        (
            requests.exceptions.InvalidSchema("Missing dependencies for SOCKS support."),
            "Missing dependencies for SOCKS",
        ),
        (urllib3.exceptions.LocationParseError("'a..b', label empty or too long"), "label empty or too long"),
        (OSError("Could not find a suitable TLS CA certificate bundle, invalid path: /gone"), "invalid path: /gone"),
    ],
)
def test_a_broken_connection_is_told_in_its_own_last_words(failure: Exception, words: str) -> None:
    with scripted(call("POST", failure), retries=0) as (client, dummy), pytest.raises(PaperspaceError) as caught:
        send(client, "POST")
    assert words in str(caught.value)
    assert "HTTPSConnectionPool" not in str(caught.value)
    assert "https://api.example.test/v1" in str(caught.value)


@pytest.mark.parametrize(
    "failure",
    [
        requests.exceptions.InvalidProxyURL("Please check proxy URL."),
        requests.exceptions.InvalidSchema("Missing dependencies for SOCKS support."),
        urllib3.exceptions.LocationParseError("'a..b', label empty or too long"),
        OSError("Could not find a suitable TLS CA certificate bundle, invalid path: /gone"),
    ],
)
def test_what_requests_refuses_to_send_is_not_tried_again(failure: Exception) -> None:
    time = Time()
    with scripted(call("GET", failure), time=time) as (client, dummy), pytest.raises(Refused):
        send(client, "GET")
    assert time.slept == []


def test_options_of_the_connection_reach_requests() -> None:
    with scripted(call("GET", FINE), request_timeout=2.5, validate_certs=False) as (client, dummy):
        send(client, "GET")


def test_a_ca_bundle_of_the_environment_does_not_switch_validation_on_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/somewhere/ca.pem")
    with scripted(call("GET", FINE), validate_certs=False) as (client, dummy):
        send(client, "GET")


def test_netrc_does_not_override_the_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine api.example.test login somebody password else\n", encoding="utf-8")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert requests.utils.get_netrc_auth("https://api.example.test/v1") == ("somebody", "else")
    with scripted(call("GET", FINE)) as (client, dummy):
        send(client, "GET")


def test_user_agent_has_the_version_of_the_collection() -> None:
    galaxy = next(parent / "galaxy.yml" for parent in Path(__file__).parents if (parent / "galaxy.yml").is_file())
    version = yaml.safe_load(galaxy.read_text(encoding="utf-8"))["version"]
    assert f"ansible-community.paperspace/{version}" == USER_AGENT


def test_the_pool_is_as_large_as_the_concurrency() -> None:
    session = open_session(Connection(api_key=KEY, concurrency=5))
    for address in ("https://x.test", "http://127.0.0.1"):
        adapter = session.get_adapter(address)
        assert isinstance(adapter, requests.adapters.HTTPAdapter)
        assert adapter._pool_maxsize == 5
        assert adapter.max_retries.total == 0


class Handler(BaseHTTPRequestHandler):
    """Reads each request, and then does what the next entry of the script says."""

    script: list[str]
    seen: list[str]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.seen.append(f"{self.command} {self.path} {self.headers['Authorization']}")
        step = self.script.pop(0)
        if step == "drop":
            self.close_connection = True
            return
        body = b'{"fine": true}' if step != "cut off" else b'{"fine":'
        self.send_response(302 if step == "redirect" else 200)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", str(len(body) + (100 if step == "cut off" else 0)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    do_GET = do_POST  # noqa: N815 - the name is http.server's

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        pass


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), Handler) as running:
        Handler.script, Handler.seen = [], []
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def transport_to(port: int, **options: object) -> Transport:
    connection = Connection(api_key=KEY, api_url=f"http://127.0.0.1:{port}/v1", **options)  # type: ignore[arg-type]
    return Transport(connection, sleep=lambda seconds: None, random=lambda: 0.0)


@pytest.mark.parametrize("step", ["drop", "cut off"])
def test_a_connection_that_really_breaks_is_a_lost_answer(server: HTTPServer, step: str) -> None:
    Handler.script = [step, step, "fine"]
    transport = transport_to(server.server_port)
    # urllib3 before 2.0 does not count the bytes of an answer that is cut off: then it is the JSON that breaks off.
    with pytest.raises(AnswerLost, match=r"connection broke before the answer was whole|JSON that breaks off"):
        transport.send("POST", "/things", body={})
    assert Handler.seen == [f"POST /v1/things Bearer {KEY}"]
    assert transport.send("GET", "/things") == {"fine": True}
    assert Handler.script == []


def test_a_real_redirect_is_not_followed(server: HTTPServer) -> None:
    Handler.script = ["redirect"]
    with pytest.raises(Refused, match="redirects are not followed"):
        transport_to(server.server_port).send("GET", "/things")
    assert len(Handler.seen) == 1


def test_a_connection_that_is_really_refused_never_opened() -> None:
    with HTTPServer(("127.0.0.1", 0), Handler) as gone:
        port = gone.server_port
    with pytest.raises(NotOpened, match="Connection refused"):
        transport_to(port, retries=1).send("POST", "/things", body={})


def test_clear_text_to_loopback_does_not_go_through_a_proxy(
    server: HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{server.server_port}")
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    Handler.script = ["fine"]
    assert transport_to(server.server_port).send("GET", "/things") == {"fine": True}
    # A proxy would have been asked for the whole address.
    assert Handler.seen == [f"GET /v1/things Bearer {KEY}"]


def test_a_proxy_of_the_environment_is_used_for_https(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.example.test:3128")
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    with scripted(call("GET", FINE)) as (client, service):
        send(client, "GET")
    assert service.proxies[0]["https"] == "http://proxy.example.test:3128"


def test_no_more_requests_are_in_flight_than_the_budget_of_the_task() -> None:
    in_flight, most, lock = 0, 0, threading.Lock()
    both_are_in = threading.Barrier(2, timeout=10)

    class Counting(requests.adapters.BaseAdapter):
        def send(self, request: requests.PreparedRequest, *args: object, **kwargs: object) -> requests.Response:
            nonlocal in_flight, most
            with lock:
                in_flight += 1
                most = max(most, in_flight)
            both_are_in.wait()
            with lock:
                in_flight -= 1
            response = requests.Response()
            response.status_code, response.raw, response.request = 200, BytesIO(b"{}"), request
            return response

        def close(self) -> None:
            pass

    session = requests.Session()
    session.mount("https://", Counting())
    transport = Transport(Connection(api_key=KEY, concurrency=2), session=session)
    with ThreadPoolExecutor(max_workers=6) as pool:
        answers = list(pool.map(lambda number: transport.send("GET", f"/things/{number}"), range(6)))
    assert answers == [{}] * 6
    assert most == 2
