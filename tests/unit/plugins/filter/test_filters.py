# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters that the roles decide and report with."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.community.paperspace.plugins.filter.outcome_table import outcome_table
from ansible_collections.community.paperspace.plugins.filter.rollback_plan import rollback_plan
from ansible_collections.community.paperspace.plugins.filter.rollback_rows import rollback_rows
from ansible_collections.community.paperspace.plugins.filter.rows_by_host import rows_by_host
from ansible_collections.community.paperspace.plugins.filter.run_name import run_name
from ansible_collections.community.paperspace.plugins.filter.target_problems import target_problems
from ansible_collections.community.paperspace.plugins.plugin_utils._text import WIDTH_IN_DEBUG, display_width

RUN = "20260131T235959Z-1a2b"
OTHER_RUN = "20260131T235959Z-1a2c"
NEWER_RUN = "20260201T083000Z-3c4d"
WEB = [{"host": "web1", "machine_id": "ps1"}, {"host": "web2", "machine_id": "ps2"}]


def snapshot(machine_id: str, name: str) -> dict[str, Any]:
    return {"id": f"ss-{machine_id}-{name[-4:]}", "machine_id": machine_id, "name": name}


def test_run_name_of_an_open_and_a_closed_run() -> None:
    assert run_name(RUN) == f"maint-{RUN}"
    assert run_name(RUN, "mine-", "ok") == f"mine-{RUN}-ok"


@pytest.mark.parametrize("wrong", ["yesterday", "", f"{RUN}\n", None, 5])
def test_run_name_of_what_is_no_run_id_is_refused(wrong: Any) -> None:
    with pytest.raises(AnsibleFilterError, match=r"run id"):
        run_name(wrong)


def test_run_name_with_an_unknown_outcome_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="'done' is not an outcome of a run"):
        run_name(RUN, outcome="done")


def test_targets_with_ids_of_their_own_have_no_problems() -> None:
    assert target_problems(WEB, RUN) == []


def test_targets_without_id_or_with_a_shared_one_are_named() -> None:
    targets = [*WEB, {"host": "web3", "machine_id": "ps1"}, {"host": "db1", "machine_id": ""}]
    assert target_problems(targets, "yesterday") == [
        "'yesterday' is not a run id; one looks like 20260131T235959Z-1a2b.",
        "No machine id (paperspace_id) is known of: db1.",
        "Machine ps1 is claimed by several hosts: web1, web3.",
    ]


def test_rollback_restores_open_and_ok_and_leaves_restored_alone() -> None:
    found = [
        snapshot("ps1", f"maint-{RUN}"),
        snapshot("ps2", f"maint-{RUN}-ok"),
        snapshot("ps3", f"maint-{RUN}-restored"),
    ]
    targets = [*WEB, {"host": "web3", "machine_id": "ps3"}]
    plan = rollback_plan(found, targets, RUN)
    assert plan == {"due": found[:2], "done": found[2:], "skipped": [], "problems": []}


def test_rollback_of_what_must_be_open_refuses_ok_and_leaves_restored_alone() -> None:
    found = [
        snapshot("ps1", f"maint-{RUN}"),
        snapshot("ps2", f"maint-{RUN}-ok"),
        snapshot("ps3", f"maint-{RUN}-restored"),
    ]
    targets = [*WEB, {"host": "web3", "machine_id": "ps3"}]
    plan = rollback_plan(found, targets, RUN, open_only=True)
    assert (plan["due"], plan["done"]) == (found[:1], found[2:])
    problem, nothing = plan["problems"]
    assert problem.startswith(f"Run {RUN} was closed for web2 meanwhile, as maint-{RUN}-ok.")
    assert "community.paperspace.rollback" in problem
    assert nothing == "No machine was rolled back."


@pytest.mark.parametrize("name", [f"maint-{OTHER_RUN}", f"other-{RUN}", f"maint-{RUN}-ok-2", "maint-"])
def test_rollback_ignores_other_snapshots(name: str) -> None:
    plan = rollback_plan([snapshot("ps1", name)], WEB[:1], RUN, skip_missing=True)
    assert plan == {"due": [], "done": [], "skipped": ["web1"], "problems": []}


def test_rollback_with_a_missing_snapshot_names_the_ways_out() -> None:
    [problem] = rollback_plan([snapshot("ps1", f"maint-{RUN}")], WEB, RUN)["problems"]
    assert problem.startswith(f"There is no snapshot maint-{RUN} of: web2. No machine was rolled back.")
    assert "--limit" in problem
    assert "rollback_skip_missing=true" in problem


