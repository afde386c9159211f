# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.community.paperspace.plugins.doc_fragments.connection import ModuleDocFragment
from ansible_collections.community.paperspace.plugins.module_utils import _connection
from ansible_collections.community.paperspace.plugins.module_utils._connection import (
    CONNECTION_SPEC,
    Connection,
    checked_url,
    connection_from,
)
from ansible_collections.community.paperspace.plugins.module_utils._errors import InputError

KEY = "k3y-t0-n0b0dy-a1b2c3"
HOST = "api.example.test"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def connect(home: Path, environ: Mapping[str, str] | None = None, **options: Any) -> Connection:
    return connection_from(options, environ or {}, home)


def refusal(home: Path, environ: Mapping[str, str] | None = None, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        connection_from(options, environ or {}, home)
    assert KEY not in f"{caught.value!s} {caught.value!r}"
    assert caught.value.__cause__ is None
    return str(caught.value)


def write(home: Path, credentials: str | None = None, config: str | None = None) -> None:
    folder = home / ".paperspace"
    folder.mkdir()
    for name, content in (("credentials.toml", credentials), ("config.toml", config)):
        if content is not None:
            (folder / name).write_text(content, encoding="utf-8")


def test_defaults(home: Path) -> None:
    assert connect(home, api_key=KEY) == Connection(
        api_key=KEY,
        api_url="https://api.paperspace.com/v1",
        validate_certs=True,
        request_timeout=30.0,
        retries=8,
        concurrency=16,
    )


def test_an_option_that_is_null_is_its_default(home: Path) -> None:
    assert connect(home, **{**dict.fromkeys(CONNECTION_SPEC), "api_key": KEY}) == connect(home, api_key=KEY)


def test_the_documentation_has_the_options_of_the_spec() -> None:
    documented = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]
    assert {
        name: {field: option[field] for field in ("type", "default") if field in option}
        for name, option in documented.items()
    } == {
        name: {field: option[field] for field in ("type", "default") if field in option}
        for name, option in CONNECTION_SPEC.items()
    }
    # The same text serves modules, whose options cannot name their environment variables there.
    assert not any("env" in option for option in documented.values())


def test_the_key_comes_from_the_option_then_the_environment_then_pspace(home: Path) -> None:
    assert "No API key" in refusal(home)
    write(home, '[keys]\nteam1 = "from-pspace"\n')
    assert connect(home).api_key == "from-pspace"
    environ = {"PAPERSPACE_API_KEY": "from-environment"}
    assert connect(home, environ).api_key == "from-environment"
    assert connect(home, environ, api_key="from-option").api_key == "from-option"


def test_an_empty_key_is_no_key(home: Path) -> None:
    environ = {"PAPERSPACE_API_KEY": ""}
    message = refusal(home, environ, api_key="")
    assert "api_key" in message
    assert "PAPERSPACE_API_KEY" in message
    assert "pspace login" in message


def test_white_space_around_a_key_is_not_part_of_it(home: Path) -> None:
    assert connect(home, api_key=f" {KEY}\n").api_key == KEY


@pytest.mark.parametrize("odd", ["\n", "\r\nX-Header: 1", " ", "\t", "\0", "ä", "\u2028", "\x7f", "\x1b[31m"])
def test_a_key_that_would_break_out_of_its_header_is_refused_and_not_shown(home: Path, odd: str) -> None:
    assert "characters that no key has" in refusal(home, api_key=f"{KEY}{odd}{KEY}")
    assert "characters that no key has" in refusal(home, {"PAPERSPACE_API_KEY": f"{KEY}{odd}{KEY}"})


def test_a_key_of_white_space_is_refused(home: Path) -> None:
    assert "characters that no key has" in refusal(home, api_key="  ")


def test_the_key_is_in_no_representation(home: Path) -> None:
    connection = connect(home, api_key=KEY)
    assert KEY not in f"{connection!r} {connection!s}"


def test_the_current_teams_key_of_several(home: Path) -> None:
    write(home, f'[keys]\nother = "other-key"\nteam1 = "{KEY}"\n', 'team = "team1"\n')
    assert connect(home).api_key == KEY


