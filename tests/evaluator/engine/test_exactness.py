"""Whatever happens, in whatever order: the engine's memberships are the reference's, and its changes add up to them.

What is sent twice is given to an engine once: the rounds above it see to that (tests/evaluator/test_rounds.py), and to an engine two equal
events are two events. So the machine tells equal events often, and means two.

It counts its steps, and fails if they become fewer than is promised: `LEAST_STEPS` an example. What fails tells how to run it again.
"""

import os
import secrets
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import wraps
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.control import current_build_context
from hypothesis.internal.conjecture import engine as search
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from muster.definition.v1 import definition_pb2 as pb

from services.evaluator.engine import Changes, Compiled, Engine, compile_definition
from services.evaluator.engine.bits import row_of
from services.evaluator.engine.compiling.overrides import Types
from services.evaluator.engine.events import Kept
from services.evaluator.engine.tree import Criterion, MemberOf, criteria_of
from services.evaluator.engine.values import AttributeType
from tests.evaluator.engine import definitions as d
from tests.evaluator.engine.telling import Teller, Told
from tests.model import facts, reference
from tests.scenarios import scenario as scenarios
from tests.scenarios.scenario import MAIN, Scenario
from tests.scenarios.ways import by_explanations, by_the_engine_in_rounds, by_the_engine_loaded_first, by_the_reference
from tests.scenarios.writing import smallest, written

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
START = 1_709_600_000_000  # 5 March 2024, 00:53:20 UTC
START_DAY = datetime.fromtimestamp(START // 1000, UTC).date()
WORKSPACES = {1: [11, 12], 2: [21]}
PEOPLE = [0, 1, 2, 3, 7, 1030]
AUDIENCES = [101, 102, 103, 104, 105, 106, 107]
EXAMPLES = int(os.environ.get("MUSTER_EXACTNESS_EXAMPLES", "40"))
SEED = int(os.environ.get("MUSTER_EXACTNESS_SEED") or secrets.randbits(32))
LEAST_STEPS = 20
FAR = 20 * DAY  # an explanation need not see what comes later

people = st.sampled_from([*PEOPLE, 1, 1, 2])
days = st.integers(-3, 3).map(lambda n: START_DAY + timedelta(days=n))
edges = st.sampled_from([0, 0, HOUR, HOUR, HOUR, DAY, DAY, 2 * DAY, 6 * HOUR, 7 * DAY, 10 * DAY, 30 * DAY])
# around each edge of a window, before and after now; now and then beyond all keys
near_edges = st.builds(
    lambda edge, near, sign: sign * edge + near, edges, st.sampled_from([-1, 0, 0, 0, 1]), st.sampled_from([-1] * 5 + [1])
)
recent = st.sampled_from([0, 0, 0, -1, -MINUTE, -30 * MINUTE, -HOUR, -HOUR, -2 * HOUR, -DAY])
beyond = st.sampled_from([190 * DAY, 199 * DAY, 400 * DAY, -400 * DAY, 10**15, -(10**15)])
offsets = d.mixed((10, recent), (8, near_edges), (1, beyond))
advances = st.sampled_from(
    [0, 0, 0, 1, 1, 1, SECOND, HOUR, HOUR, HOUR, HOUR, DAY, DAY, DAY, DAY + 1] * 8 + [9 * DAY, 100 * DAY, 250 * DAY, -HOUR]
)
values = d.mixed(
    (6, d.texts),
    (1, st.none()),
    (4, st.sampled_from([5, 5, 5.0, 19.9, Decimal("19.90"), -3, 1, 2, True, False, 1000, 0.1, 10**12])),
    (1, st.lists(d.texts, max_size=2)),
    (1, days.map(lambda day: day.isoformat())),
)
dates_from_now = st.builds(
    lambda offset, form: (offset, form), offsets.filter(lambda offset: abs(offset) < 10**14), st.sampled_from(["iso", "ms"])
)
near_offsets = d.mixed((1, offsets), (1, st.just(0)))
workspaces = st.sampled_from([1, 1, 1, 2])
inputs = st.sampled_from([11] * 6 + [12, 21])
held = d.mixed(
    (4, st.sampled_from(["blue", "blue", "red", "BLUE", 5, 5, Decimal("5.0"), Decimal("19.90"), True, -3, 1, 2, Decimal("0.1")])),
    (3, d.texts),
    (1, st.lists(d.texts, max_size=2)),
)
# What most filters don't ask for is drawn whole, so that a history of many events stays short.
products = st.builds(
    lambda usual, rest, colour: {**usual, **rest, **({} if colour is None else {"attributes": {"colour": colour}})},
    st.sampled_from(
        [
            {"name": "Blue", "price": 5},
            {"name": "blue", "price": Decimal("19.90"), "quantity": 2},
            {"name": "Shoe", "price": Decimal("0.1"), "quantity": Decimal("0.5")},
            {"name": "5"},
            {"price": 5, "quantity": 5},
            {},
        ]
    ),
    st.sampled_from(
        [
            {},
            {},
            {"id": "5", "brand": "Blue", "category": "blue"},
            {"id": "blue", "variant": "BLUE", "coupon_code": "Blue"},
            {"category": "Blue shirt", "variant": "", "coupon_code": "5"},
        ]
    ),
    d.mixed((1, st.none()), (2, held)),
)
extras = st.sampled_from(
    [
        {},
        {},
        {},
        {"total_amount": 10},
        {"total_amount": Decimal("19.90"), "currency_code": "Blue", "transaction_id": "5"},
        {"total_amount": Decimal("0.1"), "transaction_id": "blue"},
        {"total_amount": -3, "currency_code": "", "transaction_id": ""},
        {"session_duration_ms": 5},
        {"session_duration_ms": 1000, "transaction_id": "Blue"},
        {"location": {"latitude": 0.0, "longitude": 0.0}},
        {"location": {"latitude": 0.5, "longitude": 0.0}},
        {"location": {"latitude": 1.0, "longitude": 0.0}, "session_duration_ms": 0},
        {"location": {"latitude": 50.0, "longitude": 0.0}},
    ]
)
own = d.mixed((3, st.fixed_dictionaries({"colour": held})), (1, st.fixed_dictionaries({"due": d.mixed((3, dates_from_now), (1, held))})))
details = st.builds(
    lambda attributes, products, extra: {
        **({} if attributes is None else {"attributes": attributes}),
        **({"products": products} if products else {}),
        **extra,
    },
    d.mixed((1, st.none()), (5, own)),
    d.mixed((2, st.just([])), (1, st.lists(products, min_size=1, max_size=2))),
    extras,
)
contexts = st.sampled_from(
    [
        *[facts.Context()] * 3,
        *[facts.Context(platform=platform) for platform in ("Blue", "iOS", "5")],
        facts.Context("5.0", "5", "Blue", "17"),
        facts.Context("2", "blue"),
    ]
)
plain = st.just(facts.NOTHING)
happenings = st.builds(
    lambda input_id, kind, offset, details, context: facts.Event(input_id, kind[0], kind[1], offset, details, context),
    inputs,
    d.kinds,
    offsets,
    d.mixed((1, plain), (4, details)),
    contexts,
)
# Facts are drawn with their distance from now as their time.
new_events = st.tuples(people, happenings)
places = st.sampled_from(["$City", "$Country", "$State", "$Zip"])
cities = st.sampled_from(["Berlin", "Berlin", "Berlin", "DE", "DE", None])
attribute_changes = d.mixed(
    (4, st.builds(facts.AttributeChange, workspaces, st.just("colour"), values, near_offsets)),
    (2, st.builds(facts.AttributeChange, workspaces, st.just("born"), d.mixed((3, dates_from_now), (1, values)), near_offsets)),
    (2, st.builds(facts.AttributeChange, workspaces, places, cities, near_offsets)),
)
some_texts = d.texts.filter(bool)
device_fields = {
    **dict.fromkeys(("model", "platform", "manufacturer", "os_version", "carrier", "language"), some_texts),
    "country": st.sampled_from(["DE", "de"]),
}
devices = st.lists(st.sampled_from(sorted(device_fields)), min_size=1, max_size=4, unique=True).flatmap(
    lambda fields: st.fixed_dictionaries({field: device_fields[field] for field in fields})
)
regulations, purposes = st.sampled_from(["gdpr", "Gdpr"]), st.sampled_from(["marketing", ""])
others = st.one_of(
    st.builds(facts.DeviceTold, workspaces, devices, near_offsets),
    st.builds(facts.AttributionTold, workspaces, d.texts, d.texts, near_offsets),
    st.builds(facts.ConsentTold, workspaces, regulations, purposes, st.booleans(), near_offsets),
    st.builds(facts.IdentityTold, workspaces, d.identity_types, some_texts, near_offsets, st.booleans()),
    st.builds(facts.Here, workspaces, near_offsets),
)
new_facts = st.tuples(people, d.mixed((1, attribute_changes), (1, others)))
ends = st.tuples(people, d.mixed((1, st.just(facts.Deleted())), (2, st.builds(facts.MergedInto, people))))
some_types = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(["colour", "born", "$City"], st.sampled_from([one.name for one in AttributeType]))
)
all_types = st.fixed_dictionaries({1: some_types, 2: some_types})
scopes = st.sampled_from([((1,), ())] * 5 + [((2,), ()), ((1, 2), ()), ((1,), (12,)), ((1, 2), (11, 21))])


