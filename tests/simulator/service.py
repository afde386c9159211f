# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The simulated service itself, without any transport: one call for each request.

service = Service(clock=ManualClock())
machine_id = service.add_machine(name="web1")
response = service.handle(Request("GET", f"/machines/{machine_id}", headers=service.headers()))
"""

from __future__ import annotations

import hmac
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from .clock import Clock, SystemClock
from .faults import Effects, Faults
from .messages import ApiError, NoAnswer, Request, Response, json_response
from .operations import Addresses, Call, Disks, Done, NoDisks, PrivateRanges, World, counts
from .paging import Cursors
from .records import Machine
from .request_log import Entry, RequestLog
from .routes import Asked, answer, find_route, split_path
from .settings import Settings

__all__ = ["Request", "Response", "Service", "Settings"]


class Service:
    """Thread-safe: one lock around everything. Time passes only by the clock that is given."""

    def __init__(
        self,
        clock: Clock | None = None,
        settings: Settings | None = None,
        disks: Disks | None = None,
        addresses: Callable[[], Addresses] = PrivateRanges,
    ) -> None:
        self.clock = clock or SystemClock()
        self.faults = Faults()
        self.log = RequestLog()
        self.disks = disks or NoDisks()
        self._initial_settings = settings or Settings()
        self._addresses = addresses
        self._lock = threading.RLock()
        self._start()

    def _start(self) -> None:
        self.settings = self._initial_settings
        self.world = World(self.settings, self.disks, self._addresses())
        self._cursors = Cursors(self.settings.seed)
        self._tokens = float("inf")
        self._tokens_at = self.clock.now()

    # For tests and control

    def reset(self) -> None:
        """Back to the beginning: no machines, no snapshots, no events, no faults, no log, the first settings."""
        with self._lock:
            for machine in list(self.world.machines):
                self.world.remove_machine(machine, self.clock.now())
            self.faults.clear()
            self.log.clear()
            self._start()

    def change_settings(self, **changes: Any) -> None:
        """Raises ValueError for unknown names and impossible values."""
        with self._lock:
            self.tick()
            self.settings = self.world.settings = self.settings.changed(changes)

    def tick(self) -> None:
        """Do what is due by now. Every request does this; only who watches without asking needs it."""
        with self._lock:
            self.world.advance(self.clock.now())

    def add_machine(self, name: str | None = None, **fields: Any) -> str:
        """Add a machine and return its id. `fields` have the wire's names, `state` and `id` included."""
        with self._lock:
            self.tick()
            return self.world.add_machine(self.clock.now(), name, fields).id

    def change_machine(self, machine_id: str, **fields: Any) -> None:
        """Change a machine behind the API's back, at once; `fields` as in add_machine."""
        with self._lock:
            self.tick()
            self.world.change_machine(self.machine(machine_id), fields, self.clock.now())

    def remove_machine(self, machine_id: str) -> None:
        with self._lock:
            self.tick()
            self.world.remove_machine(self.machine(machine_id), self.clock.now())

    def add_snapshot(self, machine_id: str, name: str, auto: bool = False, complete: bool = True) -> str:
        """Add a snapshot that is there already and return its id; not `complete`: its create event had failed."""
        with self._lock:
            self.tick()
            return self.world.add_snapshot(self.machine(machine_id), name, auto, self.clock.now(), complete).id

    def take_auto_snapshot(self, machine_id: str) -> str:
        """An automatic snapshot comes up now; the oldest ones beyond autoSnapshotSaveCount go. Returns its id."""
        with self._lock:
            self.tick()
            return self.world.take_auto_snapshot(self.machine(machine_id), self.clock.now()).id

    def machine(self, machine_id: str) -> Machine:
        """Raises KeyError for an unknown id."""
        machine = self.world.machines.get(machine_id)
        if machine is None:
            raise KeyError(machine_id)
        return machine

    def machines(self) -> list[dict[str, Any]]:
        """All machines as they truly are, in the wire's form, oldest first."""
        with self._lock:
            self.tick()
            return [{**machine.fields, "state": machine.state} for machine in self.world.machines]

    def snapshots(self, machine_id: str | None = None) -> list[dict[str, Any]]:
        """All snapshots, or a machine's, in the wire's form and with `complete`, oldest first."""
        with self._lock:
            self.tick()
            found = self.world.snapshots.of_machine(machine_id) if machine_id else self.world.snapshots.ordered()
            return [{**snapshot.wire(), "complete": snapshot.complete} for snapshot in found]

    def events(self, machine_id: str | None = None) -> list[dict[str, Any]]:
        """All events, or a machine's, in the wire's form, oldest first."""
        with self._lock:
            self.tick()
            found = self.world.events.of_machine(machine_id) if machine_id else self.world.events.ordered()
            return [event.wire() for event in found]

    def done(self) -> list[Done]:
        """What was really done so far, in order."""
        with self._lock:
            self.tick()
            return list(self.world.done)

    def done_counts(self) -> dict[str, int]:
        """How many creates, deletes, restores, … were really done, whatever their answers and events said."""
        return counts(self.done())

    def accepted_counts(self) -> dict[str, int]:
        """How many were taken up, whether or not they are done yet or ever."""
        with self._lock:
            return counts(self.world.accepted)

    def headers(self, body: bool = False) -> dict[str, str]:
        """What a good client sends."""
        return {
            "Authorization": f"Bearer {self.settings.api_key}",
            **({"Content-Type": "application/json"} if body else {}),
        }

    # Requests

    def handle(self, request: Request) -> Response:
        """Answer one request. Raises NoAnswer (LostAnswer, AnswerTimeout, ConnectionRefused) as faults demand."""
        with self._lock:
            now = self.clock.now()
            self.world.advance(now)
            effects = self.faults.effects(request, lambda: self._machine_id(request))
            delay = effects.delay_seconds + self.settings.latency_seconds
            try:
                response = self._answer(request, now, effects)
            except NoAnswer as nothing:
                nothing.delay_seconds = delay
                # A connection that is refused carries no request.
                if effects.rule is None or effects.rule.action != "refused":
                    self._log(request, None, now, effects)
                raise
            self._log(request, response.status, now, effects)
            return replace(response, delay_seconds=delay) if delay else response

    def _answer(self, request: Request, now: float, effects: Effects) -> Response:
        rule = effects.rule
        if rule and not rule.after_the_work:
            return rule.answer(request, None)
        try:
            good = self._work(request, now, effects)
        except ApiError as error:
            good = error.response()
        return rule.answer(request, good) if rule else good

    def _work(self, request: Request, now: float, effects: Effects) -> Response:
        self._check_rate(now)
        route, path_id = find_route(request)
        if not self._key_is_known(request):
            if request.path == "/auth/session" and "authorization" in request.headers:
                return json_response(200, None)
            raise ApiError(401, "The API key is missing or not known.")
        if len(request.body) > self.settings.max_body_bytes:
            raise ApiError(413, f"The body is larger than {self.settings.max_body_bytes} bytes.")
        call = Call(now, effects.outcome, effects.event_invisible_seconds)
        response = answer(Asked(request, path_id, self.world, self._cursors, call), route, path_id)
        if effects.state_lag_seconds is not None and (machine_id := self._machine_id(request)):
            machine = self.world.machines.get(machine_id)
            if machine:
                machine.state_lag_seconds = effects.state_lag_seconds
        return response

    def _check_rate(self, now: float) -> None:
        rate = self.settings.requests_per_second
        if rate is None:
            return
        self._tokens = min(max(1.0, rate), self._tokens + (now - self._tokens_at) * rate)
        self._tokens_at = now
        if self._tokens < 1:
            wait = self.settings.rate_limit_retry_after
            raise ApiError(429, "Too many requests.", headers={} if wait is None else {"retry-after": f"{wait:g}"})
        self._tokens -= 1

    def _key_is_known(self, request: Request) -> bool:
        scheme, dummy, key = request.headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(key.strip().encode(), self.settings.api_key.encode())

    def _machine_id(self, request: Request) -> str | None:
        """The machine that a request is about, as far as it names one."""
        segments = split_path(request.path)
        if len(segments) > 1:
            kind, record_id = segments[:2]
            if kind == "machines":
                return record_id
            if kind == "snapshots":
                snapshot = self.world.snapshots.get(record_id)
                return snapshot.machine_id if snapshot else self.world.machine_of_deleted.get(record_id)
            event = self.world.events.get(record_id)
            return event.machine_id if event else None
        if named := dict(request.query_pairs).get("machineId"):
            return named
        try:
            body = json.loads(request.body or b"null")
        except (ValueError, RecursionError):
            return None
        named_in_body = body.get("machineId") if isinstance(body, Mapping) else None
        return named_in_body if isinstance(named_in_body, str) else None

    def _log(self, request: Request, status: int | None, now: float, effects: Effects) -> None:
        self.log.append(
            Entry(
                request.method,
                request.path,
                dict(request.query_pairs),
                request.readable_body(),
                status,
                now,
                tuple(effects.hit),
            )
        )
