# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the command line and environment of a running ansible-playbook, those of the child for the user's playbook.

Free of Ansible. The child inherits the working folder, the environment and the configuration, and parses its
command line to the same values as the parent, but for the playbook and the limit.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.community.paperspace.plugins.module_utils._errors import InputError

GUARD_CALLBACK = "community.paperspace.guard_ledger"
LEDGER_VARIABLE = "COMMUNITY_PAPERSPACE_GUARD_LEDGER"

# Starts ansible-playbook as its own script would. `python -m ansible playbook` and `python -c` put the working
# folder in front of the modules, where a yaml.py or ansible.py of the user would be imported; and ansible-core looks
# for its program `ansible`, which hands passwords to ssh, beside the program named in sys.argv[0].
# The guardian's death ends the child as well, on Linux: nobody else would. What the guardian ignores, the child would
# ignore too, and with it what its tasks start.
_LAUNCH = (
    "import ctypes, signal, sys; "
    "sys.platform == 'linux' and ctypes.CDLL(None).prctl(1, signal.SIGTERM, 0, 0, 0); "
    "signal.signal(signal.SIGINT, signal.default_int_handler); signal.signal(signal.SIGHUP, signal.SIG_DFL); "
    "sys.argv.pop(0); sys.path[:1] = [p for p in sys.path[:1] if p]; "
    "from ansible.cli.playbook import main; sys.exit(main())"
)

# The callback of ansible-runner, the engine inside AWX.
_RUNNER_CALLBACK = "awx_display"
_RUNNER_ORIGINAL_CALLBACK = "ORIGINAL_STDOUT_CALLBACK"

# Every option of ansible-playbook, by its key in CLIARGS. First those that are passed on, by what their values are:
# one, none, a list with the option repeated for each, and some that are special.
_VALUES = {
    "become_method": "--become-method",
    "become_password_file": "--become-password-file",
    "become_user": "--become-user",
    "connection": "--connection",
    "connection_password_file": "--connection-password-file",
    "forks": "--forks",
    "private_key_file": "--private-key",
    "remote_user": "--user",
    "scp_extra_args": "--scp-extra-args",
    "sftp_extra_args": "--sftp-extra-args",
    "ssh_common_args": "--ssh-common-args",
    "ssh_extra_args": "--ssh-extra-args",
    "timeout": "--timeout",
}
_SWITCHES = {
    "become": "--become",
    "check": "--check",
    "diff": "--diff",
    "flush_cache": "--flush-cache",
    "force_handlers": "--force-handlers",
}
_REPEATED = {
    "extra_vars": "--extra-vars",
    "inventory": "--inventory",
    "vault_ids": "--vault-id",
    "vault_password_files": "--vault-password-file",
}
# The parser has split these at the commas and added those of the configuration; their order has no meaning.
_TAGS = {"skip_tags": "--skip-tags", "tags": "--tags"}
_COUNTED = {"verbosity": "-v"}
_PATHS = {"module_path": "--module-path"}
_PASSED = {**_VALUES, **_SWITCHES, **_REPEATED, **_TAGS, **_COUNTED, **_PATHS}

# The child has its own.
_REPLACED = frozenset({"args", "subset"})
# With these, ansible-playbook runs no task, so none that needs a child.
_WITHOUT_TASKS = frozenset({"help", "listhosts", "listtags", "listtasks", "syntax", "version"})
_REFUSED = {
    "ask_pass": (
        "--ask-pass (or ask_pass in the configuration) asks for the connection password, and the guarded playbook "
        "cannot ask: use an SSH key, --connection-password-file, or ansible_password in a vault."
    ),
    "become_ask_pass": (
        "--ask-become-pass (or become_ask_pass in the configuration) asks for the become password, and the guarded "
        "playbook cannot ask: use --become-password-file, or ansible_become_password in a vault."
    ),
    "ask_vault_pass": (
        "--ask-vault-pass (or ask_vault_pass in the configuration) asks for the vault password, and the guarded "
        "playbook cannot ask: use --vault-password-file, or --vault-id with a file."
    ),
    "step": "--step asks before each task, and the guarded playbook cannot ask: leave it out.",
    "start_at_task": (
        "--start-at-task would skip tasks of the guard itself: leave it out, or choose tasks with --tags and "
        "--skip-tags."
    ),
}

