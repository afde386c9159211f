# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the guard does not begin with: one clear error each, before anything is touched."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from e2e.harness import Controller, wait_until
from e2e.playbooks import INSTALL, play

PLAYBOOK = [play(INSTALL)]


def test_playbook_that_does_not_exist(controller: Controller) -> None:
    controller.check_refusal(controller.maintain(["patches/none.yml"]), "patches/none.yml")


def test_second_playbook_that_does_not_exist(controller: Controller) -> None:
    patch = controller.ansible.write("one.yml", PLAYBOOK)
    controller.check_refusal(controller.maintain([patch, "acme.nowhere.none"]), "acme.nowhere.none")


def test_no_playbook(controller: Controller) -> None:
    command = ("ansible-playbook", "community.paperspace.maintenance", "-i", str(controller.simulator.inventory))
    controller.check_refusal(controller.start(*command).wait(), "maintenance_playbook")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("- hosts: all\n  tasks: [\n", "broken.yml"),
        (
            "- hosts: all\n  tasks:\n    - ansible.builtin.debug:\n      ansible.builtin.command: x\n",
            "conflicting action",
        ),
        ("- hosts: all\n  gather_fact: false\n", "gather_fact"),
        ("", "broken.yml"),
    ],
    ids=["no_yaml", "no_task", "no_play", "empty"],
)
def test_syntax_error(controller: Controller, content: str, said: str) -> None:
    broken = controller.ansible.write("broken.yml", content)
    good = controller.ansible.write("good.yml", PLAYBOOK)
    # The second of two: found before the first one runs.
    run = controller.maintain([good, broken])
    assert said in run.message
    controller.check_refusal(run, "broken.yml")


def inventory(controller: Controller, hosts: dict[str, dict[str, Any]]) -> Any:
    return controller.ansible.write("hosts.yml", {"all": {"hosts": hosts}})


def test_host_without_machine_id(controller: Controller) -> None:
    ids = controller.simulator.ids()
    hosts = inventory(controller, {"web1": {"paperspace_id": ids["web1"]}, "stray": {}, "other": {"paperspace_id": ""}})
    run = controller.maintain(PLAYBOOK, limit=None, inventory=hosts)
    controller.check_refusal(run, "stray", "other")


def test_two_hosts_with_the_same_machine_id(controller: Controller) -> None:
    ids = controller.simulator.ids()
    hosts = inventory(controller, {"web1": {"paperspace_id": ids["web1"]}, "alias": {"paperspace_id": ids["web1"]}})
    run = controller.maintain(PLAYBOOK, limit=None, inventory=hosts)
    controller.check_refusal(run, ids["web1"], "alias", "web1")


def test_machine_that_the_service_does_not_know(controller: Controller) -> None:
    ids = controller.simulator.ids()
    hosts = inventory(controller, {"web1": {"paperspace_id": ids["web1"]}, "gone": {"paperspace_id": "ps0gone"}})
    run = controller.maintain(PLAYBOOK, limit=None, inventory=hosts)
    assert "ps0gone" in run.message
    assert run.rc != 0
    assert controller.disks()["web2"] == run.fleet["web2"]


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("waves", [1, "0%"], "maintenance_waves"),
        ("waves", "some", "maintenance_waves"),
        ("max_failures", "101%", "maintenance_max_failures"),
        ("soak", -1, "soak"),
        ("rollback_scope", "everything", "maintenance_rollback_scope"),
        ("keep", -1, "keep"),
        ("run_id", "yesterday", "'yesterday' is not a run id"),
    ],
)
def test_value_that_makes_no_sense(controller: Controller, variable: str, value: Any, said: str) -> None:
    run = controller.maintain(PLAYBOOK, **{variable: value})
    controller.check_refusal(run, said)


def test_report_folder_that_cannot_be_written(controller: Controller) -> None:
    """Tests may run as root, whom no permission stops: so a file is in the way."""
    controller.ansible.write("file", "in the way")
    run = controller.maintain(PLAYBOOK, report_dir=str(controller.folder / "file/reports"))
    controller.check_refusal(run, str(controller.folder / "file"))


@pytest.mark.parametrize(
    ("option", "said"),
    [("--ask-become-pass", "become"), ("--ask-vault-pass", "vault")],
)
def test_questions_are_refused(controller: Controller, option: str, said: str) -> None:
    """ansible-playbook itself asks before any play: with nobody to answer, it gets an end of file."""
    run = controller.start(
        "sh",
        "-c",
        f"echo answer | ansible-playbook community.paperspace.maintenance {option} -i {controller.simulator.inventory}"
        f" -e maintenance_playbook={controller.ansible.write('patch.yml', PLAYBOOK)}",
    ).wait()
    assert run.rc != 0
    assert said in run.message
    assert controller.simulator.calls("POST", "PUT", "PATCH", "DELETE") == []
    assert controller.disks() == run.fleet


