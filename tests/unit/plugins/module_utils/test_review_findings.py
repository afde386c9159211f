# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a review found: the work against the simulator when others, lost answers and long waits meet."""

from __future__ import annotations

import contextlib
import re
import signal
import sys
import threading
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import requests
from unit.fake_service import Answer, Call, scripted
from unit.simulated_fleet import API_URL, KEY, Fleet, Handler, QuickAdapter, only, statuses

from ansible_collections.community.paperspace.plugins.module_utils import _connection, _proving, _snapshots
from ansible_collections.community.paperspace.plugins.module_utils._client import Client
from ansible_collections.community.paperspace.plugins.module_utils._connection import Connection, connection_from
from ansible_collections.community.paperspace.plugins.module_utils._errors import InputError, InvalidAnswer
from ansible_collections.community.paperspace.plugins.module_utils._proof import Proof, State, needs_events_since
from ansible_collections.community.paperspace.plugins.module_utils._snapshot_plans import Wish
from ansible_collections.community.paperspace.plugins.module_utils._wire import Snapshot, parse_event
from simulator.messages import Response
from simulator.records import timestamp
from simulator.service import Request

NAME = "maint-20251231T235959Z-1a2b"
CREATE = {"method": "POST", "path": "/snapshots"}
RESTORE = {"method": "POST", "path": "/snapshots/[^/]+/restore"}


def test_lost_delete_after_another_delete_of_the_machine_is_no_storm() -> None:
    fleet = Fleet()
    first, second = fleet.made_snapshot("old-1"), fleet.made_snapshot("old-2")
    fleet.fault("status", method="DELETE", path=f"/snapshots/{second}", status=500)
    fleet.service.log.clear()
    report = fleet.run(state="absent", snapshot_ids=[first, second], connection={"retries": 2})
    assert statuses(report) == ["deleted", "failed"]
    assert fleet.service.log.calls().count(f"DELETE /snapshots/{second}") == 3


def test_create_that_another_controller_began_after_the_plan_is_joined() -> None:
    fleet = Fleet()
    fleet.just_before(**CREATE, act=lambda: fleet.begin_snapshot("before"))
    result = only(fleet.run(name="before"))
    assert fleet.names() == ["before"]
    assert result["status"] == "unchanged"
    assert result["id"] == fleet.service.snapshots()[0]["id"]


def test_name_that_the_service_says_is_taken_is_joined() -> None:
    fleet = Fleet(duplicate_names=False)
    fleet.just_before(**CREATE, act=lambda: fleet.made_snapshot("before"))
    result = only(fleet.run(name="before", wait_timeout=120))
    assert (result["status"], fleet.names()) == ("unchanged", ["before"])


def test_restore_of_somebody_else_that_was_waited_for_is_not_taken_for_the_own() -> None:
    fleet = Fleet()
    wanted, other = fleet.made_snapshot("wanted"), fleet.made_snapshot("other")
    fleet.just_before(**RESTORE, act=lambda: fleet.send("POST", f"/snapshots/{other}/restore", {}))
    fleet.fault("lost", method="POST", path=f"/snapshots/{wanted}/restore", nth=2)
    result = only(fleet.run(state="restored", name="wanted"))
    assert result["status"] == "restored"
    assert fleet.service.done_counts()["restores"] == 2


def test_restore_that_somebody_else_began_while_it_waited_is_not_taken_for_the_own() -> None:
    fleet = Fleet(restore_seconds=60.0)
    wanted, other = fleet.made_snapshot("wanted"), fleet.made_snapshot("other")
    running = fleet.send("POST", f"/snapshots/{other}/restore", {})["event"]["id"]

    def restore_again() -> None:
        fleet.later(70)
        fleet.send("POST", f"/snapshots/{other}/restore", {})
        fleet.later(70)

    fleet.just_before("GET", f"/machine-events/{running}", restore_again)
    fleet.fault("lost", method="POST", path=f"/snapshots/{wanted}/restore", nth=1)
    result = only(fleet.run(state="restored", name="wanted"))
    assert result["status"] == "restored"
    assert fleet.service.done_counts()["restores"] == 3


def test_restore_is_not_called_failed_when_only_its_safety_snapshot_cannot_be_listed() -> None:
    fleet = Fleet()
    snapshot_id = fleet.made_snapshot("before")
    handle = fleet.service.handle
    has_restored = False

    def handle_but_no_lists(request: Any) -> Any:
        nonlocal has_restored
        has_restored = has_restored or request.path.endswith("/restore")
        if has_restored and request.path == "/snapshots":
            fleet.fault("status", method="GET", path="/snapshots", status=403, times=1)
        return handle(request)

    fleet.service.handle = handle_but_no_lists  # type: ignore[method-assign]
    result = only(fleet.run(state="restored", snapshot_ids=[snapshot_id], safety_snapshot=True))
    assert result["status"] == "unsure"
    assert result["error"].startswith("The machine was restored")


