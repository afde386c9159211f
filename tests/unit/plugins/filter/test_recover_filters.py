# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters with which the role maintenance finds and resolves open runs."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.community.paperspace.plugins.filter.open_run_lines import open_run_lines
from ansible_collections.community.paperspace.plugins.filter.open_runs import open_runs
from ansible_collections.community.paperspace.plugins.filter.recover_command import recover_command
from ansible_collections.community.paperspace.plugins.filter.recovery_plan import recovery_plan
from ansible_collections.community.paperspace.plugins.filter.recovery_rows import recovery_rows

RUN, NEWER = "20260131T235959Z-1a2b", "20260201T000000Z-3c4d"
OPEN = f"maint-{RUN}"
WEB = [{"host": f"web{number}", "machine_id": f"ps{number}"} for number in (1, 2, 3)]


def snapshot(number: int, name: str = OPEN, **more: Any) -> dict[str, Any]:
    """A snapshot of the machine of this number. C(more) are its other fields."""
    return {"id": f"ss{number}", "machine_id": f"ps{number}", "name": name, **more}


def proven(*numbers: int, proof: str = "done", detail: str | None = None) -> list[dict[str, Any]]:
    return [snapshot(number, proof=proof, proof_detail=detail) for number in numbers]


def plan(found: list[dict[str, Any]], action: str = "rollback", **options: Any) -> dict[str, Any]:
    return recovery_plan(found, WEB, action, **options)


def hosts(entries: list[dict[str, Any]]) -> list[str]:
    return [entry["host"] for entry in entries]


def test_open_runs_newest_first_with_machines_in_the_targets_order() -> None:
    found = [snapshot(3), snapshot(2), snapshot(1, f"maint-{NEWER}")]
    newer, older = open_runs(found, WEB)
    assert [newer["run_id"], older["run_id"]] == [NEWER, RUN]
    assert older["name"] == OPEN
    assert older["began"] == "2026-01-31 23:59:59 UTC"
    assert hosts(older["machines"]) == ["web2", "web3"]
    assert newer["machines"] == [
        {"host": "web1", "machine_id": "ps1", "id": "ss1", "proof": None, "proof_detail": None, "newer": None}
    ]


@pytest.mark.parametrize(
    "other",
    [
        snapshot(1, f"{OPEN}-ok"),
        snapshot(1, f"{OPEN}-restored"),
        snapshot(1, f"other-{RUN}"),
        snapshot(1, f"{OPEN}-copy"),
        snapshot(1, "maint-by-hand"),
        snapshot(1, is_auto_snapshot=True),
        snapshot(9),
    ],
)
def test_what_is_no_open_snapshot_of_a_target_is_no_open_run(other: dict[str, Any]) -> None:
    assert open_runs([other], WEB) == []


def test_newer_run_on_a_machine_is_told_by_the_order_of_the_snapshots() -> None:
    """Not by the run ids, which can be given by hand."""
    found = [snapshot(1), snapshot(1, f"maint-{NEWER}")]
    first, second = open_runs(found, WEB)
    assert (first["run_id"], first["machines"][0]["newer"]) == (NEWER, RUN)
    assert (second["run_id"], second["machines"][0]["newer"]) == (RUN, None)


def test_command_survives_a_shell_and_ansibles_own_splitting() -> None:
    command = recover_command(RUN, "keep", ["my inventory.yml", "a,"], "web:&it's", {"recover_prefix": "it's a-"})
    words = shlex.split(command)
    assert words[:8] == [
        "ansible-playbook",
        "community.paperspace.recover",
        "-i",
        "my inventory.yml",
        "-i",
        "a,",
        "-l",
        "web:&it's",
    ]
    assert [shlex.split(words[number]) for number in (9, 11, 13)] == [
        [f"recover_run_id={RUN}"],
        ["recover_action=keep"],
        ["recover_prefix=it's a-"],
    ]
    assert "\n" not in command


def test_command_without_inventory_and_limit() -> None:
    assert recover_command(RUN, "rollback") == (
        f"ansible-playbook community.paperspace.recover -e recover_run_id={RUN} -e recover_action=rollback"
    )


