# Copyright (c) 2026, The community.paperspace authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors of this collection: typed, carrying where they come from, ending in a sentence a person can act on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ansible_collections.community.paperspace.plugins.module_utils._wire import Event


class PaperspaceError(Exception):
    """Anything that went wrong, as a whole sentence in C(str(error)).

    C(method), C(path), C(status) and C(code) say which request met it, where one did;
    C(machine_id) whose work it was.
    """

    def __init__(
        self,
        message: str,
        *,
        method: str | None = None,
        path: str | None = None,
        status: int | None = None,
        code: str | None = None,
        machine_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.method = method
        self.path = path
        self.status = status
        self.code = code
        self.machine_id = machine_id


class InputError(PaperspaceError):
    """The user's input cannot be carried out; nothing was touched."""


class NotOpened(PaperspaceError):
    """The connection never opened, so the request never left: safe to send again."""


class Stopped(PaperspaceError):
    """The task was interrupted before the request was sent."""


class AnswerLost(PaperspaceError):
    """The request may or may not have been carried out: timeout, reset, 5xx, or an answer that cannot be read.

    C(retry_after): for how many seconds the service asked not to be asked again, where it did.
    """

    retry_after: float | None = None


class InvalidAnswer(AnswerLost):
    """An answer that is not what the contract promises: no JSON, too large, or without a required field."""


class Refused(PaperspaceError):
    """The service answered that it did not do it."""


class Unauthorized(Refused):
    """401 or 403: the key is not known or may not do this."""


class NotFound(Refused):
    """404 with the service's own error body."""


class Busy(Refused):
    """409: the machine is doing something else."""


class RateLimited(Refused):
    """429, still after all retries. C(retry_after): the seconds to wait, where they are more than a request waits."""

    retry_after: float | None = None


def passes_after(error: PaperspaceError) -> float | None:
    """After how many seconds the same may succeed, where nobody refused the work itself; None where somebody did."""
    if isinstance(error, (AnswerLost, RateLimited)):
        return error.retry_after or 0.0
    return 0.0 if isinstance(error, NotOpened) else None


class SendAgain(Exception):
    """A request is to be sent again after so many seconds: C(error) is what came of it at try number C(attempt).

    No error of the work, and only for whoever asked not to be kept waiting for that (C(Client.without_waiting)).
    """

    def __init__(self, error: PaperspaceError, seconds: float, attempt: int) -> None:
        super().__init__(str(error))
        self.error = error
        self.seconds = seconds
        self.attempt = attempt


class DeadlinePassed(PaperspaceError):
    """C(wait_timeout) ran out while something was still going on: C(event), as it was last seen, if it was that."""

    def __init__(self, message: str, event: Event | None = None) -> None:
        super().__init__(message)
        self.event = event
