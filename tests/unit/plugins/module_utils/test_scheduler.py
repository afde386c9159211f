# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.simulated_fleet import Fleet, InlineExecutor, statuses
from unit.virtual_time import VirtualClock, VirtualPool, let_schedulers_wait_by

from ansible_collections.community.paperspace.plugins.module_utils._client import LARGEST_PAGE, Listed
from ansible_collections.community.paperspace.plugins.module_utils._errors import AnswerLost, DeadlinePassed, InputError
from ansible_collections.community.paperspace.plugins.module_utils._scheduler import (
    Call,
    EventEnd,
    NextLook,
    PageWatch,
    Pause,
    Procedure,
    Scheduler,
    poll_interval,
)
from ansible_collections.community.paperspace.plugins.module_utils._wire import Event, Machine


def scheduler(fleet: Fleet, *, wait: float = 100.0, **options: Any) -> Scheduler:
    return Scheduler(fleet.client(), fleet.executor, deadline=fleet.clock.now() + wait, **options)


def begun(fleet: Fleet, machine_id: str) -> Event:
    """The event of a snapshot that has just been begun."""
    return fleet.client().create_snapshot(machine_id, "x")[1]


@pytest.mark.parametrize(("waited", "seconds"), [(0, 0.5), (4, 0.5), (10, 1), (100, 10), (300, 30), (3000, 30)])
def test_poll_interval(waited: float, seconds: float) -> None:
    assert poll_interval(waited) == seconds


def test_call_resumes_with_its_result_or_its_error() -> None:
    fleet = Fleet()
    heard: list[Any] = []

    def fail() -> None:
        raise InputError("no")

    def procedure() -> Procedure[None]:
        heard.append((yield Call(lambda: 7)))
        try:
            yield Call(fail)
        except InputError as error:
            heard.append(str(error))

    scheduler(fleet).run([procedure()])
    assert heard == [7, "no"]


def test_request_that_is_to_be_sent_again_leaves_its_place_to_others() -> None:
    fleet = Fleet(2)
    first, second = fleet.machine_ids
    fleet.fault("status", method="GET", path=f"/machines/{first}", status=503, times=3)
    client, began = fleet.client(), fleet.clock.now()
    heard: list[str] = []

    def procedure(machine_id: str) -> Procedure[None]:
        heard.append((yield Call(lambda: client.machine(machine_id))).id)

    Scheduler(client, fleet.executor, deadline=began + 100).run(map(procedure, fleet.machine_ids))
    assert heard == [second, first]
    # The jitter of the tests is one half.
    assert [(entry.status, entry.at - began) for entry in fleet.service.log] == [
        (503, 0.0),
        (200, 0.0),
        (503, 0.5),
        (503, 1.5),
        (200, 3.5),
    ]


def test_request_is_sent_again_no_more_often_than_it_may() -> None:
    fleet = Fleet()
    fleet.fault("status", method="GET", status=503)
    client = fleet.client(retries=3)
    heard: list[str] = []

    def procedure() -> Procedure[None]:
        try:
            yield Call(lambda: client.machine(fleet.machine_id))
        except AnswerLost as error:
            heard.append(str(error))

    Scheduler(client, fleet.executor, deadline=fleet.clock.now() + 100).run([procedure()])
    assert ["503" in error for error in heard] == [True]
    assert len(fleet.service.log) == 4


def test_request_that_cannot_be_sent_again_in_time_fails_with_what_came_of_it() -> None:
    fleet = Fleet()
    fleet.fault("status", method="GET", status=503)
    client = fleet.client()
    heard: list[str] = []

    def procedure() -> Procedure[None]:
        try:
            yield Call(lambda: client.machine(fleet.machine_id))
        except AnswerLost as error:
            heard.append(str(error))

    def slow() -> Procedure[None]:
        # Something else keeps the scheduler until the time is over.
        yield Call(lambda: fleet.clock.sleep(20))

    Scheduler(client, fleet.executor, deadline=fleet.clock.now() + 10).run([procedure(), slow()])
    assert ["503" in error for error in heard] == [True]
    assert len(fleet.service.log) == 1


