# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples of the reference do what they say: all of them in one playbook, as ansible-doc shows them.

Each plugin has a case: what its examples find when they begin, and what must have come of them.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from ansible_fixtures import Ansible, Simulator

COLLECTION = "community.paperspace."
SNAPSHOT, SNAPSHOT_INFO = f"{COLLECTION}paperspace_snapshot", f"{COLLECTION}paperspace_snapshot_info"
MACHINE = f"{COLLECTION}paperspace_machine"
# Of the runs here, one is open on db1 and db2, one closed, one made by an example, and one rolled back on web2 only.
RUN, CLOSED = "20260131T235959Z-1a2b", "20260101T000000Z-0000"
NEW, HALF = "20260201T000000Z-3c4d", "20260202T000000Z-5e6f"

# The machines that the examples mean.
MEANT = {"ps1a2b3c4d": "web1", "psabc12345": "web1", "psdef67890": "web2"}
MACHINE_ID = re.compile(r"\bps[0-9a-z]{3,}\b")

ONCE = {"run_once": True}

# Types of plugins whose examples are tasks. Those of the inventory plugin are files: see test_inventory.py.
OF_TASKS = ("module", "lookup", "filter")


def id_of(host: str) -> str:
    return f"{{{{ hostvars.{host}.paperspace_id }}}}"


def targets(*hosts: str) -> list[dict[str, str]]:
    return [{"host": host, "machine_id": id_of(host)} for host in hosts]


def take(name: str, *hosts: str, **more: Any) -> dict[str, Any]:
    return {SNAPSHOT: {"machine_ids": [id_of(host) for host in hosts], "name": name, **more}}


FIND = {SNAPSHOT_INFO: {"name_prefix": "maint-", "auto": False}, "register": "found"}


@dataclass
class Run:
    """What came of the examples of a plugin."""

    results: list[dict[str, Any]]
    counts: dict[str, int]
    """How many creates, restores, … were done by them; those of which there were none are left out."""
    ids: dict[str, str]
    simulator: Simulator
    folder: Path
    inventory: list[str]

    def lines(self) -> list[str]:
        """The message of the only example, which is one of ansible.builtin.debug."""
        [result] = self.results
        lines: list[str] = result["msg"]
        return lines

    def fact(self, name: str) -> Any:
        """What the only example, which is one of ansible.builtin.set_fact, has set."""
        [result] = self.results
        assert list(result["ansible_facts"]) == [name]
        return result["ansible_facts"][name]

    def snapshots(self, host: str) -> list[str]:
        """The names of a machine's snapshots at the end of the playbook, oldest first."""
        return [snapshot["name"] for snapshot in self.simulator.snapshots(self.ids[host])]


@dataclass(frozen=True)
class Case:
    changed: Sequence[bool]
    """Of each example, whether it changes something."""
    check: Callable[[Run], None]
    hosts: str = ""
    """Empty: a host of its own, on which no other case has set facts."""
    variables: Mapping[str, Any] = field(default_factory=dict)
    before: Sequence[Mapping[str, Any]] = ()
    fails_with: Mapping[str, Any] = field(default_factory=dict)
    """Other variables, with which the examples are run once more, and must fail."""


def machines_are_listed(run: Run) -> None:
    found, shown = run.results
    on = {"web1", "web2", "web3", "db1", "db2"}
    assert {machine["name"] for machine in found["machines"]} == on
    addresses = {machine["name"]: machine["publicIp"] for machine in run.simulator.machines()}
    assert set(shown["msg"]) == on
    assert shown["msg"]["web3"] == addresses["web3"]
    assert run.counts == {}


def machines_are_started_and_snapshots_kept(run: Run) -> None:
    started, kept = run.results
    statuses = {entry["machine_id"]: entry["status"] for entry in started["machines"]}
    assert statuses == {key: "started" if host == "app2" else "unchanged" for host, key in run.ids.items()}
    assert kept["machine"]["machine_id"] == run.ids["web1"]
    assert run.counts == {"starts": 1, "machine_updates": 1}
    web1 = next(machine for machine in run.simulator.machines() if machine["name"] == "web1")
    settings = (web1["autoSnapshotEnabled"], web1["autoSnapshotFrequency"], web1["autoSnapshotSaveCount"])
    assert settings == (True, "daily", 7)


