# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which events the source gives: each once in each state, whatever the service does and whenever it is restarted."""

from __future__ import annotations

import logging
import os
import stat
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from unit.event_stream import INTERVAL, LOOKBACK, EventStream, Source, nothing
from unit.fault_cells import FAULTS

from ansible_collections.community.paperspace.plugins.module_utils._errors import InputError, Unauthorized
from ansible_collections.community.paperspace.plugins.plugin_utils import _event_following
from ansible_collections.community.paperspace.plugins.plugin_utils._event_following import PositionFile

PAGE = 120
FAULTY_LISTS = [fault for fault in FAULTS if fault.kind in ("answer", "list")]


@pytest.fixture
def stream() -> EventStream:
    return EventStream()


def fail(stream: EventStream, action: str, **rule: Any) -> str:
    return stream.fleet.fault(action, path="/machine-events", **rule)


# Where it begins


def test_now_gives_what_comes_after_the_start(stream: EventStream) -> None:
    stream.begin(state="done")
    new: list[str] = []
    given = Source(stream).run(nothing, lambda: new.append(stream.begin()), nothing)
    assert given == [(new[0], "new")]


def test_now_gives_the_end_of_what_runs_at_the_start(stream: EventStream) -> None:
    running = stream.begin(state="in progress", age=2 * LOOKBACK)
    stream.begin(state="done")
    given = Source(stream).run(nothing, lambda: stream.change(running, "error"))
    assert given == [(running, "error")]


def test_beginning_gives_all_oldest_first(stream: EventStream) -> None:
    ids = [stream.begin(state="done", age=age) for age in range(3000, 0, -10)]
    assert len(ids) > 2 * PAGE
    assert Source(stream, start="beginning").run(nothing) == [(event_id, "done") for event_id in ids]


def test_time_gives_what_was_created_since(stream: EventStream) -> None:
    stream.begin(state="done", age=101)
    later = stream.begin(state="done", age=100)
    start = Source(stream).now() - timedelta(seconds=100)
    # The last one is what YAML makes of a time.
    for given in (f"{start:%Y-%m-%dT%H:%M:%SZ}", f"{start:%Y-%m-%d %H:%M:%S}", start):
        assert Source(stream, start=given).run() == [(later, "done")]


def test_first_look_that_fails_is_repeated(stream: EventStream) -> None:
    old = stream.begin(state="done")
    fail(stream, "html", times=2)
    new: list[str] = []
    given = Source(stream).run(nothing, lambda: new.append(stream.begin()))
    assert given == [(new[0], "new")]
    assert old not in new


# Each once in each state


def test_states_are_given_once_each(stream: EventStream) -> None:
    event_id = ""

    def begin() -> None:
        nonlocal event_id
        event_id = stream.begin()

    given = Source(stream).run(
        *(begin, nothing, lambda: stream.change(event_id, "in progress"), nothing),
        *(lambda: stream.change(event_id, "done"), nothing),
    )
    assert given == [(event_id, "new"), (event_id, "in progress"), (event_id, "done")]


def test_state_that_goes_back_is_not_given(stream: EventStream) -> None:
    event_id = stream.begin(state="done")
    source = Source(stream, start="beginning")
    assert source.run(lambda: stream.change(event_id, "in progress"), lambda: stream.change(event_id, "error")) == [
        (event_id, "done")
    ]


def test_several_are_given_in_the_order_of_their_creation(stream: EventStream) -> None:
    first = stream.begin(state="in progress", age=20)
    ids = [stream.begin(age=10) for _number in range(5)]
    source = Source(stream, start="beginning")
    assert source.run(lambda: stream.change(first, "done"))[:6] == [
        (first, "in progress"),
        *((event_id, "new") for event_id in ids),
    ]
    assert source.given[-1]["state"] == "done"


def test_filters(stream: EventStream) -> None:
    wanted = stream.begin("snapshot-restore", "error")
    stream.begin("snapshot-restore", "done")
    stream.begin("snapshot-create", "error")
    later = stream.begin("snapshot-restore", "new")
    source = Source(stream, start="beginning", names=["snapshot-restore"], states=["error", "cancelled"])
    assert source.run(nothing, lambda: stream.change(later, "cancelled"), nothing) == [
        (wanted, "error"),
        (later, "cancelled"),
    ]


