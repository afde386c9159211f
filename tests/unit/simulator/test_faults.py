# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults by rule: whom they hit, and what the client then gets."""

from __future__ import annotations

import json

import pytest

from simulator.messages import AnswerTimeout, ConnectionRefused, LostAnswer


def test_rules_select_by_method_path_machine_and_count(api, service):
    first, second = service.add_machine("a"), service.add_machine("b")
    rule = {
        "action": "status",
        "status": 503,
        "method": "POST",
        "path": "/snapshots",
        "machine_id": second,
        "nth": [2],
        "times": 1,
    }
    service.faults.add(rule)
    service.change_settings(busy="queue")

    def status(machine_id, name):
        return api.send("POST", "/snapshots", {"machineId": machine_id, "name": name}).status

    assert [status(first, "1"), status(second, "1"), status(first, "2"), status(second, "2"), status(second, "3")] == [
        200,
        200,
        200,
        503,
        200,
    ]
    assert api.get("/snapshots", machineId=second)["hasMore"] is False
    assert [(rule["seen"], rule["applied"]) for rule in service.faults.rules()] == [(3, 1)]


def test_rule_can_begin_after_the_first_change(api, service, machine_id):
    service.faults.add({"action": "empty", "method": "GET", "after_change": True, "nth": 2})

    def bodies():
        return [bool(api.send("GET", "/machines").body) for dummy in range(3)]

    assert bodies() == [True, True, True]
    api.snapshot(machine_id, "one")
    assert bodies() == [True, False, True]
    (rule,) = service.faults.rules()
    assert (rule["after_change"], rule["seen"], rule["applied"]) == (True, 3, 1)


def test_machine_is_known_from_its_snapshots_and_events_too(api, service, clock, machine_id):
    event = api.snapshot(machine_id, "one")
    other = service.add_snapshot(service.add_machine("other"), "two")
    service.faults.add({"action": "empty", "machine_id": machine_id})
    for path in (
        f"/machines/{machine_id}",
        f"/snapshots/{event['data']['id']}",
        f"/machine-events/{event['event']['id']}",
    ):
        assert api.send("GET", path).body == b""
    assert api.send("GET", "/snapshots", query={"machineId": machine_id}).body == b""
    assert api.get(f"/snapshots/{other}")["name"] == "two"


