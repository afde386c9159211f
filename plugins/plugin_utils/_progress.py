# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines about work that goes on: how many of how many, how long, which failed. Free of Ansible."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ansible_collections.community.paperspace.plugins.module_utils._outcomes import Outcome, Progress

# Seconds. Work that takes less than the first passes in silence.
FIRST_LINE = 2.0
BETWEEN_LINES = 5.0
LONGEST_SILENCE = 30.0
_BETWEEN_LOOKS = 1.0
# The others are counted, and named in the task's own message at the end.
MOST_FAILURES_BETWEEN_LINES = 10


class ProgressLines(Progress):
    """Gives lines to C(say): one when the count has changed, now and then one when it has not, and failures at once."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._outcomes: Sequence[Outcome] = ()
        self._began = 0.0
        self._ended = 0
        self._failed = 0
        self._last_line: float | None = None
        self._told = 0
        self._is_loud = False
        self._unnamed: list[Outcome] = []
        self._named = 0

    def begin(self, outcomes: Sequence[Outcome], now: float) -> None:
        self._outcomes = outcomes
        self._began = now

    def end(self, outcome: Outcome) -> None:
        self._ended += 1
        if outcome.is_bad:
            self._failed += 1
            self._unnamed.append(outcome)
            if self._is_loud and not self._is_single:
                self._name_failures()

    def look(self, now: float) -> float:
        if now < self._began + FIRST_LINE:
            return self._began + FIRST_LINE
        is_over = self._ended == len(self._outcomes)
        if is_over and (self._is_single or self._last_line is None):
            return float("inf")
        self._is_loud = True
        self._name_failures()
        if self._is_due(now, is_over=is_over):
            self._say(self._line(now - self._began))
            self._last_line, self._told, self._named = now, self._ended, 0
        return float("inf") if is_over else now + _BETWEEN_LOOKS

    @property
    def _is_single(self) -> bool:
        """Whether the end of one is the end of all, which the task itself tells at once."""
        return len(self._outcomes) == 1

    def _is_due(self, now: float, *, is_over: bool) -> bool:
        if self._last_line is None:
            return True
        silence = now - self._last_line
        has_changed = self._ended != self._told
        return (has_changed and (is_over or silence >= BETWEEN_LINES)) or silence >= LONGEST_SILENCE

    def _name_failures(self) -> None:
        left = max(0, MOST_FAILURES_BETWEEN_LINES - self._named)
        named, self._unnamed = self._unnamed[:left], []
        self._named += len(named)
        for outcome in named:
            self._say(failure_line(outcome))

    def _line(self, seconds: float) -> str:
        if self._is_single:
            return waiting_line(self._outcomes[0], seconds)
        return count_line(len(self._outcomes), ended=self._ended, failed=self._failed, seconds=seconds)


def count_line(total: int, *, ended: int, failed: int, seconds: float) -> str:
    """Of a fleet: how many came through, how many did not, how many are left, and how long it has taken."""
    parts = [f"{ended - failed} of {total} done"]
    if failed:
        parts.append(f"{failed} failed")
    if ended < total:
        parts.append(f"{total - ended} under way")
    return f"{', '.join(parts)} after {duration(seconds)}"


def waiting_line(outcome: Outcome, seconds: float) -> str:
    """Of the only one: what it waits for, as far as that is known, and how long it has taken."""
    if outcome.event_id and outcome.event_state != "done":
        reason = f"waits for event {outcome.event_id}"
    else:
        reason = outcome.waits_for
    return f"{outcome.label()}: under way after {duration(seconds)}{f' ({reason})' if reason else ''}"


def failure_line(outcome: Outcome) -> str:
    """Which one did not come through, and why."""
    return f"{outcome.label()}: {outcome.status}: {outcome.error}"


def duration(seconds: float) -> str:
    """A time as C(12 s), C(3 min 5 s) or C(2 h 10 min)."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, left = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {left} s"
    return f"{minutes // 60} h {minutes % 60} min"