def test_refused_rate_is_waited_for_by_the_pace() -> None:
    fleet = Fleet(2)
    fleet.fault("status", method="GET", path=f"/machines/{fleet.machine_id}", status=429, retry_after=7, times=1)
    client, began = fleet.client(), fleet.clock.now()

    def procedure(machine_id: str) -> Procedure[None]:
        yield Call(lambda: client.machine(machine_id))

    Scheduler(client, fleet.executor, deadline=began + 100).run(map(procedure, fleet.machine_ids))
    assert [entry.status for entry in fleet.service.log] == [429, 200, 200]
    assert all(entry.at - began >= 7 for entry in list(fleet.service.log)[1:])


def test_snapshots_that_come_up_are_read_in_polls_of_their_own() -> None:
    fleet = Fleet(240)
    began = fleet.clock.now()
    assert statuses(fleet.run(name="new")) == ["created"] * 240
    polls = Counter(entry.at for entry in fleet.service.log if entry.method == "GET" and entry.at > began)
    assert max(polls.values()) == 240 / 120
    assert {entry.path for entry in fleet.service.log if entry.at > began} == {"/machine-events", "/snapshots"}


def test_pauses_end_in_the_order_of_their_time() -> None:
    fleet = Fleet()
    heard: list[tuple[str, float]] = []
    began = fleet.clock.now()

    def procedure(name: str, seconds: float) -> Procedure[None]:
        yield Pause(seconds)
        heard.append((name, fleet.clock.now() - began))

    scheduler(fleet).run([procedure("b", 7), procedure("a", 3), procedure("c", 7)])
    assert heard == [("a", 3), ("b", 7), ("c", 7)]


def test_event_that_has_ended_needs_no_request() -> None:
    fleet = Fleet()
    ended = begun(fleet, fleet.machine_id)
    fleet.later()
    ended = fleet.client().event(ended.id)
    fleet.service.log.clear()
    heard: list[str] = []

    def procedure() -> Procedure[None]:
        heard.append((yield EventEnd(ended)).state)

    scheduler(fleet).run([procedure()])
    assert heard == ["done"]
    assert len(fleet.service.log) == 0


@pytest.mark.parametrize("machines", [1, 2, 5])
def test_one_page_serves_all_that_wait(machines: int) -> None:
    fleet = Fleet(machines)
    events = [begun(fleet, machine_id) for machine_id in fleet.machine_ids]
    fleet.service.log.clear()
    heard: list[str] = []

    def procedure(event: Event) -> Procedure[None]:
        heard.append((yield EventEnd(event)).state)

    scheduler(fleet).run([procedure(event) for event in [*events, events[0]]])
    assert heard == ["done"] * (machines + 1)
    looks = Counter(entry.at for entry in fleet.service.log)
    assert set(looks.values()) == {1}


def test_next_look_is_a_look_after_the_question() -> None:
    fleet = Fleet(2, state_lag_seconds=0.0)
    heard: list[str] = []

    def procedure() -> Procedure[None]:
        heard.append((yield NextLook(fleet.machine_id)).state)
        fleet.service.change_machine(fleet.machine_id, state="off")
        heard.append((yield NextLook(fleet.machine_id)).state)

    scheduler(fleet).run([procedure()])
    assert heard == ["ready", "off"]


def test_deadline_ends_all_waiting_at_once() -> None:
    fleet = Fleet(2)
    fleet.fault("event", method="POST", state="stuck")
    event = begun(fleet, fleet.machine_id)
    began = fleet.clock.now()
    ended: list[float] = []

    def procedure(step: Any) -> Procedure[None]:
        with pytest.raises(DeadlinePassed):
            yield step
        # A request that is asked for afterwards is not sent.
        with pytest.raises(DeadlinePassed):
            yield Call(lambda: pytest.fail("sent"))
        with pytest.raises(DeadlinePassed):
            yield Pause(1)
        ended.append(fleet.clock.now() - began)

    steps = [EventEnd(event), NextLook("psnone"), Pause(1e9)]
    scheduler(fleet, wait=50).run([procedure(step) for step in steps])
    assert ended == [50.0] * 3


