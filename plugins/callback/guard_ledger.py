# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes down what becomes of each host, for the one who has to decide what to roll back."""

from __future__ import annotations

DOCUMENTATION = r"""
name: guard_ledger
type: notification
short_description: Write what becomes of each host to a file
version_added: 1.0.0
author:
  - The community.paperspace authors (@ansible-community)
description:
  - Appends one line of JSON for each event from which it follows whether a host ran everything to its end; each line is
    on the disk before Ansible goes on.
  - It is enabled by M(community.paperspace.guarded_playbook) in the C(ansible-playbook) that it starts, and in nothing
    that this starts in turn. There is no reason to enable it yourself.
  - It never fails a playbook. What it cannot write is missing from the ledger, and a host without proof is rolled back.
options:
  path:
    description:
      - The file to append to. Without it the callback does nothing.
    type: path
    env:
      - name: COMMUNITY_PAPERSPACE_GUARD_LEDGER
requirements:
  - enabled through C(callbacks_enabled)
"""

import contextlib
import functools
import importlib
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.executor.play_iterator import FailedStates, IteratingStates, PlayIterator
from ansible.plugins.callback import CallbackBase

from ansible_collections.community.paperspace.plugins.plugin_utils._ledger import MACHINES_SUFFIX

_PATH_VARIABLE = "COMMUNITY_PAPERSPACE_GUARD_LEDGER"
_ID = "paperspace_id"
_STRANGERS = 3


