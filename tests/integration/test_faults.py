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
from unit.fault_cells import CELLS, Cell, Fault

from ansible_fixtures import KEY, Ansible, Simulator, started_simulator

SEED = 7
# They wait more than they work.
AT_ONCE = 4
# What C(add_faults) knows how to bring about. The matrix may have more.
KINDS = {"answer", "event", "sight", "list"}
PLACES = {"request", "polls", "lookups"}
MODULES = {
    "snapshots": "community.paperspace.paperspace_snapshot",
    "machines": "community.paperspace.paperspace_machine",
}
HIT = ("web2", "db1")
RETRIES, FAILED_REQUESTS, FAILED_LOOKS = 2, 2, 4
REQUEST_TIMEOUT = 1
# For a task that cannot come to an end, for one in which a limit on the rate slows down all, and for one that can.
SHORT_WAIT, LIMITED_WAIT, LONG_WAIT = 8, 30, 60
BAD = ("failed", "timed_out", "unsure")


def form_of(fault: Fault) -> str:
    """What the client gets to see of a fault, with like ones taken for one."""
    rule = fault.rule
    if fault.kind == "event":
        return f"event {rule['state']} {'with' if rule.get('error') else 'without'} text"
    if fault.kind == "list":
        return f"cursor {rule['cursor']}"
    if rule["action"] == "status":
        return "status 429" if fault.is_rate_limit else "status"
    return str(rule["action"])


def traits_of(cell: Cell) -> set[tuple[str, str]]:
    """All of a cell that the sample has to have one of."""
    traits = {
        ("operation", cell.operation.name),
        ("form", form_of(cell.fault)),
        ("kind", cell.fault.kind),
        ("place", cell.place),
        ("duration", cell.duration),
        ("size", cell.size),
        ("busy", cell.busy),
        ("status", cell.status if cell.status in BAD else "good"),
    }
    if cell.size == "fleet":
        traits.add(("fleet", cell.operation.name))
    if cell.fault.kind == "answer" and cell.place == "request":
        if "when" in cell.fault.rule:
            traits.add(("lost", f"{cell.fault.rule['when']} the work"))
        elif cell.fault.is_work_done:
            # The answer to what does the work cannot be read.
            traits.add(("unread", form_of(cell.fault)))
        elif cell.fault.is_busy and cell.duration == "for a while" and not cell.operation.is_repeatable:
            traits.add(("busy", "then free"))
    return traits


def sampled() -> list[Cell]:
    """Some cells by chance, the same each time: as few as have every trait, and each operation about as often."""
    cells = [cell for cell in CELLS if cell.fault.kind in KINDS and cell.place in PLACES]
    random.Random(SEED).shuffle(cells)
    traits = {cell: traits_of(cell) for cell in cells}
    missing, chosen = set[tuple[str, str]]().union(*traits.values()), list[Cell]()
    operations: Counter[str] = Counter()
    while missing:
        best = max(cells, key=lambda cell: (len(traits[cell] & missing), -operations[cell.operation.name]))
        missing -= traits[best]
        operations[best.operation.name] += 1
        chosen.append(best)
    return chosen


def prepare(simulator: Simulator, cell: Cell, ids: list[str]) -> None:
    """Machines and snapshots as the operation needs them, and the rules of the fault."""
    operation = cell.operation
    simulator.settings(busy=cell.busy, **operation.service)
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


def wait_of(cell: Cell) -> int:
    if cell.status not in ("timed_out", "unsure"):
        return LONG_WAIT
    return LIMITED_WAIT if cell.fault.is_rate_limit else SHORT_WAIT


