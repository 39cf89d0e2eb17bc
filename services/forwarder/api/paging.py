"""Pages of lists: the token is the last id of the page before."""

from __future__ import annotations

from collections.abc import Sequence

from services.chassis.errors import Invalid

PAGE_SIZE = 100


def page_of(token: str, size: int) -> tuple[int, int]:
    """The id after which the page begins (0: at the start), and how many fit."""
    return number_of(token) or 0, size or PAGE_SIZE


def number_of(token: str) -> int | None:
    """The number in a token; None: there is no token. Raises Invalid for one that we did not give."""
    if not token:
        return None
    try:
        number = int(token)
    except ValueError:
        number = 1 << 63
    if not -(1 << 63) <= number < 1 << 63:
        raise Invalid.of("page_token", "Not a token of this list.", "INVALID_PAGE_TOKEN")
    return number


def token_of(ids: Sequence[int], limit: int) -> str:
    """The token of the next page, of ids of which one more than fit was asked for; empty: this is the last page."""
    return str(ids[limit - 1]) if len(ids) > limit else ""