Step = Callable[..., None]


def searched(step: Step) -> Step:
    """A step whose failure, whatever it is, comes with the smallest scenario that shows it."""

    @wraps(step)
    def tried(self: "Exactness", *args: Any, **kwargs: Any) -> None:
        try:
            step(self, *args, **kwargs)
        except Exception as wrong:
            if current_build_context().is_final and not getattr(wrong, "__notes__", ()):
                wrong.add_note(self.as_a_scenario())
            raise

    return tried


class Exactness(RuleBasedStateMachine):
    """What was told is kept twice: as columns for the engine, as persons for the reference."""

    steps: ClassVar[int] = 0  # of all machines of this process
    drafted: reference.Audience | None = None

    @initialize(look_back=st.sampled_from([DAY, 2 * DAY, 30 * DAY, 150 * DAY]), data=st.data())
    @searched
    def begin(self, look_back: int, data: st.DataObject) -> None:
        Exactness.steps -= 1  # this one is none
        self.now = START
        self.look_back = look_back
        self.engines = [Engine(look_back_ms=look_back, now_ms=START)]
        self.teller = Teller(WORKSPACES, PEOPLE, PEOPLE)
        self.people: facts.People[Hashable] = facts.People(WORKSPACES)
        self.log: list[tuple[int, list[Told]]] = []  # all that was told, and when
        self.types: dict[int, dict[str, str]] = {}
        self.event_types: dict[int, dict[str, str]] = {}
        self.suspect: reference.Audience | None = None  # the last that a question was about
        self.asked: set[int] = set()  # instants to come that it was about
        self.active: dict[int, reference.Audience] = {}
        self.told: dict[int, set[int]] = {}  # by audience: what its changes add up to, by ordinal
        self.settled = True  # false while the next round has something to report
        self.rounds = 0  # since the last restart or activation: bits are old only then
        here: list[Told] = [(person, facts.Here(1, START)) for person in PEOPLE[1:]]
        self._remember(here)
        self.teller.load(self.engines, here)
        for audience in AUDIENCES[:6]:
            self.activate_or_edit(audience, ((1,), ()), data)

    # --- what happens

    @rule(events=st.lists(new_events, min_size=2, max_size=8), others=st.lists(new_facts, max_size=3), advance=advances)
    @searched
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

    @precondition(lambda self: self.rounds > 2)
    @rule(data=st.data(), ending=st.lists(ends, min_size=1, max_size=2), events=st.lists(new_events, max_size=3), advance=advances)
    @searched
    def people_end(self, data: st.DataObject, ending: list[Told], events: list[Told], advance: int) -> None:
        """They are deleted, or found to be one with others, in the middle of other news."""
        self.much_happens(data.draw(st.permutations([*ending, *events])), [], advance)

    @rule(advance=advances)
    @searched
    def time_passes(self, advance: int) -> None:
        self.much_happens([], [], advance)

    @rule(events=st.lists(new_events, min_size=3, max_size=10), advance=advances)
    @searched
    def events_come(self, events: list[Told], advance: int) -> None:
        self.much_happens(events, [], advance)

    @rule(others=st.lists(new_facts, min_size=2, max_size=6), advance=advances)
    @searched
    def profiles_change(self, others: list[Told], advance: int) -> None:
        self.much_happens([], others, advance)

    @rule(events=st.lists(new_events, max_size=12), others=st.lists(new_facts, max_size=4))
    @searched
    def load(self, events: list[Told], others: list[Told]) -> None:
        told = _at(self.now, others + events)
        self._remember(told)
        self.teller.load(self.engines, told)
        self.settled = False

    @precondition(lambda self: self.rounds > 1)
    @rule(audience=st.sampled_from(AUDIENCES), scope=scopes, data=st.data())
    @searched
    def activate_or_edit(self, audience: int, scope: tuple[tuple[int, ...], tuple[int, ...]], data: st.DataObject) -> None:
        inner = tuple(other for other in AUDIENCES if other < audience)  # so that there are no cycles
        root = data.draw(d.nodes(days, workspaces=(1, 1, 2), audiences=inner))
        self.suspect = self.active[audience] = reference.Audience(d.definition(root), *scope)
        compiled = self._compiled(self.active[audience])
        for engine in self.engines:
            self._add_up(audience, engine.activate(audience, compiled))
        if self.settled:
            assert self._members(audience) == self._expected(self.active[audience])
        self.settled = False
        self.rounds = 0

    @precondition(lambda self: self.rounds > 2)
    @rule(types=all_types, event_types=all_types)
    @searched
    def types_change(self, types: dict[int, dict[str, str]], event_types: dict[int, dict[str, str]]) -> None:
        self.types, self.event_types = types, event_types
        if self.drafted:  # its criteria may be other ones now
            self._let_go()
        for audience in sorted(self.active):
            compiled = self._compiled(self.active[audience])
            for engine in self.engines:
                self._add_up(audience, engine.activate(audience, compiled))
        self.much_happens([], [], 0)

    @precondition(lambda self: self.active and self.rounds > 3)
    @rule(data=st.data())
    @searched
    def deactivate(self, data: st.DataObject) -> None:
        audience = data.draw(st.sampled_from(sorted(self.active)))
        del self.active[audience]
        for engine in self.engines:
            self._add_up(audience, engine.deactivate(audience))
        assert not self.told.pop(audience)
        self.settled = False

    @precondition(lambda self: self.rounds > 4)
    @rule(
        later=st.sampled_from([0, 1, HOUR, HOUR, DAY, 3 * DAY] * 4 + [300 * DAY]),
        owners=st.sampled_from([1, 1, 2, 3]),
        kept=st.sampled_from([0, 0, 50, 90, 100]),
    )
    @searched
    def restart(self, later: int, owners: int, kept: int) -> None:
        """New engines, from all that was ever told, with the memberships that were last told. People may be of other ones than before.
        Of so many of a hundred parts of what was told they take the events from a snapshot."""
        snapshot_at = self.now
        self.now += later
        self.drafted = None
        before, part = self.teller, len(self.log) * kept // 100
        first, rest = ([one for _, told in some for one in told] for some in (self.log[:part], self.log[part:]))
        earlier, _ = self._loaded(owners, snapshot_at, first)
        self.engines, self.teller = self._loaded(owners, self.now, first, [_as_written(engine.kept()) for engine in earlier])
        self.teller.load(self.engines, rest)
        for audience in sorted(self.active):
            # By the ordinals that people have now.
            told = sorted(self.teller.ordinal(name) for name in before.names(self.told[audience]))
            self.told[audience] = set(told)
            compiled = self._compiled(self.active[audience])
            for place, engine in enumerate(self.engines):
                own = np.array([ordinal for ordinal in told if ordinal % owners == place], np.int64)
                self._add_up(audience, engine.activate(audience, compiled, members=row_of(own, max(told, default=0) // 8 + 1)))
        self.settled = True
        self.rounds = 0

    def _loaded(self, owners: int, now: int, told: list[Told], snapshots: Sequence[Kept] = ()) -> tuple[list[Engine], Teller]:
        engines = [Engine(look_back_ms=self.look_back, now_ms=now) for _ in range(owners)]
        for engine, snapshot in zip(engines, snapshots, strict=False):
            engine.take_back(snapshot, snapshot.deleted)
        teller = Teller(WORKSPACES, PEOPLE, PEOPLE)
        teller.place = lambda ordinal: ordinal % owners
        teller.load(engines, told, have_events=bool(snapshots))
        return engines, teller

    @rule()
    @searched
    def forget(self) -> None:
        for engine in self.engines:
            engine.forget(self.now)

    @precondition(lambda self: self.settled)
    @rule(scope=scopes, beside=st.sampled_from(AUDIENCES), data=st.data())
    @searched
    def estimate(self, scope: tuple[tuple[int, ...], tuple[int, ...]], beside: int, data: st.DataObject) -> None:
        drawn = data.draw(d.nodes(days, workspaces=(1, 2), audiences=tuple(AUDIENCES)))
        self.suspect = reference.Audience(_with_ids(drawn), *scope)
        compiled = self._compiled(self.suspect)
        shared = beside if beside in self.active else None
        estimates = [engine.estimate(compiled, beside=shared) for engine in self.engines]
        members = self._expected(self.suspect)
        assert sum(estimate.size for estimate in estimates) == len(members)
        overlap = len(members & self._members(beside)) if shared else 0
        assert sum(estimate.overlap for estimate in estimates) == overlap
        nodes = {node.id: node for node in _all_nodes(self.suspect.definition.root)}
        sizes = {node_id: len(self._expected(reference.Audience(d.definition(node), *scope))) for node_id, node in nodes.items()}
        assert {node_id: sum(estimate.nodes[node_id] for estimate in estimates) for node_id in nodes} == sizes

    @precondition(lambda self: not self.drafted)
    @rule(scope=scopes, data=st.data())
    @searched
    def begin_a_draft(self, scope: tuple[tuple[int, ...], tuple[int, ...]], data: st.DataObject) -> None:
        self.drafted = reference.Audience(d.definition(data.draw(d.nodes(days, workspaces=(1, 2), audiences=tuple(AUDIENCES)))), *scope)
        self.held: list[Criterion] = []

    @precondition(lambda self: self.drafted)
    @rule(pieces=st.integers(1, 3))
    @searched
    def go_on_with_the_draft(self, pieces: int) -> None:
        """Its criteria are computed some now and some later; in the end all are right."""
        assert self.drafted
        compiled = self._compiled(self.drafted)
        wanted = [criterion for criterion in dict.fromkeys(criteria_of(compiled.members)) if not isinstance(criterion, MemberOf)]
        for criterion in wanted[len(self.held) : len(self.held) + pieces]:
            for engine in self.engines:
                engine.hold(criterion)
            self.held.append(criterion)
        if len(self.held) == len(wanted) and self.settled:
            self.suspect = self.drafted
            assert sum(engine.estimate(compiled).size for engine in self.engines) == len(self._expected(self.drafted))
            self._let_go()

    @precondition(lambda self: self.drafted)
    @rule()
    @searched
    def give_the_draft_up(self) -> None:
        self._let_go()

    def _let_go(self) -> None:
        for criterion in self.held:
            for engine in self.engines:
                engine.let_go(criterion)
        self.drafted = None

    # --- what must hold

    @invariant()
    @searched
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
    @searched
    def the_members_are_those_of_the_reference(self) -> None:
        if getattr(self, "settled", False):
            wrong = [audience for audience, wanted in sorted(self.active.items()) if self._members(audience) != self._expected(wanted)]
            self.suspect = self.active[wrong[0]] if wrong else None
            assert not wrong

    @invariant()
    def steps_are_counted(self) -> None:
        if hasattr(self, "told"):
            Exactness.steps += 1

    @precondition(lambda self: getattr(self, "settled", False))
    @rule(audience=st.sampled_from(AUDIENCES), person=people)
    @searched
    def a_person_is_explained(self, audience: int, person: int) -> None:
        """The whole and each node: what it is, and that it stays so up to the millisecond before the change that is foretold."""
        if audience not in self.active:
            return
        ordinal = self.teller.known(person)
        if ordinal is None:  # merged or deleted
            return
        wanted = self.active[audience]
        wanted = self.suspect = reference.Audience(_with_ids(wanted.definition.root), wanted.workspace_ids, wanted.input_ids)
        explained = self.engines[self.teller.place(ordinal)].explain(self._compiled(wanted), ordinal)
        assert explained.member == (ordinal in self.told[audience])
        self._stays(person, wanted, explained.member, explained.next_change_ms)
        if not self.people.person(person).active_in & set(wanted.workspace_ids):
            return  # no candidate: the reference says of no node what it would be
        for node in _all_nodes(wanted.definition.root):
            verdict = explained.nodes[node.id]
            part = reference.Audience(d.definition(node), wanted.workspace_ids, wanted.input_ids)
            assert (person in self._expected(part, only=person)) == verdict.holds, node
            self._stays(person, part, verdict.holds, verdict.next_change_ms)

    # --- means

    def _stays(self, person: int, wanted: reference.Audience, member: bool, change: int | None) -> None:
        """Until the change, which comes then."""
        if change is None or change > self.now + FAR:
            same = [self.now + 1, self.now + HOUR, self.now + FAR]
        else:
            same = [self.now + 1, change - 1] if change > self.now + 1 else []
            self.asked = {change, *same}
            assert (person in self._expected(wanted, change, only=person)) != member
        self.asked = {*same}
        for instant in same:
            assert (person in self._expected(wanted, instant, only=person)) == member

    def as_a_scenario(self) -> str:
        """The smallest scenario file that fails, for the end of a search: it can be put into tests/scenarios."""
        if not getattr(self, "log", None):
            return "nothing was told yet"
        scenarios_of = [self._scenario(self.suspect, self.active)] if self.suspect else []
        for audience, wanted in sorted(self.active.items()):
            scenarios_of.append(self._scenario(wanted, {id_: other for id_, other in self.active.items() if id_ < audience}))
        for scenario in scenarios_of:
            for way in (by_the_engine_in_rounds, by_the_engine_loaded_first, by_explanations):
                if (found := smallest(scenario, way, by_the_reference)) is not None:
                    return f"{way.__name__} fails this scenario:\n{written(found)}"
        everything = scenarios_of[0] if scenarios_of else self._scenario(reference.Audience(d.definition(d.everyone()), (1,)), {})
        return f"no scenario by itself: the steps above matter. All that was told:\n{written(everything)}"

    def _scenario(self, audience: reference.Audience, inner: dict[int, reference.Audience]) -> Scenario:
        """Of all that was told, each instant asked for."""
        return Scenario(
            name="found",
            rule="Found by the exactness machine.",
            now=self.log[0][0],
            look_back_ms=self.look_back,
            workspaces=WORKSPACES,
            audiences={**dict(sorted(inner.items())), MAIN: audience},
            people=[f"p{person}" for person in PEOPLE],
            told=[scenarios.Told(f"p{person}", now, _by_name(fact)) for now, told in self.log for person, fact in told],
            expected=[(now, set()) for now in sorted({now for now, _ in self.log} | {self.now} | self.asked)],
            not_by={},
            types=self.types,
            event_types=self.event_types,
        )

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

    def _expected(self, audience: reference.Audience, now: int | None = None, *, only: Hashable | None = None) -> set[Hashable]:
        """Of all people, or of one."""
        return reference.members(
            audience.definition,
            self.people.known if only is None else {only: self.people.person(only)},
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


def _as_written(kept: Kept) -> Kept:
    """What a snapshot has of it."""
    by_series = [kept.block_of(*run, by_person=False) for run in kept.by_series]
    by_person = [kept.block_of(*run, by_person=True) for run in kept.by_person]
    for column in (column for run in [*by_series, *by_person] for column in run):
        column.flags.writeable = False
    return replace(kept, by_series=by_series, by_person=by_person, waiting=list(kept.waits()))


def _named(types: dict[int, dict[str, str]], workspace: int) -> dict[str, AttributeType]:
    return {name: AttributeType[type_] for name, type_ in types.get(workspace, {}).items()}


def _at(now: int, drawn: list[Told]) -> list[Told]:
    """Facts at their times: they are drawn with their distance from now, and so are dates among values."""
    told: list[Told] = []
    for person, fact in drawn:
        if isinstance(fact, facts.AttributeChange):
            fact = fact._replace(value=_dated(fact.value, now))
        if isinstance(fact, facts.Event) and "attributes" in fact.details:
            dated = {name: _dated(value, now) for name, value in fact.details["attributes"].items()}
            fact = fact._replace(details={**fact.details, "attributes": dated})
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


def _with_ids(root: pb.Node) -> pb.Definition:
    """The definition with an id of each node."""
    definition = pb.Definition(root=root)
    for place, node in enumerate(_all_nodes(definition.root)):
        node.id = f"n{place}"
    return definition


@pytest.mark.timeout(600 + 10 * EXAMPLES)  # a search for the smallest takes its time
def test_memberships_are_the_reference_s_whatever_happens(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    # Hypothesis tries each history with some of it doubled up to five times more. Fresh ones find more here.
    monkeypatch.setattr(search.ConjectureRunner, "generate_mutations_from", lambda self, data: None, raising=False)
    monkeypatch.setattr(search, "MAX_SHRINKING_SECONDS", 60, raising=False)  # the scenario gets smaller by itself
    of_search = settings(
        max_examples=EXAMPLES,
        stateful_step_count=30,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )
    try:
        run_state_machine_as_test(seed(SEED)(Exactness), settings=of_search)
    except Exception as wrong:
        wrong.add_note(f"To run it again: make soak SEED={SEED} EXAMPLES={EXAMPLES}")
        raise
    with capsys.disabled():
        print(f"\n{Exactness.steps} steps in {EXAMPLES} histories of seed {SEED}")
    assert Exactness.steps >= LEAST_STEPS * EXAMPLES
