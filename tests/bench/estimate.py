"""Estimates of drafts: 1,000,000 people, 20,000,000 events, 100 active audiences, the event store behind them.

Each draft is asked as the builder asks it, compiled anew, with the size of every node and the overlap with an audience. A *plain* draft
reads what the index has. A *filtered* one reads values of events: the first time they are recalled from the event store, and again, with
another window or number, they are there. Some of all kinds are compared with counting everything anew.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path

import numpy as np
from muster.definition.v1 import audience_pb2, facts_pb2
from muster.definition.v1 import definition_pb2 as pb
from muster.definition.v1.account_pb2 import Input
from muster.ingest.v1 import event_type_pb2
from numpy.typing import NDArray

from services.evaluator.engine.facts import Series
from services.evaluator.event_rows import AttributeRow
from services.evaluator.event_store import EventStore
from services.evaluator.event_tables import Tenure
from services.evaluator.intake import EventColumns, columns_of
from services.evaluator.people import People
from services.evaluator.population import Population
from services.evaluator.store import ActivityRow
from tests.bench.figure import Figure, processor_seconds

PEOPLE, EVENTS, NAMES, AUDIENCES, PARTITIONS = 1_000_000, 20_000_000, 200, 100, 8
ACCOUNT, WORKSPACE, INPUT = 7, 71, 711
PURCHASE = 10  # the place of purchases among the names, the most frequent first
CHUNK, DAY = 1_000_000, 86_400_000
PLAIN, FILTERED, CHECKED = 200, 100, 40
CATEGORIES, PRICES, PLACES = 40, 2_000, 50_000  # of the values of events
COUNTRIES, PLANS = 30, ("free", "trial", "plus", "pro")
PLATFORMS = ("iOS", "Android", "Web")

Ints = NDArray[np.int64]
Truth = NDArray[np.bool_]


class World:
    """Everything as columns, to be counted anew; people by ordinal, names by how frequent they are."""

    def __init__(self, scale: float) -> None:
        chance = self.chance = np.random.default_rng(7)
        self.people, events = int(PEOPLE * scale), int(EVENTS * scale)
        self.now = time.time_ns() // 1_000_000
        weights = 1 / np.arange(1, NAMES + 1)
        self.weights = weights / weights.sum()
        self.names = chance.choice(NAMES, events, p=self.weights).astype(np.int16)
        self.owners = chance.integers(0, self.people, events).astype(np.int32)
        self.times = chance.integers(self.now - 30 * DAY, self.now, events)
        self.platforms = chance.integers(0, len(PLATFORMS), events).astype(np.int8)
        self.values = chance.integers(0, PLACES, events).astype(np.int32)  # the place of an event's values in these:
        self.categories, self.prices = chance.integers(0, CATEGORIES, PLACES), chance.integers(1, PRICES + 1, PLACES)
        self.countries = chance.integers(0, COUNTRIES, self.people)
        self.plans = chance.integers(0, len(PLANS), self.people)
        self.ages = chance.integers(16, 90, self.people)
        order = np.argsort(self.names, kind="stable")
        ends = np.searchsorted(self.names[order], np.arange(NAMES + 1))
        self._of_name = [order[start:end] for start, end in pairwise(ends)]
        self.mpids = np.empty(0, np.int64)

    def within(self, name: int, days: int, passing: Truth | None = None) -> Ints:
        """The places of the events of a name in the last so many days, and of those the ones whose values pass."""
        own = self._of_name[name]
        own = own[self.times[own] >= self.now - days * DAY]
        return own if passing is None else own[passing[self.values[own]]]

    def each(self, events: Ints) -> Ints:
        """How many of these events each person has."""
        return np.bincount(self.owners[events], minlength=self.people)

    def details(self) -> tuple[list[str], list[str]]:
        """By the place of its values what an event tells, and what a purchase tells."""
        told, bought = [], []
        for place, (category, price) in enumerate(zip(self.categories.tolist(), self.prices.tolist(), strict=True)):
            told.append(f'{{"attributes":{{"category":"category {category}","price":{price / 10},"step":{place % 9}}}}}')
            product = {"id": f"sku-{place % 5000}", "brand": f"brand {place % 100}", "category": f"category {category}", "quantity": 1}
            bought.append(
                json.dumps({"products": [product], "transaction_id": f"t-{place}", "total_amount": price / 10}, separators=(",", ":"))
            )
        return told, bought


@dataclass(frozen=True)
class Part:
    """A node of a draft, and for whom it is true."""

    node: pb.Node
    truth: Callable[[World], Truth]


_ids = count(1)


def _criterion(truth: Callable[[World], Truth], **kind: object) -> Part:
    return Part(pb.Node(id=f"n{next(_ids)}", criterion=pb.Criterion(**kind)), truth)  # type: ignore[arg-type]


def group(parts: Sequence[Part], *, every: bool) -> Part:
    inner = pb.Group(nodes=[part.node for part in parts])
    node = pb.Node(id=f"n{next(_ids)}", all=inner) if every else pb.Node(id=f"n{next(_ids)}", any=inner)
    combine = np.logical_and if every else np.logical_or
    return Part(node, lambda world: combine.reduce([part.truth(world) for part in parts]))


def without(part: Part) -> Part:
    return Part(pb.Node(id=f"n{next(_ids)}", exclude=pb.Exclude(node=part.node)), lambda world: ~part.truth(world))


@dataclass(frozen=True)
class Where:
    """A filter, and which of the values pass it."""

    filter: pb.Filter
    passing: Callable[[World], Truth]


def _match(name: int, where: Where | None = None) -> pb.EventMatch:
    custom, commerce = event_type_pb2.EVENT_TYPE_CUSTOM, event_type_pb2.EVENT_TYPE_COMMERCE
    text, type_ = ("purchase", commerce) if name == PURCHASE else (f"event {name}", custom)
    return pb.EventMatch(type=type_, name=text, where=[where.filter] if where else [])


def _last(days: int) -> pb.Period:
    return pb.Period(last=pb.Duration(count=days, unit=pb.DURATION_UNIT_DAY))


def _more(value: str) -> pb.ValueTest:
    return pb.ValueTest(number=pb.NumberTest(comparison=pb.COMPARISON_GREATER_OR_EQUAL, value=value))


def _equal(value: str) -> pb.ValueTest:
    return pb.ValueTest(string=pb.StringTest(operator=pb.STRING_OPERATOR_EQUALS, value=value))


def counted(name: int, days: int, least: int, where: Where | None = None) -> Part:
    frequency = pb.FrequencyTest(comparison=pb.COMPARISON_GREATER_OR_EQUAL, value=least)
    return _criterion(
        lambda world: world.each(world.within(name, days, where.passing(world) if where else None)) >= least,
        event=pb.EventCriterion(match=_match(name, where), frequency=frequency, when=_last(days)),
    )


def summed(name: int, days: int, least: int) -> Part:
    """The sum of the prices; `least` in tenths."""

    def truth(world: World) -> Truth:
        events = world.within(name, days)
        return np.bincount(world.owners[events], world.prices[world.values[events]], world.people) >= least

    subject = {"field": pb.EVENT_FIELD_TOTAL_AMOUNT} if name == PURCHASE else {"attribute": "price"}
    aggregate = pb.AggregateCriterion(
        match=_match(name), function=pb.AGGREGATE_FUNCTION_SUM, test=_more(str(least / 10)), when=_last(days), **subject
    )
    return _criterion(truth, aggregate=aggregate)


def followed(first: int, then: int, days: int) -> Part:
    def truth(world: World) -> Truth:
        earliest, latest = np.full(world.people, world.now), np.zeros(world.people, np.int64)
        before, after = world.within(first, days), world.within(then, days)
        np.minimum.at(earliest, world.owners[before], world.times[before])
        np.maximum.at(latest, world.owners[after], world.times[after])
        return earliest < latest

    steps = [pb.SequenceStep(match=_match(first)), pb.SequenceStep(match=_match(then))]
    return _criterion(truth, sequence=pb.SequenceCriterion(steps=steps, when=_last(days)))


def known(attribute: str, test: pb.ValueTest, truth: Callable[[World], Truth]) -> Part:
    return _criterion(truth, user_attribute=pb.UserAttributeCriterion(attribute=attribute, test=test))


class Drafts:
    """Drafts as people make them: frequent events are asked for more often."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._chance = np.random.default_rng(11)
        self._numbers = count(1)

    def plain(self) -> Part:
        """One to five criteria."""
        parts = [self._plain_criterion() for _ in range(self._below(5) + 1)]
        if len(parts) > 2:
            parts[-1] = without(parts[-1]) if self._below(2) else parts[-1]
            parts = [parts[0], group(parts[1:3], every=False), *parts[3:]]
        return parts[0] if len(parts) == 1 else group(parts, every=True)

    def filtered(self) -> tuple[Part, Part]:
        """A draft that reads values no other draft read, and the same with another window and number."""
        one, again = self._filtered_criterion()
        if self._below(2):
            beside = self._plain_criterion()
            return group([one, beside], every=True), group([again, beside], every=True)
        return one, again

    def _plain_criterion(self) -> Part:
        days = (1, 3, 7, 14, 30)[self._below(5)]
        match self._below(8):
            case 0:
                country = self._below(COUNTRIES)
                return known("country", _equal(f"country {country}"), lambda world: world.countries == country)
            case 1:
                plan = self._below(len(PLANS))
                return known("plan", _equal(PLANS[plan]), lambda world: world.plans == plan)
            case 2:
                age = 16 + self._below(70)
                return known("age", _more(str(age)), lambda world: world.ages >= age)
            case 3:
                return followed(self._name(), self._name(), days)
            case _:
                return counted(self._name(), days, 1 + self._below(4))

    def _filtered_criterion(self) -> tuple[Part, Part]:
        name, days, least = self._name(), (1, 3, 7, 14, 30)[self._below(5)], 1 + self._below(2)
        kind = self._below(5)
        if kind == 0:
            return summed(name, days, 1000), summed(name, 30, 2000)
        where = self._where(name, kind)
        return counted(name, days, least, where), counted(name, 30, least + 1, where)

    def _where(self, name: int, kind: int) -> Where:
        unique = next(self._numbers)
        if kind == 1:  # the number decides that no other filter is equal, not what passes
            category = self._below(CATEGORIES)
            test = pb.ValueTest(string=pb.StringTest(operator=pb.STRING_OPERATOR_IN, values=[f"category {category}", f"other {unique}"]))
            subject = {"field": pb.EVENT_FIELD_PRODUCT_CATEGORY} if name == PURCHASE else {"attribute": "category"}
            return Where(pb.Filter(test=test, **subject), lambda world: world.categories == category)
        tenths = 1 + unique * PRICES // (FILTERED + 1)
        subject = {"field": pb.EVENT_FIELD_TOTAL_AMOUNT} if name == PURCHASE else {"attribute": "price"}
        return Where(pb.Filter(test=_more(f"{tenths / 10}"), **subject), lambda world: world.prices >= tenths)

    def _name(self) -> int:
        return int(self._chance.choice(NAMES, p=self._world.weights))

    def _below(self, number: int) -> int:
        return int(self._chance.integers(number))


