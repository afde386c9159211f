# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The demonstration: five simulated machines, an upgrade that breaks two of them, a controller that dies in the next
one, and their way back.

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
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
OLD, NEW, NEXT = "1.0", "2.0", "3.0"
FAILS_ON, CUTS_OFF = "db1", "web2"
MAINTENANCE = f"""\
maintenance_playbook: upgrade.yml
maintenance_waves: [2, "100%"]
maintenance_max_failures: 1
# What breaks, for this demonstration.
demo_fails_on: {FAILS_ON}
demo_cuts_off: {CUTS_OFF}
"""
WHAT_HAPPENED = {
    "db1": "its upgrade failed, rolled back",
    "db2": "upgraded",
    "web1": "upgraded; the next upgrade recovered",
    "web2": "cut off, rolled back; the next recovered",
    "web3": "upgraded; the next upgrade recovered",
}
INVENTORY = """\
plugin: community.paperspace.paperspace
connect_with: public_ip
groups:
  paperspace: true
  web: paperspace_name is match('web')
  db: paperspace_name is match('db')
"""
# Quicker than the service, so that all of it takes about a minute.
SIMULATOR = {
    "event_start_seconds": 0.2,
    "snapshot_seconds": 1,
    "restore_seconds": 1.5,
    "settle_seconds": 0.5,
    "serviceready_seconds": 0.5,
    "state_lag_seconds": 0.3,
}
PLAYBOOK = ("ansible-playbook", "-i", "inventory")
# The head of the page of a report, up to its totals.
HEAD_OF_REPORT = 21
RESULT = re.compile(r"\w+: \[")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# What begins what is left out, and which of the lines after it belong to it.
NO_BEGINNING = re.compile(r"(?!TASK \[|PLAY |\w+: \[|Wave |Rolling back|Restoring|Starting|\[\w+\] )")
SKIPPED = {
    "PLAY RECAP": re.compile(r"$|\S+ +: ok="),
    "[ERROR]": NO_BEGINNING,
    "[WARNING]": NO_BEGINNING,
}


class Digest:
    """What Ansible prints, without recaps, excerpts of playbooks, and tasks that tell nothing."""

    def __init__(self) -> None:
        # A task and its hosts, until there is something to tell of it.
        self._held: list[str] = []
        self._is_of_the_collection = False
        self._skips: re.Pattern[str] | None = None

    def take(self, line: str) -> list[str]:
        """The lines to show now that this one has come."""
        text = COLOUR.sub("", line)
        if self._skips is not None:
            if self._skips.match(text):
                return []
            self._skips = None
        if text.startswith("TASK ["):
            self._held = ["", line]
            self._is_of_the_collection = text.startswith("TASK [community.paperspace.")
            return []
        for begin, skips in SKIPPED.items():
            if text.startswith(begin):
                self._skips = skips
                return []
        is_quiet = text.startswith(("ok: ", "changed: ") if self._is_of_the_collection else "ok: ")
        is_quiet = is_quiet and ("=>" not in text or "(item=" in text)
        if is_quiet or text.startswith("included: ") or (self._held and not text):
            return []
        held = self.held()
        # Other lines than results belong to a task whose name comes after them.
        return [*(held if RESULT.match(text) else held[:1]), line]

    def held(self) -> list[str]:
        """The task that nothing was told of yet."""
        held, self._held = self._held, []
        return held


@dataclass(frozen=True)
class Stage:
    """A folder with an inventory, and the environment in which every command of the demonstration runs."""

    folder: Path
    environ: dict[str, str]

    def run(self, *command: str, expect: int = 0, kill_at: str | None = None) -> None:
        """Run a command before the user's eyes. Ends the demonstration when its exit code is not the expected one.

        With C(kill_at), the command and all that it started are killed when it prints this.
        """
        say(f"$ {shlex.join(command)}")
        process = subprocess.Popen(
            command, cwd=self.folder, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        digest, lines, is_after_gap = Digest(), [], False
        for line in process.stdout or ():
            lines.append(line)
            # As it is seen from where the command was typed.
            news = digest.take(line.rstrip("\n").replace(f"{self.folder}/", ""))
            if kill_at is not None and kill_at in line:
                killed = kill_with_all_below(process.pid)
                end = f"kill -9: the controller is dead, with all of its {len(killed)} processes"
                news += [*digest.held(), "", end]
            for text in news:
                # Of empty ones in a row just one, and none at the end.
                if text:
                    print("\n" * is_after_gap + f"  {text}".rstrip(), flush=True)
                is_after_gap = not text
        code = process.wait()
        # As a shell tells it: 128 and the number of the signal.
        code = code if code >= 0 else 128 - code
        if code:
            say(f"Exit code: {code}")
        if code != expect:
            sys.exit(f"demo: that command should have ended with {expect}. All that it printed:\n{''.join(lines)}")

    def show_report(self) -> None:
        """Print the beginning of the only report that there is, in the form for people."""
        self.run("ls", "paperspace-runs")
        [page] = (self.folder / "paperspace-runs").glob("*.md")
        self.run("head", "-n", str(HEAD_OF_REPORT), str(page.relative_to(self.folder)))

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

    def versions(self) -> dict[str, str]:
        """The application's version by machine."""
        return {name: self.version_on(host) for name, host in sorted(self.hosts().items())}


def without_unsafe_mark(value: dict[str, Any]) -> Any:
    """Some versions of ansible-inventory mark a text that nothing may evaluate as C({"__ansible_unsafe": TEXT})."""
    return value.get("__ansible_unsafe", value)


def kill_with_all_below(top: int) -> list[int]:
    """Kill a process and everything that it started, as when the computer loses its power. Returns what was killed."""
    table = parents()
    found = [top]
    for process in found:
        found += [child for child, parent in table.items() if parent == process]
    for process in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return found


def parents() -> dict[int, int]:
    """The parent of each process."""
    table = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name in brackets may hold anything.
            table[int(file.parent.name)] = int(file.read_text(errors="replace").rpartition(")")[2].split()[1])
    if table:
        return table
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], stdout=subprocess.PIPE, text=True, check=True)
    return {int(line.split()[0]): int(line.split()[1]) for line in listed.stdout.splitlines()}


