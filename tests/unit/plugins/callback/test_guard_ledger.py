# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The callback beside Ansible's own inventory, plays and iterators. What only whole playbooks show, tests/e2e has."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible import constants
from ansible.executor import task_result
from ansible.executor.play_iterator import IteratingStates, PlayIterator
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play import Play
from ansible.playbook.play_context import PlayContext
from ansible.plugins.callback import CallbackBase
from ansible.vars.manager import VariableManager

from ansible_collections.community.paperspace.plugins.callback import guard_ledger
from ansible_collections.community.paperspace.plugins.plugin_utils._ledger import judge, read_ledger

pytestmark = pytest.mark.smoke

VARIABLE = "COMMUNITY_PAPERSPACE_GUARD_LEDGER"
HOSTS = ("a", "b", "c")
TASK = {"name": "Patch", "debug": {"msg": "patched"}}


class Stage:
    """A callback, and what Ansible tells it. C(lines) are those that are on the disk, without numbers and times."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.callback = guard_ledger.CallbackModule()
        self.file: Any = None
        self.warnings: list[str] = []
        self.errors: list[str] = []
        monkeypatch.setattr(self.callback._display, "warning", lambda text, *args, **kwargs: self.warnings.append(text))
        monkeypatch.setattr(self.callback._display, "error", lambda text, *args, **kwargs: self.errors.append(text))
        # It replaces what Ansible has.
        for name in ("__init__", "mark_host_failed", "clear_host_errors"):
            monkeypatch.setattr(PlayIterator, name, getattr(PlayIterator, name))
        for module_name, name in guard_ledger.LEFT_BY_NO_LOG:
            with contextlib.suppress(ImportError, AttributeError):
                module = importlib.import_module(module_name)
                monkeypatch.setattr(module, name, getattr(module, name))
        loader = DataLoader()
        self.inventory = InventoryManager(loader=loader, sources=[f"{','.join(HOSTS)},"])
        for group, hosts in {"web": "ab", "db": "c", "empty": ""}.items():
            self.inventory.add_group(group)
            for host in hosts:
                self.inventory.add_host(host, group=group)
        self.inventory.reconcile_inventory()
        self.loader, self.variables = loader, VariableManager(loader=loader, inventory=self.inventory)

    def enable(self, path: str | None) -> None:
        self.callback.get_option = lambda name: path  # type: ignore[method-assign]
        self.callback.set_options()
        self.file = self.file or self.callback._file

    def close(self) -> None:
        """As the end of the process does."""
        if self.file is not None:
            self.file.close()

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [{key: line[key] for key in line if key not in ("n", "at")} for line in read_ledger(self.path)]

    def events(self, *names: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] in names]

    @property
    def verdicts(self) -> str:
        return " ".join(verdict.verdict for verdict in judge(read_ledger(self.path), HOSTS).verdicts.values())

    def play(self, hosts: Any = "all", tasks: Iterable[Any] = (TASK,), **keywords: Any) -> Any:
        fields = {"name": f"Play on {hosts}", "hosts": hosts, "gather_facts": False, "tasks": list(tasks), **keywords}
        return Play.load(fields, variable_manager=self.variables, loader=self.loader)

    def start(self, *plays: Any) -> None:
        book = SimpleNamespace(get_plays=lambda: list(plays), _file_name="/book.yml")
        self.callback.v2_playbook_on_start(book)

    def begin(self, play: Any) -> PlayIterator:
        self.callback.v2_playbook_on_play_start(play)
        return PlayIterator(self.inventory, play, PlayContext(play), self.variables, {})

    def next(self, iterator: PlayIterator, name: str) -> Any:
        """The host's next task that is not one of Ansible's own, as it begins; None at its end."""
        while True:
            dummy, task = iterator.get_next_task_for_host(self.host(name))
            if task is None or "meta" not in task.action:
                break
        if task is not None:
            self.callback.v2_runner_on_start(self.host(name), task)
        return task

    def run(self, iterator: PlayIterator, *names: str) -> None:
        """All tasks of these hosts, and all is well."""
        for name in names:
            while (task := self.next(iterator, name)) is not None:
                self.callback.v2_runner_on_ok(result(name, task))

    def fail(self, iterator: PlayIterator, name: str, task: Any, **content: Any) -> None:
        iterator.mark_host_failed(self.host(name))
        self.callback.v2_runner_on_failed(result(name, task, **content or {"msg": "No."}))

    def finish(self) -> None:
        self.callback.v2_playbook_on_stats(SimpleNamespace())

    def host(self, name: str) -> Any:
        return self.inventory.get_host(name)


def result(name: str, task: Any, delegate_to: str | None = None, **content: Any) -> Any:
    """As Ansible 2.16 has it; later ones have public names too. C(delegate_to) is what the worker made of it."""
    fields = {"delegate_to": delegate_to or task.delegate_to}
    return SimpleNamespace(_host=name, _task=task, _result=content, _task_fields=fields)


@pytest.fixture
def blank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A callback without options."""
    monkeypatch.setattr(CallbackBase, "set_options", lambda *args, **kwargs: None)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "ledger"))
    stage = Stage(tmp_path / "ledger", monkeypatch)
    yield stage
    stage.close()


