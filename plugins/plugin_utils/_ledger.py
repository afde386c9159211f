# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the ledger of one ansible-playbook to the verdict on each host. Pure, and free of Ansible.

The callback guard_ledger writes the lines. A host is well only if the ledger shows that it ran every play that
targeted it to the end; whatever is missing counts against it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.community.paperspace.plugins.plugin_utils._report import Reason

# Beside the ledger, for the callback: the id of each host's machine, as far as the inventory has it in paperspace_id.
MACHINES_SUFFIX = ".machines"


@dataclass(frozen=True)
class Verdict:
    """C(verdict) is ok, failed, unreachable, incomplete or untouched; all but ok and untouched have a reason.

    C(missed) says why a host that is untouched should not have been: a play that targets it did not reach it.
    """

    verdict: str
    reason: Reason | None = None
    missed: Reason | None = None


@dataclass(frozen=True)
class Findings:
    """What a ledger says: the verdict on each host, and the failures of others, such as localhost."""

    verdicts: dict[str, Verdict]
    elsewhere: list[Reason]


@dataclass
class _Play:
    name: str
    hosts: set[str] | None
    ended: set[str] = field(default_factory=set)
    batches: set[str] = field(default_factory=set)
    is_ended_by_task: bool = False

    def targets(self, host: str) -> bool:
        return host in self.batches or (self.hosts is not None and host in self.hosts)

    def is_over_for(self, host: str) -> bool:
        return host in self.ended or (self.is_ended_by_task and host not in self.batches)


@dataclass(frozen=True)
class _Delegation:
    """A task for one host on another: C(target) is None as long as only its end will name it."""

    host: str
    task: str
    target: str | None


@dataclass
class _Ledger:
    """What the lines say, put together."""

    has_begun: bool = False
    # The hosts of the playbook's inventory; None when that is not told.
    known: set[str] | None = None
    plays: dict[str, _Play] = field(default_factory=dict)
    ahead: list[Mapping[str, Any]] = field(default_factory=list)
    touched: set[str] = field(default_factory=set)
    # The first failure of each host, and those that fail all hosts of their batch.
    troubles: dict[str, Verdict] = field(default_factory=dict)
    # The last failure of each host that a rescue may have taken over.
    rescued: dict[str, Reason] = field(default_factory=dict)
    # Those of which the last lines tell: what comes next shows whether a rescue takes over.
    suspects: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    common: list[tuple[set[str], Reason]] = field(default_factory=list)
    # The task that is at work elsewhere, by the host that it is for.
    delegating: dict[str, _Delegation] = field(default_factory=dict)
    # Tasks that have run nobody knows where.
    astray: list[_Delegation] = field(default_factory=list)
    batch: set[str] = field(default_factory=set)


