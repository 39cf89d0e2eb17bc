"""What can be told about a person, and all that was told about people, in the order in which it was."""

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Generic, NamedTuple, TypeVar

Value = str | int | float | Decimal | bool | Sequence[str]
Key = TypeVar("Key", bound=Hashable)
NOTHING: Mapping[str, Any] = {}


class Context(NamedTuple):
    """What sent an event; empty: not known."""

    application_version: str = ""
    application_build: str = ""
    platform: str = ""
    os_version: str = ""


class Event(NamedTuple):
    """`details` as in `muster.ingest.v1.EventBatch`. `received` orders events of one instant where they aren't listed in their order."""

    input_id: int
    type: int
    name: str
    time_ms: int
    details: Mapping[str, Any] = NOTHING
    context: Context = Context()
    received: int = 0


class AttributeChange(NamedTuple):
    """A new value; None removes the attribute."""

    workspace_id: int
    attribute: str
    value: Value | None
    time_ms: int


class DeviceTold(NamedTuple):
    """`fields`: those of `muster.ingest.v1.Device` that say something."""

    workspace_id: int
    fields: Mapping[str, str]
    time_ms: int


class AttributionTold(NamedTuple):
    workspace_id: int
    publisher: str
    campaign: str
    time_ms: int


class ConsentTold(NamedTuple):
    workspace_id: int
    regulation: str
    purpose: str
    consented: bool
    time_ms: int


class IdentityTold(NamedTuple):
    """An identity that the person has from now on, or has no longer."""

    workspace_id: int
    type: int
    value: str
    time_ms: int
    removed: bool = False


class Here(NamedTuple):
    """A sign of life that says nothing else."""

    workspace_id: int
    time_ms: int


class MergedInto(NamedTuple):
    """The person is one with that one from now on."""

    other: Hashable


class Deleted(NamedTuple):
    pass


Change = AttributeChange | DeviceTold | AttributionTold | ConsentTold | IdentityTold | Here
Fact = Event | Change | MergedInto | Deleted


@dataclass
class Person:
    """What holds of one person, in the order in which it was told."""

    active_in: set[int] = field(default_factory=set)  # workspaces
    identities: set[tuple[int, str]] = field(default_factory=set)  # type and value
    events: list[Event] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)


@dataclass
class People(Generic[Key]):
    """Everybody, fact by fact. `workspaces`: the inputs of each."""

    workspaces: Mapping[int, Collection[int]]
    known: dict[Key, Person] = field(default_factory=dict)
    _became: dict[Key, Key] = field(default_factory=dict)  # whom a merged person is one with
    _count: int = 0

    def person(self, key: Key) -> Person:
        """Whoever this is by now."""
        while key in self._became:
            key = self._became[key]
        return self.known.setdefault(key, Person())

    def tell(self, key: Key, fact: Fact) -> None:
        self._count += 1
        match fact:
            case MergedInto():
                self._merge(key, fact.other)  # type: ignore[arg-type]  # a key is what it holds
            case Deleted():
                gone = self.person(key)
                self.known = {other: person for other, person in self.known.items() if person is not gone}
            case Event():
                person = self.person(key)
                person.active_in |= {workspace for workspace, inputs in self.workspaces.items() if fact.input_id in inputs}
                person.events.append(fact._replace(received=self._count))
            case _:
                person = self.person(key)
                person.active_in.add(fact.workspace_id)
                person.changes.append(fact)
                if isinstance(fact, IdentityTold):
                    (person.identities.discard if fact.removed else person.identities.add)((fact.type, fact.value))

    def _merge(self, key: Key, other: Key) -> None:
        leaves, stays = self.person(key), self.person(other)
        if leaves is stays:
            return
        stays.active_in |= leaves.active_in
        stays.identities |= leaves.identities
        for event in leaves.events:  # told again: now
            self._count += 1
            stays.events.append(event._replace(received=self._count))
        stays.changes += leaves.changes
        (gone,) = [name for name, person in self.known.items() if person is leaves]
        del self.known[gone]
        self._became[gone] = other
