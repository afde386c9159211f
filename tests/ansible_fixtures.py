# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real Ansible commands against a real simulator process: the fixtures `simulator` and `ansible`.

One simulator serves a whole test run and starts over for each test. Each test has a home directory of its own, and
nothing of the outer environment but the path of its programs.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

# What a shell starts in the background ignores Ctrl-C, and so would everything that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

COLLECTION = Path(__file__).parents[1]
KEY = "k3y-t0-n0b0dy-a1b2c3"

# Quick, yet slow enough that every state in between is seen.
SETTINGS = {
    "event_start_seconds": 0.05,
    "snapshot_seconds": 0.2,
    "delete_seconds": 0.1,
    "restore_seconds": 0.3,
    "start_seconds": 0.2,
    "stop_seconds": 0.2,
    "restart_seconds": 0.2,
    "upgrade_seconds": 0.2,
    "settle_seconds": 0.1,
    "serviceready_seconds": 0.1,
    "reboot_seconds": 0.2,
    "state_lag_seconds": 0.1,
}


class Simulator:
    """The simulator over its control endpoints. Its README says what they take and give."""

    def __init__(self, description: dict[str, Any], key: str = KEY) -> None:
        self.description = description
        self.api_url: str = description["api_url"]
        self.key = key
        self._control_url: str = description["control_url"]
        self._session = requests.Session()
        self._session.trust_env = False

    @property
    def inventory(self) -> Path:
        """A static inventory of the machines, with how to reach them by SSH."""
        return Path(self.description["inventory"])

    def control(self, method: str, path: str, content: Any = None, **query: Any) -> Any:
        answer = self._session.request(method, self._control_url + path, json=content, params=query, timeout=30)
        assert answer.status_code == 200, f"{method} {path}: {answer.text}"
        return answer.json()

    def reset(self) -> None:
        """The first machines again, with new disks, and nothing else: no snapshots, faults, log or changed settings."""
        self.control("POST", "/reset")

    def settings(self, **changes: Any) -> dict[str, Any]:
        settings: dict[str, Any] = self.control("PATCH", "/settings", changes)
        return settings

    def machines(self) -> list[dict[str, Any]]:
        """All machines as they truly are, in the wire's form, oldest first."""
        machines: list[dict[str, Any]] = self.control("GET", "/machines")
        return machines

    def ids(self) -> dict[str, str]:
        """The machines' ids by name."""
        return {machine["name"]: machine["id"] for machine in self.machines()}

    def add_machine(self, name: str, **fields: Any) -> str:
        """The id of a new machine; the fields have the wire's names."""
        return str(self.control("POST", "/machines", {"name": name, **fields})["id"])

    def change_machine(self, machine_id: str, **fields: Any) -> None:
        self.control("PATCH", f"/machines/{machine_id}", fields)

    def remove_machine(self, machine_id: str) -> None:
        self.control("DELETE", f"/machines/{machine_id}")

    def remove_machines(self) -> None:
        for machine in self.machines():
            self.remove_machine(machine["id"])

    def snapshots(self, machine_id: str | None = None) -> list[dict[str, Any]]:
        """All snapshots, or a machine's, oldest first; with `complete`."""
        query = {} if machine_id is None else {"machine_id": machine_id}
        snapshots: list[dict[str, Any]] = self.control("GET", "/snapshots", **query)
        return snapshots

    def add_snapshot(self, machine_id: str, name: str, **options: Any) -> str:
        """The id of a snapshot that is there already."""
        return str(self.control("POST", "/snapshots", {"machine_id": machine_id, "name": name, **options})["id"])

    def events(self, machine_id: str | None = None) -> list[dict[str, Any]]:
        query = {} if machine_id is None else {"machine_id": machine_id}
        events: list[dict[str, Any]] = self.control("GET", "/events", **query)
        return events

    def add_fault(self, action: str, **rule: Any) -> str:
        """The id of a new rule."""
        return str(self.control("POST", "/faults", {"action": action, **rule})["id"])

    def clear_faults(self) -> None:
        self.control("DELETE", "/faults")

    def log(self) -> list[dict[str, Any]]:
        """What was asked of the API, in order: method, path, query, body, status, at, faults."""
        log: list[dict[str, Any]] = self.control("GET", "/log")
        return log

    def clear_log(self) -> None:
        self.control("DELETE", "/log")

    def calls(self, *methods: str) -> list[str]:
        """`METHOD path` of every request in order, of some methods only when these are given."""
        return [
            f"{entry['method']} {entry['path']}" for entry in self.log() if not methods or entry["method"] in methods
        ]

    def done_counts(self) -> dict[str, int]:
        """How many creates, deletes, restores, … were really done, whatever their answers said."""
        counts: dict[str, int] = self.control("GET", "/counts")["done"]
        return counts


