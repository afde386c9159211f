# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the recording of the demonstration shows, and what the demonstration leaves out of Ansible's output."""

from __future__ import annotations

import importlib.util
import re
import sys
from html import unescape
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from ansible_collections.community.paperspace.plugins.filter.open_run_lines import open_run_lines

ROOT = Path(__file__).parents[3]
COLUMNS = 96


@pytest.fixture(scope="module")
def lines() -> list[str]:
    """The lines of the recording, without their colours."""
    picture = (ROOT / "docs" / "demo.svg").read_text("utf-8")
    return [unescape(re.sub("<[^>]+>", "", text)) for text in re.findall("<text [^>]*>(.*?)</text>", picture)]


def test_the_recording_is_of_this_version(lines: list[str]) -> None:
    version = yaml.safe_load((ROOT / "galaxy.yml").read_text("utf-8"))["version"]
    assert any(f"community.paperspace {version}," in line for line in lines), "Run make recording."


def test_the_recording_shows_no_path_of_the_machine_that_made_it(lines: list[str]) -> None:
    # But what the demonstration has in its own folder.
    paths = [path for line in lines for path in re.findall(r"(?<![\w.~:/])/[a-z][\w./-]*", line)]
    assert [path for path in paths if not path.startswith("/tmp/paperspace-demo-")] == []


def test_the_recording_cuts_nothing_off(lines: list[str]) -> None:
    assert [line for line in lines if "\u2026" in line or len(line) > COLUMNS] == []
    commands = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    play = "ansible-playbook -i inventory community.paperspace"
    assert {
        f"{play}.maintenance -e @maintenance.yml",
        f"{play}.maintenance -l web -e @next.yml",
        f"{play}.recover",
        f"{play}.recover -e recover_action=rollback",
    } <= set(commands)


def test_the_recording_says_what_recover_says_now(lines: list[str]) -> None:
    run = {"run_id": "20260131T235959Z-1a2b", "began": "now", "name": "x", "machines": []}
    said = [line for line in open_run_lines([run]) if line.endswith(":")]
    assert len(said) == 2
    assert all(any(line in shown for shown in lines) for line in said), "Run make recording."


def test_the_recording_ends_with_the_proof(lines: list[str]) -> None:
    assert lines[-1].startswith("Every machine is as it should be")


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("demo_run", ROOT / "tests" / "demo" / "run.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look for their module there.
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "demo_run", module)
        spec.loader.exec_module(module)
    return module


def digested(demo: ModuleType, text: str) -> list[str]:
    """The lines that are left of these, which are the same when they have colours."""
    digest, coloured = demo.Digest(), demo.Digest()
    left = [line for taken in text.splitlines() for line in digest.take(taken)]
    with_colours = [line for taken in text.splitlines() for line in coloured.take(f"\x1b[0;32m{taken}\x1b[0m")]
    assert [re.sub("\x1b.*?m", "", line) for line in with_colours] == left
    return left


def test_tasks_in_which_nothing_is_told_are_left_out(demo: ModuleType) -> None:
    output = """\
PLAY [Maintain] ***

TASK [community.paperspace.maintenance : Note] ***
ok: [db1]
changed: [db2]
included: /somewhere/tasks.yml for db1

TASK [Restart] ***
ok: [db1]
changed: [db2]

TASK [community.paperspace.maintenance : Gather] ***
ok: [db1]
Wave 1 of 2: db1

TASK [community.paperspace.maintenance : Show] ***
ok: [db1] =>
    msg: text

PLAY RECAP ***
db1        : ok=1  changed=0

Wave 2 of 2: db2
"""
    assert digested(demo, output) == [
        "PLAY [Maintain] ***",
        "",
        "",
        "TASK [Restart] ***",
        "changed: [db2]",
        "",
        "",
        "Wave 1 of 2: db1",
        "",
        "",
        "TASK [community.paperspace.maintenance : Show] ***",
        "ok: [db1] =>",
        "    msg: text",
        "",
        "Wave 2 of 2: db2",
    ]


def test_a_failure_is_shown_once_and_without_the_excerpt(demo: ModuleType) -> None:
    output = """\
TASK [Migrate] ***
[ERROR]: Task failed: It is broken.
Origin: /somewhere/upgrade.yml:20:7

20 - name: Migrate
     ^ column 3

fatal: [db1]: FAILED! =>
    msg: It is broken.
[WARNING]: something that is said
in two lines
Rolling back db1
"""
    assert digested(demo, output) == [
        "",
        "TASK [Migrate] ***",
        "fatal: [db1]: FAILED! =>",
        "    msg: It is broken.",
        "Rolling back db1",
    ]


def test_the_task_at_which_the_controller_dies_is_still_told(demo: ModuleType) -> None:
    digest = demo.Digest()
    assert digest.take("TASK [Wait] ***") == []
    assert digest.held() == ["", "TASK [Wait] ***"]
    assert digest.held() == []