def _watch_iterators(
    remember: Callable[[PlayIterator], None],
    lose: Callable[[PlayIterator, Any], None],
    forgive: Callable[[PlayIterator, Any], None],
) -> None:
    """Have each iterator shown to C(remember) when it is made, and to C(lose) with each host that it gives up.

    Callbacks are not told when a host has come to the end of a play: C(end_host), C(any_errors_fatal), a lost batch
    and the like show only in the iterator, and Ansible hands it to nobody. That a host is given up can be taken back
    later, by C(clear_host_errors), so it has to be seen when it happens. C(forgive) is called before that, since a
    host whose block still has an C(always) to run is given up only after it.
    """
    iterator_class: Any = PlayIterator
    made, marked = iterator_class.__init__, iterator_class.mark_host_failed
    cleared = iterator_class.clear_host_errors

    @functools.wraps(made)
    def make(self: PlayIterator, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        remember(self)

    @functools.wraps(marked)
    def mark(self: PlayIterator, host: Any) -> None:
        marked(self, host)
        lose(self, host)

    @functools.wraps(cleared)
    def clear(self: PlayIterator, host: Any) -> None:
        forgive(self, host)
        cleared(self, host)

    iterator_class.__init__ = make
    iterator_class.mark_host_failed = mark
    iterator_class.clear_host_errors = clear


def _has_failed(state: Any) -> bool:
    """Whether the host has a failure, at any depth of its blocks, that no rescue has taken over or is taking over."""
    if state is None:
        return False
    is_flushing = state.run_state == IteratingStates.HANDLERS
    run_state = state.pre_flushing_run_state if is_flushing else state.run_state
    if state.fail_state != FailedStates.NONE and run_state != IteratingStates.RESCUE:
        return True
    return any(map(_has_failed, (state.tasks_child_state, state.rescue_child_state, state.always_child_state)))


# Where ansible-core has the names of what C(no_log) leaves in a result: up to 2.20, and from 2.21 on.
LEFT_BY_NO_LOG = (("ansible.executor.task_result", "_PRESERVE"), ("ansible._internal._task", "PRESERVE"))


def _show_who_is_unreachable() -> None:
    """Have callbacks told of it under C(no_log) too: of an item in a loop, nothing else says so."""
    for module_name, name in LEFT_BY_NO_LOG:
        with contextlib.suppress(ImportError, AttributeError):
            module = importlib.import_module(module_name)
            setattr(module, name, frozenset({*getattr(module, name), "unreachable"}))


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "community.paperspace.guard_ledger"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call, unused-ignore]
        self._file: Any = None
        self._touched: set[str] = set()
        self._plays: list[Any] = []
        self._begun: set[str] = set()
        self._iterator: PlayIterator | None = None
        # By host, of its task that is delegated: where each item of a loop ran, and whether it went wrong.
        self._items: dict[str, list[tuple[str | None, bool]]] = {}
        self._path = ""
        self._count = 0
        # The hosts that are other machines than those that are guarded.
        self._strangers: list[str] = []

    def set_options(self, task_keys: Any = None, var_options: Any = None, direct: Any = None) -> None:
        super().set_options(task_keys=task_keys, var_options=var_options, direct=direct)  # type: ignore[no-untyped-call, unused-ignore]
        path = self.get_option("path")  # type: ignore[no-untyped-call, unused-ignore]
        # Nothing that a task starts on the controller is to write to this ledger.
        os.environ.pop(_PATH_VARIABLE, None)
        if not path or self._file is not None:
            self.disabled = self._file is None
            return
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._file = os.fdopen(descriptor, "w", encoding="utf-8")
        except OSError as error:
            self.disabled = True
            self._display.warning(f"The ledger {path} cannot be opened, so no host is proven to be well: {error}")
            return
        self._path = str(path)
        self._guarded(_watch_iterators, self._on_iterator, self._on_mark, self._on_clear)
        _show_who_is_unreachable()
        self._guarded(self._write, "start")

    # What Ansible calls.

    def v2_playbook_on_start(self, playbook: Any) -> None:
        self._guarded(self._on_playbook, playbook)
        if self._strangers:
            self._display.error(
                f"Nothing is run: the inventory has other machines now for {', '.join(self._strangers)}."
            )
            # Only this ends a playbook before its first task.
            raise SystemExit(_STRANGERS)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._guarded(self._on_play, play)

    def v2_playbook_on_stats(self, stats: Any) -> None:  # noqa: ARG002 - Ansible gives it
        self._guarded(self._on_stats)

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        self._guarded(self._on_task, host, task)

    def v2_runner_item_on_ok(self, result: Any) -> None:
        self._guarded(self._on_item, result, False)

    def v2_runner_item_on_failed(self, result: Any) -> None:
        self._guarded(self._on_item, result, True)

    def v2_runner_on_ok(self, result: Any) -> None:
        self._guarded(self._on_ok, result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._guarded(self._on_end_of_delegation, result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._guarded(self._on_failed, result, ignore_errors)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._guarded(self._on_unreachable, result)

    def _guarded(self, work: Callable[..., Any], *args: Any) -> None:
        """Do it, whatever happens: the user's playbook must not suffer from being watched.

        A ledger that lacks a line would say of a host that nothing was done to it. So then there is none any more.
        """
        if self._file is None:
            return
        try:
            work(*args)
        except Exception as error:  # noqa: BLE001 - without a ledger no host is proven well
            file, self._file = self._file, None
            with contextlib.suppress(OSError):
                file.close()
            try:
                Path(self._path).unlink()
            except OSError:
                with contextlib.suppress(OSError):
                    os.truncate(self._path, 0)
            self._display.warning(f"The ledger of this guarded run is given up: {type(error).__name__}: {error}")

    # What is written.

    def _on_playbook(self, playbook: Any) -> None:
        self._plays = list(playbook.get_plays())
        hosts = self._inventory_of(self._plays[0]).hosts if self._plays else {}
        with contextlib.suppress(FileNotFoundError):
            guarded = json.loads(Path(f"{self._path}{MACHINES_SUFFIX}").read_text("utf-8"))
            self._strangers = [
                name for name in guarded if name in hosts and str(hosts[name].get_vars().get(_ID)) != guarded[name]
            ]
        known = sorted(set(hosts) - set(self._strangers))
        self._write("playbook", playbook=str(getattr(playbook, "_file_name", "")), known=known, ahead=self._ahead())

    def _on_play(self, play: Any) -> None:
        self._end_batch()
        self._begun.add(play._uuid)
        self._write("play", play=play._uuid, name=play.get_name(), hosts=self._hosts_of(play, has_begun=True))

    def _on_iterator(self, iterator: PlayIterator) -> None:
        self._guarded(self._on_batch, iterator)

    def _on_mark(self, iterator: PlayIterator, host: Any) -> None:
        self._guarded(self._on_lost, iterator, host)

    def _on_clear(self, iterator: PlayIterator, host: Any) -> None:
        self._guarded(self._on_forgiven, iterator, host)

    def _on_lost(self, iterator: PlayIterator, host: Any) -> None:
        # Else a rescue takes over.
        if iterator.is_failed(host):
            self._write("lost", host=host.get_name())

    def _on_forgiven(self, iterator: PlayIterator, host: Any) -> None:
        if _has_failed(iterator.get_state_for_host(host.name)):
            self._write("lost", host=host.get_name())

    def _on_batch(self, iterator: PlayIterator) -> None:
        self._iterator = iterator
        self._write("batch", play=iterator._play._uuid, hosts=list(iterator._host_states))

    def _on_stats(self) -> None:
        self._end_batch()
        self._write("stats", ahead=self._ahead())

    def _end_batch(self) -> None:
        """Write which hosts of the batch have come to the end of the play, by Ansible's own reckoning."""
        iterator, self._iterator = self._iterator, None
        if iterator is None:
            return
        ended = [name for name in list(iterator._host_states) if self._has_ended(iterator, name)]
        is_ended = bool(iterator.end_play)
        self._write("end", play=iterator._play._uuid, ended=ended, end_play=is_ended, ahead=self._ahead())

    def _has_ended(self, iterator: PlayIterator, name: str) -> bool:
        host = self._inventory_of(iterator._play).get_host(name)
        # Not by _removed_hosts: those that end_host and end_play ended are among them.
        if host is None or iterator.is_failed(host):
            return False
        dummy, task = iterator.get_next_task_for_host(host, peek=True)
        return task is None

    def _on_task(self, host: Any, task: Any) -> None:
        name = host.get_name()
        self._touch(name, task)
        if task.delegate_to:
            target = str(task.delegate_to)
            # Only its end will tell whom a template means.
            self._write("delegating", host=name, task=task.get_name(), target=target if _is_plain(target) else None)
            self._items[name] = []

    def _on_item(self, result: Any, is_bad: bool) -> None:
        name = _host_of(result)
        is_delegated = bool(_task_of(result).delegate_to)
        target = _target_of(result) if is_delegated else None
        if _is_unreachable(result):
            # Ansible may be told to ignore it, and forgets it when another item fails.
            self._write_trouble("unreachable", result, [target] if target else [])
        if is_delegated:
            self._items.setdefault(name, []).append((target, is_bad))
        elif name in self._items:
            # For this item, the template has been omitted.
            self._items[name].append((name, is_bad))

    def _on_ok(self, result: Any) -> None:
        # A strategy may not have told of its start.
        self._touch(_host_of(result), _task_of(result))
        self._on_end_of_delegation(result)

    def _touch(self, name: str, task: Any) -> None:
        if name not in self._touched:
            self._touched.add(name)
            self._write("touched", host=name, task=task.get_name())

    def _on_end_of_delegation(self, result: Any) -> list[str]:
        """Write where the task ran. Returns the hosts on which it went wrong, if it did."""
        name, is_delegated = _host_of(result), bool(_task_of(result).delegate_to)
        items = self._items.pop(name, [] if is_delegated else None)
        if items is None:
            return []
        # When it is delegated no more, the template was omitted, and the task ran nowhere but on the host itself.
        if is_delegated and not items:
            content = _content_of(result)
            # Where nothing says what a template means, the task was skipped, or failed before it began.
            did_begin = not content.get("skipped") and (content.get("results") or _target_of(result) is not None)
            items = [(_target_of(result), True)] if did_begin else []
        targets = [target for target, dummy in items if target is not None]
        is_known = len(targets) == len(items)
        self._write("delegated", host=name, targets=sorted(set(targets)) if is_known else None)
        return sorted({target for target, is_bad in items if is_bad and target is not None})

    def _on_failed(self, result: Any, ignore_errors: bool) -> None:
        targets = self._on_end_of_delegation(result)
        # Of a loop, its items have told.
        if _is_unreachable(result) and "results" not in _content_of(result):
            self._write_trouble("unreachable", result, targets)
        elif not ignore_errors:
            # Of an include that fails Ansible tells before it gives the host up.
            self._write_trouble("failed" if self._is_lost(result) else "rescued", result, targets)

    def _on_unreachable(self, result: Any) -> None:
        self._write_trouble("unreachable", result, self._on_end_of_delegation(result))

    def _write_trouble(self, event: str, result: Any, targets: list[str]) -> None:
        task = _task_of(result)
        error = _error_in(_content_of(result))
        host, name = _host_of(result), task.get_name()
        self._write(event, host=host, task=name, error=error, targets=targets, for_all=bool(task.run_once))

    def _is_lost(self, result: Any) -> bool:
        """Whether this failure was not taken over by a rescue."""
        iterator = self._iterator
        if iterator is None:
            return True
        host = self._inventory_of(iterator._play).get_host(_host_of(result))
        return host is None or bool(iterator.is_failed(host))

    def _ahead(self) -> list[dict[str, Any]]:
        """The plays that have not begun, with their hosts as far as they can be told: null for hosts unknown."""
        return [
            {"play": play._uuid, "name": play.get_name(), "hosts": self._hosts_of(play)}
            for play in self._plays
            if play._uuid not in self._begun
        ]

    def _hosts_of(self, play: Any, *, has_begun: bool = False) -> list[str] | None:
        patterns = [play.hosts] if isinstance(play.hosts, str) else list(play.hosts or ())
        if not all(_is_plain(str(pattern)) for pattern in patterns):
            return None
        inventory = self._inventory_of(play)
        try:
            names = [host.get_name() for host in inventory.get_hosts(patterns, ignore_restrictions=True)]
        except AnsibleError:
            # With host_pattern_mismatch=error; a group may still be made.
            return None
        # A group that does not exist yet may be made by a play before this one.
        is_known = has_begun or all(_is_known(inventory, pattern, has_matched=bool(names)) for pattern in patterns)
        return names if is_known else None

    def _inventory_of(self, play: Any) -> Any:
        return play.get_variable_manager()._inventory

    def _write(self, event: str, **fields: Any) -> None:
        line = json.dumps({"n": self._count, "event": event, "at": round(time.time(), 3), **fields}, default=str)
        self._count += 1
        self._file.write(f"{line}\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def _is_known(inventory: Any, pattern: str, *, has_matched: bool) -> bool:
    parts = [part.strip().lstrip("!&") for part in re.split("[:,]", pattern)]
    return all(
        part == "localhost"
        or part in inventory.groups
        or part in inventory.hosts
        # With wildcards there is no telling what a part of several has matched.
        or (has_matched and re.search(r"[*?~\[]", part) is not None)
        for part in parts
    )


# ansible-core 2.19 gave these public names, and 2.16 has only the others.


def _host_of(result: Any) -> str:
    return str(getattr(result, "host", None) or result._host)


def _task_of(result: Any) -> Any:
    return getattr(result, "task", None) or result._task


def _content_of(result: Any) -> dict[str, Any]:
    content = getattr(result, "result", None)
    return dict(result._result if content is None else content)


def _target_of(result: Any) -> str | None:
    """The host that the task, or this item of its loop, was delegated to; None when that is not known.

    The worker's own copy of the task has it. What results say of it depends on no_log, loops and unreachable hosts.
    """
    # The public name has a deprecation warning in ansible-core 2.21.
    fields = getattr(result, "_task_fields", None) or getattr(result, "task_fields", None) or {}
    target = fields.get("delegate_to")
    return str(target) if target and _is_plain(str(target)) else None


def _is_unreachable(result: Any) -> bool:
    return bool(_content_of(result).get("unreachable"))


def _is_plain(text: str) -> bool:
    return "{{" not in text and "{%" not in text


def _error_in(content: dict[str, Any]) -> str:
    """What went wrong, in one line: the message, and what the command said at last."""
    texts = [str(content.get("msg") or content.get("reason") or "")]
    texts += [
        f"{item.get('item', '')}: {item.get('msg', '')}"
        for item in content.get("results") or ()
        if isinstance(item, dict) and (item.get("failed") or item.get("unreachable"))
    ]
    said = str(content.get("stderr") or content.get("module_stderr") or "").strip()
    if said:
        texts.append(said.splitlines()[-1])
    return " ".join(" ".join(filter(None, texts)).split())[:1000] or "it gave no message"