def test_hosts_that_are_only_in_memory(controller: Controller) -> None:
    """Hosts that a play before has made up: the child would not know them."""
    controller.ansible.write("patch.yml", PLAYBOOK)
    add = {"name": "Make one up", "ansible.builtin.add_host": {"name": "ghost", "paperspace_id": "ps0ghost"}}
    plays = [
        {"hosts": "localhost", "gather_facts": False, "tasks": [add]},
        {"ansible.builtin.import_playbook": "community.paperspace.maintenance"},
    ]
    site = controller.ansible.write("site.yml", plays)
    run = controller.start(
        "ansible-playbook", "-i", str(controller.simulator.inventory), "-e", "maintenance_playbook=patch.yml", str(site)
    ).wait()
    controller.check_refusal(run, "ghost")


@pytest.mark.parametrize("seconds", [0.1, 5], ids=["its_snapshot_is_done", "its_snapshot_is_being_made"])
def test_open_run_is_refused_with_the_command_that_resolves_it(controller: Controller, seconds: float) -> None:
    run_id = "20260131T235959Z-1a2b"
    simulator = controller.simulator
    simulator.add_fault("event", path="/snapshots", method="POST", state="done", seconds=seconds, times=1)
    body = {"machineId": simulator.ids()["web2"], "name": f"maint-{run_id}"}
    headers = {"Authorization": f"Bearer {simulator.key}"}
    requests.post(f"{simulator.api_url}/snapshots", json=body, headers=headers, timeout=30)
    simulator.clear_log()
    run = controller.maintain(PLAYBOOK)
    controller.check_refusal(run, run_id, "web2", "community.paperspace.recover")
    # The command as it stands there works.
    start = run.message.index("ansible-playbook community.paperspace.recover")
    assert f"-e recover_run_id={run_id}" in run.message[start:]
    wait_until(lambda: all(event["state"] == "done" for event in controller.simulator.events()), 30)
    controller.recover("-e", "recover_action=keep", "-e", f"recover_run_id={run_id}", "-l", "web2")
    again = controller.maintain(PLAYBOOK, limit="web2")
    assert again.rc == 0, again.output
    assert controller.snapshot_names()["web2"][-1].endswith("-ok")


def test_unknown_key(controller: Controller) -> None:
    controller.ansible.environment["PAPERSPACE_API_KEY"] = "wrong"
    run = controller.maintain(PLAYBOOK)
    controller.check_refusal(run, "API key")


def test_strategy_of_the_guarding_play(controller: Controller) -> None:
    controller.ansible.environment["ANSIBLE_STRATEGY"] = "free"
    run = controller.maintain(PLAYBOOK)
    controller.check_refusal(run, "linear")


def test_run_id_that_these_machines_have_had_already(controller: Controller) -> None:
    """Its snapshot is of another time: to go back to it would lose what was done since."""
    run_id = "20260131T235959Z-1a2b"
    first = controller.maintain(PLAYBOOK, run_id=run_id, limit="web1")
    assert first.rc == 0, first.output
    controller.simulator.clear_log()
    second = controller.maintain(PLAYBOOK, run_id=run_id, limit="web1", keep=5)
    assert second.rc != 0
    assert controller.simulator.calls("POST") == []
    assert controller.snapshot_names()["web1"] == [f"maint-{run_id}-ok"]


def test_guard_inside_of_a_guard(controller: Controller) -> None:
    """A guarded playbook that is itself the guard would wait for itself."""
    run = controller.maintain(["community.paperspace.maintenance"], limit="web1")
    assert run.rc != 0
    assert controller.disks() == run.fleet


def own_play(controller: Controller, **keywords: Any) -> Any:
    """A play of the user's own with the role in it."""
    role = {"role": "community.paperspace.maintenance", "vars": {"maintenance_playbook": "patch.yml"}, "tags": "always"}
    controller.ansible.write("patch.yml", PLAYBOOK)
    return controller.ansible.write("own.yml", [{"hosts": "web", "gather_facts": False, "roles": [role], **keywords}])


@pytest.mark.parametrize(
    ("check_mode", "options"), [(True, []), (False, ["--check"])], ids=["only_the_play", "only_the_command"]
)
def test_check_mode_of_the_guarding_play_alone(controller: Controller, check_mode: bool, options: list[str]) -> None:
    """The guarded playbook would be run for real, and nothing would guard it, or the other way round."""
    command = (
        "ansible-playbook",
        "-i",
        str(controller.simulator.inventory),
        own_play(controller, check_mode=check_mode),
    )
    controller.check_refusal(controller.start(*command, *options).wait(), "check_mode", "--check")


def test_module_for_each_host(controller: Controller) -> None:
    """Each would guard all machines, all at once."""
    controller.ansible.write("patch.yml", PLAYBOOK)
    machines = [{"host": host, "machine_id": controller.simulator.ids()[host]} for host in ("web1", "web2")]
    task = {
        "name": "Guard",
        "community.paperspace.guarded_playbook": {"playbooks": ["patch.yml"], "machines": machines},
    }
    own = controller.ansible.write("own.yml", [{"hosts": "web", "gather_facts": False, "tasks": [task]}])
    run = controller.start("ansible-playbook", "-i", str(controller.simulator.inventory), own).wait()
    controller.check_refusal(run, "run_once")