def test_deadline_says_why_the_last_look_failed() -> None:
    fleet = Fleet()
    event = begun(fleet, fleet.machine_id)
    fleet.fault("html", method="GET", status=503)
    said: list[str] = []

    def procedure() -> Procedure[None]:
        try:
            yield EventEnd(event)
        except DeadlinePassed as error:
            said.append(str(error))

    scheduler(fleet).run([procedure()])
    assert "503" in said[0]


def test_call_under_way_at_the_deadline_is_heard() -> None:
    with ThreadPoolExecutor(max_workers=2) as pool:
        fleet = Fleet(executor=pool)
        is_late = threading.Event()
        heard: list[Any] = []

        def slow() -> str:
            assert is_late.wait(60)
            return "done"

        def late() -> Procedure[None]:
            heard.append((yield Call(slow)))

        def advance() -> None:
            fleet.clock.advance(1000)
            is_late.set()

        def other() -> Procedure[None]:
            yield Call(advance)

        scheduler(fleet, wait=500).run([late(), other()])
    assert heard == ["done"]


def test_very_long_wait_is_possible() -> None:
    with ThreadPoolExecutor(max_workers=1) as pool:
        fleet = Fleet(executor=pool)
        heard: list[int] = []

        def procedure() -> Procedure[None]:
            heard.append((yield Call(lambda: 1)))

        scheduler(fleet, wait=1e300).run([procedure()])
    assert heard == [1]


def test_nothing_to_do_ends_at_once() -> None:
    fleet = Fleet(executor=InlineExecutor())
    scheduler(fleet).run([])
    assert len(fleet.service.log) == 0


def machine(number: int) -> Machine:
    return Machine(f"m{number}", "x", "ready", {})


class List:
    """A list whose pages have two machines each: m0 and m1 on the first, which no cursor leads to."""

    def __init__(self, machines: int) -> None:
        self.machines = [machine(number) for number in range(machines)]
        self.asked: list[int] = []
        self.watch: PageWatch[Machine] = PageWatch(self._page, lambda _machine_id: pytest.fail("asked for one"))

    def _page(self, cursor: str | None) -> Listed[Machine]:
        number = int(cursor or 0)
        self.asked.append(number)
        following = number + 1 if 2 * (number + 1) < len(self.machines) else None
        shown = self.machines[2 * number : 2 * number + 2]
        return Listed(shown, None if following is None else str(following), following is not None)

    def look(self, *wanted: str) -> set[str]:
        return set(self.watch.look(wanted))


def test_search_goes_on_where_the_last_look_ended() -> None:
    pages = List(10)
    assert [pages.look("m5", "m9") for _number in range(3)] == [set(), set(), {"m5"}]
    assert pages.asked == [0, 1, 2]


def test_pages_that_are_known_and_the_search_for_others_take_turns() -> None:
    pages = List(10)
    found = [pages.look("m1", "m5", "m9") for _number in range(9)]
    assert pages.asked == [0, 0, 1, 0, 2, 0, 3, 2, 4]
    assert found == [{"m1"}, {"m1"}, set(), {"m1"}, {"m5"}, {"m1"}, set(), {"m5"}, {"m9"}]


def test_known_pages_are_asked_for_in_turn_and_without_a_search() -> None:
    pages = List(10)
    for _number in range(9):
        pages.look("m1", "m5", "m9")
    pages.asked.clear()
    assert [pages.look("m1", "m5", "m9") for _number in range(4)] == [{"m1"}, {"m5"}, {"m9"}, {"m1"}]
    assert pages.asked == [0, 2, 4, 0]


def test_item_that_left_its_page_is_searched_for_from_the_front() -> None:
    pages = List(10)
    for _number in range(9):
        pages.look("m1", "m5", "m9")
    pages.machines.insert(0, machine(100))
    pages.machines.insert(0, machine(101))
    pages.asked.clear()
    found = [pages.look("m1", "m5") for _number in range(4)]
    assert pages.asked == [0, 0, 2, 1]
    assert found == [set(), set(), set(), {"m1"}]


