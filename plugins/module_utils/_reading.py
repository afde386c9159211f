# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading what a fleet has, with as few requests as the API allows.

The API lists the whole team or one machine, and nothing between. So lists of the team are read as long as that
is cheaper than asking machine by machine, and then machine by machine: at most twice the best possible, and four times
where a list is read from both ends.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import Generic, Protocol, TypeVar

from ansible_collections.community.paperspace.plugins.module_utils._client import (
    LARGEST_PAGE,
    OLDEST_FIRST,
    Client,
    Pages,
)
from ansible_collections.community.paperspace.plugins.module_utils._errors import InputError, NotFound, PaperspaceError
from ansible_collections.community.paperspace.plugins.module_utils._feed import Feed
from ansible_collections.community.paperspace.plugins.module_utils._wire import Event, Machine, Snapshot

# "More than ten minutes in one transition is a fault in the vendor's own words" (FACTS.md); after a day an event
# that still claims to run says nothing of the machine any more.
STUCK_AFTER = timedelta(days=1)
# C(Date) tells whole seconds.
DATE_STEP = timedelta(seconds=1)
# Pages can only be read one after the other; the list of more machines than this is read from both ends at once.
FROM_BOTH_ENDS = 4 * LARGEST_PAGE
PAGES_FOR_A_HINT = 5
NAMES_IN_A_HINT = 5

K = TypeVar("K")
V = TypeVar("V")


class _OfMachine(Protocol):
    @property
    def id(self) -> str:
        """Its own id."""

    @property
    def machine_id(self) -> str | None:
        """The id of the machine that it is of, if any."""


Item = TypeVar("Item", bound=_OfMachine)
Named = TypeVar("Named", Machine, Snapshot)


@dataclass(frozen=True)
class Recent:
    """The team's newest events, as of one moment: what runs now, and which events are older than what comes next.

    Times are the service's own, so that a wrong clock here does no harm.
    """

    events: Sequence[Event] = ()
    as_of: datetime | None = None

    def is_new(self, event: Event) -> bool:
        """Whether the event came after this moment."""
        return self.since is None or (event.created >= self.since and event.id not in self._ids)

    @cached_property
    def since(self) -> datetime | None:
        """From when on an event can be new: the time of the newest one, unless that was still to come."""
        times = [event.created for event in self.events]
        newest = max(times, default=None)
        if newest is None or self.as_of is None or newest < self.as_of + DATE_STEP:
            return newest
        # What is older than all that was read is never new, whatever the service's C(Date) says.
        return max(min(times), self.as_of)

    def running_on(self, machine_id: str) -> list[Event]:
        return self._running.get(machine_id, [])

    def of_machine(self, machine_id: str) -> list[Event]:
        return self._by_machine.get(machine_id, [])

    @cached_property
    def _by_machine(self) -> dict[str | None, list[Event]]:
        return group(self.events, lambda event: event.machine_id)

    @cached_property
    def _ids(self) -> frozenset[str]:
        return frozenset(event.id for event in self.events)

    @cached_property
    def _running(self) -> dict[str | None, list[Event]]:
        return group(running(self.events, latest(self.since, self.as_of)), lambda event: event.machine_id)


def latest(*times: datetime | None) -> datetime | None:
    """The last of the times that are known."""
    return max(filter(None, times), default=None)


def running(events: Iterable[Event], now: datetime | None) -> list[Event]:
    """The events that still run, without those that have been stuck for so long that they mean nothing."""
    return [event for event in events if not event.has_ended and (now is None or now - event.created < STUCK_AFTER)]


def snapshots_of(client: Client, machine_id: str) -> list[Snapshot]:
    """One machine's snapshots, newest first."""
    # What is of another machine is not touched, even if the service should not have filtered.
    return [item for item in _read(client.snapshot_pages(machine_id)) if item.machine_id == machine_id]


@dataclass(frozen=True)
class Events:
    """Events, newest first. C(is_cut_off): the service broke the list off before all that was asked for."""

    items: Sequence[Event] = ()
    is_cut_off: bool = False


