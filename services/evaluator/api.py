"""The evaluator's gRPC methods. Questions are answered between two rounds, from what is committed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import numpy as np
from grpc.aio import ServicerContext
from muster.evaluator.v1 import evaluator_service_pb2 as pb
from muster.evaluator.v1 import evaluator_service_pb2_grpc as rpc

from services.chassis.auth import account_of
from services.chassis.clock import Clock
from services.chassis.errors import Invalid, NotFound, Unimplemented
from services.evaluator.engine.compile import Malformed, Unsupported
from services.evaluator.people import Mpids
from services.evaluator.rounds import Account, Rounds
from services.evaluator.statistics import volatility

Context = ServicerContext[Any, Any]

_CHUNK_MPIDS = 50_000


class AudienceNotFound(NotFound):
    """There is no such audience in the caller's account, or the evaluator has not heard of it yet."""


class NotEvaluatedYet(Unimplemented):
    """This version can't do that."""


class Evaluator(rpc.EvaluatorServiceServicer):
    """Thin: translates, asks the rounds, translates back."""

    def __init__(self, rounds: Rounds, clock: Clock) -> None:
        self._rounds = rounds
        self._clock = clock

    async def Estimate(self, request: pb.EstimateRequest, context: Context) -> pb.EstimateResponse:
        if request.definition.root.WhichOneof("kind") is None:
            raise Invalid.of("definition.root", "The definition is empty: give it a group, a criterion or `everyone`.", "MISSING")

        def answer(account: Account) -> pb.EstimateResponse:
            population = account.population
            for index, workspace_id in enumerate(request.workspace_ids):
                if not population.knows_workspace(workspace_id):
                    raise Invalid.of(
                        f"workspace_ids[{index}]", f"There is no workspace {workspace_id} in this account.", "UNKNOWN_WORKSPACE"
                    )
            try:
                compiled = population.compile(request.definition, request.workspace_ids, request.input_ids)
            except Unsupported as fault:
                raise Invalid.of(f"definition.{fault.path}", str(fault), "NOT_EVALUATED_YET") from fault
            except Malformed as fault:
                raise Invalid.of(f"definition.{fault.path}", str(fault), "MALFORMED") from fault
            estimate = population.estimate(compiled)
            return pb.EstimateResponse(
                size=estimate.size,
                candidates=population.candidates(request.workspace_ids),
                nodes=[pb.NodeSize(node_id=node_id, size=size) for node_id, size in estimate.nodes.items()],
            )

        if request.overlap_audience_id:
            raise NotEvaluatedYet("The overlap of an estimate is not computed by this version: leave overlap_audience_id out.")
        response = await self._rounds.ask(account_of(context), answer)
        response.moment.CopyFrom(self._moment())
        return response

    async def GetAudienceStatistics(self, request: pb.GetAudienceStatisticsRequest, context: Context) -> pb.AudienceStatistics:
        statistics = await self._statistics(account_of(context), [request.audience_id])
        if not statistics:
            raise AudienceNotFound(f"There is no audience {request.audience_id} in this account.", audience_id=request.audience_id)
        return statistics[0]

    async def ListAudienceStatistics(
        self, request: pb.ListAudienceStatisticsRequest, context: Context
    ) -> pb.ListAudienceStatisticsResponse:
        statistics = await self._statistics(account_of(context), request.audience_ids)
        return pb.ListAudienceStatisticsResponse(statistics=statistics, moment=self._moment())

    async def ListMembers(self, request: pb.ListMembersRequest, context: Context) -> AsyncIterator[pb.ListMembersResponse]:
        def answer(account: Account) -> tuple[pb.MembersHeader, Mpids]:
            population = account.population
            if request.audience_id not in population.known:
                raise AudienceNotFound(f"There is no audience {request.audience_id} in this account.", audience_id=request.audience_id)
            active = population.audiences.get(request.audience_id)
            members = population.members(request.audience_id) if active is not None else np.empty(0, np.int64)
            return pb.MembersHeader(size=len(members), revision=active.revision if active is not None else 0), members

        header, members = await self._rounds.ask(account_of(context), lambda account: self._with_rounds(answer(account)))
        yield pb.ListMembersResponse(header=header)
        for start in range(0, len(members), _CHUNK_MPIDS):
            yield pb.ListMembersResponse(mpids=members[start : start + _CHUNK_MPIDS].tolist())

    async def ListAudienceHistory(self, request: pb.ListAudienceHistoryRequest, context: Context) -> pb.ListAudienceHistoryResponse:
        raise NotEvaluatedYet("The history of an audience is not served by this version.")

    async def WatchAudiences(self, request: pb.WatchAudiencesRequest, context: Context) -> AsyncIterator[pb.WatchAudiencesResponse]:
        raise NotEvaluatedYet("Audiences can't be watched in this version: ask for their statistics.")
        yield pb.WatchAudiencesResponse()  # makes this a stream

    async def ExplainMembership(self, request: pb.ExplainMembershipRequest, context: Context) -> pb.ExplainMembershipResponse:
        raise NotEvaluatedYet("A membership is not explained by this version.")

    async def _statistics(self, account_id: int, audience_ids: Sequence[int]) -> list[pb.AudienceStatistics]:
        wanted = list(audience_ids)
        moment = self._moment()

        def answer(account: Account) -> list[pb.AudienceStatistics]:
            population = account.population
            ids = [id_ for id_ in wanted if id_ in population.known] if wanted else sorted(population.known)
            return [_one(account, id_, moment) for id_ in ids]

        return await self._rounds.ask(account_id, answer)

    def _with_rounds(self, answer: tuple[pb.MembersHeader, Mpids]) -> tuple[pb.MembersHeader, Mpids]:
        header, members = answer
        header.moment.CopyFrom(self._moment())
        for partition, position in self._rounds.positions.items():
            header.rounds.add(partition=partition, round=position.round)
        return header, members

    def _moment(self) -> pb.Moment:
        rounds = self._rounds
        lag_ms = self._clock.now_ms() - rounds.newest_receive_ms if rounds.pending and rounds.newest_receive_ms else 0
        return pb.Moment(as_of_ms=rounds.as_of_ms, pending_messages=rounds.pending, lag_ms=max(0, lag_ms))


def _one(account: Account, audience_id: int, moment: pb.Moment) -> pb.AudienceStatistics:
    population = account.population
    if audience_id not in population.audiences:
        return pb.AudienceStatistics(audience_id=audience_id, state=pb.POPULATION_STATE_NONE, moment=moment)
    size = population.size(audience_id)
    adds, drops = account.statistics[audience_id].day(moment.as_of_ms)
    return pb.AudienceStatistics(
        audience_id=audience_id,
        state=pb.POPULATION_STATE_LIVE,
        size=size,
        adds=adds,
        drops=drops,
        volatility=volatility(size, adds, drops),
        revision=population.audiences[audience_id].revision,
        moment=moment,
    )
