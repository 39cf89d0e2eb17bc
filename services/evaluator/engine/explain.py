"""Why one person is in or out, since when, what would have to be otherwise, and when that changes by time alone.

The tree is worked out for the one person over all of time. It reads what the index holds of the person, so it agrees with the memberships
at `now`; of the past it says what the facts as they are known now say of it, each at its own time. semantics: Time.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from .explaining.activity import Candidates
from .explaining.aggregate import Aggregates
from .explaining.attribute import Dates, Values
from .explaining.event import Counts
from .explaining.findings import Cause, Finding, Held, Inner
from .explaining.kind import Kind
from .explaining.person import Person
from .explaining.sequence import Sequences
from .explaining.timeline import Timeline, combined, constant
from .periods import FAR
from .tree import (
    Activity,
    AggregateTest,
    AttributeDate,
    AttributeTest,
    Criterion,
    EventCount,
    Group,
    Leaf,
    MemberOf,
    Node,
    Not,
    SequenceTest,
    criteria_of,
    matches_of,
)


class Verdict(NamedTuple):
    """One node of the tree. `since_ms`: from when it has been what it is; None: for as long as anybody knows. `next_change_ms`: when time
    alone changes it; None: never. `finding`: None for a group, and where what is asked is true, or false, of everybody."""

    holds: bool
    since_ms: int | None
    next_change_ms: int | None
    finding: Finding | None


class Miss(NamedTuple):
    """A criterion that would have to turn, with the id of its node. `wanted`: what the node would have to be; `turns_ms`: when time alone
    turns it, None: never."""

    node_id: str
    wanted: bool
    finding: Finding
    turns_ms: int | None


class Turn(NamedTuple):
    """The criterion whose turn is the next change, and what turns it."""

    node_id: str
    cause: Cause | None


class Explanation(NamedTuple):
    """`next_change_ms`: when time alone changes `member`; None: never. `nodes`: by id. `misses`: of somebody who is out, the fewest
    criteria that would have to turn, all of them; of a member none. Nothing is known of the time before `known_from_ms`, and not more
    was looked at than up to `known_until_ms`: what is said to have no beginning, or no end, has none in between. None: always."""

    member: bool
    since_ms: int | None
    next_change_ms: int | None
    turn: Turn | None
    nodes: dict[str, Verdict]
    misses: tuple[Miss, ...]
    known_from_ms: int | None = None
    known_until_ms: int | None = None


def explain(person: Person, tree: Node) -> Explanation:
    """The tree at the person's `now`."""
    _work_out_inner(person, tree)
    return _Walk(person).explanation(tree)


def _work_out_inner(person: Person, tree: Node) -> None:
    """The memberships of the audiences that the tree reads, directly or through others: inner ones first, and each once, however many ways
    there are to it and however deep it is."""
    waiting = _inner_of(tree)
    while waiting:
        audience = waiting[-1]
        inner_tree = person.tree_of(audience)
        before = [] if inner_tree is None else [inner for inner in _inner_of(inner_tree) if inner not in person.memberships]
        if before and audience not in person.memberships:
            waiting += before
            continue
        waiting.pop()
        if audience not in person.memberships:
            person.memberships[audience] = constant(False) if inner_tree is None else _Walk(person, 1).timeline(inner_tree)


def _inner_of(tree: Node) -> list[int]:
    return [criterion.audience for criterion in criteria_of(tree) if isinstance(criterion, MemberOf)]


