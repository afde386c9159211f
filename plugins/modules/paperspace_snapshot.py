#!/usr/bin/python

# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: paperspace_snapshot
short_description: Take, delete, rename and restore snapshots of Paperspace machines
version_added: 1.0.0
description:
  - Handles the snapshots of a whole fleet of Paperspace machines in one task, with as few requests as the API allows.
  - A lost answer never makes a second snapshot or a second restore. The module looks what the request did, adopts
    what it finds, and sends it again only when nothing came of it.
  - Whatever cannot be proven is not reported as done.
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
      - O(state=present) and O(state=absent) are idempotent. O(state=restored) is always a change.
options:
  state:
    description:
      - V(present) takes a snapshot named O(name) of each machine that has none. A create of it that still runs is
        waited for and not repeated. A snapshot whose create failed does not count, and is replaced.
      - V(absent) deletes snapshots. What is gone already is unchanged.
      - V(restored) puts machines back to a snapshot. B(This destroys everything on their disks since the snapshot), and
        cannot be undone. It is refused for the whole task, before anything is touched, when a snapshot is missing,
        ambiguous, of another machine than named, or not proven done. Then the module waits until each machine has
        settled, which is V(ready) or V(off), since the API does not promise which.
      - A restore that is found running on a machine is waited for, and then the machine is restored as asked, since the
        API does not say which snapshot a running restore is of.
    type: str
    choices: [present, absent, restored]
    default: present
  machine_ids:
    description:
      - The ids of the machines. A machine that is named twice is handled once, with a warning.
      - Together with O(snapshot_ids), the machines that the snapshots have to belong to.
    type: list
    elements: str
    aliases: [machine_id]
  snapshot_ids:
    description:
      - The ids of the snapshots to delete or restore, instead of O(machine_ids) with O(name).
    type: list
    elements: str
    aliases: [snapshot_id]
  name:
    description:
      - The exact name of the snapshot. Needed for O(state=present).
      - When several snapshots of a machine have this name, they have to be selected by O(snapshot_ids).
    type: str
  new_name:
    description:
      - Renames the snapshot O(name) to this. Only with O(state=present). Unchanged when just the new name is there.
      - A new name that closes a run (that ends in a run id and C(-ok) or C(-restored)) is refused for a snapshot that
        is not proven done, since such a name is taken as the proof from then on.
    type: str
  name_prefix:
    description:
      - Selects each machine's manual snapshots whose names begin with this, for O(keep). Only with O(state=absent).
      - Auto-snapshots are never selected, and neither is the snapshot of a run that is still open.
    type: str
  keep:
    description:
      - Of each machine's snapshots with O(name_prefix), how many of the newest to keep. The rest is deleted.
      - What is still being made, or of which it is not known whether it is done, is neither counted nor deleted. What
        has failed is deleted, and does not count.
    type: int
  closed_runs:
    description:
      - Lets O(name_prefix) select only snapshots of closed runs, that is names of the prefix, a run id, and C(-ok) or
        C(-restored).
    type: bool
    default: false
  safety_snapshot:
    description:
      - Takes one more snapshot of each machine first. Only with O(state=restored).
      - Its id is found and returned as RV(snapshots[].safety_snapshot_id).
    type: bool
    default: false
seealso:
  - module: community.paperspace.paperspace_snapshot_info
  - module: community.paperspace.paperspace_machine
"""

EXAMPLES = r"""
- name: Take a snapshot of every machine of the play, in one task
  community.paperspace.paperspace_snapshot:
    machine_ids: "{{ ansible_play_hosts_all | map('extract', hostvars, 'paperspace_id') }}"
    name: before-upgrade
  run_once: true

- name: Put one machine back, and keep what is on it now as well
  community.paperspace.paperspace_snapshot:
    state: restored
    machine_id: ps1a2b3c4d
    name: before-upgrade
    safety_snapshot: true

- name: Keep the two newest of the nightly snapshots
  community.paperspace.paperspace_snapshot:
    state: absent
    machine_id: ps1a2b3c4d
    name_prefix: nightly-
    keep: 2