def snapshots_are_taken_restored_pruned_and_renamed(run: Run) -> None:
    taken, restored, pruned, renamed = run.results
    assert {entry["machine_id"] for entry in taken["snapshots"]} == set(run.ids.values())
    assert {entry["status"] for entry in taken["snapshots"]} == {"created"}
    assert restored["snapshot"]["status"] == "restored"
    assert restored["snapshot"]["safety_snapshot_id"]
    assert [(entry["name"], entry["status"]) for entry in pruned["snapshots"]] == [("nightly-1", "deleted")]
    assert renamed["snapshot"]["status"] == "renamed"
    assert run.counts == {"creates": 7, "restores": 1, "safety_snapshots": 1, "deletes": 1, "renames": 1}
    names = run.snapshots("web1")
    assert {"nightly-2", "nightly-3", "golden"} <= set(names)
    assert not {"nightly-1", "before-upgrade"} & set(names)
    assert "before-upgrade" in run.snapshots("web2")


def open_runs_are_listed(run: Run) -> None:
    found, shown = run.results
    assert {snapshot["name"] for snapshot in found["snapshots"]} == {f"maint-{RUN}", f"maint-{CLOSED}-ok"}
    assert shown["msg"] == [f"maint-{RUN}"]
    assert run.counts == {}


def machines_are_patched_one_after_the_other(run: Run) -> None:
    [guarded] = run.results
    assert (guarded["status"], guarded["open_hosts"], guarded["problems"]) == ("succeeded", [], [])
    outcomes = [(machine["host"], machine["outcome"]) for machine in guarded["machines"]]
    assert outcomes == [("web1", "ok"), ("web2", "ok")]
    assert (run.folder / "done").read_text("utf-8").split() == [
        f"{step}-{host}" for host in ("web1", "web2") for step in ("patched", "verified")
    ]
    assert run.counts == {"creates": 2, "renames": 2}
    assert f"maint-{guarded['run_id']}-ok" in run.snapshots("web2")


def one_run_id_is_made(run: Run) -> None:
    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{4}", run.fact("run_id"))


def addresses_are_those_of_now(run: Run) -> None:
    inventory = yaml.safe_load(run.simulator.inventory.read_text("utf-8"))
    hosts = inventory["all"]["children"]["paperspace"]["hosts"]
    assert run.fact("addresses") == {
        name: {key: hosts[name][key] for key in ("ansible_host", "ansible_port") if hosts[name][key] is not None}
        for name in ("web1", "web2", "web3")
    }


def the_open_run_is_found(run: Run) -> None:
    [found] = run.fact("open_runs")
    assert (found["run_id"], found["name"]) == (RUN, f"maint-{RUN}")
    machines = [(machine["host"], machine["machine_id"]) for machine in found["machines"]]
    assert machines == [(host, run.ids[host]) for host in ("db1", "db2")]


def recover_command(run: Run, action: str) -> str:
    inventory = [word for source in run.inventory for word in ("-i", source)]
    command = ["ansible-playbook", "community.paperspace.recover", *inventory]
    return shlex.join([*command, "-e", f"recover_run_id={RUN}", "-e", f"recover_action={action}"])


def the_open_run_is_shown(run: Run) -> None:
    lines = run.lines()
    assert lines[0] == "1 run is open on these machines."
    assert f"Snapshots named maint-{RUN}" in lines
    assert [line.split()[0] for line in lines if " ps" in line] == ["db1", "db2"]
    assert {f"  {recover_command(run, action)}" for action in ("rollback", "keep")} <= set(lines)


def the_command_is_shown(run: Run) -> None:
    assert [result["msg"] for result in run.results] == [recover_command(run, "rollback")]


