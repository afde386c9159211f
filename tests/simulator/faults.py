# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults as rules: which requests they hit, and what those requests get instead of a good answer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .messages import (
    CODES,
    AnswerTimeout,
    ApiError,
    ConnectionRefused,
    LostAnswer,
    Request,
    Response,
    json_response,
)
from .operations import SUCCESS, Outcome
from .paging import BEGINNING

NUMBER = (int, float)
NONE = type(None)

SELECTION: dict[str, tuple[Any, Any]] = {
    "method": ((str, list, NONE), None),
    "path": ((str, NONE), None),
    "machine_id": ((str, NONE), None),
    "nth": ((int, list, NONE), None),
    "times": ((int, NONE), None),
    "after_change": (bool, False),
}
"""Fields that every rule may have: accepted types and default."""

WHEN = {"when": (str, "before")}
PARAMETERS: dict[str, dict[str, tuple[Any, Any]]] = {
    "status": {
        "status": (int, 500),
        "code": ((str, NONE), None),
        "message": (str, "The simulator was told to fail."),
        "retry_after": ((*NUMBER, NONE), None),
        "headers": (dict, {}),
        **WHEN,
    },
    "html": {"status": (int, 502), "retry_after": ((*NUMBER, NONE), None), **WHEN},
    "body": {
        "status": (int, 200),
        "text": (str, ""),
        "repeat": (int, 1),
        "content_type": (str, "application/json"),
        **WHEN,
    },
    "empty": {"status": (int, 200), **WHEN},
    "error_body": {
        "status": (int, 200),
        "code": (str, "INTERNAL_SERVER_ERROR"),
        "message": (str, "The simulator was told to fail."),
        **WHEN,
    },
    "lost": {"mid_body": (bool, False), **WHEN},
    "timeout": dict(WHEN),
    "refused": {"timeout": (bool, False)},
    "truncated": {},
    "without_fields": {"fields": ((list, NONE), None)},
    "cursor": {"cursor": (str, "repeat")},
    "slow": {"seconds": (NUMBER, 1.0)},
    "busy": {"message": (str, "The machine is busy.")},
    "event": {
        "state": (str, "done"),
        "error": ((str, NONE), None),
        "finished": (bool, True),
        "worked": ((bool, NONE), None),
        "seconds": ((*NUMBER, NONE), None),
    },
    "event_invisible": {"seconds": (NUMBER, 5.0)},
    "state_lag": {"seconds": (NUMBER, 5.0)},
}
"""Each action's own fields: accepted types and default."""

CHOICES = {
    "when": ("before", "after"),
    "cursor": ("repeat", "null", "missing"),
    "state": ("done", "error", "cancelled", "stuck"),
}
AFTER_THE_WORK = ("truncated", "without_fields", "cursor")
NOT_AN_ANSWER = ("slow", "event", "event_invisible", "state_lag")

HTML = """<!DOCTYPE html>
<html lang="en-US"><head><title>paperspace.com | {status}: {title}</title></head>
<body><h1>{title}</h1><span>Error code {status}</span><p>Cloudflare Ray ID: 8f0c0ffee0ddba11</p></body></html>
"""
TITLES = {
    403: "Attention Required!",
    502: "Bad gateway",
    503: "Service temporarily unavailable",
    504: "Gateway time-out",
    520: "Web server is returning an unknown error",
    521: "Web server is down",
    522: "Connection timed out",
    523: "Origin is unreachable",
    524: "A timeout occurred",
}


