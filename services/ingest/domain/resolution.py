"""Who is who: which person a batch is about, and which people turn out to be one.

1. An MPID that the sender gives is the person, and nobody becomes one with anybody by such a batch.
2. Else the strongest identity that is known decides, unless its person can't be the one who is meant: a new identity that is stronger
   would be one too many of its type there (two customer ids are two people); or, where it names a device, its person has another
   user identity of a type that the batch brings anew (somebody else uses the device). Then the next one decides; else the person is new.
3. Identities that are not known yet become the person's. Where an account says so, one too many of its type takes the place of the oldest:
   an e-mail address changed.
4. Another person's identity of a type that moves (push tokens) becomes the person's. Any other says that the two are one. They are, unless
   together they have too many identities of a type; or only a device says so and both have user identities. Who was found first stays,
   the other one ends. People who are not one keep what they have.
5. An identity that the person is said to have no longer (a change of identities) is nobody's.
6. Where the sender says so (an alias), two people are one whatever they have, and nothing is one too many.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from services.ingest.domain.identities import USUAL, Rules, names_a_device


@dataclass(slots=True)
class Person:
    """Who a batch is about: the MPID that the sender gave (0: none), and the identities, the strongest first, by their types and keys."""

    mpid: int
    types: Sequence[int]
    keys: Sequence[bytes]
    # The types and keys of identities of which the sender says that whoever has them is this person too (an alias). Nobody is given them.
    claims: Sequence[tuple[int, bytes]] = ()
    # The keys of identities that the person has no longer, if it is the person who has them.
    losses: Sequence[bytes] = ()
    # The MPID should the person turn out to be new; drawn once, so that deciding again gives the same.
    fresh: int = 0


# The type of an identity, and when it was entered, in milliseconds.
Held = tuple[int, int]

_NOW_MS = 1 << 63


@dataclass(frozen=True, slots=True)
class Merge:
    """Somebody was found to be one with another, by an identity of this type; `of` is the place of the batch that told."""

    mpid: int
    into: int
    type: int
    of: int


@dataclass(slots=True)
class Decision:
    """What comes of people, one after the other. Of use only if nothing is needed: else it's to be decided again with that."""

    # Who each of them is, in their order, once all merges are done.
    mpids: list[int] = field(default_factory=list)
    # Identities that are new, and whose they are.
    added: dict[bytes, int] = field(default_factory=dict)
    # Those that went from one person, as people were before all this, to another.
    moved: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    # Those that others took the place of, and whose they were before all this.
    removed: dict[bytes, int] = field(default_factory=dict)
    # Those that were taken from somebody and given back: they are as new there.
    returned: dict[bytes, int] = field(default_factory=dict)
    # People who were known before and end, each once, and into whom in the end.
    merges: list[Merge] = field(default_factory=list)
    # The identities that they had, and whose they are now.
    carried: dict[bytes, int] = field(default_factory=dict)
    # People of whom all identities must be known to decide.
    needs: set[int] = field(default_factory=set)


def decide(
    people: Sequence[Person],
    known: Mapping[bytes, int],
    draw: Callable[[], int],
    *,
    held: Mapping[int, Mapping[bytes, Held]] | None = None,
    into: Mapping[int, int] | None = None,
    rules: Rules = USUAL,
) -> Decision:
    """Who each of these people of one account is, one after the other: what the first brings is known for the second.

    `known`: whose an identity is, by its key. `held`: all identities of some people, by their keys. `into`: people who were
    merged, and into whom. `draw` gives a new MPID.
    """
    return _Deciding(known, held or {}, dict(into or {}), rules, draw).all(people)


