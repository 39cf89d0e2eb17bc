"""The evaluator's gRPC methods. Questions are answered between two rounds, from what is committed.

What other evaluators own they answer, and the parts are added up.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from grpc.aio import ServicerContext
from muster.evaluator.v1 import evaluator_service_pb2 as pb
from muster.evaluator.v1 import evaluator_service_pb2_grpc as rpc

from services.chassis.auth import account_of
from services.chassis.client import Metadata
from services.chassis.clock import Clock
from services.chassis.errors import Invalid, NotFound
from services.chassis.partition import partition_of
from services.evaluator import results, sums
from services.evaluator.engine.compile import Malformed, Unsupported
from services.evaluator.event_store import RowPlace
from services.evaluator.peers import PATIENCE_SECONDS, Partitions, Peers, asked_for
from services.evaluator.people import Mpids
from services.evaluator.preparation import Preparation, Slice
from services.evaluator.profiles import told_again
from services.evaluator.rounds import Account, Rounds
from services.evaluator.statistics import DAY_MS, history, volatility

Context = ServicerContext[Any, Any]
T = TypeVar("T")

_CHUNK_MPIDS = 50_000
_STEPS_MS = {pb.HISTORY_STEP_HOUR: 3_600_000, pb.HISTORY_STEP_DAY: 86_400_000}
_EXPORT_ROWS = 100
_NUMBER = re.compile(r"-?[0-9]{1,18}")
_STEPS_BY_DEFAULT = 24
_STEPS_MAX = 10_000
# A watcher hears of changes no more often than this, and of a moment without changes no less often than that.
_WATCH_PAUSE_SECONDS = 0.25
_WATCH_QUIET_SECONDS = 5.0
_WATCH_OTHERS_SECONDS = 1.0
# While partitions move, which may take as long as to build an index, a watcher waits.
_WATCH_PATIENCE_SECONDS = 30.0


class AudienceNotFound(NotFound):
    """There is no such audience in the caller's account, or the evaluator has not heard of it yet."""


class ProfileNotFound(NotFound):
    """There is no such person in the caller's account, or the evaluator has not heard of them yet."""


