# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Playbooks of many forms, as users write them: who is proven well, and who is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_fixtures import KEY
from e2e.harness import FAILED, INCOMPLETE, LOST, NOT_STARTED, OK, UNREACHABLE, UNTOUCHED, Controller
from e2e.playbooks import INSTALL, START, Play, Task, cut_off, fail, only, play

WEB = ("web1", "web2", "web3")


def test_plays_on_others_and_imported_playbooks(controller: Controller) -> None:
    """Groups that are empty here, hosts outside of the limit, playbooks in playbooks, roles, handlers."""
    (controller.folder / "roles/app/tasks").mkdir(parents=True)
    controller.ansible.write("roles/app/tasks/main.yml", [{**INSTALL, "notify": "Restart"}])
    controller.ansible.write("more.yml", [play(hosts="db"), play(hosts="no_such_group"), play()])
    handlers = [{"name": "Restart", "ansible.builtin.command": "true"}]
    first: Play = {**play(), "pre_tasks": [START], "roles": ["app"], "post_tasks": [START], "handlers": handlers}
    run = controller.maintain([first, {"ansible.builtin.import_playbook": "more.yml"}])
    controller.check(run, dict.fromkeys(WEB, OK))


def test_imported_playbook_is_not_reached(controller: Controller) -> None:
    controller.ansible.write("more.yml", [play()])
    plays = [play(INSTALL, fail("web2"), any_errors_fatal=True), {"ansible.builtin.import_playbook": "more.yml"}]
    controller.check(controller.maintain(plays), {"web1": INCOMPLETE, "web2": FAILED, "web3": INCOMPLETE})


def test_group_that_the_playbook_makes(controller: Controller) -> None:
    """The hosts of the second play are known only when it begins."""
    group: Task = {
        "name": "Find those that need it",
        "ansible.builtin.group_by": {"key": "{{ 'old' if inventory_hostname != 'web3' else 'new' }}"},
    }
    plays = [play(INSTALL, group), play(fail("web1"), hosts="old")]
    controller.check(controller.maintain(plays), {"web1": FAILED, "web2": OK, "web3": OK})


def test_play_whose_hosts_are_a_template_is_not_reached(controller: Controller) -> None:
    plays = [play(INSTALL, cut_off("web1"), serial=1), play(hosts="{{ somewhere | default('web2') }}")]
    run = controller.maintain(plays)
    controller.check(run, {"web1": UNREACHABLE, "web2": UNTOUCHED, "web3": UNTOUCHED})


def test_task_that_runs_once_fails_for_all(controller: Controller) -> None:
    once = {**fail(), "when": True, "run_once": True}
    controller.check(
        controller.maintain([play(INSTALL, once)]), {"web1": FAILED, "web2": INCOMPLETE, "web3": INCOMPLETE}
    )


def test_task_for_one_host_breaks_another(controller: Controller) -> None:
    """It is delegated: web1 takes web2, which is done already, from the network."""
    deploy = {**cut_off("web1"), "delegate_to": "web2"}
    deploy["ansible.builtin.shell"] = "echo down > {{ hostvars['web2'].disk }}/etc/network; sleep 9"
    plays = [play(INSTALL, hosts="web2"), play(INSTALL, deploy, hosts="web1,web3")]
    run = controller.maintain(plays)
    controller.check(run, {"web1": UNREACHABLE, "web2": UNREACHABLE, "web3": OK})


def test_host_is_changed_only_by_a_task_for_another(controller: Controller) -> None:
    """No play targets web2, and yet it is not untouched: when the run is lost, it must come back too."""
    other: Task = {
        "name": "Change the neighbour",
        "ansible.builtin.shell": "echo 2.0 > {{ hostvars['web2'].disk }}/opt/app/version",
        "delegate_to": "web2",
        "when": only("web1"),
    }
    plays = [play(INSTALL, other, fail("web1"), hosts="web1")]
    run = controller.maintain(plays, limit="web1,web2", rollback_scope="wave")
    report = run.report()
    assert [machine["outcome"] for machine in report["machines"]] == ["rolled_back", "rolled_back"]
    assert controller.disks()["web2"] == run.fleet["web2"]


