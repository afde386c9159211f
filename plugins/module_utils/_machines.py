# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work of paperspace_machine for a whole fleet: start, stop, restart, and settings of auto-snapshots."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.community.paperspace.plugins.module_utils._client import Client
from ansible_collections.community.paperspace.plugins.module_utils._errors import (
    DeadlinePassed,
    NotFound,
    RateLimited,
    Refused,
    Unauthorized,
)
from ansible_collections.community.paperspace.plugins.module_utils._outcomes import (
    NO_PROGRESS,
    MachineOutcome,
    Progress,
    Report,
)
from ansible_collections.community.paperspace.plugins.module_utils._procedures import (
    SETTLED_STATES,
    STATE_LAG,
    Task,
    Unsure,
    follow,
    keep_looking,
    new_event,
    newest_events,
    send_once,
    settle,
    until_idle,
    watched,
)
from ansible_collections.community.paperspace.plugins.module_utils._reading import Reader, Recent, each_once, pool_of
from ansible_collections.community.paperspace.plugins.module_utils._scheduler import (
    NextLook,
    Pause,
    Procedure,
    Scheduler,
)
from ansible_collections.community.paperspace.plugins.module_utils._shown import shown
from ansible_collections.community.paperspace.plugins.module_utils._wire import Event, Machine
from ansible_collections.community.paperspace.plugins.module_utils._wishes import refuse_first, wait_problems

FREQUENCIES = ("hourly", "daily", "weekly", "monthly")
LARGEST_SAVE_COUNT = 10

# The option's field, the field of the machine as this collection shows it, and the field on the wire.
_AUTO_SNAPSHOT_FIELDS = (
    ("enabled", "auto_snapshot_enabled", "autoSnapshotEnabled"),
    ("frequency", "auto_snapshot_frequency", "autoSnapshotFrequency"),
    ("save_count", "auto_snapshot_save_count", "autoSnapshotSaveCount"),
)
_GOALS = {"started": "ready", "stopped": "off", "restarted": "ready"}
_PAST = {"start": "started", "stop": "stopped", "restart": "restarted"}
# The state that shows that the verb was carried out; a machine that was restarted is as it was before.
_ENDS = {"start": "ready", "stop": "off"}
_MOVES = frozenset({"start", "stop", "restart", "snapshot-restore", "vm-upgrade"})
# What surely is no change of settings. The published API has no event for that, but may answer with one.
_OF_OTHER_WORK = frozenset(
    {
        *("bill-sessions", "bill-upgrade", "create", "deactivate", "vm-migrate", "vm-shutdown-force"),
        *("start", "stop", "restart", "snapshot-create", "snapshot-delete", "snapshot-restore"),
        *("template-create", "template-delete", "template-distribute", "template-import"),
    }
)


@dataclass(frozen=True)
class MachineWish:
    """The options of paperspace_machine. Times are seconds; None means not given."""

    machine_ids: Sequence[str] = ()
    state: str | None = None
    auto_snapshot: Mapping[str, Any] = field(default_factory=dict)
    skip_missing: bool = False
    wait: bool = True
    wait_timeout: float = 3600.0
    wait_interval: float | None = None

    def check(self) -> None:
        """Raise InputError for what cannot be meant, before anything is sent."""
        count = self.auto_snapshot.get("save_count")
        problems = [
            (not self.machine_ids, "machine_ids is an empty list: no machine is named."),
            (
                self.state is None and not self.auto_snapshot,
                "Neither state nor auto_snapshot is set: there is nothing to do.",
            ),
            (
                count is not None and not 0 <= count <= LARGEST_SAVE_COUNT,
                f"auto_snapshot.save_count must be 0 to {LARGEST_SAVE_COUNT}, not {count}.",
            ),
            *wait_problems(self.wait_timeout, self.wait_interval),
        ]
        refuse_first(problems, ids=self.machine_ids)


@dataclass(frozen=True)
class Move:
    """The next step of a machine: C(verb) to send (None: none), once it is in C(after) (None: at once)."""

    verb: str | None = None
    after: str | None = None


def next_move(wanted: str | None, state: str) -> Move | None:
    """What brings a machine from the state that it is in to the wanted one; None when there is nothing to do."""
    if wanted is None or (wanted == "started" and state == "ready") or (wanted == "stopped" and state == "off"):
        return None
    if state == "off":
        return Move("start")
    if state == "stopping":
        return Move(None) if wanted == "stopped" else Move("start", after="off")
    verb = {"started": None, "stopped": "stop", "restarted": "restart"}[wanted]
    if state == "ready" or verb is None:
        return Move(verb)
    # On its way up: serviceready is not up yet.
    return Move(verb, after="ready")


