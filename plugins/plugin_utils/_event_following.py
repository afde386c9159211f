# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Follow the machine events of a team: which of them are news, and how far they were followed.

The service lists events newest first, and shows some of them late. So each look reads back beyond the newest event,
and what was there already is told by its id. Free of Ansible and of asyncio.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from ansible_collections.community.paperspace.plugins.module_utils._client import Client
from ansible_collections.community.paperspace.plugins.module_utils._errors import (
    InputError,
    NotFound,
    PaperspaceError,
)
from ansible_collections.community.paperspace.plugins.module_utils._wire import ENDED_STATES, Event, parse_time
from ansible_collections.community.paperspace.plugins.plugin_utils._private import replace_file

BEGINNING = datetime(1970, 1, 1, tzinfo=timezone.utc)
# As many events that lie further back are asked for one by one in a look.
MOST_SINGLE = 10
# One answer that an event is not there may be a mistake.
GONE_AFTER = 3
# Lists that always break off would let the position grow without end.
MOST_KNOWN = 20_000

_VERSION = 1


def rank(state: str) -> int:
    """How far the work is. It only goes forward, so an older state is one that the service shows late."""
    if state in ENDED_STATES:
        return 2
    return 0 if state == "new" else 1


def before(moment: datetime, seconds: float) -> datetime:
    try:
        return moment - timedelta(seconds=seconds)
    except OverflowError:
        return BEGINNING


@dataclass(frozen=True)
class Known:
    """An event as it was last seen."""

    created: datetime
    state: str


@dataclass
class Position:
    """How far the events were followed.

    Of those created before C(since) nothing new is expected, but from the ones in C(known), which still ran. Of later
    ones all that were seen are in C(known), by id.
    """

    since: datetime
    known: dict[str, Known] = field(default_factory=dict)

    def is_news(self, event: Event) -> bool:
        known = self.known.get(event.id)
        return event.created >= self.since if known is None else rank(event.state) > rank(known.state)

    def note(self, event: Event) -> None:
        self.known[event.id] = Known(event.created, event.state)

    def forget(self, event_id: str) -> None:
        self.known.pop(event_id, None)

    def settle(self, since: datetime) -> None:
        """Expect nothing new any more of what was created before."""
        if since > self.since:
            self.since = since
            self.known = {
                event_id: known
                for event_id, known in self.known.items()
                if known.created >= since or known.state not in ENDED_STATES
            }

    def running(self) -> list[str]:
        """The ids of those that still ran when they were last seen."""
        return [event_id for event_id, known in self.known.items() if known.state not in ENDED_STATES]


@dataclass(frozen=True)
class Look:
    """What a look at the events found: C(news), oldest first, and up to when the position may settle after them.

    C(since) is None when it did not see all that may be new, and C(error) tells what went wrong.
    """

    news: list[Event]
    since: datetime | None
    error: PaperspaceError | None


