# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process that does a guarded run, and outlives whoever started it.

It is started by the action plugin guarded_playbook, in a session of its own, with one line of JSON on its standard
input (see C(Order)). That input stays open: a line C(stop REASON) stops the run, and so does its end, which is the
death of the starter. Either way the playbook is ended with all its processes, and what it left undone is rolled back.
On its output are lines of JSON: C({"say": TEXT}), and at last C({"result": {…}}) or C({"refused": TEXT}).
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from ansible_collections.community.paperspace.plugins.module_utils._client import Client
from ansible_collections.community.paperspace.plugins.module_utils._connection import Connection
from ansible_collections.community.paperspace.plugins.module_utils._errors import InputError, PaperspaceError
from ansible_collections.community.paperspace.plugins.module_utils._machines import MachineWish, run_machines
from ansible_collections.community.paperspace.plugins.module_utils._outcomes import Report
from ansible_collections.community.paperspace.plugins.module_utils._reading import Reader, pool_of
from ansible_collections.community.paperspace.plugins.module_utils._snapshot_plans import Wish
from ansible_collections.community.paperspace.plugins.module_utils._snapshots import run_snapshots
from ansible_collections.community.paperspace.plugins.module_utils._wire import Event, Snapshot
from ansible_collections.community.paperspace.plugins.plugin_utils._child import (
    MARK,
    Child,
    adopt_orphans,
    end_tree,
)
from ansible_collections.community.paperspace.plugins.plugin_utils._command_line import (
    ParentRun,
    child_command,
    child_environment,
    limit_file_text,
)
from ansible_collections.community.paperspace.plugins.plugin_utils._guard import Guard, Settings
from ansible_collections.community.paperspace.plugins.plugin_utils._ledger import MACHINES_SUFFIX, read_ledger
from ansible_collections.community.paperspace.plugins.plugin_utils._private import (
    open_log,
    replace_file,
    write_file,
)
from ansible_collections.community.paperspace.plugins.plugin_utils._progress import ProgressLines
from ansible_collections.community.paperspace.plugins.plugin_utils._report import (
    RunReport,
    load_report,
    write_report,
)
from ansible_collections.community.paperspace.plugins.plugin_utils._report_text import recover_command
from ansible_collections.community.paperspace.plugins.plugin_utils._text import one_line

# Exit codes with which ansible-playbook says that it came to its own end: all well, failed hosts, unreachable hosts.
_OWN_ENDS = (0, 2, 4, 6)
# Of these, 4 can also mean that it met a file that it cannot read, at its begin or later.
_SAID_ALL = (0, 2, 6)
_LIST_HOSTS = "--list-hosts"
# The names by which Ansible knows the controller. Each selects it, whichever of them the inventory has.
_LOCALHOST = {"localhost", "127.0.0.1", "::1"}
# In the work folder: the report as the guardian has left it, for another one.
_STATE = "state"
# What is advised when a task of a module has not waited long enough; a guarded run has no such task.
_ADVICE = re.compile(r"(?:; |\. )(?:run the same task again|the same task run again)[^.]*", re.IGNORECASE)
_DOING = {"present": "Taking snapshots", "absent": "Deleting snapshots", "restored": "Restoring snapshots"}


@dataclass
class Order:
    """What a guardian is asked for. All of it can be written as JSON."""

    report: dict[str, Any]
    parent: dict[str, Any] = field(repr=False)
    connection: dict[str, Any] = field(repr=False)
    settings: dict[str, Any]
    # For ledgers and the like; the guardian removes it at the end.
    work_folder: str
    # Where the report goes; None for none, in check mode.
    report_folder: str | None
    # Whether the inventory has what a limit to localhost selects, so that a play on all hosts would be on it too.
    localhost_is_listed: bool = False
    # The machine ids by host, of the hosts that have them in paperspace_id.
    ids_in_inventory: dict[str, str] = field(default_factory=dict)
    # Whether another guardian has begun this run and died.
    is_successor: bool = False
    # What the files of the report are named, without their ends: the run id unless given. Nobody else writes to them.
    report_name: str = ""

    def report_path(self, kind: str) -> Path | None:
        """Where this file of the report goes, if there is to be a report."""
        name = self.report_name or self.report["run_id"]
        return None if self.report_folder is None else Path(self.report_folder) / f"{name}.{kind}"


