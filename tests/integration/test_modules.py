# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each module through real ansible-playbook: check mode, create, again, change, delete; then what must be refused."""

from __future__ import annotations

import json
import sys
import threading
import venv
from collections.abc import Iterator
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Ansible, Simulator

SNAPSHOT = "community.paperspace.paperspace_snapshot"
SNAPSHOT_INFO = "community.paperspace.paperspace_snapshot_info"
MACHINE = "community.paperspace.paperspace_machine"
MACHINE_INFO = "community.paperspace.paperspace_machine_info"
WRITES = ("POST", "PUT", "PATCH", "DELETE")


def statuses(result: dict[str, Any], kind: str = "snapshots") -> list[str]:
    return [entry["status"] for entry in result[kind]]


def test_snapshots_of_a_fleet_from_check_mode_to_deletion(simulator: Simulator, ansible: Ansible) -> None:
    ids = list(simulator.ids().values())
    present = {SNAPSHOT: {"machine_ids": ids, "name": "before"}}

    checked = ansible.task(present, "--check", "--diff")
    assert checked["changed"]
    assert statuses(checked) == ["would_create"] * 5
    assert simulator.calls(*WRITES) == []

    created = ansible.task(present)
    assert created["changed"]
    assert statuses(created) == ["created"] * 5
    assert [entry["machine_id"] for entry in created["snapshots"]] == ids
    assert {entry["event_state"] for entry in created["snapshots"]} == {"done"}
    assert simulator.calls(*WRITES) == ["POST /snapshots"] * 5
    assert "snapshot" not in created

    simulator.clear_log()
    again = ansible.task(present)
    assert not again["changed"]
    assert statuses(again) == ["unchanged"] * 5
    assert [entry["id"] for entry in again["snapshots"]] == [entry["id"] for entry in created["snapshots"]]
    assert simulator.calls(*WRITES) == []

    renamed = ansible.task({SNAPSHOT: {"machine_id": ids[0], "name": "before", "new_name": "golden"}})
    assert renamed["snapshot"]["status"] == "renamed"
    assert renamed["snapshot"]["id"] == created["snapshots"][0]["id"]

    absent = {SNAPSHOT: {"machine_ids": ids, "name": "before", "state": "absent"}}
    simulator.clear_log()
    assert statuses(ansible.task(absent, "--check")) == ["unchanged", *["would_delete"] * 4]
    assert simulator.calls(*WRITES) == []
    assert statuses(ansible.task(absent)) == ["unchanged", *["deleted"] * 4]
    assert not ansible.task(absent)["changed"]
    assert [snapshot["name"] for snapshot in simulator.snapshots()] == ["golden"]


def test_a_restore_is_always_a_change_and_says_so_in_diff_mode(simulator: Simulator, ansible: Ansible) -> None:
    machine_id = simulator.ids()["web1"]
    disk = Path(simulator.description["machines_dir"]) / machine_id / "opt" / "app" / "version"
    snapshot_id = ansible.task({SNAPSHOT: {"machine_id": machine_id, "name": "before"}})["snapshot"]["id"]
    disk.write_text("2.0\n")
    restored = {SNAPSHOT: {"machine_id": machine_id, "name": "before", "state": "restored", "safety_snapshot": True}}

    simulator.clear_log()
    checked = ansible.task(restored, "--check")
    assert statuses(checked) == ["would_restore"]
    assert simulator.calls(*WRITES) == []
    assert disk.read_text() == "2.0\n"

    result = ansible.task(restored, "--diff")
    assert statuses(result) == ["restored"]
    assert disk.read_text() == "1.0\n"
    assert simulator.done_counts()["restores"] == 1
    assert f"as of before ({snapshot_id})" in result["diff"]["after"]
    safety = result["snapshot"]["safety_snapshot_id"]
    assert safety in {snapshot["id"] for snapshot in simulator.snapshots(machine_id)}

    disk.write_text("3.0\n")
    by_id = ansible.task({SNAPSHOT: {"snapshot_id": safety, "state": "restored"}})
    assert by_id["changed"]
    assert disk.read_text() == "2.0\n"


