"""ConfigurationService over gRPC."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from muster.forwarder.v1 import connection_pb2 as pb
from muster.forwarder.v1 import forwarder_service_pb2 as rpc
from muster.operations.v1 import audit_service_pb2 as audit_pb

from services.chassis import log as logs
from services.chassis.audit import Verifier
from tests.fakes.waiting import eventually
from tests.fakes.webhook_partner import Status
from tests.forwarder.desk import SECRET
from tests.forwarder.office import Office, refused

OTHER_SECRET = "another secret of the partner's"


def create(office: Office, key: str = "", name: str = "Hook", **settings: str) -> rpc.CreateConfigurationRequest:
    values = {"url": office.partner.url, "secret": SECRET} | settings
    return rpc.CreateConfigurationRequest(integration_key="webhook", name=name, settings=values, idempotency_key=key)


async def test_the_directory_lists_each_partner_with_its_forms(office: Office) -> None:
    found = (await office.call.ListIntegrations(rpc.ListIntegrationsRequest())).integrations
    assert [one.integration_key for one in found] == ["webhook"]
    lines = {line.key: line for line in found[0].configuration_settings}
    assert lines["url"].required
    assert lines["secret"].type == pb.SETTING_TYPE_SECRET
    assert list(lines["encoding"].choices) == ["raw", "md5", "sha1", "sha256"]
    assert lines["batch_size"].default_value == "100"
    assert all(line.label and line.help for line in lines.values())
    assert found[0].on_delete


async def test_a_configuration_is_made_read_and_listed_without_its_secret(office: Office) -> None:
    made = await office.call.CreateConfiguration(create(office, batch_size="50"))
    assert dict(made.settings) == {"url": office.partner.url, "batch_size": "50"}
    assert made.configuration_id
    assert made.etag
    assert made.create_time_ms == made.update_time_ms > 0
    assert await office.call.GetConfiguration(rpc.GetConfigurationRequest(configuration_id=made.configuration_id)) == made
    listed = await office.call.ListConfigurations(rpc.ListConfigurationsRequest())
    assert list(listed.configurations) == [made]


async def test_a_list_of_configurations_comes_in_pages(office: Office) -> None:
    made = [(await office.configuration()).configuration_id for _ in range(5)]
    seen, token = list[int](), ""
    while True:
        page = await office.call.ListConfigurations(rpc.ListConfigurationsRequest(page_size=2, page_token=token))
        assert len(page.configurations) <= 2
        seen += [one.configuration_id for one in page.configurations]
        if not (token := page.next_page_token):
            break
    assert seen == made
    assert (await refused(office.call.ListConfigurations(rpc.ListConfigurationsRequest(page_token="x")))).violations[
        0
    ].field == "page_token"


async def test_every_fault_of_a_form_is_told_at_once_with_its_place(office: Office) -> None:
    values = {"secret": "short", "encoding": "rot13", "batch_size": "5000", "colour": "red"}
    failure = await refused(
        office.call.CreateConfiguration(rpc.CreateConfigurationRequest(integration_key="webhook", name="Hook", settings=values))
    )
    assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
    assert {(one.field, one.reason) for one in failure.violations} == {
        ('settings["url"]', "SETTING_MISSING"),
        ('settings["secret"]', "SETTING_INVALID"),
        ('settings["encoding"]', "SETTING_INVALID"),
        ('settings["batch_size"]', "SETTING_INVALID"),
        ('settings["colour"]', "UNKNOWN_SETTING"),
    }


@pytest.mark.parametrize("name", ["", "   ", "x" * 101, "a\0b"])
async def test_a_name_has_from_1_to_100_characters(office: Office, name: str) -> None:
    failure = await refused(office.call.CreateConfiguration(create(office, name=name)))
    assert (failure.code, failure.violations[0].field) == (grpc.StatusCode.INVALID_ARGUMENT, "name")


async def test_an_integration_that_does_not_exist_is_not_found(office: Office) -> None:
    failure = await refused(office.call.CreateConfiguration(rpc.CreateConfigurationRequest(integration_key="fax", name="Fax")))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_INTEGRATION")


async def test_a_request_that_is_repeated_under_its_key_makes_one_configuration(either_office: Office) -> None:
    office = either_office
    first = await office.call.CreateConfiguration(create(office, key="k1"))
    assert await office.call.CreateConfiguration(create(office, key="k1")) == first
    failure = await refused(office.call.CreateConfiguration(create(office, key="k1", name="Other")))
    assert (failure.code, failure.reason) == (grpc.StatusCode.ALREADY_EXISTS, "IDEMPOTENCY_KEY_REUSED")
    at_once = await asyncio.gather(*[office.call.CreateConfiguration(create(office, key="k2")) for _ in range(5)])
    assert len({one.configuration_id for one in at_once}) == 1
    # A key is its account's.
    other = await office.caller(8).CreateConfiguration(create(office, key="k1"))
    assert other.configuration_id != first.configuration_id


async def test_an_update_changes_what_its_mask_names_and_keeps_the_secret(office: Office) -> None:
    made = await office.configuration(batch_size="50")

    async def update(mask: list[str], name: str = "", etag: str = "", **settings: str) -> pb.Configuration:
        told = pb.Configuration(configuration_id=made.configuration_id, name=name, settings=settings, etag=etag)
        found: pb.Configuration = await office.call.UpdateConfiguration(
            rpc.UpdateConfigurationRequest(configuration=told, update_mask=FieldMask(paths=mask))
        )
        return found

    named = await update(["name"], name="Better", etag=made.etag)
    assert (named.name, dict(named.settings)) == ("Better", dict(made.settings))
    one = await update(["settings.batch_size"], batch_size="7")
    assert dict(one.settings) == {"url": office.partner.url, "batch_size": "7"}
    whole = await update(["settings"], url=office.partner.url)
    assert dict(whole.settings) == {"url": office.partner.url}
    tested = await office.call.TestConfiguration(rpc.TestConfigurationRequest(configuration_id=made.configuration_id))
    assert tested.works
    stale = await refused(update(["name"], name="Worse", etag=made.etag))
    assert (stale.code, stale.reason) == (grpc.StatusCode.ABORTED, "STALE_ETAG")
    assert (await refused(update(["secrets"]))).violations[0].field == "update_mask"
    assert (await refused(update(["settings.secret"], secret="short"))).violations[0].field == 'configuration.settings["secret"]'


async def test_a_changed_configuration_is_followed_by_what_the_partner_has(office: Office) -> None:
    made = await office.configuration()
    await office.connected(1, [1, 2], made.configuration_id)
    told = pb.Configuration(configuration_id=made.configuration_id, settings={"encoding": "sha256"})
    await office.call.UpdateConfiguration(
        rpc.UpdateConfigurationRequest(configuration=told, update_mask=FieldMask(paths=["settings.encoding"]))
    )
    await eventually(lambda: office.partner.counts.updates == 2)
    assert {encoding for _, _, encoding, _ in office.partner.members[1][1]} == {"sha256"}


async def test_a_configuration_with_connections_is_not_deleted(office: Office) -> None:
    made = await office.configuration()
    connection = await office.connected(1, [1], made.configuration_id)
    delete = rpc.DeleteConfigurationRequest(configuration_id=made.configuration_id)
    failure = await refused(office.call.DeleteConfiguration(delete))
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CONFIGURATION_IN_USE")
    await office.call.DeleteConnection(rpc.DeleteConnectionRequest(connection_id=connection.connection_id))
    await office.call.DeleteConfiguration(delete)
    failure = await refused(office.call.GetConfiguration(rpc.GetConfigurationRequest(configuration_id=made.configuration_id)))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "CONFIGURATION_NOT_FOUND")
    # The last message of the connection is signed with the secret all the same.
    await eventually(lambda: (1, "delete") in office.partner.subscription_requests)


async def test_another_accounts_configuration_does_not_exist(office: Office) -> None:
    made = await office.configuration()
    other = office.caller(8)
    id = made.configuration_id
    for call in (
        other.GetConfiguration(rpc.GetConfigurationRequest(configuration_id=id)),
        other.UpdateConfiguration(rpc.UpdateConfigurationRequest(configuration=pb.Configuration(configuration_id=id, name="Mine"))),
        other.DeleteConfiguration(rpc.DeleteConfigurationRequest(configuration_id=id)),
        other.TestConfiguration(rpc.TestConfigurationRequest(configuration_id=id)),
        other.ResumeConfiguration(rpc.ResumeConfigurationRequest(configuration_id=id)),
        other.BulkCreateConnections(rpc.BulkCreateConnectionsRequest(audience_ids=[1], configuration_id=id)),
    ):
        failure = await refused(call)
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "CONFIGURATION_NOT_FOUND")
    assert not (await other.ListConfigurations(rpc.ListConfigurationsRequest())).configurations
    assert (await refused(office.caller(0).ListConfigurations(rpc.ListConfigurationsRequest()))).code is grpc.StatusCode.UNAUTHENTICATED


async def test_a_test_says_whether_the_partner_takes_the_settings(office: Office) -> None:
    def test(**settings: str) -> Any:
        values = {"url": office.partner.url, "secret": SECRET} | settings
        return office.call.TestConfiguration(rpc.TestConfigurationRequest(integration_key="webhook", settings=values))

    assert (await test()).works
    wrong = await test(secret=OTHER_SECRET)
    assert (wrong.works, wrong.cause, wrong.message) == (False, pb.FAULT_CAUSE_AUTHENTICATION, "401 Unauthorized: bad signature")
    away = await test(url="http://127.0.0.1:9/")
    assert (away.works, away.cause) == (False, pb.FAULT_CAUSE_PARTNER_DOWN)
    assert (await refused(test(url="nowhere"))).violations[0].field == 'settings["url"]'


async def test_a_secret_is_never_in_an_answer_an_error_or_the_log(
    office: Office, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name in logs._QUIET:
        caplog.set_level(logging.WARNING, logger=name)
    made = await office.configuration()
    connection = await office.connected(1, [1], made.configuration_id)
    office.partner.always = Status(403, "who are you")
    told = pb.Configuration(configuration_id=made.configuration_id, settings={"secret": OTHER_SECRET})
    update = rpc.UpdateConfigurationRequest(configuration=told, update_mask=FieldMask(paths=["settings.secret"]))
    answers = [made, await office.call.UpdateConfiguration(update)]
    office.partner.secret = OTHER_SECRET
    office.around.emails[2] = "somebody@example.com"
    await office.change(1, 2, 1, added=[2])
    answers.append(await office.becomes(connection.connection_id, lambda one: one.state == pb.CONNECTION_STATE_FAULTED))
    answers.append(await office.call.ListConfigurations(rpc.ListConfigurationsRequest()))
    answers.append(await office.call.ListDeliveries(rpc.ListDeliveriesRequest(connection_id=connection.connection_id)))
    failure = await refused(office.call.CreateConfiguration(create(office, encoding="rot13", secret=OTHER_SECRET)))
    said = "".join(str(answer) for answer in answers) + str(failure)
    logged = "".join(capfd.readouterr()) + caplog.text
    assert "delivery_given_up" in logged
    for secret in (SECRET, OTHER_SECRET, "somebody@example.com", "p1@example.com"):
        assert secret not in said
        assert secret not in logged


async def test_private_targets_are_refused_where_they_are_not_allowed(
    settings_of: Any, bus: Any, office: Office, partner: Any, tmp_path: Any
) -> None:
    strict = Office(
        settings_of,
        bus,
        partner,
        office.around,
        allow_private_targets=False,
        instance="strict",
        database_url=f"sqlite+aiosqlite:///{tmp_path / 'strict.db'}",
    )
    await strict.start()
    try:
        for url in (partner.url, "https://10.0.0.1/", "https://[::1]/", "https://localhost/"):
            failure = await refused(strict.configuration(url=url))
            assert "TARGET_REFUSED" in {one.reason for one in failure.violations}
        # The name says nothing; what it resolves to does.
        said = await strict.call.TestConfiguration(
            rpc.TestConfigurationRequest(integration_key="webhook", settings={"url": "https://localhost.localdomain./", "secret": SECRET})
        )
        assert not said.works
    finally:
        await strict.stop()


async def test_changes_are_in_the_audit_log_without_secrets(either_office: Office) -> None:
    office = either_office
    made = await office.connected(1, [1])
    await office.call.PauseConnection(rpc.PauseConnectionRequest(connection_id=made.connection_id))
    configuration = pb.Configuration(configuration_id=made.configuration_id, name="Other", settings={"secret": "another secret of theirs"})
    request = rpc.UpdateConfigurationRequest(configuration=configuration)
    request.update_mask.paths.extend(["name", "settings.secret"])
    await office.call.UpdateConfiguration(request)
    await office.call.DeleteConnection(rpc.DeleteConnectionRequest(connection_id=made.connection_id))
    await office.call.DeleteConfiguration(rpc.DeleteConfigurationRequest(configuration_id=made.configuration_id))
    verifier, told = Verifier(), list[dict[str, Any]]()
    async for page in office.call.ExportAuditEntries(audit_pb.ExportAuditEntriesRequest()):
        for one in page.entries:
            assert verifier.take(one.entry, one.hash), verifier.fault
            assert "another secret" not in one.entry
            assert SECRET not in one.entry
            told.append(json.loads(one.entry))
    steps = [(one["kind"], one["method"].rpartition("/")[2], (one["after"] or {}).get("state", "")) for one in told]
    assert steps == [
        ("configuration", "CreateConfiguration", ""),
        ("connection", "CreateConnection", "CONNECTION_STATE_SENDING"),
        ("connection", "PauseConnection", "CONNECTION_STATE_PAUSED"),
        ("configuration", "UpdateConfiguration", ""),
        ("connection", "UpdateConfiguration", "CONNECTION_STATE_PAUSED"),
        ("connection", "DeleteConnection", "CONNECTION_STATE_DELETED"),
        ("configuration", "DeleteConfiguration", ""),
    ]
    assert (told[3]["before"]["name"], told[3]["after"]["name"]) == ("Hook", "Other")
    assert told[-1]["after"] is None
