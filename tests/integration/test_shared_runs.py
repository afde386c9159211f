# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several controllers at once on one run, as the slices of a job in AWX: processes that know nothing of each other."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ansible_fixtures import Ansible

if TYPE_CHECKING:
    from ansible_fixtures import Result, Simulator

RUN = "20260131T235959Z-1a2b"
OPEN, OK, RESTORED = f"maint-{RUN}", f"maint-{RUN}-ok", f"maint-{RUN}-restored"
DISJOINT = ("web1", "web2", "web3", "db1")
OVERLAPPING = ("web1:web2:web3", "web2:web3:db1", "web3:db1:web1", "all")
EVERYBODY = ("all", "all", "all", "all")
# Slow enough that all have looked at what there is before the first begins to change it.
TOGETHER = {"latency_seconds": 0.3}
BUSY = pytest.mark.parametrize("busy", ["conflict", "queue"])
SETS = pytest.mark.parametrize("limits", [DISJOINT, OVERLAPPING, EVERYBODY], ids=["disjoint", "overlapping", "same"])


class Controllers:
    """Four controllers with homes and working folders of their own."""

    def __init__(self, folder: Path, collections: Path, simulator: Simulator) -> None:
        self._inventory = simulator.inventory
        self._controllers = [
            self._controller(folder / f"controller{number}", collections, simulator) for number in range(4)
        ]

    @property
    def folders(self) -> list[Path]:
        """Their working folders."""
        return [controller.folder for controller in self._controllers]

    @staticmethod
    def _controller(folder: Path, collections: Path, simulator: Simulator) -> Ansible:
        folder.mkdir()
        return Ansible(folder, collections, simulator)

    def play(self, name: str, limits: Sequence[str], *arguments: str) -> list[Result]:
        """The same playbook by all of them at once, each limited to some hosts."""

        def run(controller: Ansible, limit: str) -> Result:
            playbook = ("ansible-playbook", f"community.paperspace.{name}", "-i", self._inventory, "-l", limit)
            return controller.run(*playbook, *arguments, rc=None)

        with ThreadPoolExecutor(max_workers=len(limits)) as pool:
            return list(pool.map(run, self._controllers, limits))


@pytest.fixture
def controllers(tmp_path: Path, collections: Path, simulator: Simulator) -> Controllers:
    return Controllers(tmp_path, collections, simulator)


def names(simulator: Simulator) -> dict[str, list[str]]:
    """The names of each machine's snapshots, by the machine's name, of the machines that have any."""
    found = {
        name: [snapshot["name"] for snapshot in simulator.snapshots(machine_id)]
        for name, machine_id in simulator.ids().items()
    }
    return {name: snapshots for name, snapshots in found.items() if snapshots}


def hosts_of(simulator: Simulator, limit: str) -> list[str]:
    return sorted(simulator.ids()) if limit == "all" else limit.split(":")


def statuses(result: Result, hosts: Sequence[str]) -> dict[str, str]:
    """What the last table says of each host."""
    lines = [line.strip(' ",') for line in result.stdout.splitlines()]
    rows = [line.split() for line in lines if " ps" in line]
    return {row[0]: row[2] for row in rows if row[0] in hosts}


@BUSY
@SETS
def test_snapshots_of_one_run(simulator: Simulator, controllers: Controllers, limits: Sequence[str], busy: str) -> None:
    simulator.settings(busy=busy, **TOGETHER)
    results = controllers.play("snapshot", limits, "-e", f"snapshot_run_id={RUN}")
    for limit, result in zip(limits, results, strict=True):
        hosts = hosts_of(simulator, limit)
        assert result.rc == 0, result.output
        assert set(statuses(result, hosts)) == set(hosts)
        assert set(statuses(result, hosts).values()) <= {"created", "unchanged"}
    wanted = {host for limit in limits for host in hosts_of(simulator, limit)}
    assert names(simulator) == {host: [OPEN] for host in wanted}
    # Who says that it made a snapshot, made the one that is there.
    made = Counter(
        host
        for limit, result in zip(limits, results, strict=True)
        for host, status in statuses(result, hosts_of(simulator, limit)).items()
        if status == "created"
    )
    assert made == dict.fromkeys(wanted, 1)


@pytest.mark.parametrize("limits", [DISJOINT, EVERYBODY], ids=["disjoint", "same"])
def test_closing_one_run(simulator: Simulator, controllers: Controllers, limits: Sequence[str]) -> None:
    hosts = {host for limit in limits for host in hosts_of(simulator, limit)}
    assert controllers.play("snapshot", [":".join(hosts)], "-e", f"snapshot_run_id={RUN}")[0].rc == 0
    simulator.settings(**TOGETHER)
    results = controllers.play("snapshot", limits, "-e", f"snapshot_run_id={RUN}", "-e", "snapshot_action=close")
    assert [result.rc for result in results] == [0, 0, 0, 0], [result.output for result in results]
    assert names(simulator) == {host: [OK] for host in hosts}


