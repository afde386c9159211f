# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from unit.fake_service import Answer, Call, fail, scripted

from ansible_collections.community.paperspace.plugins.module_utils._client import LARGEST_PAGE, Client, checked_id
from ansible_collections.community.paperspace.plugins.module_utils._errors import (
    AnswerLost,
    InputError,
    InvalidAnswer,
    NotFound,
    Unauthorized,
)

SNAPSHOT = {"id": "s1", "name": "before", "machineId": "m1", "isAutoSnapshot": False}
EVENT = {
    "id": "e1",
    "name": "snapshot-create",
    "state": "new",
    "machineId": "m1",
    "error": None,
    "dtCreated": "2026-01-31T23:59:58Z",
    "dtStarted": None,
    "dtFinished": None,
}
MACHINE = {"id": "m1", "name": "web", "state": "ready", "publicIp": None}
BEGUN = Answer(200, {"data": SNAPSHOT, "event": EVENT})
PAGE = {"limit": "120", "orderBy": "dtCreated", "order": "desc"}

# Each operation: how it is called, the one request that it is, and a good answer.
OPERATIONS: dict[str, tuple[Callable[[Client], Any], Call]] = {
    "check_key": (
        lambda client: client.check_key(),
        Call("GET", "/auth/session", Answer(200, {"team": {"id": "t1"}, "user": {"id": "u1"}})),
    ),
    "machine": (lambda client: client.machine("m1"), Call("GET", "/machines/m1", Answer(200, MACHINE))),
    "update_machine": (
        lambda client: client.update_machine("m1", {"autoSnapshotEnabled": True}),
        Call("PUT", "/machines/m1", Answer(200, {"data": MACHINE}), body={"autoSnapshotEnabled": True}),
    ),
    "start": (
        lambda client: client.change_machine("m1", "start"),
        Call("PATCH", "/machines/m1/start", Answer(200, {"data": MACHINE, "event": EVENT}), body={}),
    ),
    "stop": (
        lambda client: client.change_machine("m1", "stop"),
        Call("PATCH", "/machines/m1/stop", Answer(200, {"data": MACHINE, "event": EVENT}), body={}),
    ),
    "restart": (
        lambda client: client.change_machine("m1", "restart"),
        Call("PATCH", "/machines/m1/restart", Answer(200, {"data": MACHINE, "event": EVENT}), body={}),
    ),
    "event": (lambda client: client.event("e1"), Call("GET", "/machine-events/e1", Answer(200, EVENT))),
    "snapshot": (lambda client: client.snapshot("s1"), Call("GET", "/snapshots/s1", Answer(200, SNAPSHOT))),
    "create_snapshot": (
        lambda client: client.create_snapshot("m1", "before"),
        Call("POST", "/snapshots", BEGUN, body={"machineId": "m1", "name": "before"}),
    ),
    "rename_snapshot": (
        lambda client: client.rename_snapshot("s1", "after"),
        Call("PUT", "/snapshots/s1", Answer(200, SNAPSHOT), body={"name": "after"}),
    ),
    "delete_snapshot": (lambda client: client.delete_snapshot("s1"), Call("DELETE", "/snapshots/s1", BEGUN)),
    "restore_snapshot": (
        lambda client: client.restore_snapshot("s1", safety_snapshot=False),
        Call("POST", "/snapshots/s1/restore", BEGUN, body={}),
    ),
    "restore_snapshot with a safety snapshot": (
        lambda client: client.restore_snapshot("s1", safety_snapshot=True),
        Call("POST", "/snapshots/s1/restore", BEGUN, body={"createSnapshotBeforeRestore": True}),
    ),
    "machine_page": (
        lambda client: client.machine_page(None),
        Call("GET", "/machines", Answer(200, {"items": [MACHINE], "hasMore": False}), query=PAGE),
    ),
    "event_page": (
        lambda client: client.event_page(),
        Call("GET", "/machine-events", Answer(200, {"items": [EVENT], "hasMore": False}), query=PAGE),
    ),
    "machine_pages": (
        lambda client: list(client.machine_pages(name="web")),
        Call("GET", "/machines", Answer(200, {"items": [MACHINE], "hasMore": False}), query={**PAGE, "name": "web"}),
    ),
    "event_pages": (
        lambda client: list(client.event_pages("m1")),
        Call(
            "GET",
            "/machine-events",
            Answer(200, {"items": [EVENT], "hasMore": False}),
            query={**PAGE, "machineId": "m1"},
        ),
    ),
    "snapshot_pages": (
        lambda client: list(client.snapshot_pages()),
        Call("GET", "/snapshots", Answer(200, {"items": [SNAPSHOT], "hasMore": False}), query=PAGE),
    ),
}
ANSWERED_WITH_EVENT = ["start", "stop", "restart", "create_snapshot", "delete_snapshot", "restore_snapshot"]


