"""Sequences: each rule and each edge in literals, and any history against a search through all chains."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from muster.definition.v1 import definition_pb2 as pb

from services.evaluator.engine import Compiled, Engine, Series, compile_definition
from services.evaluator.engine.compile import Malformed
from tests.evaluator.engine import definitions as d
from tests.evaluator.engine.past import fill, rows_of
from tests.model.facts import Event

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
NOW = 1_709_600_000_000  # 5 March 2024, 00:53:20 UTC
LOOK_BACK = 30 * DAY
ANNA = 3


def match(name: str) -> pb.EventMatch:
    return pb.EventMatch(type=d.CUSTOM, name=name)  # type: ignore[arg-type]


def sequence(*steps: str, unless: str = "", when: pb.Period | None = None) -> pb.Node:
    """Steps as `buy`, or `buy 2h` for one at most 2 hours after the one before; `unless` alike."""

    def parts(written: str) -> dict[str, object]:
        name, *within = written.split()
        return {"match": match(name), "within": d.duration(within[0]) if within else None}

    return pb.Node(
        criterion=pb.Criterion(
            sequence=pb.SequenceCriterion(
                steps=[pb.SequenceStep(**parts(step)) for step in steps],  # type: ignore[arg-type]
                not_followed_by=pb.NotFollowedBy(**parts(unless)) if unless else None,  # type: ignore[arg-type]
                when=when,
            )
        )
    )


def compiled(root: pb.Node, look_back: int = LOOK_BACK) -> Compiled:
    return compile_definition(d.definition(root), workspaces={1: [11, 12]}, workspace_ids=[1], look_back_ms=look_back)


class World:
    """An engine with one audience, that is told events and asked for its members; a second one that is only ever asked says the same."""

    def __init__(self, root: pb.Node, *, look_back: int = LOOK_BACK, people: Sequence[int] = (ANNA,)) -> None:
        self.engine = Engine(look_back_ms=look_back, now_ms=NOW)
        self.engine.add_activity(1, np.array(people))
        self._compiled = compiled(root, look_back)
        self.engine.activate(1, self._compiled)

    def after(self, advance: int = 0, *events: tuple[str, int], person: int = ANNA) -> bool:
        """Whether the person is in, once time has passed and these events have come, at `(name, time from NOW)`."""
        return person in self.round(advance, [(person, name, at) for name, at in events])

    def round(self, advance: int, events: Sequence[tuple[int, str, int]]) -> set[int]:
        told: dict[Series, list[tuple[int, int]]] = {}
        for person, name, at in events:
            told.setdefault(Series(11, d.CUSTOM, name), []).append((person, NOW + at))
        columns = {series: tuple(np.array(column, np.int64) for column in zip(*rows, strict=True)) for series, rows in told.items()}
        self.engine.round(self.engine.now + advance, columns)  # type: ignore[arg-type]
        members = self.engine.members(1).tolist()
        assert self.engine.estimate(self._compiled).size == len(members), "a computation from scratch says the same"
        return set(members)


def holds(root: pb.Node, *events: tuple[str, int], look_back: int = LOOK_BACK) -> bool:
    return World(root, look_back=look_back).after(0, *events)


def test_steps_come_in_their_order() -> None:
    two = sequence("view", "buy")
    assert holds(two, ("view", -HOUR), ("buy", 0))
    assert not holds(two, ("buy", -HOUR), ("view", 0))
    assert not holds(two, ("view", -HOUR))
    assert not holds(two)


def test_a_step_is_strictly_later_than_the_one_before() -> None:
    assert not holds(sequence("view", "buy"), ("view", -HOUR), ("buy", -HOUR))
    assert holds(sequence("view", "buy"), ("view", -HOUR), ("buy", -HOUR + 1))


def test_two_steps_of_one_kind_need_two_events() -> None:
    assert not holds(sequence("view", "view"), ("view", -HOUR))
    assert not holds(sequence("view", "view"), ("view", -HOUR), ("view", -HOUR)), "two at one instant are not one after the other"
    assert holds(sequence("view", "view"), ("view", -HOUR), ("view", 0))


def test_what_lies_between_the_steps_does_not_matter() -> None:
    assert holds(sequence("view", "buy"), ("view", -3 * HOUR), ("look", -2 * HOUR), ("buy", -HOUR))


def test_the_gap_includes_its_edge() -> None:
    soon = sequence("view", "buy 2h")
    assert holds(soon, ("view", -3 * HOUR), ("buy", -HOUR))
    assert not holds(soon, ("view", -3 * HOUR), ("buy", -HOUR + 1))


def test_any_earlier_event_may_begin_the_gap() -> None:
    assert holds(sequence("view", "buy 2h"), ("view", -9 * HOUR), ("view", -2 * HOUR), ("buy", -HOUR), ("view", 0))


def test_a_gap_is_measured_from_a_step_that_was_reached() -> None:
    three = sequence("open", "view", "buy 2h")
    assert not holds(three, ("view", -2 * HOUR), ("open", -HOUR - MINUTE), ("buy", -HOUR)), "that view had no open before it"
    assert holds(three, ("view", -2 * HOUR), ("open", -HOUR - MINUTE), ("view", -HOUR - 1), ("buy", -HOUR))


def test_the_first_step_has_nothing_before_it() -> None:
    assert holds(sequence("view 1m", "buy"), ("view", -9 * HOUR), ("buy", -HOUR))


def test_a_gap_as_long_as_the_look_back_is_any_gap() -> None:
    assert holds(sequence("view", "buy 60d"), ("view", -30 * DAY), ("buy", 0))
    assert compiled(sequence("view", "buy 60d")) == compiled(sequence("view", "buy"))


def test_not_followed_by_is_true_at_once_and_ends_with_the_event() -> None:
    world = World(sequence("cart", unless="buy"))
    assert world.after(0, ("cart", -HOUR))
    assert world.after(20 * DAY)
    assert not world.after(0, ("buy", 20 * DAY))


def test_not_followed_by_does_not_look_before_or_at_the_last_event() -> None:
    assert holds(sequence("cart", unless="buy"), ("buy", -2 * HOUR), ("cart", -HOUR), ("buy", -HOUR))
    assert not holds(sequence("cart", unless="buy"), ("cart", -HOUR), ("buy", -HOUR + 1))


def test_one_chain_that_is_not_followed_is_enough() -> None:
    assert holds(sequence("cart", unless="buy"), ("cart", -3 * HOUR), ("buy", -2 * HOUR), ("cart", -HOUR))


def test_not_followed_in_time_is_true_when_the_time_is_over() -> None:
    world = World(sequence("cart", unless="buy 2d"))
    assert not world.after(0, ("cart", 0))
    assert not world.after(2 * DAY - 1)
    assert world.after(1)
    assert world.after(DAY, ("buy", 2 * DAY + 1)), "what comes after that time changes nothing"


def test_followed_in_time_is_followed_for_ever() -> None:
    world = World(sequence("cart", unless="buy 2d"))
    assert not world.after(0, ("cart", 0), ("buy", 2 * DAY))
    assert not world.after(2 * DAY), "the end of that time belongs to it"
    assert not world.after(20 * DAY)


def test_an_event_right_after_that_time_does_not_follow() -> None:
    world = World(sequence("cart", unless="buy 2d"))
    assert not world.after(0, ("cart", 0), ("buy", 2 * DAY + 1))
    assert world.after(2 * DAY)


def test_the_period_holds_the_steps_and_not_what_follows() -> None:
    within = sequence("view", "buy", when=d.ago("3d", "2d"))
    assert holds(within, ("view", -3 * DAY), ("buy", -2 * DAY))
    assert not holds(within, ("view", -3 * DAY - 1), ("buy", -2 * DAY))
    assert not holds(within, ("view", -3 * DAY), ("buy", -2 * DAY + 1))
    assert not holds(sequence("cart", unless="buy", when=d.ago("3d", "2d")), ("cart", -2 * DAY), ("buy", -HOUR))
    assert holds(sequence("cart", unless="buy", when=d.ago("3d", "2d")), ("cart", -2 * DAY))


def test_a_period_of_days_holds_the_steps() -> None:
    monday = sequence("view", "buy", when=pb.Period(on=d.day(date(2024, 3, 4))))
    assert holds(monday, ("view", -25 * HOUR + 7 * MINUTE), ("buy", -HOUR))
    assert not holds(monday, ("view", -HOUR), ("buy", 0)), "now it is Tuesday"


def test_the_steps_leave_the_period_as_time_passes() -> None:
    world = World(sequence("view", "buy", when=d.last("1d")))
    assert world.after(0, ("view", -2 * HOUR), ("buy", -HOUR))
    assert world.after(22 * HOUR)
    assert not world.after(1)


def test_future_events_count_when_their_time_comes() -> None:
    world = World(sequence("view", "buy"))
    assert not world.after(0, ("view", -HOUR), ("buy", HOUR))
    assert not world.after(HOUR - 1)
    assert world.after(1)
    world = World(sequence("cart", unless="buy"))
    assert world.after(0, ("cart", -HOUR), ("buy", HOUR))
    assert world.after(HOUR - 1)
    assert not world.after(1)


def test_late_events_count_by_their_own_time() -> None:
    world = World(sequence("view", "buy"))
    assert not world.after(0, ("buy", -HOUR))
    assert world.after(0, ("view", -2 * HOUR))
    world = World(sequence("cart", unless="buy 1h"))
    assert world.after(0, ("cart", -3 * HOUR))
    assert not world.after(DAY, ("buy", -2 * HOUR))


def test_steps_are_seen_as_far_as_the_look_back() -> None:
    world = World(sequence("view", "buy"))
    assert world.after(0, ("view", -30 * DAY), ("buy", 0))
    assert not world.after(1)
    assert not holds(sequence("view", "buy"), ("view", -30 * DAY - 1), ("buy", 0))


def test_a_time_as_long_as_the_look_back_is_over_for_an_instant() -> None:
    world = World(sequence("cart", unless="buy 30d"))
    assert not world.after(0, ("cart", 0))
    assert world.after(30 * DAY)
    assert not world.after(1)


def test_a_time_longer_than_the_look_back_is_never_over() -> None:
    world = World(sequence("cart", unless="buy 31d"))
    assert not world.after(0, ("cart", 0))
    assert not world.after(31 * DAY)


def test_people_do_not_complete_each_others_sequences() -> None:
    world = World(sequence("view", "buy"), people=[3, 4, 5])
    assert world.round(0, [(3, "view", -2), (4, "buy", -1), (5, "view", -2), (5, "buy", -1)]) == {5}
    assert world.round(0, [(3, "buy", -1)]) == {3, 5}


def test_names_are_tested_and_kinds_are_learnt_as_they_come() -> None:
    any_name = pb.EventMatch(type=d.CUSTOM, name_test=d.string("starts_with", "B"))  # type: ignore[arg-type]
    root = sequence("view", "buy")
    root.criterion.sequence.steps[1].match.CopyFrom(any_name)
    world = World(root)
    assert not world.after(0, ("view", -HOUR))
    assert world.after(0, ("book", 0))


def test_two_audiences_share_a_sequence_and_let_go_of_it_one_by_one() -> None:
    world = World(sequence("view", "buy"))
    world.engine.activate(2, compiled(sequence("view", "buy")))
    world.engine.activate(3, compiled(d.exclude(sequence("view", "buy"))))
    world.engine.deactivate(1)
    world.engine.round(NOW, {Series(11, d.CUSTOM, "view"): (np.array([ANNA]), np.array([NOW - 2]))})
    assert (world.engine.members(2).tolist(), world.engine.members(3).tolist()) == ([], [ANNA])
    world.engine.round(NOW, {Series(11, d.CUSTOM, "buy"): (np.array([ANNA]), np.array([NOW - 1]))})
    assert (world.engine.members(2).tolist(), world.engine.members(3).tolist()) == ([ANNA], [])
    world.engine.deactivate(2)
    world.engine.deactivate(3)
    world.engine.round(NOW + 1, {Series(11, d.CUSTOM, "view"): (np.array([ANNA]), np.array([NOW]))})
    world.engine.activate(2, compiled(sequence("view", "buy", "view")))
    assert world.engine.members(2).tolist() == [ANNA]


def test_a_sequence_without_steps_is_refused() -> None:
    with pytest.raises(Malformed, match="root: a sequence without steps"):
        compiled(sequence())


# --- any history


@dataclass
class Told:
    """What a brute force needs to know: the events of each person."""

    events: dict[int, list[tuple[str, int]]] = field(default_factory=dict)

    def holds(self, person: int, criterion: pb.SequenceCriterion, now: int, look_back: int) -> bool:
        """Every way to choose an event for each step is tried."""
        unit = {pb.DURATION_UNIT_HOUR: HOUR, pb.DURATION_UNIT_DAY: DAY}
        when = criterion.when.last.count * unit[criterion.when.last.unit] if criterion.HasField("when") else look_back
        events = self.events.get(person, [])
        seen = [(name, t) for name, t in events if now - min(when, look_back) <= t <= now]
        for chain in product(*([t for name, t in seen if name == step.match.name] for step in criterion.steps)):
            gaps = zip(criterion.steps[1:], np.diff(chain), strict=True)
            if any(gap <= 0 or (s.HasField("within") and gap > s.within.count * unit[s.within.unit]) for s, gap in gaps):
                continue
            after, t = criterion.not_followed_by, chain[-1]
            if not criterion.HasField("not_followed_by"):
                return True
            end = t + after.within.count * unit[after.within.unit] if after.HasField("within") else now
            if end <= now and not any(name == after.match.name and t < at <= end for name, at in events):
                return True
        return False


names = st.sampled_from(["view", "view", "buy", "buy", "cart"])
steps = st.builds(lambda name, within: f"{name} {within}".strip(), names, st.sampled_from(["", "", "1h", "2h", "1d"]))
sequences = st.builds(
    lambda steps, unless, when: sequence(*steps, unless=unless, when=when),
    st.lists(steps, min_size=1, max_size=3),
    st.just("") | steps,
    st.sampled_from([None, None, d.last("1d"), d.last("2h")]),
)
# On and around the edges of all windows.
times = st.builds(lambda edge, near: edge + near, st.sampled_from([-2 * DAY, -DAY, -2 * HOUR, -HOUR, 0, HOUR]), st.integers(-1, 1))
arrivals = st.lists(st.tuples(st.sampled_from([2, 3, 700]), names, times), max_size=8)
rounds = st.lists(st.tuples(st.sampled_from([0, 1, HOUR, HOUR, DAY, 2 * DAY, 200 * DAY]), arrivals), min_size=1, max_size=5)


@settings(max_examples=400, deadline=None)
@given(criterion=sequences, other=sequences, rounds=rounds)
def test_any_history_is_judged_as_by_a_search_through_all_chains(criterion: pb.Node, other: pb.Node, rounds: list[Any]) -> None:
    look_back = 2 * DAY
    world = World(criterion, look_back=look_back, people=[2, 3, 700])
    world.engine.activate(2, compiled(d.exclude(other), look_back))
    told, now = Told(), 0
    for advance, arrived in rounds:
        now += advance
        events = [(person, name, now + at) for person, name, at in arrived]
        for person, name, at in events:
            told.events.setdefault(person, []).append((name, NOW + at))
        members = world.round(advance, events)
        assert members == {p for p in (2, 3, 700) if told.holds(p, criterion.criterion.sequence, NOW + now, look_back)}
        others = {p for p in (2, 3, 700) if not told.holds(p, other.criterion.sequence, NOW + now, look_back)}
        assert set(world.engine.members(2).tolist()) == others
        world.engine.forget(NOW + now)


def test_steps_and_what_must_not_follow_may_be_filtered() -> None:
    def of_colour(wanted: str) -> pb.Filter:
        return pb.Filter(attribute="colour", test=d.text("equals", wanted))

    root = sequence("view", "cart", unless="buy")
    criterion = root.criterion.sequence
    for part in (criterion.steps[1].match, criterion.not_followed_by.match):
        part.where.append(of_colour("blue"))
    engine = Engine(look_back_ms=LOOK_BACK, now_ms=NOW)
    engine.add_activity(1, np.array([ANNA]))
    fill(engine, [], compiled(root))
    engine.activate(1, compiled(root))
    told = [("view", "red", -5), ("cart", "red", -4), ("cart", "blue", -3), ("buy", "red", -2), ("buy", "blue", -1)]
    members = []
    for name, colour, at in told:
        event = Event(11, d.CUSTOM, name, NOW + at, {"attributes": {"colour": colour}})
        engine.round(NOW, {Series(11, d.CUSTOM, name): rows_of([(ANNA, event)])})
        members.append(engine.members(1).tolist() == [ANNA])
        assert engine.estimate(compiled(root)).size == members[-1]
    assert members == [False, False, True, True, False]
