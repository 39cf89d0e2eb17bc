"""A small world for the evaluator's tests: one account's definitions and events, published as the other services publish them."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from muster.definition.v1 import account_pb2, audience_pb2, definition_pb2
from muster.definition.v1 import facts_pb2 as definition_facts
from muster.evaluator.v1 import facts_pb2 as evaluator_facts
from muster.ingest.v1 import event_type_pb2, identity_pb2
from muster.ingest.v1 import facts_pb2 as ingest_facts

from services.chassis.bus import Bus
from services.chassis.partition import partition_of
from services.chassis.publisher import Outgoing
from services.chassis.streams import MEMBERSHIPS, definitions_subject, events_subject, profiles_subject

ACCOUNT, WORKSPACE, INPUT = 7, 71, 711
PARTITIONS = 4
INSTALL, SESSION_START = event_type_pb2.EVENT_TYPE_INSTALL, event_type_pb2.EVENT_TYPE_SESSION_START
_ids = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Happening:
    """One event of a person."""

    mpid: int
    time_ms: int
    type: int = SESSION_START
    name: str = ""
    details: str = ""


def criterion(type_: int, *, hours: int = 0, fewer_than: int = 0) -> definition_pb2.Node:
    """An event criterion: within the last hours, or fewer than so many in the whole look-back."""
    event = definition_pb2.EventCriterion(match=definition_pb2.EventMatch(type=type_))  # type: ignore[arg-type]
    if hours:
        event.when.last.CopyFrom(definition_pb2.Duration(count=hours, unit=definition_pb2.DURATION_UNIT_HOUR))
    if fewer_than:
        event.frequency.comparison = definition_pb2.COMPARISON_LESS
        event.frequency.value = fewer_than
    return definition_pb2.Node(criterion=definition_pb2.Criterion(event=event))


def seed_definition() -> definition_pb2.Definition:
    """Installed in the last 72 hours and fewer than 3 sessions."""
    both = definition_pb2.Group(nodes=[criterion(INSTALL, hours=72), criterion(SESSION_START, fewer_than=3)])
    return definition_pb2.Definition(root=definition_pb2.Node(all=both))


class World:
    """Publishes facts of one account. Every call is acknowledged by the stream when it returns."""

    def __init__(self, bus: Bus, partitions: int = PARTITIONS) -> None:
        self._bus = bus
        self._partitions = partitions
        self._versions: dict[str, int] = defaultdict(int)

    async def account(self, look_back_days: int = 30) -> None:
        """The account in its newest state."""
        await self._define("account", ACCOUNT, account=account_pb2.Account(account_id=ACCOUNT, name="Acme", look_back_days=look_back_days))

    async def workspace(self) -> None:
        """The account, its workspace and its input."""
        await self.account()
        await self._define("workspace", WORKSPACE, workspace=account_pb2.Workspace(workspace_id=WORKSPACE, name="Shop"))
        await self.input(INPUT)

    async def types(self, *overrides: account_pb2.AttributeOverride) -> None:
        """The workspace with these types of attributes, and no others."""
        workspace = account_pb2.Workspace(workspace_id=WORKSPACE, name="Shop", attribute_overrides=overrides)
        await self._define("workspace", WORKSPACE, workspace=workspace)

    async def input(self, input_id: int) -> None:
        """An input of the workspace."""
        source = account_pb2.Input(input_id=input_id, workspace_id=WORKSPACE, name="iOS")
        await self._define("input", input_id, input=definition_facts.InputCredentials(input=source))

    async def audience(
        self,
        audience_id: int,
        definition: definition_pb2.Definition,
        *,
        active: bool = True,
        state: int | None = None,
        revision: int = 1,
        input_ids: Sequence[int] = (),
    ) -> None:
        """An audience in its newest state."""
        if state is None:
            state = audience_pb2.AUDIENCE_STATE_ACTIVE if active else audience_pb2.AUDIENCE_STATE_INACTIVE
        audience = audience_pb2.Audience(
            audience_id=audience_id,
            name=f"Audience {audience_id}",
            workspace_ids=[WORKSPACE],
            input_ids=input_ids,
            definition=definition,
            state=state,  # type: ignore[arg-type]
            revision=revision,
        )
        await self._define("audience", audience_id, audience=audience)

    async def ab_test(self, audience_id: int, percentages: Mapping[str, int], *, ab_test_id: int = 90, time_ms: int = 0) -> None:
        """The A/B test of an audience, made at that time; without percentages it is deleted."""
        variations = [
            audience_pb2.Variation(variation_id=number, name=name, percentage=share)
            for number, (name, share) in enumerate(percentages.items(), 1)
        ]
        test = audience_pb2.AbTest(
            ab_test_id=ab_test_id, audience_id=audience_id, name="Summer", variations=variations, create_time_ms=time_ms
        )
        await self._define("abtest", ab_test_id, ab_test=test)

    async def events(self, happenings: Sequence[Happening], *, batch_id: str = "", input_id: int = INPUT) -> None:
        """Batches of events, one a partition."""
        by_partition: dict[int, list[Happening]] = defaultdict(list)
        for happening in happenings:
            by_partition[partition_of(ACCOUNT, happening.mpid, self._partitions)].append(happening)
        for partition, some in by_partition.items():
            kinds = sorted({(happening.type, happening.name) for happening in some})
            batch = ingest_facts.EventBatch(
                batch_id=f"{batch_id or next(_ids)}-{partition}",
                account_id=ACCOUNT,
                partition=partition,
                receive_time_ms=max(happening.time_ms for happening in some),
                sources=[ingest_facts.EventSource(input_id=input_id, workspace_id=WORKSPACE)],
                kinds=[ingest_facts.EventKind(type=type_, name=name) for type_, name in kinds],  # type: ignore[arg-type]
                contexts=[ingest_facts.EventContext()],
                mpids=[happening.mpid for happening in some],
                times_ms=[happening.time_ms for happening in some],
                event_ids=[next(_ids) for _ in some],
                source_indexes=[0] * len(some),
                kind_indexes=[kinds.index((happening.type, happening.name)) for happening in some],
                context_indexes=[0] * len(some),
                details=[happening.details for happening in some],
            )
            # A message id of its own: the stream must not be what drops a repeated batch here.
            await self._bus.publish(events_subject(partition), batch.SerializeToString(), message_id=f"m{next(_ids)}")

    async def attributes(self, mpid: int, values: Mapping[str, str | None], time_ms: int) -> None:
        """Attributes of one person; None removes."""
        change = ingest_facts.ProfileChange(
            mpid=mpid,
            workspace_id=WORKSPACE,
            input_id=INPUT,
            time_ms=time_ms,
            set_attributes={name: identity_pb2.AttributeValue(string_value=value) for name, value in values.items() if value is not None},
            removed_attributes=[name for name, value in values.items() if value is None],
        )
        await self.profiles([change])

    async def merge(self, mpid: int, into: int, time_ms: int) -> None:
        """The one is the other."""
        await self.profiles([ingest_facts.ProfileChange(mpid=mpid, workspace_id=WORKSPACE, time_ms=time_ms, merged_into=into)])

    async def delete(self, mpid: int, time_ms: int) -> None:
        """Nobody any more."""
        await self.profiles([ingest_facts.ProfileChange(mpid=mpid, workspace_id=WORKSPACE, time_ms=time_ms, deleted=True)])

    async def profiles(self, changes: Sequence[ingest_facts.ProfileChange]) -> None:
        """Changes of one person, in their order."""
        partition = partition_of(ACCOUNT, changes[0].mpid, self._partitions)
        message = ingest_facts.ProfileChanges(
            batch_id=f"p{next(_ids)}", account_id=ACCOUNT, partition=partition, receive_time_ms=changes[0].time_ms, changes=changes
        )
        await self._bus.publish(profiles_subject(partition), message.SerializeToString(), message_id=message.batch_id)

    async def raw(self, subject: str, body: bytes) -> None:
        """Any bytes."""
        await self._bus.publish_many([Outgoing(subject, body, f"r{next(_ids)}")])

    async def _define(self, kind: str, id_: int, **state: object) -> None:
        key = f"{kind}.{id_}"
        self._versions[key] += 1
        fact = definition_facts.DefinitionFact(account_id=ACCOUNT, version=self._versions[key], **state)  # type: ignore[arg-type]
        subject = definitions_subject(ACCOUNT, kind, id_)
        await self._bus.publish(subject, fact.SerializeToString(), message_id=f"{key}.{self._versions[key]}")


class Follower:
    """The members of every audience, as a consumer of the membership facts adds them up; it checks the rules of the contract on the way."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._next = 1
        self.members: dict[int, set[int]] = defaultdict(set)
        self.rounds: dict[tuple[int, int], int] = {}
        self.messages: list[evaluator_facts.MembershipChanges] = []

    async def follow(self) -> None:
        """Take all that the stream has by now."""
        info = await self._bus.jetstream.stream_info(MEMBERSHIPS)
        while self._next <= info.state.last_seq:
            raw = await self._bus.jetstream.get_msg(MEMBERSHIPS, seq=self._next)
            self._next += 1
            assert raw.data is not None
            self._take(evaluator_facts.MembershipChanges.FromString(raw.data))

    def _take(self, changes: evaluator_facts.MembershipChanges) -> None:
        self.messages.append(changes)
        members = self.members[changes.audience_id]
        for part in changes.partitions:
            key = (changes.audience_id, part.partition)
            last = self.rounds.get(key, 0)
            if part.round < last or (part.round == last and part.piece == 0):
                continue  # a repetition
            assert part.previous_round <= last or part.piece > 0, "a round was missed"
            assert not members.intersection(part.added), "added someone who was in"
            assert members.issuperset(part.dropped), "dropped someone who was not in"
            members.update(part.added)
            members.difference_update(part.dropped)
            self.rounds[key] = part.round
        if changes.ended:
            members.clear()
