# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""paperspace_machine's work against the simulator."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any

import pytest
from unit.simulated_fleet import Fleet, Handler, only, statuses

from ansible_collections.community.paperspace.plugins.module_utils._errors import InputError
from ansible_collections.community.paperspace.plugins.module_utils._machines import Move, is_surely, next_move
from ansible_collections.community.paperspace.plugins.module_utils._wire import Event
from simulator.service import Request, Response

ON_ITS_WAY = ("starting", "restarting", "serviceready", "upgrading", "provisioning")
DAILY = {"enabled": True, "frequency": "daily", "save_count": 7}
VERBS = {"started": "start", "stopped": "stop", "restarted": "restart"}
GOALS = {"started": "ready", "stopped": "off", "restarted": "ready"}
# How an answer can be lost, before and after the work.
LOSSES: list[dict[str, Any]] = [
    {"action": "lost"},
    {"action": "lost", "when": "after"},
    {"action": "timeout"},
    {"action": "timeout", "when": "after"},
    {"action": "status", "status": 500, "when": "after"},
    {"action": "html", "status": 502},
    {"action": "html", "status": 502, "when": "after"},
    {"action": "truncated"},
    {"action": "without_fields"},
]


@pytest.mark.parametrize(
    ("wanted", "state", "move"),
    [
        (None, "ready", None),
        (None, "off", None),
        ("started", "ready", None),
        ("started", "off", Move("start")),
        ("started", "stopping", Move("start", after="off")),
        *[("started", state, Move(None)) for state in ON_ITS_WAY],
        ("stopped", "off", None),
        ("stopped", "ready", Move("stop")),
        ("stopped", "stopping", Move(None)),
        *[("stopped", state, Move("stop", after="ready")) for state in ON_ITS_WAY],
        ("restarted", "ready", Move("restart")),
        ("restarted", "off", Move("start")),
        ("restarted", "stopping", Move("start", after="off")),
        *[("restarted", state, Move("restart", after="ready")) for state in ON_ITS_WAY],
        ("started", "a state that is new", Move(None)),
    ],
)
def test_next_move(wanted: str | None, state: str, move: Move | None) -> None:
    assert next_move(wanted, state) == move


def off(fleet: Fleet, *machine_ids: str) -> None:
    for machine_id in machine_ids or fleet.machine_ids:
        fleet.service.change_machine(machine_id, state="off")


@pytest.mark.parametrize(
    ("wanted", "state", "status", "verb"),
    [
        ("started", "ready", "unchanged", None),
        ("started", "off", "started", "start"),
        ("stopped", "ready", "stopped", "stop"),
        ("stopped", "off", "unchanged", None),
        ("restarted", "ready", "restarted", "restart"),
        ("restarted", "off", "started", "start"),
    ],
)
def test_machine_comes_into_the_wanted_state(wanted: str, state: str, status: str, verb: str | None) -> None:
    fleet = Fleet()
    fleet.service.change_machine(fleet.machine_id, state=state)
    foretold = fleet.change(state=wanted, check_mode=True)
    assert only(foretold)["status"] == (f"would_{verb}" if verb else "unchanged")
    assert fleet.writes() == []
    report = fleet.change(state=wanted)
    result = only(report)
    assert (result["status"], result["state"]) == (status, GOALS[wanted])
    assert fleet.service.machines()[0]["state"] == GOALS[wanted]
    assert fleet.writes() == ([f"PATCH /machines/{fleet.machine_id}/{verb}"] if verb else [])
    assert report.after == foretold.after
    assert report.outcomes[0].is_changed == bool(verb)


@pytest.mark.parametrize("wanted", ["started", "stopped"])
def test_again_is_unchanged(wanted: str) -> None:
    fleet = Fleet(2)
    off(fleet, fleet.machine_ids[1])
    fleet.change(state=wanted)
    fleet.service.log.clear()
    assert statuses(fleet.change(state=wanted)) == ["unchanged", "unchanged"]
    assert fleet.writes() == []


