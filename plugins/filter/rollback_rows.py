# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: rollback_rows
short_description: Say what became of each host in the rollback of a run
version_added: 1.0.0
author:
  - The community.paperspace authors (@ansible-community)
description:
  - Judges by what the tasks of a rollback have returned. A host has come through only when its C(error) is empty.
  - Gives the entries of all hosts at once, so that a large fleet takes no longer for each host than a small one.
options:
  _input:
    description:
      - The hosts, each with C(host), its name in the inventory, and C(machine_id).
      - Those with C(is_imagined) are taken as if they had a snapshot, for C(--check).
    type: list
    elements: dict
    required: true
  plan:
    description: The plan, as P(community.paperspace.rollback_plan#filter) returns it.
    type: dict
    required: true
  problems:
    description: Sentences that say why nothing was done.
    type: list
    elements: str
    required: true
  restores:
    description: What the task that restores the machines has registered.
    type: dict
    required: true
  renames:
    description: What the loop that renames the snapshots has registered.
    type: dict
    required: true
  starts:
    description: What the task that starts the machines has registered.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show what became of each host
  ansible.builtin.debug:
    msg: "{{ rows.values() | community.paperspace.outcome_table }}"
  vars:
    rows: "{{ targets | community.paperspace.rollback_rows(plan, [], restores, renames, starts) }}"
"""

RETURN = r"""
_value:
  description:
    - By the name of the host, C(host), C(machine_id), C(status), C(id) of the snapshot, C(seconds) and C(error).
    - C(status) is what M(community.paperspace.paperspace_snapshot) says of the restore, or else V(unchanged) where the
      machine was restored before, V(skipped) where it has no snapshot, and V(failed) where nothing was reported of it.
  type: dict
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

RESTORED = ("restored", "would_restore")
RENAMED = ("renamed", "unchanged", "would_rename")


def rollback_rows(
    targets: Sequence[Mapping[str, Any]],
    plan: Mapping[str, Sequence[Any]],
    problems: Sequence[str],
    restores: Mapping[str, Any],
    renames: Mapping[str, Any],
    starts: Mapping[str, Any],
) -> dict[str, dict[str, Any]]:
    """The entries by host."""
    skipped = frozenset(plan["skipped"])
    done = _by_machine(plan["done"])
    planned = {**_by_machine(plan["due"]), **done}
    restored = _by_machine(restores.get("snapshots", []))
    looped = renames.get("results", [])
    renamed = _by_machine(entry for result in looped for entry in result.get("snapshots", []))
    started = _by_machine(starts.get("machines", []))
    # What is said of a machine of which nothing is reported.
    no_restore = restores.get("msg") or "Nothing was reported of it."
    no_rename = " ".join(result["msg"] for result in looped if result.get("msg"))
    no_start = "" if starts.get("skipped") or "machines" in starts else starts.get("msg")

    rows = {}
    for target in targets:
        host, machine_id = target["host"], str(target["machine_id"])
        restore, rename, start = (entries.get(machine_id, {}) for entries in (restored, renamed, started))
        if problems:
            status = "failed"
        elif host in skipped:
            status = "skipped"
        elif target.get("is_imagined"):
            status = "would_restore"
        else:
            status = "unchanged" if machine_id in done else restore.get("status", "failed")
        errors = list(problems)
        if not problems and status not in (*RESTORED, "unchanged", "skipped"):
            errors.append(restore.get("error") or no_restore)
        if restore.get("status") in RESTORED and rename.get("status") not in RENAMED:
            errors.append(
                "It is restored, but its snapshot still has the name of an open run, so that a further rollback would "
                f"restore it again: {rename.get('error') or no_rename}"
            )
        if status in ("restored", "unchanged"):
            errors.append(start.get("error") or no_start or "")
        rows[host] = {
            "host": host,
            "machine_id": target["machine_id"],
            "status": status,
            "id": planned.get(machine_id, {}).get("id"),
            "seconds": restore.get("seconds"),
            "error": " ".join(filter(None, errors)),
        }
    return rows


def _by_machine(entries: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    return {entry["machine_id"]: entry for entry in entries}


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"rollback_rows": rollback_rows}
