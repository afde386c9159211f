# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What the attributes of an action mean. Each module says how far it supports them."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: With C(--check), says what it would change, and changes nothing.
  diff_mode:
    description: With C(--diff), shows what is, or would be, different afterwards.
  idempotent:
    description: The same task run again right afterwards reports no change.
"""

    # For modules that only read; used together with the standard fragment.
    INFO_MODULE = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - This module only reads.
  diff_mode:
    support: N/A
    details:
      - This module only reads.
  idempotent:
    support: full
    details:
      - This module only reads.
"""

    # For modules whose action plugins do their work.
    IN_CONTROLLER = r"""
options: {}
attributes:
  action:
    description: Has an action plugin of the same name, which does the work on the controller.
    support: full
    details:
      - The work is done inside of C(ansible-playbook). Nothing is needed on the hosts of the play, which need not even
        be reachable, and C(delegate_to) is not needed either.
      - A task with C(become), a non-empty C(environment), C(async), or C(delegate_to) a host whose connection is not
        V(local) runs the module as any other, on that host. Set C(become=false) where the play sets C(become=true).
  async:
    description: Can be run in the background, with C(async).
    support: full
notes:
  - The environment, C(~/.paperspace), and the Python that needs requests, are those of C(ansible-playbook) itself,
    unless the task is one that runs the module on a host.
"""

    ACTIONGROUP_PAPERSPACE = r"""
options: {}
attributes:
  action_group:
    description: Takes the defaults that C(module_defaults) gives for C(group/community.paperspace.paperspace).
    support: full
    membership:
      - community.paperspace.paperspace
"""
