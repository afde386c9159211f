# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from unit.simulated_fleet import Fleet, Handler
from unit.virtual_time import VirtualClock, VirtualPool

from ansible_collections.community.paperspace.plugins.module_utils._errors import Unauthorized
from ansible_collections.community.paperspace.plugins.module_utils._reading import Reader, Recent, events_of, running
from ansible_collections.community.paperspace.plugins.module_utils._wire import Event
from simulator.messages import ApiError, Request, Response

NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


def event(event_id: str, *, hours: float = 0, state: str = "done", machine_id: str = "m1") -> Event:
    return Event(event_id, "snapshot-create", state, machine_id, None, NOON + timedelta(hours=hours), None)


def reader(fleet: Fleet) -> Reader:
    return Reader(fleet.client(), fleet.executor)


def test_new_is_what_came_after_even_in_the_same_moment() -> None:
    recent = Recent([event("b"), event("a", hours=-1)])
    assert recent.is_new(event("c", hours=1))
    assert recent.is_new(event("c"))
    assert not recent.is_new(event("b"))
    assert not recent.is_new(event("older than the page", hours=-2))
    assert Recent().is_new(event("b"))


def test_event_that_is_still_to_come_hides_nothing_new_and_makes_nothing_old_new() -> None:
    events = [event("ahead", hours=5, machine_id="m2"), event("b"), event("a", hours=-1)]
    recent = Recent(events, NOON)
    assert recent.is_new(event("c", hours=1 / 3600))
    assert not recent.is_new(event("not visible then", hours=-0.5))
    assert not any(map(recent.is_new, events))
    # A proxy's clock.
    assert not Recent(events, NOON - timedelta(days=365)).is_new(event("older than the page", hours=-2))


def test_running_leaves_out_what_has_been_stuck_for_a_day() -> None:
    stuck, late, ended = event("a", hours=-24, state="new"), event("b", hours=-23, state="new"), event("c")
    assert running([stuck, late, ended], now=NOON) == [late]
    assert running([stuck], now=None) == [stuck]


def test_running_on_is_of_one_machine() -> None:
    recent = Recent([event("a", state="in progress"), event("b", state="new", machine_id="m2")])
    assert [item.id for item in recent.running_on("m1")] == ["a"]


@pytest.mark.parametrize(
    ("asked", "team", "most"),
    [(1, 1, 1), (1, 500, 1), (2, 130, 2), (100, 100, 1), (120, 500, 5), (3, 2000, 6), (300, 300, 3)],
)
def test_machines_cost_at_most_twice_the_best(asked: int, team: int, most: int) -> None:
    fleet = Fleet(team, is_history_whole=False)
    # The oldest are on the last pages.
    machine_ids = fleet.machine_ids[:asked]
    assert list(reader(fleet).machines(machine_ids)) == machine_ids
    assert len(fleet.service.log) <= most


def test_machines_that_do_not_exist_are_left_out() -> None:
    fleet = Fleet(3)
    asked = ["psnone", fleet.machine_ids[2], fleet.machine_ids[0]]
    assert list(reader(fleet).machines(asked)) == asked[1:]


@pytest.mark.parametrize("of_others", [0, 1000])
def test_snapshots_are_the_same_by_list_and_by_machine(of_others: int) -> None:
    fleet = Fleet(4, is_history_whole=False)
    first, second, third, other = fleet.machine_ids
    expected = {
        second: [fleet.service.add_snapshot(second, "x") for _number in range(3)][::-1],
        first: [fleet.service.add_snapshot(first, "x")],
        third: [],
    }
    for _number in range(of_others):
        fleet.service.add_snapshot(other, "x")
    found = reader(fleet).snapshots([second, first, third])
    assert list(found) == [second, first, third]
    assert {key: [item.id for item in items] for key, items in found.items()} == expected
    # Pages of the team as long as they may be cheaper, and then a list of each machine.
    assert len(fleet.service.log) <= 7


@pytest.mark.parametrize("how", ["repeat", "null", "missing"])
def test_snapshots_and_events_that_a_broken_list_of_the_team_hides_are_read_by_machine(how: str) -> None:
    fleet = Fleet(2)
    first, other = fleet.machine_ids
    hidden = fleet.service.add_snapshot(first, "x")
    for _number in range(300):
        fleet.service.add_snapshot(other, "x")
        fleet.add_event("start", machine_id=other)
    fleet.fault("cursor", method="GET", cursor=how)
    found = reader(fleet).snapshots([first, other])
    assert [item.id for item in found[first]] == [hidden]
    assert [item.name for item in reader(fleet).events([first, other])[first].items] == ["create"]


