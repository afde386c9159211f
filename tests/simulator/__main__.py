# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m simulator` with tests/ on the path, or `python tests/simulator` from anywhere."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

if not __package__:
    # Started as a folder: that folder is the path's first entry, and its modules would be found as top-level ones.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

# By name: relative to a folder that was started, there is no package.
sys.exit(importlib.import_module("simulator.command").main())
