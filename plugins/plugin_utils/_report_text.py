# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a run as text for people: Markdown, and a table for the terminal. Pure, and free of Ansible."""

from __future__ import annotations

import math
import re
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from ansible_collections.community.paperspace.plugins.module_utils._names import DEFAULT_PREFIX
from ansible_collections.community.paperspace.plugins.plugin_utils._recover_command import recover_command_line
from ansible_collections.community.paperspace.plugins.plugin_utils._text import (
    markdown_block,
    markdown_table,
    markdown_text,
    one_line,
    table_in_debug,
    wrap_in_debug,
)

if TYPE_CHECKING:
    from ansible_collections.community.paperspace.plugins.plugin_utils._report import (
        ChildReport,
        MachineReport,
        Reason,
        RunReport,
        Span,
    )

# Machines with nothing to explain are counted and not listed when the final table has more rows than this.
MOST_ROWS = 50
MOST_NAMES = 20
LINES_OF_A_REASON = 3

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

OUTCOME_TEXTS = {
    "planned": "nothing yet",
    "no_snapshot": "left alone (no proven snapshot)",
    "snapshotted": "snapshot taken",
    "maintaining": "maintenance not ended",
    "ok": "maintained",
    "untouched": "left as it was",
    "rolling_back": "rollback not ended",
    "rolled_back": "rolled back",
    "rollback_failed": "rollback failed",
    "not_started": "left alone (wave not started)",
}
# Of these there is nothing to tell, as long as nothing went wrong with them.
_QUIET = frozenset({"planned", "ok", "untouched", "not_started"})
_CHECKED = {
    "ok": "would be kept",
    "untouched": "would be left as it is",
    "failed": "would be rolled back",
    "unreachable": "would be rolled back",
    "incomplete": "would be rolled back",
}
# What is not said by the words in the table.
_DETAILS = {
    "no_snapshot": "It has no proven snapshot, so nothing was run on it.",
    "snapshotted": "Its snapshot was taken. The maintenance had not begun.",
    "maintaining": "The maintenance had begun and not ended. What it changed is still there.",
    "rolling_back": "Its rollback had begun and not ended. Look at the machine before it is used.",
    "rolled_back": "It was put back to its snapshot.",
    "rollback_failed": "It was not proven to be put back to its snapshot. Look at the machine before it is used.",
    "not_started": "Nothing was run on it: the run ended before its wave.",
    "planned": "Nothing had been done yet.",
}
_SCOPES = {"failed": "the machines that failed", "wave": "the whole wave", "fleet": "the whole fleet"}
_OTHERS = {"wave": "the others of its wave", "fleet": "the whole fleet"}
_VERDICTS = {
    "ok": "It came through itself",
    "failed": "It failed",
    "unreachable": "It could not be reached",
    "incomplete": "It had not run everything when the playbook ended",
}
_ENDS = {
    None: "The run has not ended",
    "end": "The run came to its end",
    "sigint": "The run was stopped by SIGINT (Ctrl-C)",
    "sigterm": "The run was stopped by SIGTERM",
    "parent_died": "The run was ended because its ansible-playbook died",
    "guardian_died": "The run broke off because the process that guarded it died",
    "error": "The run was ended by an error",
}


def markdown(report: RunReport) -> str:
    """The whole report as GitHub flavoured Markdown."""
    machines = [machine for machine in report.machines if has_more_to_say(machine)]
    ending, *notes = sentences_on_the_end(report)
    lines = [f"# Maintenance run {markdown_text(report.run_id)}", "", " ".join([f"**{ending}**", *notes]), ""]
    lines += [*(f"- {name}: {markdown_text(value)}" for name, value in facts(report)), ""]
    lines += ["## Totals", "", *_totals(report), "", "## Machines", "", *_machine_table(report), ""]
    if machines:
        lines += ["## What happened", ""]
        for machine in machines:
            lines += [*_section(report, machine), ""]
    if report.children:
        lines += ["## Playbooks that were run", "", *_child_table(report.children), ""]
    if report.problems:
        lines += ["## Problems", "", *(f"- {markdown_text(problem)}" for problem in report.problems), ""]
    lines += _what_to_do(report)
    return "\n".join(lines).rstrip() + "\n"


