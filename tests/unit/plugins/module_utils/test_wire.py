# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from ansible_collections.community.paperspace.plugins.module_utils._errors import InvalidAnswer
from ansible_collections.community.paperspace.plugins.module_utils._wire import (
    Event,
    Page,
    Snapshot,
    parse_event,
    parse_machine,
    parse_page,
    parse_snapshot,
    parse_time,
    snake_case,
    to_snake_case,
)

SNAPSHOT: dict[str, Any] = {"id": "s1", "name": "before", "machineId": "m1", "isAutoSnapshot": False}
EVENT: dict[str, Any] = {
    "id": "e1",
    "name": "snapshot-create",
    "state": "in progress",
    "machineId": "m1",
    "error": None,
    "dtCreated": "2026-01-31T23:59:58.123Z",
    "dtStarted": None,
    "dtFinished": None,
}
MACHINE: dict[str, Any] = {"id": "m1", "name": "web", "state": "ready", "ram": "2147483648", "publicIp": None}
CREATED = datetime(2026, 1, 31, 23, 59, 58, 123000, tzinfo=timezone.utc)


def without(fields: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key != name}


@pytest.mark.parametrize(
    ("wire", "ours"),
    [
        ("id", "id"),
        ("machineId", "machine_id"),
        ("autoSnapshotSaveCount", "auto_snapshot_save_count"),
        ("dtCreated", "dt_created"),
        ("publicIpType", "public_ip_type"),
        ("isAutoSnapshot", "is_auto_snapshot"),
        ("already_snake", "already_snake"),
    ],
)
def test_snake_case(wire: str, ours: str) -> None:
    assert snake_case(wire) == ours


def test_names_are_mapped_and_sizes_become_integers_at_every_depth() -> None:
    wire = {
        "storageTotal": "107374182400",
        "storageUsed": 5,
        "ram": "0",
        "accelerators": [{"name": "A100", "memory": "85899345920", "count": 1}, {"memory": None}],
        "reservation": {"dtStarted": "2026-01-01T00:00:00Z"},
        "machineType": "12345",
    }
    assert to_snake_case(wire) == {
        "storage_total": 107374182400,
        "storage_used": 5,
        "ram": 0,
        "accelerators": [{"name": "A100", "memory": 85899345920, "count": 1}, {"memory": None}],
        "reservation": {"dt_started": "2026-01-01T00:00:00Z"},
        "machine_type": "12345",
    }


@pytest.mark.parametrize("value", ["", "many", "-1", "1.5", "²", "9" * 5000, [], {}])
def test_a_size_that_is_no_number_stays_what_it_is(value: Any) -> None:
    assert to_snake_case({"ram": value}) == {"ram": value}


def test_snapshot() -> None:
    assert parse_snapshot(SNAPSHOT) == Snapshot(id="s1", name="before", machine_id="m1", is_auto_snapshot=False)
    assert parse_snapshot({**SNAPSHOT, "name": "", "dtCreated": "undeclared"}).name == ""


def test_event() -> None:
    assert parse_event(EVENT) == Event(
        id="e1",
        name="snapshot-create",
        state="in progress",
        machine_id="m1",
        error=None,
        created=CREATED,
        finished=None,
    )
    finished = parse_event({**EVENT, "dtFinished": "2026-02-01T00:00:00Z", "machineId": None, "error": "No space"})
    assert finished.finished == datetime(2026, 2, 1, tzinfo=timezone.utc)
    assert (finished.machine_id, finished.error) == (None, "No space")


def test_texts_of_an_event_are_fit_for_a_terminal() -> None:
    odd = "\x1b]0;title\x07 no\r\nspace \x9b2J\u202e\ud800\0" + "x" * 10_000
    event = parse_event({**EVENT, "name": odd, "state": odd, "error": odd})
    for text in (event.name, event.state, event.error):
        assert text
        assert text.isprintable()
        assert text.startswith("?]0;title? no space ?2J???xx")
        assert len(text) <= 2000


@pytest.mark.parametrize(
    ("state", "ended"), [("new", False), ("in progress", False), ("done", True), ("error", True), ("cancelled", True)]
)
def test_states_in_which_an_event_has_ended(state: str, ended: bool) -> None:
    assert parse_event({**EVENT, "state": state}).has_ended is ended


