"""What is wrong with a request before it reaches a service: every fault at once, each with its field and the mend."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches

import grpc

from services.chassis.errors import FieldViolation, RpcFailure

VIOLATIONS_MAX = 100
# Of one body: the largest definition, all of whose bytes are short texts in lists, has fewer.
VALUES_MAX = 300_000
_SHOWN_MAX = 80
_FEW = 12


@dataclass(slots=True)
class Findings:
    """Where the readers of a request write what they find."""

    violations: list[FieldViolation] = field(default_factory=list)
    looked: int = 0

    @property
    def full(self) -> bool:
        """Whether looking further tells nobody more."""
        return len(self.violations) >= VIOLATIONS_MAX or self.looked > VALUES_MAX

    def look(self) -> None:
        """Count a value that is looked at: of millions the rest would take minutes."""
        self.looked += 1
        if self.looked == VALUES_MAX + 1:
            self.add("", "TOO_LARGE", f"The body holds more than {VALUES_MAX:,} values; send less at once.")

    def add(self, path: str, reason: str, description: str) -> None:
        self.violations.append(FieldViolation(path, description, reason))


class Refusal(Exception):
    """The request is not passed on. `status` and `headers` are those of the answer."""

    def __init__(self, status: int, failure: RpcFailure, headers: dict[str, str] | None = None) -> None:
        super().__init__(failure.message)
        self.status = status
        self.failure = failure
        self.headers = headers or {}


def refuse(findings: Findings) -> None:
    """Raises Refusal with the faults, if there are any."""
    if not findings.violations:
        return
    first, *others = findings.violations
    message = f"{first.field}: {first.description}" if first.field else first.description
    more = f" And {len(others)} more {'faults' if len(others) > 1 else 'fault'}." if others else ""
    raise Refusal(400, RpcFailure(grpc.StatusCode.INVALID_ARGUMENT, message + more, "INVALID_REQUEST", violations=findings.violations))


def refusal(status: int, code: grpc.StatusCode, reason: str, message: str, headers: dict[str, str] | None = None) -> Refusal:
    """One that is no matter of a field."""
    return Refusal(status, RpcFailure(code, message, reason), headers)


def nearest(word: str, known: Iterable[str]) -> str:
    """What may have been meant, as the end of a sentence: ` Did you mean `name`?`, or the choices if they are few."""
    known = list(known)
    found = get_close_matches(word[:_SHOWN_MAX], known, n=1)
    if found:
        return f" Did you mean `{found[0]}`?"
    return f" There are: {', '.join(known)}." if 0 < len(known) <= _FEW else ""


def shown(word: str) -> str:
    """A text of the caller's for a sentence, in quotes and cut to 80 characters."""
    return repr(word if len(word) <= _SHOWN_MAX else f"{word[:_SHOWN_MAX]}...")
