# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event source against a real service, and the example rulebook in a real ansible-rulebook."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from ansible_collections.community.paperspace.extensions.eda.plugins.event_source.machine_events import main
from ansible_fixtures import KEY

RUN = "20260131T235959Z-1a2b"
REASON = "no space {{ lookup('pipe', 'touch evaluated') }}"
LONGEST = 180.0
RULEBOOK = Path(sys.executable).with_name("ansible-rulebook")

# The session eda of nox has it, and skips by name where there is no Java for it.
needs_rulebook = pytest.mark.skipif(
    not RULEBOOK.exists() or not (os.environ.get("JAVA_HOME") or shutil.which("java")),
    reason="ansible-rulebook or Java is not here",
)


def begin_snapshot(simulator: Any, host: str, name: str) -> str:
    """The id of the event of a snapshot that somebody takes."""
    answer = requests.post(
        f"{simulator.api_url}/snapshots",
        json={"machineId": simulator.ids()[host], "name": name},
        headers={"Authorization": f"Bearer {simulator.key}"},
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    return str(answer.json()["event"]["id"])


def until(is_so: Callable[[], object], what: str) -> None:
    """Wait for other processes."""
    deadline = time.monotonic() + LONGEST
    while not is_so():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.05)


# The source alone


async def followed(args: dict[str, Any], ended: set[str], during: Callable[[], None]) -> list[dict[str, Any]]:
    """What the source gives until these events have ended; C(during) runs when it has begun."""
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(1)
    task = asyncio.create_task(main(queue, args))
    state_file = Path(args["state_file"])
    while not state_file.exists():
        await asyncio.sleep(0.05)
    await asyncio.to_thread(during)
    given: list[dict[str, Any]] = []
    while ended - {event["id"] for event in given if event["state"] in ("done", "error")}:
        given.append(await asyncio.wait_for(queue.get(), LONGEST))
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return given


def test_source_follows_a_service_that_fails_now_and_then(simulator: Any, tmp_path: Path) -> None:
    before = begin_snapshot(simulator, "db1", "before")
    until(lambda: simulator.events()[0]["state"] == "done", "the snapshot is done")
    args = {
        "api_key": KEY,
        "api_url": simulator.api_url,
        "interval": 1,
        "retries": 0,
        "request_timeout": 2,
        "state_file": str(tmp_path / "position.json"),
    }
    ids: set[str] = set()

    def begin() -> None:
        for action, fault in (
            ("html", {"status": 502}),
            ("status", {"status": 429, "retry_after": 1}),
            ("lost", {}),
            ("timeout", {}),
            ("cursor", {"cursor": "null"}),
        ):
            simulator.add_fault(action, **fault, path="/machine-events", times=1)
        ids.update(begin_snapshot(simulator, host, "new") for host in ("web1", "web2"))

    given = asyncio.run(followed(args, ids, begin))
    first = set(ids)
    # It begins anew, and knows what it has given.
    ids.clear()
    given += asyncio.run(followed(args, ids, lambda: ids.add(begin_snapshot(simulator, "web3", "new"))))
    pairs = [(event["id"], event["state"]) for event in given]
    assert len(set(pairs)) == len(pairs)
    assert {event_id for event_id, state in pairs if state == "done"} == first | ids
    assert before not in {event_id for event_id, dummy in pairs}
    assert KEY not in json.dumps(given)
    assert KEY not in (tmp_path / "position.json").read_text()


# The whole


class Rulebook:
    """A running ansible-rulebook, and what it has printed so far."""

    def __init__(self, process: subprocess.Popen[bytes], printed: Path) -> None:
        self.process = process
        self._printed = printed

    @property
    def output(self) -> str:
        return self._printed.read_text("utf-8", "replace")

    def until_printed(self, words: str, times: int = 1) -> None:
        until(lambda: self.output.count(words) >= times or self.process.poll() is not None, f"it prints {words!r}")
        assert self.output.count(words) >= times, self.output

    def end(self, number: int = signal.SIGINT) -> None:
        self.process.send_signal(number)
        self.process.wait(LONGEST)