@contextlib.contextmanager
def started_simulator(folder: Path, key: str, *options: str) -> Iterator[Simulator]:
    """A simulator of five machines, with its files in the folder."""
    command = [sys.executable, "-m", "simulator", "--port", "0", "--machines", "5", "--with-parent", *options]
    command += ["--dir", str(folder), "--key", key, "--settings", json.dumps(SETTINGS)]
    environment = {**os.environ, "PYTHONPATH": str(COLLECTION / "tests")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        try:
            assert process.stdout
            line = process.stdout.readline()
            assert line, "the simulator ended before it was ready"
            yield Simulator(json.loads(line), key)
        finally:
            process.terminate()


@pytest.fixture(scope="session")
def simulator_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    with started_simulator(tmp_path_factory.mktemp("simulator"), KEY) as simulator:
        yield simulator


@pytest.fixture
def simulator(simulator_process: Simulator) -> Simulator:
    """The simulator with its first five machines: web1, web2, web3, db1 and db2."""
    simulator_process.reset()
    return simulator_process


@dataclass(frozen=True)
class Result:
    rc: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return self.stdout + self.stderr

    @property
    def message(self) -> str:
        """All output with its white space made single: Ansible wraps its warnings and errors."""
        return " ".join(self.output.split())


class Ansible:
    """Ansible's commands in an environment of their own. C(environment) may be changed by a test."""

    def __init__(self, folder: Path, collections: Path, simulator: Simulator) -> None:
        self.folder = folder
        self.simulator = simulator
        home = folder / "home"
        home.mkdir()
        configuration = folder / "ansible.cfg"
        # Ten times the default: who asks less often whether a task has ended, needs much less of the processor.
        configuration.write_text("[defaults]\ninternal_poll_interval = 0.01\n", "utf-8")
        programs = Path(sys.executable).parent
        self.environment = {
            "HOME": str(home),
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "LANG": "C.UTF-8",
            "ANSIBLE_HOME": str(home / ".ansible"),
            "ANSIBLE_CONFIG": str(configuration),
            "ANSIBLE_COLLECTIONS_PATH": str(collections),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
            "ANSIBLE_NOCOLOR": "true",
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
            # No ssh process may outlive its test.
            "ANSIBLE_SSH_ARGS": "-o ControlMaster=no -o ControlPath=none",
            "PAPERSPACE_API_KEY": simulator.key,
            "PAPERSPACE_API_URL": simulator.api_url,
        }

    def run(self, command: str, *arguments: str | Path, rc: int | None = 0, timeout: float = 300) -> Result:
        """Run a command and check its exit code (None: any), and that neither the key nor a traceback is shown."""
        done = subprocess.run(
            [command, *map(str, arguments)],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        result = Result(done.returncode, done.stdout, done.stderr)
        assert self.simulator.key not in result.output
        assert "Traceback (most recent call last)" not in result.output, result.output
        assert rc is None or result.rc == rc, result.output
        return result

    def write(self, name: str, content: Any) -> Path:
        """A file in the test's folder: text as it is, anything else as YAML."""
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False), "utf-8")
        return path

    def playbook(self, plays: Sequence[Mapping[str, Any]], *arguments: str | Path, rc: int | None = 0) -> Result:
        """Run plays that are given as Python objects."""
        return self.run("ansible-playbook", self.write("playbook.yml", list(plays)), *arguments, rc=rc)

    def task(self, task: Mapping[str, Any], *arguments: str | Path) -> dict[str, Any]:
        """The result of one task on the controller, failed or not. C(--check) and the like are its playbook's."""
        # In the output and not in a file: a task that writes one costs more than most tasks under test.
        shown = {"ansible.builtin.debug": {"msg": "<<{{ result | to_json | b64encode }}>>"}}
        tasks = [{"block": [{**task, "register": "result"}], "always": [shown]}]
        play = {"hosts": "localhost", "gather_facts": False, "tasks": tasks}
        done = self.playbook([play], *arguments, rc=None)
        [kept] = re.findall("<<([A-Za-z0-9+/=]+)>>", done.stdout)
        result: dict[str, Any] = json.loads(base64.b64decode(kept))
        assert done.rc == (2 if result.get("failed") else 0), done.output
        return result


@pytest.fixture(scope="session")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder to find the collection in: the one around it, where it has the right name, else one with a link."""
    if COLLECTION.parent.name == "community" and COLLECTION.parents[1].name == "ansible_collections":
        return COLLECTION.parents[2]
    root = tmp_path_factory.mktemp("collections")
    namespace = root / "ansible_collections" / "community"
    namespace.mkdir(parents=True)
    (namespace / "paperspace").symlink_to(COLLECTION)
    return root


@pytest.fixture
def ansible(tmp_path: Path, collections: Path, simulator: Simulator) -> Ansible:
    return Ansible(tmp_path, collections, simulator)
