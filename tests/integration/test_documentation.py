# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A reader does what the documentation says, against the simulator."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import re
import shlex
import shutil
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
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
from integration import test_guide
from jinja2 import Template

from ansible_collections.community.paperspace.plugins.plugin_utils._report import ENDS, OUTCOMES, STATUSES, VERDICTS
from ansible_fixtures import COLLECTION, KEY, SETTINGS
from e2e.playbooks import INSTALL, REACH, blip, cut_off, fail

# Tests of other files that run what the documentation has.
ELSEWHERE = {
    "guarded_maintenance.rst: maintain_web.yml": test_guide.test_guard_in_a_playbook_of_ones_own,
    "guarded_maintenance.rst: maintain_and_tell.yml": test_guide.test_guard_in_a_playbook_of_ones_own,
    "guarded_maintenance.rst: upgrade_with_rescue.yml": test_guide.test_rescue_rolls_back_what_fails,
}
THEY_ARE_SESSIONS = "They are sessions of nox, of which this is one: see test_commands_of_make_are_there"
# What no test has a reader do, and why.
NOT_FOLLOWED = {
    "getting_started.rst: Install, 1": "It fills a virtual environment from a package registry: see test_installation",
    "hooks.rst: Where a hook runs, 1": "It installs for the whole computer what getting_started.rst does for one user",
    "hooks.rst: A systemd unit, 3": "It hands the units to the computer's systemd; their commands are run without it",
    "README.md: Try it, 1": THEY_ARE_SESSIONS,
    "CONTRIBUTING.md: Contributing, 1": THEY_ARE_SESSIONS,
    "awx.rst: Execution environment, 2": "It builds a container image, which needs a container engine and base images",
}
FAILING = [{"hosts": "web", "gather_facts": False, "tasks": [INSTALL, fail("web2")]}]


@pytest.fixture
def reader(request: pytest.FixtureRequest, ansible: Any, simulator: Any) -> Iterator[Reader]:
    """A reader with an inventory for the simulated machines, made as the documentation says."""
    ansible.environment["ANSIBLE_PIPELINING"] = "true"
    (ansible.folder / "community.paperspace").symlink_to(COLLECTION)
    with reading(Reader(ansible, simulator), getattr(request.function, "parts", ())) as one:
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
    from integration import test_event_driven, test_guide  # noqa: F401

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


def test_guides_are_registered() -> None:
    sections = yaml.safe_load((COLLECTION / "docs/docsite/extra-docs.yml").read_text("utf-8"))["sections"]
    registered = [guide for one in sections for guide in one["toctree"]]
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


# Hooks

HOOKS = "docs/docsite/rst/hooks.rst"


@pytest.fixture
def hooks(reader: Reader) -> Reader:
    """A reader who has the scripts of the guide, in folders of the test's own."""
    for folder in ("/etc", "/usr/local/sbin", "/run/patch-web"):
        reader.values[folder] = f"{reader.folder}{folder}"
        (reader.folder / folder[1:]).mkdir(parents=True)
    reader.values["/opt/paperspace/bin"] = str(Path(sys.executable).parent)
    reader.values["$(hostname)"] = "web1"
    use_real_machines(reader)
    (reader.folder / "etc/paperspace").symlink_to(reader.folder)
    for block in [*section(HOOKS, "Where a hook runs"), *section(HOOKS, "Two scripts")]:
        if block.caption:
            reader.save(block)
    return reader


def outside(command: str) -> str:
    """A command as a service starts it: with another path, and without the key."""
    return f"env -u PAPERSPACE_API_KEY PATH=/usr/bin:/bin sh -c {shlex.quote(command)}"


def script(reader: Reader, path: str, *lines: str) -> None:
    file = reader.folder / path
    file.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    file.chmod(0o755)


CRON = "Any command, for example from cron"