class Follower:
    """Looks at the events. What news it finds, the caller notes in its position once they are delivered."""

    def __init__(
        self, client: Client, position: Position | None, *, lookback: float, now: Callable[[], datetime]
    ) -> None:
        """C(position): None begins with what comes after the first look. C(lookback) in seconds."""
        self.position = position
        self._client = client
        self._lookback = lookback
        self._now = now
        self._looks = 0
        self._asked: dict[str, int] = {}
        self._missing: dict[str, int] = {}

    def look(self) -> Look:
        """Read the events that may bring news. The first look of all takes what it sees for known.

        A request that fails ends the look, with the news that were found so far.
        """
        self._looks += 1
        seen: dict[str, Event] = {}
        is_whole, error = False, None
        try:
            if self.position is None:
                self.position = self._first_position()
                return Look([], None, None)
            is_whole = self._read_pages(self.position, seen)
            self._read_single(self.position, seen)
        except PaperspaceError as met:
            error = met
        if self.position is None:
            return Look([], None, error)
        if error is None and not is_whole:
            error = PaperspaceError("GET /machine-events: the list breaks off before all that may be new was seen.")
        # Of one moment the list has the latest first.
        news = sorted(filter(self.position.is_news, reversed(seen.values())), key=lambda event: event.created)
        may_settle = is_whole or len(self.position.known) > MOST_KNOWN
        return Look(news, self._horizon(seen.values()) if may_settle else None, error)

    def _first_position(self) -> Position:
        seen: dict[str, Event] = {}
        since = BEGINNING
        pages = self._client.event_pages()
        for page in pages:
            _collect(seen, page)
            since = self._horizon(seen.values())
            if page and page[-1].created < since:
                break
        if pages.is_cut_off:
            # What lies behind was there before as well.
            since = max(since, min(event.created for event in seen.values()))
        position = Position(since)
        for event in seen.values():
            if event.created >= since or not event.has_ended:
                position.note(event)
        return position

    def _read_pages(self, position: Position, seen: dict[str, Event]) -> bool:
        """Read back to the position, and on as long as that finds many that still ran. False: the list broke off."""
        pages = self._client.event_pages()
        for page in pages:
            _collect(seen, page)
            if not page or page[-1].created >= position.since:
                continue
            left = [event_id for event_id in position.running() if event_id not in seen]
            if len(left) <= MOST_SINGLE or not any(event.id in position.known for event in page):
                return True
        return not pages.is_cut_off

    def _read_single(self, position: Position, seen: dict[str, Event]) -> None:
        """Ask for some events that still ran and are on no page, those first that were not asked for the longest."""
        left = [event_id for event_id in position.running() if event_id not in seen]
        self._asked = {event_id: self._asked.get(event_id, 0) for event_id in left}
        for event_id in sorted(left, key=self._asked.__getitem__)[:MOST_SINGLE]:
            self._asked[event_id] = self._looks
            try:
                seen[event_id] = self._client.event(event_id)
                self._missing.pop(event_id, None)
            except (NotFound, InputError):  # it is gone, or its id is none that can be asked for
                self._count_missing(position, event_id)

    def _count_missing(self, position: Position, event_id: str) -> None:
        self._missing[event_id] = self._missing.get(event_id, 0) + 1
        if self._missing[event_id] >= GONE_AFTER:
            position.forget(event_id)
            del self._missing[event_id]

    def _horizon(self, events: Iterable[Event]) -> datetime:
        """Where the lookback from the newest event begins. A date in the future is no reason to skip the present."""
        newest = max((event.created for event in events), default=BEGINNING)
        return before(min(newest, self._now()), self._lookback)


class PositionFile:
    """The position on disk: one file, which only its owner can read, and which is whole at any time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: str | None = None

    def read(self) -> Position | None:
        """The position; None when there is no file yet. Raises InputError for one that cannot be used."""
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise InputError(f"state_file {self._path} cannot be read: {_reason(error)}.") from None
        try:
            return _position_from(json.loads(text))
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            raise InputError(
                f"state_file {self._path} holds no position in machine events. "
                "Name another file, or remove this one to begin anew."
            ) from None

    def write(self, position: Position) -> None:
        """Put the position in the place of the one before, if it is another. Raises InputError."""
        text = json.dumps(
            {
                "version": _VERSION,
                "since": position.since.isoformat(),
                "events": {
                    event_id: [known.created.isoformat(), known.state] for event_id, known in position.known.items()
                },
            }
        )
        if text == self._written:
            return
        try:
            replace_file(self._path, text)
        except OSError as error:
            raise InputError(f"state_file {self._path} cannot be written: {_reason(error)}.") from None
        self._written = text


def _collect(seen: dict[str, Event], page: Iterable[Event]) -> None:
    """Keep each event once, as it is furthest: a list that goes round shows it again."""
    for event in page:
        other = seen.get(event.id)
        if other is None or rank(event.state) > rank(other.state):
            seen[event.id] = event


def _position_from(content: Mapping[str, Any]) -> Position:
    if content["version"] != _VERSION:
        raise ValueError("another version")
    known = {
        str(event_id): Known(_time(created), str(state)) for event_id, (created, state) in content["events"].items()
    }
    return Position(_time(content["since"]), known)


def _time(text: str) -> datetime:
    moment = parse_time(text)
    if moment is None:
        raise ValueError("not a time")
    return moment


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or "it is not text"
