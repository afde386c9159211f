# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a snapshot is proven done, from what the API shows of it.

The API gives a snapshot no state and no date, and an event no snapshot. Both lists are in the order of creation,
though, and each snapshot came from one snapshot-create event of its machine. That bounds which events can be a
snapshot's own; all of those being done is the proof.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from ansible_collections.community.paperspace.plugins.module_utils._names import parse_run_name
from ansible_collections.community.paperspace.plugins.module_utils._reading import running
from ansible_collections.community.paperspace.plugins.module_utils._wire import Event, Snapshot

# How far the clock of a controller that made a run id may be ahead of the service's.
CLOCK_SKEW = timedelta(hours=1)


class State(Enum):
    """What is known of a snapshot."""

    DONE = "done"
    RUNNING = "running"
    FAILED = "failed"
    UNSURE = "unsure"


@dataclass(frozen=True, slots=True)
class Proof:
    """The state, and the events that can be the snapshot's own, newest first."""

    state: State
    events: tuple[Event, ...] = ()

    @property
    def running(self) -> list[Event]:
        return [event for event in self.events if not event.has_ended]

    @property
    def is_early(self) -> bool:
        """Whether a late look may say otherwise: the snapshot's event can become visible later than the snapshot.

        So it may be when none is seen that can be its own, and when all those have failed: they may have left nothing.
        """
        is_open = self.state in (State.FAILED, State.UNSURE)
        return is_open and all(is_clear_failure(event) for event in self.events)

    def describe(self) -> str:
        """Why a snapshot in this state cannot be relied on, as the end of a sentence."""
        if self.state is State.RUNNING:
            other = "" if len(self.events) == 1 else ", or another one of its machine is"
            return f"it is still being made{other} (event {self.running[0].id})"
        if not self.events:
            return "the service shows no event that made it"
        listed = ", ".join(
            f"{event.id} ({event.state}{f': {event.error}' if event.error else ''})" for event in self.events[:5]
        )
        if self.state is State.FAILED:
            return f"making it failed: event {listed}"
        if len(self.events) == 1 and not is_told_to_have_failed(self.events[0]):
            return f"it is not known whether it is whole, since its event ended without saying so: {listed}"
        return f"the service does not show which of these events made it, and not all are done: {listed}"


def needs_events_since(snapshot: Snapshot) -> datetime | None:
    """From when on the machine's events matter for the proof: from the run that named it, or None for all."""
    return needed_since(snapshot.name)


def needed_since(name: str) -> datetime | None:
    """The same for a snapshot of this name."""
    named = parse_run_name(name)
    # A year that no clock shows was made up.
    return None if named is None or named.began.year < 2000 else named.began - CLOCK_SKEW


def is_proven_by_name(snapshot: Snapshot) -> bool:
    """A run is closed for a machine only after its snapshot was proven done, and the name says that it is closed."""
    return is_closed_name(snapshot.name) and not snapshot.is_auto_snapshot


def is_closed_name(name: str) -> bool:
    """Whether the name is that of a closed run."""
    named = parse_run_name(name)
    return named is not None and named.is_closed


def prove(
    snapshot: Snapshot,
    snapshots: Sequence[Snapshot],
    events: Sequence[Event],
    *,
    is_whole: bool,
    is_late: bool = False,
    is_new: bool = False,
    is_cut_off: bool = False,
    is_strict: bool = False,
) -> Proof:
    """The proof for one snapshot, from its machine's snapshots and events, both newest first.

    C(is_whole) says that the events were read to the last that the service has; C(is_late) that the snapshot has
    been there for so long that its event would be visible by now; C(is_new) that these are just the events since
    before it was made. A snapshot that is not late is UNSURE without events of its own, and where these may be those
    of others while its own is not visible yet. A create that the service has forgotten is taken to have been done.
    C(is_cut_off): the service broke the list of events off, so that the snapshot's own may be missing: then they prove
    nothing. C(is_strict): the snapshot may have been begun just now, so that an event since its run began is taken for
    its own before that would be visible only where it can be no other snapshot's.
    """
    if is_proven_by_name(snapshot):
        return Proof(State.DONE)
    if is_cut_off:
        return Proof(State.UNSURE)
    # Whether the service still has the machine's whole history, and not just its end.
    is_complete = is_whole and any(event.name == "create" for event in events)
    if is_complete and not is_late and _lacks_an_event(snapshots, events):
        return Proof(State.UNSURE)
    own = tuple(_possible_events(snapshot, snapshots, events, is_complete, is_late))
    if not own:
        # Older than what the service still remembers, if it has forgotten anything.
        has_outlived_it = is_late and is_whole and not is_complete
        return Proof(State.DONE if has_outlived_it else State.UNSURE)
    # Where the service replaces auto-snapshots, or work has failed, events may outnumber the snapshots of even a
    # complete history, and hide that one is missing.
    is_accounted_for = is_complete and _all_worked(events) and not any(item.is_auto_snapshot for item in snapshots)
    is_sure_to_be_seen = is_accounted_for or is_late or is_new
    if not is_sure_to_be_seen and _is_older_than_its_run(snapshot, own):
        # The snapshot's own event may not be visible yet, and this one another snapshot's.
        return Proof(State.UNSURE)
    if running(own, now=events[0].created):
        return Proof(State.RUNNING, own)
    is_run = parse_run_name(snapshot.name) is not None
    is_seen = is_sure_to_be_seen or (is_run and not (is_strict and _may_be_anothers(snapshot, snapshots, events)))
    if all(event.state == "done" for event in own):
        return Proof(State.DONE, own) if is_seen else Proof(State.UNSURE)
    if all(is_clear_failure(event) for event in own):
        # What has failed is deleted: that takes more than what is most likely.
        is_told = all(is_told_to_have_failed(event) for event in own)
        is_certain = is_told and (is_new or _must_have_an_event(snapshot, events, is_complete=is_complete))
        return Proof(State.FAILED if is_certain else State.UNSURE, own)
    if not is_seen:
        return Proof(State.UNSURE)
    return Proof(State.DONE if _was_made_last(snapshot, snapshots, events, own[0]) else State.UNSURE, own)


