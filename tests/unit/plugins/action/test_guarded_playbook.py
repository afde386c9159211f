# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action where no guardian answers. What whole runs show, tests/integration and tests/e2e have."""

from __future__ import annotations

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
