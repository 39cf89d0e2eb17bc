"""Creates that may be repeated: the same key answers with the thing that the first call made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from services.chassis.errors import Invalid

from .faults import Reason
from .texts import unprintable


class IdempotencyKeyReused(Invalid):
    """The key was used before, for a request that asked for something else."""


class InvalidIdempotencyKey(Invalid):
    """The key cannot be kept."""

    reason = Reason.CONTROL_CHARACTER.value


@dataclass(frozen=True, slots=True)
class Create:
    """One create as its caller named it: the method, the key (empty: none), and the digest of what was asked for without the key."""

    method: str
    key: str
    request_sha256: bytes

    @classmethod
    def of(cls, method: str, key: str, request: bytes) -> Create:
        """`request` is the request without its key, serialised so that equal ones give equal bytes."""
        if found := unprintable(key):
            description = f"The key holds the control character {found}; remove it."
            raise InvalidIdempotencyKey.of("idempotency_key", description, InvalidIdempotencyKey.reason)
        return cls(method, key, hashlib.sha256(request).digest())

    def check_same(self, request_sha256: bytes) -> None:
        """Raises IdempotencyKeyReused unless the earlier create with this key asked for the same."""
        if request_sha256 != self.request_sha256:
            description = "The key was used before with another request; use a new key for each thing to be made."
            raise IdempotencyKeyReused.of("idempotency_key", description, IdempotencyKeyReused.reason)
