# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pages, cursors, order and filters."""

from __future__ import annotations

import pytest


def read_all(api, path, **query):
    pages = [api.get(path, **query)]
    while pages[-1]["hasMore"]:
        pages.append(api.get(path, **query, after=pages[-1]["nextPage"]))
    assert pages[-1]["nextPage"] is None
    return [item for page in pages for item in page["items"]], len(pages)


@pytest.mark.parametrize(("order_by", "sorted_by"), [("dtCreated", "sequence"), ("name", "name"), ("state", "state")])
@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 4, 10, 11])
def test_pages_have_every_machine_once_and_in_order(api, service, order_by, sorted_by, order, limit):
    places = {}
    for index in range(10):
        fields = {"name": f"m{index * 7 % 5}", "state": ("ready", "off", "starting")[index % 3]}
        machine_id = service.add_machine(**fields)
        places[machine_id] = ({**fields, "sequence": index}[sorted_by], index)
    items, pages = read_all(api, "/machines", orderBy=order_by, order=order, limit=limit)
    assert [item["id"] for item in items] == sorted(places, key=places.get, reverse=order == "desc")
    assert pages == -(-10 // limit)


def test_newest_first_and_a_dozen_is_what_one_gets_unasked(api, service):
    ids = [service.add_machine() for dummy in range(13)]
    assert [item["id"] for item in api.get("/machines")["items"]] == ids[:0:-1]


def test_records_that_come_or_go_between_pages_shift_nothing(api, service, machine_id):
    ids = [service.add_snapshot(machine_id, f"s{index}") for index in range(6)]
    first = api.get("/snapshots", limit=3)
    service.add_snapshot(machine_id, "late")
    service.world.snapshots.remove(service.world.snapshots.get(ids[3]))
    second = api.get("/snapshots", limit=3, after=first["nextPage"])
    assert [item["id"] for item in first["items"] + second["items"]] == ids[::-1]


def test_a_cursor_is_good_for_its_own_listing_only(api, service, machine_id):
    for index in range(3):
        service.add_snapshot(machine_id, f"s{index}")
    cursor = api.get("/snapshots", limit=1)["nextPage"]
    for path, query in [("/snapshots", {"order": "asc"}), ("/snapshots", {"machineId": machine_id}), ("/machines", {})]:
        response = api.send("GET", path, query={**query, "after": cursor})
        assert (response.status, response.json()["code"]) == (400, "BAD_REQUEST")
    assert api.send("GET", "/snapshots", query={"after": cursor[:-1]}).status == 400


def test_filters(api, service):
    web = service.add_machine("web1", region="ny2", machineType="C5")
    website = service.add_machine("my-WEB10", region="ams1", machineType="C7")

    def found(**query):
        return [item["id"] for item in api.get("/machines", **query)["items"]]

    assert found(name="web1") == [website, web], "not exact, as the service's"
    assert found(region="ny2") == found(region="East Coast (NY2)") == [web]
    assert found(machineType="C7") == [website]
    assert found(agentType="WindowsDesktop") == []
    assert api.machine(web)["region"] == "East Coast (NY2)"


def test_snapshots_and_events_of_one_machine(api, service, clock):
    first, second = service.add_machine("a"), service.add_machine("b")
    for machine_id in (first, second):
        api.snapshot(machine_id, "s")
    assert [item["machineId"] for item in api.get("/snapshots", machineId=first)["items"]] == [first]
    assert [item["machineId"] for item in api.get("/machine-events", machineId=second)["items"]] == [second]
    assert api.get("/snapshots", machineId="psnowhere") == {"hasMore": False, "items": [], "nextPage": None}


def test_sizes_are_decimal_strings_and_machines_are_bare(api, machine_id):
    machine = api.machine(machine_id)
    assert all(machine[name].isdecimal() for name in ("ram", "storageTotal", "storageUsed"))
    assert (machine["id"][:2], machine["reservation"], machine["dtDeleted"]) == ("ps", None, None)
