# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from ansible_fixtures import Ansible, Result, Simulator

PLUGIN = "community.paperspace.paperspace"
# What would do something if any version of Ansible evaluated it.
TEMPLATE = "{{ lookup('ansible.builtin.pipe', 'touch evaluated') }}"


def write(ansible: Ansible, name: str = "paperspace.yml", **options: Any) -> Path:
    return ansible.write(name, {"plugin": PLUGIN, **options})


def parsed(result: Result) -> dict[str, Any]:
    """What ansible-inventory says. Before 2.19 it shows of each text that is not to be evaluated that it is such."""
    inventory: dict[str, Any] = json.loads(result.stdout, object_hook=lambda read: read.get("__ansible_unsafe", read))
    return inventory


def listed(ansible: Ansible, *arguments: str, **options: Any) -> dict[str, Any]:
    """What ansible-inventory makes of a file with these options."""
    return parsed(ansible.run("ansible-inventory", "-i", write(ansible, **options), "--list", *arguments))


def hosts(inventory: dict[str, Any]) -> dict[str, dict[str, Any]]:
    variables: dict[str, dict[str, Any]] = inventory["_meta"]["hostvars"]
    return variables


def refused(ansible: Ansible, content: Any, *arguments: str) -> str:
    """The words about a file that makes no inventory, at the highest verbosity."""
    ansible.environment["ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED"] = "true"
    path = ansible.write("paperspace.yml", content)
    result: Result = ansible.run("ansible-inventory", "-i", path, "--list", "-vvvv", *arguments, rc=None)
    assert result.rc != 0
    assert str(path) in result.message
    return result.message


def test_every_machine_with_every_field_in_one_request(ansible: Ansible, simulator: Simulator) -> None:
    found = hosts(listed(ansible))
    assert sorted(found) == ["db1", "db2", "web1", "web2", "web3"]
    machine = next(machine for machine in simulator.machines() if machine["name"] == "web1")
    web1 = found["web1"]
    assert web1["paperspace_id"] == machine["id"]
    assert web1["paperspace_region"] == machine["region"]
    assert web1["paperspace_storage_total"] == int(machine["storageTotal"])
    assert web1["paperspace_auto_snapshot_enabled"] is machine["autoSnapshotEnabled"]
    assert web1["ansible_host"] == machine["publicIp"]
    assert len([name for name in web1 if name.startswith("paperspace_")]) == len(machine)
    assert simulator.calls() == ["GET /machines"]
    assert simulator.log()[0]["query"]["limit"] == "120"


def test_one_request_for_each_120_machines(ansible: Ansible, simulator: Simulator) -> None:
    for number in range(116):
        simulator.add_machine(f"more{number}")
    assert len(hosts(listed(ansible))) == 121
    assert simulator.calls() == ["GET /machines"] * 2


@pytest.mark.parametrize("name", ["paperspace.yaml", "team.paperspace.yml", "team.paperspace.yaml"])
def test_names_of_inventory_files(ansible: Ansible, name: str) -> None:
    result = ansible.run("ansible-inventory", "-i", write(ansible, name), "--list")
    assert len(hosts(parsed(result))) == 5


@pytest.mark.parametrize("name", ["inventory.yml", "mypaperspace.yml", "paperspace.json.yml"])
def test_other_files_are_not_read(ansible: Ansible, simulator: Simulator, name: str) -> None:
    result = ansible.run("ansible-inventory", "-i", write(ansible, name), "--list", rc=None)
    assert "could not be verified by inventory plugin" in result.message
    assert simulator.calls() == []


