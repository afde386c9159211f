# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import dataclasses
import html
import itertools
import json
import os
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from ansible_collections.community.paperspace.plugins.filter.recover_command import recover_command
from ansible_collections.community.paperspace.plugins.module_utils._errors import InputError
from ansible_collections.community.paperspace.plugins.module_utils._version import VERSION
from ansible_collections.community.paperspace.plugins.plugin_utils import _report, _report_text
from ansible_collections.community.paperspace.plugins.plugin_utils._report import (
    CLOSED,
    ENDS,
    KINDS,
    OUTCOMES,
    PHASES,
    RECONNECTS,
    REPORT_VERSION,
    SCOPES,
    STATUSES,
    VERDICTS,
    ChildReport,
    MachineReport,
    Reason,
    ReconnectReport,
    RollbackReport,
    RunReport,
    SnapshotReport,
    Span,
    claim_name,
    load_report,
    outcome_lines,
    report_files,
    write_report,
)
from ansible_collections.community.paperspace.plugins.plugin_utils._report_page import TEMPLATE
from ansible_collections.community.paperspace.plugins.plugin_utils._report_text import (
    MOST_ROWS,
    OUTCOME_TEXTS,
    reason_of,
)
from ansible_collections.community.paperspace.plugins.plugin_utils._text import clean, display_width, one_line
from report_samples import large_run

RUN = "20260131T235959Z-1a2b"
OPEN = f"maint-{RUN}"
# 2026-01-31T23:59:59.250Z
T = 1769903999.25


def closed(schema: Any) -> Any:
    """A schema without its room for later versions: for no other fields and words than those that it names."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("anyOf", [])[1:] == [{"type": "string"}]:
        words, dummy = schema["anyOf"]
        schema = {**{key: part for key, part in schema.items() if key != "anyOf"}, **words}
    only_these = {"additionalProperties": False} if schema.get("type") == "object" else {}
    return {**only_these, **{key: closed(part) for key, part in schema.items()}}


PUBLISHED = json.loads(Path(__file__).parents[4].joinpath("docs", "run-report.schema.json").read_text("utf-8"))
SCHEMA = closed(PUBLISHED)
VALIDATOR = jsonschema_rs.Draft202012Validator(SCHEMA)
MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])

PAGE_TAGS = set(re.findall(r"<([a-z]+[0-9]?)", TEMPLATE))

TEXT = st.one_of(st.text(), st.text("`|*_[]()<>!#~&;:/\\-+=1.$@ \n\r\tww\x1b[0m"))
TEXT_OR_NONE = st.none() | TEXT
# Milliseconds of the years 1970 to 9999.
TIMES = st.none() | st.integers(min_value=0, max_value=253402300799999).map(lambda number: number / 1000)
SPANS = st.builds(Span, began=TIMES, ended=TIMES)
REASONS = st.builds(Reason, host=TEXT_OR_NONE, task=TEXT_OR_NONE, error=TEXT)
MACHINES = st.builds(
    MachineReport,
    host=TEXT,
    machine_id=TEXT,
    wave=st.none() | st.integers(),
    outcome=st.sampled_from(OUTCOMES),
    verdict=st.sampled_from([None, *VERDICTS]),
    reason=st.none() | REASONS,
    snapshot=st.builds(SnapshotReport, id=TEXT_OR_NONE, name=TEXT_OR_NONE, status=TEXT_OR_NONE, error=TEXT_OR_NONE),
    rollback=st.none()
    | st.builds(RollbackReport, status=TEXT_OR_NONE, error=TEXT_OR_NONE, safety_snapshot_id=TEXT_OR_NONE),
    closed=st.sampled_from([None, *CLOSED]),
    close_error=TEXT_OR_NONE,
    reconnect=st.none() | st.builds(ReconnectReport, status=st.sampled_from(RECONNECTS), error=TEXT_OR_NONE),
    times=st.dictionaries(st.sampled_from(PHASES), SPANS),
)
CHILDREN = st.builds(
    ChildReport,
    wave=st.integers(),
    playbook=TEXT,
    rc=st.none() | st.integers(min_value=-300, max_value=300),
    began=TIMES,
    ended=TIMES,
)
REPORTS = st.builds(
    RunReport,
    run_id=st.just(RUN),
    version=st.just(REPORT_VERSION),
    prefix=TEXT,
    check_mode=st.booleans(),
    playbooks=st.lists(TEXT, max_size=3),
    scope=st.sampled_from(SCOPES),
    max_failures=st.integers(),
    wave_sizes=st.lists(st.integers(), max_size=3),
    machines=st.lists(MACHINES, max_size=4),
    status=st.sampled_from(STATUSES),
    ended_by=st.sampled_from([None, *ENDS]),
    problems=st.lists(TEXT, max_size=3),
    children=st.lists(CHILDREN, max_size=3),
    began=TIMES,
    ended=TIMES,
    inventory=st.lists(TEXT, max_size=3),
    limit=TEXT_OR_NONE,
    recover_variables=st.dictionaries(TEXT, TEXT, max_size=3),
    ansible_version=TEXT_OR_NONE,
    collection_version=TEXT,
    controller=TEXT_OR_NONE,
)
# Reports are large to generate.
PATIENT = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)


def machine(host: str = "web1", outcome: str = "ok", **fields: Any) -> MachineReport:
    return MachineReport(host, f"ps-{host}", 1, outcome, **fields)


def full_report() -> RunReport:
    """A report in which nothing is None or empty."""
    return RunReport(
        RUN,
        prefix="mine-",
        check_mode=True,
        playbooks=["patch.yml"],
        scope="wave",
        max_failures=1,
        wave_sizes=[1],
        machines=[
            MachineReport(
                "web1",
                "ps1",
                1,
                "rolled_back",
                "failed",
                Reason("web1", "Patch", "No."),
                SnapshotReport("ss1", f"mine-{RUN}-restored", "created", "None."),
                RollbackReport("restored", "None.", "ss2"),
                "restored",
                "None.",
                ReconnectReport("answers", "None."),
                {phase: Span(T, T + 1) for phase in PHASES},
            )
        ],
        status="failed",
        ended_by="end",
        problems=["One."],
        children=[ChildReport(1, "patch.yml", 2, T, T + 1)],
        began=T,
        ended=T + 60,
        inventory=["hosts.yml"],
        limit="web*",
        recover_variables={"recover_hosts": "web"},
        ansible_version="2.19.1",
        controller="controller1",
    )


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each object or list within the JSON, with each of its keys."""
    if isinstance(value, (dict, list)):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places(value[key])


