# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waves, the failure budget and the rollback's scope."""

from __future__ import annotations

from typing import Any

import pytest

from e2e.harness import FAILED, NO_SNAPSHOT, NOT_STARTED, OK, UNREACHABLE, WITH_THE_OTHERS, Controller
from e2e.playbooks import HOLD, INSTALL, cut_off, fail, only, play

FLEET = ("web1", "web2", "web3", "db1", "db2")


def test_28_canary_fails_and_the_rest_is_never_touched(controller: Controller) -> None:
    run = controller.maintain([play(INSTALL, fail("web1"))], waves=[1, "100%"])
    report = controller.check(run, {"web1": FAILED, "web2": NOT_STARTED, "web3": NOT_STARTED})
    assert report["wave_sizes"] == [1, 2]
    assert [machine["wave"] for machine in report["machines"]] == [1, 2, 2]
    assert controller.simulator.done_counts()["creates"] == 1
    errors = dict(error.split("]: ", 1) for error in run.errors())
    for host in ("[web2", "[web3"):
        assert "not started" in errors[host]
        assert "1 of 3 machines did not come through; the failure budget is 0." in errors[host]


def test_all_waves_end_well(controller: Controller) -> None:
    run = controller.maintain([play(INSTALL, hosts="paperspace")], limit="paperspace", waves=[1, "50%"], soak=1)
    report = controller.check(run, dict.fromkeys(FLEET, OK))
    assert report["wave_sizes"] == [1, 2, 2]
    assert [child["wave"] for child in report["children"]] == [1, 2, 3]


def test_budget_lets_the_next_wave_start(controller: Controller) -> None:
    plays = [play(INSTALL, fail("web1"), cut_off("web3"), hosts="paperspace")]
    run = controller.maintain(plays, limit="web,db1", waves=1, max_failures="25%")
    controller.check(run, {"web1": FAILED, "web2": OK, "web3": UNREACHABLE, "db1": NOT_STARTED})


def test_machine_without_snapshot_counts_against_the_budget(controller: Controller) -> None:
    fault = {"path": "/snapshots", "method": "POST", "machine_id": controller.simulator.ids()["web1"]}
    controller.simulator.settings(failed_create_leaves_record=False)
    controller.simulator.add_fault("event", state="error", error="disk is full", **fault)
    run = controller.maintain([play(INSTALL)], waves=[2, 1])
    controller.check(run, {"web1": NO_SNAPSHOT, "web2": OK, "web3": NOT_STARTED})


@pytest.mark.parametrize("scope", ["fleet", "wave", "failed"])
def test_29_budget_is_exceeded_in_the_second_wave(controller: Controller, scope: str) -> None:
    plays = [play(INSTALL, fail("web2"), hosts="paperspace")]
    run = controller.maintain(plays, limit="paperspace", waves=[1, 2, 2], rollback_scope=scope)
    fates: dict[str, Any] = {
        "web1": WITH_THE_OTHERS if scope == "fleet" else OK,
        "web2": FAILED,
        "web3": OK if scope == "failed" else WITH_THE_OTHERS,
        "db1": NOT_STARTED,
        "db2": NOT_STARTED,
    }
    why = (None, "1 of 5 machines did not come through; the failure budget is 0.")
    controller.check(run, fates, reasons={host: why for host, fate in fates.items() if fate is WITH_THE_OTHERS})


def test_fleet_stays_open_until_the_last_wave_has_ended_well(controller: Controller) -> None:
    run = controller.start_maintenance([play(INSTALL)], waves=[2, 1], soak=3, rollback_scope="fleet")
    run.until(lambda: run.report_file() and run.machine("web2")["verdict"] == "ok")
    assert not any(name.endswith("-ok") for names in controller.snapshot_names().values() for name in names)
    controller.check(run.wait(), dict.fromkeys(("web1", "web2", "web3"), OK))