KNOWN_OPTIONS = frozenset({*_PASSED, *_REPLACED, *_WITHOUT_TASKS, *_REFUSED})

# File descriptors of the parent; the child does not have them.
_DESCRIPTOR = re.compile(r"/dev/(?:stdin|fd/.*)|/proc/[^/]+/(?:task/[^/]+/)?fd/.*", re.DOTALL)


@dataclass(frozen=True)
class ParentRun:
    """A running ansible-playbook, as far as its child needs to know it. Everything in it can be written as JSON.

    C(python) is the interpreter with its own options, C(program) the path of ansible-playbook as in C(sys.argv[0]).
    C(cliargs) is C(ansible.context.CLIARGS); C(defaults) has, by the same keys, the values of options that are not
    given, so those of environment and ansible.cfg. C(color) is whether the output is coloured. C(collection_root) is
    the folder with the C(ansible_collections) that this collection was loaded from. The rest is configuration.
    """

    python: Sequence[str]
    program: str
    cliargs: Mapping[str, Any] = field(repr=False)
    defaults: Mapping[str, Any] = field(repr=False)
    environ: Mapping[str, str] = field(repr=False)
    color: bool
    stdout_callback: str
    callbacks_enabled: Sequence[str]
    collection_paths: Sequence[str]
    collection_root: str
    config_file: str | None
    vault_identities: Sequence[str]
    vault_password_file: str | None
    has_task_debugger: bool


def child_command(parent: ParentRun, playbook: str, limit_file: Path, *, is_syntax_check: bool = False) -> list[str]:
    """The child's argv. C(limit_file) is to hold what C(limit_file_text) returns.

    Raises InputError when Ansible cannot read a limit from that path.
    """
    refuse_limit_file(limit_file)
    command = [*parent.python, "-c", _LAUNCH, parent.program, *_options(parent), f"--limit=@{limit_file}"]
    if is_syntax_check:
        command.append("--syntax-check")
    command.append(f"./{playbook}" if playbook.startswith("-") else playbook)
    return command


def child_environment(parent: ParentRun, ledger: Path) -> dict[str, str]:
    """The child's environment: the parent's, and what the guard needs. The child writes its events to C(ledger)."""
    environ = dict(parent.environ)
    environ[LEDGER_VARIABLE] = str(ledger)
    callbacks = [name for name in parent.callbacks_enabled if name not in {_RUNNER_CALLBACK, GUARD_CALLBACK}]
    environ["ANSIBLE_CALLBACKS_ENABLED"] = ",".join([*callbacks, GUARD_CALLBACK])
    # ansible-core before 2.19 also reads the plural.
    environ.pop("ANSIBLE_COLLECTIONS_PATHS", None)
    environ["ANSIBLE_COLLECTIONS_PATH"] = os.pathsep.join(_collection_paths(parent))
    if parent.color:
        environ["ANSIBLE_FORCE_COLOR"] = "1"
    _leave_out_the_runner(parent, environ)
    return environ


def refuse_what_cannot_be_passed(parent: ParentRun) -> None:
    """Raise InputError when the child cannot be given what the parent was given."""
    cliargs = parent.cliargs
    if "start_at_task" not in cliargs or not cliargs.get("inventory"):
        raise InputError(
            "The guard starts ansible-playbook once more with the command line and inventory that it was started "
            "with, and this run has none: start it with ansible-playbook and an inventory of files or host names."
        )
    for key in sorted(cliargs.keys() - KNOWN_OPTIONS):
        if cliargs[key] != parent.defaults.get(key):
            raise InputError(
                f"This ansible-core has an option that this release of community.paperspace does not know, so it "
                f"cannot be passed on to the guarded playbook: {key}. Leave it out."
            )
    _refuse_questions(parent)
    for option, path in _files(parent):
        _refuse_file_read_once(option, path)
    for source in cliargs["extra_vars"]:
        if source.startswith("@") and _mode(_expanded(source[1:])) is None:
            raise InputError(f"-e {source} is gone, and the guarded playbook reads it again: keep the file.")