@pytest.mark.parametrize("more", [{}, {"no_log": True}], ids=["plain", "no_log"])
def test_one_host_maintains_all_others_in_a_loop(controller: Controller, more: Task) -> None:
    """No task but that of web1 is for the others, and yet they are changed, and one of them is broken."""
    loop: Task = {
        "name": "Roll it out",
        "ansible.builtin.shell": "echo 2.0 > {{ hostvars[item].disk }}/opt/app/version; test {{ item }} != web2",
        "delegate_to": "{{ item }}",
        "loop": list(WEB),
        "when": only("web1"),
        **more,
    }
    plays = [play(loop, hosts="web1")]
    controller.check(controller.maintain(plays), {"web1": FAILED, "web2": FAILED, "web3": OK})


def test_delegated_to_nobody_else(controller: Controller) -> None:
    """Where the template is omitted, the task is for the machine itself."""
    maybe: Task = {
        "name": "Maybe elsewhere",
        "ansible.builtin.raw": "true",
        "delegate_to": "{{ somewhere | default(omit) }}",
    }
    loop = {**maybe, "delegate_to": "{{ item.on | default(omit) }}", "loop": [{"on": "web1"}, {}]}
    tasks = [loop, maybe, {**maybe, "when": only("web1")}, {**maybe, "run_once": True}]
    run = controller.maintain([play(INSTALL, *tasks)])
    controller.check(run, dict.fromkeys(WEB, OK))


def test_delegated_task_fails_in_secret(controller: Controller) -> None:
    other: Task = {
        "name": "Change the neighbour",
        "ansible.builtin.shell": "echo 2.0 > {{ hostvars['web2'].disk }}/opt/app/version; false",
        "delegate_to": "{{ groups['web'][1] }}",
        "no_log": True,
    }
    plays = [play(INSTALL, other, hosts="web1")]
    controller.check(controller.maintain(plays), {"web1": FAILED, "web2": FAILED, "web3": UNTOUCHED})


def test_delegated_to_localhost_it_fails_for_its_own_host_alone(controller: Controller) -> None:
    drain = {**fail("web1"), "delegate_to": "localhost", "connection": "local"}
    run = controller.maintain([play(INSTALL, drain)], waves=1, max_failures=1)
    report = controller.check(run, {"web1": FAILED, "web2": OK, "web3": OK})
    assert report["problems"] == []


def test_failure_is_not_made_well_by_clearing_errors_in_its_always(controller: Controller) -> None:
    clear: Task = {"name": "Forget it", "ansible.builtin.meta": "clear_host_errors"}
    block: Task = {"name": "Try", "block": [fail("web2")], "always": [START, clear]}
    run = controller.maintain([play(INSTALL, block)])
    report = controller.check(run, {"web1": OK, "web2": LOST, "web3": OK})
    assert [child["rc"] for child in report["children"]] == [0]


def test_include_that_failed_is_not_made_well_by_clearing_errors(controller: Controller) -> None:
    for host in ("web1", "web3"):
        controller.ansible.write(f"for_{host}.yml", [START])
    include: Task = {"name": "Go on", "ansible.builtin.include_tasks": "for_{{ inventory_hostname }}.yml"}
    clear: Task = {"name": "Forget it", "ansible.builtin.meta": "clear_host_errors"}
    run = controller.maintain([play(INSTALL, include, clear, START)])
    controller.check(run, {"web1": OK, "web2": FAILED, "web3": OK})


def test_handlers_are_forced_after_a_failure(controller: Controller) -> None:
    handlers = [{"name": "Restart", "ansible.builtin.command": "true"}]
    plays = [play({**INSTALL, "notify": "Restart"}, fail("web2"), handlers=handlers, force_handlers=True)]
    controller.check(controller.maintain(plays), {"web1": OK, "web2": FAILED, "web3": OK})


