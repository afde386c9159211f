# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work of paperspace_snapshot for a whole fleet: read, decide, carry out, report.

C(run_snapshots) serves the module and its action plugin alike; it knows nothing of Ansible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor

from ansible_collections.community.paperspace.plugins.module_utils._client import Client
from ansible_collections.community.paperspace.plugins.module_utils._errors import InputError, PaperspaceError
from ansible_collections.community.paperspace.plugins.module_utils._names import parse_run_name
from ansible_collections.community.paperspace.plugins.module_utils._outcomes import (
    NO_PROGRESS,
    Progress,
    Report,
    SnapshotOutcome,
)
from ansible_collections.community.paperspace.plugins.module_utils._procedures import Task, watched
from ansible_collections.community.paperspace.plugins.module_utils._proof import (
    Proof,
    State,
    is_closed_name,
    needed_since,
)
from ansible_collections.community.paperspace.plugins.module_utils._proving import read_proofs
from ansible_collections.community.paperspace.plugins.module_utils._reading import (
    Reader,
    each_once,
    events_of,
    group,
    pool_of,
)
from ansible_collections.community.paperspace.plugins.module_utils._scheduler import Scheduler
from ansible_collections.community.paperspace.plugins.module_utils._shown import shown
from ansible_collections.community.paperspace.plugins.module_utils._snapshot_plans import (
    Action,
    Wish,
    choose_restored,
    named,
    plan_absent_by_id,
    plan_absent_by_name,
    plan_keep,
    plan_present,
    plan_rename,
    plan_restored,
    prefixed,
    refuse_all,
)
from ansible_collections.community.paperspace.plugins.module_utils._snapshot_work import carry_out, one_after_another
from ansible_collections.community.paperspace.plugins.module_utils._wire import Machine, Snapshot

Listing = dict[str, list[Snapshot]]

_WOULD = {
    "create": "would_create",
    "ensure": "unchanged",
    "replace": "would_create",
    "rename": "would_rename",
    "delete": "would_delete",
    "restore": "would_restore",
}


def run_snapshots(
    client: Client,
    wish: Wish,
    *,
    check_mode: bool,
    executor: Executor | None = None,
    progress: Progress = NO_PROGRESS,
) -> Report:
    """Do what is wished, and say what became of each machine or snapshot.

    Raises InputError, before anything is touched, for what must be refused as a whole; Unauthorized for a bad
    key; and what the client raises while reading. What goes wrong after that stands in the outcomes.
    """
    wish.check()
    with pool_of(client, executor) as pool:
        return _run(client, wish, check_mode, pool, progress)


def _run(client: Client, wish: Wish, check_mode: bool, executor: Executor, progress: Progress) -> Report:
    client.check_key()
    reader = Reader(client, executor)
    if not check_mode:
        _read_ahead(reader, wish)
    planner = _Planner(client, reader, wish)
    actions = planner.plan()
    before = _describe(planner.listing, actions, after=False)
    if check_mode:
        for action in actions:
            action.outcome.status = _WOULD.get(action.verb, action.outcome.status)
            if action.verb == "rename":
                action.outcome.name = wish.new_name
    else:
        _carry_out(client, reader, wish, actions, executor, progress)
    outcomes = [action.outcome for action in actions]
    return Report(outcomes, planner.warnings, before, _describe(planner.listing, actions, after=True))


def _read_ahead(reader: Reader, wish: Wish) -> None:
    """Begin to read the events that will be asked for, beside the lists that the plan begins with."""
    count = len(set(wish.machine_ids or wish.snapshot_ids or ()))
    needs_proofs = wish.own_ids is None and not (wish.name and is_closed_name(wish.name))
    if needs_proofs and wish.state == "restored" and wish.name:
        reader.read_events_ahead(count, needed_since(wish.name))
    elif not needs_proofs or (wish.state != "restored" and wish.new_name is None):
        # Otherwise the plan reads the events itself.
        reader.read_recent_ahead(count)


