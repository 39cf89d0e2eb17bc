"""Accounts, workspaces and inputs, by gRPC."""

from __future__ import annotations

import asyncio
import hashlib

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from muster.definition.v1 import account_pb2
from muster.definition.v1 import definition_service_pb2 as pb
from muster.ingest.v1 import identity_pb2

from tests.definition.builders import definition, event, last
from tests.definition.conftest import Facts, Home, Service, refused


def update(etag: str, *paths: str, **fields: object) -> pb.UpdateAccountRequest:
    account = account_pb2.Account(etag=etag, **fields)  # type: ignore[arg-type]
    return pb.UpdateAccountRequest(account=account, update_mask=FieldMask(paths=paths))


async def test_the_operator_makes_accounts_and_nobody_else(service: Service) -> None:
    account = await service.operator.accounts.CreateAccount(pb.CreateAccountRequest(name="Acme"))
    assert (account.name, account.look_back_days, account.create_time_ms) == ("Acme", 30, service.clock.now_ms())
    assert account.account_id > 0
    assert account.etag
    assert await service.client(account.account_id).accounts.GetAccount(pb.GetAccountRequest()) == account

    for client in (service.client(account.account_id), service.client(0), service.client(account.account_id, roles=["operator"])):
        failure = await refused(client.accounts.CreateAccount(pb.CreateAccountRequest(name="Other")))
        assert (failure.code, failure.reason) == (grpc.StatusCode.PERMISSION_DENIED, "MISSING_ROLE")


async def test_a_token_of_no_account_finds_none(service: Service) -> None:
    for client in (service.client(999), service.operator):
        failure = await refused(client.accounts.GetAccount(pb.GetAccountRequest()))
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "ACCOUNT_NOT_FOUND")
        failure = await refused(client.accounts.CreateWorkspace(pb.CreateWorkspaceRequest(name="Shop")))
        assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "ACCOUNT_NOT_FOUND")


async def test_an_account_is_updated_by_mask_and_etag(home: Home) -> None:
    renamed = await home.accounts.UpdateAccount(update(home.account.etag, "name", name="Acme Inc", look_back_days=7))
    assert (renamed.name, renamed.look_back_days) == ("Acme Inc", 30)
    assert renamed.etag != home.account.etag

    stale = await refused(home.accounts.UpdateAccount(update(home.account.etag, "name", name="Lost")))
    assert (stale.code, stale.reason) == (grpc.StatusCode.ABORTED, "STALE_ETAG")
    missing = await refused(home.accounts.UpdateAccount(update("", "name", name="Lost")))
    assert [(v.field, v.reason) for v in missing.violations] == [("account.etag", "MISSING")]
    unknown = await refused(home.accounts.UpdateAccount(update(renamed.etag, "name", "create_time_ms", "colour")))
    assert [(v.field, v.reason) for v in unknown.violations] == [
        ("update_mask.paths[1]", "UNKNOWN_FIELD"),
        ("update_mask.paths[2]", "UNKNOWN_FIELD"),
    ]
    wrong = await refused(home.accounts.UpdateAccount(update(renamed.etag, name="\n", look_back_days=151)))
    assert [(v.field, v.reason) for v in wrong.violations] == [("name", "NAME_EMPTY"), ("look_back_days", "OUT_OF_RANGE")]
    # Without a mask, what is set; and what differs in nothing changes nothing.
    assert (await home.accounts.UpdateAccount(update(renamed.etag, look_back_days=60))).look_back_days == 60
    again = await home.accounts.GetAccount(pb.GetAccountRequest())
    assert await home.accounts.UpdateAccount(update(again.etag, "name", name="Acme Inc")) == again


async def test_an_account_has_its_own_rules_of_who_is_who_until_they_are_taken_away(home: Home, facts: Facts) -> None:
    email = account_pb2.IdentityRule(type=identity_pb2.IDENTITY_TYPE_EMAIL, max_values=1)
    phone = account_pb2.IdentityRule(type=identity_pb2.IDENTITY_TYPE_MOBILE_NUMBER, moves=True)
    rules = account_pb2.IdentityRules(rules=[email, phone], keep_apart=True)
    assert not home.account.HasField("identity_rules")
    changed = await home.accounts.UpdateAccount(update(home.account.etag, identity_rules=rules))
    assert changed.identity_rules == rules
    assert await home.accounts.GetAccount(pb.GetAccountRequest()) == changed
    subject = f"muster.definitions.{home.account.account_id}.account.{home.account.account_id}"
    assert (await facts.newest(subject, 2)).account == changed

    twice = account_pb2.IdentityRules(rules=[email, phone, email])
    wrong = await refused(home.accounts.UpdateAccount(update(changed.etag, identity_rules=twice)))
    assert [(v.field, v.reason) for v in wrong.violations] == [("identity_rules.rules[2].type", "NOT_APPLICABLE")]

    usual = await home.accounts.UpdateAccount(update(changed.etag, "identity_rules"))
    assert not usual.HasField("identity_rules")


