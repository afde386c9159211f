# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Control over HTTP, for tests that run outside of the simulator's process. Faults do not reach it."""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from .service import Service

CONTROL_PREFIX = "/control"

Handler = Callable[[Request], Awaitable[Any]]


class Control:
    """The endpoints, relative to their prefix. README.md says what each takes and gives."""

    def __init__(self, service: Service, reset: Callable[[], Any]) -> None:
        self._service = service
        self._reset = reset

    def routes(self) -> list[Route]:
        endpoints: list[tuple[str, Handler, list[str]]] = [
            ("/", self.show, ["GET"]),
            ("/reset", self.start_over, ["POST"]),
            ("/settings", self.settings, ["GET", "PATCH"]),
            ("/faults", self.faults, ["GET", "POST", "DELETE"]),
            ("/faults/{id}", self.fault, ["DELETE"]),
            ("/log", self.log, ["GET", "DELETE"]),
            ("/counts", self.counts, ["GET"]),
            ("/done", self.done, ["GET"]),
            ("/machines", self.machines, ["GET", "POST"]),
            ("/machines/{id}", self.machine, ["GET", "PATCH", "DELETE"]),
            ("/machines/{id}/auto-snapshot", self.auto_snapshot, ["POST"]),
            ("/snapshots", self.snapshots, ["GET", "POST"]),
            ("/events", self.events, ["GET"]),
            ("/clock", self.clock, ["GET", "POST"]),
        ]
        return [Route(path, _answering(handler), methods=methods) for path, handler, methods in endpoints]

    async def show(self, dummy: Request) -> Any:
        return {
            "now": self._service.clock.now(),
            "machines": len(self._service.world.machines),
            "requests": len(self._service.log),
        }

    async def start_over(self, dummy: Request) -> Any:
        self._reset()
        return {}

    async def settings(self, request: Request) -> Any:
        if request.method == "PATCH":
            self._service.change_settings(**await _content(request))
        return self._service.settings.as_json()

    async def faults(self, request: Request) -> Any:
        if request.method == "POST":
            return {"id": self._service.faults.add(await _content(request))}
        if request.method == "DELETE":
            self._service.faults.clear()
        return self._service.faults.rules()

    async def fault(self, request: Request) -> Any:
        if not self._service.faults.remove(request.path_params["id"]):
            raise KeyError(request.path_params["id"])
        return {}

    async def log(self, request: Request) -> Any:
        if request.method == "DELETE":
            self._service.log.clear()
        return self._service.log.as_json()

    async def counts(self, dummy: Request) -> Any:
        return {"done": self._service.done_counts(), "accepted": self._service.accepted_counts()}

    async def done(self, dummy: Request) -> Any:
        return [asdict(each) for each in self._service.done()]

    async def machines(self, request: Request) -> Any:
        if request.method == "POST":
            return {"id": self._service.add_machine(**await _content(request))}
        return self._service.machines()

    async def machine(self, request: Request) -> Any:
        machine_id = request.path_params["id"]
        if request.method == "PATCH":
            self._service.change_machine(machine_id, **await _content(request))
        elif request.method == "DELETE":
            self._service.remove_machine(machine_id)
            return {}
        found = self._service.machine(machine_id)
        return {**found.fields, "state": found.state}

    async def auto_snapshot(self, request: Request) -> Any:
        return {"id": self._service.take_auto_snapshot(request.path_params["id"])}

    async def snapshots(self, request: Request) -> Any:
        if request.method == "POST":
            return {"id": self._service.add_snapshot(**await _content(request))}
        return self._service.snapshots(request.query_params.get("machine_id"))

    async def events(self, request: Request) -> Any:
        return self._service.events(request.query_params.get("machine_id"))

    async def clock(self, request: Request) -> Any:
        if request.method == "POST":
            self._service.clock.advance((await _content(request))["advance"])
            self._service.tick()
        return {"now": self._service.clock.now()}


async def _content(request: Request) -> dict[str, Any]:
    content = json.loads(await request.body())
    if not isinstance(content, dict):
        raise TypeError("the body has to be a JSON object")
    return content


def _answering(handler: Handler) -> Callable[[Request], Awaitable[JSONResponse]]:
    """The handler's result as JSON; a wrong request as 400 and an unknown id as 404, with the reason."""

    @functools.wraps(handler)
    async def answer(request: Request) -> JSONResponse:
        try:
            return JSONResponse(await handler(request))
        except KeyError as error:
            return JSONResponse({"error": f"not found: {error.args[0]}"}, status_code=404)
        except (TypeError, ValueError) as error:
            return JSONResponse({"error": str(error)}, status_code=400)

    return answer
