"""What a marketer reads about one person, sentence by sentence."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from muster.definition.v1 import audience_pb2
from muster.definition.v1 import definition_pb2 as pb
from muster.evaluator.v1 import evaluator_service_pb2 as evaluator_pb
from muster.ingest.v1 import event_type_pb2, identity_pb2

from services.evaluator.engine import Compiled, Engine, Series, compile_definition
from services.evaluator.engine.explaining import winners
from services.evaluator.engine.facts import EVERYWHERE, Point, Property, PropertyKind, Value, consent, identity
from services.evaluator.explanations import Teller
from tests.evaluator.engine import definitions as d
from tests.evaluator.engine.past import fill
from tests.evaluator.engine.test_explain import named
from tests.evaluator.engine.test_sequences import sequence

HOUR, DAY = 3_600_000, 86_400_000
NOW = int(datetime(2026, 9, 9, 13, tzinfo=UTC).timestamp()) * 1000
INSTALL, SESSION, COMMERCE = event_type_pb2.EVENT_TYPE_INSTALL, event_type_pb2.EVENT_TYPE_SESSION_START, event_type_pb2.EVENT_TYPE_COMMERCE
ANNA = 3


class World:
    """Audience 1 is asked about; Anna is the one who is asked about."""

    def __init__(self, *events: tuple[int, str, int], look_back_days: int = 30, inner: pb.Node | None = None, **values: Value) -> None:
        self._look_back_days = look_back_days
        self.engine = Engine(look_back_ms=look_back_days * DAY, now_ms=NOW)
        self.engine.add_activity(1, np.array([ANNA]))
        for type_, name, at in events:
            self.engine.load_events(Series(11, type_, name), np.array([ANNA]), np.array([NOW + at]))
        for name, value in values.items():
            self.engine.load_attributes(1, name, np.array([ANNA]), [value], np.array([NOW - DAY]))
        self._audiences = {}
        if inner is not None:
            self._audiences[2] = audience_pb2.Audience(audience_id=2, name="Buyers", definition=d.definition(named(inner, "i")))
            self.engine.activate(2, self._compiled(self._audiences[2].definition))

    def spent(self, at: int, details: str) -> None:
        """A purchase of Anna's, told after what needs to know of it was explained once."""
        self.engine.load_events(Series(11, COMMERCE, "purchase"), np.array([ANNA]), np.array([NOW + at]), [details])

    def _compiled(self, definition: pb.Definition) -> Compiled:
        return compile_definition(definition, workspaces={1: [11]}, workspace_ids=[1], look_back_ms=self._look_back_days * DAY)

    def told(self, root: pb.Node) -> evaluator_pb.ExplainMembershipResponse:
        audience = audience_pb2.Audience(audience_id=1, name="Asked", definition=d.definition(named(root)))
        fill(self.engine, [], self._compiled(audience.definition))
        explanation = self.engine.explain(self._compiled(audience.definition), ANNA)
        return Teller(self._audiences, self._look_back_days, NOW).response(audience, explanation, evaluator_pb.Moment())

    def summary(self, root: pb.Node) -> str:
        return self.told(root).summary

    def missing(self, root: pb.Node) -> list[str]:
        return [near.missing for near in self.told(root).near_misses]


def sessions(*at: int) -> list[tuple[int, str, int]]:
    return [(SESSION, "", instant) for instant in at]


few_sessions = d.event(frequency="< 3", type=SESSION)


def test_too_many_sessions() -> None:
    world = World(*sessions(-27 * DAY, -2 * DAY, -HOUR))
    assert world.summary(few_sessions) == (
        "Not in the audience since 2026-09-09 12:00 UTC: 3 sessions in the last 30 days, and it must be fewer than 3. "
        "Enters on 2026-09-12 13:00 UTC by time alone, when the session of 2026-08-13 13:00 UTC leaves the window."
    )
    assert world.missing(few_sessions) == ["1 session too many; the oldest leaves the window on 2026-09-12 13:00 UTC"]
    assert World(*sessions(-5 * DAY, -4 * DAY, -2 * DAY, -HOUR)).missing(few_sessions) == [
        "2 sessions too many; the oldest 2 have left the window on 2026-10-05 13:00 UTC"
    ]


def test_the_seed_audience_from_inside() -> None:
    root = d.all_of(d.event(type=INSTALL, when=d.last("72h")), few_sessions)
    assert World((INSTALL, "", -4 * HOUR), *sessions(-HOUR)).summary(root) == (
        "In the audience since 2026-09-09 09:00 UTC. "
        "Leaves on 2026-09-12 09:00 UTC by time alone, when the install of 2026-09-09 09:00 UTC leaves the window."
    )
    assert World(*sessions(-HOUR)).summary(few_sessions) == "In the audience."