@pytest.mark.smoke
def test_filters_and_groups(ansible: Ansible, simulator: Simulator) -> None:
    ids = simulator.ids()
    simulator.change_machine(ids["web2"], region="West Coast (CA1)", state="off")
    simulator.change_machine(ids["db2"], state="off")
    inventory = listed(
        ansible,
        regions=["ny2"],
        name_pattern="[wd]*",
        states=[False, "ready"],
        compose={"ansible_user": "'paperspace'", "shown": "paperspace_name | upper"},
        groups={"web": "paperspace_name is match('web')"},
        keyed_groups=[{"key": "paperspace_state", "prefix": "state"}, {"key": "paperspace_region", "prefix": "in"}],
    )
    assert sorted(hosts(inventory)) == ["db1", "db2", "web1", "web3"]
    assert inventory["state_off"]["hosts"] == ["db2"]
    assert inventory["web"]["hosts"] == ["web1", "web3"]
    assert "in_East_Coast__NY2_" in inventory
    assert hosts(inventory)["web1"]["ansible_user"] == "paperspace"
    assert hosts(inventory)["web1"]["shown"] == "WEB1"


def test_examples_of_the_documentation_work(ansible: Ansible, simulator: Simulator) -> None:
    shown = ansible.run("ansible-doc", "-t", "inventory", "--json", PLUGIN)
    examples = list(yaml.safe_load_all(json.loads(shown.stdout)[PLUGIN]["examples"]))
    assert len(examples) == 4
    simulator.add_machine("www.example.com", region="East Coast (NY2)")
    ansible.environment["STAGING_PAPERSPACE_API_KEY"] = simulator.key
    found = [listed(ansible, **{**example, "plugin": PLUGIN}) for example in examples]
    assert [len(hosts(inventory)) for inventory in found] == [6, 6, 1, 5]
    assert found[1]["state_ready"]["hosts"]
    assert hosts(found[1])["web1"]["ansible_user"] == "paperspace"
    assert found[2]["region_ny2"]["hosts"] == ["www.example.com"]


@pytest.mark.smoke
def test_nothing_of_the_api_is_ever_evaluated(ansible: Ansible, simulator: Simulator) -> None:
    simulator.remove_machines()
    simulator.add_machine(TEMPLATE, machineType=TEMPLATE, os=TEMPLATE)
    path = write(
        ansible,
        compose={"composed": "paperspace_os", "again": "'x' ~ paperspace_os"},
        keyed_groups=[{"key": "paperspace_machine_type", "prefix": "type"}],
    )
    messages = {
        "name": "{{ paperspace_name }}",
        "type": "{{ hostvars[inventory_hostname].paperspace_machine_type }}",
        "composed": "{{ composed }}",
        "again": "{{ again }}",
        "host": "{{ inventory_hostname }} {{ group_names }}",
    }
    tasks = [{"ansible.builtin.debug": {"msg": message}} for message in messages.values()]
    plays = [{"hosts": "all", "gather_facts": False, "connection": "local", "tasks": tasks}]
    shown = ansible.playbook(plays, "-i", path).stdout
    assert shown.count("touch evaluated") == 4
    assert not (ansible.folder / "evaluated").exists()
    ansible.run("ansible-inventory", "-i", path, "--list")
    assert not (ansible.folder / "evaluated").exists()


def test_names_stay_distinct_and_usable(ansible: Ansible, simulator: Simulator) -> None:
    simulator.remove_machines()
    twins = [simulator.add_machine("twin"), simulator.add_machine("twin", state="off")]
    odd = {name: simulator.add_machine(name) for name in ["a,b", "web[1:3]", "-oProxyCommand=x", "localhost", "../up"]}
    names = {variables["paperspace_id"]: host for host, variables in hosts(listed(ansible)).items()}
    assert {names[machine_id] for machine_id in twins} == {f"twin-{machine_id}" for machine_id in twins}
    assert names[odd["a,b"]] == f"a_b-{odd['a,b']}"
    assert names[odd["localhost"]] == f"localhost-{odd['localhost']}"
    # Filters do not change names, and each name is a pattern for just its host.
    off = hosts(listed(ansible, states=["off"]))
    assert list(off) == [f"twin-{twins[1]}"]
    for host in names.values():
        limited = ansible.run("ansible", host, "-i", write(ansible), "--list-hosts")
        assert limited.stdout.split() == ["hosts", "(1):", host]


