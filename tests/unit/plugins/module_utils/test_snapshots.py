# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""paperspace_snapshot's work against the simulator: what is really done, what the entries say, and what is asked."""

from __future__ import annotations

import itertools
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any

import pytest
from unit.simulated_fleet import Fleet, SimulatorAdapter, only, statuses

from ansible_collections.community.paperspace.plugins.module_utils._errors import InputError, Unauthorized
from ansible_collections.community.paperspace.plugins.module_utils._snapshot_plans import Wish
from ansible_collections.community.paperspace.plugins.module_utils._snapshots import run_snapshots

RUN = "maint-20260101T000000Z-1a2b"
CREATE = {"method": "POST", "path": "/snapshots"}
RESTORE = {"method": "POST", "path": "/snapshots/[^/]+/restore"}
DELETE = {"method": "DELETE"}

# How an answer can be lost, and whether the service does the work each time that it happens.
LOSSES: dict[str, tuple[dict[str, Any], bool]] = {
    "dropped before the work": ({"action": "lost"}, False),
    "dropped after the work": ({"action": "lost", "when": "after"}, True),
    "broken off in the body": ({"action": "lost", "mid_body": True}, True),
    "timeout before the work": ({"action": "timeout"}, False),
    "timeout after the work": ({"action": "timeout", "when": "after"}, True),
    "500 before the work": ({"action": "status", "status": 500}, False),
    "500 after the work": ({"action": "status", "status": 500, "when": "after"}, True),
    "502 page before the work": ({"action": "html", "status": 502}, False),
    "502 page after the work": ({"action": "html", "status": 502, "when": "after"}, True),
    "truncated JSON": ({"action": "truncated"}, True),
    "no fields": ({"action": "without_fields"}, True),
    "no event": ({"action": "without_fields", "fields": ["event"]}, True),
    "an event without its id": ({"action": "without_fields", "fields": ["event.id"]}, True),
    "an empty 200": ({"action": "empty", "when": "after"}, True),
    "an error body under 200": ({"action": "error_body", "status": 500, "when": "after"}, True),
}
losses = pytest.mark.parametrize("loss", LOSSES)


# present


def test_present_creates_and_says_so() -> None:
    fleet = Fleet(2)
    report = fleet.run(name="before")
    assert statuses(report) == ["created", "created"]
    assert fleet.service.done_counts()["creates"] == 2
    for outcome, machine_id in zip(report.outcomes, fleet.machine_ids, strict=True):
        result = outcome.to_result()
        (made,) = fleet.service.snapshots(machine_id)
        event = fleet.service.events(machine_id)[-1]
        assert made["complete"]
        assert (result["id"], result["name"], result["machine_id"]) == (made["id"], "before", machine_id)
        assert (result["event_id"], result["event_state"], result["error"]) == (event["id"], "done", None)
        assert result["seconds"] >= 3
    assert report.before.count("- before") == 0
    assert report.after.count("- before") == 2


def test_present_again_is_unchanged_and_sends_nothing() -> None:
    fleet = Fleet(2)
    first = fleet.run(name="before")
    fleet.service.log.clear()
    again = fleet.run(name="before")
    assert statuses(again) == ["unchanged", "unchanged"]
    assert [a.to_result()["id"] for a in again.outcomes] == [a.to_result()["id"] for a in first.outcomes]
    assert fleet.writes() == []
    assert not any(outcome.is_changed for outcome in again.outcomes)


DONE = {
    "would_create": "created",
    "would_rename": "renamed",
    "would_delete": "deleted",
    "would_restore": "restored",
}


@pytest.mark.parametrize(
    ("wish", "status"),
    [
        ({"name": "new"}, "would_create"),
        ({"name": "there"}, "unchanged"),
        ({"name": "there", "new_name": "other"}, "would_rename"),
        ({"state": "absent", "name": "there"}, "would_delete"),
        ({"state": "absent", "name": "new"}, "unchanged"),
        ({"state": "restored", "name": "there"}, "would_restore"),
        ({"state": "restored", "name": "there", "safety_snapshot": True}, "would_restore"),
        ({"state": "absent", "name_prefix": "the", "keep": 0}, "would_delete"),
        ({"name": "broken"}, "would_create"),
    ],
)
def test_check_mode_only_reads(wish: dict[str, Any], status: str) -> None:
    fleet = Fleet()
    fleet.made_snapshot("there")
    fleet.failed_snapshot("broken")
    before = fleet.service.snapshots()
    fleet.service.log.clear()
    report = fleet.run(check_mode=True, **wish)
    assert statuses(report) == [status]
    assert len(fleet.service.log) > 0
    assert fleet.writes() == []
    assert fleet.service.snapshots() == before
    # The same task without check mode does just what was said.
    done = fleet.run(**wish)
    assert statuses(done) == [DONE.get(status, status)]
    assert done.after == report.after


def test_running_create_is_joined() -> None:
    fleet = Fleet()
    snapshot_id, event_id = fleet.begin_snapshot("before")
    result = only(fleet.run(name="before"))
    assert (result["status"], result["id"], result["event_id"]) == ("unchanged", snapshot_id, event_id)
    assert fleet.writes() == []
    assert fleet.service.snapshots()[0]["complete"]


def test_running_create_that_fails_is_replaced() -> None:
    fleet = Fleet()
    fleet.fault("event", **CREATE, state="error", error="no space", times=1)
    broken, _event_id = fleet.begin_snapshot("before")
    result = only(fleet.run(name="before"))
    assert result["status"] == "created"
    assert result["id"] != broken
    assert [item["complete"] for item in fleet.service.snapshots()] == [True]


def test_create_that_becomes_visible_only_after_the_plan_is_joined() -> None:
    fleet = Fleet(snapshot_invisible_seconds=1.5)
    snapshot_id, _event_id = fleet.begin_snapshot("before")
    result = only(fleet.run(name="before"))
    assert (result["status"], result["id"]) == ("unchanged", snapshot_id)
    assert fleet.writes() == []


def test_failed_create_is_replaced() -> None:
    fleet = Fleet()
    broken = fleet.failed_snapshot("before")
    report = fleet.run(name="before")
    result = only(report)
    assert result["status"] == "created"
    assert result["id"] != broken
    assert [item["complete"] for item in fleet.service.snapshots()] == [True]
    assert fleet.writes() == [f"DELETE /snapshots/{broken}", "POST /snapshots"]
    assert report.after.count("- before") == 1


def test_ambiguous_present_is_refused_for_that_machine_only() -> None:
    fleet = Fleet(3)
    twins = [fleet.made_snapshot("before", fleet.machine_ids[1]) for _number in range(2)]
    report = fleet.run(name="before")
    assert statuses(report) == ["created", "failed", "created"]
    error = str(report.outcomes[1].error)
    assert all(snapshot_id in error for snapshot_id in twins)
    assert fleet.service.done_counts()["creates"] == 4


