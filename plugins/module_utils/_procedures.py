# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The procedures that every change shares: send once, wait for the event, wait for the machine, end honestly."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from ansible_collections.community.paperspace.plugins.module_utils._client import Client
from ansible_collections.community.paperspace.plugins.module_utils._errors import (
    AnswerLost,
    Busy,
    DeadlinePassed,
    NotOpened,
    PaperspaceError,
    RateLimited,
    Refused,
    passes_after,
)
from ansible_collections.community.paperspace.plugins.module_utils._feed import Feed
from ansible_collections.community.paperspace.plugins.module_utils._outcomes import NO_PROGRESS, Outcome, Progress
from ansible_collections.community.paperspace.plugins.module_utils._proof import is_clear_failure
from ansible_collections.community.paperspace.plugins.module_utils._reading import Recent, latest, running
from ansible_collections.community.paperspace.plugins.module_utils._scheduler import (
    QUICKEST_POLL,
    Call,
    EventEnd,
    NextLook,
    Pause,
    Procedure,
)
from ansible_collections.community.paperspace.plugins.module_utils._wire import ENDED_STATES, Event, Machine

T = TypeVar("T")

# A machine's state lags: "just after a restart it still reads ready for some seconds" (FACTS.md).
STATE_LAG = 5.0
SETTLED_STATES = frozenset({"ready", "off"})
FIRST_LOOK_AGAIN = 0.5
LONGEST_LOOK_AGAIN = 30.0


class Unsure(PaperspaceError):
    """It is not known whether the work was done."""


class NotSeen(PaperspaceError):
    """The service refused to show what there is."""


@dataclass(frozen=True)
class Task:
    """What the procedures of one task share. Times are seconds."""

    client: Client
    recent: Recent
    wait: bool = True
    wait_timeout: float = 3600.0
    # The ids of events that cannot be what a request did whose answer is lost: they are another request's.
    settled_events: set[str] = field(default_factory=set)
    progress: Progress = NO_PROGRESS
    # Whether the same task run again waits for what this one began, or does it once more.
    is_joined: bool = True
    # Whether what the service did not take is sent again until wait_timeout, and not just as often as retries say.
    is_persistent: bool = False
    # What new snapshots there are, where that is read for the whole fleet.
    feed: Feed | None = None


def watched(task: Task, outcome: Outcome, procedure: Procedure[None]) -> Procedure[None]:
    """The procedure, with whatever stops it turned into the outcome's status and error."""
    clock = task.client.clock
    began = clock()
    try:
        yield from procedure
    except DeadlinePassed as error:
        outcome.status = "unsure" if outcome.doubt else "timed_out"
        outcome.error = _on_timeout(task, outcome) + str(error)
    except Unsure as error:
        outcome.status, outcome.error = "unsure", str(error)
    except NotSeen as error:
        outcome.status, outcome.error = "failed", str(error)
        if outcome.was_sent:
            outcome.status = "unsure"
            outcome.error = f"It was sent, but the service does not show what became of it: {error} {_LOOK}"
    except PaperspaceError as error:
        outcome.status, outcome.error = "failed", str(error)
        outcome.passes_after = passes_after(error)
    finally:
        outcome.seconds = clock() - began
        task.progress.end(outcome)


def send_once(
    task: Task,
    outcome: Outcome,
    request: Callable[[], T],
    find: Callable[[], T | None],
    *,
    join: Callable[[], T | None] | None = None,
    is_safe: bool = False,
) -> Procedure[T]:
    """Send a request that must not be carried out twice, and return its result.

    A busy machine is waited for. When the answer is lost, C(find) looks for what the request did (None: no trace
    of it); it is sent again only when nothing came of it for as long as an answer may take. C(join): what it
    finds after a busy machine was waited for is as good as the own, though somebody else did it. C(is_safe): the
    transport has sent it again already, as often as it may.
    """
    sent_again = 0
    was_lost = sent_before = False
    busy_pause = FIRST_LOOK_AGAIN
    while True:
        try:
            result = yield from _until_taken(task, request)
        except Busy as busy:
            # What keeps the machine busy may be what the request did whose answer was lost.
            if was_lost and (found := (yield from keep_looking(find))) is not None:
                return found
            if not task.wait:
                raise
            outcome.waits_for = f"The machine was busy ({busy})"
            yield from _until_free(task, outcome.machine_id, busy_pause, is_own_possible=was_lost)
            if was_lost and (found := (yield from keep_looking(find))) is not None:
                return found
            busy_pause = longer(busy_pause)
            if join is not None and not was_lost and (found := (yield from keep_looking(join))) is not None:
                return found
        except AnswerLost as lost:
            sent_before = outcome.was_sent if not was_lost else sent_before
            was_lost = outcome.was_sent = True
            outcome.doubt = f"{lost} It is not known whether the service carried it out"
            asked_until = task.client.clock() + (lost.retry_after or 0.0)
            found = yield from find_trace(task, find)
            outcome.doubt = ""
            if found is not None:
                return found
            if is_safe or sent_again >= task.client.connection.retries:
                outcome.was_sent = sent_before
                raise
            if (left := asked_until - task.client.clock()) > 0:
                yield Pause(left)
            sent_again += 1
        else:
            outcome.was_sent = True
            return result


