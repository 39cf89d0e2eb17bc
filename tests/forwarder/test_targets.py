"""Partners are called at public addresses only, whatever name or redirect leads elsewhere."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Any

import httpx2
import pytest

from services.chassis.clock import SystemClock
from services.forwarder.connectors.http import PartnerHttp, PublicOnly, TargetRefused, is_public, new_client, resolve_public
from services.forwarder.connectors.webhook import url_faults
from services.forwarder.domain.faults import CAUSES, Cause, PartnerError
from services.forwarder.domain.forms import TARGET_REFUSED
from tests.fakes.webhook_partner import Status, WebhookPartner
from tests.forwarder.desk import SECRET

INSIDE = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "224.0.0.1",
    "255.255.255.255",
    "192.0.2.1",
    "::",
    "::1",
    "fe80::1",
    "fc00::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "2001:db8::1",
]


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_inside_a_network_is_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", INSIDE)
def test_a_url_with_an_address_inside_a_network_is_refused_at_once(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    assert TARGET_REFUSED in [fault.reason for fault in url_faults("url", f"https://{host}/hook", allow_private=False)]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hook",
        "ftp://example.com/",
        "https://",
        "https:///hook",
        "javascript:alert(1)",
        "https://example.com:99999/",
        "https://[::1/",
        "https://user:password@example.com/",
        "https://example.com/#here",
        "https://exam ple.com/",
        "https://example.com/\x00",
        "http://example.com/",
        "https://localhost/",
        "https://a.localhost/",
        "https://printer.local/",
        "https://metadata.google.internal/",
    ],
)
def test_other_urls_that_cannot_be_targets_are_refused(url: str) -> None:
    assert url_faults("url", url, allow_private=False)


@pytest.mark.parametrize("url", ["https://example.com", "https://example.com:8443/a?b=c", "https://8.8.8.8/", "https://[2606:4700::1]/"])
def test_a_public_https_url_is_taken(url: str) -> None:
    assert url_faults("url", url, allow_private=False) == []


def _names(monkeypatch: pytest.MonkeyPatch, addresses: dict[str, list[str]]) -> None:
    """Let names resolve so, as a name server under somebody's control would tell it."""

    async def resolve(self: Any, host: str, port: int, **_: Any) -> list[Any]:
        if host not in addresses:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses[host]]

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", resolve)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fe80::1%eth0"])
async def test_a_name_that_resolves_to_an_address_inside_is_refused(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    _names(monkeypatch, {"evil.example.com": [address]})
    with pytest.raises(TargetRefused):
        await resolve_public("evil.example.com", 443)


async def test_one_address_inside_among_public_ones_is_enough_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    _names(monkeypatch, {"evil.example.com": ["8.8.8.8", "127.0.0.1"]})
    with pytest.raises(TargetRefused):
        await resolve_public("evil.example.com", 443)


async def test_other_ways_to_write_loopback_are_refused() -> None:
    # These are names to our eyes and addresses to the resolver of the machine.
    for host in ("localhost", "2130706433", "0x7f.1", "127.1"):
        with pytest.raises(TargetRefused):
            await resolve_public(host, 80)


async def test_the_address_that_was_checked_is_the_one_that_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    _names(monkeypatch, {"partner.example.com": ["8.8.8.8"]})
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return httpx2.Response(200)

    async with httpx2.AsyncClient(transport=PublicOnly(httpx2.MockTransport(answer)), trust_env=False) as client:
        await client.post("https://partner.example.com/hook")
    # A second resolution, by which a name could be turned round, does not happen; certificate and Host are the name's.
    assert seen[0].url.host == "8.8.8.8"
    assert seen[0].headers["host"] == "partner.example.com"
    assert seen[0].extensions["sni_hostname"] == "partner.example.com"


def _line(client: httpx2.AsyncClient) -> PartnerHttp:
    return PartnerHttp(client, causes=CAUSES, timeout_seconds=2, clock=SystemClock())


async def test_a_private_target_is_never_called(monkeypatch: pytest.MonkeyPatch) -> None:
    async with WebhookPartner(SECRET) as partner:
        _names(monkeypatch, {"evil.example.com": ["127.0.0.1"]})
        async with new_client(allow_private=False, timeout_seconds=2) as client:
            for url in (f"http://evil.example.com:{partner.port}/hook", f"http://127.0.0.1:{partner.port}/hook"):
                _names(monkeypatch, {"evil.example.com": ["127.0.0.1"], "127.0.0.1": ["127.0.0.1"]})
                with pytest.raises(PartnerError) as caught:
                    await _line(client).post(url, content=b"{}", headers={})
                assert (caught.value.cause, caught.value.retry, caught.value.in_doubt) == (Cause.REFUSED, False, False)
        assert partner.counts.requests == 0


async def test_a_redirect_is_not_followed() -> None:
    async with WebhookPartner(SECRET) as inside, WebhookPartner(SECRET) as partner:
        partner.plan_for.add("")
        partner.always = Status(307, location=inside.url)
        async with new_client(allow_private=True, timeout_seconds=2) as client:
            with pytest.raises(PartnerError, match="307 Temporary Redirect: redirects are not followed") as caught:
                await _line(client).post(partner.url, content=b"{}", headers={})
        assert not caught.value.retry
        assert inside.counts.requests == 0


async def test_a_name_that_does_not_resolve_is_a_partner_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    _names(monkeypatch, {})
    async with new_client(allow_private=False, timeout_seconds=2) as client:
        with pytest.raises(PartnerError) as caught:
            await _line(client).post("https://gone.example.com/", content=b"{}", headers={})
    assert (caught.value.cause, caught.value.retry, caught.value.in_doubt) == (Cause.PARTNER_DOWN, True, False)


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    async with WebhookPartner(SECRET) as partner:
        async with new_client(allow_private=True, timeout_seconds=2) as client:
            reply = await client.post(partner.url, content=b"{}")
        assert (reply.status_code, partner.counts.requests) == (400, 1)
