# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks of the collection from the command line, as its users run them."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.community.paperspace.plugins.plugin_utils._text import display_width

RUN = "20260131T235959Z-1a2b"
OPEN, OK, RESTORED = f"maint-{RUN}", f"maint-{RUN}-ok", f"maint-{RUN}-restored"


def play(ansible: Any, simulator: Any, name: str, *arguments: str, rc: int | None = 0) -> Any:
    return ansible.run("ansible-playbook", f"community.paperspace.{name}", "-i", simulator.inventory, *arguments, rc=rc)


def rollback(ansible: Any, simulator: Any, *arguments: str, rc: int | None = 0) -> Any:
    return play(ansible, simulator, "rollback", "-e", f"rollback_run_id={RUN}", *arguments, rc=rc)


def names(simulator: Any) -> dict[str, list[str]]:
    """The names of each machine's snapshots, by the machine's name."""
    return {
        name: [snapshot["name"] for snapshot in simulator.snapshots(machine_id)]
        for name, machine_id in simulator.ids().items()
    }


def disk(simulator: Any, name: str) -> Path:
    return Path(simulator.description["machines_dir"]) / simulator.ids()[name]


def row(result: Any, name: str) -> list[str]:
    """The cells of the host's line in the last table."""
    lines = [line.strip(' ",') for line in result.stdout.splitlines()]
    [*dummy, head] = [number for number, line in enumerate(lines) if line.startswith("HOST ")]
    return next(line for line in lines[head:] if line.startswith(f"{name} ")).split()


def assert_tables_fit(result: Any) -> None:
    """There is a table, and no line of a message but a command is wider than a terminal usually is."""
    messages = [line for line in result.stdout.splitlines() if line.startswith('        "')]
    messages = [line for line in messages if not line.startswith(('        "  ansible', '        "ansible-playbook '))]
    assert any(line.startswith('        "HOST ') for line in messages)
    assert [line for line in messages if display_width(line) > 80] == []


def restore_requests(simulator: Any) -> list[str]:
    return [call for call in simulator.calls() if call.endswith("/restore")]


def test_snapshot_check_create_again_and_limit(ansible: Any, simulator: Any) -> None:
    run = ("-l", "web", "-e", f"snapshot_run_id={RUN}")
    checked = play(ansible, simulator, "snapshot", "--check", "--diff", *run)
    assert row(checked, "web1")[2] == "would_create"
    assert f"+    - {OPEN}" in checked.stdout
    assert simulator.calls("POST", "PUT", "PATCH", "DELETE") == []

    created = play(ansible, simulator, "snapshot", *run)
    assert f"Run {RUN}" in created.stdout
    assert f"rollback_run_id={RUN}" in created.stdout
    assert [row(created, name)[2] for name in ("web1", "web2", "web3")] == ["created"] * 3
    assert names(simulator) == {"web1": [OPEN], "web2": [OPEN], "web3": [OPEN], "db1": [], "db2": []}
    for result in (checked, created):
        assert_tables_fit(result)

    again = play(ansible, simulator, "snapshot", *run)
    assert row(again, "web1")[2] == "unchanged"
    assert simulator.done_counts()["creates"] == 3


def test_tags_leave_nothing_out(ansible: Any, simulator: Any) -> None:
    """Or else an option that is meant for other tasks would make a run of no snapshots and no rollback, and say 0."""
    tags, web1 = ("--tags", "patch"), ("-l", "web1")
    take = (*web1, *tags, "-e", f"snapshot_run_id={RUN}")
    play(ansible, simulator, "snapshot", *take)
    assert names(simulator)["web1"] == [OPEN]
    (disk(simulator, "web1") / "changed").touch()
    play(ansible, simulator, "rollback", *web1, *tags, "-e", f"rollback_run_id={RUN}", "-e", "rollback_reconnect=true")
    assert names(simulator)["web1"] == [RESTORED]
    assert not (disk(simulator, "web1") / "changed").exists()

    simulator.add_snapshot(simulator.ids()["web1"], "maint-20260201T000000Z-3c4d")
    play(ansible, simulator, "recover", *web1, *tags, "-e", "recover_action=rollback")
    assert names(simulator)["web1"] == [RESTORED, "maint-20260201T000000Z-3c4d-restored"]
    play(ansible, simulator, "prune", *web1, *tags, "-e", "prune_keep=0")
    assert names(simulator)["web1"] == []


def test_snapshot_handles_the_fleet_in_one_task(ansible: Any, simulator: Any) -> None:
    play(ansible, simulator, "snapshot")
    assert simulator.calls().count("GET /auth/session") == 1
    [run_name] = {snapshot["name"] for snapshot in simulator.snapshots()}
    assert run_name.startswith("maint-2")


