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
    """Another operation that it differs from in its event only."""
    service: dict[str, Any] = field(hash=False, default_factory=dict)
    """How the simulator has to be set for it."""
    waits_for_others: bool = True
    """Whether it waits for what somebody else has begun on its machine."""
    looks_after_others: bool = True
    """Whether it then looks at its machine once more, before it sends anything."""

    @property
    def request(self) -> dict[str, str]:
        """The request, as a fault rule selects it."""
        return {"method": self.method, "path": self.path}

    @property
    def is_repeatable(self) -> bool:
        """Whether it does no harm to do it again."""
        return self.method == "PUT"


_ONE_SNAPSHOT = "/snapshots/[^/]+"
_DAILY = {"enabled": True, "frequency": "daily", "save_count": 3}
OPERATIONS = (
    Operation("create", "snapshots", {"name": "new"}, "POST", "/snapshots", "creates", "created"),
    Operation(
        *("delete", "snapshots", {"state": "absent", "name": "old"}, "DELETE", _ONE_SNAPSHOT, "deletes", "deleted"),
        needs_snapshot=True,
        is_shown=True,
        looks_after_others=False,
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
    ),
    Operation(
        *("rename", "snapshots", {"name": "old", "new_name": "new"}, "PUT", _ONE_SNAPSHOT, "renames", "renamed"),
        needs_snapshot=True,
        has_event=False,
        waits_for_others=False,
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
    ),
    Operation(
        *("settings", "machines", {"auto_snapshot": _DAILY}, "PUT", "/machines/[^/]+", "machine_updates", "updated"),
        has_event=False,
    ),
    Operation(
        *("settings with an event", "machines", {"auto_snapshot": _DAILY}, "PUT", "/machines/[^/]+"),
        *("machine_updates", "updated"),
        is_shown=True,
        is_like="settings",
        service={"auto_snapshots_take_an_event": True},
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

    @property
    def is_invalid(self) -> bool:
        """Whether what comes is no answer of this API at all: a read is not tried again then."""
        return self.rule["action"] == "without_fields"

    @property
    def form(self) -> str:
        """What a request gets to know of it: faults of one form differ in words only, once the service has worked."""
        if self.kind != "answer" or self.is_busy:
            return self.rule["action"] if self.is_busy else self.name
        form = {"refused": "no connection", "without_fields": "no answer of this API"}.get(self.rule["action"], "lost")
        return "limited" if self.is_rate_limit else form

    @property
    def can_hit_a_look(self) -> bool:
        """Whether it can come of a request that has no work to do or not to do, and does not make a machine busy."""
        return self.kind == "answer" and not self.is_busy and self.rule.get("when") != "after"


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

PLACES = ("reads", "others", "request", "polls", "lookups")
"""Where it hits: what is read before anything is sent; what is asked while somebody else's work on the machine is
waited for, and after that; the request that does the work; what is asked after its answer; what is asked after its
answer was lost. A fault that is no answer hits its event, its machine or lists, with the request's answer lost or
not."""

DURATIONS = ("for a while", "for ever")
SIZES = ("one", "fleet")
MOST_HIT = "fleet, most hit"
"""A fleet in which the fault hits more machines than there are requests in flight at once."""
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
        """Whether it cannot hit some machines of a fleet only: reads, polls and lists are of all."""
        return self.place in ("reads", "polls") or self.fault.kind == "list"

    @property
    def is_refused(self) -> bool:
        """Whether the task fails as a whole, and nothing is sent: what it would begin with cannot be read."""
        return self.place == "reads" and (self.duration == "for ever" or self.fault.is_invalid)

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
        if self.place == "others":
            # Nobody sends anything without knowing that the machine is free, and how it is then.
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
        if self.is_refused:
            return False
        if self.fault.kind == "event":
            return self.fault.is_work_done
        if self.fault.kind != "answer" or self.duration == "for a while":
            return True
        return self.place in ("polls", "lookups") or (self.place == "request" and self.fault.is_work_done)


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


def is_sensible(operation: Operation, fault: Fault, place: str, duration: str, size: str) -> bool:
    """Whether this can be, and is not the same as something else that can be."""
    if fault.kind != "answer":
        if place not in ("request", "lookups") or duration == "for a while":
            return False
        if fault.rule["action"] == "state_lag":
            return operation.state_after is not None
        return fault.kind == "list" or operation.has_event
    if place == "request":
        # What was done is not sent again: then it makes no difference for how long.
        is_sent_again = operation.is_repeatable or not fault.is_work_done
        return is_sent_again or duration == "for ever"
    if place == "others" and (size == "one" or operation.looks_after_others):
        # A fleet's events are seen on pages, which are of all machines.
        return fault.can_hit_a_look and operation.waits_for_others
    return fault.can_hit_a_look and (place in ("reads", "lookups") or (place == "polls" and operation.has_event))


def _can_be_busy(cell: Cell) -> bool:
    """Whether it can make a difference what a machine that is at work answers: where something may be sent to it."""
    fault = cell.fault
    return cell.place == "request" and fault.kind == "answer" and (fault.is_work_done or fault.is_busy)


# The first fault of each form, with the work done and without.
TYPICAL = {(fault.form, fault.is_work_done): fault for fault in reversed(FAULTS)}


def _is_dear(cell: Cell) -> bool:
    """Whether it is one of a fleet's in which faults of one form differ in nothing that fifty machines could show.

    Each operation meets every fault in a fleet all the same, or is one that differs from another in its event only.
    """
    if cell.size == "one" or cell.fault in TYPICAL.values():
        return False
    return cell.place in ("reads", "others") or cell.busy == "conflict" or cell.operation.is_like is not None


CELLS = tuple(
    cell
    for cell in itertools.starmap(Cell, itertools.product(OPERATIONS, FAULTS, PLACES, DURATIONS, SIZES, BUSY))
    if is_sensible(cell.operation, cell.fault, cell.place, cell.duration, cell.size)
    and (cell.busy == "queue" or _can_be_busy(cell))
    and not _is_dear(cell)
)

# Of each kind of thing that keeps somebody waiting, one: each of these cells is as dear as many others.
_MOST_HIT_BY = {
    ("connection refused", "request", "for a while"),
    ("dropped before the work", "request", "for a while"),
    ("timeout before the work", "request", "for ever"),
    ("409", "request", "for a while"),
    ("503 before the work", "lookups", "for a while"),
    ("event stuck", "request", "for ever"),
    ("event not visible at first", "request", "for ever"),
    ("machine state lagging", "request", "for ever"),
}
MOST_HIT_CELLS = tuple(
    Cell(operation, fault, place, duration, MOST_HIT, "queue")
    for operation, fault, place, duration in itertools.product(OPERATIONS, FAULTS, PLACES, DURATIONS)
    if (fault.name, place, duration) in _MOST_HIT_BY
    and is_sensible(operation, fault, place, duration, MOST_HIT)
    and operation.is_like is None
)
