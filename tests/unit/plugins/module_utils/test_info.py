# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from unit.simulated_fleet import Fleet

from ansible_collections.community.paperspace.plugins.module_utils._errors import InputError, Unauthorized
from ansible_collections.community.paperspace.plugins.module_utils._info import find_machines, find_snapshots
from ansible_collections.community.paperspace.plugins.module_utils._reading import Reader
from ansible_collections.community.paperspace.plugins.module_utils._wire import Snapshot

RUN = "maint-20260101T000000Z-1a2b"


def snapshots(fleet: Fleet, **options: Any) -> dict[str, Any]:
    asked = dict.fromkeys(("machine_ids", "snapshot_ids", "name", "name_prefix", "auto"))
    return find_snapshots(fleet.client(), **{**asked, **options})


def machines(fleet: Fleet, **options: Any) -> dict[str, Any]:
    asked = dict.fromkeys(("machine_ids", "name", "region", "machine_type", "state"))
    return find_machines(fleet.client(), **{**asked, **options})


@pytest.fixture
def fleet() -> Fleet:
    fleet = Fleet(2)
    first, second = fleet.machine_ids
    fleet.service.add_snapshot(first, "before")
    fleet.service.add_snapshot(first, "auto", auto=True)
    fleet.service.add_snapshot(second, "before")
    fleet.service.add_snapshot(second, RUN)
    fleet.service.add_snapshot(second, f"{RUN}-ok")
    return fleet


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, [f"{RUN}-ok", RUN, "before", "auto", "before"]),
        ({"name": "before"}, ["before", "before"]),
        ({"name": "befor"}, []),
        ({"name_prefix": "maint-"}, [f"{RUN}-ok", RUN]),
        ({"auto": True}, ["auto"]),
        ({"auto": False}, [f"{RUN}-ok", RUN, "before", "before"]),
    ],
)
def test_snapshots_that_match_newest_first(fleet: Fleet, options: dict[str, Any], names: list[str]) -> None:
    found = snapshots(fleet, **options)
    assert [item["name"] for item in found["snapshots"]] == names
    assert found["warnings"] == []
    assert found["changed"] is False
    assert fleet.writes() == []


def test_snapshot_of_a_run_says_so(fleet: Fleet) -> None:
    by_name = {item["name"]: (item["run_id"], item["run_state"]) for item in snapshots(fleet)["snapshots"]}
    assert by_name[RUN] == (RUN[6:], "open")
    assert by_name[f"{RUN}-ok"] == (RUN[6:], "ok")
    assert by_name["before"] == (None, None)


@pytest.mark.parametrize(
    ("state", "options", "said"),
    [
        ("done", {}, None),
        ("failed", {"state": "error", "error": "disk full"}, "making it failed: event "),
        (
            "unsure",
            {"state": "error"},
            "it is not known whether it is whole, since its event ended without saying so: ",
        ),
        ("running", {"state": "stuck"}, "it is still being made (event "),
    ],
)
@pytest.mark.parametrize("selection", ["machine_ids", "snapshot_ids", "name"])
def test_proof_says_how_the_create_ended(selection: str, state: str, options: dict[str, Any], said: str | None) -> None:
    fleet = Fleet(2)
    fleet.fault("event", method="POST", machine_id=fleet.machine_id, **options)
    fleet.run(name=RUN, wait=False)
    fleet.clock.advance(60)
    ids = [snapshot["id"] for snapshot in fleet.service.snapshots()]
    selections = {"machine_ids": fleet.machine_ids, "snapshot_ids": ids, "name": RUN}
    found = snapshots(fleet, proof=True, **{selection: selections[selection]})["snapshots"]
    by_machine = {item["machine_id"]: (item["proof"], item["proof_detail"]) for item in found}
    first, second = fleet.machine_ids
    assert by_machine[second] == ("done", None)
    assert by_machine[first][0] == state
    assert (by_machine[first][1] is None) if said is None else (said in by_machine[first][1])


def test_proof_of_nothing_reads_no_events(fleet: Fleet) -> None:
    fleet.service.log.clear()
    assert snapshots(fleet, name="none", proof=True)["snapshots"] == []
    assert not any("machine-events" in call for call in fleet.service.log.calls())


def test_snapshot_that_goes_while_it_is_proven_is_left_out(monkeypatch: pytest.MonkeyPatch, fleet: Fleet) -> None:
    gone, kept = (item["id"] for item in fleet.service.snapshots()[:2])
    read_by_id = Reader.snapshots_by_id

    def read_and_delete(reader: Reader, snapshot_ids: Sequence[str]) -> dict[str, Snapshot]:
        found = read_by_id(reader, snapshot_ids)
        fleet.deleted(gone)
        return found

    monkeypatch.setattr(Reader, "snapshots_by_id", read_and_delete)
    assert [item["id"] for item in snapshots(fleet, snapshot_ids=[gone, kept], proof=True)["snapshots"]] == [kept]


