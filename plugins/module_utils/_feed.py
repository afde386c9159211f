# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The snapshots that come up while a task runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ansible_collections.community.paperspace.plugins.module_utils._client import Listed
from ansible_collections.community.paperspace.plugins.module_utils._errors import PaperspaceError
from ansible_collections.community.paperspace.plugins.module_utils._wire import Snapshot


class Feed:
    """The team's new snapshots, read along from the front of its list, so that each costs its place on a page once.

    C(known): the ids of all that were in the list before. C(as_of): the time, as given to C(read), at which all that
    is known by now was there.
    """

    def __init__(self, page: Callable[[str | None], Listed[Snapshot]], known: Iterable[str]) -> None:
        self._page = page
        self._known = set(known)
        self._by_machine: dict[str, list[Snapshot]] = {}
        self._new: dict[str, Snapshot] = {}
        self._cursor: str | None = None
        self._began = float("-inf")
        self.as_of = float("-inf")

    def of_machine(self, machine_id: str) -> Sequence[Snapshot]:
        """The machine's new snapshots, newest first."""
        return self._by_machine.get(machine_id, ())

    def read(self, now: float, most_pages: int) -> None:
        """Read on, with so many requests at most. One that fails ends it, and what came up so far is not waited for."""
        try:
            for dummy in range(most_pages):
                if self._cursor is None:
                    self._began = now
                page = self._page(self._cursor)
                self._new.update((item.id, item) for item in page.items if item.id not in self._known)
                is_end = page.cursor in (None, self._cursor) or any(item.id in self._known for item in page.items)
                self._cursor = None if is_end else page.cursor
                if is_end:
                    self._take_in()
                    return
        except PaperspaceError:
            self._cursor = None
            self.as_of = self._began

    def _take_in(self) -> None:
        for snapshot in reversed(self._new.values()):
            self._by_machine.setdefault(snapshot.machine_id, []).insert(0, snapshot)
        self._known.update(self._new)
        self._new.clear()
        self.as_of = self._began
