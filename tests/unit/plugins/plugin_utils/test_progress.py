# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines about work that goes on: when there is one, and what it says. Time is moved by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from unit.simulated_fleet import Fleet

from ansible_collections.community.paperspace.plugins.module_utils._machines import MachineWish, run_machines
from ansible_collections.community.paperspace.plugins.module_utils._outcomes import (
    MachineOutcome,
    Outcome,
    SnapshotOutcome,
)
from ansible_collections.community.paperspace.plugins.module_utils._snapshot_plans import Wish
from ansible_collections.community.paperspace.plugins.module_utils._snapshots import run_snapshots
from ansible_collections.community.paperspace.plugins.plugin_utils._guardian import Order, Stop, World
from ansible_collections.community.paperspace.plugins.plugin_utils._progress import (
    BETWEEN_LINES,
    FIRST_LINE,
    LONGEST_SILENCE,
    MOST_FAILURES_BETWEEN_LINES,
    ProgressLines,
    count_line,
    duration,
    failure_line,
    waiting_line,
)

BEGAN = 1000.0


class Watched:
    """Progress whose lines are kept, with the time of each."""

    def __init__(self, count: int) -> None:
        self.now = BEGAN
        self.lines: list[tuple[float, str]] = []
        self.outcomes: list[Outcome] = [SnapshotOutcome(f"ps{number}", name="x") for number in range(count)]
        self.progress = ProgressLines(lambda text: self.lines.append((self.now - BEGAN, text)))
        self.progress.begin(self.outcomes, self.now)
        self.next_look = self.progress.look(self.now)

    def until(self, seconds: float) -> None:
        """Let time pass to so many seconds after the beginning."""
        while self.next_look <= BEGAN + seconds:
            self.now = self.next_look
            self.next_look = self.progress.look(self.now)
            assert self.next_look > self.now
        self.now = BEGAN + seconds

    def end(self, *numbers: int, status: str = "created", error: str | None = None) -> None:
        for number in numbers:
            self.outcomes[number].status, self.outcomes[number].error = status, error
            self.progress.end(self.outcomes[number])

    def finish(self) -> None:
        self.progress.look(self.now)

    @property
    def texts(self) -> list[str]:
        return [text for _time, text in self.lines]


def test_quick_work_passes_in_silence_also_when_it_fails() -> None:
    work = Watched(2)
    work.until(FIRST_LINE - 0.1)
    work.end(0)
    work.end(1, status="failed", error="no space")
    work.finish()
    assert work.lines == []


def test_work_that_ended_before_anybody_looked_is_not_told() -> None:
    work = Watched(2)
    work.now += 10
    work.end(0, 1)
    work.finish()
    assert work.lines == []


def test_first_line_comes_soon_and_the_last_with_the_end() -> None:
    work = Watched(3)
    work.until(2.5)
    assert work.lines == [(2.0, "0 of 3 done, 3 under way after 2 s")]
    work.end(0, 1, 2)
    work.finish()
    assert work.lines[1:] == [(2.5, "3 of 3 done after 2 s")]


def test_changes_are_told_together_every_few_seconds() -> None:
    work = Watched(100)
    for second in range(3, 20):
        work.until(second)
        work.end(second)
    work.until(20)
    times = [time for time, _text in work.lines]
    assert len(times) >= 3
    assert min(later - sooner for sooner, later in itertools.pairwise(times)) >= BETWEEN_LINES
    assert work.texts[-1].startswith("14 of 100 done, 86 under way after 17 s")


def test_without_change_there_is_a_line_only_now_and_then() -> None:
    work = Watched(2)
    work.until(4 * LONGEST_SILENCE)
    assert [time for time, _text in work.lines] == [FIRST_LINE + LONGEST_SILENCE * number for number in range(4)]
    assert work.texts[-1] == "0 of 2 done, 2 under way after 1 min 32 s"


def test_a_change_after_silence_is_told_soon() -> None:
    work = Watched(2)
    work.until(10.2)
    work.end(0)
    work.until(12)
    assert [time for time, _text in work.lines] == [2.0, 11.0]


def test_failure_is_named_at_once() -> None:
    work = Watched(3)
    work.until(2.5)
    work.end(1, status="failed", error="no space")
    assert work.lines[1:] == [(2.5, "machine ps1, snapshot x: failed: no space")]


def test_early_failure_is_named_with_the_first_line() -> None:
    work = Watched(3)
    work.until(1)
    work.end(1, status="timed_out", error="too late")
    work.until(2)
    assert work.lines == [
        (2.0, "machine ps1, snapshot x: timed_out: too late"),
        (2.0, "0 of 3 done, 1 failed, 2 under way after 2 s"),
    ]


@pytest.mark.parametrize("status", ["created", "failed"])
def test_the_end_of_a_single_one_is_left_to_the_task(status: str) -> None:
    work = Watched(1)
    work.until(40)
    work.end(0, status=status)
    work.finish()
    assert work.lines == [
        (2.0, "machine ps0, snapshot x: under way after 2 s"),
        (32.0, "machine ps0, snapshot x: under way after 32 s"),
    ]


