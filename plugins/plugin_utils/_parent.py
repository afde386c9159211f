# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the running ansible-playbook was started with, for its child."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible import constants as C  # noqa: N812 - its usual name
from ansible import context
from ansible.cli.playbook import PlaybookCLI
from ansible.utils import color

from ansible_collections.community.paperspace.plugins.plugin_utils._command_line import ParentRun


def parent_run_from_ansible() -> ParentRun:
    """The ansible-playbook that this process, or the worker that it forked off, belongs to."""
    return ParentRun(
        python=[sys.executable, *_interpreter_options()],
        program=str(Path(sys.argv[0]).absolute()),
        cliargs=_plain(context.CLIARGS),
        defaults=_defaults(),
        environ=dict(os.environ),
        color=bool(color.ANSIBLE_COLOR),
        stdout_callback=_configured("DEFAULT_STDOUT_CALLBACK"),
        callbacks_enabled=_configured("CALLBACKS_ENABLED"),
        collection_paths=_configured("COLLECTIONS_PATHS"),
        collection_root=str(Path(__file__).parents[5]),
        config_file=_configured("CONFIG_FILE"),
        vault_identities=_configured("DEFAULT_VAULT_IDENTITY_LIST"),
        vault_password_file=_configured("DEFAULT_VAULT_PASSWORD_FILE"),
        has_task_debugger=_configured("ENABLE_TASK_DEBUGGER"),
    )


def _defaults() -> dict[str, Any]:
    """What CLIARGS would be without any option, as far as the parser knows its keys."""
    cli = PlaybookCLI(["ansible-playbook"])
    cli.init_parser()
    parser = cli.parser  # type: ignore[has-type, unused-ignore]
    defaults = {key: _plain(parser.get_default(key)) for key in context.CLIARGS}
    # These are filled in after parsing.
    defaults["inventory"] = _configured("DEFAULT_HOST_LIST")
    for key, otherwise in (("tags", ["all"]), ("skip_tags", [])):
        defaults[key] = [tag.strip() for tags in defaults.get(key) or otherwise for tag in tags.split(",")]
    return defaults


def _configured(name: str) -> Any:
    """A setting, from wherever ansible-core takes it."""
    return _plain(getattr(C, name))


def _interpreter_options() -> list[str]:
    """Those that decide which modules are found, as the first line of an installed ansible-playbook may have them."""
    if sys.flags.isolated:
        return ["-I"]
    return [
        option for option, is_set in (("-E", sys.flags.ignore_environment), ("-s", sys.flags.no_user_site)) if is_set
    ]


def _plain(value: Any) -> Any:
    """The value in types that JSON has: ansible-core's strings carry tags, and its lists and mappings are read-only."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    return value
