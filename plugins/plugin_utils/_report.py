# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a guarded maintenance, which is also the one state of the run while it goes on.

Times are seconds since the epoch (UTC, float) in memory. In JSON they are ISO 8601 text in UTC with milliseconds,
like C(2026-01-31T23:59:59.000Z). docs/run-report.schema.json describes the JSON; a test holds it equal to the
classes here. Free of Ansible; only claim_name, write_report, report_files and load_report touch files.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import json
import os
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin, get_type_hints

from ansible_collections.community.paperspace.plugins.module_utils._errors import InputError
from ansible_collections.community.paperspace.plugins.module_utils._names import DEFAULT_PREFIX, is_run_id
from ansible_collections.community.paperspace.plugins.module_utils._version import VERSION
from ansible_collections.community.paperspace.plugins.plugin_utils import _report_html, _report_text
from ansible_collections.community.paperspace.plugins.plugin_utils._private import (
    make_file,
    make_folder,
    replace_file,
)
from ansible_collections.community.paperspace.plugins.plugin_utils._text import WIDTH_IN_DEBUG

REPORT_VERSION = 1

VERDICTS = ("ok", "failed", "unreachable", "incomplete", "untouched")
OUTCOMES = (
    "planned",
    "no_snapshot",
    "snapshotted",
    "maintaining",
    "ok",
    "untouched",
    "rolling_back",
    "rolled_back",
    "rollback_failed",
    "not_started",
)
GOOD_OUTCOMES = frozenset({"ok", "untouched"})
# Something was begun on the machine and has not come to its end: only a rollback proves what is on its disk.
_UNFINISHED_OUTCOMES = frozenset({"maintaining", "rolling_back", "rollback_failed"})
CLOSED = ("ok", "restored")
RECONNECTS = ("answers", "silent")
PHASES = ("snapshot", "maintenance", "rollback", "reconnect")
SCOPES = ("failed", "wave", "fleet")
STATUSES = ("running", "succeeded", "failed")
# The files of a report, by how their names end.
KINDS = ("json", "md", "html")
ENDS = ("end", "sigint", "sigterm", "parent_died", "guardian_died", "error")

# Without a time zone: all times here are UTC.
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_MILLISECOND = timedelta(milliseconds=1)

# How a field stands in JSON where its type does not say it all: a time as text, or one of some words.
_AS_TIME = "time"
Time: TypeAlias = Annotated[float, _AS_TIME]


@dataclass
class Span:
    """When a phase began and ended; None while not known."""

    began: Time | None = None
    ended: Time | None = None


@dataclass
class Reason:
    """Why a machine is not ok: the host and task that failed, which may be of another machine, and the error."""

    host: str | None = None
    task: str | None = None
    error: str = ""


@dataclass
class SnapshotReport:
    """The snapshot of a machine: its present name, and C(status) and C(error) as of paperspace_snapshot."""

    id: str | None = None
    name: str | None = None
    status: str | None = None
    error: str | None = None


@dataclass
class RollbackReport:
    """C(status), C(error) and C(safety_snapshot_id) as of paperspace_snapshot with state=restored."""

    status: str | None = None
    error: str | None = None
    safety_snapshot_id: str | None = None


@dataclass
class ReconnectReport:
    """Whether a machine that was rolled back answers to Ansible."""

    status: Annotated[str, RECONNECTS] = "silent"
    error: str | None = None


@dataclass
class MachineReport:
    """What is known of one machine, and how far it is."""

    host: str
    machine_id: str
    # Counted from 1. None while the waves are not planned.
    wave: int | None = None
    outcome: Annotated[str, OUTCOMES] = "planned"
    verdict: Annotated[str, VERDICTS] | None = None
    reason: Reason | None = None
    snapshot: SnapshotReport = field(default_factory=SnapshotReport)
    rollback: RollbackReport | None = None
    closed: Annotated[str, CLOSED] | None = None
    close_error: str | None = None
    reconnect: ReconnectReport | None = None
    times: dict[Annotated[str, PHASES], Span] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        return self.outcome in GOOD_OUTCOMES

    @property
    def is_anothers(self) -> bool:
        """Whether it is left to another controller of the same run, whose snapshot is the one that it has."""
        return self.outcome == "no_snapshot" and self.snapshot.status == "unchanged"

    @property
    def is_open(self) -> bool:
        """Whether there is, or may be, a snapshot of this controller's run that is not closed."""
        may_exist = self.snapshot.id is not None or self.snapshot.status in ("pending", "timed_out", "unsure")
        return may_exist and self.closed is None and not self.is_anothers

    @property
    def is_owed_rollback(self) -> bool:
        """Whether it is open, and to be put back. All others that are open need only be closed."""
        return self.is_open and self.outcome in _UNFINISHED_OUTCOMES


@dataclass
class ChildReport:
    """One ansible-playbook that the run started. C(rc) is its exit code, or minus the number of a signal."""

    wave: int
    playbook: str
    rc: int | None = None
    began: Time | None = None
    ended: Time | None = None