def test_one_good_snapshot_beside_a_failed_one_of_the_same_name_is_enough() -> None:
    fleet = Fleet()
    fleet.failed_snapshot("before")
    good = fleet.made_snapshot("before")
    result = only(fleet.run(name="before"))
    assert (result["status"], result["id"]) == ("unchanged", good)
    assert fleet.writes() == []


def test_event_without_reason_is_unsure_and_is_not_replaced() -> None:
    fleet = Fleet()
    fleet.failed_snapshot("before", error=None)
    fleet.made_snapshot("other")
    result = only(fleet.run(name="before"))
    assert result["status"] == "unsure"
    assert fleet.writes() == []


def test_snapshot_that_failed_most_likely_is_not_deleted() -> None:
    """One client found that nothing was done by a create in error without reason and end (FACTS.md): no proof."""
    fleet = Fleet()
    rule = fleet.fault("event", **CREATE, state="error", finished=False, worked=True, times=1)
    assert only(fleet.run(name=RUN))["status"] == "unsure"
    fleet.service.faults.remove(rule)
    [kept] = fleet.service.snapshots()
    fleet.later(1000)
    again = only(fleet.run(name=RUN))
    assert (again["status"], again["id"]) == ("unsure", kept["id"])
    assert "it is not known whether it is whole" in again["error"]
    assert [outcome.status for outcome in fleet.run(state="absent", name_prefix="maint-", keep=0).outcomes] == []
    assert fleet.names() == [RUN]


@pytest.mark.parametrize("outcome", ["ok", "restored"])
def test_run_that_is_closed_for_a_machine_gets_no_second_snapshot(outcome: str) -> None:
    fleet = Fleet(2)
    closed = fleet.made_snapshot(f"{RUN}-{outcome}")
    report = fleet.run(name=RUN)
    assert statuses(report) == ["failed", "created"]
    assert closed in str(report.outcomes[0].error)
    assert "begin another run" in str(report.outcomes[0].error)
    assert fleet.names() == [f"{RUN}-{outcome}"]


def test_present_of_a_hundred_machines_is_within_the_budget() -> None:
    fleet = Fleet(100)
    report = fleet.run(name="before")
    assert statuses(report) == ["created"] * 100
    assert_budget(fleet)


def test_present_of_a_hundred_machines_by_threads_is_within_the_budget() -> None:
    with ThreadPoolExecutor(max_workers=16) as pool:
        fleet = Fleet(100, executor=pool)
        report = fleet.run(name="before")
    assert statuses(report) == ["created"] * 100
    assert [outcome.machine_id for outcome in report.outcomes] == fleet.machine_ids
    assert_budget(fleet)


def assert_budget(fleet: Fleet) -> None:
    calls = Counter(fleet.service.log.calls())
    assert calls["POST /snapshots"] == 100
    # A poll is a page of events after the first POST.
    log = list(fleet.service.log)
    begun = next(number for number, entry in enumerate(log) if entry.method == "POST")
    polls = [entry for entry in log[begun:] if entry.method == "GET" and entry.path.startswith("/machine-events")]
    assert polls
    assert len(log) - 100 - len(polls) <= 20
    by_look = Counter(entry.at for entry in polls)
    assert max(by_look.values()) <= 1
    assert fleet.service.done_counts()["creates"] == 100


def test_polls_of_three_hundred_machines_are_one_request_per_120() -> None:
    fleet = Fleet(300, snapshot_seconds=20.0)
    assert set(statuses(fleet.run(name="before"))) == {"created"}
    log = list(fleet.service.log)
    last_post = max(number for number, entry in enumerate(log) if entry.method == "POST")
    by_look = Counter(entry.at for entry in log[last_post:] if entry.path.startswith("/machine-events"))
    assert by_look
    assert max(by_look.values()) <= 3


def test_auto_snapshot_of_the_name_is_nothing_to_rely_on() -> None:
    # The service deletes it whenever it likes, and a second one of the name could not be restored by it.
    fleet = Fleet(2)
    auto = fleet.service.add_snapshot(fleet.machine_id, "before", auto=True)
    report = fleet.run(name="before")
    assert statuses(report) == ["failed", "created"]
    assert auto in str(report.outcomes[0].error)
    assert [item["id"] for item in fleet.service.snapshots(fleet.machine_id)] == [auto]


def test_wait_false_leaves_pending_and_the_next_run_joins() -> None:
    fleet = Fleet()
    pending = only(fleet.run(name="before", wait=False))
    assert (pending["status"], pending["event_state"]) == ("pending", "new")
    joined = only(fleet.run(name="before"))
    assert (joined["status"], joined["id"]) == ("unchanged", pending["id"])
    assert fleet.service.accepted_counts()["creates"] == 1


def test_wait_false_sends_nothing_beside_a_create_that_may_be_of_this_name() -> None:
    fleet = Fleet(busy="queue", snapshot_invisible_seconds=20.0, snapshot_seconds=60.0)
    pending = only(fleet.run(name="before", wait=False))
    assert pending["status"] == "pending"
    again = only(fleet.run(name="before", wait=False))
    assert again["status"] == "failed"
    assert str(pending["event_id"]) in str(again["error"])
    fleet.later(30)
    assert only(fleet.run(name="before", wait=False))["status"] == "pending"
    assert fleet.service.accepted_counts()["creates"] == 1


# Lost answers


@losses
def test_lost_answer_to_create_makes_just_one_snapshot(loss: str) -> None:
    fleet = Fleet()
    rule, _works = LOSSES[loss]
    fleet.service.faults.add({**rule, **CREATE, "times": 1})
    result = only(fleet.run(name="before"))
    assert result["status"] == "created", result
    (made,) = fleet.service.snapshots()
    assert made["complete"]
    assert (result["id"], result["event_state"]) == (made["id"], "done")
    assert fleet.service.accepted_counts()["creates"] == 1


@losses
def test_lost_answer_to_create_after_an_older_one_of_the_name_was_deleted(loss: str) -> None:
    # The machine's history has a create that is done, but it is not this snapshot's.
    fleet = Fleet(event_invisible_seconds=2.0, snapshot_seconds=20.0)
    fleet.deleted(fleet.made_snapshot("before"))
    rule, _works = LOSSES[loss]
    fleet.service.faults.add({**rule, **CREATE, "times": 1})
    result = only(fleet.run(name="before"))
    assert result["status"] == "created", result
    assert [item["complete"] for item in fleet.service.snapshots()] == [True]
    assert fleet.service.accepted_counts()["creates"] == 2


def test_lost_create_is_not_proven_by_the_newest_create_of_before() -> None:
    fleet = Fleet(event_invisible_seconds=2.0, snapshot_seconds=20.0)
    fleet.made_snapshot("other")
    fleet.fault("lost", **CREATE, when="after", times=1)
    result = only(fleet.run(name="before"))
    assert (result["status"], result["event_state"]) == ("created", "done")
    assert [item["complete"] for item in fleet.service.snapshots()] == [True, True]