@follows(Part(HOOKS, ("What a hook does not see", "Where a hook runs", "Two scripts", CRON)))
def test_cron_job_that_fails_is_rolled_back(hooks: Reader) -> None:
    guard, crontab = section(HOOKS, CRON)
    hooks.follow_all([guard, crontab])
    version = disk(hooks, "web1") / "opt/app/version"
    script(hooks, "usr/local/sbin/patch-web", f"echo 2.0 > '{version}'", "exit 7")
    [line] = hooks.with_values(crontab.text).splitlines()
    *dummy, user, command = line.split(maxsplit=6)
    assert user == "root"
    hooks.type(outside(command), rc=7)
    hooks.use("/etc/cron.d/paperspace-patch")
    assert {host: state(hooks.simulator)[host] for host in ("web1", "web2")} == dict.fromkeys(
        ("web1", "web2"), ("1.0", "restored")
    )
    hooks.follow_all(section(HOOKS, "What a hook does not see"))
    assert "No run is open" in hooks.last.output
    hooks.used |= {block.name for block in section(HOOKS, "Where a hook runs") if block.name in NOT_FOLLOWED}


def test_hook_lets_nothing_begin_without_a_proven_snapshot(hooks: Reader) -> None:
    [guard, dummy] = section(HOOKS, CRON)
    hooks.save(guard)
    hooks.simulator.add_fault(
        "event", state="error", error="no space", method="POST", machine_id=hooks.simulator.ids()["web2"]
    )
    guarded = outside(hooks.with_values("/usr/local/sbin/paperspace-guard web touch begun"))
    hooks.type(guarded, rc=1)
    assert not (hooks.folder / "begun").exists()
    assert not hooks.simulator.done_counts()["restores"]
    assert [state(hooks.simulator)[host][1] for host in ("web1", "web3")] == ["ok", "ok"]
    # An inventory without hosts is no success either.
    hooks.simulator.add_fault("status", status=403, path="/machines")
    hooks.type(guarded.replace("paperspace-guard web", "paperspace-guard all"), rc=1)
    assert not (hooks.folder / "begun").exists()


@follows(Part(HOOKS, ("apt",)))
def test_apt_hook(hooks: Reader) -> None:
    hook, configuration, back = section(HOOKS, "apt")
    hooks.follow_all([hook, configuration])
    file = hooks.folder / "etc/apt/apt.conf.d/80paperspace"
    if shutil.which("apt-config"):
        shown = hooks.type(f"APT_CONFIG={file} apt-config dump DPkg::Pre-Invoke").output
        [command] = re.findall(r'DPkg::Pre-Invoke:: "(.+)";', shown)
    else:
        [command] = re.findall(r'DPkg::Pre-Invoke \{ "(.+)"; \};', file.read_text())
    hooks.type(outside(command))
    hooks.use("80paperspace")
    assert state(hooks.simulator)["web1"] == ("1.0", "ok")
    assert state(hooks.simulator)["web2"] == ("1.0", "")
    spoil(hooks, "web1")
    hooks.follow(back)
    assert state(hooks.simulator)["web1"] == ("1.0", "restored")


@follows(Part(HOOKS, ("A CI job",)))
def test_ci_job(hooks: Reader) -> None:
    [block] = section(HOOKS, "A CI job")
    job = yaml.safe_load(hooks.save(block).read_text())["deploy"]
    script(hooks, "deploy.sh", f"echo 2.0 > '{disk(hooks, 'web1')}/opt/app/version'")
    hooks.type(f"PATH={hooks.folder}/usr/local/sbin:$PATH")
    for command in job["script"]:
        hooks.type(command)
    hooks.type("CI_JOB_STATUS=success")
    for command in job["after_script"]:
        hooks.type(command)
    hooks.use(".gitlab-ci.yml")
    assert state(hooks.simulator)["web1"] == ("2.0", "ok")
    assert state(hooks.simulator)["web2"] == ("1.0", "ok")