@dataclass
class RunReport:
    """A run, complete as far as it has come. All fields but C(run_id) have defaults, to be filled in step by step."""

    run_id: str
    version: int = REPORT_VERSION
    prefix: str = DEFAULT_PREFIX
    check_mode: bool = False
    playbooks: list[str] = field(default_factory=list)
    scope: Annotated[str, SCOPES] = "failed"
    # The number of machines that may be lost before no further wave starts.
    max_failures: int = 0
    wave_sizes: list[int] = field(default_factory=list)
    machines: list[MachineReport] = field(default_factory=list)
    status: Annotated[str, STATUSES] = "running"
    ended_by: Annotated[str, ENDS] | None = None
    # Of the run as a whole, as sentences.
    problems: list[str] = field(default_factory=list)
    children: list[ChildReport] = field(default_factory=list)
    began: Time | None = None
    ended: Time | None = None
    # What the playbook recover needs to find the same machines.
    inventory: list[str] = field(default_factory=list)
    limit: str | None = None
    recover_variables: dict[str, str] = field(default_factory=dict)
    ansible_version: str | None = None
    collection_version: str = VERSION
    # The host name of the machine that Ansible runs on.
    controller: str | None = None

    def failed_hosts(self) -> list[str]:
        """The hosts that are not ok or untouched, in the order of the machines."""
        return [machine.host for machine in self.machines if not machine.is_good]

    def is_success(self) -> bool:
        """Whether all machines are ok or untouched, and the run as a whole has no problems."""
        return not self.problems and not self.failed_hosts()

    def to_dict(self) -> dict[str, Any]:
        """The report as it stands in JSON."""
        encoded: dict[str, Any] = _report_codec().encode(self)
        return encoded

    @classmethod
    def from_dict(cls, fields: Any) -> RunReport:
        """The report back from JSON. Raises InputError for what is not such a report, or one of another version."""
        if not isinstance(fields, Mapping) or "version" not in fields:
            raise InputError("It is not the report of a run: it has no version.")
        if fields["version"] != REPORT_VERSION or isinstance(fields["version"], bool):
            raise InputError(
                f"It is a report of version {fields['version']!r:.80}; this release of the collection reads version "
                f"{REPORT_VERSION}."
            )
        try:
            report: RunReport = _report_codec().decode(fields)
        except _Mismatch as mismatch:
            raise InputError(f"It is not the report of a run: {mismatch}.") from None
        if not is_run_id(report.run_id):
            raise InputError(f"It is not the report of a run: run_id is {report.run_id!r:.80}.")
        return report

    def to_markdown(self) -> str:
        """The report for people to read, as GitHub flavoured Markdown."""
        return _report_text.markdown(self)

    def to_html(self) -> str:
        """The report for people to look at: a page that loads nothing else."""
        return _report_html.page(self)


def outcome_lines(report: RunReport, width: int = WIDTH_IN_DEBUG) -> list[str]:
    """The machines as a table in plain text, with lines of at most C(width) columns."""
    return _report_text.outcome_lines(report, width)


def load_report(path: str | os.PathLike[str]) -> RunReport:
    """The report in a file. Raises InputError when it holds none, and OSError when it cannot be read."""
    content = Path(path).read_bytes()
    try:
        fields = json.loads(content)
    # Errors in JSON and in UTF-8 are ValueErrors; brackets nested without end are the other.
    except (ValueError, RecursionError):
        raise InputError(f"{path} cannot be used. It is not the report of a run: it is not JSON.") from None
    try:
        return RunReport.from_dict(fields)
    except InputError as error:
        raise InputError(f"{path} cannot be used. {error}") from None


def claim_name(run_id: str, folder: Path) -> str:
    """A name for the files of a report that are only its own: the run id, or the run id and a number.

    Several controllers may share a run and the folder, and each is to have a report of its own. C(NAME.log) is made, so
    that nobody else gets the name. Raises OSError.
    """
    make_folder(folder)
    for number in itertools.count(1):
        name = run_id if number == 1 else f"{run_id}-{number}"
        if not any((folder / f"{name}.{kind}").exists() for kind in KINDS):
            with contextlib.suppress(FileExistsError):
                make_file(folder / f"{name}.log")
                return name
    raise AssertionError


def write_report(report: RunReport, folder: Path, name: str = "") -> tuple[Path, Path, Path]:
    """Write C(NAME.json), C(.md) and C(.html) into the folder, which is made if needed, and return their paths.

    The name is the run id unless given. A reader finds each file as it was or as it is now, never a part. Only the
    user can read them. Raises OSError.
    """
    if not is_run_id(report.run_id):
        raise ValueError(f"{report.run_id!r} is not a run id.")
    make_folder(folder)
    json_path, markdown_path, html_path = _paths(report, folder, name)
    # The JSON comes last: when it is of this report, so are the others.
    replace_file(html_path, report.to_html())
    replace_file(markdown_path, report.to_markdown())
    # ASCII: no control characters for a terminal, and names that are not UTF-8 survive.
    replace_file(json_path, json.dumps(report.to_dict(), indent=2) + "\n")
    return json_path, markdown_path, html_path


