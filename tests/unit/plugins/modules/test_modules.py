# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules as Ansible runs them: their documentation says what they take, and bad input is one clear error."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils import basic
from unit.simulated_fleet import API_URL, KEY, Fleet, attach

from ansible_collections.community.paperspace.plugins.doc_fragments import connection, waiting
from ansible_collections.community.paperspace.plugins.module_utils import _module
from ansible_collections.community.paperspace.plugins.module_utils._connection import CONNECTION_SPEC

PLUGINS = "ansible_collections.community.paperspace.plugins"
MODULES = ("paperspace_snapshot", "paperspace_snapshot_info", "paperspace_machine", "paperspace_machine_info")


def described(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as documented, in the form of an argument spec."""
    found = {}
    for name, option in options.items():
        spec = {key: value for key, value in option.items() if key not in ("description", "suboptions")}
        if "suboptions" in option:
            spec["options"] = described(option["suboptions"])
        found[name] = spec
    return found


def without_secrecy(spec: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A spec without what documentation does not have."""
    return {name: {key: value for key, value in option.items() if key != "no_log"} for name, option in spec.items()}


def test_connection_fragment_is_the_spec() -> None:
    documented = yaml.safe_load(connection.ModuleDocFragment.DOCUMENTATION)["options"]
    assert described(documented) == without_secrecy(CONNECTION_SPEC)
    assert CONNECTION_SPEC["api_key"]["no_log"] is True


def test_waiting_fragment_is_the_spec() -> None:
    documented = yaml.safe_load(waiting.ModuleDocFragment.DOCUMENTATION)["options"]
    assert described(documented) == _module.WAIT_SPEC


@pytest.mark.parametrize("name", MODULES)
def test_documentation_is_the_spec(name: str) -> None:
    module = importlib.import_module(f"{PLUGINS}.modules.{name}")
    documentation = yaml.safe_load(module.DOCUMENTATION)
    documented = described(documentation["options"])
    if "community.paperspace.waiting" in documentation["extends_documentation_fragment"]:
        documented |= _module.WAIT_SPEC
    assert documented == module.OPTIONS
    assert "community.paperspace.connection" in documentation["extends_documentation_fragment"]
    assert documentation["module"] == name


@pytest.mark.parametrize("name", MODULES)
def test_examples_and_returns_can_be_read(name: str) -> None:
    module = importlib.import_module(f"{PLUGINS}.modules.{name}")
    spec = _module.argument_spec(**module.OPTIONS)
    takes = {option for name, entry in spec.items() for option in (name, *entry.get("aliases", ()))}
    used = [
        task[f"community.paperspace.{name}"]
        for task in yaml.safe_load(module.EXAMPLES)
        if f"community.paperspace.{name}" in task
    ]
    assert used
    assert all(set(options) <= takes for options in used)
    assert yaml.safe_load(module.RETURN)


def run(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    options: dict[str, Any],
    fleet: Fleet | None = None,
) -> tuple[dict[str, Any], int]:
    """The module's one answer and its exit code, as Ansible gets them."""
    if fleet is not None:
        attach(monkeypatch, fleet)
    given = {"_ansible_remote_tmp": "/tmp", "_ansible_keep_remote_files": False, **options}
    monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": given}).encode())
    monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
    module = importlib.import_module(f"{PLUGINS}.modules.{name}")
    with pytest.raises(SystemExit) as ended:
        module.main()
    written = capsys.readouterr()
    assert "Traceback" not in written.out + written.err
    assert KEY not in written.out.replace(f'"api_url": "{API_URL}"', "")
    (line,) = written.out.strip().splitlines()
    answer = json.loads(line)
    assert isinstance(answer, dict)
    code = ended.value.code
    assert isinstance(code, int)
    return answer, code


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


CONNECT = {"api_key": KEY, "api_url": API_URL}
BAD: dict[str, tuple[str, dict[str, Any], str]] = {
    "no key": ("paperspace_machine_info", {"api_url": API_URL}, "No API key"),
    "clear text": ("paperspace_machine_info", {"api_key": KEY, "api_url": "http://example.test/v1"}, "clear text"),
    "no machines": ("paperspace_snapshot", {**CONNECT, "machine_ids": [], "name": "x"}, "machine_ids"),
    "present without name": ("paperspace_snapshot", {**CONNECT, "machine_id": "ps1"}, "needs name"),
    "negative keep": (
        "paperspace_snapshot",
        {**CONNECT, "machine_id": "ps1", "state": "absent", "name_prefix": "x", "keep": -1},
        "keep must be 0 or more",
    ),
    "keep without prefix": (
        "paperspace_snapshot",
        {**CONNECT, "machine_id": "ps1", "state": "absent", "name": "x", "keep": 1},
        "keep needs name_prefix",
    ),
    "ids and name": (
        "paperspace_snapshot",
        {**CONNECT, "snapshot_ids": ["ss1"], "state": "absent", "name": "x"},
        "exclude each other",
    ),
    "id that is a path": ("paperspace_snapshot", {**CONNECT, "machine_id": "../x", "name": "x"}, "is not an id"),
    "id that is a path, for info": ("paperspace_snapshot_info", {**CONNECT, "machine_id": "../x"}, "is not an id"),
    "id that is a path, for machines": (
        "paperspace_machine",
        {**CONNECT, "machine_id": "x?y", "state": "started"},
        "is not an id",
    ),
    "nothing to do": ("paperspace_machine", {**CONNECT, "machine_id": "ps1"}, "nothing to do"),
    "endless wait": (
        "paperspace_machine",
        {**CONNECT, "machine_id": "ps1", "state": "started", "wait_timeout": "inf"},
        "wait_timeout",
    ),
    "wrong choice": ("paperspace_machine", {**CONNECT, "machine_id": "ps1", "state": "gone"}, "state"),
    "unknown option": ("paperspace_snapshot", {**CONNECT, "machine_id": "ps1", "nmae": "x"}, "nmae"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_error_and_no_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    name, options, said = BAD[case]
    fleet = Fleet()
    answer, code = run(monkeypatch, capsys, name, options, fleet)
    assert (answer["failed"], code) == (True, 1)
    assert said in answer["msg"]
    assert len(fleet.service.log) == 0


# What no number of seconds, requests or tries can be, by option.
NUMBERS: dict[str, tuple[Any, ...]] = {
    "concurrency": (0, -1, 1001, "many"),
    "request_timeout": (0, -0.5, "nan", "inf", "long"),
    "retries": (-1, "often"),
    "wait_timeout": (0, -1, "nan", "inf", "long"),
    "wait_interval": (0, -1, "nan", "inf", "often"),
}
USUAL: dict[str, dict[str, Any]] = {
    "paperspace_snapshot": {"name": "before"},
    "paperspace_snapshot_info": {},
    "paperspace_machine": {"state": "stopped"},
    "paperspace_machine_info": {},
}
WAITING = ("wait_timeout", "wait_interval")


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        (name, option, value)
        for name in MODULES
        for option, values in NUMBERS.items()
        for value in values
        if option not in WAITING or not name.endswith("_info")
    ],
)
def test_impossible_number_is_one_error_and_no_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, option: str, value: Any
) -> None:
    fleet = Fleet()
    options = {**CONNECT, **USUAL[name], "machine_ids": fleet.machine_ids, option: value}
    answer, code = run(monkeypatch, capsys, name, options, fleet)
    assert (answer["failed"], code) == (True, 1)
    assert option in answer["msg"]
    assert "\n" not in answer["msg"]
    assert len(fleet.service.log) == 0


