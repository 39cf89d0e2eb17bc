"""An office: the whole forwarder in this process, with a real nats-server and gRPC; a test speaks for the services around it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import grpc
import pytest
from muster.definition.v1 import audience_pb2
from muster.definition.v1 import facts_pb2 as definition_facts
from muster.evaluator.v1 import evaluator_service_pb2, evaluator_service_pb2_grpc
from muster.evaluator.v1 import facts_pb2 as evaluator_facts
from muster.forwarder.v1 import connection_pb2 as pb
from muster.forwarder.v1 import forwarder_service_pb2 as rpc
from muster.forwarder.v1 import forwarder_service_pb2_grpc as rpc_grpc
from muster.ingest.v1 import facts_pb2 as ingest_facts
from muster.ingest.v1 import identity_pb2, ingest_service_pb2, ingest_service_pb2_grpc
from muster.operations.v1 import audit_service_pb2_grpc as audit_grpc

from services.chassis import auth
from services.chassis.app import App
from services.chassis.bus import Bus
from services.chassis.client import channel
from services.chassis.clock import SystemClock
from services.chassis.errors import RpcFailure, from_rpc_error
from services.chassis.streams import ERASURES, definitions_subject, memberships_subject, profiles_subject
from services.forwarder.app import assemble
from services.forwarder.connectors.directory import CONNECTORS
from services.forwarder.settings import ForwarderSettings
from tests.conftest import TOKEN_SECRET
from tests.fakes.waiting import eventually
from tests.fakes.webhook_partner import WebhookPartner
from tests.forwarder.desk import SECRET

ACCOUNT = 7
EMAIL = identity_pb2.IDENTITY_TYPE_EMAIL


class Around(ingest_service_pb2_grpc.IdentityServiceServicer, evaluator_service_pb2_grpc.EvaluatorServiceServicer):
    """Ingest and evaluator, as far as the forwarder asks them."""

    def __init__(self) -> None:
        self.emails: dict[int, str] = {}
        self.members: dict[int, tuple[Sequence[int], Mapping[int, int]]] = {}
        self._server = grpc.aio.server()
        ingest_service_pb2_grpc.add_IdentityServiceServicer_to_server(self, self._server)
        evaluator_service_pb2_grpc.add_EvaluatorServiceServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    @classmethod
    async def begin(cls) -> Around:
        """They answer; whatever else is asked of them is UNIMPLEMENTED."""
        around = cls()
        await around._server.start()
        return around

    async def stop(self) -> None:
        await self._server.stop(0)

    async def LookUpIdentities(
        self, request: ingest_service_pb2.LookUpIdentitiesRequest, context: Any
    ) -> AsyncIterator[ingest_service_pb2.LookUpIdentitiesResponse]:
        for mpid in request.mpids:
            if mpid in self.emails:
                one = identity_pb2.Identity(type=EMAIL, value=self.emails[mpid])
                yield ingest_service_pb2.LookUpIdentitiesResponse(profiles=[ingest_service_pb2.Profile(mpid=mpid, identities=[one])])

    async def ListMembers(
        self, request: evaluator_service_pb2.ListMembersRequest, context: Any
    ) -> AsyncIterator[evaluator_service_pb2.ListMembersResponse]:
        if request.audience_id not in self.members:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        people, rounds = self.members[request.audience_id]
        header = evaluator_service_pb2.MembersHeader(
            size=len(people),
            moment=evaluator_service_pb2.Moment(as_of_ms=int(time.time() * 1000)),
            rounds=[evaluator_service_pb2.PartitionRound(partition=number, round=round) for number, round in rounds.items()],
        )
        yield evaluator_service_pb2.ListMembersResponse(header=header)
        yield evaluator_service_pb2.ListMembersResponse(mpids=people)


class Bound:
    """A stub whose every call carries a token."""

    def __init__(self, to: grpc.aio.Channel, token: str) -> None:
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._stubs: tuple[Any, ...] = (
            rpc_grpc.ConfigurationServiceStub(to),
            rpc_grpc.ConnectionServiceStub(to),
            audit_grpc.AuditServiceStub(to),
        )

    def __getattr__(self, method: str) -> Any:
        stub = next(stub for stub in self._stubs if hasattr(stub, method))
        return partial(getattr(stub, method), metadata=self._metadata)


class Office:
    """The running forwarder, `call` as a person of account 7, and the words of the services around it."""

    def __init__(self, settings_of: Callable[..., Any], bus: Bus, partner: WebhookPartner, around: Around, **settings: object) -> None:
        self.bus = bus
        self.partner = partner
        self.around = around
        self._settings_of = settings_of
        self._more = settings
        self._versions = 0
        self.call: Any = None

    async def start(self) -> None:
        """Build it and begin."""
        defaults: dict[str, object] = {
            "allow_private_targets": True,
            "ingest_address": self.around.address,
            "evaluator_address": self.around.address,
            "retry_tries": 2,
            "retry_first_seconds": 0.01,
            "sweep_seconds": 0.2,
            "instance": "office",
        }
        settings = self._settings_of(ForwarderSettings, **(defaults | self._more))
        self._app = App(grace_seconds=2)
        server = await assemble(self._app, settings, connectors=CONNECTORS, clock=SystemClock())
        await self._app.start()
        self._channel = channel(server.address)
        self.call = self.caller(ACCOUNT)

    async def stop(self) -> None:
        """End it, as a process that is told to."""
        await self._channel.close(grace=None)
        await self._app.stop()

    def caller(self, account_id: int) -> Any:
        """Somebody of another account; 0: somebody without a token."""
        if account_id == 0:
            return Bound(self._channel, "")
        hour, now = timedelta(hours=1), datetime.now(UTC)
        return Bound(self._channel, auth.mint(TOKEN_SECRET, account_id=account_id, subject="ann", roles=[], ttl=hour, now=now))

    async def define(self, audience_id: int, *, state: str = "ACTIVE", account_id: int = ACCOUNT, name: str = "Sports fans") -> None:
        """Say that an audience is so, and wait until the forwarder knows it."""
        self._versions += 1
        audience = audience_pb2.Audience(
            audience_id=audience_id, name=name, state=audience_pb2.AudienceState.Value(f"AUDIENCE_STATE_{state}")
        )
        fact = definition_facts.DefinitionFact(account_id=account_id, version=self._versions, audience=audience)
        subject = definitions_subject(account_id, "audience", audience_id)
        await self.bus.publish(subject, fact.SerializeToString(), message_id=f"{subject}-{self._versions}")
        await self.taken("DEFINITIONS", "forwarder-definitions")

    async def split(self, audience_id: int, ab_test_id: int, variations: Mapping[str, int], *, account_id: int = ACCOUNT) -> None:
        """Say that an audience has a test of these variations, or, without any, that the test was deleted; wait until that is known."""
        self._versions += 1
        told = [
            audience_pb2.Variation(variation_id=place, name=name, percentage=share)
            for place, (name, share) in enumerate(variations.items(), 1)
        ]
        test = audience_pb2.AbTest(ab_test_id=ab_test_id, audience_id=audience_id, name="Offers", variations=told)
        fact = definition_facts.DefinitionFact(account_id=account_id, version=self._versions, ab_test=test)
        subject = definitions_subject(account_id, "abtest", ab_test_id)
        await self.bus.publish(subject, fact.SerializeToString(), message_id=f"{subject}-{self._versions}")
        await self.taken("DEFINITIONS", "forwarder-definitions")

    async def change(self, audience_id: int, round: int, previous: int, *, added: Sequence[int] = (), dropped: Sequence[int] = ()) -> None:
        """Say who came and went in a round."""
        part = evaluator_facts.PartitionChanges(round=round, previous_round=previous, pieces=1, added=added, dropped=dropped)
        fact = evaluator_facts.MembershipChanges(
            account_id=ACCOUNT, audience_id=audience_id, as_of_ms=int(time.time() * 1000), partitions=[part]
        )
        subject = memberships_subject(ACCOUNT, audience_id)
        await self.bus.publish(subject, fact.SerializeToString(), message_id=f"{subject}-{round}-{fact.as_of_ms}")

    async def identify(self, mpid: int, email: str) -> None:
        """Give a person another email, and say so."""
        self.around.emails[mpid] = email
        change = ingest_facts.ProfileChange(mpid=mpid, added_identities=[identity_pb2.Identity(type=EMAIL, value=email)])
        fact = ingest_facts.ProfileChanges(batch_id=email, account_id=ACCOUNT, changes=[change])
        await self.bus.publish(profiles_subject(0), fact.SerializeToString(), message_id=f"{mpid}-{email}")

    async def delete(self, mpid: int) -> None:
        """Say that somebody is nobody any more."""
        self.around.emails.pop(mpid, None)
        fact = ingest_facts.ProfileChanges(
            batch_id=f"gone-{mpid}", account_id=ACCOUNT, changes=[ingest_facts.ProfileChange(mpid=mpid, deleted=True)]
        )
        await self.bus.publish(profiles_subject(0), fact.SerializeToString(), message_id=f"gone-{mpid}")

    async def receipts(self) -> list[ingest_facts.ErasureDone]:
        """Of whom the forwarder said that they are gone."""
        last = (await self.bus.jetstream.stream_info(ERASURES)).state.last_seq
        messages = [await self.bus.jetstream.get_msg(ERASURES, number) for number in range(1, last + 1)]
        return [ingest_facts.ErasureDone.FromString(message.data or b"") for message in messages]

    async def taken(self, stream: str, consumer: str) -> None:
        """Return once a consumer of the forwarder has acknowledged everything."""

        async def done() -> bool:
            info = await self.bus.jetstream.consumer_info(stream, consumer)
            return not info.num_pending and not info.num_ack_pending

        await eventually(done)

    async def configuration(self, **settings: str) -> pb.Configuration:
        """A new one, of the test's partner unless told otherwise."""
        values = {"url": self.partner.url, "secret": SECRET} | settings
        made: pb.Configuration = await self.call.CreateConfiguration(
            rpc.CreateConfigurationRequest(integration_key="webhook", name="Hook", settings=values)
        )
        return made

    async def connected(self, audience_id: int, people: Sequence[int] = (), configuration_id: int = 0) -> pb.Connection:
        """A new connection of an active audience with these people, each with an email."""
        self.around.emails |= {mpid: f"p{mpid}@example.com" for mpid in people}
        self.around.members[audience_id] = (people, {0: 1})
        await self.define(audience_id)
        configuration_id = configuration_id or (await self.configuration()).configuration_id
        made: pb.Connection = await self.call.CreateConnection(
            rpc.CreateConnectionRequest(audience_id=audience_id, configuration_id=configuration_id)
        )
        await eventually(lambda: self.partner.mpids(audience_id) == set(people) and audience_id in self.partner.subscriptions)
        return made

    async def becomes(self, connection_id: int, holds: Callable[[pb.Connection], bool]) -> pb.Connection:
        """The connection, once this holds of it."""
        found: pb.Connection = pb.Connection()

        async def so() -> bool:
            nonlocal found
            found = await self.call.GetConnection(rpc.GetConnectionRequest(connection_id=connection_id))
            return holds(found)

        await eventually(so)
        return found


async def refused(call: Awaitable[Any]) -> RpcFailure:
    """How a call failed, which it must."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)
