"""Each change leaves a fact on the stream DEFINITIONS: the new state whole, under the subject of its thing."""

from __future__ import annotations

from muster.definition.v1 import audience_pb2
from muster.definition.v1 import definition_service_pb2 as pb

from tests.definition.builders import definition, everyone
from tests.definition.conftest import Facts, Home, Service, refused
from tests.fakes.nats_server import NatsServer


async def test_each_thing_has_its_subject_and_its_state_whole(home: Home, facts: Facts) -> None:
    account_id = home.account.account_id
    audience = await home.audience()
    prefix = f"muster.definitions.{account_id}"
    assert (await facts.newest(f"{prefix}.account.{account_id}", 1)).account == home.account
    assert (await facts.newest(f"{prefix}.workspace.{home.workspace.workspace_id}", 1)).workspace == home.workspace
    assert (await facts.newest(f"{prefix}.input.{home.ios.input.input_id}", 1)).input.input == home.ios.input
    fact = await facts.newest(f"{prefix}.audience.{audience.audience_id}", 1)
    assert fact.audience == audience
    assert (fact.account_id, fact.version, fact.change_time_ms) == (account_id, 1, audience.create_time_ms)
    message = await facts.message(f"{prefix}.audience.{audience.audience_id}")
    assert message.headers["Nats-Msg-Id"] == f"audience/{audience.audience_id}/1"
    assert message.headers["Muster-Account"] == str(account_id)


async def test_each_change_grows_the_version_and_the_newest_state_stays(home: Home, facts: Facts) -> None:
    audience = await home.audience()
    subject = f"muster.definitions.{home.account.account_id}.audience.{audience.audience_id}"
    edited = await home.update(audience, definition=definition(everyone()))
    active = await home.activate(edited)
    fact = await facts.newest(subject, 3)
    assert (fact.version, fact.audience) == (3, active)
    assert (fact.audience.state, fact.audience.revision) == (audience_pb2.AUDIENCE_STATE_ACTIVE, 2)
    inactive = await home.audiences.DeactivateAudience(pb.DeactivateAudienceRequest(audience_id=audience.audience_id))
    assert (await facts.newest(subject, 4)).audience == inactive
    deleted = await home.audiences.DeleteAudience(pb.DeleteAudienceRequest(audience_id=audience.audience_id))
    assert (await facts.newest(subject, 5)).audience == deleted


async def test_what_is_refused_or_changes_nothing_leaves_no_fact(service: Service, home: Home, facts: Facts) -> None:
    audience = await home.audience()
    await facts.newest(f"muster.definitions.{home.account.account_id}.audience.{audience.audience_id}", 1)
    before = await facts.count()
    await refused(home.update(audience, "name", name=""))
    await refused(home.update(audience, name="x", etag="v99"))
    assert await home.update(audience, name=audience.name) == audience
    neighbour = await service.operator.accounts.CreateAccount(pb.CreateAccountRequest(name="Next"))
    await facts.newest(f"muster.definitions.{neighbour.account_id}.account.{neighbour.account_id}", 1)
    assert await facts.count() == before + 1


async def test_a_change_made_while_nats_is_down_is_announced_afterwards(home: Home, facts: Facts, nats_server: NatsServer) -> None:
    nats_server.stop()
    audience = await home.audience()
    nats_server.start()
    fact = await facts.newest(f"muster.definitions.{home.account.account_id}.audience.{audience.audience_id}", 1)
    assert fact.audience == audience
