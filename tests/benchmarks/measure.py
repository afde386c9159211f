# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a command and print, as JSON, what it cost.

    python -I measure.py LOG COMMAND…

A process of its own, and a small one: before a child runs its own program it counts with the memory of its parent.
CPU time and memory are what the kernel counted for the command and all its children that were waited for (wait4).
"""

import json
import os
import sys
import time


def main() -> int:
    log, *command = sys.argv[1:]
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.execvp(command[0], command)
    dummy, status, usage = os.wait4(pid, 0)
    # Kilobytes, but on macOS bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    cost = {
        "wall": time.monotonic() - began,
        "cpu": usage.ru_utime + usage.ru_stime,
        "memory": usage.ru_maxrss * unit,
        "exit_code": os.waitstatus_to_exitcode(status),
    }
    print(json.dumps(cost))
    return 0


if __name__ == "__main__":
    sys.exit(main())
