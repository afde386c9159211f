# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What operations do as time passes."""

from __future__ import annotations

import pytest


def states_until_settled(api, clock, machine_id, seconds=20.0):
    """The machine's states as the API shows them, without repetitions."""
    states = []
    for dummy in range(int(seconds / 0.25)):
        state = api.machine(machine_id)["state"]
        if states[-1:] != [state]:
            states.append(state)
        clock.advance(0.25)
    return states


def test_event_goes_from_new_over_in_progress_to_done(api, clock, machine_id):
    answer = api.snapshot(machine_id, "one")
    event = answer["event"]
    assert answer["data"] == {
        "id": answer["data"]["id"],
        "isAutoSnapshot": False,
        "machineId": machine_id,
        "name": "one",
    }
    assert (event["name"], event["state"], event["dtStarted"], event["dtFinished"]) == (
        "snapshot-create",
        "new",
        None,
        None,
    )
    clock.advance(0.5)
    assert api.event(event["id"])["state"] == "in progress"
    clock.advance(2.9)
    assert api.event(event["id"])["dtFinished"] is None
    clock.advance(10)
    ended = api.event(event["id"])
    assert (ended["state"], ended["error"]) == ("done", None)
    assert (ended["dtCreated"], ended["dtStarted"], ended["dtFinished"]) == (
        "2026-01-01T00:00:00.000Z",
        "2026-01-01T00:00:00.500Z",
        "2026-01-01T00:00:03.500Z",
    )


def test_snapshot_is_listed_from_the_post_on(api, machine_id):
    snapshot = api.snapshot(machine_id, "one")["data"]
    assert api.get("/snapshots")["items"] == [snapshot]
    assert api.get(f"/snapshots/{snapshot['id']}") == snapshot


def test_snapshot_and_event_can_show_up_late(api, service, clock, machine_id):
    service.change_settings(snapshot_invisible_seconds=2, event_invisible_seconds=2)
    answer = api.snapshot(machine_id, "one")
    assert api.get("/snapshots")["items"] == api.get("/machine-events")["items"] == []
    assert api.send("GET", f"/machine-events/{answer['event']['id']}").status == 404
    clock.advance(2)
    assert len(api.get("/snapshots")["items"]) == len(api.get("/machine-events")["items"]) == 1


def test_deleted_snapshot_is_there_until_its_event_is_done(api, service, clock, machine_id):
    snapshot_id = service.add_snapshot(machine_id, "one")
    answer = api.send("DELETE", f"/snapshots/{snapshot_id}").json()
    clock.advance(2.4)
    assert api.get("/snapshots")["items"] == [answer["data"]]
    clock.advance(0.1)
    assert api.get("/snapshots")["items"] == []
    assert api.event(answer["event"]["id"])["state"] == "done"
    assert api.send("DELETE", f"/snapshots/{snapshot_id}").status == 404
    assert service.done_counts()["deletes"] == 1


def test_restore_leads_over_off_and_settles_after_its_event(api, service, clock, machine_id):
    snapshot_id = service.add_snapshot(machine_id, "one")
    before = api.machine(machine_id)["publicIp"]
    event = api.post(f"/snapshots/{snapshot_id}/restore", {})["event"]
    clock.advance(4.5)
    assert api.event(event["id"])["state"] == "done"
    assert api.machine(machine_id)["state"] == "off", "an event that is done is not yet a machine that is ready"
    assert states_until_settled(api, clock, machine_id) == ["off", "starting", "serviceready", "ready"]
    assert api.machine(machine_id)["publicIp"] not in (before, None)
    assert len(api.get("/snapshots")["items"]) == 1


@pytest.mark.parametrize(
    ("ends", "state_before", "state_after"),
    [("ready", "off", "ready"), ("off", "ready", "off"), ("as_before", "off", "off"), ("as_before", "ready", "ready")],
)
def test_restore_ends_as_the_setting_says(api, service, clock, ends, state_before, state_after):
    service.change_settings(restore_ends=ends)
    machine_id = service.add_machine("web1", state=state_before)
    snapshot_id = service.add_snapshot(machine_id, "one")
    api.post(f"/snapshots/{snapshot_id}/restore", {})
    clock.advance(20)
    machine = api.machine(machine_id)
    assert machine["state"] == state_after
    assert (machine["publicIp"] is None) == (state_after == "off")