@pytest.mark.parametrize(
    "rule",
    [
        {"action": "status", "status": 500},
        {"action": "html", "status": 524},
        {"action": "empty"},
        {"action": "error_body"},
        {"action": "body", "text": "null"},
        {"action": "lost"},
        {"action": "timeout"},
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_work_is_done_or_not_as_the_rule_says(api, service, clock, machine_id, rule, when):
    service.faults.add({**rule, "when": when, "times": 1})
    try:
        answered = api.send("POST", "/snapshots", {"machineId": machine_id, "name": "one"}).status
    except (LostAnswer, AnswerTimeout):
        answered = None
    clock.advance(10)
    assert service.done_counts()["creates"] == (1 if when == "after" else 0)
    assert service.log[0].status == answered
    assert service.log[0].faults == ("fault-1",)


def test_answers_of_rules(api, service):
    service.faults.add({"action": "html", "status": 502, "retry_after": 3, "times": 1})
    service.faults.add({"action": "status", "status": 429, "retry_after": 2, "times": 1})
    service.faults.add({"action": "error_body", "status": 200, "code": "FORBIDDEN", "message": "no", "times": 1})
    service.faults.add({"action": "body", "text": "[]", "repeat": 3, "times": 1})
    page, limited, error, body, good = (api.send("GET", "/machines") for dummy in range(5))
    assert (page.status, page.headers["content-type"], page.headers["retry-after"]) == (
        502,
        "text/html; charset=UTF-8",
        "3",
    )
    assert page.body.startswith(b"<!DOCTYPE html>")
    assert (limited.status, limited.json()["code"], limited.headers["retry-after"]) == (429, "TOO_MANY_REQUESTS", "2")
    assert (error.status, error.json()) == (200, {"code": "FORBIDDEN", "message": "no"})
    assert body.body == b"[][][]"
    assert good.json()["items"] == []


def test_refused_connections_are_not_in_the_log(api, service):
    service.faults.add({"action": "refused"})
    with pytest.raises(ConnectionRefused):
        api.send("GET", "/machines")
    assert len(service.log) == 0


def test_truncated_and_incomplete_json(api, service, machine_id):
    service.faults.add({"action": "truncated", "nth": 1})
    service.faults.add({"action": "without_fields", "fields": ["items.id", "hasMore"], "nth": 1})
    service.faults.add({"action": "without_fields", "nth": 1})
    with pytest.raises(json.JSONDecodeError):
        api.send("GET", "/machines").json()
    partial = api.send("GET", "/machines").json()
    assert set(partial) == {"items", "nextPage"}
    assert "id" not in partial["items"][0]
    assert partial["items"][0]["name"] == "web1"
    assert api.send("GET", "/machines").json() == {}


def test_cursors_that_lead_nowhere(api, service):
    for dummy in range(3):
        service.add_machine()
    first = api.get("/machines", limit=1)["nextPage"]
    service.faults.add({"action": "cursor", "cursor": "repeat", "times": 1})
    service.faults.add({"action": "cursor", "cursor": "null", "times": 1})
    service.faults.add({"action": "cursor", "cursor": "missing", "times": 1})
    repeated = api.get("/machines", limit=1, after=first)
    assert (repeated["hasMore"], repeated["nextPage"]) == (True, first)
    nothing = api.get("/machines")
    assert (nothing["hasMore"], nothing["nextPage"]) == (True, None)
    missing = api.get("/machines")
    assert missing["hasMore"] is True
    assert "nextPage" not in missing


def test_machine_is_known_from_a_snapshot_that_is_gone(api, service, clock, machine_id):
    snapshot_id = service.add_snapshot(machine_id, "one")
    api.send("DELETE", f"/snapshots/{snapshot_id}")
    clock.advance(10)
    service.faults.add({"action": "empty", "machine_id": machine_id, "times": 1})
    assert [api.send("GET", f"/snapshots/{snapshot_id}").status for dummy in range(2)] == [200, 404]


def test_list_of_one_page_that_goes_round_in_circles(api, service, machine_id):
    service.faults.add({"action": "cursor", "cursor": "repeat"})
    first = api.get("/machines")
    again = api.get("/machines", after=first["nextPage"])
    assert again == first
    assert (again["hasMore"], [machine["id"] for machine in again["items"]]) == (True, [machine_id])


@pytest.mark.parametrize(
    ("rule", "event", "creates"),
    [
        ({"state": "error", "error": "no space"}, ("error", "no space", True), 0),
        ({"state": "error"}, ("error", None, True), 0),
        ({"state": "error", "finished": False}, ("error", None, False), 0),
        ({"state": "error", "worked": True}, ("error", None, True), 1),
        ({"state": "cancelled"}, ("cancelled", None, True), 0),
        ({"state": "stuck"}, ("in progress", None, False), 0),
        ({"state": "stuck", "worked": True}, ("in progress", None, False), 1),
        ({"seconds": 50}, ("in progress", None, False), 0),
        ({"seconds": 0}, ("done", None, True), 1),
    ],
)
def test_events_end_as_the_rule_says(api, service, clock, machine_id, rule, event, creates):
    service.faults.add({"action": "event", "method": "POST", "path": "/snapshots", **rule})
    event_id = api.snapshot(machine_id, "one")["event"]["id"]
    clock.advance(40)
    found = api.event(event_id)
    assert (found["state"], found["error"], found["dtFinished"] is not None) == event
    assert service.done_counts()["creates"] == creates


@pytest.mark.parametrize("leaves_record", [True, False])
def test_failed_create_leaves_its_record_or_not(api, service, clock, machine_id, leaves_record):
    service.change_settings(failed_create_leaves_record=leaves_record)
    service.faults.add({"action": "event", "state": "error"})
    api.snapshot(machine_id, "one")
    clock.advance(10)
    assert len(service.snapshots()) == leaves_record
    assert not any(snapshot["complete"] for snapshot in service.snapshots())


def test_failed_restore_leaves_the_machine_running(api, service, clock, machine_id):
    snapshot_id = service.add_snapshot(machine_id, "one")
    service.faults.add({"action": "event", "state": "error", "method": "POST"})
    api.post(f"/snapshots/{snapshot_id}/restore", {})
    clock.advance(20)
    assert (api.machine(machine_id)["state"], service.done_counts()["restores"]) == ("ready", 0)


def test_stuck_event_keeps_its_machine_busy(api, service, clock, machine_id):
    service.faults.add({"action": "event", "state": "stuck", "times": 1})
    api.snapshot(machine_id, "one")
    clock.advance(3600)
    assert api.send("POST", "/snapshots", {"machineId": machine_id, "name": "two"}).status == 409


def test_event_is_invisible_at_first(api, service, clock, machine_id):
    service.faults.add({"action": "event_invisible", "seconds": 5})
    event_id = api.snapshot(machine_id, "one")["event"]["id"]
    clock.advance(4.9)
    assert api.send("GET", f"/machine-events/{event_id}").status == 404
    clock.advance(0.1)
    assert api.event(event_id)["state"] == "done"


def test_state_of_one_machine_lags(api, service, clock, machine_id):
    service.faults.add({"action": "state_lag", "seconds": 30, "path": ".*/restart"})
    event_id = api.act(machine_id, "restart")["event"]["id"]
    clock.advance(6)
    assert (api.event(event_id)["state"], api.machine(machine_id)["state"]) == ("done", "ready")
    assert service.machines()[0]["state"] == "serviceready"
    clock.advance(25)
    assert api.machine(machine_id)["state"] == "restarting"


def test_busy_and_slow(api, service, machine_id):
    service.faults.add({"action": "busy", "method": "POST", "times": 1})
    service.faults.add({"action": "slow", "seconds": 4})
    response = api.send("POST", "/snapshots", {"machineId": machine_id, "name": "one"})
    assert (response.status, response.json()["code"], response.delay_seconds) == (409, "CONFLICT", 4)
    service.change_settings(latency_seconds=0.5)
    assert api.send("GET", "/machines").delay_seconds == 4.5


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({}, "action"),
        ({"action": "explode"}, "action"),
        ({"action": "slow", "when": "before"}, "when"),
        ({"action": "slow", "seconds": "1"}, "seconds"),
        ({"action": "status", "status": True}, "status"),
        ({"action": "lost", "when": "sometimes"}, "when"),
        ({"action": "lost", "path": "("}, "path"),
        ({"action": "lost", "path": 3}, "path"),
    ],
)
def test_rules_without_sense_are_refused(service, rule, reason):
    with pytest.raises(ValueError, match=reason):
        service.faults.add(rule)


def test_rules_can_be_replaced_and_removed(api, service):
    service.faults.add({"id": "mine", "action": "empty"})
    service.faults.add({"id": "mine", "action": "status", "status": 418})
    assert api.send("GET", "/machines").status == 418
    assert service.faults.remove("mine")
    assert not service.faults.remove("mine")
    assert api.get("/machines")["items"] == []