def test_search_that_finds_nothing_ends_with_the_list_and_begins_anew() -> None:
    pages = List(4)
    wanted = [f"not visible yet {number}" for number in range(500)]
    assert pages.look(*wanted) == set()
    assert pages.asked == [0, 1]
    assert pages.look(*wanted) == set()
    assert pages.asked == [0, 1, 0, 1]


def test_round_that_does_not_reach_all_is_behind_until_it_has() -> None:
    pages = List(10)
    behind = []
    for _number in range(15):
        pages.look("m1", "m5", "m9")
        behind.append(pages.watch.is_behind)
    # Nine requests until all are found, and from then on three for each round.
    assert behind == [*[True] * 8, False, True, True, False, True, True, False]


def test_what_a_look_does_not_reach_is_not_left_for_as_long_as_was_waited() -> None:
    # One machine on each page of the list.
    fleet = Fleet(5 * LARGEST_PAGE, is_history_whole=False)
    fleet.service.change_settings(state_lag_seconds=0.0)
    seen: list[tuple[str, float]] = []
    began = fleet.clock.now()

    def procedure(machine_id: str) -> Procedure[None]:
        while fleet.clock.now() < began + 1000:
            yield NextLook(machine_id)
            seen.append((machine_id, fleet.clock.now() - began))

    scheduler(fleet, wait=1e6).run([procedure(machine_id) for machine_id in fleet.machine_ids[::LARGEST_PAGE]])
    for machine_id in {machine_id for machine_id, _at in seen}:
        own = [at for each, at in seen if each == machine_id]
        assert all(later - earlier <= max(0.5, earlier / 10) + 5 for earlier, later in itertools.pairwise(own))
    assert len(fleet.service.log) < 600


def test_failing_request_makes_the_next_look_begin_anew() -> None:
    pages = List(10)
    pages.look("m5", "m9")
    page, pages.watch._page = pages.watch._page, lambda _cursor: raise_error()
    assert pages.look("m5", "m9") == set()
    assert str(pages.watch.last_error) == "no"
    pages.watch._page = page
    pages.look("m5", "m9")
    assert pages.asked == [0, 0]
    assert pages.watch.last_error is None


def raise_error() -> Any:
    raise InputError("no")


@pytest.mark.parametrize("cursor", [None, "p1"])
def test_what_a_list_that_breaks_off_hides_is_asked_for_in_turn(cursor: str | None) -> None:
    shown = [machine(number) for number in range(LARGEST_PAGE)]
    asked: list[str] = []

    def one(machine_id: str) -> Machine:
        asked.append(machine_id)
        return Machine(machine_id, "x", "ready", {})

    watch: PageWatch[Machine] = PageWatch(lambda _cursor: Listed(shown, cursor, True), one)
    wanted = [f"m{number}" for number in range(LARGEST_PAGE + 25)]
    hidden = wanted[LARGEST_PAGE:]
    looks = 0
    while len(asked) < len(hidden):
        assert len(watch.look(wanted)) >= LARGEST_PAGE
        looks += 1
    assert asked == hidden
    assert looks <= 5
    while len(asked) == len(hidden):
        watch.look(wanted)
    assert asked == [*hidden, *hidden[:10]]


def test_page_that_is_not_full_hides_nothing() -> None:
    watch: PageWatch[Machine] = PageWatch(
        lambda _cursor: Listed([machine(1)], None, True), lambda _machine_id: pytest.fail("asked for one")
    )
    assert set(watch.look({"m1", "not visible yet"})) == {"m1"}


@dataclass(frozen=True)
class Group:
    """Machines that begin to wait together, for their events or for their own state."""

    machines: int
    begin: float
    seconds: float
    is_for_events: bool


GROUPS = st.builds(
    Group,
    machines=st.sampled_from([1, 2, 119, 120, 121]),
    begin=st.floats(0, 100),
    seconds=st.floats(0.1, 1000),
    is_for_events=st.booleans(),
)


