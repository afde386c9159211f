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
options:
  _input:
    description:
      - The entries. Each may have C(host), C(machine_id), C(status), C(id) and C(name) of the snapshot, C(seconds), and
        C(error).
    type: list
    elements: dict
    required: true
  snapshot:
    description: Whether the snapshots are shown by their ids or their names.
    type: str
    choices: [id, name]
    default: id
  width:
    description: How many characters a line may have. Long names of hosts are shortened inside for it.
    type: int
    default: 68
  seconds:
    description: Whether the column of the seconds is shown.
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

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.community.paperspace.plugins.plugin_utils._text import shorten_inside

# Columns that the names of hosts have in any case.
LEAST_HOST = 10


def outcome_table(
    entries: Sequence[Mapping[str, Any]], snapshot: str = "id", width: int = 68, seconds: bool = True
) -> list[str]:
    """The lines. Raises AnsibleFilterError when C(snapshot) names no way to show one."""
    if snapshot not in ("id", "name"):
        raise AnsibleFilterError(f"snapshot is id or name, not {snapshot!r}.")
    columns = {"HOST": "host", "MACHINE": "machine_id", "STATUS": "status", "SNAPSHOT": snapshot}
    if seconds:
        columns["SECONDS"] = "seconds"
    rows: list[tuple[str, ...]] = [tuple(columns)]
    rows.extend(tuple(_shown(entry.get(key)) for key in columns.values()) for entry in entries)
    rows = _narrowed(rows, width)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    errors = ["", *(str(entry.get("error") or "") for entry in entries)]
    for row, error, next_error in zip(rows, errors, [*errors[1:], ""], strict=True):
        cells = [cell.ljust(column) for cell, column in zip(row[:-1], widths[:-1], strict=True)]
        lines.append("  ".join([*cells, row[-1].rjust(widths[-1]) if seconds else row[-1]]))
        if error != next_error:
            lines.extend(_wrapped(error, width))
    return lines


def _narrowed(rows: Sequence[tuple[str, ...]], width: int) -> list[tuple[str, ...]]:
    """The rows with long hosts shortened, as far as that helps them to fit. Snapshots are told apart by their names."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    room = max(LEAST_HOST, width - sum(widths[1:]) - 2 * (len(widths) - 1))
    return [(shorten_inside(host, room), *rest) for host, *rest in rows]


def _wrapped(text: str, width: int) -> list[str]:
    indent = " " * 4
    return textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _shown(value: Any) -> str:
    if value is None or value == "":
        return "-"
    return f"{value:.1f}" if isinstance(value, float) else str(value)


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"outcome_table": outcome_table}
