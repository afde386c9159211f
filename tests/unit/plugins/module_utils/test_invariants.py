# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds whatever happens: random tasks, faults, others at work, and controllers that die at any request.

INVARIANT_EXAMPLES=2000 makes the test look further, at something else each time.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from unit.fault_cells import FAULTS, Fault
from unit.simulated_fleet import Fleet

from ansible_collections.community.paperspace.plugins.module_utils._client import LARGEST_PAGE
from ansible_collections.community.paperspace.plugins.module_utils._errors import PaperspaceError
from ansible_collections.community.paperspace.plugins.module_utils._machines import MachineWish, run_machines
from ansible_collections.community.paperspace.plugins.module_utils._outcomes import Outcome, Progress, Report
from ansible_collections.community.paperspace.plugins.module_utils._snapshot_plans import Wish
from ansible_collections.community.paperspace.plugins.module_utils._snapshots import run_snapshots
from simulator.clock import ManualClock
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
# How long after a task in trouble it is run again without: at once, while its work goes on, and when that is over.
DELAYS = (0.0, 1.0, 200.0)
MOST_RUNS = 4
PUT = ("renames", "machine_updates")
MACHINE_KINDS = ("moves", "restarts", "settings")
# Longer than the task waits: then it says timed_out, and is run again.
SLOW = {"action": "event", "seconds": 150.0}
# What is stuck for ever keeps its machine busy for ever: nothing converges then.
ANSWERS = [fault for fault in FAULTS if fault.kind in ("answer", "list")]
EVENTS = [fault for fault in FAULTS if fault.kind in ("event", "sight") and fault.rule.get("state") != "stuck"]


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

    @property
    def snapshot_ids(self) -> set[str]:
        return set(self.options.get("snapshot_ids", ()))

    @property
    def is_always_a_change(self) -> bool:
        """Whether the same task does it once more."""
        return self.kind in ("restored", "restarts")

    def asks_for(self, each: Done) -> bool:
        """Whether this is a restore of just what was named."""
        return each.snapshot_id in self.snapshot_ids or (not self.snapshot_ids and each.name == self.name)


