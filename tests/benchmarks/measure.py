# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a command and print, as JSON, what it cost.

    python -I measure.py LOG COMMAND…

A process of its own, and a small one: before a child runs its own program it counts with the memory of its parent.
CPU time and memory are what the kernel counted for the command and all its children that were waited for (wait4): that
memory is the largest process's. What all of them take together is looked at now and then (Linux): each page of memory
that processes share counts once (Pss in proc_pid_smaps(5)).
"""

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Iterator

SECONDS_BETWEEN_LOOKS = 0.2
# Looking takes a twentieth of one processor's time at most.
MOST_OF_THE_TIME = 0.05


def main() -> int:
    log, *command = sys.argv[1:]
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.execvp(command[0], command)
    looks: list[int] = []
    threading.Thread(target=look, args=(pid, looks), daemon=True).start()
    dummy, status, usage = os.wait4(pid, 0)
    # Kilobytes, but on macOS bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    cost = {
        "wall": time.monotonic() - began,
        "cpu": usage.ru_utime + usage.ru_stime,
        "memory": usage.ru_maxrss * unit,
        "memory_together": max(looks, default=0) or None,
        "exit_code": os.waitstatus_to_exitcode(status),
    }
    print(json.dumps(cost))
    return 0


def look(pid: int, looks: list[int]) -> None:
    """Add to C(looks), again and again, how many bytes the process and its descendants take together."""
    while True:
        began = time.monotonic()
        looks.append(sum(map(proportional_size, family(pid))))
        took = time.monotonic() - began
        time.sleep(max(SECONDS_BETWEEN_LOOKS, took / MOST_OF_THE_TIME))


def family(pid: int) -> Iterator[int]:
    """The process, and all its descendants whose parents are there."""
    yield pid
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208  # no more imports than need be
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/children") as children:  # noqa: PTH123
                for child in children.read().split():
                    yield from family(int(child))


def proportional_size(pid: int) -> int:
    """Bytes; 0 for a process that has gone."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as rollup:  # noqa: PTH123
        for line in rollup:
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    sys.exit(main())
