"""Audiences of every kind of criterion, happenings that move people in and out of them, and who is in by the reference."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from muster.definition.v1 import definition_pb2 as pb
from muster.ingest.v1 import event_type_pb2, identity_pb2
from muster.ingest.v1 import facts_pb2 as ingest_facts

from tests.evaluator.engine import definitions as d
from tests.evaluator.engine.past import details_of
from tests.evaluator.world import INPUT, INSTALL, SESSION_START, WORKSPACE, Happening, World, seed_definition
from tests.model import facts, reference

HOUR = 3_600_000
COMMERCE, EMAIL = event_type_pb2.EVENT_TYPE_COMMERCE, identity_pb2.IDENTITY_TYPE_EMAIL
WORKSPACES = {WORKSPACE: [INPUT]}
LOOK_BACK_MS = 30 * 24 * HOUR
_GENERATOR = random.Random(7)
PEOPLE = [_GENERATOR.randrange(-(2**63), 2**63) for _ in range(40)]


def _match(type_: int, *where: pb.Filter, name: str = "") -> pb.EventMatch:
    match = pb.EventMatch(type=type_, where=where)  # type: ignore[arg-type]  # the number of an EventType
    if name:
        match.name = name
    return match


def _aggregate(
    function: str, test: pb.ValueTest, match: pb.EventMatch, *, when: pb.Period | None = None, attribute: str = ""
) -> pb.Criterion:
    of = pb.AggregateFunction.Value(f"AGGREGATE_FUNCTION_{function}")
    return pb.Criterion(aggregate=pb.AggregateCriterion(match=match, function=of, test=test, when=when, attribute=attribute))


def _definitions() -> Iterator[tuple[int, pb.Node | pb.Criterion]]:
    gold = pb.Filter(attribute="level", test=d.text("equals", "gold"))
    due = pb.Filter(attribute="due", test=d.dated(d.last("2d")))
    sessions, installs = _match(SESSION_START), _match(INSTALL)
    paid = pb.SequenceStep(match=_match(COMMERCE, name="purchase"), within=d.duration("1d"))
    alone = pb.NotFollowedBy(match=_match(SESSION_START, gold), within=d.duration("6h"))
    yield 1, seed_definition().root
    yield 2, pb.Criterion(event=pb.EventCriterion(match=_match(SESSION_START, gold), when=d.last("2d")))
    yield 3, pb.Criterion(event=pb.EventCriterion(match=_match(SESSION_START, due)))
    yield 4, _aggregate("SUM", d.number(">=", "6"), sessions, when=d.last("3d"), attribute="score")
    yield 5, _aggregate("LAST", d.text("equals", "gold"), sessions, attribute="level")
    yield 6, _aggregate("DISTINCT_COUNT", d.number(">", "1"), sessions, attribute="level")
    yield 7, pb.Criterion(sequence=pb.SequenceCriterion(steps=[pb.SequenceStep(match=installs), paid]))
    yield 8, pb.Criterion(sequence=pb.SequenceCriterion(steps=[pb.SequenceStep(match=installs)], not_followed_by=alone))
    yield 9, pb.Criterion(user_attribute=pb.UserAttributeCriterion(attribute="plan", test=d.text("not_equals", "gold")))
    yield 10, pb.Criterion(user_attribute=pb.UserAttributeCriterion(attribute="renewal", test=d.dated(d.last("2d"))))
    yield 11, pb.Criterion(identity=pb.IdentityCriterion(type=EMAIL, test=d.text("ends_with", "@example.com")))
    yield 12, pb.Criterion(seen=pb.SeenCriterion(edge=pb.SEEN_EDGE_FIRST, when=d.last("3d")))
    yield 13, pb.Criterion(seen=pb.SeenCriterion(edge=pb.SEEN_EDGE_LAST, when=d.ago("3d", "12h")))
    yield 14, pb.Criterion(location=pb.LocationCriterion(near=pb.Near(latitude=52.5, longitude=13.4, distance_metres=50_000)))
    yield 15, pb.Criterion(lifetime_value=pb.LifetimeValueCriterion(test=d.number(">", "20").number))
    yield 16, pb.Criterion(device=pb.DeviceCriterion(field=pb.DEVICE_FIELD_MODEL, test=d.text("equals", "pixel")))
    yield 20, d.all_of(d.member_of(4), d.exclude(d.member_of(2)))
    yield 21, d.any_of(d.member_of(20), d.member_of(8))


DEFINITIONS: dict[int, pb.Definition] = {
    id_: pb.Definition(root=of if isinstance(of, pb.Node) else pb.Node(criterion=of)) for id_, of in _definitions()
}


class Past:
    """What was told of people, and who belongs to each audience by that."""

    def __init__(self) -> None:
        self.people: facts.People[int] = facts.People(WORKSPACES)
        self.active = {id_: reference.Audience(definition, (WORKSPACE,)) for id_, definition in DEFINITIONS.items()}

    def expected(self, audience_id: int, now_ms: int) -> set[int]:
        """Its members at an instant."""
        audience = self.active[audience_id]
        return reference.members(
            audience.definition,
            self.people.known,
            now_ms,
            workspaces=WORKSPACES,
            workspace_ids=audience.workspace_ids,
            look_back_ms=LOOK_BACK_MS,
            active=self.active,
        )

    def everywhere(self, now_ms: int) -> dict[int, set[int]]:
        """The members of each audience at an instant."""
        return {audience_id: self.expected(audience_id, now_ms) for audience_id in self.active}

    async def tell(self, world: World, told: Sequence[tuple[int, facts.Event | facts.Change]]) -> None:
        """Publish it, and remember it in the order in which that is read: events, then what changes of each person."""
        events = [(mpid, fact) for mpid, fact in told if isinstance(fact, facts.Event)]
        changes = [(mpid, fact) for mpid, fact in told if not isinstance(fact, facts.Event)]
        for mpid, fact in [*events, *changes]:
            self.people.tell(mpid, fact)
        if events:
            await world.events([Happening(mpid, event.time_ms, event.type, event.name, details_of(event)) for mpid, event in events])
        by_person: dict[int, list[ingest_facts.ProfileChange]] = defaultdict(list)
        for mpid, change in changes:
            by_person[mpid].append(_change(mpid, change))
        for of_one in by_person.values():
            await world.profiles(of_one)


def _change(mpid: int, fact: facts.Fact) -> ingest_facts.ProfileChange:
    assert not isinstance(fact, facts.Event | facts.MergedInto | facts.Deleted)
    change = ingest_facts.ProfileChange(mpid=mpid, workspace_id=WORKSPACE, input_id=INPUT, time_ms=fact.time_ms)
    match fact:
        case facts.AttributeChange(value=None):
            change.removed_attributes.append(fact.attribute)
        case facts.AttributeChange():
            change.set_attributes[fact.attribute].string_value = str(fact.value)
        case facts.IdentityTold():
            (change.removed_identities if fact.removed else change.added_identities).add(type=fact.type, value=fact.value)
        case facts.DeviceTold():
            for name, value in fact.fields.items():
                setattr(change.device, name, value)
    return change


def happenings(generator: random.Random, now_ms: int, count: int) -> list[tuple[int, facts.Event | facts.Change]]:
    """Of the last days, a few of the next ones; no two at one instant."""
    some = [_KINDS[generator.randrange(len(_KINDS))] for _ in range(count)]
    times = generator.sample(range(now_ms - 100 * HOUR, now_ms + 4 * HOUR), count)
    return [(generator.choice(PEOPLE), kind(generator, at, now_ms)) for kind, at in zip(some, times, strict=True)]


_Kind = Callable[[random.Random, int, int], "facts.Event | facts.Change"]


def _session(generator: random.Random, at: int, now_ms: int) -> facts.Event:
    due = str(now_ms - generator.randrange(-4 * HOUR, 100 * HOUR))
    held = {"level": generator.choice(["gold", "Gold", "tin"]), "score": generator.choice([1, 2, 5]), "due": due}
    attributes = {name: value for name, value in held.items() if generator.random() < 0.6}
    return facts.Event(INPUT, SESSION_START, "", at, {"attributes": attributes} if attributes else {})


def _elsewhere(generator: random.Random, at: int, now_ms: int) -> facts.Event:
    latitude = generator.choice([52.5, 52.9, 48.1])
    return facts.Event(INPUT, SESSION_START, "", at, {"location": {"latitude": latitude, "longitude": 13.4}})


def _payment(generator: random.Random, at: int, now_ms: int) -> facts.Event:
    name = generator.choice(["purchase", "purchase", "refund"])
    return facts.Event(INPUT, COMMERCE, name, at, {"total_amount": generator.choice([5, 10, 19])})


def _install(generator: random.Random, at: int, now_ms: int) -> facts.Event:
    return facts.Event(INPUT, INSTALL, "", at)


def _plan(generator: random.Random, at: int, now_ms: int) -> facts.Change:
    return facts.AttributeChange(WORKSPACE, "plan", generator.choice(["gold", "tin", None]), at)


def _renewal(generator: random.Random, at: int, now_ms: int) -> facts.Change:
    return facts.AttributeChange(WORKSPACE, "renewal", str(now_ms - generator.randrange(-4 * HOUR, 100 * HOUR)), at)


def _identity(generator: random.Random, at: int, now_ms: int) -> facts.Change:
    value = generator.choice(["a@example.com", "b@example.com", "c@example.org"])
    return facts.IdentityTold(WORKSPACE, EMAIL, value, at, generator.random() < 0.3)


def _device(generator: random.Random, at: int, now_ms: int) -> facts.Change:
    return facts.DeviceTold(WORKSPACE, {"model": generator.choice(["Pixel", "iPhone"])}, at)


_KINDS: list[_Kind] = [_session, _session, _session, _install, _elsewhere, _payment, _plan, _renewal, _identity, _device]
