# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was measured, what is wanted of it, and how both are shown. No clock, no file, no process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

FLEET, ROLES, HOSTS, URI_5, URI_50, LIMIT = "fleet", "roles", "hosts", "uri, 5 forks", "uri, 50 forks", "limit"
APPROACHES = {
    FLEET: "(a) this collection, one task for the fleet",
    ROLES: "(a) the same in the roles snapshot and rollback, which do their bookkeeping host by host, 5 forks",
    HOSTS: "(b) this collection, one task for each host, 50 forks",
    URI_5: "(c) ansible.builtin.uri to create, and uri with until to wait, 5 forks",
    URI_50: "(c) the same with 50 forks",
    LIMIT: "(d) a bare asyncio client that makes only the requests that the API needs",
}

MIB = 1024.0 * 1024.0


@dataclass(frozen=True)
class Figures:
    """One approach to one piece of work. Times are seconds, memory is bytes."""

    approach: str
    work: str
    machines: int
    per_second: float | None
    """The service's limit of requests a second."""
    wall: float
    cpu: float
    """Of the controller and all its children."""
    memory: int
    """Of the largest of these processes, at its peak."""
    memory_together: int | None
    """Of all of these processes together, at the peak of what was seen; None where that cannot be seen."""
    requests: int
    refused: int
    """How many of the requests were answered 429."""
    done: int
    """How many machines the service really did the work on."""

    @property
    def is_whole(self) -> bool:
        return self.done == self.machines


@dataclass(frozen=True)
class Goal:
    """What is wanted of one figure. C(value) is None when it was not measured."""

    text: str
    value: float | None
    bound: float
    is_least: bool = False
    """Whether the bound is the least that is wanted, and not the most."""
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.value is None:
            return "not measured"
        is_met = self.value >= self.bound if self.is_least else self.value <= self.bound
        return "met" if is_met else "MISSED"


class Results:
    """All figures of one run, by approach, work, machines and limit."""

    def __init__(self, figures: Sequence[Figures]) -> None:
        self.figures = figures
        self._by_key = {(each.approach, each.work, each.machines, each.per_second): each for each in figures}

    def find(self, approach: str, like: Figures) -> Figures | None:
        """The same work by another approach."""
        return self._by_key.get((approach, like.work, like.machines, like.per_second))

    def sized(self, like: Figures, machines: int) -> Figures | None:
        """The same for so many machines."""
        return self._by_key.get((like.approach, like.work, machines, like.per_second))

    def estimated_wall(self, approach: str, like: Figures) -> tuple[float, int] | None:
        """The seconds that another approach takes for this work, and for how many machines they were measured.

        Those of a smaller fleet are scaled up: where each machine costs its own processes, time grows with them.
        """
        sizes = [
            each
            for each in self.figures
            if (each.approach, each.work, each.per_second) == (approach, like.work, like.per_second)
            and each.machines <= like.machines
        ]
        if not sizes:
            return None
        largest = max(sizes, key=lambda each: each.machines)
        return largest.wall * like.machines / largest.machines, largest.machines


def goals(results: Results) -> list[Goal]:
    """All that is wanted of the fleet task, as far as there are figures for it."""
    return [goal for each in results.figures if each.approach == FLEET for goal in _goals_of(each, results)]


def capacity_goals(machines: int, capacity: Mapping[str, float], asked_for: Mapping[str, float]) -> list[Goal]:
    """That the simulator is not what takes the time: of each kind of request twice what is asked of it at most.

    C(capacity) and C(asked_for) are requests a second.
    """
    return [
        Goal(f"the simulator with {machines:,}: {what}, times what is asked for", a_second / asked_for[what], 2.0, True)
        for what, a_second in capacity.items()
    ]


