"""What is to be done so that an account is as the files say: pure rules, from what is wanted and what is there to steps in their order."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import Any

from cli.code.document import Connection, Document, Schedule, State, folded

# What an edit sets, in the order in which it is told: the name first.
FIELDS = ("name", "external_name", "description", "tags", "workspaces", "inputs", "definition")
_SETS = frozenset({"tags", "workspaces", "inputs"})


class Action(enum.StrEnum):
    """One call that changes something."""

    CREATE = "create"
    EDIT = "edit"
    UNARCHIVE = "unarchive"
    ACTIVATE = "activate"
    DEACTIVATE = "deactivate"
    ARCHIVE = "archive"
    SCHEDULE = "schedule"
    DELETE_TEST = "delete test"
    CREATE_TEST = "create test"
    DELETE_CONNECTION = "delete connection"
    CREATE_CONNECTION = "create connection"
    DELETE = "delete"


class Kind(enum.StrEnum):
    """What becomes of an audience as a whole."""

    CREATE = "create"
    EDIT = "edit"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do. `fields` are those of an edit; `connection` is which one is made or deleted."""

    action: Action
    fields: tuple[str, ...] = ()
    connection: Connection | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference: what it is about, and what it is and is to be, as text; empty where there is nothing."""

    field: str
    before: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a file says, with the names of the audiences whose members it reads."""

    document: Document
    reads: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return self.document.name


@dataclass(frozen=True, slots=True)
class Present:
    """An audience that is there, with the numbers of those whose members it reads. `was_active`: it has been activated, so that it can't
    be a draft again."""

    audience_id: int
    document: Document
    was_active: bool = False
    reads: frozenset[int] = frozenset()

    @property
    def name(self) -> str:
        return self.document.name


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be done with one audience. `audience_id` is 0 for one that is not there yet; `reads`: the names of those whose members
    the file reads."""

    kind: Kind
    name: str
    audience_id: int
    steps: tuple[Step, ...]
    differences: tuple[Difference, ...]
    reads: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes in the order in which they are made: inner audiences before those that read them, deletions last. `waiting` are
    connections that are made once their audience is active; `others` are the audiences that no file is about."""

    changes: tuple[Change, ...] = ()
    waiting: tuple[tuple[str, Connection], ...] = ()
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """What can't be done: the name of the audience, the field of its file, and why."""

    name: str
    field: str
    description: str


class Refused(Exception):
    """No plan can be made; all reasons are there."""

    def __init__(self, refusals: Sequence[Refusal]) -> None:
        super().__init__("; ".join(f"{one.name}: {one.description}" for one in refusals))
        self.refusals = list(refusals)


# What is different between the definition of a file and the one that is there; nothing where both mean the same.
Meanings = Mapping[str, Sequence[Difference]]


@dataclass(slots=True)
class _Making:
    """The change of one audience, as it comes to be."""

    steps: list[Step] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    waiting: list[Connection] = field(default_factory=list)

    def step(self, action: Action, **more: Any) -> None:
        self.steps.append(Step(action, **more))

    def tell(self, what: str, before: object = "", after: object = "") -> None:
        self.differences.append(Difference(what, str(before), str(after)))


def settled(document: Document, now: datetime) -> Document:
    """The document as of now: what its schedule has for the past has happened, so that files do not age."""
    if document.schedule is None:
        return document
    activate, deactivate = document.schedule.activate, document.schedule.deactivate
    state = document.state
    if activate and activate <= now:
        state, activate = State.ACTIVE, None
    if deactivate and deactivate <= now:
        state, deactivate = State.INACTIVE if state is State.ACTIVE else state, None
    left = Schedule(activate=activate, deactivate=deactivate) if activate or deactivate else None
    return document.model_copy(update={"state": state, "schedule": left})


def matched(wanted: Iterable[Wanted], present: Iterable[Present]) -> tuple[dict[str, Present], list[Refusal]]:
    """Which audience each file is about, by the name in the file, upper and lower case apart: the one of its name, or else the one of its
    previous name. Files of new audiences are not in it, nor those where a name is not enough, which are refused. No two files have one
    name, now or before."""
    by_name: dict[str, list[Present]] = {}
    for there in present:
        by_name.setdefault(folded(there.name), []).append(there)
    found: dict[str, Present] = {}
    refusals: list[Refusal] = []
    for one in wanted:
        previous = one.document.previous_name
        name, field_name = (previous, "previous_name") if previous and folded(one.name) not in by_name else (one.name, "name")
        audiences = by_name.get(folded(name), [])
        if len(audiences) > 1:
            numbers = ", ".join(str(audience.audience_id) for audience in audiences)
            why = f"{len(audiences)} audiences are called {name!r} (numbers {numbers}); rename or delete the others"
            refusals.append(Refusal(one.name, field_name, why))
        elif audiences:
            found[one.name] = audiences[0]
    return found, refusals


