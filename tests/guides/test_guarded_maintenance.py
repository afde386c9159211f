# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of the guide of guarded maintenance. Its other playbooks are run by tests/integration/test_guide.py."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from documentation import SNAPSHOT, WEB, Part, Reader, follows, section, state

GUARDED = "docs/docsite/rst/guarded_maintenance.rst"


class Health(BaseHTTPRequestHandler):
    """An application that is well."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


@pytest.fixture
def health() -> Iterator[int]:
    """The port of an application that says that it is well."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Health) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


# Takes the options of a module that must not run here, and brings the new version to the machine.
STAND_IN = """
import pathlib
import yaml
from ansible.modules import {module}
from ansible.plugins.action import ActionBase

class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        unknown = set(self._task.args) - set(yaml.safe_load({module}.DOCUMENTATION)["options"])
        if unknown:
            return dict(failed=True, msg="no options of {module}: " + str(unknown))
        pathlib.Path(self._templar.template(task_vars["disk"]), "opt/app/version").write_text("2.0\\n")
        return dict(changed=True)
"""

SHOWN_TO_RUN = ("A first run", "Waves, soak, budget and scope", "Verification playbooks", "Recover")


@follows(Part(GUARDED, SHOWN_TO_RUN))
def test_guarded_maintenance(reader: Reader, health: int) -> None:
    reader.use_real_machines()
    reader.values |= {"localhost:8080": f"127.0.0.1:{health}", "maintenance_soak: 600": "maintenance_soak: 0.1"}
    patch, first = section(GUARDED, "A first run")
    [verify] = section(GUARDED, "Verification playbooks")
    for module in ("apt", "reboot"):
        reader.values[f"ansible.builtin.{module}:"] = f"{module}_here:"
        (reader.folder / "action_plugins").mkdir(exist_ok=True)
        (reader.folder / f"action_plugins/{module}_here.py").write_text(STAND_IN.format(module=module))
    reader.values["become: true"] = "gather_facts: false"
    # The commands of simulated machines run on this one.
    assert "ansible.builtin" not in reader.save(patch).read_text()
    reader.save(verify)
    reader.follow(first)
    assert [state(reader.simulator)[host] for host in WEB] == [("2.0", "ok")] * 3
    recover, undo = section(GUARDED, "Recover")
    reader.follow(undo)
    assert [state(reader.simulator)[host] for host in WEB] == [("1.0", "restored")] * 3

    reader.follow_all(section(GUARDED, "Waves, soak, budget and scope"))
    # Each wave is maintained, and then verified.
    task = r"^TASK \[(Upgrade all packages|Ask the application how it is)\]"
    played = re.findall(task, reader.last.output, re.MULTILINE)
    assert len(played) == 2 * len(re.findall(r"^Wave \d of \d", reader.last.output, re.MULTILINE)) > 2
    assert [state(reader.simulator)[host][0] for host in WEB] == ["2.0"] * 3

    reader.type(f"{SNAPSHOT} db1")
    reader.spoil("db1")
    reader.follow(recover)
    assert state(reader.simulator)["db1"] == ("1.0", "restored")
