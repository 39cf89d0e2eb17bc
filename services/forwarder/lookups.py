"""What the forwarder asks other services: identities of people, and members of audiences."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import grpc
import numpy as np
from muster.evaluator.v1 import evaluator_service_pb2, evaluator_service_pb2_grpc
from muster.ingest.v1 import identity_pb2, ingest_service_pb2, ingest_service_pb2_grpc

from services.chassis.client import Tokens
from services.forwarder.domain.identities import Identity, Kind
from services.forwarder.following import Snapshot

_LOOK_UP_MAX = 10_000
_LOOK_UP_SECONDS = 30.0
_MEMBERS_SECONDS = 600.0


class NotAnswered(Exception):
    """The other service does not answer, or cannot yet; the text is for the log."""


class IdentityLookUp:
    """Asks ingest for the identities of people."""

    def __init__(self, channel: grpc.aio.Channel, tokens: Tokens) -> None:
        self._stub: ingest_service_pb2_grpc.IdentityServiceAsyncStub = ingest_service_pb2_grpc.IdentityServiceStub(channel)
        self._tokens = tokens

    async def of(self, account_id: int, mpids: Sequence[int], kinds: Collection[Kind]) -> dict[int, list[Identity]]:
        """The identities of these types, by person; people without any are left out. Raises NotAnswered."""
        found: dict[int, list[Identity]] = {}
        numbers = {int(kind) for kind in kinds}
        types = [] if len(kinds) == len(Kind) else [identity_pb2.IdentityType.ValueType(kind) for kind in sorted(kinds)]
        try:
            for start in range(0, len(mpids), _LOOK_UP_MAX):
                request = ingest_service_pb2.LookUpIdentitiesRequest(mpids=mpids[start : start + _LOOK_UP_MAX], types=types)
                answers = self._stub.LookUpIdentities(request, metadata=self._tokens.metadata_for(account_id), timeout=_LOOK_UP_SECONDS)
                async for answer in answers:
                    for profile in answer.profiles:
                        # A newer ingest may know types that this version does not.
                        known = [Identity(one.type, one.value) for one in profile.identities if one.type in numbers]
                        if known:
                            found[profile.mpid] = known
        except grpc.aio.AioRpcError as error:
            raise NotAnswered(f"LookUpIdentities: {error.code().name}") from error
        return found


class MemberLists:
    """Asks the evaluator for all members of an audience."""

    def __init__(self, channel: grpc.aio.Channel, tokens: Tokens) -> None:
        self._stub: evaluator_service_pb2_grpc.EvaluatorServiceAsyncStub = evaluator_service_pb2_grpc.EvaluatorServiceStub(channel)
        self._tokens = tokens

    async def of(self, account_id: int, audience_id: int) -> Snapshot:
        """Who is in, and for which rounds that is true. Raises NotAnswered."""
        request = evaluator_service_pb2.ListMembersRequest(audience_id=audience_id)
        rounds: dict[int, int] | None = None
        as_of_ms = 0
        parts: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
        try:
            answers = self._stub.ListMembers(request, metadata=self._tokens.metadata_for(account_id), timeout=_MEMBERS_SECONDS)
            async for answer in answers:
                if answer.HasField("header"):
                    rounds = {part.partition: part.round for part in answer.header.rounds}
                    as_of_ms = answer.header.moment.as_of_ms
                parts.append(np.fromiter(answer.mpids, dtype=np.int64, count=len(answer.mpids)))
        except grpc.aio.AioRpcError as error:
            raise NotAnswered(f"ListMembers: {error.code().name}") from error
        if rounds is None:
            raise NotAnswered("ListMembers: no header")
        mpids = np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
        return Snapshot(np.unique(mpids), rounds, as_of_ms)
