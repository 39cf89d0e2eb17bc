"""A desk: the forwarder without its ways in. Tests write members and identities, and see what the partner is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from services.chassis.clock import SystemClock
from services.forwarder.closing import close
from services.forwarder.connectors.directory import CONNECTORS, Connectors
from services.forwarder.connectors.lines import PartnerLines
from services.forwarder.delivery import Means
from services.forwarder.dispatch import Dispatcher
from services.forwarder.domain.connections import Connection, State, paused, resumed
from services.forwarder.domain.identities import Identity, Kind
from services.forwarder.domain.retry import RetryPolicy
from services.forwarder.lookups import NotAnswered
from services.forwarder.stores.deliveries import DeliveryRecord, RejectedRecord
from services.forwarder.stores.members import ACTIVE, Audience, Following
from services.forwarder.stores.store import Store, Tx
from tests.fakes.waiting import eventually
from tests.fakes.webhook_partner import WebhookPartner

SECRET = "a secret of the partner's"
ACCOUNT = 7
AUDIENCE = 456
QUICK = RetryPolicy(tries=3, first_seconds=0.01, most_seconds=0.05, total_seconds=5)


class FakePeople:
    """Who has which identities; `down` answers nobody."""

    def __init__(self) -> None:
        self.identities: dict[int, list[Identity]] = {}
        self.down = False
        self.asked = 0

    async def of(self, account_id: int, mpids: Sequence[int], kinds: Collection[Kind]) -> Mapping[int, Sequence[Identity]]:
        self.asked += 1
        if self.down:
            raise NotAnswered("down")
        numbers = {int(kind) for kind in kinds}
        found = {mpid: [one for one in self.identities.get(mpid, []) if one.kind in numbers] for mpid in mpids}
        return {mpid: some for mpid, some in found.items() if some}


class Desk:
    """One account, one configuration, and as many connections as `connect` makes."""

    def __init__(self, store: Store, partner: WebhookPartner, *, policy: RetryPolicy = QUICK, connectors: Connectors = CONNECTORS) -> None:
        self.store = store
        self.partner = partner
        self.people = FakePeople()
        self.clock = SystemClock()
        self.policy = policy
        self.connectors = connectors
        self.timeout_seconds = 0.3
        self.announced = 0
        self._dispatchers: list[Dispatcher] = []
        self._lines: list[PartnerLines] = []
        self._loops: list[asyncio.Task[None]] = []

    async def close(self) -> None:
        for dispatcher in self._dispatchers:
            await dispatcher.stop()
        for lines in self._lines:
            await lines.stop()
        for loop in self._loops:
            loop.cancel()

    async def begin(self, *, owner: str = "test", sweeps: bool = False, grace_seconds: float = 1) -> Dispatcher:
        """A process's dispatcher. Without sweeps it does only what it is woken for."""
        lines = PartnerLines(allow_private=True, timeout_seconds=self.timeout_seconds, clock=self.clock)
        means = Means(self.store, self.connectors, self.people, lines, self.clock, self.policy, self._announced)
        dispatcher = Dispatcher(
            means, owner=owner, sweep_seconds=0.05, lease_seconds=30, keep_deliveries_days=30, grace_seconds=grace_seconds
        )
        await dispatcher.start()
        self._dispatchers.append(dispatcher)
        self._lines.append(lines)
        if sweeps:
            self._loops.append(asyncio.create_task(dispatcher.run()))
        return dispatcher

    async def kill(self, dispatcher: Dispatcher) -> None:
        """End a process as a crash does: whatever it was doing stops, and nothing is put in order."""
        tasks = list(dispatcher._tasks.values())
        dispatcher._stopping.set()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._dispatchers.remove(dispatcher)

    async def audience(self, id: int = AUDIENCE, *, state: str = ACTIVE, version: int = 1, name: str = "Sports fans") -> None:
        await self.store.write(lambda tx: tx.audiences.save(Audience(ACCOUNT, id, name, "", state, version)))

    async def configure(self, **settings: str) -> int:
        values = {"url": self.partner.url, "batch_size": "100", **settings}
        made = await self.store.write(
            lambda tx: tx.configurations.insert(
                ACCOUNT,
                integration_key="webhook",
                name="hook",
                settings=values,
                secrets={"secret": SECRET},
                now_ms=self.clock.now_ms(),
                idempotency_key=None,
            )
        )
        assert made is not None
        return made.id

    async def connect(self, audience_id: int = AUDIENCE, *, configuration_id: int | None = None, **settings: str) -> int:
        """The id of a new connection of an active audience whose members are followed."""
        await self.audience(audience_id)
        configuration = configuration_id or await self.configure(**settings)

        async def make(tx: Any) -> Connection:
            await tx.audiences.follow((ACCOUNT, audience_id), Following.LIVE)
            made: Connection = await tx.connections.insert(
                ACCOUNT,
                audience_id=audience_id,
                variation="",
                configuration_id=configuration,
                settings={},
                now_ms=self.clock.now_ms(),
                idempotency_key=None,
            )
            return made

        return (await self.store.write(make)).id

    async def people_are(self, identities: Mapping[int, str]) -> None:
        """Give people an email each."""
        for mpid, email in identities.items():
            self.people.identities[mpid] = [Identity(Kind.EMAIL, email)]

    async def change(self, added: Sequence[int] = (), dropped: Sequence[int] = (), *, audience_id: int = AUDIENCE) -> None:
        """Let people come and go, each new one with an email, and mark them."""
        for mpid in added:
            self.people.identities.setdefault(mpid, [Identity(Kind.EMAIL, f"p{mpid}@example.com")])

        async def work(tx: Any) -> None:
            await tx.members.add((ACCOUNT, audience_id), list(added))
            await tx.members.drop((ACCOUNT, audience_id), list(dropped))
            await tx.members.mark((ACCOUNT, audience_id), [*added, *dropped], since_ms=self.clock.now_ms())

        await self.store.write(work)

    async def identify(self, mpid: int, *identities: tuple[Kind, str]) -> None:
        """Set a person's identities, and mark the person where it is a member."""
        self.people.identities[mpid] = [Identity(kind, value) for kind, value in identities]
        await self.store.write(lambda tx: tx.members.mark_members(ACCOUNT, [mpid], since_ms=self.clock.now_ms()))

    async def connection(self, id: int) -> Connection:
        async with self.store.read() as tx:
            found = await tx.connections.get(ACCOUNT, id)
        assert found is not None
        return found

    async def waiting(self, id: int) -> int:
        async with self.store.read() as tx:
            return (await tx.connections.waiting_counts([id])).get(id, 0)

    async def settled(self, id: int, *, within_seconds: float = 10) -> None:
        """Return once nobody waits and nothing is pending."""

        async def quiet() -> bool:
            async with self.store.read() as tx:
                return id not in await tx.connections.with_work() and not (await tx.connections.waiting_counts([id])).get(id)

        await eventually(quiet, within_seconds=within_seconds)

    async def becomes(self, id: int, state: State, *, within_seconds: float = 10) -> Connection:
        """The connection, once it is in this state."""

        async def is_so() -> bool:
            return (await self.connection(id)).state is state

        await eventually(is_so, within_seconds=within_seconds)
        return await self.connection(id)

    async def resume(self, id: int) -> None:
        await self._change(id, lambda before: resumed(before, now_ms=self.clock.now_ms()))

    async def pause(self, id: int) -> None:
        await self._change(id, lambda before: paused(before, reason="by hand", now_ms=self.clock.now_ms()))

    async def _change(self, id: int, rule: Callable[[Connection], Connection]) -> None:
        async def work(tx: Tx) -> None:
            before = await tx.connections.get(ACCOUNT, id, lock=True)
            assert before is not None
            await tx.connections.save(rule(before))

        await self.store.write(work)

    async def delete(self, id: int) -> None:
        await self.store.write(lambda tx: close(tx, ACCOUNT, id, now_ms=self.clock.now_ms()))

    async def deliveries(self, id: int) -> list[DeliveryRecord]:
        """The oldest first."""
        async with self.store.read() as tx:
            return (await tx.deliveries.page(ACCOUNT, id, before=None, limit=1000))[::-1]

    async def rejected(self, id: int) -> list[RejectedRecord]:
        async with self.store.read() as tx:
            return await tx.deliveries.list_rejected(id, after=None, limit=1000)

    def _announced(self) -> None:
        self.announced += 1
