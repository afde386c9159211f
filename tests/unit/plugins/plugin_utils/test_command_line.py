# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The child's command line and environment, against the parser and the inventory of the installed ansible-core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from argparse import Action
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible import constants as C  # noqa: N812
from ansible import context
from ansible.cli.playbook import PlaybookCLI
from ansible.errors import AnsibleError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.utils import color
from ansible.utils.context_objects import CLIArgs
from ansible.utils.display import Display
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.community.paperspace.plugins.module_utils._errors import InputError
from ansible_collections.community.paperspace.plugins.plugin_utils import _command_line, _parent
from ansible_collections.community.paperspace.plugins.plugin_utils._command_line import (
    GUARD_CALLBACK,
    KNOWN_OPTIONS,
    LEDGER_VARIABLE,
    ParentRun,
    child_command,
    child_environment,
    limit_file_text,
    refuse_hosts_in_memory,
    refuse_hosts_that_no_limit_can_name,
    refuse_limit_file,
    refuse_what_cannot_be_passed,
)
from ansible_collections.community.paperspace.plugins.plugin_utils._parent import parent_run_from_ansible

pytestmark = pytest.mark.smoke

LIMIT = Path("/tmp/limit")
LEDGER = Path("/tmp/ledger")
OWN_OPTIONS = _command_line._REPLACED | _command_line._WITHOUT_TASKS
ParentOf = Callable[..., ParentRun]


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in [name for name in os.environ if name.startswith("ANSIBLE_") or name == "ORIGINAL_STDOUT_CALLBACK"]:
        monkeypatch.delenv(variable)
    monkeypatch.setattr(Display(), "verbosity", 0)


@pytest.fixture
def parent_of(monkeypatch: pytest.MonkeyPatch) -> ParentOf:
    """What ansible-playbook with these arguments would be, to a plugin in it."""

    def parent_run(*arguments: str) -> ParentRun:
        monkeypatch.setattr(context, "CLIARGS", parsed(arguments))
        return parent_run_from_ansible()

    return parent_run


def parsed(arguments: Iterable[str]) -> CLIArgs:
    """CLIARGS for these arguments. PlaybookCLI.parse makes a singleton, so can be called only once in a process."""
    cli = PlaybookCLI(["ansible-playbook", *arguments])
    cli.init_parser()
    return CLIArgs.from_options(cli.post_process_args(cli.parser.parse_args(cli.args[1:])))


def options_of(parent: ParentRun) -> list[str]:
    command = child_command(parent, "site.yml", LIMIT)
    return command[command.index(parent.program) + 1 :]


def comparable(cliargs: CLIArgs) -> dict[str, Any]:
    """Without what the child has of its own. The order of tags is random in ansible-core."""
    return {
        key: sorted(value) if key in {"tags", "skip_tags"} else value
        for key, value in cliargs.items()
        if key not in {"args", "subset"}
    }


def assert_round_trip(parent: ParentRun) -> CLIArgs:
    refuse_what_cannot_be_passed(parent)
    child = parsed(options_of(parent))
    assert comparable(child) == comparable(context.CLIARGS)
    assert child["subset"] == f"@{LIMIT}"
    assert child["args"] == ("site.yml",)
    return child


def real_actions() -> Iterator[Action]:
    cli = PlaybookCLI(["ansible-playbook"])
    cli.init_parser()
    return iter(cli.parser._actions)


# Every option of the installed ansible-core.


def test_every_option_of_this_ansible_core_is_known() -> None:
    unknown = {action.dest for action in real_actions()} - KNOWN_OPTIONS
    assert not unknown, "Decide for these: passed on, refused, or without meaning for the child"


@pytest.mark.parametrize("key", sorted(KNOWN_OPTIONS - OWN_OPTIONS))
def test_each_option_is_passed_or_refused(parent_of: ParentOf, key: str) -> None:
    given_options = [
        option if action.nargs == 0 else f"{option}=7"
        for action in real_actions()
        for option in action.option_strings
        if action.dest == key and option.startswith("--")
    ]
    assert given_options
    for option in given_options:
        parent = parent_of(option, "guard.yml")
        assert parent.cliargs[key] != parent.defaults[key]
        if key in _command_line._REFUSED:
            with pytest.raises(InputError, match=r"--"):
                refuse_what_cannot_be_passed(parent)
        else:
            Path("7").touch()
            assert_round_trip(parent)


