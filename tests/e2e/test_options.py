# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is given on the command line reaches the user's playbook, and the guard goes with it."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import pytest
import yaml

from e2e.harness import CUT_SHORT, FAILED, OK, UNREACHABLE, Controller
from e2e.playbooks import HOLD, INSTALL, cut_off, fail, play

RUNNER = """
import json, os, sys
import ansible_runner
settings = {"playbook": "community.paperspace.maintenance", "cancel_callback": lambda: os.path.exists("cancel")}
result = ansible_runner.run(**settings, **json.loads(sys.argv[1]))
print("status:", result.status)
sys.exit(result.rc)
"""


def test_check_mode_changes_nothing_and_shows_the_plan(controller: Controller) -> None:
    edit: dict[str, Any] = {
        "name": "Edit the version",
        "ansible.builtin.copy": {"content": "2.0\n", "dest": "{{ disk }}/opt/app/version", "mode": "0644"},
    }
    run = controller.maintain([play(edit)], "--check", "--diff", waves=[1, "100%"])
    assert run.rc == 0, run.output
    assert controller.disks() == run.fleet
    assert controller.simulator.calls("POST", "PUT", "PATCH", "DELETE") == []
    # The child showed what would change, and the guard what it would have done; there is nothing to keep of it.
    assert run.output.count("+2.0") == 3
    assert "Wave 1 of 2: web1" in run.output
    assert "Wave 2 of 2: web2, web3" in run.output
    assert "3 machines: 3 would be kept." in run.output
    assert not controller.reports.exists()
    controller.check_secrecy(run)


def test_check_mode_tells_of_failures_and_rolls_nothing_back(controller: Controller) -> None:
    run = controller.maintain([play(fail("web2", check_mode=False))], "-C")
    assert run.rc != 0
    assert controller.simulator.calls("POST", "PUT", "PATCH", "DELETE") == []
    assert "3 machines: 2 would be kept, 1 would be rolled back." in run.output
    [error] = run.errors()
    assert error.startswith("[web2]")
    assert "would be rolled back" in error
    assert "Migrate the database" in error


def test_limit(controller: Controller) -> None:
    run = controller.maintain([play(INSTALL, fail("web2"), hosts="all")], limit="web:!web3")
    controller.check(run, {"web1": OK, "web2": FAILED})


def test_hosts_of_the_playbook(controller: Controller) -> None:
    run = controller.maintain([play(INSTALL, hosts="all")], limit=None, hosts="web1,db1")
    controller.check(run, {"web1": OK, "db1": OK})


@pytest.mark.parametrize(
    ("options", "fates"),
    [
        (("--tags", "install"), {"web1": OK, "web2": OK}),
        (("-t", "install,migrate"), {"web1": OK, "web2": FAILED}),
        (("--skip-tags", "migrate"), {"web1": OK, "web2": OK}),
    ],
    ids=["tags", "two_tags", "skip_tags"],
)
def test_tags(controller: Controller, options: tuple[str, ...], fates: dict[str, Any]) -> None:
    plays = [play({**INSTALL, "tags": "install"}, fail("web2", tags=["migrate"]))]
    run = controller.maintain(plays, *options, limit="web1,web2")
    controller.check(run, fates)


def test_extra_variables_in_every_form(controller: Controller) -> None:
    controller.ansible.write("more.yml", {"from_yaml": {"a": [1, "two words"]}})
    controller.ansible.write("more.json", '{"from_json": "it\'s \\"quoted\\""}')
    names = ("plain", "spaced", "inline", "shown", "from_yaml", "from_json")
    write: dict[str, Any] = {
        "name": "Write down what came",
        "ansible.builtin.copy": {
            "content": "{{ {" + ", ".join(f"'{name}': {name}" for name in names) + "} | to_json }}",
            "dest": "{{ disk }}/tmp/came",
            "mode": "0644",
        },
    }
    given = ["-e", "plain=1", "-e", "spaced='a b' other=c", "--extra-vars", '{"inline": {"deep": [true, null]}}']
    given += ["-e", "{shown: ''}", "-e", "@more.yml", "--extra-vars=@more.json"]
    run = controller.maintain([play(INSTALL, write)], *given, limit="web1")
    controller.check(run, {"web1": OK})
    assert json.loads((controller.disk("web1") / "tmp/came").read_text()) == {
        "plain": "1",
        "spaced": "a b",
        "inline": {"deep": [True, None]},
        "shown": "",
        "from_yaml": {"a": [1, "two words"]},
        "from_json": 'it\'s "quoted"',
    }


