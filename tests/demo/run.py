# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The demonstration: five simulated machines, an upgrade that breaks two of them, and their way back.

Every step is a command that a user could type; only the machines are simulated. The last step does not trust
Ansible: it asks each machine's disk over plain SSH. Exits 0 only if every machine is as it should be.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
OLD, NEW = "1.0", "2.0"
FAILS_ON, CUTS_OFF = "db1", "web2"
INVENTORY = """\
plugin: community.paperspace.paperspace
connect_with: public_ip
groups:
  paperspace: true
  web: paperspace_name is match('web')
  db: paperspace_name is match('db')
"""


@dataclass(frozen=True)
class Stage:
    """A folder with an inventory, and the environment in which every command of the demonstration runs."""

    folder: Path
    environ: dict[str, str]
    simulator: dict[str, Any]

    def run(self, *command: str, expect_failure: bool = False) -> str:
        """Run a command before the user's eyes and return what it printed. Ends the demonstration when it is off."""
        print(f"\n$ {shlex.join(command)}", flush=True)
        process = subprocess.Popen(
            command, cwd=self.folder, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        lines = []
        for line in process.stdout or ():
            print(f"  {line}", end="", flush=True)
            lines.append(line)
        if (process.wait() != 0) != expect_failure:
            sys.exit(f"demo: that command ended with {process.returncode}, which is not what should happen here.")
        return "".join(lines)

    def hosts(self) -> dict[str, dict[str, Any]]:
        """The inventory's variables by host, read anew: a machine may have come back at another address."""
        command = ["ansible-inventory", "-i", "inventory", "--list"]
        listed = subprocess.run(command, cwd=self.folder, env=self.environ, capture_output=True, text=True, check=True)
        found: dict[str, dict[str, Any]] = json.loads(listed.stdout, object_hook=without_unsafe_mark)["_meta"][
            "hostvars"
        ]
        return found

    def version_on(self, host: dict[str, Any]) -> str:
        """The application's version on a machine's disk, asked with the plain ssh command."""
        command = [
            "ssh",
            *shlex.split(host["ansible_ssh_common_args"]),
            *("-o", "BatchMode=yes", "-o", "ConnectTimeout=5"),
            *("-i", host["ansible_ssh_private_key_file"], "-p", str(host["ansible_port"])),
            f"{host['ansible_user']}@{host['ansible_host']}",
            "cat opt/app/version",
        ]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        return answer.stdout.strip() if answer.returncode == 0 else "unreachable"


def without_unsafe_mark(value: dict[str, Any]) -> Any:
    """Some versions of ansible-inventory mark a text that nothing may evaluate as C({"__ansible_unsafe": TEXT})."""
    return value.get("__ansible_unsafe", value)


@contextlib.contextmanager
def prepared(folder: Path) -> Iterator[Stage]:
    """Start the simulator and write the inventory, as a user would for the real service."""
    key = secrets.token_hex(16)
    command = [sys.executable, "-m", "simulator", "--port", "0", "--dir", str(folder / "cloud"), "--machines", "5"]
    process = subprocess.Popen([*command, "--key", key], stdout=subprocess.PIPE, text=True)
    try:
        simulator = json.loads((process.stdout and process.stdout.readline()) or "null")
        if simulator is None:
            sys.exit("demo: the simulator did not start.")
        inventory = folder / "inventory"
        (inventory / "group_vars").mkdir(parents=True)
        (inventory / "demo.paperspace.yml").write_text(INVENTORY)
        (inventory / "group_vars" / "paperspace.yml").write_text(json.dumps(simulator["variables"], indent=2))
        environ = {
            **os.environ,
            "PAPERSPACE_API_KEY": key,
            "PAPERSPACE_API_URL": simulator["api_url"],
            "ANSIBLE_RETRY_FILES_ENABLED": "true",
            "ANSIBLE_RETRY_FILES_SAVE_PATH": str(folder),
            "ANSIBLE_HOME": str(folder / "ansible"),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_TIMEOUT": "5",
        }
        yield Stage(folder, environ, simulator)
    finally:
        process.terminate()
        process.wait(timeout=20)


def maintain(stage: Stage) -> None:
    """Snapshot, upgrade, roll back what did not come through, close and prune."""
    say("1. The fleet, as the inventory plugin finds it")
    stage.run("ansible-inventory", "-i", "inventory", "--graph")

    say("2. A snapshot of every machine before the work")
    printed = stage.run("ansible-playbook", "-i", "inventory", "community.paperspace.snapshot", "-l", "paperspace")
    found = re.search(r"\d{8}T\d{6}Z-[0-9a-f]{4}", printed)
    if not found:
        sys.exit("demo: the snapshot playbook printed no run id.")
    run_id = found[0]

    say(f"3. The upgrade: it fails on {FAILS_ON}, and cuts {CUTS_OFF} off from the network")
    breakage = ["-e", f"demo_fails_on={FAILS_ON}", "-e", f"demo_cuts_off={CUTS_OFF}"]
    stage.run("ansible-playbook", "-i", "inventory", str(HERE / "upgrade.yml"), *breakage, expect_failure=True)
    print("\nIn between, over SSH:", *(f"{name}={version}" for name, version in versions(stage).items()))

    say("4. Roll back the machines that did not come through, reachable or not")
    lost = stage.folder / "upgrade.retry"
    rollback = [
        "ansible-playbook",
        "-i",
        "inventory",
        "community.paperspace.rollback",
        "-e",
        f"rollback_run_id={run_id}",
    ]
    stage.run(*rollback, "-l", f"@{lost}")

    say("5. Close the run for the others, and prune")
    close = ["-e", "snapshot_action=close", "-e", f"snapshot_run_id={run_id}"]
    snapshot = ["ansible-playbook", "-i", "inventory", "community.paperspace.snapshot"]
    stage.run(*snapshot, *close, "-l", "paperspace")
    stage.run("ansible-playbook", "-i", "inventory", "community.paperspace.prune", "-l", "paperspace")


def versions(stage: Stage) -> dict[str, str]:
    """The application's version by machine, over SSH."""
    return {name: stage.version_on(host) for name, host in sorted(stage.hosts().items())}


def is_proven(stage: Stage) -> bool:
    """Print what is on each disk, and whether it is what should be there."""
    say("6. The proof, over plain SSH")
    found = versions(stage)
    print(f"{'machine':10} {'what happened':34} {'should be':10} {'is':12}")
    is_good = len(found) == 5
    for name, version in found.items():
        story = {FAILS_ON: "a task failed, rolled back", CUTS_OFF: "unreachable, rolled back"}.get(name, "upgraded")
        wanted = OLD if name in (FAILS_ON, CUTS_OFF) else NEW
        is_good = is_good and version == wanted
        print(f"{name:10} {story:34} {wanted:10} {version:12} {'ok' if version == wanted else 'WRONG'}")
    return is_good


def say(text: str) -> None:
    print(f"\n=== {text}", flush=True)


def main() -> int:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="paperspace-demo-") as folder, prepared(Path(folder)) as stage:
        maintain(stage)
        is_good = is_proven(stage)
    end = "Every machine is as it should be" if is_good else "NOT every machine is as it should be"
    print(f"\n{end}, after {time.monotonic() - began:.0f} s.")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
