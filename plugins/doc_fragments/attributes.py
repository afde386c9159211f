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

    ACTIONGROUP_PAPERSPACE = r"""
options: {}
attributes:
  action_group:
    description: Takes the defaults that C(module_defaults) gives for C(group/community.paperspace.paperspace).
    support: full
    membership:
      - community.paperspace.paperspace
"""
