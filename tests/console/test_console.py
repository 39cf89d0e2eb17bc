"""The console: its status page and its contract."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

import grpc
import httpx2
import pytest
from muster.console.v1 import console_service_pb2 as pb
from muster.console.v1.console_service_pb2_grpc import ConsoleServiceStub

from cli.ports import free_ports
from services.chassis.client import Tokens
from services.console.app import build
from services.console.pages.status import page
from services.console.probe import Answer, State
from services.console.settings import ConsoleSettings
from tests.fakes.nats_server import NatsServer
from tests.fakes.skeleton import check_common_services, serving

NOW = datetime(2024, 9, 9, 13, 10, tzinfo=UTC)


@pytest.fixture
def settings(nats_server: NatsServer, settings_of: Callable[..., ConsoleSettings]) -> ConsoleSettings:
    ports = free_ports()
    away = {f"{name}_address": "127.0.0.1:1" for name in ("definition", "ingest", "evaluator", "forwarder", "sharing", "export")}
    return settings_of(ConsoleSettings, grpc_port=ports.grpc["console"], http_port=ports.http["console"], probe_seconds=0.5, **away)


@pytest.fixture
async def line(settings: ConsoleSettings) -> AsyncIterator[grpc.aio.Channel]:
    """A line to the running console."""
    async with serving(build, settings) as opened:
        yield opened


async def test_it_runs_and_says_what_it_is(line: grpc.aio.Channel, settings: ConsoleSettings) -> None:
    await check_common_services(line, settings, "muster.console.v1.ConsoleService")


async def test_it_says_where_its_pages_are_and_they_are_there(line: grpc.aio.Channel, settings: ConsoleSettings) -> None:
    stub = ConsoleServiceStub(line)
    answer = await stub.GetAddress(pb.GetAddressRequest(), metadata=Tokens.from_settings(settings).metadata_for(1))
    assert answer.url == f"http://127.0.0.1:{settings.http_port}"
    async with httpx2.AsyncClient(base_url=answer.url, trust_env=False) as client:
        healthy = await client.get("/healthz")
        assert (healthy.status_code, healthy.text) == (200, "ok\n")
        status = await client.get("/")
        assert status.status_code == 200
        assert "default-src 'none'" in status.headers["content-security-policy"]
        # Nothing answers at these addresses.
        assert status.text.count("does not answer") == 6
        assert (await client.get("/nowhere")).status_code == 404


async def test_behind_a_proxy_the_address_is_the_public_one(nats_server: NatsServer, settings_of: Callable[..., ConsoleSettings]) -> None:
    ports = free_ports()
    public = settings_of(
        ConsoleSettings, grpc_port=ports.grpc["console"], http_port=ports.http["console"], public_url="https://muster.example.com"
    )
    async with serving(build, public) as line:
        stub = ConsoleServiceStub(line)
        answer = await stub.GetAddress(pb.GetAddressRequest(), metadata=Tokens.from_settings(public).metadata_for(1))
        assert answer.url == "https://muster.example.com"


def test_the_page_says_in_its_title_what_is_wrong() -> None:
    states = [State("definition", "127.0.0.1:7001", Answer.SERVING, 1.4), State("ingest", "127.0.0.1:7002", Answer.AWAY, None)]
    assert "<title>Muster: Not serving: ingest.</title>" in page(states, now=NOW)
    assert "All services are serving. As of 13:10:00 UTC." in page(states[:1], now=NOW)


def test_the_page_escapes_what_it_shows() -> None:
    shown = page([State("<script>", "<b>", Answer.NOT_SERVING, 2.0)], now=NOW)
    assert "<script>" not in shown
    assert "<b>" not in shown
