# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ways in which a maintenance ends on its machines, and what becomes of each machine then."""

from __future__ import annotations

import json
from typing import Any

import pytest

from e2e.harness import (
    FAILED,
    INCOMPLETE,
    LOST,
    NO_SNAPSHOT,
    OK,
    UNREACHABLE,
    UNTOUCHED,
    Controller,
    Fate,
    command_line,
    marked,
)
from e2e.playbooks import INSTALL, REACH, START, blip, cut_off, fail, only, play

GATHER = {"name": "Look at the machine", "ansible.builtin.command": "true", "changed_when": False}
BREAK = {
    "name": "Break what is there",
    "ansible.builtin.shell": "echo broken > {{ disk }}/opt/app/version",
}


def reboot(command: str, timeout: int, **keywords: Any) -> dict[str, Any]:
    """A reboot as Ansible's own module does it, with the commands of these machines."""
    options = {
        "reboot_command": command,
        "boot_time_command": "cat {{ disk }}/run/boot_id",
        "reboot_timeout": timeout,
        "connect_timeout": 2,
    }
    return {"name": "Reboot", "ansible.builtin.reboot": options, **keywords}


def fates(web1: Fate, web2: Fate, web3: Fate) -> dict[str, Fate]:
    return {"web1": web1, "web2": web2, "web3": web3}


def test_all_is_well(controller: Controller) -> None:
    run = controller.maintain([play(INSTALL)])
    report = controller.check(run, fates(OK, OK, OK))
    [child] = report["children"]
    assert (child["rc"], child["wave"]) == (0, 1)
    # The child's output was live, and is whole.
    assert "TASK [Install the new version]" in run.output
    assert "PLAY RECAP" in run.output
    assert controller.simulator.done_counts()["creates"] == 3


def test_01_one_task_fails(controller: Controller) -> None:
    run = controller.maintain([play(INSTALL, fail("web2"))])
    reason = ("Migrate the database", "non-zero return code")
    controller.check(run, fates(OK, FAILED, OK), reasons={"web2": reason})
    [error] = run.errors()
    assert error.startswith("[web2]")
    assert all(text in error for text in (*reason, "rolled back"))


def test_02_one_host_becomes_unreachable(controller: Controller) -> None:
    run = controller.maintain([play(INSTALL, cut_off("web2"))])
    controller.check(run, fates(OK, UNREACHABLE, OK), reasons={"web2": ("Configure the network", "127.64.0.2")})


def test_02_one_host_becomes_unreachable_between_tasks(controller: Controller) -> None:
    """As after a maintenance that cuts a machine off only a moment after its task has ended."""
    down = "setsid sh -c 'sleep 1; echo down > {{ disk }}/etc/network' </dev/null >/dev/null 2>&1 &"
    later: dict[str, Any] = {
        "name": "Restart the network",
        "ansible.builtin.shell": down,
        "when": only("web2"),
    }
    wait: dict[str, Any] = {
        "name": "Give the network a moment to apply",
        "ansible.builtin.wait_for": {"timeout": 2},
        "delegate_to": "localhost",
        "run_once": True,
    }
    run = controller.maintain([play(INSTALL, later, wait)])
    controller.check(run, fates(OK, UNREACHABLE, OK), reasons={"web2": ("Start the new version", "127.64.0.2")})


@pytest.mark.smoke
def test_03_all_hosts_become_unreachable_at_once(controller: Controller) -> None:
    hosts = ("web1", "web2", "web3", "db1", "db2")
    run = controller.maintain([play(INSTALL, cut_off(*hosts), hosts="paperspace")], limit=None)
    controller.check(run, dict.fromkeys(hosts, UNREACHABLE))


def test_04_first_batch_is_lost_wholly(controller: Controller) -> None:
    plays = [play(INSTALL, cut_off("web1", "web2"), serial=2), play(BREAK)]
    run = controller.maintain(plays)
    controller.check(run, fates(UNREACHABLE, UNREACHABLE, UNTOUCHED))


def test_05_later_batch_is_lost_wholly(controller: Controller) -> None:
    run = controller.maintain([play(INSTALL, cut_off("web2"), serial=1)])
    controller.check(run, fates(OK, UNREACHABLE, UNTOUCHED))