@pytest.mark.parametrize("how", ["repeat", "null", "missing"])
def test_list_of_a_machine_that_breaks_off_says_so_unless_it_reaches_far_enough(how: str) -> None:
    fleet = Fleet(is_history_whole=False)
    for _number in range(130):
        fleet.add_event("start")
    client = fleet.client()
    assert not events_of(client, fleet.machine_id, None).is_cut_off
    fleet.fault("cursor", method="GET", cursor=how)
    found = events_of(client, fleet.machine_id, None)
    # A cursor that repeats is behind the last page, which is not full.
    assert (len(found.items), found.is_cut_off) == (130, False) if how == "repeat" else (120, True)
    middle = datetime.fromtimestamp(fleet.clock.now() - 60, timezone.utc)
    assert not events_of(client, fleet.machine_id, middle).is_cut_off


def test_list_of_the_team_that_promises_more_after_a_page_that_is_not_full_is_whole() -> None:
    fleet = Fleet(50)
    fleet.fault("cursor", method="GET", cursor="null")
    assert len(reader(fleet).events(fleet.machine_ids)) == 50
    assert len(fleet.service.log) == 1


def test_events_are_read_back_to_the_time_asked_for() -> None:
    fleet = Fleet(2, is_history_whole=False)
    for _number in range(300):
        fleet.add_event("start")
    middle = datetime.fromtimestamp(fleet.clock.now() - 150, timezone.utc)
    found = reader(fleet).events(fleet.machine_ids, since=middle)
    assert len(fleet.service.log) == 2
    assert sum(item.created >= middle for item in found[fleet.machine_id].items) == 150
    fleet.service.log.clear()
    assert len(reader(fleet).events([fleet.machine_id])[fleet.machine_id].items) == 300
    assert len(fleet.service.log) == 3


@pytest.mark.parametrize(("machines", "pages"), [(1, 1), (120, 1), (121, 2)])
def test_recent_is_a_page_for_120_machines(machines: int, pages: int) -> None:
    fleet = Fleet(is_history_whole=False)
    for _number in range(400):
        fleet.add_event("start")
    assert len(reader(fleet).recent(machines).events) == 120 * pages
    assert len(fleet.service.log) == pages


@pytest.mark.parametrize(("asked", "others", "most"), [(1, 0, 1), (2, 0, 1), (120, 0, 1), (250, 0, 3), (10, 2000, 20)])
def test_snapshots_by_id_cost_at_most_twice_the_best(asked: int, others: int, most: int) -> None:
    fleet = Fleet(1)
    # The oldest are on the last pages.
    ids = [fleet.service.add_snapshot(fleet.machine_id, "before") for dummy in range(asked)]
    for dummy in range(others):
        fleet.service.add_snapshot(fleet.machine_id, "later")
    assert list(reader(fleet).snapshots_by_id(ids)) == ids
    assert len(fleet.service.log) <= most


def test_snapshot_ids_that_do_not_exist_are_left_out() -> None:
    fleet = Fleet(1)
    ids = [fleet.service.add_snapshot(fleet.machine_id, "before") for dummy in range(3)]
    assert list(reader(fleet).snapshots_by_id([ids[2], "ssnone", ids[0]])) == [ids[2], ids[0]]


class SlowFleet(Fleet):
    """Each answer takes a second, and requests are sent side by side."""

    def __init__(self, machines: int) -> None:
        clock = VirtualClock()
        super().__init__(
            machines, clock=clock, executor=VirtualPool(clock, 4), is_history_whole=False, latency_seconds=1.0
        )
        for machine_id in self.machine_ids:
            self.service.add_snapshot(machine_id, "before")
            self.add_event("snapshot-create", machine_id=machine_id)

    def read(self, ahead: Reader) -> tuple[int, float]:
        """How many requests it takes to read all that there is, and how many seconds."""
        began, before = self.clock.now(), len(self.service.log)
        assert len(ahead.machines(self.machine_ids)) == len(self.machine_ids)
        assert len(ahead.snapshots(self.machine_ids)) == len(self.machine_ids)
        assert len(ahead.recent(len(self.machine_ids)).events) == len(self.machine_ids)
        return len(self.service.log) - before, round(self.clock.now() - began)


def test_long_lists_are_read_side_by_side_with_no_more_requests() -> None:
    fleet = SlowFleet(360)
    one_by_one = reader(fleet)
    assert fleet.read(one_by_one) == (9, 9)
    ahead = reader(fleet)
    ahead.read_recent_ahead(360)
    ahead.read_ahead(fleet.machine_ids)
    assert fleet.read(ahead) == (9, 3)
    # What was read ahead is given once: what is asked for again is as it is by then.
    assert fleet.read(ahead) == (9, 9)


