"""What is different between two definitions, node by node: by criterion, not by text.

Nodes are paired: first those of one id, then those that mean the same, then criteria of one subject, then groups. What is left over was
removed or added.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from enum import Enum

from muster.definition.v1 import definition_pb2 as pb

from .canonical import keys_of, same, with_workspace
from .paths import walk
from .sentences.sentence import JOINS, text_of
from .sentences.telling import Telling


class DifferenceKind(Enum):
    """The numbers are those of muster.definition.v1.DifferenceKind."""

    ADDED = 1
    REMOVED = 2
    CHANGED = 3
    MOVED = 4
    WORKSPACES = 5
    INPUTS = 6


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference. The node and the path are of the new definition, of a removed node those of the old one; `before` and `after` are
    as in a sentence, empty where there is none."""

    kind: DifferenceKind
    node_id: str
    path: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Meaning:
    """What is compared: a definition with its workspaces and inputs."""

    definition: pb.Definition
    workspace_ids: tuple[int, ...]
    input_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """A node where it lies; `key` is alike for nodes that mean the same, `above` is None for the root."""

    node: pb.Node
    path: str
    key: bytes
    above: _Place | None

    @property
    def kind(self) -> str:
        return self.node.WhichOneof("kind") or ""


def differences(before: Meaning, after: Meaning, telling: Telling) -> list[Difference]:
    """All of them: those of the choices, those of the new definition in its order, and what was removed. None where both mean the same."""
    found = list(_of_choices(before, after))
    if same(before.definition, before.workspace_ids, after.definition, after.workspace_ids):
        return found
    old, new = _places(before), _places(after)
    partner = _partners(old, new)
    kept = set(partner.values())
    split, formed = _groups_around(kept), _groups_around(partner.keys())
    for place in new:
        if place in partner:
            found += _between(partner[place], place, partner, kept, telling)
        elif place.above is None or place.above in partner or place.above in formed:
            text = _head(place, telling) if place in formed else text_of(place.node, telling)
            found.append(_difference(DifferenceKind.ADDED, place, "", text))
    for place in old:
        if place not in kept and (place.above is None or place.above in kept or place.above in split):
            text = _head(place, telling) if place in split else text_of(place.node, telling)
            found.append(_difference(DifferenceKind.REMOVED, place, text, ""))
    return found


def _groups_around(places: Iterable[_Place]) -> set[_Place]:
    """All that these lie in."""
    around: set[_Place] = set()
    for place in places:
        above = place.above
        while above is not None and above not in around:
            around.add(above)
            above = above.above
    return around


def _of_choices(before: Meaning, after: Meaning) -> Iterator[Difference]:
    for kind, name, one, other in (
        (DifferenceKind.WORKSPACES, "workspace_ids", before.workspace_ids, after.workspace_ids),
        (DifferenceKind.INPUTS, "input_ids", before.input_ids, after.input_ids),
    ):
        if set(one) != set(other):
            yield Difference(kind, "", name, _numbers(one), _numbers(other))


def _numbers(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, sorted(set(numbers)))) or "all"


def _places(meaning: Meaning) -> list[_Place]:
    """Every node, parents before their children."""
    definition = with_workspace(meaning.definition, meaning.workspace_ids)
    places: list[_Place] = []
    way: list[_Place] = []
    for (path, node, depth), key in zip(walk(definition), keys_of(definition.root), strict=True):
        del way[depth:]
        places.append(_Place(node, path, key, way[-1] if way else None))
        way.append(places[-1])
    return places