@pytest.fixture
def stage(blank: Stage) -> Stage:
    blank.enable(str(blank.path))
    return blank


# Whole playbooks.


def test_playbook_that_ends_well(stage: Stage) -> None:
    web, everybody = stage.play("web"), stage.play("all", [TASK, TASK])
    first = {"play": web._uuid, "name": "Play on web", "hosts": ["a", "b"]}
    second = {"play": everybody._uuid, "name": "Play on all", "hosts": ["a", "b", "c"]}
    stage.start(web, everybody)
    stage.run(stage.begin(web), "a", "b")
    stage.run(stage.begin(everybody), "a", "b", "c")
    stage.finish()
    assert stage.lines == [
        {"event": "start"},
        {"event": "playbook", "playbook": "/book.yml", "known": ["a", "b", "c"], "ahead": [first, second]},
        {"event": "play", **first},
        {"event": "batch", "play": web._uuid, "hosts": ["a", "b"]},
        {"event": "touched", "host": "a", "task": "Patch"},
        {"event": "touched", "host": "b", "task": "Patch"},
        {"event": "end", "play": web._uuid, "ended": ["a", "b"], "end_play": False, "ahead": [second]},
        {"event": "play", **second},
        {"event": "batch", "play": everybody._uuid, "hosts": ["a", "b", "c"]},
        {"event": "touched", "host": "c", "task": "Patch"},
        {"event": "end", "play": everybody._uuid, "ended": ["a", "b", "c"], "end_play": False, "ahead": []},
        {"event": "stats", "ahead": []},
    ]
    assert stage.verdicts == "ok ok ok"
    assert stage.warnings == []


def test_each_line_is_on_the_disk_before_ansible_goes_on(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(len(stage.lines)))
    play = stage.play()
    stage.start(play)
    iterator = stage.begin(play)
    counts = [len(stage.lines)]
    for name in HOSTS:
        stage.next(iterator, name)
        counts.append(len(stage.lines))
    assert counts == [4, 5, 6, 7]
    assert synced == [2, 3, 4, 5, 6, 7]


def test_only_the_user_can_read_it(stage: Stage) -> None:
    assert stage.path.stat().st_mode & 0o777 == 0o600


def test_host_in_the_middle_of_a_play_has_not_ended(stage: Stage) -> None:
    play = stage.play(tasks=[TASK, TASK])
    stage.start(play)
    iterator = stage.begin(play)
    stage.run(iterator, "a")
    stage.next(iterator, "b")
    stage.finish()
    assert stage.events("end")[0]["ended"] == ["a"]
    assert stage.verdicts == "ok incomplete untouched"


def test_play_that_was_not_begun_is_ahead(stage: Stage) -> None:
    web, everybody = stage.play("web"), stage.play("all")
    stage.start(web, everybody)
    stage.run(stage.begin(web), "a", "b")
    stage.finish()
    assert [play["play"] for play in stage.events("stats")[0]["ahead"]] == [everybody._uuid]
    assert stage.verdicts == "incomplete incomplete untouched"


def test_hosts_that_are_ended_on_purpose_have_ended(stage: Stage) -> None:
    play = stage.play(tasks=[TASK, TASK])
    stage.start(play)
    iterator = stage.begin(play)
    for name in HOSTS:
        stage.next(iterator, name)
    # As end_host and end_batch do it.
    iterator.set_run_state_for_host("b", IteratingStates.COMPLETE)
    stage.finish()
    assert stage.events("end")[0]["ended"] == ["b"]


def test_play_that_is_ended_on_purpose_is_told_so(stage: Stage) -> None:
    play = stage.play(serial=1)
    stage.start(play)
    iterator = stage.begin(play)
    iterator.end_play = True
    stage.finish()
    assert stage.events("end")[0]["end_play"] is True


# What goes wrong.


def test_failure(stage: Stage) -> None:
    play = stage.play()
    stage.start(play)
    iterator = stage.begin(play)
    stage.run(iterator, "a", "c")
    stage.fail(iterator, "b", stage.next(iterator, "b"))
    stage.finish()
    assert stage.events("lost", "failed", "end")[:2] == [
        {"event": "lost", "host": "b"},
        {"event": "failed", "host": "b", "task": "Patch", "error": "No.", "targets": [], "for_all": False},
    ]
    assert stage.events("end")[0]["ended"] == ["a", "c"]
    assert stage.verdicts == "ok failed ok"


