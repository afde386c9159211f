# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: outcome_table
short_description: Show what became of each machine as lines of text
version_added: 1.0.0
author:
  - The community.paperspace authors (@ansible-community)
description:
  - Puts entries of a result, like those of M(community.paperspace.paperspace_snapshot), into a table that reads well as
    the message of M(ansible.builtin.debug).
  - What went wrong stands under the machine's line; what is the same for several in a row stands there once.
  - No line is wider than O(width). Long names of hosts are shortened inside for it, and then, as far as it has to be,
    the other columns.
options:
  _input:
    description:
      - The entries. Each may have C(host), C(machine_id), C(status), C(id) and C(name) of the snapshot, C(seconds), and
        C(error).
    type: list
    elements: dict
    required: true
  snapshot:
    description:
      - Whether the snapshots are shown by their ids or their names.
      - Names take much of a line, so that with them the machines' ids and the seconds are left out.
    type: str
    choices: [id, name]
    default: id
  width:
    description:
      - How many columns of the terminal a line may take; wide characters take two.
      - With the default lines are no wider than 80 columns as M(ansible.builtin.debug) shows them.
    type: int
    default: 69
  seconds:
    description: Whether the column of the seconds is shown where O(snapshot=id).
    type: bool
    default: true
"""

EXAMPLES = r"""
- name: Show what became of the snapshots
  ansible.builtin.debug:
    msg: "{{ taken.snapshots | community.paperspace.outcome_table }}"
"""

RETURN = r"""
_value:
  description: The lines, the first of which names the columns.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.community.paperspace.plugins.plugin_utils._text import (
    WIDTH_IN_DEBUG,
    one_line,
    table_in_debug,
)

COLUMNS = {
    "id": {"HOST": "host", "MACHINE": "machine_id", "STATUS": "status", "SNAPSHOT": "id", "SECONDS": "seconds"},
    "name": {"HOST": "host", "STATUS": "status", "SNAPSHOT": "name"},
}
# The columns to shorten, in this order, and what is left of each in any case.
LEAST = {"HOST": 10, "SNAPSHOT": 12, "MACHINE": 7, "STATUS": 6}


def outcome_table(
    entries: Sequence[Mapping[str, Any]], snapshot: str = "id", width: int = WIDTH_IN_DEBUG, seconds: bool = True
) -> list[str]:
    """The lines. Raises AnsibleFilterError when C(snapshot) names no way to show one."""
    if snapshot not in COLUMNS:
        raise AnsibleFilterError(f"snapshot is id or name, not {snapshot!r}.")
    columns = {head: key for head, key in COLUMNS[snapshot].items() if seconds or key != "seconds"}
    heads = list(columns)
    rows = [
        ([_shown(entry.get(key)) for key in columns.values()], [str(entry.get("error") or "")]) for entry in entries
    ]
    if "SECONDS" in columns:
        lines = [heads, *(cells for cells, errors in rows)]
        digits = max(len(cells[-1]) for cells in lines)
        for cells in lines:
            cells[-1] = cells[-1].rjust(digits)
    least = {heads.index(head): fewest for head, fewest in LEAST.items() if head in columns}
    return table_in_debug(heads, rows, width, least)


def _shown(value: Any) -> str:
    return f"{value:.1f}" if isinstance(value, float) else one_line("" if value is None else str(value)) or "-"


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"outcome_table": outcome_table}