def test_every_criterion_that_fails_is_told() -> None:
    root = d.all_of(d.event(type=INSTALL, when=d.last("72h")), few_sessions)
    assert (
        World(*sessions(-3, -2, -1))
        .told(root)
        .summary.startswith(
            "Not in the audience: no installs in the last 72 hours, and it must be 1 or more; "
            "3 sessions in the last 30 days, and it must be fewer than 3."
        )
    )


def test_of_several_ways_the_shortest_is_told() -> None:
    root = d.any_of(d.all_of(d.event("a"), d.event("b")), d.attribute("plan", d.text("equals", "pro")))
    assert World(plan="free").summary(root) == "Not in the audience: the attribute plan is 'free', and it must be 'pro'."


def test_more_purchases_are_missing() -> None:
    root = d.event("purchase", ">= 3", d.last("7d"), type=COMMERCE)
    world = World((COMMERCE, "purchase", -DAY), (COMMERCE, "purchase", -2 * DAY))
    assert world.missing(root) == ["1 more purchase by 2026-09-14 13:00 UTC"]
    assert world.summary(root) == "Not in the audience: 2 purchases in the last 7 days, and it must be 3 or more."
    assert World().missing(root) == ["3 more purchases"]
    assert World().missing(d.event("buy", when=pb.Period(before=d.day(date(2026, 9, 1))))) == ["1 more 'buy' event, but the period is over"]


def test_what_is_excluded_is_told_as_such() -> None:
    assert World((d.CUSTOM, "buy", -HOUR)).summary(d.exclude(d.event("buy", when=d.last("2d")))) == (
        "Not in the audience since 2026-09-09 12:00 UTC: 1 'buy' event in the last 2 days, and it must not be 1 or more. "
        "Enters on 2026-09-11 12:00 UTC by time alone, when the 'buy' event of 2026-09-09 12:00 UTC leaves the window."
    )


@pytest.mark.parametrize(
    ("value", "test", "words"),
    [
        ("free", d.text("equals", "pro"), "is 'free', and it must be 'pro'"),
        (None, d.text("equals", "pro"), "is not known, and it must be 'pro'"),
        ("gold member", d.text("not_contains", "gold"), "is 'gold member', and it must not contain 'gold'"),
        ("x", d.text("in", "a", "b"), "is 'x', and it must be one of 'a', 'b'"),
        (5, d.number("between", "6", "9"), "is 5, and it must be 6 to 9"),
        (5, d.number("<=", "4"), "is 5, and it must be 4 or less"),
        (False, d.boolean(True), "is false, and it must be true"),
        (("tea", "milk"), d.listed("includes", "soy"), "is [tea, milk], and it must include 'soy'"),
        (None, d.presence("exists"), "is not known, and it must exist"),
        ("x", d.presence("not_exists"), "is 'x', and it must not exist"),
    ],
)
def test_a_value_and_what_it_must_be(value: Value | None, test: pb.ValueTest, words: str) -> None:
    world = World(plan=value) if value is not None else World()
    assert world.summary(d.attribute("plan", test)) == f"Not in the audience: the attribute plan {words}."


def aggregate(function: str, test: pb.ValueTest, *where: pb.Filter, subject: str = "") -> pb.Node:
    """Of purchases in the last 7 days."""
    criterion = pb.AggregateCriterion(
        match=pb.EventMatch(type=COMMERCE, name="purchase", where=where),
        function=pb.AggregateFunction.Value(f"AGGREGATE_FUNCTION_{function}"),
        test=test,
        when=d.last("7d"),
    )
    if subject:
        criterion.attribute = subject
    return pb.Node(criterion=pb.Criterion(aggregate=criterion))


def test_what_a_function_makes_of_events() -> None:
    spent = aggregate("SUM", d.number(">=", "100"), subject="price")
    world = World()
    assert world.summary(spent) == "Not in the audience: the sum of price of purchases in the last 7 days is 0, and it must be 100 or more."
    world.spent(-DAY, '{"attributes":{"price":19.90}}')
    assert (
        world.summary(spent) == "Not in the audience: the sum of price of purchases in the last 7 days is 19.9, and it must be 100 or more."
    )
    world.spent(-HOUR, '{"attributes":{"price":"80.10"}}')
    assert world.summary(spent) == (
        "In the audience since 2026-09-09 12:00 UTC. "
        "Leaves on 2026-09-15 13:00 UTC by time alone, when the purchase of 2026-09-08 13:00 UTC leaves the window."
    )
    told = world.told(d.all_of(spent, d.event("a")))
    assert (told.nodes[1].subject, told.nodes[1].value) == ("the sum of price of purchases", "100")
    assert (told.nodes[1].since_ms, told.nodes[1].next_change_ms) == (NOW - HOUR, NOW - DAY + 7 * DAY + 1)


