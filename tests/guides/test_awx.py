# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guide of AWX: what AWX does with credentials, artifacts and slices is done here."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from documentation import WEB, Part, Reader, blocks_of, follows, state
from jinja2 import Template

from ansible_fixtures import COLLECTION, KEY
from e2e.playbooks import INSTALL, fail

AWX = "docs/docsite/rst/awx.rst"
PATCH = [
    {
        "hosts": "web",
        "gather_facts": False,
        "tasks": [INSTALL, fail(when="bad | default(false) and inventory_hostname == 'web2'")],
    }
]


def as_job(reader: Reader, playbook: str, *arguments: str, rc: int | None = 0, **variables: Any) -> Any:
    """Run a playbook of the project as AWX does: variables in a file, and artifacts shown at the end."""
    extra = reader.ansible.write("extravars", json.dumps(variables))
    command = ["ansible-playbook", "-i", "my.paperspace.yml", *arguments, "-e", f"@{extra}", playbook]
    return reader.type(f"ANSIBLE_SHOW_CUSTOM_STATS=true {shlex.join(command)}", rc=rc)


@pytest.fixture
def project(reader: Reader) -> Reader:
    """A reader who has the playbooks of the guide."""
    reader.use_real_machines()
    reader.ansible.write("patch.yml", PATCH)
    for block in blocks_of(AWX):
        if block.caption:
            reader.save(block)
    return reader


@pytest.mark.skipif(
    not shutil.which("ansible-builder", path=str(Path(sys.executable).parent)), reason="no ansible-builder"
)
@follows(Part(AWX, ("Execution environment",)))
def test_execution_environment(project: Reader) -> None:
    galaxy = yaml.safe_load((COLLECTION / "galaxy.yml").read_text("utf-8"))
    # As `ansible-galaxy collection build` names it.
    (project.folder / f"{galaxy['namespace']}-{galaxy['name']}-{galaxy['version']}.tar.gz").touch()
    project.type("ansible-builder create -f execution-environment.yml -c context")
    folder = project.folder / "context/_build"
    [wanted] = yaml.safe_load((folder / "requirements.yml").read_text())["collections"]
    assert (folder / wanted["name"]).exists()
    project.used.add("awx.rst: Execution environment, 2")


@follows(Part(AWX, ("Credential type", "One job template")))
def test_job_with_a_credential(project: Reader) -> None:
    inputs = yaml.safe_load((project.folder / "inputs.yml").read_text())
    assert inputs["required"] == [field["id"] for field in inputs["fields"]] == ["api_key"]
    assert all(field["secret"] for field in inputs["fields"])
    injectors = yaml.safe_load((project.folder / "injectors.yml").read_text())
    # As AWX fills them in, with what the credential has.
    environment = {name: Template(text).render(api_key=KEY) for name, text in injectors["env"].items()}
    project.use("inputs.yml", "injectors.yml")
    project.ansible.environment.pop("PAPERSPACE_API_KEY")
    project.type("export ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED=true")
    as_job(project, "recover.yml", rc=1)
    assert "No API key" in project.last.output
    project.type(f"export {' '.join(f'{name}={shlex.quote(value)}' for name, value in environment.items())}")
    as_job(project, "maintain.yml", "-l", "web", rc=2, bad=True, reports="reports")
    ends = {host: state(project.simulator)[host] for host in ("web1", "web2", "web3")}
    assert ends == {"web1": ("2.0", "ok"), "web2": ("1.0", "restored"), "web3": ("2.0", "ok")}
    assert list((project.folder / "reports").glob("*.json"))
    as_job(project, "recover.yml", recover_action="list")


@dataclass(frozen=True)
class Node:
    """A node of the workflow. C(links): after which ends, success or failure, of which other nodes it starts."""

    name: str
    playbook: str
    links: list[tuple[str, str]]


def workflow() -> list[Node]:
    """The nodes of the page, each after those that it follows."""
    page = (COLLECTION / AWX).read_text("utf-8")
    nodes: list[Node] = []
    for name, playbook, start in re.findall(r"^   \* - ([A-Z][a-z ]+)\n     - (.+)\n     - (.+)$", page, re.MULTILINE):
        if name == "Node":
            continue
        links = [(parent, end) for end, parent in re.findall(r"on (success|failure) of \*(.+?)\*", start)]
        assert len(links) == start.count("*") // 2 == start.count(" of ")
        assert {parent for parent, dummy in links} <= {node.name for node in nodes}
        nodes.append(Node(name, "patch.yml" if playbook == "yours" else playbook.strip("`"), links))
    assert [node.name for node in nodes if not node.links] == ["New run"]
    return nodes