@dataclass(eq=False)
class Rule:
    """One fault. `parameters` are the action's own fields, all of them, with their defaults filled in."""

    id: str
    action: str
    methods: tuple[str, ...] | None
    path: str | None
    machine_id: str | None
    nth: tuple[int, ...] | None
    times: int | None
    after_change: bool
    parameters: dict[str, Any]
    is_armed: bool = False
    """Whether the change after which it hits has come."""
    seen: int = 0
    """How many requests it selected."""
    applied: int = 0
    """How many of them it hit."""

    @classmethod
    def from_json(cls, rule_id: str, content: Mapping[str, Any]) -> Rule:
        """Raises ValueError, with the reason, for a rule that makes no sense."""
        given = {name: value for name, value in content.items() if name not in ("id", "action")}
        action = content.get("action")
        if action not in PARAMETERS:
            raise ValueError(f"a fault rule's action is one of {', '.join(PARAMETERS)}, not {action!r}")
        known = SELECTION | PARAMETERS[action]
        for name, value in given.items():
            if name not in known:
                raise ValueError(f"a fault rule with action {action} has no field {name!r}")
            types = known[name][0]
            takes_bool = bool in (types if isinstance(types, tuple) else (types,))
            if not isinstance(value, types) or (isinstance(value, bool) and not takes_bool):
                raise ValueError(f"field {name!r} of a fault rule cannot be {value!r}")
            if name in CHOICES and value not in CHOICES[name]:
                raise ValueError(f"field {name!r} of a fault rule is one of {', '.join(CHOICES[name])}")
        methods, nth = given.get("method"), given.get("nth")
        try:
            re.compile(given.get("path") or "")
        except re.error as error:
            raise ValueError(f"path {given['path']!r} is no regular expression: {error}") from error
        return cls(
            id=rule_id,
            action=action,
            methods=None if methods is None else tuple([methods] if isinstance(methods, str) else methods),
            path=given.get("path"),
            machine_id=given.get("machine_id"),
            nth=None if nth is None else tuple([nth] if isinstance(nth, int) else nth),
            times=given.get("times"),
            after_change=given.get("after_change", False),
            parameters={name: given.get(name, default) for name, (dummy, default) in PARAMETERS[action].items()},
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "action": self.action,
            "method": None if self.methods is None else list(self.methods),
            "path": self.path,
            "machine_id": self.machine_id,
            "nth": None if self.nth is None else list(self.nth),
            "times": self.times,
            "after_change": self.after_change,
            **self.parameters,
            "seen": self.seen,
            "applied": self.applied,
        }

    def hits(self, request: Request, machine_id: Callable[[], str | None]) -> bool:
        """Whether this request, which is counted by that, is one to fail."""
        if self.after_change and not self.is_armed:
            self.is_armed = request.method != "GET"
            return False
        if self.methods is not None and request.method not in self.methods:
            return False
        if self.path is not None and not re.fullmatch(self.path, request.path):
            return False
        if self.machine_id is not None and machine_id() != self.machine_id:
            return False
        self.seen += 1
        if self.nth is not None and self.seen not in self.nth:
            return False
        if self.times is not None and self.applied >= self.times:
            return False
        self.applied += 1
        return True

    @property
    def after_the_work(self) -> bool:
        return self.action in AFTER_THE_WORK or (
            self.parameters.get("when") == "after" or bool(self.parameters.get("mid_body"))
        )

    def answer(self, request: Request, good: Response | None) -> Response:
        """What the client gets; `good` is the honest answer when the work was done. Raises NoAnswer for nothing."""
        if self.action in AFTER_THE_WORK:
            if good is None:
                raise AssertionError(f"{self.action} needs the honest answer")
            return self._bent(request, good)
        if self.action == "lost":
            raise LostAnswer(good if self.parameters["mid_body"] else None)
        if self.action == "timeout":
            raise AnswerTimeout("the connection stays open and nothing comes")
        if self.action == "refused":
            raise ConnectionRefused(timeout=self.parameters["timeout"])
        return REPLACEMENTS[self.action](self.parameters)

    def _bent(self, request: Request, good: Response) -> Response:
        if self.action == "truncated":
            return replace(good, body=good.body[: len(good.body) // 2])
        content = good.json()
        if self.action == "without_fields":
            _drop_fields(content, self.parameters["fields"])
        elif isinstance(content, dict) and "hasMore" in content:
            _bend_cursor(content, self.parameters["cursor"], dict(request.query_pairs).get("after"))
        return replace(good, body=json.dumps(content).encode())


def _busy(given: Mapping[str, Any]) -> Response:
    return ApiError(409, given["message"]).response()


def _status(given: Mapping[str, Any]) -> Response:
    code = given["code"] or CODES.get(given["status"], "INTERNAL_SERVER_ERROR")
    headers = {name.lower(): str(value) for name, value in given["headers"].items()} | _retry_after(given)
    return json_response(given["status"], {"code": code, "message": given["message"]}, headers)


def _error_body(given: Mapping[str, Any]) -> Response:
    return json_response(given["status"], {"code": given["code"], "message": given["message"]})


def _html(given: Mapping[str, Any]) -> Response:
    page = HTML.format(status=given["status"], title=TITLES.get(given["status"], "Error"))
    headers = {"content-type": "text/html; charset=UTF-8"} | _retry_after(given)
    return Response(given["status"], headers, page.encode())


def _body(given: Mapping[str, Any]) -> Response:
    headers = {"content-type": given["content_type"]}
    return Response(given["status"], headers, given["text"].encode() * given["repeat"])


def _empty(given: Mapping[str, Any]) -> Response:
    return Response(given["status"], {}, b"")


REPLACEMENTS: dict[str, Callable[[Mapping[str, Any]], Response]] = {
    "busy": _busy,
    "status": _status,
    "error_body": _error_body,
    "html": _html,
    "body": _body,
    "empty": _empty,
}


def _retry_after(given: Mapping[str, Any]) -> dict[str, str]:
    value = given["retry_after"]
    return {} if value is None else {"retry-after": f"{value:g}"}


def _drop_fields(content: Any, paths: list[str] | None) -> None:
    """Take out the fields named by dotted paths, in every item of lists on the way; all fields when none is named."""
    for path in list(content) if paths is None and isinstance(content, dict) else paths or []:
        first, dummy, rest = path.partition(".")
        for each in content if isinstance(content, list) else [content]:
            if not isinstance(each, dict):
                continue
            if not rest:
                each.pop(first, None)
            elif first in each:
                _drop_fields(each[first], [rest])


def _bend_cursor(content: dict[str, Any], how: str, after: str | None) -> None:
    content["hasMore"] = True
    if how == "repeat":
        # Once the client follows a cursor, it gets the same one for ever.
        content["nextPage"] = after or content.get("nextPage") or BEGINNING
    elif how == "null":
        content["nextPage"] = None
    else:
        content.pop("nextPage", None)


@dataclass
class Effects:
    """All that the rules have in store for one request."""

    rule: Rule | None = None
    """The first rule that gives an answer of its own."""
    hit: list[str] = field(default_factory=list)
    """The ids of all rules that hit."""
    delay_seconds: float = 0.0
    outcome: Outcome = SUCCESS
    event_invisible_seconds: float | None = None
    state_lag_seconds: float | None = None


class Faults:
    """The rules in force, in the order they were added."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._added = 0

    def add(self, rule: Mapping[str, Any]) -> str:
        """Add a rule (plain JSON, see README.md) and return its id."""
        self._added += 1
        made = Rule.from_json(str(rule.get("id") or f"fault-{self._added}"), json.loads(json.dumps(dict(rule))))
        self._rules = [each for each in self._rules if each.id != made.id] + [made]
        return made.id

    def remove(self, rule_id: str) -> bool:
        before = len(self._rules)
        self._rules = [each for each in self._rules if each.id != rule_id]
        return len(self._rules) < before

    def clear(self) -> None:
        self._rules = []

    def rules(self) -> list[dict[str, Any]]:
        return [rule.as_json() for rule in self._rules]

    def effects(self, request: Request, machine_id: Callable[[], str | None]) -> Effects:
        effects = Effects()
        for rule in self._rules:
            if effects.rule is not None and rule.action not in NOT_AN_ANSWER:
                continue
            if not rule.hits(request, machine_id):
                continue
            effects.hit.append(rule.id)
            given = rule.parameters
            if rule.action == "slow":
                effects.delay_seconds += given["seconds"]
            elif rule.action == "event":
                worked = given["state"] == "done" if given["worked"] is None else given["worked"]
                effects.outcome = Outcome(given["state"], given["error"], given["finished"], worked, given["seconds"])
            elif rule.action == "event_invisible":
                effects.event_invisible_seconds = given["seconds"]
            elif rule.action == "state_lag":
                effects.state_lag_seconds = given["seconds"]
            else:
                effects.rule = rule
        return effects
