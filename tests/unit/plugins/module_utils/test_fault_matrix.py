# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every operation under every fault: what is really done, whether the entries tell the truth, and who is disturbed.

tests/unit/fault_cells.py generates the cells and says by rules what has to come out. Here each is run: the code from
the transport up against the simulator, with requests side by side, on a clock that nobody waits for.
"""

from __future__ import annotations

import functools
import itertools
import queue
import re
from collections import Counter
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from unit.fault_cells import CELLS, DURATIONS, FAULTS, OPERATIONS, PLACES, RETRY_AFTER, SIZES, Cell, Operation
from unit.simulated_fleet import Fleet
from unit.virtual_time import VirtualClock, VirtualPool, VirtualQueue

from ansible_collections.community.paperspace.plugins.module_utils import _scheduler
from ansible_collections.community.paperspace.plugins.module_utils._module import report_result
from ansible_collections.community.paperspace.plugins.module_utils._outcomes import BAD_STATUSES, Report
from simulator.operations import COUNTED, Done

FLEET_SIZE = 50
HIT = (0, 17, 49)
# What waits for a turn must not wait for a place among the requests in flight: nobody could then take the turn.
WORKERS, CONCURRENCY = 8, 16
RETRIES = 2
WAIT_TIMEOUT = 200.0
REQUEST_TIMEOUT = 10.0
CONNECTION = {"retries": RETRIES, "concurrency": CONCURRENCY, "request_timeout": REQUEST_TIMEOUT}
# More looks fail than one look is tried again.
FAILED_REQUESTS, FAILED_LOOKS = RETRIES, 4
QUICKEST_POLL = 0.5
DAY = 24 * 3600.0


@dataclass(frozen=True)
class Run:
    """What a task did, on machines that the fault hits and on others."""

    operation: Operation
    fleet: Fleet
    report: Report
    hit: list[str]
    began: float
    done_before: int
    names_before: dict[str, str]

    @property
    def done(self) -> list[Done]:
        return self.fleet.service.done()[self.done_before :]

    def counts(self) -> dict[str, Counter[str]]:
        """What was really done since the task began, by machine."""
        return _by_machine(self.fleet, self.done)

    def accepted(self) -> dict[str, Counter[str]]:
        return _by_machine(self.fleet, self.fleet.service.world.accepted)

    def timings(self) -> dict[str, tuple[float, float]]:
        """By machine that the fault does not hit, how long after the task began it was done, and how long it took."""
        done = {each.machine_id: each.at - self.began for each in self.done if each.what == self.operation.counted}
        others = [outcome for outcome in self.report.outcomes if outcome.machine_id not in self.hit]
        return {outcome.machine_id: (done[outcome.machine_id], outcome.seconds) for outcome in others}


def _by_machine(fleet: Fleet, entries: list[Done]) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = {machine_id: Counter() for machine_id in fleet.machine_ids}
    for each in entries:
        counts[each.machine_id][each.what] += 1
    return counts


def arranged(operation: Operation, size: str, busy: str, *, long_lists: bool = False) -> Fleet:
    """Machines as the operation needs them, with snapshots that it has nothing to do with."""
    clock = VirtualClock()
    machines = FLEET_SIZE if size == "fleet" else 1
    fleet = Fleet(machines, clock=clock, executor=VirtualPool(clock, WORKERS), busy=busy)
    names = ["old"] if operation.needs_snapshot else []
    names += ["kept", "kept too"] if long_lists else ["kept"]
    for name, machine_id in itertools.product(names, fleet.machine_ids):
        fleet.service.add_snapshot(machine_id, name)
        fleet.add_event("snapshot-create", machine_id=machine_id)
    earlier = [event for event, counted in COUNTED.items() if counted == operation.counted]
    for machine_id in fleet.machine_ids:
        # The same was done before: that is no trace of what is done now.
        for name in earlier:
            fleet.add_event(name, machine_id=machine_id)
        fleet.service.add_snapshot(machine_id, "automatic", auto=True)
        fleet.service.change_machine(machine_id, state=operation.state_before)
    fleet.later()
    return fleet


def add_faults(fleet: Fleet, cell: Cell, hit: list[str]) -> None:
    operation, fault = cell.operation, cell.fault
    for_ever = cell.duration == "for ever"
    for machine_id in [None] if cell.hits_everyone else hit:
        if fault.kind == "list":
            fleet.fault(**fault.rule, method="GET")
        elif fault.kind != "answer":
            fleet.fault(**fault.rule, **operation.request, machine_id=machine_id)
        elif cell.place == "request":
            times = None if for_ever else FAILED_REQUESTS
            fleet.fault(**fault.rule, **operation.request, machine_id=machine_id, times=times)
        else:
            times = None if for_ever else FAILED_LOOKS
            fleet.fault(**fault.rule, method="GET", after_change=True, machine_id=machine_id, times=times)
    for machine_id in hit if cell.place == "lookups" else []:
        fleet.fault("lost", when="after", **operation.request, machine_id=machine_id)


def carried_out(fleet: Fleet, operation: Operation, hit: list[str]) -> Run:
    service, began = fleet.service, fleet.clock.now()
    done_before = len(service.done())
    names_before = {item["id"]: item["name"] for item in service.snapshots()}
    run = fleet.run if operation.module == "snapshots" else fleet.change
    with pytest.MonkeyPatch.context() as patch:
        # The scheduler hears of calls that have ended by the clock too.
        virtual = SimpleNamespace(SimpleQueue=lambda: VirtualQueue(fleet.clock), Empty=queue.Empty)
        patch.setattr(_scheduler, "queue", virtual)
        report = run(connection=CONNECTION, wait_timeout=WAIT_TIMEOUT, **operation.options)
    return Run(operation, fleet, report, hit, began, done_before, names_before)


def run_of(cell: Cell) -> Run:
    fleet = arranged(cell.operation, cell.size, cell.busy, long_lists=cell.fault.kind == "list")
    hit = [fleet.machine_ids[number] for number in HIT] if cell.size == "fleet" else fleet.machine_ids
    add_faults(fleet, cell, hit)
    run = carried_out(fleet, cell.operation, fleet.machine_ids if cell.hits_everyone else hit)
    assert any(rule["applied"] for rule in fleet.service.faults.rules()), "the fault hit nothing"
    return run


@functools.cache
def timings_without_faults(operation: Operation, size: str, busy: str) -> dict[str, tuple[float, float]]:
    run = carried_out(arranged(operation, size, busy), operation, [])
    assert {outcome.status for outcome in run.report.outcomes} == {operation.status}
    return run.timings()


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_cell(cell: Cell) -> None:
    run = run_of(cell)
    for outcome in run.report.outcomes:
        expected = cell.status if outcome.machine_id in run.hit else cell.operation.status
        assert outcome.status == expected, outcome
    assert_entries_tell_the_truth(run)
    assert_exit_is_honest(run)
    assert_others_are_not_disturbed(run, cell)
    assert_limits_are_kept_to(run)
    assert_nothing_is_sent_too_often(run, cell)
    # What is still under way ends now, or never does.
    run.fleet.later(DAY)
    assert_just_what_was_asked_is_done(run, cell)
    assert_failed_is_undone(run)
    assert_nothing_foreign_is_touched(run)


def assert_entries_tell_the_truth(run: Run) -> None:
    """What an entry says is done, is done when it says so: compared with the simulator's own records."""
    counts, service = run.counts(), run.fleet.service
    for outcome in run.report.outcomes:
        assert (outcome.error is None) == (outcome.status not in BAD_STATUSES)
        if outcome.status != run.operation.status:
            if outcome.event_id:
                assert outcome.event_id in str(outcome.error)
            continue
        machine_id, entry = outcome.machine_id, outcome.to_result()
        assert counts[machine_id][run.operation.counted] >= 1
        snapshots = {item["id"]: item for item in service.snapshots(machine_id)}
        if run.operation.name == "create":
            assert (entry["name"], snapshots[entry["id"]]["name"]) == ("new", "new")
            assert snapshots[entry["id"]]["complete"]
        elif run.operation.name == "delete":
            assert entry["id"] not in snapshots
        elif run.operation.name == "rename":
            assert (entry["name"], snapshots[entry["id"]]["name"]) == ("new", "new")
        elif run.operation.name == "settings":
            assert entry["auto_snapshot"] == run.operation.options["auto_snapshot"]
            assert service.machine(machine_id).fields["autoSnapshotSaveCount"] == 3
        if run.operation.counted == "restores":
            assert run.names_before[entry["id"]] == "old"
            assert (entry["safety_snapshot_id"] in snapshots) == ("safety_snapshot" in run.operation.options)
        if run.operation.state_after is not None:
            assert service.machine(machine_id).state == run.operation.state_after


