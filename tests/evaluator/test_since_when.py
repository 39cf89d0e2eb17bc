"""Since when something known of a person has been so, through the store: at that instant it is so by the facts as they are known now,
each at its own time, and a millisecond before it is not."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from muster.definition.v1 import audience_pb2
from muster.definition.v1 import definition_pb2 as pb
from muster.definition.v1 import facts_pb2 as definition_facts
from muster.definition.v1.account_pb2 import Input
from muster.ingest.v1 import event_pb2, event_type_pb2, facts_pb2, identity_pb2

from services.chassis.partition import partition_of
from services.evaluator.engine.explain import Verdict
from services.evaluator.event_store import EventStore
from services.evaluator.event_tables import Tenure
from services.evaluator.intake import Arrived
from services.evaluator.population import Population
from tests.evaluator.engine import definitions as d
from tests.evaluator.engine.past import details_of
from tests.model import facts, reference

ACCOUNT, SHOP, CLUB, SHOP_INPUT, CLUB_INPUT, PARTITIONS = 41, 1, 2, 11, 21, 4
HOUR, DAY = 3_600_000, 86_400_000
NOW = 1_709_600_000_000  # 5 March 2024, 00:53:20 UTC
WORKSPACES = {SHOP: [SHOP_INPUT], CLUB: [CLUB_INPUT]}
COMMERCE, EMAIL = event_type_pb2.EVENT_TYPE_COMMERCE, identity_pb2.IDENTITY_TYPE_EMAIL

CRITERIA: list[pb.Criterion] = [
    d.attribute("plan", d.text("equals", "pro")).criterion,
    d.attribute("plan", d.text("not_equals", "pro")).criterion,
    d.attribute("plan", d.dated(d.last("2d"))).criterion,
    pb.Criterion(consent=pb.ConsentCriterion(regulation="GDPR", purpose="News", consented=True)),
    pb.Criterion(consent=pb.ConsentCriterion(regulation="gdpr", purpose="news", consented=False)),
    pb.Criterion(device=pb.DeviceCriterion(field=pb.DEVICE_FIELD_OS, test=d.text("equals", "ios"))),
    pb.Criterion(device=pb.DeviceCriterion(field=pb.DEVICE_FIELD_MODEL, test=d.presence("not_exists"))),
    pb.Criterion(attribution=pb.AttributionCriterion(field=pb.ATTRIBUTION_FIELD_CAMPAIGN, test=d.presence("exists"))),
    pb.Criterion(attribution=pb.AttributionCriterion(field=pb.ATTRIBUTION_FIELD_PUBLISHER, test=d.text("not_equals", "a"))),
    pb.Criterion(identity=pb.IdentityCriterion(type=EMAIL, test=d.text("ends_with", "@b"))),
    pb.Criterion(identity=pb.IdentityCriterion(type=EMAIL, test=d.presence("not_exists"))),
    pb.Criterion(location=pb.LocationCriterion(place=pb.PlaceTest(field=pb.PLACE_FIELD_COUNTRY, value="DE"))),
    pb.Criterion(location=pb.LocationCriterion(near=pb.Near(latitude=52, longitude=13, distance_metres=1000))),
    pb.Criterion(seen=pb.SeenCriterion(edge=pb.SEEN_EDGE_LAST, when=d.last("2d"))),
    pb.Criterion(seen=pb.SeenCriterion(edge=pb.SEEN_EDGE_FIRST, when=d.last("30d"))),
    pb.Criterion(lifetime_value=pb.LifetimeValueCriterion(test=d.number(">=", "10").number)),
]

offsets = st.builds(lambda days, more: -days * DAY - more, st.integers(0, 5) | st.integers(55, 70), st.sampled_from([0, 0, 1, HOUR]))
workspaces = st.sampled_from([SHOP, SHOP, CLUB])
told = st.one_of(
    st.builds(
        lambda ws, name, value, at: facts.AttributeChange(ws, name, value, NOW + at),
        workspaces,
        st.sampled_from(["plan", "plan", "$Country"]),
        st.sampled_from(["pro", "Pro", "free", "DE", None, "2024-03-04"]),
        offsets,
    ),
    st.builds(
        lambda ws, fields, at: facts.DeviceTold(ws, fields, NOW + at),
        workspaces,
        st.dictionaries(st.sampled_from(["platform", "model", "country"]), st.sampled_from(["iOS", "Android", "DE"]), min_size=1),
        offsets,
    ),
    st.builds(
        lambda ws, publisher, campaign, at: facts.AttributionTold(ws, publisher, campaign, NOW + at),
        workspaces,
        st.sampled_from(["", "a", "b"]),
        st.sampled_from(["", "c"]),
        offsets,
    ),
    st.builds(
        lambda ws, regulation, yes, at: facts.ConsentTold(ws, regulation, "news", yes, NOW + at),
        workspaces,
        st.sampled_from(["gdpr", "GDPR"]),
        st.booleans(),
        offsets,
    ),
    st.builds(
        lambda ws, value, gone, at: facts.IdentityTold(ws, EMAIL, value, NOW + at, gone),
        workspaces,
        st.sampled_from(["x@a", "x@b", "y@b"]),
        st.booleans(),
        offsets,
    ),
    st.builds(lambda ws, at: facts.Here(ws, NOW + at), workspaces, offsets),
)
events = st.builds(
    lambda source, kind, at, amount, latitude: facts.Event(
        source,
        kind[0],
        kind[1],
        NOW + at,
        {"total_amount": Decimal(amount)} | ({} if latitude is None else {"location": {"latitude": latitude, "longitude": 13}}),
    ),
    st.sampled_from([SHOP_INPUT, SHOP_INPUT, CLUB_INPUT]),
    st.sampled_from([(COMMERCE, "purchase"), (COMMERCE, "refund"), (d.CUSTOM, "visit"), (d.CUSTOM, "visit")]),
    offsets,
    st.sampled_from(["5", "10.5"]),
    st.sampled_from([None, 52, 53]),
)


class World:
    """One account with an audience for each of CRITERIA; each person is told of in a message of their own."""

    def __init__(self, store: EventStore) -> None:
        self.store = store
        self.population = Population(ACCOUNT, PARTITIONS, NOW, store=store)
        self._numbers = itertools.count(1)
        for workspace, (source,) in WORKSPACES.items():
            self.learn(input=definition_facts.InputCredentials(input=Input(input_id=source, workspace_id=workspace)))
        for number, criterion in enumerate(CRITERIA, 1):
            audience = audience_pb2.Audience(
                audience_id=number,
                state=audience_pb2.AUDIENCE_STATE_ACTIVE,
                workspace_ids=[SHOP],
                definition=d.definition(pb.Node(id="it", criterion=criterion)),
            )
            self.learn(audience=audience)
        self.population.turn(store, [], NOW)

    def learn(self, **state: object) -> None:
        self.population.learn(definition_facts.DefinitionFact(account_id=ACCOUNT, **state))  # type: ignore[arg-type]

    def person(self, changes: Sequence[facts.Change], happened: Sequence[facts.Event]) -> int:
        mpid = next(self._numbers)
        place = partition_of(ACCOUNT, mpid, PARTITIONS)
        profiles = facts_pb2.ProfileChanges(changes=[written(mpid, change) for change in changes])
        batch = facts_pb2.EventBatch(contexts=[facts_pb2.EventContext()])
        for number, event in enumerate(happened):
            batch.sources.add(input_id=event.input_id, workspace_id=SHOP if event.input_id == SHOP_INPUT else CLUB)
            batch.kinds.add(type=event.type, name=event.name)
            batch.mpids.append(mpid)
            batch.times_ms.append(event.time_ms)
            batch.event_ids.append(number)
            batch.source_indexes.append(number)
            batch.kind_indexes.append(number)
            batch.context_indexes.append(0)
            batch.details.append(details_of(event))
        messages = [
            Arrived(place, 2 * mpid, "", ACCOUNT, NOW, profiles=profiles),
            Arrived(place, 2 * mpid + 1, "", ACCOUNT, NOW, events=batch),
        ]
        self.population.turn(self.store, messages, NOW)
        return mpid

    def verdict(self, audience: int, mpid: int) -> Verdict:
        explanation = self.population.explain(audience, mpid)
        assert explanation is not None
        return explanation.nodes["it"]


def written(mpid: int, change: facts.Change) -> facts_pb2.ProfileChange:
    told = facts_pb2.ProfileChange(mpid=mpid, workspace_id=change.workspace_id, time_ms=change.time_ms)
    match change:
        case facts.AttributeChange(_, name, None):
            told.removed_attributes.append(name)
        case facts.AttributeChange(_, name, value):
            told.set_attributes[name].string_value = str(value)
        case facts.DeviceTold():
            told.device.CopyFrom(event_pb2.Device(**change.fields))
        case facts.AttributionTold(_, publisher, campaign):
            told.attribution.CopyFrom(event_pb2.Attribution(publisher=publisher, campaign=campaign))
        case facts.ConsentTold(_, regulation, purpose, consented):
            told.consents.add(regulation=regulation, purpose=purpose, consented=consented)
        case facts.IdentityTold(_, type_, value, _, gone):
            (told.removed_identities if gone else told.added_identities).add(type=type_, value=value)
    return told


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder: Path = tmp_path_factory.mktemp("events")
    store = EventStore(f"chdb://{folder}")
    store.take_over({partition: Tenure(1, 10**9) for partition in range(PARTITIONS)})
    yield World(store)
    store.close()


def holds(criterion: pb.Criterion, changes: Sequence[facts.Change], happened: Sequence[facts.Event], at: int) -> bool:
    """What the reference says of an instant by the facts of that time and earlier; identities have none, so they are told in order."""
    person = facts.Person({SHOP}, events=[event._replace(received=number) for number, event in enumerate(happened)])
    for change in changes:
        if change.time_ms <= at:
            person.changes.append(change)
            if isinstance(change, facts.IdentityTold):
                (person.identities.discard if change.removed else person.identities.add)((change.type, change.value))
    definition = d.definition(pb.Node(criterion=criterion))
    return bool(reference.members(definition, {1: person}, at, workspaces=WORKSPACES, workspace_ids=[SHOP], look_back_ms=30 * DAY))


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(changes=st.lists(told, max_size=8), happened=st.lists(events, max_size=4))
def test_what_is_known_has_been_so_since_it_was_told(world: World, changes: list[facts.Change], happened: list[facts.Event]) -> None:
    mpid = world.person(changes, happened)
    for number, criterion in enumerate(CRITERIA, 1):
        if not changes and not happened:
            continue
        verdict = world.verdict(number, mpid)
        assert verdict.holds == holds(criterion, changes, happened, NOW)
        if verdict.since_ms is None:
            instants = [one.time_ms - before for one in [*changes, *happened] for before in (0, 1)]
            assert all(holds(criterion, changes, happened, at) == verdict.holds for at in instants)
        else:
            assert holds(criterion, changes, happened, verdict.since_ms) == verdict.holds
            assert holds(criterion, changes, happened, verdict.since_ms - 1) != verdict.holds


NEAR, SEEN_LATELY = 13, 14  # of CRITERIA


def test_a_place_and_being_seen_are_known_since_events_that_are_forgotten(world: World) -> None:
    def visit(days: int, latitude: int) -> facts.Event:
        place = {"location": {"latitude": latitude, "longitude": 13}}
        return facts.Event(SHOP_INPUT, d.CUSTOM, "visit", NOW - days * DAY, place)

    mpid = world.person([], [visit(68, 53), visit(66, 52), visit(65, 52)])
    assert world.verdict(NEAR, mpid).since_ms == NOW - 66 * DAY
    assert world.verdict(SEEN_LATELY, mpid).since_ms == NOW - 63 * DAY + 1
    world.store.forget({NOW - 61 * DAY: [ACCOUNT]})
    while world.store.is_deleting():
        time.sleep(0.01)
    assert world.verdict(NEAR, mpid).since_ms == NOW - 65 * DAY, "of the place that is kept"
    assert world.verdict(SEEN_LATELY, mpid).since_ms == NOW - 63 * DAY + 1
    mpid = world.person([facts.Here(SHOP, NOW - 64 * DAY)], [visit(65, 52), visit(1, 53)])
    world.store.forget({NOW - 61 * DAY: [ACCOUNT]})
    while world.store.is_deleting():
        time.sleep(0.01)
    verdict = world.verdict(NEAR, mpid)
    assert (verdict.holds, verdict.since_ms) == (False, NOW - DAY)
    assert world.verdict(SEEN_LATELY, mpid).since_ms == NOW - DAY