def parsed(report: RunReport) -> list[Token]:
    return MARKDOWN.parse(report.to_markdown())


def shown(tokens: list[Token], opening: str) -> list[str]:
    """The text of each heading, cell or paragraph."""
    return [
        "".join(child.content for child in token.children or ())
        for before, token in itertools.pairwise(tokens)
        if before.type == opening
    ]


# The state


def test_a_report_begins_with_a_run_id_alone() -> None:
    report = RunReport(RUN)
    assert (report.version, report.status, report.prefix, report.collection_version) == (
        1,
        "running",
        "maint-",
        VERSION,
    )
    assert RunReport.from_dict(report.to_dict()) == report
    report.machines.append(MachineReport("web1", "ps1"))
    assert report.machines[0].outcome == "planned"
    # Nothing is shared between reports.
    assert RunReport(RUN).machines == []
    report.machines[0].snapshot.id = "ss1"
    assert MachineReport("web2", "ps2").snapshot.id is None


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_only_ok_and_untouched_are_success(outcome: str) -> None:
    report = RunReport(RUN, machines=[machine("web1"), machine("web2", outcome), machine("web3", "untouched")])
    is_good = outcome in ("ok", "untouched")
    assert report.is_success() is is_good
    assert report.failed_hosts() == ([] if is_good else ["web2"])


def test_a_problem_of_the_run_is_no_success() -> None:
    report = RunReport(RUN, machines=[machine()], problems=["The snapshots of older runs could not be deleted."])
    assert not report.is_success()
    assert report.failed_hosts() == []


@pytest.mark.parametrize(
    ("snapshot", "closed", "is_open"),
    [
        (SnapshotReport(), None, False),
        (SnapshotReport(status="failed", error="No."), None, False),
        # Whether it exists is not known.
        (SnapshotReport(status="unsure"), None, True),
        (SnapshotReport(status="timed_out"), None, True),
        (SnapshotReport(status="pending"), None, True),
        (SnapshotReport("ss1", OPEN, "created"), None, True),
        # It exists, and has the name, but did not come through.
        (SnapshotReport("ss1", OPEN, "failed"), None, True),
        (SnapshotReport("ss1", f"{OPEN}-ok", "created"), "ok", False),
        (SnapshotReport("ss1", f"{OPEN}-restored", "created"), "restored", False),
    ],
)
def test_a_run_is_open_for_a_machine_with_a_snapshot_that_is_not_closed(
    snapshot: SnapshotReport, closed: str | None, is_open: bool
) -> None:
    assert machine(snapshot=snapshot, closed=closed).is_open is is_open


# JSON


@PATIENT
@given(REPORTS)
def test_a_report_survives_json(report: RunReport) -> None:
    assert RunReport.from_dict(json.loads(json.dumps(report.to_dict()))) == report


@pytest.mark.parametrize(
    ("seconds", "text", "read"),
    [
        (T, "2026-01-31T23:59:59.250Z", T),
        (0.0, "1970-01-01T00:00:00.000Z", 0.0),
        (0, "1970-01-01T00:00:00.000Z", 0.0),
        (T + 0.0004, "2026-01-31T23:59:59.250Z", T),
        (T + 0.7496, "2026-02-01T00:00:00.000Z", 1769904000.0),
        (-0.001, "1969-12-31T23:59:59.999Z", -0.001),
    ],
)
def test_times_are_utc_text_with_milliseconds(seconds: float, text: str, read: float) -> None:
    fields = RunReport(RUN, began=seconds).to_dict()
    assert fields["began"] == text
    assert RunReport.from_dict(fields).began == read


def test_the_json_has_the_names_of_the_fields() -> None:
    fields = full_report().to_dict()
    assert fields["machines"][0]["snapshot"] == {
        "id": "ss1",
        "name": f"mine-{RUN}-restored",
        "status": "created",
        "error": "None.",
    }
    assert fields["machines"][0]["times"]["rollback"] == {
        "began": "2026-01-31T23:59:59.250Z",
        "ended": "2026-02-01T00:00:00.250Z",
    }
    assert fields["children"][0]["rc"] == 2


@pytest.mark.parametrize("fields", [None, [], "text", 5, {}, {"run_id": RUN}, [{"version": 1}]])
def test_what_has_no_version_is_no_report(fields: Any) -> None:
    with pytest.raises(InputError, match=r"^It is not the report of a run: it has no version\.$"):
        RunReport.from_dict(fields)


@pytest.mark.parametrize("version", [0, 2, "1", None, True, 1.5])
def test_a_report_of_another_version_is_refused(version: Any) -> None:
    # Whatever else it may have.
    with pytest.raises(InputError, match=r"report of version .* reads version 1\.$"):
        RunReport.from_dict({"version": version, "new": "field"})


@pytest.mark.parametrize(
    ("place", "key", "value", "message"),
    [
        ((), "run_id", "yesterday", "run_id is 'yesterday'."),
        ((), "run_id", "../../etc/passwd", "run_id is '../../etc/passwd'."),
        ((), "run_id", None, "run_id: None is no str."),
        ((), "check_mode", 1, "check_mode: 1 is no bool."),
        ((), "max_failures", True, "max_failures: True is no int."),
        ((), "scope", "all", "scope: 'all' is none of failed, wave, fleet."),
        ((), "ended_by", "", "ended_by: '' is none of end, sigint, sigterm, parent_died, guardian_died, error."),
        ((), "status", [], "status: [] is none of running, succeeded, failed."),
        ((), "began", T, f"began: {T} is no time like 2026-01-31T23:59:59.000Z."),
        ((), "began", "2026-01-31T23:59:59Z", "began: '2026-01-31T23:59:59Z' is no time like"),
        ((), "began", "2026-01-32T23:59:59.000Z", "began: '2026-01-32T23:59:59.000Z' is no time like"),
        ((), "machines", {}, "machines: {} is no list."),
        ((), "recover_variables", {"a": 1}, "recover_variables.a: 1 is no str."),
        ((), "other", 1, "there is an unknown 'other'."),
        (("machines", 0), "wave", 1.0, "machines.0.wave: 1.0 is no int."),
        (("machines", 0), "reason", "No.", "machines.0.reason: 'No.' is no object."),
        (("machines", 0), "snapshot", None, "machines.0.snapshot: None is no object."),
        (("machines", 0, "times"), "lunch", {"began": None, "ended": None}, "machines.0.times: 'lunch' is none of"),
        (("machines", 0, "times", "rollback"), "ended", "", "machines.0.times.rollback.ended: '' is no time like"),
        (("children", 0), "rc", "2", "children.0.rc: '2' is no int."),
    ],
)
def test_a_report_with_wrong_parts_is_refused(place: tuple[Any, ...], key: str, value: Any, message: str) -> None:
    fields = full_report().to_dict()
    part = fields
    for step in place:
        part = part[step]
    part[key] = value
    with pytest.raises(InputError, match=re.escape(f"It is not the report of a run: {message}")):
        RunReport.from_dict(fields)