async def test_the_look_back_stays_as_long_as_active_audiences_need(home: Home) -> None:
    active = await home.activate(await home.audience(definition=definition(event(when=last(20)))))
    await home.audience("Longer", definition=definition(event(when=last(25))))

    def shorten(days: int) -> pb.UpdateAccountRequest:
        return pb.UpdateAccountRequest(account=account_pb2.Account(etag=home.account.etag, look_back_days=days))

    failure = await refused(home.accounts.UpdateAccount(shorten(19)))
    assert (failure.code, failure.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "WINDOW_PAST_LOOK_BACK")
    assert f"{active.audience_id} (New here)" in failure.message
    assert (await home.accounts.UpdateAccount(shorten(20))).look_back_days == 20


async def test_a_create_repeated_with_its_key_makes_one_thing(service: Service, home: Home) -> None:
    request = pb.CreateAccountRequest(name="Twice", idempotency_key="a1")
    account = await service.operator.accounts.CreateAccount(request)
    assert await service.operator.accounts.CreateAccount(request) == account

    workspace = pb.CreateWorkspaceRequest(name="Games", idempotency_key="a1")
    first = await home.accounts.CreateWorkspace(workspace)
    assert await home.accounts.CreateWorkspace(workspace) == first
    assert await home.accounts.CreateWorkspace(pb.CreateWorkspaceRequest(name="Games")) != first

    failure = await refused(home.accounts.CreateWorkspace(pb.CreateWorkspaceRequest(name="Other", idempotency_key="a1")))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "IDEMPOTENCY_KEY_REUSED")
    failure = await refused(home.accounts.CreateWorkspace(pb.CreateWorkspaceRequest(name="Other", idempotency_key="a\0")))
    assert [(v.field, v.reason) for v in failure.violations] == [("idempotency_key", "CONTROL_CHARACTER")]


async def test_the_key_of_one_account_is_nothing_to_another(service: Service, home: Home) -> None:
    neighbour = await service.home(name="Neighbour")
    request = pb.CreateWorkspaceRequest(name="Games", idempotency_key="same")
    mine, theirs = await home.accounts.CreateWorkspace(request), await neighbour.accounts.CreateWorkspace(request)
    assert mine.workspace_id != theirs.workspace_id


async def test_creates_with_one_key_at_once_make_one_thing(service: Service, home: Home) -> None:
    request = pb.CreateWorkspaceRequest(name="Games", idempotency_key="race")
    made = await asyncio.gather(*(home.accounts.CreateWorkspace(request) for _ in range(8)))
    assert len({workspace.workspace_id for workspace in made}) == 1

    async def create() -> int | str:
        try:
            account = await service.operator.accounts.CreateAccount(pb.CreateAccountRequest(name="Race", idempotency_key="race"))
        except grpc.aio.AioRpcError as error:
            return str(error.code().name)
        return int(account.account_id)

    answers = set(await asyncio.gather(*(create() for _ in range(8)))) - {"ABORTED"}
    assert len(answers) == 1
    assert await create() in answers


async def test_an_input_has_a_key_and_a_secret_that_is_told_once(home: Home, facts: Facts) -> None:
    ios, secret = home.ios.input, home.ios.api_secret
    assert (ios.workspace_id, ios.kind, ios.platform) == (
        home.workspace.workspace_id,
        account_pb2.INPUT_KIND_PLATFORM,
        account_pb2.PLATFORM_IOS,
    )
    assert ios.state == account_pb2.INPUT_STATE_ACTIVE
    assert len(ios.api_key) > 20
    assert len(secret) > 40
    assert ios.api_key != home.feed.input.api_key
    listed = await home.accounts.ListInputs(pb.ListInputsRequest())
    assert list(listed.inputs) == [ios, home.feed.input]

    fact = await facts.newest(f"muster.definitions.{home.account.account_id}.input.{ios.input_id}", 1)
    assert fact.input.input == ios
    assert fact.input.api_secret_sha256 == hashlib.sha256(secret.encode()).digest()


