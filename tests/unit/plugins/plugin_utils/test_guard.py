# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guard in a world of its own, in which machines, service, playbooks and clock follow a script.

What is true of a machine stands in the world, and is never taken from what the guard says of it.
"""

from __future__ import annotations

import functools
import random
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import pytest

from ansible_collections.community.paperspace.plugins.module_utils._errors import (
    AnswerLost,
    DeadlinePassed,
    InputError,
    NotOpened,
    PaperspaceError,
    RateLimited,
    Unauthorized,
)
from ansible_collections.community.paperspace.plugins.module_utils._machines import MachineWish
from ansible_collections.community.paperspace.plugins.module_utils._outcomes import (
    MachineOutcome,
    Report,
    SnapshotOutcome,
)
from ansible_collections.community.paperspace.plugins.module_utils._snapshot_plans import Wish
from ansible_collections.community.paperspace.plugins.module_utils._wire import Snapshot
from ansible_collections.community.paperspace.plugins.plugin_utils._guard import Guard, Settings
from ansible_collections.community.paperspace.plugins.plugin_utils._report import MachineReport, RunReport

RUN = "20260131T235959Z-1a2b"
OTHER_RUN = "20260130T000000Z-00ff"
OPEN, OK, RESTORED = (f"maint-{RUN}{end}" for end in ("", "-ok", "-restored"))
PLAYBOOKS = ("patch.yml", "verify.yml")
FLEET = ("web1", "web2", "web3", "db1")
LOST = ("failed", "unreachable", "incomplete")

# What becomes of a host in a playbook.
FATES = (
    "ok",
    "failed",
    "failed_for_all",
    "unreachable",
    "blip",
    "rescued",
    "incomplete",
    "not_reached",
    "skipped",
    "not_for_it",
    "delegates",
)
_IN_TIME = ("ok", "blip", "rescued", "skipped", "delegates")
FAULTS = {
    "create": ("failed", "failed_left", "timed_out", "unsure", "lost"),
    "restore": ("failed", "passing", "timed_out", "unsure", "lost"),
    "rename": ("failed", "lost"),
    "delete": ("failed",),
    "start": ("failed",),
}
# The calls that a guard can die in the middle of.
_EFFECTIVE = (*FAULTS, "save", "run_playbook")
MOMENTS = ("before", "half", "unheard", "after")
# What the guard is told, where it is not that nobody knows.
_STATUSES = {"failed": "failed", "failed_left": "failed", "timed_out": "timed_out"}
ERRORS = (InputError, Unauthorized, NotOpened, AnswerLost, RateLimited, DeadlinePassed)


class Killed(BaseException):
    """The guard's process is gone."""


@dataclass(frozen=True)
class Script:
    """All that does not go well. Calls are counted from 1; of the service's calls, only those are."""

    # By playbook and host.
    fates: Mapping[tuple[str, str], str] = field(default_factory=dict)
    # How many hosts a playbook takes at once.
    serial: int = 9
    # The playbooks that break down when so much of them is done, and those whose play on localhost fails.
    crashes: Mapping[str, float] = field(default_factory=dict)
    elsewhere: frozenset[str] = frozenset()
    # Those that cannot be run any more once so many were.
    broken: Mapping[str, int] = field(default_factory=dict)
    # By verb and host, one for each time that the service is asked.
    faults: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)
    errors: Mapping[int, type[PaperspaceError]] = field(default_factory=dict)
    # The machines that somebody deletes, by the call before which that happens.
    deleted: Mapping[str, int] = field(default_factory=dict)
    # The machines that somebody else begins a run with, by the call before which that happens, and its snapshot's name.
    intruders: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    # The machines on which somebody else ends this run, by the call before which that happens: restored, ok or gone.
    resolved: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    # The call at which the run is stopped, why, and how much of a running playbook is done then.
    stop: tuple[int, str] | None = None
    done_when_stopped: float = 0.5
    # The first report that cannot be written any more, counted from 1.
    disk_is_full_at: int = 10**9
    # The call at which the guard dies: before its work is done, when half of it is, or after it; or unheard, when half
    # of it is and the answers are under way.
    kill: tuple[int, str] | None = None


@dataclass
class Machine:
    """A machine as it truly is."""

    host: str
    snapshots: list[Snapshot]
    # What the guard saw of it when it looked last.
    seen: list[Snapshot] = field(default_factory=list)
    # Of the run, and those of them that are proven done.
    own: set[str] = field(default_factory=set)
    proven: set[str] = field(default_factory=set)
    is_deleted: bool = False
    # What somebody else has made of the run on it.
    resolved: str = ""
    # What playbooks did to its disk since it was last put back.
    touched: bool = False
    harmed: bool = False
    passed: set[str] = field(default_factory=set)
    # Whether the service was asked to start it, since then.
    is_on: bool = True
    # What the guard was told of each restore; None when it died before.
    restores: list[str | None] = field(default_factory=list)

    @property
    def machine_id(self) -> str:
        return f"ps-{self.host}"

    def named(self, name: str) -> list[Snapshot]:
        return [snapshot for snapshot in self.snapshots if snapshot.name == name and not snapshot.is_auto_snapshot]

    def run_names(self) -> list[str]:
        return [snapshot.name for snapshot in self.snapshots if snapshot.id in self.own]

    def resolve(self, what: str) -> None:
        """As recover does, or whoever deletes a snapshot."""
        self.resolved = what
        (own,) = (snapshot for snapshot in self.snapshots if snapshot.id in self.own)
        index = self.snapshots.index(own)
        self.snapshots[index : index + 1] = [] if what == "gone" else [replace(own, name=f"{OPEN}-{what}")]
        if what == "restored":
            self.put_back()

    def put_back(self) -> None:
        self.touched = self.harmed = self.is_on = False
        self.passed.clear()


def foreign(host: str) -> list[Snapshot]:
    """Snapshots that are none of the run's business."""
    names = ("by hand", f"maint-{OTHER_RUN}-ok", f"other-{RUN}", f"maint-{RUN}-failed", f"x maint-{RUN}")
    made = [Snapshot(f"{host}-{number}", name, f"ps-{host}", False) for number, name in enumerate(names)]
    return [*made, Snapshot(f"{host}-auto", OPEN, f"ps-{host}", True)]


