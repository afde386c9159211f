# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: recovery_rows
short_description: Say what became of each machine in the recovery of a run
version_added: 1.0.0
author:
  - The community.paperspace authors (@ansible-community)
description:
  - Judges by the names that the snapshots have afterwards. A machine has come through only when its name says so, and
    nothing went wrong with it on the way.
options:
  _input:
    description: The plan, as P(community.paperspace.recovery_plan#filter) returns it.
    type: dict
    required: true
  targets:
    description: The hosts, each with C(host), its name in the inventory, and C(machine_id).
    type: list
    elements: dict
    required: true
  action:
    description: What was done with the run.
    type: str
    choices: [rollback, keep]
    required: true
  snapshots:
    description:
      - The snapshots as M(community.paperspace.paperspace_snapshot_info) found them afterwards. V(null) when they could
        not be listed, or nothing was to be done.
    type: list
    elements: dict
  failures:
    description: What went wrong, by the name of the host. Empty where nothing did.
    type: dict
    default: {}
  prefix:
    description: What the snapshots' names begin with.
    type: str
    default: maint-
  is_check:
    description: Whether nothing was changed, but only shown.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Show what became of each machine
  ansible.builtin.debug:
    msg: "{{ rows | community.paperspace.outcome_table }}"
  vars:
    rows: "{{ plan | community.paperspace.recovery_rows(targets, 'rollback', found.snapshots) }}"
"""

RETURN = r"""
_value:
  description:
    - One entry for each host, in the order of O(targets), with C(host), C(machine_id), C(id) of the snapshot,
      C(status), C(error), and C(is_bad), which says whether the run is not (known to be) closed as asked.
    - C(status) is V(restored), V(kept), V(would_restore), V(would_keep), or V(skipped) where nothing was open; or
      else V(open) where the run still is open, V(failed) where the snapshot is not usable or not what it was, V(unsure)
      where this is not known, V(timed_out) where the snapshot is still being made.
  type: list
  elements: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.community.paperspace.plugins.module_utils._names import DEFAULT_PREFIX, parse_run_name

# What to do with a run: the outcome that closes it, what is said of it, and in check mode.
_WORDS = {"rollback": ("restored", "restored", "would_restore"), "keep": ("ok", "kept", "would_keep")}


def recovery_rows(
    plan: Mapping[str, Any],
    targets: Sequence[Mapping[str, Any]],
    action: str,
    snapshots: Sequence[Mapping[str, Any]] | None = None,
    failures: Mapping[str, str] | None = None,
    prefix: str = DEFAULT_PREFIX,
    is_check: bool = False,
) -> list[dict[str, Any]]:
    """The entries. Raises AnsibleFilterError for an unknown action."""
    if action not in _WORDS:
        raise AnsibleFilterError(f"{action!r} is not an action of a recovery; it is one of {', '.join(_WORDS)}.")
    outcome, past, future = _WORDS[action]
    outcomes = None if snapshots is None else _outcomes(snapshots, plan["run_id"], prefix)
    rows = [_row(entry, "skipped") for entry in plan["left"]]
    rows += [_row(entry, entry["status"], entry["error"], is_bad=True) for entry in plan["refused"]]
    for entry in plan["waiting"]:
        if is_check:
            rows.append(_row(entry, future, f"First this would be waited for: {entry['detail']}."))
        else:
            error = f"Its snapshot did not become ready in time: {entry['detail']}. Run the same command again."
            rows.append(_row(entry, "timed_out", error, is_bad=True))
    for entry in plan["due"]:
        failure = (failures or {}).get(entry["host"], "")
        if is_check:
            rows.append(_row(entry, "failed" if failure else future, failure, is_bad=bool(failure)))
        elif outcomes is None:
            rows.append(_row(entry, "unsure", f"{failure} {_UNREAD}".strip(), is_bad=True))
        elif outcomes.get(entry["id"]) == outcome:
            rows.append(_row(entry, past, failure, is_bad=bool(failure)))
        else:
            status = "open" if outcomes.get(entry["id"]) == "open" else "failed"
            rows.append(_row(entry, status, failure or _odd(entry, outcomes), is_bad=True))
    order = {target["host"]: number for number, target in enumerate(targets)}
    return sorted(rows, key=lambda row: order[row["host"]])


_UNREAD = "What its snapshot is named now could not be read."


def _odd(entry: Mapping[str, Any], outcomes: Mapping[str, str]) -> str:
    """What to say where nothing failed, and the snapshot is not named as it should be."""
    found = outcomes.get(entry["id"])
    if found is None:
        return f"Its snapshot {entry['id']} is not there any more: somebody else deleted or renamed it."
    return (
        f"The run is still {found} for it." if found == "open" else f"Somebody else closed the run for it as {found}."
    )


def _outcomes(snapshots: Sequence[Mapping[str, Any]], run_id: str, prefix: str) -> dict[str, str]:
    """How the run stands, by the ids of its snapshots: open, ok or restored."""
    named = ((item["id"], parse_run_name(item["name"], prefix)) for item in snapshots)
    return {key: name.outcome or "open" for key, name in named if name is not None and name.run_id == run_id}


def _row(entry: Mapping[str, Any], status: str, error: str = "", *, is_bad: bool = False) -> dict[str, Any]:
    return {
        "host": entry["host"],
        "machine_id": entry["machine_id"],
        "id": entry["id"],
        "status": status,
        "error": error,
        "is_bad": is_bad,
    }


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"recovery_rows": recovery_rows}