def _until_taken(task: Task, request: Callable[[], T]) -> Procedure[T]:
    """The answer to a request. In a persistent task, what the service did not take is sent again until wait_timeout."""
    pause = FIRST_LOOK_AGAIN
    while True:
        try:
            answer: T = yield Call(request)
        except (NotOpened, RateLimited) as error:
            if not task.is_persistent:
                raise
            try:
                yield Pause(max(pause, passes_after(error) or 0.0))
            except DeadlinePassed:
                raise error from None
            pause = longer(pause)
        else:
            return answer


def until_idle(task: Task, outcome: Outcome) -> Procedure[bool]:
    """Wait for the events that were running on the machine when the task began; whether there were any."""
    events = task.recent.running_on(outcome.machine_id) if task.wait else []
    for event in events:
        outcome.waits_for = f"The machine was busy with event {event.id} ({event.name})"
        yield EventEnd(event)
    outcome.waits_for = ""
    return bool(events)


def follow(
    task: Task, outcome: Outcome, event: Event, shows: Callable[[], Procedure[bool]] | None = None
) -> Procedure[bool]:
    """Wait until the event is done; False when the task does not wait. Raises Unsure or Refused for any other end.

    C(shows) finds out whether the work was done, where the API shows that: then this is known after a bad end too.
    """
    outcome.take_event(event)
    task.settled_events.add(event.id)
    if not task.wait and not event.has_ended:
        outcome.status = "pending"
        return False
    try:
        ended: Event = yield EventEnd(event)
    except DeadlinePassed as passed:
        outcome.take_event(passed.event or event)
        raise
    outcome.take_event(ended)
    if ended.state == "done":
        return True
    is_known = False
    if shows is not None:
        try:
            if (yield from shows()):
                return True
            is_known = True
        except DeadlinePassed:
            pass
    raise ended_badly(ended, is_undone=is_known)


def ended_badly(event: Event, *, is_undone: bool = False) -> PaperspaceError:
    """What is known when an event ends in error or cancelled. C(is_undone): nothing came of it, as was seen since."""
    what = f"Event {event.id} ({event.name})"
    if event.state == "cancelled":
        return Refused(f"{what} was cancelled by the service.")
    if event.error:
        return Refused(f"{what} ended in error: {event.error}")
    if is_undone:
        return Refused(f"{what} ended in error without a reason, and nothing came of it.")
    if is_clear_failure(event):
        return Unsure(
            f"{what} ended in error, without a reason and without an end time: most likely nothing was done. {_LOOK}"
        )
    return Unsure(
        f"{what} ended in error without a reason, but with an end time: the work may be done all the same. {_LOOK}"
    )


_LOOK = "Look at the machine and its snapshots in the Paperspace console before you rely on either."


def settle(task: Task, outcome: Outcome, states: Collection[str]) -> Procedure[Machine]:
    """Wait until the machine is in one of the states, and not just has not left it yet."""
    clock = task.client.clock
    arrived: tuple[str, float] | None = None
    has_moved = False
    outcome.waits_for = f"The event has ended, but the machine was not {' or '.join(sorted(states))} yet"
    while True:
        machine: Machine = yield NextLook(outcome.machine_id)
        has_moved = has_moved or machine.state not in states or (arrived is not None and machine.state != arrived[0])
        pause: Pause | None = None
        if machine.state not in states:
            arrived = None
        elif has_moved and machine.state == "ready":
            return machine
        else:
            if arrived is None or machine.state != arrived[0]:
                arrived = machine.state, clock()
            waited = clock() - arrived[1]
            # A machine that goes off may be on its way through it, as in a restore.
            enough = 2 * STATE_LAG if has_moved and "ready" in states else STATE_LAG
            if waited >= enough:
                return machine
            # Once it is seen on its way it need not be waited for as long as a state may lag, so look early, then
            # rarely. The look comes at the first poll after the pause.
            look_at = min(enough, max(STATE_LAG / 4, 2 * waited))
            pause = Pause(max(0.0, look_at - waited - QUICKEST_POLL))
        # Else a fleet that waits would keep all that the service has said of its machines.
        del machine
        if pause is not None:
            yield pause


