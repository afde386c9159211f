# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller loses its power, at any moment: another one finds out from the snapshots' names what to do."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest

from e2e.harness import MARK, Controller, Run
from e2e.playbooks import FINISH, INSTALL, cut_off, fail, play

RUNS = 20
# Two machines that come through, one that fails and one that is lost, in two waves. Others are not part of it.
HOSTS = "web1,web2,web3,db1"
MAINTENANCE = [play(INSTALL, fail("web2"), cut_off("db1"), FINISH, hosts="paperspace")]


def start(controller: Controller) -> Run:
    return controller.start_maintenance(
        MAINTENANCE, limit=HOSTS, waves=[2, "100%"], max_failures="100%", reconnect=False
    )


@pytest.fixture(scope="session")
def durations() -> dict[str, float]:
    """How long the run takes when nobody kills it, once it is known."""
    return {}


@pytest.mark.parametrize("seed", range(RUNS))
def test_27_everything_is_killed(
    new_controller: Callable[[], Controller], durations: dict[str, float], seed: int
) -> None:
    controller = new_controller()
    simulator = controller.simulator
    if not durations:
        began = time.monotonic()
        run = start(controller).wait()
        durations["run"] = time.monotonic() - began
        assert controller.check_guarded(run) == ["ok", "restored", "ok", "restored", ""]
        simulator.reset()
        controller = new_controller()
    for host in simulator.ids().values():
        simulator.add_snapshot(host, "by hand")
    # Each run has its own slice of the time, and dies somewhere in it.
    moment = (seed + random.Random(seed).random()) / RUNS * durations["run"]
    run = start(controller)
    time.sleep(moment)
    run.kill_everything()
    left_behind = controller.snapshot_names()

    another = new_controller()
    recovery = another.recover("-e", "recover_action=rollback")
    closed = another.check_guarded(run)
    assert closed[-1] == "", "db2 is no part of it"
    assert all(names[0] == "by hand" for names in another.snapshot_names().values())
    assert another.ansible.environment[MARK] != controller.ansible.environment[MARK]
    print(f"killed after {moment:.1f} s, leaving {left_behind}\n{run.output}\n{recovery.output}")
    for one in (controller, another):
        one.check_secrecy(run)
