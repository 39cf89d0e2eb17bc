"""The definition service, running: real gRPC, a real nats-server, SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from muster.definition.v1 import account_pb2, audience_pb2, catalogue_service_pb2_grpc, facts_pb2, public_json_service_pb2_grpc
from muster.definition.v1 import definition_service_pb2 as pb
from muster.definition.v1 import definition_service_pb2_grpc as pb_grpc
from muster.definition.v1 import language_service_pb2_grpc as language_grpc
from muster.evaluator.v1 import evaluator_service_pb2 as evaluator_pb
from muster.evaluator.v1 import evaluator_service_pb2_grpc as evaluator_grpc
from muster.operations.v1 import audit_service_pb2_grpc as audit_grpc
from nats.js.errors import NotFoundError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from services.chassis import auth
from services.chassis.app import App
from services.chassis.bus import Bus
from services.chassis.client import channel
from services.chassis.errors import RpcFailure, from_rpc_error
from services.definition.app import add_parts
from services.definition.settings import DefinitionSettings
from tests.conftest import TOKEN_SECRET
from tests.definition.builders import seed
from tests.fakes.clock import ManualClock
from tests.fakes.postgres_server import PostgresServer


class _Bound:
    """A stub whose every call carries the same metadata."""

    def __init__(self, stub: Any, metadata: tuple[tuple[str, str], ...]) -> None:
        self._stub = stub
        self._metadata = metadata

    def __getattr__(self, method: str) -> Any:
        return partial(getattr(self._stub, method), metadata=self._metadata)


class Client:
    """Somebody who calls the service for one account."""

    def __init__(self, to: grpc.aio.Channel, token: str) -> None:
        metadata = (("authorization", f"Bearer {token}"),)
        self.accounts = _Bound(pb_grpc.AccountServiceStub(to), metadata)
        self.audiences = _Bound(pb_grpc.AudienceServiceStub(to), metadata)
        self.language = _Bound(language_grpc.LanguageServiceStub(to), metadata)
        self.audit = _Bound(audit_grpc.AuditServiceStub(to), metadata)
        self.public_json = _Bound(public_json_service_pb2_grpc.PublicJsonServiceStub(to), metadata)
        self.catalogue = _Bound(catalogue_service_pb2_grpc.CatalogueServiceStub(to), metadata)
        self.ab_tests = _Bound(pb_grpc.AbTestServiceStub(to), metadata)


class Counting(evaluator_grpc.EvaluatorServiceServicer):
    """An evaluator, as far as it is asked here: `figures` has (size, adds, drops) by audience; `down` answers nobody."""

    def __init__(self) -> None:
        self.figures: dict[int, tuple[int, int, int]] = {}
        self.down = False
        self.asked = 0
        self._server = grpc.aio.server()
        evaluator_grpc.add_EvaluatorServiceServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    @classmethod
    async def begin(cls) -> Counting:
        """It answers; whatever else is asked of it is UNIMPLEMENTED."""
        counting = cls()
        await counting._server.start()
        return counting

    async def stop(self) -> None:
        await self._server.stop(0)

    async def ListAudienceFigures(
        self, request: evaluator_pb.ListAudienceFiguresRequest, context: Any
    ) -> evaluator_pb.ListAudienceFiguresResponse:
        self.asked += 1
        if self.down:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy")
        ids = [id_ for id_ in self.figures if not request.audience_ids or id_ in request.audience_ids]
        sizes, adds, drops = ([self.figures[id_][place] for id_ in ids] for place in range(3))
        moment = evaluator_pb.Moment(as_of_ms=7)
        return evaluator_pb.ListAudienceFiguresResponse(audience_ids=ids, sizes=sizes, adds=adds, drops=drops, moment=moment)


class Service:
    """The running service, its clock, the evaluator that it asks, and ways to call it."""

    def __init__(self, to: grpc.aio.Channel, clock: ManualClock, evaluator: Counting) -> None:
        self._channel = to
        self.clock = clock
        self.evaluator = evaluator
        self.operator = self.client(auth.OPERATOR_ACCOUNT, subject="operator", roles=[auth.OPERATOR])

    def client(self, account_id: int, *, subject: str = "ann", roles: list[str] | None = None) -> Client:
        token = auth.mint(
            TOKEN_SECRET, account_id=account_id, subject=subject, roles=roles or [], ttl=timedelta(days=1), now=self.clock.now()
        )
        return Client(self._channel, token)

    async def home(self, **account: Any) -> Home:
        """A new account with a workspace and an iOS and a feed input in it."""
        made: account_pb2.Account = await self.operator.accounts.CreateAccount(pb.CreateAccountRequest(**{"name": "Acme"} | account))
        client = self.client(made.account_id)
        workspace = await client.accounts.CreateWorkspace(pb.CreateWorkspaceRequest(name="Shop"))
        ios = await client.accounts.CreateInput(
            pb.CreateInputRequest(
                workspace_id=workspace.workspace_id,
                name="iOS app",
                kind=account_pb2.INPUT_KIND_PLATFORM,
                platform=account_pb2.PLATFORM_IOS,
            )
        )
        feed = await client.accounts.CreateInput(
            pb.CreateInputRequest(workspace_id=workspace.workspace_id, name="Server", kind=account_pb2.INPUT_KIND_FEED)
        )
        return Home(made, client, workspace, ios, feed)


class Home:
    """An account, filled."""

    def __init__(
        self,
        account: account_pb2.Account,
        client: Client,
        workspace: account_pb2.Workspace,
        ios: pb.CreateInputResponse,
        feed: pb.CreateInputResponse,
    ) -> None:
        self.account = account
        self.client = client
        self.accounts = client.accounts
        self.audiences = client.audiences
        self.language = client.language
        self.catalogue = client.catalogue
        self.workspace = workspace
        self.ios = ios
        self.feed = feed

    async def audience(self, name: str = "New here", key: str = "", **fields: Any) -> audience_pb2.Audience:
        """A new draft: the seed audience, unless told otherwise."""
        wanted: dict[str, Any] = {"workspace_ids": [self.workspace.workspace_id], "definition": seed()} | fields
        request = pb.CreateAudienceRequest(audience=audience_pb2.Audience(name=name, **wanted), idempotency_key=key)
        made: audience_pb2.Audience = await self.audiences.CreateAudience(request)
        return made

    async def activate(self, audience: audience_pb2.Audience) -> audience_pb2.Audience:
        active: audience_pb2.Audience = await self.audiences.ActivateAudience(
            pb.ActivateAudienceRequest(audience_id=audience.audience_id, etag=audience.etag)
        )
        return active

    async def update(
        self, audience: audience_pb2.Audience, *paths: str, note: str = "", etag: str | None = None, **fields: Any
    ) -> audience_pb2.Audience:
        """An edit of the fields that are given; `paths` is the mask, by default their names."""
        wanted = audience_pb2.Audience(audience_id=audience.audience_id, etag=audience.etag if etag is None else etag, **fields)
        request = pb.UpdateAudienceRequest(audience=wanted, note=note)
        request.update_mask.paths.extend(paths or fields)
        edited: audience_pb2.Audience = await self.audiences.UpdateAudience(request)
        return edited


async def refused(call: Awaitable[Any]) -> RpcFailure:
    """How a call failed, which it must."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