@pytest.mark.parametrize("wanted", ["started", "stopped", "restarted"])
@pytest.mark.parametrize("under_way", ["start", "stop", "restart"])
@pytest.mark.parametrize("busy", ["conflict", "queue"])
def test_machine_on_its_way_is_waited_for(wanted: str, under_way: str, busy: str) -> None:
    fleet = Fleet(busy=busy)
    if under_way == "start":
        off(fleet)
    fleet.send("PATCH", f"/machines/{fleet.machine_id}/{under_way}", {})
    fleet.later(1.5)
    result = only(fleet.change(state=wanted))
    assert result["status"] in ("started", "stopped", "restarted", "unchanged"), result
    assert result["state"] == GOALS[wanted]
    fleet.later()
    assert fleet.service.machines()[0]["state"] == GOALS[wanted]


@pytest.mark.parametrize("state", ["starting", "serviceready"])
def test_started_machine_that_is_not_up_yet_is_waited_for_and_unchanged(state: str) -> None:
    fleet = Fleet(settle_seconds=20.0 if state == "starting" else 1.0, serviceready_seconds=20.0)
    off(fleet)
    fleet.send("PATCH", f"/machines/{fleet.machine_id}/start", {})
    fleet.later(10)
    report = fleet.change(state="started")
    assert only(report)["status"] == "unchanged"
    assert fleet.service.machines()[0]["state"] == "ready"
    assert fleet.writes() == []
    assert not report.outcomes[0].is_changed


def test_currently_starting_is_no_failure() -> None:
    fleet = Fleet(state_lag_seconds=3.0)
    off(fleet)
    fleet.later()
    # Somebody else starts it just when this task has looked.
    fleet.fault("status", method="PATCH", status=400, message="Machine is currently starting.", times=1)
    original = fleet.service.faults.effects

    def effects(request: Any, machine_id: Any) -> Any:
        if request.method == "PATCH" and not fleet.service.machine(fleet.machine_id).operation:
            fleet.service.faults.effects = original  # type: ignore[method-assign]
            fleet.send("GET", "/auth/session")
            world = fleet.service.world
            from simulator.operations import Call

            world.start(world.machine(fleet.machine_id), Call(fleet.clock.now()))
        return original(request, machine_id)

    fleet.service.faults.effects = effects  # type: ignore[method-assign]
    result = only(fleet.change(state="started"))
    assert (result["status"], result["state"]) == ("started", "ready")
    assert fleet.service.accepted_counts()["starts"] == 1


@pytest.mark.parametrize("lag", [0.0, 1.0, 3.0, 4.5])
@pytest.mark.parametrize("wanted", ["started", "stopped", "restarted"])
def test_state_that_lags_is_not_taken_for_settled(wanted: str, lag: float) -> None:
    fleet = Fleet(state_lag_seconds=lag)
    if wanted == "started":
        off(fleet)
    fleet.later()
    assert only(fleet.change(state=wanted))["state"] == GOALS[wanted]
    assert fleet.service.machines()[0]["state"] == GOALS[wanted]


@pytest.mark.parametrize("wanted", ["started", "stopped", "restarted"])
@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_lost_answer_is_not_done_twice(wanted: str, loss: dict[str, Any]) -> None:
    fleet = Fleet(event_invisible_seconds=2.0)
    if wanted == "started":
        off(fleet)
    fleet.service.faults.add({**loss, "method": "PATCH", "times": 1})
    result = only(fleet.change(state=wanted))
    assert (result["status"], result["state"]) == (wanted, GOALS[wanted]), result
    assert fleet.service.accepted_counts()[f"{VERBS[wanted]}s"] == 1


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_lost_answer_to_settings(loss: dict[str, Any]) -> None:
    fleet = Fleet()
    fleet.service.faults.add({**loss, "method": "PUT", "times": 1})
    result = only(fleet.change(auto_snapshot=DAILY))
    assert (result["status"], result["auto_snapshot"]) == ("updated", DAILY), result


