"""The catalogue, by gRPC: names and values for those who write definitions, and what people say of the names."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace

from muster.definition.v1 import catalogue_service_pb2 as pb
from muster.definition.v1 import catalogue_service_pb2_grpc as pb_grpc

from services.chassis.auth import account_of
from services.chassis.clock import Clock
from services.chassis.database import uncut

from ..catalogue_store import Overridden
from ..domain.accounts import UnknownInput, Workspace
from ..domain.catalogue import AttributeScope, CatalogueKind, Coverage, entry_faults, said
from ..domain.detection import VALUE_MAX
from ..domain.etags import check_required_etag
from ..domain.listing import Page, Position, UnprintableFilter, page_size_of, position_of, token_of
from ..domain.sketches import KEPT, ValueSketch
from ..domain.texts import folded, unprintable
from ..store import Scope, Store
from ..translation import attribute_to_proto, coverage_to_proto, entry_key_of, entry_of, entry_to_proto, event_name_to_proto
from .requests import Context, author, mask_paths, refuse

_EDITABLE = frozenset({"description", "deprecated", "deprecation_note"})
_OF_EVENTS = (CatalogueKind.EVENT_ATTRIBUTE, CatalogueKind.PRODUCT_ATTRIBUTE)

Listing = pb.ListEventNamesRequest | pb.ListEventAttributesRequest | pb.ListUserAttributesRequest
Question = Listing | pb.ListAttributeValuesRequest


class CatalogueApi(pb_grpc.CatalogueServiceServicer):
    """The CatalogueService of the contract."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def ListEventNames(self, request: pb.ListEventNamesRequest, context: Context) -> pb.ListEventNamesResponse:
        listed, offset, limit = _page(request)
        async with self._store.read(account_of(context)) as scope:
            await _workspace(scope, request)
            names = await scope.catalogue.names(
                request.workspace_id,
                input_id=request.input_id,
                type_=request.event_type,
                search=request.search,
                offset=offset,
                limit=limit + 1,
            )
            coverage = await scope.catalogue.coverage([request.workspace_id])
        page = Page.of(names, limit)
        return pb.ListEventNamesResponse(
            event_names=[event_name_to_proto(one) for one in page.items],
            next_page_token=_token(page.more, offset + limit, listed),
            coverage=coverage_to_proto(coverage or Coverage()),
        )

    async def ListEventAttributes(self, request: pb.ListEventAttributesRequest, context: Context) -> pb.ListAttributesResponse:
        kinds = (CatalogueKind(request.kind),) if request.kind else _OF_EVENTS
        scope = AttributeScope(request.workspace_id, kinds, request.input_id, request.event_type, request.event_name)
        return await self._attributes(request, scope, context)

    async def ListUserAttributes(self, request: pb.ListUserAttributesRequest, context: Context) -> pb.ListAttributesResponse:
        scope = AttributeScope(request.workspace_id, (CatalogueKind.USER_ATTRIBUTE,), request.input_id)
        return await self._attributes(request, scope, context)

    async def _attributes(
        self, request: pb.ListEventAttributesRequest | pb.ListUserAttributesRequest, asked: AttributeScope, context: Context
    ) -> pb.ListAttributesResponse:
        listed, offset, limit = _page(request)
        async with self._store.read(account_of(context)) as scope:
            workspace = await _workspace(scope, request)
            overridden: Overridden = {(one.kind, one.attribute): one.type for one in workspace.attribute_overrides}
            found = await scope.catalogue.attributes(asked, overridden, search=request.search, offset=offset, limit=limit + 1)
            coverage = await scope.catalogue.coverage([request.workspace_id])
        page = Page.of(found, limit)
        return pb.ListAttributesResponse(
            attributes=[attribute_to_proto(one) for one in page.items],
            next_page_token=_token(page.more, offset + limit, listed),
            coverage=coverage_to_proto(coverage or Coverage()),
        )

    async def ListAttributeValues(self, request: pb.ListAttributeValuesRequest, context: Context) -> pb.ListAttributeValuesResponse:
        """An attribute that has not arrived has no values."""
        _refuse_unprintable(search=request.search, event_name=request.event_name, attribute=request.attribute)
        asked = AttributeScope(
            request.workspace_id, (CatalogueKind(request.kind),), request.input_id, request.event_type, request.event_name
        )
        async with self._store.read(account_of(context)) as scope:
            await _workspace(scope, request)
            kept = await scope.catalogue.sketches(asked, request.attribute)
        sketch = await asyncio.to_thread(ValueSketch.all_of, kept)
        shared = sketch.shared
        found = _matching(request.search[:VALUE_MAX], [one.text for one in shared])[: request.page_size or KEPT]
        return pb.ListAttributeValuesResponse(
            values=[pb.AttributeValueCount(value=shared[at].text, count=shared[at].count, error=shared[at].error) for at in found],
            state=pb.VALUES_STATE_WITHHELD if sketch.is_withheld else pb.VALUES_STATE_KEPT,
            different_values=sketch.different,
            unshared_values=sum(not one.is_shared for one in sketch.tracked.values()),
        )

    async def GetCatalogueEntry(self, request: pb.GetCatalogueEntryRequest, context: Context) -> pb.CatalogueEntry:
        async with self._store.read(account_of(context)) as scope:
            await scope.workspace(request.workspace_id)
            return entry_to_proto(await scope.catalogue.entry(entry_key_of(request)))

    @uncut
    async def UpdateCatalogueEntry(self, request: pb.UpdateCatalogueEntryRequest, context: Context) -> pb.CatalogueEntry:
        paths = mask_paths(request.update_mask, request.entry, _EDITABLE, what="entry")
        now_ms = self._clock.now_ms()
        async with self._store.transaction(account_of(context), now_ms=now_ms) as tx:
            await tx.locked_account()
            await tx.workspace(request.entry.workspace_id)
            before = await tx.catalogue.entry(entry_key_of(request.entry))
            check_required_etag(request.entry.etag, before.version, what="entry")
            asked = entry_of(request.entry)
            wanted = replace(before, **{path: getattr(asked, path) for path in paths})
            refuse(entry_faults(wanted))
            after = said(before, wanted, author=author(), now_ms=now_ms)
            if after is not before:
                await tx.save_entry(before, after)
        return entry_to_proto(after)


