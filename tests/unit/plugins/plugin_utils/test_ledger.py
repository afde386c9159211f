# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from ansible_collections.community.paperspace.plugins.plugin_utils._ledger import Verdict, judge, read_ledger
from ansible_collections.community.paperspace.plugins.plugin_utils._report import Reason

Line = dict[str, Any]

HOSTS = ("a", "b", "c")


def trouble(event: str, host: str, task: str = "Patch", **fields: Any) -> Line:
    return {
        "event": event,
        "host": host,
        "task": task,
        "error": f"No {task}.",
        "targets": [],
        "for_all": False,
    } | fields


def touched(*hosts: str) -> list[Line]:
    return [{"event": "touched", "host": host, "task": "Patch"} for host in hosts]


def delegating(host: str, target: str | None) -> Line:
    return {"event": "delegating", "host": host, "task": "Tell", "target": target}


def end(number: int, *ended: str, end_play: bool = False, **fields: Any) -> Line:
    return {"event": "end", "play": f"p{number}", "ended": list(ended), "end_play": end_play, **fields}


def play(number: int, hosts: Sequence[str] | None) -> Line:
    return {"play": f"p{number}", "name": f"Play {number}", "hosts": None if hosts is None else list(hosts)}


def began(*plays: Sequence[str] | None, known: Sequence[str] = HOSTS) -> list[Line]:
    """The start of a playbook with plays for these hosts, whose first play has begun with a batch of all of them."""
    ahead = [play(number, hosts) for number, hosts in enumerate(plays, 1)]
    first = list(plays[0] or known)
    return [
        {"event": "start"},
        {"event": "playbook", "known": list(known), "ahead": ahead},
        {"event": "play", **ahead[0]},
        {"event": "batch", "play": "p1", "hosts": first},
    ]


def verdicts(lines: Sequence[Line], hosts: Sequence[str] = HOSTS) -> str:
    return " ".join(verdict.verdict for verdict in judge(lines, hosts).verdicts.values())


# Playbooks as they go, for every kind of host and at every moment.


@dataclass
class Truth:
    """What has really become of the hosts so far."""

    touched: set[str] = field(default_factory=set)
    # The kind of what went wrong first, by host.
    harmed: dict[str, str] = field(default_factory=dict)
    # Given up for the failure of another host.
    lost: set[str] = field(default_factory=set)
    # On whom a task for another is at work.
    busy: set[str] = field(default_factory=set)
    ended: set[tuple[int, str]] = field(default_factory=set)

    def verdict(self, host: str, plays: Sequence[Sequence[str]]) -> str:
        if host in self.harmed:
            return self.harmed[host]
        if host not in self.touched:
            return "untouched"
        targeted = [number for number, hosts in enumerate(plays, 1) if host in hosts]
        is_whole = all((number, host) in self.ended for number in targeted) and host not in self.busy
        return "ok" if is_whole and host not in self.lost else "incomplete"


@dataclass
class History:
    """A playbook with plays for these hosts: each line of its ledger, and what is true once it is written."""

    plays: list[list[str]]
    lines: list[Line] = field(default_factory=list)
    truths: list[dict[str, str]] = field(default_factory=list)
    truth: Truth = field(default_factory=Truth)

    def write(self, event: str, **fields: Any) -> None:
        self.lines.append({"n": len(self.lines), "event": event, **fields})
        self.truths.append({host: self.truth.verdict(host, self.plays) for host in HOSTS})

    def take(self, line: Line) -> None:
        self.write(**line)

    def touch(self, host: str) -> None:
        if host not in self.truth.touched:
            self.truth.touched.add(host)
            self.take(*touched(host))

    def go_wrong(self, event: str, host: str, target: str | None = None, **fields: Any) -> None:
        for one in filter(None, (host, target)):
            self.truth.touched.add(one)
            self.truth.harmed.setdefault(one, event)
        self.take(trouble(event, host, targets=[target] if target else [], **fields))