def run_workflow(reader: Reader, **variables: Any) -> tuple[dict[str, bool], bool]:
    """How each node that ran ended, and whether the workflow is successful: by the rules of AWX."""
    nodes = workflow()
    ended: dict[str, bool] = {}
    artifacts: dict[str, Any] = {}
    for node in nodes:
        # Of several links, one is enough: nodes do not converge unless they are told to.
        if not node.links or any(ended.get(parent) is (end == "success") for parent, end in node.links):
            result = as_job(reader, node.playbook, "-l", "web", rc=None, **variables, **artifacts)
            ended[node.name] = result.rc == 0
            for shown in re.findall(r"RUN: (\{.+?\})", result.output, re.DOTALL):
                artifacts |= json.loads(shown)
            # AWX takes its time between two nodes.
            reader.simulator.control("POST", "/clock", {"advance": 60})
    # A failure is taken for handled when there is a link for it, whatever becomes of the node at its end.
    handled = {parent for node in nodes for parent, end in node.links if end == "failure"}
    return ended, all(is_well or name in handled for name, is_well in ended.items())


@dataclass(frozen=True)
class Case:
    """How each node that runs ends, and the version and the ends of the runs of web1 and web3, and of web2."""

    nodes: dict[str, bool]
    others: tuple[str, str]
    web2: tuple[str, str]
    fault_of_web2: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, Any] = field(default_factory=dict)


BEGUN = {"New run": True, "Snapshot": True}
NOT_BEGUN = {"New run": True, "Snapshot": False}
FULL = {"state": "error", "error": "no space"}
CASES = {
    "well": Case({**BEGUN, "Maintenance": True, "Close": True}, ("2.0", "ok"), ("2.0", "ok")),
    "maintenance fails": Case(
        {**BEGUN, "Maintenance": False, "Rollback": True, "Fail": False},
        ("1.0", "restored"),
        ("1.0", "restored"),
        variables={"bad": True},
    ),
    "rollback fails": Case(
        {**BEGUN, "Maintenance": False, "Rollback": False},
        ("1.0", "restored"),
        ("2.0", "open"),
        {**FULL, "path": ".*/restore"},
        {"bad": True},
    ),
    "snapshot fails": Case(
        {**NOT_BEGUN, "Call off": False}, ("1.0", "ok"), ("1.0", "open"), {**FULL, "path": "/snapshots"}
    ),
    "snapshot is late": Case(
        {**NOT_BEGUN, "Call off": True, "Fail": False},
        ("1.0", "ok"),
        ("1.0", "ok"),
        {"state": "done", "seconds": 30, "path": "/snapshots"},
        {"snapshot_wait_timeout": 2},
    ),
}


@pytest.mark.parametrize("name", CASES)
@follows(Part(AWX, ("A workflow",)))
def test_workflow(project: Reader, name: str) -> None:
    case = CASES[name]
    if case.fault_of_web2:
        web2 = project.simulator.ids()["web2"]
        project.simulator.add_fault("event", method="POST", machine_id=web2, **case.fault_of_web2)
    ended, is_successful = run_workflow(project, **case.variables)
    # Each of them runs in some case.
    project.use("new_run.yml", "snapshot.yml", "rollback.yml", "close.yml", "fail.yml")
    assert ended == case.nodes
    assert is_successful is (name == "well")
    assert [state(project.simulator)[host] for host in WEB] == [case.others, case.web2, case.others]
    # All nodes had the same run id.
    assert len({snapshot["name"][6:27] for snapshot in project.simulator.snapshots()}) == 1
    if name == "snapshot fails":
        assert not project.simulator.done_counts()["restores"]
        as_job(project, "recover.yml", rc=2, recover_action="keep")
        [delete] = re.findall(r"ansible localhost -m \S+ -a 'state=absent snapshot_ids=\w+'", project.last.output)
        project.type(delete)
        as_job(project, "recover.yml")
        assert "No run is open" in project.last.output


def test_job_slices_share_a_run(project: Reader) -> None:
    artifacts = {"maintenance_run_id": "20260131T235959Z-1a2b", "bad": False}
    (project.folder / "extravars").write_text(json.dumps(artifacts))
    job = "ansible-playbook -i my.paperspace.yml maintain.yml -e @extravars"
    project.type(
        f"{job} -l web1:web3 -e reports=one & {job} -l web2 -e reports=two; first=$?; wait $! && test $first = 0"
    )
    for host in ("web1", "web2", "web3"):
        [snapshot] = project.simulator.snapshots(project.simulator.ids()[host])
        assert snapshot["name"] == "maint-20260131T235959Z-1a2b-ok"
        assert state(project.simulator)[host][0] == "2.0"
    for slice_, hosts in (("one", ["web1", "web3"]), ("two", ["web2"])):
        [report] = (project.folder / slice_).glob("*.json")
        assert [machine["host"] for machine in json.loads(report.read_text())["machines"]] == hosts