def test_05_play_after_the_lost_batch_is_missed_by_the_earlier_ones(controller: Controller) -> None:
    """The first batch did all of the first play, but the second play never began."""
    run = controller.maintain([play(INSTALL, cut_off("web2"), serial=1), play(INSTALL)])
    controller.check(run, fates(INCOMPLETE, UNREACHABLE, UNTOUCHED))


@pytest.mark.parametrize("hosts", ["web:canary", "web[0:2]"], ids=["unknown_group", "slice"])
def test_05_batches_that_never_come_miss_their_play(controller: Controller, hosts: str) -> None:
    run = controller.maintain([play(INSTALL), play(fail("web1"), hosts=hosts, serial=1)])
    controller.check(run, fates(FAILED, INCOMPLETE, INCOMPLETE))


def test_06_one_of_a_batch_fails_and_the_other_is_unreachable(controller: Controller) -> None:
    run = controller.maintain([play(INSTALL, fail("web1"), cut_off("web2"), serial=2)])
    controller.check(run, fates(FAILED, UNREACHABLE, UNTOUCHED))


@pytest.mark.smoke
def test_07_blip(controller: Controller) -> None:
    """One task was skipped, the machine is back, the playbook ends well, and so would ansible-playbook."""
    run = controller.maintain([play(INSTALL, blip("web2", ignore_unreachable=True), REACH)])
    report = controller.check(run, fates(OK, UNREACHABLE, OK), reasons={"web2": ("Restart the network", "127.64.0.2")})
    assert [child["rc"] for child in report["children"]] == [0]


def test_08_blip_in_a_play_that_ignores_unreachable_hosts(controller: Controller) -> None:
    run = controller.maintain([play(INSTALL, blip("web2"), REACH, ignore_unreachable=True)])
    report = controller.check(run, fates(OK, UNREACHABLE, OK))
    assert [child["rc"] for child in report["children"]] == [0]


def test_09_any_errors_fatal(controller: Controller) -> None:
    run = controller.maintain([play(INSTALL, fail("web2"), any_errors_fatal=True)])
    controller.check(run, fates(INCOMPLETE, FAILED, INCOMPLETE))


def test_09_any_errors_fatal_with_an_unreachable_host(controller: Controller) -> None:
    run = controller.maintain([play(INSTALL, cut_off("web2"), any_errors_fatal=True)])
    controller.check(run, fates(INCOMPLETE, UNREACHABLE, INCOMPLETE))


def test_10_max_fail_percentage(controller: Controller) -> None:
    run = controller.maintain([play(INSTALL, fail("web2"), max_fail_percentage=0)])
    controller.check(run, fates(INCOMPLETE, FAILED, INCOMPLETE))


@pytest.mark.parametrize(
    "content",
    [
        "- name: Nobody knows this\n  community.nowhere.nothing: {}\n",
        "- name: This has no end\n  ansible.builtin.debug: {msg: [\n",
        "- this is no task\n",
    ],
    ids=["11_unknown_module", "12_broken_yaml", "12_no_task"],
)
def test_included_file_is_broken(controller: Controller, content: str) -> None:
    controller.ansible.write("more.yml", content)
    run = controller.maintain([play(INSTALL, {"name": "Do more", "ansible.builtin.include_tasks": "more.yml"})])
    controller.check(run, fates(LOST, LOST, LOST))


@pytest.mark.smoke
def test_12_included_file_is_missing_for_one_host(controller: Controller) -> None:
    controller.ansible.write("web1.yml", [START])
    controller.ansible.write("web3.yml", [START])
    include = {"name": "Do more", "ansible.builtin.include_tasks": "{{ inventory_hostname }}.yml"}
    run = controller.maintain([play(INSTALL, include)])
    controller.check(run, fates(OK, LOST, OK))
    assert "web2.yml" in run.machine("web2")["reason"]["error"]


def test_13_handler_is_missing(controller: Controller) -> None:
    run = controller.maintain([play({**INSTALL, "notify": "Restart everything"})])
    controller.check(run, fates(LOST, LOST, LOST))


