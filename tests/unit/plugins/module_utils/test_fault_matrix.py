# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every operation under every fault: what is really done, whether the entries tell the truth, and who is disturbed.

tests/unit/fault_cells.py generates the cells and says by rules what has to come out. Here each is run: the code from
the transport up against the simulator, with requests side by side, on a clock that nobody waits for.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import pytest
from unit.fault_cells import (
    CELLS,
    DURATIONS,
    FAULTS,
    MOST_HIT,
    MOST_HIT_CELLS,
    OPERATIONS,
    PLACES,
    RETRY_AFTER,
    SIZES,
    TYPICAL,
    Cell,
    Fault,
    Operation,
)
from unit.simulated_fleet import Fleet
from unit.virtual_time import VirtualClock, VirtualPool, let_schedulers_wait_by

from ansible_collections.community.paperspace.plugins.module_utils._connection import Connection
from ansible_collections.community.paperspace.plugins.module_utils._errors import PaperspaceError
from ansible_collections.community.paperspace.plugins.module_utils._module import report_result
from ansible_collections.community.paperspace.plugins.module_utils._outcomes import (
    BAD_STATUSES,
    Outcome,
    Progress,
    Report,
)
from simulator.clock import ManualClock
from simulator.operations import COUNTED, Done
from simulator.request_log import Entry

FLEET_SIZE = 50
# What waits for a turn must not wait for a place among the requests in flight: nobody could then take the turn.
WORKERS, CONCURRENCY = 8, 16
WAIT_TIMEOUT = 200.0
REQUEST_TIMEOUT = 10.0
# More looks fail than one look is tried again.
FAILED_LOOKS = 4
# Somebody else's work on a machine, and for how long looks at it fail: from soon after the task has begun to wait for
# that until well after it has ended.
OTHERS_WORK = 16.0
TROUBLE_BEGINS, TROUBLE_ENDS = 2.0, 28.0
QUICKEST_POLL = 0.5
DAY = 24 * 3600.0


@dataclass(frozen=True)
class Size:
    """How many machines there are, which of them the fault hits, how often a request is tried again, and how long."""

    machines: int
    hit: Collection[int]
    retries: int = 2
    wait_timeout: float = WAIT_TIMEOUT

    @property
    def connection(self) -> dict[str, Any]:
        return {"retries": self.retries, "concurrency": CONCURRENCY, "request_timeout": REQUEST_TIMEOUT}


OF_SIZE = {
    "one": Size(1, [0]),
    "fleet": Size(FLEET_SIZE, (0, 17, 49)),
    # As often as by default, which takes its time.
    MOST_HIT: Size(FLEET_SIZE, [number for number in range(FLEET_SIZE) if number % 5 in (0, 2)], 8, 600.0),
}


