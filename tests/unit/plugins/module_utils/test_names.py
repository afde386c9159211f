# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from ansible_collections.community.paperspace.plugins.module_utils._names import (
    DEFAULT_PREFIX,
    OUTCOMES,
    RunName,
    is_run_id,
    new_run_id,
    parse_run_name,
    run_name,
)

RUN_ID = "20260131T235958Z-0a1b"


def test_a_run_id_is_the_utc_time_and_four_hex_digits() -> None:
    now = datetime(2026, 2, 1, 1, 59, 58, tzinfo=timezone(timedelta(hours=2)))
    assert new_run_id(now, lambda below: 0x0A1B) == RUN_ID
    assert new_run_id(now, lambda below: below - 1) == "20260131T235958Z-ffff"
    assert is_run_id(new_run_id(now, lambda below: 0))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "20260131T235958Z",
        "20260131T235958Z-0A1B",
        "20260131T235958Z-0a1",
        "20260131T235958Z-0a1b2",
        "20260131T235958Z-0a1b\n",
        " 20260131T235958Z-0a1b",
        "20260131235958-0a1b",
        "20261331T235958Z-0a1b",
        "20260131T245958Z-0a1b",
        "\u0662\u0660\u0662\u0666\u0660\u0661\u0663\u0661T235958Z-0a1b",
        "maint-20260131T235958Z-0a1b",
    ],
)
def test_what_is_no_run_id(text: str) -> None:
    assert not is_run_id(text)
    with pytest.raises(ValueError, match="is not a run id"):
        run_name(DEFAULT_PREFIX, text)


def test_names_of_an_open_and_a_closed_run() -> None:
    assert run_name("maint-", RUN_ID) == f"maint-{RUN_ID}"
    assert run_name("maint-", RUN_ID, "ok") == f"maint-{RUN_ID}-ok"
    assert run_name("maint-", RUN_ID, "restored") == f"maint-{RUN_ID}-restored"


@pytest.mark.parametrize("outcome", ["", "failed", "OK", "ok-ok"])
def test_what_is_no_outcome(outcome: str) -> None:
    with pytest.raises(ValueError, match="is not an outcome"):
        run_name("maint-", RUN_ID, outcome)


@pytest.mark.parametrize("prefix", ["maint-", "", "a b/c:", "ok-", f"{RUN_ID[:-1]}", "line\nbreak-", "été-"])
@pytest.mark.parametrize("outcome", [None, *OUTCOMES])
def test_a_name_can_be_taken_apart_again(prefix: str, outcome: str | None) -> None:
    name = run_name(prefix, RUN_ID, outcome)
    assert parse_run_name(name) == RunName(prefix, RUN_ID, outcome)
    assert parse_run_name(name, prefix) == RunName(prefix, RUN_ID, outcome)
    assert parse_run_name(name, f"{prefix}x") is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        "maint-",
        "before upgrade",
        f"maint-{RUN_ID}-failed",
        f"maint-{RUN_ID}-ok-ok",
        f"maint-{RUN_ID}-okay",
        f"maint-{RUN_ID}-OK",
        f"maint-{RUN_ID}-",
        f"maint-{RUN_ID} ",
        f"maint-{RUN_ID}\n",
        f"maint-{RUN_ID}-ok\n",
        f"maint-{RUN_ID}0",
        "maint-20261331T235958Z-0a1b",
        "maint-20260131T235958Z-0A1B",
    ],
)
def test_names_that_no_run_gave(name: str) -> None:
    assert parse_run_name(name) is None


def test_a_prefix_must_be_all_that_stands_before() -> None:
    assert parse_run_name(f"my-maint-{RUN_ID}", "maint-") is None
    assert parse_run_name(f"maint-{RUN_ID}", "") is None
    assert parse_run_name(f"maint-{RUN_ID}", "my-maint-") is None


def test_a_run_is_closed_by_its_outcome_and_knows_when_it_began() -> None:
    opened, closed = RunName("maint-", RUN_ID, None), RunName("maint-", RUN_ID, "ok")
    assert not opened.is_closed
    assert closed.is_closed
    assert opened.began == datetime(2026, 1, 31, 23, 59, 58, tzinfo=timezone.utc)