def test_13_handler_fails(controller: Controller) -> None:
    handlers = [{**fail("web2"), "name": "Restart"}]
    run = controller.maintain([play({**INSTALL, "notify": "Restart"}, handlers=handlers)])
    controller.check(run, fates(OK, FAILED, OK), reasons={"web2": ("Restart", "non-zero return code")})


def test_14_worker_is_killed(controller: Controller) -> None:
    """The lookup runs in the worker of web2."""
    die: dict[str, Any] = {
        "name": "Read a secret",
        "ansible.builtin.command": "echo {{ lookup('ansible.builtin.pipe', 'kill -9 $PPID') }}",
        "when": only("web2"),
    }
    run = controller.maintain([play(INSTALL, die)])
    controller.check(run, fates(INCOMPLETE, INCOMPLETE, INCOMPLETE))


def test_14_ansible_playbook_itself_is_killed(controller: Controller) -> None:
    """The worker's parent: what the kernel does when memory runs out."""
    die: dict[str, Any] = {
        "name": "Read a secret",
        "ansible.builtin.command": "echo {{ lookup('ansible.builtin.pipe', \"kill -9 $(ps -o ppid= -p $PPID)\") }}",
        "when": only("web2"),
    }
    run = controller.maintain([play(INSTALL, die)])
    report = controller.check(run, fates(INCOMPLETE, INCOMPLETE, INCOMPLETE))
    assert [child["rc"] for child in report["children"]] == [-9]


@pytest.mark.parametrize("kind", ["end_host", "end_play", "end_batch", "end_role"])
def test_15_ended_early_on_purpose(controller: Controller, kind: str) -> None:
    end: dict[str, Any] = {"name": "That is all", "ansible.builtin.meta": kind}
    plays: list[dict[str, Any]] = [play(INSTALL, {**end, "when": only("web2")}, hosts="web")]
    if kind == "end_play":
        plays = [play(INSTALL, end, BREAK), play(START)]
    elif kind == "end_batch":
        plays = [play(INSTALL, end, BREAK, serial=2), play(START)]
    elif kind == "end_role":
        tasks = controller.folder / "roles/app/tasks"
        tasks.mkdir(parents=True)
        controller.ansible.write("roles/app/tasks/main.yml", [INSTALL, end, BREAK])
        plays = [{**play(), "roles": ["app"]}]
    run = controller.maintain(plays)
    if kind == "end_role" and "invalid meta action" in run.message:
        pytest.skip("this release of ansible-core does not have it")
    controller.check(run, fates(OK, OK, OK))


@pytest.mark.smoke
def test_16_errors_are_cleared(controller: Controller) -> None:
    """The hosts take part again and come to the end of the playbook; their failures stand all the same."""
    clear: dict[str, Any] = {"name": "Forgive", "ansible.builtin.meta": "clear_host_errors"}
    plays = [play(INSTALL, fail("web1"), blip("web2"), {**GATHER, "delegate_to": "localhost"}), play(clear, REACH)]
    run = controller.maintain(plays)
    controller.check(run, fates(FAILED, UNREACHABLE, OK))
    assert run.output.count("changed: [web2]") == 2


def test_17_failure_is_rescued(controller: Controller) -> None:
    block: dict[str, Any] = {
        "name": "Try",
        "block": [INSTALL, fail("web2")],
        "rescue": [{"name": "Mend", "ansible.builtin.command": "true"}],
    }
    controller.check(controller.maintain([play(block)]), fates(OK, OK, OK))


def test_17_failure_is_ignored(controller: Controller) -> None:
    tasks = (INSTALL, fail("web1", ignore_errors=True), fail("web2", failed_when=False))
    controller.check(controller.maintain([play(*tasks)]), fates(OK, OK, OK))


def test_17_rescue_fails(controller: Controller) -> None:
    block: dict[str, Any] = {"name": "Try", "block": [INSTALL, fail("web1", "web2")], "rescue": [fail("web2")]}
    controller.check(controller.maintain([play(block)]), fates(OK, FAILED, OK))


def test_17_unreachable_host_is_not_rescued(controller: Controller) -> None:
    block: dict[str, Any] = {
        "name": "Try",
        "block": [INSTALL, cut_off("web2")],
        "rescue": [BREAK],
        "always": [GATHER],
    }
    controller.check(controller.maintain([play(block)]), fates(OK, UNREACHABLE, OK))


