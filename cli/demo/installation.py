"""What the demo makes in its own installation, and what it asks it: the calls of any client of the services."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar

import grpc
from muster.definition.v1 import account_pb2, audience_pb2
from muster.definition.v1 import definition_pb2 as tree
from muster.definition.v1 import definition_service_pb2 as definition
from muster.definition.v1.definition_service_pb2_grpc import AccountServiceStub, AudienceServiceStub
from muster.evaluator.v1 import evaluator_service_pb2 as evaluator
from muster.evaluator.v1.evaluator_service_pb2_grpc import EvaluatorServiceStub
from muster.forwarder.v1 import connection_pb2
from muster.forwarder.v1 import forwarder_service_pb2 as forwarder
from muster.forwarder.v1.forwarder_service_pb2_grpc import ConfigurationServiceStub, ConnectionServiceStub
from muster.ingest.v1.event_type_pb2 import EVENT_TYPE_INSTALL, EVENT_TYPE_SESSION_START
from muster.ingest.v1.identity_pb2 import IDENTITY_TYPE_CUSTOMER_ID
from muster.ingest.v1.ingest_service_pb2 import LookUpIdentitiesRequest
from muster.ingest.v1.ingest_service_pb2_grpc import IdentityServiceStub

from cli import devfile
from cli.demo.faults import DemoFault
from cli.faults import from_rpc
from cli.supervisor import Supervisor
from services.chassis.client import channel

_LOOK_UP_MAX = 10_000
# A service that has not heard yet of what another has just made is asked again for so long.
_PATIENCE_SECONDS = 15.0
_BEHIND = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNAVAILABLE)

AUDIENCE_NAME = "New, and not at home yet"
AUDIENCE_WORDS = "installed in the last 72 hours AND fewer than 3 sessions"

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Members:
    """Who is in the audience by the evaluator, named by customer id through ingest. True for `as_of_ms`."""

    customers: frozenset[str]
    count: int
    as_of_ms: int


def seed_definition() -> tree.Definition:
    """Installed in the last 72 hours AND fewer than 3 sessions; a person without any session counts."""
    installed = tree.EventCriterion(
        match=tree.EventMatch(type=EVENT_TYPE_INSTALL),
        when=tree.Period(last=tree.Duration(count=72, unit=tree.DURATION_UNIT_HOUR)),
    )
    few_sessions = tree.EventCriterion(
        match=tree.EventMatch(type=EVENT_TYPE_SESSION_START),
        frequency=tree.FrequencyTest(comparison=tree.COMPARISON_LESS, value=3),
    )
    criteria = [tree.Node(criterion=tree.Criterion(event=event)) for event in (installed, few_sessions)]
    return tree.Definition(root=tree.Node(all=tree.Group(nodes=criteria)))


class Installation:
    """The services of a started supervisor, as the demo's account sees them. `account_id` 0: not made yet."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._channels = {service: channel(supervisor.ports.grpc_address(service)) for service in supervisor.services}
        self.account_id = 0
        self.workspace_id = 0
        self.audience_id = 0
        self.connection_id = 0
        # Key and secret of the iOS input, and of the feed.
        self.app_key = ("", "")
        self.feed_key = ("", "")
        self.token = ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await asyncio.gather(*(opened.close(None) for opened in self._channels.values()))

    @property
    def events_url(self) -> str:
        """Where the Events API is: `http://127.0.0.1:7080`."""
        return self._supervisor.ports.http_url("ingest")

    async def make_account(self) -> None:
        """An account, with a workspace, an iOS input and a feed input."""
        accounts = AccountServiceStub(self._channels["definition"])
        operator = self._metadata(self._supervisor.token(0, subject="demo"))
        request = definition.CreateAccountRequest(name="Demo")
        account = await self._call("definition", accounts.CreateAccount(request, metadata=operator))
        self.account_id = account.account_id
        self.token = self._supervisor.token(self.account_id, subject="demo")
        devfile.write(self._supervisor.data_dir, self._supervisor.dev.with_account(self.account_id, self.token))
        mine = self._metadata(self.token)
        workspace = await self._call("definition", accounts.CreateWorkspace(definition.CreateWorkspaceRequest(name="Shop"), metadata=mine))
        self.workspace_id = workspace.workspace_id
        app = definition.CreateInputRequest(
            workspace_id=self.workspace_id, name="Shop for iOS", kind=account_pb2.INPUT_KIND_PLATFORM, platform=account_pb2.PLATFORM_IOS
        )
        made = await self._call("definition", accounts.CreateInput(app, metadata=mine))
        self.app_key = (made.input.api_key, made.api_secret)
        feed = definition.CreateInputRequest(workspace_id=self.workspace_id, name="Shop's server", kind=account_pb2.INPUT_KIND_FEED)
        made = await self._call("definition", accounts.CreateInput(feed, metadata=mine))
        self.feed_key = (made.input.api_key, made.api_secret)

    async def make_audience(self) -> None:
        """The seed audience, active."""
        audiences = AudienceServiceStub(self._channels["definition"])
        mine = self._metadata(self.token)
        draft = audience_pb2.Audience(name=AUDIENCE_NAME, workspace_ids=[self.workspace_id], definition=seed_definition(), tags=["demo"])
        made = await self._call("definition", audiences.CreateAudience(definition.CreateAudienceRequest(audience=draft), metadata=mine))
        self.audience_id = made.audience_id
        activate = definition.ActivateAudienceRequest(audience_id=made.audience_id, etag=made.etag)
        await self._call("definition", audiences.ActivateAudience(activate, metadata=mine))

    async def connect(self, url: str, secret: str) -> None:
        """A configuration of the Webhook integration, and the audience connected to it."""
        mine = self._metadata(self.token)
        configurations = ConfigurationServiceStub(self._channels["forwarder"])
        settings = {"url": url, "secret": secret, "identity_types": "customer_id,email"}
        request = forwarder.CreateConfigurationRequest(integration_key="webhook", name="The demo's own webhook", settings=settings)
        configuration = await self._call("forwarder", configurations.CreateConfiguration(request, metadata=mine))
        connections = ConnectionServiceStub(self._channels["forwarder"])
        wanted = forwarder.CreateConnectionRequest(audience_id=self.audience_id, configuration_id=configuration.configuration_id)
        end = asyncio.get_running_loop().time() + _PATIENCE_SECONDS
        while True:
            try:
                made = await connections.CreateConnection(wanted, metadata=mine)
                break
            except grpc.aio.AioRpcError as error:
                # The forwarder follows the definitions: it may not know the audience yet.
                if error.code() not in _BEHIND or asyncio.get_running_loop().time() > end:
                    raise self._fault("forwarder", error) from None
                await asyncio.sleep(0.05)
        self.connection_id = made.connection_id

    async def statistics(self) -> evaluator.AudienceStatistics | None:
        """Size, adds and drops as the evaluator tells them; None while it does not know the audience."""
        stub = EvaluatorServiceStub(self._channels["evaluator"])
        request = evaluator.GetAudienceStatisticsRequest(audience_id=self.audience_id)
        try:
            return await stub.GetAudienceStatistics(request, metadata=self._metadata(self.token))
        except grpc.aio.AioRpcError as error:
            if error.code() in _BEHIND:
                return None
            raise self._fault("evaluator", error) from None

    async def members(self) -> Members:
        """Everyone who is in the audience now."""
        mine = self._metadata(self.token)
        mpids: list[int] = []
        header = evaluator.MembersHeader()
        try:
            stub = EvaluatorServiceStub(self._channels["evaluator"])
            async for answer in stub.ListMembers(evaluator.ListMembersRequest(audience_id=self.audience_id), metadata=mine):
                if answer.HasField("header"):
                    header = answer.header
                mpids += answer.mpids
        except grpc.aio.AioRpcError as error:
            raise self._fault("evaluator", error) from None
        customers = set()
        try:
            people = IdentityServiceStub(self._channels["ingest"])
            for start in range(0, len(mpids), _LOOK_UP_MAX):
                request = LookUpIdentitiesRequest(mpids=mpids[start : start + _LOOK_UP_MAX], types=[IDENTITY_TYPE_CUSTOMER_ID])
                async for found in people.LookUpIdentities(request, metadata=mine):
                    customers |= {identity.value for profile in found.profiles for identity in profile.identities}
        except grpc.aio.AioRpcError as error:
            raise self._fault("ingest", error) from None
        return Members(frozenset(customers), len(mpids), header.moment.as_of_ms)

    async def connection(self) -> connection_pb2.Connection:
        """The connection to the webhook, as the forwarder sees it."""
        stub = ConnectionServiceStub(self._channels["forwarder"])
        request = forwarder.GetConnectionRequest(connection_id=self.connection_id)
        return await self._call("forwarder", stub.GetConnection(request, metadata=self._metadata(self.token)))

    async def _call(self, service: str, call: Awaitable[Answer]) -> Answer:
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise self._fault(service, error) from None

    def _fault(self, service: str, error: grpc.aio.AioRpcError) -> DemoFault:
        fault = from_rpc(error, service, self._supervisor.ports.grpc_address(service))
        places = "".join(f"\n  {violation.field}: {violation.description}" for violation in fault.violations)
        return DemoFault(f"{service}: {fault.message}{places}")

    @staticmethod
    def _metadata(token: str) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {token}"),)
