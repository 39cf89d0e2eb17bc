"""Evaluators as processes of their own, on one NATS and one PostgreSQL, each with an event store of its own, or all with a server's."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from muster.evaluator.v1 import evaluator_service_pb2 as pb
from muster.evaluator.v1 import evaluator_service_pb2_grpc as rpc

from cli.part import Service
from services.chassis import auth
from services.chassis.bus import Bus
from tests.conftest import TOKEN_SECRET
from tests.evaluator.world import ACCOUNT, PARTITIONS, Follower, World
from tests.fakes.event_stores import EventStores
from tests.fakes.nats_server import free_port

ROOT = Path(__file__).parents[2]


class Fleet:
    """Evaluators by number. `world` tells them facts, `follower` adds up what they tell."""

    def __init__(self, folder: Path, nats_url: str, database_url: str, bus: Bus, stores: EventStores) -> None:
        self._folder = folder
        self._urls = {"MUSTER_NATS_URL": nats_url, "MUSTER_EVALUATOR_DATABASE_URL": database_url}
        if stores.server:
            self._urls["MUSTER_EVALUATOR_STORE_URL"] = stores.url(folder)
        self.world = World(bus)
        self.follower = Follower(bus)
        self.processes: dict[int, Service] = {}

    async def start(self, *numbers: int) -> None:
        """Start these evaluators, at once, and return when all serve."""
        await asyncio.gather(*(self._start(number) for number in numbers))

    async def kill(self, number: int) -> None:
        """End an evaluator as a power cut does."""
        self.processes[number].send(signal.SIGKILL)
        await self.processes[number].died()

    def pause(self, number: int) -> None:
        """Let an evaluator stand still."""
        self.processes[number].send(signal.SIGSTOP)

    def resume(self, number: int) -> None:
        """Let it go on."""
        self.processes[number].send(signal.SIGCONT)

    def log_of(self, number: int) -> str:
        return self.processes[number].log_path.read_text()

    def owned_by(self, number: int) -> set[int]:
        """The partitions that this evaluator has built last."""
        lines = [json.loads(line) for line in self.log_of(number).splitlines() if '"index_built"' in line]
        return set(lines[-1]["partitions"]) if lines else set()

    async def call(self, number: int, method: str, request: Any, *metadata: tuple[str, str], roles: tuple[str, ...] = ("admin",)) -> Any:
        """Ask this evaluator; all answers of a stream."""
        now = datetime.now(UTC)
        token = auth.mint(TOKEN_SECRET, account_id=ACCOUNT, subject="test", roles=roles, ttl=timedelta(hours=1), now=now)
        sent = (("authorization", f"Bearer {token}"), *metadata)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.processes[number].port}") as channel:
            answer = getattr(rpc.EvaluatorServiceStub(channel), method)(request, metadata=sent, timeout=20)
            return [one async for one in answer] if method == "ListMembers" else await answer

    async def members(self, number: int, audience_id: int = 1) -> set[int]:
        """The members of an audience as this evaluator tells them."""
        messages = await self.call(number, "ListMembers", pb.ListMembersRequest(audience_id=audience_id))
        header = messages[0].header
        found = [mpid for message in messages for mpid in message.mpids]
        assert [one.partition for one in header.rounds] == list(range(PARTITIONS)), "each partition is told once"
        assert len(found) == len(set(found)) == header.size
        return set(found)

    async def until(self, holds: Callable[[], bool | Awaitable[bool]], seconds: float = 30) -> None:
        """Wait until it holds; the follower reads on meanwhile, and a question that can't be answered just now is asked again."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    await self.follower.follow()
                    try:
                        answer = holds()
                        if answer if isinstance(answer, bool) else await answer:
                            return
                    except grpc.aio.AioRpcError as error:
                        if error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND):
                            raise
                    await asyncio.sleep(0.05)
        except TimeoutError:
            logs = "\n".join(f"--- {number}:\n{self.log_of(number)[-3000:]}" for number in self.processes)
            raise AssertionError(f"not within {seconds} s\n{logs}") from None

    async def _start(self, number: int) -> None:
        if number not in self.processes:
            own = {
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "gen")]),
                "MUSTER_TOKEN_SECRET": TOKEN_SECRET,
                "MUSTER_DATA_DIR": str(self._folder / str(number)),
                "MUSTER_PARTITIONS": str(PARTITIONS),
                "MUSTER_EVALUATOR_GRPC_PORT": str(port := free_port()),
                "MUSTER_EVALUATOR_REPLICA": f"evaluator-{number}",
                "MUSTER_EVALUATOR_LEASE_SECONDS": "1.5",
                "MUSTER_EVALUATOR_ROUND_SECONDS": "0.1",
                "MUSTER_EVALUATOR_SNAPSHOT_EVENTS": "100",
            }
            command = [sys.executable, "-m", "services.evaluator"]
            log_path = self._folder / f"evaluator-{number}.log"
            environment = {**os.environ, **self._urls, **own}
            self.processes[number] = Service(f"evaluator {number}", command, environment, cwd=ROOT, log_path=log_path, port=port)
        process = self.processes[number]
        await process.start()
        async with asyncio.timeout(40):
            await process.wait_healthy()
        assert process.healthy, process.last_words()


@asynccontextmanager
async def fleet_of(folder: Path, nats_url: str, database_url: str, bus: Bus, stores: EventStores) -> AsyncIterator[Fleet]:
    """A fleet without evaluators; all that are started are dead at the end."""
    fleet = Fleet(folder, nats_url, database_url, bus, stores)
    try:
        yield fleet
    finally:
        for process in fleet.processes.values():
            process.send(signal.SIGKILL)
        await asyncio.gather(*(process.died() for process in fleet.processes.values()))