def in_order(wanted: Sequence[Wanted], pairs: Mapping[str, Present] | None = None, others: Sequence[Present] = ()) -> list[Wanted]:
    """The files so that each comes after those whose members it reads. `others` are the audiences that no file is about, which may read
    those of files. Raises Refused for a cycle."""
    by_name = {one.name: one for one in wanted}
    # Files go by their names, other audiences by their numbers: these may have one name.
    numbers = {there.name: there.audience_id for there in others}
    names = {there.audience_id: name for name, there in (pairs or {}).items()}
    graph: dict[str | int, list[str | int]] = {}
    for file in sorted(wanted, key=lambda one: one.name):
        graph[file.name] = [name if name in by_name else numbers[name] for name in sorted(file.reads) if name in by_name or name in numbers]
    for there in others:
        graph[there.audience_id] = [names.get(number, number) for number in sorted(there.reads)]
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as fault:
        called: dict[str | int, str] = {there.audience_id: there.name for there in others}
        raise Refused([_cycle([one if isinstance(one, str) else called.get(one, str(one)) for one in fault.args[1]], by_name)]) from None
    return [by_name[name] for name in order if isinstance(name, str)]


def _cycle(way: Sequence[str], files: Mapping[str, Wanted]) -> Refusal:
    """`way`: each is read by the next one, and the last one is the first. Told from a file on, whose place is known."""
    outer_first = list(reversed(way[:-1]))
    start = outer_first.index(min([name for name in outer_first if name in files] or outer_first))
    around = [*outer_first[start:], *outer_first[: start + 1]]
    told = ", ".join(f"{outer!r} reads {inner!r}" for outer, inner in pairwise(around))
    return Refusal(around[0], "definition", f"an audience cannot depend on itself, and here {told}; remove one of these")


def plan(wanted: Sequence[Wanted], present: Sequence[Present], meanings: Meanings, *, now: datetime, prune: bool = False) -> Plan:
    """The plan. `meanings` are the differences of the definitions, by the names of the files. With `prune` audiences that no file is about
    are deleted. Raises Refused."""
    pairs, refusals = matched(wanted, present)
    kept = {one.audience_id for one in pairs.values()}
    others = sorted((one for one in present if one.audience_id not in kept), key=lambda one: (one.name, one.audience_id))
    refusals += _read_by_files(wanted, others) if prune else []
    if refusals:
        raise Refused(refusals)
    changes: list[Change] = []
    waiting: list[tuple[str, Connection]] = []
    for one in in_order(wanted, pairs, [] if prune else others):
        there = pairs.get(one.name)
        making = _making(_lasting(settled(one.document, now), there), there, meanings.get(one.name, ()))
        waiting += [(one.name, connection) for connection in making.waiting]
        if making.steps:
            kind = Kind.EDIT if there else Kind.CREATE
            number = there.audience_id if there else 0
            changes.append(Change(kind, one.name, number, tuple(making.steps), tuple(making.differences), one.reads))
    if prune:
        changes += [Change(Kind.DELETE, one.name, one.audience_id, (Step(Action.DELETE),), ()) for one in _outermost_first(others)]
    return Plan(tuple(changes), tuple(waiting), () if prune else tuple(one.name for one in others))


def _lasting(wanted: Document, there: Present | None) -> Document:
    """What is wanted of this audience: where the file leaves the state out it stays, and what was active is no draft again but inactive."""
    state = wanted.state or (there.document.state if there else None) or State.DRAFT
    if state is State.DRAFT and there is not None and there.was_active:
        state = State.INACTIVE
    return wanted.model_copy(update={"state": state, "schedule": None if state is State.ARCHIVED else wanted.schedule})


def _read_by_files(wanted: Iterable[Wanted], gone: Sequence[Present]) -> list[Refusal]:
    """Files that read audiences which are to be deleted."""
    names = {one.name for one in gone} - {one.name for one in wanted}
    return [
        Refusal(one.name, "definition", f"it reads {name!r}, which has no file and would be deleted; write its file with `muster export`")
        for one in wanted
        for name in sorted(one.reads & names)
    ]


def _outermost_first(gone: Sequence[Present]) -> list[Present]:
    """Audiences each before those that it reads."""
    by_number = {one.audience_id: one for one in gone}
    inner_first = TopologicalSorter({one.audience_id: sorted(one.reads & by_number.keys()) for one in gone}).static_order()
    return [by_number[number] for number in reversed(list(inner_first))]


