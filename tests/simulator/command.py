# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command: the service on a port, its machines on SSH, until a signal ends it."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncssh
import uvicorn

from .asgi import DroppableProtocol, build_app
from .clock import SystemClock
from .control import CONTROL_PREFIX
from .hosts import Hosts
from .inventory_file import variables, write_files
from .messages import API_PREFIX
from .service import Service, Settings

LOOK_SECONDS = 0.1
"""How often machines' disks are looked at, and so how fast a machine that breaks its network is gone."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="simulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="the API's port on 127.0.0.1; 0 picks a free one")
    parser.add_argument("--ssh-port", type=int, default=0, help="the machines' SSH port; 0 picks a free one")
    parser.add_argument("--dir", type=Path, help="for disks, snapshots, keys and inventory; default: a temporary one")
    parser.add_argument("--machines", type=int, default=5, help="how many machines there are at first")
    parser.add_argument("--no-ssh", action="store_true", help="machines exist in the API only, without disk and SSH")
    parser.add_argument(
        "--one-address", action="store_true", help="all machines on 127.0.0.1, each with its own port, as on macOS"
    )
    parser.add_argument("--key", default=Settings.api_key, help="the API key that the service knows")
    parser.add_argument("--settings", type=json.loads, default={}, help="settings to change, as a JSON object")
    parser.add_argument("--with-parent", action="store_true", help="end when the process that started this ends")
    return parser.parse_args(arguments)


def machine_names(count: int) -> list[str]:
    """web1, web2, web3, db1, db2, web4, …: three web machines for two databases."""
    totals = {"web": 0, "db": 0}
    names = []
    for index in range(count):
        prefix = "web" if index % 5 < 3 else "db"
        totals[prefix] += 1
        names.append(f"{prefix}{totals[prefix]}")
    return names


class Simulator:
    """The service with the machines of the command line."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self.hosts: Hosts | None = None
        settings = Settings(api_key=options.key).changed(options.settings)
        if options.no_ssh:
            self.service = Service(SystemClock(), settings)
        else:
            self._make_client_key()
            self.hosts = Hosts(folder, folder / "private_key.pub", options.ssh_port, options.one_address)
            self.service = Service(SystemClock(), settings, self.hosts, self.hosts.addresses)
        self._add_machines()

    def _make_client_key(self) -> None:
        key = asyncssh.generate_private_key("ssh-ed25519", comment="simulator")
        key.write_private_key(self._folder / "private_key")
        (self._folder / "private_key").chmod(0o600)
        key.write_public_key(self._folder / "private_key.pub")

    def _add_machines(self) -> None:
        for name in machine_names(self._options.machines):
            self.service.add_machine(name)

    def reset(self) -> None:
        """The first machines again, with the same ids and with new disks."""
        self.service.reset()
        self._add_machines()

    async def look(self) -> None:
        if self.hosts:
            await self.hosts.look_after(self.service)
            write_files(self.service, self._folder, self.hosts)

    def description(self, port: int) -> dict[str, Any]:
        """What the command prints once it is ready."""
        address = f"http://127.0.0.1:{port}"
        described: dict[str, Any] = {"api_url": address + API_PREFIX, "control_url": address + CONTROL_PREFIX}
        if self.hosts:
            described |= {
                "inventory": str(self._folder / "inventory.yml"),
                "known_hosts": str(self._folder / "known_hosts"),
                "private_key": str(self._folder / "private_key"),
                "ssh_port": self.hosts.port,
                "machines_dir": str(self.hosts.folders.machines),
                "variables": variables(self._folder, self.hosts),
            }
        return described | {"pid": os.getpid()}


async def serve(options: argparse.Namespace, folder: Path) -> None:
    # asyncio switches Nagle's algorithm off only where the protocol is named; with it, each answer takes 40 ms more.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", options.port))
    listener.listen(1024)
    simulator = Simulator(options, folder)
    await simulator.look()
    config = uvicorn.Config(
        build_app(simulator.service, simulator.reset),
        http=DroppableProtocol,
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    parent = os.getppid()

    async def look_for_ever() -> None:
        while not server.should_exit:
            await simulator.look()
            if options.with_parent and os.getppid() != parent:
                server.should_exit = True
            await asyncio.sleep(LOOK_SECONDS)

    looking = asyncio.create_task(look_for_ever())
    # A look that fails must not leave a service behind whose machines stand still.
    looking.add_done_callback(lambda _: setattr(server, "should_exit", True))
    # The server handles signals once it has started, and raises the one that ended it once more at its end: no failure.
    # One that comes before that must not be lost: whoever sent it waits for the end.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    print(json.dumps(simulator.description(listener.getsockname()[1])), flush=True)
    try:
        await server.serve(sockets=[listener])
    finally:
        if simulator.hosts:
            simulator.hosts.close()
        await looking


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))
    with contextlib.ExitStack() as stack:
        folder = options.dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="simulator-")))
        folder = folder.absolute()
        folder.mkdir(parents=True, exist_ok=True)
        asyncio.run(serve(options, folder))
    return 0
