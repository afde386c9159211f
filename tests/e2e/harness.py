# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start guarded maintenances, interfere with them, and hold what is left against what should be.

What a machine went through is read from its disk and from the service itself, never from what the guard says of it;
what the guard says is then held against that. Needs Linux: processes are found in C(/proc).
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import marked_processes

from ansible_collections.community.paperspace.plugins.plugin_utils._report import load_report
from ansible_fixtures import KEY, Ansible, Simulator

NEW_VERSION = "2.0"
MARK = "E2E_RUN"
"""In the environment of every process of a run, so that none is missed or left over."""

# Written by the machine itself, or by Ansible on its way.
NOT_MAINTAINED = ("run", "tmp/.ansible")
LONGEST_RUN = 120.0


@dataclass(frozen=True)
class Fate:
    """What should have become of a machine: the report's outcome, and the verdicts that may be given for it."""

    outcome: str
    verdicts: tuple[str | None, ...]
    closed: str | None = None

    @property
    def is_good(self) -> bool:
        return self.outcome in ("ok", "untouched")


OK = Fate("ok", ("ok",), "ok")
UNTOUCHED = Fate("untouched", ("untouched",), "ok")
FAILED = Fate("rolled_back", ("failed",), "restored")
UNREACHABLE = Fate("rolled_back", ("unreachable",), "restored")
INCOMPLETE = Fate("rolled_back", ("incomplete",), "restored")
# What stops the playbook ends the connection of a running task too, and that may be told first.
CUT_SHORT = Fate("rolled_back", ("incomplete", "unreachable"), "restored")
# Where releases of ansible-core differ in which hosts they say a playbook that breaks down has failed on.
LOST = Fate("rolled_back", ("failed", "incomplete"), "restored")
# Well maintained itself, and rolled back with its wave or fleet.
WITH_THE_OTHERS = Fate("rolled_back", ("ok",), "restored")
NO_SNAPSHOT = Fate("no_snapshot", (None,))
NOT_STARTED = Fate("not_started", (None,))
ROLLBACK_FAILED = Fate("rollback_failed", ("failed", "unreachable", "incomplete"))


@dataclass
class Run:
    """An ansible-playbook that was started, and what is known of it so far."""

    process: subprocess.Popen[bytes]
    output_file: Path
    mark: str
    reports: Path
    earlier: set[str]
    fleet: Mapping[str, Mapping[str, str]] = field(repr=False)
    """Every machine's disk as it was before."""

    @property
    def output(self) -> str:
        return self.output_file.read_text("utf-8", "replace")

    @property
    def message(self) -> str:
        """The output with its white space made single: Ansible wraps its warnings and errors."""
        return " ".join(self.output.split())

    def errors(self) -> list[str]:
        """The hosts and messages of the tasks that failed in the guarding play, after those that were guarded."""
        own = self.output.rpartition("TASK [community.paperspace.maintenance : Refuse what could not be begun]")[2]
        return [line.removeprefix("fatal: ") for line in own.splitlines() if line.startswith("fatal: ")]

    @property
    def rc(self) -> int:
        assert self.process.returncode is not None
        return self.process.returncode

    def report_file(self) -> Path | None:
        """The run's report in JSON, once there is one."""
        found = [path for path in self.reports.glob("*.json") if path.name not in self.earlier]
        assert len(found) <= 1, found
        return found[0] if found else None

    def report(self) -> dict[str, Any]:
        path = self.report_file()
        assert path, f"there is no report\n{self.output}"
        # It has every field of the schema, and no other.
        report: dict[str, Any] = load_report(path).to_dict()
        return report

    def machine(self, host: str) -> dict[str, Any]:
        """What the report says of a host."""
        [found] = [machine for machine in self.report()["machines"] if machine["host"] == host]
        return dict(found)

    def status(self) -> str | None:
        """The run's status in the report, or None as long as there is no report."""
        path = self.report_file()
        return str(json.loads(path.read_text("utf-8"))["status"]) if path else None

    def wait(self, timeout: float = LONGEST_RUN) -> Run:
        """Wait until the command has ended."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still not at its end after {timeout} s\n{self.processes()}\n{self.output}") from None
        return self

    def until(self, condition: Callable[[], Any], timeout: float = LONGEST_RUN / 2) -> None:
        """Wait for a condition that the run brings about."""
        wait_until(condition, timeout, lambda: f"{self.processes()}\n{self.output}")

    def until_all_is_over(self) -> Run:
        """Wait for the end of every process of the run, whoever started it."""
        self.until(lambda: self.process.poll() is not None and not marked(self.mark))
        return self

    def interrupt(self) -> None:
        """Ctrl-C in a terminal: it goes to all of the command's process group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        self.process.send_signal(number)

    def kill_everything(self) -> None:
        """As when the controller loses its power."""
        kill_marked(self.mark)
        self.process.wait(10)

    def processes(self) -> str:
        """What still runs, for messages."""
        return "\n".join(f"{process}: {command_line(process)}" for process in sorted(marked(self.mark)))


