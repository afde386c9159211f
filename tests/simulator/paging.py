# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pages of listings, and the opaque cursors that lead from one to the next."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from typing import Any

from .messages import ApiError
from .records import RecordT

SIGNATURE_BYTES = 9
BEGINNING = "c2FtZQ"
"""A cursor of every listing that leads to its beginning, for faults that make a list go round in circles."""


class Cursors:
    """Makes and reads cursors. One is good only for the listing (path, filters and order) it came from."""

    def __init__(self, seed: int) -> None:
        self._secret = hashlib.sha256(f"cursor {seed}".encode()).digest()

    def make(self, listing: Sequence[Any], position: Sequence[Any]) -> str:
        payload = json.dumps(list(position), separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self._sign(listing, payload) + payload).decode().rstrip("=")

    def read(self, listing: Sequence[Any], cursor: str) -> tuple[Any, ...]:
        try:
            raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except ValueError:
            raise ApiError(400, "The value of after is no cursor.") from None
        signature, payload = raw[:SIGNATURE_BYTES], raw[SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._sign(listing, payload)):
            raise ApiError(400, "The value of after is no cursor of this listing.")
        return tuple(json.loads(payload))

    def _sign(self, listing: Sequence[Any], payload: bytes) -> bytes:
        message = json.dumps(list(listing)).encode() + b"\n" + payload
        return hmac.digest(self._secret, message, "sha256")[:SIGNATURE_BYTES]


def page(
    records: Sequence[RecordT],
    *,
    matches: Callable[[RecordT], bool],
    sorted_by: Callable[[RecordT], str] | None,
    descending: bool,
    after: str | None,
    limit: int,
    listing: Sequence[Any],
    cursors: Cursors,
) -> tuple[list[RecordT], str | None]:
    """One page and the cursor of the next, None at the end.

    `records` are in order of creation, which is the order of the page too unless `sorted_by` is given. A cursor
    names the last record's place, not a count, so records that come or go meanwhile shift nothing.
    """
    if sorted_by is None:
        ordered = records

        def place(record: RecordT) -> tuple[Any, ...]:
            return (record.sequence,)
    else:
        by = sorted_by

        def place(record: RecordT) -> tuple[Any, ...]:
            return (by(record), record.sequence)

        ordered = sorted(filter(matches, records), key=place)

    if after is None or after == BEGINNING:
        index = len(ordered) - 1 if descending else 0
    elif descending:
        index = bisect_left(ordered, cursors.read(listing, after), key=place) - 1
    else:
        index = bisect_right(ordered, cursors.read(listing, after), key=place)

    step = -1 if descending else 1
    found: list[RecordT] = []
    while 0 <= index < len(ordered) and len(found) <= limit:
        if matches(ordered[index]):
            found.append(ordered[index])
        index += step
    if len(found) <= limit:
        return found, None
    return found[:limit], cursors.make(listing, place(found[limit - 1]))
