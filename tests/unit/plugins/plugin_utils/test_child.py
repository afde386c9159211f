# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real processes. Those that end others do so in a process of their own, since they end all that is below them."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from marked_processes import marked

from ansible_collections.community.paperspace.plugins.plugin_utils import _child
from ansible_collections.community.paperspace.plugins.plugin_utils._child import Child, start_of

MARK = "TEST_CHILD_MARK"
# Much more than anything here takes.
PATIENCE = 60.0

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="finds and adopts processes as Linux does")

# What each process here imports. Whoever is up says so with a file, and then waits to be ended.
ACTING = """
import ctypes, importlib.util, json, os, signal, subprocess, sys, threading, time

folder = sys.argv[1]

def tell(name, text=""):
    path = os.path.join(folder, name)
    with open(path + ".part", "w") as stream:
        stream.write(text)
    os.rename(path + ".part", path)

def wait_for(*names):
    end = time.monotonic() + 60
    while not all(os.path.exists(os.path.join(folder, name)) for name in names):
        assert time.monotonic() < end, names
        time.sleep(0.01)

def command(code):
    return [sys.executable, "-c", "from acting import *\\n" + code, folder]

# -3 is subprocess.DEVNULL.
def start(code, **options):
    return subprocess.Popen(command(code), **options)

def sleep():
    while True:
        time.sleep(600)
"""

# The process under test: it has a child, and ends it with all that is below.
SUPERVISOR = """
spec = importlib.util.spec_from_file_location("child", sys.argv[2])
child = sys.modules["child"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(child)
child.adopt_orphans()
lines = []
# What begins with this takes note of being asked to end when it looks.
block = "asked = {signal.SIGTERM}; signal.pthread_sigmask(signal.SIG_BLOCK, asked); "

def begin(code):
    return child.Child(command(code), os.environ, lines.append)
"""


