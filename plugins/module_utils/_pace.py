# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When to send again, how many requests are under way at once, and how all of a task slow down together."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

from ansible_collections.community.paperspace.plugins.module_utils._errors import DeadlinePassed

FIRST_BACKOFF = 1.0
LONGEST_BACKOFF = 60.0
LONGEST_RETRY_AFTER = 900.0

# After a refusal the rate begins at this part of what went well before it, and is back there after a plateau: soon
# after the first one, when little is known yet.
BELOW_LIMIT = 0.9
LARGEST_CUT = 0.5
LOWEST_RATE = 0.1
FIRST_PLATEAU = 2.0
PLATEAU = 6.0


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
    asked, now = http_date(value), service_time(headers)
    if asked is None or now is None:
        return None
    seconds = (asked - now).total_seconds()
    return seconds if seconds > 0 else None


def service_time(headers: Mapping[str, str]) -> datetime | None:
    """The time of the service's own clock when it answered, from C(Date)."""
    return http_date(headers.get("Date", ""))


def http_date(text: str) -> datetime | None:
    """The time that a header tells, or None where it tells none."""
    try:
        told = parsedate_to_datetime(text)
        return told if told.tzinfo else told.replace(tzinfo=timezone.utc)
    except (TypeError, ValueError, OverflowError):
        return None


class Places:
    """So many requests at once, in the order in which they came.

    The semaphores of Python let whoever has just left enter again before those who wait, so that a poll would wait for
    thousands of requests that came after it.
    """

    def __init__(self, count: int) -> None:
        self._lock = threading.Lock()
        self._free = count
        self._queue: deque[threading.Event] = deque()

    def __enter__(self) -> None:
        turn = threading.Event()
        try:
            with self._lock:
                self._queue.append(turn)
                self._hand_out()
            turn.wait()
        except BaseException:
            # An interrupt: nobody must hand a place to somebody who is gone, nor may this one's be lost.
            with self._lock:
                if turn in self._queue:
                    self._queue.remove(turn)
                elif turn.is_set():
                    self._free += 1
                    self._hand_out()
            raise

    def __exit__(self, *_error: object) -> None:
        with self._lock:
            self._free += 1
            self._hand_out()

    def _hand_out(self) -> None:
        while self._free and self._queue:
            self._free -= 1
            self._queue.popleft().set()


class Rate:
    """The requests a second that a service takes, learnt from those that it refused. Times are seconds of one clock.

    There is no bound before a refusal. After one the rate begins below what went well since the one before, comes
    back to that, stays near it for some seconds, and then goes beyond it ever faster, since the limit may be gone
    (the curve of TCP's CUBIC, RFC 9438).
    """

    def __init__(self) -> None:
        self._limit: float | None = None
        self._plateau = FIRST_PLATEAU
        self._resumed = 0.0
        self._counted_from: float | None = None
        self._answered = 0

    def at(self, now: float) -> float:
        """Requests a second; infinite without a bound."""
        if self._limit is None:
            return float("inf")
        waited = max(0.0, now - self._resumed)
        return self._limit * (1 + (1 - BELOW_LIMIT) * (waited / self._plateau - 1) ** 3)

    def answered(self, now: float) -> None:
        """A request was not refused."""
        if self._counted_from is None:
            self._counted_from = now
        self._answered += 1

    def refused(self, now: float, resumes: float) -> None:
        """A request was refused, and nothing will be sent until C(resumes). That time counts as time without answers.

        So a service that takes a number of requests a minute, and then none, is known for what it is.
        """
        went_well = 0.0
        if self._counted_from is not None and resumes > self._counted_from:
            went_well = self._answered / (resumes - self._counted_from)
        if self._limit is not None:
            reached = self.at(now)
            self._plateau = PLATEAU
            self._limit = max(LOWEST_RATE, min(max(went_well, LARGEST_CUT * reached), reached))
        elif went_well:
            self._limit = max(LOWEST_RATE, went_well)
        self._resumed = resumes
        self._counted_from, self._answered = now, 0


class Pace:
    """One rate budget: when any request is told to slow down, all wait, and go on no faster than the service takes."""

    def __init__(self, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._rate = Rate()
        self._not_before = float("-inf")
        self._next_turn = float("-inf")
        self._refused_at = float("-inf")

    def wait_for_turn(self, deadline: float = float("inf")) -> float:
        """Return when a request may be sent, with the time. Raises DeadlinePassed where that is past the deadline."""
        turn: float | None = None
        while True:
            with self._lock:
                now = self._clock()
                # Whoever has a turn in a time in which nobody may send takes another.
                if turn is None or turn < self._not_before:
                    turn = self._take_turn(now)
            if turn <= now:
                return now
            if turn >= deadline:
                raise DeadlinePassed(" The service limits the rate of requests.")
            self._sleep(turn - now)

    def answered(self) -> None:
        """A request was answered, and not by a refusal to be so quick."""
        with self._lock:
            self._rate.answered(self._clock())

    def slow_down(self, seconds: float, sent: float) -> None:
        """A request that was sent at that time was refused: let nobody send for so many seconds, and then send slower.

        Requests that were under way at a refusal, and are refused as well, are no news of the rate.
        """
        with self._lock:
            now = self._clock()
            self._not_before = max(self._not_before, now + seconds)
            if sent > self._refused_at:
                self._rate.refused(now, self._not_before)
                self._refused_at = now
            self._next_turn = self._not_before

    def _take_turn(self, now: float) -> float:
        turn = max(now, self._not_before, self._next_turn)
        self._next_turn = turn + 1 / self._rate.at(turn)
        return turn
