# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guide of fleet-wide rollback."""

from __future__ import annotations

from documentation import SNAPSHOT, WEB, Part, Reader, follows, section, state


@follows(Part("docs/docsite/rst/fleet_rollback.rst"))
def test_fleet_rollback(reader: Reader) -> None:
    page = "docs/docsite/rst/fleet_rollback.rst"
    reader.use_real_machines()
    reader.type(f"{SNAPSHOT} 'web*,db1'")
    reader.spoil(*WEB, "db1")
    reader.follow_all(section(page, "Find the run"))
    assert all(reader.simulator.ids()[host] in reader.last.output for host in (*WEB, "db1"))

    look, look_without_missing = section(page, "Look first")
    reader.follow(look, fails={"rollback": 2})
    assert "db2" in reader.last.output
    reader.follow(look_without_missing)
    assert reader.last.output.count("would_restore") >= 4
    assert not reader.simulator.done_counts()["restores"]

    back, again, shown = section(page, "Roll back")
    reader.follow(back)
    assert {host: state(reader.simulator)[host] for host in WEB} == dict.fromkeys(WEB, ("1.0", "restored"))
    assert state(reader.simulator)["db1"] == ("2.0", "open")
    reader.follow_all([again, shown])
    assert reader.simulator.done_counts()["restores"] == 3

    reader.type(f"{SNAPSHOT} web")
    reader.spoil(*WEB)
    reader.follow_all(section(page, "In waves"))
    assert [reader.simulator.done_counts()["restores"], *(state(reader.simulator)[host][0] for host in WEB)] == [
        6,
        *("1.0" for dummy in WEB),
    ]

    for host in WEB:
        reader.simulator.add_snapshot(reader.simulator.ids()[host], "before-release-7")
    reader.spoil(*WEB)
    reader.follow_all(section(page, "Snapshots of another name"))
    assert [state(reader.simulator)[host][0] for host in WEB] == ["1.0", "1.0", "1.0"]