def test_failure_that_is_rescued(stage: Stage) -> None:
    block = {"block": [TASK, TASK], "rescue": [{**TASK, "name": "Mend"}]}
    play = stage.play(tasks=[block])
    stage.start(play)
    iterator = stage.begin(play)
    stage.fail(iterator, "b", stage.next(iterator, "b"))
    assert stage.events("lost", "failed", "rescued")[0]["event"] == "rescued"
    stage.run(iterator, "b")
    stage.finish()
    assert stage.events("end")[0]["ended"] == ["b"]
    assert stage.verdicts == "untouched ok untouched"


def test_rescue_that_fails(stage: Stage) -> None:
    play = stage.play(tasks=[{"block": [TASK], "rescue": [{**TASK, "name": "Mend"}]}])
    stage.start(play)
    iterator = stage.begin(play)
    for dummy in range(2):
        stage.fail(iterator, "b", stage.next(iterator, "b"))
    stage.finish()
    assert [line["event"] for line in stage.events("lost", "failed", "rescued")] == ["rescued", "lost", "failed"]
    assert stage.verdicts == "untouched failed untouched"


def test_failure_that_is_told_before_the_host_is_given_up(stage: Stage) -> None:
    """As that of an include."""
    play = stage.play()
    stage.start(play)
    iterator = stage.begin(play)
    task = stage.next(iterator, "b")
    stage.callback.v2_runner_on_failed(result("b", task, reason="There is no such file."))
    iterator.mark_host_failed(stage.host("b"))
    stage.finish()
    assert stage.verdicts == "untouched failed untouched"
    reason = judge(read_ledger(stage.path), HOSTS).verdicts["b"].reason
    assert reason
    assert reason.error == "There is no such file."


def test_failure_that_is_ignored_is_none(stage: Stage) -> None:
    play = stage.play()
    stage.start(play)
    iterator = stage.begin(play)
    stage.callback.v2_runner_on_failed(result("b", stage.next(iterator, "b"), msg="No."), ignore_errors=True)
    stage.run(iterator, "b")
    stage.finish()
    assert stage.events("failed", "rescued", "lost") == []
    assert stage.verdicts == "untouched ok untouched"


def test_unreachable_host_is_lost_whatever_comes_after(stage: Stage) -> None:
    play = stage.play()
    stage.start(play)
    iterator = stage.begin(play)
    stage.callback.v2_runner_on_unreachable(result("b", stage.next(iterator, "b"), msg="Timeout.", unreachable=True))
    stage.run(iterator, *HOSTS)
    stage.finish()
    assert stage.verdicts == "ok unreachable ok"


def test_failure_that_is_forgiven_stands(stage: Stage) -> None:
    """clear_host_errors lets the host take part again; any_errors_fatal gives up those that did not fail."""
    play = stage.play()
    stage.start(play)
    iterator = stage.begin(play)
    stage.next(iterator, "a")
    stage.fail(iterator, "b", stage.next(iterator, "b"))
    iterator.mark_host_failed(stage.host("a"))
    for name in ("a", "b"):
        iterator.clear_host_errors(stage.host(name))
        stage.run(iterator, name)
    stage.finish()
    assert stage.events("end")[0]["ended"] == ["a", "b"]
    assert stage.verdicts == "incomplete failed untouched"


CLEAR = {"name": "Mend", "debug": {"msg": "mended"}}
FORGIVING = {"block": [TASK], "always": [CLEAR]}


@pytest.mark.parametrize(
    "block",
    [
        FORGIVING,
        # The rescue around it does not come to its turn.
        {"block": [FORGIVING, TASK], "rescue": [TASK]},
        {"block": [{"block": [FORGIVING]}]},
        {"block": [TASK], "rescue": [FORGIVING]},
        {"block": [TASK], "rescue": [TASK], "always": [CLEAR]},
    ],
)
def test_failure_that_is_forgiven_before_the_host_is_given_up_stands(stage: Stage, block: dict[str, Any]) -> None:
    """clear_host_errors in the always of its block, or in one that another host is in."""
    play = stage.play(tasks=[block, TASK])
    stage.start(play)
    iterator = stage.begin(play)
    while (task := stage.next(iterator, "b")).name != "Mend":
        stage.fail(iterator, "b", task)
    assert stage.events("lost") == []
    for name in HOSTS:
        iterator.clear_host_errors(stage.host(name))
    stage.run(iterator, *HOSTS)
    stage.finish()
    assert stage.events("end")[0]["ended"] == ["a", "b", "c"]
    assert stage.verdicts == "ok failed ok"


def test_failure_that_is_forgiven_when_its_always_is_over_stands(stage: Stage) -> None:
    """The host has no task any more when another comes to clear_host_errors."""
    play = stage.play(tasks=[FORGIVING, TASK])
    stage.start(play)
    iterator = stage.begin(play)
    stage.fail(iterator, "b", stage.next(iterator, "b"))
    stage.run(iterator, "b")
    iterator.clear_host_errors(stage.host("b"))
    stage.run(iterator, *HOSTS)
    stage.finish()
    assert stage.verdicts == "ok failed ok"


