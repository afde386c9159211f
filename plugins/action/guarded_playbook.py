# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs playbooks between snapshot and rollback. The options are documented with the module of the same name."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from secrets import randbelow
from typing import Any

from ansible import release
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

from ansible_collections.community.paperspace.plugins.module_utils._client import checked_id
from ansible_collections.community.paperspace.plugins.module_utils._connection import connection_from, home_folder
from ansible_collections.community.paperspace.plugins.module_utils._errors import InputError, PaperspaceError
from ansible_collections.community.paperspace.plugins.module_utils._module import argument_spec
from ansible_collections.community.paperspace.plugins.module_utils._names import (
    DEFAULT_PREFIX,
    is_run_id,
    new_run_id,
)
from ansible_collections.community.paperspace.plugins.module_utils._transport import HAS_REQUESTS
from ansible_collections.community.paperspace.plugins.plugin_utils._command_line import (
    ParentRun,
    refuse_hosts_in_memory,
    refuse_hosts_that_no_limit_can_name,
    refuse_limit_file,
    refuse_what_cannot_be_passed,
)
from ansible_collections.community.paperspace.plugins.plugin_utils._guardian import (
    Order,
    death_message,
    left_report,
    localhost_is_listed,
    order_line,
)
from ansible_collections.community.paperspace.plugins.plugin_utils._live import OUTPUT, show
from ansible_collections.community.paperspace.plugins.plugin_utils._parent import parent_run_from_ansible
from ansible_collections.community.paperspace.plugins.plugin_utils._private import make_folder
from ansible_collections.community.paperspace.plugins.plugin_utils._report import (
    SCOPES,
    MachineReport,
    ReconnectReport,
    RunReport,
    Span,
    claim_name,
    load_report,
    outcome_lines,
    report_files,
    write_report,
)
from ansible_collections.community.paperspace.plugins.plugin_utils._report_text import (
    keep_command,
    recover_command,
    rollback_command,
)
from ansible_collections.community.paperspace.plugins.plugin_utils._waves import failure_budget, plan_waves

SPEC: dict[str, dict[str, Any]] = {
    "playbooks": {"type": "list", "elements": "str"},
    "machines": {
        "type": "list",
        "elements": "dict",
        "options": {
            "host": {"type": "str", "required": True},
            "machine_id": {"type": "str", "required": True},
        },
    },
    "run_id": {"type": "str"},
    "prefix": {"type": "str", "default": DEFAULT_PREFIX},
    "waves": {"type": "raw"},
    "soak": {"type": "float", "default": 0.0},
    "max_failures": {"type": "raw", "default": 0},
    "rollback_scope": {"type": "str", "choices": list(SCOPES), "default": "failed"},
    "safety_snapshot": {"type": "bool", "default": False},
    "report_dir": {"type": "path", "default": "paperspace-runs"},
    "wait_timeout": {"type": "float", "default": 3600.0},
    "recover_variables": {"type": "dict", "default": {}},
    "answers": {"type": "dict"},
    "report_file": {"type": "path"},
}

# Imports the guardian from this collection, whatever else is named so on the path.
_BOOT = """
import sys, types
root = sys.argv[1]
sys.path.pop(0)
path = root
for name in ("ansible_collections", "community"):
    path += "/" + name
    full = path[len(root) + 1 :].replace("/", ".")
    sys.modules[full] = types.ModuleType(full)
    sys.modules[full].__path__ = [path]
from ansible_collections.community.paperspace.plugins.plugin_utils._guardian import main
main()
"""
_POLL = 0.3


