# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machines behind the API: each has a disk, and answers SSH on its own address while it is up.

A machine is up while its state is serviceready or ready and `etc/network` on its disk says `up`.
"""

from __future__ import annotations

import functools
import logging
import socket
from pathlib import Path

import asyncssh

from .disks import HOST_KEY, DiskFolders
from .records import RUNNING, Machine
from .service import Service
from .shell import DiskFiles, Shells

LOG = logging.getLogger(__name__)

FIRST_PUBLIC = "127.64.0.1"
LOOPBACK = "127.0.0.1"


class LoopbackAddresses:
    """Addresses in 127/8, all of them on this computer: public ones from 127.64, private ones from 127.128."""

    def __init__(self) -> None:
        self._public = self._private = 0

    def public(self) -> str:
        self._public += 1
        return self._address(64, self._public)

    def private(self) -> str:
        self._private += 1
        return self._address(128, self._private)

    @staticmethod
    def _address(second: int, number: int) -> str:
        return f"127.{second + number // 65536}.{number // 256 % 256}.{number % 256}"


class OneAddress:
    """For computers that have but 127.0.0.1 (macOS): machines differ by port instead."""

    def public(self) -> str:
        return LOOPBACK

    def private(self) -> str:
        return LOOPBACK


def loopback_is_wide() -> bool:
    """Whether all of 127/8 can be listened on."""
    with socket.socket() as probe:
        try:
            probe.bind((FIRST_PUBLIC, 0))
        except OSError:
            return False
    return True


def free_port(address: str) -> int:
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


class Host:
    """One machine's SSH side."""

    def __init__(self, disk: Path, port: int, client_key: Path) -> None:
        self.port = port
        self._disk = disk
        self._client_key = client_key
        self._shells = Shells(disk)
        self._listeners: dict[str, asyncssh.SSHAcceptor] = {}
        self._connections: set[asyncssh.SSHServerConnection] = set()
        self._cuts = 0
        self.running = False
        self.down_until = 0.0

    async def listen(self, addresses: set[str]) -> None:
        """Answer on exactly these addresses."""
        for address in self._listeners.keys() - addresses:
            self._listeners.pop(address).close()
        for address in addresses - self._listeners.keys():
            cuts = self._cuts
            listener = await self._listen(address)
            if cuts == self._cuts:
                self._listeners[address] = listener
            else:
                # Switched off, or gone altogether, while it was about to listen.
                listener.close()
                return

    async def _listen(self, address: str) -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            address,
            self.port,
            server_factory=functools.partial(_Login, self),
            server_host_keys=[str(self._disk / HOST_KEY)],
            authorized_client_keys=str(self._client_key),
            process_factory=self._shells.serve,
            sftp_factory=functools.partial(DiskFiles, disk=self._disk),
            allow_scp=True,
            encoding=None,
            line_editor=False,
        )

    def cut_network(self) -> None:
        """No more connections, old or new; what hung on them dies."""
        self._cuts += 1
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()
        for connection in list(self._connections):
            connection.abort()
        self._shells.kill()

    def cut_power(self) -> None:
        self.cut_network()
        self._shells.kill_all()

    def connected(self, connection: asyncssh.SSHServerConnection) -> None:
        self._connections.add(connection)

    def disconnected(self, connection: asyncssh.SSHServerConnection) -> None:
        self._connections.discard(connection)
        self._shells.hang_up(connection)


class _Login(asyncssh.SSHServer):
    def __init__(self, host: Host) -> None:
        self._host = host

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._host.connected(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        self._host.disconnected(self._connection)


class Hosts:
    """All machines' SSH sides; told by the service what happens to the disks, and looking after the rest itself."""

    def __init__(self, folder: Path, client_key: Path, port: int = 0, one_address: bool = False) -> None:
        self.folders = DiskFolders(folder)
        self.wide = not one_address and loopback_is_wide()
        self.port = (port or free_port(FIRST_PUBLIC)) if self.wide else 0
        """The port of all machines; 0 when each has its own."""
        self._client_key = client_key
        self._hosts: dict[str, Host] = {}

    def addresses(self) -> LoopbackAddresses | OneAddress:
        return LoopbackAddresses() if self.wide else OneAddress()

    def port_of(self, machine_id: str) -> int:
        return self._hosts[machine_id].port

    # What the service tells

    def create(self, machine: Machine) -> None:
        self.folders.create(machine.id, machine.name)
        port = self.port or self._own_port()
        self._hosts[machine.id] = Host(self.folders.disk(machine.id), port, self._client_key)

    def _own_port(self) -> int:
        taken = {host.port for host in self._hosts.values()}
        while (port := free_port(LOOPBACK)) in taken:
            pass
        return port

    def remove(self, machine: Machine) -> None:
        self._hosts.pop(machine.id).cut_power()
        self.folders.remove(machine.id)

    def snapshot(self, machine: Machine, snapshot_id: str) -> None:
        self.folders.snapshot(machine.id, snapshot_id)

    def remove_snapshot(self, snapshot_id: str) -> None:
        self.folders.remove_snapshot(snapshot_id)

    def restore(self, machine: Machine, snapshot_id: str) -> None:
        host = self._hosts[machine.id]
        host.cut_power()
        host.running = False
        self.folders.restore(machine.id, snapshot_id)

    # What they see to themselves

    async def look_after(self, service: Service) -> None:
        """Bring every machine's SSH side in line with its state and its disk."""
        service.tick()
        for machine in list(service.world.machines):
            host = self._hosts.get(machine.id)
            if host is not None:
                await self._look_after(host, machine, service)

    async def _look_after(self, host: Host, machine: Machine, service: Service) -> None:
        now = service.clock.now()
        running = machine.state in RUNNING
        if host.running and not running:
            host.cut_power()
        elif not running:
            host.cut_network()
        elif not host.running:
            self.folders.boot(machine.id)
        elif self.folders.wants_reboot(machine.id):
            host.cut_power()
            self.folders.boot(machine.id)
            host.down_until = now + service.settings.reboot_seconds
        host.running = running
        if running and now >= host.down_until and self.folders.network_is_up(machine.id):
            given = {machine.fields["publicIp"], machine.fields["privateIp"]}
            try:
                await host.listen({address for address in given if address})
            except (OSError, asyncssh.KeyImportError) as error:
                # Maintenance can break the host key too: then the machine's SSH server does not come up.
                LOG.warning("machine %s (%s) cannot answer SSH: %s", machine.name, machine.id, error)
        elif running:
            host.cut_network()

    def close(self) -> None:
        for host in self._hosts.values():
            host.cut_power()