class _Walk:
    def __init__(self, person: Person, depth: int = 0) -> None:
        self._person = person
        self._kinds: dict[type, Kind[Any]] = {
            EventCount: Counts(person),
            AggregateTest: Aggregates(person),
            SequenceTest: Sequences(person),
            AttributeTest: Values(person),
            AttributeDate: Dates(person),
            Activity: Candidates(person),
            MemberOf: _Memberships(person, depth),
        }
        self._timelines: dict[Criterion, Timeline] = {}

    def explanation(self, tree: Node) -> Explanation:
        now, line = self._person.now, self.timeline(tree)
        member, change = line.at(now), line.next_turn(now)
        nodes = {node.id: self._verdict(node) for node in _nodes_of(tree) if node.id}
        misses = () if member else self._misses(tree)
        known_from = max(self._known_from(node) for node in _nodes_of(tree))
        return Explanation(
            member,
            self._since(tree),
            change,
            self._turn(tree, change),
            nodes,
            misses,
            None if known_from == -FAR else known_from,
            None if line.last == FAR else line.last,
        )

    def timeline(self, node: Node) -> Timeline:
        match node:
            case Leaf(criterion, negated):
                if criterion not in self._timelines:
                    self._timelines[criterion] = self._kinds[type(criterion)].timeline(criterion)
                return ~self._timelines[criterion] if negated else self._timelines[criterion]
            case Not(inner):
                return ~self.timeline(inner)
            case Group(every, nodes):
                return combined(every, [self.timeline(inner) for inner in nodes])

    def _since(self, node: Node) -> int | None:
        since = self.timeline(node).since(self._person.now)
        return None if since is None or since <= self._known_from(node) else since

    def _known_from(self, node: Node) -> int:
        """Events are known for a look-back before each of the instants of the last look-back, and not for earlier ones."""
        line = self.timeline(node)
        return max(line.first, self._person.events_known_from) if self._reads_events(node) else line.first

    def _reads_events(self, node: Node) -> bool:
        trees, seen = [node], set[int]()
        for tree in trees:
            for criterion in criteria_of(tree):
                if any(True for _ in matches_of(criterion)):
                    return True
                if isinstance(criterion, MemberOf) and criterion.audience not in seen:
                    seen.add(criterion.audience)
                    inner = self._person.tree_of(criterion.audience)
                    trees += [] if inner is None else [inner]
        return False

    def _verdict(self, node: Node) -> Verdict:
        now, line = self._person.now, self.timeline(node)
        holds = line.at(now)
        finding = self._finding(node, wanted=True) if _is_criterion(node) else None
        return Verdict(holds, self._since(node), line.next_turn(now), finding)

    def _finding(self, criterion: Node, *, wanted: bool) -> Finding:
        """Of a criterion that is several leaves: of the first of them that has a value."""
        leaves = [node for node in _nodes_of(criterion) if isinstance(node, Leaf)]
        findings = [self._kinds[type(leaf.criterion)].finding(leaf.criterion, wanted=wanted != leaf.negated) for leaf in leaves]
        return next((finding for finding in findings if isinstance(finding, Held) and finding.value is not None), findings[0])

    def _misses(self, tree: Node) -> tuple[Miss, ...]:
        now = self._person.now
        misses: dict[str, Miss] = {}
        for node, wanted in self._fewest(tree, True) or ():
            miss = Miss(node.id, wanted, self._finding(node, wanted=wanted), self.timeline(node).next_turn(now))
            misses.setdefault(node.id, miss)
        return tuple(misses.values())

    def _fewest(self, node: Node, wanted: bool) -> list[tuple[Node, bool]] | None:
        """The fewest criteria that would have to turn for the node to be what is wanted, each with what it would have to be; None: there is
        no way."""
        match node:
            case _ if _is_criterion(node):
                return [] if self.timeline(node).at(self._person.now) == wanted else [(node, wanted)]
            case Not(inner):
                return self._fewest(inner, not wanted)
            case Group(every, nodes):
                parts = [self._fewest(inner, wanted) for inner in nodes]
                ways = [part for part in parts if part is not None]
                if every == wanted:  # each part is needed
                    return [one for part in ways for one in part] if len(ways) == len(parts) else None
                return min(ways, key=len, default=None)
            case _:
                raise AssertionError("a leaf is a criterion")

    def _turn(self, tree: Node, at: int | None) -> Turn | None:
        """The first criterion that turns at that instant."""
        if at is None:
            return None
        for node in _nodes_of(tree):
            if _is_criterion(node) and (line := self.timeline(node)).at(at) != line.at(at - 1):
                cause = self._kinds[type(node.criterion)].cause(node.criterion, at) if isinstance(node, Leaf) else None
                return Turn(node.id, cause)
        return None


class _Memberships:
    """Of other audiences: their trees, worked out the same way."""

    def __init__(self, person: Person, depth: int) -> None:
        self._person = person
        self._depth = depth

    def timeline(self, criterion: MemberOf) -> Timeline:
        return self._person.memberships[criterion.audience]

    def finding(self, criterion: MemberOf, *, wanted: bool) -> Inner:
        """Why in the inner audience: of the outermost one only, so one level deep."""
        tree = self._person.tree_of(criterion.audience)
        found = None if tree is None or self._depth else _Walk(self._person, self._depth + 1).explanation(tree)
        return Inner(criterion.audience, tree is not None, found)

    def cause(self, criterion: MemberOf, at: int) -> Cause | None:
        return None


def _is_criterion(node: Node) -> bool:
    """Whether it is one of the definition's: a leaf, or several that it was compiled to, which have no ids of their own."""
    return isinstance(node, Leaf) or (node.id != "" and isinstance(node, Group) and bool(node.nodes) and not any(map(_has_ids, node.nodes)))


def _has_ids(node: Node) -> bool:
    return any(inner.id for inner in _nodes_of(node))


def _nodes_of(node: Node) -> Iterator[Node]:
    yield node
    match node:
        case Group(_, nodes):
            for inner in nodes:
                yield from _nodes_of(inner)
        case Not(inner):
            yield from _nodes_of(inner)