def assert_failed_is_undone(run: Run) -> None:
    counts = run.counts()
    for outcome in run.report.outcomes:
        if outcome.status == "failed":
            assert counts[outcome.machine_id][run.operation.counted] == 0


def assert_just_what_was_asked_is_done(run: Run, cell: Cell) -> None:
    operation, counts = run.operation, run.counts()
    asks_for_one = "safety_snapshot" in operation.options
    for machine_id in run.fleet.machine_ids:
        is_done = cell.is_done or machine_id not in run.hit
        of_machine = counts[machine_id]
        # A safety snapshot is taken before it shows whether the restore works.
        taken = of_machine.pop("safety_snapshots", 0)
        assert taken in ({asks_for_one} if is_done else {False, asks_for_one})
        expected = Counter({operation.counted: int(is_done)})
        if is_done and operation.is_repeatable:
            expected[operation.counted] = max(1, of_machine[operation.counted])
        assert of_machine == expected, machine_id


def assert_exit_is_honest(run: Run) -> None:
    """The task fails just when an entry does, names those and nobody else, and says whether it changed anything."""
    result = report_result(run.report, run.operation.module)
    bad = {outcome.machine_id for outcome in run.report.outcomes if outcome.status in BAD_STATUSES}
    assert result.get("failed", False) == bool(bad)
    said = result.get("msg", "")
    assert {machine_id for machine_id in run.fleet.machine_ids if machine_id in said} == bad
    assert len(result[run.operation.module]) == len(run.fleet.machine_ids)
    accepted = run.accepted()
    for outcome in run.report.outcomes:
        has_begun = bool(accepted[outcome.machine_id][run.operation.counted])
        # Who is not sure says that something may have changed.
        assert outcome.is_changed == (has_begun or outcome.status == "unsure"), outcome
    assert result["changed"] == any(outcome.is_changed for outcome in run.report.outcomes)