@follows(Part(HOOKS, ("A systemd unit",)))
def test_systemd_unit(hooks: Reader) -> None:
    service, timer, commands = section(HOOKS, "A systemd unit")
    script(hooks, "usr/local/sbin/patch-web", f"echo 2.0 > '{disk(hooks, 'web1')}/opt/app/version'", "kill -9 $$")
    paths = [hooks.save(unit) for unit in (service, timer)]
    if shutil.which("systemd-analyze"):
        verified = hooks.type(f"systemd-analyze verify --man=no {' '.join(map(str, paths))}", rc=None)
        assert not [line for line in verified.output.splitlines() if "patch-web" in line]
    started = re.findall(r"^(ExecStart\w*|ExecStopPost)=(.+)$", paths[0].read_text(), re.MULTILINE)
    assert [key for key, dummy in started] == ["ExecStartPre", "ExecStart", "ExecStopPost"]
    before, start, after = (command for dummy, command in started)
    hooks.type(outside(before))
    hooks.type(outside(start), rc=137)
    hooks.type(outside(after.replace("${SERVICE_RESULT}", "signal")))
    hooks.use("patch-web.service", "patch-web.timer")
    hooks.used.add(commands.name)
    assert state(hooks.simulator)["web1"] == ("1.0", "restored")
    assert not list((hooks.folder / "run/patch-web").iterdir())


# AWX

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
    use_real_machines(reader)
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


@pytest.mark.parametrize("is_bad", [False, True], ids=["well", "failing"])
@follows(Part(AWX, ("A workflow",)))
def test_workflow(project: Reader, is_bad: bool) -> None:
    shown = as_job(project, "new_run.yml").output
    artifacts = json.loads(re.findall(r"RUN: (\{.+?\})", shown, re.DOTALL)[0])
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


# What can go wrong

TROUBLE = "docs/docsite/rst/troubleshooting.rst"


def quoted(*titles: str) -> set[str]:
    """What sections of the guide have between double backticks."""
    sections = re.split(r"^(.+)\n-{3,}\n", (COLLECTION / TROUBLE).read_text("utf-8"), flags=re.MULTILINE)
    found = dict(zip(sections[1::2], sections[2::2], strict=True))
    return {word for title in titles for word in re.findall(r"``(.+?)``", found[title])}


