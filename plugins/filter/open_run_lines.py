# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: open_run_lines
short_description: Show open runs, and how to roll back or keep each, as lines of text
version_added: 1.0.0
author:
  - The community.paperspace authors (@ansible-community)
description:
  - Puts open runs into text that reads well as the message of M(ansible.builtin.debug), with the commands that resolve
    each.
options:
  _input:
    description: The runs, as P(community.paperspace.open_runs#filter) returns them.
    type: list
    elements: dict
    required: true
  inventory:
    description: The inventory sources for the commands.
    type: list
    elements: str
    default: []
  limit:
    description: The limit for the commands. Empty for none.
    type: str
    default: ""
  variables:
    description: More variables for the commands to set, by name.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Show the runs that are open
  ansible.builtin.debug:
    msg: "{{ open_runs | community.paperspace.open_run_lines(ansible_inventory_sources) }}"
"""

RETURN = r"""
_value:
  description: The lines. When no run is open they say so.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.community.paperspace.plugins.filter.outcome_table import outcome_table
from ansible_collections.community.paperspace.plugins.filter.recover_command import recover_command

_STATUS = {None: "open", "done": "proven"}


def open_run_lines(
    runs: Sequence[Mapping[str, Any]],
    inventory: Sequence[str] = (),
    limit: str = "",
    variables: Mapping[str, str] | None = None,
) -> list[str]:
    """The lines, with one block for each run."""
    if not runs:
        return ["No run is open on these machines."]
    lines = [f"{len(runs)} {'run is' if len(runs) == 1 else 'runs are'} open on these machines."]
    for run in runs:
        lines += [
            "",
            f"Run {run['run_id']}, begun {run['began']}",
            f"Snapshots named {run['name']}",
            *outcome_table([_row(machine) for machine in run["machines"]], seconds=False),
            "To put them back, which destroys what has changed on disk since:",
            "  " + recover_command(run["run_id"], "rollback", inventory, limit, variables),
            "To keep them as they are:",
            "  " + recover_command(run["run_id"], "keep", inventory, limit, variables),
        ]
    return lines


def _row(machine: Mapping[str, Any]) -> dict[str, Any]:
    proof, detail, newer = machine["proof"], machine["proof_detail"], machine["newer"]
    notes = [
        f"Its snapshot is not proven done: {detail}." if detail else "",
        f"Run {newer} is newer and open on it as well: roll back or keep that one first." if newer else "",
    ]
    return {
        "host": machine["host"],
        "machine_id": machine["machine_id"],
        "status": _STATUS.get(proof, proof),
        "id": machine["id"],
        "error": " ".join(filter(None, notes)),
    }


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"open_run_lines": open_run_lines}
