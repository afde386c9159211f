# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the service says of names and errors, where it becomes a message that a terminal shows."""

from __future__ import annotations

import pytest
from unit.simulated_fleet import Fleet

from ansible_collections.community.paperspace.plugins.module_utils._outcomes import Report, failure_message
from ansible_collections.community.paperspace.plugins.module_utils._shown import shown

ODD = "\x1b[2Jcleared\r\n  forged: line\u202e\x9b1A\0"
HARMLESS = "?[2Jcleared forged: line??1A?"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Web server 1", "Web server 1"),
        ("größe 机器 🚀", "größe 机器 🚀"),
        ("", ""),
        (ODD, HARMLESS),
        ("\x1b]8;;http://evil.example\x07here\x1b]8;;\x07", "?]8;;http://evil.example?here?]8;;?"),
        ("\ud800", "?"),
        ("x" * 501, "x" * 500),
    ],
)
def test_what_somebody_else_wrote(text: str, wanted: str) -> None:
    assert shown(text) == wanted


def assert_harmless(report: Report) -> None:
    for text in (*report.warnings, failure_message(report.outcomes) or ""):
        assert text.isprintable()
    for text in (report.before, report.after):
        assert text.replace("\n", "").isprintable()
        assert not [line for line in text.splitlines() if line.strip().startswith("forged")]


def test_names_of_machines_and_snapshots_in_messages() -> None:
    fleet = Fleet()
    fleet.service.change_machine(fleet.machine_id, name=ODD, restorePointEnabled=True)
    fleet.service.add_snapshot(fleet.machine_id, ODD)
    made = fleet.run(name="before")
    assert_harmless(made)
    assert HARMLESS in made.warnings[0]
    assert HARMLESS in made.before
    # What is looked for and returned is the exact name.
    renamed = fleet.run(name=ODD, new_name="even")
    assert_harmless(renamed)
    assert fleet.names() == ["even", "before"]


def test_errors_in_messages() -> None:
    fleet = Fleet()
    fleet.service.change_machine(fleet.machine_id, name=ODD)
    fleet.fault("event", method="POST", state="error", error=ODD)
    fleet.fault("event", method="PATCH", state="error", error=ODD)
    for report in (fleet.run(name=ODD), fleet.change(state="stopped")):
        assert_harmless(report)
        assert HARMLESS in str(failure_message(report.outcomes))