def texts_of_the_collection() -> Iterator[str]:
    """All that the collection can say; what varies is left out."""
    for path in COLLECTION.glob("plugins/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
            elif isinstance(node, ast.JoinedStr):
                yield "…".join(part.value for part in node.values if isinstance(part, ast.Constant))
    for path in COLLECTION.glob("roles/*/tasks/*.yml"):
        yield " ".join(path.read_text("utf-8").split())


def test_every_outcome_and_status_has_a_way_out() -> None:
    assert {*OUTCOMES, *VERDICTS, *ENDS, *STATUSES} <= quoted("Outcomes in the report of a guarded maintenance")
    documented: set[str] = set()
    for module in ("paperspace_snapshot", "paperspace_machine"):
        text = (COLLECTION / f"plugins/modules/{module}.py").read_text("utf-8")
        description = text.partition("\n    status:\n")[2].partition("type: str")[0]
        documented |= set(re.findall(r"V\((\w+)\)", description))
    text = (COLLECTION / "plugins/filter/recovery_rows.py").read_text("utf-8")
    documented |= set(re.findall(r"V\((\w+)\)", text.partition("C(status) is")[2].partition("type: list")[0]))
    assert len(documented) > 20
    named = quoted("The status of a snapshot or machine")
    assert {status for status in documented if not status.startswith("would_")} <= named
    assert "would_…" in named


def test_messages_are_those_of_the_collection() -> None:
    texts = [" ".join(text.split()) for text in texts_of_the_collection()]
    titles = ("Messages before anything begins", "Messages of the service", "After a rollback")
    messages = {text for text in quoted(*titles) if len(text.split()) > 3 and not text.startswith("-")}
    assert len(messages) > 20
    unknown = {
        message: fragment
        for message in messages
        for fragment in (part.strip() for part in message.split("…"))
        if len(fragment) > 3 and not any(fragment in text for text in texts)
    }
    assert not unknown


@follows(Part(TROUBLE))
def test_questions_of_who_is_in_trouble(reader: Reader) -> None:
    use_real_machines(reader)
    reader.type(f"{SNAPSHOT} web1")
    spoil(reader, "web1")
    open_runs, machines, inventory = section(TROUBLE, "Three questions first")
    reader.follow(open_runs)
    assert "1 run is open on these machines" in reader.last.output
    reader.follow(machines)
    assert all(machine_id in reader.last.output for machine_id in reader.simulator.ids().values())
    reader.follow(inventory)
    assert all(machine_id in reader.last.output for machine_id in reader.simulator.ids().values())
    reader.values["SNAPSHOT_ID"] = reader.simulator.add_snapshot(reader.simulator.ids()["db1"], "useless")
    reader.follow_all(section(TROUBLE, "The status of a snapshot or machine"))
    assert not reader.simulator.snapshots(reader.simulator.ids()["db1"])
    shutil.rmtree(reader.folder / "paperspace-runs", ignore_errors=True)
    reader.follow_all(section(TROUBLE, "Everything is gone"))
    assert state(reader.simulator)["web1"] == ("1.0", "restored")


# By hand

HAND = "docs/docsite/rst/comparison.rst"
BY_HAND = "ansible-playbook -i my.paperspace.yml by_hand.yml"


def undone(reader: Reader) -> dict[str, tuple[str, int]]:
    """Of the web servers: the version on the disk, and how many snapshots there are."""
    snapshots = Counter(snapshot["machineId"] for snapshot in reader.simulator.snapshots())
    ids = reader.simulator.ids()
    return {host: (state(reader.simulator)[host][0], snapshots[ids[host]]) for host in ("web1", "web2", "web3")}


@pytest.fixture
def by_hand(reader: Reader) -> Reader:
    use_real_machines(reader)
    for block in blocks_of(HAND):
        if block.caption:
            reader.save(block)
    return reader


@follows(Part(HAND, ("By hand", "Auto-snapshots")))
def test_by_hand_and_with_the_guard(by_hand: Reader) -> None:
    dummy, typed, dummy, guarded = section(HAND, "By hand")
    by_hand.ansible.write("upgrade.yml", [INSTALL, fail("web2")])
    by_hand.follow(typed, fails={"by_hand": 2})
    assert undone(by_hand) == {"web1": ("2.0", 1), "web2": ("1.0", 1), "web3": ("2.0", 1)}
    by_hand.follow(guarded, fails={"maintenance": 2})
    assert undone(by_hand) == {"web1": ("2.0", 2), "web2": ("1.0", 2), "web3": ("2.0", 2)}
    by_hand.follow_all(section(HAND, "Auto-snapshots"))
    kept = [one["autoSnapshotSaveCount"] for one in by_hand.simulator.machines() if one["name"].startswith("web")]
    assert kept == [7, 7, 7]


def test_by_hand_an_unreachable_host_stays_broken(by_hand: Reader) -> None:
    by_hand.ansible.write("upgrade.yml", [INSTALL, cut_off("web2")])
    by_hand.type(BY_HAND, rc=4)
    assert undone(by_hand)["web2"] == ("2.0", 1)
    assert not by_hand.simulator.done_counts()["restores"]


def test_by_hand_a_blip_counts_as_well(by_hand: Reader) -> None:
    by_hand.ansible.write("upgrade.yml", [blip("web2", ignore_unreachable=True), REACH, INSTALL])
    by_hand.type(BY_HAND)
    assert not by_hand.simulator.done_counts()["restores"]


def test_by_hand_a_lost_answer_makes_a_second_snapshot(by_hand: Reader) -> None:
    by_hand.ansible.write("upgrade.yml", [INSTALL])
    web2 = by_hand.simulator.ids()["web2"]
    by_hand.simulator.add_fault("lost", when="after", method="POST", machine_id=web2, times=1)
    by_hand.type(f"{BY_HAND} -l web2", rc=2)
    # It waits through an answer that fails, and shows the key to who wants to know more.
    by_hand.simulator.add_fault("status", status=503, method="GET", path="/machine-events/.*", times=1)
    shown = by_hand.type(f"{BY_HAND} -l web2 -vvv", may_show_key=True)
    assert KEY in shown.output
    assert undone(by_hand)["web2"] == ("2.0", 2)


@pytest.mark.parametrize("fault", [{"status": 429}, {"status": 503}, {"action": "busy"}], ids=["429", "503", "busy"])
def test_by_hand_what_could_be_waited_for_fails(by_hand: Reader, fault: dict[str, Any]) -> None:
    by_hand.ansible.write("upgrade.yml", [INSTALL])
    web2 = by_hand.simulator.ids()["web2"]
    by_hand.simulator.add_fault(**{"action": "status", **fault}, method="POST", machine_id=web2, times=1)
    by_hand.type(f"{BY_HAND} -l web2", rc=2)
    assert undone(by_hand)["web2"] == ("1.0", 0)


# Guarded maintenance, and the READMEs

GUARDED = "docs/docsite/rst/guarded_maintenance.rst"
WEB = ("web1", "web2", "web3")


class Health(BaseHTTPRequestHandler):
    """An application that is well."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def health() -> Iterator[int]:
    """The port of an application that says that it is well."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Health) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


SHOWN_TO_RUN = ("A first run", "Waves, soak, budget and scope", "Verification playbooks", "Recover")


@follows(Part(GUARDED, SHOWN_TO_RUN))
def test_guarded_maintenance(reader: Reader, health: int) -> None:
    use_real_machines(reader)
    reader.values |= {"localhost:8080": f"127.0.0.1:{health}", "maintenance_soak: 600": "maintenance_soak: 0.1"}
    patch, first = section(GUARDED, "A first run")
    [verify] = section(GUARDED, "Verification playbooks")
    reader.save(patch)
    reader.save(verify)
    reader.type("ansible-playbook --syntax-check -i my.paperspace.yml patch.yml")
    reader.ansible.write("patch.yml", [{"hosts": "web", "gather_facts": False, "tasks": [INSTALL]}])
    reader.follow(first)
    assert [state(reader.simulator)[host] for host in WEB] == [("2.0", "ok")] * 3
    recover, undo = section(GUARDED, "Recover")
    reader.follow(undo)
    assert [state(reader.simulator)[host] for host in WEB] == [("1.0", "restored")] * 3

    reader.follow_all(section(GUARDED, "Waves, soak, budget and scope"))
    # Each wave is maintained, and then verified.
    task = r"^TASK \[(Install the new version|Ask the application how it is)\]"
    played = re.findall(task, reader.last.output, re.MULTILINE)
    assert len(played) == 2 * len(re.findall(r"^Wave \d of \d", reader.last.output, re.MULTILINE)) > 2
    assert [state(reader.simulator)[host][0] for host in WEB] == ["2.0"] * 3

    reader.type(f"{SNAPSHOT} db1")
    spoil(reader, "db1")
    reader.follow(recover)
    assert state(reader.simulator)["db1"] == ("1.0", "restored")


README = "README.md"


@follows(Part(README, ("Use it on real machines",)))
def test_readme(reader: Reader) -> None:
    # The reader is in the clone, where a test must not write; and a registry of packages is not asked.
    reader.values["collection build"] = "collection build community.paperspace"
    reader.values["pip install requests"] = f"{sys.executable} -c 'import requests'"
    use_real_machines(reader)
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


@follows(*(Part(f"roles/{role}/README.md") for role in ("snapshot", "rollback", "prune", "maintenance")))
def test_readmes_of_roles(reader: Reader) -> None:
    use_real_machines(reader)
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


def test_commands_of_make_are_there() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):.*##", (COLLECTION / "Makefile").read_text(), re.MULTILINE))
    for page in ("README.md", "CONTRIBUTING.md"):
        used = {word for block in blocks_of(page) for word in re.findall(r"\bmake ([a-z0-9-]+)", block.text)}
        assert used
        assert used <= targets
