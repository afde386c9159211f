# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: run_name
short_description: Name the snapshots of a run
version_added: 1.0.0
author:
  - The community.paperspace authors (@ansible-community)
description:
  - Makes the name that the snapshots of a run have, from the run's id.
  - While the run is open for a machine, the name is the prefix and the run id. When it is closed, its outcome follows.
options:
  _input:
    description: The run id.
    type: str
    required: true
  prefix:
    description: What the name begins with.
    type: str
    default: maint-
  outcome:
    description: How the run ended for the machine. Not set while the run is open.
    type: str
    choices: [ok, restored]
seealso:
  - plugin: community.paperspace.new_run_id
    plugin_type: lookup
"""

EXAMPLES = r"""
- name: Take the snapshots of a run
  community.paperspace.paperspace_snapshot:
    machine_ids: "{{ machine_ids }}"
    name: "{{ run_id | community.paperspace.run_name }}"

- name: Close the run
  community.paperspace.paperspace_snapshot:
    machine_ids: "{{ machine_ids }}"
    name: "{{ run_id | community.paperspace.run_name }}"
    new_name: "{{ run_id | community.paperspace.run_name(outcome='ok') }}"
"""

RETURN = r"""
_value:
  description: The name.
  type: str
  sample: maint-20260131T235959Z-1a2b-ok
"""

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.community.paperspace.plugins.module_utils._names import DEFAULT_PREFIX
from ansible_collections.community.paperspace.plugins.module_utils._names import run_name as name_of_run


def run_name(run_id: Any, prefix: str = DEFAULT_PREFIX, outcome: str | None = None) -> str:
    """The name. Raises AnsibleFilterError for what is no run id or outcome."""
    if not isinstance(run_id, str):
        raise AnsibleFilterError(f"A run id is a string, not {run_id!r}.")
    try:
        return name_of_run(prefix, run_id, outcome)
    except ValueError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"run_name": run_name}