def test_rescue_ends_the_host(controller: Controller) -> None:
    block: Task = {
        "name": "Try",
        "block": [INSTALL, fail("web2")],
        "rescue": [{"name": "Leave it so", "ansible.builtin.meta": "end_host"}],
    }
    run = controller.maintain([play(block)])
    # ansible-core 2.16 counts such a host as failed in its exit code, if not in its recap.
    rescued = OK if run.report()["children"][0]["rc"] == 0 else LOST
    controller.check(run, {"web1": OK, "web2": rescued, "web3": OK})


def test_failure_before_the_end_of_a_play_on_purpose(controller: Controller) -> None:
    end: Task = {"name": "That is all", "ansible.builtin.meta": "end_play"}
    plays = [play(INSTALL, fail("web2"), end)]
    controller.check(controller.maintain(plays), {"web1": OK, "web2": FAILED, "web3": OK})


def test_always_fails_after_a_rescue(controller: Controller) -> None:
    block: Task = {"name": "Try", "block": [INSTALL, fail("web2")], "rescue": [START], "always": [fail("web3")]}
    controller.check(controller.maintain([play(block)]), {"web1": OK, "web2": OK, "web3": FAILED})


@pytest.mark.parametrize("kind", ["loop", "async"])
def test_tasks_with_several_results(controller: Controller, kind: str) -> None:
    task = fail("web2")
    if kind == "loop":
        task = {**task, "ansible.builtin.shell": "test {{ item }} != b", "loop": ["a", "b", "c"]}
    else:
        task = {**task, "async": 30, "poll": 1}
    run = controller.maintain([play(INSTALL, task)], limit="web1,web2")
    controller.check(run, {"web1": OK, "web2": FAILED})


def test_secrets_of_the_playbook_stay_out_of_the_report(controller: Controller) -> None:
    secret = "pass" + "phrase-0815"
    task: Task = {
        "name": "Set the passphrase",
        "ansible.builtin.shell": f"echo {secret} >&2; exit 1",
        "no_log": True,
        "when": only("web2"),
    }
    run = controller.maintain([play(INSTALL, task)])
    controller.check(run, {"web1": OK, "web2": FAILED, "web3": OK})
    assert secret not in run.output
    for file in controller.reports.iterdir():
        assert secret not in file.read_text("utf-8")


def test_key_in_an_error_stays_out_of_report_and_output(controller: Controller) -> None:
    leak: Task = {"name": "Tell", "ansible.builtin.fail": {"msg": f"with {KEY} in it"}, "when": only("web2")}
    run = controller.maintain([play(INSTALL, leak)])
    # The playbook itself is on the controller's disk.
    (controller.folder / "patch.yml").unlink()
    controller.check(run, {"web1": OK, "web2": FAILED, "web3": OK})
    assert KEY not in run.output


def forget(controller: Controller, *hosts: str) -> tuple[Path, Task]:
    """An inventory, and a task that takes hosts out of it, as a cloud that is away for a moment may do."""
    listed = yaml.safe_load(controller.simulator.inventory.read_text("utf-8"))
    inventory = controller.ansible.write("hosts.yml", listed)
    gone = controller.ansible.write("fewer.yml", without(listed, hosts))
    task = {"name": "Forget", "ansible.builtin.command": f"cp {gone} {inventory}", "delegate_to": "localhost"}
    return inventory, {**task, "connection": "local", "run_once": True}


def without(listed: Any, hosts: tuple[str, ...]) -> Any:
    if not isinstance(listed, dict):
        return listed
    return {key: without(value, hosts) for key, value in listed.items() if key not in hosts}


def test_hosts_that_the_inventory_has_lost_are_not_taken_for_maintained(controller: Controller) -> None:
    inventory, task = forget(controller, "web2")
    run = controller.maintain([play(INSTALL, task)], inventory=inventory, waves=[1, 2])
    report = run.report()
    assert [machine["outcome"] for machine in report["machines"]] == ["ok", "untouched", "ok"]
    assert "web2" in report["problems"][0]
    assert "inventory does not have this machine" in report["problems"][0]
    assert run.rc != 0


