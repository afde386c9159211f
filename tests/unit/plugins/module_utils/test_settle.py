# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a machine counts as settled, by what it looks like from moment to moment. Times are seconds."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest
from unit.simulated_fleet import Fleet

from ansible_collections.community.paperspace.plugins.module_utils._outcomes import Outcome
from ansible_collections.community.paperspace.plugins.module_utils._procedures import (
    SETTLED_STATES,
    STATE_LAG,
    Task,
    settle,
)
from ansible_collections.community.paperspace.plugins.module_utils._reading import Recent
from ansible_collections.community.paperspace.plugins.module_utils._scheduler import NextLook, Pause
from ansible_collections.community.paperspace.plugins.module_utils._wire import Machine


def settled_at(looks: list[tuple[float, str]], states: Collection[str]) -> float | None:
    """At which of the looks the machine is found to be settled."""
    fleet = Fleet()
    client = fleet.client()
    began = fleet.clock.now()
    procedure = settle(Task(client, Recent()), Outcome(fleet.machine_id), states)
    step: Any = next(procedure)
    for at, state in looks:
        while isinstance(step, Pause):
            step = procedure.send(None)
        assert step == NextLook(fleet.machine_id)
        fleet.later(began + at - fleet.clock.now())
        try:
            step = procedure.send(Machine(fleet.machine_id, "web1", state, {}))
        except StopIteration:
            return at
    return None


@pytest.mark.parametrize(
    ("looks", "at"),
    [
        # Ready all the time: it may not have left yet.
        ([(0.0, "ready"), (1.25, "ready"), (2.5, "ready"), (4.75, "ready"), (5.0, "ready")], 5.0),
        ([(0.0, "off"), (1.25, "off"), (2.5, "off"), (4.75, "off"), (5.0, "off")], 5.0),
        # Seen on its way, it is there once it is ready.
        ([(0.0, "ready"), (1.25, "starting"), (1.75, "serviceready"), (2.25, "ready")], 2.25),
        ([(0.0, "stopping"), (0.5, "starting"), (1.0, "ready")], 1.0),
        ([(0.0, "off"), (1.25, "ready")], 1.25),
        # What goes off may come up again.
        ([(0.0, "ready"), (1.25, "off"), (6.25, "off"), (11.0, "off"), (11.25, "off")], 11.25),
        ([(0.0, "ready"), (1.25, "off"), (6.25, "off"), (8.0, "starting"), (9.0, "ready")], 9.0),
        ([(0.0, "stopping"), (1.0, "off"), (6.0, "off"), (10.75, "off")], None),
    ],
)
def test_machine_has_settled(looks: list[tuple[float, str]], at: float | None) -> None:
    assert settled_at(looks, SETTLED_STATES) == at


@pytest.mark.parametrize(
    ("looks", "at"),
    [
        ([(0.0, "ready"), (2.0, "stopping"), (3.0, "off"), (7.75, "off"), (8.0, "off")], 8.0),
        ([(0.0, "off"), (4.75, "off"), (5.0, "off")], 5.0),
        ([(0.0, "off"), (1.0, "ready"), (9.0, "ready"), (20.0, "off")], None),
    ],
)
def test_machine_is_off_for_good(looks: list[tuple[float, str]], at: float | None) -> None:
    assert settled_at(looks, {"off"}) == at


def test_pauses_grow_up_to_the_lag() -> None:
    """For a look at 0, 1.25, 2.5 and 5 s, each of which comes at the first poll after the pause."""
    fleet = Fleet()
    procedure = settle(Task(fleet.client(), Recent()), Outcome(fleet.machine_id), {"ready"})
    ready: Any = Machine(fleet.machine_id, "web1", "ready", {})
    next(procedure)
    for pause, until_look in [(0.75, 1.25), (0.75, 1.25), (2.0, 2.5)]:
        assert procedure.send(ready) == Pause(pause)
        assert procedure.send(None) == NextLook(fleet.machine_id)
        fleet.later(until_look)
    with pytest.raises(StopIteration):
        procedure.send(ready)
    assert STATE_LAG == 5.0


def test_machine_is_not_kept_while_it_is_waited_for() -> None:
    """A service says much of each machine, and a fleet can have ten thousand that settle at once."""
    fleet = Fleet()
    procedure: Any = settle(Task(fleet.client(), Recent()), Outcome(fleet.machine_id), {"ready"})
    next(procedure)
    for state in ("stopping", "off"):
        assert procedure.send(Machine(fleet.machine_id, "web1", state, {})) == NextLook(fleet.machine_id)
        assert not any(isinstance(value, Machine) for value in procedure.gi_frame.f_locals.values())