class Evaluator(rpc.EvaluatorServiceServicer):
    """Thin: translates, asks the rounds, translates back."""

    def __init__(self, rounds: Rounds, peers: Peers, clock: Clock) -> None:
        self._rounds = rounds
        self._peers = peers
        self._clock = clock

    async def Estimate(self, request: pb.EstimateRequest, context: Context) -> pb.EstimateResponse:
        if request.definition.root.WhichOneof("kind") is None:
            raise Invalid.of("definition.root", "The definition is empty: give it a group, a criterion or `everyone`.", "MISSING")

        preparation: Preparation | None = None

        def answer(account: Account) -> pb.EstimateResponse | None:
            nonlocal preparation
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
            if request.overlap_audience_id and request.overlap_audience_id not in population.known:
                words = f"There is no audience {request.overlap_audience_id} in this account."
                raise Invalid.of("overlap_audience_id", words, "UNKNOWN_AUDIENCE")
            if preparation is None or preparation.engine is not population.engine or preparation.compiled != compiled:
                if preparation is not None:
                    preparation.end()
                preparation = population.prepare(compiled)
            if not preparation.go_on(Slice()):
                return None
            beside = request.overlap_audience_id
            estimate = population.estimate(compiled, beside)
            return pb.EstimateResponse(
                size=estimate.size,
                candidates=population.candidates(request.workspace_ids),
                nodes=[pb.NodeSize(node_id=node_id, size=size) for node_id, size in estimate.nodes.items()],
                overlap=estimate.overlap,
                overlap_size=population.size(beside) if beside in population.audiences else 0,
                moment=self._moment(),
            )

        try:
            return sums.estimate(await self._parts(context, answer, lambda stub, metadata: stub.Estimate(request, metadata=metadata)))
        finally:
            if preparation is not None:
                preparation.end()

    async def GetAudienceStatistics(self, request: pb.GetAudienceStatisticsRequest, context: Context) -> pb.AudienceStatistics:
        statistics = (await self._statistics(account_of(context), [request.audience_id])).statistics
        if not statistics:
            raise _not_found(request.audience_id)
        return statistics[0]

    async def ListAudienceStatistics(
        self, request: pb.ListAudienceStatisticsRequest, context: Context
    ) -> pb.ListAudienceStatisticsResponse:
        return await self._statistics(account_of(context), request.audience_ids, asked_for(context.invocation_metadata()))

    async def ListAudienceFigures(self, request: pb.ListAudienceFiguresRequest, context: Context) -> pb.ListAudienceFiguresResponse:
        def answer(account: Account) -> pb.ListAudienceFiguresResponse:
            population, moment = account.population, self._moment()
            ids = [id_ for id_ in request.audience_ids or sorted(population.audiences) if id_ in population.audiences]
            days = [account.statistics[id_].day(moment.as_of_ms) for id_ in ids]
            return pb.ListAudienceFiguresResponse(
                audience_ids=ids,
                sizes=[population.size(id_) for id_ in ids],
                adds=[adds for adds, _ in days],
                drops=[drops for _, drops in days],
                moment=moment,
            )

        async def ask(stub: Any, metadata: Metadata) -> pb.ListAudienceFiguresResponse:
            response: pb.ListAudienceFiguresResponse = await stub.ListAudienceFigures(request, metadata=metadata)
            return response

        return sums.figures(await self._parts(context, answer, ask))

    async def ListMembers(self, request: pb.ListMembersRequest, context: Context) -> AsyncIterator[pb.ListMembersResponse]:
        def answer(account: Account) -> tuple[pb.MembersHeader, Mpids]:
            population = account.population
            _must_know(account, request.audience_id)
            active = population.audiences.get(request.audience_id)
            members = population.members(request.audience_id) if active is not None else np.empty(0, np.int64)
            return pb.MembersHeader(size=len(members), revision=active.revision if active is not None else 0), members

        async def own(of: Partitions) -> _Members:
            close()  # what an earlier try opened
            return _Members(*await self._rounds.ask(account_of(context), lambda account: self._with_rounds(answer(account)), of=of))

        async def ask(stub: Any, metadata: Metadata) -> _Members:
            call = stub.ListMembers(request, metadata=metadata)
            opened.append(call)
            return _Members((await anext(aiter(call))).header, call)

        def close() -> None:
            while opened:
                opened.pop().cancel()

        opened: list[Any] = []
        asked = asked_for(context.invocation_metadata())
        try:
            parts = [await own(asked)] if asked is not None else await self._peers.parts(account_of(context), own, ask, agree=_of_one)
            yield pb.ListMembersResponse(header=sums.header([part.header for part in parts]))
            for part in parts:
                if isinstance(part.members, np.ndarray):
                    for start in range(0, len(part.members), _CHUNK_MPIDS):
                        yield pb.ListMembersResponse(mpids=part.members[start : start + _CHUNK_MPIDS].tolist())
                else:
                    async for chunk in part.members:
                        yield chunk
        finally:
            close()

    async def ListAudienceHistory(self, request: pb.ListAudienceHistoryRequest, context: Context) -> pb.ListAudienceHistoryResponse:
        step_ms = _STEPS_MS.get(request.step)
        if step_ms is None:
            raise Invalid.of("step", "Say HOUR or DAY.", "MISSING")
        to_ms = request.to_ms or self._clock.now_ms()
        from_ms = request.from_ms or to_ms - _STEPS_BY_DEFAULT * step_ms
        if from_ms >= to_ms:
            raise Invalid.of("from_ms", "The beginning must lie before the end.", "BOUNDS_REVERSED")
        if (to_ms - from_ms) // step_ms > _STEPS_MAX:
            raise Invalid.of("from_ms", f"That is more than {_STEPS_MAX:,} steps: ask for less, or for days.", "TOO_LARGE")
        account_id = account_of(context)
        await self._rounds.ask(account_id, lambda account: _must_know(account, request.audience_id))
        minutes, size = await self._rounds.minutes(account_id, request.audience_id, from_ms - from_ms % step_ms, to_ms)
        points = history(minutes, size, from_ms - from_ms % step_ms, to_ms, step_ms)
        return pb.ListAudienceHistoryResponse(
            points=[
                pb.HistoryPoint(
                    time_ms=point.time_ms,
                    size=point.size,
                    adds=point.adds,
                    drops=point.drops,
                    volatility=volatility(point.size, point.adds, point.drops),
                )
                for point in points
            ]
        )

    async def WatchAudiences(self, request: pb.WatchAudiencesRequest, context: Context) -> AsyncIterator[pb.WatchAudiencesResponse]:
        account_id = account_of(context)
        for audience_id in request.audience_ids:
            await self._rounds.ask(account_id, lambda account, wanted=audience_id: _must_know(account, wanted))  # type: ignore[misc]
        told: dict[int, pb.AudienceStatistics] = {}
        while True:
            seen = self._rounds.count
            said = await self._statistics(account_id, request.audience_ids, patience_seconds=_WATCH_PATIENCE_SECONDS)
            now = {one.audience_id: one for one in said.statistics}
            # A moment alone is no news, but without any news it comes now and then: it says that the sizes still hold.
            news = [one for id_, one in now.items() if id_ not in told or _figures(told[id_]) != _figures(one)]
            yield pb.WatchAudiencesResponse(statistics=news or now.values())
            told = now
            # What others own changes without a word.
            alone = self._rounds.owns_all
            await self._rounds.changed(seen, within_seconds=_WATCH_QUIET_SECONDS if alone else _WATCH_OTHERS_SECONDS)
            await asyncio.sleep(_WATCH_PAUSE_SECONDS)

    async def ExplainMembership(self, request: pb.ExplainMembershipRequest, context: Context) -> pb.ExplainMembershipResponse:
        def answer(account: Account) -> pb.ExplainMembershipResponse:
            _must_know(account, request.audience_id)
            audience = account.population.audiences.get(request.audience_id)
            if audience is None:
                words = f"The audience {request.audience_id} is not active: nobody is in it."
                return pb.ExplainMembershipResponse(summary=words, moment=self._moment())
            explanation = account.population.explain(request.audience_id, request.mpid)
            if explanation is None:
                other = account.population.endings.into(request.mpid)
                words = f"is one with {other} by now: ask for that one." if other else "was ever heard of in this account."
                raise ProfileNotFound(f"{'The person' if other else 'Nobody'} with the MPID {request.mpid} {words}")
            return account.population.teller().response(audience, explanation, self._moment())

        account_id = account_of(context)
        owner = partition_of(account_id, request.mpid, self._peers.partitions)

        async def ask(stub: Any, metadata: Metadata) -> pb.ExplainMembershipResponse:
            response: pb.ExplainMembershipResponse = await stub.ExplainMembership(request, metadata=metadata)
            return response

        return (await self._parts(context, answer, ask, of=owner))[0]

    async def GetAbTestResult(self, request: pb.GetAbTestResultRequest, context: Context) -> pb.AbTestResult:
        account_id, goal = account_of(context), request.goal if request.HasField("goal") else None

        def answer(account: Account) -> pb.AbTestResult:
            _must_know(account, request.audience_id)
            result = results.part(account.population, request.audience_id, goal)
            result.moment.CopyFrom(self._moment())
            return result

        async def own(partitions: Partitions) -> pb.AbTestResult:
            result = await self._rounds.ask(account_id, answer, of=partitions)
            since_ms = result.moment.as_of_ms - DAY_MS + 1
            day = await self._rounds.dealt(account_id, result.ab_test_id, partitions, since_ms=since_ms)
            return results.with_history(result, day, await self._rounds.dealt(account_id, result.ab_test_id, partitions, since_ms=0))

        async def ask(stub: Any, metadata: Metadata) -> pb.AbTestResult:
            response: pb.AbTestResult = await stub.GetAbTestResult(request, metadata=metadata)
            return response

        asked = asked_for(context.invocation_metadata())
        if asked is not None:
            return await own(asked)
        parts = await self._peers.parts(account_id, own, ask, agree=results.are_of_one_test)
        return results.whole(parts, counted=goal is not None)

    async def ExportPerson(self, request: pb.ExportPersonRequest, context: Context) -> pb.ExportPersonResponse:
        account_id, limit = account_of(context), request.page_size or _EXPORT_ROWS
        of_events, after = _page_of(request.page_token)

        def answer(account: Account) -> pb.ExportPersonResponse:
            store, response = self._rounds.event_store, pb.ExportPersonResponse(moment=self._moment())
            if not request.page_token:
                response.audience_ids.extend(account.population.audiences_of(request.mpid))
            if of_events:
                events, last = store.told_events(account_id, request.mpid, after, limit)
                response.events.CopyFrom(events)
                if len(events.mpids) == limit:
                    response.next_page_token = f"events {last[0]} {last[1]}"
                return response
            rows = store.told_changes(account_id, request.mpid, after, limit)
            response.changes.extend(told_again([row for _, row in rows], left_only=False))
            last = rows[-1][0] if len(rows) == limit else (-1, 0)
            response.next_page_token = f"changes {last[0]} {last[1]}" if len(rows) == limit else "events 0 -1"
            return response

        async def ask(stub: Any, metadata: Metadata) -> pb.ExportPersonResponse:
            response: pb.ExportPersonResponse = await stub.ExportPerson(request, metadata=metadata)
            return response

        owner = partition_of(account_id, request.mpid, self._peers.partitions)
        return (await self._parts(context, answer, ask, of=owner))[0]

    async def _parts(
        self,
        context: Context,
        answer: Callable[[Account], T | None],
        ask: Callable[[Any, Metadata], Awaitable[T]],
        *,
        of: int | None = None,
    ) -> list[T]:
        """The parts of an answer: all that are needed, or what another evaluator asks for. An answer of None is asked for again: it takes
        several slices, with rounds between them."""
        account_id = account_of(context)

        async def own(partitions: Partitions) -> T:
            while (said := await self._rounds.ask(account_id, answer, of=partitions)) is None:
                pass
            return said

        asked = asked_for(context.invocation_metadata())
        return [await own(asked)] if asked is not None else await self._peers.parts(account_id, own, ask, of=of)

    async def _statistics(
        self, account_id: int, audience_ids: Sequence[int], asked: Partitions | None = None, *, patience_seconds: float = PATIENCE_SECONDS
    ) -> pb.ListAudienceStatisticsResponse:
        wanted = list(audience_ids)

        def answer(account: Account) -> pb.ListAudienceStatisticsResponse:
            population, moment = account.population, self._moment()
            ids = [id_ for id_ in wanted if id_ in population.known] if wanted else sorted(population.known)
            return pb.ListAudienceStatisticsResponse(statistics=[_one(account, id_, moment) for id_ in ids], moment=moment)

        async def own(partitions: Partitions) -> pb.ListAudienceStatisticsResponse:
            return await self._rounds.ask(account_id, answer, of=partitions)

        async def ask(stub: Any, metadata: Metadata) -> pb.ListAudienceStatisticsResponse:
            request = pb.ListAudienceStatisticsRequest(audience_ids=wanted)
            response: pb.ListAudienceStatisticsResponse = await stub.ListAudienceStatistics(request, metadata=metadata)
            return response

        if asked is not None:
            return await own(asked)
        agree = sums.are_of_one_definition
        return sums.list_of_statistics(await self._peers.parts(account_id, own, ask, agree=agree, patience_seconds=patience_seconds))

    def _with_rounds(self, answer: tuple[pb.MembersHeader, Mpids]) -> tuple[pb.MembersHeader, Mpids]:
        header, members = answer
        header.moment.CopyFrom(self._moment())
        for partition, position in self._rounds.positions.items():
            header.rounds.add(partition=partition, round=position.round)
        return header, members

    def _moment(self) -> pb.Moment:
        rounds = self._rounds
        lag_ms = 0 if rounds.oldest_ms is None else max(0, self._clock.now_ms() - rounds.oldest_ms)
        return pb.Moment(as_of_ms=rounds.as_of_ms, pending_messages=rounds.pending, lag_ms=lag_ms)


