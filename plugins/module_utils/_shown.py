# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody else wrote, fit for a message."""

from __future__ import annotations


def shown(text: str, longest: int = 500) -> str:
    """The text on one line, without what a terminal would obey, and not longer than C(longest) characters."""
    if len(text) <= longest and text.isprintable():
        return text
    words = " ".join(text.split())[:longest]
    return "".join(character if character.isprintable() else "?" for character in words)
