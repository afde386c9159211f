# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state machines: what an accepted operation does to its machine, its snapshot and its event as time passes.

Nothing here waits. Every step is put on a schedule and runs, at its own time, when `World.advance` is next called.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from .messages import ApiError
from .records import GIB, REGIONS, RUNNING, STATES, Event, Ids, Machine, Records, Snapshot, machine_fields, timestamp
from .settings import Settings

COUNTED = {
    "snapshot-create": "creates",
    "snapshot-delete": "deletes",
    "snapshot-restore": "restores",
    "start": "starts",
    "stop": "stops",
    "restart": "restarts",
    "vm-upgrade": "upgrades",
}
"""What each event's operation is counted as."""

STATES_KEPT = 16


@dataclass(frozen=True)
class Outcome:
    """How an operation ends. The defaults are the plain success."""

    state: str = "done"
    """The event's last state: done, error or cancelled; stuck leaves it in progress for good."""
    error: str | None = None
    finished: bool = True
    """Whether the event gets a dtFinished."""
    worked: bool = True
    """Whether the work is really done, whatever the event says."""
    seconds: float | None = None
    """How long the work takes; None is what the settings say."""


SUCCESS = Outcome()


@dataclass(eq=False)
class Operation:
    machine: Machine
    event: Event
    outcome: Outcome
    snapshot: Snapshot | None = None
    safety_snapshot: bool = False
    changes: dict[str, Any] = field(default_factory=dict)
    state_before: str = ""

    @property
    def is_of_settings(self) -> bool:
        """Whether it changes settings only, which the machine need not stop for."""
        return bool(self.changes) and all(name.startswith("autoSnapshot") for name in self.changes)


@dataclass(frozen=True)
class Done:
    """One thing that was really done: what the exactly-once tests count."""

    what: str
    machine_id: str
    snapshot_id: str | None
    name: str | None
    at: float


@dataclass(frozen=True)
class Call:
    """When an operation was asked for, and what faults have in store for it."""

    now: float
    outcome: Outcome = SUCCESS
    event_invisible_seconds: float | None = None


class Addresses(Protocol):
    """Where machines get their addresses from. Each call gives one never given before."""

    def public(self) -> str:
        """Of the internet."""

    def private(self) -> str:
        """Of a private network."""


class PrivateRanges:
    """Addresses that lead nowhere: the benchmarking range for public ones, 10/8 for private ones."""

    def __init__(self) -> None:
        self._public = self._private = 0

    def public(self) -> str:
        self._public += 1
        return f"198.{18 + self._public // 65536 % 2}.{self._public // 256 % 256}.{self._public % 256}"

    def private(self) -> str:
        self._private += 1
        return f"10.{self._private // 65536 % 256}.{self._private // 256 % 256}.{self._private % 256}"


class Disks(Protocol):
    """The machines' disks. The service tells what happens to them; machines without a disk ignore it."""

    def create(self, machine: Machine) -> None:
        """A machine is made."""

    def remove(self, machine: Machine) -> None:
        """A machine is gone for good."""

    def snapshot(self, machine: Machine, snapshot_id: str) -> None:
        """The disk as it is now is kept."""

    def remove_snapshot(self, snapshot_id: str) -> None:
        """What was kept is gone, if there was anything."""

    def restore(self, machine: Machine, snapshot_id: str) -> None:
        """The disk is again what was kept."""


class NoDisks:
    def create(self, machine: Machine) -> None:
        pass

    def remove(self, machine: Machine) -> None:
        pass

    def snapshot(self, machine: Machine, snapshot_id: str) -> None:
        pass

    def remove_snapshot(self, snapshot_id: str) -> None:
        pass

    def restore(self, machine: Machine, snapshot_id: str) -> None:
        pass


def _known_state(state: Any) -> str:
    if state not in STATES:
        raise ValueError(f"no such machine state: {state!r}")
    return str(state)