def _making(wanted: Document, there: Present | None, meaning: Sequence[Difference]) -> _Making:
    """The steps of one audience. Connections that go end before anything is changed, and those that come are made when all is as it is to
    be, so that nobody is sent who shall not be; the audience is put on its shelf last."""
    making = _Making()
    before = there.document if there else None
    new_test = wanted.test != (before.test if before else None)
    making_gone, coming = _connections(wanted, before, new_test)
    for connection in making_gone:
        making.step(Action.DELETE_CONNECTION, connection=connection)
        making.tell("connection", before=_connection(connection))
    state, was_active = (before.state, there.was_active) if there and before else (State.DRAFT, False)
    edited = _edited(wanted, before, meaning)
    schedule = before.schedule if before else None
    opened = state is State.ARCHIVED and (wanted.state is not State.ARCHIVED or bool(edited) or new_test)
    if before is None:
        making.step(Action.CREATE)
        for name in FIELDS[1:]:
            if value := getattr(wanted, name):
                making.tell(name, after=_value(value))
    if state is State.ACTIVE and wanted.state is not State.ACTIVE:
        making.step(Action.DEACTIVATE)
        schedule = _without(schedule, deactivate=None)
    if opened:
        making.step(Action.UNARCHIVE)
    if before is not None and edited:
        making.step(Action.EDIT, fields=edited)
        for name in edited:
            if name == "definition" and meaning:
                making.differences += meaning
            else:
                making.tell(name, *(_value(getattr(one, name)) for one in (before, wanted)))
    if wanted.state is State.ACTIVE and state is not State.ACTIVE:
        making.step(Action.ACTIVATE)
        schedule = _without(schedule, activate=None)
    if wanted.state is State.INACTIVE and not was_active:
        # The only way there. It has no connections then, so that nobody is sent anywhere.
        making.step(Action.ACTIVATE)
        making.step(Action.DEACTIVATE)
        schedule = None
    if state is not wanted.state:
        making.tell("state", state if before else "", wanted.state)
    if wanted.state is not State.ARCHIVED and schedule != wanted.schedule:
        making.step(Action.SCHEDULE)
    if (before.schedule if before else None) != wanted.schedule:
        making.tell("schedule", _schedule(before.schedule if before else None), _schedule(wanted.schedule))
    if new_test:
        if before and before.test:
            making.step(Action.DELETE_TEST)
        if wanted.test:
            making.step(Action.CREATE_TEST)
        making.tell("test", _test(before), _test(wanted))
    if wanted.state is State.ACTIVE:
        for connection in coming:
            making.step(Action.CREATE_CONNECTION, connection=connection)
            making.tell("connection", after=_connection(connection))
    else:
        making.waiting += coming
    if wanted.state is State.ARCHIVED and (opened or state is not State.ARCHIVED):
        making.step(Action.ARCHIVE)
    return making


def _edited(wanted: Document, before: Document | None, meaning: Sequence[Difference]) -> tuple[str, ...]:
    """The fields that an edit sets."""
    if before is None:
        return ()
    edited = []
    for name in FIELDS:
        one, other = getattr(wanted, name), getattr(before, name)
        if bool(meaning) if name == "definition" else set(one) != set(other) if name in _SETS else one != other:
            edited.append(name)
    return tuple(edited)


def _connections(wanted: Document, before: Document | None, new_test: bool) -> tuple[list[Connection], list[Connection]]:
    """The connections that end, and those that are made. Those of variations end with their test, and are made anew."""
    there = {one.key: one for one in before.connections} if before else {}
    asked = {one.key: one for one in wanted.connections}
    gone = [one for key, one in sorted(there.items()) if asked.get(key) != one and not (new_test and one.variation)]
    lasting = {key: one for key, one in there.items() if asked.get(key) == one and not (new_test and one.variation)}
    return gone, [one for key, one in sorted(asked.items()) if key not in lasting]


def _without(schedule: Schedule | None, **gone: None) -> Schedule | None:
    """What is left of a schedule after a move by hand."""
    if schedule is None:
        return None
    left = schedule.model_copy(update=gone)
    return left if left.activate or left.deactivate else None


def _value(value: object) -> str:
    return ", ".join(sorted(value)) if isinstance(value, tuple) else str(value)


def _schedule(schedule: Schedule | None) -> str:
    if schedule is None:
        return ""
    told = (("activates", schedule.activate), ("ends", schedule.deactivate))
    return ", ".join(f"{word} {at:%Y-%m-%d %H:%M:%S} UTC" for word, at in told if at)


def _test(document: Document | None) -> str:
    if document is None or document.test is None:
        return ""
    return f"{document.test.name}: {', '.join(f'{one.name} {one.percentage}%' for one in document.test.variations)}"


def _connection(one: Connection) -> str:
    settings = ", ".join(f"{key}={value}" for key, value in sorted(one.settings.items()))
    return f"{one.configuration}{f' ({one.variation})' if one.variation else ''}{f' with {settings}' if settings else ''}"
