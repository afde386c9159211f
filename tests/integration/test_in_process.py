# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules inside the controller: the same results as by the module, nothing on the target, and progress at once."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Ansible, Simulator

SNAPSHOT = "community.paperspace.paperspace_snapshot"
SNAPSHOT_INFO = "community.paperspace.paperspace_snapshot_info"
MACHINE = "community.paperspace.paperspace_machine"
MACHINE_INFO = "community.paperspace.paperspace_machine_info"
DEFAULTS = "group/community.paperspace.paperspace"
OTHER_KEY = "k3y-0f-an0ther"
# What Ansible says with -vvv when it sends a module somewhere.
SENT = "Using module file"
SPACE = "no \x1b[31mspace"


def results(ansible: Ansible, tasks: Sequence[Mapping[str, Any]], *arguments: str, **play: Any) -> list[dict[str, Any]]:
    """The results of some tasks in one play on localhost, failed or not."""
    numbered = [{**task, "register": f"result_{number}", "ignore_errors": True} for number, task in enumerate(tasks)]
    for task in numbered:
        # For results that were censored.
        task.setdefault("no_log", False)
    names = ", ".join(str(task["register"]) for task in numbered)
    kept = {"content": f"{{{{ [{names}] | to_json }}}}", "dest": str(ansible.folder / "results.json"), "mode": "0600"}
    last = {"ansible.builtin.copy": kept, "check_mode": False, "diff": False, "environment": {}}
    whole = {"hosts": "localhost", "gather_facts": False, **play, "tasks": [*numbered, last]}
    ansible.playbook([whole], *arguments)
    found: list[dict[str, Any]] = json.loads((ansible.folder / "results.json").read_text(encoding="utf-8"))
    return found


def by_work(ids: Mapping[str, str]) -> list[dict[str, Any]]:
    """Tasks that change something, each on what those before it left."""
    both = {"machine_ids": [ids["web1"], ids["web2"]]}
    one, slow = {"machine_id": ids["db1"]}, {"machine_id": ids["web3"]}
    present = {**both, "name": "before"}
    return [
        {SNAPSHOT: present, "check_mode": True, "diff": True},
        {SNAPSHOT: present, "diff": True},
        {SNAPSHOT: present},
        {SNAPSHOT: {**present, "machine_ids": [ids["web1"], "psnobody"], "skip_missing": "yes"}},
        {SNAPSHOT: {**present, "machine_ids": [ids["web1"], ids["web1"]]}},
        {SNAPSHOT: {**present, "new_name": "golden"}, "diff": True},
        # A date, as YAML has it.
        {SNAPSHOT: {**one, "name": date(2026, 11, 24)}},
        {SNAPSHOT: {**one, "name": f"named {OTHER_KEY} by mistake", "api_key": OTHER_KEY}},
        {SNAPSHOT: {**both, "name": "golden", "state": "restored"}, "check_mode": True, "diff": True},
        {SNAPSHOT: {**both, "name": "golden", "state": "restored"}, "diff": True},
        {SNAPSHOT: {**slow, "name": "later", "wait": False}},
        {SNAPSHOT: {**slow, "name": "later", "wait_timeout": 1}},
        {SNAPSHOT: {**slow, "name": "later"}},
        {SNAPSHOT: {**both, "name": "golden", "state": "absent"}, "check_mode": True, "diff": True},
        {SNAPSHOT: {**both, "name": "golden", "state": "absent"}, "diff": True},
        {SNAPSHOT: {**both, "name": "golden", "state": "absent"}},
        {SNAPSHOT: {"machine_ids": [ids["web1"], ids["db2"]], "name": "broken"}},
        {MACHINE: {**one, "auto_snapshot": {"enabled": "true", "save_count": "3"}}, "check_mode": True, "diff": True},
        {MACHINE: {**one, "auto_snapshot": {"enabled": "true", "save_count": "3"}}, "diff": True},
        {MACHINE: {**both, "state": "stopped"}, "diff": True},
        {MACHINE: {**both, "state": "started"}},
        {MACHINE: {**both, "state": "started"}},
        {SNAPSHOT_INFO: {"machine_ids": [ids["db1"], "psnobody"], "proof": True}},
        {MACHINE_INFO: {"name": "web1"}},
        {MACHINE_INFO: {}},
    ]


