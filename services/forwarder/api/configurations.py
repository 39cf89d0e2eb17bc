"""ConfigurationService: partners, and the credentials for them."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import grpc
from muster.forwarder.v1 import connection_pb2 as pb
from muster.forwarder.v1 import forwarder_service_pb2 as rpc
from muster.forwarder.v1 import forwarder_service_pb2_grpc as rpc_grpc

from services.chassis.auth import account_of
from services.chassis.clock import Clock
from services.chassis.errors import Invalid
from services.chassis.outbox import Relay
from services.forwarder import translate
from services.forwarder.api.paging import page_of, token_of
from services.forwarder.connectors.base import Connector, Request
from services.forwarder.connectors.directory import Connectors
from services.forwarder.connectors.lines import PartnerLines
from services.forwarder.dispatch import Dispatcher
from services.forwarder.domain import forms
from services.forwarder.domain.faults import PartnerError
from services.forwarder.errors import (
    ConfigurationInUse,
    ConfigurationNotFound,
    IdempotencyKeyReused,
    StaleEtag,
    UnknownIntegration,
    settings_invalid,
)
from services.forwarder.stores.configurations import Configuration
from services.forwarder.stores.store import Store, Tx

Context = grpc.aio.ServicerContext[Any, Any]

_NAME_MAX_CHARACTERS = 100


class ConfigurationApi(rpc_grpc.ConfigurationServiceServicer):
    """Each call is for the account of its token."""

    def __init__(
        self,
        store: Store,
        connectors: Connectors,
        lines: PartnerLines,
        dispatcher: Dispatcher,
        relay: Relay,
        clock: Clock,
        *,
        allow_private: bool,
    ) -> None:
        self._store = store
        self._connectors = connectors
        self._lines = lines
        self._dispatcher = dispatcher
        self._relay = relay
        self._clock = clock
        self._allow_private = allow_private

    async def ListIntegrations(self, request: rpc.ListIntegrationsRequest, context: Context) -> rpc.ListIntegrationsResponse:
        return rpc.ListIntegrationsResponse(
            integrations=[translate.integration(connector.spec) for _, connector in sorted(self._connectors.items())]
        )

    async def CreateConfiguration(self, request: rpc.CreateConfigurationRequest, context: Context) -> pb.Configuration:
        account_id = account_of(context)
        connector = self._connector(request.integration_key)
        settings, secrets = self._checked(connector, dict(request.settings), "settings")
        name = _named(request.name, "name")

        async def create(tx: Tx) -> Configuration:
            made = await tx.configurations.insert(
                account_id,
                integration_key=request.integration_key,
                name=name,
                settings=settings,
                secrets=secrets,
                now_ms=self._clock.now_ms(),
                idempotency_key=request.idempotency_key or None,
            )
            if made is not None:
                tx.note_configuration(None, made, now_ms=made.create_time_ms)
                return made
            before = await tx.configurations.of_key(account_id, request.idempotency_key)
            if before is None or not _is_same(before, request.integration_key, name, settings, secrets):
                raise IdempotencyKeyReused("This key was used for another configuration.")
            return before

        return translate.configuration(await self._store.write(create), faulted=0)

    async def GetConfiguration(self, request: rpc.GetConfigurationRequest, context: Context) -> pb.Configuration:
        async with self._store.read() as tx:
            return await _told(tx, await _existing(tx, account_of(context), request.configuration_id))

    async def ListConfigurations(self, request: rpc.ListConfigurationsRequest, context: Context) -> rpc.ListConfigurationsResponse:
        after, limit = page_of(request.page_token, request.page_size)
        async with self._store.read() as tx:
            found = await tx.configurations.page(account_of(context), after=after, limit=limit + 1)
            faulted = await tx.configurations.faulted_counts([one.id for one in found])
        answer = [translate.configuration(one, faulted=faulted.get(one.id, 0)) for one in found[:limit]]
        return rpc.ListConfigurationsResponse(configurations=answer, next_page_token=token_of([one.id for one in found], limit))

    async def UpdateConfiguration(self, request: rpc.UpdateConfigurationRequest, context: Context) -> pb.Configuration:
        """The mask: `name`, `settings` (whole, but secrets that are left out stay), `settings.<key>`; none: name and settings."""
        account_id = account_of(context)
        told = request.configuration
        paths = list(request.update_mask.paths) or ["name", "settings"]
        unknown = [path for path in paths if path not in ("name", "settings") and not path.startswith("settings.")]
        if unknown:
            raise Invalid.of("update_mask", f"Cannot be updated: {', '.join(unknown)}.", "SETTING_INVALID")

        async def update(tx: Tx) -> tuple[Configuration, list[int]]:
            before = await _existing(tx, account_id, told.configuration_id, lock=True)
            if told.etag and told.etag != before.etag:
                raise StaleEtag("The configuration was changed meanwhile: read it again.", configuration_id=before.id)
            connector = self._connector(before.integration_key)
            values = _updated(before, dict(told.settings), paths, forms.secrets_of(connector.spec.form))
            settings, secrets = self._checked(connector, values, "configuration.settings")
            name = _named(told.name, "configuration.name") if "name" in paths else before.name
            now_ms = self._clock.now_ms()
            after = replace(before, name=name, settings=settings, secrets=secrets, version=before.version + 1, update_time_ms=now_ms)
            await tx.configurations.save(after)
            tx.note_configuration(before, after, now_ms=now_ms)
            if after.name != before.name:
                await _tell_name(tx, after, now_ms)
            return after, await self._apply(tx, before, after, now_ms)

        after, concerned = await self._store.write(update)
        self._relay.wake()
        self._dispatcher.wake(concerned)
        async with self._store.read() as tx:
            return await _told(tx, after)

    async def DeleteConfiguration(self, request: rpc.DeleteConfigurationRequest, context: Context) -> pb.Configuration:
        account_id = account_of(context)

        async def delete(tx: Tx) -> Configuration:
            found = await _existing(tx, account_id, request.configuration_id, lock=True)
            if request.etag and request.etag != found.etag:
                raise StaleEtag("The configuration was changed meanwhile: read it again.", configuration_id=found.id)
            if await tx.configurations.is_used(found.id):
                raise ConfigurationInUse("The configuration has connections: delete them first.", configuration_id=found.id)
            now_ms = self._clock.now_ms()
            await tx.configurations.delete(found, now_ms=now_ms)
            tx.note_configuration(found, None, now_ms=now_ms)
            await tx.configurations.forget_secrets()
            return found

        return translate.configuration(await self._store.write(delete), faulted=0)

    async def TestConfiguration(self, request: rpc.TestConfigurationRequest, context: Context) -> rpc.TestConfigurationResponse:
        account_id = account_of(context)
        key, values = request.integration_key, dict(request.settings)
        if request.configuration_id:
            async with self._store.read() as tx:
                found = await _existing(tx, account_id, request.configuration_id)
            key, values = found.integration_key, found.values
        connector = self._connector(key)
        self._checked(connector, values, "settings")
        http, client = self._lines.single(connector.spec)
        now_ms = self._clock.now_ms()
        asked = Request(str(uuid.uuid4()), account_id, 0, "", {}, now_ms, now_ms)
        async with client:
            try:
                said = await connector.test(asked, forms.read(connector.spec.form, values), http)
            except PartnerError as error:
                return rpc.TestConfigurationResponse(works=False, cause=translate.cause(error.cause), message=error.message)
        return rpc.TestConfigurationResponse(works=True, message=said)

    def _connector(self, key: str) -> Connector[Any]:
        connector = self._connectors.get(key)
        if connector is None:
            raise UnknownIntegration("There is no integration of this key.", integration_key=key)
        return connector

    def _checked(self, connector: Connector[Any], values: dict[str, str], field: str) -> tuple[dict[str, str], dict[str, str]]:
        """Settings and secrets, all faults of which would have been told."""
        form = connector.spec.form
        try:
            filled: Any = forms.read(form, values)
        except forms.FormFaults as found:
            raise settings_invalid(field, found.faults) from None
        faults = connector.check(filled, allow_private=self._allow_private)
        if faults:
            raise settings_invalid(field, faults)
        secret = forms.secrets_of(form)
        kept = {key: value.strip() for key, value in values.items() if value.strip()}
        return {key: value for key, value in kept.items() if key not in secret}, {key: kept[key] for key in kept.keys() & secret}

    async def _apply(self, tx: Tx, before: Configuration, after: Configuration, now_ms: int) -> list[int]:
        """Let its connections follow a change of what is sent, or where to; those concerned."""
        if before.values == after.values:
            return []
        concerned: list[int] = []
        if before.settings.get("url") != after.settings.get("url"):
            concerned += await tx.connections.resubscribe(after.id)
        last = 0
        while found := await tx.connections.page(after.account_id, configuration_id=after.id, after=last, limit=500):
            for one in found:
                await tx.members.mark_all(one.id, (one.account_id, one.audience_id), since_ms=now_ms)
                concerned.append(one.id)
            last = found[-1].id
        return concerned


async def _tell_name(tx: Tx, after: Configuration, now_ms: int) -> None:
    """Tell its connections anew, as what is told of each holds the name."""
    last = 0
    while found := await tx.connections.page(after.account_id, configuration_id=after.id, after=last, limit=500, lock=True):
        for one in found:
            await tx.save_connection(replace(one, version=one.version + 1, update_time_ms=now_ms))
        last = found[-1].id


def _is_same(before: Configuration, key: str, name: str, settings: dict[str, str], secrets: dict[str, str]) -> bool:
    return (before.integration_key, before.name, before.values) == (key, name, {**settings, **secrets})


def _updated(before: Configuration, told: dict[str, str], paths: list[str], secret: frozenset[str]) -> dict[str, str]:
    values = before.values
    if "settings" in paths:
        values = {**{key: value for key, value in values.items() if key in secret}, **told}
    for path in paths:
        if path.startswith("settings."):
            key = path.removeprefix("settings.")
            values[key] = told.get(key, "")
    return values


def _named(name: str, field: str) -> str:
    text = name.strip()
    if not text or len(text) > _NAME_MAX_CHARACTERS or "\0" in text:
        raise Invalid.of(field, f"From 1 to {_NAME_MAX_CHARACTERS} characters, and no NUL.", "SETTING_INVALID")
    return text


async def _existing(tx: Tx, account_id: int, id: int, *, lock: bool = False) -> Configuration:
    found = await tx.configurations.get(account_id, id, lock=lock)
    if found is None:
        raise ConfigurationNotFound("There is no such configuration.", configuration_id=id)
    return found


async def _told(tx: Tx, found: Configuration) -> pb.Configuration:
    return translate.configuration(found, faulted=(await tx.configurations.faulted_counts([found.id])).get(found.id, 0))
