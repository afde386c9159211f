# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The API's paths and methods: each reads its request strictly, asks the world, and shapes the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote

from .messages import ApiError, Request, Response, json_response
from .operations import Call, Operation, World
from .paging import Cursors, page
from .records import Event, Machine, RecordT, Snapshot
from .validation import (
    BOOLEAN,
    INTEGER,
    LIMIT,
    NUMBER,
    STRING,
    Body,
    one_of,
    read_body,
    read_query,
    refuse_body,
)

PAGING = {"after": STRING, "limit": LIMIT, "order": one_of("asc", "desc")}
MACHINES_QUERY = {
    **PAGING,
    "orderBy": one_of("dtCreated", "name", "state"),
    "name": STRING,
    "region": STRING,
    "agentType": STRING,
    "machineType": STRING,
}
EVENTS_QUERY = {**PAGING, "orderBy": one_of("dtCreated"), "machineId": STRING}
SNAPSHOTS_QUERY = {**PAGING, "orderBy": one_of("dtCreated", "name"), "machineId": STRING}

ACTION_BODY = Body({}, open=True, optional=True)
SNAPSHOT_BODY = Body({"machineId": STRING, "name": STRING}, required=("machineId", "name"))
RENAME_BODY = Body({"name": STRING})
RESTORE_BODY = Body({"createSnapshotBeforeRestore": BOOLEAN})
MACHINE_BODY = Body(
    {
        "autoShutdownEnabled": BOOLEAN,
        "autoShutdownForce": BOOLEAN,
        "autoShutdownTimeout": NUMBER,
        "autoSnapshotEnabled": BOOLEAN,
        "autoSnapshotFrequency": one_of("hourly", "daily", "weekly", "monthly"),
        "autoSnapshotSaveCount": INTEGER,
        "diskSize": NUMBER,
        "machineType": STRING,
        "name": STRING,
        "networkId": STRING,
        "publicIpType": one_of("static", "dynamic", "none"),
        "restorePointEnabled": BOOLEAN,
        "restorePointFrequency": one_of("shutdown"),
        "restorePointSnapshotId": STRING,
    }
)


@dataclass(frozen=True)
class Asked:
    """One request on its way through a route."""

    request: Request
    id: str
    """The path's id, decoded; empty where the path has none."""
    world: World
    cursors: Cursors
    call: Call

    @property
    def now(self) -> float:
        return self.call.now


def machine_wire(asked: Asked, machine: Machine) -> dict[str, Any]:
    return machine.wire(asked.now, asked.world.settings.state_lag_seconds)


def list_page(
    asked: Asked,
    query: dict[str, str],
    records: Sequence[RecordT],
    matches: Callable[[RecordT], bool],
    sorted_by: Callable[[RecordT], str] | None,
    wire: Callable[[RecordT], dict[str, Any]],
) -> Response:
    listing = [asked.request.path, *sorted((name, query[name]) for name in query.keys() - {"after", "limit"})]
    found, next_page = page(
        records,
        matches=lambda record: record.visible(asked.now) and matches(record),
        sorted_by=sorted_by,
        descending=query.get("order") != "asc",
        after=query.get("after"),
        limit=int(query.get("limit", asked.world.settings.default_limit)),
        listing=listing,
        cursors=asked.cursors,
    )
    items = [wire(record) for record in found]
    return json_response(200, {"hasMore": next_page is not None, "items": items, "nextPage": next_page})


def get_session(asked: Asked) -> Response:
    read_query(asked.request, {})
    team = {"id": asked.world.team_id, "namespace": "simulator", "maxMachines": 10_000, "isPrivate": False}
    user = {"id": asked.world.user_id, "email": "engineer@example.com", "firstName": "Sim", "lastName": None}
    return json_response(200, {"team": team, "user": user})


def list_machines(asked: Asked) -> Response:
    query = read_query(asked.request, MACHINES_QUERY)
    name, region = query.get("name", "").lower(), query.get("region", "").lower()
    lag = asked.world.settings.state_lag_seconds

    def matches(machine: Machine) -> bool:
        fields = machine.fields
        # "East Coast (NY2)" is asked for as ny2.
        return (
            name in machine.name.lower()
            and ("region" not in query or region in (fields["region"].lower(), fields["region"][-4:-1].lower()))
            and query.get("agentType", fields["agentType"]) == fields["agentType"]
            and query.get("machineType", fields["machineType"]) == fields["machineType"]
        )

    by: dict[str, Callable[[Machine], str]] = {
        "name": lambda machine: machine.name,
        "state": lambda machine: machine.shown_state(asked.now, lag),
    }
    return list_page(
        asked,
        query,
        asked.world.machines.ordered(),
        matches,
        by.get(query.get("orderBy", "")),
        lambda machine: machine_wire(asked, machine),
    )


def get_machine(asked: Asked) -> Response:
    read_query(asked.request, {})
    return json_response(200, machine_wire(asked, asked.world.machine(asked.id)))


def update_machine(asked: Asked) -> Response:
    read_query(asked.request, {})
    changes = read_body(asked.request, MACHINE_BODY)
    machine = asked.world.machine(asked.id)
    if "autoSnapshotSaveCount" in changes:
        changes["autoSnapshotSaveCount"] = int(changes["autoSnapshotSaveCount"])
    operation = asked.world.update_machine(machine, changes, asked.call)
    result = {"data": machine_wire(asked, machine)}
    if operation:
        result["event"] = operation.event.wire()
    return json_response(200, result)


