# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.community.paperspace.plugins.module_utils._errors import InputError
from ansible_collections.community.paperspace.plugins.plugin_utils._waves import failure_budget, plan_waves

COUNTS = st.integers(min_value=1, max_value=500)
PERCENTAGES = st.integers(min_value=1, max_value=100).map("{}%".format)
SIZES = st.integers(min_value=1, max_value=1000)
WAVES = st.one_of(SIZES, SIZES.map(str), PERCENTAGES)

# What is neither a number of machines nor a percentage.
SENSELESS = [
    -1,
    "-1",
    "-5%",
    "101%",
    "1000%",
    True,
    False,
    1.0,
    "1.5",
    "12.5%",
    float("nan"),
    "many",
    "%",
    "10 percent",
    "10%%",
    "1 0",
    "1,2",
    "1_000",
    "\u0663",
    "9" * 5000,
    b"3",
    {"size": 1},
    object(),
]


@pytest.mark.parametrize(
    ("waves", "count", "sizes"),
    [
        (None, 5, [5]),
        ("", 5, [5]),
        ([], 5, [5]),
        ((), 5, [5]),
        (1, 3, [1, 1, 1]),
        ("2", 5, [2, 2, 1]),
        (" 2 ", 5, [2, 2, 1]),
        (7, 5, [5]),
        (10**30, 5, [5]),
        ("100%", 5, [5]),
        ("50%", 5, [2, 2, 1]),
        # Rounded down, and at least one.
        ("10%", 19, [1] * 19),
        ("1%", 3, [1, 1, 1]),
        ("29%", 100, [29, 29, 29, 13]),
        # The percentages are of the whole, not of the rest.
        ([1, "10%", "100%"], 50, [1, 5, 44]),
        (["20%", "20%"], 10, [2, 2, 2, 2, 2]),
        ((1, 2), 6, [1, 2, 2, 1]),
        ([1, 2, 3], 2, [1, 1]),
        ([3, 1], 1, [1]),
    ],
)
def test_waves_are_sized_as_serial_does(waves: Any, count: int, sizes: list[int]) -> None:
    assert plan_waves(waves, count) == sizes


@given(COUNTS, st.one_of(st.none(), WAVES, st.lists(WAVES, max_size=6)))
def test_waves_are_positive_and_hold_every_machine_once(count: int, waves: Any) -> None:
    sizes = plan_waves(waves, count)
    assert all(size > 0 for size in sizes)
    assert sum(sizes) == count


@given(COUNTS, st.lists(SIZES, min_size=1, max_size=6))
def test_the_last_size_repeats(count: int, waves: list[int]) -> None:
    sizes = plan_waves(waves, count)
    asked = [*waves, *[waves[-1]] * count][: len(sizes)]
    assert sizes[:-1] == asked[:-1]
    assert sizes[-1] <= asked[-1]


@pytest.mark.parametrize("wave", [*SENSELESS, 0, "0", "0%", "00%", " "])
@pytest.mark.parametrize("in_a_list", [False, True])
def test_waves_that_make_no_sense_are_refused(wave: Any, in_a_list: bool) -> None:
    with pytest.raises(InputError, match=r"^maintenance_waves has .*\[1, \"10%\", \"100%\"\]"):
        # The machines would be used up before the second size counts.
        plan_waves([5, wave] if in_a_list else wave, 5)


@pytest.mark.parametrize("wave", [None, "", [], [1]])
def test_a_list_of_waves_holds_only_sizes(wave: Any) -> None:
    with pytest.raises(InputError, match=r"^maintenance_waves has"):
        plan_waves([wave], 5)


@pytest.mark.parametrize(
    ("value", "count", "budget"),
    [
        (0, 5, 0),
        ("0", 5, 0),
        ("0%", 5, 0),
        (3, 5, 3),
        (" 3", 5, 3),
        (9, 5, 9),
        ("100%", 5, 5),
        ("20%", 5, 1),
        # Rounded down, also to nothing.
        ("19%", 5, 0),
        ("29%", 100, 29),
    ],
)
def test_the_budget_is_a_number_or_a_percentage_of_the_fleet(value: Any, count: int, budget: int) -> None:
    assert failure_budget(value, count) == budget


@pytest.mark.parametrize("value", [*SENSELESS, None, "", [], [1]])
def test_budgets_that_make_no_sense_are_refused(value: Any) -> None:
    with pytest.raises(InputError, match=r"^maintenance_max_failures is "):
        failure_budget(value, 5)
