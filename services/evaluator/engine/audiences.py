"""Memberships, kept right as the bits of criteria turn. Only people of whom a bit turned are looked at; audiences of one shape together."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, groupby

import numpy as np
from numpy.typing import NDArray

from .bits import PLACE_BITS, PLACE_MASK, BitRows, Row, ordinals_of
from .facts import Changes, Ordinals
from .keys import Keys, expand, sorted_unique, starts_of_groups
from .tree import Criterion, Node, Shape, form_of, leaves_of, shape_of

Truth = NDArray[np.uint8]
SlotOf = Callable[[Criterion], int]


class Cycle(ValueError):
    """Audiences that are members of each other have no meaning."""

    def __init__(self, audiences: list[int]) -> None:
        super().__init__(f"audiences that contain each other: {' -> '.join(map(str, audiences))}")
        self.audiences = audiences


@dataclass
class Audience:
    id: int
    tree: Node
    member_of: frozenset[int]  # the audiences it reads
    slot: int  # of its members
    size: int

    def __post_init__(self) -> None:
        form = form_of(self.tree)
        self.shape = shape_of(form)
        self.leaves = list(leaves_of(form))


class Audiences:
    def __init__(self, bits: BitRows) -> None:
        self.known: dict[int, Audience] = {}
        self._bits = bits
        self._levels: list[_Level] | None = None
        self._asked: dict[int, list[Ordinals]] = {}
        self._readers: defaultdict[int, set[int]] = defaultdict(set)  # of an audience: those that read it

    def put(self, audience: Audience, moved: Row) -> None:
        """A new audience, or a new definition of one; those who move by that are looked at in the audiences that read it."""
        self._forget_reading(audience.id)
        self.known[audience.id] = audience
        for inner in audience.member_of:
            self._readers[inner].add(audience.id)
        self._levels = None
        self._ask_readers(audience.id, moved)

    def remove(self, audience_id: int) -> None:
        self._forget_reading(audience_id)
        audience = self.known.pop(audience_id)
        self._levels = None
        self._asked.pop(audience_id, None)
        self._ask_readers(audience_id, self._bits.row(audience.slot))

    def refuse_cycle(self, audience_id: int, member_of: Iterable[int]) -> None:
        """Where it would read itself, through however many others: each is looked at once."""
        came_from = dict.fromkeys(member_of, audience_id)
        for inner in (waiting := [*came_from]):
            if inner == audience_id:
                way = [inner]
                while (inner := came_from[inner]) != audience_id:
                    way.append(inner)
                raise Cycle([audience_id, *reversed(way)])
            for other in self.known[inner].member_of if inner in self.known else ():
                if other not in came_from:
                    came_from[other] = inner
                    waiting.append(other)

    def follow(self, turned: Keys, slot_of: SlotOf) -> dict[int, Changes]:
        """Mend the memberships after these bits turned; what changed. Inner audiences come before those that read them."""
        if self._levels is None:
            self._levels = [_Level(self._bits, audiences, slot_of) for audiences in self._by_level()]
        asked, self._asked = {audience: np.concatenate(people) for audience, people in self._asked.items()}, {}
        changes: dict[int, Changes] = {}
        for level in self._levels:
            moved, changes_of_level = level.follow(turned, asked)
            changes |= changes_of_level
            if level is not self._levels[-1]:
                turned = np.concatenate([turned, moved])
        return changes

    def _ask_readers(self, audience_id: int, people: Row) -> None:
        for reader in self._readers.get(audience_id, ()):
            self._asked.setdefault(reader, []).append(ordinals_of(people))

    def _forget_reading(self, audience_id: int) -> None:
        for inner in self.known[audience_id].member_of if audience_id in self.known else ():
            self._readers[inner].discard(audience_id)

    def _by_level(self) -> list[list[Audience]]:
        """Every audience in a later level than those it reads."""
        inner_ones = {audience.id: len(audience.member_of & self.known.keys()) for audience in self.known.values()}  # not in a level yet
        readers: dict[int, list[Audience]] = {}
        for audience in self.known.values():
            for inner in audience.member_of:
                readers.setdefault(inner, []).append(audience)
        levels: list[list[Audience]] = []
        ready = [audience for audience in self.known.values() if not inner_ones[audience.id]]
        while ready:
            levels.append(ready)
            ready = []
            for inner_one in levels[-1]:
                for audience in readers.get(inner_one.id, ()):
                    inner_ones[audience.id] -= 1
                    if not inner_ones[audience.id]:
                        ready.append(audience)
        return levels


class _Level:
    """Audiences that don't read each other, in an order in which those of one shape are neighbours."""

    def __init__(self, bits: BitRows, audiences: list[Audience], slot_of: SlotOf) -> None:
        self._bits = bits
        self._audiences = sorted(audiences, key=lambda audience: repr(audience.shape))
        self._slots = np.array([audience.slot for audience in self._audiences], np.int64)
        self._position = {audience.id: position for position, audience in enumerate(self._audiences)}
        neighbours = [list(same) for _, same in groupby(self._audiences, key=lambda audience: audience.shape)]
        starts = accumulate((len(same) for same in neighbours), initial=0)
        self._shapes = [_SameShape(start, same, slot_of) for start, same in zip(starts, neighbours, strict=False)]
        uses = sorted({(slot, position) for position, audience in enumerate(self._audiences) for slot in _leaf_slots(audience, slot_of)})
        self._user_at = np.array([position for _, position in uses], np.int64)
        self._users = np.bincount(np.array([slot for slot, _ in uses], np.int64))
        self._first_user = np.cumsum(self._users) - self._users

    def follow(self, turned: Keys, asked: Mapping[int, Ordinals]) -> tuple[Keys, dict[int, Changes]]:
        slots = turned >> PLACE_BITS
        used = slots < len(self._users)
        turned, slots = turned[used], slots[used]
        flip, at = expand(self._first_user[slots], self._users[slots])
        rows = [self._user_at[at] << PLACE_BITS | turned[flip] & PLACE_MASK]
        rows += [self._position[audience] << PLACE_BITS | people for audience, people in asked.items() if audience in self._position]
        places = sorted_unique(np.concatenate(rows))
        position, people = places >> PLACE_BITS, places & PLACE_MASK

        inside = np.empty(len(places), np.uint8)
        for shape in self._shapes:
            start, end = np.searchsorted(position, [shape.positions.start, shape.positions.stop])
            if end > start:
                inside[start:end] = shape.truth(self._bits, position[start:end] - shape.positions.start, people[start:end])
        moves = inside != self._bits.get(self._slots[position], people)
        position, people, enters = position[moves], people[moves], inside[moves] == 1
        moved = np.sort(self._slots[position] << PLACE_BITS | people)
        self._bits.flip(moved)
        return moved, self._changes(position, people, enters)

    def _changes(self, position: NDArray[np.int64], people: Ordinals, enters: NDArray[np.bool_]) -> dict[int, Changes]:
        changed = position[starts_of_groups(position)]
        added, dropped = people[enters], people[~enters]
        added_at = [*np.searchsorted(position[enters], changed).tolist(), len(added)]
        dropped_at = [*np.searchsorted(position[~enters], changed).tolist(), len(dropped)]
        changes = {}
        for i, at in enumerate(changed.tolist()):
            audience = self._audiences[at]
            change = Changes(added[added_at[i] : added_at[i + 1]], dropped[dropped_at[i] : dropped_at[i + 1]])
            audience.size += len(change.added) - len(change.dropped)
            changes[audience.id] = change
        return changes


