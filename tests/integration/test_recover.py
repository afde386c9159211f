# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook recover from the command line: open runs that some other controller left behind."""

from __future__ import annotations

import re
import shlex
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

RUN, NEWER = "20260131T235959Z-1a2b", "20260201T000000Z-3c4d"
OPEN, OK, RESTORED = f"maint-{RUN}", f"maint-{RUN}-ok", f"maint-{RUN}-restored"
NO_WAIT = ("-e", "recover_reconnect=false")
# Also how long an event that is not seen is waited for, before a snapshot counts as not proven.
PROMPT = ("-e", '{"paperspace_connection": {"request_timeout": 5}}')
WRITES = ("POST", "PUT", "PATCH", "DELETE")


def recover(ansible: Any, simulator: Any, *arguments: str, rc: int | None = 0) -> Any:
    command = ("ansible-playbook", "community.paperspace.recover", "-i", simulator.inventory)
    return ansible.run(*command, *NO_WAIT, *PROMPT, *arguments, rc=rc)


def act(ansible: Any, simulator: Any, action: str, *arguments: str, rc: int | None = 0) -> Any:
    return recover(ansible, simulator, "-e", f"recover_action={action}", *arguments, rc=rc)


def begin(simulator: Any, *machines: str, run_id: str = RUN) -> None:
    """A controller takes the snapshots of a run, changes every machine, and dies."""
    for name in machines:
        begin_create(simulator, name, run_id)
    while any(event["state"] in ("new", "in progress") for event in simulator.events()):
        time.sleep(0.02)
    for name in simulator.ids():
        (disk(simulator, name) / f"changed-in-{run_id}").touch()
    simulator.clear_log()


def begin_create(simulator: Any, name: str, run_id: str = RUN) -> None:
    send(simulator, "/snapshots", {"machineId": simulator.ids()[name], "name": f"maint-{run_id}"})


