# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guardian as a process, with a simulated service in it and a stand-in for ansible-playbook below it."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from marked_processes import marked
from unit.simulated_fleet import KEY, Fleet

from ansible_collections.community.paperspace.plugins.plugin_utils import _child, _guardian
from ansible_collections.community.paperspace.plugins.plugin_utils._child import start_of
from ansible_collections.community.paperspace.plugins.plugin_utils._command_line import (
    LEDGER_VARIABLE,
    ParentRun,
)
from ansible_collections.community.paperspace.plugins.plugin_utils._guardian import (
    Order,
    Speaker,
    Stop,
    World,
    hosts_of_plays,
    left_report,
    localhost_is_listed,
    order_line,
)
from ansible_collections.community.paperspace.plugins.plugin_utils._report import (
    ChildReport,
    MachineReport,
    Reason,
    RunReport,
    SnapshotReport,
    Span,
    load_report,
    write_report,
)

# By the simulated service's clock.
RUN = "20260101T000000Z-1a2b"
OTHER_RUN = "20260101T000000Z-00ff"
OPEN = f"maint-{RUN}"
HOSTS = ("web1", "web2")
IDS = dict(zip(HOSTS, Fleet(len(HOSTS)).machine_ids, strict=True))
MARK = "TEST_GUARDIAN_MARK"
# Much more than anything here takes.
PATIENCE = 60.0

# Where processes are looked for.
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


def wait_until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# What it reads of plays.


def test_hosts_of_plays() -> None:
    lines = """
playbook: /home/me/upgrade.yml

  play #1 (all): Upgrade\tTAGS: []
    pattern: ['all']
    hosts (2):
      web 1
      localhost

  play #2 (localhost): Drain\tTAGS: [a, b]
    pattern: ['localhost']
    hosts (1):
      localhost
[WARNING]: Could not match supplied host pattern, ignoring: nobody

  play #3 (nobody): nobody\tTAGS: []
    pattern: ['nobody']
    hosts (0):

  play #4 (web2): web2
    pattern: ['web2']
    hosts (1):
      web2
    tasks:
      no host
"""
    assert hosts_of_plays(lines.split("\n")) == [{"web 1", "localhost"}, {"localhost"}, set(), {"web2"}]
    assert hosts_of_plays([]) == []


# What it says.


