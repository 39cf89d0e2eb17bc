"""Lists: what is asked for, in which order, and the tokens that lead from page to page."""

from __future__ import annotations

import base64
import binascii
import hashlib
import heapq
import json
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeVar

from services.chassis.errors import Invalid, Unavailable

from .audiences import Audience
from .faults import Reason
from .lifecycle import State
from .schedules import Schedule
from .texts import folded, unprintable

PAGE_SIZE = 50
ANSWER_MAX_BYTES = 8 * 1024 * 1024
_ID_MAX = 2**63 - 1
_DIGEST_CHARACTERS = 12

T = TypeVar("T")


class InvalidPageToken(Invalid):
    """The token is not of this list, or of this list with other filters."""


class UnknownOrder(Invalid):
    """The list cannot be sorted so."""


class UnprintableFilter(Invalid):
    """No name and no tag can be what the filter asks for."""

    reason = Reason.CONTROL_CHARACTER.value


class UnknownState(Invalid):
    """There is no such state."""

    reason = Reason.UNKNOWN_VALUE.value


class FiguresAway(Unavailable):
    """The evaluator, which knows the figures, does not answer."""


class SortKey(Enum):
    """What a list of audiences can be sorted by; the value is its word in `order_by`."""

    NAME = "name"
    CREATE_TIME = "create_time"
    UPDATE_TIME = "update_time"
    # By what the evaluator counts: of rows only.
    SIZE = "size"
    ADDS = "adds"
    DROPS = "drops"
    VOLATILITY = "volatility"


FIGURES = frozenset({SortKey.SIZE, SortKey.ADDS, SortKey.DROPS, SortKey.VOLATILITY})
_OWN = frozenset(SortKey) - FIGURES


@dataclass(frozen=True, slots=True, kw_only=True)
class AudienceRow:
    """An audience as it is listed: without its definition."""

    audience_id: int
    version: int
    name: str
    external_name: str
    tags: tuple[str, ...]
    workspace_ids: tuple[int, ...]
    state: State
    revision: int
    created_by: str
    updated_by: str
    create_time_ms: int
    update_time_ms: int
    archive_time_ms: int
    ab_test_id: int
    schedule: Schedule


@dataclass(frozen=True, slots=True)
class Figures:
    """What the evaluator counts of an audience; adds and drops of the last 24 hours."""

    size: int
    adds: int
    drops: int

    @property
    def volatility(self) -> float | None:
        """None where the size is 0 (semantics: Words)."""
        return (self.adds + self.drops) / self.size if self.size else None

    def rank(self, sort: SortKey) -> int:
        """A whole number that sorts as the figure does; where there is no volatility, as with no figures, -1."""
        match sort:
            case SortKey.SIZE:
                return self.size
            case SortKey.ADDS:
                return self.adds
            case SortKey.DROPS:
                return self.drops
            case _:
                return -1 if self.volatility is None else round(self.volatility * 1_000_000)


def ranked(ids: Iterable[int], figures: Mapping[int, Figures], query: AudienceQuery, after: Position | None, limit: int) -> list[Position]:
    """Where the next of these audiences stand in an order by figures, one more than `limit` where there are more."""
    places = [(figures[one].rank(query.sort) if one in figures else -1, one) for one in ids]
    sign = -1 if query.descending else 1
    if after is not None:
        begin = (sign * int(after.key), sign * after.id)
        places = [place for place in places if (sign * place[0], sign * place[1]) > begin]
    return [Position(*place) for place in heapq.nsmallest(limit + 1, places, key=lambda place: (sign * place[0], sign * place[1]))]


@dataclass(frozen=True, slots=True)
class AudienceQuery:
    """Which audiences, and their order. `states` is never empty; `tags` are all of them; `search` is folded, a part of the name."""

    states: frozenset[State]
    tags: frozenset[str]
    search: str
    sort: SortKey
    descending: bool
    archived: bool = False
    created_by: str = ""
    integrations: frozenset[str] = frozenset()
    # None: whether or not.
    connected: bool | None = None
    faulted: bool | None = None
    tested: bool | None = None

    @property
    def digest(self) -> str:
        """Tells queries apart, so that a token of one is not used with another."""
        choices = [self.archived, self.created_by, sorted(self.integrations), self.connected, self.faulted, self.tested]
        parts = [sorted(self.states), sorted(self.tags), self.search, self.sort.value, self.descending, choices]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:_DIGEST_CHARACTERS]

    def position_of(self, audience: Audience | AudienceRow) -> Position:
        """Where an audience stands in this order, which is none by figures."""
        key: str | int
        match self.sort:
            case SortKey.NAME:
                key = folded(audience.name)
            case SortKey.CREATE_TIME:
                key = audience.create_time_ms
            case _:
                key = audience.update_time_ms
        return Position(key, audience.audience_id)