def _carry_out(
    client: Client,
    reader: Reader,
    wish: Wish,
    actions: Sequence[Action],
    executor: Executor,
    progress: Progress,
) -> None:
    due = [action for action in actions if action.verb]
    if not due:
        return
    with client.waiting(wish.wait_timeout) as deadline:
        progress.begin([action.outcome for action in due], client.clock())
        machine_count = len({action.outcome.machine_id for action in due})
        feed = reader.feed() if any(action.snapshot is None for action in due) else None
        recent = reader.recent(machine_count)
        is_joined = wish.state != "restored"
        task = Task(
            client,
            recent,
            wish.wait,
            wish.wait_timeout,
            progress=progress,
            feed=feed,
            is_joined=is_joined,
            is_persistent=wish.is_persistent,
        )
        procedures = (
            one_after_another(
                [
                    watched(
                        task,
                        action.outcome,
                        carry_out(task, action, wish.new_name, safety_snapshot=wish.safety_snapshot),
                    )
                    for action in of_machine
                ]
            )
            for of_machine in group(due, lambda action: action.outcome.machine_id).values()
        )
        scheduler = Scheduler(
            client, executor, deadline=deadline, interval=wish.wait_interval, progress=progress, feed=feed
        )
        scheduler.run(procedures)


class _Planner:
    """Reads what is needed for the wish, and decides. C(listing) keeps what was found, by machine, newest first."""

    def __init__(self, client: Client, reader: Reader, wish: Wish) -> None:
        self._client = client
        self._reader = reader
        self._wish = wish
        self.listing: Listing = {}
        self.warnings: list[str] = []
        self._machine_ids = self._unique(wish.machine_ids, "machine_ids")
        self._snapshot_ids = self._unique(wish.snapshot_ids, "snapshot_ids")
        self._missing: list[str] = []

    def plan(self) -> list[Action]:
        if self._wish.snapshot_ids:
            return self._plan_by_id()
        self._reader.read_ahead(self._machine_ids)
        self._machine_ids = self._existing_machines(self._machine_ids)
        self.listing = self._reader.snapshots(self._machine_ids)
        if self._wish.state == "present":
            actions = self._plan_present()
        elif self._wish.state == "restored":
            actions = self._plan_restored_by_name()
        elif self._wish.name_prefix is not None:
            actions = self._plan_keep()
        else:
            actions = self._plan_absent_by_name()
        return self._with_missing(actions)

    def _plan_present(self) -> list[Action]:
        name, new_name = str(self._wish.name), self._wish.new_name
        if new_name is None:
            # It may have been begun just now, by a controller that died, or by another one of the same run. Whoever is
            # not proven here is waited for like a create that still runs.
            proofs = self._proofs(lambda snapshots: named(snapshots, name), patient=self._wish.wait, strict=True)
            return [plan_present(machine_id, name, found, proofs) for machine_id, found in self.listing.items()]
        becomes = parse_run_name(new_name)
        proofs = self._proofs(lambda snapshots: named(snapshots, name)) if becomes and becomes.is_closed else {}
        if becomes and becomes.outcome == "restored":
            proofs = {key: self._after_restore(key, proof) for key, proof in proofs.items()}
        return [
            plan_rename(machine_id, name, new_name, self._own(found), proofs)
            for machine_id, found in self.listing.items()
        ]

    def _plan_absent_by_name(self) -> list[Action]:
        actions, problems = [], []
        for machine_id, found in self.listing.items():
            try:
                actions.append(plan_absent_by_name(machine_id, str(self._wish.name), found))
            except InputError as error:
                problems.append(str(error))
        refuse_all(problems, "deleted")
        return actions

    def _plan_keep(self) -> list[Action]:
        prefix, keep, closed_runs = str(self._wish.name_prefix), int(self._wish.keep or 0), self._wish.closed_runs
        proofs = self._proofs(lambda snapshots: prefixed(snapshots, prefix, closed_runs=closed_runs))
        return [
            action
            for found in self.listing.values()
            for action in plan_keep(found, prefix, keep, proofs, closed_runs=closed_runs)
        ]

    def _plan_restored_by_name(self) -> list[Action]:
        name = str(self._wish.name)
        proofs = self._proofs(lambda snapshots: named(snapshots, name))
        chosen: dict[str, Snapshot] = {}
        problems: list[str] = []
        lacking: list[str] = []
        for machine_id, found in self.listing.items():
            try:
                snapshot = choose_restored(machine_id, name, self._own(found), proofs)
            except InputError as error:
                problems.append(str(error))
                continue
            if snapshot is None:
                lacking.append(machine_id)
            else:
                chosen[machine_id] = snapshot
        if lacking and self._wish.skip_missing:
            self._missing.extend(lacking)
        elif lacking:
            owners = self._reader.owners(name, besides=lacking)
            hint = f" (machine {', '.join(owners)} has)" if owners else ""
            problems.extend(f"machine {machine_id} has no snapshot named {name!r}{hint}" for machine_id in lacking)
        return self._plan_restored(chosen.items(), proofs, problems)

    def _plan_by_id(self) -> list[Action]:
        found = self._reader.snapshots_by_id(self._snapshot_ids)
        own = set(self._machine_ids)
        problems = [
            f"snapshot {snapshot.id} belongs to machine {snapshot.machine_id}, which is not among machine_ids"
            for snapshot in found.values()
            if own and snapshot.machine_id not in own
        ]
        if self._wish.state == "absent":
            refuse_all(problems, "deleted")
            self.listing = group(found.values(), lambda snapshot: snapshot.machine_id)
            return [plan_absent_by_id(snapshot_id, found.get(snapshot_id)) for snapshot_id in self._snapshot_ids]
        absent = [snapshot_id for snapshot_id in self._snapshot_ids if snapshot_id not in found]
        if not self._wish.skip_missing:
            problems.extend(f"there is no snapshot {snapshot_id}" for snapshot_id in absent)
        by_machine = group(found.values(), lambda snapshot: snapshot.machine_id)
        problems.extend(
            f"snapshots {', '.join(item.id for item in snapshots)} are of the same machine {machine_id}"
            for machine_id, snapshots in by_machine.items()
            if len(snapshots) > 1
        )
        refuse_all(problems, "restored")
        self._reader.read_ahead(list(by_machine))
        machine_ids = self._existing_machines(list(by_machine))
        self.listing = self._reader.snapshots(machine_ids)
        chosen = [found[snapshot_id] for snapshot_id in self._snapshot_ids if snapshot_id in found]
        listed = {item.id for found_now in self.listing.values() for item in found_now}
        gone = [item.id for item in chosen if item.id not in listed]
        refuse_all([f"snapshot {snapshot_id} is no longer listed with its machine" for snapshot_id in gone], "restored")
        ids = {snapshot.id for snapshot in chosen}
        proofs = self._proofs(lambda snapshots: [snapshot for snapshot in snapshots if snapshot.id in ids])
        actions = self._plan_restored([(item.machine_id, item) for item in chosen], proofs, [])
        by_id = {str(action.outcome.id): action for action in actions} | {
            snapshot_id: Action(
                SnapshotOutcome("", status="skipped", id=snapshot_id, error="There is no such snapshot.")
            )
            for snapshot_id in absent
        }
        return [by_id[snapshot_id] for snapshot_id in self._snapshot_ids]

    def _plan_restored(
        self, chosen: Iterable[tuple[str, Snapshot]], proofs: Mapping[str, Proof], problems: list[str]
    ) -> list[Action]:
        actions = []
        for machine_id, snapshot in chosen:
            try:
                actions.append(plan_restored(machine_id, snapshot, proofs[snapshot.id]))
            except InputError as error:
                problems.append(str(error))
        refuse_all(problems, "restored")
        return actions

    def _existing_machines(self, machine_ids: Sequence[str]) -> list[str]:
        """Those that exist. Raises InputError for others, unless they may be skipped; warns of restore points."""
        machines = self._reader.existing_machines(machine_ids, skip_missing=self._wish.skip_missing)
        self._missing.extend(machine_id for machine_id in machine_ids if machine_id not in machines)
        if self._wish.state in ("present", "restored"):
            self.warnings.extend(filter(None, map(_restore_point_warning, machines.values())))
        return list(machines)

    def _after_restore(self, snapshot_id: str, proof: Proof) -> Proof:
        """The proof, or that the machine was restored since a create of the run was done.

        No run restores what is not proven done. What else was made on the machine meanwhile, and failed, may have left
        less to see of that than there was before the restore.
        """
        if proof.state is State.DONE:
            return proof
        [snapshot] = (item for found in self.listing.values() for item in found if item.id == snapshot_id)
        run = parse_run_name(snapshot.name)
        if run is None:
            return proof
        made = [event.created for event in proof.events if event.state == "done" and event.created >= run.began]
        if not made:
            return proof
        try:
            events = events_of(self._client, snapshot.machine_id, min(made)).items
        except PaperspaceError:
            # Then this one stays open, and the others are closed.
            return proof
        is_restored = any(
            event.name == "snapshot-restore" and event.state == "done" and event.created >= min(made)
            for event in events
        )
        return Proof(State.DONE) if is_restored else proof

    def _own(self, snapshots: Sequence[Snapshot]) -> Sequence[Snapshot]:
        own_ids = self._wish.own_ids
        return snapshots if own_ids is None else [snapshot for snapshot in snapshots if snapshot.id in own_ids]

    def _proofs(
        self,
        select: Callable[[Sequence[Snapshot]], list[Snapshot]],
        *,
        patient: bool = True,
        strict: bool = False,
    ) -> dict[str, Proof]:
        selected = [snapshot for found in self.listing.values() for snapshot in self._own(select(found))]
        if self._wish.own_ids is not None:
            # What else is made on the machine by now says nothing of them.
            return {snapshot.id: Proof(State.DONE) for snapshot in selected}
        return read_proofs(self._client, self._reader, self.listing, selected, patient=patient, strict=strict)

    def _with_missing(self, actions: Sequence[Action]) -> list[Action]:
        """The actions in the order in which the machines were asked for, with the skipped ones in their places."""
        skipped = [
            Action(SnapshotOutcome(machine_id, status="skipped", name=self._wish.name, error=_SKIPPED))
            for machine_id in self._missing
        ]
        order = {machine_id: number for number, machine_id in enumerate(dict.fromkeys(self._wish.machine_ids or ()))}
        return sorted([*actions, *skipped], key=lambda action: order[action.outcome.machine_id])

    def _unique(self, ids: Sequence[str] | None, option: str) -> list[str]:
        unique, warnings = each_once(ids, option)
        self.warnings.extend(warnings)
        return unique