def test_host_that_has_become_another_machine_is_not_maintained(controller: Controller) -> None:
    """Its snapshot is that of the machine that it was when the run began."""
    listed = yaml.safe_load(controller.simulator.inventory.read_text("utf-8"))
    inventory = controller.ansible.write("hosts.yml", listed)
    text = inventory.read_text("utf-8")
    ids = controller.simulator.ids()
    other = controller.ansible.write("swapped.yml", text.replace(ids["web2"], "ps0other"))
    swap = {"name": "Swap", "ansible.builtin.command": f"cp {other} {inventory}", "delegate_to": "localhost"}
    plays = [play(INSTALL, {**swap, "connection": "local", "run_once": True})]
    run = controller.maintain(plays, inventory=inventory, waves=1)
    report = run.report()
    assert [machine["outcome"] for machine in report["machines"]] == ["ok", "untouched", "not_started"]
    assert "does not have this machine any more" in report["problems"][0]
    assert "other machines now for web2" in run.message
    assert controller.disks()["web2"] == run.fleet["web2"]
    assert controller.restored() == []
    assert run.rc != 0


def test_playbook_that_breaks_between_waves_touches_nothing(controller: Controller) -> None:
    patch = controller.folder / "patch.yml"
    spoil = {"name": "Spoil", "ansible.builtin.shell": f"echo '- [' > {patch}", "delegate_to": "localhost"}
    run = controller.maintain([play(INSTALL, {**spoil, "connection": "local"})], waves=1)
    report = controller.check(run, {"web1": OK, "web2": NOT_STARTED, "web3": NOT_STARTED})
    assert "Wave 2 was not begun" in report["problems"][0]
    assert controller.simulator.done_counts()["creates"] == 1


def test_key_is_not_told_when_its_file_breaks_between_waves(controller: Controller) -> None:
    """Ansible shows the lines around a mistake."""
    variables = f"paperspace_connection:\n  api_key: {controller.simulator.key}\n"
    secret = controller.ansible.write("secret.yml", variables)
    spoil = {"name": "Spoil", "ansible.builtin.shell": f"echo \"  retries: 'a' b\" >> {secret}", "connection": "local"}
    plays = [play(INSTALL, {**spoil, "delegate_to": "localhost"})]
    run = controller.maintain(plays, "-e", f"@{secret}", waves=1)
    secret.unlink()
    report = controller.check(run, {"web1": OK, "web2": NOT_STARTED, "web3": NOT_STARTED})
    assert "api_key: ********" in report["problems"][0]


def test_hosts_that_the_inventory_has_lost_are_not_taken_for_verified(controller: Controller) -> None:
    inventory, task = forget(controller, *WEB)
    playbooks = [
        controller.ansible.write("maintenance.yml", [play(INSTALL, task)]),
        controller.ansible.write("verify.yml", [play(fail(*WEB))]),
    ]
    run = controller.maintain(playbooks, inventory=inventory, reconnect=False)
    assert [machine["verdict"] for machine in run.report()["machines"]] == ["incomplete"] * 3
    assert sorted(controller.restored()) == list(WEB)
    assert run.rc != 0


def test_verification_of_which_no_task_is_run_verifies_nothing(controller: Controller) -> None:
    playbooks = [
        controller.ansible.write("maintenance.yml", [play(INSTALL, tags="patch")]),
        controller.ansible.write("verify.yml", [play(fail(*WEB))]),
    ]
    run = controller.maintain(playbooks, "--tags", "patch", limit="web1")
    assert run.rc != 0
    assert [machine["outcome"] for machine in run.report()["machines"]] == ["ok"]
    assert "verify.yml" in run.report()["problems"][0]
    assert "nothing is verified" in run.message


