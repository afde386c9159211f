# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machine events that come up and go on as a test says, and the source that follows them, in simulated time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from unit.simulated_fleet import API_URL, KEY, Fleet

from ansible_collections.community.paperspace.extensions.eda.plugins.event_source.machine_events import (
    follow,
    options_from,
)
from simulator.records import Event
from simulator.session import SimulatorAdapter

INTERVAL = 10.0
LOOKBACK = 600.0


class Ended(Exception):
    """The rulebook's process is no more."""


class EventStream:
    """A team's events. Events do nothing but what the test says."""

    def __init__(self) -> None:
        self.fleet = Fleet(is_history_whole=False)
        self.clock = self.fleet.clock
        # A position at which the lookback does not end before the first of all events.
        self.clock.advance(3600)

    def begin(
        self,
        name: str = "snapshot-create",
        state: str = "new",
        *,
        invisible: float = 0,
        age: float = 0,
        event_id: str | None = None,
        error: str | None = None,
    ) -> str:
        """A new event, or one that is so old already (s)."""
        world, created = self.fleet.service.world, self.clock.now() - age
        event = Event(
            *(event_id or world._ids.new("me"), world._next(), self.fleet.machine_id, name, created),
            *(self.clock.now() + invisible, state, error),
        )
        if state in ("done", "error", "cancelled"):
            event.finished_at = created
        world.events.add(event)
        return event.id

    def pass_over(self) -> None:
        """Some time later, with more than a page of other events between, so that what is now lies far behind."""
        self.clock.advance(3 * LOOKBACK)
        for dummy in range(250):
            self.begin(state="done", age=2 * LOOKBACK)
        self.begin(state="done")

    def change(self, event_id: str, state: str) -> None:
        event = self.fleet.service.world.events.get(event_id)
        assert event
        event.state = state
        if state in ("done", "error", "cancelled"):
            event.finished_at = self.clock.now()

    def remove(self, event_id: str) -> None:
        event = self.fleet.service.world.events.get(event_id)
        assert event
        self.fleet.service.world.events.remove(event)


Step = Callable[[], object]


class Source:
    """The source as ansible-rulebook runs it: C(run) starts its process, which ends after some looks at the events."""

    def __init__(self, stream: EventStream, folder: Path | None = None, **args: Any) -> None:
        self.stream = stream
        self.args = {"api_key": KEY, "api_url": API_URL, "interval": INTERVAL, "lookback": LOOKBACK, **args}
        if folder is not None:
            self.args["state_file"] = str(folder / "position.json")
        self.given: list[dict[str, Any]] = []
        self.slept: list[float] = []
        self.feedback: Any = None
        self.adapter: SimulatorAdapter | None = None

    async def put(self, event: dict[str, Any]) -> None:
        self.given.append(event)

    def run(self, *steps: Step) -> list[tuple[str, str]]:
        """Look, do the first step, look, and so on to a look after the last step; the (id, state) that were given."""
        before = len(self.given)
        todo = list(steps)

        async def sleep(seconds: float) -> None:
            self.slept.append(seconds)
            self.stream.clock.advance(seconds)
            if not todo:
                raise Ended
            todo.pop(0)()

        options = options_from(self.args, {}, Path("/nonexistent"))
        client = self.stream.fleet.client(adapter=self.adapter, retries=1, request_timeout=5.0)
        with suppress(Ended):
            asyncio.run(follow(self, options, client, feedback=self.feedback, sleep=sleep, now=self.now))
        return pairs(self.given[before:])

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.stream.clock.now(), timezone.utc)


def pairs(events: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(event["id"], event["state"]) for event in events]


def nothing() -> None:
    """A step in which nothing happens."""