class World:
    """The ports of a guard. C(calls) has the names of all calls, C(written) what was wished of the service."""

    def __init__(self, script: Script, hosts: Sequence[str] = FLEET, playbooks: Sequence[str] = PLAYBOOKS) -> None:
        self.script = script
        self.playbooks = playbooks
        self.fleet = {f"ps-{host}": Machine(host, foreign(host)) for host in [*hosts, "stranger"]}
        self.calls: list[str] = []
        self.written: list[tuple[str, list[str]]] = []
        self.said: list[str] = []
        self.runs: list[tuple[str, list[str]]] = []
        self.pauses: list[tuple[float, bool]] = []
        self.saved: dict[str, Any] | None = None
        self.begun_by_others: list[Snapshot] = []
        self.stopped: str | None = None
        self._made: set[str] = set()
        self._is_stop_known = False
        self._is_successor = False
        self._time = 1_800_000_000.0
        self._asked = 0
        self._owners: dict[str, Machine] = {}
        self._dies = ""
        self._met: dict[tuple[str, str], int] = {}
        self._ledgers: list[list[dict[str, Any]]] = []

    def of(self, host: str) -> Machine:
        return self.fleet[f"ps-{host}"]

    def succeed(self) -> None:
        """From now on the caller is the successor of a guard that has died."""
        self._is_successor, self._dies = True, ""
        self.stopped = "guardian_died"
        for machine in (self.saved or {})["machines"]:
            if machine["outcome"] != "rolled_back":
                # What the dead guard was told last is not known to anybody.
                restores = self.of(machine["host"]).restores
                restores[:] = [None] * len(restores)

    def take_over(self, begun: int) -> list[dict[str, Any]]:
        return self._ledgers[-1] if self._ledgers and len(self._ledgers) == begun else []

    # The ports.

    def now(self) -> float:
        self._call("now")
        return self._time

    def pause(self, seconds: float, *, despite_stop: bool = False) -> None:
        self._call("pause")
        self.pauses.append((seconds, despite_stop))
        if self.stopped is None or despite_stop:
            self._time += seconds

    def say(self, text: str) -> None:
        self._call("say")
        self.said.append(text)

    def save(self, report: RunReport) -> bool:
        self._call("save")
        is_kept = self.calls.count("save") < self.script.disk_is_full_at
        if is_kept:
            self.saved = report.to_dict()
        self._end_call()
        return is_kept

    def stopped_by(self) -> str | None:
        self._call("stopped_by")
        self._is_stop_known = self.stopped is not None
        return self.stopped

    def existing_snapshots(self, machine_ids: Sequence[str]) -> dict[str, list[Snapshot]]:
        self._ask("existing_snapshots", machine_ids)
        for machine_id in machine_ids:
            self.fleet[machine_id].seen = list(self.fleet[machine_id].snapshots)
        return {machine_id: list(self.fleet[machine_id].snapshots) for machine_id in machine_ids}

    def snapshots(self, wish: Wish, *, check_mode: bool) -> Report:
        wish.check()
        if wish.state == "absent":
            return Report(list(self._each("delete", wish.snapshot_ids or (), self._owners.__getitem__, self._delete)))
        machine_ids = list(wish.machine_ids or ())
        verb = "restore" if wish.state == "restored" else "rename" if wish.new_name else "create"
        if check_mode:
            assert verb == "create"
            self._call("check")
            return Report([SnapshotOutcome(machine_id, status="would_create") for machine_id in machine_ids])
        assert wish.name == OPEN
        if verb == "create":
            assert self._is_successor or not self._is_stop_known, "a snapshot was begun after the stop"
            return Report(list(self._each("create", machine_ids, self.fleet.__getitem__, self._create)))
        if verb == "rename":
            assert wish.new_name in (OK, RESTORED)
            rename = functools.partial(self._rename, str(wish.new_name), wish.own_ids)
            return Report(list(self._each("rename", machine_ids, self.fleet.__getitem__, rename)))
        assert wish.skip_missing
        assert wish.is_persistent
        refuse = functools.partial(self._refuse_restore, wish.own_ids)
        restore = functools.partial(self._restore, wish.own_ids)
        return Report(list(self._each("restore", machine_ids, self.fleet.__getitem__, restore, refuse)))

    def made_snapshots(self) -> set[str]:
        self._call("made_snapshots")
        return set(self._made)

    def machines(self, wish: MachineWish) -> Report:
        assert wish.state == "started"
        return Report(list(self._each("start", wish.machine_ids, self.fleet.__getitem__, self._start)))

    def check_playbook(self, playbook: str, hosts: Sequence[str]) -> None:
        self._call(f"check_playbook {playbook}")
        if len(self.runs) >= self.script.broken.get(playbook, 10**9):
            raise InputError(f"{playbook} is broken.")

    def run_playbook(self, playbook: str, hosts: Sequence[str]) -> tuple[int, list[dict[str, Any]]]:
        self._call(f"run_playbook {playbook}")
        assert hosts
        assert not self._is_stop_known, "a playbook was begun after the stop"
        earlier = [number for number, name in enumerate(self.calls[:-1]) if name.startswith("run_playbook")]
        assert "stopped_by" in self.calls[max(earlier, default=0) :], "it was not asked whether the run is stopped"
        for host in hosts:
            machine = self.of(host)
            guards = [snapshot for snapshot in machine.named(OPEN) if snapshot.id in machine.proven & machine.own]
            assert guards or machine.is_deleted or "check" in self.calls, f"{host} is not guarded"
            # Nobody else has begun with it, as a look has shown that its own snapshot was to be seen by.
            assert all(guard in machine.seen for guard in guards)
            assert not any(snapshot in machine.seen for snapshot in self.begun_by_others)
            assert not machine.harmed, f"{host} did not come through the playbook before"
            assert (playbook, host) not in {(name, other) for name, others in self.runs for other in others}
        self.runs.append((playbook, list(hosts)))
        lines = list(self._lines(playbook, hosts))
        done, rc = len(lines), _exit_code([line for line, dummy in lines])
        if playbook in self.script.crashes:
            done, rc = int(self.script.crashes[playbook] * len(lines)), -9
        if self._dies in ("half", "unheard"):
            done //= 2
        if self.stopped is not None:
            done, rc = int(self.script.done_when_stopped * len(lines)), -15
        for dummy, work in lines[:done]:
            work()
        self._ledgers.append([line for line, dummy in lines[:done]])
        self._end_call()
        return rc, self._ledgers[-1]

    # What the script makes of them.

    def _call(self, name: str) -> None:
        self.calls.append(name)
        number = len(self.calls)
        if self.script.stop is not None and number == self.script.stop[0] and not self._is_successor:
            self.stopped = self.script.stop[1]
        if self.script.kill is not None and number == self.script.kill[0]:
            self._dies = self.script.kill[1]
            if self._dies == "before" or name.split(maxsplit=1)[0] not in _EFFECTIVE:
                raise Killed

    def _end_call(self) -> None:
        if self._dies:
            raise Killed

    def _ask(self, verb: str, machine_ids: Sequence[str]) -> None:
        self._call(verb)
        self._asked += 1
        for host, number in self.script.deleted.items():
            if self._asked >= number and not self.of(host).is_deleted:
                self.of(host).is_deleted = True
                self.of(host).snapshots.clear()
        for host, (number, name) in self.script.intruders.items():
            machine = self.of(host)
            # In the same run it would have found what this one has made; that two others meet here as well is left out.
            is_late = name == OPEN and (machine.run_names() != [] or machine.resolved not in ("", "gone"))
            if self._asked == number and not machine.is_deleted and not is_late:
                machine.snapshots.insert(0, Snapshot(f"{host}-intruder", name, machine.machine_id, False))
                machine.proven.add(f"{host}-intruder")
                self.begun_by_others.append(machine.snapshots[0])
        for host, (number, what) in self.script.resolved.items():
            machine = self.of(host)
            if self._asked == number and machine.touched and machine.run_names() == [OPEN]:
                machine.resolve(what)
        if self._asked in self.script.errors:
            self._fail(self.script.errors[self._asked](f"The service does not {verb}."))
        missing = [machine_id for machine_id in machine_ids if self.fleet[machine_id].is_deleted]
        if missing:
            self._fail(InputError(f"There is no machine {', '.join(missing)}."))

    def _fail(self, error: Exception) -> None:
        self._end_call()
        raise error

    def _each(
        self,
        verb: str,
        ids: Sequence[str],
        owner: Callable[[str], Machine],
        work: Callable[[Machine, str, str], Any],
        refuse: Callable[[Sequence[Machine]], None] = lambda machines: None,
    ) -> Iterator[Any]:
        assert ids
        assert len(set(ids)) == len(ids)
        owners = [owner(one) for one in ids]
        assert all(machine.host != "stranger" for machine in owners)
        self._ask(verb, [] if verb in ("delete", "restore") else list(ids))
        self.written.append((verb, [machine.host for machine in owners]))
        refuse(owners)
        is_half = self._dies in ("half", "unheard")
        for one, machine in list(zip(ids, owners, strict=True))[: len(ids) // 2 if is_half else None]:
            count = self._met.get((verb, machine.host), 0)
            faults = self.script.faults.get((verb, machine.host), ())
            self._met[verb, machine.host] = count + 1
            yield work(machine, faults[count] if count < len(faults) else "", one)
        self._end_call()

    def _create(self, machine: Machine, fault: str, dummy: str) -> SnapshotOutcome:
        outcome = SnapshotOutcome(machine.machine_id, status="created", name=OPEN)
        found = machine.named(OPEN)
        if found and found[0].id in machine.proven:
            outcome.take_snapshot(found[0])
            is_missed = fault.endswith("_of_another")
            outcome.status = _STATUSES.get(fault.removesuffix("_of_another"), "unsure") if is_missed else "unchanged"
            return outcome
        if fault == "failed":
            outcome.status, outcome.error = "failed", "The disk is full."
            return outcome
        for snapshot in found:
            # What a failed create has left is replaced.
            machine.snapshots.remove(snapshot)
        made = Snapshot(f"ss{len(self._owners)}", OPEN, machine.machine_id, False)
        outcome.was_sent = True
        self._owners[made.id] = machine
        machine.own.add(made.id)
        machine.snapshots.insert(0, made)
        if fault != "lost":
            outcome.take_snapshot(made)
            if self._dies != "unheard":
                self._made.add(made.id)
        if fault in ("", "lost"):
            machine.proven.add(made.id)
        if fault:
            outcome.status = _STATUSES.get(fault, "unsure")
            outcome.error = "It is not proven done."
        return outcome

    def _refuse_restore(self, own_ids: Collection[str], machines: Sequence[Machine]) -> None:
        for machine in machines:
            meant = [snapshot.id for snapshot in machine.named(OPEN) if snapshot.id in own_ids]
            assert machine.own.issuperset(meant)
            if meant and not machine.proven.intersection(meant):
                self._fail(InputError(f"Nothing was restored: {machine.host} has no snapshot that is proven done."))

    def _restore(self, own_ids: Collection[str], machine: Machine, fault: str, dummy: str) -> SnapshotOutcome:
        if not any(snapshot.id in own_ids for snapshot in machine.named(OPEN)):
            return SnapshotOutcome(machine.machine_id, status="skipped", error="There is none.")
        assert "restored" not in machine.restores, f"{machine.host} was restored already"
        if fault in ("", "lost"):
            machine.put_back()
        status = {"": "restored", "failed": "failed", "passing": "failed", "timed_out": "timed_out"}.get(
            fault, "unsure"
        )
        machine.restores.append(None if self._dies else status)
        outcome = SnapshotOutcome(
            machine.machine_id, status=status, error="It is not known." if fault else None, safety_snapshot_id="safe"
        )
        outcome.passes_after = 25.0 if fault == "passing" else None
        return outcome

    def _rename(
        self, new_name: str, own_ids: Collection[str], machine: Machine, fault: str, dummy: str
    ) -> SnapshotOutcome:
        outcome = SnapshotOutcome(machine.machine_id, status="renamed", name=new_name)
        old = [snapshot for snapshot in machine.named(OPEN) if snapshot.id in own_ids]
        new = [snapshot for snapshot in machine.named(new_name) if snapshot.id in own_ids]
        if new and not old:
            outcome.status = "unchanged"
        elif not old or new or old[0].id not in machine.proven or fault == "failed":
            outcome.status, outcome.error = "failed", "It cannot be renamed."
        else:
            assert old[0].id in machine.own
            index = machine.snapshots.index(old[0])
            machine.snapshots[index] = Snapshot(old[0].id, new_name, machine.machine_id, False)
            if fault == "lost":
                outcome.status, outcome.error = "unsure", "The answer was lost."
        return outcome

    def _delete(self, machine: Machine, fault: str, snapshot_id: str) -> SnapshotOutcome:
        outcome = SnapshotOutcome(machine.machine_id, status="deleted", id=snapshot_id)
        found = [snapshot for snapshot in machine.snapshots if snapshot.id == snapshot_id]
        assert [snapshot.name for snapshot in found] in ([], [OPEN])
        assert snapshot_id not in machine.proven or not machine.touched, "a snapshot that is needed is to be deleted"
        if not found:
            outcome.machine_id, outcome.status = "", "unchanged"
        elif fault:
            outcome.status, outcome.error = "failed", "It is locked."
        else:
            machine.snapshots.remove(found[0])
        return outcome

    def _start(self, machine: Machine, fault: str, dummy: str) -> MachineOutcome:
        machine.is_on = True
        if fault:
            return MachineOutcome(machine.machine_id, status="failed", error="It does not start.")
        return MachineOutcome(machine.machine_id, status="unchanged")

    def fate(self, playbook: str, host: str) -> str:
        return self.script.fates.get((playbook, host), "ok")

    def _lines(self, playbook: str, hosts: Sequence[str]) -> Iterator[tuple[dict[str, Any], Callable[[], None]]]:
        """The ledger of a playbook with one play, and what happens as each of its lines is written."""
        targets = [host for host in hosts if self.fate(playbook, host) != "not_for_it"]
        play = {"play": playbook, "name": f"Play of {playbook}", "hosts": targets}
        yield {"event": "start"}, _nothing
        yield {"event": "playbook", "playbook": playbook, "ahead": [play]}, _nothing
        yield {"event": "play", **play}, _nothing
        reached = [host for host in targets if self.fate(playbook, host) != "not_reached"]
        for number in range(0, len(reached), self.script.serial):
            batch = reached[number : number + self.script.serial]
            yield {"event": "batch", "play": playbook, "hosts": batch}, _nothing
            yield from self._tasks(playbook, batch, hosts)
            ended = [host for host in batch if self._comes_to_the_end(playbook, host, batch)]
            end = {"event": "end", "play": playbook, "ended": ended, "end_play": False, "ahead": []}
            yield end, lambda ended=ended: [self.of(host).passed.add(playbook) for host in ended]
            if not ended:
                break
        if playbook in self.script.elsewhere:
            yield _trouble("failed", "localhost"), _nothing
        yield {"event": "stats", "ahead": []}, _nothing

    def _tasks(
        self, playbook: str, batch: Sequence[str], hosts: Sequence[str]
    ) -> Iterator[tuple[dict[str, Any], Callable[[], None]]]:
        for host in batch:
            fate = self.fate(playbook, host)
            if fate != "skipped":
                yield {"event": "touched", "host": host, "task": "Install"}, lambda host=host: self._touch(host)
            if fate == "delegates":
                target = hosts[(list(hosts).index(host) + 1) % len(hosts)]
                line = {"event": "delegating", "host": host, "task": "Deploy", "target": target}
                yield line, lambda target=target: self._touch(target)
                yield {"event": "delegated", "host": host, "targets": [target]}, _nothing
        for host in batch:
            fate = self.fate(playbook, host)
            if fate == "rescued":
                yield _trouble("rescued", host), _nothing
            elif fate in ("failed", "failed_for_all", "unreachable", "blip"):
                line = _trouble("failed" if fate.startswith("failed") else "unreachable", host)
                line["for_all"] = fate == "failed_for_all"
                yield line, lambda host=host: self._harm(host)

    def _comes_to_the_end(self, playbook: str, host: str, batch: Sequence[str]) -> bool:
        is_common = any(self.fate(playbook, other) == "failed_for_all" for other in batch)
        return self.fate(playbook, host) in _IN_TIME and not is_common

    def _touch(self, host: str) -> None:
        self.of(host).touched = True

    def _harm(self, host: str) -> None:
        self.of(host).harmed = True


def _nothing() -> None:
    pass


def _trouble(event: str, host: str) -> dict[str, Any]:
    return {"event": event, "host": host, "task": "Migrate", "error": "No.", "targets": [], "for_all": False}


def _exit_code(lines: Sequence[Mapping[str, Any]]) -> int:
    events = {line["event"] for line in lines}
    targets = {host for line in lines if line["event"] == "play" for host in line["hosts"]}
    ended = {host for line in lines if line["event"] == "end" for host in line["ended"]}
    return 4 if "unreachable" in events else 2 if "failed" in events or targets - ended else 0


def planned(
    hosts: Sequence[str] = FLEET,
    *,
    waves: Sequence[int] = (2, 2),
    budget: int = 0,
    scope: str = "failed",
    playbooks: Sequence[str] = PLAYBOOKS,
    **fields: Any,
) -> RunReport:
    return RunReport(
        RUN,
        playbooks=list(playbooks),
        scope=scope,
        max_failures=budget,
        wave_sizes=list(waves),
        machines=[MachineReport(host, f"ps-{host}") for host in hosts],
        inventory=["hosts.yml"],
        **fields,
    )


def drive(script: Script, report: RunReport, soak: float = 30.0) -> tuple[World, RunReport | None]:
    """Do the whole run, by a successor if the guard dies. No report means that there is none to go on from."""
    world = World(script, [machine.host for machine in report.machines], report.playbooks)
    options = Settings(soak=soak, safety_snapshot=True, wait_timeout=100.0)
    try:
        Guard(report, options, world).run()
    except Killed:
        if world.saved is None:
            return world, None
        report = RunReport.from_dict(world.saved)
        world.succeed()
        Guard(report, options, world).resume(world.take_over(len(report.children)))
    if world.calls.count("save") < script.disk_is_full_at:
        assert world.saved == report.to_dict(), "the report is kept at the end"
    return world, report


def check(world: World, report: RunReport | None) -> None:
    """What has to hold whatever has happened."""
    for machine in world.fleet.values():
        kept = [snapshot for snapshot in machine.snapshots if snapshot.id not in world._owners]
        others = [snapshot for snapshot in world.begun_by_others if snapshot.machine_id == machine.machine_id]
        assert machine.is_deleted or kept == [*others, *foreign(machine.host)], "somebody else's snapshots"
        assert len(machine.run_names()) <= 1
    if report is None:
        assert world.written == world.runs == []
        return
    assert RunReport.from_dict(report.to_dict()).to_dict() == report.to_dict()
    for machine in report.machines:
        try:
            check_machine(world, report, machine)
        except AssertionError as error:
            raise AssertionError(f"{machine}\n{world.of(machine.host)}\n{report.problems}") from error
    assert [child.playbook for child in report.children][: len(world.runs)] == [name for name, dummy in world.runs]
    if report.scope == "fleet" and "not_started" in outcomes(report):
        assert "ok" not in outcomes(report), "a fleet stands or falls"
    is_good = all(machine.outcome in ("ok", "untouched") for machine in report.machines)
    assert report.status == ("succeeded" if is_good and not report.problems else "failed")
    assert report.ended_by == (world.stopped or "end") or (world.stopped and report.ended_by == "end")


def check_machine(world: World, report: RunReport, machine: MachineReport) -> None:
    truth = world.of(machine.host)
    names = truth.run_names()
    is_proven = not truth.harmed and all(
        playbook in truth.passed or world.fate(playbook, machine.host) == "not_for_it" for playbook in report.playbooks
    )
    # Whoever is not proven well is put back, or said not to be.
    assert machine.outcome in ("ok", "untouched", "no_snapshot", "not_started", "rolled_back", "rollback_failed")
    if machine.verdict in LOST:
        assert machine.outcome in ("rolled_back", "rollback_failed")
        assert machine.reason
        assert machine.reason.error
    if truth.touched and not is_proven:
        assert machine.outcome == "rollback_failed"
        assert names in ([OPEN], [], [f"{OPEN}-{truth.resolved}"])
    if machine.outcome in ("untouched", "no_snapshot", "not_started", "rolled_back"):
        assert not truth.touched
    if machine.outcome == "rolled_back":
        is_said = any(f"{machine.host} was rolled back, and is not proven to be on" in text for text in report.problems)
        assert truth.is_on or is_said
    if machine.outcome == "rollback_failed":
        assert report.status == "failed"
        assert truth.restores[-1:] != ["restored"]
        assert machine.rollback
        assert machine.rollback.error
    assert truth.restores == [] or machine.outcome in ("rolled_back", "rollback_failed")
    # What the report says of the name is true, or said not to be known.
    if machine.closed:
        assert names == [f"{OPEN}-{machine.closed}"] or truth.is_deleted
        assert machine.closed == (truth.resolved or ("restored" if machine.outcome == "rolled_back" else "ok"))
    if names and not machine.closed and names != [OPEN]:
        # What others do after a rollback that failed is not looked for any more.
        assert machine.close_error or (truth.resolved and machine.outcome == "rollback_failed")
    if names == [OPEN]:
        assert report.status == "failed"
        is_told = any(machine.host in problem for problem in report.problems)
        has_no_proof = machine.outcome == "no_snapshot" and machine.snapshot.status in ("timed_out", "unsure")
        assert machine.outcome == "rollback_failed" or is_told or has_no_proof
        assert machine.is_open


def outcomes(report: RunReport | None) -> list[str]:
    assert report
    return [machine.outcome for machine in report.machines]


def chosen(chance: random.Random) -> Script:
    """A script in which little goes wrong, or much."""
    playbook, host = functools.partial(chance.choice, PLAYBOOKS), functools.partial(chance.choice, FLEET)
    call = chance.randint
    faults = {}
    for dummy in range(max(0, call(-2, 3))):
        verb = chance.choice(sorted(FAULTS))
        fault = chance.choice(FAULTS[verb])
        faults[verb, host()] = chance.choice([[fault], ["", fault], [fault] * 9])
    error, first, kind = chance.choice(ERRORS), call(1, 12), chance.random()
    last = first + (0 if kind < 0.2 else chance.choice([2, 5, 40]))
    return Script(
        fates={(playbook(), host()): chance.choice(FATES) for dummy in range(max(0, call(-1, 5)))},
        serial=chance.choice([9, 1, 2]),
        crashes={playbook(): chance.random()} if chance.random() < 0.2 else {},
        elsewhere=frozenset([playbook()] if chance.random() < 0.1 else ()),
        broken={playbook(): call(1, 6)} if chance.random() < 0.1 else {},
        faults=faults,
        errors=dict.fromkeys(range(first, last + 1), error) if kind < 0.3 else {},
        deleted={host(): call(1, 12)} if chance.random() < 0.15 else {},
        intruders={host(): (call(1, 12), chance.choice([f"maint-{OTHER_RUN}", OPEN]))} if chance.random() < 0.3 else {},
        resolved={host(): (call(2, 12), chance.choice(["restored", "ok", "gone"]))} if chance.random() < 0.15 else {},
        stop=(call(1, 100), chance.choice(["sigint", "sigterm", "parent_died"])) if chance.random() < 0.3 else None,
        done_when_stopped=chance.random(),
        kill=(call(1, 110), chance.choice(MOMENTS)) if chance.random() < 0.5 else None,
    )


def simpler(script: Script) -> Iterator[Script]:
    """The script with one thing less that goes wrong."""
    for entry in fields(script):
        value = getattr(script, entry.name)
        if isinstance(value, Mapping):
            for key in value:
                yield replace(script, **{entry.name: {other: value[other] for other in value if other != key}})
        elif value != getattr(Script(), entry.name):
            yield replace(script, **{entry.name: getattr(Script(), entry.name)})


def failure_of(script: Script, **options: Any) -> BaseException | None:
    try:
        check(*drive(script, planned(**options)))
    except Exception as error:  # noqa: BLE001 - whatever it is
        return error
    return None


@pytest.mark.parametrize("seed", range(20))
def test_nothing_leaves_a_machine_changed_and_unguarded(seed: int) -> None:
    chance = random.Random(seed)
    for dummy in range(75):
        script = chosen(chance)
        options = {
            "waves": chance.choice([(4,), (2, 2), (1, 3), (1, 1, 1, 1)]),
            "budget": chance.choice([0, 0, 1, 2]),
            "scope": chance.choice(["failed", "wave", "fleet"]),
            "playbooks": chance.choice([PLAYBOOKS, PLAYBOOKS[:1]]),
        }
        error = failure_of(script, **options)
        while error is not None:
            simplest = next((one for one in simpler(script) if failure_of(one, **options)), None)
            if simplest is None:
                raise AssertionError(f"{script}\n{options}") from error
            script, error = simplest, failure_of(simplest, **options)


# What becomes of the machines, in two waves of two, and with which playbooks left to run.
SCENARIOS = {
    "all is well": Script(),
    "one fails": Script(fates={("patch.yml", "web2"): "failed"}),
    "the verification fails": Script(fates={("verify.yml", "web3"): "unreachable", ("patch.yml", "db1"): "not_for_it"}),
    "a playbook breaks down": Script(crashes={"verify.yml": 0.6}, serial=1),
    "a create fails": Script(faults={("create", "web1"): ["failed_left"], ("create", "db1"): ["failed"]}),
}


@pytest.mark.parametrize("scope", ["failed", "wave", "fleet"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_guard_dies_at_any_call(scenario: str, scope: str) -> None:
    world, dummy = drive(SCENARIOS[scenario], planned(scope=scope, budget=1))
    for number in range(1, len(world.calls) + 1):
        name = world.calls[number - 1].split()[0]
        for moment in MOMENTS if name in _EFFECTIVE else MOMENTS[:1]:
            script = replace(SCENARIOS[scenario], kill=(number, moment))
            heir, report = drive(script, planned(scope=scope, budget=1))
            try:
                check(heir, report)
                for machine in report.machines if report else ():
                    assert machine.outcome != "rollback_failed"
                    if (name, moment) != ("create", "unheard"):
                        assert OPEN not in heir.of(machine.host).run_names()
            except AssertionError as error:
                raise AssertionError(f"killed {moment} {heir.calls[number - 1]} ({number}): {heir.calls}") from error


@pytest.mark.parametrize("scope", ["failed", "wave", "fleet"])
@pytest.mark.parametrize("others", [("web2", "db1"), ("web1",), FLEET], ids=["some", "one", "all"])
@pytest.mark.parametrize("asked", [1, 2, 3])
def test_guard_dies_at_any_call_of_a_run_that_it_shares(scope: str, others: Sequence[str], asked: int) -> None:
    """Neither it nor its successor undoes or closes what another controller has begun."""
    shared = replace(web(3, "failed"), intruders=dict.fromkeys(others, (asked, OPEN)))
    world, dummy = drive(shared, planned(scope=scope, budget=4))
    for number in range(1, len(world.calls) + 1):
        for moment in MOMENTS if world.calls[number - 1].split()[0] in _EFFECTIVE else MOMENTS[:1]:
            heir, report = drive(replace(shared, kill=(number, moment)), planned(scope=scope, budget=4))
            check(heir, report)
            for machine in report.machines if report else ():
                truth = heir.of(machine.host)
                if any(snapshot.machine_id == machine.machine_id for snapshot in heir.begun_by_others):
                    assert machine.outcome in ("no_snapshot", "not_started")
                    assert truth.restores == truth.run_names() == []
                    assert not truth.touched
                else:
                    assert machine.outcome != "rollback_failed"


@pytest.mark.parametrize("scope", ["failed", "wave", "fleet"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_stopped_at_any_call(scenario: str, scope: str) -> None:
    world, dummy = drive(SCENARIOS[scenario], planned(scope=scope, budget=1))
    for number in range(1, len(world.calls) + 1):
        for done in (0.0, 0.7):
            script = replace(SCENARIOS[scenario], stop=(number, "sigterm"), done_when_stopped=done)
            stopped, report = drive(script, planned(scope=scope, budget=1))
            check(stopped, report)
            assert report
            assert "rollback_failed" not in outcomes(report)
            assert not any(OPEN in stopped.of(host).run_names() for host in FLEET)
            # The last look for a stop is just before the end.
            assert report.status == "failed" or number > len(world.calls) - 2


def web(number: int, fate: str, playbook: str = "patch.yml") -> Script:
    return Script(fates={(playbook, f"web{number}"): fate})


@pytest.mark.parametrize(
    ("scope", "budget", "script", "expected"),
    [
        ("failed", 0, Script(), "ok ok ok ok"),
        ("fleet", 0, Script(), "ok ok ok ok"),
        ("failed", 0, web(1, "failed"), "rolled_back ok not_started not_started"),
        ("failed", 1, web(1, "failed"), "rolled_back ok ok ok"),
        ("failed", 0, web(1, "unreachable", "verify.yml"), "rolled_back ok not_started not_started"),
        ("failed", 0, web(1, "blip"), "rolled_back ok not_started not_started"),
        ("failed", 0, web(1, "failed_for_all"), "rolled_back rolled_back not_started not_started"),
        ("failed", 0, web(1, "rescued"), "ok ok ok ok"),
        ("failed", 0, web(1, "skipped"), "ok ok ok ok"),
        ("failed", 0, web(1, "not_for_it"), "ok ok ok ok"),
        ("wave", 0, web(1, "failed"), "rolled_back rolled_back not_started not_started"),
        ("wave", 1, web(1, "failed"), "rolled_back ok ok ok"),
        ("wave", 0, web(3, "failed"), "ok ok rolled_back rolled_back"),
        ("fleet", 0, web(3, "failed"), "rolled_back rolled_back rolled_back rolled_back"),
        ("fleet", 1, web(3, "failed"), "ok ok rolled_back ok"),
        # What nothing was done to stays as it is.
        (
            "fleet",
            0,
            Script(fates={("patch.yml", "web3"): "failed", **{(name, "db1"): "not_for_it" for name in PLAYBOOKS}}),
            "rolled_back rolled_back rolled_back untouched",
        ),
        # Those without a snapshot count.
        ("failed", 0, Script(faults={("create", "web1"): ["failed"]}), "no_snapshot ok not_started not_started"),
        ("wave", 0, Script(faults={("create", "web1"): ["failed"]}), "no_snapshot untouched not_started not_started"),
        ("fleet", 0, Script(faults={("create", "db1"): ["failed"]}), "rolled_back rolled_back untouched no_snapshot"),
        ("failed", 1, Script(faults={("create", "web1"): ["failed_left"]}), "no_snapshot ok ok ok"),
        # A playbook that fails, but on none of the machines.
        ("failed", 0, Script(elsewhere=frozenset(["verify.yml"])), "ok ok not_started not_started"),
        ("failed", 0, Script(crashes={"patch.yml": 1.0}), "ok ok not_started not_started"),
        ("failed", 4, Script(crashes={"patch.yml": 0.0}), "rolled_back rolled_back rolled_back rolled_back"),
        ("failed", 9, Script(errors=dict.fromkeys(range(1, 99), NotOpened)), " ".join(["no_snapshot"] * 4)),
    ],
)
def test_outcomes_follow_scope_and_budget(scope: str, budget: int, script: Script, expected: str) -> None:
    world, report = drive(script, planned(scope=scope, budget=budget))
    check(world, report)
    assert outcomes(report) == expected.split()


def test_later_playbooks_get_those_that_came_through() -> None:
    fates = {("a.yml", "web1"): "failed", ("a.yml", "web2"): "not_for_it", ("b.yml", "web3"): "unreachable"}
    for key in ("b.yml", "c.yml"):
        fates[key, "db1"] = "not_for_it"
    world, report = drive(Script(fates=fates), planned(waves=[4], playbooks=["a.yml", "b.yml", "c.yml"]))
    # web2 was not reached by a playbook that failed.
    assert world.runs == [("a.yml", list(FLEET)), ("b.yml", ["web3", "db1"]), ("c.yml", ["db1"])]
    assert outcomes(report) == ["rolled_back", "untouched", "rolled_back", "ok"]
    assert report
    assert [child.rc for child in report.children] == [2, 4, 0]


def test_failure_of_none_of_the_machines_is_a_problem() -> None:
    dummy, report = drive(Script(elsewhere=frozenset(["patch.yml"])), planned(waves=[4]))
    assert report
    assert report.problems == ["patch.yml: localhost: task 'Migrate': No."]
    dummy, report = drive(Script(crashes={"patch.yml": 1.0}), planned(waves=[4]))
    assert report
    assert report.problems == ["patch.yml ended with -9, although each machine that it began came to its end."]


def test_soak_is_between_waves_alone() -> None:
    world, dummy = drive(Script(), planned(waves=[1, 1, 2]), soak=7.5)
    assert world.pauses == [(7.5, False)] * 2
    first = world.calls.index("pause")
    assert world.calls[:first].count("run_playbook patch.yml") == 1
    world, dummy = drive(Script(), planned(waves=[1, 1, 2]), soak=0)
    assert world.pauses == []


@pytest.mark.parametrize("scope", ["failed", "wave"])
def test_stopped_in_the_soak(scope: str) -> None:
    call = drive(Script(), planned())[0].calls.index("pause") + 1
    world, report = drive(Script(stop=(call, "sigint")), planned(scope=scope))
    assert outcomes(report) == ["ok", "ok", "not_started", "not_started"]
    assert report
    assert (report.status, report.ended_by) == ("failed", "sigint")
    check(world, report)


# The service's calls in a wave: its snapshots, a look at what other runs have begun, then its rollback.
FIRST_RESTORE = 3


@pytest.mark.parametrize("error", [NotOpened, AnswerLost, RateLimited, DeadlinePassed])
def test_restore_is_tried_until_the_service_answers(error: type[PaperspaceError]) -> None:
    errors = dict.fromkeys(range(FIRST_RESTORE, FIRST_RESTORE + 5), error)
    world, report = drive(replace(web(1, "failed"), errors=errors), planned(waves=[4]))
    assert outcomes(report) == ["rolled_back", "ok", "ok", "ok"]
    assert world.pauses == [(10.0, True)] * 5
    assert sum("tried again in 10 s" in text for text in world.said) == 5


def test_restore_that_nobody_refused_is_tried_again_and_keeps_no_other_machine_waiting() -> None:
    fates = {("patch.yml", host): "failed" for host in FLEET}
    faults = {("restore", "web1"): ["passing"] * 2, ("restore", "web2"): ["failed"]}
    world, report = drive(Script(fates=fates, faults=faults), planned(waves=[4]))
    assert outcomes(report) == ["rolled_back", "rollback_failed", "rolled_back", "rolled_back"]
    # The service asked for that.
    assert world.pauses == [(25.0, True)] * 2
    assert [hosts for verb, hosts in world.written if verb == "restore"] == [list(FLEET), ["web1"], ["web1"]]
    assert [hosts for verb, hosts in world.written if verb == "start"] == [["web3", "db1"], ["web1"]]
    check(world, report)


def test_restore_that_nobody_refused_is_given_up_after_wait_timeout() -> None:
    script = replace(web(1, "failed"), faults={("restore", "web1"): ["passing"] * 99})
    world, report = drive(script, planned(waves=[4]))
    # wait_timeout is 100 s.
    assert world.pauses == [(25.0, True)] * 3
    assert outcomes(report) == ["rollback_failed", "ok", "ok", "ok"]
    check(world, report)


def test_waves_and_rollbacks_are_told_with_the_names_of_machines() -> None:
    world, _report = drive(web(2, "failed"), planned(waves=[1, 3], budget=4))
    assert [text for text in world.said if text.startswith(("Wave", "Rolling"))] == [
        "Wave 1 of 2: web1",
        "Wave 2 of 2: web2, web3, db1",
        "Rolling back web2",
    ]


def test_restore_is_given_up_after_wait_timeout() -> None:
    script = replace(web(1, "failed"), errors=dict.fromkeys(range(FIRST_RESTORE, 999), AnswerLost))
    world, report = drive(script, planned(waves=[4]))
    # wait_timeout is 100 s.
    assert world.pauses == [(10.0, True)] * 10
    assert outcomes(report) == ["rollback_failed", "ok", "ok", "ok"]
    assert any("web1 is NOT proven to be rolled back" in text for text in world.said)
    check(world, report)


def test_key_that_is_refused_is_not_tried_again() -> None:
    script = replace(web(1, "failed"), errors={FIRST_RESTORE: Unauthorized})
    world, report = drive(script, planned(waves=[4]))
    assert world.pauses == []
    assert outcomes(report) == ["rollback_failed", "ok", "ok", "ok"]


@pytest.mark.parametrize("host", FLEET)
def test_machine_that_cannot_be_restored_does_not_keep_others_from_it(host: str) -> None:
    script = Script(fates={("patch.yml", host): "failed" for host in FLEET}, deleted={host: FIRST_RESTORE})
    world, report = drive(script, planned(waves=[4]))
    assert outcomes(report) == ["rollback_failed" if other == host else "rolled_back" for other in FLEET]
    check(world, report)


def test_restored_machines_are_started_and_it_is_said_if_they_are_not() -> None:
    fates = {("patch.yml", host): "failed" for host in ("web1", "web2")}
    script = Script(fates=fates, faults={("start", "web1"): ["failed"], ("restore", "web2"): ["failed"]})
    world, report = drive(script, planned(waves=[4]))
    assert [hosts for verb, hosts in world.written if verb == "start"] == [["web1"]]
    assert report
    assert (report.machines[0].outcome, report.machines[0].closed) == ("rolled_back", "restored")
    assert report.problems == ["web1 was rolled back, and is not proven to be on: It does not start."]


def test_snapshots_of_a_fleet_stay_open_until_its_last_wave_has_ended() -> None:
    world, dummy = drive(Script(), planned(scope="fleet"))
    assert [verb for verb, dummy in world.written] == ["create", "create", "rename"]
    world, dummy = drive(Script(), planned(scope="wave"))
    assert [verb for verb, dummy in world.written] == ["create", "rename", "create", "rename"]


def test_failed_record_is_deleted() -> None:
    world, report = drive(Script(faults={("create", "web1"): ["failed_left"]}), planned(waves=[4]))
    assert ("delete", ["web1"]) in world.written
    assert report
    assert report.machines[0].snapshot.id is None
    assert not report.machines[0].is_open
    assert report.problems == []


def test_failed_record_that_cannot_be_deleted_is_a_problem() -> None:
    faults = {("create", "web1"): ["failed_left"], ("delete", "web1"): ["failed"]}
    dummy, report = drive(Script(faults=faults), planned(waves=[4]))
    assert report
    assert report.machines[0].is_open
    assert report.problems == ["The useless snapshot ss0 of web1 is still there: It is locked."]


def test_safety_snapshot_is_in_the_report() -> None:
    dummy, report = drive(web(1, "failed"), planned(waves=[4]))
    assert report
    assert report.machines[0].rollback
    assert report.machines[0].rollback.safety_snapshot_id == "safe"


@pytest.mark.parametrize("fate", FATES)
def test_check_mode_changes_nothing(fate: str) -> None:
    world, report = drive(web(1, fate), planned(check_mode=True))
    assert world.written == []
    assert report
    assert all(machine.snapshot.status == "would_create" for machine in report.machines if machine.wave == 1)
    is_good = fate in ("ok", "rescued", "delegates", "skipped", "not_for_it")
    assert report.status == ("succeeded" if is_good else "failed")
    assert world.runs[0] == ("patch.yml", ["web1", "web2"])


# What comes after a death or an error.


def killed_at(name: str, moment: str, script: Script = SCENARIOS["all is well"], **options: Any) -> Script:
    """The script, with the guard dying at the last call of this name."""
    calls = drive(script, planned(**options))[0].calls
    return replace(script, kill=(len(calls) - calls[::-1].index(name), moment))


def test_snapshot_that_the_dead_guard_made_is_told_of_when_nothing_can_be_found_out_about_it() -> None:
    """The successor sees that it is there, and then fails to wait for it."""
    script = killed_at("create", "half", waves=[4])
    world, report = drive(replace(script, errors={3: AnswerLost}), planned(waves=[4]))
    assert report
    assert world.of("web1").run_names() == [OPEN]
    assert report.machines[0].is_open
    assert any("web1" in problem for problem in report.problems)


def test_snapshot_of_which_the_dead_guard_has_not_heard_is_left_for_recover() -> None:
    """It may be of another controller of the same run."""
    script = killed_at("create", "unheard", waves=[4])
    world, report = drive(script, planned(waves=[4]))
    assert report
    assert outcomes(report) == ["no_snapshot", "no_snapshot", "not_started", "not_started"]
    assert [verb for verb, dummy in world.written] == ["create"]
    assert [machine.is_open for machine in report.machines] == [True, True, False, False]
    assert "The run may be open on web1: Snapshot ss0 may be of another controller" in report.problems[0]


def test_own_snapshot_is_deleted_beside_that_of_another_controller() -> None:
    """Two of one name would keep the other one from rolling back. The guard dies before it sees that."""
    script = killed_at("create", "after", waves=[4])
    world = World(script)
    with pytest.raises(Killed):
        Guard(planned(waves=[4]), Settings(), world).run()
    machine = world.of("web2")
    others = Snapshot("web2-other", OPEN, machine.machine_id, False)
    machine.snapshots.append(others)
    machine.proven.add(others.id)
    world.succeed()
    report = RunReport.from_dict(world.saved)
    Guard(report, Settings(), world).resume([])
    assert machine.named(OPEN) == [others]
    assert outcomes(report) == ["untouched", "no_snapshot", "untouched", "untouched"]


def test_fleet_is_rolled_back_when_the_guard_dies_and_the_last_wave_is_not_known_to_be_its_own() -> None:
    shared = Script(intruders={"db1": (1, OPEN)})
    script = killed_at("create", "before", shared, scope="fleet", waves=[3, 1], budget=1)
    dummy, report = drive(script, planned(scope="fleet", waves=[3, 1], budget=1))
    assert outcomes(report) == ["rolled_back"] * 3 + ["no_snapshot"]


@pytest.mark.parametrize("scope", ["wave", "fleet"])
@pytest.mark.parametrize("moment", ["half", "after"])
def test_what_was_being_closed_as_well_ended_is_not_rolled_back_by_the_successor(scope: str, moment: str) -> None:
    script = killed_at("rename", moment, scope=scope, waves=[4])
    world, report = drive(script, planned(scope=scope, waves=[4]))
    assert outcomes(report) == ["ok"] * 4
    assert all(world.of(host).run_names() == [OK] for host in FLEET)


def test_machine_that_was_put_back_is_started_by_the_successor() -> None:
    """The guard dies when the names are closed, before it has seen to it that the machines are on."""
    script = killed_at("start", "before", web(1, "failed"), waves=[4])
    world, report = drive(script, planned(waves=[4]))
    assert outcomes(report)[0] == "rolled_back"
    assert world.of("web1").is_on


def test_fleet_is_rolled_back_when_it_is_stopped_between_waves() -> None:
    """As the documentation of rollback_scope says, and as when the guard dies there."""
    number = drive(Script(), planned(scope="fleet"))[0].calls.index("pause") + 1
    dummy, report = drive(Script(stop=(number, "sigint")), planned(scope="fleet"))
    assert outcomes(report) == ["rolled_back", "rolled_back", "not_started", "not_started"]


def test_fleet_is_rolled_back_whenever_it_is_stopped_before_its_last_wave() -> None:
    calls = drive(Script(), planned(scope="fleet"))[0].calls
    for number in range(1, len(calls) + 1):
        dummy, report = drive(Script(stop=(number, "sigint")), planned(scope="fleet"))
        if "not_started" in outcomes(report):
            assert "ok" not in outcomes(report), calls[:number]


def test_fleet_is_rolled_back_when_a_problem_ends_it() -> None:
    """That a machine is not proven to be on is a problem as much as the failure of a play on localhost is."""
    script = replace(web(3, "failed"), faults={("start", "web3"): ["failed"]})
    dummy, report = drive(script, planned(scope="fleet", budget=1, waves=[1, 2, 1]))
    assert outcomes(report) == ["rolled_back", "rolled_back", "rolled_back", "not_started"]


@pytest.mark.parametrize(
    ("scope", "expected"),
    [("wave", "ok ok not_started not_started"), ("fleet", "rolled_back rolled_back not_started not_started")],
)
def test_playbook_that_was_broken_since_the_last_wave_is_not_begun(scope: str, expected: str) -> None:
    world, report = drive(Script(broken={"verify.yml": 2}), planned(scope=scope))
    check(world, report)
    assert outcomes(report) == expected.split()
    assert report
    assert report.problems == ["Wave 2 was not begun: verify.yml is broken."]


def test_machine_that_is_gone_does_not_keep_others_from_being_closed() -> None:
    world, report = drive(Script(deleted={"db1": 3}), planned(waves=[4]))
    assert all(world.of(host).run_names() == [OK] for host in ("web1", "web2", "web3"))
    assert report


def test_name_that_is_given_at_the_second_try_is_no_problem_any_more() -> None:
    dummy, report = drive(Script(errors={3: AnswerLost}), planned(waves=[4]))
    assert report
    assert [machine.closed for machine in report.machines] == ["ok"] * 4
    assert [machine.close_error for machine in report.machines] == [None] * 4
    assert report.problems == []


def test_whoever_a_playbook_has_not_reached_is_not_proven_well_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if ansible-playbook ends with 0."""
    monkeypatch.setattr(sys.modules[__name__], "_exit_code", lambda lines: 0)
    world, report = drive(web(1, "not_reached"), planned(waves=[4], playbooks=["patch.yml", "more.yml"]))
    assert world.of("web1").passed == set()
    assert outcomes(report)[0] == "untouched"


@pytest.mark.parametrize("number", [2, 3, 4, 5])
def test_playbook_is_not_begun_when_the_report_cannot_be_written(number: int) -> None:
    """A successor would not know of it."""
    world, report = drive(Script(disk_is_full_at=number), planned(waves=[4]))
    assert world.runs == []
    assert report
    assert outcomes(report) == ["untouched"] * 4
    assert "the report cannot be written" in report.problems[0]


# Others that begin meanwhile.


def test_machine_that_another_run_has_begun_with_is_left_to_it() -> None:
    world, report = drive(Script(intruders={"web2": (1, f"maint-{OTHER_RUN}")}), planned(waves=[4], budget=1))
    check(world, report)
    assert outcomes(report) == ["ok", "no_snapshot", "ok", "ok"]
    assert ("delete", ["web2"]) in world.written
    assert report
    assert report.machines[1].reason
    assert f"Run {OTHER_RUN} is still open on web2." in report.machines[1].reason.error


def test_machine_that_another_controller_has_begun_with_in_the_same_run_is_left_to_it() -> None:
    world, report = drive(Script(intruders={"web2": (1, OPEN)}), planned(waves=[4], budget=1))
    assert outcomes(report) == ["ok", "no_snapshot", "ok", "ok"]
    assert world.of("web2").named(OPEN) == world.begun_by_others
    assert report
    assert report.machines[1].reason
    assert report.machines[1].reason.error == "Another controller has begun with it in the same run."
    assert report.status == "failed"


def test_machine_that_another_controller_has_maintained_in_the_same_run_is_left_alone() -> None:
    world, report = drive(Script(intruders={"web2": (1, f"{OPEN}-ok")}), planned(waves=[4], budget=1))
    assert outcomes(report) == ["ok", "no_snapshot", "ok", "ok"]
    assert ("delete", ["web2"]) in world.written
    assert report
    assert report.machines[1].reason
    assert report.machines[1].reason.error == "Another controller was faster in the same run, which is over on it."


def test_snapshot_of_another_controller_is_not_told_of_as_what_this_one_has_left() -> None:
    """Whoever follows the command to resolve the run would undo what the other one is doing."""
    dummy, report = drive(Script(intruders={"web2": (1, OPEN)}), planned(waves=[4], budget=1))
    assert report
    assert not report.machines[1].is_open
    assert report.problems == []


@pytest.mark.parametrize("fault", FAULTS["create"])
def test_snapshot_that_another_controller_has_begun_is_left_to_it_however_it_goes(fault: str) -> None:
    """This one has asked for none, so whatever is there is not its own."""
    script = Script(intruders={"web2": (1, OPEN)}, faults={("create", "web2"): [f"{fault}_of_another"]})
    world, report = drive(script, planned(waves=[4], budget=1))
    assert outcomes(report) == ["ok", "no_snapshot", "ok", "ok"]
    assert world.of("web2").named(OPEN) == world.begun_by_others
    assert report
    assert report.machines[1].is_anothers
    assert not report.machines[1].is_open
    assert report.problems == []


def test_snapshot_of_another_controller_is_not_closed_when_the_guard_fails_by_a_defect() -> None:
    """It is left before anything else is done, which may be what fails."""
    world = World(Script(intruders={"web2": (1, OPEN)}))
    report = planned(waves=[4])
    look = world.existing_snapshots
    world.existing_snapshots = lambda machine_ids: {}[""]  # type: ignore[method-assign]
    with pytest.raises(KeyError):
        Guard(report, Settings(), world).run()
    world.existing_snapshots = look  # type: ignore[method-assign]
    world.succeed()
    Guard(report, Settings(), world).resume([])
    assert world.of("web2").named(OPEN) == world.begun_by_others


def test_it_is_not_begun_when_nobody_knows_whether_another_run_has() -> None:
    world, report = drive(Script(errors={2: AnswerLost}), planned(waves=[4]))
    check(world, report)
    assert world.runs == []
    assert outcomes(report) == ["no_snapshot"] * 4
    assert not any(world.of(host).run_names() for host in FLEET)


# Others that end the run on a machine while it is at work.


@pytest.mark.parametrize(
    ("what", "name", "told"),
    [("restored", RESTORED, "has put it back to"), ("ok", OK, "has closed the run on it"), ("gone", None, "is gone")],
)
def test_run_that_somebody_else_has_ended_on_a_machine_is_not_told_to_be_open(
    what: str, name: str | None, told: str
) -> None:
    """A command to resolve it would find nothing."""
    script = replace(web(1, "failed"), resolved={"web1": (FIRST_RESTORE, what)})
    world, report = drive(script, planned(waves=[4]))
    check(world, report)
    assert outcomes(report) == ["rollback_failed", "ok", "ok", "ok"]
    assert report
    machine = report.machines[0]
    assert machine.rollback
    assert told in str(machine.rollback.error)
    assert any(told in text for text in world.said)
    assert not machine.is_open
    assert machine.closed == (None if what == "gone" else what)
    assert (machine.snapshot.name if machine.closed else None) == name


def test_machine_that_was_put_back_by_somebody_else_is_not_told_to_be_maintained() -> None:
    world, report = drive(Script(resolved={"web1": (3, "restored")}), planned(waves=[4]))
    check(world, report)
    assert outcomes(report) == ["rollback_failed", "ok", "ok", "ok"]
    assert report
    assert not report.machines[0].is_open
    assert report.machines[0].verdict == "incomplete"


@pytest.mark.parametrize(("what", "is_told"), [("ok", False), ("gone", True)])
def test_machine_that_came_through_stays_so_when_somebody_else_ends_the_run_on_it(what: str, is_told: bool) -> None:
    world, report = drive(Script(resolved={"web1": (3, what)}), planned(waves=[4]))
    check(world, report)
    assert outcomes(report) == ["ok"] * 4
    assert report
    assert not report.machines[0].is_open
    assert [problem for problem in report.problems if "web1: Its snapshot is gone" in problem] == report.problems
    assert (report.problems != []) is is_told


# What must not be begun.


class Unbegun(World):
    """A world in which nothing may be done."""

    def _each(self, *args: Any) -> Iterator[Any]:
        raise AssertionError("something was done")

    run_playbook = _each


def with_snapshot(name: str, *, is_auto_snapshot: bool = False) -> World:
    world = Unbegun(Script())
    for host in ("web2", "db1"):
        world.of(host).snapshots.insert(0, Snapshot(f"new-{host}", name, f"ps-{host}", is_auto_snapshot))
    return world


def refuse(world: World) -> None:
    Guard(planned(limit="web*"), Settings(), world).refuse()


def test_all_playbooks_are_checked() -> None:
    world = Unbegun(Script())
    refuse(world)
    assert world.calls == ["existing_snapshots", "check_playbook patch.yml", "check_playbook verify.yml"]


def test_playbook_that_is_broken_is_refused() -> None:
    with pytest.raises(InputError, match=r"^No maintenance was begun: patch\.yml is broken\.$"):
        refuse(Unbegun(Script(broken={"patch.yml": 0})))


def test_run_that_is_open_is_refused_with_the_commands_that_resolve_it() -> None:
    with pytest.raises(InputError) as caught:
        refuse(with_snapshot(f"maint-{OTHER_RUN}"))
    message = str(caught.value)
    assert f"Run {OTHER_RUN} is still open on web2, db1." in message
    for action in ("rollback", "keep"):
        command = "ansible-playbook community.paperspace.recover -i hosts.yml -l 'web*'"
        assert f"{command} -e recover_run_id={OTHER_RUN} -e recover_action={action}" in message


@pytest.mark.parametrize("name", [OK, RESTORED])
def test_run_id_is_used_once_on_a_machine(name: str) -> None:
    with pytest.raises(InputError, match=rf"run {RUN} is over on web2, db1\."):
        refuse(with_snapshot(name))


@pytest.mark.parametrize("name", [f"other-{OTHER_RUN}", f"maint-{OTHER_RUN}-restored", "maint-by hand"])
def test_snapshots_of_other_kinds_do_not_matter(name: str) -> None:
    refuse(with_snapshot(name))
    refuse(with_snapshot(f"maint-{OTHER_RUN}", is_auto_snapshot=True))


def test_machine_that_does_not_exist_is_refused() -> None:
    world = Unbegun(Script(deleted={"web3": 1}))
    with pytest.raises(InputError, match=r"There is no machine ps-web3\."):
        refuse(world)