def test_every_field_is_required() -> None:
    complete = full_report().to_dict()
    for number, (part, key) in enumerate(places(complete)):
        if isinstance(part, list) or part is complete["machines"][0]["times"] or part is complete["recover_variables"]:
            continue
        fields = copy.deepcopy(complete)
        same_part, dummy = list(places(fields))[number]
        del same_part[key]
        with pytest.raises(InputError, match=f"there is no '{key}'|it has no version"):
            RunReport.from_dict(fields)


# The schema


def schema_objects() -> dict[str, dict[str, Any]]:
    return {"run": SCHEMA, **{name: part for name, part in SCHEMA["$defs"].items() if part["type"] == "object"}}


def test_the_schema_is_one() -> None:
    jsonschema_rs.meta.validate(SCHEMA)


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("run", RunReport),
        ("machine", MachineReport),
        ("reason", Reason),
        ("snapshot", SnapshotReport),
        ("rollback", RollbackReport),
        ("reconnect", ReconnectReport),
        ("span", Span),
        ("child", ChildReport),
    ],
)
def test_the_schema_has_the_fields_of_the_classes(name: str, cls: Any) -> None:
    part = schema_objects()[name]
    fields = {field.name for field in dataclasses.fields(cls)}
    assert set(part["properties"]) == fields
    assert set(part["required"]) == fields


def test_the_schema_describes_everything_and_leaves_nothing_open() -> None:
    properties = [
        (name, key, value) for name, part in schema_objects().items() for key, value in part["properties"].items()
    ]
    times = SCHEMA["$defs"]["machine"]["properties"]["times"]
    properties += [("times", key, value) for key, value in times["properties"].items()]
    assert [(name, key) for name, key, value in properties if len(value.get("description", "")) < 5] == []
    assert len(schema_objects()) == 8
    assert all(part["additionalProperties"] is False for part in [*schema_objects().values(), times])


def test_the_published_schema_leaves_room_for_fields_and_words_of_later_versions() -> None:
    published = jsonschema_rs.Draft202012Validator(PUBLISHED)
    today = full_report().to_dict()
    published.validate(today)
    words = {"scope", "status", "ended_by", "outcome", "verdict", "closed"}
    for number, (part, key) in enumerate(places(today)):
        later = copy.deepcopy(today)
        same_part, dummy = list(places(later))[number]
        if isinstance(part, dict):
            same_part["invented_later"] = "invented_later"
        if key in words:
            same_part[key] = "invented_later"
        published.validate(later)
        assert VALIDATOR.is_valid(later) is (isinstance(part, list) or part is today["recover_variables"])


def test_the_schema_has_the_words_of_the_code() -> None:
    run, machine_ = SCHEMA["properties"], SCHEMA["$defs"]["machine"]["properties"]
    assert run["version"]["const"] == REPORT_VERSION
    assert run["scope"]["enum"] == list(SCOPES)
    assert run["status"]["enum"] == list(STATUSES)
    assert run["ended_by"]["enum"] == [*ENDS, None]
    assert machine_["outcome"]["enum"] == list(OUTCOMES)
    assert machine_["verdict"]["enum"] == [*VERDICTS, None]
    assert machine_["closed"]["enum"] == [*CLOSED, None]
    assert list(machine_["times"]["properties"]) == list(PHASES)
    assert SCHEMA["$defs"]["reconnect"]["properties"]["status"]["enum"] == list(RECONNECTS)
    # Each is explained where it stands.
    assert all(f"{word}: " in machine_["outcome"]["description"] for word in OUTCOMES)
    assert all(f"{word}: " in machine_["verdict"]["description"] for word in VERDICTS)


def test_simple_reports_are_as_the_schema_says() -> None:
    VALIDATOR.validate(RunReport(RUN).to_dict())
    VALIDATOR.validate(full_report().to_dict())


@PATIENT
@given(REPORTS)
def test_any_report_is_as_the_schema_says(report: RunReport) -> None:
    VALIDATOR.validate(report.to_dict())


@PATIENT
@given(REPORTS, st.data())
def test_code_and_schema_refuse_the_same(report: RunReport, data: st.DataObject) -> None:
    fields = report.to_dict()
    part, key = data.draw(st.sampled_from(list(places(fields))))
    change = data.draw(st.sampled_from(["set", "delete", "add"]))
    value = data.draw(st.sampled_from([None, True, 1.5, 7, "text", [], {}, ["text"], {"text": "text"}]))
    if change == "delete":
        del part[key]
    elif isinstance(part, list):
        part.append(value)
    else:
        part[key if change == "set" else "another"] = value
    try:
        RunReport.from_dict(fields)
        is_accepted = True
    except InputError:
        is_accepted = False
    assert VALIDATOR.is_valid(fields) is is_accepted


# Files


def test_a_report_is_written_for_its_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "runs"
    umask = os.umask(0)
    try:
        paths = json_path, markdown_path, html_path = write_report(full_report(), folder)
    finally:
        os.umask(umask)
    assert json_path == folder / f"{RUN}.json"
    assert markdown_path == folder / f"{RUN}.md"
    assert html_path == folder / f"{RUN}.html"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in paths] == [0o600] * 3
    assert sorted(folder.iterdir()) == sorted(paths)
    assert load_report(json_path) == full_report()
    assert markdown_path.read_text(encoding="utf-8") == full_report().to_markdown()
    assert html_path.read_text(encoding="utf-8") == full_report().to_html()


