"""What this version of the export service answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from muster.export.v1 import export_service_pb2 as pb

from services.export.app import build
from services.export.settings import ExportSettings
from tests.fakes.free_port import free_port
from tests.fakes.nats_server import NatsServer
from tests.fakes.skeleton import check_common_services, refusal, serving

CONTRACT = pb.DESCRIPTOR.services_by_name["ExportService"]
# What a request must hold to be valid.
REQUESTS: dict[str, dict[str, Any]] = {"CreateExport": {"selections": [{"audience_id": 1}]}}


@pytest.fixture
def settings(nats_server: NatsServer, settings_of: Callable[..., ExportSettings]) -> ExportSettings:
    return settings_of(ExportSettings, grpc_port=free_port())


@pytest.fixture
async def line(settings: ExportSettings) -> AsyncIterator[grpc.aio.Channel]:
    """A line to the running service."""
    async with serving(build, settings) as opened:
        yield opened


async def test_each_method_says_in_words_that_this_version_cannot_do_it(line: grpc.aio.Channel, settings: ExportSettings) -> None:
    for method in CONTRACT.methods:
        failure = await refusal(line, settings, method, **REQUESTS.get(method.name, {}))
        assert (failure.code, failure.reason) == (grpc.StatusCode.UNIMPLEMENTED, "EXPORT_NOT_AVAILABLE"), method.name
        assert "archives" in failure.message
        assert failure.metadata == {"method": method.name}


async def test_it_runs_and_says_what_it_is(line: grpc.aio.Channel, settings: ExportSettings) -> None:
    await check_common_services(line, settings, CONTRACT.full_name)