def what_became_of_the_snapshots_is_shown(run: Run) -> None:
    header, line = run.lines()
    assert header.split() == ["HOST", "MACHINE", "STATUS", "SNAPSHOT", "SECONDS"]
    [snapshot] = [found for found in run.simulator.snapshots(run.ids["db1"]) if found["name"] == "shown"]
    assert line.split()[:4] == ["-", run.ids["db1"], "created", snapshot["id"]]


def both_machines_are_to_be_recovered(run: Run) -> None:
    plan = run.fact("plan")
    assert (plan["run_id"], plan["problems"]) == (RUN, [])
    assert [entry["host"] for entry in plan["due"]] == ["db1", "db2"]
    assert plan["waiting"] == plan["refused"] == plan["left"] == []


def rows(run: Run) -> dict[str, list[str]]:
    """The cells of the table, by host."""
    return {cells[0]: cells for cells in map(str.split, run.lines()) if cells[1] in run.ids.values()}


def one_machine_is_recovered(run: Run) -> None:
    found = rows(run)
    assert {host: cells[2] for host, cells in found.items()} == {"web2": "restored", "web3": "open"}
    assert "The run is still open for it." in run.lines()[-1]


def both_machines_are_to_be_restored(run: Run) -> None:
    plan = run.fact("plan")
    assert [snapshot["machine_id"] for snapshot in plan["due"]] == [run.ids["db1"], run.ids["db2"]]
    assert plan["done"] == plan["skipped"] == plan["problems"] == []


def both_machines_are_rolled_back(run: Run) -> None:
    assert {host: cells[2] for host, cells in rows(run).items()} == {"db1": "restored", "db2": "restored"}
    assert len(run.lines()) == 3
    assert f"maint-{RUN}-restored" in run.snapshots("db1")


def snapshots_are_sorted_by_host(run: Run) -> None:
    found = run.fact("rows")
    assert {host: [(row["host"], row["status"]) for row in of_host] for host, of_host in found.items()} == {
        "db1": [("db1", "created")],
        "db2": [("db2", "failed")],
    }


def the_run_is_begun_and_closed(run: Run) -> None:
    taken, closed = run.results
    assert [(entry["name"], entry["status"]) for entry in taken["snapshots"]] == [(f"maint-{NEW}", "created")] * 2
    assert [entry["status"] for entry in closed["snapshots"]] == ["renamed"] * 2
    assert run.counts == {"creates": 2, "renames": 2}
    assert f"maint-{NEW}-ok" in run.snapshots("web2")


def the_inventory_is_refused(run: Run) -> None:
    passed, refused = run.results
    assert passed["msg"] == "All assertions passed"
    assert refused["failed"]
    assert refused["msg"] == f"Machine {run.ids['db1']} is claimed by several hosts: db1, twin."


