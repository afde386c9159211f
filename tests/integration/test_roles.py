# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The roles inside of a user's own play."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

RUN = "20260131T235959Z-1a2b"


def role(name: str, **variables: Any) -> dict[str, Any]:
    return {
        "name": f"Run the role {name}",
        "ansible.builtin.include_role": {"name": f"community.paperspace.{name}"},
        "vars": variables,
    }


def guarded(**play: Any) -> list[dict[str, Any]]:
    """A play with the roles in a block and its rescue, which fails on web2 after it changed a file."""
    work = [
        {"name": "Upgrade", "ansible.builtin.shell": "echo new > {{ disk }}/app"},
        {"name": "Start", "ansible.builtin.command": "false", "when": "inventory_hostname == 'web2'"},
    ]
    undo = [role("rollback"), {"name": "Say so", "ansible.builtin.fail": {"msg": "undone"}}]
    tasks = [
        role("snapshot"),
        {"name": "Work", "block": work, "rescue": undo},
        role("snapshot", snapshot_action="close"),
    ]
    return [{"hosts": "web", "gather_facts": False, **play, "tasks": tasks}]


def names(simulator: Any) -> dict[str, list[str]]:
    return {
        name: [snapshot["name"] for snapshot in simulator.snapshots(machine_id)]
        for name, machine_id in simulator.ids().items()
        if name.startswith("web")
    }


def has_new_application(simulator: Any) -> list[bool]:
    folder = Path(simulator.description["machines_dir"])
    return [(folder / simulator.ids()[name] / "app").exists() for name in ("web1", "web2", "web3")]


def test_tags_that_the_roles_do_not_have_leave_none_of_them_out(ansible: Any, simulator: Any) -> None:
    plays = guarded()
    for task in (plays[0]["tasks"][0], plays[0]["tasks"][2], plays[0]["tasks"][1]["rescue"][0]):
        task["tags"] = "always"
    plays[0]["tasks"][1]["tags"] = "patch"
    ansible.playbook(plays, "-i", simulator.inventory, "--tags", "patch", rc=2)
    assert has_new_application(simulator) == [True, False, True]
    [[web1], [web2], [_web3]] = names(simulator).values()
    assert (web1[-3:], web2[-9:]) == ("-ok", "-restored")


@pytest.mark.smoke
def test_rescue_rolls_back_only_the_host_that_failed(ansible: Any, simulator: Any) -> None:
    """And finds the run that the role snapshot made."""
    result = ansible.playbook(guarded(), "-i", simulator.inventory, rc=2)
    assert "undone" in result.stdout
    assert has_new_application(simulator) == [True, False, True]
    [[web1], [web2], [web3]] = names(simulator).values()
    assert web1.endswith("-ok")
    assert web3 == web1
    assert web2 == web1.removesuffix("ok") + "restored"
    assert simulator.done_counts()["restores"] == 1


def test_second_guarded_play_has_a_run_of_its_own(ansible: Any, simulator: Any) -> None:
    """Else its snapshots would be a second time those of a run that is over, and nothing could be rolled back."""
    first = guarded()
    first[0]["tasks"][1]["block"] = first[0]["tasks"][1]["block"][:1]
    ansible.playbook([*first, *guarded()], "-i", simulator.inventory, rc=2)
    runs = {host: [name.split("-", 1)[1].rsplit("-", 1) for name in found] for host, found in names(simulator).items()}
    assert [[outcome for _run, outcome in found] for found in runs.values()] == [
        ["ok", "ok"],
        ["ok", "restored"],
        ["ok", "ok"],
    ]
    assert len({run for found in runs.values() for run, _outcome in found}) == 2
    assert simulator.done_counts()["restores"] == 1


def test_run_id_that_is_given_is_not_used_again_when_the_run_is_over(ansible: Any, simulator: Any) -> None:
    tasks = [role("snapshot"), role("snapshot", snapshot_action="close"), role("snapshot")]
    plays = [{"hosts": "web", "gather_facts": False, "tasks": tasks}]
    result = ansible.playbook(plays, "-i", simulator.inventory, "-e", f"snapshot_run_id={RUN}", rc=2)
    assert "begin another run" in result.message
    assert list(names(simulator).values()) == [[f"maint-{RUN}-ok"]] * 3


@pytest.mark.smoke
def test_batches_of_serial_share_one_run(ansible: Any, simulator: Any) -> None:
    tasks = [role("snapshot")]
    ansible.playbook([{"hosts": "web", "gather_facts": False, "serial": 1, "tasks": tasks}], "-i", simulator.inventory)
    assert len({found[0] for found in names(simulator).values()}) == 1
    assert simulator.calls().count("GET /auth/session") == 3


def test_check_mode_of_a_guarded_play_changes_nothing(ansible: Any, simulator: Any) -> None:
    result = ansible.playbook(guarded(), "-i", simulator.inventory, "--check", "--diff")
    assert "would_create" in result.stdout
    assert "would_rename" in result.stdout
    assert simulator.calls("POST", "PUT", "PATCH", "DELETE") == []


