# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the API needs at the least to do a piece of work on a fleet, from a client that does nothing else.

No listing of what is there, no retries, no checks: it knows the ids, the limit on the rate, and that all goes well.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp

SECONDS_BETWEEN_LOOKS = 0.5
LARGEST_PAGE = 120
PAGES = 200


class Service:
    """Requests, so many at once and so many a second."""

    def __init__(self, session: aiohttp.ClientSession, url: str, concurrency: int, per_second: float | None) -> None:
        self._session = session
        self._url = url
        self._places = asyncio.Semaphore(concurrency)
        self._seconds_between = 1 / per_second if per_second else 0.0
        self._next_turn = 0.0

    async def send(self, method: str, path: str, body: Mapping[str, Any] | None = None, **query: Any) -> Any:
        async with self._places:
            turn = max(self._next_turn, time.monotonic())
            self._next_turn = turn + self._seconds_between
            await asyncio.sleep(max(0.0, turn - time.monotonic()))
            async with self._session.request(method, self._url + path, json=body, params=query) as answer:
                answer.raise_for_status()
                return await answer.json()

    async def send_all(self, requests: Iterable[tuple[str, str, Mapping[str, Any]]]) -> list[Any]:
        return await asyncio.gather(*(self.send(*request) for request in requests))

    async def wait_for(self, path: str, ids: Iterable[str], has_ended: Callable[[Mapping[str, Any]], bool]) -> None:
        """Look at a list, newest first, until all of its items with these ids have ended.

        The newest end last. So after the first look a page is asked for only when all before it have ended.
        """
        under_way = set(ids)
        is_first = True
        while under_way:
            await self._look(path, under_way, has_ended, to_the_end=is_first)
            is_first = False
            if under_way:
                await asyncio.sleep(SECONDS_BETWEEN_LOOKS)

    async def _look(
        self, path: str, under_way: set[str], has_ended: Callable[[Mapping[str, Any]], bool], *, to_the_end: bool
    ) -> None:
        query: dict[str, Any] = {"limit": LARGEST_PAGE, "orderBy": "dtCreated", "order": "desc"}
        while under_way:
            page = await self.send("GET", path, **query)
            known = [item for item in page["items"] if item["id"] in under_way]
            under_way.difference_update(item["id"] for item in known if has_ended(item))
            if not page["hasMore"] or (not to_the_end and any(item["id"] in under_way for item in known)):
                return
            query["after"] = page["nextPage"]


def event_has_ended(event: Mapping[str, Any]) -> bool:
    if event["state"] in ("error", "cancelled"):
        raise RuntimeError(f"event {event['id']}: {event['state']}")
    return bool(event["state"] == "done")


async def take_snapshots(service: Service, machine_ids: Iterable[str], name: str) -> None:
    answers = await service.send_all(
        ("POST", "/snapshots", {"machineId": machine_id, "name": name}) for machine_id in machine_ids
    )
    await service.wait_for("/machine-events", (answer["event"]["id"] for answer in answers), event_has_ended)


async def restore(service: Service, snapshots: Mapping[str, str]) -> None:
    """C(snapshots): by machine, the snapshot to put it back to."""
    answers = await service.send_all(("POST", f"/snapshots/{each}/restore", {}) for each in snapshots.values())
    await service.wait_for("/machine-events", (answer["event"]["id"] for answer in answers), event_has_ended)
    await service.wait_for("/machines", snapshots, lambda machine: bool(machine["state"] == "ready"))


async def requests_a_second(service: Service, machine_ids: Sequence[str], name: str) -> dict[str, float]:
    """How many of each kind of request the service answers in a second: with work for each machine, or full pages."""
    found = {}
    began = time.monotonic()
    created = await service.send_all(
        ("POST", "/snapshots", {"machineId": machine_id, "name": name}) for machine_id in machine_ids
    )
    found["creates"] = len(created) / (time.monotonic() - began)
    found["pages of events"] = await _pages_a_second(service, "/machine-events")
    await service.wait_for("/machine-events", (answer["event"]["id"] for answer in created), event_has_ended)
    began = time.monotonic()
    await service.send_all(("POST", f"/snapshots/{answer['data']['id']}/restore", {}) for answer in created)
    found["restores"] = len(created) / (time.monotonic() - began)
    found["pages of machines"] = await _pages_a_second(service, "/machines")
    return found


async def _pages_a_second(service: Service, path: str) -> float:
    """Of a list's last page it would be less: so each is asked for from its beginning."""
    query: dict[str, Any] = {"limit": LARGEST_PAGE, "orderBy": "dtCreated", "order": "desc"}
    began = time.monotonic()
    pages = await asyncio.gather(*(service.send("GET", path, **query) for dummy in range(PAGES)))
    return len(pages) / (time.monotonic() - began)


async def run(options: argparse.Namespace) -> None:
    ids = json.loads(options.ids.read_text(encoding="utf-8"))
    connector = aiohttp.TCPConnector(limit=0)
    headers = {"Authorization": f"Bearer {options.key}"}
    async with aiohttp.ClientSession(connector=connector, headers=headers, trust_env=False) as session:
        service = Service(session, options.api_url, options.concurrency, options.per_second)
        if options.work == "capacity":
            print(json.dumps(await requests_a_second(service, ids["machines"], options.name)))
        elif options.work == "snapshot":
            await take_snapshots(service, ids["machines"], options.name)
        else:
            await restore(service, ids["snapshots"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", choices=["snapshot", "restore", "capacity"])
    parser.add_argument("--api-url", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--ids", required=True, type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--concurrency", required=True, type=int)
    parser.add_argument("--per-second", type=float)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
