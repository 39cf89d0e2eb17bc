"""One person explained: what is said of now, of the past and of the time to come is what the reference says at those instants."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import combinations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from muster.definition.v1 import definition_pb2 as pb
from muster.ingest.v1 import event_type_pb2

from services.evaluator.engine import Compiled, Engine, Series, compile_definition
from services.evaluator.engine.explain import Explanation, Verdict
from services.evaluator.engine.explaining.findings import Active, Cause, Counted, Followed, Held, Inner
from services.evaluator.engine.explaining.person import Past
from services.evaluator.engine.facts import EventRows, Point, Property, PropertyKind
from tests.evaluator.engine import definitions as d
from tests.evaluator.engine.past import fill, rows_of
from tests.evaluator.engine.test_sequences import sequence, sequences
from tests.model import reference
from tests.model.facts import AttributeChange, Event, Person, Value

HOUR, DAY = 3_600_000, 86_400_000
NOW = 1_709_600_000_000  # 5 March 2024, 00:53:20 UTC
TODAY = datetime.fromtimestamp(NOW // 1000, UTC).date()
WORKSPACES = {1: [11]}
LOOK_BACK = 2 * DAY
ANNA = 3
BUY = Series(11, d.CUSTOM, "buy")
SEEN = Property(PropertyKind.FIRST_SEEN), Property(PropertyKind.LAST_SEEN)


class Story:
    """What was ever told about Anna, for the engine and for the reference. Times are from NOW."""

    def __init__(self, events: list[tuple[str, int]], changes: list[tuple[str, Value | None, int]] = ()) -> None:  # type: ignore[assignment]
        """An event is blue where its time is even, else red, and of a size that its time tells, too."""
        self.events = [
            Event(11, d.CUSTOM, name, NOW + at, {"attributes": {"colour": colour(at), "size": at // HOUR % 3}}, received=number)
            for number, (name, at) in enumerate(events)
        ]
        self.changes = [AttributeChange(1, name, value, NOW + at) for name, value, at in changes]
        self.active: dict[int, reference.Audience] = {}
        self.engine = Engine(look_back_ms=LOOK_BACK, now_ms=NOW)
        self.engine.add_activity(1, np.array([ANNA]))
        for event in self.events:
            self.engine.load_events(Series(11, event.type, event.name), *rows_of([(ANNA, event)]))
        for change in self.changes:
            self.engine.load_attributes(1, change.attribute, np.array([ANNA]), [change.value], np.array([change.time_ms]))
        for at in self.seen_ms():
            for seen in SEEN:
                self.engine.load_attributes(1, seen, np.array([ANNA]), (), np.array([at]))

    def seen_ms(self) -> list[int]:
        """When Anna showed a sign of life."""
        return [event.time_ms for event in self.events] + [change.time_ms for change in self.changes]

    def activate(self, audience: int, root: pb.Node) -> None:
        self.active[audience] = reference.Audience(d.definition(root), (1,))
        fill(self.engine, [(ANNA, event) for event in self.events], compiled(root))
        self.engine.activate(audience, compiled(root))

    def explain(self, root: pb.Node) -> Explanation:
        """With all of the past."""
        told = [(ANNA, event) for event in self.events]
        fill(self.engine, told, compiled(root))
        series = {Series(event.input_id, event.type, event.name) for event in self.events}
        events = {one: rows_of([row for row in told if (row[1].type, row[1].name) == (one.type, one.name)]) for one in series}
        changes: dict[tuple[int, Property], list[tuple[int, Value | None]]] = {}
        for change in self.changes:
            attribute = Property(PropertyKind.USER_ATTRIBUTE, change.attribute)
            changes.setdefault((1, attribute), []).append((change.time_ms, change.value))
        for seen in SEEN:
            changes[1, seen] = [(at, None) for at in self.seen_ms()]
        return self.engine.explain(compiled(root), ANNA, Past(events, changes, {}))

    def holds(self, root: pb.Node, at: int) -> bool:
        """What the reference says of that instant, by what was known by then of what has a time of its own."""
        person = Person({1}, set(), self.events, [change for change in self.changes if change.time_ms <= at])
        found = reference.members(
            d.definition(root), {ANNA: person}, at, workspaces=WORKSPACES, workspace_ids=[1], look_back_ms=LOOK_BACK, active=self.active
        )
        return ANNA in found


def colour(at: int) -> str:
    return "red" if at % 2 else "blue"


def compiled(root: pb.Node) -> Compiled:
    return compile_definition(d.definition(root), workspaces=WORKSPACES, workspace_ids=[1], look_back_ms=LOOK_BACK)


def named(node: pb.Node, prefix: str = "n") -> pb.Node:
    """With an id for each node."""
    for number, one in enumerate(all_nodes(node)):
        one.id = f"{prefix}{number}"
    return node


def all_nodes(node: pb.Node) -> Iterator[pb.Node]:
    yield node
    for inner in [*node.all.nodes, *node.any.nodes, *([node.exclude.node] if node.HasField("exclude") else [])]:
        yield from all_nodes(inner)


def _filtered(node: pb.Node) -> pb.Node:
    """A sequence whose first step, and what must not follow, are blue."""
    criterion = pb.Node.FromString(node.SerializeToString()).criterion.sequence
    criterion.steps[0].match.where.append(blue)
    if criterion.HasField("not_followed_by"):
        criterion.not_followed_by.match.where.append(blue)
    return pb.Node(criterion=pb.Criterion(sequence=criterion))


# --- against the reference

edges = st.sampled_from([0, HOUR, HOUR, 2 * HOUR, DAY, DAY, 2 * DAY, 3 * DAY, 4 * DAY, 30 * DAY])
past = st.builds(lambda edge, near: min(0, -edge + near), edges, st.integers(-1, 1))
offsets = past | past | st.builds(lambda edge, near: edge + near, edges, st.integers(-1, 1))
days = st.integers(-3, 3).map(lambda n: TODAY + timedelta(days=n))
values = st.sampled_from(["blue", "blue", "5", "straße", "", None, 5, True]) | days.map(lambda day: day.isoformat())
told_events = st.lists(st.tuples(st.sampled_from(["buy", "buy", "view", "cart"]), offsets), max_size=10)
told_changes = st.lists(st.tuples(d.attributes, values, past), max_size=5)
blue = pb.Filter(attribute="colour", test=d.text("equals", "blue"))
filtered = st.builds(
    lambda frequency, when: d.event("buy", frequency, when, where=[blue]), d.frequencies(), st.none() | d.periods(days)
) | sequences.map(_filtered)
tests = st.sampled_from([d.number(">=", "3"), d.number("=", "1"), d.text("equals", "0"), d.presence("exists"), d.listed("includes", "2")])
aggregates = st.builds(
    lambda function, test, when, where: pb.Node(
        criterion=pb.Criterion(
            aggregate=pb.AggregateCriterion(
                match=pb.EventMatch(type=d.CUSTOM, name="buy", where=where),  # type: ignore[arg-type]
                function=function,
                attribute="size",
                test=test,
                when=when,
            )
        )
    ),
    st.sampled_from(pb.AggregateFunction.values()[1:]),
    tests,
    st.none() | d.periods(days),
    st.sampled_from([[], [], [blue]]),
)
inner_trees = aggregates | filtered | d.nodes(days, workspaces=[1]) | sequences | st.builds(d.all_of, sequences, sequences)
trees = d.nodes(days, workspaces=[1], audiences=[101]) | inner_trees
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


@settings(max_examples=300, deadline=None, suppress_health_check=SLOW)
@given(events=told_events, changes=told_changes, tree=trees, inner=inner_trees, samples=st.lists(offsets, max_size=6))
def test_each_node_is_and_was_and_will_be_what_the_reference_says(
    events: list[tuple[str, int]], changes: list[tuple[str, Value | None, int]], tree: pb.Node, inner: pb.Node, samples: list[int]
) -> None:
    story = Story(events, changes)
    story.activate(101, inner)
    explained = story.explain(named(tree))
    whole = Verdict(explained.member, explained.since_ms, explained.next_change_ms, None)
    verdicts = [(tree, whole), *((node, explained.nodes[node.id]) for node in all_nodes(tree))]
    for node, verdict in verdicts:
        assert story.holds(node, NOW) == verdict.holds
        first, last = NOW - LOOK_BACK + 1, NOW + 3 * LOOK_BACK
        if verdict.since_ms is not None:
            assert story.holds(node, verdict.since_ms) == verdict.holds
            assert story.holds(node, verdict.since_ms - 1) != verdict.holds
            first = verdict.since_ms
        if verdict.next_change_ms is not None:
            assert story.holds(node, verdict.next_change_ms) != verdict.holds
            last = verdict.next_change_ms - 1
        for instant in [first, last, *(NOW + at for at in samples)]:
            if first <= instant <= last:
                assert story.holds(node, instant) == verdict.holds


def flipped(node: pb.Node, turned: set[str], nodes: dict[str, Verdict]) -> bool:
    """The tree, were some of its criteria the opposite of what they are."""
    match node.WhichOneof("kind"):
        case "everyone":
            return True
        case "all":
            return all(flipped(part, turned, nodes) for part in node.all.nodes)
        case "any":
            return any(flipped(part, turned, nodes) for part in node.any.nodes)
        case "exclude":
            return not flipped(node.exclude.node, turned, nodes)
    return nodes[node.id].holds != (node.id in turned)


@settings(max_examples=200, deadline=None, suppress_health_check=SLOW)
@given(events=told_events, changes=told_changes, tree=inner_trees)
def test_near_misses_are_a_smallest_set_of_criteria_that_would_have_to_turn(
    events: list[tuple[str, int]], changes: list[tuple[str, Value | None, int]], tree: pb.Node
) -> None:
    explained = Story(events, changes).explain(named(tree))
    if explained.member:
        assert explained.misses == ()
        return
    turning = [node_id for node_id, verdict in explained.nodes.items() if verdict.finding is not None]
    smallest = next(
        (size for size in range(1, len(turning) + 1) for some in combinations(turning, size) if flipped(tree, set(some), explained.nodes)),
        0,
    )
    assert len(explained.misses) == smallest
    if smallest:
        assert flipped(tree, {miss.node_id for miss in explained.misses}, explained.nodes)
    for miss in explained.misses:
        assert miss.wanted != explained.nodes[miss.node_id].holds
        assert miss.turns_ms == explained.nodes[miss.node_id].next_change_ms


@settings(max_examples=200, deadline=None, suppress_health_check=SLOW)
@given(events=told_events, criterion=d.events(days))
def test_with_the_events_that_are_missing_a_count_is_right(events: list[tuple[str, int]], criterion: pb.Node) -> None:
    story = Story(events)
    explained = story.explain(named(d.all_of(criterion)))
    if explained.member or not explained.misses:
        return
    (miss,) = explained.misses
    assert isinstance(miss.finding, Counted)
    match, finding, days_of = criterion.criterion.event.match, miss.finding, criterion.criterion.event.when.between
    if (days_of.first.month, days_of.first.day) > (days_of.last.month, days_of.last.day):
        return  # nobody can save a period that ends before it begins
    if finding.more is not None and finding.until_ms is not None and finding.until_ms >= NOW and match.WhichOneof("name_match") == "name":
        more = Story([*events, *[(match.name, finding.until_ms - NOW)] * finding.more])
        if not any(NOW < event.time_ms <= finding.until_ms for event in story.events):
            assert more.holds(criterion, finding.until_ms) or match.type != d.CUSTOM or list(match.input_ids) not in ([], [11])


COMMERCE = event_type_pb2.EVENT_TYPE_COMMERCE
TOTAL, PLACE = Property(PropertyKind.LIFETIME_VALUE), Property(PropertyKind.LOCATION)
NAMES = {"purchase": 1, "refund": -1}
days_of_people = d.periods(days)
criteria_of_people = st.one_of(
    st.builds(
        lambda edge, when: pb.Criterion(seen=pb.SeenCriterion(edge=edge, when=when)),
        st.sampled_from([pb.SEEN_EDGE_FIRST, pb.SEEN_EDGE_LAST]),
        days_of_people,
    ),
    st.builds(
        lambda comparison, value: pb.Criterion(
            lifetime_value=pb.LifetimeValueCriterion(test=pb.NumberTest(comparison=comparison, value=value))
        ),
        st.sampled_from([pb.COMPARISON_GREATER, pb.COMPARISON_LESS_OR_EQUAL, pb.COMPARISON_EQUAL]),
        st.sampled_from(["0", "5", "10.5"]),
    ),
    st.just(pb.Criterion(location=pb.LocationCriterion(near=pb.Near(latitude=52, longitude=13, distance_metres=1000)))),
).map(lambda criterion: pb.Node(criterion=criterion))
happenings = st.tuples(st.sampled_from(sorted(NAMES)), offsets, st.sampled_from(["5", "5.5", "10"]), st.sampled_from([None, 52, 53]))


@settings(max_examples=300, deadline=None, suppress_health_check=SLOW)
@given(
    told=st.lists(happenings, max_size=8), tree=criteria_of_people | st.lists(criteria_of_people, min_size=2).map(lambda n: d.any_of(*n))
)
def test_what_is_known_of_a_person_was_and_will_be_as_the_reference_says(
    told: list[tuple[str, int, str, int | None]], tree: pb.Node
) -> None:
    story, changes = Story([]), dict[tuple[int, Property], list[tuple[int, Value | Point | None]]]()
    for name, at, amount, latitude in told:
        place = {} if latitude is None else {"location": {"latitude": Decimal(latitude), "longitude": Decimal(13)}}
        story.events.append(Event(11, COMMERCE, name, NOW + at, {"total_amount": Decimal(amount), **place}, received=len(story.events)))
        facts = [(seen, None) for seen in SEEN] + [(TOTAL, NAMES[name] * Decimal(amount))]
        for known, value in [*facts, *([] if latitude is None else [(PLACE, Point(latitude, 13))])]:
            changes.setdefault((1, known), []).append((NOW + at, value))
            story.engine.load_attributes(1, known, np.array([ANNA]), [value], np.array([NOW + at]))
    explained = story.engine.explain(compiled(named(tree)), ANNA, Past({}, changes, {}))
    for node in all_nodes(tree):
        verdict = explained.nodes[node.id]
        assert story.holds(node, NOW) == verdict.holds
        if verdict.since_ms is not None:
            assert story.holds(node, verdict.since_ms) == verdict.holds
            assert story.holds(node, verdict.since_ms - 1) != verdict.holds
        if verdict.next_change_ms is not None:
            assert story.holds(node, verdict.next_change_ms) != verdict.holds
            assert story.holds(node, verdict.next_change_ms - 1) == verdict.holds
        for _, at, _, _ in told:
            if (verdict.since_ms or -(1 << 60)) <= NOW + at < (verdict.next_change_ms or 1 << 60):
                assert story.holds(node, NOW + at) == verdict.holds


# --- in literals


def test_a_member_of_ever_since_an_event() -> None:
    explained = Story([("buy", -HOUR)]).explain(named(d.event("buy")))
    assert explained == Explanation(
        True,
        NOW - HOUR,
        NOW - HOUR + LOOK_BACK + 1,
        ("n0", Cause(NOW - HOUR, enters=False)),  # type: ignore[arg-type]
        {"n0": Verdict(True, NOW - HOUR, NOW - HOUR + LOOK_BACK + 1, Counted(1))},
        (),
        known_from_ms=NOW - LOOK_BACK,
    )


def test_an_event_that_came_late_counts_from_its_own_time() -> None:
    story = Story([])
    story.engine.activate(1, compiled(d.event("buy")))
    story.engine.round(NOW + HOUR, {BUY: (np.array([ANNA]), np.array([NOW - DAY]))})
    assert story.engine.explain(compiled(d.event("buy")), ANNA).since_ms == NOW - DAY


def test_what_was_so_for_the_whole_look_back_has_no_beginning() -> None:
    assert Story([]).explain(d.event("buy", "< 3")).since_ms is None
    assert Story([("buy", -DAY - at) for at in (0, LOOK_BACK, -1 - DAY)]).explain(d.event("buy")).since_ms is None
    assert Story([("buy", -LOOK_BACK)]).explain(d.event("buy")).since_ms is None
    assert Story([("buy", -LOOK_BACK + 1)]).explain(d.event("buy")).since_ms == NOW - LOOK_BACK + 1


def test_nobody_is_in_before_they_are_heard_of() -> None:
    story = Story([("buy", -HOUR)])
    few = compiled(d.event("buy", "< 3"))
    assert story.engine.explain(few, ANNA, Past({}, {}, {1: NOW - DAY, 2: NOW - 9 * DAY})).since_ms == NOW - DAY
    assert story.engine.explain(few, ANNA, Past({}, {}, {1: NOW - 9 * DAY})).since_ms is None
    assert story.engine.explain(few, ANNA, Past({}, {}, {1: NOW + DAY})).since_ms == NOW


def test_filters_look_into_the_past_too() -> None:
    blue = d.event("buy", where=[pb.Filter(attribute="colour", test=d.text("equals", "blue"))])
    story = Story([])
    rows = EventRows(np.array([ANNA] * 3), NOW - np.array([3 * DAY, 3 * DAY - 1, DAY]), [details("red"), details("blue"), details("blue")])
    fill(story.engine, [], compiled(blue))
    story.engine.load_events(BUY, *rows)
    assert story.engine.explain(compiled(blue), ANNA, Past({BUY: rows}, {}, {})).since_ms is None, "the blue one reached into the look-back"
    later = NOW + HOUR
    story.engine.round(later, {})
    assert story.engine.explain(compiled(blue), ANNA, Past({BUY: rows}, {}, {})).since_ms is None
    assert story.engine.explain(compiled(blue), ANNA, Past({}, {}, {})).since_ms == NOW - DAY


def test_a_country_is_one_criterion_though_two_values_may_tell_it() -> None:
    country = pb.Node(criterion=pb.Criterion(location=pb.LocationCriterion(place=pb.PlaceTest(field=pb.PLACE_FIELD_COUNTRY, value="DE"))))
    explained = Story([], [("$Country", "FR", -DAY)]).explain(named(d.all_of(country, d.event("buy"))))
    assert explained.misses == (("n1", True, Held("FR"), None), ("n2", True, Counted(0, more=1), None))
    assert explained.nodes["n1"].finding == Held("FR")
    assert Story([]).explain(named(country)).misses == (("n0", True, Held(None), None),)


def details(colour: str) -> str:
    return f'{{"attributes":{{"colour":"{colour}"}}}}'


def test_values_are_known_beyond_the_look_back() -> None:
    story = Story([], [("colour", "red", -400 * DAY), ("colour", "blue", -300 * DAY), ("colour", "Blue", -DAY)])
    assert story.explain(d.attribute("colour", d.text("equals", "blue"))).since_ms == NOW - 300 * DAY
    assert story.explain(d.attribute("colour", d.presence("exists"))).since_ms == NOW - 400 * DAY
    assert story.explain(d.attribute("age", d.presence("not_exists"))).since_ms is None


def test_more_are_missing_until_the_oldest_leaves() -> None:
    story = Story([("buy", -HOUR), ("buy", -2 * HOUR)])
    explained = story.explain(named(d.event("buy", ">= 4", d.last("1d"))))
    assert explained.misses == (("n0", True, Counted(2, more=2, until_ms=NOW - 2 * HOUR + DAY), None),)
    assert Story([]).explain(named(d.event("buy"))).misses == (("n0", True, Counted(0, more=1), None),)


def test_too_many_leave_from_the_oldest_on() -> None:
    story = Story([("buy", -HOUR), ("buy", -2 * HOUR), ("buy", -3 * HOUR)])
    explained = story.explain(named(d.event("buy", "< 2", d.last("1d"))))
    gone = NOW - 2 * HOUR + DAY + 1
    assert explained.misses == (("n0", True, Counted(3, fewer=2, gone_ms=gone), gone),)
    assert explained.turn == ("n0", Cause(NOW - 2 * HOUR, enters=False))
    unwanted = story.explain(named(d.exclude(d.event("buy"))))
    assert unwanted.misses[0].node_id == "n1"
    assert not unwanted.misses[0].wanted
    assert unwanted.misses[0].finding == Counted(3, fewer=3, gone_ms=NOW - HOUR + LOOK_BACK + 1)


def test_a_number_between_may_be_missed_on_both_sides() -> None:
    explained = Story([("buy", -HOUR)] * 3).explain(named(d.event("buy", "!= 3")))
    (miss,) = explained.misses
    assert isinstance(miss.finding, Counted)
    assert (miss.finding.more, miss.finding.fewer) == (1, 1)


def test_a_sequence_tells_how_far_it_went() -> None:
    three = named(sequence("view", "cart", "buy 1h"))
    for events, found in (
        ([], Followed(0, 3)),
        ([("cart", -HOUR)], Followed(0, 3)),
        ([("view", -2 * HOUR)], Followed(1, 3, NOW - 2 * HOUR)),
        ([("view", -3 * HOUR), ("view", 0), ("cart", -2 * HOUR), ("buy", 0)], Followed(2, 3, NOW - 2 * HOUR)),
    ):
        assert Story(events).explain(three).misses == (("n0", True, found, None),)


def test_a_sequence_tells_what_followed_it() -> None:
    events = [("cart", -2 * HOUR), ("buy", -HOUR)]
    found = Followed(1, 1, NOW - 2 * HOUR, followed_ms=NOW - HOUR)
    for unless in ("buy", "buy 6h"):
        assert Story(events).explain(named(sequence("cart", unless=unless))).misses[0].finding == found


def test_a_sequence_tells_when_it_is_over_without_the_event() -> None:
    explained = Story([("cart", -2 * HOUR)]).explain(named(sequence("cart", unless="buy 6h")))
    assert explained.misses == (("n0", True, Followed(1, 1, NOW - 2 * HOUR, due_ms=NOW + 4 * HOUR), NOW + 4 * HOUR),)
    assert explained.turn == ("n0", Cause(NOW - 2 * HOUR, enters=None))


def test_a_sequence_ends_with_the_event_that_is_to_come() -> None:
    explained = Story([("cart", -2 * HOUR), ("buy", HOUR)]).explain(named(sequence("cart", unless="buy")))
    assert (explained.member, explained.since_ms, explained.next_change_ms) == (True, NOW - 2 * HOUR, NOW + HOUR)
    assert explained.turn == ("n0", Cause(NOW + HOUR, enters=True, step=None))


def test_the_inner_audience_is_explained_one_level_deep() -> None:
    story = Story([])
    story.activate(101, named(d.event("buy"), "inner"))
    story.activate(102, d.member_of(101))
    explained = story.explain(named(d.member_of(101)))
    (miss,) = explained.misses
    assert isinstance(miss.finding, Inner)
    assert miss.finding.explanation is not None
    assert miss.finding.explanation.misses == (("inner0", True, Counted(0, more=1), None),)
    outer = story.explain(named(d.member_of(102))).misses[0].finding
    assert isinstance(outer, Inner)
    assert outer.explanation is not None
    assert outer.explanation.misses[0].finding == Inner(101, active=True, explanation=None)
    assert story.explain(named(d.member_of(103))).misses[0].finding == Inner(103, active=False, explanation=None)


def test_somebody_of_another_workspace_misses_the_audiences() -> None:
    explained = Story([]).engine.explain(compiled(named(d.everyone())), 5)
    assert explained.misses == (("", True, Active(False), None),)


def test_a_value_is_told_as_it_is() -> None:
    explained = Story([], [("plan", "free", -DAY)]).explain(named(d.attribute("plan", d.text("equals", "pro"))))
    assert explained.misses == (("n0", True, Held("free"), None),)


def test_where_nobody_can_belong_nothing_is_missing() -> None:
    assert Story([]).explain(named(d.exclude(d.everyone()))).misses == ()


def test_what_is_known_in_part_is_not_told_as_if_it_had_begun_there() -> None:
    engine = Engine(look_back_ms=30 * DAY, now_ms=NOW)
    engine.add_activity(1, np.array([ANNA]))
    engine.load_events(Series(11, d.CUSTOM, "buy"), np.array([ANNA]), np.array([NOW - 2 * DAY]))
    engine.activate(1, definition := compiled(d.event("buy", when=d.last("5d"))))
    assert engine.explain(definition, ANNA).since_ms == NOW - 2 * DAY
    assert engine.explain(definition, ANNA, Past({}, {}, {}, NOW - 40 * DAY)).since_ms == NOW - 2 * DAY
    assert engine.explain(definition, ANNA, Past({}, {}, {}, NOW - 30 * DAY)).since_ms is None