@pytest.mark.parametrize(
    ("event", "status", "said"),
    [
        ({"state": "error", "error": "no capacity"}, "failed", "no capacity"),
        ({"state": "error"}, "unsure", "may be done all the same"),
        ({"state": "cancelled"}, "failed", "cancelled"),
        ({"state": "stuck"}, "timed_out", "did not end"),
    ],
)
def test_event_that_ends_badly(event: dict[str, Any], status: str, said: str) -> None:
    fleet = Fleet(2)
    fleet.fault("event", method="PATCH", machine_id=fleet.machine_ids[0], **event)
    report = fleet.change(state="restarted", wait_timeout=200)
    assert statuses(report) == [status, "restarted"]
    assert said in str(report.outcomes[0].error)
    assert str(report.outcomes[0].event_id) in str(report.outcomes[0].error)


@pytest.mark.parametrize("worked", [True, False])
@pytest.mark.parametrize("error", ["no capacity", None])
@pytest.mark.parametrize("wanted", ["started", "stopped"])
def test_after_an_event_that_ended_badly_the_state_shows_whether_it_was_done(
    wanted: str, error: str | None, worked: bool
) -> None:
    fleet = Fleet()
    if wanted == "started":
        off(fleet)
        fleet.later()
    fleet.fault("event", method="PATCH", state="error", error=error, worked=worked)
    result = only(fleet.change(state=wanted))
    assert (result["status"], result["event_state"]) == (wanted if worked else "failed", "error")
    assert result["state"] == fleet.service.machines()[0]["state"]
    assert (result["state"] == GOALS[wanted]) == worked
    assert (result["error"] is None) == worked


def test_state_from_just_before_is_not_taken_for_the_wanted_one() -> None:
    # A restore that fails leaves the machine off for a moment, and then it boots.
    fleet = Fleet(state_lag_seconds=1.0)
    fleet.made_snapshot("before")
    fleet.fault("event", method="POST", state="error", error="no space", times=1)
    fleet.run(state="restored", name="before")
    assert fleet.client().machine(fleet.machine_id).state == "off"
    result = only(fleet.change(state="stopped"))
    assert (result["status"], result["state"]) == ("stopped", "off")
    fleet.later()
    assert fleet.service.machine(fleet.machine_id).state == "off"


@pytest.mark.parametrize(
    ("state", "last", "sure"),
    [
        ("ready", [], True),
        ("ready", [("start", "done"), ("stop", "done")], True),
        ("off", [("stop", "done")], True),
        ("off", [("start", "done"), ("stop", "done")], False),
        ("ready", [("stop", "done")], False),
        ("ready", [("restart", "done")], False),
        ("off", [("snapshot-restore", "done")], False),
        ("off", [("stop", "error")], False),
        ("ready", [("start", "in progress")], False),
        ("ready", [("snapshot-create", "in progress"), ("start", "done")], True),
        ("ready", [("snapshot-create", "done"), ("stop", "done")], False),
    ],
)
def test_state_is_surely_not_an_old_one(state: str, last: list[tuple[str, str]], sure: bool) -> None:
    now = datetime(2026, 1, 31, tzinfo=timezone.utc)
    events = [Event("me1", name, event_state, "ps1", None, now, None) for name, event_state in last]
    assert is_surely(state, events) is sure


def test_machine_that_never_gets_ready_times_out_and_says_so() -> None:
    fleet = Fleet(settle_seconds=1e6)
    result = only(fleet.change(state="restarted", wait_timeout=200))
    assert result["status"] == "timed_out"
    assert "ready" in str(result["error"])


def test_wait_false_is_pending() -> None:
    fleet = Fleet()
    result = only(fleet.change(state="stopped", wait=False))
    assert (result["status"], result["event_state"]) == ("pending", "new")


