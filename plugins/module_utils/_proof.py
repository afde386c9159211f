# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a snapshot is proven done, from what the API shows of it.

The API gives a snapshot no state and no date, and an event no snapshot. Both lists are in the order of creation,
though, and each snapshot came from one snapshot-create event of its machine. That bounds which events can be a
snapshot's own; all of those being done is the proof.
"""

from __future__ import annotations

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


@dataclass(frozen=True)
class Proof:
    """The state, and the events that can be the snapshot's own, newest first."""

    state: State
    events: tuple[Event, ...] = ()

    @property
    def running(self) -> list[Event]:
        return [event for event in self.events if not event.has_ended]

    @property
    def is_unseen(self) -> bool:
        """Whether no event is seen that can be the snapshot's: it can become visible later than the snapshot."""
        return self.state is State.UNSURE and not self.events

    def describe(self) -> str:
        """Why a snapshot in this state cannot be relied on, as the end of a sentence."""
        if self.state is State.RUNNING:
            return f"it is still being made (event {self.running[0].id})"
        if not self.events:
            return "the service shows no event that made it"
        listed = ", ".join(
            f"{event.id} ({event.state}{f': {event.error}' if event.error else ''})" for event in self.events[:5]
        )
        if self.state is State.FAILED:
            return f"making it failed: event {listed}"
        return f"the service does not show which of these events made it, and not all are done: {listed}"


def needs_events_since(snapshot: Snapshot) -> datetime | None:
    """From when on the machine's events matter for the proof: from the run that named it, or None for all."""
    named = parse_run_name(snapshot.name)
    return None if named is None else named.began - CLOCK_SKEW


def is_proven_by_name(snapshot: Snapshot) -> bool:
    """A run is closed for a machine only after its snapshot was proven done, and the name says that it is closed."""
    named = parse_run_name(snapshot.name)
    return named is not None and named.is_closed and not snapshot.is_auto_snapshot


def prove(
    snapshot: Snapshot,
    snapshots: Sequence[Snapshot],
    events: Sequence[Event],
    *,
    is_whole: bool,
    since: datetime | None = None,
    is_late: bool = False,
) -> Proof:
    """The proof for one snapshot, from its machine's snapshots and events, both newest first.

    C(is_whole) says that the events were read to the last that the service has; C(since) (the service's time)
    that the snapshot is not older than that; C(is_late) that the snapshot has been there for so long that its
    event would be visible by now. Without events of its own a snapshot that is not late is UNSURE.
    """
    if is_proven_by_name(snapshot):
        return Proof(State.DONE)
    # Whether the service still has the machine's whole history, and not just its end.
    is_complete = is_whole and any(event.name == "create" for event in events)
    if is_complete and not is_late and _lacks_an_event(snapshots, events):
        return Proof(State.UNSURE)
    own = tuple(_possible_events(snapshot, snapshots, events, is_complete, since, is_late))
    if not own:
        # Older than what the service still remembers, if it has forgotten anything.
        has_outlived_it = is_late and is_whole and not is_complete and since is None
        return Proof(State.DONE if has_outlived_it else State.UNSURE)
    if running(own, now=events[0].created):
        return Proof(State.RUNNING, own)
    if all(event.state == "done" for event in own):
        return Proof(State.DONE, own)
    if all(is_clear_failure(event) for event in own):
        return Proof(State.FAILED, own)
    return Proof(State.DONE if is_complete and _all_are_accounted_for(snapshots, events) else State.UNSURE, own)


def is_clear_failure(event: Event) -> bool:
    """Cancelled, or an error with a reason. Without one the work was sometimes done all the same (FACTS.md)."""
    return event.state == "cancelled" or (event.state == "error" and (bool(event.error) or event.finished is None))


def _possible_events(
    snapshot: Snapshot,
    snapshots: Sequence[Snapshot],
    events: Sequence[Event],
    is_complete: bool,
    since: datetime | None,
    is_late: bool,
) -> Sequence[Event]:
    """The snapshot-create events that can be the snapshot's own, newest first."""
    creates = [event for event in events if event.name == "snapshot-create"]
    newer = next(index for index, item in enumerate(snapshots) if item.id == snapshot.id)
    older = len(snapshots) - newer - 1
    # Each newer snapshot used up one of the newer events; each older one an older event, if they are all known.
    own = creates[newer : len(creates) - older if is_complete else len(creates)]
    bound = since or needs_events_since(snapshot)
    if bound is None:
        return own
    after = [event for event in own if event.created >= bound]
    # A snapshot that was given a run's name later is older than the run.
    return own if not after and since is None and is_late else after


def _lacks_an_event(snapshots: Sequence[Snapshot], events: Sequence[Event]) -> bool:
    """Whether there are more snapshots than the events account for, so that one of these is not visible yet."""
    created = sum(event.name == "snapshot-create" for event in events)
    deleted = sum(event.name == "snapshot-delete" and event.state == "done" for event in events)
    return len(snapshots) > created - deleted


def _all_are_accounted_for(snapshots: Sequence[Snapshot], events: Sequence[Event]) -> bool:
    """Whether the snapshots are just those that were made and not deleted, so that no failed one is among them.

    Auto-snapshots are replaced without a word, so with them the sum proves nothing.
    """
    made = sum(event.name == "snapshot-create" and event.state == "done" for event in events)
    deleted = sum(event.name == "snapshot-delete" and event.state == "done" for event in events)
    return len(snapshots) == made - deleted and not any(snapshot.is_auto_snapshot for snapshot in snapshots)
