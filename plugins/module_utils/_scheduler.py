# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many procedures side by side, waiting together with few requests.

A procedure is a generator that reads as if its machine were alone: it yields what it needs (a request, the end
of an event, another look at its machine, a pause) and is resumed with the result. All waiting goes through here,
so that one page of events serves every machine that waits, and one clock and one deadline rule the whole task.
"""

from __future__ import annotations

import heapq
import itertools
import queue
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from ansible_collections.community.paperspace.plugins.module_utils._client import LARGEST_PAGE, Client, Listed
from ansible_collections.community.paperspace.plugins.module_utils._errors import (
    AnswerLost,
    DeadlinePassed,
    PaperspaceError,
    SendAgain,
)
from ansible_collections.community.paperspace.plugins.module_utils._feed import Feed
from ansible_collections.community.paperspace.plugins.module_utils._outcomes import NO_PROGRESS, Progress
from ansible_collections.community.paperspace.plugins.module_utils._wire import Event, Machine

QUICKEST_POLL = 0.5
SLOWEST_POLL = 30.0
SHORTEST_BREATH = 0.1
# A look asks for no more than so many one by one.
MOST_ASKED_FOR = 10
# How many calls are handed to the pool for each that it can make at once, and for each page that a poll may ask for:
# meanwhile none is handed over.
CALLS_FOR_EACH_PLACE = 4
# What any clock can sleep at once, however long a task may wait.
LONGEST_SLEEP = 3600.0


@dataclass(frozen=True, slots=True)
class Call:
    """A request, or several that only read, run in the pool. Resumes with the result, or with the exception raised.

    Between its tries the place in the pool is free for others.
    """

    function: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class EventEnd:
    """Resumes with the event when it is done, error or cancelled."""

    event: Event


@dataclass(frozen=True, slots=True)
class NextLook:
    """Resumes with the machine as the next poll finds it."""

    machine_id: str


@dataclass(frozen=True, slots=True)
class NewSnapshots:
    """Resumes with the machine's snapshots that came up during the task, newest first, as they were C(since) then.

    For tasks with a feed.
    """

    machine_id: str
    since: float


@dataclass(frozen=True, slots=True)
class Pause:
    """Resumes with None after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class _Try:
    """A call of a procedure, whose request was sent C(number) times before, the last time with this error."""

    procedure: Procedure[None]
    call: Call
    number: int = 0
    error: PaperspaceError | None = None


@dataclass(frozen=True)
class _Look:
    """A part of a round of looks. C(pages): how many it asks for at most; 0 when there is nothing to look for."""

    pages: Callable[[], int]
    take: Callable[[], None]


Step: TypeAlias = "Call | EventEnd | NextLook | NewSnapshots | Pause"
T = TypeVar("T")
Procedure = Generator[Step, Any, T]
Item = TypeVar("Item", Event, Machine)


def poll_interval(waited: float) -> float:
    """Seconds from one poll to the next: quick at first, then a tenth of the time waited so far, at most half a minute.

    A tenth is what a wait may end late by; after five minutes it would be long to look at.
    """
    return min(SLOWEST_POLL, max(QUICKEST_POLL, waited / 10))


