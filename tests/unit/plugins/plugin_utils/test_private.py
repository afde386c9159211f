# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files and folders for nobody but the user, also where everybody may write."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.community.paperspace.plugins.plugin_utils._private import (
    make_folder,
    open_log,
    replace_file,
    write_file,
)


@pytest.fixture(params=[0, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def append(path: Path, text: str) -> None:
    with os.fdopen(open_log(path), "w", encoding="utf-8") as stream:
        stream.write(text)


@pytest.mark.usefixtures("umask")
def test_folders_and_files_are_for_the_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "one" / "two" / "three"
    make_folder(folder)
    make_folder(folder)
    assert [mode(each) for each in (folder, folder.parent, folder.parents[1])] == [0o700] * 3
    for number, write in enumerate((replace_file, write_file, append)):
        path = folder / str(number)
        write(path, "first")
        assert (mode(path), path.read_text()) == (0o600, "first")
        write(path, "second")
        assert path.read_text() == ("firstsecond" if write is append else "second")


def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    make_folder(tmp_path)
    make_folder(tmp_path / "runs")
    assert (mode(tmp_path), mode(tmp_path / "runs")) == (0o755, 0o700)


@pytest.mark.parametrize("is_dangling", [False, True])
def test_no_folder_in_the_place_of_a_file(tmp_path: Path, is_dangling: bool) -> None:
    taken = tmp_path / "taken"
    if is_dangling:
        taken.symlink_to(tmp_path / "nowhere")
    else:
        taken.touch()
    with pytest.raises(OSError, match="taken"):
        make_folder(taken)
    with pytest.raises(OSError, match="taken"):
        make_folder(taken / "runs")
    assert not (tmp_path / "nowhere").exists()


def planted_link(path: Path) -> None:
    path.symlink_to(path.with_name("elsewhere"))


def planted_name(path: Path) -> None:
    path.hardlink_to(path.with_name("elsewhere"))


def planted_pipe(path: Path) -> None:
    os.mkfifo(path)


def planted_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("plant", [planted_link, planted_name, planted_pipe, planted_folder])
def test_a_log_goes_nowhere_else(tmp_path: Path, plant: Callable[[Path], None]) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    elsewhere.chmod(0o644)
    plant(tmp_path / "log")
    with pytest.raises(OSError, match="log"):
        open_log(tmp_path / "log")
    assert (elsewhere.read_text(), mode(elsewhere)) == ("mine", 0o644)


def test_a_log_goes_to_no_file_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "log").write_text("")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(PermissionError):
        open_log(tmp_path / "log")


def test_no_descriptor_is_left_by_what_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    reader = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(PermissionError):
            open_log(tmp_path / "log")
        # The end of file: nobody has it open for writing any more.
        assert os.read(reader, 1) == b""
    finally:
        os.close(reader)


def test_an_old_log_is_closed_to_others(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("old, ")
    log.chmod(0o644)
    append(log, "new")
    assert (log.read_text(), mode(log)) == ("old, new", 0o600)


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    (tmp_path / "report").symlink_to(elsewhere)
    replace_file(tmp_path / "report", "text")
    assert not (tmp_path / "report").is_symlink()
    (tmp_path / "link").symlink_to(elsewhere)
    with pytest.raises(OSError, match="link"):
        write_file(tmp_path / "link", "text")
    assert elsewhere.read_text() == "mine"
