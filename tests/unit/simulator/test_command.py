# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command as other processes see it: real sockets, real ssh, real Ansible."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

SIMULATOR = Path(__file__).parents[2] / "simulator"
QUICK = {
    "event_start_seconds": 0,
    "snapshot_seconds": 0.1,
    "restore_seconds": 0.3,
    "settle_seconds": 0.1,
    "serviceready_seconds": 0.1,
    "state_lag_seconds": 0,
    "reboot_seconds": 0.5,
}
LONG = 20.0
"""Nothing takes that long unless it is broken."""


def wait_for(condition):
    """The condition's first true value. It comes at once or soon, and a test that waits in vain fails."""
    ends = time.monotonic() + LONG
    while not (value := condition()):
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.02)
    return value


class Running:
    """A simulator process, its API and its machines."""

    def __init__(self, folder, *arguments):
        command = [sys.executable, str(SIMULATOR), "--dir", str(folder), "--with-parent", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.described = json.loads(self.process.stdout.readline())
        self.session = requests.Session()
        self.session.headers["Authorization"] = "Bearer simulator-key"

    def api(self, method, path, content=None, timeout=LONG):
        return self.session.request(method, self.described["api_url"] + path, json=content, timeout=timeout)

    def control(self, method, path, content=None):
        response = requests.request(method, self.described["control_url"] + path, json=content, timeout=LONG)
        assert response.ok, response.text
        return response.json()

    def machine(self, name):
        return next(each for each in self.control("GET", "/machines") if each["name"] == name)

    def disk(self, name):
        return Path(self.described["machines_dir"]) / self.machine(name)["id"]

    def ssh(self, name, *arguments, program="ssh", **options):
        """Run ssh as Ansible would, but without sharing connections."""
        host = self.machine(name)["publicIp"] or "127.0.0.1"
        variables = self.described["variables"]
        inventory = json.loads(Path(self.described["inventory"]).read_text())
        ssh_port = inventory["all"]["children"]["paperspace"]["hosts"][name]["ansible_port"]
        port = "-P" if program in ("scp", "sftp") else "-p"
        command = [
            program,
            *shlex.split(variables["ansible_ssh_common_args"]),
            *("-o", "BatchMode=yes", "-i", variables["ansible_ssh_private_key_file"]),
            *(port, str(ssh_port)),
        ]
        target = f"{variables['ansible_user']}@{host}"
        command += [part.replace("HOST", target) for part in arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=LONG, check=False, **options)

    def answers(self, name):
        return self.ssh(name, "HOST", "true").returncode == 0

    def event(self, event_id):
        return self.api("GET", f"/machine-events/{event_id}").json()

    def wait_for_event(self, response):
        assert response.status_code == 200, response.text
        event_id = response.json()["event"]["id"]
        wait_for(lambda: self.event(event_id)["state"] == "done")

    def stop(self):
        self.session.close()
        self.process.terminate()
        self.process.stdout.close()
        return self.process.wait(LONG)


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    running = Running(tmp_path_factory.mktemp("with a space"), "--machines", "4", "--settings", json.dumps(QUICK))
    yield running
    assert running.stop() == 0


@pytest.fixture
def simulator(started):
    started.control("POST", "/reset")
    return started


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("command", [[str(SIMULATOR)], ["-m", "simulator"]])
def test_both_ways_to_start_and_to_stop(tmp_path, command, number):
    environment = {**os.environ, "PYTHONPATH": str(SIMULATOR.parent)}
    arguments = [sys.executable, *command, "--no-ssh", "--machines", "3", "--key", "other", "--dir", str(tmp_path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment) as process:
        described = json.loads(process.stdout.readline())
        headers = {"Authorization": "Bearer other"}
        listed = requests.get(described["api_url"] + "/machines", headers=headers, timeout=LONG).json()
        process.send_signal(number)
        assert process.wait(LONG) == 0
        assert process.stdout.read() == "", "one line and no more"
    assert [machine["name"] for machine in listed["items"]] == ["web3", "web2", "web1"]


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        ({"action": "lost"}, requests.ConnectionError),
        ({"action": "lost", "when": "after"}, requests.ConnectionError),
        ({"action": "lost", "mid_body": True}, requests.exceptions.ChunkedEncodingError),
        ({"action": "refused"}, requests.ConnectionError),
        ({"action": "timeout"}, requests.ReadTimeout),
    ],
)
def test_connections_really_drop(simulator, rule, error):
    simulator.control("POST", "/faults", {**rule, "times": 1})
    with pytest.raises(error):
        simulator.api("GET", "/machines", timeout=0.3)
    assert simulator.api("GET", "/machines").status_code == 200


