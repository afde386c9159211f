# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deciding what to do with snapshots: pure functions from what is wanted and what is there to a plan."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from ansible_collections.community.paperspace.plugins.module_utils._errors import InputError
from ansible_collections.community.paperspace.plugins.module_utils._names import parse_run_name
from ansible_collections.community.paperspace.plugins.module_utils._outcomes import SnapshotOutcome
from ansible_collections.community.paperspace.plugins.module_utils._proof import Proof, State
from ansible_collections.community.paperspace.plugins.module_utils._wire import Snapshot
from ansible_collections.community.paperspace.plugins.module_utils._wishes import Problem, refuse_first, wait_problems


@dataclass(frozen=True)
class Wish:
    """The options of paperspace_snapshot. Times are seconds; None means not given.

    The last two are none of them. C(own_ids): of a name that selects, a restore and a rename take only these snapshots,
    which whoever wishes has seen done. Whatever else has that name is somebody else's, and counts as not there.
    C(is_persistent): a request that the service did not take is sent again until wait_timeout.
    """

    state: str = "present"
    machine_ids: Sequence[str] | None = None
    snapshot_ids: Sequence[str] | None = None
    name: str | None = None
    new_name: str | None = None
    name_prefix: str | None = None
    keep: int | None = None
    closed_runs: bool = False
    safety_snapshot: bool = False
    skip_missing: bool = False
    wait: bool = True
    wait_timeout: float = 3600.0
    wait_interval: float | None = None
    own_ids: Collection[str] | None = None
    is_persistent: bool = False

    def check(self) -> None:
        """Raise InputError for what cannot be meant, before anything is sent."""
        refuse_first(_problems(self), ids=[*(self.machine_ids or ()), *(self.snapshot_ids or ())])


@dataclass(slots=True)
class Action:
    """What to do for one entry.

    C(verb) is create, ensure, await, replace, rename, delete, restore, or empty for nothing.
    """

    outcome: SnapshotOutcome
    verb: str = ""
    snapshot: Snapshot | None = None
    # Snapshots of the name whose create has failed.
    failed_ids: frozenset[str] = frozenset()


def _problems(wish: Wish) -> list[Problem]:
    return [
        (wish.machine_ids is not None and not wish.machine_ids, "machine_ids is an empty list: no machine is named."),
        (
            wish.snapshot_ids is not None and not wish.snapshot_ids,
            "snapshot_ids is an empty list: no snapshot is named.",
        ),
        (wish.name == "" or wish.new_name == "", "name and new_name must not be empty."),
        (wish.name_prefix == "", "name_prefix must not be empty: it would select every manual snapshot."),
        (wish.keep is not None and wish.keep < 0, f"keep must be 0 or more, not {wish.keep}."),
        *wait_problems(wish.wait_timeout, wish.wait_interval),
        (bool(wish.snapshot_ids and wish.name), "snapshot_ids and name exclude each other: both select the snapshot."),
        (bool(wish.snapshot_ids and wish.name_prefix), "snapshot_ids and name_prefix exclude each other."),
        (bool(wish.name and wish.name_prefix), "name and name_prefix exclude each other: both select the snapshot."),
        (
            wish.keep is not None and wish.name_prefix is None,
            "keep needs name_prefix: of which snapshots to keep some.",
        ),
        (wish.name_prefix is not None and wish.keep is None, "name_prefix needs keep: how many snapshots to keep."),
        (wish.closed_runs and wish.name_prefix is None, "closed_runs needs name_prefix."),
        (wish.name_prefix is not None and wish.state != "absent", "name_prefix and keep are for state=absent only."),
        (wish.new_name is not None and wish.state != "present", "new_name is for state=present only."),
        (wish.safety_snapshot and wish.state != "restored", "safety_snapshot is for state=restored only."),
        (
            wish.state == "present" and wish.snapshot_ids is not None,
            "snapshot_ids is for state=absent and restored only.",
        ),
        (wish.state == "present" and not wish.name, "state=present needs name."),
        (
            wish.state != "present" and not (wish.snapshot_ids or wish.name or wish.name_prefix),
            f"state={wish.state} needs snapshot_ids, or machine_ids with name"
            + (" or name_prefix." if wish.state == "absent" else "."),
        ),
        (not wish.machine_ids and not wish.snapshot_ids, "No machine is named: set machine_ids."),
    ]


