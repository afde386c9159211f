# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Carrying out what was decided for snapshots: one procedure for each verb."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from functools import partial

from ansible_collections.community.paperspace.plugins.module_utils._client import Client
from ansible_collections.community.paperspace.plugins.module_utils._errors import (
    DeadlinePassed,
    NotFound,
    PaperspaceError,
    Refused,
)
from ansible_collections.community.paperspace.plugins.module_utils._outcomes import SnapshotOutcome
from ansible_collections.community.paperspace.plugins.module_utils._procedures import (
    FIRST_LOOK_AGAIN,
    SETTLED_STATES,
    Task,
    Unsure,
    ended_badly,
    find_trace,
    follow,
    keep_looking,
    longer,
    new_event,
    send_once,
    settle,
    until_idle,
    until_known,
)
from ansible_collections.community.paperspace.plugins.module_utils._proof import Proof, State, needs_events_since, prove
from ansible_collections.community.paperspace.plugins.module_utils._reading import Recent, events_of, snapshots_of
from ansible_collections.community.paperspace.plugins.module_utils._scheduler import (
    EventEnd,
    NewSnapshots,
    Pause,
    Procedure,
)
from ansible_collections.community.paperspace.plugins.module_utils._shown import shown
from ansible_collections.community.paperspace.plugins.module_utils._snapshot_plans import Action, named, too_many
from ansible_collections.community.paperspace.plugins.module_utils._wire import Event, Snapshot


def carry_out(task: Task, action: Action, new_name: str | None, *, safety_snapshot: bool) -> Procedure[None]:
    """The procedure for one action."""
    outcome, snapshot = action.outcome, action.snapshot
    if snapshot is None:
        return create(task, outcome)
    if action.verb in ("ensure", "replace"):
        return ensure(task, outcome, snapshot, action.failed_ids)
    if action.verb == "await":
        return await_one(task, outcome, action.failed_ids)
    if action.verb == "rename":
        return rename(task, outcome, snapshot, str(new_name))
    if action.verb == "delete":
        return delete(task, outcome, snapshot)
    return restore(task, outcome, snapshot, safety_snapshot=safety_snapshot)


def create(task: Task, outcome: SnapshotOutcome, failed_ids: Collection[str] = ()) -> Procedure[None]:
    """Take a snapshot of this name and see it done. C(failed_ids): those of this name that are there do not count."""
    client, machine_id, name = task.client, outcome.machine_id, str(outcome.name)
    is_joined = False

    def find() -> tuple[Snapshot, Event | None] | None:
        found = _counting(snapshots_of(client, machine_id), name, failed_ids)
        return (found[-1], None) if found else None

    def join() -> tuple[Snapshot, Event | None] | None:
        nonlocal is_joined
        found = find()
        is_joined = found is not None
        return found

    if (yield from until_idle(task, outcome)):
        # What was running may have been a create of this very name, sent by a controller that died.
        earlier = yield from keep_looking(find)
        if earlier is not None:
            yield from ensure(task, outcome, earlier[0], failed_ids)
            return
    if not task.wait:
        _refuse_beside_another(task, machine_id)
    sent: tuple[Snapshot, Event | None] = yield from send_once(
        task, outcome, lambda: client.create_snapshot(machine_id, name), find, join=join
    )
    answered = client.clock()
    snapshot, event = sent
    if is_joined:
        yield from ensure(task, outcome, snapshot, failed_ids, task.recent)
    elif event is None:
        yield from _adopt(task, outcome, snapshot, failed_ids, answered)
    else:
        outcome.take_snapshot(snapshot)
        if (yield from _follow_create(task, outcome, event, snapshot)):
            outcome.status = "created"
            yield from _leave_the_first(task, outcome, snapshot, answered, failed_ids)


def _counting(snapshots: Sequence[Snapshot], name: str, failed_ids: Collection[str]) -> list[Snapshot]:
    """Those of this name, in their order, but for those that are known to have failed."""
    return [item for item in named(snapshots, name) if item.id not in failed_ids and not item.is_auto_snapshot]