def test_failures_of_a_whole_fleet_are_not_all_named() -> None:
    work = Watched(50)
    work.until(2.1)
    work.end(*range(40), status="failed", error="no space")
    assert len(work.lines) == 1 + MOST_FAILURES_BETWEEN_LINES
    work.until(8)
    assert work.texts[-1].startswith("0 of 50 done, 40 failed, 10 under way")
    work.end(45, status="failed", error="no space")
    assert work.texts[-1] == "machine ps45, snapshot x: failed: no space"


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"ended": 0, "failed": 0}, "0 of 50 done, 50 under way after 12 s"),
        ({"ended": 37, "failed": 2}, "35 of 50 done, 2 failed, 13 under way after 12 s"),
        ({"ended": 50, "failed": 0}, "50 of 50 done after 12 s"),
        ({"ended": 50, "failed": 50}, "0 of 50 done, 50 failed after 12 s"),
    ],
)
def test_count_line(given: dict[str, int], line: str) -> None:
    assert count_line(50, **given, seconds=12.9) == line


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({}, "machine ps1 (web1): under way after 9 s"),
        ({"waits_for": "The machine was busy"}, "machine ps1 (web1): under way after 9 s (The machine was busy)"),
        (
            {"event_id": "ev1", "event_state": "in progress", "waits_for": "old"},
            "machine ps1 (web1): under way after 9 s (waits for event ev1)",
        ),
        (
            {"event_id": "ev1", "event_state": "done", "waits_for": "It was not ready yet"},
            "machine ps1 (web1): under way after 9 s (It was not ready yet)",
        ),
    ],
)
def test_waiting_line(fields: dict[str, Any], line: str) -> None:
    assert waiting_line(MachineOutcome("ps1", name="web1", **fields), 9.0) == line


def test_failure_line() -> None:
    assert failure_line(Outcome("ps1", status="unsure", error="Look.")) == "machine ps1: unsure: Look."


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min 0 s"), (3599, "59 min 59 s"), (3600, "1 h 0 min"), (90061, "25 h 1 min")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_fleet_of_snapshots_is_told_by_the_core() -> None:
    fleet = Fleet(4, snapshot_seconds=20)
    fleet.fault("event", method="POST", machine_id=fleet.machine_ids[1], state="error", error="no space", seconds=4)
    lines: list[str] = []
    wish = Wish(machine_ids=fleet.machine_ids, name="x")
    run_snapshots(fleet.client(), wish, check_mode=False, executor=fleet.executor, progress=ProgressLines(lines.append))
    assert lines[0] == "0 of 4 done, 4 under way after 2 s"
    assert lines[1].startswith(f"machine {fleet.machine_ids[1]}, snapshot x: failed: ")
    assert lines[2].startswith("0 of 4 done, 1 failed, 3 under way after ")
    assert lines[-1].startswith("3 of 4 done, 1 failed after 2")


def test_a_fleet_of_machines_is_told_by_the_core() -> None:
    fleet = Fleet(3, stop_seconds=40)
    lines: list[str] = []
    wish = MachineWish(machine_ids=fleet.machine_ids, state="stopped")
    run_machines(fleet.client(), wish, check_mode=False, executor=fleet.executor, progress=ProgressLines(lines.append))
    assert lines[:2] == ["0 of 3 done, 3 under way after 2 s", "0 of 3 done, 3 under way after 32 s"]
    assert lines[-1] == "3 of 3 done after 49 s"


@pytest.mark.parametrize("kind", ["check mode", "unchanged", "wait false"])
def test_work_without_waiting_is_not_told(kind: str) -> None:
    fleet = Fleet(2, snapshot_seconds=20)
    wish: dict[str, Any] = {"machine_ids": fleet.machine_ids, "name": "x"}
    if kind == "unchanged":
        fleet.run(**wish)
    lines: list[str] = []
    run_snapshots(
        fleet.client(),
        Wish(**wish, wait=kind != "wait false"),
        check_mode=kind == "check mode",
        executor=fleet.executor,
        progress=ProgressLines(lines.append),
    )
    assert lines == []


def world(fleet: Fleet, said: Callable[[str], None]) -> World:
    """A guardian's world whose service is the fleet's."""

    class Speaker:
        say = staticmethod(said)

    connection = {"api_key": "key"}
    order = Order({}, {"cliargs": {}, "argv": []}, connection, {}, work_folder="", report_folder=None)
    made = World.__new__(World)
    made._order, made._stop, made._speaker = order, Stop(), Speaker()  # type: ignore[assignment]
    made._client = fleet.client()
    return made


def test_the_guardian_tells_of_its_snapshots_rollbacks_and_starts() -> None:
    fleet = Fleet(2, snapshot_seconds=10, restore_seconds=10, start_seconds=10)
    lines: list[str] = []
    guardian = world(fleet, lines.append)
    for state in ("present", "restored"):
        guardian.snapshots(Wish(machine_ids=fleet.machine_ids, name="x", state=state), check_mode=False)
    for machine_id in fleet.machine_ids:
        fleet.service.change_machine(machine_id, state="off")
    guardian.machines(MachineWish(machine_ids=fleet.machine_ids, state="started"))
    told = [line for line in lines if line.endswith("0 of 2 done, 2 under way after 2 s")]
    assert [line.partition(":")[0] for line in told] == ["Taking snapshots", "Restoring snapshots", "Starting machines"]