def test_machine_that_another_run_has_begun_with_meanwhile_is_left_to_it(controller: Controller) -> None:
    """It had no open run when the first one began, and its wave came later."""
    wait = {**HOLD, "ansible.builtin.shell": "touch {{ disk }}/held; while test ! -e {{ disk }}/go; do sleep 0.1; done"}
    first = controller.start_maintenance([play(INSTALL, {**wait, "when": only("web1")})], waves=1)
    first.until(lambda: controller.is_held("web1"))
    first_id = first.report()["run_id"]
    second = controller.ansible.write("second.yml", [play(wait, fail("web2"))])
    other = controller.start_maintenance([second], limit="web2", report_dir="other")
    other.until(lambda: controller.is_held("web2"))
    (controller.disk("web1") / "go").touch()
    first.wait()
    machines = {machine["host"]: machine for machine in first.report()["machines"]}
    assert {host: machine["outcome"] for host, machine in machines.items()} == {
        "web1": "ok",
        "web2": "no_snapshot",
        "web3": "not_started",
    }
    assert "community.paperspace.recover" in machines["web2"]["reason"]["error"]
    assert first.rc != 0
    [name] = controller.snapshot_names()["web2"]
    assert first_id not in name
    (controller.disk("web2") / "go").touch()
    other.wait()
    assert controller.restored() == ["web2"]
    assert controller.disks()["web2"] == other.fleet["web2"]
    assert controller.snapshot_names()["web2"] == [f"{name}-restored"]


def test_prune_keeps_the_newest_closed_snapshots_and_all_that_is_foreign(controller: Controller) -> None:
    simulator = controller.simulator
    machine = simulator.ids()["web1"]
    runs = ("20260101T000000Z-0001", "20260102T000000Z-0002", "20260103T000000Z-0003")
    for run_id in runs:
        simulator.add_snapshot(machine, f"maint-{run_id}-ok")
    simulator.add_snapshot(machine, "by hand")
    simulator.add_snapshot(machine, "maint-by-hand-ok")
    simulator.control("POST", f"/machines/{machine}/auto-snapshot")
    before = controller.snapshot_names()["web1"]
    run = controller.maintain([play(INSTALL)], limit="web1", keep=2)
    run_id = run.report()["run_id"]
    gone = {f"maint-{runs[0]}-ok", f"maint-{runs[1]}-ok"}
    kept = [name for name in before if name not in gone]
    assert controller.snapshot_names()["web1"] == [*kept, f"maint-{run_id}-ok"]
    controller.check(run, {"web1": OK}, closed_before=kept)


def test_prune_of_a_rolled_back_machine_keeps_the_snapshot_it_came_back_from(controller: Controller) -> None:
    machine = controller.simulator.ids()["web1"]
    controller.simulator.add_snapshot(machine, "maint-20260101T000000Z-0001-ok")
    run = controller.maintain([play(INSTALL, fail("web1"))], limit="web1")
    controller.check(run, {"web1": FAILED})


def test_given_run_id_and_prefix_are_in_the_names(controller: Controller) -> None:
    run_id = "20260131T235959Z-1a2b"
    run = controller.maintain([play(INSTALL, fail("web2"))], run_id=run_id, prefix="guard ", limit="web1,web2")
    assert controller.snapshot_names()["web1"] == [f"guard {run_id}-ok"]
    assert controller.snapshot_names()["web2"] == [f"guard {run_id}-restored"]
    assert run.report()["run_id"] == run_id
    assert (controller.reports / f"{run_id}.md").exists()
    assert controller.restored() == ["web2"]


def test_safety_snapshot_keeps_what_is_rolled_back(controller: Controller) -> None:
    run = controller.maintain([play(INSTALL, fail("web1"))], limit="web1", safety_snapshot=True)
    rollback = run.machine("web1")["rollback"]
    [safety] = [
        snapshot for snapshot in controller.simulator.snapshots() if snapshot["id"] == rollback["safety_snapshot_id"]
    ]
    assert safety["machineId"] == controller.simulator.ids()["web1"]
    assert controller.disks()["web1"] == run.fleet["web1"]
    assert controller.simulator.done_counts()["safety_snapshots"] == 1