# What happens to a host in a play, and whether it goes on with the next.
FATES = {
    "ok": True,
    "nothing": True,
    "rescued": True,
    "blip": True,
    "delegated": True,
    "failed": False,
    "unreachable": False,
    "failed elsewhere": False,
    "given up": False,
    "ended": True,
}


@st.composite
def histories(draw: st.DrawFn) -> History:
    some = st.lists(st.sampled_from(HOSTS), unique=True, min_size=1)
    history = History(draw(st.lists(some, min_size=1, max_size=3)))
    ahead = [play(number, hosts) for number, hosts in enumerate(history.plays, 1)]
    history.write("start")
    history.write("playbook", known=list(HOSTS), ahead=ahead)
    standing = list(HOSTS)
    ending: list[Line] = []
    for number, hosts in enumerate(history.plays, 1):
        targets = [host for host in hosts if host in standing]
        size = draw(st.integers(1, 3))
        is_lost = False
        for first in range(0, len(targets), size):
            batch = targets[first : first + size]
            _end(history, ending)
            history.write("play", **ahead[number - 1])
            history.write("batch", play=f"p{number}", hosts=batch)
            fates = {host: draw(st.sampled_from(sorted(FATES))) for host in batch}
            for host in batch:
                _go_through(history, host, fates[host], draw(st.sampled_from(HOSTS)))
            standing = [host for host in standing if FATES[fates.get(host, "ok")]]
            ended = [host for host in batch if host in standing]
            ending.append({"number": number, "hosts": ended, "ahead": ahead[number:]})
            is_lost = not ended
            if is_lost:
                break
        if is_lost:
            break
    _end(history, ending)
    history.write("stats", ahead=[])
    # What was ahead when it ended still is.
    history.lines[-1]["ahead"] = [
        one for one in ahead if one["play"] not in {line.get("play") for line in history.lines}
    ]
    return history


def _end(history: History, ending: list[Line]) -> None:
    for one in ending:
        history.truth.ended |= {(one["number"], host) for host in one["hosts"]}
        history.take({**end(one["number"], *one["hosts"]), "ahead": one["ahead"]})
    ending.clear()


def _go_through(history: History, host: str, fate: str, other: str) -> None:
    if fate == "nothing":
        return
    history.touch(host)
    if fate == "rescued":
        history.take(trouble("rescued", host))
    elif fate in ("delegated", "failed elsewhere"):
        history.truth.touched.add(other)
        history.truth.busy.add(other)
        history.write("delegating", host=host, task="Patch", target=other)
        history.truth.busy.remove(other)
        history.write("delegated", host=host, targets=[other])
        if fate == "failed elsewhere":
            history.go_wrong("failed", host, other)
            history.write("lost", host=host)
    elif fate in ("failed", "unreachable", "blip"):
        history.go_wrong("failed" if fate == "failed" else "unreachable", host)
    elif fate == "given up":
        history.truth.lost.add(host)
        history.write("lost", host=host)


@given(histories())
@settings(max_examples=150, deadline=None)
def test_verdict_is_true_at_every_moment(history: History) -> None:
    """However early the playbook ends: nobody is well who is not, and nobody is lost who is."""
    for count in range(len(history.lines) + 1):
        lines = history.lines[:count]
        found = judge(lines, HOSTS).verdicts
        note(f"{lines}")
        if not any(line["event"] == "playbook" for line in lines):
            assert {verdict.verdict for verdict in found.values()} == {"incomplete"}
        else:
            assert {host: verdict.verdict for host, verdict in found.items()} == history.truths[count - 1]
        for verdict in found.values():
            is_good = verdict.verdict in ("ok", "untouched")
            assert is_good == (verdict.reason is None)
            assert is_good or (verdict.reason and verdict.reason.error)


