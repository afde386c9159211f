# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fixtures `simulator` and `ansible` for all tests here."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("ansible_fixtures", "documentation")

from ansible_fixtures import ansible, collections, simulator, simulator_process

__all__ = ["ansible", "collections", "simulator", "simulator_process"]
