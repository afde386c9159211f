# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guide of what can go wrong: it has every status, and the messages are those of the collection."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Iterator

from documentation import SNAPSHOT, Part, Reader, follows, section, state

from ansible_collections.community.paperspace.plugins.plugin_utils._report import ENDS, OUTCOMES, STATUSES, VERDICTS
from ansible_fixtures import COLLECTION

TROUBLE = "docs/docsite/rst/troubleshooting.rst"


def quoted(*titles: str) -> set[str]:
    """What sections of the guide have between double backticks."""
    sections = re.split(r"^(.+)\n-{3,}\n", (COLLECTION / TROUBLE).read_text("utf-8"), flags=re.MULTILINE)
    found = dict(zip(sections[1::2], sections[2::2], strict=True))
    return {word for title in titles for word in re.findall(r"``(.+?)``", found[title])}


def texts_of_the_collection() -> Iterator[str]:
    """All that the collection can say; what varies is left out."""
    for path in COLLECTION.glob("plugins/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
            elif isinstance(node, ast.JoinedStr):
                yield "…".join(part.value for part in node.values if isinstance(part, ast.Constant))
    for path in COLLECTION.glob("roles/*/tasks/*.yml"):
        yield " ".join(path.read_text("utf-8").split())


def test_every_outcome_and_status_has_a_way_out() -> None:
    assert {*OUTCOMES, *VERDICTS, *ENDS, *STATUSES} <= quoted("Outcomes in the report of a guarded maintenance")
    documented: set[str] = set()
    for module in ("paperspace_snapshot", "paperspace_machine"):
        text = (COLLECTION / f"plugins/modules/{module}.py").read_text("utf-8")
        description = text.partition("\n    status:\n")[2].partition("type: str")[0]
        documented |= set(re.findall(r"V\((\w+)\)", description))
    text = (COLLECTION / "plugins/filter/recovery_rows.py").read_text("utf-8")
    documented |= set(re.findall(r"V\((\w+)\)", text.partition("C(status) is")[2].partition("type: list")[0]))
    assert len(documented) > 20
    named = quoted("The status of a snapshot or machine")
    assert {status for status in documented if not status.startswith("would_")} <= named
    assert "would_…" in named


def test_messages_are_those_of_the_collection() -> None:
    texts = [" ".join(text.split()) for text in texts_of_the_collection()]
    titles = (
        "Messages before anything begins",
        "Messages of the service",
        "Problems in the report of a guarded maintenance",
        "After a rollback",
    )
    messages = {text for text in quoted(*titles) if len(text.split()) > 3 and not text.startswith("-")}
    assert len(messages) > 20
    unknown = {
        message: fragment
        for message in messages
        for fragment in (part.strip() for part in message.split("…"))
        if len(fragment) > 3 and not any(fragment in text for text in texts)
    }
    assert not unknown


@follows(Part(TROUBLE))
def test_questions_of_who_is_in_trouble(reader: Reader) -> None:
    reader.use_real_machines()
    reader.type(f"{SNAPSHOT} web1")
    reader.spoil("web1")
    open_runs, machines, inventory = section(TROUBLE, "Three questions first")
    reader.follow(open_runs)
    assert "1 run is open on these machines" in reader.last.output
    reader.follow(machines)
    assert all(machine_id in reader.last.output for machine_id in reader.simulator.ids().values())
    reader.follow(inventory)
    assert all(machine_id in reader.last.output for machine_id in reader.simulator.ids().values())
    reader.values["SNAPSHOT_ID"] = reader.simulator.add_snapshot(reader.simulator.ids()["db1"], "useless")
    reader.follow_all(section(TROUBLE, "The status of a snapshot or machine"))
    assert not reader.simulator.snapshots(reader.simulator.ids()["db1"])
    shutil.rmtree(reader.folder / "paperspace-runs", ignore_errors=True)
    reader.follow_all(section(TROUBLE, "Everything is gone"))
    assert state(reader.simulator)["web1"] == ("1.0", "restored")