class ActionModule(ActionBase):
    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        del tmp
        dummy, options = self.validate_argument_spec(  # type: ignore[no-untyped-call, unused-ignore]
            argument_spec=argument_spec(**SPEC)
        )
        try:
            if options["answers"] is not None:
                return {**result, **_with_answers(options)}
            return {**result, **self._guard(options, task_vars or {})}
        except PaperspaceError as error:
            raise AnsibleActionFail(str(error)) from None

    def _guard(self, options: Mapping[str, Any], task_vars: Mapping[str, Any]) -> dict[str, Any]:
        if not HAS_REQUESTS:
            raise InputError(f"The Python library requests is not there; install it for {sys.executable}.")
        connection = connection_from(options, os.environ, home_folder())
        parent = parent_run_from_ansible()
        report = _planned(options, parent, check_mode=bool(self._task.check_mode))
        if not self._task.run_once and len(task_vars.get("ansible_play_batch", ())) > 1:
            raise InputError("guarded_playbook acts for all machines of its list: give the task run_once: true.")
        _refuse(report, options, parent, task_vars)
        folder = None if report.check_mode else _report_folder(Path(options["report_dir"]))
        refuse_limit_file(Path(tempfile.gettempdir()) / "limit")
        name = "" if folder is None else self._claim_name(report.run_id, folder)
        work = Path(tempfile.mkdtemp(prefix="guarded-"))
        order = Order(
            report.to_dict(),
            parent=asdict(parent),
            connection=asdict(connection),
            settings={
                "soak": options["soak"],
                "safety_snapshot": options["safety_snapshot"],
                "wait_timeout": options["wait_timeout"],
            },
            work_folder=str(work),
            report_folder=None if folder is None else str(folder),
            ids_in_inventory=_ids_in_inventory(report, task_vars),
            localhost_is_listed=localhost_is_listed(task_vars.get("groups", {})),
            report_name=name,
        )
        message = self._guarded(order, parent)
        if "refused" in message:
            if folder is not None:
                _give_back(folder / f"{name}.log")
            raise InputError(message["refused"])
        return _result(RunReport.from_dict(message["result"]), folder, name)

    def _claim_name(self, run_id: str, folder: Path) -> str:
        """What the report is named in the folder."""
        try:
            name = claim_name(run_id, folder)
        except OSError as error:
            raise _unwritable(folder, error) from None
        if name != run_id:
            self._show(f"{folder} has a report of run {run_id} already; that of this controller is {name}.md.")
        return name

    def _guarded(self, order: Order, parent: ParentRun) -> dict[str, Any]:
        """What the guardian says at last. When it dies, another one undoes what it left."""
        message = _Guardian(order, parent, self._show).follow() or _ended(order)
        if message is None and order.report_folder is not None:
            self._display.error("The process that guards this run has died; another one undoes what it left.")
            order.is_successor = True
            message = _Guardian(order, parent, self._show).follow() or _ended(order)
        if message is None:
            report = left_report(order) or RunReport.from_dict(order.report)
            shutil.rmtree(order.work_folder, ignore_errors=True)
            raise InputError(death_message(report))
        return message

    def _show(self, text: str) -> None:
        """Show a line at once. To a log file of Ansible's, the guarded ansible-playbook writes itself."""
        show(text, self._display)


