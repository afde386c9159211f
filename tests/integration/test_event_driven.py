# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event source against a real service, and the example rulebook in a real ansible-rulebook."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from documentation import Part, Reader, commands_of, follows, reading

from ansible_collections.community.paperspace.extensions.eda.plugins.event_source.machine_events import main
from ansible_fixtures import KEY

GUIDE = "docs/docsite/rst/event_driven.rst"
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


def state_of(simulator: Any, event_id: str) -> str:
    [event] = [event for event in simulator.events() if event["id"] == event_id]
    return str(event["state"])


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
    until(lambda: state_of(simulator, before) == "done", "the snapshot is done")
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
def running(ansible: Any, command: str, state_file: str = "position.json") -> Iterator[Rulebook]:
    """A command that runs ansible-rulebook, from when its source has begun."""
    path, printed = ansible.folder / state_file, ansible.folder / "printed"
    # What the rulebook needs of the outer environment is where Java is.
    java = {name: os.environ[name] for name in ("JAVA_HOME",) if name in os.environ}
    with (
        printed.open("wb") as output,
        subprocess.Popen(
            [*shlex.split(command), "-vv", "--shutdown-delay", "1"],
            cwd=ansible.folder,
            env={**ansible.environment, **java},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        started = Rulebook(process, printed)
        try:
            until(lambda: path.exists() or process.poll() is not None, "the source has begun")
            assert process.poll() is None, started.output
            yield started
        finally:
            if process.poll() is None:
                process.kill()
    assert KEY not in started.output
    assert KEY not in path.read_text()


def fail_snapshot(simulator: Any, host: str) -> str:
    rule = simulator.add_fault("event", method="POST", path="/snapshots", state="error", error=REASON)
    event_id = begin_snapshot(simulator, host, "mine")
    until(lambda: state_of(simulator, event_id) == "error", "the snapshot has failed")
    simulator.control("DELETE", f"/faults/{rule}")
    return event_id


@pytest.fixture
def open_run(simulator: Any) -> Path:
    """A run that is open on web1, with a change on the disk since its snapshot; the file that has changed."""
    event_id = begin_snapshot(simulator, "web1", f"maint-{RUN}")
    until(lambda: state_of(simulator, event_id) == "done", "the snapshot is done")
    changed = Path(simulator.description["machines_dir"]) / simulator.ids()["web1"] / "changed"
    changed.touch()
    return changed


@pytest.fixture
def reader(ansible: Any, simulator: Any) -> Iterator[Reader]:
    """Somebody who does what the guide says, with the simulated machines."""
    with reading(Reader(ansible, simulator), [Part(GUIDE)]) as one:
        # The simulator's inventory is a file, of which ansible-rulebook makes a copy in which no address changes.
        simulator.settings(dynamic_ip_changes_on_restore=False, dynamic_ip_changes_on_start=False)
        one.values["my.paperspace.yml"] = str(simulator.inventory)
        yield one


def command_in(reader: Reader, section: str) -> str:
    """Save the files of a section, and return its command."""
    [*files, typed] = Part(GUIDE, (section,)).blocks()
    for block in files:
        reader.save(block)
    [command] = commands_of(typed.text)
    reader.use(command)
    reader.used.add(typed.name)
    return reader.with_values(command)


@needs_rulebook
@follows(Part(GUIDE))
def test_guide(ansible: Any, simulator: Any, reader: Reader, open_run: Path) -> None:
    tells_and_lists(simulator, ansible, command_in(reader, "A rulebook that is ready"))
    assert open_run.exists()
    assert simulator.done_counts()["restores"] == 0

    reader.values["RUN_ID"] = RUN
    with running(ansible, command_in(reader, "Rolling back without anybody"), "machine_events.json") as rulebook:
        fail_snapshot(simulator, "web2")
        rulebook.until_printed("PLAY RECAP")
        rulebook.end()
    assert not open_run.exists()
    assert simulator.done_counts()["restores"] == 1
    names = [snapshot["name"] for snapshot in simulator.snapshots(simulator.ids()["web1"])]
    assert f"maint-{RUN}-restored" in names

    with chat() as (address, posts):
        reader.values["https://chat.example.org/hook"] = address
        with running(ansible, command_in(reader, "A rulebook of your own"), "restores.json") as rulebook:
            restore(simulator, "web1", f"maint-{RUN}-restored")
            rulebook.until_printed("PLAY RECAP")
            rulebook.end()
    # What was said of the restore before belongs to the past.
    assert posts == [{"text": f"The restore of {simulator.ids()['web1']} ended: done "}]


def tells_and_lists(simulator: Any, ansible: Any, command: str) -> None:
    """Run the example until it was told of a failure; kill it, let it miss one, and run it again."""
    with running(ansible, command, "machine_events.json") as rulebook:
        begin_snapshot(simulator, "db1", "good")
        fail_snapshot(simulator, "db2")
        rulebook.until_printed("PLAY RECAP")
        rulebook.end(signal.SIGKILL)
    ids = simulator.ids()
    first, second = (f"snapshot-create of machine {ids[host]} ended in error: " for host in ("db2", "web2"))
    assert f"{first}no space {{ {{ lookup(" in rulebook.output
    assert f"Run {RUN}, begun 2026-01-31 23:59:59 UTC" in rulebook.output
    assert "recover_action=rollback" in rulebook.output
    fail_snapshot(simulator, "web2")
    with running(ansible, command, "machine_events.json") as rulebook:
        rulebook.until_printed("PLAY RECAP")
        rulebook.end()
    assert second in rulebook.output
    assert first not in rulebook.output
    # A template in the service's words.
    assert list(ansible.folder.rglob("evaluated")) == []


def restore(simulator: Any, host: str, name: str) -> None:
    [snapshot] = [one for one in simulator.snapshots(simulator.ids()[host]) if one["name"] == name]
    answer = requests.post(
        f"{simulator.api_url}/snapshots/{snapshot['id']}/restore",
        json={},
        headers={"Authorization": f"Bearer {simulator.key}"},
        timeout=30,
    )
    assert answer.status_code == 200, answer.text


@contextlib.contextmanager
def chat() -> Iterator[tuple[str, list[Any]]]:
    """A service that takes posts: its address, and what was posted."""
    posts: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", posts
        finally:
            server.shutdown()
            thread.join()


@needs_rulebook
def test_rulebook_names_what_is_wrong_with_the_key(ansible: Any, simulator: Any) -> None:
    ansible.environment["PAPERSPACE_API_KEY"] = "an0ther-key"
    command = ("ansible-rulebook", "--rulebook", "community.paperspace.machine_errors", "-i", simulator.inventory)
    done = ansible.run(*command, rc=None, timeout=LONGEST)
    assert "Unauthorized: Source plugin failed with error message" in done.output
    assert "Check the API key." in done.message
    assert "an0ther-key" not in done.output