def report_files(report: RunReport, folder: Path, name: str = "") -> list[Path]:
    """What L(write_report) wrote of just this report. When the disk was full, older files may be there, and are not."""
    paths = _paths(report, folder, name)
    try:
        is_there = load_report(paths[0]).to_dict() == report.to_dict()
    except (OSError, InputError):
        is_there = False
    return paths if is_there else []


def _paths(report: RunReport, folder: Path, name: str) -> list[Path]:
    return [folder / f"{name or report.run_id}.{kind}" for kind in KINDS]


class _Mismatch(Exception):
    """A part of the JSON that is not as the classes say: where it stands, and a sentence without a full stop."""

    def __init__(self, sentence: str, *path: object) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.path = path

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.path)):.200}: {self.sentence}" if self.path else self.sentence


@dataclass(frozen=True)
class _Codec:
    """Turns values of one type into what JSON has, and back. C(decode) raises _Mismatch."""

    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


def _codec(hint: Any) -> _Codec:
    """The codec for a type as the classes above use them."""
    origin, arguments = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint):
        return _object_codec(hint)
    if origin is Annotated:
        if hint.__metadata__ == (_AS_TIME,):
            return _Codec(_time_text, _time)
        return _choice_codec(hint.__metadata__)
    if origin is Union or origin is types.UnionType:
        return _optional_codec(_codec(arguments[0]))
    if origin is list:
        return _list_codec(_codec(arguments[0]))
    if origin is dict:
        return _dict_codec(_codec(arguments[0]), _codec(arguments[1]))
    return _plain_codec(hint)


@functools.cache
def _report_codec() -> _Codec:
    return _codec(RunReport)


def _object_codec(cls: Any) -> _Codec:
    codecs = {name: _codec(hint) for name, hint in get_type_hints(cls, include_extras=True).items()}

    def encode(value: Any) -> dict[str, Any]:
        return {name: codec.encode(getattr(value, name)) for name, codec in codecs.items()}

    def decode(value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise _Mismatch(f"{value!r:.80} is no object")
        for what, names in (("no", codecs.keys() - value.keys()), ("an unknown", value.keys() - codecs.keys())):
            if names:
                raise _Mismatch(f"there is {what} {min(names, key=str)!r:.80}")
        return cls(**{name: _inside(name, codec, value[name]) for name, codec in codecs.items()})

    return _Codec(encode, decode)


def _inside(name: object, codec: _Codec, value: Any) -> Any:
    try:
        return codec.decode(value)
    except _Mismatch as mismatch:
        raise _Mismatch(mismatch.sentence, name, *mismatch.path) from None


def _optional_codec(codec: _Codec) -> _Codec:
    return _Codec(
        lambda value: None if value is None else codec.encode(value),
        lambda value: None if value is None else codec.decode(value),
    )


def _list_codec(codec: _Codec) -> _Codec:
    def decode(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise _Mismatch(f"{value!r:.80} is no list")
        return [_inside(number, codec, item) for number, item in enumerate(value)]

    return _Codec(lambda value: [codec.encode(item) for item in value], decode)


def _dict_codec(keys: _Codec, values: _Codec) -> _Codec:
    def decode(value: Any) -> dict[Any, Any]:
        if not isinstance(value, Mapping):
            raise _Mismatch(f"{value!r:.80} is no object")
        return {keys.decode(key): _inside(key, values, item) for key, item in value.items()}

    return _Codec(lambda value: {keys.encode(key): values.encode(item) for key, item in value.items()}, decode)


def _plain_codec(cls: type) -> _Codec:
    def decode(value: Any) -> Any:
        if not isinstance(value, cls) or (isinstance(value, bool) and cls is not bool):
            raise _Mismatch(f"{value!r:.80} is no {cls.__name__}")
        return value

    return _Codec(lambda value: value, decode)


def _choice_codec(metadata: tuple[tuple[str, ...]]) -> _Codec:
    (choices,) = metadata

    def decode(value: Any) -> Any:
        if not isinstance(value, str) or value not in choices:
            raise _Mismatch(f"{value!r:.80} is none of {', '.join(choices)}")
        return value

    return _Codec(lambda value: value, decode)


def _time_text(seconds: float) -> str:
    moment = _EPOCH + round(seconds * 1000) * _MILLISECOND
    return f"{moment.isoformat(timespec='milliseconds')}Z"


def _time(text: Any) -> float:
    if isinstance(text, str) and _TIME.fullmatch(text):
        with contextlib.suppress(ValueError):
            return (datetime.fromisoformat(text[:-1]) - _EPOCH) // _MILLISECOND / 1000
    raise _Mismatch(f"{text!r:.80} is no time like 2026-01-31T23:59:59.000Z")
