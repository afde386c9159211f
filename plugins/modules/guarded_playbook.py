#!/usr/bin/python
# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The action plugin of the same name does it all, on the controller.

from __future__ import annotations

DOCUMENTATION = r"""
module: guarded_playbook
short_description: Run playbooks between snapshot and rollback
version_added: 1.0.0
author:
  - The community.paperspace authors (@ansible-community)
description:
  - Takes a snapshot of each machine, runs the playbooks unmodified, in an C(ansible-playbook) of their own, and rolls
    back
    every machine that does not come through. A machine comes through when it ran every play that targets it to the end,
    without a task that failed or that could not reach it.
  - B(What has changed on the disk since the snapshot is gone) when a machine is rolled back, and cannot be brought
    back.
  - The work is done by a process of its own. When C(ansible-playbook) is interrupted, ended or killed, it ends the
    playbooks
    with all their processes, rolls back what they left unfinished, and writes the report.
  - The playbooks get the command line of the running C(ansible-playbook), but for its C(--limit), which is narrowed
    to the
    machines of the wave. Plays on C(localhost) run once in each wave.
  - The playbook C(community.paperspace.maintenance) is the usual way to use it.
options:
  playbooks:
    description:
      - Paths or fully qualified names of the playbooks, run one after the other. Each gets only the machines that
        came through those before, so that later ones can verify.
      - Needed unless O(answers) is given.
    type: list
    elements: str
  machines:
    description:
      - The fleet, in the order of its waves. Needed unless O(answers) is given.
    type: list
    elements: dict
    suboptions:
      host:
        description: The name of the host in the inventory.
        type: str
        required: true
      machine_id:
        description: The id of its machine.
        type: str
        required: true
  run_id:
    description:
      - The id of the run. Made when not given. Several controllers may share one, each with machines of its own.
    type: str
  prefix:
    description: What the names of the run's snapshots begin with.
    type: str
    default: maint-
  waves:
    description:
      - The sizes of the waves, as C(serial) of a play. Without it, all machines are maintained at once.
    type: raw
  soak:
    description: How long to wait between waves, in seconds.
    type: float
    default: 0
  max_failures:
    description:
      - How many machines, or how much percent of them, may be lost before no further wave starts. A machine is lost
        when it fails, is unreachable, does not come to the end, or gets no snapshot.
    type: raw
    default: 0
  rollback_scope:
    description:
      - What to roll back when O(max_failures) is exceeded or the run is stopped. Machines that are lost are always
        rolled back.
      - V(failed) rolls back no others, V(wave) all of the wave, V(fleet) all of this and of earlier waves.
    type: str
    choices: [failed, wave, fleet]
    default: failed
  safety_snapshot:
    description: Whether to take one more snapshot of a machine before it is rolled back.
    type: bool
    default: false
  report_dir:
    description:
      - The folder for the report, C(RUN_ID.json), C(RUN_ID.md) and C(RUN_ID.html), and for the output, C(RUN_ID.log).
        It is made if needed. Only the user can read the files. Nothing is written in check mode.
      - When there is a report of the run already, as of another controller that shares it, a number is added to the
        names, as in C(RUN_ID-2.json). No report is written over.
    type: path
    default: paperspace-runs
  wait_timeout:
    description: How long to wait for the snapshots of a wave, and for a rollback, in seconds each.
    type: float
    default: 3600
  recover_variables:
    description: Variables for the playbook C(recover), with which it finds the same machines, such as C(recover_hosts).
    type: dict
    default: {}
  answers:
    description:
      - Adds to the report O(report_file) whether machines answer after their rollback, and does nothing else. By host,
        a dictionary with C(error) (why it does not answer, or empty), C(began) and C(ended) (seconds since the epoch).
    type: dict
  report_file:
    description: The report to add O(answers) to, the first of RV(report_files). Needed with O(answers).
    type: path
extends_documentation_fragment:
  - community.paperspace.connection
  - community.paperspace.attributes
  - community.paperspace.attributes.actiongroup_paperspace
attributes:
  check_mode:
    support: full
    details:
      - The playbooks run with C(--check), without snapshot and rollback.
  diff_mode:
    support: none
    details:
      - The playbooks run with C(--diff) if it is given.
  idempotent:
    support: none
    details:
      - Each time is a run of its own.
notes:
  - What cannot be passed on is refused at the start, such as C(--ask-pass), C(--step) and hosts made by C(add_host).
  - A C(vars_prompt) of the playbooks takes its default, since nothing may ask for input. Give such variables with
    C(-e).
  - A guarded run is refused when a machine has an open run. The message has the commands that resolve it.
  - A run that is refused, and one whose own process was killed and could not be replaced, fails with C(msg) alone.
seealso:
  - module: community.paperspace.paperspace_snapshot
"""

EXAMPLES = r"""
- name: Patch two machines, one after the other
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Patch
      community.paperspace.guarded_playbook:
        playbooks:
          - patch.yml
          - verify.yml
        machines:
          - host: web1
            machine_id: psabc12345
          - host: web2
            machine_id: psdef67890
        waves: 1
"""

RETURN = r"""
run_id:
  description: The id of the run.
  type: str
  returned: when the run has come to its end
  sample: 20260131T235959Z-1a2b
status:
  description: Whether all machines came through, V(succeeded) or V(failed).
  type: str
  returned: when the run has come to its end
  sample: succeeded
ended_by:
  description: V(end), or what stopped the run.
  type: str
  returned: when the run has come to its end
  sample: end
problems:
  description: What is wrong with the run as a whole, as sentences.
  type: list
  elements: str
  returned: when the run has come to its end
  sample: []
machines:
  description: What became of each machine, as in the report.
  type: list
  elements: dict
  returned: when the run has come to its end
  sample:
    - host: web1
      machine_id: psabc12345
      outcome: ok
      verdict: ok
table:
  description: The same for people, as lines.
  type: list
  elements: str
  returned: when the run has come to its end
  sample: []
open_hosts:
  description: The hosts on which the run is, or may be, still open.
  type: list
  elements: str
  returned: when the run has come to its end
  sample: []
recover_command:
  description:
    - The command that lists the machines on which the run is still open, and what can be done; null when there are
      none.
  type: str
  returned: when the run has come to its end
  sample: null
rollback_command:
  description:
    - The command that puts back those of them whose maintenance or rollback has not come to its end; null when there
      are none.
    - B(It destroys what has changed on their disks since their snapshots).
  type: str
  returned: when the run has come to its end
  sample: null
keep_command:
  description:
    - The command that closes the run on the others of them and leaves these as they are; null when there are none.
  type: str
  returned: when the run has come to its end
  sample: null
report_files:
  description: The paths of the report, JSON, Markdown and HTML. Empty in check mode, and when it could not be written.
  type: list
  elements: str
  returned: when the run has come to its end
  sample:
    - /home/me/paperspace-runs/20260131T235959Z-1a2b.json
    - /home/me/paperspace-runs/20260131T235959Z-1a2b.md
    - /home/me/paperspace-runs/20260131T235959Z-1a2b.html
"""