def _partners(old: Sequence[_Place], new: Sequence[_Place]) -> dict[_Place, _Place]:
    """The old node of each new one that has one."""
    partner: dict[_Place, _Place] = {}
    rules: tuple[Callable[[_Place], Hashable | None], ...] = (lambda one: one.node.id or None, lambda one: one.key, _subject)
    for rule in rules:
        kept = set(partner.values())
        free: defaultdict[Hashable, deque[_Place]] = defaultdict(deque)
        for place in old:
            if place not in kept and (value := rule(place)) is not None:
                free[value].append(place)
        for place in new:
            if place not in partner and (value := rule(place)) is not None and free[value]:
                partner[place] = free[value].popleft()
    groups = _Groups(old, set(partner.values()))
    for place in new:  # parents first, so that the partner of what a group lies in is known
        if place in partner or place.kind == "criterion":
            continue
        above = partner.get(place.above) if place.above is not None else None
        if (place.above is None or above is not None) and (found := groups.take(above, place.kind)) is not None:
            partner[place] = found
    return partner


class _Groups:
    """Old groups that have no partner, by what they lie in and by kind: there may be a thousand in one."""

    def __init__(self, old: Sequence[_Place], kept: Set[_Place]) -> None:
        self._free: defaultdict[_Place | None, defaultdict[str, deque[tuple[int, _Place]]]] = defaultdict(lambda: defaultdict(deque))
        for number, place in enumerate(old):
            if place not in kept and (kind := place.kind) != "criterion":
                self._free[place.above][kind].append((number, place))

    def take(self, above: _Place | None, kind: str) -> _Place | None:
        """The first that lies there, rather one of this kind; it is free no longer. None when there is none."""
        here = self._free[above]
        first = here[kind] or min((some for some in here.values() if some), key=lambda some: some[0][0], default=here[kind])
        return first.popleft()[1] if first else None


def _subject(place: _Place) -> Hashable | None:
    """What a criterion looks at, whatever it asks of that; None of a group."""
    if place.kind != "criterion":
        return None
    criterion = place.node.criterion
    kind = criterion.WhichOneof("kind") or ""
    return kind, SUBJECTS[kind](criterion)


def _match(match: pb.EventMatch) -> Hashable:
    return match.type, match.name, match.name_test.SerializeToString(deterministic=True)


def _between(old: _Place, new: _Place, partner: dict[_Place, _Place], kept: Set[_Place], telling: Telling) -> Iterator[Difference]:
    """What became of a node that is in both. That its group was taken apart, or put around it, is told of the group."""
    if new.kind == old.kind == "criterion":
        if old.key != new.key:
            yield _difference(DifferenceKind.CHANGED, new, text_of(old.node, telling), text_of(new.node, telling))
    elif old.kind != new.kind:
        yield _difference(DifferenceKind.CHANGED, new, _head(old, telling), _head(new, telling))
    regrouped = (old.above is not None and old.above not in kept) or (new.above is not None and new.above not in partner)
    above = None if new.above is None else partner.get(new.above)
    if not regrouped and above is not old.above:
        yield _difference(DifferenceKind.MOVED, new, _within(old, telling), _within(new, telling))


def _head(place: _Place, telling: Telling) -> str:
    return JOINS[place.kind].rstrip(":") if place.kind in JOINS else text_of(place.node, telling)


def _within(place: _Place, telling: Telling) -> str:
    return "the whole" if place.above is None else f"{_head(place.above, telling)} ({place.above.path})"


def _difference(kind: DifferenceKind, place: _Place, before: str, after: str) -> Difference:
    return Difference(kind, place.node.id, place.path, before, after)


# Of every kind of criterion; a test compares them with the contract.
SUBJECTS: dict[str, Callable[[pb.Criterion], Hashable]] = {
    "event": lambda one: _match(one.event.match),
    "aggregate": lambda one: (_match(one.aggregate.match), one.aggregate.function, one.aggregate.attribute, one.aggregate.field),
    "sequence": lambda one: "",
    "user_attribute": lambda one: one.user_attribute.attribute,
    "identity": lambda one: one.identity.type,
    "device": lambda one: one.device.field,
    "seen": lambda one: one.seen.edge,
    "location": lambda one: (one.location.WhichOneof("kind"), one.location.place.field),
    "consent": lambda one: (one.consent.regulation, one.consent.purpose),
    "lifetime_value": lambda one: "",
    "attribution": lambda one: one.attribution.field,
    "member_of": lambda one: "",
}