BOTH = {"targets": targets("db1", "db2"), "run_id": RUN}
RECOVERED = targets("web2", "web3")
# In the order in which they are run.
CASES = {
    "paperspace_machine_info": Case([False, False], machines_are_listed, "localhost"),
    "paperspace_machine": Case([True, True], machines_are_started_and_snapshots_kept, "paperspace"),
    "paperspace_snapshot": Case(
        [True, True, True, True],
        snapshots_are_taken_restored_pruned_and_renamed,
        "paperspace",
        before=[{**take("{{ item }}", "web1"), "loop": ["nightly-1", "nightly-2", "nightly-3"], **ONCE}],
    ),
    "paperspace_snapshot_info": Case(
        [False, False],
        open_runs_are_listed,
        "localhost",
        before=[
            take(f"maint-{CLOSED}", "db1"),
            take(f"maint-{CLOSED}", "db1", new_name=f"maint-{CLOSED}-ok"),
            take(f"maint-{RUN}", "db1", "db2"),
        ],
    ),
    "guarded_playbook": Case([True], machines_are_patched_one_after_the_other),
    "new_run_id": Case([False], one_run_id_is_made, "web"),
    "fresh_addresses": Case([False], addresses_are_those_of_now, "web"),
    "open_runs": Case([False], the_open_run_is_found, variables=BOTH, before=[FIND]),
    "open_run_lines": Case(
        [False],
        the_open_run_is_shown,
        variables={"open_runs": "{{ found.snapshots | community.paperspace.open_runs(targets) }}", **BOTH},
        before=[FIND],
    ),
    "recover_command": Case([False], the_command_is_shown, variables=BOTH),
    "recovery_plan": Case([False], both_machines_are_to_be_recovered, variables=BOTH, before=[FIND]),
    "rollback_plan": Case([False], both_machines_are_to_be_restored, variables=BOTH, before=[FIND]),
    "rollback_rows": Case(
        [False],
        both_machines_are_rolled_back,
        variables={"plan": "{{ found.snapshots | community.paperspace.rollback_plan(targets, run_id) }}", **BOTH},
        before=[
            FIND,
            {**take(f"maint-{RUN}", "db1", "db2", state="restored"), "register": "restores"},
            {
                **take("{{ item }}", "db1", "db2", new_name=f"maint-{RUN}-restored"),
                "loop": [f"maint-{RUN}"],
                "register": "renames",
            },
            # A rollback that is to start no machines.
            {MACHINE: {"machine_id": id_of("db1"), "state": "started"}, "when": False, "register": "starts"},
        ],
    ),
    "recovery_rows": Case(
        [False],
        one_machine_is_recovered,
        variables={
            "targets": RECOVERED,
            "plan": "{{ earlier.snapshots | community.paperspace.recovery_plan(targets, 'rollback') }}",
        },
        before=[
            take(f"maint-{HALF}", "web2", "web3"),
            {**FIND, "register": "earlier"},
            take(f"maint-{HALF}", "web2", new_name=f"maint-{HALF}-restored"),
            FIND,
        ],
    ),
    "outcome_table": Case(
        [False], what_became_of_the_snapshots_is_shown, before=[{**take("shown", "db1"), "register": "taken"}]
    ),
    "rows_by_host": Case(
        [False],
        snapshots_are_sorted_by_host,
        variables=BOTH,
        before=[{**take("sorted", "db1"), "register": "taken"}],
    ),
    "run_name": Case(
        [True, True],
        the_run_is_begun_and_closed,
        variables={"run_id": NEW, "machine_ids": [id_of("web2"), id_of("web3")]},
    ),
    "target_problems": Case(
        [False],
        the_inventory_is_refused,
        variables=BOTH,
        fails_with={"targets": [*targets("db1"), {"host": "twin", "machine_id": id_of("db1")}]},
    ),
}


def documented(ansible: Ansible) -> dict[str, dict[str, str]]:
    """The examples of all plugins, by their types and short names. Empty where there are none."""
    shown = ansible.run("ansible-doc", "--metadata-dump", COLLECTION.rstrip("."))
    return {
        kind: {name.removeprefix(COLLECTION): plugin["examples"] or "" for name, plugin in plugins.items()}
        for kind, plugins in json.loads(shown.stdout)["all"].items()
        if kind not in ("keyword", "role")
    }


