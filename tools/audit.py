# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ask for known vulnerabilities of the versions in files of pins: `audit.py PINS ...`.

Where the advisory service cannot be reached, says so and why, and ends with 0: there is nothing to be found out then.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

LONGEST = 600
# How pip-audit ends when there is no connection: with an exception of requests, or with its own word for it.
NOT_REACHED = re.compile(
    r"^requests\.exceptions\.(?:ConnectionError|ConnectTimeout|ProxyError|ReadTimeout|SSLError)\b.*"
    r"|Could not connect to OSV's vulnerability feed",
    re.MULTILINE,
)


def vulnerable(report: dict[str, Any]) -> list[str]:
    """A line for each package with known vulnerabilities."""
    return [
        f"{package['name']} {package['version']}: {', '.join(found['id'] for found in package['vulns'])}"
        for package in report["dependencies"]
        if package.get("vulns")
    ]


def reason(complaints: str) -> str:
    """The last line of what was said, which is the error itself."""
    return complaints.strip().rpartition("\n")[2] or "it gave no reason"


def audit(pins: str) -> int:
    command = [sys.executable, "-m", "pip_audit", "--vulnerability-service", "osv", "--requirement", pins]
    command += ["--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LONGEST)
        report = json.loads(asked.stdout)
    except subprocess.TimeoutExpired:
        print(f"The advisory service was not asked to the end: no answer within {LONGEST} s.")
        return 0
    except ValueError:
        if unreached := NOT_REACHED.search(asked.stderr):
            print(f"The advisory service could not be reached: {unreached[0]}")
            return 0
        print(f"pip-audit failed: {reason(asked.stderr)}")
        return 1
    lines = vulnerable(report)
    count = f"{Path(pins).name}: {len(report['dependencies'])} packages, {len(lines)} with known vulnerabilities"
    print("\n".join([*lines, count]))
    return 1 if lines else 0


def main(*files: str) -> int:
    # Each of them is asked for, whatever is found in those before.
    return max([audit(pins) for pins in files])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