def test_the_only_teams_key_needs_no_current_team(home: Path) -> None:
    write(home, f'[keys]\nteam1 = "{KEY}"\n', 'other = "setting"\n')
    assert connect(home).api_key == KEY


def test_several_teams_and_no_current_one(home: Path) -> None:
    write(home, f'[keys]\nteam1 = "{KEY}1"\nteam2 = "{KEY}2"\n')
    message = refusal(home)
    assert "several teams" in message
    assert "None" not in message


def test_a_current_team_without_a_key(home: Path) -> None:
    write(home, f'[keys]\nteam1 = "{KEY}"\n', 'team = "team2"\n')
    message = refusal(home)
    assert "no key for the current team 'team2'" in message
    assert "pspace login" in message


@pytest.mark.parametrize("team", ["[]", "{}", "5", "true"])
def test_a_current_team_that_is_no_name(home: Path, team: str) -> None:
    write(home, f'[keys]\nteam1 = "{KEY}"\n', f"team = {team}\n")
    assert "no key for the current team" in refusal(home)


@pytest.mark.parametrize("content", ["", "[keys]\n", 'keys = "x"\n', "keys = [1]\n"])
def test_credentials_without_keys_are_no_key(home: Path, content: str) -> None:
    write(home, content)
    assert "No API key" in refusal(home)


@pytest.mark.parametrize("value", ["5", '["a", "b"]', f'{{secret = "{KEY}"}}', '""', "true"])
def test_credentials_whose_key_is_no_text(home: Path, value: str) -> None:
    write(home, f"[keys]\nteam1 = {value}\n")
    assert refusal(home)


@pytest.mark.parametrize("name", ["credentials.toml", "config.toml"])
@pytest.mark.parametrize("content", [f'[keys]\nteam1 = "{KEY}', f"[keys]\n{KEY}\n", f'x = "{KEY}" {KEY}\n', "\0"])
def test_malformed_toml_is_named_and_not_quoted(home: Path, name: str, content: str) -> None:
    write(home, f'[keys]\nteam1 = "{KEY}"\n', 'team = "team1"\n')
    (home / ".paperspace" / name).write_text(content, encoding="utf-8")
    assert f"{home / '.paperspace' / name} cannot be read: it is not valid TOML." in refusal(home)


def test_toml_that_is_not_utf8(home: Path) -> None:
    write(home)
    (home / ".paperspace" / "credentials.toml").write_bytes(b'[keys]\nteam1 = "\xff"\n')
    assert "it is not valid TOML" in refusal(home)


def test_credentials_that_may_not_be_read(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home, f'[keys]\nteam1 = "{KEY}"\n')

    def read_text(path: Path, encoding: str) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", read_text)
    assert "credentials.toml cannot be read: Permission denied." in refusal(home)


