"""The people of the demo: what they did, and who of them belongs to the audience, counted plainly from the definition's words."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
WINDOW_MS = 72 * HOUR_MS
LOOK_BACK_MS = 30 * DAY_MS
SESSIONS = 3

_EVENTS_PER_PERSON = 15
# Nobody of the crowd is so close to the edge of the window that time takes him before the demo's own departures.
_SAFE_MS = 2 * HOUR_MS
_SCREENS = ("home", "search", "item", "basket", "profile", "settings")
_ACTIONS = ("level_completed", "item_viewed", "item_shared", "video_watched", "friend_invited")

Event = tuple[str, int, str]


@dataclass(slots=True)
class Person:
    """Someone, by his number, with all that was sent about him. Times are in milliseconds since 1970."""

    number: int
    # None: he installed before anyone counted.
    install_ms: int | None
    sessions_ms: list[int] = field(default_factory=list)
    # (type of the Events API, time, name).
    others: list[Event] = field(default_factory=list)
    # So many of the sessions are told in a second message.
    told_later: int = 0

    @property
    def customer(self) -> str:
        return f"customer-{self.number:05d}"

    @property
    def email(self) -> str | None:
        """Two of three have one."""
        return f"{self.customer}@example.com" if self.number % 3 else None

    def is_member(self, now_ms: int) -> bool:
        """Installed in the last 72 hours AND fewer than 3 sessions, at this instant: both edges of a window belong to it."""
        if self.install_ms is None or not now_ms - WINDOW_MS <= self.install_ms <= now_ms:
            return False
        return sum(now_ms - LOOK_BACK_MS <= time <= now_ms for time in self.sessions_ms) < SESSIONS

    def first_events(self) -> list[Event]:
        """What is told at first."""
        told = self.sessions_ms[: len(self.sessions_ms) - self.told_later]
        install = [("first_run", self.install_ms, "")] if self.install_ms is not None else []
        return [*install, *(("session_start", time, "") for time in told), *self.others]

    def later_events(self) -> list[Event]:
        """What is told after that."""
        return [("session_start", time, "") for time in self.sessions_ms[len(self.sessions_ms) - self.told_later :]]


def members(people: Iterable[Person], now_ms: int) -> set[str]:
    """The customer ids of those who belong to the audience at this instant."""
    return {person.customer for person in people if person.is_member(now_ms)}


def crowd(count: int, now_ms: int, *, seed: int) -> list[Person]:
    """So many people with 15 events each, all before `now_ms`. Of six, about three are new; the others came earlier or installed unseen."""
    chance = random.Random(seed)
    return list(_crowd(count, now_ms, chance))


def departing(numbers: Iterable[int], first_ms: int, last_ms: int) -> list[Person]:
    """New people with one session, whose 72 hours end one after the other, from `first_ms` to `last_ms`."""
    places = list(numbers)
    step = (last_ms - first_ms) / max(1, len(places) - 1)
    people = []
    for place, number in enumerate(places):
        install_ms = first_ms + round(place * step) - WINDOW_MS
        people.append(Person(number, install_ms, [install_ms + 1_000]))
    return people


def _crowd(count: int, now_ms: int, chance: random.Random) -> Iterator[Person]:
    for number in range(count):
        kind = chance.random()
        if kind < 0.55:
            install_ms: int | None = now_ms - chance.randrange(60_000, WINDOW_MS - _SAFE_MS)
        elif kind < 0.85:
            install_ms = now_ms - chance.randrange(WINDOW_MS + _SAFE_MS, LOOK_BACK_MS - DAY_MS)
        else:
            install_ms = None
        since = install_ms if install_ms is not None else now_ms - LOOK_BACK_MS + DAY_MS
        sessions = sorted(chance.randrange(since, now_ms) for _ in range(chance.choices(range(6), (10, 22, 30, 18, 12, 8))[0]))
        person = Person(number, install_ms, sessions)
        if len(sessions) >= SESSIONS and chance.random() < 0.4:
            person.told_later = len(sessions) - SESSIONS + 1
        rest = _EVENTS_PER_PERSON - len(sessions) - (install_ms is not None)
        person.others = [_other(chance, chance.randrange(since, now_ms)) for _ in range(rest)]
        yield person


def _other(chance: random.Random, time_ms: int) -> Event:
    if chance.random() < 0.5:
        return "screen_view", time_ms, chance.choice(_SCREENS)
    return "custom_event", time_ms, chance.choice(_ACTIONS)
