# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How to reach the service: the connection options, the same everywhere, checked before anything is sent."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.community.paperspace.plugins.module_utils._errors import InputError

try:
    import tomllib as toml  # type: ignore[import-not-found, unused-ignore]
except ImportError:  # Python 3.10
    try:
        import tomli as toml  # type: ignore[import-not-found, no-redef, unused-ignore]
    except ImportError:
        toml = None  # type: ignore[assignment, unused-ignore]

DEFAULT_API_URL = "https://api.paperspace.com/v1"
KEY_VARIABLE = "PAPERSPACE_API_KEY"
URL_VARIABLE = "PAPERSPACE_API_URL"
# Sockets take no timeout of any length.
LONGEST_REQUEST = 86_400
# The pool of connections sets its places up one by one.
MOST_AT_ONCE = 1000

# What may stand in an HTTP header and cannot break out of it; requests would put the key in its own error text.
_KEY = re.compile(r"[\x21-\x7e]+")
_URL = re.compile(r"https?://[\x21-\x7e]+", re.IGNORECASE)
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")
_URL_HINT = f"api_url must look like {DEFAULT_API_URL}, and {URL_VARIABLE} too if it is used."

CONNECTION_SPEC: dict[str, dict[str, Any]] = {
    "api_key": {"type": "str", "no_log": True},
    "api_url": {"type": "str"},
    "validate_certs": {"type": "bool", "default": True},
    "request_timeout": {"type": "float", "default": 30.0},
    "retries": {"type": "int", "default": 8},
    "concurrency": {"type": "int", "default": 16},
}


@dataclass(frozen=True)
class Connection:
    """Checked connection options. The key stands in no repr, so that it cannot slip into a message."""

    api_key: str = field(repr=False)
    api_url: str = DEFAULT_API_URL
    validate_certs: bool = True
    request_timeout: float = 30.0
    retries: int = 8
    concurrency: int = 16


def connection_from(options: Mapping[str, Any], environ: Mapping[str, str], home: Path) -> Connection:
    """The connection that options, environment and C(~/.paperspace) ask for.

    Raises InputError for a missing or malformed key, a URL that is neither https nor loopback, and
    numbers out of range. Nothing is sent.
    """
    request_timeout = float(_option(options, "request_timeout"))
    retries = int(_option(options, "retries"))
    concurrency = int(_option(options, "concurrency"))
    if not 0 < request_timeout <= LONGEST_REQUEST:
        raise InputError(
            f"request_timeout must be more than 0 and at most {LONGEST_REQUEST} seconds, not {request_timeout:g}."
        )
    if retries < 0:
        raise InputError(f"retries must be 0 or more, not {retries}.")
    if not 1 <= concurrency <= MOST_AT_ONCE:
        raise InputError(f"concurrency must be 1 to {MOST_AT_ONCE}, not {concurrency}.")
    return Connection(
        api_key=_checked_key(find_api_key(options, environ, home)),
        api_url=checked_url(options.get("api_url") or environ.get(URL_VARIABLE) or DEFAULT_API_URL),
        validate_certs=bool(_option(options, "validate_certs")),
        request_timeout=request_timeout,
        retries=retries,
        concurrency=concurrency,
    )


def home_folder() -> Path:
    """The user's home; a folder that is not there for a user who has none, as in some containers."""
    try:
        return Path.home()
    except RuntimeError:
        return Path(os.devnull)


def find_api_key(options: Mapping[str, Any], environ: Mapping[str, str], home: Path) -> str:
    """The option, else C(PAPERSPACE_API_KEY), else the current team's key of the pspace CLI. Raises InputError."""
    key = options.get("api_key") or environ.get(KEY_VARIABLE) or _pspace_key(home / ".paperspace")
    if not key:
        raise InputError(
            f"No API key: set the option api_key or the environment variable {KEY_VARIABLE}, "
            "or log in with 'pspace login'."
        )
    return str(key)


def checked_url(url: str) -> str:
    """The URL without a slash at its end. Raises InputError unless it is https, or http on a loopback address.

    No error quotes the URL: whoever mixes up two variables has the key there.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        # Python before 3.11 does not look into the brackets that belong around an IPv6 address.
        named = _is_address(host) if "[" in parts.netloc else _is_host(host)
        usable = named and parts.port != 0 and _URL.fullmatch(url) is not None
    except ValueError:  # of a port or an IPv6 address
        raise InputError(_URL_HINT) from None
    if parts.username is not None or parts.password is not None:
        raise InputError("api_url must not contain a user name or password.")
    if not usable or parts.query or parts.fragment:
        raise InputError(_URL_HINT)
    if parts.scheme == "http" and not _is_loopback(host):
        raise InputError(
            f"api_url would send the API key to {host} in clear text; http:// is only for loopback addresses."
        )
    return url.rstrip("/")


def _is_host(host: str) -> bool:
    return _HOST.fullmatch(host) is not None or _is_address(host)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _checked_key(key: str) -> str:
    key = key.strip()
    if not _KEY.fullmatch(key):
        raise InputError("The API key has characters that no key has (white space, control or non-ASCII characters).")
    return key


def _option(options: Mapping[str, Any], name: str) -> Any:
    value = options.get(name)
    return CONNECTION_SPEC[name]["default"] if value is None else value


def _pspace_key(folder: Path) -> str | None:
    """The key that C(pspace login) stored for the current team, or for the only one."""
    credentials = folder / "credentials.toml"
    keys = _read_toml(credentials).get("keys")
    if not isinstance(keys, dict) or not keys:
        return None
    team = _read_toml(folder / "config.toml").get("team")
    if team is None and len(keys) == 1:
        team = next(iter(keys))
    if team is None:
        raise InputError(
            f"{credentials} has keys of several teams, and none is the current one; "
            f"choose one with 'pspace login', or set {KEY_VARIABLE}."
        )
    if not isinstance(team, str) or team not in keys:
        raise InputError(
            f"{credentials} has no key for the current team {team!r}; "
            f"log in with 'pspace login', or set {KEY_VARIABLE}."
        )
    key = keys[team]
    if not isinstance(key, str) or not key:
        raise InputError(
            f"{credentials} has no usable key for the team {team!r}; log in with 'pspace login', or set {KEY_VARIABLE}."
        )
    return key


def _read_toml(path: Path) -> dict[str, Any]:
    """The file's content; nothing when there is no such file."""
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise InputError(f"{path} cannot be read: it is not valid TOML.") from None
    if toml is None:
        raise InputError(f"Reading {path} needs Python 3.11 or newer, or the package tomli; or set {KEY_VARIABLE}.")
    try:
        content: dict[str, Any] = toml.loads(text)
    except (ValueError, RecursionError):
        # The parser's own words can quote the line that it stumbles over, and with it a key.
        raise InputError(f"{path} cannot be read: it is not valid TOML.") from None
    return content
