"""The way through gRPC: all scenarios in one world, in one pass over time.

A real nats-server and the real definition, ingest and evaluator services, with a clock that this file moves. Each scenario is an account
of its own; the instants of all of them make one timeline. At each, what arrives then is sent, a round is awaited, and the members are
listed for those who expect some.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from itertools import count, groupby
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import Message
from muster.definition.v1 import account_pb2, audience_pb2
from muster.definition.v1 import definition_pb2 as pb
from muster.definition.v1 import definition_service_pb2 as definition_requests
from muster.definition.v1 import definition_service_pb2_grpc as definition_rpc
from muster.evaluator.v1 import evaluator_service_pb2 as evaluator_requests
from muster.evaluator.v1 import evaluator_service_pb2_grpc as evaluator_rpc
from muster.ingest.v1 import event_pb2, facts_pb2, identity_pb2
from muster.ingest.v1 import ingest_service_pb2 as ingest_requests
from muster.ingest.v1 import ingest_service_pb2_grpc as ingest_rpc

from services.chassis import auth
from services.chassis.app import App
from services.chassis.bus import Bus
from services.chassis.client import channel
from services.chassis.clock import from_ms
from services.chassis.errors import RpcFailure, from_rpc_error
from services.chassis.settings import ServiceSettings
from services.chassis.streams import EVENTS, profiles_subject
from services.definition import app as definition_app
from services.definition.settings import DefinitionSettings
from services.evaluator import app as evaluator_app
from services.evaluator.rounds import Rounds
from services.evaluator.settings import EvaluatorSettings
from services.ingest import app as ingest_app
from services.ingest.settings import IngestSettings
from tests.conftest import TOKEN_SECRET
from tests.fakes.clock import ManualClock
from tests.fakes.nats_server import NatsServer
from tests.model import facts
from tests.scenarios.scenario import DAY_MS, MAIN, Scenario, Told

_PARALLEL = 8
_BATCHES_MAX = 100
_ids = count(1)


class Failed(Exception):
    """A service refused what a scenario asked for."""


@dataclass
class Home:
    """The account of one scenario, and how the ids in its file are called there."""

    scenario: Scenario
    account_id: int
    metadata: tuple[tuple[str, str], ...]
    workspaces: dict[int, int] = field(default_factory=dict)
    inputs: dict[int, int] = field(default_factory=dict)
    audiences: dict[int, int] = field(default_factory=dict)
    found: list[set[str]] = field(default_factory=list)
    failure: Exception | None = None

    def mpid(self, person: str) -> int:
        return self.scenario.people.index(person) + 1

    def names(self, mpids: Iterable[int]) -> set[str]:
        return {self.scenario.people[mpid - 1] for mpid in mpids}


def play(scenarios: Sequence[Scenario], folder: Path, store_url: str) -> dict[str, list[set[str]] | Exception]:
    """The members of each scenario at each of its instants, by its name, or what went wrong with it."""
    server = NatsServer(folder / "nats")
    server.start()
    try:
        homes = asyncio.run(_play(scenarios, folder, server.url, store_url))
    finally:
        server.kill()
    return {home.scenario.name: home.failure or home.found for home in homes}


async def _play(scenarios: Sequence[Scenario], folder: Path, nats_url: str, store_url: str) -> list[Home]:
    instants = sorted({instant for one in scenarios for instant in [now for now, _ in one.expected] + [told.arrives for told in one.told]})
    clock = ManualClock(from_ms(instants[0]) - timedelta(hours=1))
    async with AsyncExitStack() as stack:
        services = await Services.started(stack, clock, folder, nats_url, store_url)
        homes = await _each(scenarios, services.settle)
        for instant in instants:
            clock.set(from_ms(instant))
            await _each([home for home in homes if home.failure is None], partial(services.send, instant=instant))
            await services.round(instant)
            expecting = [home for home in homes if home.failure is None and instant in [now for now, _ in home.scenario.expected]]
            await _each(expecting, services.look)
        return homes


async def _each(of: Sequence[Any], work: Any) -> list[Any]:
    """The work of each, a few at a time."""
    gate = asyncio.Semaphore(_PARALLEL)

    async def one(item: Any) -> Any:
        async with gate:
            return await work(item)

    return list(await asyncio.gather(*map(one, of)))


@dataclass
class Services:
    """The three services, and what is asked of them."""

    clock: ManualClock
    rounds: Rounds
    bus: Bus
    accounts: Any
    audiences: Any
    ingest: Any
    evaluator: Any

    @classmethod
    async def started(cls, stack: AsyncExitStack, clock: ManualClock, folder: Path, nats_url: str, store_url: str) -> Services:
        def settings(of: type[ServiceSettings], **more: object) -> Any:
            return of.load(
                data_dir=folder, token_secret=TOKEN_SECRET, grpc_port=0, nats_url=nats_url, shutdown_grace_seconds=1, partitions=1, **more
            )

        async def running(app: App) -> None:
            stack.push_async_callback(app.stop)
            await app.start()

        definition, ingest, evaluator = App(grace_seconds=2), App(grace_seconds=2), App(grace_seconds=2)
        bus = Bus(nats_url, name="scenarios")
        definition.add(bus)
        defining = definition_app.add_parts(definition, settings(DefinitionSettings), clock)
        taking = ingest_app.add_parts(ingest, settings(IngestSettings, http_port=0), clock)
        pace = {"store_url": store_url, "round_seconds": 0.02, "round_pause_seconds": 0.0}
        evaluating, rounds = evaluator_app.add_parts(evaluator, settings(EvaluatorSettings, **pace), clock)
        for app in (definition, ingest, evaluator):
            await running(app)
        to = [await stack.enter_async_context(channel(server.address)) for server in (defining, taking, evaluating)]
        return cls(
            clock,
            rounds,
            bus,
            definition_rpc.AccountServiceStub(to[0]),
            definition_rpc.AudienceServiceStub(to[0]),
            ingest_rpc.IngestServiceStub(to[1]),
            evaluator_rpc.EvaluatorServiceStub(to[2]),
        )

    # --- definitions

    async def settle(self, scenario: Scenario) -> Home:
        """An account with all that the scenario has but its people."""
        request = definition_requests.CreateAccountRequest(name=scenario.name[:100], look_back_days=scenario.look_back_ms // DAY_MS)
        account = await self.accounts.CreateAccount(request, metadata=self._metadata(auth.OPERATOR_ACCOUNT, auth.OPERATOR))
        home = Home(scenario, account.account_id, self._metadata(account.account_id))
        try:
            await self._define(home)
        except grpc.aio.AioRpcError as error:
            home.failure = _told(error)
        return home

    async def _define(self, home: Home) -> None:
        for workspace, inputs in home.scenario.workspaces.items():
            made = await self.accounts.CreateWorkspace(
                definition_requests.CreateWorkspaceRequest(name=str(workspace)), metadata=home.metadata
            )
            home.workspaces[workspace] = made.workspace_id
            for override in home.scenario.overrides(workspace):
                wanted = definition_requests.SetAttributeOverrideRequest(workspace_id=made.workspace_id, attribute_override=override)
                await self.accounts.SetAttributeOverride(wanted, metadata=home.metadata)
            for input_id in inputs:
                feed = definition_requests.CreateInputRequest(
                    workspace_id=made.workspace_id, name=str(input_id), kind=account_pb2.INPUT_KIND_FEED
                )
                home.inputs[input_id] = (await self.accounts.CreateInput(feed, metadata=home.metadata)).input.input_id
        audiences = home.scenario.audiences
        named = {audience_id for audience in audiences.values() for audience_id in _named(audience.definition)}
        for audience_id in named - audiences.keys():  # named and not active: a draft
            draft = audience_pb2.Audience(name=f"Draft {audience_id}", workspace_ids=list(home.workspaces.values())[:1])
            draft.definition.root.everyone.SetInParent()
            made = await self.audiences.CreateAudience(definition_requests.CreateAudienceRequest(audience=draft), metadata=home.metadata)
            home.audiences[audience_id] = made.audience_id
        for audience_id, audience in audiences.items():
            draft = audience_pb2.Audience(
                name=f"Audience {audience_id}",
                workspace_ids=[home.workspaces[workspace] for workspace in audience.workspace_ids],
                input_ids=[home.inputs[input_id] for input_id in audience.input_ids],
                definition=_renamed(audience.definition, home),
            )
            made = await self.audiences.CreateAudience(definition_requests.CreateAudienceRequest(audience=draft), metadata=home.metadata)
            home.audiences[audience_id] = made.audience_id
            await self.audiences.ActivateAudience(
                definition_requests.ActivateAudienceRequest(audience_id=made.audience_id), metadata=home.metadata
            )

    # --- facts

    async def send(self, home: Home, *, instant: int) -> None:
        """What arrives at this instant, in its order."""
        due = [told for told in home.scenario.told if told.arrives == instant]
        for input_id, together in groupby(due, lambda told: _input_of(told, home)):
            batches = list(together)
            for start in range(0, len(batches), _BATCHES_MAX):
                piece = batches[start : start + _BATCHES_MAX]
                if input_id:
                    await self._ingest(home, input_id, [_batch(told, home) for told in piece])
                else:
                    await self._publish([_change(told, home) for told in piece], home)

    async def _ingest(self, home: Home, input_id: int, batches: list[event_pb2.Batch]) -> None:
        request = ingest_requests.IngestBatchesRequest(input_id=input_id, batches=batches)
        for _ in range(100):
            try:
                answer = await self.ingest.IngestBatches(request, metadata=home.metadata)
            except grpc.aio.AioRpcError as error:
                home.failure = _told(error)
                return
            if [fault.reason for fault in answer.faults] == ["UNKNOWN_INPUT"]:  # the fact that tells of it is on its way
                await asyncio.sleep(0.02)
                continue
            if answer.faults:
                home.failure = Failed("; ".join(f"{fault.field} {fault.description}" for fault in answer.faults))
            return
        home.failure = Failed("ingest never learned of the input")

    async def _publish(self, changes: list[facts_pb2.ProfileChange], home: Home) -> None:
        """What has no way in through gRPC yet: as the contract of the stream has it."""
        message = facts_pb2.ProfileChanges(
            batch_id=f"scenarios-{next(_ids)}", account_id=home.account_id, receive_time_ms=self.clock.now_ms(), changes=changes
        )
        await self.bus.publish(profiles_subject(0), message.SerializeToString(), message_id=message.batch_id)

    # --- answers

    async def round(self, instant: int) -> None:
        """Wait until the evaluator has taken all that was sent, also by itself, and is at this instant."""
        async with asyncio.timeout(60):
            while True:
                sequence = (await self.bus.jetstream.stream_info(EVENTS)).state.last_seq
                if self.rounds.positions[0].sequence >= sequence and self.rounds.as_of_ms >= instant:
                    await self.rounds.flush()
                    if (await self.bus.jetstream.stream_info(EVENTS)).state.last_seq == sequence:
                        return
                await asyncio.sleep(0.005)

    async def look(self, home: Home) -> None:
        """List the members."""
        request = evaluator_requests.ListMembersRequest(audience_id=home.audiences[MAIN])
        try:
            mpids = [mpid async for part in self.evaluator.ListMembers(request, metadata=home.metadata) for mpid in part.mpids]
        except grpc.aio.AioRpcError as error:
            home.failure = _told(error)
            return
        home.found.append(home.names(mpids))

    def _metadata(self, account_id: int, *roles: str) -> tuple[tuple[str, str], ...]:
        token = auth.mint(
            TOKEN_SECRET, account_id=account_id, subject="scenarios", roles=roles, ttl=timedelta(days=10_000), now=self.clock.now()
        )
        return (("authorization", f"Bearer {token}"),)


def _told(error: grpc.aio.AioRpcError) -> Exception:
    failure: RpcFailure = from_rpc_error(error)
    return Failed(f"{failure!r}")


def _renamed(definition: pb.Definition, home: Home) -> pb.Definition:
    """The definition with the ids that the services gave."""
    copy = pb.Definition()
    copy.CopyFrom(definition)
    for message in _messages(copy):
        match message:
            case pb.Criterion() if message.workspace_id:
                message.workspace_id = home.workspaces[message.workspace_id]
            case pb.EventMatch():
                message.input_ids[:] = [home.inputs[input_id] for input_id in message.input_ids]
            case pb.MemberOfCriterion():
                message.audience_id = home.audiences[message.audience_id]
    return copy


def _named(definition: pb.Definition) -> set[int]:
    """The audiences that the definition reads."""
    return {message.audience_id for message in _messages(definition) if isinstance(message, pb.MemberOfCriterion)}


def _messages(message: Message) -> Iterator[Message]:
    """This one and all inside of it."""
    yield message
    for descriptor, value in message.ListFields():
        if descriptor.message_type is not None:
            for part in [value] if isinstance(value, Message) else value:
                yield from _messages(part)


def _input_of(told: Told, home: Home) -> int:
    """The input that brings a fact; 0 where it has no way in through gRPC."""
    match told.fact:
        case facts.MergedInto() | facts.Deleted():
            return 0
        case facts.IdentityTold(removed=True):
            return 0
        case facts.Event():
            return home.inputs[told.fact.input_id]
        case _:
            return home.inputs[home.scenario.workspaces[told.fact.workspace_id][0]]


def _change(told: Told, home: Home) -> facts_pb2.ProfileChange:
    fact = told.fact
    first = next(iter(home.workspaces.values()))
    change = facts_pb2.ProfileChange(mpid=home.mpid(told.person), workspace_id=first, time_ms=told.arrives)
    match fact:
        case facts.MergedInto():
            change.merged_into = home.mpid(str(fact.other))
        case facts.Deleted():
            change.deleted = True
        case facts.IdentityTold():
            change.workspace_id = home.workspaces[fact.workspace_id]
            change.time_ms = fact.time_ms
            change.removed_identities.add(type=fact.type, value=fact.value)
    return change


def _batch(told: Told, home: Home) -> event_pb2.Batch:
    fact = told.fact
    batch = event_pb2.Batch(environment=event_pb2.ENVIRONMENT_PRODUCTION, mpid=home.mpid(told.person))
    assert not isinstance(fact, facts.MergedInto | facts.Deleted)
    match fact:
        case facts.Event():
            context = fact.context
            batch.application.version, batch.application.build = context.application_version, context.application_build
            batch.application.os = context.platform
            batch.events.append(_event(fact))
            return batch
        case facts.AttributeChange(value=None):
            batch.deleted_user_attributes.append(fact.attribute)
        case facts.AttributeChange():
            assert fact.value is not None
            batch.user_attributes[fact.attribute].CopyFrom(_value(fact.value))
        case facts.DeviceTold():
            batch.device.CopyFrom(event_pb2.Device(**fact.fields))
        case facts.ConsentTold():
            batch.consents.add(regulation=fact.regulation, purpose=fact.purpose, consented=fact.consented, time_ms=fact.time_ms)
        case facts.AttributionTold():
            batch.attribution.CopyFrom(event_pb2.Attribution(publisher=fact.publisher, campaign=fact.campaign))
        case facts.IdentityTold():
            batch.identities.add(type=fact.type, value=fact.value)
    batch.time_ms = fact.time_ms
    return batch


def _event(fact: facts.Event) -> event_pb2.Event:
    details = fact.details
    event = event_pb2.Event(
        type=fact.type,  # type: ignore[arg-type]
        name=fact.name,
        time_ms=fact.time_ms,
        transaction_id=details.get("transaction_id", ""),
        total_amount=str(details.get("total_amount", "")),
        currency_code=details.get("currency_code", ""),
        session_duration_ms=details.get("session_duration_ms", 0),
    )
    for name, value in details.get("attributes", {}).items():
        event.attributes[name].CopyFrom(_value(value))
    for sent in details.get("products", []):
        product = event.products.add(**{key: str(value) for key, value in sent.items() if key != "attributes"})
        for name, value in sent.get("attributes", {}).items():
            product.attributes[name].CopyFrom(_value(value))
    if "location" in details:
        event.location.latitude, event.location.longitude = map(float, details["location"].values())
    return event


def _value(value: facts.Value) -> identity_pb2.AttributeValue:
    match value:
        case str():
            return identity_pb2.AttributeValue(string_value=value)
        case bool():
            return identity_pb2.AttributeValue(boolean_value=value)
        case list() | tuple():
            return identity_pb2.AttributeValue(list_value=identity_pb2.StringList(values=map(str, value)))
        case _:
            return identity_pb2.AttributeValue(number_value=str(value))