def test_event_that_is_seen_late_is_given(stream: EventStream) -> None:
    source = Source(stream)
    late: list[str] = []

    def begin() -> None:
        late.append(stream.begin(invisible=LOOKBACK))
        stream.clock.advance(1)
        late.append(stream.begin(state="done"))

    steps = [nothing] * int(LOOKBACK / INTERVAL)
    # Later events carry the position on, as far as it goes.
    newest = [lambda: stream.begin(state="done")] * 3
    given = source.run(nothing, begin, *steps, *newest)
    assert [event_id for event_id, dummy in given].count(late[0]) == 1
    assert given[0] == (late[1], "done")


def test_date_in_the_future_skips_nothing(stream: EventStream) -> None:
    strange = stream.begin(age=-10 * LOOKBACK)
    source = Source(stream, start="beginning")
    new: list[str] = []
    given = source.run(*[lambda: new.append(stream.begin(state="done"))] * 5)
    assert given == [(strange, "new"), *((event_id, "done") for event_id in new)]


def test_date_of_year_one_is_survived(stream: EventStream) -> None:
    fail(
        *(stream, "body"),
        text='{"items":[{"id":"me1","name":"stop","state":"new","machineId":null,"error":null,'
        '"dtCreated":"0001-01-01T00:00:00Z","dtStarted":null,"dtFinished":null}],"hasMore":false}',
        times=1,
    )
    new: list[str] = []
    assert Source(stream).run(lambda: new.append(stream.begin(state="done"))) == [(new[0], "done")]


# What runs for long


def test_end_of_what_runs_for_long_is_given(stream: EventStream) -> None:
    event_id = stream.begin()
    source = Source(stream, start="beginning")

    given = source.run(stream.pass_over, nothing, lambda: stream.change(event_id, "done"), nothing)
    assert [pair for pair in given if pair[0] == event_id] == [(event_id, "new"), (event_id, "done")]
    assert f"GET /machine-events/{event_id}" in stream.fleet.service.log.calls()


def test_many_that_run_for_long_are_read_from_the_list(stream: EventStream) -> None:
    ids = [stream.begin(state="in progress") for _number in range(2 * PAGE)]

    def later() -> None:
        stream.clock.advance(3 * LOOKBACK)
        stream.begin(state="done")

    def end() -> None:
        for event_id in ids:
            stream.change(event_id, "done")
        stream.fleet.service.log.clear()

    source = Source(stream, start="beginning")
    given = source.run(later, nothing, end)
    assert given[-len(ids) :] == [(event_id, "done") for event_id in ids]
    assert stream.fleet.service.log.calls() == ["GET /machine-events"] * 2 + [f"GET /machine-events/{ids[0]}"]


def test_some_that_run_for_ever_are_asked_for_in_turn(stream: EventStream) -> None:
    stuck = [stream.begin(state="in progress") for _number in range(15)]
    source = Source(stream, start="beginning")

    def end() -> None:
        for event_id in stuck:
            stream.change(event_id, "done")

    given = source.run(stream.pass_over, nothing, stream.fleet.service.log.clear, nothing, end, nothing)
    assert sorted(given[-15:]) == sorted((event_id, "done") for event_id in stuck)
    asked = Counter(call for call in stream.fleet.service.log.calls() if call != "GET /machine-events")
    assert set(asked) == {f"GET /machine-events/{event_id}" for event_id in stuck}
    assert max(asked.values()) <= 3


def test_event_that_is_gone_is_forgotten(stream: EventStream, tmp_path: Path) -> None:
    event_id = stream.begin(state="in progress")
    source = Source(stream, tmp_path, start="beginning")

    def later() -> None:
        stream.pass_over()
        stream.remove(event_id)

    source.run(later, *[nothing] * 5)
    asked = [call for call in stream.fleet.service.log.calls() if call.endswith(event_id)]
    assert len(asked) == _event_following.GONE_AFTER
    assert event_id not in (tmp_path / "position.json").read_text()


def test_event_that_is_missing_once_is_not_forgotten(stream: EventStream) -> None:
    event_id = stream.begin(state="in progress")
    source = Source(stream, start="beginning")

    def later() -> None:
        stream.pass_over()
        stream.fleet.fault("status", path=f"/machine-events/{event_id}", status=404, times=2)

    given = source.run(later, nothing, nothing, nothing, lambda: stream.change(event_id, "done"))
    assert given[-1] == (event_id, "done")


def test_id_that_cannot_be_asked_for_stops_nothing(stream: EventStream) -> None:
    stream.begin(state="in progress", event_id="../../machines")
    source = Source(stream, start="beginning")
    new: list[str] = []
    given = source.run(stream.pass_over, *[nothing] * 4, lambda: new.append(stream.begin(state="done")))
    assert given[0] == (None, "in progress")
    assert given[-1] == (new[0], "done")
    assert set(stream.fleet.service.log.calls()) == {"GET /machine-events"}