def instead(call: Call, answer: Answer | Exception) -> Call:
    return Call(call.method, call.path, answer, query=call.query, body=call.body)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_each_operation_is_one_request(operation: str) -> None:
    act, call = OPERATIONS[operation]
    with scripted(call) as (client, dummy):
        act(client)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    "body", [b"{}", b'{"data": null, "event": null}', b'{"items": 5, "hasMore": false}', b'{"id": 5}']
)
def test_an_answer_without_its_fields_is_one_clear_error(operation: str, body: bytes) -> None:
    act, call = OPERATIONS[operation]
    with scripted(instead(call, Answer(200, body))) as (client, dummy), pytest.raises(InvalidAnswer) as caught:
        act(client)
    assert f"{call.method} {call.path}: " in str(caught.value)
    words = {"{}", "null", json.dumps(json.loads(body))}
    says_it = ("field team. Check api_url.", *(f"Check api_url. It begins: {text}" for text in words))
    assert str(caught.value).endswith(says_it)
    assert (caught.value.method, caught.value.path) == (call.method, call.path)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if name != "check_key"])
def test_null_where_something_was_expected(operation: str) -> None:
    act, call = OPERATIONS[operation]
    with scripted(instead(call, Answer(200, b"null"))) as (client, dummy), pytest.raises(InvalidAnswer):
        act(client)


@pytest.mark.parametrize("operation", ANSWERED_WITH_EVENT)
def test_an_answer_without_its_event_may_have_been_carried_out(operation: str) -> None:
    act, call = OPERATIONS[operation]
    # AnswerLost is what makes the caller look before it does anything again.
    with scripted(instead(call, Answer(200, {"data": SNAPSHOT}))) as (client, dummy), pytest.raises(AnswerLost):
        act(client)


def test_what_operations_return() -> None:
    calls = [OPERATIONS[name][1] for name in ("create_snapshot", "delete_snapshot", "update_machine", "machine")]
    with scripted(*calls) as (client, dummy):
        snapshot, event = client.create_snapshot("m1", "before")
        assert (snapshot.id, event.id) == ("s1", "e1")
        assert client.delete_snapshot("s1").id == "e1"
        machine, no_event = client.update_machine("m1", {"autoSnapshotEnabled": True})
        assert (machine.id, no_event) == ("m1", None)
        assert client.machine("m1").fields["public_ip"] is None


def test_an_update_that_needs_work_has_an_event() -> None:
    call = instead(OPERATIONS["update_machine"][1], Answer(200, {"data": MACHINE, "event": EVENT}))
    with scripted(call) as (client, dummy):
        _machine, event = client.update_machine("m1", {"autoSnapshotEnabled": True})
    assert event is not None
    assert event.id == "e1"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(200, b"null"), "does not know this API key"),
        (fail(401, "UNAUTHORIZED", "No."), "Check the API key"),
    ],
)
def test_a_key_that_the_service_does_not_know(answer: Answer, words: str) -> None:
    with scripted(Call("GET", "/auth/session", answer)) as (client, dummy), pytest.raises(Unauthorized, match=words):
        client.check_key()


def page_of(ids: list[str], after: str | None = None, **end: Any) -> Call:
    machines = [{**MACHINE, "id": machine_id} for machine_id in ids]
    query = PAGE if after is None else {**PAGE, "after": after}
    return Call("GET", "/machines", Answer(200, {"items": machines, **end}), query=query)


def all_ids(client: Client) -> list[str]:
    return [machine.id for page in client.machine_pages() for machine in page]


def test_pages_are_followed_to_the_end() -> None:
    script = [
        page_of(["m1", "m2"], hasMore=True, nextPage="c/1 =&?"),
        page_of([], "c/1 =&?", hasMore=True, nextPage="c2"),
        page_of(["m3"], "c2", hasMore=False, nextPage="c3"),
    ]
    with scripted(*script) as (client, dummy):
        assert all_ids(client) == ["m1", "m2", "m3"]


@pytest.mark.parametrize("end", [{"nextPage": None}, {}, {"nextPage": ""}])
def test_a_page_that_promises_more_without_saying_where_is_the_last(end: dict[str, Any]) -> None:
    with scripted(page_of(["m1"], hasMore=True, **end)) as (client, dummy):
        assert all_ids(client) == ["m1"]


def test_a_cursor_that_repeats_ends_the_list() -> None:
    script = [
        page_of(["m1"], hasMore=True, nextPage="c1"),
        page_of(["m2"], "c1", hasMore=True, nextPage="c2"),
        page_of(["m3"], "c2", hasMore=True, nextPage="c1"),
    ]
    with scripted(*script) as (client, dummy):
        assert all_ids(client) == ["m1", "m2", "m3"]
    script = [
        page_of(["m1"], hasMore=True, nextPage="c1"),
        page_of(["m2"], "c1", hasMore=True, nextPage="c1"),
    ]
    with scripted(*script) as (client, dummy):
        assert all_ids(client) == ["m1", "m2"]


def test_a_page_is_asked_for_only_when_it_is_wanted() -> None:
    with scripted(page_of(["m1"], hasMore=True, nextPage="c1")) as (client, dummy):
        assert [machine.id for machine in next(client.machine_pages())] == ["m1"]


