# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The matrix of faults: each operation, each fault, where it hits, for how long, and how large the fleet is.

What has to come out follows from rules here, and is written down for no cell by itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

HELD_BACK = 8.0
# Less than what the collection takes a state's lag for (STATE_LAG).
STATE_LAG = 4.0
RETRY_AFTER = 7.0


@dataclass(frozen=True)
class Operation:
    """A task, the request that does its work on a machine, and what the service then counts."""

    name: str
    module: str
    options: dict[str, Any] = field(hash=False)
    method: str
    path: str
    counted: str
    status: str
    needs_snapshot: bool = False
    """Whether a snapshot "old" has to be there."""
    state_before: str = "ready"
    state_after: str | None = None
    """The state in which the machine has to be when the task says that it is done."""
    has_event: bool = True
    is_shown: bool = False
    """Whether the API shows afterwards that it was done, whatever became of its event."""
    is_like: str | None = None
    """Another operation that it differs from only in what it does on one machine."""

    @property
    def request(self) -> dict[str, str]:
        """The request, as a fault rule selects it."""
        return {"method": self.method, "path": self.path}

    @property
    def is_repeatable(self) -> bool:
        """Whether it does no harm to do it again."""
        return self.method == "PUT"


_ONE_SNAPSHOT = "/snapshots/[^/]+"
OPERATIONS = (
    Operation("create", "snapshots", {"name": "new"}, "POST", "/snapshots", "creates", "created"),
    Operation(
        *("delete", "snapshots", {"state": "absent", "name": "old"}, "DELETE", _ONE_SNAPSHOT, "deletes", "deleted"),
        needs_snapshot=True,
        is_shown=True,
    ),
    Operation(
        *("restore", "snapshots", {"state": "restored", "name": "old"}, "POST", f"{_ONE_SNAPSHOT}/restore"),
        *("restores", "restored"),
        needs_snapshot=True,
        state_after="ready",
    ),
    Operation(
        "restore after a safety snapshot",
        "snapshots",
        {"state": "restored", "name": "old", "safety_snapshot": True},
        *("POST", f"{_ONE_SNAPSHOT}/restore", "restores", "restored"),
        needs_snapshot=True,
        state_after="ready",
        is_like="restore",
    ),
    Operation(
        *("rename", "snapshots", {"name": "old", "new_name": "new"}, "PUT", _ONE_SNAPSHOT, "renames", "renamed"),
        needs_snapshot=True,
        has_event=False,
    ),
    Operation(
        *("start", "machines", {"state": "started"}, "PATCH", "/machines/[^/]+/start", "starts", "started"),
        state_before="off",
        state_after="ready",
        is_shown=True,
    ),
    Operation(
        *("stop", "machines", {"state": "stopped"}, "PATCH", "/machines/[^/]+/stop", "stops", "stopped"),
        state_after="off",
        is_shown=True,
    ),
    Operation(
        *("restart", "machines", {"state": "restarted"}, "PATCH", "/machines/[^/]+/restart", "restarts", "restarted"),
        state_after="ready",
        is_like="stop",
    ),
    Operation(
        "settings",
        "machines",
        {"auto_snapshot": {"enabled": True, "frequency": "daily", "save_count": 3}},
        *("PUT", "/machines/[^/]+", "machine_updates", "updated"),
        has_event=False,
    ),
)


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong. C(kind) says with what: an answer, an event, what is seen when, or a list."""

    name: str
    kind: str
    rule: dict[str, Any] = field(hash=False)
    is_work_done: bool = True
    """Whether the service does the work all the same, or will have done it."""

    @property
    def is_rate_limit(self) -> bool:
        return self.rule.get("status") == 429

    @property
    def is_busy(self) -> bool:
        return self.rule["action"] == "busy"


def _answers() -> Iterator[Fault]:
    yield Fault("connection refused", "answer", {"action": "refused"}, is_work_done=False)
    yield Fault("connection never opens", "answer", {"action": "refused", "timeout": True}, is_work_done=False)
    # Each of these comes with the work done, and without.
    lost: dict[str, dict[str, Any]] = {
        "dropped": {"action": "lost"},
        "timeout": {"action": "timeout"},
        "408": {"action": "status", "status": 408},
        "500": {"action": "status", "status": 500},
        "502 HTML": {"action": "html", "status": 502},
        "503": {"action": "status", "status": 503},
        "520 HTML": {"action": "html", "status": 520},
    }
    for name, rule in lost.items():
        yield Fault(f"{name} before the work", "answer", {**rule, "when": "before"}, is_work_done=False)
        yield Fault(f"{name} after the work", "answer", {**rule, "when": "after"})
    yield Fault("dropped in the body", "answer", {"action": "lost", "mid_body": True})
    yield Fault("409", "answer", {"action": "busy"}, is_work_done=False)
    limited = {"action": "status", "status": 429}
    yield Fault("429", "answer", limited, is_work_done=False)
    yield Fault("429 with Retry-After", "answer", {**limited, "retry_after": RETRY_AFTER}, is_work_done=False)
    yield Fault("truncated JSON", "answer", {"action": "truncated"})
    yield Fault("JSON without any field", "answer", {"action": "without_fields"})
    required = ["id", "data.id", "event.id", "items.id", "code"]
    yield Fault("JSON without required fields", "answer", {"action": "without_fields", "fields": required})


def _events() -> Iterator[Fault]:
    bad = {"action": "event", "state": "error"}
    yield Fault("event error with text", "event", {**bad, "error": "no space"}, is_work_done=False)
    for is_finished, is_work_done in itertools.product((True, False), repeat=2):
        name = f"event error without text {'but with' if is_finished else 'and without'} dtFinished"
        rule = {**bad, "finished": is_finished, "worked": is_work_done}
        yield Fault(f"{name}, work {'' if is_work_done else 'not '}done", "event", rule, is_work_done)
    yield Fault("event cancelled", "event", {"action": "event", "state": "cancelled"}, is_work_done=False)
    yield Fault("event stuck", "event", {"action": "event", "state": "stuck"}, is_work_done=False)


FAULTS = (
    *_answers(),
    *_events(),
    Fault("event not visible at first", "sight", {"action": "event_invisible", "seconds": HELD_BACK}),
    Fault("machine state lagging", "sight", {"action": "state_lag", "seconds": STATE_LAG}),
    Fault("cursor that repeats", "list", {"action": "cursor", "cursor": "repeat"}),
    Fault("hasMore with null nextPage", "list", {"action": "cursor", "cursor": "null"}),
)

PLACES = ("request", "polls", "lookups")
"""Where it hits: the request that does the work; what is asked after its answer; what is asked after its answer was
lost. A fault that is no answer hits its event, its machine or lists, with the request's answer lost or not."""