def machine_action(act: Callable[[World, Machine, Call], Operation]) -> Callable[[Asked], Response]:
    def answer(asked: Asked) -> Response:
        read_query(asked.request, {})
        read_body(asked.request, ACTION_BODY)
        machine = asked.world.machine(asked.id)
        operation = act(asked.world, machine, asked.call)
        return json_response(200, {"data": machine_wire(asked, machine), "event": operation.event.wire()})

    return answer


def list_events(asked: Asked) -> Response:
    query = read_query(asked.request, EVENTS_QUERY)
    events = asked.world.events
    records = events.of_machine(query["machineId"]) if "machineId" in query else events.ordered()
    return list_page(asked, query, records, lambda event: True, None, Event.wire)


def get_event(asked: Asked) -> Response:
    read_query(asked.request, {})
    event = asked.world.events.get(asked.id)
    if event is None or not event.visible(asked.now):
        raise ApiError(404, f"Machine event {asked.id} not found.")
    return json_response(200, event.wire())


def list_snapshots(asked: Asked) -> Response:
    query = read_query(asked.request, SNAPSHOTS_QUERY)
    snapshots = asked.world.snapshots
    records = snapshots.of_machine(query["machineId"]) if "machineId" in query else snapshots.ordered()
    by_name: Callable[[Snapshot], str] | None = (lambda each: each.name) if query.get("orderBy") == "name" else None
    return list_page(asked, query, records, lambda snapshot: True, by_name, Snapshot.wire)


def find_snapshot(asked: Asked) -> Snapshot:
    snapshot = asked.world.snapshots.get(asked.id)
    if snapshot is None or not snapshot.visible(asked.now):
        raise ApiError(404, f"Snapshot {asked.id} not found.")
    return snapshot


def get_snapshot(asked: Asked) -> Response:
    read_query(asked.request, {})
    return json_response(200, find_snapshot(asked).wire())


def create_snapshot(asked: Asked) -> Response:
    read_query(asked.request, {})
    body = read_body(asked.request, SNAPSHOT_BODY)
    machine = asked.world.machine(body["machineId"])
    return snapshot_result(asked.world.create_snapshot(machine, body["name"], asked.call))


def rename_snapshot(asked: Asked) -> Response:
    read_query(asked.request, {})
    body = read_body(asked.request, RENAME_BODY)
    snapshot = find_snapshot(asked)
    asked.world.rename_snapshot(snapshot, body.get("name", snapshot.name), asked.now)
    return json_response(200, snapshot.wire())


def delete_snapshot(asked: Asked) -> Response:
    read_query(asked.request, {})
    return snapshot_result(asked.world.delete_snapshot(find_snapshot(asked), asked.call))


def restore_snapshot(asked: Asked) -> Response:
    read_query(asked.request, {})
    safety_snapshot = read_body(asked.request, RESTORE_BODY).get("createSnapshotBeforeRestore", False)
    return snapshot_result(asked.world.restore_snapshot(find_snapshot(asked), safety_snapshot, asked.call))


def snapshot_result(operation: Operation) -> Response:
    if operation.snapshot is None:
        raise AssertionError(f"{operation.event.name} has a snapshot")
    return json_response(200, {"data": operation.snapshot.wire(), "event": operation.event.wire()})


Route = Callable[[Asked], Response]

ROUTES: dict[tuple[str, ...], dict[str, Route]] = {
    ("auth", "session"): {"GET": get_session},
    ("machines",): {"GET": list_machines},
    ("machines", "{id}"): {"GET": get_machine, "PUT": update_machine},
    ("machines", "{id}", "start"): {"PATCH": machine_action(World.start)},
    ("machines", "{id}", "stop"): {"PATCH": machine_action(World.stop)},
    ("machines", "{id}", "restart"): {"PATCH": machine_action(World.restart)},
    ("machine-events",): {"GET": list_events},
    ("machine-events", "{id}"): {"GET": get_event},
    ("snapshots",): {"GET": list_snapshots, "POST": create_snapshot},
    ("snapshots", "{id}"): {"GET": get_snapshot, "PUT": rename_snapshot, "DELETE": delete_snapshot},
    ("snapshots", "{id}", "restore"): {"POST": restore_snapshot},
}
"""Segments of the path below /v1, and what each method does there."""


def split_path(path: str) -> list[str]:
    """The decoded segments. Split first: an encoded slash belongs to an id, and not to the path."""
    return [unquote(segment) for segment in path.split("/")[1:]]


def find_route(request: Request) -> tuple[Route, str]:
    """The route and the path's id. Raises ApiError 404 or 405."""
    segments = split_path(request.path)
    pattern = tuple("{id}" if index == 1 and segments[0] != "auth" else each for index, each in enumerate(segments))
    methods = ROUTES.get(pattern)
    if methods is None or segments[1:2] == [""]:
        raise ApiError(404, "There is nothing at this path.")
    route = methods.get(request.method)
    if route is None:
        allowed = ", ".join(methods)
        raise ApiError(405, f"{request.method} is not supported here; {allowed} is.", headers={"allow": allowed})
    return route, segments[1] if "{id}" in pattern else ""


def answer(asked: Asked, route: Route, path_id: str) -> Response:
    if asked.request.method in ("GET", "DELETE"):
        refuse_body(asked.request)
    return route(replace(asked, id=path_id))
