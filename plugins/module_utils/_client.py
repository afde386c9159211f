# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of the Paperspace v1 API that this collection uses, one method an operation.

Knows HTTP and nothing of Ansible. The contract is tests/contract/paperspace-v1.openapi.yaml; every method raises
what L(Transport.send) raises, and InvalidAnswer for an answer without its required fields.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from random import random as system_random
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ansible_collections.community.paperspace.plugins.module_utils._connection import Connection
from ansible_collections.community.paperspace.plugins.module_utils._errors import (
    InputError,
    InvalidAnswer,
    Unauthorized,
)
from ansible_collections.community.paperspace.plugins.module_utils._transport import Transport
from ansible_collections.community.paperspace.plugins.module_utils._wire import (
    Event,
    Machine,
    Page,
    Snapshot,
    parse_event,
    parse_machine,
    parse_page,
    parse_snapshot,
)

if TYPE_CHECKING:
    import requests

T = TypeVar("T")

OLDEST_FIRST = "asc"
LARGEST_PAGE = 120

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)


def checked_id(text: str) -> str:
    """The id, if nothing in it could change the path that it goes into. Raises InputError."""
    if not _ID.fullmatch(text):
        raise InputError(f"{text!r} is not an id: ids are letters, digits, '-' and '_' only.")
    return text


@dataclass(frozen=True)
class Listed(Generic[T]):
    """One page of a list, C(cursor) leading to the next."""

    items: list[T]
    cursor: str | None
    has_more: bool

    def is_cut_off(self, follows: Collection[str]) -> bool:
        """Whether the list breaks off here, after pages of these cursors: there is more, and nothing leads to it.

        A page that is not full is the last one, whatever it says.
        """
        leads_on = self.cursor is not None and self.cursor not in follows
        return self.has_more and not leads_on and len(self.items) >= LARGEST_PAGE


class Pages(Iterator[list[T]]):
    """The pages of a list to its end, which a cursor that repeats is too. C(is_cut_off): it breaks off there."""

    def __init__(self, page: Callable[[str | None], Listed[T]]) -> None:
        self.is_cut_off = False
        self._pages = self._read(page)

    def __next__(self) -> list[T]:
        return next(self._pages)

    def _read(self, page: Callable[[str | None], Listed[T]]) -> Iterator[list[T]]:
        cursor: str | None = None
        used: set[str] = set()
        while True:
            listed = page(cursor)
            self.is_cut_off = listed.is_cut_off(used)
            yield listed.items
            cursor = listed.cursor
            if cursor is None or cursor in used:
                return
            used.add(cursor)


