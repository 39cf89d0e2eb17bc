"""The way in by gRPC. This version makes no archives: every method says so, in words and with a stable reason."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from muster.export.v1 import export_service_pb2 as pb
from muster.export.v1 import export_service_pb2_grpc as pb_grpc

from services.chassis.errors import Unimplemented

Context = Any


class ExportNotAvailable(Unimplemented):
    """This version of Muster makes no archives of members."""

    def __init__(self, method: str) -> None:
        super().__init__("This version of Muster does not make archives of an audience's members yet.", method=method)


class ExportApi(pb_grpc.ExportServiceServicer):
    """Export jobs and their archives."""

    async def CreateExport(self, request: pb.CreateExportRequest, context: Context) -> pb.Export:
        raise ExportNotAvailable("CreateExport")

    async def GetExport(self, request: pb.GetExportRequest, context: Context) -> pb.Export:
        raise ExportNotAvailable("GetExport")

    async def ListExports(self, request: pb.ListExportsRequest, context: Context) -> pb.ListExportsResponse:
        raise ExportNotAvailable("ListExports")

    def WatchExport(self, request: pb.WatchExportRequest, context: Context) -> AsyncIterator[pb.Export]:
        raise ExportNotAvailable("WatchExport")

    async def CancelExport(self, request: pb.CancelExportRequest, context: Context) -> pb.Export:
        raise ExportNotAvailable("CancelExport")

    def DownloadExport(self, request: pb.DownloadExportRequest, context: Context) -> AsyncIterator[pb.DownloadExportResponse]:
        raise ExportNotAvailable("DownloadExport")