def _fill(store: EventStore, world: World) -> None:
    told, bought = np.array(world.details(), object)
    custom, commerce = event_type_pb2.EVENT_TYPE_CUSTOM, event_type_pb2.EVENT_TYPE_COMMERCE
    series = [Series(INPUT, custom, f"event {name}") for name in range(NAMES)]
    series[PURCHASE] = Series(INPUT, commerce, "purchase")
    for start in range(0, len(world.names), CHUNK):
        rows = slice(start, start + CHUNK)
        names, values = world.names[rows], world.values[rows]
        events = EventColumns(
            mpids=world.mpids[world.owners[rows]],
            times_ms=world.times[rows],
            event_ids=np.arange(len(names), dtype=np.int64),
            series_codes=names.astype(np.int32),
            series=series,
            workspaces=[WORKSPACE] * NAMES,
            partitions=np.zeros(len(names), np.int32),
            sequences=np.full(len(names), start, np.int64),
            contexts=[("1.0", "42", platform, "17") for platform in PLATFORMS],
            context_codes=world.platforms[rows].astype(np.int32),
            details=np.where(names == PURCHASE, bought[values], told[values]).tolist(),
        )
        store.insert(ACCOUNT, events, [])
    columns = (
        ("country", [f"country {country}" for country in world.countries.tolist()]),
        ("plan", [PLANS[plan] for plan in world.plans.tolist()]),
        ("age", world.ages.tolist()),
    )
    for attribute, values_ in columns:
        for start in range(0, world.people, CHUNK):
            own = zip(world.mpids[start : start + CHUNK].tolist(), values_[start : start + CHUNK], strict=True)
            rows_ = [AttributeRow(WORKSPACE, attribute, mpid, world.now - DAY, value, 0, 0) for mpid, value in own]
            store.insert(ACCOUNT, columns_of([]), rows_)