# Faults


@pytest.mark.parametrize("fault", FAULTY_LISTS, ids=lambda fault: str(fault.name))
@pytest.mark.parametrize("length", [1, 2, 20])
def test_faults_neither_lose_nor_repeat(stream: EventStream, fault: Any, length: int) -> None:
    source = Source(stream)
    ids: list[str] = []

    def begin() -> None:
        ids.extend(stream.begin(state="done") for _number in range(PAGE + 10))

    def hit() -> None:
        begin()
        rule = dict(fault.rule)
        fail(stream, rule.pop("action"), **rule, method="GET", times=length)

    given = source.run(nothing, hit, nothing, begin, nothing, stream.fleet.service.faults.clear, begin, nothing)
    assert sorted(given) == sorted((event_id, "done") for event_id in ids)


def test_fault_on_a_later_page_holds_nothing_back(stream: EventStream, caplog: pytest.LogCaptureFixture) -> None:
    source = Source(stream)
    ids: list[str] = []

    def begin() -> None:
        ids.extend(stream.begin(state="done") for _number in range(PAGE + 10))
        fail(stream, "status", status=503, nth=[2, 3], method="GET")

    given = source.run(begin, stream.fleet.service.faults.clear)
    assert [event_id for event_id, dummy in given] == ids[10:] + ids[:10]
    assert "503" in caplog.text


def test_list_that_breaks_off_is_told_and_read_to_its_end_later(
    stream: EventStream, caplog: pytest.LogCaptureFixture
) -> None:
    source = Source(stream)
    ids: list[str] = []

    def begin() -> None:
        ids.extend(stream.begin(state="done") for _number in range(2 * PAGE))
        fail(stream, "cursor", cursor="null")

    given = source.run(begin, nothing, stream.fleet.service.faults.clear, nothing)
    assert [event_id for event_id, dummy in given] == ids[PAGE:] + ids[:PAGE]
    assert "breaks off" in caplog.text


def test_look_that_fails_settles_nothing(stream: EventStream, tmp_path: Path) -> None:
    source = Source(stream, tmp_path)
    source.run()
    ids: list[str] = []
    for dummy in range(PAGE + 10):
        ids.append(stream.begin(state="done"))
        stream.clock.advance(LOOKBACK / 10)
    fail(stream, "status", status=503, nth=[2, 3])
    assert [event_id for event_id, dummy in source.run()] == ids[10:]
    assert [event_id for event_id, dummy in source.run()] == ids[:10]


def test_list_that_always_breaks_off_does_not_let_the_position_grow(
    stream: EventStream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_event_following, "MOST_KNOWN", 200)
    fail(stream, "cursor", cursor="missing")
    source = Source(stream, tmp_path)
    ids: list[str] = []

    def begin() -> None:
        stream.clock.advance(LOOKBACK)
        ids.extend(stream.begin(state="done") for _number in range(PAGE - 1))

    given = source.run(*[begin] * 4)
    assert [event_id for event_id, dummy in given] == ids
    position = PositionFile(tmp_path / "position.json").read()
    assert position is not None
    assert len(position.known) < 200 + PAGE < len(ids)


def test_cursors_that_repeat_end_the_look(stream: EventStream) -> None:
    ids = [stream.begin(state="done") for _number in range(2 * PAGE)]
    fail(stream, "cursor", cursor="repeat")
    given = Source(stream, start="beginning").run(nothing)
    assert sorted(given) == sorted((event_id, "done") for event_id in ids)


def test_retry_after_is_kept(stream: EventStream) -> None:
    source = Source(stream)
    began = 0.0

    def limit() -> None:
        nonlocal began
        stream.fleet.service.log.clear()
        fail(stream, "status", status=429, retry_after=77, times=1)
        began = stream.clock.now()

    source.run(nothing, limit)
    times = [entry["at"] for entry in stream.fleet.service.log.as_json()]
    assert len(times) == 2
    assert times[1] - times[0] >= 77


@pytest.mark.parametrize(("asked", "pause"), [(1000, 1000), (5000, 3600)])
def test_retry_after_longer_than_the_client_waits_is_waited_for(stream: EventStream, asked: int, pause: int) -> None:
    source = Source(stream)
    source.run(lambda: fail(stream, "status", status=429, retry_after=asked, times=1), nothing)
    assert source.slept[1] == pause


