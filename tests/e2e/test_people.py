"""One person's way through all services: merged with somebody else, parted, erased; audiences, partner and receipts follow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import httpx2
import pytest
from muster.evaluator.v1 import evaluator_service_pb2 as evaluator_pb
from muster.evaluator.v1.evaluator_service_pb2_grpc import EvaluatorServiceStub
from muster.ingest.v1 import identity_pb2
from muster.ingest.v1 import ingest_service_pb2 as pb
from muster.ingest.v1.ingest_service_pb2_grpc import IdentityServiceStub, PrivacyServiceStub

from tests.e2e.installation import Installation, installed, now_ms
from tests.fakes.waiting import eventually

CUSTOMER = identity_pb2.IDENTITY_TYPE_CUSTOMER_ID


async def send(installation: Installation, http: httpx2.AsyncClient, *events: str, **who: Any) -> None:
    """A batch with these events, until it is taken."""
    told = [{"event_type": kind, "data": {"timestamp_unixtime_ms": now_ms(), "session_id": 1}} for kind in events]

    async def taken() -> bool:
        body = {"environment": "production", "events": told, **who}
        return (await http.post("/v2/events", json=body, auth=installation.key)).status_code == 202

    await eventually(taken, within_seconds=30)


async def test_two_who_become_one_are_one_everywhere_and_gone_everywhere_once_erased(tmp_path: Path) -> None:
    async with installed(tmp_path / "data") as installation:
        url = installation.stack.ports.http_url("ingest")
        async with httpx2.AsyncClient(base_url=url, timeout=10, trust_env=False) as http:
            partner, audience = installation.partner, installation.audience_id

            async def holds(*people: set[str]) -> None:
                """Return once the partner has just these, each with these identities, and the evaluator counts as many."""

                def told() -> list[list[str]]:
                    mpids = partner.mpids(audience)
                    return sorted(sorted(value for _, value in partner.told(audience, mpid)) for mpid in mpids)

                async def so() -> bool:
                    size = (await installation.statistics()).size
                    return told() == sorted(sorted(names) for names in people) and size == len(people)

                try:
                    await eventually(so, within_seconds=30)
                except TimeoutError:
                    pytest.fail(f"the partner has {told()}, the evaluator counts {(await installation.statistics()).size}")

            await send(installation, http, "first_run", user_identities={"customer_id": "ada", "email": "ada@x.y"})
            await send(installation, http, "first_run", "session_start", "session_start", device_info={"ios_idfv": "phone"})
            await holds({"ada", "ada@x.y"}, {"phone"})
            # She logs in on that phone: what it did counts as hers.
            await send(installation, http, user_identities={"customer_id": "ada"}, device_info={"ios_idfv": "phone"})
            await holds({"ada", "ada@x.y", "phone"})
            # Three sessions are too many, two of which were the phone's.
            await send(installation, http, "session_start", user_identities={"customer_id": "ada"})
            await holds()

            (merge,) = (await installation.call(IdentityServiceStub, "ingest", "ListMerges", pb.ListMergesRequest())).merges
            await installation.call(IdentityServiceStub, "ingest", "UndoMerge", pb.UndoMergeRequest(merge_id=merge.merge_id))
            await send(installation, http, "first_run", device_info={"ios_idfv": "phone"})
            await holds({"phone"})

            await send(installation, http, "first_run", user_identities={"customer_id": "bob"}, mp_deviceid="bob-1")
            await holds({"phone"}, {"bob", "bob-1"})
            request = pb.CreateErasureRequest(identity=identity_pb2.Identity(type=CUSTOMER, value="bob"))
            erasure = await installation.call(PrivacyServiceStub, "ingest", "CreateErasure", request)
            await holds({"phone"})

            async def finished() -> bool:
                nonlocal erasure
                get = pb.GetErasureRequest(erasure_id=erasure.erasure_id)
                erasure = await installation.call(PrivacyServiceStub, "ingest", "GetErasure", get)
                return bool(erasure.state == pb.ERASURE_STATE_FINISHED)

            await eventually(finished, within_seconds=60)
            receipts = {receipt.service: receipt for receipt in erasure.receipts}
            assert set(receipts) == {"ingest", "evaluator", "forwarder"}
            assert list(receipts["forwarder"].places) == [f"webhook, connection {installation.connection_id}"]
            assert (receipts["ingest"].removed, receipts["forwarder"].removed) == (2, 1)
            assert receipts["evaluator"].removed >= 3
            explain = evaluator_pb.ExplainMembershipRequest(audience_id=audience, mpid=erasure.mpid)
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await installation.call(EvaluatorServiceStub, "evaluator", "ExplainMembership", explain)
            assert refusal.value.code() is grpc.StatusCode.NOT_FOUND
