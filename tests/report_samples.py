# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reports of runs to look at: what a small run and a large one leave, and texts that try to be more than text."""

from __future__ import annotations

import itertools

from ansible_collections.community.paperspace.plugins.plugin_utils._report import (
    ChildReport,
    MachineReport,
    Reason,
    ReconnectReport,
    RollbackReport,
    RunReport,
    SnapshotReport,
    Span,
)

RUN = "20260131T220000Z-1a2b"
OPEN = f"maint-{RUN}"
# 2026-01-31T22:00:00Z
BEGAN = 1769896800.0

HOSTILE_TEXTS = (
    "<script>window.hacked = 1</script>",
    "</script><script>window.hacked = 1</script>",
    "</style></pre></title><h1>hacked</h1>",
    '"><img src=x onerror="window.hacked = 1">',
    "' onmouseover='window.hacked = 1",
    "<svg/onload=window.hacked=1>",
    "<!-- <b>hacked</b>",
    "{{ 7 * 191 }} {% for x in [1] %}1337{% endfor %} {# gone #}",
    "${7 * 191} #{7 * 191} <%= 7 * 191 %>",
    "javascript:window.hacked=1",
    "&lt;b&gt;&amp;amp;",
    "\x1b[31mred\x1b[0m \x1b]8;;http://evil.example/\x07link\x1b]8;;\x07 \x9b1m",
    "\u202egnp.exe\u2066\u200b\ufeff",
    "../../etc/passwd; $(reboot) `reboot` | tee",
    "caf\udce9 \x00 \ufffe",
    "]]>\r\n<plaintext>",
)


def span(began: float, took: float | None) -> Span:
    return Span(BEGAN + began, None if took is None else BEGAN + began + took)


def small_run() -> RunReport:
    """Five machines: two came through, one failed, one was cut off, and of one the rollback is not proven."""
    return RunReport(
        RUN,
        playbooks=["upgrade.yml", "verify.yml"],
        wave_sizes=[2, 3],
        max_failures=2,
        status="failed",
        ended_by="end",
        machines=[
            MachineReport(
                "db1",
                "psk3x81q0a",
                1,
                "rolled_back",
                "failed",
                Reason(
                    "db1",
                    "Upgrade the application",
                    "No package matching 'app=2.0' found available, installed or updated.\n"
                    "stderr: E: Unable to locate package app\n"
                    "        E: Sub-process /usr/bin/dpkg returned an error code (1)",
                ),
                SnapshotReport("ss81q0", f"{OPEN}-restored", "created"),
                RollbackReport("restored", None, "ss99x1"),
                "restored",
                None,
                ReconnectReport("answers"),
                {
                    "snapshot": span(4, 62),
                    "maintenance": span(66, 48),
                    "rollback": span(122, 140),
                    "reconnect": span(640, 14),
                },
            ),
            MachineReport(
                "db2",
                "psm2c40zz1",
                1,
                "ok",
                "ok",
                snapshot=SnapshotReport("ss40zz", f"{OPEN}-ok", "created"),
                closed="ok",
                times={"snapshot": span(4, 58), "maintenance": span(66, 55)},
            ),
            MachineReport(
                "web1",
                "ps7hq2v9ke",
                2,
                "ok",
                "ok",
                snapshot=SnapshotReport("ssq2v9", f"{OPEN}-ok", "created"),
                closed="ok",
                times={"snapshot": span(265, 71), "maintenance": span(340, 64)},
            ),
            MachineReport(
                "web2",
                "ps0bd5n3rt",
                2,
                "rollback_failed",
                "unreachable",
                Reason("web2", "Restart the network", "Failed to connect to the host via ssh: No route to host"),
                SnapshotReport("ssd5n3", OPEN, "created"),
                RollbackReport("unsure", "The restore ended in error without a reason. It may have been done."),
                times={"snapshot": span(265, 66), "maintenance": span(340, 81), "rollback": span(424, 205)},
            ),
            MachineReport(
                "web3",
                "ps6ua1w8py",
                2,
                "untouched",
                "untouched",
                snapshot=SnapshotReport("ssa1w8", f"{OPEN}-ok", "created"),
                closed="ok",
                times={"snapshot": span(265, 69), "maintenance": span(340, 81)},
            ),
        ],
        children=[
            ChildReport(1, "upgrade.yml", 2, BEGAN + 66, BEGAN + 110),
            ChildReport(1, "verify.yml", 0, BEGAN + 110, BEGAN + 121),
            ChildReport(2, "upgrade.yml", 4, BEGAN + 340, BEGAN + 404),
            ChildReport(2, "verify.yml", 0, BEGAN + 404, BEGAN + 421),
        ],
        problems=["web9 is not reached by verify.yml: a play that was to look at it did not begin."],
        began=BEGAN,
        ended=BEGAN + 655,
        inventory=["my.paperspace.yml"],
        limit="web*:db*",
        ansible_version="2.19.1",
        controller="controller1",
    )