def test_refused_rate_alone_does_not_stop_the_looks(stream: EventStream) -> None:
    source = Source(stream)
    source.run(lambda: fail(stream, "status", status=429, retry_after=3, times=5), *[nothing] * 4)
    assert max(source.slept) <= 60


def test_pauses_grow_while_the_service_is_away(stream: EventStream, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(stream, interval=1)
    monkeypatch.setitem(source.args, "interval", 1)
    source.run(lambda: fail(stream, "refused"), *[nothing] * 12)
    assert all(1 <= pause <= 60 for pause in source.slept)
    assert max(source.slept) > 2


def test_wrong_key_ends_it_at_once(stream: EventStream) -> None:
    source = Source(stream, api_key="wr0ng")
    source.stream.fleet.service.faults.add({"action": "status", "status": 401})
    with pytest.raises(Unauthorized):
        source.run(nothing)
    assert source.slept == []


def test_refusal_later_on_is_survived(stream: EventStream) -> None:
    new: list[str] = []
    given = Source(stream).run(
        *(lambda: fail(stream, "status", status=401, times=2), nothing, nothing),
        lambda: new.append(stream.begin(state="done")),
    )
    assert given == [(new[0], "done")]


# Restarts


def test_restart_goes_on_where_it_was(stream: EventStream, tmp_path: Path) -> None:
    source = Source(stream, tmp_path)
    running: list[str] = []
    source.run(nothing, lambda: running.append(stream.begin()))
    stream.clock.advance(100 * LOOKBACK)
    meanwhile = [stream.begin(state="done") for _number in range(PAGE + 1)]
    stream.change(running[0], "done")
    assert source.run(nothing) == [(event_id, "done") for event_id in [*running, *meanwhile]]
    assert source.run(nothing) == []


def test_restart_without_a_file_begins_anew(stream: EventStream) -> None:
    stream.begin(state="done")
    source = Source(stream, start="beginning")
    assert source.run() == source.run() != []


def test_position_is_for_its_owner_only_and_whole(stream: EventStream, tmp_path: Path) -> None:
    source = Source(stream, tmp_path)
    source.run(stream.begin)
    [file] = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert source.args["api_key"] not in file.read_text()
    assert PositionFile(file).read() is not None


def test_file_that_is_no_position_is_refused(stream: EventStream, tmp_path: Path) -> None:
    file = tmp_path / "position.json"
    for content in (b"", b"[]", b"{}", b'{"version": 2}', b"\xff", b'{"version": 1, "since": "never", "events": {}}'):
        file.write_bytes(content)
        with pytest.raises(InputError, match="state_file"):
            Source(stream, tmp_path).run()
        assert file.read_bytes() == content


def test_file_that_cannot_be_written_ends_it_at_the_start(stream: EventStream, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written: No such file or directory"):
        Source(stream, tmp_path / "missing").run()


def test_disk_that_gets_full_is_told_and_survived(
    stream: EventStream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    new: list[str] = []

    def fill() -> None:
        monkeypatch.setattr(os, "fsync", full)
        new.append(stream.begin())

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    def empty() -> None:
        monkeypatch.undo()
        new.append(stream.begin())

    source = Source(stream, tmp_path)
    assert source.run(nothing, fill, empty) == [(event_id, "new") for event_id in new]
    assert {record.levelno for record in caplog.records if "No space left" in record.message} == {logging.ERROR}
    assert [path.name for path in tmp_path.iterdir()] == ["position.json"]
    assert source.run(nothing) == []


def test_end_between_handing_over_and_storing_repeats_one_event_with_its_uuid(
    stream: EventStream, tmp_path: Path
) -> None:
    ids = [stream.begin(state="done") for _number in range(3)]

    class Killed(Exception):
        pass

    class Feedback:
        async def get(self) -> None:
            if len(source.given) == 2:
                raise Killed

    source = Source(stream, tmp_path, start="beginning")
    source.feedback = Feedback()
    with pytest.raises(Killed):
        source.run()
    source.feedback = None
    source.run()
    assert [event["id"] for event in source.given] == [ids[0], ids[1], ids[1], ids[2]]
    uuids = [event["meta"]["uuid"] for event in source.given]
    assert uuids[1] == uuids[2]
    assert len(set(uuids)) == 3


def test_states_have_uuids_of_their_own(stream: EventStream) -> None:
    event_id = stream.begin()
    source = Source(stream, start="beginning")
    source.run(lambda: stream.change(event_id, "done"))
    assert len({event["meta"]["uuid"] for event in source.given}) == 2