class Pipe:
    """The standard output of a guardian, as a pipe."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        reader, writer = os.pipe()
        self.reader = os.fdopen(reader, encoding="utf-8")
        self.writer = os.fdopen(writer, "w", encoding="utf-8")
        monkeypatch.setattr(_guardian, "sys", SimpleNamespace(stdout=self.writer))

    def close(self) -> None:
        self.reader.close()
        with contextlib.suppress(OSError):
            self.writer.close()


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipe]:
    pipe = Pipe(monkeypatch)
    yield pipe
    pipe.close()


def read_all(pipe: Pipe, speaker: Speaker, message: dict[str, Any]) -> list[dict[str, Any]]:
    """All that is said once the last is said, by whoever reads only then."""
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(pipe.reader))
    reader.start()
    speaker.end(message, patience=PATIENCE)
    pipe.writer.close()
    reader.join(PATIENCE)
    close(speaker)
    return [json.loads(line) for line in lines]


def close(speaker: Speaker) -> None:
    if speaker._log is not None:
        speaker._log.close()


def test_all_that_is_said_arrives_in_order(pipe: Pipe) -> None:
    speaker = Speaker("k3y", None)
    texts = [f"{number} \u2028\n\udcff {'x' * 100}" for number in range(5000)]
    for text in texts:
        speaker.say(text)
    assert read_all(pipe, speaker, {"result": {}}) == [*({"say": text} for text in texts), {"result": {}}]


def test_secret_is_not_said(pipe: Pipe, tmp_path: Path) -> None:
    speaker = Speaker("k3y", tmp_path / "log")
    speaker.say("The key is k3y.")
    assert read_all(pipe, speaker, {})[0] == {"say": "The key is ********."}
    assert (tmp_path / "log").read_text() == "The key is ********.\n"
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_starter_that_does_not_read_is_not_waited_for(pipe: Pipe, tmp_path: Path) -> None:
    speaker = Speaker("k3y", tmp_path / "log")
    for number in range(2000):
        speaker.say(f"{number} {'x' * 100}")
    speaker.end({}, patience=0.1)
    assert speaker._thread.is_alive(), "the pipe has to be full"
    assert len((tmp_path / "log").read_text().splitlines()) == 2000
    # Now it is dead.
    pipe.reader.close()
    speaker._thread.join(PATIENCE)
    assert not speaker._thread.is_alive()
    close(speaker)


def test_what_is_too_much_is_left_out_and_the_rest_goes_on(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(queue, "Queue", lambda size, real=queue.Queue: real(10))
    speaker = Speaker("k3y", tmp_path / "log")
    for number in range(3000):
        speaker.say(f"{number} {'x' * 100}")
    said = read_all(pipe, speaker, {"result": {}})
    assert 10 < len(said) < 3000
    assert said[-1] == {"result": {}}
    assert len((tmp_path / "log").read_text().splitlines()) == 3000


def test_starter_that_is_dead_is_no_error(pipe: Pipe) -> None:
    pipe.reader.close()
    speaker = Speaker("k3y", None)
    for dummy in range(1000):
        speaker.say("x" * 1000)
    speaker.end({}, patience=PATIENCE)
    assert not speaker._thread.is_alive()


def test_log_that_cannot_be_written_is_no_error(pipe: Pipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speaker = Speaker("k3y", tmp_path)
    speaker.say("text")
    assert read_all(pipe, speaker, {}) == [{"say": "text"}, {}]
    if Path("/dev/full").exists():
        monkeypatch.setattr(_guardian, "open_log", lambda path: os.open("/dev/full", os.O_WRONLY))
        speaker = Speaker("k3y", tmp_path / "log")
        speaker.say("text")
        # Its thread must not outlive the test: it would write into the next one's pipe.
        speaker.end({}, patience=PATIENCE)
        assert speaker._log is not None
        with contextlib.suppress(OSError):
            speaker._log.close()


def test_log_goes_through_no_planted_link(pipe: Pipe, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("mine")
    (tmp_path / "log").symlink_to("elsewhere")
    speaker = Speaker("k3y", tmp_path / "log")
    speaker.say("text")
    assert read_all(pipe, speaker, {}) == [{"say": "text"}, {}]
    assert (tmp_path / "elsewhere").read_text() == "mine"


# What stops it.


class FakeChild:
    def __init__(self) -> None:
        self.ends = 0
        self.is_asked = threading.Event()
        self.may_end = threading.Event()
        self.may_end.set()

    def end(self) -> None:
        self.ends += 1
        self.is_asked.set()
        assert self.may_end.wait(PATIENCE)


def stop_with(child: FakeChild | None = None) -> Stop:
    stop = Stop()
    stop.watch(child)  # type: ignore[arg-type]
    return stop


@pytest.mark.parametrize(
    ("reasons", "reason"),
    [
        (["parent_died"], "parent_died"),
        (["sigint", "parent_died"], "sigint"),
        (["sigint", "sigterm"], "sigint"),
        # Ansible makes SIGTERM of Ctrl-C.
        (["sigterm", "sigint"], "sigint"),
        (["sigterm", "parent_died", "sigint", "sigterm"], "sigint"),
        (["parent_died", "sigint"], "parent_died"),
    ],
)
def test_first_reason_counts(reasons: list[str], reason: str) -> None:
    child = FakeChild()
    stop = stop_with(child)
    assert stop.reason is None
    assert not stop.event.is_set()
    for one in reasons:
        stop.set(one)
    assert stop.reason == reason
    assert stop.event.is_set()
    assert child.ends == 1


def test_child_that_begins_after_the_stop_is_ended_at_once() -> None:
    stop = stop_with()
    stop.set("sigint")
    child = FakeChild()
    stop.watch(child)  # type: ignore[arg-type]
    assert child.ends == 1


def test_child_that_has_ended_is_left_alone() -> None:
    child = FakeChild()
    stop = stop_with(child)
    stop.watch(None)
    stop.set("sigint")
    assert child.ends == 0


def test_second_stop_does_not_wait_for_the_first() -> None:
    """A signal in the meantime must not hang."""
    child = FakeChild()
    child.may_end.clear()
    stop = stop_with(child)
    first = threading.Thread(target=stop.set, args=("sigterm",))
    first.start()
    assert child.is_asked.wait(PATIENCE)
    stop.set("sigint")
    stop.watch(None)
    assert stop.reason == "sigint"
    child.may_end.set()
    first.join(PATIENCE)


def test_child_is_ended_however_stop_and_begin_meet() -> None:
    for dummy in range(300):
        stop, child = stop_with(), FakeChild()
        barrier = threading.Barrier(2)

        def set_stop(stop: Stop = stop, barrier: threading.Barrier = barrier) -> None:
            barrier.wait(PATIENCE)
            stop.set("sigint")

        thread = threading.Thread(target=set_stop)
        thread.start()
        barrier.wait(PATIENCE)
        stop.watch(child)  # type: ignore[arg-type]
        thread.join(PATIENCE)
        assert child.ends >= 1


# The whole of it.

# What a guardian's process here runs: with a simulated service instead of the network, whose last state it leaves
# behind, and less patience with a starter that does not read.
DRIVER = """
import json, os, sys
from unit.simulated_fleet import Fleet
from ansible_collections.community.paperspace.plugins.plugin_utils import _guardian
state = sys.argv[1]
fleet = Fleet(2)
{setup}
_guardian.Client = lambda connection: fleet.client(concurrency=1)
say_last = _guardian.Speaker.end
_guardian.Speaker.end = lambda speaker, message, patience: say_last(speaker, message, patience and 0.5)
leave = os._exit
def leave_behind(code):
    names = [fleet.names(machine_id) for machine_id in fleet.machine_ids]
    with open(state, "w") as stream:
        json.dump({{"names": names, "done": fleet.service.done_counts(), "writes": fleet.writes()}}, stream)
    leave(code)
_guardian.os._exit = leave_behind
_guardian.main()
"""

# The stand-in for ansible-playbook: it does as a file says that stands in its environment.
ANSIBLE = """
import json, os, signal, subprocess, sys, time