def test_the_newest_are_kept_and_nothing_foreign_is_touched(simulator: Simulator, ansible: Ansible) -> None:
    machine_id = simulator.ids()["db1"]
    for name in ("nightly-1", "weekly-1", "nightly-2", "nightly-3"):
        simulator.add_snapshot(machine_id, name)
    simulator.add_snapshot(machine_id, "nightly-auto", auto=True)
    keep = {SNAPSHOT: {"machine_id": machine_id, "state": "absent", "name_prefix": "nightly-", "keep": 1}}
    # These snapshots are older than any event: the module looks again after request_timeout before it believes that.
    keep[SNAPSHOT]["request_timeout"] = 1

    assert [entry["name"] for entry in ansible.task(keep, "--check")["snapshots"]] == ["nightly-2", "nightly-1"]
    assert statuses(ansible.task(keep)) == ["deleted", "deleted"]
    assert not ansible.task(keep)["changed"]
    left = [snapshot["name"] for snapshot in simulator.snapshots(machine_id)]
    assert left == ["weekly-1", "nightly-3", "nightly-auto"]


def test_snapshot_info_lists_newest_first_and_warns_of_unknown_ids(simulator: Simulator, ansible: Ansible) -> None:
    ids = simulator.ids()
    simulator.add_snapshot(ids["web1"], "maint-20260131T235959Z-1a2b")
    simulator.add_snapshot(ids["web1"], "other")
    simulator.add_snapshot(ids["db1"], "maint-20260131T235959Z-1a2b-ok")
    everything = ansible.task({SNAPSHOT_INFO: {}})
    assert [item["name"][-4:] for item in everything["snapshots"]] == ["b-ok", "ther", "1a2b"]
    of_runs = ansible.task({SNAPSHOT_INFO: {"name_prefix": "maint-", "auto": False}}, "--check")
    assert [item["run_state"] for item in of_runs["snapshots"]] == ["ok", "open"]
    of_one = ansible.task({SNAPSHOT_INFO: {"machine_ids": [ids["web1"], "psnobody"]}})
    assert [item["name"][-4:] for item in of_one["snapshots"]] == ["ther", "1a2b"]
    assert "psnobody" in of_one["warnings"][0]
    assert simulator.calls(*WRITES) == []


def test_machines_from_check_mode_to_started_again(simulator: Simulator, ansible: Ansible) -> None:
    ids = [simulator.ids()["web1"], simulator.ids()["web2"]]
    stopped = {MACHINE: {"machine_ids": ids, "state": "stopped"}}
    assert statuses(ansible.task(stopped, "--check"), "machines") == ["would_stop"] * 2
    assert simulator.calls(*WRITES) == []
    result = ansible.task(stopped)
    assert statuses(result, "machines") == ["stopped"] * 2
    assert [entry["state"] for entry in result["machines"]] == ["off"] * 2
    assert not ansible.task(stopped)["changed"]
    assert statuses(ansible.task({MACHINE: {"machine_ids": ids, "state": "started"}}), "machines") == ["started"] * 2
    settings = {"enabled": True, "frequency": "daily", "save_count": 3}
    updated = {MACHINE: {"machine_id": ids[0], "auto_snapshot": settings}}
    assert statuses(ansible.task(updated, "--check"), "machines") == ["would_update"]
    assert ansible.task(updated)["machine"]["auto_snapshot"] == settings
    assert not ansible.task(updated)["changed"]
    assert ansible.task({MACHINE: {"machine_id": ids[0], "state": "restarted"}})["machine"]["status"] == "restarted"


def test_machine_info_filters_exactly(simulator: Simulator, ansible: Ansible) -> None:
    web1 = simulator.ids()["web1"]
    simulator.add_machine("web10", region="ca1")
    found = ansible.task({MACHINE_INFO: {"name": "web1"}})["machines"]
    assert [machine["id"] for machine in found] == [web1]
    assert isinstance(found[0]["storage_total"], int)
    assert [machine["name"] for machine in ansible.task({MACHINE_INFO: {"region": "ca1"}})["machines"]] == ["web10"]
    by_id = ansible.task({MACHINE_INFO: {"machine_ids": ["psnobody", web1]}})
    assert [machine["id"] for machine in by_id["machines"]] == [web1]
    assert "psnobody" in by_id["warnings"][0]


def test_one_failing_machine_fails_the_task_and_the_others_are_returned(simulator: Simulator, ansible: Ansible) -> None:
    ids = simulator.ids()
    # The name of a run says since when its snapshot can be there: so a failed create can be told from an older one.
    name = f"maint-{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-1a2b"
    task = {SNAPSHOT: {"machine_ids": [ids["web1"], ids["web2"], ids["db1"]], "name": name}}
    simulator.add_fault("event", method="POST", machine_id=ids["web2"], state="error", error="disk on fire")
    result = ansible.task(task)
    assert result["failed"]
    assert statuses(result) == ["created", "failed", "created"]
    assert "disk on fire" in result["msg"]
    assert ids["web2"] in result["msg"]
    assert ids["web1"] not in result["msg"]
    simulator.clear_faults()
    assert statuses(ansible.task(task)) == ["unchanged", "created", "unchanged"]
    assert [item["name"] for item in simulator.snapshots(ids["web2"])] == [name]


