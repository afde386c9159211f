# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is measured, what is left out and why, how long it takes about, and how it is done in parts."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.figures import APPROACHES, FLEET, HOSTS, LIMIT, ROLES, URI_5, URI_50

WORKS = ("snapshot", "restore")
PER_SECOND = 50.0
CONCURRENCY = 16
LATENCY = 0.05
SETTINGS = {"snapshot_seconds": 5.0, "restore_seconds": 5.0, "latency_seconds": LATENCY}
# Pages of one list come one after the other, since each needs the cursor of the one before. There are three lists, and
# that of the machines is read from both ends.
_AT_ONCE = {"creates": CONCURRENCY, "restores": CONCURRENCY, "pages of events": 4, "pages of machines": 4}
ASKED_FOR = {what: count / LATENCY for what, count in _AT_ONCE.items()}
"""By kind of request, how many a second are asked of the simulator at most."""
# The fleets with which the simulator's own capacity is shown.
QUICK_CAPACITY, CAPACITY = (1000,), (1000, 10_000)
SIZES = (1, 10, 100, 1000, 10_000)

# How many hosts Ansible works on at once, where that matters.
FORKS = {ROLES: 5, HOSTS: 50, URI_5: 5, URI_50: 50}


@dataclass(frozen=True)
class Case:
    """A fleet of a size, by one approach: first all snapshots, then all restores."""

    approach: str
    machines: int
    per_second: float | None
    """The service's limit of requests a second."""


@dataclass(frozen=True)
class LeftOut:
    """What a whole run does not measure."""

    approach: str
    machines: int
    per_second: float | None
    why: str


def cases(*, quick: bool) -> list[Case]:
    """Every fleet by every approach, as far as that can be waited for."""
    sizes = {
        FLEET: SIZES[:4] if quick else SIZES,
        ROLES: (1, 100) if quick else (1, 100, 1000),
        HOSTS: SIZES[:3] if quick else SIZES[:4],
        URI_5: SIZES[:3] if quick else SIZES[:4],
        URI_50: SIZES[:3] if quick else SIZES[:4],
    }
    sizes[LIMIT] = sizes[FLEET]
    limited = {
        FLEET: (100, 1000) if quick else SIZES,
        ROLES: (),
        HOSTS: (100,) if quick else SIZES[:4],
        URI_5: (100,) if quick else SIZES[:3],
        URI_50: (100,) if quick else SIZES[:3],
    }
    limited[LIMIT] = limited[FLEET]
    return [
        Case(approach, machines, per_second)
        for per_second, chosen in ((None, sizes), (PER_SECOND, limited))
        for machines in SIZES
        for approach in APPROACHES
        if machines in chosen[approach]
    ]


def left_out() -> list[LeftOut]:
    """What of the fleets of up to 1,000 machines is not even part of a whole run."""
    chosen = [Case(approach, 1000, PER_SECOND) for approach in (URI_5, URI_50)]
    minutes = sum(map(estimated_seconds, chosen)) / 60
    why = (
        f"uri with 5 and with 50 forks would take about {minutes:.0f} minutes more, and tell nothing new: "
        f"with processes of its own for each machine it sends far less than {PER_SECOND:g} requests a second, "
        "so it takes as long as without that limit"
    )
    return [LeftOut(case.approach, case.machines, case.per_second, why) for case in chosen]


@dataclass(frozen=True)
class Pace:
    """What one host takes in both kinds of work together, in seconds: of its fork, and of two processors."""

    fork: float
    processors: float


# As measured on two cores.
PACES = {ROLES: Pace(0.0, 0.05), HOSTS: Pace(15.5, 0.15), URI_5: Pace(0.0, 1.2), URI_50: Pace(0.0, 1.2)}
SECONDS_AT_LEAST = 20.0
REQUESTS_A_SECOND = 250.0


def estimated_seconds(case: Case) -> float:
    """About how long both kinds of work take, with the simulator's start."""
    rate = min(REQUESTS_A_SECOND, case.per_second or REQUESTS_A_SECOND)
    seconds = SECONDS_AT_LEAST + 2.2 * case.machines / rate
    if case.approach not in PACES:
        return seconds
    pace, rounds = PACES[case.approach], math.ceil(case.machines / FORKS[case.approach])
    return max(seconds, SECONDS_AT_LEAST + max((rounds - 1) * pace.fork, case.machines * pace.processors))


def part_of(chosen: Sequence[Case], number: int, parts: int) -> list[Case]:
    """One of so many parts that take about as long. What is compared side by side stays together."""
    together: defaultdict[tuple[int, float | None], list[Case]] = defaultdict(list)
    for case in chosen:
        together[case.machines, case.per_second].append(case)
    loads = [0.0] * parts
    part_by_group = {}
    for key, group in sorted(together.items(), key=lambda item: -sum(map(estimated_seconds, item[1]))):
        part_by_group[key] = loads.index(min(loads))
        loads[part_by_group[key]] += sum(map(estimated_seconds, group))
    return [case for case in chosen if part_by_group[case.machines, case.per_second] == number - 1]
