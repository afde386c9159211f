# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action where no guardian answers. What whole runs show, tests/integration and tests/e2e have."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.community.paperspace.plugins.action import guarded_playbook
from ansible_collections.community.paperspace.plugins.module_utils._errors import InputError
from ansible_collections.community.paperspace.plugins.plugin_utils._guardian import Order
from ansible_collections.community.paperspace.plugins.plugin_utils._report import (
    MachineReport,
    RunReport,
    SnapshotReport,
    load_report,
    write_report,
)

RUN = "20260131T235959Z-1a2b"


def failure(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is told when all guardians die without a word."""
    monkeypatch.setattr(guarded_playbook, "_Guardian", lambda *args: SimpleNamespace(follow=lambda: None))
    action: Any = guarded_playbook.ActionModule.__new__(guarded_playbook.ActionModule)
    action._display = SimpleNamespace(error=lambda text: None)
    report = RunReport(RUN, machines=[MachineReport(host, f"ps-{host}") for host in ("web1", "web2")])
    order = Order(report.to_dict(), {}, {}, {}, work_folder=str(folder / "work"), report_folder=str(folder))
    with pytest.raises(InputError) as caught:
        action._guarded(order, None)
    return str(caught.value)


def test_command_is_for_the_whole_run_when_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert failure(tmp_path, monkeypatch).endswith(f"recover -e recover_run_id={RUN} -e recover_action=list")


def test_command_leaves_out_what_another_controller_maintains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = MachineReport("web2", "ps-web2", outcome="no_snapshot", snapshot=SnapshotReport("ss2", status="unchanged"))
    write_report(RunReport(RUN, machines=[MachineReport("web1", "ps-web1"), left]), tmp_path)
    assert "recover -l 'all,!web2' -e" in failure(tmp_path, monkeypatch)


def test_result_is_not_that_of_another_controller_that_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = RunReport(RUN, status="succeeded", machines=[MachineReport("db1", "ps-db1", outcome="ok")])
    write_report(other, tmp_path)
    assert "has died" in failure(tmp_path, monkeypatch)


# Names.


def claimed(folder: Path) -> tuple[str, list[str]]:
    """The name that a report gets in the folder, and what is said of it."""
    said: list[str] = []
    action: Any = guarded_playbook.ActionModule.__new__(guarded_playbook.ActionModule)
    action._show = said.append
    return action._claim_name(RUN, folder), said


def test_report_gets_another_name_when_there_is_one_of_the_run(tmp_path: Path) -> None:
    assert claimed(tmp_path) == (RUN, [])
    name, [said] = claimed(tmp_path)
    assert name == f"{RUN}-2"
    assert f"{RUN}-2.md" in said


def test_name_is_free_again_when_nothing_was_begun(tmp_path: Path) -> None:
    log = tmp_path / f"{RUN}.log"
    claimed(tmp_path)
    guarded_playbook._give_back(log)
    assert claimed(tmp_path) == (RUN, [])
    log.write_text("Something was said.")
    guarded_playbook._give_back(log)
    assert claimed(tmp_path)[0] == f"{RUN}-2"


def test_folder_that_nothing_can_be_written_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="Choose another maintenance_report_dir"):
        claimed(tmp_path / "file")


# Answers.


def answered(report: RunReport, path: Path, *hosts: str) -> dict[str, Any]:
    answers = {host: {"error": "", "began": 1.0, "ended": 2.0} for host in hosts}
    return guarded_playbook._with_answers({"report_file": str(path), "answers": answers})


def test_answers_go_to_the_report_that_is_named(tmp_path: Path) -> None:
    other = RunReport(RUN, machines=[MachineReport("web1", "ps-web1", outcome="no_snapshot")])
    write_report(other, tmp_path)
    own = RunReport(RUN, status="failed", machines=[MachineReport("web1", "ps-web1", outcome="rolled_back")])
    path, *dummy = write_report(own, tmp_path, f"{RUN}-2")
    result = answered(own, path, "web1")
    assert result["machines"][0]["reconnect"] == {"status": "answers", "error": None}
    assert result["report_files"] == [str(tmp_path / f"{RUN}-2.{kind}") for kind in ("json", "md", "html")]
    assert load_report(path).to_dict()["machines"] == result["machines"]
    assert load_report(tmp_path / f"{RUN}.json") == other


def test_answers_of_machines_that_were_not_rolled_back_are_refused(tmp_path: Path) -> None:
    report = RunReport(RUN, machines=[MachineReport("web1", "ps-web1", outcome="ok")])
    path, *dummy = write_report(report, tmp_path)
    with pytest.raises(InputError, match="these were not rolled back: db1, web1"):
        answered(report, path, "web1", "db1")
    assert load_report(path) == report


def test_answers_without_a_report_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="report_file has to name"):
        guarded_playbook._with_answers({"report_file": None, "answers": {}})
    with pytest.raises(InputError, match="There is no report"):
        guarded_playbook._with_answers({"report_file": str(tmp_path / "none.json"), "answers": {}})


# Signals.


def is_asleep(thread: int) -> bool:
    """Whether this thread waits for something."""
    state = Path(f"/proc/self/task/{thread}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    return state == "S"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_signal_is_handed_on_while_something_else_is_being_sent() -> None:
    """The guardian may be slow to read: its pipe is full."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"x")
    os.set_blocking(writer, True)
    guardian: Any = guarded_playbook._Guardian.__new__(guarded_playbook._Guardian)
    guardian._reasons = []
    guardian._process = SimpleNamespace(stdin=os.fdopen(writer, "wb"))
    main, number = threading.main_thread().ident, threading.get_native_id()
    is_sending = threading.Event()
    received: list[bytes] = []

    def interrupt() -> None:
        is_sending.wait()
        while not is_asleep(number):
            pass
        assert main
        signal.pthread_kill(main, signal.SIGTERM)
        while "sigterm" not in guardian._reasons:
            pass
        with os.fdopen(reader, "rb") as stream:
            received.append(stream.read())

    thread = threading.Thread(target=interrupt, daemon=True)
    thread.start()
    with guardian._signals():
        is_sending.set()
        guardian._stop("parent_died")
    guardian._process.stdin.close()
    thread.join()
    assert sorted(received[0].lstrip(b"x").splitlines()) == [b"stop parent_died", b"stop sigterm"]
