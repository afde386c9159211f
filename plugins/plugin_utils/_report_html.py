# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a run as a page for the browser: one file that loads nothing. Pure, and free of Ansible."""

from __future__ import annotations

import base64
import functools
import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from ansible_collections.community.paperspace.plugins.plugin_utils import _report_text
from ansible_collections.community.paperspace.plugins.plugin_utils._report_page import SCRIPT, STYLE, TEMPLATE
from ansible_collections.community.paperspace.plugins.plugin_utils._text import clean, one_line

if TYPE_CHECKING:
    from ansible_collections.community.paperspace.plugins.plugin_utils._report import MachineReport, RunReport, Span

# Characters of one message, and of all together, which keeps the page of a large fleet small.
LONGEST_MESSAGE = 4000
SHORTEST_CUT = 400
ALL_MESSAGES = 1_000_000
MOST_LINKS = 12
NARROWEST_BAR = 0.4

_VERDICTS = ("ok", "failed", "unreachable", "incomplete", "untouched", "none")
_NO_VERDICT = "no verdict"
_STATUSES = {"running": ("Running", "running"), "succeeded": ("Succeeded", "ok"), "failed": ("Failed", "failed")}
_PHASES = ("snapshot", "maintenance", "rollback", "reconnect")

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_STEPS = (
    *(1, 2, 5, 10, 15, 20, 30),
    *(minutes * _MINUTE for minutes in (1, 2, 5, 10, 15, 20, 30)),
    *(hours * _HOUR for hours in (1, 2, 3, 6, 12)),
)
_MOST_COLUMNS, _FEWEST_COLUMNS = 6, 3


@dataclass(frozen=True)
class Axis:
    """Time as columns of the same width. Times are seconds since the epoch, or seconds."""

    began: float
    last: float
    step: float
    columns: int

    def percent(self, moment: float) -> float:
        """Where a moment stands, from the left."""
        return min(max((moment - self.began) / (self.step * self.columns) * 100, 0.0), 100.0)

    def labels(self) -> list[str]:
        """How long after the beginning each column begins."""
        unit, name = next(
            (unit, name) for unit, name in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min"), (1, "s")) if self.step >= unit
        )
        return [f"{column * self.step / unit:g} {name}" for column in range(self.columns)]


def page(report: RunReport) -> str:
    """The whole report as HTML."""
    axis = axis_of(report)
    bad = [number for number, machine in enumerate(report.machines) if not machine.is_good]
    status, status_class = _STATUSES.get(report.status, (report.status, "none"))
    longest = _longest_message(report)
    children = [
        (
            child.wave,
            one_line(child.playbook),
            _report_text.exit_code(child.rc),
            _report_text.time_text(child.began),
            _report_text.duration(child.began, child.ended),
        )
        for child in report.children
    ]
    return _template().render(
        policy=_policy(),
        style=Markup(STYLE),  # noqa: S704 - a constant
        script=Markup(SCRIPT),  # noqa: S704 - a constant
        run_id=report.run_id,
        status=status,
        status_class=status_class,
        ending=_report_text.sentences_on_the_end(report),
        problems=[one_line(problem) for problem in report.problems],
        open_sentences=_report_text.sentences_on_what_is_open(report),
        # Word by word: no line is to end within one.
        commands=[(what, clean(command).split(" ")) for what, command in _report_text.commands_to_resolve(report)],
        totals=_totals(report.machines),
        counts=[f"{count} {words}" for words, count in _report_text.counts(report)],
        bad=[{"number": number, "host": _host(report.machines[number])} for number in bad[:MOST_LINKS]],
        bad_left=max(len(bad) - MOST_LINKS, 0),
        choices=_choices(report.machines),
        phases=_PHASES,
        axis=axis.labels() if axis else [],
        machines=[_row(report, number, machine, axis, longest) for number, machine in enumerate(report.machines)],
        children=children,
        facts=[(name, one_line(value) or "-") for name, value in _report_text.facts(report)],
    )


def axis_of(report: RunReport) -> Axis | None:
    """The axis on which all phases have room; None while there is none to show."""
    spans = [span for machine in report.machines for span in machine.times.values()]
    moments = [moment for span in spans for moment in (span.began, span.ended) if moment is not None]
    if not moments:
        return None
    moments += [moment for moment in (report.began, report.ended) if moment is not None]
    began, last = min(moments), max(moments)
    step = _step(last - began)
    columns = max(math.ceil((last - began) / step), _FEWEST_COLUMNS)
    return Axis(began, last, step, columns)


def _step(seconds: float) -> float:
    for step in _STEPS:
        if step * _MOST_COLUMNS >= seconds:
            return step
    return math.ceil(seconds / _MOST_COLUMNS / _DAY) * _DAY