def main():
    with open(os.environ["SCRIPT"]) as stream:
        script = json.load(stream)
    folder = os.path.dirname(os.environ["SCRIPT"])
    [limit] = [word[len("--limit=@"):] for word in sys.argv if word.startswith("--limit=@")]
    with open(limit) as stream:
        hosts = stream.read().split()
    with open(os.path.join(folder, "commands"), "a") as stream:
        print(json.dumps([sys.argv[-1], hosts]), file=stream)
    if "--syntax-check" in sys.argv:
        if script.get("holds_check"):
            with open(os.path.join(folder, "up"), "w"):
                pass
            time.sleep(600)
        print(script.get("syntax", "fine"))
        return 4 if "syntax" in script else 0
    if "--list-hosts" in sys.argv:
        for play in script["plays"] if isinstance(script["plays"], list) else script["plays"][sys.argv[-1]]:
            print(f"    hosts ({len(play)}):")
            for host in play:
                print(f"      {host}")
        return 0
    with open(os.environ["COMMUNITY_PAPERSPACE_GUARD_LEDGER"], "w") as ledger:
        for number, line in enumerate(script["ledger"]):
            print(json.dumps({"n": number, **line}), file=ledger, flush=True)
    if "later" in script:
        with open(os.environ["SCRIPT"], "w") as stream:
            json.dump({**script, **script["later"]}, stream)
    for text in script.get("says", ()):
        print(text)
    if script.get("background"):
        code = "import time; time.sleep(600)"
        subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stdout=-3, stderr=-3)
    if script.get("holds"):
        with open(os.path.join(folder, "up"), "w"):
            pass
        time.sleep(600)
    return script.get("rc", 0)
"""


def ledger(**fates: str) -> list[dict[str, Any]]:
    """Of a playbook with one play for both hosts, whose fates are ok, failed, or begun."""
    play = {"play": "p1", "name": "Patch", "hosts": list(HOSTS)}
    lines: list[dict[str, Any]] = [
        {"event": "start"},
        {"event": "playbook", "ahead": [play]},
        {"event": "play", **play},
        {"event": "batch", "play": "p1", "hosts": list(HOSTS)},
    ]
    for host, fate in fates.items():
        lines.append({"event": "touched", "host": host, "task": "Patch"})
        if fate == "failed":
            trouble = {"event": "failed", "host": host, "task": "Patch", "error": f"{host} has no {KEY}."}
            lines.append({**trouble, "targets": [], "for_all": False})
    if "begun" not in fates.values():
        ended = [host for host in fates if fates[host] == "ok"]
        lines.append({"event": "end", "play": "p1", "ended": ended, "end_play": False, "ahead": []})
        lines.append({"event": "stats", "ahead": []})
    return lines


class Starter:
    """Whoever starts a guardian, and the world around."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.reports = folder / "reports"
        for made in (self.work, self.reports, folder / "fake" / "ansible" / "cli"):
            made.mkdir(parents=True)
        for package in ("ansible", "ansible/cli"):
            (folder / "fake" / package / "__init__.py").touch()
        (folder / "fake" / "ansible" / "cli" / "playbook.py").write_text(ANSIBLE, encoding="utf-8")
        self.mark = secrets.token_hex(8)
        self.report = RunReport(
            RUN,
            playbooks=["patch.yml"],
            wave_sizes=[2],
            machines=[MachineReport(host, IDS[host]) for host in HOSTS],
        )
        self.processes: list[subprocess.Popen[bytes]] = []
        self.output = b""

    def script(self, **script: Any) -> None:
        """What ansible-playbook is to do, and once a playbook has run; all is well unless told otherwise."""
        script.setdefault("ledger", ledger(web1="ok", web2="ok"))
        (self.folder / "script.json").write_text(json.dumps(script), encoding="utf-8")

    @property
    def child_environment(self) -> dict[str, str]:
        environment = {"PYTHONPATH": str(self.folder / "fake"), "SCRIPT": str(self.folder / "script.json")}
        return {**environment, MARK: self.mark}

    def order(self, **fields: Any) -> Order:
        parent = ParentRun(
            python=[sys.executable],
            program="ansible-playbook",
            cliargs={},
            defaults={},
            environ=self.child_environment,
            color=False,
            stdout_callback="default",
            callbacks_enabled=[],
            collection_paths=[],
            collection_root="/nonexistent",
            config_file=None,
            vault_identities=[],
            vault_password_file=None,
            has_task_debugger=False,
        )
        order = Order(
            self.report.to_dict(),
            parent=asdict(parent),
            connection={"api_key": KEY, "api_url": "http://127.0.0.1/v1"},
            settings={"soak": 0.0, "safety_snapshot": False, "wait_timeout": 600.0},
            work_folder=str(self.work),
            report_folder=str(self.reports),
        )
        for name, value in fields.items():
            setattr(order, name, value)
        return order

    def start(self, order: Order, setup: str = "") -> subprocess.Popen[bytes]:
        path = os.pathsep.join(filter(None, sys.path))
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "", MARK: self.mark}
        process = subprocess.Popen(
            [sys.executable, "-c", DRIVER.format(setup=setup), str(self.folder / "state")],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self.processes.append(process)
        self.tell(process, order_line(order))
        return process

    def tell(self, process: subprocess.Popen[bytes], text: str) -> None:
        assert process.stdin
        process.stdin.write(text.encode())
        process.stdin.flush()

    def end(self, process: subprocess.Popen[bytes]) -> list[dict[str, Any]]:
        """What it says to its end, which comes by itself."""
        assert process.stdout
        assert process.stderr
        output, errors = self.output + process.stdout.read(), process.stderr.read()
        assert process.wait(PATIENCE) == 0, errors.decode()
        assert KEY.encode() not in output + errors
        return [json.loads(line) for line in output.splitlines()]

    def run(self, order: Order | None = None, setup: str = "") -> dict[str, Any]:
        """Its last message."""
        process = self.start(order or self.order(), setup)
        *said, last = self.end(process)
        assert all(list(message) == ["say"] for message in said)
        self.said = [message["say"] for message in said]
        return last

    @property
    def state(self) -> Mapping[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "state").read_text())
        return found

    @property
    def commands(self) -> list[list[Any]]:
        """The last word and the limit of each ansible-playbook."""
        return [json.loads(line) for line in (self.folder / "commands").read_text().splitlines()]

    def until_held(self) -> None:
        wait_until((self.folder / "up").exists)

    def until_said(self, process: subprocess.Popen[bytes], text: str) -> None:
        assert process.stdout
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while text.encode() not in self.output:
                assert selector.select(PATIENCE)
                self.output += os.read(process.stdout.fileno(), 100_000)

    def alive(self) -> set[int]:
        return marked(MARK, self.mark)

    def close(self) -> None:
        for process in self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        for started in self.processes:
            started.wait(PATIENCE)
            for stream in (started.stdin, started.stdout, started.stderr):
                with contextlib.suppress(OSError):
                    if stream:
                        stream.close()


