"""The way in by gRPC. This version takes no shares: every method says so, in words and with a stable reason."""

from __future__ import annotations

from typing import Any

from muster.sharing.v1 import sharing_service_pb2 as pb
from muster.sharing.v1 import sharing_service_pb2_grpc as pb_grpc

from services.chassis.errors import Unimplemented

Context = Any


class SharingNotAvailable(Unimplemented):
    """This version of Muster shares no audiences between accounts."""

    def __init__(self, method: str) -> None:
        super().__init__("This version of Muster does not share audiences between accounts yet.", method=method)


class SharingApi(pb_grpc.SharingServiceServicer):
    """Opt-ins, offers and shares."""

    async def GetOptIn(self, request: pb.GetOptInRequest, context: Context) -> pb.OptIn:
        raise SharingNotAvailable("GetOptIn")

    async def CreateOptIn(self, request: pb.CreateOptInRequest, context: Context) -> pb.OptIn:
        raise SharingNotAvailable("CreateOptIn")

    async def DeleteOptIn(self, request: pb.DeleteOptInRequest, context: Context) -> pb.OptIn:
        raise SharingNotAvailable("DeleteOptIn")

    async def ListReceivers(self, request: pb.ListReceiversRequest, context: Context) -> pb.ListReceiversResponse:
        raise SharingNotAvailable("ListReceivers")

    async def OfferShares(self, request: pb.OfferSharesRequest, context: Context) -> pb.OfferSharesResponse:
        raise SharingNotAvailable("OfferShares")

    async def AcceptShare(self, request: pb.AcceptShareRequest, context: Context) -> pb.Share:
        raise SharingNotAvailable("AcceptShare")

    async def RejectShare(self, request: pb.RejectShareRequest, context: Context) -> pb.Share:
        raise SharingNotAvailable("RejectShare")

    async def EndShare(self, request: pb.EndShareRequest, context: Context) -> pb.Share:
        raise SharingNotAvailable("EndShare")

    async def RemoveShare(self, request: pb.RemoveShareRequest, context: Context) -> pb.Share:
        raise SharingNotAvailable("RemoveShare")

    async def GetShare(self, request: pb.GetShareRequest, context: Context) -> pb.Share:
        raise SharingNotAvailable("GetShare")

    async def ListShares(self, request: pb.ListSharesRequest, context: Context) -> pb.ListSharesResponse:
        raise SharingNotAvailable("ListShares")
