# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """The options of WAIT_SPEC in C(module_utils/_module.py); a unit test holds the two equal."""

    DOCUMENTATION = r"""
options:
  skip_missing:
    description:
      - Goes on without machines that do not exist, and for C(state=restored) of
        M(community.paperspace.paperspace_snapshot) without machines or ids that have no such snapshot. They are
        reported as V(skipped).
      - When V(false), the whole task is refused before anything is touched.
    type: bool
    default: false
  wait:
    description:
      - Whether to wait until the work on each machine has ended. When V(false), entries are returned as V(pending).
    type: bool
    default: true
  wait_timeout:
    description:
      - The longest time to wait, in seconds, for the whole task. A machine that is busy with something else is waited
        for within this time too.
    type: float
    default: 3600.0
  wait_interval:
    description:
      - The seconds between two looks at the events of all machines that are waited for. What a look cannot reach,
        because it takes more than one request for each 120 machines, is looked at next.
      - When not set, the looks are quick at first, and then come after a tenth of the time waited so far, up to 30 s.
    type: float
notes:
  - While the work goes on, and it takes more than two seconds, lines say how much of it is done, and at once what has
    failed. There are none with C(no_log), with a stdout callback whose output is JSON for programs, and where the
    module runs on a host.
"""
