# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controllers that make a snapshot of one name at the same time: the service lets them, and one has to be left."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import requests
from unit.simulated_fleet import Fleet, Handler, only, statuses
from unit.virtual_time import VirtualClock, VirtualPool, let_schedulers_wait_by

from ansible_collections.community.paperspace.plugins.module_utils._outcomes import Report
from ansible_collections.community.paperspace.plugins.module_utils._snapshot_plans import Wish
from ansible_collections.community.paperspace.plugins.module_utils._snapshots import run_snapshots
from simulator.service import Request, Response
from simulator.session import SimulatorAdapter

NAME = "maint-20251231T235959Z-1a2b"


class Loses(SimulatorAdapter):
    """Loses the answer to each create that is carried out."""

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        response = super().send(request, **options)
        if request.method == "POST" and response.status_code == 200:
            raise requests.exceptions.ReadTimeout
        return response


def run_losing_answers(fleet: Fleet, name: str = NAME, *, wait: bool = True, **connection: Any) -> Report:
    client = fleet.client(adapter=Loses(fleet.service), **connection)
    wish = Wish(machine_ids=fleet.machine_ids, name=name, wait=wait)
    return run_snapshots(client, wish, check_mode=False, executor=fleet.executor)


class Race:
    """Somebody else makes a snapshot of the same name on a machine just before this task does."""

    def __init__(self, fleet: Fleet, machine_id: str | None = None, *, is_quick: bool = False, **fault: Any) -> None:
        self.fleet = fleet
        self.machine_id = machine_id or fleet.machine_id
        self.others_id: str | None = None
        self._is_quick = is_quick
        self._fault = fault
        fleet.come_between(self._intrude)

    def _intrude(self, request: Request, handle: Handler) -> Response:
        if request.method == "POST" and self.others_id is None and self.machine_id.encode() in request.body:
            self.others_id = ""
            rule = self.fleet.fault("event", method="POST", **self._fault) if self._fault else None
            self.others_id, _event_id = self.fleet.begin_snapshot(NAME, self.machine_id)
            if rule is not None:
                self.fleet.service.faults.remove(rule)
            if self._is_quick:
                self.fleet.later()
        return handle(request)


@pytest.mark.parametrize("is_quick", [False, True])
def test_the_first_stays_and_the_own_one_goes(is_quick: bool) -> None:
    fleet = Fleet(busy="queue")
    race = Race(fleet, is_quick=is_quick)
    report = fleet.run(name=NAME)
    result = only(report)
    assert (result["status"], result["id"], result["error"]) == ("unchanged", race.others_id, None)
    assert [item["id"] for item in fleet.service.snapshots(fleet.machine_id)] == [race.others_id]
    assert [call.split()[0] for call in fleet.writes()] == ["POST", "DELETE"]
    assert not report.outcomes[0].is_changed


def around_the_first_post(
    fleet: Fleet, *, before: Callable[[], None] = lambda: None, after: Callable[[], None] = lambda: None
) -> None:
    """Let somebody else do something just before or just after this task's first POST."""
    has_come = False

    def intrude(request: Request, handle: Handler) -> Response:
        nonlocal has_come
        if request.method != "POST" or has_come:
            return handle(request)
        has_come = True
        before()
        response = handle(request)
        after()
        return response

    fleet.come_between(intrude)


def test_busy_machine_is_joined_by_the_first_of_several() -> None:
    fleet = Fleet(busy="conflict")
    ids: list[str] = []

    def two_others() -> None:
        ids.append(fleet.made_snapshot(NAME))
        ids.append(fleet.begin_snapshot(NAME)[0])

    around_the_first_post(fleet, before=two_others)
    result = only(fleet.run(name=NAME))
    assert (result["status"], result["id"]) == ("unchanged", ids[0])


def test_what_comes_second_is_left_to_who_made_it() -> None:
    fleet = Fleet(busy="queue")
    ids: list[str] = []
    around_the_first_post(fleet, after=lambda: ids.append(fleet.begin_snapshot(NAME)[0]))
    result = only(fleet.run(name=NAME))
    assert result["status"] == "created"
    assert [call.split()[0] for call in fleet.writes()] == ["POST"]
    assert [item["id"] for item in fleet.service.snapshots(fleet.machine_id)] == [result["id"], *ids]


