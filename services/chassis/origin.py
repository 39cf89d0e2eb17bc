"""Where the request in hand came from, for what is kept of changes."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

_TEXT_MAX = 200


@dataclass(frozen=True, slots=True)
class Origin:
    """`method` is the full name of the gRPC method, `address` that of the peer; `forwarded_for` and `agent` are what it said of itself."""

    method: str
    address: str = ""
    forwarded_for: str = ""
    agent: str = ""
    trace_id: str = ""


_origin: ContextVar[Origin | None] = ContextVar("origin", default=None)


def set_origin(method: str, peer: str, metadata: dict[str, object], trace_id: str) -> None:
    """Say where the request in hand came from."""
    said = {key: str(metadata.get(key, ""))[:_TEXT_MAX] for key in ("x-forwarded-for", "user-agent")}
    _origin.set(Origin(method.lstrip("/"), peer, said["x-forwarded-for"], said["user-agent"], trace_id))


def origin() -> Origin | None:
    """Of the request in hand; None outside of one."""
    return _origin.get()
