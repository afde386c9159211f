# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""All that a run of the benchmarks has found, as it is stored, and several parts put together."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.figures import Figures, Goal, Results, capacity_goals, goals
from benchmarks.plan import ASKED_FOR, CAPACITY, WORKS, LeftOut, cases, left_out

COMPARABLE = ("cpus", "system", "python", "ansible_core", "concurrency", "settings")


@dataclass
class Findings:
    """What one run has found, or several parts of one."""

    about: dict[str, Any]
    capacity: dict[int, dict[str, float]] = field(default_factory=dict)
    """By number of machines and kind of request, how many requests a second the simulator answers."""
    figures: list[Figures] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    left_out: Sequence[LeftOut] = ()

    @property
    def goals(self) -> list[Goal]:
        of_simulator = [
            goal for machines, found in self.capacity.items() for goal in capacity_goals(machines, found, ASKED_FOR)
        ]
        return [*of_simulator, *goals(Results(self.figures))]

    @property
    def all_failures(self) -> list[str]:
        return self.failures + [f"not done on all machines: {each}" for each in self.figures if not each.is_whole]

    def write(self, path: Path) -> None:
        content = {
            "about": {**self.about, "load_at_the_end": os.getloadavg()},
            "capacity": [{"machines": machines, **found} for machines, found in self.capacity.items()],
            "figures": [asdict(each) for each in self.figures],
            "left_out": [asdict(each) for each in self.left_out],
            "goals": [{**asdict(goal), "verdict": goal.verdict} for goal in self.goals],
            "failures": self.all_failures,
        }
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Findings:
        content = json.loads(path.read_text(encoding="utf-8"))
        capacity = {each.pop("machines"): each for each in content["capacity"]}
        return cls(content["about"], capacity, [Figures(**each) for each in content["figures"]])


def merge(parts: Sequence[Findings]) -> Findings:
    """All of them as one run: of what several have measured, the last counts. Raises ValueError if they do not fit."""
    about = parts[-1].about
    for part, name in itertools.product(parts, COMPARABLE):
        if part.about[name] != about[name]:
            raise ValueError(f"{name} of the parts differs: {part.about[name]} and {about[name]}")
    figures = {(each.approach, each.work, each.machines, each.per_second): each for p in parts for each in p.figures}
    merged = Findings({**about, "parts": [part.about for part in parts]}, left_out=left_out())
    for machines, found in itertools.chain.from_iterable(part.capacity.items() for part in parts):
        earlier = merged.capacity.get(machines, found)
        merged.capacity[machines] = {what: min(a_second, earlier[what]) for what, a_second in found.items()}
    for case, work in itertools.product(cases(quick=False), WORKS):
        measured = figures.get((case.approach, work, case.machines, case.per_second))
        if measured is None:
            merged.failures.append(f"not measured: {work}, {case}")
        else:
            merged.figures.append(measured)
    merged.failures += [f"not measured: capacity with {each:,}" for each in CAPACITY if each not in merged.capacity]
    return merged
