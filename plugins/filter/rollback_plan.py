# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: rollback_plan
short_description: Decide which machines are restored to undo a run
version_added: 1.0.0
author:
  - The community.paperspace authors (@ansible-community)
description:
  - Decides from the snapshots that were found what the rollback of a run has to do, or why it must not begin.
  - A machine whose snapshot says that it was restored already is not restored again.
  - A machine with several snapshots of the run, or with none, keeps the whole rollback from beginning. So does one on
    which a newer run is open, since that would be undone too, and one that was restored already and has been in a newer
    run since, since it is not known to be as it was then.
options:
  _input:
    description:
      - The manual snapshots of all runs, as M(community.paperspace.paperspace_snapshot_info) returns them, each
        machine's newest first.
    type: list
    elements: dict
    required: true
  targets:
    description:
      - The hosts, each with C(host), its name in the inventory, and C(machine_id).
      - Those with C(is_imagined) are taken as if they had a snapshot, for C(--check).
    type: list
    elements: dict
    required: true
  run_id:
    description: The id of the run.
    type: str
    required: true
  prefix:
    description: What the snapshots' names begin with.
    type: str
    default: maint-
  skip_missing:
    description: Whether to go on without the hosts that have no snapshot of the run.
    type: bool
    default: false
  open_only:
    description:
      - Whether the run must not be closed as C(ok) for any host. When it is, this keeps the whole rollback from
        beginning. Otherwise such a host is restored as well.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Decide what to restore
  ansible.builtin.set_fact:
    plan: "{{ found.snapshots | community.paperspace.rollback_plan(targets, run_id) }}"
"""

RETURN = r"""
_value:
  description:
    - C(due), the snapshots to restore; C(done), those that were restored already; C(skipped), the names of the hosts
      that are left out; C(problems), sentences that say why nothing must be done.
  type: dict
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.community.paperspace.plugins.module_utils._names import (
    DEFAULT_PREFIX,
    RunName,
    parse_run_name,
    run_name,
)
from ansible_collections.community.paperspace.plugins.module_utils._reading import group


def rollback_plan(
    snapshots: Sequence[Mapping[str, Any]],
    targets: Sequence[Mapping[str, Any]],
    run_id: str,
    prefix: str = DEFAULT_PREFIX,
    skip_missing: bool = False,
    open_only: bool = False,
) -> dict[str, list[Any]]:
    """The plan: C(due) and C(done) are snapshots, C(skipped) are hosts, C(problems) are sentences."""
    plan: dict[str, list[Any]] = {"due": [], "done": [], "skipped": [], "problems": []}
    missing = []
    of_runs = [
        (snapshot, parsed) for snapshot in snapshots if (parsed := parse_run_name(snapshot["name"], prefix)) is not None
    ]
    by_machine = group(of_runs, lambda item: item[0]["machine_id"])
    for target in targets:
        of_machine = by_machine.get(target["machine_id"], [])
        found = [item for item in of_machine if item[1].run_id == run_id]
        if len(found) > 1:
            ids = ", ".join(str(snapshot["id"]) for snapshot, _name in found)
            plan["problems"].append(
                f"{target['host']} has several snapshots of this run: {ids}. Delete all but the one that is meant."
            )
        elif found:
            [(snapshot, name)] = found
            if open_only and name.outcome == "ok":
                plan["problems"].append(
                    f"Run {run_id} was closed for {target['host']} meanwhile, as {snapshot['name']}. Run the same "
                    "command again for the others. To undo a closed run, which destroys what has changed on disk "
                    f"since, use the playbook community.paperspace.rollback with rollback_run_id={run_id}."
                )
                continue
            plan["done" if name.outcome == "restored" else "due"].append(dict(snapshot))
            newer = [newer_name for _snapshot, newer_name in of_machine[: of_machine.index(found[0])]]
            plan["problems"].extend(_problems(str(target["host"]), str(snapshot["id"]), name, newer))
        elif not target.get("is_imagined"):
            missing.append(str(target["host"]))
    if missing and skip_missing:
        plan["skipped"] = missing
    elif missing:
        plan["problems"].append(
            f"There is no snapshot {run_name(prefix, run_id)} of: {', '.join(missing)}. No machine was rolled back. "
            "Leave these hosts out with --limit, or set rollback_skip_missing=true to go on without them."
        )
    elif plan["problems"]:
        plan["problems"].append("No machine was rolled back.")
    return plan


def _problems(host: str, snapshot_id: str, name: RunName, newer: Sequence[RunName]) -> Iterator[str]:
    """Why a machine must not be restored, or not be taken for restored. C(newer): of newer snapshots, newest first."""
    opened = [each.run_id for each in newer if not each.is_closed]
    if opened:
        yield (
            f"Run {opened[0]} is newer and open on {host} as well, and would be undone too. Roll back or keep that one "
            "first (recover), or leave this host out with --limit."
        )
    elif newer and name.outcome == "restored":
        yield (
            f"{host} was put back by this run before, and run {newer[0].run_id} has been on it since, so it may not be "
            f"as it was. Leave it out with --limit. To put it back once more, restore its snapshot {snapshot_id} with "
            "paperspace_snapshot."
        )


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"rollback_plan": rollback_plan}