@given(histories(), st.data())
@settings(max_examples=50, deadline=None)
def test_ledger_that_lacks_a_line_proves_nothing(
    tmp_path_factory: pytest.TempPathFactory, history: History, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger"
    missing = data.draw(st.integers(0, len(history.lines) - 2))
    write(path, [line for line in history.lines if line["n"] != missing])
    assert set(verdicts(read_ledger(path)).split()) == {"incomplete"}


@given(histories(), st.data())
@settings(max_examples=50, deadline=None)
def test_ledger_that_is_cut_off_anywhere_is_read_to_its_last_whole_line(
    tmp_path_factory: pytest.TempPathFactory, history: History, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger"
    content = write(path, history.lines)
    content = content[: data.draw(st.integers(0, len(content)))]
    path.write_bytes(content)
    assert read_ledger(path) == history.lines[: content.count(b"\n")]


def write(path: Path, lines: Sequence[Line]) -> bytes:
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return path.read_bytes()


# Single cases.

FAILED = trouble("failed", "b")
ALL_ENDED = end(1, "a", "b", "c")


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], "incomplete incomplete incomplete"),
        ([{"event": "start"}], "incomplete incomplete incomplete"),
        (began(HOSTS), "untouched untouched untouched"),
        ([*began(HOSTS), *touched("a")], "incomplete untouched untouched"),
        ([*began(HOSTS), *touched(*HOSTS), ALL_ENDED], "ok ok ok"),
        ([*began("ab"), *touched("a", "b"), end(1, "a", "b")], "ok ok untouched"),
        ([*began(HOSTS), *touched(*HOSTS), FAILED, end(1, "a", "c")], "ok failed ok"),
        # Whatever Ansible makes of it afterwards: errors that are ignored or cleared.
        ([*began(HOSTS), *touched(*HOSTS), trouble("unreachable", "b"), ALL_ENDED], "ok unreachable ok"),
        ([*began(HOSTS), *touched(*HOSTS), FAILED, {"event": "lost", "host": "b"}, ALL_ENDED], "ok failed ok"),
        # The first trouble counts.
        ([*began(HOSTS), FAILED, trouble("unreachable", "b")], "untouched failed untouched"),
        # A rescue, and one that is none.
        ([*began(HOSTS), *touched("b"), trouble("rescued", "b"), ALL_ENDED], "untouched ok untouched"),
        (
            [*began(HOSTS), *touched("b"), trouble("rescued", "b"), {"event": "lost", "host": "b"}, ALL_ENDED],
            "untouched failed untouched",
        ),
        ([*began(HOSTS), *touched("b"), {"event": "lost", "host": "b"}, ALL_ENDED], "untouched incomplete untouched"),
        (
            [
                *began(HOSTS),
                *touched("b"),
                trouble("rescued", "b"),
                *touched("c"),
                {"event": "lost", "host": "b"},
                ALL_ENDED,
            ],
            "untouched incomplete ok",
        ),
        # A task that runs once for all.
        (
            [*began(HOSTS), *touched("a", "b"), trouble("failed", "a", for_all=True), end(1, "b", "c")],
            "failed incomplete untouched",
        ),
        (
            [
                *began("ab"),
                *touched("a", "b"),
                trouble("failed", "a", for_all=True),
                {"event": "batch", "play": "p1", "hosts": ["c"]},
                *touched("c"),
                end(1, "b", "c"),
            ],
            "failed incomplete ok",
        ),
        # Plays whose hosts were not known before they began.
        ([*began(None), *touched("a", "b"), end(1, "b")], "incomplete ok untouched"),
        (
            [*began(None), {"event": "batch", "play": "p1", "hosts": ["b"]}, *touched("a", "b"), end(1, "b")],
            "incomplete ok untouched",
        ),
        # Plays that never began.
        ([*began(HOSTS, "b"), *touched(*HOSTS), ALL_ENDED], "ok incomplete ok"),
        ([*began(HOSTS, None), *touched(*HOSTS), ALL_ENDED], "incomplete incomplete incomplete"),
        ([*began(HOSTS, "b"), *touched(*HOSTS), {**ALL_ENDED, "ahead": []}], "ok ok ok"),
        # One that ended on purpose, for those whose turn had not come.
        (
            [*began(HOSTS), *touched("a", "b"), {"event": "batch", "play": "p1", "hosts": ["a"]}, end(1, "a")],
            "ok incomplete untouched",
        ),
        (
            [
                *began("a"),
                {"event": "play", **play(2, "bc")},
                {"event": "batch", "play": "p2", "hosts": ["b"]},
                *touched("b", "c"),
                end(2, "b", end_play=True),
            ],
            "untouched ok ok",
        ),
        # Its end has to say so of those who had begun.
        ([*began(HOSTS), *touched(*HOSTS), end(1, "a", end_play=True)], "ok incomplete incomplete"),
        # Tasks for one host on another.
        (
            [*began("a"), *touched("a"), delegating("a", "b")],
            "incomplete incomplete untouched",
        ),
        (
            [*began("a"), *touched("a"), delegating("a", None)],
            "incomplete incomplete incomplete",
        ),
        # One that is cut off counts against its target, also where that had run all of its own plays to the end.
        (
            [*began("ab"), *touched("a", "b"), end(1, "a", "b"), delegating("a", "b")],
            "ok incomplete untouched",
        ),
        (
            [*began(HOSTS), *touched(*HOSTS), ALL_ENDED, delegating("a", None)],
            "incomplete incomplete incomplete",
        ),
        (
            [*began("ab"), *touched("a", "b"), end(1, "a", "b"), delegating("a", "localhost")],
            "ok ok untouched",
        ),
        # Each host has one of its own, and only its end ends it.
        (
            [
                *began(HOSTS),
                *touched(*HOSTS),
                ALL_ENDED,
                delegating("a", "c"),
                delegating("b", "c"),
                {"event": "delegated", "host": "a", "targets": ["c"]},
            ],
            "ok ok incomplete",
        ),
        (
            [*began(HOSTS), *touched(*HOSTS), ALL_ENDED, delegating("a", "b"), trouble("unreachable", "a")],
            "unreachable incomplete ok",
        ),
        (
            [
                *began(HOSTS),
                *touched(*HOSTS),
                delegating("a", "b"),
                {"event": "delegated", "host": "a", "targets": ["b"]},
                delegating("a", "c"),
                {"event": "delegated", "host": "a", "targets": ["c"]},
                ALL_ENDED,
            ],
            "ok ok ok",
        ),
        (
            [
                *began("a"),
                *touched("a"),
                delegating("a", None),
                {"event": "delegated", "host": "a", "targets": ["localhost", "b"]},
                end(1, "a"),
            ],
            "ok ok untouched",
        ),
        (
            [
                *began("a"),
                *touched("a"),
                delegating("a", None),
                {"event": "delegated", "host": "a", "targets": None},
                end(1, "a"),
            ],
            "ok incomplete incomplete",
        ),
        ([*began("a"), trouble("failed", "a", targets=["b", "x"])], "failed failed untouched"),
        # Lines that are not known mean nothing.
        ([*began("a"), {"event": "news"}, {}], "untouched untouched untouched"),
    ],
)
def test_verdicts(lines: list[Line], expected: str) -> None:
    assert verdicts(lines) == expected


