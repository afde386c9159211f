# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that somebody or something stops, in one way or another, and processes that die."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.community.paperspace.plugins.plugin_utils._report import ReconnectReport, load_report
from e2e.harness import (
    CUT_SHORT,
    FAILED,
    INCOMPLETE,
    NOT_STARTED,
    OK,
    UNTOUCHED,
    WITH_THE_OTHERS,
    Controller,
    Fate,
    Run,
    command_line,
    marked,
    parent_of,
)
from e2e.playbooks import FINISH, HOLD, INSTALL, fail, only, play

HOSTS = ("web1", "web2", "web3")
HOLD_WEB2 = {**HOLD, "when": only("web2")}
# Of those that are stopped while web2 is held.
FATES = {"web1": INCOMPLETE, "web2": CUT_SHORT, "web3": INCOMPLETE}


def interrupt(run: Run) -> None:
    run.interrupt()


def terminate(run: Run) -> None:
    run.kill(signal.SIGTERM)


def kill(run: Run) -> None:
    run.kill(signal.SIGKILL)


# From ansible-core 2.19 on, ansible-playbook hands SIGTERM on to its workers; before, it just ends.
SIGTERM = ("sigterm", "parent_died")
# How it is stopped, and how the report calls it.
WAYS = pytest.mark.parametrize(
    ("stop", "ended_by"),
    [
        pytest.param(interrupt, ("sigint",), id="24_sigint"),
        pytest.param(terminate, SIGTERM, id="25_sigterm"),
        pytest.param(kill, ("parent_died",), id="26_kill"),
    ],
)


@WAYS
def test_stopped_in_the_maintenance(
    controller: Controller, stop: Callable[[Run], None], ended_by: tuple[str, ...]
) -> None:
    run = controller.start_maintenance([play(INSTALL, HOLD_WEB2)])
    run.until(lambda: controller.is_held("web2"))
    assert not any(controller.simulator.key in command_line(process) for process in marked(run.mark))
    # The output is live.
    run.until(lambda: "TASK [Wait for the old version to end]" in run.output, timeout=5)
    stop(run)
    run.until_all_is_over()
    controller.check(run, FATES, ended_by=ended_by)


@pytest.mark.parametrize("target", ["web2", "{{ 'web2' }}"], ids=["named", "template"])
def test_stopped_while_one_machine_is_changed_for_another(controller: Controller, target: str) -> None:
    """The other has run all of its own plays to the end. Where a template says which one it is, it may be any."""
    hold = {
        "name": "Reconfigure the other",
        "ansible.builtin.shell": "touch {{ hostvars.web2.disk }}/held; sleep 60",
        "delegate_to": target,
    }
    run = controller.start_maintenance([play(INSTALL), play(hold, hosts="web1")])
    run.until(lambda: controller.is_held("web2"))
    run.kill()
    run.until_all_is_over()
    fates = {"web1": CUT_SHORT, "web2": CUT_SHORT, "web3": OK if target == "web2" else INCOMPLETE}
    controller.check(run, fates, ended_by="parent_died")


@WAYS
def test_stopped_in_the_second_wave(
    controller: Controller, stop: Callable[[Run], None], ended_by: tuple[str, ...]
) -> None:
    run = controller.start_maintenance([play(INSTALL, HOLD_WEB2)], waves=1)
    run.until(lambda: controller.is_held("web2"))
    stop(run)
    run.until_all_is_over()
    fates = {"web1": OK, "web2": CUT_SHORT, "web3": NOT_STARTED}
    controller.check(run, fates, ended_by=ended_by)


def test_stopped_in_the_second_wave_of_a_fleet(controller: Controller) -> None:
    run = controller.start_maintenance([play(INSTALL, HOLD_WEB2)], waves=1, rollback_scope="fleet")
    run.until(lambda: controller.is_held("web2"))
    run.kill()
    run.until_all_is_over()
    fates = {"web1": WITH_THE_OTHERS, "web2": CUT_SHORT, "web3": NOT_STARTED}
    controller.check(run, fates, ended_by="parent_died")


@WAYS
def test_stopped_before_the_snapshots_are_done(
    controller: Controller, stop: Callable[[Run], None], ended_by: tuple[str, ...]
) -> None:
    """The maintenance never begins, and no machine is put back to a disk that it has."""
    controller.simulator.add_fault("event", path="/snapshots", method="POST", state="done", seconds=3)
    run = controller.start_maintenance([play(INSTALL)])
    run.until(lambda: len(controller.simulator.calls("POST")) == 3)
    stop(run)
    run.until_all_is_over()
    report = run.report()
    assert report["ended_by"] in ended_by
    assert report["children"] == []
    assert controller.disks() == run.fleet
    assert controller.restored() == []
    run_id = report["run_id"]
    assert all(names == [f"maint-{run_id}-ok"] for host, names in controller.snapshot_names().items() if host in HOSTS)
    assert run.rc != 0
    controller.check_secrecy(run)