def test_questions_of_the_playbook_get_no_answer(controller: Controller) -> None:
    """There is nobody to ask: Ansible goes on without, as it does whenever its input is no terminal."""
    prompt = [{"name": "certain", "prompt": "Are you sure?", "default": "no"}]
    pause: Task = {"name": "Ask again", "ansible.builtin.pause": {"prompt": "Really?"}}
    run = controller.maintain([play(INSTALL, pause, vars_prompt=prompt)], limit="web1")
    assert run.report()["machines"][0]["outcome"] in ("ok", "untouched", "rolled_back")


def test_tags_that_no_task_has_leave_all_untouched(controller: Controller) -> None:
    run = controller.maintain([play(INSTALL)], "--tags", "nothing")
    controller.check(run, dict.fromkeys(WEB, UNTOUCHED))


def with_localhost(controller: Controller, listed: str = "localhost ansible_connection=local") -> Any:
    """An inventory of the machines in which localhost is listed too."""
    folder = controller.folder / "inventory"
    folder.mkdir()
    (folder / "machines.yml").symlink_to(controller.simulator.inventory)
    (folder / "here").write_text(f"{listed}\n")
    return folder


def test_localhost_in_the_inventory(controller: Controller) -> None:
    count = {"name": "Drain", "ansible.builtin.shell": "echo drained >> {{ playbook_dir }}/drained"}
    local: Play = {"hosts": "localhost", "gather_facts": False, "tasks": [count]}
    run = controller.maintain([play(INSTALL), local, play(START)], inventory=with_localhost(controller))
    controller.check(run, dict.fromkeys(WEB, OK))
    assert (controller.folder / "drained").read_text() == "drained\n"


@pytest.mark.parametrize(
    "listed",
    ["localhost ansible_connection=local", "127.0.0.1 ansible_connection=local", "[localhost]\ndb1"],
    ids=["localhost", "address", "group"],
)
def test_localhost_in_the_inventory_and_a_play_on_all(controller: Controller, listed: str) -> None:
    """Without a play that needs it, localhost stays out of the plays on all hosts, as the limit says."""
    run = controller.maintain([play(INSTALL, hosts="all")], inventory=with_localhost(controller, listed))
    controller.check(run, dict.fromkeys(WEB, OK))


def test_localhost_in_the_inventory_is_only_for_the_playbook_that_needs_it(controller: Controller) -> None:
    tell: Task = {"name": "Tell", "ansible.builtin.debug": {"msg": "It begins."}}
    playbooks = [
        controller.ansible.write("maintenance.yml", [play(INSTALL, hosts="all")]),
        controller.ansible.write(
            "verify.yml", [{"hosts": "localhost", "gather_facts": False, "tasks": [tell]}, play(START)]
        ),
    ]
    run = controller.maintain(playbooks, inventory=with_localhost(controller))
    controller.check(run, dict.fromkeys(WEB, OK))
    assert "It begins." in run.output


def test_first_play_on_localhost_fails(controller: Controller) -> None:
    """Nothing has begun on the machines: nothing is rolled back, and yet it is no success."""
    local: Play = {
        "hosts": "localhost",
        "gather_facts": False,
        "connection": "local",
        "tasks": [{**fail(), "when": True}],
    }
    run = controller.maintain([local, play(INSTALL)])
    assert run.rc != 0
    report = run.report()
    assert report["status"] == "failed"
    assert {machine["verdict"] for machine in report["machines"]} == {"untouched"}
    assert controller.disks() == run.fleet
    assert controller.restored() == []
    assert all(controller.snapshot_names()[host] == [f"maint-{report['run_id']}-ok"] for host in WEB)


def test_no_host_of_the_first_play_is_left_for_the_second(controller: Controller) -> None:
    plays = [play(INSTALL, fail(*WEB)), play(INSTALL, hosts="paperspace")]
    run = controller.maintain(plays, limit="web,db1")
    controller.check(run, {**dict.fromkeys(WEB, FAILED), "db1": UNTOUCHED})
