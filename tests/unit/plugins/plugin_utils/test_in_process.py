# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules in the controller: where they run, what they take, what they return, and what nobody gets to see."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable, Mapping
from datetime import date, datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible import constants
from ansible.parsing.dataloader import DataLoader
from ansible.utils.unsafe_proxy import wrap_var
from unit import simulated_fleet
from unit.simulated_fleet import API_URL, KEY, Fleet

from ansible_collections.community.paperspace.plugins.action import (
    paperspace_machine,
    paperspace_machine_info,
    paperspace_snapshot,
    paperspace_snapshot_info,
)
from ansible_collections.community.paperspace.plugins.module_utils import _module
from ansible_collections.community.paperspace.plugins.plugin_utils import _in_process, _live
from ansible_collections.community.paperspace.plugins.plugin_utils._in_process import (
    InProcessAction,
    plain,
    without_secrets,
)

pytestmark = pytest.mark.smoke

ACTIONS: dict[str, type[InProcessAction]] = {
    "paperspace_machine": paperspace_machine.ActionModule,
    "paperspace_machine_info": paperspace_machine_info.ActionModule,
    "paperspace_snapshot": paperspace_snapshot.ActionModule,
    "paperspace_snapshot_info": paperspace_snapshot_info.ActionModule,
}
CONNECT = {"api_key": KEY, "api_url": API_URL}


def action_of(name: str, arguments: Mapping[str, Any], **changes: Any) -> InProcessAction:
    """The action as Ansible makes it for a task. C(changes): of its task, or C(transport) and C(become)."""
    connection = SimpleNamespace(
        _shell=SimpleNamespace(tmpdir=None, env_prefix=lambda **_environment: ""),
        transport=changes.pop("transport", "ssh"),
        become=changes.pop("become", None),
        **changes.pop("connection", {}),
    )
    task = {
        "action": f"community.paperspace.{name}",
        "args": dict(arguments),
        "async_val": 0,
        "check_mode": False,
        "delegate_to": None,
        "diff": False,
        "environment": [],
        "no_log": False,
        **changes,
    }
    templar = SimpleNamespace(template=lambda value: value)
    return ACTIONS[name](SimpleNamespace(**task), connection, None, DataLoader(), templar, None)