@dataclass(frozen=True, slots=True)
class Position:
    """The last one of a page: what it was sorted by, and its id."""

    key: str | int
    id: int


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some entries of a list; `more` when the list goes on behind them."""

    items: Sequence[T]
    more: bool

    @classmethod
    def of(cls, found: Sequence[T], limit: int) -> Page[T]:
        """The first `limit` of what was found, of which one more was looked for."""
        return cls(found[:limit], len(found) > limit)

    def fitting(self, sizes: Sequence[int]) -> Page[T]:
        """The page cut where it would grow past what one answer may hold, though never below one entry. `sizes` are those of the entries
        in bytes."""
        total = 0
        for kept, size in enumerate(sizes):
            total += size
            if kept and total > ANSWER_MAX_BYTES:
                return Page(self.items[:kept], True)
        return self


def query_of(
    *,
    states: Sequence[int],
    tags: Sequence[str],
    search: str,
    order_by: str,
    archived: bool = False,
    keys: Set[SortKey] = _OWN,
    **more: Any,
) -> AudienceQuery:
    """What a request asks for: without states all but the deleted ones, without an order the newest first. `more`: the filters of rows."""
    for name, texts in (("search", [search]), ("tags", tags), ("created_by", [more.get("created_by", "")])):
        for text in texts:
            if found := unprintable(text):
                description = f"It holds the control character {found}, which no {'name' if name == 'search' else 'tag'} does; remove it."
                raise UnprintableFilter.of(name, description, UnprintableFilter.reason)
    sort, descending = _order_of(order_by, keys)
    known = frozenset(state for state in State if state in states)
    if len(known) < len(set(states)):
        raise UnknownState.of("states", "A state is not one of DRAFT, ACTIVE, INACTIVE and DELETED; leave it out.", UnknownState.reason)
    return AudienceQuery(known or frozenset(State) - {State.DELETED}, frozenset(tags), folded(search), sort, descending, archived, **more)


def page_size_of(asked: int) -> int:
    """How many entries a page has: 50 where nothing is asked for."""
    return asked or PAGE_SIZE


def token_of(position: Position, digest: str = "") -> str:
    """The token of the page behind a position; clients must not read anything into it."""
    return base64.urlsafe_b64encode(json.dumps([digest, position.key, position.id]).encode()).decode()


def position_of(token: str, digest: str = "", *, key_type: type[str] | type[int] = int) -> Position | None:
    """Where the page of this token begins; None without a token. Raises InvalidPageToken unless it is of this list and these filters."""
    if not token:
        return None
    try:
        said = json.loads(base64.b64decode(token.encode(), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, RecursionError):
        raise _not_ours() from None
    if not (isinstance(said, list) and len(said) == 3 and said[0] == digest):
        raise _not_ours()
    key, number = said[1], said[2]
    if type(key) is not key_type or type(number) is not int or abs(number) > _ID_MAX:
        raise _not_ours()
    if (isinstance(key, str) and unprintable(key)) or (isinstance(key, int) and abs(key) > _ID_MAX):
        raise _not_ours()
    return Position(key, number)


def _order_of(order_by: str, keys: Set[SortKey]) -> tuple[SortKey, bool]:
    words = order_by.split()
    if not words:
        return SortKey.CREATE_TIME, True
    if len(words) <= 2 and words[0] in {key.value for key in keys} and words[1:] in ([], ["asc"], ["desc"]):
        return SortKey(words[0]), words[1:] == ["desc"]
    choices = ", ".join(key.value for key in SortKey if key in keys)
    raise UnknownOrder.of("order_by", f"It cannot be sorted so; write one of {choices}, then `asc` or `desc`.", UnknownOrder.reason)


def _not_ours() -> Invalid:
    description = "The token is not of this list with these filters and this order; begin again without one."
    return InvalidPageToken.of("page_token", description, InvalidPageToken.reason)
