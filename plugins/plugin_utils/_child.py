# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting an ansible-playbook, and ending it with everything that it started.

Since 2.19, Ansible's workers have sessions of their own, so a process group is not all of it. On Linux whatever loses
its parent is adopted by this process and so found; elsewhere, by its parent as long as that lives.
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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

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
        self._reader = threading.Thread(target=self._relay, args=(on_line,), daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait(self) -> int:
        """The exit code, or minus the number of the signal that ended it; its output has been passed on then."""
        code = self._process.wait()
        # What it left in the background may hold its output open for ever.
        self._reader.join(2.0)
        return code

    def end(self) -> None:
        """End it and everything that it started."""
        end_tree(self.pid)

    def _relay(self, on_line: Callable[[str], None]) -> None:
        if self._process.stdout is not None:
            with self._process.stdout as output:
                for line in output:
                    on_line(line.rstrip("\n"))


def start_of(pid: int) -> str | None:
    """When the process was started, as the system counts it: with that, its number names it for good. None if dead."""
    if _PROC.exists():
        try:
            return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
        except (OSError, IndexError):
            return None
    starts = dict(line.split(maxsplit=1) for line in _ps("pid=,lstart="))
    return starts.get(str(pid))


def end_tree(pid: int) -> None:
    """End the process, its descendants, and the orphans that this process adopted: asked first, then killed."""
    known: set[int] = set()
    began = time.monotonic()
    asked: set[int] = set()
    while time.monotonic() - began < _PATIENCE:
        table = _processes()
        known |= _below({pid, *known}, table) | _below({os.getpid()}, table) | ({pid} & table.keys())
        known.discard(os.getpid())
        alive = {process for process in known if process in table}
        if not alive:
            return
        is_due = time.monotonic() - began > _GRACE
        for process in alive if is_due else alive - asked:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL if is_due else signal.SIGTERM)
        asked |= alive
        _reap(alive - {pid})
        time.sleep(0.05)


def _below(roots: set[int], table: Mapping[int, int]) -> set[int]:
    """All processes below these."""
    found: set[int] = set()
    fresh = set(roots)
    while fresh:
        fresh = {process for process, parent in table.items() if parent in fresh and process not in found}
        found |= fresh
    return found


def _reap(processes: set[int]) -> None:
    """Take note of the end of adopted processes; that of the child itself is for its own wait."""
    for process in processes:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(process, os.WNOHANG)


def _processes() -> dict[int, int]:
    """The parent of each process that is alive, zombies left out."""
    if not _PROC.exists():
        return _processes_by_ps()
    table = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                # The name in brackets may hold anything.
                state, parent = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[:2]
                if state not in "ZX":
                    table[int(entry.name)] = int(parent)
    return table


def _processes_by_ps() -> dict[int, int]:
    rows = map(str.split, _ps("pid=,ppid=,state="))
    return {int(row[0]): int(row[1]) for row in rows if len(row) == 3 and not row[2].startswith("Z")}


def _ps(columns: str) -> list[str]:
    command = ["/bin/ps", "-A", "-o", columns]
    listed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603 - constants
    return [line.strip() for line in listed.stdout.splitlines()]