def pages_for(count: int) -> int:
    """How many pages so many items fill."""
    return -(-count // LARGEST_PAGE)


class PageWatch(Generic[Item]):
    """Finds wanted items on list pages, newest first, with at most one request per 120 wanted ones a look.

    The pages on which items were seen are asked for again, and the other items are searched for from the front. What
    one look does not reach, the next goes on to; C(is_behind) says that there is such. Where the service breaks the
    list off, some of those that it did not show are asked for one by one, in turn.
    """

    def __init__(self, page: Callable[[str | None], Listed[Item]], one: Callable[[str], Item]) -> None:
        self._page: Callable[[str | None], Listed[Item]] = page
        self._one: Callable[[str], Item] = one
        # Pages go by the cursor that leads to them: by item, with the number of the request, and the one to search.
        self._page_of: dict[str, str | None] = {}
        self._shown: dict[str, int] = {}
        self._numbers = itertools.count(1)
        self._search: str | None = None
        self._has_searched = False
        self._round = 0
        self._asked_for: set[str] = set()
        self._has_more_to_ask_for = False
        self.is_behind = False
        self.last_error: PaperspaceError | None = None

    def look(self, wanted: Collection[str], is_past: Callable[[Item], bool] | None = None) -> dict[str, Item]:
        """The wanted items that this look finds. A failing request ends the look, no more.

        C(is_past) says of an item that it is older than every wanted one, where that can be said.
        """
        found: dict[str, Item] = {}
        self.is_behind = False
        try:
            if len(wanted) == 1:
                found = {item_id: self._one(item_id) for item_id in wanted}
            else:
                self._look_at_pages(wanted, is_past, found)
            self.last_error = None
        except PaperspaceError as error:
            self._search = None
            self._page_of.clear()
            self.last_error = error
        return found

    def _look_at_pages(
        self, wanted: Collection[str], is_past: Callable[[Item], bool] | None, found: dict[str, Item]
    ) -> None:
        left = set(wanted)
        may_search = True
        self._has_more_to_ask_for = False
        for dummy in range(pages_for(len(wanted))):
            known = left.intersection(self._page_of)
            may_search = may_search and len(known) < len(left)
            # Now the one and now the other, so that neither keeps the other waiting.
            if may_search and not (known and self._has_searched):
                cursor = self._search
            elif known:
                cursor = self._page_of[min(known, key=lambda item_id: self._shown[item_id])]
            else:
                break
            searches = may_search and cursor == self._search
            page = self._page(cursor)
            self._has_searched = searches
            self._note(page, cursor, left, found)
            if searches:
                may_search = self._search_on(page, is_past, [each for each in wanted if each in left], found)
        known = left.intersection(self._page_of)
        if known == left:
            self._search = None
        is_unread = self._search is not None or any(self._shown[item_id] < self._round for item_id in known)
        self.is_behind = is_unread or self._has_more_to_ask_for
        if not self.is_behind:
            self._round = next(self._numbers)

    def _note(self, page: Listed[Item], cursor: str | None, left: set[str], found: dict[str, Item]) -> None:
        """Take what is left from this page, and remember what is on it, wanted now or later, and what no longer is."""
        for item_id in [each for each in left if self._page_of.get(each, "") == cursor]:
            del self._page_of[item_id]
        number = next(self._numbers)
        for item in page.items:
            self._page_of[item.id] = cursor
            self._shown[item.id] = number
            if item.id in left:
                found[item.id] = item
                left.remove(item.id)

    def _search_on(
        self,
        page: Listed[Item],
        is_past: Callable[[Item], bool] | None,
        left: Sequence[str],
        found: dict[str, Item],
    ) -> bool:
        """Go on to the next page; False at the end of the list."""
        is_cut_off = page.is_cut_off((self._search or "",))
        if is_cut_off:
            self._look_at_some([item_id for item_id in left if item_id not in self._page_of], found)
        is_end = page.cursor in (None, self._search) or (is_past is not None and any(map(is_past, page.items)))
        self._search = None if is_cut_off or is_end else page.cursor
        return self._search is not None

    def _look_at_some(self, hidden: Sequence[str], found: dict[str, Item]) -> None:
        """Ask for those that were not asked for lately."""
        turns = [item_id for item_id in hidden if item_id not in self._asked_for]
        if not turns:
            self._asked_for.clear()
            turns = list(hidden)
        self._has_more_to_ask_for = len(turns) > MOST_ASKED_FOR
        for item_id in turns[:MOST_ASKED_FOR]:
            self._asked_for.add(item_id)
            found[item_id] = self._one(item_id)


class Scheduler:
    """Runs procedures to their end. At C(deadline), by the client's clock, all waiting raises DeadlinePassed.

    C(interval) fixes the seconds between polls; None lets them adapt.
    """

    def __init__(
        self,
        client: Client,
        executor: Executor,
        *,
        deadline: float,
        interval: float | None = None,
        progress: Progress = NO_PROGRESS,
        feed: Feed | None = None,
    ) -> None:
        self._client = client
        self._clock = client.clock
        self._sleep = client.sleep
        self._executor = executor
        self._deadline = deadline
        self._interval = interval
        self._progress = progress
        self._next_look = float("inf")
        self._feed = feed
        # As of when the feed has to be known.
        self._feed_due = float("-inf")
        self._event_watch: PageWatch[Event] = PageWatch(
            lambda cursor: client.event_page(cursor, retries=0), lambda event_id: client.event(event_id, retries=0)
        )
        self._machine_watch: PageWatch[Machine] = PageWatch(
            lambda cursor: client.machine_page(cursor, retries=0),
            lambda machine_id: client.machine(machine_id, retries=0),
        )
        self._finished: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
        self._calls: dict[Future[Any], _Try] = {}
        self._not_begun: Iterator[Procedure[None]] = iter(())
        self._events: dict[str, list[Procedure[None]]] = {}
        self._last_seen: dict[str, Event] = {}
        self._looks: dict[str, list[Procedure[None]]] = {}
        self._new_snapshots: dict[Procedure[None], NewSnapshots] = {}
        # Until when, by which procedure; with the call that is to be made again then, if it is for that.
        self._pauses: list[tuple[float, int, Procedure[None], _Try | None]] = []
        self._numbers = itertools.count()
        self._waiting_since: dict[Procedure[None], float] = {}
        self._next_poll = float("inf")
        # Until when the service asked for no more looks.
        self._not_before = float("-inf")
        self._round = (
            _Look(lambda: pages_for(len(self._events)), self._look_at_events),
            _Look(lambda: pages_for(len(self._looks)), self._look_at_machines),
            _Look(self._pages_of_feed, self._read_feed),
        )
        # What of the round that began then is still to be looked at.
        self._left: list[_Look] = []
        self._round_began = float("-inf")

    def run(self, procedures: Iterable[Procedure[None]]) -> None:
        """Return when every procedure has ended. Procedures handle their own errors."""
        self._next_look = self._progress.look(self._clock())
        self._not_begun = iter(procedures)
        self._begin_more()
        while self._calls or self._events or self._looks or self._new_snapshots or self._pauses:
            self._await_something()
            now = self._clock()
            if now >= self._next_look:
                self._next_look = self._progress.look(now)
            if now >= self._deadline:
                self._give_up()
                self._begin_more()
                continue
            while self._pauses and self._pauses[0][0] <= now:
                dummy, dummy, procedure, once_more = heapq.heappop(self._pauses)
                if once_more is None:
                    self._resume(procedure, None)
                else:
                    self._submit(once_more)
            if now >= self._next_poll:
                self._poll()
            self._begin_more()
        self._progress.look(self._clock())

    def _begin_more(self) -> None:
        """Begin as many as keep the pool busy. Those that are not begun yet take no memory."""
        most = CALLS_FOR_EACH_PLACE * self._client.connection.concurrency * (1 + self._allowance())
        while len(self._calls) < most:
            procedure = next(self._not_begun, None)
            if procedure is None:
                return
            self._resume(procedure, None)

    def _await_something(self) -> None:
        """Take in calls that have finished; sleep only when nothing but time can bring news."""
        due = min(
            self._next_poll, self._pauses[0][0] if self._pauses else float("inf"), self._next_look, self._deadline
        )
        delay = min(LONGEST_SLEEP, max(0.0, due - self._clock()))
        if not self._calls:
            self._sleep(delay)
            return
        # Past the deadline there is nothing left to do but to hear how the calls under way end.
        patience = None if self._clock() >= self._deadline else delay
        try:
            self._take_in(self._finished.get(timeout=patience))
            while True:
                self._take_in(self._finished.get_nowait())
        except queue.Empty:
            pass

    def _take_in(self, future: Future[Any]) -> None:
        made = self._calls.pop(future)
        error = future.exception()
        if error is None:
            self._resume(made.procedure, future.result())
        elif isinstance(error, SendAgain):
            once_more = _Try(made.procedure, made.call, error.attempt, error.error)
            self._pause(made.procedure, error.seconds, once_more)
        else:
            self._throw(made.procedure, error)

    def _poll(self) -> None:
        """Go on with the round of looks, as far as one page for 120 waiting machines reaches; then it has a breath."""
        if not self._left:
            self._round_began = self._clock()
            self._left = list(self._round)
        allowance = self._allowance()
        while self._left and (pages := self._left[0].pages()) <= allowance:
            allowance -= pages
            self._left.pop(0).take()
        if not any(look.pages() for look in self._left):
            self._left = []
        self._next_poll = float("inf")
        if self._events or self._looks or self._new_snapshots:
            self._next_poll = max(self._when_to_poll(), self._not_before)

    def _allowance(self) -> int:
        """How many pages a poll may ask for: one for 120 waiting machines."""
        return pages_for(len(self._events) + len(self._looks) + len(self._new_snapshots))

    def _look_at_events(self) -> None:
        if self._events:
            oldest = min(self._last_seen[event_id].created for event_id in self._events)
            for event in self._event_watch.look(self._events.keys(), lambda event: event.created < oldest).values():
                self._last_seen[event.id] = event
                if event.has_ended:
                    del self._last_seen[event.id]
                    self._resume_all(self._events, event.id, event)
            self._heed(self._event_watch.last_error)

    def _look_at_machines(self) -> None:
        if self._looks:
            for machine in self._machine_watch.look(self._looks.keys()).values():
                self._resume_all(self._looks, machine.id, machine)
            self._heed(self._machine_watch.last_error)

    def _heed(self, error: PaperspaceError | None) -> None:
        """Leave the service alone for as long as it asks."""
        if isinstance(error, AnswerLost) and error.retry_after:
            self._not_before = self._clock() + error.retry_after

    def _pages_of_feed(self) -> int:
        is_behind = self._feed is not None and self._feed.as_of < self._feed_due
        return max(1, pages_for(len(self._events) + len(self._new_snapshots))) if is_behind else 0

    def _read_feed(self) -> None:
        if self._feed is not None and (pages := self._pages_of_feed()):
            self._feed.read(self._clock(), pages)
            self._resume_with_new_snapshots(self._feed)

    def _when_to_poll(self) -> float:
        """The time of the next poll."""
        # The one that began to wait last sets the pace.
        waiting = itertools.chain(*self._events.values(), *self._looks.values(), self._new_snapshots)
        youngest = max(self._waiting_since[procedure] for procedure in waiting)
        interval = self._interval_after(self._round_began - youngest)
        breath = min(interval, QUICKEST_POLL)
        # What is still to be sent comes before what is still to be looked at.
        shortest = breath if self._calls and self._allowance() > 1 else min(interval, SHORTEST_BREATH)
        if self._left:
            return self._clock() + shortest
        if self._event_watch.is_behind or self._machine_watch.is_behind:
            interval, breath = breath, shortest
        # Many pages take their time: that is part of the interval, but for a breath.
        return max(self._round_began + interval, self._clock() + breath)

    def _interval_after(self, waited: float) -> float:
        return poll_interval(waited) if self._interval is None else self._interval

    def _give_up(self) -> None:
        """Past the deadline: end all waiting. Calls under way are left to end by their own timeout."""
        for_events = [(procedure, self._last_seen[key]) for key in self._events for procedure in self._events[key]]
        for_others = [*itertools.chain(*self._looks.values()), *self._new_snapshots]
        pauses = list(self._pauses)
        self._events.clear()
        self._looks.clear()
        self._new_snapshots.clear()
        self._pauses.clear()
        for procedure, event in for_events:
            self._throw(procedure, self._deadline_passed(event))
        for procedure in for_others:
            self._throw(procedure, self._deadline_passed())
        for dummy, dummy, procedure, once_more in pauses:
            error = once_more.error if once_more else None
            self._throw(procedure, error or self._deadline_passed())

    def _deadline_passed(self, event: Event | None = None) -> DeadlinePassed:
        trouble = self._event_watch.last_error or self._machine_watch.last_error
        return DeadlinePassed(f" The last look at it failed: {trouble}" if trouble else "", event)

    def _resume_all(self, waiting: dict[str, list[Procedure[None]]], key: str, value: Any) -> None:
        for procedure in waiting.pop(key, []):
            self._resume(procedure, value)

    def _resume_with_new_snapshots(self, feed: Feed) -> None:
        for procedure, step in list(self._new_snapshots.items()):
            if step.since <= feed.as_of:
                del self._new_snapshots[procedure]
                self._resume(procedure, feed.of_machine(step.machine_id))

    def _resume(self, procedure: Procedure[None], value: Any) -> None:
        try:
            step = procedure.send(value)
        except StopIteration:
            self._waiting_since.pop(procedure, None)
        else:
            self._begin(procedure, step)

    def _throw(self, procedure: Procedure[None], error: BaseException) -> None:
        try:
            step = procedure.throw(error)
        except StopIteration:
            self._waiting_since.pop(procedure, None)
        else:
            self._begin(procedure, step)

    def _begin(self, procedure: Procedure[None], step: Step) -> None:
        if isinstance(step, Call):
            self._waiting_since.pop(procedure, None)
            self._submit(_Try(procedure, step))
            return
        if isinstance(step, EventEnd) and step.event.has_ended:
            self._resume(procedure, step.event)
            return
        if isinstance(step, NewSnapshots) and self._feed is not None and step.since <= self._feed.as_of:
            self._resume(procedure, self._feed.of_machine(step.machine_id))
            return
        now = self._clock()
        if isinstance(step, Pause):
            self._waiting_since.pop(procedure, None)
            self._pause(procedure, step.seconds)
            return
        if procedure not in self._waiting_since:
            self._waiting_since[procedure] = now
            self._next_poll = min(self._next_poll, max(now + self._interval_after(0.0), self._not_before))
        if isinstance(step, EventEnd):
            self._events.setdefault(step.event.id, []).append(procedure)
            self._last_seen[step.event.id] = step.event
            # What the event makes is asked for when it has ended; by then it can be known.
            self._feed_due = now
        elif isinstance(step, NewSnapshots):
            self._new_snapshots[procedure] = step
            self._feed_due = max(self._feed_due, step.since)
        else:
            self._looks.setdefault(step.machine_id, []).append(procedure)

    def _pause(self, procedure: Procedure[None], seconds: float, once_more: _Try | None = None) -> None:
        heapq.heappush(self._pauses, (self._clock() + seconds, next(self._numbers), procedure, once_more))

    def _submit(self, one: _Try) -> None:
        future = self._executor.submit(self._call, one)
        self._calls[future] = one
        future.add_done_callback(self._finished.put)

    def _call(self, one: _Try) -> Any:
        if self._clock() >= self._deadline:
            raise one.error or self._deadline_passed()
        with self._client.without_waiting(one.number):
            return one.call.function()