def by_input(ids: Mapping[str, str]) -> list[dict[str, Any]]:
    """Tasks that are refused, or at least complained of."""
    one = ids["web1"]
    return [
        {SNAPSHOT: {"machine_id": one, "machine_ids": [one], "name": "x"}, "check_mode": True},
        {SNAPSHOT: {"machine_id": one}},
        {SNAPSHOT: {"machine_id": one, "name": "x", "colour": "red", "shape": "round"}},
        {SNAPSHOT: {"machine_id": one, "name": "x", "wait": "perhaps"}},
        {SNAPSHOT: {"machine_id": one, "name": "x", "wait_timeout": "soon"}},
        {SNAPSHOT: {"machine_id": one, "name": "x", "wait_timeout": 0}},
        {SNAPSHOT: {"machine_id": one, "name": ["a", "list"], "state": "gone"}},
        {SNAPSHOT: {"machine_id": {"id": one}, "name": "x"}},
        {SNAPSHOT: {"machine_ids": f"{one},psnobody", "name": "x"}},
        {SNAPSHOT: {"machine_ids": [], "name": "x"}},
        {SNAPSHOT: {"machine_id": "a/b", "name": "x"}},
        {SNAPSHOT: {"machine_id": one, "name": "x", "concurrency": 0}},
        {SNAPSHOT: {"machine_id": one, "name": "x", "api_key": "with space"}},
        {SNAPSHOT: {"machine_id": one, "name": "x", "api_key": OTHER_KEY, "validate_certs": OTHER_KEY}},
        {SNAPSHOT: {"machine_id": one, "name": "x", "api_url": "http://example.com/v1"}},
        {SNAPSHOT: {"machine_id": None, "name": None, "state": "absent"}},
        {MACHINE: {"state": "started"}},
        {MACHINE: {"machine_id": one, "auto_snapshot": {"often": True}}},
        {MACHINE: {"machine_id": one, "auto_snapshot": {"frequency": "yearly"}}},
        {MACHINE_INFO: {"state": "gone"}},
        {SNAPSHOT_INFO: {"snapshot_id": []}},
    ]


def comparable(result: dict[str, Any]) -> dict[str, Any]:
    """A result without what takes its time from the clock."""

    def still(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: 0.0 if key == "seconds" else still(item) for key, item in value.items()}
        return [still(item) for item in value] if isinstance(value, list) else value

    cleaned: dict[str, Any] = still(result)
    return cleaned


@pytest.mark.parametrize("cases", [by_work, by_input])
def test_results_are_those_of_the_module(simulator: Simulator, ansible: Ansible, cases: Any) -> None:
    # One request at a time, so that the service gives the same ids in both runs.
    # An event that is late is not waited for, since each task of one name would wait.
    options = {"concurrency": 1, "wait_interval": 0.1, "request_timeout": 3}
    play: dict[str, Any] = {"module_defaults": {DEFAULTS: options}}
    found, sent = [], []
    # The order of sets that are shown in messages.
    ansible.environment["PYTHONHASHSEED"] = "0"
    for place in ({}, {"environment": {"IN_THE_MODULE": "1"}}):
        simulator.reset()
        simulator.settings(event_start_seconds=0)
        ids = simulator.ids()
        simulator.add_fault("event", method="POST", machine_id=ids["db2"], state="error", error=f"full {OTHER_KEY}")
        simulator.add_fault("event", method="POST", machine_id=ids["web3"], state="done", seconds=5)
        found.append(results(ansible, cases(ids), **play, **place))
        sent.append(simulator.calls("POST", "PUT", "PATCH", "DELETE"))
    here, there = found
    assert sent[0] == sent[1]
    assert len(here) == len(cases(ids))
    for number, (mine, its) in enumerate(zip(here, there, strict=True)):
        assert comparable(mine) == comparable(its), f"case {number}"
    assert OTHER_KEY not in json.dumps([result for result in here if "full" not in json.dumps(result)])


def files_on(disks: Path) -> set[Path]:
    """What is on the machines' disks, but for what each of them makes anew when it boots."""
    found = {Path(folder, name) for folder, names, files in os.walk(disks) for name in (*names, *files)}
    return {path for path in found if "run" not in path.relative_to(disks).parts}


def test_hosts_are_not_touched_and_need_not_be_reachable(simulator: Simulator, ansible: Ansible) -> None:
    disks = Path(simulator.description["machines_dir"])
    for machine_id in simulator.ids().values():
        (disks / machine_id / "etc" / "network").write_text("down\n")
    before = files_on(disks)
    task = {SNAPSHOT: {"machine_id": "{{ paperspace_id }}", "name": "before"}}
    play = {"hosts": "all", "gather_facts": False, "tasks": [task]}
    result = ansible.playbook([play], "-vvvv", "-i", simulator.inventory)
    assert SENT not in result.output
    assert "EXEC" not in result.output
    assert "SSH" not in result.output
    assert result.stdout.count("changed: [") == 5
    assert simulator.done_counts()["creates"] == 5
    assert files_on(disks) == before