def test_a_report_is_replaced_and_the_folder_left_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / f"{RUN}.json").write_text("old")
    (tmp_path / f"{RUN}.json").chmod(0o644)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("not to be touched")
    (tmp_path / f"{RUN}.md").symlink_to(elsewhere)
    paths = write_report(RunReport(RUN), tmp_path)
    assert load_report(paths[0]) == RunReport(RUN)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert [stat.S_IMODE(path.lstat().st_mode) for path in paths] == [0o600] * 3
    assert elsewhere.read_text() == "not to be touched"


@pytest.mark.parametrize("culprit", ["os.fsync", "pathlib.Path.replace"])
def test_a_report_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, culprit: str
) -> None:
    paths = write_report(RunReport(RUN), tmp_path)
    old = [path.read_bytes() for path in paths]

    def fail(*dummy: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(culprit, fail)
    with pytest.raises(OSError, match="No space left"):
        write_report(full_report(), tmp_path)
    monkeypatch.undo()
    assert [path.read_bytes() for path in paths] == old
    assert sorted(tmp_path.iterdir()) == sorted(paths)


def test_what_is_written_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        steps.append("fsync of the folder" if is_folder else f"fsync of {os.fstat(descriptor).st_size > 0}")
        fsync(descriptor)

    def noted_replace(self: Path, target: Path) -> Path:
        steps.append(f"replace {target.name}")
        assert self.parent == target.parent
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(Path, "replace", noted_replace)
    write_report(RunReport(RUN), tmp_path)
    assert steps == [
        "fsync of True",
        f"replace {RUN}.html",
        "fsync of the folder",
        "fsync of True",
        f"replace {RUN}.md",
        "fsync of the folder",
        "fsync of True",
        f"replace {RUN}.json",
        "fsync of the folder",
    ]


def test_only_files_that_hold_just_this_report_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = RunReport(RUN, began=1.0004)
    assert report_files(report, tmp_path) == []
    written = write_report(report, tmp_path)
    # As it comes from the guardian.
    assert report_files(RunReport.from_dict(report.to_dict()), tmp_path) == list(written)
    report.status = "failed"
    assert report_files(report, tmp_path) == []
    # The disk is full at one of the files.
    for kind in KINDS:
        replaced = Path.replace

        def fail(self: Path, target: Path, kind: str = kind, replaced: Any = replaced) -> Path:
            if Path(target).suffix == f".{kind}":
                raise OSError("No space left on device")
            moved: Path = replaced(self, target)
            return moved

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", fail)
            with pytest.raises(OSError, match="No space"):
                write_report(report, tmp_path)
        assert report_files(report, tmp_path) == []
    assert report_files(report, tmp_path) == []
    write_report(report, tmp_path)
    assert report_files(report, tmp_path) == list(written)
    written[0].write_text("no report")
    assert report_files(report, tmp_path) == []


def test_a_file_system_that_cannot_sync_folders_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def fail_for_folders(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError("Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail_for_folders)
    path = write_report(RunReport(RUN), tmp_path)[0]
    assert load_report(path) == RunReport(RUN)


def test_a_folder_that_cannot_be_is_an_oserror(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        write_report(RunReport(RUN), tmp_path / "file")


def test_each_report_of_a_run_has_a_name_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda dummy: claim_name(RUN, folder), range(40)))
    assert sorted(found) == sorted([RUN, *(f"{RUN}-{number}" for number in range(2, 41))])
    assert stat.S_IMODE((folder / f"{RUN}.log").stat().st_mode) == 0o600
    other = "20260131T235959Z-ffff"
    assert claim_name(other, folder) == other


@pytest.mark.parametrize("kind", ["json", "md", "html", "log"])
def test_name_of_what_is_there_is_not_given_again(tmp_path: Path, kind: str) -> None:
    (tmp_path / f"{RUN}.{kind}").touch()
    (tmp_path / f"{RUN}-2.log").symlink_to("nowhere")
    assert claim_name(RUN, tmp_path) == f"{RUN}-3"


def test_reports_of_one_run_stand_side_by_side(tmp_path: Path) -> None:
    first, second = RunReport(RUN), full_report()
    write_report(first, tmp_path)
    paths = write_report(second, tmp_path, f"{RUN}-2")
    assert [path.name for path in paths] == [f"{RUN}-2.json", f"{RUN}-2.md", f"{RUN}-2.html"]
    assert report_files(second, tmp_path, f"{RUN}-2") == list(paths)
    assert report_files(second, tmp_path) == []
    assert load_report(tmp_path / f"{RUN}.json") == first


@pytest.mark.parametrize("run_id", ["", "../up", "20260131T235959Z-1a2b/../x"])
def test_a_run_id_that_would_lead_elsewhere_is_refused(tmp_path: Path, run_id: str) -> None:
    with pytest.raises(ValueError, match="is not a run id"):
        write_report(RunReport(run_id), tmp_path / "runs")
    assert list(tmp_path.iterdir()) == []


def test_the_json_is_ascii_and_keeps_names_that_are_no_utf8(tmp_path: Path) -> None:
    report = RunReport(RUN, machines=[machine("caf\udce9 \x1b[31m\x9b m\u00fcller")])
    json_path, markdown_path, html_path = write_report(report, tmp_path)
    content = json_path.read_bytes()
    assert content.isascii()
    assert b"\x1b" not in content
    assert load_report(json_path) == report
    for path in (markdown_path, html_path):
        assert "caf\ufffd" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is not JSON."),
        (b'{"version": 1', "it is not JSON."),
        (b"\xff\xfe\xfa", "it is not JSON."),
        (b"[" * 100_000, "it is not JSON."),
        (b"[]", "it has no version."),
        (b'{"version": 1}', "there is no '"),
        (b'{"version": 2}', "report of version 2; "),
    ],
)
def test_a_file_that_holds_no_report_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / f"{RUN}.json"
    path.write_bytes(content)
    with pytest.raises(InputError) as raised:
        load_report(path)
    assert str(raised.value).startswith(f"{path} cannot be used. It is ")
    assert message in str(raised.value)