@functools.cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(TEMPLATE)


@functools.cache
def _policy() -> str:
    """What the browser lets the page do: to have this style and this script, and nothing else."""
    return (
        f"default-src 'none'; style-src '{_hash(STYLE)}'; script-src '{_hash(SCRIPT)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _host(machine: MachineReport) -> str:
    return one_line(machine.host) or "-"


def _verdict_class(machine: MachineReport) -> str:
    return machine.verdict or "none"


def _totals(machines: Sequence[MachineReport]) -> list[dict[str, Any]]:
    """How many machines have each verdict, and the share of each in percent."""
    counted = Counter(map(_verdict_class, machines))
    totals: list[dict[str, Any]] = []
    before = 0
    for name in _VERDICTS:
        count = counted[name]
        if count:
            x, width = before / len(machines) * 100, count / len(machines) * 100
            words = _NO_VERDICT if name == "none" else name
            totals.append({"name": name, "words": words, "count": count, "x": f"{x:.2f}", "width": f"{width:.2f}"})
        before += count
    return totals


def _choices(machines: Sequence[MachineReport]) -> list[dict[str, Any]]:
    choices = [{"name": "", "words": "all", "count": len(machines)}]
    bad = sum(not machine.is_good for machine in machines)
    if bad:
        choices.append({"name": "bad", "words": "not ok", "count": bad})
    return choices + _totals(machines)


def _row(report: RunReport, number: int, machine: MachineReport, axis: Axis | None, longest: int) -> dict[str, Any]:
    verdict = _verdict_class(machine)
    ids = [one_line(machine.machine_id), f"wave {machine.wave}" if machine.wave is not None else ""]
    has_story = _report_text.has_more_to_say(machine)
    return {
        "number": number,
        "host": _host(machine),
        "classes": verdict if machine.is_good else f"{verdict} bad",
        "verdict": _NO_VERDICT if verdict == "none" else verdict,
        "what": _report_text.what_was_done(report, machine),
        "bars": list(_bars(machine, axis)) if axis else [],
        "ids": ", ".join(filter(None, ids)),
        "snapshot": one_line(machine.snapshot.name or ""),
        "took": ", ".join(_took(phase, span, with_times=has_story) for phase, span in _in_order(machine)),
        "story": list(_story(report, machine, longest)) if has_story else [],
    }


def _in_order(machine: MachineReport) -> list[tuple[str, Span]]:
    return [(phase, machine.times[phase]) for phase in _PHASES if phase in machine.times]


def _bars(machine: MachineReport, axis: Axis) -> Iterator[dict[str, str]]:
    for phase, span in _in_order(machine):
        if span.began is None:
            continue
        ended = axis.last if span.ended is None else span.ended
        # One that took no time is still to be seen, and also one at the right end.
        x = min(axis.percent(span.began), 100 - NARROWEST_BAR)
        width = max(axis.percent(ended) - x, NARROWEST_BAR)
        yield {"name": f"{phase} open" if span.ended is None else phase, "x": f"{x:.2f}", "width": f"{width:.2f}"}


def _took(phase: str, span: Span, *, with_times: bool) -> str:
    words = f"{phase} not ended" if span.ended is None else f"{phase} {_report_text.duration(span.began, span.ended)}"
    if not with_times or span.began is None:
        return words
    began = _clock(span.began)
    return f"{words} (from {began})" if span.ended is None else f"{words} ({began} to {_clock(span.ended)})"


def _clock(moment: float) -> str:
    """The time of the day."""
    return _report_text.time_text(moment).split(" ")[1]


def _story(report: RunReport, machine: MachineReport, longest: int) -> Iterator[tuple[str, str | None]]:
    """Paragraphs, each with a message below it or with none."""
    why, reason = _report_text.sentence_on_the_verdict(machine), _report_text.reason_of(machine)
    if reason:
        yield f"{why}:", _shortened(reason.error, longest)
    elif why:
        yield f"{why}.", None
    yield " ".join(_report_text.sentences_on_what_was_done(report, machine)), None
    for what, error in _report_text.errors(machine):
        yield f"{what}:", _shortened(error, longest)


def _longest_message(report: RunReport) -> int:
    messages = sum(
        (machine.reason is not None) + len(list(_report_text.errors(machine))) for machine in report.machines
    )
    return max(min(LONGEST_MESSAGE, ALL_MESSAGES // max(messages, 1)), SHORTEST_CUT)


def _shortened(message: str, longest: int) -> str:
    text = clean(message).strip("\n")
    if len(text) <= longest:
        return text
    return f"{text[:longest]}\n... ({len(text) - longest} more characters)"