def test_lost_create_whose_event_never_shows_is_unsure() -> None:
    fleet = Fleet(is_history_whole=False, event_invisible_seconds=1e6)
    fleet.fault("lost", **CREATE, when="after", times=1)
    result = only(fleet.run(name="before"))
    assert result["status"] == "unsure"
    assert "no event" in str(result["error"])


def test_rerun_while_the_event_does_not_show_yet_waits_for_it() -> None:
    fleet = Fleet(event_invisible_seconds=3.0, snapshot_seconds=20.0)
    fleet.deleted(fleet.made_snapshot("old"))
    fleet.later(3 * 24 * 3600)
    run = "maint-20260104T000000Z-1a2b"
    fleet.begin_snapshot(run)
    assert only(fleet.run(name=run))["status"] == "unchanged"
    assert fleet.service.snapshots()[0]["complete"]
    assert fleet.writes() == []


def test_lost_create_whose_snapshot_shows_late_is_found() -> None:
    fleet = Fleet(snapshot_invisible_seconds=5.0, event_invisible_seconds=5.0)
    fleet.fault("lost", **CREATE, when="after", times=1)
    assert only(fleet.run(name="before"))["status"] == "created"
    assert fleet.service.accepted_counts()["creates"] == 1


def test_lost_create_is_not_proven_by_what_somebody_else_made_meanwhile() -> None:
    """Its own event shows late, and an auto-snapshot began and ended after the task had looked at the events."""
    fleet = Fleet(snapshot_seconds=20.0)
    clock = fleet.clock

    class Meanwhile(SimulatorAdapter):
        def send(self, request: Any, **options: Any) -> Any:
            if request.method == "POST":
                fleet.service.add_snapshot(fleet.machine_id, "automatic", auto=True)
                fleet.add_event("snapshot-create")
            return super().send(request, **options)

    fleet.fault("event_invisible", method="POST", seconds=25.0)
    fleet.fault("event", method="POST", state="error", error="no space")
    fleet.fault("lost", method="POST", when="after", times=1)
    began = clock.now()
    client = fleet.client(adapter=Meanwhile(fleet.service))
    wish = Wish(name="x", machine_ids=fleet.machine_ids)
    report = run_snapshots(client, wish, check_mode=False, executor=fleet.executor)
    assert statuses(report) == ["unsure"]
    assert "does not show which of these events made it, and not all are done" in str(report.outcomes[0].error)
    assert clock.now() - began >= 25


def test_lost_create_that_fails_says_that_it_failed() -> None:
    fleet = Fleet()
    fleet.fault("event", **CREATE, state="error", error="no space", times=1)
    fleet.fault("lost", **CREATE, when="after", times=1)
    result = only(fleet.run(name="before"))
    assert result["status"] == "failed"
    assert "no space" in str(result["error"])
    assert fleet.service.accepted_counts()["creates"] == 1


def test_create_whose_every_answer_is_lost_before_the_work_fails_in_the_end() -> None:
    fleet = Fleet()
    fleet.fault("lost", **CREATE)
    report = fleet.run(name="before", connection={"retries": 2})
    result = only(report)
    assert result["status"] == "failed"
    assert "POST /snapshots" in str(result["error"])
    assert fleet.service.accepted_counts()["creates"] == 0
    assert fleet.writes() == ["POST /snapshots"] * 3


def test_lost_create_that_cannot_be_looked_for_is_unsure() -> None:
    fleet = Fleet()
    fleet.fault("lost", **CREATE, when="after", times=1)
    fleet.fault("status", method="GET", path="/snapshots", status=503, nth=list(range(2, 5000)))
    result = only(fleet.run(name="before", wait_timeout=300))
    assert result["status"] == "unsure"
    assert "not known" in str(result["error"])
    assert fleet.service.accepted_counts()["creates"] == 1


@losses
def test_lost_answer_to_delete_deletes_once(loss: str) -> None:
    fleet = Fleet()
    fleet.made_snapshot("keep")
    fleet.made_snapshot("before")
    rule, _works = LOSSES[loss]
    fleet.service.faults.add({**rule, **DELETE, "times": 1})
    result = only(fleet.run(state="absent", name="before"))
    assert result["status"] == "deleted", result
    assert fleet.names() == ["keep"]
    assert fleet.service.done_counts()["deletes"] == 1


@losses
def test_lost_answers_to_deletes_of_one_machine_delete_each_once(loss: str) -> None:
    fleet = Fleet()
    for number in range(3):
        fleet.made_snapshot(f"old-{number}")
    rule, _works = LOSSES[loss]
    fleet.service.faults.add({**rule, **DELETE, "nth": [1, 3]})
    report = fleet.run(state="absent", name_prefix="old-", keep=0)
    assert statuses(report) == ["deleted"] * 3
    assert fleet.names() == []
    assert fleet.service.done_counts()["deletes"] == 3


@losses
def test_lost_answer_to_restore_restores_once(loss: str) -> None:
    fleet = Fleet()
    fleet.made_snapshot("before")
    rule, _works = LOSSES[loss]
    fleet.service.faults.add({**rule, **RESTORE, "times": 1})
    result = only(fleet.run(state="restored", name="before"))
    assert result["status"] == "restored", result
    assert result["event_state"] == "done"
    assert fleet.service.accepted_counts()["restores"] == 1


@losses
def test_lost_answer_to_restore_is_not_taken_for_an_earlier_one(loss: str) -> None:
    fleet = Fleet(event_invisible_seconds=2.0)
    fleet.made_snapshot("before")
    fleet.run(state="restored", name="before")
    rule, _works = LOSSES[loss]
    fleet.service.faults.add({**rule, **RESTORE, "times": 1})
    result = only(fleet.run(state="restored", name="before"))
    assert result["status"] == "restored", result
    assert fleet.service.done_counts()["restores"] == 2


@losses
def test_lost_answer_to_rename_ends_with_the_new_name(loss: str) -> None:
    fleet = Fleet()
    fleet.made_snapshot("before")
    rule, _works = LOSSES[loss]
    fleet.service.faults.add({**rule, "method": "PUT", "times": 1})
    result = only(fleet.run(name="before", new_name="after"))
    assert (result["status"], result["name"]) == ("renamed", "after")
    assert fleet.names() == ["after"]


def test_rename_whose_every_answer_is_lost_is_sent_no_more_often_than_retries_say() -> None:
    fleet = Fleet()
    fleet.made_snapshot("before")
    fleet.fault("status", method="PUT", status=500)
    result = only(fleet.run(name="before", new_name="after", connection={"retries": 3}))
    assert result["status"] == "failed"
    assert "500" in str(result["error"])
    assert len(fleet.writes()) == 4


# Busy, slowed down, and events that end badly