@pytest.mark.parametrize("has_ended", [False, True])
def test_failure_that_is_rescued_needs_no_forgiveness(stage: Stage, has_ended: bool) -> None:
    play = stage.play(tasks=[{"block": [{"block": [TASK]}], "rescue": [CLEAR], "always": [TASK]}, TASK])
    stage.start(play)
    iterator = stage.begin(play)
    stage.fail(iterator, "b", stage.next(iterator, "b"))
    stage.next(iterator, "b")
    if has_ended:
        stage.next(iterator, "b")
    iterator.clear_host_errors(stage.host("b"))
    stage.run(iterator, *HOSTS)
    stage.finish()
    assert stage.events("lost") == []
    assert stage.verdicts == "ok ok ok"


def test_failure_that_is_forgiven_in_a_handler_of_its_rescue_is_rescued(stage: Stage) -> None:
    play = stage.play(tasks=[{"block": [TASK], "rescue": [CLEAR]}])
    stage.start(play)
    iterator = stage.begin(play)
    stage.fail(iterator, "b", stage.next(iterator, "b"))
    # As flush_handlers does it.
    state = iterator.get_state_for_host("b")
    state.pre_flushing_run_state, state.run_state = state.run_state, IteratingStates.HANDLERS
    iterator.clear_host_errors(stage.host("b"))
    stage.run(iterator, *HOSTS)
    stage.finish()
    assert stage.verdicts == "ok ok ok"


def test_task_that_runs_once_is_for_all(stage: Stage) -> None:
    play = stage.play(tasks=[{**TASK, "run_once": True}])
    stage.start(play)
    iterator = stage.begin(play)
    stage.fail(iterator, "a", stage.next(iterator, "a"))
    assert stage.events("failed")[0]["for_all"] is True


def test_strategy_that_does_not_tell_of_a_start(stage: Stage) -> None:
    play = stage.play()
    stage.start(play)
    iterator = stage.begin(play)
    dummy, task = iterator.get_next_task_for_host(stage.host("a"))
    stage.callback.v2_runner_on_ok(result("a", task))
    assert [line["host"] for line in stage.events("touched")] == ["a"]


LOOP = {**TASK, "loop": ["one", "two"]}


def unreachable_item(stage: Stage, task: Any) -> None:
    """One item of b's loop does not reach it, and another fails: then Ansible takes the task for failed."""
    stage.callback.v2_runner_item_on_failed(result("b", task, item="one", msg="Timeout.", unreachable=True))
    stage.callback.v2_runner_item_on_failed(result("b", task, item="two", msg="No."))


def test_item_that_is_unreachable_counts_though_another_fails_and_is_ignored(stage: Stage) -> None:
    play = stage.play(tasks=[LOOP])
    stage.start(play)
    iterator = stage.begin(play)
    task = stage.next(iterator, "b")
    unreachable_item(stage, task)
    stage.callback.v2_runner_on_failed(result("b", task, results=[{}, {}]), ignore_errors=True)
    stage.run(iterator, *HOSTS)
    stage.finish()
    assert stage.verdicts == "ok unreachable ok"
    reason = judge(read_ledger(stage.path), HOSTS).verdicts["b"].reason
    assert reason
    assert (reason.task, reason.error) == ("Patch", "Timeout.")


def test_item_that_is_unreachable_counts_though_another_fails_and_is_rescued(stage: Stage) -> None:
    play = stage.play(tasks=[{"block": [LOOP], "rescue": [{**TASK, "name": "Mend"}]}])
    stage.start(play)
    iterator = stage.begin(play)
    task = stage.next(iterator, "b")
    unreachable_item(stage, task)
    stage.fail(iterator, "b", task, results=[{}, {}])
    stage.run(iterator, "b")
    stage.finish()
    assert stage.verdicts == "untouched unreachable untouched"


def test_item_that_fails_and_is_ignored_is_no_trouble(stage: Stage) -> None:
    play = stage.play(tasks=[LOOP])
    stage.start(play)
    iterator = stage.begin(play)
    task = stage.next(iterator, "b")
    stage.callback.v2_runner_item_on_failed(result("b", task, item="two", msg="No."))
    stage.callback.v2_runner_on_failed(result("b", task, results=[{}, {}]), ignore_errors=True)
    stage.run(iterator, "b")
    stage.finish()
    assert stage.verdicts == "untouched ok untouched"


def test_task_that_is_failed_and_unreachable_is_unreachable(stage: Stage) -> None:
    """As an action may have it."""
    play = stage.play()
    stage.start(play)
    iterator = stage.begin(play)
    content = {"msg": "Timeout.", "unreachable": True}
    stage.callback.v2_runner_on_failed(result("b", stage.next(iterator, "b"), **content), ignore_errors=True)
    stage.run(iterator, "b")
    stage.finish()
    assert stage.verdicts == "untouched unreachable untouched"