def _population(store: EventStore, world: World, drafts: Drafts) -> Population:
    """With active audiences, after a first round."""
    population = Population(ACCOUNT, PARTITIONS, world.now, store=store)
    population.learn(facts_pb2.DefinitionFact(input=facts_pb2.InputCredentials(input=Input(input_id=INPUT, workspace_id=WORKSPACE))))
    everybody = People(ACCOUNT, PARTITIONS)
    _, pages = everybody.take(world.mpids)
    activity = [ActivityRow(WORKSPACE, page.partition, np.arange(len(page.mpids), dtype=np.uint32)) for page in pages]
    population.load(store, pages, activity, world.now)
    for audience_id in range(1, AUDIENCES + 1):
        audience = audience_pb2.Audience(audience_id=audience_id, workspace_ids=[WORKSPACE], state=audience_pb2.AUDIENCE_STATE_ACTIVE)
        audience.definition.root.CopyFrom(drafts.plain().node)
        population.learn(facts_pb2.DefinitionFact(audience=audience))
    population.stand({})
    return population


@dataclass
class Asked:
    """What asking took, in seconds, and how many sizes were wrong of those that were checked."""

    seconds: list[float]
    wrong: int = 0

    def ms(self, share: int) -> float:
        return 1000 * float(np.percentile(self.seconds, share))


