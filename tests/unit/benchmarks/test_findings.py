# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures that are stored and read again, parts that are put together, and how a run ends."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import run
from benchmarks.figures import FLEET, LIMIT, URI_5, Figures
from benchmarks.findings import Findings, merge
from benchmarks.plan import ASKED_FOR, CAPACITY, SETTINGS, WORKS, Case, cases, left_out

ABOUT: dict[str, Any] = {
    "began": "2026-01-31T23:59:59Z",
    "cpus": 2,
    "system": "Linux",
    "python": "3.11.7",
    "ansible_core": "2.19.0",
    "concurrency": 16,
    "settings": SETTINGS,
}
AMPLE = {what: 3 * a_second for what, a_second in ASKED_FOR.items()}


def figures_of(case: Case, work: str) -> Figures:
    """As they would be if all goals were met."""
    seconds = {FLEET: 1.1, LIMIT: 1.0}.get(case.approach, 100.0)
    return Figures(
        approach=case.approach,
        work=work,
        machines=case.machines,
        per_second=case.per_second,
        wall=seconds * case.machines / 50,
        cpu=0.001 * case.machines,
        memory=60_000_000,
        memory_together=90_000_000,
        requests=2 * case.machines,
        refused=0,
        done=case.machines,
    )


def findings(chosen: list[Case], **about: Any) -> Findings:
    figures = [figures_of(case, work) for case in chosen for work in WORKS]
    return Findings({**ABOUT, **about}, dict.fromkeys(CAPACITY, AMPLE), figures)


ALL = cases(quick=False)


def test_what_is_stored_is_read_again(tmp_path: Path) -> None:
    stored = findings(ALL[:3])
    stored.write(tmp_path / "run.json")
    read = Findings.read(tmp_path / "run.json")
    assert (read.capacity, read.figures) == (stored.capacity, stored.figures)
    assert read.about.items() >= ABOUT.items()


def test_stored_run_has_goals_with_verdicts_and_what_was_left_out(tmp_path: Path) -> None:
    merge([findings(ALL)]).write(tmp_path / "run.json")
    content = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert {goal["verdict"] for goal in content["goals"]} == {"met"}
    assert [each["why"] for each in content["left_out"]] == [each.why for each in left_out()]
    assert content["failures"] == []


def test_parts_make_one_run_and_the_last_counts() -> None:
    again = [replace(each, wall=7.0) for each in findings(ALL[:1]).figures]
    parts = [findings(ALL[:20]), findings(ALL[20:]), Findings(ABOUT, {1000: AMPLE}, again)]
    merged = merge(parts)
    assert merged.all_failures == []
    assert len(merged.figures) == 2 * len(ALL)
    assert [each.wall for each in merged.figures[:3]] == [7.0, 7.0, figures_of(ALL[1], "snapshot").wall]


def test_of_several_capacities_the_least_counts() -> None:
    less = {**AMPLE, "creates": 1.0}
    merged = merge([Findings(ABOUT, {1000: less}), Findings(ABOUT, {1000: AMPLE, 10_000: AMPLE})])
    assert merged.capacity == {1000: less, 10_000: AMPLE}


def test_what_no_part_has_measured_is_a_failure() -> None:
    merged = merge([Findings(ABOUT, {1000: AMPLE}, findings(ALL[1:]).figures)])
    assert len(merged.all_failures) == 3
    assert all(failure.startswith("not measured: ") for failure in merged.all_failures)


@pytest.mark.parametrize("name", ["cpus", "ansible_core", "settings"])
def test_parts_from_different_surroundings_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} of the parts differs: .* and "):
        merge([findings(ALL[:1], **{name: "another"}), findings(ALL[1:])])


def measured(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Let a run find what meets all goals, but for these figures of a fleet of 1,000."""

    def measure(chosen: list[Case], found: Findings, path: Path, capacity: Any) -> None:
        found.capacity = dict.fromkeys(capacity, AMPLE)
        found.figures = findings(chosen).figures
        for number, each in enumerate(found.figures):
            if (each.approach, each.machines, each.per_second) == (FLEET, 1000, None):
                found.figures[number] = replace(each, **changes)

    monkeypatch.setattr(run, "measure", measure)


def stored(folder: Path) -> dict[str, Any]:
    [path] = folder.glob("*.json")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def test_whole_run_that_meets_all_goals_succeeds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(monkeypatch)
    assert run.main(["--output", str(tmp_path)]) == 0
    assert {goal["verdict"] for goal in stored(tmp_path)["goals"]} == {"met"}
    output = capsys.readouterr()
    assert "snapshot and restore at 50/s, 1,000 machines, uri, 5 forks: left out, because uri with 5 and" in output.out
    assert " minutes on two cores: until " in output.err
    assert "--part 1/3" in output.err


@pytest.mark.parametrize("changes", [{"wall": 1000.0}, {"cpu": 11.0}, {"requests": 2300}])
def test_whole_run_that_misses_a_goal_fails_with_its_table(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any]
) -> None:
    measured(monkeypatch, **changes)
    assert run.main(["--output", str(tmp_path)]) == 1
    assert "MISSED" in {goal["verdict"] for goal in stored(tmp_path)["goals"]}
    output = capsys.readouterr()
    assert "MISSED" in output.out
    assert "Not met: snapshot, 1,000: " in output.err


@pytest.mark.parametrize("capacity", [{}, {1000: {**AMPLE, "pages of events": 1.0}}])
def test_whole_run_fails_when_the_simulator_is_too_slow_or_a_goal_has_no_figure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capacity: dict[int, dict[str, float]]
) -> None:
    def measure(chosen: list[Case], found: Findings, *arguments: Any) -> None:
        found.capacity, found.figures = capacity, findings(chosen).figures
        if not capacity:
            found.figures = [each for each in found.figures if each.approach != URI_5]

    monkeypatch.setattr(run, "measure", measure)
    assert run.main(["--output", str(tmp_path)]) == 1


@pytest.mark.parametrize(
    "options",
    [["--quick"], ["--machines", "1000"], ["--approach", FLEET, LIMIT], ["--part", "1/2"], ["--rate", "limited"]],
)
def test_other_runs_only_show_what_they_miss(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: list[str]
) -> None:
    measured(monkeypatch, wall=1000.0)
    assert run.main([*options, "--output", str(tmp_path)]) == 0


@pytest.mark.parametrize(("wall", "code"), [(22.0, 0), (1000.0, 1)])
def test_parts_are_merged_from_their_files_and_judged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, wall: float, code: int
) -> None:
    measured(monkeypatch, wall=wall)
    for number in (1, 2):
        part = tmp_path / f"part{number}"
        assert run.main(["--part", f"{number}/2", "--output", str(part)]) == 0
        next(part.glob("*.json")).rename(tmp_path / f"part{number}.json")
    assert run.main(["--merge", "--output", str(tmp_path)]) == code
    assert run.main(["--merge", "part1.json", "part2.json", "--output", str(tmp_path)]) == code
    # By itself, a part is not a whole run.
    assert run.main(["--merge", "part1.json", "--output", str(tmp_path)]) == 1


def test_nothing_to_merge_is_said(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="There is nothing to merge in "):
        run.main(["--merge", "--output", str(tmp_path)])
