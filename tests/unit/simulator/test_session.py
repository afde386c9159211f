# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The adapter for requests: real exceptions, and time on the simulator's clock."""

from __future__ import annotations

import contextlib

import pytest
import requests

from simulator.session import SimulatorAdapter

URL = "http://127.0.0.1/v1"


@pytest.fixture
def session(service):
    with requests.Session() as session:
        session.mount("http://", SimulatorAdapter(service))
        session.headers.update(service.headers())
        yield session


def test_answers_are_real_responses(session, service, machine_id):
    listed = session.get(f"{URL}/machines", params={"limit": 1, "name": "wéb"}, timeout=5)
    assert (listed.status_code, listed.reason, listed.json()["items"]) == (200, "OK", [])
    made = session.post(f"{URL}/snapshots", json={"machineId": machine_id, "name": "one"}, timeout=5)
    assert made.json()["data"]["name"] == "one"
    assert [entry.query for entry in service.log] == [{"limit": "1", "name": "wéb"}, {}]


@pytest.mark.parametrize(
    ("rule", "error", "said"),
    [
        ({"action": "lost"}, requests.ConnectionError, "RemoteDisconnected"),
        ({"action": "lost", "mid_body": True}, requests.exceptions.ChunkedEncodingError, "IncompleteRead"),
        ({"action": "refused"}, requests.ConnectionError, "NewConnectionError"),
        ({"action": "refused", "timeout": True}, requests.ConnectTimeout, "connect timeout=3"),
        ({"action": "timeout"}, requests.ReadTimeout, "read timeout=7"),
        ({"action": "slow", "seconds": 8}, requests.ReadTimeout, "read timeout=7"),
    ],
)
def test_failures_are_those_of_a_network(session, service, clock, rule, error, said):
    service.faults.add(rule)
    with pytest.raises(error, match=said):
        session.get(f"{URL}/machines", timeout=(3, 7))


@pytest.mark.parametrize(
    ("rule", "seconds"),
    [
        ({"action": "timeout"}, 7),
        ({"action": "slow", "seconds": 8}, 7),
        ({"action": "slow", "seconds": 2}, 2),
        ({"action": "refused", "timeout": True}, 3),
    ],
)
def test_waiting_takes_time_on_the_clock(session, service, clock, rule, seconds):
    service.faults.add(rule)
    before = clock.now()
    with contextlib.suppress(requests.Timeout):
        session.get(f"{URL}/machines", timeout=(3, 7))
    assert clock.now() - before == pytest.approx(seconds)


def test_too_slow_an_answer_is_work_done(session, service, clock, machine_id):
    service.faults.add({"action": "slow", "seconds": 10, "times": 1})
    with pytest.raises(requests.ReadTimeout):
        session.post(f"{URL}/snapshots", json={"machineId": machine_id, "name": "one"}, timeout=5)
    assert service.done_counts()["creates"] == 1


def test_request_without_a_timeout_would_hang(session, service):
    service.faults.add({"action": "timeout"})
    with pytest.raises(AssertionError, match="no timeout"):
        session.get(f"{URL}/machines")