def _refuse_beside_another(task: Task, machine_id: str) -> None:
    """Raise Refused where a snapshot is being made: it may be of this very name, and not be listed yet."""
    for event in task.recent.running_on(machine_id):
        if event.name == "snapshot-create":
            raise Refused(
                f"A snapshot of the machine is being made (event {event.id}), and it may be this one. Nothing was "
                "sent. Run the same task again when that has ended, or with wait=true."
            )


def _leave_the_first(
    task: Task, outcome: SnapshotOutcome, own: Snapshot, since: float, failed_ids: Collection[str]
) -> Procedure[None]:
    """Of several snapshots of one name the first stays, so that all controllers that made one agree which.

    The service does not keep two controllers that find no snapshot from making one each. C(since): when the own one
    was there. C(failed_ids): those of this name that do not count.
    """
    outcome.waits_for = _NOT_ALONE
    listed = yield from _listed_with(task, own, since)
    ids = [item.id for item in listed]
    for earlier in reversed(_counting(listed[ids.index(own.id) + 1 :], own.name, failed_ids)):
        try:
            # The own event is visible, so that of what was begun before is as well.
            proof = yield from _await_proof(task, outcome, earlier, None, is_strict=False, beside=own)
        except Refused:
            continue
        if proof.state is State.FAILED:
            continue
        if proof.state is not State.DONE:
            raise Unsure(
                f"Snapshot {own.id} was made, but somebody else made {earlier.id} of the same name at the same time, "
                f"and {proof.describe()}. Delete one of them by its id (state=absent)."
            )
        yield from delete(task, outcome, own, kept=earlier)
        outcome.take_snapshot(earlier)
        outcome.status = "unchanged"
        return


_NOT_ALONE = "The snapshot is done, but whether somebody else made one of this name was not known yet"


def _listed_with(task: Task, own: Snapshot, since: float) -> Procedure[Sequence[Snapshot]]:
    """The machine's snapshots with the own one, newest first, or at least those that came up during the task."""
    if task.feed is not None:
        new: Sequence[Snapshot] = yield NewSnapshots(own.machine_id, since)
        # It is seldom not the only one; then the names of the others may have changed by now.
        if [item.id for item in new] == [own.id]:
            return new

    def with_own() -> list[Snapshot] | None:
        found = snapshots_of(task.client, own.machine_id)
        return found if any(item.id == own.id for item in found) else None

    listed: list[Snapshot] | None = yield from keep_looking(with_own)
    if listed is None:
        # It may not be visible yet.
        listed = yield from find_trace(task, with_own)
    if listed is None:
        raise Unsure(
            f"Snapshot {own.id} was made, but the service does not list it: it shows late, or somebody else deleted it."
        )
    return listed


def _follow_create(task: Task, outcome: SnapshotOutcome, event: Event, snapshot: Snapshot) -> Procedure[bool]:
    """Wait for a create's event. Of one that nobody knows the end of, it is known at least if it left no snapshot."""

    def find() -> bool | None:
        return any(item.id == snapshot.id for item in snapshots_of(task.client, snapshot.machine_id)) or None

    try:
        return (yield from follow(task, outcome, event))
    except Unsure as unsure:
        try:
            is_there = yield from find_trace(task, find)
        except DeadlinePassed:
            raise unsure from None
        if not is_there:
            raise ended_badly(event, is_undone=True) from None
        raise


def ensure(
    task: Task,
    outcome: SnapshotOutcome,
    snapshot: Snapshot,
    failed_ids: Collection[str] = (),
    recent: Recent | None = None,
) -> Procedure[None]:
    """Wait until a snapshot that is there is proven; one whose create failed is replaced.

    C(failed_ids): others of this name that do not count. C(recent): the snapshot was made after that moment.
    """
    outcome.take_snapshot(snapshot)
    proof = yield from _await_proof(task, outcome, snapshot, None)
    if proof.state is State.UNSURE and recent is not None:
        # What has happened since then can tell more than the machine's whole history.
        proof = yield from _await_proof(task, outcome, snapshot, recent, is_seen=False)
    if proof.state is State.DONE:
        outcome.status = "unchanged"
    elif proof.state is State.FAILED:
        yield from delete(task, outcome, snapshot)
        if outcome.status == "pending":
            outcome.error = "A snapshot of this name whose create had failed is being deleted; run the same task again."
        else:
            outcome.status, outcome.id = "", None
            yield from create(task, outcome, {*failed_ids, snapshot.id})
    elif proof.state is State.UNSURE:
        raise _unproven(snapshot, proof)


