# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guide that compares with snapshots by hand."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from documentation import Part, Reader, blocks_of, follows, section, state

from ansible_fixtures import KEY
from e2e.playbooks import INSTALL, REACH, blip, cut_off, fail

HAND = "docs/docsite/rst/comparison.rst"
BY_HAND = "ansible-playbook -i my.paperspace.yml by_hand.yml"


def undone(reader: Reader) -> dict[str, tuple[str, int]]:
    """Of the web servers: the version on the disk, and how many snapshots there are."""
    snapshots = Counter(snapshot["machineId"] for snapshot in reader.simulator.snapshots())
    ids = reader.simulator.ids()
    return {host: (state(reader.simulator)[host][0], snapshots[ids[host]]) for host in ("web1", "web2", "web3")}


@pytest.fixture
def by_hand(reader: Reader) -> Reader:
    reader.use_real_machines()
    for block in blocks_of(HAND):
        if block.caption:
            reader.save(block)
    return reader


@follows(Part(HAND, ("By hand", "Auto-snapshots")))
def test_by_hand_and_with_the_guard(by_hand: Reader) -> None:
    dummy, typed, dummy, guarded = section(HAND, "By hand")
    by_hand.ansible.write("upgrade.yml", [INSTALL, fail("web2")])
    by_hand.follow(typed, fails={"by_hand": 2})
    assert undone(by_hand) == {"web1": ("2.0", 1), "web2": ("1.0", 1), "web3": ("2.0", 1)}
    by_hand.follow(guarded, fails={"maintenance": 2})
    assert undone(by_hand) == {"web1": ("2.0", 2), "web2": ("1.0", 2), "web3": ("2.0", 2)}
    by_hand.follow_all(section(HAND, "Auto-snapshots"))
    kept = [one["autoSnapshotSaveCount"] for one in by_hand.simulator.machines() if one["name"].startswith("web")]
    assert kept == [7, 7, 7]


def test_by_hand_an_unreachable_host_stays_broken(by_hand: Reader) -> None:
    by_hand.ansible.write("upgrade.yml", [INSTALL, cut_off("web2")])
    by_hand.type(BY_HAND, rc=4)
    assert undone(by_hand)["web2"] == ("2.0", 1)
    assert not by_hand.simulator.done_counts()["restores"]


def test_by_hand_a_blip_counts_as_well(by_hand: Reader) -> None:
    by_hand.ansible.write("upgrade.yml", [blip("web2", ignore_unreachable=True), REACH, INSTALL])
    by_hand.type(BY_HAND)
    assert not by_hand.simulator.done_counts()["restores"]


def test_by_hand_a_lost_answer_makes_a_second_snapshot(by_hand: Reader) -> None:
    by_hand.ansible.write("upgrade.yml", [INSTALL])
    web2 = by_hand.simulator.ids()["web2"]
    by_hand.simulator.add_fault("lost", when="after", method="POST", machine_id=web2, times=1)
    by_hand.type(f"{BY_HAND} -l web2", rc=2)
    # It waits through an answer that fails, and shows the key to who wants to know more.
    by_hand.simulator.add_fault("status", status=503, method="GET", path="/machine-events/.*", times=1)
    shown = by_hand.type(f"{BY_HAND} -l web2 -vvv", may_show_key=True)
    assert KEY in shown.output
    assert undone(by_hand)["web2"] == ("2.0", 2)


@pytest.mark.parametrize("fault", [{"status": 429}, {"status": 503}, {"action": "busy"}], ids=["429", "503", "busy"])
def test_by_hand_what_could_be_waited_for_fails(by_hand: Reader, fault: dict[str, Any]) -> None:
    by_hand.ansible.write("upgrade.yml", [INSTALL])
    web2 = by_hand.simulator.ids()["web2"]
    by_hand.simulator.add_fault(**{"action": "status", **fault}, method="POST", machine_id=web2, times=1)
    by_hand.type(f"{BY_HAND} -l web2", rc=2)
    assert undone(by_hand)["web2"] == ("1.0", 0)