def task_of(cell: Cell, ids: list[str], number: int) -> dict[str, Any]:
    options = {
        "machine_ids": ids,
        "retries": RETRIES,
        "request_timeout": REQUEST_TIMEOUT,
        "wait_timeout": wait_of(cell),
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
    accepted: int
    """How many of the requests that do the work the service has taken up."""
    done: list[dict[str, Any]]
    # By id, when the task began and when it ended.
    snapshots_before: dict[str, dict[str, Any]]
    snapshots: dict[str, dict[str, Any]]
    machines: dict[str, dict[str, Any]]


def run_of(cell: Cell, number: int, folder: Path, collections: Path) -> Run:
    folder.mkdir()
    with started_simulator(folder / "simulator", KEY, "--no-ssh") as simulator:
        by_name = simulator.ids()
        ids = list(by_name.values()) if cell.size == "fleet" else [by_name["web2"]]
        hit = [by_name[name] for name in HIT if by_name[name] in ids]
        prepare(simulator, cell, ids)
        add_faults(simulator, cell, hit)
        done_before, accepted_before = len(simulator.control("GET", "/done")), accepted(simulator, cell)
        snapshots_before = by_id(simulator.snapshots())
        result = Ansible(folder, collections, simulator).task(task_of(cell, ids, number))
        machines, snapshots = by_id(simulator.machines()), by_id(simulator.snapshots())
        assert any(rule["applied"] for rule in simulator.control("GET", "/faults")), "the fault hit nothing"
        return Run(
            ids=ids,
            hit=ids if cell.hits_everyone else hit,
            result=result,
            accepted=accepted(simulator, cell) - accepted_before,
            done=simulator.control("GET", "/done")[done_before:],
            snapshots_before=snapshots_before,
            snapshots=snapshots,
            machines=machines,
        )


def accepted(simulator: Simulator, cell: Cell) -> int:
    return int(simulator.control("GET", "/counts")["accepted"][cell.operation.counted])


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
    # Who is not sure says that something may have changed.
    assert result["changed"] == (run.accepted > 0 or "unsure" in expected.values())

    counts = Counter(each["machine_id"] for each in done if each["what"] == cell.operation.counted)
    for machine_id in ids:
        is_done = cell.is_done or machine_id not in hit
        if not (is_done and cell.operation.is_repeatable):
            assert counts[machine_id] == is_done
    assert {each["what"] for each in done} <= {cell.operation.counted, "safety_snapshots"}

    for entry in entries:
        assert (entry["error"] is None) == (entry["status"] not in BAD)
        if cell.operation.module == "machines":
            assert_machine_is_true(cell, entry, run)
        elif entry["status"] == cell.operation.status:
            assert_snapshot_is_true(cell, entry, run)
    foreign = {key: item for key, item in run.snapshots_before.items() if item["name"] != "old"}
    assert len(foreign) == 10
    assert foreign.items() <= run.snapshots.items()


def assert_snapshot_is_true(cell: Cell, entry: dict[str, Any], run: Run) -> None:
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
    if cell.operation.state_after is not None:
        assert run.machines[entry["machine_id"]]["state"] == cell.operation.state_after


def assert_machine_is_true(cell: Cell, entry: dict[str, Any], run: Run) -> None:
    """It shows the machine as the simulator has it."""
    machine = run.machines[entry["id"]]
    assert (entry["machine_id"], entry["name"]) == (machine["id"], machine["name"])
    settings = {
        "enabled": machine["autoSnapshotEnabled"],
        "frequency": machine["autoSnapshotFrequency"],
        "save_count": machine["autoSnapshotSaveCount"],
    }
    assert entry["auto_snapshot"] == settings
    if entry["status"] == cell.operation.status:
        assert entry["state"] == machine["state"] == (cell.operation.state_after or cell.operation.state_before)
        wanted = cell.operation.options.get("auto_snapshot", {})
        assert wanted.items() <= settings.items()


def test_sample_is_of_all_kinds() -> None:
    chosen = sampled()
    assert len(chosen) <= 20
    assert {cell.operation.name for cell in chosen} == {cell.operation.name for cell in CELLS}
    assert {cell.fault.kind for cell in chosen} == {"answer", "event", "sight", "list"}
    assert {cell.fault.rule["action"] for cell in chosen} == {
        *("refused", "lost", "timeout", "status", "html", "busy", "truncated", "without_fields"),
        *("event", "event_invisible", "state_lag", "cursor"),
    }
    events = [cell.fault.rule for cell in chosen if cell.fault.kind == "event"]
    assert {(rule["state"], bool(rule.get("error"))) for rule in events} == {
        *[("error", True), ("error", False), ("cancelled", False), ("stuck", False)],
    }
    assert {cell.fault.rule["cursor"] for cell in chosen if cell.fault.kind == "list"} == {"repeat", "null"}
    at_work = [cell.fault.rule for cell in chosen if cell.fault.kind == "answer" and cell.place == "request"]
    assert {rule["when"] for rule in at_work if "when" in rule} == {"before", "after"}
    assert {"busy", "truncated", "without_fields"} <= {rule["action"] for rule in at_work}
    assert any(cell.fault.is_rate_limit for cell in chosen)
    busy = [cell for cell in chosen if cell.fault.is_busy and not cell.operation.is_repeatable]
    assert any(cell.duration == "for a while" for cell in busy)
    assert {cell.size for cell in chosen} == {"one", "fleet"}
    fleets = {cell.operation.name for cell in chosen if cell.size == "fleet"}
    assert fleets == {cell.operation.name for cell in CELLS if cell.size == "fleet"}
    assert {cell.place for cell in chosen} == {"request", "polls", "lookups"}
    assert {cell.duration for cell in chosen} == {"for a while", "for ever"}
    assert {cell.status for cell in chosen if cell.status in BAD} == set(BAD)
    assert any(cell.status not in BAD for cell in chosen)