AGAIN = st.none() | st.sampled_from(DELAYS)


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

    @initialize(
        busy=st.sampled_from(["conflict", "queue"]),
        late=st.sampled_from([0.0, LATE]),
        leaves=st.booleans(),
        is_work=st.booleans(),
    )
    def begin(self, busy: str, late: float, leaves: bool, is_work: bool) -> None:
        # Where the service queues what it is asked for, and does not show it, nobody can know of it.
        late = late if busy == "conflict" else 0.0
        self.fleet = Fleet(
            MACHINES,
            busy=busy,
            event_invisible_seconds=late,
            snapshot_invisible_seconds=late,
            failed_create_leaves_record=leaves,
            auto_snapshots_take_an_event=is_work,
        )
        self.service = self.fleet.service
        # By id, the machine and the name.
        self.foreign: dict[str, tuple[str, str]] = {}
        self.done_by_others: set[int] = set()
        self.never_complete: set[str] = set()
        self.numbers = iter(range(1, 10_000))

    # The user

    @rule(data=st.data(), trouble=troubles(), name=st.sampled_from(OWN_NAMES), again=AGAIN)
    def present(self, data: st.DataObject, trouble: Trouble, name: str, again: float | None) -> None:
        self.carry_out(Task("present", self.some_machines(data), {"name": name}, "creates"), trouble, again)

    @rule(data=st.data(), trouble=troubles(), name=st.sampled_from(OWN_NAMES), again=AGAIN)
    def absent(self, data: st.DataObject, trouble: Trouble, name: str, again: float | None) -> None:
        options = {"state": "absent", "name": name}
        self.carry_out(Task("absent", self.some_machines(data), options, "deletes"), trouble, again)

    @precondition(lambda self: self.own_ids())
    @rule(data=st.data(), trouble=troubles(), again=AGAIN)
    def absent_by_id(self, data: st.DataObject, trouble: Trouble, again: float | None) -> None:
        ids = data.draw(st.lists(st.sampled_from(sorted(self.own_ids())), min_size=1, max_size=3, unique=True))
        self.carry_out(Task("absent", (), {"state": "absent", "snapshot_ids": ids}, "deletes"), trouble, again)

    @rule(trouble=troubles(), keep=st.integers(0, 2), prefix=st.sampled_from(["mine-", "m"]), again=AGAIN)
    def prune(self, trouble: Trouble, keep: int, prefix: str, again: float | None) -> None:
        options = {"state": "absent", "name_prefix": prefix, "keep": keep}
        self.carry_out(Task("prune", tuple(self.fleet.machine_ids), options, "deletes"), trouble, again)

    @precondition(lambda self: self.own_names())
    @rule(data=st.data(), trouble=troubles(), safety_snapshot=st.booleans(), again=AGAIN)
    def restored(self, data: st.DataObject, trouble: Trouble, safety_snapshot: bool, again: float | None) -> None:
        # Most often the user's own, and now and then somebody else's, by its exact name.
        names = [*self.own_names(), *sorted({name for _machine, name in self.foreign.values()})[:1]]
        options = {"name": data.draw(st.sampled_from(names)), "safety_snapshot": safety_snapshot}
        options |= {"state": "restored", "skip_missing": True}
        self.carry_out(Task("restored", self.some_machines(data), options, "restores"), trouble, again)

    @precondition(lambda self: self.shown_ids())
    @rule(data=st.data(), trouble=troubles(), again=AGAIN)
    def restored_by_id(self, data: st.DataObject, trouble: Trouble, again: float | None) -> None:
        ids = data.draw(st.lists(st.sampled_from(sorted(self.shown_ids())), min_size=1, max_size=2, unique=True))
        by_machine = {self.service.world.snapshots.get(each).machine_id: each for each in ids}
        options = {"state": "restored", "snapshot_ids": list(by_machine.values()), "skip_missing": True}
        self.carry_out(Task("restored", (), options, "restores"), trouble, again)

    @precondition(lambda self: set(self.own_names()) - {OPEN_RUN})
    @rule(data=st.data(), trouble=troubles(), again=AGAIN)
    def rename(self, data: st.DataObject, trouble: Trouble, again: float | None) -> None:
        name, new_name = data.draw(st.permutations(OWN_NAMES[:2]))
        options = {"name": name, "new_name": new_name}
        self.carry_out(Task("rename", self.some_machines(data), options, "renames"), trouble, again)

    @rule(data=st.data(), trouble=troubles(), state=st.sampled_from(["started", "stopped"]), again=AGAIN)
    def machines(self, data: st.DataObject, trouble: Trouble, state: str, again: float | None) -> None:
        # Of a move whose event is not visible yet, while the state lags, nobody can know.
        self.fleet.later(LATE)
        counted = {"started": "starts", "stopped": "stops"}[state]
        self.carry_out(Task("moves", self.some_machines(data), {"state": state}, counted), trouble, again)

    @rule(data=st.data(), trouble=troubles(), again=AGAIN)
    def restarted(self, data: st.DataObject, trouble: Trouble, again: float | None) -> None:
        self.fleet.later(LATE)
        self.carry_out(Task("restarts", self.some_machines(data), {"state": "restarted"}, "restarts"), trouble, again)

    @rule(data=st.data(), trouble=troubles(), enabled=st.booleans(), save_count=st.integers(0, 2), again=AGAIN)
    def auto_snapshots(
        self, data: st.DataObject, trouble: Trouble, enabled: bool, save_count: int, again: float | None
    ) -> None:
        options = {"auto_snapshot": {"enabled": enabled, "save_count": save_count}}
        self.carry_out(Task("settings", self.some_machines(data), options, "machine_updates"), trouble, again)

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
        begun = len(self.service.world.accepted)
        try:
            self.act_as_somebody_else(machine_id, what)
        finally:
            self.service.faults = faults
            self.done_by_others.update(map(id, self.service.world.accepted[begun:]))

    def act_as_somebody_else(self, machine_id: str, what: int) -> None:
        number = next(self.numbers)
        if what == 0:
            # Named to be taken for one of the user's.
            name = f"mine-auto-{number}"
            self.foreign[self.service.add_snapshot(machine_id, name, auto=True)] = (machine_id, name)
        elif what == 1:
            name = f"theirs-{number}"
            self.fleet.add_event("snapshot-create", machine_id=machine_id)
            self.foreign[self.service.add_snapshot(machine_id, name)] = (machine_id, name)
        elif self.service.machine(machine_id).operation is not None:
            return
        elif what == 2:
            name = f"theirs-{number}"
            self.foreign[self.fleet.begin_snapshot(name, machine_id)[0]] = (machine_id, name)
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

    def shown_ids(self) -> set[str]:
        """Of the user's and of other snapshots."""
        now = self.fleet.clock.now()
        return {item.id for item in self.service.world.snapshots if item.visible(now)}

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

    def carry_out(self, task: Task, trouble: Trouble, again: float | None) -> None:
        """A task in trouble; and C(again) so many seconds after that."""
        machine_id, what = self.fleet.machine_ids[trouble.others_at % MACHINES], trouble.others_at % 3
        trouble.others = lambda: self.somebody_else(machine_id, what)
        rules = [self.service.faults.add(fault) for fault in trouble.faults]
        self.run(task, trouble)
        for fault in rules:
            self.service.faults.remove(fault)
        if again is not None:
            self.converge(task, again)

    def run(self, task: Task, trouble: Trouble) -> Report | None:
        """One run of a task, checked; None when it was refused as a whole, or killed."""
        begun = len(self.service.world.accepted)
        sent, done = len(self.fleet.writes()), len(self.service.done())
        kept = self.to_be_kept(task)
        complete = {item["id"] for item in self.service.snapshots() if item["complete"]}
        reasons = self.reasons_to_refuse(task)
        client = self.fleet.client(adapter=Wire(self.fleet, trouble), **CONNECTION)
        ids = {"machine_ids": task.machine_ids} if task.machine_ids else {}
        wish = {**ids, **task.options, "wait_timeout": WAIT_TIMEOUT}
        report: Report | None = None
        try:
            if task.kind in MACHINE_KINDS:
                report = run_machines(client, MachineWish(**wish), check_mode=False, executor=self.fleet.executor)
            else:
                report = run_snapshots(client, Wish(**wish), check_mode=False, executor=self.fleet.executor)
        except Killed:
            pass
        except PaperspaceError:
            assert len(self.fleet.writes()) == sent, "refused as a whole, and yet something was begun"
            assert trouble.faults or trouble.others_at or reasons, "refused without need"
        self.foreign |= {
            str(each.snapshot_id): (each.machine_id, str(each.name))
            for each in self.service.done()[done:]
            if each.what == "safety_snapshots"
        }
        assert kept <= {item["id"] for item in self.service.snapshots()}
        accepted = [each for each in self.service.world.accepted[begun:] if id(each) not in self.done_by_others]
        self.check_that_nothing_else_is_done(task, accepted, complete)
        accepted = [each for each in accepted if each.what == task.counted]
        self.check_that_nothing_is_done_twice(task, accepted)
        if report is not None:
            for outcome in report.outcomes:
                self.check_entry(task, outcome, accepted)
        return report

    def check_that_nothing_else_is_done(self, task: Task, accepted: list[Done], complete: set[str]) -> None:
        """Nothing of another kind than what is asked for. C(complete): the snapshots that were good before."""
        foreign = [each for each in accepted if each.snapshot_id in self.foreign]
        assert all(each.what == "restores" and task.kind == "restored" and task.asks_for(each) for each in foreign)
        others = [each for each in accepted if each.what != task.counted]
        if task.kind == "present":
            # What a failed create of this name has left is in the way.
            others = [each for each in others if (each.what, each.name) != ("deletes", task.name)]
            assert not complete & {each.snapshot_id for each in accepted if each.what == "deletes"}
        if task.kind == "restarts":
            # A machine that is off is started instead.
            others = [each for each in others if each.what != "starts"]
            assert all(count == 1 for count in Counter(each.machine_id for each in accepted).values())
        assert not others

    def check_that_nothing_is_done_twice(self, task: Task, accepted: list[Done]) -> None:
        """One run does to each machine, or to each snapshot, at most once what it is asked for, and to no other."""
        if task.counted in PUT:
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
            assert all(map(task.asks_for, accepted))

    def check_entry(self, task: Task, outcome: Outcome, accepted: list[Done]) -> None:
        """An entry that says that it is done or undone, says so of what is."""
        own = [each for each in accepted if each.machine_id == outcome.machine_id]
        entry, machine_id = outcome.to_result(), outcome.machine_id
        snapshots = {item["id"]: item for item in self.service.snapshots()}
        if outcome.status == "failed":
            if task.kind == "present":
                self.never_complete.update(str(each.snapshot_id) for each in own)
            elif task.kind in MACHINE_KINDS:
                # It is not what it was asked to be.
                assert not any(map(self.is_done, own)), "failed, and yet done"
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
        elif task.kind == "settings":
            wanted, fields = task.options["auto_snapshot"], self.service.machine(machine_id).fields
            assert fields["autoSnapshotEnabled"] == wanted["enabled"]
            assert fields["autoSnapshotSaveCount"] == wanted["save_count"]
            assert wanted.items() <= entry["auto_snapshot"].items()
        else:
            ends = {"started": "ready", "restarted": "ready", "stopped": "off"}
            assert self.service.machine(machine_id).state == ends[task.options["state"]]

    def is_done(self, begun: Done) -> bool:
        """Whether this work on a machine was done, once it had been taken up."""
        return any(
            (each.what, each.machine_id) == (begun.what, begun.machine_id) and each.at >= begun.at
            for each in self.service.done()
        )

    def reasons_to_refuse(self, task: Task) -> list[str]:
        """Why a restore may be refused: what is named is not whole, could be several, or cannot be proven."""
        if task.kind != "restored":
            return []
        reasons = []
        for machine_id in self.fleet.machine_ids:
            meant = [
                item
                for item in self.service.snapshots(machine_id)
                if item["id"] in task.snapshot_ids or (item["name"] == task.name and machine_id in task.machine_ids)
            ]
            creates = [event for event in self.service.events(machine_id) if event["name"] == "snapshot-create"]
            if any(not item["complete"] for item in meant):
                reasons.append("incomplete")
            elif len(meant) > 1:
                reasons.append("ambiguous")
            elif meant and (any(event["state"] != "done" for event in creates) or self.has_no_event(meant[0])):
                reasons.append("unproven")
        return reasons

    def has_no_event(self, item: dict[str, Any]) -> bool:
        """Whether the service made it by itself, on its own account or before a restore."""
        return bool(item["isAutoSnapshot"]) or item["name"].startswith("Before restore")

    def converge(self, task: Task, delay: float) -> None:
        """The same task without trouble comes to what was asked; and after that there is nothing to do."""
        # Of a move whose event is not visible yet, while the state lags, nobody can know.
        self.fleet.later(max(delay, LATE) if task.kind in MACHINE_KINDS else delay)
        for number in range(1, MOST_RUNS + 1):
            is_quiet = self.is_quiet()
            report = self.run(task, Trouble())
            if report is None:
                return
            if self.delete_what_is_unsure(task, report):
                report = self.run(task, Trouble())
                assert report is not None
            bad = [outcome for outcome in report.outcomes if outcome.is_bad and self.is_possible(task, outcome)]
            if not bad:
                break
            # It may wait too little for what goes on, or that may end badly: then it is run once more.
            assert not is_quiet, bad
            assert number < MOST_RUNS, bad
        if task.kind == "present":
            # Nor has what failed before left anything of this name.
            names = Counter((item["machineId"], item["name"]) for item in self.service.snapshots())
            assert all(names[machine_id, task.name] == 1 for machine_id in task.machine_ids)
        if not task.is_always_a_change:
            sent = self.fleet.writes()
            again = self.run(task, Trouble())
            assert again is not None
            assert not [
                outcome
                for outcome in again.outcomes
                if outcome.status != "unchanged" and self.is_possible(task, outcome)
            ]
            assert self.fleet.writes() == sent

    def is_quiet(self) -> bool:
        """Whether nothing goes on that is not seen, or not at its end."""
        world, now = self.service.world, self.fleet.clock.now()
        hidden = any(not item.visible(now) for item in (*world.events, *world.snapshots))
        return not hidden and not any(machine.operation or machine.waiting for machine in world.machines)

    def delete_what_is_unsure(self, task: Task, report: Report) -> bool:
        """As the error says, the user deletes by its id a snapshot of which it is not known whether it is good."""
        unsure = [outcome for outcome in report.outcomes if task.kind == "present" and outcome.status == "unsure"]
        ids = [outcome.to_result()["id"] for outcome in unsure]
        if not ids:
            return False
        options = {"state": "absent", "snapshot_ids": ids}
        assert self.run(Task("absent", (), options, "deletes"), Trouble()) is not None
        return True

    def is_possible(self, task: Task, outcome: Outcome) -> bool:
        """Whether a machine can be brought to what is asked: a snapshot can be renamed where there is just one."""
        names = [item["name"] for item in self.service.snapshots(outcome.machine_id)]
        return task.kind != "rename" or sum(name in OWN_NAMES[:2] for name in names) == 1

    # What holds always

    @invariant()
    def never_two_snapshots_of_one_name(self) -> None:
        """Nor more than one record that a create left which failed: the API keeps that, until the task is run again."""
        under_way = {operation.snapshot.id for operation in self.under_way("snapshot-create") if operation.snapshot}
        for is_usable in (True, False):
            found = Counter(
                (item["machineId"], item["name"])
                for item in self.service.snapshots()
                if not item["isAutoSnapshot"] and (item["complete"] or item["id"] in under_way) == is_usable
            )
            assert all(count == 1 for count in found.values()), found

    @invariant()
    def nothing_foreign_is_deleted_or_renamed(self) -> None:
        there = {item["id"]: (item["machineId"], item["name"]) for item in self.service.snapshots()}
        assert self.foreign.items() <= there.items()

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