def test_an_option_that_a_later_ansible_core_adds_is_refused_when_given(parent_of: ParentOf) -> None:
    parent = parent_of("guard.yml")
    parent = replace(parent, defaults={**parent.defaults, "new_thing": "a"})
    refuse_what_cannot_be_passed(replace(parent, cliargs={**parent.cliargs, "new_thing": "a"}))
    with pytest.raises(InputError, match="new_thing"):
        refuse_what_cannot_be_passed(replace(parent, cliargs={**parent.cliargs, "new_thing": "b"}))


def test_an_option_that_a_later_ansible_core_drops_is_no_obstacle(parent_of: ParentOf) -> None:
    parent = parent_of("guard.yml")
    cliargs = {key: value for key, value in parent.cliargs.items() if key != "scp_extra_args"}
    assert options_of(replace(parent, cliargs=cliargs)) == [f"--limit=@{LIMIT}", "site.yml"]


# Round trips.


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["-l", "web*"],
        ["-i", "hosts.ini", "-i", "folder/", "-i", "host1,host2,", "-i", "~/hosts.yml", "-i", "$HOME/hosts.yml"],
        ["-i", "one,"],
        ["-i", "name with space.ini"],
        ["-e", "a=1 b='two words'", "-e", '{"c": ["d", "{{ e }}"]}', "-e", "@vars.yml", "-e", "a=2"],
        ["-e", "text=line\nbreak"],
        ["-e-dash=1"],
        ["-e", ""],
        ["--tags", "one,two", "-t", "three , four"],
        ["--tags", ""],
        ["--tags", "all"],
        ["--skip-tags", "one,two", "--skip-tags", "three"],
        ["--skip-tags", ""],
        ["--skip-tags=-dash"],
        ["--check"],
        ["-CD"],
        ["-f", "50"],
        ["-v"],
        ["-vvv", "-v"],
        ["--vault-id", "dev@pw.txt", "--vault-id", "pw.txt", "--vault-id", "dev@~/pw@2.txt"],
        ["--vault-password-file", "pw.txt", "--vault-pass-file", "pw2.txt"],
        ["--private-key", "~/.ssh/id"],
        ["-u", "someone", "-b", "--become-method", "su", "--become-user", "root"],
        ["-u", ""],
        ["-c", "local", "-T", "3"],
        ["--ssh-common-args=-o ProxyJump=a -v", "--ssh-extra-args", "-R 1:b:2", "--sftp-extra-args=-l 3"],
        ["--scp-extra-args=-l 4"],
        ["--connection-password-file", "pw.txt", "--become-password-file", "pw2.txt"],
        ["-M", "a:b", "-M", "c"],
        ["-M", ""],
        ["--force-handlers", "--flush-cache"],
    ],
    ids=" ".join,
)
def test_the_child_parses_to_what_the_parent_had(parent_of: ParentOf, arguments: list[str]) -> None:
    Path("vars.yml").touch()
    assert_round_trip(parent_of(*arguments, "guard.yml"))


def test_without_options_there_are_only_limit_and_playbook(parent_of: ParentOf) -> None:
    assert options_of(parent_of("guard.yml")) == [f"--limit=@{LIMIT}", "site.yml"]


def test_extra_vars_stay_in_order_each_its_own(parent_of: ParentOf) -> None:
    parent = parent_of("-e", "a=1", "-e", '{"a": 2}', "-e", "a=3", "guard.yml")
    assert [option for option in options_of(parent) if option.startswith("--extra-vars")] == [
        "--extra-vars=a=1",
        '--extra-vars={"a": 2}',
        "--extra-vars=a=3",
    ]