def outcome_lines(report: RunReport, width: int) -> list[str]:
    """A table of the machines with what went wrong under each, and the totals; no line is wider than C(width).

    That holds for the lines within a list that debug shows as JSON, too.
    """
    listed = [(machine, tuple(_explanations(machine))) for machine in report.machines]
    if len(listed) > MOST_ROWS:
        listed = [(machine, texts) for machine, texts in listed if texts or machine.outcome not in _QUIET]
    rows = [
        ((one_line(machine.host) or "-", machine.verdict or "-", what_was_done(report, machine)), texts)
        for machine, texts in listed
    ]
    head = ("HOST", "VERDICT", "WHAT WAS DONE")
    lines = table_in_debug(head, rows, width, {0: len("HOST")}, LINES_OF_A_REASON) if rows else []
    totals = ", ".join(f"{count} {text}" for text, count in counts(report))
    sentence = f"{number_text(len(report.machines), 'machine')}: {totals or 'none'}."
    return lines + wrap_in_debug(sentence, width, len(OUTCOME_TEXTS))


def recover_command(report: RunReport, action: str, besides: Sequence[MachineReport] = ()) -> str:
    """The command line that lists, rolls back or keeps the run.

    It leaves out the machines C(besides), and those that other controllers of the run maintain.
    """
    prefix = {} if report.prefix == DEFAULT_PREFIX else {"recover_prefix": report.prefix}
    left_out = {machine.host for machine in besides}
    limit = report.limit
    others = [machine.host for machine in report.machines if machine.is_anothers or machine.host in left_out]
    if others:
        limit = limit or "all"
        between = ":" if ":" in limit and "," not in limit else ","
        # A character that has a meaning in a limit is left open.
        limit += "".join(f"{between}!{re.sub(r'[^a-zA-Z0-9_.-]', '?', host)}" for host in others)
    return recover_command_line(report.run_id, action, report.inventory, limit, {**prefix, **report.recover_variables})


def sentences_on_the_end(report: RunReport) -> list[str]:
    """How the run ended; the first sentence is what matters most."""
    count = len(report.machines)
    bad = len(report.failed_hosts())
    sentence = _ENDS.get(report.ended_by, f"The run was ended by {report.ended_by}")
    if report.status == "running":
        sentence += "; this is how far it had come when this was written"
    elif bad:
        sentence += f", and {bad} of {number_text(count, 'machine')} {'is' if bad == 1 else 'are'} not ok"
    elif count:
        sentence += f", and {'the machine is' if count == 1 else f'all {count} machines are'} ok"
    if report.problems:
        sentence += f"; {number_text(len(report.problems), 'problem')} came up"
    sentences = [f"{sentence}."]
    if report.check_mode:
        sentences.append("This was a check: no snapshot was taken and nothing was rolled back.")
    open_count = sum(machine.is_open for machine in report.machines)
    if open_count:
        sentences.append(f"{number_text(open_count, 'snapshot')} {'is' if open_count == 1 else 'are'} still open.")
    return sentences


def facts(report: RunReport) -> list[tuple[str, str]]:
    """What the run was asked for, when and where it ran: names and values."""
    return [
        ("Playbooks", ", ".join(report.playbooks)),
        ("Waves", ", ".join(map(str, report.wave_sizes))),
        ("Failure budget", number_text(report.max_failures, "machine")),
        ("Rolled back on failure", _SCOPES.get(report.scope, report.scope)),
        ("Began", time_text(report.began)),
        ("Ended", time_text(report.ended)),
        ("Took", duration(report.began, report.ended)),
        ("Controller", report.controller or ""),
        ("Versions", f"community.paperspace {report.collection_version}, ansible-core {report.ansible_version or '-'}"),
    ]


def _totals(report: RunReport) -> list[str]:
    rows = [[text, str(count)] for text, count in counts(report)]
    return markdown_table(["What was done", "Machines"], [*rows, ["all", str(len(report.machines))]])


def counts(report: RunReport) -> Sequence[tuple[str, int]]:
    """How many machines there are of each outcome, without what differs within one."""
    return list(Counter(_outcome(report, machine) for machine in report.machines).items())


def _machine_table(report: RunReport) -> list[str]:
    return markdown_table(
        ["Host", "Machine", "Wave", "Verdict", "What was done", "Snapshot"],
        [
            [
                markdown_text(machine.host),
                markdown_text(machine.machine_id),
                "-" if machine.wave is None else str(machine.wave),
                machine.verdict or "-",
                what_was_done(report, machine),
                markdown_text(machine.snapshot.name or ""),
            ]
            for machine in report.machines
        ],
    )


