# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds whatever happens: random tasks, faults, others at work, and controllers that die at any request.

INVARIANT_EXAMPLES=2000 makes the test look further, at something else each time.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import requests
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from unit.fault_cells import FAULTS, Fault
from unit.simulated_fleet import Fleet

from ansible_collections.community.paperspace.plugins.module_utils._errors import PaperspaceError
from ansible_collections.community.paperspace.plugins.module_utils._machines import MachineWish, run_machines
from ansible_collections.community.paperspace.plugins.module_utils._outcomes import Outcome, Report
from ansible_collections.community.paperspace.plugins.module_utils._snapshot_plans import Wish
from ansible_collections.community.paperspace.plugins.module_utils._snapshots import run_snapshots
from simulator.faults import Faults
from simulator.operations import Done, Operation
from simulator.session import SimulatorAdapter

EXAMPLES = int(os.environ.get("INVARIANT_EXAMPLES", "0"))

MACHINES = 2
OPEN_RUN = "maint-20260101T000000Z-1a2b"
OWN_NAMES = ("mine-a", "mine-b", OPEN_RUN)
WAIT_TIMEOUT = 100.0
CONNECTION = {"retries": 2, "request_timeout": 10.0}
LATE = 2.0
METHODS = (None, "GET", "POST", "PUT", "PATCH", "DELETE")
# Longer than the task waits: then it says timed_out, and is run again.
SLOW = {"action": "event", "seconds": 150.0}
# What is stuck for ever keeps its machine busy for ever: nothing converges then.
ANSWERS = [fault for fault in FAULTS if fault.kind in ("answer", "list")]
# And an error without an end time means that nothing was done (FACTS.md): such a snapshot is not kept.
EVENTS = [
    fault
    for fault in FAULTS
    if fault.kind in ("event", "sight")
    and fault.rule.get("state") != "stuck"
    and not (fault.is_work_done and fault.rule.get("finished") is False)
]


class Killed(BaseException):
    """The controller is no more."""


class Wire(SimulatorAdapter):
    """The way to the service, on which somebody comes in between, or which the controller does not live to the end."""

    def __init__(self, fleet: Fleet, trouble: Trouble) -> None:
        super().__init__(fleet.service)
        self._trouble = trouble
        self._sent = 0

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        self._sent += 1
        if self._sent == self._trouble.others_at:
            self._trouble.others()
        is_last = self._sent == self._trouble.killed_at
        if is_last and not self._trouble.is_carried_out:
            raise Killed
        try:
            return super().send(request, *args, **options)
        finally:
            if is_last:
                raise Killed


@dataclass
class Trouble:
    """What happens to a task: faults, others who do something at its nth request, its end at the nth request."""

    faults: list[dict[str, Any]] = field(default_factory=list)
    others_at: int = 0
    others: Callable[[], None] = lambda: None
    killed_at: int = 0
    is_carried_out: bool = False


@dataclass(frozen=True)
class Task:
    """What is asked of some machines, and how the service counts it."""

    kind: str
    machine_ids: tuple[str, ...]
    options: dict[str, Any]
    counted: str

    @property
    def name(self) -> str:
        return str(self.options.get("name"))


@st.composite
def troubles(draw: st.DrawFn) -> Trouble:
    faults = []
    for fault in draw(st.lists(st.sampled_from(ANSWERS), max_size=2)):
        method = (
            "GET" if fault.kind == "list" else draw(st.sampled_from([None, "GET", "POST", "PUT", "PATCH", "DELETE"]))
        )
        first = draw(st.integers(1, 8))
        hits = list(range(first, first + draw(st.integers(1, 5))))
        faults.append({**fault.rule, "method": method, "nth": hits})
    event: Fault | None = draw(st.none() | st.sampled_from(EVENTS))
    if event is not None:
        faults.append({**event.rule, "method": ["POST", "PATCH", "DELETE"], "nth": draw(st.integers(1, 3))})
    elif draw(st.booleans()):
        faults.append({**SLOW, "method": ["POST", "PATCH", "DELETE"], "nth": draw(st.integers(1, 3))})
    killed_at = draw(st.just(0) | st.integers(1, 30))
    return Trouble(
        faults,
        others_at=draw(st.just(0) | st.integers(1, 20)),
        killed_at=killed_at,
        is_carried_out=draw(st.booleans()),
    )