SETTINGS = {
    "DEFAULT_FORKS": 17,
    "DEFAULT_BECOME": True,
    "DEFAULT_BECOME_METHOD": "su",
    "DEFAULT_REMOTE_USER": "someone",
    "DEFAULT_TRANSPORT": "local",
    "DEFAULT_VERBOSITY": 2,
    "DEFAULT_FORCE_HANDLERS": True,
    "DEFAULT_HOST_LIST": ["/srv/hosts.ini", "/srv/more.yml"],
    "DIFF_ALWAYS": True,
    "TAGS_RUN": ["one"],
    "TAGS_SKIP": ["two", "three"],
    "CONNECTION_PASSWORD_FILE": "/srv/pw",
}


def test_what_the_configuration_says_is_inherited(parent_of: ParentOf, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SETTINGS.items():
        monkeypatch.setattr(C, name, value)
    parent = parent_of("guard.yml")
    assert options_of(parent) == [f"--limit=@{LIMIT}", "site.yml"]
    assert_round_trip(parent)


def test_what_the_command_line_adds_to_the_configuration_is_passed(
    parent_of: ParentOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in SETTINGS.items():
        monkeypatch.setattr(C, name, value)
    parent = parent_of("-vv", "-t", "four", "--skip-tags", "five", "-f", "5", "-u", "other", "-i", "a,", "guard.yml")
    child = assert_round_trip(parent)
    assert child["verbosity"] == 4
    assert set(child["tags"]) == {"one", "four"}
    assert options_of(parent).count("-v") == 2


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["-e", "-u", "--tags", "--skip-tags", "--ssh-extra-args"]), st.text()))
def test_any_text_makes_the_round_trip(values: dict[str, str]) -> None:
    # A leading @ names a file, which has to be there.
    long = {"-e": "--extra-vars", "-u": "--user"}
    arguments = [f"{long.get(option, option)}={text.lstrip('@')}" for option, text in values.items()]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(context, "CLIARGS", parsed([*arguments, "guard.yml"]))
        assert_round_trip(parent_run_from_ansible())


# The command.


def test_a_syntax_check_is_the_same_command_with_one_option(parent_of: ParentOf) -> None:
    parent = parent_of("-e", "a=1", "guard.yml")
    checking = child_command(parent, "site.yml", LIMIT, is_syntax_check=True)
    assert [part for part in checking if part != "--syntax-check"] == child_command(parent, "site.yml", LIMIT)
    assert parsed(checking[checking.index(parent.program) + 1 :])["syntax"]


def test_a_playbook_that_looks_like_an_option(parent_of: ParentOf) -> None:
    parent = parent_of("guard.yml")
    command = child_command(parent, "-v", LIMIT)
    assert parsed(command[command.index(parent.program) + 1 :])["args"] == ("./-v",)