async def test_a_repeated_create_of_an_input_does_not_tell_the_secret_again(home: Home) -> None:
    request = pb.CreateInputRequest(
        workspace_id=home.workspace.workspace_id, name="Feed", kind=account_pb2.INPUT_KIND_FEED, idempotency_key="k"
    )
    first = await home.accounts.CreateInput(request)
    again = await home.accounts.CreateInput(request)
    assert first.api_secret
    assert (again.input, again.api_secret) == (first.input, "")


async def test_a_rotated_key_is_new_and_a_stale_etag_rotates_nothing(home: Home, facts: Facts) -> None:
    before = home.ios.input
    rotated = await home.accounts.RotateInputKey(pb.RotateInputKeyRequest(input_id=before.input_id, etag=before.etag))
    assert rotated.input.input_id == before.input_id
    assert rotated.input.api_key != before.api_key
    assert rotated.api_secret not in ("", home.ios.api_secret)
    failure = await refused(home.accounts.RotateInputKey(pb.RotateInputKeyRequest(input_id=before.input_id, etag=before.etag)))
    assert (failure.code, failure.reason) == (grpc.StatusCode.ABORTED, "STALE_ETAG")
    fact = await facts.newest(f"muster.definitions.{home.account.account_id}.input.{before.input_id}", 2)
    assert fact.input.input == rotated.input
    assert fact.input.api_secret_sha256 == hashlib.sha256(rotated.api_secret.encode()).digest()


async def test_an_input_is_updated_by_mask_and_etag_and_told(service: Service, home: Home, facts: Facts) -> None:
    before = home.ios.input
    assert not before.allow_key_only

    def update(etag: str, *paths: str, **fields: object) -> pb.UpdateInputRequest:
        changed = account_pb2.Input(input_id=before.input_id, etag=etag, **fields)  # type: ignore[arg-type]
        return pb.UpdateInputRequest(input=changed, update_mask=FieldMask(paths=paths))

    public = await home.accounts.UpdateInput(update(before.etag, "allow_key_only", allow_key_only=True, name="left out"))
    assert (public.allow_key_only, public.name, public.api_key) == (True, before.name, before.api_key)
    fact = await facts.newest(f"muster.definitions.{home.account.account_id}.input.{before.input_id}", 2)
    assert fact.input.input == public
    assert fact.input.api_secret_sha256 == hashlib.sha256(home.ios.api_secret.encode()).digest()
    renamed = await home.accounts.UpdateInput(update(public.etag, name="Phone"))
    assert (renamed.name, renamed.allow_key_only) == ("Phone", True)
    # What differs in nothing changes nothing.
    assert await home.accounts.UpdateInput(update(renamed.etag, name="Phone")) == renamed
    private = await home.accounts.UpdateInput(update(renamed.etag, "*", name="Phone"))
    assert not private.allow_key_only

    stale = await refused(home.accounts.UpdateInput(update(before.etag, name="Lost")))
    assert (stale.code, stale.reason) == (grpc.StatusCode.ABORTED, "STALE_ETAG")
    unknown = await refused(home.accounts.UpdateInput(update(private.etag, "api_key", api_key="mine")))
    assert [(v.field, v.reason) for v in unknown.violations] == [("update_mask.paths[0]", "UNKNOWN_FIELD")]
    empty = await refused(home.accounts.UpdateInput(update(private.etag, "name")))
    assert [(v.field, v.reason) for v in empty.violations] == [("name", "NAME_EMPTY")]
    stranger = (await service.home(name="Neighbour")).accounts
    failure = await refused(stranger.UpdateInput(update(private.etag, name="Mine")))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_INPUT")


async def test_what_an_input_may_send_is_bounded_by_what_can_be_counted(home: Home) -> None:
    request = pb.CreateInputRequest(
        workspace_id=home.workspace.workspace_id, name="Site", kind=account_pb2.INPUT_KIND_FEED, events_per_second=100, events_per_day=10**6
    )
    made = (await home.accounts.CreateInput(request)).input
    assert (made.events_per_second, made.events_per_day) == (100, 10**6)
    changed = account_pb2.Input(input_id=made.input_id, etag=made.etag, events_per_second=0, events_per_day=2)
    after = await home.accounts.UpdateInput(
        pb.UpdateInputRequest(input=changed, update_mask=FieldMask(paths=["events_per_second", "events_per_day"]))
    )
    assert (after.events_per_second, after.events_per_day, after.name) == (0, 2, "Site")
    request.events_per_day = 10**12 + 1
    failure = await refused(home.accounts.CreateInput(request))
    assert [(v.field, v.reason) for v in failure.violations] == [("events_per_day", "OUT_OF_RANGE")]