def test_snapshots_of_machines_in_the_order_asked_without_those_that_do_not_exist(fleet: Fleet) -> None:
    first, second = fleet.machine_ids
    found = snapshots(fleet, machine_ids=[second, "psnone", first])
    assert [item["machine_id"] for item in found["snapshots"]] == [second] * 3 + [first] * 2
    assert found["warnings"] == ["There is no machine with the id psnone; left out."]


def test_what_is_named_twice_is_shown_once_with_a_warning(fleet: Fleet) -> None:
    first, second = fleet.machine_ids
    found = machines(fleet, machine_ids=[second, first, second])
    assert [item["id"] for item in found["machines"]] == [second, first]
    assert found["warnings"] == [f"machine_ids names {second} more than once; each is handled once."]
    found = snapshots(fleet, machine_ids=[first, first])
    assert [item["machine_id"] for item in found["snapshots"]] == [first] * 2
    assert found["warnings"] == [f"machine_ids names {first} more than once; each is handled once."]
    chosen = fleet.service.snapshots()[0]["id"]
    found = snapshots(fleet, snapshot_ids=[chosen, chosen])
    assert [item["id"] for item in found["snapshots"]] == [chosen]
    assert found["warnings"] == [f"snapshot_ids names {chosen} more than once; each is handled once."]


def test_snapshots_by_id(fleet: Fleet) -> None:
    chosen = fleet.service.snapshots()[0]["id"]
    found = snapshots(fleet, snapshot_ids=["ssnone", chosen])
    assert [item["id"] for item in found["snapshots"]] == [chosen]
    assert "ssnone" in found["warnings"][0]


def test_snapshot_listing_of_many_follows_the_pages_to_the_end() -> None:
    fleet = Fleet()
    for number in range(250):
        fleet.service.add_snapshot(fleet.machine_id, f"s{number}")
    assert [item["name"] for item in snapshots(fleet)["snapshots"]] == [f"s{number}" for number in reversed(range(250))]
    assert fleet.service.log.calls() == ["GET /auth/session", *["GET /snapshots"] * 3]


@pytest.mark.parametrize("cursor", ["repeat", "null", "missing"])
def test_pages_that_do_not_end_are_left(cursor: str) -> None:
    fleet = Fleet()
    for number in range(130):
        fleet.service.add_snapshot(fleet.machine_id, f"s{number}")
    fleet.fault("cursor", path="/snapshots", cursor=cursor, nth=[2, 3])
    assert len(snapshots(fleet)["snapshots"]) == 130
    assert len(fleet.service.log) <= 4


@pytest.mark.parametrize("options", [{"machine_ids": []}, {"snapshot_ids": []}, {"machine_ids": ["a/b"]}])
def test_bad_input_is_refused_before_any_request(fleet: Fleet, options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        snapshots(fleet, **options)
    if "snapshot_ids" not in options:
        with pytest.raises(InputError):
            machines(fleet, **options)
    assert len(fleet.service.log) == 0


def test_machines_have_integer_sizes_and_snake_case() -> None:
    fleet = Fleet()
    (machine,) = machines(fleet)["machines"]
    assert (machine["storage_total"], machine["ram"]) == (50 * 2**30, 4 * 2**30)
    assert machine["public_ip_type"] == "dynamic"
    assert all(key == key.lower() for key in machine)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"name": "web1"}, ["web1"]),
        ({"region": "ny2"}, ["web11", "web1"]),
        ({"region": "East Coast (NY2)"}, ["web11", "web1"]),
        ({"region": "2"}, []),
        ({"machine_type": "C7"}, ["web11"]),
        ({"state": "off"}, ["other"]),
        ({"name": "web1", "state": "off"}, []),
    ],
)
def test_machines_that_match(options: dict[str, Any], names: list[str]) -> None:
    fleet = Fleet()
    fleet.service.add_machine("web11", machineType="C7")
    fleet.service.add_machine("other", region="ca1", state="off")
    assert [item["name"] for item in machines(fleet, **options)["machines"]] == names


def test_machines_by_id_in_the_order_asked() -> None:
    fleet = Fleet(3)
    asked = [fleet.machine_ids[2], "psnone", fleet.machine_ids[0], fleet.machine_ids[2]]
    found = machines(fleet, machine_ids=asked)
    assert [item["id"] for item in found["machines"]] == [fleet.machine_ids[2], fleet.machine_ids[0]]
    assert "more than once" in found["warnings"][0]
    assert "psnone" in found["warnings"][1]


def test_unknown_key_is_refused() -> None:
    fleet = Fleet()
    with pytest.raises(Unauthorized, match="API key"):
        find_machines(
            fleet.client(api_key="wrong"), machine_ids=None, name=None, region=None, machine_type=None, state=None
        )