@pytest.mark.parametrize("busy", ["conflict", "queue"])
@pytest.mark.parametrize(
    ("wish", "status"),
    [
        ({"name": "new"}, "created"),
        ({"state": "absent", "name": "before"}, "deleted"),
        ({"state": "restored", "name": "before"}, "restored"),
    ],
)
def test_busy_machine_is_waited_for(busy: str, wish: dict[str, Any], status: str) -> None:
    fleet = Fleet(busy=busy, restart_seconds=40.0)
    fleet.made_snapshot("before")
    fleet.send("PATCH", f"/machines/{fleet.machine_id}/restart", {})
    result = only(fleet.run(**wish))
    assert result["status"] == status, result
    assert result["seconds"] >= 40


@pytest.mark.parametrize(
    ("wish", "status", "fault"),
    [
        ({"name": "new"}, "created", CREATE),
        ({"state": "absent", "name": "before"}, "deleted", DELETE),
        ({"state": "restored", "name": "before"}, "restored", RESTORE),
    ],
)
def test_busy_answer_without_a_visible_cause_is_tried_again(
    wish: dict[str, Any], status: str, fault: dict[str, Any]
) -> None:
    fleet = Fleet()
    fleet.made_snapshot("before")
    fleet.fault("busy", **fault, times=4)
    assert only(fleet.run(**wish))["status"] == status
    assert len(fleet.writes()) == 5
    accepted = fleet.service.accepted_counts()
    assert (accepted["creates"] - 1, accepted["deletes"], accepted["restores"]).count(1) == 1


def test_machine_that_stays_busy_times_out_and_nothing_was_begun() -> None:
    fleet = Fleet()
    fleet.fault("busy", **CREATE)
    report = fleet.run(name="before", wait_timeout=120)
    result = only(report)
    assert result["status"] == "timed_out"
    assert "busy" in str(result["error"])
    assert "nothing was begun" in str(result["error"])
    assert not report.outcomes[0].is_changed


def test_busy_machine_fails_at_once_when_not_to_wait() -> None:
    fleet = Fleet()
    fleet.fault("busy", **CREATE)
    assert only(fleet.run(name="before", wait=False))["status"] == "failed"
    assert fleet.writes() == ["POST /snapshots"]


@pytest.mark.parametrize("retry_after", [None, 7])
@pytest.mark.parametrize(
    ("wish", "status", "fault"),
    [
        ({"name": "new"}, "created", CREATE),
        ({"state": "absent", "name": "before"}, "deleted", DELETE),
        ({"state": "restored", "name": "before"}, "restored", RESTORE),
        ({"name": "before", "new_name": "after"}, "renamed", {"method": "PUT"}),
    ],
)
def test_429_is_sent_again(retry_after: int | None, wish: dict[str, Any], status: str, fault: dict[str, Any]) -> None:
    fleet = Fleet()
    fleet.made_snapshot("before")
    fleet.fault("status", **fault, status=429, retry_after=retry_after, times=2)
    result = only(fleet.run(**wish))
    assert result["status"] == status
    assert len(fleet.writes()) == 3
    if retry_after:
        first, second, third = [entry.at for entry in fleet.service.log if entry.method != "GET"]
        assert second - first >= retry_after
        assert third - second >= retry_after


@pytest.mark.parametrize(
    ("event", "status", "said"),
    [
        ({"state": "error", "error": "no space"}, "failed", "no space"),
        ({"state": "error", "finished": True}, "unsure", "may be done all the same"),
        ({"state": "error", "finished": False}, "unsure", "most likely nothing was done"),
        ({"state": "error", "finished": True, "worked": True}, "unsure", "may be done all the same"),
        ({"state": "cancelled"}, "failed", "cancelled"),
    ],
)
@pytest.mark.parametrize(
    ("wish", "fault"),
    [
        ({"name": "new"}, CREATE),
        ({"state": "restored", "name": "before"}, RESTORE),
    ],
)
def test_event_that_ends_badly(
    wish: dict[str, Any], fault: dict[str, Any], event: dict[str, Any], status: str, said: str
) -> None:
    fleet = Fleet()
    fleet.made_snapshot("before")
    fleet.fault("event", **fault, **event, times=1)
    report = fleet.run(**wish)
    result = only(report)
    assert result["status"] == status
    assert said in str(result["error"])
    assert str(result["event_id"]) in str(result["error"])
    assert result["event_state"] == event["state"]
    assert report.outcomes[0].is_changed
    assert len(fleet.writes()) == 1


@pytest.mark.parametrize(
    ("event", "status", "said"),
    [
        ({"state": "error", "error": "no space"}, "failed", "no space"),
        ({"state": "error"}, "failed", "nothing came of it"),
        ({"state": "error", "worked": True}, "deleted", ""),
        ({"state": "error", "error": "no space", "worked": True}, "deleted", ""),
        ({"state": "cancelled"}, "failed", "cancelled"),
    ],
)
def test_after_a_delete_that_ended_badly_the_snapshot_shows_whether_it_was_done(
    event: dict[str, Any], status: str, said: str
) -> None:
    fleet = Fleet()
    fleet.made_snapshot("before")
    fleet.fault("event", **DELETE, **event)
    result = only(fleet.run(state="absent", name="before"))
    assert (result["status"], result["event_state"]) == (status, event["state"])
    assert said in str(result["error"])
    assert len(fleet.writes()) == 1


def test_create_that_ended_badly_and_left_no_snapshot_was_not_done() -> None:
    fleet = Fleet(failed_create_leaves_record=False)
    fleet.fault("event", **CREATE, state="error")
    result = only(fleet.run(name="before"))
    assert result["status"] == "failed"
    assert "nothing came of it" in str(result["error"])


@pytest.mark.parametrize("wish", [{"name": "new"}, {"state": "absent", "name": "before"}])
def test_what_an_event_in_error_did_is_unsure_when_it_cannot_be_looked_up(wish: dict[str, Any]) -> None:
    fleet = Fleet()
    fleet.made_snapshot("before")
    fleet.fault("event", method=["POST", "DELETE"], state="error")
    fleet.fault("status", method="GET", path="/snapshots.*", status=503, after_change=True)
    result = only(fleet.run(**wish, wait_timeout=100))
    assert result["status"] == "unsure"
    assert str(result["event_id"]) in str(result["error"])


def test_nobody_is_told_to_repeat_a_restore_lightly() -> None:
    fleet = Fleet()
    fleet.made_snapshot("before")
    fleet.later()
    fleet.fault("event", method="POST", path=".*/restore", state="stuck")
    result = only(fleet.run(state="restored", name="before", wait_timeout=100))
    assert result["status"] == "timed_out"
    assert str(result["error"]).endswith("the same task run again would do it once more.")