@pytest.fixture
def starter(tmp_path: Path) -> Iterator[Starter]:
    starter = Starter(tmp_path)
    starter.script()
    yield starter
    starter.close()


def outcomes(message: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    return [(machine["outcome"], machine["closed"]) for machine in message["result"]["machines"]]


ALL_OK = [("ok", "ok")] * 2
ALL_BACK = [("rolled_back", "restored")] * 2


def test_order_is_one_line(starter: Starter) -> None:
    line = order_line(starter.order())
    assert line.index("\n") == len(line) - 1
    assert Order(**json.loads(line)) == starter.order()
    assert KEY not in repr(starter.order())


@LINUX
def test_run_that_ends_well(starter: Starter) -> None:
    starter.script(says=["PLAY [all]", f"The key is {KEY}."])
    last = starter.run()
    assert outcomes(last) == ALL_OK
    assert last["result"]["status"] == "succeeded"
    assert starter.state["names"] == [[f"{OPEN}-ok"]] * 2
    assert starter.commands == [["patch.yml", [*HOSTS, "localhost"]]] * 2
    # All that was said is in the log, and what is told at last in the report.
    assert {"PLAY [all]", "The key is ********."} <= set(starter.said)
    assert (starter.reports / f"{RUN}.log").read_text().splitlines() == "\n".join(starter.said).splitlines()
    assert load_report(starter.reports / f"{RUN}.json").to_dict() == last["result"]
    assert not starter.work.exists()
    assert starter.alive() == set()


@LINUX
def test_machine_that_fails_is_rolled_back(starter: Starter) -> None:
    starter.script(ledger=ledger(web1="failed", web2="ok"), rc=2)
    last = starter.run()
    assert outcomes(last) == [("rolled_back", "restored"), ("ok", "ok")]
    assert last["result"]["machines"][0]["reason"]["error"] == "web1 has no ********."
    assert starter.state["names"] == [[f"{OPEN}-restored"], [f"{OPEN}-ok"]]
    assert starter.state["done"]["restores"] == 1


@LINUX
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        # The playbook's own end, without an end of its ledger.
        ({"ledger": ledger(web1="ok", web2="ok")[:-1], "rc": 0}, ALL_BACK),
        ({"ledger": ledger(web1="ok", web2="ok")[:5], "rc": 2}, ALL_BACK),
        ({"ledger": ledger(web1="ok", web2="ok")[:5], "rc": 6}, ALL_BACK),
        # Something else ended it, and the ledger is true to that moment.
        ({"ledger": ledger(web1="ok", web2="ok")[:5], "rc": 250}, [("rolled_back", "restored"), ("untouched", "ok")]),
        ({"ledger": [], "rc": 0}, ALL_BACK),
        ({"ledger": ledger(web1="ok", web2="begun"), "rc": 99, "background": True}, ALL_BACK),
    ],
)
def test_what_the_ledger_lacks_counts_against_machines(
    starter: Starter, script: dict[str, Any], expected: list[Any]
) -> None:
    starter.script(**script)
    assert outcomes(starter.run()) == expected
    assert starter.alive() == set()


@LINUX
def test_run_that_must_not_begin_is_refused(starter: Starter) -> None:
    last = starter.run(setup=f"fleet.made_snapshot('maint-{OTHER_RUN}')")
    assert f"Run {OTHER_RUN} is still open on web1." in last["refused"]
    assert starter.state["writes"] == []
    assert not (starter.folder / "commands").exists()
    assert not starter.work.exists()
    assert list(starter.reports.glob("*.json")) == []


@LINUX
def test_playbook_that_is_wrong_is_refused(starter: Starter) -> None:
    starter.script(syntax=f"ERROR! no action detected in task\n  {'x' * 3000}")
    last = starter.run()
    assert "patch.yml does not pass --syntax-check. ERROR! no action detected in task xxx" in last["refused"]
    assert last["refused"].endswith("x…")
    assert starter.state["writes"] == []


@LINUX
@pytest.mark.parametrize(
    ("plays", "limit"),
    [
        ([["web1", "web2"]], [*HOSTS]),
        ([["web1", "web2"], ["localhost"]], [*HOSTS, "localhost"]),
        # Nobody needs it, and the limit leaves it out.
        ([["web1", "localhost"]], [*HOSTS]),
        ([["web1", "localhost"], ["localhost"]], "localhost"),
        # It can have other names.
        ([["web1", "web2"], ["127.0.0.1"]], [*HOSTS, "localhost"]),
        ([["web1", "::1"]], [*HOSTS]),
        ([["web1", "127.0.0.1"], ["127.0.0.1"]], "127.0.0.1"),
        ([["web1", "::1"], ["web2", "localhost"], ["::1"]], "::1, localhost"),
        # A group localhost has other machines in it.
        ([["web1", "db1"], ["db1"]], [*HOSTS]),
        ([["web1"], ["db1", "localhost"], ["localhost"]], "db1, localhost"),
    ],
)
def test_localhost_that_is_in_the_inventory(starter: Starter, plays: list[list[str]], limit: list[str] | str) -> None:
    starter.script(plays=plays)
    last = starter.run(starter.order(localhost_is_listed=True))
    if isinstance(limit, str):
        assert f"{limit} is in the inventory, and patch.yml has a play on it together" in last["refused"]
        assert f"(hosts: all:!{limit.replace(', ', ':!')})" in last["refused"]
    else:
        assert outcomes(last) == ALL_OK
        assert starter.commands[-1] == ["patch.yml", limit]