def test_rollback_with_several_snapshots_of_the_run_is_a_problem() -> None:
    found = [snapshot("ps1", f"maint-{RUN}"), snapshot("ps1", f"maint-{RUN}-ok")]
    problem, nothing = rollback_plan(found, WEB[:1], RUN, skip_missing=True)["problems"]
    ids = f"{found[0]['id']}, {found[1]['id']}"
    assert problem == f"web1 has several snapshots of this run: {ids}. Delete all but the one that is meant."
    assert nothing == "No machine was rolled back."


@pytest.mark.parametrize("outcome", ["", "-ok", "-restored"])
def test_rollback_does_not_undo_a_newer_run_that_is_open(outcome: str) -> None:
    found = [snapshot("ps1", f"maint-{NEWER_RUN}"), snapshot("ps1", f"maint-{RUN}{outcome}")]
    problem, dummy = rollback_plan(found, WEB[:1], RUN)["problems"]
    assert problem.startswith(f"Run {NEWER_RUN} is newer and open on web1 as well, and would be undone too.")


@pytest.mark.parametrize("newer", ["ok", "restored"])
def test_rollback_does_not_take_a_machine_for_restored_that_has_been_in_a_newer_run_since(newer: str) -> None:
    found = [snapshot("ps1", f"maint-{NEWER_RUN}-{newer}"), snapshot("ps1", f"maint-{RUN}-restored")]
    problem, dummy = rollback_plan(found, WEB[:1], RUN)["problems"]
    assert problem.startswith(f"web1 was put back by this run before, and run {NEWER_RUN} has been on it since")
    assert found[1]["id"] in problem


@pytest.mark.parametrize("outcome", ["", "-ok"])
def test_rollback_undoes_newer_runs_that_are_closed_and_leaves_older_ones_alone(outcome: str) -> None:
    found = [
        snapshot("ps1", f"maint-{NEWER_RUN}-ok"),
        snapshot("ps1", f"maint-{RUN}{outcome}"),
        snapshot("ps1", f"maint-{OTHER_RUN}"),
    ]
    plan = rollback_plan(found, WEB[:1], RUN)
    assert plan == {"due": [found[1]], "done": [], "skipped": [], "problems": []}


def test_rollback_takes_imagined_snapshots_as_there() -> None:
    plan = rollback_plan([], [{**WEB[0], "is_imagined": True}], RUN)
    assert plan == {"due": [], "done": [], "skipped": [], "problems": []}


NOT_RUN: dict[str, Any] = {"changed": False, "skipped": True}


def planned(*machine_ids: str, **more: Any) -> dict[str, Any]:
    due = [snapshot(machine_id, f"maint-{RUN}") for machine_id in machine_ids]
    return {"due": due, "done": [], "skipped": [], "problems": [], **more}


def returned(**statuses: str) -> dict[str, Any]:
    entries = [
        {"machine_id": machine_id, "status": status, "error": "" if status.endswith("ed") else f"It is {status}."}
        for machine_id, status in statuses.items()
    ]
    return {"snapshots": entries}


def outcomes(*arguments: Any, targets: Any = None) -> dict[str, tuple[str, str]]:
    rows = rollback_rows(WEB if targets is None else targets, *arguments)
    return {host: (row["status"], row["error"]) for host, row in rows.items()}


def test_rollback_rows_tell_of_each_host_its_own() -> None:
    restores = returned(ps1="restored", ps2="unsure")
    restores["snapshots"][0]["seconds"] = 41.5
    rows = rollback_rows(WEB, planned("ps1", "ps2"), [], restores, {"results": [returned(ps1="renamed")]}, NOT_RUN)
    assert rows == {
        "web1": {
            "host": "web1",
            "machine_id": "ps1",
            "status": "restored",
            "id": f"ss-ps1-{RUN[-4:]}",
            "seconds": 41.5,
            "error": "",
        },
        "web2": {
            "host": "web2",
            "machine_id": "ps2",
            "status": "unsure",
            "id": f"ss-ps2-{RUN[-4:]}",
            "seconds": None,
            "error": "It is unsure.",
        },
    }


