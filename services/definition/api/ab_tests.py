"""A/B tests, by gRPC: the contract stands, and this version says in words that it has none yet."""

from __future__ import annotations

from typing import NoReturn

from muster.definition.v1 import audience_pb2
from muster.definition.v1 import definition_service_pb2 as pb
from muster.definition.v1 import definition_service_pb2_grpc as pb_grpc

from services.chassis.errors import Unimplemented

from .requests import Context


class NotBuiltYet(Unimplemented):
    """A method of the contract that this version does not have."""


class AbTestApi(pb_grpc.AbTestServiceServicer):
    """The AbTestService of the contract."""

    async def CreateAbTest(self, request: pb.CreateAbTestRequest, context: Context) -> audience_pb2.AbTest:
        _refuse("CreateAbTest")

    async def GetAbTest(self, request: pb.GetAbTestRequest, context: Context) -> audience_pb2.AbTest:
        _refuse("GetAbTest")

    async def DeleteAbTest(self, request: pb.DeleteAbTestRequest, context: Context) -> audience_pb2.AbTest:
        _refuse("DeleteAbTest")


def _refuse(method: str) -> NoReturn:
    raise NotBuiltYet("A/B tests are not part of this version; connect the whole audience instead.", method=method)
