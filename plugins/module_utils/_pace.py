# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When to send again, and how all requests of a task slow down together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime

from ansible_collections.community.paperspace.plugins.module_utils._errors import DeadlinePassed

FIRST_BACKOFF = 1.0
LONGEST_BACKOFF = 60.0
LONGEST_RETRY_AFTER = 900.0


def backoff(attempt: int, random: Callable[[], float]) -> float:
    """Seconds before try number C(attempt + 1): exponential from 1 s to 60 s, with full jitter."""
    return random() * min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0 ** min(attempt, 16))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that C(Retry-After) asks for, or None where it asks for nothing that could be waited for.

    A date is taken relative to the answer's own C(Date), so that a wrong clock here does no harm.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value) or None
    try:
        asked = parsedate_to_datetime(value)
        now = parsedate_to_datetime(headers.get("Date", ""))
        seconds = (asked - now).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if seconds > 0 else None


class Pace:
    """One rate budget: when any request is told to slow down, all wait."""

    def __init__(self, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._not_before = float("-inf")

    def wait_for_turn(self, deadline: float = float("inf")) -> None:
        """Return when a request may be sent. Raises DeadlinePassed when that is not before the deadline."""
        while True:
            with self._lock:
                delay = self._not_before - self._clock()
                is_too_late = self._not_before >= deadline
            if delay <= 0:
                return
            if is_too_late:
                raise DeadlinePassed(" The service limits the rate of requests.")
            self._sleep(delay)

    def hold(self, seconds: float) -> None:
        """Let nobody send for so many seconds from now."""
        with self._lock:
            self._not_before = max(self._not_before, self._clock() + seconds)
