"""The OperationsService, which every service serves: what runs here, and its dead letters."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from muster.operations.v1 import operations_service_pb2 as pb
from muster.operations.v1 import operations_service_pb2_grpc as pb_grpc

from .auth import require_operator
from .bus import Bus
from .clock import Clock
from .dead_letters import DeadLetter, DeadLetters
from .errors import Invalid
from .server import GrpcServer
from .settings import ServiceSettings

Context = Any

NAME = "muster.operations.v1.OperationsService"
_PAGE = 100


class NotASequence(Invalid):
    """The page token is not one that this service gave out."""


class Operations(pb_grpc.OperationsServiceServicer):
    """For the operator of the installation only: dead letters are of every account."""

    def __init__(self, service: str, dead_letters: DeadLetters, start_time_ms: int) -> None:
        self._service = service
        self._dead_letters = dead_letters
        self._start_time_ms = start_time_ms

    async def GetInfo(self, request: pb.GetInfoRequest, context: Context) -> pb.GetInfoResponse:
        """What runs here, in which version, since when."""
        require_operator()
        return pb.GetInfoResponse(service=self._service, version=_version(), start_time_ms=self._start_time_ms)

    async def ListDeadLetters(self, request: pb.ListDeadLettersRequest, context: Context) -> pb.ListDeadLettersResponse:
        """A page of the dead letters, the oldest first; the token of the next page is the sequence of the last one."""
        require_operator()
        if request.page_token and not request.page_token.isdecimal():
            raise NotASequence.of("page_token", "is not a token that this service gave out")
        limit = request.page_size or _PAGE
        letters = await self._dead_letters.list(after=int(request.page_token or 0), limit=limit)
        return pb.ListDeadLettersResponse(
            dead_letters=[_to_proto(letter) for letter in letters],
            next_page_token=str(letters[-1].sequence) if len(letters) == limit else "",
        )

    async def ReplayDeadLetters(self, request: pb.ReplayDeadLettersRequest, context: Context) -> pb.ReplayDeadLettersResponse:
        """Publish dead letters again where they came from; without sequences, all."""
        require_operator()
        return pb.ReplayDeadLettersResponse(replayed=await self._dead_letters.replay(request.sequences))


def add_operations(server: GrpcServer, bus: Bus, settings: ServiceSettings, clock: Clock) -> None:
    """Serve the OperationsService of a service. Before the server starts."""
    servicer = Operations(settings.service, DeadLetters(bus, settings.service), clock.now_ms())
    server.add(pb_grpc.add_OperationsServiceServicer_to_server, servicer, NAME)


def _to_proto(letter: DeadLetter) -> pb.DeadLetter:
    return pb.DeadLetter(
        sequence=letter.sequence,
        subject=letter.subject,
        reason=letter.reason,
        tries=letter.tries,
        create_time_ms=letter.create_time_ms,
        size_bytes=len(letter.data),
        headers=letter.headers,
    )


def _version() -> str:
    try:
        return version("muster")
    except PackageNotFoundError:
        # Run from a checkout that is not installed.
        return "unreleased"