class Heard(Progress):
    """Notes when the entry of each machine was there to be said."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.said: dict[str, float] = {}

    def end(self, outcome: Outcome) -> None:
        self.said[outcome.machine_id] = self._clock.now()


@dataclass(frozen=True)
class Run:
    """What a task did, on machines that the fault hits and on others."""

    operation: Operation
    size: Size
    fleet: Fleet
    hit: list[str]
    began: float
    done_before: int
    accepted_before: int
    names_before: dict[str, str]
    said: dict[str, float]
    result: Report | PaperspaceError
    """The error: of a task that is refused as a whole."""

    @property
    def report(self) -> Report:
        assert isinstance(self.result, Report), self.result
        return self.result

    @property
    def done(self) -> list[Done]:
        """What was really done since the task began, but for what somebody else had begun."""
        return self._without_others(self.fleet.service.done()[self.done_before :])

    @property
    def accepted(self) -> list[Done]:
        return self._without_others(self.fleet.service.world.accepted[self.accepted_before :])

    def _without_others(self, entries: list[Done]) -> list[Done]:
        return [each for each in entries if each.what != "creates" or each.snapshot_id not in self.names_before]

    def counts(self) -> dict[str, Counter[str]]:
        """What was really done since the task began, by machine."""
        return _by_machine(self.fleet, self.done)

    def done_at(self) -> dict[str, float]:
        """When the work was done first, by machine."""
        return {each.machine_id: each.at for each in reversed(self.done) if each.what == self.operation.counted}

    def timings(self) -> dict[str, tuple[float, float]]:
        """By machine that the fault does not hit, how long after the task began it was done, and was said to be."""
        done = self.done_at()
        others = [machine_id for machine_id in self.fleet.machine_ids if machine_id not in self.hit]
        return {each: (done[each] - self.began, self.said[each] - self.began) for each in others}


def _by_machine(fleet: Fleet, entries: list[Done]) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = {machine_id: Counter() for machine_id in fleet.machine_ids}
    for each in entries:
        counts[each.machine_id][each.what] += 1
    return counts


def arranged(operation: Operation, size: str, busy: str, *, long_lists: bool = False) -> Fleet:
    """Machines as the operation needs them, with snapshots that it has nothing to do with."""
    clock = VirtualClock()
    executor = VirtualPool(clock, WORKERS)
    machines = OF_SIZE[size].machines
    fleet = Fleet(machines, clock=clock, executor=executor, is_quick=machines > 1, busy=busy, **operation.service)
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
    operation, fault, retries = cell.operation, cell.fault, OF_SIZE[cell.size].retries
    for_ever = cell.duration == "for ever"
    if cell.place == "reads":
        add_faults_to_reads(fleet, cell)
        return
    if cell.place == "others":
        begin_work_of_others(fleet, cell, hit)
        return
    for machine_id in [None] if cell.hits_everyone else hit:
        if fault.kind == "list":
            fleet.fault(**fault.rule, method="GET")
        elif fault.kind != "answer":
            fleet.fault(**fault.rule, **operation.request, machine_id=machine_id)
        elif cell.place == "request":
            times = None if for_ever else retries
            fleet.fault(**fault.rule, **operation.request, machine_id=machine_id, times=times)
        else:
            times = None if for_ever else FAILED_LOOKS
            fleet.fault(**fault.rule, method="GET", after_change=True, machine_id=machine_id, times=times)
    for machine_id in hit if cell.place == "lookups" else []:
        fleet.fault("lost", when="after", **operation.request, machine_id=machine_id)


def add_faults_to_reads(fleet: Fleet, cell: Cell) -> None:
    """For a while: the first reads of everything. For ever: from the last read that all is decided after."""
    paths = [path for path, _seconds in reads_without_faults(cell.operation, cell.size)]
    if cell.duration == "for ever":
        fleet.fault(**cell.fault.rule, method="GET", nth=list(range(len(paths), len(paths) + 1000)))
        return
    for path in paths[-1:] if cell.fault.is_invalid else dict.fromkeys(paths):
        fleet.fault(**cell.fault.rule, method="GET", path=path, times=OF_SIZE[cell.size].retries)


def begin_work_of_others(fleet: Fleet, cell: Cell, hit: list[str]) -> None:
    """Somebody else makes a snapshot; looks at the machine begin to fail while that goes on."""
    for machine_id in hit:
        slow = fleet.fault("event", method="POST", seconds=OTHERS_WORK)
        fleet.begin_snapshot("theirs", machine_id)
        fleet.service.faults.remove(slow)
    _path, last_read = reads_without_faults(cell.operation, cell.size)[-1]

    def trouble() -> None:
        fleet.clock.sleep(last_read + TROUBLE_BEGINS)
        rules = [fleet.fault(**cell.fault.rule, method="GET", machine_id=machine_id) for machine_id in hit]
        if cell.duration == "for a while":
            fleet.clock.sleep(TROUBLE_ENDS - last_read - TROUBLE_BEGINS)
            # Whoever is told to slow down slows all down, and may be the only one to be told so.
            assert_faults_have_hit(fleet, any if cell.fault.is_rate_limit else all)
            for rule in rules:
                fleet.service.faults.remove(rule)

    assert isinstance(fleet.clock, VirtualClock)
    fleet.clock.start(trouble)


def carried_out(fleet: Fleet, operation: Operation, hit: list[str], size: str) -> Run:
    service, began, heard = fleet.service, fleet.clock.now(), Heard(fleet.clock)
    done_before, accepted_before = len(service.done()), len(service.world.accepted)
    names_before = {item["id"]: item["name"] for item in service.snapshots()}
    run = fleet.run if operation.module == "snapshots" else fleet.change
    options: dict[str, Any] = {**operation.options, "wait_timeout": OF_SIZE[size].wait_timeout, "progress": heard}
    with pytest.MonkeyPatch.context() as patch:
        # The scheduler hears of calls that have ended by the clock too.
        let_schedulers_wait_by(fleet.clock, patch)
        result: Report | PaperspaceError
        try:
            result = run(connection=OF_SIZE[size].connection, **options)
        except PaperspaceError as error:
            result = error
    before = done_before, accepted_before, names_before
    return Run(operation, OF_SIZE[size], fleet, hit, began, *before, heard.said, result)


def run_of(cell: Cell) -> Run:
    fleet = arranged(cell.operation, cell.size, cell.busy, long_lists=cell.fault.kind == "list")
    hit = [fleet.machine_ids[number] for number in OF_SIZE[cell.size].hit]
    add_faults(fleet, cell, hit)
    run = carried_out(fleet, cell.operation, fleet.machine_ids if cell.hits_everyone else hit, cell.size)
    assert_faults_have_hit(fleet)
    return run


def assert_faults_have_hit(fleet: Fleet, enough: Callable[[Iterable[bool]], bool] = all) -> None:
    assert enough(rule["applied"] > 0 for rule in fleet.service.faults.rules()), "a fault hit nothing"


@functools.cache
def run_without_faults(operation: Operation, size: str, busy: str) -> Run:
    run = carried_out(arranged(operation, size, busy), operation, [], size)
    assert {outcome.status for outcome in run.report.outcomes} == {operation.status}
    return run


def reads_without_faults(operation: Operation, size: str) -> list[tuple[str, float]]:
    """The paths of what is read before anything is decided, and when: what a fleet's machines are asked for is not."""
    run = run_without_faults(operation, size, "queue")
    reads = itertools.takewhile(lambda entry: entry.method == "GET", run.fleet.service.log)
    return [(entry.path, entry.at - run.began) for entry in reads if size == "one" or is_of_team(entry)]


