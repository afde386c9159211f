# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: open_runs
short_description: Find the runs that are still open, from the names of snapshots
version_added: 1.0.0
author:
  - The community.paperspace authors (@ansible-community)
description:
  - A run is open for a machine as long as its snapshot has the prefix and the run id as its name, with no outcome after
    it. So open runs can be found on any controller, whatever became of the one that began them.
options:
  _input:
    description:
      - The snapshots, each machine's newest first, as M(community.paperspace.paperspace_snapshot_info) returns them,
        with or without its option O(community.paperspace.paperspace_snapshot_info#module:proof).
    type: list
    elements: dict
    required: true
  targets:
    description:
      - The hosts, each with C(host), its name in the inventory, and C(machine_id). Snapshots of other machines do not
        count.
    type: list
    elements: dict
    required: true
  prefix:
    description: What the snapshots' names begin with.
    type: str
    default: maint-
"""

EXAMPLES = r"""
- name: Find the runs that are open
  ansible.builtin.set_fact:
    open_runs: "{{ found.snapshots | community.paperspace.open_runs(targets) }}"
"""

RETURN = r"""
_value:
  description:
    - The runs, newest first, each with C(run_id), C(began), the time in its id, C(name), its snapshots' name, and
      C(machines).
    - Each of C(machines) has C(host), C(machine_id), C(id) of the snapshot, C(proof) and C(proof_detail) if they are
      known, and C(newer), the id of the newest other run that is open on the machine and began after this one, or
      V(null).
  type: list
  elements: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.community.paperspace.plugins.module_utils._names import DEFAULT_PREFIX, parse_run_name
from ansible_collections.community.paperspace.plugins.module_utils._reading import group


def open_runs(
    snapshots: Sequence[Mapping[str, Any]], targets: Sequence[Mapping[str, Any]], prefix: str = DEFAULT_PREFIX
) -> list[dict[str, Any]]:
    """The open runs, newest first, each with its machines in the order of the targets."""
    by_machine = group(snapshots, lambda snapshot: snapshot["machine_id"])
    runs: dict[str, dict[str, Any]] = {}
    for target in targets:
        newest: str | None = None
        for snapshot in by_machine.get(target["machine_id"], []):
            name = parse_run_name(snapshot["name"], prefix)
            if name is None or name.is_closed or snapshot.get("is_auto_snapshot"):
                continue
            newest = newest or name.run_id
            run = runs.setdefault(
                name.run_id,
                {
                    "run_id": name.run_id,
                    "began": f"{name.began:%Y-%m-%d %H:%M:%S} UTC",
                    "name": snapshot["name"],
                    "machines": [],
                },
            )
            run["machines"].append(
                {
                    "host": target["host"],
                    "machine_id": target["machine_id"],
                    "id": snapshot["id"],
                    "proof": snapshot.get("proof"),
                    "proof_detail": snapshot.get("proof_detail"),
                    "newer": None if newest == name.run_id else newest,
                }
            )
    return sorted(runs.values(), key=lambda run: str(run["run_id"]), reverse=True)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"open_runs": open_runs}
