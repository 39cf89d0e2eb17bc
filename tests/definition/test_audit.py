"""What the audit log keeps of changes of definitions."""

from __future__ import annotations

import json
from typing import Any

from muster.definition.v1 import audience_pb2
from muster.definition.v1 import definition_service_pb2 as pb
from muster.operations.v1 import audit_service_pb2 as audit_pb

from services.chassis.audit import Verifier
from tests.definition.builders import all_of, attribute, definition, equals
from tests.definition.conftest import Home, Service, refused
from tests.definition.others import split
from tests.fakes.waiting import eventually


async def entries(home: Home, **search: Any) -> list[dict[str, Any]]:
    """Those that are found, the newest first."""
    said = await home.client.audit.ListAuditEntries(audit_pb.ListAuditEntriesRequest(**search))
    return [json.loads(one.entry) for one in said.entries]


async def test_each_change_is_kept_with_who_and_both_states(service: Service, home: Home) -> None:
    audience = await home.audience("Old", tags=["a"])
    changed = await home.update(audience, name="New", tags=["a", "b"])
    await home.activate(changed)
    number = audience.audience_id
    found = await entries(home, kind="audience", thing_id=number)
    assert [one["method"].rpartition("/")[2] for one in found] == ["ActivateAudience", "UpdateAudience", "CreateAudience"]
    assert [one["actor"] for one in found] == ["ann"] * 3
    assert (found[2]["before"], found[2]["after"]["name"]) == (None, "Old")
    assert (found[1]["before"]["name"], found[1]["after"]["name"], found[1]["after"]["tags"]) == ("Old", "New", ["a", "b"])
    assert found[0]["after"]["state"] == "AUDIENCE_STATE_ACTIVE"
    assert "127.0.0.1" in found[0]["address"]
    assert found[0]["agent"]
    assert found[0]["trace"]
    # What changes nothing leaves nothing.
    await home.activate(await home.audiences.GetAudience(pb.GetAudienceRequest(audience_id=number)))
    assert len(await entries(home, kind="audience", thing_id=number)) == 3


async def test_no_secret_is_in_it_and_the_whole_chain_holds(service: Service, home: Home) -> None:
    await split(home, (await home.audience()).audience_id)
    await home.accounts.RotateInputKey(pb.RotateInputKeyRequest(input_id=home.ios.input.input_id))
    verifier, kinds = Verifier(), set[str]()
    async for page in home.client.audit.ExportAuditEntries(audit_pb.ExportAuditEntriesRequest()):
        for one in page.entries:
            assert verifier.take(one.entry, one.hash), verifier.fault
            assert home.ios.api_secret not in one.entry
            assert "sha256" not in one.entry
            kinds.add(json.loads(one.entry)["kind"])
    assert kinds == {"account", "workspace", "input", "audience", "abtest"}
    head = await home.client.audit.GetAuditHead(audit_pb.GetAuditHeadRequest())
    assert (head.number, head.hash) == (verifier.number, verifier.hash)


async def test_what_a_schedule_does_is_kept_as_that(service: Service, home: Home) -> None:
    audience = await home.audience()
    schedule = audience_pb2.Schedule(activate_time_ms=service.clock.now_ms() + 1_000)
    await home.audiences.ScheduleAudience(pb.ScheduleAudienceRequest(audience_id=audience.audience_id, schedule=schedule))
    await service.clock.advance(2)

    async def done() -> bool:
        return len(await entries(home, actor="schedule of ann")) == 1

    await eventually(done)
    (entry,) = await entries(home, actor="schedule of ann")
    assert (entry["method"], entry["after"]["state"]) == ("", "AUDIENCE_STATE_ACTIVE")


async def test_pages_and_another_account(service: Service, home: Home) -> None:
    for number in range(5):
        await home.audience(f"a{number}")
    stranger = await service.home()
    found, token = list[int](), ""
    while True:
        said = await home.client.audit.ListAuditEntries(audit_pb.ListAuditEntriesRequest(kind="audience", page_size=2, page_token=token))
        found += [one.number for one in said.entries]
        token = said.next_page_token
        if not token:
            break
    assert len(found) == 5
    assert found == sorted(found, reverse=True)
    assert await entries(stranger, kind="audience") == []
    failure = await refused(home.client.audit.ListAuditEntries(audit_pb.ListAuditEntriesRequest(page_token="x")))
    assert failure.reason == "INVALID_PAGE_TOKEN"


async def test_entries_of_large_definitions_are_listed_in_pages_that_fit(home: Home) -> None:
    large = definition(all_of(*(attribute(f"a{number}", equals("x" * 900)) for number in range(450))))
    audience = await home.audience("Large", definition=large)
    for number in range(25):
        audience = await home.update(audience, name=f"Large {number}")
    found, token = list[int](), ""
    while True:
        said = await home.client.audit.ListAuditEntries(audit_pb.ListAuditEntriesRequest(kind="audience", page_token=token))
        found += [one.number for one in said.entries]
        token = said.next_page_token
        if not token:
            break
    assert len(found) == 26
    assert found == sorted(set(found), reverse=True)
