# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """The options of CONNECTION_SPEC in C(module_utils/_connection.py); a unit test holds the two equal."""

    DOCUMENTATION = r"""
options:
  api_key:
    description:
      - The API key of the Paperspace team whose machines are meant.
      - When not set, the environment variable E(PAPERSPACE_API_KEY) is used, and when that is not set either, the key
        that C(pspace login) stored for the current team in C(~/.paperspace/credentials.toml). To read that file on
        Python 3.10 takes the package tomli (C(pip install tomli)).
      - The key is never shown, logged or returned, at any verbosity.
    type: str
  api_url:
    description:
      - The address of the API, with its version.
      - When not set, the environment variable E(PAPERSPACE_API_URL) is used, and when that is not set either,
        V(https://api.paperspace.com/v1).
      - An address with C(http://) is accepted only for loopback addresses, since it sends the key in clear text.
    type: str
  validate_certs:
    description:
      - Whether the certificate of the server has to be valid.
      - Set this to V(false) only where the network between here and the API is trusted.
    type: bool
    default: true
  request_timeout:
    description:
      - The longest time, in seconds, that one HTTP request may wait for a connection, and then for each part of the
        answer. This is not the time that the work on a machine may take. More than V(0) and at most V(86400), a day.
      - It is also how long an event of the service may take to become visible. For so long a task looks for what a
        request did whose answer was lost before it sends it again, and for the event of a snapshot before it counts as
        proven or as failed. B(Set it lower only for a service that shows its events sooner than that).
    type: float
    default: 30.0
  retries:
    description:
      - How many times a request is sent again when that is safe. With V(0) it is sent once.
      - Safe are requests that only read, changes of settings and names, requests that were told to slow down
        (HTTP status 429), and requests whose connection never opened. Between two tries lie the seconds that the
        service asks for, or else growing pauses of up to 60 seconds. When it asks for more than 900 seconds, that is
        not waited for, and the request has failed.
      - A request to make, delete or restore a snapshot, or to start, stop or restart a machine, whose answer was lost
        is not simply sent again.
    type: int
    default: 8
  concurrency:
    description:
      - How many requests may be in flight at once, from V(1) to V(1000). This is one budget for the whole task, however
        many machines it has.
    type: int
    default: 16
requirements:
  - requests >= 2.28.0
  - tomli >= 2.0.0, on Python 3.10 only, to read the key of C(pspace login)
"""
