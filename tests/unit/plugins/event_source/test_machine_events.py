# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event source plugin as a file: how it is loaded, what it takes, and what a rule sees of an event."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from jinja2.nativetypes import NativeEnvironment
from unit.fake_service import KEY

from ansible_collections.community.paperspace.extensions.eda.plugins.event_source import machine_events
from ansible_collections.community.paperspace.plugins.module_utils._connection import CONNECTION_SPEC
from ansible_collections.community.paperspace.plugins.module_utils._errors import InputError
from ansible_collections.community.paperspace.plugins.module_utils._wire import Event
from ansible_fixtures import COLLECTION

NOWHERE = Path("/nonexistent")
RULEBOOK = yaml.safe_load((COLLECTION / "extensions/eda/rulebooks/machine_errors.yml").read_text("utf-8"))
MOMENT = datetime(2026, 1, 31, 23, 59, 59, tzinfo=timezone.utc)


def options(**args: Any) -> machine_events.Options:
    return machine_events.options_from({"api_key": KEY, **args}, {}, NOWHERE)


def event(**fields: Any) -> Event:
    given = {"id": "me1", "name": "stop", "state": "error", "machine_id": "ps1", "error": None, "finished": None}
    return Event(**{**given, "created": MOMENT, **fields})


# Loading, as ansible-rulebook does it

LOADER = """
import asyncio, json, runpy, sys
try:
    asyncio.run(runpy.run_path(sys.argv[1])["main"](None, {"colour": "red"}))
except Exception as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""


def load(root: Path, *paths: Path) -> tuple[str, str]:
    """Run the plugin in a Python that knows nothing but these paths; the error that it ends with."""
    source = root / "ansible_collections/community/paperspace/extensions/eda/plugins/event_source/machine_events.py"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(map(str, paths))}
    done = subprocess.run(
        [sys.executable, "-c", LOADER, str(source)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    name, message = json.loads(done.stdout)
    return name, message


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A root of collections with this one in it."""
    namespace = tmp_path / "root" / "ansible_collections" / "community"
    namespace.mkdir(parents=True)
    (namespace / "paperspace").symlink_to(COLLECTION)
    return tmp_path / "root"


def test_file_finds_its_collection(installed: Path) -> None:
    name, message = load(installed)
    assert name == "InputError"
    assert message.startswith("Unknown options: colour.")


def test_other_installation_of_the_collection_is_not_taken(installed: Path, tmp_path: Path) -> None:
    """As the package ansible brings them: real packages, with a file __init__.py in each of the first folders."""
    other = tmp_path / "other"
    module_utils = other / "ansible_collections/community/paperspace/plugins/module_utils"
    module_utils.mkdir(parents=True)
    for folder in (other / "ansible_collections", other / "ansible_collections/community"):
        (folder / "__init__.py").touch()
    (module_utils / "_client.py").write_text("raise SystemExit('the wrong one')")
    assert load(installed, other)[0] == "InputError"
    assert load(installed, other, installed)[0] == "InputError"


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_events, "HAS_REQUESTS", False)
    with pytest.raises(InputError, match="requests is missing"):
        asyncio.run(machine_events.main(None, {}))  # type: ignore[arg-type]


def test_end_of_the_rulebook_ends_waiting_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    sleeps: list[Any] = []

    class Client:
        def __init__(self, _connection: Any, *, sleep: Any) -> None:
            sleeps.append(sleep)

    async def follow(*_arguments: Any, **_options: Any) -> None:
        sleeps[0](0)
        raise asyncio.CancelledError

    monkeypatch.setattr(machine_events, "Client", Client)
    monkeypatch.setattr(machine_events, "follow", follow)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(machine_events.main(None, {"api_key": KEY}))  # type: ignore[arg-type]
    with pytest.raises(machine_events.Stopped):
        sleeps[0](3600)


# Options


def test_documentation_names_all_options() -> None:
    documented = yaml.safe_load(machine_events.DOCUMENTATION)["options"]
    assert set(documented) == set(machine_events.OPTIONS)
    defaults = {name: option.get("default") for name, option in documented.items()}
    connection = {name: CONNECTION_SPEC[name].get("default") for name in machine_events.CONNECTION_OPTIONS}
    made = options()
    own = {"interval": made.interval, "lookback": made.lookback, "start": "now", "names": [], "states": []}
    assert defaults == {**connection, **own, "state_file": None, "feedback": False}
    assert (made.names, made.states, made.start, made.state_file) == (frozenset(), frozenset(), None, None)


def test_guide_names_all_options() -> None:
    guide = (COLLECTION / "docs/docsite/rst/event_driven.rst").read_text("utf-8")
    table = guide.partition("\nOptions of the source\n")[2].partition("\n\n\n")[0]
    rows = re.findall(r"^   \* - (``.+)\n     -(.*)\n     - .+$", table, re.MULTILINE)
    shown = {name: default.strip(" `") for names, default in rows for name in re.findall(r"``(.+?)``", names)}
    assert set(shown) == set(machine_events.OPTIONS)
    documented = yaml.safe_load(machine_events.DOCUMENTATION)["options"]
    words = {"all": [], "none": None}
    for name in machine_events.OPTIONS - machine_events.CONNECTION_OPTIONS:
        default = shown[name]
        assert (words[default] if default in words else yaml.safe_load(default)) == documented[name].get("default"), (
            name
        )
    # As with the modules.
    assert {shown[name] for name in machine_events.CONNECTION_OPTIONS} == {""}


def test_examples_are_accepted() -> None:
    examples = yaml.safe_load(machine_events.EXAMPLES)
    assert len(examples) == 2
    for example in examples:
        options(**example["community.paperspace.machine_events"])