def events_of(client: Client, machine_id: str, since: datetime | None) -> Events:
    """One machine's events back to C(since) or to the first."""
    pages = client.event_pages(machine_id)
    items = _read(_until(pages, since))
    is_enough = since is not None and any(event.created < since for event in items)
    return Events(items, is_cut_off=pages.is_cut_off and not is_enough)


@contextmanager
def pool_of(client: Client, executor: Executor | None = None) -> Iterator[Executor]:
    """Threads for C(concurrency) requests, or the executor if there is one.

    When the task is interrupted, what has not been sent is not sent any more, also where it waits for its turn.
    """
    if executor is not None:
        yield executor
        return
    pool = ThreadPoolExecutor(max_workers=client.connection.concurrency)
    try:
        yield pool
    except BaseException:
        client.stop()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        client.go_on()


class _Search(Generic[Named]):
    """Looks for what has one of these ids, on pages of lists that show each item in one place."""

    def __init__(self, ids: Iterable[str]) -> None:
        self.found: dict[str, Named] = {}
        self._ids = set(ids)
        self._shown: set[str] = set()
        self._in_vain = 0

    @property
    def missing(self) -> int:
        """How many are not found."""
        return len(self._ids) - len(self.found)

    def read(self, pages: Iterator[list[Named]]) -> None:
        """Read on, until all are found, or more pages would cost more than to ask for each that is missing.

        A page that shows one of them has gained nothing. Can run in two threads, with the pages from both ends of a
        list: then it ends where they meet too.
        """
        while max(self._in_vain, 1) < self.missing:
            page = next(pages, None)
            if page is None or (page and self._shown.issuperset(item.id for item in page)):
                return
            self._shown.update(item.id for item in page)
            new = {item.id: item for item in page if item.id in self._ids and item.id not in self.found}
            self.found.update(new)
            self._in_vain += len(new) <= 1


