# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API key is in nothing that a run says, leaves behind or starts, in whichever way it is given.

Left out is only what the user himself wrote: the file with the key in it (C(Way.written)), and the words of a command
line that he gave the key in, which the guarded ansible-playbook has too.
"""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ansible_fixtures import Simulator, started_simulator
from e2e.harness import Controller, Run
from e2e.playbooks import HOLD, INSTALL, fail, play

DEFAULTS = "group/community.paperspace.paperspace"
SNAPSHOT = "community.paperspace.paperspace_snapshot"
SNAPSHOT_INFO = "community.paperspace.paperspace_snapshot_info"
MACHINE_INFO = "community.paperspace.paperspace_machine_info"
INVENTORY = "community.paperspace.paperspace"
CONNECTION = "{{ paperspace_connection | default({}) }}"

# Every result as it comes to callbacks, which the callback json and its like print.
CALLBACK = """
import json, os
from ansible.plugins.callback import CallbackBase

class CallbackModule(CallbackBase):
    CALLBACK_VERSION, CALLBACK_TYPE, CALLBACK_NAME = 2.0, "aggregate", "whole"

    def keep(self, result, **kwargs):
        with open(os.environ["WHOLE_RESULTS"], "a") as stream:
            stream.write(json.dumps(result._result, default=str) + chr(10))

    v2_runner_on_ok = v2_runner_on_failed = v2_runner_on_unreachable = v2_runner_on_skipped = keep
    v2_runner_item_on_ok = v2_runner_item_on_failed = v2_runner_item_on_skipped = v2_runner_retry = keep
"""

ENV = {"name": "Look at the environment", "ansible.builtin.shell": "env | tee {{ disk }}/var/log/env"}
GUARDED = [play(ENV, INSTALL, fail("web2"), environment={"FROM_THE_USER": "yes"})]


@pytest.fixture(scope="module")
def simulator_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """With a key that is nowhere else on this computer."""
    with started_simulator(tmp_path_factory.mktemp("simulator"), f"k3y{secrets.token_hex(20)}") as simulator:
        yield simulator


@dataclass
class Way:
    """A way to give the key. C(defaults) is for C(module_defaults), C(written) the files with the key in them."""

    arguments: Sequence[str] = ()
    defaults: Any = CONNECTION
    inventory_key: str | None = None
    written: set[Path] = field(default_factory=set)
    # Whether modules have it as an option, and so in the file that Ansible sends to where they run.
    is_option: bool = True
    # Whether the playbooks of the collection get it.
    is_for_all: bool = True
    # Whether a guarded maintenance gets it in another way than with those before.
    is_for_guard: bool = True


def by_environment(controller: Controller) -> Way:
    controller.ansible.environment["PAPERSPACE_API_KEY"] = controller.simulator.key
    return Way(is_option=False)


def by_credentials(controller: Controller) -> Way:
    folder = Path(controller.ansible.environment["HOME"]) / ".paperspace"
    folder.mkdir(mode=0o700)
    (folder / "credentials.toml").write_text(f'[keys]\nteam = "{controller.simulator.key}"\n')
    return Way(is_option=False, written={folder / "credentials.toml"}, is_for_guard=False)


def by_literal(controller: Controller) -> Way:
    """In C(module_defaults), or with each module, of the user's own playbooks."""
    inventory = controller.folder / "team.paperspace.yml"
    own = {controller.folder / f"{name}.yml" for name in ("modules", "snapshot", "maintenance", "recover")}
    key = controller.simulator.key
    return Way(defaults={"api_key": key}, inventory_key=key, written={inventory, *own}, is_for_all=False)


def by_extra_vars_file(controller: Controller) -> Way:
    variables = {"paperspace_connection": {"api_key": controller.simulator.key}}
    path = controller.ansible.write("secret.yml", json.dumps(variables))
    # The next test has it with a guarded maintenance.
    key = "{{ paperspace_connection.api_key }}"
    return Way(["-e", f"@{path}"], inventory_key=key, written={path}, is_for_guard=False)


