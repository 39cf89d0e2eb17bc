"""Why one person is in or out, and when that changes by time alone: the tree worked out for a single person, at any instant.

It reads what the index holds of the person, so it agrees with the memberships at `now`; for a later instant it supposes that nothing new
arrives. semantics: Time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import numpy as np

from .criteria.sequence import holders
from .events import EventIndex
from .facts import Instants, Ordinals, Property, Value
from .tree import (
    UNBOUNDED,
    Activity,
    AttributeDate,
    AttributeTest,
    Criterion,
    EventCount,
    Group,
    Leaf,
    Match,
    MemberOf,
    Node,
    Not,
    SequenceTest,
    criteria_of,
    matches_of,
)
from .values import instant_of

INSTANTS_MAX = 20_000  # so many edges are looked at for the next change
DEEPEST = 64

ValueOf = Callable[[int, Property], Value | None]


class Verdict(NamedTuple):
    """One node of the tree. `value`: what was found (a count, an attribute's value), None for a group; `bound`: what is asked, in words."""

    holds: bool
    value: Value | None
    bound: str


class Explanation(NamedTuple):
    """`next_change_ms`: when time alone changes `member`; None: never, or not among the next INSTANTS_MAX edges. `nodes`: by id."""

    member: bool
    next_change_ms: int | None
    nodes: dict[str, Verdict]


@dataclass
class Person:
    """One person, as far as the index knows."""

    index: EventIndex
    ordinal: int
    value_of: ValueOf
    is_active: Callable[[Activity], bool]
    tree_of: Callable[[int], Node | None]  # of another audience; None where it isn't active
    _times: dict[Match, Instants] = field(default_factory=dict)

    def explain(self, tree: Node, now: int) -> Explanation:
        """The tree at `now`."""
        member = self.holds(tree, now)
        nodes = {node.id: self._verdict(node, now) for node in _nodes_of(tree) if node.id}
        change = next((at for at in islice(self._edges_after(tree, now), INSTANTS_MAX) if self.holds(tree, at) != member), None)
        return Explanation(member, change, nodes)

    def holds(self, node: Node, at: int, depth: int = 0) -> bool:
        """Whether the node is true at an instant."""
        match node:
            case Leaf(criterion, negated):
                return self._true(criterion, at, depth) != negated
            case Not(inner):
                return not self.holds(inner, at, depth)
            case Group(every, nodes):
                return (all if every else any)(self.holds(inner, at, depth) for inner in nodes)

    def _true(self, criterion: Criterion, at: int, depth: int) -> bool:
        match criterion:
            case EventCount():
                return criterion.at_least <= self._count(criterion, at) <= criterion.at_most
            case SequenceTest():
                return self._completed(criterion, at)
            case AttributeTest(workspace, attribute, test):
                value = self.value_of(workspace, attribute)
                return value is not None and test.holds(value) != test.missing
            case AttributeDate(workspace, attribute, window):
                date = self._date(workspace, attribute)
                first, last = window.bounds(at)
                return date is not None and first <= date <= last
            case Activity():
                return self.is_active(criterion)
            case MemberOf(audience):
                tree = self.tree_of(audience)
                return tree is not None and depth < DEEPEST and self.holds(tree, at, depth + 1)

    def _count(self, criterion: EventCount, at: int) -> int:
        first, last = criterion.window.bounds(at)
        times = self._times_of(criterion.match)
        return max(0, int(np.searchsorted(times, last, "right") - np.searchsorted(times, first, "left")))

    def _completed(self, criterion: SequenceTest, at: int) -> bool:
        base = at - self.index.look_back

        def keys_of(match: Match, first: int, last: int) -> Instants:
            times = self._times_of(match)
            return times[(times >= first) & (times <= last)] - base

        return len(holders(criterion, keys_of, at, self.index.look_back)) > 0

    def _times_of(self, match: Match) -> Instants:
        """When the person did what the match reads, in their order."""
        if match not in self._times:
            people: Ordinals = np.array([self.ordinal])
            _, times, codes = self.index.history(people)
            self._times[match] = np.sort(times[np.isin(codes, self.index.codes_of(match))])
        return self._times[match]

    def _date(self, workspace: int, attribute: Property) -> int | None:
        value = self.value_of(workspace, attribute)
        return None if value is None else instant_of(value)

    def _edges_after(self, tree: Node, now: int) -> Iterator[int]:
        """The instants after `now` at which a criterion may turn, in their order."""
        found: set[int] = set()
        for criterion in self._criteria(tree):
            match criterion:
                case SequenceTest():
                    after = criterion.not_followed_by
                    edges = [*criterion.window.edges(), 0, *([after.within] if after and after.within is not None else [])]
                    times = np.concatenate([self._times_of(match) for match in matches_of(criterion)])
                case EventCount():
                    edges, times = criterion.window.edges(), self._times_of(criterion.match)
                case AttributeDate(workspace, attribute, window):
                    date = self._date(workspace, attribute)
                    edges, times = window.edges(), np.array([] if date is None else [date], np.int64)
                case _:
                    continue
            for edge in edges:
                found.update((times[times > now - edge] + edge).tolist())
        yield from sorted(found)

    def _criteria(self, tree: Node, depth: int = 0) -> Iterator[Criterion]:
        """Those of the tree, and of the audiences that it reads."""
        for criterion in criteria_of(tree):
            yield criterion
            if isinstance(criterion, MemberOf) and depth < DEEPEST and (inner := self.tree_of(criterion.audience)) is not None:
                yield from self._criteria(inner, depth + 1)

    def _verdict(self, node: Node, now: int) -> Verdict:
        holds = self.holds(node, now)
        match node:
            case Leaf(EventCount() as criterion, negated):
                return Verdict(holds, self._count(criterion, now), _times_words(criterion.at_least, criterion.at_most, negated))
            case Leaf(AttributeTest(workspace, attribute) | AttributeDate(workspace, attribute)):
                return Verdict(holds, self.value_of(workspace, attribute), "")
            case Leaf():
                return Verdict(holds, None, "")
            case Not():
                return Verdict(holds, None, "it is not so")
            case Group(every):
                return Verdict(holds, None, "every part holds" if every else "some part holds")


def _times_words(least: int, most: int, negated: bool) -> str:
    """`2 or more`, `fewer than 3`, `exactly 1`, `not 2 to 4`."""
    if most == UNBOUNDED:
        return f"fewer than {least}" if negated else f"{least} or more"
    words = str(least) if least == most else f"{least} to {most}"
    return f"not {words}" if negated else f"exactly {words}" if least == most else words


def _nodes_of(node: Node) -> Iterator[Node]:
    yield node
    match node:
        case Group(_, nodes):
            for inner in nodes:
                yield from _nodes_of(inner)
        case Not(inner):
            yield from _nodes_of(inner)
