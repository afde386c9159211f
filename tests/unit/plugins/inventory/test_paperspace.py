# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible import template
from ansible.utils.vars import isidentifier

from ansible_collections.community.paperspace.plugins.inventory.paperspace import (
    DOCUMENTATION,
    Filters,
    InventoryModule,
    address_of,
    check_option_names,
    existing_machines,
    filters_from,
    host_names,
    host_variables,
    is_inventory_file,
    machines_from_cache,
    missing_address_warning,
)
from ansible_collections.community.paperspace.plugins.module_utils._errors import InputError, InvalidAnswer
from ansible_collections.community.paperspace.plugins.module_utils._wire import MACHINE_STATES, Machine

pytestmark = pytest.mark.smoke

DEFAULTS: dict[str, Any] = {"regions": [], "machine_types": [], "states": [], "name_pattern": None}


def machine(machine_id: str = "m1", name: str = "web", state: str = "ready", **fields: Any) -> Machine:
    return Machine(machine_id, name, state, {"id": machine_id, "name": name, "state": state, **fields})


def names(*given: str) -> list[str]:
    """The hosts' names for machines of these names, whose ids are m0, m1 and so on."""
    machines = [machine(f"m{number}", name) for number, name in enumerate(given)]
    found = host_names(machines)
    assert list(found) == [each.id for each in machines]
    return list(found.values())


@pytest.mark.parametrize(
    ("path", "is_one"),
    [
        ("/x/paperspace.yml", True),
        ("paperspace.yaml", True),
        ("/x/team.paperspace.yml", True),
        ("/x/.paperspace.yaml", True),
        ("/x/mypaperspace.yml", False),
        ("/x/paperspace.json", False),
        ("/x/paperspace.yml.orig", False),
        ("/x/paperspace.yml\n", False),
        ("/x/paperspace/inventory.yml", False),
    ],
)
def test_names_of_inventory_files(path: str, is_one: bool) -> None:
    assert is_inventory_file(path) is is_one


def test_deleted_machines_are_left_out_and_overlapping_pages_give_no_twins() -> None:
    machines = [
        machine("m1", "old", dt_deleted="2026-01-01T00:00:00Z"),
        machine("m2", "web", dt_deleted=None),
        machine("m3", "db"),
        machine("m2", "web again"),
    ]
    assert [(each.id, each.name) for each in existing_machines(machines)] == [("m2", "web"), ("m3", "db")]


@pytest.mark.parametrize("odd", ["../x", "a b", "{{ x }}", "m\n", "m\x1b[2J"])
def test_an_id_that_cannot_be_one_is_an_error(odd: str) -> None:
    with pytest.raises(InvalidAnswer, match="Check api_url") as caught:
        existing_machines([machine(odd)])
    assert str(caught.value).isprintable()


def test_names_that_are_fine_are_kept() -> None:
    fine = ["web1", "db-2.example.com", "under_score", "10.0.0.5", "Büro", "机器", "9lives", "a" * 200, "web", "WEB"]
    assert names(*fine) == fine


def test_all_machines_that_share_a_name_get_their_ids() -> None:
    assert names("web", "db", "web", "web") == ["web-m0", "db", "web-m2", "web-m3"]


def test_a_name_that_looks_like_another_ones_name_and_id() -> None:
    assert names("web", "web", "web-m0") == ["web-m0-m0", "web-m1", "web-m0-m2"]


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("", "machine-m0"),
        (" ", "machine-m0"),
        ("\t\n", "machine-m0"),
        ("...", "machine-m0"),
        ("..", "machine-m0"),
        ("../../etc/passwd", "etc_passwd-m0"),
        ("/etc/passwd", "etc_passwd-m0"),
        (" web ", "web-m0"),
        ("web\n", "web-m0"),
        ("web 1", "web_1-m0"),
        ("a,b", "a_b-m0"),
        ("a:22", "a_22-m0"),
        ("web[1:3]", "web_1_3-m0"),
        ("web*", "web-m0"),
        ("w?b", "w_b-m0"),
        ("!web", "web-m0"),
        ("&web", "web-m0"),
        ("~web", "web-m0"),
        ("@file", "file-m0"),
        ("-oProxyCommand=touch x", "oProxyCommand_touch_x-m0"),
        (".hidden", "hidden-m0"),
        ("{{ lookup('pipe', 'id') }}", "lookup_pipe_id-m0"),
        ("{% x %}{# y #}", "x_y-m0"),
        ("\x1b[31mred", "31mred-m0"),
        ("a\0b", "a_b-m0"),
        ("a\u202eb", "a_b-m0"),
        ("$(id)`id`", "id_id-m0"),
        ("localhost", "localhost-m0"),
        ("LocalHost", "LocalHost-m0"),
        ("127.0.0.1", "127.0.0.1-m0"),
        ("::1", "1-m0"),
        ("all", "all-m0"),
        ("ungrouped", "ungrouped-m0"),
        ("a" * 201, "a" * 100 + "-m0"),
    ],
)
def test_names_that_cannot_be_used_are_made_readable_and_carry_the_id(name: str, host: str) -> None:
    assert names(name) == [host]