def named(snapshots: Sequence[Snapshot], name: str) -> list[Snapshot]:
    """The snapshots with just this name, in their order."""
    return [snapshot for snapshot in snapshots if snapshot.name == name]


def plan_present(machine_id: str, name: str, snapshots: Sequence[Snapshot], proofs: Mapping[str, Proof]) -> Action:
    """One machine's snapshot of this name: make it, or wait for its proof.

    Several of one name are fine as long as just one can be relied on: a failed create may leave its snapshot.
    """
    outcome = SnapshotOutcome(machine_id, name=name)
    found = named(snapshots, name)
    if not found:
        run = parse_run_name(name)
        if run is not None and run.is_closed:
            return _bad(
                outcome, "This name closes a run, and is the proof of a snapshot: it is given by new_name only."
            )
        closed = [snapshot for snapshot in snapshots if run is not None and _closes(snapshot, name)]
        if closed:
            return _bad(
                outcome,
                f"This run is over for the machine, whose snapshot {closed[0].id} is named {closed[0].name}. "
                "A second one would leave open which of them a rollback means: begin another run.",
            )
        return Action(outcome, "create")
    auto = [snapshot for snapshot in found if snapshot.is_auto_snapshot]
    if auto:
        return _bad(
            outcome,
            f"Auto-snapshot {auto[0].id} has this name, and the service deletes auto-snapshots by itself. "
            "Use another name.",
        )
    usable = [snapshot for snapshot in found if proofs[snapshot.id].state is not State.FAILED]
    failed_ids = frozenset(snapshot.id for snapshot in found if snapshot not in usable)
    if len(usable) > 1:
        # Two controllers that make it at once leave one, in a moment.
        return replace(_bad(outcome, too_many(usable)), verb="await", snapshot=usable[-1], failed_ids=failed_ids)
    snapshot = (usable or found)[0]
    outcome.take_snapshot(snapshot)
    proof = proofs[snapshot.id]
    if proof.state is State.DONE:
        return _unchanged(outcome, proof)
    if proof.state is State.UNSURE and not proof.is_early:
        outcome.status = "unsure"
        outcome.error = (
            f"Snapshot {snapshot.id} has this name, but {proof.describe()}. "
            "Delete it by its id (state=absent), or use another name."
        )
        return Action(outcome)
    return Action(outcome, "replace" if proof.state is State.FAILED else "ensure", snapshot, failed_ids)


def _closes(snapshot: Snapshot, open_name: str) -> bool:
    """Whether a snapshot's name is that of a run with this open name, and says that the run is closed."""
    run = parse_run_name(snapshot.name)
    return run is not None and run.is_closed and snapshot.name.removesuffix(f"-{run.outcome}") == open_name


def too_many(snapshots: Sequence[Snapshot]) -> str:
    """What to do about several snapshots of one name on one machine."""
    return f"{len(snapshots)} snapshots have this name: {_ids(snapshots)}. Delete all but one by their ids."


def plan_rename(
    machine_id: str, name: str, new_name: str, snapshots: Sequence[Snapshot], proofs: Mapping[str, Proof]
) -> Action:
    """Rename one machine's snapshot; done already when only the new name is there."""
    outcome = SnapshotOutcome(machine_id, name=new_name)
    old, new = named(snapshots, name), named(snapshots, new_name)
    if name == new_name:
        old, new = [], old
    if not old and not new:
        return _bad(outcome, f"There is no snapshot {name!r} to rename.")
    if len(old) + len(new) > 1:
        return _bad(
            outcome, f"Both names together select several snapshots: {_ids([*old, *new])}. Delete all but one by id."
        )
    if new:
        outcome.take_snapshot(new[0])
        outcome.status = "unchanged"
        return Action(outcome)
    outcome.take_snapshot(old[0])
    becomes = parse_run_name(new_name)
    proof = proofs.get(old[0].id)
    if becomes and becomes.is_closed and proof and proof.state is not State.DONE:
        return _bad(
            outcome, f"The run cannot be closed for this machine: of its snapshot {old[0].id}, {proof.describe()}."
        )
    return Action(outcome, "rename", old[0])


