# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading

import pytest
from unit.fake_service import Time

from ansible_collections.community.paperspace.plugins.module_utils._pace import Pace, backoff, retry_after


def test_backoff_is_exponential_with_full_jitter_and_an_end() -> None:
    assert [backoff(attempt, lambda: 1.0) for attempt in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert backoff(3, lambda: 0.25) == 2.0
    assert backoff(5, lambda: 0.0) == 0.0
    assert backoff(100_000, lambda: 1.0) == 60.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5.0),
        (" 120 ", 120.0),
        ("9" * 400, float("inf")),
        ("Wed, 21 Oct 2015 07:28:10 GMT", 10.0),
        # Nothing that could be waited for.
        ("0", None),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("Wed, 21 Oct 2015 07:27:00 GMT", None),
        ("Wed, 21 Oct 2015 07:28:10 -0000", None),
        ("Wed, 99 Oct 99999 07:28:10 GMT", None),
        ("Wed, 21 Oct 2015 07:28:10 +9999999999999999", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert retry_after({"Retry-After": value, "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}) == seconds


def test_retry_after_as_a_date_needs_the_answers_own_date() -> None:
    assert retry_after({"Retry-After": "Wed, 21 Oct 2015 07:28:10 GMT"}) is None
    assert retry_after({"Retry-After": "Wed, 21 Oct 2015 07:28:10 GMT", "Date": "today"}) is None
    assert retry_after({}) is None


def test_nobody_waits_when_nothing_holds() -> None:
    time = Time()
    Pace(time.clock, time.sleep).wait_for_turn()
    assert time.slept == []


def test_everybody_waits_for_the_longest_hold() -> None:
    time = Time()
    pace = Pace(time.clock, time.sleep)
    pace.hold(30)
    pace.hold(5)
    pace.wait_for_turn()
    pace.wait_for_turn()
    assert time.slept == [30]


def test_a_hold_that_grows_while_waiting_is_waited_for_to_its_end() -> None:
    time = Time()

    def sleep(seconds: float) -> None:
        if not time.slept:
            pace.hold(50)
        time.sleep(seconds)

    pace = Pace(time.clock, sleep)
    pace.hold(10)
    pace.wait_for_turn()
    assert time.slept == [10, 40]


def test_the_lock_is_free_while_somebody_waits() -> None:
    waiting, done = threading.Event(), threading.Event()
    time = Time()

    def sleep(seconds: float) -> None:
        waiting.set()
        assert done.wait(10)
        time.sleep(seconds)

    pace = Pace(time.clock, sleep)
    pace.hold(10)
    waiter = threading.Thread(target=pace.wait_for_turn)
    waiter.start()
    assert waiting.wait(10)
    pace.hold(1)
    done.set()
    waiter.join(10)
    assert not waiter.is_alive()
    assert time.slept == [10]
