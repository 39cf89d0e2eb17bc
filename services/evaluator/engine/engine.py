"""The engine: who is in which audience, kept exact as events arrive and as time passes.

Pure computing: numpy in, numpy out; no I/O, no clock, no threads. Not thread-safe: one caller at a time.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet

import numpy as np
from numpy.typing import NDArray

from .audiences import Audience, Audiences
from .bits import BitRows, Row, count, ordinals_of
from .compile import Compiled
from .criteria.event import Touched
from .criteria.shared import Criteria
from .details import Subject
from .events import MOST_PEOPLE, TIME_BITS, Codes, EventIndex, Kept
from .explain import Explanation, explain
from .explaining.person import NO_PAST, Past, Person
from .facts import AttributeChange, Changes, Estimate, EventContext, EventRows, Events, Instants, Ordinals, Property, Series, Value
from .reading import Reading
from .sieve import Sieve, SieveEntry, sieves_of
from .sieves import Sieves
from .tree import Criterion, Leaf, Match, MemberOf, Node, criteria_of

NOBODY: Ordinals = np.empty(0, np.int64)


class Engine:
    """One account's people of one process, by ordinal: a dense int from 0, below 2**29; holes are allowed. Instants are Unix milliseconds.

    `look_back_ms` is what event criteria see: at most 150 days. `now` moves only by `round`.
    """

    def __init__(self, *, look_back_ms: int, now_ms: int) -> None:
        self.now = now_ms
        self._index = EventIndex(look_back_ms=look_back_ms, now_ms=now_ms)
        self._bits = BitRows()
        self._audiences = Audiences(self._bits)
        self._member_slots: dict[int, int] = {}  # of the audiences
        self._deleted = NOBODY  # of whom the index still has something
        self._sieves = Sieves(self._index)
        self._criteria = Criteria(self._index, self._sieves, self._bits, self._member_slots)

    # --- people
    def add_activity(self, workspace_id: int, ordinals: Ordinals) -> None:
        """These people have activity in the workspace, which makes them candidates of its audiences for ever. What it changes in active
        audiences is reported by the next round."""
        self._make_room(ordinals)
        self._criteria.add_activity(workspace_id, ordinals)

    def delete(self, ordinals: Ordinals) -> None:
        """These people are nobody any more: they leave every audience, which the next round reports, and their ordinals must not be used
        again. What the index has of them goes with the next `forget`; until then nobody asks for it."""
        self._make_room(ordinals)
        self._criteria.clear(ordinals)
        self._deleted = np.append(self._deleted, ordinals)

    # --- bulk load: restart, history
    def load_events(
        self,
        series: Series,
        ordinals: Ordinals,
        times_ms: Instants,
        details: Sequence[str] = (),
        contexts: Sequence[EventContext] = (),
        arrivals: Sequence[int] | NDArray[np.integer] = (),
    ) -> None:
        """Events in any order, not deduplicated. Those older than the look-back are ignored; future ones count when their time comes.
        What they change in active audiences is reported by the next round."""
        self._make_room(ordinals)
        self._insert({series: EventRows(ordinals, times_ms, details, contexts, arrivals)})

    def load_history(self, series: Sequence[Series], codes: Codes, ordinals: Ordinals, times_ms: Instants) -> None:
        """The same for events of many series at once, of which nothing else is known: event i is of `series[codes[i]]`."""
        self._make_room(ordinals)
        own = np.array([self._index.code(one) for one in series], np.int32)
        self._take(own[codes], ordinals, times_ms)

    def load_attributes(
        self, workspace_id: int, attribute: Property | str, ordinals: Ordinals, values: Sequence[Value | None], times_ms: Instants
    ) -> None:
        """Values of one property; a plain name is that of a user attribute. Per person the latest time wins, of equal times the later
        call or position; None removes. What they change in active audiences is reported by the next round."""
        self._make_room(ordinals)
        self._criteria.change_attribute(AttributeChange(workspace_id, attribute, ordinals, values, times_ms), self.now)

    # --- what was loaded once, to be loaded again at once
    def kept(self) -> Kept:
        """The events as they are now; nothing else. It stays what it is, whatever happens to the engine."""
        return self._index.kept(self._deleted)

    def take_back(self, kept: Kept, deleted: Ordinals) -> None:
        """Have these events, kept by another engine with this look-back and not in the future, instead of loading them; before anything
        else. What these people did, who are nobody any more, goes with the next `forget`."""
        self._make_room(*(keys[-1:] >> TIME_BITS for keys, _ in kept.by_person))
        self._index.take_back(kept)
        self._deleted = deleted

    # --- the past, for filters
    def missing(self, *compiled: Compiled) -> list[Sieve]:
        """What must be filled before these definitions can be activated or estimated, without a round in between."""
        criteria = (criterion for one in compiled for criterion in criteria_of(one.members))
        return self._sieves.missing(sieve for criterion in criteria for sieve in sieves_of(criterion))

    def fill(
        self, sieve: Sieve, ordinals: Ordinals, times_ms: Instants, which: NDArray[np.integer], entries: Sequence[Sequence[SieveEntry]]
    ) -> None:
        """What the sieve takes of all events that the engine has, in the order in which they came: of event i `entries[which[i]]`, as
        `sieve.entries` has them. Events without an entry may be left out."""
        self._make_room(ordinals)
        self._sieves.fill(sieve, ordinals, times_ms, which, entries)

    def keep(self, source: Match, subjects: frozenset[Subject], reading: Reading) -> None:
        """What the subjects are of all events of the match that the engine has, for other sieves that read the same: they need not be
        filled while it is kept."""
        self._sieves.keep(source, subjects, reading)

    def reserve(self, compiled: Compiled) -> None:
        """What is filled for this definition stays until `give_back`, whatever else is asked for meanwhile."""
        self._sieves.reserve(sieve for criterion in criteria_of(compiled.members) for sieve in sieves_of(criterion))

    def give_back(self, compiled: Compiled) -> None:
        """As often as it was reserved."""
        self._sieves.release(sieve for criterion in criteria_of(compiled.members) for sieve in sieves_of(criterion))

    def reads_details(self, series: Series) -> bool:
        """Whether a filter looks into the details and contexts of the series' events; where none does, they need not be given."""
        return self._sieves.read(series)

    # --- audiences
    def activate(self, audience_id: int, compiled: Compiled, *, members: Row | None = None) -> Changes:
        """Take the audience in, computed at `now`, and tell the difference to `members` (bits by ordinal, of any length); without them, to
        its present members if it is active (a new definition), else to nobody. Nothing that it needs may be `missing`. The audiences that
        it reads (`compiled.member_of`) are to be activated first: as long as one isn't, it has no members; audiences that read this one,
        and are active already, follow in the next round. Raises Cycle."""
        self._audiences.refuse_cycle(audience_id, compiled.member_of)
        if members is not None:
            self._bits.make_room(8 * len(members))
        self._criteria.settle(self.now)
        self._criteria.keep(self.now)
        known = self._audiences.known.get(audience_id)
        tree = compiled.members
        for criterion in criteria_of(tree):
            self._criteria.use(criterion, self.now)
        slot = known.slot if known else self._bits.new()
        row = self._criteria.row(tree, self.now)
        present = self._bits.row(slot)
        before = present if members is None else np.pad(members, (0, self._bits.width - len(members)))
        changes = Changes(ordinals_of(row & ~before), ordinals_of(before & ~row) if known or members is not None else NOBODY)
        self._audiences.put(Audience(audience_id, tree, compiled.member_of, slot, count(row)), moved=row ^ present)
        self._member_slots[audience_id] = slot
        present[:] = row
        for criterion in criteria_of(known.tree) if known else ():
            self._criteria.release(criterion)
        return changes

    def learn(self, criterion: Criterion) -> bool:
        """A piece of what it takes to `hold` a criterion; whether that can be done at once. Changes nothing."""
        return self._criteria.learn(criterion)

    def hold(self, criterion: Criterion) -> None:
        """Compute a criterion, and keep it right from now on, as those of an audience are. Nothing that it needs may be `missing`."""
        self._criteria.settle(self.now)
        self._criteria.hold(criterion, self.now)

    def let_go(self, criterion: Criterion) -> None:
        """As often as it was held."""
        self._criteria.let_go(criterion)

    def deactivate(self, audience_id: int) -> Changes:
        """Everyone leaves, and the audience is known no longer; those that read it follow in the next round. Unknown: nothing happens."""
        audience = self._audiences.known.get(audience_id)
        if audience is None:
            return Changes(NOBODY, NOBODY)
        members = ordinals_of(self._bits.row(audience.slot))
        self._audiences.remove(audience_id)
        del self._member_slots[audience_id]
        self._bits.free(audience.slot)
        for criterion in criteria_of(audience.tree):
            self._criteria.release(criterion)
        return Changes(NOBODY, members)

    # --- one round
    def round(
        self,
        now_ms: int,
        events: Mapping[Series, Events],
        attributes: Sequence[AttributeChange] = (),
        activity: Mapping[int, Ordinals] | None = None,
    ) -> dict[int, Changes]:
        """Take in what has arrived and let time pass to `now_ms`; the changes of each audience that has any. An event doesn't make its
        person a candidate by itself: `activity` (workspace id -> ordinals) says so, repeats are harmless. Time never goes back: an earlier
        `now_ms` counts as the present one."""
        before, self.now = self.now, max(now_ms, self.now)
        activity = activity or {}
        arrived = [*(rows[0] for rows in events.values()), *(change.ordinals for change in attributes), *activity.values()]
        self._make_room(*arrived)
        for workspace, people in activity.items():
            self._criteria.add_activity(workspace, people)
        for change in attributes:
            self._criteria.change_attribute(change, self.now)
        self._criteria.pass_time(before, self.now)
        self._criteria.touch(Touched(*self._index.advance(self.now)))
        self._sieves.advance(self.now)
        self._insert(events)
        self._criteria.settle(self.now)
        return self._audiences.follow(self._criteria.take_turned(), self._criteria.slot)

    @property
    def events(self) -> int:
        """How many the index has."""
        return len(self._index)

    # --- questions
    def members(self, audience_id: int) -> Ordinals:
        """Ascending. KeyError where the audience isn't active; so with the three below."""
        return ordinals_of(self._bits.row(self._audiences.known[audience_id].slot))

    def row(self, audience_id: int) -> Row:
        """The members as bits: not to be written to, and right until something else is called."""
        return self._bits.row(self._audiences.known[audience_id].slot)

    def size(self, audience_id: int) -> int:
        return self._audiences.known[audience_id].size

    def contains(self, audience_id: int, ordinals: Ordinals) -> NDArray[np.bool_]:
        slot = self._audiences.known[audience_id].slot
        inside = np.zeros(len(ordinals), np.bool_)
        known = (ordinals >= 0) & (ordinals < self._bits.people)
        inside[known] = self._bits.get(slot, ordinals[known]) == 1
        return inside

    def estimate(self, compiled: Compiled, *, beside: int | None = None) -> Estimate:
        """The exact size of a draft now, of each of its nodes, and of what it shares with the active audience `beside`. Nothing that it
        needs may be `missing`. Changes no membership."""
        self._criteria.settle(self.now)
        of_nodes: dict[str, Row] = {}
        candidates = self._criteria.row(Leaf(compiled.candidates), self.now)
        whole = candidates & self._criteria.row(compiled.root, self.now, of_nodes)
        overlap = count(whole & self._bits.row(self._audiences.known[beside].slot)) if beside is not None else 0
        return Estimate(count(whole), {node_id: count(candidates & row) for node_id, row in of_nodes.items()}, overlap)

    def explain(self, compiled: Compiled, ordinal: int, past: Past = NO_PAST) -> Explanation:
        """Why this person is in or out now, since when, and when that changes by time alone. Changes nothing. Events further in the future
        than the index reaches are not seen; of the past, the engine itself knows the look-back and the present values."""
        self._criteria.settle(self.now)
        self._sieves.bring_in(sieve for criterion in criteria_of(compiled.members) for sieve in sieves_of(criterion))
        criteria = self._criteria
        person = Person(
            self._index,
            ordinal,
            self.now,
            value_at=lambda workspace, attribute, at: criteria.value_of(workspace, attribute, ordinal, at),
            to_come=lambda workspace, attribute: criteria.to_come(workspace, attribute, ordinal),
            is_active=lambda activity: criteria.is_active(activity, ordinal),
            tree_of=self._tree_of,
            measure_of=self._sieves.measure,
            known_of=criteria.known_of,
            past=past,
        )
        return explain(person, compiled.members)

    def criteria_read(self, compiled: Compiled) -> Iterator[Criterion]:
        """The criteria of the definition and of the audiences that it reads, directly or through others."""
        trees, seen = [compiled.members], set[int]()
        for tree in trees:
            for criterion in criteria_of(tree):
                yield criterion
                if isinstance(criterion, MemberOf) and criterion.audience not in seen:
                    seen.add(criterion.audience)
                    inner = self._tree_of(criterion.audience)
                    trees += [] if inner is None else [inner]

    def value_of(self, workspace_id: int, property_: Property, ordinal: int) -> Value | None:
        """What is known of one person now; None where nothing is."""
        return self._criteria.value_of(workspace_id, property_, ordinal, self.now)

    def held(self) -> AbstractSet[tuple[int, Property]]:
        """The workspace and property of each column."""
        return self._criteria.held()

    def take_work(self) -> tuple[dict[int, int], int]:
        """How many people, events and values the rounds since the last call looked at for the criteria of each audience, where there are
        any, and for all of them together. What several audiences share counts in each of them, and once in all."""
        looked_at = self._criteria.work.take()
        found = {}
        for audience in self._audiences.known.values():
            criteria = {criterion for criterion in criteria_of(audience.tree) if not isinstance(criterion, MemberOf)}
            slots = [self._criteria.slot(criterion) for criterion in criteria]
            if total := sum(int(looked_at[slot]) for slot in slots if slot < len(looked_at)):
                found[audience.id] = total
        return found, int(looked_at.sum())

    # --- upkeep
    def forget(self, now_ms: int) -> int:
        """Drop the events that no criterion can see any more (older than the look-back at `now_ms`, at most the present), and say how
        many. Also what deleted people did, and the attribute values that nobody has any more."""
        self._criteria.tidy()
        deleted, self._deleted = self._deleted, NOBODY
        if len(deleted):
            self._sieves.clear(deleted)
            self._index.clear(deleted)
        self._sieves.forget(min(now_ms, self.now))
        return self._index.forget(min(now_ms, self.now))

    def memory_bytes(self) -> int:
        """Of the arrays the engine holds; not of the Python objects around them."""
        return self._index.nbytes + self._sieves.nbytes + self._bits.nbytes + self._criteria.nbytes

    def _tree_of(self, audience_id: int) -> Node | None:
        audience = self._audiences.known.get(audience_id)
        return None if audience is None else audience.tree

    def _make_room(self, *people: Ordinals) -> None:
        """Before what concerns these people is taken in."""
        self._criteria.keep(self.now)
        for ordinals in people:
            if len(ordinals):
                if ordinals.min() < 0 or ordinals.max() >= MOST_PEOPLE:
                    raise ValueError(f"ordinals are at least 0 and below {MOST_PEOPLE}")
                self._bits.make_room(int(ordinals.max()) + 1)

    def _insert(self, events: Mapping[Series, Events]) -> None:
        if not events:
            return
        rows = {series: EventRows(*columns) for series, columns in events.items()}
        codes = np.repeat(
            np.array([self._index.code(series) for series in rows], np.int32), [len(columns.ordinals) for columns in rows.values()]
        )
        people = np.concatenate([columns.ordinals for columns in rows.values()])
        times = np.concatenate([columns.times_ms for columns in rows.values()])
        if sifted := self._sieves.sift(rows):
            codes, people, times = (np.concatenate(parts) for parts in zip((codes, people, times), *sifted, strict=True))
        self._take(codes, people, times)

    def _take(self, codes: Codes, people: Ordinals, times: Instants) -> None:
        self._index.insert(codes, people, times)
        self._criteria.touch(Touched(codes, people))