def has_more_to_say(machine: MachineReport) -> bool:
    """Whether there is more to say than the table does."""
    if list(_explanations(machine)):
        return True
    return machine.outcome not in _QUIET or (not machine.is_good and bool(machine.times))


def _section(report: RunReport, machine: MachineReport) -> Iterator[str]:
    yield f"### {markdown_text(machine.host)}"
    yield ""
    why, reason = sentence_on_the_verdict(machine), reason_of(machine)
    if reason:
        yield f"{markdown_text(why)}:"
        yield ""
        yield from markdown_block(reason.error)
        yield ""
    elif why:
        yield f"{why}."
        yield ""
    yield from map(markdown_text, sentences_on_what_was_done(report, machine))
    for what, error in errors(machine):
        yield ""
        yield f"{what}:"
        yield ""
        yield from markdown_block(error)
    if machine.times:
        yield ""
        yield from markdown_table(
            ["Phase", "Began", "Ended", "Took"],
            [[markdown_text(phase), *_span(span)] for phase, span in machine.times.items()],
        )


def reason_of(machine: MachineReport) -> Reason | None:
    """The reason, unless it is just the error of the snapshot, which is told with it."""
    reason = machine.reason
    is_told = machine.snapshot.error and reason and not reason.task and reason.error == machine.snapshot.error
    return None if is_told else reason


def sentence_on_the_verdict(machine: MachineReport) -> str:
    """The verdict, with the host and task that led to it, without a full stop; empty when there is nothing to say."""
    words = _VERDICTS.get(machine.verdict or "", "")
    reason = reason_of(machine)
    if not reason:
        return words
    words = words or "It met an error"
    if reason.task:
        words += f" in the task {one_line(reason.task)}"
    if reason.host and reason.host != machine.host:
        words += f" on the host {one_line(reason.host)}"
    return words


def sentences_on_what_was_done(report: RunReport, machine: MachineReport) -> Iterator[str]:
    """What was done to a machine, at length."""
    if report.check_mode and machine.verdict:
        yield f"It {_outcome(report, machine)}."
        return
    if machine.outcome == "rolled_back" and machine.verdict in (None, "ok", "untouched"):
        yield f"It was put back to its snapshot together with {_OTHERS.get(report.scope, 'the others')}."
    elif machine.is_anothers:
        yield "Another controller of this run maintains it. This one ran nothing on it."
    elif machine.outcome in _DETAILS:
        yield _DETAILS[machine.outcome]
    else:
        yield f"It was {_outcome(report, machine)}."
    if machine.reconnect and machine.reconnect.status == "answers":
        yield "It answers to Ansible again."
    if machine.rollback and machine.rollback.safety_snapshot_id:
        yield f"Its state before the rollback is in the snapshot {one_line(machine.rollback.safety_snapshot_id)}."


def errors(machine: MachineReport) -> Iterator[tuple[str, str]]:
    """What else went wrong with a machine, each with its error."""
    if machine.snapshot.error:
        yield "Its snapshot did not come through", machine.snapshot.error
    if machine.rollback and machine.rollback.error:
        yield "Its rollback did not come through", machine.rollback.error
    if machine.reconnect and machine.reconnect.status == "silent":
        yield "It does not answer to Ansible", machine.reconnect.error or "No error is known."
    if machine.close_error:
        yield "Its snapshot could not be closed", machine.close_error


def _explanations(machine: MachineReport) -> Iterator[str]:
    """What went wrong with a machine, in one line each."""
    reason = reason_of(machine)
    # Of each machine that was not started it is the same.
    if reason and machine.outcome != "not_started":
        where = [one_line(reason.task or "")] if reason.task else []
        where += [f"on {one_line(reason.host)}"] if reason.host and reason.host != machine.host else []
        yield _sentence(" ".join(where), reason.error)
    for what, error in errors(machine):
        yield _sentence(what, error)


def _sentence(what: str, error: str) -> str:
    return ": ".join(filter(None, (what, one_line(error))))


def what_was_done(report: RunReport, machine: MachineReport) -> str:
    """What was done to a machine, in a few words."""
    words = [_outcome(report, machine)]
    if machine.reconnect and machine.reconnect.status == "silent":
        words.append("does not answer")
    if machine.close_error:
        words.append("not closed")
    return ", ".join(words)