def run(name: str, arguments: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    return action_of(name, arguments, **changes).run(task_vars={"inventory_hostname": "web1"})


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def attach(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fleet], None]:
    """Let actions reach a simulated fleet, in its time."""

    return functools.partial(simulated_fleet.attach, monkeypatch)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is shown at once."""
    lines: list[str] = []
    monkeypatch.setattr(_in_process, "show", lambda text, _display: lines.append(text))
    return lines


class Sent(Exception):
    """The module was sent somewhere."""


@pytest.mark.parametrize(
    ("changes", "is_sent"),
    [
        ({}, False),
        ({"transport": "local"}, False),
        ({"delegate_to": "localhost", "transport": "local"}, False),
        ({"delegate_to": "jump", "transport": "local"}, False),
        ({"delegate_to": "jump"}, True),
        # Whoever gives localhost another connection means another place.
        ({"delegate_to": "localhost", "transport": "ssh"}, True),
        ({"async_val": 60}, True),
        ({"become": object()}, True),
        ({"environment": [{"A": "b"}]}, True),
        ({"environment": [{}, None]}, False),
        ({"environment": None}, False),
    ],
)
def test_where_the_work_is_done(monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], is_sent: bool) -> None:
    def send(self: InProcessAction, **_options: Any) -> dict[str, Any]:
        raise Sent

    monkeypatch.setattr(InProcessAction, "_execute_module", send)
    if is_sent:
        with pytest.raises(Sent):
            run("paperspace_machine", {}, **changes)
    else:
        assert "missing required arguments: machine_ids" in run("paperspace_machine", {}, **changes)["msg"]


@pytest.mark.parametrize(
    ("changes", "wraps"),
    [
        ({"async_val": 60}, True),
        ({"async_val": 60, "connection": {"has_native_async": False}}, True),
        ({"async_val": 60, "connection": {"has_native_async": True}}, False),
        ({"environment": [{"A": "b"}]}, False),
    ],
)
def test_how_the_module_is_sent(monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], wraps: bool) -> None:
    sent: list[dict[str, Any]] = []

    def send(self: InProcessAction, **options: Any) -> dict[str, Any]:
        sent.append(options)
        return {"changed": True, "ansible_job_id": "j1"}

    monkeypatch.setattr(InProcessAction, "_execute_module", send)
    assert run("paperspace_machine", {}, **changes) == {"changed": True, "ansible_job_id": "j1"}
    assert sent == [{"task_vars": {"inventory_hostname": "web1"}, "wrap_async": wraps}]


@pytest.mark.parametrize("name", ACTIONS)
def test_actions_are_those_of_their_modules(name: str) -> None:
    module = importlib.import_module(f"ansible_collections.community.paperspace.plugins.modules.{name}")
    assert ACTIONS[name].OPTIONS is module.OPTIONS
    assert ACTIONS[name].WORK is module.run


def test_action_group_has_every_action() -> None:
    folder = Path(_in_process.__file__).parents[1] / "action"
    runtime = yaml.safe_load((folder.parents[1] / "meta" / "runtime.yml").read_text())
    assert sorted(runtime["action_groups"]["paperspace"]) == sorted(path.stem for path in folder.glob("*.py"))


def test_a_fleet_gets_its_snapshots(attach: Callable[[Fleet], None], shown: list[str]) -> None:
    fleet = Fleet(2)
    attach(fleet)
    result = run("paperspace_snapshot", {**CONNECT, "machine_ids": fleet.machine_ids, "name": "x"})
    assert result["changed"]
    assert [entry["status"] for entry in result["snapshots"]] == ["created", "created"]
    assert set(result["diff"]) == {"before", "after"}
    assert "warnings" not in result
    assert "failed" not in result
    assert KEY not in str(result)


def test_check_mode_changes_nothing(attach: Callable[[Fleet], None]) -> None:
    fleet = Fleet()
    attach(fleet)
    result = run("paperspace_snapshot", {**CONNECT, "machine_id": fleet.machine_id, "name": "x"}, check_mode=True)
    assert result["snapshot"]["status"] == "would_create"
    assert fleet.service.log.calls("POST") == []


def test_failure_still_has_its_entries_and_warnings(attach: Callable[[Fleet], None], shown: list[str]) -> None:
    fleet = Fleet()
    attach(fleet)
    fleet.fault("event", method="POST", state="error", error=f"no space, said {KEY}")
    machine_ids = [fleet.machine_id, fleet.machine_id]
    result = run("paperspace_snapshot", {**CONNECT, "machine_ids": machine_ids, "name": "x"})
    assert result["failed"] is True
    assert "no space, said ***" in result["msg"]
    assert result["snapshot"]["status"] == "failed"
    assert "more than once" in result["warnings"][0]
    assert KEY not in str(result)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"machine_id": "ps1", "colour": "red"},
            "Unsupported parameters for (community.paperspace.paperspace_snapshot) module: colour. Supported",
        ),
        ({"machine_id": "ps1", "wait": "perhaps"}, "unable to convert to bool"),
        ({"machine_id": "ps1", "state": "gone"}, "value of state must be one of: present, absent, restored, got: gone"),
        ({"machine_id": "ps1"}, "needs name"),
        ({"machine_id": "ps1", "name": "x", "api_url": "http://example.test"}, "clear text"),
        ({"machine_id": "ps1", "name": "x", "api_key": None}, "No API key"),
    ],
)
def test_bad_input_is_one_message(arguments: dict[str, Any], message: str) -> None:
    result = run("paperspace_snapshot", {**CONNECT, **arguments})
    assert result["failed"] is True
    assert message in result["msg"]
    assert "snapshots" not in result


def test_option_and_alias_together_are_warned_of() -> None:
    result = run("paperspace_snapshot", {"machine_id": "ps1", "machine_ids": ["ps2"], "api_url": API_URL})
    assert result["warnings"] == ["Both option machine_ids and its alias machine_id are set."]


def test_a_secret_in_a_wrong_place_is_not_quoted() -> None:
    result = run("paperspace_snapshot", {**CONNECT, "validate_certs": f"is {KEY} good?"})
    assert result["failed"] is True
    assert KEY not in str(result)


def test_without_requests_the_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_module, "HAS_REQUESTS", False)
    result = run("paperspace_machine_info", CONNECT)
    assert result["failed"] is True
    assert "Failed to import the required Python library (requests)" in result["msg"]


@pytest.mark.parametrize("is_asked_for", [True, False])
def test_options_are_returned_as_modules_do(monkeypatch: pytest.MonkeyPatch, is_asked_for: bool) -> None:
    monkeypatch.setattr(_in_process, "_shows_invocation", lambda _task_vars: is_asked_for)
    result = run("paperspace_machine_info", {**CONNECT, "machine_id": "a/b"})
    assert ("invocation" in result) == is_asked_for
    if is_asked_for:
        options = result["invocation"]["module_args"]
        assert options["api_key"] == "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
        assert options["machine_ids"] == ["a/b"]
        assert options["retries"] == 8


def slow_fleet(attach: Callable[[Fleet], None]) -> Fleet:
    fleet = Fleet(2, snapshot_seconds=20)
    fleet.fault(
        "event",
        method="POST",
        machine_id=fleet.machine_ids[1],
        state="error",
        error=f"no \x1b[31mspace\nfor {KEY}",
        seconds=4,
    )
    attach(fleet)
    return fleet


def test_progress_is_shown_with_its_host_and_without_secrets(attach: Callable[[Fleet], None], shown: list[str]) -> None:
    fleet = slow_fleet(attach)
    run("paperspace_snapshot", {**CONNECT, "machine_ids": fleet.machine_ids, "name": "x"})
    assert shown[0] == "[web1] 0 of 2 done, 2 under way after 2 s"
    assert shown[1].startswith(f"[web1] machine {fleet.machine_ids[1]}, snapshot x: failed: Event ")
    assert shown[1].endswith("ended in error: no ?[31mspace for ***")


@pytest.mark.parametrize("reason", ["no_log", "json", "ansible.posix.jsonl"])
def test_progress_is_kept_from_those_who_must_not_see_it(
    monkeypatch: pytest.MonkeyPatch, attach: Callable[[Fleet], None], shown: list[str], reason: str
) -> None:
    if reason != "no_log":
        value = constants.config.get_config_value
        monkeypatch.setattr(
            constants.config,
            "get_config_value",
            lambda name, **rest: reason if name == "DEFAULT_STDOUT_CALLBACK" else value(name, **rest),
        )
    fleet = slow_fleet(attach)
    arguments = {**CONNECT, "machine_ids": fleet.machine_ids, "name": "x"}
    assert run("paperspace_snapshot", arguments, no_log=reason == "no_log")["failed"]
    assert shown == []


class Marked(str):
    """Text as templates leave it."""

    __slots__ = ()


class Encrypted:
    """A secret as the vault leaves it: text only when asked for."""

    def __str__(self) -> str:
        return "open"


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (Marked("x"), "x"),
        ({Marked("a"): [Marked("b"), {"c": Encrypted()}]}, {"a": ["b", {"c": "open"}]}),
        (("a", 1), ["a", 1]),
        (date(2026, 11, 24), "2026-11-24"),
        (datetime(2026, 11, 24, 1, 2, 3, tzinfo=timezone.utc), "2026-11-24T01:02:03+00:00"),
        (True, True),
        (7, 7),
        (1.5, 1.5),
        (None, None),
    ],
)
def test_plain_values(value: Any, wanted: Any) -> None:
    found = plain(value)
    assert found == wanted
    assert type(found) is type(wanted)


@pytest.mark.parametrize("text", [Marked("x"), wrap_var("x")])
def test_marks_are_gone_from_plain_text(text: str) -> None:
    [(key, value)] = plain({text: text}).items()
    assert [type(key), type(value)] == [str, str]


def test_secrets_are_removed_and_flags_kept() -> None:
    given = {"changed": True, "failed": None, "msg": "a True secret", "list": ["secret", {"x": "the secret"}]}
    wanted = {
        "changed": True,
        "failed": None,
        "msg": "a ******** ********",
        "list": ["VALUE_SPECIFIED_IN_NO_LOG_PARAMETER", {"x": "the ********"}],
    }
    assert without_secrets(given, {"secret", "True"}) == wanted


def test_lines_are_written_whole_to_the_kept_output(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    try:
        write = os.write
        monkeypatch.setattr(_live, "OUTPUT", writing)
        monkeypatch.setattr(os, "write", lambda descriptor, text: write(descriptor, text[:3]))
        _live.show("web1: é\udcff", SimpleNamespace(display=None))  # type: ignore[arg-type]
        assert os.read(reading, 100) == "web1: é?\n".encode()
    finally:
        os.close(reading)
        os.close(writing)


def test_nobody_needs_to_read_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr(_live, "OUTPUT", writing)
    _live.show("web1", SimpleNamespace(display=None))  # type: ignore[arg-type]
    os.close(writing)


def test_without_output_lines_go_to_the_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_live, "OUTPUT", None)
    given: list[str] = []
    _live.show("web1", SimpleNamespace(display=given.append))
    assert given == ["web1"]
