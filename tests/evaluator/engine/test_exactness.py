"""Whatever happens, in whatever order: the engine's memberships are the reference's, and its changes add up to them."""

import os
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from muster.definition.v1 import definition_pb2 as pb

from services.evaluator.engine import AttributeChange, Changes, Compiled, Engine, Series, compile_definition
from tests.evaluator.engine import definitions as d
from tests.model import facts, reference

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
START = 1_709_600_000_000  # 5 March 2024, 00:53:20 UTC
START_DAY = datetime.fromtimestamp(START // 1000, UTC).date()
WORKSPACES = {1: [11, 12], 2: [21]}
PEOPLE = [0, 1, 2, 7, 1030]
AUDIENCES = [101, 102, 103, 104]

people = st.sampled_from(PEOPLE)
days = st.integers(-3, 3).map(lambda n: START_DAY + timedelta(days=n))
edges = st.sampled_from([0, 0, HOUR, HOUR, HOUR, DAY, DAY, 2 * DAY, 6 * HOUR, 7 * DAY, 10 * DAY, 30 * DAY])
# around each edge of a window, before and after now; now and then beyond all keys
offsets = st.builds(lambda edge, near, sign: sign * edge + near, edges, st.sampled_from([-1, 0, 0, 0, 1]), st.sampled_from([-1] * 5 + [1]))
offsets |= offsets | offsets | st.sampled_from([190 * DAY, 199 * DAY, 400 * DAY, -400 * DAY, 10**15, -(10**15)])
advances = st.sampled_from([0, 0, 1, 1, 1, HOUR, HOUR, DAY, DAY, DAY + 1, SECOND, 9 * DAY, 100 * DAY, 199 * DAY, 250 * DAY, -HOUR])
values = st.one_of(
    d.texts,
    d.texts,
    st.none(),
    st.sampled_from([5, 5.0, 19.9, Decimal("19.90"), -3, True, False, 1000, 0.1, 10**12]),
    st.lists(d.texts, max_size=2),
    days.map(lambda day: day.isoformat()),
)
new_events = st.tuples(people, st.sampled_from([11] * 4 + [12, 21]), st.sampled_from([d.CUSTOM] * 6 + [d.SESSION_START]), d.names, offsets)
dates_from_now = st.builds(
    lambda offset, form: (offset, form), offsets.filter(lambda offset: abs(offset) < 10**14), st.sampled_from(["iso", "ms"])
)
new_attributes = st.tuples(people, st.sampled_from([1, 1, 1, 2]), d.attributes, values | dates_from_now, offsets | st.just(0) | st.just(0))
scopes = st.sampled_from([((1,), ())] * 5 + [((2,), ()), ((1, 2), ()), ((1,), (12,)), ((1, 2), (11, 21))])


class Exactness(RuleBasedStateMachine):
    """What was told is kept twice: as columns for the engine, as persons for the reference."""

    @initialize(look_back=st.sampled_from([DAY, 2 * DAY, 30 * DAY, 150 * DAY]), data=st.data())
    def begin(self, look_back: int, data: st.DataObject) -> None:
        self.now = START
        self.look_back = look_back
        self.engine = Engine(look_back_ms=look_back, now_ms=START)
        self.people: dict[int, facts.Person] = {person: facts.Person(active_in={1}) for person in PEOPLE[1:]}
        self.engine.add_activity(1, np.array(PEOPLE[1:]))
        self.active: dict[int, reference.Audience] = {}
        self.told: dict[int, set[int]] = {}  # by audience: what its changes add up to
        self.settled = True  # false while the next round has something to report
        self.rounds = 0  # since the last restart or activation: bits are old only then
        for audience in AUDIENCES[:3]:
            self.activate_or_edit(audience, ((1,), ()), data)

    # --- what happens

    @rule(
        events=st.lists(new_events, min_size=1, max_size=8),
        attributes=st.lists(new_attributes, max_size=3),
        active=st.lists(st.tuples(people, st.sampled_from([1, 2])), max_size=2),
        advance=advances,
    )
    def much_happens(self, events: list[Any], attributes: list[Any], active: list[Any], advance: int) -> None:
        by_series: dict[Series, list[tuple[int, int]]] = {}
        now = max(self.now, self.now + advance)
        for person, input_id, kind, name, offset in events:
            by_series.setdefault(Series(input_id, kind, name), []).append((person, now + offset))
        activity: dict[int, list[int]] = {}
        for person, workspace in active:
            activity.setdefault(workspace, []).append(person)
        attributes = [(person, workspace, name, _dated(value, now), now + offset) for person, workspace, name, value, offset in attributes]
        self._remember(by_series, attributes, active)
        changes = self.engine.round(
            self.now + advance,
            {series: _columns(told) for series, told in by_series.items()},
            [
                AttributeChange(workspace, name, np.array([person]), [value], np.array([at]))
                for person, workspace, name, value, at in attributes
            ],
            {workspace: np.array(people) for workspace, people in activity.items()},
        )
        self.now = now
        assert all(change for change in changes.values())
        for audience, change in changes.items():
            self._add_up(audience, change)
        self.settled = True
        self.rounds += 1

    @rule(advance=advances)
    def time_passes(self, advance: int) -> None:
        self.much_happens([], [], [], advance)

    @rule(events=st.lists(new_events, min_size=1, max_size=8), advance=advances)
    def events_come(self, events: list[Any], advance: int) -> None:
        self.much_happens(events, [], [], advance)

    @rule(attributes=st.lists(new_attributes, min_size=1, max_size=4), advance=advances)
    def attributes_change(self, attributes: list[Any], advance: int) -> None:
        self.much_happens([], attributes, [], advance)

    @rule(events=st.lists(new_events, max_size=12), attributes=st.lists(new_attributes, max_size=4), active=st.lists(people, max_size=4))
    def load(self, events: list[Any], attributes: list[Any], active: list[Any]) -> None:
        by_series: dict[Series, list[tuple[int, int]]] = {}
        for person, input_id, kind, name, offset in events:
            by_series.setdefault(Series(input_id, kind, name), []).append((person, self.now + offset))
        attributes = [
            (person, workspace, name, _dated(value, self.now), self.now + offset) for person, workspace, name, value, offset in attributes
        ]
        self._remember(by_series, attributes, [(person, 1) for person in active])
        for series, told in by_series.items():
            self.engine.load_events(series, *_columns(told))
        for person, workspace, name, value, at in attributes:
            self.engine.load_attributes(workspace, name, np.array([person]), [value], np.array([at]))
        self.engine.add_activity(1, np.array(active, np.int64))
        self.settled = False

    @precondition(lambda self: self.rounds > 2)
    @rule(audience=st.sampled_from(AUDIENCES), scope=scopes, data=st.data())
    def activate_or_edit(self, audience: int, scope: tuple[tuple[int, ...], tuple[int, ...]], data: st.DataObject) -> None:
        inner = [other for other in AUDIENCES if other < audience]  # so that there are no cycles
        root = data.draw(d.nodes(days, workspaces=(1, 1, 2), audiences=inner))
        self.active[audience] = reference.Audience(d.definition(root), *scope)
        self._add_up(audience, self.engine.activate(audience, self._compiled(self.active[audience])))
        if self.settled:
            assert self.told[audience] == self._expected(self.active[audience])
        self.settled = False
        self.rounds = 0

    @precondition(lambda self: self.active and self.rounds > 3)
    @rule(data=st.data())
    def deactivate(self, data: st.DataObject) -> None:
        audience = data.draw(st.sampled_from(sorted(self.active)))
        del self.active[audience]
        self._add_up(audience, self.engine.deactivate(audience))
        assert not self.told.pop(audience)
        self.settled = False

    @precondition(lambda self: self.rounds > 4)
    @rule(later=st.sampled_from([0, 1, HOUR, 3 * DAY, 300 * DAY]))
    def restart(self, later: int) -> None:
        """A new engine, from all that was ever told, with the memberships that were last told."""
        self.now += later
        self.engine = Engine(look_back_ms=self.look_back, now_ms=self.now)
        for key, person in self.people.items():
            for workspace in person.active_in:
                self.engine.add_activity(workspace, np.array([key]))
            for event in person.events:
                self.engine.load_events(Series(event.input_id, event.type, event.name), *_columns([(key, event.time_ms)]))
            for change in person.changes:
                assert isinstance(change, facts.AttributeChange)
                self.engine.load_attributes(
                    change.workspace_id, change.attribute, np.array([key]), [change.value], np.array([change.time_ms])
                )
        for audience in sorted(self.active):
            members = np.array(sorted(self.told[audience]), np.int64)
            self._add_up(audience, self.engine.activate(audience, self._compiled(self.active[audience]), members=members))
        self.settled = True
        self.rounds = 0

    @rule()
    def forget(self) -> None:
        self.engine.forget(self.now)

    @precondition(lambda self: self.settled)
    @rule(scope=scopes, data=st.data())
    def estimate(self, scope: tuple[tuple[int, ...], tuple[int, ...]], data: st.DataObject) -> None:
        root = data.draw(d.nodes(days, workspaces=(1, 2), audiences=AUDIENCES))
        nodes = {f"n{i}": node for i, node in enumerate(_all_nodes(root))}
        for node_id, node in nodes.items():
            node.id = node_id
        estimate = self.engine.estimate(self._compiled(reference.Audience(d.definition(root), *scope)))
        assert estimate.size == len(self._expected(reference.Audience(d.definition(root), *scope)))
        sizes = {node_id: len(self._expected(reference.Audience(d.definition(node), *scope))) for node_id, node in nodes.items()}
        assert estimate.nodes == sizes

    # --- what must hold

    @invariant()
    def changes_add_up_to_the_members(self) -> None:
        for audience, members in getattr(self, "told", {}).items():
            assert self.engine.members(audience).tolist() == sorted(members)
            assert self.engine.size(audience) == len(members)
            inside = self.engine.contains(audience, np.array([*PEOPLE, 10**6]))
            assert dict(zip(PEOPLE, inside.tolist(), strict=False)) == {person: person in members for person in PEOPLE}

    @invariant()
    def the_members_are_those_of_the_reference(self) -> None:
        if getattr(self, "settled", False):
            assert self.told == {audience: self._expected(wanted) for audience, wanted in self.active.items()}

    @precondition(lambda self: getattr(self, "settled", False))
    @rule(audience=st.sampled_from(AUDIENCES), person=people)
    def a_person_is_explained(self, audience: int, person: int) -> None:
        if audience not in self.active:
            return
        wanted = self.active[audience]
        explained = self.engine.explain(self._compiled(wanted), person)
        member = person in self.told[audience]
        assert explained.member == member
        change = explained.next_change_ms
        if change is None or change > self.now + 20 * DAY:
            same = [self.now + 1, self.now + HOUR, self.now + 20 * DAY]
        else:
            same = [self.now + 1, change - 1] if change > self.now + 1 else []
            assert (person in self._expected(wanted, change)) != member
        for instant in same:
            assert (person in self._expected(wanted, instant)) == member

    # --- means

    def _remember(self, by_series: dict[Series, list[tuple[int, int]]], attributes: list[Any], active: list[Any]) -> None:
        for series, told in by_series.items():
            for person, time in told:
                self._person(person).events.append(facts.Event(series.input_id, series.type, series.name, time))
        for person, workspace, name, value, at in attributes:
            self._person(person).changes.append(facts.AttributeChange(workspace, name, value, at))
        for person, workspace in active:
            self._person(person).active_in.add(workspace)

    def _person(self, key: int) -> facts.Person:
        return self.people.setdefault(key, facts.Person())

    def _compiled(self, audience: reference.Audience) -> Compiled:
        return compile_definition(
            audience.definition,
            workspaces=WORKSPACES,
            workspace_ids=audience.workspace_ids,
            input_ids=audience.input_ids,
            look_back_ms=self.look_back,
        )

    def _expected(self, audience: reference.Audience, now: int | None = None) -> set[int]:
        return reference.members(
            audience.definition,
            self.people,
            self.now if now is None else now,
            workspaces=WORKSPACES,
            workspace_ids=audience.workspace_ids,
            input_ids=audience.input_ids,
            look_back_ms=self.look_back,
            active=self.active,
        )

    def _add_up(self, audience: int, changes: Changes) -> None:
        members = self.told.setdefault(audience, set())
        added, dropped = set(changes.added.tolist()), set(changes.dropped.tolist())
        assert changes.added.tolist() == sorted(added)
        assert changes.dropped.tolist() == sorted(dropped)
        assert not added & members
        assert dropped <= members
        members |= added
        members -= dropped


def _columns(told: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([person for person, _ in told], np.int64), np.array([time for _, time in told], np.int64)


def _dated(value: object, now: int) -> object:
    """A date is drawn by its distance from now."""
    if not isinstance(value, tuple):
        return value
    offset, form = value
    return now + offset if form == "ms" else (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=now + offset)).isoformat()


def _all_nodes(node: pb.Node) -> list[pb.Node]:
    inner = [*node.all.nodes, *node.any.nodes, *([node.exclude.node] if node.HasField("exclude") else [])]
    return [node, *(deeper for part in inner for deeper in _all_nodes(part))]


TestExactness = Exactness.TestCase
TestExactness.settings = settings(
    max_examples=int(os.environ.get("MUSTER_EXACTNESS_EXAMPLES", "60")),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
