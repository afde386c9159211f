# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens on a machine once a client is logged in: commands, terminals and file transfer, all on its disk."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import struct
import sys
import termios
from pathlib import Path

import asyncssh

DISK_VARIABLE = "SIMULATOR_DISK"
"""In the environment of every process of a machine, so that those who left their session are found too. It holds the
disk's path, not the machine's id: simulators that run at the same time have machines of the same ids."""

OUTPUT_GRACE_SECONDS = 1.0


class DiskFiles(asyncssh.SFTPServer):
    """File transfer with the disk as home. Absolute paths are the controller's own, as in the shell."""

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], disk: Path) -> None:
        super().__init__(channel)
        self._disk = os.fsencode(disk)

    def map_path(self, path: bytes) -> bytes:
        return path if path.startswith(b"/") else self._disk + b"/" + path

    def exit(self) -> None:
        """scp takes a session that ends without an exit status for a failure."""
        # The client may be gone by now.
        with contextlib.suppress(OSError):
            self.channel.exit(0)


class Shells:
    """The processes of one machine."""

    def __init__(self, disk: Path) -> None:
        self._disk = disk
        self._running: dict[asyncio.subprocess.Process, asyncssh.SSHServerConnection] = {}

    async def serve(self, channel: asyncssh.SSHServerProcess[bytes]) -> None:
        """Run the command of a session, or a shell where there is none, and hand on its exit code."""
        terminal = os.openpty() if channel.get_terminal_type() is not None else None
        arguments = ["-c", channel.command] if channel.command else ["-i"]
        try:
            process = await self._start(arguments, channel, terminal)
            try:
                await _connect(channel, process, terminal[0] if terminal else None)
            finally:
                self._running.pop(process, None)
                _signal_group(process, signal.SIGHUP)
        finally:
            if terminal:
                os.close(terminal[0])
        if process.returncode is not None and process.returncode < 0:
            channel.exit_with_signal(signal.Signals(-process.returncode).name.removeprefix("SIG"))
        else:
            channel.exit(process.returncode or 0)

    async def _start(
        self,
        arguments: list[str],
        channel: asyncssh.SSHServerProcess[bytes],
        terminal: tuple[int, int] | None,
    ) -> asyncio.subprocess.Process:
        environment = {
            **channel.env,
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self._disk),
            "USER": channel.get_extra_info("username"),
            "SHELL": "/bin/sh",
            DISK_VARIABLE: str(self._disk),
        }
        streams = terminal[1] if terminal else asyncio.subprocess.PIPE
        if terminal:
            environment["TERM"] = channel.get_terminal_type() or "dumb"
            width, height, *dummy = channel.get_terminal_size()
            fcntl.ioctl(terminal[0], termios.TIOCSWINSZ, struct.pack("HHHH", height or 24, width or 80, 0, 0))
        try:
            process = await asyncio.create_subprocess_exec(
                "/bin/sh",
                *arguments,
                stdin=streams,
                stdout=streams,
                stderr=streams,
                cwd=self._disk,
                env=environment,
                start_new_session=True,
                preexec_fn=_take_terminal if terminal else None,
            )
        finally:
            if terminal:
                os.close(terminal[1])
        self._running[process] = channel.get_extra_info("connection")
        return process

    def hang_up(self, connection: asyncssh.SSHServerConnection) -> None:
        """The connection is gone: so are the processes that hung on it."""
        for process, through in list(self._running.items()):
            if through is connection:
                _signal_group(process, signal.SIGHUP)

    def kill(self) -> None:
        """Processes of open sessions, as when the machine loses its network."""
        for process in list(self._running):
            _signal_group(process, signal.SIGKILL)

    def kill_all(self) -> None:
        """Every process of the machine, as when its power goes."""
        self.kill()
        mark = os.fsencode(f"{DISK_VARIABLE}={self._disk}")
        for folder in Path("/proc").glob("[0-9]*"):
            # Of other users, or gone by now.
            with contextlib.suppress(OSError):
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    os.kill(int(folder.name), signal.SIGKILL)


def _take_terminal() -> None:
    fcntl.ioctl(sys.__stdin__.fileno() if sys.__stdin__ else 0, termios.TIOCSCTTY, 0)


def _signal_group(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


async def _connect(
    channel: asyncssh.SSHServerProcess[bytes], process: asyncio.subprocess.Process, terminal: int | None
) -> None:
    """Carry input and output to and fro until the process has ended."""
    outputs: list[asyncio.Task[None]] = []
    if terminal is not None:
        reader = asyncio.StreamReader()
        source = os.fdopen(os.dup(terminal), "rb", buffering=0)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), source)
        outputs.append(asyncio.create_task(_copy(reader, channel.stdout)))
    else:
        for stream, target in ((process.stdout, channel.stdout), (process.stderr, channel.stderr)):
            if stream is not None:
                outputs.append(asyncio.create_task(_copy(stream, target)))
    feeding = asyncio.create_task(_feed(channel, process, terminal))
    try:
        await process.wait()
        # A child in the background may hold the pipe open for ever.
        await asyncio.wait(outputs, timeout=OUTPUT_GRACE_SECONDS)
    finally:
        for task in (feeding, *outputs):
            task.cancel()
        await asyncio.gather(feeding, *outputs, return_exceptions=True)


async def _copy(source: asyncio.StreamReader, target: asyncssh.SSHWriter[bytes]) -> None:
    # A terminal ends with an OSError, a lost connection with a BrokenPipeError.
    with contextlib.suppress(OSError):
        while chunk := await source.read(65536):
            target.write(chunk)
            await target.drain()


async def _feed(
    channel: asyncssh.SSHServerProcess[bytes], process: asyncio.subprocess.Process, terminal: int | None
) -> None:
    while True:
        try:
            chunk = await channel.stdin.read(65536)
        except asyncssh.TerminalSizeChanged as change:
            if terminal is not None:
                size = struct.pack("HHHH", change.height, change.width, 0, 0)
                fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)
            continue
        except (asyncssh.BreakReceived, asyncssh.SignalReceived):
            _signal_group(process, signal.SIGINT)
            continue
        except (OSError, asyncssh.Error):
            chunk = b""
        with contextlib.suppress(OSError):
            if terminal is not None:
                os.write(terminal, chunk or b"\x04")
            elif process.stdin is not None:
                process.stdin.write(chunk)
                await process.stdin.drain()
        if not chunk:
            if process.stdin is not None:
                process.stdin.close()
            return