def await_one(task: Task, outcome: SnapshotOutcome, failed_ids: Collection[str]) -> Procedure[None]:
    """Wait until just one snapshot has the name, for as long as another controller may take to leave one.

    C(failed_ids): those that do not count.
    """
    clock = task.client.clock
    began, pause = clock(), FIRST_LOOK_AGAIN
    outcome.status, outcome.error = "", None
    while True:
        listed: Sequence[Snapshot] = yield from keep_looking(lambda: snapshots_of(task.client, outcome.machine_id))
        found = _counting(listed, str(outcome.name), failed_ids)
        if not found:
            yield from create(task, outcome, failed_ids)
            return
        if len(found) == 1:
            yield from ensure(task, outcome, found[0], failed_ids)
            return
        if clock() - began >= task.client.connection.request_timeout:
            raise Refused(too_many(found))
        yield Pause(pause)
        pause = longer(pause)


def rename(task: Task, outcome: SnapshotOutcome, snapshot: Snapshot, new_name: str) -> Procedure[None]:
    """Give a snapshot another name. There is no event to wait for."""

    def find() -> Snapshot | None:
        found = task.client.snapshot(snapshot.id)
        return found if found.name == new_name else None

    renamed = yield from send_once(
        task, outcome, lambda: task.client.rename_snapshot(snapshot.id, new_name), find, is_safe=True
    )
    outcome.take_snapshot(renamed)
    outcome.status = "renamed"


def delete(
    task: Task, outcome: SnapshotOutcome, snapshot: Snapshot, *, kept: Snapshot | None = None
) -> Procedure[None]:
    """Delete a snapshot. Found gone is unchanged, unless it was this task that asked for it.

    C(kept): one that must be there, with its name, when the request is sent; otherwise raises Unsure.
    """
    client = task.client

    def is_gone() -> bool:
        try:
            client.snapshot(snapshot.id)
        except NotFound:
            return True
        return False

    def find() -> tuple[Event | None, bool] | None:
        if is_gone():
            return None, True
        event = new_event(task, snapshot.machine_id, "snapshot-delete")
        return (event, False) if event else None

    def shows() -> Procedure[bool]:
        return (yield from find_trace(task, lambda: is_gone() or None)) is not None

    def request() -> tuple[Event | None, bool]:
        if kept is not None:
            _see_kept(client, snapshot, kept)
        return client.delete_snapshot(snapshot.id), True

    yield from until_idle(task, outcome)
    while True:
        try:
            event, is_own = yield from send_once(task, outcome, request, find)
        except NotFound:
            # Only an earlier request of this task whose answer was lost can have done it; else somebody was faster.
            outcome.status = "deleted" if outcome.was_sent else "unchanged"
            return
        if event is not None and not (yield from follow(task, outcome, event, shows)):
            return
        # An event that was found, not answered, may have been the delete of another snapshot.
        if is_own or (yield from keep_looking(is_gone)):
            outcome.status = "deleted"
            return


def _see_kept(client: Client, snapshot: Snapshot, kept: Snapshot) -> None:
    """Raise Unsure where the one that is to stay is not there any more, or has another name."""
    try:
        name = client.snapshot(kept.id).name
    except NotFound:
        name = None
    if name != kept.name:
        what = "was deleted" if name is None else f"was renamed to {shown(name)}"
        raise Unsure(
            f"Snapshot {snapshot.id} was made, and {kept.id} before it, which was to stay, but {what} meanwhile. "
            f"Snapshot {snapshot.id} was not deleted."
        )