def test_own_one_stays_where_that_of_the_other_failed() -> None:
    fleet = Fleet(busy="queue")
    race = Race(fleet, state="error", error="no space")
    result = only(fleet.run(name=NAME))
    assert result["status"] == "created"
    assert result["id"] != race.others_id
    assert [call.split()[0] for call in fleet.writes()] == ["POST"]


def test_both_are_named_where_it_is_not_known_whether_that_of_the_other_is_done() -> None:
    fleet = Fleet(busy="queue")
    race = Race(fleet, state="error", error=None)
    result = only(fleet.run(name=NAME))
    assert result["status"] == "unsure"
    assert result["id"] in result["error"]
    assert str(race.others_id) in result["error"]
    assert [call.split()[0] for call in fleet.writes()] == ["POST"]


def gone_at_look(fleet: Fleet, number: int, find: Callable[[], str | None]) -> None:
    """Let this snapshot, once it is there, be gone at that look at its machine's list."""
    looks = 0

    def gone(request: Request, handle: Handler) -> Response:
        nonlocal looks
        if request.method == "GET" and request.path == "/snapshots" and (snapshot_id := find()):
            looks += 1
            if looks == number:
                world = fleet.service.world
                world._drop_snapshot(world.snapshots.get(snapshot_id))  # type: ignore[arg-type]
        return handle(request)

    fleet.come_between(gone)


def test_snapshot_of_the_other_that_goes_away_leaves_the_own_one() -> None:
    fleet = Fleet(busy="queue")
    race = Race(fleet, is_quick=True)
    gone_at_look(fleet, 2, lambda: race.others_id)
    assert only(fleet.run(name=NAME))["status"] == "created"
    assert [call.split()[0] for call in fleet.writes()] == ["POST"]


def with_two(goes_at: int, *, has_failed_one: bool = False) -> tuple[Fleet, list[str]]:
    """A machine with two snapshots of the name, oldest first, the second of which goes at that look at its list."""
    fleet = Fleet(busy="queue")
    if has_failed_one:
        fleet.failed_snapshot(NAME)
    ids = [fleet.made_snapshot(NAME) for dummy in range(2)]
    gone_at_look(fleet, goes_at, lambda: ids[1])
    return fleet, ids


def test_whoever_comes_while_two_are_there_waits_until_one_is_left() -> None:
    fleet, ids = with_two(goes_at=4)
    result = only(fleet.run(name=NAME))
    assert (result["status"], result["id"], result["error"]) == ("unchanged", ids[0], None)
    assert fleet.writes() == []


def test_failed_one_is_not_waited_for() -> None:
    fleet, dummy = with_two(goes_at=4, has_failed_one=True)
    assert only(fleet.run(name=NAME))["status"] == "unchanged"


@pytest.mark.parametrize("seconds", [0.0, 2.0, 5.0, 20.0])
def test_create_of_another_that_was_waited_for_is_no_proof_of_the_own_one(seconds: float) -> None:
    fleet = Fleet(snapshot_seconds=60.0, event_invisible_seconds=seconds)
    others: list[str] = []
    around_the_first_post(fleet, before=lambda: others.append(fleet.begin_snapshot("nightly")[1]))

    result = only(run_losing_answers(fleet))
    assert result["status"] == "created"
    assert result["event_id"] not in others
    [own] = [item for item in fleet.service.snapshots(fleet.machine_id) if item["name"] == NAME]
    assert own["complete"]


def test_two_that_stay_are_refused_after_as_long_as_another_controller_may_take() -> None:
    fleet, ids = with_two(goes_at=10**9)
    began = fleet.clock.now()
    result = only(fleet.run(name=NAME))
    assert result["status"] == "failed"
    assert f"2 snapshots have this name: {ids[1]}, {ids[0]}" in result["error"]
    assert 30 <= fleet.clock.now() - began < 100
    assert fleet.writes() == []


def test_two_are_told_at_once_in_check_mode() -> None:
    fleet, dummy = with_two(goes_at=10**9)
    began = fleet.clock.now()
    assert only(fleet.run(name=NAME, check_mode=True))["status"] == "failed"
    assert fleet.clock.now() - began < 5