def test_variables_of_the_guard_in_the_inventory(controller: Controller) -> None:
    """Nothing needs to be given on the command line but what differs from run to run."""
    inventory = controller.folder / "inventory"
    variables = inventory / "group_vars"
    variables.mkdir(parents=True)
    (inventory / "hosts").symlink_to(controller.simulator.inventory)
    controller.ansible.write("patch.yml", [play(INSTALL, fail("web1"))])
    content = {"maintenance_playbook": "patch.yml", "maintenance_waves": [1], "maintenance_report_dir": "reports/new"}
    (variables / "all.yml").write_text(yaml.safe_dump(content))
    command = ("ansible-playbook", "community.paperspace.maintenance", "-i", "inventory", "-l", "web1,web2")
    run = controller.start(*command).wait()
    assert run.rc != 0
    [file] = (controller.folder / "reports/new").glob("*.json")
    outcomes = {machine["host"]: machine["outcome"] for machine in json.loads(file.read_text())["machines"]}
    assert outcomes == {"web1": "rolled_back", "web2": "not_started"}
    assert not controller.reports.exists()


def test_machine_ids_in_files_of_variables(controller: Controller) -> None:
    """Of hosts in a source without ids, which is all that the callback sees before a play begins."""
    controller.simulator.settings(dynamic_ip_changes_on_restore=False)
    inventory = controller.folder / "inventory"
    (inventory / "host_vars").mkdir(parents=True)
    ids = controller.simulator.ids()
    lines = controller.simulator.inventory.read_text("utf-8")
    (inventory / "hosts").write_text(re.sub(r" paperspace_id=\S+", "", lines))
    (inventory / "host_vars/web1.yml").write_text(yaml.safe_dump({"paperspace_id": ids["web1"]}))
    (inventory / "host_vars/web2.yml").write_text(
        yaml.safe_dump({"paperspace_id": "{{ known }}", "known": ids["web2"]})
    )
    run = controller.maintain([play(INSTALL, fail("web2"))], limit="web1,web2", inventory=inventory)
    controller.check(run, {"web1": OK, "web2": FAILED})


def test_vault_and_environment_and_private_callbacks(controller: Controller) -> None:
    environment = controller.ansible.environment
    password = controller.ansible.write("password", "open sesame")
    plain = controller.ansible.write("secret.yml", {"secret": "s3cret"})
    encrypt = ("ansible-vault", "encrypt", "--vault-id", f"here@{password}", str(plain))
    assert controller.start(*encrypt).wait().rc == 0
    callbacks = controller.folder / "callback_plugins"
    callbacks.mkdir()
    (callbacks / "mine.py").write_text(
        "from ansible.plugins.callback import CallbackBase\n"
        "DOCUMENTATION = 'name: mine\\ntype: notification\\nshort_description: mine\\ndescription: [mine]'\n"
        "class CallbackModule(CallbackBase):\n"
        "    CALLBACK_VERSION, CALLBACK_TYPE, CALLBACK_NAME = 2.0, 'notification', 'mine'\n"
        "    CALLBACK_NEEDS_ENABLED = True\n"
        "    def v2_runner_on_ok(self, result):\n"
        "        self._display.display(f'mine saw {result._host.get_name()}')\n"
    )
    environment |= {
        "ANSIBLE_CALLBACK_PLUGINS": str(callbacks),
        "ANSIBLE_CALLBACKS_ENABLED": "mine",
        "MINE": "from outside",
    }
    check: dict[str, Any] = {
        "name": "Use them",
        "ansible.builtin.assert": {
            "that": ["secret == 's3cret'", "lookup('ansible.builtin.env', 'MINE') == 'from outside'"]
        },
    }
    plays = [play(INSTALL, check, vars_files=["secret.yml"])]
    run = controller.maintain(plays, "--vault-id", f"here@{password}", "-f", "1", "-v", limit="web1")
    controller.check(run, {"web1": OK})
    assert "mine saw web1" in run.output


def test_playbook_of_a_collection(controller: Controller) -> None:
    collection = controller.folder / "ansible_collections/acme/ops"
    (collection / "playbooks").mkdir(parents=True)
    (collection / "playbooks/patch.yml").write_text(yaml.safe_dump([play(INSTALL, fail("web2"))]))
    paths = controller.ansible.environment["ANSIBLE_COLLECTIONS_PATH"]
    controller.ansible.environment["ANSIBLE_COLLECTIONS_PATH"] = f"{controller.folder}:{paths}"
    run = controller.maintain(["acme.ops.patch"], limit="web1,web2")
    controller.check(run, {"web1": OK, "web2": FAILED})