def test_unknown_actions_are_refused() -> None:
    with pytest.raises(AnsibleFilterError, match="'undo' is not an action of recover"):
        recover_command(RUN, "undo")
    with pytest.raises(AnsibleFilterError, match="'list' is not an action of a recovery"):
        plan([], "list")
    with pytest.raises(AnsibleFilterError, match="'list' is not an action of a recovery"):
        recovery_rows(plan([]), WEB, "list")


def test_lines_show_each_run_with_its_commands() -> None:
    found = [*proven(1), *proven(2, proof="running", detail="it is still being made (event me1)"), snapshot(3)]
    lines = open_run_lines(open_runs(found, WEB), ["hosts"])
    assert lines == [
        "1 run is open on these machines.",
        "",
        f"Run {RUN}, begun 2026-01-31 23:59:59 UTC",
        f"Snapshots named {OPEN}",
        "HOST  MACHINE  STATUS   SNAPSHOT",
        "web1  ps1      proven   ss1",
        "web2  ps2      running  ss2",
        "    Its snapshot is not proven done: it is still being made (event",
        "    me1).",
        "web3  ps3      open     ss3",
        "To put them back, which destroys what has changed on disk since:",
        "  " + recover_command(RUN, "rollback", ["hosts"]),
        "To keep them as they are:",
        "  " + recover_command(RUN, "keep", ["hosts"]),
    ]


def test_lines_name_the_newer_run() -> None:
    lines = open_run_lines(open_runs([snapshot(1, f"maint-{NEWER}"), snapshot(1)], WEB))
    assert lines[0] == "2 runs are open on these machines."
    assert f"Run {NEWER} is newer and open on it as well" in " ".join(lines)


def test_lines_of_nothing() -> None:
    assert open_run_lines([]) == ["No run is open on these machines."]


def test_only_open_run_is_taken_and_other_machines_are_left() -> None:
    found = plan([snapshot(1), snapshot(2, f"{OPEN}-ok")])
    assert found["run_id"] == RUN
    assert found["problems"] == found["refused"] == found["waiting"] == []
    assert found["due"] == [{"host": "web1", "machine_id": "ps1", "id": "ss1"}]
    assert found["left"] == [
        {"host": "web2", "machine_id": "ps2", "id": "ss2"},
        {"host": "web3", "machine_id": "ps3", "id": None},
    ]


def test_nothing_open_is_nothing_to_do() -> None:
    found = plan([snapshot(1, f"{OPEN}-ok")])
    assert (found["run_id"], found["problems"], hosts(found["left"])) == ("", [], ["web1", "web2", "web3"])


def test_closed_run_that_is_named_is_nothing_to_do() -> None:
    found = plan([snapshot(1, f"{OPEN}-ok")], run_id=RUN)
    assert (found["run_id"], found["problems"], hosts(found["left"])) == (RUN, [], ["web1", "web2", "web3"])


@pytest.mark.parametrize("action", ["rollback", "keep"])
def test_several_open_runs_have_to_be_named(action: str) -> None:
    found = [snapshot(1), snapshot(2), snapshot(3, f"maint-{NEWER}")]
    [problem] = plan(found, action)["problems"]
    assert f"{NEWER} (1 machine), {RUN} (2 machines)." in problem
    assert "recover_run_id" in problem
    named = plan(found, action, run_id=NEWER)
    assert (named["problems"], hosts(named["due"]), hosts(named["left"])) == ([], ["web3"], ["web1", "web2"])


@pytest.mark.parametrize(
    ("found", "said"),
    [([], "No run is open on them."), ([snapshot(1)], f"Open on them: {RUN} (1 machine).")],
)
def test_unknown_run_is_a_problem(found: list[dict[str, Any]], said: str) -> None:
    [problem] = plan(found, run_id=NEWER)["problems"]
    assert problem == f"None of these machines has a snapshot maint-{NEWER}. {said}"


def test_run_of_machines_that_are_not_meant_is_unknown() -> None:
    assert plan([snapshot(9)], run_id=RUN)["problems"]


