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
    assert failure(tmp_path, monkeypatch).endswith(f"recover -e recover_run_id={RUN} -e recover_action=rollback")


def test_command_leaves_out_what_another_controller_maintains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = MachineReport("web2", "ps-web2", outcome="no_snapshot", snapshot=SnapshotReport("ss2", status="unchanged"))
    write_report(RunReport(RUN, machines=[MachineReport("web1", "ps-web1"), left]), tmp_path)
    assert "recover -l 'all,!web2' -e" in failure(tmp_path, monkeypatch)


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
