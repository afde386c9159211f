# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: paperspace
short_description: Paperspace machines as an inventory
version_added: 1.0.0
description:
  - Makes a host of every machine of a Paperspace team.
  - The inventory file is a YAML file whose name is C(paperspace.yml) or C(paperspace.yaml), or ends in
    C(.paperspace.yml) or C(.paperspace.yaml).
  - Every field of a machine becomes a host variable with the prefix C(paperspace_) and a name in snake_case, for
    example C(paperspace_id), C(paperspace_state), C(paperspace_machine_type), C(paperspace_region),
    C(paperspace_public_ip) or C(paperspace_auto_snapshot_enabled). Sizes are integers, in bytes. What the API says is
    never evaluated as a template.
  - A host has the name of its machine. Names of machines need not be unique, so all machines that share one are named
    C(NAME-ID) instead. The same happens to names that Ansible could not use safely as the name of a host, with what is
    not a letter, digit, C(.), C(-) or C(_) replaced by C(_), and to V(localhost), V(all) and V(ungrouped). Filters do
    not change the names of hosts.
  - Machines that are deleted are left out.
author:
  - The community.paperspace authors (@ansible-community)
extends_documentation_fragment:
  - community.paperspace.connection
  - constructed
  - inventory_cache
options:
  plugin:
    description: Marks the file as one for this plugin.
    type: str
    required: true
    choices: [community.paperspace.paperspace]
  connect_with:
    description:
      - What becomes C(ansible_host), the address that Ansible connects to.
      - A machine that has no such address gets no C(ansible_host), and one warning names all of them. Ansible then
        tries the name of the host, unless O(compose) sets C(ansible_host).
      - V(public_ip) is the public address. A dynamic one is released while a machine is off.
      - V(private_ip) is the address in the team's private network.
      - V(name) is the machine's name as the API has it, if it can be the name of a host in the network.
    type: str
    choices: [public_ip, private_ip, name]
    default: public_ip
  regions:
    description:
      - Only machines in one of these regions, as V(ny2) or as the service shows it, V(East Coast (NY2\)).
      - An empty list, here as in the other filters, leaves nothing out. A machine has to pass all filters.
    type: list
    elements: str
    default: []
  machine_types:
    description: Only machines of one of these types, for example V(C5).
    type: list
    elements: str
    default: []
  states:
    description:
      - Only machines in one of these states.
      - The API has V(off), V(starting), V(stopping), V(restarting), V(serviceready), V(ready), V(upgrading) and
        V(provisioning).
      - An C(off) without quotes, which YAML takes for V(false), is understood too.
    type: list
    elements: str
    default: []
  name_pattern:
    description:
      - Only machines whose name, as the API has it, matches this pattern.
      - It is written as one pattern of Ansible's C(--limit). The wildcards C(*), C(?) and C([...]) stand for parts of a
        name that has to match as a whole. After a V(~) comes a regular expression that has to match from the start.
    type: str