def test_reason_is_what_went_wrong() -> None:
    found = judge([*began(HOSTS), *touched(*HOSTS), trouble("failed", "b", "Migrate")], HOSTS).verdicts
    assert found["b"] == Verdict("failed", Reason("b", "Migrate", "No Migrate."))
    told = "The play 'Play 1' ended before this host had run it to the end: No Migrate."
    assert found["a"] == Verdict("incomplete", Reason("b", "Migrate", told))


@pytest.mark.parametrize("target", ["b", None])
def test_reason_of_a_target_is_the_task_that_was_cut_off(target: str | None) -> None:
    lines = [*began(HOSTS), *touched(*HOSTS), ALL_ENDED, delegating("a", target)]
    found = judge(lines, HOSTS).verdicts["b"]
    assert found.reason
    assert (found.verdict, found.reason.host, found.reason.task) == ("incomplete", "a", "Tell")
    assert "was delegated to" in found.reason.error


def test_reason_is_its_own_failure_rather_than_that_of_another() -> None:
    lines = [*began(HOSTS), *touched(*HOSTS), trouble("failed", "b"), trouble("rescued", "a", "Mend")]
    reason = judge(lines, HOSTS).verdicts["a"].reason
    assert reason
    assert (reason.host, reason.task) == ("a", "Mend")