def refuse_hosts_in_memory(sources: Mapping[str, Any]) -> None:
    """Raise InputError when a host is in no inventory source. C(sources) is each host's variable C(inventory_file)."""
    hosts = [host for host, source in sources.items() if not source]
    if hosts:
        raise InputError(
            "These hosts are only in the memory of this run, as add_host puts them there, and the guarded playbook "
            f"would not know them: {', '.join(hosts)}. Put them in an inventory."
        )


def refuse_hosts_that_no_limit_can_name(hosts: Iterable[str]) -> None:
    """Raise InputError for names that a line of a limit file does not select, or not only.

    Ansible compares a line with the names of hosts before it reads it as a pattern, so only what happens to the line
    before that matters: it is stripped, left out when empty, and taken as an exclusion or intersection by its first
    character.
    """
    bad = [host for host in hosts if not _can_be_named(host)]
    if bad:
        raise InputError(
            "These host names cannot be chosen with a limit file, since they are empty, begin with ! or &, begin or "
            "end with white space, have a line break, or are not UTF-8: "
            f"{', '.join(map(repr, bad))}. Rename them in the inventory."
        )


def refuse_limit_file(path: Path) -> None:
    """Raise InputError when Ansible would split the path as it splits patterns, so could not read the file."""
    if re.search(r"[\s,:\[\]]", str(path)):
        raise InputError(
            f"Ansible cannot read a limit from {str(path)!r}: there must be no white space, comma, colon or square "
            "bracket in the path. Set TMPDIR to another folder."
        )


def limit_file_text(hosts: Sequence[str], *, with_localhost: bool = False) -> str:
    """The text of a limit file that selects just these hosts, of those in the inventory.

    With C(with_localhost), plays on C(localhost) run as well. When C(localhost) is itself in the inventory, plays
    on C(all) then also run on it.

    A host that is not in the child's inventory is worse than missing: its line becomes a pattern, which may select
    a group. Raises InputError for names that no limit can express, and ValueError for no hosts, which Ansible would
    take for all.
    """
    if not hosts:
        raise ValueError("An empty limit file selects all hosts.")
    refuse_hosts_that_no_limit_can_name(hosts)
    return "".join(f"{host}\n" for host in [*hosts, *(["localhost"] if with_localhost else [])])


def _options(parent: ParentRun) -> Iterator[str]:
    """The options that differ from what the child takes from environment and configuration by itself."""
    for key, option in _PASSED.items():
        value, default = parent.cliargs.get(key), parent.defaults.get(key)
        is_same = set(value or ()) == set(default or ()) if key in _TAGS else value == default
        if not is_same:
            yield from _written(key, option, value, default)


def _written(key: str, option: str, value: Any, default: Any) -> Iterable[str]:
    # A value is joined to its option with "=", since it may begin with a dash.
    if key in _SWITCHES:
        return [option]
    if key in _REPEATED:
        return [f"{option}={item}" for item in value]
    if key in _TAGS:
        return [f"{option}={','.join(sorted(value))}"]
    if key in _COUNTED:
        return [option] * (value - default)
    if key in _PATHS:
        return [f"{option}={os.pathsep.join(value)}"]
    return [f"{option}={value}"]


def _refuse_questions(parent: ParentRun) -> None:
    for key, message in _REFUSED.items():
        if parent.cliargs.get(key):
            raise InputError(message)
    for vault_id in (*parent.cliargs["vault_ids"], *parent.vault_identities):
        if _vault_source(vault_id) in {"prompt", "prompt_ask_vault_pass"}:
            raise InputError(
                f"The vault id {vault_id} asks for the vault password, and the guarded playbook cannot ask: give a "
                "file or a script instead of the prompt."
            )
    if parent.has_task_debugger:
        raise InputError(
            "The task debugger (enable_task_debugger in the configuration) asks what to do, and the guarded playbook "
            "cannot ask: switch it off."
        )


