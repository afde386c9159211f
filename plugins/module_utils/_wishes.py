# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every wish is checked for before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from ansible_collections.community.paperspace.plugins.module_utils._client import checked_id
from ansible_collections.community.paperspace.plugins.module_utils._errors import InputError

# Whether it is one, and what to say then.
Problem: TypeAlias = "tuple[bool, str]"


def refuse_first(problems: Iterable[Problem], *, ids: Iterable[str]) -> None:
    """Raise InputError for the first problem that is one, and for an id that does not belong in a path."""
    for is_problem, text in problems:
        if is_problem:
            raise InputError(text)
    for some_id in ids:
        checked_id(some_id)


def wait_problems(wait_timeout: float, wait_interval: float | None) -> list[Problem]:
    """Of each of the two options, whether it is one that nobody can wait for, and what to say then."""
    times = {"wait_timeout": wait_timeout, "wait_interval": 1.0 if wait_interval is None else wait_interval}
    return [
        (not 0 < seconds < float("inf"), f"{option} must be more than 0 seconds and finite, not {seconds:g}.")
        for option, seconds in times.items()
    ]