def test_rollback_rows_of_what_was_not_to_be_restored() -> None:
    plan = planned(done=[snapshot("ps1", f"maint-{RUN}-restored")], skipped=["web2"])
    targets = [*WEB, {"host": "web3", "machine_id": "ps3", "is_imagined": True}]
    assert outcomes(plan, [], NOT_RUN, {"results": [], **NOT_RUN}, NOT_RUN, targets=targets) == {
        "web1": ("unchanged", ""),
        "web2": ("skipped", ""),
        "web3": ("would_restore", ""),
    }


def test_rollback_rows_say_why_nothing_was_done() -> None:
    rows = outcomes(planned("ps1", skipped=["web2"]), ["No run.", "No id."], NOT_RUN, NOT_RUN, NOT_RUN)
    assert rows == dict.fromkeys(("web1", "web2"), ("failed", "No run. No id."))


@pytest.mark.parametrize(
    ("restores", "error"),
    [({"msg": "The key is refused."}, "The key is refused."), ({}, "Nothing was reported of it.")],
)
def test_rollback_rows_of_a_restore_that_reports_no_machine(restores: dict[str, Any], error: str) -> None:
    rows = outcomes(planned("ps1", "ps2"), [], restores, {"results": [NOT_RUN]}, NOT_RUN)
    assert rows == dict.fromkeys(("web1", "web2"), ("failed", error))


def test_rollback_rows_say_that_a_run_is_still_open() -> None:
    renames = {"results": [returned(ps1="unsure"), {"msg": "The key is refused."}]}
    rows = outcomes(planned("ps1", "ps2"), [], returned(ps1="restored", ps2="restored"), renames, NOT_RUN)
    for (status, error), reason in zip(rows.values(), ("It is unsure.", "The key is refused."), strict=True):
        assert status == "restored"
        assert error.startswith("It is restored, but its snapshot still has the name of an open run")
        assert error.endswith(f": {reason}")


@pytest.mark.parametrize(
    ("starts", "errors"),
    [
        ({"machines": [{"machine_id": "ps2", "error": "No capacity."}], "msg": "1 failed."}, ["", "No capacity.", ""]),
        ({"msg": "The key is refused."}, ["The key is refused.", "The key is refused.", ""]),
    ],
)
def test_rollback_rows_say_which_restored_machines_do_not_start(starts: dict[str, Any], errors: list[str]) -> None:
    plan = planned("ps1", done=[snapshot("ps2", f"maint-{RUN}-restored")], skipped=["web3"])
    targets = [*WEB, {"host": "web3", "machine_id": "ps3"}]
    renames = {"results": [returned(ps1="renamed")]}
    rows = outcomes(plan, [], returned(ps1="restored"), renames, starts, targets=targets)
    assert [error for _status, error in rows.values()] == errors


def test_rows_by_host_are_all_entries_of_the_machine_or_one_that_says_what_is_missing() -> None:
    entries = [
        {"machine_id": "ps2", "id": "ss1"},
        {"machine_id": "ps4", "id": "ss2"},
        {"machine_id": "ps2", "id": "ss3"},
    ]
    assert rows_by_host(entries, WEB, {"status": "failed", "error": "No key."}) == {
        "web1": [{"host": "web1", "machine_id": "ps1", "status": "failed", "error": "No key."}],
        "web2": [
            {"host": "web2", "machine_id": "ps2", "id": "ss1"},
            {"host": "web2", "machine_id": "ps2", "id": "ss3"},
        ],
    }


def test_table_shows_an_error_that_several_share_once() -> None:
    entries = [
        {"host": "web1", "machine_id": "ps1", "status": "restored", "id": "ss1", "name": "a", "seconds": 42.04},
        {"host": "web2", "machine_id": "ps22", "status": "failed", "error": "It is broken."},
        {"host": "database1", "machine_id": "ps3", "status": "failed", "error": "It is broken."},
    ]
    assert outcome_table(entries) == [
        "HOST       MACHINE  STATUS    SNAPSHOT  SECONDS",
        "web1       ps1      restored  ss1          42.0",
        "web2       ps22     failed    -               -",
        "database1  ps3      failed    -               -",
        "    It is broken.",
    ]


def test_table_wraps_errors_and_can_show_names() -> None:
    entry = {"host": "a", "machine_id": "ps1", "name": "nightly", "seconds": 1.5, "error": "word " * 9}
    assert outcome_table([entry], snapshot="name", width=24) == [
        "HOST  STATUS  SNAPSHOT",
        "a     -       nightly",
        *["    word word word word"] * 2,
        "    word",
    ]