def test_looks_that_fail_do_not_fail_an_adopted_create() -> None:
    fleet = Fleet()
    fleet.fault("lost", **CREATE, when="after", times=1)
    fleet.fault("status", method="GET", path="/machine-events", status=502, nth=list(range(2, 8)))
    result = only(fleet.run(name="before", connection={"retries": 0}))
    assert (result["status"], fleet.names()) == ("created", ["before"])


def test_deadline_while_an_adopted_create_is_proven_does_not_say_that_nothing_was_begun() -> None:
    fleet = Fleet()
    fleet.fault("lost", **CREATE, when="after", times=1)
    fleet.fault("event_invisible", **CREATE, seconds=3600)
    result = only(fleet.run(name="before", wait_timeout=10))
    assert result["status"] == "timed_out"
    assert "nothing was begun" not in result["error"]


def test_retry_after_does_not_hold_the_task_beyond_its_timeout() -> None:
    fleet = Fleet(3)
    fleet.fault("status", **CREATE, status=429, retry_after=600)
    before = fleet.clock.now()
    report = fleet.run(name="before", wait_timeout=60)
    assert set(statuses(report)) <= {"failed", "timed_out"}
    assert fleet.clock.now() - before <= 90


def test_interrupted_task_sends_nothing_more() -> None:
    fleet = Fleet(20)
    sent, go_on = threading.Event(), threading.Event()
    client = fleet.client(concurrency=1)
    counts: list[str] = []

    def create(machine_id: str, name: str) -> Any:
        counts.append(machine_id)
        sent.set()
        go_on.wait(5)
        raise InputError("no matter")

    client.create_snapshot = create  # type: ignore[method-assign]

    def interrupt(_scheduler: Any, _procedures: Any) -> None:
        for machine_id in fleet.machine_ids:
            _scheduler._executor.submit(client.create_snapshot, machine_id, "before")
        sent.wait(5)
        go_on.set()
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_snapshots.Scheduler, "run", interrupt)
        with pytest.raises(KeyboardInterrupt):
            _snapshots.run_snapshots(client, Wish(machine_ids=fleet.machine_ids, name="before"), check_mode=False)
    assert len(counts) <= 2


def test_interrupted_task_does_not_send_what_waits_for_the_rate_limit() -> None:
    """Real threads and a real clock: the interrupt comes as the restores wait for their next try, and ends that."""
    fleet = Fleet(3)
    for machine_id in fleet.machine_ids:
        fleet.made_snapshot("before", machine_id)
    fleet.fault("status", method="POST", path=".*/restore", status=429, retry_after=1)
    handle, lock, restores = fleet.service.handle, threading.Lock(), []
    main_thread = threading.get_ident()

    def counted(request: Any) -> Any:
        with lock:
            if request.path.endswith("/restore"):
                restores.append(request.path)
                if len(restores) == 1:
                    threading.Timer(0.2, signal.pthread_kill, [main_thread, signal.SIGUSR1]).start()
            return handle(request)

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    fleet.service.handle = counted  # type: ignore[method-assign]
    session = requests.Session()
    session.mount("http://", QuickAdapter(fleet.service))
    client = Client(Connection(api_key=KEY, api_url=API_URL), session=session)
    wish = Wish(state="restored", machine_ids=fleet.machine_ids, name="before")
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            _snapshots.run_snapshots(client, wish, check_mode=False)
    finally:
        signal.signal(signal.SIGUSR1, before)
    sent = len(restores)
    # The next task with this client sends again, when the service lets it: by then all others would have been sent too.
    assert client.machine(fleet.machine_id).id == fleet.machine_id
    assert len(restores) == sent <= 3


@pytest.mark.parametrize(("retry_after", "after"), [(None, 30), (10, 30), (100, 100)])
def test_request_that_may_have_been_done_is_not_sent_again_before_the_service_wants_it(
    retry_after: int | None, after: int
) -> None:
    fleet = Fleet()
    fleet.made_snapshot("before")
    fleet.later()
    fleet.fault("status", method="POST", path=".*/restore", times=1, status=503, when="before", retry_after=retry_after)
    assert statuses(fleet.run(state="restored", name="before")) == ["restored"]
    first, second = (entry.at for entry in fleet.service.log if entry.path.endswith("/restore"))
    assert after <= second - first < after + 20