def test_names_that_are_alike_once_they_are_readable_stay_distinct() -> None:
    assert names("a b", "a:b", "a_b", "a_b-m0") == ["a_b-m0-m0", "a_b-m1", "a_b", "a_b-m0-m3"]


def test_every_combination_of_awkward_names_is_distinct() -> None:
    awkward = ["a", "a-m0", "a-m1", "a m0", "a-m0-m0", "", "machine-m2", "machine"]
    for given in itertools.product(awkward, repeat=4):
        assert len(set(names(*given))) == 4


def test_every_field_is_a_variable() -> None:
    fields = {"machine_type": "C5", "ram": 1024, "public_ip": None, "accelerators": [{"name": "A100", "memory": 5}]}
    assert host_variables(machine("m1", "web", "off", **fields)) == {
        "paperspace_id": "m1",
        "paperspace_name": "web",
        "paperspace_state": "off",
        "paperspace_machine_type": "C5",
        "paperspace_ram": 1024,
        "paperspace_public_ip": None,
        "paperspace_accelerators": [{"name": "A100", "memory": 5}],
    }


@pytest.mark.parametrize("field", ["with space", "a-b", "{{ x }}", "x\n", "x.y"])
def test_a_field_whose_name_is_no_variables_name_is_left_out(field: str) -> None:
    variables = host_variables(machine(**{field: "x"}))
    assert all(isidentifier(name) for name in variables)
    assert len(variables) == 3


def may_be_evaluated(value: Any) -> bool:
    if isinstance(value, dict):
        return any(may_be_evaluated(item) for item in (*value.keys(), *value.values()))
    if isinstance(value, list):
        return any(may_be_evaluated(item) for item in value)
    if not isinstance(value, str):
        return False
    if hasattr(template, "is_trusted_as_template"):  # from 2.19 on
        return bool(template.is_trusted_as_template(value))
    return not getattr(value, "__UNSAFE__", False)


def test_no_variable_may_be_evaluated() -> None:
    odd = "{{ lookup('pipe', 'id') }}"
    variables = host_variables(machine("m1", odd, os=odd, reservation={"name": odd}, accelerators=[{odd: [odd]}]))
    assert not may_be_evaluated(list(variables.values()))


def test_addresses() -> None:
    known = machine(public_ip="203.0.113.7", private_ip="10.0.0.7", name="web.example.com")
    assert address_of(known, "public_ip") == "203.0.113.7"
    assert address_of(known, "private_ip") == "10.0.0.7"
    assert address_of(known, "name") == "web.example.com"
    assert address_of(machine(public_ip="2001:db8::1"), "public_ip") == "2001:db8::1"


@pytest.mark.parametrize(
    "odd", [None, "", "-oProxyCommand=id", "example.com", "10.0.0.7\n", "{{ x }}", 5, [], "10.0.0"]
)
def test_what_is_no_address_is_none(odd: Any) -> None:
    assert address_of(machine(public_ip=odd), "public_ip") is None
    assert address_of(machine(), "private_ip") is None


@pytest.mark.parametrize(
    "odd", ["", "-oProxyCommand=id", "a b", "a\n", "a,b", "a/b", "{{ x }}", "user@host", "localhost", "Büro", "a:b"]
)
def test_a_name_that_can_be_no_name_in_a_network_is_no_address(odd: str) -> None:
    assert address_of(machine(name=odd), "name") is None


MACHINES = [
    machine("m1", "web1", "ready", region="East Coast (NY2)", machine_type="C5"),
    machine("m2", "web2", "off", region="West Coast (CA1)", machine_type="C7"),
    machine("m3", "db1", "ready", region="Europe (AMS1)", machine_type="C5"),
    machine("m4", "odd name", "serviceready", region="ny2", machine_type="A100"),
]