@contextlib.contextmanager
def prepared(folder: Path) -> Iterator[Stage]:
    """Start the simulator and write the inventory, as a user would for the real service."""
    key = secrets.token_hex(16)
    command = [sys.executable, "-m", "simulator", "--port", "0", "--dir", str(folder / "cloud"), "--machines", "5"]
    command += ["--key", key, "--settings", json.dumps(SIMULATOR)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        simulator = json.loads((process.stdout and process.stdout.readline()) or "null")
        if simulator is None:
            sys.exit("demo: the simulator did not start.")
        inventory = folder / "inventory"
        (inventory / "group_vars").mkdir(parents=True)
        (inventory / "demo.paperspace.yml").write_text(INVENTORY)
        (inventory / "group_vars" / "paperspace.yml").write_text(json.dumps(simulator["variables"], indent=2))
        (folder / "upgrade.yml").write_text((HERE / "upgrade.yml").read_text())
        (folder / "maintenance.yml").write_text(MAINTENANCE)
        environ = {
            **os.environ,
            "PWD": str(folder),
            "PAPERSPACE_API_KEY": key,
            "PAPERSPACE_API_URL": simulator["api_url"],
            "ANSIBLE_HOME": str(folder / "ansible"),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_TIMEOUT": "5",
            "ANSIBLE_PIPELINING": "true",
            # Less to read.
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
            "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "false",
        }
        yield Stage(folder, environ)
    finally:
        process.terminate()
        process.wait(timeout=20)


def maintain(stage: Stage) -> None:
    """One guarded maintenance in which two machines break."""
    say("=== 1. The fleet, as the inventory plugin finds it")
    stage.run("ansible-inventory", "-i", "inventory", "--graph", "paperspace")

    say(f"=== 2. A guarded upgrade in two waves: {FAILS_ON} fails, and {CUTS_OFF} loses its network")
    stage.run("cat", "maintenance.yml")
    stage.run(*PLAYBOOK, "community.paperspace.maintenance", "-e", "@maintenance.yml", expect=2)

    say("=== 3. Its report")
    stage.show_report()


def recover(stage: Stage) -> None:
    """A second guarded maintenance, whose controller dies."""
    say("=== 4. The next upgrade: in the middle of it, the whole controller is killed")
    (stage.folder / "next.yml").write_text(f"maintenance_playbook: upgrade.yml\ndemo_version: '{NEXT}'\n")
    stage.run("cat", "next.yml")
    command = (*PLAYBOOK, "community.paperspace.maintenance", "-l", "web", "-e", "@next.yml")
    moment = "TASK [Give the network a moment to apply]"
    stage.run(*command, expect=128 + signal.SIGKILL, kill_at=moment)
    say(" ".join(["Left behind, over SSH:", *(f"{name}={version}" for name, version in stage.versions().items())]))

    say("=== 5. Another controller, which knows nothing but the API key and the inventory")
    stage.run(*PLAYBOOK, "community.paperspace.recover")
    stage.run(*PLAYBOOK, "community.paperspace.recover", "-e", "recover_action=rollback")


def is_proven(stage: Stage) -> bool:
    """Print what is on each disk, and whether it is what should be there."""
    say("=== 6. The proof, over plain SSH")
    found = stage.versions()
    wanted = {name: OLD if name in (FAILS_ON, CUTS_OFF) else NEW for name in WHAT_HAPPENED}
    print(f"{'machine':8} {'what happened':42} {'should be':10} is")
    for name, story in WHAT_HAPPENED.items():
        version = found.get(name, "missing")
        verdict = "ok" if version == wanted[name] else "WRONG"
        print(f"{name:8} {story:42} {wanted[name]:10} {version:12} {verdict}")
    return found == wanted


def say(text: str) -> None:
    print(f"\n{text}", flush=True)


def main() -> int:
    began = time.monotonic()
    print("Real ansible-playbook runs; only the machines are simulated. Left out of what")
    print("Ansible prints: recaps, excerpts of playbooks, and tasks that tell nothing.")
    with tempfile.TemporaryDirectory(prefix="paperspace-demo-") as folder, prepared(Path(folder)) as stage:
        maintain(stage)
        recover(stage)
        is_good = is_proven(stage)
    end = "Every machine is as it should be" if is_good else "NOT every machine is as it should be"
    print(f"\n{end}, after {time.monotonic() - began:.0f} s.")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
