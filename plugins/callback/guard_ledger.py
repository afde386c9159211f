# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes down what becomes of each host, for the one who has to decide what to roll back."""

from __future__ import annotations

DOCUMENTATION = r"""
name: guard_ledger
type: notification
short_description: Write what becomes of each host to a file
version_added: 0.2.0
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

import functools
import json
import os
import re
import time
from collections.abc import Callable, Iterable
from typing import Any

from ansible.executor.play_iterator import PlayIterator
from ansible.plugins.callback import CallbackBase

_PATH_VARIABLE = "COMMUNITY_PAPERSPACE_GUARD_LEDGER"


def _watch_iterators(remember: Callable[[PlayIterator], None]) -> None:
    """Have each iterator shown to C(remember) when it is made.

    Callbacks are not told when a host has come to the end of a play: C(end_host), C(any_errors_fatal), a lost batch
    and the like show only in the iterator, and Ansible hands it to nobody.
    """
    iterator_class: Any = PlayIterator
    made = iterator_class.__init__

    @functools.wraps(made)
    def make(self: PlayIterator, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **kwargs)
        remember(self)

    iterator_class.__init__ = make


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
        _watch_iterators(self._on_iterator)
        self._write("start")

    # What Ansible calls.

    def v2_playbook_on_start(self, playbook: Any) -> None:
        self._guarded(self._on_playbook, playbook)

    def v2_playbook_on_play_start(self, play: Any) -> None:
        self._guarded(self._on_play, play)

    def v2_playbook_on_stats(self, stats: Any) -> None:  # noqa: ARG002 - Ansible gives it
        self._guarded(self._on_stats)

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        self._guarded(self._on_task, host, task)

    def v2_runner_on_ok(self, result: Any) -> None:
        self._guarded(self._on_end_of_delegation, result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._guarded(self._on_end_of_delegation, result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._guarded(self._on_failed, result, ignore_errors)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._guarded(self._on_unreachable, result)

    def _guarded(self, work: Callable[..., None], *args: Any) -> None:
        """Do it, whatever happens: the user's playbook must not suffer from being watched."""
        try:
            work(*args)
        except Exception as error:  # noqa: BLE001 - the next lines lack then what would prove a host well
            self._display.warning(f"The ledger of this guarded run lacks a line: {type(error).__name__}: {error}")

    # What is written.

    def _on_playbook(self, playbook: Any) -> None:
        self._plays = list(playbook.get_plays())
        self._write("playbook", playbook=str(getattr(playbook, "_file_name", "")), ahead=self._ahead())

    def _on_play(self, play: Any) -> None:
        self._end_batch()
        self._begun.add(play._uuid)
        self._write("play", play=play._uuid, name=play.get_name(), hosts=self._hosts_of(play))

    def _on_iterator(self, iterator: PlayIterator) -> None:
        self._guarded(self._on_batch, iterator)

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
        if name not in self._touched:
            self._touched.add(name)
            self._write("touched", host=name, task=task.get_name())
        if task.delegate_to:
            target = str(task.delegate_to)
            # Only its end will tell whom a template means.
            self._write("delegating", host=name, task=task.get_name(), target=None if "{{" in target else target)

    def _on_end_of_delegation(self, result: Any) -> None:
        if _task_of(result).delegate_to:
            self._write("delegated", host=_host_of(result), targets=sorted(set(_delegates(result))))

    def _on_failed(self, result: Any, ignore_errors: bool) -> None:
        self._on_end_of_delegation(result)
        if not ignore_errors:
            # Ansible tells of an include that fails before it marks the host: then only the end of the play shows it.
            event = "failed" if self._is_lost(result) else "rescued"
            self._write(event, **_trouble(result), for_all=bool(_task_of(result).run_once))

    def _on_unreachable(self, result: Any) -> None:
        self._on_end_of_delegation(result)
        self._write("unreachable", **_trouble(result), for_all=bool(_task_of(result).run_once))

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

    def _hosts_of(self, play: Any) -> list[str] | None:
        patterns = [play.hosts] if isinstance(play.hosts, str) else list(play.hosts or ())
        if any("{{" in str(pattern) or "{%" in str(pattern) for pattern in patterns):
            return None
        inventory = self._inventory_of(play)
        names = [host.get_name() for host in inventory.get_hosts(patterns, ignore_restrictions=True)]
        # A group that does not exist yet may be made by a play before this one.
        return names if names or all(map(functools.partial(_is_known, inventory), patterns)) else None

    def _inventory_of(self, play: Any) -> Any:
        return play.get_variable_manager()._inventory

    def _write(self, event: str, **fields: Any) -> None:
        line = json.dumps({"event": event, "at": round(time.time(), 3), **fields}, default=str)
        self._file.write(f"{line}\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def _is_known(inventory: Any, pattern: str) -> bool:
    parts = [part.strip().lstrip("!&") for part in re.split("[:,]", pattern)]
    return all(part == "localhost" or part in inventory.groups or part in inventory.hosts for part in parts)


# ansible-core 2.19 gave these public names, and 2.16 has only the others.


def _host_of(result: Any) -> str:
    return str(getattr(result, "host", None) or result._host)


def _task_of(result: Any) -> Any:
    return getattr(result, "task", None) or result._task


def _content_of(result: Any) -> dict[str, Any]:
    content = getattr(result, "result", None)
    return dict(result._result if content is None else content)


def _trouble(result: Any) -> dict[str, Any]:
    content = _content_of(result)
    return {
        "host": _host_of(result),
        "task": _task_of(result).get_name(),
        "error": _error_in(content),
        "targets": sorted(set(_delegates(result))),
    }


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


def _delegates(result: Any) -> Iterable[str]:
    content = _content_of(result)
    for part in (content, *(item for item in content.get("results") or () if isinstance(item, dict))):
        host = (part.get("_ansible_delegated_vars") or {}).get("ansible_delegated_host")
        if host:
            yield str(host)
    if content.get("unreachable"):
        # It does not say where it was delegated to; the worker's own copy of the task does.
        fields = getattr(result, "task_fields", None) or getattr(result, "_task_fields", None) or {}
        if fields.get("delegate_to"):
            yield str(fields["delegate_to"])
