# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Iterator

import pytest

from browser.chromium import NAMES, Browser, executable, started


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    command = executable()
    if command is None:
        pytest.skip(f"There is no Chromium on this machine: none of {', '.join(NAMES)}")
    with started(command) as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser) -> Browser:
    """A browser that has seen nothing yet, on a wide window in light colours."""
    chromium.run_scripts(allowed=True)
    chromium.look_like(width=1280)
    chromium.open("about:blank")
    chromium.console.clear()
    chromium.addresses.clear()
    return chromium
