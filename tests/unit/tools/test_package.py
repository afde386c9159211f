# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the checks of the tarball and of Galaxy's importer complain of."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

GOOD_LOG = "INFO: Processing plugin modules/a: WARNING\nIMPORTER: INFO\nImporter processing completed successfully\n"


@pytest.mark.parametrize("line", ["WARNING: No changelog found.", "ERROR: no runtime", "CRITICAL: out of order"])
def test_each_complaint_of_the_importer_is_a_problem(tool: Callable[[str], ModuleType], line: str) -> None:
    galaxy = tool("check_galaxy")
    assert galaxy.unexplained(GOOD_LOG) == []
    assert galaxy.unexplained(f"{line}\n{GOOD_LOG}") == [line]


def test_a_complaint_with_a_reason_is_none(tool: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch) -> None:
    galaxy = tool("check_galaxy")
    monkeypatch.setattr(galaxy, "EXPLAINED", {r"line \d+ of README": "It is right as it is."})
    assert galaxy.unexplained("WARNING: line 3 of README\nWARNING: line x of README\n") == ["WARNING: line x of README"]


@pytest.mark.parametrize(
    "path",
    [
        "noxfile.py",
        "tests/unit/test_a.py",
        ".gitignore",
        "roles/maintenance/.cache/facts",
        "plugins/modules/__pycache__/a.pyc",
        "docs",
    ],
)
def test_a_foreign_file_in_the_tarball_is_a_problem(tool: Callable[[str], ModuleType], path: str) -> None:
    package = tool("check_package")
    files = {*package.REQUIRED, "plugins/modules/a.py", "roles/maintenance/tasks/main.yml"}
    assert package.content_problems(files) == []
    assert package.content_problems({*files, path}) == [f"does not belong: {path}"]


def test_a_file_that_the_tarball_lacks_is_a_problem(tool: Callable[[str], ModuleType]) -> None:
    package = tool("check_package")
    assert package.content_problems(package.REQUIRED - {"LICENSE"}) == ["missing: LICENSE"]