@pytest.fixture(scope="session")
def shared_postgres_url(postgres_server: PostgresServer) -> str:
    """One PostgreSQL database for all tests here, as nothing crosses from one account to another; making one takes longer than a test."""
    url = postgres_server.url("definition")

    async def create() -> None:
        engine = create_async_engine(postgres_server.url("postgres"), isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            await connection.execute(text("CREATE DATABASE definition"))
        await engine.dispose()

    asyncio.run(create())
    return url


@pytest.fixture(params=["sqlite", "postgres"])
def service_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh SQLite file, or the PostgreSQL of all tests here."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'definition.db'}"
    return str(request.getfixturevalue("shared_postgres_url"))


@pytest.fixture
async def service(service_database_url: str, settings_of: Callable[..., Any], nats_server: object) -> AsyncIterator[Service]:
    """The service, on each kind of database."""
    clock = ManualClock()
    evaluator = await Counting.begin()
    app = App(grace_seconds=2)
    settings = settings_of(DefinitionSettings, database_url=service_database_url, evaluator_address=evaluator.address)
    server = add_parts(app, settings, clock)
    try:
        await app.start()
        to = channel(server.address)
        yield Service(to, clock, evaluator)
        await to.close(grace=None)
    finally:
        await app.stop()
        await evaluator.stop()


@pytest.fixture
async def home(service: Service) -> Home:
    """An account with a workspace and two inputs."""
    return await service.home()


class Facts:
    """What the stream DEFINITIONS holds."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def newest(self, subject: str, version: int) -> facts_pb2.DefinitionFact:
        """The fact on a subject, once it has reached a version."""
        async with asyncio.timeout(10):
            while True:
                message = await self.message(subject)
                if message is not None and (fact := facts_pb2.DefinitionFact.FromString(message.data)).version >= version:
                    return fact
                await asyncio.sleep(0.01)

    async def message(self, subject: str) -> Any:
        """The last message on a subject, as the stream keeps it; None when there is none."""
        try:
            return await self._bus.jetstream.get_last_msg("DEFINITIONS", subject)
        except NotFoundError:
            return None

    async def count(self) -> int:
        """How many messages were ever published to the stream."""
        return int((await self._bus.jetstream.stream_info("DEFINITIONS")).state.last_seq)


@pytest.fixture
def facts(bus: Bus) -> Facts:
    """The facts that the service has published."""
    return Facts(bus)