def test_connection_options_come_from_a_variable(ansible: Any, simulator: Any) -> None:
    del ansible.environment["PAPERSPACE_API_KEY"], ansible.environment["PAPERSPACE_API_URL"]
    options = {"paperspace_connection": {"api_url": simulator.api_url, "api_key": simulator.key}}
    connection = ansible.write("connection.json", json.dumps(options))
    play(ansible, simulator, "snapshot", "-l", "web1", "-e", f"@{connection}", "-vvvv")
    assert len(simulator.snapshots()) == 1


def test_refused_key_fails_all_hosts_with_the_reason(ansible: Any, simulator: Any) -> None:
    ansible.environment["PAPERSPACE_API_KEY"] = "wrong"
    result = play(ansible, simulator, "snapshot", "-l", "web", rc=2)
    assert result.stdout.count("fatal: ") == 3
    assert "API key" in result.message


@pytest.mark.parametrize("name", ["snapshot", "rollback"])
def test_bad_run_id_is_refused_before_any_request(ansible: Any, simulator: Any, name: str) -> None:
    result = play(ansible, simulator, name, "-e", f"{name}_run_id=yesterday", rc=2)
    assert "'yesterday' is not a run id; one looks like 20260131T235959Z-1a2b." in result.message
    assert simulator.calls() == []


def test_rollback_without_run_id_is_refused(ansible: Any, simulator: Any) -> None:
    result = play(ansible, simulator, "rollback", rc=2)
    assert "No run is named: set rollback_run_id." in result.message
    assert simulator.calls() == []


@pytest.mark.parametrize("name", ["snapshot", "rollback", "prune"])
def test_hosts_without_id_and_with_the_same_id_are_named(ansible: Any, simulator: Any, name: str) -> None:
    hosts = {"a": {"paperspace_id": "ps1"}, "b": {"paperspace_id": "ps1"}, "c": {}, "d": {"paperspace_id": "ps2"}}
    inventory = ansible.write("hosts.yml", {"all": {"hosts": hosts}})
    command = ("ansible-playbook", f"community.paperspace.{name}", "-i", inventory, "-e", f"rollback_run_id={RUN}")
    result = ansible.run(*command, rc=2)
    assert "No machine id (paperspace_id) is known of: c." in result.message
    assert "Machine ps1 is claimed by several hosts: a, b." in result.message
    assert simulator.calls() == []


def test_snapshot_of_one_machine_fails_and_the_others_come_through(ansible: Any, simulator: Any) -> None:
    simulator.add_fault("event", method="POST", path="/snapshots", machine_id=simulator.ids()["web2"], state="error")
    result = play(ansible, simulator, "snapshot", "-l", "web", rc=2)
    assert [row(result, name)[2] for name in ("web1", "web3")] == ["created", "created"]
    assert row(result, "web2")[2] in ("failed", "unsure")
    assert "fatal: [web2]" in result.stdout
    assert "fatal: [web1]" not in result.stdout


@pytest.mark.slow
def test_rollback_of_a_fleet_that_is_wholly_unreachable(ansible: Any, simulator: Any) -> None:
    play(ansible, simulator, "snapshot", "-e", f"snapshot_run_id={RUN}")
    for name in names(simulator):
        (disk(simulator, name) / "app").write_text("broken")
        (disk(simulator, name) / "etc/network").write_text("down\n")
    unreachable = ansible.run("ansible", "all", "-i", simulator.inventory, "-m", "ping", rc=None)
    assert unreachable.stdout.count("UNREACHABLE") == 5

    checked = rollback(ansible, simulator, "--check", "--diff")
    assert row(checked, "web1")[2] == "would_restore"
    assert restore_requests(simulator) == []

    result = rollback(ansible, simulator)
    assert f"Rollback of run {RUN}" in result.stdout
    for shown in (checked, result):
        assert_tables_fit(shown)
    assert all(found == [RESTORED] for found in names(simulator).values())
    assert not any((disk(simulator, name) / "app").exists() for name in names(simulator))
    assert "It does not answer" not in result.message

    again = rollback(ansible, simulator, "-e", "rollback_reconnect=false")
    assert row(again, "web1")[2] == "unchanged"
    assert simulator.done_counts()["restores"] == 5


def test_rollback_starts_machines_that_a_restore_leaves_off(ansible: Any, simulator: Any) -> None:
    simulator.settings(restore_ends="off")
    try:
        play(ansible, simulator, "snapshot", "-l", "web1", "-e", f"snapshot_run_id={RUN}")
        rollback(ansible, simulator, "-l", "web1", "-e", "rollback_reconnect=false")
        assert {machine["name"]: machine["state"] for machine in simulator.machines()}["web1"] == "ready"
    finally:
        simulator.settings(restore_ends="ready")


