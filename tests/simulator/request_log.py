# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was asked of the service, for tests that count. Headers are not kept, so the key is not either."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Entry:
    method: str
    path: str
    """Below /v1, as sent."""
    query: dict[str, str]
    body: Any
    """The JSON sent, or its text when it was none, or None when there was no body."""
    status: int | None
    """The status that the client got to see; None when the answer was lost or never came."""
    at: float
    faults: tuple[str, ...] = ()
    """The ids of the fault rules that hit."""


class RequestLog:
    def __init__(self) -> None:
        self._entries: list[Entry] = []

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Entry:
        return self._entries[index]

    def append(self, entry: Entry) -> None:
        self._entries.append(entry)

    def clear(self) -> None:
        self._entries = []

    def calls(self, method: str | None = None) -> list[str]:
        """`METHOD path` of every request in order, of one method only when that is given."""
        return [f"{each.method} {each.path}" for each in self._entries if method in (None, each.method)]

    def as_json(self) -> list[dict[str, Any]]:
        return [asdict(entry) for entry in self._entries]
