# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""All pages of the documentation, and all blocks of code in them."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys

import yaml
from documentation import FOLLOWED, NOT_FOLLOWED, Reader, all_blocks, blocks_of, pages
from integration import test_guide

from ansible_fixtures import COLLECTION

# Tests of other files that run what the documentation has.
ELSEWHERE = {
    "guarded_maintenance.rst: maintain_web.yml": test_guide.test_guard_in_a_playbook_of_ones_own,
    "guarded_maintenance.rst: maintain_and_tell.yml": test_guide.test_guard_in_a_playbook_of_ones_own,
    "guarded_maintenance.rst: upgrade_with_rescue.yml": test_guide.test_rescue_rolls_back_what_fails,
}


def test_each_block_is_followed_by_a_test_or_excused() -> None:
    # What they follow is known once they are imported.
    for path in COLLECTION.glob("tests/*/test_*.py"):
        if "@follows(" in path.read_text("utf-8"):
            importlib.import_module(f"{path.parent.name}.{path.stem}")
    names = [block.name for block in all_blocks()]
    assert sorted(set(names)) == sorted(names)
    assert set(names) - {*FOLLOWED, *ELSEWHERE} <= set(NOT_FOLLOWED)
    assert {*ELSEWHERE, *NOT_FOLLOWED} <= set(names)


def test_blocks_are_found_whatever_their_form() -> None:
    for page in pages():
        text = (COLLECTION / page).read_text("utf-8")
        if page.endswith(".rst"):
            assert not re.search(
                r"^(?!\.\. ).*::$|^ *\.\. (?:code|parsed-literal|literalinclude)::", text, re.MULTILINE
            )
            assert text.count(".. code-block::") == len(blocks_of(page))
        else:
            assert not re.search(r"~~~|<pre|<code", text)


def test_pictures_are_there() -> None:
    shown = []
    for page in pages():
        path = COLLECTION / page
        names = re.findall(r"^(?:!\[.+?\]\(|\.\. (?:figure|image):: )([^\s)]+)", path.read_text("utf-8"), re.MULTILINE)
        shown += [(path.parent / name).resolve() for name in names]
        # GitHub shows nothing of it.
        assert ".. raw::" not in path.read_text("utf-8")
    assert set(shown) == set(COLLECTION.resolve().glob("docs/*.svg"))


def test_file_that_was_changed_is_not_followed(reader: Reader) -> None:
    block = next(block for block in all_blocks() if block.caption)
    reader.save(block).write_text("another")
    reader.use(str(block.caption))
    assert not reader.used
    reader.save(block)
    reader.use(str(block.caption))
    assert reader.used == {block.name}


def test_guides_are_registered() -> None:
    sections = yaml.safe_load((COLLECTION / "docs/docsite/extra-docs.yml").read_text("utf-8"))["sections"]
    registered = [guide for one in sections for guide in one["toctree"]]
    guides = sorted(path.stem for path in COLLECTION.glob("docs/docsite/rst/*.rst"))
    assert sorted(registered) == guides
    table = (COLLECTION / "README.md").read_text("utf-8").partition("\n## Guides\n")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"^\| \[.+?\]\(docs/docsite/rst/(\w+)\.rst\) \|", table, re.MULTILINE)) == guides


def test_commands_of_make_are_there() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):.*##", (COLLECTION / "Makefile").read_text(), re.MULTILINE))
    for page in ("README.md", "CONTRIBUTING.md"):
        used = {word for block in blocks_of(page) for word in re.findall(r"\bmake ([a-z0-9-]+)", block.text)}
        assert used
        assert used <= targets


def test_arguments_of_make_choose_tests() -> None:
    lines = [line for block in blocks_of("CONTRIBUTING.md") for line in block.text.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines if "ARGS=" in line]
    assert len(commands) > 3
    for dummy, target, arguments in commands:
        path, *options = shlex.split(arguments.removeprefix("ARGS="))
        assert (COLLECTION / path).exists(), path
        assert path.startswith(f"tests/{target}"), path
        if options:
            collect = [sys.executable, "-m", "pytest", "--collect-only", "-q", "--noconftest", path, *options]
            # What other sessions install is not all here: what needs it is not collected, and does not count.
            found = subprocess.run(collect, cwd=COLLECTION, capture_output=True, text=True, check=False).stdout
            assert re.search(rf"^{re.escape(path)}\S*::", found, re.MULTILINE), found


def test_versions_that_are_supported_are_tested() -> None:
    cores = re.findall(r'^    "(2\.\d+)": \(', (COLLECTION / "noxfile.py").read_text("utf-8"), re.MULTILINE)
    assert f"on ansible-core {cores[0]} to {cores[-1]}." in (COLLECTION / "SECURITY.md").read_text("utf-8")
    upgrades = (COLLECTION / "docs/docsite/rst/upgrades.rst").read_text("utf-8")
    assert f"tested with {', '.join(cores[:-1])} and {cores[-1]}." in upgrades


def test_each_folder_is_explained_once() -> None:
    table = [
        line for line in (COLLECTION / "CONTRIBUTING.md").read_text("utf-8").splitlines() if line.startswith("| `")
    ]
    named = [name for line in table for name in re.findall(r"`([^`]+)`", line.split("|")[1])]
    assert len(named) == len(set(named))
    # What git ignores is no part of the project; the sessions work on copies that git does not know.
    ignored = {line.strip("/") for line in (COLLECTION / ".gitignore").read_text("utf-8").splitlines()} | {".git"}
    folders = set()
    for top in (path for path in COLLECTION.iterdir() if path.is_dir() and path.name not in ignored):
        inside = [path for path in top.iterdir() if path.name not in ignored]
        if top.name not in ("docs", "plugins", "tests"):
            folders.add(top.name)
            continue
        below = {f"{top.name}/{path.name}" for path in inside if path.is_dir()}
        folders |= below - ignored
        if any(path.is_file() for path in inside):
            folders.add(top.name)
    assert folders == {name for name in named if (COLLECTION / name).is_dir()}
    assert all((COLLECTION / name).exists() for name in named)
