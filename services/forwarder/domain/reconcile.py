"""The rule of forwarding: what is sent is the difference between what should be there and what the partner last accepted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from services.forwarder.domain.identities import Presented, pack, unpack


class Action(StrEnum):
    """What the partner is asked to do with a person."""

    ADD = "add"
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Waiting:
    """A person to look at. `mark` tells this marking from later ones; `told` is what the ledger holds, None: the partner has nothing."""

    mpid: int
    mark: int
    # The receive time of the event that caused the marking, or the instant of the marking itself.
    since_ms: int
    member: bool
    told: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """One thing to tell the partner. `identities`: of ADD and UPDATE all that it shall have, of DELETE all that it has."""

    mpid: int
    action: Action
    identities: tuple[Presented, ...]
    mark: int = 0
    since_ms: int = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """`changes` are to be sent; `settled` need nothing, as the partner has what it should have."""

    changes: list[Change]
    settled: list[Waiting]


def difference(waiting: Iterable[Waiting], identities: Mapping[int, Sequence[Presented]], *, audience_live: bool) -> Difference:
    """What the partner must be told about these people.

    A person should be there while the audience is live, the person is a member, and has an identity that the partner accepts.
    `identities` are the accepted ones of the members, by MPID. Nothing is deleted that the ledger does not hold. semantics: What is
    forwarded.
    """
    found = Difference([], [])
    for person in waiting:
        wanted = identities.get(person.mpid, ()) if person.member and audience_live else ()
        change = _change(person, wanted)
        if change is None:
            found.settled.append(person)
        else:
            found.changes.append(change)
    return found


def _change(person: Waiting, wanted: Sequence[Presented]) -> Change | None:
    def make(action: Action, identities: tuple[Presented, ...]) -> Change:
        return Change(person.mpid, action, identities, person.mark, person.since_ms)

    if not wanted:
        return None if person.told is None else make(Action.DELETE, unpack(person.told))
    packed = pack(wanted)
    if person.told is None:
        return make(Action.ADD, unpack(packed))
    return None if packed == person.told else make(Action.UPDATE, unpack(packed))
