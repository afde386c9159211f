# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of each machine or snapshot that a task was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.community.paperspace.plugins.module_utils._shown import shown
from ansible_collections.community.paperspace.plugins.module_utils._wire import Event, Snapshot

BAD_STATUSES = frozenset({"failed", "timed_out", "unsure"})
_UNCHANGED_STATUSES = frozenset({"unchanged", "skipped"})


@dataclass(slots=True)
class Outcome:
    """One entry of a result. C(status) is empty until something is known."""

    machine_id: str
    status: str = ""
    event_id: str | None = None
    event_state: str | None = None
    error: str | None = None
    seconds: float = 0.0
    # Not part of the result: whether a request that changes something went out, what the work waits for, and
    # what is not known about a request whose answer was lost.
    was_sent: bool = field(default=False, repr=False)
    waits_for: str = field(default="", repr=False)
    doubt: str = field(default="", repr=False)
    # Of what failed: after how many seconds the same may succeed, since nobody refused the work itself.
    passes_after: float | None = field(default=None, repr=False)

    @property
    def is_bad(self) -> bool:
        return self.status in BAD_STATUSES

    @property
    def is_changed(self) -> bool:
        if self.status in BAD_STATUSES or self.status == "pending":
            return self.was_sent
        return self.status not in _UNCHANGED_STATUSES

    def take_event(self, event: Event) -> None:
        self.event_id = event.id
        self.event_state = event.state

    def label(self) -> str:
        """What the entry is called in messages."""
        return f"machine {self.machine_id}"

    def to_result(self) -> dict[str, Any]:
        return {
            "machine_id": self.machine_id,
            "status": self.status,
            "event_id": self.event_id,
            "event_state": self.event_state,
            "error": self.error,
            "seconds": round(self.seconds, 1),
        }


@dataclass(slots=True)
class SnapshotOutcome(Outcome):
    """An entry of C(snapshots)."""

    id: str | None = None
    name: str | None = None
    is_auto_snapshot: bool = False
    safety_snapshot_id: str | None = None

    def take_snapshot(self, snapshot: Snapshot) -> None:
        self.id = snapshot.id
        self.name = snapshot.name
        self.is_auto_snapshot = snapshot.is_auto_snapshot
        self.machine_id = snapshot.machine_id

    def label(self) -> str:
        if not self.machine_id:
            return f"snapshot {self.id}"
        return f"machine {self.machine_id}, snapshot {shown(self.name or self.id or 'None')}"

    def to_result(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "is_auto_snapshot": self.is_auto_snapshot,
            "safety_snapshot_id": self.safety_snapshot_id,
            **Outcome.to_result(self),
        }


@dataclass(slots=True)
class MachineOutcome(Outcome):
    """An entry of C(machines)."""

    name: str | None = None
    state: str | None = None
    auto_snapshot: dict[str, Any] = field(default_factory=dict)

    def label(self) -> str:
        return f"machine {self.machine_id} ({shown(self.name)})" if self.name else Outcome.label(self)

    def to_result(self) -> dict[str, Any]:
        return {
            "id": self.machine_id,
            "name": self.name,
            "state": self.state,
            "auto_snapshot": self.auto_snapshot,
            **Outcome.to_result(self),
        }


class Progress:
    """Is told how the work on a fleet goes on, and says nothing; subclasses do.

    Times are seconds by the clock of the task's client. All calls come from one thread.
    """

    def begin(self, outcomes: Sequence[Outcome], now: float) -> None:
        """The work on these begins."""

    def end(self, outcome: Outcome) -> None:
        """The work on one of them has ended, well or not."""

    def look(self, now: float) -> float:
        """Time has passed. Returns when to be called next."""
        del now
        return float("inf")


NO_PROGRESS = Progress()


@dataclass(frozen=True)
class Report:
    """What a task has to say: its outcomes in the order asked, warnings, and what changed as before and after."""

    outcomes: Sequence[Outcome]
    warnings: Sequence[str] = ()
    before: str = ""
    after: str = ""


def failure_message(outcomes: Iterable[Outcome]) -> str | None:
    """One message that names each entry that did not come through, or None when all did."""
    bad = [f"{outcome.label()}: {outcome.status}: {outcome.error}" for outcome in outcomes if outcome.is_bad]
    return None if not bad else f"{len(bad)} did not come through. " + " | ".join(bad)