FLEET_TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "present": ("paperspace_snapshot", {"name": "new"}),
    "rename": ("paperspace_snapshot", {"name": "old", "new_name": "new"}),
    "absent": ("paperspace_snapshot", {"state": "absent", "name": "old"}),
    "prune": ("paperspace_snapshot", {"state": "absent", "name_prefix": "old", "keep": 0}),
    "restored": ("paperspace_snapshot", {"state": "restored", "name": "old"}),
    "stopped": ("paperspace_machine", {"state": "stopped"}),
    "settings": ("paperspace_machine", {"auto_snapshot": {"enabled": True}}),
}


@pytest.mark.parametrize("task", FLEET_TASKS)
def test_fleet_with_unknown_ids_is_left_alone_unless_they_may_be_skipped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], task: str
) -> None:
    fleet = Fleet(3)
    for machine_id in fleet.machine_ids:
        fleet.made_snapshot("old", machine_id)
    name, wish = FLEET_TASKS[task]
    ids = ["psnobody", *fleet.machine_ids, "psnoone"]
    options = {**CONNECT, **wish, "machine_ids": ids}
    answer, code = run(monkeypatch, capsys, name, options, fleet)
    assert (answer["failed"], code) == (True, 1)
    assert "No machine has the id psnobody, psnoone. Nothing was touched" in answer["msg"]
    assert fleet.writes() == []
    answer, code = run(monkeypatch, capsys, name, {**options, "skip_missing": True}, fleet)
    assert code == 0
    entries = answer["machines" if name == "paperspace_machine" else "snapshots"]
    assert [entry["machine_id"] for entry in entries] == ids
    assert [entry["status"] == "skipped" for entry in entries] == [True, False, False, False, True]
    assert len(fleet.writes()) == 3


