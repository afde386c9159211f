# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from ansible_collections.community.paperspace.plugins.plugin_utils._report import (
    OUTCOMES,
    PHASES,
    VERDICTS,
    MachineReport,
    Reason,
    RunReport,
    SnapshotReport,
    Span,
)
from ansible_collections.community.paperspace.plugins.plugin_utils._report_html import (
    ALL_MESSAGES,
    LONGEST_MESSAGE,
    MOST_LINKS,
    NARROWEST_BAR,
    axis_of,
)
from ansible_collections.community.paperspace.plugins.plugin_utils._report_text import recover_command, what_was_done
from ansible_collections.community.paperspace.plugins.plugin_utils._text import clean, one_line
from report_samples import BEGAN, HOSTILE_TEXTS, OPEN, RUN, hostile_run, large_run, small_run, span

VOID = {"meta", "input"}
# Written as closed at once.
EMPTY = {"rect", "path"}


class Page(HTMLParser):
    """The elements of a page in their order: name, attributes and all text within."""

    def __init__(self, report: RunReport) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None], list[str]]] = []
        self._open: list[tuple[str, dict[str, str | None], list[str]]] = []
        self.source = report.to_html()
        self.feed(self.source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element: tuple[str, dict[str, str | None], list[str]] = (tag, dict(attrs), [])
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in EMPTY
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        for _tag, _attributes, texts in self._open:
            texts.append(data)

    def texts(self, tag: str, css_class: str | None = None) -> list[str]:
        """The text of each element with this name, and with this class."""
        return [
            " ".join("".join(texts).split()) if tag != "pre" else "".join(texts)
            for name, attributes, texts in self.elements
            if name == tag and (css_class is None or css_class in (attributes.get("class") or "").split())
        ]

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes, _texts in self.elements if name == tag]


def machine(host: str = "web1", outcome: str = "ok", **fields: Any) -> MachineReport:
    return MachineReport(host, f"ps-{host}", 1, outcome, **fields)


def bars(report: RunReport) -> list[tuple[str, float, float]]:
    """The bars of the machines, without those of the totals and of the legend."""
    found = [
        attributes
        for attributes in Page(report).attributes("rect")
        if str(attributes.get("class")).split()[0] in PHASES
    ]
    return [(str(each["class"]), percent(each["x"]), percent(each["width"])) for each in found if "x" in each]


def percent(text: str | None) -> float:
    assert text is not None
    assert text.endswith("%")
    return float(text[:-1])


# What is said


def test_page_tells_the_story() -> None:
    page = Page(small_run())
    assert page.texts("title") == [f"Failed: maintenance run {RUN}"]
    assert page.texts("h1") == [RUN]
    assert page.texts("p", "status") == ["Failed"]
    assert page.texts("p", "ending") == [
        "The run came to its end, and 2 of 5 machines are not ok; 1 problem came up. 1 snapshot is still open."
    ]
    assert page.texts("h2") == [
        "Totals",
        "Problems",
        "What to do",
        "Machines",
        "Playbooks that were run",
        "About the run",
    ]
    assert page.texts("h3") == ["db1", "db2", "web1", "web2", "web3"]
    assert page.texts("p", "what") == [
        "failed rolled back",
        "ok maintained",
        "ok maintained",
        "unreachable rollback failed",
        "untouched left as it was",
    ]
    took = page.texts("p", "took")
    assert took[0] == (
        "snapshot 1 min 02 s (22:00:04 to 22:01:06), maintenance 48.0 s (22:01:06 to 22:01:54), "
        "rollback 2 min 20 s (22:02:02 to 22:04:22), reconnect 14.0 s (22:10:40 to 22:10:54)"
    )
    assert took[1] == "snapshot 58.0 s, maintenance 55.0 s"
    assert page.texts("p", "ids")[3] == "ps0bd5n3rt, wave 2"
    assert page.texts("p", "kept")[3] == OPEN
    assert page.texts("td")[:5] == ["1", "upgrade.yml", "2", "2026-01-31 22:01:06 UTC", "44.0 s"]
    assert dict(zip(page.texts("dt"), page.texts("dd"), strict=True))["Took"] == "10 min 55 s"


def test_failing_task_and_its_whole_message_stand_with_the_machine() -> None:
    report = small_run()
    page = Page(report)
    stories = page.texts("div", "story")
    assert len(stories) == 2
    assert stories[0].startswith("It failed in the task Upgrade the application: No package matching")
    assert stories[0].endswith("It answers to Ansible again. Its state before the rollback is in the snapshot ss99x1.")
    assert "Its rollback did not come through: The restore ended in error" in stories[1]
    messages = page.texts("pre")
    assert report.machines[0].reason is not None
    assert report.machines[0].reason.error in messages


def test_commands_are_those_of_the_other_files() -> None:
    report = small_run()
    assert Page(report).texts("code") == [recover_command(report, action) for action in ("list", "rollback", "keep")]


