# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The clock on which tests let threads take turns."""

from __future__ import annotations

import queue

import pytest
from unit.virtual_time import VirtualClock, VirtualPool, VirtualQueue


@pytest.mark.parametrize(("workers", "seconds"), [(1, 6.0), (2, 3.0), (3, 3.0)])
def test_calls_side_by_side_take_as_long_as_the_workers_allow(workers: int, seconds: float) -> None:
    clock = VirtualClock()
    began = clock.now()
    done = list(VirtualPool(clock, workers).map(clock.sleep, [3.0, 2.0, 1.0]))
    assert (done, clock.now() - began) == ([None] * 3, seconds)


def test_queue_waits_by_the_clock_and_no_longer_than_told() -> None:
    clock = VirtualClock()
    began = clock.now()
    heard: VirtualQueue = VirtualQueue(clock)
    VirtualPool(clock, 1).submit(clock.sleep, 5.0).add_done_callback(heard.put)
    with pytest.raises(queue.Empty):
        heard.get(timeout=2.0)
    assert clock.now() - began == 2.0
    heard.get(timeout=100.0)
    assert clock.now() - began == 5.0
    with pytest.raises(queue.Empty):
        heard.get_nowait()


def test_errors_of_calls_are_those_of_their_results() -> None:
    clock = VirtualClock()
    result = VirtualPool(clock, 1).submit(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        result.result()


def test_waiting_for_nothing_is_an_error() -> None:
    with pytest.raises(AssertionError, match="everybody waits"):
        VirtualQueue(VirtualClock()).get()