def test_rollback_that_fails_on_one_machine_converges_when_run_again(ansible: Any, simulator: Any) -> None:
    play(ansible, simulator, "snapshot", "-l", "web", "-e", f"snapshot_run_id={RUN}")
    fault = simulator.add_fault(
        "event", method="POST", machine_id=simulator.ids()["web2"], state="error", error="disk full"
    )
    failed = rollback(ansible, simulator, "-l", "web", "-e", "rollback_reconnect=false", rc=2)
    assert "fatal: [web2]" in failed.stdout
    assert "fatal: [web1]" not in failed.stdout
    assert names(simulator) == {"web1": [RESTORED], "web2": [OPEN], "web3": [RESTORED], "db1": [], "db2": []}

    simulator.control("DELETE", f"/faults/{fault}")
    result = rollback(ansible, simulator, "-l", "web", "-e", "rollback_reconnect=false")
    assert [row(result, name)[2] for name in ("web1", "web2", "web3")] == ["unchanged", "restored", "unchanged"]
    assert names(simulator)["web2"] == [RESTORED]


def test_machine_that_does_not_answer_after_its_rollback_is_a_failure(ansible: Any, simulator: Any) -> None:
    (disk(simulator, "web1") / "etc/network").write_text("down\n")
    play(ansible, simulator, "snapshot", "-l", "web1", "-e", f"snapshot_run_id={RUN}")
    result = rollback(ansible, simulator, "-l", "web1", "-e", "rollback_reconnect_timeout=1", rc=2)
    assert "It does not answer" in result.message
    assert row(result, "web1")[2] == "restored"


def forgetful_inventory(ansible: Any, simulator: Any) -> Path:
    """A script that knows the hosts only when it is asked first, as that of a cloud which is away after that."""
    listed = ansible.run("ansible-inventory", "-i", simulator.inventory, "--list").stdout
    known, asked = ansible.write("listed.json", listed), ansible.folder / "asked"
    nobody = '{"_meta": {"hostvars": {}}}'
    text = f"#!/bin/sh\nif [ -e {asked} ]; then echo '{nobody}'; else touch {asked}; cat {known}; fi\n"
    script: Path = ansible.write("script.sh", text)
    script.chmod(0o755)
    return script


def test_hosts_that_the_inventory_forgets_meanwhile_are_not_forgotten(ansible: Any, simulator: Any) -> None:
    """Or else a rollback that failed, and machines that do not answer, would end with 0."""
    ids = simulator.ids()
    for name in ("web1", "web2"):
        simulator.add_snapshot(ids[name], OPEN)
    simulator.add_fault("event", method="POST", machine_id=ids["web1"], state="error", error="no space")
    command = ("ansible-playbook", "community.paperspace.rollback", "-i", forgetful_inventory(ansible, simulator))
    options = ("-e", f"rollback_run_id={RUN}", "-e", "rollback_reconnect_timeout=1")
    result = ansible.run(*command, "-l", "web1,web2", *options, rc=2)
    assert "web1 is not proven to be rolled back" in result.message
    # It is tried at its old address.
    assert "Not in the inventory any more, so that the old address is tried: web2." in result.message
    assert [row(result, name)[2] for name in ("web1", "web2")] == ["failed", "restored"]


def test_rollback_of_hosts_without_snapshot_names_both_ways_out(ansible: Any, simulator: Any) -> None:
    play(ansible, simulator, "snapshot", "-l", "web", "-e", f"snapshot_run_id={RUN}")
    refused = rollback(ansible, simulator, rc=2)
    assert f"There is no snapshot {OPEN} of: db1, db2. No machine was rolled back." in refused.message
    assert "--limit" in refused.message
    assert "rollback_skip_missing=true" in refused.message
    assert restore_requests(simulator) == []

    skipping = ("-e", "rollback_skip_missing=true", "-e", "rollback_reconnect=false")
    result = rollback(ansible, simulator, *skipping)
    assert [row(result, name)[2] for name in ("web1", "db1")] == ["restored", "skipped"]


def test_rollback_with_several_snapshots_of_the_run_is_refused(ansible: Any, simulator: Any) -> None:
    web1 = simulator.ids()["web1"]
    ids = [simulator.add_snapshot(web1, name) for name in (OPEN, RESTORED)]
    result = rollback(ansible, simulator, "-l", "web1", rc=2)
    assert "web1 has several snapshots of this run" in result.message
    assert all(snapshot_id in result.message for snapshot_id in ids)


