# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# The same examples each time. `HYPOTHESIS_PROFILE=default` tries others.
settings.register_profile("steady", derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))

# What requests and this collection read from the environment.
_PREFIXES = ("PAPERSPACE_", "REQUESTS_", "CURL_", "SSL_CERT_")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in os.environ:
        if variable.startswith(_PREFIXES) or variable.lower().endswith("_proxy") or variable == "NETRC":
            monkeypatch.delenv(variable)
