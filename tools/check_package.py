# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check the built tarball and the collection installed from it: `check_package.py TARBALL COLLECTIONS_PATH`.

Of what is installed, only the folders that have to suffice are left. Their plugins and roles must have documentation,
and their playbooks must get as far as asking the API.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

REQUIRED = {
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "FILES.json",
    "LICENSE",
    "LICENSES/GPL-3.0-or-later.txt",
    "MANIFEST.json",
    "README.md",
    "SECURITY.md",
    "changelogs/config.yaml",
    "docs/docsite/config.yml",
    "extensions/eda/plugins/event_source/machine_events.py",
    "meta/ee-requirements.txt",
    "meta/execution-environment.yml",
    "meta/extensions.yml",
    "meta/runtime.yml",
}
# What the top of the collection may hold: a file that only developers need must not get in by being new.
ALLOWED_FOLDERS = {"LICENSES", "changelogs", "docs", "extensions", "meta", "playbooks", "plugins", "roles"}
ALLOWED_FILES = {path for path in REQUIRED if "/" not in path}
# DESIGN: these work when every other folder is deleted from an installed collection.
SELF_SUFFICIENT = {"meta", "playbooks", "plugins", "roles"}
PLUGIN_TYPES = ("module", "inventory", "callback", "filter", "lookup", "role")
# What every playbook says when nobody answers at the address of the API: it got as far as asking.
UNANSWERED = "no connection ("


def content_problems(files: set[str]) -> list[str]:
    """What is missing from these paths, and what does not belong there."""
    problems = [f"missing: {path}" for path in sorted(REQUIRED - files)]
    for path in sorted(files):
        parts = PurePosixPath(path).parts
        allowed = path in ALLOWED_FILES or (len(parts) > 1 and parts[0] in ALLOWED_FOLDERS)
        if not allowed or any(part == "__pycache__" or part.startswith(".") for part in parts):
            problems.append(f"does not belong: {path}")
    return problems


def documented(plugin_type: str) -> set[str]:
    """The names of this collection's plugins of one type that ansible-doc can document."""
    command = ["ansible-doc", "--type", plugin_type, "--list", "--json", "community.paperspace"]
    listed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    names = set(json.loads(listed.stdout))
    if names:
        command = ["ansible-doc", "--type", plugin_type, "--json", *sorted(names)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return {name.removeprefix("community.paperspace.") for name in names}


def expected(files: set[str], plugin_type: str) -> set[str]:
    """The names that the paths in the tarball promise."""
    if plugin_type == "role":
        return {PurePosixPath(path).parts[1] for path in files if path.startswith("roles/")}
    folder = "plugins/modules" if plugin_type == "module" else f"plugins/{plugin_type}"
    found = {PurePosixPath(path) for path in files if path.endswith(".py")}
    return {path.stem for path in found if str(path.parent) == folder and not path.stem.startswith("_")}


def playbooks(files: set[str]) -> list[str]:
    """The names of the playbooks in the tarball."""
    return sorted(PurePosixPath(path).stem for path in files if PurePosixPath(path).match("playbooks/*.yml"))


def playbook_problems(name: str, code: int, output: str) -> list[str]:
    """What is wrong with the end of a playbook that nobody answered."""
    if code == 2 and UNANSWERED in output and "Traceback" not in output:
        return []
    return [f"playbook {name}: does not end with the error that nobody answers, but with {code} and:\n{output}"]


def unanswered(name: str, folder: Path) -> tuple[int, str]:
    """Run a playbook of the installed collection on one machine, with an address of the API at which nobody listens.

    Returns its exit code and output.
    """
    hosts = {"all": {"hosts": {"web1": {"paperspace_id": "psa1b2c3d4e5"}}}}
    (folder / "hosts.json").write_text(json.dumps(hosts))
    (folder / "patch.yml").write_text(json.dumps([{"hosts": "all", "tasks": []}]))
    # A port that is taken and not listened at refuses every connection.
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        variables = {
            "paperspace_connection": {"api_url": url, "api_key": "n0-k3y-0f-4ny0n3", "retries": 0},
            "rollback_run_id": "20260131T235959Z-1a2b",
            "maintenance_playbook": "patch.yml",
        }
        command = ["ansible-playbook", f"community.paperspace.{name}", "-i", "hosts.json", "--check"]
        command += ["-e", json.dumps(variables)]
        ended = subprocess.run(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
    return ended.returncode, ended.stdout


def main(tarball: Path, collections: Path) -> int:
    with tarfile.open(tarball) as archive:
        files = {member.name for member in archive.getmembers() if not member.isdir()}
    problems = content_problems(files)

    installed = collections / "ansible_collections" / "community" / "paperspace"
    for entry in installed.iterdir():
        if entry.is_dir() and entry.name not in SELF_SUFFICIENT:
            shutil.rmtree(entry)
    for plugin_type in PLUGIN_TYPES:
        missing = expected(files, plugin_type) - documented(plugin_type)
        problems += [f"not documented when installed: {plugin_type} {name}" for name in sorted(missing)]
    for name in playbooks(files):
        with tempfile.TemporaryDirectory() as folder:
            problems += playbook_problems(name, *unanswered(name, Path(folder)))

    for problem in problems:
        print(f"{tarball.name}: {problem}")
    print(f"{tarball.name}: {len(files)} files, {tarball.stat().st_size // 1024} KiB, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