def by_extra_vars(controller: Controller) -> Way:
    variables = json.dumps({"paperspace_connection": {"api_key": controller.simulator.key}})
    return Way(["-e", variables], inventory_key="{{ paperspace_connection.api_key }}")


def by_vault(controller: Controller) -> Way:
    password = controller.ansible.write("password", "secret\n")
    vaulted = controller.ansible.write("vaulted", controller.simulator.key)
    controller.ansible.run("ansible-vault", "encrypt", "--vault-password-file", password, vaulted)
    indented = "".join(f"    {line}\n" for line in vaulted.read_text("utf-8").splitlines())
    variables = f"paperspace_connection:\n  api_key: !vault |\n{indented}"
    path = controller.ansible.write("variables.yml", variables)
    arguments = ["--vault-password-file", str(password), "-e", f"@{path}"]
    return Way(arguments, inventory_key="{{ paperspace_connection.api_key }}")


class CommandLines:
    """Samples the command lines of all processes, and keeps those that have the key in words other than the user's."""

    def __init__(self, key: str, simulator: int, of_user: Sequence[str]) -> None:
        self._key = key.encode()
        # It is told the key there, and what it starts for its machines looks like it at first.
        self._simulator = Path(f"/proc/{simulator}/cmdline").read_bytes()
        self._of_user = {word.encode() for word in of_user} | {f"--extra-vars={word}".encode() for word in of_user}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.found: set[bytes] = set()
        self.seen: set[bytes] = set()

    def __enter__(self) -> CommandLines:
        self._thread.start()
        return self

    def __exit__(self, *dummy: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._is_over.wait(0.03):
            for folder in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    self._take((folder / "cmdline").read_bytes())

    def _take(self, line: bytes) -> None:
        words = line.split(b"\0")
        self.seen.update(words)
        if line != self._simulator and any(self._key in word for word in words if word not in self._of_user):
            self.found.add(line)


def traces(key: str, folders: Sequence[Path], written: set[Path]) -> list[Path]:
    """The files and names below these folders that have the key in them, as it is or in base64."""
    forms = [key.encode(), *(base64.b64encode(b"x" * shift + key.encode())[4:-4] for shift in range(3))]
    found = []
    for folder in folders:
        for path in folder.rglob("*"):
            content = os_bytes(path) if path.is_file() and path not in written else b""
            if any(form in content or form in str(path).encode() for form in forms):
                found.append(path)
    return found


def os_bytes(path: Path) -> bytes:
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    return b""


def folders_of(controller: Controller) -> list[Path]:
    """All that the run can write: home, working and temporary folder, reports, caches and the machines' disks."""
    return [controller.folder, Path(controller.simulator.description["machines_dir"]).parent]


def assert_secret(controller: Controller, way: Way) -> None:
    description = controller.simulator.description
    assert not traces(controller.simulator.key, folders_of(controller), way.written), description["machines_dir"]


def prepare(controller: Controller) -> None:
    callbacks = controller.folder / "callback_plugins"
    callbacks.mkdir()
    (callbacks / "whole.py").write_text(CALLBACK)
    del controller.ansible.environment["PAPERSPACE_API_KEY"]
    controller.ansible.environment |= {
        "ANSIBLE_CALLBACK_PLUGINS": str(callbacks),
        "WHOLE_RESULTS": str(controller.folder / "results.jsonl"),
        "ANSIBLE_LOG_PATH": str(controller.folder / "ansible.log"),
        "ANSIBLE_PIPELINING": "false",
        # Else below the home of the account, whatever HOME says.
        "ANSIBLE_ASYNC_DIR": str(controller.folder / "async"),
        "ANSIBLE_REMOTE_TMP": str(controller.folder / "remote-tmp"),
    }


def maintain_a_fleet(controller: Controller, way: Way, verbosity: str) -> None:
    """Snapshots, a maintenance that fails on one host, and the recovery of the run that the snapshots are of."""
    controller.ansible.write("patch.yml", GUARDED)
    if way.is_for_all:
        names = {name: f"community.paperspace.{name}" for name in ("snapshot", "maintenance", "recover")}
    else:
        names = {name: str(controller.folder / f"{name}.yml") for name in ("snapshot", "maintenance", "recover")}
        for name, path in names.items():
            role = {"name": f"community.paperspace.{'snapshot' if name == 'snapshot' else 'maintenance'}"}
            role |= {"tasks_from": "recover"} if name == "recover" else {}
            whole = play({"ansible.builtin.include_role": role, "tags": "always"}, hosts="all")
            controller.ansible.write(
                Path(path).name, [{**whole, "tasks": whole["tasks"][:1], "module_defaults": {DEFAULTS: way.defaults}}]
            )

    def run(name: str, limit: str, **variables: Any) -> Run:
        inventory = controller.simulator.inventory
        command = ["ansible-playbook", names[name], "-i", inventory, "-l", limit, verbosity, *way.arguments]
        return controller.start(*command, "-e", json.dumps(variables)).wait()

    maintained = run("maintenance", "web", maintenance_playbook=str(controller.folder / "patch.yml"))
    assert maintained.rc == 2, maintained.output
    assert [machine["outcome"] for machine in maintained.report()["machines"]] == ["ok", "rolled_back", "ok"]
    assert "FROM_THE_USER=yes" in (controller.disk("web1") / "var/log/env").read_text("utf-8")
    taken = run("snapshot", "db")
    assert taken.rc == 0, taken.output
    for action in ("list", "rollback"):
        recovered = run("recover", "db", recover_action=action, recover_reconnect=False)
        assert recovered.rc == 0, recovered.output


def run_modules(controller: Controller, way: Way, verbosity: str) -> None:
    """Modules in the controller's process, and handed over in each way."""
    ids = controller.simulator.ids()
    tasks: list[dict[str, Any]] = [
        {"ansible.builtin.debug": {"var": "ansible_env"}},
        {SNAPSHOT: {"machine_id": "psnobody", "name": "x"}, "ignore_errors": True},
        {SNAPSHOT: {"machine_id": "psnobody", "name": "x"}, "ignore_errors": True, "environment": {"IN_IT": "1"}},
        {SNAPSHOT: {"machine_id": ids["web1"], "nonsense": "x"}, "ignore_errors": True},
        {MACHINE_INFO: {}},
        {SNAPSHOT_INFO: {"machine_id": ids["web1"]}, "async": 30, "poll": 1},
        {SNAPSHOT_INFO: {"machine_id": ids["web1"]}, "environment": {"IN_THE_MODULE": "1"}},
    ]
    if way.is_option:
        url = {"api_url": controller.simulator.api_url}
        python = {"ansible_python_interpreter": "{{ ansible_playbook_python }}"}
        tasks.append({MACHINE_INFO: url, "delegate_to": "web1", "vars": python})
        tasks.append({"ansible.builtin.command": "env", "delegate_to": "web1"})
    if isinstance(way.defaults, dict):
        # And as an option of the task; not near one that fails, of which newer releases of Ansible quote the playbook.
        for task in [*tasks]:
            [(name, options)] = [item for item in task.items() if "." in item[0]]
            if name.startswith("community.") and "ignore_errors" not in task:
                tasks.append({**task, name: {**options, **way.defaults}})
    whole = {"hosts": "localhost", "gather_facts": False, "module_defaults": {DEFAULTS: way.defaults}, "tasks": tasks}
    path = controller.ansible.write("modules.yml", [whole])
    command = ["ansible-playbook", path, "-i", controller.simulator.inventory, verbosity, *way.arguments]
    done = controller.start(*command).wait()
    assert done.rc == 0, done.output
    assert "async" in done.output


def read_inventory(controller: Controller, way: Way, verbosity: str) -> None:
    options = {"plugin": INVENTORY, "cache": True, "cache_plugin": "ansible.builtin.jsonfile"}
    options |= {"cache_connection": str(controller.folder / "cache"), "compose": {"ansible_user": "'root'"}}
    options |= {"api_key": way.inventory_key} if way.inventory_key else {}
    path = controller.ansible.write("team.paperspace.yml", options)
    shown = {"ansible.builtin.debug": {"var": "hostvars[inventory_hostname].paperspace_id"}}
    whole = controller.ansible.write("shown.yml", [{"hosts": "all", "gather_facts": False, "tasks": [shown]}])
    controller.simulator.clear_log()
    for dummy in range(2):
        done = controller.start("ansible-playbook", whole, "-i", path, verbosity, *way.arguments).wait()
        assert done.rc == 0, done.output
        assert controller.simulator.ids()["web1"] in done.output
    # It shows all extra variables with each host.
    if not way.arguments:
        done = controller.start("ansible-inventory", "-i", path, "--list", verbosity).wait()
        assert done.rc == 0, done.output
    assert controller.simulator.calls() == ["GET /machines"]
    assert list((controller.folder / "cache").iterdir())


@pytest.mark.parametrize(
    "give", [by_environment, by_credentials, by_literal, by_extra_vars_file, by_extra_vars, by_vault]
)
def test_the_key_is_nowhere(controller: Controller, give: Callable[[Controller], Way]) -> None:
    prepare(controller)
    way = give(controller)
    # With one v more, Ansible itself prints the extra variables of its command line.
    verbosity = "-vvv" if give is by_extra_vars else "-vvvv"
    environment = controller.ansible.environment
    key, process = controller.simulator.key, controller.simulator.description["pid"]
    with CommandLines(key, process, way.arguments) as lines:
        # What Ansible is told to keep has the options of modules, so the key if it is one, by the nature of it.
        environment["ANSIBLE_KEEP_REMOTE_FILES"] = "false" if way.is_option else "true"
        if give is by_environment:
            environment["ANSIBLE_DEBUG"] = "true"
        run_modules(controller, way, verbosity)
        environment.pop("ANSIBLE_DEBUG", None)
        environment["ANSIBLE_KEEP_REMOTE_FILES"] = "true"
        read_inventory(controller, way, verbosity)
        if way.is_for_guard:
            maintain_a_fleet(controller, way, verbosity)
    assert lines.found == set()
    if way.is_for_guard:
        # It did see the guard's own process and the guarded ansible-playbook. Those of other tests are there as well.
        assert any(b"plugin_utils._guardian" in word for word in lines.seen)
        assert any(word.startswith(b"--limit=@") for word in lines.seen)
    assert (controller.folder / "results.jsonl").stat().st_size > 5_000
    assert (controller.folder / "ansible.log").stat().st_size > 5_000
    assert_secret(controller, way)


def test_nothing_with_the_key_is_left_when_all_is_killed_and_nothing_is_open_to_others(controller: Controller) -> None:
    prepare(controller)
    way = by_extra_vars_file(controller)
    path = controller.ansible.write("patch.yml", [play(ENV, HOLD)])
    variables = {"maintenance_playbook": str(path), "maintenance_report_dir": "deep/er/runs"}
    command = ["ansible-playbook", "community.paperspace.maintenance", "-i", controller.simulator.inventory]
    command += ["-l", "web", "-e", json.dumps(variables), *way.arguments]
    with CommandLines(controller.simulator.key, controller.simulator.description["pid"], ()) as lines:
        run = controller.start("sh", "-c", 'umask 0; exec "$@"', "sh", *command)
        run.until(lambda: controller.is_held("web1", "web2", "web3"))
        run.kill_everything()
    assert lines.found == set()
    assert_secret(controller, way)
    [work] = controller.folder.glob("tmp/guarded-*")
    reports = controller.folder / "deep/er/runs"
    assert {path.suffix for path in reports.iterdir()} == {".json", ".md", ".html", ".log"}
    assert {path.name.partition("-")[0] for path in work.iterdir()} >= {"child", "ledger", "limit"}
    for folder in (work, controller.folder / "deep"):
        for path in (folder, *folder.rglob("*")):
            assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path
    assert controller.recover("-e", "recover_action=rollback", "-l", "web", *way.arguments).rc == 0
