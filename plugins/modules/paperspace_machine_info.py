#!/usr/bin/python

# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: paperspace_machine_info
short_description: List Paperspace machines
version_added: 1.0.0
description:
  - Lists the machines of the whole team, or some of them, with everything that the API says of them.
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
      - Only these machines. An id that does not exist is left out and warned about.
    type: list
    elements: str
    aliases: [machine_id]
  name:
    description: Only machines with just this name.
    type: str
  region:
    description: Only machines in this region, as V(ny2) or as the service shows it, V(East Coast (NY2\)).
    type: str
  machine_type:
    description: Only machines of this type, for example V(C5).
    type: str
  state:
    description: Only machines in this state.
    type: str
    choices: ["off", starting, stopping, restarting, serviceready, ready, upgrading, provisioning]
seealso:
  - module: community.paperspace.paperspace_machine
  - plugin: community.paperspace.paperspace
    plugin_type: inventory
"""

EXAMPLES = r"""
- name: List the machines that are on in one region
  community.paperspace.paperspace_machine_info:
    region: ny2
    state: ready
  register: found

- name: Show their names and addresses
  ansible.builtin.debug:
    msg: "{{ found.machines | items2dict(key_name='name', value_name='public_ip') }}"
"""

RETURN = r"""
machines:
  description:
    - The machines that match, newest first, or in the order of O(machine_ids).
    - Each has every field of the API, in snake_case, with sizes as integers (bytes).
  returned: always
  type: list
  elements: dict
  contains:
    id:
      description: The machine's id.
      type: str
      sample: ps1a2b3c4d
    name:
      description: The machine's name. Names are not unique.
      type: str
      sample: web1
    state:
      description: The machine's state.
      type: str
      sample: ready
    region:
      description: The region as the service shows it.
      type: str
      sample: East Coast (NY2)
    machine_type:
      description: The machine's type.
      type: str
      sample: C5
    public_ip:
      description: The public address, or V(null).
      type: str
      sample: 203.0.113.7
    private_ip:
      description: The private address, or V(null).
      type: str
      sample: 10.0.0.7
    storage_total:
      description: The size of the disk, in bytes.
      type: int
      sample: 53687091200
"""

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.community.paperspace.plugins.module_utils._client import Client
from ansible_collections.community.paperspace.plugins.module_utils._info import find_machines
from ansible_collections.community.paperspace.plugins.module_utils._module import argument_spec, run_module
from ansible_collections.community.paperspace.plugins.module_utils._wire import MACHINE_STATES

OPTIONS: dict[str, dict[str, Any]] = {
    "machine_ids": {"type": "list", "elements": "str", "aliases": ["machine_id"]},
    "name": {"type": "str"},
    "region": {"type": "str"},
    "machine_type": {"type": "str"},
    "state": {"type": "str", "choices": list(MACHINE_STATES)},
}


def run(client: Client, options: Mapping[str, Any], **_unused: object) -> dict[str, Any]:
    """The module's result."""
    return find_machines(client, **{option: options[option] for option in OPTIONS})


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(**OPTIONS), supports_check_mode=True)
    run_module(module, run)


if __name__ == "__main__":
    main()
