# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a snapshot is proven done: a table of cases, and generated histories in which the truth is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ansible_collections.community.paperspace.plugins.module_utils._proof import State, prove
from ansible_collections.community.paperspace.plugins.module_utils._wire import Event, Snapshot

BEGAN = datetime(2026, 1, 31, tzinfo=timezone.utc)
RUN = "maint-20260131T000000Z-1a2b"


def event(name: str, state: str = "done", *, at: float, error: str | None = None) -> Event:
    """C(at): hours since BEGAN."""
    created = BEGAN + timedelta(hours=at)
    finished = created if state in ("done", "error", "cancelled") else None
    return Event(f"{name}-{at:g}", name, state, "m1", error, created, finished)


def create(state: str = "done", *, at: float, error: str | None = None) -> Event:
    return event("snapshot-create", state, at=at, error=error)


def snapshot(snapshot_id: str, name: str = "x", *, auto: bool = False) -> Snapshot:
    return Snapshot(snapshot_id, name, "m1", auto)


BORN = event("create", at=-100)
A, B, C = (snapshot(name) for name in "abc")


@dataclass(frozen=True)
class Case:
    """Snapshots and events oldest first, as they came; the proof is of the snapshot C(of)."""

    snapshots: list[Snapshot]
    events: list[Event]
    state: State
    of: Snapshot = A
    is_whole: bool = True
    is_late: bool = False


