# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guide of the names of snapshots."""

from __future__ import annotations

import re

from documentation import SNAPSHOT, Part, Reader, commands_of, follows, section


@follows(Part("docs/docsite/rst/snapshot_names.rst"))
def test_names_of_snapshots(reader: Reader) -> None:
    page = "docs/docsite/rst/snapshot_names.rst"
    reader.use_real_machines()
    names, show, listing = section(page, "Work with the names")
    reader.follow_all([names, show])
    run_id = reader.values["RUN_ID"]
    shown = {f"maint-{run_id}", f"maint-{run_id}-ok", f"nightly-{run_id}-restored"}
    assert shown <= set(re.findall(r"[\w-]+", reader.last.output))

    reader.type(f"{SNAPSHOT} web -e snapshot_run_id={run_id}")
    first, second = (reader.type(command) for command in commands_of(listing.text))
    reader.used.add(listing.name)
    assert f'"run_id": "{run_id}"' in first.output
    assert '"run_state": "open"' in first.output
    assert f"recover_run_id={run_id}" in second.output

    reader.type(f"{SNAPSHOT} web -e snapshot_run_id={run_id} -e snapshot_action=close")
    reader.follow_all(section(page, "Rename by hand"))
    names_now = sorted(snapshot["name"] for snapshot in reader.simulator.snapshots())
    assert names_now == ["golden-image", *[f"maint-{run_id}-ok"] * 2]