def restore(task: Task, outcome: SnapshotOutcome, snapshot: Snapshot, *, safety_snapshot: bool) -> Procedure[None]:
    """Put the machine back to the snapshot, and wait until it has settled."""
    client, machine_id = task.client, snapshot.machine_id
    if (yield from until_idle(task, outcome)):
        # Somebody else may have begun a restore meanwhile, and the API does not say which snapshot one is of.
        yield from until_known(task, machine_id)
    before: Sequence[Snapshot] = ()
    if safety_snapshot:
        before = yield from keep_looking(lambda: snapshots_of(client, machine_id))
    event: Event = yield from send_once(
        task,
        outcome,
        lambda: client.restore_snapshot(snapshot.id, safety_snapshot=safety_snapshot),
        lambda: new_event(task, machine_id, "snapshot-restore"),
    )
    if not (yield from follow(task, outcome, event)):
        return
    # Whether a restore leaves the machine on or off is not published.
    yield from settle(task, outcome, SETTLED_STATES)
    if safety_snapshot:
        known = {item.id for item in before}
        try:
            after: Sequence[Snapshot] = yield from keep_looking(lambda: snapshots_of(client, machine_id))
        except PaperspaceError as error:
            why = "wait_timeout had passed" if isinstance(error, DeadlinePassed) else error
            raise Unsure(f"The machine was restored, but its safety snapshot was not looked up: {why}") from None
        new = [item for item in after if item.id not in known]
        manual = [item for item in new if not item.is_auto_snapshot] or new
        outcome.safety_snapshot_id = manual[0].id if len(manual) == 1 else None
        if outcome.safety_snapshot_id is None:
            raise Unsure(
                f"The machine was restored, but its safety snapshot cannot be told: {len(manual)} new snapshots "
                f"({', '.join(item.id for item in manual) or 'none'})."
            )
    outcome.status = "restored"


def prove_now(
    client: Client,
    snapshot: Snapshot,
    recent: Recent | None,
    *,
    is_late: bool,
    is_strict: bool = True,
    others: Collection[str] = (),
    beside: Snapshot | None = None,
) -> Proof | None:
    """The proof of one snapshot as of now, with L(prove)'s C(is_late) and C(is_strict); None when it is gone.

    C(recent): the snapshot was made after that moment, so that no event known by then can be its own. C(others): the
    ids of events since then that are not its own either. C(beside): a list without this one proves nothing.
    """
    snapshots = snapshots_of(client, snapshot.machine_id)
    ids = {item.id for item in snapshots}
    if snapshot.id not in ids:
        return None
    if beside is not None and beside.id not in ids:
        return Proof(State.UNSURE)
    if recent is not None:
        found = events_of(client, snapshot.machine_id, recent.since)
        new = [event for event in found.items if recent.is_new(event) and event.id not in others]
        return prove(
            snapshot, snapshots, new, is_whole=False, is_late=is_late, is_new=True, is_cut_off=found.is_cut_off
        )

    def proof_since(bound: datetime | None) -> Proof:
        found = events_of(client, snapshot.machine_id, bound)
        return prove(
            snapshot,
            snapshots,
            found.items,
            is_whole=bound is None,
            is_late=is_late,
            is_cut_off=found.is_cut_off,
            is_strict=is_strict,
        )

    bound = needs_events_since(snapshot)
    proof = proof_since(bound)
    return proof_since(None) if bound is not None and proof.state is State.UNSURE else proof


def _await_proof(
    task: Task,
    outcome: SnapshotOutcome,
    snapshot: Snapshot,
    recent: Recent | None,
    others: Collection[str] = (),
    *,
    is_seen: bool = True,
    is_strict: bool = True,
    beside: Snapshot | None = None,
) -> Procedure[Proof]:
    """Wait until the snapshot's create has ended, and say how. Leaves C(pending) when the task does not wait.

    Unless C(is_seen), its event may not be visible yet, and one that is done be of what somebody else made meanwhile.
    """
    clock = task.client.clock
    began = clock()
    pause = FIRST_LOOK_AGAIN
    while True:
        is_late = clock() - began >= task.client.connection.request_timeout
        proof: Proof | None = yield from keep_looking(
            partial(
                prove_now,
                task.client,
                snapshot,
                recent,
                is_late=is_late,
                is_strict=is_strict,
                others=others,
                beside=beside,
            )
        )
        if proof is None:
            raise _gone_again(snapshot)
        if proof.state is State.RUNNING:
            is_seen = True
            outcome.take_event(proof.running[0])
            if not task.wait:
                outcome.status = "pending"
                return proof
            for event in proof.running:
                outcome.take_event((yield EventEnd(event)))
        elif (proof.is_early or (proof.state is State.DONE and not is_seen)) and not is_late:
            yield Pause(pause)
            pause = longer(pause)
        else:
            if len(proof.events) == 1:
                outcome.take_event(proof.events[0])
            return proof