class _Deciding:
    def __init__(
        self,
        known: Mapping[bytes, int],
        held: Mapping[int, Mapping[bytes, Held]],
        into: dict[int, int],
        rules: Rules,
        draw: Callable[[], int],
    ) -> None:
        self._known = known
        self._loaded = held
        self._into = into
        self._rules = rules
        self._draw = draw
        self._owners: dict[bytes, int] = {}
        self._held: dict[int, dict[bytes, Held]] = {}
        # What people were given before all that they have is known.
        self._later: dict[int, dict[bytes, Held]] = {}
        # Whose identities were, as people were before all this: of those that changed (0: nobody's), and of those of merged people.
        self._before: dict[bytes, int] = {}
        self._home: dict[bytes, int] = {}
        self._new: set[int] = set()
        self._decision = Decision()

    def all(self, people: Sequence[Person]) -> Decision:
        decision = self._decision
        for place, person in enumerate(people):
            decision.mpids.append(self._quickly(person) or self._with_care(person, place))
        decision.mpids = [self._final(mpid) for mpid in decision.mpids]
        for key, before in self._before.items():
            owner = self._owner(key)
            if not before:
                if owner:
                    decision.added[key] = owner
            elif not owner:
                decision.removed[key] = before
            elif owner == self._final(before):
                decision.returned[key] = owner
            else:
                decision.moved[key] = before, owner
        # Also of identities that no batch names: whose those are is known from whom they were.
        decision.carried = {key: owner for key, home in self._home.items() if (owner := self._final(self._owners.get(key, home)))}
        decision.merges = [
            Merge(merge.mpid, self._final(merge.into), merge.type, merge.of) for merge in decision.merges if merge.mpid not in self._new
        ]
        return decision

    def _quickly(self, person: Person) -> int:
        """The person, where all identities are known as one person's; else 0."""
        if person.claims or person.losses:
            return 0
        if not person.keys:
            return self._final(person.mpid)
        first = self._owner(person.keys[0])
        if first and (not person.mpid or self._final(person.mpid) == first) and all(self._owner(key) == first for key in person.keys[1:]):
            return first
        return 0

    def _with_care(self, person: Person, place: int) -> int:
        mpid = self._final(person.mpid) or self._found(person)
        if not mpid:
            if not person.fresh:
                person.fresh = self._draw()
            mpid = person.fresh
            self._new.add(mpid)
            self._held[mpid] = {}
        mine: set[bytes] = set()
        for type_, key in zip(person.types, person.keys, strict=True):
            owner = self._owner(key)
            if not owner:
                self._add(mpid, type_, key, mine, bounded=not person.claims)
            elif owner != mpid:
                if type_ in self._rules.moving:
                    self._remove(owner, key)
                    self._enter(mpid, type_, key)
                elif not person.mpid and self._rules.merging and self._are_one(owner, mpid, type_):
                    self._merge(owner, mpid, type_, place)
            mine.add(key)
        for type_, key in person.claims:
            owner = self._owner(key)
            if owner not in (0, mpid) and self._rules.merging:
                self._merge(owner, mpid, type_, place)
        for key in person.losses:
            if self._owner(key) == mpid:
                self._remove(mpid, key)
        return mpid

    def _found(self, person: Person) -> int:
        new = [type_ for type_, key in zip(person.types, person.keys, strict=True) if not self._owner(key)]
        stronger: list[int] = []
        for type_, key in zip(person.types, person.keys, strict=True):
            owner = self._owner(key)
            if not owner:
                stronger.append(type_)
            elif self._may_be(owner, type_, new, stronger):
                return owner
        return next((owner for _, key in person.claims if (owner := self._owner(key))), 0)

    def _may_be(self, mpid: int, by: int, new: Sequence[int], stronger: Sequence[int]) -> bool:
        if names_a_device(by):
            asked = {type_: 1 for type_ in new if not names_a_device(type_)}
        else:
            asked = {type_: self._rules.most[type_] for type_ in stronger if self._rules.most.get(type_)}
        if not asked:
            return True
        types = self._types(mpid)
        return all(types.count(type_) < most for type_, most in asked.items())

    def _add(self, mpid: int, type_: int, key: bytes, mine: set[bytes], *, bounded: bool) -> None:
        most = self._rules.most.get(type_, 0) if bounded and type_ in self._rules.replacing else 0
        if most:
            same = [(age, other) for other, (other_type, age) in self._names(mpid).items() if other_type == type_]
            if len(same) >= most:
                replaceable = [one for one in same if one[1] not in mine]
                if not replaceable:
                    # The batch itself has too many.
                    return
                self._remove(mpid, min(replaceable)[1])
        self._enter(mpid, type_, key)

    def _remove(self, mpid: int, key: bytes) -> None:
        self._before.setdefault(key, self._home.get(key, mpid))
        self._owners[key] = 0
        for names in (self._held.get(mpid), self._later.get(mpid)):
            if names is not None:
                names.pop(key, None)

    def _enter(self, mpid: int, type_: int, key: bytes) -> None:
        self._before.setdefault(key, 0)
        self._owners[key] = mpid
        names = self._held.get(mpid)
        (self._later.setdefault(mpid, {}) if names is None else names)[key] = type_, _NOW_MS

    def _are_one(self, owner: int, mpid: int, by: int) -> bool:
        both = self._types(owner), self._types(mpid)
        if names_a_device(by) and all(any(not names_a_device(type_) for type_ in types) for types in both):
            return False
        types = [*both[0], *both[1]]
        return all(types.count(type_) <= most for type_, most in self._rules.most.items() if most)

    def _merge(self, mpid: int, into: int, by: int, place: int) -> None:
        names, joined = self._names(mpid), self._names(into)
        for key in names:
            self._home.setdefault(key, mpid)
        joined.update(names)
        self._into[mpid] = into
        self._decision.merges.append(Merge(mpid, into, by, place))

    def _owner(self, key: bytes) -> int:
        mpid = self._owners.get(key)
        if mpid is None:
            mpid = self._known.get(key, 0)
        return self._final(mpid)

    def _final(self, mpid: int) -> int:
        while (into := self._into.get(mpid)) is not None:
            mpid = into
        return mpid

    def _types(self, mpid: int) -> list[int]:
        return [type_ for type_, _ in self._names(mpid).values()]

    def _names(self, mpid: int) -> dict[bytes, Held]:
        """All identities of a person. Where they are not known they are asked for, and a guess serves until then."""
        names = self._held.get(mpid)
        if names is None:
            loaded = self._loaded.get(mpid)
            if loaded is None:
                self._decision.needs.add(mpid)
            stay = {key: held for key, held in (loaded or {}).items() if self._final(self._owners.get(key, mpid)) == mpid}
            names = self._held[mpid] = stay | self._later.pop(mpid, {})
        return names