def is_of_team(entry: Entry) -> bool:
    return "machineId" not in entry.query and entry.path.count("/") == (2 if entry.path == "/auth/session" else 1)


@pytest.mark.parametrize("cell", [*CELLS, *MOST_HIT_CELLS], ids=str)
def test_cell(cell: Cell) -> None:
    run = run_of(cell)
    if cell.is_refused:
        assert_nothing_is_begun(run)
        return
    for outcome in run.report.outcomes:
        expected = cell.status if outcome.machine_id in run.hit else cell.operation.status
        assert outcome.status == expected, outcome
    assert_entries_tell_the_truth(run)
    assert_nothing_is_said_too_early(run)
    assert_exit_is_honest(run)
    assert_others_are_not_disturbed(run, cell)
    assert_limits_are_kept_to(run)
    assert_nothing_is_sent_too_often(run, cell)
    # What is still under way ends now, or never does.
    run.fleet.clock.sleep(DAY)
    run.fleet.service.tick()
    assert_just_what_was_asked_is_done(run, cell)
    assert_nothing_is_asked_for_twice(run)
    assert_failed_is_undone(run)
    assert_nothing_foreign_is_touched(run)


def assert_nothing_is_begun(run: Run) -> None:
    """The task is refused as a whole, or every entry is bad; either way nothing was sent."""
    if isinstance(run.result, Report):
        assert {outcome.status for outcome in run.result.outcomes} <= BAD_STATUSES
        assert_exit_is_honest(run)
    run.fleet.clock.sleep(DAY)
    assert run.fleet.writes() == []
    assert run.accepted == []
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
        elif run.operation.counted == "machine_updates":
            assert entry["auto_snapshot"] == run.operation.options["auto_snapshot"]
            assert service.machine(machine_id).fields["autoSnapshotSaveCount"] == 3
        if run.operation.counted == "restores":
            assert run.names_before[entry["id"]] == "old"
            assert (entry["safety_snapshot_id"] in snapshots) == ("safety_snapshot" in run.operation.options)
        if run.operation.state_after is not None:
            assert service.machine(machine_id).state == run.operation.state_after


def assert_nothing_is_said_too_early(run: Run) -> None:
    """An entry that says that it is done was not there before the work was."""
    done = run.done_at()
    for outcome in run.report.outcomes:
        if outcome.status == run.operation.status:
            assert done[outcome.machine_id] <= run.said[outcome.machine_id], outcome


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
    if operation.needs_snapshot:
        # To the machine's own snapshot of this name, and to no other.
        old = {each.machine_id: each.snapshot_id for each in run.done if each.what == operation.counted}
        names = {str(snapshot_id): run.names_before[str(snapshot_id)] for snapshot_id in old.values()}
        assert set(names.values()) <= {"old"}
        assert len(names) == len(old)


def assert_nothing_is_asked_for_twice(run: Run) -> None:
    """Whatever becomes of it, the service takes up the work on a machine once at most; and nothing else with it."""
    for machine_id, taken_up in _by_machine(run.fleet, run.accepted).items():
        assert taken_up.keys() <= {run.operation.counted}, machine_id
        assert run.operation.is_repeatable or taken_up.total() <= 1, machine_id