def test_slow_answers_do_not_hold_up_others(simulator):
    simulator.control("POST", "/faults", {"action": "slow", "seconds": 3600, "path": "/snapshots", "times": 1})
    with pytest.raises(requests.ReadTimeout):
        simulator.api("GET", "/snapshots", timeout=0.2)
    assert simulator.api("GET", "/machines").status_code == 200


def test_large_bodies_are_refused_before_they_are_read(simulator):
    response = simulator.api("POST", "/snapshots", {"machineId": "x", "name": "y" * 2_000_000})
    assert (response.status_code, response.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")


def test_control(simulator):
    web1 = simulator.machine("web1")["id"]
    extra = simulator.control("POST", "/machines", {"name": "extra", "state": "off"})["id"]
    snapshot = simulator.control("POST", "/snapshots", {"machine_id": web1, "name": "auto", "auto": True})["id"]
    assert simulator.api("GET", f"/machines/{extra}").json()["state"] == "off"
    assert simulator.api("GET", f"/snapshots/{snapshot}").json()["isAutoSnapshot"] is True
    assert simulator.control("PATCH", f"/machines/{web1}", {"updatesPending": True})["updatesPending"] is True
    assert [entry["path"] for entry in simulator.control("GET", "/log")] == [
        f"/machines/{extra}",
        f"/snapshots/{snapshot}",
    ]
    assert simulator.control("DELETE", "/log") == []
    assert simulator.control("PATCH", "/settings", {"snapshot_seconds": 500})["snapshot_seconds"] == 500
    event = simulator.api("POST", "/snapshots", {"machineId": web1, "name": "one"}).json()["event"]
    simulator.control("POST", "/clock", {"advance": 500})
    assert simulator.event(event["id"])["state"] == "done"
    assert simulator.control("GET", "/counts")["done"]["creates"] == 1
    assert simulator.control("GET", "/done")[0]["name"] == "one"
    assert [each["id"] for each in simulator.control("GET", f"/events?machine_id={web1}")] == [event["id"]]
    assert simulator.control("POST", f"/machines/{web1}/auto-snapshot")["id"]
    assert simulator.control("DELETE", f"/machines/{extra}") == {}
    rule = simulator.control("POST", "/faults", {"action": "empty"})["id"]
    assert simulator.control("GET", "/faults")[0]["id"] == rule
    assert simulator.control("DELETE", f"/faults/{rule}") == {}
    assert simulator.control("DELETE", "/faults") == []
    assert simulator.control("GET", "/")["machines"] == 4


def test_control_refuses_with_a_reason(simulator):
    url = simulator.described["control_url"]
    wrong = requests.post(f"{url}/faults", json={"action": "explode"}, timeout=LONG)
    assert (wrong.status_code, "explode" in wrong.json()["error"]) == (400, True)
    assert requests.get(f"{url}/machines/none", timeout=LONG).status_code == 404


def test_reset_gives_the_same_machines_with_new_disks(simulator):
    before = simulator.control("GET", "/machines")
    application = simulator.disk("web1") / "opt/app/version"
    application.write_text("2.0\n")
    simulator.control("POST", "/reset")
    after = simulator.control("GET", "/machines")
    assert [(m["id"], m["publicIp"]) for m in after] == [(m["id"], m["publicIp"]) for m in before]
    assert application.read_text() == "1.0\n"


def test_ssh_gives_a_shell_on_the_disk(simulator):
    disk = str(simulator.disk("web1"))
    wait_for(lambda: simulator.answers("web1"))
    ran = simulator.ssh("web1", "HOST", "pwd; echo $HOME; cat; echo wrong >&2; exit 7", input="typed")
    assert (ran.stdout, ran.stderr, ran.returncode) == (f"{disk}\n{disk}\ntyped", "wrong\n", 7)
    terminal = simulator.ssh("web1", "-tt", "HOST", "test -t 0 && tty && exit 3")
    assert (terminal.returncode, terminal.stdout.startswith("/dev/")) == (3, True)
    shell = simulator.ssh("web1", "HOST", input="cat etc/hostname\nexit 4\n")
    assert (shell.stdout, shell.returncode) == ("web1\n", 4)


def test_machines_differ_by_port_where_there_is_but_one_address(tmp_path):
    running = Running(tmp_path, "--machines", "2", "--one-address")
    try:
        wait_for(lambda: running.answers("web1") and running.answers("web2"))
        assert [running.ssh(name, "HOST", "cat etc/hostname").stdout for name in ("web1", "web2")] == [
            "web1\n",
            "web2\n",
        ]
        assert running.machine("web1")["publicIp"] == running.machine("web2")["publicIp"] == "127.0.0.1"
    finally:
        assert running.stop() == 0


def test_ssh_knows_its_key_only(simulator, tmp_path):
    wait_for(lambda: simulator.answers("web1"))
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    variables = simulator.described["variables"]
    simulator.described["variables"] = {**variables, "ansible_ssh_private_key_file": str(tmp_path / "other")}
    try:
        refused = simulator.ssh("web1", "HOST", "true")
    finally:
        simulator.described["variables"] = variables
    assert "Permission denied" in refused.stderr


@pytest.mark.skipif(not shutil.which("sftp"), reason="needs an sftp client")
def test_files_go_to_the_disk_by_sftp(simulator, tmp_path):
    wait_for(lambda: simulator.answers("web1"))
    (tmp_path / "sent").write_text("new\n")
    batch = tmp_path / "batch"
    batch.write_text(f"put {tmp_path}/sent home/relative\nput {tmp_path}/sent {tmp_path}/absolute\n")
    done = simulator.ssh("web1", "-b", str(batch), "HOST", program="sftp")
    assert done.returncode == 0, done.stderr
    assert (simulator.disk("web1") / "home/relative").read_text() == "new\n"
    assert (tmp_path / "absolute").read_text() == "new\n"


@pytest.mark.skipif(not shutil.which("scp"), reason="needs an scp client")
def test_files_go_to_the_disk_by_scp(simulator, tmp_path):
    wait_for(lambda: simulator.answers("web1"))
    (tmp_path / "sent").write_text("new\n")
    for index, legacy in enumerate(([], ["-O"])):
        done = simulator.ssh("web1", *legacy, str(tmp_path / "sent"), f"HOST:home/sent{index}", program="scp")
        assert done.returncode == 0, done.stderr
        assert (simulator.disk("web1") / f"home/sent{index}").read_text() == "new\n"


def test_machine_that_breaks_its_network_is_cut_off_until_it_is_restored(simulator):
    disk, machine_id = simulator.disk("web1"), simulator.machine("web1")["id"]
    before = simulator.machine("web1")["publicIp"]
    wait_for(lambda: simulator.answers("web1"))
    made = simulator.api("POST", "/snapshots", {"machineId": machine_id, "name": "one"})
    simulator.wait_for_event(made)

    cut_off = simulator.ssh("web1", "HOST", "echo 2.0 > opt/app/version; echo down > etc/network; sleep 600")
    assert cut_off.returncode == 255
    assert "Connection refused" in simulator.ssh("web1", "HOST", "true").stderr
    assert simulator.api("GET", f"/machines/{machine_id}").json()["state"] == "ready", "the API sees nothing of it"

    restore = simulator.api("POST", f"/snapshots/{made.json()['data']['id']}/restore", {})
    simulator.wait_for_event(restore)
    wait_for(lambda: simulator.answers("web1"))
    assert (disk / "opt/app/version").read_text() == "1.0\n"
    after = simulator.machine("web1")["publicIp"]
    assert after != before
    assert wait_for(lambda: f'"{after}"' in Path(simulator.described["inventory"]).read_text())


def sleeper(simulator):
    """The id of a process on web1 that outlives its connection."""
    wait_for(lambda: simulator.answers("web1"))
    # It writes down its id once it has a session of its own: before that it would die with the connection.
    program = "echo $$ > home/new; mv home/new home/pid; exec sleep 600"
    begin = f"setsid sh -c '{program}' > /dev/null 2>&1 < /dev/null &"
    simulator.ssh("web1", "HOST", f"{begin} while [ ! -e home/pid ]; do sleep 0.1; done")
    return int((simulator.disk("web1") / "home/pid").read_text())


def test_processes_of_a_machine_end_with_its_power(simulator):
    machine_id = simulator.machine("web1")["id"]
    process_id = sleeper(simulator)
    os.kill(process_id, 0)
    assert simulator.api("PATCH", f"/machines/{machine_id}/stop", {}).status_code == 200

    def gone():
        try:
            return Path(f"/proc/{process_id}/stat").read_text().split()[2] == "Z"
        except FileNotFoundError:
            return True

    wait_for(gone)


def test_processes_of_another_simulator_live_on(simulator, tmp_path):
    other = Running(tmp_path, "--machines", "1", "--settings", json.dumps(QUICK))
    assert other.machine("web1")["id"] == simulator.machine("web1")["id"]
    process_id = sleeper(simulator)
    assert other.stop() == 0
    os.kill(process_id, 0)


def test_machine_that_reboots_comes_back_as_another_boot(simulator):
    wait_for(lambda: simulator.answers("web1"))
    boot_id = simulator.ssh("web1", "HOST", "cat run/boot_id").stdout
    assert simulator.ssh("web1", "HOST", "touch run/reboot; sleep 600").returncode == 255
    assert "Connection refused" in simulator.ssh("web1", "HOST", "true").stderr
    wait_for(lambda: simulator.answers("web1"))
    assert simulator.ssh("web1", "HOST", "cat run/boot_id").stdout not in (boot_id, "")


def test_machine_without_its_host_key_does_not_answer_after_a_boot(simulator):
    wait_for(lambda: simulator.answers("web1"))
    simulator.ssh("web1", "HOST", "rm -r etc/ssh; touch run/reboot; sleep 600")
    simulator.control("POST", "/clock", {"advance": 5})
    assert "Connection refused" in simulator.ssh("web1", "HOST", "true").stderr
    assert simulator.answers("web2"), "and the others do"


@pytest.mark.slow
@pytest.mark.parametrize("pipelining", ["false", "true"])
def test_ansible_works_on_the_machines(simulator, tmp_path, pipelining):
    wait_for(lambda: all(simulator.answers(name) for name in ("web1", "web2", "web3", "db1")))
    (tmp_path / "version").write_text("2.0\n")
    playbook = tmp_path / "playbook.yml"
    tasks = [
        {"name": "Ping", "ansible.builtin.ping": {}},
        {
            "name": "Copy",
            "ansible.builtin.copy": {"src": str(tmp_path / "version"), "dest": "{{ disk }}/opt/app/version"},
        },
        {"name": "Run", "ansible.builtin.command": "cat opt/app/version", "register": "ran"},
        {"name": "Check", "ansible.builtin.assert": {"that": "ran.stdout == '2.0'"}},
    ]
    playbook.write_text(json.dumps([{"name": "Try", "hosts": "web:db", "gather_facts": False, "tasks": tasks}]))
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", simulator.described["inventory"], playbook],
        env={**os.environ, "ANSIBLE_PIPELINING": pipelining, "ANSIBLE_HOME": str(tmp_path / "ansible")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("failed=0") == 4
    assert {(simulator.disk(name) / "opt/app/version").read_text() for name in ("web1", "db1")} == {"2.0\n"}