@pytest.mark.parametrize("verdict", [None, *VERDICTS])
@pytest.mark.parametrize("outcome", OUTCOMES)
def test_every_verdict_and_outcome_has_its_words_and_its_choice(verdict: str | None, outcome: str) -> None:
    report = RunReport(RUN, machines=[machine("web1", outcome, verdict=verdict)])
    page = Page(report)
    words = verdict or "no verdict"
    assert page.texts("p", "what") == [f"{words} {what_was_done(report, report.machines[0])}"]
    is_good = outcome in ("ok", "untouched")
    [classes] = [str(each["class"]) for each in page.attributes("li") if "id" in each]
    assert classes == (verdict or "none") + ("" if is_good else " bad")
    choices = [each["value"] for each in page.attributes("input") if each["type"] == "radio"]
    assert choices == ["", *([] if is_good else ["bad"]), verdict or "none"]
    assert page.texts("label")[-1] == f"{words} 1"


@pytest.mark.parametrize(("status", "word"), [("running", "Running"), ("succeeded", "Succeeded"), ("failed", "Failed")])
def test_run_without_machines_is_a_page_without_them(status: str, word: str) -> None:
    page = Page(RunReport(RUN, status=status))
    assert page.texts("p", "status") == [word]
    assert page.texts("h2") == ["Totals", "About the run"]
    assert page.texts("ul", "tiles") == ["0 machines"]
    assert [each for each in page.attributes("form") + page.attributes("rect") if each.get("class")] == []


def test_run_that_goes_on_says_so_and_leaves_to_it_what_is_open() -> None:
    report = RunReport(RUN, machines=[machine(snapshot=SnapshotReport("ss1", OPEN, "created"))])
    page = Page(report)
    assert page.texts("p", "ending")[0].startswith("The run has not ended; this is how far it had come")
    assert "As long as the run goes on, leave that to it. If it does not go on any more:" in page.texts("p")


def test_machines_to_look_at_are_linked_but_not_all_of_many() -> None:
    report = RunReport(RUN, machines=[machine(f"web{number}", "rolled_back") for number in range(MOST_LINKS + 3)])
    page = Page(report)
    assert [each["href"] for each in page.attributes("a")] == [f"#m{number}" for number in range(MOST_LINKS)]
    assert {f"m{number}" for number in range(MOST_LINKS)} <= {each.get("id") for each in page.attributes("li")}
    assert any(text.endswith(f"web{MOST_LINKS - 1} and 3 more") for text in page.texts("p", "words"))


def test_shares_of_the_verdicts_make_up_the_whole() -> None:
    shares = [each for each in Page(large_run()).attributes("rect") if each.get("height") == "100%"]
    assert [each["class"] for each in shares] == [*VERDICTS, "none"]
    assert sum(percent(each["width"]) for each in shares) == pytest.approx(100, abs=0.05)
    ends = [percent(each["x"]) + percent(each["width"]) for each in shares]
    assert [percent(each["x"]) for each in shares[1:]] == pytest.approx(ends[:-1], abs=0.02)


# The timeline


@pytest.mark.parametrize(
    ("seconds", "labels"),
    [
        (0, ["0 s", "1 s", "2 s"]),
        (6, ["0 s", "1 s", "2 s", "3 s", "4 s", "5 s"]),
        (7, ["0 s", "2 s", "4 s", "6 s"]),
        (90, ["0 s", "15 s", "30 s", "45 s", "60 s", "75 s"]),
        (181, ["0 min", "1 min", "2 min", "3 min"]),
        (655, ["0 min", "2 min", "4 min", "6 min", "8 min", "10 min"]),
        (3600, ["0 min", "10 min", "20 min", "30 min", "40 min", "50 min"]),
        (3 * 3600 + 1, ["0 h", "1 h", "2 h", "3 h"]),
        (3 * 86400, ["0 h", "12 h", "24 h", "36 h", "48 h", "60 h"]),
        (30 * 86400, ["0 d", "5 d", "10 d", "15 d", "20 d", "25 d"]),
    ],
)
def test_axis_has_three_to_six_round_columns(seconds: float, labels: list[str]) -> None:
    report = RunReport(RUN, machines=[machine(times={"maintenance": span(0, seconds)})])
    axis = axis_of(report)
    assert axis is not None
    assert axis.labels() == labels
    assert axis.step * axis.columns >= seconds
    assert Page(report).texts("ol", "axis") == [" ".join(labels)]


def test_without_phases_there_is_no_axis() -> None:
    report = RunReport(RUN, began=BEGAN, machines=[machine(times={"snapshot": Span()})])
    assert axis_of(report) is None
    page = Page(report)
    assert page.texts("ol", "axis") == []
    assert page.texts("p", "took") == ["snapshot not ended"]
    assert bars(report) == []