def test_older_run_is_kept_but_not_rolled_back_under_a_newer_one() -> None:
    found = [snapshot(1, f"maint-{NEWER}"), snapshot(1), snapshot(2)]
    rollback = plan(found, "rollback", run_id=RUN)
    assert hosts(rollback["due"]) == ["web2"]
    [refused] = rollback["refused"]
    assert (refused["host"], refused["status"]) == ("web1", "open")
    assert f"Run {NEWER} is newer" in refused["error"]
    assert hosts(plan(found, "keep", run_id=RUN)["due"]) == ["web1", "web2"]
    assert hosts(plan(found, "rollback", run_id=NEWER)["due"]) == ["web1"]


@pytest.mark.parametrize("name", [OPEN, f"{OPEN}-ok", f"{OPEN}-restored"])
@pytest.mark.parametrize("action", ["rollback", "keep"])
def test_machine_with_several_snapshots_of_the_run_is_refused_alone(action: str, name: str) -> None:
    found = plan([snapshot(1), {**snapshot(1, name), "id": "other"}, snapshot(2)], action)
    [refused] = found["refused"]
    assert refused["error"].startswith("It has several snapshots of this run: ss1, other.")
    assert (hosts(found["due"]), found["problems"]) == (["web2"], [])


def test_proofs_part_the_machines() -> None:
    proofs = [
        *proven(1),
        *proven(2, proof="running", detail="it is still being made (event me2)"),
    ]
    found = plan([snapshot(1), snapshot(2), snapshot(3)], proofs=proofs)
    assert hosts(found["due"]) == ["web1"]
    assert [(entry["host"], entry["detail"]) for entry in found["waiting"]] == [
        ("web2", "it is still being made (event me2)")
    ]
    [gone] = found["refused"]
    assert (gone["status"], gone["is_unusable"]) == ("failed", False)
    assert "Its snapshot ss3 was deleted or renamed by somebody else meanwhile." in gone["error"]


def test_run_that_was_closed_as_ok_meanwhile_is_not_rolled_back() -> None:
    """By its own controller, which lives: the maintenance of the machine came through."""
    found = plan([snapshot(1), snapshot(2)], proofs=[{**proven(1)[0], "name": f"{OPEN}-ok"}, *proven(2)])
    assert hosts(found["due"]) == ["web2"]
    [refused] = found["refused"]
    assert (refused["host"], refused["status"], refused["is_unusable"]) == ("web1", "failed", False)
    assert f"Its snapshot ss1 is named {OPEN}-ok now: the run is not open for it any more." in refused["error"]
    assert "community.paperspace.rollback" in refused["error"]


def test_run_that_was_rolled_back_meanwhile_is_not_kept() -> None:
    found = plan([snapshot(1)], "keep", proofs=[{**proven(1)[0], "name": f"{OPEN}-restored"}])
    assert found["due"] == []
    assert f"Its snapshot ss1 is named {OPEN}-restored now" in found["refused"][0]["error"]


@pytest.mark.parametrize("name", [f"maint-{NEWER}", f"{OPEN}-old", "by-hand"])
@pytest.mark.parametrize("action", ["rollback", "keep"])
def test_snapshot_that_was_named_otherwise_meanwhile_is_not_acted_on(action: str, name: str) -> None:
    found = plan([snapshot(1)], action, proofs=[{**proven(1)[0], "name": name}])
    assert found["due"] == []
    assert f"Its snapshot ss1 is named {name} now" in found["refused"][0]["error"]


@pytest.mark.parametrize(("action", "outcome"), [("rollback", "restored"), ("keep", "ok")])
def test_run_that_was_closed_meanwhile_as_it_is_to_be_is_no_failure(action: str, outcome: str) -> None:
    """By the same command on another controller. What closes it finds that, and restores nothing."""
    found = plan([snapshot(1)], action, proofs=[{**proven(1)[0], "name": f"{OPEN}-{outcome}"}])
    assert (hosts(found["due"]), found["refused"]) == (["web1"], [])