@pytest.mark.parametrize("is_rescued", [False, True], ids=["ignored", "rescued"])
def test_17_item_is_unreachable_and_another_fails(controller: Controller, is_rescued: bool) -> None:
    """Ansible takes such a task for one that has failed, which may be ignored or rescued."""
    loop: dict[str, Any] = {
        "name": "Ask each way",
        "ansible.builtin.command": "false",
        "vars": {"ansible_connection": "{{ item }}", "ansible_port": 1},
        "loop": ["local", "ansible.builtin.ssh"],
        "when": only("web2"),
    }
    block: dict[str, Any] = {"name": "Try", "block": [loop], "rescue": [GATHER]}
    run = controller.maintain([play(INSTALL, block if is_rescued else {**loop, "ignore_errors": True})])
    report = controller.check(run, fates(OK, UNREACHABLE, OK), reasons={"web2": ("Ask each way", "127.64.0.2")})
    assert report["children"][0]["rc"] == 0 or is_rescued


def test_18_first_of_two_plays_breaks_some_hosts(controller: Controller) -> None:
    run = controller.maintain([play(INSTALL, fail("web1"), cut_off("web2")), play(INSTALL)])
    controller.check(run, fates(FAILED, UNREACHABLE, OK))


@pytest.mark.parametrize("strategy", ["free", "host_pinned"])
def test_19_other_strategies(controller: Controller, strategy: str) -> None:
    hosts = ("web1", "web2", "web3", "db1")
    plays = [play(INSTALL, fail("web1"), cut_off("web2"), hosts=",".join(hosts), strategy=strategy), play(START)]
    run = controller.maintain(plays, limit=",".join(hosts))
    controller.check(run, {**fates(FAILED, UNREACHABLE, OK), "db1": OK})


def test_20_reboot_that_comes_back(controller: Controller) -> None:
    controller.simulator.settings(reboot_seconds=1)
    boots = {host: (controller.disk(host) / "run/boot_id").read_text() for host in ("web1", "web2")}
    run = controller.maintain([play(INSTALL, reboot("touch {{ disk }}/run/reboot", timeout=20))], limit="web1,web2")
    controller.check(run, {"web1": OK, "web2": OK})
    for host, boot in boots.items():
        assert (controller.disk(host) / "run/boot_id").read_text() != boot


def test_21_reboot_that_never_comes_back(controller: Controller) -> None:
    command = "echo down > {{ disk }}/etc/network; touch {{ disk }}/run/reboot"
    broken = reboot(command, timeout=2, when=only("web2"))
    run = controller.maintain([play(INSTALL, broken)])
    controller.check(run, fates(OK, FAILED, OK), reasons={"web2": ("Reboot", "Timed out")})


@pytest.mark.parametrize("is_left", [False, True], ids=["without_a_trace", "record_is_left"])
def test_22_snapshot_of_one_machine_fails(controller: Controller, is_left: bool) -> None:
    controller.simulator.settings(failed_create_leaves_record=is_left)
    fault = {"path": "/snapshots", "method": "POST", "machine_id": controller.simulator.ids()["web2"]}
    controller.simulator.add_fault("event", state="error", error="disk is full", **fault)
    run = controller.maintain([play(INSTALL)])
    controller.check(run, fates(OK, NO_SNAPSHOT, OK), reasons={"web2": (None, "disk is full")})
    assert controller.simulator.done_counts()["creates"] == 2


def test_22_no_machine_gets_a_snapshot(controller: Controller) -> None:
    controller.simulator.add_fault("status", path="/snapshots", method="POST", status=403)
    run = controller.maintain([play(INSTALL)])
    report = controller.check(run, fates(NO_SNAPSHOT, NO_SNAPSHOT, NO_SNAPSHOT))
    assert report["children"] == []