def _goals_of(fleet: Figures, results: Results) -> Iterator[Goal]:
    what = f"{describe_work(fleet)}, {fleet.machines:,}"
    if fleet.machines >= 1000:
        limit = results.find(LIMIT, fleet)
        yield Goal(f"{what}: time, times the limit's", _ratio(fleet, limit, "wall"), 1.25)
        yield Goal(f"{what}: requests, times the limit's", _ratio(fleet, limit, "requests"), 1.1)
        yield Goal(f"{what}: CPU for each machine, in ms", 1000 * fleet.cpu / fleet.machines, 10.0)
    if fleet.machines == 1000 and fleet.per_second is None:
        # Where the service's limit is what takes the time, this would say nothing.
        yield _goal_against_uri(fleet, results, what)
    if fleet.machines == 10_000:
        small, middle = results.sized(fleet, 100), results.sized(fleet, 1000)
        yield Goal(f"{what}: memory, times that at 100", _ratio(fleet, small, "memory"), 2.0)
        yield Goal(f"{what}: time, times that at 1,000", _ratio(fleet, middle, "wall"), 10.0)
        yield Goal(f"{what}: CPU, times that at 1,000", _ratio(fleet, middle, "cpu"), 10.0)


def _goal_against_uri(fleet: Figures, results: Results, what: str) -> Goal:
    text = f"{what}: times faster than uri with 5 forks"
    estimate = results.estimated_wall(URI_5, fleet)
    if estimate is None:
        return Goal(text, None, 40.0, is_least=True)
    wall, measured = estimate
    note = "" if measured == fleet.machines else f"extrapolated from {measured:,} machines"
    return Goal(text, wall / fleet.wall, 40.0, is_least=True, note=note)


def _ratio(one: Figures, other: Figures | None, what: str) -> float | None:
    of_other = other and getattr(other, what)
    return getattr(one, what) / of_other if of_other else None


def describe_work(figures: Figures) -> str:
    return figures.work if figures.per_second is None else f"{figures.work} at {figures.per_second:g}/s"


def capacity_table(capacity: Mapping[int, Mapping[str, float]], asked_for: Mapping[str, float]) -> list[str]:
    """One line for each kind of request. C(capacity): by number of machines."""
    rows = [["", *(f"{machines:,} machines" for machines in capacity), "asked for"]]
    for what, most in asked_for.items():
        rows.append([what, *(f"{found[what]:.0f}" for found in capacity.values()), f"{most:.0f}"])
    return aligned(rows, left=(0,))


def figures_table(results: Results) -> list[str]:
    """One line for each approach to each piece of work."""
    rows = [["work", "machines", "approach", "time s", "x limit", "CPU s", "largest MiB"]]
    rows[0] += ["all MiB", "requests", "429", "done"]
    for each in results.figures:
        limit = results.find(LIMIT, each)
        ratio = _ratio(each, limit, "wall")
        rows.append(
            [
                describe_work(each),
                f"{each.machines:,}",
                each.approach,
                f"{each.wall:.1f}",
                "" if ratio is None else f"{ratio:.2f}",
                f"{each.cpu:.1f}",
                f"{each.memory / MIB:.0f}",
                "" if each.memory_together is None else f"{each.memory_together / MIB:.0f}",
                f"{each.requests:,}",
                f"{each.refused:,}",
                "all" if each.is_whole else f"ONLY {each.done:,}",
            ]
        )
    return aligned(rows, left=(0, 2))


def goals_table(wanted: Sequence[Goal]) -> list[str]:
    """One line for each goal."""
    rows = [
        [
            goal.text,
            "" if goal.value is None else f"{goal.value:.2f}",
            f"{'>=' if goal.is_least else '<='} {goal.bound:g}",
            goal.verdict,
            goal.note,
        ]
        for goal in wanted
    ]
    return aligned([["goal", "is", "wanted", "", ""], *rows], left=(0, 3, 4))


def aligned(rows: Sequence[Sequence[str]], left: Sequence[int]) -> list[str]:
    """Rows as lines of columns, of which those in C(left) begin at the same place and the others end there."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if number in left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
