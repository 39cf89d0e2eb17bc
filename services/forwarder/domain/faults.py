"""Why a partner did not take something: the cause classes, and what its statuses mean. semantics: Faults."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from http import HTTPStatus

MESSAGE_MAX_CHARACTERS = 300


class Cause(Enum):
    """The class of a fault; the numbers are those of `muster.forwarder.v1.FaultCause`."""

    AUTHENTICATION = 1
    PERMISSION = 2
    RATE_LIMIT = 3
    LIST_GONE = 4
    PARTNER_DOWN = 5
    REFUSED = 6


# What a status means unless a partner's own table says otherwise; of those not here, 5xx are PARTNER_DOWN and the others REFUSED.
CAUSES: Mapping[int, Cause] = {
    401: Cause.AUTHENTICATION,
    403: Cause.PERMISSION,
    404: Cause.LIST_GONE,
    407: Cause.AUTHENTICATION,
    408: Cause.PARTNER_DOWN,
    410: Cause.LIST_GONE,
    425: Cause.PARTNER_DOWN,
    429: Cause.RATE_LIMIT,
}
# Asked again, beside all 5xx: the partner itself says that later may be better.
RETRIED = frozenset({408, 425, 429})
# A gateway that lost the partner answers so: the partner behind it may have taken the request.
IN_DOUBT = frozenset({502, 504})


class PartnerError(Exception):
    """A request that the partner did not accept. `retry`: the same request may do better later.

    `in_doubt`: it is not known whether the partner took it, as the line was cut, the answer did not come or could not be read.
    `retry_after`: the seconds that the partner asked to wait.
    """

    def __init__(self, cause: Cause, message: str, *, retry: bool, in_doubt: bool = False, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.cause = cause
        self.message = message
        self.retry = retry
        self.in_doubt = in_doubt
        self.retry_after = retry_after


def of_status(status: int, words: str, *, causes: Mapping[int, Cause], retry_after: float | None = None) -> PartnerError:
    """The error that a status other than 2xx means; its message is the status, its name and the partner's words."""
    cause = causes.get(status, Cause.PARTNER_DOWN if status >= 500 else Cause.REFUSED)
    try:
        name = HTTPStatus(status).phrase
    except ValueError:
        name = ""
    if 300 <= status < 400:
        words = "redirects are not followed"
    message = ": ".join(part for part in (f"{status} {name}".strip(), tidy(words)) if part)
    return PartnerError(cause, message, retry=status >= 500 or status in RETRIED, in_doubt=status in IN_DOUBT, retry_after=retry_after)


def tidy(words: str) -> str:
    """A partner's words made fit to be shown: one line of printable characters, at most 300."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in words).split())
    return line if len(line) <= MESSAGE_MAX_CHARACTERS else line[: MESSAGE_MAX_CHARACTERS - 1] + "…"