def sudo(folder: Path) -> Path:
    """A sudo that gives no other rights, and leaves a trace."""
    program = folder / "sudo"
    program.write_text('#!/bin/sh\nwhile [ "$1" != /bin/sh ]; do shift; done\nexec "$@"\n')
    program.chmod(0o755)
    return program


def places(ansible: Ansible, simulator: Simulator) -> dict[str, tuple[dict[str, Any], bool]]:
    """What a task may have, and whether the module has to run then."""
    connect = {"api_key": simulator.key, "api_url": simulator.api_url}
    become = {"become": True, "vars": {"ansible_become_exe": str(sudo(ansible.folder))}}
    return {
        "nothing": ({}, False),
        "async": ({"async": 60, "poll": 1}, True),
        "environment": ({"environment": {"ANY": "1"}}, True),
        "empty environment": ({"environment": {}}, False),
        "empty environment from a variable": ({"environment": "{{ {} }}"}, False),
        "become": (become, True),
        "no become": ({"become": False}, False),
        "localhost": ({"delegate_to": "localhost"}, False),
        "127.0.0.1": ({"delegate_to": "127.0.0.1"}, False),
        "::1": ({"delegate_to": "::1"}, False),
        "a local host": ({"delegate_to": "here"}, False),
        "a remote host": ({"delegate_to": "web1", "module_defaults": {DEFAULTS: connect}}, True),
    }


@pytest.mark.smoke
def test_module_runs_where_a_task_asks_for_another_place(simulator: Simulator, ansible: Ansible) -> None:
    cases = places(ansible, simulator)
    ansible.environment["ANSIBLE_ASYNC_DIR"] = str(ansible.folder / "async")
    ansible.write("here.yml", {"all": {"hosts": {"here": {"ansible_connection": "local"}}}})
    tasks: list[dict[str, Any]] = []
    for number, (name, (keywords, _is_sent)) in enumerate(cases.items()):
        # No host of its own is needed either way: localhost is not in the inventory.
        tasks.append({"name": f"Case {name}", MACHINE_INFO: {"name": "web2"}, "register": f"case_{number}", **keywords})
    tasks.extend(
        {
            "name": "Check",
            "ansible.builtin.assert": {"that": [f"case_{number}.machines | map(attribute='name') == ['web2']"]},
        }
        for number in range(len(cases))
    )
    play = {"hosts": "localhost", "gather_facts": False, "tasks": tasks}
    result = ansible.playbook([play], "-vvv", "-i", simulator.inventory, "-i", ansible.folder / "here.yml")
    parts = result.stdout.split("TASK [Case ")[1:]
    assert len(parts) == len(cases)
    for part, (name, (_keywords, is_sent)) in zip(parts, cases.items(), strict=True):
        assert part.startswith(f"{name}]")
        assert (f"{SENT} " in part and "paperspace_machine_info.py" in part) == is_sent, name


def test_work_in_the_background_is_the_modules(simulator: Simulator, ansible: Ansible) -> None:
    ansible.environment["ANSIBLE_ASYNC_DIR"] = str(ansible.folder / "async")
    start = {SNAPSHOT: {"machine_id": simulator.ids()["web1"], "name": "x"}, "async": 60, "poll": 0}
    wait = {
        "ansible.builtin.async_status": {"jid": "{{ result_0.ansible_job_id }}"},
        "until": "result_1.finished",
        "retries": 50,
        "delay": 0.2,
    }
    started, ended = results(ansible, [start, wait])
    assert started["ansible_job_id"]
    assert ended["snapshot"]["status"] == "created"


def test_module_defaults_are_taken_and_their_key_is_hidden(simulator: Simulator, ansible: Ansible) -> None:
    del ansible.environment["PAPERSPACE_API_KEY"]
    defaults = {DEFAULTS: {"api_key": simulator.key}, MACHINE_INFO: {"name": "web1"}}
    tasks = [{MACHINE_INFO: {}}, {MACHINE_INFO: {"name": "db1"}}]
    found, overridden = results(ansible, tasks, module_defaults=defaults)
    assert [machine["name"] for machine in found["machines"]] == ["web1"]
    assert [machine["name"] for machine in overridden["machines"]] == ["db1"]