def test_table_can_be_without_seconds() -> None:
    assert outcome_table([{"host": "a", "seconds": 1.5}], seconds=False) == [
        "HOST  MACHINE  STATUS  SNAPSHOT",
        "a     -        -       -",
    ]


LONGEST = {"machine_id": "psa1b2c3d4e5", "status": "would_restore", "id": "ssa1b2c3d4e5", "seconds": 12345.6}
CLOSED = f"maint-{RUN}-restored"


def as_debug_shows(lines: list[str]) -> list[str]:
    """The lines on the terminal, as the callback plugin default has them."""
    shown = json.dumps({"msg": lines}, indent=4, ensure_ascii=False).splitlines()
    # The last is without the comma of those before.
    return [f"{line.removesuffix(',')}," for line in shown if line.startswith(" " * 8)]


@pytest.mark.parametrize("snapshot", ["id", "name"])
@pytest.mark.parametrize(
    "host",
    [
        "web",
        f"{'frontend-' * 20}{{}}.example.org",
        "\u65e5\u672c\u8a9e" * 20 + "{}",
        'we"b\\' * 20 + "{}",
        "\x1b[31m" + "red " * 40 + "{}",
    ],
    ids=["short", "long", "wide", "quoted", "coloured"],
)
@pytest.mark.parametrize(
    "error",
    [
        "",
        f"See https://api.paperspace.com/v1/machines/psa1b2c3d4e5/{'x' * 200}?name={CLOSED} for it.",
        "\u78c1\u76e4\u5df2\u6eff" * 60,
        'C:\\new "' * 40,
    ],
    ids=["none", "address", "wide", "quoted"],
)
def test_table_fits_eighty_columns_as_debug_shows_it(snapshot: str, host: str, error: str) -> None:
    entries = [{**LONGEST, "host": host.format(number), "name": CLOSED, "error": error} for number in range(3)]
    lines = outcome_table(entries, snapshot)
    assert max(map(display_width, as_debug_shows(lines))) <= 80
    rows, notes = [line for line in lines[1:] if line[0] != " "], [line for line in lines[1:] if line[0] == " "]
    # Nothing of what tells a snapshot, a machine or an error from another is left out.
    assert all((entries[0][snapshot] in row) for row in rows)
    assert "".join(notes).replace(" ", "") == error.replace(" ", "")


def test_table_fits_with_ids_and_prefixes_that_are_longer_than_any() -> None:
    odd = {key: f"{value}{'x' * 90}{value}" for key, value in LONGEST.items()}
    for snapshot in ("id", "name"):
        lines = outcome_table([{**odd, "host": "web1" * 9, "name": f"{'prefix-' * 20}{CLOSED}"}], snapshot)
        assert max(map(display_width, as_debug_shows(lines))) <= 80
        assert lines[1].startswith("web1...eb1")


def test_table_of_a_large_fleet_fits_and_tells_its_machines_apart() -> None:
    entries = [
        {**LONGEST, "host": f"{'frontend-' * 20}{number:04}.example.org", "name": CLOSED, "error": "It is broken."}
        for number in range(2000)
    ]
    for snapshot in ("id", "name"):
        lines = outcome_table(entries, snapshot)
        assert max(map(display_width, as_debug_shows(lines))) <= 80
        assert len(lines) == 1 + 2000 + 1
        assert len({line.split()[0] for line in lines[1:-1]}) == 2000


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["host", *LONGEST, "name", "error"]), st.text(st.characters())), max_size=4
    ),
    st.sampled_from(["id", "name"]),
    st.sampled_from([1, 20, WIDTH_IN_DEBUG, 132]),
)
def test_no_text_makes_a_line_too_wide_or_acts_on_the_terminal(
    entries: list[dict[str, str]], snapshot: str, width: int
) -> None:
    lines = outcome_table(entries, snapshot, width)
    assert all(line.isprintable() and display_width(line) <= width for line in lines)
    if width == WIDTH_IN_DEBUG:
        assert max(map(display_width, as_debug_shows(lines))) <= 80


def test_table_of_nothing_has_its_heading() -> None:
    assert len(outcome_table([])) == 1


def test_table_of_unknown_kind_is_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="snapshot is id or name"):
        outcome_table([], snapshot="size")