def test_a_machine_without_the_address_is_warned_about_once(ansible: Ansible, simulator: Simulator) -> None:
    ids = simulator.ids()
    for name in ("web1", "db1"):
        simulator.change_machine(ids[name], publicIp=None)
    result = ansible.run("ansible-inventory", "-i", write(ansible), "--list")
    found = hosts(parsed(result))
    assert "ansible_host" not in found["web1"]
    assert "ansible_host" in found["web2"]
    assert result.message.count("No public_ip to connect with: db1, web1.") == 1


def test_addresses(ansible: Ansible, simulator: Simulator) -> None:
    private = {machine["name"]: machine["privateIp"] for machine in simulator.machines()}
    assert hosts(listed(ansible, connect_with="private_ip"))["web1"]["ansible_host"] == private["web1"]
    assert hosts(listed(ansible, connect_with="name"))["web1"]["ansible_host"] == "web1"


def test_the_cache_is_used_and_flushed_and_has_no_key(ansible: Ansible, simulator: Simulator) -> None:
    cache = ansible.folder / "cache"
    options: dict[str, Any] = {
        "cache": True,
        "cache_plugin": "ansible.builtin.jsonfile",
        "cache_connection": str(cache),
    }
    first = listed(ansible, **options)
    assert listed(ansible, **options) == first
    assert simulator.calls() == ["GET /machines"]
    assert not any(simulator.key in f"{path} {path.read_text(encoding='utf-8')}" for path in cache.iterdir())
    simulator.add_machine("newcomer")
    assert listed(ansible, **options) == first
    # Filters and groups apply to what is cached.
    assert list(hosts(listed(ansible, name_pattern="web1", **options))) == ["web1"]
    assert simulator.calls() == ["GET /machines"]
    plays = [{"hosts": "all", "gather_facts": False}]
    flushed = ansible.playbook(plays, "-i", write(ansible, **options), "--flush-cache", "--list-hosts")
    assert "newcomer" in flushed.stdout
    assert simulator.calls() == ["GET /machines"] * 2
    assert "newcomer" in hosts(listed(ansible, **options))
    assert simulator.calls() == ["GET /machines"] * 2


def test_what_is_cached_is_not_evaluated_either(ansible: Ansible, simulator: Simulator) -> None:
    simulator.remove_machines()
    simulator.add_machine("odd", os=TEMPLATE)
    options = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(ansible.folder / "c")}
    tasks = [{"ansible.builtin.debug": {"msg": "{{ paperspace_os }}"}}]
    plays = [{"hosts": "all", "gather_facts": False, "connection": "local", "tasks": tasks}]
    for dummy in range(2):
        assert "touch evaluated" in ansible.playbook(plays, "-i", write(ansible, **options)).stdout
    assert simulator.calls() == ["GET /machines"]
    assert not (ansible.folder / "evaluated").exists()


def test_a_folder_for_the_cache_is_made_for_the_user_alone(ansible: Ansible) -> None:
    options = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile"}
    umask = os.umask(0)
    try:
        listed(ansible, cache_connection=str(ansible.folder / "a" / "b"), **options)
    finally:
        os.umask(umask)
    assert [(ansible.folder / path).stat().st_mode & 0o777 for path in ("a", "a/b")] == [0o700] * 2
    assert list((ansible.folder / "a/b").iterdir())


def test_an_address_is_never_an_option_for_ssh(ansible: Ansible, simulator: Simulator) -> None:
    simulator.remove_machines()
    simulator.add_machine("fine", publicIp="127.64.9.9")
    simulator.add_machine("odd", publicIp="-oProxyCommand=touch evaluated", os="-oProxyCommand=touch evaluated")
    assert "ansible_host" not in hosts(listed(ansible))["odd"]
    for source in ("paperspace_public_ip", "paperspace_os | default('x')"):
        result = ansible.run("ansible-inventory", "-i", write(ansible, compose={"ansible_host": source}), "--list")
        assert "compose gives odd an ansible_host that is an option for ssh" in result.message
        assert "ansible_host" not in hosts(parsed(result))["odd"]
    simulator.change_machine(simulator.ids()["odd"], os="127.64.9.8")
    assert hosts(listed(ansible, compose={"ansible_host": "paperspace_os"}))["odd"]["ansible_host"] == "127.64.9.8"


