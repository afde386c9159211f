# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The core against the simulator, in one process: a real requests session, no sockets, and time moved by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any

import pytest
import requests
from requests.adapters import BaseAdapter
from requests.structures import CaseInsensitiveDict

from ansible_collections.community.paperspace.plugins.module_utils import _module, _transport
from ansible_collections.community.paperspace.plugins.module_utils._client import Client
from ansible_collections.community.paperspace.plugins.module_utils._connection import Connection
from ansible_collections.community.paperspace.plugins.module_utils._machines import MachineWish, run_machines
from ansible_collections.community.paperspace.plugins.module_utils._outcomes import NO_PROGRESS, Progress, Report
from ansible_collections.community.paperspace.plugins.module_utils._snapshot_plans import Wish
from ansible_collections.community.paperspace.plugins.module_utils._snapshots import run_snapshots
from simulator.clock import ManualClock
from simulator.messages import NoAnswer
from simulator.records import Event
from simulator.service import Request, Response, Service, Settings
from simulator.session import SimulatorAdapter, received

Handler = Callable[[Request], Response]

API_URL = "http://127.0.0.1/v1"
KEY = Settings().api_key


class InlineExecutor(Executor):
    """Runs each call at once, so that a test's requests come in one order."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  # as an executor does
            future.set_exception(error)
        return future


class _Answered:
    """What the transport reads of a response."""

    def __init__(self, response: Response) -> None:
        self.status_code = response.status
        self.headers = CaseInsensitiveDict(response.headers)
        self._body = response.body

    def __enter__(self) -> _Answered:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def iter_content(self, _size: int) -> Iterator[bytes]:
        yield self._body


class _Unanswered:
    """Stands for the service at one request that it has not answered."""

    def __init__(self, nothing: NoAnswer, clock: ManualClock) -> None:
        self.clock = clock
        self._nothing = nothing

    def handle(self, _request: Request) -> Response:
        raise self._nothing


class QuickAdapter(BaseAdapter):
    """Hands each request to the service past urllib3, which costs more than all else that a test of a fleet does.

    What becomes of a request that is not answered is still for requests to say.
    """

    def __init__(self, service: Service) -> None:
        super().__init__()
        self._service = service

    def send(self, request: requests.PreparedRequest, timeout: Any = None, **options: Any) -> Any:
        try:
            response = self._service.handle(received(request))
        except NoAnswer as nothing:
            adapter = SimulatorAdapter(_Unanswered(nothing, self._service.clock))
            return adapter.send(request, timeout=timeout, **options)
        if response.delay_seconds >= timeout:
            raise AssertionError("too slow for a quick adapter")
        self._service.clock.sleep(response.delay_seconds)
        return _Answered(response)

    def close(self) -> None:
        """Nothing is open."""


class Fleet:
    """A simulated team with some machines, and what a task sees of it."""

    def __init__(
        self,
        machines: int = 1,
        *,
        executor: Executor | None = None,
        clock: ManualClock | None = None,
        is_history_whole: bool = True,
        is_quick: bool = False,
        **settings: Any,
    ) -> None:
        """C(is_history_whole): the service still has each machine's first event. C(is_quick): with a quick adapter."""
        self.clock = clock or ManualClock()
        self.service = Service(self.clock, Settings(**settings))
        self.machine_ids = [self.service.add_machine(f"web{number}") for number in range(1, machines + 1)]
        if is_history_whole:
            for machine_id in self.machine_ids:
                self.add_event("create", machine_id=machine_id)
        self.executor = executor or InlineExecutor()
        self._is_quick = is_quick

    @property
    def machine_id(self) -> str:
        return self.machine_ids[0]

    def client(self, *, adapter: SimulatorAdapter | None = None, **connection: Any) -> Client:
        """A task's client. C(adapter): instead of the one that hands each request to the service."""
        session = requests.Session()
        default = QuickAdapter(self.service) if self._is_quick else SimulatorAdapter(self.service)
        session.mount("http://", adapter or default)
        return Client(
            Connection(**{"api_key": KEY, "api_url": API_URL, **connection}),
            session=session,
            clock=self.clock.now,
            sleep=self.clock.sleep,
            random=lambda: 0.5,
        )

    def run(
        self,
        *,
        check_mode: bool = False,
        connection: dict[str, Any] | None = None,
        progress: Progress = NO_PROGRESS,
        **wish: Any,
    ) -> Report:
        """A task of paperspace_snapshot, for all machines unless told otherwise."""
        if "machine_ids" not in wish and "snapshot_ids" not in wish:
            wish["machine_ids"] = self.machine_ids
        client = self.client(**(connection or {}))
        return run_snapshots(client, Wish(**wish), check_mode=check_mode, executor=self.executor, progress=progress)

    def change(
        self,
        *,
        check_mode: bool = False,
        connection: dict[str, Any] | None = None,
        progress: Progress = NO_PROGRESS,
        **wish: Any,
    ) -> Report:
        """A task of paperspace_machine, for all machines unless told otherwise."""
        wish.setdefault("machine_ids", self.machine_ids)
        client = self.client(**(connection or {}))
        return run_machines(
            client, MachineWish(**wish), check_mode=check_mode, executor=self.executor, progress=progress
        )

    def send(self, method: str, path: str, content: Any = None) -> Any:
        """What somebody else asks of the service, not in the log."""
        body = b"" if content is None else json.dumps(content).encode()
        response = self.service.handle(Request(method, path, {}, self.service.headers(body=bool(body)), body))
        assert response.status == 200, response.body
        self.service.log._entries.pop()
        return response.json()

    def begin_snapshot(self, name: str, machine_id: str | None = None) -> tuple[str, str]:
        """Somebody else's create, still running; the ids of its snapshot and its event."""
        answer = self.send("POST", "/snapshots", {"machineId": machine_id or self.machine_id, "name": name})
        return answer["data"]["id"], answer["event"]["id"]

    def made_snapshot(self, name: str, machine_id: str | None = None) -> str:
        """Somebody else's create, done; the snapshot's id."""
        snapshot_id, _event_id = self.begin_snapshot(name, machine_id)
        self.later()
        return snapshot_id

    def begin_failing_snapshot(self, name: str, machine_id: str | None = None, error: str | None = "no space") -> str:
        """Somebody else's create that will end in error; the id of the snapshot that it leaves."""
        rule = self.fault("event", method="POST", path="/snapshots", state="error", error=error, times=1)
        snapshot_id, _event_id = self.begin_snapshot(name, machine_id)
        self.service.faults.remove(rule)
        return snapshot_id

    def failed_snapshot(self, name: str, machine_id: str | None = None, error: str | None = "no space") -> str:
        """Somebody else's create that ended in error; the id of the snapshot that it left."""
        snapshot_id = self.begin_failing_snapshot(name, machine_id, error)
        self.later()
        return snapshot_id

    def deleted(self, snapshot_id: str) -> None:
        """Somebody else's delete, done."""
        self.send("DELETE", f"/snapshots/{snapshot_id}")
        self.later()

    def add_event(self, name: str, *, state: str = "done", machine_id: str | None = None) -> str:
        """An event that is in the machine's history and did nothing that matters here."""
        world, now = self.service.world, self.clock.now()
        event = Event(world._ids.new("me"), world._next(), machine_id or self.machine_id, name, now, now, state)
        event.finished_at = None if state == "in progress" else now
        world.events.add(event)
        self.clock.advance(1)
        return event.id

    def fault(self, action: str, **fields: Any) -> str:
        return self.service.faults.add({"action": action, **fields})

    def names(self, machine_id: str | None = None) -> list[str]:
        """The names of a machine's snapshots that truly are, oldest first."""
        return [item["name"] for item in self.service.snapshots(machine_id or self.machine_id)]

    def come_between(self, handle: Callable[[Request, Handler], Response]) -> None:
        """Let this answer each request, by asking the service itself or what has come between before."""
        inner = self.service.handle
        self.service.handle = lambda request: handle(request, inner)  # type: ignore[method-assign]

    def just_before(self, method: str, path: str, act: Callable[[], Any]) -> None:
        """Let somebody else act just before the service gets the first request of this kind."""
        has_acted = False

        def act_once(request: Request, handle: Handler) -> Response:
            nonlocal has_acted
            if not has_acted and request.method == method and re.fullmatch(path, request.path):
                has_acted = True
                act()
            return handle(request)

        self.come_between(act_once)

    def later(self, seconds: float = 60) -> None:
        self.clock.advance(seconds)
        self.service.tick()

    def writes(self) -> list[str]:
        """All requests so far that were not GET, as METHOD and path."""
        return [call for call in self.service.log.calls() if not call.startswith("GET ")]


def statuses(report: Report) -> list[str]:
    return [outcome.status for outcome in report.outcomes]


def only(report: Report) -> dict[str, Any]:
    """The one entry of the result, as the user sees it."""
    (outcome,) = report.outcomes
    return outcome.to_result()


def attach(monkeypatch: pytest.MonkeyPatch, fleet: Fleet) -> None:
    """Let modules and actions reach a simulated fleet, in its time."""

    def session(*_arguments: Any) -> requests.Session:
        made = requests.Session()
        made.mount("http://", SimulatorAdapter(fleet.service))
        return made

    monkeypatch.setattr(_transport, "open_session", session)
    monkeypatch.setattr(
        _module,
        "Client",
        lambda connection: Client(connection, clock=fleet.clock.now, sleep=fleet.clock.sleep, random=lambda: 0.5),
    )