def test_reason_is_the_last_failure_of_another() -> None:
    lines = [*began(HOSTS), *touched(*HOSTS), trouble("failed", "b", "First"), trouble("failed", "c", "Second")]
    reason = judge(lines, HOSTS).verdicts["a"].reason
    assert reason
    assert (reason.host, reason.task) == ("c", "Second")


def test_reason_without_any_failure_is_what_is_missing() -> None:
    found = judge([*began(HOSTS, "a"), *touched("a", "b"), end(1, "a", "b")], HOSTS).verdicts
    assert found["a"] == Verdict("incomplete", Reason(None, None, "The playbook ended before the play 'Play 2'."))
    assert found["b"] == Verdict("ok")


def test_untouched_host_that_was_to_be_touched_has_missed_something() -> None:
    found = judge([*began("a", "b"), *touched("a"), end(1, "a")], HOSTS).verdicts
    assert found["b"].missed == Reason(None, None, "The playbook ended before the play 'Play 2'.")
    assert found["c"] == Verdict("untouched")


def test_host_that_the_inventory_has_lost_has_missed_everything() -> None:
    """By the ledger alone, no play is for it."""
    lines = [*began("ab", known="ab"), *touched("a", "c"), end(1, "a", "b")]
    found = judge(lines, [*HOSTS, "d"]).verdicts
    assert found["b"] == Verdict("untouched")
    assert found["c"].verdict == "incomplete"
    assert found["c"].reason
    assert "inventory" in found["c"].reason.error
    assert found["d"] == Verdict("untouched", missed=found["c"].reason)


def test_failures_of_others_are_told() -> None:
    lines = [
        *began("ab"),
        trouble("failed", "localhost", "Drain"),
        trouble("failed", "localhost", "Fill"),
        trouble("unreachable", "balancer"),
        # That is the trouble of a.
        trouble("failed", "a", targets=["proxy"]),
        trouble("failed", "proxy", targets=["b"]),
    ]
    assert judge(lines, "ab").elsewhere == [
        Reason("localhost", "Drain", "No Drain."),
        Reason("balancer", "Patch", "No Patch."),
    ]


# The file.


def numbered(lines: Sequence[Line]) -> list[Line]:
    return [{"n": number, **line} for number, line in enumerate(lines)]


def test_file_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    assert read_ledger(tmp_path / "ledger") == []
    assert read_ledger(tmp_path) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"{}\n", b'{"n": 1}\n', b'{"n": 0}\nnothing\n{"n": 2}\n', b'{"n": 0}\n{"n": 0}\n', b'{"n": 0}\n\n',
     b'{"n": 0}\n[]\n', b'{"n": 0}\n\xff\n', b'{"n": 0}', b'{"n": "0"}\n'],
)  # fmt: skip
def test_file_that_is_not_whole_has_no_lines(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ledger").write_bytes(content)
    assert read_ledger(tmp_path / "ledger") == []


def test_torn_last_line_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "ledger").write_bytes(b'{"n": 0, "event": "start"}\n{"n": 1, "event": "playbo')
    assert read_ledger(tmp_path / "ledger") == [{"n": 0, "event": "start"}]


def test_text_in_a_line_may_hold_anything(tmp_path: Path) -> None:
    lines = numbered([trouble("failed", "a", "\u2028 \x85 \r\n \udcff \U0001f600")])
    write(tmp_path / "ledger", lines)
    assert read_ledger(tmp_path / "ledger") == lines


def test_secret_is_taken_out(tmp_path: Path) -> None:
    write(tmp_path / "ledger", numbered([trouble("failed", "a", "k3y")]))
    [line] = read_ledger(tmp_path / "ledger", "k3y")
    assert (line["task"], line["error"]) == ("********", "No ********.")


def test_order_of_the_hosts_is_kept() -> None:
    hosts = list(reversed(HOSTS))
    assert list(judge(began(HOSTS), hosts).verdicts) == hosts
