# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many machines each wave of a maintenance has, and how many may be lost before no further wave starts.

Pure, and free of Ansible.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.community.paperspace.plugins.module_utils._errors import InputError

_NUMBER = re.compile(r"\s*(?P<number>[0-9]{1,18})\s*(?P<percent>%?)\s*")


@dataclass(frozen=True)
class _Amount:
    """A number of machines, or a percentage of the fleet."""

    number: int
    is_percent: bool

    def of(self, count: int) -> int:
        """The number of machines out of C(count), rounded down."""
        return count * self.number // 100 if self.is_percent else self.number


def plan_waves(waves: Any, count: int) -> list[int]:
    """The sizes of the waves for C(count) machines; they are positive, and their sum is C(count).

    C(waves) is as C(serial) of a play: a number, a percentage of the whole such as C("10%"), or a list of these. The
    last one repeats until all machines have their wave. None, empty text and an empty list mean one wave.
    A percentage is rounded down, and makes at least 1. Raises InputError for anything else.
    """
    wanted = [max(1, _wave(wave).of(count)) for wave in _elements(waves)] or [count]
    sizes: list[int] = []
    left = count
    while left > 0:
        size = min(left, wanted[min(len(sizes), len(wanted) - 1)])
        sizes.append(size)
        left -= size
    return sizes


def failure_budget(value: Any, count: int) -> int:
    """How many of C(count) machines may be lost before no further wave starts.

    C(value) is a number from 0, or a percentage of the fleet from C("0%") to C("100%"), which is rounded down. Raises
    InputError for anything else.
    """
    amount = _amount(value)
    if amount is None:
        raise InputError(
            f"maintenance_max_failures is {value!r:.80}. It takes how many machines may be lost before no further wave "
            'starts: a whole number from 0, or a percentage of the fleet from "0%" to "100%".'
        )
    return amount.of(count)


def _elements(waves: Any) -> Sequence[Any]:
    """The waves as a list, which is empty when none are asked for."""
    if waves is None or waves == "":
        return []
    return waves if isinstance(waves, Sequence) and not isinstance(waves, (str, bytes)) else [waves]


def _wave(value: Any) -> _Amount:
    amount = _amount(value)
    if amount is None or amount.number == 0:
        raise InputError(
            f"maintenance_waves has {value!r:.80}. It takes the sizes of the waves as serial of a play does: a whole "
            'number from 1, a percentage from "1%" to "100%", or a list of these, for example '
            """-e '{"maintenance_waves": [1, "10%", "100%"]}'."""
        )
    return amount


def _amount(value: Any) -> _Amount | None:
    """The value read, or None when it is none. A number with a fraction and a boolean are none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return _Amount(value, is_percent=False) if value >= 0 else None
    match = _NUMBER.fullmatch(value) if isinstance(value, str) else None
    if not match:
        return None
    amount = _Amount(int(match["number"]), is_percent=bool(match["percent"]))
    return None if amount.is_percent and amount.number > 100 else amount
