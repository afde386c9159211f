# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark's own arithmetic and tables. What it measures is asserted nowhere."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.figures import (
    FLEET,
    LIMIT,
    URI_5,
    URI_50,
    Figures,
    Goal,
    Results,
    aligned,
    capacity_goals,
    capacity_table,
    figures_table,
    goals,
    goals_table,
)

MIB = 1024 * 1024
FIGURES = Figures(
    approach=FLEET,
    work="snapshot",
    machines=1000,
    per_second=None,
    wall=12.0,
    cpu=4.0,
    memory=60 * MIB,
    memory_together=90 * MIB,
    requests=1100,
    refused=0,
    done=1000,
)
AT_THE_LIMIT = replace(FIGURES, approach=LIMIT, wall=10.0, cpu=1.0, memory=40 * MIB, requests=1000)
WITH_URI = replace(FIGURES, approach=URI_5, wall=480.0, requests=2000)


def by_text(*figures: Figures) -> dict[str, Goal]:
    return {goal.text: goal for goal in goals(Results(figures))}


def test_ratios_to_the_limit_and_the_cost_of_each_machine() -> None:
    found = by_text(FIGURES, AT_THE_LIMIT)
    assert {text: goal.value for text, goal in found.items()} == {
        "snapshot, 1,000: time, times the limit's": 1.2,
        "snapshot, 1,000: requests, times the limit's": 1.1,
        "snapshot, 1,000: CPU for each machine, in ms": 4.0,
        "snapshot, 1,000: times faster than uri with 5 forks": None,
    }
    assert [goal.verdict for goal in found.values()] == ["met", "met", "met", "not measured"]


def test_other_work_and_other_limits_are_not_compared() -> None:
    others = [
        replace(AT_THE_LIMIT, work="restore"),
        replace(AT_THE_LIMIT, per_second=50.0),
        replace(AT_THE_LIMIT, machines=100),
    ]
    assert by_text(FIGURES, *others)["snapshot, 1,000: time, times the limit's"].verdict == "not measured"


@pytest.mark.parametrize(("machines", "count"), [(1, 0), (100, 0), (1000, 4), (10_000, 6)])
def test_goals_are_for_large_fleets(machines: int, count: int) -> None:
    assert len(by_text(replace(FIGURES, machines=machines))) == count


def test_uri_that_was_measured_counts_as_it_is() -> None:
    goal = by_text(FIGURES, WITH_URI)["snapshot, 1,000: times faster than uri with 5 forks"]
    assert (goal.value, goal.verdict, goal.note) == (40.0, "met", "")
    slower = by_text(replace(FIGURES, wall=12.1), WITH_URI)["snapshot, 1,000: times faster than uri with 5 forks"]
    assert slower.verdict == "MISSED"


def test_uri_that_was_not_measured_is_extrapolated_from_the_largest_and_says_so() -> None:
    smaller = [replace(WITH_URI, machines=machines, wall=wall) for machines, wall in ((10, 9.0), (100, 50.0))]
    goal = by_text(FIGURES, *smaller)["snapshot, 1,000: times faster than uri with 5 forks"]
    assert goal.value == pytest.approx(500 / 12)
    assert goal.note == "extrapolated from 100 machines"


def test_uri_with_more_forks_or_in_a_limited_service_says_nothing_of_that_goal() -> None:
    text = "snapshot, 1,000: times faster than uri with 5 forks"
    assert by_text(FIGURES, replace(WITH_URI, approach=URI_50))[text].value is None
    assert len(by_text(replace(FIGURES, per_second=50.0), replace(WITH_URI, per_second=50.0))) == 3


def test_growth_is_compared_with_smaller_fleets() -> None:
    small = replace(FIGURES, machines=100, memory=30 * MIB)
    large = replace(FIGURES, machines=10_000, wall=60.0, cpu=44.0, memory=60 * MIB)
    found = by_text(small, FIGURES, large)
    assert {text: (goal.value, goal.verdict) for text, goal in found.items() if text.startswith("snapshot, 10,")} == {
        "snapshot, 10,000: time, times the limit's": (None, "not measured"),
        "snapshot, 10,000: requests, times the limit's": (None, "not measured"),
        "snapshot, 10,000: CPU for each machine, in ms": (4.4, "met"),
        "snapshot, 10,000: memory, times that at 100": (2.0, "met"),
        "snapshot, 10,000: time, times that at 1,000": (5.0, "met"),
        "snapshot, 10,000: CPU, times that at 1,000": (11.0, "MISSED"),
    }


@pytest.mark.parametrize(("creates", "verdict"), [(639.0, "MISSED"), (640.0, "met"), (5000.0, "met")])
def test_simulator_has_to_be_twice_as_fast_as_asked_in_everything(creates: float, verdict: str) -> None:
    capacity = {"creates": creates, "pages": 100.0}
    found = capacity_goals(10_000, capacity, {"creates": 320.0, "pages": 60.0})
    assert [(goal.text, goal.verdict) for goal in found] == [
        ("the simulator with 10,000: creates, times what is asked for", verdict),
        ("the simulator with 10,000: pages, times what is asked for", "MISSED"),
    ]


def test_table_of_capacity() -> None:
    capacity = {1000: {"creates": 1700.4, "pages": 900.0}, 10_000: {"creates": 1000.0, "pages": 80.6}}
    assert capacity_table(capacity, {"creates": 320.0, "pages": 60.0}) == [
        "         1,000 machines  10,000 machines  asked for",
        "creates            1700             1000        320",
        "pages               900               81         60",
    ]


def test_table_has_a_line_for_each_figure() -> None:
    limited = replace(FIGURES, per_second=50.0, refused=7, done=999, memory_together=None)
    assert figures_table(Results([FIGURES, AT_THE_LIMIT, limited])) == [
        "work              machines  approach  time s  x limit  CPU s  largest MiB  all MiB  requests  429      done",
        "snapshot             1,000  fleet       12.0     1.20    4.0           60       90     1,100    0       all",
        "snapshot             1,000  limit       10.0     1.00    1.0           40       90     1,000    0       all",
        "snapshot at 50/s     1,000  fleet       12.0             4.0           60              1,100    7  ONLY 999",
    ]


def test_table_of_goals() -> None:
    wanted = [
        Goal("quick", 1.2, 1.25),
        Goal("quicker than that", 2.0, 40.0, is_least=True, note="extrapolated from 100 machines"),
        Goal("small", None, 2.0),
    ]
    assert goals_table(wanted) == [
        "goal                 is   wanted",
        "quick              1.20  <= 1.25  met",
        "quicker than that  2.00    >= 40  MISSED        extrapolated from 100 machines",
        "small                       <= 2  not measured",
    ]


def test_columns_are_aligned_without_blanks_at_the_end() -> None:
    assert aligned([["a", "bb", ""], ["ccc", "d", "e"]], left=(0, 2)) == ["a    bb", "ccc   d  e"]