def test_23_restore_of_one_machine_fails(controller: Controller) -> None:
    fault = {"path": ".*/restore", "method": "POST", "machine_id": controller.simulator.ids()["web2"]}
    controller.simulator.add_fault("event", state="error", **fault)
    run = controller.maintain([play(INSTALL, fail("web2", "web3"))])
    report = run.report()
    [web1, web2, web3] = report["machines"]
    assert [machine["outcome"] for machine in (web1, web2, web3)] == ["ok", "rollback_failed", "rolled_back"]
    assert web2["rollback"]["error"]
    assert web2["closed"] is None
    assert run.rc != 0
    assert controller.restored() == ["web3"]
    assert (controller.disk("web2") / "opt/app/version").read_text() == "2.0\n"
    assert controller.disks()["web3"] == run.fleet["web3"]
    # The run stays open for this machine alone, and the message says how to go on.
    run_id = report["run_id"]
    assert controller.snapshot_names()["web2"] == [f"maint-{run_id}"]
    assert controller.snapshot_names()["web3"] == [f"maint-{run_id}-restored"]
    assert "NOT proven to be rolled back" in run.message
    [error] = [error for error in run.errors() if error.startswith("[web2]")]
    command = json.loads(error.partition(" => ")[2])["msg"].partition("on its disk since: ")[2]
    controller.check_secrecy(run)

    controller.simulator.clear_faults()
    assert controller.start("sh", "-c", command).wait().rc == 0
    assert controller.snapshot_names()["web2"] == [f"maint-{run_id}-restored"]
    assert controller.disks()["web2"] == run.fleet["web2"]
    assert controller.restored() == ["web3", "web2"]


def test_23_snapshot_of_a_machine_that_came_through_cannot_be_closed(controller: Controller) -> None:
    """What is told to be done about it loses nothing of the maintenance."""
    machine_id = controller.simulator.ids()["web1"]
    controller.simulator.add_fault("status", method="PUT", machine_id=machine_id, status=403)
    fault = {"path": ".*/restore", "method": "POST", "machine_id": controller.simulator.ids()["web2"]}
    controller.simulator.add_fault("event", state="error", **fault)
    run = controller.maintain([play(INSTALL, fail("web2"))])
    report = run.report()
    assert [each["outcome"] for each in report["machines"]] == ["ok", "rollback_failed", "ok"]
    assert report["machines"][0]["close_error"]
    assert run.rc != 0
    [error] = [error for error in run.errors() if error.startswith("[web1]")]
    message = json.loads(error.partition(" => ")[2])["msg"]
    assert "recover_action=rollback" not in message
    command = message.partition("To close its run and leave it as it is: ")[2]

    controller.simulator.clear_faults()
    assert controller.start("sh", "-c", command).wait().rc == 0
    name = f"maint-{report['run_id']}"
    found = controller.snapshot_names()
    assert [found[host] for host in ("web1", "web2", "web3")] == [[f"{name}-ok"], [name], [f"{name}-ok"]]
    assert controller.restored() == []
    assert (controller.disk("web1") / "opt/app/version").read_text() == "2.0\n"


def test_23_answer_to_a_restore_is_lost(controller: Controller) -> None:
    """It is found out that the restore was taken up, and each machine is put back once."""
    controller.simulator.add_fault("lost", path=".*/restore", method="POST", when="after", nth=1)
    run = controller.maintain([play(INSTALL, fail("web2", "web3"))])
    controller.check(run, fates(OK, FAILED, FAILED))


def test_23_service_is_away_when_it_is_needed(controller: Controller) -> None:
    """It goes as the maintenance fails, and comes back after the first tries."""
    controller.simulator.add_fault("busy", path=".*/restore", method="POST", nth=1)
    controller.simulator.add_fault("status", status=429, retry_after=1, path=".*/restore", method="POST", nth=1)
    controller.simulator.add_fault("status", status=503, path="/machines.*", method="GET", nth=[3, 4, 5])
    run = controller.maintain([play(INSTALL, fail("web2"))])
    controller.check(run, fates(OK, FAILED, OK))


def test_rolled_back_machine_that_stays_off_is_started(controller: Controller) -> None:
    controller.simulator.settings(restore_ends="off")
    run = controller.maintain([play(INSTALL, fail("web2"))])
    controller.check(run, fates(OK, FAILED, OK))


