# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check that Galaxy and execution environments take the collection: `check_galaxy.py TARBALL COLLECTIONS_PATH`.

No container is built: ansible-builder writes what one would be built from, and reads the requirements from the
installed collection, as it does inside one.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# What galaxy-importer may complain of, as a pattern of its line, with the reason why it is right as it is.
EXPLAINED: dict[str, str] = {}
COMPLAINT = re.compile(r"^(?:WARNING|ERROR|CRITICAL)\b")
DEFINITION = """\
---
version: 3
images:
  base_image:
    name: localhost/python:3
dependencies:
  ansible_core:
    package_pip: ansible-core
  ansible_runner:
    package_pip: ansible-runner
  galaxy:
    collections:
      - name: {tarball}
        type: file
"""


def unexplained(log: str) -> list[str]:
    """The complaints in the importer's log for which no reason is given."""
    complaints = [line for line in log.splitlines() if COMPLAINT.match(line)]
    return [line for line in complaints if not any(re.search(pattern, line) for pattern in EXPLAINED)]


def import_problems(tarball: Path) -> list[str]:
    """What Galaxy's importer does not like."""
    command = [sys.executable, "-m", "galaxy_importer.main", tarball.name]
    done = subprocess.run(
        command, cwd=tarball.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    print(done.stdout)
    problems = unexplained(done.stdout)
    if done.returncode or "Importer processing completed successfully" not in done.stdout:
        problems.append(f"galaxy-importer ended with {done.returncode}")
    return problems


def environment_problems(tarball: Path, collections: Path) -> list[str]:
    """What keeps the collection from an execution environment."""
    problems = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy2(tarball, folder)
        (folder / "execution-environment.yml").write_text(DEFINITION.format(tarball=tarball.name), encoding="utf-8")
        subprocess.run(["ansible-builder", "create"], cwd=folder, check=True)
        installed = (folder / "context" / "_build" / "requirements.yml").read_text(encoding="utf-8")
        if tarball.name not in installed:
            problems.append(f"the execution environment would not install {tarball.name}: {installed}")
    read = subprocess.run(
        ["ansible-builder", "introspect", str(collections)], check=True, stdout=subprocess.PIPE, text=True
    )
    print(read.stdout)
    own = collections / "ansible_collections" / "community" / "paperspace" / "meta" / "ee-requirements.txt"
    wanted = [line for line in own.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    problems += [f"the execution environment would lack {line}" for line in wanted if line not in read.stdout]
    if "system: []" not in read.stdout:
        problems.append("the collection asks for packages of the system, and has none to ask for")
    return problems


def main(tarball: Path, collections: Path) -> int:
    problems = [*import_problems(tarball), *environment_problems(tarball, collections)]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()))
