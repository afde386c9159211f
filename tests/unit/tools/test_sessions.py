# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the runner of nox sessions says of real sessions."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

NOX = shutil.which("nox")
NOXFILE = """\
import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.error_on_missing_interpreters = False
nox.options.download_python = "never"


@nox.session(python="3.99")
def unsupported(session):
    pass


@nox.session(python=False)
def excused(session):
    session.skip("There is no Chromium on this machine")


@nox.session(python=False)
def sound(session):
    session.run("python", "-c", "print('one test was skipped')", external=True)


@nox.session(python=False)
def broken(session):
    session.error("a test failed")


@nox.session(python=False, default=False)
def hung(session):
    session.run("python", "-c", "import time; print('so far', flush=True); time.sleep(600)", external=True)
"""


@pytest.fixture
def longest() -> float:
    """Seconds that a session may take."""
    return 600.0


@pytest.fixture
def run(
    tool: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    longest: float,
) -> Callable[..., tuple[int, str]]:
    if not NOX:
        pytest.skip("There is no nox on the path; there is one when nox runs these tests.")
    noxfile = tmp_path / "noxfile.py"
    noxfile.write_text(NOXFILE, "utf-8")
    runner = tool("run_sessions")
    monkeypatch.setattr(runner, "NOX", [NOX, "--noxfile", str(noxfile)])
    monkeypatch.setattr(runner, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(runner, "LONGEST", longest)

    def run_sessions(*names: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["run_sessions.py", *(["--session", *names] if names else [])])
        code = runner.main()
        return code, capsys.readouterr().out

    return run_sessions


def table(output: str) -> dict[str, str]:
    """What the table at the end says, by the names of the sessions."""
    lines = output.partition("\nSessions, ")[2].splitlines()[1:]
    found = (re.fullmatch(r"  (\S+) +(passed|failed|skipped) +\d+ s", line) for line in lines)
    return {match[1]: match[2] for match in found if match}


@pytest.mark.parametrize("variable", ["NO_COLOR", "FORCE_COLOR"])
def test_each_session_is_told_with_how_it_went(
    run: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, "1")
    code, output = run()
    assert code == 1
    assert table(output) == {"unsupported": "skipped", "excused": "skipped", "sound": "passed", "broken": "failed"}
    reasons = output.partition("\nSkipped:\n")[2]
    assert re.search(r"^  Session unsupported skipped: .*3\.99", reasons, re.MULTILINE)
    assert "There is no Chromium on this machine" in reasons
    assert output.endswith("\nFAILED: broken\n")


def test_a_skipped_session_fails_nothing(run: Callable[..., tuple[int, str]]) -> None:
    code, output = run("sound", "unsupported")
    assert code == 0
    assert table(output) == {"unsupported": "skipped", "sound": "passed"}
    assert output.endswith("\nAll sessions that ran have passed.\n")


def test_nothing_but_skipped_sessions_is_a_failure(run: Callable[..., tuple[int, str]]) -> None:
    code, output = run("unsupported", "excused")
    assert code == 1
    assert output.endswith("\nFAILED: no session ran\n")


@pytest.mark.parametrize("longest", [5.0])
def test_a_session_that_hangs_is_ended_and_has_failed(run: Callable[..., tuple[int, str]]) -> None:
    code, output = run("hung")
    assert code == 1
    assert table(output) == {"hung": "failed"}
    assert "\nso far\n" in output
    assert "\nIt did not end within 5 s.\n" in output


def test_who_is_ended_before_the_time_tells_what_was_under_way(
    run: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    log = tmp_path / "logs" / "hung.log"

    def interrupt() -> None:
        while not (log.exists() and "\nso far\n" in log.read_text("utf-8")):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    code, output = run("hung")
    assert code == 1
    assert table(output) == {"hung": "failed"}
    assert "\nso far\n" in output
    assert "\nIt was ended before its time.\n" in output