def send(simulator: Any, path: str, content: dict[str, Any], method: str = "POST") -> None:
    """A request of another controller, which mostly is not there any more."""
    headers = {"Authorization": f"Bearer {simulator.key}"}
    answer = requests.request(method, simulator.api_url + path, json=content, headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    simulator.clear_log()


def disk(simulator: Any, name: str) -> Path:
    return Path(simulator.description["machines_dir"]) / simulator.ids()[name]


def is_changed(simulator: Any, name: str, run_id: str = RUN) -> bool:
    return (disk(simulator, name) / f"changed-in-{run_id}").exists()


def names(simulator: Any) -> dict[str, list[str]]:
    """The names of the snapshots by the machine's name, of the machines that have any."""
    found = {
        name: [snapshot["name"] for snapshot in simulator.snapshots(machine_id)]
        for name, machine_id in simulator.ids().items()
    }
    return {name: snapshots for name, snapshots in found.items() if snapshots}


def row(result: Any, name: str) -> list[str]:
    """The cells of the host's line in the last table."""
    lines = [line.strip(' ",') for line in result.stdout.splitlines()]
    return [line for line in lines if line.startswith(f"{name} ") and " ps" in line][-1].split()


def shown_commands(result: Any, start: str) -> list[list[str]]:
    """The words of the commands that the output shows."""
    lines = [line.strip().rstrip(",") for line in result.stdout.splitlines()]
    texts = [line.strip('"').strip().replace('\\"', '"') for line in lines]
    return [shlex.split(text) for text in texts if text.startswith(start)]


def restores(simulator: Any) -> int:
    return simulator.done_counts()["restores"]


def test_nothing_open_says_so(ansible: Any, simulator: Any) -> None:
    simulator.add_snapshot(simulator.ids()["web1"], OK)
    simulator.add_snapshot(simulator.ids()["web2"], "maint-by-hand")
    for action in ("list", "rollback", "keep"):
        result = act(ansible, simulator, action)
        assert "No run is open on these machines." in result.stdout
        assert "changed=0" in result.stdout
    assert simulator.calls(*WRITES) == []


def test_list_shows_machines_and_commands_that_work(ansible: Any, simulator: Any) -> None:
    snapshot = ("ansible-playbook", "community.paperspace.snapshot", "-i", simulator.inventory)
    ansible.run(*snapshot, "-l", "web1,web2", "-e", f"snapshot_run_id={RUN}")
    simulator.clear_log()
    listed = recover(ansible, simulator, "-l", "web")
    assert "1 run is open on these machines." in listed.stdout
    assert f"Run {RUN}, begun 2026-01-31 23:59:59 UTC" in listed.stdout
    for name in ("web1", "web2"):
        [snapshot] = simulator.snapshots(simulator.ids()[name])
        assert row(listed, name) == [name, simulator.ids()[name], "proven", snapshot["id"]]
    assert not any(line.strip(' "').startswith("web3") and " ps" in line for line in listed.stdout.splitlines())
    assert "changed=0" in listed.stdout
    assert "changed=1" not in listed.stdout
    assert simulator.calls(*WRITES) == []

    rollback, keep = shown_commands(listed, "ansible-playbook community.paperspace.recover")
    assert [rollback[-1], keep[-1]] == ["recover_action=rollback", "recover_action=keep"]
    ansible.run(*rollback, *NO_WAIT)
    assert names(simulator) == {"web1": [RESTORED], "web2": [RESTORED]}


def test_rollback_of_the_only_open_run_leaves_the_rest_alone(ansible: Any, simulator: Any) -> None:
    begin(simulator, "web1", "web2", "db1")
    simulator.add_snapshot(simulator.ids()["db2"], OK)
    (disk(simulator, "web1") / "etc/network").write_text("down\n")
    result = act(ansible, simulator, "rollback", "-l", "web,db2")
    assert [row(result, name)[2] for name in ("web1", "web2", "web3", "db2")] == ["restored"] * 2 + ["skipped"] * 2
    assert names(simulator) == {"web1": [RESTORED], "web2": [RESTORED], "db1": [OPEN], "db2": [OK]}
    assert [name for name in simulator.ids() if is_changed(simulator, name)] == ["web3", "db1", "db2"]
    assert restores(simulator) == 2

    again = act(ansible, simulator, "rollback", "-l", "web,db2")
    assert "No run is open on these machines." in again.stdout
    named = act(ansible, simulator, "rollback", "-l", "web,db2", "-e", f"recover_run_id={RUN}")
    assert row(named, "web1")[2] == "skipped"
    assert restores(simulator) == 2


def test_rollback_waits_for_the_machines_to_answer(ansible: Any, simulator: Any) -> None:
    begin(simulator, "web1")
    act(ansible, simulator, "rollback", "-l", "web1", "-e", "recover_reconnect=true")
    begin(simulator, "web2")
    (disk(simulator, "web2") / "etc/network").write_text("down\n")
    snapshot_id = simulator.snapshots(simulator.ids()["web2"])[0]["id"]
    kept = Path(simulator.description["machines_dir"]).parent / "snapshots" / snapshot_id
    (kept / "etc/network").write_text("down\n")
    silent = ("-e", "recover_reconnect=true", "-e", "recover_reconnect_timeout=1")
    result = act(ansible, simulator, "rollback", "-l", "web2", *silent, rc=2)
    assert row(result, "web2")[2] == "restored"
    assert "It does not answer" in result.message


def test_hosts_that_the_inventory_forgets_meanwhile_are_not_forgotten(ansible: Any, simulator: Any) -> None:
    """By a cloud that is away for a moment. Or else a restore that failed would end with 0."""
    begin(simulator, "web1")
    simulator.add_fault("event", method="POST", path=".*/restore", state="error", error="no space")
    listed = ansible.run("ansible-inventory", "-i", simulator.inventory, "--list").stdout
    known, asked = ansible.write("listed.json", listed), ansible.folder / "asked"
    nobody = '{"_meta": {"hostvars": {}}}'
    text = f"#!/bin/sh\nif [ -e {asked} ]; then echo '{nobody}'; else touch {asked}; cat {known}; fi\n"
    script = ansible.write("script.sh", text)
    script.chmod(0o755)
    command = ("ansible-playbook", "community.paperspace.recover", "-i", script, *PROMPT, "-l", "web1")
    result = ansible.run(*command, "-e", "recover_action=rollback", rc=2)
    assert row(result, "web1")[2] == "open"
    assert "no space" in result.message


def test_safety_snapshot_keeps_what_is_rolled_back(ansible: Any, simulator: Any) -> None:
    begin(simulator, "web1")
    act(ansible, simulator, "rollback", "-l", "web1", "-e", "recover_safety_snapshot=true")
    assert simulator.done_counts()["safety_snapshots"] == 1
    assert names(simulator)["web1"][0] == RESTORED


def test_keep_closes_without_restoring(ansible: Any, simulator: Any) -> None:
    begin(simulator, "web1", "web2")
    result = act(ansible, simulator, "keep", "-l", "web")
    assert [row(result, name)[2] for name in ("web1", "web2", "web3")] == ["kept", "kept", "skipped"]
    assert names(simulator) == {"web1": [OK], "web2": [OK]}
    assert is_changed(simulator, "web1")
    assert restores(simulator) == 0


@pytest.mark.parametrize(("action", "future"), [("rollback", "would_restore"), ("keep", "would_keep")])
def test_check_mode_shows_what_would_be_done(ansible: Any, simulator: Any, action: str, future: str) -> None:
    begin(simulator, "web1")
    simulator.add_fault("event", path="/snapshots", method="POST", state="stuck")
    begin_create(simulator, "web2")
    result = act(ansible, simulator, action, "-l", "web", "--check", "--diff")
    assert [row(result, name)[2] for name in ("web1", "web2", "web3")] == [future, future, "skipped"]
    assert "First this would be waited for: it is still being made (event" in result.message
    assert simulator.calls(*WRITES) == []
    assert names(simulator) == {"web1": [OPEN], "web2": [OPEN]}


def test_two_open_runs_have_to_be_named(ansible: Any, simulator: Any) -> None:
    begin(simulator, "web1")
    begin(simulator, "web2", run_id=NEWER)
    listed = recover(ansible, simulator)
    assert "2 runs are open on these machines." in listed.stdout
    assert listed.stdout.index(f"Run {NEWER}") < listed.stdout.index(f"Run {RUN}")
    for action in ("rollback", "keep"):
        refused = act(ansible, simulator, action, rc=2)
        assert "2 runs are open on these machines; name the one that is meant with recover_run_id" in refused.message
        assert len(shown_commands(refused, "ansible-playbook community.paperspace.recover")) == 4
    assert simulator.calls(*WRITES) == []

    result = act(ansible, simulator, "rollback", "-e", f"recover_run_id={RUN}")
    assert re.search(f'Other runs are open on these machines:",\\s+"{NEWER}"', result.stdout)
    assert names(simulator) == {"web1": [RESTORED], "web2": [f"maint-{NEWER}"]}
    act(ansible, simulator, "keep", "-l", "web1,web2")
    assert names(simulator) == {"web1": [RESTORED], "web2": [f"maint-{NEWER}-ok"]}


def test_limit_leaves_out_the_runs_of_other_machines(ansible: Any, simulator: Any) -> None:
    begin(simulator, "web1")
    begin(simulator, "web2", run_id=NEWER)
    listed = recover(ansible, simulator, "-l", "web1")
    assert NEWER not in listed.stdout
    rollback, _keep = shown_commands(listed, "ansible-playbook community.paperspace.recover")
    assert rollback[rollback.index("-l") + 1] == "web1"
    act(ansible, simulator, "rollback", "-l", "web1")
    assert names(simulator) == {"web1": [RESTORED], "web2": [f"maint-{NEWER}"]}


def test_older_run_is_not_rolled_back_under_a_newer_one(ansible: Any, simulator: Any) -> None:
    begin(simulator, "web1", "web2")
    begin(simulator, "web1", run_id=NEWER)
    assert f"Run {NEWER} is newer and open on it as well" in recover(ansible, simulator).message
    result = act(ansible, simulator, "rollback", "-e", f"recover_run_id={RUN}", rc=2)
    assert [row(result, name)[2] for name in ("web1", "web2")] == ["open", "restored"]
    assert "fatal: [web2]" not in result.stdout
    assert f"Run {NEWER} is newer and open on it as well, and would be undone too." in result.message
    assert names(simulator) == {"web1": [OPEN, f"maint-{NEWER}"], "web2": [RESTORED]}

    act(ansible, simulator, "rollback", "-e", f"recover_run_id={NEWER}")
    assert (is_changed(simulator, "web1", NEWER), is_changed(simulator, "web1", RUN)) == (False, True)
    act(ansible, simulator, "rollback")
    assert names(simulator)["web1"] == [RESTORED, f"maint-{NEWER}-restored"]
    assert not is_changed(simulator, "web1", RUN)


def test_older_run_is_kept_under_a_newer_one(ansible: Any, simulator: Any) -> None:
    begin(simulator, "web1")
    begin(simulator, "web1", run_id=NEWER)
    act(ansible, simulator, "keep", "-e", f"recover_run_id={RUN}")
    assert names(simulator) == {"web1": [OK, f"maint-{NEWER}"]}


@pytest.mark.slow
@pytest.mark.parametrize(("action", "status", "closed"), [("rollback", "restored", RESTORED), ("keep", "kept", OK)])
def test_create_that_still_runs_is_waited_for_after_the_others(
    ansible: Any, simulator: Any, action: str, status: str, closed: str
) -> None:
    begin(simulator, "web1")
    simulator.add_fault("event", path="/snapshots", method="POST", state="done", seconds=25)
    begin_create(simulator, "web2")
    assert row(recover(ansible, simulator), "web2")[2] == "running"
    result = act(ansible, simulator, action)
    assert names(simulator) == {"web1": [closed], "web2": [closed]}
    assert [row(result, name)[2] for name in ("web1", "web2")] == [status, status]
    first, second = (simulator.snapshots(simulator.ids()[name])[0]["id"] for name in ("web1", "web2"))
    assert simulator.calls("PUT") == [f"PUT /snapshots/{first}", f"PUT /snapshots/{second}"]
    assert simulator.done_counts()["creates"] == 2


@pytest.mark.slow
def test_create_that_does_not_end_in_time_holds_nobody_up(ansible: Any, simulator: Any) -> None:
    begin(simulator, "web1")
    simulator.add_fault("event", path="/snapshots", method="POST", state="stuck")
    begin_create(simulator, "web2")
    result = act(ansible, simulator, "rollback", "-e", "recover_wait_timeout=9", rc=2)
    assert [row(result, name)[2] for name in ("web1", "web2")] == ["restored", "timed_out"]
    assert "fatal: [web1]" not in result.stdout
    assert "Its snapshot did not become ready in time: it is still being made" in result.message
    assert names(simulator) == {"web1": [RESTORED], "web2": [OPEN]}


def close(simulator: Any, name: str) -> None:
    """What the run's own controller does, when the maintenance of a machine came through."""
    [snapshot] = simulator.snapshots(simulator.ids()[name])
    send(simulator, f"/snapshots/{snapshot['id']}", {"name": OK}, method="PUT")


@pytest.mark.slow
def test_machine_that_comes_through_while_another_is_waited_for_is_not_restored(ansible: Any, simulator: Any) -> None:
    """The controller of the run lives: it maintains the one, while the snapshot of the other is still being made."""
    for name, seconds in (("web1", 9), ("web2", 18)):
        fault = {"path": "/snapshots", "method": "POST", "machine_id": simulator.ids()[name]}
        simulator.add_fault("event", state="done", seconds=seconds, **fault)
        begin_create(simulator, name)
    with ThreadPoolExecutor() as pool:
        recovery = pool.submit(act, ansible, simulator, "rollback", "-l", "web1,web2", rc=2)
        while simulator.events(simulator.ids()["web1"])[-1]["state"] != "done" and not recovery.done():
            time.sleep(0.1)
        (disk(simulator, "web1") / "upgraded").touch()
        close(simulator, "web1")
        result = recovery.result()
    assert "FAILED - RETRYING" in result.stdout, "it was not waited for"
    assert [row(result, name)[2] for name in ("web1", "web2")] == ["failed", "restored"]
    assert f"is named {OK} now: the run is not open for it any more." in result.message
    assert (disk(simulator, "web1") / "upgraded").exists()
    assert names(simulator) == {"web1": [OK], "web2": [RESTORED]}


def test_machine_that_comes_through_at_the_last_moment_is_not_restored(ansible: Any, simulator: Any) -> None:
    """After its proof was read, and before the role rollback reads the names again."""
    begin(simulator, "web1")
    # Events are read last for the proof.
    simulator.add_fault("slow", method="GET", path="/machine-events", seconds=3)
    with ThreadPoolExecutor() as pool:
        recovery = pool.submit(act, ansible, simulator, "rollback", "-l", "web1", rc=2)
        while "GET /machine-events" not in simulator.calls() and not recovery.done():
            time.sleep(0.05)
        close(simulator, "web1")
        result = recovery.result()
    assert row(result, "web1")[2] == "failed"
    assert f"Run {RUN} was closed for web1 meanwhile, as {OK}." in result.message
    assert is_changed(simulator, "web1")
    assert names(simulator) == {"web1": [OK]}


@pytest.mark.parametrize("action", ["rollback", "keep"])
def test_failed_create_is_neither_restored_nor_kept(ansible: Any, simulator: Any, action: str) -> None:
    evil = "{{ lookup('ansible.builtin.pipe', 'touch evaluated') }}"
    fault = {"path": "/snapshots", "method": "POST", "machine_id": simulator.ids()["web2"]}
    simulator.add_fault("event", state="error", error=f"disk full {evil}", **fault)
    begin(simulator, "web1", "web2")
    simulator.clear_faults()
    assert row(recover(ansible, simulator), "web2")[2] == "failed"
    result = act(ansible, simulator, action, rc=2)
    assert row(result, "web2")[2] == "failed"
    assert "fatal: [web1]" not in result.stdout
    assert "is not usable: making it failed: event" in result.message
    assert "A guarded run does not touch a machine without a proven snapshot" in result.message
    assert not list(ansible.folder.rglob("evaluated"))
    assert names(simulator)["web2"] == [OPEN]
    assert is_changed(simulator, "web2")

    [delete] = shown_commands(result, "ansible localhost")
    ansible.run(*delete)
    assert names(simulator) == {"web1": [RESTORED if action == "rollback" else OK]}
    assert "No run is open" in act(ansible, simulator, action).stdout


@pytest.mark.parametrize("action", ["rollback", "keep"])
def test_snapshot_that_is_not_proven_is_left_and_named(ansible: Any, simulator: Any, action: str) -> None:
    fault = {"path": "/snapshots", "method": "POST", "machine_id": simulator.ids()["web2"]}
    simulator.add_fault("event", state="error", worked=True, **fault)
    begin(simulator, "web1", "web2")
    simulator.clear_faults()
    result = act(ansible, simulator, action, rc=2)
    assert row(result, "web2")[2] == "unsure"
    assert "is not proven done" in result.message
    assert "fatal: [web1]" not in result.stdout
    assert names(simulator) == {"web1": [RESTORED if action == "rollback" else OK], "web2": [OPEN]}


def test_restore_that_fails_on_one_machine_converges_when_run_again(ansible: Any, simulator: Any) -> None:
    begin(simulator, "web1", "web2")
    simulator.add_fault("event", method="POST", machine_id=simulator.ids()["web2"], state="error", error="no host")
    failed = act(ansible, simulator, "rollback", rc=2)
    assert [row(failed, name)[2] for name in ("web1", "web2")] == ["restored", "open"]
    assert "no host" in failed.message
    assert "fatal: [web1]" not in failed.stdout
    assert names(simulator) == {"web1": [RESTORED], "web2": [OPEN]}
    simulator.clear_faults()
    result = act(ansible, simulator, "rollback")
    assert [row(result, name)[2] for name in ("web1", "web2")] == ["skipped", "restored"]
    assert restores(simulator) == 2


def test_name_that_cannot_be_changed_is_a_failure(ansible: Any, simulator: Any) -> None:
    begin(simulator, "web1", "web2")
    simulator.add_fault("status", method="PUT", machine_id=simulator.ids()["web2"], status=403)
    for action in ("keep", "rollback"):
        failed = act(ansible, simulator, action, "-l", "web2", rc=2)
        assert row(failed, "web2")[2] == "open"
        assert names(simulator) == {"web1": [OPEN], "web2": [OPEN]}
    assert "It is restored, but its snapshot still has the name of an open run" in failed.message


def test_restore_of_a_controller_that_died_is_waited_for_and_done_again(ansible: Any, simulator: Any) -> None:
    begin(simulator, "web1")
    [snapshot] = simulator.snapshots(simulator.ids()["web1"])
    simulator.add_fault("event", method="POST", path=".*/restore", state="done", seconds=3, times=1)
    send(simulator, f"/snapshots/{snapshot['id']}/restore", {})
    result = act(ansible, simulator, "rollback")
    assert row(result, "web1")[2] == "restored"
    assert names(simulator) == {"web1": [RESTORED]}
    assert restores(simulator) == 2


def test_several_snapshots_of_the_run_are_left_alone(ansible: Any, simulator: Any) -> None:
    begin(simulator, "web1", "web2")
    closed = simulator.add_snapshot(simulator.ids()["web2"], RESTORED)
    result = act(ansible, simulator, "rollback", rc=2)
    assert [row(result, name)[2] for name in ("web1", "web2")] == ["restored", "open"]
    assert "It has several snapshots of this run" in result.message
    assert closed in result.message
    assert is_changed(simulator, "web2")


@pytest.mark.parametrize("action", ["rollback", "keep"])
def test_unknown_run_is_refused(ansible: Any, simulator: Any, action: str) -> None:
    begin(simulator, "web1")
    result = act(ansible, simulator, action, "-e", f"recover_run_id={NEWER}", rc=2)
    assert f"None of these machines has a snapshot maint-{NEWER}. Open on them: {RUN} (1 machine)." in result.message
    assert simulator.calls(*WRITES) == []
    listed = recover(ansible, simulator, "-e", f"recover_run_id={NEWER}")
    assert f"Run {NEWER} is not open on these machines." in listed.stdout


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("recover_action=destroy", "value of recover_action must be one of: list, rollback, keep, got: destroy"),
        ("recover_run_id=yesterday", "'yesterday' is not a run id; one looks like 20260131T235959Z-1a2b."),
    ],
)
def test_bad_input_is_refused_before_any_request(ansible: Any, simulator: Any, variable: str, said: str) -> None:
    result = recover(ansible, simulator, "-l", "web1", "-e", variable, rc=2)
    assert said in result.message
    assert result.stdout.count("fatal: ") == 1
    assert simulator.calls() == []