@LINUX
def test_localhost_that_is_in_the_inventory_is_for_the_playbook_that_needs_it(starter: Starter) -> None:
    starter.report.playbooks = ["patch.yml", "verify.yml"]
    plays = {"patch.yml": [["web1", "web2", "localhost"]], "verify.yml": [["localhost"], ["web1", "web2"]]}
    starter.script(plays=plays)
    assert outcomes(starter.run(starter.order(localhost_is_listed=True))) == ALL_OK
    assert starter.commands[-2:] == [["patch.yml", [*HOSTS]], ["verify.yml", [*HOSTS, "localhost"]]]


@LINUX
def test_localhost_that_is_in_the_inventory_is_left_out_as_soon_as_the_playbook_does_not_need_it(
    starter: Starter,
) -> None:
    starter.report.wave_sizes = [1, 1]
    later = {"plays": [["web1", "web2", "localhost"]]}
    starter.script(plays=[["localhost"], ["web1", "web2"]], later=later)
    assert outcomes(starter.run(starter.order(localhost_is_listed=True))) == ALL_OK
    ran = [limit for dummy, limit in starter.commands if len(limit) == 1 or limit[1:] == ["localhost"]]
    assert ran[0] == ["web1", "localhost"]
    assert ran[-1] == ["web2"]


@LINUX
def test_what_is_known_of_localhost_stays_when_plays_cannot_be_listed_again(starter: Starter) -> None:
    starter.report.wave_sizes = [1, 1]
    starter.script(plays=[["localhost"], ["web1", "web2"]], later={"plays": None})
    assert outcomes(starter.run(starter.order(localhost_is_listed=True))) == ALL_OK
    assert starter.commands[-1] == ["patch.yml", ["web2", "localhost"]]


@LINUX
def test_play_on_some_machines_and_localhost_is_on_localhost_alone_in_no_wave(starter: Starter) -> None:
    starter.report.wave_sizes = [1, 1]
    starter.script(plays=[["web1", "localhost"]])
    assert outcomes(starter.run(starter.order(localhost_is_listed=True))) == ALL_OK
    # Those that list the hosts of plays have all.
    listing = [*HOSTS, "localhost"]
    assert {len(limit) for dummy, limit in starter.commands if limit != listing} == {1, 2}
    assert [limit for dummy, limit in starter.commands].count(listing) == 2
    assert starter.commands[-1] == ["patch.yml", ["web2"]]


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ({}, False),
        ({"all": ["web1", "local"], "web": ["web1"]}, False),
        ({"all": ["web1", "localhost"]}, True),
        ({"all": ["web1", "127.0.0.1"]}, True),
        ({"all": ["web1", "::1"]}, True),
        ({"all": ["web1", "db1"], "localhost": ["db1"]}, True),
    ],
)
def test_localhost_is_listed_under_each_of_its_names(groups: dict[str, list[str]], expected: bool) -> None:
    assert localhost_is_listed(groups) is expected


@LINUX
@pytest.mark.parametrize(("path", "outcome"), [("/snapshots", "no_snapshot"), (".*/restore", "rollback_failed")])
def test_work_that_does_not_end_in_time_is_told_without_advice_for_tasks(
    starter: Starter, path: str, outcome: str
) -> None:
    """There is no task of paperspace_snapshot that one could run again."""
    starter.script(ledger=ledger(web1="failed", web2="failed"), rc=2)
    last = starter.run(setup=f"fleet.fault('event', method='POST', path='{path}', state='stuck')")
    assert outcomes(last) == [(outcome, None)] * 2
    told = json.dumps([last, starter.said])
    assert "same task" not in told
    assert "The work may still finish; the guard has not waited any longer." in told


def stop_by_word(starter: Starter, process: subprocess.Popen[bytes]) -> None:
    starter.tell(process, "nonsense\nstop sigint\n")


def die(starter: Starter, process: subprocess.Popen[bytes]) -> None:
    assert process.stdin
    process.stdin.close()


def send_signals(starter: Starter, process: subprocess.Popen[bytes]) -> None:
    # The first two mean nothing to it.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        process.send_signal(number)


@LINUX
@pytest.mark.parametrize(
    ("stop", "ended_by"), [(stop_by_word, "sigint"), (die, "parent_died"), (send_signals, "sigterm")]
)
def test_run_that_is_stopped(starter: Starter, stop: Callable[..., None], ended_by: str) -> None:
    starter.script(ledger=ledger(web1="begun"), holds=True, background=True, says=["It goes on."])
    process = starter.start(starter.order())
    starter.until_held()
    # The output is live.
    starter.until_said(process, "It goes on.")
    stop(starter, process)
    *dummy, last = starter.end(process)
    assert outcomes(last) == [("rolled_back", "restored"), ("untouched", "ok")]
    assert (last["result"]["status"], last["result"]["ended_by"]) == ("failed", ended_by)
    assert [child["rc"] for child in last["result"]["children"]] == [-signal.SIGTERM]
    assert starter.alive() == set()


