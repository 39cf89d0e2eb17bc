"""Which partitions this process evaluates. JetStream decides: a lease is a key of a KV bucket that is created only if it is absent.

A lease ends by itself unless it is renewed, which needs the revision of the last renewal. Replicas announce themselves in the same bucket,
so that each can tell its fair share: who has less takes what is free, who has more gives up. Leases make ownership quick to move and
seldom shared; what makes it exact is that a commit compares the owner's number (ADR 0008).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field

import msgspec
import nats
from nats.js.api import KeyValueConfig
from nats.js.errors import BadRequestError, KeyNotFoundError, KeyWrongLastSequenceError, NoStreamResponseError, NotFoundError
from nats.js.kv import KeyValue

from services.chassis import log as logs
from services.chassis.bus import Bus
from services.chassis.errors import Unavailable

log = logs.get(__name__)

BUCKET = "EVALUATORS"
_RENEWALS = 4  # in the life of a lease
_READ_SECONDS = 2.0

# The partitions that can't be completed from this process's event store and the stream, so that others must have them.
Unfit = Callable[[], Awaitable[frozenset[int]]]


class NameTaken(Exception):
    """Another process of this replica's name has started: this one must end."""


class Announcement(msgspec.Struct, frozen=True):
    """What a replica tells the others. `instance` tells a process from an earlier one of the same name: it is greater."""

    name: str
    instance: str
    address: str
    unfit: tuple[int, ...] = ()


class Lease(msgspec.Struct, frozen=True):
    """Whose partition it is."""

    name: str
    instance: str
    address: str


@dataclass(frozen=True, slots=True)
class Table:
    """The bucket as it was read: the live replicas by name, and the lease and revision of each partition that has an owner."""

    replicas: dict[str, Announcement] = field(default_factory=dict)
    leases: dict[int, tuple[Lease, int]] = field(default_factory=dict)

    def owned_by(self, name: str) -> set[int]:
        return {partition for partition, (lease, _) in self.leases.items() if lease.name == name}


def shares(names: Collection[str], partitions: int) -> dict[str, int]:
    """How many partitions each replica is to have: alike, and those that come first by name one more where it does not come out even."""
    count, rest = divmod(partitions, max(1, len(names)))
    return {name: count + (place < rest) for place, name in enumerate(sorted(names))}


def to_take(me: Announcement, table: Table, partitions: int) -> list[int]:
    """The free partitions that this replica should try to get: up to its share, and beyond it what nobody with room could complete."""
    free = [partition for partition in range(partitions) if partition not in table.leases and partition not in me.unfit]
    share = shares(table.replicas, partitions)
    owned = {name: len(table.owned_by(name)) for name in table.replicas}
    room = max(0, share[me.name] - owned[me.name])
    others = [one for name, one in table.replicas.items() if name != me.name and owned[name] < share[name]]
    return free[:room] + [partition for partition in free[room:] if all(partition in one.unfit for one in others)]


def to_give(me: Announcement, held: Collection[int], table: Table, partitions: int) -> set[int]:
    """The partitions that this replica should give up: what it has above its share and another has room for."""
    share = shares(table.replicas, partitions)
    above = len(held) - share[me.name]
    given: set[int] = set()
    for name, one in sorted(table.replicas.items()):
        room = share[name] - len(table.owned_by(name)) if name != me.name else 0
        for partition in sorted(held, reverse=True):
            if room > 0 and len(given) < above and partition not in given and partition not in one.unfit:
                given.add(partition)
                room -= 1
    return given


