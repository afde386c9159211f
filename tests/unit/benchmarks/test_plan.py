# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of the benchmarks measures, and how it is done in parts."""

from __future__ import annotations

import itertools

import pytest

from benchmarks.figures import APPROACHES, FLEET, HOSTS, LIMIT, URI_5, URI_50
from benchmarks.plan import PER_SECOND, SIZES, Case, cases, estimated_seconds, left_out, part_of

ALL = cases(quick=False)
HALF_AN_HOUR = 1800.0


def test_whole_run_has_every_size_by_every_approach_or_says_why_not() -> None:
    wanted = {
        Case(approach, machines, per_second)
        for approach, machines, per_second in itertools.product((FLEET, LIMIT), SIZES, (None, PER_SECOND))
    }
    wanted |= {
        Case(approach, machines, per_second)
        for approach, machines, per_second in itertools.product(APPROACHES, (1, 100, 1000), (None, PER_SECOND))
        if approach != "roles" or per_second is None
    }
    told = {Case(each.approach, each.machines, each.per_second) for each in left_out()}
    assert told == {Case(approach, 1000, PER_SECOND) for approach in (URI_5, URI_50)}
    assert told.isdisjoint(ALL)
    assert wanted - set(ALL) == told
    assert len(ALL) == len(set(ALL))


def test_what_is_left_out_says_how_long_it_would_take() -> None:
    seconds = sum(estimated_seconds(Case(each.approach, each.machines, each.per_second)) for each in left_out())
    assert seconds > HALF_AN_HOUR
    for each in left_out():
        assert f"would take about {seconds / 60:.0f} minutes more" in each.why


def test_quick_run_is_a_part_of_a_whole_one() -> None:
    quick = cases(quick=True)
    assert set(quick) < set(ALL)
    assert {case.approach for case in quick} == set(APPROACHES)
    assert sum(map(estimated_seconds, quick)) < sum(map(estimated_seconds, ALL)) / 3


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_parts_make_up_the_whole_and_keep_together_what_is_compared(parts: int) -> None:
    found = [part_of(ALL, number, parts) for number in range(1, parts + 1)]
    assert sorted(map(str, itertools.chain.from_iterable(found))) == sorted(map(str, ALL))
    groups = [{(case.machines, case.per_second) for case in part} for part in found]
    assert sum(map(len, groups)) == len(set().union(*groups))
    assert all(found)


def test_estimate_grows_with_the_fleet() -> None:
    for approach in APPROACHES:
        estimates = [estimated_seconds(Case(approach, machines, None)) for machines in SIZES]
        assert estimates == sorted(estimates)
        assert estimates[0] < 60
    assert estimated_seconds(Case(HOSTS, 1000, None)) < estimated_seconds(Case(URI_5, 1000, None))
    assert estimated_seconds(Case(FLEET, 1000, PER_SECOND)) > estimated_seconds(Case(FLEET, 1000, None))
