# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The dependencies that SECURITY.md documents, and the audit of them."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "SECURITY.md").read_text("utf-8")


def rows(title: str) -> dict[str, list[str]]:
    """The other cells by the first one, of the first table after this text."""
    lines = DOCUMENT[DOCUMENT.index(title) :].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|---"))
    table = []
    for line in lines[start + 1 :]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    assert table
    found = {first: rest for first, *rest in table}
    assert len(found) == len(table)
    return found


def requirements(path: Path) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in path.read_text("utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("-")]


def test_dependencies_at_run_time_are_documented_with_lower_bounds() -> None:
    documented = rows("At run time")
    # What follows says for which Python they are.
    bounds = [line.partition(";")[0] for line in requirements(ROOT / "meta" / "ee-requirements.txt")]
    assert [f"{name}{bound}" for name, (bound, dummy) in documented.items()] == bounds
    assert all(re.fullmatch(r">=\d+(\.\d+)+", bound) and reason for bound, reason in documented.values())


def test_dependencies_for_development_are_documented_with_reasons() -> None:
    documented = rows("For development")
    paths = [path for path in (ROOT / "tests" / "requirements").glob("*.txt") if path.name != "constraints.txt"]
    assert len(paths) > 5
    named = {re.split(r"[=<>~!;\[ ]", line)[0] for path in paths for line in requirements(path)}
    assert sorted(documented) == sorted(named)
    assert all(reason for (reason,) in documented.values())


@pytest.fixture
def audit(tool: Callable[[str], ModuleType]) -> ModuleType:
    return tool("audit")


CLEAN = {"name": "requests", "version": "2.34.2", "vulns": []}
NO_FEED = "Could not connect to OSV's vulnerability feed"
TRACEBACK = "Traceback (most recent call last):\n  File 'adapters.py'\nrequests.exceptions"
BAD = {"name": "urllib3", "version": "1.0", "vulns": [{"id": "CVE-1"}, {"id": "CVE-2"}]}


@pytest.mark.parametrize(
    ("stdout", "stderr", "code", "said"),
    [
        ('{"dependencies": [%s]}', "", 0, "1 packages, 0 with known vulnerabilities"),
        ('{"dependencies": [%s, %s]}', "", 1, "urllib3 1.0: CVE-1, CVE-2"),
        ("", f"{TRACEBACK}.ConnectionError: no such host\n", 0, "could not be reached: requests.exceptions.Conn"),
        ("", f"{TRACEBACK}.ReadTimeout: no answer\n", 0, "could not be reached: requests.exceptions.ReadTimeout: no"),
        ("", f"ERROR:pip_audit._cli:{NO_FEED}\nERROR:pip_audit._cli:Tip: ...\n", 0, f"not be reached: {NO_FEED}"),
        ("", f"{TRACEBACK}.HTTPError: 400 Client Error\n", 1, "pip-audit failed: requests.exceptions.HTTPError: 400"),
        ("", "usage: pip-audit\npip-audit: error: unrecognized arguments: --x\n", 1, "unrecognized arguments: --x"),
        ("", "python: No module named pip_audit\n", 1, "pip-audit failed: python: No module named pip_audit"),
        ("{", "", 1, "pip-audit failed: it gave no reason"),
    ],
)
def test_what_the_audit_says(
    audit: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stdout: str,
    stderr: str,
    code: int,
    said: str,
) -> None:
    packages = [str(package).replace("'", '"') for package in (CLEAN, BAD)]
    content = stdout % tuple(packages[: stdout.count("%s")])

    def run(command: list[str], **dummy: Any) -> SimpleNamespace:
        assert command[-1] != "pins.txt"
        assert "pins.txt" in command
        return SimpleNamespace(stdout=content, stderr=stderr)

    monkeypatch.setattr(subprocess, "run", run)
    assert audit.main("pins.txt") == code
    assert said in capsys.readouterr().out


def test_the_worst_of_several_files_counts(
    audit: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(command: list[str], **dummy: Any) -> SimpleNamespace:
        packages = [BAD] if "bad.txt" in command else [CLEAN]
        return SimpleNamespace(stdout=json.dumps({"dependencies": packages}), stderr="")

    monkeypatch.setattr(subprocess, "run", run)
    assert audit.main("good.txt", "good.txt") == 0
    assert audit.main("bad.txt", "good.txt") == audit.main("good.txt", "bad.txt") == 1
    assert capsys.readouterr().out.count("good.txt: 1 packages, 0 with") == 4


def test_an_audit_that_takes_too_long_is_told(
    audit: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(command: list[str], timeout: float, **dummy: Any) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", run)
    assert audit.main("pins.txt") == 0
    assert "not asked to the end" in capsys.readouterr().out