@settings(max_examples=25, deadline=None)
@given(groups=st.lists(GROUPS, min_size=1, max_size=4))
def test_polls_are_quick_at_first_share_pages_and_are_never_later_than_by_a_tenth(groups: list[Group]) -> None:
    fleet = Fleet(sum(group.machines for group in groups), is_history_whole=False)
    # From when to when something waited, and for which list.
    waits: list[tuple[str, float, float]] = []
    machine_ids = iter(fleet.machine_ids)

    def for_event(event: Event, begin: float) -> Procedure[None]:
        yield Pause(begin)
        since = fleet.clock.now()
        yield EventEnd(event)
        waits.append(("/machine-events", since, fleet.clock.now()))

    def for_machine(machine_id: str, begin: float, seconds: float) -> Procedure[None]:
        yield Pause(begin)
        since = fleet.clock.now()
        while fleet.clock.now() < since + seconds:
            yield NextLook(machine_id)
        waits.append(("/machines", since, fleet.clock.now()))

    def procedures(group: Group) -> Iterator[Procedure[None]]:
        rule = fleet.fault("event", method="POST", seconds=group.begin + group.seconds)
        for machine_id in itertools.islice(machine_ids, group.machines):
            if group.is_for_events:
                yield for_event(begun(fleet, machine_id), group.begin)
            else:
                yield for_machine(machine_id, group.begin, group.seconds)
        fleet.service.faults.remove(rule)

    waiting = [procedure for group in groups for procedure in procedures(group)]
    fleet.service.log.clear()
    scheduler(fleet, wait=1e6).run(waiting)

    requests = Counter(("/" + entry.path.split("/")[1], entry.at) for entry in fleet.service.log)
    for (path, at), count in requests.items():
        waited_for = sum(kind == path and since <= at <= until for kind, since, until in waits)
        assert count <= -(-waited_for // 120)
    looks = sorted({at for _path, at in requests})
    for _path, since, until in set(waits):
        own = [since, *(at for at in looks if since < at <= until)]
        for earlier, later in itertools.pairwise(own):
            assert later - earlier <= max(0.5, (earlier - since) / 10) + 1e-6
        # And the news came with a look, not after it.
        assert until in looks


def gaps_between_looks(fleet: Fleet, event: Event, **options: Any) -> list[tuple[float, float]]:
    """How long the event had been waited for at each look, and how long it was from there to the next."""
    fleet.service.log.clear()
    began = fleet.clock.now()

    def procedure() -> Procedure[None]:
        yield EventEnd(event)

    scheduler(fleet, wait=1e6, **options).run([procedure()])
    at = [entry.at - began for entry in fleet.service.log]
    return [(earlier, later - earlier) for earlier, later in itertools.pairwise(at)]


@pytest.mark.parametrize("latency", [0.05, 1.0])
def test_time_that_a_look_takes_is_part_of_the_interval(latency: float) -> None:
    fleet = Fleet()
    fleet.fault("event", method="POST", seconds=1000)
    event = begun(fleet, fleet.machine_id)
    fleet.service.change_settings(latency_seconds=latency)
    gaps = gaps_between_looks(fleet, event)
    assert len(gaps) > 60
    for waited, gap in gaps:
        assert gap == pytest.approx(max(poll_interval(waited), latency + 0.5), abs=1e-6)


def test_given_interval_is_kept_to() -> None:
    fleet = Fleet()
    fleet.fault("event", method="POST", seconds=100)
    gaps = gaps_between_looks(fleet, begun(fleet, fleet.machine_id), interval=7.0)
    assert {round(gap, 6) for _waited, gap in gaps} == {7.0}


@pytest.mark.parametrize("interval", [30.0, 60.0])
def test_what_one_look_does_not_reach_does_not_wait_for_a_given_interval(interval: float) -> None:
    fleet = Fleet(1200, is_history_whole=False)
    machine_ids = fleet.machine_ids[::120]
    for machine_id in machine_ids:
        fleet.made_snapshot("before", machine_id)
    fleet.later()
    began = fleet.clock.now()
    report = fleet.run(state="restored", name="before", machine_ids=machine_ids, wait_interval=interval)
    assert statuses(report) == ["restored"] * 10
    assert fleet.clock.now() - began < 4 * interval


@pytest.mark.parametrize("cursor", ["null", "repeat"])
def test_what_a_list_hides_does_not_wait_for_the_interval(cursor: str) -> None:
    fleet = Fleet(600)
    fleet.fault("cursor", cursor=cursor, method="GET")
    began = fleet.clock.now()
    assert statuses(fleet.run(name="new")) == ["created"] * 600
    # Those that no page shows are asked for one by one, ten a look.
    assert fleet.clock.now() - began < 600 / 10


@pytest.mark.parametrize(
    ("machines", "latency", "interval", "breath"),
    # One page is no burden.
    [(120, 0.1, None, 0.1), (600, 0.1, None, 0.5), (600, 0.1, 0.25, 0.25)],
)
def test_polls_of_several_pages_leave_time_to_what_is_still_sent(
    monkeypatch: pytest.MonkeyPatch, machines: int, latency: float, interval: float | None, breath: float
) -> None:
    """Also where the list does not show all, so that they would follow one another with a short breath only."""
    clock = VirtualClock()
    let_schedulers_wait_by(clock, monkeypatch)
    fleet = Fleet(machines, clock=clock, executor=VirtualPool(clock, 1), is_history_whole=False)
    fleet.fault("event", method="POST", seconds=40)
    events = [begun(fleet, machine_id) for machine_id in fleet.machine_ids]
    fleet.service.change_settings(latency_seconds=latency)
    fleet.fault("cursor", cursor="null", path="/machine-events")
    for _number in range(120):
        fleet.add_event("start")
    fleet.service.log.clear()
    began = clock.now()

    def wait(event: Event, *, first: bool) -> Procedure[None]:
        if first:
            yield Call(lambda: clock.sleep(1))
        yield EventEnd(event)

    waiting = (wait(event, first=number < 12) for number, event in enumerate(events))
    scheduler(fleet, wait=1e6, interval=interval).run(waiting)
    # From the end of a poll to the begin of the next.
    at = [entry.at - began for entry in fleet.service.log if entry.at - began < 10]
    pauses = [later - earlier - latency for earlier, later in itertools.pairwise(at)]
    assert min(pause for pause in pauses if pause > 0.01) == pytest.approx(breath, abs=1e-5)


def test_looks_wait_for_as_long_as_the_service_asks() -> None:
    fleet = Fleet(2)
    fleet.fault("event", method="POST", seconds=100)
    events = [begun(fleet, machine_id) for machine_id in fleet.machine_ids]
    fleet.fault("status", method="GET", path="/machine-events", nth=3, status=503, retry_after=40)
    fleet.service.log.clear()

    def wait(event: Event) -> Procedure[None]:
        yield EventEnd(event)

    scheduler(fleet, wait=1e6).run(map(wait, events))
    at = [entry.at for entry in fleet.service.log]
    gaps = [later - earlier for earlier, later in itertools.pairwise(at)]
    assert gaps[2] == pytest.approx(40)
    assert max(gaps[:2]) < 1
    assert max(gaps[3:]) < 11


@pytest.mark.parametrize(
    ("latency", "interval", "gap"),
    [(0.0, None, 0.5), (1.0, None, 1.1), (1.0, 0.25, 1.1), (0.0, 0.25, 0.25), (1.0, 0.0625, 1.0625)],
)
def test_breath_between_looks_while_behind(latency: float, interval: float | None, gap: float) -> None:
    fleet = Fleet(600, is_history_whole=False)
    fleet.service.change_settings(latency_seconds=latency)
    fleet.service.log.clear()

    def look(machine_id: str) -> Procedure[None]:
        yield NextLook(machine_id)

    scheduler(fleet, wait=1e6, interval=interval).run([look(machine_id) for machine_id in fleet.machine_ids[::120]])
    at = [entry.at for entry in fleet.service.log]
    assert len(at) == 5
    assert {round(later - earlier, 6) for earlier, later in itertools.pairwise(at)} == {gap}
