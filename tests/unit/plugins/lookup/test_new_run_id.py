# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lookup that makes run ids."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from ansible.errors import AnsibleLookupError

from ansible_collections.community.paperspace.plugins.lookup.new_run_id import LookupModule
from ansible_collections.community.paperspace.plugins.module_utils._names import is_run_id, parse_run_name


def test_new_run_id_is_one_of_now() -> None:
    [run_id] = LookupModule().run([])
    assert is_run_id(run_id)
    name = parse_run_name(run_id)
    assert name is not None
    assert abs(datetime.now(timezone.utc) - name.began) < timedelta(hours=1)


def test_new_run_ids_differ() -> None:
    assert len({LookupModule().run([])[0] for _number in range(20)}) > 1


def test_terms_are_refused() -> None:
    with pytest.raises(AnsibleLookupError, match="neither terms nor options"):
        LookupModule().run(["anything"])
