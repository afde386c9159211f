# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A reader does what the documentation says, against the simulator."""

from __future__ import annotations

import importlib.metadata
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from documentation import (
    FOLLOWED,
    Part,
    Reader,
    all_blocks,
    blocks_of,
    commands_of,
    follows,
    pages,
    reading,
    state,
)

from ansible_fixtures import COLLECTION, KEY, SETTINGS
from e2e.playbooks import INSTALL, fail

# What no test has a reader do, and why.
NOT_FOLLOWED = {
    "getting_started.rst: Install, 1": "It fills a virtual environment from a package registry: see test_installation",
}
FAILING = [{"hosts": "web", "gather_facts": False, "tasks": [INSTALL, fail("web2")]}]


@pytest.fixture
def reader(request: pytest.FixtureRequest, ansible: Any, simulator: Any) -> Iterator[Reader]:
    """A reader with an inventory for the simulated machines, made as the documentation says."""
    ansible.environment["ANSIBLE_PIPELINING"] = "true"
    (ansible.folder / "community.paperspace").symlink_to(COLLECTION)
    with reading(Reader(ansible, simulator), request.function.parts) as one:
        one.values["PAPERSPACE_API_KEY=..."] = f"PAPERSPACE_API_KEY={KEY}"
        yield one


def section(page: str, title: str) -> list[Any]:
    return Part(page, (title,)).blocks()


def use_real_machines(reader: Reader) -> None:
    """Give the reader an inventory file, and what Ansible has to know of machines that are simulated."""
    [inventory] = [block for block in blocks_of(STARTED) if block.caption == "my.paperspace.yml"]
    reader.save(inventory)
    reader.ansible.write("paperspace.yml", inventory.text)
    (reader.folder / "group_vars").mkdir()
    # Not for all: what the machines share, the controller does not have.
    for group in ("web", "ungrouped"):
        (reader.folder / f"group_vars/{group}.yml").write_text(json.dumps(reader.simulator.description["variables"]))


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


# The documentation as a whole


def test_each_block_is_followed_by_a_test_or_excused() -> None:
    from integration import test_guide  # noqa: F401

    names = [block.name for block in all_blocks()]
    assert sorted(set(names)) == sorted(names)
    assert set(names) - set(FOLLOWED) == set(NOT_FOLLOWED)


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


def test_guides_are_registered() -> None:
    registered = re.findall(
        r"^      - (\w+)$", (COLLECTION / "docs/docsite/extra-docs.yml").read_text("utf-8"), re.MULTILINE
    )
    assert sorted(registered) == sorted(path.stem for path in COLLECTION.glob("docs/docsite/rst/*.rst"))


# Getting started

STARTED = "docs/docsite/rst/getting_started.rst"


def test_installation() -> None:
    [block] = [block for block in blocks_of(STARTED) if block.name == "getting_started.rst: Install, 1"]
    pip = commands_of(block.text)[-1]
    files = re.findall(r"-r community\.paperspace/(\S+)", pip)
    assert len(files) == 2
    for file in files:
        lines = (COLLECTION / file).read_text().splitlines()
        for requirement in filter(None, (line.partition("#")[0].strip() for line in lines)):
            assert importlib.metadata.version(re.split(r"[<>=!]", requirement)[0].strip())


@follows(Part(STARTED, ("Install", "Five simulated machines", "One real machine")))
def test_getting_started(reader: Reader) -> None:
    installation, *others = section(STARTED, "Install")
    reader.used.add(installation.name)
    # Where the reader installs it, and nowhere else.
    reader.ansible.environment.pop("ANSIBLE_COLLECTIONS_PATH")
    reader.follow_all(others)
    reader.values["8765"] = str(free_port())
    reader.values["--machines 5"] = f"--machines 5 --settings '{json.dumps(SETTINGS)}'"
    for block in section(STARTED, "Five simulated machines"):
        is_first = (
            "cloud/inventory.yml -l web community.paperspace.maintenance" in block.text and "sed" not in block.text
        )
        reader.follow(block, fails={"community.paperspace.maintenance": 2} if is_first else None)
        if "cat {{ disk }}" in block.text and block.caption is None:
            assert dict(re.findall(r"(web\d) \| CHANGED.*\n(\d\.\d)", reader.last.output)) == {
                "web1": "2.0",
                "web2": "1.0",
                "web3": "2.0",
            }
        if "cat paperspace-runs" in block.text:
            assert {"json", "md", "html"} <= set(re.findall(r"Z-[0-9a-f]{4}\.(\w+)", reader.last.output))

    reader.type(f"export PAPERSPACE_API_URL={reader.simulator.api_url}")
    use_real_machines(reader)
    reader.ansible.write("patch.yml", [{"hosts": "web1", "gather_facts": False, "tasks": [INSTALL]}])
    for block in section(STARTED, "One real machine"):
        reader.follow(block)
        if "--check" in block.text:
            assert state(reader.simulator)["web1"] == ("1.0", "")
        elif "community.paperspace.maintenance" in block.text:
            assert state(reader.simulator)["web1"] == ("2.0", "ok")
    assert state(reader.simulator)["web1"] == ("1.0", "restored")