@pytest.mark.parametrize("nth", [2, 3, 4])
def test_look_that_is_refused_does_not_make_a_failure_of_what_was_sent(nth: int) -> None:
    fleet = Fleet(snapshot_seconds=10)
    fleet.fault("lost", method="POST", path="/snapshots", when="after", times=1)
    fleet.fault("status", method="GET", path="/machine-events", status=403, code="FORBIDDEN", nth=nth)
    result = only(fleet.run(name="before"))
    assert (result["status"], len(fleet.names())) != ("failed", 1)
    if result["status"] == "unsure":
        assert "It was sent, but the service does not show what became of it: GET /machine-events" in result["error"]


@pytest.mark.parametrize(
    "wish",
    [
        {"state": "restored", "name": "before"},
        {"state": "absent", "name_prefix": "be", "keep": 0},
        {"name": "before", "new_name": "maint-20260101T000000Z-1a2b-ok"},
    ],
    ids=["restored", "keep", "renamed"],
)
def test_snapshot_that_failed_is_not_proven_by_what_somebody_makes_meanwhile(wish: dict[str, Any]) -> None:
    """While the task waits for an event that may not show yet."""
    fleet = Fleet(snapshot_seconds=5)
    fleet.made_snapshot("good")
    failed = fleet.failed_snapshot("before")
    fleet.later(3600)
    handle, began, made = fleet.service.handle, fleet.clock.now(), []

    def handle_beside_another(request: Any) -> Any:
        if not made and fleet.clock.now() - began >= 25:
            made.append("other")
            fleet.begin_snapshot("other")
            fleet.later(10)
        return handle(request)

    fleet.service.handle = handle_beside_another  # type: ignore[method-assign]
    proofs: list[Proof] = []
    prove = _proving.prove

    def kept(snapshot: Any, *arguments: Any, **options: Any) -> Proof:
        proof = prove(snapshot, *arguments, **options)
        proofs.extend([proof] if snapshot.id == failed else [])
        return proof

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_proving, "prove", kept)
        with contextlib.suppress(InputError):
            fleet.run(**wish)
    assert made
    assert State.DONE not in [proof.state for proof in proofs]
    assert "good" in fleet.names()


def tell_the_time(fleet: Fleet, text: str | None = None) -> None:
    """Let each answer have a C(Date): this text, or the time of the service's clock."""

    def dated(request: Request, handle: Handler) -> Response:
        response = handle(request)
        told = formatdate(fleet.clock.now(), usegmt=True) if text is None else text
        return replace(response, headers={**response.headers, "Date": told})

    fleet.come_between(dated)


@pytest.mark.parametrize("wish", [{"name": "new"}, {"state": "restored", "name": "before"}])
@pytest.mark.parametrize("date", ["its own", "", "Thursday", "Thu, 01 Jan 1970 00:00:00"])
def test_event_that_is_stuck_for_weeks_holds_nobody_up(wish: dict[str, Any], date: str) -> None:
    """Also where nothing has happened since: the service's clock tells how old it is."""
    fleet = Fleet(busy="queue")
    fleet.made_snapshot("before")
    fleet.later(3600)
    fleet.add_event("vm-migrate", state="in progress")
    fleet.later(30 * 86400)
    if date:
        tell_the_time(fleet, None if date == "its own" else date)
    result = only(fleet.run(**wish))
    assert (result["status"] in ("created", "restored")) == (date == "its own")


@pytest.mark.parametrize("wish", [{"name": "new"}, {"state": "restored", "name": "before"}])
def test_event_of_another_machine_that_is_ahead_of_time_makes_nobody_do_it_twice(wish: dict[str, Any]) -> None:
    fleet = Fleet(2, event_invisible_seconds=3.0)
    for machine_id in fleet.machine_ids:
        fleet.made_snapshot("before", machine_id)
    event_id = fleet.add_event("stop", machine_id=fleet.machine_ids[1])
    event = fleet.service.world.events.get(event_id)
    assert event
    event.created_at += 3600

    tell_the_time(fleet)
    fleet.fault("lost", method="POST", when="after", times=1)
    result = only(fleet.run(machine_ids=[fleet.machine_id], **wish))
    assert result["status"] in ("created", "restored")
    assert len(fleet.writes()) == 1


def test_snapshots_of_other_machines_are_left_alone_when_the_service_does_not_filter() -> None:
    fleet = Fleet(2)
    mine, foreign = fleet.machine_ids
    fleet.made_snapshot("before", foreign)
    handle = fleet.service.handle

    def handle_unfiltered(request: Any) -> Any:
        kept = [(name, value) for name, value in request.query_pairs if name != "machineId"]
        return handle(replace(request, query=kept))

    fleet.service.handle = handle_unfiltered  # type: ignore[method-assign]
    result = only(fleet.run(state="absent", machine_ids=[mine], name="before"))
    assert result["status"] == "unchanged"
    assert fleet.names(foreign) == ["before"]


