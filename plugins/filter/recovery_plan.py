# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: recovery_plan
short_description: Decide what the recovery of an open run has to do for each machine
version_added: 1.0.0
author:
  - The community.paperspace authors (@ansible-community)
description:
  - Decides from the snapshots that were found which run is meant, and what is to be done for each host, or why nothing
    must be done.
  - Only machines with an open snapshot of the run are meant. The others are left alone.
  - A run is not rolled back on a machine on which a newer run is open, since that would undo the newer one as well. It
    can be kept.
options:
  _input:
    description:
      - The snapshots, each machine's newest first, as M(community.paperspace.paperspace_snapshot_info) returns them.
    type: list
    elements: dict
    required: true
  targets:
    description: The hosts, each with C(host), its name in the inventory, and C(machine_id).
    type: list
    elements: dict
    required: true
  action:
    description: What is to be done with the run.
    type: str
    choices: [rollback, keep]
    required: true
  run_id:
    description: The id of the run. When empty, the only one that is open.
    type: str
    default: ""
  prefix:
    description: What the snapshots' names begin with.
    type: str
    default: maint-
  proofs:
    description:
      - The snapshots again, with O(community.paperspace.paperspace_snapshot_info#module:proof). When not set, all are
        taken as proven.
      - One that has another name here than the open one of the run is not acted on. Only where the name says that the
        run was closed as O(action) closes it, its machine still is C(due).
    type: list
    elements: dict
"""

EXAMPLES = r"""
- name: Decide what to do
  ansible.builtin.set_fact:
    plan: "{{ found.snapshots | community.paperspace.recovery_plan(targets, 'rollback') }}"
"""

RETURN = r"""
_value:
  description:
    - C(run_id), the run that is meant, empty when none is open; C(problems), sentences that say why nothing must be
      done.
    - C(due), C(waiting), C(refused) and C(left), entries with C(host), C(machine_id), and C(id) of the snapshot. C(due)
      are to be rolled back or kept; the snapshots of C(waiting) are still being made; for C(refused) it cannot be done,
      with C(status) and C(error), which says why, and C(is_unusable) where the snapshot is good for nothing; C(left)
      have no open snapshot of the run.
  type: dict
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.community.paperspace.plugins.filter.open_runs import open_runs
from ansible_collections.community.paperspace.plugins.module_utils._names import (
    DEFAULT_PREFIX,
    parse_run_name,
    run_name,
)
from ansible_collections.community.paperspace.plugins.module_utils._reading import group

# What can be done with a run, and the outcome that closes it then.
ACTIONS = {"rollback": "restored", "keep": "ok"}


def recovery_plan(
    snapshots: Sequence[Mapping[str, Any]],
    targets: Sequence[Mapping[str, Any]],
    action: str,
    run_id: str = "",
    prefix: str = DEFAULT_PREFIX,
    proofs: Sequence[Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """The plan; its entries are in the order of the targets. Raises AnsibleFilterError for an unknown action."""
    if action not in ACTIONS:
        raise AnsibleFilterError(f"{action!r} is not an action of a recovery; it is one of {', '.join(ACTIONS)}.")
    plan: dict[str, Any] = {"run_id": run_id, "problems": [], "due": [], "waiting": [], "refused": [], "left": []}
    runs = open_runs(snapshots, targets, prefix)
    if not run_id and len(runs) > 1:
        plan["problems"].append(
            f"{len(runs)} runs are open on these machines; name the one that is meant with recover_run_id: "
            f"{_listed(runs)}."
        )
        return plan
    if not run_id:
        plan["run_id"] = runs[0]["run_id"] if runs else ""
    of_run = [item for item in snapshots if _is_of_run(item, plan["run_id"], prefix)]
    by_machine = group(of_run, lambda snapshot: snapshot["machine_id"])
    if run_id and not any(target["machine_id"] in by_machine for target in targets):
        others = f"Open on them: {_listed(runs)}." if runs else "No run is open on them."
        plan["problems"].append(f"None of these machines has a snapshot {run_name(prefix, run_id)}. {others}")
        return plan
    opened = group(
        (machine for run in runs if run["run_id"] == plan["run_id"] for machine in run["machines"]),
        lambda machine: machine["machine_id"],
    )
    proof_by_id = None if proofs is None else {item["id"]: item for item in proofs}
    for target in targets:
        machine_id = target["machine_id"]
        found = by_machine.get(machine_id, [])
        entry = {"host": target["host"], "machine_id": machine_id, "id": found[0]["id"] if found else None}
        if machine_id not in opened:
            plan["left"].append(entry)
            continue
        problem = next(_problems(action, found, opened[machine_id]), "")
        if problem:
            plan["refused"].append({**entry, "status": "open", "error": problem, "is_unusable": False})
            continue
        where, more = _judged(entry["id"], proof_by_id, action, run_name(prefix, plan["run_id"]))
        plan[where].append({**entry, **more})
    return plan


def _problems(action: str, found: Sequence[Mapping[str, Any]], opened: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Why the names alone forbid it for a machine."""
    if len(found) > 1:
        ids = ", ".join(str(snapshot["id"]) for snapshot in found)
        yield (
            f"It has several snapshots of this run: {ids}. Nothing was done to it. "
            "Delete all but the one that is meant, by their ids."
        )
    newer = opened[0]["newer"]
    if action == "rollback" and newer:
        yield (
            f"Run {newer} is newer and open on it as well, and would be undone too. Nothing was done to it. "
            "Roll back or keep that one first."
        )


def _judged(
    snapshot_id: str, proofs: Mapping[str, Mapping[str, Any]] | None, action: str, open_name: str
) -> tuple[str, dict[str, Any]]:
    """To which part of the plan a machine belongs by its snapshot's proof, and what more to say of it."""
    if proofs is None:
        return "due", {}
    proof = proofs.get(snapshot_id)
    if proof is None:
        error = f"Its snapshot {snapshot_id} was deleted or renamed by somebody else meanwhile."
        return "refused", {"status": "failed", "error": error, "is_unusable": False}
    # What was closed meanwhile as it is to be, whatever closes it leaves as it is.
    if proof["name"] not in (open_name, f"{open_name}-{ACTIONS[action]}"):
        error = (
            f"Its snapshot {snapshot_id} is named {proof['name']} now: the run is not open for it any more. "
            "Nothing was done to it. To undo a closed run, which destroys what has changed on disk since, use the "
            "playbook community.paperspace.rollback."
        )
        return "refused", {"status": "failed", "error": error, "is_unusable": False}
    state, detail = proof["proof"], proof["proof_detail"]
    if state == "done":
        return "due", {}
    if state == "running":
        return "waiting", {"detail": detail}
    if state == "failed":
        error = (
            f"Its snapshot {snapshot_id} is not usable: {detail}. A guarded run does not touch a machine without a "
            "proven snapshot, so there is nothing to undo; nothing was restored. The run is closed for it when this "
            "snapshot is deleted."
        )
        return "refused", {"status": "failed", "error": error, "is_unusable": True}
    error = (
        f"Its snapshot {snapshot_id} is not proven done: {detail}. Nothing was done to the machine. Look at it in "
        "the Paperspace console, and restore it there if it is good. The run is closed for it when this snapshot is "
        "deleted."
    )
    return "refused", {"status": "unsure", "error": error, "is_unusable": False}


def _is_of_run(snapshot: Mapping[str, Any], run_id: str, prefix: str) -> bool:
    name = parse_run_name(snapshot["name"], prefix)
    return name is not None and name.run_id == run_id


def _listed(runs: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(
        f"{run['run_id']} ({len(run['machines'])} machine{'s' if len(run['machines']) != 1 else ''})" for run in runs
    )


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"recovery_plan": recovery_plan}
