#!/usr/bin/python

# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: paperspace_machine
short_description: Start, stop and restart Paperspace machines, and set their auto-snapshots
version_added: 1.0.0
description:
  - Brings a whole fleet of Paperspace machines into a state, in one task, and waits until each has settled there.
author:
  - The community.paperspace authors (@ansible-community)
extends_documentation_fragment:
  - community.paperspace.attributes
  - community.paperspace.attributes.actiongroup_paperspace
  - community.paperspace.attributes.in_controller
  - community.paperspace.connection
  - community.paperspace.waiting
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: partial
    details:
      - O(state=restarted) is always a change.
options:
  machine_ids:
    description:
      - The ids of the machines.
    type: list
    elements: str
    required: true
    aliases: [machine_id]
  state:
    description:
      - V(started) starts machines that are off, and waits for those that are on their way up.
      - V(stopped) stops machines, and waits for those that are on their way down.
      - V(restarted) restarts machines, and starts those that are off.
      - A machine that is stopped loses a dynamic public IP address, and gets another one when it is started.
    type: str
    choices: [started, stopped, restarted]
  auto_snapshot:
    description:
      - The settings of the service's own automatic snapshots. What is not given stays as it is.
    type: dict
    suboptions:
      enabled:
        description: Whether they are taken.
        type: bool
      frequency:
        description: How often they are taken.
        type: str
        choices: [hourly, daily, weekly, monthly]
      save_count:
        description: How many of them are kept, V(0) to V(10).
        type: int
seealso:
  - module: community.paperspace.paperspace_machine_info
"""

EXAMPLES = r"""
- name: Start the machines of the play
  community.paperspace.paperspace_machine:
    machine_ids: "{{ ansible_play_hosts_all | map('extract', hostvars, 'paperspace_id') }}"
    state: started
  run_once: true

- name: Keep a snapshot of each of the last seven days
  community.paperspace.paperspace_machine:
    machine_id: ps1a2b3c4d
    auto_snapshot:
      enabled: true
      frequency: daily
      save_count: 7
"""

RETURN = r"""
machines:
  description: One entry for each machine, in the order asked. Returned as well when the task fails.
  returned: always, unless the task is refused as a whole
  type: list
  elements: dict
  contains:
    id:
      description: The machine's id.
      type: str
      sample: ps1a2b3c4d
    machine_id:
      description: The same, as in the entries of M(community.paperspace.paperspace_snapshot).
      type: str
      sample: ps1a2b3c4d
    name:
      description: The machine's name.
      type: str
      sample: web1
    state:
      description: The machine's state when last seen.
      type: str
      sample: ready
    auto_snapshot:
      description: The settings of its auto-snapshots when last seen.
      type: dict
      sample: {enabled: true, frequency: daily, save_count: 7}
    status:
      description:
        - What became of it. V(started), V(stopped), V(restarted), V(updated) (only settings changed) or V(unchanged).
        - In check mode V(would_start), V(would_stop), V(would_restart) or V(would_update).
        - V(pending), V(timed_out), V(failed), V(unsure) and V(skipped) mean the same as in
          M(community.paperspace.paperspace_snapshot). A restart that has timed out is done once more when the same
          task is run again. After an event that ends in error without a reason only a restart
          is V(unsure); of the others the machine's state shows whether they were done.
      type: str
      sample: started
    event_id:
      description: The id of the machine event that did the work.
      type: str
      sample: ev9x8y7z6w
    event_state:
      description: The event's state when last seen.
      type: str
      sample: done
    error:
      description: Why it did not come through, in a sentence.
      type: str
      sample: null
    seconds:
      description: How long the work on it took, in seconds.
      type: float
      sample: 42.5
machine:
  description: The entry of RV(machines), when there is exactly one.
  returned: when exactly one machine was asked for
  type: dict
"""

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.community.paperspace.plugins.module_utils._client import Client
from ansible_collections.community.paperspace.plugins.module_utils._machines import (
    FREQUENCIES,
    MachineWish,
    run_machines,
)
from ansible_collections.community.paperspace.plugins.module_utils._module import (
    WAIT_SPEC,
    argument_spec,
    report_result,
    run_module,
)
from ansible_collections.community.paperspace.plugins.module_utils._outcomes import Progress

OPTIONS: dict[str, dict[str, Any]] = {
    "machine_ids": {"type": "list", "elements": "str", "aliases": ["machine_id"], "required": True},
    "state": {"type": "str", "choices": ["started", "stopped", "restarted"]},
    "auto_snapshot": {
        "type": "dict",
        "options": {
            "enabled": {"type": "bool"},
            "frequency": {"type": "str", "choices": list(FREQUENCIES)},
            "save_count": {"type": "int"},
        },
    },
    **WAIT_SPEC,
}


def run(client: Client, options: Mapping[str, Any], *, check_mode: bool, progress: Progress) -> dict[str, Any]:
    """The module's result."""
    chosen = {option: options[option] for option in OPTIONS}
    settings = {key: value for key, value in (chosen.pop("auto_snapshot") or {}).items() if value is not None}
    wish = MachineWish(**chosen, auto_snapshot=settings)
    return report_result(run_machines(client, wish, check_mode=check_mode, progress=progress), "machines")


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(**OPTIONS), supports_check_mode=True)
    run_module(module, run)


if __name__ == "__main__":
    main()