async def test_an_input_can_be_made_with_a_key_that_sends_alone(home: Home) -> None:
    request = pb.CreateInputRequest(
        workspace_id=home.workspace.workspace_id, name="Site", kind=account_pb2.INPUT_KIND_FEED, allow_key_only=True
    )
    assert (await home.accounts.CreateInput(request)).input.allow_key_only


async def test_a_deactivated_input_stays_so(home: Home, facts: Facts) -> None:
    request = pb.DeactivateInputRequest(input_id=home.feed.input.input_id)
    inactive = await home.accounts.DeactivateInput(request)
    assert inactive.state == account_pb2.INPUT_STATE_INACTIVE
    assert await home.accounts.DeactivateInput(request) == inactive
    fact = await facts.newest(f"muster.definitions.{home.account.account_id}.input.{inactive.input_id}", 2)
    assert fact.input.input == inactive


async def test_inputs_are_of_a_kind_a_platform_and_a_workspace(home: Home) -> None:
    def create(**fields: object) -> pb.CreateInputRequest:
        return pb.CreateInputRequest(**{"workspace_id": home.workspace.workspace_id, "name": "x"} | fields)  # type: ignore[arg-type]

    failure = await refused(home.accounts.CreateInput(create(kind=account_pb2.INPUT_KIND_PLATFORM)))
    assert [(v.field, v.reason) for v in failure.violations] == [("platform", "MISSING")]
    failure = await refused(home.accounts.CreateInput(create(kind=account_pb2.INPUT_KIND_FEED, platform=account_pb2.PLATFORM_WEB)))
    assert [(v.field, v.reason) for v in failure.violations] == [("platform", "NOT_APPLICABLE")]
    failure = await refused(home.accounts.CreateInput(create(kind=account_pb2.INPUT_KIND_FEED, workspace_id=9_999)))
    assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_WORKSPACE")
    failure = await refused(home.accounts.CreateInput(create()))
    assert failure.code == grpc.StatusCode.INVALID_ARGUMENT
    assert failure.violations[0].field == "kind"


async def test_names_are_one_line_of_up_to_100_characters_not_bytes(home: Home) -> None:
    for name in ("a\0b", "a\u2028b", "a\x7fb", " ", "x" * 101, "\U0001f642" * 101):
        failure = await refused(home.accounts.CreateWorkspace(pb.CreateWorkspaceRequest(name=name)))
        assert (failure.code, failure.violations[0].field) == (grpc.StatusCode.INVALID_ARGUMENT, "name")
    name = "ü\U0001f642" * 50
    assert (await home.accounts.CreateWorkspace(pb.CreateWorkspaceRequest(name=name))).name == name


async def test_lists_page_and_their_tokens_are_of_one_list(home: Home) -> None:
    for number in range(4):
        await home.accounts.CreateWorkspace(pb.CreateWorkspaceRequest(name=f"W{number}"))
    names, token = list[str](), ""
    while True:
        page = await home.accounts.ListWorkspaces(pb.ListWorkspacesRequest(page_size=2, page_token=token))
        names += [workspace.name for workspace in page.workspaces]
        token = page.next_page_token
        if not token:
            break
        foreign = await refused(home.accounts.ListInputs(pb.ListInputsRequest(page_token=token)))
        assert (foreign.code, foreign.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")
    assert names == ["Shop", "W0", "W1", "W2", "W3"]
    inputs = await home.accounts.ListInputs(pb.ListInputsRequest(workspace_id=home.workspace.workspace_id, page_size=1))
    assert list(inputs.inputs) == [home.ios.input]
    assert inputs.next_page_token


async def test_another_account_s_things_do_not_exist(service: Service, home: Home) -> None:
    stranger = (await service.home(name="Stranger")).accounts
    input_id, workspace_id = home.ios.input.input_id, home.workspace.workspace_id
    calls = {
        "UNKNOWN_INPUT": [
            stranger.RotateInputKey(pb.RotateInputKeyRequest(input_id=input_id)),
            stranger.DeactivateInput(pb.DeactivateInputRequest(input_id=input_id)),
        ],
        "UNKNOWN_WORKSPACE": [
            stranger.ListInputs(pb.ListInputsRequest(workspace_id=workspace_id)),
            stranger.CreateInput(pb.CreateInputRequest(workspace_id=workspace_id, name="x", kind=account_pb2.INPUT_KIND_FEED)),
        ],
    }
    for reason, tried in calls.items():
        for call in tried:
            failure = await refused(call)
            assert (failure.code, failure.reason) == (grpc.StatusCode.NOT_FOUND, reason)
    listed = await stranger.ListInputs(pb.ListInputsRequest())
    assert input_id not in [data_input.input_id for data_input in listed.inputs]