@pytest.mark.parametrize(
    ("fields", "settings", "changes"),
    [
        ({}, {}, True),
        ({}, {"dynamic_ip_changes_on_restore": False}, False),
        ({"publicIpType": "static"}, {}, False),
    ],
)
def test_only_a_dynamic_address_changes_with_a_restore(api, service, clock, fields, settings, changes):
    service.change_settings(**settings)
    machine_id = service.add_machine("web1", **fields)
    before = api.machine(machine_id)["publicIp"]
    api.post(f"/snapshots/{service.add_snapshot(machine_id, 'one')}/restore", {})
    clock.advance(20)
    assert (api.machine(machine_id)["publicIp"] != before) == changes


def test_safety_snapshot_is_taken_and_named_nowhere(api, service, clock, machine_id):
    snapshot_id = service.add_snapshot(machine_id, "one")
    answer = api.post(f"/snapshots/{snapshot_id}/restore", {"createSnapshotBeforeRestore": True})
    clock.advance(20)
    taken, restored = api.get("/snapshots")["items"]
    assert restored["id"] == snapshot_id
    assert taken["id"] not in str(answer)
    assert taken["name"] not in str(answer)
    assert [event["name"] for event in api.get("/machine-events")["items"]] == ["snapshot-restore"]
    assert service.done_counts()["safety_snapshots"] == 1


def test_stop_and_start_change_a_dynamic_address(api, clock, machine_id):
    before = api.machine(machine_id)["publicIp"]
    api.act(machine_id, "stop")
    assert states_until_settled(api, clock, machine_id) == ["ready", "stopping", "off"]
    assert api.machine(machine_id)["publicIp"] is None
    api.act(machine_id, "start")
    assert states_until_settled(api, clock, machine_id) == ["off", "starting", "serviceready", "ready"]
    assert api.machine(machine_id)["publicIp"] not in (before, None)


def test_state_lags_behind_a_restart(api, service, clock, machine_id):
    service.change_settings(state_lag_seconds=3)
    event = api.act(machine_id, "restart")["event"]
    clock.advance(3.4)
    assert api.event(event["id"])["state"] == "in progress"
    assert api.machine(machine_id)["state"] == "ready"
    assert states_until_settled(api, clock, machine_id) == ["ready", "restarting", "serviceready", "ready"]


def test_starting_a_machine_under_way_says_so(api, clock, service):
    machine_id = service.add_machine("web1", state="off")
    api.act(machine_id, "start")
    for dummy in range(2):
        clock.advance(1)
        response = api.send("PATCH", f"/machines/{machine_id}/start", {})
        assert response.status == 400
        assert "currently starting" in response.json()["message"]


@pytest.mark.parametrize(("state", "action"), [("ready", "start"), ("off", "stop"), ("off", "restart")])
def test_actions_that_make_no_sense_are_refused(api, service, state, action):
    machine_id = service.add_machine("web1", state=state)
    assert api.send("PATCH", f"/machines/{machine_id}/{action}", {}).status == 400


def test_second_operation_conflicts(api, service, clock, machine_id):
    api.snapshot(machine_id, "one")
    response = api.send("POST", "/snapshots", {"machineId": machine_id, "name": "two"})
    assert (response.status, response.json()["code"]) == (409, "CONFLICT")
    assert len(api.get("/snapshots")["items"]) == 1
    clock.advance(3.5)
    api.snapshot(machine_id, "two")
    clock.advance(3.5)
    assert service.done_counts()["creates"] == 2


def test_second_operation_queues_when_the_setting_says_so(api, service, clock, machine_id):
    service.change_settings(busy="queue")
    first, second = (api.snapshot(machine_id, name)["event"]["id"] for name in ("one", "two"))
    clock.advance(3.4)
    assert (api.event(first)["state"], api.event(second)["state"]) == ("in progress", "new")
    clock.advance(0.6)
    assert (api.event(first)["state"], api.event(second)["state"]) == ("done", "in progress")
    clock.advance(3)
    assert api.event(second)["dtFinished"] == "2026-01-01T00:00:07.000Z"


def test_queued_operation_whose_snapshot_is_gone_ends_in_error(api, service, clock, machine_id):
    service.change_settings(busy="queue")
    snapshot_id = service.add_snapshot(machine_id, "one")
    api.send("DELETE", f"/snapshots/{snapshot_id}")
    event = api.post(f"/snapshots/{snapshot_id}/restore", {})["event"]
    clock.advance(20)
    assert api.event(event["id"])["state"] == "error"
    assert service.done_counts()["restores"] == 0


def test_rename_answers_bare_and_has_no_event(api, service, machine_id):
    snapshot_id = service.add_snapshot(machine_id, "one")
    renamed = api.put(f"/snapshots/{snapshot_id}", {"name": "two"})
    assert renamed == {"id": snapshot_id, "isAutoSnapshot": False, "machineId": machine_id, "name": "two"}
    assert api.get("/machine-events")["items"] == []


