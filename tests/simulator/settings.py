# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything about the service that is a choice: durations, and answers to what the vendor leaves open."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

CHOICES = {"busy": ("conflict", "queue"), "restore_ends": ("ready", "off", "as_before")}


@dataclass(frozen=True)
class Settings:
    api_key: str = "simulator-key"
    seed: int = 0
    """Ids are drawn from it: the same seed and the same calls give the same ids."""

    event_start_seconds: float = 0.5
    """How long an event stays `new`."""
    snapshot_seconds: float = 3.0
    delete_seconds: float = 2.0
    restore_seconds: float = 4.0
    start_seconds: float = 3.0
    stop_seconds: float = 3.0
    restart_seconds: float = 4.0
    upgrade_seconds: float = 4.0
    """How long the event of each operation stays `in progress`."""
    settle_seconds: float = 1.5
    """After a start, restart or restore is done: how long until the machine gets from there to `serviceready`."""
    serviceready_seconds: float = 1.0
    """How long a machine is `serviceready` before it is `ready`."""
    reboot_seconds: float = 3.0
    """How long a machine that reboots itself answers no SSH."""

    state_lag_seconds: float = 1.0
    """The API shows the machine's state as of that long ago."""
    event_invisible_seconds: float = 0.0
    """How long a new event is missing from GET, alone and in lists."""
    snapshot_invisible_seconds: float = 0.0
    """How long a new snapshot is missing from GET, alone and in lists."""

    busy: str = "conflict"
    """A second operation on a busy machine: `conflict` (409) or `queue`."""
    restore_ends: str = "ready"
    """The machine's state after a restore: `ready`, `off` or `as_before`."""
    dynamic_ip_changes_on_restore: bool = True
    dynamic_ip_changes_on_start: bool = True
    duplicate_names: bool = True
    """Whether two snapshots of a machine may have the same name; if not, 409."""
    failed_create_leaves_record: bool = True
    auto_snapshots_by_api: bool = True
    """Whether PUT /machines/{id} takes autoSnapshot fields; if not, 403."""
    auto_snapshots_take_an_event: bool = False
    """Whether a change of autoSnapshot fields is done when an event of its own is; if not, it is done at once."""

    default_limit: int = 12
    """Items on a page when the request has no limit."""
    max_body_bytes: int = 1_048_576
    """A larger request body is refused with 413."""
    requests_per_second: float | None = None
    """Rate limit; None is none. A second's worth may come at once."""
    rate_limit_retry_after: float | None = 1.0
    """Retry-After of a 429 for the rate limit; None leaves the header out."""
    latency_seconds: float = 0.0
    """Every answer is held back that long."""

    def changed(self, changes: Mapping[str, Any]) -> Settings:
        """A copy with these changes, given as plain JSON. Raises ValueError for what cannot be."""
        known = {each.name: each for each in fields(self)}
        for name, value in changes.items():
            if name not in known:
                raise ValueError(f"no such setting: {name}")
            if not _fits(name, str(known[name].type), value):
                raise ValueError(f"setting {name} cannot be {value!r}")
        return replace(self, **changes)

    def as_json(self) -> dict[str, Any]:
        """All settings but the key."""
        return {name: value for name, value in asdict(self).items() if name != "api_key"}


def _fits(name: str, type_name: str, value: Any) -> bool:
    if name in CHOICES:
        return value in CHOICES[name]
    if value is None:
        return type_name.endswith("None")
    if type_name == "str":
        return isinstance(value, str) and bool(value)
    if type_name == "bool" or isinstance(value, bool):
        return type_name == "bool" and isinstance(value, bool)
    if type_name == "int":
        return isinstance(value, int) and (value >= 1 or name == "seed")
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return False
    return value > 0 if name == "requests_per_second" else value >= 0
