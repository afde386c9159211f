# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the checks of the tarball and of Galaxy's importer complain of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import yaml

COLLECTION = Path(__file__).parents[3]

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


def test_every_documented_type_is_expected_by_its_files(tool: Callable[[str], ModuleType]) -> None:
    package = tool("check_package")
    files = {
        *("plugins/modules/a.py", "plugins/filter/b.py", "plugins/lookup/c.py", "plugins/inventory/d.py"),
        *("plugins/callback/e.py", "plugins/module_utils/_f.py", "roles/g/tasks/main.yml", "playbooks/h.yml"),
    }
    names = {plugin_type: package.expected(files, plugin_type) for plugin_type in package.PLUGIN_TYPES}
    assert names == {
        "module": {"a"},
        "filter": {"b"},
        "lookup": {"c"},
        "inventory": {"d"},
        "callback": {"e"},
        "role": {"g"},
    }
    assert package.playbooks(files) == ["h"]


def test_no_folder_of_plugins_with_documentation_is_left_out(tool: Callable[[str], ModuleType]) -> None:
    folders = {path.parent.name for path in (COLLECTION / "plugins").glob("*/*.py") if not path.name.startswith("_")}
    types = {*tool("check_package").PLUGIN_TYPES, "modules"}
    # Actions are documented by the modules of the same name.
    assert folders - types == {"action", "doc_fragments"}


@pytest.mark.parametrize(
    ("code", "output", "is_good"),
    [
        (2, "fatal: GET /machines at http://127.0.0.1:9/v1: no connection (refused).", True),
        (0, "no connection (refused)", False),
        (2, "ERROR! the role was not found", False),
        (2, "Traceback (most recent call last): no connection (refused)", False),
    ],
)
def test_a_playbook_has_to_end_with_the_error_that_nobody_answers(
    tool: Callable[[str], ModuleType], code: int, output: str, is_good: bool
) -> None:
    assert (tool("check_package").playbook_problems("snapshot", code, output) == []) is is_good


def test_newest_release_of_the_changelog_is_the_version() -> None:
    version = yaml.safe_load((COLLECTION / "galaxy.yml").read_text("utf-8"))["version"]
    releases = yaml.safe_load((COLLECTION / "changelogs/changelog.yaml").read_text("utf-8"))["releases"]
    assert list(releases)[-1] == version
    assert f"## v{version}" in (COLLECTION / "CHANGELOG.md").read_text("utf-8").replace("\\", "")