def of_tasks(documentation: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    return {name: examples for kind in OF_TASKS for name, examples in documentation[kind].items()}


def examples_of(text: str, ids: Mapping[str, str]) -> list[dict[str, Any]]:
    examples: list[dict[str, Any]] = yaml.safe_load(MACHINE_ID.sub(lambda match: ids[MEANT[match[0]]], text))
    assert examples
    return examples


def play_of(name: str, case: Case, examples: Sequence[Mapping[str, Any]], simulator: Simulator) -> dict[str, Any]:
    """A play with the examples of a plugin, or the one that they are, that keeps what comes of them as a fact."""
    play: dict[str, Any] = {"hosts": case.hosts or name, "gather_facts": False, "vars": dict(case.variables)}
    if "hosts" in examples[0]:
        [play] = [dict(example) for example in examples]
        examples = play["tasks"]
    tasks = list(examples)
    if case.fails_with:
        tasks += [
            {**task, "vars": {**task.get("vars", {}), **case.fails_with}, "ignore_errors": True} for task in examples
        ]
    # A play on several hosts stands for one of its hosts where an example says nothing else.
    tasks = [{"register": f"result_{number}", **ONCE, **task} for number, task in enumerate(tasks)]
    counts = f"lookup('ansible.builtin.url', '{simulator.description['control_url']}/counts', split_lines=false)"
    results = ", ".join(str(task["register"]) for task in tasks)
    found = f"{{'results': [{results}], 'before': counts_before.msg, 'after': {counts} | from_json}}"
    # Text that does not look like a list or dictionary is not made one by any version of Ansible.
    keep = {fact_of(name): f"{name}: {{{{ {found} | to_json }}}}"}
    play["tasks"] = [
        *case.before,
        {"ansible.builtin.debug": {"msg": f"{{{{ {counts} | from_json }}}}"}, "register": "counts_before", **ONCE},
        *tasks,
        {"ansible.builtin.set_fact": keep, "delegate_to": "localhost", "delegate_facts": True, **ONCE},
    ]
    return play


def fact_of(name: str) -> str:
    return f"came_of_{name}"


def write_playbooks(ansible: Ansible) -> None:
    """The playbooks that are guarded. They write down in which order they came to the machines."""
    for name, step in (("patch.yml", "patched"), ("verify.yml", "verified")):
        note = f"echo {step}-{{{{ inventory_hostname }}}} >> {shlex.quote(str(ansible.folder / 'done'))}"
        ansible.write(name, [{"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.raw": note}]}])


def played(ansible: Ansible, simulator: Simulator, texts: Mapping[str, str]) -> dict[str, Run]:
    """What came of all examples, by their plugins."""
    simulator.add_machine("app1", region="West Coast (CA1)")
    simulator.add_machine("app2", state="off")
    ids = simulator.ids()
    write_playbooks(ansible)
    plays = [play_of(name, case, examples_of(texts[name], ids), simulator) for name, case in CASES.items()]
    kept = ansible.folder / "kept"
    facts = ", ".join(map(fact_of, CASES))
    keep = {"content": f"{{{{ [{facts}] | join('\n') }}}}", "dest": str(kept), "mode": "0600"}
    plays += [{"hosts": "localhost", "gather_facts": False, "tasks": [{"ansible.builtin.copy": keep}]}]
    own: dict[str, Any] = {name: {} for name, case in CASES.items() if not case.hosts}
    inventory = ansible.write("own.yml", {"own": {"hosts": own, "vars": {"ansible_connection": "local"}}})
    result = ansible.playbook(plays, "-i", simulator.inventory, "-i", inventory)
    assert "DEPRECATION" not in result.output, result.output
    runs = {}
    for line in kept.read_text("utf-8").splitlines():
        name, dummy, content = line.partition(": ")
        found = json.loads(content)
        before, after = found["before"]["done"], found["after"]["done"]
        counts = {what: after[what] - before[what] for what in after if after[what] != before[what]}
        sources = [str(simulator.inventory), str(inventory)]
        runs[name] = Run(found["results"], counts, ids, simulator, ansible.folder, sources)
    return runs


def test_examples_do_what_they_say(ansible: Ansible, simulator: Simulator) -> None:
    documentation = documented(ansible)
    texts = of_tasks(documentation)
    assert set(texts) == set(CASES)
    assert all(texts.values())
    others = {name for kind, plugins in documentation.items() if kind not in OF_TASKS for name in plugins}
    assert others == {"paperspace", "guard_ledger"}, "test_inventory.py tries the inventory's; the callback has none"
    assert not documentation["callback"]["guard_ledger"]
    wrong = {}
    for name, run in played(ansible, simulator, texts).items():
        case = CASES[name]
        try:
            assert [result["changed"] for result in run.results[: len(case.changed)]] == case.changed
            case.check(run)
        except AssertionError as error:
            wrong[name] = str(error)
    assert not wrong, "\n\n".join(f"{name}: {problem}" for name, problem in wrong.items())
