# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulator against the contract, with requests that nobody wrote by hand.

schemathesis makes good and bad requests out of the contract; hypothesis makes histories of operations.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import hypothesis.strategies as st
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig

from simulator.asgi import build_app
from simulator.clock import ManualClock
from simulator.messages import Request
from simulator.service import Service

CONTRACT = Path(__file__).parents[2] / "contract" / "paperspace-v1.openapi.yaml"


def load(mode):
    config = SchemathesisConfig()
    config.projects.default.generation.update(modes=[mode])
    # A machine's own limits are no part of its schema: ten auto-snapshots, disks that only grow.
    acceptance = config.projects.default.checks.positive_data_acceptance
    acceptance.expected_statuses = [*acceptance.expected_statuses, "412"]
    return schemathesis.openapi.from_path(CONTRACT, config=config)


good_requests, bad_requests = load(GenerationMode.POSITIVE), load(GenerationMode.NEGATIVE)


class World:
    """A service with a machine and a snapshot, behind its ASGI app."""

    def __init__(self):
        self.clock = ManualClock()
        self.service = Service(self.clock)
        self.app = build_app(self.service)
        self.start_over()

    def start_over(self, state="ready"):
        self.service.reset()
        self.machine_id = self.service.add_machine("web1", state=state)
        self.snapshot_id = self.service.add_snapshot(self.machine_id, "one")
        made = self.service.handle(
            Request(
                "POST",
                "/snapshots",
                headers=self.service.headers(body=True),
                body=json.dumps({"machineId": self.machine_id, "name": "two"}).encode(),
            )
        )
        self.event_id = made.json()["event"]["id"]
        self.clock.advance(30)


world = World()
for each in (good_requests, bad_requests):
    each.app = world.app
    each.config.update(base_url="http://127.0.0.1/v1")


def send(case):
    # GET /auth/session answers unknown keys on purpose.
    excluded = [schemathesis.checks.ignored_auth] if case.path == "/auth/session" else []
    return case.call_and_validate(headers=world.service.headers(), excluded_checks=excluded)


def without_cursor(case):
    """To the schema any string is a cursor; the service takes only its own."""
    if isinstance(case.query, dict):
        case.query.pop("after", None)


SOME = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@good_requests.parametrize()
@SOME
def test_good_requests_get_what_the_contract_promises(case):
    world.start_over()
    without_cursor(case)
    send(case)


@good_requests.parametrize()
@SOME
def test_good_requests_about_what_exists_are_done(case):
    world.start_over(state="off" if case.path.endswith("/start") else "ready")
    without_cursor(case)
    if "id" in (case.path_parameters or {}):
        known = {"machines": world.machine_id, "snapshots": world.snapshot_id, "machine-events": world.event_id}
        case.path_parameters["id"] = known[case.path.split("/")[1]]
    if isinstance(case.body, dict) and "machineId" in case.body:
        case.body["machineId"] = world.machine_id
    response = send(case)
    assert response.status_code in (200, 412), response.text
    if response.status_code == 412:
        assert case.body.keys() & {"autoSnapshotSaveCount", "diskSize"}


@bad_requests.parametrize()
@SOME
def test_bad_requests_are_refused_as_the_contract_says(case):
    world.start_over()
    send(case)


class Histories(RuleBasedStateMachine):
    """Operations in any order and at any time on two machines, against what must hold whatever the order."""

    RANK: ClassVar = {"new": 0, "in progress": 1, "done": 2, "error": 2}

    @initialize(busy=st.sampled_from(["conflict", "queue"]))
    def start(self, busy):
        self.clock = ManualClock()
        self.service = Service(self.clock)
        self.service.change_settings(busy=busy)
        self.machine_ids = [self.service.add_machine(name) for name in ("web1", "web2")]
        self.events = {}
        self.accepted = 0

    def send(self, method, path, content=None):
        body = b"" if content is None else json.dumps(content).encode()
        response = self.service.handle(
            Request(method, path, headers=self.service.headers(body=content is not None), body=body)
        )
        assert response.status in (200, 400, 404, 409, 412), response.body
        if response.status == 200 and "event" in response.json():
            self.accepted += 1
        return response

    @rule(machine=st.integers(0, 1), name=st.sampled_from(["a", "b"]))
    def create(self, machine, name):
        self.send("POST", "/snapshots", {"machineId": self.machine_ids[machine], "name": name})

    @rule(data=st.data(), safety=st.booleans(), delete=st.booleans())
    @precondition(lambda self: self.service.snapshots())
    def use_snapshot(self, data, safety, delete):
        snapshot_id = data.draw(st.sampled_from([each["id"] for each in self.service.snapshots()]))
        if delete:
            self.send("DELETE", f"/snapshots/{snapshot_id}")
        else:
            self.send("POST", f"/snapshots/{snapshot_id}/restore", {"createSnapshotBeforeRestore": safety})

    @rule(machine=st.integers(0, 1), action=st.sampled_from(["start", "stop", "restart"]))
    def act(self, machine, action):
        self.send("PATCH", f"/machines/{self.machine_ids[machine]}/{action}", {})

    @rule(seconds=st.floats(0.1, 8))
    def wait(self, seconds):
        self.clock.advance(seconds)

    @invariant()
    def events_only_go_forward(self):
        for event in self.service.events():
            before = self.events.get(event["id"], "new")
            assert self.RANK[before] <= self.RANK[event["state"]]
            assert (event["dtFinished"] is not None) == (event["state"] in ("done", "error"))
            assert (event["dtStarted"] is not None) == (event["state"] != "new")
            self.events[event["id"]] = event["state"]
        assert len(self.events) == self.accepted

    @invariant()
    def a_machine_does_one_thing_at_a_time(self):
        under_way = [event["machineId"] for event in self.service.events() if event["state"] == "in progress"]
        assert len(under_way) == len(set(under_way))

    @invariant()
    def snapshots_are_those_made_and_not_deleted(self):
        done = self.service.done_counts()
        made = self.service.accepted_counts()["creates"] + done["safety_snapshots"]
        assert len(self.service.snapshots()) == made - done["deletes"]

    def teardown(self):
        """In the end all is done, and the machines have come to rest."""
        if not hasattr(self, "service"):
            return
        self.clock.advance(1000)
        assert {event["state"] for event in self.service.events()} <= {"done", "error"}
        assert all(machine["state"] in ("ready", "off") for machine in self.service.machines())
        done = sum(event["state"] == "done" for event in self.service.events())
        counted = {what: n for what, n in self.service.done_counts().items() if what != "safety_snapshots"}
        assert sum(counted.values()) == done


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=100, stateful_step_count=25, deadline=None, derandomize=True)