def test_stuck_create_times_out_and_the_rerun_joins_it() -> None:
    fleet = Fleet(snapshot_seconds=400.0)
    report = fleet.run(name="before", wait_timeout=100)
    result = only(report)
    assert result["status"] == "timed_out"
    assert str(result["event_id"]) in str(result["error"])
    assert "run the same task again" in str(result["error"])
    assert result["event_state"] == "in progress"
    assert report.outcomes[0].is_changed
    again = only(fleet.run(name="before"))
    assert (again["status"], again["id"]) == ("unchanged", result["id"])
    assert fleet.service.accepted_counts()["creates"] == 1


@pytest.mark.parametrize("fault", [DELETE, RESTORE], ids=["delete", "restore"])
def test_stuck_event_times_out_and_is_named(fault: dict[str, Any]) -> None:
    fleet = Fleet()
    fleet.made_snapshot("before")
    fleet.fault("event", **fault, state="stuck")
    result = only(fleet.run(state="absent" if fault is DELETE else "restored", name="before", wait_timeout=100))
    assert result["status"] == "timed_out"
    assert str(result["event_id"]) in str(result["error"])


def test_one_stuck_machine_does_not_hold_up_the_others() -> None:
    fleet = Fleet(3)
    fleet.fault("event", **CREATE, machine_id=fleet.machine_ids[1], state="stuck")
    report = fleet.run(name="before", wait_timeout=100)
    assert statuses(report) == ["created", "timed_out", "created"]


@pytest.mark.parametrize("machines", [1, 3])
def test_event_that_is_invisible_at_first_is_waited_for(machines: int) -> None:
    fleet = Fleet(machines, event_invisible_seconds=8.0)
    assert statuses(fleet.run(name="before")) == ["created"] * machines
    assert fleet.service.accepted_counts()["creates"] == machines


@pytest.mark.parametrize("machines", [1, 3])
def test_polls_that_fail_for_a_while_are_no_failure(machines: int) -> None:
    fleet = Fleet(machines)
    fleet.fault("html", method="GET", path="/machine-events.*", status=503, nth=list(range(2, 12)))
    assert statuses(fleet.run(name="before")) == ["created"] * machines


def test_polls_that_never_come_back_time_out_and_say_why() -> None:
    fleet = Fleet()
    fleet.fault("html", method="GET", path="/machine-events.*", status=503, nth=list(range(2, 1000)))
    result = only(fleet.run(name="before", wait_timeout=100))
    assert result["status"] == "timed_out"
    assert "503" in str(result["error"])


# restored


def test_restored_waits_until_the_machine_has_settled() -> None:
    fleet = Fleet(2)
    ids = [fleet.made_snapshot("before", machine_id) for machine_id in fleet.machine_ids]
    report = fleet.run(state="restored", name="before")
    assert statuses(report) == ["restored", "restored"]
    assert [outcome.to_result()["id"] for outcome in report.outcomes] == ids
    assert [machine["state"] for machine in fleet.service.machines()] == ["ready", "ready"]
    assert fleet.service.done_counts()["restores"] == 2
    assert f"as of before ({ids[0]})" in report.after


@pytest.mark.parametrize("ends", ["ready", "off"])
@pytest.mark.parametrize("lag", [0.0, 1.0, 3.0, 4.5])
def test_restored_is_not_said_before_the_machine_has_settled_however_its_state_lags(ends: str, lag: float) -> None:
    fleet = Fleet(restore_ends=ends, state_lag_seconds=lag)
    fleet.made_snapshot("before")
    fleet.later()
    assert only(fleet.run(state="restored", name="before"))["status"] == "restored"
    assert fleet.service.machines()[0]["state"] == ends


@pytest.mark.parametrize(
    ("wish", "told"),
    [({"state": "restored"}, "has no snapshot named"), ({"new_name": f"{RUN}-ok"}, "no snapshot")],
)
def test_snapshot_of_this_name_that_is_somebody_elses_is_neither_restored_nor_renamed(
    wish: dict[str, Any], told: str
) -> None:
    fleet = Fleet()
    fleet.made_snapshot(RUN)
    fleet.later()
    try:
        error = str(only(fleet.run(name=RUN, own_ids={"ssown"}, **wish))["error"])
    except InputError as refused:
        error = str(refused)
    assert told in error
    assert fleet.writes() == []
    assert fleet.names() == [RUN]


@pytest.mark.parametrize("is_history_whole", [True, False])
def test_run_is_closed_after_its_restore_though_another_snapshot_failed_meanwhile(is_history_whole: bool) -> None:
    """Else the next rollback of the run would restore the machine again."""
    fleet = Fleet(is_history_whole=is_history_whole)
    fleet.made_snapshot(RUN)
    fleet.failed_snapshot("mine")
    assert statuses(fleet.run(state="restored", name=RUN)) == ["restored"]
    assert statuses(fleet.run(name=RUN, new_name=f"{RUN}-restored")) == ["renamed"]


def test_run_is_not_closed_as_restored_by_the_restore_of_another_snapshot() -> None:
    fleet = Fleet()
    fleet.made_snapshot("base")
    fleet.later(300)
    run = f"maint-{datetime.fromtimestamp(fleet.clock.now(), timezone.utc):%Y%m%dT%H%M%SZ}-1a2b"
    fleet.failed_snapshot(run)
    assert statuses(fleet.run(state="restored", name="base")) == ["restored"]
    assert statuses(fleet.run(name=run, new_name=f"{run}-restored")) == ["failed"]


def test_run_is_not_closed_as_restored_without_a_restore() -> None:
    fleet = Fleet()
    fleet.failed_snapshot(RUN)
    fleet.later()
    fleet.run(name="other")
    assert statuses(fleet.run(name=RUN, new_name=f"{RUN}-restored")) == ["failed"]


def test_a_large_fleet_that_settles_is_looked_at_rarely() -> None:
    # They stay off, which could be on their way.
    fleet = Fleet(240, restore_ends="off")
    for machine_id in fleet.machine_ids:
        fleet.made_snapshot("before", machine_id)
    fleet.later()
    assert statuses(fleet.run(state="restored", name="before")) == ["restored"] * 240
    looks = [entry.at for entry in fleet.service.log if entry.path == "/machines"]
    # Two pages for the plan, and two for each look.
    assert len(looks) == 2 + 2 * 4, looks
    assert looks[-1] - looks[2] == 5.0


def test_restored_again_is_a_change_again() -> None:
    fleet = Fleet()
    fleet.made_snapshot("before")
    for _number in range(2):
        assert only(fleet.run(state="restored", name="before"))["status"] == "restored"
    assert fleet.service.done_counts()["restores"] == 2


def test_safety_snapshot_is_found() -> None:
    fleet = Fleet()
    fleet.made_snapshot("before")
    result = only(fleet.run(state="restored", name="before", safety_snapshot=True))
    taken = [item for item in fleet.service.snapshots() if item["name"] != "before"]
    assert result["status"] == "restored"
    assert [result["safety_snapshot_id"]] == [item["id"] for item in taken]