class World:
    """All machines, snapshots and events of the team, and the steps still to come."""

    def __init__(self, settings: Settings, disks: Disks, addresses: Addresses) -> None:
        self.settings = settings
        self.machines: Records[Machine] = Records()
        self.snapshots: Records[Snapshot] = Records()
        self.events: Records[Event] = Records()
        self.machine_of_deleted: dict[str, str] = {}
        """By the ids of snapshots that are gone."""
        self.accepted: list[Done] = []
        self.done: list[Done] = []
        self._disks = disks
        self._addresses = addresses
        self._ids = Ids(settings.seed)
        self.network_id = self._ids.new("ne")
        self.team_id = self._ids.new("te")
        self.user_id = self._ids.new("us")
        self._sequence = 0
        self._steps: list[tuple[float, int, Callable[[float], None]]] = []

    # Time

    def advance(self, now: float) -> None:
        """Run every step that is due, in order, each at its own time."""
        while self._steps and self._steps[0][0] <= now:
            at, dummy, step = heapq.heappop(self._steps)
            step(at)

    def _at(self, at: float, step: Callable[[float], None]) -> None:
        heapq.heappush(self._steps, (at, self._next(), step))

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    # Fixtures

    def add_machine(self, now: float, name: str | None, fields: Mapping[str, Any]) -> Machine:
        given = dict(fields)
        machine_id = str(given.pop("id", None) or self._ids.new("ps"))
        if self.machines.get(machine_id):
            raise ValueError(f"machine {machine_id} is there already")
        state = _known_state(given.pop("state", "ready"))
        made = machine_fields(machine_id, name or f"machine-{len(self.machines) + 1}", now, self.network_id)
        made["privateIp"] = self._addresses.private()
        made["publicIp"] = None
        if unknown := given.keys() - made.keys():
            raise ValueError(f"machines have no {', '.join(sorted(unknown))}")
        made |= given
        made["region"] = REGIONS.get(made["region"], made["region"])
        machine = Machine(machine_id, self._next(), made, deque([(float("-inf"), state)], STATES_KEPT))
        if "publicIp" not in given:
            self._assign_public_ip(machine, fresh=True)
        self._disks.create(machine)
        return self.machines.add(machine)

    def change_machine(self, machine: Machine, fields: Mapping[str, Any], now: float) -> None:
        """Behind the API's back. A state that is set takes effect at once and is shown at once."""
        given = dict(fields)
        state = _known_state(given.pop("state", machine.state))
        if unknown := given.keys() - machine.fields.keys():
            raise ValueError(f"machines have no {', '.join(sorted(unknown))}")
        machine.fields |= given
        if state != machine.state:
            machine.states.clear()
            machine.enter(state, now)

    def remove_machine(self, machine: Machine, now: float) -> None:
        """As the service deactivates it: its snapshots go with it, what runs or waits is cancelled."""
        for operation in [machine.operation, *machine.waiting]:
            if operation:
                operation.event.state = "cancelled"
                operation.event.finished_at = now
        machine.operation = None
        machine.waiting.clear()
        for snapshot in list(self.snapshots.of_machine(machine.id)):
            self._drop_snapshot(snapshot)
        self.machines.remove(machine)
        self._disks.remove(machine)

    def add_snapshot(self, machine: Machine, name: str, auto: bool, now: float, complete: bool = True) -> Snapshot:
        snapshot = self._new_snapshot(machine, name, auto, now)
        snapshot.visible_at = now
        if complete:
            self._disks.snapshot(machine, snapshot.id)
            snapshot.complete = True
        return snapshot

    def take_auto_snapshot(self, machine: Machine, now: float) -> Snapshot:
        """As the service does by itself: the oldest automatic one beyond autoSnapshotSaveCount is replaced."""
        taken = self.add_snapshot(machine, f"auto-{timestamp(now)}", True, now)
        automatic = [each for each in self.snapshots.of_machine(machine.id) if each.is_auto_snapshot]
        keep = machine.fields["autoSnapshotSaveCount"]
        for snapshot in automatic[: max(0, len(automatic) - max(1, keep))] if keep is not None else []:
            self._drop_snapshot(snapshot)
        return taken

    # Operations

    def create_snapshot(self, machine: Machine, name: str, call: Call) -> Operation:
        self._check_free(machine)
        self._check_name(machine, name)
        snapshot = self._new_snapshot(machine, name, False, call.now)
        return self._accept("snapshot-create", machine, call, snapshot)

    def delete_snapshot(self, snapshot: Snapshot, call: Call) -> Operation:
        machine = self.machine(snapshot.machine_id)
        self._check_free(machine)
        return self._accept("snapshot-delete", machine, call, snapshot)

    def restore_snapshot(self, snapshot: Snapshot, safety_snapshot: bool, call: Call) -> Operation:
        machine = self.machine(snapshot.machine_id)
        self._check_free(machine)
        if not snapshot.complete and machine.operation is None:
            raise ApiError(412, f"Snapshot {snapshot.id} is not complete.")
        operation = self._accept("snapshot-restore", machine, call, snapshot)
        operation.safety_snapshot = safety_snapshot
        return operation

    def rename_snapshot(self, snapshot: Snapshot, name: str, now: float) -> None:
        if name != snapshot.name:
            self._check_name(self.machine(snapshot.machine_id), name)
            snapshot.name = name
        self._count_at_once("renames", snapshot.machine_id, snapshot.id, name, now)

    def start(self, machine: Machine, call: Call) -> Operation:
        if machine.state in ("starting", "restarting", "provisioning"):
            raise ApiError(400, f"Machine {machine.id} is currently starting.")
        self._check_free(machine)
        if machine.state in RUNNING and machine.operation is None:
            raise ApiError(400, f"Machine {machine.id} is already on.")
        return self._accept("start", machine, call)

    def stop(self, machine: Machine, call: Call) -> Operation:
        self._check_free(machine)
        if machine.state == "off" and machine.operation is None:
            raise ApiError(400, f"Machine {machine.id} is already off.")
        return self._accept("stop", machine, call)

    def restart(self, machine: Machine, call: Call) -> Operation:
        self._check_free(machine)
        if machine.state == "off" and machine.operation is None:
            raise ApiError(400, f"Machine {machine.id} is off.")
        return self._accept("restart", machine, call)

    def update_machine(self, machine: Machine, changes: Mapping[str, Any], call: Call) -> Operation | None:
        """Change settings at once; what takes an operation, which is returned, is changed by that.

        A change of size does, and one of auto-snapshots where the setting says so.
        """
        changed = dict(changes)
        if not self.settings.auto_snapshots_by_api and any(name.startswith("autoSnapshot") for name in changed):
            raise ApiError(403, "Auto snapshots cannot be set up over the API.")
        if not 0 <= changed.get("autoSnapshotSaveCount", 0) <= 10:
            raise ApiError(412, "autoSnapshotSaveCount goes from 0 to 10.")
        resize: dict[str, Any] = {}
        if "diskSize" in changed:
            gigabytes = changed.pop("diskSize")
            if not int(machine.fields["storageTotal"]) <= gigabytes * GIB <= 2**50:
                raise ApiError(412, "Disks cannot shrink.")
            resize["storageTotal"] = str(int(gigabytes * GIB))
        if "machineType" in changed:
            resize["machineType"] = changed.pop("machineType")
        automatic: dict[str, Any] = {}
        if self.settings.auto_snapshots_take_an_event:
            automatic = {name: changed.pop(name) for name in list(changed) if name.startswith("autoSnapshot")}
        resize, automatic = (
            {name: value for name, value in each.items() if machine.fields[name] != value}
            for each in (resize, automatic)
        )
        if resize or automatic:
            self._check_free(machine)
        type_before = machine.fields["publicIpType"]
        machine.fields |= changed
        machine.fields["dtModified"] = timestamp(call.now)
        if machine.fields["publicIpType"] != type_before:
            self._assign_public_ip(machine, fresh=True)
        if resize or not automatic:
            self._count_at_once("machine_updates", machine.id, None, machine.name, call.now)
        if not resize and not automatic:
            return None
        return self._accept("vm-upgrade", machine, call, changes=resize | automatic)

    def machine(self, machine_id: str) -> Machine:
        machine = self.machines.get(machine_id)
        if machine is None:
            raise ApiError(404, f"Machine {machine_id} not found.")
        return machine

    # From the acceptance to the end

    def _check_free(self, machine: Machine) -> None:
        if machine.operation is not None and self.settings.busy == "conflict":
            raise ApiError(409, f"Machine {machine.id} is busy: {machine.operation.event.name} is in progress.")

    def _check_name(self, machine: Machine, name: str) -> None:
        if not self.settings.duplicate_names and any(s.name == name for s in self.snapshots.of_machine(machine.id)):
            raise ApiError(409, f"Machine {machine.id} has a snapshot of this name already.")

    def _accept(
        self,
        kind: str,
        machine: Machine,
        call: Call,
        snapshot: Snapshot | None = None,
        changes: Mapping[str, Any] | None = None,
    ) -> Operation:
        invisible = self.settings.event_invisible_seconds
        if call.event_invisible_seconds is not None:
            invisible = call.event_invisible_seconds
        event = Event(self._ids.new("me"), self._next(), machine.id, kind, call.now, call.now + invisible)
        self.events.add(event)
        operation = Operation(machine, event, call.outcome, snapshot, changes=dict(changes or {}))
        self.accepted.append(self._record(operation, call.now))
        if machine.operation is None:
            self._take_up(operation, call.now)
        else:
            machine.waiting.append(operation)
        return operation

    def _take_up(self, operation: Operation, at: float) -> None:
        operation.machine.operation = operation
        self._at(at + self.settings.event_start_seconds, lambda at: self._begin(operation, at))

    def _begin(self, operation: Operation, at: float) -> None:
        machine, kind = operation.machine, operation.event.name
        if machine.operation is not operation:
            return
        operation.event.state = "in progress"
        operation.event.started_at = at
        operation.state_before = machine.state
        if refusal := self._impossible(operation):
            operation.outcome = Outcome("error", refusal, worked=False, seconds=0)
        elif kind == "snapshot-create" and operation.snapshot:
            self._disks.snapshot(machine, operation.snapshot.id)
        elif kind == "snapshot-restore" and operation.snapshot:
            if operation.safety_snapshot:
                taken = self.add_snapshot(machine, f"Before restore {timestamp(at)}", False, at)
                self.done.append(Done("safety_snapshots", machine.id, taken.id, taken.name, at))
            if machine.state != "off":
                machine.enter("stopping", at)
                self._at(at + self._seconds(operation) / 3, lambda at: self._power_off(operation, at))
        elif kind in ("start", "stop", "restart", "vm-upgrade") and not operation.is_of_settings:
            wanted = {"start": "starting", "stop": "stopping", "restart": "restarting", "vm-upgrade": "upgrading"}
            machine.enter(wanted[kind], at)
        if operation.outcome.state == "stuck" and not operation.outcome.worked:
            return
        self._at(at + self._seconds(operation), lambda at: self._finish(operation, at))

    def _power_off(self, operation: Operation, at: float) -> None:
        if operation.machine.operation is operation:
            operation.machine.enter("off", at)

    def _impossible(self, operation: Operation) -> str | None:
        """Why a queued operation cannot be done by the time that it gets its turn."""
        snapshot, kind, state = operation.snapshot, operation.event.name, operation.machine.state
        if snapshot and self.snapshots.get(snapshot.id) is None:
            return "The snapshot is gone."
        if kind == "snapshot-restore" and snapshot and not snapshot.complete:
            return "The snapshot is not complete."
        if kind == "start" and state != "off":
            return "The machine is on already."
        if kind in ("stop", "restart") and state == "off":
            return "The machine is off."
        return None

    def _seconds(self, operation: Operation) -> float:
        if operation.outcome.seconds is not None:
            return operation.outcome.seconds
        settings = self.settings
        return {
            "snapshot-create": settings.snapshot_seconds,
            "snapshot-delete": settings.delete_seconds,
            "snapshot-restore": settings.restore_seconds,
            "start": settings.start_seconds,
            "stop": settings.stop_seconds,
            "restart": settings.restart_seconds,
            "vm-upgrade": settings.upgrade_seconds,
        }[operation.event.name]

    def _finish(self, operation: Operation, at: float) -> None:
        machine, event, outcome = operation.machine, operation.event, operation.outcome
        if machine.operation is not operation:
            return
        if outcome.worked:
            self._complete(operation, at)
            self.done.append(self._record(operation, at))
        else:
            self._undo(operation, at)
        if outcome.state != "stuck":
            event.state = outcome.state
            event.error = outcome.error
            event.finished_at = at if outcome.finished else None
        machine.operation = None
        if machine.waiting:
            self._take_up(machine.waiting.popleft(), at)

    def _complete(self, operation: Operation, at: float) -> None:
        machine, snapshot, kind = operation.machine, operation.snapshot, operation.event.name
        if kind == "snapshot-create" and snapshot:
            snapshot.complete = True
        elif kind == "snapshot-delete" and snapshot:
            self._drop_snapshot(snapshot)
        elif kind == "snapshot-restore" and snapshot:
            self._disks.restore(machine, snapshot.id)
            ends = self.settings.restore_ends
            if ends == "off" or (ends == "as_before" and operation.state_before == "off"):
                self._go_off(machine, at)
            else:
                self._assign_public_ip(machine, fresh=self.settings.dynamic_ip_changes_on_restore)
                self._boot(machine, "starting", at)
        elif kind == "start":
            self._assign_public_ip(machine, fresh=self.settings.dynamic_ip_changes_on_start)
            self._boot(machine, "starting", at)
        elif kind == "stop":
            self._go_off(machine, at)
        elif kind == "restart":
            self._boot(machine, "restarting", at)
        elif kind == "vm-upgrade":
            machine.fields |= operation.changes
            if not operation.is_of_settings:
                self._return_to(operation.state_before, machine, at)

    def _undo(self, operation: Operation, at: float) -> None:
        machine, snapshot, kind = operation.machine, operation.snapshot, operation.event.name
        if kind == "snapshot-create" and snapshot:
            self._disks.remove_snapshot(snapshot.id)
            if not self.settings.failed_create_leaves_record:
                self._drop_snapshot(snapshot)
        elif machine.state != operation.state_before:
            self._return_to(operation.state_before, machine, at)

    def _return_to(self, state: str, machine: Machine, at: float) -> None:
        if state == "off":
            machine.enter("off", at)
        else:
            self._boot(machine, "starting", at)

    def _boot(self, machine: Machine, through: str, at: float) -> None:
        """Lead a machine from `through` over serviceready to ready, unless something else is done to it meanwhile."""
        if machine.state != through:
            machine.enter(through, at)
        entered = machine.states[-1]

        def serve(at: float) -> None:
            if machine.states[-1] is entered:
                machine.enter("serviceready", at)
                serving = machine.states[-1]
                self._at(at + self.settings.serviceready_seconds, lambda at: be_ready(serving, at))

        def be_ready(serving: tuple[float, str], at: float) -> None:
            if machine.states[-1] is serving:
                machine.enter("ready", at)

        self._at(at + self.settings.settle_seconds, serve)

    def _go_off(self, machine: Machine, at: float) -> None:
        if machine.state != "off":
            machine.enter("off", at)
        if machine.fields["publicIpType"] == "dynamic":
            machine.released_public_ip = machine.fields["publicIp"] or machine.released_public_ip
            machine.fields["publicIp"] = None

    def _assign_public_ip(self, machine: Machine, fresh: bool) -> None:
        kind = machine.fields["publicIpType"]
        present = machine.fields["publicIp"]
        switched_off = machine.state == "off" and machine.operation is None
        if kind == "none" or (kind == "dynamic" and switched_off):
            machine.fields["publicIp"] = None
        elif kind == "dynamic" and not fresh:
            machine.fields["publicIp"] = present or machine.released_public_ip or self._addresses.public()
        elif kind == "dynamic" or present is None:
            machine.fields["publicIp"] = self._addresses.public()

    def _new_snapshot(self, machine: Machine, name: str, auto: bool, now: float) -> Snapshot:
        visible_at = now + self.settings.snapshot_invisible_seconds
        return self.snapshots.add(Snapshot(self._ids.new("ss"), self._next(), machine.id, name, auto, visible_at))

    def _drop_snapshot(self, snapshot: Snapshot) -> None:
        self.snapshots.remove(snapshot)
        self.machine_of_deleted[snapshot.id] = snapshot.machine_id
        self._disks.remove_snapshot(snapshot.id)

    # Counting

    def _record(self, operation: Operation, at: float) -> Done:
        snapshot = operation.snapshot
        return Done(
            "machine_updates" if operation.is_of_settings else COUNTED[operation.event.name],
            operation.machine.id,
            snapshot.id if snapshot else None,
            snapshot.name if snapshot else None,
            at,
        )

    def _count_at_once(self, what: str, machine_id: str, snapshot_id: str | None, name: str | None, at: float) -> None:
        done = Done(what, machine_id, snapshot_id, name, at)
        self.accepted.append(done)
        self.done.append(done)


def counts(entries: list[Done]) -> dict[str, int]:
    """How many of each, with a zero for what never was."""
    found = Counter(entry.what for entry in entries)
    return {what: found[what] for what in (*COUNTED.values(), "safety_snapshots", "renames", "machine_updates")}