def test_check_mode_of_a_rescue_shows_the_restore(ansible: Any, simulator: Any) -> None:
    plays = guarded()
    plays[0]["tasks"][1]["block"] = [{"name": "Break", "ansible.builtin.fail": {"msg": "broken"}}]
    result = ansible.playbook(plays, "-i", simulator.inventory, "--check", rc=2)
    assert result.stdout.count("would_restore") == 3
    assert simulator.calls("POST", "PUT", "PATCH", "DELETE") == []


def test_machine_without_proven_snapshot_drops_out_of_the_play(ansible: Any, simulator: Any) -> None:
    simulator.add_fault("event", method="POST", machine_id=simulator.ids()["web1"], state="error", error="no space")
    result = ansible.playbook(guarded(), "-i", simulator.inventory, "-e", "rollback_reconnect=false", rc=2)
    assert "There is no proven snapshot for web1" in result.message
    assert "no space" in result.message
    assert has_new_application(simulator) == [False, False, True]


def test_roles_do_not_become_root_on_the_controller(ansible: Any, simulator: Any) -> None:
    # Whoever becomes root with this fails.
    play = {"hosts": "web", "gather_facts": False, "become": True, "vars": {"ansible_become_exe": "/bin/false"}}
    ansible.playbook([{**play, "tasks": [role("snapshot"), role("prune")]}], "-i", simulator.inventory)
    assert len(simulator.snapshots()) == 3


def test_machine_id_can_come_from_another_variable(ansible: Any, simulator: Any) -> None:
    inventory = ansible.write("hosts.yml", {"all": {"hosts": {"a": {"cloud_id": simulator.ids()["db1"]}}}})
    tasks = [role("snapshot", snapshot_machine_id="{{ cloud_id }}", snapshot_prefix="mine-", snapshot_run_id=RUN)]
    ansible.playbook([{"hosts": "all", "gather_facts": False, "tasks": tasks}], "-i", inventory)
    assert [snapshot["name"] for snapshot in simulator.snapshots()] == [f"mine-{RUN}"]


def moving_inventory(ansible: Any, simulator: Any, address: str) -> Path:
    """A script that has another address for web1 when it is asked again."""
    hosts = {"web1": {"ansible_host": "127.66.6.6", "paperspace_id": simulator.ids()["web1"]}}
    first, asked = json.dumps({"g": {"hosts": ["web1"]}, "_meta": {"hostvars": hosts}}), ansible.folder / "asked"
    second = first.replace(json.dumps("127.66.6.6"), json.dumps(address))
    text = f"#!/bin/sh\nif [ -e {asked} ]; then cat <<'E'\n{second}\nE\nelse touch {asked}; cat <<'E'\n{first}\nE\nfi\n"
    script: Path = ansible.write("script.sh", text)
    script.chmod(0o755)
    return script


def address_after_rollback(ansible: Any, simulator: Any, address: str, **play: Any) -> str:
    """The words of a task after the role rollback."""
    simulator.add_snapshot(simulator.ids()["web1"], f"maint-{RUN}")
    show = {"name": "Show", "ansible.builtin.debug": {"msg": "at {{ ansible_host }} of {{ ansible_play_hosts }}"}}
    tasks = [role("rollback", rollback_run_id=RUN), show]
    plays = [{"hosts": "all", "gather_facts": False, "connection": "local", **play, "tasks": tasks}]
    return str(ansible.playbook(plays, "-i", moving_inventory(ansible, simulator, address)).message)


@pytest.mark.smoke
def test_address_that_the_inventory_has_after_the_rollback_is_taken_over(ansible: Any, simulator: Any) -> None:
    assert "at 127.67.7.7 of ['web1']" in address_after_rollback(ansible, simulator, "127.67.7.7")


def test_address_of_the_play_itself_stays(ansible: Any, simulator: Any) -> None:
    said = address_after_rollback(ansible, simulator, "127.67.7.7", vars={"ansible_host": "127.68.8.8"})
    assert "at 127.68.8.8 of ['web1']" in said


@pytest.mark.parametrize("strategy", ["free", "host_pinned"])
def test_with_another_strategy_nothing_is_restored_twice_and_all_hosts_fail(
    ansible: Any, simulator: Any, strategy: str
) -> None:
    snapshot = {"hosts": "web", "gather_facts": False, "tasks": [role("snapshot", snapshot_run_id=RUN)]}
    ansible.playbook([snapshot], "-i", simulator.inventory)
    tasks = [role("rollback", rollback_run_id=RUN, rollback_reconnect=False)]
    plays = [{"hosts": "web", "gather_facts": False, "strategy": strategy, "tasks": tasks}]
    result = ansible.playbook(plays, "-i", simulator.inventory, rc=2)
    assert "The role rollback needs the strategy linear" in result.message
    restored = [call for call in simulator.calls("POST") if call.endswith("/restore")]
    assert len(set(restored)) == len(restored)
