"""One account's people and audiences in this process: the engine, fed with what arrives and told in MPIDs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
from muster.definition.v1 import audience_pb2, definition_pb2
from muster.definition.v1 import facts_pb2 as definition_facts
from muster.definition.v1.account_pb2 import Account, Input
from muster.ingest.v1 import facts_pb2
from numpy.typing import NDArray
from pyroaring import BitMap

from services.chassis import log as logs
from services.chassis.publisher import Outgoing
from services.evaluator import profiles
from services.evaluator.ab_tests import Dealt, Outcome, Participants, PartRow, counts, ids_of, named, outcomes
from services.evaluator.bitmaps import bitmap_of_bits
from services.evaluator.endings import NOBODY, Ended, Endings, Told, messages_of, pieces_of
from services.evaluator.engine.audiences import Cycle
from services.evaluator.engine.compile import Compiled, compile_definition
from services.evaluator.engine.compiling.overrides import NO_TYPES, Types, types_of
from services.evaluator.engine.details import Happening, Subject
from services.evaluator.engine.engine import Engine
from services.evaluator.engine.events import Kept
from services.evaluator.engine.explain import Explanation
from services.evaluator.engine.facts import (
    AttributeChange,
    Changes,
    Estimate,
    EventContext,
    EventRows,
    Ordinals,
    PropertyKind,
    Series,
)
from services.evaluator.engine.keys import sorted_unique
from services.evaluator.engine.reading import Reading
from services.evaluator.engine.sieve import Sieve, SieveEntry
from services.evaluator.engine.tree import AttributeDate, AttributeTest, Match
from services.evaluator.event_rows import GONE, AttributeRow
from services.evaluator.event_store import EventStore
from services.evaluator.explanations import Teller
from services.evaluator.intake import Arrived, EventColumns, columns_of
from services.evaluator.journal import Entries, Standing, bitmap_of, locals_of
from services.evaluator.parts import Parts, parts_of
from services.evaluator.past import past_of
from services.evaluator.people import RETIRED, UNKNOWN, Mpids, Page, People
from services.evaluator.preparation import Preparation, Slice
from services.evaluator.snapshots import Snapshot
from services.evaluator.store import ActivityRow, EndedRow

log = logs.get(__name__)

DAY_MS = 86_400_000
DEFAULT_LOOK_BACK_DAYS = 30
ACTIVE = audience_pb2.AUDIENCE_STATE_ACTIVE
_FEW = 32  # with fewer members than one of so many people, numbers are handled quicker than bits
LOADED_BLOCKS = 128  # of some 65,000 events: so many are sorted at once
# A round that activates audiences stops after so many changes: each is written and published, and meanwhile nothing else is.
ACTIVATED_CHANGES = 2_000_000
# And after so long, with the piece that it has in hand: of one audience or of many.
ACTIVATED_SECONDS = 0.5


@dataclass(slots=True)
class Turn:
    """What one round made of one account."""

    pages: list[Page] = field(default_factory=list)
    activity: list[ActivityRow] = field(default_factory=list)
    changes: dict[int, Changes] = field(default_factory=dict)  # by audience
    ended: dict[int, Ordinals] = field(default_factory=dict)  # audiences that are evaluated no longer, and who was told to be in them
    gone: list[EndedRow] = field(default_factory=list)  # people who ended
    messages: list[Outgoing] = field(default_factory=list)  # what is told again of those who stay
    participants: list[PartRow] = field(default_factory=list)  # who takes part in A/B tests from now on
    dealt: list[Dealt] = field(default_factory=list)
    tests_over: list[int] = field(default_factory=list)

    def add(self, audience_id: int, changes: Changes) -> None:
        """Count changes that came after what this turn has."""
        if audience_id in self.changes:
            changes = _joined(self.changes[audience_id], changes)
        self.changes[audience_id] = changes

    def then(self, later: Turn) -> Turn:
        """This turn and a later one as one."""
        ended = dict(self.ended)
        for audience_id, members in later.ended.items():
            untold = self.changes.get(audience_id)
            ended[audience_id] = (
                members if untold is None else np.union1d(np.setdiff1d(members, untold.added), untold.dropped).astype(np.int64)
            )
        both = Turn([*self.pages, *later.pages], _together([*self.activity, *later.activity]), dict(self.changes), ended)
        both.gone, both.messages = [*self.gone, *later.gone], [*self.messages, *later.messages]
        for audience_id, changes in later.changes.items():
            both.add(audience_id, changes)
        both.changes = {id_: changes for id_, changes in both.changes.items() if changes and id_ not in later.ended}
        return both


def _together(rows: Sequence[ActivityRow]) -> list[ActivityRow]:
    """One row for each workspace and partition."""
    by_place: dict[tuple[int, int], list[ActivityRow]] = defaultdict(list)
    for row in rows:
        by_place[row.workspace_id, row.partition].append(row)
    return [
        some[0] if len(some) == 1 else ActivityRow(*place, np.sort(np.concatenate([row.locals for row in some])))
        for place, some in by_place.items()
    ]


class Population:
    """Not thread-safe: rounds.py calls it from one thread."""

    def __init__(
        self,
        account_id: int,
        partitions: int,
        now_ms: int,
        look_back_ms: int = DEFAULT_LOOK_BACK_DAYS * DAY_MS,
        store: EventStore | None = None,
    ) -> None:
        """`store` is where the past is found; without one there is none."""
        self.account_id = account_id
        self.people = People(account_id, partitions)
        self.look_back_ms = look_back_ms
        self._store = store
        self.engine = Engine(look_back_ms=look_back_ms, now_ms=now_ms)
        self.audiences: dict[int, audience_pb2.Audience] = {}  # the active ones, as they are evaluated
        self._compiled: dict[int, Compiled] = {}  # the same, for the engine
        self.known: set[int] = set()  # all that are not deleted
        self.rounds: dict[tuple[int, int], int] = {}  # (audience, partition) -> the last round that changed it
        self._inputs: dict[int, set[int]] = defaultdict(set)  # of each workspace
        self._types: dict[int, Types] = {}  # of each workspace's attributes
        self._active: dict[int, NDArray[np.bool_]] = {}  # by workspace: who has activity, by ordinal
        self._waiting: dict[int, audience_pb2.Audience] = {}  # definitions that the next round takes in
        self._held: dict[int, audience_pb2.Audience] = {}  # those that would read themselves; they wait for a change of another
        # The members last told, by partition, of audiences that are not evaluated, or not yet.
        self._told: dict[int, dict[int, BitMap]] = {}
        self._tests: dict[int, audience_pb2.AbTest] = {}  # by audience; one without variations is deleted
        self._participants: dict[int, Participants] = defaultdict(Participants)  # by test
        self._opening: set[int] = set()  # audiences with a test whose members may not all be known to take part
        self._tests_over: list[int] = []  # of which something may be stored
        self._dealt: dict[int, list[int]] = {}  # the sizes of an audience's variations, as far as they are known
        self._again = False  # all audiences must be compiled again, and those that are others then activated
        self.endings = Endings()
        self._preparing: dict[int, Preparation] = {}  # of audiences that wait
        self._preparations: list[Preparation] = []  # all that may still hold something

    # --- definitions

    def learn(self, fact: definition_facts.DefinitionFact) -> bool:
        """Take a fact in; what it changes, the next round tells. True where a new population must be built (for another look-back)."""
        match fact.WhichOneof("state"):
            case "account":
                return look_back_of([fact]) != self.look_back_ms
            case "workspace":
                self._inputs.setdefault(fact.workspace.workspace_id, set())
                self._know_types(fact.workspace.workspace_id, types_of(fact.workspace.attribute_overrides))
            case "input":
                self._know_input(fact.input.input)
            case "audience":
                self._waiting[fact.audience.audience_id] = fact.audience
                if fact.audience.state == audience_pb2.AUDIENCE_STATE_DELETED:
                    self.known.discard(fact.audience.audience_id)
                else:
                    self.known.add(fact.audience.audience_id)
            case "ab_test":
                self._know_test(fact.ab_test)
            case _:
                log.debug("fact_not_used", account_id=fact.account_id)
        return False

    def compile(self, definition: definition_pb2.Definition, workspace_ids: Iterable[int], input_ids: Iterable[int]) -> Compiled:
        """A definition for the engine. Raises Unsupported; KeyError for a workspace that is not known."""
        workspaces = {workspace_id: sorted(inputs) for workspace_id, inputs in self._inputs.items()}
        return compile_definition(
            definition,
            workspaces=workspaces,
            workspace_ids=list(workspace_ids),
            input_ids=list(input_ids),
            look_back_ms=self.look_back_ms,
            types=self._types,
        )

    def compile_beside(self, definition: definition_pb2.Definition, audience_id: int) -> Compiled:
        """A definition that reads the workspaces and inputs of an audience; those of the account where that is not active. Raises as
        `compile`."""
        audience = self.audiences.get(audience_id)
        if audience is None:
            return self.compile(definition, sorted(self._inputs), ())
        return self.compile(definition, audience.workspace_ids, audience.input_ids)

    @property
    def waits(self) -> bool:
        """Whether definitions wait for the next round."""
        return bool(self._waiting)

    def knows_workspace(self, workspace_id: int) -> bool:
        """Whether the account has it."""
        return workspace_id in self._inputs

    # --- start

    def load(
        self, store: EventStore, pages: Sequence[Page], activity: Sequence[ActivityRow], now_ms: int, snapshot: Snapshot | None = None
    ) -> int:
        """Build the index from the store, or from a snapshot and what the store got after it; how many events were read there. People and
        their activity come from the evaluator's own database."""
        for page in pages:
            self.people.load(page)
        if snapshot is not None:
            self.engine.take_back(snapshot.index, _retired(pages, self.people))
        for workspace_id, input_id in store.sources(self.account_id):
            self._inputs[workspace_id].add(input_id)
        for row in activity:
            ordinals = self.people.ordinals_of(row.partition, row.locals)
            ordinals = ordinals[self.people.mpids(ordinals) != RETIRED]
            self.engine.add_activity(row.workspace_id, self._first_seen(row.workspace_id, ordinals))
        read = 0
        blocks = store.events(self.account_id, now_ms - self.look_back_ms, snapshot.sequences if snapshot is not None else {})
        while some := list(islice(blocks, LOADED_BLOCKS)):
            codes, times = (np.concatenate([block[column] for block in some]) for column in (1, 3))
            ordinals = np.concatenate([self.people.find(block.mpids) for block in some])
            self.engine.load_history(some[0].series, codes, ordinals, times)
            read += len(codes)
        for workspace_id, attribute, mpids, values, times in store.attributes(self.account_id):
            self.engine.load_attributes(workspace_id, attribute, self.people.find(mpids), values, times)
        return read

    def kept(self) -> tuple[Mapping[int, Mpids], Kept]:
        """The people and the index as they are after a turn that is committed, for a snapshot."""
        self.people.forget_retired()
        return self.people.kept(), self.engine.kept()

    def stand(self, standings: dict[tuple[int, int], Standing]) -> Turn:
        """Activate every audience and tell the difference to what was last told of it, time that passed meanwhile included.

        The next round ends those that are not active any more. `standings` are taken out, so that each is let go of as soon as it was
        compared: together they are as large as all memberships.
        """
        while standings:
            (audience_id, partition), standing = standings.popitem()
            self.rounds[audience_id, partition] = standing.round
            if standing.members:
                self._told.setdefault(audience_id, {})[partition] = standing.members
        turn = Turn()
        waiting, self._waiting = self._waiting, {}
        self._activate({id_: audience for id_, audience in waiting.items() if audience.state == ACTIVE}, turn)
        return turn

    def load_participants(self, rows: Iterable[PartRow]) -> None:
        """Who takes part in tests, as it was stored; after the people. Of a test that is over nothing is to be forgotten but what is
        stored."""
        rows = list(rows)
        stored = {row.ab_test_id for row in rows}
        self._tests_over = [ab_test_id for ab_test_id in self._tests_over if ab_test_id in stored]
        for row in rows:
            self._participants[row.ab_test_id].enter(self.people.ordinals_of(row.partition, row.locals), row.times_ms)

    # --- rounds

    def turn(self, store: EventStore, arrived: Sequence[Arrived], now_ms: int) -> Turn:
        """Take in what has arrived, keep it in the store, and let time pass to `now_ms`."""
        turn = Turn()
        self._preparations = [one for one in self._preparations if not one.let_go()]
        self.people.forget_retired()  # the turn before has told of them
        self._know_sources(arrived)
        # Before the store has what arrived: a filter that is new finds there just what the engine had before this round.
        self._define(turn)
        told: list[Told] = []
        for piece in pieces_of(arrived, self.endings):
            # Most accounts have nothing new in most rounds.
            by_series, attributes, activity = self._take(turn, store, piece.arrived) if piece.arrived else ({}, [], {})
            at = self.engine.now if piece.ends else now_ms
            for audience_id, changes in self.engine.round(at, by_series, attributes, activity).items():
                turn.add(audience_id, changes)
            told += piece.told
            if piece.ends:
                told += self._end(turn, store, piece.ends)
        turn.messages += messages_of(self.account_id, self.people.partitions, told)
        turn.changes = {audience_id: changes for audience_id, changes in turn.changes.items() if changes}
        for audience_id in turn.changes:
            self._dealt.pop(audience_id, None)
        return turn

    def test(self, turn: Turn, now_ms: int) -> None:
        """Add to a turn, which has all its changes, what it makes of A/B tests."""
        turn.tests_over, self._tests_over = self._tests_over, []
        for audience_id in sorted(self._opening | (turn.changes.keys() & self._tests.keys())):
            test = self._tests[audience_id]
            if not test.variations:
                self._opening.discard(audience_id)
            if audience_id not in self.audiences or not test.variations:
                continue
            changes = turn.changes.get(audience_id)
            if changes is not None:
                adds, drops = (counts(ids_of(test, self.people.mpids(side)), len(test.variations)).tolist() for side in changes)
                turn.dealt += [Dealt(test.ab_test_id, id_, adds[id_], drops[id_]) for id_ in range(len(adds)) if adds[id_] or drops[id_]]
            opens = audience_id in self._opening
            self._opening.discard(audience_id)
            people = self._participants[test.ab_test_id]
            fresh = people.fresh(self.engine.members(audience_id) if opens or changes is None else changes.added)
            people.enter(fresh, np.full(len(fresh), now_ms, np.int64))
            turn.participants += [
                PartRow(test.ab_test_id, partition, self.people.locals_of(part), np.full(len(part), now_ms, np.int64))
                for partition, part in self.people.by_partition(fresh)
            ]

    def parts(self, turn: Turn) -> Parts:
        """What a turn changed, by audience and partition."""
        return parts_of(self.people, turn.changes)

    def entries(self, turn: Turn, parts: Parts) -> Mapping[int, Entries]:
        """What a turn changed, by partition, for the journal."""
        if not turn.ended:
            return parts.by_partition
        ended: dict[int, list[int]] = defaultdict(list)
        for audience_id, partition in self.rounds:
            if audience_id in turn.ended:
                ended[partition].append(audience_id)
        entries = dict(parts.by_partition)
        for partition, audiences in ended.items():
            entries[partition] = replace(entries.get(partition, Entries()), ended=audiences)
        return entries

    def members_by_partition(self, audience_id: int, partitions: Iterable[int]) -> dict[int, BitMap]:
        """The members of an audience by their local numbers; where it is not evaluated, those who were last told."""
        if audience_id not in self.audiences:
            told = self._told.get(audience_id, {})
            return {partition: told.get(partition, BitMap()) for partition in partitions}
        if self.engine.size(audience_id) * _FEW <= len(self.people):
            parts = dict(self.people.by_partition(self.engine.members(audience_id)))
            return {p: bitmap_of(self.people.locals_of(parts[p])) if p in parts else BitMap() for p in partitions}
        rows = self.people.bits_by_partition(self.engine.row(audience_id))
        return {partition: bitmap_of_bits(rows[partition]) for partition in partitions}

    # --- questions

    def size(self, audience_id: int) -> int:
        """How many members an active audience has."""
        return self.engine.size(audience_id)

    def members(self, audience_id: int) -> Mpids:
        """The MPIDs of an active audience's members."""
        return self.people.mpids(self.engine.members(audience_id))

    def prepare(self, compiled: Compiled) -> Preparation:
        """What is to be done, in slices with rounds between them, before this definition is estimated; `end` it after that."""
        preparation = Preparation(self.engine, compiled, self._recalls)
        self._preparations.append(preparation)
        return preparation

    def variations(self, audience_id: int) -> list[tuple[int, str, int]]:
        """(id, name, size) of the variations of an active audience's test, Control last with the id 0; none without a test."""
        test = self._tests.get(audience_id)
        if test is None or not test.variations:
            return []
        if audience_id not in self._dealt:
            self._dealt[audience_id] = counts(ids_of(test, self.members(audience_id)), len(test.variations)).tolist()
        return [(id_, name, self._dealt[audience_id][id_]) for id_, name, _ in named(test)]

    def ab_test(self, audience_id: int) -> audience_pb2.AbTest | None:
        """The test that an audience has."""
        test = self._tests.get(audience_id)
        return test if test is not None and test.variations else None

    @property
    def tests_to_forget(self) -> list[int]:
        """The tests that are over, of which the next turn has what is stored forgotten."""
        return list(self._tests_over)

    def goal_from(self, test: audience_pb2.AbTest) -> int:
        """The instant from which on the goals of a test are counted."""
        return max(test.create_time_ms, self.engine.now - self.look_back_ms)

    def outcomes(self, test: audience_pb2.AbTest, goal: Match | None) -> list[Outcome]:
        """What became of the variations of a test, by id from Control's on; without a goal only who takes part."""
        ordinals, since = self._participants[test.ab_test_id].all()
        mpids = self.people.mpids(ordinals)
        still = mpids != RETIRED
        who, when = self._reached(goal, self.goal_from(test)) if goal is not None else (np.empty(0, np.int64),) * 2
        return outcomes(test, mpids[still], since[still], who, when)

    def estimate(self, compiled: Compiled, beside: int) -> Estimate:
        """The exact size of a draft now, and of what it shares with an audience; one that is not evaluated has no members."""
        self._recall(compiled)
        return self.engine.estimate(compiled, beside=beside if beside in self.audiences else None)

    def explain(self, audience_id: int, mpid: int) -> Explanation | None:
        """Why a person is in an active audience or not; None for somebody who was never heard of."""
        ordinal = int(self.people.find(np.array([mpid], np.int64))[0])
        if ordinal == UNKNOWN:
            return None
        audience = self.audiences[audience_id]
        compiled = self.compile(audience.definition, audience.workspace_ids, audience.input_ids)
        if self._store is None:
            return self.engine.explain(compiled, ordinal)
        criteria = list(self.engine.criteria_read(compiled))
        past = past_of(self._store, self.account_id, mpid, criteria, self.engine.now, self.look_back_ms)
        return self.engine.explain(compiled, ordinal, past)

    def audiences_of(self, mpid: int) -> list[int]:
        """The active audiences that a person is in."""
        ordinals = self.people.find(np.array([mpid], np.int64))
        if ordinals[0] == UNKNOWN:
            return []
        return [audience_id for audience_id in sorted(self.audiences) if self.engine.contains(audience_id, ordinals)[0]]

    def teller(self) -> Teller:
        """Who puts explanations into words."""
        return Teller(self.audiences, self.look_back_ms // DAY_MS, self.engine.now)

    def candidates(self, workspace_ids: Iterable[int]) -> int:
        """How many people have activity in one of the workspaces."""
        columns = [self._active[workspace_id] for workspace_id in workspace_ids if workspace_id in self._active]
        if not columns:
            return 0
        union = np.zeros(max(len(column) for column in columns), bool)
        for column in columns:
            union[: len(column)] |= column
        return int(union.sum())

    # --- inside

    def _know_test(self, test: audience_pb2.AbTest) -> None:
        known = self._tests.get(test.audience_id)
        if not test.variations:
            self._participants.pop(test.ab_test_id, None)
            self._tests_over.append(test.ab_test_id)
        # Facts of earlier tests of the audience may come after those of the present one, when they are read anew.
        if known is None or known.ab_test_id <= test.ab_test_id:
            self._tests[test.audience_id] = test
            self._opening.add(test.audience_id)
            self._dealt.pop(test.audience_id, None)

    def _reached(self, goal: Match, since_ms: int) -> tuple[Mpids, NDArray[np.int64]]:
        """Who did it from an instant on, and when: a row for each time."""
        sieve = Sieve(goal)
        recalled = self._store.recall(self.account_id, goal.source, sieve.subjects, since_ms, in_order=False) if self._store else ()
        columns = [(np.empty(0, np.int64),) * 2]
        told: list[Happening] | None = None
        for part in recalled:
            if part.happenings is not told:
                told = part.happenings
                passes = np.array([bool(sieve.entries(one)) for one in told], bool)
            counted = np.flatnonzero(passes[part.which] & (part.times_ms <= self.engine.now))
            columns.append((part.mpids[counted], part.times_ms[counted]))
        who, when = (np.concatenate(column) for column in zip(*columns, strict=True))
        return who, when

    def _end(self, turn: Turn, store: EventStore, ends: Sequence[Ended]) -> Iterable[Told]:
        """These people are nobody any more; what is to be told again of those with whom they are one."""
        into = {ended.mpid: ended for ended in ends if ended.into != NOBODY}
        told: list[Told] = []
        if into:
            events, rows = store.told_of(self.account_id, into.keys())
            changes = facts_pb2.ProfileChanges(changes=profiles.told_again(rows))
            source = replace(ends[0].source, events=events, profiles=None), replace(ends[0].source, events=None, profiles=changes)
            told = [Told(part, row, into[mpid].into) for part in source for row, mpid in enumerate(part.mpids.tolist())]
        mpids = np.array([ended.mpid for ended in ends], np.int64)
        known = self.people.find(mpids)
        ordinals = self.people.retire(mpids)
        self.engine.delete(ordinals)
        for active in self._active.values():
            active[ordinals[ordinals < len(active)]] = False
        for audience_id, parts in self._told.items():  # nobody is evaluated there, so nobody else drops them
            gone = np.intersect1d(self._told_of(audience_id), ordinals)
            turn.add(audience_id, Changes(np.empty(0, np.int64), gone))
            for partition, members in parts.items():
                members -= bitmap_of(self.people.locals_of(gone[gone % self.people.partitions == partition]))
        store.hide(self.account_id, {ended.mpid: ended.sequence for ended in ends})
        self.endings.enter((ended.mpid, ended.into, ended.sequence) for ended in ends)
        locals_ = [None if ordinal == UNKNOWN else ordinal // self.people.partitions for ordinal in known.tolist()]
        turn.gone += [
            EndedRow(ended.source.partition, ended.mpid, ended.into, ended.sequence, local)
            for ended, local in zip(ends, locals_, strict=True)
        ]
        return told

    def _take(
        self, turn: Turn, store: EventStore, arrived: Sequence[Arrived]
    ) -> tuple[dict[Series, EventRows], list[AttributeChange], dict[int, Ordinals]]:
        """Give people their ordinals and keep what has arrived: events by series, changes of attributes, and who is new to a workspace."""
        events = columns_of(arrived)
        messages = [message for message in arrived if message.profiles is not None and message.profiles.changes]
        mpids = np.concatenate([events.mpids, *[np.array([c.mpid for c in m.profiles.changes], np.int64) for m in messages if m.profiles]])
        ordinals, pages = self.people.take(mpids) if len(mpids) else (mpids, [])
        turn.pages += pages
        activity = self._activity(events, messages, ordinals)
        rows_of_activity = [
            ActivityRow(workspace_id, partition, self.people.locals_of(part))
            for workspace_id, new in activity.items()
            for partition, part in self.people.by_partition(new)
        ]
        turn.activity = _together([*turn.activity, *rows_of_activity])
        told = [(message, change) for message in messages if message.profiles for change in message.profiles.changes]
        rows = [
            (ordinal, row)
            for (message, change), ordinal in zip(told, ordinals[len(events) :].tolist(), strict=True)
            for row in profiles.rows_of(message, change)
        ]
        again = {message.sequence: message.told_sequence for message in messages if message.told_sequence != message.sequence}
        if again:
            rows = self._without_gone(store, rows, again)
        attributes = profiles.changes_of(self.engine, events, ordinals[: len(events)], rows)
        if len(mpids):
            store.insert(self.account_id, events, [row for _, row in rows])
        return self._rows(events, ordinals[: len(events)]), attributes, activity

    def _without_gone(
        self, store: EventStore, rows: list[tuple[int, AttributeRow]], again: Mapping[int, int]
    ) -> list[tuple[int, AttributeRow]]:
        """Rows without the identities that are told again (`again`: at which sequence they were told first, by that of their message), and
        that the person lost after they were told first."""
        told = {row.mpid for _, row in rows if row.sequence in again and row.kind == PropertyKind.IDENTITY.value}
        if not told:
            return rows
        lost = store.lost_identities(self.account_id, told)
        for _, row in rows:
            if row.kind == GONE:
                lost[row.mpid, row.attribute, str(row.value)] = row.sequence
        return [
            (ordinal, row)
            for ordinal, row in rows
            if row.sequence not in again
            or row.kind != PropertyKind.IDENTITY.value
            or lost.get((row.mpid, row.attribute, str(row.value)), -1) < again[row.sequence]
        ]

    def _rows(self, events: EventColumns, ordinals: Ordinals) -> dict[Series, EventRows]:
        """By series; with what else is known of them where a filter asks for it."""
        contexts = [EventContext(*context) for context in events.contexts]
        rows = {}
        for code, at in _groups(events.series_codes):
            series = events.series[code]
            rows[series] = EventRows(ordinals[at], events.times_ms[at])
            if self.engine.reads_details(series):
                details = [events.details[row] for row in at.tolist()]
                context = [contexts[place] for place in events.context_codes[at].tolist()]
                rows[series] = EventRows(ordinals[at], events.times_ms[at], details, context, at)
        return rows

    def _recall(self, *compiled: Compiled) -> None:
        """Let the engine have what these definitions read and it doesn't hold."""
        for _ in self._recalls(*compiled):
            pass

    def _recalls(self, *compiled: Compiled) -> Iterator[None]:
        """The same in pieces: what is known of people, what filters find in the past. After a round it is to be begun anew."""
        wanted = {
            (one.workspace, one.attribute)
            for definition in compiled
            for one in self.engine.criteria_read(definition)
            if isinstance(one, AttributeTest | AttributeDate) and one.attribute.kind in profiles.KEPT
        }
        for workspace, property_ in wanted - self.engine.held():
            if self._store is not None:
                profiles.load(self.engine, self._store, self.people, self.account_id, workspace, property_)
                yield
        by_reading: dict[tuple[Match, frozenset[Subject]], list[Sieve]] = defaultdict(list)
        for sieve in self.engine.missing(*compiled):
            by_reading[sieve.match.source, sieve.subjects].append(sieve)
        for (source, subjects), sieves in by_reading.items():
            self._read(source, subjects, sieves)
            yield

    def _read(self, source: Match, subjects: frozenset[Subject], sieves: Sequence[Sieve]) -> None:
        """Fill these sieves, all of which read the same of the past. People who are not known here are passed over."""
        in_order = any(sieve.is_measure for sieve in sieves)
        since = self.engine.now - self.look_back_ms
        recalled = self._store.recall(self.account_id, source, subjects, since, in_order=in_order) if self._store is not None else ()
        entries: list[list[Sequence[SieveEntry]]] = [[] for _ in sieves]
        columns = [(np.empty(0, np.int64),) * 4]
        told: list[Happening] | None = None
        tables = 0
        for part in recalled:
            if part.happenings is not told:
                told, start = part.happenings, len(entries[0])
                tables += 1
                for own, sieve in zip(entries, sieves, strict=True):
                    own += [sieve.entries(one) for one in told]
            ordinals = self.people.find(part.mpids)
            known = slice(None) if (ordinals != UNKNOWN).all() else ordinals != UNKNOWN
            columns.append((ordinals[known], part.times_ms[known], part.which[known] + start, part.arrivals[known]))
        ordinals, times, which, arrivals = (np.concatenate(column) for column in zip(*columns, strict=True))
        if in_order:
            order = np.argsort(arrivals, kind="stable")
            ordinals, times, which = ordinals[order], times[order], which[order]
        for sieve, own in zip(sieves, entries, strict=True):
            self.engine.fill(sieve, ordinals, times, which, own)
        if tables <= 1:  # else there are too many different values
            reading = Reading(told or [], in_order)
            reading.add(ordinals, times, which)
            self.engine.keep(source, subjects, reading)

    def _define(self, turn: Turn) -> None:
        """Activate and deactivate what waits: as much as one round should change, and the rest in the next ones."""
        waiting, self._waiting = self._waiting, {}
        if waiting:
            waiting, self._held = {**self._held, **waiting}, {}
        if self._again:
            self._again = False
            again = {id_: self.compile(one.definition, one.workspace_ids, one.input_ids) for id_, one in self.audiences.items()}
            waiting = {**{id_: self.audiences[id_] for id_, one in again.items() if one != self._compiled[id_]}, **waiting}
        for audience_id, audience in waiting.items():
            if audience.state != ACTIVE and audience_id in self._preparing:
                self._preparing.pop(audience_id).end()
            if audience.state != ACTIVE and audience_id in self.audiences:
                turn.ended[audience_id] = self.engine.deactivate(audience_id).dropped
                self._dealt.pop(audience_id, None)
                del self.audiences[audience_id], self._compiled[audience_id]
        active = {audience_id: audience for audience_id, audience in waiting.items() if audience.state == ACTIVE}
        self._activate(active, turn, ACTIVATED_CHANGES, Slice(ACTIVATED_SECONDS))
        for audience_id in self._told.keys() - self._held.keys() - self._waiting.keys():
            turn.ended[audience_id] = self._told_of(audience_id)
            del self._told[audience_id]

    def _activate(
        self, audiences: dict[int, audience_pb2.Audience], turn: Turn, changes_max: int | None = None, part: Slice | None = None
    ) -> None:
        """Take these in, inner ones first; after so many changes, or so long, the rest waits for the next round.

        The newest states of two audiences need not be of one time: one that would read itself through others is held until another changes.
        """
        compiled = {
            id_: self.compile(audience.definition, audience.workspace_ids, audience.input_ids) for id_, audience in audiences.items()
        }
        waiting = _inner_first(compiled)
        for audience_id, one in compiled.items() if part is not None else ():
            self._begin(audience_id, one)
        for _ in self._recalls(*compiled.values()):
            if part is not None and part.is_over:
                self._waiting |= audiences
                return
        refused: list[int] = []
        changed = 0
        while waiting and waiting != refused:
            refused, waiting = waiting, []
            for place, audience_id in enumerate(refused):
                full = changes_max is not None and changed >= changes_max
                full = full or (part is not None and part.is_over and bool(turn.changes))
                if full or (part is not None and not self._preparing[audience_id].go_on(part)):
                    self._waiting |= {later: audiences[later] for later in [*waiting, *refused[place:]]}
                    return
                told = self._told.get(audience_id)
                row = None if told is None else self.people.row_of({part: locals_of(members) for part, members in told.items()})
                try:
                    changes = self.engine.activate(audience_id, compiled[audience_id], members=row)
                except Cycle:
                    waiting.append(audience_id)
                    continue
                if audience_id in self._preparing:
                    self._preparing.pop(audience_id).end()
                self._told.pop(audience_id, None)
                changed += len(changes.added) + len(changes.dropped)
                self.audiences[audience_id], self._compiled[audience_id] = audiences[audience_id], compiled[audience_id]
                turn.add(audience_id, changes)
        for audience_id in waiting:
            log.warning("audience_held", account_id=self.account_id, audience_id=audience_id)
            self._held[audience_id] = audiences[audience_id]

    def _begin(self, audience_id: int, compiled: Compiled) -> None:
        """Prepare an audience, or go on with that."""
        preparation = self._preparing.get(audience_id)
        if preparation is not None and preparation.compiled == compiled:
            return
        if preparation is not None:
            preparation.end()
        self._preparing[audience_id] = self.prepare(compiled)

    def _told_of(self, audience_id: int) -> Ordinals:
        parts = self._told[audience_id].items()
        return np.concatenate([self.people.ordinals_of(part, locals_of(told)) for part, told in parts])

    def _know_input(self, source: Input) -> None:
        inputs = self._inputs[source.workspace_id]
        if source.input_id not in inputs:
            inputs.add(source.input_id)
            self._again = bool(self.audiences)

    def _know_types(self, workspace_id: int, types: Types) -> None:
        if types != self._types.get(workspace_id, NO_TYPES):
            self._types[workspace_id] = types
            self._again = bool(self.audiences)

    def _know_sources(self, arrived: Sequence[Arrived]) -> None:
        # An input's first events may come before the fact that tells of it.
        sources = [source for message in arrived if message.events is not None for source in message.events.sources]
        for workspace_id, input_id in dict.fromkeys((source.workspace_id, source.input_id) for source in sources):
            self._know_input(Input(input_id=input_id, workspace_id=workspace_id))

    def _first_seen(self, workspace_id: int, ordinals: Ordinals) -> Ordinals:
        """Those of the ordinals that had no activity in the workspace before; they have from now on."""
        seen = self._active.setdefault(workspace_id, np.zeros(1024, bool))
        if len(ordinals) and (top := int(ordinals.max()) + 1) > len(seen):
            seen = np.concatenate([seen, np.zeros(max(top, 2 * len(seen)) - len(seen), bool)])
            self._active[workspace_id] = seen
        new = sorted_unique(ordinals[~seen[ordinals]])
        seen[new] = True
        return new

    def _activity(self, events: EventColumns, profiles: Sequence[Arrived], ordinals: Ordinals) -> dict[int, Ordinals]:
        """Who has activity in a workspace for the first time."""
        told = [change.workspace_id for message in profiles if message.profiles for change in message.profiles.changes]
        workspaces = np.concatenate([np.array(events.workspaces, np.int64)[events.series_codes], np.array(told, np.int64)])
        seen = {workspace_id: ordinals[workspaces == workspace_id] for workspace_id in np.unique(workspaces).tolist()}
        first = {workspace_id: self._first_seen(workspace_id, people) for workspace_id, people in seen.items()}
        return {workspace_id: people for workspace_id, people in first.items() if len(people)}


def _retired(pages: Iterable[Page], people: People) -> Ordinals:
    """The ordinals of those who ended."""
    gone = [people.ordinals_of(page.partition, page.first_local + np.flatnonzero(page.mpids == RETIRED)) for page in pages]
    return np.concatenate([np.empty(0, np.int64), *gone])


def look_back_of(facts: Iterable[definition_facts.DefinitionFact]) -> int:
    """The look-back, in milliseconds, that the facts of an account give it."""
    account = next((fact.account for fact in facts if fact.WhichOneof("state") == "account"), Account())
    return (account.look_back_days or DEFAULT_LOOK_BACK_DAYS) * DAY_MS


def _inner_first(compiled: dict[int, Compiled]) -> list[int]:
    """Those that others read come first; those that read each other come last."""
    order: list[int] = []
    rest = set(compiled)
    while rest:
        ready = sorted(id_ for id_ in rest if not compiled[id_].member_of & rest) or sorted(rest)
        order += ready
        rest.difference_update(ready)
    return order


def _groups(codes: NDArray[np.int32]) -> Iterable[tuple[int, NDArray[np.int64]]]:
    """The rows of each code."""
    order = np.argsort(codes, kind="stable")
    keys, starts = np.unique(codes[order], return_index=True)
    return zip(keys.tolist(), np.split(order, starts[1:]), strict=True) if len(keys) else []


def _joined(first: Changes, then: Changes) -> Changes:
    """Two changes, one after the other, as one."""
    added = np.union1d(np.setdiff1d(first.added, then.dropped), np.setdiff1d(then.added, first.dropped))
    dropped = np.union1d(np.setdiff1d(first.dropped, then.added), np.setdiff1d(then.dropped, first.added))
    return Changes(added, dropped)