@dataclass(frozen=True)
class Asked:
    """A task for a whole fleet, and what the service needs for it."""

    options: dict[str, Any]
    is_of_machines: bool = False
    is_for_old: bool = False
    state: str = "ready"


UNSETTLED = (
    Asked({"state": "restored", "name": "old"}, is_for_old=True),
    Asked({"state": "started"}, is_of_machines=True, state="off"),
    Asked({"state": "stopped"}, is_of_machines=True),
)
"""The machine is waited for when the event has ended."""
SETTLED = (Asked({"name": "new"}), Asked({"state": "absent", "name": "old"}, is_for_old=True))
FLEETS = st.sampled_from([2, 119, 121, 241])
SLOWNESS = st.lists(st.tuples(st.integers(1, 120), st.sampled_from([1.0, 7.0, 40.0])), max_size=3)
"""Every how many machines are slow, and how slow."""


class Waiting(Progress):
    """Notes when each machine's entry was there."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self.said: list[float] = []

    def end(self, outcome: Outcome) -> None:
        self.said.append(self._clock.now())


Slow = list[tuple[int, float]]


def polls(asked: Asked, machines: int, slow: Slow) -> list[tuple[Counter[str], int]]:
    """Of each poll, how many requests it makes of which kind, and how many pages there are of the waiting machines."""
    fleet = Fleet(machines, is_quick=True)
    for machine_id in fleet.machine_ids:
        fleet.service.change_machine(machine_id, state=asked.state)
        if asked.is_for_old:
            fleet.service.add_snapshot(machine_id, "old")
            fleet.add_event("snapshot-create", machine_id=machine_id)
    for every, seconds in slow:
        nth = list(range(every, machines, every))
        fleet.fault("event", method=["POST", "PATCH", "DELETE"], nth=nth, seconds=seconds)
    fleet.later()
    waiting = Waiting(fleet.clock)
    run = fleet.change if asked.is_of_machines else fleet.run
    assert not [outcome for outcome in run(progress=waiting, **asked.options).outcomes if outcome.is_bad]
    made: dict[float, Counter[str]] = defaultdict(Counter)
    for entry in itertools.dropwhile(lambda entry: entry.method == "GET", fleet.service.log):
        if entry.method == "GET":
            made[entry.at][entry.path.split("/")[1]] += 1
    assert made
    pages = {at: -(-sum(said >= at for said in waiting.said) // LARGEST_PAGE) for at in made}
    return [(made[at], pages[at]) for at in made]


FEW_EXAMPLES = settings(max_examples=8, derandomize=True, database=None, deadline=None, phases=(Phase.generate,))


@FEW_EXAMPLES
@given(asked=st.sampled_from([*SETTLED, *UNSETTLED]), machines=FLEETS, slow=SLOWNESS)
def test_poll_makes_no_more_requests_than_pages_are_needed(asked: Asked, machines: int, slow: Slow) -> None:
    """All that a poll asks for counts: events, machines, and the snapshots that come up."""
    for made, pages in polls(asked, machines, slow):
        assert made.total() <= pages


@pytest.mark.parametrize("machines", [2, 119, 241])
@pytest.mark.parametrize("asked", UNSETTLED, ids=lambda asked: str(asked.options["state"]))
def test_poll_that_sees_events_end_makes_no_more_requests_than_pages_are_needed(asked: Asked, machines: int) -> None:
    for made, pages in polls(asked, machines, []):
        assert made.total() <= pages