@LINUX
def test_run_that_is_stopped_before_it_begins(starter: Starter) -> None:
    starter.script(holds_check=True)
    process = starter.start(starter.order())
    starter.until_held()
    stop_by_word(starter, process)
    *dummy, last = starter.end(process)
    assert last == {"refused": "No maintenance was begun: The run was stopped."}
    assert starter.state["writes"] == []
    assert starter.alive() == set()


@LINUX
@pytest.mark.parametrize("is_dead", [False, True], ids=["hangs", "is_dead"])
def test_starter_that_does_not_read_does_not_keep_it_from_its_work(starter: Starter, is_dead: bool) -> None:
    starter.script(says=["x" * 1000] * 500, ledger=ledger(web1="failed", web2="ok"), rc=2)
    process = starter.start(starter.order())
    if is_dead:
        assert process.stdout
        process.stdout.close()
    assert process.wait(PATIENCE) == 0
    report = load_report(starter.reports / f"{RUN}.json")
    assert [machine.outcome for machine in report.machines] == ["rolled_back", "ok"]


def assert_secret(starter: Starter, last: Mapping[str, Any]) -> None:
    """What is said to the starter, C(Starter.end) has looked at."""
    assert "********" in json.dumps(last)
    assert {path.suffix for path in starter.reports.iterdir()} == {".json", ".md", ".html", ".log"}
    for path in starter.reports.iterdir():
        assert KEY not in path.read_text(encoding="utf-8"), path


@LINUX
def test_secret_is_not_told_of_the_check_of_a_later_wave(starter: Starter) -> None:
    """Of a file that is wrong, Ansible shows the lines around the mistake."""
    starter.report.wave_sizes = [1, 1]
    syntax = f"ERROR! mapping values are not allowed\n  api_key: {KEY}\n{'x ' * 2000}"
    starter.script(later={"syntax": syntax})
    last = starter.run()
    assert outcomes(last) == [("ok", "ok"), ("not_started", None)]
    assert "api_key: ********" in last["result"]["problems"][0]
    assert_secret(starter, last)


@LINUX
def test_secret_is_not_half_told(starter: Starter) -> None:
    """Where the text is cut."""
    starter.script(syntax=f"{'x' * (1500 - len(KEY) // 2)}{KEY}{'x' * 1500}")
    last = starter.run()
    assert "x***" in last["refused"]
    assert KEY[:4] not in last["refused"]


@LINUX
def test_secret_is_not_told_of_a_defect_of_the_guard(starter: Starter) -> None:
    setup = f"""
from ansible_collections.community.paperspace.plugins.plugin_utils import _guard
judge = _guard.judge
def fail_once(*args):
    _guard.judge = judge
    raise KeyError({KEY!r})
_guard.judge = fail_once
"""
    last = starter.run(setup=setup)
    assert "The guard failed: KeyError: '********'" in last["result"]["problems"]
    assert_secret(starter, last)


def test_secret_is_in_nothing_that_is_kept(starter: Starter) -> None:
    world = World(starter.order(), Stop(), SimpleNamespace(say=print))  # type: ignore[arg-type]
    machine = starter.report.machines[0]
    machine.reason, machine.times = Reason("web1", None, f"no {KEY}"), {"snapshot": Span(1.0)}
    starter.report.recover_variables = {"key": KEY}
    assert world.save(starter.report)
    for path in (starter.work / "state", *starter.reports.iterdir()):
        assert KEY not in path.read_text(encoding="utf-8"), path
    left = left_report(starter.order())
    assert left
    assert left.machines[0].times == machine.times
    assert left.machines[0].reason == Reason("web1", None, "no ********")


@LINUX
def test_check_mode_leaves_no_trace(starter: Starter) -> None:
    starter.report.check_mode = True
    last = starter.run(starter.order(report_folder=None))
    assert [machine["outcome"] for machine in last["result"]["machines"]] == ["ok", "ok"]
    assert starter.state["writes"] == []
    assert list(starter.reports.iterdir()) == []


@LINUX
def test_report_that_cannot_be_written_keeps_the_playbook_from_beginning(starter: Starter) -> None:
    starter.reports.rmdir()
    starter.reports.write_text("in the way")
    last = starter.run()
    assert last["result"]["status"] == "failed"
    assert outcomes(last) == [("untouched", "ok")] * 2
    assert any(text.startswith("The report cannot be written: ") for text in starter.said)


@LINUX
def test_defect_of_the_guard_itself_rolls_back(starter: Starter) -> None:
    setup = """
from ansible_collections.community.paperspace.plugins.plugin_utils import _guard
judge = _guard.judge
def fail_once(*args):
    _guard.judge = judge
    raise KeyError("no such thing")
_guard.judge = fail_once
"""
    last = starter.run(setup=setup)
    assert outcomes(last) == ALL_BACK
    assert last["result"]["status"] == "failed"
    assert "The guard failed: KeyError: 'no such thing'" in last["result"]["problems"]
    assert any("Traceback" in text for text in starter.said)


# After the death of another.

# The service as the dead guardian has left it.
LEFT = f"[fleet.made_snapshot('{OPEN}', machine_id) for machine_id in fleet.machine_ids]"