class Stage:
    """Where processes meet. C(supervise) returns what the supervisor prints as JSON."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "stage"
        self.folder.mkdir()
        (folder / "acting.py").write_text(ACTING, encoding="utf-8")
        self.mark = secrets.token_hex(8)
        self.environment = {**os.environ, MARK: self.mark, "PYTHONPATH": str(folder)}

    def command(self, code: str, *arguments: str) -> list[str]:
        return [sys.executable, "-c", f"from acting import *\n{code}", str(self.folder), *arguments]

    def supervise(self, code: str) -> Any:
        done = subprocess.run(
            self.command(SUPERVISOR + textwrap.dedent(code), str(_child.__file__)),
            env=self.environment,
            input=b"This is for nobody else.",
            stdout=subprocess.PIPE,
            timeout=PATIENCE,
            check=True,
        )
        return json.loads(done.stdout) if done.stdout else None

    def alive(self) -> set[int]:
        return marked(MARK, self.mark)

    def told(self) -> set[str]:
        return {path.name for path in self.folder.iterdir()}


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(tmp_path)
    yield stage
    for process in stage.alive():
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def wait_until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# One process and its output.


def run(
    *argv: str, environment: dict[str, str] | None = None, on_line: Callable[[str], None] | None = None
) -> tuple[int, list[str]]:
    lines: list[str] = []
    child = Child(argv, environment or {}, on_line or lines.append)
    rc = child.wait()
    assert child._process.stdout
    assert child._process.stdout.closed
    return rc, lines


def test_output_and_errors_are_passed_on_line_by_line() -> None:
    rc, lines = run(
        "/bin/sh", "-c", "echo ' one '; echo two >&2; echo; printf '\\303\\244 \\377\\n'; printf end; exit 3"
    )
    assert (rc, lines) == (3, [" one ", "two", "", "\u00e4 \ufffd", "end"])


def test_all_of_a_long_output_is_passed_on() -> None:
    rc, lines = run(sys.executable, "-c", "for number in range(50000): print(number)")
    assert (rc, lines) == (0, [str(number) for number in range(50000)])


def test_output_is_waited_for_when_the_process_has_ended() -> None:
    lines: list[str] = []

    def take(line: str) -> None:
        time.sleep(0.01)
        lines.append(line)

    assert run("/bin/sh", "-c", "seq 5", on_line=take) == (0, [])
    assert lines == [str(number) for number in range(1, 6)]


def test_end_by_a_signal_is_a_negative_code() -> None:
    assert run("/bin/sh", "-c", "kill -9 $$") == (-9, [])


def test_it_has_nothing_to_read_and_a_session_of_its_own(stage: Stage) -> None:
    lines = stage.supervise(
        """
        begin("print(repr(sys.stdin.read()), os.getsid(0) == os.getpid())").wait()
        print(json.dumps(lines))
        """
    )
    assert lines == ["'' True"]


def test_it_has_the_environment_that_is_given_and_no_other() -> None:
    rc, lines = run("/usr/bin/env", environment={"NAME": "value"})
    assert (rc, sorted(lines)) == (0, ["NAME=value", "PYTHONUNBUFFERED=1"])


def test_command_that_does_not_exist_is_an_error_at_once() -> None:
    with pytest.raises(FileNotFoundError):
        run("/nonexistent/ansible-playbook")


@LINUX
def test_whoever_holds_the_output_open_is_not_waited_for(stage: Stage) -> None:
    stage.supervise(
        """
        main = begin("start('tell(\\"up\\"); sleep()', start_new_session=True); wait_for('up'); print('done')")
        assert main.wait() == 0
        assert lines == ["done"]
        """
    )
    assert len(stage.alive()) == 1


# Ending all that it started.


@LINUX
def test_descendants_in_sessions_of_their_own_are_ended(stage: Stage) -> None:
    """As the workers of ansible-core since 2.19, and what they start."""
    rc = stage.supervise(
        """
        grandchild = "tell('grandchild'); sleep()"
        worker = f"start({grandchild!r}, start_new_session=True); tell('worker'); sleep()"
        main = begin(f"start({worker!r}, start_new_session=True); start({grandchild!r}); sleep()")
        wait_for("worker", "grandchild")
        main.end()
        print(main.wait())
        """
    )
    assert rc == -signal.SIGTERM
    assert stage.alive() == set()


@LINUX
@pytest.mark.parametrize("is_double", [False, True], ids=["orphan", "daemon"])
def test_orphans_are_ended(stage: Stage, is_double: bool) -> None:
    """Its child is dead already, and the parents of those that are left too."""
    stage.supervise(
        f"""
        orphan = "tell('up'); sleep()"
        if {is_double}:
            orphan = f"os.setsid(); os.fork() and os._exit(0); {{orphan}}"
        main = begin(f"start({{orphan!r}}, stdout=-3, stderr=-3); wait_for('up')")
        assert main.wait() == 0
        assert child._processes().get(main.pid) is None
        main.end()
        """
    )
    assert stage.told() == {"up"}
    assert stage.alive() == set()


@LINUX
def test_worker_whose_parent_was_killed_is_ended(stage: Stage) -> None:
    stage.supervise(
        """
        worker = "tell('up'); sleep()"
        main = begin(f"start({worker!r}, start_new_session=True, stdout=-3, stderr=-3); sleep()")
        wait_for("up")
        os.kill(main.pid, signal.SIGKILL)
        assert main.wait() == -9
        main.end()
        """
    )
    assert stage.alive() == set()


IGNORE = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
TELL = "tell('worker', str(os.getpid()))"


@LINUX
@pytest.mark.parametrize(
    ("worker", "state"),
    [(f"{IGNORE}; {TELL}; sleep()", "S"), (f"{TELL}; os.kill(os.getpid(), signal.SIGSTOP)", "T")],
    ids=["ignores_sigterm", "is_stopped"],
)
def test_whoever_does_not_end_when_asked_is_killed(stage: Stage, worker: str, state: str) -> None:
    rc = stage.supervise(
        f"""
        child._GRACE = 0.2
        main = begin({f"{IGNORE}; start({worker!r}, start_new_session=True); tell('main'); sleep()"!r})
        wait_for("worker", "main")
        with open(folder + "/worker") as stream:
            worker = stream.read()
        while True:
            with open(f"/proc/{{worker}}/stat") as stream:
                if stream.read().rpartition(")")[2].split()[0] == {state!r}:
                    break
            time.sleep(0.01)
        main.end()
        print(main.wait())
        """
    )
    assert rc == -signal.SIGKILL
    assert stage.alive() == set()


@LINUX
def test_all_are_asked_and_have_time_to_clean_up(stage: Stage) -> None:
    rc = stage.supervise(
        """
        child._GRACE = child._PATIENCE = 1000
        obey = "signal.signal(signal.SIGTERM, lambda *dummy: (time.sleep(0.3), tell({0!r}), os._exit(7)))"
        worker = obey.format("worker is clean") + "; tell('worker'); sleep()"
        main = begin(obey.format("main is clean") + f"; start({worker!r}); tell('main'); sleep()")
        wait_for("main", "worker")
        main.end()
        print(main.wait())
        """
    )
    assert rc == 7
    assert stage.told() == {"main", "worker", "main is clean", "worker is clean"}
    assert stage.alive() == set()


@LINUX
def test_whoever_is_started_while_others_end_is_ended_too(stage: Stage) -> None:
    """Each that is asked to end leaves another one behind, and so on."""
    stage.supervise(
        """
        child._GRACE = child._PATIENCE = 1000
        code = block + "tell('last'); signal.sigwait(asked)"
        for name in ("third", "second", "first"):
            code = block + f"tell({name!r}); signal.sigwait(asked); start({code!r}, start_new_session=True)"
        main = begin(code)
        wait_for("first")
        main.end()
        main.wait()
        """
    )
    assert stage.told() == {"first", "second", "third", "last"}
    assert stage.alive() == set()


@LINUX
def test_whoever_is_started_by_an_orphan_is_ended_though_nobody_adopts_it(stage: Stage) -> None:
    """As where there is no Linux: it has an ancestor that was known before it was an orphan."""
    stage.supervise(
        """
        ctypes.CDLL(None).prctl(child._PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        child._GRACE = child._PATIENCE = 1000
        last = block + "tell('last'); signal.sigwait(asked); tell('last was asked')"
        worker = block + f"tell('worker'); signal.sigwait(asked); start({last!r}); wait_for('last was asked')"
        main = begin(f"start({worker!r}, start_new_session=True); sleep()")
        wait_for("worker")
        main.end()
        """
    )
    assert stage.told() == {"worker", "last", "last was asked"}
    assert stage.alive() == set()


@LINUX
def test_tree_of_somebody_else_is_ended(stage: Stage) -> None:
    """As a playbook that a dead guardian has left."""
    code = "start('tell(\"worker\"); sleep()', start_new_session=True); tell('main'); sleep()"
    with subprocess.Popen(stage.command(code), env=stage.environment) as main:
        wait_until(lambda: {"main", "worker"} <= stage.told())
        stage.supervise(f"child.end_tree({main.pid}, {start_of(main.pid)!r})")
        assert main.wait(PATIENCE) == -signal.SIGTERM
    assert stage.alive() == set()


# What a dead process has left, found by what stands in the environment of all that it started.


def left(stage: Stage, code: str, mark: str | None, *, is_dead: bool = True) -> subprocess.Popen[bytes]:
    """The first process of a session, which has started what the code says; its number is still its own."""
    environment = {name: value for name, value in stage.environment.items() if name != _child.MARK}
    if mark is not None:
        environment[_child.MARK] = mark
    end = "os._exit(0)" if is_dead else "sleep()"
    command = stage.command(f"{code}\nwait_for('worker'); {end}")
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    wait_until(lambda: "worker" in stage.told())
    if is_dead:
        process.wait(PATIENCE)
    return process


STUBBORN = "signal.signal(signal.SIGTERM, signal.SIG_IGN); tell('worker'); sleep()"


@LINUX
@pytest.mark.parametrize(
    "code",
    [
        f"start({STUBBORN!r})",
        f"start({STUBBORN!r}, start_new_session=True)",
        # As the workers of Ansible are, and as the callback takes the ledger out of their environment.
        f"os.environ.clear()\nif not os.fork(): {STUBBORN}\n",
        f"os.environ.clear()\nif not os.fork(): os.setsid(); {STUBBORN}\n",
    ],
    ids=["program", "program_in_a_session", "fork", "fork_in_a_session"],
)
def test_workers_of_the_dead_are_ended(stage: Stage, code: str) -> None:
    """Their parent is the first of all processes by now."""
    main = left(stage, code, "/work/a")
    assert len(stage.alive()) == 1
    stage.supervise(f"child._GRACE = 0.2; child.end_tree({main.pid}, None, '/work/a')")
    assert stage.alive() == set()


@LINUX
def test_whoever_is_in_a_session_of_the_dead_is_ended(stage: Stage) -> None:
    """As a program that is started with an environment of its own."""
    bare = "tell('bare'); sleep()"
    work = f"os.environ.pop({_child.MARK!r}); start({bare!r}); wait_for('bare'); tell('worker'); sleep()"
    main = left(stage, f"start({work!r})", "/work/a")
    assert len(stage.alive()) == 2
    stage.supervise(f"child.end_tree({main.pid}, None, '/work/a')")
    assert stage.alive() == set()


@LINUX
@pytest.mark.parametrize("mark", [None, "/work/b", "/work/a/", "/work", ""])
def test_sessions_of_others_are_left_alone(stage: Stage, mark: str | None) -> None:
    """As those of another run, also where the number of the dead is that of another's session by now."""
    main = left(stage, "start('tell(\"worker\"); sleep()')", mark)
    [worker] = stage.alive()
    stage.supervise(f"child.end_tree({main.pid}, '1', '/work/a')")
    stage.supervise(f"child.end_tree({main.pid}, None, '/work/a')")
    assert stage.alive() == {worker}


@LINUX
def test_process_that_has_the_number_of_the_dead_is_left_alone(stage: Stage) -> None:
    main = left(stage, "start('tell(\"worker\"); sleep()')", None, is_dead=False)
    stage.supervise(f"child.end_tree({main.pid}, '1', '/work/a')")
    assert len(stage.alive()) == 2
    assert main.poll() is None
    main.kill()
    main.wait(PATIENCE)


@LINUX
def test_number_that_is_given_to_another_meanwhile_is_not_ended(stage: Stage) -> None:
    """The child is asked to end, and does; then others get its number, and that of its worker for their session."""
    sent = stage.supervise(
        """
        process = child._Process
        first = {10: process(os.getpid(), 10, "100"), 11: process(10, 11, "101")}
        then = {10: process(1, 10, "900"), 12: process(10, 10, "901"), 13: process(1, 11, "902")}
        # Somebody is at the end of it.
        then[11] = process(1, 11, "101")
        at_last = {10: then[10], 11: process(1, 11, "903"), 12: then[12]}
        tables = [first, then, at_last]
        child._processes = lambda: tables.pop(0)
        sent = []
        os.kill = lambda process, number: sent.append(process)
        child.end_tree(10, "100")
        print(json.dumps(sent))
        """
    )
    assert sorted(sent) == [10, 11, 13]


@LINUX
def test_name_of_a_process_may_hold_anything(stage: Stage) -> None:
    """Names stand in brackets among the numbers that are read."""
    stage.supervise(
        """
        name = "ctypes.CDLL(None).prctl(15, b') Z 1 (\\\\n')"
        main = begin(f"start({name + '; tell(str(os.getpid())); sleep()'!r}, start_new_session=True); sleep()")
        while not [name for name in os.listdir(folder) if name.isdigit()]:
            time.sleep(0.01)
        [worker] = [int(name) for name in os.listdir(folder) if name.isdigit()]
        assert child._processes()[worker].parent == main.pid
        main.end()
        """
    )
    assert stage.alive() == set()


@LINUX
def test_it_is_ended_by_one_thread_while_another_waits(stage: Stage) -> None:
    rc = stage.supervise(
        """
        main = begin("tell('up'); sleep()")
        def stop():
            wait_for("up")
            main.end()
        thread = threading.Thread(target=stop)
        thread.start()
        print(main.wait())
        thread.join()
        """
    )
    assert rc == -signal.SIGTERM
    assert stage.alive() == set()


@LINUX
def test_end_of_what_has_ended_does_nothing(stage: Stage) -> None:
    rc = stage.supervise(
        """
        main = begin("sys.exit(3)")
        main.wait()
        main.end()
        main.end()
        print(main.wait())
        """
    )
    assert rc == 3


@LINUX
def test_others_are_left_alone(stage: Stage) -> None:
    """Even if they have the same parent as the one that ends its child."""
    with subprocess.Popen(stage.command("tell('bystander'); sleep()"), env=stage.environment) as bystander:
        wait_until(lambda: "bystander" in stage.told())
        stage.supervise(
            """
            main = begin("tell('up'); sleep()")
            wait_for("up")
            main.end()
            """
        )
        assert stage.alive() == {bystander.pid}
        assert bystander.poll() is None
        bystander.kill()


@LINUX
def test_whoever_cannot_be_ended_does_not_keep_the_run_for_ever(stage: Stage) -> None:
    """As a process of another user, or one that waits for a disk."""
    asked, seconds = stage.supervise(
        """
        class Clock:
            now = 0.0
            def monotonic(self):
                return self.now
            def sleep(self, seconds):
                self.now += seconds
        main = begin("tell('up'); sleep()")
        wait_for("up")
        sent = []
        kill, os.kill, child.time = os.kill, lambda process, number: sent.append(int(number)), Clock()
        main.end()
        kill(main.pid, signal.SIGKILL)
        assert main.wait() == -9
        print(json.dumps([sent, child.time.now]))
        """
    )
    assert asked[0] == signal.SIGTERM
    assert set(asked[1:]) == {signal.SIGKILL}
    assert 29 < seconds < 31


# Naming a process for good.


def test_start_names_a_process_for_good() -> None:
    with subprocess.Popen(["/bin/sleep", "600"]) as process:
        start = start_of(process.pid)
        assert start
        assert start_of(process.pid) == start
        process.kill()
    assert start_of(process.pid) is None


@LINUX
def test_start_is_that_of_the_process() -> None:
    """In ticks of the system since it was booted, by /proc."""
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    with subprocess.Popen(["/bin/sleep", "600"]) as process:
        ticks = int(str(start_of(process.pid)))
        process.kill()
    assert abs(ticks / os.sysconf("SC_CLK_TCK") - uptime) < PATIENCE


@pytest.mark.skipif(not os.access("/bin/ps", os.X_OK), reason="there is no ps")
def test_processes_are_told_by_ps_where_there_is_no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_child, "_PROC", Path("/nonexistent"))
    with subprocess.Popen(["/bin/sleep", "600"]) as process:
        table = _child._processes()
        start = start_of(process.pid)
        assert start
        assert start_of(process.pid) == start
        assert table[process.pid] == _child._Process(os.getpid(), os.getpgrp(), start)
        assert table[os.getpid()].parent == os.getppid()
        process.kill()
        wait_until(lambda: process.pid not in _child._processes())
    assert start_of(process.pid) is None