def _adopt(
    task: Task, outcome: SnapshotOutcome, first: Snapshot, failed_ids: Collection[str], lost: float
) -> Procedure[None]:
    """See a snapshot done whose create was answered by nothing, as the only one of its name.

    C(first) is the first that counts. It may be what another controller made meanwhile, and so may each later one: of
    these nothing is deleted. C(lost): when it was seen.
    """
    client, name = task.client, str(outcome.name)
    failed_ids = set(failed_ids)
    # What was there when the machine was busy, and when its answer was lost, was begun by somebody else.
    others = set(task.settled_events)
    counted = [first.id]
    # All that were ever listed.
    met = {first.id}

    def look() -> list[Snapshot]:
        return _counting(snapshots_of(client, outcome.machine_id), name, failed_ids)

    while True:
        outcome.take_snapshot(first)
        trouble = yield from _trouble_with(task, outcome, first, failed_ids, others)
        if outcome.status == "pending":
            return
        if trouble is None and task.wait:
            # By then the own one is listed, if that is another one.
            outcome.waits_for = _NOT_ALONE
            yield Pause(max(0.0, lost + client.connection.request_timeout - client.clock()))
        found: list[Snapshot] = yield from keep_looking(look)
        if not found:
            raise trouble or _gone_again(first)
        if trouble is None and [item.id for item in found] == counted:
            if len(found) == 1:
                outcome.status = "created" if met <= {first.id, *failed_ids} else "unchanged"
                return
            found = yield from _one_left(task, outcome, found, failed_ids, look)
        # Where others are there than before, it is proven anew beside them.
        counted, first = [item.id for item in found], found[-1]
        met.update(counted)


def _trouble_with(
    task: Task, outcome: SnapshotOutcome, snapshot: Snapshot, failed_ids: set[str], others: set[str]
) -> Procedure[PaperspaceError | None]:
    """Wait for a snapshot that was made since the task began: None when it is done, or pending, else what is wrong.

    One that failed is added to C(failed_ids), and its event to C(others), which can be no other snapshot's.
    """
    try:
        proof = yield from _await_proof(task, outcome, snapshot, task.recent, others, is_seen=False)
    except Refused as gone:
        return gone
    if proof.state is State.UNSURE:
        raise _unproven(snapshot, proof)
    if proof.state is not State.FAILED:
        return None
    failed_ids.add(snapshot.id)
    if len(proof.events) == 1:
        others.add(proof.events[0].id)
    return ended_badly(proof.events[0])


def _one_left(
    task: Task,
    outcome: SnapshotOutcome,
    found: Sequence[Snapshot],
    failed_ids: set[str],
    look: Callable[[], list[Snapshot]],
) -> Procedure[list[Snapshot]]:
    """Wait until one is left of several: whoever made a later one deletes it (L(_leave_the_first)).

    Raises Unsure where more are left, as long after all have ended as an answer may take: one may be the own one.
    C(failed_ids): those for which C(look) does not look; what is seen to have failed is added.
    """
    if task.wait:
        for later in found[:-1]:
            try:
                proof = yield from _await_proof(task, outcome, later, None, is_strict=False)
            except Refused:
                continue
            if proof.state is State.FAILED:
                failed_ids.add(later.id)
        yield from find_trace(task, lambda: True if len(look()) <= 1 else None)
    left: list[Snapshot] = yield from keep_looking(look)
    if len(left) == 1:
        return left
    raise Unsure(
        f"{len(left)} snapshots have this name now ({', '.join(item.id for item in left) or 'all are gone'}), and the "
        "answer that would tell which of them this task made was lost. Delete all but one by their ids (state=absent)."
    )


def _gone_again(snapshot: Snapshot) -> Refused:
    return Refused(f"Snapshot {snapshot.id} is gone again: making it failed, or somebody else deleted it.")


def _unproven(snapshot: Snapshot, proof: Proof) -> Unsure:
    return Unsure(
        f"Snapshot {snapshot.id} has this name, but {proof.describe()}. "
        "Delete it by its id (state=absent), or use another name."
    )


def one_after_another(procedures: Sequence[Procedure[None]]) -> Procedure[None]:
    """For work on one machine that must not overlap."""
    for procedure in procedures:
        yield from procedure
