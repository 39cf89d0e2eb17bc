"""The facts that a round publishes: people's news and their events, by account and partition, columns as the contract has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from muster.ingest.v1 import event_pb2, facts_pb2, identity_pb2

from services.chassis.bus import Outgoing, headers_of
from services.chassis.partition import partition_of
from services.chassis.streams import events_subject, profiles_subject
from services.ingest.domain.model import Change, Context, Event, Identity, Value
from services.ingest.inputs import Input

# A message holds 1 MB at most; one batch more than this still fits.
PIECE_BYTES = 400_000
_ROW_BYTES = 40


@dataclass(slots=True)
class _Piece:
    """The rows of one EventBatch; `sources`, `kinds` and `contexts` number what they hold by their order."""

    sources: dict[tuple[int, int], int] = field(default_factory=dict)
    kinds: dict[tuple[int, str], int] = field(default_factory=dict)
    contexts: dict[Context, int] = field(default_factory=dict)
    mpids: list[int] = field(default_factory=list)
    times_ms: list[int] = field(default_factory=list)
    event_ids: list[int] = field(default_factory=list)
    source_indexes: list[int] = field(default_factory=list)
    kind_indexes: list[int] = field(default_factory=list)
    context_indexes: list[int] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    size: int = 0


class Facts:
    """Collects what batches bring, in their order; `outgoing` are the messages, of each partition the people first and then the events."""

    def __init__(self, *, partitions: int, receive_time_ms: int) -> None:
        self._partitions = partitions
        self._receive_time_ms = receive_time_ms
        self._events: dict[tuple[int, int], list[_Piece]] = {}
        self._changes: dict[tuple[int, int], list[facts_pb2.ProfileChange]] = {}
        # Who ends, in messages of their own after those.
        self._ends: dict[tuple[int, int], list[facts_pb2.ProfileChange]] = {}

    def add_events(self, input: Input, mpid: int, context: Context, events: Sequence[Event], event_ids: Sequence[int]) -> None:
        """Events of one person, from one input."""
        size = sum(_ROW_BYTES + len(event.details) * (1 if event.details.isascii() else 3) + len(event.name) for event in events)
        pieces = self._events.setdefault(self._key(input.account_id, mpid), [])
        if not pieces or pieces[-1].size + size > PIECE_BYTES:
            pieces.append(_Piece())
        piece = pieces[-1]
        piece.size += size
        count = len(events)
        source = piece.sources.setdefault((input.input_id, input.workspace_id), len(piece.sources))
        place = piece.contexts.setdefault(context, len(piece.contexts))
        kinds = piece.kinds
        piece.mpids += [mpid] * count
        piece.source_indexes += [source] * count
        piece.context_indexes += [place] * count
        piece.event_ids += event_ids
        for event in events:
            piece.times_ms.append(event.time_ms)
            piece.kind_indexes.append(kinds.setdefault((event.type, event.name), len(kinds)))
            piece.details.append(event.details)

    def add_change(self, input: Input, mpid: int, change: Change, added: Sequence[Identity] = ()) -> None:
        """What is new about a person, with the identities that are new."""
        fact = facts_pb2.ProfileChange(
            mpid=mpid,
            workspace_id=input.workspace_id,
            input_id=input.input_id,
            time_ms=change.time_ms,
            removed_attributes=change.removed_attributes,
            added_identities=_to_protos(added),
        )
        for name, value in change.set_attributes.items():
            set_value(fact.set_attributes[name], value)
        if (device := change.device) is not None:
            fact.device.platform = device.platform
            fact.device.manufacturer = device.manufacturer
            fact.device.model = device.model
            fact.device.os_version = device.os_version
            fact.device.carrier = device.carrier
            fact.device.language = device.language
            fact.device.country = device.country
        for consent in change.consents:
            fact.consents.add(regulation=consent.regulation, purpose=consent.purpose, consented=consent.consented, time_ms=consent.time_ms)
        if (told := change.attribution) is not None:
            fact.attribution.CopyFrom(
                event_pb2.Attribution(publisher=told.publisher, campaign=told.campaign, service_provider=told.service_provider)
            )
        self._changes.setdefault(self._key(input.account_id, mpid), []).append(fact)

    def add_removed(self, account_id: int, mpid: int, identities: Sequence[Identity], *, time_ms: int) -> None:
        """Identities that a person has no longer."""
        fact = facts_pb2.ProfileChange(mpid=mpid, time_ms=time_ms, removed_identities=_to_protos(identities))
        self._changes.setdefault(self._key(account_id, mpid), []).append(fact)

    def add_added(self, account_id: int, mpid: int, identities: Sequence[Identity], *, time_ms: int) -> None:
        """Identities that a person has from now on, whom no batch is about."""
        fact = facts_pb2.ProfileChange(mpid=mpid, time_ms=time_ms, added_identities=_to_protos(identities))
        self._changes.setdefault(self._key(account_id, mpid), []).append(fact)

    def add_merge(self, account_id: int, mpid: int, into: int, *, time_ms: int) -> None:
        """Somebody is one with another from now on."""
        fact = facts_pb2.ProfileChange(mpid=mpid, time_ms=time_ms, merged_into=into)
        self._ends.setdefault(self._key(account_id, mpid), []).append(fact)

    def add_deletion(self, account_id: int, mpid: int, *, time_ms: int) -> None:
        """Somebody is nobody from now on."""
        fact = facts_pb2.ProfileChange(mpid=mpid, time_ms=time_ms, deleted=True)
        self._ends.setdefault(self._key(account_id, mpid), []).append(fact)

    def outgoing(self) -> list[Outgoing]:
        """The messages, in the order in which they must be published."""
        return [*self._profile_messages(self._changes), *self._profile_messages(self._ends), *self._event_messages()]

    def _key(self, account_id: int, mpid: int) -> tuple[int, int]:
        return account_id, partition_of(account_id, mpid, self._partitions)

    def _profile_messages(self, of_partition: Mapping[tuple[int, int], list[facts_pb2.ProfileChange]]) -> list[Outgoing]:
        messages = []
        for (account_id, partition), changes in of_partition.items():
            start, size = 0, 0
            for end, change in enumerate(changes, 1):
                size += change.ByteSize() + 8
                if size < PIECE_BYTES and end < len(changes):
                    continue
                fact = facts_pb2.ProfileChanges(
                    batch_id=uuid4().hex,
                    account_id=account_id,
                    partition=partition,
                    receive_time_ms=self._receive_time_ms,
                    changes=changes[start:end],
                )
                messages.append(Outgoing(profiles_subject(partition), fact.SerializeToString(), fact.batch_id, headers_of(account_id)))
                start, size = end, 0
        return messages

    def _event_messages(self) -> list[Outgoing]:
        messages = []
        for (account_id, partition), pieces in self._events.items():
            for piece in pieces:
                fact = facts_pb2.EventBatch(
                    batch_id=uuid4().hex,
                    account_id=account_id,
                    partition=partition,
                    receive_time_ms=self._receive_time_ms,
                    sources=[
                        facts_pb2.EventSource(input_id=input_id, workspace_id=workspace_id) for input_id, workspace_id in piece.sources
                    ],
                    kinds=[facts_pb2.EventKind(type=type_, name=name) for type_, name in piece.kinds],  # type: ignore[arg-type]
                    contexts=[
                        facts_pb2.EventContext(
                            application_version=context.application_version,
                            application_build=context.application_build,
                            platform=context.platform,
                            os_version=context.os_version,
                        )
                        for context in piece.contexts
                    ],
                    mpids=piece.mpids,
                    times_ms=piece.times_ms,
                    event_ids=piece.event_ids,
                    source_indexes=piece.source_indexes,
                    kind_indexes=piece.kind_indexes,
                    context_indexes=piece.context_indexes,
                    details=piece.details,
                )
                messages.append(Outgoing(events_subject(partition), fact.SerializeToString(), fact.batch_id, headers_of(account_id)))
        return messages


def _to_protos(identities: Sequence[Identity]) -> list[identity_pb2.Identity]:
    return [identity_pb2.Identity(type=identity.type, value=identity.value) for identity in identities]  # type: ignore[arg-type]


def set_value(target: identity_pb2.AttributeValue, value: Value) -> None:
    """Write a value into a proto."""
    match value:
        case str():
            target.string_value = value
        case bool():
            target.boolean_value = value
        case list():
            target.list_value.values.extend(value)
            # An empty list is a value too.
            target.list_value.SetInParent()
        case _:
            target.number_value = str(value)
