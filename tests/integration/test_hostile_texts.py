# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names and errors of the API, and run ids, that would do something if anything evaluated, obeyed or followed them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ansible_fixtures import Ansible, Result, Simulator

HOSTILE = {
    "failing template": "{{ 1/0 }}",
    "broken template": "{% for x in %}",
    "comment": "{# hidden #}",
    "lookup": "{{ lookup('ansible.builtin.pipe', 'touch evaluated') }}",
    "dollar": "$(touch evaluated)",
    "semicolon": "; touch evaluated",
    "backtick": "`touch evaluated`",
    "quotes": "'; touch evaluated; '\"; touch evaluated; \"",
    "html": "<script>alert(1)</script>",
    "colour": "\x1b[31mred\x9b32m",
    "title": "\x1b]0;title\x07",
    "link": "\x1b]8;;http://example.test\x07here\x1b]8;;\x07",
    "up": "../../x",
    "absolute": "/tmp/absolute",
    "nul": "nul\0byte",
    "line break": "line\nfatal: [forged]: FAILED!",
    "right to left": "\u202egnp.exe",
    "option": "-oProxyCommand=touch evaluated",
    "vault": "!vault |",
    "yaml tag": "!unsafe x: [",
}
RUN_ID = "20260131T235959Z-1a2b"
INVENTORY = {"plugin": "community.paperspace.paperspace", "compose": {"composed": "paperspace_name"}}
SNAPSHOT_INFO = "community.paperspace.paperspace_snapshot_info"
MACHINE_INFO = "community.paperspace.paperspace_machine_info"


def assert_harmless(ansible: Ansible, *results: Result) -> None:
    """Nothing was evaluated, nothing reached the terminal, and nothing was written where a name would lead."""
    for result in results:
        # Other characters of values Ansible shows as they are.
        assert not {"\x1b", "\x07", "\0"} & set(result.output), result.output
        assert not [line for line in result.output.splitlines() if line.startswith("fatal: [forged]")]
    assert not list(ansible.folder.rglob("evaluated"))
    assert not Path("/tmp/absolute").exists()
    assert not (ansible.folder / "x").exists()
    assert not (ansible.folder.parent / "x").exists()


def fill(simulator: Simulator) -> dict[str, str]:
    """A machine of each hostile name, with a snapshot of the same name. The names by the machines' ids."""
    simulator.remove_machines()
    names = {simulator.add_machine(name, os=name): name for name in HOSTILE.values()}
    for machine_id, name in names.items():
        simulator.add_snapshot(machine_id, name)
    return names


def test_values_in_inventory_and_results_stay_what_they_are(ansible: Ansible, simulator: Simulator) -> None:
    names = fill(simulator)
    kept = ansible.folder / "kept"
    kept.mkdir()
    found = {
        "own": "{{ paperspace_name }}",
        "composed": "{{ composed }}",
        "fact": "{{ fact }}",
        "joined": "{{ 'x' ~ fact }}",
        "of_hostvars": "{{ hostvars[inventory_hostname].paperspace_os }}",
        "snapshot": "{{ (snapshots.snapshots | selectattr('machine_id', 'equalto', paperspace_id) | first).name }}",
        "machine": "{{ (machines.machines | selectattr('id', 'equalto', paperspace_id) | first).name }}",
        "sent": "{{ (sent.machines | selectattr('id', 'equalto', paperspace_id) | first).name }}",
        "again": "{{ again }}",
    }
    once = {"run_once": True}
    tasks: list[dict[str, Any]] = [
        {"ansible.builtin.set_fact": {"fact": "{{ paperspace_name }}"}},
        {SNAPSHOT_INFO: {}, "register": "snapshots", **once},
        {MACHINE_INFO: {}, "register": "machines", **once},
        {MACHINE_INFO: {}, "register": "sent", "environment": {"IN_THE_MODULE": "1"}, **once},
        {"ansible.builtin.set_fact": {"again": found["snapshot"]}},
        {"ansible.builtin.debug": {"var": "fact"}},
        {"ansible.builtin.debug": {"msg": "{{ again }} and {{ snapshots.snapshots | map(attribute='name') | list }}"}},
        {"ansible.builtin.debug": {"msg": "{{ item.name }}"}, "loop": "{{ snapshots.snapshots }}", **once},
        {
            "ansible.builtin.copy": {"content": "{{ found | to_json }}", "dest": f"{kept}/{{{{ paperspace_id }}}}"},
            "vars": {"found": found},
        },
    ]
    play = {"hosts": "all", "gather_facts": False, "connection": "local", "tasks": tasks}
    result = ansible.playbook([play], "-i", ansible.write("paperspace.yml", INVENTORY), "-v", "--diff")
    assert_harmless(ansible, result)
    assert len(list(kept.iterdir())) == len(HOSTILE)
    for machine_id, name in names.items():
        wanted = {key: f"x{name}" if key == "joined" else name for key in found}
        assert json.loads((kept / machine_id).read_text("utf-8")) == wanted


