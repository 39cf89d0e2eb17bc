"""The ways in from NATS: connections, as the forwarder tells them, and shares, as the sharing service does."""

from __future__ import annotations

from google.protobuf.message import DecodeError
from muster.forwarder.v1 import facts_pb2 as forwarder_facts
from muster.sharing.v1 import facts_pb2 as sharing_facts

from services.chassis.clock import Clock
from services.chassis.consumer import Hopeless, Message

from .domain.uses import ConnectionUse, ShareUse
from .store import Store


class ConnectionMessages:
    """Keeps the copy of the connections, so that it can be said who uses an audience while the forwarder is away."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def handle(self, messages: list[Message]) -> None:
        """Take the newest states; what is older than what is known changes nothing."""
        by_account: dict[int, list[forwarder_facts.ConnectionFact]] = {}
        for message in messages:
            try:
                fact = forwarder_facts.ConnectionFact.FromString(message.data)
            except DecodeError:
                raise Hopeless("not a muster.forwarder.v1.ConnectionFact") from None
            by_account.setdefault(fact.account_id, []).append(fact)
        for account_id, facts in sorted(by_account.items()):
            async with self._store.transaction(account_id, now_ms=self._clock.now_ms()) as tx:
                for fact in facts:
                    await tx.take_connection(_use(fact), fact.version)


class ShareMessages:
    """Keeps the copy of the shares that accounts offer."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def handle(self, messages: list[Message]) -> None:
        """Take the newest states; a fact for whoever receives a share is passed over."""
        for message in messages:
            try:
                fact = sharing_facts.ShareFact.FromString(message.data)
            except DecodeError:
                raise Hopeless("not a muster.sharing.v1.ShareFact") from None
            if fact.account_id != fact.initiator_account_id:
                continue
            told = fact.share
            use = ShareUse(share_id=told.share_id, audience_id=told.audience_id, receiver_name=told.receiver_name, state=int(told.state))
            async with self._store.transaction(fact.account_id, now_ms=self._clock.now_ms()) as tx:
                await tx.take_share(use, fact.version)


def _use(fact: forwarder_facts.ConnectionFact) -> ConnectionUse:
    told = fact.connection
    return ConnectionUse(
        connection_id=told.connection_id,
        audience_id=told.audience_id,
        variation=told.variation,
        configuration_id=told.configuration_id,
        configuration_name=fact.configuration_name,
        integration_key=fact.integration_key,
        state=int(told.state),
        fault=told.fault.message,
    )