def test_machines_that_the_inventory_plugin_finds(controller: Controller) -> None:
    """Each comes back at another address, which only the service knows."""
    simulator = controller.simulator
    inventory = controller.folder / "inventory"
    variables = inventory / "group_vars"
    variables.mkdir(parents=True)
    (variables / "machines.yml").write_text(yaml.safe_dump(simulator.description["variables"]))
    source = {"plugin": "community.paperspace.paperspace", "connect_with": "public_ip", "groups": {"machines": True}}
    (inventory / "fleet.paperspace.yml").write_text(yaml.safe_dump(source))
    plays = [play(INSTALL, cut_off("web2"), hosts="machines")]
    before = {machine["name"]: machine["publicIp"] for machine in simulator.machines()}
    run = controller.maintain(plays, limit="web1,web2", inventory=inventory)
    controller.check(run, {"web1": OK, "web2": UNREACHABLE})
    after = {machine["name"]: machine["publicIp"] for machine in simulator.machines()}
    assert before["web2"] != after["web2"]


def test_key_of_the_connection_variable(controller: Controller) -> None:
    """The guardian gets the key, and the child and the files do not get to see it where it was not."""
    key = controller.ansible.environment.pop("PAPERSPACE_API_KEY")
    folder = controller.folder / "home/.paperspace"
    folder.mkdir()
    (folder / "credentials.toml").write_text(f'[keys.team]\napi_key = "{key}"\n')
    connection = {"api_key": "{{ lookup('ansible.builtin.file', key_file) | trim }}"}
    (folder / "key").mkdir()
    secret = folder / "key/credentials.toml"
    secret.write_text(key)
    variables = json.dumps({"paperspace_connection": connection, "key_file": str(secret)})
    run = controller.maintain([play(INSTALL, fail("web2"))], "-e", variables, "-vvv", limit="web1,web2")
    controller.check(run, {"web1": OK, "web2": FAILED})


def test_ansible_runner(controller: Controller) -> None:
    """The engine inside AWX: it reads events from a callback of its own, through a terminal."""
    controller.ansible.write("patch.yml", [play(INSTALL, fail("web2"))])
    settings = {
        "private_data_dir": str(controller.folder / "runner"),
        "inventory": str(controller.simulator.inventory),
        "limit": "web",
        "extravars": {
            "maintenance_playbook": str(controller.folder / "patch.yml"),
            "maintenance_report_dir": str(controller.reports),
        },
    }
    (controller.folder / "runner").mkdir()
    run = controller.start(sys.executable, "-c", RUNNER, json.dumps(settings)).wait()
    assert "status: failed" in run.output, run.output
    # The runner itself writes down the environment of its command: SECURITY.md tells of it.
    [command] = controller.folder.glob("runner/artifacts/*/command")
    assert controller.simulator.key in command.read_text()
    command.unlink()
    controller.check(run, {"web1": OK, "web2": FAILED, "web3": OK})
    events = [json.loads(file.read_text()) for file in controller.folder.glob("runner/artifacts/*/job_events/*.json")]
    said = "".join(event["stdout"] for event in events)
    assert "TASK [Install the new version]" in said
    assert "changed: [web1]" in said
    # The runner's own account is of the guarding play.
    failures = [event["event_data"] for event in events if event["event"] == "runner_on_failed"]
    assert [failure["host"] for failure in failures] == ["web2"]
    assert "Migrate the database" in failures[0]["res"]["msg"]


def test_ansible_runner_cancels(controller: Controller) -> None:
    """It ends the command with SIGTERM, all of the command's session with SIGKILL a little later."""
    controller.ansible.write("patch.yml", [play(INSTALL, HOLD)])
    settings = {
        "private_data_dir": str(controller.folder / "runner"),
        "inventory": str(controller.simulator.inventory),
        "limit": "web1",
        "extravars": {
            "maintenance_playbook": str(controller.folder / "patch.yml"),
            "maintenance_report_dir": str(controller.reports),
        },
    }
    (controller.folder / "runner").mkdir()
    run = controller.start(sys.executable, "-c", RUNNER, json.dumps(settings))
    run.until(lambda: controller.is_held("web1"))
    controller.ansible.write("cancel", "")
    run.until_all_is_over()
    assert "status: canceled" in run.output, run.output
    for file in controller.folder.glob("runner/artifacts/*/command"):
        file.unlink()
    controller.check(run, {"web1": CUT_SHORT}, ended_by=("sigint", "sigterm", "parent_died"))
