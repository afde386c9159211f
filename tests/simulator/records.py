# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines, snapshots and events as the service keeps them, and how they look on the wire."""

from __future__ import annotations

import functools
import random
import string
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from .operations import Operation

REGIONS = {
    "ny2": "East Coast (NY2)",
    "ca1": "West Coast (CA1)",
    "ams1": "Europe (AMS1)",
}
"""The code that a region is asked for by, and the name that it comes back as."""

GIB = 2**30
STATES = ("off", "starting", "stopping", "restarting", "serviceready", "ready", "upgrading", "provisioning")
RUNNING = ("serviceready", "ready")


@functools.lru_cache(maxsize=100_000)
def timestamp(at: float) -> str:
    moment = datetime.fromtimestamp(at, timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


ID_ALPHABET = string.ascii_lowercase + string.digits
ID_LENGTHS = {"ps": 9, "ss": 12, "me": 14, "ne": 9, "te": 9, "us": 9}
"""By prefix: machine, snapshot, machine event, network, team, user."""


class Ids:
    """Ids that look like the service's: a short prefix and lower-case letters and digits."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._given: set[str] = set()

    def new(self, prefix: str) -> str:
        while True:
            made = prefix + "".join(self._random.choices(ID_ALPHABET, k=ID_LENGTHS[prefix]))
            if made not in self._given:
                self._given.add(made)
                return made


@dataclass(eq=False)
class Machine:
    id: str
    sequence: int
    fields: dict[str, Any]
    """The wire's fields but for `state`, under the wire's names."""
    states: deque[tuple[float, str]]
    """When the machine got into each of its latest states; the last is the true one."""
    state_lag_seconds: float | None = None
    """Set by a fault; None is what the settings say."""
    released_public_ip: str | None = None
    """The dynamic address it had before it was last switched off."""
    operation: Operation | None = None
    waiting: deque[Operation] = field(default_factory=deque)

    @property
    def name(self) -> str:
        return str(self.fields["name"])

    @property
    def machine_id(self) -> str:
        return self.id

    @property
    def state(self) -> str:
        return self.states[-1][1]

    def enter(self, state: str, at: float) -> None:
        self.states.append((at, state))
        self.fields["dtModified"] = timestamp(at)

    def shown_state(self, now: float, lag_seconds: float) -> str:
        """What the API says: the state as of `lag_seconds` ago."""
        lag = lag_seconds if self.state_lag_seconds is None else self.state_lag_seconds
        for at, state in reversed(self.states):
            if at + lag <= now:
                return state
        return self.states[0][1]

    def visible(self, now: float) -> bool:
        return True

    def wire(self, now: float, lag_seconds: float) -> dict[str, Any]:
        return {**self.fields, "state": self.shown_state(now, lag_seconds)}


@dataclass(eq=False)
class Snapshot:
    id: str
    sequence: int
    machine_id: str
    name: str
    is_auto_snapshot: bool
    visible_at: float
    complete: bool = False
    """Whether the disk image is there, which the API does not tell."""

    def visible(self, now: float) -> bool:
        return self.visible_at <= now

    def wire(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "isAutoSnapshot": self.is_auto_snapshot,
            "machineId": self.machine_id,
            "name": self.name,
        }


@dataclass(eq=False)
class Event:
    id: str
    sequence: int
    machine_id: str
    name: str
    created_at: float
    visible_at: float
    state: str = "new"
    error: str | None = None
    started_at: float | None = None
    finished_at: float | None = None

    def visible(self, now: float) -> bool:
        return self.visible_at <= now

    def wire(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "state": self.state,
            "machineId": self.machine_id,
            "error": self.error,
            "dtCreated": timestamp(self.created_at),
            "dtStarted": None if self.started_at is None else timestamp(self.started_at),
            "dtFinished": None if self.finished_at is None else timestamp(self.finished_at),
        }


class Record(Protocol):
    @property
    def id(self) -> str:
        """Its own id."""

    @property
    def sequence(self) -> int:
        """Later ones have higher numbers."""

    @property
    def machine_id(self) -> str:
        """The id of the machine that it is of."""

    @property
    def name(self) -> str:
        """What it is called."""

    def visible(self, now: float) -> bool:
        """Whether the API shows it yet."""


RecordT = TypeVar("RecordT", bound=Record)


class Records(Generic[RecordT]):
    """Records in order of creation, by id and by machine, so that a page costs its own length and not the fleet's."""

    def __init__(self) -> None:
        self._by_id: dict[str, RecordT] = {}
        self._ordered: list[RecordT] = []
        self._by_machine: dict[str, list[RecordT]] = {}

    def __iter__(self) -> Iterator[RecordT]:
        return iter(self._ordered)

    def __len__(self) -> int:
        return len(self._ordered)

    def get(self, record_id: str) -> RecordT | None:
        return self._by_id.get(record_id)

    def ordered(self) -> Sequence[RecordT]:
        return self._ordered

    def of_machine(self, machine_id: str) -> Sequence[RecordT]:
        return self._by_machine.get(machine_id, [])

    def add(self, record: RecordT) -> RecordT:
        self._by_id[record.id] = record
        self._ordered.append(record)
        self._by_machine.setdefault(record.machine_id, []).append(record)
        return record

    def remove(self, record: RecordT) -> None:
        del self._by_id[record.id]
        for listed in (self._ordered, self._by_machine[record.machine_id]):
            del listed[bisect_left(listed, record.sequence, key=lambda each: each.sequence)]


def machine_fields(machine_id: str, name: str, created_at: float, network_id: str) -> dict[str, Any]:
    """A machine's wire fields, but for state and addresses."""
    return {
        "id": machine_id,
        "name": name,
        "accelerators": None,
        "agentType": "LinuxHeadless",
        "autoShutdownEnabled": False,
        "autoShutdownForce": None,
        "autoShutdownTimeout": None,
        "autoSnapshotEnabled": False,
        "autoSnapshotFrequency": None,
        "autoSnapshotSaveCount": None,
        "cpus": 2,
        "dtCreated": timestamp(created_at),
        "dtDeleted": None,
        "dtModified": None,
        "machineType": "C5",
        "networkId": network_id,
        "os": "Ubuntu 22.04.3 LTS",
        "publicIpType": "dynamic",
        "ram": str(4 * GIB),
        "region": REGIONS["ny2"],
        "reservation": None,
        "restorePointEnabled": False,
        "restorePointFrequency": None,
        "restorePointSnapshotId": None,
        "storageRate": 0.0069,
        "storageTotal": str(50 * GIB),
        "storageUsed": str(12 * GIB),
        "updatesPending": False,
        "usageRate": 0.08,
    }
