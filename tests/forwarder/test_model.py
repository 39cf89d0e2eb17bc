"""The forwarder against a model: whatever fails in between, at the end the partner has what it should have, and was told nothing twice."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from services.chassis.database import Database
from services.chassis.migrations import migrate
from services.forwarder.app import MIGRATIONS
from services.forwarder.dispatch import Dispatcher
from services.forwarder.domain.connections import State
from services.forwarder.domain.identities import Kind
from services.forwarder.domain.retry import RetryPolicy
from services.forwarder.stores.store import Store
from tests.fakes.webhook_partner import Cut, Fault, Hang, Malformed, Status, Suspend, WebhookPartner, Well
from tests.forwarder.desk import ACCOUNT, SECRET, Desk

PEOPLE = range(1, 9)
AUDIENCES = (1, 2)
# Not here: a 400 or a 500 for what was taken, the word of a partner that it was not.
FAULTS: list[Fault] = [
    Well(),
    Status(500),
    Status(502, processed=True),
    Status(429, retry_after="0"),
    Status(401),
    Status(404),
    Hang(),
    Hang(processed=True),
    Cut(),
    Cut(processed=True),
    Malformed(),
    Suspend(),
]


@dataclass(frozen=True)
class Move:
    """People come into an audience and go."""

    audience: int
    added: frozenset[int]
    dropped: frozenset[int]


@dataclass(frozen=True)
class Identify:
    """A person's identities are others, or none."""

    mpid: int
    email: str
    device: str


@dataclass(frozen=True)
class Fails:
    """What becomes of the next requests."""

    faults: tuple[Fault, ...]


@dataclass(frozen=True)
class Act:
    """Something else happens."""

    what: str


some_people = st.frozensets(st.sampled_from(PEOPLE), max_size=4)
moves = st.builds(Move, st.sampled_from(AUDIENCES), some_people, some_people)
steps = st.one_of(
    moves,
    moves,
    st.builds(Identify, st.sampled_from(PEOPLE), st.sampled_from(["", "a", "b"]), st.sampled_from(["", "X"])),
    st.builds(Fails, st.lists(st.sampled_from(FAULTS), min_size=1, max_size=4).map(tuple)),
    st.builds(Act, st.sampled_from(["crash", "crash", "stop", "pause", "resume", "deactivate", "activate", "reconcile", "let it run"])),
)


@dataclass
class Model:
    """What should be."""

    members: dict[int, set[int]] = field(default_factory=lambda: {audience: set() for audience in AUDIENCES})
    identities: dict[int, set[tuple[str, str]]] = field(default_factory=dict)
    live: bool = True

    def wanted(self, audience: int) -> dict[int, set[tuple[str, str]]]:
        """Who should be at the partner, under which identities: the second audience's takes emails alone."""
        if audience == AUDIENCES[0] and not self.live:
            return {}
        takes = {"email"} if audience == AUDIENCES[1] else {"email", "ios_advertising_id"}
        some = {mpid: {one for one in self.identities.get(mpid, set()) if one[0] in takes} for mpid in self.members[audience]}
        return {mpid: identities for mpid, identities in some.items() if identities}


