"""The planning rules, on accounts that are made up: what a plan does leads to what the files say, and then there is nothing to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.code.document import AbTest, Connection, Document, Schedule, State, Variation
from cli.code.plan import Action, Change, Difference, Kind, Plan, Present, Refused, Step, Wanted, in_order, matched, plan, settled

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def document(name: str = "New", **more: Any) -> Document:
    return Document(**{"name": name, "workspaces": ("Shop",), "definition": "everyone"} | more)


def difference(wanted: Wanted, there: Present) -> Sequence[Difference]:
    """Definitions mean the same where they are the same text."""
    before, after = there.document.definition, wanted.document.definition
    return [] if before == after else [Difference("definition", before, after)]


@dataclass
class World:
    """An account that obeys the rules of the services, by number."""

    audiences: dict[int, Present] = field(default_factory=dict)

    def planned(self, wanted: Sequence[Wanted], *, prune: bool = False) -> Plan:
        present = list(self.audiences.values())
        pairs, _ = matched(wanted, present)
        meanings = {one.name: difference(one, pairs[one.name]) if one.name in pairs else () for one in wanted}
        return plan(wanted, present, meanings, now=NOW, prune=prune)

    def apply(self, made: Plan, wanted: Sequence[Wanted]) -> None:
        files = {one.name: one for one in wanted}
        for change in made.changes:
            for step in change.steps:
                self.step(change, step, files.get(change.name))

    def number(self, name: str) -> int:
        # No two have one name at any time, or what is cut off could not be gone on with.
        (number,) = [one.audience_id for one in self.audiences.values() if one.name == name]
        return number

    def step(self, change: Change, step: Step, file: Wanted | None) -> None:
        if step.action is Action.DELETE:
            assert not any(change.audience_id in one.reads for one in self.audiences.values()), "an audience in use was deleted"
            del self.audiences[change.audience_id]
            return
        assert file is not None
        wanted = file.document
        if step.action is Action.CREATE:
            number = max(self.audiences, default=0) + 1
            reads = frozenset(self.number(name) for name in file.reads)
            fields = {"state": State.DRAFT, "schedule": None, "test": None, "connections": (), "previous_name": None}
            self.audiences[number] = Present(number, wanted.model_copy(update=fields), reads=reads)
            return
        number = change.audience_id or self.number(change.name)
        there = self.audiences[number]
        now, was_active, reads = there.document, there.was_active, there.reads
        archived = now.state is State.ARCHIVED
        update: dict[str, Any] = {}
        match step.action:
            case Action.EDIT:
                assert not archived
                update = {name: getattr(wanted, name) for name in step.fields}
                if "definition" in step.fields:
                    reads = frozenset(self.number(name) for name in file.reads)
            case Action.UNARCHIVE:
                update = {"state": State.INACTIVE if was_active else State.DRAFT}
            case Action.ACTIVATE:
                assert not archived
                was_active = True
                update = {"state": State.ACTIVE, "schedule": left(now.schedule, "activate")}
            case Action.DEACTIVATE:
                assert now.state is State.ACTIVE
                update = {"state": State.INACTIVE, "schedule": left(now.schedule, "deactivate")}
            case Action.ARCHIVE:
                assert now.state is not State.ACTIVE
                update = {"state": State.ARCHIVED, "schedule": None}
            case Action.SCHEDULE:
                assert not archived
                update = {"schedule": settled(wanted, NOW).schedule}
            case Action.DELETE_TEST:
                assert now.test
                update = {"test": None, "connections": tuple(one for one in now.connections if not one.variation)}
            case Action.CREATE_TEST:
                assert now.test is None
                assert not archived
                update = {"test": wanted.test}
            case Action.DELETE_CONNECTION:
                assert step.connection in now.connections
                update = {"connections": tuple(one for one in now.connections if one != step.connection)}
            case Action.CREATE_CONNECTION:
                assert now.state is State.ACTIVE
                assert step.connection is not None
                assert step.connection.key not in {one.key for one in now.connections}
                variations = {one.name for one in now.test.variations} | {"Control"} if now.test else set()
                assert step.connection.variation in {"", *variations}
                update = {"connections": (*now.connections, step.connection)}
        self.audiences[number] = Present(number, now.model_copy(update=update), was_active, reads)


def left(schedule: Schedule | None, gone: str) -> Schedule | None:
    if schedule is None:
        return None
    rest = schedule.model_copy(update={gone: None})
    return rest if rest.activate or rest.deactivate else None


TESTS = st.none() | st.sampled_from(
    [
        AbTest(variations=(Variation(name="Blue", percentage=20),)),
        AbTest(variations=(Variation(name="Blue", percentage=20), Variation(name="Red", percentage=30))),
        AbTest(name="Other", variations=(Variation(name="Red", percentage=50),)),
    ]
)


@st.composite
def documents(draw: st.DrawFn, name: str, inner: Sequence[str]) -> Wanted:
    test = draw(TESTS)
    variations = ["", *(["Control", *(one.name for one in test.variations)] if test else [])]
    keys = draw(st.lists(st.tuples(st.sampled_from(["Mail", "Hook"]), st.sampled_from(variations)), unique=True, max_size=3))
    state = draw(st.none() | st.sampled_from(State))
    times = sorted(draw(st.lists(st.sampled_from([NOW + hours * HOUR for hours in (-2, -1, 1, 2)]), min_size=2, max_size=2, unique=True)))
    schedule = draw(st.sampled_from([None, Schedule(activate=times[0], deactivate=times[1]), Schedule(deactivate=times[1])]))
    reads = frozenset(draw(st.sets(st.sampled_from(inner), max_size=2))) if inner else frozenset()
    return Wanted(
        document(
            name,
            external_name=draw(st.sampled_from(["", "Other"])),
            tags=tuple(draw(st.lists(st.sampled_from("abc"), unique=True, max_size=2))),
            definition=draw(st.sampled_from(["everyone", "crash"])) + "".join(f" and member of {name}" for name in sorted(reads)),
            state=state,
            schedule=None if state is State.ARCHIVED else schedule,
            test=test,
            connections=tuple(
                Connection(configuration=one, variation=other, settings=draw(st.sampled_from([{}, {"list": "1"}]))) for one, other in keys
            ),
        ),
        reads,
    )


@st.composite
def folders(draw: st.DrawFn) -> list[Wanted]:
    """Files that read each other without cycles; in any order."""
    names = draw(st.permutations("ABCDE"))[: draw(st.integers(0, 5))]
    files = [draw(documents(name, names[:index])) for index, name in enumerate(names)]
    others = draw(st.permutations(sorted({*"ABCDE"} - {*names})))
    # As many as there are names left were called otherwise before.
    for index, previous in enumerate(others[: len(files)]):
        files[index] = replace(files[index], document=files[index].document.model_copy(update={"previous_name": previous}))
    return draw(st.permutations(files))


@settings(max_examples=150, deadline=None)
@given(folders(), folders(), st.booleans())
def test_what_was_applied_leaves_nothing_to_do(first: list[Wanted], second: list[Wanted], prune: bool) -> None:
    world = World()
    for folder in (first, second):
        files = folder
        try:
            made = world.planned(files, prune=prune)
        except Refused:
            # What has no file in the second folder may read what has, or be read by it.
            if folder is first:
                raise
            return
        world.apply(made, files)
        again = world.planned(files, prune=prune)
        assert again.changes == ()
        there = {one.name: one.document for one in world.audiences.values()}
        for file in files:
            wanted, found = settled(file.document, NOW), there[file.name]
            waiting = {connection.key for name, connection in again.waiting if name == file.name}
            was_active = next(one.was_active for one in world.audiences.values() if one.name == file.name)
            if wanted.state is State.DRAFT:
                assert found.state is (State.INACTIVE if was_active else State.DRAFT)
            elif wanted.state is not None:
                assert found.state is wanted.state
            assert (found.test, found.definition) == (wanted.test, wanted.definition)
            assert found.schedule == (None if found.state is State.ARCHIVED else wanted.schedule)
            assert {one.key for one in found.connections} == {one.key for one in wanted.connections} - waiting
        if prune:
            assert set(there) == {file.name for file in files}


@settings(max_examples=150, deadline=None)
@given(folders(), folders(), st.data())
def test_a_plan_that_was_cut_off_is_finished_by_the_next_one(first: list[Wanted], second: list[Wanted], data: st.DataObject) -> None:
    whole, cut = World(), World()
    for folder in (first, second):
        for world in (whole, cut):
            files = folder
            try:
                made = world.planned(files)
            except Refused:
                return
            if world is cut:
                steps = [(change, step) for change in made.changes for step in change.steps]
                by_name = {one.name: one for one in files}
                for change, step in steps[: data.draw(st.integers(0, len(steps)))]:
                    world.step(change, step, by_name.get(change.name))
                made = world.planned(files)
            world.apply(made, files)
        assert {one.name: one.document.definition for one in cut.audiences.values()} == {
            one.name: one.document.definition for one in whole.audiences.values()
        }
        assert cut.planned(folder).changes == ()


def test_inner_audiences_come_before_those_that_read_them() -> None:
    files = [Wanted(document("A"), frozenset({"B", "C"})), Wanted(document("B"), frozenset({"C"})), Wanted(document("C"))]
    assert [one.name for one in in_order(files)] == ["C", "B", "A"]


def test_a_cycle_is_told_with_all_that_are_in_it() -> None:
    files = [Wanted(document("A"), frozenset({"B"})), Wanted(document("B"), frozenset({"A"})), Wanted(document("C"), frozenset({"A"}))]
    with pytest.raises(Refused) as refused:
        in_order(files)
    (told,) = refused.value.refusals
    assert "'A' reads 'B', 'B' reads 'A'" in told.description or "'B' reads 'A', 'A' reads 'B'" in told.description


def test_a_cycle_through_an_audience_without_a_file_is_told() -> None:
    present = [Present(1, document("A")), Present(2, document("Outside"), reads=frozenset({1}))]
    with pytest.raises(Refused, match="'A' reads 'Outside', 'Outside' reads 'A'"):
        plan([Wanted(document("A", definition="member of Outside"), frozenset({"Outside"}))], present, {}, now=NOW)


def test_an_audience_is_renamed_where_only_its_previous_name_is_there() -> None:
    file = Wanted(document("New", previous_name="Old"))
    made = plan([file], [Present(7, document("Old"))], {}, now=NOW)
    assert [(change.kind, change.audience_id, change.steps) for change in made.changes] == [
        (Kind.EDIT, 7, (Step(Action.EDIT, fields=("name",)),))
    ]
    assert plan([file], [Present(7, document("New"))], {}, now=NOW).changes == ()
    assert plan([file], [], {}, now=NOW).changes[0].kind is Kind.CREATE


def test_a_name_that_two_audiences_have_is_refused() -> None:
    with pytest.raises(Refused, match=r"2 audiences are called 'New' \(numbers 1, 2\)"):
        plan([Wanted(document("New"))], [Present(1, document("New")), Present(2, document("New"))], {}, now=NOW)


def test_nothing_is_deleted_without_being_asked_to() -> None:
    present = [Present(1, document("Inner")), Present(2, document("Outer"), reads=frozenset({1}))]
    made = plan([], present, {}, now=NOW)
    assert (made.changes, made.others) == ((), ("Inner", "Outer"))
    pruned = plan([], present, {}, now=NOW, prune=True)
    assert [(change.kind, change.name) for change in pruned.changes] == [(Kind.DELETE, "Outer"), (Kind.DELETE, "Inner")]


def test_names_are_alike_in_upper_and_lower_case() -> None:
    (change,) = plan([Wanted(document("NEW"))], [Present(1, document("New"))], {}, now=NOW).changes
    assert (change.kind, change.audience_id, change.steps) == (Kind.EDIT, 1, (Step(Action.EDIT, fields=("name",)),))


def test_what_a_file_reads_is_not_deleted() -> None:
    with pytest.raises(Refused, match="it reads 'Inner', which has no file and would be deleted"):
        plan([Wanted(document(), frozenset({"Inner"}))], [Present(1, document("Inner"))], {}, now=NOW, prune=True)


@pytest.mark.parametrize(
    ("wanted", "there", "actions"),
    [
        (State.DRAFT, State.ACTIVE, [Action.DEACTIVATE]),
        (State.DRAFT, State.INACTIVE, []),
        (None, State.ACTIVE, []),
        (None, State.ARCHIVED, []),
        (State.ACTIVE, State.ARCHIVED, [Action.UNARCHIVE, Action.ACTIVATE]),
        (State.INACTIVE, State.ARCHIVED, [Action.UNARCHIVE]),
        (State.ARCHIVED, State.ACTIVE, [Action.DEACTIVATE, Action.ARCHIVE]),
    ],
)
def test_states_are_reached_by_the_moves_that_there_are(wanted: State | None, there: State, actions: list[Action]) -> None:
    made = plan([Wanted(document(state=wanted))], [Present(1, document(state=there), was_active=True)], {}, now=NOW)
    assert [step.action for change in made.changes for step in change.steps] == actions


@pytest.mark.parametrize(
    ("state", "activate", "deactivate", "after"),
    [
        (State.DRAFT, -1, 1, State.ACTIVE),
        (State.DRAFT, -2, -1, State.INACTIVE),
        (State.ACTIVE, None, -1, State.INACTIVE),
        (State.DRAFT, None, -1, State.DRAFT),
        (State.DRAFT, 1, 2, State.DRAFT),
    ],
)
def test_what_a_schedule_has_for_the_past_has_happened(state: State, activate: int | None, deactivate: int | None, after: State) -> None:
    times = [None if hours is None else NOW + hours * HOUR for hours in (activate, deactivate)]
    found = settled(document(state=state, schedule=Schedule(activate=times[0], deactivate=times[1])), NOW)
    assert found.state is after
    assert found.schedule is None or all(at is None or at > NOW for at in (found.schedule.activate, found.schedule.deactivate))


def test_connections_end_before_and_begin_after_all_else() -> None:
    before = document(state=State.ACTIVE, connections=(Connection(configuration="Mail"),))
    after = document(state=State.ACTIVE, tags=("new",), connections=(Connection(configuration="Hook"),))
    (change,) = plan([Wanted(after)], [Present(1, before, was_active=True)], {}, now=NOW).changes
    assert [step.action for step in change.steps] == [Action.DELETE_CONNECTION, Action.EDIT, Action.CREATE_CONNECTION]


def test_connections_of_what_is_not_active_wait() -> None:
    made = plan([Wanted(document(connections=(Connection(configuration="Mail"),)))], [], {}, now=NOW)
    assert [step.action for step in made.changes[0].steps] == [Action.CREATE]
    assert made.waiting == (("New", Connection(configuration="Mail")),)