def _ask(population: Population, world: World, draft: Part, asked: Asked, *, check: bool) -> None:
    begin = processor_seconds()
    compiled = population.compile(pb.Definition(root=draft.node), [WORKSPACE], [])
    found = population.estimate(compiled, 1)
    asked.seconds.append(processor_seconds() - begin)
    if check:
        truth = draft.truth(world)
        beside = np.zeros(world.people, bool)
        beside[np.searchsorted(world.mpids, population.members(1))] = True
        asked.wrong += (found.size, found.overlap) != (truth.sum(), (truth & beside).sum()) or found.nodes[draft.node.id] != found.size


def _measure(folder: Path, scale: float) -> Iterator[Figure]:
    world = World(scale)
    world.mpids = np.unique(world.chance.integers(-(2**62), 2**62, world.people))
    store = EventStore(f"chdb://{folder / 'events'}")
    store.take_over({partition: Tenure() for partition in range(PARTITIONS)})
    _fill(store, world)
    drafts = Drafts(world)
    population = _population(store, world, drafts)
    plain, first, again = Asked([]), Asked([]), Asked([])
    for number in range(PLAIN):
        _ask(population, world, drafts.plain(), plain, check=number < CHECKED)
    for number in range(FILTERED):
        one, same = drafts.filtered()
        _ask(population, world, one, first, check=number < CHECKED)
        _ask(population, world, same, again, check=number < CHECKED)
    store.close()
    for kind, asked, bound in (("plain", plain, 150), ("filtered, again", again, 150), ("filtered, first time", first, 150)):
        p95 = asked.ms(95)
        yield Figure(f"estimate: {kind}, half of all drafts within", asked.ms(50), "ms", None, None, "", True)
        yield Figure(f"estimate: {kind}, 95 of 100 within", p95, "ms", None, None, f"< {bound}", p95 < bound)
    wrong = plain.wrong + first.wrong + again.wrong
    yield Figure("estimate: sizes that differ from counting anew", wrong, "drafts", None, None, "= 0", wrong == 0)


def run(scale: float = 1.0) -> list[Figure]:
    """About five minutes at scale 1."""
    with tempfile.TemporaryDirectory(prefix="muster-bench-", ignore_cleanup_errors=True) as folder:
        return list(_measure(Path(folder), scale))