@contextlib.contextmanager
def running(ansible: Any, rulebook: str, inventory: Path, **variables: Any) -> Iterator[Rulebook]:
    state_file = ansible.folder / "position.json"
    settings = ansible.write("variables.yml", {"paperspace_state_file": str(state_file), **variables})
    command = [
        RULEBOOK,
        "--rulebook",
        rulebook,
        "--inventory",
        inventory,
        "--vars",
        settings,
        "-vv",
        "--shutdown-delay",
        "1",
    ]
    printed = ansible.folder / "printed"
    # What of this the rulebook needs is where Java is.
    java = {name: os.environ[name] for name in ("JAVA_HOME",) if name in os.environ}
    with (
        printed.open("ab") as output,
        subprocess.Popen(
            [str(word) for word in command],
            cwd=ansible.folder,
            env={**ansible.environment, **java},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        started = Rulebook(process, printed)
        try:
            until(lambda: state_file.exists() or process.poll() is not None, "the source has begun")
            assert process.poll() is None, started.output
            yield started
        finally:
            if process.poll() is None:
                process.kill()
    assert KEY not in started.output


def fail_snapshot(simulator: Any, host: str) -> str:
    rule = simulator.add_fault("event", method="POST", path="/snapshots", state="error", error=REASON)
    event_id = begin_snapshot(simulator, host, "mine")
    until(
        lambda: {event["state"] for event in simulator.events() if event["id"] == event_id} == {"error"},
        "the snapshot has failed",
    )
    simulator.control("DELETE", f"/faults/{rule}")
    return event_id


@pytest.fixture
def open_run(simulator: Any) -> Iterator[Path]:
    """A run that is open on web1, with a change on the disk since its snapshot; the file that has changed."""
    machine_id = simulator.ids()["web1"]
    simulator.add_snapshot(machine_id, f"maint-{RUN}")
    changed = Path(simulator.description["machines_dir"]) / machine_id / "changed"
    changed.touch()
    return changed


@needs_rulebook
def test_rulebook_tells_of_the_event_and_lists_the_open_run(ansible: Any, simulator: Any, open_run: Path) -> None:
    with running(ansible, "community.paperspace.machine_errors", simulator.inventory) as rulebook:
        begin_snapshot(simulator, "db1", "good")
        fail_snapshot(simulator, "web1")
        rulebook.until_printed(f"Run {RUN}, begun 2026-01-31 23:59:59 UTC")
        rulebook.until_printed("PLAY RECAP")
        rulebook.end()
    told = f"snapshot-create of machine {simulator.ids()['web1']} ended in error: no space {{ {{ lookup("
    assert told in rulebook.output
    assert "recover_action=rollback" in rulebook.output
    assert open_run.exists()
    assert simulator.done_counts()["restores"] == 0
    assert list(ansible.folder.rglob("evaluated")) == []

    # It is killed, misses something, and goes on with that and no more.
    (ansible.folder / "printed").unlink()
    fail_snapshot(simulator, "web2")
    with running(ansible, "community.paperspace.machine_errors", simulator.inventory) as rulebook:
        rulebook.until_printed("PLAY RECAP")
        rulebook.end()
    assert f"of machine {simulator.ids()['web2']} ended in error" in rulebook.output
    assert f"of machine {simulator.ids()['web1']} ended in error" not in rulebook.output


@needs_rulebook
def test_rulebook_rolls_back_where_the_user_says_so(ansible: Any, simulator: Any, open_run: Path) -> None:
    # The inventory is a file of which ansible-rulebook makes a copy, in which no address changes.
    simulator.settings(dynamic_ip_changes_on_restore=False, dynamic_ip_changes_on_start=False)
    choice = {"recover_action": "rollback", "recover_run_id": RUN}
    with running(ansible, "community.paperspace.machine_errors", simulator.inventory, **choice) as rulebook:
        fail_snapshot(simulator, "web2")
        rulebook.until_printed("PLAY RECAP")
        rulebook.end()
    assert not open_run.exists()
    assert simulator.done_counts()["restores"] == 1
    [name] = [snapshot["name"] for snapshot in simulator.snapshots(simulator.ids()["web1"])]
    assert name == f"maint-{RUN}-restored"


@needs_rulebook
def test_rulebook_names_what_is_wrong_with_the_key(ansible: Any, simulator: Any) -> None:
    ansible.environment["PAPERSPACE_API_KEY"] = "an0ther-key"
    command = ("ansible-rulebook", "--rulebook", "community.paperspace.machine_errors", "-i", simulator.inventory)
    done = ansible.run(*command, rc=None, timeout=LONGEST)
    assert "Unauthorized: Source plugin failed with error message" in done.output
    assert "Check the API key." in done.message
    assert "an0ther-key" not in done.output