def read_ledger(path: Path, secret: str = "") -> list[dict[str, Any]]:
    """The lines of the file, without the secret; none when there is no file, or when a line is missing between others.

    The last line may be torn, as by a kill, and is left out then.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    lines: list[dict[str, Any]] = []
    *whole, dummy = (text.replace(secret, "********") if secret else text).split("\n")
    for line in whole:
        try:
            fields = json.loads(line)
        except ValueError:
            return []
        if not isinstance(fields, dict) or fields.get("n") != len(lines):
            return []
        lines.append(fields)
    return lines


def judge(lines: Iterable[Mapping[str, Any]], hosts: Sequence[str]) -> Findings:
    """What became of the hosts that an ansible-playbook which has ended was limited to."""
    ledger = _put_together(lines)
    known = set(hosts)
    return Findings(
        {host: _verdict(ledger, host) for host in hosts},
        [
            verdict.reason
            for host, verdict in ledger.troubles.items()
            # A task of one of these that was delegated elsewhere is the trouble of that one.
            if host not in known and verdict.reason and verdict.reason.host not in known
        ],
    )


def _put_together(lines: Iterable[Mapping[str, Any]]) -> _Ledger:
    ledger = _Ledger()
    for line in lines:
        _take(ledger, line)
    return ledger


def _take(ledger: _Ledger, line: Mapping[str, Any]) -> None:
    event = line.get("event")
    if event not in ("rescued", "lost"):
        ledger.suspects.clear()
    if "ahead" in line:
        ledger.ahead = list(line["ahead"])
    take = _TAKE.get(str(event))
    if take is not None:
        take(ledger, line)


def _take_playbook(ledger: _Ledger, line: Mapping[str, Any]) -> None:
    ledger.has_begun = True
    ledger.known = set(line["known"]) if "known" in line else None


def _take_play(ledger: _Ledger, line: Mapping[str, Any]) -> None:
    hosts = line.get("hosts")
    ledger.plays.setdefault(line["play"], _Play(line["name"], None if hosts is None else set(hosts)))


def _take_batch(ledger: _Ledger, line: Mapping[str, Any]) -> None:
    ledger.batch = set(line["hosts"])
    ledger.plays[line["play"]].batches |= ledger.batch


def _take_end(ledger: _Ledger, line: Mapping[str, Any]) -> None:
    play = ledger.plays[line["play"]]
    play.ended |= set(line["ended"])
    play.is_ended_by_task = play.is_ended_by_task or bool(line["end_play"])


def _take_touched(ledger: _Ledger, line: Mapping[str, Any]) -> None:
    ledger.touched.add(line["host"])


def _take_delegating(ledger: _Ledger, line: Mapping[str, Any]) -> None:
    ledger.delegating[line["host"]] = _Delegation(line["host"], line["task"], line["target"])
    if line["target"] is not None:
        ledger.touched.add(line["target"])


def _take_delegated(ledger: _Ledger, line: Mapping[str, Any]) -> None:
    delegation = ledger.delegating.pop(line["host"], None)
    if line["targets"] is not None:
        ledger.touched.update(line["targets"])
    elif delegation is not None:
        ledger.astray.append(delegation)


def _take_rescued(ledger: _Ledger, line: Mapping[str, Any]) -> None:
    ledger.rescued[line["host"]] = Reason(line["host"], line["task"], line["error"])
    ledger.suspects.add(line["host"])


def _take_lost(ledger: _Ledger, line: Mapping[str, Any]) -> None:
    host = line["host"]
    if host in ledger.suspects:
        ledger.troubles.setdefault(host, Verdict("failed", ledger.rescued[host]))
    ledger.lost.add(host)


def _take_trouble(ledger: _Ledger, line: Mapping[str, Any]) -> None:
    host = line["host"]
    reason = Reason(host, line["task"], line["error"])
    ledger.touched.add(host)
    ledger.troubles.setdefault(host, Verdict(line["event"], reason))
    for target in line["targets"]:
        # The task was for one host, and went wrong on another.
        ledger.touched.add(target)
        ledger.troubles.setdefault(target, Verdict(line["event"], reason))
    if line["for_all"]:
        ledger.common.append((ledger.batch, reason))


_TAKE: Mapping[str, Callable[[_Ledger, Mapping[str, Any]], None]] = {
    "playbook": _take_playbook,
    "play": _take_play,
    "batch": _take_batch,
    "end": _take_end,
    "touched": _take_touched,
    "delegating": _take_delegating,
    "delegated": _take_delegated,
    "rescued": _take_rescued,
    "lost": _take_lost,
    "failed": _take_trouble,
    "unreachable": _take_trouble,
}


def _verdict(ledger: _Ledger, host: str) -> Verdict:
    if not ledger.has_begun:
        return _incomplete(None, "Nothing is known of what was done: the ansible-playbook kept no ledger.")
    if host in ledger.troubles:
        return ledger.troubles[host]
    cut_off = _cut_off(ledger, host)
    if cut_off is not None:
        return Verdict("incomplete", cut_off)
    if host not in ledger.touched:
        if ledger.astray:
            task = ledger.astray[0]
            return _incomplete(Reason(task.host, task.task), "A task was delegated to a host that is not known")
        return Verdict("untouched", missed=_unfinished(ledger, host))
    for batch, reason in ledger.common:
        if host in batch:
            return _incomplete(reason, "A task that ran once for all hosts failed")
    if host in ledger.lost:
        return _incomplete(_cause(ledger, host), "Ansible gave this host up")
    unfinished = _unfinished(ledger, host)
    return Verdict("ok") if unfinished is None else Verdict("incomplete", unfinished)


def _cut_off(ledger: _Ledger, host: str) -> Reason | None:
    """The task for another host that was, or may have been, at work on this one when the playbook ended."""
    for task in ledger.delegating.values():
        if task.target in (host, None):
            where = "this host" if task.target else "a host that is not known"
            return Reason(task.host, task.task, f"A task was delegated to {where}, and did not end.")
    return None


def _unfinished(ledger: _Ledger, host: str) -> Reason | None:
    """Why the host has not run all plays that target it to their ends; None when it has."""
    if ledger.known is not None and host not in ledger.known:
        return _reason(None, "The inventory does not have this machine any more")
    cause = _cause(ledger, host)
    for play in ledger.plays.values():
        if play.targets(host) and not play.is_over_for(host):
            return _reason(cause, f"The play {play.name!r} ended before this host had run it to the end")
    for coming in ledger.ahead:
        if coming["play"] not in ledger.plays and (coming["hosts"] is None or host in coming["hosts"]):
            return _reason(cause, f"The playbook ended before the play {coming['name']!r}")
    return None


def _cause(ledger: _Ledger, host: str) -> Reason | None:
    """What may have kept the host from its end: its own last failure, or else the last one of another."""
    causes = [ledger.rescued.get(host), *(verdict.reason for verdict in reversed(ledger.troubles.values()))]
    return next(filter(None, causes), None)


def _incomplete(cause: Reason | None, error: str) -> Verdict:
    return Verdict("incomplete", _reason(cause, error))


def _reason(cause: Reason | None, error: str) -> Reason:
    if cause is None:
        return Reason(None, None, error if error.endswith(".") else f"{error}.")
    told = f"{error.rstrip('.')}" + (f": {cause.error}" if cause.error else ".")
    return Reason(cause.host, cause.task, told)