# Fleet-wide rollback

SNAPSHOT = "ansible-playbook -i my.paperspace.yml community.paperspace.snapshot -l"


def disk(reader: Reader, host: str) -> Path:
    return Path(reader.simulator.description["machines_dir"]) / reader.simulator.ids()[host]


def spoil(reader: Reader, *hosts: str) -> None:
    """Bring version 2.0 to machines, and take them from the network."""
    for host in hosts:
        (disk(reader, host) / "opt/app/version").write_text("2.0\n")
        (disk(reader, host) / "etc/network").write_text("down\n")


@follows(Part("docs/docsite/rst/fleet_rollback.rst"))
def test_fleet_rollback(reader: Reader) -> None:
    page = "docs/docsite/rst/fleet_rollback.rst"
    web = ("web1", "web2", "web3")
    use_real_machines(reader)
    reader.type(f"{SNAPSHOT} 'web*,db1'")
    spoil(reader, *web, "db1")
    reader.follow_all(section(page, "Find the run"))
    assert all(reader.simulator.ids()[host] in reader.last.output for host in (*web, "db1"))

    look, look_without_missing = section(page, "Look first")
    reader.follow(look, fails={"rollback": 2})
    assert "db2" in reader.last.output
    reader.follow(look_without_missing)
    assert reader.last.output.count("would_restore") >= 4
    assert not reader.simulator.done_counts()["restores"]

    back, again, shown = section(page, "Roll back")
    reader.follow(back)
    assert {host: state(reader.simulator)[host] for host in web} == dict.fromkeys(web, ("1.0", "restored"))
    assert state(reader.simulator)["db1"] == ("2.0", "open")
    reader.follow_all([again, shown])
    assert reader.simulator.done_counts()["restores"] == 3

    reader.type(f"{SNAPSHOT} web")
    spoil(reader, *web)
    reader.follow_all(section(page, "In waves"))
    assert [reader.simulator.done_counts()["restores"], *(state(reader.simulator)[host][0] for host in web)] == [
        6,
        *("1.0" for dummy in web),
    ]

    for host in web:
        reader.simulator.add_snapshot(reader.simulator.ids()[host], "before-release-7")
    spoil(reader, *web)
    reader.follow_all(section(page, "Snapshots of another name"))
    assert [state(reader.simulator)[host][0] for host in web] == ["1.0", "1.0", "1.0"]


# Names


@follows(Part("docs/docsite/rst/snapshot_names.rst"))
def test_names_of_snapshots(reader: Reader) -> None:
    page = "docs/docsite/rst/snapshot_names.rst"
    use_real_machines(reader)
    names, show, listing = section(page, "Work with the names")
    reader.follow_all([names, show])
    run_id = reader.values["RUN_ID"]
    shown = {f"maint-{run_id}", f"maint-{run_id}-ok", f"nightly-{run_id}-restored"}
    assert shown <= set(re.findall(r"[\w-]+", reader.last.output))

    reader.type(f"{SNAPSHOT} web -e snapshot_run_id={run_id}")
    first, second = (reader.type(command) for command in commands_of(listing.text))
    reader.used.add(listing.name)
    assert f'"run_id": "{run_id}"' in first.output
    assert '"run_state": "open"' in first.output
    assert f"recover_run_id={run_id}" in second.output

    reader.type(f"{SNAPSHOT} web -e snapshot_run_id={run_id} -e snapshot_action=close")
    reader.follow_all(section(page, "Rename by hand"))
    names_now = sorted(snapshot["name"] for snapshot in reader.simulator.snapshots())
    assert names_now == ["golden-image", *[f"maint-{run_id}-ok"] * 2]
