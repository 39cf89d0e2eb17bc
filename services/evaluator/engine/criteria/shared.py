"""The criteria in use: each has a slot of bits, once, however many audiences use it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import numpy as np

from ..bits import BitRows, Row
from ..events import EventIndex
from ..facts import AttributeChange, Ordinals, Property, Value
from ..keys import Keys
from ..measure import Known
from ..sieve import sieves_of
from ..sieves import Sieves
from ..tree import (
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
)
from ..work import Work
from .activity import ActivityCriteria
from .aggregate import AggregateCriteria
from .attribute import AttributeCriteria
from .event import EventCriteria, Touched
from .sequence import SequenceCriteria


class Criteria:
    """The bits are right for the facts taken in and the instant given, save for `touched` events, which `settle` counts.

    Every bit that turns is remembered until `take_turned`: whose memberships have to be looked at.
    """

    def __init__(self, index: EventIndex, sieves: Sieves, bits: BitRows, member_slots: Mapping[int, int]) -> None:
        self._sieves = sieves
        self._bits = bits
        self._member_slots = member_slots
        self.work = Work()
        self._events = EventCriteria(index, bits, self.work)
        self._aggregates = AggregateCriteria(index, sieves, bits, self.work)
        self._sequences = SequenceCriteria(index, bits, self.work)
        self._attributes = AttributeCriteria(bits, self.work)
        self._activity = ActivityCriteria(bits)
        self._slots: dict[Criterion, int] = {}
        self._uses: Counter[Criterion] = Counter()
        self._fresh: dict[Criterion, Row] = {}  # computed since the last change, and in use only if somebody wants them after it
        self._holds: Counter[Criterion] = Counter()  # of these
        self._touched: list[Touched] = []  # by events that came
        self._crossed: list[Touched] = []  # by events that crossed an edge of an event criterion
        self._turned: list[Keys] = []

    @property
    def nbytes(self) -> int:
        return self._attributes.nbytes

    # --- which
    def use(self, criterion: Criterion, now: int, computed: Row | None = None) -> None:
        """Keep its bits from now on; once more for each who uses it. Settled. `computed`: what they are now."""
        self._uses[criterion] += 1
        if isinstance(criterion, MemberOf) or criterion in self._slots:
            return
        row = self._computed(criterion, now) if computed is None else computed
        slot = self._slots[criterion] = self._bits.new()
        self._bits.row(slot)[:] = row
        self.work.count(slot, self._bits.people)
        self._sieves.use(sieves_of(criterion))
        match criterion:
            case EventCount():
                self._events.add(criterion, slot)
            case AggregateTest():
                self._aggregates.add(criterion, slot)
            case SequenceTest():
                self._sequences.add(criterion, slot)
            case AttributeTest() | AttributeDate():
                self._attributes.add(criterion, slot)
            case Activity():
                self._activity.add(criterion, slot)

    def learn(self, criterion: Criterion) -> bool:
        """A piece of what it takes to hold it; whether that can be done at once."""
        return not isinstance(criterion, AttributeTest | AttributeDate) or criterion in self._slots or self._attributes.learn(criterion)

    def hold(self, criterion: Criterion, now: int) -> None:
        """Compute it now; where it is still wanted when something changes (`keep`), it is in use from then on. Settled."""
        if criterion in self._slots or isinstance(criterion, MemberOf):
            self.use(criterion, now)
            return
        if criterion not in self._fresh:
            self._fresh[criterion] = self._computed(criterion, now)
            # It may be long until something changes; what nobody uses would be let go of meanwhile.
            self._sieves.reserve(sieves_of(criterion))
        self._holds[criterion] += 1

    def let_go(self, criterion: Criterion) -> None:
        """As often as it was held."""
        if criterion not in self._fresh:
            self.release(criterion)
            return
        self._holds[criterion] -= 1
        if not self._holds[criterion]:
            del self._holds[criterion], self._fresh[criterion]
            self._sieves.release(sieves_of(criterion))

    def keep(self, now: int) -> None:
        """Before anything changes."""
        fresh, self._fresh = self._fresh, {}
        for criterion, row in fresh.items():
            self.use(criterion, now, row)
            self._sieves.release(sieves_of(criterion))
            self._uses[criterion] += self._holds.pop(criterion) - 1

    def release(self, criterion: Criterion) -> None:
        self._uses[criterion] -= 1
        if self._uses[criterion]:
            return
        del self._uses[criterion]
        match criterion:
            case EventCount():
                self._events.remove(criterion)
            case AggregateTest():
                self._aggregates.remove(criterion)
            case SequenceTest():
                self._sequences.remove(criterion)
            case AttributeTest() | AttributeDate():
                self._attributes.remove(criterion)
            case Activity():
                self._activity.remove(criterion)
            case MemberOf():
                return
        self._sieves.release(sieves_of(criterion))
        slot = self._slots.pop(criterion)
        self._bits.free(slot)
        self.work.forget(slot)

    def slot(self, criterion: Criterion) -> int:
        """Of a criterion in use. An audience that isn't active has no members."""
        return self._member_slots.get(criterion.audience, 0) if isinstance(criterion, MemberOf) else self._slots[criterion]

    def row(self, node: Node, now: int, of_nodes: dict[str, Row] | None = None) -> Row:
        """For whom the tree is true now, whether its criteria are in use or not; beside it the same of each node with an id. Settled."""
        match node:
            case Leaf(criterion, negated):
                row = self._row_of_criterion(criterion, now)
                row = ~row if negated else row
            case Not(inner):
                row = ~self.row(inner, now, of_nodes)
            case Group(every, nodes):
                row = np.full(self._bits.width, 0xFF if every else 0, np.uint8)
                for inner in nodes:
                    part = self.row(inner, now, of_nodes)
                    row = row & part if every else row | part
        if of_nodes is not None and node.id:
            of_nodes[node.id] = row
        return row

    def _row_of_criterion(self, criterion: Criterion, now: int) -> Row:
        if isinstance(criterion, MemberOf) or criterion in self._slots:
            return self._bits.row(self.slot(criterion))
        if criterion in self._fresh:
            return self._fresh[criterion]
        return self._computed(criterion, now)

    def _computed(self, criterion: EventCount | AggregateTest | SequenceTest | AttributeTest | AttributeDate | Activity, now: int) -> Row:
        self._sieves.require(sieves_of(criterion))
        match criterion:
            case EventCount():
                return self._events.row(criterion, now)
            case AggregateTest():
                return self._aggregates.row(criterion, now)
            case SequenceTest():
                return self._sequences.row(criterion, now)
            case AttributeTest() | AttributeDate():
                return self._attributes.row(criterion, now)
            case Activity():
                return self._activity.row(criterion)

    # --- one person
    def value_of(self, workspace: int, attribute: Property, ordinal: int, at: int) -> Value | None:
        """What a property is at an instant if nothing new is told; None where it is missing."""
        return self._attributes.value_of(workspace, attribute, ordinal, at)

    def held(self) -> AbstractSet[tuple[int, Property]]:
        """The workspace and property of each column."""
        return self._attributes.held()

    def to_come(self, workspace: int, attribute: Property, ordinal: int) -> Sequence[int]:
        """When more is known of a property."""
        return self._attributes.to_come(workspace, attribute, ordinal)

    def known_of(self, criterion: AggregateTest) -> Known:
        """The test of a single value, with what is known of it."""
        return self._aggregates.known_of(criterion)

    def is_active(self, criterion: Activity, ordinal: int) -> bool:
        """Whether the person has activity in one of the workspaces."""
        return ordinal < self._bits.people and bool(self._activity.row(criterion)[ordinal >> 3] >> (ordinal & 7) & 1)

    # --- what happens
    def touch(self, events: Touched) -> None:
        """The index has these events now."""
        self._touched.append(events)

    def change_attribute(self, change: AttributeChange, now: int) -> None:
        self._turn(self._attributes.change(change, now))

    def add_activity(self, workspace: int, people: Ordinals) -> None:
        self._turn(self._activity.change(workspace, people))

    def clear(self, people: Ordinals) -> None:
        """These are nobody any more."""
        self._turn(self._activity.clear(people))
        self._attributes.clear(people)

    def pass_time(self, before: int, now: int) -> None:
        """Before the index learns of the new instant."""
        self._turn(self._attributes.pass_time(before, now))
        self._crossed.append(self._events.crossing(before, now))
        self._aggregates.pass_time(before, now)
        self._sequences.pass_time(before, now)

    def settle(self, now: int) -> None:
        """Count where events were touched."""
        touched, self._touched = [events for events in self._touched if len(events.codes)], []
        crossed, self._crossed = [events for events in self._crossed if len(events.codes)], []
        if touched or crossed:
            self._turn([self._events.flips([*touched, *crossed], now)])
        self._turn([self._aggregates.flips(touched, now), self._sequences.flips(touched, now)])

    def take_turned(self) -> Keys:
        turned, self._turned = self._turned, []
        return np.concatenate([np.empty(0, np.int64), *turned])

    def tidy(self) -> None:
        self._sieves.tidy()
        self._attributes.tidy()

    def _turn(self, places: Iterable[Keys]) -> None:
        for part in places:
            if len(part):
                self._bits.flip(part)
                self._turned.append(part)
