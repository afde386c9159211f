# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: new_run_id
short_description: Make the id of a new run
version_added: 1.0.0
author:
  - The community.paperspace authors (@ansible-community)
description:
  - Makes a new run id, V(YYYYMMDDTHHMMSSZ-xxxx), of the time in UTC and four random hexadecimal digits.
  - Each evaluation makes another one. Keep it with M(ansible.builtin.set_fact), once for all hosts.
options: {}
seealso:
  - plugin: community.paperspace.run_name
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Make one run id for all hosts
  ansible.builtin.set_fact:
    run_id: "{{ lookup('community.paperspace.new_run_id') }}"
  run_once: true
"""

RETURN = r"""
_raw:
  description: The run id.
  type: list
  elements: str
  sample: ["20260131T235959Z-1a2b"]
"""

import secrets
from datetime import datetime, timezone
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ansible_collections.community.paperspace.plugins.module_utils._names import new_run_id


class LookupModule(LookupBase):  # type: ignore[misc, unused-ignore]
    def run(self, terms: list[Any], variables: Any = None, **kwargs: Any) -> list[str]:  # noqa: ARG002 - the base class passes it
        if terms or kwargs:
            raise AnsibleLookupError("community.paperspace.new_run_id takes neither terms nor options.")
        return [new_run_id(datetime.now(timezone.utc), secrets.randbelow)]