def test_safety_snapshot_is_told_from_an_auto_snapshot_of_the_same_moment() -> None:
    fleet = Fleet()
    fleet.made_snapshot("before")
    original = fleet.service.world._begin

    def begin(operation: Any, at: float) -> None:
        original(operation, at)
        fleet.service.world.add_snapshot(operation.machine, "auto", True, at)

    fleet.service.world._begin = begin  # type: ignore[method-assign]
    result = only(fleet.run(state="restored", name="before", safety_snapshot=True))
    by_id = {item["id"]: item["name"] for item in fleet.service.snapshots()}
    assert by_id[result["safety_snapshot_id"]].startswith("Before restore")


def test_restore_of_many_at_once_reports_each_as_it_ends() -> None:
    fleet = Fleet(3)
    for machine_id in fleet.machine_ids:
        fleet.made_snapshot("before", machine_id)
    fleet.fault("event", **RESTORE, machine_id=fleet.machine_ids[0], state="error", error="disk gone")
    fleet.fault("event", **RESTORE, machine_id=fleet.machine_ids[2], state="error")
    report = fleet.run(state="restored", name="before")
    assert statuses(report) == ["failed", "restored", "unsure"]


def refused(fleet: Fleet, **wish: Any) -> str:
    """The refusal of a task, which came before anything was sent."""
    fleet.service.log.clear()
    with pytest.raises(InputError) as refusal:
        fleet.run(**wish)
    assert fleet.writes() == []
    return str(refusal.value)


def test_restored_is_refused_for_all_when_one_has_no_such_snapshot() -> None:
    fleet = Fleet(2)
    fleet.made_snapshot("before", fleet.machine_ids[0])
    said = refused(fleet, state="restored", name="before")
    assert fleet.machine_ids[1] in said
    assert "Nothing was restored" in said


def test_restored_is_refused_for_all_when_one_is_ambiguous() -> None:
    fleet = Fleet(2)
    fleet.made_snapshot("before", fleet.machine_ids[0])
    twins = [fleet.made_snapshot("before", fleet.machine_ids[1]) for _number in range(2)]
    said = refused(fleet, state="restored", name="before")
    assert all(snapshot_id in said for snapshot_id in twins)


def test_restored_is_refused_when_a_snapshot_is_of_another_machine() -> None:
    fleet = Fleet(2)
    here, there = (fleet.made_snapshot("before", machine_id) for machine_id in fleet.machine_ids)
    said = refused(fleet, state="restored", machine_ids=fleet.machine_ids[:1], snapshot_ids=[here, there])
    assert fleet.machine_ids[1] in said
    assert there in said


@pytest.mark.parametrize("selection", ["name", "id"])
@pytest.mark.parametrize("how", ["running", "failed", "unsure", "no event"])
def test_restored_is_refused_for_all_when_one_is_not_proven_done(how: str, selection: str) -> None:
    fleet = Fleet(2)
    good = fleet.made_snapshot("before", fleet.machine_ids[0])
    other = fleet.machine_ids[1]
    if how == "running":
        bad = fleet.begin_snapshot("before", other)[0]
    elif how == "no event":
        bad = fleet.service.add_snapshot(other, "before")
    else:
        bad = fleet.failed_snapshot("before", other, error="no space" if how == "failed" else None)
    chosen: dict[str, Any] = {"name": "before"} if selection == "name" else {"snapshot_ids": [good, bad]}
    said = refused(fleet, state="restored", **chosen)
    assert bad in said
    assert "not proven done" in said


@pytest.mark.parametrize("machines", [1, 2])
@pytest.mark.parametrize("cursor", ["null", "repeat"])
def test_restored_is_refused_when_the_list_of_events_breaks_off_before_the_snapshots_own(
    machines: int, cursor: str
) -> None:
    fleet = Fleet(machines, is_history_whole=False)
    bad = fleet.failed_snapshot("before")
    for dummy in range(130):
        fleet.add_event("restart")
    fleet.fault("cursor", cursor=cursor, path="/machine-events")
    said = refused(fleet, state="restored", snapshot_ids=[bad])
    assert "not proven done" in said


def test_restored_is_refused_when_two_snapshots_are_of_one_machine() -> None:
    fleet = Fleet()
    ids = [fleet.made_snapshot(name) for name in ("one", "two")]
    said = refused(fleet, state="restored", snapshot_ids=ids)
    assert all(snapshot_id in said for snapshot_id in ids)


def test_restored_is_refused_when_an_id_does_not_exist() -> None:
    fleet = Fleet()
    good = fleet.made_snapshot("before")
    assert "ssnone" in refused(fleet, state="restored", snapshot_ids=[good, "ssnone"])


def test_restored_by_id_of_one_of_twins() -> None:
    fleet = Fleet()
    twins = [fleet.made_snapshot("before") for _number in range(2)]
    result = only(fleet.run(state="restored", snapshot_ids=twins[:1]))
    assert (result["status"], result["id"]) == ("restored", twins[0])
    assert fleet.writes() == [f"POST /snapshots/{twins[0]}/restore"]


def test_skip_missing_restores_what_there_is_in_the_order_asked() -> None:
    fleet = Fleet(3)
    for machine_id in fleet.machine_ids[1:]:
        fleet.made_snapshot("before", machine_id)
    asked = ["psnone", *fleet.machine_ids]
    report = fleet.run(state="restored", name="before", machine_ids=asked, skip_missing=True)
    assert [(outcome.machine_id, outcome.status) for outcome in report.outcomes] == [
        ("psnone", "skipped"),
        (fleet.machine_ids[0], "skipped"),
        (fleet.machine_ids[1], "restored"),
        (fleet.machine_ids[2], "restored"),
    ]
    assert not report.outcomes[0].is_bad
    assert not report.outcomes[0].is_changed


def test_skip_missing_by_id() -> None:
    fleet = Fleet()
    good = fleet.made_snapshot("before")
    report = fleet.run(state="restored", snapshot_ids=["ssnone", good], skip_missing=True)
    assert [(outcome.to_result()["id"], outcome.status) for outcome in report.outcomes] == [
        ("ssnone", "skipped"),
        (good, "restored"),
    ]


def test_restore_that_is_refused_by_the_service_fails() -> None:
    fleet = Fleet()
    snapshot_id = fleet.made_snapshot("before")
    fleet.fault("status", **RESTORE, status=412, message="Snapshot is not complete.")
    result = only(fleet.run(state="restored", snapshot_ids=[snapshot_id]))
    assert result["status"] == "failed"
    assert "not complete" in str(result["error"])


# absent


def test_absent_by_name_and_again() -> None:
    fleet = Fleet(2)
    fleet.made_snapshot("before", fleet.machine_ids[0])
    fleet.made_snapshot("other", fleet.machine_ids[0])
    assert statuses(fleet.run(state="absent", name="before")) == ["deleted", "unchanged"]
    assert fleet.names() == ["other"]
    fleet.service.log.clear()
    assert statuses(fleet.run(state="absent", name="before")) == ["unchanged", "unchanged"]
    assert fleet.writes() == []


