"""The columnar way in: tables of Arrow, read in a thread, so that nobody waits for the reading."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from muster.ingest.v1 import ingest_service_pb2 as pb

from services.chassis import log as logs
from services.chassis.clock import Clock
from services.ingest.domain.columns import read_table
from services.ingest.domain.table import RowFault
from services.ingest.in_order import answers
from services.ingest.inputs import Inputs
from services.ingest.intake import Intake

log = logs.get(__name__)

# How many requests of a stream, each of up to 10,000 rows, are on their way at once.
_WINDOW = 3


class Tables:
    """What IngestTable does."""

    def __init__(self, inputs: Inputs, intake: Intake, clock: Clock) -> None:
        self._inputs = inputs
        self._intake = intake
        self._clock = clock

    def answers(self, account_id: int, requests: AsyncIterator[pb.IngestTableRequest]) -> AsyncIterator[pb.IngestTableResponse]:
        """An answer for each request, in their order."""
        return answers(requests, lambda request: self._ingest(account_id, request), window=_WINDOW)

    async def _ingest(self, account_id: int, request: pb.IngestTableRequest) -> pb.IngestTableResponse:
        input = self._inputs.of_account(account_id, request.input_id)
        now_ms = self._clock.now_ms()
        reading = await asyncio.to_thread(
            read_table, request.table, request_id=request.source_request_id, platform=input.platform, now_ms=now_ms
        )
        if reading.faults and not request.validate_only:
            self._intake.refuse(input, [found.fault for found in reading.faults])
            log.info("rows_refused", input_id=input.input_id, faults=len(reading.faults))
        if reading.table is not None and not request.validate_only:
            await self._intake.submit_table(input, reading.table)
        accepted = 0 if reading.table is None else len(reading.table.rows)
        return pb.IngestTableResponse(accepted_rows=accepted, faults=[_to_proto(fault) for fault in reading.faults])


def _to_proto(found: RowFault) -> pb.TableFault:
    fault = found.fault
    return pb.TableFault(row=found.row, field=fault.place, description=fault.description, reason=fault.reason.value)