class _Guardian:
    """The guardian's process, seen from its starter."""

    def __init__(self, order: Order, parent: ParentRun, show: Any) -> None:
        self._show = show
        self._main = os.getppid()
        self._reasons: list[str] = []
        self._message: dict[str, Any] | None = None
        self._process = subprocess.Popen(  # noqa: S603 - this collection's own code
            [*parent.python, "-c", _BOOT, parent.collection_root],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=OUTPUT,
            start_new_session=True,
        )
        self._send(order_line(order))

    def follow(self) -> dict[str, Any] | None:
        """Show what it says, until it has said its last. None when it died before that."""
        with self._signals(), selectors.DefaultSelector() as selector:
            output = self._process.stdout
            if output is None:
                return None
            os.set_blocking(output.fileno(), False)
            selector.register(output, selectors.EVENT_READ)
            rest = b""
            while True:
                is_ready = bool(selector.select(_POLL))
                self._look_after_parent()
                if not is_ready:
                    continue
                chunk: bytes | None = output.read()
                if chunk is None:
                    continue
                if not chunk:
                    break
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._take(json.loads(line))
        self._process.wait()
        return self._message

    def _take(self, message: dict[str, Any]) -> None:
        if "say" not in message:
            self._message = message
        else:
            self._show(message["say"])

    def _look_after_parent(self) -> None:
        if os.getppid() != self._main:
            self._stop("parent_died")

    def _stop(self, reason: str) -> None:
        if reason not in self._reasons:
            self._reasons.append(reason)
            self._send(f"stop {reason}\n")

    def _send(self, text: str) -> None:
        if self._process.stdin is None:
            return
        rest = text.encode()
        # Not through a buffer: a signal may come while one is written, and its handler must not wait for it.
        with contextlib.suppress(OSError):
            while rest:
                rest = rest[os.write(self._process.stdin.fileno(), rest) :]

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """Hand signals on, and live through them: what is to be rolled back must be."""
        reasons = {signal.SIGINT: "sigint", signal.SIGTERM: "sigterm"}
        before = {}
        for number, reason in reasons.items():
            with contextlib.suppress(ValueError):
                before[number] = signal.signal(number, lambda *dummy, reason=reason: self._stop(reason))
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _planned(options: Mapping[str, Any], parent: ParentRun, *, check_mode: bool) -> RunReport:
    """The report of a run that has not begun. Raises InputError for options that make no sense."""
    machines, playbooks = options["machines"] or [], options["playbooks"] or []
    if not machines or not playbooks:
        raise InputError(f"{'machines' if not machines else 'playbooks'} is empty: there is nothing to do.")
    run_id = options["run_id"] or new_run_id(datetime.now(timezone.utc), randbelow)
    if not is_run_id(run_id):
        raise InputError(f"maintenance_run_id {run_id!r} is not a run id; one looks like 20260131T235959Z-1a2b.")
    for option in ("soak", "wait_timeout"):
        if not 0 <= options[option] < float("inf") or (option == "wait_timeout" and not options[option]):
            raise InputError(
                f"maintenance_{option} must be a number of seconds that one can wait, not {options[option]:g}."
            )
    return RunReport(
        run_id,
        prefix=options["prefix"],
        check_mode=check_mode,
        playbooks=list(playbooks),
        scope=options["rollback_scope"],
        max_failures=failure_budget(options["max_failures"], len(machines)),
        wave_sizes=plan_waves(options["waves"], len(machines)),
        machines=[MachineReport(machine["host"], machine["machine_id"]) for machine in machines],
        inventory=list(parent.cliargs.get("inventory") or ()),
        limit=parent.cliargs.get("subset"),
        recover_variables={str(name): str(value) for name, value in options["recover_variables"].items()},
        ansible_version=release.__version__,
        controller=socket.gethostname(),
    )


def _refuse(report: RunReport, options: Mapping[str, Any], parent: ParentRun, task_vars: Mapping[str, Any]) -> None:
    """Raise InputError for what cannot be carried out. Nothing is touched."""
    refuse_what_cannot_be_passed(parent)
    if report.check_mode != bool(parent.cliargs.get("check")):
        raise InputError(
            "check_mode of the task, the role or the play differs from --check of the command line, by which the "
            "guarded playbook goes: leave check_mode out."
        )
    hosts = [machine.host for machine in report.machines]
    refuse_hosts_that_no_limit_can_name(hosts)
    groups = [host for host in hosts if host in task_vars.get("groups", {})]
    if groups:
        raise InputError(f"These are names of hosts and of groups: {', '.join(groups)}. Rename the groups.")
    hostvars = task_vars.get("hostvars", {})
    refuse_hosts_in_memory({host: hostvars[host].get("inventory_file") for host in hosts if host in hostvars})
    owners: dict[str, str] = {}
    for machine in report.machines:
        checked_id(machine.machine_id)
        other = owners.setdefault(machine.machine_id, machine.host)
        if other != machine.host:
            raise InputError(f"The hosts {other} and {machine.host} have the same machine id {machine.machine_id}.")
    if len(set(hosts)) < len(hosts):
        raise InputError("A host is named twice.")
    for playbook in options["playbooks"]:
        is_path = "/" in playbook or (playbook.endswith((".yml", ".yaml", ".json")) and not _is_fqcn(playbook))
        if is_path and not Path(playbook).is_file():
            raise InputError(f"There is no playbook {playbook}.")


