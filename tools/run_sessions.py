# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run nox sessions two at a time, print the output of each in one piece, and end with a table of how they went."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
NOX = [sys.executable, "-m", "nox", "--noxfile", str(ROOT / "noxfile.py")]
# What the sessions need most is time of the processor; with more of them at once on few cores none gets done sooner.
AT_ONCE = 2
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# nox ends with 0 when it has skipped a session.
SKIPPED = re.compile(r"^nox > (Session \S+ skipped\b.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    session: str
    status: str
    seconds: float
    output: str


def selected_sessions(selection: list[str]) -> list[str]:
    """The names of the sessions that nox selects by these options, by default those that noxfile.py selects."""
    listed = subprocess.run([*NOX, "--list", "--json", *selection], check=True, stdout=subprocess.PIPE, text=True)
    return [entry["session"] for entry in json.loads(listed.stdout)]


def reasons_to_skip(output: str) -> list[str]:
    """The lines in which nox says that it has skipped a session, and why."""
    return SKIPPED.findall(COLOUR.sub("", output))


def run(session: str) -> Outcome:
    print(f"started {session}", flush=True)
    began = time.monotonic()
    finished = subprocess.run(
        [*NOX, "--session", session],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    status = "failed" if finished.returncode else "skipped" if reasons_to_skip(finished.stdout) else "passed"
    return Outcome(session, status, time.monotonic() - began, finished.stdout)


def main() -> int:
    """Run the sessions that the arguments select, as nox takes them: none, `--session NAME ...` or `--tag NAME ...`."""
    began = time.monotonic()
    outcomes: list[Outcome] = []
    with ThreadPoolExecutor(max_workers=AT_ONCE) as executor:
        for future in as_completed([executor.submit(run, name) for name in selected_sessions(sys.argv[1:])]):
            outcome = future.result()
            outcomes.append(outcome)
            heading = f"{outcome.session}: {outcome.status} in {outcome.seconds:.0f} s"
            print(f"\n{f' {heading} ':=^80}\n{outcome.output}", flush=True)

    width = max((len(outcome.session) for outcome in outcomes), default=0)
    print(f"\nSessions, {time.monotonic() - began:.0f} s in all:")
    for outcome in outcomes:
        print(f"  {outcome.session:{width}}  {outcome.status:7}  {outcome.seconds:4.0f} s")
    failed = [outcome.session for outcome in outcomes if outcome.status == "failed"]
    skipped = [outcome.session for outcome in outcomes if outcome.status == "skipped"]
    if skipped:
        reasons = [line for outcome in outcomes for line in reasons_to_skip(outcome.output)]
        print("\n".join(["Skipped:", *(f"  {line}" for line in reasons)]))
    if failed or len(skipped) == len(outcomes):
        print(f"FAILED: {', '.join(failed) or 'no session ran'}")
        return 1
    print("All sessions that ran have passed.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
