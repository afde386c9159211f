# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: target_problems
short_description: Say what keeps a role from acting on its hosts
version_added: 1.0.0
author:
  - The community.paperspace authors (@ansible-community)
description:
  - Finds the hosts that have no machine id, and those that have the id of another one, and says so in sentences.
  - What is done to machines by the inventory's word goes wrong in either case, so the roles refuse to start.
  - With O(run_id), says as well when that is no run id.
options:
  _input:
    description: The hosts, each with C(host), its name in the inventory, and C(machine_id).
    type: list
    elements: dict
    required: true
  run_id:
    description: The id of the run that the hosts are part of.
    type: str
"""

EXAMPLES = r"""
- name: Refuse an inventory that names a machine twice
  ansible.builtin.assert:
    that: not problems
    fail_msg: "{{ problems | join(' ') }}"
  vars:
    problems: "{{ targets | community.paperspace.target_problems }}"
"""

RETURN = r"""
_value:
  description: The sentences. Empty when nothing is wrong.
  type: list
  elements: str
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.community.paperspace.plugins.module_utils._names import is_run_id
from ansible_collections.community.paperspace.plugins.module_utils._reading import group


def target_problems(targets: Sequence[Mapping[str, Any]], run_id: str | None = None) -> list[str]:
    """Sentences about hosts without a machine id, about hosts that share one, and about what is no run id."""
    without = [str(target["host"]) for target in targets if not target["machine_id"]]
    known = [target for target in targets if target["machine_id"]]
    problems = []
    if run_id is not None and not is_run_id(str(run_id)):
        problems.append(f"{str(run_id)!r} is not a run id; one looks like 20260131T235959Z-1a2b.")
    if without:
        problems.append(f"No machine id (paperspace_id) is known of: {', '.join(without)}.")
    problems.extend(
        f"Machine {machine_id} is claimed by several hosts: {', '.join(str(target['host']) for target in sharing)}."
        for machine_id, sharing in group(known, lambda target: str(target["machine_id"])).items()
        if len(sharing) > 1
    )
    return problems


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"target_problems": target_problems}