@dataclass(frozen=True, slots=True)
class _Members:
    """What one evaluator lists: at hand, or as it comes."""

    header: pb.MembersHeader
    members: Mpids | AsyncIterable[pb.ListMembersResponse]


def _page_of(token: str) -> tuple[bool, RowPlace]:
    """Whether a page of an export is of events, and after which place it begins."""
    if not token:
        return False, (0, -1)
    kind, *numbers = token.split(" ")
    if kind not in ("changes", "events") or len(numbers) != 2 or not all(_NUMBER.fullmatch(number) for number in numbers):
        raise Invalid.of("page_token", "Not a token of this list.", "INVALID_PAGE_TOKEN")
    return kind == "events", (int(numbers[0]), int(numbers[1]))


def _of_one(parts: list[_Members]) -> bool:
    return len({part.header.revision for part in parts}) == 1


def _must_know(account: Account, audience_id: int) -> None:
    if audience_id not in account.population.known:
        raise _not_found(audience_id)


def _not_found(audience_id: int) -> AudienceNotFound:
    return AudienceNotFound(f"There is no audience {audience_id} in this account.", audience_id=audience_id)


def _figures(statistics: pb.AudienceStatistics) -> tuple[int, ...]:
    """What a watcher wants to hear of when it changes."""
    dealt = (one.size for one in statistics.variations)
    return statistics.state, statistics.size, statistics.adds, statistics.drops, statistics.revision, *dealt


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
        variations=[pb.VariationSize(variation_id=id_, name=name, size=size) for id_, name, size in population.variations(audience_id)],
        cost=_cost(account, audience_id),
    )


def _cost(account: Account, audience_id: int) -> pb.Cost:
    cost = account.costs.of(audience_id)
    return pb.Cost(looked_at=cost.looked_at, seconds=cost.seconds, seconds_of_all=account.costs.seconds)
