# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guide of guarded maintenance: its examples run, and what it lists is what the code has."""

from __future__ import annotations

import dataclasses
import re
import secrets
import subprocess
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.community.paperspace.plugins.plugin_utils import _command_line
from ansible_collections.community.paperspace.plugins.plugin_utils._report import (
    ENDS,
    OUTCOMES,
    SCOPES,
    STATUSES,
    VERDICTS,
    MachineReport,
    RunReport,
)
from ansible_collections.community.paperspace.plugins.plugin_utils._waves import failure_budget, plan_waves
from ansible_fixtures import COLLECTION
from e2e.harness import MARK, kill_marked, wait_until
from e2e.playbooks import HOLD, INSTALL, REACH, Task, blip, cut_off, fail, only

GUIDE = (COLLECTION / "docs/docsite/rst/guarded_maintenance.rst").read_text("utf-8")
EXAMPLES = {
    caption: textwrap.dedent(block) for caption, block in re.findall(r"   :caption: (\S+)\n\n((?:   .*\n|\n)+)", GUIDE)
}
SECTIONS = dict(re.findall(r"^(.+)\n-{3,}\n((?:.*\n)+?)(?=\n.+\n-{3,}\n|\Z)", GUIDE, re.MULTILINE))
PLAYBOOKS = [name for name, text in EXAMPLES.items() if isinstance(yaml.safe_load(text), list)]
WEB = ("web1", "web2", "web3")


def named(section: str) -> set[str]:
    """What a section of the guide has between double backticks, options without their values."""
    return {word for text in re.findall(r"``(.+?)``", SECTIONS[section]) for word in (text, text.split()[0])}


@pytest.fixture
def examples(ansible: Any) -> Any:
    """Ansible in a folder with all examples of the guide."""
    ansible.environment["ANSIBLE_PIPELINING"] = "true"
    for name, text in EXAMPLES.items():
        ansible.write(name, text)
    return ansible


def folder(simulator: Any, host: str) -> Path:
    return Path(simulator.description["machines_dir"]) / simulator.ids()[host]


def state(simulator: Any) -> dict[str, tuple[str, str]]:
    """The version on each machine's disk, and how the run is for it: ok, restored, open, or nothing without a run."""
    found = {}
    for host in WEB:
        names = [snapshot["name"] for snapshot in simulator.snapshots(simulator.ids()[host])]
        runs = [name.removeprefix("maint-").partition("Z-")[2].partition("-")[2] or "open" for name in names]
        found[host] = ((folder(simulator, host) / "opt/app/version").read_text().strip(), " ".join(runs))
    return found


# The lists


def test_passed_options_are_listed() -> None:
    assert set(_command_line._PASSED.values()) - {"--extra-vars", "--inventory"} <= named("What your playbook gets")
    assert {"-e", "-i"} <= named("What your playbook gets")


def test_refused_options_are_listed() -> None:
    keys = {"become_ask_pass": "ask_become_pass"}
    options = {f"--{keys.get(key, key).replace('_', '-')}" for key in _command_line._REFUSED}
    assert options <= named("What is refused")


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("How verdicts are given", VERDICTS),
        ("Waves, soak, budget and scope", SCOPES),
        ("Exit codes and reports", OUTCOMES),
        ("Exit codes and reports", STATUSES),
        ("Exit codes and reports", ENDS),
        ("Exit codes and reports", [field.name for field in dataclasses.fields(RunReport)]),
        ("Exit codes and reports", [field.name for field in dataclasses.fields(MachineReport)]),
    ],
    ids=["verdicts", "scopes", "outcomes", "statuses", "ends", "fields", "fields_of_machines"],
)
def test_words_of_the_report_are_explained(section: str, words: Iterable[str]) -> None:
    assert set(words) <= named(section)


def test_variables_of_the_role_are_named() -> None:
    specs = yaml.safe_load((COLLECTION / "roles/maintenance/meta/argument_specs.yml").read_text("utf-8"))
    text = re.sub("<ansible_collections.+?>", "", GUIDE)
    assert [name for name in specs["argument_specs"]["main"]["options"] if name not in text] == []
    known = {name for spec in specs["argument_specs"].values() for name in spec["options"]}
    # Of the playbooks.
    known |= {"maintenance_hosts", "recover_hosts"}
    assert set(re.findall(r"\b(?:maintenance|recover)_[a-z_]+", text)) <= known | {"recover_variables"}


def test_numbers_of_the_worked_example() -> None:
    rollout = yaml.safe_load(EXAMPLES["rollout.yml"])
    assert plan_waves(rollout["maintenance_waves"], 20) == [1, 5, 14]
    assert failure_budget(rollout["maintenance_max_failures"], 20) == 2
    assert "The waves have 1, 5 and 14 machines" in GUIDE
    assert "10% of 20 are 2" in GUIDE


# The examples


def test_examples_are_playbooks(examples: Any, simulator: Any) -> None:
    assert len(PLAYBOOKS) == 5
    examples.run("ansible-playbook", "-i", simulator.inventory, "--syntax-check", *PLAYBOOKS)