def _ids_in_inventory(report: RunReport, task_vars: Mapping[str, Any]) -> dict[str, str]:
    """The machine ids of those hosts whose source of the inventory has them in paperspace_id.

    That they change can be seen by the callback, which knows just this. What stands in a file of variables is not of
    the source.
    """
    inventory = getattr(task_vars.get("hostvars"), "_inventory", None)
    hosts = {} if inventory is None else inventory.hosts
    return {
        machine.host: machine.machine_id
        for machine in report.machines
        if machine.host in hosts and str(hosts[machine.host].get_vars().get("paperspace_id")) == machine.machine_id
    }


def _is_fqcn(name: str) -> bool:
    return name.removesuffix(".yml").removesuffix(".yaml").count(".") >= 2 and "/" not in name


def _report_folder(folder: Path) -> Path:
    """The folder, made if needed. Raises InputError when nothing can be written there."""
    folder = folder.absolute()
    try:
        make_folder(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _unwritable(folder, error) from None
    return folder


def _unwritable(folder: Path, error: OSError) -> InputError:
    return InputError(
        f"The report cannot be written to {folder}: {error.strerror}. Choose another maintenance_report_dir."
    )


def _give_back(log: Path) -> None:
    """Leave nothing of a run that was refused, so that its name in the folder is free again."""
    with contextlib.suppress(OSError):
        if not log.stat().st_size:
            log.unlink()


def _with_answers(options: Mapping[str, Any]) -> dict[str, Any]:
    """The result once more, and the report, with what the machines that were rolled back answered."""
    if options["report_file"] is None:
        raise InputError("With answers, report_file has to name the report that they belong to.")
    path = Path(options["report_file"]).absolute()
    try:
        report = load_report(path)
    except OSError as error:
        raise InputError(f"There is no report {path}: {error.strerror}.") from None
    put_back = {machine.host for machine in report.machines if machine.outcome == "rolled_back"}
    strangers = sorted(options["answers"].keys() - put_back)
    if strangers:
        raise InputError(f"By {path}, these were not rolled back: {', '.join(strangers)}.")
    for machine in report.machines:
        answer = options["answers"].get(machine.host)
        if answer is not None:
            machine.reconnect = ReconnectReport("silent" if answer["error"] else "answers", answer["error"] or None)
            machine.times["reconnect"] = Span(float(answer["began"]), float(answer["ended"]))
    try:
        write_report(report, path.parent, path.stem)
    except OSError as error:
        raise InputError(f"The report cannot be written to {path.parent}: {error.strerror}.") from None
    return _result(report, path.parent, path.stem)


def _ended(order: Order) -> dict[str, Any] | None:
    """What a guardian that said nothing at last has done, if it came to its end: who reads slowly may miss it."""
    report = left_report(order)
    return None if report is None or report.status == "running" else {"result": report.to_dict()}


def _result(report: RunReport, folder: Path | None, name: str = "") -> dict[str, Any]:
    machines: Sequence[dict[str, Any]] = report.to_dict()["machines"]
    open_hosts = [machine.host for machine in report.machines if machine.is_open]
    result = {
        "changed": any(machine.verdict is not None for machine in report.machines),
        "run_id": report.run_id,
        "status": report.status,
        "ended_by": report.ended_by,
        "problems": list(report.problems),
        "machines": machines,
        "table": outcome_lines(report),
        "open_hosts": open_hosts,
        "recover_command": recover_command(report, "list") if open_hosts else None,
        "rollback_command": rollback_command(report),
        "keep_command": keep_command(report),
        "report_files": [] if folder is None else [str(path) for path in report_files(report, folder, name)],
    }
    if report.status == "failed":
        lost = report.failed_hosts()
        named = f"These machines did not come through: {', '.join(lost)}. " if lost else ""
        return {
            **result,
            "failed": True,
            "msg": f"Run {report.run_id} failed. {named}{' '.join(report.problems)}".strip(),
        }
    return result
