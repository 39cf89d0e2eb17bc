"""The AuditService, for services that keep an audit log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from muster.operations.v1 import audit_service_pb2 as pb
from muster.operations.v1 import audit_service_pb2_grpc as pb_grpc

from .audit import Audit, Kept, Search
from .auth import account_of
from .database import Database
from .errors import Invalid
from .server import GrpcServer

Context = Any

NAME = "muster.operations.v1.AuditService"
_PAGE = 50
_LAST = 2**63 - 1


class InvalidPageToken(Invalid):
    """The page token is not one that this service gave out."""


class AuditApi(pb_grpc.AuditServiceServicer):
    """Each call is for the account of its token."""

    def __init__(self, database: Database, audit: Audit) -> None:
        self._database = database
        self._audit = audit

    async def ListAuditEntries(self, request: pb.ListAuditEntriesRequest, context: Context) -> pb.ListAuditEntriesResponse:
        if request.page_token and not (request.page_token.isdecimal() and len(request.page_token) < 19):
            raise InvalidPageToken.of("page_token", "The token is not of this list; begin again without one.", InvalidPageToken.reason)
        limit = request.page_size or _PAGE
        search = Search(request.kind, request.thing_id, request.actor, request.from_ms, request.to_ms)
        async with self._database.read() as connection:
            found, more = await self._audit.page(
                connection, account_of(context), search, before=int(request.page_token or _LAST), limit=limit
            )
        return pb.ListAuditEntriesResponse(entries=[_told(one) for one in found], next_page_token=str(found[-1].number) if more else "")

    async def ExportAuditEntries(
        self, request: pb.ExportAuditEntriesRequest, context: Context
    ) -> AsyncIterator[pb.ExportAuditEntriesResponse]:
        async for page in self._audit.chain(self._database, account_of(context), after=request.after_number):
            for one in page:
                # One at a time: an entry may hold a definition of half a megabyte twice.
                yield pb.ExportAuditEntriesResponse(entries=[_told(one)])

    async def GetAuditHead(self, request: pb.GetAuditHeadRequest, context: Context) -> pb.AuditHead:
        async with self._database.read() as connection:
            number, last = await self._audit.head(connection, account_of(context))
        return pb.AuditHead(number=number, hash=last)


def add_audit(server: GrpcServer, database: Database, audit: Audit) -> None:
    """Serve the AuditService of a service. Before the server starts."""
    server.add(pb_grpc.add_AuditServiceServicer_to_server, AuditApi(database, audit), NAME)


def _told(one: Kept) -> pb.AuditEntry:
    return pb.AuditEntry(number=one.number, entry=one.entry, hash=one.hash)
