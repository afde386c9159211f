# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from pathlib import Path

from ansible_collections.community.paperspace.plugins.plugin_utils._report import (
    MachineReport,
    RunReport,
    Span,
    load_report,
    write_report,
)

RUN = "20260131T235959Z-1a2b"


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    machine = MachineReport("web1", "ps1", times={"snapshot": Span(began=1769903999.25)})
    report = RunReport(RUN, machines=[machine], began=1769903999.0)
    path, _markdown = write_report(report, tmp_path)
    assert load_report(path) == report
