# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from unit.simulated_fleet import Fleet, InlineExecutor

from ansible_collections.community.paperspace.plugins.module_utils._errors import DeadlinePassed, InputError
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


def test_page_watch_goes_on_where_the_last_look_ended() -> None:
    # Foreign machines fill the first pages; each look asks for one page.
    pages = {None: ([machine(0)], "p1"), "p1": ([machine(1)], "p2"), "p2": ([machine(2)], None)}
    asked: list[str | None] = []

    def page(cursor: str | None) -> tuple[list[Machine], str | None]:
        asked.append(cursor)
        return pages[cursor]

    watch: PageWatch[Machine] = PageWatch(page, lambda _machine_id: pytest.fail("asked for one"))
    wanted = {"m1", "m2"}
    found = [set(watch.look(wanted)) for _number in range(4)]
    assert found == [set(), {"m1"}, {"m2"}, set()]
    assert asked == [None, "p1", "p2", None]