def test_command_that_the_snapshot_shows_undoes_it(ansible: Any, simulator: Any) -> None:
    options = ("-l", "web,!web3", "-e", "snapshot_prefix='my own-'", "-e", "snapshot_hosts=web1:web2:db1")
    shown = play(ansible, simulator, "snapshot", *options)
    [line] = [line.strip() for line in shown.stdout.splitlines() if "community.paperspace.rollback" in line]
    command, *arguments = shlex.split(str(json.loads(line.removesuffix(","))))
    ansible.run(command, *arguments, "-e", "rollback_reconnect=false")
    found = names(simulator)
    assert [[name.rpartition("-")[2] for name in found[host]] for host in ("web1", "web2", "web3", "db1")] == [
        ["restored"],
        ["restored"],
        [],
        [],
    ]


def test_rollback_does_not_undo_a_newer_run_that_is_open(ansible: Any, simulator: Any) -> None:
    web1, web2 = (simulator.ids()[host] for host in ("web1", "web2"))
    for machine_id in (web1, web2):
        simulator.add_snapshot(machine_id, OK)
    simulator.add_snapshot(web2, "maint-20260201T083000Z-3c4d")
    refused = rollback(ansible, simulator, "-l", "web1,web2", rc=2)
    assert "Run 20260201T083000Z-3c4d is newer and open on web2 as well" in refused.message
    assert "No machine was rolled back" in refused.message
    assert restore_requests(simulator) == []
    rollback(ansible, simulator, "-l", "web1", "-e", "rollback_reconnect=false")


def test_closed_run_can_still_be_rolled_back(ansible: Any, simulator: Any) -> None:
    simulator.add_snapshot(simulator.ids()["web1"], OK)
    rollback(ansible, simulator, "-l", "web1", "-e", "rollback_reconnect=false")
    assert names(simulator)["web1"] == [RESTORED]


def test_closing_a_run_leaves_what_was_rolled_back_as_it_is(ansible: Any, simulator: Any) -> None:
    play(ansible, simulator, "snapshot", "-l", "web1,web2", "-e", f"snapshot_run_id={RUN}")
    rollback(ansible, simulator, "-l", "web2", "-e", "rollback_reconnect=false")
    close = ("-e", "snapshot_action=close", "-e", f"snapshot_run_id={RUN}")
    closed = play(ansible, simulator, "snapshot", "-l", "web1,web2", *close)
    assert [row(closed, name)[2] for name in ("web1", "web2")] == ["renamed", "unchanged"]
    assert names(simulator) == {"web1": [OK], "web2": [RESTORED], "web3": [], "db1": [], "db2": []}
    without = play(ansible, simulator, "snapshot", "-l", "web3", *close, rc=2)
    assert "There is no snapshot" in without.message


def test_prune_keeps_the_newest_closed_runs_and_whatever_is_not_theirs(ansible: Any, simulator: Any) -> None:
    web1, web2 = (simulator.ids()[name] for name in ("web1", "web2"))
    old = [f"maint-2026010{day}T000000Z-0000-ok" for day in (1, 2, 3)]
    foreign = ["maint-by-hand", "nightly", "maint-20260104T000000Z-0000", f"other-{RUN}-ok"]
    for name in [*old, *foreign]:
        simulator.add_snapshot(web1, name)
    simulator.add_snapshot(web2, old[0])
    checked = play(ansible, simulator, "prune", "-l", "web", "--check", "--diff")
    assert row(checked, "web1")[1:] == ["would_delete", old[1]]
    assert len(simulator.snapshots()) == 8

    result = play(ansible, simulator, "prune", "-l", "web")
    assert old[1] in result.stdout
    assert names(simulator)["web1"] == [old[2], *foreign]
    assert names(simulator)["web2"] == [old[0]]
    again = play(ansible, simulator, "prune", "-l", "web")
    assert row(again, "web1")[1] == "unchanged"
    for shown in (checked, result, again):
        assert_tables_fit(shown)