def test_rolled_back_machine_that_does_not_answer_is_reported(controller: Controller) -> None:
    """It was away before the maintenance: its snapshot has no network either."""
    (controller.disk("web2") / "etc/network").write_text("down\n")
    run = controller.maintain([play(INSTALL)], reconnect_timeout=2)
    machine = run.machine("web2")
    assert (machine["outcome"], machine["verdict"]) == ("rolled_back", "unreachable")
    assert machine["reconnect"]["status"] == "silent"
    assert machine["reconnect"]["error"]
    assert controller.disks()["web2"] == run.fleet["web2"]
    assert controller.restored() == ["web2"]
    assert run.rc != 0
    assert any("web2" in error and "answer" in error for error in run.errors())
    assert "rolled back, does not answer" in run.output


def test_30_verification_fails_after_a_good_maintenance(controller: Controller) -> None:
    patch = controller.ansible.write("maintenance.yml", [play(INSTALL)])
    verify = controller.ansible.write("verify.yml", [play(fail("web2"))])
    run = controller.maintain([patch, verify])
    report = controller.check(run, fates(OK, FAILED, OK), reasons={"web2": ("Migrate the database", "non-zero")})
    assert [child["rc"] for child in report["children"]] == [0, 2]


def test_30_verification_does_not_reach_all(controller: Controller) -> None:
    """Who was to be verified and was not is not proven well, though its maintenance was."""
    patch = controller.ansible.write("maintenance.yml", [play(INSTALL, hosts="paperspace")])
    verify = controller.ansible.write("verify.yml", [play(fail("web1"), serial=1)])
    run = controller.maintain([patch, verify], limit="web,db1")
    controller.check(run, {**fates(FAILED, INCOMPLETE, INCOMPLETE), "db1": OK})


def test_30_no_verification_after_a_lost_host(controller: Controller) -> None:
    """Hosts that are lost are not verified; the others are."""
    patch = controller.ansible.write("maintenance.yml", [play(INSTALL, cut_off("web1"))])
    verify = controller.ansible.write("verify.yml", [play(fail("web2"))])
    run = controller.maintain([patch, verify])
    controller.check(run, fates(UNREACHABLE, FAILED, OK))


def drain(*tasks: dict[str, Any]) -> dict[str, Any]:
    """A play on the controller that counts how often it runs."""
    count: dict[str, Any] = {"name": "Drain", "ansible.builtin.shell": "echo drained >> {{ playbook_dir }}/drained"}
    return {"hosts": "localhost", "gather_facts": False, "connection": "local", "tasks": [count, *tasks]}


def test_31_play_on_localhost_runs_once_in_each_wave(controller: Controller) -> None:
    run = controller.maintain([play(INSTALL), drain(), play(START)], waves=[1, 2])
    controller.check(run, fates(OK, OK, OK))
    assert (controller.folder / "drained").read_text() == "drained\n" * 2


def test_31_play_on_localhost_fails(controller: Controller) -> None:
    broken = {**fail(), "when": True}
    run = controller.maintain([play(INSTALL), drain(broken), play(START)])
    report = controller.check(run, fates(INCOMPLETE, INCOMPLETE, INCOMPLETE))
    assert {machine["reason"]["host"] for machine in report["machines"]} == {"localhost"}
    assert {machine["reason"]["task"] for machine in report["machines"]} == {"Migrate the database"}


def test_31_play_on_localhost_fails_when_all_is_done(controller: Controller) -> None:
    """No host had work left, so the machines are well; that the playbook failed is a problem of the run."""
    broken = {**fail(), "when": True}
    run = controller.maintain([play(INSTALL), drain(broken)])
    assert run.rc != 0
    assert run.report()["status"] == "failed"


def test_hosts_that_no_play_targets_are_untouched(controller: Controller) -> None:
    run = controller.maintain([play(INSTALL, fail("web2"))], limit="web,db1")
    controller.check(run, {**fates(OK, FAILED, OK), "db1": UNTOUCHED})


def test_connections_that_stay_open_hinder_nothing(controller: Controller) -> None:
    """By default, Ansible leaves an ssh process for each host running, for the next tasks."""
    del controller.ansible.environment["ANSIBLE_SSH_ARGS"]
    run = controller.start_maintenance([play(INSTALL, cut_off("web2"))]).wait()
    left = [command_line(process) for process in marked(controller.mark)]
    controller.clean_up()
    assert all(line.startswith("ssh: ") for line in left), left
    controller.check(run, fates(OK, UNREACHABLE, OK))