@WAYS
def test_stopped_in_the_soak(controller: Controller, stop: Callable[[Run], None], ended_by: tuple[str, ...]) -> None:
    run = controller.start_maintenance([play(INSTALL)], waves=[2, 1], soak=60)
    run.until(lambda: any(name.endswith("-ok") for name in controller.snapshot_names()["web2"]))
    stop(run)
    run.until_all_is_over()
    controller.check(run, {"web1": OK, "web2": OK, "web3": NOT_STARTED}, ended_by=ended_by)


@pytest.mark.parametrize("first", [interrupt, terminate], ids=["sigint", "sigterm"])
def test_26_stopped_again_in_the_rollback(controller: Controller, first: Callable[[Run], None]) -> None:
    """Nobody's impatience leaves a machine half restored."""
    controller.simulator.add_fault("event", path=".*/restore", method="POST", state="done", seconds=3)
    run = controller.start_maintenance([play(INSTALL, HOLD_WEB2)])
    run.until(lambda: controller.is_held("web2"))
    first(run)
    run.until(lambda: controller.restores_asked_for() == 3)
    for stop in (interrupt, interrupt, terminate):
        with contextlib.suppress(ProcessLookupError):
            stop(run)
    run.until_all_is_over()
    ended_by = ("sigint",) if first is interrupt else SIGTERM
    controller.check(run, FATES, ended_by=ended_by)


def test_26_parent_is_killed_in_the_rollback(controller: Controller) -> None:
    controller.simulator.add_fault("event", path=".*/restore", method="POST", state="done", seconds=3)
    run = controller.start_maintenance([play(INSTALL, HOLD_WEB2)])
    run.until(lambda: controller.is_held("web2"))
    run.interrupt()
    run.until(lambda: controller.restores_asked_for() == 3)
    run.kill()
    run.until_all_is_over()
    controller.check(run, FATES, ended_by=("sigint", "parent_died"))


def test_every_process_is_asked_to_end(controller: Controller) -> None:
    """As when the controller shuts down, or systemd stops a unit: the rollback is what it has to wait for."""
    run = controller.start_maintenance([play(INSTALL, HOLD_WEB2)])
    run.until(lambda: controller.is_held("web2"))
    for process in marked(run.mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGTERM)
    run.until_all_is_over()
    controller.check(run, FATES, ended_by=SIGTERM)


def test_reports_vanish_and_cannot_be_written_again(controller: Controller) -> None:
    """The machines matter more."""
    run = controller.start_maintenance([play(INSTALL, fail("web1"), HOLD_WEB2)])
    run.until(lambda: controller.is_held("web2"))
    run_id = run.report()["run_id"]
    shutil.rmtree(controller.reports)
    controller.reports.write_text("in the way")
    run.kill(signal.SIGTERM)
    run.until_all_is_over()
    for host in HOSTS:
        assert controller.disks()[host] == run.fleet[host]
        assert controller.snapshot_names()[host] == [f"maint-{run_id}-restored"]
    assert run.rc != 0


def test_work_folder_vanishes(controller: Controller) -> None:
    """Without the ledger nothing is proven."""
    run = controller.start_maintenance(
        [play(INSTALL, {**HOLD, "ansible.builtin.shell": "touch {{ disk }}/held; sleep 3"})]
    )
    run.until(lambda: controller.is_held("web1"))
    [folder] = controller.folder.glob("tmp/guarded-*")
    shutil.rmtree(folder)
    run.until_all_is_over()
    controller.check(run, dict.fromkeys(HOSTS, INCOMPLETE))


@pytest.mark.parametrize("seed", range(6))
def test_one_process_is_killed(controller: Controller, seed: int) -> None:
    """Any one of them, at any time, as when memory runs out: those that are left see to the machines by themselves."""
    chance = random.Random(seed)
    run = controller.start_maintenance([play(INSTALL, FINISH)], waves=[2, 1])
    time.sleep(chance.uniform(1.0, 6.0))
    processes = [process for process in sorted(marked(run.mark)) if not command_line(process).startswith("ssh")]
    if processes:
        victim = chance.choice(processes)
        print(f"killed: {command_line(victim)}")
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    run.until_all_is_over()
    controller.check_guarded(run)
    if any(controller.snapshot_names().values()):
        assert run.status() in ("succeeded", "failed")
    if run.rc == 0:
        assert run.status() == "succeeded"


def child_of(run: Run) -> int:
    """The ansible-playbook that runs the user's playbook: the eldest of its processes."""
    playbooks = {process for process in marked(run.mark) if command_line(process).strip().endswith("/patch.yml")}
    [child] = [process for process in playbooks if parent_of(process) not in playbooks]
    return child


