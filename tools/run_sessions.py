# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run nox sessions two at a time, print the output of each in one piece, and end with a table of how they went.

While a session runs, its output is in a file of .work/logs. One that takes longer than LONGEST hangs: it is ended, and
has failed. When this program itself is ended before its time, it shows what the sessions under way had said.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
NOX = [sys.executable, "-m", "nox", "--noxfile", str(ROOT / "noxfile.py")]
LOGS = ROOT / ".work" / "logs"
# What the sessions need most is time of the processor; with more of them at once on few cores none gets done sooner.
AT_ONCE = 2
# Seconds. Several times what the longest one takes on two cores.
LONGEST = 9000.0
# Seconds that an ended session has for tidying up.
LAST_WORDS = 15.0
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


class Sessions:
    """Runs sessions, each in a process group of its own, so that all of one can be ended."""

    def __init__(self) -> None:
        self._under_way: dict[str, subprocess.Popen[bytes]] = {}
        self._is_over = False

    def run(self, session: str) -> Outcome:
        if self._is_over:
            return Outcome(session, "failed", 0.0, "It was not begun any more.\n")
        print(f"started {session}", flush=True)
        began = time.monotonic()
        log = LOGS / f"{re.sub('[^a-z0-9.-]+', '-', session)}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [*NOX, "--session", session],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._under_way[session] = process
        try:
            process.wait(LONGEST)
            end = ""
        except subprocess.TimeoutExpired:
            _end(process)
            end = f"\nIt did not end within {LONGEST:g} s.\n"
        del self._under_way[session]
        output = log.read_text("utf-8", "replace")
        if self._is_over:
            end = "\nIt was ended before its time.\n"
        status = "failed" if process.returncode or end else "skipped" if reasons_to_skip(output) else "passed"
        return Outcome(session, status, time.monotonic() - began, output + end)

    def end_all(self) -> None:
        """End what is under way, and begin nothing more."""
        self._is_over = True
        for process in list(self._under_way.values()):
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(LAST_WORDS)


def main() -> int:
    """Run the sessions that the arguments select, as nox takes them: none, `--session NAME ...` or `--tag NAME ...`."""
    began = time.monotonic()
    outcomes: list[Outcome] = []
    LOGS.mkdir(parents=True, exist_ok=True)
    sessions = Sessions()
    with ThreadPoolExecutor(max_workers=AT_ONCE) as executor:
        waiting = {executor.submit(sessions.run, name) for name in selected_sessions(sys.argv[1:])}
        while waiting:
            try:
                for future in as_completed(waiting):
                    waiting.discard(future)
                    outcome = future.result()
                    outcomes.append(outcome)
                    heading = f"{outcome.session}: {outcome.status} in {outcome.seconds:.0f} s"
                    print(f"\n{f' {heading} ':=^80}\n{outcome.output}", flush=True)
            except KeyboardInterrupt:
                sessions.end_all()

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
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