def wait_until(condition: Callable[[], Any], timeout: float, explain: Callable[[], str] = str) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"did not come about within {timeout} s\n{explain()}"
        time.sleep(0.02)


def marked(mark: str) -> set[int]:
    """The processes that have the mark of a run in their environment; not those that are dead already."""
    return marked_processes.marked(MARK, mark)


def kill_marked(mark: str) -> None:
    """Kill until nothing is left: there may be new processes between a look and the next."""
    end = time.monotonic() + 10
    while processes := marked(mark):
        assert time.monotonic() < end, processes
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def command_line(process: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
    return ""


def parent_of(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text("utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("PPid:")).split()[1])


def contents(disk: Path) -> dict[str, str]:
    """Everything on a disk that can be maintained, by path."""
    found = {}
    for folder, names, files in os.walk(disk):
        for name in [*names, *files]:
            path = Path(folder, name)
            shown = path.relative_to(disk).as_posix()
            if not shown.startswith(NOT_MAINTAINED):
                with contextlib.suppress(FileNotFoundError):
                    found[shown] = "folder" if path.is_dir() else path.read_text("utf-8", "replace")
    return found


class Controller:
    """A computer with Ansible on it, from which simulated machines are maintained."""

    def __init__(self, ansible: Ansible, simulator: Simulator) -> None:
        self.ansible = ansible
        self.simulator = simulator
        self.folder = ansible.folder
        self.reports = self.folder / "paperspace-runs"
        self.mark = secrets.token_hex(8)
        self._started: list[Run] = []
        # Each machine has booted, as it always has when a maintenance begins.
        wait_until(lambda: all((disk / "run/boot_id").exists() for disk in self._folder_of_disks.iterdir()), 10)
        # Everything that a run writes lies below the folder.
        temporary = self.folder / "tmp"
        temporary.mkdir()
        ansible.environment |= {MARK: self.mark, "TMPDIR": str(temporary), "ANSIBLE_PIPELINING": "true"}

    # The machines

    @property
    def _folder_of_disks(self) -> Path:
        return Path(self.simulator.description["machines_dir"])

    def disk(self, host: str) -> Path:
        return self._folder_of_disks / self.simulator.ids()[host]

    def disks(self) -> dict[str, dict[str, str]]:
        return {name: contents(self._folder_of_disks / machine_id) for name, machine_id in self.simulator.ids().items()}

    def snapshot_names(self) -> dict[str, list[str]]:
        """The names of each machine's snapshots, oldest first."""
        names: dict[str, list[str]] = {name: [] for name in self.simulator.ids()}
        hosts = {machine_id: name for name, machine_id in self.simulator.ids().items()}
        for snapshot in self.simulator.snapshots():
            names[hosts[snapshot["machineId"]]].append(snapshot["name"])
        return names

    def restored(self) -> list[str]:
        """The machines that were really put back, in order, once for each time."""
        hosts = {machine_id: name for name, machine_id in self.simulator.ids().items()}
        return [
            hosts[done["machine_id"]] for done in self.simulator.control("GET", "/done") if done["what"] == "restores"
        ]

    def restores_asked_for(self) -> int:
        return sum(call.endswith("/restore") for call in self.simulator.calls("POST"))

    def is_held(self, *hosts: str) -> bool:
        """Whether the task C(HOLD) runs on all of these."""
        return all((self.disk(host) / "held").exists() for host in hosts)

    # The commands

    def start(self, *command: str | Path) -> Run:
        """Start a command, with nobody there to answer it: no terminal, and nothing to read."""
        output = self.folder / f"output-{len(self._started)}"
        with output.open("wb") as stream:
            process = subprocess.Popen(
                [str(word) for word in command],
                cwd=self.folder,
                env=self.ansible.environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        earlier = {path.name for path in self.reports.glob("*.json")}
        run = Run(process, output, self.mark, self.reports, earlier, self.disks())
        self._started.append(run)
        return run

    def start_maintenance(
        self,
        playbooks: Sequence[Any],
        *arguments: str | Path,
        limit: str | None = "web",
        inventory: str | Path | None = None,
        **variables: Any,
    ) -> Run:
        """Start the playbook C(maintenance) on a playbook, or on several.

        A playbook is a list of plays; several are a list of paths. Variables lack their C(maintenance_).
        """
        if isinstance(playbooks[0], Mapping):
            playbook: Any = str(self.ansible.write("patch.yml", list(playbooks)))
        else:
            playbook = [str(path) for path in playbooks]
        given = {"maintenance_playbook": playbook, "maintenance_reconnect_timeout": 30}
        given |= {f"maintenance_{name}": value for name, value in variables.items()}
        command = ["ansible-playbook", "community.paperspace.maintenance"]
        command += ["-i", str(inventory or self.simulator.inventory), "-e", json.dumps(given)]
        return self.start(*command, *(["-l", limit] if limit else []), *arguments)

    def maintain(self, playbooks: Sequence[Any], *arguments: str | Path, **options: Any) -> Run:
        """Run the playbook C(maintenance) to its end, and check that nothing of it is left running."""
        run = self.start_maintenance(playbooks, *arguments, **options).wait()
        assert not marked(self.mark), f"left over:\n{run.processes()}\n{run.output}"
        return run

    def recover(self, *arguments: str, rc: int | None = 0) -> Run:
        """Run the playbook C(recover)."""
        command = ("ansible-playbook", "community.paperspace.recover", "-i", str(self.simulator.inventory))
        run = self.start(*command, "-e", "recover_reconnect=false", *arguments).wait()
        assert rc is None or run.rc == rc, run.output
        return run

    def clean_up(self) -> None:
        """End whatever a test that failed has left, and show all that was said, which pytest does after failures."""
        kill_marked(self.mark)
        for run in self._started:
            run.process.wait(10)
            print(f"{run.process.args!r}\n{run.output}\nexit code {run.rc}\n")
        for report in self.reports.glob("*.json"):
            print(report.read_text("utf-8"))

    # The checks

    def check(
        self,
        run: Run,
        fates: Mapping[str, Fate],
        *,
        reasons: Mapping[str, tuple[str | None, str]] | None = None,
        ended_by: str | Collection[str] = "end",
        closed_before: Iterable[str] = (),
    ) -> dict[str, Any]:
        """Hold machines, service, report and output of a run that is over against what should have become of each host.

        C(reasons) has task and error by host, as far as a test is sure of them; hosts without a fate must not have
        been touched. Returns the report.
        """
        assert not marked(self.mark), f"left over:\n{run.processes()}\n{run.output}"
        report = run.report()
        run_id = report["run_id"]
        self._check_disks(run, fates)
        self._check_service(run_id, fates, set(closed_before))
        self._check_report(report, fates, reasons or {})
        assert report["ended_by"] in ([ended_by] if isinstance(ended_by, str) else ended_by)
        if report["ended_by"] == "end":
            assert "Traceback (most recent call last)" not in run.output
        is_good = all(fate.is_good for fate in fates.values())
        assert (run.rc == 0) == is_good, f"exit code {run.rc}"
        assert report["status"] == ("succeeded" if is_good else "failed")
        self._check_page(run_id, fates)
        self.check_secrecy(run)
        return report

    def _check_disks(self, run: Run, fates: Mapping[str, Fate]) -> None:
        now = self.disks()
        for host, before in run.fleet.items():
            fate = fates.get(host)
            if fate is OK:
                assert now[host]["opt/app/version"].strip() == NEW_VERSION, f"{host} has lost its new disk"
            elif fate is None or fate.outcome != "rollback_failed":
                assert now[host] == before, f"{host} has not its old disk"

    def _check_service(self, run_id: str, fates: Mapping[str, Fate], closed_before: set[str]) -> None:
        names = {
            host: [name for name in found if name not in closed_before] for host, found in self.snapshot_names().items()
        }
        assert names == {
            host: [f"maint-{run_id}-{fates[host].closed}"] if host in fates and fates[host].closed else []
            for host in names
        }
        rolled_back = sorted(host for host, fate in fates.items() if fate.outcome == "rolled_back")
        assert sorted(self.restored()) == rolled_back, "each machine is rolled back once, and no other"

    def _check_report(
        self, report: Mapping[str, Any], fates: Mapping[str, Fate], reasons: Mapping[str, tuple[str | None, str]]
    ) -> None:
        machines = {machine["host"]: machine for machine in report["machines"]}
        assert machines.keys() == fates.keys()
        ids = self.simulator.ids()
        for host, fate in fates.items():
            machine = machines[host]
            assert machine["machine_id"] == ids[host]
            assert (machine["outcome"], machine["closed"]) == (fate.outcome, fate.closed), host
            assert machine["verdict"] in fate.verdicts, host
            if fate.closed:
                [snapshot] = self.simulator.snapshots(ids[host])[-1:]
                assert (machine["snapshot"]["id"], machine["snapshot"]["name"]) == (snapshot["id"], snapshot["name"])
            if fate.outcome == "rolled_back":
                assert machine["rollback"]["status"] == "restored"
                assert machine["times"]["rollback"]["ended"] >= machine["times"]["rollback"]["began"]
            # Whoever is to wait for the machines' answers is gone when the run was stopped.
            is_asked = fate.outcome == "rolled_back" and report["ended_by"] in ("end", "guardian_died")
            assert (machine["reconnect"] or {}).get("status") == ("answers" if is_asked else None), host
            assert fate.is_good or machine["reason"]["error"], host
        for host, (task, error) in reasons.items():
            reason = machines[host]["reason"]
            assert reason["task"] == task, host
            assert error in reason["error"], host

    def _check_page(self, run_id: str, fates: Mapping[str, Fate]) -> None:
        page = self.reports / f"{run_id}.md"
        text = page.read_text("utf-8")
        assert run_id in text
        assert all(host in text for host in fates)
        looks = page.with_suffix(".html").read_text("utf-8")
        assert run_id in looks
        assert all(f"<h3>{host}</h3>" in looks for host in fates)
        for path in (page, page.with_suffix(".json"), page.with_suffix(".html")):
            assert path.stat().st_mode & 0o777 == 0o600
        assert list(self.folder.glob("tmp/guarded-*")) == [], "the guardian has left its work folder"

    def check_guarded(self, run: Run) -> list[str]:
        """No machine is left changed and unguarded. Returns how the runs of the machines were closed, in their order.

        Each machine has its old disk, whatever was done to it in between, or its new one, all of it, and then a
        snapshot that is closed as well ended. No run is open.
        """
        now, names, closed = self.disks(), self.snapshot_names(), []
        for host, before in run.fleet.items():
            states = [name.rpartition("-")[2] for name in names[host] if name.startswith("maint-")]
            assert len(states) <= 1, names
            state = states[0] if states else ""
            assert state in ("", "ok", "restored"), f"open: {names}\n{run.output}"
            if state != "ok" or now[host] == before:
                assert now[host] == before, f"{host} is changed, and {names}\n{run.output}"
            else:
                assert now[host]["opt/app/version"].strip() == NEW_VERSION, names
                assert "opt/app/done" in now[host], f"{host} is maintained by half, and {names}\n{run.output}"
            closed.append(state)
        return closed

    def check_secrecy(self, run: Run) -> None:
        """The API key is in nothing that was said or written, on the controller and on the machines."""
        for path in (*self.folder.rglob("*"), *self._folder_of_disks.rglob("*")):
            with contextlib.suppress(FileNotFoundError):
                if path.is_file() and path.name != "credentials.toml":
                    assert KEY.encode() not in path.read_bytes(), path

    def check_refusal(self, run: Run, *said: str) -> None:
        """There is one error that says so, and nothing was done, on the machines and on the service."""
        assert run.rc not in (0, None), run.output
        # Where each host checks for itself, each says the same.
        errors = {line.partition("]: ")[2] for line in run.output.splitlines() if line.startswith("fatal: [")}
        assert len(errors) == 1, run.output
        for text in said:
            assert text in run.message, run.output
        assert self.simulator.calls("POST", "PUT", "PATCH", "DELETE") == []
        assert self.disks() == run.fleet
        assert run.report_file() is None
        assert not marked(self.mark)
        self.check_secrecy(run)