notes:
  - O(api_key) and O(api_url) may be templates, for example with the P(ansible.builtin.env#lookup) lookup, and may use
    extra variables.
  - The key is best kept out of the inventory file. When a file cannot be parsed, Ansible has its other plugins try it,
    and they may quote its first line.
  - One request is sent for each 120 machines of the team, and none when the answer is cached. What is cached is what
    the API said of the machines, without the key. Each O(api_url) and key has a cache of its own. A folder that is
    made for it is for the user alone. In one that is there already, Ansible's cache plugins let everybody read the
    files.
  - An option that does not exist is an error.
seealso:
  - module: community.paperspace.paperspace_machine_info
"""

EXAMPLES = r"""
# A file named paperspace.yml, with the key in the environment variable PAPERSPACE_API_KEY. That is all it takes.
plugin: community.paperspace.paperspace

---
# Machines that are on in one region, as the user that Paperspace's own images have, grouped by state and type:
# groups such as state_ready and type_C5.
plugin: community.paperspace.paperspace
regions: [ny2]
states: [ready, serviceready]
compose:
  ansible_user: "'paperspace'"
keyed_groups:
  - key: paperspace_state
    prefix: state
  - key: paperspace_machine_type
    prefix: type

---
# The group web for everything whose name starts with "web", and a group for each region, such as region_ny2.
# Private addresses where there are any, else public ones.
plugin: community.paperspace.paperspace
name_pattern: "*.example.com"
groups:
  web: paperspace_name is match('web')
keyed_groups:
  - key: paperspace_region | regex_search('\w+(?=\)$)') | default(paperspace_region, true) | lower
    prefix: region
compose:
  ansible_host: paperspace_private_ip or paperspace_public_ip
strict: true

---
# Several teams: one file for each, with a key of its own. Cached for ten minutes; --flush-cache asks again.
plugin: community.paperspace.paperspace
api_key: "{{ lookup('ansible.builtin.env', 'STAGING_PAPERSPACE_API_KEY') }}"
name_pattern: ~(web|db)\d+$
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.cache/ansible-inventory
cache_timeout: 600
"""

import fnmatch
import hashlib
import ipaddress
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError, AnsibleOptionsError, AnsibleParserError
from ansible.module_utils.basic import missing_required_lib
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible.utils.unsafe_proxy import wrap_var

from ansible_collections.community.paperspace.plugins.module_utils._client import Client, checked_id
from ansible_collections.community.paperspace.plugins.module_utils._connection import (
    CONNECTION_SPEC,
    Connection,
    connection_from,
    home_folder,
)
from ansible_collections.community.paperspace.plugins.module_utils._errors import (
    InputError,
    InvalidAnswer,
    PaperspaceError,
)
from ansible_collections.community.paperspace.plugins.module_utils._info import is_in_region
from ansible_collections.community.paperspace.plugins.module_utils._transport import HAS_REQUESTS
from ansible_collections.community.paperspace.plugins.module_utils._wire import MACHINE_STATES, Machine

# Whatever else a name has could be read as a pattern, range, template, option, port or path where hosts are named.
_USABLE_NAME = re.compile(r"\w[\w.-]{0,199}")
_UNUSABLE_PART = re.compile(r"[^\w.-]+")
_NETWORK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,252}")
# A host of these names would stand for the controller, or hide a group.
_RESERVED_NAMES = frozenset({"localhost", "127.0.0.1", "all", "ungrouped"})
_NAMED_IN_WARNING = 10


def is_inventory_file(path: str) -> bool:
    return re.fullmatch(r"(.*\.)?paperspace\.ya?ml", Path(path).name, re.DOTALL) is not None


def existing_machines(machines: Iterable[Machine]) -> list[Machine]:
    """Each machine once, though pages may overlap, and without those that are deleted. Raises InvalidAnswer."""
    found: dict[str, Machine] = {}
    for machine in machines:
        try:
            checked_id(machine.id)
        except InputError as error:
            raise InvalidAnswer(f"GET /machines: a machine whose id cannot be one: {error} Check api_url.") from None
        if machine.fields.get("dt_deleted") is None:
            found.setdefault(machine.id, machine)
    return list(found.values())


def host_names(machines: Iterable[Machine]) -> dict[str, str]:
    """The name of each machine's host, by the machine's id: its own where no other has it and Ansible can use it."""
    names = {machine.id: usable_name(machine) for machine in machines}
    while True:
        count = Counter(names.values())
        shared = [machine_id for machine_id, name in names.items() if count[name] > 1]
        if not shared:
            return names
        # Again, as long as it takes: a machine may be named like another one's name and id.
        for machine_id in shared:
            names[machine_id] = f"{names[machine_id]}-{machine_id}"


def usable_name(machine: Machine) -> str:
    if _USABLE_NAME.fullmatch(machine.name) and machine.name.lower() not in _RESERVED_NAMES:
        return machine.name
    readable = _UNUSABLE_PART.sub("_", machine.name).strip("_.-")[:100]
    return f"{readable or 'machine'}-{machine.id}"


def address_of(machine: Machine, connect_with: str) -> str | None:
    """What C(ansible_host) becomes, or None where the machine has no such address. Never an option for ssh."""
    address = machine.fields.get(connect_with)
    if not isinstance(address, str):
        return None
    if connect_with == "name":
        is_fine = _NETWORK_NAME.fullmatch(address) is not None and address.lower() not in _RESERVED_NAMES
        return address if is_fine else None
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return None


def host_variables(machine: Machine) -> dict[str, Any]:
    """Every field of the machine, as values that no version of Ansible evaluates as templates."""
    variables = {f"paperspace_{field}": value for field, value in machine.fields.items()}
    return {name: wrap_var(value) for name, value in variables.items() if name.isidentifier()}


@dataclass(frozen=True)
class Filters:
    """What a machine has to be; what is empty is not asked for."""

    regions: Sequence[str] = ()
    machine_types: Sequence[str] = ()
    states: Sequence[str] = ()
    name: re.Pattern[str] | None = None

    def passes(self, machine: Machine) -> bool:
        return (
            (not self.regions or any(is_in_region(machine, region) for region in self.regions))
            and (not self.machine_types or machine.fields.get("machine_type") in self.machine_types)
            and (not self.states or machine.state in self.states)
            and (self.name is None or self.name.match(machine.name) is not None)
        )


def filters_from(options: Mapping[str, Any]) -> Filters:
    """The filters that the options ask for. Raises InputError for values that no machine can ever have."""
    # YAML takes an off without quotes for false.
    states = ["off" if state is False else state for state in options["states"] or ()]
    unknown = [state for state in states if state not in MACHINE_STATES]
    if unknown:
        raise InputError(f"states has {unknown[0]!r}; a machine's state is one of {', '.join(MACHINE_STATES)}.")
    return Filters(
        regions=_texts(options, "regions"),
        machine_types=_texts(options, "machine_types"),
        states=states,
        name=_pattern(options["name_pattern"]) if options["name_pattern"] else None,
    )


def _texts(options: Mapping[str, Any], name: str) -> list[str]:
    values = list(options[name] or ())
    for value in values:
        if not isinstance(value, str) or not value.strip():
            raise InputError(f"{name} has {value!r}; it has to be a list of strings.")
    return values


def _pattern(text: str) -> re.Pattern[str]:
    """One pattern of Ansible's own kind: wildcards, or a regular expression after C(~)."""
    try:
        return re.compile(text[1:] if text.startswith("~") else fnmatch.translate(text))
    except re.error as error:
        raise InputError(f"name_pattern {text!r} is not a regular expression: {error}.") from None


def check_option_names(config: Mapping[Any, Any], definitions: Mapping[str, Any]) -> None:
    """Raise InputError for an option or suboption that does not exist, which Ansible would ignore."""
    for name in config:
        if name not in definitions:
            raise InputError(f"there is no option {name!r}{_suggestion(name, definitions)}")
    for name, definition in definitions.items():
        suboptions = definition.get("suboptions")
        entries = config.get(name)
        if not suboptions or not isinstance(entries, list):
            continue
        for suboption in (key for entry in entries if isinstance(entry, Mapping) for key in entry):
            if suboption not in suboptions:
                raise InputError(f"{name} has no option {suboption!r}{_suggestion(suboption, suboptions)}")


def _suggestion(name: Any, known: Iterable[str]) -> str:
    close = get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {close[0]}?" if close else f"; the options are {', '.join(sorted(known))}."


def machines_from_cache(cached: Any) -> list[Machine] | None:
    """The machines that were cached, or None for what is nothing of the kind."""
    if not isinstance(cached, list):
        return None
    machines = []
    for fields in cached:
        if not isinstance(fields, Mapping) or not all(
            isinstance(fields.get(key), str) for key in ("id", "name", "state")
        ):
            return None
        machines.append(Machine(fields["id"], fields["name"], fields["state"], dict(fields)))
    return machines


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    NAME = "community.paperspace.paperspace"

    inventory: Any

    def verify_file(self, path: str) -> bool:
        return bool(super().verify_file(path)) and is_inventory_file(path)

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        try:
            if not HAS_REQUESTS:
                raise InputError(missing_required_lib("requests"))
            self._read_options(path)
            filters = filters_from(self.get_options())
            machines = existing_machines(self._machines(self._connection(), path, cache))
            self._add_hosts(machines, filters)
        except (PaperspaceError, AnsibleError) as error:
            message = str(error)
            raise AnsibleParserError(message if path in message else f"{path}: {message}") from None

    def _read_options(self, path: str) -> None:
        # It also loads the cache plugin, whose files everybody may read, by Ansible's choice: so the folder that this
        # makes for them is for the user alone.
        umask = os.umask(0o077)
        try:
            config = self._read_config_data(path)
        except AttributeError:
            raise InputError("the file has to be a dictionary of options.") from None
        except AnsibleOptionsError as error:
            if "api_key" not in str(error):
                raise
            # Ansible's own words quote the value.
            raise InputError("api_key has to be a string.") from None
        finally:
            os.umask(umask)
        check_option_names(config, self.option_definitions)

    def _connection(self) -> Connection:
        options = {name: self.get_option(name) for name in CONNECTION_SPEC}
        self.templar.available_variables = self._vars or {}
        for name in ("api_key", "api_url"):
            options[name] = self._evaluated(name, options[name])
        return connection_from(options, os.environ, home_folder())

    def _evaluated(self, name: str, value: Any) -> Any:
        try:
            return self.templar.template(value)
        except AnsibleError:
            # Ansible's own words quote the template, and with it what may be secret.
            raise InputError(
                f"the template of {name} cannot be evaluated: a variable is not defined, or a lookup or filter failed."
            ) from None

    def _machines(self, connection: Connection, path: str, cache: bool) -> list[Machine]:
        """The machines of the team: cached ones if they are wanted and there, else asked for, and cached if wanted."""
        if not self.get_option("cache"):
            return fetched_machines(connection)
        # Another key may mean another team: its machines must not come from this one's cache.
        team = hashlib.sha256(f"{connection.api_url} {connection.api_key}".encode()).hexdigest()[:12]
        cache_key = f"{self.get_cache_key(path)}_{team}"
        cached = machines_from_cache(self._cached(cache_key)) if cache else None
        if cached is not None:
            return cached
        machines = fetched_machines(connection)
        self._cache[cache_key] = [machine.fields for machine in machines]
        return machines

    def _cached(self, cache_key: str) -> Any:
        try:
            return self._cache[cache_key]
        except KeyError:  # never there, or expired
            return None

    def _add_hosts(self, machines: list[Machine], filters: Filters) -> None:
        names = host_names(machines)
        connect_with = self.get_option("connect_with")
        without_address = []
        for machine in sorted(machines, key=lambda each: names[each.id]):
            if not filters.passes(machine):
                continue
            host = names[machine.id]
            self.inventory.add_host(host)
            variables = host_variables(machine)
            address = address_of(machine, connect_with)
            if address is None:
                without_address.append(host)
            else:
                variables["ansible_host"] = wrap_var(address)
            for name, value in variables.items():
                self.inventory.set_variable(host, name, value)
            self._construct(host, variables)
            if self._address(host).startswith("-"):
                # From what the API says, by compose. It would be an option of ssh, and run commands on the controller.
                del self.inventory.get_host(host).vars["ansible_host"]
                self.display.warning(f"compose gives {host} an ansible_host that is an option for ssh; it is left out.")
        # compose may have found another address.
        without_address = [host for host in without_address if not self._address(host)]
        if without_address:
            self.display.warning(missing_address_warning(without_address, connect_with))

    def _construct(self, host: str, variables: dict[str, Any]) -> None:
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), variables, host, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), variables, host, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, host, strict=strict)

    def _address(self, host: str) -> str:
        return str(self.inventory.get_host(host).vars.get("ansible_host") or "")


def fetched_machines(connection: Connection) -> list[Machine]:
    return [machine for page in Client(connection).machine_pages() for machine in page]


def missing_address_warning(hosts: list[str], connect_with: str) -> str:
    more = len(hosts) - _NAMED_IN_WARNING
    named = ", ".join(hosts[:_NAMED_IN_WARNING]) + (f" and {more} more" if more > 0 else "")
    return f"No {connect_with} to connect with: {named}. Ansible will try the names of these hosts."