def large_run(count: int = 2000) -> RunReport:
    """A fleet in waves of 100 at most, in which every kind of end came up."""
    report = RunReport(
        RUN,
        playbooks=["patch.yml"],
        wave_sizes=[100] * (count // 100) or [count],
        max_failures=count,
        status="failed",
        ended_by="end",
        began=BEGAN,
        ended=BEGAN + 330 * (count // 100) + 400,
        ansible_version="2.19.1",
        controller="controller1",
    )
    for number in range(count):
        wave, place = number // 100, number % 100
        begin = 330.0 * wave + place / 10
        machine = MachineReport(
            f"web-{number:04}.prod.example.org",
            f"ps{number:08x}",
            wave + 1,
            "ok",
            "ok",
            snapshot=SnapshotReport(f"ss{number}", f"{OPEN}-ok", "created"),
            closed="ok",
            times={"snapshot": span(begin, 60 + place / 3), "maintenance": span(330.0 * wave + 100, 130)},
        )
        if number % 40 == 7:
            machine.outcome, machine.verdict, machine.closed = "rolled_back", "failed", "restored"
            machine.reason = Reason(machine.host, "Patch", f"No space left on /var of {machine.host}")
            machine.times["rollback"] = span(330.0 * wave + 231, 90)
        elif number % 200 == 9:
            machine.outcome, machine.verdict, machine.closed = "rolled_back", "unreachable", "restored"
            machine.reason = Reason(machine.host, None, "Connection timed out")
            machine.times["rollback"] = span(330.0 * wave + 231, 92)
            machine.times["reconnect"] = span(330.0 * (count // 100) + 20, 25)
            machine.reconnect = ReconnectReport("answers")
        elif number % 500 == 11:
            machine.outcome, machine.verdict, machine.closed = "rolled_back", "incomplete", "restored"
            machine.reason = Reason("localhost", "Drain", "Refused.")
            machine.times["rollback"] = span(330.0 * wave + 231, 95)
        elif number % 500 == 13:
            machine.outcome, machine.verdict, machine.closed = "no_snapshot", None, None
            machine.snapshot = SnapshotReport(None, None, "failed", "The quota is used up.")
            machine.reason = Reason(machine.host, None, "The quota is used up.")
            machine.times = {"snapshot": span(begin, 12)}
        elif number % 50 == 17:
            machine.outcome, machine.verdict = "untouched", "untouched"
        report.machines.append(machine)
    return report


def hostile_run() -> RunReport:
    """Each text that tries to be more than text, wherever a text can come from."""
    texts = itertools.cycle(HOSTILE_TEXTS)
    return RunReport(
        RUN,
        prefix=next(texts),
        playbooks=list(HOSTILE_TEXTS),
        wave_sizes=[len(HOSTILE_TEXTS)],
        status="failed",
        ended_by="sigint",
        machines=[
            MachineReport(
                text,
                text,
                1,
                "rollback_failed",
                "failed",
                Reason(next(texts), text, text),
                SnapshotReport("ss1", text, "created", text),
                RollbackReport("unsure", text, text),
                None,
                text,
                ReconnectReport("silent", text),
                {"maintenance": span(0, 10), "rollback": span(10, None)},
            )
            for text in HOSTILE_TEXTS
        ],
        problems=list(HOSTILE_TEXTS),
        children=[ChildReport(1, text, -9, BEGAN, BEGAN + 10) for text in HOSTILE_TEXTS],
        began=BEGAN,
        ended=BEGAN + 20,
        inventory=list(HOSTILE_TEXTS),
        limit=HOSTILE_TEXTS[0],
        recover_variables={text: text for text in HOSTILE_TEXTS},
        ansible_version=HOSTILE_TEXTS[3],
        controller=HOSTILE_TEXTS[1],
    )
