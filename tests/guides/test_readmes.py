# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The README of the collection, and those of its roles."""

from __future__ import annotations

import json
import re
import runpy
import sys

import pytest
import requests
import yaml
from documentation import SNAPSHOT, WEB, Part, Reader, blocks_of, commands_of, follows, section, state

from ansible_fixtures import COLLECTION
from e2e.playbooks import INSTALL, fail

README = "README.md"
SIMULATOR = "tests/simulator/README.md"
ROLES = sorted(path.name for path in (COLLECTION / "roles").iterdir())


@follows(Part(README, ("Use it on real machines",)))
def test_readme(reader: Reader) -> None:
    # The reader is in the clone, where a test must not write; and a registry of packages is not asked.
    reader.values["collection build"] = "collection build community.paperspace"
    reader.values["pip install requests"] = f"{sys.executable} -c 'import requests'"
    reader.use_real_machines()
    (reader.folder / "my.paperspace.yml").unlink()
    reader.ansible.write("patch.yml", [{"hosts": "web*", "gather_facts": False, "tasks": [INSTALL]}])
    first, recover, halves = section(README, "Use it on real machines")
    reader.follow(first)
    assert [state(reader.simulator)[host] for host in WEB] == [("2.0", "ok")] * 3
    reader.type(f"{SNAPSHOT} db1")
    reader.follow(recover)
    assert state(reader.simulator)["db1"] == ("1.0", "restored")
    reader.follow(halves)
    assert {host: state(reader.simulator)[host] for host in WEB} == {
        "web1": ("2.0", "ok"),
        "web2": ("2.0", "restored"),
        "web3": ("2.0", "ok"),
    }


@pytest.mark.parametrize("role", ROLES)
def test_variables_of_a_role_are_as_specified(role: str) -> None:
    folder = COLLECTION / "roles" / role
    specs = yaml.safe_load((folder / "meta/argument_specs.yml").read_text("utf-8"))["argument_specs"]
    specified = {name: option for spec in specs.values() for name, option in spec["options"].items()}
    rows = re.findall(r"^\| `([a-z_]+)` \| (.+?) \| .+ \|$", (folder / "README.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(name for name, dummy in rows) == sorted(specified)
    for name, shown in rows:
        default = specified[name].get("default")
        if "{{" in str(default):
            assert all(word in default for word in re.findall(r"`(.+?)`", shown)), name
        elif default in (None, "", []):
            # It is said in words, or taken from another variable.
            assert (shown == "needed") is specified[name].get("required", False), name
        else:
            assert yaml.safe_load(shown.strip("`")) == default, name


@follows(*(Part(f"roles/{role}/README.md") for role in ROLES))
def test_readmes_of_roles(reader: Reader) -> None:
    reader.use_real_machines()
    snapshot, rescue, connection = blocks_of("roles/snapshot/README.md")
    reader.follow(snapshot)
    rollback, undo_one, *connections = blocks_of("roles/rollback/README.md")
    reader.follow(rollback)
    assert [state(reader.simulator)[host] for host in WEB] == [("1.0", "restored")] * 3
    reader.type(f"{SNAPSHOT} db2")
    reader.follow(undo_one)
    assert state(reader.simulator)["db2"] == ("1.0", "restored")

    reader.save(rescue, "rescue.yml")
    reader.ansible.write("upgrade.yml", [INSTALL, fail("web2")])
    reader.type("ansible-playbook -i paperspace.yml rescue.yml", rc=2)
    assert [state(reader.simulator)[host][0] for host in WEB] == ["2.0", "1.0", "2.0"]

    prune, *more = blocks_of("roles/prune/README.md")
    maintain, *others, list_runs, resolve = blocks_of("roles/maintenance/README.md")
    connections += [*more, *others]
    assert {block.text for block in connections} == {connection.text}
    reader.save(connection, "connection.yml")
    reader.ansible.write("patch.yml", [{"hosts": "web", "gather_facts": False, "tasks": [INSTALL]}])
    reader.follow(maintain)
    reader.type(f"{commands_of(prune.text)[0]} -e @connection.yml")
    reader.used |= {block.name for block in connections}
    reader.follow(prune)
    assert [len(reader.simulator.snapshots(reader.simulator.ids()[host])) for host in WEB] == [1, 1, 1]

    reader.type(f"{SNAPSHOT} web")
    reader.follow(list_runs)
    reader.follow(resolve)
    assert [state(reader.simulator)[host][1] for host in WEB] == ["ok restored"] * 3


@follows(Part(SIMULATOR))
def test_readme_of_the_simulator(reader: Reader) -> None:
    example, command = blocks_of(SIMULATOR)
    made = runpy.run_path(str(reader.save(example, "in_process.py")))
    reader.use("in_process.py")
    [machine] = made["session"].get("http://localhost/v1/machines", headers=made["service"].headers()).json()["items"]
    assert made["response"].status == 200
    assert (machine["id"], machine["name"]) == (made["machine_id"], "web1")

    (reader.folder / "tests").symlink_to(COLLECTION / "tests")
    reader.values["--dir DIR"] = "--dir cloud > said &"
    reader.follow(command)
    [line] = commands_of(command.text)
    reader.type(f"{line.partition('# or: ')[2]} --no-ssh --machines 5 --dir other > said_too &")
    for number, said in enumerate(("said", "said_too"), 1):
        reader.type(f"until test -s {said}; do sleep 0.2; done")
        control = json.loads((reader.folder / said).read_text())["control_url"]
        assert len(requests.get(f"{control}/machines", timeout=10).json()) == 5
        reader.type(f"kill %{number}; wait %{number}")