class Run:
    """One history, on a database of its own."""

    def __init__(self, desk: Desk, partner: WebhookPartner) -> None:
        self.desk = desk
        self.partner = partner
        self.model = Model()
        self.version = 1
        self.ids: dict[int, int] = {}

    async def go(self, steps: list[Move | Identify | Fails | Act]) -> None:
        desk = self.desk
        self.ids = {1: await desk.connect(1, batch_size="3"), 2: await desk.connect(2, batch_size="2", identity_types="email")}
        for mpid in PEOPLE:
            await self.identify(Identify(mpid, f"p{mpid}", ""))
        dispatcher = await desk.begin()
        for step in steps:
            dispatcher = await self.step(step, dispatcher)
            dispatcher.wake(self.ids.values())
        self.partner.plan.clear()
        for id in self.ids.values():
            if (await desk.connection(id)).state is not State.SENDING:
                await desk.resume(id)
            dispatcher.look(id)
        await self.come_to_rest(dispatcher)
        for audience, id in self.ids.items():
            wanted = self.model.wanted(audience)
            assert {mpid: self.partner.told(audience, mpid) for mpid in self.partner.mpids(audience)} == wanted
            assert (await desk.connection(id)).delivered_members == len(wanted)
        # Nobody was added who was in, none deleted who was not; no request broke the protocol.
        assert (self.partner.counts.doubled, self.partner.counts.absent, self.partner.unfit) == (0, 0, [])

    async def come_to_rest(self, dispatcher: Dispatcher) -> None:
        """A fault that was planned before may still come; whatever it stops is resumed."""
        async with asyncio.timeout(10):
            while True:
                async with self.desk.store.read() as tx:
                    found = [await tx.connections.get(ACCOUNT, id) for id in self.ids.values()]
                    busy = await tx.connections.with_work()
                stopped = [one.id for one in found if one is not None and one.state is not State.SENDING]
                if not busy and not stopped:
                    return
                for id in stopped:
                    await self.desk.resume(id)
                    dispatcher.look(id)
                await asyncio.sleep(0.01)

    async def step(self, step: Move | Identify | Fails | Act, dispatcher: Dispatcher) -> Dispatcher:
        match step:
            case Move(audience, added, dropped):
                await self.desk.change(sorted(added - dropped), sorted(dropped), audience_id=audience)
                self.model.members[audience] = (self.model.members[audience] | added) - dropped
            case Identify():
                await self.identify(step)
            case Fails(faults):
                self.partner.plan.extend(faults)
            case Act("crash"):
                await self.desk.kill(dispatcher)
                return await self.desk.begin()
            case Act("stop"):
                await dispatcher.stop()
                return await self.desk.begin()
            case Act("pause"):
                await self.desk.pause(self.ids[1])
                dispatcher.look(self.ids[1])
            case Act("resume"):
                await self.desk.resume(self.ids[1])
                dispatcher.look(self.ids[1])
            case Act("deactivate" | "activate" as what):
                self.version += 1
                self.model.live = what == "activate"
                await self.desk.audience(1, state="active" if self.model.live else "inactive", version=self.version)
                await self.look_at_all()
            case Act("reconcile"):
                await self.look_at_all()
            case Act():
                await asyncio.sleep(0.03)
        return dispatcher

    async def look_at_all(self) -> None:
        await self.desk.store.write(lambda tx: tx.members.mark_all(self.ids[1], (ACCOUNT, 1), since_ms=self.desk.clock.now_ms()))

    async def identify(self, step: Identify) -> None:
        named = [(Kind.EMAIL, step.email), (Kind.IOS_ADVERTISING_ID, step.device)]
        await self.desk.identify(step.mpid, *[one for one in named if one[1]])
        self.model.identities[step.mpid] = {(kind.name.lower(), value) for kind, value in named if value}


@pytest.fixture(scope="module")
def empty_database() -> Iterator[Path]:
    """A migrated SQLite file, to be copied for each history."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "empty.db"

        async def make() -> None:
            database = Database(f"sqlite+aiosqlite:///{file}")
            await database.start()
            await migrate(database, MIGRATIONS)
            await database.stop()

        asyncio.run(make())
        yield file


# Explaining traces every line, which makes a history take seconds.
@settings(
    max_examples=40,
    deadline=None,
    phases=set(Phase) - {Phase.explain},
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(history=st.lists(steps, min_size=3, max_size=14))
def test_after_any_history_the_partner_has_what_it_should_have(empty_database: Path, history: list[Move | Identify | Fails | Act]) -> None:
    async def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "forwarder.db"
            shutil.copy(empty_database, file)
            database = Database(f"sqlite+aiosqlite:///{file}")
            await database.start()
            async with WebhookPartner(SECRET) as partner:
                desk = Desk(Store(database), partner, policy=RetryPolicy(tries=3, first_seconds=0.001, most_seconds=0.005, total_seconds=5))
                desk.timeout_seconds = 0.1
                try:
                    await Run(desk, partner).go(history)
                finally:
                    await desk.close()
            await database.stop()

    asyncio.run(run())
