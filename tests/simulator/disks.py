# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines' disks as folders, and snapshots as copies of them."""

from __future__ import annotations

import contextlib
import shutil
import stat
import uuid
from pathlib import Path

import asyncssh

HOST_KEY = Path("etc/ssh/ssh_host_ed25519_key")
NETWORK = Path("etc/network")
REBOOT = Path("run/reboot")
BOOT_ID = Path("run/boot_id")


class DiskFolders:
    """Disks in `machines/<machine id>`, snapshots in `snapshots/<snapshot id>`, below one folder."""

    def __init__(self, folder: Path) -> None:
        self.machines = folder / "machines"
        self._snapshots = folder / "snapshots"
        for each in (self.machines, self._snapshots):
            each.mkdir(parents=True, exist_ok=True)

    def disk(self, machine_id: str) -> Path:
        return self.machines / machine_id

    def create(self, machine_id: str, hostname: str) -> None:
        disk = self.disk(machine_id)
        shutil.rmtree(disk, ignore_errors=True)
        for folder in ("etc/ssh", "opt/app", "home", "run", "tmp", "var/log"):
            (disk / folder).mkdir(parents=True)
        (disk / NETWORK).write_text("up\n")
        (disk / "etc/hostname").write_text(f"{hostname}\n")
        (disk / "opt/app/version").write_text("1.0\n")
        # On the disk, as on a real machine: a restore brings back the host key of the snapshot.
        key = asyncssh.generate_private_key("ssh-ed25519", comment=hostname)
        key.write_private_key(disk / HOST_KEY)
        (disk / HOST_KEY).chmod(0o600)
        key.write_public_key(disk / HOST_KEY.with_suffix(".pub"))

    def remove(self, machine_id: str) -> None:
        shutil.rmtree(self.disk(machine_id), ignore_errors=True)

    def snapshot(self, machine_id: str, snapshot_id: str) -> None:
        _copy(self.disk(machine_id), self._snapshots / snapshot_id)

    def remove_snapshot(self, snapshot_id: str) -> None:
        shutil.rmtree(self._snapshots / snapshot_id, ignore_errors=True)

    def restore(self, machine_id: str, snapshot_id: str) -> None:
        """Swap the whole disk, so that nothing sees a mixture of old and new."""
        disk = self.disk(machine_id)
        incoming, outgoing = disk.with_suffix(".incoming"), disk.with_suffix(".outgoing")
        _copy(self._snapshots / snapshot_id, incoming)
        disk.rename(outgoing)
        incoming.rename(disk)
        shutil.rmtree(outgoing, ignore_errors=True)

    def boot(self, machine_id: str) -> None:
        """What is new after every boot: an empty run folder with another boot id."""
        run = self.disk(machine_id) / "run"
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir(parents=True, exist_ok=True)
        (self.disk(machine_id) / BOOT_ID).write_text(f"{uuid.uuid4()}\n")

    def network_is_up(self, machine_id: str) -> bool:
        try:
            return (self.disk(machine_id) / NETWORK).read_text(errors="replace").strip() == "up"
        except OSError:
            return False

    def wants_reboot(self, machine_id: str) -> bool:
        return (self.disk(machine_id) / REBOOT).exists()

    def public_host_key(self, machine_id: str) -> str | None:
        """As known_hosts has it, without the comment."""
        try:
            line = (self.disk(machine_id) / HOST_KEY.with_suffix(".pub")).read_text()
        except OSError:
            return None
        return " ".join(line.split()[:2])


def _copy(source: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    # Maintenance can delete the whole disk; there is an image of that too.
    source.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, target, symlinks=True, ignore=_special_files, copy_function=_copy_file)


def _copy_file(source: str, target: str) -> None:
    # The disk is in use while it is copied: what vanishes meanwhile is not part of the snapshot.
    with contextlib.suppress(FileNotFoundError):
        shutil.copy2(source, target, follow_symlinks=False)


def _special_files(folder: str, names: list[str]) -> list[str]:
    """Sockets, pipes and devices: copying them would block or fail."""
    special = []
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            mode = (Path(folder) / name).lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
                special.append(name)
    return special