def test_a_file_that_is_not_there_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_report(str(tmp_path / f"{RUN}.json"))


# Markdown


def story() -> RunReport:
    """A run in which most things went wrong."""
    return RunReport(
        RUN,
        playbooks=["patch.yml", "verify.yml"],
        wave_sizes=[6, 1],
        status="failed",
        ended_by="sigint",
        machines=[
            machine("web1", verdict="ok", snapshot=SnapshotReport("ss1", f"{OPEN}-ok", "created"), closed="ok"),
            machine(
                "web2",
                "rolled_back",
                verdict="failed",
                reason=Reason("web2", "Patch", "No package nginx.\nTry again."),
                snapshot=SnapshotReport("ss2", f"{OPEN}-restored", "created"),
                rollback=RollbackReport("restored", None, "ss9"),
                closed="restored",
                reconnect=ReconnectReport("answers"),
                times={"maintenance": Span(T, T + 61), "rollback": Span(T + 61, T + 61 + 3720)},
            ),
            machine(
                "web3",
                "rollback_failed",
                verdict="incomplete",
                reason=Reason("localhost", "Drain", "Refused."),
                snapshot=SnapshotReport("ss3", OPEN, "created"),
                rollback=RollbackReport("unsure", "The API does not show it."),
                times={"rollback": Span(T, None)},
            ),
            machine("web4", "no_snapshot", snapshot=SnapshotReport(None, None, "failed", "The quota is used up.")),
            machine(
                "web5",
                "rolled_back",
                verdict="unreachable",
                reason=Reason("web5", None, "No route to host."),
                snapshot=SnapshotReport("ss5", OPEN, "created"),
                close_error="The name is taken.",
                reconnect=ReconnectReport("silent", "timed out"),
            ),
            machine("web6", "untouched", verdict="untouched"),
            MachineReport("web7", "ps-web7", 2, "not_started"),
        ],
        problems=["The snapshots of older runs could not be deleted."],
        children=[ChildReport(1, "patch.yml", 2, T, T + 10.5), ChildReport(1, "verify.yml", -9)],
        began=T,
        ended=T + 7384,
        inventory=["hosts.yml", "web1,web2,"],
        limit="web*:!web9",
        recover_variables={"recover_hosts": "web"},
        ansible_version="2.19.1",
        controller="controller1",
    )


def test_the_markdown_tells_the_story() -> None:
    text = story().to_markdown()
    tokens = MARKDOWN.parse(text)
    headings = shown(tokens, "heading_open")
    assert headings == [
        f"Maintenance run {RUN}",
        "Totals",
        "Machines",
        "What happened",
        *("web2", "web3", "web4", "web5"),
        "Playbooks that were run",
        "Problems",
        "What to do",
    ]
    paragraphs = shown(tokens, "paragraph_open")
    assert paragraphs[0] == (
        "The run was stopped by SIGINT (Ctrl-C), and 5 of 7 machines are not ok; 1 problem came up. "
        "2 snapshots are still open."
    )
    assert "Took: 2 h 03 min" in paragraphs
    assert "Waves: 6, 1" in paragraphs
    assert "Failure budget: 0 machines" in paragraphs
    assert "Rolled back on failure: the machines that failed" in paragraphs
    assert "| web1 | ps-web1 | 1 | ok | maintained | maint-20260131T235959Z-1a2b-ok |\n" in text
    assert "| web5 | ps-web5 | 1 | unreachable | rolled back, does not answer, not closed |" in text
    assert "| web7 | ps-web7 | 2 | - | left alone (wave not started) | \\- |\n" in text
    assert "| rolled back | 2 |\n" in text
    assert "| all | 7 |\n" in text
    assert "| 1 | patch.yml | 2 | 2026-01-31 23:59:59 UTC | 2026-02-01 00:00:09 UTC | 10.5 s |\n" in text
    assert "| 1 | verify.yml | -9 (SIGKILL) | - | - | - |\n" in text
    assert "- The snapshots of older runs could not be deleted.\n" in text


def test_each_section_says_why_what_was_done_and_when() -> None:
    text = story().to_markdown()
    sections = dict(part.split("\n", 1) for part in re.split(r"^###? ", text, flags=re.MULTILINE)[1:])
    assert sections["web2"] == (
        "\nIt failed in the task Patch:\n\n"
        "```text\nNo package nginx.\nTry again.\n```\n\n"
        "It was put back to its snapshot.\n"
        "It answers to Ansible again.\n"
        "Its state before the rollback is in the snapshot ss9.\n\n"
        "| Phase | Began | Ended | Took |\n| --- | --- | --- | --- |\n"
        "| maintenance | 2026-01-31 23:59:59 UTC | 2026-02-01 00:01:00 UTC | 1 min 01 s |\n"
        "| rollback | 2026-02-01 00:01:00 UTC | 2026-02-01 01:03:00 UTC | 1 h 02 min |\n\n"
    )
    assert (
        "It had not run everything when the playbook ended in the task Drain on the host localhost:\n"
        in sections["web3"]
    )
    assert "not proven to be put back" in sections["web3"]
    assert "Its rollback did not come through:\n\n```text\nThe API does not show it.\n" in sections["web3"]
    assert "| rollback | 2026-01-31 23:59:59 UTC | - | - |" in sections["web3"]
    assert "nothing was run on it" in sections["web4"]
    assert "```text\nThe quota is used up.\n" in sections["web4"]
    assert "It could not be reached:\n\n```text\nNo route to host.\n" in sections["web5"]
    assert "It does not answer to Ansible:\n\n```text\ntimed out\n" in sections["web5"]
    assert "Its snapshot could not be closed:\n\n```text\nThe name is taken.\n" in sections["web5"]


def test_what_to_do_has_the_commands_of_recover() -> None:
    tokens = parsed(story())
    commands = [token.content.strip() for token in tokens if token.type == "fence" and token.info == "shell"]
    assert commands == [
        # The documented way to make them.
        recover_command(RUN, action, ["hosts.yml", "web1,web2,"], limit, {"recover_hosts": "web"})
        for action, limit in (("list", "web*:!web9"), ("rollback", "web*:!web9:!web5"), ("keep", "web*:!web9:!web3"))
    ]
    paragraphs = shown(tokens, "paragraph_open")
    assert "The run is still open on 2 machines: web3, web5." in paragraphs
    assert "To put web3 back, which destroys what has changed on their disks since:" in paragraphs
    assert "To close the run on web5 and leave them as they are:" in paragraphs
    assert "As long as the run goes on" not in story().to_markdown()