def test_absent_by_id_and_already_gone() -> None:
    fleet = Fleet()
    first, second = fleet.made_snapshot("before"), fleet.made_snapshot("before")
    report = fleet.run(state="absent", snapshot_ids=[second, "ssnone"])
    assert [(outcome.to_result()["id"], outcome.status) for outcome in report.outcomes] == [
        (second, "deleted"),
        ("ssnone", "unchanged"),
    ]
    assert [item["id"] for item in fleet.service.snapshots()] == [first]


def test_absent_of_an_ambiguous_name_is_refused_for_all_and_lists_the_ids() -> None:
    fleet = Fleet(2)
    fleet.made_snapshot("before", fleet.machine_ids[0])
    twins = [fleet.made_snapshot("before", fleet.machine_ids[1]) for _number in range(2)]
    said = refused(fleet, state="absent", name="before")
    assert all(snapshot_id in said for snapshot_id in twins)


def test_absent_by_id_of_another_machine_is_refused() -> None:
    fleet = Fleet(2)
    there = fleet.made_snapshot("before", fleet.machine_ids[1])
    assert there in refused(fleet, state="absent", machine_ids=[fleet.machine_id], snapshot_ids=[there])


def test_snapshot_that_somebody_else_deletes_meanwhile_is_unchanged() -> None:
    fleet = Fleet()
    snapshot_id = fleet.made_snapshot("before")
    fleet.send("DELETE", f"/snapshots/{snapshot_id}")
    fleet.service.log.clear()
    assert only(fleet.run(state="absent", name="before"))["status"] == "unchanged"
    assert fleet.service.done_counts()["deletes"] == 1


def test_keep_deletes_all_but_the_newest_of_the_prefix() -> None:
    fleet = Fleet(2)
    for number in range(4):
        fleet.made_snapshot(f"nightly-{number}")
    fleet.made_snapshot("weekly")
    fleet.made_snapshot("nightly-only", fleet.machine_ids[1])
    report = fleet.run(state="absent", name_prefix="nightly-", keep=2)
    assert {outcome.to_result()["name"] for outcome in report.outcomes} == {"nightly-0", "nightly-1"}
    assert set(statuses(report)) == {"deleted"}
    assert fleet.names() == ["nightly-2", "nightly-3", "weekly"]
    assert fleet.names(fleet.machine_ids[1]) == ["nightly-only"]
    fleet.service.log.clear()
    assert fleet.run(state="absent", name_prefix="nightly-", keep=2).outcomes == []
    assert fleet.writes() == []


def test_keep_neither_counts_nor_deletes_what_runs_or_is_unsure() -> None:
    fleet = Fleet()
    fleet.made_snapshot("nightly-old")
    fleet.made_snapshot("nightly-good")
    fleet.failed_snapshot("nightly-unsure", error=None)
    fleet.begin_snapshot("nightly-running")
    report = fleet.run(state="absent", name_prefix="nightly-", keep=1)
    assert [outcome.to_result()["name"] for outcome in report.outcomes] == ["nightly-old"]
    assert fleet.names() == ["nightly-good", "nightly-unsure", "nightly-running"]


def test_keep_deletes_failed_ones_without_counting_them() -> None:
    fleet = Fleet()
    fleet.made_snapshot("nightly-good")
    fleet.failed_snapshot("nightly-failed")
    fleet.run(state="absent", name_prefix="nightly-", keep=1)
    assert fleet.names() == ["nightly-good"]


def test_keep_never_touches_auto_snapshots_or_open_runs() -> None:
    fleet = Fleet()
    fleet.made_snapshot(RUN)
    fleet.made_snapshot(f"{RUN}-ok")
    fleet.made_snapshot("maint-notes")
    fleet.service.add_snapshot(fleet.machine_id, "maint-auto", auto=True)
    fleet.run(state="absent", name_prefix="maint-", keep=0)
    assert fleet.names() == [RUN, "maint-auto"]


def test_closed_runs_selects_only_the_names_of_this_collection() -> None:
    fleet = Fleet()
    for name in (RUN, f"{RUN}-ok", f"{RUN}-restored", "maint-notes", f"maint-x-{RUN[6:]}-ok", f"{RUN}-okay"):
        fleet.made_snapshot(name)
    fleet.run(state="absent", name_prefix="maint-", keep=1, closed_runs=True)
    assert fleet.names() == [RUN, f"{RUN}-restored", "maint-notes", f"maint-x-{RUN[6:]}-ok", f"{RUN}-okay"]


# rename


def test_rename_and_again() -> None:
    fleet = Fleet(2)
    ids = [fleet.made_snapshot("before", machine_id) for machine_id in fleet.machine_ids]
    report = fleet.run(name="before", new_name="after")
    assert [(o.status, o.to_result()["id"], o.to_result()["name"]) for o in report.outcomes] == [
        ("renamed", ids[0], "after"),
        ("renamed", ids[1], "after"),
    ]
    fleet.service.log.clear()
    assert statuses(fleet.run(name="before", new_name="after")) == ["unchanged", "unchanged"]
    assert fleet.writes() == []


def test_rename_to_the_same_name_is_unchanged() -> None:
    fleet = Fleet()
    fleet.made_snapshot("before")
    assert only(fleet.run(name="before", new_name="before"))["status"] == "unchanged"
    assert fleet.writes() == []


def test_rename_of_what_is_not_there_or_ambiguous_fails_for_that_machine_only() -> None:
    fleet = Fleet(4)
    fleet.made_snapshot("before", fleet.machine_ids[0])
    twins = [fleet.made_snapshot("before", fleet.machine_ids[2]) for _number in range(2)]
    both = [fleet.made_snapshot(name, fleet.machine_ids[3]) for name in ("before", "after")]
    report = fleet.run(name="before", new_name="after")
    assert statuses(report) == ["renamed", "failed", "failed", "failed"]
    assert all(snapshot_id in str(report.outcomes[2].error) for snapshot_id in twins)
    assert all(snapshot_id in str(report.outcomes[3].error) for snapshot_id in both)


@pytest.mark.parametrize("closed", ["-ok", "-restored"])
@pytest.mark.parametrize("how", ["running", "failed", "unsure", "no event"])
def test_run_is_not_closed_unless_its_snapshot_is_proven(how: str, closed: str) -> None:
    fleet = Fleet()
    if how == "running":
        fleet.begin_snapshot(RUN)
    elif how == "no event":
        fleet.service.add_snapshot(fleet.machine_id, RUN)
    else:
        fleet.failed_snapshot(RUN, error="no space" if how == "failed" else None)
    result = only(fleet.run(name=RUN, new_name=RUN + closed))
    assert result["status"] == "failed"
    assert fleet.writes() == []
    assert fleet.names() == [RUN]