def test_each_phase_is_a_bar_from_its_begin_to_its_end() -> None:
    times = {"maintenance": span(60, 30), "snapshot": span(0, 60), "rollback": span(90, 30), "reconnect": span(150, 30)}
    report = RunReport(RUN, began=BEGAN, machines=[machine(times=times)])
    # In their own order, on six columns of 30 s.
    assert bars(report) == [
        ("snapshot", 0, pytest.approx(33.33)),
        ("maintenance", pytest.approx(33.33), pytest.approx(16.67)),
        ("rollback", 50, pytest.approx(16.67)),
        ("reconnect", pytest.approx(83.33), pytest.approx(16.67)),
    ]


def test_bars_of_several_machines_share_one_axis() -> None:
    machines = [machine("web1", times={"snapshot": span(0, 30)}), machine("web2", times={"snapshot": span(30, 30)})]
    assert bars(RunReport(RUN, began=BEGAN, machines=machines)) == [("snapshot", 0, 50), ("snapshot", 50, 50)]


def test_phase_that_has_not_ended_goes_on_to_the_last_time_that_is_known() -> None:
    times = {"snapshot": span(0, 60), "maintenance": span(60, None)}
    report = RunReport(RUN, machines=[machine("web1", times={"snapshot": span(0, 120)}), machine("web2", times=times)])
    assert bars(report)[-1] == ("maintenance open", 50, 50)
    assert Page(report).texts("p", "took")[-1] == "snapshot 1 min 00 s, maintenance not ended"


@pytest.mark.parametrize("took", [0, 0.001, -500])
def test_phase_without_length_is_still_to_be_seen_within_the_lane(took: float) -> None:
    machines = [machine("web1", times={"snapshot": span(0, 600), "maintenance": span(600, took)})]
    _snapshot, (name, x, width) = bars(RunReport(RUN, machines=machines))
    assert name == "maintenance"
    assert width == pytest.approx(NARROWEST_BAR)
    assert 0 <= x <= 100 - NARROWEST_BAR


# What it must not do


def test_page_loads_nothing_and_allows_only_its_own_style_and_script() -> None:
    page = Page(small_run())
    [policy] = [
        str(each["content"]) for each in page.attributes("meta") if each.get("http-equiv") == "Content-Security-Policy"
    ]
    [style] = re.findall(r"<style>(.*?)</style>", page.source, re.DOTALL)
    [script] = re.findall(r"<script>(.*?)</script>", page.source, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )
    # A policy counts from where it stands.
    assert page.source.index("Content-Security-Policy") < page.source.index("<style>")
    assert re.findall(r"url\(([^)]*)\)", style) == ["#undone"]
    assert "@import" not in style
    assert "://" not in page.source
    assert not {"link", "img", "iframe", "object", "embed", "base", "audio", "video"} & {
        name for name, _attributes, _texts in page.elements
    }


def test_texts_that_are_html_scripts_templates_or_control_sequences_stay_texts() -> None:
    page, plain = Page(hostile_run()), Page(small_run())
    names = {name for name, _attributes, _texts in page.elements}
    assert names <= {name for name, _attributes, _texts in plain.elements}
    attributes = {key for _name, attributes, _texts in page.elements for key in attributes}
    assert attributes <= {key for _name, attributes, _texts in plain.elements for key in attributes}
    assert page.texts("h3") == [one_line(text) for text in HOSTILE_TEXTS]
    assert [text for text in page.texts("pre") if "{{ 7 * 191 }}" in text]
    # Which is 7 * 191, too.
    assert page.source.count("1337") == page.source.count("%}1337{%")
    stories = page.texts("div", "story")
    for text, story in zip(HOSTILE_TEXTS, stories, strict=True):
        # The task, the message, and the errors of the snapshot, of the rollback, of the answer and of the renaming.
        assert story.count(one_line(text)) >= 6
        assert clean(text).strip("\n") in page.texts("pre")
    assert [text for text in page.texts("li") if text in {one_line(text) for text in HOSTILE_TEXTS}]
    assert page.source.replace("\n", "").isprintable()
    assert page.source.encode("utf-8")


# How large it gets


def test_page_of_two_thousand_machines_stays_small() -> None:
    report = large_run(2000)
    page = Page(report)
    assert len(page.texts("h3")) == 2000
    assert len(page.source.encode()) < 1_200_000


def test_messages_of_few_machines_are_whole_and_those_of_many_are_cut() -> None:
    def messages(count: int, length: int) -> list[str]:
        machines = [
            machine(f"web{number}", "rolled_back", verdict="failed", reason=Reason(None, "Patch", "x" * length))
            for number in range(count)
        ]
        return Page(RunReport(RUN, machines=machines)).texts("pre")

    assert messages(3, LONGEST_MESSAGE) == ["x" * LONGEST_MESSAGE] * 3
    assert messages(1, LONGEST_MESSAGE + 5) == ["x" * LONGEST_MESSAGE + "\n... (5 more characters)"]
    many = messages(1000, 10_000)
    assert many[0] == f"{'x' * 1000}\n... (9000 more characters)"
    assert sum(map(len, many)) < ALL_MESSAGES * 1.1
