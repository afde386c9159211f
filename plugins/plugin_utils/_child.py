# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting an ansible-playbook, and ending it with everything that it started.

Since 2.19, Ansible's workers have sessions of their own, so a process group is not all of it. On Linux whatever loses
its parent is adopted by this process and so found, and what a dead one has left, by its environment; elsewhere, by its
parent as long as that lives.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# In the environment of all that a guardian starts, so that another one can find what it has left.
MARK = "COMMUNITY_PAPERSPACE_GUARDED_IN"

_PR_SET_CHILD_SUBREAPER = 36
_GRACE = 4.0
_PATIENCE = 30.0
_PROC = Path("/proc/self/stat")


def adopt_orphans() -> None:
    """Become the parent of every process below this one that loses its own. Does nothing but on Linux."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Child:
    """One process with all that it starts. C(end) may be called from another thread than C(wait)."""

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str], on_line: Callable[[str], None]) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - the parent's own command
            list(argv),
            env={**environ, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        self.pid = self._process.pid
        # Its number may be another's once it is dead.
        self.started = start_of(self.pid)
        self._reader = threading.Thread(target=self._relay, args=(on_line,), daemon=True)
        self._reader.start()

    def wait(self) -> int:
        """The exit code, or minus the number of the signal that ended it; its output has been passed on then."""
        code = self._process.wait()
        # What it left in the background may hold its output open for ever.
        self._reader.join(2.0)
        return code

    def end(self) -> None:
        """End it and everything that it started."""
        end_tree(self.pid, self.started)

    def _relay(self, on_line: Callable[[str], None]) -> None:
        if self._process.stdout is not None:
            with self._process.stdout as output:
                for line in output:
                    on_line(line.rstrip("\n"))


@dataclass(frozen=True)
class _Process:
    """A process that is alive. C(session) is its process group where only ps tells, which may not know sessions."""

    parent: int
    session: int
    started: str


def start_of(pid: int) -> str | None:
    """When the process was started, as the system counts it: with that, its number names it for good. None if dead."""
    if _PROC.exists():
        try:
            return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
        except (OSError, IndexError):
            return None
    table = _processes_by_ps()
    return table[pid].started if pid in table else None


def end_tree(pid: int | None, started: str | None, mark: str | None = None) -> None:
    """End the process, its descendants, and the orphans that this process adopted: asked first, then killed.

    C(started) is what L(start_of) said of it, and nothing that has its number by now is taken for it. With C(mark),
    all that have C(mark) as L(MARK) in their environment are ended as well, whoever their parents are; only Linux tells
    that. So are all sessions that any of these began: nobody else can get into one.
    """
    known = {} if pid is None or started is None else {pid: started}
    began = time.monotonic()
    asked: set[int] = set()
    while time.monotonic() - began < _PATIENCE:
        table = _processes()
        alive = _theirs(known, table, mark)
        if not alive:
            return
        known |= {process: table[process].started for process in alive}
        is_due = time.monotonic() - began > _GRACE
        for process in alive if is_due else alive - asked:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL if is_due else signal.SIGTERM)
        asked |= alive
        _reap({process for process in alive if process != pid})
        time.sleep(0.05)


def _theirs(known: Mapping[int, str], table: Mapping[int, _Process], mark: str | None) -> set[int]:
    """The processes that are to be ended, of those in the table. C(known) has those found before, dead or alive."""
    own = os.getpid()
    same = {process for process in known if process in table and table[process].started == known[process]}
    marked = set() if mark is None else _marked(table, mark)
    found = same | marked
    found |= _below({*found, own}, table)
    # A number that is a session's is given to no other process as long as anybody is in the session.
    leaders = found | (known.keys() - table.keys())
    sessions = {table[process].session for process in found} & leaders
    sessions |= {table[process].session for process in marked}
    mates = {process for process in table if table[process].session in sessions}
    return (found | mates | _below(mates, table)) - {own}


def _marked(table: Iterable[int], mark: str) -> set[int]:
    wanted = f"{MARK}={mark}".encode()
    found = set()
    for process in table:
        # Of other users' processes it cannot be read.
        with contextlib.suppress(OSError):
            if wanted in Path(f"/proc/{process}/environ").read_bytes().split(b"\0"):
                found.add(process)
    return found


def _below(roots: set[int], table: Mapping[int, _Process]) -> set[int]:
    """All processes below these."""
    found: set[int] = set()
    fresh = set(roots)
    while fresh:
        fresh = {process for process in table if table[process].parent in fresh and process not in found}
        found |= fresh
    return found


def _reap(processes: set[int]) -> None:
    """Take note of the end of adopted processes; that of the child itself is for its own wait."""
    for process in processes:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process, os.WNOHANG)


def _processes() -> dict[int, _Process]:
    """Each process that is alive, zombies left out."""
    if not _PROC.exists():
        return _processes_by_ps()
    table = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                # The name in brackets may hold anything.
                fields = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                if fields[0] not in "ZX":
                    table[int(entry.name)] = _Process(int(fields[1]), int(fields[3]), fields[19])
    return table


def _processes_by_ps() -> dict[int, _Process]:
    command = ["/bin/ps", "-A", "-o", "pid=,ppid=,pgid=,state=,lstart="]
    listed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603 - constants
    rows = (line.split(maxsplit=4) for line in listed.stdout.splitlines())
    return {
        int(row[0]): _Process(int(row[1]), int(row[2]), row[4].strip())
        for row in rows
        if len(row) == 5 and not row[3].startswith("Z")
    }
