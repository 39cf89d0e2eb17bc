"""What other services say, and what an audience has beside itself."""

from __future__ import annotations

import uuid

from muster.definition.v1 import audience_pb2
from muster.definition.v1 import definition_service_pb2 as pb
from muster.forwarder.v1 import connection_pb2
from muster.forwarder.v1 import facts_pb2 as forwarder_facts
from muster.sharing.v1 import facts_pb2 as sharing_facts
from muster.sharing.v1 import sharing_service_pb2

from services.chassis.bus import Bus
from services.chassis.streams import SHARES, account_subject, connections_subject
from tests.definition.conftest import Home


async def tell(
    bus: Bus,
    home: Home,
    audience_id: int,
    *,
    connection_id: int,
    version: int = 1,
    state: int = connection_pb2.CONNECTION_STATE_SENDING,
    fault: str = "",
    account_id: int = 0,
) -> None:
    """Speak for the forwarder."""
    account_id = account_id or home.account.account_id
    told = connection_pb2.Connection(
        connection_id=connection_id, audience_id=audience_id, configuration_id=3, state=connection_pb2.ConnectionState.ValueType(state)
    )
    if fault:
        told.fault.message = fault
    fact = forwarder_facts.ConnectionFact(
        account_id=account_id, version=version, connection=told, integration_key="webhook", configuration_name="Hook"
    )
    await bus.publish(connections_subject(account_id, connection_id), fact.SerializeToString(), message_id=uuid.uuid4().hex)


async def offer(bus: Bus, home: Home, audience_id: int, *, share_id: int, version: int = 1, state: int, received: bool = False) -> None:
    """Speak for the sharing service, to the account that offers, or to the one that receives."""
    other = home.account.account_id + 1_000_000
    fact = sharing_facts.ShareFact(
        account_id=other if received else home.account.account_id,
        version=version,
        initiator_account_id=home.account.account_id,
        receiver_account_id=other,
        share=sharing_service_pb2.Share(
            share_id=share_id, audience_id=audience_id, receiver_name="Globex", state=sharing_service_pb2.ShareState.ValueType(state)
        ),
    )
    await bus.publish(account_subject(SHARES, fact.account_id), fact.SerializeToString(), message_id=uuid.uuid4().hex)


async def split(home: Home, audience_id: int) -> audience_pb2.AbTest:
    variations = [audience_pb2.Variation(name="Blue", percentage=10)]
    test = audience_pb2.AbTest(audience_id=audience_id, name="Offers", variations=variations)
    made: audience_pb2.AbTest = await home.client.ab_tests.CreateAbTest(pb.CreateAbTestRequest(ab_test=test))
    return made