def test_another_key_does_not_get_the_cached_machines(ansible: Ansible, simulator: Simulator) -> None:
    options = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(ansible.folder / "c")}
    listed(ansible, **options)
    ansible.environment["PAPERSPACE_API_KEY"] = "of-another-team"
    assert "answered 401" in refused(ansible, {"plugin": PLUGIN, **options})


def test_a_refresh_asks_again(ansible: Ansible, simulator: Simulator) -> None:
    options = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(ansible.folder / "c")}
    path = write(ansible, **options)
    listed(ansible, **options)
    ids = simulator.ids()
    simulator.change_machine(ids["web1"], publicIp="127.7.7.7")
    tasks = [{"ansible.builtin.meta": "refresh_inventory"}, {"ansible.builtin.debug": {"var": "ansible_host"}}]
    plays = [{"hosts": "web1", "gather_facts": False, "connection": "local", "tasks": tasks}]
    assert "127.7.7.7" in ansible.playbook(plays, "-i", path).stdout
    assert simulator.calls() == ["GET /machines"] * 2


def test_connection_options_may_be_templates(ansible: Ansible, simulator: Simulator) -> None:
    ansible.environment |= {
        "MY_KEY": simulator.key,
        "PAPERSPACE_API_KEY": "wrong",
        "PAPERSPACE_API_URL": "https://x.test",
    }
    options = {"api_key": "{{ lookup('ansible.builtin.env', 'MY_KEY') }}", "api_url": "{{ url }}"}
    assert len(hosts(listed(ansible, "-e", f"url={simulator.api_url}", **options))) == 5


def test_the_key_of_pspace(ansible: Ansible, simulator: Simulator) -> None:
    del ansible.environment["PAPERSPACE_API_KEY"]
    folder = Path(ansible.environment["HOME"]) / ".paperspace"
    folder.mkdir()
    (folder / "credentials.toml").write_text(f'[keys]\nteam1 = "{simulator.key}"\n', encoding="utf-8")
    result = ansible.run("ansible-inventory", "-i", write(ansible), "--list", rc=None)
    # On Python 3.10 without tomli there is no way to read it, and that is said.
    assert "needs Python 3.11 or newer" in result.message or len(hosts(parsed(result))) == 5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"conect_with": "name"}, "there is no option 'conect_with'; did you mean connect_with?"),
        ({"filters": {}}, "there is no option 'filters'; the options are api_key, "),
        ({"keyed_groups": [{"kye": "paperspace_state"}]}, "keyed_groups has no option 'kye'; did you mean key?"),
        ({"connect_with": "pigeon"}, "connect_with"),
        ({"states": ["on"]}, "states has 'on'; a machine's state is one of off, starting,"),
        ({"states": [True]}, "states has True"),
        ({"regions": [5]}, "regions has 5; it has to be a list of strings."),
        ({"name_pattern": "~web("}, "name_pattern '~web(' is not a regular expression"),
        ({"retries": "many"}, "retries"),
        ({"retries": -1}, "retries must be 0 or more"),
        ({"concurrency": 0}, "concurrency must be 1 to 1000"),
        ({"request_timeout": 0}, "request_timeout must be more than 0"),
        ({"api_url": "http://api.example.test/v1"}, "only for loopback addresses"),
        ({"api_url": "{{ nowhere }}"}, "the template of api_url cannot be evaluated"),
        ({"strict": True, "compose": {"x": "nowhere"}}, "Could not set x for host db1"),
        ({"api_key": "k3y-t0-n0b0dy-a1b2c3 {{ nowhere }}"}, "the template of api_key cannot be evaluated"),
        ({"api_key": "k3y-t0-n0b0dy-a1b2c3\nk3y"}, "The API key has characters that no key has"),
        ({"api_key": ["k3y-t0-n0b0dy-a1b2c3"]}, "api_key"),
        ({"api_key": {"x": "k3y-t0-n0b0dy-a1b2c3"}}, "api_key"),
    ],
)
def test_a_wrong_option_is_one_clear_error(
    ansible: Ansible, simulator: Simulator, options: dict[str, Any], words: str
) -> None:
    assert words in refused(ansible, {"plugin": PLUGIN, **options})
    if "strict" not in options:
        assert simulator.calls() == []