def assert_exit_is_honest(run: Run) -> None:
    """The task fails just when an entry does, names those and nobody else, and says whether it changed anything."""
    result = report_result(run.report, run.operation.module)
    bad = {outcome.machine_id for outcome in run.report.outcomes if outcome.status in BAD_STATUSES}
    assert result.get("failed", False) == bool(bad)
    said = result.get("msg", "")
    assert {machine_id for machine_id in run.fleet.machine_ids if machine_id in said} == bad
    assert len(result[run.operation.module]) == len(run.fleet.machine_ids)
    accepted = _by_machine(run.fleet, run.accepted)
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
    expected, timings = run_without_faults(cell.operation, cell.size, cell.busy).timings(), run.timings()
    assert timings.keys() == expected.keys() - set(run.hit)
    in_line = longest_line(run, cell)
    # What is looked at in the end stands in line, too.
    lines = 2 if "safety_snapshot" in cell.operation.options else 1
    for machine_id, (done, said) in timings.items():
        assert done <= expected[machine_id][0] + in_line
        assert said <= expected[machine_id][1] + lines * in_line + QUICKEST_POLL


def longest_line(run: Run, cell: Cell) -> float:
    """How long a request can stand in line at most, since all places are taken by requests that nobody answers.

    Each of these has a place for as long as it waits for its answer, once, and then comes after everybody else.
    """
    is_silent = cell.fault.rule["action"] == "timeout" or cell.fault.rule.get("timeout", False)
    return len(run.hit) // WORKERS * REQUEST_TIMEOUT if is_silent else 0.0


def assert_nothing_is_sent_too_often(run: Run, cell: Cell) -> None:
    """The request that does the work goes out no more often than retries allow; who is busy may be asked again."""
    is_never_busy = cell.busy == "queue" or (cell.operation.is_repeatable and not cell.operation.has_event)
    if cell.fault.is_busy or not is_never_busy:
        return
    path = re.compile(f"{cell.operation.method} {cell.operation.path}")
    sent = sum(path.fullmatch(call) is not None for call in run.fleet.service.log.calls())
    others = len(run.fleet.machine_ids) - len(run.hit)
    assert sent <= others + len(run.hit) * (1 + run.size.retries)


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
    """Every operation meets every fault wherever and for as long as it can, alone and in a fleet."""
    met: dict[tuple[str, str, str], set[tuple[str, str]]] = defaultdict(set)
    for cell in CELLS:
        met[cell.operation.name, cell.fault.name, cell.size].add((cell.place, cell.duration))
    for operation, fault in itertools.product(OPERATIONS, FAULTS):
        alone, in_fleet = (met[operation.name, fault.name, size] for size in SIZES)
        assert alone == everywhere(operation, fault), (operation.name, fault.name)
        left_out = {place for place, _duration in alone - in_fleet}
        if fault in TYPICAL.values():
            assert left_out == (
                {"others"} & {place for place, _duration in alone} if operation.name == "delete" else set()
            )
        elif operation.name != "settings with an event":
            assert left_out <= {"reads", "others"}
        assert in_fleet <= alone


def everywhere(operation: Operation, fault: Fault) -> set[tuple[str, str]]:
    """All places and durations but those that cannot be."""
    if fault.kind != "answer":
        lacks_event = not operation.has_event and (fault.kind == "event" or fault.rule["action"] == "event_invisible")
        lacks_state = operation.state_after is None and fault.rule["action"] == "state_lag"
        return set() if lacks_event or lacks_state else {("request", "for ever"), ("lookups", "for ever")}
    places = set(itertools.product(PLACES, DURATIONS))
    if fault.is_work_done and operation.method != "PUT":
        places.remove(("request", "for a while"))
    absent = set() if operation.has_event else {"polls"}
    absent |= {"others"} if operation.name == "rename" else set()
    if fault.is_busy or "after the work" in fault.name:
        absent = {"reads", "others", "polls", "lookups"}
    return {(place, duration) for place, duration in places if place not in absent}


def test_most_hit_are_more_than_are_worked_on_at_once() -> None:
    assert len(OF_SIZE[MOST_HIT].hit) > CONCURRENCY > WORKERS > len(OF_SIZE["fleet"].hit)
    assert OF_SIZE[MOST_HIT].retries == Connection("key").retries
    assert {cell.operation.name for cell in MOST_HIT_CELLS} == {
        operation.name for operation in OPERATIONS if operation.is_like is None
    }
    assert {cell.fault.kind for cell in MOST_HIT_CELLS} == {"answer", "event", "sight"}


def test_unsure_is_only_what_the_api_cannot_tell() -> None:
    unsure = Counter((cell.operation.name, cell.fault.kind) for cell in CELLS if cell.status == "unsure")
    assert {name for name, kind in unsure if kind == "event"} == {
        *("create", "restore", "restore after a safety snapshot", "restart")
    }
    answers = [cell for cell in CELLS if cell.status == "unsure" and cell.fault.kind != "event"]
    assert {(cell.place, cell.duration) for cell in answers} == {("lookups", "for ever")}