def passing(**options: Any) -> str:
    filters = filters_from({**DEFAULTS, **options})
    return " ".join(each.id for each in MACHINES if filters.passes(each))


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        ({}, "m1 m2 m3 m4"),
        ({"regions": None, "machine_types": None, "states": None, "name_pattern": ""}, "m1 m2 m3 m4"),
        ({"regions": ["ny2"]}, "m1 m4"),
        ({"regions": ["NY2", "ams1"]}, "m1 m3 m4"),
        ({"regions": ["East Coast (NY2)"]}, "m1"),
        ({"regions": ["ny"]}, ""),
        ({"machine_types": ["C5"]}, "m1 m3"),
        ({"machine_types": ["c5", "C"]}, ""),
        ({"states": ["ready"]}, "m1 m3"),
        ({"states": [False]}, "m2"),
        ({"states": ["off", "serviceready"]}, "m2 m4"),
        ({"name_pattern": "web*"}, "m1 m2"),
        ({"name_pattern": "web"}, ""),
        ({"name_pattern": "*1"}, "m1 m3"),
        ({"name_pattern": "[wd]?*[2-9]"}, "m2"),
        ({"name_pattern": "WEB*"}, ""),
        ({"name_pattern": "odd name"}, "m4"),
        ({"name_pattern": "~(web|db)1"}, "m1 m3"),
        ({"name_pattern": "~eb"}, ""),
        ({"name_pattern": "~.*eb"}, "m1 m2"),
        ({"name_pattern": "*1", "machine_types": ["C5"], "states": ["ready"], "regions": ["ams1"]}, "m3"),
    ],
)
def test_filters(options: dict[str, Any], ids: str) -> None:
    assert passing(**options) == ids


def test_no_filter_lets_everything_pass() -> None:
    assert all(Filters().passes(each) for each in MACHINES)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"states": ["on"]}, "states has 'on'"),
        ({"states": ["ready", "READY"]}, "states has 'READY'"),
        ({"states": [True]}, "states has True"),
        ({"states": [None]}, "states has None"),
        ({"regions": [5]}, "regions has 5"),
        ({"regions": ["ny2", None]}, "regions has None"),
        ({"regions": [""]}, "regions has ''"),
        ({"machine_types": [["C5"]]}, r"machine_types has \['C5'\]"),
        ({"name_pattern": "~("}, "name_pattern '~\\(' is not a regular expression"),
    ],
)
def test_filters_that_no_machine_can_pass(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        filters_from({**DEFAULTS, **options})


def test_the_documentation_names_every_state() -> None:
    words = " ".join(yaml.safe_load(DOCUMENTATION)["options"]["states"]["description"])
    assert all(f"V({state})" in words for state in MACHINE_STATES)


DEFINITIONS = {
    "plugin": {"type": "str"},
    "connect_with": {"type": "str"},
    "keyed_groups": {"type": "list", "suboptions": {"key": {}, "prefix": {}}},
}


@pytest.mark.parametrize(
    "config",
    [
        {"plugin": "x"},
        {"plugin": "x", "connect_with": None, "keyed_groups": [{"key": "x", "prefix": "y"}]},
        {"plugin": "x", "keyed_groups": None},
        # For Ansible to complain of.
        {"plugin": "x", "keyed_groups": ["odd"]},
        {"plugin": "x", "keyed_groups": "odd"},
    ],
)
def test_options_that_exist(config: dict[str, Any]) -> None:
    check_option_names(config, DEFINITIONS)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"conect_with": 1}, "there is no option 'conect_with'; did you mean connect_with?"),
        ({"zzz": 1}, "there is no option 'zzz'; the options are connect_with, keyed_groups, plugin."),
        ({5: 1}, "there is no option 5; the options are connect_with, keyed_groups, plugin."),
        ({"keyed_groups": [{"key": 1}, {"prefx": 1}]}, "keyed_groups has no option 'prefx'; did you mean prefix?"),
    ],
)
def test_options_that_do_not_exist(config: dict[Any, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        check_option_names(config, DEFINITIONS)
    assert str(caught.value) == message


def test_what_was_cached_comes_back_the_same() -> None:
    assert machines_from_cache([each.fields for each in MACHINES]) == MACHINES
    assert machines_from_cache([]) == []


@pytest.mark.parametrize("cached", [None, "text", {}, [5], [{}], [{"id": "m1", "name": "web"}], [{"id": 5}]])
def test_what_is_no_cached_machine_is_asked_for_again(cached: Any) -> None:
    assert machines_from_cache(cached) is None


def test_a_warning_names_some_and_counts_the_others() -> None:
    assert missing_address_warning(["a", "b"], "public_ip") == (
        "No public_ip to connect with: a, b. Ansible will try the names of these hosts."
    )
    many = missing_address_warning([f"h{number}" for number in range(13)], "private_ip")
    assert "h8, h9 and 3 more." in many


def test_user_without_a_home_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    plugin = InventoryModule()
    monkeypatch.setattr(plugin, "get_option", lambda name: None)
    plugin.templar, plugin._vars = SimpleNamespace(template=lambda value: value), {}
    with pytest.raises(InputError, match="No API key"):
        plugin._connection()