def test_item_that_is_unreachable_is_known_to_be_though_nothing_is_to_be_logged(stage: Stage) -> None:
    """Callbacks get a copy, from which Ansible takes everything but a few fields."""
    play = stage.play(tasks=[{**LOOP, "no_log": True}])
    stage.start(play)
    iterator = stage.begin(play)
    task = stage.next(iterator, "b")
    content = {"unreachable": True, "msg": "s3cret", "_ansible_no_log": True}
    if hasattr(task_result, "_RawTaskResult"):
        raw = task_result._RawTaskResult(stage.host("b"), task, content, {})
        shown = raw.as_callback_task_result()
    elif hasattr(task_result.TaskResult, "clean_copy"):
        shown = task_result.TaskResult(stage.host("b"), task, content, {}).clean_copy()
    else:
        unified = importlib.import_module("ansible._internal._task").UnifiedTaskResult
        shown = task_result.TaskResult(stage.host("b"), task, unified.from_action_result_dict(content))
    stage.callback.v2_runner_item_on_failed(shown)
    stage.run(iterator, "b")
    stage.finish()
    assert stage.verdicts == "untouched unreachable untouched"
    assert "s3cret" not in stage.path.read_text()


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ({"msg": "It failed."}, "It failed."),
        ({"reason": "It could not begin."}, "It could not begin."),
        ({"msg": "non-zero return code", "stderr": "first\nlast\n"}, "non-zero return code last"),
        ({"msg": "MODULE FAILURE", "module_stderr": "Traceback\nKeyError"}, "MODULE FAILURE KeyError"),
        ({"msg": "a\nb\t c"}, "a b c"),
        ({"msg": "x" * 2000}, "x" * 1000),
        ({"msg": ""}, "it gave no message"),
        ({"msg": ["one", "two"]}, "['one', 'two']"),
        (
            {
                "msg": "One or more items failed",
                "results": [
                    {"item": "one", "failed": False, "msg": "Well."},
                    {"item": "two", "failed": True, "msg": "Bad."},
                    {"item": "three", "unreachable": True, "msg": "Gone."},
                    "nonsense",
                ],
            },
            "One or more items failed two: Bad. three: Gone.",
        ),
    ],
)
def test_error_is_one_line(stage: Stage, content: dict[str, Any], error: str) -> None:
    play = stage.play()
    stage.start(play)
    iterator = stage.begin(play)
    stage.fail(iterator, "a", stage.next(iterator, "a"), **content)
    assert stage.events("failed")[0]["error"] == error


# Tasks for one host on another.


def delegated(stage: Stage, target: str, **keywords: Any) -> tuple[PlayIterator, Any]:
    """The task for a, begun on the target."""
    play = stage.play("a", [{**TASK, "delegate_to": target, **keywords}])
    stage.start(play)
    iterator = stage.begin(play)
    return iterator, stage.next(iterator, "a")


def test_delegated_task(stage: Stage) -> None:
    dummy, task = delegated(stage, "b")
    assert stage.events("delegating") == [{"event": "delegating", "host": "a", "task": "Patch", "target": "b"}]
    assert stage.verdicts == "incomplete incomplete untouched"
    stage.callback.v2_runner_on_ok(result("a", task))
    assert stage.events("delegated") == [{"event": "delegated", "host": "a", "targets": ["b"]}]
    assert stage.verdicts == "incomplete ok untouched"


def test_template_is_known_at_the_end(stage: Stage) -> None:
    dummy, task = delegated(stage, "{{ other }}")
    assert stage.events("delegating")[0]["target"] is None
    assert stage.verdicts == "incomplete incomplete incomplete"
    stage.callback.v2_runner_on_ok(result("a", task, "b"))
    stage.finish()
    assert stage.verdicts == "ok ok untouched"


def test_template_that_stays_unknown(stage: Stage) -> None:
    iterator, task = delegated(stage, "{{ other }}")
    stage.callback.v2_runner_on_ok(result("a", task, results=[{}]))
    stage.run(iterator, "a")
    stage.finish()
    assert stage.events("delegated")[0]["targets"] is None
    assert stage.verdicts == "ok incomplete incomplete"


@pytest.mark.parametrize("target", [None, "b"])
def test_delegated_task_that_is_skipped_touches_nobody(stage: Stage, target: str | None) -> None:
    iterator, task = delegated(stage, "{{ other }}")
    stage.callback.v2_runner_on_skipped(result("a", task, target, skipped=True))
    stage.run(iterator, "a")
    stage.finish()
    assert stage.verdicts == "ok untouched untouched"