@pytest.mark.smoke
def test_an_encrypted_key_is_decrypted_and_hidden(simulator: Simulator, ansible: Ansible) -> None:
    del ansible.environment["PAPERSPACE_API_KEY"]
    password = ansible.write("password", "secret")
    command = ["encrypt_string", "--vault-password-file", password, "--stdin-name", "api_key"]
    done = subprocess.run(
        ["ansible-vault", *map(str, command)],
        input=simulator.key,
        env=ansible.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    # Not even that is shown.
    indented = "\n".join(f"        {line}" for line in done.stdout.splitlines())
    ansible.write(
        "playbook.yml",
        "- hosts: localhost\n  gather_facts: false\n  tasks:\n"
        f"    - {MACHINE_INFO}:\n        name: web1\n{indented}\n      register: found\n"
        "    - ansible.builtin.assert:\n        that: found.machines | length == 1\n"
        "    - ansible.builtin.debug:\n        var: found\n",
    )
    ansible.run("ansible-playbook", "playbook.yml", "-vvvv", "--vault-password-file", password)


def test_keywords_of_tasks_mean_what_they_always_mean(simulator: Simulator, ansible: Ansible) -> None:
    ids = simulator.ids()
    simulator.add_fault("status", method="POST", machine_id=ids["web1"], status=412, times=1)
    flaky = {SNAPSHOT: {"machine_id": ids["web1"], "name": "x"}, "until": "result_0 is not failed", "delay": 0}
    looped = {SNAPSHOT: {"machine_id": "{{ item }}", "name": "y"}, "loop": [ids["web2"], ids["web3"]]}
    refused = {SNAPSHOT: {"machine_id": "psnobody", "name": "y"}}
    forgiven = {**refused, "failed_when": "'psnobody' not in result_2.msg"}
    kept = {**refused, "failed_when": "result_3.changed", "changed_when": True}
    slow = {SNAPSHOT: {"machine_id": ids["db1"], "name": "slow"}, "timeout": 1}
    skipped = {**refused, "when": False}
    simulator.add_fault("event", method="POST", machine_id=ids["db1"], state="done", seconds=30)
    found = results(ansible, [flaky, looped, forgiven, kept, slow, skipped])
    assert found[0]["attempts"] == 2
    assert found[0]["snapshot"]["status"] == "created"
    assert [item["snapshot"]["status"] for item in found[1]["results"]] == ["created", "created"]
    assert not found[2]["failed"]
    assert found[3]["failed"]
    assert found[4]["failed"]
    assert "Timed out" in found[4]["msg"] or "time frame" in found[4]["msg"]
    assert found[5]["skipped"]


@pytest.mark.smoke
def test_a_fleet_in_one_task_is_handled_once(simulator: Simulator, ansible: Ansible) -> None:
    ids = "{{ ansible_play_hosts_all | map('extract', hostvars, 'paperspace_id') }}"
    task = {
        SNAPSHOT: {"machine_ids": ids, "name": "x"},
        "run_once": True,
        "register": "taken",
    }
    check = {"ansible.builtin.assert": {"that": "taken.snapshots | length == 5"}}
    ansible.playbook(
        [{"hosts": "all", "gather_facts": False, "tasks": [task, check]}], "-i", simulator.inventory, "-vvvv"
    )
    assert simulator.done_counts()["creates"] == 5


@contextmanager
def running(ansible: Ansible, tasks: Sequence[Mapping[str, Any]], *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """ansible-playbook in a process group of its own, its output in a pipe."""
    playbook = ansible.write("playbook.yml", [{"hosts": "localhost", "gather_facts": False, "tasks": list(tasks)}])
    with subprocess.Popen(
        ["ansible-playbook", str(playbook), *arguments],
        cwd=ansible.folder,
        env=ansible.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.smoke
def test_progress_is_shown_while_the_work_goes_on(simulator: Simulator, ansible: Ansible) -> None:
    ids = simulator.ids()
    simulator.add_fault("event", method="POST", machine_id=ids["web1"], state="error", error=SPACE, seconds=0.1)
    simulator.add_fault("event", method="POST", machine_id=ids["web2"], state="done", seconds=60)
    task = {SNAPSHOT: {"machine_ids": list(ids.values()), "name": "x", "wait_interval": 0.2}}
    with running(ansible, [task]) as process:
        assert process.stdout
        lines = []
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if " under way after " in line:
                break
        # It is seen before the work has ended, and only then the work goes on.
        assert process.poll() is None
        assert [event["state"] for event in simulator.events(ids["web2"])][-1] == "in progress"
        simulator.control("POST", "/clock", {"advance": 60})
        rest, _errors = process.communicate(timeout=60)
    assert lines[-1].startswith("[localhost] 3 of 5 done, 1 failed, 1 under way after ")
    failed = f"[localhost] machine {ids['web1']}, snapshot x: failed: Event "
    # Without the character that begins what a terminal obeys.
    assert [line.startswith(failed) and line.endswith("no ?[31mspace") for line in lines].count(True) == 1
    assert "4 of 5 done, 1 failed after " in rest
    assert process.returncode == 2


def test_a_single_machine_is_named_with_what_it_waits_for(simulator: Simulator, ansible: Ansible) -> None:
    machine_id = simulator.ids()["web1"]
    simulator.settings(stop_seconds=3)
    result = ansible.playbook(
        [
            {
                "hosts": "localhost",
                "gather_facts": False,
                "tasks": [{MACHINE: {"machine_id": machine_id, "state": "stopped"}}],
            }
        ]
    )
    assert f"[localhost] machine {machine_id} (web1): under way after 2 s (waits for event " in result.stdout


FOR_PROGRAMS = """
from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "jsonl"

    def v2_playbook_on_stats(self, stats):
        self._display.display("{}")
"""


@pytest.mark.parametrize("quiet", ["no_log", "quick", "stdout for programs"])
def test_progress_is_not_shown(simulator: Simulator, ansible: Ansible, quiet: str) -> None:
    if quiet != "quick":
        simulator.settings(snapshot_seconds=3)
    if quiet == "stdout for programs":
        ansible.write("jsonl.py", FOR_PROGRAMS)
        ansible.environment["ANSIBLE_CALLBACK_PLUGINS"] = str(ansible.folder)
        ansible.environment["ANSIBLE_STDOUT_CALLBACK"] = "jsonl"
    task = {
        SNAPSHOT: {"machine_ids": list(simulator.ids().values()), "name": "covert"},
        "no_log": quiet == "no_log",
    }
    verbose = () if quiet == "stdout for programs" else ("-vvvv",)
    result = ansible.playbook([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}], *verbose)
    assert "under way" not in result.output
    assert " of 5 done" not in result.output
    assert quiet != "stdout for programs" or result.stdout == "{}\n"
    assert quiet != "no_log" or "covert" not in result.stdout.partition("TASK [")[2]
    assert simulator.done_counts()["creates"] == 5


@pytest.mark.parametrize("whom", ["the group", "ansible-playbook"])
def test_interrupted_work_ends_soon_and_is_joined_by_the_next_run(
    simulator: Simulator, ansible: Ansible, whom: str
) -> None:
    simulator.settings(snapshot_seconds=60)
    task = {SNAPSHOT: {"machine_ids": list(simulator.ids().values()), "name": "x"}}
    with running(ansible, [task]) as process:
        deadline = time.monotonic() + 60
        while simulator.calls("POST").count("POST /snapshots") < 5:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        if whom == "the group":
            os.killpg(process.pid, signal.SIGINT)
        else:
            os.kill(process.pid, signal.SIGINT)
        output, _errors = process.communicate(timeout=30)
    assert process.returncode not in (0, None)
    assert "changed: [" not in output
    simulator.clear_log()
    time.sleep(1.5)
    assert simulator.calls() == [], "a worker lives on"
    simulator.control("POST", "/clock", {"advance": 60})
    again = ansible.task(task)
    assert [entry["status"] for entry in again["snapshots"]] == ["unchanged"] * 5
    assert simulator.done_counts()["creates"] == 5


def test_without_requests_the_controllers_python_is_named(
    simulator: Simulator, ansible: Ansible, tmp_path: Path
) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "requests.py").write_text("raise ImportError('hidden')\n")
    ansible.environment["PYTHONPATH"] = str(hidden)
    task = {SNAPSHOT: {"machine_id": simulator.ids()["web1"], "name": "x"}}
    here, there = results(ansible, [task, {**task, "environment": {"IN_THE_MODULE": "1"}}])
    assert here["failed"]
    assert "Failed to import the required Python library (requests)" in here["msg"]
    assert here["msg"] == there["msg"]
    assert shlex.quote(ansible.environment["ANSIBLE_PYTHON_INTERPRETER"]) in here["msg"]