def guardian_of(run: Run) -> int:
    return parent_of(child_of(run))


def test_child_is_killed(controller: Controller) -> None:
    run = controller.start_maintenance([play(INSTALL, HOLD_WEB2)])
    run.until(lambda: controller.is_held("web2"))
    os.kill(child_of(run), signal.SIGKILL)
    run.wait()
    report = controller.check(run, dict.fromkeys(HOSTS, INCOMPLETE))
    assert [child["rc"] for child in report["children"]] == [-signal.SIGKILL]


def test_child_is_stopped_by_its_own_task(controller: Controller) -> None:
    """What a user's playbook does to the processes on the controller is no reason to leave a machine changed."""
    stop = {
        "name": "Stop everything",
        "ansible.builtin.command": "echo {{ lookup('ansible.builtin.pipe', 'kill -TERM 0') }}",
        "when": only("web2"),
    }
    run = controller.maintain([play(INSTALL, stop)])
    controller.check(run, dict.fromkeys(HOSTS, INCOMPLETE))


def test_guardian_is_killed(controller: Controller) -> None:
    """Another one ends the playbook and undoes what was left."""
    run = controller.start_maintenance([play(INSTALL, HOLD_WEB2)])
    run.until(lambda: controller.is_held("web2"))
    os.kill(guardian_of(run), signal.SIGKILL)
    run.until_all_is_over()
    controller.check(run, dict.fromkeys(HOSTS, INCOMPLETE), ended_by="guardian_died")


def test_guardian_is_killed_while_a_task_is_tried_again(controller: Controller) -> None:
    """What a worker that is left does after the rollback would stay."""
    tries = controller.folder / "tries"
    again = {
        "name": "Take it out of the load balancer",
        "ansible.builtin.shell": f"echo one >> {tries}; exit 1",
        "delegate_to": "localhost",
        "register": "balancer",
        "until": "balancer is succeeded",
        "retries": 15,
        "delay": 1,
        "when": only("web1"),
    }
    run = controller.start_maintenance([play(INSTALL, again)])
    run.until(lambda: tries.exists() and tries.read_text().count("one") > 1)
    os.kill(guardian_of(run), signal.SIGKILL)
    run.until_all_is_over()
    report = controller.check(run, dict.fromkeys(HOSTS, INCOMPLETE), ended_by="guardian_died")
    began = datetime.fromisoformat(report["machines"][0]["times"]["rollback"]["began"].replace("Z", "+00:00"))
    assert tries.stat().st_mtime < began.timestamp()


def test_guardian_is_killed_beside_another_controller_of_the_run(new_controller: Callable[[], Controller]) -> None:
    """They have the folder for their reports in common, and each undoes what it has done itself, and nothing else."""
    wait = {**HOLD, "ansible.builtin.shell": "touch {{ disk }}/held; while test ! -e {{ disk }}/go; do sleep 0.1; done"}
    run_id = "20260131T235959Z-1a2b"
    first, second = new_controller(), new_controller()
    shared = {"run_id": run_id, "report_dir": str(first.reports)}
    broken = second.start_maintenance([play(INSTALL, wait)], limit="web2", **shared)
    broken.until(lambda: second.is_held("web2"))
    # The last one to write.
    whole = first.start_maintenance([play(INSTALL, wait)], limit="web1", **shared)
    whole.until(lambda: first.is_held("web1"))
    assert f"has a report of run {run_id} already; that of this controller is {run_id}-2.md" in whole.message
    os.kill(guardian_of(broken), signal.SIGKILL)
    broken.until_all_is_over()
    assert first.restored() == ["web2"]
    assert first.disks()["web2"] == broken.fleet["web2"]
    assert first.snapshot_names()["web1"] == [f"maint-{run_id}"]
    assert first.snapshot_names()["web2"] == [f"maint-{run_id}-restored"]
    (first.disk("web1") / "go").touch()
    whole.until_all_is_over()
    assert (whole.rc, broken.rc) == (0, 2)
    assert first.snapshot_names()["web1"] == [f"maint-{run_id}-ok"]
    assert (first.disk("web1") / "opt/app/version").read_text() == "2.0\n"
    names = sorted(path.name for path in first.reports.iterdir())
    assert names == sorted(f"{run_id}{end}.{kind}" for end in ("", "-2") for kind in ("html", "json", "log", "md"))
    reports = [load_report(first.reports / f"{run_id}{end}.json") for end in ("", "-2")]
    told = [(machine.host, machine.outcome, machine.reconnect) for report in reports for machine in report.machines]
    assert told == [("web2", "rolled_back", ReconnectReport("answers")), ("web1", "ok", None)]


