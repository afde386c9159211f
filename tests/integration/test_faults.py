# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Some cells of the matrix of faults through real ansible-playbook, with a real simulator and real time.

tests/unit/fault_cells.py generates the matrix; tests/unit/plugins/module_utils/test_fault_matrix.py runs all of it.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from unit.fault_cells import CELLS, Cell

from ansible_fixtures import KEY, Ansible, Simulator, started_simulator

SEED = 7
SAMPLE = 12
# They wait more than they work.
AT_ONCE = 4
MODULES = {
    "snapshots": "community.paperspace.paperspace_snapshot",
    "machines": "community.paperspace.paperspace_machine",
}
HIT = ("web2", "db1")
RETRIES, FAILED_REQUESTS, FAILED_LOOKS = 2, 2, 4
REQUEST_TIMEOUT = 1
# For a task that cannot come to an end, and for one that can.
SHORT_WAIT, LONG_WAIT = 6, 60
BAD = ("failed", "timed_out", "unsure")


def sampled() -> list[Cell]:
    """Some cells by chance, the same each time: no fault twice, and no operation more often than need be."""
    cells, chosen = list(CELLS), list[Cell]()
    random.Random(SEED).shuffle(cells)
    operations: Counter[str] = Counter()
    for cell in cells:
        is_other = all(cell.fault.name != other.fault.name for other in chosen)
        if len(chosen) < SAMPLE and is_other and operations[cell.operation.name] <= min(1, len(chosen) // 9):
            chosen.append(cell)
            operations[cell.operation.name] += 1
    return chosen


def prepare(simulator: Simulator, cell: Cell, ids: list[str]) -> None:
    """Machines and snapshots as the operation needs them, and the rules of the fault."""
    operation = cell.operation
    simulator.settings(busy=cell.busy)
    for machine in simulator.machines():
        simulator.add_snapshot(machine["id"], "theirs")
        simulator.add_snapshot(machine["id"], "automatic", auto=True)
    headers = {"Authorization": f"Bearer {simulator.key}"}
    for machine_id in ids:
        if operation.needs_snapshot:
            body = {"machineId": machine_id, "name": "old"}
            requests.post(f"{simulator.api_url}/snapshots", json=body, headers=headers, timeout=30).raise_for_status()
        simulator.change_machine(machine_id, state=operation.state_before)
    while not all(item["complete"] for item in simulator.snapshots()):
        time.sleep(0.05)
    simulator.clear_log()


def add_faults(simulator: Simulator, cell: Cell, hit: list[str]) -> None:
    operation, for_ever = cell.operation, cell.duration == "for ever"
    rule = {**cell.fault.rule}
    if "retry_after" in rule:
        rule["retry_after"] = 1
    if cell.fault.kind == "sight":
        rule["seconds"] = 1
    for machine_id in [None] if cell.hits_everyone else hit:
        if cell.fault.kind == "list":
            simulator.add_fault(**rule, method="GET")
        elif cell.fault.kind != "answer":
            simulator.add_fault(**rule, **operation.request, machine_id=machine_id)
        elif cell.place == "request":
            times = None if for_ever else FAILED_REQUESTS
            simulator.add_fault(**rule, **operation.request, machine_id=machine_id, times=times)
        else:
            times = None if for_ever else FAILED_LOOKS
            simulator.add_fault(**rule, method="GET", after_change=True, machine_id=machine_id, times=times)
    for machine_id in hit if cell.place == "lookups" else []:
        simulator.add_fault("lost", when="after", **operation.request, machine_id=machine_id)


def task_of(cell: Cell, ids: list[str], number: int) -> dict[str, Any]:
    options = {
        "machine_ids": ids,
        "retries": RETRIES,
        "request_timeout": REQUEST_TIMEOUT,
        "wait_timeout": SHORT_WAIT if cell.status in ("timed_out", "unsure") else LONG_WAIT,
        **cell.operation.options,
    }
    # Tasks with an environment are carried out by the module, others by the action plugin.
    way = {"environment": {"A_VARIABLE": "value"}} if number % 2 else {}
    return {MODULES[cell.operation.module]: options, **way}


@dataclass(frozen=True)
class Run:
    """What became of a task on these machines, some of which the fault hits."""

    ids: list[str]
    hit: list[str]
    result: dict[str, Any]
    done: list[dict[str, Any]]
    # By id, when the task began and when it ended.
    snapshots_before: dict[str, dict[str, Any]]
    snapshots: dict[str, dict[str, Any]]


def run_of(cell: Cell, number: int, folder: Path, collections: Path) -> Run:
    folder.mkdir()
    with started_simulator(folder / "simulator", KEY, "--no-ssh") as simulator:
        by_name = simulator.ids()
        ids = list(by_name.values()) if cell.size == "fleet" else [by_name["web2"]]
        hit = [by_name[name] for name in HIT if by_name[name] in ids]
        prepare(simulator, cell, ids)
        add_faults(simulator, cell, hit)
        before = len(simulator.control("GET", "/done"))
        snapshots_before = by_id(simulator.snapshots())
        result = Ansible(folder, collections, simulator).task(task_of(cell, ids, number))
        assert any(rule["applied"] for rule in simulator.control("GET", "/faults")), "the fault hit nothing"
        done = simulator.control("GET", "/done")[before:]
        snapshots = by_id(simulator.snapshots())
    return Run(ids, ids if cell.hits_everyone else hit, result, done, snapshots_before, snapshots)


def by_id(items: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {item["id"]: item for item in items}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, collections: Path) -> Iterator[dict[Cell, Future[Run]]]:
    folder = tmp_path_factory.mktemp("faults")
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        yield {
            cell: pool.submit(run_of, cell, number, folder / f"cell{number}", collections)
            for number, cell in enumerate(sampled())
        }


@pytest.mark.parametrize("cell", sampled(), ids=str)
def test_cell(runs: dict[Cell, Future[Run]], cell: Cell) -> None:
    run = runs[cell].result()
    ids, hit, result, done = run.ids, run.hit, run.result, run.done
    expected = {machine_id: cell.status if machine_id in hit else cell.operation.status for machine_id in ids}
    entries = result[cell.operation.module]
    assert {entry["machine_id"]: entry["status"] for entry in entries} == expected, entries
    bad = {machine_id for machine_id, status in expected.items() if status in BAD}
    assert result.get("failed", False) == bool(bad)
    assert {machine_id for machine_id in ids if machine_id in result.get("msg", "")} == bad

    counts = Counter(each["machine_id"] for each in done if each["what"] == cell.operation.counted)
    for machine_id in ids:
        is_done = cell.is_done or machine_id not in hit
        if not (is_done and cell.operation.is_repeatable):
            assert counts[machine_id] == is_done
    assert {each["what"] for each in done} <= {cell.operation.counted, "safety_snapshots"}

    for entry in entries:
        assert (entry["error"] is None) == (entry["status"] not in BAD)
        if entry["status"] == cell.operation.status and cell.operation.module == "snapshots":
            assert_entry_is_true(cell, entry, run)
    foreign = {key: item for key, item in run.snapshots_before.items() if item["name"] != "old"}
    assert len(foreign) == 10
    assert foreign.items() <= run.snapshots.items()


def assert_entry_is_true(cell: Cell, entry: dict[str, Any], run: Run) -> None:
    """What it says is done is what the simulator has."""
    if cell.operation.name == "delete":
        assert run.snapshots_before[entry["id"]]["name"] == "old"
        assert entry["id"] not in run.snapshots
        return
    snapshot = run.snapshots[entry["id"]]
    assert (snapshot["machineId"], snapshot["name"]) == (entry["machine_id"], entry["name"])
    assert snapshot["complete"]
    assert not snapshot["isAutoSnapshot"]
    restored = {each["snapshot_id"] for each in run.done if each["what"] == "restores"}
    assert (entry["id"] in restored) == (cell.operation.counted == "restores")


def test_sample_is_of_all_kinds() -> None:
    chosen = sampled()
    assert len(chosen) == SAMPLE
    assert {cell.operation.name for cell in chosen} == {cell.operation.name for cell in CELLS}
    assert {cell.size for cell in chosen} == {"one", "fleet"}
    assert {cell.place for cell in chosen} == {"request", "polls", "lookups"}
    assert {cell.status in BAD for cell in chosen} == {True, False}
