"""Whatever happens, in whatever order: the engine's memberships are the reference's, and its changes add up to them."""

import os
from collections.abc import Hashable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.control import current_build_context
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from muster.definition.v1 import definition_pb2 as pb

from services.evaluator.engine import Changes, Compiled, Engine, compile_definition
from services.evaluator.engine.compiling.overrides import Types
from services.evaluator.engine.values import AttributeType
from tests.evaluator.engine import definitions as d
from tests.evaluator.engine.telling import Teller, Told
from tests.model import facts, reference
from tests.scenarios import scenario as scenarios
from tests.scenarios.scenario import MAIN, Scenario
from tests.scenarios.ways import by_the_engine_in_rounds, by_the_engine_loaded_first, by_the_reference
from tests.scenarios.writing import smallest, written

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
START = 1_709_600_000_000  # 5 March 2024, 00:53:20 UTC
START_DAY = datetime.fromtimestamp(START // 1000, UTC).date()
WORKSPACES = {1: [11, 12], 2: [21]}
COMMERCE = 3
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
dates_from_now = st.builds(
    lambda offset, form: (offset, form), offsets.filter(lambda offset: abs(offset) < 10**14), st.sampled_from(["iso", "ms"])
)
near_offsets = offsets | st.just(0) | st.just(0)
workspaces = st.sampled_from([1, 1, 1, 2])
inputs = st.sampled_from([11] * 4 + [12, 21])
held = st.one_of(
    d.texts, st.sampled_from(["red", "blue", "BLUE", 5, Decimal("5.0"), Decimal("19.90"), True, -3]), st.lists(d.texts, max_size=2)
)
products = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["Blue", "blue", "Shoe", "5"]),
        "price": st.sampled_from([5, Decimal("19.90"), Decimal("0.1")]),
        "quantity": st.sampled_from([2, Decimal("0.5")]),
        "attributes": st.fixed_dictionaries({"colour": held}),
    },
)
details = st.fixed_dictionaries(
    {},
    optional={
        "attributes": st.fixed_dictionaries({}, optional={"colour": held}),
        "products": st.lists(products, min_size=1, max_size=2),
        "total_amount": st.sampled_from([10, Decimal("19.90"), Decimal("0.1"), -3]),
        "location": st.builds(lambda degrees: {"latitude": degrees, "longitude": 0.0}, st.sampled_from([0.0, 0.5, 1.0, 50.0])),
    },
)
contexts = st.builds(facts.Context, st.sampled_from(["", "1.0", "2"]), st.just(""), st.sampled_from(["", "iOS", "Web"]), st.just(""))
plain = st.just(facts.NOTHING)
customs = st.builds(
    facts.Event,
    inputs,
    st.sampled_from([d.CUSTOM] * 6 + [d.SESSION_START]),
    d.names,
    offsets,
    plain | plain | details,
    st.just(facts.Context()) | contexts,
    st.just(0),
)
payments = st.builds(
    facts.Event, inputs, st.just(COMMERCE), st.sampled_from(["purchase", "purchase", "refund"]), offsets, details, contexts, st.just(0)
)
# Facts are drawn with their distance from now as their time.
new_events = st.tuples(people, customs | customs | customs | payments)
attributes = st.sampled_from(["colour", "colour", "born", "$City", "$Country"])
some_values = values | dates_from_now | st.sampled_from(["Berlin", "DE"])
attribute_changes = st.builds(facts.AttributeChange, workspaces, attributes, some_values, near_offsets)
some_texts = d.texts.filter(bool)
device_fields = {"model": some_texts, "platform": some_texts, "country": st.sampled_from(["DE", "de"])}
regulations, purposes = st.sampled_from(["gdpr", "Gdpr"]), st.sampled_from(["marketing", ""])
others = st.one_of(
    st.builds(facts.DeviceTold, workspaces, st.fixed_dictionaries({}, optional=device_fields), near_offsets),
    st.builds(facts.AttributionTold, workspaces, d.texts, d.texts, near_offsets),
    st.builds(facts.ConsentTold, workspaces, regulations, purposes, st.booleans(), near_offsets),
    st.builds(facts.IdentityTold, workspaces, d.identity_types, some_texts, near_offsets, st.booleans()),
    st.builds(facts.Here, workspaces, near_offsets),
)
new_facts = st.tuples(people, attribute_changes | attribute_changes | others)
ends = st.tuples(people, st.just(facts.Deleted()) | st.builds(facts.MergedInto, people) | st.builds(facts.MergedInto, people))
some_types = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(["colour", "born", "$City"], st.sampled_from([one.name for one in AttributeType]))
)
all_types = st.fixed_dictionaries({1: some_types, 2: some_types})
scopes = st.sampled_from([((1,), ())] * 5 + [((2,), ()), ((1, 2), ()), ((1,), (12,)), ((1, 2), (11, 21))])