def test_where_the_list_is_refused_it_is_not_known_which_one_stays() -> None:
    fleet = Fleet(busy="queue")
    fleet.fault("status", method="GET", path="/snapshots", status=403, after_change=True)
    result = only(fleet.run(name=NAME))
    assert result["status"] == "unsure"
    assert "the service does not show what became of it" in result["error"]
    assert [item["complete"] for item in fleet.service.snapshots(fleet.machine_id)] == [True]


def test_list_that_cannot_be_read_for_a_while_is_waited_for() -> None:
    fleet = Fleet(busy="queue")
    race = Race(fleet)
    fleet.fault("html", method="GET", path="/snapshots", status=502, after_change=True, times=6)
    result = only(fleet.run(name=NAME))
    assert (result["status"], result["id"]) == ("unchanged", race.others_id)


def change_lists(fleet: Fleet, shown: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
    """Let each list of snapshots show what this makes of it: lists lag, and not all alike."""

    def changed(request: Request, handle: Handler) -> Response:
        response = handle(request)
        if request.method != "GET" or request.path != "/snapshots":
            return response
        content = response.json()
        content["items"] = shown(content["items"])
        return replace(response, body=json.dumps(content).encode())

    fleet.come_between(changed)


def test_list_that_never_shows_the_own_one_leaves_open_which_one_stays() -> None:
    fleet = Fleet(busy="queue")
    change_lists(fleet, lambda items: [item for item in items if item["name"] != NAME])
    result = only(fleet.run(name=NAME))
    assert result["status"] == "unsure"
    assert "does not list it" in result["error"]


@pytest.mark.parametrize("is_feed_broken", [False, True])
def test_only_machines_with_two_are_touched_in_a_fleet(is_feed_broken: bool) -> None:
    fleet = Fleet(150, busy="queue", is_history_whole=False)
    for machine_id in fleet.machine_ids[::2]:
        fleet.service.add_snapshot(machine_id, "before")
    if is_feed_broken:
        fleet.fault("html", method="GET", path="/snapshots", status=502, nth=[3, 4])
    raced = fleet.machine_ids[70]
    race = Race(fleet, raced)
    report = fleet.run(name=NAME)
    expected = ["unchanged" if machine_id == raced else "created" for machine_id in fleet.machine_ids]
    assert statuses(report) == expected
    assert Counter(call.split()[0] for call in fleet.writes()) == {"POST": 150, "DELETE": 1}
    assert fleet.names(raced) == ([NAME] if raced not in fleet.machine_ids[::2] else ["before", NAME])
    assert race.others_id in [item["id"] for item in fleet.service.snapshots(raced)]


def test_looking_for_others_costs_a_page_for_120_new_snapshots_and_no_more() -> None:
    fleet = Fleet(250, is_history_whole=False)
    for machine_id in fleet.machine_ids:
        for dummy in range(4):
            fleet.service.add_snapshot(machine_id, "before")
    assert set(statuses(fleet.run(name=NAME))) == {"created"}
    lists = [entry for entry in fleet.service.log if entry.path == "/snapshots" and entry.method == "GET"]
    # Nine for the 1,000 that were there, and three for what is new.
    assert len(lists) == 9 + 3


def test_own_snapshot_that_becomes_visible_late_is_looked_for_by_its_machine() -> None:
    fleet = Fleet(3, busy="queue", snapshot_invisible_seconds=4.0)
    race = Race(fleet)
    report = fleet.run(name=NAME)
    assert statuses(report) == ["unchanged", "created", "created"]
    assert [item["id"] for item in fleet.service.snapshots(fleet.machine_id)] == [race.others_id]


def lost_among_others(name: str, before: int, after: int) -> tuple[Fleet, list[str], dict[str, Any]]:
    """A create whose answer is lost, among those of controllers that die then: the ids before it and after, the result.

    The machine has an older snapshot, of something else.
    """
    fleet = Fleet(busy="queue")
    fleet.made_snapshot("nightly")
    ids: list[str] = []

    def others(count: int) -> Callable[[], None]:
        return lambda: ids.extend(fleet.begin_snapshot(name)[0] for dummy in range(count))

    around_the_first_post(fleet, before=others(before), after=others(after))
    return fleet, ids, only(run_losing_answers(fleet, name))


def test_lost_answer_of_a_controller_that_is_alone_is_made_up_for() -> None:
    fleet, dummy, result = lost_among_others(NAME, 0, 0)
    assert result["status"] == "created"
    assert [item["id"] for item in fleet.service.snapshots(fleet.machine_id)][1:] == [result["id"]]


@pytest.mark.parametrize("name", [NAME, "before-upgrade"])
@pytest.mark.parametrize(("before", "after"), [(1, 0), (0, 1), (1, 1), (2, 2)])
def test_nothing_is_deleted_when_an_answer_is_lost_among_those_of_others(name: str, before: int, after: int) -> None:
    fleet, ids, result = lost_among_others(name, before, after)
    there = [item["id"] for item in fleet.service.snapshots(fleet.machine_id)]
    assert len(there) == 1 + before + 1 + after
    assert set(ids) < set(there)
    assert [call.split()[0] for call in fleet.writes()] == ["POST"]
    assert result["status"] == "unsure"
    assert all(each in result["error"] for each in there[1:])


def hide_once(fleet: Fleet, ids: list[str]) -> None:
    """Let the first look after they are there not show the first of these."""
    has_hidden = False

    def shown(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        nonlocal has_hidden
        if has_hidden or not ids:
            return items
        has_hidden = True
        return [item for item in items if item["id"] != ids[0]]

    change_lists(fleet, shown)


@pytest.mark.parametrize("others", [1, 2])
def test_earlier_one_that_is_listed_late_is_named_as_well_when_an_answer_is_lost(others: int) -> None:
    fleet = Fleet(busy="queue")
    ids: list[str] = []
    hide_once(fleet, ids)
    around_the_first_post(fleet, before=lambda: ids.extend(fleet.begin_snapshot(NAME)[0] for dummy in range(others)))
    result = only(run_losing_answers(fleet))
    assert result["status"] == "unsure"
    assert all(item["id"] in result["error"] for item in fleet.service.snapshots(fleet.machine_id))
    assert [call.split()[0] for call in fleet.writes()] == ["POST"]


def some_time_after(fleet: Fleet, seconds: float, do: Callable[[], None]) -> None:
    """Let somebody do something so long after the first create."""
    at: list[float] = []
    has_come = False

    def look(request: Request, handle: Handler) -> Response:
        nonlocal has_come
        response = handle(request)
        if request.method == "POST" and not at:
            at.append(fleet.clock.now())
        if at and not has_come and fleet.clock.now() - at[0] >= seconds:
            has_come = True
            do()
        return response

    fleet.come_between(look)


def test_what_others_remove_themselves_is_left_to_them_when_an_answer_is_lost() -> None:
    fleet = Fleet(busy="queue")
    ids: list[str] = []
    some_time_after(fleet, 45, lambda: fleet.deleted(ids[0]))
    around_the_first_post(fleet, after=lambda: ids.append(fleet.begin_snapshot("before-upgrade")[0]))
    result = only(run_losing_answers(fleet, "before-upgrade"))
    assert result["status"] == "unchanged"
    assert [item["id"] for item in fleet.service.snapshots(fleet.machine_id)] == [result["id"]]
    assert result["id"] not in ids


@pytest.mark.parametrize("seconds", [6, 15, 35, 50])
def test_later_one_stays_where_the_first_is_gone_meanwhile(seconds: float) -> None:
    fleet = Fleet(busy="queue")
    ids: list[str] = []
    some_time_after(fleet, seconds, lambda: fleet.deleted(ids[0]))
    around_the_first_post(fleet, before=lambda: ids.append(fleet.begin_snapshot(NAME)[0]))
    result = only(run_losing_answers(fleet))
    (left,) = fleet.service.snapshots(fleet.machine_id)
    assert left["complete"]
    # Whose it was that went is not known.
    assert (result["status"], result["id"]) in [("created", left["id"]), ("unchanged", left["id"])]
    assert [call.split()[0] for call in fleet.writes()] == ["POST"]


def test_later_one_that_its_owner_closes_meanwhile_is_left_alone() -> None:
    fleet = Fleet(busy="queue")
    ids: list[str] = []
    some_time_after(fleet, 40, lambda: fleet.send("PUT", f"/snapshots/{ids[0]}", {"name": f"{NAME}-ok"}))
    around_the_first_post(fleet, after=lambda: ids.append(fleet.begin_snapshot(NAME)[0]))
    run_losing_answers(fleet)
    assert sorted(fleet.names()) == [NAME, f"{NAME}-ok"]
    assert [call.split()[0] for call in fleet.writes()] == ["POST"]


@pytest.mark.parametrize("lag", [0.0, 4.0])
def test_own_one_that_shows_after_that_of_another_is_done_is_not_overlooked(lag: float) -> None:
    fleet = Fleet(busy="queue", snapshot_seconds=6.0, snapshot_invisible_seconds=4.0, event_invisible_seconds=lag)
    ids: list[str] = []

    def another() -> None:
        ids.append(fleet.begin_snapshot(NAME)[0])
        fleet.later(5.5)

    around_the_first_post(fleet, before=another)
    result = only(run_losing_answers(fleet))
    assert result["status"] == "unsure"
    assert all(item["id"] in result["error"] for item in fleet.service.snapshots(fleet.machine_id))


@pytest.mark.parametrize("lag", [0.0, 2.0, 5.0])
@pytest.mark.parametrize("is_beside_another", [False, True])
def test_old_ones_that_failed_are_not_taken_for_what_was_made_when_an_answer_is_lost(
    lag: float, is_beside_another: bool
) -> None:
    fleet = Fleet(busy="queue", snapshot_invisible_seconds=lag)
    failed = [fleet.failed_snapshot(NAME) for dummy in range(2)]
    if is_beside_another:
        # Its event could pass for that of a failed one.
        some_time_after(fleet, 8, lambda: fleet.deleted(fleet.made_snapshot("another")))
    result = only(run_losing_answers(fleet))
    assert result["status"] == "created"
    assert result["id"] not in failed
    assert {"id": result["id"], "complete": True}.items() <= fleet.service.snapshots(fleet.machine_id)[-1].items()


@pytest.mark.parametrize("lag", [0.0, 2.0])
def test_who_replaces_a_failed_one_joins_another_that_is_faster(lag: float) -> None:
    fleet = Fleet(busy="conflict", event_invisible_seconds=lag)
    fleet.failed_snapshot(NAME)
    ids: list[str] = []
    around_the_first_post(fleet, before=lambda: ids.append(fleet.begin_snapshot(NAME)[0]))
    result = only(fleet.run(name=NAME))
    assert (result["status"], result["id"]) == ("unchanged", ids[0])


@pytest.mark.parametrize("name", [NAME, "before-upgrade"])
def test_without_waiting_both_are_named_when_an_answer_is_lost(name: str) -> None:
    fleet = Fleet(busy="queue")
    ids: list[str] = []
    around_the_first_post(fleet, before=lambda: ids.append(fleet.made_snapshot(name)))
    result = only(run_losing_answers(fleet, name, wait=False))
    assert result["status"] == "unsure"
    assert all(item["id"] in result["error"] for item in fleet.service.snapshots(fleet.machine_id))
    assert len(fleet.names()) == 2


@pytest.mark.parametrize("name", [NAME, "before-upgrade"])
def test_failed_one_of_another_counts_neither_before_nor_after_a_lost_one(name: str) -> None:
    fleet = Fleet(busy="queue")
    ids: list[str] = []

    def failing() -> None:
        ids.append(fleet.begin_failing_snapshot(name))

    around_the_first_post(fleet, before=failing, after=failing)
    result = only(run_losing_answers(fleet, name))
    assert result["status"] == "created"
    assert result["id"] not in ids
    assert [call.split()[0] for call in fleet.writes()] == ["POST"]


def test_own_one_that_somebody_deleted_is_not_said_to_be_there() -> None:
    fleet = Fleet()
    has_gone = False

    def delete_newest(request: Request, handle: Handler) -> Response:
        nonlocal has_gone
        response = handle(request)
        made = [item for item in fleet.service.world.snapshots if item.name == NAME]
        if request.method == "GET" and not has_gone and made and made[-1].complete:
            has_gone = True
            fleet.service.world._drop_snapshot(made[-1])
        return response

    fleet.come_between(delete_newest)
    result = only(fleet.run(name=NAME))
    assert result["status"] == "unsure"
    assert "somebody else deleted it" in result["error"]


@pytest.mark.parametrize("lag", [6.0, 40.0])
def test_own_one_that_is_listed_late_is_waited_for_or_not_known(lag: float) -> None:
    fleet = Fleet(snapshot_seconds=3.0, snapshot_invisible_seconds=lag)
    assert only(fleet.run(name=NAME))["status"] == ("created" if lag < 30 else "unsure")


@pytest.mark.parametrize("what", ["deleted", "renamed"])
def test_own_one_stays_where_the_first_goes_while_a_busy_machine_is_waited_for(what: str) -> None:
    fleet = Fleet(busy="queue")
    race = Race(fleet, is_quick=True)

    def gone_meanwhile() -> None:
        """The machine is busy with that when this task wants to delete its own one."""
        if what == "deleted":
            fleet.deleted(str(race.others_id))
        else:
            fleet.send("PUT", f"/snapshots/{race.others_id}", {"name": f"{NAME}-ok"})
        fleet.fault("busy", method="DELETE", times=1)

    fleet.just_before("DELETE", ".*", gone_meanwhile)
    result = only(fleet.run(name=NAME))
    assert result["status"] == "unsure"
    assert f"which was to stay, but was {what}" in result["error"]
    assert [item["complete"] for item in fleet.service.snapshots(fleet.machine_id)][-1:] == [True]


@pytest.mark.parametrize("is_lost", [False, True])
def test_failed_first_one_is_not_proven_by_the_own_event_where_the_own_one_is_not_listed(is_lost: bool) -> None:
    fleet = Fleet(busy="queue", snapshot_seconds=6.0, snapshot_invisible_seconds=8.0 if is_lost else 0.0)
    ids: list[str] = []

    lists: list[int] = []

    def failing() -> None:
        ids.append(fleet.begin_failing_snapshot(NAME))
        if is_lost:
            fleet.later(8)

    def shown(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Once the own one is left out, where its answer came."""
        if not ids or is_lost:
            return items
        lists.append(1)
        return [item for item in items if item["id"] in ids] if len(lists) == 2 else items

    change_lists(fleet, shown)
    around_the_first_post(fleet, before=failing)
    result = only(run_losing_answers(fleet) if is_lost else fleet.run(name=NAME))
    assert result["status"] == "created"
    assert result["id"] not in ids
    assert [call.split()[0] for call in fleet.writes()] == ["POST"]


def test_failed_ones_that_were_there_before_do_not_count_beside_the_own_one() -> None:
    fleet = Fleet(busy="queue")
    fleet.failed_snapshot(NAME)
    fleet.failed_snapshot(NAME)
    fleet.add_event("snapshot-restore")
    began = fleet.clock.now()
    assert only(fleet.run(name=NAME))["status"] == "created"
    assert fleet.clock.now() - began < 120


@pytest.mark.parametrize("busy", ["conflict", "queue"])
@pytest.mark.parametrize(("machines", "losing"), [*itertools.product([1, 5], [0, 1, 2, 4]), (130, 0)])
def test_four_controllers_at_once_agree_on_the_first_and_leave_no_other_that_they_know_to_be_theirs(
    monkeypatch: pytest.MonkeyPatch, machines: int, busy: str, losing: int
) -> None:
    """C(losing): to how many of them no answer to a create comes."""
    clock = VirtualClock()
    let_schedulers_wait_by(clock, monkeypatch)
    fleet = Fleet(machines, clock=clock, is_history_whole=False, busy=busy, latency_seconds=0.05)
    controllers = VirtualPool(clock, 4)

    def run(number: int) -> Report:
        task = Fleet.__new__(Fleet)
        task.__dict__.update(fleet.__dict__, executor=VirtualPool(clock, 4))
        if number < losing:
            return run_losing_answers(task, concurrency=8)
        return task.run(name=NAME, connection={"concurrency": 8})

    reports = [future.result() for future in [controllers.submit(run, number) for number in range(4)]]
    for number, machine_id in enumerate(fleet.machine_ids):
        first, *later = fleet.service.snapshots(machine_id)
        assert first["complete"]
        outcomes = [report.outcomes[number].to_result() for report in reports]
        # Who heard which one it made leaves none but the first.
        assert {outcome["status"] for outcome in outcomes[losing:]} <= {"created", "unchanged"}
        assert {outcome["id"] for outcome in outcomes if outcome["status"] != "unsure"} <= {first["id"]}
        assert len(later) <= max(0, losing - (losing == 4))
        assert not later or "unsure" in {outcome["status"] for outcome in outcomes[:losing]}
        made = [outcome["status"] for outcome in outcomes].count("created")
        assert made <= 1 if losing else made == 1