def test_started_while_a_stop_runs_is_not_unchanged() -> None:
    fleet = Fleet(state_lag_seconds=3.0)
    fleet.send("PATCH", f"/machines/{fleet.machine_id}/stop", {})
    result = only(fleet.change(state="started"))
    assert (result["status"], result["state"]) == ("started", "ready")
    fleet.later()
    assert fleet.service.machine(fleet.machine_id).state == "ready"


def test_without_waiting_settings_do_not_swallow_the_state() -> None:
    fleet = Fleet()
    result = only(fleet.change(state="stopped", auto_snapshot={"enabled": True}, wait=False))
    assert result["status"] == "pending"
    assert fleet.writes() == [f"PUT /machines/{fleet.machine_id}", f"PATCH /machines/{fleet.machine_id}/stop"]


def test_user_without_a_home_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(_connection.Path, "home", no_home)
    with pytest.raises(InputError, match="No API key"):
        connection_from({}, {}, _connection.home_folder())


def test_numbers_that_nothing_can_hold_are_no_traceback() -> None:
    snapshot = Snapshot("ss1", "maint-00010101T000000Z-1a2b", "ps1", False)
    assert needs_events_since(snapshot) is None
    with pytest.raises(InputError):
        connection_from({"api_key": "k", "request_timeout": 1e12}, {}, Path("/nowhere"))


def test_joined_create_is_not_proven_by_an_older_event() -> None:
    fleet = Fleet(is_history_whole=False, event_invisible_seconds=2.0)
    fleet.made_snapshot("other")
    fleet.just_before(**CREATE, act=lambda: fleet.begin_snapshot("before"))
    result = only(fleet.run(name="before"))
    assert result["status"] == "unchanged"
    assert [item["complete"] for item in fleet.service.snapshots()] == [True, True]


def test_odd_machine_of_an_event_is_no_traceback() -> None:
    event = {"id": "me1", "name": "start", "state": "done", "machineId": ["ps1"], "dtCreated": "2026-01-01T00:00:00Z"}
    assert hash(parse_event(event)) is not None


def test_run_is_not_proven_by_the_event_of_a_snapshot_from_shortly_before() -> None:
    fleet = Fleet(is_history_whole=False, event_invisible_seconds=2.0)
    fleet.made_snapshot("other")
    name = "maint-20260101T000100Z-1a2b"
    fleet.begin_snapshot(name)
    result = only(fleet.run(name=name))
    assert result["status"] == "unchanged"
    assert [item["complete"] for item in fleet.service.snapshots()] == [True, True]


def test_name_of_a_closed_run_is_not_given_before_there_is_a_proof() -> None:
    fleet = Fleet()
    result = only(fleet.run(name="maint-20260101T000000Z-1a2b-ok"))
    assert result["status"] == "failed"
    assert fleet.writes() == []


@pytest.mark.parametrize("how", ["repeat", "null", "missing"])
def test_fleet_of_more_than_a_page_is_waited_for_though_lists_break_off(how: str) -> None:
    fleet = Fleet(250, snapshot_seconds=20.0)
    fleet.fault("cursor", method="GET", cursor=how)
    assert set(statuses(fleet.run(name="before", wait_timeout=120))) == {"created"}
    assert set(statuses(fleet.change(state="stopped", wait_timeout=120))) == {"stopped"}
    assert fleet.service.done_counts()["creates"] == 250


def lagging_fleet(**settings: Any) -> Fleet:
    """Events show up later than what they made, and a create that fails leaves nothing."""
    fleet = Fleet(event_invisible_seconds=6.0, failed_create_leaves_record=False, snapshot_seconds=1.0, **settings)
    fleet.clock.advance(120)
    return fleet


@pytest.mark.parametrize("is_history_whole", [True, False])
@pytest.mark.parametrize("name", [NAME, "daily-1"])
def test_good_snapshot_is_not_taken_for_one_that_failed_before(name: str, is_history_whole: bool) -> None:
    fleet = lagging_fleet(is_history_whole=is_history_whole)
    fleet.failed_snapshot(name)
    fleet.later(60)
    good, _event_id = fleet.begin_snapshot(name)
    fleet.later(3)
    entry = only(fleet.run(name=name))
    assert (entry["status"], entry["id"]) == ("unchanged", good)
    assert fleet.writes() == []