@contextlib.contextmanager
def left_behind(
    starter: Starter, *, is_reused: bool = False, begun: int = 1, **script: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A playbook that was begun, with web1, and its dead guardian's notes.

    C(is_reused): another process has its number. C(begun): how many playbooks were, by the report.
    """
    starter.script(ledger=ledger(web1="begun"), holds=True, **script)
    fleet = Fleet(2)
    for machine in starter.report.machines:
        machine.wave, machine.outcome = 1, "maintaining"
        # The simulated ids are the same every time.
        machine.snapshot = SnapshotReport(fleet.made_snapshot(OPEN, machine.machine_id), OPEN, "created")
        machine.times = {"snapshot": Span(1.0, 2.0), "maintenance": Span(3.0)}
    starter.report.children += [ChildReport(1, "patch.yml", began=3.0)] * begun
    write_report(starter.report, starter.reports)
    (starter.work / "limit").write_text("web1\nweb2\n", encoding="utf-8")
    environment = {**starter.child_environment, LEDGER_VARIABLE: str(starter.work / "ledger-1")}
    if not is_reused:
        environment[_child.MARK] = str(starter.work)
    code = "from ansible.cli.playbook import main; main()"
    command = [sys.executable, "-c", code, f"--limit=@{starter.work / 'limit'}", "patch.yml"]
    with subprocess.Popen(command, env=environment, start_new_session=True) as playbook:
        try:
            starter.until_held()
            start = "1" if is_reused else start_of(playbook.pid)
            (starter.work / "child").write_text(f"{playbook.pid} {start} ledger-1", encoding="utf-8")
            yield playbook
        finally:
            playbook.kill()


@LINUX
def test_successor_ends_the_playbook_and_undoes_what_it_did(starter: Starter) -> None:
    with left_behind(starter) as playbook:
        last = starter.run(starter.order(is_successor=True), LEFT)
        assert playbook.wait(PATIENCE) == -signal.SIGTERM
    assert outcomes(last) == [("rolled_back", "restored"), ("untouched", "ok")]
    assert (last["result"]["status"], last["result"]["ended_by"]) == ("failed", "guardian_died")
    assert starter.state["names"] == [[f"{OPEN}-restored"], [f"{OPEN}-ok"]]
    assert load_report(starter.reports / f"{RUN}.json").to_dict() == last["result"]
    assert not starter.work.exists()


@LINUX
def test_successor_leaves_a_process_alone_that_has_the_number_of_a_dead_one(starter: Starter) -> None:
    with left_behind(starter, is_reused=True) as stranger:
        last = starter.run(starter.order(is_successor=True), LEFT)
        assert stranger.poll() is None
    assert outcomes(last) == [("rolled_back", "restored"), ("untouched", "ok")]


@LINUX
@pytest.mark.parametrize("notes", [None, "", "17", "17 4", "17 4 ledger-"])
def test_successor_without_whole_notes_rolls_everything_back(starter: Starter, notes: str | None) -> None:
    with left_behind(starter):
        (starter.work / "child").unlink()
        if notes is not None:
            (starter.work / "child").write_text(notes, encoding="utf-8")
        last = starter.run(starter.order(is_successor=True), LEFT)
        # Not even the number of the playbook is known.
        assert starter.alive() == set()
    assert outcomes(last) == ALL_BACK


@LINUX
def test_successor_ends_what_a_dead_playbook_left(starter: Starter) -> None:
    """As workers, which go on by themselves: what they do after the rollback would stay."""
    with left_behind(starter, background=True) as playbook:
        playbook.kill()
        playbook.wait(PATIENCE)
        assert len(starter.alive()) == 1
        setup = f"""
{LEFT}
from ansible_collections.community.paperspace.plugins.module_utils._client import Client
from marked_processes import marked
restore = Client.restore_snapshot
def restore_when_none_is_left(self, *args, **kwargs):
    assert marked({_child.MARK!r}, {str(starter.work)!r}) == set()
    return restore(self, *args, **kwargs)
Client.restore_snapshot = restore_when_none_is_left
"""
        last = starter.run(starter.order(is_successor=True), setup)
        assert starter.alive() == set()
    assert outcomes(last) == [("rolled_back", "restored"), ("untouched", "ok")]


@LINUX
def test_successor_does_not_read_the_ledger_of_an_earlier_playbook(starter: Starter) -> None:
    """The guardian died between its report and the playbook's start."""
    with left_behind(starter, begun=2):
        last = starter.run(starter.order(is_successor=True), LEFT)
    assert outcomes(last) == ALL_BACK


@LINUX
def test_successor_takes_the_word_of_a_report_that_has_ended(starter: Starter) -> None:
    order = starter.order(is_successor=True)
    for machine in starter.report.machines:
        machine.outcome = "ok"
    starter.report.status = "succeeded"
    write_report(starter.report, starter.reports)
    last = starter.run(order, LEFT)
    assert last["result"] == starter.report.to_dict()
    assert starter.state["writes"] == []


# Several controllers of one run that have the same folder for their reports.


def of_another(starter: Starter) -> RunReport:
    """The report of a controller of the same run, at work on other machines."""
    other = RunReport(RUN, playbooks=["patch.yml"], wave_sizes=[1], machines=[MachineReport("db1", "psother")])
    write_report(other, starter.reports)
    return other


@LINUX
def test_successor_goes_by_what_its_own_has_left(starter: Starter) -> None:
    with left_behind(starter):
        path = starter.reports / f"{RUN}.json"
        path.rename(starter.work / "state")
        other = of_another(starter)
        last = starter.run(starter.order(is_successor=True, report_name=f"{RUN}-2"), LEFT)
    assert outcomes(last) == [("rolled_back", "restored"), ("untouched", "ok")]
    assert load_report(path).to_dict() == other.to_dict()
    assert load_report(starter.reports / f"{RUN}-2.json").to_dict() == last["result"]


@LINUX
def test_successor_does_nothing_by_the_report_of_another(starter: Starter) -> None:
    with left_behind(starter) as playbook:
        other = of_another(starter)
        last = starter.run(starter.order(is_successor=True), LEFT)
        # What its own had begun is ended all the same.
        assert playbook.wait(PATIENCE) == -signal.SIGTERM
    assert last["refused"].startswith(f"The process that guarded run {RUN} has died. To see what is open, ")
    assert starter.state["writes"] == []
    assert load_report(starter.reports / f"{RUN}.json").to_dict() == other.to_dict()


@LINUX
def test_files_are_named_as_ordered(starter: Starter) -> None:
    other = of_another(starter)
    last = starter.run(starter.order(report_name=f"{RUN}-2"))
    assert outcomes(last) == ALL_OK
    assert load_report(starter.reports / f"{RUN}-2.json").to_dict() == last["result"]
    assert (starter.reports / f"{RUN}-2.log").read_text()
    assert load_report(starter.reports / f"{RUN}.json").to_dict() == other.to_dict()
    assert not (starter.reports / f"{RUN}.log").exists()


@LINUX
def test_successor_does_not_need_the_report(starter: Starter) -> None:
    """Somebody may have moved it."""
    order = starter.order()
    starter.script(ledger=ledger(web1="begun"), holds=True)
    guardian = starter.start(order)
    starter.until_held()
    guardian.kill()
    guardian.wait(PATIENCE)
    for path in starter.reports.iterdir():
        path.unlink()
    order.is_successor = True
    assert outcomes(starter.run(order, LEFT)) == [("rolled_back", "restored"), ("untouched", "ok")]
    assert starter.alive() == set()


def changed(report: RunReport, **fields: Any) -> RunReport:
    copy = RunReport.from_dict(report.to_dict())
    for name, value in fields.items():
        setattr(copy, name, value)
    return copy


def test_report_is_its_own_whatever_has_become_of_the_machines(starter: Starter) -> None:
    order = starter.order()
    assert left_report(order) is None
    write_report(changed(starter.report, status="failed", problems=["One."]), starter.reports)
    found = left_report(order)
    assert found
    assert found.problems == ["One."]
    # What only the guardian writes comes first.
    (starter.work / "state").write_text(json.dumps(starter.report.to_dict()), encoding="utf-8")
    found = left_report(order)
    assert found
    assert found.problems == []
    (starter.work / "state").write_text("{", encoding="utf-8")
    found = left_report(order)
    assert found
    assert found.problems == ["One."]


@pytest.mark.parametrize(
    "fields",
    [
        {"machines": [MachineReport("web1", IDS["web1"])]},
        {"machines": [MachineReport("web1", IDS["web2"]), MachineReport("web2", IDS["web1"])]},
        {"prefix": "guard-"},
        {"run_id": OTHER_RUN},
    ],
)
def test_report_of_others_is_not_taken_for_its_own(starter: Starter, fields: dict[str, Any]) -> None:
    order = starter.order()
    other = changed(starter.report, **fields)
    write_report(other, starter.reports, RUN)
    (starter.work / "state").write_text(json.dumps(other.to_dict()), encoding="utf-8")
    assert left_report(order) is None


def test_state_that_cannot_be_kept_is_not_left_as_it_was(starter: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report may be newer."""
    world = World(starter.order(), Stop(), SimpleNamespace(say=print))  # type: ignore[arg-type]
    assert world.save(starter.report)
    assert load_report(starter.work / "state").to_dict() == starter.report.to_dict()

    def refuse(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_guardian, "replace_file", refuse)
    later = changed(starter.report, problems=["One."])
    assert world.save(later)
    assert list(starter.work.iterdir()) == []
    assert left_report(starter.order()) == later


@LINUX
def test_state_that_cannot_be_kept_does_not_stop_the_run(starter: Starter) -> None:
    (starter.work / "state").mkdir()
    assert outcomes(starter.run()) == ALL_OK


# The guardian is killed when the second machine's snapshot is there, and before it has heard of it.
DIE = """
import signal
from ansible_collections.community.paperspace.plugins.module_utils._client import Client
create = Client.create_snapshot
def create_and_die(self, machine_id, name):
    made = create(self, machine_id, name)
    if machine_id == fleet.machine_ids[1]:
        os.kill(os.getpid(), signal.SIGKILL)
    return made
Client.create_snapshot = create_and_die
"""


@LINUX
def test_successor_closes_what_was_made_and_leaves_what_may_be_of_another_controller(starter: Starter) -> None:
    order = starter.order()
    assert starter.start(order, DIE).wait(PATIENCE) == -signal.SIGKILL
    assert [machine.outcome for machine in load_report(starter.reports / f"{RUN}.json").machines] == ["planned"] * 2
    order.is_successor = True
    # The simulated service went with the process. Another one gives the same ids.
    last = starter.run(order, LEFT)
    assert outcomes(last) == [("untouched", "ok"), ("no_snapshot", None)]
    assert starter.state["names"] == [[f"{OPEN}-ok"], [OPEN]]
    assert not any(word.startswith("DELETE") for word in starter.state["writes"])


@LINUX
@pytest.mark.parametrize("notes", [None, "nonsense\n", "torn"])
def test_snapshots_that_are_not_noted_are_left(starter: Starter, notes: str | None) -> None:
    for machine in starter.report.machines:
        machine.wave, machine.times = 1, {"snapshot": Span(1.0)}
    write_report(starter.report, starter.reports)
    if notes is not None:
        (starter.work / "made").write_text(notes, encoding="utf-8")
    last = starter.run(starter.order(is_successor=True), LEFT)
    assert outcomes(last) == [("no_snapshot", None)] * 2
    assert starter.state["names"] == [[OPEN]] * 2


@LINUX
def test_note_that_cannot_be_written_does_not_stop_the_run(starter: Starter) -> None:
    (starter.work / "made").mkdir()
    assert outcomes(starter.run()) == ALL_OK