class Exactness(RuleBasedStateMachine):
    """What was told is kept twice: as columns for the engine, as persons for the reference."""

    @initialize(look_back=st.sampled_from([DAY, 2 * DAY, 30 * DAY, 150 * DAY]), data=st.data())
    def begin(self, look_back: int, data: st.DataObject) -> None:
        self.now = START
        self.look_back = look_back
        self.engines = [Engine(look_back_ms=look_back, now_ms=START)]
        self.teller = Teller(WORKSPACES, PEOPLE, PEOPLE)
        self.people: facts.People[Hashable] = facts.People(WORKSPACES)
        self.log: list[tuple[int, list[Told]]] = []  # all that was told, and when
        self.types: dict[int, dict[str, str]] = {}
        self.event_types: dict[int, dict[str, str]] = {}
        self.active: dict[int, reference.Audience] = {}
        self.told: dict[int, set[int]] = {}  # by audience: what its changes add up to, by ordinal
        self.settled = True  # false while the next round has something to report
        self.rounds = 0  # since the last restart or activation: bits are old only then
        here: list[Told] = [(person, facts.Here(1, START)) for person in PEOPLE[1:]]
        self._remember(here)
        self.teller.load(self.engines, here)
        for audience in AUDIENCES[:3]:
            self.activate_or_edit(audience, ((1,), ()), data)

    # --- what happens

    @rule(events=st.lists(new_events, min_size=1, max_size=8), others=st.lists(new_facts, max_size=3), advance=advances)
    def much_happens(self, events: list[Told], others: list[Told], advance: int) -> None:
        now = max(self.now, self.now + advance)
        told = _at(now, others + events)
        before, self.now = self.now, now
        self._remember(told)
        for changes in self.teller.round(self.engines, before + advance, told):
            assert all(change for change in changes.values())
            for audience, change in changes.items():
                self._add_up(audience, change)
        self.settled = True
        self.rounds += 1

    @rule(data=st.data(), ending=st.lists(ends, min_size=1, max_size=2), events=st.lists(new_events, max_size=3), advance=advances)
    def people_end(self, data: st.DataObject, ending: list[Told], events: list[Told], advance: int) -> None:
        """They are deleted, or found to be one with others, in the middle of other news."""
        self.much_happens(data.draw(st.permutations([*ending, *events])), [], advance)

    @rule(advance=advances)
    def time_passes(self, advance: int) -> None:
        self.much_happens([], [], advance)

    @rule(events=st.lists(new_events, min_size=1, max_size=8), advance=advances)
    def events_come(self, events: list[Told], advance: int) -> None:
        self.much_happens(events, [], advance)

    @rule(others=st.lists(new_facts, min_size=1, max_size=4), advance=advances)
    def profiles_change(self, others: list[Told], advance: int) -> None:
        self.much_happens([], others, advance)

    @rule(events=st.lists(new_events, max_size=12), others=st.lists(new_facts, max_size=4))
    def load(self, events: list[Told], others: list[Told]) -> None:
        told = _at(self.now, others + events)
        self._remember(told)
        self.teller.load(self.engines, told)
        self.settled = False

    @precondition(lambda self: self.rounds > 2)
    @rule(audience=st.sampled_from(AUDIENCES), scope=scopes, data=st.data())
    def activate_or_edit(self, audience: int, scope: tuple[tuple[int, ...], tuple[int, ...]], data: st.DataObject) -> None:
        inner = tuple(other for other in AUDIENCES if other < audience)  # so that there are no cycles
        root = data.draw(d.nodes(days, workspaces=(1, 1, 2), audiences=inner))
        self.active[audience] = reference.Audience(d.definition(root), *scope)
        compiled = self._compiled(self.active[audience])
        for engine in self.engines:
            self._add_up(audience, engine.activate(audience, compiled))
        if self.settled:
            assert self._members(audience) == self._expected(self.active[audience])
        self.settled = False
        self.rounds = 0

    @precondition(lambda self: self.rounds > 2)
    @rule(types=all_types, event_types=all_types)
    def types_change(self, types: dict[int, dict[str, str]], event_types: dict[int, dict[str, str]]) -> None:
        self.types, self.event_types = types, event_types
        for audience in sorted(self.active):
            compiled = self._compiled(self.active[audience])
            for engine in self.engines:
                self._add_up(audience, engine.activate(audience, compiled))
        self.much_happens([], [], 0)

    @precondition(lambda self: self.active and self.rounds > 3)
    @rule(data=st.data())
    def deactivate(self, data: st.DataObject) -> None:
        audience = data.draw(st.sampled_from(sorted(self.active)))
        del self.active[audience]
        for engine in self.engines:
            self._add_up(audience, engine.deactivate(audience))
        assert not self.told.pop(audience)
        self.settled = False

    @precondition(lambda self: self.rounds > 4)
    @rule(later=st.sampled_from([0, 1, HOUR, 3 * DAY, 300 * DAY]), owners=st.sampled_from([1, 1, 2, 3]))
    def restart(self, later: int, owners: int) -> None:
        """New engines, from all that was ever told, with the memberships that were last told. People may be of other ones than before."""
        self.now += later
        self.engines = [Engine(look_back_ms=self.look_back, now_ms=self.now) for _ in range(owners)]
        before, self.teller = self.teller, Teller(WORKSPACES, PEOPLE, PEOPLE)
        self.teller.place = lambda ordinal: ordinal % owners
        self.teller.load(self.engines, [one for _, told in self.log for one in told])
        for audience in sorted(self.active):
            # By the ordinals that people have now.
            told = sorted(self.teller.ordinal(name) for name in before.names(self.told[audience]))
            self.told[audience] = set(told)
            compiled = self._compiled(self.active[audience])
            for place, engine in enumerate(self.engines):
                own = np.array([ordinal for ordinal in told if ordinal % owners == place], np.int64)
                self._add_up(audience, engine.activate(audience, compiled, members=own))
        self.settled = True
        self.rounds = 0

    @rule()
    def forget(self) -> None:
        for engine in self.engines:
            engine.forget(self.now)

    @precondition(lambda self: self.settled)
    @rule(scope=scopes, data=st.data())
    def estimate(self, scope: tuple[tuple[int, ...], tuple[int, ...]], data: st.DataObject) -> None:
        root = data.draw(d.nodes(days, workspaces=(1, 2), audiences=tuple(AUDIENCES)))
        nodes = {f"n{i}": node for i, node in enumerate(_all_nodes(root))}
        for node_id, node in nodes.items():
            node.id = node_id
        compiled = self._compiled(reference.Audience(d.definition(root), *scope))
        estimates = [engine.estimate(compiled) for engine in self.engines]
        assert sum(estimate.size for estimate in estimates) == len(self._expected(reference.Audience(d.definition(root), *scope)))
        sizes = {node_id: len(self._expected(reference.Audience(d.definition(node), *scope))) for node_id, node in nodes.items()}
        assert {node_id: sum(estimate.nodes[node_id] for estimate in estimates) for node_id in nodes} == sizes

    # --- what must hold

    @invariant()
    def changes_add_up_to_the_members(self) -> None:
        for audience, members in getattr(self, "told", {}).items():
            found = [engine.members(audience).tolist() for engine in self.engines]
            assert all(own == sorted(own) for own in found)
            assert sorted(ordinal for own in found for ordinal in own) == sorted(members)
            assert sum(engine.size(audience) for engine in self.engines) == len(members)
            asked = [*PEOPLE, *members, 10**6]
            inside = np.any([engine.contains(audience, np.array(asked)) for engine in self.engines], axis=0)
            assert inside.tolist() == [ordinal in members for ordinal in asked]

    @invariant()
    def the_members_are_those_of_the_reference(self) -> None:
        if getattr(self, "settled", False):
            wrong = [audience for audience, wanted in sorted(self.active.items()) if self._members(audience) != self._expected(wanted)]
            assert not wrong, self._as_a_scenario(wrong[0])

    @precondition(lambda self: getattr(self, "settled", False))
    @rule(audience=st.sampled_from(AUDIENCES), person=people)
    def a_person_is_explained(self, audience: int, person: int) -> None:
        if audience not in self.active:
            return
        ordinal = self.teller.known(person)
        if ordinal is None:  # merged or deleted
            return
        wanted = self.active[audience]
        explained = self.engines[self.teller.place(ordinal)].explain(self._compiled(wanted), ordinal)
        member = ordinal in self.told[audience]
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

    def _as_a_scenario(self, audience: int) -> str:
        """The smallest scenario file that fails, for the end of a search: it can be put into tests/scenarios."""
        if not current_build_context().is_final:
            return f"audience {audience}"
        scenario = Scenario(
            name="found",
            rule="Found by the exactness machine.",
            now=self.log[0][0],
            look_back_ms=self.look_back,
            workspaces=WORKSPACES,
            audiences={**{id_: other for id_, other in sorted(self.active.items()) if id_ < audience}, MAIN: self.active[audience]},
            people=[f"p{person}" for person in PEOPLE],
            told=[scenarios.Told(f"p{person}", now, _by_name(fact)) for now, told in self.log for person, fact in told],
            expected=[(now, set()) for now in sorted({now for now, _ in self.log} | {self.now})],
            not_by={},
            types=self.types,
            event_types=self.event_types,
        )
        for way in (by_the_engine_in_rounds, by_the_engine_loaded_first):
            if (found := smallest(scenario, way, by_the_reference)) is not None:
                return f"{way.__name__} fails this scenario:\n{written(found)}"
        return f"no scenario by itself: the steps above matter. All that was told:\n{written(scenario)}"

    def _remember(self, told: list[Told]) -> None:
        self.log.append((self.now, told))
        for person, fact in told:
            self.people.tell(person, fact)

    def _compiled(self, audience: reference.Audience) -> Compiled:
        """Ready to be activated: the engine is given what the definition needs of the past."""
        compiled = compile_definition(
            audience.definition,
            workspaces=WORKSPACES,
            workspace_ids=audience.workspace_ids,
            input_ids=audience.input_ids,
            look_back_ms=self.look_back,
            types={workspace: Types(_named(self.types, workspace), _named(self.event_types, workspace)) for workspace in WORKSPACES},
        )
        self.teller.fill(self.engines, compiled)
        return compiled

    def _members(self, audience: int) -> set[Hashable]:
        return self.teller.names(self.told[audience])

    def _expected(self, audience: reference.Audience, now: int | None = None) -> set[Hashable]:
        return reference.members(
            audience.definition,
            self.people.known,
            self.now if now is None else now,
            workspaces=WORKSPACES,
            workspace_ids=audience.workspace_ids,
            input_ids=audience.input_ids,
            look_back_ms=self.look_back,
            active=self.active,
            types=self.types,
            event_types=self.event_types,
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


def _named(types: dict[int, dict[str, str]], workspace: int) -> dict[str, AttributeType]:
    return {name: AttributeType[type_] for name, type_ in types.get(workspace, {}).items()}


def _at(now: int, drawn: list[Told]) -> list[Told]:
    """Facts at their times: they are drawn with their distance from now, and so are dates among values."""
    told: list[Told] = []
    for person, fact in drawn:
        if isinstance(fact, facts.AttributeChange):
            fact = fact._replace(value=_dated(fact.value, now))
        if not isinstance(fact, facts.MergedInto | facts.Deleted):
            fact = fact._replace(time_ms=now + fact.time_ms)
        told.append((person, fact))
    return told


def _by_name(fact: facts.Fact) -> facts.Fact:
    """People have names in a scenario."""
    return facts.MergedInto(f"p{fact.other}") if isinstance(fact, facts.MergedInto) else fact


def _dated(value: Any, now: int) -> Any:
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
    max_examples=int(os.environ.get("MUSTER_EXACTNESS_EXAMPLES", "20")),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
