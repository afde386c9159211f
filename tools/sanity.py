# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run `ansible-test sanity` in the current folder, without containers, also where its pip bootstrap cannot be had.

ansible-test fills the virtual environments of its tests with pip by a script that it downloads from its project's own
server. Where only a package registry can be reached, this program puts a script in its place that does the same with
the pip that comes with Python and the registry. Which version, and where the script belongs, ansible-test itself says.
"""

from __future__ import annotations

import fcntl
import re
import subprocess
import sys
from pathlib import Path

BOOTSTRAP_WANTED = re.compile(
    r"bootstrap script can be manually downloaded and saved to: (?P<path>.*get_pip_(?P<version>[0-9_]+)\.py)"
)

# ansible-test calls it with options of get-pip.py and, for older versions, with further packages to install.
# ensurepip gets a process of its own: it clears pip's variables from its environment, and sets PIP_CONFIG_FILE.
BOOTSTRAP = """\
import subprocess
import sys

packages = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
subprocess.run([sys.executable, "-m", "ensurepip", "--default-pip"], check=True, stdout=subprocess.DEVNULL)
subprocess.run(
    [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "pip=={version}", *packages],
    check=True,
)
"""


# Where ansible-test keeps its virtual environments, for all projects of a user.
ENVIRONMENTS = Path.home() / ".ansible" / "test"


def prime_environments(common: list[str]) -> int:
    """Make the virtual environments of all sanity tests; the exit code of ansible-test.

    Two runs that make the same one would stumble over each other, so the second waits for the first.
    """
    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    with (ENVIRONMENTS / "community.paperspace.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _prime(common)


def _prime(common: list[str]) -> int:
    command = [*common, "--prime-venvs"]
    written: Path | None = None
    try:
        while True:
            primed = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            wanted = BOOTSTRAP_WANTED.search(primed.stdout)
            if primed.returncode == 0 or wanted is None or written is not None:
                if primed.returncode != 0:
                    print(primed.stdout)
                return primed.returncode
            version = wanted["version"].replace("_", ".")
            print(f"The bootstrap script for pip {version} cannot be downloaded: using ensurepip.")
            written = Path(wanted["path"])
            written.write_text(BOOTSTRAP.format(version=version))
    finally:
        # The environments stay; the stand-in does not, so that no other project on this machine gets it.
        if written is not None:
            written.unlink(missing_ok=True)


def main() -> int:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    ansible_test = Path(sys.executable).with_name("ansible-test")
    common = [str(ansible_test), "sanity", "--local", "--python", python]
    return (
        prime_environments(common)
        or subprocess.run([*common, *sys.argv[1:]], stdin=subprocess.DEVNULL, check=False).returncode
    )


if __name__ == "__main__":
    sys.exit(main())