def test_the_commands_name_a_prefix_that_is_not_the_usual_one() -> None:
    report = RunReport(RUN, prefix="my own-", machines=[machine(snapshot=SnapshotReport("ss1"))])
    tokens = parsed(report)
    commands = [token.content.strip() for token in tokens if token.type == "fence"]
    assert commands[1] == recover_command(RUN, "keep", variables={"recover_prefix": "my own-"})
    assert any("As long as the run goes on" in text for text in shown(tokens, "paragraph_open"))


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_only_what_is_unfinished_is_to_be_rolled_back(outcome: str) -> None:
    """Whoever pastes the command for a machine that came through must not lose what was done to it."""
    report = RunReport(RUN, status="failed", machines=[machine("web1", outcome, snapshot=SnapshotReport("ss1", OPEN))])
    is_unfinished = outcome in ("maintaining", "rolling_back", "rollback_failed")
    assert (_report_text.rollback_command(report) is not None) == is_unfinished
    assert (_report_text.keep_command(report) is None) == is_unfinished
    actions = [shlex.split(command)[-1] for _what, command in _report_text.commands_to_resolve(report)]
    kept = ["rollback", "keep"] if is_unfinished else ["keep"]
    assert actions == [f"recover_action={action}" for action in ("list", *kept)]
    report.machines[0].closed = "ok"
    assert _report_text.rollback_command(report) is _report_text.keep_command(report) is None


def shared_report(limit: str | None = None, other: str = "web2") -> RunReport:
    """One machine is open, and another is left to another controller of the run."""
    lost = machine("web1", "rollback_failed", snapshot=SnapshotReport("ss1", OPEN, "created"))
    left = machine(other, "no_snapshot", snapshot=SnapshotReport("ss2", OPEN, "unchanged"))
    return RunReport(RUN, status="failed", limit=limit, machines=[lost, left, machine("web3")])


def test_machine_of_another_controller_is_not_open_and_said_to_be_left_to_it() -> None:
    report = shared_report()
    assert [each.is_open for each in report.machines] == [True, False, False]
    assert "left to another controller" in "\n".join(outcome_lines(report))
    text = report.to_markdown()
    assert "The run is still open on 1 machine: web1." in text
    assert "Another controller of this run maintains it." in text
    assert "no proven snapshot" not in text


@pytest.mark.parametrize("limit", [None, "all", "web1:web2", "w*:!web3", "web1,web2", "w*,!web3", "web2"])
@pytest.mark.parametrize("other", ["web2", "web[2", "we,b2", "fe80::2", "~web2", "web 2"])
def test_commands_do_not_reach_machines_of_another_controller(limit: str | None, other: str) -> None:
    words = shlex.split(_report_text.recover_command(shared_report(limit, other), "rollback"))
    inventory = InventoryManager(loader=DataLoader(), sources=[])
    for host in ("web1", other, "web3"):
        inventory.add_host(host)
    inventory.reconcile_inventory()
    before = {host.name for host in selected(inventory, limit)}
    after = {host.name for host in selected(inventory, words[words.index("-l") + 1])}
    assert after == before - {other}


def selected(inventory: InventoryManager, limit: str | None) -> list[Any]:
    inventory.subset(limit)
    found: list[Any] = inventory.get_hosts("all")
    return found


def test_many_open_machines_are_not_all_named_at_the_end() -> None:
    machines = [machine(f"web{number}", snapshot=SnapshotReport("ss1")) for number in range(25)]
    text = RunReport(RUN, machines=machines).to_markdown()
    assert "still open on 25 machines: web0, " in text
    assert "web19 and 5 more.\n" in text


def test_of_many_machines_not_all_are_named() -> None:
    machines = [machine(f"web{number}") for number in range(22)]
    assert _report_text.names([]) == ""
    assert _report_text.names(machines[:20]) == ", ".join(f"web{number}" for number in range(20))
    assert _report_text.names(machines).endswith(", web19 and 2 more")


def test_when_nothing_is_open_there_is_nothing_to_do() -> None:
    report = RunReport(RUN, status="succeeded", ended_by="end", machines=[machine(), machine("web2", "untouched")])
    text = report.to_markdown()
    assert "**The run came to its end, and all 2 machines are ok.**\n" in text
    for heading in ("What happened", "Playbooks", "Problems", "What to do"):
        assert f"## {heading}" not in text


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "The run has not ended; this is how far it had come when this was written."),
        ({"status": "succeeded", "ended_by": "end"}, "The run came to its end, and the machine is ok."),
        ({"status": "failed", "ended_by": "sigterm"}, "The run was stopped by SIGTERM, and the machine is ok."),
        (
            {"status": "failed", "ended_by": "end", "problems": ["a", "b"]},
            "The run came to its end, and the machine is ok; 2 problems came up.",
        ),
        (
            {"status": "failed", "ended_by": "parent_died", "machines": [machine(outcome="not_started")]},
            "The run was ended because its ansible-playbook died, and 1 of 1 machine is not ok.",
        ),
        (
            {"status": "failed", "ended_by": "guardian_died"},
            "The run broke off because the process that guarded it died, and the machine is ok.",
        ),
        ({"status": "failed", "ended_by": "error", "machines": []}, "The run was ended by an error."),
    ],
)
def test_one_sentence_says_how_the_run_ended(fields: dict[str, Any], sentence: str) -> None:
    report = RunReport(RUN, **{"machines": [machine()], **fields})
    assert shown(parsed(report), "paragraph_open")[0] == sentence


def test_machines_that_never_had_their_turn_stand_in_the_table_alone() -> None:
    begun = machine("web3", "planned", times={"snapshot": Span(T)})
    report = RunReport(RUN, machines=[machine("web1", "not_started"), machine("web2", "planned"), begun])
    assert shown(parsed(report), "heading_open") == [
        f"Maintenance run {RUN}",
        "Totals",
        "Machines",
        "What happened",
        "web3",
    ]