def omitted(name: str, task: Any, **content: Any) -> Any:
    """The result of a task whose template was omitted: Ansible has made the task so."""
    done = task.copy()
    done.delegate_to = None
    return result(name, done, **content)


def test_template_that_is_omitted_leaves_the_task_with_its_host(stage: Stage) -> None:
    play = stage.play(tasks=[{**TASK, "delegate_to": "{{ other | default(omit) }}"}])
    stage.start(play)
    iterator = stage.begin(play)
    tasks = {name: stage.next(iterator, name) for name in HOSTS}
    stage.callback.v2_runner_on_ok(omitted("a", tasks["a"]))
    stage.callback.v2_runner_on_skipped(omitted("b", tasks["b"], skipped=True))
    iterator.mark_host_failed(stage.host("c"))
    stage.callback.v2_runner_on_failed(omitted("c", tasks["c"], msg="No."))
    stage.run(iterator, "a", "b")
    stage.finish()
    assert [line["targets"] for line in stage.events("delegated")] == [[], [], []]
    assert stage.events("failed")[0]["targets"] == []
    assert stage.verdicts == "ok ok failed"


def test_template_that_is_omitted_for_an_unreachable_host(stage: Stage) -> None:
    dummy, task = delegated(stage, "{{ other | default(omit) }}")
    stage.callback.v2_runner_on_unreachable(omitted("a", task, msg="Timeout.", unreachable=True))
    assert stage.verdicts == "unreachable untouched untouched"


@pytest.mark.parametrize(
    ("targets", "verdicts"), [(["b", None], "ok ok untouched"), ([None], "ok untouched untouched")]
)
def test_template_that_is_omitted_for_items(stage: Stage, targets: list[str | None], verdicts: str) -> None:
    """Of the loop itself, the task still has the template."""
    iterator, task = delegated(stage, "{{ item | default(omit) }}", loop=["one", "two"])
    for target in targets:
        item = result("a", task, target) if target else omitted("a", task)
        stage.callback.v2_runner_item_on_ok(item)
    stage.callback.v2_runner_on_ok(result("a", task, results=[{}, {}]))
    stage.run(iterator, "a")
    stage.finish()
    assert stage.verdicts == verdicts


def test_delegated_task_that_fails_is_the_trouble_of_both(stage: Stage) -> None:
    iterator, task = delegated(stage, "{{ other }}")
    iterator.mark_host_failed(stage.host("a"))
    stage.callback.v2_runner_on_failed(result("a", task, "b", msg="No."))
    assert stage.events("failed")[0]["targets"] == ["b"]
    assert stage.verdicts == "failed failed untouched"


def test_delegated_task_whose_target_is_unreachable(stage: Stage) -> None:
    dummy, task = delegated(stage, "{{ other }}")
    stage.callback.v2_runner_on_unreachable(result("a", task, "b", msg="Timeout.", unreachable=True))
    assert stage.verdicts == "unreachable unreachable untouched"


def test_loop_over_targets(stage: Stage) -> None:
    iterator, task = delegated(stage, "{{ item }}", loop=["b", "c"])
    stage.callback.v2_runner_item_on_ok(result("a", task, "b"))
    stage.callback.v2_runner_item_on_failed(result("a", task, "c", msg="No."))
    stage.fail(iterator, "a", task, results=[{}, {}])
    assert stage.events("delegated")[0]["targets"] == ["b", "c"]
    assert stage.verdicts == "failed ok failed"


def test_loop_over_targets_of_which_one_is_unreachable_and_ignored(stage: Stage) -> None:
    iterator, task = delegated(stage, "{{ item }}", loop=["b", "c"])
    stage.callback.v2_runner_item_on_failed(result("a", task, "b", msg="Timeout.", unreachable=True))
    stage.callback.v2_runner_item_on_ok(result("a", task, "c"))
    stage.callback.v2_runner_on_ok(result("a", task, results=[{}, {}]))
    stage.run(iterator, "a")
    stage.finish()
    assert stage.verdicts == "unreachable unreachable ok"


def test_loop_over_targets_of_which_one_fails_and_another_is_unreachable_and_both_are_ignored(stage: Stage) -> None:
    iterator, task = delegated(stage, "{{ item }}", loop=["b", "c"])
    stage.callback.v2_runner_item_on_failed(result("a", task, "b", msg="Timeout.", unreachable=True))
    stage.callback.v2_runner_item_on_failed(result("a", task, "c", msg="No."))
    # As later releases of Ansible say it of the whole.
    both = result("a", task, results=[{}, {}], unreachable=True)
    stage.callback.v2_runner_on_failed(both, ignore_errors=True)
    stage.run(iterator, "a")
    stage.finish()
    assert stage.verdicts == "unreachable unreachable ok"