def test_a_count_is_told_as_one_however_it_is_written() -> None:
    number = aggregate("COUNT", d.number(">=", "3"))
    world = World((COMMERCE, "purchase", -DAY))
    assert world.summary(number) == "Not in the audience: 1 purchase in the last 7 days, and it must be 3 or more."
    assert world.missing(number) == ["2 more purchases by 2026-09-15 13:00 UTC"]
    assert world.told(number).nodes[0].subject == "the number of purchases"
    soon = pb.Filter(attribute="due", test=d.dated(d.last("3d")))
    assert World().summary(d.event("purchase", type=COMMERCE, where=[soon])) == (
        "Not in the audience: no purchases where due must be in the last 3 days in the last 30 days, and it must be 1 or more."
    )


@pytest.mark.parametrize(
    ("function", "test", "words"),
    [
        ("SUM", d.number(">=", "100.00"), "19.90 more of the sum of price of purchases"),
        ("SUM", d.number(">", "100"), "more than 19.9 more of the sum of price of purchases"),
        ("SUM", d.number("<", "80"), "more than 0.1 too much of the sum of price of purchases"),
        ("SUM", d.number("<=", "80"), "0.1 too much of the sum of price of purchases"),
        ("SUM", d.number("=", "80"), "0.1 too much of the sum of price of purchases"),
        ("SUM", d.number("between", "90", "95"), "9.9 more of the sum of price of purchases"),
        ("DISTINCT_COUNT", d.number(">", "4"), "3 more of the distinct count of price of purchases"),
        ("DISTINCT_COUNT", d.number(">=", "2.5"), "1 more of the distinct count of price of purchases"),
        ("DISTINCT_COUNT", d.number("<", "2"), "1 too much of the distinct count of price of purchases"),
        ("DISTINCT_COUNT", d.number("!=", "2"), "1 more, or 1 too much of the distinct count of price of purchases"),
        ("COUNT", d.number(">=", "5"), "3 more of the count of price of purchases"),
    ],
)
def test_how_much_is_missing_of_what_adds_up(function: str, test: pb.ValueTest, words: str) -> None:
    world, root = World(), aggregate(function, test, subject="price")
    world.told(root)
    world.spent(-DAY, '{"attributes":{"price":19.90}}')
    world.spent(-HOUR, '{"attributes":{"price":"60.20"}}')
    assert world.missing(root) == [words]


def test_how_much_is_too_much_of_what_must_not_be() -> None:
    world, root = World(), d.exclude(aggregate("SUM", d.number("between", "15", "20"), subject="price"))
    world.told(root)
    world.spent(-DAY, '{"attributes":{"price":19.90}}')
    assert world.missing(root) == ["more than 0.1 more, or more than 4.9 too much of the sum of price of purchases"]
    least = aggregate("MIN", d.number("<", "15"), subject="price")
    world.told(least)
    world.spent(-DAY, '{"attributes":{"price":19.90}}')
    assert world.missing(least) == ["the min of price of purchases in the last 7 days is 19.9, and it must be less than 15"]


def test_of_very_many_events_it_is_told_until_when_they_were_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(winners, "SWEPT_MAX", 1)
    world, root = World(), aggregate("MOST_FREQUENT", d.text("equals", "1"), subject="price")
    world.told(root)
    for at in (-DAY, -2 * DAY, -HOUR):
        world.spent(at, '{"attributes":{"price":"1"}}')
    told = world.told(root)
    assert told.known_until_ms == NOW + 6 * DAY
    assert told.summary.endswith(" Of so many events, what time alone changes was looked at until 2026-09-15 13:00 UTC.")


SEEN_LAST, TOTAL = Property(PropertyKind.LAST_SEEN), Property(PropertyKind.LIFETIME_VALUE)
GDPR = pb.ConsentCriterion(regulation="gdpr", purpose="marketing", consented=True)
IOS = pb.DeviceCriterion(field=pb.DEVICE_FIELD_OS, test=d.text("equals", "ios"))
RICH = pb.LifetimeValueCriterion(test=d.number(">=", "100").number)
EMAIL = pb.IdentityCriterion(type=identity_pb2.IDENTITY_TYPE_EMAIL, test=d.text("ends_with", "@b.example"))
HERE = pb.LocationCriterion(near=pb.Near(latitude=52.5, longitude=13.4, distance_metres=500))


