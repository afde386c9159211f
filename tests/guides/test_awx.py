# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guide of AWX: what AWX does with credentials, artifacts and slices is done here."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from documentation import Part, Reader, blocks_of, follows, state
from jinja2 import Template

from ansible_fixtures import KEY
from e2e.playbooks import INSTALL, fail

AWX = "docs/docsite/rst/awx.rst"
PATCH = [
    {
        "hosts": "web",
        "gather_facts": False,
        "tasks": [INSTALL, fail(when="bad | default(false) and inventory_hostname == 'web2'")],
    }
]


def as_job(reader: Reader, playbook: str, *arguments: str, rc: int = 0, **variables: Any) -> Any:
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
    (project.folder / "community-paperspace.tar.gz").touch()
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


def new_run(reader: Reader) -> dict[str, str]:
    """The artifacts of the first node of the workflow."""
    shown = as_job(reader, "new_run.yml").output
    artifacts: dict[str, str] = json.loads(re.findall(r"RUN: (\{.+?\})", shown, re.DOTALL)[0])
    return artifacts


@pytest.mark.parametrize("is_bad", [False, True], ids=["well", "failing"])
@follows(Part(AWX, ("A workflow",)))
def test_workflow(project: Reader, is_bad: bool) -> None:
    artifacts = new_run(project)
    assert set(artifacts) == {"snapshot_run_id", "rollback_run_id", "maintenance_run_id"}
    assert len(set(artifacts.values())) == 1
    as_job(project, "snapshot.yml", "-l", "web", **artifacts)
    as_job(project, "patch.yml", "-l", "web", rc=2 if is_bad else 0, bad=is_bad, **artifacts)
    # Each of these follows in one of the two cases.
    as_job(project, "rollback.yml" if is_bad else "close.yml", "-l", "web", **artifacts)
    project.use("rollback.yml", "close.yml")
    end = ("1.0", "restored") if is_bad else ("2.0", "ok")
    assert [state(project.simulator)[host] for host in ("web1", "web2", "web3")] == [end] * 3
    assert {snapshot["name"][6:27] for snapshot in project.simulator.snapshots()} == set(artifacts.values())


def test_workflow_closes_when_a_snapshot_fails(project: Reader) -> None:
    artifacts = new_run(project)
    project.simulator.add_fault(
        "event", state="error", error="no space", method="POST", machine_id=project.simulator.ids()["web2"]
    )
    as_job(project, "snapshot.yml", "-l", "web", rc=2, **artifacts)
    assert "no space" in project.last.output
    as_job(project, "close.yml", "-l", "web", rc=2, **artifacts)
    ends = {host: state(project.simulator)[host] for host in ("web1", "web2", "web3")}
    assert ends == {"web1": ("1.0", "ok"), "web2": ("1.0", "open"), "web3": ("1.0", "ok")}
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
