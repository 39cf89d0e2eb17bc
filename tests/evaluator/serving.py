"""The evaluator's gRPC methods over a real server, and the token of an account to call them with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from muster.evaluator.v1 import evaluator_service_pb2 as pb
from muster.evaluator.v1 import evaluator_service_pb2_grpc as rpc

from services.chassis import auth
from services.chassis.app import running
from services.chassis.client import Tokens
from services.chassis.clock import SystemClock
from services.chassis.errors import from_rpc_error
from services.chassis.server import GrpcServer
from services.evaluator.api import Evaluator
from services.evaluator.peers import Peers
from tests.conftest import TOKEN_SECRET
from tests.evaluator.conftest import Home
from tests.evaluator.world import ACCOUNT


class Client:
    """The stub with the token of an account."""

    def __init__(self, stub: Any) -> None:
        self._stub = stub

    def call(self, method: str, request: Any, account_id: int = ACCOUNT) -> Any:
        now = datetime.now(UTC)
        token = auth.mint(TOKEN_SECRET, account_id=account_id, subject="test", roles=["admin"], ttl=timedelta(hours=1), now=now)
        return getattr(self._stub, method)(request, metadata=(("authorization", f"Bearer {token}"),))


@asynccontextmanager
async def serving(home: Home) -> AsyncIterator[Client]:
    """An evaluator and its API."""
    async with home.evaluator() as evaluator:
        server = GrpcServer(home.settings, SystemClock())
        full_name = pb.DESCRIPTOR.services_by_name["EvaluatorService"].full_name
        peers = Peers(evaluator.rounds, evaluator.ownership, Tokens.from_settings(home.settings, SystemClock()))
        server.add(rpc.add_EvaluatorServiceServicer_to_server, Evaluator(evaluator.rounds, peers, home.clock), full_name)
        async with running(server), grpc.aio.insecure_channel(server.address) as channel:
            yield Client(rpc.EvaluatorServiceStub(channel))


async def failure(call: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return from_rpc_error(error.value)
