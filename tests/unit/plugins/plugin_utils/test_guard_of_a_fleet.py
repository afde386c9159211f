# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guard whose snapshots and rollbacks are the real ones, of a simulated fleet, in one process with one client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from unit.simulated_fleet import Fleet

from ansible_collections.community.paperspace.plugins.module_utils._machines import MachineWish, run_machines
from ansible_collections.community.paperspace.plugins.module_utils._outcomes import Report
from ansible_collections.community.paperspace.plugins.module_utils._reading import Reader
from ansible_collections.community.paperspace.plugins.module_utils._snapshot_plans import Wish
from ansible_collections.community.paperspace.plugins.module_utils._snapshots import run_snapshots
from ansible_collections.community.paperspace.plugins.module_utils._wire import Snapshot
from ansible_collections.community.paperspace.plugins.plugin_utils._guard import Guard, Settings
from ansible_collections.community.paperspace.plugins.plugin_utils._report import MachineReport, RunReport

RUN = "20260131T235959Z-1a2b"
TWO_HOURS = 7200.0


class World:
    """A guard's ports. C(fails): the hosts on which the playbook fails; C(meanwhile) happens while it runs."""

    def __init__(self, fleet: Fleet, *, fails: Sequence[str] = (), meanwhile: Callable[[], Any] = lambda: None) -> None:
        self._fleet = fleet
        self._client = fleet.client()
        self._fails = fails
        self._meanwhile = meanwhile
        self.maintained: list[str] = []
        self.before_look: Callable[[int], Any] = lambda number: None
        self._looks = 0

    def now(self) -> float:
        return self._fleet.clock.now()

    def pause(self, seconds: float, *, despite_stop: bool = False) -> None:
        self._fleet.clock.sleep(seconds)

    def say(self, text: str) -> None:
        print(text)

    def save(self, report: RunReport) -> bool:
        return True

    def stopped_by(self) -> str | None:
        return None

    def existing_snapshots(self, machine_ids: Sequence[str]) -> dict[str, list[Snapshot]]:
        self._looks += 1
        self.before_look(self._looks)
        reader = Reader(self._client, self._fleet.executor)
        reader.existing_machines(machine_ids, skip_missing=False)
        return reader.snapshots(machine_ids)

    def snapshots(self, wish: Wish, *, check_mode: bool) -> Report:
        return run_snapshots(self._client, wish, check_mode=check_mode, executor=self._fleet.executor)

    def made_snapshots(self) -> set[str]:
        return set()

    def machines(self, wish: MachineWish) -> Report:
        return run_machines(self._client, wish, check_mode=False, executor=self._fleet.executor)

    def check_playbook(self, playbook: str, hosts: Sequence[str]) -> None:
        """Every playbook can be run."""

    def run_playbook(self, playbook: str, hosts: Sequence[str]) -> tuple[int, list[dict[str, Any]]]:
        self.maintained += hosts
        self._fleet.later(TWO_HOURS)
        self._meanwhile()
        failed = [host for host in hosts if host in self._fails]
        return 2 if failed else 0, [
            {"n": 0, "event": "playbook", "known": hosts, "ahead": []},
            {"event": "play", "play": "p", "name": "p", "hosts": hosts},
            {"event": "batch", "play": "p", "hosts": hosts},
            *({"event": "touched", "host": host, "task": "t"} for host in hosts),
            *(
                {"event": "failed", "host": host, "task": "t", "error": "no", "targets": [], "for_all": False}
                for host in failed
            ),
            {
                "event": "end",
                "play": "p",
                "ended": [host for host in hosts if host not in failed],
                "end_play": False,
                "ahead": [],
            },
            {"event": "stats", "ahead": []},
        ]


def guarded(fleet: Fleet, world: World, *, waves: Sequence[int] | None = None, **options: Any) -> RunReport:
    report = RunReport(
        RUN,
        playbooks=["patch.yml"],
        wave_sizes=list(waves or [len(fleet.machine_ids)]),
        machines=[MachineReport(f"web{number}", key) for number, key in enumerate(fleet.machine_ids, start=1)],
        **options,
    )
    guard = Guard(report, Settings(), world)
    guard.refuse()
    guard.run()
    return report


def outcomes(report: RunReport) -> list[tuple[str, str | None]]:
    return [(machine.outcome, machine.closed) for machine in report.machines]