def is_told_to_have_failed(event: Event) -> bool:
    """Cancelled, or an error with a reason."""
    return event.state == "cancelled" or (event.state == "error" and bool(event.error))


def is_clear_failure(event: Event) -> bool:
    """Whether most likely nothing was done: told so, or an error without a reason and without an end.

    Without a reason, but with an end, the work was often done all the same; without an end, as one client found, it
    was not (FACTS.md).
    """
    return is_told_to_have_failed(event) or (event.state == "error" and event.finished is None)


def _possible_events(
    snapshot: Snapshot,
    snapshots: Sequence[Snapshot],
    events: Sequence[Event],
    is_complete: bool,
    is_late: bool,
) -> Sequence[Event]:
    """The snapshot-create events that can be the snapshot's own, newest first."""
    creates = [event for event in events if event.name == "snapshot-create"]
    position = _position(snapshot, snapshots)
    # Each newer snapshot used up one of the newer events; each older one an older event, if they are all known.
    # Whether an auto-snapshot, or one that a restore took first, has such an event is not published: not counted.
    restores = sum(event.name == "snapshot-restore" for event in events)
    newer = max(0, _manual(snapshots[:position]) - restores)
    older = max(0, _manual(snapshots[position + 1 :]) - restores) if is_complete else 0
    own = creates[newer : max(newer, len(creates) - older)]
    bound = needs_events_since(snapshot)
    if bound is None:
        return own
    after = [event for event in own if event.created >= bound]
    # A snapshot that was given a run's name later is older than the run.
    return own if not after and is_late else after


def _all_worked(events: Sequence[Event]) -> bool:
    """Whether each create and each delete that has ended is done: then each has made, or removed, a snapshot."""
    changes = (event for event in events if event.name in ("snapshot-create", "snapshot-delete"))
    return all(event.state == "done" for event in changes if event.has_ended)


def _is_older_than_its_run(snapshot: Snapshot, own: Sequence[Event]) -> bool:
    """Whether all events are from before the run that named the snapshot, as the controller's clock had it."""
    named = parse_run_name(snapshot.name)
    return named is not None and all(event.created < named.began for event in own)


def _may_be_anothers(snapshot: Snapshot, snapshots: Sequence[Snapshot], events: Sequence[Event]) -> bool:
    """Whether a create since the run began can be of an older snapshot: one that is no earlier run's, or gone."""
    own = parse_run_name(snapshot.name)
    runs = [parse_run_name(item.name) for item in snapshots[_position(snapshot, snapshots) + 1 :]]
    is_of_earlier_runs = all(own is not None and run is not None and run.began < own.began for run in runs)
    return not is_of_earlier_runs or any(event.name == "snapshot-delete" for event in events)


def _position(snapshot: Snapshot, snapshots: Sequence[Snapshot]) -> int:
    return next(index for index, item in enumerate(snapshots) if item.id == snapshot.id)


def _manual(snapshots: Sequence[Snapshot]) -> int:
    return sum(not snapshot.is_auto_snapshot for snapshot in snapshots)


def _lacks_an_event(snapshots: Sequence[Snapshot], events: Sequence[Event]) -> bool:
    """Whether there are more snapshots than the events account for, so that one of these is not visible yet."""
    created = sum(event.name == "snapshot-create" for event in events)
    deleted = sum(event.name == "snapshot-delete" and event.state == "done" for event in events)
    return len(snapshots) > created - deleted


def _was_made_last(snapshot: Snapshot, snapshots: Sequence[Snapshot], events: Sequence[Event], own: Event) -> bool:
    """Whether the event is the last create, done, and the snapshot the newest, with nothing deleted in between.

    Then what the event made is still there, and nothing that is newer. A restore that still runs may be making one.
    """
    later = itertools.takewhile(lambda event: event.id != own.id, events)
    return (
        own.state == "done"
        and snapshots[0].id == snapshot.id
        and all(
            event.name not in ("snapshot-create", "snapshot-delete")
            and (event.name != "snapshot-restore" or event.state == "done")
            for event in later
        )
    )


def _must_have_an_event(snapshot: Snapshot, events: Sequence[Event], *, is_complete: bool) -> bool:
    """Whether the snapshot's create is among the events for certain.

    It is when a run named the snapshot, or when the service has forgotten nothing and the snapshot is of no kind
    that may have no event.
    """
    if parse_run_name(snapshot.name) is not None:
        return True
    return (
        is_complete and not snapshot.is_auto_snapshot and not any(event.name == "snapshot-restore" for event in events)
    )
