# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A simulator whose time stands still, and a client for it that leaves nothing out and adds nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from simulator.clock import ManualClock
from simulator.service import Request, Response, Service

NOTHING = object()


class Api:
    def __init__(self, service: Service) -> None:
        self.service = service

    def send(
        self,
        method: str,
        path: str,
        content: Any = NOTHING,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Response:
        """A good request by default. `headers` are added; those that are empty are taken out."""
        if body is None:
            body = b"" if content is NOTHING else json.dumps(content).encode()
        sent = self.service.headers(body=content is not NOTHING) | dict(headers or {})
        sent = {name: value for name, value in sent.items() if value}
        return self.service.handle(Request(method, path, query or {}, sent, body))

    def get(self, path: str, **query: Any) -> Any:
        response = self.send("GET", path, query=query)
        assert response.status == 200, response.body
        return response.json()

    def post(self, path: str, content: Any) -> Any:
        response = self.send("POST", path, content)
        assert response.status == 200, response.body
        return response.json()

    def put(self, path: str, content: Any) -> Any:
        response = self.send("PUT", path, content)
        assert response.status == 200, response.body
        return response.json()

    def act(self, machine_id: str, action: str) -> Any:
        response = self.send("PATCH", f"/machines/{machine_id}/{action}", {})
        assert response.status == 200, response.body
        return response.json()

    def snapshot(self, machine_id: str, name: str) -> Any:
        return self.post("/snapshots", {"machineId": machine_id, "name": name})

    def event(self, event_id: str) -> Any:
        return self.get(f"/machine-events/{event_id}")

    def machine(self, machine_id: str) -> Any:
        return self.get(f"/machines/{machine_id}")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def service(clock: ManualClock) -> Service:
    return Service(clock)


@pytest.fixture
def api(service: Service) -> Api:
    return Api(service)


@pytest.fixture
def machine_id(service: Service) -> str:
    return service.add_machine("web1")
