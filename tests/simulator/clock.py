# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time for the simulator: real, or moved by hand."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    def now(self) -> float:
        """Unix seconds."""

    def advance(self, seconds: float) -> None:
        """Let the given time pass without waiting for it."""

    def sleep(self, seconds: float) -> None:
        """Let the given time pass, waiting for it where time is real."""


class ManualClock:
    """Stands still until it is advanced, so that unit tests never wait."""

    def __init__(self, start: float = 1_767_225_600.0) -> None:
        self._now = start
        self._lock = threading.Lock()

    def now(self) -> float:
        with self._lock:
            return self._now

    def advance(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError(f"time does not run backwards: {seconds}")
        with self._lock:
            self._now += seconds

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)


class SystemClock:
    """The real time, plus whatever a test has advanced it by."""

    def __init__(self) -> None:
        # Monotonic time with a wall-clock origin: a clock step of the host must not undo transitions.
        self._origin = time.time() - time.monotonic()

    def now(self) -> float:
        return self._origin + time.monotonic()

    def advance(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError(f"time does not run backwards: {seconds}")
        self._origin += seconds

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
