# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup that reads the inventory again beside the play."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleLookupError
from ansible.parsing.dataloader import DataLoader

from ansible_collections.community.paperspace.plugins.lookup import fresh_addresses

Find = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []
    monkeypatch.setattr(fresh_addresses.display, "warning", found.append)
    return found


@pytest.fixture
def find(warnings: list[str]) -> Find:
    def find(sources: list[str | Path], *names: str) -> list[dict[str, Any]]:
        variables = {"ansible_inventory_sources": [str(source) for source in sources]}
        return fresh_addresses.LookupModule(loader=DataLoader()).run(list(names), variables)

    return find


def folder_with(folder: Path, hosts: dict[str, Any], group_vars: dict[str, Any]) -> Path:
    (folder / "group_vars").mkdir()
    (folder / "hosts.yml").write_text(json.dumps({"all": {"hosts": hosts}}))
    (folder / "group_vars/all.yml").write_text(json.dumps(group_vars))
    return folder


def test_addresses_are_those_of_the_inventory_in_the_order_asked(tmp_path: Path, find: Find) -> None:
    hosts = {
        "a": {"ansible_host": "192.0.2.1", "ansible_port": 2222, "ansible_user": "me"},
        "b": {"ansible_ssh_host": "192.0.2.2", "ansible_ssh_port": 23},
        "c": {},
    }
    source = folder_with(tmp_path, hosts, {})
    assert find([source], "c", "b", "a") == [
        {},
        {"ansible_ssh_host": "192.0.2.2", "ansible_ssh_port": 23},
        {"ansible_host": "192.0.2.1", "ansible_port": 2222},
    ]


def test_templates_and_variables_beside_the_inventory_count(tmp_path: Path, find: Find) -> None:
    hosts = {"a": {"number": 1}, "b": {"number": 2}}
    group_vars = {"ansible_host": "192.0.2.{{ number }}", "ansible_port": "220{{ hostvars['b'].number }}"}
    source = folder_with(tmp_path, hosts, group_vars)
    assert find([source], "a") == [{"ansible_host": "192.0.2.1", "ansible_port": "2202"}]


def test_what_is_unsafe_is_never_evaluated(tmp_path: Path, find: Find) -> None:
    """Such are the values that the inventory plugin has from the API."""
    source = tmp_path / "hosts.yml"
    variables = 'ansible_host: "{{ odd }}", ansible_port: !unsafe "{{ 1 + 1 }}", odd: !unsafe "{{ 1 + 1 }}"'
    source.write_text(f"all: {{hosts: {{a: {{{variables}}}}}}}\n")
    assert find([source], "a") == [{"ansible_host": "{{ 1 + 1 }}", "ansible_port": "{{ 1 + 1 }}"}]


def test_it_is_read_anew_each_time(tmp_path: Path, find: Find) -> None:
    source = tmp_path / "hosts.yml"
    for address in ("192.0.2.1", "192.0.2.2"):
        source.write_text(json.dumps({"all": {"hosts": {"a": {"ansible_host": address}}}}))
        assert find([source], "a") == [{"ansible_host": address}]


def test_several_sources_of_all_kinds(tmp_path: Path, find: Find, warnings: list[str]) -> None:
    script = tmp_path / "script"
    listed = {"g": {"hosts": ["b"]}, "_meta": {"hostvars": {"b": {"ansible_host": "192.0.2.2"}}}}
    script.write_text(f"#!/bin/sh\necho '{json.dumps(listed)}'\n")
    script.chmod(0o755)
    hosts = tmp_path / "hosts.ini"
    hosts.write_text("c ansible_host=192.0.2.3\n")
    found = find(["a,", script, hosts], "a", "b", "c")
    assert found == [{}, {"ansible_host": "192.0.2.2"}, {"ansible_host": "192.0.2.3"}]
    assert warnings == []


def test_host_that_is_not_there_is_warned_about_once(tmp_path: Path, find: Find, warnings: list[str]) -> None:
    source = folder_with(tmp_path, {"a": {}}, {"ansible_host": "192.0.2.1"})
    names = [f"web{number}" for number in range(12)]
    assert find([source], *names, "a", "localhost") == [{}] * 12 + [{"ansible_host": "192.0.2.1"}, {}]
    [warning] = warnings
    assert "Not in the inventory any more" in warning
    assert warning.endswith("web8, web9 and 3 more.")


def test_template_that_cannot_be_evaluated_is_a_warning(tmp_path: Path, find: Find, warnings: list[str]) -> None:
    source = folder_with(tmp_path, {"a": {}, "b": {"x": "192.0.2.2"}}, {"ansible_host": "{{ x }}"})
    assert find([source], "a", "b") == [{}, {"ansible_host": "192.0.2.2"}]
    assert [warning.endswith("is tried: a.") for warning in warnings] == [True]


def test_variables_that_cannot_be_read_are_a_warning(tmp_path: Path, find: Find, warnings: list[str]) -> None:
    source = folder_with(tmp_path, {"a": {"ansible_host": "192.0.2.1"}}, {})
    (source / "group_vars/all.yml").write_text("{")
    assert find([source], "a", "b") == [{}, {}]
    assert any(warning.endswith("is tried: a.") for warning in warnings)


def test_inventory_that_cannot_be_read_is_a_warning(
    find: Find, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ansible.constants.INVENTORY_UNPARSED_IS_FAILED", True)
    assert find(["/nowhere.yml"], "a", "b") == [{}, {}]
    assert any(warning.startswith("The inventory could not be read again.") for warning in warnings)


def test_source_that_is_gone_gives_nothing(tmp_path: Path, find: Find) -> None:
    assert find([tmp_path / "nowhere.yml"], "a") == [{}]


def test_without_names_nothing_is_read(find: Find) -> None:
    assert find(["/nowhere"]) == []


@pytest.mark.parametrize(("terms", "options"), [([["a"]], {}), ([1], {}), (["a"], {"cache": True})])
def test_other_terms_and_options_are_refused(terms: list[Any], options: dict[str, Any]) -> None:
    with pytest.raises(AnsibleLookupError, match="takes names of hosts, and no options"):
        fresh_addresses.LookupModule(loader=DataLoader()).run(terms, {}, **options)