def test_good_snapshot_is_not_pruned_as_one_that_failed_before() -> None:
    fleet = lagging_fleet()
    fleet.failed_snapshot("daily-1")
    fleet.later(60)
    fleet.begin_snapshot("daily-2")
    fleet.later(3)
    assert fleet.run(state="absent", name_prefix="daily-", keep=5).outcomes == []
    assert fleet.writes() == []


def test_older_snapshot_of_the_name_is_not_restored_for_one_whose_event_is_late() -> None:
    fleet = lagging_fleet()
    older = fleet.made_snapshot("before")
    fleet.clock.advance(30 * 86400)
    fleet.failed_snapshot("before")
    fleet.later(60)
    newer, _event_id = fleet.begin_snapshot("before")
    fleet.later(3)
    with pytest.raises(InputError, match="2 snapshots named") as refused:
        fleet.run(state="restored", name="before")
    assert older in str(refused.value)
    assert newer in str(refused.value)
    assert fleet.writes() == []


@pytest.mark.parametrize("is_history_whole", [True, False])
def test_events_of_replaced_auto_snapshots_are_no_proof_of_a_run(is_history_whole: bool) -> None:
    fleet = Fleet(event_invisible_seconds=6.0, snapshot_seconds=120.0, is_history_whole=is_history_whole)
    # The service keeps one, and tells nothing of it when it replaces that.
    for dummy in range(2):
        fleet.clock.advance(1800)
        fleet.add_event("snapshot-create")
    fleet.service.add_snapshot(fleet.machine_id, "auto-2", auto=True)
    fleet.clock.advance(60)
    began = timestamp(fleet.clock.now())
    name = f"maint-{re.sub('[-:]', '', began)[:15]}Z-1a2b"
    snapshot_id, _event_id = fleet.begin_snapshot(name)
    fleet.clock.advance(2)
    entry = only(fleet.run(name=name))
    assert (entry["status"], entry["id"]) == ("unchanged", snapshot_id)
    assert [item["complete"] for item in fleet.service.snapshots() if item["id"] == snapshot_id] == [True]


@pytest.mark.parametrize("trouble", ["the event shows between two looks", "a look fails"])
def test_restore_that_keeps_its_own_machine_busy_is_not_sent_again(trouble: str) -> None:
    fleet = Fleet(restore_seconds=40.0)
    fleet.made_snapshot("before")
    fleet.clock.advance(300)
    request = {"method": "POST", "path": "/snapshots/[^/]+/restore", "times": 1}
    fleet.fault("event_invisible", seconds=1e9, **request)
    fleet.fault("lost", when="after", **request)
    handle, seen = fleet.service.handle, {"busy": False, "looks": 0}

    def interfere(asked: Request) -> Response:
        if seen["busy"] and (asked.method, asked.path) == ("GET", "/machine-events"):
            seen["looks"] += 1
            if seen["looks"] == (1 if trouble == "a look fails" else 2):
                for event in fleet.service.world.events:
                    event.visible_at = 0.0
                if trouble == "a look fails":
                    return Response(403, {"Content-Type": "text/html"}, b"<html>blocked</html>")
        response = handle(asked)
        seen["busy"] = seen["busy"] or response.status == 409
        return response

    fleet.service.handle = interfere  # type: ignore[method-assign]
    assert only(fleet.run(state="restored", name="before"))["status"] == "restored"
    assert seen["busy"]
    assert fleet.service.done_counts()["restores"] == 1


def test_of_several_snapshots_made_at_once_the_first_good_one_stays() -> None:
    fleet = Fleet(busy="queue")
    handle, made = fleet.service.handle, list[str]()

    def intrude(asked: Request) -> Response:
        if asked.method == "POST" and not made:
            made.append("")
            failed = fleet.begin_failing_snapshot(NAME)
            made[:] = [failed, fleet.begin_snapshot(NAME)[0]]
        return handle(asked)

    fleet.service.handle = intrude  # type: ignore[method-assign]
    entry = only(fleet.run(name=NAME))
    assert (entry["status"], entry["id"]) == ("unchanged", made[1])
    fleet.later()
    assert [item["id"] for item in fleet.service.snapshots() if item["name"] == NAME and item["complete"]] == [made[1]]


def test_answer_that_is_nested_deeply_is_one_error() -> None:
    # Too deep for Python, and not for the reader of JSON.
    depth = 600 if sys.version_info < (3, 12) else 1200
    body = b'{"a":' * depth + b'"\\u0041"' + b"}" * depth
    with (
        scripted(Call("GET", "/auth/session", Answer(200, body))) as (client, _time),
        pytest.raises(InvalidAnswer, match="nested too deeply"),
    ):
        client.check_key()