class Invariants(RuleBasedStateMachine):
    """A team of machines with a user, others, and a service in trouble."""

    @initialize(busy=st.sampled_from(["conflict", "queue"]), late=st.sampled_from([0.0, LATE]), leaves=st.booleans())
    def begin(self, busy: str, late: float, leaves: bool) -> None:
        # Where the service queues what it is asked for, and does not show it, nobody can know of it.
        late = late if busy == "conflict" else 0.0
        self.fleet = Fleet(
            MACHINES,
            busy=busy,
            event_invisible_seconds=late,
            snapshot_invisible_seconds=late,
            failed_create_leaves_record=leaves,
        )
        self.service = self.fleet.service
        self.foreign: dict[str, str] = {}
        self.never_complete: set[str] = set()
        self.numbers = iter(range(1, 10_000))

    # The user

    @rule(data=st.data(), trouble=troubles(), name=st.sampled_from(OWN_NAMES), again=st.booleans())
    def present(self, data: st.DataObject, trouble: Trouble, name: str, again: bool) -> None:
        self.carry_out(Task("present", self.some_machines(data), {"name": name}, "creates"), trouble, again)

    @rule(data=st.data(), trouble=troubles(), name=st.sampled_from(OWN_NAMES), again=st.booleans())
    def absent(self, data: st.DataObject, trouble: Trouble, name: str, again: bool) -> None:
        options = {"state": "absent", "name": name}
        self.carry_out(Task("absent", self.some_machines(data), options, "deletes"), trouble, again)

    @precondition(lambda self: self.own_ids())
    @rule(data=st.data(), trouble=troubles(), again=st.booleans())
    def absent_by_id(self, data: st.DataObject, trouble: Trouble, again: bool) -> None:
        ids = data.draw(st.lists(st.sampled_from(sorted(self.own_ids())), min_size=1, max_size=3, unique=True))
        self.carry_out(Task("absent", (), {"state": "absent", "snapshot_ids": ids}, "deletes"), trouble, again)

    @rule(trouble=troubles(), keep=st.integers(0, 2), prefix=st.sampled_from(["mine-", "m"]), again=st.booleans())
    def prune(self, trouble: Trouble, keep: int, prefix: str, again: bool) -> None:
        options = {"state": "absent", "name_prefix": prefix, "keep": keep}
        self.carry_out(Task("prune", tuple(self.fleet.machine_ids), options, "deletes"), trouble, again)

    @precondition(lambda self: self.own_names())
    @rule(data=st.data(), trouble=troubles(), safety_snapshot=st.booleans(), again=st.booleans())
    def restored(self, data: st.DataObject, trouble: Trouble, safety_snapshot: bool, again: bool) -> None:
        options = {"name": data.draw(st.sampled_from(self.own_names())), "safety_snapshot": safety_snapshot}
        options |= {"state": "restored", "skip_missing": True}
        self.carry_out(Task("restored", self.some_machines(data), options, "restores"), trouble, again)

    @precondition(lambda self: set(self.own_names()) - {OPEN_RUN})
    @rule(data=st.data(), trouble=troubles(), again=st.booleans())
    def rename(self, data: st.DataObject, trouble: Trouble, again: bool) -> None:
        name, new_name = data.draw(st.permutations(OWN_NAMES[:2]))
        options = {"name": name, "new_name": new_name}
        self.carry_out(Task("rename", self.some_machines(data), options, "renames"), trouble, again)

    @rule(data=st.data(), trouble=troubles(), state=st.sampled_from(["started", "stopped"]), again=st.booleans())
    def machines(self, data: st.DataObject, trouble: Trouble, state: str, again: bool) -> None:
        # Of a move whose event is not visible yet, while the state lags, nobody can know.
        self.fleet.later(LATE)
        counted = {"started": "starts", "stopped": "stops"}[state]
        self.carry_out(Task("machines", self.some_machines(data), {"state": state}, counted), trouble, again)

    # Others

    @rule(data=st.data())
    def others(self, data: st.DataObject) -> None:
        self.somebody_else(data.draw(st.sampled_from(self.fleet.machine_ids)), data.draw(st.integers(0, 3)))

    @rule(seconds=st.sampled_from([0.5, 3.0, 60.0, 3600.0]))
    def time_passes(self, seconds: float) -> None:
        self.fleet.later(seconds)

    def somebody_else(self, machine_id: str, what: int) -> None:
        """Others do something, and meet none of the faults."""
        faults, self.service.faults = self.service.faults, Faults()
        try:
            self.act_as_somebody_else(machine_id, what)
        finally:
            self.service.faults = faults

    def act_as_somebody_else(self, machine_id: str, what: int) -> None:
        number = next(self.numbers)
        if what == 0:
            # Named to be taken for one of the user's.
            self.foreign[self.service.add_snapshot(machine_id, f"mine-auto-{number}", auto=True)] = machine_id
        elif what == 1:
            self.fleet.add_event("snapshot-create", machine_id=machine_id)
            self.foreign[self.service.add_snapshot(machine_id, f"theirs-{number}")] = machine_id
        elif self.service.machine(machine_id).operation is not None:
            return
        elif what == 2:
            self.foreign[self.fleet.begin_snapshot(f"theirs-{number}", machine_id)[0]] = machine_id
        else:
            there = {item["id"] for item in self.service.snapshots(machine_id) if not item["isAutoSnapshot"]}
            for snapshot_id in sorted(there.intersection(self.foreign))[:1]:
                self.fleet.send("DELETE", f"/snapshots/{snapshot_id}")
                del self.foreign[snapshot_id]

    # Carrying out

    def some_machines(self, data: st.DataObject) -> tuple[str, ...]:
        ids = self.fleet.machine_ids
        return data.draw(st.sampled_from([tuple(ids), *((machine_id,) for machine_id in ids)]))

    def own_ids(self) -> set[str]:
        """Of the snapshots that the service shows."""
        now = self.fleet.clock.now()
        return {item.id for item in self.service.world.snapshots if item.name in OWN_NAMES and item.visible(now)}

    def own_names(self) -> list[str]:
        return sorted({item["name"] for item in self.service.snapshots()}.intersection(OWN_NAMES))

    def to_be_kept(self, task: Task) -> set[str]:
        """What pruning may not delete: each machine's newest good ones with the prefix, and what is of an open run."""
        if task.kind != "prune":
            return set()
        kept = {item["id"] for item in self.service.snapshots() if item["name"] == OPEN_RUN}
        going = {operation.snapshot.id for operation in self.under_way("snapshot-delete") if operation.snapshot}
        for machine_id in self.fleet.machine_ids:
            good = [
                item["id"]
                for item in self.service.snapshots(machine_id)
                if item["complete"] and item["id"] not in self.foreign
                if item["name"].startswith(task.options["name_prefix"]) and item["name"] != OPEN_RUN
            ]
            kept.update(good[len(good) - min(len(good), task.options["keep"]) :])
        return kept - going

    def under_way(self, event: str) -> list[Operation]:
        return [
            operation
            for machine in self.service.world.machines
            for operation in (machine.operation, *machine.waiting)
            if operation and operation.event.name == event
        ]

    def carry_out(self, task: Task, trouble: Trouble, again: bool) -> None:
        """A task in trouble; and C(again) when that is over."""
        machine_id, what = self.fleet.machine_ids[trouble.others_at % MACHINES], trouble.others_at % 3
        trouble.others = lambda: self.somebody_else(machine_id, what)
        rules = [self.service.faults.add(fault) for fault in trouble.faults]
        self.run(task, trouble)
        for fault in rules:
            self.service.faults.remove(fault)
        if again:
            self.converge(task)

    def run(self, task: Task, trouble: Trouble) -> Report | None:
        """One run of a task, checked; None when it was refused as a whole, or killed."""
        begun = len(self.service.world.accepted)
        sent, done = len(self.fleet.writes()), len(self.service.done())
        kept = self.to_be_kept(task)
        complete = {item["id"] for item in self.service.snapshots() if item["complete"]}
        client = self.fleet.client(adapter=Wire(self.fleet, trouble), **CONNECTION)
        ids = {"machine_ids": task.machine_ids} if task.machine_ids else {}
        wish = {**ids, **task.options, "wait_timeout": WAIT_TIMEOUT}
        report: Report | None = None
        try:
            if task.kind == "machines":
                report = run_machines(client, MachineWish(**wish), check_mode=False, executor=self.fleet.executor)
            else:
                report = run_snapshots(client, Wish(**wish), check_mode=False, executor=self.fleet.executor)
        except Killed:
            pass
        except PaperspaceError:
            assert len(self.fleet.writes()) == sent, "refused as a whole, and yet something was begun"
            assert trouble.faults or task.kind == "restored", "refused without need"
        self.foreign |= {
            str(each.snapshot_id): each.machine_id
            for each in self.service.done()[done:]
            if each.what == "safety_snapshots"
        }
        assert kept <= {item["id"] for item in self.service.snapshots()}
        accepted = [each for each in self.service.world.accepted[begun:] if each.snapshot_id not in self.foreign]
        self.check_that_nothing_else_is_done(task, accepted, complete)
        accepted = [each for each in accepted if each.what == task.counted]
        self.check_that_nothing_is_done_twice(task, accepted)
        if report is not None:
            for outcome in report.outcomes:
                self.check_entry(task, outcome, accepted)
        return report

    def check_that_nothing_else_is_done(self, task: Task, accepted: list[Done], complete: set[str]) -> None:
        """Nothing of another kind than what is asked for. C(complete): the snapshots that were good before."""
        others = [each for each in accepted if each.what != task.counted]
        if task.kind == "present":
            # What a failed create of this name has left is in the way.
            others = [each for each in others if (each.what, each.name) != ("deletes", task.name)]
            assert not complete & {each.snapshot_id for each in accepted if each.what == "deletes"}
        if task.kind == "restored":
            others = [each for each in others if each.what != "safety_snapshots"]
        assert not others

    def check_that_nothing_is_done_twice(self, task: Task, accepted: list[Done]) -> None:
        """One run does to each machine, or to each snapshot, at most once what it is asked for, and to no other."""
        if task.kind == "rename":
            return
        if task.kind == "present":
            # A create that failed, and left nothing, may be followed by another.
            there = {item["id"] for item in self.service.snapshots()}
            accepted = [each for each in accepted if each.snapshot_id in there]
        by = Counter((each.machine_id, each.snapshot_id if task.counted == "deletes" else None) for each in accepted)
        assert all(count == 1 for count in by.values()), by
        if task.machine_ids:
            assert {each.machine_id for each in accepted} <= set(task.machine_ids)
        if task.kind == "restored":
            assert {each.name for each in accepted} <= {task.name}

    def check_entry(self, task: Task, outcome: Outcome, accepted: list[Done]) -> None:
        """An entry that says that it is done or undone, says so of what is."""
        own = [each for each in accepted if each.machine_id == outcome.machine_id]
        entry, machine_id = outcome.to_result(), outcome.machine_id
        snapshots = {item["id"]: item for item in self.service.snapshots()}
        if outcome.status == "failed":
            if task.kind == "present":
                self.never_complete.update(str(each.snapshot_id) for each in own)
            elif task.kind == "machines":
                # It is not what it was asked to be, unless others made it so.
                assert not any(each in self.service.done() for each in own)
            elif task.kind != "rename":
                done = [each for each in self.service.done() if each.at >= min((one.at for one in own), default=1e99)]
                assert not any((each.what, each.snapshot_id) == (task.counted, entry["id"]) for each in done), (
                    "failed, and yet done"
                )
        if outcome.status in ("failed", "timed_out", "unsure", "skipped"):
            return
        if task.kind == "present":
            named = [
                item for item in snapshots.values() if (item["machineId"], item["name"]) == (machine_id, task.name)
            ]
            assert entry["id"] in snapshots
            assert snapshots[entry["id"]]["complete"], "relied on, and not complete"
            assert sum(item["complete"] for item in named) == 1
        elif task.kind in ("absent", "prune"):
            assert entry["id"] not in snapshots
        elif task.kind == "restored":
            assert len(own) == 1
            assert own[0].snapshot_id == entry["id"]
            assert self.service.machine(machine_id).state in ("ready", "off")
        elif task.kind == "rename":
            assert snapshots[entry["id"]]["name"] == task.options["new_name"]
        else:
            assert (
                self.service.machine(machine_id).state == {"started": "ready", "stopped": "off"}[task.options["state"]]
            )

    def converge(self, task: Task) -> None:
        """The same task without trouble comes to what was asked; and after that there is nothing to do."""
        self.fleet.later(200)
        report = self.run(task, Trouble())
        if report is None:
            return
        unsure = [outcome for outcome in report.outcomes if task.kind == "present" and outcome.status == "unsure"]
        if unsure:
            # Where it is not known whether a snapshot is good, the user deletes it by its id, as the error says.
            ids = [outcome.to_result()["id"] for outcome in unsure]
            options = {"state": "absent", "snapshot_ids": ids}
            assert self.run(Task("absent", (), options, "deletes"), Trouble()) is not None
            report = self.run(task, Trouble())
            assert report is not None
        assert not [outcome for outcome in report.outcomes if outcome.is_bad and self.is_possible(task, outcome)]
        if task.kind != "restored":
            sent = self.fleet.writes()
            again = self.run(task, Trouble())
            assert again is not None
            assert not [
                outcome
                for outcome in again.outcomes
                if outcome.status != "unchanged" and self.is_possible(task, outcome)
            ]
            assert self.fleet.writes() == sent

    def is_possible(self, task: Task, outcome: Outcome) -> bool:
        """Whether a machine can be brought to what is asked: a snapshot can be renamed where there is just one."""
        names = [item["name"] for item in self.service.snapshots(outcome.machine_id)]
        return task.kind != "rename" or sum(name in OWN_NAMES[:2] for name in names) == 1

    # What holds always

    @invariant()
    def never_two_snapshots_of_one_name(self) -> None:
        under_way = {operation.snapshot.id for operation in self.under_way("snapshot-create") if operation.snapshot}
        usable = Counter(
            (item["machineId"], item["name"])
            for item in self.service.snapshots()
            if not item["isAutoSnapshot"] and (item["complete"] or item["id"] in under_way)
        )
        assert all(count == 1 for count in usable.values()), usable

    @invariant()
    def nothing_foreign_is_deleted(self) -> None:
        assert self.foreign.keys() <= {item["id"] for item in self.service.snapshots()}

    @invariant()
    def what_was_said_to_have_failed_stays_undone(self) -> None:
        complete = {item["id"] for item in self.service.snapshots() if item["complete"]}
        assert not self.never_complete & complete


TestInvariants = Invariants.TestCase
TestInvariants.settings = settings(
    max_examples=EXAMPLES or 250,
    stateful_step_count=12,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    phases=(Phase.generate, Phase.shrink),
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