@pytest.mark.parametrize(
    ("limits", "busy"),
    [(DISJOINT, "conflict"), (OVERLAPPING, "conflict"), (EVERYBODY, "conflict"), (EVERYBODY, "queue")],
    ids=["disjoint", "overlapping", "same", "same, queued"],
)
def test_rollback_of_one_run(simulator: Simulator, controllers: Controllers, limits: Sequence[str], busy: str) -> None:
    wanted = {host for limit in limits for host in hosts_of(simulator, limit)}
    assert controllers.play("snapshot", ["all"], "-e", f"snapshot_run_id={RUN}")[0].rc == 0
    disks = {host: Path(simulator.description["machines_dir"]) / simulator.ids()[host] for host in simulator.ids()}
    for disk in disks.values():
        (disk / "changed").touch()
    simulator.settings(busy=busy, **TOGETHER)
    before = simulator.done_counts()["restores"]
    results = controllers.play("rollback", limits, "-e", f"rollback_run_id={RUN}", "-e", "rollback_reconnect=false")
    for limit, result in zip(limits, results, strict=True):
        hosts = hosts_of(simulator, limit)
        assert result.rc == 0, result.output
        assert set(statuses(result, hosts)) == set(hosts)
        assert set(statuses(result, hosts).values()) <= {"restored", "unchanged"}
    assert {host for host, disk in disks.items() if (disk / "changed").exists()} == set(disks) - wanted
    assert names(simulator) == {host: [RESTORED if host in wanted else OPEN] for host in disks}
    # Each controller restores a machine once at most.
    restored = sum(
        status == "restored"
        for limit, result in zip(limits, results, strict=True)
        for status in statuses(result, hosts_of(simulator, limit)).values()
    )
    assert simulator.done_counts()["restores"] - before == restored
    assert {machine["state"] for machine in simulator.machines()} == {"ready"}


MAINTENANCE = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.raw: 'echo maintained >> "{{ disk }}/log"'
    - ansible.builtin.fail:
      when: inventory_hostname == "web2"
"""


def maintain(controllers: Controllers, folder: Path, limits: Sequence[str]) -> list[Result]:
    playbook = folder / "maintenance.yml"
    playbook.write_text(MAINTENANCE, encoding="utf-8")
    variables = {"maintenance_playbook": playbook, "maintenance_run_id": RUN}
    return controllers.play("maintenance", limits, *(f"-e{name}={value}" for name, value in variables.items()))


def maintained(simulator: Simulator) -> dict[str, int]:
    """By machine, how often its disk says that it was maintained."""
    logs = {name: Path(simulator.description["machines_dir"]) / key / "log" for name, key in simulator.ids().items()}
    return {name: log.read_text(encoding="utf-8").count("maintained") for name, log in logs.items() if log.exists()}


def test_guarded_maintenance_in_slices(simulator: Simulator, controllers: Controllers, tmp_path: Path) -> None:
    results = maintain(controllers, tmp_path, DISJOINT)
    codes = dict(zip(DISJOINT, [result.rc for result in results], strict=True))
    assert codes == {"web1": 0, "web2": 2, "web3": 0, "db1": 0}, [result.output for result in results]
    assert names(simulator) == {"web1": [OK], "web2": [RESTORED], "web3": [OK], "db1": [OK]}
    assert maintained(simulator) == {"web1": 1, "web3": 1, "db1": 1}
    assert simulator.done_counts()["creates"] == 4
    assert simulator.done_counts()["restores"] == 1


@BUSY
def test_guarded_maintenance_of_the_same_machines_is_done_by_one(
    simulator: Simulator, controllers: Controllers, tmp_path: Path, busy: str
) -> None:
    simulator.settings(busy=busy, **TOGETHER)
    results = maintain(controllers, tmp_path, ("web1:web3:db1",) * 4)
    assert maintained(simulator) == {"web1": 1, "web3": 1, "db1": 1}
    assert names(simulator) == {"web1": [OK], "web3": [OK], "db1": [OK]}
    assert simulator.done_counts()["restores"] == 0
    told: Counter[str] = Counter()
    for result, folder in zip(results, controllers.folders, strict=True):
        path = folder / "paperspace-runs" / f"{RUN}.json"
        machines = json.loads(path.read_text(encoding="utf-8"))["machines"] if path.exists() else []
        ok = [machine["host"] for machine in machines if machine["outcome"] == "ok"]
        if machines and len(ok) < len(machines):
            # What is left to another controller is said to be, and no command offers to undo its work.
            assert "left to another controller" in result.output
            assert "Another controller of this run maintains it." in path.with_suffix(".md").read_text("utf-8")
            assert "recover" not in result.output + path.with_suffix(".md").read_text("utf-8")
        assert (result.rc == 0) == (len(ok) == 3), result.output
        told.update(ok)
    assert told == {"web1": 1, "web3": 1, "db1": 1}
