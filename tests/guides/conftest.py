# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fixture `reader`: somebody who does what the documentation says, against the simulator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.register_assert_rewrite("ansible_fixtures", "documentation")

from documentation import Reader, reading

from ansible_fixtures import COLLECTION, KEY, ansible, collections, simulator, simulator_process

__all__ = ["ansible", "collections", "reader", "simulator", "simulator_process"]


@pytest.fixture
def reader(request: pytest.FixtureRequest, ansible: Any, simulator: Any) -> Iterator[Reader]:
    """A reader with an inventory for the simulated machines, made as the documentation says."""
    ansible.environment["ANSIBLE_PIPELINING"] = "true"
    (ansible.folder / "community.paperspace").symlink_to(COLLECTION)
    with reading(Reader(ansible, simulator), getattr(request.function, "parts", ())) as one:
        one.values["PAPERSPACE_API_KEY=..."] = f"PAPERSPACE_API_KEY={KEY}"
        yield one