class Stop:
    """What stops the run: the first reason counts. C(child) is ended when there is one.

    Only Ctrl-C counts before SIGTERM: ansible-playbook makes both of it, and they may come in either order.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self.event = threading.Event()
        self._lock = threading.Lock()
        self._child: Child | None = None

    def set(self, reason: str) -> None:
        with self._lock:
            if self.reason is not None:
                if (self.reason, reason) == ("sigterm", "sigint"):
                    self.reason = reason
                return
            self.reason = reason
            child = self._child
        self.event.set()
        if child is not None:
            child.end()

    def watch(self, child: Child | None) -> None:
        """From now on this child is to be ended with the run."""
        with self._lock:
            self._child = child
            is_stopped = self.reason is not None
        if child is not None and is_stopped:
            child.end()


class Speaker:
    """Writes lines for the starter without ever waiting for it: it may be dead, or not reading."""

    def __init__(self, secret: str, log: Path | None) -> None:
        self._secret = secret
        self._lines: queue.Queue[str | None] = queue.Queue(100_000)
        self._log = None
        if log is not None:
            with contextlib.suppress(OSError):
                self._log = os.fdopen(open_log(log), "w", encoding="utf-8", errors="replace", buffering=1)
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def say(self, text: str) -> None:
        text = _redacted(text, self._secret)
        if self._log is not None:
            with contextlib.suppress(OSError, ValueError):
                self._log.write(f"{text}\n")
        self._put({"say": text})

    def end(self, message: dict[str, Any], patience: float | None) -> None:
        """Send the last message, and wait so many seconds until it is read; None waits as long as it can be read."""
        message = _redacted(message, self._secret)
        with contextlib.suppress(queue.Full):
            self._lines.put(json.dumps(message), timeout=patience)
            self._lines.put(None, timeout=patience)
        self._thread.join(patience)

    def _put(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(json.dumps(message))

    def _write(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            for line in iter(self._lines.get, None):
                sys.stdout.write(f"{line}\n")
                sys.stdout.flush()


class World:
    """The ports of a guard: the service, the clock, and real processes."""

    def __init__(self, order: Order, stop: Stop, speaker: Speaker) -> None:
        self._order = order
        self._stop = stop
        self._speaker = speaker
        self._parent = ParentRun(**order.parent)
        self._client = Client(Connection(**order.connection))
        self._work = Path(order.work_folder)
        # For a successor: the ids of the snapshots that this guardian made, each as soon as it has heard of it.
        self._made = self._work / "made"
        create = self._client.create_snapshot

        def create_and_note(machine_id: str, name: str) -> tuple[Snapshot, Event]:
            answer = create(machine_id, name)
            with contextlib.suppress(OSError), os.fdopen(open_log(self._made), "a", encoding="utf-8") as notes:
                notes.write(f"{answer[0].id}\n")
            return answer

        self._client.create_snapshot = create_and_note  # type: ignore[method-assign]
        self._secret = order.connection["api_key"]
        # The playbooks whose limit has to have a line for a localhost that is in the inventory.
        self._on_localhost: set[str] = set()
        self._count = 0

    def now(self) -> float:
        return time.time()

    def pause(self, seconds: float, *, despite_stop: bool = False) -> None:
        if despite_stop:
            time.sleep(seconds)
        else:
            self._stop.event.wait(seconds)

    def say(self, text: str) -> None:
        self._speaker.say(text)

    def save(self, report: RunReport) -> bool:
        if self._order.report_folder is None:
            return True
        # Whatever a child or the service has said, it is not written down.
        report = _redacted(report, self._secret)
        self._keep(report)
        try:
            write_report(report, Path(self._order.report_folder), self._order.report_name)
        except OSError as error:
            # The machines matter more than the report; the result still goes to whoever started this.
            self.say(f"The report cannot be written: {error}")
            return False
        return True

    def _keep(self, report: RunReport) -> None:
        path = self._work / _STATE
        try:
            replace_file(path, json.dumps(report.to_dict()))
        except OSError:
            # One that is out of date would have another guardian undo what is done.
            with contextlib.suppress(OSError):
                path.unlink()

    def stopped_by(self) -> str | None:
        return self._stop.reason

    def existing_snapshots(self, machine_ids: Sequence[str]) -> dict[str, list[Snapshot]]:
        with pool_of(self._client) as pool:
            reader = Reader(self._client, pool)
            reader.existing_machines(machine_ids, skip_missing=False)
            return reader.snapshots(machine_ids)

    def snapshots(self, wish: Wish, *, check_mode: bool) -> Report:
        report = run_snapshots(
            self._client,
            wish,
            check_mode=check_mode,
            progress=self._progress("Renaming snapshots" if wish.new_name else _DOING[wish.state]),
        )
        for warning in report.warnings:
            self.say(f"Warning: {warning}")
        return _without_advice(report)

    def made_snapshots(self) -> set[str]:
        try:
            *whole, dummy = self._made.read_text(encoding="utf-8").split("\n")
        except OSError:
            return set()
        return set(whole)

    def machines(self, wish: MachineWish) -> Report:
        progress = self._progress("Starting machines")
        return _without_advice(run_machines(self._client, wish, check_mode=False, progress=progress))

    def _progress(self, doing: str) -> ProgressLines:
        return ProgressLines(lambda text: self.say(one_line(f"{doing}: {_unadvised(text)}")))

    def check_playbook(self, playbook: str, hosts: Sequence[str]) -> None:
        limit = self._limit_file(hosts, with_localhost=self._needs_localhost(playbook))
        argv = child_command(self._parent, playbook, limit, is_syntax_check=True)
        rc, lines = self._ask(argv)
        if self._stop.reason is not None:
            raise InputError("The run was stopped.")
        if rc != 0:
            raise InputError(f"{playbook} does not pass --syntax-check. {_shortened(lines)}")
        if not self._order.localhost_is_listed:
            return
        # All of the run, since a play on some of them and on localhost is none on localhost alone in any wave.
        machines = [machine["host"] for machine in self._order.report["machines"]]
        limit = self._limit_file(machines, with_localhost=True)
        argv = child_command(self._parent, playbook, limit, is_syntax_check=True)
        rc, lines = self._ask([_LIST_HOSTS if word == "--syntax-check" else word for word in argv])
        if rc != 0:
            return
        plays = hosts_of_plays(lines)
        local = [play for play in plays if play and play <= _LOCALHOST.difference(machines)]
        # A play on machines and on localhost goes without the latter, as the limit says, unless another play needs it.
        others = sorted({host for play in plays if play not in local for host in play.difference(machines)})
        if local and others:
            raise InputError(
                f"{', '.join(others)} is in the inventory, and {playbook} has a play on it "
                f"together with machines. Leave it out of that play (hosts: all:!{':!'.join(others)}) "
                "or of the inventory."
            )
        if local:
            self._on_localhost.add(playbook)
        else:
            self._on_localhost.discard(playbook)

    def _needs_localhost(self, playbook: str) -> bool:
        return not self._order.localhost_is_listed or playbook in self._on_localhost

    def run_playbook(self, playbook: str, hosts: Sequence[str]) -> tuple[int, list[dict[str, Any]]]:
        self._count += 1
        ledger = self._work / f"ledger-{self._count}"
        limit = self._limit_file(hosts, with_localhost=self._needs_localhost(playbook))
        argv = child_command(self._parent, playbook, limit)
        ids = {host: self._order.ids_in_inventory[host] for host in hosts if host in self._order.ids_in_inventory}
        write_file(Path(f"{ledger}{MACHINES_SUFFIX}"), json.dumps(ids))
        child = Child(argv, self._environment(ledger), self.say)
        self._stop.watch(child)
        write_file(self._work / "child", f"{child.pid} {child.started} {ledger.name}")
        rc = child.wait()
        self._stop.watch(None)
        if rc not in _OWN_ENDS or self._stop.reason is not None:
            # Its workers may live on.
            child.end()
        lines = read_ledger(ledger, self._secret)
        if rc in _SAID_ALL and not any(line["event"] == "stats" for line in lines):
            # It has an end that the ledger does not have, so more may be missing there.
            lines = []
        return rc, lines

    def take_over(self, begun: int) -> list[dict[str, Any]]:
        """End the playbook that a dead guardian left, and return the lines of its ledger.

        C(begun) is how many it began. There are no lines when the last of them has not started.
        """
        try:
            # What ps says of a start has spaces.
            number, started = (self._work / "child").read_text(encoding="utf-8").split(maxsplit=1)
            started, name = started.rsplit(maxsplit=1)
            pid = int(number)
        except (OSError, ValueError):
            # It may have died before it could note what it had started.
            end_tree(None, None, str(self._work))
            return []
        end_tree(pid, started, str(self._work))
        return read_ledger(self._work / name, self._secret) if name == f"ledger-{begun}" else []

    def _environment(self, ledger: Path) -> dict[str, str]:
        return {**child_environment(self._parent, ledger), MARK: str(self._work)}

    def _ask(self, argv: Sequence[str]) -> tuple[int, list[str]]:
        lines: list[str] = []
        environ = {**self._environment(self._work / "unused"), "ANSIBLE_FORCE_COLOR": "false"}
        # Here already, since half a key is not found when the text has been cut.
        child = Child(argv, environ, lambda line: lines.append(_redacted(line, self._secret)))
        self._stop.watch(child)
        rc = child.wait()
        self._stop.watch(None)
        return rc, lines

    def _limit_file(self, hosts: Sequence[str], *, with_localhost: bool) -> Path:
        path = self._work / "limit"
        write_file(path, limit_file_text(hosts, with_localhost=with_localhost))
        return path


def _without_advice(report: Report) -> Report:
    for outcome in report.outcomes:
        outcome.error = outcome.error and _unadvised(outcome.error)
    return report


def _unadvised(text: str) -> str:
    return _ADVICE.sub("; the guard has not waited any longer", text)


def hosts_of_plays(lines: Sequence[str]) -> list[set[str]]:
    """The hosts of each play, from what C(ansible-playbook --list-hosts) prints."""
    plays: list[set[str]] = []
    is_list = False
    for line in lines:
        if re.fullmatch(r"    hosts \(\d+\):", line):
            plays.append(set())
            is_list = True
        elif is_list and line.startswith("      ") and line.strip():
            plays[-1].add(line.strip())
        else:
            is_list = False
    return plays


def localhost_is_listed(groups: Mapping[str, Sequence[str]]) -> bool:
    """Whether a limit to C(localhost) selects hosts or a group of the inventory, whose groups these are."""
    return "localhost" in groups or not _LOCALHOST.isdisjoint(groups.get("all", ()))


def _redacted(value: Any, secret: str) -> Any:
    """The same without the secret: a text, or what is made of texts, as messages and reports are."""
    if isinstance(value, str):
        return value.replace(secret, "********")
    if isinstance(value, dict):
        return {_redacted(key, secret): _redacted(item, secret) for key, item in value.items()}
    if isinstance(value, list):
        return [_redacted(item, secret) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{one.name: _redacted(getattr(value, one.name), secret) for one in fields(value)})
    return value


def _shortened(lines: Sequence[str]) -> str:
    text = " ".join(" ".join(lines).split())
    return text if len(text) <= 1500 else f"{text[:1500]}…"


def _listen(stop: Stop) -> None:
    """Until the starter is dead."""
    for line in sys.stdin:
        word, dummy, reason = line.strip().partition(" ")
        if word == "stop":
            stop.set(reason)
    stop.set("parent_died")


def main() -> None:
    """Read the order, do it, and say what became of it."""
    order = Order(**json.loads(sys.stdin.readline()))
    adopt_orphans()
    stop = Stop()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # A handler must not take the lock that the main thread may hold.
    signal.signal(
        signal.SIGTERM,
        lambda *dummy: threading.Thread(target=stop.set, args=("sigterm",), daemon=True).start(),
    )
    threading.Thread(target=_listen, args=(stop,), daemon=True).start()
    speaker = Speaker(order.connection["api_key"], order.report_path("log"))
    try:
        message = _carry_out(order, stop, speaker)
    finally:
        shutil.rmtree(order.work_folder, ignore_errors=True)
    # With a report, the starter can read there what became of the run.
    speaker.end(message, patience=None if order.report_folder is None else 10.0)
    # Threads that wait for a starter that hangs must not keep this process.
    os._exit(0)


def _carry_out(order: Order, stop: Stop, speaker: Speaker) -> dict[str, Any]:
    world = World(order, stop, speaker)
    report = RunReport.from_dict(order.report)
    settings = Settings(**order.settings)
    try:
        if order.is_successor:
            left = left_report(order)
            if left is not None and left.status != "running":
                return {"result": left.to_dict()}
            lines = world.take_over(0 if left is None else len(left.children))
            if left is None:
                raise InputError(death_message(report))
            report = left
            stop.set("guardian_died")
            Guard(report, settings, world).resume(lines)
        else:
            guard = Guard(report, settings, world)
            guard.refuse()
            _run(guard, report, order, stop, world)
    except PaperspaceError as error:
        return {"refused": str(error)}
    return {"result": report.to_dict()}


def _run(guard: Guard, report: RunReport, order: Order, stop: Stop, world: World) -> None:
    """The run, with what is left undone when it fails by a defect of this code: its starter may be dead already."""
    try:
        guard.run()
    except Exception as error:
        if report.check_mode:
            raise
        world.say("".join(traceback.format_exception(error)).rstrip())
        stop.set("guardian_died")
        report.problems.append(f"The guard failed: {type(error).__name__}: {error}")
        with contextlib.suppress(Exception):
            world.take_over(len(report.children))
        # Nothing is read from the ledger, which may be what the guard failed on: so nothing is proven.
        Guard(report, Settings(**order.settings), world).resume([])


def left_report(order: Order) -> RunReport | None:
    """The report as a guardian with this order has left it; None when there is none, or none of its own."""
    planned = _subject(RunReport.from_dict(order.report))
    for place in filter(None, (Path(order.work_folder) / _STATE, order.report_path("json"))):
        with contextlib.suppress(OSError, InputError):
            report = load_report(place)
            if _subject(report) == planned:
                return report
    return None


def _subject(report: RunReport) -> tuple[object, ...]:
    """What a report is about, from its begin to its end. Several controllers may share the id of a run."""
    machines = [(machine.host, machine.machine_id) for machine in report.machines]
    return report.run_id, report.prefix, machines


def death_message(report: RunReport) -> str:
    """What is said of a run that no guardian could bring to its end."""
    return (
        f"The process that guarded run {report.run_id} has died. To see what is open, and what can be done: "
        f"{recover_command(report, 'list')}"
    )


def order_line(order: Order) -> str:
    """The order as the one line that a guardian reads."""
    return json.dumps(asdict(order)) + "\n"
