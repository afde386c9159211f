# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the service refuses, and how."""

from __future__ import annotations

import pytest


def refusal(response):
    content = response.json()
    assert set(content) == {"code", "message"}
    return response.status, content["code"]


@pytest.mark.parametrize(
    "headers", [{"Authorization": ""}, {"Authorization": "Bearer other"}, {"Authorization": "simulator-key"}]
)
def test_missing_and_wrong_keys_are_unauthorized(api, headers):
    assert refusal(api.send("GET", "/machines", headers=headers)) == (401, "UNAUTHORIZED")


def test_session_of_an_unknown_key_is_null(api):
    response = api.send("GET", "/auth/session", headers={"Authorization": "Bearer other"})
    assert (response.status, response.json()) == (200, None)
    assert api.get("/auth/session")["team"]["id"].startswith("te")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/machines/x", "GET, PUT"),
        ("POST", "/machines/x/start", "PATCH"),
        ("PATCH", "/snapshots/x", "GET, PUT, DELETE"),
        ("HEAD", "/machines", "GET"),
    ],
)
def test_other_methods_are_not_supported(api, method, path, allowed):
    response = api.send(method, path)
    assert refusal(response) == (405, "METHOD_NOT_SUPPORTED")
    assert response.headers["allow"] == allowed


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/nothing",
        "/machines/",
        "/machines/x/y",
        "/auth/session/x",
        "/machines/none",
        "/machines/%2e%2e",
        "/snapshots/a%2Fb",
        "/machine-events/none",
    ],
)
def test_what_is_not_there_is_not_found(api, path):
    assert refusal(api.send("GET", path)) == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    "request_parts",
    [
        {"content": {"machineId": "x", "name": "y"}, "headers": {"Content-Type": ""}},
        {"content": {"machineId": "x", "name": "y"}, "headers": {"Content-Type": "application/json; charset=utf-8"}},
        {"content": ["a list"]},
        {"content": {}, "body": b""},
        {"content": {}, "body": b'{"machineId": '},
        {"content": {}, "body": b'{"name": NaN}'},
        {"content": {}, "body": b"\xff{}"},
        {"content": {}, "body": b"[" * 100_000},
    ],
)
def test_what_is_no_json_object_is_a_parse_error(api, request_parts):
    assert refusal(api.send("POST", "/snapshots", **request_parts)) == (400, "PARSE_ERROR")


def test_patch_that_claims_json_and_has_no_body_is_a_parse_error(api, machine_id):
    response = api.send("PATCH", f"/machines/{machine_id}/stop", headers={"Content-Type": "application/json"})
    assert refusal(response) == (400, "PARSE_ERROR")


def test_patch_with_a_body_needs_its_content_type(api, machine_id):
    response = api.send("PATCH", f"/machines/{machine_id}/stop", {}, headers={"Content-Type": ""})
    assert refusal(response) == (400, "PARSE_ERROR")


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("POST", "/snapshots", {"machineId": "x"}),
        ("POST", "/snapshots", {"machineId": "x", "name": 1}),
        ("POST", "/snapshots", {"machineId": "x", "name": "y", "id": "z"}),
        ("PUT", "/snapshots/x", {"title": "y"}),
        ("POST", "/snapshots/x/restore", {"id": "x"}),
        ("POST", "/snapshots/x/restore", {"createSnapshotBeforeRestore": "yes"}),
        ("PUT", "/machines/x", {"state": "off"}),
        ("PUT", "/machines/x", {"autoSnapshotFrequency": "yearly"}),
        ("PUT", "/machines/x", {"autoSnapshotSaveCount": 1.5}),
        ("PUT", "/machines/x", {"autoSnapshotSaveCount": True}),
        ("DELETE", "/snapshots/x", {"id": "x"}),
    ],
)
def test_what_the_contract_does_not_declare_is_a_bad_request(api, method, path, content):
    assert refusal(api.send(method, path, content)) == (400, "BAD_REQUEST")


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": 121},
        {"limit": "ten"},
        {"limit": ""},
        {"order": "up"},
        {"orderBy": "size"},
        {"after": "x"},
        {"page": 2},
    ],
)
def test_queries_are_checked(api, query):
    assert refusal(api.send("GET", "/machines", query=query)) == (400, "BAD_REQUEST")


def test_large_bodies_are_refused(api, machine_id):
    api.service.change_settings(max_body_bytes=100)
    response = api.send("POST", "/snapshots", {"machineId": machine_id, "name": "x" * 100})
    assert refusal(response) == (413, "PAYLOAD_TOO_LARGE")


def test_the_log_has_what_was_sent_and_no_key(api, service, machine_id):
    api.get("/machines", limit=5)
    api.snapshot(machine_id, "one")
    api.send("POST", "/v1/snapshots", {}, body=b"{oops")
    first, second, third = service.log
    assert (first.method, first.path, first.query, first.body, first.status) == (
        "GET",
        "/machines",
        {"limit": "5"},
        None,
        200,
    )
    assert (second.path, second.body, second.status) == ("/snapshots", {"machineId": machine_id, "name": "one"}, 200)
    assert (third.path, third.body, third.status) == ("/snapshots", "{oops", 400)
    assert service.settings.api_key not in str(service.log.as_json())
    assert service.log.calls("POST") == ["POST /snapshots", "POST /snapshots"]


def test_rate_limit(api, service, clock):
    service.change_settings(requests_per_second=2, rate_limit_retry_after=7)
    statuses = [api.send("GET", "/machines").status for dummy in range(3)]
    assert statuses == [200, 200, 429]
    limited = api.send("GET", "/machines")
    assert refusal(limited) == (429, "TOO_MANY_REQUESTS")
    assert limited.headers["retry-after"] == "7"
    clock.advance(0.5)
    assert [api.send("GET", "/machines").status for dummy in range(2)] == [200, 429]
    service.change_settings(rate_limit_retry_after=None)
    assert "retry-after" not in api.send("GET", "/machines").headers


def test_reset_starts_over_with_the_same_ids(api, service):
    first = service.add_machine("web1")
    service.add_snapshot(first, "one")
    service.faults.add({"action": "empty", "path": "/snapshots"})
    service.change_settings(busy="queue")
    api.get("/machines")
    service.reset()
    assert (service.machines(), service.snapshots(), service.faults.rules(), len(service.log)) == ([], [], [], 0)
    assert service.settings.busy == "conflict"
    assert service.add_machine("web1") == first


@pytest.mark.parametrize(
    "changes",
    [
        {"busy": "never"},
        {"snapshot_seconds": -1},
        {"snapshot_seconds": "3"},
        {"duplicate_names": 1},
        {"default_limit": 0},
        {"requests_per_second": 0},
        {"colour": "red"},
        {"api_key": ""},
        {"latency_seconds": None},
    ],
)
def test_impossible_settings_are_refused(service, changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        service.change_settings(**changes)
