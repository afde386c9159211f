#!/usr/bin/python

# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: paperspace_snapshot_info
short_description: List snapshots of Paperspace machines
version_added: 1.0.0
description:
  - Lists the snapshots of the whole team, of some machines, or by their ids, newest first.
  - Of several machines, machine by machine in the order of O(machine_ids), since the API gives a snapshot no date. By
    O(snapshot_ids), in the order of the ids.
author:
  - The community.paperspace authors (@ansible-community)
extends_documentation_fragment:
  - community.paperspace.attributes
  - community.paperspace.attributes.info_module
  - community.paperspace.attributes.actiongroup_paperspace
  - community.paperspace.attributes.in_controller
  - community.paperspace.connection
options:
  machine_ids:
    description:
      - Only snapshots of these machines. An id that does not exist is left out and warned about.
    type: list
    elements: str
    aliases: [machine_id]
  snapshot_ids:
    description:
      - Only these snapshots. An id that does not exist is left out and warned about.
    type: list
    elements: str
    aliases: [snapshot_id]
  name:
    description: Only snapshots with just this name.
    type: str
  name_prefix:
    description: Only snapshots whose name begins with this.
    type: str
  auto:
    description: V(true) for auto-snapshots only, V(false) for manual ones only. Both when not set.
    type: bool
  proof:
    description:
      - Also say of each snapshot whether it is proven done, from the machine events. This takes more requests.
      - When a snapshot's event is not visible yet, this waits once for O(request_timeout).
    type: bool
    default: false
seealso:
  - module: community.paperspace.paperspace_snapshot
"""

EXAMPLES = r"""
- name: List the open runs of guarded maintenance
  community.paperspace.paperspace_snapshot_info:
    name_prefix: maint-
    auto: false
  register: found

- name: Show them
  ansible.builtin.debug:
    msg: "{{ found.snapshots | selectattr('run_state', 'equalto', 'open') | map(attribute='name') | unique }}"
"""

RETURN = r"""
snapshots:
  description:
    - The snapshots that match, newest first. With O(machine_ids) machine by machine, in the order of these. With
      O(snapshot_ids) in the order of these.
  returned: always
  type: list
  elements: dict
  contains:
    id:
      description: The snapshot's id.
      type: str
      sample: ss5t6u7v8w
    name:
      description: The snapshot's name.
      type: str
      sample: maint-20260131T235959Z-1a2b
    machine_id:
      description: The machine that it is of.
      type: str
      sample: ps1a2b3c4d
    is_auto_snapshot:
      description: Whether the service took it by itself.
      type: bool
      sample: false
    run_id:
      description: The run of guarded maintenance that named it, or V(null).
      type: str
      sample: 20260131T235959Z-1a2b
    run_state:
      description: V(open), V(ok) or V(restored), as its name says of the run; V(null) when no run named it.
      type: str
      sample: open
    proof:
      description:
        - V(done) when it is proven done, so that M(community.paperspace.paperspace_snapshot) would restore it.
        - V(running) while it is still being made, V(failed) when making it failed, V(unsure) when the service does not
          show which of these it is.
      returned: when O(proof=true)
      type: str
      sample: done
    proof_detail:
      description: Why it cannot be relied on, as the end of a sentence. V(null) when it is proven done.
      returned: when O(proof=true)
      type: str
      sample: null
"""

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.community.paperspace.plugins.module_utils._client import Client
from ansible_collections.community.paperspace.plugins.module_utils._info import find_snapshots
from ansible_collections.community.paperspace.plugins.module_utils._module import argument_spec, run_module

OPTIONS: dict[str, dict[str, Any]] = {
    "machine_ids": {"type": "list", "elements": "str", "aliases": ["machine_id"]},
    "snapshot_ids": {"type": "list", "elements": "str", "aliases": ["snapshot_id"]},
    "name": {"type": "str"},
    "name_prefix": {"type": "str"},
    "auto": {"type": "bool"},
    "proof": {"type": "bool", "default": False},
}


def run(client: Client, options: Mapping[str, Any], **_unused: object) -> dict[str, Any]:
    """The module's result."""
    return find_snapshots(client, **{option: options[option] for option in OPTIONS})


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(**OPTIONS), supports_check_mode=True)
    run_module(module, run)


if __name__ == "__main__":
    main()
