# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run ids and the names of a run's snapshots: the one place that knows their pattern.

A snapshot of a run is named C(PREFIX + RUN_ID) while the run is open for its machine, and
C(PREFIX + RUN_ID + "-ok") or C(... + "-restored") when it is closed. The service keeps no date, tag or
state with a snapshot, so what must survive the controller stands in these names.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone

DEFAULT_PREFIX = "maint-"
OUTCOMES = ("ok", "restored")

# The snapshots of a fleet have few names.
LARGEST_CACHE = 1024

_TIME_FORMAT = "%Y%m%dT%H%M%SZ"
_RUN_ID = r"\d{8}T\d{6}Z-[0-9a-f]{4}"
_RUN_ID_ONLY = re.compile(_RUN_ID, re.ASCII)
_RUN_NAME = re.compile(
    rf"(?P<prefix>.*?)(?P<run_id>{_RUN_ID})(?:-(?P<outcome>{'|'.join(OUTCOMES)}))?", re.ASCII | re.DOTALL
)


@dataclass(frozen=True)
class RunName:
    """A snapshot's name taken apart. C(outcome) is None while the run is open for the machine."""

    prefix: str
    run_id: str
    outcome: str | None

    @property
    def is_closed(self) -> bool:
        return self.outcome is not None

    @functools.cached_property
    def began(self) -> datetime:
        """When the run id was made, by the controller's clock (UTC)."""
        return datetime.strptime(self.run_id[:16], _TIME_FORMAT).replace(tzinfo=timezone.utc)


def new_run_id(now: datetime, random_below: Callable[[int], int]) -> str:
    """C(YYYYMMDDTHHMMSSZ-xxxx): the UTC time and four hex digits."""
    return f"{now.astimezone(timezone.utc):{_TIME_FORMAT}}-{random_below(0x10000):04x}"


def is_run_id(text: str) -> bool:
    """Whether the text is a run id, with a time that exists."""
    return bool(_RUN_ID_ONLY.fullmatch(text)) and _is_time(text[:16])


def run_name(prefix: str, run_id: str, outcome: str | None = None) -> str:
    """The name of a run's snapshot. Raises ValueError for what is no run id or outcome."""
    if not is_run_id(run_id):
        raise ValueError(f"{run_id!r} is not a run id; one looks like 20260131T235959Z-1a2b.")
    if outcome is not None and outcome not in OUTCOMES:
        raise ValueError(f"{outcome!r} is not an outcome of a run; it is one of {', '.join(OUTCOMES)}.")
    return f"{prefix}{run_id}" if outcome is None else f"{prefix}{run_id}-{outcome}"


@functools.lru_cache(maxsize=LARGEST_CACHE)
def parse_run_name(name: str, prefix: str | None = None) -> RunName | None:
    """The name taken apart, or None when no run of this collection (with this prefix, if given) named it."""
    match = _RUN_NAME.fullmatch(name)
    if not match or not _is_time(match["run_id"][:16]):
        return None
    if prefix is not None and match["prefix"] != prefix:
        return None
    return RunName(match["prefix"], match["run_id"], match["outcome"])


def _is_time(text: str) -> bool:
    try:
        datetime.strptime(text, _TIME_FORMAT).replace(tzinfo=timezone.utc)
    except ValueError:
        return False
    return True