@pytest.mark.parametrize(
    ("criterion", "property_", "value", "words"),
    [
        ({"consent": GDPR}, consent("GDPR", "Marketing"), False, "the consent to marketing under gdpr is not given, and it must be given"),
        ({"consent": GDPR}, None, None, "the consent to marketing under gdpr is not known, and it must be given"),
        ({"device": IOS}, Property(PropertyKind.DEVICE, "platform"), "Android", "the device's os is 'Android', and it must be 'ios'"),
        ({"lifetime_value": RICH}, TOTAL, Decimal("19.90"), "the lifetime value is 19.90, and it must be 100 or more"),
        ({"lifetime_value": RICH}, None, None, "the lifetime value is 0, and it must be 100 or more"),
        (
            {"identity": EMAIL},
            identity(identity_pb2.IDENTITY_TYPE_EMAIL),
            ("a@c.example",),
            "the email identity is [a@c.example], and it must end with '@b.example'",
        ),
        (
            {"location": HERE},
            Property(PropertyKind.LOCATION),
            Point(48.1, 11.6),
            "the place where they last were is at 505,644 m, and it must be within 500 m of 52.5, 13.4",
        ),
        (
            {"location": pb.LocationCriterion(place=pb.PlaceTest(field=pb.PLACE_FIELD_COUNTRY, value="DE"))},
            Property(PropertyKind.DEVICE, "country"),
            "FR",
            "the country is 'FR', and it must be 'DE'",
        ),
        (
            {"seen": pb.SeenCriterion(edge=pb.SEEN_EDGE_LAST, when=d.last("6h"))},
            SEEN_LAST,
            None,
            "the time of being seen last is 2026-09-08 13:00 UTC, and it must be in the last 6 hours",
        ),
    ],
)
def test_what_is_known_of_a_person_and_what_it_must_be(
    criterion: dict[str, Any], property_: Property | None, value: Value | None, words: str
) -> None:
    world = World()
    if property_ is not None:
        workspace = EVERYWHERE if property_.kind is PropertyKind.IDENTITY else 1
        world.engine.load_attributes(workspace, property_, np.array([ANNA]), [value], np.array([NOW - DAY]))
    summary = world.summary(pb.Node(criterion=pb.Criterion(**criterion)))
    assert summary.removeprefix("Not in the audience").partition(": ")[2] == f"{words}."


def test_how_much_is_missing_of_a_lifetime_value_and_how_far_a_place_is() -> None:
    world = World()
    world.engine.load_attributes(1, TOTAL, np.array([ANNA]), [Decimal("80.10")], np.array([NOW - DAY]))
    world.engine.load_attributes(1, Property(PropertyKind.LOCATION), np.array([ANNA]), [Point(52.51, 13.4)], np.array([NOW - DAY]))
    rich, here = pb.Node(criterion=pb.Criterion(lifetime_value=RICH)), pb.Node(criterion=pb.Criterion(location=HERE))
    assert world.missing(rich) == ["19.90 more of the lifetime value"]
    assert world.missing(here) == ["the place where they last were is at 1,112 m, and it must be within 500 m of 52.5, 13.4"]
    assert world.told(here).nodes[0].value == "52.51, 13.4, at 1,112 m"


def test_being_seen_leaves_the_window() -> None:
    world = World()
    world.engine.load_attributes(1, SEEN_LAST, np.array([ANNA]), [None], np.array([NOW - DAY]))
    assert world.summary(pb.Node(criterion=pb.Criterion(seen=pb.SeenCriterion(edge=pb.SEEN_EDGE_LAST, when=d.last("2d"))))) == (
        "In the audience since 2026-09-08 13:00 UTC. "
        "Leaves on 2026-09-10 13:00 UTC by time alone, when the time of being seen last, 2026-09-08 13:00 UTC, leaves the window."
    )


def test_a_date_comes_into_the_window() -> None:
    root = d.attribute("renewal", d.dated(d.ago("3d", "1d")))
    assert World(renewal="2026-09-10").summary(root) == (
        "Not in the audience: the attribute renewal is '2026-09-10', and it must be between 3 days and 1 day ago. "
        "Enters on 2026-09-11 00:00 UTC by time alone, when the attribute renewal, 2026-09-10 00:00 UTC, comes into the window."
    )