def test_maintenance_and_its_report(ansible: Ansible, simulator: Simulator) -> None:
    names = fill(simulator)
    refused, answered, *dummy = names
    everything = " ".join(HOSTILE.values())
    for action, machine_id, error in (
        ("event", refused, {"state": "error", "error": everything}),
        ("status", answered, {"status": 412, "code": everything, "message": everything}),
    ):
        simulator.add_fault(action, method="POST", path="/snapshots", machine_id=machine_id, **error)
    # What a task says of its host comes from the API too.
    tasks = [{"name": "Task {{ paperspace_name }}", "ansible.builtin.fail": {"msg": "Error {{ paperspace_name }}"}}]
    play = {"hosts": "all", "gather_facts": False, "connection": "local", "tasks": tasks}
    playbook = ansible.write("patch.yml", [play])
    inventory = ansible.write("paperspace.yml", INVENTORY)
    variables = {"maintenance_playbook": str(playbook), "maintenance_reconnect": False}
    common = ["-i", inventory, "-e", json.dumps(variables)]
    run = ansible.run("ansible-playbook", "community.paperspace.maintenance", *common, rc=2)
    listed = ansible.run("ansible-playbook", "community.paperspace.recover", *common)
    assert not list(ansible.folder.rglob("evaluated"))
    files = sorted((ansible.folder / "paperspace-runs").iterdir())
    [run_id] = {path.stem for path in files}
    assert {path.suffix for path in files} == {".json", ".md", ".html", ".log"}
    report = json.loads((ansible.folder / "paperspace-runs" / f"{run_id}.json").read_text("utf-8"))
    outcomes = {machine["machine_id"]: machine["outcome"] for machine in report["machines"]}
    assert outcomes == {
        machine_id: "no_snapshot" if machine_id in (refused, answered) else "rolled_back" for machine_id in names
    }
    errors = {machine["machine_id"]: machine["reason"]["error"] for machine in report["machines"]}
    for machine_id, name in names.items():
        if machine_id not in (refused, answered) and "\n" not in name:
            assert name in errors[machine_id]
    for machine_id in (refused, answered):
        assert "{{ 1/0 }} {% for x in %}" in errors[machine_id]
        assert errors[machine_id].isprintable()
    for path in files:
        if path.suffix in (".md", ".html"):
            text = path.read_text("utf-8")
            assert not {"\x1b", "\x9b", "\x07", "\0", "\u202e"} & set(text)
            # In a block of code it is shown as it is.
            assert "<script>alert" not in re.sub(r"^(`{3,})text\n.*?^\1$", "", text, flags=re.MULTILINE | re.DOTALL)
    # Ansible's own lines about the user's task are the user's, so only those of the recovery are looked at as a whole.
    assert_harmless(ansible, listed)
    assert run_id in run.output


@pytest.mark.parametrize(
    ("playbook", "request_of", "prepared", "reached"),
    [
        ("snapshot", {"method": "POST", "path": "/snapshots"}, None, f"maint-{RUN_ID}"),
        ("rollback", {"method": "POST", "path": ".*/restore"}, f"maint-{RUN_ID}", f"maint-{RUN_ID}-restored"),
        ("prune", {"method": "DELETE"}, f"maint-{RUN_ID}-ok", None),
    ],
    ids=["snapshot", "rollback", "prune"],
)
def test_roles_of_snapshots(
    ansible: Ansible,
    simulator: Simulator,
    playbook: str,
    request_of: dict[str, str],
    prepared: str | None,
    reached: str | None,
) -> None:
    names = fill(simulator)
    # No run's, though they begin like one's.
    for machine_id, name in names.items():
        simulator.add_snapshot(machine_id, f"maint-{RUN_ID}-ok{name}")
    others = {snapshot["id"] for snapshot in simulator.snapshots()}
    if prepared:
        for machine_id in names:
            simulator.add_snapshot(machine_id, prepared)
    broken, refused, *sound = names
    everything = " ".join(HOSTILE.values())
    simulator.add_fault("event", machine_id=broken, state="error", error=everything, **request_of)
    complaint = {"status": 412, "code": everything, "message": everything}
    simulator.add_fault("status", machine_id=refused, **complaint, **request_of)
    variables: dict[str, Any] = {f"{playbook}_run_id": RUN_ID, "rollback_reconnect": False, "prune_keep": 0}
    # So long it is looked whether what failed was done after all.
    variables["paperspace_connection"] = {"request_timeout": 2}
    inventory = ansible.write("paperspace.yml", INVENTORY)
    result = ansible.run(
        *("ansible-playbook", f"community.paperspace.{playbook}", "-i", inventory, "-e", json.dumps(variables)), rc=2
    )
    assert_harmless(ansible, result)
    # Of both machines, in the table and in the error of the host.
    # Tables wrap their lines, so only the beginning is sure to stand together.
    assert result.output.count("{{ 1/0") >= 4
    found = {snapshot["id"]: snapshot for snapshot in simulator.snapshots()}
    assert others <= set(found)
    made = {(one["machineId"], one["name"]) for one in found.values() if one["id"] not in others}
    assert {one for one in made if one[0] in sound} == ({(one, reached) for one in sound} if reached else set())
    assert not {one for one in made if one[0] == refused} - {(refused, prepared)}


@pytest.mark.parametrize("run_id", ["../../x", "/tmp/absolute", f"{RUN_ID}/../../x", f"{RUN_ID}\n", f"{RUN_ID}\0", "x"])
@pytest.mark.parametrize("name", ["maintenance", "recover", "rollback", "snapshot"])
def test_a_run_id_that_is_none_is_refused(ansible: Ansible, simulator: Simulator, name: str, run_id: str) -> None:
    path = ansible.write("patch.yml", [{"hosts": "all", "gather_facts": False, "tasks": []}])
    variables = {f"{name}_run_id": run_id, "maintenance_playbook": str(path), "recover_action": "keep"}
    arguments = ["-i", simulator.inventory, "-l", "web1", "-e", json.dumps(variables)]
    result = ansible.run("ansible-playbook", f"community.paperspace.{name}", *arguments, rc=2)
    assert "is not a run id; one looks like" in result.message
    assert simulator.calls("POST", "PUT", "PATCH", "DELETE") == []
    assert not (ansible.folder / "paperspace-runs").exists()
    assert_harmless(ansible)