def test_a_page_that_is_lost_is_asked_for_again_and_not_skipped() -> None:
    script = [
        page_of(["m1"], hasMore=True, nextPage="c1"),
        instead(page_of([], "c1"), fail(502)),
        page_of(["m2"], "c1", hasMore=False),
    ]
    with scripted(*script) as (client, dummy):
        assert all_ids(client) == ["m1", "m2"]


def test_a_page_that_is_missing_is_an_error_and_no_shorter_list() -> None:
    script = [page_of(["m1"], hasMore=True, nextPage="c1"), instead(page_of([], "c1"), fail(404, "NOT_FOUND"))]
    with scripted(*script) as (client, dummy), pytest.raises(NotFound):
        all_ids(client)


def test_one_page_and_the_cursor_of_the_next() -> None:
    with scripted(page_of(["m1"], "c1", hasMore=True, nextPage="c2")) as (client, dummy):
        page = client.machine_page("c1")
    assert ([machine.id for machine in page.items], page.cursor, page.has_more) == (["m1"], "c2", True)


@pytest.mark.parametrize(
    ("count", "end", "is_cut_off"),
    [
        (LARGEST_PAGE, {"hasMore": True, "nextPage": None}, True),
        (LARGEST_PAGE, {"hasMore": True, "nextPage": "c1"}, True),
        (LARGEST_PAGE, {"hasMore": False, "nextPage": "c1"}, False),
        # A page that is not full is the last one, whatever it says.
        (LARGEST_PAGE - 1, {"hasMore": True, "nextPage": None}, False),
        (LARGEST_PAGE - 1, {"hasMore": True, "nextPage": "c1"}, False),
    ],
)
def test_list_that_breaks_off_after_a_full_page_is_told_from_one_that_ends(
    count: int, end: dict[str, Any], is_cut_off: bool
) -> None:
    last = page_of([f"m{number}" for number in range(count)], "c1", **end)
    with scripted(page_of(["m"], hasMore=True, nextPage="c1"), last) as (client, dummy):
        pages = client.machine_pages()
        assert len([machine for page in pages for machine in page]) == 1 + count
    assert pages.is_cut_off is is_cut_off


@pytest.mark.parametrize(
    ("act", "path", "query"),
    [
        (lambda client: client.machine("m1", retries=0), "/machines/m1", {}),
        (lambda client: client.event("e1", retries=0), "/machine-events/e1", {}),
        (lambda client: client.event_page(retries=0), "/machine-events", PAGE),
        (lambda client: client.machine_page(None, retries=0), "/machines", PAGE),
    ],
)
def test_a_poll_need_not_be_repeated_by_the_client(
    act: Callable[[Client], Any], path: str, query: dict[str, str]
) -> None:
    with scripted(Call("GET", path, fail(503), query=query)) as (client, dummy), pytest.raises(AnswerLost):
        act(client)


ODD_IDS = [
    "",
    ".",
    "..",
    "../machines",
    "m1/stop",
    "m1?x=1",
    "m1#x",
    "m1%2f..",
    "m1\\..",
    "m1\n",
    " m1",
    "m 1",
    "m1;x",
    "m\u0131",
    "мк",
    "m" * 129,
    "m\0",
    "{{ x }}",
]


@pytest.mark.parametrize("odd", ODD_IDS)
@pytest.mark.parametrize(
    "act",
    [
        lambda client, odd: client.machine(odd),
        lambda client, odd: client.update_machine(odd, {}),
        lambda client, odd: client.change_machine(odd, "stop"),
        lambda client, odd: client.event(odd),
        lambda client, odd: client.snapshot(odd),
        lambda client, odd: client.rename_snapshot(odd, "name"),
        lambda client, odd: client.delete_snapshot(odd),
        lambda client, odd: client.restore_snapshot(odd, safety_snapshot=False),
    ],
)
def test_an_id_that_does_not_belong_in_a_path_is_refused_before_anything_is_sent(
    act: Callable[[Client, str], Any], odd: str
) -> None:
    with scripted() as (client, dummy), pytest.raises(InputError, match="is not an id"):
        act(client, odd)


@pytest.mark.parametrize("text", ["m1", "psa1b2c3", "A-b_9", "m" * 128])
def test_ids_that_are_fine(text: str) -> None:
    assert checked_id(text) == text


@pytest.mark.parametrize("depth", [5000, 200_000])
def test_a_deep_answer_is_an_error_and_no_traceback(depth: int) -> None:
    body = b'{"id": "m1", "name": "web", "state": "ready", "deep": ' + b'{"a":' * depth + b"1" + b"}" * (depth + 1)
    # Depending on Python's version, the JSON parser gives up, or only what comes after it.
    call = Call("GET", "/machines/m1", Answer(200, body))
    with scripted(call, retries=0) as (client, dummy), pytest.raises(AnswerLost, match="GET /machines/m1"):
        client.machine("m1")
