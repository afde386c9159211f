# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guide for the first ten minutes."""

from __future__ import annotations

import importlib.metadata
import json
import re
import socket

import yaml
from documentation import STARTED, Part, Reader, blocks_of, commands_of, follows, section, state
from packaging.requirements import Requirement

from ansible_fixtures import COLLECTION, SETTINGS
from e2e.playbooks import INSTALL


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_installation() -> None:
    [block] = [block for block in blocks_of(STARTED) if block.name == "getting_started.rst: Install, 1"]
    clone, *dummy, pip = commands_of(block.text)
    repository = yaml.safe_load((COLLECTION / "galaxy.yml").read_text("utf-8"))["repository"]
    assert clone == f"git clone {repository} community.paperspace"
    files = re.findall(r"-r community\.paperspace/(\S+)", pip)
    assert len(files) == 2
    for file in files:
        lines = (COLLECTION / file).read_text().splitlines()
        for requirement in map(Requirement, filter(None, (line.partition("#")[0].strip() for line in lines))):
            if requirement.marker is None or requirement.marker.evaluate():
                assert importlib.metadata.version(requirement.name)


def versions(reader: Reader) -> dict[str, str]:
    return dict(re.findall(r"(web\d) \| CHANGED.*\n(\d\.\d)", reader.last.output))


@follows(Part(STARTED, ("Install", "Five simulated machines", "One real machine")))
def test_getting_started(reader: Reader) -> None:
    installation, *others = section(STARTED, "Install")
    reader.used.add(installation.name)
    # Where the reader installs it, and nowhere else.
    reader.ansible.environment.pop("ANSIBLE_COLLECTIONS_PATH")
    reader.follow_all(others)
    reader.values["8765"] = str(free_port())
    reader.values["--machines 5"] = f"--machines 5 --settings '{json.dumps(SETTINGS)}'"
    look = ""
    for block in section(STARTED, "Five simulated machines"):
        is_first = (
            "cloud/inventory.yml -l web community.paperspace.maintenance" in block.text and "sed" not in block.text
        )
        reader.follow(block, fails={"community.paperspace.maintenance": 2} if is_first else None)
        if is_first:
            reader.values["20260131T235959Z-1a2b"] = reader.values["RUN_ID"]
        elif "sed" in block.text:
            reader.values["20260201T083000Z-3c4d"] = reader.values["RUN_ID"]
        elif "community.paperspace.rollback" in block.text:
            reader.type(look)
            assert versions(reader) == {"web1": "1.0", "web2": "1.0", "web3": "1.0"}
        if "cat {{ disk }}" in block.text and block.caption is None:
            [look] = commands_of(block.text)
            assert versions(reader) == {"web1": "2.0", "web2": "1.0", "web3": "2.0"}
        if "cat paperspace-runs" in block.text:
            assert {"json", "md", "html"} <= set(re.findall(r"Z-[0-9a-f]{4}\.(\w+)", reader.last.output))

    del reader.values["20260131T235959Z-1a2b"]
    reader.type(f"export PAPERSPACE_API_URL={reader.simulator.api_url}")
    reader.use_real_machines()
    reader.ansible.write("patch.yml", [{"hosts": "web1", "gather_facts": False, "tasks": [INSTALL]}])
    for block in section(STARTED, "One real machine"):
        reader.follow(block)
        if "--check" in block.text:
            assert state(reader.simulator)["web1"] == ("1.0", "")
        elif "community.paperspace.maintenance" in block.text:
            assert state(reader.simulator)["web1"] == ("2.0", "ok")
    assert state(reader.simulator)["web1"] == ("1.0", "restored")