class _SameShape:
    """Neighbours of a level whose trees differ only in what is in the leaves."""

    def __init__(self, start: int, audiences: list[Audience], slot_of: SlotOf) -> None:
        self.positions = slice(start, start + len(audiences))
        self._shape = audiences[0].shape
        self._slots = np.array([_leaf_slots(audience, slot_of) for audience in audiences], np.int64).T.copy()  # by leaf, then by audience
        self._negated = np.array([[leaf.negated for leaf in audience.leaves] for audience in audiences], np.uint8).T.copy()

    def truth(self, bits: BitRows, which: NDArray[np.int64], people: Ordinals) -> Truth:
        """1 where the person is to be in the audience, which is counted from the first of this shape."""
        leaves = (bits.get(slots[which], people) ^ negated[which] for slots, negated in zip(self._slots, self._negated, strict=True))
        return _evaluate(self._shape, leaves, np.full(len(people), 1, np.uint8))


def _leaf_slots(audience: Audience, slot_of: SlotOf) -> list[int]:
    return [slot_of(leaf.criterion) for leaf in audience.leaves]


def _evaluate(shape: Shape, leaves: Iterator[Truth], true: Truth) -> Truth:
    """The tree over the leaves' bits, which are taken in the shape's order."""
    if shape is None:
        return next(leaves)
    every, parts = shape
    result = true if every else true ^ true
    for part in parts:
        inner = _evaluate(part, leaves, true)
        result = result & inner if every else result | inner
    return result