DURATIONS = ("for a while", "for ever")
SIZES = ("one", "fleet")
# What the service does with a request to a machine that is at work: nobody has published it (FACTS.md).
BUSY = ("queue", "conflict")


@dataclass(frozen=True)
class Cell:
    operation: Operation
    fault: Fault
    place: str
    duration: str
    size: str
    busy: str

    def __str__(self) -> str:
        parts = [self.operation.name, self.fault.name, self.place, self.duration, self.size, self.busy]
        return ", ".join(parts)

    @property
    def hits_everyone(self) -> bool:
        """Whether it cannot hit some machines of a fleet only: polls and lists are of all."""
        return self.place == "polls" or self.fault.kind == "list"

    @property
    def status(self) -> str:
        """What the entry of a machine that it hits has to say."""
        operation, fault = self.operation, self.fault
        if fault.kind == "event":
            return _status_by_event(operation, fault)
        if fault.kind != "answer" or self.duration == "for a while":
            return operation.status
        if self.place == "polls":
            return "timed_out"
        if self.place == "lookups":
            # The answer was lost, and nothing that could tell is answered either.
            return "unsure"
        if fault.is_busy:
            return "timed_out"
        return operation.status if fault.is_work_done else "failed"

    @property
    def is_done(self) -> bool:
        """Whether the service does the work on a machine that it hits, sooner or later, and whatever it says."""
        if self.fault.kind == "event":
            return self.fault.is_work_done
        if self.fault.kind != "answer" or self.place != "request" or self.duration == "for a while":
            return True
        return self.fault.is_work_done


def _status_by_event(operation: Operation, fault: Fault) -> str:
    event = fault.rule
    if event["state"] == "stuck":
        return "timed_out"
    if event["state"] == "cancelled" or event.get("error"):
        return "failed"
    # In error, and nobody says why: known only where the API shows what the work was to bring about.
    if operation.is_shown:
        return operation.status if fault.is_work_done else "failed"
    return "unsure"


def _is_sensible(cell: Cell) -> bool:
    operation, fault = cell.operation, cell.fault
    if cell.busy == "conflict" and (cell.size == "fleet" or fault.kind != "answer" or cell.place != "request"):
        # Makes a difference only where a request is sent again.
        return False
    if cell.size == "fleet" and (operation.is_like or (fault.kind == "answer" and _is_look_for_ever(cell))):
        # What one machine does not show, fifty do not show either.
        return False
    if fault.kind == "answer":
        if cell.place == "request":
            # What was done is not sent again: then it makes no difference for how long.
            is_sent_again = operation.is_repeatable or not fault.is_work_done
            return is_sent_again or cell.duration == "for ever"
        # What looks has no work to do or not to do, and does not make a machine busy.
        is_look = not fault.is_busy and fault.rule.get("when") != "after"
        return is_look and (cell.place == "lookups" or operation.has_event)
    if cell.place == "polls" or cell.duration == "for a while":
        return False
    if fault.rule["action"] == "state_lag":
        return operation.state_after is not None
    return fault.kind == "list" or operation.has_event


def _is_look_for_ever(cell: Cell) -> bool:
    return cell.place != "request" and cell.duration == "for ever"


CELLS = tuple(
    cell
    for cell in itertools.starmap(Cell, itertools.product(OPERATIONS, FAULTS, PLACES, DURATIONS, SIZES, BUSY))
    if _is_sensible(cell)
)