@pytest.mark.parametrize(
    ("machines", "others", "pages", "seconds"),
    # In the last case the pages from one end show nothing but others.
    [(480, 0, 4, 4), (1200, 0, 10, 5), (1201, 0, 11, 6), (600, 3000, 10, 5)],
)
def test_list_of_many_machines_is_read_from_both_ends(machines: int, others: int, pages: int, seconds: int) -> None:
    """Where both ask for the last one at the same moment, each has one page more."""
    fleet = SlowFleet(machines + others)
    ahead, machine_ids = reader(fleet), fleet.machine_ids[:machines]
    began = fleet.clock.now()
    ahead.read_ahead(machine_ids)
    assert list(ahead.machines(machine_ids)) == machine_ids
    assert round(fleet.clock.now() - began) <= seconds + 1
    assert pages <= sum(entry.path == "/machines" for entry in fleet.service.log) <= pages + 2
    assert not any(entry.path.startswith("/machines/") for entry in fleet.service.log)


@pytest.mark.parametrize("unknown", [1, 300])
def test_both_ends_of_a_list_end_where_they_meet(unknown: int) -> None:
    fleet = SlowFleet(1200)
    ahead, machine_ids = reader(fleet), [*fleet.machine_ids, *(f"psnone{number}" for number in range(unknown))]
    ahead.read_ahead(machine_ids)
    assert list(ahead.machines(machine_ids)) == fleet.machine_ids
    assert sum(entry.path == "/machines" for entry in fleet.service.log) <= 12


def test_other_end_of_a_list_is_not_needed() -> None:
    fleet = SlowFleet(600)
    refused = []

    def handle(request: Request, inner: Handler) -> Response:
        if ("order", "asc") in request.query_pairs:
            refused.append(request)
            return ApiError(400, "there is no such order").response()
        return inner(request)

    fleet.come_between(handle)
    ahead = reader(fleet)
    ahead.read_ahead(fleet.machine_ids)
    assert list(ahead.machines(fleet.machine_ids)) == fleet.machine_ids
    assert len(refused) == 1


def test_short_lists_are_not_read_ahead() -> None:
    fleet = SlowFleet(120)
    ahead = reader(fleet)
    ahead.read_recent_ahead(120)
    ahead.read_ahead(fleet.machine_ids)
    assert len(fleet.service.log) == 0


@pytest.mark.parametrize("since", [None, datetime(2026, 1, 1, tzinfo=timezone.utc)])
def test_events_that_were_read_ahead_are_brought_up_to_date(since: datetime | None) -> None:
    fleet = Fleet(250, is_history_whole=False)
    old = [fleet.add_event("start", machine_id=machine_id) for machine_id in fleet.machine_ids]
    ahead = reader(fleet)
    ahead.read_events_ahead(250, since)
    assert len(fleet.service.log) == 3
    new = fleet.add_event("stop")
    found = ahead.events(fleet.machine_ids, since)
    assert len(fleet.service.log) == 4
    assert [event.id for event in found[fleet.machine_id].items] == [new, old[0]]
    assert [len(found[machine_id].items) for machine_id in fleet.machine_ids] == [2, *[1] * 249]
    # Once only, and for what was asked for.
    ahead.events(fleet.machine_ids, since)
    assert len(fleet.service.log) == 7


def test_events_that_were_read_ahead_count_for_that_time_only() -> None:
    fleet = Fleet(250)
    ahead = reader(fleet)
    ahead.read_events_ahead(250, None)
    ahead.events(fleet.machine_ids, datetime(2026, 1, 1, tzinfo=timezone.utc))
    assert len(fleet.service.log) == 6


def test_recent_events_that_have_become_old_are_read_again() -> None:
    fleet = SlowFleet(130)
    ahead = reader(fleet)
    ahead.read_recent_ahead(130)
    fleet.clock.sleep(31)
    newest = fleet.add_event("start")
    assert ahead.recent(130).events[0].id == newest


def test_recent_takes_over_the_events_that_were_read_if_they_are_enough() -> None:
    fleet = SlowFleet(240)
    whole = reader(fleet)
    assert len(whole.events(fleet.machine_ids)[fleet.machine_id].items) == 1
    before = len(fleet.service.log)
    assert len(whole.recent(240).events) == 240
    assert len(fleet.service.log) == before
    part = reader(fleet)
    newest = datetime.fromtimestamp(fleet.clock.now(), timezone.utc)
    part.events(fleet.machine_ids, since=newest)
    assert len(part.recent(240).events) == 240


def test_what_goes_wrong_while_reading_ahead_is_said_when_it_is_asked_for() -> None:
    fleet = SlowFleet(130)
    fleet.fault("status", path="/machines", status=401)
    ahead = reader(fleet)
    ahead.read_ahead(fleet.machine_ids)
    with pytest.raises(Unauthorized):
        ahead.machines(fleet.machine_ids)
    assert len(ahead.snapshots(fleet.machine_ids)) == 130