def plan_absent_by_name(machine_id: str, name: str, snapshots: Sequence[Snapshot]) -> Action:
    """Delete one machine's snapshot of this name. Raises InputError when several have it."""
    found = named(snapshots, name)
    if len(found) > 1:
        raise InputError(
            f"machine {machine_id} has {len(found)} snapshots named {name!r}: {_ids(found)}; name them by id"
        )
    if not found:
        return Action(SnapshotOutcome(machine_id, status="unchanged", name=name))
    return _delete(found[0])


def plan_absent_by_id(snapshot_id: str, snapshot: Snapshot | None) -> Action:
    """Delete one snapshot; nothing to do when it is gone."""
    if snapshot is None:
        return Action(SnapshotOutcome("", status="unchanged", id=snapshot_id))
    return _delete(snapshot)


def plan_keep(
    snapshots: Sequence[Snapshot], prefix: str, keep: int, proofs: Mapping[str, Proof], *, closed_runs: bool
) -> list[Action]:
    """Of one machine's manual snapshots with this prefix (newest first), keep the newest that are proven done.

    What is still being made, or cannot be proven, is neither counted nor deleted; nor is the snapshot of a run
    that is still open.
    """
    candidates = prefixed(snapshots, prefix, closed_runs=closed_runs)
    usable = [snapshot for snapshot in candidates if proofs[snapshot.id].state is State.DONE]
    broken = [snapshot for snapshot in candidates if proofs[snapshot.id].state is State.FAILED]
    superfluous = {snapshot.id for snapshot in [*usable[keep:], *broken]}
    return [_delete(snapshot) for snapshot in candidates if snapshot.id in superfluous]


def prefixed(snapshots: Sequence[Snapshot], prefix: str, *, closed_runs: bool) -> list[Snapshot]:
    """The manual snapshots that C(name_prefix) selects: none of an open run, and only closed runs' if so asked."""
    found = []
    for snapshot in snapshots:
        if snapshot.is_auto_snapshot or not snapshot.name.startswith(prefix):
            continue
        run = parse_run_name(snapshot.name)
        if closed_runs:
            run = parse_run_name(snapshot.name, prefix)
            if run is None:
                continue
        if run is None or run.is_closed:
            found.append(snapshot)
    return found


def plan_restored(machine_id: str, snapshot: Snapshot, proof: Proof) -> Action:
    """Restore one machine. Raises InputError unless the snapshot is this machine's and proven done."""
    if snapshot.machine_id != machine_id:
        raise InputError(
            f"snapshot {snapshot.id} belongs to machine {snapshot.machine_id}, not to machine {machine_id}"
        )
    if proof.state is not State.DONE:
        raise InputError(
            f"snapshot {snapshot.id} of machine {machine_id} is not proven done: {proof.describe()} "
            "(if you know better, restore it in the Paperspace console)"
        )
    outcome = SnapshotOutcome(machine_id)
    outcome.take_snapshot(snapshot)
    return Action(outcome, "restore", snapshot)


def choose_restored(
    machine_id: str, name: str, snapshots: Sequence[Snapshot], proofs: Mapping[str, Proof]
) -> Snapshot | None:
    """The one snapshot of this name; None when there is none. Raises InputError when several could be meant."""
    found = named(snapshots, name)
    usable = [snapshot for snapshot in found if proofs[snapshot.id].state is not State.FAILED]
    if len(usable) > 1:
        raise InputError(
            f"machine {machine_id} has {len(usable)} snapshots named {name!r}: {_ids(usable)}; name one by its id"
        )
    return next(iter(usable or found), None)


def refuse_all(problems: Sequence[str], what: str) -> None:
    """Raise one InputError for a whole task when any of it cannot be carried out."""
    if problems:
        raise InputError(f"Nothing was {what}, because for {len(problems)} it is refused: {'; '.join(problems)}.")


def _delete(snapshot: Snapshot) -> Action:
    outcome = SnapshotOutcome(snapshot.machine_id)
    outcome.take_snapshot(snapshot)
    return Action(outcome, "delete", snapshot)


def _unchanged(outcome: SnapshotOutcome, proof: Proof) -> Action:
    outcome.status = "unchanged"
    if len(proof.events) == 1:
        outcome.take_event(proof.events[0])
    return Action(outcome)


def _bad(outcome: SnapshotOutcome, error: str) -> Action:
    outcome.status, outcome.error = "failed", error
    return Action(outcome)


def _ids(snapshots: Sequence[Snapshot]) -> str:
    return ", ".join(snapshot.id for snapshot in snapshots)
