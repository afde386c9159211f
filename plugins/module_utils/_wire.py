# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the service sends, turned into this collection's own types: the one mapping from wire to Python.

The shapes are those of tests/contract/paperspace-v1.openapi.yaml. Only what the collection relies on is
required; a field that is missing raises L(InvalidAnswer).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from ansible_collections.community.paperspace.plugins.module_utils._errors import InvalidAnswer
from ansible_collections.community.paperspace.plugins.module_utils._shown import shown

MACHINE_STATES = ("off", "starting", "stopping", "restarting", "serviceready", "ready", "upgrading", "provisioning")
ENDED_STATES = frozenset({"done", "error", "cancelled"})

# Polls show the same events again and again.
LARGEST_CACHE = 4096

LONGEST_ERROR = 2000  # Characters.

_SIZES = frozenset({"ram", "storage_total", "storage_used", "memory"})
_INT64 = re.compile(r"[0-9]{1,19}")
# Wider than what may go into a path, and nothing that a terminal obeys.
_ID = re.compile(r"[!-~]{1,128}")
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A disk image of one machine. The service keeps no date, size or state with it."""

    id: str
    name: str
    machine_id: str
    is_auto_snapshot: bool


@dataclass(frozen=True, slots=True)
class Event:
    """A piece of work on a machine; C(state) goes new, in progress, then done, error or cancelled.

    Its texts are fit for messages, which is all that they are for.
    """

    id: str
    name: str
    state: str
    machine_id: str | None
    error: str | None
    created: datetime
    finished: datetime | None

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED_STATES


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine; C(fields) holds everything the service says of it, in snake_case with sizes as integers."""

    id: str
    name: str
    state: str
    fields: dict[str, Any]


@dataclass(frozen=True)
class Page:
    """One page of a list; C(next_cursor) is None on the last, and where C(has_more) is not told how to go on."""

    items: list[Mapping[str, Any]]
    next_cursor: str | None
    has_more: bool


@functools.lru_cache(maxsize=LARGEST_CACHE)
def snake_case(name: str) -> str:
    """C(autoSnapshotEnabled) becomes C(auto_snapshot_enabled)."""
    return _CAPITAL.sub("_", name).lower()


def to_snake_case(value: Any) -> Any:
    """The same value with snake_case keys, and sizes (declared int64, sent as decimal strings) as integers."""
    if isinstance(value, dict):
        named = ((snake_case(key), item) for key, item in value.items())
        return {
            name: to_snake_case(item) if isinstance(item, (dict, list)) else _size(name, item) for name, item in named
        }
    if isinstance(value, list):
        return [to_snake_case(item) for item in value]
    return value


def parse_snapshot(answer: Any) -> Snapshot:
    fields = _object(answer, "a snapshot")
    return Snapshot(
        id=_text(fields, "id", "a snapshot"),
        name=_same(_text(fields, "name", "a snapshot")),
        machine_id=_text(fields, "machineId", "a snapshot"),
        is_auto_snapshot=bool(_required(fields, "isAutoSnapshot", "a snapshot")),
    )


def parse_event(answer: Any) -> Event:
    fields = _object(answer, "a machine event")
    created = parse_time(fields.get("dtCreated"))
    if created is None:
        raise InvalidAnswer("a machine event without a readable dtCreated")
    error = _text_if_any(fields, "error")
    return Event(
        id=_text(fields, "id", "a machine event"),
        name=_same(shown(_text(fields, "name", "a machine event"))),
        state=_same(shown(_text(fields, "state", "a machine event"))),
        machine_id=_text_if_any(fields, "machineId"),
        error=None if error is None else shown(error, LONGEST_ERROR),
        created=created,
        finished=parse_time(fields.get("dtFinished")),
    )


def parse_machine(answer: Any) -> Machine:
    fields = _object(answer, "a machine")
    return Machine(
        id=_text(fields, "id", "a machine"),
        name=_text(fields, "name", "a machine"),
        state=_text(fields, "state", "a machine"),
        fields=to_snake_case(fields),
    )


def parse_page(answer: Any) -> Page:
    """A page; the list ends on C(hasMore: false), and also when C(nextPage) is null or missing."""
    fields = _object(answer, "a page")
    items = _required(fields, "items", "a page")
    if not isinstance(items, list):
        raise InvalidAnswer("a page whose items are not a list")
    has_more = bool(_required(fields, "hasMore", "a page"))
    next_page = fields.get("nextPage")
    return Page(items=items, next_cursor=str(next_page) if has_more and next_page else None, has_more=has_more)


def parse_time(value: Any) -> datetime | None:
    """An RFC 3339 time as an aware datetime, or None for anything else."""
    return _parse_time(value) if isinstance(value, str) else None


@functools.lru_cache(maxsize=LARGEST_CACHE)
def _parse_time(value: str) -> datetime | None:
    try:
        # datetime.fromisoformat reads neither "Z" nor other than 3 or 6 digits of a second before Python 3.11.
        text = re.sub(r"\.(\d+)", lambda match: f".{match[1][:6]:0<6}", value.strip().replace("Z", "+00:00"))
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=timezone.utc)


def _size(key: str, value: Any) -> Any:
    return int(value) if key in _SIZES and isinstance(value, str) and _INT64.fullmatch(value) else value


@functools.lru_cache(maxsize=LARGEST_CACHE)
def _same(text: str) -> str:
    """One object for all texts that are equal: a fleet has thousands of them."""
    return text


def _object(answer: Any, what: str) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise InvalidAnswer(f"{type(answer).__name__} where {what} was expected")
    return answer


def _required(fields: Mapping[str, Any], name: str, what: str) -> Any:
    if fields.get(name) is None:
        raise InvalidAnswer(f"{what} without the required field {name}")
    return fields[name]


def _text_if_any(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return value if value is None or isinstance(value, str) else str(value)


def _text(fields: Mapping[str, Any], name: str, what: str) -> str:
    value = _required(fields, name, what)
    if not isinstance(value, str):
        raise InvalidAnswer(f"{what} whose {name} is not a text")
    if name in ("id", "machineId") and not _ID.fullmatch(value):
        raise InvalidAnswer(f"{what} whose {name} is not an id")
    return value
