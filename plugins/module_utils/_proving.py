# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the proofs of a fleet's snapshots, with as few events as possible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from ansible_collections.community.paperspace.plugins.module_utils._client import Client
from ansible_collections.community.paperspace.plugins.module_utils._proof import (
    Proof,
    State,
    is_proven_by_name,
    needs_events_since,
    prove,
)
from ansible_collections.community.paperspace.plugins.module_utils._reading import Reader
from ansible_collections.community.paperspace.plugins.module_utils._wire import Snapshot


def read_proofs(
    client: Client,
    reader: Reader,
    listing: Mapping[str, Sequence[Snapshot]],
    selected: Sequence[Snapshot],
    *,
    patient: bool = True,
    strict: bool = False,
) -> dict[str, Proof]:
    """The proofs of the selected snapshots, by id. Raises what the client raises.

    C(listing) has all snapshots of their machines, newest first. For those whose event may not be seen yet it waits
    once, if C(patient), for as long as an event may take to show. One that is gone by then is UNSURE. C(strict): see
    L(prove).
    """

    def proven(
        snapshots: Sequence[Snapshot],
        since: datetime | None,
        listed: Mapping[str, Sequence[Snapshot]],
        *,
        is_late: bool = False,
    ) -> dict[str, Proof]:
        if not snapshots:
            return {}
        events = reader.events(list({snapshot.machine_id: None for snapshot in snapshots}), since)
        return {
            snapshot.id: prove(
                snapshot,
                listed[snapshot.machine_id],
                events[snapshot.machine_id].items,
                is_whole=since is None,
                is_late=is_late,
                is_cut_off=events[snapshot.machine_id].is_cut_off,
                is_strict=strict,
            )
            for snapshot in snapshots
        }

    proofs = {snapshot.id: Proof(State.DONE) for snapshot in selected if is_proven_by_name(snapshot)}
    rest = [snapshot for snapshot in selected if snapshot.id not in proofs]
    bounds = [needs_events_since(snapshot) for snapshot in rest]
    since = None if None in bounds else min((bound for bound in bounds if bound), default=None)
    proofs.update(proven(rest, since, listing))
    if since is not None:
        proofs.update(proven([item for item in rest if proofs[item.id].state is State.UNSURE], None, listing))
    early = [item for item in rest if proofs[item.id].is_early]
    if early and patient:
        client.sleep(client.connection.request_timeout)
        # Events of what was made meanwhile are not to be taken for those of what was there.
        now = reader.listed_again(list({snapshot.machine_id: None for snapshot in early}))
        there = {item.id for items in now.values() for item in items}
        proofs.update({item.id: Proof(State.UNSURE) for item in early if item.id not in there})
        proofs.update(proven([item for item in early if item.id in there], None, now, is_late=True))
    return proofs
