"""A whole installation for end-to-end tests: every service a process of its own, a partner in this one, and a crowd of people."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx2
from google.protobuf.message import Message
from muster.definition.v1 import account_pb2, audience_pb2, definition_pb2
from muster.definition.v1 import definition_service_pb2 as definition_pb
from muster.definition.v1.definition_service_pb2_grpc import AccountServiceStub, AudienceServiceStub
from muster.evaluator.v1 import evaluator_service_pb2 as evaluator_pb
from muster.evaluator.v1.evaluator_service_pb2_grpc import EvaluatorServiceStub
from muster.forwarder.v1 import connection_pb2
from muster.forwarder.v1 import forwarder_service_pb2 as forwarder_pb
from muster.forwarder.v1.forwarder_service_pb2_grpc import ConfigurationServiceStub, ConnectionServiceStub
from muster.ingest.v1 import event_type_pb2

from cli.supervisor import Supervisor
from tests.fakes.webhook_partner import WebhookPartner
from tests.model import facts, reference

HOUR = 3_600_000
DAY = 24 * HOUR
LOOK_BACK = 30 * DAY
SECRET = "a secret that both sides know"
INSTALL, SESSION_START = event_type_pb2.EVENT_TYPE_INSTALL, event_type_pb2.EVENT_TYPE_SESSION_START
_TYPES = {"first_run": INSTALL, "session_start": SESSION_START}

# A partner that fails is given up within seconds, so that a test sees faults and resumes.
QUICK = {
    "MUSTER_FORWARDER_ALLOW_PRIVATE_TARGETS": "true",
    "MUSTER_FORWARDER_PARTNER_TIMEOUT_SECONDS": "1",
    "MUSTER_FORWARDER_RETRY_TRIES": "3",
    "MUSTER_FORWARDER_RETRY_FIRST_SECONDS": "0.1",
    "MUSTER_FORWARDER_RETRY_MOST_SECONDS": "1",
}


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def seed_definition() -> definition_pb2.Definition:
    """Installed in the last 72 hours and fewer than 3 sessions."""
    installed = definition_pb2.EventCriterion(match=definition_pb2.EventMatch(type=INSTALL))
    installed.when.last.CopyFrom(definition_pb2.Duration(count=72, unit=definition_pb2.DURATION_UNIT_HOUR))
    few = definition_pb2.EventCriterion(match=definition_pb2.EventMatch(type=SESSION_START))
    few.frequency.CopyFrom(definition_pb2.FrequencyTest(comparison=definition_pb2.COMPARISON_LESS, value=3))
    nodes = [definition_pb2.Node(criterion=definition_pb2.Criterion(event=event)) for event in (installed, few)]
    return definition_pb2.Definition(root=definition_pb2.Node(all=definition_pb2.Group(nodes=nodes)))


@dataclass
class Crowd:
    """People by customer id, and all that the Events API took of them: what the reference counts with."""

    people: dict[str, facts.Person] = field(default_factory=dict)
    accepted_events: int = 0

    def take(self, customer: str, events: list[tuple[str, int]]) -> None:
        person = self.people.setdefault(customer, facts.Person(active_in={1}))
        person.events += [facts.Event(1, _TYPES[kind], "", time) for kind, time in events]
        self.accepted_events += len(events)

    def members(self, now: int, definition: definition_pb2.Definition | None = None) -> set[str]:
        """The customer ids of those who belong to the audience, by the reference."""
        names = list(self.people)
        numbered: dict[int, facts.Person] = {number: self.people[name] for number, name in enumerate(names)}
        inside = reference.members(
            definition or seed_definition(), numbered, now, workspaces={1: [1]}, workspace_ids=[1], look_back_ms=LOOK_BACK
        )
        return {names[number] for number in inside}


class Installation:
    """An account with a workspace, an input, the seed audience, and a webhook connected to the partner."""

    def __init__(self, stack: Supervisor, partner: WebhookPartner) -> None:
        self.stack = stack
        self.partner = partner
        self.crowd = Crowd()
        self.account_id = self.workspace_id = self.input_id = self.audience_id = self.connection_id = self.configuration_id = 0
        self.key = ("", "")
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._http = httpx2.AsyncClient(base_url=stack.ports.http_url("ingest"), timeout=10, trust_env=False)
        self._requests = itertools.count(1)
        self._run = f"{random.SystemRandom().randrange(2**40):x}"

    async def call(self, stub: Callable[[Any], Any], service: str, method: str, request: Message, *, account_id: int | None = None) -> Any:
        """One call, repeated while the service is away."""
        token = self.stack.token(self.account_id if account_id is None else account_id)
        for _ in range(100):
            try:
                rpc = getattr(stub(self.channel(service)), method)
                return await rpc(request, metadata=(("authorization", f"Bearer {token}"),), timeout=10, wait_for_ready=True)
            except grpc.aio.AioRpcError as error:
                if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                    raise
                await asyncio.sleep(0.1)
        raise TimeoutError(f"{service} stays away")

    def channel(self, service: str) -> grpc.aio.Channel:
        """The line to a service, open until the installation is closed."""
        if service not in self._channels:
            self._channels[service] = grpc.aio.insecure_channel(self.stack.ports.grpc_address(service))
        return self._channels[service]

    async def found(self, *, connected: bool = True) -> None:
        """Make the account and all in it; without the connection if not `connected`."""
        account = await self.call(
            AccountServiceStub, "definition", "CreateAccount", definition_pb.CreateAccountRequest(name="Acme"), account_id=0
        )
        self.account_id = account.account_id
        workspace = await self.call(AccountServiceStub, "definition", "CreateWorkspace", definition_pb.CreateWorkspaceRequest(name="Shop"))
        self.workspace_id = workspace.workspace_id
        source = definition_pb.CreateInputRequest(
            workspace_id=self.workspace_id, name="iOS", kind=account_pb2.INPUT_KIND_PLATFORM, platform=account_pb2.PLATFORM_IOS
        )
        made = await self.call(AccountServiceStub, "definition", "CreateInput", source)
        self.input_id = made.input.input_id
        self.key = (made.input.api_key, made.api_secret)
        self.audience_id = await self.audience("New and quiet", seed_definition())
        if connected:
            await self.connect()

    async def audience(self, name: str, definition: definition_pb2.Definition) -> int:
        """An active audience."""
        draft = audience_pb2.Audience(name=name, workspace_ids=[self.workspace_id], definition=definition)
        audience = await self.call(AudienceServiceStub, "definition", "CreateAudience", definition_pb.CreateAudienceRequest(audience=draft))
        activate = definition_pb.ActivateAudienceRequest(audience_id=audience.audience_id, etag=audience.etag)
        return int((await self.call(AudienceServiceStub, "definition", "ActivateAudience", activate)).audience_id)

    async def connect(self) -> None:
        """A configuration of the webhook, and the connection of the seed audience."""
        settings = {"url": self.partner.url, "secret": SECRET}
        configure = forwarder_pb.CreateConfigurationRequest(integration_key="webhook", name="Partner", settings=settings)
        configuration = await self.call(ConfigurationServiceStub, "forwarder", "CreateConfiguration", configure)
        self.configuration_id = configuration.configuration_id
        create = forwarder_pb.CreateConnectionRequest(audience_id=self.audience_id, configuration_id=self.configuration_id)
        for _ in range(100):  # the forwarder hears of the audience a moment after it was made
            try:
                self.connection_id = (await self.call(ConnectionServiceStub, "forwarder", "CreateConnection", create)).connection_id
                return
            except grpc.aio.AioRpcError as error:
                if error.code() not in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION):
                    raise
                await asyncio.sleep(0.1)
        raise TimeoutError("the forwarder does not hear of the audience")

    async def connection(self) -> connection_pb2.Connection:
        request = forwarder_pb.GetConnectionRequest(connection_id=self.connection_id)
        connection: connection_pb2.Connection = await self.call(ConnectionServiceStub, "forwarder", "GetConnection", request)
        return connection

    async def faulted(self, *, seconds: float = 30) -> connection_pb2.Connection:
        """The connection, once it is faulted."""
        for _ in range(round(seconds / 0.1)):
            connection = await self.connection()
            if connection.state == connection_pb2.CONNECTION_STATE_FAULTED:
                return connection
            await asyncio.sleep(0.1)
        raise TimeoutError("the connection is not faulted")

    async def resume(self) -> None:
        """As a person does who has mended what the fault told."""
        request = forwarder_pb.ResumeConnectionRequest(connection_id=self.connection_id)
        await self.call(ConnectionServiceStub, "forwarder", "ResumeConnection", request)

    async def statistics(self) -> evaluator_pb.AudienceStatistics:
        request = evaluator_pb.GetAudienceStatisticsRequest(audience_id=self.audience_id)
        statistics: evaluator_pb.AudienceStatistics = await self.call(EvaluatorServiceStub, "evaluator", "GetAudienceStatistics", request)
        return statistics

    async def tell(self, told: dict[str, list[tuple[str, int]]]) -> None:
        """Send events by customer, each a batch of one request, again and again until the Events API took it."""
        request_id = f"{self._run}-{next(self._requests)}"
        body = [
            {
                "environment": "production",
                "source_request_id": f"{request_id}-{customer}",
                "user_identities": {"customer_id": customer},
                "events": [
                    {"event_type": kind, "data": {"timestamp_unixtime_ms": time, **({"session_id": 1} if kind == "session_start" else {})}}
                    for kind, time in events
                ],
            }
            for customer, events in told.items()
        ]
        while True:
            try:
                answer = await self._http.post("/v2/bulkevents", json=body, auth=self.key)
            except httpx2.TransportError:
                await asyncio.sleep(0.1)
                continue
            if answer.status_code == 202:
                break
            # 401 and 403 for as long as ingest has not heard of the input.
            assert answer.status_code in (401, 403, 429, 503), f"{answer.status_code} {answer.text}"
            await asyncio.sleep(0.1)
        for customer, events in told.items():
            self.crowd.take(customer, events)

    def at_partner(self) -> set[str]:
        """The customer ids that the partner holds."""
        people = self.partner.members.get(self.audience_id, {})
        return {value for told in people.values() for _, type_, _, value in told if type_ == "customer"}

    async def settled(self, *, seconds: float = 60) -> None:
        """Return once the partner holds what the reference says. Raises AssertionError that tells the difference."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while True:
            connection = await self.connection()
            if connection.state == connection_pb2.CONNECTION_STATE_FAULTED:
                await self.resume()
            expected, found = self.crowd.members(now_ms()), self.at_partner()
            if expected == found and connection.state == connection_pb2.CONNECTION_STATE_SENDING and not connection.waiting_changes:
                return
            if loop.time() > end:
                statistics = await self.statistics()
                raise AssertionError(
                    f"lost {sorted(expected - found)[:5]} ({len(expected - found)}), too many {sorted(found - expected)[:5]} "
                    f"({len(found - expected)}); evaluator: {statistics}; connection: {connection}; partner: {self.partner.counts}"
                )
            await asyncio.sleep(0.2)

    async def close(self) -> None:
        await self._http.aclose()
        for channel in self._channels.values():
            await channel.close(None)


@asynccontextmanager
async def installed(folder: Path, **environment: str) -> AsyncIterator[Installation]:
    """A running installation with its account, audience and connection."""
    async with WebhookPartner(SECRET) as partner, Supervisor(folder, environment={**QUICK, **environment}) as stack:
        installation = Installation(stack, partner)
        try:
            await installation.found()
            yield installation
        finally:
            await installation.close()