def test_run_is_closed_when_its_snapshot_is_proven() -> None:
    fleet = Fleet()
    fleet.made_snapshot(RUN)
    assert only(fleet.run(name=RUN, new_name=f"{RUN}-ok"))["status"] == "renamed"
    # The name is the proof from then on, whatever becomes of the service's memory.
    fleet.service.world.events = type(fleet.service.world.events)()
    assert only(fleet.run(name=f"{RUN}-ok"))["status"] == "unchanged"


# Bad input, warnings


BAD_WISHES: dict[str, tuple[dict[str, Any], str]] = {
    "no machine": ({"machine_ids": [], "name": "x"}, "machine_ids"),
    "machines not given": ({"machine_ids": None, "name": "x"}, "machine_ids"),
    "no snapshot ids": ({"snapshot_ids": [], "state": "absent"}, "snapshot_ids"),
    "present without name": ({}, "name"),
    "an empty name": ({"name": ""}, "name"),
    "an empty new name": ({"name": "x", "new_name": ""}, "new_name"),
    "restored without name": ({"state": "restored"}, "name"),
    "absent without name": ({"state": "absent"}, "name"),
    "keep is negative": ({"state": "absent", "name_prefix": "x", "keep": -1}, "keep"),
    "keep without prefix": ({"state": "absent", "name": "x", "keep": 1}, "name_prefix"),
    "prefix without keep": ({"state": "absent", "name_prefix": "x"}, "keep"),
    "an empty prefix": ({"state": "absent", "name_prefix": "", "keep": 1}, "name_prefix"),
    "prefix for present": ({"name": "x", "name_prefix": "x", "keep": 1}, "name_prefix"),
    "prefix for restored": ({"state": "restored", "name_prefix": "x", "keep": 1}, "name_prefix"),
    "ids and name": ({"state": "absent", "snapshot_ids": ["s1"], "name": "x"}, "snapshot_ids"),
    "ids and prefix": ({"state": "absent", "snapshot_ids": ["s1"], "name_prefix": "x", "keep": 1}, "snapshot_ids"),
    "ids for present": ({"snapshot_ids": ["s1"]}, "snapshot_ids"),
    "new name for restored": ({"state": "restored", "name": "x", "new_name": "y"}, "new_name"),
    "safety snapshot for absent": ({"state": "absent", "name": "x", "safety_snapshot": True}, "safety_snapshot"),
    "closed runs without prefix": ({"state": "absent", "name": "x", "closed_runs": True}, "closed_runs"),
    "an id that is a path": ({"name": "x", "machine_ids": ["../team"]}, "'../team'"),
    "an id with a query": ({"name": "x", "machine_ids": ["ps1?x=y"]}, "'ps1?x=y'"),
    "an empty id": ({"name": "x", "machine_ids": [""]}, "''"),
    "a snapshot id that is a path": ({"state": "absent", "snapshot_ids": ["a/b"]}, "'a/b'"),
    "no time to wait": ({"name": "x", "wait_timeout": 0}, "wait_timeout"),
    "endless time to wait": ({"name": "x", "wait_timeout": float("inf")}, "wait_timeout"),
    "no number to wait": ({"name": "x", "wait_timeout": float("nan")}, "wait_timeout"),
    "no interval": ({"name": "x", "wait_interval": 0}, "wait_interval"),
    "endless interval": ({"name": "x", "wait_interval": float("inf")}, "wait_interval"),
    "no number of an interval": ({"name": "x", "wait_interval": float("nan")}, "wait_interval"),
}


@pytest.mark.parametrize("case", BAD_WISHES)
def test_bad_input_is_refused_before_any_request(case: str) -> None:
    fleet = Fleet()
    wish, said = BAD_WISHES[case]
    assert said in refused(fleet, **wish)
    assert len(fleet.service.log) == 0


@pytest.mark.parametrize(
    "wish",
    [
        {"name": "x"},
        {"name": "x", "new_name": "y"},
        {"state": "absent", "name": "x"},
        {"state": "absent", "name_prefix": "x", "keep": 1},
        {"state": "restored", "name": "x"},
    ],
)
def test_unknown_machine_is_refused_before_anything_is_sent(wish: dict[str, Any]) -> None:
    fleet = Fleet()
    fleet.made_snapshot("x")
    assert "psnone" in refused(fleet, machine_ids=[fleet.machine_id, "psnone"], **wish)


def test_unknown_key_is_refused_at_once() -> None:
    fleet = Fleet()
    with pytest.raises(Unauthorized, match="API key") as refusal:
        fleet.run(name="x", connection={"api_key": "some-other-key"})
    assert "some-other-key" not in str(refusal.value)
    assert fleet.service.log.calls() == ["GET /auth/session"]


def test_machine_that_is_named_twice_is_handled_once_in_its_first_place() -> None:
    fleet = Fleet(2)
    first, second = fleet.machine_ids
    report = fleet.run(name="before", machine_ids=[first, second, first])
    assert [outcome.machine_id for outcome in report.outcomes] == [first, second]
    assert fleet.service.done_counts()["creates"] == 2
    (warning,) = report.warnings
    assert first in warning


def test_restore_points_are_warned_of() -> None:
    fleet = Fleet()
    fleet.service.change_machine(fleet.machine_id, restorePointEnabled=True)
    (warning,) = fleet.run(name="before").warnings
    assert fleet.machine_id in warning
    assert "restore points" in warning


def test_wait_interval_is_kept_to() -> None:
    fleet = Fleet(snapshot_seconds=30.0)
    fleet.run(name="before", wait_interval=7)
    polls = [entry.at for entry in fleet.service.log if entry.path.startswith("/machine-events/")]
    assert len(polls) >= 4
    assert {round(later - earlier, 3) for earlier, later in itertools.pairwise(polls)} == {7.0}


@pytest.mark.parametrize("fault", [{"action": "refused"}, {"action": "status", "status": 429, "retry_after": 1000}])
def test_persistent_restore_is_sent_until_the_service_takes_it(fault: dict[str, Any]) -> None:
    fleet = Fleet(2)
    ids = {fleet.made_snapshot("before", machine_id) for machine_id in fleet.machine_ids}
    rule = fleet.fault(**fault, **RESTORE, machine_id=fleet.machine_id)
    wish = {"state": "restored", "name": "before", "own_ids": ids, "is_persistent": True}
    report = fleet.run(**wish, wait_timeout=1500)
    assert statuses(report) == ["failed", "restored"]
    assert report.outcomes[0].passes_after is not None
    assert report.outcomes[0].seconds >= 1500
    fleet.service.faults.remove(rule)
    fleet.fault(**fault, **RESTORE, machine_id=fleet.machine_id, times=20 if fault["action"] == "refused" else 1)
    report = fleet.run(**wish, wait_timeout=3600)
    assert statuses(report) == ["restored"] * 2
    assert fleet.service.done_counts()["restores"] == 3