@pytest.mark.parametrize(
    ("method", "path", "polls", "fault", "fates"),
    [
        ("POST", "/snapshots", 2, {"action": "event", "state": "done", "seconds": 2}, [UNTOUCHED, UNTOUCHED]),
        ("POST", ".*/restore", 0, {"action": "event", "state": "done", "seconds": 2}, [OK, FAILED]),
        ("PUT", ".*", 0, {"action": "slow", "seconds": 2}, [OK, FAILED]),
    ],
    ids=["snapshot", "restore", "rename"],
)
def test_guardian_is_killed_at_its_work(
    controller: Controller, method: str, path: str, polls: int, fault: dict[str, Any], fates: list[Fate]
) -> None:
    """The other one finds out what the service has done meanwhile.

    C(polls): after how many looks at events; then it has heard which snapshots it made.
    """

    def is_at_work() -> bool:
        calls = controller.simulator.calls()
        begun = [number for number, call in enumerate(calls) if re.fullmatch(f"{method} {path}", call)]
        return bool(begun) and sum("GET /machine-events" in call for call in calls[begun[-1] :]) >= polls

    controller.simulator.add_fault(method=method, path=path, **fault)
    run = controller.start_maintenance([play(INSTALL, FINISH, fail("web2"))], limit="web1,web2")
    run.until(is_at_work)
    [guardian] = [process for process in marked(run.mark) if "_guardian" in command_line(process)]
    os.kill(guardian, signal.SIGKILL)
    run.until_all_is_over()
    controller.check_guarded(run)
    report = run.report()
    assert (report["status"], report["ended_by"]) == ("failed", "guardian_died")
    outcomes = [(machine["outcome"], machine["closed"]) for machine in report["machines"]]
    assert outcomes == [(fate.outcome, fate.closed) for fate in fates]
    # A restore that ran when the guardian died is waited for, and done again by who knows nothing of it.
    assert set(controller.restored()) <= {"web2"}
    assert not any("ansible-playbook that had started" in problem for problem in report["problems"])


def verify(controller: Controller) -> list[Path]:
    """A maintenance, and a verification that looks at one host after the other."""
    plays = {"maintenance.yml": [play(INSTALL)], "patch.yml": [play(HOLD, serial=1)]}
    return [controller.ansible.write(name, content) for name, content in plays.items()]


def test_stopped_in_the_verification(controller: Controller) -> None:
    """Those that were to be verified and were not are not proven well."""
    run = controller.start_maintenance(verify(controller))
    run.until(lambda: controller.is_held("web1"))
    run.interrupt()
    run.until_all_is_over()
    controller.check(run, FATES | {"web1": CUT_SHORT, "web2": INCOMPLETE}, ended_by="sigint")


def test_guardian_is_killed_in_the_verification(controller: Controller) -> None:
    run = controller.start_maintenance(verify(controller))
    run.until(lambda: controller.is_held("web1"))
    os.kill(guardian_of(run), signal.SIGKILL)
    run.until_all_is_over()
    controller.check(run, dict.fromkeys(HOSTS, INCOMPLETE), ended_by="guardian_died")


def test_worker_that_started_the_guardian_is_killed(controller: Controller) -> None:
    run = controller.start_maintenance([play(INSTALL, HOLD_WEB2)])
    run.until(lambda: controller.is_held("web2"))
    worker = parent_of(guardian_of(run))
    assert worker != run.process.pid
    os.kill(worker, signal.SIGKILL)
    run.until_all_is_over()
    controller.check(run, FATES, ended_by="parent_died")


def test_terminal_is_closed(controller: Controller) -> None:
    run = controller.start_maintenance([play(INSTALL, HOLD_WEB2)])
    run.until(lambda: controller.is_held("web2"))
    os.killpg(run.process.pid, signal.SIGHUP)
    run.until_all_is_over()
    controller.check(run, FATES, ended_by="parent_died")


def test_nobody_reads_the_output(controller: Controller) -> None:
    """Whatever becomes of the output, no machine is left changed and unguarded."""
    controller.ansible.write("patch.yml", [play(INSTALL, FINISH)])
    command = f"ansible-playbook community.paperspace.maintenance -i {controller.simulator.inventory} -l web"
    reader = "grep --max-count=1 'Install the new version'"
    run = controller.start("sh", "-c", f"{command} -e maintenance_playbook=patch.yml | {reader}")
    run.until_all_is_over()
    assert run.status() in ("succeeded", "failed")
    controller.check_guarded(run)


def test_untouched_is_known_after_a_stop(controller: Controller) -> None:
    run = controller.start_maintenance([play(INSTALL, HOLD, serial=1)])
    run.until(lambda: controller.is_held("web1"))
    run.interrupt()
    run.until_all_is_over()
    fates = {"web1": CUT_SHORT, "web2": UNTOUCHED, "web3": UNTOUCHED}
    controller.check(run, fates, ended_by="sigint")