_SKIPPED = "There is no such machine, or it has no snapshot of this name (skip_missing)."


def _restore_point_warning(machine: Machine) -> str | None:
    if not machine.fields.get("restore_point_enabled"):
        return None
    return (
        f"Machine {machine.id} ({shown(machine.name)}) has restore points on: it is put back at every shutdown, "
        "so maintenance on it will be lost."
    )


def _describe(listing: Listing, actions: Sequence[Action], *, after: bool) -> str:
    """Each machine's snapshots as lines, newest first: as found, or with what was done to them."""
    lines = []
    by_machine = group(actions, lambda action: action.outcome.machine_id)
    for machine_id, of_machine in by_machine.items():
        names = {snapshot.id: snapshot.name for snapshot in listing.get(machine_id, ())}
        disk = "as it is"
        for action in of_machine if after else ():
            outcome, snapshot = action.outcome, action.snapshot
            if outcome.status in ("created", "would_create", "pending") and action.verb in ("create", "replace"):
                kept = {key: name for key, name in names.items() if snapshot is None or key != snapshot.id}
                names = {outcome.id or "": str(outcome.name), **kept}
            elif snapshot is None:
                continue
            elif outcome.status in ("renamed", "would_rename"):
                names[snapshot.id] = str(outcome.name)
            elif outcome.status in ("deleted", "would_delete"):
                names.pop(snapshot.id, None)
            elif outcome.status in ("restored", "would_restore"):
                disk = f"as of {shown(snapshot.name)} ({snapshot.id})"
        lines.append(f"{machine_id or 'unknown machine'}:\n  disk: {disk}\n  snapshots:\n")
        lines.extend(f"    - {shown(name)}\n" for name in names.values())
    return "".join(lines)