def new_event(task: Task, machine_id: str, name: str) -> Event | None:
    """The machine's newest event of this name that is no other request's, if it came after the task began."""
    for event in newest_events(task.client, machine_id):
        if event.name == name and event.id not in task.settled_events:
            return event if task.recent.is_new(event) else None
    return None


def until_known(task: Task, machine_id: str) -> Procedure[None]:
    """Take note of the machine's events so far: none of them is of what is sent next."""
    events: Sequence[Event] = yield from keep_looking(lambda: newest_events(task.client, machine_id))
    task.settled_events.update(event.id for event in events)


def newest_events(client: Client, machine_id: str) -> list[Event]:
    """The first page of the machine's events, newest first."""
    return next(client.event_pages(machine_id), [])


def longer(pause: float) -> float:
    """The pause after this one, in seconds."""
    return min(LONGEST_LOOK_AGAIN, 2 * pause)


def keep_looking(look: Callable[[], T]) -> Procedure[T]:
    """What a look shows. While waiting, a look that fails is not work that failed: look again, until wait_timeout.

    Raises NotSeen where the service refuses to show it.
    """
    pause = FIRST_LOOK_AGAIN
    while True:
        try:
            found: T = yield Call(look)
        except (AnswerLost, NotOpened, RateLimited):
            yield Pause(pause)
            pause = longer(pause)
        except Refused as refused:
            raise NotSeen(str(refused)) from None
        else:
            return found


def _until_free(task: Task, machine_id: str, pause: float, *, is_own_possible: bool) -> Procedure[None]:
    """Wait for what runs on a machine that answered that it is busy; a pause if nothing is seen to run.

    Unless C(is_own_possible), nothing that is there by now is the work of a request that was refused so far.
    """
    events: Sequence[Event] = (yield from _look_once(lambda: newest_events(task.client, machine_id))) or []
    if not is_own_possible:
        task.settled_events.update(event.id for event in events)
    under_way = running(events, latest(events[0].created if events else None, task.client.service_time))
    for event in under_way:
        yield EventEnd(event)
    if not under_way:
        yield Pause(pause)


def find_trace(task: Task, find: Callable[[], T | None]) -> Procedure[T | None]:
    """What a request did, or None when for C(request_timeout) seconds nothing of it was to be seen."""
    clock = task.client.clock
    began = clock()
    pause = FIRST_LOOK_AGAIN
    while True:
        try:
            found: T | None = yield Call(find)
        except DeadlinePassed:
            raise
        except PaperspaceError:
            pass  # A look that fails shows nothing: look again, until wait_timeout.
        else:
            if found is not None or clock() - began >= task.client.connection.request_timeout:
                return found
        yield Pause(pause)
        pause = longer(pause)


def _look_once(find: Callable[[], T | None]) -> Procedure[T | None]:
    try:
        found: T | None = yield Call(find)
    except DeadlinePassed:
        raise
    except PaperspaceError:
        return None
    return found


_DONE_AGAIN = "the same task run again would do it once more"


def _on_timeout(task: Task, outcome: Outcome) -> str:
    waited = f"within wait_timeout ({task.wait_timeout:g} s)"
    if outcome.doubt:
        return f"{outcome.doubt}, and this could not be found out {waited}. {_LOOK}"
    has_ended = outcome.event_state in ENDED_STATES
    if has_ended and outcome.waits_for:
        return f"{outcome.waits_for} {waited}. The work may still finish (event {outcome.event_id})."
    if outcome.event_id and not has_ended:
        advice = "run the same task again to wait for it" if task.is_joined else _DONE_AGAIN
        return f"Event {outcome.event_id} did not end {waited}. The work may still finish; {advice}."
    if outcome.was_sent:
        advice = "Run the same task again to see" if task.is_joined else _DONE_AGAIN.capitalize()
        return f"It was sent, but what became of it did not show {waited}. {advice}. {_LOOK}"
    if outcome.waits_for:
        return f"{outcome.waits_for} and did not become free {waited}; nothing was begun."
    return f"Its turn did not come {waited}; nothing was begun."
