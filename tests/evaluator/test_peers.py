"""What another evaluator says, as the one that was asked tells it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import grpc
import pytest

from services.chassis.client import Tokens
from services.chassis.errors import FieldViolation, Invalid, MusterError, NotFound, Unavailable, to_status, trailing_metadata
from services.evaluator.ownership import Lease, Table
from services.evaluator.peers import Partitions, PartitionUnowned, Peers
from tests.conftest import TOKEN_SECRET

OTHER = Lease("evaluator-1", "1", "127.0.0.1:1")


class AudienceGone(NotFound):
    """As a handler of another evaluator raises it."""


@pytest.fixture
def peers() -> Peers:
    """This process has partition 0, another one partition 1."""

    async def refresh() -> None:
        """Nothing moves."""

    ownership: Any = SimpleNamespace(partitions=2, table=Table({}, {1: (OTHER, 1)}), refresh=refresh)
    rounds: Any = SimpleNamespace(owned=frozenset({0}))
    return Peers(rounds, ownership, Tokens(TOKEN_SECRET, "evaluator"))


class Other:
    """The other evaluator: raises what it is given, and then answers."""

    def __init__(self, *faults: MusterError) -> None:
        self.faults = list(faults)
        self.asked = 0

    async def own(self, of: Partitions) -> str:
        return "own"

    async def ask(self, stub: Any, metadata: Any) -> str:
        self.asked += 1
        if not self.faults:
            return "theirs"
        fault = self.faults.pop(0)
        sent = grpc.aio.Metadata(*trailing_metadata(to_status(fault)))
        raise grpc.aio.AioRpcError(fault.code, grpc.aio.Metadata(), sent, fault.message, None)


async def test_a_wrong_question_is_told_at_once_in_the_words_of_who_was_asked(peers: Peers) -> None:
    violation = FieldViolation("workspace_ids[0]", "There is no workspace 9 in this account.", "UNKNOWN_WORKSPACE")
    other = Other(Invalid(violations=[violation]))
    with pytest.raises(Invalid) as refused:
        await peers.parts(7, other.own, other.ask)
    assert (refused.value.violations, other.asked) == ([violation], 1)
    other = Other(AudienceGone("There is no audience 5.", audience_id=5))
    with pytest.raises(NotFound) as missing:
        await peers.parts(7, other.own, other.ask)
    assert (missing.value.reason, missing.value.message, missing.value.metadata) == (
        "AUDIENCE_GONE",
        "There is no audience 5.",
        {"audience_id": "5"},
    )
    assert other.asked == 1
    await peers.stop()


async def test_whoever_can_t_answer_now_is_asked_again(peers: Peers) -> None:
    other = Other(Unavailable("building"), Unavailable("building"))
    assert await peers.parts(7, other.own, other.ask) == ["own", "theirs"]
    other = Other(*[Unavailable("building")] * 99)
    with pytest.raises(PartitionUnowned):
        await peers.parts(7, other.own, other.ask, patience_seconds=0.3)
    await peers.stop()