def test_auto_snapshot_settings_and_again() -> None:
    fleet = Fleet(2)
    foretold = fleet.change(auto_snapshot=DAILY, check_mode=True)
    assert statuses(foretold) == ["would_update"] * 2
    assert fleet.writes() == []
    report = fleet.change(auto_snapshot=DAILY)
    assert statuses(report) == ["updated"] * 2
    assert report.before != report.after == foretold.after
    body = [entry.body for entry in fleet.service.log if entry.method == "PUT"]
    assert body == [{"autoSnapshotEnabled": True, "autoSnapshotFrequency": "daily", "autoSnapshotSaveCount": 7}] * 2
    fleet.service.log.clear()
    again = fleet.change(auto_snapshot=DAILY)
    assert statuses(again) == ["unchanged"] * 2
    assert fleet.writes() == []
    assert again.before == again.after


def test_only_what_differs_is_sent() -> None:
    fleet = Fleet()
    fleet.change(auto_snapshot=DAILY)
    fleet.service.log.clear()
    fleet.change(auto_snapshot={"save_count": 0, "enabled": True})
    assert [entry.body for entry in fleet.service.log if entry.method == "PUT"] == [{"autoSnapshotSaveCount": 0}]


def test_refusal_of_settings_is_reported() -> None:
    fleet = Fleet(auto_snapshots_by_api=False)
    result = only(fleet.change(auto_snapshot=DAILY))
    assert result["status"] == "failed"
    assert "Auto snapshots cannot be set up over the API" in str(result["error"])


def test_settings_and_state_in_one_task() -> None:
    fleet = Fleet()
    off(fleet)
    result = only(fleet.change(state="started", auto_snapshot=DAILY))
    assert (result["status"], result["state"], result["auto_snapshot"]) == ("started", "ready", DAILY)


def test_fleet_by_threads_keeps_the_order_asked() -> None:
    with ThreadPoolExecutor(max_workers=8) as pool:
        fleet = Fleet(30, executor=pool)
        report = fleet.change(state="restarted")
    assert statuses(report) == ["restarted"] * 30
    assert [outcome.machine_id for outcome in report.outcomes] == fleet.machine_ids
    assert fleet.service.done_counts()["restarts"] == 30


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"machine_ids": [], "state": "started"}, "machine_ids"),
        ({}, "nothing to do"),
        ({"auto_snapshot": {"save_count": 11}}, "save_count"),
        ({"auto_snapshot": {"save_count": -1}}, "save_count"),
        ({"state": "started", "machine_ids": ["a/b"]}, "'a/b'"),
        ({"state": "started", "wait_timeout": float("nan")}, "wait_timeout"),
        ({"state": "started", "wait_interval": -1}, "wait_interval"),
    ],
)
def test_bad_input_is_refused_before_any_request(wish: dict[str, Any], said: str) -> None:
    fleet = Fleet()
    with pytest.raises(InputError, match=said):
        fleet.change(**wish)
    assert len(fleet.service.log) == 0


def test_unknown_machine_is_refused_for_all_or_skipped() -> None:
    fleet = Fleet()
    asked = ["psnone", fleet.machine_id]
    with pytest.raises(InputError, match="psnone"):
        fleet.change(machine_ids=asked, state="stopped")
    assert fleet.writes() == []
    assert statuses(fleet.change(machine_ids=asked, state="stopped", skip_missing=True)) == ["skipped", "stopped"]


def test_settings_whose_every_answer_is_lost_are_sent_no_more_often_than_retries_say() -> None:
    fleet = Fleet()
    fleet.fault("status", method="PUT", status=500)
    result = only(fleet.change(auto_snapshot=DAILY, connection={"retries": 3}))
    assert result["status"] == "failed"
    assert "500" in str(result["error"])
    assert len(fleet.writes()) == 4


@pytest.mark.parametrize(
    ("state", "advice"),
    [
        ("stopped", "run the same task again to wait for it"),
        ("restarted", "the same task run again would do it once more"),
    ],
)
def test_what_the_same_task_would_do_is_told_when_it_times_out(state: str, advice: str) -> None:
    fleet = Fleet()
    fleet.fault("event", method="PATCH", state="stuck")
    result = only(fleet.change(state=state, wait_timeout=100))
    assert result["status"] == "timed_out"
    assert str(result["error"]).endswith(f"The work may still finish; {advice}.")


