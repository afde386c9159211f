# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds whatever happens: random events, faults, and restarts at any moment."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.event_stream import LOOKBACK, EventStream, Source, nothing
from unit.fault_cells import FAULTS

from ansible_collections.community.paperspace.plugins.plugin_utils._event_following import rank
from simulator.session import SimulatorAdapter

ENDS = ("done", "error", "cancelled")
LISTS = [fault for fault in FAULTS if fault.kind in ("answer", "list")]
# More looks than a look can have to be put off.
ENOUGH = 5


@contextmanager
def quick_folder() -> Iterator[Path]:
    """A folder for state files; what would make them last on the disk takes too long here."""
    with tempfile.TemporaryDirectory() as folder, patch.object(os, "fsync"):
        yield Path(folder)


class Killed(BaseException):
    """The rulebook's process is no more, in the middle of something."""


class Wire(SimulatorAdapter):
    """The way to the service, which the process does not live to the end of at some request."""

    left: int | None = None

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        if self.left is not None:
            if self.left == 0:
                self.left = None
                raise Killed
            self.left -= 1
        return super().send(request, *args, **options)


class Frail(Source):
    """A source whose process may be killed just before the rulebook takes an event."""

    left: int | None = None

    async def put(self, event: dict[str, Any]) -> None:
        if self.left is not None:
            if self.left == 0:
                self.left = None
                raise Killed
            self.left -= 1
        await super().put(event)


@dataclass(frozen=True)
class Change:
    """An event that begins, or goes on: which of the running ones, and to what."""

    begins: int = 0
    spread: float = 0
    invisible: float = 0
    goes_on: tuple[tuple[int, str], ...] = ()
    passes: float = 0
    fault: dict[str, Any] | None = None
    clears: bool = False
    kill_at_put: int | None = None
    kill_at_request: int | None = None
    restarts: bool = False


goings_on = st.tuples(st.integers(0, 200), st.sampled_from(["in progress", *ENDS]))
faults = st.builds(
    lambda fault, times: {**fault.rule, "method": "GET", "path": "/machine-events(/.*)?", "times": times},
    st.sampled_from(LISTS),
    st.integers(1, 6),
)
changes = st.lists(
    st.builds(
        Change,
        begins=st.sampled_from([0, 1, 1, 2, 5, 130]),
        # Seconds from one to the next.
        spread=st.sampled_from([0, 0, 10]),
        invisible=st.sampled_from([0, 0, 5, 100, LOOKBACK / 2]),
        goes_on=st.lists(goings_on, max_size=4).map(tuple),
        passes=st.sampled_from([0, 0, 0, 30, LOOKBACK, 5 * LOOKBACK]),
        fault=st.none() | faults,
        clears=st.booleans(),
        kill_at_put=st.none() | st.integers(0, 3),
        kill_at_request=st.none() | st.integers(0, 3),
        restarts=st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


@dataclass
class World:
    """The events as they truly are."""

    stream: EventStream
    running: dict[str, str] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    begun: list[str] = field(default_factory=list)

    def apply(self, change: Change) -> None:
        if change.fault:
            self.stream.fleet.service.faults.add(change.fault)
        for number in range(change.begins):
            # Only some of them come up late.
            event_id = self.stream.begin(invisible=change.invisible * (number % 2))
            self.running[event_id] = "new"
            self.begun.append(event_id)
            self.stream.clock.advance(change.spread)
        for number, state in change.goes_on:
            if self.running:
                event_id = list(self.running)[number % len(self.running)]
                self.go_on(event_id, state)
        self.stream.clock.advance(change.passes)
        if change.clears:
            self.stream.fleet.service.faults.clear()

    def go_on(self, event_id: str, state: str) -> None:
        if rank(state) > rank(self.running[event_id]):
            self.stream.change(event_id, state)
            self.running[event_id] = state
            if state in ENDS:
                self.ended[event_id] = state
                del self.running[event_id]


@settings(deadline=None, max_examples=60)
@given(changes, st.sampled_from(["now", "beginning"]))
def test_each_event_is_given_once_in_each_state_that_was_seen(script: list[Change], start: str) -> None:
    with quick_folder() as folder:
        world = World(EventStream())
        old = [world.stream.begin(state="done", age=100) for dummy in range(3)]
        source = Frail(world.stream, folder, start=start)
        adapter = source.adapter = Wire(world.stream.fleet.service)
        source.run()

        for change in script:
            source.left, adapter.left = change.kill_at_put, change.kill_at_request
            with suppress(Killed):
                source.run(lambda change=change: world.apply(change), *([] if change.restarts else [nothing]))
        source.left = adapter.left = None
        world.stream.fleet.service.faults.clear()
        source.run(*[nothing] * ENOUGH)
        # What still runs ends, and is seen to.
        for event_id in list(world.running):
            world.go_on(event_id, "done")
        world.stream.clock.advance(LOOKBACK)
        source.run(*[nothing] * (ENOUGH + len(world.begun) // 10))
        source.run(nothing)

    check(source, world, old if start == "beginning" else [])


def check(source: Source, world: World, old: list[str]) -> None:
    given_states = [(event["id"], event["state"]) for event in source.given]
    assert len(set(given_states)) == len(given_states), "repeated"
    by_event: dict[str, list[str]] = {}
    for event_id, state in given_states:
        by_event.setdefault(event_id, []).append(state)
    assert {event_id: states[-1] for event_id, states in by_event.items()} == {
        **world.ended,
        **dict.fromkeys(old, "done"),
    }
    for states in by_event.values():
        assert all(rank(one) < rank(next_one) for one, next_one in itertools.pairwise(states))


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.lists(st.sampled_from(["new", "in progress", *ENDS]), max_size=5), min_size=1, max_size=6),
    st.lists(st.booleans(), min_size=6, max_size=6),
)
def test_without_faults_the_order_is_that_of_creation(looks: list[list[str]], restarts: list[bool]) -> None:
    with quick_folder() as folder:
        stream = EventStream()
        source = Source(stream, folder)
        source.run()
        ids: list[str] = []

        def begin(states: list[str]) -> None:
            for state in states:
                ids.append(stream.begin(state=state))
                stream.clock.advance(1)

        for states, is_restart in zip(looks, restarts, strict=False):
            begin(states)
            source.run(*([] if is_restart else [nothing]))
        assert [event["id"] for event in source.given] == ids
