# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the modules of this collection share: the frame from Ansible's parameters to one result or one error."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.community.paperspace.plugins.module_utils._client import Client
from ansible_collections.community.paperspace.plugins.module_utils._connection import (
    CONNECTION_SPEC,
    connection_from,
    home_folder,
)
from ansible_collections.community.paperspace.plugins.module_utils._errors import PaperspaceError
from ansible_collections.community.paperspace.plugins.module_utils._outcomes import (
    NO_PROGRESS,
    Progress,
    Report,
    failure_message,
)
from ansible_collections.community.paperspace.plugins.module_utils._transport import HAS_REQUESTS

WAIT_SPEC: dict[str, dict[str, Any]] = {
    "skip_missing": {"type": "bool", "default": False},
    "wait": {"type": "bool", "default": True},
    "wait_timeout": {"type": "float", "default": 3600.0},
    "wait_interval": {"type": "float"},
}


def argument_spec(**options: dict[str, Any]) -> dict[str, Any]:
    """The connection options and the module's own."""
    return {**CONNECTION_SPEC, **options}


class Work(Protocol):
    """What a module does: its result, from options that its spec has checked."""

    def __call__(
        self, client: Client, options: Mapping[str, Any], *, check_mode: bool, progress: Progress
    ) -> dict[str, Any]:
        """Do it, or foretell it in check mode."""


def result_of(
    work: Work,
    options: Mapping[str, Any],
    *,
    check_mode: bool,
    hide: Callable[[str], None],
    progress: Progress = NO_PROGRESS,
) -> dict[str, Any]:
    """The result of the work; any error of this collection becomes C(failed) and one C(msg).

    C(warnings) in it are still to be given as such. C(hide) gets the API key: it can come from a place that Ansible
    does not know of, and has to be censored like the option.
    """
    if not HAS_REQUESTS:
        return {"failed": True, "msg": missing_required_lib("requests")}
    try:
        connection = connection_from(options, os.environ, home_folder())
        hide(connection.api_key)
        return work(Client(connection), options, check_mode=check_mode, progress=progress)
    except PaperspaceError as error:
        return {"failed": True, "msg": str(error)}


def run_module(module: AnsibleModule, work: Work) -> None:
    """Do the module's work and exit with its result."""
    result = result_of(work, module.params, check_mode=module.check_mode, hide=module.no_log_values.add)
    for warning in result.pop("warnings", ()):
        module.warn(warning)
    if result.get("failed"):
        module.fail_json(**result)
    module.exit_json(**result)


def report_result(report: Report, kind: str) -> dict[str, Any]:
    """The result of a task: C(kind) names the entries (C(snapshots), C(machines)), and without its s the only one."""
    entries = [outcome.to_result() for outcome in report.outcomes]
    result: dict[str, Any] = {
        "changed": any(outcome.is_changed for outcome in report.outcomes),
        kind: entries,
        "warnings": list(report.warnings),
        "diff": {"before": report.before, "after": report.after},
    }
    if len(entries) == 1:
        result[kind.removesuffix("s")] = entries[0]
    message = failure_message(report.outcomes)
    return result if message is None else {**result, "failed": True, "msg": message}