def test_machine() -> None:
    machine = parse_machine(MACHINE)
    assert (machine.id, machine.name, machine.state) == ("m1", "web", "ready")
    assert machine.fields == {"id": "m1", "name": "web", "state": "ready", "ram": 2147483648, "public_ip": None}


@pytest.mark.parametrize("answer", [None, [], "text", 5, True])
@pytest.mark.parametrize("parse", [parse_snapshot, parse_event, parse_machine, parse_page])
def test_what_is_no_object(parse: Any, answer: Any) -> None:
    with pytest.raises(InvalidAnswer, match=r"where a .* was expected"):
        parse(answer)


@pytest.mark.parametrize(
    ("parse", "fields", "name"),
    [
        *((parse_snapshot, SNAPSHOT, name) for name in ("id", "name", "machineId", "isAutoSnapshot")),
        *((parse_event, EVENT, name) for name in ("id", "name", "state", "dtCreated")),
        *((parse_machine, MACHINE, name) for name in ("id", "name", "state")),
        *((parse_page, {"items": [], "hasMore": False}, name) for name in ("items", "hasMore")),
    ],
)
def test_a_missing_or_null_field_is_named(parse: Any, fields: dict[str, Any], name: str) -> None:
    for answer in (without(fields, name), {**fields, name: None}):
        with pytest.raises(InvalidAnswer, match=name):
            parse(answer)


@pytest.mark.parametrize(
    ("parse", "fields", "name", "value"),
    [
        (parse_snapshot, SNAPSHOT, "id", 5),
        (parse_snapshot, SNAPSHOT, "id", ""),
        (parse_snapshot, SNAPSHOT, "id", "s1\x1b[2J"),
        (parse_snapshot, SNAPSHOT, "machineId", []),
        (parse_snapshot, SNAPSHOT, "machineId", "m1\nm2"),
        (parse_machine, MACHINE, "id", "m 1"),
        (parse_event, EVENT, "id", "e" * 129),
        (parse_event, EVENT, "state", 1),
        (parse_event, EVENT, "dtCreated", "yesterday"),
        (parse_event, EVENT, "dtCreated", 5),
        (parse_machine, MACHINE, "name", {}),
        (parse_page, {"items": [], "hasMore": False}, "items", {"0": 1}),
    ],
)
def test_a_field_of_another_type_is_named(parse: Any, fields: dict[str, Any], name: str, value: Any) -> None:
    with pytest.raises(InvalidAnswer, match=name):
        parse({**fields, name: value})


@pytest.mark.parametrize(
    ("end", "cursor"),
    [
        ({"hasMore": True, "nextPage": "c1"}, "c1"),
        ({"hasMore": False, "nextPage": "c1"}, None),
        ({"hasMore": False}, None),
        ({"hasMore": True, "nextPage": None}, None),
        ({"hasMore": True}, None),
        ({"hasMore": True, "nextPage": ""}, None),
    ],
)
def test_where_a_list_ends(end: dict[str, Any], cursor: str | None) -> None:
    page = parse_page({"items": [1], **end})
    assert page == Page(items=[1], next_cursor=cursor, has_more=end["hasMore"])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-31T23:59:58.123Z", CREATED),
        ("2026-01-31T23:59:58.123+00:00", CREATED),
        ("2026-02-01T01:59:58.123000+02:00", CREATED),
        ("2026-01-31T23:59:58.123", CREATED),
        (" 2026-01-31T23:59:58.123Z ", CREATED),
        ("2026-01-31T23:59:58Z", CREATED - timedelta(milliseconds=123)),
        ("2026-01-31T23:59:58.1Z", CREATED - timedelta(milliseconds=23)),
        ("2026-01-31T23:59:58.123456789Z", CREATED + timedelta(microseconds=456)),
    ],
)
def test_times(text: str, time: datetime) -> None:
    parsed = parse_time(text)
    assert parsed == time
    assert parsed.tzinfo is not None


@pytest.mark.parametrize("value", [None, "", "yesterday", "2026-13-31T23:59:58Z", 1769903998, True, [], {}])
def test_what_is_no_time(value: Any) -> None:
    assert parse_time(value) is None
