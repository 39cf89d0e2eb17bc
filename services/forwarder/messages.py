"""The ways in from NATS: audiences as defined, members as evaluated, identities as collected."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from google.protobuf.message import DecodeError
from muster.definition.v1 import audience_pb2
from muster.definition.v1 import facts_pb2 as definition_facts
from muster.evaluator.v1 import facts_pb2 as evaluator_facts
from muster.ingest.v1 import facts_pb2 as ingest_facts

from services.chassis import log as logs
from services.chassis.clock import Clock
from services.chassis.consumer import Hopeless, Message
from services.forwarder.closing import close
from services.forwarder.domain.ab_tests import AbTest
from services.forwarder.following import apply_facts
from services.forwarder.stores.members import ACTIVE, DELETED, Audience
from services.forwarder.stores.store import Store, Tx

log = logs.get(__name__)

Wake = Callable[[Iterable[int]], None]
M = TypeVar("M", definition_facts.DefinitionFact, evaluator_facts.MembershipChanges, ingest_facts.ProfileChanges)

_STATES = {
    audience_pb2.AUDIENCE_STATE_DRAFT: "draft",
    audience_pb2.AUDIENCE_STATE_ACTIVE: ACTIVE,
    audience_pb2.AUDIENCE_STATE_INACTIVE: "inactive",
    audience_pb2.AUDIENCE_STATE_DELETED: DELETED,
}


class DefinitionMessages:
    """Keeps the copies of the audiences and their A/B tests. An audience that becomes inactive is empty for its partners; the connections
    of a deleted one end, and so do those of the variations of a deleted test."""

    def __init__(self, store: Store, clock: Clock, wake: Wake, snapshots_wanted: Callable[[], None]) -> None:
        self._store = store
        self._clock = clock
        self._wake = wake
        self._snapshots_wanted = snapshots_wanted

    async def handle(self, messages: list[Message]) -> None:
        """Take the newest state of audiences and tests; other kinds are passed over."""
        told: dict[tuple[int, int], Audience] = {}
        tests: dict[tuple[int, int], AbTest] = {}
        for message in messages:
            fact = _parsed(definition_facts.DefinitionFact, message)
            if fact.WhichOneof("state") == "audience":
                audience = _audience(fact)
                known = told.get(audience.key)
                if known is None or known.version < audience.version:
                    told[audience.key] = audience
            elif fact.WhichOneof("state") == "ab_test":
                test = _ab_test(fact)
                earlier = tests.get((test.account_id, test.ab_test_id))
                if earlier is None or earlier.version < test.version:
                    tests[test.account_id, test.ab_test_id] = test
        if told or tests:
            now_ms = self._clock.now_ms()

            async def work(tx: Tx) -> list[int]:
                # All at once, and before the connections: one that is being made locks its audience, and its test must not end unseen.
                await tx.audiences.get_many([*told, *((test.account_id, test.audience_id) for test in tests.values())], lock=True)
                return await self._take(tx, list(told.values()), now_ms) + await self._take_tests(tx, list(tests.values()), now_ms)

            self._wake(await self._store.write(work))
            self._snapshots_wanted()

    async def _take(self, tx: Tx, told: Sequence[Audience], now_ms: int) -> list[int]:
        known = await tx.audiences.get_many([audience.key for audience in told], lock=True)
        woken: list[int] = []
        for audience in told:
            before = known.get(audience.key)
            if before is not None and before.version >= audience.version:
                continue
            await tx.audiences.save(audience)
            if before is None or before.state == audience.state:
                continue
            ids = (await tx.connections.of_audiences([audience.key])).get(audience.key, [])
            log.info("audience_state_changed", audience_id=audience.audience_id, state=audience.state, connections=len(ids))
            for id in ids:
                if audience.state == DELETED:
                    await close(tx, audience.account_id, id, now_ms=now_ms)
                else:
                    await tx.members.mark_all(id, audience.key, since_ms=now_ms)
            woken += ids
        return woken

    async def _take_tests(self, tx: Tx, told: Sequence[AbTest], now_ms: int) -> list[int]:
        woken: list[int] = []
        for test in told:
            before = await tx.ab_tests.get(test.account_id, test.ab_test_id)
            if before is not None and before.version >= test.version:
                continue
            await tx.ab_tests.save(test)
            if test.deleted:
                ids = await tx.connections.of_test(test.account_id, test.ab_test_id)
                log.info("ab_test_deleted", audience_id=test.audience_id, ab_test_id=test.ab_test_id, connections=len(ids))
                for id in ids:
                    await close(tx, test.account_id, id, now_ms=now_ms)
                woken += ids
        return woken


class MembershipMessages:
    """Follows the members of connected audiences."""

    def __init__(self, store: Store, clock: Clock, wake: Wake, snapshots_wanted: Callable[[], None]) -> None:
        self._store = store
        self._clock = clock
        self._wake = wake
        self._snapshots_wanted = snapshots_wanted

    async def handle(self, messages: list[Message]) -> None:
        """Take who came and who went."""
        facts = [(_parsed(evaluator_facts.MembershipChanges, message), message.data) for message in messages]
        woken, wanted = await apply_facts(self._store, facts, now_ms=self._clock.now_ms())
        self._wake(woken)
        if wanted:
            self._snapshots_wanted()


class ProfileMessages:
    """Lets members be looked at again whose identities changed, and whoever was deleted, wherever a partner has them."""

    def __init__(self, store: Store, clock: Clock, wake: Wake, erasures_wanted: Callable[[], None]) -> None:
        self._store = store
        self._clock = clock
        self._wake = wake
        self._erasures_wanted = erasures_wanted

    async def handle(self, messages: list[Message]) -> None:
        """Take whose identities changed; anything else about people is passed over."""
        changed: dict[int, set[int]] = {}
        deleted: dict[int, set[int]] = {}
        for message in messages:
            fact = _parsed(ingest_facts.ProfileChanges, message)
            for change in fact.changes:
                if change.deleted:
                    deleted.setdefault(fact.account_id, set()).add(change.mpid)
                if change.added_identities or change.removed_identities or change.merged_into or change.deleted:
                    people = changed.setdefault(fact.account_id, set())
                    people.add(change.mpid)
                    if change.merged_into:
                        people.add(change.merged_into)
        if not changed:
            return
        if deleted:
            erased_ms = self._clock.now_ms()
            self._wake(await self._store.write(lambda tx: _erase(tx, deleted, erased_ms)))
            self._erasures_wanted()
        async with self._store.read() as tx:
            connected = await tx.connections.accounts()
        concerned = {account: people for account, people in changed.items() if account in connected}
        if concerned:
            now_ms = self._clock.now_ms()
            self._wake(await self._store.write(lambda tx: _mark(tx, concerned, now_ms)))


async def _erase(tx: Tx, people: dict[int, set[int]], now_ms: int) -> set[int]:
    woken: set[int] = set()
    for account_id, mpids in sorted(people.items()):
        woken |= await tx.erasures.begin(account_id, sorted(mpids), now_ms=now_ms)
    return woken


async def _mark(tx: Tx, people: dict[int, set[int]], now_ms: int) -> set[int]:
    woken: set[int] = set()
    for account_id, mpids in sorted(people.items()):
        woken |= await tx.members.mark_members(account_id, sorted(mpids), since_ms=now_ms)
    return woken


def _audience(fact: definition_facts.DefinitionFact) -> Audience:
    state = _STATES.get(fact.audience.state)
    if state is None:
        raise Hopeless(f"the audience's state {fact.audience.state} is not known to this version")
    return Audience(
        account_id=fact.account_id,
        audience_id=fact.audience.audience_id,
        name=fact.audience.name,
        external_name=fact.audience.external_name,
        state=state,
        version=fact.version,
    )


def _ab_test(fact: definition_facts.DefinitionFact) -> AbTest:
    told = fact.ab_test
    variations = tuple((one.name, one.percentage) for one in told.variations)
    return AbTest(fact.account_id, told.ab_test_id, told.audience_id, fact.version, variations)


def _parsed(type: type[M], message: Message) -> M:
    try:
        return type.FromString(message.data)
    except DecodeError:
        raise Hopeless(f"not a {type.DESCRIPTOR.full_name}") from None
