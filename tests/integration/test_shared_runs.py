# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several controllers at once on one run, as the slices of a job in AWX: processes that know nothing of each other."""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from integration.gateway import Gateway, gateways

from ansible_fixtures import Ansible

if TYPE_CHECKING:
    from ansible_fixtures import Result, Simulator

RUN = "20260131T235959Z-1a2b"
OPEN, OK, RESTORED = f"maint-{RUN}", f"maint-{RUN}-ok", f"maint-{RUN}-restored"
DISJOINT = ("web1", "web2", "web3", "db1")
OVERLAPPING = ("web1:web2:web3", "web2:web3:db1", "web3:db1:web1", "all")
EVERYBODY = ("all", "all", "all", "all")
# Nobody gives up a request while it waits for the other controllers.
CONNECTION = json.dumps({"paperspace_connection": {"request_timeout": 300}})
BUSY = pytest.mark.parametrize("busy", ["conflict", "queue"])
SETS = pytest.mark.parametrize("limits", [DISJOINT, OVERLAPPING, EVERYBODY], ids=["disjoint", "overlapping", "same"])


class Controllers:
    """Four controllers with homes and working folders of their own.

    They come to the service together, and none of them changes anything before all of them are about to.
    """

    def __init__(
        self, folder: Path, collections: Path, simulator: Simulator, ways: Sequence[Gateway], inventory: Path
    ) -> None:
        self._inventory = inventory
        self._ways = ways
        self._controllers = []
        for number, way in enumerate(ways):
            home = folder / f"controller{number}"
            home.mkdir()
            controller = Ansible(home, collections, simulator)
            controller.environment["PAPERSPACE_API_URL"] = way.api_url
            self._controllers.append(controller)

    @property
    def folders(self) -> list[Path]:
        """Their working folders."""
        return [controller.folder for controller in self._controllers]

    def play(self, name: str, limits: Sequence[str], *arguments: str) -> list[Result]:
        """The same playbook by all of them at once, each limited to some hosts."""

        def run(controller: Ansible, limit: str) -> Result:
            playbook = ("ansible-playbook", f"community.paperspace.{name}", "-i", self._inventory, "-l", limit)
            return controller.run(*playbook, "-e", CONNECTION, *arguments, rc=None)

        with ThreadPoolExecutor(max_workers=len(limits)) as pool:
            results = list(pool.map(run, self._controllers, limits))
        self._assert_all_were_at_work_at_once([result.output for result in results])
        return results

    def _assert_all_were_at_work_at_once(self, outputs: Sequence[str]) -> None:
        """All had looked, and had sent what was to change something, when the service got the first change."""
        assert all(way.calls for way in self._ways), outputs
        writes = [[call for call in way.calls if call.is_write] for way in self._ways]
        assert all(writes), outputs
        first_change = min(call.handed_on for calls in writes for call in calls)
        for way, calls in zip(self._ways, writes, strict=True):
            assert any(call.answered < first_change for call in way.calls if not call.is_write)
            assert min(call.came for call in calls) < first_change
            assert max(call.answered for call in way.calls) > first_change


@pytest.fixture
def controllers(tmp_path: Path, collections: Path, simulator: Simulator) -> Iterator[Controllers]:
    with gateways(simulator.api_url, 4) as ways:
        yield Controllers(tmp_path, collections, simulator, ways, simulator.inventory)


def take_snapshots(simulator: Simulator) -> None:
    """The open snapshots of the run on all machines, as a controller has made them."""
    headers = {"Authorization": f"Bearer {simulator.key}"}
    for machine_id in simulator.ids().values():
        body = {"machineId": machine_id, "name": OPEN}
        requests.post(f"{simulator.api_url}/snapshots", json=body, headers=headers, timeout=30).raise_for_status()
    while not all(item["complete"] for item in simulator.snapshots()):
        time.sleep(0.05)


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


@pytest.mark.parametrize(
    ("limits", "busy"),
    [
        # Nobody is busy with a machine of another controller.
        (DISJOINT, "conflict"),
        *itertools.product((OVERLAPPING, EVERYBODY), ("conflict", "queue")),
    ],
    ids=["disjoint", "overlapping", "overlapping, queued", "same", "same, queued"],
)
def test_snapshots_of_one_run(simulator: Simulator, controllers: Controllers, limits: Sequence[str], busy: str) -> None:
    simulator.settings(busy=busy)
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


@SETS
def test_closing_one_run(simulator: Simulator, controllers: Controllers, limits: Sequence[str]) -> None:
    take_snapshots(simulator)
    results = controllers.play("snapshot", limits, "-e", f"snapshot_run_id={RUN}", "-e", "snapshot_action=close")
    assert [result.rc for result in results] == [0, 0, 0, 0], [result.output for result in results]
    wanted = {host for limit in limits for host in hosts_of(simulator, limit)}
    assert names(simulator) == {host: [OK if host in wanted else OPEN] for host in simulator.ids()}
    for limit, result in zip(limits, results, strict=True):
        told = statuses(result, hosts_of(simulator, limit))
        assert set(told) == set(hosts_of(simulator, limit))
        assert set(told.values()) <= {"renamed", "unchanged"}
    assert simulator.done_counts()["deletes"] == 0


