# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmarks themselves, with one machine: that each approach does its work, and is measured."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_fixtures import COLLECTION, SETTINGS
from benchmarks.figures import APPROACHES
from benchmarks.plan import ASKED_FOR, WORKS


@pytest.mark.slow
def test_every_approach_does_its_work_and_is_measured(collections: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(COLLECTION / "tests" / "benchmarks" / "run.py"), "--quick", "--machines", "1"]
    command += ["--rate", "unlimited", "--capacity", "20", "--settings", json.dumps({**SETTINGS, "latency_seconds": 0})]
    done = subprocess.run(
        [*command, "--output", str(tmp_path)],
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(collections)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [path] = tmp_path.glob("*.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["failures"] == []
    [capacity] = content["capacity"]
    assert capacity.keys() == {"machines", *ASKED_FOR}
    assert min(capacity.values()) > 0
    figures = {(each["approach"], each["work"]): each for each in content["figures"]}
    assert figures.keys() == set(itertools.product(APPROACHES, WORKS))
    for each in figures.values():
        # What the API needs at the least: the change, and one look.
        assert each["requests"] >= 2
        assert (each["machines"], each["done"], each["refused"]) == (1, 1, 0)
        assert min(each["wall"], each["cpu"], each["memory"]) > 0
    # A command that ends before the first look has none.
    together = [each["memory_together"] for each in figures.values() if each["memory_together"] is not None]
    assert sys.platform != "linux" or (together and min(together) > 0)
    assert all(f"  {name}: {text}" in done.stdout for name, text in APPROACHES.items())