def changed_settings(machine: Machine, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The settings, by their name on the wire, that are not yet as wanted."""
    return {
        wire_name: wanted[option]
        for option, shown_name, wire_name in _AUTO_SNAPSHOT_FIELDS
        if wanted.get(option) is not None and machine.fields.get(shown_name) != wanted[option]
    }


def auto_snapshot_of(machine: Machine) -> dict[str, Any]:
    """The machine's settings of auto-snapshots, as the option has them."""
    return {option: machine.fields.get(shown_name) for option, shown_name, _wire_name in _AUTO_SNAPSHOT_FIELDS}


def is_surely(state: str, events: Iterable[Event]) -> bool:
    """Whether a machine's state is not one of before: it lags. C(events): the machine's last ones, newest first.

    It is not when the last event that moves a machine has brought it into this very state.
    """
    last = next((event for event in events if event.name in _MOVES), None)
    return last is None or (last.state == "done" and _ENDS.get(last.name) == state)


def run_machines(
    client: Client,
    wish: MachineWish,
    *,
    check_mode: bool,
    executor: Executor | None = None,
    progress: Progress = NO_PROGRESS,
) -> Report:
    """Do what is wished. Raises InputError before anything is touched; what goes wrong later stands in the outcomes."""
    wish.check()
    with pool_of(client, executor) as pool:
        return _run(client, wish, check_mode, pool, progress)


def _run(client: Client, wish: MachineWish, check_mode: bool, executor: Executor, progress: Progress) -> Report:
    client.check_key()
    machine_ids, warnings = each_once(wish.machine_ids, "machine_ids")
    reader = Reader(client, executor)
    if wish.state and not check_mode:
        reader.read_recent_ahead(len(machine_ids))
    machines = reader.existing_machines(machine_ids, skip_missing=wish.skip_missing)
    outcomes = [_outcome(machine_id, machines.get(machine_id)) for machine_id in machine_ids]
    before = _describe(outcomes)
    # The state lags: a machine that reads as wanted can be on its way to something else.
    recent = reader.recent(len(machines)) if machines and wish.state and not check_mode else Recent()
    due = [
        outcome
        for outcome in outcomes
        if (machine := machines.get(outcome.machine_id))
        and (
            changed_settings(machine, wish.auto_snapshot)
            or next_move(wish.state, machine.state)
            or (wish.wait and not is_surely(machine.state, recent.of_machine(machine.id)))
        )
    ]
    if check_mode:
        for outcome in due:
            _foretell(outcome, machines[outcome.machine_id], wish)
    elif due:
        with client.waiting(wish.wait_timeout) as deadline:
            progress.begin(due, client.clock())
            if not wish.state:
                recent = reader.recent(len(due))
            is_joined = wish.state != "restarted"
            task = Task(client, recent, wish.wait, wish.wait_timeout, progress=progress, is_joined=is_joined)
            procedures = (
                watched(task, outcome, _change(task, outcome, machines[outcome.machine_id], wish)) for outcome in due
            )
            scheduler = Scheduler(client, executor, deadline=deadline, interval=wish.wait_interval, progress=progress)
            scheduler.run(procedures)
    return Report(outcomes, warnings, before, _describe(outcomes))


def _change(task: Task, outcome: MachineOutcome, machine: Machine, wish: MachineWish) -> Procedure[None]:
    is_sure = wish.state is None or is_surely(machine.state, task.recent.of_machine(outcome.machine_id))
    if (yield from until_idle(task, outcome)) or (task.wait and not is_sure):
        yield Pause(STATE_LAG)
        machine = yield from keep_looking(lambda: task.client.machine(outcome.machine_id))
        outcome.state, outcome.auto_snapshot = machine.state, auto_snapshot_of(machine)
    settings = changed_settings(machine, wish.auto_snapshot)
    if settings:
        yield from _update(task, outcome, settings)
        if outcome.status == "pending":
            # The machine is busy with that. The same task run again does the rest.
            return
    yield from _move(task, outcome, wish.state, machine.state)


def _update(task: Task, outcome: MachineOutcome, settings: Mapping[str, Any]) -> Procedure[None]:
    """Change settings. Leaves C(pending) when that takes an event that is not waited for.

    The API does not say how such an event is called, so one that is found where the answer is lost may be another's:
    what counts in the end is what the machine shows.
    """
    client, machine_id = task.client, outcome.machine_id
    wanted = {option: settings[name] for option, _shown, name in _AUTO_SNAPSHOT_FIELDS if name in settings}

    def find() -> tuple[Machine, Event | None] | None:
        found = client.machine(machine_id)
        event = next((each for each in newest_events(client, machine_id) if _is_of_settings(task, each)), None)
        return None if event is None and changed_settings(found, wanted) else (found, event)

    def is_shown(found: Machine) -> bool:
        outcome.auto_snapshot = auto_snapshot_of(found)
        return not changed_settings(found, wanted)

    def shows() -> Procedure[bool]:
        return (yield from _comes_to_show(task, machine_id, is_shown))

    machine, event = yield from send_once(
        task, outcome, lambda: client.update_machine(machine_id, settings), find, is_safe=True
    )
    outcome.auto_snapshot = auto_snapshot_of(machine)
    if event is not None:
        if not (yield from follow(task, outcome, event, shows)):
            return
        outcome.waits_for = "The event has ended, but the machine did not show the settings yet"
        if not (yield from shows()):
            raise Unsure(f"Event {event.id} ({event.name}) is done, but the machine does not show the settings.")
        outcome.waits_for = ""
    outcome.status = "updated"


def _comes_to_show(task: Task, machine_id: str, is_shown: Callable[[Machine], bool]) -> Procedure[bool]:
    """Whether the machine shows it for as long as its state may lag: what is read may be what was there before."""
    until = task.client.clock() + STATE_LAG
    while True:
        if is_shown((yield NextLook(machine_id))):
            return True
        if task.client.clock() >= until:
            return False


def _is_of_settings(task: Task, event: Event) -> bool:
    """Whether this may be the event of settings that this task has changed."""
    return event.name not in _OF_OTHER_WORK and event.id not in task.settled_events and task.recent.is_new(event)


def _move(task: Task, outcome: MachineOutcome, wanted: str | None, state: str) -> Procedure[None]:
    move = next_move(wanted, state)
    if wanted is None or move is None:
        return
    if move.after is not None and task.wait:
        yield from settle(task, outcome, {move.after})
    is_own = is_done = True
    if move.verb is not None:
        try:
            event = yield from _request(task, outcome, move.verb)
        except Refused as refusal:
            yield from _until_there(task, outcome.machine_id, _ENDS.get(move.verb), refusal)
            is_own = False
        else:
            is_done = event is None or (yield from _follow(task, outcome, event, _ENDS.get(move.verb)))
    if not task.wait:
        outcome.status = outcome.status or "pending"
    elif is_done:
        machine = yield from settle(task, outcome, {_GOALS[wanted]})
        outcome.state = machine.state
        outcome.auto_snapshot = auto_snapshot_of(machine)
        if move.verb is not None and is_own:
            outcome.status = _PAST[move.verb]


def _request(task: Task, outcome: MachineOutcome, verb: str) -> Procedure[Event | None]:
    """Send the verb; its event. A machine that is on its way already needs none."""
    client, machine_id = task.client, outcome.machine_id
    try:
        event: Event = yield from send_once(
            task,
            outcome,
            lambda: client.change_machine(machine_id, verb),
            lambda: new_event(task, machine_id, verb),
        )
    except Refused as refusal:
        if verb == "start" and "currently starting" in str(refusal):
            return None
        raise
    return event


def _until_there(task: Task, machine_id: str, goal: str | None, refusal: Refused) -> Procedure[None]:
    """Wait until the machine shows the goal, to which somebody else has moved it; otherwise raise the refusal.

    How the service words that it is there already is not published.
    """
    if goal is None or not task.wait or isinstance(refusal, (NotFound, RateLimited, Unauthorized)):
        raise refusal
    try:
        is_there = yield from _comes_to_show(task, machine_id, lambda machine: machine.state == goal)
    except DeadlinePassed:
        raise refusal from None
    if not is_there:
        raise refusal


def _follow(task: Task, outcome: MachineOutcome, event: Event, goal: str | None) -> Procedure[bool]:
    """Wait until the event is done, as L(follow) does. C(goal): the state that shows that it is, if any does."""

    def shows() -> Procedure[bool]:
        machine = yield from settle(task, outcome, SETTLED_STATES)
        outcome.state = machine.state
        return machine.state == goal

    return (yield from follow(task, outcome, event, shows if goal else None))


def _outcome(machine_id: str, machine: Machine | None) -> MachineOutcome:
    if machine is None:
        return MachineOutcome(machine_id, status="skipped", error="No machine has this id (skip_missing).")
    return MachineOutcome(
        machine_id, status="unchanged", name=machine.name, state=machine.state, auto_snapshot=auto_snapshot_of(machine)
    )


def _foretell(outcome: MachineOutcome, machine: Machine, wish: MachineWish) -> None:
    """What check mode says instead of doing it."""
    if changed_settings(machine, wish.auto_snapshot):
        outcome.status = "would_update"
        outcome.auto_snapshot = {
            **outcome.auto_snapshot,
            **{k: v for k, v in wish.auto_snapshot.items() if v is not None},
        }
    move = next_move(wish.state, machine.state)
    if move is not None and move.verb is not None:
        outcome.status = f"would_{move.verb}"
        outcome.state = _GOALS[str(wish.state)]


def _describe(outcomes: Sequence[MachineOutcome]) -> str:
    """Each machine's state and settings as lines."""
    return "".join(
        f"{outcome.machine_id} ({shown(str(outcome.name))}):\n  state: {shown(str(outcome.state))}\n"
        + "".join(f"  auto_snapshot_{key}: {shown(str(value))}\n" for key, value in outcome.auto_snapshot.items())
        for outcome in outcomes
        if outcome.status != "skipped"
    )
