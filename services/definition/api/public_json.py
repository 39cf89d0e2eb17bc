"""The public JSON form of audiences, by gRPC: definitions out and in, with a report of each part."""

from __future__ import annotations

import asyncio

from muster.definition.v1 import public_json_service_pb2 as pb
from muster.definition.v1 import public_json_service_pb2_grpc as pb_grpc

from services.chassis.auth import account_of
from services.chassis.clock import Clock, to_ms
from services.chassis.errors import Invalid

from ..domain.audiences import Edit, draft
from ..domain.public_json.exporting import exported
from ..domain.public_json.importing import imported
from ..domain.public_json.report import Report
from ..domain.validation import judge
from ..store import Store
from ..translation import fault_to_proto
from .requests import Context, author


class PublicJsonApi(pb_grpc.PublicJsonServiceServicer):
    """The PublicJsonService of the contract."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def ExportPublicJson(self, request: pb.ExportPublicJsonRequest, context: Context) -> pb.ExportPublicJsonResponse:
        account_id = account_of(context)
        match request.WhichOneof("source"):
            case "audience_id":
                async with self._store.read(account_id) as scope:
                    audience = await scope.audience(request.audience_id)
                definition, workspace_ids, input_ids = audience.definition, audience.workspace_ids, audience.input_ids
            case "definition":
                definition, workspace_ids, input_ids = request.definition, tuple(request.workspace_ids), ()
            case _:
                raise Invalid.of("audience_id", "Nothing is exported; name an audience, or give a definition.", "MISSING")
        text, report = await asyncio.to_thread(exported, definition, workspace_ids)
        if input_ids:
            report.noted("input_ids", "The form has no place for the inputs of an audience; choose them again where it is imported.")
        return pb.ExportPublicJsonResponse(json_text=text, report=_report(report))

    async def ImportPublicJson(self, request: pb.ImportPublicJsonRequest, context: Context) -> pb.ImportPublicJsonResponse:
        account_id, now = account_of(context), self._clock.now()
        definition, report = await asyncio.to_thread(imported, request.json_text)
        answer = pb.ImportPublicJsonResponse(definition=definition, report=_report(report))
        if definition is None or not request.workspace_ids:
            return answer
        asked = Edit(workspace_ids=tuple(request.workspace_ids), input_ids=tuple(request.input_ids), definition=definition)
        audience = draft(asked, account_id=account_id, author=author(), now_ms=to_ms(now))
        async with self._store.read(account_id) as scope:
            surroundings = await scope.surroundings(await scope.account(), audience)
        verdict = judge(definition, surroundings, now)
        answer.faults.extend(fault_to_proto(fault) for fault in verdict.faults)
        answer.warnings.extend(fault_to_proto(fault) for fault in verdict.warnings)
        return answer


def _report(report: Report) -> pb.PublicJsonReport:
    entries = [
        pb.PublicJsonEntry(
            outcome=pb.PublicJsonOutcome.Value(f"PUBLIC_JSON_OUTCOME_{entry.outcome}"),
            place=entry.place,
            node_id=entry.node_id,
            description=entry.description,
            reason=pb.PublicJsonReason.Value(f"PUBLIC_JSON_REASON_{entry.why or 'UNSPECIFIED'}"),
        )
        for entry in report.entries
    ]
    return pb.PublicJsonReport(entries=entries, omitted=report.omitted)
