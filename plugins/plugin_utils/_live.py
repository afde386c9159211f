# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines that the user sees at once, from actions that are still at work."""

from __future__ import annotations

import contextlib
import os
from typing import Protocol


class Display(Protocol):
    """As much of Ansible's display as is needed here."""

    def display(self, msg: str) -> object:
        """Show a line."""


def _kept_output() -> int | None:
    """The standard output of ansible-playbook, kept when this is loaded there: its workers have lost it."""
    try:
        return os.dup(1)
    except OSError:
        return None


OUTPUT = _kept_output()


def show(text: str, display: Display) -> None:
    """Show a line at once; C(display) is the way where there is no standard output.

    What a worker gives to its display may wait in a buffer until the task has ended, or be taken by nobody any more.
    """
    if OUTPUT is None:
        display.display(text)
        return
    rest = f"{text}\n".encode(errors="replace")
    # Whoever was to read it may be gone.
    with contextlib.suppress(OSError):
        while rest:
            rest = rest[os.write(OUTPUT, rest) :]