def assert_others_are_not_disturbed(run: Run, cell: Cell) -> None:
    """The work on other machines is done when it would be without the fault, and seen to be at the next look."""
    if cell.fault.is_rate_limit or cell.hits_everyone or cell.size == "one":
        # A limit on the rate is everybody's: all slow down together.
        return
    expected, timings = timings_without_faults(run.operation, cell.size, cell.busy), run.timings()
    assert timings.keys() == expected.keys() - set(run.hit)
    for machine_id, (done, said) in timings.items():
        assert done <= expected[machine_id][0]
        assert said <= expected[machine_id][1] + QUICKEST_POLL


def assert_nothing_is_sent_too_often(run: Run, cell: Cell) -> None:
    """The request that does the work goes out no more often than retries allow; who is busy may be asked again."""
    if cell.fault.is_busy or (cell.busy == "conflict" and not cell.operation.is_repeatable):
        return
    path = re.compile(f"{cell.operation.method} {cell.operation.path}")
    sent = sum(path.fullmatch(call) is not None for call in run.fleet.service.log.calls())
    others = len(run.fleet.machine_ids) - len(run.hit)
    assert sent <= others + len(run.hit) * (1 + RETRIES)


def assert_limits_are_kept_to(run: Run) -> None:
    """After an answer with Retry-After nobody sends anything for so long, whichever machine it is for."""
    limited = {rule["id"] for rule in run.fleet.service.faults.rules() if rule.get("retry_after")}
    last = float("-inf")
    for entry in run.fleet.service.log:
        # What was under way at that moment is no longer held back.
        assert entry.at == last or entry.at >= last + RETRY_AFTER
        if limited.intersection(entry.faults):
            last = entry.at


def assert_nothing_foreign_is_touched(run: Run) -> None:
    names = {item["id"]: item["name"] for item in run.fleet.service.snapshots()}
    foreign = {key: name for key, name in run.names_before.items() if name != "old"}
    assert foreign.items() <= names.items()


def test_matrix_is_whole() -> None:
    """Every operation meets every fault that it can meet, alone and in a fleet, and cells are left out by rule only."""
    met = {(cell.operation.name, cell.fault.name, cell.size) for cell in CELLS}
    missing = {
        (operation.name, fault.name)
        for operation, fault, size in itertools.product(OPERATIONS, FAULTS, SIZES)
        if (operation.name, fault.name, size) not in met and not (operation.is_like and size == "fleet")
    }
    without_event = [fault.name for fault in FAULTS if fault.kind == "event" or "event" in fault.rule["action"]]
    without_state = [operation.name for operation in OPERATIONS if operation.state_after is None]
    assert missing == {
        *itertools.product(("rename", "settings"), without_event),
        *itertools.product(without_state, ["machine state lagging"]),
    }
    assert {(cell.place, cell.duration) for cell in CELLS} == set(itertools.product(PLACES, DURATIONS))


def test_unsure_is_only_what_the_api_cannot_tell() -> None:
    unsure = Counter((cell.operation.name, cell.fault.kind) for cell in CELLS if cell.status == "unsure")
    assert {name for name, kind in unsure if kind == "event"} == {
        *("create", "restore", "restore after a safety snapshot", "restart")
    }
    answers = [cell for cell in CELLS if cell.status == "unsure" and cell.fault.kind != "event"]
    assert {(cell.place, cell.duration) for cell in answers} == {("lookups", "for ever")}