class Ownership:
    """A part of the app, before the rounds: keeps leases alive in a task of its own. `address` is where other evaluators reach this one."""

    def __init__(self, bus: Bus, name: str, address: Callable[[], str], partitions: int, lease_seconds: float) -> None:
        self._bus = bus
        self._name = name
        self._instance = f"{time.time_ns():020d}"
        self._address = address
        self._partitions = partitions
        self._lease_seconds = lease_seconds
        self._bucket: KeyValue | None = None
        self._revisions: dict[int, int] = {}  # of own leases
        self._until: dict[int, float] = {}  # by this clock, which goes on while the process is paused
        self._giving: set[int] = set()
        self._unfit: Unfit = _fit
        self._me = Announcement(name, self._instance, "")
        self._joined = False
        self._turn = asyncio.Lock()
        self._stopping = asyncio.Event()
        self.table = Table()

    @property
    def partitions(self) -> int:
        """How many there are in all."""
        return self._partitions

    @property
    def held(self) -> frozenset[int]:
        """The partitions to evaluate now: those whose lease holds, less those that are to be given up."""
        now = time.monotonic()
        return frozenset(partition for partition, until in self._until.items() if until > now) - self._giving

    def holds(self, partitions: Collection[int]) -> bool:
        """Whether the leases of all of these hold at this moment."""
        now = time.monotonic()
        return all(self._until.get(partition, 0) > now for partition in partitions)

    def judge_by(self, unfit: Unfit) -> None:
        """Ask this for the partitions that this process can't complete."""
        self._unfit = unfit

    # --- the part

    async def start(self) -> None:
        """Make the bucket, waiting for NATS as long as it takes; leases are taken by `join` and kept by `run`."""
        while self._bucket is None:
            try:
                await self._make()
            except (nats.errors.Error, TimeoutError) as error:
                log.warning("leases_not_made", error=repr(error))
                await asyncio.sleep(0.5)

    async def join(self) -> None:
        """Announce this process and take what falls to it. A lease of an earlier process of the same name is its own at once.

        While NATS or the database is away nothing is taken; the loop goes on trying.
        """
        self._joined = True
        await self._renew()

    async def run(self) -> None:
        """The loop; ends after `stop`."""
        while not self._stopping.is_set():
            try:
                await asyncio.wait_for(self._stopping.wait(), self._lease_seconds / _RENEWALS)
            except TimeoutError:
                if self._joined:
                    await self._renew()

    async def stop(self) -> None:
        """Give everything up, so that others need not wait for leases to end."""
        self._stopping.set()
        async with self._turn:
            try:
                for partition in list(self._revisions):
                    await self._let_go(partition)
                if self._joined:
                    await self._kv.delete(f"replica.{self._name}")
            except (nats.errors.Error, TimeoutError) as error:
                log.warning("leases_not_given_up", error=repr(error))

    # --- for the rounds

    async def give_up(self, partitions: Collection[int]) -> None:
        """These are evaluated no longer: let others have them."""
        async with self._turn:
            for partition in partitions:
                await self._let_go(partition)

    async def check(self) -> None:
        """Look whether the leases still hold, and take what is free."""
        await self._renew()

    # --- for questions

    async def refresh(self) -> Table:
        """Read who owns what, now."""
        self.table = await self._read()
        return self.table

    # --- inside

    async def _make(self) -> None:
        config = KeyValueConfig(
            bucket=BUCKET, description="Who evaluates which partition.", ttl=self._lease_seconds, direct=True, replicas=self._bus.replicas
        )
        js = self._bus.jetstream
        try:
            self._bucket = await js.create_key_value(config)
        except BadRequestError:
            # It is there, with another life of leases.
            present = (await js.stream_info(f"KV_{BUCKET}")).config
            await js.update_stream(present, max_age=self._lease_seconds, duplicate_window=min(self._lease_seconds, 120))
            self._bucket = await js.key_value(BUCKET)

    async def _renew(self) -> None:
        async with self._turn:
            before = self.held
            try:
                if self._bucket is None:
                    await self._make()
                await self._try_renew()
            except (NoStreamResponseError, NotFoundError) as error:
                log.warning("leases_gone", error=repr(error))
                self._bucket = None
            except (nats.errors.Error, TimeoutError, Unavailable) as error:
                # What can't be renewed ends by the clock.
                log.warning("leases_not_renewed", error=repr(error))
            if self.held != before:
                log.info("partitions_held", partitions=sorted(self.held))

    async def _try_renew(self) -> None:
        # First: what follows asks the database too, and the leases must not end because that is away.
        for partition in sorted(self._revisions):
            await self._hold(partition, self._revisions[partition])
        self._me = Announcement(self._name, self._instance, self._address(), tuple(sorted(await self._unfit())))
        table = await self.refresh()
        known = table.replicas.get(self._name)
        if known is not None and known.instance > self._instance:
            raise NameTaken(f"another evaluator of the name {self._name} has started: give each its own MUSTER_EVALUATOR_REPLICA")
        await self._kv.put(f"replica.{self._name}", msgspec.json.encode(self._me))
        table.replicas[self._name] = self._me
        for partition, (lease, revision) in list(table.leases.items()):
            # Of an earlier process of this name, which is dead.
            if lease.name == self._name and partition not in self._revisions:
                await self._hold(partition, revision)
        for partition in to_take(self._me, table, self._partitions):
            await self._hold(partition, 0)
        self._giving |= to_give(self._me, self.held, table, self._partitions)

    async def _hold(self, partition: int, revision: int) -> None:
        """Take a lease, or renew it; whoever was quicker has it."""
        asked = time.monotonic()
        body = msgspec.json.encode(Lease(self._name, self._instance, self._me.address))
        key = f"partition.{partition}"
        try:
            if revision:
                revision = await self._kv.update(key, body, last=revision)
            else:
                revision = await self._kv.create(key, body)
        except KeyWrongLastSequenceError:
            self._forget(partition)
            return
        except KeyNotFoundError:
            return  # it was there, and ended while it was looked at
        self._revisions[partition] = revision
        self._until[partition] = asked + self._lease_seconds

    async def _let_go(self, partition: int) -> None:
        revision = self._revisions.get(partition)
        self._forget(partition)
        if revision:
            try:
                await self._kv.delete(f"partition.{partition}", last=revision)
            except nats.js.errors.APIError as error:
                log.debug("lease_was_lost", partition=partition, error=repr(error))

    def _forget(self, partition: int) -> None:
        self._revisions.pop(partition, None)
        self._until.pop(partition, None)
        self._giving.discard(partition)

    async def _read(self) -> Table:
        """All keys of the bucket, in one request: its last message of each subject."""
        connection, stream = self._bus.connection, f"KV_{BUCKET}"
        inbox = connection.new_inbox()
        subscription = await connection.subscribe(inbox)
        table = Table()
        try:
            request = msgspec.json.encode({"multi_last": [f"$KV.{BUCKET}.>"]})
            await connection.publish(f"$JS.API.DIRECT.GET.{stream}", request, reply=inbox)
            while True:
                message = await subscription.next_msg(timeout=_READ_SECONDS)
                headers = message.headers or {}
                if "Status" in headers:
                    if headers["Status"] in ("204", "404"):
                        return table
                    raise nats.errors.Error(f"{stream}: {headers}")
                if "KV-Operation" in headers or "Nats-Marker-Reason" in headers:
                    continue
                kind, key = headers["Nats-Subject"].removeprefix(f"$KV.{BUCKET}.").split(".", 1)
                if kind == "replica":
                    table.replicas[key] = msgspec.json.decode(message.data, type=Announcement)
                else:
                    table.leases[int(key)] = (msgspec.json.decode(message.data, type=Lease), int(headers["Nats-Sequence"]))
        finally:
            await subscription.unsubscribe()

    @property
    def _kv(self) -> KeyValue:
        if self._bucket is None:
            raise RuntimeError("the ownership is not started")
        return self._bucket


async def _fit() -> frozenset[int]:
    return frozenset()