@pytest.mark.parametrize(
    ("limits", "busy"),
    [(DISJOINT, "conflict"), (OVERLAPPING, "conflict"), (EVERYBODY, "conflict"), (EVERYBODY, "queue")],
    ids=["disjoint", "overlapping", "same", "same, queued"],
)
def test_rollback_of_one_run(simulator: Simulator, controllers: Controllers, limits: Sequence[str], busy: str) -> None:
    wanted = {host for limit in limits for host in hosts_of(simulator, limit)}
    take_snapshots(simulator)
    disks = {host: Path(simulator.description["machines_dir"]) / simulator.ids()[host] for host in simulator.ids()}
    for disk in disks.values():
        (disk / "changed").touch()
    simulator.settings(busy=busy)
    results = controllers.play("rollback", limits, "-e", f"rollback_run_id={RUN}", "-e", "rollback_reconnect=false")
    for limit, result in zip(limits, results, strict=True):
        hosts = hosts_of(simulator, limit)
        assert result.rc == 0, result.output
        assert set(statuses(result, hosts)) == set(hosts)
        assert set(statuses(result, hosts).values()) <= {"restored", "unchanged"}
    assert {host for host, disk in disks.items() if (disk / "changed").exists()} == set(disks) - wanted
    assert names(simulator) == {host: [RESTORED if host in wanted else OPEN] for host in disks}
    # Each controller that was told to restores a machine once at most, and says so of no more.
    told = Counter(
        simulator.ids()[host]
        for limit, result in zip(limits, results, strict=True)
        for host, status in statuses(result, hosts_of(simulator, limit)).items()
        if status == "restored"
    )
    restores = [each for each in simulator.control("GET", "/done") if each["what"] == "restores"]
    assert Counter(each["machine_id"] for each in restores) == told
    assert set(told) == {simulator.ids()[host] for host in wanted}
    assert {machine["state"] for machine in simulator.machines()} == {"ready"}


MAINTENANCE = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.raw: 'echo maintained >> "{{ disk }}/log"'
    - ansible.builtin.fail:
      when: inventory_hostname == broken
"""


def maintain(controllers: Controllers, folder: Path, limits: Sequence[str], broken: str = "") -> list[Result]:
    """C(broken): the host that fails."""
    playbook = folder / "maintenance.yml"
    playbook.write_text(MAINTENANCE, encoding="utf-8")
    variables = {"maintenance_playbook": playbook, "maintenance_run_id": RUN, "broken": broken}
    return controllers.play("maintenance", limits, *(f"-e{name}={value}" for name, value in variables.items()))


def maintained(simulator: Simulator) -> dict[str, int]:
    """By machine, how often its disk says that it was maintained."""
    logs = {name: Path(simulator.description["machines_dir"]) / key / "log" for name, key in simulator.ids().items()}
    return {name: log.read_text(encoding="utf-8").count("maintained") for name, log in logs.items() if log.exists()}


def test_guarded_maintenance_in_slices(simulator: Simulator, controllers: Controllers, tmp_path: Path) -> None:
    results = maintain(controllers, tmp_path, DISJOINT, broken="web2")
    codes = dict(zip(DISJOINT, [result.rc for result in results], strict=True))
    assert codes == {"web1": 0, "web2": 2, "web3": 0, "db1": 0}, [result.output for result in results]
    assert names(simulator) == {"web1": [OK], "web2": [RESTORED], "web3": [OK], "db1": [OK]}
    assert maintained(simulator) == {"web1": 1, "web3": 1, "db1": 1}
    assert simulator.done_counts()["creates"] == 4
    assert simulator.done_counts()["restores"] == 1


@BUSY
@pytest.mark.parametrize(
    ("limits", "broken"),
    [(("web1:web3:db1",) * 4, ""), (OVERLAPPING, "web2")],
    ids=["same", "overlapping, one fails"],
)
def test_guarded_maintenance_of_shared_machines_is_done_by_one(
    simulator: Simulator, controllers: Controllers, tmp_path: Path, limits: Sequence[str], broken: str, busy: str
) -> None:
    simulator.settings(busy=busy)
    results = maintain(controllers, tmp_path, limits, broken)
    wanted = {host for limit in limits for host in hosts_of(simulator, limit)}
    good = wanted - {broken}
    assert maintained(simulator) == dict.fromkeys(good, 1)
    assert names(simulator) == {host: [RESTORED if host == broken else OK] for host in wanted}
    # The one rollback is its owner's.
    restores = [each for each in simulator.control("GET", "/done") if each["what"] == "restores"]
    assert [each["machine_id"] for each in restores] == [simulator.ids()[host] for host in wanted - good]

    told: dict[str, Counter[str]] = {host: Counter() for host in wanted}
    for limit, result, folder in zip(limits, results, controllers.folders, strict=True):
        machines = report_of(folder)
        assert {machine["host"] for machine in machines} == set(hosts_of(simulator, limit))
        for machine in machines:
            told[machine["host"]][machine["outcome"]] += 1
        assert_is_honest(result, folder, machines)
    for host, outcomes in told.items():
        targeted = sum(host in hosts_of(simulator, limit) for limit in limits)
        assert outcomes == Counter({"rolled_back" if host == broken else "ok": 1, "no_snapshot": targeted - 1})


def report_of(folder: Path) -> list[dict[str, Any]]:
    path = folder / "paperspace-runs" / f"{RUN}.json"
    machines: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["machines"]
    return machines


def assert_is_honest(result: Result, folder: Path, machines: Sequence[dict[str, Any]]) -> None:
    """What is left to another controller is said to be, and no command offers to undo its work."""
    assert (result.rc == 0) == all(machine["outcome"] == "ok" for machine in machines), result.output
    text = (folder / "paperspace-runs" / f"{RUN}.md").read_text(encoding="utf-8")
    left = [machine for machine in machines if machine["outcome"] == "no_snapshot"]
    for machine in left:
        # The other one may have been through already.
        assert machine["reason"]["error"] in (
            "Another controller has begun with it in the same run.",
            "Another controller was faster in the same run, which is over on it.",
        )
        assert machine["rollback"] is None
    if any(machine["snapshot"]["status"] == "unchanged" for machine in left):
        assert "left to another controller" in result.output
        assert "Another controller of this run maintains it." in text
    assert "recover" not in result.output + text
