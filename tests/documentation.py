# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the documentation tells its readers to type and to save, and a reader who does so.

A block of code is named C(PAGE: CAPTION), or without a caption C(PAGE: SECTION, NUMBER). A test names what it has its
reader follow with C(follows); when it has passed, all of that must have been used.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import select
import shlex
import signal
import subprocess
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import marked_processes

from ansible_fixtures import COLLECTION, KEY, Ansible, Result, Simulator

MARK = "READER"
LONGEST_COMMAND = 120.0
STARTED = "docs/docsite/rst/getting_started.rst"
SNAPSHOT = "ansible-playbook -i my.paperspace.yml community.paperspace.snapshot -l"
WEB = ("web1", "web2", "web3")
SHELLS = ("console", "shell", "bash")
# A run id as the pages have it, wherever one is to be put in.
RUN_IDS = re.compile(r"20260131T235959Z-1a2b|\bRUN_ID\b")
RUN_ID = re.compile(r"\b\d{8}T\d{6}Z-[0-9a-f]{4}\b")

_RST_HEADING = re.compile(r"^(?P<title>\S.*)\n(?P<line>[=\-~^])(?P=line){2,}$", re.MULTILINE)
_RST_BLOCK = re.compile(
    r"^(?P<indent> *)\.\. code-block:: (?P<language>\S+)\n(?P<options>(?:(?P=indent) {3}:.*\n)*)\n"
    r"(?P<text>(?:(?P=indent) {3}.*\n|\n)+)",
    re.MULTILINE,
)
_MD_HEADING = re.compile(r"^#+ (?P<title>.+)$", re.MULTILINE)
_MD_BLOCK = re.compile(r"^```(?P<language>\S*)\n(?P<text>(?:.*\n)*?)```$|(?P<indented>(?:^ {4}\S.*\n)+)", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of code. C(language) is empty where none is given."""

    page: str
    section: str
    name: str
    language: str
    text: str
    caption: str | None = None

    @property
    def is_typed(self) -> bool:
        return self.caption is None and (self.language in SHELLS or not self.language)


def pages() -> list[str]:
    """All pages of the documentation that can have blocks, by their paths."""
    found = [COLLECTION / page for page in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "tests/simulator/README.md")]
    found += [*COLLECTION.glob("roles/*/README.md"), *COLLECTION.glob("docs/docsite/rst/*.rst")]
    return sorted(path.relative_to(COLLECTION).as_posix() for path in found)


def blocks_of(page: str) -> list[Block]:
    """The blocks of a page, in order."""
    text = (COLLECTION / page).read_text("utf-8")
    is_rst = page.endswith(".rst")
    fences = [] if is_rst else [match.span() for match in re.finditer(r"^```\S*\n(?:.*\n)*?```$", text, re.MULTILINE)]
    headings = [
        match
        for match in (_RST_HEADING if is_rst else _MD_HEADING).finditer(text)
        if not any(begin < match.start() < end for begin, end in fences)
    ]
    blocks: list[Block] = []
    numbers: Counter[str] = Counter()
    for match in (_RST_BLOCK if is_rst else _MD_BLOCK).finditer(text):
        section = next((one["title"] for one in reversed(headings) if one.start() < match.start()), "")
        found = match.groupdict()
        content = textwrap.dedent(found["text"] or found["indented"])
        option = re.search(r":caption: (.+)", found.get("options") or "")
        caption = option[1] if option else None
        numbers[section] += 1
        name = caption or f"{section}, {numbers[section]}"
        short = page.rpartition("/")[2] if is_rst else page
        language = (found["language"] or "").lower()
        blocks.append(Block(page, section, f"{short}: {name}", language, content.strip("\n") + "\n", caption))
    return blocks


def all_blocks() -> list[Block]:
    return [block for page in pages() for block in blocks_of(page)]


def commands_of(text: str) -> list[str]:
    """The commands of a console: each begins after a prompt, or, where there are none, on a line of its own."""
    if re.search(r"^\$ ", text, re.MULTILINE):
        return [command.rstrip() for command in re.split(r"^\$ ", text, flags=re.MULTILINE) if command.strip()]
    commands: list[str] = []
    is_open, end = False, ""
    for line in text.splitlines():
        if is_open or end:
            commands[-1] += f"\n{line}"
        elif line.strip() and not line.startswith("#"):
            commands.append(line)
        else:
            continue
        is_open = not end and line.endswith("\\")
        if end:
            end = "" if line == end else end
        elif here := re.search(r"<<-?\s*'?(\w+)'?", line):
            end = here[1]
    return commands


@dataclass(frozen=True)
class Part:
    """What a test has its reader follow: a page, or some of its sections."""

    page: str
    sections: tuple[str, ...] = ()

    def blocks(self) -> list[Block]:
        blocks = [one for one in blocks_of(self.page) if not self.sections or one.section in self.sections]
        assert blocks, f"{self.page} has no blocks of code in {self.sections or 'it'}"
        missing = set(self.sections) - {block.section for block in blocks}
        assert not missing, f"{self.page} has no section with blocks of code that is named {missing}"
        return blocks


THEY_ARE_SESSIONS = "They are sessions of nox, of which this is one: see test_commands_of_make_are_there"
# What no test has a reader do, and why.
NOT_FOLLOWED = {
    "getting_started.rst: Install, 1": "It asks a placeholder and a package registry: see test_installation",
    "hooks.rst: Where a hook runs, 1": "It installs for the whole computer what getting_started.rst does for one user",
    "hooks.rst: A systemd unit, 3": "It hands the units to the computer's systemd; their commands are run without it",
    "README.md: Try it, 1": THEY_ARE_SESSIONS,
    "CONTRIBUTING.md: A first green test, 1": THEY_ARE_SESSIONS,
    "CONTRIBUTING.md: A first green test, 2": THEY_ARE_SESSIONS,
    "awx.rst: Execution environment, 2": "It builds a container image, which needs a container engine and base images",
}

FOLLOWED: dict[str, list[str]] = {}
"""The tests that follow each block, by its name."""


def follows(*parts: Part) -> Callable[[Any], Any]:
    """Mark a test as one whose fixture C(reader) follows these parts of the documentation."""

    def mark(test: Any) -> Any:
        for part in parts:
            for block in part.blocks():
                FOLLOWED.setdefault(block.name, []).append(test.__name__)
        test.parts = parts
        return test

    return mark


def section(page: str, title: str) -> list[Block]:
    """The blocks of one section of a page."""
    return Part(page, (title,)).blocks()


@dataclass(frozen=True)
class Saved:
    """A block that was saved, and what was written where."""

    block: Block
    path: Path
    text: str

    @property
    def is_there(self) -> bool:
        """Whether the file still is what the documentation has."""
        return self.path.is_file() and self.path.read_text("utf-8") == self.text


@dataclass
class Reader:
    """Somebody at a shell, who saves and types what the documentation has."""

    ansible: Ansible
    simulator: Simulator
    values: dict[str, str] = field(default_factory=dict)
    """What the reader puts in for words of the documentation, as it asks for. C(RUN_ID) is a run id anywhere."""
    results: list[Result] = field(default_factory=list)
    saved: dict[str, Saved] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    mark: str = field(default_factory=lambda: secrets.token_hex(8))
    _shell: subprocess.Popen[bytes] | None = None

    @property
    def folder(self) -> Path:
        return self.ansible.folder

    @property
    def last(self) -> Result:
        return self.results[-1]

    def with_values(self, text: str) -> str:
        words = {word: value for word, value in self.values.items() if word != "RUN_ID"}
        if words:
            # What has been put in is left as it is.
            pattern = rf"(?<!{re.escape(str(self.folder))})(?:{'|'.join(map(re.escape, words))})"
            text = re.sub(pattern, lambda match: words[match[0]], text)
        return RUN_IDS.sub(self.values["RUN_ID"], text) if "RUN_ID" in self.values else text

    def follow(self, block: Block, *, fails: Mapping[str, int] | None = None) -> None:
        """Save, type, or look for what a block has. C(fails): the exit codes of commands, by a part of the command."""
        if block.caption and block.language not in SHELLS:
            self.save(block)
        elif block.language in ("text", "none"):
            self.see(block)
        elif block.is_typed:
            for command in commands_of(block.text):
                rc = next((rc for part, rc in (fails or {}).items() if part in command), 0)
                self.type(command, rc=rc)
            self.used.add(block.name)
        else:
            raise AssertionError(f"what is {block.name} for?")

    def follow_all(self, blocks: Iterable[Block], *, fails: Mapping[str, int] | None = None) -> None:
        for block in blocks:
            self.follow(block, fails=fails)

    def save(self, block: Block, name: str | None = None) -> Path:
        """Save a file under its caption. Whoever names it uses it, as long as it is unchanged."""
        name = name or block.caption
        assert name, block.name
        # An absolute path is one of the reader's computer, for which the test gives another.
        path = self.folder / self.with_values(name)
        assert path.is_relative_to(self.folder), path
        path.parent.mkdir(parents=True, exist_ok=True)
        text = self.with_values(block.text)
        path.write_text(text, "utf-8")
        if block.text.startswith("#!"):
            path.chmod(0o755)
        self.saved[name] = Saved(block, path, text)
        return path

    def see(self, block: Block) -> None:
        """Find the lines of a block in the output of the last command, times and ids aside."""
        shown = comparable(self.last.output)
        missing = [line for line in map(comparable, block.text.splitlines()) if line not in shown]
        assert not missing, f"{block.name}\nnot shown: {missing}\n{self.last.output}"
        self.used.add(block.name)

    def type(self, command: str, rc: int | None = 0, *, may_show_key: bool = False) -> Result:
        """Type a command into the reader's shell, and check its exit code."""
        self._note_use(command)
        command = self.with_values(command)
        output = self.folder / "output"
        shell = self._started()
        began = time.monotonic()
        assert shell.stdin
        assert shell.stdout
        shell.stdin.write(f"{{ {command}\n}} >{shlex.quote(str(output))} 2>&1 </dev/null; echo $?\n".encode())
        shell.stdin.flush()
        ready, dummy, dummy = select.select([shell.stdout], [], [], LONGEST_COMMAND)
        shown = output.read_text("utf-8", "replace") if output.exists() else ""
        assert ready, f"{command}\nhas not ended within {LONGEST_COMMAND:g} s\n{shown}"
        code = shell.stdout.readline().decode().strip()
        shown = output.read_text("utf-8", "replace")
        assert code, f"{command}\nended the shell\n{shown}"
        result = Result(int(code), shown, "")
        print(f"$ {command}\n{shown}exit code {code} after {time.monotonic() - began:.1f} s\n")
        assert may_show_key or KEY not in shown
        assert "Traceback (most recent call last)" not in shown, shown
        assert rc is None or result.rc == rc, f"{command}\nended with {code}\n{shown}"
        if found := RUN_ID.findall(shown):
            self.values["RUN_ID"] = found[-1]
        self.results.append(result)
        return result

    def use_real_machines(self) -> None:
        """Save the inventory file of the first guide, and what Ansible has to know of machines that are simulated."""
        [inventory] = [block for block in blocks_of(STARTED) if block.caption == "my.paperspace.yml"]
        self.save(inventory)
        self.ansible.write("paperspace.yml", inventory.text)
        (self.folder / "group_vars").mkdir()
        # Not for all: what the machines share, the controller does not have.
        for group in ("web", "ungrouped"):
            variables = json.dumps(self.simulator.description["variables"])
            (self.folder / f"group_vars/{group}.yml").write_text(variables)

    def disk(self, host: str) -> Path:
        return Path(self.simulator.description["machines_dir"]) / self.simulator.ids()[host]

    def spoil(self, *hosts: str) -> None:
        """Bring version 2.0 to machines, and take them from the network."""
        for host in hosts:
            (self.disk(host) / "opt/app/version").write_text("2.0\n")
            (self.disk(host) / "etc/network").write_text("down\n")

    def use(self, *names: str) -> None:
        """Note that the test itself has used what the reader saved under these names."""
        for name in names:
            self._note_use(name)

    def _note_use(self, text: str) -> None:
        for name, saved in self.saved.items():
            if Path(name).name in text and saved.block.name not in self.used and saved.is_there:
                self.used.add(saved.block.name)
                self._note_use(saved.block.text)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._shell is None:
            self._shell = subprocess.Popen(
                ["bash", "--norc", "--noprofile"],
                cwd=self.folder,
                env={**self.ansible.environment, MARK: self.mark},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        return self._shell

    def close(self) -> None:
        """End the shell and all that was started in it."""
        if self._shell is None:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            # A command that has not ended in time, which a test failed for, would never let the shell end.
            self._shell.communicate(timeout=10)
        end = time.monotonic() + 10
        while processes := marked_processes.marked(MARK, self.mark):
            assert time.monotonic() < end, processes
            for process in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)


def comparable(text: str) -> str:
    """Output without what differs from run to run: ids of runs, seconds, and the width of white space."""
    text = RUN_ID.sub("RUN_ID", text)
    text = re.sub(r"\b\d+(?:\.\d+)?(?= s\b)", "N", text)
    return " ".join(text.split())


@contextlib.contextmanager
def reading(reader: Reader, parts: Iterable[Part]) -> Iterator[Reader]:
    """Hold a reader to what a test says that it follows."""
    try:
        yield reader
    finally:
        reader.close()
    left = [block.name for part in parts for block in part.blocks() if block.name not in reader.used]
    assert not left, f"the reader was to follow, and has not: {left}"


def state(simulator: Simulator) -> dict[str, tuple[str, str]]:
    """The version on each machine's disk, and how its runs stand: ok, restored or open, oldest first."""
    found = {}
    for machine in simulator.machines():
        disk = Path(simulator.description["machines_dir"]) / machine["id"]
        names = [snapshot["name"] for snapshot in simulator.snapshots(machine["id"])]
        ends = [RUN_ID.split(name)[-1].removeprefix("-") or "open" for name in names if RUN_ID.search(name)]
        found[machine["name"]] = ((disk / "opt/app/version").read_text().strip(), " ".join(ends))
    return found
