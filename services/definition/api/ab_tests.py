"""A/B tests, by gRPC: made, shown and deleted; a saved test is fixed."""

from __future__ import annotations

from muster.definition.v1 import audience_pb2
from muster.definition.v1 import definition_service_pb2 as pb
from muster.definition.v1 import definition_service_pb2_grpc as pb_grpc

from services.chassis.auth import account_of
from services.chassis.clock import Clock
from services.chassis.database import uncut
from services.chassis.errors import Invalid
from services.chassis.outbox import Relay

from ..domain.ab_tests import AbTest, AbTestNotFound, ended, judge_test, with_test, without_test
from ..domain.etags import check_etag
from ..store import Store
from ..translation import ab_test_to_proto, variations_of
from .requests import Context, author, create_of, refuse


class InvalidAbTest(Invalid):
    """A test has faults, each with its place."""


class AbTestApi(pb_grpc.AbTestServiceServicer):
    """The AbTestService of the contract."""

    def __init__(self, store: Store, relay: Relay, clock: Clock) -> None:
        self._store = store
        self._relay = relay
        self._clock = clock

    @uncut
    async def CreateAbTest(self, request: pb.CreateAbTestRequest, context: Context) -> audience_pb2.AbTest:
        now_ms = self._clock.now_ms()
        create = create_of("CreateAbTest", request, request.idempotency_key)
        async with self._store.transaction(account_of(context), now_ms=now_ms) as tx:
            await tx.locked_account()
            if (earlier := await tx.earlier(create)) is not None:
                return ab_test_to_proto(await tx.ab_test(earlier))
            audience = await tx.audience(request.ab_test.audience_id)
            wanted = AbTest(
                account_id=tx.account_id,
                audience_id=audience.audience_id,
                name=request.ab_test.name,
                variations=variations_of(request.ab_test),
                create_time_ms=now_ms,
                created_by=author(),
            )
            refuse(judge_test(wanted), InvalidAbTest)
            # Whether the audience may have one is asked before anything is written.
            with_test(audience, wanted, author=author(), now_ms=now_ms)
            test = await tx.add_ab_test(wanted)
            await tx.save_audience(with_test(audience, test, author=author(), now_ms=now_ms))
            await tx.remember(create, test.ab_test_id)
        self._relay.wake()
        return ab_test_to_proto(test)

    async def GetAbTest(self, request: pb.GetAbTestRequest, context: Context) -> audience_pb2.AbTest:
        async with self._store.read(account_of(context)) as scope:
            audience = await scope.audience(request.audience_id)
            if not audience.ab_test_id:
                raise AbTestNotFound(f"The audience {audience.audience_id} has no test.", audience_id=audience.audience_id)
            return ab_test_to_proto(await scope.ab_test(audience.ab_test_id))

    @uncut
    async def DeleteAbTest(self, request: pb.DeleteAbTestRequest, context: Context) -> audience_pb2.AbTest:
        now_ms = self._clock.now_ms()
        async with self._store.transaction(account_of(context), now_ms=now_ms) as tx:
            await tx.locked_account()
            before = await tx.ab_test(request.ab_test_id)
            check_etag(request.etag, before.version, what="test")
            test = ended(before, now_ms=now_ms)
            if test is not before:
                await tx.save_ab_test(test)
                await tx.save_audience(without_test(await tx.audience(test.audience_id), author=author(), now_ms=now_ms))
        self._relay.wake()
        return ab_test_to_proto(test)