def test_a_good_machine_that_could_not_be_closed_has_a_section() -> None:
    report = RunReport(RUN, machines=[machine(snapshot=SnapshotReport("ss1", OPEN), close_error="Lost.")])
    text = report.to_markdown()
    assert "### web1\n\nIt was maintained.\n\nIts snapshot could not be closed:\n\n```text\nLost.\n```\n" in text


@pytest.mark.parametrize(
    ("scope", "others"), [("wave", "the others of its wave"), ("fleet", "the whole fleet"), ("failed", "the others")]
)
def test_a_good_machine_that_was_rolled_back_with_others_is_told_apart(scope: str, others: str) -> None:
    report = RunReport(RUN, scope=scope, machines=[machine(outcome="rolled_back", verdict="ok")])
    assert f"It was put back to its snapshot together with {others}.\n" in report.to_markdown()


def test_a_check_says_what_a_run_would_do() -> None:
    report = RunReport(
        RUN,
        check_mode=True,
        status="failed",
        ended_by="end",
        machines=[
            machine("web1", verdict="ok"),
            machine("web2", "maintaining", verdict="failed", reason=Reason("web2", "Patch", "No.")),
            machine("web3", "planned"),
        ],
    )
    text = report.to_markdown()
    assert "This was a check: no snapshot was taken and nothing was rolled back.\n" in text
    assert "| web1 | ps-web1 | 1 | ok | would be kept |" in text
    assert "| web2 | ps-web2 | 1 | failed | would be rolled back |" in text
    assert "| web3 | ps-web3 | 1 | - | nothing yet |" in text
    assert "```\n\nIt would be rolled back.\n" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (59.9, "59.9 s"),
        (60, "1 min 00 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (-7200, "-7200.0 s"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert f"- Took: {text.replace('-', chr(92) + '-')}\n" in RunReport(RUN, began=T, ended=T + seconds).to_markdown()


@PATIENT
@given(REPORTS)
def test_no_text_breaks_the_markdown(report: RunReport) -> None:
    tokens = parsed(report)
    inline = [child for token in tokens if token.type == "inline" for child in token.children or ()]
    assert {token.type for token in inline} <= {"text", "softbreak", "strong_open", "strong_close"}
    assert [token.type for token in inline].count("strong_open") == 1
    # Besides what this report consists of there is nothing: no HTML, no quotations, no lists in lists.
    kinds = {"heading", "paragraph", "bullet_list", "list_item", "table", "thead", "tbody", "tr", "th", "td"}
    assert {re.sub("_(open|close)$", "", token.type) for token in tokens} <= {*kinds, "inline", "fence"}
    assert max(token.level for token in tokens if token.type == "bullet_list_open") == 0

    headings = shown(tokens, "heading_open")
    hosts = [one_line(machine.host) or "-" for machine in report.machines]
    assert [text for text in headings if text not in hosts][:3] == [f"Maintenance run {RUN}", "Totals", "Machines"]
    cells = shown(tokens, "td_open")
    machine_cells = [cells[start : start + 6] for start in range(len(cells) - 5)]
    for machine, host in zip(report.machines, hosts, strict=True):
        wave = "-" if machine.wave is None else str(machine.wave)
        expected = [host, one_line(machine.machine_id) or "-", wave, machine.verdict or "-"]
        assert any(
            row[:4] == expected and row[5] == (one_line(machine.snapshot.name or "") or "-") for row in machine_cells
        )

    fences = {token.content for token in tokens if token.type == "fence"}
    for machine in report.machines:
        # Why a wave was not started is the same for all in it.
        if machine.reason and machine.outcome != "not_started":
            assert clean(machine.reason.error).strip("\n") + "\n" in fences
    problems = [one_line(problem) or "-" for problem in report.problems]
    if problems:
        assert [text for text in shown(tokens, "paragraph_open") if text in problems] == problems


@PATIENT
@given(REPORTS)
def test_no_text_breaks_the_page(report: RunReport) -> None:
    page = report.to_html()
    assert page.replace("\n", "").isprintable()
    assert page.encode()
    hosts = [html.unescape(host) for host in re.findall("<h3>(.*?)</h3>", page)]
    assert hosts == [one_line(machine.host) or "-" for machine in report.machines]
    # What is left when the text is taken out does not depend on the text.
    tags = re.findall(r"<([a-z]+[0-9]?)", page)
    assert set(tags) <= PAGE_TAGS
    assert [tags.count(name) for name in ("html", "head", "title", "style", "script", "body", "h1")] == [1] * 7
    messages = [html.unescape(message) for message in re.findall("<pre>(?!<code>)(.*?)</pre>", page, re.DOTALL)]
    for machine in report.machines:
        if machine.reason and machine.outcome != "not_started":
            assert clean(machine.reason.error).strip("\n") in messages


def test_every_outcome_has_its_words() -> None:
    assert list(OUTCOME_TEXTS) == list(OUTCOMES)
    assert len(set(OUTCOME_TEXTS.values())) == len(OUTCOMES)


def test_no_part_of_this_loads_ansible() -> None:
    # The guardian is a process without ansible-core.
    modules = ("_report", "_report_html", "_report_text", "_text", "_waves")
    imports = "; ".join(f"import {_report.__package__}.{name}" for name in modules)
    command = f"import sys; sys.path.insert(0, sys.argv[1]); {imports}; print('ansible' in sys.modules)"
    root = Path(_report.__file__).parents[5]
    result = subprocess.run(
        [sys.executable, "-c", command, str(root)], check=True, stdout=subprocess.PIPE, text=True, timeout=60
    )
    assert result.stdout == "False\n"


# The last message


def test_the_last_lines_name_machines_reasons_and_what_was_done() -> None:
    assert outcome_lines(story()) == [
        "HOST  VERDICT      WHAT WAS DONE",
        "web1  ok           maintained",
        "web2  failed       rolled back",
        "    Patch: No package nginx. Try again.",
        "web3  incomplete   rollback failed",
        "    Drain on localhost: Refused.",
        "    Its rollback did not come through: The API does not show it.",
        "web4  -            left alone (no proven snapshot)",
        "    Its snapshot did not come through: The quota is used up.",
        "web5  unreachable  rolled back, does not answer, not closed",
        "    No route to host.",
        "    It does not answer to Ansible: timed out",
        "    Its snapshot could not be closed: The name is taken.",
        "web6  untouched    left as it was",
        "web7  -            left alone (wave not started)",
        "7 machines: 1 maintained, 2 rolled back, 1 rollback failed, 1 left",
        "alone (no proven snapshot), 1 left as it was, 1 left alone (wave not",
        "started).",
    ]


def test_the_same_reason_stands_once_for_machines_in_a_row() -> None:
    reason = Reason(None, "Patch", "The mirror is down.")
    machines = [machine(f"web{number}", "rolled_back", verdict="failed", reason=reason) for number in (1, 2)]
    assert outcome_lines(RunReport(RUN, machines=[*machines, machine("web3", verdict="ok")]))[1:5] == [
        "web1  failed   rolled back",
        "web2  failed   rolled back",
        "    Patch: The mirror is down.",
        "web3  ok       maintained",
    ]


def test_error_of_a_snapshot_that_is_the_whole_reason_stands_once() -> None:
    full = "The quota is used up."
    lost = machine("web1", "no_snapshot", reason=Reason("web1", None, full), snapshot=SnapshotReport(error=full))
    report = RunReport(RUN, machines=[lost])
    assert outcome_lines(report)[2:-1] == [f"    Its snapshot did not come through: {full}"]
    for text in (report.to_markdown(), report.to_html()):
        assert text.count(full) == 1
        assert text.count("Its snapshot did not come through:") == 1
        assert "It met an error" not in text


def test_a_long_reason_is_shortened() -> None:
    reason = Reason("web1", "Patch", "word " * 1000)
    lines = outcome_lines(RunReport(RUN, machines=[machine(outcome="rolled_back", verdict="failed", reason=reason)]))
    assert len(lines) == 6
    assert lines[4].endswith("...")


def test_of_a_large_fleet_only_what_needs_a_look_is_listed() -> None:
    machines = [machine(f"web{number}", verdict="ok") for number in range(MOST_ROWS + 1)]
    assert outcome_lines(RunReport(RUN, machines=machines)) == ["51 machines: 51 maintained."]
    machines[7].close_error = "Lost."
    machines[9].outcome = "rolled_back"
    machines[11].outcome = "not_started"
    lines = outcome_lines(RunReport(RUN, machines=machines))
    assert [line.split()[0] for line in lines] == ["HOST", "web7", "Its", "web9", "51", "started)."]
    assert " ".join(lines[-2:]) == "51 machines: 49 maintained, 1 rolled back, 1 left alone (wave not started)."
    assert len(outcome_lines(RunReport(RUN, machines=machines[:MOST_ROWS]))) == 1 + MOST_ROWS + 1 + 2


def test_a_run_without_machines_has_a_last_line() -> None:
    assert outcome_lines(RunReport(RUN)) == ["0 machines: none."]


@PATIENT
@given(REPORTS, st.sampled_from([20, 40, 80, 132]))
def test_the_last_lines_fit_and_hold_nothing_that_acts_on_a_terminal(report: RunReport, width: int) -> None:
    lines = outcome_lines(report, width)
    assert all(line.isprintable() and display_width(line) <= width for line in lines)
    assert len(lines) > len(report.machines)


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("host", ["h" * 300, "\u65e5" * 300])
def test_eighty_columns_are_enough_for_all_that_is_said(outcome: str, host: str) -> None:
    worst = machine(host, outcome, verdict="unreachable", close_error="Lost.")
    notes = "not closed"
    if outcome.startswith("roll"):
        worst.reconnect = ReconnectReport("silent")
        notes = f"does not answer, {notes}"
    report = RunReport(RUN, machines=[worst])
    row = outcome_lines(report)[1]
    name, *rest = row.split("  ", 1)
    assert rest == [f"unreachable  {OUTCOME_TEXTS[outcome]}, {notes}"]
    head, tail = name.split("...")
    assert host.startswith(head)
    assert host.endswith(tail)
    assert head
    assert tail
    assert max(map(display_width, as_debug_shows(report))) <= 80


def as_debug_shows(report: RunReport) -> list[str]:
    """The lines on the terminal, as the callback plugin default has them."""
    shown = json.dumps({"msg": outcome_lines(report)}, indent=4, ensure_ascii=False).splitlines()
    # The last is without the comma of those before.
    return [f"{line.removesuffix(',')}," for line in shown if line.startswith(" " * 8)]


def test_a_reason_without_words_is_told_though_the_snapshot_has_an_error_without_words() -> None:
    wordless = machine(reason=Reason(None, None, ""), snapshot=SnapshotReport(error=""))
    assert reason_of(wordless) == wordless.reason


def test_long_names_that_differ_at_their_end_stay_different() -> None:
    machines = [machine(f"{'frontend-' * 20}{number:04}.example.org", verdict="ok") for number in range(50)]
    lines = as_debug_shows(RunReport(RUN, machines=machines))
    names = [line.split()[0] for line in lines[1:51]]
    assert len(set(names)) == 50
    assert max(map(len, lines)) == 80


@PATIENT
@given(REPORTS)
def test_the_last_lines_fit_eighty_columns_as_debug_shows_them(report: RunReport) -> None:
    assert max(map(display_width, as_debug_shows(report))) <= 80


def test_quotation_marks_and_backslashes_are_kept_and_have_room() -> None:
    error = 'C:\\new "' * 40
    reason = Reason(None, 'Say "yes"', error)
    report = RunReport(RUN, machines=[machine('we"b1', "rolled_back", verdict="failed", reason=reason)])
    lines = outcome_lines(report)
    assert lines[1].split()[0] == 'we"b1'
    assert lines[2].startswith('    Say "yes": C:\\new "C:\\new')
    assert max(map(len, as_debug_shows(report))) <= 80


def test_the_last_lines_of_a_large_fleet_are_few_and_fit() -> None:
    report = large_run(2000)
    lines = as_debug_shows(report)
    assert max(map(display_width, lines)) <= 80
    bad = len(report.failed_hosts())
    # For each that is not ok a line, and at most as many with a reason; the head and the totals.
    assert bad < len(lines) <= 2 * bad + 4
    assert not re.search("[^ -~]", "".join(lines)), "nothing depends on colours or on the font"
