"""Audiences as files: exported, wiped out, applied again, they have the very same members."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from muster.definition.v1 import audience_pb2, definition_pb2
from muster.definition.v1 import definition_service_pb2 as definition_pb
from muster.definition.v1.definition_service_pb2_grpc import AudienceServiceStub
from muster.evaluator.v1 import evaluator_service_pb2 as evaluator_pb
from muster.evaluator.v1.evaluator_service_pb2_grpc import EvaluatorServiceStub

from tests.e2e.installation import HOUR, Installation, installed, now_ms
from tests.fakes.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]


async def muster(installation: Installation, *arguments: str) -> str:
    """What a command prints; it must succeed."""
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'gen'}",
        "MUSTER_DATA_DIR": str(installation.stack.data_dir),
        "MUSTER_ACCOUNT": str(installation.account_id),
    }
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli", *arguments, cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await running.communicate()
    assert running.returncode == 0, said.decode()
    return said.decode()


async def sizes(installation: Installation) -> dict[str, int]:
    """By name, of those that are there."""
    listed = await installation.call(AudienceServiceStub, "definition", "ListAudienceRows", definition_pb.ListAudienceRowsRequest())
    return {row.name: row.figures.size for row in listed.rows}


async def members(installation: Installation) -> dict[str, set[int]]:
    """The MPIDs of each audience, by its name."""
    listed = await installation.call(AudienceServiceStub, "definition", "ListAudiences", definition_pb.ListAudiencesRequest())
    found: dict[str, set[int]] = {}
    for audience in listed.audiences:
        channel = installation.channel("evaluator")
        token = installation.stack.token(installation.account_id)
        answers = EvaluatorServiceStub(channel).ListMembers(
            evaluator_pb.ListMembersRequest(audience_id=audience.audience_id), metadata=(("authorization", f"Bearer {token}"),)
        )
        found[audience.name] = {mpid async for answer in answers for mpid in answer.mpids}
    return found


@pytest.mark.timeout(180)
@pytest.mark.xdist_group("e2e")
async def test_audiences_that_were_wiped_out_and_applied_again_have_the_same_members(tmp_path: Path) -> None:
    async with installed(tmp_path / "muster") as installation:
        now = now_ms()
        for number in range(60):
            events = [("first_run", now - (number + 20) * HOUR)] + [("session_start", now - HOUR)] * (number % 5)
            await installation.tell({f"customer-{number}": events})
        inner = definition_pb2.Definition()
        inner.root.criterion.member_of.audience_id = installation.audience_id
        outer = definition_pb2.Definition(root=definition_pb2.Node(exclude=definition_pb2.Exclude(node=inner.root)))
        await installation.audience("Everybody else", outer)
        await installation.settled()

        async def counted() -> bool:
            return sum((await sizes(installation)).values()) == 60

        await eventually(counted)
        before = await members(installation)
        assert all(before.values()), "empty audiences prove nothing"
        assert len(set.union(*before.values())) == 60

        folder = str(tmp_path / "audiences")
        await muster(installation, "export", folder)
        await muster(installation, "audience", "delete", str(installation.audience_id), "--cascade", "--yes")
        assert await members(installation) == {}
        await muster(installation, "apply", folder, "--yes")
        await eventually(counted, within_seconds=30)
        assert await members(installation) == before
        assert "as the files say" in await muster(installation, "diff", folder)
        listed = await installation.call(AudienceServiceStub, "definition", "ListAudiences", definition_pb.ListAudiencesRequest())
        assert {audience.state for audience in listed.audiences} == {audience_pb2.AUDIENCE_STATE_ACTIVE}