- name: Rename a snapshot
  community.paperspace.paperspace_snapshot:
    machine_id: ps1a2b3c4d
    name: before-upgrade
    new_name: golden
"""

RETURN = r"""
snapshots:
  description:
    - One entry for each machine or snapshot asked for, in the order asked. With O(keep), one for each that goes.
    - Returned as well when the task fails.
  returned: always, unless the task is refused as a whole
  type: list
  elements: dict
  contains:
    id:
      description: The snapshot's id. V(null) when there is none (yet).
      type: str
      sample: ss5t6u7v8w
    name:
      description: The snapshot's name.
      type: str
      sample: before-upgrade
    machine_id:
      description: The machine's id. Empty for a snapshot id that does not exist.
      type: str
      sample: ps1a2b3c4d
    is_auto_snapshot:
      description: Whether the service took it by itself.
      type: bool
      sample: false
    status:
      description:
        - What became of it. V(created), V(unchanged), V(renamed), V(deleted) or V(restored).
        - In check mode V(would_create), V(would_rename), V(would_delete) or V(would_restore).
        - V(pending) when it was begun and O(wait=false).
        - V(timed_out) when it did not end within O(wait_timeout). The work may still finish. The same task run again
          waits for it; a restore it then does once more.
        - V(failed) when it is known not to have been done.
        - V(unsure) when the API does not show whether it was done; RV(snapshots[].error) says what is known. So it is
          when the event of a create or a restore ends in error without a reason, when the answer to a request
          was lost and nothing that could tell of it was answered within O(wait_timeout), when a snapshot of
          the name is there that cannot be proven done, and when the snapshot that O(safety_snapshot) took
          cannot be told from others.
        - V(skipped) when there is nothing to work on and O(skip_missing=true).
      type: str
      sample: created
    event_id:
      description: The id of the machine event that did the work.
      type: str
      sample: ev9x8y7z6w
    event_state:
      description: The event's state when last seen. V(new), V(in progress), V(done), V(error) or V(cancelled).
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
    safety_snapshot_id:
      description: The id of the snapshot that O(safety_snapshot) took.
      type: str
      sample: null
snapshot:
  description: The entry of RV(snapshots), when there is exactly one.
  returned: when RV(snapshots) has exactly one entry
  type: dict
"""

from collections.abc import Mapping
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.community.paperspace.plugins.module_utils._client import Client
from ansible_collections.community.paperspace.plugins.module_utils._module import (
    WAIT_SPEC,
    argument_spec,
    report_result,
    run_module,
)
from ansible_collections.community.paperspace.plugins.module_utils._outcomes import Progress
from ansible_collections.community.paperspace.plugins.module_utils._snapshot_plans import Wish
from ansible_collections.community.paperspace.plugins.module_utils._snapshots import run_snapshots

OPTIONS: dict[str, dict[str, Any]] = {
    "state": {"type": "str", "choices": ["present", "absent", "restored"], "default": "present"},
    "machine_ids": {"type": "list", "elements": "str", "aliases": ["machine_id"]},
    "snapshot_ids": {"type": "list", "elements": "str", "aliases": ["snapshot_id"]},
    "name": {"type": "str"},
    "new_name": {"type": "str"},
    "name_prefix": {"type": "str"},
    "keep": {"type": "int"},
    "closed_runs": {"type": "bool", "default": False},
    "safety_snapshot": {"type": "bool", "default": False},
    **WAIT_SPEC,
}


def run(client: Client, options: Mapping[str, Any], *, check_mode: bool, progress: Progress) -> dict[str, Any]:
    """The module's result."""
    wish = Wish(**{option: options[option] for option in OPTIONS})
    return report_result(run_snapshots(client, wish, check_mode=check_mode, progress=progress), "snapshots")


def main() -> None:
    module = AnsibleModule(argument_spec=argument_spec(**OPTIONS), supports_check_mode=True)
    run_module(module, run)


if __name__ == "__main__":
    main()
