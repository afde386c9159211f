# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
short_description: Follow the machine events of a Paperspace team.
description:
  - An ansible-rulebook event source plugin for the work on Paperspace machines - snapshots, restores, starts, stops,
    restarts and the like. It gives an event when such a work begins, when its state is another one, and when it ends.
  - Each event is given once in each of the states in which it was seen. A state that lasts shorter than O(interval)
    may not be seen. With O(state_file) this holds over restarts, too.
  - The source goes on when the service does not answer, answers with errors, or limits the rate of requests. It ends at
    once when its options are wrong, or when the very first request is refused, for example because of a wrong key.
  - An event has C(id), C(name) such as V(snapshot-restore), C(state), C(machine_id), C(error), C(created) and
    C(finished), all texts or null. The last four are null where the service does not tell.
  - C(meta.uuid) is the same whenever the same event is given in the same state.
  - Texts come in one line, without control characters, cut off after 500 columns, and never with the beginning of a
    Jinja expression or of a vault. What is no valid id comes as null.
options:
  api_key:
    description:
      - The API key of the team. Without it, the environment variable E(PAPERSPACE_API_KEY) is used, and without that
        the key that C(pspace login) stored for the current team.
    type: str
  api_url:
    description:
      - The address of the API. Without it, the environment variable E(PAPERSPACE_API_URL) is used, or else
        V(https://api.paperspace.com/v1). Addresses with C(http://) are accepted for loopback only.
    type: str
  validate_certs:
    description: Whether the certificate of the server has to be valid.
    type: bool
    default: true
  request_timeout:
    description: The longest time, in seconds, that one request may wait for each part of its answer.
    type: float
    default: 30.0
  retries:
    description: How many times a request is sent again before the look at the events counts as failed.
    type: int
    default: 8
  names:
    description: Which events to give, by name. All when empty.
    type: list
    elements: str
    default: []
  states:
    description:
      - In which states to give them, out of V(new), V(in progress), V(done), V(error) and V(cancelled). All when empty.
    type: list
    elements: str
    default: []
  interval:
    description: Seconds between two looks at the events, at least 1.
    type: float
    default: 10.0
  lookback:
    description:
      - How many seconds after its creation an event may come up. Each look reads so far back behind the newest event.
        One that comes up later is not given.
      - The longer, the more requests a look needs - one for each 120 events of that time.
    type: float
    default: 600.0
  start:
    description:
      - Where to begin without a stored position. V(now) - with what comes up after the start, and with the end of what
        runs at the start. V(beginning) - with all events that the service still has.
      - Or a time such as V(2026-01-31T23:59:59Z), for all events that were created since.
    type: str
    default: now
  state_file:
    description:
      - The file to keep the position in, for one source only. It is made with the mode 0600, and holds ids and times.
      - Without it, each start of the rulebook begins where O(start) says.
    type: path
  feedback:
    description:
      - Store the position only when the rule engine has taken the event in. ansible-rulebook 1.3 provides for that when
        it runs with C(--persistence-id). Together with its persistence, an event is neither lost nor given twice when
        the process is killed.
    type: bool
    default: false
requirements:
  - requests >= 2.28.0
"""

EXAMPLES = r"""
- name: Failed work on machines
  community.paperspace.machine_events:
    states: [error]
    state_file: /var/lib/rulebooks/machine_events.json

- name: Restores, from their begin to their end
  community.paperspace.machine_events:
    names: [snapshot-restore]
    interval: 30
"""

import asyncio
import logging
import math
import os
import re
import sys
import threading
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import import_module
from pathlib import Path
from random import random
from typing import Any, Protocol


def make_importable(collection: Path) -> None:
    """Let Python find the collection that this file is in: ansible-rulebook runs the file by its path, and no more."""
    folders = [collection.parents[1], collection.parent]
    if [folder.name for folder in folders] != ["ansible_collections", "community"]:
        return
    sys.path.append(str(collection.parents[2]))
    for name, folder in zip(("ansible_collections", "ansible_collections.community"), map(str, folders), strict=True):
        # There may be other folders of this name, one with another version of the collection among them.
        package = import_module(name)
        package.__path__ = [folder, *(path for path in package.__path__ if path != folder)]


make_importable(Path(__file__).absolute().parents[4])

from ansible_collections.community.paperspace.plugins.module_utils._client import Client, checked_id
from ansible_collections.community.paperspace.plugins.module_utils._connection import (
    CONNECTION_SPEC,
    Connection,
    connection_from,
    home_folder,
)
from ansible_collections.community.paperspace.plugins.module_utils._errors import (
    InputError,
    PaperspaceError,
    RateLimited,
    Refused,
)
from ansible_collections.community.paperspace.plugins.module_utils._pace import backoff
from ansible_collections.community.paperspace.plugins.module_utils._transport import HAS_REQUESTS
from ansible_collections.community.paperspace.plugins.module_utils._wire import ENDED_STATES, Event, parse_time
from ansible_collections.community.paperspace.plugins.plugin_utils._event_following import (
    BEGINNING,
    Follower,
    Look,
    Position,
    PositionFile,
    before,
)
from ansible_collections.community.paperspace.plugins.plugin_utils._text import shorten

# Requests go out one at a time.
CONNECTION_OPTIONS = frozenset(CONNECTION_SPEC) - {"concurrency"}
OPTIONS = CONNECTION_OPTIONS | {"names", "states", "interval", "lookback", "start", "state_file", "feedback"}
# What ansible-rulebook adds.
FEEDBACK_QUEUE = "eda_feedback_queue"

STATES = frozenset({"new", "in progress"}) | ENDED_STATES
LONGEST_TEXT = 500
LONGEST_PAUSE = 3600.0
# The beginnings of Jinja's delimiters, and what ansible-rulebook takes for a vault wherever it stands in a text.
_TEMPLATE = re.compile(r"\{(?=[{%#])")
_VAULT = "$ANSIBLE_VAULT"

logger = logging.getLogger("community.paperspace.machine_events")


class Queue(Protocol):
    async def put(self, event: dict[str, Any], /) -> Any:
        """Add an event, and wait while there is no room."""


class FeedbackQueue(Protocol):
    async def get(self) -> Any:
        """Wait for the next entry."""


class Stopped(Exception):
    """The rulebook ends while a request waits to be sent again."""


@dataclass(frozen=True)
class Options:
    """Checked options. C(start): None is now."""

    connection: Connection
    names: frozenset[str]
    states: frozenset[str]
    interval: float
    lookback: float
    start: Position | None
    state_file: PositionFile | None

    def wants(self, event: Event) -> bool:
        return (not self.names or event.name in self.names) and (not self.states or event.state in self.states)


def options_from(args: Mapping[str, Any], environ: Mapping[str, str], home: Path) -> Options:
    """The options that a rulebook gives. Raises InputError."""
    unknown = sorted(set(args) - OPTIONS - {FEEDBACK_QUEUE})
    if unknown:
        raise InputError(f"Unknown options: {', '.join(unknown)}. There are: {', '.join(sorted(OPTIONS))}.")
    given = {name: args[name] for name in CONNECTION_OPTIONS if name in args}
    if not isinstance(given.get("validate_certs", True), bool):
        raise InputError("validate_certs has to be true or false.")
    for name in ("request_timeout", "retries"):
        given[name] = _number(given, name, CONNECTION_SPEC[name]["default"], least=0)
    states = _texts(args, "states")
    if not states <= STATES:
        raise InputError(f"states has to be a list out of: {', '.join(sorted(STATES))}.")
    state_file = args.get("state_file")
    if state_file is not None and not (isinstance(state_file, str) and state_file):
        raise InputError("state_file has to be a path.")
    return Options(
        connection=connection_from(given, environ, home),
        names=_texts(args, "names"),
        states=states,
        interval=_number(args, "interval", 10.0, least=1),
        lookback=_number(args, "lookback", 600.0, least=0),
        start=_start(args.get("start")),
        state_file=None if state_file is None else PositionFile(Path(state_file).expanduser()),
    )


def harmless(text: str | None) -> str | None:
    """The text as it does no harm in a rulebook or a playbook, which evaluates templates in its extra variables."""
    if text is None:
        return None
    words = shorten(text, LONGEST_TEXT).replace(_VAULT, _VAULT.replace("_", "-"))
    return _TEMPLATE.sub("{ ", words)


def as_event(event: Event) -> dict[str, Any]:
    """What a rule sees."""
    return {
        "id": _id_or_none(event.id),
        "name": harmless(event.name),
        "state": harmless(event.state),
        "machine_id": _id_or_none(event.machine_id),
        "error": harmless(event.error),
        "created": event.created.isoformat(),
        "finished": event.finished and event.finished.isoformat(),
        "meta": {"uuid": str(uuid.uuid5(uuid.NAMESPACE_URL, f"paperspace:{event.id!a}:{event.state!a}"))},
    }


async def follow(
    queue: Queue,
    options: Options,
    client: Client,
    *,
    feedback: FeedbackQueue | None = None,
    sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
    now: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
) -> None:
    """Put the events into the queue, for ever. Raises InputError, and Refused for what the service refuses at once."""
    stored = options.state_file and options.state_file.read()
    follower = Follower(client, stored or options.start, lookback=options.lookback, now=now)
    has_begun = False
    failures = 0
    while True:
        look = await asyncio.to_thread(follower.look)
        if not has_begun and isinstance(look.error, Refused) and not isinstance(look.error, RateLimited):
            raise look.error
        if follower.position is not None:
            await _deliver(queue, look, follower.position, options, feedback, must_store=not has_begun)
        delay = options.interval
        if look.error is None:
            has_begun, failures = True, 0
        else:
            delay = max(delay, _pause(look.error, failures))
            failures += 1
            logger.warning("%s The next look at the machine events is in %.0f s.", look.error, delay)
        await sleep(delay)


async def main(queue: Queue, args: Mapping[str, Any]) -> None:
    """The entry point for ansible-rulebook."""
    if not HAS_REQUESTS:
        raise InputError(f"The Python library requests is missing: install it for {sys.executable}.")
    options = options_from(args, os.environ, home_folder())
    stopping = threading.Event()

    def sleep(seconds: float) -> None:
        if stopping.wait(seconds):
            raise Stopped

    try:
        await follow(queue, options, Client(options.connection, sleep=sleep), feedback=args.get(FEEDBACK_QUEUE))
    finally:
        # ansible-rulebook waits for the thread of the look.
        stopping.set()


async def _deliver(
    queue: Queue,
    look: Look,
    position: Position,
    options: Options,
    feedback: FeedbackQueue | None,
    *,
    must_store: bool,
) -> None:
    """Hand over the news, and store the position behind each."""
    for event in look.news:
        if not options.wants(event):
            position.note(event)
            continue
        await queue.put(as_event(event))
        if feedback is not None:
            await feedback.get()
        position.note(event)
        if look.since is not None:
            position.settle(min(look.since, before(event.created, options.lookback)))
        _store(options.state_file, position, must_store=must_store)
    if look.since is not None:
        position.settle(look.since)
    _store(options.state_file, position, must_store=must_store)


def _store(file: PositionFile | None, position: Position, *, must_store: bool) -> None:
    """Store the position. Later than at the start, a disk that is full is no reason to stop."""
    if file is None:
        return
    try:
        file.write(position)
    except InputError as error:
        if must_store:
            raise
        logger.error("%s Until it can, a restart gives the latest events again.", error)  # noqa: TRY400


def _pause(error: PaperspaceError, failures: int) -> float:
    """Seconds. What the service asks for and the client does not wait for itself, is waited for here."""
    if isinstance(error, RateLimited) and error.retry_after is not None:
        return min(error.retry_after, LONGEST_PAUSE)
    return backoff(failures, random)


def _start(value: Any) -> Position | None:
    if value is None or value == "now":
        return None
    if value == "beginning":
        return Position(BEGINNING)
    # YAML makes times of what looks like one.
    moment = parse_time(str(value))
    if moment is None:
        raise InputError("start has to be now, beginning, or a time such as 2026-01-31T23:59:59Z.")
    return Position(moment)


def _number(args: Mapping[str, Any], name: str, default: float, *, least: float) -> float:
    value = args.get(name)
    if value is None:
        return default
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not least <= number < math.inf:
        raise InputError(f"{name} has to be a number, and at least {least:g}.")
    return number


def _texts(args: Mapping[str, Any], name: str) -> frozenset[str]:
    value = args.get(name)
    if value is None:
        return frozenset()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InputError(f"{name} has to be a list of texts.")
    return frozenset(value)


def _id_or_none(text: str | None) -> str | None:
    try:
        return None if text is None else checked_id(text)
    except InputError:
        return None
