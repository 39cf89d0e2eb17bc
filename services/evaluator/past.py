"""What an explanation needs to know of one person's past beside what the engine has, from the event store."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from services.evaluator.engine.explaining.person import Past
from services.evaluator.engine.facts import EVERYWHERE, Property, PropertyKind, Value
from services.evaluator.engine.tree import AttributeDate, AttributeTest, Criterion, matches_of
from services.evaluator.event_store import EventStore
from services.evaluator.readings import amount_of, point_of

_LAST_SEEN, _LOCATION = Property(PropertyKind.LAST_SEEN), Property(PropertyKind.LOCATION)
_LIFETIME_VALUE = Property(PropertyKind.LIFETIME_VALUE)
_FROM_EVENTS = frozenset({_LAST_SEEN, _LOCATION, _LIFETIME_VALUE})
_TOLD = (PropertyKind.USER_ATTRIBUTE, PropertyKind.DEVICE, PropertyKind.CONSENT, PropertyKind.ATTRIBUTION)
EVENTS_MAX = 20_000  # of the past, which are looked at one by one

Changes = dict[tuple[int, Property], list[tuple[int, Value | None]]]


def past_of(store: EventStore, account_id: int, mpid: int, criteria: Collection[Criterion], now_ms: int, look_back_ms: int) -> Past:
    """For these criteria: a look-back more of events, and how the present values came to be."""
    types = {match.type for criterion in criteria for match in matches_of(criterion)}
    edge = now_ms - look_back_ms
    events, since = store.events_of(account_id, mpid, types, edge - look_back_ms, edge, EVENTS_MAX) if types else ({}, edge - look_back_ms)
    wanted = {(one.workspace, one.attribute) for one in criteria if isinstance(one, AttributeTest | AttributeDate)}
    changes: Changes = {}
    for kind in _TOLD:
        names = {(workspace, attribute.name) for workspace, attribute in wanted if attribute.kind is kind}
        if names:
            stored = "" if kind is PropertyKind.USER_ATTRIBUTE else kind.value
            for (workspace, name), told in store.changes_of(account_id, mpid, names, kind=stored).items():
                changes[workspace, Property(kind, name)] = told
    identities = {attribute.name for _, attribute in wanted if attribute.kind is PropertyKind.IDENTITY}
    if identities:
        for name, told_of_them in store.identities_of(account_id, mpid, identities).items():
            changes[EVERYWHERE, Property(PropertyKind.IDENTITY, name)] = _held(told_of_them)
    known_from = {}
    for workspace, attribute in wanted:
        if attribute in _FROM_EVENTS:
            told = changes[workspace, attribute] = _told_by_events(store, account_id, mpid, workspace, attribute, now_ms)
            if len(told) >= EVENTS_MAX:
                known_from[workspace, attribute] = min(time for time, _ in told)
    return Past(events, changes, store.heard_of(account_id, mpid), since, known_from)


def _held(told: Sequence[tuple[int, str, bool]]) -> list[tuple[int, Value | None]]:
    """The identities that somebody has from each instant on: those of which the last that was told up to then, of what has a time up to
    then, is that they have it."""
    latest: dict[str, int] = {}  # the place of what decides
    held: dict[str, None] = {}
    changes: list[tuple[int, Value | None]] = []
    for place, (time, identity, gone) in sorted(enumerate(told), key=lambda one: one[1][0]):
        if latest.get(identity, -1) > place:
            continue
        latest[identity] = place
        if gone == (identity in held):
            held.pop(identity) if gone else held.update({identity: None})
            changes.append((time, tuple(held) or None))
    return changes


def _told_by_events(
    store: EventStore, account_id: int, mpid: int, workspace: int, attribute: Property, now_ms: int
) -> list[tuple[int, Value | None]]:
    """What follows from a person's events, or from there being something, in the workspace: the latest of it."""
    match attribute.kind:
        case PropertyKind.LAST_SEEN:
            return [(time, None) for time in store.sights_of(account_id, mpid, workspace, now_ms, EVENTS_MAX)]
        case PropertyKind.LIFETIME_VALUE:
            life = store.life_of(account_id, mpid, workspace, EVENTS_MAX, paying=True)
            return [(time, amount_of(name, details)) for name, time, details in life]
        case _:
            life = store.life_of(account_id, mpid, workspace, EVENTS_MAX, paying=False)
            told = [*store.places_of(account_id, mpid, workspace), *((time, details) for _, time, details in life)]
            points = [(time, point_of(details)) for time, details in told]
            return [(time, point) for time, point in points if point is not None]
