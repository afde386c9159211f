# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: recover_command
short_description: Make the command that lists, rolls back or keeps an open run
version_added: 1.0.0
author:
  - The community.paperspace authors (@ansible-community)
description:
  - Makes the command line of the playbook C(community.paperspace.recover) for a run, ready to be put into a shell.
options:
  _input:
    description: The run id.
    type: str
    required: true
  action:
    description: What to do with the run.
    type: str
    choices: [list, rollback, keep]
    required: true
  inventory:
    description: The inventory sources, as in the variable C(ansible_inventory_sources).
    type: list
    elements: str
    default: []
  limit:
    description: The limit, as in the variable C(ansible_limit). Empty for none.
    type: str
    default: ""
  variables:
    description: More variables to set, by name.
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Say how to undo a run
  ansible.builtin.debug:
    msg: "{{ run_id | community.paperspace.recover_command('rollback', ansible_inventory_sources) }}"
"""

RETURN = r"""
_value:
  description: The command, in one line.
  type: str
  sample: >-
    ansible-playbook community.paperspace.recover -i my.paperspace.yml -e recover_run_id=20260131T235959Z-1a2b
    -e recover_action=rollback
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.community.paperspace.plugins.plugin_utils._recover_command import recover_command_line

ACTIONS = ("list", "rollback", "keep")


def recover_command(
    run_id: str,
    action: str,
    inventory: Sequence[str] = (),
    limit: str = "",
    variables: Mapping[str, str] | None = None,
) -> str:
    """The command. Raises AnsibleFilterError for an unknown action."""
    if action not in ACTIONS:
        raise AnsibleFilterError(f"{action!r} is not an action of recover; it is one of {', '.join(ACTIONS)}.")
    return recover_command_line(run_id, action, inventory, limit, variables or {})


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"recover_command": recover_command}
