# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest
from unit.fake_service import Time
from unit.simulated_fleet import Fleet
from unit.virtual_time import VirtualClock, VirtualPool

from ansible_collections.community.paperspace.plugins.module_utils._errors import DeadlinePassed
from ansible_collections.community.paperspace.plugins.module_utils._pace import (
    Pace,
    Places,
    Rate,
    backoff,
    retry_after,
)


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
        ("Wed, 21 Oct 2015 07:28:10 -0000", 10.0),
        # Nothing that could be waited for.
        ("0", None),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("Wed, 21 Oct 2015 07:27:00 GMT", None),
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
    pace.slow_down(30, sent=time.now)
    pace.slow_down(5, sent=time.now)
    pace.wait_for_turn()
    pace.wait_for_turn()
    assert time.slept == [30]


def test_a_hold_that_grows_while_waiting_is_waited_for_to_its_end() -> None:
    time = Time()

    def sleep(seconds: float) -> None:
        if not time.slept:
            pace.slow_down(50, sent=time.now)
        time.sleep(seconds)

    pace = Pace(time.clock, sleep)
    pace.slow_down(10, sent=time.now)
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
    pace.slow_down(10, sent=time.now)
    waiter = threading.Thread(target=pace.wait_for_turn)
    waiter.start()
    assert waiting.wait(10)
    pace.slow_down(1, sent=time.now)
    done.set()
    waiter.join(10)
    assert not waiter.is_alive()
    assert time.slept == [10]


def test_a_turn_that_comes_too_late_is_refused_at_once() -> None:
    time = Time()
    pace = Pace(time.clock, time.sleep)
    pace.slow_down(30, sent=time.now)
    with pytest.raises(DeadlinePassed):
        pace.wait_for_turn(deadline=time.now + 30)
    assert time.slept == []
    pace.wait_for_turn(deadline=time.now + 31)
    assert time.slept == [30]


def test_no_bound_before_a_refusal_nor_without_an_answer_to_learn_from() -> None:
    rate = Rate()
    rate.answered(1.0)
    assert rate.at(1.0) == float("inf")
    rate = Rate()
    rate.refused(1.0, 31.0)
    assert rate.at(31.0) == float("inf")


def test_rate_begins_below_what_went_well_comes_back_to_it_and_goes_beyond() -> None:
    rate = Rate()
    for number in range(100):
        rate.answered(number / 100)
    rate.refused(1.0, 2.0)
    # 100 answers in 2 seconds, the time in which nothing is sent included.
    assert [round(rate.at(2 + waited), 1) for waited in (-1, 0, 1, 2, 3, 6)] == [45, 45, 49.4, 50, 50.6, 90]


def test_rate_is_cut_in_half_at_most_and_never_raised_by_a_refusal() -> None:
    rate = Rate()
    for number in range(16):
        rate.answered(number / 16)
    rate.refused(1.0, 2.0)
    assert rate.at(4.0) == 8.0
    rate.refused(4.0, 5.0)
    assert rate.at(11.0) == 4.0
    for number in range(1000):
        rate.answered(11 + number / 1000)
    rate.refused(12.0, 12.0)
    assert rate.at(18.0) == pytest.approx(4.0, rel=0.01)


def test_rate_has_an_end_however_often_it_is_cut() -> None:
    rate = Rate()
    rate.answered(0.0)
    for number in range(1, 100):
        rate.refused(number, number + 60)
    assert rate.at(159.0) == pytest.approx(0.09)


def test_refusals_of_requests_that_were_under_way_count_once() -> None:
    time = Time()
    pace = Pace(time.clock, time.sleep)
    for dummy in range(10):
        pace.wait_for_turn()
        pace.answered()
    sent = time.now
    time.now += 1
    for dummy in range(5):
        pace.slow_down(1, sent=sent)
    turns = [pace.wait_for_turn() for dummy in range(3)]
    # Ten answers in two seconds: five a second, and at first a tenth less.
    assert turns[0] == sent + 2
    assert 1 / 5 < turns[1] - turns[0] < 1 / 4.4


def limited(**settings: Any) -> tuple[Fleet, VirtualClock]:
    """A service that takes 50 requests a second (a second's worth at once), and 50 ms for each."""
    clock = VirtualClock()
    rate = {"requests_per_second": 50.0, "latency_seconds": 0.05}
    return Fleet(clock=clock, is_history_whole=False, **{**rate, **settings}), clock


