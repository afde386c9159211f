# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of which the users' playbooks in these tests are made. They know nothing of snapshots."""

from __future__ import annotations

from typing import Any

Task = dict[str, Any]
Play = dict[str, Any]

# Raw commands need no Python on the machines, whose start takes much longer than all that the commands do.
INSTALL: Task = {
    "name": "Install the new version",
    "ansible.builtin.raw": "echo 2.0 > {{ disk }}/opt/app/version",
}
START: Task = {
    "name": "Start the new version",
    "ansible.builtin.raw": "cat {{ disk }}/opt/app/version",
}
FINISH: Task = {
    "name": "Clean up",
    "ansible.builtin.shell": "echo yes > {{ disk }}/opt/app/done",
}
HOLD: Task = {
    "name": "Wait for the old version to end",
    "ansible.builtin.shell": "touch {{ disk }}/held; sleep 60",
}
REACH: Task = {
    "name": "Wait for the machine",
    "ansible.builtin.wait_for_connection": {"sleep": 1, "timeout": 30},
}


def play(*tasks: Task, hosts: str = "web", **keywords: Any) -> Play:
    """A play whose tasks end with the start of the new version."""
    return {"hosts": hosts, "gather_facts": False, **keywords, "tasks": [*tasks, START]}


def only(*hosts: str) -> str:
    """The condition to be one of these hosts."""
    return f"inventory_hostname in {list(hosts)}"


def fail(*hosts: str, **keywords: Any) -> Task:
    """A task that fails on these hosts."""
    return {
        "name": "Migrate the database",
        "ansible.builtin.shell": "echo no space left >&2; exit 3",
        "when": only(*hosts),
        **keywords,
    }


def cut_off(*hosts: str, **keywords: Any) -> Task:
    """A task that takes these hosts from the network for good."""
    return {
        "name": "Configure the network",
        "ansible.builtin.shell": "echo down > {{ disk }}/etc/network; sleep 9",
        "when": only(*hosts),
        **keywords,
    }


def blip(*hosts: str, **keywords: Any) -> Task:
    """A task during which these hosts are gone from the network, for a second or so."""
    # The one that brings it back takes it down too: what has no session of its own yet would die of that.
    down_and_up = "echo down > {{ disk }}/etc/network; sleep 1; echo up > {{ disk }}/etc/network"
    return {
        "name": "Restart the network",
        "ansible.builtin.shell": f"setsid sh -c '{down_and_up}' </dev/null >/dev/null 2>&1 & sleep 9",
        "when": only(*hosts),
        **keywords,
    }