def warnings_of(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the module warns of; Ansible keeps warnings for the whole process."""
    warnings: list[str] = []
    monkeypatch.setattr(basic.AnsibleModule, "warn", lambda _module, warning: warnings.append(warning))
    return warnings


@pytest.mark.parametrize("task", FLEET_TASKS)
def test_machine_that_is_named_more_than_once_is_handled_once_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], task: str
) -> None:
    fleet = Fleet(3)
    for machine_id in fleet.machine_ids:
        fleet.made_snapshot("old", machine_id)
    warnings = warnings_of(monkeypatch)
    first, second, third = fleet.machine_ids
    name, wish = FLEET_TASKS[task]
    options = {**CONNECT, **wish, "machine_ids": [second, first, second, third, first, second]}
    answer, code = run(monkeypatch, capsys, name, options, fleet)
    assert code == 0
    entries = answer["machines" if name == "paperspace_machine" else "snapshots"]
    assert [entry["machine_id"] for entry in entries] == [second, first, third]
    assert len(fleet.writes()) == 3
    (warning,) = warnings
    assert f"machine_ids names {second}, {first} more than once" in warning


@pytest.mark.parametrize("state", ["absent", "restored"])
def test_snapshot_that_is_named_more_than_once_is_handled_once_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], state: str
) -> None:
    fleet = Fleet()
    snapshot_id = fleet.made_snapshot("old")
    warnings = warnings_of(monkeypatch)
    options = {**CONNECT, "state": state, "snapshot_ids": [snapshot_id, snapshot_id]}
    answer, code = run(monkeypatch, capsys, "paperspace_snapshot", options, fleet)
    assert (code, len(answer["snapshots"]), len(fleet.writes())) == (0, 1, 1)
    (warning,) = warnings
    assert f"snapshot_ids names {snapshot_id} more than once" in warning


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "HTML": ({"action": "html", "status": 403}, "without JSON"),
    "nothing": ({"action": "empty"}, "without JSON: (empty)"),
    "no required fields": ({"action": "without_fields"}, "required field"),
    "a dropped connection": ({"action": "lost"}, "connection broke"),
    "no connection": ({"action": "refused"}, "no connection"),
}


@pytest.mark.parametrize("path", ["/auth/session", "/machines.*"])
@pytest.mark.parametrize("fault", FAULTS)
def test_broken_service_is_one_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fault: str, path: str
) -> None:
    fleet = Fleet()
    rule, said = FAULTS[fault]
    fleet.service.faults.add({**rule, "path": path})
    options = {**CONNECT, "retries": 1, "machine_ids": [fleet.machine_id], "name": "x"}
    answer, code = run(monkeypatch, capsys, "paperspace_snapshot", options, fleet)
    assert code == 1
    assert said in answer["msg"]
    assert "GET " in answer["msg"]


def test_unknown_key_is_one_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fleet = Fleet()
    options = {"api_key": "unknown-key-abc", "api_url": API_URL, "machine_id": fleet.machine_id, "name": "x"}
    answer, code = run(monkeypatch, capsys, "paperspace_snapshot", options, fleet)
    assert code == 1
    assert "does not know this API key" in answer["msg"]
    assert "unknown-key-abc" not in json.dumps(answer)


@pytest.mark.parametrize("name", MODULES)
def test_without_requests_is_one_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setattr(_module, "HAS_REQUESTS", False)
    options: dict[str, Any] = {**CONNECT}
    if not name.endswith("_info"):
        options["machine_id"] = "ps1"
    answer, code = run(monkeypatch, capsys, name, options)
    assert code == 1
    assert "requests" in answer["msg"]
    assert "Python" in answer["msg"]


def test_snapshot_of_one_machine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fleet = Fleet()
    options = {**CONNECT, "machine_id": fleet.machine_id, "name": "before"}
    answer, code = run(monkeypatch, capsys, "paperspace_snapshot", options, fleet)
    assert (code, answer["changed"]) == (0, True)
    assert answer["snapshots"] == [answer["snapshot"]]
    assert answer["snapshot"]["status"] == "created"
    documented = yaml.safe_load(importlib.import_module(f"{PLUGINS}.modules.paperspace_snapshot").RETURN)
    assert set(answer["snapshot"]) == set(documented["snapshots"]["contains"])


def test_failed_entry_fails_the_task_and_every_entry_is_returned(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fleet = Fleet(2)
    fleet.fault("event", method="POST", machine_id=fleet.machine_ids[1], state="error", error="no space")
    options = {**CONNECT, "machine_ids": fleet.machine_ids, "name": "before"}
    answer, code = run(monkeypatch, capsys, "paperspace_snapshot", options, fleet)
    assert (code, answer["failed"], answer["changed"]) == (1, True, True)
    assert [entry["status"] for entry in answer["snapshots"]] == ["created", "failed"]
    assert fleet.machine_ids[1] in answer["msg"]
    assert fleet.machine_ids[0] not in answer["msg"]
    assert "snapshot" not in answer


def test_machine_entry_is_as_documented(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fleet = Fleet()
    options = {**CONNECT, "machine_id": fleet.machine_id, "state": "restarted", "_ansible_check_mode": True}
    answer, code = run(monkeypatch, capsys, "paperspace_machine", options, fleet)
    assert (code, answer["machine"]["status"]) == (0, "would_restart")
    assert fleet.writes() == []
    documented = yaml.safe_load(importlib.import_module(f"{PLUGINS}.modules.paperspace_machine").RETURN)
    assert set(answer["machine"]) == set(documented["machines"]["contains"])
