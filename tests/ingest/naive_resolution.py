"""The rules of who is who (services/ingest/domain/resolution.py) a second time, plainly: a world that every batch changes at once.

Nothing is looked up, kept aside or decided again here: the whole world is at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class World:
    """Everybody's identities, (type, value) each, by MPID, with the round that entered it; `ended`: whom people are one with."""

    most: dict[int, int]
    moving: set[int]
    replacing: set[int]
    merging: bool = True
    people: dict[int, dict[tuple[int, str], int]] = field(default_factory=dict)
    round: int = 0
    ended: dict[int, int] = field(default_factory=dict)

    def take(
        self,
        given: int,
        identities: Sequence[tuple[int, str]],
        fresh: int,
        claims: Sequence[tuple[int, str]] = (),
        losses: Sequence[tuple[int, str]] = (),
    ) -> int:
        """What a batch comes to: who it is about."""
        while given in self.ended:
            given = self.ended[given]
        mpid = given or self._who(identities) or next((self.owner(one) for one in claims if self.owner(one)), 0) or fresh
        held = self.people.setdefault(mpid, {})
        for place, identity in enumerate(identities):
            owner = self.owner(identity)
            if owner == 0:
                most = 0 if claims or identity[0] not in self.replacing else self.most[identity[0]]
                same = [one for one in held if one[0] == identity[0]]
                if most and len(same) >= most:
                    replaceable = [one for one in same if one not in identities[:place]]
                    if not replaceable:
                        continue
                    del held[min(replaceable, key=lambda one: (held[one], one[1]))]
                held[identity] = self.round
            elif owner != mpid and identity[0] in self.moving:
                del self.people[owner][identity]
                held[identity] = self.round
            elif owner != mpid and not given and self.merging and self._one(owner, mpid, identity[0]):
                self._join(owner, mpid)
        for claim in claims:
            if self.owner(claim) not in (0, mpid) and self.merging:
                self._join(self.owner(claim), mpid)
        for lost in losses:
            self.people[mpid].pop(lost, None)
        return mpid

    def _join(self, owner: int, mpid: int) -> None:
        self.people[mpid] |= self.people.pop(owner)
        self.ended[owner] = mpid

    def owner(self, identity: tuple[int, str]) -> int:
        return next((mpid for mpid, held in self.people.items() if identity in held), 0)

    def _who(self, identities: Sequence[tuple[int, str]]) -> int:
        new = [type_ for type_, value in identities if not self.owner((type_, value))]
        for place, identity in enumerate(identities):
            owner = self.owner(identity)
            if not owner:
                continue
            types = [type_ for type_, _ in self.people[owner]]
            if device(identity[0]):
                excluded = any(not device(type_) and type_ in types for type_ in new)
            else:
                stronger = [type_ for type_, value in identities[:place] if not self.owner((type_, value))]
                excluded = any(self.most.get(type_) and types.count(type_) >= self.most[type_] for type_ in stronger)
            if not excluded:
                return owner
        return 0

    def _one(self, one: int, other: int, by: int) -> bool:
        types = [[type_ for type_, _ in self.people[mpid]] for mpid in (one, other)]
        if any((types[0] + types[1]).count(type_) > most for type_, most in self.most.items() if most):
            return False
        return not (device(by) and all(any(not device(type_) for type_ in own) for own in types))


def device(type_: int) -> bool:
    return 40 <= type_ < 60