def test_the_child_is_a_real_ansible_playbook(parent_of: ParentOf, tmp_path: Path) -> None:
    """It is limited as told, and imports nothing from the working folder."""
    for module in ("ansible", "yaml", "json"):
        Path(f"{module}.py").write_text("raise SystemExit('imported from the working folder')\n")
    Path("site.yml").write_text(
        "[{hosts: all, gather_facts: false, tasks: [{debug: {msg: 'it is {{ what }} for {{ inventory_hostname }}'}}]}]"
    )
    Path("limit").write_text(limit_file_text(["a*", "~b"]))
    Path("hosts.yml").write_text("all: {hosts: {'~b': {}, 'a*': {}, ab: {}, b: {}}}\n")
    parent = replace(
        parent_of("-i", "hosts.yml", "-e", "what='all well'", "-vv", "guard.yml"), program="/opt/x/playbook"
    )
    child = subprocess.run(
        child_command(parent, "site.yml", tmp_path / "limit"),
        env=child_environment(parent, tmp_path / "ledger"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stdout + child.stderr
    assert "executable location = /opt/x/playbook" in child.stdout
    assert child.stdout.count("it is all well for") == 2
    assert "it is all well for a*" in child.stdout
    assert "it is all well for ~b" in child.stdout


def test_the_interpreter_keeps_the_options_that_choose_its_modules(
    parent_of: ParentOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    for flags, options in (((0, 0, 0), []), ((0, 0, 1), ["-s"]), ((0, 1, 1), ["-E", "-s"]), ((1, 1, 1), ["-I"])):
        names = ("isolated", "ignore_environment", "no_user_site")
        with monkeypatch.context() as patch:
            patch.setattr(
                _parent,
                "sys",
                SimpleNamespace(
                    flags=SimpleNamespace(**dict(zip(names, flags, strict=True))),
                    executable="/py",
                    argv=["bin/playbook"],
                ),
            )
            parent = parent_of("guard.yml")
        assert parent.python == ["/py", *options]
        assert parent.program == str(Path.cwd() / "bin" / "playbook")


def test_a_parent_run_can_be_sent_as_json_and_does_not_show_secrets(
    parent_of: ParentOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAPERSPACE_API_KEY", "a-secret-key")
    parent = parent_of("-e", "password=another-secret", "-M", "a", "-t", "b", "guard.yml")
    assert ParentRun(**json.loads(json.dumps(asdict(parent)))) == parent
    assert "secret" not in repr(parent)
    assert all(value.__class__ is str for value in parent.cliargs["extra_vars"])


# The environment.


def test_the_environment_is_inherited_the_key_too(parent_of: ParentOf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAPERSPACE_API_KEY", "a-secret-key")
    monkeypatch.setenv("ANSIBLE_HOST_KEY_CHECKING", "no")
    parent = parent_of("guard.yml")
    environ = child_environment(parent, LEDGER)
    own = {LEDGER_VARIABLE, "ANSIBLE_CALLBACKS_ENABLED", "ANSIBLE_COLLECTIONS_PATH"}
    assert {key: value for key, value in environ.items() if key not in own} == dict(os.environ)
    assert environ[LEDGER_VARIABLE] == str(LEDGER)
    assert not any("a-secret-key" in part for part in child_command(parent, "site.yml", LIMIT))


def test_the_guard_is_added_to_the_callbacks_that_are_enabled(
    parent_of: ParentOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert child_environment(parent_of("x"), LEDGER)["ANSIBLE_CALLBACKS_ENABLED"] == GUARD_CALLBACK
    monkeypatch.setattr(C, "CALLBACKS_ENABLED", ["ansible.posix.timer", GUARD_CALLBACK, "mail"])
    names = child_environment(parent_of("x"), LEDGER)["ANSIBLE_CALLBACKS_ENABLED"]
    assert names == f"ansible.posix.timer,mail,{GUARD_CALLBACK}"


@pytest.mark.parametrize("shown", [True, False])
def test_colour_is_as_in_the_parent(parent_of: ParentOf, monkeypatch: pytest.MonkeyPatch, shown: bool) -> None:
    monkeypatch.setattr(color, "ANSIBLE_COLOR", shown)
    assert child_environment(parent_of("x"), LEDGER).get("ANSIBLE_FORCE_COLOR") == ("1" if shown else None)


def test_the_collection_is_found_where_the_parent_found_it(
    parent_of: ParentOf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ANSIBLE_COLLECTIONS_PATHS", "/plural")
    parent = replace(parent_of("x"), collection_root="/ours", collection_paths=["/a", str(tmp_path)])

    def paths(parent: ParentRun) -> list[str]:
        environ = child_environment(parent, LEDGER)
        assert "ANSIBLE_COLLECTIONS_PATHS" not in environ
        return environ["ANSIBLE_COLLECTIONS_PATH"].split(":")

    assert paths(parent) == ["/a", str(tmp_path), "/ours"]
    # Not another release of it.
    (tmp_path / "ansible_collections" / "community" / "paperspace").mkdir(parents=True)
    assert paths(parent) == ["/a", "/ours", str(tmp_path)]
    for root in ("/ours", "/ours/", "/ours/ansible_collections"):
        assert paths(replace(parent, collection_paths=[str(tmp_path), root])) == [str(tmp_path), root]


def test_the_root_of_this_collection(parent_of: ParentOf) -> None:
    root = Path(parent_of("x").collection_root)
    assert (root / "ansible_collections" / "community" / "paperspace" / "galaxy.yml").is_file()


@pytest.mark.parametrize(("original", "expected"), [(None, "default"), ("yaml", "yaml"), ("awx_display", "default")])
def test_the_callback_of_ansible_runner_stays_out(
    parent_of: ParentOf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, original: str | None, expected: str
) -> None:
    (tmp_path / "awx_display.py").touch()
    monkeypatch.setattr(C, "DEFAULT_STDOUT_CALLBACK", "awx_display")
    monkeypatch.setattr(C, "CALLBACKS_ENABLED", ["awx_display", "mail"])
    monkeypatch.setenv("ANSIBLE_STDOUT_CALLBACK", "awx_display")
    monkeypatch.setenv("ANSIBLE_CALLBACK_PLUGINS", f"/mine:{tmp_path}:/more")
    if original:
        monkeypatch.setenv("ORIGINAL_STDOUT_CALLBACK", original)
    environ = child_environment(parent_of("x"), LEDGER)
    assert environ["ANSIBLE_STDOUT_CALLBACK"] == expected
    assert environ["ANSIBLE_CALLBACK_PLUGINS"] == "/mine:/more"
    assert environ["ANSIBLE_CALLBACKS_ENABLED"] == f"mail,{GUARD_CALLBACK}"
    monkeypatch.setenv("ANSIBLE_CALLBACK_PLUGINS", str(tmp_path))
    # Neither the working folder nor the folders of the configuration, which the parent does not look into.
    assert child_environment(parent_of("x"), LEDGER)["ANSIBLE_CALLBACK_PLUGINS"] == os.devnull


# What cannot be passed.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-k"], "--ask-pass .*--connection-password-file"),
        (["-K"], "--ask-become-pass .*--become-password-file"),
        (["-J"], "--ask-vault-pass .*--vault-password-file"),
        (["--step"], "--step asks"),
        (["--start-at-task", "x"], "--start-at-task"),
        (["--vault-id", "@prompt"], "vault id @prompt asks"),
        (["--vault-id", "prompt"], "vault id prompt asks"),
        (["--vault-id", "file", "--vault-id", "dev@prompt"], "vault id dev@prompt asks"),
        (["--vault-id", "dev@prompt_ask_vault_pass"], "asks for the vault password"),
        (["-i", "/dev/stdin"], "--inventory /dev/stdin is a file descriptor"),
        (["-i", "a,", "-i", "/dev/fd/63"], "--inventory /dev/fd/63 is"),
        (["-i", "/proc/self/fd/0"], "--inventory /proc/self/fd/0 is"),
        (["-i", "fifo"], "--inventory .*/fifo is a pipe"),
        (["-i", "/dev/zero"], "--inventory /dev/zero is a device"),
        (["-e", "@fifo"], "--extra-vars .*/fifo is a pipe"),
        (["-e", "a=1", "-e", "@/dev/fd/63"], "--extra-vars /proc/.*/fd/63 is a file descriptor"),
        (["-e", "@gone.yml"], "gone.yml is gone"),
        (["--vault-password-file", "fifo"], "--vault-password-file .*/fifo is a pipe"),
        (["--vault-password-file", "/dev/fd/63"], "--vault-password-file /dev/fd/63"),
        (["--vault-id", "fifo"], "--vault-id fifo is a pipe"),
        (["--vault-id", "dev@./fifo"], "--vault-id ./fifo is a pipe"),
        (["--vault-id", "dev@$PWD/fifo"], "is a pipe"),
        (["--vault-id", "dev@/dev/stdin"], "--vault-id /dev/stdin"),
        (["--connection-password-file", "-"], "--connection-password-file - is the standard input"),
        (["--become-password-file", "-"], "--become-password-file - is the standard input"),
        (["--become-password-file", "fifo"], "--become-password-file .* is a pipe"),
        (["--private-key", "fifo"], "--private-key .* is a pipe"),
    ],
    ids=str,
)
def test_what_cannot_be_passed_is_refused(
    parent_of: ParentOf, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.setenv("PWD", str(Path.cwd()))
    os.mkfifo("fifo")
    parent = parent_of(*arguments, "guard.yml")
    with pytest.raises(InputError, match=message):
        refuse_what_cannot_be_passed(parent)


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("DEFAULT_ASK_PASS", True, "ask_pass in the configuration"),
        ("DEFAULT_BECOME_ASK_PASS", True, "become_ask_pass in the configuration"),
        ("DEFAULT_ASK_VAULT_PASS", True, "ask_vault_pass in the configuration"),
        ("DEFAULT_VAULT_IDENTITY_LIST", ["a@file", "b@prompt"], "vault id b@prompt asks"),
        ("DEFAULT_VAULT_IDENTITY_LIST", ["a@fifo"], "fifo is a pipe"),
        ("DEFAULT_VAULT_PASSWORD_FILE", "fifo", "fifo is a pipe"),
        ("DEFAULT_HOST_LIST", ["/dev/fd/63"], "/dev/fd/63"),
        ("DEFAULT_HOST_LIST", [], "has none"),
        ("CONNECTION_PASSWORD_FILE", "fifo", "fifo is a pipe"),
        ("BECOME_PASSWORD_FILE", "fifo", "fifo is a pipe"),
        ("CONFIG_FILE", "fifo", "ANSIBLE_CONFIG fifo is a pipe"),
        ("ENABLE_TASK_DEBUGGER", True, "task debugger"),
    ],
)
def test_what_cannot_be_passed_is_refused_from_the_configuration_too(
    parent_of: ParentOf, monkeypatch: pytest.MonkeyPatch, setting: str, value: Any, message: str
) -> None:
    os.mkfifo("fifo")
    refuse_what_cannot_be_passed(parent_of("guard.yml"))
    monkeypatch.setattr(C, setting, value)
    with pytest.raises(InputError, match=message):
        refuse_what_cannot_be_passed(parent_of("guard.yml"))


def test_ordinary_files_are_not_refused(parent_of: ParentOf) -> None:
    for name in ("vars.yml", "pw", "key"):
        Path(name).touch()
    Path("link").symlink_to("pw")
    arguments = ["-i", "/dev/fd/63,a", "-i", "missing", "-i", "/dev/null", "-e", "@vars.yml", "-e", "@/dev/null"]
    arguments += ["--vault-id", "a@link", "--vault-id", "a@b@prompt", "--vault-password-file", "~nobody-here/pw"]
    arguments += ["--private-key", "key", "--become-password-file", "pw"]
    refuse_what_cannot_be_passed(parent_of(*arguments, "guard.yml"))


def test_a_run_that_is_not_of_ansible_playbook_is_refused(parent_of: ParentOf) -> None:
    for cliargs in ({}, {"inventory": ["a,"], "module_name": "ping", "args": "all"}):
        with pytest.raises(InputError, match="start it with ansible-playbook"):
            refuse_what_cannot_be_passed(replace(parent_of("x"), cliargs=cliargs))


def test_hosts_that_only_add_host_made_are_refused() -> None:
    inventory = InventoryManager(DataLoader(), sources=["a,b,"])
    inventory.add_host("c", "all")

    def refuse(*hosts: str) -> None:
        refuse_hosts_in_memory({host: inventory.get_host(host).vars["inventory_file"] for host in hosts})

    refuse("a", "b")
    with pytest.raises(InputError, match=r"know them: c\."):
        refuse("a", "c")


# Limits, as ansible-core's own inventory reads them.

DECOYS = ["a", "b", "x", "y", "db", "db0", "db1", "abc", "member"]
ODD_NAMES = [
    "db[1]", "db[0:2]", "db[-1]", "[a]", "a:b", "a:22", "::1", "x,y", "~a", "~.*", "@a", "@/etc/passwd", "a*", "*", "?",
    "a b", "a!b", "a&b", "-a", "#a", "a#b", "{{ a }}", "'a'", '"a"', "\\a", "ünï", "机器", "\ufeffa", "a\x0bb",
    "a\u2028b", "group", "machine.example.com",
]  # fmt: skip
REFUSED_NAMES = [
    "",
    " ",
    " a",
    "a ",
    "\ta",
    "a\u00a0",
    "\u2003a",
    "a\x1f",
    "a\nb",
    "a\rb",
    "a\n",
    "!a",
    "!",
    "&a",
    "!a*",
]


def inventory_of(hosts: Iterable[str]) -> InventoryManager:
    inventory = InventoryManager(DataLoader(), sources=[], parse=False)
    inventory.add_group("group")
    for host in hosts:
        inventory.add_host(host, "group" if host == "member" else "all")
    inventory.reconcile_inventory()
    return inventory


# All hosts, and the name of none.
ANY = r"~[\s\S]"


def selected(inventory: InventoryManager, text: str, pattern: str = ANY) -> list[str]:
    path = Path("limit.txt").absolute()
    refuse_limit_file(path)
    path.write_text(text, newline="")
    inventory.subset(f"@{path}")
    return [host.name for host in inventory.get_hosts(pattern)]


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
def test_a_limit_selects_just_the_host_that_it_names(name: str) -> None:
    refuse_hosts_that_no_limit_can_name([name])
    assert selected(inventory_of([*DECOYS, *ODD_NAMES]), limit_file_text([name])) == [name]


@pytest.mark.parametrize("name", REFUSED_NAMES, ids=ascii)
def test_names_that_a_limit_cannot_express_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="Rename them"):
        refuse_hosts_that_no_limit_can_name(["fine", name])
    with pytest.raises(InputError, match="Rename them"):
        limit_file_text([name])
    if name:
        assert selected(inventory_of([*DECOYS, name]), f"{name}\n") != [name], "It would work, so need not be refused"


def test_a_name_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(InputError, match=r"'a\\udcff'"):
        refuse_hosts_that_no_limit_can_name(["a\udcff"])


@settings(deadline=None)
@given(st.sets(st.text(min_size=1, max_size=6) | st.text("ab[]!&~@*?,: ", min_size=1, max_size=4)), st.data())
def test_any_names_that_are_not_refused_are_selected(names: set[str], data: st.DataObject) -> None:
    def is_accepted(name: str) -> bool:
        try:
            refuse_hosts_that_no_limit_can_name([name])
        except InputError:
            return False
        return True

    # Ansible itself breaks at a host named like the group of all.
    names -= {"member", ANY, "all", "ungrouped"}
    accepted = sorted(filter(is_accepted, names))
    wave = sorted(data.draw(st.sets(st.sampled_from(accepted)))) if accepted else []
    if wave:
        assert sorted(selected(inventory_of([*names, "member"]), limit_file_text(wave))) == wave


def test_no_hosts_would_be_all_hosts() -> None:
    with pytest.raises(ValueError, match="all hosts"):
        limit_file_text([])
    assert len(selected(inventory_of(["a", "b"]), "")) == 2


@pytest.mark.parametrize("pattern", ["localhost", "127.0.0.1", "::1"])
def test_plays_on_the_implicit_localhost_run_when_asked_for(pattern: str) -> None:
    assert selected(inventory_of(["a", "b"]), limit_file_text(["a"]), pattern) == []
    with_localhost = limit_file_text(["a"], with_localhost=True)
    assert len(selected(inventory_of(["a", "b"]), with_localhost, pattern)) == 1
    assert selected(inventory_of(["a", "b"]), with_localhost, "all") == ["a"]


@pytest.mark.parametrize("name", ["with space", "with,comma", "with:colon", "with:22", "with[bracket", "tab\t"])
def test_a_path_that_ansible_would_split_is_refused(parent_of: ParentOf, name: str) -> None:
    path = Path(name).absolute() / "limit"
    path.parent.mkdir()
    path.write_text("a\n")
    with pytest.raises(InputError, match="cannot read a limit"):
        refuse_limit_file(path)
    with pytest.raises(InputError, match="cannot read a limit"):
        child_command(parent_of("x"), "site.yml", path)
    inventory = inventory_of(["a", "b"])
    with pytest.raises(AnsibleError, match="Unable to find limit file"):
        inventory.subset(f"@{path}")


def test_the_interpreter_is_this_one(parent_of: ParentOf) -> None:
    assert parent_of("x").python[0] == sys.executable
