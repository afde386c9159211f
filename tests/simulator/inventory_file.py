# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that Ansible and ssh need to reach the machines: an inventory and known_hosts."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

from .hosts import Hosts
from .service import Service

USER = "paperspace"


def write_if_changed(path: Path, content: str) -> None:
    if path.exists() and path.read_text() == content:
        return
    incoming = path.with_name(path.name + ".incoming")
    incoming.write_text(content)
    incoming.replace(path)


def variables(folder: Path, hosts: Hosts) -> dict[str, Any]:
    """What every machine has in common, also when the inventory plugin lists it: that gives paperspace_id."""
    arguments = [
        "-F",
        "none",
        "-o",
        f'UserKnownHostsFile="{folder / "known_hosts"}"',
        "-o",
        "GlobalKnownHostsFile=/dev/null",
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
        "IdentitiesOnly=yes",
    ]
    return {
        "ansible_user": USER,
        "ansible_ssh_private_key_file": str(folder / "private_key"),
        "ansible_ssh_common_args": shlex.join(arguments),
        "ansible_python_interpreter": sys.executable,
        # Ansible expands ~ by the account's home, which is not the disk.
        "ansible_remote_tmp": "{{ disk }}/tmp/.ansible",
        "disk": str(hosts.folders.machines) + "/{{ paperspace_id }}",
        **({"ansible_port": hosts.port} if hosts.port else {}),
    }


def inventory(service: Service, folder: Path, hosts: Hosts) -> dict[str, Any]:
    """All machines in the group paperspace, and in a group by the letters that their name begins with."""
    members: dict[str, dict[str, Any]] = {}
    groups: dict[str, dict[str, dict[str, Any]]] = {}
    for machine in service.world.machines:
        name = machine.name if machine.name not in members else f"{machine.name}-{machine.id}"
        members[name] = {
            "ansible_host": machine.fields["publicIp"] or machine.fields["privateIp"],
            "ansible_port": hosts.port_of(machine.id),
            "disk": str(hosts.folders.disk(machine.id)),
            "paperspace_id": machine.id,
        }
        prefix = re.match("[a-z]+", machine.name.lower())
        if prefix and prefix[0] not in ("all", "ungrouped", "paperspace"):
            groups.setdefault(prefix[0], {})[name] = {}
    # Not in the group all, whose variables an implicit localhost gets as well.
    children: dict[str, Any] = {"paperspace": {"hosts": members, "vars": variables(folder, hosts)}}
    children |= {group: {"hosts": names} for group, names in groups.items() if group not in members}
    return {"all": {"children": children}}


def known_hosts(service: Service, hosts: Hosts) -> str:
    """Every machine's key for every address: a machine may come back at another one."""
    lines = []
    for machine in service.world.machines:
        key = hosts.folders.public_host_key(machine.id)
        if key is None:
            continue
        lines.append(f"[127.*]:{hosts.port_of(machine.id)} {key}\n")
    return "".join(lines)


def write_files(service: Service, folder: Path, hosts: Hosts) -> None:
    # JSON is YAML, and needs no further library.
    write_if_changed(folder / "inventory.yml", json.dumps(inventory(service, folder, hosts), indent=2) + "\n")
    write_if_changed(folder / "known_hosts", known_hosts(service, hosts))
