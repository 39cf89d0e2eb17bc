"""What the engine evaluates: a tree over criteria. Criteria are values: equal ones are one, however many audiences use them.

Every criterion here is false for a person of whom nothing is known, so that absence needs no storage. What is true of the absent
("fewer than 3", "does not exist") is the negation of such a criterion, and the negation stands in the tree.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cached_property

from .details import Subject
from .facts import Property, Series
from .filters import ABSENT, Filter
from .periods import Window
from .strings import StringTest
from .values import DateTest, ValueTest

UNBOUNDED = (1 << 63) - 1


@dataclass(frozen=True)
class Match:
    """Which series an event criterion reads: those of the type, of these inputs, with this name. None: any name.

    With filters it reads a series of its own, that of the events that pass them all.
    """

    type: int
    name: str | StringTest | None
    inputs: frozenset[int]
    where: tuple[Filter, ...] = ()

    def reads(self, series: "Series | Match") -> bool:
        if self.where or isinstance(series, Match):
            return self == series
        if series.type != self.type or series.input_id not in self.inputs:
            return False
        if isinstance(self.name, StringTest):
            return self.name.holds(series.name)
        return self.name is None or self.name == series.name

    @property
    def moves(self) -> bool:
        """Whether time alone changes which events pass the filters."""
        return any(isinstance(one.test, DateTest) and one.test.window.edges() for one in self.where)

    @cached_property
    def source(self) -> "Match":
        """The same without filters."""
        return replace(self, where=())


@dataclass(frozen=True)
class EventCount:
    """`at_least <= count <= at_most` of the matching events in the window; `at_least` is 1 or more."""

    match: Match
    window: Window
    at_least: int
    at_most: int = UNBOUNDED


@dataclass(frozen=True)
class Step:
    """An event of a sequence. `within`: at most so many milliseconds after the step before, ends included; None: any time after it."""

    match: Match
    within: int | None = None


@dataclass(frozen=True)
class SequenceTest:
    """Events of the steps in the window, each strictly later than the one before, and after the last one none of `not_followed_by`: none
    up to now, or with `within` none in that time, which is over."""

    steps: tuple[Step, ...]
    not_followed_by: Step | None
    window: Window


class Function(Enum):
    COUNT = "count"
    DISTINCT_COUNT = "distinct count"
    SUM = "sum"
    AVERAGE = "average"
    MIN = "min"
    MAX = "max"
    FIRST = "first"
    LAST = "last"
    MOST_FREQUENT = "most frequent"
    UNIQUE_LIST = "unique list"


@dataclass(frozen=True)
class AggregateTest:
    """What the function makes of the values in the window passes the test; for a test that passes without any values
    (`passes_empty`): there are values, and what is made of them fails it. Without a subject each event is a value."""

    match: Match
    function: Function
    subject: Subject | None
    window: Window
    test: ValueTest

    @property
    def passes_empty(self) -> bool:
        match self.function:
            case Function.COUNT | Function.DISTINCT_COUNT | Function.SUM:
                return self.test.holds(0)
            case Function.UNIQUE_LIST:
                return self.test.holds(())
            case _:
                return self.test == ABSENT


@dataclass(frozen=True)
class AttributeTest:
    """The value passes the test; for a negative test (`test.missing`): there is a value, and it fails the test."""

    workspace: int
    attribute: Property
    test: ValueTest


@dataclass(frozen=True)
class AttributeDate:
    """The value is a date in the window."""

    workspace: int
    attribute: Property
    window: Window


@dataclass(frozen=True)
class Activity:
    """Activity in one of the workspaces: being a candidate."""

    workspaces: frozenset[int]


@dataclass(frozen=True)
class MemberOf:
    audience: int


Criterion = EventCount | AggregateTest | SequenceTest | AttributeTest | AttributeDate | Activity | MemberOf


@dataclass(frozen=True)
class Leaf:
    criterion: Criterion
    negated: bool = False
    id: str = field(default="", compare=False)


@dataclass(frozen=True)
class Group:
    """True where all of the nodes are true, or any of them. An empty `all` is true, an empty `any` false."""

    every: bool
    nodes: tuple["Node", ...]
    id: str = field(default="", compare=False)


@dataclass(frozen=True)
class Not:
    node: "Node"
    id: str = field(default="", compare=False)


Node = Leaf | Group | Not


def criteria_of(node: Node) -> Iterator[Criterion]:
    match node:
        case Leaf(criterion):
            yield criterion
        case Group(_, nodes):
            for inner in nodes:
                yield from criteria_of(inner)
        case Not(inner):
            yield from criteria_of(inner)


def matches_of(criterion: Criterion) -> Iterator[Match]:
    """Which events the criterion reads."""
    match criterion:
        case EventCount(match) | AggregateTest(match):
            yield match
        case SequenceTest(steps, not_followed_by):
            yield from (step.match for step in steps)
            if not_followed_by is not None:
                yield not_followed_by.match


Form = Leaf | tuple[bool, tuple["Form", ...]]
"""A tree with negations only at its leaves, and no group (whether every part must be true, the parts) inside one of its own kind."""

Shape = None | tuple[bool, tuple["Shape", ...]]
"""A form without what is in its leaves. Thousands of audiences have few shapes, and those of one shape are evaluated together."""


def form_of(node: Node, *, negated: bool = False) -> Form:
    """The same meaning, in parts that come in the order of their shapes."""
    match node:
        case Leaf():
            return replace(node, negated=node.negated != negated)
        case Not(inner):
            return form_of(inner, negated=not negated)
        case Group(every, nodes):
            every = every != negated
            parts: dict[Form, None] = {}
            for part in (form_of(inner, negated=negated) for inner in nodes):
                parts.update(dict.fromkeys([part] if isinstance(part, Leaf) or part[0] != every else part[1]))
            return next(iter(parts)) if len(parts) == 1 else (every, tuple(sorted(parts, key=lambda part: repr(shape_of(part)))))


def shape_of(form: Form) -> Shape:
    return None if isinstance(form, Leaf) else (form[0], tuple(shape_of(part) for part in form[1]))


def leaves_of(form: Form) -> Iterator[Leaf]:
    """In the order in which the shape has places for them."""
    if isinstance(form, Leaf):
        yield form
    else:
        for part in form[1]:
            yield from leaves_of(part)
