# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Threads that take turns on a clock of their own: what is done side by side takes no longer than its longest part.

One thread runs at a time, and time passes only when all of them wait. So a test with many requests in flight is over
at once, and goes the same way each time.
"""

from __future__ import annotations

import heapq
import itertools
import queue
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.community.paperspace.plugins.module_utils import _scheduler
from simulator.clock import ManualClock

LONGEST_TURN = 60.0


class _Turn:
    """A thread's place among the others. C(waits) is the number of what it waits for, None while it is to run."""

    def __init__(self) -> None:
        self.go = threading.Semaphore(0)
        self.waits: int | None = None


class VirtualClock(ManualClock):
    """The clock, and the order in which threads run on it."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers = itertools.count()
        self._ready: deque[_Turn] = deque()
        self._asleep: list[tuple[float, int, _Turn]] = []
        self._own = threading.local()

    def sleep(self, seconds: float) -> None:
        self.wait(seconds)

    def wait(self, seconds: float | None) -> _Turn:
        """Let others run until so much time has passed, or somebody calls C(wake)."""
        turn = self.turn()
        self._begin_to_wait(turn, seconds)
        self.hand_over(turn)
        return turn

    def turn(self) -> _Turn:
        if not hasattr(self._own, "turn"):
            self._own.turn = _Turn()
        turn: _Turn = self._own.turn
        return turn

    def wake(self, turn: _Turn) -> None:
        if turn.waits is not None:
            turn.waits = None
            self._ready.append(turn)

    def start(self, function: Callable[[], None]) -> None:
        """Run a function in a thread of its own, once there is a turn for it."""
        turn = _Turn()

        def run() -> None:
            _await_turn(turn)
            self._own.turn = turn
            function()
            self._next().go.release()

        self._ready.append(turn)
        threading.Thread(target=run, daemon=True).start()

    def hand_over(self, turn: _Turn) -> None:
        following = self._next()
        if following is not turn:
            following.go.release()
            _await_turn(turn)

    def _begin_to_wait(self, turn: _Turn, seconds: float | None) -> None:
        turn.waits = next(self._numbers)
        if seconds is not None:
            heapq.heappush(self._asleep, (self.now() + max(0.0, seconds), turn.waits, turn))

    def _next(self) -> _Turn:
        if self._ready:
            return self._ready.popleft()
        while self._asleep:
            until, number, turn = heapq.heappop(self._asleep)
            if turn.waits == number:
                turn.waits = None
                self.advance(max(0.0, until - self.now()))
                return turn
        raise AssertionError("everybody waits, and for nothing that time could bring")


def _await_turn(turn: _Turn) -> None:
    if not turn.go.acquire(timeout=LONGEST_TURN):
        raise AssertionError("somebody keeps the turn, or waits without the clock")


class VirtualQueue:
    """As queue.SimpleQueue, but the time to wait is the clock's."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._items: deque[Any] = deque()
        self._waiting: _Turn | None = None

    def put(self, item: Any) -> None:
        self._items.append(item)
        if self._waiting is not None:
            self._clock.wake(self._waiting)

    def get(self, timeout: float | None = None) -> Any:
        if not self._items:
            self._waiting = self._clock.turn()
            self._clock.wait(timeout)
            self._waiting = None
        return self.get_nowait()

    def get_nowait(self) -> Any:
        if not self._items:
            raise queue.Empty
        return self._items.popleft()


def let_schedulers_wait_by(clock: VirtualClock, patch: pytest.MonkeyPatch) -> None:
    """Let schedulers that are made from now on wait for their calls by this clock."""
    virtual = SimpleNamespace(SimpleQueue=lambda: VirtualQueue(clock), Empty=queue.Empty)
    patch.setattr(_scheduler, "queue", virtual)


class _Result(Future[Any]):
    """A future whose result is waited for by the clock."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock

    def result(self, timeout: float | None = None) -> Any:
        if not self.done():
            turn = self._clock.turn()
            self.add_done_callback(lambda _future: self._clock.wake(turn))
            self._clock.wait(timeout)
        return super().result(0)


class VirtualPool(Executor):
    """Runs so many calls side by side, in the order in which they were submitted."""

    def __init__(self, clock: VirtualClock, workers: int) -> None:
        self._clock = clock
        self._free = workers
        self._due: deque[tuple[Future[Any], Callable[[], Any]]] = deque()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = _Result(self._clock)
        self._due.append((future, lambda: fn(*args, **kwargs)))
        if self._free:
            self._free -= 1
            self._clock.start(self._work)
        return future

    def _work(self) -> None:
        while self._due:
            future, call = self._due.popleft()
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001  # as an executor does
                future.set_exception(error)
            else:
                future.set_result(result)
        self._free += 1
