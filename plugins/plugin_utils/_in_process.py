# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules of this collection run by the controller itself: no process, no file, no connection, and live progress."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, ClassVar

from ansible import constants as C  # noqa: N812 - its name everywhere in Ansible
from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.common.parameters import remove_values
from ansible.module_utils.errors import UnsupportedError
from ansible.plugins.action import ActionBase

from ansible_collections.community.paperspace.plugins.module_utils._module import Work, argument_spec, result_of
from ansible_collections.community.paperspace.plugins.module_utils._outcomes import NO_PROGRESS, Progress
from ansible_collections.community.paperspace.plugins.plugin_utils._live import show
from ansible_collections.community.paperspace.plugins.plugin_utils._progress import ProgressLines
from ansible_collections.community.paperspace.plugins.plugin_utils._text import one_line

# What these callbacks write is read by programs, and must stay free of other lines.
_CALLBACKS_FOR_PROGRAMS = frozenset({"json", "jsonl"})


class InProcessAction(ActionBase):
    """An action plugin that does the work of the module of the same name.

    It hands over to the module where that would run as another user, with another environment, in the background or
    elsewhere.
    """

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_diff = True
    _supports_async = True

    OPTIONS: ClassVar[Mapping[str, dict[str, Any]]]
    WORK: ClassVar[Work]

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        del tmp
        if self._is_for_the_module():
            # Connections that bring it themselves are gone from newer releases of ansible-core.
            is_native = getattr(self._connection, "has_native_async", False)
            wrap_async = bool(self._task.async_val) and not is_native
            return {**result, **self._execute_module(task_vars=task_vars, wrap_async=wrap_async)}
        return {**result, **self._run_here(task_vars or {})}

    def _is_for_the_module(self) -> bool:
        environment: dict[str, Any] = {}
        self._compute_environment_string(environment)  # type: ignore[no-untyped-call, unused-ignore]
        # A delegate whose connection is local, as that of localhost is, is the controller.
        is_elsewhere = bool(self._task.delegate_to) and self._connection.transport != "local"
        return bool(self._task.async_val) or bool(environment) or self._connection.become is not None or is_elsewhere

    def _run_here(self, task_vars: Mapping[str, Any]) -> dict[str, Any]:
        """What the module would return."""
        arguments = plain(self._task.args)
        validation = ArgumentSpecValidator(argument_spec(**self.OPTIONS)).validate(arguments)
        options = {**arguments, **validation.validated_parameters}
        # No public name says what the module returns these two for.
        secrets: set[str] = set(validation._no_log_values)  # noqa: SLF001
        warnings = [
            f"Both option {both['option']} and its alias {both['alias']} are set."
            for both in validation._warnings  # noqa: SLF001
        ]
        if validation.error_messages:
            message = str(validation.errors.msg)
            if isinstance(validation.errors[0], UnsupportedError):
                message = f"Unsupported parameters for ({self._task.action}) module: {message}"
            result: dict[str, Any] = {"failed": True, "msg": message}
        else:
            result = result_of(
                self.WORK,
                options,
                check_mode=bool(self._task.check_mode),
                hide=secrets.add,
                progress=self._progress(str(task_vars.get("inventory_hostname", "localhost")), secrets),
            )
        warnings.extend(result.pop("warnings", ()))
        if warnings:
            result["warnings"] = warnings
        if _shows_invocation(task_vars):
            result["invocation"] = {"module_args": options}
        return without_secrets(result, secrets)

    def _progress(self, host: str, secrets: set[str]) -> Progress:
        callback = str(C.config.get_config_value("DEFAULT_STDOUT_CALLBACK")).rpartition(".")[2]
        if self._task.no_log or callback in _CALLBACKS_FOR_PROGRAMS:
            return NO_PROGRESS

        def say(text: str) -> None:
            show(f"[{host}] {one_line(remove_values(text, secrets))}", self._display)

        return ProgressLines(say)


def plain(value: Any) -> Any:
    """What a module would get: plain values without marks and secrets that still are encrypted, dates as text."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, date):
        return value.isoformat()
    for kind in (bool, int, float):
        if isinstance(value, kind):
            return kind(value)
    return None if value is None else str(value)


def without_secrets(result: dict[str, Any], secrets: set[str]) -> dict[str, Any]:
    """The result as a module returns it: without any trace of the secrets, but with its own C(changed) and the like."""
    kept = {key: value for key, value in result.items() if value is None or isinstance(value, bool)}
    return {**remove_values(result, secrets), **kept}


def _shows_invocation(task_vars: Mapping[str, Any]) -> bool:
    """Whether a module's result has its options; before ansible-core 2.21 that could not be chosen."""
    try:
        return bool(C.config.get_config_value("INJECT_INVOCATION", variables=task_vars))
    except AnsibleError:
        return True
