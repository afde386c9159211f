# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lists snapshots from the controller. The module of the same name has the documentation."""

from __future__ import annotations

from ansible_collections.community.paperspace.plugins.modules.paperspace_snapshot_info import OPTIONS, run
from ansible_collections.community.paperspace.plugins.plugin_utils._in_process import InProcessAction


class ActionModule(InProcessAction):
    OPTIONS = OPTIONS
    WORK = staticmethod(run)