def test_duplicate_names_are_a_setting(api, service, clock, machine_id):
    service.add_snapshot(machine_id, "one")
    api.snapshot(machine_id, "one")
    clock.advance(5)
    service.change_settings(duplicate_names=False)
    assert api.send("POST", "/snapshots", {"machineId": machine_id, "name": "one"}).status == 409


def test_auto_snapshot_fields(api, service, machine_id):
    changes = {"autoSnapshotEnabled": True, "autoSnapshotFrequency": "daily", "autoSnapshotSaveCount": 2}
    answer = api.put(f"/machines/{machine_id}", changes)
    assert "event" not in answer
    assert changes.items() <= api.machine(machine_id).items()
    assert api.send("PUT", f"/machines/{machine_id}", {"autoSnapshotSaveCount": 11}).status == 412
    service.change_settings(auto_snapshots_by_api=False)
    assert api.send("PUT", f"/machines/{machine_id}", changes).status == 403


def test_auto_snapshot_fields_can_take_an_event(api, service, clock, machine_id):
    service.change_settings(auto_snapshots_take_an_event=True)
    changes = {"autoSnapshotEnabled": True, "autoSnapshotFrequency": "daily"}
    answer = api.put(f"/machines/{machine_id}", {**changes, "name": "renamed"})
    assert (answer["event"]["name"], answer["event"]["state"]) == ("vm-upgrade", "new")
    assert (answer["data"]["autoSnapshotEnabled"], answer["data"]["name"]) == (False, "renamed")
    assert service.accepted_counts()["machine_updates"] == 1
    assert service.done_counts()["machine_updates"] == 0
    assert api.send("PUT", f"/machines/{machine_id}", {"autoSnapshotSaveCount": 2}).status == 409
    clock.advance(1)
    assert api.machine(machine_id)["state"] == "ready"
    clock.advance(4)
    assert changes.items() <= api.machine(machine_id).items()
    assert api.event(answer["event"]["id"])["state"] == "done"
    assert (service.done_counts()["machine_updates"], service.done_counts()["upgrades"]) == (1, 0)
    assert "event" not in api.put(f"/machines/{machine_id}", changes)


def test_auto_snapshot_fields_stay_when_their_event_ends_in_error(api, service, clock, machine_id):
    service.change_settings(auto_snapshots_take_an_event=True)
    service.faults.add({"action": "event", "state": "error", "error": "no", "method": "PUT"})
    event = api.put(f"/machines/{machine_id}", {"autoSnapshotEnabled": True})["event"]
    clock.advance(10)
    assert api.event(event["id"])["error"] == "no"
    machine = api.machine(machine_id)
    assert (machine["autoSnapshotEnabled"], machine["state"]) == (False, "ready")
    assert service.done_counts()["machine_updates"] == 0


def test_oldest_auto_snapshot_is_replaced_and_no_manual_one(api, service, machine_id):
    service.change_machine(machine_id, autoSnapshotSaveCount=2)
    manual = service.add_snapshot(machine_id, "mine")
    automatic = [service.take_auto_snapshot(machine_id) for dummy in range(3)]
    assert [item["id"] for item in api.get("/snapshots")["items"]] == [automatic[2], automatic[1], manual]


def test_size_change_is_an_upgrade_and_disks_do_not_shrink(api, clock, machine_id):
    event = api.put(f"/machines/{machine_id}", {"machineType": "C7", "diskSize": 100})["event"]
    assert event["name"] == "vm-upgrade"
    clock.advance(20)
    machine = api.machine(machine_id)
    assert (machine["machineType"], machine["storageTotal"], machine["state"]) == ("C7", str(100 * 2**30), "ready")
    assert api.send("PUT", f"/machines/{machine_id}", {"diskSize": 50}).status == 412


def test_removed_machine_takes_its_snapshots_along(api, service, clock, machine_id):
    event = api.snapshot(machine_id, "one")["event"]
    service.remove_machine(machine_id)
    clock.advance(20)
    assert api.send("GET", f"/machines/{machine_id}").status == 404
    assert api.get("/snapshots")["items"] == []
    assert api.event(event["id"])["state"] == "cancelled"


def test_incomplete_snapshot_cannot_be_restored(api, service, machine_id):
    snapshot_id = service.add_snapshot(machine_id, "one", complete=False)
    assert api.send("POST", f"/snapshots/{snapshot_id}/restore", {}).status == 412