def test_settings_whose_change_is_work_are_told_as_they_are_after_it() -> None:
    fleet = Fleet(2, auto_snapshots_take_an_event=True)
    report = fleet.change(auto_snapshot=DAILY)
    assert statuses(report) == ["updated"] * 2
    assert [outcome.auto_snapshot for outcome in report.outcomes] == [DAILY] * 2


@pytest.mark.parametrize("is_lost", [False, True])
@pytest.mark.parametrize(
    ("event", "status"),
    [
        ({"state": "done"}, "updated"),
        # As if it had been the event of somebody else's work.
        ({"state": "done", "worked": False}, "unsure"),
        ({"state": "error", "worked": True}, "updated"),
        ({"state": "error"}, "failed"),
        ({"state": "cancelled"}, "failed"),
    ],
)
def test_what_became_of_settings_whose_change_is_work_shows_in_the_machine(
    event: dict[str, Any], status: str, is_lost: bool
) -> None:
    fleet = Fleet(auto_snapshots_take_an_event=True)
    fleet.fault("event", method="PUT", **event)
    if is_lost:
        fleet.fault("lost", method="PUT", when="after", times=1)
    [outcome] = fleet.change(auto_snapshot=DAILY).outcomes
    assert outcome.status == status
    assert (outcome.auto_snapshot == DAILY) == (status == "updated")


@pytest.mark.parametrize("lag", [0.0, 3.0])
@pytest.mark.parametrize(("wanted", "state"), [("stopped", "off"), ("started", "ready")])
def test_machine_that_somebody_else_has_moved_there_just_before_is_as_wanted(
    wanted: str, state: str, lag: float
) -> None:
    fleet = Fleet(state_lag_seconds=lag)
    if wanted == "started":
        fleet.service.change_machine(fleet.machine_id, state="off")
    fleet.just_before("PATCH", ".*", lambda: fleet.service.machine(fleet.machine_id).enter(state, fleet.clock.now()))
    report = fleet.change(state=wanted)
    result = only(report)
    assert (result["status"], result["state"], result["error"]) == ("unchanged", state, None)
    assert not report.outcomes[0].is_changed
    assert len(fleet.writes()) == 1


@pytest.mark.parametrize(("status", "seconds"), [(400, 6.0), (403, 0.5), (404, 0.5)])
@pytest.mark.parametrize("then", ["ready", "upgrading"])
def test_refusal_counts_where_the_machine_does_not_get_there(status: int, seconds: float, then: str) -> None:
    fleet = Fleet()
    fleet.fault("status", method="PATCH", status=status, message="Not today.")

    def moved_after_the_request(request: Request, handle: Handler) -> Response:
        response = handle(request)
        if request.method == "PATCH":
            fleet.service.machine(fleet.machine_id).enter(then, fleet.clock.now())
        return response

    fleet.come_between(moved_after_the_request)
    began = fleet.clock.now()
    result = only(fleet.change(state="stopped"))
    assert result["status"] == "failed"
    assert "Not today." in result["error"]
    assert fleet.clock.now() - began <= seconds


def test_stop_that_failed_is_not_made_good_by_what_somebody_else_does_then() -> None:
    fleet = Fleet()
    fleet.fault("event", method="PATCH", state="error", error="no power")
    looks: list[float] = []

    def off_in_the_end(request: Request, handle: Handler) -> Response:
        if fleet.writes() and request.path == f"/machines/{fleet.machine_id}":
            looks.append(fleet.clock.now())
            if looks[-1] - looks[0] > 5.5:
                fleet.service.machine(fleet.machine_id).enter("off", fleet.clock.now())
        return handle(request)

    fleet.come_between(off_in_the_end)
    result = only(fleet.change(state="stopped"))
    assert result["status"] == "failed"
    assert "no power" in result["error"]
