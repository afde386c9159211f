# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fixture `controller`: real guarded maintenances of simulated machines, over real SSH."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("ansible_fixtures", "e2e.harness")

from ansible_fixtures import Ansible, ansible, collections, simulator, simulator_process
from e2e.harness import Controller

# Under nohup it would be ignored, also by all that is started here.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

__all__ = ["ansible", "collections", "controller", "new_controller", "simulator", "simulator_process"]


@pytest.fixture
def new_controller(collections: Path, simulator: Any) -> Iterator[Callable[[], Controller]]:
    """Makes computers that know nothing of each other: each has a folder and a home of its own."""
    made: list[Controller] = []
    # Ansible and ssh have sockets in it, whose paths must be short.
    with tempfile.TemporaryDirectory(prefix="e2e-", ignore_cleanup_errors=True) as root:

        def make() -> Controller:
            folder = Path(root).resolve() / str(len(made) + 1)
            folder.mkdir()
            made.append(Controller(Ansible(folder, collections, simulator), simulator))
            return made[-1]

        yield make
        for one in made:
            one.clean_up()


@pytest.fixture
def controller(new_controller: Callable[[], Controller]) -> Controller:
    return new_controller()