@pytest.mark.parametrize("fault", ["lost", "timeout"])
def test_a_lost_answer_is_adopted_not_repeated(simulator: Simulator, ansible: Ansible, fault: str) -> None:
    machine_id = simulator.ids()["web1"]
    simulator.add_fault(fault, method="POST", when="after", times=1)
    result = ansible.task({SNAPSHOT: {"machine_id": machine_id, "name": "before", "request_timeout": 2}})
    assert statuses(result) == ["created"]
    assert simulator.done_counts()["creates"] == 1
    assert simulator.calls("POST") == ["POST /snapshots"]


def test_what_times_out_is_joined_by_the_same_task_run_again(simulator: Simulator, ansible: Ansible) -> None:
    simulator.settings(snapshot_seconds=4)
    task = {SNAPSHOT: {"machine_id": simulator.ids()["web1"], "name": "before"}}
    first = ansible.task({SNAPSHOT: {**task[SNAPSHOT], "wait_timeout": 1}})
    assert first["failed"]
    assert statuses(first) == ["timed_out"]
    assert first["snapshot"]["event_id"] in first["msg"]
    assert statuses(ansible.task(task)) == ["unchanged"]
    assert simulator.done_counts()["creates"] == 1


def test_an_action_group_gives_defaults_to_every_module(simulator: Simulator, ansible: Ansible) -> None:
    del ansible.environment["PAPERSPACE_API_KEY"], ansible.environment["PAPERSPACE_API_URL"]
    defaults = {"api_key": "{{ lookup('env', 'MY_KEY') }}", "api_url": simulator.api_url}
    ansible.environment["MY_KEY"] = simulator.key
    tasks = [
        {SNAPSHOT_INFO: {}},
        {MACHINE_INFO: {}},
        {SNAPSHOT: {"machine_id": simulator.ids()["web1"], "name": "before"}},
        {MACHINE: {"machine_id": simulator.ids()["web1"], "state": "started"}},
    ]
    play = {"hosts": "localhost", "gather_facts": False, "tasks": tasks}
    ansible.playbook(
        [{**play, "module_defaults": {"group/community.paperspace.paperspace": defaults}}],
        "-vvvv",
    )
    assert len(simulator.snapshots()) == 1


def refused_options(ids: dict[str, str]) -> dict[str, tuple[str, dict[str, Any], str]]:
    """Bad input by name: module, options, and what the message must say."""
    one = ids["web1"]
    stopped = {"machine_id": one, "state": "stopped"}
    return {
        "http to elsewhere": (
            SNAPSHOT,
            {"machine_id": one, "name": "x", "api_url": "http://203.0.113.1/v1"},
            "clear text",
        ),
        "unknown machine": (SNAPSHOT, {"machine_ids": [one, "psnobody"], "name": "x"}, "psnobody"),
        "no machines": (SNAPSHOT, {"machine_ids": [], "name": "x"}, "empty list"),
        "present without name": (SNAPSHOT, {"machine_id": one}, "needs name"),
        "restored, name missing": (SNAPSHOT, {"machine_id": one, "state": "restored", "name": "nowhere"}, "nowhere"),
        "restored, ambiguous": (SNAPSHOT, {"machine_id": one, "state": "restored", "name": "twice"}, "2 snapshots"),
        "restored, elsewhere": (SNAPSHOT, {"machine_id": one, "state": "restored", "name": "of-db1"}, ids["db1"]),
        "keep negative": (SNAPSHOT, {"machine_id": one, "state": "absent", "name_prefix": "a", "keep": -1}, "keep"),
        "keep without prefix": (SNAPSHOT, {"machine_id": one, "state": "absent", "keep": 1}, "name_prefix"),
        "ids with name": (SNAPSHOT, {"snapshot_ids": ["ss1"], "name": "x", "state": "absent"}, "exclude"),
        "id that is a path": (SNAPSHOT, {"machine_id": "../v1/auth", "name": "x"}, "not an id"),
        "snapshot id that is a path": (SNAPSHOT, {"snapshot_id": "a/b", "state": "absent"}, "not an id"),
        "no time": (SNAPSHOT, {"machine_id": one, "name": "x", "wait_timeout": 0}, "wait_timeout"),
        "interval negative": (SNAPSHOT, {"machine_id": one, "name": "x", "wait_interval": -1}, "wait_interval"),
        "interval no number": (MACHINE, {**stopped, "wait_interval": "often"}, "wait_interval"),
        "no time for a request": (MACHINE, {**stopped, "request_timeout": 0}, "request_timeout"),
        "no requests at once": (SNAPSHOT_INFO, {"concurrency": 0}, "concurrency"),
        "too many requests at once": (SNAPSHOT, {"machine_id": one, "name": "x", "concurrency": 10**9}, "1 to 1000"),
        "unknown machine to stop": (MACHINE, {"machine_ids": [one, "psnobody"], "state": "stopped"}, "psnobody"),
        "info of a path": (MACHINE_INFO, {"machine_id": "a?b"}, "not an id"),
        "nothing to do": (MACHINE, {"machine_id": one}, "nothing to do"),
        "save_count": (MACHINE, {"machine_id": one, "auto_snapshot": {"save_count": 11}}, "0 to 10"),
    }