def send_all(fleet: Fleet, clock: VirtualClock, requests: int) -> float:
    """The seconds that so many requests take, sixteen at a time. All have to be answered."""
    began = clock.now()
    client = fleet.client(concurrency=16)
    pool = VirtualPool(clock, 16)
    for future in [pool.submit(client.check_key) for dummy in range(requests)]:
        future.result()
    return clock.now() - began


@pytest.mark.parametrize("retry_after", [1.0, None])
@pytest.mark.parametrize("requests", [1000, 5000])
def test_rate_settles_near_the_services_limit_without_a_hail_of_refusals(
    requests: int, retry_after: float | None
) -> None:
    fleet, clock = limited(rate_limit_retry_after=retry_after)
    seconds = send_all(fleet, clock, requests)
    assert requests <= len(fleet.service.log) <= 1.03 * requests
    # The least time: all but the first second's worth come at 50 a second.
    assert seconds <= 1.2 * (requests - 50) / 50


@pytest.mark.parametrize("limit", [5.0, 20.0, 100.0])
def test_other_limits_are_found_as_well(limit: float) -> None:
    fleet, clock = limited(requests_per_second=limit)
    requests = int(limit * 60)
    seconds = send_all(fleet, clock, requests)
    assert len(fleet.service.log) <= 1.1 * requests
    assert seconds <= 1.3 * 60


def test_full_speed_comes_back_when_the_limit_is_gone() -> None:
    fleet, clock = limited()
    client = fleet.client(concurrency=16)
    pool = VirtualPool(clock, 16)

    def send(requests: int) -> float:
        began = clock.now()
        for future in [pool.submit(client.check_key) for dummy in range(requests)]:
            future.result()
        return clock.now() - began

    send(1000)
    fleet.service.change_settings(requests_per_second=None)
    # Sixteen at a time, 50 ms each: 320 a second, and that soon.
    assert send(4000) < 40
    assert send(3200) < 11


def test_several_tasks_share_a_limit() -> None:
    fleet, clock = limited()
    clients = [fleet.client(concurrency=16) for dummy in range(4)]
    pools = [VirtualPool(clock, 16) for dummy in clients]
    futures = [
        pool.submit(client.check_key) for dummy in range(500) for client, pool in zip(clients, pools, strict=True)
    ]
    began = clock.now()
    for future in futures:
        future.result()
    assert len(fleet.service.log) <= 1.1 * 2000
    assert clock.now() - began <= 2 * 2000 / 50


def in_thread(places: Places, work: Callable[[], object]) -> threading.Thread:
    """A thread that waits for a place by now."""

    def enter() -> None:
        with places:
            work()

    waiting = len(places._queue)
    thread = threading.Thread(target=enter)
    thread.start()
    while len(places._queue) == waiting:
        pass
    return thread


def test_places_are_given_in_the_order_in_which_they_were_asked_for() -> None:
    places = Places(1)
    order: list[str] = []
    with places:
        threads = [in_thread(places, lambda name=name: order.append(name)) for name in ("first", "second")]
    # Whoever has left waits behind those who have waited.
    with places:
        order.append("again")
    for thread in threads:
        thread.join()
    assert order == ["first", "second", "again"]


def test_place_of_whoever_is_interrupted_while_waiting_is_not_lost() -> None:
    class Interrupted(BaseException):
        pass

    def interrupt(_number: int, _frame: object) -> None:
        raise Interrupted

    def send_when_waiting() -> None:
        while not places._queue:
            pass
        os.kill(os.getpid(), signal.SIGUSR1)

    places = Places(1)
    before = signal.signal(signal.SIGUSR1, interrupt)
    sender = threading.Thread(target=send_when_waiting)
    try:
        with places:
            sender.start()
            with pytest.raises(Interrupted), places:
                pass
    finally:
        signal.signal(signal.SIGUSR1, before)
        sender.join()
    with places:
        in_thread_done = in_thread(places, lambda: None)
    in_thread_done.join()


@pytest.mark.parametrize("count", [1, 3])
def test_never_more_at_once_than_there_are_places(count: int) -> None:
    places = Places(count)
    inside = most = 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal inside, most
        for dummy in range(200):
            with places:
                with lock:
                    inside += 1
                    most = max(most, inside)
                with lock:
                    inside -= 1

    threads = [threading.Thread(target=work) for dummy in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert inside == 0
    assert most <= count
    # None was lost.
    assert places._free == count