def test_item_whose_target_stays_unknown(stage: Stage) -> None:
    dummy, task = delegated(stage, "{{ item }}", loop=["b", "c"])
    stage.callback.v2_runner_item_on_ok(result("a", task, "b"))
    stage.callback.v2_runner_item_on_ok(result("a", task))
    stage.callback.v2_runner_on_ok(result("a", task, results=[{}, {}]))
    assert stage.events("delegated")[0]["targets"] is None


def test_items_of_an_earlier_loop_are_forgotten(stage: Stage) -> None:
    play = stage.play("a", [{**TASK, "delegate_to": "{{ other }}"}] * 2)
    stage.start(play)
    iterator = stage.begin(play)
    task = stage.next(iterator, "a")
    stage.callback.v2_runner_item_on_ok(result("a", task, "b"))
    task = stage.next(iterator, "a")
    stage.callback.v2_runner_on_ok(result("a", task, "c"))
    assert stage.events("delegated")[-1]["targets"] == ["c"]


# Whose turn a play would be.


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        ("all", ["a", "b", "c"]),
        ("web", ["a", "b"]),
        (["web", "c"], ["a", "b", "c"]),
        ("all:!web", ["c"]),
        ("web:&a", ["a"]),
        ("empty", []),
        ("web:!web", []),
        ("localhost", ["localhost"]),
        # A play before it may make this group.
        ("later", None),
        (["web", "later"], None),
        ("{{ where }}", None),
        (["web", "{{ where }}"], None),
        ("{% if x %}web{% endif %}", None),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_hosts_of_a_play(stage: Stage, hosts: Any, expected: list[str] | None) -> None:
    play = stage.play("all")
    play.hosts = hosts
    stage.start(play)
    assert stage.events("playbook")[0]["ahead"][0]["hosts"] == expected