abandoned = sequence("cart", unless="buy 6h")


def test_a_sequence_step_by_step() -> None:
    three = sequence("view", "cart 2h", "buy", when=d.last("7d"))
    assert World().summary(three) == "Not in the audience: no 'view' events in the last 7 days, the first of 3 steps."
    assert World((d.CUSTOM, "view", -HOUR)).summary(three) == (
        "Not in the audience: no 'cart' events within 2 hours after the 'view' event of 2026-09-09 12:00 UTC, which is step 2 of 3."
    )
    done = World((d.CUSTOM, "view", -3 * HOUR), (d.CUSTOM, "cart", -2 * HOUR), (d.CUSTOM, "buy", -HOUR))
    assert done.summary(d.exclude(three)).startswith(
        "Not in the audience since 2026-09-09 12:00 UTC: the sequence is complete with the 'buy' event of 2026-09-09 12:00 UTC, "
        "and it must not be. Enters on 2026-09-16 10:00 UTC by time alone, when the 'view' event of 2026-09-09 10:00 UTC leaves the window."
    )


def test_a_sequence_that_waits_for_its_time() -> None:
    assert World((d.CUSTOM, "cart", -2 * HOUR)).summary(abandoned) == (
        "Not in the audience: it is open until 2026-09-09 17:00 UTC whether 'buy' events follow the 'cart' event of 2026-09-09 11:00 UTC. "
        "Enters on 2026-09-09 17:00 UTC by time alone, "
        "when 6 hours have passed since the 'cart' event of 2026-09-09 11:00 UTC without 'buy' events."
    )


def test_a_sequence_that_was_followed() -> None:
    assert World((d.CUSTOM, "cart", -2 * HOUR), (d.CUSTOM, "buy", -HOUR)).summary(abandoned) == (
        "Not in the audience: the 'buy' event of 2026-09-09 12:00 UTC followed the 'cart' event of 2026-09-09 11:00 UTC, and none must."
    )


def test_the_reasons_of_an_inner_audience_are_told_too() -> None:
    world = World(inner=d.event("purchase", type=COMMERCE))
    assert world.summary(d.member_of(2)) == (
        "Not in the audience: they are not in audience 2 (Buyers), and must be "
        "(no purchases in the last 30 days, and it must be 1 or more)."
    )
    inner = world.told(d.member_of(2)).nodes[0].inner
    assert (inner.active, inner.member) == (True, False)
    assert inner.summary == "Not in the audience: no purchases in the last 30 days, and it must be 1 or more."
    assert [near.missing for near in inner.near_misses] == ["1 more purchase"]
    assert World().summary(d.member_of(9)) == "Not in the audience: audience 9 is not active, so nobody is in it."
    member = World((COMMERCE, "purchase", -HOUR), inner=d.event("purchase", type=COMMERCE))
    assert member.summary(d.exclude(d.member_of(2))) == (
        "Not in the audience since 2026-09-09 12:00 UTC: they are in audience 2 (Buyers), and must not be. "
        "Enters on 2026-10-09 12:00 UTC by time alone, when membership of audience 2 changes."
    )


def test_what_nobody_can_be() -> None:
    assert World().summary(d.exclude(d.everyone())) == "Not in the audience: no criterion can be otherwise."


def test_each_node_has_its_figures() -> None:
    root = d.all_of(d.event(type=INSTALL, when=d.last("72h")), d.attribute("plan", d.text("equals", "pro")), abandoned)
    told = World((INSTALL, "", -4 * HOUR), (d.CUSTOM, "cart", -2 * HOUR), plan="pro").told(root)
    assert [node.depth for node in told.nodes] == [0] + [1] * (len(told.nodes) - 1)
    assert [(node.subject, node.holds, node.value, node.bound) for node in told.nodes] == [
        ("", False, "", "every part holds"),
        ("installs", True, "1", "1 or more in the last 72 hours"),
        ("the attribute plan", True, "pro", "must be 'pro'"),
        ("'cart' events, not followed by 'buy' events within 6 hours", False, "1 of 1 steps", "in the last 30 days"),
    ]
    assert [(node.since_ms, node.next_change_ms) for node in told.nodes[1:]] == [
        (NOW - 4 * HOUR, NOW + 68 * HOUR + 1),
        (0, 0),
        (0, NOW + 4 * HOUR),
    ]
    assert [(near.node_id, near.turns_ms) for near in told.near_misses] == [("n3", NOW + 4 * HOUR)]