@pytest.mark.parametrize("action", ["list", "rollback", "keep"])
def test_hosts_without_id_and_with_the_same_id_are_named(ansible: Any, simulator: Any, action: str) -> None:
    hosts = {"a": {"paperspace_id": "ps1"}, "b": {"paperspace_id": "ps1"}, "c": {}, "d": {"paperspace_id": "ps2"}}
    inventory = ansible.write("hosts.yml", {"all": {"hosts": hosts}})
    command = ("ansible-playbook", "community.paperspace.recover", "-i", inventory, "-e", f"recover_action={action}")
    result = ansible.run(*command, rc=2)
    assert "No machine id (paperspace_id) is known of: c." in result.message
    assert "Machine ps1 is claimed by several hosts: a, b." in result.message
    assert simulator.calls() == []


@pytest.mark.parametrize("action", ["list", "rollback", "keep"])
def test_refused_key_fails_with_the_reason(ansible: Any, simulator: Any, action: str) -> None:
    ansible.environment["PAPERSPACE_API_KEY"] = "wrong"
    result = act(ansible, simulator, action, "-l", "web", rc=2)
    assert result.stdout.count("fatal: ") == 3
    assert "API key" in result.message


def test_machine_that_is_gone_holds_nobody_up(ansible: Any, simulator: Any) -> None:
    begin(simulator, "web1", "web2")
    inventory = ansible.write("hosts", simulator.inventory.read_text(encoding="utf-8"))
    simulator.remove_machine(simulator.ids()["web2"])
    command = ("ansible-playbook", "community.paperspace.recover", "-i", inventory, *NO_WAIT)
    result = ansible.run(*command, "-e", "recover_action=rollback")
    assert [row(result, name)[2] for name in ("web1", "web2")] == ["restored", "skipped"]