CASES: dict[str, Case] = {
    "its create is done": Case([A], [BORN, create(at=1)], State.DONE),
    "its create runs": Case([A], [BORN, create("in progress", at=1)], State.RUNNING),
    "its create is new": Case([A], [BORN, create("new", at=1)], State.RUNNING),
    "its create failed with a reason": Case([A], [BORN, create("error", at=1, error="no space")], State.FAILED),
    "its create was cancelled": Case([A], [BORN, create("cancelled", at=1)], State.FAILED),
    "its create ended in error without a reason": Case([A], [BORN, create("error", at=1)], State.UNSURE),
    "nothing is known": Case([A], [], State.UNSURE),
    "no event made it": Case([A], [BORN], State.UNSURE, is_late=True),
    "forgotten, and its event would show by now": Case([A], [event("start", at=1)], State.DONE, is_late=True),
    "forgotten, or its event does not show yet": Case([A], [event("start", at=1)], State.UNSURE),
    "the older of two": Case([A, B], [BORN, create(at=1), create("in progress", at=2)], State.DONE),
    "the newer of two": Case([A, B], [BORN, create(at=1), create("in progress", at=2)], State.RUNNING, of=B),
    "the good one beside a failed one": Case(
        [A, B], [BORN, create("error", at=1, error="no space"), create(at=2)], State.DONE, of=B, is_late=True
    ),
    "beside a failed one, and its event may not show yet": Case(
        [A, B], [BORN, create("error", at=1, error="no space"), create(at=2)], State.UNSURE, of=B
    ),
    "beside an auto-snapshot, and its event may not show yet": Case(
        [snapshot("auto", auto=True), A], [BORN, create(at=1), create(at=2)], State.UNSURE
    ),
    "of a history that is not whole, and its event may not show yet": Case([A], [create(at=1)], State.UNSURE),
    "of a history that is not whole": Case([A], [create(at=1)], State.DONE, is_late=True),
    "the failed one beside a good one": Case(
        [A, B], [BORN, create("error", at=1, error="no space"), create(at=2)], State.FAILED
    ),
    "a failed create may have left nothing": Case(
        [A], [BORN, create("error", at=1, error="no space"), create(at=2)], State.DONE, is_late=True
    ),
    "a failed one was deleted, and then it was made": Case(
        [A],
        [BORN, create("error", at=1, error="no space"), event("snapshot-delete", at=2), create(at=3)],
        State.DONE,
        is_late=True,
    ),
    "a failed one was deleted, it was made, and restored": Case(
        [A],
        [
            BORN,
            create("error", at=1, error="no space"),
            event("snapshot-delete", at=2),
            create(at=3),
            event("snapshot-restore", at=4),
        ],
        State.DONE,
        is_late=True,
    ),
    "a restore runs that may be making it": Case(
        [A],
        [BORN, create("error", at=1, error="no space"), create(at=3), event("snapshot-restore", "new", at=4)],
        State.UNSURE,
    ),
    "a create failed, and the service has forgotten others": Case(
        [A], [event("start", at=1), create("error", at=2, error="no space")], State.UNSURE
    ),
    "one of two is gone": Case(
        [A],
        [BORN, create("error", at=1, error="no space"), create(at=2), event("snapshot-delete", at=3)],
        State.UNSURE,
    ),
    "a delete may have worked though it ended in error": Case(
        [A],
        [BORN, create(at=1), create("error", at=2, error="no space"), event("snapshot-delete", "error", at=3)],
        State.UNSURE,
    ),
    "a delete still runs and may have worked": Case(
        [A],
        [BORN, create(at=1), create("error", at=2, error="no space"), event("snapshot-delete", "new", at=3)],
        State.UNSURE,
    ),
    "a newer auto-snapshot may have no event": Case(
        [A, B, snapshot("auto", auto=True)],
        [BORN, create(at=1), create("in progress", at=2)],
        State.RUNNING,
        of=B,
        is_late=True,
    ),
    "an older auto-snapshot may have no event": Case(
        [snapshot("auto", auto=True), A],
        [BORN, create("error", at=1, error="no space"), create(at=2), event("snapshot-delete", at=3)],
        State.UNSURE,
    ),
    "what a restore took first may have no event": Case(
        [A, B, snapshot("safety")],
        [BORN, create(at=1), create("error", at=2, error="no space"), event("snapshot-restore", at=3)],
        State.UNSURE,
        of=B,
    ),
    "a stuck create of long ago says nothing": Case(
        [A], [BORN, create("in progress", at=-90), create(at=1), event("start", at=2)], State.DONE
    ),
    "a run's events are those since it began": Case(
        [snapshot("r", RUN)],
        [BORN, create("error", at=-9, error="no space"), create(at=1), event("snapshot-delete", at=2)],
        State.DONE,
        of=snapshot("r", RUN),
    ),
    "a run's snapshot is not proven by what came before the run": Case(
        [snapshot("r", RUN)], [BORN, create(at=-9)], State.UNSURE, of=snapshot("r", RUN), is_whole=False
    ),
    "a run's event does not show yet, and an older create is not it": Case(
        [snapshot("r", RUN)],
        [BORN, create(at=-9), event("snapshot-delete", at=-8)],
        State.UNSURE,
        of=snapshot("r", RUN),
    ),
    "a closed run is proven by its name": Case(
        [snapshot("r", f"{RUN}-ok")], [], State.DONE, of=snapshot("r", f"{RUN}-ok")
    ),
    "an auto-snapshot is not proven by its name": Case(
        [snapshot("r", f"{RUN}-ok", auto=True)], [BORN], State.UNSURE, of=snapshot("r", f"{RUN}-ok", auto=True)
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_proof(name: str) -> None:
    case = CASES[name]
    proof = prove(case.of, case.snapshots[::-1], case.events[::-1], is_whole=case.is_whole, is_late=case.is_late)
    assert proof.state is case.state
    if proof.state is not State.DONE:
        assert proof.describe()


# Generated histories


@dataclass
class History:
    """What happened on a machine, oldest first, and of each snapshot the state of the event that truly made it.

    C(all_have_events): the snapshots that the service takes by itself come with an event too.
    """

    all_have_events: bool = True
    snapshots: list[Snapshot] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    truth: dict[str, str] = field(default_factory=dict)

    def happen(self, name: str, state: str = "done", error: str | None = None) -> None:
        self.events.append(event(name, state, at=len(self.events) / 10, error=error))

    def add(self, state: str, *, name: str, auto: bool = False) -> None:
        made = snapshot(f"s{len(self.truth)}", name, auto=auto)
        self.snapshots.append(made)
        self.truth[made.id] = state

    def create(self, draw: st.DrawFn) -> None:
        state = draw(st.sampled_from(["done", "done", "error", "cancelled"]))
        self.happen("snapshot-create", state, draw(st.sampled_from([None, "no space"])) if state == "error" else None)
        if state == "done" or draw(st.booleans()):
            self.add(state, name=draw(st.sampled_from(["x", RUN])))

    def delete(self, draw: st.DrawFn) -> None:
        state = draw(st.sampled_from(["done", "done", "error", "cancelled"]))
        if self.snapshots and (state == "done" or draw(st.booleans())):
            self.snapshots.pop(draw(st.integers(0, len(self.snapshots) - 1)))
            self.happen("snapshot-delete", state)

    def by_itself(self, name: str, *, auto: bool) -> None:
        if self.all_have_events:
            self.happen("snapshot-create")
        self.add("done", name=name, auto=auto)

    def auto(self, draw: st.DrawFn) -> None:
        self.by_itself("auto", auto=True)
        automatic = [item for item in self.snapshots if item.is_auto_snapshot]
        for item in automatic[: -draw(st.integers(1, 2))]:
            self.snapshots.remove(item)

    def restore(self, draw: st.DrawFn) -> None:
        self.happen("snapshot-restore", draw(st.sampled_from(["done", "error"])))
        if draw(st.booleans()):
            self.by_itself("Before restore", auto=False)


STEPS: list[Callable[[History, st.DrawFn], None]] = [
    History.create,
    History.create,
    History.create,
    History.delete,
    History.delete,
    History.auto,
    History.restore,
    lambda history, _draw: history.happen("start"),
]


@st.composite
def histories(draw: st.DrawFn) -> History:
    history = History(draw(st.booleans()))
    history.happen("create")
    for _number in range(draw(st.integers(1, 9))):
        draw(st.sampled_from(STEPS))(history, draw)
    if draw(st.booleans()):
        state = draw(st.sampled_from(["new", "in progress"]))
        history.happen("snapshot-create", state)
        history.add(state, name=draw(st.sampled_from(["x", RUN])))
    return history


def assert_true(state: State, truth: str) -> None:
    """Done is restored, and what failed is deleted: neither may be said of the other."""
    assert state is not State.DONE or truth == "done"
    assert state is not State.FAILED or truth != "done"


@settings(max_examples=300, deadline=None)
@given(histories(), st.booleans())
def test_nothing_false_is_proven(history: History, is_late: bool) -> None:
    for item in history.snapshots:
        proof = prove(item, history.snapshots[::-1], history.events[::-1], is_whole=True, is_late=is_late)
        assert_true(proof.state, history.truth[item.id])


@settings(max_examples=300, deadline=None)
@given(histories(), st.data())
def test_what_the_service_has_forgotten_proves_nothing_false_unless_it_had_failed(
    history: History, data: st.DataObject
) -> None:
    """Of a create that the service has forgotten, only its having failed cannot be told."""
    forgotten = data.draw(st.integers(1, len(history.events)))
    assume(all(item.state == "done" for item in history.events[:forgotten] if item.name == "snapshot-create"))
    for item in history.snapshots:
        events = history.events[forgotten:][::-1]
        proof = prove(item, history.snapshots[::-1], events, is_whole=True, is_late=data.draw(st.booleans()))
        # Here all events are of the run; while a run matters, the service forgets none of its events.
        if proof.state is not State.FAILED or item.name != RUN:
            assert_true(proof.state, history.truth[item.id])


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(["done", "error"]), min_size=1, max_size=8))
def test_of_plain_creates_that_all_left_a_snapshot_each_is_told(states: list[str]) -> None:
    history = History()
    history.happen("create")
    for state in states:
        history.happen("snapshot-create", state, "no space" if state == "error" else None)
        history.add(state, name="x")
    for item in history.snapshots:
        expected = {"done": State.DONE, "error": State.FAILED}[history.truth[item.id]]
        for is_late in (False, True):
            proof = prove(item, history.snapshots[::-1], history.events[::-1], is_whole=True, is_late=is_late)
            assert proof.state is expected or (proof.is_early and not is_late and "error" in states)
        assert proof.state is expected


@settings(max_examples=500, deadline=None)
@given(histories(), st.booleans(), st.sampled_from(["x", RUN]), st.integers(0, 9))
def test_what_was_begun_just_now_is_not_proven_by_the_events_of_others(
    history: History, is_whole: bool, name: str, forgotten: int
) -> None:
    """While its own event is not visible yet."""
    history.add("in progress", name=name)
    made = history.snapshots[-1]
    events = history.events[::-1] if is_whole else history.events[forgotten:][::-1]
    proof = prove(made, history.snapshots[::-1], events, is_whole=is_whole, is_strict=True)
    assert proof.state is not State.DONE
    assert proof.state is not State.FAILED or proof.is_early
