# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the info modules show of snapshots and machines, and how they choose."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible_collections.community.paperspace.plugins.module_utils._client import Client, checked_id
from ansible_collections.community.paperspace.plugins.module_utils._errors import InputError
from ansible_collections.community.paperspace.plugins.module_utils._names import parse_run_name
from ansible_collections.community.paperspace.plugins.module_utils._proof import Proof, State
from ansible_collections.community.paperspace.plugins.module_utils._proving import read_proofs
from ansible_collections.community.paperspace.plugins.module_utils._reading import Reader, each_once, group
from ansible_collections.community.paperspace.plugins.module_utils._wire import Machine, Snapshot


def snapshot_result(snapshot: Snapshot, proof: Proof | None = None) -> dict[str, Any]:
    """A snapshot as the modules return it. C(run_state) is open, ok or restored; None where no run named it."""
    run = parse_run_name(snapshot.name)
    proven = (
        {}
        if proof is None
        else {
            "proof": proof.state.value,
            "proof_detail": None if proof.state is State.DONE else proof.describe(),
        }
    )
    return {
        "id": snapshot.id,
        "name": snapshot.name,
        "machine_id": snapshot.machine_id,
        "is_auto_snapshot": snapshot.is_auto_snapshot,
        "run_id": run.run_id if run else None,
        "run_state": (run.outcome or "open") if run else None,
        **proven,
    }


def find_snapshots(
    client: Client,
    *,
    machine_ids: Sequence[str] | None,
    snapshot_ids: Sequence[str] | None,
    name: str | None,
    name_prefix: str | None,
    auto: bool | None,
    proof: bool = False,
) -> dict[str, Any]:
    """The snapshots that match, newest first (of several machines: machine by machine), as a module's result.

    C(proof): with whether each is proven done. Then one that is gone by the time this is looked up is left out.
    """
    for some_id in [*(machine_ids or ()), *(snapshot_ids or ())]:
        checked_id(some_id)
    if (machine_ids is not None and not machine_ids) or (snapshot_ids is not None and not snapshot_ids):
        raise InputError("machine_ids and snapshot_ids must not be empty lists; leave them out for the whole team.")
    client.check_key()
    with ThreadPoolExecutor(max_workers=client.connection.concurrency) as pool:
        reader = Reader(client, pool)
        found, warnings = _listed(client, reader, machine_ids, snapshot_ids)
        of_machines = set(machine_ids or ())
        chosen = [
            snapshot
            for snapshot in found
            if (machine_ids is None or snapshot.machine_id in of_machines)
            and (name is None or snapshot.name == name)
            and (name_prefix is None or snapshot.name.startswith(name_prefix))
            and (auto is None or snapshot.is_auto_snapshot == auto)
        ]
        if proof:
            # Proofs need all snapshots of a machine.
            is_whole = snapshot_ids is None
            snapshots = _with_proofs(client, reader, chosen, found if is_whole else None)
        else:
            snapshots = [snapshot_result(snapshot) for snapshot in chosen]
    return {"changed": False, "snapshots": snapshots, "warnings": warnings}


def _with_proofs(
    client: Client, reader: Reader, chosen: Sequence[Snapshot], found: Sequence[Snapshot] | None
) -> list[dict[str, Any]]:
    """The chosen snapshots with their proofs. C(found): all snapshots of their machines, if they are read already."""
    if not chosen:
        return []
    machine_ids = list({snapshot.machine_id: None for snapshot in chosen})
    listing = reader.snapshots(machine_ids) if found is None else group(found, lambda snapshot: snapshot.machine_id)
    there = {snapshot.id for snapshots in listing.values() for snapshot in snapshots}
    chosen = [snapshot for snapshot in chosen if snapshot.id in there]
    proofs = read_proofs(client, reader, listing, chosen)
    return [snapshot_result(snapshot, proofs[snapshot.id]) for snapshot in chosen]


def _listed(
    client: Client, reader: Reader, machine_ids: Sequence[str] | None, snapshot_ids: Sequence[str] | None
) -> tuple[list[Snapshot], list[str]]:
    if snapshot_ids is not None:
        unique, repeated = each_once(snapshot_ids, "snapshot_ids")
        by_id = reader.snapshots_by_id(unique)
        return list(by_id.values()), repeated + _missing("snapshot", unique, by_id)
    if machine_ids is not None:
        unique, repeated = each_once(machine_ids, "machine_ids")
        reader.read_ahead(unique)
        machines = reader.machines(unique)
        by_machine = reader.snapshots(list(machines)) if machines else {}
        snapshots = [item for found in by_machine.values() for item in found]
        return snapshots, repeated + _missing("machine", unique, machines)
    pages = client.snapshot_pages()
    return list({snapshot.id: snapshot for page in pages for snapshot in page}.values()), []


def find_machines(
    client: Client,
    *,
    machine_ids: Sequence[str] | None,
    name: str | None,
    region: str | None,
    machine_type: str | None,
    state: str | None,
) -> dict[str, Any]:
    """The machines that match, newest first or in the order of C(machine_ids), as a module's result."""
    for machine_id in machine_ids or ():
        checked_id(machine_id)
    if machine_ids is not None and not machine_ids:
        raise InputError("machine_ids must not be an empty list; leave it out for the whole team.")
    client.check_key()
    warnings: list[str] = []
    if machine_ids is None:
        # The service narrows; what it narrows by is not exact, so everything is checked again.
        asked = {"name": name, "machineType": machine_type}
        pages = client.machine_pages(**{key: value for key, value in asked.items() if value is not None})
        found = list({machine.id: machine for page in pages for machine in page}.values())
    else:
        unique, repeated = each_once(machine_ids, "machine_ids")
        with ThreadPoolExecutor(max_workers=client.connection.concurrency) as pool:
            by_id = Reader(client, pool).machines(unique)
        found, warnings = list(by_id.values()), repeated + _missing("machine", unique, by_id)
    chosen = [
        machine
        for machine in found
        if (name is None or machine.name == name)
        and (region is None or is_in_region(machine, region))
        and (machine_type is None or machine.fields.get("machine_type") == machine_type)
        and (state is None or machine.state == state)
    ]
    return {"changed": False, "machines": [machine.fields for machine in chosen], "warnings": warnings}


def is_in_region(machine: Machine, region: str) -> bool:
    """Whether the machine is in the region, named as C(ny2) or as the service shows it, C(East Coast (NY2))."""
    shown = str(machine.fields.get("region", "")).casefold()
    wanted = region.strip().casefold()
    return shown == wanted or shown.endswith(f"({wanted})")


def _missing(what: str, asked: Iterable[str], found: dict[str, Any]) -> list[str]:
    missing = [some_id for some_id in asked if some_id not in found]
    return [f"There is no {what} with the id {', '.join(missing)}; left out."] if missing else []
