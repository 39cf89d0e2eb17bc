"""When a partner is asked again, and when not any more."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Waits between tries grow from `first_seconds` to `most_seconds`, with jitter; after `tries`, or where the next wait would pass
    `total_seconds` since the first try, it is over."""

    tries: int = 6
    first_seconds: float = 0.5
    most_seconds: float = 20.0
    total_seconds: float = 60.0


def retry_after(header: str | None, now: datetime) -> float | None:
    """The seconds that a `Retry-After` header asks to wait, in either of its forms; None: it asks nothing that can be read."""
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        instant = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    return max(0.0, (instant - now).total_seconds())
