# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: rows_by_host
short_description: Sort the entries of a result by the hosts of their machines
version_added: 1.0.0
author:
  - The community.paperspace authors (@ansible-community)
description:
  - Gives each host its entries of a result, like those of M(community.paperspace.paperspace_snapshot).
  - Goes through a result once for all hosts, so that a large fleet takes no longer for each host than a small one.
options:
  _input:
    description: The entries, each with C(machine_id).
    type: list
    elements: dict
    required: true
  targets:
    description: The hosts, each with C(host), its name in the inventory, and C(machine_id).
    type: list
    elements: dict
    required: true
  missing:
    description: The entry of a host of whose machine there is none, without C(host) and C(machine_id).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Sort the snapshots by host
  ansible.builtin.set_fact:
    rows: "{{ taken.snapshots | community.paperspace.rows_by_host(targets, {'status': 'failed'}) }}"
"""

RETURN = r"""
_value:
  description: By the name of the host, the list of its entries in their order, each with C(host).
  type: dict
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.community.paperspace.plugins.module_utils._reading import group


def rows_by_host(
    entries: Sequence[Mapping[str, Any]], targets: Sequence[Mapping[str, Any]], missing: Mapping[str, Any]
) -> dict[str, list[dict[str, Any]]]:
    """The entries by host, at least one for each."""
    by_machine = group(entries, lambda entry: entry["machine_id"])
    rows = {}
    for target in targets:
        host, machine_id = target["host"], target["machine_id"]
        found = by_machine.get(str(machine_id)) or [{**missing, "machine_id": machine_id}]
        rows[host] = [{**entry, "host": host} for entry in found]
    return rows


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"rows_by_host": rows_by_host}