def test_bad_input_gives_one_clear_error_before_anything_is_touched(simulator: Simulator, ansible: Ansible) -> None:
    ids = simulator.ids()
    simulator.add_snapshot(ids["web1"], "twice")
    simulator.add_snapshot(ids["web1"], "twice")
    simulator.add_snapshot(ids["db1"], "of-db1")
    cases = refused_options(ids)
    tasks = [
        {module: options, "register": f"case_{number}", "ignore_errors": True}
        for number, (module, options, _text) in enumerate(cases.values())
    ]
    numbers = range(len(cases))
    kept = "{{ [" + ", ".join(f"case_{number}" for number in numbers) + "] | map(attribute='msg') | to_json }}"
    tasks.append({"ansible.builtin.copy": {"content": kept, "dest": str(ansible.folder / "messages.json")}})
    ansible.playbook([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}], "-vvvv")
    messages = json.loads((ansible.folder / "messages.json").read_text())
    for (name, (_module, _options, text)), message in zip(cases.items(), messages, strict=True):
        assert text in message, name
        assert "\n" not in message, name
    assert simulator.calls(*WRITES) == []


@pytest.mark.parametrize("key", [None, "", "some-other-key", "two words"])
def test_a_missing_or_unknown_key_is_said_so(simulator: Simulator, ansible: Ansible, key: str | None) -> None:
    del ansible.environment["PAPERSPACE_API_KEY"]
    if key is not None:
        ansible.environment["PAPERSPACE_API_KEY"] = key
    result = ansible.task({SNAPSHOT: {"machine_id": simulator.ids()["web1"], "name": "x"}}, "-vvvv")
    assert result["failed"]
    assert "API key" in result["msg"]
    assert not key or key not in result["msg"]
    assert simulator.calls(*WRITES) == []


class Nonsense(BaseHTTPRequestHandler):
    """A service that is not the service. The path of the URL says what it answers."""

    def do_GET(self) -> None:
        body = {"html": b"<html><h1>Welcome</h1></html>", "empty": b"", "other": b'{"hello": "world"}'}
        answer = body[self.path.split("/")[1]]
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is http.server's
        pass


@pytest.fixture
def nonsense() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Nonsense) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("kind", ["html", "empty", "other"])
def test_a_service_that_answers_nonsense_is_named(ansible: Ansible, nonsense: str, kind: str) -> None:
    ansible.environment["PAPERSPACE_API_URL"] = f"{nonsense}/{kind}"
    result = ansible.task({SNAPSHOT: {"machine_id": "ps1", "name": "x"}})
    assert result["failed"]
    assert "GET /auth/session" in result["msg"]
    assert "JSON" in result["msg"] or "required field" in result["msg"]


def test_without_requests_ansible_names_the_interpreter(simulator: Simulator, ansible: Ansible, tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    bare = tmp_path / "bare" / "bin" / "python"
    task = {
        SNAPSHOT: {"machine_id": simulator.ids()["web1"], "name": "x"},
        "vars": {"ansible_python_interpreter": str(bare)},
        # Otherwise the controller's own Python does it.
        "environment": {"ANY": "1"},
    }
    result = ansible.task(task)
    assert result["failed"]
    assert "requests" in result["msg"]
    assert str(bare) in result["msg"] or Path(sys.executable).resolve().name in result["msg"]