def _files(parent: ParentRun) -> Iterator[tuple[str, str]]:
    """The files that every ansible-playbook reads anew, with the options that name them."""
    cliargs = parent.cliargs
    for source in cliargs["inventory"]:
        if "," not in source:
            yield "--inventory", source
    for source in cliargs["extra_vars"]:
        if source.startswith("@"):
            yield "--extra-vars", source[1:]
    for vault_id in (*cliargs["vault_ids"], *parent.vault_identities):
        yield "--vault-id", _vault_source(vault_id)
    for path in (*cliargs["vault_password_files"], parent.vault_password_file):
        if path:
            yield "--vault-password-file", path
    for key in ("connection_password_file", "become_password_file", "private_key_file"):
        if cliargs[key]:
            yield _VALUES[key], cliargs[key]
    if parent.config_file:
        yield "ANSIBLE_CONFIG", parent.config_file


def _refuse_file_read_once(option: str, path: str) -> None:
    if path == "-" and "password" in option:
        kind = "the standard input"
    elif _DESCRIPTOR.fullmatch(os.path.normpath(path)):
        kind = "a file descriptor of this process"
    else:
        kind = _kind_of_stream(_expanded(path))
    if kind:
        raise InputError(
            f"{option} {path} is {kind}, which can be read only once, and the guarded playbook reads it again: give "
            "an ordinary file."
        )


def _kind_of_stream(path: Path) -> str:
    mode = _mode(path) or 0
    if stat.S_ISFIFO(mode):
        return "a pipe"
    if stat.S_ISCHR(mode) and str(path) != os.devnull:
        return "a device"
    return ""


def _mode(path: Path) -> int | None:
    """What kind of file it is, or None when there is none to be seen."""
    try:
        return path.stat().st_mode
    except OSError:
        return None


def _expanded(path: str) -> Path:
    """The path as ansible-core resolves it."""
    # Unlike Path.expanduser, this leaves a user that does not exist as it is.
    return Path(os.path.expanduser(os.path.expandvars(path)))  # noqa: PTH111


def _vault_source(vault_id: str) -> str:
    """The file, or C(prompt), of a vault id C(label@source) or C(source)."""
    return vault_id.partition("@")[2] if "@" in vault_id else vault_id


def _collection_paths(parent: ParentRun) -> list[str]:
    """The parent's, and the root of this collection so that the child loads the same release of it."""
    roots = list(parent.collection_paths)
    if parent.collection_root not in map(_collection_root, roots):
        before = (
            index
            for index, root in enumerate(roots)
            if Path(_collection_root(root), "ansible_collections", "community", "paperspace").is_dir()
        )
        roots.insert(next(before, len(roots)), parent.collection_root)
    return roots


def _collection_root(path: str) -> str:
    """A collection path as ansible-core takes it: it may or may not end in C(ansible_collections)."""
    root = _expanded(path)
    return str(root.parent if root.name == "ansible_collections" else root)


def _leave_out_the_runner(parent: ParentRun, environ: dict[str, str]) -> None:
    """Keep the callback of ansible-runner out of the child, which would write events of its own into the same job.

    It does so as soon as it is imported, and Ansible imports every callback in its folders.
    """
    if parent.stdout_callback == _RUNNER_CALLBACK:
        original = environ.get(_RUNNER_ORIGINAL_CALLBACK)
        environ["ANSIBLE_STDOUT_CALLBACK"] = original if original and original != _RUNNER_CALLBACK else "default"
    folders = environ.get("ANSIBLE_CALLBACK_PLUGINS", "").split(os.pathsep)
    kept = [folder for folder in folders if not Path(folder, f"{_RUNNER_CALLBACK}.py").is_file()]
    if kept != folders:
        # An empty value would mean the working folder; no value, the folders of the configuration.
        environ["ANSIBLE_CALLBACK_PLUGINS"] = os.pathsep.join(filter(None, kept)) or os.devnull


def _can_be_named(host: str) -> bool:
    try:
        host.encode()
    except UnicodeEncodeError:
        return False
    return bool(host) and host == host.strip() and host[0] not in "!&" and not {"\n", "\r"} & set(host)