def _outcome(report: RunReport, machine: MachineReport) -> str:
    if report.check_mode and machine.verdict in _CHECKED:
        return _CHECKED[machine.verdict]
    if machine.is_anothers:
        return "left to another controller"
    return OUTCOME_TEXTS.get(machine.outcome, one_line(machine.outcome))


def _child_table(children: Sequence[ChildReport]) -> list[str]:
    return markdown_table(
        ["Wave", "Playbook", "Exit code", "Began", "Ended", "Took"],
        [
            [
                str(child.wave),
                markdown_text(child.playbook),
                exit_code(child.rc),
                time_text(child.began),
                time_text(child.ended),
                duration(child.began, child.ended),
            ]
            for child in children
        ],
    )


def _what_to_do(report: RunReport) -> list[str]:
    sentences = sentences_on_what_is_open(report)
    if not sentences:
        return []
    lines = ["## What to do"]
    for sentence in sentences:
        lines += ["", markdown_text(sentence)]
    for what, command in commands_to_resolve(report):
        lines += ["", f"{what}:", "", *markdown_block(command, "shell")]
    return lines


def sentences_on_what_is_open(report: RunReport) -> list[str]:
    """On which machines the run is open. Empty when it is on none."""
    open_machines = [machine for machine in report.machines if machine.is_open]
    if not open_machines:
        return []
    sentences = [f"The run is still open on {number_text(len(open_machines), 'machine')}: {names(open_machines)}."]
    if report.status == "running":
        sentences.append("As long as the run goes on, leave that to it. If it does not go on any more:")
    return sentences


def names(machines: Sequence[MachineReport]) -> str:
    """Their hosts, but of many not all."""
    hosts = ", ".join(one_line(machine.host) for machine in machines[:MOST_NAMES])
    left = len(machines) - MOST_NAMES
    return f"{hosts} and {left} more" if left > 0 else hosts


def rollback_command(report: RunReport) -> str | None:
    """The command line that puts back the machines that are owed a rollback, and no other; None when there are none."""
    owed, well = _open_machines(report)
    return recover_command(report, "rollback", besides=well) if owed else None


def keep_command(report: RunReport) -> str | None:
    """The command line that closes the run on the other open machines; None when there are none."""
    owed, well = _open_machines(report)
    return recover_command(report, "keep", besides=owed) if well else None


def commands_to_resolve(report: RunReport) -> list[tuple[str, str]]:
    """What can be done with a run that is open, each with its command line."""
    owed, well = _open_machines(report)
    commands = [("To see what is open", recover_command(report, "list"))]
    rollback, keep = rollback_command(report), keep_command(report)
    if rollback:
        whom = f"put {names(owed)} back" if well else "put these machines back to their snapshots"
        commands.append((f"To {whom}, which destroys what has changed on their disks since", rollback))
        if not well:
            commands.append(("To keep them as they are", recover_command(report, "keep")))
    if keep:
        whom = f"on {names(well)} and leave them as they are" if owed else "and leave these machines as they are"
        commands.append((f"To close the run {whom}", keep))
    return commands


def _open_machines(report: RunReport) -> tuple[list[MachineReport], list[MachineReport]]:
    """Those that are owed a rollback, and those that need only be closed."""
    open_machines = [machine for machine in report.machines if machine.is_open]
    owed = [machine for machine in open_machines if machine.is_owed_rollback]
    return owed, [machine for machine in open_machines if not machine.is_owed_rollback]


def _span(span: Span) -> list[str]:
    return [time_text(span.began), time_text(span.ended), duration(span.began, span.ended)]


def time_text(seconds: float | None) -> str:
    return "-" if seconds is None else f"{_EPOCH + timedelta(seconds=math.floor(seconds)):%Y-%m-%d %H:%M:%S} UTC"


def duration(began: float | None, ended: float | None) -> str:
    if began is None or ended is None:
        return "-"
    seconds = ended - began
    # Also when the clock was set back.
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, left = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {left:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def exit_code(rc: int | None) -> str:
    if rc is None:
        return "-"
    if rc < 0:
        try:
            return f"{rc} ({signal.Signals(-rc).name})"
        except ValueError:
            pass
    return str(rc)


def number_text(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