def test_tables_fit_a_terminal_whatever_stands_in_them(ansible: Any, simulator: Any) -> None:
    """Hosts with long names, an address in an error, and wide characters, in all playbooks that end with a table."""
    ids = simulator.ids()
    hosts = {
        "a-host-with-quite-a-long-name.of.some.example.org": {"paperspace_id": ids["web1"]},
        "\u65e5\u672c\u8a9e\u306e\u30de\u30b7\u30f3": {"paperspace_id": ids["web2"]},
    }
    inventory = ansible.write("hosts.yml", {"all": {"hosts": hosts}})
    address = f"https://api.paperspace.com/v1/machines/{'x' * 150}"
    error = f"See {address} " + "\u78c1\u76e4\u5df2\u6eff" * 20
    for run_id in ("20260101T000000Z-0000", "20260102T000000Z-0000"):
        for machine_id in (ids["web1"], ids["web2"]):
            simulator.add_snapshot(machine_id, f"maint-{run_id}-restored")
    variables = {f"{name}_run_id": RUN for name in ("snapshot", "rollback", "recover")}
    variables |= {"recover_action": "rollback", "rollback_reconnect": False, "recover_reconnect": False}
    requests = {"snapshot": "/snapshots", "rollback": ".*/restore", "recover": ".*/restore", "prune": "/snapshots/.*"}
    for name, path in requests.items():
        simulator.clear_faults()
        fault = {"method": "DELETE" if name == "prune" else "POST", "path": path, "machine_id": ids["web1"]}
        simulator.add_fault("event", state="error", error=error, **fault)
        command = ("ansible-playbook", f"community.paperspace.{name}", "-i", inventory, "-e", json.dumps(variables))
        result = ansible.run(*command, rc=2)
        assert_tables_fit(result)
        assert "See https://api.paperspace.com/v1/machines/xxx" in result.stdout


UPGRADE = [
    {
        "hosts": "all",
        "gather_facts": False,
        "tasks": [
            {"name": "Upgrade", "ansible.builtin.shell": "echo new > {{ disk }}/app"},
            {"name": "Start", "ansible.builtin.command": "false", "when": "inventory_hostname in broken | default([])"},
        ],
    }
]
MAINTENANCE = ("-e", "maintenance_playbook=upgrade.yml")


def test_maintenance_that_goes_well_closes_and_prunes(ansible: Any, simulator: Any) -> None:
    simulator.add_snapshot(simulator.ids()["web1"], OK)
    ansible.write("upgrade.yml", UPGRADE)
    play(ansible, simulator, "maintenance", "-l", "web1,web2", *MAINTENANCE)
    assert (disk(simulator, "web1") / "app").read_text() == "new\n"
    [kept] = names(simulator)["web1"]
    assert kept.endswith("-ok")
    assert kept != OK


def test_maintenance_that_fails_on_one_machine_puts_that_one_back(ansible: Any, simulator: Any) -> None:
    ansible.write("upgrade.yml", UPGRADE)
    arguments = (*MAINTENANCE, "-e", '{"broken": ["web2"]}', "-l", "web")
    result = play(ansible, simulator, "maintenance", *arguments, "-e", f"maintenance_run_id={RUN}", rc=2)
    assert "web2: rolled back. Start:" in result.message
    assert [(disk(simulator, name) / "app").exists() for name in ("web1", "web2", "web3")] == [True, False, True]
    assert names(simulator) == {"web1": [OK], "web2": [RESTORED], "web3": [OK], "db1": [], "db2": []}


@pytest.mark.parametrize("gone", [("web2",), ("web1", "web2")])
def test_maintenance_fails_for_machines_that_the_inventory_forgets_meanwhile(
    ansible: Any, simulator: Any, gone: tuple[str, ...]
) -> None:
    listed = yaml.safe_load(simulator.inventory.read_text("utf-8"))
    inventory = ansible.write("hosts.yml", listed)
    for group in listed["all"]["children"].values():
        for host in gone:
            group["hosts"].pop(host, None)
    fewer = ansible.write("fewer.yml", listed)
    forget = {"name": "Forget", "ansible.builtin.command": f"cp {fewer} {inventory}", "delegate_to": "localhost"}
    forgetting = [{**UPGRADE[0], "tasks": [{**forget, "run_once": True}, *UPGRADE[0]["tasks"]]}]
    ansible.write("upgrade.yml", forgetting)
    command = ("ansible-playbook", "community.paperspace.maintenance", "-i", inventory, "-l", "web1,web2")
    options = ("-e", '{"broken": ["web2"]}', "-e", "maintenance_reconnect_timeout=1")
    result = ansible.run(*command, *MAINTENANCE, *options, "-e", f"maintenance_run_id={RUN}", rc=2)
    assert "web2: rolled back." in result.message
    assert names(simulator)["web2"] == [RESTORED]


def test_maintenance_in_check_mode_changes_nothing(ansible: Any, simulator: Any) -> None:
    ansible.write("upgrade.yml", UPGRADE)
    play(ansible, simulator, "maintenance", "--check", "-l", "web", *MAINTENANCE)
    assert simulator.calls("POST", "PUT", "PATCH", "DELETE") == []