def test_a_folder_that_may_not_be_entered(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stat(path: Path, **options: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    def read_text(path: Path, encoding: str) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", stat)
    monkeypatch.setattr(Path, "read_text", read_text)
    assert "credentials.toml cannot be read: Permission denied." in refusal(home)


def test_credentials_that_are_a_folder(home: Path) -> None:
    (home / ".paperspace" / "credentials.toml").mkdir(parents=True)
    assert "credentials.toml cannot be read: Is a directory." in refusal(home)


@pytest.mark.parametrize("where", [".paperspace", "."])
def test_a_home_that_is_no_folder_has_no_credentials(home: Path, where: str) -> None:
    (home / "file").write_text("", encoding="utf-8")
    assert "No API key" in refusal(home / "file" / where)


def test_without_a_toml_parser_the_file_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(home, f'[keys]\nteam1 = "{KEY}"\n')
    monkeypatch.setattr(_connection, "toml", None)
    message = refusal(home)
    assert "needs Python 3.11 or newer, or the package tomli" in message
    assert "PAPERSPACE_API_KEY" in message
    assert connect(home, api_key=KEY).api_key == KEY


def test_the_url_comes_from_the_option_then_the_environment(home: Path) -> None:
    environ = {"PAPERSPACE_API_URL": "https://environment.example.test/v1"}
    assert connect(home, environ, api_key=KEY).api_url == "https://environment.example.test/v1"
    assert connect(home, environ, api_key=KEY, api_url=f"https://{HOST}/v1").api_url == f"https://{HOST}/v1"
    assert connect(home, {"PAPERSPACE_API_URL": ""}, api_key=KEY).api_url == "https://api.paperspace.com/v1"


@pytest.mark.parametrize(
    "url",
    [
        f"https://{HOST}/v1",
        f"https://{HOST}",
        f"https://{HOST}:8443/v1",
        "https://10.0.0.1/v1",
        "https://[2001:db8::1]:8443/v1",
        "https://under_score.example.test./v1",
        "HTTPS://API.EXAMPLE.TEST/v1",
        "http://127.0.0.1:8080/v1",
        "http://127.8.9.10/v1",
        "http://localhost:8080/v1",
        "http://LOCALHOST/v1",
        "http://[::1]:8080/v1",
    ],
)
def test_urls_that_are_fine(url: str) -> None:
    assert checked_url(url) == url


def test_a_slash_at_the_end_is_cut_off() -> None:
    assert checked_url(f"https://{HOST}/v1//") == f"https://{HOST}/v1"


@pytest.mark.parametrize(
    "host",
    [
        HOST,
        "127.0.0.1.evil.com",
        "localhost.evil.com",
        "evil-localhost",
        "10.0.0.1",
        "0.0.0.0",
        "127.1",
        "2130706433",
        "0x7f000001",
        "[::2]",
        "[::]",
        "[::ffff:10.0.0.1]",
    ],
)
def test_clear_text_only_to_loopback(host: str) -> None:
    with pytest.raises(InputError, match="only for loopback addresses"):
        checked_url(f"http://{host}/v1")


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("userinfo", ["127.0.0.1", f"user:{KEY}", f":{KEY}", "", f"{KEY}\\"])
def test_a_user_name_or_password_in_the_url_is_refused_and_not_shown(scheme: str, userinfo: str) -> None:
    with pytest.raises(InputError, match="must not contain a user name or password") as caught:
        checked_url(f"{scheme}://{userinfo}@{HOST}/v1")
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        KEY,
        f"//{HOST}/{KEY}",
        f"ftp://{HOST}/{KEY}",
        f"file:///{KEY}",
        f"https:///{KEY}",
        "https://",
        "https:",
        f"https://{HOST}/v1?key={KEY}",
        f"https://{HOST}/v1#{KEY}",
        f"https://{HOST}/{KEY} x",
        f"https://{HOST}/{KEY}\n",
        f"https://{HOST}\n.evil.com/{KEY}",
        f"https://{HOST}/\x1b[2J{KEY}",
        f"https://ex ample.test/{KEY}",
        f"https://ex\\ample.test/{KEY}",
        f"https://a..b/{KEY}",
        f"https://.example.test/{KEY}",
        f"https://*.example.test/{KEY}",
        f"https://{'a' * 64}.test/{KEY}",
        f"https://münchen.test/{KEY}",
        f"https://[::1/{KEY}",
        f"https://[zz]/{KEY}",
        f"https://{HOST}:port/{KEY}",
        f"https://{HOST}:99999/{KEY}",
        f"https://{HOST}:-1/{KEY}",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_and_not_shown(home: Path, url: str) -> None:
    # Whoever mixes up two variables has the key here.
    assert "api_url must look like https://api.paperspace.com/v1" in refusal(home, api_key="other", api_url=url)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("request_timeout", 0),
        ("request_timeout", -1),
        ("request_timeout", float("inf")),
        ("request_timeout", float("nan")),
        ("retries", -1),
        ("concurrency", 0),
        ("concurrency", -5),
        ("concurrency", 1001),
        ("concurrency", 10**9),
    ],
)
def test_numbers_out_of_range_are_refused_by_name(home: Path, option: str, value: float) -> None:
    assert option in refusal(home, api_key=KEY, **{option: value})


def test_numbers_in_range(home: Path) -> None:
    connection = connect(home, api_key=KEY, request_timeout=0.5, retries=0, concurrency=1, validate_certs=False)
    assert (connection.request_timeout, connection.retries, connection.concurrency) == (0.5, 0, 1)
    assert connection.validate_certs is False
