"""What this version of the sharing service answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import grpc
import pytest
from muster.sharing.v1 import sharing_service_pb2 as pb

from services.sharing.app import build
from services.sharing.settings import SharingSettings
from tests.fakes.free_port import free_port
from tests.fakes.nats_server import NatsServer
from tests.fakes.skeleton import check_common_services, refusal, serving

CONTRACT = pb.DESCRIPTOR.services_by_name["SharingService"]


@pytest.fixture
def settings(nats_server: NatsServer, settings_of: Callable[..., SharingSettings]) -> SharingSettings:
    return settings_of(SharingSettings, grpc_port=free_port())


@pytest.fixture
async def line(settings: SharingSettings) -> AsyncIterator[grpc.aio.Channel]:
    """A line to the running service."""
    async with serving(build, settings) as opened:
        yield opened


async def test_each_method_says_in_words_that_this_version_cannot_do_it(line: grpc.aio.Channel, settings: SharingSettings) -> None:
    for method in CONTRACT.methods:
        failure = await refusal(line, settings, method)
        assert (failure.code, failure.reason) == (grpc.StatusCode.UNIMPLEMENTED, "SHARING_NOT_AVAILABLE"), method.name
        assert "share" in failure.message
        assert failure.metadata == {"method": method.name}


async def test_it_runs_and_says_what_it_is(line: grpc.aio.Channel, settings: SharingSettings) -> None:
    await check_common_services(line, settings, CONTRACT.full_name)