@pytest.mark.parametrize(
    "fault", [{"action": "status", "status": 502}, {"action": "status", "status": 429, "retry_after": 1}], ids=str
)
@pytest.mark.parametrize("waves", [[4], [2, 2]], ids=str)
def test_maintenance_longer_than_wait_timeout_leaves_patience_for_faults(
    fault: dict[str, Any], waves: Sequence[int]
) -> None:
    fleet = Fleet(4)
    world = World(fleet, meanwhile=lambda: fleet.fault(**fault, method="GET", times=2))
    report = guarded(fleet, world, waves=waves, scope="fleet")
    assert outcomes(report) == [("ok", "ok")] * 4
    assert report.status == "succeeded"


def test_service_that_takes_few_requests_a_second_is_no_failure() -> None:
    fleet = Fleet(10, latency_seconds=0.05, requests_per_second=3.0)
    report = guarded(fleet, World(fleet), waves=[5, 5], scope="fleet")
    assert outcomes(report) == [("ok", "ok")] * 10


def begin_for(fleet: Fleet, seconds: float, *, is_auto: bool, is_listed: bool) -> None:
    """Somebody else's snapshot of the first machine, which takes so long."""
    rule = fleet.fault("event", method="POST", path="/snapshots", seconds=seconds, times=1)
    snapshot_id, _event_id = fleet.begin_snapshot("theirs")
    fleet.service.faults.remove(rule)
    snapshot = fleet.service.world.snapshots.get(snapshot_id)
    assert snapshot
    snapshot.is_auto_snapshot = is_auto
    if not is_listed:
        snapshot.visible_at = fleet.clock.now() + seconds
    fleet.clock.advance(5)


@pytest.mark.parametrize(
    ("is_auto", "is_listed"), [(False, True), (True, True), (False, False)], ids=["manual", "auto", "not listed yet"]
)
@pytest.mark.parametrize("is_bad", [True, False], ids=["failed", "ok"])
def test_snapshot_that_somebody_else_takes_at_the_end_is_waited_for(
    is_bad: bool, is_auto: bool, is_listed: bool
) -> None:
    fleet = Fleet()
    world = World(
        fleet,
        fails=["web1"] if is_bad else [],
        meanwhile=lambda: begin_for(fleet, 300, is_auto=is_auto, is_listed=is_listed),
    )
    report = guarded(fleet, world)
    assert outcomes(report) == [("rolled_back", "restored") if is_bad else ("ok", "ok")]
    assert fleet.service.done_counts()["restores"] == is_bad


@pytest.mark.parametrize("is_bad", [True, False], ids=["failed", "ok"])
def test_snapshot_that_failed_for_somebody_else_meanwhile_says_nothing_of_the_own_one(is_bad: bool) -> None:
    fleet = Fleet(failed_create_leaves_record=False)
    world = World(fleet, fails=["web1"] if is_bad else [], meanwhile=lambda: fleet.failed_snapshot("theirs"))
    report = guarded(fleet, world)
    assert outcomes(report) == [("rolled_back", "restored") if is_bad else ("ok", "ok")]


@pytest.mark.parametrize("when", ["before its wave", "after its snapshot"])
def test_machine_that_is_deactivated_costs_no_other(when: str) -> None:
    fleet = Fleet(10)
    last = fleet.machine_ids[-1]

    def remove() -> None:
        machine = fleet.service.world.machines.get(last)
        if machine:
            fleet.service.world.remove_machine(machine, fleet.clock.now())

    world = World(fleet, meanwhile=remove if when == "before its wave" else lambda: None)
    if when == "after its snapshot":
        # The looks are before the run, and after the snapshots of each wave.
        world.before_look = lambda number: remove() if number == 3 else None
    report = guarded(fleet, world, waves=[2, 8], max_failures=3, scope="fleet")
    assert outcomes(report) == [("ok", "ok")] * 9 + [("no_snapshot", None)]
    assert world.maintained == [f"web{number}" for number in range(1, 10)]
    assert report.status == "failed"


def test_machine_whose_snapshot_is_gone_again_is_not_maintained() -> None:
    fleet = Fleet(2)
    world = World(fleet)
    first = fleet.machine_ids[0]

    def delete(number: int) -> None:
        if number == 2:
            [snapshot] = [item for item in fleet.service.snapshots() if item["machineId"] == first]
            fleet.deleted(snapshot["id"])

    world.before_look = delete
    report = guarded(fleet, world)
    assert world.maintained == ["web2"]
    assert outcomes(report) == [("no_snapshot", None), ("ok", "ok")]
    assert "gone" in str(report.machines[0].reason)