@pytest.mark.parametrize("name", ["maintain_web.yml", "maintain_and_tell.yml"])
def test_guard_in_a_playbook_of_ones_own(examples: Any, simulator: Any, name: str) -> None:
    examples.write("patch.yml", [{"hosts": "all", "gather_facts": False, "tasks": [INSTALL, fail("web2")]}])
    # As a shell sets it. What is shown has to fit on a terminal.
    examples.environment["PWD"] = str(examples.folder)
    result = examples.run("ansible-playbook", "-i", simulator.inventory, name, rc=2)
    assert re.findall(r"Report: (?:paperspace-runs/)(?:[0-9a-zA-Z-]+)\.(json|md|html)", result.stdout)
    assert state(simulator) == {"web1": ("2.0", "ok"), "web2": ("1.0", "restored"), "web3": ("2.0", "ok")}
    assert not simulator.snapshots(simulator.ids()["db1"])
    if name == "maintain_and_tell.yml":
        told = re.findall(r"(\w+) is maintained", result.stdout)
        assert sorted(told) == ["web1", "web3"]


# With block and rescue

RESCUE = "upgrade_with_rescue.yml"
DIE: Task = {
    "name": "Read a secret",
    "ansible.builtin.command": "echo {{ lookup('ansible.builtin.pipe', 'kill -9 $PPID') }}",
    "when": only("web2"),
}


def upgrade(examples: Any, simulator: Any, *tasks: Task, rc: int) -> Any:
    """Run the example with these tasks after the installation."""
    examples.write("upgrade.yml", [INSTALL, *tasks])
    return examples.run("ansible-playbook", "-i", simulator.inventory, RESCUE, rc=rc)


def test_rescue_rolls_back_what_fails(examples: Any, simulator: Any) -> None:
    upgrade(examples, simulator, fail("web2"), rc=2)
    assert state(simulator) == {"web1": ("2.0", "ok"), "web2": ("1.0", "restored"), "web3": ("2.0", "ok")}


def test_rescue_does_not_run_for_an_unreachable_host(examples: Any, simulator: Any) -> None:
    plays = yaml.safe_load(EXAMPLES[RESCUE])
    plays[0]["tasks"][1]["always"] = [{"ansible.builtin.debug": {"msg": "always on {{ inventory_hostname }}"}}]
    examples.write(RESCUE, plays)
    result = upgrade(examples, simulator, cut_off("web2"), rc=4)
    assert state(simulator) == {"web1": ("2.0", "ok"), "web2": ("2.0", "open"), "web3": ("2.0", "ok")}
    assert sorted(re.findall(r"always on (\w+)", result.stdout)) == ["web1", "web3"]
    # What is left open, recover finds and rolls back.
    recover = ("ansible-playbook", "-i", simulator.inventory, "community.paperspace.recover")
    examples.run(*recover, "-e", "recover_action=rollback", "-e", "recover_reconnect=false")
    assert state(simulator)["web2"] == ("1.0", "restored")


def test_lost_batch_ends_the_playbook_with_all_later_plays(examples: Any, simulator: Any) -> None:
    plays = yaml.safe_load(EXAMPLES[RESCUE])
    plays[0]["serial"] = 1
    later = {"ansible.builtin.debug": {"msg": "a later play"}}
    examples.write(RESCUE, [*plays, {"hosts": "web", "gather_facts": False, "tasks": [later]}])
    result = upgrade(examples, simulator, cut_off("web1"), rc=4)
    assert state(simulator) == {"web1": ("2.0", "open"), "web2": ("1.0", ""), "web3": ("1.0", "")}
    assert "a later play" not in result.stdout


def test_blip_that_is_ignored_passes_as_success(examples: Any, simulator: Any) -> None:
    upgrade(examples, simulator, blip("web2", ignore_unreachable=True), REACH, rc=0)
    assert state(simulator) == dict.fromkeys(WEB, ("2.0", "ok"))


@pytest.mark.parametrize(
    "task",
    [
        {"name": "Nobody knows this", "ansible.builtin.include_tasks": "unknown.yml"},
        {"name": "This has no end", "ansible.builtin.include_tasks": "broken.yml"},
        DIE,
    ],
    ids=["unknown_module", "broken_include", "dead_worker"],
)
def test_playbook_breaks_off_without_rescue_and_recap(examples: Any, simulator: Any, task: Task) -> None:
    examples.write("unknown.yml", "- name: Nobody knows this\n  community.nowhere.nothing: {}\n")
    examples.write("broken.yml", "- name: This has no end\n  ansible.builtin.debug: {msg: [\n")
    result = upgrade(examples, simulator, task, rc=None)
    assert result.rc != 0
    assert state(simulator) == dict.fromkeys(WEB, ("2.0", "open"))
    assert "PLAY RECAP" not in result.stdout


def test_killed_controller_rescues_nothing(examples: Any, simulator: Any) -> None:
    mark = secrets.token_hex(8)
    examples.write("upgrade.yml", [INSTALL, HOLD])
    command = ["ansible-playbook", "-i", str(simulator.inventory), RESCUE]
    environment = {**examples.environment, MARK: mark}
    with subprocess.Popen(
        command, cwd=examples.folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ):
        try:
            wait_until(lambda: all((folder(simulator, host) / "held").exists() for host in WEB), 60)
        finally:
            kill_marked(mark)
    assert state(simulator) == dict.fromkeys(WEB, ("2.0", "open"))