class Reader:
    """Reads machines, snapshots and events of a fleet. Each method raises what the client raises."""

    def __init__(self, client: Client, executor: Executor) -> None:
        self._client = client
        self._executor = executor
        self._machines_ahead: tuple[_Search[Machine], list[Future[None]]] | None = None
        self._snapshots_ahead: Future[list[Snapshot] | None] | None = None
        # With the time that they are read back to.
        self._events_ahead: tuple[datetime | None, Future[list[Event] | None]] | None = None
        self._recent_ahead: Callable[[], Recent] | None = None
        self._recent_as_of = 0.0
        # How many machines that is for.
        self._recent_count = 0
        # The ids of all snapshots of the team, where they were read.
        self._team_snapshot_ids: frozenset[str] | None = None

    def read_ahead(self, machine_ids: Sequence[str]) -> None:
        """Begin to read the lists for C(machines) and C(snapshots) side by side, where there are many pages."""
        if len(machine_ids) > LARGEST_PAGE:
            search = _Search[Machine](machine_ids)
            ends = [self._executor.submit(search.read, self._client.machine_pages())]
            self._machines_ahead = search, ends
            self._snapshots_ahead = self._executor.submit(self._snapshots_of_team, len(machine_ids))
            if len(machine_ids) > FROM_BOTH_ENDS:
                ends.append(self._executor.submit(search.read, self._client.machine_pages(order=OLDEST_FIRST)))

    def read_events_ahead(self, machine_count: int, since: datetime | None) -> None:
        """Begin to read what C(events) will be asked for, where there are many pages."""
        if machine_count > LARGEST_PAGE:
            self._events_ahead = since, self._executor.submit(self._events_of_team, machine_count, since)

    def read_recent_ahead(self, machine_count: int) -> None:
        """Begin to read what C(recent) will be asked for, where there are many pages."""
        if machine_count > LARGEST_PAGE:
            self._recent_as_of, self._recent_count = self._client.clock(), machine_count
            self._recent_ahead = self._executor.submit(self._recent, machine_count).result

    def machines(self, machine_ids: Sequence[str]) -> dict[str, Machine]:
        """The machines that exist, by id; those that do not are left out."""
        if self._machines_ahead is not None:
            (search, (first, *others)), self._machines_ahead = self._machines_ahead, None
            first.result()
            for other in others if search.missing else ():
                # Without it, more are asked for one by one.
                with suppress(PaperspaceError):
                    other.result()
        else:
            search = _Search(machine_ids)
            search.read(self._client.machine_pages())
        found = search.found
        missing = sorted(set(machine_ids).difference(found))
        found.update((key, machine) for key, machine in self._each(missing, self._machine_if_any) if machine)
        return {machine_id: found[machine_id] for machine_id in machine_ids if machine_id in found}

    def existing_machines(self, machine_ids: Sequence[str], *, skip_missing: bool) -> dict[str, Machine]:
        """The machines that exist, by id. Raises InputError when others are asked for, unless they may be skipped."""
        found = self.machines(machine_ids)
        missing = [machine_id for machine_id in machine_ids if machine_id not in found]
        if missing and not skip_missing:
            raise InputError(
                f"No machine has the id {', '.join(missing)}. Nothing was touched; "
                "take it out, or set skip_missing to go on without it."
            )
        return found

    def snapshots(self, machine_ids: Sequence[str]) -> dict[str, list[Snapshot]]:
        """Each machine's snapshots, newest first."""
        if self._snapshots_ahead is not None:
            items, self._snapshots_ahead = self._snapshots_ahead.result(), None
        else:
            items = self._snapshots_of_team(len(machine_ids))
        self._team_snapshot_ids = None if items is None else frozenset(item.id for item in items)
        return self._snapshots_by_machine(machine_ids, items)

    def listed_again(self, machine_ids: Sequence[str]) -> dict[str, list[Snapshot]]:
        """Each machine's snapshots as of now; what has come up since the first time is still news to C(feed)."""
        return self._snapshots_by_machine(machine_ids, self._snapshots_of_team(len(machine_ids)))

    def _snapshots_by_machine(
        self, machine_ids: Sequence[str], of_team: Sequence[Snapshot] | None
    ) -> dict[str, list[Snapshot]]:
        if of_team is None:
            return dict(self._each(machine_ids, lambda machine_id: snapshots_of(self._client, machine_id)))
        by_machine = group(of_team, lambda snapshot: snapshot.machine_id)
        return {machine_id: by_machine.get(machine_id, []) for machine_id in machine_ids}

    def snapshots_by_id(self, snapshot_ids: Sequence[str]) -> dict[str, Snapshot]:
        """The snapshots that exist, by id."""
        search = _Search[Snapshot](snapshot_ids)
        search.read(self._client.snapshot_pages())
        found = search.found
        missing = [snapshot_id for snapshot_id in snapshot_ids if snapshot_id not in found]
        found.update((key, snapshot) for key, snapshot in self._each(missing, self._snapshot_if_any) if snapshot)
        return {snapshot_id: found[snapshot_id] for snapshot_id in snapshot_ids if snapshot_id in found}

    def feed(self) -> Feed | None:
        """What comes up after the list of the team's snapshots was read; None where it was not."""
        if self._team_snapshot_ids is None:
            return None
        return Feed(lambda cursor: self._client.snapshot_page(cursor, retries=0), self._team_snapshot_ids)

    def owners(self, name: str, besides: Sequence[str]) -> list[str]:
        """Some other machines that have a snapshot of this name, for a message: as far as a few pages show."""
        pages = itertools.islice(self._client.snapshot_pages(), PAGES_FOR_A_HINT)
        owners = {item.machine_id: None for page in pages for item in page if item.name == name}
        return [machine_id for machine_id in owners if machine_id not in besides][:NAMES_IN_A_HINT]

    def events(self, machine_ids: Sequence[str], since: datetime | None = None) -> dict[str, Events]:
        """Each machine's events back to C(since) or to the first. C(recent) takes many over."""
        began = self._client.clock()
        ahead, self._events_ahead = self._events_ahead, None
        if ahead is not None and ahead[0] == since:
            items = self._with_newer(ahead[1].result())
        else:
            items = self._events_of_team(len(machine_ids), since)
        if items is not None and len(machine_ids) > LARGEST_PAGE:
            self._recent_as_of, self._recent_count = began, len(items)
            self._recent_ahead = partial(Recent, items, self._client.service_time)
        if items is None:
            return dict(self._each(machine_ids, lambda machine_id: events_of(self._client, machine_id, since)))
        by_machine = group(items, lambda event: event.machine_id)
        return {machine_id: Events(by_machine.get(machine_id, ())) for machine_id in machine_ids}

    def _events_of_team(self, machine_count: int, since: datetime | None) -> list[Event] | None:
        pages = self._client.event_pages()
        return _read_whole(pages, _until(pages, since), machine_count)

    def _with_newer(self, items: list[Event] | None) -> list[Event] | None:
        """The events, and those that came up since they were read, which a snapshot that is listed by now may be of."""
        if items is None:
            return None
        known = {event.id for event in items}
        pages = self._client.event_pages()
        newer: dict[str, Event] = {}
        for page in pages:
            newer.update((event.id, event) for event in page)
            if not known.isdisjoint(newer):
                break
        else:
            if pages.is_cut_off:
                return None
        return [*newer.values(), *(event for event in items if event.id not in newer)]

    def recent(self, machine_count: int) -> Recent:
        """The team's newest events: one page for each 120 machines."""
        ahead, self._recent_ahead = self._recent_ahead, None
        age = self._client.clock() - self._recent_as_of
        is_old = age > self._client.connection.request_timeout
        if ahead is None or is_old or machine_count > self._recent_count:
            return self._recent(machine_count)
        return ahead()

    def _recent(self, machine_count: int) -> Recent:
        pages = itertools.islice(self._client.event_pages(), max(1, -(-machine_count // LARGEST_PAGE)))
        return Recent([event for page in pages for event in page], self._client.service_time)

    def _snapshots_of_team(self, machine_count: int) -> list[Snapshot] | None:
        pages = self._client.snapshot_pages()
        return _read_whole(pages, pages, machine_count)

    def _each(self, keys: Sequence[K], function: Callable[[K], V]) -> Iterator[tuple[K, V]]:
        return zip(keys, self._executor.map(function, keys), strict=True)

    def _machine_if_any(self, machine_id: str) -> Machine | None:
        try:
            return self._client.machine(machine_id)
        except NotFound:
            return None

    def _snapshot_if_any(self, snapshot_id: str) -> Snapshot | None:
        try:
            return self._client.snapshot(snapshot_id)
        except NotFound:
            return None


def each_once(ids: Sequence[str] | None, option: str) -> tuple[list[str], list[str]]:
    """The ids in their order without repetitions, and a warning where there were any."""
    counts = Counter(ids or ())
    repeated = [some_id for some_id, count in counts.items() if count > 1]
    warnings = [f"{option} names {', '.join(repeated)} more than once; each is handled once."] if repeated else []
    return list(counts), warnings


def group(items: Iterable[V], key: Callable[[V], K]) -> dict[K, list[V]]:
    """The items by key, in their order."""
    groups: dict[K, list[V]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return groups


def _read(pages: Iterable[list[Item]]) -> list[Item]:
    """All items once: a list can shift while it is read, and show an item on two pages."""
    return list({item.id: item for page in pages for item in page}.values())


def _read_whole(pages: Pages[Item], needed: Iterator[list[Item]], machine_count: int) -> list[Item] | None:
    """All that is needed of the team's pages; None where that costs more than to ask for each machine."""
    if machine_count <= 1:
        return None
    items = _read(itertools.islice(needed, machine_count))
    return items if next(needed, None) is None and not pages.is_cut_off else None


def _until(pages: Iterator[list[Event]], since: datetime | None) -> Iterator[list[Event]]:
    """The pages to the one that goes back beyond C(since)."""
    for page in pages:
        yield page
        if since is not None and any(event.created < since for event in page):
            return
