# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: fresh_addresses
short_description: Read the inventory again for the addresses of some hosts
version_added: 1.0.0
author:
  - The community.paperspace authors (@ansible-community)
description:
  - Reads the inventory once more, past its cache, and says where it has the hosts now. A machine that was off or
    restored may have come back at another address.
  - The inventory of the play stays as it is. So no host leaves the play because the inventory does not have it for a
    moment, as it would after C(refresh_inventory) of M(ansible.builtin.meta).
  - The variables of hosts and groups count, those beside the inventory and extra variables as well. Variables of plays
    and facts do not.
  - That something could not be found out is a warning, and no error.
options:
  _terms:
    description: The names of the hosts. Without any, the inventory is not read.
    type: list
    elements: str
    required: true
seealso:
  - plugin: community.paperspace.paperspace
    plugin_type: inventory
"""

EXAMPLES = r"""
- name: Find where the machines of the play are now
  ansible.builtin.set_fact:
    addresses: "{{ dict(names | zip(query('community.paperspace.fresh_addresses', *names))) }}"
  vars:
    names: "{{ ansible_play_hosts }}"
  run_once: true
"""

RETURN = r"""
_raw:
  description:
    - For each host in the order of the terms, those of C(ansible_host), C(ansible_port), C(ansible_ssh_host) and
      C(ansible_ssh_port) that the inventory has for it.
    - Empty for a host that it does not have, and for all hosts when it cannot be read.
  type: list
  elements: dict
  sample: [{"ansible_host": "203.0.113.7"}, {}]
"""

from collections.abc import Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleError, AnsibleLookupError
from ansible.inventory.manager import InventoryManager
from ansible.plugins.lookup import LookupBase
from ansible.template import Templar
from ansible.utils.display import Display
from ansible.utils.unsafe_proxy import wrap_var
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager

NAMES = ("ansible_host", "ansible_port", "ansible_ssh_host", "ansible_ssh_port")

_NAMED_IN_WARNING = 10

display = Display()


class LookupModule(LookupBase):  # type: ignore[misc, unused-ignore]
    def run(self, terms: list[Any], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[dict[str, Any]]:
        if kwargs or not all(isinstance(term, str) for term in terms):
            raise AnsibleLookupError("community.paperspace.fresh_addresses takes names of hosts, and no options.")
        if not terms:
            return []
        loader: Any = self._loader
        found: dict[str, dict[str, Any]] = {}
        missing, unclear = [], []
        try:
            inventory = self._inventory((variables or {}).get("ansible_inventory_sources") or [])
            manager = VariableManager(loader=loader, inventory=inventory)
            # With this, templates may look at other hosts.
            HostVars(inventory=inventory, variable_manager=manager, loader=loader)
        except AnsibleError as error:
            display.warning(f"The inventory could not be read again. The old addresses are tried. {error}")
            return [{} for _term in terms]
        for name in terms:
            host = inventory.hosts.get(name)
            if host is None:
                missing.append(name)
                continue
            try:
                found[name] = self._addresses(manager.get_vars(host=host))
            except AnsibleError:
                unclear.append(name)
        if missing:
            display.warning(f"Not in the inventory any more, so that the old address is tried: {_listed(missing)}.")
        if unclear:
            display.warning(f"The inventory's address is not clear, so that the old one is tried: {_listed(unclear)}.")
        return [found.get(name, {}) for name in terms]

    def _inventory(self, sources: Sequence[str]) -> InventoryManager:
        inventory = InventoryManager(loader=self._loader, sources=list(sources), parse=False)
        inventory.parse_sources(cache=False)
        return inventory

    def _addresses(self, variables: dict[str, Any]) -> dict[str, Any]:
        """Nothing that comes of a template is evaluated once more."""
        templar = Templar(loader=self._loader, variables=variables)
        return {name: wrap_var(templar.template(variables[name])) for name in NAMES if name in variables}


def _listed(hosts: Sequence[str]) -> str:
    more = len(hosts) - _NAMED_IN_WARNING
    return ", ".join(hosts[:_NAMED_IN_WARNING]) + (f" and {more} more" if more > 0 else "")
