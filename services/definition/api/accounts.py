"""Accounts, their workspaces and inputs, by gRPC."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from muster.definition.v1 import account_pb2
from muster.definition.v1 import definition_service_pb2 as pb
from muster.definition.v1 import definition_service_pb2_grpc as pb_grpc

from services.chassis.auth import OPERATOR_ACCOUNT, account_of, require_operator
from services.chassis.clock import Clock
from services.chassis.database import uncut
from services.chassis.outbox import Relay

from ..domain.accounts import (
    LOOK_BACK_DAYS,
    Account,
    Input,
    InputKind,
    Workspace,
    account_faults,
    deactivated,
    input_faults,
    limit_faults,
    name_faults,
    overridden,
    refuse_shorter_look_back,
    rotated,
)
from ..domain.etags import check_etag, check_required_etag
from ..domain.identity_rules import identity_rules_faults
from ..domain.keys import new_input_key
from ..domain.listing import Page, Position, page_size_of, position_of, token_of
from ..domain.overrides import AttributeKind, Overrides, override_faults, with_override, without_override
from ..store import Store
from ..translation import account_to_proto, identity_rules_of, input_to_proto, override_of, override_to_proto, workspace_to_proto
from .requests import Context, create_of, mask_paths, refuse

_EDITABLE = frozenset({"name", "look_back_days", "identity_rules"})
_EDITABLE_OF_INPUTS = frozenset({"name", "allow_key_only", "events_per_second", "events_per_day"})


class AccountApi(pb_grpc.AccountServiceServicer):
    """The AccountService of the contract."""

    def __init__(self, store: Store, relay: Relay, clock: Clock) -> None:
        self._store = store
        self._relay = relay
        self._clock = clock

    @uncut
    async def CreateAccount(self, request: pb.CreateAccountRequest, context: Context) -> account_pb2.Account:
        require_operator()
        now_ms = self._clock.now_ms()
        create = create_of("CreateAccount", request, request.idempotency_key)
        look_back_days = request.look_back_days or LOOK_BACK_DAYS
        refuse(account_faults(request.name, look_back_days))
        async with self._store.transaction(OPERATOR_ACCOUNT, now_ms=now_ms) as tx:
            earlier = await tx.earlier(create)
            if earlier is None:
                account = await tx.add_account(Account(name=request.name, look_back_days=look_back_days, create_time_ms=now_ms))
                await tx.remember(create, account.account_id, account_id=OPERATOR_ACCOUNT)
        if earlier is not None:
            async with self._store.read(earlier) as scope:
                account = await scope.account()
        self._relay.wake()
        return account_to_proto(account)

    async def GetAccount(self, request: pb.GetAccountRequest, context: Context) -> account_pb2.Account:
        async with self._store.read(account_of(context)) as scope:
            return account_to_proto(await scope.account())

    @uncut
    async def UpdateAccount(self, request: pb.UpdateAccountRequest, context: Context) -> account_pb2.Account:
        paths = mask_paths(request.update_mask, request.account, _EDITABLE, what="account")
        async with self._store.transaction(account_of(context), now_ms=self._clock.now_ms()) as tx:
            account = await tx.locked_account()
            check_required_etag(request.account.etag, account.version, what="account")
            changed = replace(
                account,
                name=request.account.name if "name" in paths else account.name,
                look_back_days=request.account.look_back_days or LOOK_BACK_DAYS if "look_back_days" in paths else account.look_back_days,
                identity_rules=identity_rules_of(request.account) if "identity_rules" in paths else account.identity_rules,
            )
            refuse((*account_faults(changed.name, changed.look_back_days), *identity_rules_faults(changed.identity_rules)))
            if changed.look_back_days < account.look_back_days:
                refuse_shorter_look_back(changed.look_back_days, await tx.active_audiences())
            if changed != account:
                account = await tx.save_account(replace(changed, version=account.version + 1))
        self._relay.wake()
        return account_to_proto(account)

    @uncut
    async def CreateWorkspace(self, request: pb.CreateWorkspaceRequest, context: Context) -> account_pb2.Workspace:
        now_ms = self._clock.now_ms()
        create = create_of("CreateWorkspace", request, request.idempotency_key)
        refuse(name_faults(request.name))
        async with self._store.transaction(account_of(context), now_ms=now_ms) as tx:
            await tx.locked_account()
            if (earlier := await tx.earlier(create)) is not None:
                return workspace_to_proto(await tx.workspace(earlier))
            workspace = await tx.add_workspace(Workspace(account_id=tx.account_id, name=request.name, create_time_ms=now_ms))
            await tx.remember(create, workspace.workspace_id)
        self._relay.wake()
        return workspace_to_proto(workspace)

    async def ListWorkspaces(self, request: pb.ListWorkspacesRequest, context: Context) -> pb.ListWorkspacesResponse:
        after = position_of(request.page_token, "workspaces")
        async with self._store.read(account_of(context)) as scope:
            page = await scope.workspaces(after=after.id if after else 0, limit=page_size_of(request.page_size))
        return pb.ListWorkspacesResponse(
            workspaces=[workspace_to_proto(replace(workspace, attribute_overrides=())) for workspace in page.items],
            next_page_token=_token(page.items[-1].workspace_id, "workspaces") if page.more else "",
        )

    async def SetAttributeOverride(self, request: pb.SetAttributeOverrideRequest, context: Context) -> account_pb2.Workspace:
        override = override_of(request.attribute_override)

        def change(overrides: Overrides) -> Overrides:
            after = with_override(overrides, override)
            refuse(override_faults(override, after))
            return after

        return await self._override(request.workspace_id, request.etag, change, context)

    async def RemoveAttributeOverride(self, request: pb.RemoveAttributeOverrideRequest, context: Context) -> account_pb2.Workspace:
        def change(overrides: Overrides) -> Overrides:
            return without_override(overrides, AttributeKind(request.kind), request.attribute)

        return await self._override(request.workspace_id, request.etag, change, context)

    @uncut
    async def _override(
        self, workspace_id: int, etag: str, change: Callable[[Overrides], Overrides], context: Context
    ) -> account_pb2.Workspace:
        async with self._store.transaction(account_of(context), now_ms=self._clock.now_ms()) as tx:
            await tx.locked_account()
            workspace = await tx.workspace(workspace_id)
            check_etag(etag, workspace.version, what="workspace")
            after = overridden(workspace, change(workspace.attribute_overrides))
            if after is not workspace:
                await tx.save_workspace(after)
        self._relay.wake()
        return workspace_to_proto(after)

    async def ListAttributeOverrides(
        self, request: pb.ListAttributeOverridesRequest, context: Context
    ) -> pb.ListAttributeOverridesResponse:
        listed = f"attribute overrides {request.workspace_id}"
        after = position_of(request.page_token, listed, key_type=str)
        async with self._store.read(account_of(context)) as scope:
            workspace = await scope.workspace(request.workspace_id)
        found = [one for one in workspace.attribute_overrides if after is None or (one.kind, one.attribute) > (after.id, after.key)]
        page = Page.of(found, page_size_of(request.page_size))
        return pb.ListAttributeOverridesResponse(
            attribute_overrides=[override_to_proto(one) for one in page.items],
            next_page_token=token_of(Position(page.items[-1].attribute, page.items[-1].kind), listed) if page.more else "",
        )

    @uncut
    async def CreateInput(self, request: pb.CreateInputRequest, context: Context) -> pb.CreateInputResponse:
        """A repeated create with the same key answers with the input, and without the secret, which is not kept."""
        now_ms = self._clock.now_ms()
        create = create_of("CreateInput", request, request.idempotency_key)
        kind = InputKind(request.kind)
        refuse((*input_faults(request.name, kind, request.platform), *limit_faults(request.events_per_second, request.events_per_day)))
        async with self._store.transaction(account_of(context), now_ms=now_ms) as tx:
            await tx.locked_account()
            if (earlier := await tx.earlier(create)) is not None:
                return pb.CreateInputResponse(input=input_to_proto(await tx.input(earlier)))
            workspace = await tx.workspace(request.workspace_id)
            key = new_input_key()
            data_input = await tx.add_input(
                Input(
                    account_id=tx.account_id,
                    workspace_id=workspace.workspace_id,
                    name=request.name,
                    kind=kind,
                    platform=request.platform,
                    api_key=key.api_key,
                    api_secret_sha256=key.api_secret_sha256,
                    create_time_ms=now_ms,
                    allow_key_only=request.allow_key_only,
                    events_per_second=request.events_per_second,
                    events_per_day=request.events_per_day,
                )
            )
            await tx.remember(create, data_input.input_id)
        self._relay.wake()
        return pb.CreateInputResponse(input=input_to_proto(data_input), api_secret=key.api_secret)

    async def ListInputs(self, request: pb.ListInputsRequest, context: Context) -> pb.ListInputsResponse:
        listed = f"inputs {request.workspace_id}"
        after = position_of(request.page_token, listed)
        async with self._store.read(account_of(context)) as scope:
            if request.workspace_id:
                await scope.workspace(request.workspace_id)
            page = await scope.inputs(
                workspace_id=request.workspace_id, after=after.id if after else 0, limit=page_size_of(request.page_size)
            )
        return pb.ListInputsResponse(
            inputs=[input_to_proto(data_input) for data_input in page.items],
            next_page_token=_token(page.items[-1].input_id, listed) if page.more else "",
        )

    @uncut
    async def UpdateInput(self, request: pb.UpdateInputRequest, context: Context) -> account_pb2.Input:
        paths = mask_paths(request.update_mask, request.input, _EDITABLE_OF_INPUTS, what="input")
        async with self._store.transaction(account_of(context), now_ms=self._clock.now_ms()) as tx:
            await tx.locked_account()
            data_input = await tx.input(request.input.input_id)
            check_required_etag(request.input.etag, data_input.version, what="input")
            after = replace(data_input, **{path: getattr(request.input, path) for path in paths})
            refuse((*name_faults(after.name), *limit_faults(after.events_per_second, after.events_per_day)))
            if after != data_input:
                after = await tx.save_input(replace(after, version=data_input.version + 1))
        self._relay.wake()
        return input_to_proto(after)

    @uncut
    async def RotateInputKey(self, request: pb.RotateInputKeyRequest, context: Context) -> pb.RotateInputKeyResponse:
        async with self._store.transaction(account_of(context), now_ms=self._clock.now_ms()) as tx:
            await tx.locked_account()
            data_input = await tx.input(request.input_id)
            check_etag(request.etag, data_input.version, what="input")
            key = new_input_key()
            data_input = await tx.save_input(rotated(data_input, key))
        self._relay.wake()
        return pb.RotateInputKeyResponse(input=input_to_proto(data_input), api_secret=key.api_secret)

    @uncut
    async def DeactivateInput(self, request: pb.DeactivateInputRequest, context: Context) -> account_pb2.Input:
        async with self._store.transaction(account_of(context), now_ms=self._clock.now_ms()) as tx:
            await tx.locked_account()
            data_input = await tx.input(request.input_id)
            check_etag(request.etag, data_input.version, what="input")
            after = deactivated(data_input)
            if after is not data_input:
                await tx.save_input(after)
        self._relay.wake()
        return input_to_proto(after)


def _token(last_id: int, listed: str) -> str:
    return token_of(Position(last_id, last_id), listed)