class Client:
    """The API, typed. C(clock) (s) and C(sleep) (s) are shared with whoever waits for what was begun here."""

    def __init__(
        self,
        connection: Connection,
        *,
        session: requests.Session | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        random: Callable[[], float] = system_random,
    ) -> None:
        self.connection = connection
        self.clock = clock
        self.sleep = sleep
        self.random = random
        self._transport = Transport(connection, session=session, clock=clock, sleep=sleep, random=random)

    @contextmanager
    def waiting(self, seconds: float) -> Iterator[float]:
        """The time, by C(clock), at which so many seconds have passed; meanwhile no request is held back beyond it."""
        deadline = self.clock() + seconds
        self._transport.deadline = deadline
        try:
            yield deadline
        finally:
            # A client can serve several tasks, one after the other.
            self._transport.deadline = float("inf")

    @property
    def service_time(self) -> datetime | None:
        """The time by the service's own clock, as of its last answer; None while it has not told."""
        return self._transport.service_time

    def stop(self) -> None:
        """Send nothing more, in no thread, until C(go_on): whoever is about to send gets Stopped."""
        self._transport.stop()

    def go_on(self) -> None:
        """Send again, for the next task."""
        self._transport.go_on()

    def without_waiting(self, attempt: int) -> AbstractContextManager[None]:
        """In this thread, raise SendAgain instead of sleeping before a request is sent again.

        C(attempt): how often it was sent before, as the last SendAgain has it.
        """
        return self._transport.without_waiting(attempt)

    def check_key(self) -> None:
        """Raise Unauthorized when the service does not know the key (it then answers null)."""
        session = self._send("GET", "/auth/session")
        if session is None:
            raise Unauthorized(
                "The service does not know this API key. Check the option api_key, PAPERSPACE_API_KEY, and api_url.",
                method="GET",
                path="/auth/session",
            )
        if "team" not in session:
            raise InvalidAnswer(
                "GET /auth/session: a session without the required field team. Check api_url.",
                method="GET",
                path="/auth/session",
            )

    def machine(self, machine_id: str, *, retries: int | None = None) -> Machine:
        return self._get(f"/machines/{checked_id(machine_id)}", parse_machine, retries)

    def machine_pages(self, **query: str) -> Pages[Machine]:
        """Machines, newest first unless C(order) says otherwise, a page at a time.

        The service's name filter is not exact.
        """
        return self._pages("/machines", parse_machine, query)

    def machine_page(self, cursor: str | None, *, retries: int | None = None) -> Listed[Machine]:
        return self._page("/machines", parse_machine, {}, cursor, retries)

    def update_machine(self, machine_id: str, settings: Mapping[str, Any]) -> tuple[Machine, Event | None]:
        """Change settings; the event is None when the change needs no work."""
        path = f"/machines/{checked_id(machine_id)}"
        answer = self._send("PUT", path, body=settings)
        machine = self._parsed("PUT", path, parse_machine, _field(answer, "data"))
        event = _field(answer, "event")
        return machine, None if event is None else self._parsed("PUT", path, parse_event, event)

    def change_machine(self, machine_id: str, verb: str) -> Event:
        """C(start), C(stop) or C(restart) a machine."""
        return self._begin("PATCH", f"/machines/{checked_id(machine_id)}/{verb}", {})[1]

    def event(self, event_id: str, *, retries: int | None = None) -> Event:
        return self._get(f"/machine-events/{checked_id(event_id)}", parse_event, retries)

    def event_page(self, cursor: str | None = None, *, retries: int | None = None) -> Listed[Event]:
        """One page of the whole team's events, newest first."""
        return self._page("/machine-events", parse_event, {}, cursor, retries)

    def event_pages(self, machine_id: str | None = None) -> Pages[Event]:
        """Events of the team or of one machine, newest first, a page at a time."""
        return self._pages("/machine-events", parse_event, _of_machine(machine_id))

    def snapshot(self, snapshot_id: str) -> Snapshot:
        return self._get(f"/snapshots/{checked_id(snapshot_id)}", parse_snapshot)

    def snapshot_page(self, cursor: str | None, *, retries: int | None = None) -> Listed[Snapshot]:
        """One page of the whole team's snapshots, newest first, and the cursor of the next."""
        return self._page("/snapshots", parse_snapshot, {}, cursor, retries)

    def snapshot_pages(self, machine_id: str | None = None) -> Pages[Snapshot]:
        """Snapshots of the team or of one machine, newest first, a page at a time."""
        return self._pages("/snapshots", parse_snapshot, _of_machine(machine_id))

    def create_snapshot(self, machine_id: str, name: str) -> tuple[Snapshot, Event]:
        snapshot, event = self._begin("POST", "/snapshots", {"machineId": machine_id, "name": name})
        return self._parsed("POST", "/snapshots", parse_snapshot, snapshot), event

    def rename_snapshot(self, snapshot_id: str, name: str) -> Snapshot:
        path = f"/snapshots/{checked_id(snapshot_id)}"
        return self._parsed("PUT", path, parse_snapshot, self._send("PUT", path, body={"name": name}))

    def delete_snapshot(self, snapshot_id: str) -> Event:
        return self._begin("DELETE", f"/snapshots/{checked_id(snapshot_id)}", None)[1]

    def restore_snapshot(self, snapshot_id: str, *, safety_snapshot: bool) -> Event:
        """Put the snapshot's machine back to it. Destroys everything since."""
        body = {"createSnapshotBeforeRestore": True} if safety_snapshot else {}
        return self._begin("POST", f"/snapshots/{checked_id(snapshot_id)}/restore", body)[1]

    def _get(self, path: str, parse: Callable[[Any], T], retries: int | None = None) -> T:
        return self._parsed("GET", path, parse, self._send("GET", path, retries=retries))

    def _begin(self, method: str, path: str, body: Mapping[str, Any] | None) -> tuple[Any, Event]:
        """Start some work: the answer's data, unparsed, and the event to wait for."""
        answer = self._send(method, path, body=body)
        return _field(answer, "data"), self._parsed(method, path, parse_event, _field(answer, "event"))

    def _page(
        self,
        path: str,
        parse: Callable[[Any], T],
        query: Mapping[str, str],
        cursor: str | None,
        retries: int | None = None,
    ) -> Listed[T]:
        asked: dict[str, str | int] = {"order": "desc", **query, "limit": LARGEST_PAGE, "orderBy": "dtCreated"}
        if cursor is not None:
            asked["after"] = cursor
        page: Page = self._parsed("GET", path, parse_page, self._send("GET", path, query=asked, retries=retries))
        items = [self._parsed("GET", path, parse, item) for item in page.items]
        return Listed(items, page.next_cursor, page.has_more)

    def _pages(self, path: str, parse: Callable[[Any], T], query: Mapping[str, str]) -> Pages[T]:
        return Pages(lambda cursor: self._page(path, parse, query, cursor))

    def _send(self, method: str, path: str, **options: Any) -> Any:
        return self._transport.send(method, path, **options)

    def _parsed(self, method: str, path: str, parse: Callable[[Any], T], answer: Any) -> T:
        try:
            try:
                return parse(answer)
            except InvalidAnswer as error:
                words = self._transport.first_words(json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace"))
                raise InvalidAnswer(
                    f"{method} {path}: answered success, but not what the API promises: {error}. Check api_url. "
                    f"It begins: {words}",
                    method=method,
                    path=path,
                ) from None
        except RecursionError:
            raise InvalidAnswer(
                f"{method} {path}: answered success, but the answer is nested too deeply.", method=method, path=path
            ) from None


def _field(answer: Any, name: str) -> Any:
    return answer.get(name) if isinstance(answer, Mapping) else None


def _of_machine(machine_id: str | None) -> dict[str, str]:
    return {} if machine_id is None else {"machineId": machine_id}
