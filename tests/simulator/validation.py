# Copyright (c) 2026, The community.paperspace authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Strict reading of requests: what the contract does not declare is refused."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .messages import ApiError, Request


@dataclass(frozen=True)
class Kind:
    """A type of value: how it is called in an error message, and whether a value is one."""

    called: str
    accepts: Callable[[Any], bool]


def one_of(*values: str) -> Kind:
    return Kind(f"one of {', '.join(values)}", lambda value: isinstance(value, str) and value in values)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


STRING = Kind("a string", lambda value: isinstance(value, str))
BOOLEAN = Kind("a boolean", lambda value: isinstance(value, bool))
NUMBER = Kind("a number", _is_number)
INTEGER = Kind("an integer", lambda value: _is_number(value) and value == int(value))
LIMIT = Kind("an integer from 1 to 120", lambda value: bool(re.fullmatch("0*[1-9][0-9]?|0*1[01][0-9]|0*120", value)))


@dataclass(frozen=True)
class Body:
    """What a request's JSON object may hold."""

    declared: Mapping[str, Kind]
    required: tuple[str, ...] = ()
    open: bool = False
    """Whether undeclared properties are accepted."""
    optional: bool = False
    """Whether there may be no body, and then no Content-Type either."""


def read_body(request: Request, expected: Body) -> dict[str, Any]:
    """The body's properties. Raises ApiError: PARSE_ERROR for what is no JSON object, BAD_REQUEST for a wrong one."""
    content_type = request.headers.get("content-type")
    if expected.optional and not request.body and content_type is None:
        return {}
    if content_type is None or content_type.strip().lower() != "application/json":
        raise ApiError(400, "The Content-Type has to be application/json.", "PARSE_ERROR")
    try:
        content = json.loads(request.body.decode("utf-8"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise ApiError(400, "The body is no JSON.", "PARSE_ERROR") from None
    if not isinstance(content, dict):
        raise ApiError(400, "The body is no JSON object.", "PARSE_ERROR")
    _check_properties(content, expected)
    return content


def _check_properties(content: dict[str, Any], expected: Body) -> None:
    for name, value in content.items():
        if name not in expected.declared:
            if expected.open:
                continue
            raise ApiError(400, f"Unrecognized property in the body: {name}")
        if not expected.declared[name].accepts(value):
            raise ApiError(400, f"Property {name} has to be {expected.declared[name].called}.")
    for name in expected.required:
        if name not in content:
            raise ApiError(400, f"Property {name} is required.")


def refuse_body(request: Request) -> None:
    """For GET and DELETE, which declare none."""
    if request.body:
        raise ApiError(400, f"{request.method} takes no body here.")


def read_query(request: Request, declared: Mapping[str, Kind]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in request.query_pairs:
        if name not in declared:
            raise ApiError(400, f"Unrecognized query parameter: {name}")
        if name in found:
            raise ApiError(400, f"Query parameter {name} is given twice.")
        if not declared[name].accepts(value):
            raise ApiError(400, f"Query parameter {name} has to be {declared[name].called}.")
        found[name] = value
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
