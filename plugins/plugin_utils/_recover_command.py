# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of the playbook recover for a run: the one place that writes it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence


def recover_command_line(
    run_id: str, action: str, inventory: Sequence[str], limit: str | None, variables: Mapping[str, str]
) -> str:
    """The command, in one line, with each word quoted for a shell. C(action) is list, rollback or keep."""
    words = ["ansible-playbook", "community.paperspace.recover"]
    for source in inventory:
        words += ["-i", str(source)]
    if limit:
        words += ["-l", str(limit)]
    for name, value in {"recover_run_id": run_id, "recover_action": action, **variables}.items():
        # Ansible splits what follows -e once more, as a shell would.
        words += ["-e", f"{name}={shlex.quote(str(value))}"]
    return shlex.join(words)