async def _workspace(scope: Scope, request: Question) -> Workspace:
    """The workspace that is asked about. Raises UnknownWorkspace, and UnknownInput for an input that is not one of its own."""
    workspace = await scope.workspace(request.workspace_id)
    if request.input_id:
        data_input = await scope.input(request.input_id)
        if data_input.workspace_id != workspace.workspace_id:
            message = f"The input {data_input.input_id} is not one of workspace {workspace.workspace_id}."
            raise UnknownInput(message, input_id=data_input.input_id)
    return workspace


def _page(request: Listing) -> tuple[str, int, int]:
    """What tells this list from others, where its page begins, and how many entries it has."""
    _refuse_unprintable(search=request.search, event_name=getattr(request, "event_name", ""))
    asked = type(request)()
    asked.MergeFrom(request)  # type: ignore[arg-type]  # of its own type
    asked.ClearField("page_token")
    asked.ClearField("page_size")
    digest = hashlib.sha256(asked.DESCRIPTOR.name.encode() + asked.SerializeToString(deterministic=True)).hexdigest()[:12]
    after = position_of(request.page_token, digest)
    return digest, after.id if after else 0, page_size_of(request.page_size)


def _token(more: bool, offset: int, listed: str) -> str:
    return token_of(Position(offset, offset), listed) if more else ""


def _refuse_unprintable(**texts: str) -> None:
    for name, text in texts.items():
        if found := unprintable(text):
            description = f"It holds the control character {found}, by which nothing is found; remove it."
            raise UnprintableFilter.of(name, description, UnprintableFilter.reason)


def _matching(search: str, texts: list[str]) -> list[int]:
    """The places of the texts that begin with it, then of those that hold it, each in their order."""
    asked = folded(search)
    known = [folded(text) for text in texts]
    begin = [at for at, text in enumerate(known) if text.startswith(asked)]
    return [*begin, *(at for at, text in enumerate(known) if asked in text and not text.startswith(asked))]
