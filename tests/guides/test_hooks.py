# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guide of hooks: its scripts, crontab, units and CI job are run."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from documentation import NOT_FOLLOWED, Part, Reader, follows, section, state

HOOKS = "docs/docsite/rst/hooks.rst"


@pytest.fixture
def hooks(reader: Reader) -> Reader:
    """A reader who has the scripts of the guide, in folders of the test's own."""
    for folder in ("/etc", "/usr/local/sbin", "/run/patch-web"):
        reader.values[folder] = f"{reader.folder}{folder}"
        (reader.folder / folder[1:]).mkdir(parents=True)
    reader.values["/opt/paperspace/bin"] = str(Path(sys.executable).parent)
    reader.values["$(hostname)"] = "web1"
    reader.use_real_machines()
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
    guard, crontab, again = section(HOOKS, CRON)
    hooks.follow_all([guard, crontab])
    version = hooks.disk("web1") / "opt/app/version"
    script(hooks, "usr/local/sbin/patch-web", f"echo 2.0 > '{version}'", "exit 7")
    [line] = hooks.with_values(crontab.text).splitlines()
    *dummy, user, command = line.split(maxsplit=6)
    assert user == "root"
    hooks.simulator.add_fault(
        "event", state="error", error="no", path=".*/restore", machine_id=hooks.simulator.ids()["web1"], times=1
    )
    hooks.type(outside(command), rc=None)
    assert hooks.last.rc != 0
    hooks.use("/etc/cron.d/paperspace-patch")
    assert [state(hooks.simulator)[host][1] for host in ("web1", "web2")] == ["open", "restored"]
    hooks.follow(again)
    assert {host: state(hooks.simulator)[host] for host in ("web1", "web2")} == dict.fromkeys(
        ("web1", "web2"), ("1.0", "restored")
    )
    hooks.follow_all(section(HOOKS, "What a hook does not see"))
    assert "No run is open" in hooks.last.output
    hooks.used |= {block.name for block in section(HOOKS, "Where a hook runs") if block.name in NOT_FOLLOWED}


def test_hook_lets_nothing_begin_without_a_proven_snapshot(hooks: Reader) -> None:
    guard, *dummy = section(HOOKS, CRON)
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
        shown = hooks.type(f"APT_CONFIG={file} apt-config dump Unattended-Upgrade::MinimalSteps").output
        assert shown == 'Unattended-Upgrade::MinimalSteps "false";\n'
    else:
        [command] = re.findall(r'DPkg::Pre-Invoke \{ "(.+)"; \};', file.read_text())
    web1 = hooks.simulator.ids()["web1"]
    guards = [f"maint-2026010{day}T000000Z-0000-ok" for day in (1, 2)]
    for name in guards:
        hooks.simulator.add_snapshot(web1, name)
    hooks.type(outside(command))
    hooks.use("80paperspace")
    # The guard's snapshots do not count as restore points, which are more than two with them.
    *others, name = [snapshot["name"] for snapshot in hooks.simulator.snapshots(web1)]
    assert (others, name) == (guards, f"apt-{hooks.values['RUN_ID']}-ok")
    assert state(hooks.simulator)["web2"] == ("1.0", "")
    hooks.spoil("web1")
    hooks.follow(back)
    assert state(hooks.simulator)["web1"] == ("1.0", "ok ok restored")


def minutes(duration: str) -> int:
    """How long a duration is that both GitLab and its runner can read."""
    found = re.fullmatch(r"(?=\d)(?:(\d+)h)?(?:(\d+)m)?", duration)
    assert found, duration
    return 60 * int(found[1] or 0) + int(found[2] or 0)


# What the runner says of a job, how the last command of its script ended, and what becomes of the machines.
CI_JOBS = {
    "success": ("exit 0", 0, ("2.0", "ok"), ("1.0", "ok")),
    "failed": ("exit 1", 1, ("1.0", "restored"), ("1.0", "restored")),
    "canceled": ("kill $$", 143, ("1.0", "restored"), ("1.0", "restored")),
}


@pytest.mark.parametrize("status", CI_JOBS)
@follows(Part(HOOKS, ("A CI job",)))
def test_ci_job(hooks: Reader, status: str) -> None:
    [block] = section(HOOKS, "A CI job")
    job = yaml.safe_load(hooks.save(block).read_text())["deploy"]
    # The rollback of a script that is ended for its time must have its own time within that of the job.
    limits = [minutes(job["variables"][f"RUNNER_{name}_TIMEOUT"]) for name in ("SCRIPT", "AFTER_SCRIPT")]
    assert 0 < sum(limits) < minutes(job["timeout"])
    assert job["variables"]["AFTER_SCRIPT_IGNORE_ERRORS"] == "false"
    end, rc, web1, web2 = CI_JOBS[status]
    script(hooks, "deploy.sh", f"echo 2.0 > '{hooks.disk('web1')}/opt/app/version'", end)
    hooks.type(f"PATH={hooks.folder}/usr/local/sbin:$PATH")
    for command in job["script"]:
        hooks.type(command, rc=rc if command == job["script"][-1] else 0)
    hooks.type(f"CI_JOB_STATUS={status}")
    for command in job["after_script"]:
        hooks.type(command)
    hooks.use(".gitlab-ci.yml")
    assert state(hooks.simulator)["web1"] == web1
    assert state(hooks.simulator)["web2"] == web2


@follows(Part(HOOKS, ("A systemd unit",)))
def test_systemd_unit(hooks: Reader) -> None:
    service, timer, commands = section(HOOKS, "A systemd unit")
    script(hooks, "usr/local/sbin/patch-web", f"echo 2.0 > '{hooks.disk('web1')}/opt/app/version'", "kill -9 $$")
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