def test_group_that_is_not_there_may_be_no_error_yet(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    play = stage.play("later")
    monkeypatch.setattr(constants, "HOST_PATTERN_MISMATCH", "error")
    stage.start(play)
    assert stage.events("playbook")[0]["ahead"][0]["hosts"] is None


def test_hosts_of_a_play_do_not_depend_on_those_that_are_left(stage: Stage) -> None:
    """Ansible leaves out of later plays whoever has failed."""
    stage.inventory.restrict_to_hosts([stage.host("a")])
    stage.start(stage.play("all"))
    assert stage.events("playbook")[0]["ahead"][0]["hosts"] == ["a", "b", "c"]


@pytest.mark.parametrize("hosts", ["all:later", "all:!later", "all[0:2]", ["all", "later"]])
@pytest.mark.filterwarnings("ignore")
def test_play_that_has_begun_is_for_the_hosts_that_it_has_now(stage: Stage, hosts: Any) -> None:
    """Also for those of its batches that never come."""
    first, second = stage.play(), stage.play(hosts, serial=1)
    stage.start(first, second)
    stage.run(stage.begin(first), *HOSTS)
    stage.inventory.restrict_to_hosts([stage.host("a")])
    iterator = stage.begin(second)
    stage.fail(iterator, "a", stage.next(iterator, "a"))
    stage.finish()
    assert stage.events("play")[1]["hosts"] == ["a", "b", "c"]
    assert stage.verdicts == "failed incomplete incomplete"


# Whatever happens, the playbook goes on.


def refuse(*args: Any) -> None:
    raise OSError(28, "No space left on device")


class BrokenFile:
    write = close = refuse


def test_ledger_is_given_up_when_a_line_cannot_be_written(stage: Stage) -> None:
    play = stage.play()
    stage.start(play)
    iterator = stage.begin(play)
    stage.run(iterator, "a")
    stage.callback._file = BrokenFile()
    stage.run(iterator, "b", "c")
    stage.finish()
    assert not stage.path.exists()
    assert stage.verdicts == "incomplete incomplete incomplete"
    [warning] = stage.warnings
    assert "No space left on device" in warning


def test_ledger_that_cannot_be_removed_is_emptied(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what it lacks would speak for hosts that something was done to."""
    play = stage.play()
    stage.start(play)
    iterator = stage.begin(play)
    stage.run(iterator, "a")
    monkeypatch.setattr(os, "fsync", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    stage.run(iterator, "b", "c")
    stage.finish()
    stage.close()
    assert stage.path.read_text() == ""
    assert stage.verdicts == "incomplete incomplete incomplete"
    assert len(stage.warnings) == 1


def test_ledger_that_can_neither_be_removed_nor_emptied_does_not_stop_the_playbook(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    play = stage.play()
    stage.start(play)
    for owner, name in ((os, "fsync"), (Path, "unlink"), (os, "truncate")):
        monkeypatch.setattr(owner, name, refuse)
    stage.run(stage.begin(play), "a")
    assert len(stage.warnings) == 1


@pytest.mark.parametrize(
    "hook",
    [
        "v2_playbook_on_start",
        "v2_playbook_on_play_start",
        "v2_runner_item_on_ok",
        "v2_runner_item_on_failed",
        "v2_runner_on_ok",
        "v2_runner_on_skipped",
        "v2_runner_on_failed",
        "v2_runner_on_unreachable",
    ],
)
def test_what_it_does_not_understand_costs_the_ledger_and_nothing_else(stage: Stage, hook: str) -> None:
    getattr(stage.callback, hook)(object())
    assert not stage.path.exists()
    assert len(stage.warnings) == 1
    getattr(stage.callback, hook)(object())
    assert len(stage.warnings) == 1


def test_iterator_that_it_does_not_understand(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    play = stage.play()
    stage.start(play)
    iterator = stage.begin(play)
    stage.run(iterator, *HOSTS)
    monkeypatch.setattr(PlayIterator, "get_next_task_for_host", lambda *args, **kwargs: None)
    stage.finish()
    assert not stage.path.exists()
    assert stage.verdicts == "incomplete incomplete incomplete"


def test_state_that_it_does_not_understand(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    play = stage.play()
    stage.start(play)
    iterator = stage.begin(play)
    stage.fail(iterator, "a", stage.next(iterator, "a"))
    monkeypatch.setattr(guard_ledger, "FailedStates", None)
    iterator.clear_host_errors(stage.host("a"))
    assert not iterator.is_failed(stage.host("a"))
    assert not stage.path.exists()
    assert len(stage.warnings) == 1


@pytest.mark.parametrize("name", ["mark_host_failed", "clear_host_errors"])
def test_release_of_ansible_without_what_it_watches(blank: Stage, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    before = PlayIterator.__init__
    monkeypatch.delattr(PlayIterator, name)
    blank.enable(str(blank.path))
    assert PlayIterator.__init__ is before
    play = blank.play()
    blank.start(play)
    blank.run(blank.begin(play), *HOSTS)
    blank.finish()
    assert not blank.path.exists()
    assert len(blank.warnings) == 1


# How it begins.


def test_what_tasks_start_does_not_write_to_the_ledger(stage: Stage) -> None:
    assert VARIABLE not in os.environ


def test_it_does_nothing_without_a_path(blank: Stage) -> None:
    before = PlayIterator.__init__
    blank.enable(None)
    assert blank.callback.disabled
    assert PlayIterator.__init__ is before
    play = blank.play()
    blank.start(play)
    blank.begin(play)
    blank.finish()
    assert list(blank.path.parent.iterdir()) == []
    assert blank.warnings == []


def test_it_says_so_when_the_ledger_cannot_be_opened(blank: Stage) -> None:
    blank.enable(str(blank.path / "ledger"))
    assert blank.callback.disabled
    assert "cannot be opened" in blank.warnings[0]
    blank.finish()


def test_it_says_so_when_the_first_line_cannot_be_written(blank: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ansible must not meet the error."""
    monkeypatch.setattr(os, "fsync", refuse)
    blank.enable(str(blank.path))
    assert "is given up: OSError" in blank.warnings[0]
    assert not blank.path.exists()
    blank.start(blank.play())
    blank.finish()
    assert len(blank.warnings) == 1


def test_it_stays_with_its_ledger_when_options_are_set_once_more(stage: Stage) -> None:
    stage.enable(None)
    assert not stage.callback.disabled
    stage.start(stage.play())
    assert [line["event"] for line in stage.lines] == ["start", "playbook"]


def with_machines(stage: Stage, now: dict[str, str], guarded: dict[str, str]) -> None:
    for name, machine_id in now.items():
        stage.host(name).set_variable("paperspace_id", machine_id)
    suffix = guard_ledger.MACHINES_SUFFIX
    stage.path.with_name(f"{stage.path.name}{suffix}").write_text(json.dumps(guarded), encoding="utf-8")


def test_hosts_that_are_the_guarded_machines_are_run(stage: Stage) -> None:
    with_machines(stage, {"a": "ps1", "b": "ps2"}, {"a": "ps1", "b": "ps2", "gone": "ps4"})
    stage.start(stage.play())
    assert stage.events("playbook")[0]["known"] == ["a", "b", "c"]
    assert stage.errors == []


@pytest.mark.parametrize("now", [{"a": "ps1", "b": "ps3"}, {"a": "ps1"}])
def test_nothing_is_run_on_hosts_that_are_other_machines_now(stage: Stage, now: dict[str, str]) -> None:
    with_machines(stage, now, {"a": "ps1", "b": "ps2"})
    with pytest.raises(SystemExit) as caught:
        stage.start(stage.play())
    assert caught.value.code not in (0, 2, 4)
    assert "other machines now for b" in stage.errors[0]
    assert stage.verdicts == "untouched untouched untouched"
    assert stage.events("playbook")[0]["known"] == ["a", "c"]
    missed = judge(read_ledger(stage.path), HOSTS).verdicts["b"].missed
    assert missed