def test_a_key_that_the_service_does_not_know(ansible: Ansible, simulator: Simulator) -> None:
    ansible.environment["PAPERSPACE_API_KEY"] = "unknown-key"
    message = refused(ansible, {"plugin": PLUGIN})
    assert "GET /machines: answered 401" in message
    assert "Check the API key." in message
    assert "unknown-key" not in message
    assert simulator.calls() == ["GET /machines"]


def test_no_key(ansible: Ansible, simulator: Simulator) -> None:
    del ansible.environment["PAPERSPACE_API_KEY"]
    assert "No API key: set the option api_key" in refused(ansible, {"plugin": PLUGIN})
    assert simulator.calls() == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"action": "html", "status": 200}, "GET /machines: answered 200 without JSON: <!DOCTYPE html>"),
        ({"action": "html", "status": 403}, "GET /machines: answered 403 without JSON: <!DOCTYPE html>"),
        ({"action": "empty"}, "GET /machines: answered 200 without JSON: (empty)"),
        ({"action": "body", "text": "{}"}, "a page without the required field items"),
        ({"action": "body", "text": '{"items": [{}], "hasMore": false}'}, "a machine without the required field id"),
        ({"action": "error_body", "code": "TIMEOUT", "message": "Late."}, "answered 200 TIMEOUT: Late."),
        ({"action": "status", "status": 500, "code": "X", "message": "Broken."}, "answered 500 X: Broken."),
        ({"action": "lost"}, "the connection broke before the answer was whole"),
    ],
)
def test_a_service_that_talks_nonsense(
    ansible: Ansible, simulator: Simulator, fault: dict[str, Any], words: str
) -> None:
    simulator.add_fault(**fault)
    assert words in refused(ansible, {"plugin": PLUGIN, "retries": 0})


def test_a_service_that_is_not_there(ansible: Ansible) -> None:
    ansible.environment["PAPERSPACE_API_URL"] = "http://127.0.0.1:1/v1"
    assert "no connection ([Errno 111] Connection refused)" in refused(ansible, {"plugin": PLUGIN, "retries": 0})


def test_requests_that_is_not_installed(ansible: Ansible) -> None:
    # A folder before all others, in which requests is what is not there.
    blocked = ansible.folder / "blocked"
    blocked.mkdir()
    (blocked / "requests.py").write_text("raise ImportError('blocked')\n", encoding="utf-8")
    ansible.environment["PYTHONPATH"] = str(blocked)
    message = refused(ansible, {"plugin": PLUGIN})
    assert "Failed to import the required Python library (requests)" in message
    assert "Python" in message
    assert "interpreter" in message


def test_a_failure_leaves_no_host_behind(ansible: Ansible, simulator: Simulator) -> None:
    for number in range(116):
        simulator.add_machine(f"more{number}")
    simulator.add_fault("html", path="/machines", nth=2, status=403)
    result = ansible.run("ansible-inventory", "-i", write(ansible), "--list", rc=None)
    assert hosts(parsed(result)) == {}
    assert "answered 403 without JSON" in result.message


def test_a_key_from_a_vault(ansible: Ansible, simulator: Simulator) -> None:
    del ansible.environment["PAPERSPACE_API_KEY"]
    password = ansible.write("password", "secret\n")
    secret = ansible.write("secret.yml", simulator.key)
    ansible.run("ansible-vault", "encrypt", "--vault-password-file", password, secret)
    lines = "".join(f"  {line}\n" for line in secret.read_text(encoding="utf-8").splitlines())
    path = ansible.write("paperspace.yml", f"plugin: {PLUGIN}\napi_key: !vault |\n{lines}")
    result = ansible.run("ansible-inventory", "-i", path, "--list", "-vvvv", "--vault-password-file", password)
    assert "web1" in result.stdout