@pytest.mark.parametrize(("proof", "status", "is_unusable"), [("failed", "failed", True), ("unsure", "unsure", False)])
@pytest.mark.parametrize("action", ["rollback", "keep"])
def test_snapshot_that_cannot_be_relied_on_is_never_acted_on(
    action: str, proof: str, status: str, is_unusable: bool
) -> None:
    found = plan([snapshot(1)], action, proofs=proven(1, proof=proof, detail="making it failed: event me1 (error)"))
    assert found["due"] == found["waiting"] == []
    [refused] = found["refused"]
    assert (refused["status"], refused["is_unusable"]) == (status, is_unusable)
    assert "making it failed: event me1 (error)" in refused["error"]


def rows(found: dict[str, Any], action: str = "rollback", **options: Any) -> dict[str, tuple[str, bool, str]]:
    """Status, whether it is bad, and error, by host."""
    return {
        row["host"]: (row["status"], row["is_bad"], row["error"])
        for row in recovery_rows(found, WEB, action, **options)
    }


@pytest.mark.parametrize(
    ("action", "outcome", "status"), [("rollback", "restored", "restored"), ("keep", "ok", "kept")]
)
def test_machine_has_come_through_when_its_name_says_so(action: str, outcome: str, status: str) -> None:
    found = plan([snapshot(1), snapshot(2)], action)
    after = [snapshot(1, f"{OPEN}-{outcome}"), snapshot(2)]
    result = rows(found, action, snapshots=after)
    assert result["web1"] == (status, False, "")
    assert result["web2"] == ("open", True, "The run is still open for it.")
    assert result["web3"] == ("skipped", False, "")


def test_rows_are_in_the_order_of_the_targets() -> None:
    found = plan([snapshot(2)])
    assert hosts(recovery_rows(found, WEB, "rollback", [snapshot(2)])) == ["web1", "web2", "web3"]


def test_failure_is_bad_though_the_run_is_closed() -> None:
    found = plan([snapshot(1), snapshot(2)])
    after = [snapshot(1, f"{OPEN}-restored"), snapshot(2)]
    result = rows(found, snapshots=after, failures={"web1": "It does not answer.", "web2": "No space.", "web3": ""})
    assert result["web1"] == ("restored", True, "It does not answer.")
    assert result["web2"] == ("open", True, "No space.")


@pytest.mark.parametrize(
    ("after", "said"),
    [([], "is not there any more"), ([snapshot(1, f"{OPEN}-ok")], "Somebody else closed the run for it as ok.")],
)
def test_what_somebody_else_did_is_no_success(after: list[dict[str, Any]], said: str) -> None:
    status, is_bad, error = rows(plan([snapshot(1)]), snapshots=after)["web1"]
    assert (status, is_bad) == ("failed", True)
    assert said in error


def test_names_that_could_not_be_read_are_no_proof() -> None:
    status, is_bad, error = rows(plan([snapshot(1)]), snapshots=None, failures={"web1": "Odd."})["web1"]
    assert (status, is_bad) == ("unsure", True)
    assert error == "Odd. What its snapshot is named now could not be read."


@pytest.mark.parametrize(("action", "status"), [("rollback", "would_restore"), ("keep", "would_keep")])
def test_check_mode_foretells(action: str, status: str) -> None:
    proofs = [*proven(1), *proven(2, proof="running", detail="it is still being made"), *proven(3)]
    found = plan([snapshot(1), snapshot(2), snapshot(3)], action, proofs=proofs)
    result = rows(found, action, is_check=True, failures={"web3": "Refused."})
    assert result["web1"] == (status, False, "")
    assert result["web2"] == (status, False, "First this would be waited for: it is still being made.")
    assert result["web3"] == ("failed", True, "Refused.")


def test_create_that_did_not_end_is_timed_out() -> None:
    found = plan([snapshot(1)], proofs=proven(1, proof="running", detail="it is still being made"))
    status, is_bad, error = rows(found)["web1"]
    assert (status, is_bad) == ("timed_out", True)
    assert "it is still being made. Run the same command again." in error


def test_refusals_are_bad() -> None:
    found = plan([snapshot(1)], proofs=proven(1, proof="failed", detail="making it failed"))
    assert rows(found, is_check=True)["web1"][:2] == ("failed", True)