def test_prefix_of_the_maintenance_is_followed(ansible: Any, simulator: Any) -> None:
    command = ("ansible-playbook", "community.paperspace.snapshot", "-i", simulator.inventory, "-l", "web1")
    ansible.run(*command, "-e", f"snapshot_run_id={RUN}", "-e", "snapshot_prefix='a b-'")
    assert "No run is open" in recover(ansible, simulator).stdout
    listed = recover(ansible, simulator, "-e", "maintenance_prefix='a b-'", "-e", "recover_hosts='web*'")
    rollback, _keep = shown_commands(listed, "ansible-playbook community.paperspace.recover")
    ansible.run(*rollback, *NO_WAIT)
    assert names(simulator) == {"web1": [f"a b-{RUN}-restored"]}


def test_machine_id_of_the_maintenance_is_followed(ansible: Any, simulator: Any) -> None:
    begin(simulator, "web1")
    hosts = {"a": {"machine": simulator.ids()["web1"]}}
    variables = {"maintenance_machine_id": "{{ machine }}"}
    inventory = ansible.write("hosts.yml", {"all": {"hosts": hosts, "vars": variables}})
    command = ("ansible-playbook", "community.paperspace.recover", "-i", inventory)
    assert row(ansible.run(*command), "a")[2] == "proven"
    hosts["a"] = {}
    ansible.write("hosts.yml", {"all": {"hosts": hosts, "vars": variables}})
    assert "No machine id (paperspace_id) is known of: a." in ansible.run(*command, rc=2).message


def test_other_strategies_are_refused(ansible: Any, simulator: Any) -> None:
    role = {"name": "community.paperspace.maintenance", "tasks_from": "recover"}
    tasks = [{"name": "Recover", "ansible.builtin.include_role": role}]
    play = {"hosts": "web", "gather_facts": False, "strategy": "ansible.builtin.free", "tasks": tasks}
    result = ansible.playbook([play], "-i", simulator.inventory, rc=2)
    assert "needs the strategy linear" in result.message