def test_key_comes_from_the_environment_too() -> None:
    made = machine_events.options_from({}, {"PAPERSPACE_API_KEY": KEY}, NOWHERE)
    assert made.connection.api_key == KEY
    assert KEY not in repr(made)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ({"colour": "red"}, "Unknown options: colour"),
        ({"api_key": None}, "No API key"),
        ({"api_url": "http://example.test/v1"}, "clear text"),
        ({"validate_certs": "no"}, "validate_certs"),
        ({"request_timeout": 0}, "request_timeout"),
        ({"request_timeout": "soon"}, "request_timeout"),
        ({"retries": -1}, "retries"),
        ({"retries": [1]}, "retries"),
        ({"interval": 0.5}, "interval"),
        ({"interval": True}, "interval"),
        ({"interval": float("nan")}, "interval"),
        ({"interval": "inf"}, "interval"),
        ({"lookback": -1}, "lookback"),
        ({"states": "error"}, "states"),
        ({"states": ["failed"]}, "states"),
        ({"names": [1]}, "names"),
        ({"start": "yesterday"}, "start"),
        ({"start": ["now"]}, "start"),
        ({"state_file": ""}, "state_file"),
        ({"state_file": 1}, "state_file"),
    ],
)
def test_wrong_options_are_refused(args: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        options(**args)
    assert KEY not in str(caught.value)


def test_what_templates_make_of_numbers_is_accepted() -> None:
    made = options(interval="30", lookback="60.5", retries="0", request_timeout="7")
    assert (made.interval, made.lookback) == (30, 60.5)
    assert (made.connection.retries, made.connection.request_timeout) == (0, 7)
    assert options(eda_feedback_queue=object(), feedback=True).names == frozenset()


# What a rule sees


def test_event_is_shown_with_all_that_is_known() -> None:
    shown = machine_events.as_event(event(error="no space", finished=MOMENT))
    assert shown.pop("meta").keys() == {"uuid"}
    assert shown == {
        "id": "me1",
        "name": "stop",
        "state": "error",
        "machine_id": "ps1",
        "error": "no space",
        "created": "2026-01-31T23:59:59+00:00",
        "finished": "2026-01-31T23:59:59+00:00",
    }


HOSTILE = [
    "{{ lookup('pipe', 'touch /tmp/x') }}",
    "{{{{ 7 * 7 }}}}",
    "{% for x in range(9) %}{{ x }}{% endfor %}",
    "{# gone #}",
    "{\x1b{ 7 * 7 }}",
    "{\u200b{ 7 * 7 }}",
    "{\n{ 7 * 7 }}",
    "a {{ api_key }} b",
    "x" * 498 + "{{ 1 }}",
    "$ANSIBLE_VAULT;1.1;AES256 6162",
    "see $ANSIBLE_VAULT",
    "$ANSIBLE_$ANSIBLE_VAULTVAULT",
    "\x1b]0;title\x07\x1b[31mred\x00",
    "one\r\ntwo\u2028three",
    "\ud800 half a character",
    "-" * 600 + "1",
    "[" * 600,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_are_harmless(text: str) -> None:
    shown = machine_events.as_event(event(name=text, state=text, error=text))
    for field in ("name", "state", "error"):
        words = shown[field]
        # As in a playbook, whose extra variables are templates; and as in a rulebook, where it is a value of one.
        assert jinja2.Environment(autoescape=False).from_string(words).render() == words
        assert isinstance(NativeEnvironment().from_string("{{ words }}").render(words=words), (str, list))
        assert "$ANSIBLE_VAULT" not in words
        assert words.isprintable()
        assert len(words) <= 2 * machine_events.LONGEST_TEXT
        assert words.encode()


@pytest.mark.parametrize("text", ["all:!web", "ps1,ps2", "{{ x }}", "-e", "", "ps1\n", "../ps1", "x" * 129])
def test_what_is_no_id_is_null(text: str) -> None:
    shown = machine_events.as_event(event(id=text or "x y", machine_id=text))
    assert shown["machine_id"] is None or text == "-e"
    assert shown["id"] is None or text == "-e"


# The example


def test_rulebook_rolls_back_only_where_the_user_says_so() -> None:
    [rules] = RULEBOOK
    [playbook] = [rule["action"]["run_playbook"] for rule in rules["rules"] if "run_playbook" in rule["action"]]
    template = NativeEnvironment(undefined=jinja2.StrictUndefined).from_string(playbook["extra_vars"]["recover_action"])
    failed, restore = {"name": "snapshot-create"}, {"name": "snapshot-restore"}
    assert template.render(event=failed) == "list"
    run = {"recover_run_id": "20260131T235959Z-1a2b"}
    assert template.render(event=failed, recover_action="rollback", **run) == "rollback"
    assert template.render(event=failed, recover_action="keep", **run) == "keep"
    assert template.render(event=restore, recover_action="rollback", **run) == "list"
    # Else it would be whatever run is the only open one.
    assert template.render(event=failed, recover_action="rollback", recover_run_id="") == "list"
    assert template.render(event=failed, recover_action="rollback") == "list"


def test_rulebook_gives_its_source_good_options() -> None:
    [rules] = RULEBOOK
    [source] = rules["sources"]
    args = source["community.paperspace.machine_events"]
    template = NativeEnvironment(undefined=jinja2.StrictUndefined).from_string(args["state_file"])
    assert options(**{**args, "state_file": template.render()}).states == {"error"}
    assert options(**{**args, "state_file": template.render(paperspace_state_file="/x")}).state_file is not None
